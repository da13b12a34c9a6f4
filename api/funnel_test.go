package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"waihu"
	"waihu/schedule"
	"waihu/store"
)

// TestFunnel walks a task through all that keeps its numbers from being called.
func TestFunnel(t *testing.T) {
	t.Parallel()
	a := newAfter(t)
	monday := time.Date(2026, 6, 1, 8, 0, 0, 0, waihu.Location("")) // calling hours begin at nine
	a.now = monday
	lines := map[waihu.LineID]waihu.LineState{"l": {Capacity: 100}}
	notReady := ""
	a.o.Window, a.o.Lines, a.o.NotReady = schedule.Open, func() map[waihu.LineID]waihu.LineState { return lines }, func(context.Context) string { return notReady }
	a.serve()
	k, err := a.Task(t.Context(), "main", a.task)
	a.must(err)
	for d := 1; d <= 5; d++ {
		k.Weekly[d] = []waihu.Span{{From: 9 * 60, To: 18 * 60}}
	}
	k.Concurrency = 2
	a.must(a.UpdateTask(t.Context(), &k))
	a.add(store.NewNumber{Phone: "13800000001"}, store.NewNumber{Phone: "13800000002"}, store.NewNumber{Phone: "13800000003"}, store.NewNumber{Key: "13800000004#x", Phone: "13800000004"},
		store.NewNumber{Phone: "13800000005"})
	a.must(a.Suppress(t.Context(), "main", "13800000002", "opt_out", 0))

	expect := func(number, first string, next time.Time) {
		t.Helper()
		var list whyList
		a.ok("GET", fmt.Sprintf("/api/v1/tasks/%s/why?number=%s", a.task, number), "", &list)
		n := list.Numbers[0]
		if n.Reasons[0].Reason != first || n.Reasons[0].Text == "" || (n.NextEligible == nil) != next.IsZero() || n.NextEligible != nil && !n.NextEligible.Equal(next) {
			t.Errorf("%s: %+v, next %v; want %s and %v", number, n.Reasons, n.NextEligible, first, next)
		}
	}
	whole := func(first string, next time.Time) funnel {
		t.Helper()
		var f funnel
		a.ok("GET", fmt.Sprintf("/api/v1/tasks/%s/funnel", a.task), "", &f)
		if f.Holding[0].Reason != first || (f.NextEligible == nil) != next.IsZero() || f.NextEligible != nil && !f.NextEligible.Equal(next) {
			t.Errorf("the task: %+v, next %v; want %s and %v", f.Holding, f.NextEligible, first, next)
		}
		return f
	}
	nine, never := monday.Add(time.Hour), time.Time{}
	expect("13800000001", "task_not_started", never)
	whole("task_not_started", never)
	expect("%2B8613800000002", "suppressed", never) // asked for in another form

	a.start()
	expect("13800000001", "window", nine)
	whole("window", nine)
	a.now = nine
	expect("13800000001", "turn", nine)
	lines["l"] = waihu.LineState{Capacity: 100, NotBefore: nine.Add(time.Minute)}
	expect("13800000001", "line_down", nine.Add(time.Minute))
	lines["l"] = waihu.LineState{Down: "registration lost"}
	whole("line_down", nine)
	lines["l"] = waihu.LineState{Capacity: 100}
	notReady = "the shard has another owner"
	expect("13800000001", "not_ready", nine)
	notReady = ""

	// One is answered, one waits for its redial until after hours, one is refused, two are in progress.
	a.dial(1, func(b *store.Booking) {})
	a.dial(1, nil) // the suppressed one
	a.dial(1, func(b *store.Booking) {
		b.Next, b.Due, b.Outcome.Disposition, b.Outcome.AnswerAt = waihu.NumberDue, nine.Add(10*time.Hour), waihu.Busy, time.Time{}
	})
	a.dial(2, nil)
	expect("13800000001", "called", never)
	expect("13800000002", "suppressed", never)
	expect("13800000003", "redial_wait", nine.Add(24*time.Hour)) // due at 19:00, tomorrow at nine
	expect("13800000004%23x", "in_flight", never)
	a.add(store.NewNumber{Phone: "13800000006"}, store.NewNumber{Phone: "13800000007", Data: waihu.NumberData{Until: nine.Add(-time.Minute).UnixMilli()}})
	expect("13800000006", "cap", nine)
	expect("13800000007", "expired", never)
	f := whole("cap", nine)
	if f.Total != 7 || f.Fresh != 2 || f.InFlight != 2 || f.RedialWait != 1 || f.Done != 2 || f.Suppressed != 1 || f.Called != 2 || f.Answered != 1 || f.Status["busy"] != 1 {
		t.Errorf("%+v", f)
	}
	l, err := a.Line(t.Context(), "main", "l")
	a.must(err)
	l.Expires = nine.Add(-time.Hour)
	a.must(a.UpsertLine(t.Context(), l))
	expect("13800000006", "line_unusable", never)
	a.must(a.StopTask(t.Context(), "main", a.task))
	whole("task_not_started", never)
	for path, want := range map[string]int{"why": 422, "why?number=13999999999": 404} {
		if status, raw := a.do("main", "GET", fmt.Sprintf("/api/v1/tasks/%s/%s", a.task, path), ""); status != want {
			t.Errorf("%s: %d %s", path, status, raw)
		}
	}
}
