package wrapup

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"waihu/store"
)

// saver commits what many workers have found at once: the first that comes commits for all who come while the commit before it goes on.
type saver struct {
	save func(ctx context.Context, list ...store.Reviewed) error

	mu      sync.Mutex
	waiting []*saving
	busy    bool
}

type saving struct {
	r    store.Reviewed
	err  error
	lead bool
	done chan struct{} // closed when r is committed or has failed; sent to when this one shall lead
}

// maxSaving bounds one commit: some milliseconds of the writer.
const maxSaving = 128

// commit is save, whose panic must not leave the others waiting for ever.
func (s *saver) commit(ctx context.Context, list ...store.Reviewed) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.save(ctx, list...)
}

// add returns when r is committed. It is not given up half way when ctx ends: a commit has an end.
func (s *saver) add(ctx context.Context, r store.Reviewed) error {
	me := &saving{r: r, done: make(chan struct{}, 1)}
	s.mu.Lock()
	s.waiting = append(s.waiting, me)
	if s.busy {
		s.mu.Unlock()
		<-me.done
		if !me.lead {
			return me.err
		}
		s.mu.Lock()
	}
	s.busy = true
	n := min(len(s.waiting), maxSaving)
	list := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	s.mu.Unlock()

	ctx = context.WithoutCancel(ctx)
	all := make([]store.Reviewed, n)
	for i, x := range list {
		all[i] = x.r
	}
	if err := s.commit(ctx, all...); err != nil {
		for _, x := range list { // one of them may be at fault: each for itself
			if x.err = err; n > 1 {
				x.err = s.commit(ctx, x.r)
			}
		}
	}

	s.mu.Lock()
	s.busy = false
	if len(s.waiting) > 0 {
		s.busy = true
		s.waiting[0].lead = true
		s.waiting[0].done <- struct{}{}
	}
	s.mu.Unlock()
	found := false
	for _, x := range list {
		if x == me {
			found = true
		} else {
			close(x.done)
		}
	}
	if !found {
		return errors.New("wrapup: a leader was not of its own batch") // it is the first of those who wait
	}
	return me.err
}
