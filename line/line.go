// Package line owns the trunks: registrations, probes, caller numbers and their
// health, and places calls on them.
//
// Lines implements the port that schedule dials through. Place never blocks: it
// picks the caller number, starts one goroutine for the call and returns; the
// outcome, exactly one for each accepted order, is handed to the Done function.
// Configure may be called at any time; calls in progress keep the trunk they
// began with. All methods may be called concurrently.
//
// Stopping has two steps: when Run's context ends no registration is kept and
// Place refuses; HangUp ends the calls that are left, and Wait returns when the
// last outcome has been handed over.
//
// Testing: the real SIP and media rooms over loopback against the simulated
// carrier or sipp; policies (rewriting, prefixes, turns of caller numbers) are plain functions.
package line

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"waihu"
	"waihu/call"
	"waihu/sip"
)

// Options are what Lines needs; all but Log and SimAddr are required.
type Options struct {
	Endpoint *sip.Endpoint
	Call     call.Deps
	// Done gets the outcome of every accepted order. It must not block.
	Done func(waihu.Outcome)
	// SimAddr is the address of the simulated carrier as host:port, asked when a sim: trunk is
	// configured; nil or "" refuses it.
	SimAddr func() string
	Log     *slog.Logger
}

// Lines is the set of configured trunks and the calls on them.
type Lines struct {
	opt     Options
	log     *slog.Logger
	callCtx context.Context // base context of all calls; HangUp cancels it
	hangUp  context.CancelFunc
	calls   sync.WaitGroup // calls and orphan work
	keepers sync.WaitGroup // registrations and probes

	mu      sync.Mutex
	base    context.Context // of Run; nil before, done after
	trunks  map[waihu.LineID]*trunk
	closed  bool
	byCalls map[waihu.CallID]waihu.LineID
}

// trunk is one configured line. Fields below the blank line are guarded by Lines.mu.
type trunk struct {
	line waihu.Line
	peer *sip.Peer
	bad  string // why its settings cannot be used; empty: they can

	live      int
	turn      chan struct{} // closed when the INVITE of the latest order has left, or never will, and those before it; nil before the first
	notBefore time.Time
	down      string
	stop      context.CancelFunc // ends its keepers
	gone      chan struct{}      // closed when its registration was taken back; nil: it had none
	before    chan struct{}      // gone of the trunk whose place it took
}

// New makes a set without lines; Configure fills it and Run keeps it.
func New(opt Options) *Lines {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Lines{opt: opt, log: opt.Log, callCtx: ctx, hangUp: cancel,
		trunks: map[waihu.LineID]*trunk{}, byCalls: map[waihu.CallID]waihu.LineID{}}
}

// Run keeps registrations and probes until ctx ends, then takes registrations back.
func (l *Lines) Run(ctx context.Context) error {
	l.mu.Lock()
	l.base = ctx
	for _, t := range l.trunks {
		l.keepLocked(t)
	}
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.closed = true
	for _, t := range l.trunks {
		t.release()
	}
	l.mu.Unlock()
	l.keepers.Wait()
	return nil
}

// Configure makes lines the whole set. A trunk whose settings changed is replaced;
// one that cannot be used stays in the set as down, with the reason.
func (l *Lines) Configure(lines []waihu.Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	want := map[waihu.LineID]bool{}
	for _, row := range lines {
		want[row.ID] = true
		old := l.trunks[row.ID]
		if old != nil && old.line.UpdatedAt.Equal(row.UpdatedAt) {
			continue
		}
		t := l.newTrunk(row)
		if old != nil {
			old.release()
			t.live, t.before = old.live, old.gone
		}
		l.trunks[row.ID] = t
		if l.base != nil && !l.closed {
			l.keepLocked(t)
		}
	}
	for id, t := range l.trunks {
		if !want[id] {
			t.release()
			delete(l.trunks, id)
		}
	}
}

func (l *Lines) newTrunk(row waihu.Line) *trunk {
	t := &trunk{line: row}
	settings := row.Trunk
	if settings.Simulated() {
		addr := ""
		if l.opt.SimAddr != nil {
			addr = l.opt.SimAddr()
		}
		if addr == "" {
			t.bad = "this server has no simulated carrier"
			return t
		}
		settings.URI = "sip:" + addr
	}
	peer, err := sip.NewPeer(settings)
	if err != nil {
		t.bad = err.Error()
		return t
	}
	t.peer = peer
	return t
}

// keepLocked starts what a trunk needs beside its calls: being known to the endpoint, registration, probes.
func (l *Lines) keepLocked(t *trunk) {
	if t.peer == nil {
		l.log.Warn("line cannot be used", "line", t.line.ID, "why", t.bad)
		return
	}
	ctx, cancel := context.WithCancel(l.base)
	t.stop = cancel
	if t.peer.Registers() {
		t.down, t.gone = "not registered yet", make(chan struct{})
		l.keepers.Go(func() {
			defer close(t.gone)
			if t.before != nil {
				<-t.before // both bind the same address: the old one's farewell would undo the new registration
			}
			l.register(ctx, t)
		})
	}
	l.keepers.Go(func() {
		if forget, err := l.opt.Endpoint.Allow(ctx, t.peer); err == nil {
			defer forget()
		} else if ctx.Err() == nil {
			l.log.Warn("trunk address unknown", "line", t.line.ID, "err", err)
		}
		if p := t.line.Trunk.Options; p != nil && !p.Off {
			l.probe(ctx, t, time.Duration(p.Every)*time.Second)
		}
		<-ctx.Done()
	})
}

func (t *trunk) release() {
	if t.stop != nil {
		t.stop()
	}
}

func (l *Lines) register(ctx context.Context, t *trunk) {
	err := l.opt.Endpoint.Register(ctx, t.peer, func(s sip.RegState) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s.Up {
			t.down = ""
			l.log.Info("registered", "line", t.line.ID, "expires", s.Expires)
			return
		}
		t.down = fmt.Sprintf("registration lost: status %d", s.Status)
		if s.Err != nil {
			t.down = "registration lost: " + s.Err.Error()
		}
		l.log.Warn("not registered", "line", t.line.ID, "why", t.down)
	})
	if err != nil && ctx.Err() == nil {
		l.log.Error("registration ended", "line", t.line.ID, "err", err)
	}
}

// Probing, as the trunk's options ask for it: a line is down only after it has answered once (a peer
// that never answers OPTIONS may still carry calls) and then missed three.
const (
	defaultProbeEvery = 30 * time.Second
	missesUntilDown   = 3
	answersUntilUp    = 2
)

func (l *Lines) probe(ctx context.Context, t *trunk, every time.Duration) {
	if every <= 0 {
		every = defaultProbeEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	answered, misses, answers := false, 0, 0
	for {
		_, err := l.opt.Endpoint.Options(ctx, t.peer)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			answered, misses = true, 0
			answers++
		} else {
			misses++
			answers = 0
		}
		l.mu.Lock()
		switch {
		case answered && misses >= missesUntilDown:
			t.down = fmt.Sprintf("no answer to %d OPTIONS in a row", misses)
		case answers >= answersUntilUp && strings.HasPrefix(t.down, "no answer to"):
			t.down = ""
		}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Lines is the present state of each line.
func (l *Lines) Lines() map[waihu.LineID]waihu.LineState {
	l.mu.Lock()
	defer l.mu.Unlock()
	free := l.opt.Call.Engine.Free()
	out := make(map[waihu.LineID]waihu.LineState, len(l.trunks))
	for id, t := range l.trunks {
		s := waihu.LineState{Capacity: min(t.line.Concurrency, t.live+free), NotBefore: t.notBefore, Down: t.down}
		if t.bad != "" {
			s.Down = t.bad
		}
		if l.closed {
			s.Down = "this server is stopping"
		}
		out[id] = s
	}
	return out
}

// errRefused wraps every reason for which an order provably never leaves.
var errRefused = errors.New("order refused")

// maxPause bounds what one 503 can do to a line: a trunk that wants more says so again.
const maxPause = 15 * time.Minute

// Place starts a call, or refuses it at once.
func (l *Lines) Place(a waihu.Attempt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.trunks[a.Line]
	switch {
	case l.closed:
		return fmt.Errorf("%w: this server is stopping", errRefused)
	case t == nil:
		return fmt.Errorf("%w: line %s is not configured here", errRefused, a.Line)
	case t.bad != "":
		return fmt.Errorf("%w: line %s: %s", errRefused, a.Line, t.bad)
	case l.opt.Call.Engine.Free() == 0:
		return fmt.Errorf("%w: no RTP port is free", errRefused)
	case l.byCalls[a.Call] != "":
		return fmt.Errorf("%w: call %s was placed before", errRefused, a.Call)
	}
	t.live++
	l.byCalls[a.Call] = a.Line
	before, turn := t.turn, make(chan struct{})
	sent := sync.OnceFunc(func() { close(turn) })
	t.turn = turn
	order := call.Order{Attempt: a, Peer: t.peer, Trunk: t.line.Trunk, Caller: callerOf(&t.line.Trunk, a.Call, a.Caller), Before: before, OnSent: sent}
	l.calls.Go(func() {
		outcome := l.dial(order)
		if outcome.InviteAt.IsZero() && before != nil { // it stands in nobody's way, but those before it do
			l.calls.Go(func() {
				call.AwaitTurn(l.callCtx, before)
				sent()
			})
		} else {
			sent()
		}
		l.mu.Lock()
		delete(l.byCalls, a.Call)
		if now := l.trunks[a.Line]; now != nil {
			now.live--
			if outcome.RetryAfter > 0 {
				now.notBefore = time.Now().Add(min(outcome.RetryAfter, maxPause))
			}
		}
		l.mu.Unlock()
		l.opt.Done(outcome)
	})
	return nil
}

func (l *Lines) dial(o call.Order) waihu.Outcome {
	if why := Refuses(&o.Trunk, o.Attempt.Phone); why != "" {
		return waihu.Outcome{Call: o.Attempt.Call, Disposition: waihu.Invalid, HangupBy: waihu.BySystem, EndAt: time.Now(),
			Evidence: []waihu.Evidence{{Kind: "error", Value: why, Confidence: 1}}}
	}
	return call.Run(l.callCtx, l.opt.Call, o)
}

// testRange is the prefix of numbers that no country has: demonstration lists use it, real lines refuse it.
const testRange = "+999"

// Refuses says why a trunk must not dial a number; "" when it may.
func Refuses(t *waihu.Trunk, n waihu.PhoneNumber) string {
	if !t.Simulated() && strings.HasPrefix(string(n), testRange) {
		return testRange + " is the test range: real lines do not dial it"
	}
	if len(t.AllowPrefixes) == 0 {
		return ""
	}
	for _, p := range t.AllowPrefixes {
		if strings.HasPrefix(string(n), p) {
			return ""
		}
	}
	return "the number begins with none of the line's allow_prefixes"
}

// callerOf is the caller number that was chosen, else the trunk's, one after the other; "" when it has none. It follows from the
// call id, so that a later process can name the caller of a call that this one left behind.
func callerOf(t *waihu.Trunk, id waihu.CallID, chosen waihu.PhoneNumber) waihu.PhoneNumber {
	if chosen != "" {
		return chosen
	}
	if len(t.CallerIDs) == 0 {
		return ""
	}
	return waihu.PhoneNumber(t.CallerIDs[int64(id)%int64(len(t.CallerIDs))])
}

// EndOrphans ends on the wire what a dead process left; done is called once for each.
func (l *Lines) EndOrphans(ctx context.Context, orphans []waihu.Orphan, done func(waihu.CallID)) {
	l.mu.Lock()
	trunks := maps.Clone(l.trunks)
	l.mu.Unlock()
	var all sync.WaitGroup
	for _, o := range orphans {
		all.Go(func() {
			defer done(o.Call)
			t := trunks[o.Line]
			if t == nil || t.peer == nil {
				l.opt.Endpoint.ForgetOrphan(o.Call)
				l.log.Warn("a call of a dead process cannot be ended: its line is gone", "call", o.Call, "line", o.Line)
				return
			}
			if err := l.opt.Endpoint.EndOrphan(ctx, sip.Orphan{Call: o.Call, Peer: t.peer, Callee: o.Phone, Caller: callerOf(&t.line.Trunk, o.Call, o.Caller)}); err != nil {
				l.log.Info("a call of a dead process gave no answer", "call", o.Call, "line", o.Line, "err", err)
			}
		})
	}
	all.Wait()
}

// HangUp ends all calls now.
func (l *Lines) HangUp() { l.hangUp() }

// Wait returns when no call is left, or with ctx's error.
func (l *Lines) Wait(ctx context.Context) error {
	over := make(chan struct{})
	go func() { // ends with the last call, which HangUp forces
		l.calls.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Live is the number of calls in progress.
func (l *Lines) Live() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.byCalls)
}
