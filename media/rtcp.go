package media

import (
	"encoding/binary"
	"time"
)

// RTCP packet types (RFC 3550 section 12.1).
const (
	rtcpSR   = 200
	rtcpRR   = 201
	rtcpSDES = 202
	rtcpBYE  = 203

	controlInterval = 5 * time.Second // half to one and a half of it by chance
	ntpEpoch        = 2208988800      // seconds from 1900 to 1970
)

// control is a session's RTCP.
type control struct {
	target  target
	learned bool // the far end's RTCP came from target
	ticks   int
	next    int64 // position at which to report
	random  uint64

	lastSR     uint32 // middle 32 bits of the far end's last SR
	lastSRAt   int64  // when it came
	lastSSRC   uint32
	rtt        time.Duration
	remoteLost float64
	said       bool // a report was sent
	buf        [128]byte
}

// reportControl sends a report when it is time.
func (s *Session) reportControl(c *clock) {
	if s.pos < s.ctl.next || s.cur == nil || !s.ctl.target.ap.IsValid() {
		return
	}
	begin := s.ctl.next == 0
	// xorshift: spread enough that calls which began together do not report together
	s.ctl.random ^= s.ctl.random << 13
	s.ctl.random ^= s.ctl.random >> 7
	s.ctl.random ^= s.ctl.random << 17
	s.ctl.next = s.pos + 8*(controlInterval/2+time.Duration(s.ctl.random%uint64(controlInterval))).Milliseconds()
	if begin || s.tx.sent == 0 && !s.rx.have {
		return
	}
	s.sendReport(c.slot*int64(slotLength), false)
}

// sayBye ends the RTP session as RFC 3550 section 6.3.7 wants it, where reports were sent.
func (s *Session) sayBye() {
	if s.cur != nil && s.ctl.target.ap.IsValid() && s.tx.sent > 0 {
		s.sendReport(mono(), true)
	}
}

// sendReport sends SR or RR, SDES and perhaps BYE in one compound packet.
func (s *Session) sendReport(now int64, bye bool) {
	b := s.ctl.buf[:0]
	be := binary.BigEndian
	blocks := byte(0)
	if s.rx.have {
		blocks = 1
	}
	words := 1 + 6*int(blocks)
	typ := byte(rtcpRR)
	if s.tx.sent > 0 {
		typ, words = rtcpSR, words+5
	}
	b = append(b, 2<<6|blocks, typ)
	b = be.AppendUint16(b, uint16(words))
	b = be.AppendUint32(b, s.tx.ssrc)
	if typ == rtcpSR {
		sec, frac := ntp(base.Add(time.Duration(now)))
		b = be.AppendUint32(b, sec)
		b = be.AppendUint32(b, frac)
		b = be.AppendUint32(b, s.tx.base+uint32(s.position(now)))
		b = be.AppendUint32(b, uint32(s.tx.sent))
		b = be.AppendUint32(b, uint32(s.tx.octets))
	}
	if blocks == 1 {
		b = s.rx.block(b, &s.ctl, now)
	}
	b = s.appendName(b)
	if bye {
		b = append(b, 2<<6|1, rtcpBYE, 0, 1)
		b = be.AppendUint32(b, s.tx.ssrc)
	}
	s.rtcp.send(b, &s.ctl.target)
	s.ctl.said = true
}

// appendName appends SDES with the canonical name.
func (s *Session) appendName(b []byte) []byte {
	at := len(b)
	b = append(b, 2<<6|1, rtcpSDES, 0, 0)
	b = binary.BigEndian.AppendUint32(b, s.tx.ssrc)
	b = append(b, 1, byte(len(s.cname)))
	b = append(b, s.cname...)
	b = append(b, 0) // end of the chunk, filled up to a word
	for (len(b)-at)%4 != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[at+2:], uint16((len(b)-at)/4-1))
	return b
}

// ntp is a time in the form of RFC 3550 section 4.
func ntp(t time.Time) (sec, frac uint32) {
	return uint32(t.Unix() + ntpEpoch), uint32((uint64(t.Nanosecond()) << 32) / uint64(time.Second))
}

// block appends the reception report (RFC 3550 section 6.4.1 and appendix A.3).
func (r *receiver) block(b []byte, ctl *control, now int64) []byte {
	be := binary.BigEndian
	expected, received := r.expected(), r.received
	lost := max(-1<<23, min(1<<23-1, int64(expected)-int64(received)))
	fraction := uint32(0)
	if de, dr := int64(expected-r.expectedPrior), int64(received-r.receivedPrior); de > 0 && de > dr {
		fraction = uint32((de - dr) << 8 / de)
	}
	r.expectedPrior, r.receivedPrior = expected, received
	b = be.AppendUint32(b, r.ssrc)
	b = be.AppendUint32(b, min(fraction, 255)<<24|uint32(lost)&0xFFFFFF)
	b = be.AppendUint32(b, r.cycles+uint32(r.maxSeq))
	b = be.AppendUint32(b, uint32(r.jitter))
	last, since := uint32(0), uint32(0)
	if ctl.lastSR != 0 && ctl.lastSSRC == r.ssrc {
		last = ctl.lastSR
		since = uint32((now - ctl.lastSRAt) * 65536 / int64(time.Second))
	}
	b = be.AppendUint32(b, last)
	return be.AppendUint32(b, since)
}

// read takes a compound packet; false when it is none. All lengths are the far end's word and are checked.
func (ctl *control) read(s *Session, b []byte, at int64) bool {
	if !isRTCP(b) {
		return false
	}
	for len(b) >= 8 && b[0]>>6 == 2 {
		size := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		if size < 8 || size > len(b) {
			return false
		}
		p, count := b[:size], int(b[0]&0x1F)
		switch b[1] {
		case rtcpSR:
			if len(p) >= 28 {
				ctl.lastSSRC = binary.BigEndian.Uint32(p[4:])
				ctl.lastSR = binary.BigEndian.Uint32(p[10:])
				ctl.lastSRAt = at
				ctl.blocks(s, p[28:], count, at)
			}
		case rtcpRR:
			ctl.blocks(s, p[8:], count, at)
		}
		b = b[size:]
	}
	return true
}

// blocks looks for what the far end says of us.
func (ctl *control) blocks(s *Session, b []byte, count int, at int64) {
	for ; count > 0 && len(b) >= 24; count, b = count-1, b[24:] {
		if binary.BigEndian.Uint32(b) != s.tx.ssrc {
			continue
		}
		ctl.remoteLost = float64(b[4]) / 256
		last, since := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
		if last == 0 {
			continue
		}
		sec, frac := ntp(base.Add(time.Duration(at)))
		rtt := int32(sec<<16|frac>>16) - int32(last) - int32(since)
		if rtt >= 0 && rtt < 60<<16 {
			ctl.rtt = time.Duration(rtt) * time.Second / 65536
		}
	}
}
