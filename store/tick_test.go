package store

import (
	"errors"
	"testing"
	"time"

	"waihu"
)

func TestTickDialsAndBooks(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t1")
		if r := w.numbers("t1", 0, 5); r.Added != 5 || r.Duplicates != 0 {
			t.Fatalf("import says %+v", r)
		}
		run := w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 3)}})
		if len(r.Dials) != 3 || r.Exhausted["t1"] || r.Gauges["t1"].Fresh != 2 {
			t.Fatalf("tick says %+v", r)
		}
		for _, d := range r.Dials {
			if d.Attempt != 1 || d.Phone == "" || d.Line != "l1" || d.Account != acme || d.Run != 1 {
				t.Errorf("dial %+v", d)
			}
		}
		// One answered, one due again, one never left.
		due := time.Now().Add(time.Hour)
		answered := ended(r.Dials[0].LiveCall, waihu.Answered, waihu.NumberDone)
		answered.Outcome.AnswerAt, answered.Outcome.Grade = answered.Outcome.EndAt.Add(-time.Second), "A"
		again := ended(r.Dials[1].LiveCall, waihu.NoAnswer, waihu.NumberDue)
		again.Due, again.Redial = due, true
		undone := ended(r.Dials[2].LiveCall, waihu.NeverLeft, waihu.NumberFresh)
		undone.Undo = true
		book := []Booking{answered, again, undone, answered}
		r2 := w.tick(&Tick{Book: book})
		if g := r2.Gauges["t1"]; len(r2.Booked) != 3 || g.Fresh != 3 || g.Due != 1 || !g.NextDue.Equal(due.Truncate(time.Millisecond)) {
			t.Fatalf("booking says %+v", r2)
		}
		before := w.recount()
		if r3 := w.tick(&Tick{Book: book}); len(r3.Booked) != 0 {
			t.Fatalf("booked twice: %v", r3.Booked)
		}
		if after := w.recount(); before != after {
			t.Fatalf("booking twice changed the ledger:\n%s\n%s", before, after)
		}
		// The undone attempt is dialled as attempt 1 again, the due one not before its time.
		r4 := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 10)}})
		if len(r4.Dials) != 3 || !r4.Exhausted["t1"] {
			t.Fatalf("tick says %+v", r4)
		}
		for _, d := range r4.Dials {
			if d.Attempt != 1 {
				t.Errorf("attempt %d of a number that has never been dialled", d.Attempt)
			}
		}
		r5 := w.tick(&Tick{Now: due.Add(time.Second), Pops: []Pop{pop("t1", run.N, 10)}})
		if len(r5.Dials) != 1 || r5.Dials[0].Attempt != 2 || r5.Dials[0].Redials != 1 || r5.Dials[0].Seq != again.Seq {
			t.Fatalf("the redial: %+v", r5.Dials)
		}
		w.checkGauges()
	})
}

func TestFence(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t1")
		w.numbers("t1", 0, 5)
		run := w.start("t1")
		_, err := w.TakeShard(w.ctx, 0, "other", time.Minute)
		var held *ShardHeldError
		if !errors.As(err, &held) || !errors.Is(err, ErrShardHeld) || held.Owner != "test" || time.Until(held.Until) < 30*time.Second {
			t.Fatalf("taking a held shard: %v", err)
		}
		r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 1)}, Lease: time.Now().Add(-time.Minute)})
		epoch, err := w.TakeShard(w.ctx, 0, "other", time.Minute)
		if err != nil || epoch <= w.epoch {
			t.Fatalf("taking a shard whose lease is over: epoch %d after %d, %v", epoch, w.epoch, err)
		}
		before := w.recount()
		if r, err := w.try(&Tick{Pops: []Pop{pop("t1", run.N, 1)}, Book: []Booking{ended(r.Dials[0].LiveCall, waihu.Busy, waihu.NumberDone)}}); !errors.Is(err, ErrFenced) || r != nil {
			t.Fatalf("a tick of the former owner: %v %v, want ErrFenced", r, err)
		}
		if after := w.recount(); before != after {
			t.Fatalf("a fenced tick changed the ledger:\n%s\n%s", before, after)
		}
		if _, err := w.Recover(w.ctx, 0, w.epoch); !errors.Is(err, ErrFenced) {
			t.Fatalf("Recover of the former owner: %v", err)
		}
		live, err := w.Recover(w.ctx, 0, epoch)
		if err != nil || len(live) != 1 || live[0] != r.Dials[0].LiveCall {
			t.Fatalf("Recover: %+v, %v; want %+v", live, err, r.Dials[0].LiveCall)
		}
	})
}

func TestCallsOnceRefusesASecondDial(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		k := w.task("t1")
		w.numbers("t1", 0, 2)
		run := w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 1)}})
		// Somebody puts the number's row back as it was before the dial.
		w.do(func(x *tx) error {
			_, err := x.exec(`update numbers set state = 0, attempts = 0 where task = $1 and seq = $2`, k.Serial, r.Dials[0].Seq)
			if err == nil {
				_, err = x.exec(`update counts set n = n + 1 where task = $1 and kind = 's' and code = '0'`, k.Serial)
			}
			if err == nil {
				_, err = x.exec(`update counts set n = n - 1 where task = $1 and kind = 's' and code = '1'`, k.Serial)
			}
			return err
		})
		r2 := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 2)}})
		if r2.Refused != 1 || len(r2.Dials) != 1 || r2.Dials[0].Seq == r.Dials[0].Seq {
			t.Fatalf("a second dial of one attempt: %+v", r2)
		}
		w.tick(&Tick{Book: []Booking{ended(r.Dials[0].LiveCall, waihu.Busy, waihu.NumberDone)}})
		w.checkGauges()
	})
}

func TestPopOrder(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		for order, want := range map[waihu.PopOrder][]int64{waihu.PopInOrder: {1, 2, 3, 4}, waihu.PopReverse: {5, 4, 3, 2}} {
			id := waihu.TaskID([]string{"random", "order", "reverse"}[order])
			w.task(id)
			w.numbers(id, 0, 5)
			run := w.start(id)
			var got []int64
			var dials []Dialled
			p := pop(id, run.N, 2)
			p.Order = order
			for range 2 {
				for _, d := range w.tick(&Tick{Pops: []Pop{p}}).Dials {
					got, dials = append(got, d.Seq), append(dials, d)
				}
			}
			if len(got) != 4 || [4]int64(got) != [4]int64(want) {
				t.Errorf("%s: dialled %v, want %v", id, got, want)
			}
			// A dial that never left puts its number back where it was: before the ones still fresh.
			undone := ended(dials[0].LiveCall, waihu.NeverLeft, waihu.NumberFresh)
			undone.Undo = true
			w.tick(&Tick{Book: []Booking{undone}})
			if r := w.tick(&Tick{Pops: []Pop{{Task: id, Account: acme, Run: run.N, Order: order, Fresh: true, Limit: 1, Decide: p.Decide}}}); len(r.Dials) != 1 || r.Dials[0].Seq != want[0] || r.Dials[0].Attempt != 1 {
				t.Errorf("%s: after an undone dial %+v", id, r.Dials)
			}
		}
	})
}

func TestDecideDoneAndPutBack(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t1")
		w.numbers("t1", 0, 3)
		run := w.start("t1")
		p := pop("t1", run.N, 3)
		p.Order = waihu.PopInOrder
		p.Decide = func(n PoppedNumber) Decision {
			switch n.Seq {
			case 1:
				return Decision{} // put back
			case 2:
				return Decision{Outcome: waihu.Blacklisted}
			}
			return Decision{Dial: true, Line: "l1"}
		}
		r := w.tick(&Tick{Pops: []Pop{p}})
		if len(r.Dials) != 1 || r.Dials[0].Seq != 3 || r.Gauges["t1"].Fresh != 1 {
			t.Fatalf("%+v", r)
		}
		p.Decide = func(n PoppedNumber) Decision { return Decision{Dial: true, Line: "l1"} }
		r = w.tick(&Tick{Pops: []Pop{p}})
		if len(r.Dials) != 1 || r.Dials[0].Seq != 1 || r.Dials[0].Attempt != 1 {
			t.Fatalf("a number put back: %+v", r)
		}
		w.checkGauges()
	})
}

func TestNoPopAfterStop(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t1")
		w.numbers("t1", 0, 3)
		run := w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 1)}})
		if err := w.StopTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		if r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 1)}}); len(r.Dials) != 0 || !r.NotOpen["t1"] {
			t.Fatalf("popped after the stop: %+v", r)
		}
		runs, err := w.Runs(w.ctx, acme, "t1")
		if err != nil || len(runs) != 1 || runs[0].State != waihu.RunClosed || runs[0].Reason != waihu.RunStopped {
			t.Fatalf("runs %+v %v", runs, err)
		}
		r = w.tick(&Tick{Book: []Booking{ended(r.Dials[0].LiveCall, waihu.Busy, waihu.NumberDone)}})
		if len(r.Ended) != 1 || r.Ended[0] != (RunRef{"t1", 1}) {
			t.Fatalf("the run did not end with its last call: %+v", r)
		}
		w.checkGauges()
	})
}
