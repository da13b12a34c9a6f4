package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	gosip "github.com/emiago/sipgo/sip"
)

var (
	errLaneTaken    = errors.New("a call with this id is already being made here")
	errNoConnection = errors.New("the connection to answer on is gone")
)

// path is the way to one address, and how we name ourselves on it.
type path struct {
	transport string // UDP or TCP
	dst       netip.AddrPort
	conn      gosip.Connection
	host      string // in Via and Contact: the public address, else the local one
	port      int
}

// close gives the connection back. The path's copies given to transactions have their own references.
func (p *path) close() { p.conn.TryClose() }

// take is the connection with a reference for a transaction.
func (p *path) take() gosip.Connection {
	p.conn.Ref(1)
	return p.conn
}

// path opens the way to dst for a peer.
func (e *Endpoint) path(ctx context.Context, p *Peer, dst netip.AddrPort) (*path, error) {
	if p.transport == "tcp" {
		return e.tcpWay(ctx, p, dst)
	}
	sock, err := e.socketFor(p, dst.Addr())
	if err != nil {
		return nil, err
	}
	local := sock.addr.Addr()
	var from netip.Addr
	switch {
	case !local.IsUnspecified():
	case sock.picks && p.bind.Is4():
		local, from = p.bind, p.bind
	default:
		if local, err = route(dst); err != nil {
			return nil, err
		}
		if p.bind.IsValid() && local != p.bind {
			return nil, fmt.Errorf("the kernel reaches %s from %s, not from the bind address %s: listen on the bind address itself", dst.Addr(), local, p.bind)
		}
	}
	w := &path{transport: "UDP", dst: dst, conn: &udpPath{sock, dst, from}, host: local.String(), port: int(sock.addr.Port())}
	w.advertise(p)
	return w, nil
}

func (w *path) advertise(p *Peer) {
	if p.publicStr == "" {
		return
	}
	w.host = p.publicStr
	if p.publicPrt != 0 {
		w.port = p.publicPrt
	}
}

func (e *Endpoint) tcpWay(ctx context.Context, p *Peer, dst netip.AddrPort) (*path, error) {
	// sipgo opens connections for a request; this one only carries the address.
	probe := gosip.NewRequest(gosip.OPTIONS, gosip.Uri{Scheme: "sip", Host: dst.Addr().String()})
	probe.AppendHeader(&gosip.ViaHeader{Host: "unused", Port: 1})
	probe.SetTransport("TCP")
	probe.SetDestination(dst.String())
	if p.bind.IsValid() {
		probe.Laddr.IP = p.bind.AsSlice()
	}
	ctx, cancel := context.WithTimeout(ctx, tcpDial)
	defer cancel()
	conn, err := e.tcp.ClientRequestConnection(ctx, probe)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", dst, err)
	}
	local := unmap(conn.LocalAddr().(*net.TCPAddr).AddrPort())
	w := &path{transport: "TCP", dst: dst, conn: conn, host: local.Addr().String(), port: int(local.Port())}
	for _, l := range e.listeners {
		// Requests of the far end come over this connection while it stands, and to our listener when it fell.
		a := unmap(l.Addr().(*net.TCPAddr).AddrPort())
		if a.Addr().IsUnspecified() || a.Addr() == local.Addr() {
			w.port = int(a.Port())
			break
		}
	}
	w.advertise(p)
	return w, nil
}

// socketFor is the UDP socket that reaches dst: the one on the bind address when there is one.
func (e *Endpoint) socketFor(p *Peer, dst netip.Addr) (*udpSocket, error) {
	var names []string
	for _, s := range e.udpSocks {
		a := s.addr.Addr()
		names = append(names, s.addr.String())
		switch {
		case p.bind.IsValid() && a != p.bind && !a.IsUnspecified():
		case a.Is4() && !dst.Is4():
		case a.Is6() && dst.Is4() && a != netip.IPv6Unspecified():
		default:
			return s, nil
		}
	}
	if p.bind.IsValid() {
		return nil, fmt.Errorf("no UDP socket on the bind address %s (listening on %s)", p.bind, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("no UDP socket that reaches %s (listening on %s)", dst, strings.Join(names, ", "))
}

// route asks the kernel which of our addresses it would send from; no packet leaves.
func route(dst netip.AddrPort) (netip.Addr, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(dst))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no route to %s: %w", dst.Addr(), err)
	}
	defer c.Close()
	return unmap(c.LocalAddr().(*net.UDPAddr).AddrPort()).Addr(), nil
}

// LocalIP is the address that peer should see in our session descriptions: the
// trunk's public address, else what the kernel routes to it with.
func (e *Endpoint) LocalIP(ctx context.Context, p *Peer) (netip.Addr, error) {
	if p.public.IsValid() {
		return p.public, nil
	}
	if p.bind.IsValid() {
		return p.bind, nil
	}
	addrs, err := e.resolver.lookup(ctx, p.hop, p.transport)
	if err != nil {
		return netip.Addr{}, err
	}
	if p.transport == "udp" {
		s, err := e.socketFor(p, addrs[0].Addr())
		if err != nil {
			return netip.Addr{}, err
		}
		if a := s.addr.Addr(); !a.IsUnspecified() {
			return a, nil
		}
	}
	return route(addrs[0])
}

// answerPath is the way back to the sender of a request (RFC 3261 18.2.2, RFC 3581).
func (e *Endpoint) answerPath(in inbound, req *gosip.Request) gosip.Connection {
	if in.sock == nil {
		c, err := e.tcp.GetConnection("tcp", in.src.String())
		if err != nil {
			return nil
		}
		return c
	}
	dst := in.src
	via := req.Via()
	if !via.Params.Has("rport") {
		port := via.Port
		if port == 0 {
			port = 5060
		}
		dst = netip.AddrPortFrom(in.src.Addr(), uint16(port))
		if host := in.src.Addr().String(); via.Host != host {
			via.Params.Add("received", host)
		}
	}
	return &udpPath{in.sock, dst, in.local}
}

func (e *Endpoint) known(a netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peers[a] > 0
}

// Allow resolves p and answers its requests (OPTIONS and the like) until the returned
// function is called. Invite, Register and Options do so for as long as they need it;
// requests within our dialogs are answered wherever they come from.
func (e *Endpoint) Allow(ctx context.Context, p *Peer) (func(), error) {
	addrs, err := e.resolver.lookup(ctx, p.hop, p.transport)
	if err != nil {
		return nil, err
	}
	return e.allow(addrs), nil
}

func (e *Endpoint) allow(addrs []netip.AddrPort) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range addrs {
		e.peers[a.Addr()]++
	}
	done := false
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if done {
			return
		}
		done = true
		for _, a := range addrs {
			if e.peers[a.Addr()]--; e.peers[a.Addr()] == 0 {
				delete(e.peers, a.Addr())
			}
		}
	}
}

// uriHop is where a URI points to; transport other than the peer's is ignored: one trunk, one transport.
func uriHop(u *gosip.Uri) hop {
	host := strings.Trim(u.Host, "[]")
	if m, ok := u.UriParams.Get("maddr"); ok && m != "" {
		host = strings.Trim(m, "[]")
	}
	return hop{host, u.Port}
}
