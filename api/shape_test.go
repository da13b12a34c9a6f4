package api

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"waihu"
	"waihu/queue"
	"waihu/store"
	"waihu/wrapup"
)

// TestShape walks a task through all it is told of and holds what each event says.
func TestShape(t *testing.T) {
	t.Parallel()
	a := newAfter(t)
	a.add(store.NewNumber{Phone: "13800000001", Data: waihu.NumberData{Vars: map[string]string{"name": "甲"}, Extra: "e1"}})
	a.start()
	call := a.dial(1, func(b *store.Booking) {
		b.Review, b.Outcome.Grade, b.Outcome.Tags = true, "B", []string{"vip"}
		b.Outcome.Transcript = []waihu.Turn{{Who: "agent", Text: "您好", ToMS: 1000}}
	})[0].Call
	a.must(a.StopTask(t.Context(), "main", a.task))
	o := queue.Options{Store: a.Store, Poll: time.Millisecond}
	wrapup.New(wrapup.Options{Store: a.Store, Wait: time.Millisecond, Grade: func(*waihu.AgentSpec, *waihu.Outcome) string { return "B" }}).Join(&o)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- queue.New(o).Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		if _, err := a.TaskSummary(t.Context(), "main", a.task); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no summary")
		}
	}
	cancel()
	<-over
	events, err := a.Store.Events(t.Context(), "main", 0, 0)
	a.must(err)
	shape := Shape(a.Store)
	told := map[waihu.EventKind]messageData{}
	for i := range events {
		p, n, err := shape(t.Context(), waihu.Endpoint{Account: "main"}, events[i:])
		if err != nil || n != 1 {
			t.Fatalf("%+v: %d, %v", events[i], n, err)
		}
		var m message
		a.must(json.Unmarshal(p.Body, &m))
		if m.Type != events[i].Kind || m.Data.Kind != m.Type || m.Data.N != int64(i+1) || m.Data.Account != "main" || !m.Timestamp.Equal(events[i].At) {
			t.Errorf("event %d is told as %s", i+1, p.Body)
		}
		told[m.Type] = m.Data
	}
	for kind, want := range map[waihu.EventKind][3]bool{waihu.EventNumbersAdded: {}, waihu.EventTaskStarted: {}, waihu.EventCallEnded: {true}, waihu.EventCallReviewed: {true, true},
		waihu.EventNumberDone: {}, waihu.EventTaskStopped: {}, waihu.EventRunEnded: {}, waihu.EventRunReviewed: {false, false, true}} {
		d, ok := told[kind]
		if got := [3]bool{d.Call != nil, d.Review != nil, d.Summary != nil}; !ok || got != want {
			t.Errorf("%s: call, review, summary %v, %v was expected", kind, got, want)
		}
	}
	c := told[waihu.EventCallEnded].Call
	if c == nil || c.ID != call.String() || c.Phone != "13800000001" || c.Vars["name"] != "甲" || c.Extra != "e1" || c.Attempt != 1 || len(c.Transcript) != 1 || len(c.Tags) != 1 {
		t.Errorf("the call: %+v", c)
	}
	if d := told[waihu.EventCallReviewed]; d.Review.Grade != "B" || d.Call.Grade != "B" || d.Review.Call != call.String() {
		t.Errorf("the review: %+v of %+v", d.Review, d.Call)
	}
	if d := told[waihu.EventRunReviewed]; d.Summary.Run != 1 || d.Summary.Summary == "" {
		t.Errorf("the summary: %+v", d.Summary)
	}

	a.must(a.DeleteTask(t.Context(), "main", a.task)) // what is gone is not told, what happened is
	for i := range events {
		p, _, err := shape(t.Context(), waihu.Endpoint{Account: "main"}, events[i:])
		var m message
		if err != nil || json.Unmarshal(p.Body, &m) != nil || m.Data.N != int64(i+1) || m.Data.Call != nil || m.Data.Review != nil || m.Data.Summary != nil {
			t.Errorf("event %d after its task: %s, %v", i+1, p.Body, err)
		}
	}
}
