package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// patience bounds every wait of a test; none of them takes it.
const patience = 2 * time.Minute

func openStore(t *testing.T, now func() time.Time) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func add(t *testing.T, s *store.Store, jobs ...waihu.Job) {
	t.Helper()
	if err := s.AddJobs(t.Context(), jobs...); err != nil {
		t.Fatal(err)
	}
}

// run runs a queue until the test stops it, which waits for its end.
func run(t *testing.T, q *Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- q.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-over:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Error("Run did not end")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

// left takes what is due of a kind.
func left(t *testing.T, s *store.Store, kind string) []waihu.Job {
	t.Helper()
	list, err := s.TakeJobs(t.Context(), kind, 10, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWork(t *testing.T) {
	t.Parallel()
	s := openStore(t, nil)
	seen := make(chan string, 10)
	handle := func(_ context.Context, j waihu.Job) error {
		seen <- j.Kind + ":" + j.Key + ":" + string(j.Body)
		return nil
	}
	q := New(Options{Store: s, Handle: map[string]waihu.Handle{"a": handle, "b": handle}, Poll: time.Hour})
	add(t, s, waihu.Job{Kind: "a", Key: "1", Body: []byte("x")}, waihu.Job{Kind: "c", Key: "1"})
	stop := run(t, q)
	if got := next(t, seen); got != "a:1:x" {
		t.Errorf("worked %s", got)
	}
	add(t, s, waihu.Job{Kind: "b", Key: "2"})
	q.Wake() // Poll would be too late
	if got := next(t, seen); got != "b:2:" {
		t.Errorf("worked %s", got)
	}
	stop()
	if len(left(t, s, "a"))+len(left(t, s, "b")) != 0 || len(left(t, s, "c")) != 1 {
		t.Error("finished jobs are left, or one of no kind of ours was taken")
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	now := &clock{now: time.UnixMilli(1_700_000_000_000)}
	s := openStore(t, now.Now)
	tries := make(chan int, 10)
	q := New(Options{Store: s, Now: now.Now, Poll: time.Millisecond, MaxTries: 3, Handle: map[string]waihu.Handle{
		"k": func(_ context.Context, j waihu.Job) error {
			tries <- j.Tries
			if j.Tries == 1 {
				panic("boom")
			}
			return errors.New("no")
		}}})
	add(t, s, waihu.Job{Kind: "k", Key: "1"})
	stop := run(t, q)
	for n, pause := range []time.Duration{time.Second, 2 * time.Second, 0} {
		if got := next(t, tries); got != n+1 {
			t.Fatalf("try %d, want %d", got, n+1)
		}
		if pause > 0 {
			waitDue(t, q, now, pause, tries, n+2)
		}
	}
	stop()
	now.add(24 * time.Hour)
	if list := left(t, s, "k"); len(list) != 0 {
		t.Errorf("a job that was given up is due: %v", list)
	}
}

// waitDue moves the clock until the job is tried again. Its failure is written after the handler has returned, so one move
// may come too early.
func waitDue(t *testing.T, q *Queue, now *clock, pause time.Duration, tries chan int, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		now.add(pause)
		q.Wake()
		select {
		case n := <-tries:
			if n != want {
				t.Fatalf("try %d, want %d", n, want)
			}
			tries <- n // for the caller's own look
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatal("the job was not tried again")
}

func TestPauses(t *testing.T) {
	t.Parallel()
	q := New(Options{})
	for tries, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 10: 512 * time.Second, 11: 15 * time.Minute, 60: 15 * time.Minute} {
		scattered := map[time.Duration]bool{}
		for range 50 {
			got := q.o.Pause(tries)
			if got < want*3/4 || got >= want*5/4 {
				t.Errorf("after %d tries %v, want %v, a quarter more or less", tries, got, want)
			}
			scattered[got] = true
		}
		if len(scattered) < 10 {
			t.Errorf("after %d tries 50 pauses have %d lengths: what failed together comes back together", tries, len(scattered))
		}
	}
}

// TestInterrupted: an orderly end gives the job back at once, a death when its lease is over.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	now := &clock{now: time.UnixMilli(1_700_000_000_000)}
	s := openStore(t, now.Now)
	began := make(chan int, 1)
	q := New(Options{Store: s, Now: now.Now, Handle: map[string]waihu.Handle{"k": func(ctx context.Context, j waihu.Job) error {
		began <- j.Tries
		<-ctx.Done()
		return ctx.Err()
	}}})
	add(t, s, waihu.Job{Kind: "k", Key: "1"})
	stop := run(t, q)
	next(t, began)
	if list := left(t, s, "k"); len(list) != 0 {
		t.Errorf("leased twice: %v", list)
	}
	stop()
	if list := left(t, s, "k"); len(list) != 1 { // and this one takes it along
		t.Fatalf("given back: %v", list)
	}
	now.add(2 * time.Minute)
	again := New(Options{Store: s, Now: now.Now, Handle: map[string]waihu.Handle{"k": func(_ context.Context, j waihu.Job) error {
		began <- j.Tries
		return nil
	}}})
	stop = run(t, again)
	if n := next(t, began); n != 3 {
		t.Errorf("try %d", n)
	}
	stop()
}

// TestLongJob: a handler that its limit interrupts goes on, however often.
func TestLongJob(t *testing.T) {
	t.Parallel()
	s := openStore(t, nil)
	done := make(chan int, 1)
	q := New(Options{Store: s, Limit: map[string]time.Duration{"k": 18 * time.Millisecond}, Poll: time.Millisecond, MaxTries: 1, Handle: map[string]waihu.Handle{
		"k": func(ctx context.Context, j waihu.Job) error {
			if j.Tries < 4 {
				<-ctx.Done()
				return ctx.Err()
			}
			done <- j.Tries
			return nil
		}}})
	add(t, s, waihu.Job{Kind: "k", Key: "1"})
	run(t, q)
	if n := next(t, done); n < 4 {
		t.Errorf("done at try %d", n)
	}
}

// TestWorkers: as many of a kind at once as it has workers, no more, and no more leased than worked.
func TestWorkers(t *testing.T) {
	t.Parallel()
	s := openStore(t, nil)
	var mu sync.Mutex
	now, most := 0, 0
	began, free := make(chan int, 20), make(chan bool)
	q := New(Options{Store: s, Poll: time.Millisecond, Workers: map[string]int{"k": 3}, Handle: map[string]waihu.Handle{"k": func(context.Context, waihu.Job) error {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		began <- 1
		<-free
		mu.Lock()
		now--
		mu.Unlock()
		return nil
	}}})
	var jobs []waihu.Job
	for i := range 10 {
		jobs = append(jobs, waihu.Job{Account: "a", Kind: "k", Key: string(rune('a' + i))})
	}
	add(t, s, jobs...)
	stop := run(t, q)
	for range 3 {
		next(t, began)
	}
	if list := left(t, s, "k"); len(list) != 7 { // leased to us for a minute
		t.Errorf("%d of 10 jobs are left to others while 3 are worked", len(list))
	}
	close(free)
	stop()
	if mu.Lock(); most != 3 {
		t.Errorf("%d at once", most)
	}
	mu.Unlock()
	if c, err := s.JobCounts(t.Context(), "a"); err != nil || len(c) != 1 || c[0].Done != 3 || c[0].Waiting != 7 {
		t.Errorf("%+v %v", c, err)
	}
}

// TestLater: waiting is no failure, however often.
func TestLater(t *testing.T) {
	t.Parallel()
	s := openStore(t, nil)
	done := make(chan waihu.Job, 1)
	q := New(Options{Store: s, Poll: time.Millisecond, MaxTries: 2, Handle: map[string]waihu.Handle{"k": func(_ context.Context, j waihu.Job) error {
		if j.Tries < 6 {
			return Later(0)
		}
		done <- j
		return nil
	}}})
	add(t, s, waihu.Job{Kind: "k", Key: "1"})
	run(t, q)
	if j := next(t, done); j.Failed != 1 {
		t.Errorf("%+v", j)
	}
}

// TestGaveUp: a job that failed too often is kept with its reason, or brought to an end of its own; one whose process died with
// it again and again is not tried for ever.
func TestGaveUp(t *testing.T) {
	t.Parallel()
	s := openStore(t, nil)
	ended := make(chan string, 10)
	fail := func(context.Context, waihu.Job) error { return errors.New("no luck") }
	q := New(Options{Store: s, Poll: time.Millisecond, MaxTries: 2, Pause: func(int) time.Duration { return 0 },
		Handle: map[string]waihu.Handle{"kept": fail, "ended": fail, "hopeless": fail, "poison": func(context.Context, waihu.Job) error { ended <- "poison ran"; return nil }},
		GaveUp: map[string]func(context.Context, waihu.Job, string) error{
			"ended":    func(_ context.Context, j waihu.Job, reason string) error { ended <- reason; return nil },
			"hopeless": func(context.Context, waihu.Job, string) error { return errors.New("not even that") }}})
	add(t, s, waihu.Job{Kind: "kept", Key: "1"}, waihu.Job{Kind: "ended", Key: "1"}, waihu.Job{Kind: "hopeless", Key: "1"}, waihu.Job{Kind: "poison", Key: "1"})
	for range 3 { // its process died three times
		if list, err := s.TakeJobs(t.Context(), "poison", 1, -time.Second); err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
	}
	stop := run(t, q)
	if got := next(t, ended); got != "no luck" {
		t.Errorf("ended with %q", got)
	}
	reasons := map[string]string{}
	for end := time.Now().Add(patience); len(reasons) < 3 && time.Now().Before(end); {
		dead, err := s.DeadJobs(t.Context(), store.JobFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range dead {
			reasons[j.Kind] = j.Reason
		}
	}
	stop()
	if len(reasons) != 3 || reasons["kept"] != "no luck" || reasons["hopeless"] != "not even that" || reasons["poison"] != "taken 3 times, and its handler never came back" {
		t.Errorf("%v", reasons)
	}
	if n, err := s.ReplayJobs(t.Context(), store.JobFilter{Kind: "poison"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	run(t, q)
	if got := next(t, ended); got != "poison ran" {
		t.Error(got)
	}
}

// TestLeaseKept: a handler that takes longer than a lease keeps its job, as long as its process lives. A process that stands still
// for a part of the lease cannot prolong it: then all is begun again.
func TestLeaseKept(t *testing.T) {
	t.Parallel()
	for range 10 {
		if leaseKept(t) {
			return
		}
	}
	t.Log("the machine stood still each time: nothing can be told")
}

func leaseKept(t *testing.T) (told bool) {
	s := openStore(t, nil)
	began, free := make(chan int, 1), make(chan bool)
	const lease = 2 * time.Second // prolonged every third of it
	q := New(Options{Store: s, Lease: lease, Limit: map[string]time.Duration{"k": time.Hour}, Handle: map[string]waihu.Handle{"k": func(context.Context, waihu.Job) error {
		began <- 1
		<-free
		return nil
	}}})
	add(t, s, waihu.Job{Kind: "k", Key: "1"})
	stop := run(t, q)
	defer stop()
	defer close(free)
	next(t, began)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	last := time.Now()
	for end := last.Add(lease + lease/4); last.Before(end); {
		<-look.C
		list := left(t, s, "k")
		stood := time.Since(last)
		if stood > lease/3 {
			return false
		}
		if last = last.Add(stood); len(list) > 0 {
			t.Fatalf("taken by somebody else while it is worked: %+v", list)
		}
	}
	return true
}

// TestAfter: a failure that says when to come back is tried again no sooner, and counts; a kind may have tries of its own.
func TestAfter(t *testing.T) {
	t.Parallel()
	begin := time.UnixMilli(1_700_000_000_000)
	now := &clock{now: begin}
	s := openStore(t, now.Now)
	tries := make(chan int, 10)
	q := New(Options{Store: s, Now: now.Now, Poll: time.Millisecond, MaxTries: 1, Tries: map[string]int{"k": 2}, Handle: map[string]waihu.Handle{
		"k": func(_ context.Context, j waihu.Job) error {
			tries <- j.Failed
			return fmt.Errorf("wrapped: %w", After(time.Hour, errors.New("busy")))
		}}})
	add(t, s, waihu.Job{Kind: "k", Key: "1"})
	stop := run(t, q)
	next(t, tries)
	waitDue(t, q, now, 10*time.Minute, tries, 2)
	if waited := now.Now().Sub(begin); waited < time.Hour {
		t.Errorf("tried again after %v", waited)
	}
	for end := time.Now().Add(patience); ; {
		dead, err := s.DeadJobs(t.Context(), store.JobFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(dead) == 1 {
			if dead[0].Reason != "wrapped: busy" {
				t.Error(dead[0].Reason)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("not given up after its second failure")
		}
		<-time.After(2 * time.Millisecond)
	}
	stop()
}
