package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"waihu"
	"waihu/queue"
	"waihu/store"
	"waihu/wrapup"
)

// TestReviews: what was found after a call, what the task came to, and both once more.
func TestReviews(t *testing.T) {
	t.Parallel()
	a := newAfter(t)
	a.add(store.NewNumber{Phone: "13800000001"})
	a.start()
	call := a.dial(1, func(b *store.Booking) {
		b.Review, b.Outcome.Grade = true, "B"
		b.Outcome.Transcript = []waihu.Turn{{Who: "agent", Text: "您好", ToMS: 1000}}
	})[0].Call
	path := fmt.Sprintf("/api/v1/calls/%s/review", call)
	summary := fmt.Sprintf("/api/v1/tasks/%s/summary", a.task)
	for _, p := range []string{path, summary, "/api/v1/calls/x/review", "/api/v1/calls/9/review", "/api/v1/tasks/x/summary"} {
		if status, raw := a.do("main", "GET", p, ""); status != 404 {
			t.Errorf("%s before there is one: %d %s", p, status, raw)
		}
	}
	a.must(a.StopTask(t.Context(), "main", a.task))
	o := queue.Options{Store: a.Store, Poll: time.Millisecond}
	wrapup.New(wrapup.Options{Store: a.Store, Wait: time.Millisecond, Grade: func(*waihu.AgentSpec, *waihu.Outcome) string { return "B" }}).Join(&o)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- queue.New(o).Run(ctx) }()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(2 * time.Minute); ; <-look.C {
		if _, err := a.TaskSummary(t.Context(), "main", a.task); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no summary")
		}
	}
	cancel()
	<-over
	var v reviewed
	a.ok("GET", path, "", &v)
	if v.Call != call.String() || v.Task != a.task || v.Grade != "B" || v.GradeFrom != "rules" || v.At.IsZero() {
		t.Errorf("%+v", v)
	}
	var sum summed
	a.ok("GET", summary, "", &sum)
	if sum.Task != a.task || sum.Run != 1 || sum.Summary == "" || sum.Note != "no language model is configured" || sum.Overview == nil {
		t.Errorf("%+v", sum)
	}
	var again regraded
	a.ok("POST", fmt.Sprintf("/api/v1/tasks/%s/regrade", a.task), "", &again)
	if again.Calls != 1 {
		t.Errorf("%+v", again)
	}
}
