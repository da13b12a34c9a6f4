package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"waihu"
	"waihu/store"
)

// Ledger is what the owner needs of the store.
type Ledger interface {
	TakeShard(ctx context.Context, shard int, owner string, ttl time.Duration) (epoch int64, err error)
	Recover(ctx context.Context, shard int, epoch int64) ([]store.LiveCall, error)
	OwnedTasks(ctx context.Context, shard int) ([]store.OwnedTask, error)
	Counts(ctx context.Context, account waihu.AccountID, task waihu.TaskID) (store.Counts, error)
	Tick(context.Context, *store.Tick) (*store.TickResult, error)
	Wake() <-chan struct{}
}

const (
	defaultLease   = 10 * time.Second
	defaultRefresh = 2 * time.Second
	tickSpacing    = 5 * time.Millisecond  // under load: rows gather, the disk is not the bottleneck
	tickRows       = 500                   // of each kind in one tick: bounds its time (ledger.md §4)
	refreshSpacing = 20 * time.Millisecond // an import wakes us with every slice
	heldLook       = 250 * time.Millisecond
	lineLook       = time.Second // how soon a line that takes nothing is looked at again
	refusedPause   = time.Second // after a refused order, for its line
	idlePop        = 100 * time.Millisecond
	retryFirst     = 100 * time.Millisecond // after a failed transaction, doubling
	retryLast      = 2 * time.Second
	idsKept        = 2 * tickRows // ids of an epoch not handed out: the next epoch is taken before they run out
)

// Options say what a Scheduler works with. Store, Place, Agent and Owner are needed.
type Options struct {
	Store Ledger
	Place Dialer
	// Agent reads the present version of an agent: the store's method.
	Agent func(context.Context, waihu.AccountID, waihu.AgentID) (waihu.AgentSpec, error)
	// AgentVersion reads one version by its row's id, for tasks that pin one: the store's method.
	AgentVersion func(context.Context, waihu.AccountID, int64) (waihu.AgentSpec, error)
	Shard        int
	// Owner names this process's life: a restarted process is another owner. It is also the node of its calls.
	Owner string
	// Lease is how long the shard stays ours without a commit; default 10 s.
	Lease time.Duration
	// Refresh is how often tasks are read again although nobody woke us (another process may have
	// changed them), and how long an agent is kept; default 2 s.
	Refresh time.Duration
	Now     func() time.Time // default time.Now
	Publish waihu.Publish    // default: nobody watches
	Log     *slog.Logger     // default: discard
	// Lost adds to the outcome of a call whose process died what it left behind, such as its recording; nil: nothing is looked for.
	Lost func(*waihu.Outcome)
	// Crash is nil in the product. Tests kill the process in it at named points:
	// order.before (committed, the order has not left), outcome.before (arrived, not kept yet).
	Crash func(point string)
}

// Scheduler is the owner of one shard. Make it with New, run it with Run.
type Scheduler struct {
	o    Options
	kick chan struct{}
	wg   sync.WaitGroup // those who end orphans

	mu       sync.Mutex
	known    map[waihu.CallID]bool // ordered or orphaned by this process, not booked; true: its outcome has arrived
	arrived  []waihu.Outcome       // outcomes not taken over by the loop; each call once
	draining bool
	drained  chan struct{} // closed when draining and nothing is live
	why      string        // why nothing new is dialled; "" when ready

	// owned by the loop
	epoch      int64
	lastCall   int64 // last n of this epoch
	takenAt    time.Time
	leaseUntil time.Time
	stale      bool // the tasks must be read again
	readAt     time.Time
	readTook   time.Duration
	doubt      bool // a transaction failed: it may have been committed all the same
	failures   int  // transactions failed in a row
	tickAt     time.Time
	live       map[waihu.CallID]store.LiveCall
	n          counts
	tasks      map[waihu.TaskID]*task
	lines      map[waihu.LineID]*line
	agents     map[agentKey]agentEntry
	ending     []ending      // outcomes taken over, not committed
	events     []waihu.Event // to be written with the next tick
	turn       int64
}

// ending is an outcome whose call is live until the tick that books it.
type ending struct {
	call    store.LiveCall
	outcome waihu.Outcome
}

// New makes a Scheduler. It starts nothing.
func New(o Options) *Scheduler {
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	if o.Refresh == 0 {
		o.Refresh = defaultRefresh
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Publish == nil {
		o.Publish = func(waihu.Event) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Crash == nil {
		o.Crash = func(string) {}
	}
	return &Scheduler{o: o, kick: make(chan struct{}, 1), known: map[waihu.CallID]bool{}, drained: make(chan struct{}),
		why: "the shard is not ours yet", agents: map[agentKey]agentEntry{}, lines: map[waihu.LineID]*line{}}
}

// Run owns the shard until ctx ends: it takes it, waits for it when somebody else holds it, and ticks. Before it
// returns it books what has arrived and gives the shard back. To stop in peace: Drain, end the calls that
// are left, then end ctx; an outcome that arrives later is not booked by this process.
func (s *Scheduler) Run(ctx context.Context) error {
	// Orphans are ended under the same context; what is not ended by then is left to the next owner.
	defer s.wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		next := s.step(ctx)
		now := s.o.Now()
		if earliest := s.tickAt.Add(tickSpacing); !next.IsZero() && next.Before(earliest) {
			next = earliest
		}
		if next.IsZero() {
			next = now.Add(s.o.Refresh)
		}
		timer.Reset(max(0, next.Sub(now)))
		for waiting := true; waiting; {
			select {
			case <-timer.C:
				waiting = false
			case <-s.o.Store.Wake():
				s.stale = true
				waiting = s.hold(timer)
			case <-s.kick:
				waiting = s.hold(timer)
			case <-ctx.Done():
				waiting = false
			}
		}
	}
	return s.leave(context.WithoutCancel(ctx))
}

// hold shortens the wait to the spacing of ticks and says whether there is anything to wait for.
func (s *Scheduler) hold(timer *time.Timer) bool {
	d := s.tickAt.Add(tickSpacing).Sub(s.o.Now())
	if d <= 0 || d > tickSpacing { // the second: the clock was set back
		return false
	}
	timer.Reset(d)
	return true
}

// leave books what has arrived and gives the shard back.
func (s *Scheduler) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Lease)
	defer cancel()
	s.setDraining()
	for s.epoch != 0 {
		s.step(ctx)
		if s.failures > 0 || s.pending() == 0 {
			break
		}
	}
	if n := s.pending(); n > 0 {
		return fmt.Errorf("%d outcomes could not be booked before leaving: %s; their calls will be booked as unknown", n, s.reason())
	}
	if s.epoch == 0 {
		return nil
	}
	now := s.o.Now()
	_, err := s.o.Store.Tick(ctx, &store.Tick{Shard: s.o.Shard, Epoch: s.epoch, Owner: s.o.Owner, Now: now, Lease: now.Add(-time.Millisecond)})
	if err != nil && !errors.Is(err, store.ErrFenced) {
		return fmt.Errorf("give back shard %d: %w", s.o.Shard, err)
	}
	s.epoch = 0
	return nil
}

func (s *Scheduler) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.arrived) + len(s.ending)
}

// Book hands in how a call ended. It is kept until a commit has written it; giving it twice does no harm.
func (s *Scheduler) Book(o waihu.Outcome) {
	s.o.Crash("outcome.before")
	s.mu.Lock()
	arrived, known := s.known[o.Call]
	if known && !arrived {
		s.known[o.Call] = true
		s.arrived = append(s.arrived, o)
	}
	s.mu.Unlock()
	if !known {
		s.o.Log.Warn("outcome of a call that is not ours or is booked already", "call", o.Call.String(), "disposition", o.Disposition.String())
		return
	}
	s.Poke()
}

// Poke says that something may have changed: a line has room again, a registration is back.
func (s *Scheduler) Poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Drain stops new dials and waits until no call is live, or for ctx. It cannot be taken back.
func (s *Scheduler) Drain(ctx context.Context) error {
	s.setDraining()
	s.Poke()
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		n := len(s.known)
		s.mu.Unlock()
		return fmt.Errorf("drain: %d calls are still live: %w", n, ctx.Err())
	}
}

func (s *Scheduler) setDraining() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
}

func (s *Scheduler) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// checkDrained tells Drain when nothing is live any more. Only the loop calls it.
func (s *Scheduler) checkDrained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining || len(s.known) > 0 || len(s.live) > 0 {
		return
	}
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// Health says whether new calls may start, and if not, why; the text is for the operator.
func (s *Scheduler) Health() (ready bool, why string) {
	why = s.reason()
	return why == "", why
}

func (s *Scheduler) reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == "" && s.draining {
		return "draining"
	}
	return s.why
}

// setWhy keeps the reason and logs it when it changes.
func (s *Scheduler) setWhy(why string) {
	s.mu.Lock()
	was := s.why
	s.why = why
	s.mu.Unlock()
	switch {
	case was == why:
	case why == "":
		s.o.Log.Info("dialling", "shard", s.o.Shard, "epoch", s.epoch)
	default:
		s.o.Log.Warn("nothing new is dialled", "shard", s.o.Shard, "why", why)
	}
}
