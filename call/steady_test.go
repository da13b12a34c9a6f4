package call_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waihu/carrier"
)

// Calls over real sockets take real time. Where the machine stands still – its CPU was stolen, other work came first – a
// callee's word is lost, a key is cut, a message is repeated that the far end takes for another: what went wrong then says
// nothing about the call. Such calls are made again; calls during which nothing stood still are judged as they are.

const (
	// tries is how often a call is made at most before the test gives up on this machine.
	tries = 4
	// wakes is how often the watcher wants to wake, and stoodAt how long it must have slept for the machine to have stood
	// still: a clock of ours that is 45 ms late skips.
	wakes   = 10 * time.Millisecond
	stoodAt = 30 * time.Millisecond
)

// watcher knows when this process stood still.
type watcher struct {
	mu     sync.Mutex
	at     time.Time      // it last woke
	stalls [][2]time.Time // guarded by mu
}

// watch observes the machine until the test ends.
func watch(t *testing.T) *watcher {
	w := &watcher{at: time.Now()}
	stop, stopped := make(chan bool), make(chan bool)
	tick := time.NewTicker(wakes)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				w.wake(time.Now())
			}
		}
	}()
	t.Cleanup(func() {
		tick.Stop()
		close(stop)
		<-stopped
	})
	return w
}

func (w *watcher) wake(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.at) > stoodAt {
		w.stalls = append(w.stalls, [2]time.Time{w.at, now})
	}
	w.at = now
}

// stood is for how long the machine stood still between two times.
func (w *watcher) stood(from, to time.Time) (d time.Duration) {
	w.wake(time.Now()) // a stall that has just ended
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.stalls {
		if s[1].After(from) && s[0].Before(to) {
			d += s[1].Sub(s[0])
		}
	}
	return d
}

// tell takes what is wrong with a call: a test, or a verdict.
type tell interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
}

// verdict keeps what is wrong with a call until it is known whether that counts.
type verdict struct {
	mu    sync.Mutex
	wrong []string // guarded by mu
}

func (v *verdict) Helper() {}

func (v *verdict) Error(args ...any) { v.Errorf("%s", fmt.Sprint(args...)) }

func (v *verdict) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// steady makes and judges calls by one, again when they are judged wrong while the machine stood still: this process, a
// packet clock, or the sound of a carrier's callees (c may be nil).
func steady(t *testing.T, c *carrier.Carrier, one func(t tell)) {
	t.Helper()
	w := watch(t)
	for n := 1; ; n++ {
		v, from, lost := &verdict{}, time.Now(), skipped(c)+heldUp()
		one(v)
		stood := w.stood(from, time.Now()) + skipped(c) + heldUp() - lost
		switch {
		case len(v.wrong) > 0 && stood > 0 && n < tries:
			continue
		case len(v.wrong) > 0 && stood > 0:
			t.Logf("%q; each time the machine stood still, the last time for %v: nothing can be told", v.wrong, stood.Round(time.Millisecond))
		default:
			for _, what := range v.wrong {
				t.Error(what)
			}
		}
		return
	}
}

// clockLog is the log of the media engines, which say when a packet clock was held up.
type clockLog struct{ slog.Handler }

var clocksHeld atomic.Int64 // ns

func (clockLog) Enabled(context.Context, slog.Level) bool { return true }

func (clockLog) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "behind" {
			clocksHeld.Add(int64(a.Value.Duration()))
		}
		return true
	})
	return nil
}

// heldUp is for how long packet clocks were held up so far.
func heldUp() time.Duration { return time.Duration(clocksHeld.Load()) }

// skipped is how much sound of a carrier's callees this machine has cost so far.
func skipped(c *carrier.Carrier) (d time.Duration) {
	if c == nil {
		return 0
	}
	for _, r := range c.Calls() {
		d += r.Skipped
	}
	return d
}
