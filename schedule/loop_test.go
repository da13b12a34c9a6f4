package schedule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

func TestCampaign(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = func(a waihu.Attempt) (time.Duration, waihu.Outcome) {
		switch {
		case a.Seq%3 == 0:
			return 20 * time.Second, waihu.Outcome{Disposition: waihu.Answered, AnswerAt: a.StartedAt.Add(5 * time.Second)}
		case a.Seq%3 == 1 && a.N == 1:
			return 30 * time.Second, waihu.Outcome{Disposition: waihu.NoAnswer}
		case a.Seq%3 == 1:
			return 10 * time.Second, waihu.Outcome{Disposition: waihu.Answered}
		}
		return time.Second, waihu.Outcome{Disposition: waihu.Vacant}
	}
	last := map[int64]time.Time{}
	k := r.task(waihu.Task{Concurrency: 4, Lines: []waihu.TaskLine{{Line: "a", Limit: 4}}, EndAction: waihu.EndPause,
		Redial: waihu.Redial{Max: 2, Interval: 10 * time.Minute, On: []waihu.Disposition{waihu.NoAnswer}}}, 90)
	r.field.onDial = func(a waihu.Attempt, now time.Time) {
		if a.N == 2 && now.Sub(last[a.Seq]) < 30*time.Second+10*time.Minute {
			t.Errorf("number %d dialled again %v after its first dial", a.Seq, now.Sub(last[a.Seq]))
		}
		last[a.Seq] = now
		if r.field.perTask[a.Task] > 4 {
			t.Errorf("%d calls live, the task's cap is 4", r.field.perTask[a.Task])
		}
		if a.Agent == nil || a.Agent.ID != agentID || a.Phone == "" || a.Run != 1 || a.Line != "a" {
			t.Errorf("the order is not whole: %+v", a)
		}
	}
	r.drive(begin.Add(24*time.Hour), nil)
	c := r.counts(k.ID)
	if c.State[waihu.NumberDone] != 90 || c.Status[waihu.Answered] != 60 || c.Status[waihu.Vacant] != 30 {
		t.Errorf("ended with %+v", c)
	}
	if r.field.dials != 120 {
		t.Errorf("%d dials, want 90 and 30 redials", r.field.dials)
	}
	run := r.run(k.ID)
	if run.State != waihu.RunEnded || run.Reason != waihu.RunDone || !run.EndedAt.Equal(run.ClosedAt) {
		t.Errorf("the run did not end with its last call: %+v", run)
	}
	if n := r.kinds(); n[waihu.EventCallEnded] != 120 || n[waihu.EventNumberDone] != 90 || n[waihu.EventRunEnded] != 1 {
		t.Errorf("events %v", n)
	}
}

func TestDialsOnlyInTheWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 3, 0)
	r.field.script = as(waihu.NoAnswer, 40*time.Second)
	office := all(waihu.Span{From: hm(9, 0), To: hm(10, 0)}, waihu.Span{From: hm(14, 0), To: hm(14, 30)})
	k := r.task(waihu.Task{Concurrency: 3, Weekly: office, EndAction: waihu.EndPause,
		Holidays: []waihu.Period{{From: begin.Add(24 * time.Hour), To: begin.Add(48 * time.Hour)}},
		Redial:   waihu.Redial{Max: 3, Interval: time.Hour, On: []waihu.Disposition{waihu.NoAnswer}}}, 100)
	days := map[string]int{}
	r.field.onDial = func(a waihu.Attempt, now time.Time) {
		if open, _ := Open(&k, now); !open {
			t.Errorf("dialled at %v", now.In(k.Location()))
		}
		days[now.In(k.Location()).Format(time.DateOnly)]++
	}
	r.drive(begin.Add(14*24*time.Hour), nil)
	if c := r.counts(k.ID); c.State[waihu.NumberDone] != 100 || r.field.dials != 400 {
		t.Errorf("%d dials, ended with %+v", r.field.dials, c)
	}
	if days["2025-01-06"] == 0 || days["2025-01-07"] != 0 || days["2025-01-08"] == 0 {
		t.Errorf("the holiday was on the 7th: %v", days)
	}
}

func TestStopTimeClosesTheRunAndItDrains(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 10, 0)
	r.field.script = as(waihu.Answered, 10*time.Minute)
	stop := begin.Add(5 * time.Minute)
	k := r.task(waihu.Task{Concurrency: 10, Stop: stop}, 30)
	r.drive(begin.Add(6*time.Minute), nil)
	run := r.run(k.ID)
	if run.State != waihu.RunClosed || run.Reason != waihu.RunTimeout || !run.ClosedAt.Equal(stop) {
		t.Fatalf("at stop time: %+v", run)
	}
	r.drive(begin.Add(time.Hour), nil)
	run = r.run(k.ID)
	if run.State != waihu.RunEnded || !run.EndedAt.Equal(begin.Add(10*time.Minute)) {
		t.Errorf("ten calls of ten minutes: %+v", run)
	}
	if c := r.counts(k.ID); c.State[waihu.NumberFresh] != 20 || c.State[waihu.NumberDone] != 10 {
		t.Errorf("%+v", c)
	}
}

func TestStoppedByTheOperatorWhileLive(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 10, 0)
	r.field.script = as(waihu.Answered, time.Minute)
	k := r.task(waihu.Task{Concurrency: 4, Lines: []waihu.TaskLine{{Line: "a", Limit: 4}}}, 30)
	r.drive(begin.Add(10*time.Second), nil)
	r.must(r.store.StopTask(r.ctx, account, k.ID))
	r.drive(begin.Add(30*time.Second), nil)
	if run := r.run(k.ID); run.State != waihu.RunClosed || r.field.dials != 4 {
		t.Fatalf("%d dials, %+v", r.field.dials, run)
	}
	// Started again while the first run drains: the caps count both.
	_, err := r.store.StartTask(r.ctx, account, k.ID)
	r.must(err)
	r.field.onDial = func(a waihu.Attempt, now time.Time) {
		if r.field.perTask[k.ID] > 4 {
			t.Errorf("%d calls live at %v over both runs", r.field.perTask[k.ID], now)
		}
		if a.Run != 2 {
			t.Errorf("dialled for run %d", a.Run)
		}
	}
	r.drive(begin.Add(10*time.Minute), nil)
	runs, err := r.store.Runs(r.ctx, account, k.ID)
	r.must(err)
	if len(runs) != 2 || runs[1].State != waihu.RunEnded || !runs[1].EndedAt.Equal(begin.Add(time.Minute)) || runs[0].State != waihu.RunOpen {
		t.Errorf("runs %+v", runs)
	}
	if c := r.counts(k.ID); c.State[waihu.NumberDone] != 30 {
		t.Errorf("%+v", c)
	}
	// New numbers wake the waiting run.
	r.numbers(k.ID, 100, 5)
	r.drive(begin.Add(20*time.Minute), nil)
	if c := r.counts(k.ID); c.State[waihu.NumberDone] != 35 {
		t.Errorf("%+v", c)
	}
}

func TestStartedBeforeItsImport(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 10, 0)
	r.field.script = as(waihu.Answered, time.Second)
	k := r.task(waihu.Task{Concurrency: 4, EndAction: waihu.EndPause}, 0)
	r.drive(begin.Add(time.Hour), nil)
	if run := r.run(k.ID); run.State != waihu.RunOpen {
		t.Fatalf("closed before its numbers came: %+v", run)
	}
	r.numbers(k.ID, 0, 10)
	r.drive(begin.Add(2*time.Hour), nil)
	if run, c := r.run(k.ID), r.counts(k.ID); run.State != waihu.RunEnded || run.Reason != waihu.RunDone || c.Status[waihu.Answered] != 10 {
		t.Errorf("%+v, %+v", run, c)
	}
	// Started again with nothing left to dial it closes at once.
	_, err := r.store.StartTask(r.ctx, account, k.ID)
	r.must(err)
	r.drive(r.clock.Now().Add(time.Second), nil)
	if run := r.run(k.ID); run.N != 2 || run.State != waihu.RunEnded || run.Reason != waihu.RunDone {
		t.Errorf("%+v", run)
	}
}

func TestStopBetweenReadingAndTick(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 10, 0)
	r.field.script = as(waihu.Answered, time.Minute)
	k := r.task(waihu.Task{Concurrency: 4}, 30)
	r.ledger.before = func(*store.Tick) error {
		r.ledger.before = nil
		return r.store.StopTask(r.ctx, account, k.ID)
	}
	r.drive(begin.Add(time.Hour), nil)
	if r.field.dials != 0 {
		t.Errorf("%d dials after the stop", r.field.dials)
	}
	if run := r.run(k.ID); run.State != waihu.RunEnded || run.Reason != waihu.RunStopped {
		t.Errorf("%+v", run)
	}
}

func TestImportBetweenReadingAndTheTickThatClosesTheRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 10, 0)
	r.field.script = as(waihu.Answered, time.Second)
	k := r.task(waihu.Task{Concurrency: 4, EndAction: waihu.EndPause}, 5)
	r.ledger.before = func(k *store.Tick) error {
		for _, c := range k.Close {
			r.ledger.before = nil
			r.numbers(c.Task, 100, 5)
		}
		return nil
	}
	r.drive(begin.Add(time.Hour), nil)
	if c := r.counts(k.ID); c.State[waihu.NumberDone] != 10 || r.field.dials != 10 {
		t.Errorf("%d dials, ended with %+v: the numbers were imported before the run was closed as done", r.field.dials, c.State)
	}
	if run := r.run(k.ID); run.State != waihu.RunEnded || run.Reason != waihu.RunDone {
		t.Errorf("%+v", run)
	}
	if n := r.kinds(); n[waihu.EventTaskStopped] != 1 || n[waihu.EventRunEnded] != 1 {
		t.Errorf("events %v", n)
	}
}

func TestInterval(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 10, 0)
	r.field.script = as(waihu.Answered, time.Second)
	k := r.task(waihu.Task{Concurrency: 5, Interval: 7 * time.Second}, 20)
	var last time.Time
	r.field.onDial = func(a waihu.Attempt, now time.Time) {
		if gap := now.Sub(last); !last.IsZero() && gap != 7*time.Second {
			t.Errorf("%v between two calls, want 7 s", gap)
		}
		last = now
	}
	r.drive(begin.Add(time.Minute), nil)
	r.restart() // nobody knows when the dead process started its last call
	at := r.clock.Now()
	dials := r.field.dials
	r.field.onDial = func(a waihu.Attempt, now time.Time) {
		if now.Sub(at) < 7*time.Second {
			t.Errorf("dialled %v after the restart", now.Sub(at))
		}
	}
	r.drive(at.Add(8*time.Second), nil)
	if r.field.dials != dials+1 {
		t.Errorf("%d dials after the restart, want 1", r.field.dials-dials)
	}
	_ = k
}

func TestPaceOfALine(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 1000, 10)
	r.field.script = as(waihu.Answered, time.Minute)
	var starts []time.Time
	r.field.onDial = func(_ waihu.Attempt, now time.Time) { starts = append(starts, now) }
	r.task(waihu.Task{Concurrency: 300}, 300)
	r.task(waihu.Task{Concurrency: 300, Lines: []waihu.TaskLine{{Line: "a", Limit: 300}}}, 300)
	r.drive(begin.Add(20*time.Second), nil)
	for i := 10; i < len(starts); i++ {
		if starts[i].Sub(starts[i-10]) < time.Second {
			t.Fatalf("11 starts within %v", starts[i].Sub(starts[i-10]))
		}
	}
	if len(starts) < 170 || len(starts) > 192 {
		t.Errorf("%d starts in 19 seconds of 10 a second", len(starts))
	}
	by := map[waihu.TaskID]int{}
	for key := range r.field.dialled {
		by[key.task]++
	}
	for id, n := range by {
		if n < len(starts)/2-5 {
			t.Errorf("task %s got %d of %d starts", id, n, len(starts))
		}
	}
}

func TestSharesAndReservations(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 20, 0)
	r.field.script = as(waihu.Answered, time.Hour)
	reserved := r.task(waihu.Task{Concurrency: 6, Lines: []waihu.TaskLine{{Line: "a", Limit: 6}}}, 2) // keeps four slots for numbers to come
	one := r.task(waihu.Task{Concurrency: 3}, 100)
	two := r.task(waihu.Task{Concurrency: 100}, 100)
	three := r.task(waihu.Task{Concurrency: 100}, 100)
	r.drive(begin.Add(time.Minute), nil)
	got := []int{r.field.perTask[reserved.ID], r.field.perTask[one.ID], r.field.perTask[two.ID] + r.field.perTask[three.ID]}
	if !slices.Equal(got, []int{2, 3, 11}) || r.field.perTask[two.ID] < 5 || r.field.perTask[three.ID] < 5 {
		t.Errorf("live %v, want 2 of the reserved, 3, and 5 and 6 of the rest", r.field.perTask)
	}
	r.numbers(reserved.ID, 500, 50)
	r.drive(begin.Add(2*time.Minute), nil)
	if r.field.perTask[reserved.ID] != 6 || r.field.perLine["a"] != 20 {
		t.Errorf("live %v on %v: the reserved slots were lent", r.field.perTask, r.field.perLine)
	}
}

func TestFaultsComeBackThreeTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 10, 0)
	r.field.script = as(waihu.CarrierFault, time.Second)
	var gaps []time.Duration
	var last time.Time
	r.field.onDial = func(a waihu.Attempt, now time.Time) {
		if !last.IsZero() {
			gaps = append(gaps, now.Sub(last).Round(time.Second))
		}
		last = now
	}
	k := r.task(waihu.Task{Concurrency: 1, EndAction: waihu.EndPause, Redial: waihu.Redial{Max: 1, Interval: time.Minute, On: []waihu.Disposition{waihu.CarrierFault}}}, 1)
	r.drive(begin.Add(5*time.Hour), nil)
	if want := []time.Duration{61 * time.Second, 5*time.Minute + time.Second, 15*time.Minute + time.Second}; !slices.Equal(gaps, want) {
		t.Errorf("came back after %v, want %v", gaps, want)
	}
	if c := r.counts(k.ID); c.Status[waihu.Failed] != 1 {
		t.Errorf("%+v", c)
	}
	if n := r.numbersOf(k.ID)[0]; n.Redials != 0 || n.Attempts != 4 {
		t.Errorf("faults spent redials: %+v", n)
	}
}

func (r *rig) numbersOf(id waihu.TaskID) []waihu.Number {
	r.t.Helper()
	list, _, err := r.store.Numbers(r.ctx, account, id, store.NumberFilter{PerPage: 5000})
	r.must(err)
	return list
}

func TestBadLineIsTakenOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("good", 2, 0)
	r.line("bad", 2, 0)
	broken := true
	dialledBad := []time.Time{}
	r.field.script = func(a waihu.Attempt) (time.Duration, waihu.Outcome) {
		if a.Line == "bad" && broken {
			return time.Second, waihu.Outcome{Disposition: waihu.OurFault}
		}
		return 30 * time.Second, waihu.Outcome{Disposition: waihu.Answered}
	}
	r.field.onDial = func(a waihu.Attempt, now time.Time) {
		if a.Line == "bad" {
			dialledBad = append(dialledBad, now)
		}
	}
	k := r.task(waihu.Task{Concurrency: 4, EndAction: waihu.EndPause}, 400)
	r.drive(begin.Add(50*time.Second), nil)
	if len(dialledBad) < faultRow || len(dialledBad) > faultRow+1 {
		t.Fatalf("%d calls on the bad line before it was taken out", len(dialledBad))
	}
	if run := r.run(k.ID); run.State != waihu.RunOpen {
		t.Fatalf("the good line is left: %+v", run)
	}
	r.drive(begin.Add(4*time.Minute), nil) // trials after 1 and 2 more minutes
	if n := len(dialledBad) - faultRow; n > 3 {
		t.Errorf("%d calls on trial", n)
	}
	broken = false
	r.drive(begin.Add(5*time.Hour), nil)
	if n := r.kinds(); n[waihu.EventLineDown] != 1 || n[waihu.EventLineUp] != 1 {
		t.Errorf("events %v", n)
	}
	if c := r.counts(k.ID); c.Status[waihu.Answered] != 400 {
		t.Errorf("%+v", c)
	}
}

// Calls that our own stop cancelled while they rang come back, and are nobody's fault.
func TestStoppedCallsComeBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 2*faultRow, 0)
	r.field.script = func(a waihu.Attempt) (time.Duration, waihu.Outcome) {
		if a.N == 1 {
			return time.Second, waihu.Outcome{Disposition: waihu.OurFault, Stopped: true}
		}
		return time.Second, waihu.Outcome{Disposition: waihu.Answered}
	}
	k := r.task(waihu.Task{Concurrency: 2 * faultRow, EndAction: waihu.EndPause}, 4*faultRow)
	r.drive(begin.Add(time.Hour), nil)
	if n := r.kinds(); n[waihu.EventLineDown] != 0 {
		t.Errorf("the line was taken out: events %v", n)
	}
	if c := r.counts(k.ID); c.Status[waihu.Answered] != 4*faultRow {
		t.Errorf("%+v", c)
	}
}

func TestNoLineLeftStopsTheRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.OurFault, time.Second)
	k := r.task(waihu.Task{Concurrency: 5, Lines: []waihu.TaskLine{{Line: "a", Limit: 5}}}, 100)
	r.drive(begin.Add(10*time.Minute), nil)
	run := r.run(k.ID)
	if run.State != waihu.RunEnded || run.Reason != waihu.RunAbnormal || !strings.Contains(run.Detail, "a 10 calls in a row failed") {
		t.Fatalf("%+v", run)
	}
	if r.field.dials > 14 {
		t.Errorf("%d dials on a dead line", r.field.dials)
	}
	// The operator mends the line and starts again: it is tried at once, one call first.
	dials := r.field.dials
	r.field.script = as(waihu.Answered, time.Second)
	_, err := r.store.StartTask(r.ctx, account, k.ID)
	r.must(err)
	r.drive(r.clock.Now().Add(500*time.Millisecond), nil)
	if r.field.dials != dials+1 {
		t.Errorf("%d calls on trial, want 1", r.field.dials-dials)
	}
	r.drive(r.clock.Now().Add(time.Hour), nil)
	if c := r.counts(k.ID); c.State[waihu.NumberDone] != 100 {
		t.Errorf("%+v", c)
	}
}

func TestExpiredLineStopsTheRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.must(r.store.UpsertLine(r.ctx, waihu.Line{ID: "a", Account: account, Name: "a", Concurrency: 5, Expires: begin.Add(time.Minute), Trunk: waihu.Trunk{URI: "sim:"}}))
	r.field.script = as(waihu.Answered, 10*time.Second)
	r.s.o.Refresh = 2 * time.Second
	k := r.task(waihu.Task{Concurrency: 5}, 100)
	r.field.onDial = func(_ waihu.Attempt, now time.Time) {
		if !now.Before(begin.Add(time.Minute)) {
			t.Errorf("dialled over an expired line at %v", now)
		}
	}
	r.drive(begin.Add(5*time.Minute), nil)
	if run := r.run(k.ID); run.State != waihu.RunEnded || run.Reason != waihu.RunAbnormal || !strings.Contains(run.Detail, "expired") {
		t.Errorf("%+v", run)
	}
}

func TestWhatTheDialerSaysOfItsLines(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 8, 0)
	r.field.script = as(waihu.Answered, time.Second)
	k := r.task(waihu.Task{Concurrency: 8}, 100)
	set := func(l waihu.LineState) { r.field.mu.Lock(); r.field.lines["a"] = l; r.field.mu.Unlock() }
	expect := func(what string, want bool) {
		t.Helper()
		before := r.field.dials
		r.drive(r.clock.Now().Add(1500*time.Millisecond), nil)
		if got := r.field.dials > before; got != want {
			t.Errorf("%s: dialled %v", what, got)
		}
	}
	set(waihu.LineState{Capacity: 8, Down: "registration lost"})
	expect("down", false)
	set(waihu.LineState{Capacity: 8, NotBefore: r.clock.Now().Add(5 * time.Second)})
	expect("not before", false)
	set(waihu.LineState{Capacity: 0})
	expect("no port free", false)
	delete(r.field.lines, "a")
	expect("not carried", false)
	set(waihu.LineState{Capacity: 2})
	r.field.onDial = func(waihu.Attempt, time.Time) {
		if n := r.field.perLine["a"]; n > 2 {
			t.Errorf("%d calls on a line that carries 2", n)
		}
	}
	r.s.Poke()
	expect("up again", true)
	if n := r.kinds(); n[waihu.EventLineDown] != 1 || n[waihu.EventLineUp] != 1 {
		t.Errorf("events %v", n)
	}
	_ = k
}

func TestRefusedOrderIsUndone(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, time.Second)
	refusals := 0
	r.field.refuse = func(a waihu.Attempt) error {
		if refusals < 7 {
			refusals++
			return errors.New("no port")
		}
		return nil
	}
	k := r.task(waihu.Task{Concurrency: 5, EndAction: waihu.EndPause}, 20)
	r.drive(begin.Add(time.Hour), nil)
	for _, n := range r.numbersOf(k.ID) {
		if n.Attempts != 1 || n.State != waihu.NumberDone || n.Outcome != waihu.Answered {
			t.Errorf("number %d: %d attempts, %v %v", n.Seq, n.Attempts, n.State, n.Outcome)
		}
	}
	if refusals != 7 || r.field.dials != 20 {
		t.Errorf("%d refusals, %d dials", refusals, r.field.dials)
	}
	if n := r.kinds(); n[waihu.EventCallEnded] != 20 {
		t.Errorf("a call that never left is no event: %v", n)
	}
}

func TestStoppedAtThePop(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 2, 0)
	r.field.script = func(a waihu.Attempt) (time.Duration, waihu.Outcome) {
		return time.Second, waihu.Outcome{Disposition: waihu.NoAnswer, OptOut: a.Seq%2 == 0}
	}
	r.must(r.store.SaveAgent(r.ctx, &waihu.AgentSpec{ID: "asks", Account: account, Name: "needs a name", Version: 1, Brain: waihu.BrainFlow,
		Vars: map[string]waihu.VarSpec{"name": {Required: true}},
		Flow: &waihu.FlowSpec{Start: "a", Nodes: map[string]waihu.NodeSpec{"a": {Say: "hello {{name}}", Do: []waihu.Action{{Kind: "hangup"}}}}}}))
	r.must(r.store.Suppress(r.ctx, account, "+9990000003", "asked", 0))
	k := r.task(waihu.Task{Concurrency: 2, Agent: "asks", EndAction: waihu.EndPause, Pop: waihu.PopInOrder,
		Redial: waihu.Redial{Max: 1, Interval: time.Minute, On: []waihu.Disposition{waihu.NoAnswer, waihu.Blacklisted, waihu.Invalid}}}, 0)
	var list []store.NewNumber
	for i := range 8 {
		p := waihu.PhoneNumber(fmt.Sprintf("+999000000%d", i))
		n := store.NewNumber{Key: string(p), Phone: p, Data: waihu.NumberData{Vars: map[string]string{"name": "李"}}}
		if i == 5 {
			n.Data = waihu.NumberData{}
		}
		list = append(list, n)
	}
	_, err := r.store.AddNumbers(r.ctx, account, k.ID, list)
	r.must(err)
	r.drive(begin.Add(time.Hour), nil)
	c := r.counts(k.ID)
	if want := map[waihu.Disposition]int{waihu.NoAnswer: 6, waihu.Blacklisted: 1, waihu.Invalid: 1}; c.State[waihu.NumberDone] != 8 || !maps.Equal(trim(c.Status), want) {
		t.Errorf("%+v", c)
	}
	for key := range r.field.dialled {
		for _, n := range r.numbersOf(k.ID) {
			if n.Seq == key.seq && (n.Phone == "+9990000003" || n.Phone == "+9990000005") {
				t.Errorf("%s was dialled", n.Phone)
			}
		}
	}
	if r.field.dials != 6+4 { // two opted out and are not dialled again
		t.Errorf("%d dials", r.field.dials)
	}
	if run := r.run(k.ID); run.State != waihu.RunEnded {
		t.Errorf("%+v", run)
	}
}

func trim(m map[waihu.Disposition]int) map[waihu.Disposition]int {
	maps.DeleteFunc(m, func(_ waihu.Disposition, n int) bool { return n == 0 })
	return m
}

func TestTaskWithoutItsAgentIsNotDialled(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 2, 0)
	gone := true
	r.s.o.Agent = func(ctx context.Context, a waihu.AccountID, id waihu.AgentID) (waihu.AgentSpec, error) {
		if gone {
			return waihu.AgentSpec{}, waihu.Errorf(waihu.ENotFound, "no agent %s", id)
		}
		return r.store.Agent(ctx, a, id)
	}
	r.s.o.Refresh = 2 * time.Second
	r.field.script = as(waihu.Answered, time.Second)
	k := r.task(waihu.Task{Concurrency: 2}, 4)
	r.drive(begin.Add(time.Minute), nil)
	if r.field.dials != 0 {
		t.Errorf("%d dials", r.field.dials)
	}
	gone = false
	r.drive(begin.Add(2*time.Minute), nil)
	if c := r.counts(k.ID); c.Status[waihu.Answered] != 4 {
		t.Errorf("%+v", c)
	}
}
