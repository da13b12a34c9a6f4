package schedule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// counts are the live calls, over all runs: everything committed and not booked.
type counts struct {
	task     map[waihu.TaskID]int
	line     map[waihu.LineID]int
	taskLine map[taskLine]int
	run      map[store.RunRef]int
}

type taskLine struct {
	task waihu.TaskID
	line waihu.LineID
}

func (n *counts) add(c *store.LiveCall, by int) {
	bump(n.task, c.Task, by)
	bump(n.line, c.Line, by)
	bump(n.taskLine, taskLine{c.Task, c.Line}, by)
	bump(n.run, store.RunRef{Task: c.Task, Run: c.Run}, by)
}

// bump keeps no zeros, so that a year of tasks leaves nothing behind.
func bump[K comparable](m map[K]int, key K, by int) {
	if m[key] += by; m[key] == 0 {
		delete(m, key)
	}
}

// recount makes the counts anew: a plan counts what it books as gone before it is committed.
func (s *Scheduler) recount() {
	s.n = counts{map[waihu.TaskID]int{}, map[waihu.LineID]int{}, map[taskLine]int{}, map[store.RunRef]int{}}
	for _, c := range s.live {
		s.n.add(&c, 1)
	}
}

// task is what the loop keeps of a task with a run that has not ended.
type task struct {
	store.OwnedTask
	window  Window
	open    bool      // as of looked
	until   time.Time // open changes then; zero: never
	looked  time.Time
	router  *Router
	specs   map[waihu.AgentID]*waihu.AgentSpec
	held    string    // why it cannot be dialled at all
	empty   bool      // it has no number, done or not: started before its import
	started time.Time // last call start
	turn    int64
	pause   time.Time    // not popped before
	unsure  time.Time    // the ledger has not let the run close: not asked again before
	asked   map[int]bool // closed runs that the ledger was asked to end since the task was read
}

// isOpen caches the window's answer until it changes, or the clock was set back.
func (t *task) isOpen(now time.Time) bool {
	if t.looked.IsZero() || now.Before(t.looked) || !t.until.IsZero() && !now.Before(t.until) {
		t.open, t.until = t.window.Open(now)
		t.looked = now
	}
	return t.open
}

// run is the open run, nil when there is none.
func (t *task) run() *waihu.Run {
	for i := range t.Runs {
		if t.Runs[i].State == waihu.RunOpen {
			return &t.Runs[i]
		}
	}
	return nil
}

// line is what the loop keeps of a line, also while no task uses it.
type line struct {
	row    waihu.Line
	health lineHealth
	downAt time.Time // when the health took it out
	pause  time.Time // after a refused order
	down   string    // what the dialer says stands against it
	pacer  *pacer
}

type agentKey struct {
	account waihu.AccountID
	id      waihu.AgentID
	version int64 // 0: the present one
}

type agentEntry struct {
	spec *waihu.AgentSpec
	err  error
	at   time.Time
}

// take makes the shard ours and rebuilds what we know from the ledger.
func (s *Scheduler) take(ctx context.Context, now time.Time) error {
	epoch, err := s.o.Store.TakeShard(ctx, s.o.Shard, s.o.Owner, s.o.Lease)
	if err != nil {
		return fmt.Errorf("take shard %d: %w", s.o.Shard, err)
	}
	calls, err := s.o.Store.Recover(ctx, s.o.Shard, epoch)
	if err != nil {
		return fmt.Errorf("recover the calls of shard %d: %w", s.o.Shard, err)
	}
	s.epoch, s.lastCall, s.takenAt, s.leaseUntil = epoch, 0, now, now.Add(s.o.Lease)
	s.live, s.doubt, s.stale = make(map[waihu.CallID]store.LiveCall, len(calls)), false, true
	s.tasks = nil
	s.giveBack()
	for _, l := range s.lines {
		l.pacer = nil // starts of the time between are not known
	}
	var orphans []waihu.Orphan
	s.mu.Lock()
	was := s.known
	s.known = make(map[waihu.CallID]bool, len(calls))
	for _, c := range calls {
		s.live[c.Call] = c
		arrived, ours := was[c.Call]
		s.known[c.Call] = arrived
		if !ours {
			orphans = append(orphans, waihu.Orphan{Call: c.Call, Account: c.Account, Line: c.Line, Phone: c.Phone, Caller: c.Caller, StartedAt: c.StartedAt})
		}
	}
	s.arrived = slices.DeleteFunc(s.arrived, func(o waihu.Outcome) bool { _, live := s.known[o.Call]; return !live })
	s.mu.Unlock()
	s.recount()
	s.o.Log.Info("took the shard", "shard", s.o.Shard, "epoch", epoch, "live", len(calls), "orphans", len(orphans))
	if len(orphans) > 0 {
		s.wg.Go(func() { s.endOrphans(ctx, orphans) })
	}
	return nil
}

// endOrphans ends the calls of a dead process on the wire; until then they keep their slots.
func (s *Scheduler) endOrphans(ctx context.Context, orphans []waihu.Orphan) {
	done := func(id waihu.CallID) {
		o := waihu.Outcome{Call: id, Disposition: waihu.Unknown, HangupBy: waihu.BySystem, EndAt: s.o.Now(),
			Evidence: []waihu.Evidence{{Kind: "error", Value: "the process died during the call"}}}
		if s.o.Lost != nil {
			s.o.Lost(&o)
		}
		s.Book(o)
	}
	s.o.Place.EndOrphans(ctx, orphans, done)
}

// stepDown forgets the ledger's part of our memory: somebody else owns the shard. Calls go on, their
// outcomes are kept for the case that we take the shard again.
func (s *Scheduler) stepDown() {
	s.o.Log.Warn("lost the shard", "shard", s.o.Shard, "epoch", s.epoch)
	s.epoch, s.live, s.tasks = 0, nil, nil
	s.recount()
	s.giveBack()
	s.setWhy("the shard has another owner")
}

// giveBack puts what the loop has taken over and not booked back among what has arrived.
func (s *Scheduler) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make([]waihu.Outcome, 0, len(s.ending)+len(s.arrived))
	for _, e := range s.ending {
		kept = append(kept, e.outcome)
	}
	s.arrived = append(kept, s.arrived...)
	s.ending = nil
}

// settleDoubt compares memory with the ledger after a transaction that failed: the commit may have arrived all the
// same. A dial that nobody knows of was never ordered, so it provably never left; a call that
// is live only in memory is booked.
func (s *Scheduler) settleDoubt(ctx context.Context) error {
	calls, err := s.o.Store.Recover(ctx, s.o.Shard, s.epoch)
	if err != nil {
		return fmt.Errorf("compare with the ledger after a failed transaction: %w", err)
	}
	rows := make(map[waihu.CallID]bool, len(calls))
	for _, c := range calls {
		rows[c.Call] = true
		if _, ok := s.live[c.Call]; !ok {
			s.live[c.Call] = c
			s.mu.Lock()
			s.known[c.Call] = true
			s.mu.Unlock()
			s.neverLeft(c, "committed by a transaction whose answer was lost")
		}
	}
	for id := range s.live {
		if !rows[id] {
			s.forget(id)
		}
	}
	s.ending = slices.DeleteFunc(s.ending, func(e ending) bool { return !rows[e.call.Call] })
	s.recount()
	s.doubt, s.stale = false, true
	return nil
}

// forget drops a call that is booked.
func (s *Scheduler) forget(id waihu.CallID) {
	delete(s.live, id)
	s.mu.Lock()
	delete(s.known, id)
	s.mu.Unlock()
}

// neverLeft ends a call whose order was never given or refused.
func (s *Scheduler) neverLeft(c store.LiveCall, why string) {
	s.ending = append(s.ending, ending{call: c, outcome: waihu.Outcome{Call: c.Call, Disposition: waihu.NeverLeft, HangupBy: waihu.BySystem,
		EndAt: s.o.Now(), Evidence: []waihu.Evidence{{Kind: "error", Value: why}}}})
}

// refresh reads the tasks again when somebody changed something, or from time to time. While changes
// pour in it takes at most a tenth of the time.
func (s *Scheduler) refresh(ctx context.Context, now time.Time) error {
	if wait := s.nextRefresh(); now.Before(wait) {
		return nil
	}
	begin := s.o.Now()
	list, err := s.o.Store.OwnedTasks(ctx, s.o.Shard)
	if err != nil {
		return fmt.Errorf("read the tasks of shard %d: %w", s.o.Shard, err)
	}
	s.stale, s.readAt = false, now
	tasks := make(map[waihu.TaskID]*task, len(list))
	for _, o := range list {
		t := &task{OwnedTask: o, window: NewWindow(&o.Task), router: NewRouter(&o.Task), asked: map[int]bool{}}
		if was := s.tasks[o.Task.ID]; was != nil {
			t.started, t.turn, t.pause, t.unsure, t.held, t.router.Turn = was.started, was.turn, was.pause, was.unsure, was.held, was.router.Turn
		} else if r := t.run(); r != nil && r.StartedAt.Before(s.takenAt) {
			t.started = s.takenAt // when the former owner started its last call is not known
		}
		s.fit(ctx, t, now)
		if t.empty, err = s.isEmpty(ctx, t); err != nil {
			return err
		}
		for _, row := range o.Lines {
			s.meet(row, t)
		}
		tasks[o.Task.ID] = t
	}
	s.tasks = tasks
	maps.DeleteFunc(s.agents, func(_ agentKey, e agentEntry) bool { return now.Sub(e.at) > 10*s.o.Refresh })
	s.readTook = s.o.Now().Sub(begin)
	return nil
}

// isEmpty says that nothing was ever imported: a run that closes when nothing is left waits for the import then.
func (s *Scheduler) isEmpty(ctx context.Context, t *task) (bool, error) {
	if t.Task.EndAction != waihu.EndPause || t.Gauge.Fresh+t.Gauge.Due+s.n.task[t.Task.ID] > 0 {
		return false, nil
	}
	c, err := s.o.Store.Counts(ctx, t.Task.Account, t.Task.ID)
	if err != nil {
		return false, fmt.Errorf("count the numbers of task %s: %w", t.Task.ID, err)
	}
	return c.State[waihu.NumberDone]+c.State[waihu.NumberInFlight]+c.State[waihu.NumberFresh]+c.State[waihu.NumberDue] == 0, nil
}

func (s *Scheduler) nextRefresh() time.Time {
	if s.tasks == nil { // not since the takeover
		return s.takenAt
	}
	if s.stale {
		return s.readAt.Add(max(refreshSpacing, 10*s.readTook))
	}
	return s.readAt.Add(s.o.Refresh)
}

// fit gives the task the agents that may talk in it. Without one of them it is not dialled: a wrong
// script is worse than none.
func (s *Scheduler) fit(ctx context.Context, t *task, now time.Time) {
	t.specs = map[waihu.AgentID]*waihu.AgentSpec{}
	var lacking []string
	for _, id := range t.router.Agents() {
		key := agentKey{account: t.Task.Account, id: id}
		if id == t.Task.Agent {
			key.version = t.Task.AgentVersion
		}
		spec, err := s.agent(ctx, key, now)
		if err != nil {
			lacking = append(lacking, fmt.Sprintf("agent %s: %v", id, err))
			continue
		}
		t.specs[id] = spec
	}
	if t.Task.Agent == "" {
		lacking = append(lacking, "the task names no agent")
	}
	held := strings.Join(lacking, "; ")
	if held != t.held && held != "" {
		s.o.Log.Error("a task cannot be dialled", "task", t.Task.ID, "why", held)
	}
	t.held = held
}

// agent keeps agents for the time of a refresh; an old one serves while the database fails.
func (s *Scheduler) agent(ctx context.Context, key agentKey, now time.Time) (*waihu.AgentSpec, error) {
	was, ok := s.agents[key]
	if ok && now.Sub(was.at) < s.o.Refresh {
		return was.spec, was.err
	}
	e := agentEntry{at: now}
	if spec, err := s.readAgent(ctx, key); err == nil {
		e.spec = &spec
	} else if was.spec != nil && waihu.ErrorCode(err) != waihu.ENotFound {
		e.spec = was.spec
	} else {
		e.err = err
	}
	s.agents[key] = e
	return e.spec, e.err
}

func (s *Scheduler) readAgent(ctx context.Context, key agentKey) (waihu.AgentSpec, error) {
	if key.version != 0 {
		return s.o.AgentVersion(ctx, key.account, key.version)
	}
	return s.o.Agent(ctx, key.account, key.id)
}

// meet takes over a line's row. A line that was edited, or for which somebody starts a run, is tried again at once.
func (s *Scheduler) meet(row waihu.Line, t *task) {
	l := s.lines[row.ID]
	if l == nil {
		l = &line{row: row}
		s.lines[row.ID] = l
	}
	if !row.UpdatedAt.Equal(l.row.UpdatedAt) {
		l.health.until, l.pause = time.Time{}, time.Time{}
		l.health.pause = 0
	}
	if l.pacer == nil || l.row.CPS != row.CPS {
		l.pacer = newPacer(row.CPS, s.pastStarts(l))
	}
	l.row = row
	if r := t.run(); r != nil && r.StartedAt.After(l.downAt) {
		l.health.until = time.Time{}
	}
}

// pastStarts is until when starts on the line may have happened that its new pacer does not know of.
func (s *Scheduler) pastStarts(l *line) time.Time {
	if l.pacer != nil {
		return s.o.Now()
	}
	return s.takenAt
}

// failed notes a failed transaction; the next step compares before it goes on.
func (s *Scheduler) failed(err error) {
	if errors.Is(err, store.ErrFenced) {
		s.stepDown()
		return
	}
	s.failures++
	s.doubt = s.epoch != 0
	s.setWhy(err.Error())
}
