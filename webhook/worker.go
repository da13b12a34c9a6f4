package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"waihu"
	"waihu/store"
)

// worker delivers to one endpoint. Its goroutine owns everything but what mu guards.
type worker struct {
	d       *Deliverer
	e       waihu.Endpoint
	version int64
	log     *slog.Logger
	stop    context.CancelFunc
	ctx     context.Context
	stopped chan struct{}
	poke    chan struct{}
	results chan result
	resting time.Time      // nothing is read before it: the ledger was away
	loaded  store.EventRef // the last of the events that had been stepped over when this worker began that is in the lanes
	unread  bool           // there are more of them

	lanes    []*lane
	turn     int // the lane that is asked first
	inFlight int
	limit    int // POSTs at once: one more after each success, half after a failure

	failures int       // in a row
	lastFail time.Time // when the latest was known
	culprit  *item     // the latest that failed
	several  bool      // more than one item failed in the row
	answered bool      // the latest failure was an answer
	rest     time.Time // nothing is sent before it
	blocked  time.Time // by the breaker
	warned   bool      // the log says that it fails
	lastWarn time.Time
	probe    bool // while blocked for one event alone: the next other one may prove the endpoint good

	mu      sync.Mutex
	heads   map[waihu.AccountID]int64
	added   map[waihu.AccountID]int64 // cursors of new sub-accounts
	until   time.Time                 // the lease's end
	unsaved *progress
	saving  *progress
}

func newWorker(d *Deliverer, e *store.Delivery) *worker {
	ctx, stop := context.WithCancel(context.Background())
	w := &worker{d: d, e: e.Endpoint, version: e.Version, ctx: ctx, stop: stop, stopped: make(chan struct{}), poke: make(chan struct{}, 1),
		results: make(chan result, d.o.Parallel), limit: 1, blocked: e.BlockedUntil, until: e.LeaseUntil, heads: map[waihu.AccountID]int64{},
		added: map[waihu.AccountID]int64{}, unsaved: newProgress(), log: d.o.Log.With("endpoint", e.ID, "account", string(e.Account))}
	for account, next := range e.Cursors {
		w.lanes = append(w.lanes, newLane(account, next, w.d.o.stepped))
		w.heads[account] = next - 1
	}
	if !w.blocked.IsZero() {
		w.failures = max(1, d.o.BlockAfter-3)
	}
	return w
}

// renew takes a renewed lease.
func (w *worker) renew(e *store.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = e.LeaseUntil
	for account, next := range e.Cursors {
		if _, ok := w.heads[account]; !ok {
			w.heads[account], w.added[account] = next-1, next
		}
	}
	w.wakeUp()
}

func (w *worker) accounts() (list []waihu.AccountID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for account := range w.heads {
		list = append(list, account)
	}
	return list
}

// seen says that the account's events go as far as head.
func (w *worker) seen(account waihu.AccountID, head int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.heads[account]; ok && head > old {
		w.heads[account] = head
		w.wakeUp()
	}
}

func (w *worker) wakeUp() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// take hands out what is not saved, nil when there is nothing.
func (w *worker) take() *progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.saving != nil || w.unsaved.empty() {
		return nil
	}
	w.saving, w.unsaved = w.unsaved, newProgress()
	return w.saving
}

// saved takes back what could not be saved.
func (w *worker) saved(good bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !good {
		w.saving.add(w.unsaved)
		w.unsaved = w.saving
	}
	w.saving = nil
}

// note changes what is to be saved.
func (w *worker) note(f func(p *progress)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.unsaved)
}

func (w *worker) run() {
	defer close(w.stopped)
	defer w.stop()
	for !w.prepare() {
		if !w.sleep(time.Second) {
			return
		}
	}
	for {
		wait := w.work()
		timer := time.NewTimer(wait)
		select {
		case r := <-w.results:
			w.settle(r)
			for len(w.results) > 0 {
				w.settle(<-w.results)
			}
		case <-w.poke:
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			for w.inFlight > 0 { // their context has ended too; what arrived all the same is noted
				r := <-w.results
				if r.err == nil {
					w.settle(r)
				} else {
					w.inFlight--
				}
			}
			w.report()
			return
		}
		timer.Stop()
	}
}

func (w *worker) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// prepare reads the secrets and the events that were stepped over; false: the ledger does not answer.
func (w *worker) prepare() bool {
	var err error
	if w.e.Authorization, w.e.Secret, err = w.d.o.Store.EndpointSecrets(w.ctx, w.e.Account, w.e.ID); err != nil {
		if w.ctx.Err() == nil {
			w.log.Error("an endpoint's secrets cannot be read: it rests", "err", err)
			w.note(func(p *progress) { p.errorAt, p.err = time.Now(), "our side: the endpoint's secrets cannot be read" })
		}
		return false
	}
	return w.load()
}

// load brings a page of the events that were stepped over back; false: the ledger does not answer.
func (w *worker) load() bool {
	list, err := w.d.o.Store.SteppedOver(w.ctx, w.e.ID, w.loaded, w.d.o.stepped)
	if err != nil {
		return false
	}
	w.unread = len(list) == w.d.o.stepped
	for len(list) > 0 {
		w.loaded = store.EventRef{Account: list[len(list)-1].Account, N: list[len(list)-1].N}
		n := 1
		for n < len(list) && list[n].Account == list[0].Account {
			n++
		}
		if !w.restore(list[:n]) {
			return false
		}
		list = list[n:]
	}
	return true
}

// more brings the next page back when little is left of the one before.
func (w *worker) more(now time.Time) {
	if !w.unread || now.Before(w.resting) {
		return
	}
	steps := 0
	for _, l := range w.lanes {
		steps += l.steps
	}
	if steps > w.d.o.stepped/10 {
		return
	}
	if !w.load() {
		w.resting = now.Add(time.Second)
	}
	w.wakeUp()
}

// restore brings stepped events of one account back.
func (w *worker) restore(list []store.FailedDelivery) bool {
	l := w.lane(list[0].Account)
	if l == nil {
		return true
	}
	numbers := make([]int64, len(list))
	tries := map[int64]int{}
	for i, d := range list {
		numbers[i], tries[d.N] = d.N, d.Tries
	}
	events, err := w.d.o.Store.EventsOf(w.ctx, l.account, numbers)
	if err != nil {
		return false
	}
	for _, e := range events {
		if slices.ContainsFunc(l.items, func(it *item) bool { return it.stepped && it.events[0].N == e.N }) {
			delete(tries, e.N) // stepped over since
			continue
		}
		l.put(&item{lane: l, events: []waihu.Event{e}, stepped: true, tries: tries[e.N], alone: tries[e.N], due: time.Now()})
		delete(tries, e.N)
	}
	w.note(func(p *progress) {
		for n := range tries { // the event is gone: nothing tells of it any more
			p.finish(store.EventRef{Account: l.account, N: n})
		}
	})
	return true
}

func (w *worker) lane(account waihu.AccountID) *lane {
	for _, l := range w.lanes {
		if l.account == account {
			return l
		}
	}
	return nil
}

// work reads, sends what may be sent, reports how far it is, and says how long nothing will be due by itself.
func (w *worker) work() time.Duration {
	w.hear()
	now := time.Now()
	wait := time.Hour
	until := func(t time.Time) {
		if d := t.Sub(now); d > 0 {
			wait = min(wait, d)
		}
	}
	w.read(now)
	for w.inFlight < w.limit {
		if !w.may(now, until) {
			break
		}
		extra := w.inFlight > 0
		if extra && !w.d.extra.take(w.e.Account) {
			break
		}
		it := w.pick(now)
		if it == nil {
			if extra {
				w.d.extra.give(w.e.Account)
			}
			if w.read(now) { // passing over events that nobody wants has made room
				continue
			}
			break
		}
		w.send(it, extra)
	}
	for _, l := range w.lanes {
		for _, it := range l.items {
			if !it.flying {
				until(it.due)
			}
		}
		if l.hungry() && !now.Before(w.resting) {
			wait = 0
		}
	}
	until(w.resting)
	w.more(now)
	w.report()
	return max(wait, time.Millisecond)
}

// may says whether anything may be sent now.
func (w *worker) may(now time.Time, until func(time.Time)) bool {
	w.mu.Lock()
	lease := w.until
	w.mu.Unlock()
	if !now.Before(lease) { // another process may have it by now; a renewed lease wakes us
		return false
	}
	until(lease)
	if now.Before(w.blocked) && !w.probe {
		until(w.blocked)
		return false
	}
	if !w.blocked.IsZero() && !now.Before(w.blocked) {
		w.blocked = time.Time{}
		w.log.Info("a blocked endpoint is tried again")
	}
	if now.Before(w.rest) {
		until(w.rest)
		return false
	}
	return true
}

// hear takes what other goroutines told.
func (w *worker) hear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for account, next := range w.added {
		w.lanes = append(w.lanes, newLane(account, next, w.d.o.stepped))
		delete(w.added, account)
	}
	for _, l := range w.lanes {
		l.head = max(l.head, w.heads[l.account])
	}
}

// read fills the lanes and says whether anything was read.
func (w *worker) read(now time.Time) (more bool) {
	if now.Before(w.resting) {
		return false
	}
	pages := 0
	for _, l := range w.lanes {
		for ; l.hungry() && w.ctx.Err() == nil && pages < readPages; pages++ {
			events, err := w.d.o.Store.Events(w.ctx, l.account, l.read, readPage)
			if err != nil {
				if w.ctx.Err() == nil {
					w.log.Warn("events could not be read: it is tried again", "err", err)
				}
				w.resting = now.Add(time.Second)
				return more
			}
			if len(events) == 0 { // they are gone: nothing tells of them any more
				l.read = l.head
				break
			}
			more = true
			for i := range events {
				if w.wants(&events[i]) {
					l.pending = append(l.pending, events[i])
				}
			}
			l.read = events[len(events)-1].N
			if len(l.pending) == 0 {
				l.settled()
			}
		}
	}
	return more
}

func (w *worker) wants(e *waihu.Event) bool {
	if w.e.Task != "" && w.e.Task != e.Task {
		return false
	}
	for _, k := range w.e.Kinds {
		if k == e.Kind {
			return true
		}
	}
	return len(w.e.Kinds) == 0
}

// report notes cursors that moved.
func (w *worker) report() {
	for _, l := range w.lanes {
		w.besideTheirs(l)
		if l.settled(); l.cursor != l.noted {
			l.noted = l.cursor
			w.note(func(p *progress) { p.cursors[l.account] = l.cursor })
		}
	}
}

// besideTheirs steps over events whose call waits beside the cursor: they must stay behind the others of their call.
func (w *worker) besideTheirs(l *lane) {
	if l.steps == 0 {
		return
	}
	var list []waihu.Event
	for _, e := range l.pending {
		if e.Call != 0 && l.beside[e.Call] > 0 {
			list = append(list, e)
		}
	}
	l.remove(list)
	for _, e := range list {
		it := &item{lane: l, events: []waihu.Event{e}, stepped: true, err: "an earlier event of the call was not taken"}
		l.put(it)
		w.noteStepped(it, false)
	}
}

func (w *worker) noteStepped(it *item, givenUp bool) {
	w.note(func(p *progress) {
		for _, e := range it.events {
			p.step(store.FailedDelivery{Account: e.Account, N: e.N, GivenUp: givenUp, Tries: it.alone, Error: it.err})
		}
	})
}

// shape asks the door for one POST of the first of events.
func (w *worker) shape(events []waihu.Event) (p waihu.Payload, n int, err error) {
	shape := w.d.o.Shapes[w.e.Door]
	if shape == nil {
		return p, 0, fmt.Errorf("there is no door %q", w.e.Door)
	}
	ctx, cancel := context.WithTimeout(store.SeeDeleted(w.ctx), 10*time.Second) // a deleted task's calls are told all the same
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			w.log.Error("a door panicked while shaping an event", "door", w.e.Door, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("the door failed")
		}
	}()
	p, n, err = shape(ctx, w.e, events)
	if err == nil && (n < 1 || n > len(events)) {
		err = fmt.Errorf("the door took %d of %d events", n, len(events))
	}
	return p, n, err
}
