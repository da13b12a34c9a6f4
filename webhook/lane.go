package webhook

import (
	"slices"
	"time"

	"waihu"
)

// Bounds of what a lane holds in memory.
const (
	readPage   = 256  // events read at once
	readPages  = 16   // read before what has arrived is looked at again
	enough     = 128  // no more are read while so many wait
	farthest   = 4096 // events between the cursor and the last that was read: what a kill may send again
	maxFailing = 4    // items that failed and were not stepped over: while nothing gets through, no more are tried
)

// lane is an endpoint's way through the events of one account. The worker's goroutine owns it.
type lane struct {
	account waihu.AccountID
	read    int64                // the last event that was read
	head    int64                // the last that is known to exist
	cursor  int64                // the first that is not settled
	noted   int64                // the cursor as reported to be saved
	pending []waihu.Event        // read, not tried; in order
	items   []*item              // tried and not done; by first event
	beside  map[waihu.CallID]int // stepped items by call
	steps   int                  // all of them
	most    int                  // of them; with more the endpoint itself is broken
}

func newLane(account waihu.AccountID, next int64, stepped int) *lane {
	return &lane{account: account, most: stepped, read: next - 1, cursor: next, noted: next, beside: map[waihu.CallID]int{}}
}

// item is one POST.
type item struct {
	lane    *lane
	events  []waihu.Event
	payload *waihu.Payload // nil: to be shaped (again)
	flying  bool
	extra   bool // it flies by the pool's leave
	stepped bool // it stands in deliveries: the cursor does not wait for it
	tries   int
	alone   int  // failures after which another item got through: the fault is this one's
	failed  bool // since the last success of another item
	due     time.Time
	err     string
}

// settled recomputes the cursor.
func (l *lane) settled() {
	at := l.read + 1
	if len(l.pending) > 0 {
		at = min(at, l.pending[0].N)
	}
	for _, it := range l.items {
		if !it.stepped {
			at = min(at, it.events[0].N)
		}
	}
	l.cursor = at
}

func (l *lane) hungry() bool {
	return l.read < l.head && len(l.pending) < enough && l.read-l.cursor < farthest && l.steps < l.most
}

// failing counts the items whose fault is not known to be theirs.
func (l *lane) failing() (n int) {
	for _, it := range l.items {
		if it.failed && !it.stepped {
			n++
		}
	}
	return n
}

// ready are up to limit events that may go out now, in order. An event about a call waits for those of the call before it, one that is
// about no call for all of its task before it.
func (l *lane) ready(limit int) (list []waihu.Event) {
	calls, tasks := map[waihu.CallID]bool{}, map[waihu.TaskID]bool{}
	hold := func(e *waihu.Event) {
		if e.Call != 0 {
			calls[e.Call] = true
		}
		tasks[e.Task] = true
	}
	for _, it := range l.items {
		if !it.stepped {
			for i := range it.events {
				hold(&it.events[i])
			}
		}
	}
	for i := range l.pending {
		e := &l.pending[i]
		if (e.Call != 0 && (calls[e.Call] || l.beside[e.Call] > 0)) || (e.Call == 0 && tasks[e.Task]) {
			hold(e)
			continue
		}
		if list = append(list, *e); len(list) == limit {
			break
		}
	}
	return list
}

// remove takes events out of pending; they are a part of it, in order.
func (l *lane) remove(events []waihu.Event) {
	i := 0
	l.pending = slices.DeleteFunc(l.pending, func(e waihu.Event) bool {
		if i < len(events) && e.N == events[i].N {
			i++
			return true
		}
		return false
	})
}

func (l *lane) put(it *item) {
	i, _ := slices.BinarySearchFunc(l.items, it.events[0].N, func(x *item, n int64) int { return int(x.events[0].N - n) })
	l.items = slices.Insert(l.items, i, it)
	if it.stepped {
		l.beside[it.events[0].Call]++
		l.steps++
	}
}

func (l *lane) drop(it *item) {
	l.items = slices.DeleteFunc(l.items, func(x *item) bool { return x == it })
	if it.stepped {
		l.steps--
		if l.beside[it.events[0].Call]--; l.beside[it.events[0].Call] == 0 {
			delete(l.beside, it.events[0].Call)
		}
	}
}
