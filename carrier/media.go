package carrier

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"waihu/audio"
)

// media is the RTP of one dialog. The pacer sends, a goroutine per socket receives, and
// the call's main goroutine arranges; mu guards all that they share.
type media struct {
	// fixed after openMedia
	c         *Carrier
	k         *call
	port      int
	rtp, rtcp *net.UDPConn
	wg        sync.WaitGroup // readers

	mu      sync.Mutex
	alt     *net.UDPConn // sends instead of rtp when a script says so
	sending bool
	closed  bool
	on      bool // with the pacer
	held    bool // by the caller's description: nothing is sent
	dst     netip.AddrPort
	rtcpDst netip.AddrPort
	pt      int
	ptime   int
	eventPT int // of digits that we send; -1: not offered
	seq     uint16
	ts      uint32
	ssrc    uint32
	mark    bool
	next    time.Time
	nextSR  time.Time
	loss    float64
	jitter  time.Duration // packets leave late by up to so much, in order
	delay   time.Duration // of the next packet
	drift   float64       // how much longer than true a packet's time is, as a fraction
	rng     *rand.Rand
	sent    int
	octets  uint32
	buf     [rtpHeader + maxPayload]byte
	pcm     [maxPayload]int16
	frame   [audio.FrameSamples]int16
	rest    int       // samples of frame that are not sent yet
	stopAt  time.Time // when the caller knew that the session is over
	mouth   mouth
	ear     ear
}

const (
	rtpHeader  = 12
	maxPayload = 480 // samples of 60 ms
	// stall: after a longer one the pacer skips what was missed instead of sending it in a burst.
	stall       = 60 * time.Millisecond
	reportEvery = 5 * time.Second // RFC 3550 6.2
)

// openMedia opens the sockets of a dialog and begins to listen.
func (c *Carrier) openMedia(k *call) (*media, error) {
	rtp, rtcp, err := c.ports.open()
	if err != nil {
		return nil, err
	}
	m := &media{c: c, k: k, rtp: rtp, rtcp: rtcp, port: rtp.LocalAddr().(*net.UDPAddr).Port,
		ptime: 20, eventPT: -1, mark: true,
		seq: uint16(k.rng.Uint32()), ts: k.rng.Uint32(), ssrc: k.rng.Uint32(), rng: rand.New(rand.NewPCG(k.rng.Uint64(), 1))}
	m.ear.init()
	m.mouth.m = m
	m.wg.Go(func() { m.read(rtp) })
	m.wg.Go(func() { m.readRTCP(rtcp) })
	return m, nil
}

// agree takes the caller's description: where to send and what is expected back.
func (m *media) agree(remote *description, pt, event int, ours local) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dst = netip.AddrPortFrom(remote.addr, uint16(remote.port))
	rtcp := remote.rtcp
	if rtcp == 0 {
		rtcp = remote.port + 1
	}
	m.rtcpDst = netip.AddrPortFrom(remote.addr, uint16(rtcp))
	m.held = remote.held() || remote.port == 0
	m.pt, m.eventPT, m.ptime = pt, event, ours.ptime
	m.ear.expect(ours, m.dst)
}

// start begins to send. All methods are no-ops on a nil media.
func (m *media) start() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.on || m.closed {
		return
	}
	m.on, m.sending = true, true
	m.next = time.Now()
	m.nextSR = m.next.Add(reportEvery / 2)
	m.c.pace.add(m)
}

// stop ends sending; what arrives is still judged.
func (m *media) stop() {
	if m == nil {
		return
	}
	m.mute()
	m.c.pace.remove(m)
}

// over says that the caller knows the session has ended: from now on it must be silent.
func (m *media) over() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopAt.IsZero() {
		m.stopAt = time.Now()
	}
}

// mute stops the packets while the call goes on, as a network does that lost them.
func (m *media) mute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sending = false
}

// close frees the sockets and waits for their readers.
func (m *media) close() {
	if m == nil {
		return
	}
	m.stop()
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.rtp.Close()
	m.rtcp.Close()
	if m.alt != nil {
		m.alt.Close()
	}
	m.wg.Wait()
}

// tick sends what is due at now. Called by the pacer alone.
func (m *media) tick(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.sending {
		return
	}
	step := time.Duration(float64(m.ptime) * (1 + m.drift) * float64(time.Millisecond))
	if late := now.Sub(m.next) - m.delay; late > stall {
		for range late / step {
			m.fillLocked(m.pcm[:m.ptime*8]) // said, and lost: time has passed
			m.ts += uint32(m.ptime * 8)
		}
		m.noteSkipped(late / step * time.Duration(m.ptime) * time.Millisecond)
		m.next = m.next.Add(late / step * step)
	}
	for !m.next.Add(m.delay).After(now) {
		m.sendLocked()
		m.next = m.next.Add(step)
		if m.jitter > 0 {
			m.delay = time.Duration(m.rng.Int64N(int64(m.jitter)))
		}
	}
	if !now.Before(m.nextSR) {
		m.nextSR = now.Add(reportEvery)
		m.reportLocked(now)
	}
}

// noteSkipped books sound that will never be sent.
func (m *media) noteSkipped(d time.Duration) {
	if m.k != nil { // nil in tests of the media alone
		m.c.note(m.k.rec, func(r *Record) { r.Skipped += d })
	}
}

// sendLocked sends one packet: a frame of the callee's voice or a step of a digit.
func (m *media) sendLocked() {
	n := m.ptime * 8
	pcm := m.pcm[:n]
	m.fillLocked(pcm)
	pt, payload, ts, mark := m.pt, m.buf[rtpHeader:rtpHeader+n], m.ts, m.mark
	if e := m.mouth.event(); e != nil {
		pt, ts, mark = m.eventPT, e.ts, e.mark
		payload = payload[:4]
		payload[0], payload[1] = e.code, 10
		if e.end {
			payload[1] |= 0x80
		}
		binary.BigEndian.PutUint16(payload[2:], e.duration)
	} else if m.mark = false; m.pt == ptPCMU {
		audio.EncodeULaw(payload, pcm)
	} else {
		audio.EncodeALaw(payload, pcm)
	}
	m.writeLocked(pt, ts, mark, payload)
	m.ts += uint32(n)
}

// fillLocked is the callee's next sound.
func (m *media) fillLocked(pcm []int16) {
	for len(pcm) > 0 {
		if m.rest == 0 {
			m.mouth.speak(m.frame[:])
			m.rest = len(m.frame)
		}
		c := copy(pcm, m.frame[len(m.frame)-m.rest:])
		pcm = pcm[c:]
		m.rest -= c
	}
}

func (m *media) writeLocked(pt int, ts uint32, mark bool, payload []byte) {
	b := m.buf[:rtpHeader+len(payload)]
	b[0], b[1] = 0x80, byte(pt)
	if mark {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], m.seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	binary.BigEndian.PutUint32(b[8:], m.ssrc)
	m.seq++
	if m.held || !m.dst.IsValid() || m.dst.Port() == 0 || m.loss > 0 && m.rng.Float64() < m.loss {
		return
	}
	conn := m.rtp
	if m.alt != nil {
		conn = m.alt
	}
	if _, err := conn.WriteToUDPAddrPort(b, m.dst); err == nil {
		m.sent++
		m.octets += uint32(len(payload))
	}
}

// reportLocked sends a sender report with a CNAME (RFC 3550 6.4.1, 6.5.1).
func (m *media) reportLocked(now time.Time) {
	if m.sent == 0 || m.held || !m.rtcpDst.IsValid() || m.rtcpDst.Port() == 0 {
		return
	}
	var b [48]byte
	b[0], b[1], b[3] = 0x80, 200, 6
	binary.BigEndian.PutUint32(b[4:], m.ssrc)
	const ntpEpoch = 2208988800 // 1900 to 1970
	binary.BigEndian.PutUint32(b[8:], uint32(now.Unix()+ntpEpoch))
	binary.BigEndian.PutUint32(b[12:], uint32(uint64(now.Nanosecond())<<32/1e9))
	binary.BigEndian.PutUint32(b[16:], m.ts)
	binary.BigEndian.PutUint32(b[20:], uint32(m.sent))
	binary.BigEndian.PutUint32(b[24:], m.octets)
	b[28], b[29], b[31] = 0x81, 202, 4
	binary.BigEndian.PutUint32(b[32:], m.ssrc)
	b[36], b[37] = 1, 9
	copy(b[38:], "carrier@x")
	_, _ = m.rtcp.WriteToUDPAddrPort(b[:], m.rtcpDst)
}

// read takes RTP until the socket is closed.
func (m *media) read(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			m.mu.Lock()
			closed := m.closed
			m.mu.Unlock()
			if closed {
				return
			}
			continue // such as an ICMP error of a packet of ours
		}
		now := time.Now()
		m.mu.Lock()
		m.ear.packet(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), now, m)
		m.mu.Unlock()
	}
}

func (m *media) readRTCP(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(buf)
		m.mu.Lock()
		if err != nil {
			closed := m.closed
			m.mu.Unlock()
			if closed {
				return
			}
			continue
		}
		if what := checkRTCP(buf[:n]); what != "" {
			m.ear.note("rtcp", "3550 6.1", "%s", what)
		}
		m.mu.Unlock()
	}
}

// otherPort makes m send from a port that no description names.
func (m *media) otherPort() error {
	alt, err := m.c.ports.listen(0)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.alt = alt
	m.mu.Unlock()
	m.wg.Go(func() { m.read(alt) }) // a caller that follows the source sends here
	return nil
}

// checkRTCP says what is wrong with a compound packet, "" when nothing is.
func checkRTCP(b []byte) string {
	first, cname := true, false
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 {
			return "an RTCP packet is cut short or of another version"
		}
		n := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		if n > len(b) {
			return "an RTCP packet is longer than its datagram"
		}
		kind := b[1]
		if first && kind != 200 && kind != 201 {
			return "an RTCP compound begins with neither a sender nor a receiver report"
		}
		if kind == 202 && n >= 12 && b[8] == 1 {
			cname = true
		}
		first, b = false, b[n:]
	}
	if first {
		return "an empty RTCP datagram"
	}
	if !cname {
		return "an RTCP compound has no CNAME"
	}
	return ""
}
