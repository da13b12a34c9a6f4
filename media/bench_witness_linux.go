package media

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	witnessSleep = time.Millisecond
	// witnessLate is how late the witness may wake in a window that counts as still: a stall of a millisecond moves as many
	// packets as a hundredth of half a second has.
	witnessLate = 500 * time.Microsecond
)

// witness tells the machine from the program under test: a thread in the real-time class that does nothing but sleep, on the same
// core. Nothing that the program does can hold it up; a hypervisor that stops the core does, and does not always count that as stolen.
type witness struct {
	on    atomic.Bool
	worst atomic.Int64 // nanoseconds, since take
}

// run watches a core until ctx ends; without the right to the real-time class it does not begin.
func (w *witness) run(ctx context.Context, cpu int) {
	runtime.LockOSThread() // never unlocked
	var set unix.CPUSet
	set.Set(cpu)
	if unix.SchedSetaffinity(0, &set) != nil {
		return
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if unix.SchedSetAttr(0, &attr, 0) != nil {
		return
	}
	w.on.Store(true)
	defer w.on.Store(false)
	for next := mono(); ctx.Err() == nil; {
		next = max(next+int64(witnessSleep), mono())
		sleepUntil(next)
		if late := mono() - next; late > w.worst.Load() {
			w.worst.Store(late)
		}
	}
}

// take is the worst since the last take, and whether anybody watches.
func (w *witness) take() (worst time.Duration, on bool) {
	return time.Duration(w.worst.Swap(0)), w.on.Load()
}
