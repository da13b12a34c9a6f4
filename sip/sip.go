// Package sip is the signalling of calls that we make: INVITE with everything that
// carriers do to it, the dialog after the answer, registrations, probes, and the
// ending of calls that an earlier process left behind.
//
// It takes parsing, transactions and TCP connections from sipgo and adds the
// dialogs: forking, PRACK, digest, session timers, in-dialog requests. Session
// descriptions are opaque bytes here; whoever calls gives a [Session] that
// understands them.
//
// Concurrency: every exported method may be called from any goroutine. Messages of
// one call are worked in the order in which they arrived; different calls do not
// wait for each other. Callbacks (OnProgress, Session, Register's report) run on
// goroutines of this package, one at a time per call, and must return soon: while
// one of them sits, the messages of its call wait, of no other.
//
// Guarantees: Invite returns only when the call stands, or when its failure is
// known and nothing of it is left ringing as far as the peer answers. Every 2xx is
// acknowledged, every dialog that we do not want is ended with BYE. Call-ID,
// From-tag and branches are derived from the call id, so that after a crash
// [Endpoint.EndOrphan] can address what the dead process left.
//
// Limits: a source that is no configured peer gets no answer unless it names one of
// our dialogs, and is counted. One message is at most 64 KiB.
//
// Testing: real sockets on loopback against a scripted far end (see farend_test.go);
// header parsers and classification are pure functions.
package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	gosip "github.com/emiago/sipgo/sip"
)

// ListenAddr is an address to listen on: Network is udp or tcp.
type ListenAddr struct {
	Network string
	Addr    string // host:port; port 0 lets the kernel choose
}

// DefaultReadBuffer is the receive buffer asked for UDP sockets. The kernel's usual
// 208 KB overflow at about 100 calls in flight, and a lost 200 costs 0.5 s and more.
const DefaultReadBuffer = 4 << 20

// Options configure an Endpoint.
type Options struct {
	Listen     []ListenAddr
	UserAgent  string       // User-Agent of our requests; empty sends none
	Log        *slog.Logger // nil discards
	Journal    string       // file of confirmed dialogs; empty: calls of a dead process cannot be ended
	ReadBuffer int          // SO_RCVBUF of UDP sockets; 0 means DefaultReadBuffer
	Resolver   *net.Resolver
}

// Endpoint is one SIP element: its sockets, its peers and its dialogs.
type Endpoint struct {
	// fixed after New
	opt       Options
	parser    *gosip.Parser
	tcp       *gosip.TransportLayer
	udpSocks  []*udpSocket
	listeners []net.Listener
	journal   *journal
	resolver  *resolver
	ids       derivation
	t1, t2    time.Duration
	giveUp    time.Duration // 64*T1: how long an answer is awaited
	limiter   *limiter

	running sync.WaitGroup // lane workers and timers' work
	stats   counters

	mu    sync.Mutex
	lanes map[string]*lane
	peers map[netip.Addr]int // configured sources, with the count of peers that own them
	// serviceRoutes came with registrations (RFC 3608)
	serviceRoutes map[*Peer][]gosip.Uri
	closed        bool
}

// Stats are counts since the start.
type Stats struct {
	Malformed  int64 // messages the parser or the validation refused
	Strangers  int64 // messages from sources that are no peer, dropped
	Limited    int64 // messages over the rate limit of strangers, dropped
	Stray      int64 // responses and ACKs that belong to nothing we know
	Retried200 int64 // repeated 2xx that we acknowledged again
	Lanes      int   // Call-IDs with live transactions or dialogs
	ReadBuffer int   // smallest receive buffer that the kernel granted, bytes
}

type counters struct {
	malformed, strangers, limited, stray, retried200 atomic.Int64
}

// ErrClosed is returned when the endpoint has stopped.
var ErrClosed = errors.New("the SIP endpoint has stopped")

// New opens the sockets and reads the journal; nothing runs before Run.
func New(opt Options) (*Endpoint, error) {
	if len(opt.Listen) == 0 {
		return nil, errors.New("sip: no address to listen on")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.ReadBuffer == 0 {
		opt.ReadBuffer = DefaultReadBuffer
	}
	e := &Endpoint{
		opt:     opt,
		parser:  gosip.NewParser(),
		t1:      gosip.T1,
		t2:      gosip.T2,
		giveUp:  64 * gosip.T1,
		limiter: newLimiter(strangerRate),
		lanes:   map[string]*lane{},
		peers:   map[netip.Addr]int{},

		serviceRoutes: map[*Peer][]gosip.Uri{},
	}
	e.resolver = newResolver(opt.Resolver)
	var err error
	if e.journal, err = openJournal(opt.Journal, opt.Log); err != nil {
		return nil, err
	}
	e.ids = derivation{salt: e.journal.salt}
	if err := e.listen(); err != nil {
		e.closeSockets()
		e.journal.close()
		return nil, err
	}
	return e, nil
}

// Addrs are the addresses that the endpoint listens on, with the ports the kernel chose.
func (e *Endpoint) Addrs() []ListenAddr {
	var out []ListenAddr
	for _, s := range e.udpSocks {
		out = append(out, ListenAddr{"udp", s.pc.LocalAddr().String()})
	}
	for _, l := range e.listeners {
		out = append(out, ListenAddr{"tcp", l.Addr().String()})
	}
	return out
}

// Run serves the sockets until ctx ends, then closes them. Calls still up are not
// ended by it: end them first. It returns nil when ctx ended it.
func (e *Endpoint) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	failed := make(chan error, len(e.udpSocks)+len(e.listeners))
	for _, s := range e.udpSocks {
		readers.Go(func() { failed <- s.read(e) })
	}
	for _, l := range e.listeners {
		readers.Go(func() { failed <- e.tcp.ServeTCP(l) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("sip: a socket failed: %w", err)
	}
	e.mu.Lock()
	e.closed = true
	lanes := make([]*lane, 0, len(e.lanes))
	for _, l := range e.lanes {
		lanes = append(lanes, l)
	}
	e.mu.Unlock()
	for _, l := range lanes {
		l.shut()
	}
	e.closeSockets()
	readers.Wait()
	e.running.Wait()
	return errors.Join(err, e.journal.close())
}

// Stats returns the counts so far.
func (e *Endpoint) Stats() Stats {
	e.mu.Lock()
	lanes := len(e.lanes)
	e.mu.Unlock()
	s := Stats{
		Malformed: e.stats.malformed.Load(), Strangers: e.stats.strangers.Load(), Limited: e.stats.limited.Load(),
		Stray: e.stats.stray.Load(), Retried200: e.stats.retried200.Load(), Lanes: lanes,
	}
	for _, u := range e.udpSocks {
		if s.ReadBuffer == 0 || u.readBuffer < s.ReadBuffer {
			s.ReadBuffer = u.readBuffer
		}
	}
	return s
}
