package waihu

import (
	"sync"
	"time"
)

// Limiter holds each token to a number of requests a second, with a second's worth at once. It keeps one time per
// key that has asked; give it only the ids of known tokens, and it grows no larger than the ledger's list of them.
// The zero Limiter lets everything through.
type Limiter struct {
	PerSecond int // 0: no limit; fixed after construction

	mu   sync.Mutex
	next map[string]time.Time // when the key's allowance is whole again
}

// Wait is how long the key must wait at now; 0: it may go on, which is counted. Being refused costs nothing.
func (l *Limiter) Wait(key string, now time.Time) time.Duration {
	if l.PerSecond == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.next[key]
	if next.Before(now) {
		next = now
	}
	next = next.Add(time.Second / time.Duration(l.PerSecond))
	if ahead := next.Sub(now) - time.Second; ahead > 0 {
		return ahead
	}
	if l.next == nil {
		l.next = map[string]time.Time{}
	}
	l.next[key] = next
	return 0
}
