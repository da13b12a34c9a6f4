package media

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// ports is the range of even/odd pairs: a queue, longest unused first, so that a pair
// rests as long as possible even beyond its quarantine.
type ports struct {
	rest time.Duration // quarantine

	mu    sync.Mutex
	queue []pair // a ring of all pairs that are not in use
	head  int
	n     int
}

type pair struct {
	port   int       // the even one
	freeAt time.Time // not before
}

// newPorts lists the pairs of the range in random order, so that a restarted process does not
// begin where it left off.
func newPorts(low, high int, rest time.Duration) *ports {
	p := &ports{rest: rest, queue: make([]pair, 0, (high-low)/2+1)}
	for port := low + low&1; port+1 <= high; port += 2 {
		p.queue = append(p.queue, pair{port: port})
	}
	rand.Shuffle(len(p.queue), func(i, k int) { p.queue[i], p.queue[k] = p.queue[k], p.queue[i] })
	p.n = len(p.queue)
	return p
}

// take gives a pair that has rested enough.
func (p *ports) take(now time.Time) (port int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// without quarantine a pair may have come back after the caller's now
	if p.n == 0 || p.rest > 0 && p.queue[p.head].freeAt.After(now) {
		return 0, false
	}
	port = p.queue[p.head].port
	p.head = (p.head + 1) % len(p.queue)
	p.n--
	return port, true
}

// give puts a pair back to rest.
func (p *ports) give(port int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue[(p.head+p.n)%len(p.queue)] = pair{port: port, freeAt: now.Add(p.rest)}
	p.n++
}

// free counts the pairs that could be taken now.
func (p *ports) free(now time.Time) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// the queue is in the order of freeAt: look for the first that still rests
	low, high := 0, p.n
	for low < high {
		mid := (low + high) / 2
		if p.queue[(p.head+mid)%len(p.queue)].freeAt.After(now) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// Pairs is how many calls at once a range of ports can carry: an even port and the odd one after it each.
func Pairs(low, high int) int { return max(0, (high+1-(low+low&1))/2) }

// checkRange refuses a range that cannot work. ephemeralLow and High are the kernel's
// own range, 0 when unknown.
func checkRange(low, high, calls, ephemeralLow, ephemeralHigh int) error {
	pairs := Pairs(low, high)
	switch {
	case low < 1024 || high > 65535 || low > high:
		return fmt.Errorf("RTP ports %d-%d: a range within 1024-65535 was expected", low, high)
	case pairs < 1:
		return fmt.Errorf("RTP ports %d-%d: no even port with an odd one after it", low, high)
	case ephemeralHigh > 0 && low <= ephemeralHigh && high >= ephemeralLow:
		return fmt.Errorf("RTP ports %d-%d overlap the ports %d-%d that the kernel gives to other programs (net.ipv4.ip_local_port_range): choose a range outside", low, high, ephemeralLow, ephemeralHigh)
	case pairs < calls:
		return fmt.Errorf("RTP ports %d-%d are %d pairs, but %d calls need as many: widen the range to %d ports at least", low, high, pairs, calls, 2*calls)
	}
	return nil
}

// ephemeral is the kernel's range for sockets that ask for no port; zeros where the system does not say.
func ephemeral() (low, high int) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, 0
	}
	if _, err := fmt.Sscan(string(b), &low, &high); err != nil {
		return 0, 0
	}
	return low, high
}
