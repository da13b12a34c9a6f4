// Package live fans out what is happening now to viewers: the console and event streams.
//
// Publish may be called by anyone, concurrently, and never blocks. A viewer that
// does not keep up is dropped, never waited for: its channel is closed and it may
// join again. Nothing here is durable; what must not be lost is in the ledger.
package live

import (
	"sync"

	"waihu"
)

// ViewerBuffer is how many events a viewer may lag behind before it is dropped.
const ViewerBuffer = 256

// Hub is the meeting point of publishers and viewers. The zero value is ready.
type Hub struct {
	mu      sync.Mutex
	viewers map[*viewer]struct{}
	dropped uint64
}

type viewer struct {
	account waihu.AccountID // empty: all accounts
	ch      chan waihu.Event
}

// Publish hands e to every viewer of its account.
func (h *Hub) Publish(e waihu.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for v := range h.viewers {
		if v.account != "" && v.account != e.Account {
			continue
		}
		select {
		case v.ch <- e:
		default:
			h.dropped++
			h.removeLocked(v)
		}
	}
}

// Watch joins a viewer to the events of one account, or of all when account is
// empty. The channel is closed when the viewer lags or leaves; leave may be
// called more than once.
func (h *Hub) Watch(account waihu.AccountID) (events <-chan waihu.Event, leave func()) {
	v := &viewer{account: account, ch: make(chan waihu.Event, ViewerBuffer)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.viewers == nil {
		h.viewers = make(map[*viewer]struct{})
	}
	h.viewers[v] = struct{}{}
	return v.ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.removeLocked(v)
	}
}

// Dropped counts the viewers that were dropped for lagging.
func (h *Hub) Dropped() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropped
}

func (h *Hub) removeLocked(v *viewer) {
	if _, ok := h.viewers[v]; ok {
		delete(h.viewers, v)
		close(v.ch)
	}
}
