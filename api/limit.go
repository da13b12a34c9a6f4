package api

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// limiter holds each token to a number of requests a second, with a second's worth at once. Only known tokens are held.
type limiter struct {
	perSecond int // 0: no limit

	mu   sync.Mutex
	next map[string]time.Time // when the token's allowance is whole again
}

// wait is how long the token must wait; 0: it may go on, which is counted.
func (l *limiter) wait(token string, now time.Time) time.Duration {
	if l.perSecond == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.next[token]
	if next.Before(now) {
		next = now
	}
	next = next.Add(time.Second / time.Duration(l.perSecond))
	if ahead := next.Sub(now) - time.Second; ahead > 0 {
		return ahead
	}
	if l.next == nil {
		l.next = map[string]time.Time{}
	}
	l.next[token] = next
	return 0
}

// panicked is a handler's panic as an error for the log.
func panicked(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }
