package media

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	slotLength   = 2 * time.Millisecond
	frameLength  = 20 * time.Millisecond
	slots        = int(frameLength / slotLength)
	frameSamples = 160
	// maxStall is how far a clock may run behind before it skips what it missed: catching up would be a burst.
	maxStall = 60 * time.Millisecond
)

// base is the zero of every clock's time.
var base = time.Now()

// mono is the time since base in nanoseconds.
func mono() int64 { return int64(time.Since(base)) }

// clock paces the sessions of one thread. Every session has one of ten slots of 2 ms in
// each 20 ms; all its work is done there.
type clock struct {
	log   *slog.Logger
	calls atomic.Int32 // sessions that joined or will

	mu      sync.Mutex // guards orders and running
	orders  []order
	running bool
	dirty   atomic.Bool // there are orders
	wake    chan struct{}

	// owned by the thread
	wheel   [slots][]*Session
	live    int
	slot    int64 // number of the slot being worked, since base
	wallOff int64 // wall clock minus mono, nanoseconds
	in, out [frameSamples]int16
	batch   *batch
}

// order asks the thread to take or drop a session; gone is closed when it is dropped.
type order struct {
	session *Session
	gone    chan struct{}
}

func newClock(log *slog.Logger) *clock {
	return &clock{log: log, wake: make(chan struct{}, 1), batch: newBatch()}
}

// join hands a session to the thread.
func (c *clock) join(s *Session) { c.order(order{session: s}) }

// leave takes a session from the thread and waits until it is gone.
func (c *clock) leave(s *Session) {
	gone := make(chan struct{})
	c.order(order{s, gone})
	<-gone
	c.calls.Add(-1)
}

func (c *clock) order(o order) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running && o.gone != nil { // there is no thread that could hold it
		c.orders = slices.DeleteFunc(c.orders, func(j order) bool { return j.session == o.session })
		close(o.gone)
		return
	}
	c.orders = append(c.orders, o)
	c.dirty.Store(true)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run is the thread, which ends with it. Sleeping leaves the P to others, sending and receiving keep it.
func (c *clock) run(ctx context.Context) {
	runtime.LockOSThread() // never unlocked: the thread's priority is not for others
	hurry()
	defer c.stop()
	c.start()
	stalled := int64(0)
	for ctx.Err() == nil {
		if c.dirty.Load() {
			c.takeOrders()
		}
		if c.live == 0 {
			select { // parked
			case <-c.wake:
			case <-ctx.Done():
			}
			c.slot = mono()/int64(slotLength) + 1
			continue
		}
		c.slot++
		sleepUntil(c.slot * int64(slotLength))
		now := time.Now()
		at := int64(now.Sub(base))
		c.wallOff = now.UnixNano() - at
		if behind := at - c.slot*int64(slotLength); behind > int64(maxStall) {
			c.slot = at / int64(slotLength)
			if at-stalled > int64(time.Second) { // said once a second at most
				stalled = at
				c.log.Warn("packet clock was held up", "behind", time.Duration(behind), "calls", c.live)
			}
		}
		c.work()
	}
}

func (c *clock) start() {
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
	c.slot = mono() / int64(slotLength)
}

// stop lets everyone go who waits, now and later.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
	for _, o := range c.orders {
		if o.gone != nil {
			close(o.gone)
		}
	}
	c.orders = nil
	c.dirty.Store(false)
	for i := range c.wheel {
		clear(c.wheel[i])
		c.wheel[i] = c.wheel[i][:0]
	}
	c.live = 0
}

// takeOrders may allocate: it runs once when a call begins and once when it ends.
func (c *clock) takeOrders() {
	c.mu.Lock()
	orders := c.orders
	c.orders = nil
	c.dirty.Store(false)
	c.mu.Unlock()
	for _, o := range orders {
		if o.gone == nil {
			best := c.lightest()
			o.session.slot = best
			c.wheel[best] = append(c.wheel[best], o.session)
			c.live++
			continue
		}
		c.drop(o.session)
		close(o.gone)
	}
}

// lightest is the slot with the fewest sessions, the next to come among equals.
func (c *clock) lightest() int {
	best := int((c.slot + 1) % int64(slots))
	for i := range slots {
		k := int((c.slot + 1 + int64(i)) % int64(slots))
		if len(c.wheel[k]) < len(c.wheel[best]) {
			best = k
		}
	}
	return best
}

func (c *clock) drop(s *Session) {
	row := c.wheel[s.slot]
	for i, o := range row {
		if o == s {
			c.wheel[s.slot] = slices.Delete(row, i, i+1) // in order: one that jumped ahead would send early by all it overtook
			c.live--
			return
		}
	}
}

// work does the slot's sessions, and the half-time sends of those that packet in odd multiples of 10 ms.
func (c *clock) work() {
	k := int(c.slot % int64(slots))
	for _, s := range c.wheel[k] {
		c.guarded(s, false)
	}
	for _, s := range c.wheel[(k+slots/2)%slots] {
		if s.tx.half {
			c.guarded(s, true)
		}
	}
}

// guarded does one session's work. Should a far end find a way to make it panic, its call ends and no other.
func (c *clock) guarded(s *Session, half bool) {
	if s.broken {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.broken = true
			c.log.Error("a call's media failed", "panic", p, "stack", string(debug.Stack()))
			s.fail(fmt.Errorf("media failed: %v", p))
		}
	}()
	if half {
		s.halfTick(c)
	} else {
		s.tick(c)
	}
}
