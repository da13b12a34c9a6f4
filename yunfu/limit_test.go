package yunfu

import (
	"strings"
	"testing"
	"time"

	"waihu"
)

// TestLimit: a token has a second's worth at once, then its share; another token has its own.
func TestLimit(t *testing.T) {
	t.Parallel()
	now := clockNow
	w := newWorld(t, func(o *Options) { o.PerSecond, o.Now = 4, func() time.Time { return now } })
	list := new2 + "/task"
	for i := range 4 {
		if r := w.do("GET", list, nil); r.http != 200 {
			t.Fatalf("request %d: %d", i, r.http)
		}
	}
	for range 3 { // being refused costs nothing
		r := w.do("GET", list, nil)
		w.bad(r, 429, "频繁")
		if got := r.header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After %q", got)
		}
	}
	if r := w.as(subToken, "GET", "/agent-api/new/user/"+subUser+"/task", nil); r.http != 200 {
		t.Errorf("another token: %s", r.raw)
	}
	w.bad(w.as("wrong", "GET", list, nil), 401)
	now = now.Add(250 * time.Millisecond)
	w.ok("GET", list, nil)
	w.bad(w.do("GET", list, nil), 429)
	now = now.Add(time.Hour)
	for range 4 {
		w.ok("GET", list, nil)
	}
	w.bad(w.do("GET", list, nil), 429)
}

// TestSettings: imports into a started task, and the unit of durations.
func TestSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.RefuseImportWhileStarted, o.Milliseconds = true, true })
	w.numbers(taskID, "13800000001")
	w.dial(taskID, answered("A"))
	for _, path := range []string{numberPath, asyncPath} {
		w.bad(w.do("POST", path, phones("13800000002")), 6007)
	}
	w.bad(w.do("GET", old1+"/customer_to_task/"+taskID, nil), 6007)
	r := w.ok("GET", old1+"/task/"+taskID+"/record", nil)
	if !within(tree(t, object{"bill": 30_000, "duration": 35_000}), r.at(0)) {
		t.Errorf("durations in milliseconds: %s", r.raw)
	}
	id, _ := r.at(0, "id").(string)
	if _, err := waihu.ParseCallID(id); err != nil || !strings.Contains(w.ok("GET", old1+"/task/"+taskID+"/detail/"+id, nil).raw, `"bill":30000,`) {
		t.Error("the detail has another unit")
	}
}
