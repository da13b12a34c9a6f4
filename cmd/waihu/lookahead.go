package main

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"waihu"
	"waihu/schedule"
	"waihu/store"
)

// Limits of the look-ahead.
const (
	aheadFactor  = 2    // numbers looked at, times the task's concurrency
	aheadMost    = 2000 // of one task
	aheadRefresh = 2 * time.Second
	aheadSpacing = 100 * time.Millisecond // between two looks at the ledger, however fast it dials
	aheadDue     = 5 * time.Second        // redials due by then count among the next numbers
	aheadBegun   = 10 * time.Second       // how long a start that was asked for is believed before the ledger shows it
)

// lookahead makes sounds before the dial that wants them: the fixed parts of a task's agents when it starts,
// then what the next numbers will hear in their own words. A dial then finds its sounds in the cache; one that comes
// too early makes them itself, as without look-ahead. Only a hint flows from the ledger to the cache, so
// nothing here can delay or change what is dialled: the scheduler's events are counted, never waited for, and at most
// half of the cores (at least one) render ahead. A task whose agents speak no variables costs one rendering of its agents.
type lookahead struct {
	ledger aheadLedger
	voice  aheadVoice
	ready  func() (bool, string) // whether this process dials at all
	log    *slog.Logger
	slots  chan struct{} // renderings at a time, of all tasks
	look   chan struct{} // the set of tasks may have changed

	mu    sync.Mutex
	tasks map[waihu.TaskID]*aheadTask
}

// aheadLedger is the store's reading side.
type aheadLedger interface {
	OwnedTasks(ctx context.Context, shard int) ([]store.OwnedTask, error)
	NextNumbers(context.Context, store.Peek) ([]store.PoppedNumber, error)
	TaskAgent(context.Context, *waihu.Task, waihu.AgentID) (waihu.AgentSpec, error)
}

// aheadVoice is speech.Synth.
type aheadVoice interface {
	RenderFixed(context.Context, *waihu.AgentSpec) (numbers bool, err error)
	Render(context.Context, *waihu.AgentSpec, map[string]string) (bytes int, err error)
	Room() int
}

// aheadTask is a task that is followed; guarded by the look-ahead's mu.
type aheadTask struct {
	task    waihu.Task
	believe time.Time     // a start that was asked for
	dials   int           // since the last look at its numbers
	moved   chan struct{} // so many that the look is worn
	stop    context.CancelFunc
}

func newLookahead(ledger aheadLedger, voice aheadVoice, ready func() (bool, string), log *slog.Logger) *lookahead {
	return &lookahead{ledger: ledger, voice: voice, ready: ready, log: log,
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), look: make(chan struct{}, 1), tasks: map[waihu.TaskID]*aheadTask{}}
}

// begin follows a task whose start is being asked for: a moment of advance on the first dials.
func (l *lookahead) begin(t waihu.Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tasks[t.ID] == nil {
		l.tasks[t.ID] = &aheadTask{task: t, moved: make(chan struct{}, 1)}
	}
	l.tasks[t.ID].believe = time.Now().Add(aheadBegun)
	poke(l.look)
}

// note takes an event of the scheduler. It never waits.
func (l *lookahead) note(e waihu.Event) {
	if e.Kind != waihu.EventCallDialing && e.Kind != waihu.EventTaskStopped {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tasks[e.Task]
	if t == nil || e.Kind == waihu.EventTaskStopped {
		poke(l.look)
		return
	}
	if t.dials++; t.dials >= max(1, t.task.Concurrency/2) {
		poke(t.moved)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run follows the started tasks until ctx ends.
func (l *lookahead) Run(ctx context.Context) error {
	var followers sync.WaitGroup
	defer followers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		if err := l.refresh(ctx, &followers); err != nil && ctx.Err() == nil {
			l.log.Debug("looking ahead: reading the tasks", "err", err)
		}
		if !pause(ctx, aheadSpacing, nil) || !pause(ctx, aheadRefresh, l.look) {
			return nil
		}
	}
}

// pause waits for d or wake; false when ctx has ended.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}

// refresh follows the tasks that have an open run, and no others.
func (l *lookahead) refresh(ctx context.Context, followers *sync.WaitGroup) error {
	var list []store.OwnedTask
	if ready, _ := l.ready(); ready {
		var err error
		if list, err = l.ledger.OwnedTasks(ctx, 0); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	open := make(map[waihu.TaskID]bool, len(list))
	for _, o := range list {
		for _, r := range o.Runs {
			open[o.Task.ID] = open[o.Task.ID] || r.State == waihu.RunOpen
		}
		if !open[o.Task.ID] {
			continue
		}
		if l.tasks[o.Task.ID] == nil {
			l.tasks[o.Task.ID] = &aheadTask{moved: make(chan struct{}, 1)}
		}
		l.tasks[o.Task.ID].task = o.Task
	}
	now := time.Now()
	for id, t := range l.tasks {
		switch {
		case open[id] || now.Before(t.believe):
			if t.stop == nil {
				var own context.Context
				own, t.stop = context.WithCancel(ctx)
				followers.Go(func() { l.follow(own, t) })
			}
		default:
			if t.stop != nil {
				t.stop()
			}
			delete(l.tasks, id)
		}
	}
	return nil
}

// ahead is what the follower of a task remembers between two looks.
type ahead struct {
	readAt time.Time
	agents map[waihu.AgentID]*waihu.AgentSpec // those with variables in their texts
	fixed  map[int64]bool                     // versions whose fixed parts are made; true: with variables
	done   map[int64]*madeWords               // by number
}

// madeWords are the words of a number that were made, and what their sounds take in the cache.
type madeWords struct {
	words map[string]string
	bytes atomic.Int64
}

// follow renders for one task until ctx ends.
func (l *lookahead) follow(ctx context.Context, t *aheadTask) {
	a := ahead{fixed: map[int64]bool{}}
	for {
		l.mu.Lock()
		task := t.task
		t.dials = 0
		l.mu.Unlock()
		l.renderFixed(ctx, &task, &a)
		if len(a.agents) > 0 {
			l.renderNumbers(ctx, t, &task, &a)
		}
		wake := t.moved
		if len(a.agents) == 0 {
			wake = nil
		}
		if !pause(ctx, aheadSpacing, nil) || !pause(ctx, aheadRefresh, wake) {
			return
		}
	}
}

// renderFixed makes what all calls of the task's agents need, once for each version.
func (l *lookahead) renderFixed(ctx context.Context, task *waihu.Task, a *ahead) {
	if a.agents != nil && time.Since(a.readAt) < aheadRefresh {
		return
	}
	agents, fixed := map[waihu.AgentID]*waihu.AgentSpec{}, map[int64]bool{}
	for _, id := range task.Agents() {
		spec, err := l.ledger.TaskAgent(ctx, task, id)
		if err != nil {
			continue // the scheduler says so
		}
		numbers, known := a.fixed[spec.VersionID]
		if !known {
			a.done = nil
			if !l.slot(ctx) {
				return
			}
			numbers, err = l.voice.RenderFixed(ctx, &spec)
			<-l.slots
			if err != nil && ctx.Err() == nil {
				l.log.Info("looking ahead: not every sentence of an agent has a sound", "agent", id, "err", err)
			}
		}
		fixed[spec.VersionID] = numbers
		if numbers {
			agents[id] = &spec
		}
	}
	a.agents, a.fixed, a.readAt = agents, fixed, time.Now()
}

// slot waits for its turn to render; false when ctx has ended.
func (l *lookahead) slot(ctx context.Context) bool {
	select {
	case l.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// renderNumbers makes the words of the numbers that come next. It leaves off when so many were dialled
// meanwhile that another look at the ledger is due, and when the task's part of the cache is full.
func (l *lookahead) renderNumbers(ctx context.Context, t *aheadTask, task *waihu.Task, a *ahead) {
	now := time.Now()
	list, err := l.ledger.NextNumbers(ctx, store.Peek{Account: task.Account, Task: task.ID, Order: task.Pop, NewFirst: task.Redial.NewFirst,
		Due: now.Add(aheadDue), Limit: min(aheadFactor*max(task.Concurrency, 1), aheadMost)})
	if err != nil {
		if ctx.Err() == nil {
			l.log.Debug("looking ahead: reading the next numbers", "task", task.ID, "err", err)
		}
		return
	}
	router := schedule.NewRouter(task)
	l.mu.Lock()
	room := l.voice.Room() / max(1, len(l.tasks))
	l.mu.Unlock()
	done := make(map[int64]*madeWords, len(list))
	var used atomic.Int64
	var renderings sync.WaitGroup
	defer renderings.Wait()
	for _, n := range list {
		words := n.Data.Vars
		if n.Suppressed || len(words) == 0 {
			continue
		}
		if used.Load() >= int64(room) {
			break
		}
		if was := a.done[n.Seq]; was != nil && maps.Equal(was.words, words) {
			done[n.Seq] = was
			used.Add(was.bytes.Load())
			continue
		}
		if len(t.moved) > 0 && time.Since(now) > aheadSpacing {
			break
		}
		made := &madeWords{words: words}
		for id, spec := range a.agents {
			if !mayTalk(task, router, id, n, now) {
				continue
			}
			if !l.slot(ctx) {
				return
			}
			renderings.Go(func() {
				defer func() { <-l.slots }()
				// What is wrong with a number's words ends its own dial, and is said there.
				bytes, _ := l.voice.Render(ctx, spec, words)
				made.bytes.Add(int64(bytes))
				used.Add(int64(bytes))
			})
		}
		done[n.Seq] = made
	}
	a.done = done
}

// mayTalk says whether the agent could get the number's call. Whose turn it is among several is known only at the dial.
func mayTalk(task *waihu.Task, router *schedule.Router, id waihu.AgentID, n store.PoppedNumber, now time.Time) bool {
	if task.Routing.Kind == waihu.RouteSeveral && !task.Routing.Randomly {
		return true
	}
	return router.Agent(now, n.Data.Route, n.Seq, n.Attempt) == id
}
