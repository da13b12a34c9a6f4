package schedule

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

func TestRestartEndsOrphansBeforeTheirSlotsAreFree(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, time.Hour)
	k := r.task(waihu.Task{Concurrency: 5, EndAction: waihu.EndPause}, 12)
	r.drive(begin.Add(time.Minute), nil)
	if r.field.dials != 5 {
		t.Fatalf("%d dials", r.field.dials)
	}
	r.field.script = as(waihu.Answered, time.Second)
	r.restart() // the five calls are still on the wire
	held := r.clock.Now().Add(10 * time.Second)
	done := r.holdOrphans()
	r.drive(held, nil)
	if r.field.dials != 5 {
		t.Fatalf("%d dials while the orphans hold all slots", r.field.dials)
	}
	done()
	r.s.wg.Wait()
	r.drive(held.Add(time.Hour), nil)
	if len(r.field.orphans) != 5 || r.field.orphans[0].Line != "a" || r.field.orphans[0].Phone == "" {
		t.Errorf("orphans %+v", r.field.orphans)
	}
	if c := r.counts(k.ID); c.Status[waihu.Unknown] != 5 || c.Status[waihu.Answered] != 7 {
		t.Errorf("%+v", c)
	}
	if run := r.run(k.ID); run.State != waihu.RunEnded {
		t.Errorf("%+v", run)
	}
}

// holdOrphans makes the field answer for orphans only when the returned function is called.
func (r *rig) holdOrphans() func() {
	gate := make(chan struct{})
	r.s.o.Place = gated{r.field, gate}
	return func() { close(gate) }
}

type gated struct {
	*field
	gate chan struct{}
}

func (g gated) EndOrphans(ctx context.Context, orphans []waihu.Orphan, done func(waihu.CallID)) {
	<-g.gate
	g.field.EndOrphans(ctx, orphans, done)
}

func TestFencedOwnerStepsDownAndComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, 30*time.Second)
	k := r.task(waihu.Task{Concurrency: 5, EndAction: waihu.EndPause}, 40)
	r.s.o.Lease = 10 * time.Second
	r.drive(begin.Add(40*time.Second), nil)
	// Somebody else takes the shard after the lease ran out unseen.
	r.clock.set(r.clock.Now().Add(time.Minute))
	_, err := r.store.TakeShard(r.ctx, 0, "thief", 20*time.Second)
	r.must(err)
	dials := r.field.dials
	r.drive(r.clock.Now().Add(15*time.Second), nil)
	if ready, why := r.s.Health(); ready || !strings.Contains(why, "thief") || r.field.dials != dials {
		t.Errorf("ready %v (%s), %d dials without the shard", ready, why, r.field.dials-dials)
	}
	r.drive(r.clock.Now().Add(time.Hour), nil)
	// The calls of before went on under this process: they are no orphans, and their outcomes are booked.
	if c := r.counts(k.ID); len(r.field.orphans) != 0 || c.Status[waihu.Answered] != 40 {
		t.Errorf("%d orphans, %+v", len(r.field.orphans), c)
	}
}

func TestLostAnswerOfACommit(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, 3*time.Second)
	n := 0
	r.ledger.after = func(k *store.Tick, res *store.TickResult, err error) error {
		if n++; n%3 == 0 {
			return errLost
		}
		return nil
	}
	r.field.onDial = func(a waihu.Attempt, now time.Time) {
		if r.field.perLine["a"] > 5 {
			t.Errorf("%d calls on a line of 5", r.field.perLine["a"])
		}
	}
	k := r.task(waihu.Task{Concurrency: 5, EndAction: waihu.EndPause}, 100)
	r.drive(begin.Add(5*time.Hour), nil)
	if c := r.counts(k.ID); c.Status[waihu.Answered] != 100 || r.field.dials != 100 {
		t.Errorf("%d dials, %+v", r.field.dials, c)
	}
	for _, num := range r.numbersOf(k.ID) {
		if num.Attempts != 1 {
			t.Errorf("number %d has %d attempts", num.Seq, num.Attempts)
		}
	}
}

func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, 3*time.Second)
	k := r.task(waihu.Task{Concurrency: 5, EndAction: waihu.EndPause}, 50)
	r.drive(begin.Add(4*time.Second), nil)
	if ready, why := r.s.Health(); !ready {
		t.Fatal(why)
	}
	r.ledger.before = func(*store.Tick) error { return errors.New("connection refused") }
	dials := r.field.dials
	r.drive(begin.Add(time.Minute), nil)
	if ready, why := r.s.Health(); ready || why != "connection refused" || r.field.dials != dials {
		t.Errorf("ready %v (%s), %d dials", ready, why, r.field.dials-dials)
	}
	r.ledger.before = nil
	r.drive(begin.Add(time.Hour), nil)
	if ready, why := r.s.Health(); !ready {
		t.Error(why)
	}
	if c := r.counts(k.ID); c.Status[waihu.Answered] != 50 || r.field.dials != 50 {
		t.Errorf("%d dials, %+v", r.field.dials, c)
	}
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, store.Options{Dir: dir})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, time.Minute)
	k := r.task(waihu.Task{Concurrency: 5, EndAction: waihu.EndPause}, 50)
	r.drive(begin.Add(10*time.Second), nil)
	book := r.field.book
	r.open(store.Options{Dir: dir, MinFree: 1 << 62}) // no disk has that much
	r.s.o.Store, r.s.o.Agent = r.ledger, r.store.Agent
	r.field.book = book
	r.drive(begin.Add(5*time.Minute), nil)
	if ready, why := r.s.Health(); ready || !strings.Contains(why, waihu.ErrDiskFull.Error()) {
		t.Errorf("ready %v, %q", ready, why)
	}
	if c := r.counts(k.ID); r.field.dials != 5 || c.Status[waihu.Answered] != 5 {
		t.Errorf("%d dials; what was live must be booked: %+v", r.field.dials, c)
	}
	r.open(store.Options{Dir: dir})
	r.s.o.Store, r.s.o.Agent = r.ledger, r.store.Agent
	r.drive(begin.Add(2*time.Hour), nil)
	if ready, why := r.s.Health(); !ready {
		t.Error(why)
	}
	if c := r.counts(k.ID); c.Status[waihu.Answered] != 50 {
		t.Errorf("%+v", c)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, time.Minute)
	r.task(waihu.Task{Concurrency: 5}, 50)
	r.drive(begin.Add(10*time.Second), nil)
	drained := make(chan error, 1)
	go func() { drained <- r.s.Drain(r.ctx) }()
	for !r.s.isDraining() { // until the goroutine has begun
		runtime.Gosched()
	}
	r.drive(begin.Add(30*time.Second), nil)
	select {
	case err := <-drained:
		t.Fatalf("drained with five calls live: %v", err)
	default:
	}
	if ready, why := r.s.Health(); ready || why != "draining" {
		t.Errorf("ready %v, %q", ready, why)
	}
	r.drive(begin.Add(3*time.Minute), nil)
	if err := <-drained; err != nil || r.field.dials != 5 {
		t.Errorf("%v after %d dials", err, r.field.dials)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	other := New(r.o)
	other.known[1] = false
	if err := other.Drain(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 calls") {
		t.Errorf("a drain that is given up: %v", err)
	}
}

func TestOutcomeTwiceAndOfStrangers(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, time.Second)
	book := r.field.book
	r.field.book = func(o waihu.Outcome) {
		book(o)
		book(o)
		book(waihu.Outcome{Call: o.Call + 1000, Disposition: waihu.Busy})
	}
	k := r.task(waihu.Task{Concurrency: 5, EndAction: waihu.EndPause}, 20)
	r.drive(begin.Add(time.Hour), nil)
	if c := r.counts(k.ID); c.Status[waihu.Answered] != 20 {
		t.Errorf("%+v", c)
	}
	if n := r.kinds(); n[waihu.EventCallEnded] != 20 {
		t.Errorf("%v", n)
	}
}

func TestEpochRunsOutOfIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 5, 0)
	r.field.script = as(waihu.Answered, 20*time.Second)
	k := r.task(waihu.Task{Concurrency: 5, EndAction: waihu.EndPause}, 30)
	r.drive(begin.Add(30*time.Second), nil)
	epoch := r.s.epoch
	r.s.lastCall = waihu.MaxCallSeq - 1
	r.drive(begin.Add(time.Hour), nil)
	if c := r.counts(k.ID); r.s.epoch != epoch+1 || c.Status[waihu.Answered] != 30 || len(r.field.orphans) != 0 {
		t.Errorf("epoch %d after %d, %d orphans, %+v", r.s.epoch, epoch, len(r.field.orphans), c)
	}
}
