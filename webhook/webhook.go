// Package webhook delivers events to customers' endpoints: bytes only, the shapes come from the doors.
//
// An endpoint follows the events of its account (and its sub-accounts) by a cursor each, so that order and completeness are by
// construction: what was committed is delivered at least once, whatever dies. The cursor is saved after the success, many endpoints'
// in one commit, so a process that is killed delivers what the last tenth of a second held once more; webhook-id tells a receiver.
//
// Order: the events of one call arrive in theirs; an event that is about a task and no call (its run has ended) arrives after all events
// of the task before it. Within that an endpoint gets up to Parallel POSTs at once.
//
// What fails is tried again with growing pauses. A single event that fails while others get through is stepped over after a few
// tries: it stands in a row of its own, is tried again beside the cursor, and is given up after Tries, with its reason, until
// somebody asks for it again. When everything fails the endpoint pauses, and after BlockAfter failures in a row it is blocked for
// BlockFor; then it goes on from its cursor. Nothing is dropped for an endpoint being down.
//
// An endpoint costs one goroutine. Its first delivery at a time is its own right; further ones come from a pool of which one account gets a
// part only, and an endpoint that fails falls back to its own: a slow or dead receiver delays nobody else.
//
// Of several processes on one PostgreSQL an endpoint is leased by one. All methods may be called by any number of goroutines.
//
// To test against it: a store on t.TempDir(), an egress client that allows 127.0.0.0/8, an httptest server, and short pauses.
package webhook

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"waihu"
	"waihu/egress"
	"waihu/store"
)

// Options join this room with the rest. Store, Client and Shapes are required.
type Options struct {
	Store  *store.Store
	Client *egress.Client
	Shapes map[string]waihu.Shape // by Endpoint.Door; an endpoint without a shape waits
	Owner  string                 // names this process's life; default Store.Owner()
	Log    *slog.Logger           // default: discard

	Parallel   int           // POSTs at once to one endpoint; default 8
	Extra      int           // POSTs at once beyond one an endpoint, in the process; default 64
	Tries      int           // of one event while others get through; default 20, about a quarter of an hour
	BlockAfter int           // failures in a row that block an endpoint; default 18, about four minutes
	BlockFor   time.Duration // default 2 h
	Lease      time.Duration // default 15 s
	Poll       time.Duration // how often other processes' events are looked for; default 250 ms, 5 s where there are none
	Save       time.Duration // how often progress is saved; default 100 ms
	// Pause is how long an endpoint rests after its n-th failure in a row, and Again when an event that failed n times
	// alone is tried again; both are varied by a fifth. Defaults: nothing, then 50 ms doubling to 30 s; 500 ms doubling to 60 s.
	Pause, Again func(n int) time.Duration

	stepped int // events beside the cursor of an endpoint and account; default 1000, tests have fewer
}

// Deliverer works while Run runs.
type Deliverer struct {
	o       Options
	changed chan struct{}
	extra   *pool

	mu        sync.Mutex
	followers map[waihu.AccountID][]*worker
}

// New starts nothing: call Run.
func New(o Options) *Deliverer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Owner == "" {
		o.Owner = o.Store.Owner()
	}
	if o.Poll == 0 {
		o.Poll = 5 * time.Second
		if o.Store != nil && o.Store.Shared() {
			o.Poll = 250 * time.Millisecond
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&o.Parallel, 8}, {&o.Extra, 64}, {&o.Tries, 20}, {&o.BlockAfter, 18}, {&o.stepped, 1000}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.BlockFor, 2 * time.Hour}, {&o.Lease, 15 * time.Second}, {&o.Save, 100 * time.Millisecond}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Pause == nil {
		o.Pause = func(n int) time.Duration {
			if n < 2 { // one failure may be one event's: another is tried at once
				return 0
			}
			return min(50*time.Millisecond<<min(n-2, 20), 30*time.Second)
		}
	}
	if o.Again == nil {
		o.Again = func(n int) time.Duration { return min(500*time.Millisecond<<min(n, 20), time.Minute) }
	}
	return &Deliverer{o: o, changed: make(chan struct{}, 1), extra: newPool(o.Extra), followers: map[waihu.AccountID][]*worker{}}
}

// vary keeps many who failed together from coming back together.
func vary(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// Run delivers until ctx ends. What is being sent then is cut off and sent again by the next life.
func (d *Deliverer) Run(ctx context.Context) error {
	d.o.Store.Notify(&store.Notice{Events: d.events, Endpoints: d.wake})
	defer d.o.Store.Notify(nil)
	last := context.WithoutCancel(ctx)
	workers := map[int64]*worker{}
	var saving sync.WaitGroup
	saveCtx, stopSaving := context.WithCancel(last)
	var live sync.Mutex // guards the map for the saver
	saving.Go(func() {
		d.every(saveCtx, d.o.Save, func() {
			live.Lock()
			list := slices.Collect(maps.Values(workers))
			live.Unlock()
			d.save(last, list)
		})
	})
	lease, poll := time.NewTicker(d.o.Lease/3), time.NewTicker(d.o.Poll)
	defer lease.Stop()
	defer poll.Stop()
	for ctx.Err() == nil {
		d.lease(ctx, workers, &live)
	wait:
		for {
			select {
			case <-ctx.Done():
			case <-lease.C:
			case <-d.changed:
			case <-poll.C:
				d.poll(ctx)
				continue wait
			}
			break
		}
	}
	for _, w := range workers {
		w.stop()
	}
	for _, w := range workers {
		<-w.stopped
	}
	stopSaving()
	saving.Wait()
	end, cancel := context.WithTimeout(last, 5*time.Second)
	defer cancel()
	d.save(end, slices.Collect(maps.Values(workers)))
	if err := d.o.Store.ReleaseLeases(end, d.o.Owner); err != nil {
		d.o.Log.Warn("endpoints were not given back: others take them when the lease is over", "err", err)
	}
	return nil
}

func (d *Deliverer) every(ctx context.Context, pause time.Duration, f func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}

// wake looks at the endpoints again.
func (d *Deliverer) wake() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// events tells the endpoints that follow an account how far its events go.
func (d *Deliverer) events(heads map[waihu.AccountID]int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for account, head := range heads {
		for _, w := range d.followers[account] {
			w.seen(account, head)
		}
	}
}

// poll asks for events that other processes wrote.
func (d *Deliverer) poll(ctx context.Context) {
	d.mu.Lock()
	accounts := slices.Collect(maps.Keys(d.followers))
	d.mu.Unlock()
	if len(accounts) == 0 {
		return
	}
	heads, err := d.o.Store.EventHeads(ctx, accounts)
	if err != nil {
		if ctx.Err() == nil {
			d.o.Log.Warn("new events could not be looked for", "err", err)
		}
		return
	}
	d.events(heads)
}

// lease takes endpoints and brings the workers in step with them.
func (d *Deliverer) lease(ctx context.Context, workers map[int64]*worker, live *sync.Mutex) {
	list, err := d.o.Store.LeaseEndpoints(ctx, d.o.Owner, d.o.Lease)
	if err != nil {
		if ctx.Err() == nil {
			d.o.Log.Warn("endpoints could not be leased: they rest when the lease is over", "err", err)
		}
		return
	}
	have := map[int64]bool{}
	var fresh []*worker
	for i := range list {
		e := &list[i]
		have[e.ID] = true
		if w := workers[e.ID]; w != nil && w.version == e.Version {
			w.renew(e)
			continue
		}
		fresh = append(fresh, newWorker(d, e))
	}
	var old []*worker
	for id, w := range workers {
		if !have[id] || slices.ContainsFunc(fresh, func(f *worker) bool { return f.e.ID == id }) {
			old = append(old, w)
			w.stop()
		}
	}
	for _, w := range old {
		<-w.stopped // an endpoint has one worker at a time: order depends on it
	}
	live.Lock()
	for _, w := range old {
		delete(workers, w.e.ID)
	}
	for _, w := range fresh {
		workers[w.e.ID] = w
	}
	live.Unlock()
	d.follow(slices.Collect(maps.Values(workers)))
	for _, w := range fresh {
		go w.run() // ended by stop, awaited by stopped
	}
	d.poll(ctx)
}

func (d *Deliverer) follow(workers []*worker) {
	followers := map[waihu.AccountID][]*worker{}
	for _, w := range workers {
		for _, account := range w.accounts() {
			followers[account] = append(followers[account], w)
		}
	}
	d.mu.Lock()
	d.followers = followers
	d.mu.Unlock()
}

// save writes what the workers have done since the last time; what could not be written is kept for the next time.
func (d *Deliverer) save(ctx context.Context, workers []*worker) {
	var list []store.DeliveryProgress
	var took []*worker
	for _, w := range workers {
		if p := w.take(); p != nil {
			list = append(list, p.progress(w.e.ID, w.version))
			took = append(took, w)
		}
	}
	if len(list) == 0 {
		return
	}
	err := d.o.Store.SaveDeliveries(ctx, d.o.Owner, list)
	if err != nil {
		d.o.Log.Warn("the progress of deliveries was not saved: it is tried again", "endpoints", len(list), "err", err)
	}
	for _, w := range took {
		w.saved(err == nil)
	}
}

// pool is of POSTs beyond one an endpoint; one account gets a quarter of it.
type pool struct {
	mu    sync.Mutex
	free  int
	share int
	held  map[waihu.AccountID]int
}

func newPool(n int) *pool {
	return &pool{free: n, share: max(1, n/4), held: map[waihu.AccountID]int{}}
}

func (p *pool) take(a waihu.AccountID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free == 0 || p.held[a] >= p.share {
		return false
	}
	p.free--
	p.held[a]++
	return true
}

func (p *pool) give(a waihu.AccountID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	if p.held[a]--; p.held[a] == 0 {
		delete(p.held, a)
	}
}
