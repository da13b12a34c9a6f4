// Package queue works jobs without order: imports, copies, grading. It leases each from the ledger, hands it to
// the handler of its kind and writes what became of it.
//
// Guarantees: a job that was added is worked at least once, whatever dies: one that its process took along is due
// again when its lease is over (Lease), and at once when the process ended in order. So handlers must be idempotent.
// A handler's error or panic puts the job back, with growing pauses; after MaxTries it is given up and kept with
// its reason. A handler has until its lease is nearly over; one that then returns its context's error goes on
// later, from where it saved that it was, and that is no failure.
//
// Each kind has one worker in a process, so a slow handler delays the jobs of its own kind and no others. Wake may
// be called by any number of goroutines and never blocks; without it a new job is found within Poll.
//
// To test against it, open a store on t.TempDir() and run a Queue with handlers of your own.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	Lease    time.Duration           // default 30 s
	Poll     time.Duration           // default 1 s
	MaxTries int                     // default 20: about four hours
	// Pause is how long a job rests after its n-th failure; default 1 s doubling to 15 minutes.
	Pause func(tries int) time.Duration
}

// Queue works the jobs of its kinds while Run runs.
type Queue struct {
	o    Options
	wake map[string]chan struct{}
}

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
		o.Pause = func(tries int) time.Duration {
			return min(time.Second<<min(tries-1, 20), 15*time.Minute)
		}
	}
	q := &Queue{o: o, wake: map[string]chan struct{}{}}
	for kind := range o.Handle {
		q.wake[kind] = make(chan struct{}, 1)
	}
	return q
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

// Run works until ctx ends; then it gives back what it was at.
func (q *Queue) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for kind, handle := range q.o.Handle {
		workers.Go(func() { q.work(ctx, kind, handle) })
	}
	workers.Wait()
	return nil
}

func (q *Queue) work(ctx context.Context, kind string, handle waihu.Handle) {
	for ctx.Err() == nil {
		jobs, err := q.o.Store.TakeJobs(ctx, kind, 1, q.o.Lease)
		if err != nil && ctx.Err() == nil {
			q.o.Log.Error("jobs could not be taken", "kind", kind, "err", err)
		}
		if len(jobs) == 0 {
			rest := time.NewTimer(q.o.Poll)
			select {
			case <-q.wake[kind]:
			case <-rest.C:
			case <-ctx.Done():
			}
			rest.Stop()
			continue
		}
		for _, j := range jobs {
			q.one(ctx, j, handle)
		}
	}
}

// one works a job and writes what became of it. Should that fail, the lease ends and the job is worked again.
func (q *Queue) one(ctx context.Context, j waihu.Job, handle waihu.Handle) {
	err := call(ctx, q.o.Lease*9/10, j, handle)
	last := context.WithoutCancel(ctx)
	var result error
	switch {
	case err == nil:
		result = q.o.Store.FinishJob(last, j.ID)
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		result = q.o.Store.RetryJob(last, j.ID, q.o.Now(), "interrupted")
	case j.Tries >= q.o.MaxTries:
		q.o.Log.Error("job given up", "kind", j.Kind, "job", j.ID, "account", string(j.Account), "tries", j.Tries, "err", err)
		result = q.o.Store.RetryJob(last, j.ID, time.Time{}, err.Error())
	default:
		pause := q.o.Pause(j.Tries)
		q.o.Log.Warn("job failed and is tried again", "kind", j.Kind, "job", j.ID, "tries", j.Tries, "in", pause, "err", err)
		result = q.o.Store.RetryJob(last, j.ID, q.o.Now().Add(pause), err.Error())
	}
	if result != nil {
		q.o.Log.Error("what became of a job was not written: it is worked again", "kind", j.Kind, "job", j.ID, "err", result)
	}
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
