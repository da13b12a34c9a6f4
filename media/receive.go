package media

import (
	"net/netip"
	"time"
)

const (
	// readsPerTick bounds what one call's flood may take of the others' time.
	readsPerTick = 16
	// controlEvery is how many ticks pass between two looks at the RTCP socket.
	controlEvery = 10
	// lockAfter packets in sequence a source is believed; relockAfter it was silent another may follow.
	lockAfter   = 3
	relockAfter = time.Second
	// wallJump is how far a kernel's time stamp may be from now to be believed.
	wallJump = int64(2 * time.Second)
)

// source is who may send to us: symmetric RTP with a lock (RFC 4961, RFC 7362), so that
// strangers who find the port can neither be heard nor draw our sound to themselves.
type source struct {
	locked bool
	addr   netip.AddrPort
	at     int64 // nanoseconds since base of its last packet

	candidate netip.AddrPort
	seq       uint16
	run       int
}

// unlock begins anew, as after a change of the description.
func (l *source) unlock() { *l = source{} }

// admit says whether a packet from addr may be used. told is the description's address.
func (l *source) admit(addr, told netip.AddrPort, h *header, at int64) bool {
	if l.locked && addr == l.addr {
		l.at = at
		return true
	}
	if l.locked && at-l.at < int64(relockAfter) {
		return false
	}
	switch {
	case addr == l.candidate && h.seq == l.seq+1:
		l.run++
	case addr == l.candidate:
		l.run = 1
	case !l.locked && l.candidate.IsValid() && l.candidate == told && at-l.at < int64(relockAfter):
		return false // whom the description names comes first
	default:
		l.candidate, l.run = addr, 1
	}
	l.seq = h.seq
	if !l.locked {
		l.at = at
	}
	if l.run >= lockAfter {
		l.locked, l.addr, l.at = true, addr, at
		return true
	}
	// Before the first lock a candidate is heard at once, so that no beginning is lost;
	// a successor only when it is locked.
	return !l.locked
}

// receive reads the session's sockets.
func (s *Session) receive(c *clock) {
	for range readsPerTick {
		n := c.batch.recv(s.rtp)
		for i := range n {
			data, from, wall := c.batch.get(i)
			s.packet(c, data, from, c.arrival(wall))
		}
		if n < batchSize {
			break
		}
	}
	if s.ctl.ticks++; s.ctl.ticks < controlEvery {
		return
	}
	s.ctl.ticks = 0
	n := c.batch.recv(s.rtcp)
	for i := range n {
		data, from, wall := c.batch.get(i)
		s.control(data, from, c.arrival(wall))
	}
}

// arrival converts the kernel's time stamp to time since base.
func (c *clock) arrival(wall int64) int64 {
	now := c.slot * int64(slotLength)
	at := wall - c.wallOff
	if d := at - now; wall == 0 || d > wallJump || d < -wallJump {
		return now // no stamp, or the wall clock was set meanwhile
	}
	return at
}

// position is the session's position at a time.
func (s *Session) position(at int64) int64 { return (at - s.zero) / (int64(time.Second) / 8000) }

// packet takes one datagram of the RTP port.
func (s *Session) packet(c *clock, b []byte, from netip.AddrPort, at int64) {
	if isRTCP(b) { // some multiplex without having been asked
		s.control(b, from, at)
		return
	}
	h, payload, ok := parseRTP(b)
	if !ok || s.cur == nil {
		s.stats.Unknown++
		return
	}
	k := s.cur.kinds[h.pt]
	if k == kindNone {
		s.stats.Unknown++
		return
	}
	if !s.rx.source.admit(from, s.cur.remote, &h, at) {
		s.stats.Foreign++
		return
	}
	if s.rx.source.locked {
		s.lockOn(s.rx.source.addr)
	}
	s.rx.packet(s, &h, k, payload, at)
}

// lockOn sends to where the far end really is.
func (s *Session) lockOn(addr netip.AddrPort) {
	if s.tx.target.ap == addr {
		return
	}
	s.tx.target.set(addr)
	if !s.ctl.learned && addr.Addr() != s.cur.remote.Addr() {
		s.ctl.target.set(netip.AddrPortFrom(addr.Addr(), addr.Port()+1))
	}
}

// control takes one RTCP datagram: from the locked source's host, or where none is locked from
// the host that the description names.
func (s *Session) control(b []byte, from netip.AddrPort, at int64) {
	host := s.rx.source.addr.Addr()
	if !s.rx.source.locked && s.cur != nil {
		host = s.cur.rtcp.Addr()
	}
	if from.Addr() != host {
		s.stats.Foreign++
		return
	}
	if !s.ctl.read(s, b, at) {
		s.stats.Unknown++
		return
	}
	s.life = s.pos
	if s.ctl.target.ap != from {
		s.ctl.target.set(from)
		s.ctl.learned = true
	}
}
