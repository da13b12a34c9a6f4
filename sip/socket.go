package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	gosip "github.com/emiago/sipgo/sip"
	"golang.org/x/sys/unix"
)

const (
	// tcpPerSource caps connections that one address may open to us.
	tcpPerSource = 20
	// tcpIdle closes accepted connections on which nothing was read for so long.
	tcpIdle = 60 * time.Minute
	// strangerIdle is the same for connections of sources that are no peer: a slow sender gets no more.
	strangerIdle = 5 * time.Second
	tcpWrite     = 5 * time.Second
	tcpDial      = 5 * time.Second
	maxMessage   = 65535
)

// udpSocket is one UDP listener. We read and write it ourselves: sipgo's UDP
// transport keeps every source address it ever saw, sets no buffer and refuses
// messages above 1300 bytes, which carriers take as fragments.
type udpSocket struct {
	pc         *net.UDPConn
	addr       netip.AddrPort
	readBuffer int
	picks      bool // listens on every IPv4 address and can name the one to send from
}

func (e *Endpoint) listen() error {
	for _, l := range e.opt.Listen {
		switch l.Network {
		case "udp":
			s, err := openUDP(l.Addr, e.opt.ReadBuffer)
			if err != nil {
				return err
			}
			e.udpSocks = append(e.udpSocks, s)
		case "tcp":
			ln, err := net.Listen(family("tcp", l.Addr), l.Addr)
			if err != nil {
				return fmt.Errorf("sip: listen on tcp %s: %w", l.Addr, err)
			}
			e.listeners = append(e.listeners, &guardedListener{Listener: ln, e: e, open: map[netip.Addr]int{}})
		default:
			return fmt.Errorf("sip: cannot listen on %q: udp or tcp was expected", l.Network)
		}
	}
	tcp := &gosip.TransportTCP{
		WriteTimeout: tcpWrite,
		DialerCreate: func(laddr net.Addr) net.Dialer {
			d := net.Dialer{Timeout: tcpDial}
			// A nil *net.TCPAddr in the interface would bind to nothing and fail.
			if a, ok := laddr.(*net.TCPAddr); ok && a != nil {
				d.LocalAddr = a
			}
			return d
		},
	}
	// sipgo logs whole messages that it cannot parse: numbers and names do not belong into logs.
	quiet := slog.New(countErrors{&e.stats.malformed})
	e.tcp = gosip.NewTransportLayer(net.DefaultResolver, e.parser, nil,
		gosip.WithTransportLayerLogger(quiet),
		gosip.WithTransportLayerTransports(gosip.TransportsConfig{TCP: tcp}))
	e.tcp.OnMessage(e.fromTCP)
	return nil
}

// family keeps 0.0.0.0 to IPv4: Go would open both families, and we would promise IPv6 that nobody asked for.
func family(network, addr string) string {
	if a, err := netip.ParseAddrPort(addr); err == nil && a.Addr().Is4() {
		return network + "4"
	}
	return network
}

func openUDP(addr string, readBuffer int) (*udpSocket, error) {
	c, err := net.ListenPacket(family("udp", addr), addr)
	if err != nil {
		return nil, fmt.Errorf("sip: listen on udp %s: %w", addr, err)
	}
	pc := c.(*net.UDPConn)
	// The kernel caps SetReadBuffer at rmem_max without an error; SO_RCVBUFFORCE needs a privilege.
	_ = pc.SetReadBuffer(readBuffer)
	s := &udpSocket{pc: pc, addr: unmap(pc.LocalAddr().(*net.UDPAddr).AddrPort())}
	if raw, err := pc.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil && n/2 < readBuffer {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, readBuffer)
			}
			if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
				s.readBuffer = n / 2 // the kernel doubles it for its own bookkeeping
			}
			if s.addr.Addr() == netip.IPv4Unspecified() {
				s.picks = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1) == nil
			}
		})
	}
	return s, nil
}

func (s *udpSocket) read(e *Endpoint) error {
	buf, control := make([]byte, maxMessage), make([]byte, 128)
	for {
		n, c, _, src, err := s.pc.ReadMsgUDPAddrPort(buf, control)
		switch {
		case err == nil:
			e.fromUDP(s, unmap(src), s.local(control[:c]), buf[:n])
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
			// ICMP about something we sent: the transaction's timer will tell.
		default:
			return fmt.Errorf("read udp %s: %w", s.addr, err)
		}
	}
}

// local reads from the kernel's notes on a packet which of our addresses it was sent to; zero when it does not say.
func (s *udpSocket) local(control []byte) netip.Addr {
	if !s.picks {
		return netip.Addr{}
	}
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range list {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
			return netip.AddrFrom4([4]byte(m.Data[4:8])) // ipi_spec_dst
		}
	}
	return netip.Addr{}
}

func (e *Endpoint) fromUDP(s *udpSocket, src netip.AddrPort, local netip.Addr, data []byte) {
	known := e.known(src.Addr())
	if !known && !e.limiter.allow(src.Addr(), time.Now()) {
		e.stats.limited.Add(1)
		return
	}
	data = bytes.TrimLeft(data, "\r\n\x00") // keep-alives; RFC 3261 7.5 lets CRLF precede a message
	if len(data) == 0 {
		return
	}
	if known && !bytes.Contains(data, crlf) {
		data = bytes.ReplaceAll(data, crlf[1:], crlf) // gateways that end lines with LF alone
	}
	msg := e.parse(data)
	if msg == nil {
		e.stats.malformed.Add(1)
		return
	}
	msg.SetTransport("UDP")
	msg.SetSource(src.String())
	e.receive(inbound{msg: msg, src: src, sock: s, local: local, known: known})
}

var crlf = []byte("\r\n")

// parse returns nil for what is no SIP message. Foreign bytes must not be able to end
// the process, so a parser's panic counts as malformed.
func (e *Endpoint) parse(data []byte) (msg gosip.Message) {
	defer func() {
		if recover() != nil {
			msg = nil
		}
	}()
	m, err := e.parser.ParseSIP(barePhrase(data))
	if err != nil {
		return nil
	}
	return m
}

// barePhrase puts the blank behind a status that some gateways leave out when they have no reason phrase.
func barePhrase(data []byte) []byte {
	const status = len("SIP/2.0 200")
	if bytes.HasPrefix(data, []byte("SIP/2.0 ")) && bytes.HasPrefix(data[min(status, len(data)):], crlf) {
		return slices.Insert(data, status, ' ')
	}
	return data
}

func (e *Endpoint) fromTCP(msg gosip.Message) {
	src, err := netip.ParseAddrPort(msg.Source())
	if err != nil {
		return
	}
	src = unmap(src)
	known := e.known(src.Addr())
	if !known && !e.limiter.allow(src.Addr(), time.Now()) {
		e.stats.limited.Add(1)
		return
	}
	e.receive(inbound{msg: msg, src: src, known: known})
}

func (e *Endpoint) closeSockets() {
	for _, s := range e.udpSocks {
		s.pc.Close()
	}
	for _, l := range e.listeners {
		l.Close()
	}
	if e.tcp != nil {
		e.tcp.Close()
	}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// udpPath is a way out of a socket to one destination; sipgo's transactions write to it.
type udpPath struct {
	sock *udpSocket
	dst  netip.AddrPort
	from netip.Addr // our address to send from, where the socket can pick; zero: the kernel's choice
}

var writeBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (p *udpPath) WriteMsg(msg gosip.Message) error {
	buf := writeBuffers.Get().(*bytes.Buffer)
	defer writeBuffers.Put(buf)
	buf.Reset()
	msg.StringWrite(buf)
	var control []byte
	if p.from.IsValid() {
		control = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: p.from.As4()})
	}
	_, _, err := p.sock.pc.WriteMsgUDPAddrPort(buf.Bytes(), control, p.dst)
	if errors.Is(err, syscall.ECONNREFUSED) {
		// An earlier packet's ICMP, reported on this one: it was not sent, so send it again.
		_, _, err = p.sock.pc.WriteMsgUDPAddrPort(buf.Bytes(), control, p.dst)
	}
	if err != nil && p.from.IsValid() {
		return fmt.Errorf("send to %s from %s, which must be an address of this machine: %w", p.dst, p.from, err)
	}
	if err != nil {
		return fmt.Errorf("send to %s: %w", p.dst, err)
	}
	return nil
}

// The socket outlives every transaction: references need no counting.
func (p *udpPath) LocalAddr() net.Addr    { return p.sock.pc.LocalAddr() }
func (p *udpPath) Ref(int) int            { return 1 }
func (p *udpPath) TryClose() (int, error) { return 1, nil }
func (p *udpPath) Close() error           { return nil }

// countErrors is a slog handler that counts errors and writes nothing.
type countErrors struct{ n interface{ Add(int64) int64 } }

func (countErrors) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (c countErrors) Handle(context.Context, slog.Record) error  { c.n.Add(1); return nil }
func (c countErrors) WithAttrs([]slog.Attr) slog.Handler         { return c }
func (c countErrors) WithGroup(string) slog.Handler              { return c }

var discard = slog.New(slog.DiscardHandler)

// sipgo's connections log through a package variable, addresses of every closed one
// among it. It can only be set before anything of sipgo is used.
func init() { gosip.SetDefaultLogger(discard) }

// guardedListener counts connections per source and gives strangers little time.
type guardedListener struct {
	net.Listener
	e    *Endpoint
	mu   sync.Mutex
	open map[netip.Addr]int
}

func (g *guardedListener) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		src := unmap(c.RemoteAddr().(*net.TCPAddr).AddrPort()).Addr()
		g.mu.Lock()
		full := g.open[src] >= tcpPerSource
		if !full {
			g.open[src]++
		}
		g.mu.Unlock()
		if full {
			g.e.stats.limited.Add(1)
			c.Close()
			continue
		}
		return &guardedConn{Conn: c, g: g, src: src}, nil
	}
}

type guardedConn struct {
	net.Conn
	g    *guardedListener
	src  netip.Addr
	once sync.Once
}

func (c *guardedConn) Read(b []byte) (int, error) {
	idle := strangerIdle
	if c.g.e.known(c.src) {
		idle = tcpIdle
	}
	if err := c.Conn.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *guardedConn) Close() error {
	c.once.Do(func() {
		c.g.mu.Lock()
		if c.g.open[c.src]--; c.g.open[c.src] == 0 {
			delete(c.g.open, c.src)
		}
		c.g.mu.Unlock()
	})
	return c.Conn.Close()
}

// strangerRate is how many messages a second one unknown source may have parsed.
const strangerRate = 50

// limiter counts messages per source within a second.
type limiter struct {
	rate int
	mu   sync.Mutex
	sec  int64
	n    map[netip.Addr]int
}

// maxStrangers bounds the memory that forged sources can take; beyond it nobody unknown is heard.
const maxStrangers = 10_000

func newLimiter(rate int) *limiter { return &limiter{rate: rate, n: map[netip.Addr]int{}} }

func (l *limiter) allow(src netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := now.Unix(); s != l.sec {
		l.sec = s
		clear(l.n)
	}
	if _, seen := l.n[src]; !seen && len(l.n) >= maxStrangers {
		return false
	}
	l.n[src]++
	return l.n[src] <= l.rate
}
