package store

import (
	"slices"
	"testing"
	"time"

	"waihu"
)

// grouped imports one person with three phones.
func (w *world) grouped(id waihu.TaskID, data waihu.NumberData) {
	w.Helper()
	data.Group = []waihu.PhoneNumber{"138001", "138002", "138003"}
	if r, err := w.AddNumbers(w.ctx, acme, id, []NewNumber{{Key: "138001;138002;138003", Phone: "138001", Data: data}}); err != nil || r.Added != 1 {
		w.Fatalf("import: %+v %v", r, err)
	}
}

// dial pops one number, which must be that phone.
func (w *world) dial(id waihu.TaskID, run int, phone waihu.PhoneNumber) LiveCall {
	w.Helper()
	r := w.tick(&Tick{Pops: []Pop{pop(id, run, 1)}})
	if len(r.Dials) != 1 || r.Dials[0].Phone != phone {
		w.Fatalf("dialled %+v, want %s", r.Dials, phone)
	}
	return r.Dials[0].LiveCall
}

func (w *world) one(id waihu.TaskID) waihu.Number {
	w.Helper()
	n, err := w.Number(w.ctx, acme, id, 1)
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// TestGroup dials the phones of one person one after the other until one answers; what was called stays with its call.
func TestGroup(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 5)
		w.task("t1")
		w.grouped("t1", waihu.NumberData{Extra: "x"})
		run := w.start("t1").N
		w.tick(&Tick{Book: []Booking{ended(w.dial("t1", run, "138001"), waihu.Busy, waihu.NumberDone)}})
		if n := w.one("t1"); n.State != waihu.NumberDue || n.Phone != "138002" || n.Redials != 0 || n.Outcome != waihu.Busy {
			t.Fatalf("after the first phone: %+v", n)
		}
		// A fault on the way says nothing of the phone; given up after the third it is the next one's turn, without its faults.
		fault := ended(w.dial("t1", run, "138002"), waihu.CarrierFault, waihu.NumberDue)
		w.tick(&Tick{Book: []Booking{fault}})
		if n := w.one("t1"); n.State != waihu.NumberDue || n.Phone != "138002" {
			t.Fatalf("after a fault: %+v", n)
		}
		// A run that closes when nothing is left does not close before the last phone had its turn.
		failed := ended(w.dial("t1", run, "138002"), waihu.CarrierFault, waihu.NumberDone)
		failed.Status = waihu.Failed
		if r := w.tick(&Tick{Book: []Booking{failed}, Close: []RunClose{{Task: "t1", Run: run, Reason: waihu.RunDone}}}); len(r.Closed) != 0 {
			t.Fatal("the run closed with a phone left")
		}
		c := w.dial("t1", run, "138003")
		if c.Faults != 0 {
			t.Errorf("the third phone inherited %d faults", c.Faults)
		}
		w.takeShard() // who takes over knows the phone that is being called
		if live, err := w.Recover(w.ctx, 0, w.epoch); err != nil || len(live) != 1 || live[0].Phone != "138003" {
			t.Fatalf("recovered %+v %v", live, err)
		}
		w.tick(&Tick{Book: []Booking{ended(c, waihu.Answered, waihu.NumberDone)}})
		if n := w.one("t1"); n.State != waihu.NumberDone || n.Outcome != waihu.Answered || n.Attempts != 4 {
			t.Fatalf("after an answer: %+v", n)
		}
		calls, total, err := w.Calls(w.ctx, acme, "t1", CallFilter{})
		if err != nil || total != 4 || calls[0].Phone != "138003" || calls[1].Phone != "138002" || calls[3].Phone != "138001" {
			t.Errorf("the calls lost their phones: %+v %v", calls, err)
		}
		// The end of the group is told once, behind that of its last call.
		events, err := w.Events(w.ctx, acme, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var ends []waihu.EventKind
		for _, e := range events {
			if e.Kind == waihu.EventCallEnded || e.Kind == waihu.EventNumberDone {
				ends = append(ends, e.Kind)
			}
		}
		if one := waihu.EventCallEnded; !slices.Equal(ends, []waihu.EventKind{one, one, one, one, waihu.EventNumberDone}) {
			t.Errorf("it was told as %v", ends)
		}
		if err := w.StopTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		if n, err := w.ResetNumbers(w.ctx, acme, "t1", NumberFilter{}); n != 1 || err != nil || w.one("t1").Phone != "138001" {
			t.Errorf("a reset begins with the first phone: %d %v %+v", n, err, w.one("t1"))
		}
		w.checkGauges()
	})
}

// TestGroupRounds: a redial begins with the first phone again; an opt-out ends the person; a suppressed phone is passed
// over, or ends the group.
func TestGroupRounds(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 5)
		for _, id := range []waihu.TaskID{"t1", "t2", "t3", "t4"} {
			w.task(id)
			w.grouped(id, waihu.NumberData{GroupStops: id == "t3"})
			w.start(id)
		}
		for _, phone := range []waihu.PhoneNumber{"138001", "138002"} {
			w.tick(&Tick{Book: []Booking{ended(w.dial("t1", 1, phone), waihu.NoAnswer, waihu.NumberDone)}})
		}
		again := ended(w.dial("t1", 1, "138003"), waihu.NoAnswer, waihu.NumberDue)
		again.Due, again.Redial = time.Now().Add(time.Hour), true
		w.tick(&Tick{Book: []Booking{again}})
		if n := w.one("t1"); n.Phone != "138001" || n.Redials != 1 || time.Until(n.DueAt) < time.Minute {
			t.Errorf("the second round: %+v", n)
		}
		out := ended(w.dial("t2", 1, "138001"), waihu.Rejected, waihu.NumberDone)
		out.Outcome.OptOut = true
		w.tick(&Tick{Book: []Booking{out}})
		if n := w.one("t2"); n.State != waihu.NumberDone || n.Phone != "138001" {
			t.Errorf("who opted out has more phones to be called on: %+v", n)
		}
		suppressed := func(id waihu.TaskID) Pop {
			p := pop(id, 1, 1)
			p.Decide = func(n PoppedNumber) Decision {
				if n.Suppressed {
					return Decision{Outcome: waihu.Blacklisted}
				}
				return Decision{Dial: true, Line: "l1", Agent: "a1"}
			}
			return p
		}
		// 138001 is suppressed by the opt-out
		w.tick(&Tick{Pops: []Pop{suppressed("t3"), suppressed("t4")}})
		if n := w.one("t3"); n.State != waihu.NumberDone || n.Outcome != waihu.Blacklisted {
			t.Errorf("a group that stops: %+v", n)
		}
		if n := w.one("t4"); n.State != waihu.NumberDue || n.Phone != "138002" {
			t.Errorf("a group that goes on: %+v", n)
		}
		if r := w.tick(&Tick{Pops: []Pop{suppressed("t4")}}); len(r.Dials) != 1 || r.Dials[0].Phone != "138002" {
			t.Errorf("dialled %+v", r.Dials)
		}
		w.checkGauges()
	})
}

// TestWithdraw takes waiting numbers out of a running task, and no other.
func TestWithdraw(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 5)
		w.task("t1")
		w.numbers("t1", 0, 4)
		w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{func() Pop { p := pop("t1", 1, 1); p.Order = waihu.PopInOrder; return p }()}})
		for seq, want := range map[int64]bool{1: false, 2: true, 9: false} {
			if ok, err := w.Withdraw(w.ctx, acme, "t1", seq, waihu.Expired, "keyue"); ok != want || err != nil {
				t.Errorf("withdraw %d: %v %v", seq, ok, err)
			}
		}
		if ok, err := w.Withdraw(w.ctx, acme, "t1", 3, waihu.NoOutcome, "keyue"); !ok || err != nil {
			t.Errorf("remove: %v %v", ok, err)
		}
		if ok, err := w.Withdraw(w.ctx, acme, "t1", 3, waihu.Expired, "keyue"); ok || err != nil {
			t.Errorf("twice: %v %v", ok, err)
		}
		if _, err := w.Withdraw(w.ctx, stranger, "t1", 4, waihu.Expired, "keyue"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger: %v", err)
		}
		if _, err := w.Number(w.ctx, acme, "t1", 3); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a removed number is found: %v", err)
		}
		n, err := w.Number(w.ctx, acme, "t1", 2)
		if err != nil || n.State != waihu.NumberDone || n.Outcome != waihu.Expired {
			t.Errorf("%+v %v", n, err)
		}
		if list, err := w.NumbersAfter(w.ctx, acme, "t1", 1, 10); err != nil || len(list) != 2 || list[1].Seq != 4 {
			t.Errorf("behind 1: %+v %v", list, err)
		}
		events, err := w.Events(w.ctx, acme, 0, 0)
		told := map[waihu.EventKind]string{}
		for _, e := range events {
			told[e.Kind] = string(e.Body)
		}
		if err != nil || told[waihu.EventNumberDone] != `{"seq":2,"disposition":"expired"}` || told[waihu.EventNumbersRemoved] != `{"removed":1,"by":"keyue","ranges":[[3,3]]}` {
			t.Errorf("%v %v", told, err)
		}
		w.tick(&Tick{Book: []Booking{ended(r.Dials[0].LiveCall, waihu.Busy, waihu.NumberDone)}})
		w.checkGauges()
	})
}
