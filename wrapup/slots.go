package wrapup

import (
	"cmp"
	"errors"
	"sync"
)

// errBusy says that a model is asked as much as it may be at once.
var errBusy = errors.New("the model is busy")

// slots bound how many questions each model is asked at once; the zero value is all free.
type slots struct {
	mu   sync.Mutex
	busy map[string]int // by model id
}

const defaultParallel = 16

// take takes one slot of each model that is to be asked, or none at all.
func (s *slots) take(asks []*ask) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range asks {
		if s.busy[a.m.ID] >= cmp.Or(a.m.Parallel, defaultParallel) {
			return nil, false
		}
	}
	if s.busy == nil {
		s.busy = map[string]int{}
	}
	for _, a := range asks {
		s.busy[a.m.ID]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, a := range asks {
			s.busy[a.m.ID]--
		}
	}, true
}
