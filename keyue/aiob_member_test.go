package keyue

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// TestAIOBImport: groups become numbers of ours, bad ones are said in their row, what is sent twice is imported once.
func TestAIOBImport(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	id := a.create(fields{"blackListStrategy": 2})
	r := a.post(aiob3+"/import", fields{"taskId": id, "secretType": 2, "customerInfoList": []any{
		fields{"mobile": "13800000001", "extJson": "原样", "var": fields{"name": "张三", "age": 18}},
		fields{"mobile": "13800000002;138-0000-0003;13800000004;", "extJson": fields{"id": 7}},
		fields{"mobile": "13800000001"},
		fields{"mobile": "abc", "extJson": "mine"}, fields{"mobile": "101;102;103;104;105;106"}, fields{"mobile": "13800000009;13800000009"}, fields{}, "x",
		fields{"mobile": "13800000005", "var": []int{1}},
	}})
	if r.at("successNum") != json.Number("2") || r.at("failedNum") != json.Number("7") {
		t.Errorf("%s", r.raw)
	}
	for i, want := range []string{"", "", "重复", "号码格式", "最多 5 个", "重复", "不能为空", "应为对象", "变量"} {
		status, reason, member := r.at("resList", i, "status"), r.text("resList", i, "reason"), r.text("resList", i, "taskMemberId")
		if (want == "") != (status == json.Number("1")) || !strings.Contains(reason, want) || (want == "") != (member != "") {
			t.Errorf("row %d: %v %q %q, want %q", i, status, reason, member, want)
		}
	}
	if r.text("resList", 3, "extJson") != "mine" {
		t.Errorf("a refused group without its extJson: %s", r.raw)
	}
	list, total, err := a.Numbers(t.Context(), mainAccount, a.row(id).ID, store.NumberFilter{})
	a.must(err)
	if total != 2 || list[0].Key != "13800000001" || list[0].Data.Vars["age"] != "18" || list[0].Data.Extra != "原样" || len(list[0].Data.Group) != 0 ||
		list[1].Key != "13800000002;13800000003;13800000004" || list[1].Phone != "13800000002" || len(list[1].Data.Group) != 3 || list[1].Data.GroupStops || list[1].Data.Extra != `{"id":7}` {
		t.Errorf("%+v", list)
	}
	if again := a.post(aiob3+"/import", fields{"taskId": id, "secretType": 2, "customerInfoList": []any{fields{"mobile": "13800000001"}, fields{"mobile": "13800000007"}}}); again.at("successNum") != json.Number("1") ||
		!strings.Contains(again.text("resList", 0, "reason"), "重复") {
		t.Errorf("%s", again.raw)
	}
	many := make([]fields, maxImport+1)
	for i := range many {
		many[i] = fields{"mobile": strconv.Itoa(13900000000 + i)}
	}
	a.refused(a.as(a.token, "POST", aiob3+"/import", fields{"taskId": id, "secretType": 2, "customerInfoList": many}), 400, "最多 1000 个")
	if r := a.post(aiob3+"/import", fields{"taskId": id, "secretType": "2", "customerInfoList": many[1:]}); r.at("successNum") != json.Number("1000") {
		t.Errorf("%.300s", r.raw)
	}
}

// TestAIOBReads: groups and calls, by page and by cursor, of a task whose calls have really ended.
func TestAIOBReads(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	id := a.create(fields{"retryTimes": 1})
	ids := a.bring(id, "13800000001", "13800000002;13800000003", "13800000004", "13800000005")
	a.run(id, 2)
	task := a.row(id).ID
	a.dial(task, talked(), waihu.NumberDone)                  // 1: answered
	a.dial(task, unreached(waihu.NoAnswer), waihu.NumberDone) // 2: its second phone is next
	a.now = a.now.Add(time.Minute + 500*time.Millisecond)
	second := a.now.Format(time.DateTime)
	a.dial(task, unreached(waihu.Busy), waihu.NumberDone) // 2: nobody
	a.dial(task, unreached(waihu.Vacant), waihu.NumberDue)
	want := []string{"3", "4", "2", "1"}
	var pages []string
	for pn := 1; pn <= 2; pn++ {
		r := a.post(aiob3+"/task/detail", fields{"taskId": id, "pn": pn, "ps": 3})
		if r.at("total") != json.Number("4") {
			t.Errorf("%s", r.raw)
		}
		list, _ := r.data.(map[string]any)["list"].([]any)
		for i := range list {
			pages = append(pages, fmt.Sprint(r.at("list", i, "status")))
			if fmt.Sprint(r.at("list", i, "taskMemberId")) != ids[len(pages)-1] {
				t.Errorf("row %d is %v, want %s", i, r.at("list", i), ids[len(pages)-1])
			}
		}
	}
	if !slices.Equal(pages, want) {
		t.Errorf("states by page %v, want %v", pages, want)
	}
	var cursor any
	var byCursor []string
	for range 5 {
		r := a.post(aiob4+"/task/detail", fields{"taskId": id, "ps": 1, "nextCursor": cursor})
		byCursor = append(byCursor, fmt.Sprint(r.at("items", 0, "status")))
		if phones, _ := json.Marshal(r.at("items", 0, "mobileList")); strings.Contains(string(phones), "00000") {
			t.Errorf("numbers in the clear: %s", phones)
		}
		if cursor = r.at("nextCursor"); r.at("hasMore") == false {
			break
		}
	}
	if !slices.Equal(byCursor, want) {
		t.Errorf("states by cursor %v, want %v", byCursor, want)
	}
	calls := a.post(aiob3+"/member/detail2", fields{"taskMemberId": ids[1]})
	if calls.text(0, "mobile") != "13800000002" || calls.text(1, "mobile") != "13800000003" || calls.text(1, "endTypeReason") != "linebusy" || calls.at(0, "callType") != json.Number("0") ||
		calls.at(1, "callType") != json.Number("1") || calls.at(1, "completeType") != json.Number("2") {
		t.Errorf("%s", calls.raw)
	}
	query := a.as(a.token, "GET", aiob3+"/member/detail2?taskMemberId="+ids[1], nil)
	a.fine(query)
	if query.text(1, "sessionId") != calls.text(1, "sessionId") {
		t.Errorf("by query %s", query.raw)
	}
	v4 := a.post(aiob4+"/member/detail2", fields{"taskMemberId": ids[0]})
	if v4.at("memberInfo", "status") != json.Number("3") || v4.at("memberInfo", "connectedTimes") != json.Number("1") || v4.text("memberInfo", "extJson") != "ext 13800000001" ||
		v4.at("sessions", 0, "talkingTimeLen") != json.Number("30") || v4.at("sessions", 0, "ringingTimeLen") != json.Number("3") || v4.text("sessions", 0, "intent") != "愿意购买" {
		t.Errorf("%s", v4.raw)
	}
	var sessions []string
	cursor = nil
	for range 10 {
		r := a.post(aiob3+"/member/list", fields{"searchStartTime": "2025-06-01 00:00:00", "searchEndTime": "2025-06-03 00:00:00", "ps": 3, "nextCursor": cursor})
		if r.at("total") != json.Number("4") {
			t.Errorf("total %s", r.raw)
		}
		items, _ := r.data.(map[string]any)["items"].([]any)
		for i := range items {
			sessions = append(sessions, r.text("items", i, "sessionId"))
		}
		if cursor = r.at("nextCursor"); r.at("hasMore") == false {
			break
		}
	}
	if slices.Sort(sessions); len(sessions) != 4 || len(slices.Compact(sessions)) != 4 {
		t.Errorf("sessions %v", sessions)
	}
	if r := a.post(aiob3+"/member/list", fields{"searchStartTime": second, "searchEndTime": second}); r.at("total") != json.Number("2") {
		t.Errorf("within a second %s", r.raw)
	}
	if r := a.post(aiob3+"/member/list", fields{"searchStartTime": "2025-06-03 00:00:00", "searchEndTime": "2025-06-04 00:00:00"}); r.at("total") != json.Number("0") || r.at("hasMore") != false {
		t.Errorf("another day %s", r.raw)
	}
	if r := a.post(aiob3+"/task/list", fields{"taskName": "呼叫任务123"}); r.at("list", 0, "finishNumCount") != json.Number("2") || r.at("list", 0, "totalNumCount") != json.Number("4") {
		t.Errorf("%s", r.raw)
	}
	// A group that waits can be taken back while the task runs; what is over or belongs to another task cannot.
	a.post(aiob3+"/mobile/deleteWithoutCheck", fields{"taskId": id, "taskMemberId": ids[3]})
	a.refused(a.as(a.token, "POST", aiob3+"/mobile/delete", fields{"taskId": id, "taskMemberId": ids[0]}), 400, "被叫号码组无法识别")
	a.refused(a.as(a.token, "POST", aiob3+"/mobile/delete", fields{"taskId": id, "taskMemberId": ids[3]}), 400, "被叫号码组无法识别")
	a.refused(a.as(a.token, "POST", aiob3+"/mobile/delete", fields{"taskId": "1", "taskMemberId": ids[2]}), 400, "被叫号码组无法识别")
}

// TestAIOBCallbacks holds each type of callback to a golden body, and looks at who is told what.
func TestAIOBCallbacks(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	id := a.create(fields{"callBackUrl": "http://127.0.0.1:1/a"})
	other := a.create(fields{"taskName": "二"})
	if list, err := a.Endpoints(t.Context(), mainAccount); err != nil || len(list) != 1 || list[0].URL != "http://127.0.0.1:1/a" || list[0].Door != Door || list[0].Task != "" {
		t.Fatalf("%+v %v", list, err)
	}
	a.create(fields{"taskName": "三", "callBackUrl": "http://127.0.0.1:1/a"})
	if list, err := a.Endpoints(t.Context(), mainAccount); err != nil || len(list) != 1 {
		t.Fatalf("an endpoint for each task: %+v %v", list, err)
	}
	a.bring(id, "13800000001", "13800000002")
	a.run(id, 2)
	a.dial(a.row(id).ID, talked(), waihu.NumberDone)
	a.dial(a.row(id).ID, unreached(waihu.Vacant), waihu.NumberDone)
	a.run(id, 4)
	a.run(other, 2)
	own := a.made()
	bodies := a.told(own, 0)
	kinds := ""
	seen := map[string]string{}
	for _, b := range bodies {
		kind := b[len(`{"callbackType":`):][:1]
		kinds += kind
		if seen[kind] == "" {
			seen[kind] = b
		}
	}
	if kinds != "210102" && kinds != "201012" {
		t.Errorf("told %s", kinds)
	}
	for kind, b := range seen {
		a.golden("aiob_callback_"+kind+".json", b)
	}
	// The account's own endpoint is told of the tasks that name no address, and of no others.
	rest := a.told(waihu.Endpoint{Account: mainAccount, URL: "http://127.0.0.1:1/b"}, 0)
	if len(rest) != 1 || !strings.Contains(rest[0], `"taskId":"`+other+`"`) {
		t.Errorf("%v", rest)
	}
	if again := a.told(own, 0); !slices.Equal(again, bodies) {
		t.Error("the same events are told in another way the second time")
	}
	for body, want := range map[string]bool{`{"code":200,"msg":"success"}`: true, `{"code":"200"}`: true, `{"code":200}`: true, `{"code":400,"msg":"x"}`: false, `ok`: false, ``: false, `{}`: false, `[200]`: false} {
		if err := accepted(200, []byte(body)); (err == nil) != want {
			t.Errorf("%s is accepted: %v", body, err)
		}
	}
	if accepted(500, []byte(`{"code":200}`)) == nil {
		t.Error("a 500 is accepted")
	}
}

// TestAIOBReview: a call that is graded after its end is told then, with what was collected.
func TestAIOBReview(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	id := a.create(nil)
	a.bring(id, "13800000001")
	a.run(id, 2)
	a.dial(a.row(id).ID, talked(), waihu.NumberDone)
	events, err := a.Events(t.Context(), mainAccount, 0, 0)
	a.must(err)
	i := slices.IndexFunc(events, func(e waihu.Event) bool { return e.Kind == waihu.EventCallEnded })
	ended := events[i]
	for kind, want := range map[waihu.EventKind]bool{waihu.EventCallEnded: false, waihu.EventCallReviewed: true} {
		e := ended
		e.Kind, e.Body = kind, []byte(`{"seq":1,"attempt":1,"disposition":"answered","review":true}`)
		p, n, err := a.shape(t.Context(), waihu.Endpoint{Account: mainAccount}, []waihu.Event{e, e})
		if err != nil || n != 1 || (p.Body != nil) != want {
			t.Errorf("%s: %d %s %v", kind, n, p.Body, err)
		}
	}
}

// TestAIOBRealtime: one number now, in a task that always runs, with its deadline and its callback.
func TestAIOBRealtime(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	call := func(change fields) (member string) {
		t.Helper()
		body := fields{"robotId": pageAgent, "mobile": "13800000001", "secretType": 2, "extJson": "e", "dialogVar": fields{"name": "x"}, "callBackUrl": "http://127.0.0.1:1/rt"}
		for k, v := range change {
			body[k] = v
		}
		return fmt.Sprint(a.post("/api/v3/console/realtime/status/create", body).at("memberId"))
	}
	number := func(member string) waihu.Number {
		t.Helper()
		id, err := strconv.ParseInt(member, 10, 64)
		a.must(err)
		serial, seq := memberParts(id)
		k, err := a.TaskBySerial(t.Context(), mainAccount, serial)
		a.must(err)
		n, err := a.Number(t.Context(), mainAccount, k.ID, seq)
		a.must(err)
		n.Task = k.ID
		return n
	}
	first, second := call(nil), call(nil) // the same person twice is two calls
	n := number(first)
	if n.Task != number(second).Task || first == second || n.Phone != "13800000001" || n.Data.Extra != "e" || n.Data.Vars["name"] != "x" {
		t.Errorf("%+v", n)
	}
	k, err := a.Task(t.Context(), mainAccount, n.Task)
	a.must(err)
	if !k.Started || len(k.Weekly[1]) != 2 || k.Concurrency != 22 { // the account's default hours
		t.Errorf("%+v", k)
	}
	if other := number(call(fields{"callerNum": []string{"02160001001"}})); other.Task == n.Task {
		t.Error("another caller number, the same task")
	}
	if r := a.post(aiob3+"/task/list", nil); r.at("total") != json.Number("1") {
		t.Errorf("realtime calls are listed as tasks: %s", r.raw)
	}
	a.refused(a.as(a.token, "POST", aiob3+"/gettask", fields{"taskId": taskWire(&k)}), 400, "任务不存在")
	// Past its deadline a call is not dialled, and told all the same.
	late := call(fields{"stopDate": "2025-06-02 09:59:59", "extJson": "late"})
	soon := call(fields{"stopDate": "2025-06-02 10:05:00", "extJson": "soon"})
	a.work()
	if n := number(late); n.State != waihu.NumberDone || n.Outcome != waihu.Expired {
		t.Errorf("past its deadline: %+v", n)
	}
	if n := number(soon); n.State != waihu.NumberFresh || n.Data.Until != clockNow.Add(5*time.Minute).UnixMilli() {
		t.Errorf("before its deadline: %+v", n)
	}
	a.now = a.now.Add(5 * time.Minute)
	a.work()
	if n := number(soon); n.Outcome != waihu.Expired {
		t.Errorf("at its deadline: %+v", n)
	}
	a.now = clockNow
	a.dial(n.Task, talked(), waihu.NumberDone)
	fault := unreached(waihu.CarrierFault)
	a.dial(n.Task, fault, waihu.NumberDue) // comes back by itself: nothing to tell
	told := a.told(a.made(), 0)
	var got []string
	for _, b := range told {
		var x struct {
			CallbackType int
			Data         aiobCall
		}
		a.must(json.Unmarshal([]byte(b), &x))
		got = append(got, fmt.Sprint(x.CallbackType, " ", x.Data.MemberID, " ", x.Data.EndTypeReason, " ", x.Data.ExtJSON, " ", x.Data.TaskName))
		if x.Data.EndType == endConnected {
			a.golden("aiob_callback_3.json", b)
		}
	}
	want := []string{"3 " + late + " beyonddeadline late 实时任务", "3 " + soon + " beyonddeadline soon 实时任务", "3 " + first + " success e 实时任务"}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	detail := a.post(aiob3+"/member/detail2", fields{"taskMemberId": first})
	if detail.text(0, "taskId") != "3156952326602753" || detail.at(0, "callType") != json.Number("3") {
		t.Errorf("%s", detail.raw)
	}
	// What waits can be taken back: by person, by id, all of it.
	mine := call(fields{"mobile": "13900000001"})
	a.post("/api/v3/console/realtime/mobile/del", fields{"mobile": "13900000001", "robotId": pageAgent})
	a.refused(a.as(a.token, "POST", aiob3+"/member/detail", fields{"taskMemberId": mine}), 400, "被叫号码组无法识别")
	if number(second).State != waihu.NumberDue {
		t.Errorf("the wrong call was taken back: %+v", number(second))
	}
	a.post("/api/v3/console/realtime/mobile/del", nil)
	a.refused(a.as(a.token, "POST", aiob3+"/member/detail", fields{"taskMemberId": second}), 400, "被叫号码组无法识别")
	a.refused(a.as(a.token, "POST", "/api/v3/console/realtime/mobile/del", fields{"batchMarking": "x"}), 400, "批次")
}

// TestAIOBOtherDoor: what another door keeps with a task, or changes of it, is not lost by an update here, and is seen here.
func TestAIOBOtherDoor(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	week := [][][]string{{{"09:00", "10:00"}, {"11:00", "12:00"}}, {{"09:00", "10:00"}}, {}, {}, {}, {}, {{"10:00", "24:00"}}}
	list := []string{a.create(fields{"forbidDialDate": []int{99, 0}, "callerNums": []string{"02160001001", "02160001000"}, "retryTimes": 2, "retryInterval": 3, "dialEndDate": "2025-09-01"})}
	for i, more := range []fields{{"dialTimeType": 1, "dialWeeklyInfo": week}, {"robotId": "123,102", "taskRobotCallStrategy": 0, "dialTimeType": 0}} {
		body := campaign(fields{"taskName": fmt.Sprint("v4 ", i)})
		for k, v := range more {
			body[k] = v
		}
		list = append(list, a.post(aiob4+"/create", body).text("taskId"))
	}
	for _, id := range list {
		k := a.row(id)
		a.must(a.SetTaskDoor(t.Context(), mainAccount, k.ID, "voicefox", []byte(`{"numberFileMeta":{"号码":3}}`)))
		path := aiob4
		if id == list[0] {
			path = aiob3
		}
		a.post(path+"/update", fields{"taskId": id, "retryTimes": 1})
		k = a.row(id)
		if string(k.Doors["voicefox"]) == "" || k.Redial.Max != 1 {
			t.Errorf("task %s keeps %s, redials %d", id, k.Doors, k.Redial.Max)
		}
	}
	k := a.row(list[0])
	k.Agent, k.Weekly, k.Callers, k.Concurrency = "102", waihu.Weekly{1: {{From: 480, To: 600}}}, nil, 3
	a.must(a.UpdateTask(t.Context(), &k))
	r := a.post(aiob3+"/gettask", fields{"taskId": list[0]})
	for key, want := range map[string]any{"robotId": "102", "dialStartTime": "08:00", "dialEndTime": "10:00", "taskCapacity": json.Number("3"), "retryTimes": json.Number("1")} {
		if got := r.at(key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	a.refused(a.as(a.token, "POST", aiob3+"/update", fields{"taskId": list[0], "retryTimes": 2}), 400, "已被其他接口修改")
}

// TestAIOBSamePerson: the same number in another form is not imported, and not dialled, twice.
func TestAIOBSamePerson(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	id := a.create(nil)
	r := a.post(aiob3+"/import", fields{"taskId": id, "secretType": 2, "customerInfoList": []fields{{"mobile": "+8613800000001"}, {"mobile": "13800000001"},
		{"mobile": "13800000002;008613800000002"}}})
	if r.at("successNum") != json.Number("1") || r.text("resList", 1, "reason") != "号码组重复" || !strings.Contains(r.text("resList", 2, "reason"), "号码组内号码重复") {
		t.Errorf("%s", r.raw)
	}
	if r := a.post(aiob3+"/import", fields{"taskId": id, "secretType": 2, "customerInfoList": []fields{{"mobile": "138 0000 0001"}}}); r.at("successNum") != json.Number("0") {
		t.Errorf("%s", r.raw)
	}
	if r := a.post(aiob4+"/task/detail", fields{"taskId": id}); r.at("total") != json.Number("1") {
		t.Errorf("%s", r.raw)
	}
}

// TestAIOBCallbackAddresses: each realtime call may have an address of its own, more of them than an account may have endpoints.
func TestAIOBCallbackAddresses(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	var task int64
	for i := range 130 {
		r := a.post("/api/v3/console/realtime/status/create", fields{"robotId": pageAgent, "mobile": "13800000001", "secretType": 2, "extJson": fmt.Sprint(i),
			"callBackUrl": fmt.Sprintf("http://127.0.0.1:1/rt/%d?order=%d", i, i)})
		id, err := r.at("memberId").(json.Number).Int64()
		a.must(err)
		serial, _ := memberParts(id)
		if task == 0 {
			task = serial
		}
		if serial != task {
			t.Fatalf("call %d stands in a task of its own", i)
		}
	}
	one := a.create(fields{"callBackUrl": "http://127.0.0.1:1/task/1"})
	a.create(fields{"taskName": "二", "callBackUrl": "http://127.0.0.1:1/task/2"})
	own := a.made()
	k, err := a.TaskBySerial(t.Context(), mainAccount, task)
	a.must(err)
	for range 3 {
		a.dial(k.ID, talked(), waihu.NumberDone)
	}
	a.run(one, 2)
	got := a.addressed(own)
	want := []string{"http://127.0.0.1:1/rt/0?order=0", "http://127.0.0.1:1/rt/1?order=1", "http://127.0.0.1:1/rt/2?order=2", "http://127.0.0.1:1/task/1"}
	if !slices.Equal(got, want) {
		t.Errorf("told at %q, want %q", got, want)
	}
	// The account's own endpoint of the very address has its secrets, and is the one that is told.
	kept := waihu.Endpoint{Account: mainAccount, Door: Door, URL: "http://127.0.0.1:1/kept", Authorization: "Bearer x"}
	a.must(a.AddEndpoint(t.Context(), &kept, 0))
	two := a.create(fields{"taskName": "三", "callBackUrl": kept.URL})
	a.run(two, 2)
	if got := a.addressed(kept); !slices.Equal(got, []string{kept.URL}) {
		t.Errorf("told at %q", got)
	}
	if got := a.addressed(own); !slices.Equal(got, want) {
		t.Errorf("told twice: %q", got)
	}
	// Another host is another endpoint.
	a.create(fields{"taskName": "四", "callBackUrl": "http://127.0.0.1:2/a"})
	if list, err := a.Endpoints(t.Context(), mainAccount); err != nil || len(list) != 3 {
		t.Errorf("%+v %v", list, err)
	}
}

// TestAIOBLateJob: a deadline that comes during a call is looked at again.
func TestAIOBLateJob(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	r := a.post("/api/v3/console/realtime/status/create", fields{"robotId": pageAgent, "mobile": "13800000001", "secretType": 2, "stopDate": "2025-06-02 10:01:00"})
	id, err := strconv.ParseInt(fmt.Sprint(r.at("memberId")), 10, 64)
	a.must(err)
	serial, seq := memberParts(id)
	k, err := a.TaskBySerial(t.Context(), mainAccount, serial)
	a.must(err)
	run, _, err := a.LastRun(t.Context(), mainAccount, k.ID)
	a.must(err)
	res := a.tick(&store.Tick{Pops: []store.Pop{{Task: k.ID, Account: mainAccount, Run: run.N, Fresh: true, Limit: 1, Decide: func(store.PoppedNumber) store.Decision {
		return store.Decision{Dial: true, Line: lineOfPage, Agent: "9001"}
	}}}})
	a.now = a.now.Add(2 * time.Minute)
	a.work()
	o := unreached(waihu.CarrierFault)
	o.Call = res.Dials[0].Call
	a.tick(&store.Tick{Book: []store.Booking{{LiveCall: res.Dials[0].LiveCall, Outcome: o, Next: waihu.NumberDue, Due: a.now.Add(time.Minute)}}})
	a.now = a.now.Add(expireAgain)
	a.work()
	if n, err := a.Number(t.Context(), mainAccount, k.ID, seq); err != nil || n.Outcome != waihu.Expired {
		t.Errorf("%+v %v", n, err)
	}
}

// TestAIOBMonths: the task of realtime calls is another one every month; that of two months ago is stopped when nobody waits in it.
func TestAIOBMonths(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	var tasks []waihu.TaskID
	for month := range 5 {
		a.now = clockNow.AddDate(0, month, 0)
		a.token = a.take(accessKey, secretKey)
		for range 2 {
			r := a.post("/api/v3/console/realtime/status/create", fields{"robotId": pageAgent, "mobile": "13800000001", "secretType": 2})
			id, err := r.at("memberId").(json.Number).Int64()
			a.must(err)
			serial, _ := memberParts(id)
			k, err := a.TaskBySerial(t.Context(), mainAccount, serial)
			a.must(err)
			if len(tasks) == month {
				tasks = append(tasks, k.ID)
			}
			if k.ID != tasks[month] || slices.Contains(tasks[:month], k.ID) {
				t.Errorf("month %d: task %s of %v", month, k.ID, tasks)
			}
		}
		if month != 1 { // somebody waits in the second
			a.dial(tasks[month], talked(), waihu.NumberDone)
			a.dial(tasks[month], talked(), waihu.NumberDone)
		}
	}
	for month, want := range []bool{false, true, false, true, true} {
		k, err := a.Task(t.Context(), mainAccount, tasks[month])
		a.must(err)
		if k.Started != want {
			t.Errorf("the task of month %d runs: %v, want %v", month, k.Started, want)
		}
	}
}
