package voicefox

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"waihu"
)

// TestCallLog: the vendor's fields, defaults, filters and paging.
func TestCallLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.numbers(taskID, "13800000001", "13800000002", "13800000003", "13800000004")
	w.now = clockNow.AddDate(0, 0, -1)
	w.dial(taskID, w.unanswered(waihu.Busy)) // yesterday
	w.now = clockNow
	w.dial(taskID, w.answered(), w.unanswered(waihu.NoAnswer), nil) // one in progress: not in the log
	log := func(query string) reply { t.Helper(); return w.ok("GET", "/openapi/calllog?"+query, nil) }
	today := log("")
	if today.number("total") != 2 || today.number("pageIndex") != 1 || today.number("pageSize") != 10 {
		t.Fatalf("today: %s", today.raw)
	}
	sample := tree(t, []byte(`{"items":[{"sessionId":"","taskId":0,"startAt":"","answerAt":"","endAt":"","callee":"","caller":"","direction":"","duration":0,"billsec":0,"recordFile":"",
		"assistant":[{"id":0,"vid":0}]}],"total":0,"pageIndex":0,"pageSize":0}`))
	sameShape(t, "log", sample, today.body)
	vid := w.ok("GET", "/openapi/assistants/123", nil).number("versionId")
	for i, item := range today.at("items").([]any) {
		m := item.(object)
		want := object{"callee": "13800000002", "direction": "outbound", "startAt": "2025-06-02T10:00:00.000+08:00", "endAt": "2025-06-02T10:00:35.000+08:00", "answerAt": "2025-06-02T10:00:05.000+08:00", "caller": "02160001000"}
		numbers := map[string]int64{"duration": 35, "billsec": 30, "taskId": 1}
		if i == 0 { // the latest first
			want = object{"callee": "13800000003", "answerAt": "", "recordFile": "", "caller": ""}
			numbers = map[string]int64{"duration": 10, "billsec": 0, "taskId": 1}
		}
		for k, v := range want {
			if m[k] != v {
				t.Errorf("item %d: %s is %v, want %v", i, k, m[k], v)
			}
		}
		for k, v := range numbers {
			if got := today.number("items", i, k); got != v {
				t.Errorf("item %d: %s is %d, want %d", i, k, got, v)
			}
		}
		if today.number("items", i, "assistant", 0, "id") != 123 || today.number("items", i, "assistant", 0, "vid") != vid {
			t.Errorf("item %d: assistant is %v", i, m["assistant"])
		}
	}
	for query, want := range map[string]int64{
		"startTime=2025-06-01+00:00:00":                             3,
		"startTime=2025-06-01+00:00:00&endTime=2025-06-01+23:59:59": 1,
		"startTime=2025-06-01&endTime=2025-06-01":                   1,
		"startTime=2025-06-02+10:00:01":                             0,
		"startTime=2025-06-02+10:00:00&endTime=2025-06-02+10:00:00": 2, // the whole second
		"taskId=1":                        2,
		"taskId=99,1":                     2,
		"taskId=99":                       0,
		"direction=outbound":              2,
		"direction=inbound":               0,
		"description=phone":               2,
		"description=privateTest":         0,
		"phone=13800000002":               1,
		"phone=138-0000-0002":             1,
		"phone=%2B8613800000002":          1,
		"phone=0086+138+0000+0002":        1,
		"phone=02160001000":               1,
		"phone=13800000009":               0,
		"phone=nobody":                    0,
		"assistantIds=123":                2,
		"assistantIds=1&assistantIds=123": 2,
		"assistantIds[]=1,123":            2,
		"assistantIds=1":                  0,
		"assistantIds=700":                0,
		"startTime=" + url.QueryEscape("2025-06-02T10:00:00+08:00") + "": 2,
	} {
		if got := log(query).number("total"); got != want {
			t.Errorf("%s: %d calls, want %d", query, got, want)
		}
	}
	if p := log("pageSize=1&pageIndex=2"); p.number("total") != 2 || len(p.at("items").([]any)) != 1 || p.text("items", 0, "callee") != "13800000002" {
		t.Errorf("page 2: %s", p.raw)
	}
	if p := log("pageSize=1000"); p.number("pageSize") != 100 {
		t.Errorf("a page of 1000 is one of %d", p.number("pageSize"))
	}
	if end, ok := parseTime("2025-06-02 10:00:00", clockNow.Location(), true); !ok || end.Sub(clockNow) != 999*time.Millisecond {
		t.Errorf("a second ends at %s", end)
	}
	for query, field := range map[string]string{"taskId=x": "taskId", "taskId=1,2,3,4,5,6,7,8,9,10,11": "taskId", "startTime=yesterday": "startTime", "endTime=1": "endTime",
		"direction=up": "direction", "description=x": "description", "pageIndex=0": "pageIndex", "assistantIds=a": "assistantIds"} {
		w.bad(w.as(token, "GET", "/openapi/calllog?"+query, nil), 422, field)
	}
	if n := w.as(otherToken, "GET", "/openapi/calllog?taskId=1&startTime=2020-01-01", nil).number("total"); n != 0 {
		t.Errorf("a stranger sees %d calls", n)
	}
	// The recording behind recordFile plays without a token until it expires.
	file, err := url.Parse(log("phone=13800000002").text("items", 0, "recordFile"))
	w.must(err)
	if file.Scheme != "http" || file.Host != "example.com" {
		t.Errorf("recordFile is %s", file)
	}
	play := func(key string) reply { return w.send(httptest.NewRequest("GET", key, nil)) }
	if r := play(file.Path); r.code != 200 || r.raw != "RIFFsound" || r.header.Get("Content-Type") != "audio/wav" {
		t.Errorf("%d %s", r.code, r.raw)
	}
	foreign, err := w.Link("another use", string(mainUser)+"\n1", clockNow.Add(time.Hour))
	w.must(err)
	for _, key := range []string{file.Path + "x", "/openapi/records/" + foreign, "/openapi/records/x"} {
		w.bad(play(key), 404)
	}
	w.now = clockNow.Add(25 * time.Hour)
	w.bad(play(file.Path), 404, "expired")
}

// TestCallTrace: the dialogue of a call with times since its beginning.
func TestCallTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.numbers(taskID, "13800000001", "13800000002")
	calls := w.dial(taskID, w.answered(), w.unanswered(waihu.NoAnswer))
	id := calls[0].Call.String()
	r := w.ok("GET", "/openapi/calltrace/"+id, nil)
	sameShape(t, "trace", tree(t, []byte(`[{"sessionId":"","event":"","content":"","elapsedMillSeconds":0,"dialogID":"","createdAt":""}]`)), r.body)
	var got []string
	for i := range r.body.([]any) {
		got = append(got, fmt.Sprintf("%s %s %d %s", r.text(i, "event"), r.text(i, "content"), r.number(i, "elapsedMillSeconds"), strings.TrimPrefix(r.text(i, "dialogID"), id)))
		if r.text(i, "sessionId") != id {
			t.Errorf("sessionId is %s", r.text(i, "sessionId"))
		}
	}
	want := "begin  0 -0|system.say 您好 5000 -0|customer.say 完好 7000 -1|system.say 再见 8000 -1|hangup  35000 -1"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
	if r.text(2, "createdAt") != "2025-06-02T10:00:07.000+08:00" {
		t.Errorf("createdAt is %s", r.text(2, "createdAt"))
	}
	if r := w.ok("GET", "/openapi/calltrace/"+calls[1].Call.String(), nil); len(r.body.([]any)) != 2 {
		t.Errorf("an unanswered call: %s", r.raw)
	}
}
