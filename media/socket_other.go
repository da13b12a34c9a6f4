//go:build !linux

package media

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// sleepUntil sleeps to an absolute time since base.
func sleepUntil(at int64) { time.Sleep(time.Duration(at - mono())) }

func newSlab(n int) []byte { return make([]byte, n) }

// hurry has nothing portable to ask for.
func hurry() {}

// socket is the portable, simpler form: a goroutine reads into a bounded queue.
type socket struct {
	conn  *net.UDPConn
	local netip.AddrPort
	queue chan datagram
	ended chan struct{}
}

type datagram struct {
	data []byte
	from netip.AddrPort
	wall int64
}

// socketQueue bounds what waits for the call's slot: a second of packets.
const socketQueue = 64

func openSocket(at netip.AddrPort) (*socket, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, local: at, queue: make(chan datagram, socketQueue), ended: make(chan struct{})}
	go s.read()
	return s, nil
}

func (s *socket) read() {
	defer close(s.ended)
	buf := make([]byte, rtpMTU+1)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n > rtpMTU {
			n = 0
		}
		d := datagram{append([]byte(nil), buf[:n]...), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), time.Now().UnixNano()}
		select {
		case s.queue <- d:
		default: // the kernel would drop it as well
		}
	}
}

func (s *socket) is4() bool { return s.local.Addr().Is4() }

func (s *socket) close() {
	s.conn.Close()
	<-s.ended
}

type target struct{ ap netip.AddrPort }

func (t *target) set(ap netip.AddrPort) { t.ap = ap }

func (s *socket) send(b []byte, to *target) bool {
	_, err := s.conn.WriteToUDPAddrPort(b, to.ap)
	return err == nil
}

const batchSize = 4

type batch struct{ got [batchSize]datagram }

func newBatch() *batch { return &batch{} }

func (b *batch) recv(s *socket) int {
	for i := range b.got {
		select {
		case b.got[i] = <-s.queue:
		default:
			return i
		}
	}
	return batchSize
}

func (b *batch) get(i int) (data []byte, from netip.AddrPort, wall int64) {
	return b.got[i].data, b.got[i].from, b.got[i].wall
}
