package schedule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"waihu"
	"waihu/store"
)

// plan is one tick in the making.
type plan struct {
	tick   store.Tick
	booked []ending
	pops   map[waihu.TaskID]*bidder
	wake   time.Time // when to look again if nothing is done now; zero: when somebody says so
}

// idle says that the transaction would change nothing.
func (p *plan) idle() bool {
	k := &p.tick
	return len(k.Book) == 0 && len(k.Close) == 0 && len(k.End) == 0 && len(k.Pops) == 0 && len(k.Events) == 0 && k.Lease.IsZero()
}

// by brings the next look forward.
func (p *plan) by(t time.Time) {
	if !t.IsZero() && (p.wake.IsZero() || t.Before(p.wake)) {
		p.wake = t
	}
}

// plan decides what the next transaction writes: it is a function of memory, clock and the dialer's lines alone.
func (s *Scheduler) plan(now time.Time) *plan {
	p := &plan{tick: store.Tick{Shard: s.o.Shard, Epoch: s.epoch, Owner: s.o.Owner, Now: now, NextCall: s.nextCall}}
	third := s.o.Lease / 3
	if renew := s.leaseUntil.Add(-2 * third); now.Before(renew) {
		p.by(renew)
	} else {
		p.tick.Lease = now.Add(s.o.Lease)
	}
	p.by(s.nextRefresh())
	s.absorb(now)
	s.planBookings(p, now)
	rooms := s.rooms(p, now)
	s.planRuns(p, now)
	if !s.isDraining() {
		s.planPops(p, rooms, now)
	}
	p.tick.Events = s.events
	return p
}

// absorb takes over the outcomes that have arrived and judges their lines by them, once each.
func (s *Scheduler) absorb(now time.Time) {
	s.mu.Lock()
	arrived := s.arrived
	s.arrived = nil
	s.mu.Unlock()
	for _, o := range arrived {
		c, ok := s.live[o.Call]
		if !ok {
			continue // booked by another owner between two epochs of ours
		}
		if o.EndAt.IsZero() || o.EndAt.After(now) {
			o.EndAt = now
		}
		s.ending = append(s.ending, ending{call: c, outcome: o})
		s.judge(&c, &o, now)
	}
}

// judge lets a call's end speak for or against its line.
func (s *Scheduler) judge(c *store.LiveCall, o *waihu.Outcome, now time.Time) {
	l := s.lines[c.Line]
	if l == nil || o.Stopped || o.Disposition == waihu.Unknown || o.Disposition == waihu.NeverLeft {
		return // says nothing of the line
	}
	down, up := l.health.note(o.Disposition.Fault(), c.StartedAt, now)
	if l.health.out && now.Before(l.health.until) && (down || l.downAt.Before(c.StartedAt)) {
		l.downAt = now
	}
	switch {
	case down:
		s.lineEvent(waihu.EventLineDown, l, now, fmt.Sprintf("%d calls in a row failed on the way, the last as %s", faultRow, o.Disposition))
	case up:
		s.lineEvent(waihu.EventLineUp, l, now, "")
	}
}

func (s *Scheduler) lineEvent(kind waihu.EventKind, l *line, now time.Time, reason string) {
	body, err := json.Marshal(struct {
		Line   waihu.LineID `json:"line"`
		Reason string       `json:"reason,omitempty"`
	}{l.row.ID, reason})
	if err != nil {
		panic("schedule: two texts cannot be encoded: " + err.Error())
	}
	e := waihu.Event{Account: l.row.Account, At: now, Kind: kind, Body: body}
	s.events = append(s.events, e)
	s.o.Publish(e)
	s.o.Log.Warn(string(kind), "line", l.row.ID, "reason", reason)
}

// planBookings books the oldest endings. Their slots are free in this very transaction.
func (s *Scheduler) planBookings(p *plan, now time.Time) {
	p.booked = s.ending[:min(len(s.ending), tickRows)]
	for i := range p.booked {
		e := &p.booked[i]
		var rules waihu.Task // a task without rules ends its numbers
		t := s.tasks[e.call.Task]
		if t != nil {
			rules = t.Task
		}
		n := After(&rules, End{Outcome: e.outcome.Disposition, At: e.outcome.EndAt, Attempt: e.call.Attempt, Redials: e.call.Redials,
			Faults: e.call.Faults, OptOut: e.outcome.OptOut})
		due := n.Due
		if n.State == waihu.NumberDue {
			due = due.Add(time.Millisecond - time.Nanosecond).Truncate(time.Millisecond) // the ledger counts milliseconds; never early
		}
		var spec *waihu.AgentSpec
		version := int64(0)
		if t != nil {
			if spec = t.specs[e.call.Agent]; spec != nil {
				version = spec.VersionID
			}
		}
		p.tick.Book = append(p.tick.Book, store.Booking{LiveCall: e.call, Outcome: &e.outcome, Next: n.State, Due: due, Undo: n.Undo, Redial: n.Redial, Status: n.Status,
			Review: reviews(&rules, spec), AgentVersion: version})
		s.n.add(&e.call, -1)
		if t != nil {
			t.Gauge = after(t.Gauge, n.State, due)
		}
	}
	if len(s.ending) > tickRows {
		p.by(now)
	}
}

// reviews says whether a call is to be looked at after its end: its task names a check or a scheme, or its agent has quality items or
// questions. An agent that is not known here any more may have had some: the check finds out.
func reviews(t *waihu.Task, spec *waihu.AgentSpec) bool {
	return t.QualityCheck != "" || t.ScoreScheme != "" || spec == nil || len(spec.QA) > 0 || spec.LLM != nil && len(spec.LLM.Collect) > 0
}

// after is the gauge once a number has come back.
func after(g store.TaskGauge, state waihu.NumberState, due time.Time) store.TaskGauge {
	switch state {
	case waihu.NumberFresh:
		g.Fresh++
	case waihu.NumberDue:
		if g.Due++; g.Due == 1 || due.Before(g.NextDue) {
			g.NextDue = due
		}
	}
	return g
}

// planRuns closes the runs that are over: stop time, nothing left to dial, no line left.
func (s *Scheduler) planRuns(p *plan, now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(s.tasks)) {
		t := s.tasks[id]
		for _, r := range t.Runs {
			if r.State == waihu.RunClosed && s.n.run[store.RunRef{Task: id, Run: r.N}] == 0 && !t.asked[r.N] {
				t.asked[r.N] = true // closed by somebody else after its last call; once is enough
				p.tick.End = append(p.tick.End, store.RunRef{Task: id, Run: r.N})
			}
		}
		r := t.run()
		if r == nil {
			continue
		}
		p.by(t.Task.Stop)
		if now.Before(t.unsure) {
			p.by(t.unsure)
			continue
		}
		if reason, detail := s.over(t, now); reason != "" {
			p.tick.Close = append(p.tick.Close, store.RunClose{Task: id, Run: r.N, Reason: reason, Detail: detail})
		}
	}
}

// over says why the task's open run is to be closed; "" when it goes on.
func (s *Scheduler) over(t *task, now time.Time) (waihu.RunReason, string) {
	if t.window.Over(now) {
		return waihu.RunTimeout, ""
	}
	if t.Task.EndAction == waihu.EndPause && !t.empty && t.Gauge.Fresh == 0 && t.Gauge.Due == 0 && s.n.task[t.Task.ID] == 0 {
		return waihu.RunDone, ""
	}
	detail := "no line is left"
	for i := range t.Lines {
		row := &t.Lines[i]
		l := s.lines[row.ID]
		switch {
		case !row.Usable(now):
			detail += fmt.Sprintf("; %s has expired or has no concurrency", row.ID)
		case l != nil && l.health.out && now.Before(l.health.until):
			detail += fmt.Sprintf("; on %s %d calls in a row failed on the way", row.ID, faultRow)
		default:
			return "", ""
		}
	}
	return waihu.RunAbnormal, detail
}

// rooms is what each line of ours can take now.
func (s *Scheduler) rooms(p *plan, now time.Time) map[waihu.LineID]*room {
	states := s.o.Place.Lines()
	rooms := map[waihu.LineID]*room{}
	for _, t := range s.tasks {
		for i := range t.Lines {
			if row := &t.Lines[i]; rooms[row.ID] == nil {
				rooms[row.ID] = s.room(p, s.lines[row.ID], states, now)
			}
		}
	}
	// What tasks hold of a line is kept for them; what they have beyond that lives on the common part.
	for _, t := range s.tasks {
		for lineID, held := range t.Reserved {
			if r := rooms[lineID]; r != nil {
				r.open -= held
			}
		}
	}
	for key, live := range s.n.taskLine {
		held := 0
		if t := s.tasks[key.task]; t != nil {
			held = t.Reserved[key.line]
		}
		if r := rooms[key.line]; r != nil {
			r.open -= max(0, live-held)
		}
	}
	return rooms
}

// room is what one line can take, before reservations.
func (s *Scheduler) room(p *plan, l *line, states map[waihu.LineID]waihu.LineState, now time.Time) *room {
	live := s.n.line[l.row.ID]
	state, carried := states[l.row.ID]
	if state.Down != l.down {
		if l.down == "" {
			s.lineEvent(waihu.EventLineDown, l, now, state.Down)
		} else if state.Down == "" {
			s.lineEvent(waihu.EventLineUp, l, now, "")
		}
		l.down = state.Down
	}
	r := &room{open: l.row.Concurrency}
	if !carried || state.Down != "" {
		p.by(now.Add(lineLook))
		return r
	}
	for _, t := range [...]time.Time{state.NotBefore, l.pause, l.health.until} {
		if now.Before(t) {
			p.by(t)
			return r
		}
	}
	if !l.row.Usable(now) {
		return r
	}
	r.free = min(l.row.Concurrency, state.Capacity) - live
	if l.health.out {
		r.free = min(r.free, 1-live) // on trial
	}
	starts, next := l.pacer.allow(now)
	if r.free > 0 && starts == 0 {
		p.by(next)
	}
	r.free = max(0, min(r.free, starts))
	return r
}

// planPops shares what the lines can take among the tasks that may dial now.
func (s *Scheduler) planPops(p *plan, rooms map[waihu.LineID]*room, now time.Time) {
	closing := map[waihu.TaskID]bool{}
	for _, c := range p.tick.Close {
		closing[c.Task] = true
	}
	var bidders []*bidder
	for id, t := range s.tasks {
		if r := t.run(); r == nil || closing[id] || t.held != "" {
			continue
		}
		if b := s.bid(p, t, now); b != nil {
			bidders = append(bidders, b)
		}
	}
	s.turn = share(bidders, rooms, tickRows, s.turn)
	p.pops = map[waihu.TaskID]*bidder{}
	for _, b := range bidders {
		if b.total == 0 {
			continue
		}
		t := s.tasks[b.task]
		t.turn = b.turn
		p.pops[b.task] = b
		p.tick.Pops = append(p.tick.Pops, store.Pop{Task: b.task, Account: t.Task.Account, Run: t.run().N, Order: t.Task.Pop, NewFirst: t.Task.Redial.NewFirst,
			Fresh: t.Gauge.Fresh > 0, Due: dueNow(t.Gauge, now), Limit: b.total, Decide: t.decide(b, s.o.Owner, now)})
	}
	slices.SortFunc(p.tick.Pops, func(a, b store.Pop) int { return cmp.Compare(p.pops[a.Task].turn, p.pops[b.Task].turn) })
}

func dueNow(g store.TaskGauge, now time.Time) bool { return g.Due > 0 && !now.Before(g.NextDue) }

// bid is what the task may start now; nil when nothing.
func (s *Scheduler) bid(p *plan, t *task, now time.Time) *bidder {
	id := t.Task.ID
	if !t.isOpen(now) {
		p.by(t.until)
		return nil
	}
	p.by(t.until)
	have := t.Gauge.Fresh
	if dueNow(t.Gauge, now) {
		have += t.Gauge.Due // at most: some may be due later, the pop will tell
	} else if t.Gauge.Due > 0 {
		p.by(t.Gauge.NextDue)
	}
	b := &bidder{task: id, want: min(have, t.Task.Concurrency-s.n.task[id]), held: s.n.task[id], turn: t.turn}
	if b.want <= 0 {
		return nil
	}
	if now.Before(t.pause) {
		p.by(t.pause)
		return nil
	}
	if t.Task.Interval > 0 {
		if again := t.started.Add(t.Task.Interval); !t.started.IsZero() && now.Before(again) {
			p.by(again)
			return nil
		}
		b.want = 1
	}
	for i := range t.Lines {
		b.lines = append(b.lines, t.Lines[i].ID)
	}
	if len(t.Task.Lines) > 0 {
		b.own = map[waihu.LineID]int{}
		for _, tl := range t.Task.Lines {
			b.own[tl.Line] = min(tl.Limit, t.Reserved[tl.Line]) - s.n.taskLine[taskLine{id, tl.Line}]
		}
	}
	return b
}

// decide is what the pop asks of each number, inside the transaction.
func (t *task) decide(b *bidder, node string, now time.Time) func(store.PoppedNumber) store.Decision {
	left := maps.Clone(b.grants)
	order := slices.Sorted(maps.Keys(left))
	at := 0
	return func(n store.PoppedNumber) store.Decision {
		if n.Suppressed {
			return store.Decision{Outcome: waihu.Blacklisted}
		}
		if n.Data.Until > 0 && now.UnixMilli() >= n.Data.Until {
			return store.Decision{Outcome: waihu.Expired}
		}
		agent := t.router.Agent(now, n.Data.Route, n.Seq, n.Attempt)
		if missing(t.specs[agent], n.Data) != "" {
			return store.Decision{Outcome: waihu.Invalid}
		}
		for range order { // lines by turns
			id := order[at%len(order)]
			at++
			if left[id] > 0 {
				left[id]--
				t.router.Turn++
				d := store.Decision{Dial: true, Line: id, Agent: agent, Node: node}
				if spec := t.specs[agent]; spec != nil {
					d.Version = spec.VersionID
				}
				if list := t.Callers[id]; len(list) > 0 {
					d.Caller = list[t.router.Turn/len(order)%len(list)]
				}
				return d
			}
		}
		return store.Decision{} // no slot: put back
	}
}
