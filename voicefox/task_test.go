package voicefox

import (
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"waihu"
)

func taskPath(id int64, more string) string { return fmt.Sprintf("/openapi/tasks/%d%s", id, more) }

// TestTaskLife: created as the console creates, filled, started, stopped, resumed, finished, deleted.
func TestTaskLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	assistant := w.ok("GET", "/openapi/assistants/123", nil)
	made := w.ok("POST", "/openapi/tasks", body("assistantVid", assistant.number("versionId"), "option.startTime", [][]string{{"09:00", "12:00"}, {"22:00", "06:30"}},
		"option.startDate", "2025-06-01", "option.retryCount", 2, "option.retryInterval", "60", "option.numbers", []int{2}))
	id := made.number("id")
	if made.text("status") != "pending" || made.number("total") != 0 || id != 2 {
		t.Errorf("%s", made.raw)
	}
	if got := fmt.Sprintln(made.at("option", "startTime"), made.at("option", "numbers"), made.at("option", "retryCount"), made.at("option", "retryInterval"), made.at("option", "startDate")); got !=
		"[[00:00 06:30] [09:00 12:00] [22:00 24:00]] [2] 2 60 2025-06-01\n" {
		t.Errorf("option is %s", got)
	}
	k, err := w.TaskBySerial(w.Context(), mainUser, id)
	w.must(err)
	if k.AgentVersion != assistant.number("versionId") || k.Agent != "123" || k.EndAction != waihu.EndPause || !reflect.DeepEqual(k.Callers, []int64{2}) || len(k.Lines) != 0 ||
		k.Redial.Max != 2 || k.Redial.Interval != time.Hour || len(k.Redial.On) == 0 || k.Concurrency != 20 || !k.Stop.IsZero() {
		t.Errorf("the engine's task is %+v", k)
	}
	w.bad(w.as(token, "POST", taskPath(id, "/resume"), nil), 409, "pending")
	for range 2 {
		if r := w.ok("POST", taskPath(id, "/stop"), nil); r.text("status") != "stop.operate" {
			t.Errorf("a task that was not started is %s after a stop", r.text("status"))
		}
	}
	if got := w.ok("GET", "/openapi/tasks", nil); got.text("items", 0, "status") != "stop.operate" || got.text("items", 1, "status") != "pending" {
		t.Errorf("%s", got.raw)
	}
	twin, err := w.CopyTask(t.Context(), mainUser, k.ID, "twin")
	w.must(err)
	if r := w.ok("GET", taskPath(twin.Serial, ""), nil); r.text("status") != "pending" || r.number("assistantVid") != k.AgentVersion {
		t.Errorf("a copy of it: %s", r.raw)
	}
	w.must(w.DeleteTask(t.Context(), mainUser, twin.ID))
	w.numbers(k.ID, "13800000001", "13800000002", "13800000003")
	if r := w.ok("POST", taskPath(id, "/start"), nil); r.text("status") != "pending" || r.number("total") != 3 {
		t.Errorf("started: %s", r.raw)
	}
	w.dial(k.ID, w.answered(), nil)
	if r := w.ok("GET", taskPath(id, ""), nil); r.text("status") != "running" || r.number("progress") != 33 {
		t.Errorf("dialling: %s", r.raw)
	}
	w.ok("POST", taskPath(id, "/start"), nil) // once more changes nothing
	w.bad(w.as(token, "DELETE", taskPath(id, ""), nil), 409)
	if r := w.ok("POST", taskPath(id, "/stop"), nil); r.text("status") != "stop.operate" {
		t.Errorf("stopped: %s", r.raw)
	}
	w.bad(w.as(token, "DELETE", taskPath(id, ""), nil), 409, "run 1")
	if r := w.ok("POST", taskPath(id, "/resume"), nil); r.text("status") != "running" {
		t.Errorf("resumed: %s", r.raw)
	}
	runs, err := w.Runs(w.Context(), mainUser, k.ID)
	if err != nil || len(runs) != 2 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
	// Another door's task can be deleted here, and this one is seen there.
	if list := w.ok("GET", "/openapi/tasks?pageSize=1&pageIndex=2", nil); list.number("items", 0, "id") != 1 || list.number("total") != 2 || list.number("pageSize") != 1 || list.number("pageIndex") != 2 {
		t.Errorf("%s", list.raw)
	}
	if list := w.ok("GET", "/openapi/tasks?name="+"%E5%9B%9E", nil); list.number("total") != 1 || list.number("items", 0, "id") != id {
		t.Errorf("by name: %s", list.raw)
	}
	if r := w.ok("DELETE", taskPath(1, ""), nil); r.number("id") != 1 {
		t.Errorf("%s", r.raw)
	}
	w.bad(w.as(token, "GET", taskPath(1, ""), nil), 404)
}

// TestTaskSchedule: how the schedule of the body becomes the engine's.
func TestTaskSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zone := waihu.Location("")
	for _, x := range []struct {
		name   string
		change []any
		stop   time.Time
		days   string
	}{
		{"every day", nil, time.Time{}, "1111111"},
		{"onetime", []any{"option.taskTimeType", "onetime", "option.startTime", [][]string{{"09:00", "12:00"}, {"14:00", "18:30"}}}, time.Date(2025, 6, 2, 18, 30, 0, 0, zone), "1111111"},
		{"onetime over midnight", []any{"option.taskTimeType", "onetime", "option.startTime", [][]string{{"22:00", "06:00"}}}, time.Date(2025, 6, 3, 6, 0, 0, 0, zone), "1111111"},
		{"to a day", []any{"option.endDate", "2025-06-30", "option.startTime", [][]string{{"9:00", "24:00"}}}, time.Date(2025, 7, 1, 0, 0, 0, 0, zone), "1111111"},
		{"weekdays", []any{"option.weeks", object{"0": false, "1": true, "3": true, "6": false}}, time.Time{}, "0101000"},
	} {
		r := w.ok("POST", "/openapi/tasks", body(x.change...))
		k, err := w.TaskBySerial(w.Context(), mainUser, r.number("id"))
		w.must(err)
		days := ""
		for _, d := range k.Weekly {
			days += fmt.Sprint(min(1, len(d)))
		}
		if !k.Stop.Equal(x.stop) || days != x.days || k.Zone != "Asia/Shanghai" {
			t.Errorf("%s: stops %s, days %s", x.name, k.Stop, days)
		}
	}
	// Without a date it begins today, without numbers it calls from every line; autoStart starts it.
	b := body("option.numbers", nil, "option.startDate", "", "autoStart", true, "assistantVid", nil, "assistantId", 123, "remark", "r")
	r := w.ok("POST", "/openapi/tasks", b)
	k, err := w.TaskBySerial(w.Context(), mainUser, r.number("id"))
	w.must(err)
	if r.text("option", "startDate") != "2025-06-02" || k.Concurrency != 22 || !k.Started || len(r.at("option", "numbers").([]any)) != 4 || k.AgentVersion == 0 || k.Remark != "r" {
		t.Errorf("%s\n%+v", r.raw, k)
	}
}

// TestTaskRefused: what a task must not be, each with its field; nothing is made.
func TestTaskRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for field, change := range map[string][]any{
		"name":                           {"name", " "},
		"name: at most 200":              {"name", strings.Repeat("长", 201)},
		"assistantVid":                   {"assistantVid", 999},
		"assistantId":                    {"assistantVid", 0, "assistantId", 700},
		"category":                       {"category", "sms"},
		"concurrency":                    {"concurrency", -1},
		"option.numbers[1]":              {"option.numbers", []int{1, 99}},
		"option.startDate":               {"option.startDate", "tomorrow"},
		"option.startTime":               {"option.startTime", [][]string{}},
		"option.startTime[0]":            {"option.startTime", [][]string{{"09:00", "09:00"}}},
		"option.endDate":                 {"option.endDate", "2025-06-01"},
		"option.weeks":                   {"option.weeks", object{"7": true}},
		"option.taskTimeType":            {"option.taskTimeType", "sometimes"},
		"option.retryCount":              {"option.retryCount", 11},
		"option.retryInterval":           {"option.retryInterval", -1},
		"option.numberFileMeta":          {"option.numberFileMeta", object{"姓名": 0}},
		"option.taskTransfer.target":     {"option.taskTransfer", object{"target": 3}},
		"option.smsOption.isActive":      {"option.smsOption", object{"isActive": true}},
		"unknown field \"nam\"":          {"nam", "x"},
		"assistantVid: a whole number":   {"assistantVid", "x"},
		"option.retryCount: a whole":     {"option.retryCount", 1.5},
		"option.numbers: a whole number": {"option.numbers", []any{1, "a"}},
		"option.startTime: a list":       {"option.startTime", "09:00"},
		"at least one day":               {"option.weeks", object{"1": false}},
		"the versionId of an assistant":  {"assistantVid", 0},
		"two different times of the day": {"option.startTime", [][]string{{"25:00", "26:00"}}},
	} {
		w.bad(w.as(token, "POST", "/openapi/tasks", body(change...)), 422, field)
	}
	for _, text := range []string{"", "{", "[]", "null x", `{"name":"\u0000"}`, "\xff", `{"name":1}`} {
		w.bad(w.as(token, "POST", "/openapi/tasks", text), 422)
	}
	w.bad(w.as(token, "POST", "/openapi/tasks", `{"name":"`+strings.Repeat("x", maxBody)+`"}`), 413)
	if n := w.ok("GET", "/openapi/tasks", nil).number("total"); n != 1 {
		t.Errorf("%d tasks", n)
	}
	// A start that the preflight refuses says why and starts nothing.
	w.problems = []waihu.Problem{{Field: "agent", Message: "cannot talk"}}
	w.bad(w.as(token, "POST", "/openapi/tasks/1/start", nil), 422, "agent: cannot talk")
	w.bad(w.as(token, "POST", "/openapi/tasks", body("autoStart", true)), 422, "agent: cannot talk")
	if r := w.ok("GET", "/openapi/tasks/1", nil); r.text("status") != "pending" {
		t.Errorf("%s", r.raw)
	}
	w.problems = nil
	// One that cannot be started at once is not made.
	w.bad(w.as(token, "POST", "/openapi/tasks", body("autoStart", true, "option.startDate", "2025-06-01", "option.taskTimeType", "onetime")), 409, "window")
	if n := w.ok("GET", "/openapi/tasks", nil).number("total"); n != 1 {
		t.Errorf("%d tasks", n)
	}
	// A done task is not started again without more numbers.
	w.numbers(taskID, "13800000001")
	w.dial(taskID, w.answered())
	w.must(w.StopTask(t.Context(), mainUser, taskID))
	w.bad(w.as(token, "POST", "/openapi/tasks/1/start", nil), 409, "done")
	w.numbers(taskID, "13800000002")
	if r := w.ok("POST", "/openapi/tasks/1/start", nil); r.text("status") != "running" {
		t.Errorf("%s", r.raw)
	}
}

// TestOtherDoorsTask: what a task of another door shows where this one would keep something.
func TestOtherDoorsTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := waihu.Task{Account: mainUser, Name: "x", Agent: "9001", Concurrency: 1, Redial: waihu.Redial{Max: 3, ByRule: []waihu.RedialDetail{{On: waihu.Busy, After: time.Hour}, {On: waihu.NoAnswer, After: 5 * time.Minute}}}}
	k.Weekly[1], k.Weekly[2] = []waihu.Span{{From: 540, To: 720}}, []waihu.Span{{From: 700, To: 800}, {From: 1000, To: 1440}}
	w.must(w.CreateTask(t.Context(), &k))
	r := w.ok("GET", taskPath(k.Serial, ""), nil)
	if got := fmt.Sprintln(r.at("option", "startTime"), r.at("option", "retryCount"), r.at("option", "retryInterval"), r.at("option", "startDate"), r.at("option", "numbers")); got !=
		"[[09:00 13:20] [16:40 24:00]] 3 5  [1 2 3 4]\n" {
		t.Errorf("option is %s", got)
	}
	if r.text("assistant", "collect", 0, "question") != "货物是否完好" || r.text("assistant", "scene") != "outbound_collect" || r.number("assistantVid") == 0 {
		t.Errorf("%s", r.raw)
	}
	before := r.number("assistantVid")
	w.ok("PUT", "/openapi/assistants/9001", object{"welcome": "新的"})
	if after := w.ok("GET", taskPath(k.Serial, ""), nil); after.number("assistantVid") == before || after.text("assistant", "welcome") != "新的" {
		t.Errorf("a task that pins nothing shows %s", after.raw)
	}
}

// TestPaths: slashes, methods and unknown paths are answered in the door's own words.
func TestPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := httptest.NewRequest("GET", "http://x//openapi//tasks/1", nil)
	r.Header.Set("Authorization", "bearer "+token)
	if got := w.send(r); got.code != 200 {
		t.Errorf("doubled slashes: %d %s", got.code, got.raw)
	}
	got := w.as(token, "PUT", "/openapi/tasks/1", nil)
	w.bad(got, 405, "GET, DELETE")
	if got.header.Get("Allow") != "GET, DELETE" {
		t.Errorf("Allow: %s", got.header.Get("Allow"))
	}
	for _, path := range []string{"/openapi/nothing", "/openapi/tasks/1/../2", "/", "/openapi/calltrace/x", "/openapi/calltrace/-1"} {
		w.bad(w.as(token, "GET", path, nil), 404)
	}
	for _, path := range []string{"/openapi/tasks/x", "/openapi/tasks/0", "/openapi/tasks/-1", "/openapi/tasks/1.0", "/openapi/tasks/99999999999999999999", "/openapi/assistants/x",
		"/openapi/tasks?pageIndex=0", "/openapi/tasks?pageSize=x", "/openapi/tasks?pageIndex=2147483647"} {
		w.bad(w.as(token, "GET", path, nil), 422)
	}
	w.bad(w.as(token, "GET", "/openapi/tasks/999", nil), 404)
	w.bad(w.as(token, "GET", "/openapi/tasks/%ff", nil), 404)
}

// TestRate: a token that asks too fast is answered 429 with Retry-After.
func TestRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.PerSecond = 3 })
	for range 3 {
		w.ok("GET", "/openapi/tasks/1", nil)
	}
	r := w.as(token, "GET", "/openapi/tasks/1", nil)
	w.bad(r, 429, "3 a second")
	if r.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", r.header.Get("Retry-After"))
	}
	if r := w.as(otherToken, "GET", "/openapi/tasks", nil); r.code != 200 {
		t.Errorf("another token: %s", r.raw)
	}
	w.now = w.now.Add(time.Second)
	w.ok("GET", "/openapi/tasks/1", nil)
}
