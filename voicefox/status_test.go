package voicefox

import (
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// TestStatusTable: every line of the table, and the transitions of A.3.1 as histories.
func TestStatusTable(t *testing.T) {
	t.Parallel()
	now := clockNow
	task := waihu.Task{Stop: now.Add(time.Hour)}
	open, done := &waihu.Run{N: 1, State: waihu.RunOpen}, func(r waihu.RunReason) *waihu.Run { return &waihu.Run{N: 1, State: waihu.RunEnded, Reason: r} }
	counts := func(fresh, flying, due, finished, calls int) store.Counts {
		return store.Counts{State: [5]int{fresh, flying, due, finished, 9}, Started: calls}
	}
	for _, x := range []struct {
		name   string
		last   *waihu.Run
		counts store.Counts
		now    time.Time
		want   string
	}{
		{"created", nil, counts(0, 0, 0, 0, 0), now, "pending"},
		{"imported", nil, counts(5, 0, 0, 0, 0), now, "pending"},
		{"started without numbers", open, counts(0, 0, 0, 0, 0), now, "pending"},
		{"started before its first window", open, counts(5, 0, 0, 0, 0), now, "pending"},
		{"dialling", open, counts(3, 2, 0, 0, 2), now, "running"},
		{"between two windows", open, counts(3, 0, 1, 1, 2), now, "running"},
		{"the last call in progress", open, counts(0, 1, 0, 4, 5), now, "running"},
		{"all done, the run stays open", open, counts(0, 0, 0, 5, 6), now, "done"},
		{"all done, the run has ended", done(waihu.RunDone), counts(0, 0, 0, 5, 6), now, "done"},
		{"stopped", done(waihu.RunStopped), counts(3, 0, 0, 2, 2), now, "stop.operate"},
		{"stopped, calls in progress", &waihu.Run{N: 1, State: waihu.RunClosed, Reason: waihu.RunStopped}, counts(3, 1, 0, 1, 2), now, "stop.operate"},
		{"stopped before any call", done(waihu.RunStopped), counts(5, 0, 0, 0, 0), now, "stop.operate"},
		{"stopped after the last", done(waihu.RunStopped), counts(0, 0, 0, 5, 5), now, "done"},
		{"schedule ran out", done(waihu.RunTimeout), counts(3, 0, 0, 2, 2), now, "stop.timeout"},
		{"schedule ran out with the last call", done(waihu.RunTimeout), counts(0, 0, 0, 5, 5), now, "done"},
		{"schedule ran out, stopped before", done(waihu.RunStopped), counts(3, 0, 0, 2, 2), now.Add(2 * time.Hour), "stop.operate"},
		{"schedule ran out, never started", nil, counts(5, 0, 0, 0, 0), now.Add(2 * time.Hour), "stop.timeout"},
		{"no line left", done(waihu.RunAbnormal), counts(3, 0, 2, 0, 2), now, "stop.abnormal"},
		{"imported after done", done(waihu.RunDone), counts(3, 0, 0, 5, 5), now, "pending"},
		{"started again after a stop", &waihu.Run{N: 2, State: waihu.RunOpen}, counts(3, 0, 0, 2, 2), now, "running"},
	} {
		if got := stand(&task, x.last, &x.counts, x.now).status(); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ total, left, want int }{{0, 0, 0}, {3, 3, 0}, {3, 1, 66}, {1000, 1, 99}, {3, 0, 100}} {
		if got := progress(x.total, x.left); got != x.want {
			t.Errorf("progress of %d with %d left is %d, want %d", x.total, x.left, got, x.want)
		}
	}
	for _, x := range []struct{ answered, hit, want int }{{0, 0, 0}, {3, 0, 0}, {3, 1, 33}, {3, 2, 67}, {3, 3, 100}} {
		if got := collectionRate(x.answered, x.hit); got != x.want {
			t.Errorf("collection rate of %d in %d is %d, want %d", x.hit, x.answered, got, x.want)
		}
	}
	for d := waihu.NoOutcome; d <= waihu.Expired; d++ {
		switch word := hangupReason(d); word {
		case "answered", "no_answer", "busy", "failed", "cancel", "timeout":
		case "":
			if d != waihu.NoOutcome && d != waihu.NeverLeft {
				t.Errorf("%s has no word", d)
			}
		default:
			t.Errorf("%s is %q", d, word)
		}
	}
	s := newServer(Options{RetryUnit: time.Second})
	if s.retryWait(90) != 90*time.Second || s.retryInterval(90*time.Second) != 90 {
		t.Error("the unit of retries is not the setting's")
	}
}
