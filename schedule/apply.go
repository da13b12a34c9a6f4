package schedule

import (
	"context"
	"fmt"
	"slices"
	"time"

	"waihu"
	"waihu/store"
)

// apply takes a committed tick into memory and gives its orders.
func (s *Scheduler) apply(ctx context.Context, p *plan, r *store.TickResult, sent time.Time) {
	now := p.tick.Now
	if !p.tick.Lease.IsZero() {
		s.leaseUntil = sent.Add(s.o.Lease)
	}
	s.events = nil
	for i := range p.booked {
		e := &p.booked[i]
		s.forget(e.call.Call)
		s.publish(waihu.EventCallEnded, &e.call, now, fmt.Appendf(nil, `{"seq":%d,"attempt":%d,"disposition":%q}`, e.call.Seq, e.call.Attempt, e.outcome.Disposition))
	}
	s.ending = slices.Clone(s.ending[len(p.booked):])
	for _, c := range p.tick.Close {
		if slices.Contains(r.Closed, store.RunRef{Task: c.Task, Run: c.Run}) {
			s.closeRun(c, now)
		} else {
			s.stale = true // somebody stopped it, or imported, since we read it
			if t := s.tasks[c.Task]; t != nil {
				t.unsure = now.Add(idlePop)
			}
		}
	}
	for _, ref := range r.Ended {
		s.endRun(ref)
	}
	if r.Refused > 0 {
		s.o.Log.Error("the ledger refused dials of attempts that it has already: memory was wrong", "dials", r.Refused)
	}
	for id, g := range r.Gauges {
		if t := s.tasks[id]; t != nil {
			t.Gauge = g
		}
	}
	dials := map[waihu.TaskID]int{}
	starts := map[waihu.LineID]int{}
	for i := range r.Dials {
		d := &r.Dials[i]
		s.live[d.Call] = d.LiveCall
		s.n.add(&d.LiveCall, 1)
		dials[d.Task]++
		starts[d.Line]++
	}
	for id, n := range starts {
		s.lines[id].pacer.spend(n, now)
	}
	for id, b := range p.pops {
		t := s.tasks[id]
		if t == nil {
			continue
		}
		if dials[id] > 0 {
			t.started = now
		}
		if r.NotOpen[id] {
			s.stale = true // stopped by somebody since we read it
			t.pause = now.Add(idlePop)
		} else if dials[id] == 0 && r.Exhausted[id] && t.Gauge.Fresh+t.Gauge.Due >= b.total {
			t.pause = now.Add(idlePop) // nothing came although something was to be there: do not spin
		}
	}
	s.order(r.Dials, now)
}

// order lets the orders of a committed tick leave. It is the only place where a call begins.
func (s *Scheduler) order(dials []store.Dialled, now time.Time) {
	if len(dials) == 0 {
		return
	}
	s.mu.Lock()
	for i := range dials {
		s.known[dials[i].Call] = false
	}
	s.mu.Unlock()
	for i := range dials {
		d := &dials[i]
		if s.o.Now().After(s.leaseUntil.Add(-s.o.Lease / 10)) { // by then the order would leave under somebody else's lease
			s.refused(d, now, "the lease ran out before the order left")
			continue
		}
		t := s.tasks[d.Task]
		a := waihu.Attempt{Call: d.Call, Account: d.Account, Task: d.Task, Run: d.Run, Seq: d.Seq, N: d.Attempt, Line: d.Line, Phone: d.Phone,
			Data: d.Data, Agent: t.specs[d.Agent], Caller: d.Caller, RingTimeout: t.Task.RingTimeout, StartedAt: d.StartedAt}
		s.o.Crash("order.before")
		if err := s.o.Place.Place(a); err != nil {
			s.o.Log.Warn("order refused", "call", d.Call.String(), "line", d.Line, "why", err)
			s.refused(d, now, err.Error())
			if l := s.lines[d.Line]; l != nil {
				l.pause = now.Add(refusedPause)
			}
			continue
		}
		s.publish(waihu.EventCallDialing, &d.LiveCall, now, fmt.Appendf(nil, `{"seq":%d,"attempt":%d}`, d.Seq, d.Attempt))
	}
}

// refused ends a call whose order did not leave; no outcome of it follows.
func (s *Scheduler) refused(d *store.Dialled, now time.Time, why string) {
	s.mu.Lock()
	s.known[d.Call] = true
	s.mu.Unlock()
	s.neverLeft(d.LiveCall, why)
}

func (s *Scheduler) publish(kind waihu.EventKind, c *store.LiveCall, now time.Time, body []byte) {
	s.o.Publish(waihu.Event{Account: c.Account, Task: c.Task, At: now, Kind: kind, Call: c.Call, Body: body})
}

func (s *Scheduler) closeRun(c store.RunClose, now time.Time) {
	t := s.tasks[c.Task]
	if t == nil {
		return
	}
	t.Task.Started = false
	for i := range t.Runs {
		if r := &t.Runs[i]; r.N == c.Run {
			r.State, r.Reason, r.Detail, r.ClosedAt = waihu.RunClosed, c.Reason, c.Detail, now
		}
	}
	s.o.Log.Info("run closed", "task", c.Task, "run", c.Run, "reason", string(c.Reason), "detail", c.Detail)
	s.o.Publish(waihu.Event{Account: t.Task.Account, Task: c.Task, At: now, Kind: waihu.EventTaskStopped,
		Body: fmt.Appendf(nil, `{"run":%d,"reason":%q}`, c.Run, c.Reason)})
}

func (s *Scheduler) endRun(ref store.RunRef) {
	t := s.tasks[ref.Task]
	if t == nil {
		return
	}
	t.Runs = slices.DeleteFunc(t.Runs, func(r waihu.Run) bool { return r.N == ref.Run })
	if len(t.Runs) == 0 {
		delete(s.tasks, ref.Task)
	}
	s.stale = true // its reservation goes with it
}
