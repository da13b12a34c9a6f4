package carrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"waihu"
)

// Options of a carrier. The zero value is a carrier on a loopback port of the kernel's choice.
type Options struct {
	Listen  string // SIP over UDP and TCP on this host:port; default 127.0.0.1:0. The host is where RTP is received, too
	RTPLow  int    // RTP ports from a range; 0 lets the kernel choose
	RTPHigh int
	Seed    uint64        // decides all that is left to chance
	Log     *slog.Logger  // nil discards
	Speed   float64       // factor on ringing, announcements and network pauses, above 0 and at most 1; 0 means 1
	T1      time.Duration // SIP's T1, from which all its timers follow; 0 means 500 ms
	MaxGap  time.Duration // a longer pause between two RTP packets of a caller is a finding; 0: only recorded
	// Username and Password are what 67 and 68 and, when set, REGISTER ask for.
	Username, Password string
	Mixture            *Mixture       // of suffix 90; nil means DefaultMixture
	Scripts            map[int][]Step // replaces what the callees of a suffix say and do once they have answered
}

// Carrier is one simulated carrier.
type Carrier struct {
	// fixed after New
	opt     Options
	log     *slog.Logger
	mixture *Mixture
	udp     *net.UDPConn
	tcp     *net.TCPListener
	addr    netip.AddrPort
	ports   *ports
	voice   *voices
	pace    *pacer

	// guarded by mu
	mu       sync.Mutex
	calls    map[string]*call // by Call-ID
	conns    map[net.Conn]bool
	closing  bool
	findings []Finding
	records  []*Record
	load     Load
	callers  map[string]*Load
	hosts    map[string]*Load
	attempts map[waihu.PhoneNumber]int
	branches [2]map[string]string // branch to the transaction that used it; two generations

	wg sync.WaitGroup // goroutines of Run: calls, connections
}

const (
	defaultT1    = 500 * time.Millisecond
	maxDatagram  = 65535
	readBuffer   = 4 << 20 // of the SIP socket: a burst of INVITEs must not be lost
	maxTCPBuffer = 64 << 10
)

// New opens the sockets of a carrier. Run serves them and closes them.
func New(opt Options) (*Carrier, error) {
	if opt.Listen == "" {
		opt.Listen = "127.0.0.1:0"
	}
	if opt.Speed == 0 {
		opt.Speed = 1
	}
	if opt.Speed < 0 || opt.Speed > 1 {
		return nil, fmt.Errorf("carrier: speed %v: a factor above 0 and at most 1 was expected", opt.Speed)
	}
	if opt.T1 == 0 {
		opt.T1 = defaultT1
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Mixture == nil {
		opt.Mixture = DefaultMixture()
	}
	if err := opt.Mixture.check(); err != nil {
		return nil, err
	}
	c := &Carrier{
		opt: opt, log: opt.Log, mixture: opt.Mixture,
		calls: map[string]*call{}, conns: map[net.Conn]bool{},
		callers: map[string]*Load{}, hosts: map[string]*Load{}, attempts: map[waihu.PhoneNumber]int{},
		branches: [2]map[string]string{{}, {}},
		voice:    newVoices(),
		pace:     newPacer(),
	}
	if err := c.listen(); err != nil {
		return nil, err
	}
	var err error
	if c.ports, err = newPorts(c.addr.Addr(), opt.RTPLow, opt.RTPHigh); err != nil {
		c.udp.Close()
		c.tcp.Close()
		return nil, err
	}
	return c, nil
}

// listen opens UDP and TCP on one port. When the kernel chooses, the port it gives for UDP may be taken for TCP: try again.
func (c *Carrier) listen() error {
	at, err := net.ResolveUDPAddr("udp", c.opt.Listen)
	if err != nil {
		return fmt.Errorf("carrier: listen address %q: %w", c.opt.Listen, err)
	}
	if at.IP == nil || at.IP.IsUnspecified() {
		return fmt.Errorf("carrier: listen address %q: a certain address was expected, since session descriptions must name it", c.opt.Listen)
	}
	for try := 0; ; try++ {
		udp, err := net.ListenUDP("udp", at)
		if err != nil {
			return fmt.Errorf("carrier: %w", err)
		}
		addr := udp.LocalAddr().(*net.UDPAddr)
		tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: addr.IP, Port: addr.Port})
		if err != nil {
			udp.Close()
			if at.Port == 0 && try < 20 {
				continue
			}
			return fmt.Errorf("carrier: %w", err)
		}
		_ = udp.SetReadBuffer(readBuffer) // the kernel may give less; loss is repaired by retransmission
		c.udp, c.tcp = udp, tcp
		a := addr.AddrPort()
		c.addr = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		return nil
	}
}

// Addr is the address of SIP, over UDP and TCP.
func (c *Carrier) Addr() string { return c.addr.String() }

// Run serves calls until ctx ends. Calls that are up then get a BYE that nobody waits for.
func (c *Carrier) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	failed := make(chan error, 2)
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.wg.Go(func() { c.pace.run(runCtx) })
	readers.Go(func() { failed <- c.readUDP(runCtx) })
	readers.Go(func() { failed <- c.acceptTCP(runCtx, &readers) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	c.mu.Lock()
	c.closing = true
	calls := make([]*call, 0, len(c.calls))
	for _, k := range c.calls {
		calls = append(calls, k)
	}
	c.mu.Unlock()
	for _, k := range calls {
		<-k.done
	}
	c.udp.Close()
	c.tcp.Close()
	c.mu.Lock()
	for conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	readers.Wait()
	c.wg.Wait()
	return err
}

// peer is where a message came from and answers go to.
type peer struct {
	addr netip.AddrPort
	conn net.Conn // nil over UDP
	udp  *net.UDPConn
}

func (p peer) reliable() bool { return p.conn != nil }

func (p peer) network() string {
	if p.conn != nil {
		return "TCP"
	}
	return "UDP"
}

// send writes a message; what cannot be sent is lost, and retransmission or a timer of SIP deals with it.
func (p peer) send(b []byte) {
	if p.conn != nil {
		_ = p.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = p.conn.Write(b)
		return
	}
	_, _ = p.udp.WriteToUDPAddrPort(b, p.addr)
}

func (c *Carrier) readUDP(ctx context.Context) error {
	buf := make([]byte, maxDatagram)
	parser := sip.NewParser()
	for {
		n, from, err := c.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("carrier: reading SIP: %w", err)
		}
		raw := bytes.Clone(buf[:n])
		if len(bytes.Trim(raw, "\r\n\x00 ")) == 0 {
			continue // keep-alive
		}
		if raw[0]&0xC0 == 0x80 {
			continue // media (RFC 7983 7) of a stranger: ports are used again, and RTCP goes to a port that may be another's
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		msg, err := parser.ParseSIP(raw)
		if err != nil {
			c.find("", "syntax", "3261 7", "a datagram of %d bytes is not SIP: %v", n, err)
			continue
		}
		c.dispatch(ctx, &inbound{msg: msg, raw: raw, from: peer{addr: from, udp: c.udp}})
	}
}

func (c *Carrier) acceptTCP(ctx context.Context, wg *sync.WaitGroup) error {
	for {
		conn, err := c.tcp.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("carrier: accepting SIP over TCP: %w", err)
		}
		c.mu.Lock()
		c.conns[conn] = true
		c.mu.Unlock()
		wg.Go(func() {
			c.readTCP(ctx, conn)
			conn.Close()
			c.mu.Lock()
			delete(c.conns, conn)
			c.mu.Unlock()
		})
	}
}

func (c *Carrier) readTCP(ctx context.Context, conn net.Conn) {
	from := peer{conn: conn, addr: conn.RemoteAddr().(*net.TCPAddr).AddrPort()}
	from.addr = netip.AddrPortFrom(from.addr.Addr().Unmap(), from.addr.Port())
	stream := sip.NewParser().NewSIPStream()
	defer stream.Close()
	buf := make([]byte, 8192)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		data := buf[:n]
		if stream.Buffer().Len() == 0 {
			data = bytes.TrimLeft(data, "\r\n") // keep-alive between messages, RFC 5626 3.5.1
		}
		if len(data) == 0 {
			continue
		}
		if _, err := stream.Write(data); err != nil {
			return
		}
		for stream.Buffer().Len() > 0 {
			raw := bytes.Clone(stream.Buffer().Bytes())
			msg, _, err := stream.ParseNext()
			if errors.Is(err, io.ErrUnexpectedEOF) {
				if stream.Buffer().Len() > maxTCPBuffer {
					c.find("", "syntax", "3261 18.3", "a message over TCP does not end within %d bytes", maxTCPBuffer)
					return
				}
				break
			}
			if err != nil {
				c.find("", "syntax", "3261 7", "what came over TCP is not SIP: %v", err)
				return
			}
			c.dispatch(ctx, &inbound{msg: msg, raw: raw[:len(raw)-stream.Buffer().Len()], from: from})
		}
	}
}

// inbound is one message with where it came from.
type inbound struct {
	msg  sip.Message
	raw  []byte
	from peer
}

// dispatch brings a message to its call. A call's messages keep their order.
func (c *Carrier) dispatch(ctx context.Context, in *inbound) {
	id := ""
	if h := in.msg.CallID(); h != nil {
		id = h.Value()
	}
	req, _ := in.msg.(*sip.Request)
	if req != nil && !c.judgeRequest(id, in, req) {
		if req.Method != sip.ACK {
			in.from.send(answer(req, in.from, 400, "Bad Request", "", nil, nil))
		}
		return
	}
	c.mu.Lock()
	k := c.calls[id]
	if k == nil && req != nil && req.Method == sip.INVITE && !tagged(req.To()) && !c.closing {
		k = c.newCallLocked(id, req, in.from)
		c.calls[id] = k
		c.wg.Go(func() { k.main(ctx) })
	}
	c.mu.Unlock()
	if k != nil {
		select {
		case k.in <- in:
		default:
			c.log.Warn("message lost, the call's inbox is full", "sip_call", id)
		}
		return
	}
	if req != nil {
		c.outside(req, in)
	}
}

// forget ends the routing of messages to k.
func (c *Carrier) forget(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[k.id] == k {
		delete(c.calls, k.id)
	}
}

// outside answers requests that belong to no call.
func (c *Carrier) outside(req *sip.Request, in *inbound) {
	switch {
	case req.Method == sip.ACK:
		return
	case req.Method == sip.OPTIONS && !tagged(req.To()):
		in.from.send(answer(req, in.from, 200, "OK", newTag(), allowHeaders, nil))
	case req.Method == sip.REGISTER:
		c.register(req, in)
	case req.Method == sip.INVITE && !tagged(req.To()):
		in.from.send(answer(req, in.from, 503, "Service Unavailable", newTag(), nil, nil))
	case req.Method == sip.CANCEL || tagged(req.To()):
		in.from.send(answer(req, in.from, 481, "Call/Transaction Does Not Exist", newTag(), nil, nil))
	default:
		in.from.send(answer(req, in.from, 405, "Method Not Allowed", newTag(), allowHeaders, nil))
	}
}
