package schedule

import (
	"context"
	"errors"
	"time"

	"waihu"
	"waihu/store"
)

// step does all that is to be done at this moment and says when there will be something to do next; zero: when somebody
// says so. It is the whole loop but for the waiting, so an injected clock drives it as well as Run does.
func (s *Scheduler) step(ctx context.Context) (next time.Time) {
	now := s.o.Now()
	select {
	case <-s.o.Store.Wake():
		s.stale = true
	default:
	}
	defer s.checkDrained()
	if err := s.ready(ctx, now); err != nil {
		var held *store.ShardHeldError
		if errors.As(err, &held) {
			s.setWhy(err.Error())
			return now.Add(heldLook) // the lease may be given back early, and its clock is not ours
		}
		s.failed(err)
		return s.retryAt(now)
	}
	p := s.plan(now)
	if p.idle() {
		s.settled(nil)
		return p.wake
	}
	sent := s.o.Now()
	s.tickAt = now
	result, err := s.o.Store.Tick(ctx, &p.tick)
	if errors.Is(err, waihu.ErrDiskFull) && result != nil {
		s.apply(ctx, p, result, sent)
		s.settled(err)
		return s.retryAt(now)
	}
	if err != nil {
		s.recount()
		s.failed(err)
		return s.retryAt(now)
	}
	s.settled(nil)
	s.apply(ctx, p, result, sent)
	return now
}

// ready brings us to where a tick can be planned: the shard is ours, memory and ledger agree, the tasks are read.
func (s *Scheduler) ready(ctx context.Context, now time.Time) error {
	if s.lastCall > waihu.MaxCallSeq-idsKept {
		s.epoch = 0 // an owner may take its own shard again: the ids start over with the next epoch
	}
	if s.epoch == 0 {
		if err := s.take(ctx, now); err != nil {
			return err
		}
	}
	if s.doubt {
		if err := s.settleDoubt(ctx); err != nil {
			return err
		}
	}
	return s.refresh(ctx, now)
}

// settled says that the database answers.
func (s *Scheduler) settled(err error) {
	if err != nil {
		s.failures++
		s.setWhy(err.Error())
		return
	}
	s.failures = 0
	s.setWhy("")
}

func (s *Scheduler) retryAt(now time.Time) time.Time {
	return now.Add(min(retryLast, retryFirst<<min(s.failures, 10)))
}

// nextCall hands out the call ids of this epoch.
func (s *Scheduler) nextCall() (waihu.CallID, bool) {
	if s.lastCall >= waihu.MaxCallSeq {
		return 0, false
	}
	s.lastCall++
	return waihu.NewCallID(s.o.Shard, s.epoch, s.lastCall), true
}
