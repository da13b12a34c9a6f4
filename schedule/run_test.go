package schedule

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// liveField is a Dialer in real time whose callees hang up after a while.
type liveField struct {
	lines map[waihu.LineID]waihu.LineState
	last  func() time.Duration
	mu    sync.Mutex
	book  func(waihu.Outcome)
	dials int
	wg    sync.WaitGroup
}

func (f *liveField) Place(a waihu.Attempt) error {
	f.mu.Lock()
	f.dials++
	book := f.book
	f.mu.Unlock()
	f.wg.Add(1)
	time.AfterFunc(f.last(), func() {
		defer f.wg.Done()
		book(waihu.Outcome{Call: a.Call, Disposition: waihu.Answered, EndAt: time.Now()})
	})
	return nil
}

func (f *liveField) Lines() map[waihu.LineID]waihu.LineState { return f.lines }

func (f *liveField) EndOrphans(_ context.Context, orphans []waihu.Orphan, done func(waihu.CallID)) {
	for _, o := range orphans {
		done(o.Call)
	}
}

func (f *liveField) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

// liveRig is a ledger with a started task of n numbers, in real time.
func liveRig(t testing.TB, o store.Options, n, concurrency int) *rig {
	t.Helper()
	r := &rig{t: t, ctx: context.Background()}
	o.Key = make([]byte, 32)
	var err error
	r.store, err = store.Open(r.ctx, o)
	r.must(err)
	t.Cleanup(func() { r.store.Close() })
	r.must(r.store.UpsertAccount(r.ctx, waihu.Account{ID: account, Name: "tenant"}))
	r.must(r.store.SaveAgent(r.ctx, testAgent()))
	r.field = newField(nil)
	r.line("a", concurrency, 0)
	r.o = Options{Store: r.store, Agent: r.store.Agent}
	r.task(waihu.Task{ID: "task", Concurrency: concurrency, Lines: []waihu.TaskLine{{Line: "a", Limit: concurrency}}, EndAction: waihu.EndPause}, n)
	return r
}

// until looks at cond until it holds or a minute has passed.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited a minute: %s", what)
		}
	}
}

// TestRun is the loop in real time: two owners, the second waits; the first drains and leaves, the second goes on at once.
func TestRun(t *testing.T) {
	t.Parallel()
	r := liveRig(t, store.Options{Dir: t.TempDir()}, 300, 10)
	f := &liveField{lines: r.field.lines, last: func() time.Duration { return 3 * time.Millisecond }}
	o := r.o
	o.Place, o.Lease = f, time.Hour // who does not give it back keeps it
	start := func(owner string) (*Scheduler, context.CancelFunc, chan error) {
		o.Owner = owner
		s := New(o)
		ctx, cancel := context.WithCancel(r.ctx)
		ran := make(chan error, 1)
		go func() { ran <- s.Run(ctx) }()
		return s, cancel, ran
	}
	one, stopOne, oneRan := start("one")
	f.mu.Lock()
	f.book = one.Book
	f.mu.Unlock()
	until(t, "one owns the shard", func() bool { ready, _ := one.Health(); return ready })
	until(t, "one dials", func() bool { return f.count() > 50 })
	two, stopTwo, twoRan := start("two")
	until(t, "two sees that the shard is held", func() bool { _, why := two.Health(); return why != "the shard is not ours yet" })
	r.must(one.Drain(r.ctx))
	dials := f.count()
	if ready, why := two.Health(); ready {
		t.Error("two has the shard while one holds it", why)
	}
	f.mu.Lock()
	f.book = two.Book
	f.mu.Unlock()
	stopOne()
	r.must(<-oneRan)
	until(t, "two goes on", func() bool { return f.count() > dials || dials == 300 })
	until(t, "the task is over", func() bool { return r.run("task").State == waihu.RunEnded })
	stopTwo()
	r.must(<-twoRan)
	f.wg.Wait()
	if c := r.counts("task"); c.Status[waihu.Answered] != 300 || f.count() != 300 {
		t.Errorf("%d dials, %+v", f.count(), c)
	}
}

// TestRunSleeps holds that an idle owner leaves the ledger alone and wakes when a task is started.
func TestRunSleeps(t *testing.T) {
	t.Parallel()
	r := liveRig(t, store.Options{Dir: t.TempDir()}, 5, 5)
	f := &liveField{lines: r.field.lines, last: func() time.Duration { return time.Millisecond }}
	ticks := make(chan *store.Tick, 1000)
	o := r.o
	o.Store = &flaky{Store: r.store, before: func(k *store.Tick) error { ticks <- k; return nil }}
	o.Place, o.Owner, o.Refresh = f, "one", time.Hour
	s := New(o)
	f.book = s.Book
	ctx, cancel := context.WithCancel(r.ctx)
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	until(t, "the first task is over", func() bool { return r.run("task").State == waihu.RunEnded })
	s.Poke()
	s.Poke()
	until(t, "the loop has looked and found nothing", func() bool { return len(s.kick) == 0 })
	n := len(ticks)
	r.task(waihu.Task{ID: "second", Concurrency: 1, EndAction: waihu.EndPause}, 2)
	until(t, "the second task is over", func() bool { return r.run("second").State == waihu.RunEnded })
	cancel()
	r.must(<-ran)
	f.wg.Wait()
	if more := len(ticks) - n; n > 8 || more > 8 {
		t.Errorf("%d ticks for five calls, %d for two more and the leave", n, more)
	}
}

var benchNumbers = flag.Int("numbers", 100_000, "numbers of the task in BenchmarkSchedule")

// BenchmarkSchedule is the loop under full load: the time of one call start, booking of its end included.
//
//	go test ./schedule -run xxx -bench Schedule -benchtime 20000x -numbers 1000000
func BenchmarkSchedule(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine, func(b *testing.B) {
			o := store.Options{Dir: b.TempDir()}
			if engine == "postgres" {
				o = store.Options{DSN: postgresDSN(b)}
			}
			r := liveRig(b, o, max(*benchNumbers, b.N), 2000)
			f := &liveField{lines: r.field.lines, last: func() time.Duration { return time.Duration(50+rand.IntN(400)) * time.Millisecond }}
			opts := r.o
			opts.Place, opts.Owner = f, "bench"
			s := New(opts)
			f.book = s.Book
			ctx, cancel := context.WithCancel(r.ctx)
			ran := make(chan error, 1)
			b.ResetTimer()
			begin := time.Now()
			go func() { ran <- s.Run(ctx) }()
			for f.count() < b.N {
				select {
				case err := <-ran:
					b.Fatal(err)
				case <-time.After(5 * time.Millisecond): // another look
				}
			}
			b.ReportMetric(float64(f.count())/time.Since(begin).Seconds(), "starts/s")
			b.StopTimer()
			if err := s.Drain(ctx); err != nil {
				b.Fatal(err)
			}
			cancel()
			if err := <-ran; err != nil {
				b.Fatal(err)
			}
			if n := r.counts("task").State[waihu.NumberInFlight]; n != 0 {
				b.Fatal(fmt.Sprint(n, " numbers are still in flight"))
			}
		})
	}
}
