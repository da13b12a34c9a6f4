package keyue

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// TestAIOBToken: an access key becomes a token of thirty days; asked for again the same day it is the same; who revokes the key ends it.
func TestAIOBToken(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	r := a.as("", "POST", "/api/v2/getToken", fields{"accessKey": accessKey, "secretKey": secretKey})
	a.fine(r)
	if r.at("expiresTime") != json.Number("43200") || r.at("tenantId") != json.Number("3156952326602753") || r.msg != "OK" || r.at("secretKey") != nil {
		t.Errorf("%s", r.raw)
	}
	if r.text("accessToken") != a.token || !strings.HasPrefix(a.token, "cc-api-auth-v2/10.") {
		t.Errorf("another token on the same day: %s", r.raw)
	}
	for _, bad := range []fields{{}, {"accessKey": accessKey}, {"accessKey": "", "secretKey": secretKey}} {
		a.refused(a.as("", "POST", "/api/v2/getToken", bad), 400, "Key")
	}
	for _, pair := range [][2]string{{accessKey, "wrong-secret-of-letters"}, {"nobody", secretKey}, {accessKey, strangerSecret}, {accessKey + "\n" + secretKey, "x"}} {
		a.refused(a.as("", "POST", "/api/v2/getToken", fields{"accessKey": pair[0], "secretKey": pair[1]}), 401, "accessKey")
	}
	list := func(token string) reply { return a.as(token, "GET", "/api/v1/did/list", nil) }
	for _, token := range []string{"", "x", "YUNFU_TOKEN", page.token, store.KeyPair(accessKey, secretKey), "cc-api-auth-v1/ak/2021-04-13T08:05:43Z/1800000/host/x"} {
		a.refused(list(token), 401, "Authorization")
	}
	a.fine(list(a.token))
	a.fine(list("Bearer " + a.token))
	a.fine(list("YOUR_TOKEN")) // one for every door
	// The token is of this family alone.
	for _, path := range []string{"/open/v1/api/v3/agents"} {
		a.bad(a.do(headers{a.token, page.uid, page.username}, "GET", path, nil), denied)
	}
	a.now = a.now.Add(24 * time.Hour)
	next := a.take(accessKey, secretKey)
	if next == a.token {
		t.Error("the token does not change with the day")
	}
	a.fine(list(a.token))
	a.now = a.now.Add(29*24*time.Hour + time.Minute)
	a.refused(list(a.token), 401)
	a.fine(list(next))
	a.take(accessKey, secretKey)
	tokens, err := a.Tokens(t.Context(), mainAccount)
	a.must(err)
	var alive int
	for _, k := range tokens {
		if k.Scope == doorAIOB {
			alive++
		}
	}
	if alive != 2 {
		t.Errorf("%d access tokens are kept, want the two that hold", alive)
	}
	for _, k := range tokens {
		if k.Scope == scopeKey {
			a.must(a.RevokeToken(t.Context(), mainAccount, k.ID))
		}
	}
	a.refused(list(next), 401)
}

// TestAIOBLimit: who asks too fast is told when to ask again.
func TestAIOBLimit(t *testing.T) {
	t.Parallel()
	a := newAIOB(t, func(o *Options) { o.PerSecond = 1 })
	var last reply
	for range 20 {
		if last = a.as(a.token, "GET", "/api/v1/did/list", nil); last.status == 429 {
			break
		}
	}
	a.refused(last, 429, "频繁")
	if last.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// TestAIOBTask: what a V3 task becomes in the ledger, and what comes back.
func TestAIOBTask(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	id := a.create(fields{"dialEndDate": "2025-06-30", "dialStartTime": "09:30", "dialEndTime": "18:00", "forbidDialDate": []int{6, 0}, "retryTimes": 2, "retryInterval": 7,
		"forbidDialTime": []fields{{"forbidDialStartTime": "12:00", "forbidDialEndTime": "13:00"}}, "callerNums": []string{"02160001001"}, "taskCapacity": 5, "callFinishTaskEnd": 0})
	k := a.row(id)
	if k.Name != "呼叫任务123_测试" || k.Agent != "9001" || k.Concurrency != 5 || len(k.Callers) != 1 || len(k.Lines) != 0 || k.EndAction != waihu.EndNothing ||
		!k.Start.Equal(time.Date(2025, 6, 1, 0, 0, 0, 0, waihu.Location(""))) || !k.Stop.Equal(time.Date(2025, 7, 1, 0, 0, 0, 0, waihu.Location(""))) ||
		k.Redial.Max != 2 || k.Redial.Interval != 7*time.Minute || !slices.Contains(k.Redial.On, waihu.NoAnswer) || slices.Contains(k.Redial.On, waihu.Vacant) {
		t.Errorf("%+v", k)
	}
	if want := []waihu.Span{{From: 570, To: 720}, {From: 780, To: 1080}}; !slices.Equal(k.Weekly[1], want) || k.Weekly[0] != nil || k.Weekly[6] != nil {
		t.Errorf("week %v", k.Weekly)
	}
	got := a.post(aiob3+"/gettask", fields{"taskId": id})
	for key, want := range map[string]any{"taskId": json.Number(id), "robotId": pageAgent, "status": json.Number("1"), "dialStartTime": "09:30", "dialEndDate": "2025-06-30",
		"retryInterval": json.Number("7"), "tenantId": json.Number("3156952326602753"), "forbidDialTimeIsEmpty": json.Number("0"), "isOpenEmptyNum": false} {
		if got.at(key) != want {
			t.Errorf("%s is %v, want %v", key, got.at(key), want)
		}
	}
	if n := a.post(aiob3+"/available/capacity", nil).at("tenantLeftCapacity"); n != json.Number("17") { // 22 channels less 5
		t.Errorf("left %v", n)
	}
	if n := a.post(aiob3+"/available/capacity", fields{"taskId": id}).at("tenantLeftCapacity"); n != json.Number("22") {
		t.Errorf("left without the task %v", n)
	}
	// An update keeps what it does not name.
	a.post(aiob3+"/update", fields{"taskId": id, "dialEndTime": "17:00", "retryTimes": 0})
	k = a.row(id)
	if k.Weekly[1][1].To != 1020 || k.Redial.Max != 0 || len(k.Callers) != 1 || k.Name != "呼叫任务123_测试" || k.Weekly[0] != nil {
		t.Errorf("after the update %+v", k)
	}
	// By default all lines, and the task ends with its numbers.
	k = a.row(a.create(fields{"taskName": "二"}))
	if k.Concurrency != 22 || k.EndAction != waihu.EndPause || !k.Stop.IsZero() {
		t.Errorf("defaults %+v", k)
	}
	list := a.post(aiob3+"/task/list", fields{"statusList": []int{1}, "robotIdList": []string{pageAgent}, "taskName": "呼叫"})
	if list.at("total") != json.Number("1") || list.text("list", 0, "taskId") != id {
		t.Errorf("list %s", list.raw)
	}
	all := a.post(aiob3+"/task/list", nil)
	if all.at("total") != json.Number("3") { // the fixture's task too
		t.Errorf("list %s", all.raw)
	}
	// A task of another door is read, not changed.
	for i := range 3 {
		if foreign := all.text("list", i, "taskId"); foreign != "" && a.row(foreign).Doors[doorAIOB] == nil {
			if r := a.post(aiob3+"/gettask", fields{"taskId": foreign}); r.at("dialStartTime") == "" || r.at("robotId") == "" {
				t.Errorf("a task of another door: %s", r.raw)
			}
			a.refused(a.as(a.token, "POST", aiob3+"/update", campaign(fields{"taskId": foreign})), 400, "不是通过本接口")
		}
	}
	a.refused(a.as(a.token, "POST", aiob3+"/create", campaign(nil)), 400, "重复")
	a.post(aiob3+"/delete", fields{"taskId": id})
	a.refused(a.as(a.token, "POST", aiob3+"/gettask", fields{"taskId": id}), 400, "任务不存在")
}

// TestAIOBTask4: several robots, and the ways to name a week.
func TestAIOBTask4(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	a.must(a.SaveAgent(t.Context(), &waihu.AgentSpec{ID: "second", Account: mainAccount, Name: "第二个", Brain: waihu.BrainFlow, State: waihu.AgentOnline}))
	v4 := func(change fields) waihu.Task {
		t.Helper()
		body := fields{"dialStartTime": nil, "dialEndTime": nil}
		for k, v := range change {
			body[k] = v
		}
		return a.row(a.post(aiob4+"/create", campaign(body)).text("taskId"))
	}
	k := v4(fields{"taskName": "a", "dialTimeType": 0, "dialTimeInDay": 3, "dialDayInWeek": 1, "dialNoonBreak": 2})
	if want := []waihu.Span{{From: 600, To: 720}, {From: 840, To: 1020}}; !slices.Equal(k.Weekly[3], want) || k.Weekly[0] != nil || k.Weekly[6] != nil {
		t.Errorf("options: %v", k.Weekly)
	}
	k = v4(fields{"taskName": "b", "dialTimeType": 1, "dialWeeklyInfo": []any{[]any{[]string{"8:00", "12:00"}, []string{"14:00", "18:00"}}, []any{[]string{"9:00", "17:00"}}, []any{}, []any{}, []any{},
		[]any{[]string{"7:00", "8:00"}, []string{"12:00", "13:00"}}, []any{}}})
	if want := []waihu.Span{{From: 480, To: 720}, {From: 840, To: 1080}}; !slices.Equal(k.Weekly[1], want) || len(k.Weekly[2]) != 1 || len(k.Weekly[6]) != 2 || k.Weekly[0] != nil {
		t.Errorf("the page's sample: %v", k.Weekly)
	}
	k = v4(fields{"taskName": "c", "dialTimeInDay": 0, "robotId": pageAgent + ",second", "taskRobotCallStrategy": 0})
	if k.Routing.Kind != waihu.RouteSeveral || len(k.Routing.Several) != 2 || k.Routing.Several[1].Agent != "second" {
		t.Errorf("A/B: %+v", k.Routing)
	}
	k = v4(fields{"taskName": "d", "dialTimeInDay": 0, "robotId": pageAgent + ",second", "maxRetryTimes": 2})
	if k.Routing.Kind != waihu.RouteByAttempt || k.Redial.Max != 2 {
		t.Errorf("in sequence: %+v", k.Routing)
	}
	a.refused(a.as(a.token, "POST", aiob4+"/update", fields{"taskId": taskWire(&k), "robotId": "second"}), 400, "不能互相转换")
	a.post(aiob4+"/update", fields{"taskId": taskWire(&k), "dialNoonBreak": 1})
	if got := a.row(taskWire(&k)); len(got.Weekly[1]) != 2 || got.Routing.Kind != waihu.RouteByAttempt {
		t.Errorf("after the update: %+v", got)
	}
	for text, change := range map[string]fields{"dialWeeklyInfo": {"dialTimeType": 1, "dialWeeklyInfo": []any{}}, "ABTest": {"robotId": pageAgent + ",second,second,second", "taskRobotCallStrategy": 0, "dialTimeInDay": 0},
		"不支持": {"dialTimeInDay": 0, "holidaySeason": []int{1}}, "结束时间": {"dialTimeType": 1, "dialWeeklyInfo": []any{[]any{[]string{"9:00", "9:00"}}, []any{}, []any{}, []any{}, []any{}, []any{}, []any{}}}} {
		change["taskName"] = "x"
		a.refused(a.as(a.token, "POST", aiob4+"/create", campaign(change)), 400, text)
	}
}

// TestAIOBHolidays: the forbidden day 99 closes the statutory holidays and those of the apply file.
func TestAIOBHolidays(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	main, err := a.Account(t.Context(), mainAccount)
	a.must(err)
	main.Doors[doorAIOB] = []byte(`{"holidays":["2025-10-04/2025-10-08","2025-06-20"]}`)
	a.must(a.UpsertAccount(t.Context(), main))
	k := a.row(a.create(fields{"forbidDialDate": []int{99}, "dialEndDate": "2025-12-31"}))
	closed := func(day string) bool {
		at, err := time.ParseInLocation(time.DateTime, day+" 10:00:00", waihu.Location(""))
		a.must(err)
		return slices.ContainsFunc(k.Holidays, func(p waihu.Period) bool { return !at.Before(p.From) && at.Before(p.To) })
	}
	for day, want := range map[string]bool{"2025-10-01": true, "2025-10-03": true, "2025-10-06": true, "2025-10-08": true, "2025-10-09": false, "2025-06-20": true, "2025-06-02": false, "2025-09-30": false} {
		if closed(day) != want {
			t.Errorf("%s closed: %v", day, closed(day))
		}
	}
	for year, row := range statutory {
		for _, day := range row {
			if _, err := time.Parse("01-02", day); err != nil {
				t.Errorf("%d: %v", year, err)
			}
		}
	}
	a.refused(a.as(a.token, "POST", aiob3+"/create", campaign(fields{"taskName": "x", "forbidDialDate": []int{99}, "dialEndDate": "2040-01-01"})), 400, "节假日日历")
}

// TestAIOBStates walks a task through its states, each by what really happens to its runs.
func TestAIOBStates(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	walk := func(name string, f func(id string, k waihu.Task), want, reason string) {
		t.Helper()
		id := a.create(fields{"taskName": name})
		a.bring(id, "13800000001", "13800000002")
		before, err := a.LastEvent(t.Context(), mainAccount)
		a.must(err)
		if got := a.state(id); got != "1" {
			t.Errorf("%s: created as %s", name, got)
		}
		if r := a.run(id, 2); r.msg != "任务状态变更成功,变更为『执行中』" || a.state(id) != "2" {
			t.Errorf("%s: %s %s", name, r.msg, a.state(id))
		}
		f(id, a.row(id))
		if got := a.state(id); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		var changes []string
		for _, b := range a.told(waihu.Endpoint{Account: mainAccount}, before) {
			var x struct {
				CallbackType int
				Data         struct {
					TaskStatus int
					Reason     string
				}
			}
			a.must(json.Unmarshal([]byte(b), &x))
			if x.CallbackType == backTask {
				changes = append(changes, x.Data.Reason)
			}
		}
		if got := strings.Join(changes, " "); got != reason {
			t.Errorf("%s: told %q, want %q", name, got, reason)
		}
	}
	closeRun := func(why waihu.RunReason) func(string, waihu.Task) {
		return func(_ string, k waihu.Task) {
			a.tick(&store.Tick{Close: []store.RunClose{{Task: k.ID, Run: 1, Reason: why}}})
		}
	}
	walk("paused", func(id string, _ waihu.Task) { a.run(id, 3) }, "3", "手动启动任务 手动暂停任务")
	walk("paused and run again", func(id string, _ waihu.Task) { a.run(id, 3); a.run(id, 2) }, "2", "手动启动任务 手动暂停任务 手动启动任务")
	walk("finished", func(id string, _ waihu.Task) { a.run(id, 4) }, "4", "手动启动任务 手动终止任务")
	walk("paused, then finished", func(id string, _ waihu.Task) { a.run(id, 3); a.run(id, 4); a.run(id, 4) }, "4", "手动启动任务 手动暂停任务 手动终止任务")
	walk("expired", closeRun(waihu.RunTimeout), "4", "手动启动任务 任务已到期")
	walk("no line", closeRun(waihu.RunAbnormal), "3", "手动启动任务 无可用主叫号码")
	walk("done", func(_ string, k waihu.Task) {
		a.dial(k.ID, talked(), waihu.NumberDone)
		a.dial(k.ID, unreached(waihu.Busy), waihu.NumberDone)
		closeRun(waihu.RunDone)("", k)
	}, "4", "手动启动任务 任务已呼叫完成")
	// What is finished stays so.
	id := a.create(fields{"taskName": "over"})
	a.run(id, 4)
	a.refused(a.as(a.token, "POST", aiob3+"/task/status/update", fields{"taskId": id, "taskStatus": 2}), 400, "任务已完成")
	a.refused(a.as(a.token, "POST", aiob3+"/import", fields{"taskId": id, "secretType": 2, "customerInfoList": []fields{{"mobile": "13800000001"}}}), 400, "任务已完成")
	a.refused(a.as(a.token, "POST", aiob3+"/update", campaign(fields{"taskId": id})), 400, "任务已完成")
	a.refused(a.as(a.token, "POST", aiob3+"/delete", fields{"taskId": id}), 400, "已完成")
	waiting := a.create(fields{"taskName": "waiting"})
	a.refused(a.as(a.token, "POST", aiob3+"/task/status/update", fields{"taskId": waiting, "taskStatus": 3}), 400, "尚未启动")
	// Another door may start it again: then it runs.
	_, err := a.StartTask(t.Context(), mainAccount, a.row(id).ID)
	a.must(err)
	if a.state(id) != "2" {
		t.Error("a finished task that another door started does not show as running")
	}
	for why := range afterRun {
		if afterRun[why].state == 0 {
			t.Errorf("%s has no state", why)
		}
	}
}

// TestAIOBPreflight: what stands against a start is said, and nothing is started.
func TestAIOBPreflight(t *testing.T) {
	t.Parallel()
	a := newAIOB(t, func(o *Options) {
		o.Preflight = func(context.Context, waihu.Task) []waihu.Problem {
			return []waihu.Problem{{Field: "agent", Message: "has no voice"}}
		}
	})
	id := a.create(nil)
	a.refused(a.as(a.token, "POST", aiob3+"/task/status/update", fields{"taskId": id, "taskStatus": 2}), 400, "has no voice")
	if a.state(id) != "1" {
		t.Error("it was started")
	}
	// Nor does a realtime call that cannot be placed leave anything behind.
	call := fields{"robotId": pageAgent, "mobile": "13800000001", "secretType": 2, "callBackUrl": "http://127.0.0.1:1/rt"}
	a.refused(a.as(a.token, "POST", "/api/v3/console/realtime/status/create", call), 400, "has no voice")
	if _, total, err := a.Tasks(t.Context(), []waihu.AccountID{mainAccount}, store.TaskFilter{Name: standingName}); err != nil || total != 0 {
		t.Errorf("%d standing tasks, %v", total, err)
	}
	if list, err := a.Endpoints(t.Context(), mainAccount); err != nil || len(list) != 0 {
		t.Errorf("endpoints %v, %v", list, err)
	}
	// An offline robot is no robot of a new task.
	a.do(page, "POST", v3+"/agents/offline", fields{"agentId": pageAgent})
	a.refused(a.as(a.token, "POST", aiob3+"/create", campaign(fields{"taskName": "x"})), 400, "未发布")
}

// TestAIOBReasons: every disposition has a reason, and only documented ones.
func TestAIOBReasons(t *testing.T) {
	t.Parallel()
	words := []string{"success", "notexist", "stopped", "poweroff", "cantbeconnected", "linebusy", "ruleslimit", "beyonddeadline", "blacklist", "else"}
	for d := waihu.Answered; d <= waihu.Expired; d++ {
		if !slices.Contains(words, endReasons[d]) {
			t.Errorf("%s has the reason %q", d, endReasons[d])
		}
	}
	for _, word := range words {
		if !slices.ContainsFunc(slices.Collect(mapsValues(endReasons)), func(w string) bool { return w == word }) {
			t.Errorf("nothing shows as %s", word)
		}
	}
}

func mapsValues[K comparable, V any](m map[K]V) func(func(V) bool) {
	return func(yield func(V) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// TestAIOBAccount: robots, caller numbers, the blacklist, a recording by its link.
func TestAIOBAccount(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	robots := a.as(a.token, "GET", "/api/v1/robot/list?ps=100", nil)
	a.fine(robots)
	if !strings.Contains(robots.raw, pageAgent) {
		t.Errorf("robots %s", robots.raw)
	}
	a.do(page, "POST", v3+"/agents/offline", fields{"agentId": pageAgent})
	if r := a.as(a.token, "GET", "/api/v1/robot/list?ps=100", nil); strings.Contains(r.raw, pageAgent) {
		t.Error("an offline robot is listed")
	}
	if r := a.as(a.token, "GET", "/api/v1/did/list", nil); r.at("total") != json.Number("4") || r.text("list", 0, "didNumber") != "02160001000" || r.at("list", 0, "didType") != json.Number("1") {
		t.Errorf("callers %s", r.raw)
	}
	made := a.post("/api/v1/blacklist/create", fields{"identification": "138 0000 0001"})
	if list, err := a.Suppressed(t.Context(), mainAccount, "", 10); err != nil || len(list) != 1 || list[0].Phone != "13800000001" {
		t.Errorf("%v %v", list, err)
	}
	if strings.Contains(made.text("id"), "0000") {
		t.Errorf("the id tells the number: %s", made.raw)
	}
	a.refused(a.as(a.token, "POST", "/api/v1/blacklist/create", fields{"identification": "13800000002", "effectiveEndTime": "2025-07-01 00:00:00"}), 400, "effectiveEndTime")
	a.refused(a.as(a.token, "POST", "/api/v1/blacklist/delete", fields{"ids": []string{made.text("id"), "1"}}), 400, "不存在")
	a.refused(a.as(a.foreign, "POST", "/api/v1/blacklist/delete", fields{"ids": []string{made.text("id")}}), 400, "不存在")
	a.post("/api/v1/blacklist/delete", fields{"ids": []string{made.text("id")}})
	if list, err := a.Suppressed(t.Context(), mainAccount, "", 10); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

// TestAIOBRecord: contactUUID leads to an address that plays for a while and for nobody else's token.
func TestAIOBRecord(t *testing.T) {
	t.Parallel()
	a := newAIOB(t, func(o *Options) {
		o.Recordings = func(_ context.Context, k *waihu.Call) (*waihu.Recording, error) {
			return &waihu.Recording{ReadSeekCloser: sound{strings.NewReader("RIFF" + k.ID.String())}}, nil
		}
	})
	id := a.create(nil)
	member := a.bring(id, "13800000001")[0]
	a.run(id, 2)
	a.dial(a.row(id).ID, talked(), waihu.NumberDone)
	oldest := a.post(aiob3+"/member/detail", fields{"taskMemberId": member}) // on this page alone these two times are texts
	for _, key := range []string{"startTime", "talkingStartTime"} {
		if _, err := time.ParseInLocation(time.DateTime, oldest.text(0, key), time.UTC); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, number := a.post(aiob3+"/member/detail2", fields{"taskMemberId": member}).at(0, "startTime").(json.Number); !number {
		t.Error("detail2 has a startTime that is no number")
	}
	uuid := oldest.text(0, "contactUUID")
	r := a.as(a.token, "GET", "/api/v1/record?operation=3&contactUuid="+uuid, nil)
	a.fine(r)
	fetch := func(address string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		a.door.ServeHTTP(rec, httptest.NewRequest("GET", address, nil))
		return rec
	}
	for _, key := range []string{"recordUrl", "downloadUrl"} {
		got := fetch(r.text(0, key))
		if got.Code != 200 || !strings.HasPrefix(got.Body.String(), "RIFF") || got.Header().Get("Content-Type") != "audio/wav" || (key == "downloadUrl") != (got.Header().Get("Content-Disposition") != "") {
			t.Errorf("%s: %d %s %v", key, got.Code, got.Body, got.Header())
		}
	}
	a.refused(a.as(a.foreign, "POST", "/api/v1/record", fields{"contactUuid": uuid}), 400, "录音不存在")
	for _, bad := range []string{"1", "_", "x_1", uuid + "9"} {
		a.refused(a.as(a.token, "POST", "/api/v1/record", fields{"contactUuid": bad}), 400, "录音不存在")
	}
	a.now = a.now.Add(31 * time.Minute)
	if got := fetch(r.text(0, "recordUrl")); got.Code != 404 {
		t.Errorf("after its time: %d", got.Code)
	}
}

type sound struct{ *strings.Reader }

func (sound) Close() error { return nil }
