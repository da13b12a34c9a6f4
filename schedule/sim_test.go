package schedule

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// clock is a time that moves only when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.now) {
		c.now = t
	}
}

// field is a Dialer whose callees answer by a script, under the injected clock. It counts like a
// carrier: a call is live from its order to its end.
type field struct {
	clock  *clock
	script func(waihu.Attempt) (time.Duration, waihu.Outcome)
	refuse func(waihu.Attempt) error
	onDial func(waihu.Attempt, time.Time)
	book   func(waihu.Outcome)

	mu      sync.Mutex
	lines   map[waihu.LineID]waihu.LineState
	live    map[waihu.CallID]waihu.Attempt
	ends    endings
	dialled map[dialKey]int
	dials   int
	orphans []waihu.Orphan
	perTask map[waihu.TaskID]int
	perLine map[waihu.LineID]int
	perBoth map[taskLine]int
	errs    []error
}

type dialKey struct {
	task waihu.TaskID
	seq  int64
	n    int
}

func newField(c *clock) *field {
	return &field{clock: c, lines: map[waihu.LineID]waihu.LineState{}, live: map[waihu.CallID]waihu.Attempt{}, dialled: map[dialKey]int{},
		perTask: map[waihu.TaskID]int{}, perLine: map[waihu.LineID]int{}, perBoth: map[taskLine]int{}}
}

func (f *field) Place(a waihu.Attempt) error {
	if f.refuse != nil {
		if err := f.refuse(a); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.Now()
	f.dials++
	key := dialKey{a.Task, a.Seq, a.N}
	if f.dialled[key]++; f.dialled[key] > 1 {
		f.errs = append(f.errs, fmt.Errorf("number %d of task %s was dialled twice as attempt %d", a.Seq, a.Task, a.N))
	}
	f.live[a.Call] = a
	f.count(a, 1)
	if f.onDial != nil {
		f.onDial(a, now)
	}
	if f.script != nil {
		after, o := f.script(a)
		f.endAt(a, now.Add(after), o)
	}
	return nil
}

func (f *field) count(a waihu.Attempt, by int) {
	f.perTask[a.Task] += by
	f.perLine[a.Line] += by
	f.perBoth[taskLine{a.Task, a.Line}] += by
}

func (f *field) endAt(a waihu.Attempt, when time.Time, o waihu.Outcome) {
	o.Call, o.EndAt = a.Call, when
	if o.InviteAt.IsZero() {
		o.InviteAt = a.StartedAt
	}
	heap.Push(&f.ends, o)
}

func (f *field) Lines() map[waihu.LineID]waihu.LineState {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[waihu.LineID]waihu.LineState, len(f.lines))
	for id, l := range f.lines {
		out[id] = l
	}
	return out
}

func (f *field) EndOrphans(_ context.Context, orphans []waihu.Orphan, done func(waihu.CallID)) {
	f.mu.Lock()
	f.orphans = append(f.orphans, orphans...)
	for _, o := range orphans {
		if a, ok := f.live[o.Call]; ok {
			f.count(a, -1)
			delete(f.live, o.Call)
		}
	}
	f.mu.Unlock()
	for _, o := range orphans {
		done(o.Call)
	}
}

// deliver books what has ended by now.
func (f *field) deliver() {
	for {
		f.mu.Lock()
		if len(f.ends) == 0 || f.ends[0].EndAt.After(f.clock.Now()) {
			f.mu.Unlock()
			return
		}
		o := heap.Pop(&f.ends).(waihu.Outcome)
		a, ok := f.live[o.Call]
		if ok {
			f.count(a, -1)
			delete(f.live, o.Call)
		}
		f.mu.Unlock()
		if ok {
			f.book(o)
		}
	}
}

func (f *field) nextEnd() (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ends) == 0 {
		return time.Time{}, false
	}
	return f.ends[0].EndAt, true
}

type endings []waihu.Outcome

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].EndAt.Before(e[j].EndAt) }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(waihu.Outcome)) }
func (e *endings) Pop() any {
	last := len(*e) - 1
	o := (*e)[last]
	*e = (*e)[:last]
	return o
}

// flaky is a store whose ticks can be made to fail.
type flaky struct {
	*store.Store
	before func(*store.Tick) error                           // the tick does not happen
	after  func(*store.Tick, *store.TickResult, error) error // it has happened, its answer is lost
	seen   func(*store.Tick, *store.TickResult)
}

func (f *flaky) Tick(ctx context.Context, k *store.Tick) (*store.TickResult, error) {
	if f.before != nil {
		if err := f.before(k); err != nil {
			return nil, err
		}
	}
	r, err := f.Store.Tick(ctx, k)
	if f.after != nil {
		if lost := f.after(k, r, err); lost != nil {
			return nil, lost
		}
	}
	if f.seen != nil && r != nil {
		f.seen(k, r)
	}
	return r, err
}

var errLost = errors.New("connection lost")

const (
	account = waihu.AccountID("acc")
	agentID = waihu.AgentID("agent")
)

func testAgent() *waihu.AgentSpec {
	return &waihu.AgentSpec{ID: agentID, Account: account, Name: "survey", Version: 1, Brain: waihu.BrainFlow,
		Flow: &waihu.FlowSpec{Start: "a", Nodes: map[string]waihu.NodeSpec{"a": {Say: "hello", Do: []waihu.Action{{Kind: "hangup"}}}}}}
}

// rig is a scheduler over a real store under an injected clock.
type rig struct {
	t      testing.TB
	ctx    context.Context
	clock  *clock
	store  *store.Store
	ledger *flaky
	field  *field
	s      *Scheduler
	events []waihu.Event
	step   time.Duration // how far the clock goes when there is something to do at once
	o      Options
}

// begin is a Monday, 09:00 in Shanghai.
var begin = time.Date(2025, 1, 6, 1, 0, 0, 0, time.UTC)

func newRig(t testing.TB, o store.Options) *rig {
	t.Helper()
	r := &rig{t: t, ctx: context.Background(), clock: &clock{now: begin}, step: tickSpacing}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	r.open(o)
	r.must(r.store.UpsertAccount(r.ctx, waihu.Account{ID: account, Name: "tenant"}))
	r.must(r.store.SaveAgent(r.ctx, testAgent()))
	r.field = newField(r.clock)
	r.o = Options{Store: r.ledger, Agent: r.store.Agent, AgentVersion: r.store.AgentVersion, Place: r.field, Owner: "one", Now: r.clock.Now, Lease: 24 * time.Hour, Refresh: time.Hour,
		Publish: func(e waihu.Event) { r.events = append(r.events, e) }}
	r.restart()
	return r
}

// open opens the ledger, again if need be.
func (r *rig) open(o store.Options) {
	r.t.Helper()
	if r.store != nil {
		r.must(r.store.Close())
	}
	o.Now, o.Key = r.clock.Now, make([]byte, 32)
	var err error
	r.store, err = store.Open(r.ctx, o)
	r.must(err)
	r.t.Cleanup(func() { r.store.Close() })
	r.ledger = &flaky{Store: r.store}
	r.o.Store, r.o.Agent, r.o.AgentVersion = r.ledger, r.store.Agent, r.store.AgentVersion
}

// restart is another process on the same ledger: the field keeps what is on the wire. As after the opening
// of a folder, nobody waits for the dead owner's lease.
func (r *rig) restart() {
	r.t.Helper()
	r.free()
	r.o.Owner += "'"
	r.s = New(r.o)
	r.field.book = r.s.Book
}

// free ends the lease of whoever holds the shard.
func (r *rig) free() {
	r.t.Helper()
	_, err := r.store.TakeShard(r.ctx, 0, r.o.Owner, 0)
	var held *store.ShardHeldError
	if errors.As(err, &held) {
		_, err = r.store.TakeShard(r.ctx, 0, held.Owner, 0)
	}
	r.must(err)
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) line(id waihu.LineID, concurrency, cps int) {
	r.t.Helper()
	r.must(r.store.UpsertLine(r.ctx, waihu.Line{ID: id, Account: account, Name: string(id), Concurrency: concurrency, CPS: cps, Trunk: waihu.Trunk{URI: "sim:"}}))
	r.field.lines[id] = waihu.LineState{Capacity: concurrency}
}

// task makes a task of n numbers and starts it; k needs only what matters.
func (r *rig) task(k waihu.Task, n int) waihu.Task {
	r.t.Helper()
	k = r.unstarted(k, n)
	_, err := r.store.StartTask(r.ctx, account, k.ID)
	r.must(err)
	return k
}

func (r *rig) unstarted(k waihu.Task, n int) waihu.Task {
	r.t.Helper()
	k.Account = account
	if k.Name == "" {
		k.Name = "task"
	}
	if k.Agent == "" {
		k.Agent = agentID
	}
	if !slices.ContainsFunc(k.Weekly[:], func(d []waihu.Span) bool { return len(d) > 0 }) {
		k.Weekly = all(waihu.Span{From: 0, To: 1440})
	}
	r.must(r.store.CreateTask(r.ctx, &k))
	r.numbers(k.ID, 0, n)
	return k
}

func (r *rig) numbers(id waihu.TaskID, from, n int) {
	r.t.Helper()
	list := make([]store.NewNumber, n)
	for i := range list {
		p := waihu.PhoneNumber(fmt.Sprintf("+999%07d", from+i))
		list[i] = store.NewNumber{Key: string(p), Phone: p}
	}
	_, err := r.store.AddNumbers(r.ctx, account, id, list)
	r.must(err)
}

// drive runs the loop until the moment, jumping from event to event, or until stop says so.
func (r *rig) drive(until time.Time, stop func() bool) {
	r.t.Helper()
	for !r.clock.Now().After(until) && (stop == nil || !stop()) {
		r.field.deliver()
		next := r.s.step(r.ctx)
		now := r.clock.Now()
		if err := errors.Join(r.field.errs...); err != nil {
			r.t.Fatal(err)
		}
		if end, ok := r.field.nextEnd(); ok && (next.IsZero() || end.Before(next)) {
			next = end
		}
		if next.IsZero() || next.After(until) {
			r.clock.set(until.Add(time.Nanosecond))
			return
		}
		if next.Before(now.Add(r.step)) {
			next = now.Add(r.step)
		}
		r.clock.set(next)
	}
}

func (r *rig) counts(id waihu.TaskID) store.Counts {
	r.t.Helper()
	c, err := r.store.Counts(r.ctx, account, id)
	r.must(err)
	return c
}

// run is the latest run of the task.
func (r *rig) run(id waihu.TaskID) waihu.Run {
	r.t.Helper()
	runs, err := r.store.Runs(r.ctx, account, id)
	r.must(err)
	if len(runs) == 0 {
		r.t.Fatal("no run")
	}
	return runs[0]
}

func (r *rig) kinds() map[waihu.EventKind]int {
	r.t.Helper()
	n := map[waihu.EventKind]int{}
	events, err := r.store.Events(r.ctx, account, 0, 100000)
	r.must(err)
	for _, e := range events {
		n[e.Kind]++
	}
	return n
}

// as always answers with the same disposition after d.
func as(disposition waihu.Disposition, d time.Duration) func(waihu.Attempt) (time.Duration, waihu.Outcome) {
	return func(waihu.Attempt) (time.Duration, waihu.Outcome) { return d, waihu.Outcome{Disposition: disposition} }
}
