package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// Config is what an engine needs to know.
type Config struct {
	PortLow, PortHigh int           // RTP ports, taken in even/odd pairs
	Bind              netip.Addr    // sockets' address where a session names none; zero: any
	Quarantine        time.Duration // how long a used pair rests; 0: DefaultQuarantine, negative: not at all
	Threads           int           // packet clocks; 0: one per core but one, at least one
	Calls             int           // most calls at once, to check the range against; 0: not checked
	Log               *slog.Logger  // may be nil
}

const (
	// DefaultQuarantine keeps a finished call's stray packets out of the next one.
	DefaultQuarantine = 10 * time.Second
	// DefaultMediaTimeout is how long a call may go on without a packet.
	DefaultMediaTimeout = 15 * time.Second
	// maxThreads bounds what a careless setting can do to GOMAXPROCS.
	maxThreads = 64
	// bindTries is how many pairs Open tries when other programs hold ports of the range.
	bindTries = 20
)

var (
	// ErrNoPorts says that every pair of the range is in use or resting.
	ErrNoPorts = errors.New("no free pair of RTP ports")
	// ErrNoCodec says that the far end's description has no codec that was offered.
	ErrNoCodec = errors.New("no common codec")
	// ErrRefused says that the far end refused the audio stream (port 0).
	ErrRefused = errors.New("the far end refused the audio stream")
	// ErrSDP says that a session description could not be used.
	ErrSDP = errors.New("unusable session description")
	// ErrMediaTimeout says that nothing was received for too long.
	ErrMediaTimeout = errors.New("no media received")
	// ErrClosed says that the session is closed.
	ErrClosed = errors.New("the media session is closed")
)

// Engine owns the RTP ports, the packet clocks and the recording writer.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	ports  *ports
	clocks []*clock
	writer *writer
}

// New checks cfg against the machine and returns an engine; Run makes it work.
func New(cfg Config) (*Engine, error) {
	low, high := ephemeral()
	if err := checkRange(cfg.PortLow, cfg.PortHigh, cfg.Calls, low, high); err != nil {
		return nil, err
	}
	if cfg.Quarantine == 0 {
		cfg.Quarantine = DefaultQuarantine
	}
	if cfg.Threads == 0 {
		cfg.Threads = max(1, runtime.NumCPU()-1)
	}
	if cfg.Threads < 0 || cfg.Threads > maxThreads {
		return nil, fmt.Errorf("%d media threads: 1 to %d were expected", cfg.Threads, maxThreads)
	}
	e := &Engine{cfg: cfg, log: cfg.Log, ports: newPorts(cfg.PortLow, cfg.PortHigh, max(0, cfg.Quarantine)), writer: newWriter()}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	for range cfg.Threads {
		e.clocks = append(e.clocks, newClock(e.log))
	}
	return e, nil
}

// Run runs the packet clocks and the recording writer until ctx ends. Sessions that are open
// then stand still, and are closed as always.
func (e *Engine) Run(ctx context.Context) error {
	raiseProcs(len(e.clocks))
	defer raiseProcs(-len(e.clocks))
	var wg sync.WaitGroup
	for _, c := range e.clocks {
		wg.Go(func() { c.run(ctx) })
	}
	wg.Go(func() { e.writer.run(ctx) })
	wg.Wait()
	return nil
}

// procs guards the count of Ps, which belongs to the whole process.
var procs sync.Mutex

// raiseProcs gives the runtime a P more for each media thread: sends are raw system calls that
// keep their P, and a thread that wakes for its slot must find one free.
func raiseProcs(by int) {
	procs.Lock()
	defer procs.Unlock()
	runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)+by))
}

// Free is the number of calls for which a pair of ports is free now.
func (e *Engine) Free() int { return e.ports.free(time.Now()) }

// bind takes a pair of ports and opens both sockets. Pairs of which another program holds a port
// are put back to rest.
func (e *Engine) bind(addr netip.Addr) (port int, rtp, rtcp *socket, err error) {
	for range bindTries {
		now := time.Now()
		p, ok := e.ports.take(now)
		if !ok {
			if err != nil {
				return 0, nil, nil, fmt.Errorf("%w: %w", ErrNoPorts, err)
			}
			return 0, nil, nil, ErrNoPorts
		}
		if rtp, err = openSocket(netip.AddrPortFrom(addr, uint16(p))); err == nil {
			if rtcp, err = openSocket(netip.AddrPortFrom(addr, uint16(p+1))); err == nil {
				return p, rtp, rtcp, nil
			}
			rtp.close()
		}
		e.ports.give(p, now)
	}
	return 0, nil, nil, fmt.Errorf("%w after %d tries: %w", ErrNoPorts, bindTries, err)
}

// leastLoaded is the clock with the fewest calls.
func (e *Engine) leastLoaded() *clock {
	best := e.clocks[0]
	for _, c := range e.clocks[1:] {
		if c.calls.Load() < best.calls.Load() {
			best = c
		}
	}
	return best
}
