// Package queue works jobs without order: imports, copies, grading. It leases them from the ledger in batches, hands each to
// the handler of its kind and writes what became of them, in batches too: all through the ledger's one writer.
//
// Guarantees: a job that was added is worked at least once, whatever dies: one that its process took along is due
// again when its lease is over (Lease), and at once when the process ended in order. So handlers must be idempotent.
// A handler's error or panic puts the job back, with growing, scattered pauses; after MaxTries, or when MaxTries leases ran
// out without a word, it is given up and kept with its reason: store.ReplayJobs brings it back. GaveUp may still
// bring such a job to an end of its own. A handler has until its time is over (Limit); one that then returns its
// context's error goes on later, from where it saved that it was, and that is no failure. Nor is Later.
//
// Each kind has its own workers in a process (Workers, default one), so a slow handler delays the jobs of its own
// kind and no others; within a kind accounts take turns (store.TakeJobs), so one tenant's many jobs do not delay
// another's few. No more jobs are leased than there are workers free: what other processes could work is left to them. Wake may
// be called by any number of goroutines and never blocks; without it a new job is found within Poll.
//
// To test against it, open a store on t.TempDir() and run a Queue with handlers of your own.
package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"waihu"
	"waihu/store"
)

// Options join this room with the rest. Store and Handle are required.
type Options struct {
	Store    *store.Store
	Handle   map[string]waihu.Handle // by kind of job
	Log      *slog.Logger            // default: discard
	Now      func() time.Time        // default time.Now
	Lease    time.Duration           // default 30 s; prolonged while a handler works
	Poll     time.Duration           // default 1 s
	MaxTries int                     // default 20: about four hours
	Tries    map[string]int          // MaxTries of a kind, where it is another
	// Pause is how long a job rests after its n-th failure; default 1 s doubling to 15 minutes, a quarter more or less.
	Pause func(tries int) time.Duration
	// Workers is how many jobs of a kind are worked at once in this process; default 1.
	Workers map[string]int
	// Limit is how long a handler of a kind may take; default 27 s. The lease is prolonged meanwhile.
	Limit map[string]time.Duration
	// GaveUp is called instead of keeping a job whose last try failed with reason. When it returns nil the job is done.
	GaveUp map[string]func(ctx context.Context, j waihu.Job, reason string) error
}

// Queue works the jobs of its kinds while Run runs.
type Queue struct {
	o    Options
	wake map[string]chan struct{}
}

// later is the error of Later.
type later time.Duration

func (l later) Error() string { return "not yet: again in " + time.Duration(l).String() }

// Later is what a handler returns when it has to wait for something: the job comes back after about d, and that is no failure.
func Later(d time.Duration) error { return later(d) }

type after struct {
	error
	pause time.Duration
}

func (a *after) Unwrap() error { return a.error }

// After is err, a failure like any other, but the job is tried again no sooner than after d: whoever failed has said when to come back.
func After(d time.Duration, err error) error { return &after{err, d} }

// New starts nothing: call Run.
func New(o Options) *Queue {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.MaxTries == 0 {
		o.MaxTries = 20
	}
	if o.Pause == nil {
		o.Pause = pause
	}
	q := &Queue{o: o, wake: map[string]chan struct{}{}}
	for kind := range o.Handle {
		q.wake[kind] = make(chan struct{}, 1)
	}
	return q
}

// pause doubles, and scatters what failed together: a service that comes back is not met by everything at once.
func pause(tries int) time.Duration {
	p := min(time.Second<<min(tries-1, 20), 15*time.Minute)
	return p*3/4 + rand.N(p/2)
}

// Wake says that there are new jobs.
func (q *Queue) Wake() {
	for _, c := range q.wake {
		select {
		case c <- struct{}{}:
		default: // it looks already
		}
	}
}

// defaultLimit is long enough for a portion of any work, and short enough for one that hangs to be seen.
const defaultLimit = 27 * time.Second

// Run works until ctx ends; then it gives back what it was at.
func (q *Queue) Run(ctx context.Context) error {
	var kinds sync.WaitGroup
	for kind, handle := range q.o.Handle {
		w := &worker{q: q, kind: kind, handle: handle, n: max(1, q.o.Workers[kind]), tries: cmp.Or(q.o.Tries[kind], q.o.MaxTries), limit: q.o.Limit[kind],
			running: map[int64]waihu.Job{}}
		if w.limit == 0 {
			w.limit = defaultLimit
		}
		w.ends = make(chan store.JobEnd, w.n)
		kinds.Go(func() { w.run(ctx) })
	}
	kinds.Wait()
	return nil
}

// worker is the jobs of one kind in this process. Its loop alone takes jobs and writes what became of them; handlers run beside it.
type worker struct {
	q      *Queue
	kind   string
	handle waihu.Handle
	n      int // handlers at once
	tries  int // failures after which a job is given up
	limit  time.Duration
	ends   chan store.JobEnd // from the handlers; holds as many as there are

	// owned by run
	running map[int64]waihu.Job
}

// run goes on until ctx has ended and the last handler is back.
func (w *worker) run(ctx context.Context) {
	o := &w.q.o
	var handlers sync.WaitGroup
	defer handlers.Wait()
	tick := time.NewTicker(o.Poll)
	defer tick.Stop()
	keep := time.NewTicker(o.Lease / 3)
	defer keep.Stop()
	look := true
	for ctx.Err() == nil || len(w.running) > 0 {
		if look && ctx.Err() == nil && len(w.running) < w.n {
			free := w.n - len(w.running)
			jobs, err := o.Store.TakeJobs(ctx, w.kind, free, o.Lease)
			if err != nil && ctx.Err() == nil {
				o.Log.Error("jobs could not be taken", "kind", w.kind, "err", err)
			}
			for _, j := range jobs {
				w.running[j.ID] = j
				handlers.Go(func() { w.ends <- w.one(ctx, j) })
			}
			look = len(jobs) == free // there may be more when a worker is free again
		}
		done := ctx.Done()
		if ctx.Err() != nil {
			done = nil // only the handlers are awaited now
		}
		select {
		case end := <-w.ends:
			w.end(end)
			look = true
		case <-w.q.wake[w.kind]:
			look = true
		case <-tick.C:
			look = true
		case <-keep.C:
			w.keep()
		case <-done:
		}
	}
}

// end writes what became of the jobs that are over. Should that fail, the leases end and the jobs are worked again.
func (w *worker) end(first store.JobEnd) {
	ends := []store.JobEnd{first}
	for more := true; more; {
		select {
		case e := <-w.ends:
			ends = append(ends, e)
		default:
			more = false
		}
	}
	if err := w.q.o.Store.EndJobs(context.Background(), ends...); err != nil {
		w.q.o.Log.Error("what became of jobs was not written: they are worked again", "kind", w.kind, "jobs", len(ends), "err", err)
	}
	for _, e := range ends {
		delete(w.running, e.Job.ID)
	}
}

func (w *worker) keep() {
	list := make([]waihu.Job, 0, len(w.running))
	for _, j := range w.running {
		list = append(list, j)
	}
	if err := w.q.o.Store.KeepJobs(context.Background(), w.q.o.Lease, list...); err != nil {
		w.q.o.Log.Warn("leases of jobs were not prolonged", "kind", w.kind, "jobs", len(list), "err", err)
	}
}

// one works a job and says what became of it.
func (w *worker) one(ctx context.Context, j waihu.Job) store.JobEnd {
	o := &w.q.o
	var err error
	if j.Failed > w.tries {
		err = fmt.Errorf("taken %d times, and its handler never came back", j.Failed-1)
	} else {
		err = call(ctx, w.limit, j, w.handle)
	}
	var wait later
	switch {
	case err == nil:
		return store.JobEnd{Job: j}
	case errors.As(err, &wait):
		return store.JobEnd{Job: j, Retry: o.Now().Add(time.Duration(wait)), Free: true, Reason: store.JobWaits}
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return store.JobEnd{Job: j, Retry: o.Now(), Free: true, Reason: "interrupted"}
	case j.Failed >= w.tries:
		reason := err.Error()
		if gaveUp := o.GaveUp[w.kind]; gaveUp != nil {
			if err = call(ctx, w.limit, j, func(ctx context.Context, j waihu.Job) error { return gaveUp(ctx, j, reason) }); err == nil {
				o.Log.Error("job given up and brought to an end", "kind", j.Kind, "job", j.ID, "account", string(j.Account), "tries", j.Tries, "err", reason)
				return store.JobEnd{Job: j}
			}
		}
		o.Log.Error("job given up: waihu jobs shows it and brings it back", "kind", j.Kind, "job", j.ID, "account", string(j.Account), "tries", j.Tries, "err", err)
		return store.JobEnd{Job: j, Dead: true, Reason: err.Error()}
	}
	p := o.Pause(j.Failed)
	var wish *after
	if errors.As(err, &wish) {
		p = max(p, wish.pause)
	}
	o.Log.Warn("job failed and is tried again", "kind", j.Kind, "job", j.ID, "tries", j.Tries, "in", p, "err", err)
	return store.JobEnd{Job: j, Retry: o.Now().Add(p), Reason: err.Error()}
}

func call(ctx context.Context, limit time.Duration, j waihu.Job, handle waihu.Handle) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return handle(ctx, j)
}
