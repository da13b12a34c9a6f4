package carrier

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// The tests of this room call over real sockets in real time. Where the machine stands still – its CPU was stolen, other
// work came first – sound is lost, digits are cut, timers run out before messages are read: a call that went wrong then says
// nothing about carrier or phone. Such calls are made again; calls during which nothing stood still are judged as they are.

const (
	// tries is how often a call is made at most before the test gives up on this machine, and trying how long it begins anew.
	tries  = 4
	trying = 2 * time.Minute
	// fewer calls at once are made again: those of a moment may be what the machine could not bear.
	fewer = max(6, maxAtOnce/4)
	// wakes is how often the watcher wants to wake, and stoodAt how long it must have slept for the machine to have stood
	// still: callees hang up, ring and repeat on timers as short as 50 ms, and a message takes several goroutines.
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
	Errorf(format string, args ...any)
}

// verdict is what is wrong with a call.
type verdict struct {
	wrong []string
	stood time.Duration // how long the machine stood still during the last try, or the callee's sound that it has cost
}

func (v *verdict) Errorf(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// report fails the test, unless the machine stood still during each try.
func (v *verdict) report(t *testing.T) {
	t.Helper()
	for _, what := range v.wrong {
		if v.stood > 0 {
			t.Logf("%s; each time the machine stood still, the last time for %v: nothing can be told", what, v.stood.Round(time.Millisecond))
		} else {
			t.Error(what)
		}
	}
}

// judgeCalls makes n calls at once and judges each. Those that are judged wrong while the machine stood still are made again.
func judgeCalls(t *testing.T, c *Carrier, n int, dial func(i int) *phone, judge func(tell, int, *phone, Record)) []*verdict {
	t.Helper()
	w, begun, atOnce := watch(t), time.Now(), maxAtOnce
	verdicts := make([]*verdict, n)
	open := make([]int, n)
	for i := range open {
		open[i] = i
	}
	for range tries {
		phones := make([]*phone, len(open))
		for j, i := range open {
			phones[j] = dial(i)
		}
		callAtOnce(t, c, phones, atOnce)
		records := map[string]Record{}
		for _, r := range c.Calls() {
			records[r.Call] = r
		}
		var again []int
		for j, i := range open {
			p := phones[j]
			r := records[p.callID]
			v := &verdict{stood: r.Skipped + w.stood(p.begun, p.done.Add(quarantine+stoodAt))}
			judge(v, i, p, r)
			if verdicts[i] = v; len(v.wrong) > 0 && v.stood > 0 {
				again = append(again, i)
			}
		}
		if open, atOnce = again, fewer; len(open) == 0 || time.Since(begun) > trying {
			break
		}
	}
	return verdicts
}
