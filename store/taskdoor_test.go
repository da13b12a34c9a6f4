package store

import (
	"testing"

	"waihu"
)

// TestFinishTask: one commit stops the task, keeps what the door says, and tells; a task that was never started is finished too.
func TestFinishTask(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 5)
		for _, id := range []waihu.TaskID{"t1", "t2"} {
			w.task(id)
			w.numbers(id, 0, 2)
		}
		if _, ok, err := w.LastRun(w.ctx, acme, "t1"); ok || err != nil {
			t.Errorf("a run before the first start: %v", err)
		}
		w.start("t1")
		live := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 1)}}).Dials[0]
		for id, want := range map[waihu.TaskID]int{"t1": 1, "t2": 0} {
			if err := w.FinishTask(w.ctx, acme, id, "aiob", func(k *waihu.Task, run int) []byte {
				if run != want || k.Started != (want == 1) {
					t.Errorf("%s: run %d, started %v", id, run, k.Started)
				}
				return []byte(`{"finished":true}`)
			}); err != nil {
				t.Fatal(err)
			}
			if k, err := w.Task(w.ctx, acme, id); err != nil || k.Started || string(k.Doors["aiob"]) != `{"finished":true}` {
				t.Errorf("%+v %v", k, err)
			}
		}
		run, ok, err := w.LastRun(w.ctx, acme, "t1")
		if err != nil || !ok || run.N != 1 || run.State != waihu.RunClosed || run.Reason != waihu.RunStopped {
			t.Errorf("%+v %v %v: its call goes on", run, ok, err)
		}
		w.tick(&Tick{Book: []Booking{ended(live.LiveCall, waihu.Busy, waihu.NumberDone)}})
		if run, _, _ := w.LastRun(w.ctx, acme, "t1"); run.State != waihu.RunEnded {
			t.Errorf("%+v", run)
		}
		events, err := w.Events(w.ctx, acme, 0, 0)
		var told []waihu.EventKind
		for _, e := range events {
			if e.Task == "t1" && e.Kind != waihu.EventNumbersAdded {
				told = append(told, e.Kind)
			}
		}
		if err != nil || len(told) < 3 || told[0] != waihu.EventTaskStarted || told[1] != waihu.EventTaskStopped || told[2] != waihu.EventTaskFinished {
			t.Errorf("%v %v", told, err)
		}
		if err := w.FinishTask(w.ctx, stranger, "t1", "aiob", func(*waihu.Task, int) []byte { return nil }); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger: %v", err)
		}
		w.checkGauges()
	})
}
