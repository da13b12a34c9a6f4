package yunfu

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// TestVendorSamples replays every update sample of the vendor's page in several orders: the answer is the
// page's, and edit shows what was sent.
func TestVendorSamples(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var samples []string
	for _, generation := range []string{"new", "old"} {
		for _, form := range []string{"curl", "go", "js", "java", "php", "python", "cpp", "block"} { // each as its language's library writes it
			samples = append(samples, "update-"+generation+"-"+form)
		}
	}
	backwards := slices.Clone(samples)
	slices.Reverse(backwards)
	for _, name := range append(samples, backwards...) {
		sent := string(testdata(t, name+".json"))
		r := w.do("PUT", new2+"/task/"+taskID, sent)
		if want := tree(t, []byte(`{"code":200,"status":"success","message":"修改成功","data":""}`)); !reflect.DeepEqual(tree(t, []byte(r.raw)), want) {
			t.Fatalf("%s: %s", name, r.raw)
		}
		clean, ok := tree(t, relax([]byte(sent))).(map[string]any)
		if !ok {
			t.Fatalf("%s is no object", name)
		}
		edit := w.ok("GET", new2+"/task/"+taskID+"/edit", nil)
		extras := clean["task_extras"]
		delete(clean, "task_extras")
		for k, v := range clean {
			if k == "destination_extension" {
				v = "123"
				if strings.Contains(name, "old") {
					v = "102"
				}
			}
			if !within(v, edit.at(k)) {
				t.Errorf("%s: edit shows %s as %v, sent %v", name, k, edit.at(k), v)
			}
		}
		if !within(extras, edit.at("task_extras")) {
			t.Errorf("%s: edit shows task_extras %v, sent %v", name, edit.at("task_extras"), extras)
		}
		if _, ok := clean["bridge_group_id"]; !ok && edit.at("bridge_group_id") != nil {
			t.Errorf("%s: an absent bridge_group_id is %v", name, edit.at("bridge_group_id"))
		}
	}
}

// TestInitPage holds the init answer against the vendor's page: every key and type and no other.
func TestInitPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ok("GET", new2+"/task/create", nil)
	page := tree(t, testdata(t, "init-page.json"))
	got := tree(t, []byte(r.raw))
	sameShape(t, "", page, got)
	for path, want := range map[string]any{
		"task_dial_times/0/id": json.Number("1"), "task_dial_times/0/is_default": true, "task_dial_times/0/remark": nil,
		"task_dial_times/0/content/0/week": json.Number("0"), "task_dial_times/0/content/0/times/1/end_time": "18:00",
		"task_dial_times/1/content/6/times/0/end_time": "24:00", "task_dial_times/0/user_id": mainUser,
		"auto_recycle_rules/0/details/0/number_status_str": "关机", "background/0/name": "办公室", "bridge_groups/0/strategy_str": "平均",
		"llm_intention_configs/0/name": "质检条件1", "max_recycle_limit": json.Number("50"), "end_actions/1": "暂停任务释放并发",
	} {
		if v := r.at(steps(path)...); v != want {
			t.Errorf("%s is %v, want %v", path, v, want)
		}
	}
	lines := map[string]any{}
	for _, l := range r.at("caller_line_list").([]any) {
		lines[l.(map[string]any)["line_id"].(string)] = l
	}
	if len(lines) != 3 {
		t.Errorf("lines %v: expired and foreign ones are not for use", lines)
	}
	if want := tree(t, []byte(`{"name":null,"remark":"yw代理-测试主账户1","belong_user":"`+mainUser+`","line_concurrency":1,"residue":1,"available_at":"2036-11-28 00:00:00",
		"new_line":{"name":"修改线路测试1111","type":1,"bind_type_str":"IP","type_str":"外部线路","node":{"name":"fs-node1"}}}`)); !within(want, lines[lineOne]) {
		t.Errorf("line is %v", lines[lineOne])
	}
	groups := map[string]map[string]any{}
	for _, g := range r.at("outbound_group").([]any) {
		m := g.(map[string]any)
		groups[m["id"].(json.Number).String()] = m
	}
	if g := groups["1"]; g["debug"] != true || g["exclusive_asr"] != "aliYun1" || g["speed"] != json.Number("60") || g["volume"] != json.Number("50") || g["unknown"] != nil {
		t.Errorf("script group 1 is %v", g)
	}
	if groups["215870475195883520"] == nil || groups["700"] != nil {
		t.Error("long ids are ints as they are, and other tenants' groups are not shown")
	}
	// A started task's reservation is not free any more.
	w.ok("PUT", new2+"/task_start/"+taskID, nil)
	for _, l := range w.ok("GET", new2+"/task/create", nil).at("caller_line_list").([]any) {
		if m := l.(map[string]any); m["line_id"] == lineMain && m["residue"] != json.Number("18") {
			t.Errorf("residue beside a run is %v", m["residue"])
		}
	}
	// A sub-account acts by itself and sees its main account's resources.
	sub := w.ok("GET", new2+"/task/create?sub_user_id="+subUser, nil)
	if sub.at("task_dial_times", 0, "user_id") != subUser || sub.at("caller_line_list", 0, "belong_user") != mainUser {
		t.Errorf("init of a sub-account: %v", sub.at("task_dial_times", 0))
	}
	legacy := w.ok("GET", old1+"/task/create", nil)
	if legacy.at("caller_line_list", 0, "value") != legacy.at("caller_line_list", 0, "line_id") {
		t.Error("the legacy init has a value beside line_id")
	}
}

func steps(path string) (out []any) {
	for part := range strings.SplitSeq(path, "/") {
		if n, ok := digits(part, 3); ok && part != "1" || part == "1" && len(out) > 0 && out[len(out)-1] != "end_actions" {
			out = append(out, max(n, 0))
			continue
		}
		out = append(out, part)
	}
	return out
}

// sameShape compares keys and JSON types; of arrays the first elements, each of got's against page's first.
func sameShape(t *testing.T, path string, page, got any) {
	t.Helper()
	switch p := page.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is %T, the page has an object", path, got)
			return
		}
		var keys []string
		for k := range p {
			keys = append(keys, k)
			if _, ok := g[k]; !ok {
				t.Errorf("%s.%s is missing", path, k)
			}
		}
		sort.Strings(keys)
		for k := range g {
			if _, ok := p[k]; !ok {
				t.Errorf("%s.%s is not on the page", path, k)
				continue
			}
			sameShape(t, path+"."+k, p[k], g[k])
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			t.Errorf("%s is %T, the page has an array", path, got)
			return
		}
		for i := range g {
			if len(p) > 0 {
				sameShape(t, fmt.Sprintf("%s[%d]", path, i), p[0], g[i])
			}
		}
	default:
		nullable := page == nil || strings.HasSuffix(path, "].remark") // null in one row of the page, a text in another
		if fmt.Sprintf("%T", page) != fmt.Sprintf("%T", got) && !(nullable && (got == nil || page == nil)) {
			t.Errorf("%s is %T, the page has %T", path, got, page)
		}
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ok("POST", new2+"/task", body("name", "新任务", "remark", "说明"))
	id := r.at("uuid")
	if r.message != "创建成功" || id == "" || id != r.at("id") || r.at("name") != "新任务" || r.at("enable") != false || r.at("destination_extension") != "123" {
		t.Errorf("create answers %s", r.raw)
	}
	list := w.ok("GET", new2+"/task?name=%E6%96%B0&per_page=1", nil)
	if list.message != "返回任务列表信息成功" || list.at(0, "uuid") != id || list.meta["per_page"] != "1" || list.meta["total"] != json.Number("1") ||
		list.meta["has_pages"] != false || list.meta["last_page"] != json.Number("1") || list.meta["current_page"] != json.Number("1") {
		t.Errorf("list answers %s", list.raw)
	}
	if all := w.ok("GET", new2+"/task", nil); all.meta["per_page"] != json.Number("15") || all.meta["total"] != json.Number("2") {
		t.Errorf("list without per_page: %v", all.meta)
	}
	c := w.ok("GET", new2+"/copy/task/"+id.(string), nil)
	if c.at("name") != "新任务【复制】2025-06-02(10:00)" || c.at("uuid") == id {
		t.Errorf("copy answers %s", c.raw)
	}
	if e := w.ok("GET", new2+"/task/"+c.at("uuid").(string)+"/edit", nil); e.at("remark") != "说明" || e.at("task_extras", "pop_mode") != json.Number("1") {
		t.Errorf("the copy is %s", e.raw)
	}
	// In a sub-account.
	sub := w.ok("POST", new2+"/task", body("sub_user_id", subUser, "name", "子任务"))
	subID := sub.at("uuid").(string)
	w.bad(w.do("GET", new2+"/task/"+subID+"/edit", nil), 404, "任务不存在")
	if e := w.ok("GET", new2+"/task/"+subID+"/edit?sub_user_id="+subUser, nil); e.at("user_id") != subUser {
		t.Errorf("edit of a sub-account's task: %s", e.raw)
	}
	for _, path := range []string{new2 + "/subset_task", old1 + "/subset_task", old1 + "/all_task"} {
		s := w.ok("GET", path, nil)
		if s.message != "返回所有子账号的任务列表信息成功" || s.at(0, "uuid") != subID || s.meta["total"] != json.Number("1") {
			t.Errorf("%s answers %s", path, s.raw)
		}
	}
	if s := w.ok("GET", new2+"/task?sub_user_id="+subUser, nil); s.at(0, "uuid") != subID {
		t.Errorf("the sub-account's list: %s", s.raw)
	}
	d := w.ok("DELETE", new2+"/task/"+id.(string), nil)
	if d.message != "删除任务成功" {
		t.Errorf("delete answers %s", d.raw)
	}
	w.bad(w.do("DELETE", old1+"/task/"+id.(string), nil), 404, "任务不存在")
}

func TestStartStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := "/task_stop/" + taskID
	want := tree(t, []byte(`{"status":"success","code":200,"message":"停止任务成功"}`))
	for _, c := range [][2]string{{"PUT", new2}, {"GET", new2}, {"POST", new2}, {"GET", old1}, {"PUT", old1}} {
		if r := w.do(c[0], c[1]+path, nil); r.http != 200 || !reflect.DeepEqual(tree(t, []byte(r.raw)), want) {
			t.Errorf("stop by %s answers %s", c[0], r.raw)
		}
	}
	w.numbers(taskID, "13800000001", "13800000002")
	start := new2 + "/task_start/" + taskID
	if r := w.ok("PUT", start, "{}"); r.hasData || r.message != "启动任务成功" {
		t.Errorf("start answers %s", r.raw)
	}
	w.ok("GET", old1+"/task_start/"+taskID, nil) // again: no error
	busy := func(r reply) {
		t.Helper()
		w.bad(r, 6007)
		if r.message != "2.0任务启动中,请先停止任务" || r.http != 200 {
			t.Errorf("got %d %s", r.http, r.raw)
		}
	}
	rows := map[string]any{"customer_info_list": []any{map[string]any{"phone": "13800000001"}}}
	edits := func() {
		t.Helper()
		busy(w.do("DELETE", old1+"/task/"+taskID+"/number-batch-delete", rows))
		busy(w.do("PUT", old1+"/task/"+taskID+"/number-batch-reset", nil))
		busy(w.do("DELETE", new2+"/task/"+taskID, nil))
	}
	busy(w.do("PUT", new2+"/task/"+taskID, body()))
	busy(w.do("PUT", new2+"/task/"+taskID, object{})) // before the body is judged
	edits()
	calls := w.dial(taskID, nil) // one call goes on
	w.ok("PUT", new2+path, nil)
	edits() // its run drains
	w.ok("PUT", new2+"/task/"+taskID, body("name", "改过"))
	e := w.ok("GET", new2+"/task/"+taskID+"/edit", nil)
	if e.at("name") != "改过" || e.at("call_status") != true || e.at("enable") != false || e.at("new_task_extra", "number_count") != json.Number("2") {
		t.Errorf("edit of a draining task: %s", e.raw)
	}
	w.ok("PUT", start, nil) // a second run beside it
	runs, err := w.Runs(t.Context(), mainUser, taskID)
	if err != nil || len(runs) != 2 || runs[1].State != waihu.RunClosed || runs[0].State != waihu.RunOpen {
		t.Errorf("runs %+v, %v", runs, err)
	}
	w.ok("PUT", new2+path, nil)
	edits()
	w.book(store.Booking{LiveCall: calls[0], Outcome: ended(waihu.NoAnswer), Next: waihu.NumberDone})
	w.ok("PUT", old1+"/task/"+taskID+"/number-batch-reset", nil)
	w.ok("DELETE", old1+"/task/"+taskID+"/number-batch-delete", rows)
	w.ok("DELETE", new2+"/task/"+taskID, nil)
}

func TestBusyStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.BusyStatus, o.RefuseImportWhileStarted = 409, true })
	w.ok("PUT", new2+"/task_start/"+taskID, nil)
	for _, r := range []reply{w.do("PUT", new2+"/task/"+taskID, body()),
		w.do("POST", old1+"/task/"+taskID+"/number", map[string]any{"data": []any{map[string]any{"phone": "13800000001"}}})} {
		if r.http != 409 || r.code != 6007 {
			t.Errorf("got %d %s", r.http, r.raw)
		}
	}
}

func TestStartRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	start := func(k waihu.Task) reply { return w.do("PUT", new2+"/task_start/"+string(k.ID), nil) }
	over := w.create("task_extras.stop_time", "2025-06-01 00:00:00")
	w.bad(start(over), 422, "2025-06-01 00:00:00", "已过")
	full := w.create("maximumcall", 20, "task_extras.line", []any{lineMain})
	w.ok("PUT", new2+"/task_start/"+taskID, nil)
	w.bad(start(full), 422, "主线路", lineMain, "18", "20")
	w.problems = []waihu.Problem{{Field: "flow.nodes.ask", Message: "没有语音"}, {Message: "第二个问题"}}
	free := w.create()
	w.bad(start(free), 422, "flow.nodes.ask：没有语音", "第二个问题")
	w.problems = nil
	w.ok("PUT", new2+"/task_start/"+string(free.ID), nil)
	expired := w.create("task_extras.line", []any{"expired"})
	w.bad(start(expired), 422)
	if r := start(expired); r.message != "任务未配置线路,请先选择线路" {
		t.Errorf("no usable line: %s", r.raw)
	}
	runs, err := w.Runs(t.Context(), mainUser, over.ID)
	if err != nil || len(runs) != 0 {
		t.Errorf("a refused start left %v, %v", runs, err)
	}
}

func TestStateFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	paused, waiting := w.create("name", "暂停"), w.create("name", "等待", "task_type", 6)
	w.numbers(taskID, "13800000001")
	w.dial(taskID, nil)
	w.ok("PUT", new2+"/task_start/"+string(waiting.ID), nil)
	for _, c := range []struct {
		path, query string
		want        []string
	}{
		{new2, "", []string{string(waiting.ID), string(paused.ID), taskID}},
		{new2, "status=1", []string{string(paused.ID)}},
		{new2, "status=3", []string{string(waiting.ID), taskID}},
		{new2, "status[]=1&status[]=3", []string{string(waiting.ID), string(paused.ID), taskID}},
		{new2, "task_type=6", []string{string(waiting.ID)}},
		{new2, "task_type=7&status=3", []string{taskID}},
		{old1, "status=2", []string{taskID}},
		{old1, "status=3", []string{string(waiting.ID)}},
		{old1, "status[]=2&status[]=1", []string{string(paused.ID), taskID}},
		{old1, "status[]=1&status[]=9", []string{string(waiting.ID), string(paused.ID), taskID}},
		{old1, "status=2&page=2", nil},
	} {
		r := w.ok("GET", c.path+"/task?"+c.query, nil)
		var got []string
		for _, row := range r.data.([]any) {
			got = append(got, row.(map[string]any)["uuid"].(string))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %v, want %v", c.path, c.query, got, c.want)
		}
	}
	w.bad(w.do("GET", new2+"/task?status=9", nil), 422, "status")
	for _, row := range w.ok("GET", new2+"/task", nil).data.([]any) {
		m := row.(map[string]any)
		want := map[string][]any{taskID: {json.Number("2"), "执行中", true, true}, string(waiting.ID): {json.Number("3"), "等待执行", true, false},
			string(paused.ID): {json.Number("1"), "暂停中", false, false}}[m["uuid"].(string)]
		if got := []any{m["status"], m["status_str"], m["enable"], m["call_status"]}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s shows %v, want %v", m["name"], got, want)
		}
	}
}

// TestEditOfAnotherDoorsTask: what was sent is shown only while it is still true.
func TestEditOfAnotherDoorsTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.ok("GET", new2+"/task/"+taskID+"/edit", nil)
	if e.at("task_extras", "line", 0, "id") != lineMain || e.at("task_extras", "line", 0, "limit") != json.Number("2") || e.at("destination_extension_name") != "话术123" ||
		e.at("new_task_extra", "work_hour", 0, "wday") != "-1" || e.at("task_extras", "work_hour", 0, "wday") != json.Number("1") ||
		e.at("is_group_switch") != json.Number("0") {
		t.Errorf("edit of a task that was not made here: %s", e.raw)
	}
	k := w.create("task_extras.line", []any{lineMain}, "maximumcall", 3, "llm_intention_id", json.Number("9007199254740993"))
	edit := new2 + "/task/" + string(k.ID) + "/edit"
	if e := w.ok("GET", edit, nil); e.at("task_extras", "line", 0) != lineMain || e.at("llm_intention_id") != json.Number("9007199254740993") {
		t.Errorf("edit shows %s", e.raw)
	}
	k.Concurrency, k.Lines = 5, []waihu.TaskLine{{Line: lineMain, Limit: 5}}
	w.must(w.UpdateTask(t.Context(), &k))
	if e := w.ok("GET", edit, nil); e.at("task_extras", "line", 0, "limit") != json.Number("5") || e.at("maximumcall") != json.Number("5") {
		t.Errorf("edit after another door's change: %s", e.raw)
	}
}

func TestPutReplaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.create("remark", "说明", "bridge_group_id", 1, "end_action", 1, "auto_recycle_rule_id", 15486, "background_id", 25,
		"task_extras.interval_time", 3, "task_extras.holiday", []any{map[string]any{"begin": "2025-10-01", "end": "2025-10-07"}},
		"task_extras.work_week", []int{1, 2}, "task_extras.pop_mode", 2)
	if k.EndAction != waihu.EndPause || k.Interval != 3*time.Second || len(k.Holidays) != 1 || len(k.Redial.ByRule) == 0 || k.Pop != waihu.PopReverse || len(k.Weekly[0]) != 0 {
		t.Fatalf("created %+v", k)
	}
	k.RingTimeout, k.Unknown = 20*time.Second, waihu.UnknownRedial // what this door has no word for stays
	k.Doors["other"] = []byte(`{"x":1}`)
	w.must(w.UpdateTask(t.Context(), &k))
	w.ok("PUT", new2+"/task/"+string(k.ID), body("task_extras.pop_mode", nil))
	got, err := w.Task(t.Context(), mainUser, k.ID)
	w.must(err)
	if got.Remark != "" || got.EndAction != waihu.EndNothing || got.Interval != 0 || got.Holidays != nil || redialEnabled(&got) || got.Pop != waihu.PopRandom || len(got.Weekly[0]) != 1 {
		t.Errorf("after a bare PUT: %+v", got)
	}
	if got.RingTimeout != 20*time.Second || got.Unknown != waihu.UnknownRedial || string(got.Doors["other"]) == "" {
		t.Errorf("a PUT here touched what is not of this door: %+v", got)
	}
	if e := w.ok("GET", new2+"/task/"+string(k.ID)+"/edit", nil); e.at("bridge_group_id") != nil || e.at("background_id") != nil || e.at("auto_recycle_rule_id") != nil {
		t.Errorf("edit after a bare PUT: %s", e.raw)
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/agent-api/nothing", "/", new2 + "/../task", new2 + "/task/./" + taskID, new2 + "/task/%00/edit", new2 + "/task/%ff/edit"} {
		w.bad(w.do("GET", path, nil), 404, "接口不存在")
	}
	w.ok("PUT", "/"+new2+"//task/"+taskID+"/", body())
	w.ok("GET", new2+"/task/?page=1", nil)
	r := w.do("DELETE", new2+"/task_start/"+taskID, nil)
	w.bad(r, 405, "GET")
	if allow := r.header.Get("Allow"); allow != "GET, POST, PUT" {
		t.Errorf("Allow is %q", allow)
	}
}

// TestFaultIsHidden: the ledger's own trouble is logged under an id and told to nobody.
func TestFaultIsHidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := &server{Options: Options{Log: testLog(t), BusyStatus: 200}}
	rec := httptest.NewRecorder()
	s.fail(rec, httptest.NewRequest("GET", "/", nil), errors.New("sql: secret detail"))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") || !strings.Contains(rec.Body.String(), "错误编号") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	w.door = s.serve(func(*request) (*answer, error) { panic("boom") }, false)
	s.Store = w.Store
	r := httptest.NewRequest("GET", "/", nil)
	r.SetPathValue("user_id", mainUser)
	r.Header.Set("Authorization", "Bearer "+token)
	w.bad(w.send(r), 500, "错误编号")
}

// TestRandomBodies sends the vendor's samples with random parts changed: each is made or refused with a message of this
// door, and what is made can be read and written again. (A fuzz target would instrument the database and crawl.)
func TestRandomBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(1, 2))
	values := []any{nil, "", 0, 1, -1, 3, "x", true, []any{}, object{}, []any{1, 2}, "2024-01-01", "10:00", "10:30:00", lineOne, lineMain, 123, "123", 1e20,
		json.Number("1e5"), strings.Repeat("y", 300), []any{object{}}, "power off", object{"da_status": "2,3"}, "2,3", "a\x00b"}
	keys := []string{"sub_user_id", "line", "new_call_rules", "work_week", "elasticity_type", "end_action", "bridge_group_id", "interval_time", "da_status"}
	var change func(v any) any
	change = func(v any) any {
		if rng.IntN(6) == 0 {
			return values[rng.IntN(len(values))]
		}
		switch v := v.(type) {
		case map[string]any:
			out := object{}
			for _, k := range keysOf(v) {
				if out[k] = v[k]; rng.IntN(len(v)+1) < 2 {
					out[k] = change(v[k])
				}
				if rng.IntN(20) == 0 {
					delete(out, k)
				}
			}
			if k := rng.IntN(2 * len(keys)); k < len(keys) {
				out[keys[k]] = values[rng.IntN(len(values))]
			}
			return out
		case []any:
			out := slices.Clone(v)
			for i := range out {
				if rng.IntN(3) == 0 {
					out[i] = change(out[i])
				}
			}
			return out
		}
		return v
	}
	var samples []any
	for _, name := range []string{"update-new-curl", "update-new-block", "update-old-block"} {
		samples = append(samples, tree(t, relax(testdata(t, name+".json"))))
	}
	made := 0
	for range 400 {
		sent, err := json.Marshal(change(samples[rng.IntN(len(samples))]))
		w.must(err)
		r := w.do("POST", new2+"/task", string(sent))
		switch {
		case r.code == 403: // a sub_user_id that is nobody's
			continue
		case r.code == 422 && !strings.Contains(r.message, "参数不正确"): // those words are for what the ledger refuses
			continue
		case r.code != 200:
			t.Fatalf("%s: %s", sent, r.raw)
		}
		made++
		path := new2 + "/task/" + r.at("uuid").(string)
		before := w.ok("GET", path+"/edit", nil)
		w.ok("PUT", path, string(sent))
		if after := w.ok("GET", path+"/edit", nil); !reflect.DeepEqual(after.at("task_extras"), before.at("task_extras")) {
			t.Fatalf("%s: edit shows %v, then %v", sent, before.at("task_extras"), after.at("task_extras"))
		}
	}
	if made < 50 {
		t.Errorf("only %d of 400 bodies were good: the test has lost its sense", made)
	}
}
