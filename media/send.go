package media

// sender builds and paces the packets. Its timestamps are positions of the session, so that
// time goes on through silence, hold and stalls.
type sender struct {
	base   uint32 // timestamp of position 0
	seq    uint16
	ssrc   uint32
	target target

	samples int  // of a packet
	half    bool // packets leave between frames too
	beat    int  // units of 10 ms since joining
	due     int  // beat of the next packet
	begun   bool // the last frame was sent: no marker
	fill    int
	at      int64 // position of the first sample in buf
	event   event
	sent    uint64
	octets  uint64
	small   [rtpHeader + 4]byte
	buf     [rtpHeader + 480 + frameSamples]byte
}

const beatSamples = 80 // 10 ms

// adopt takes the packet length of a new flow.
func (t *sender) adopt(f *flow) {
	if !f.send {
		t.begun, t.fill = false, 0
		t.event.stop()
	}
	if t.samples != f.samples {
		t.samples, t.fill = f.samples, 0
		t.half = f.samples%frameSamples != 0
	}
}

// skip forgets what was begun before a stall.
func (t *sender) skip() { t.fill, t.begun = 0, false }

// room is where the next frame's codes go.
func (t *sender) room(s *Session) []byte {
	if t.fill+frameSamples > len(t.buf)-rtpHeader {
		t.fill = 0
	}
	if t.fill == 0 {
		t.at = s.pos
	}
	b := t.buf[rtpHeader+t.fill:][:frameSamples]
	t.fill += frameSamples
	return b
}

// pace sends the packet that is due, if its sound is complete. It is called each 10 or 20 ms.
func (t *sender) pace(s *Session) {
	if t.half {
		t.beat++
	} else {
		t.beat += 2
	}
	if t.fill < t.samples || t.fill == 0 {
		return
	}
	step := t.samples / beatSamples
	if t.begun && t.beat < t.due {
		return
	}
	if !t.begun || t.beat >= t.due+step {
		t.due = t.beat
	}
	t.due += step
	if t.event.active() {
		t.sendEvent(s)
	} else {
		t.sendAudio(s)
	}
	t.begun = true
	// what is left of the frame begins the next packet
	copy(t.buf[rtpHeader:], t.buf[rtpHeader+t.samples:rtpHeader+t.fill])
	t.fill -= t.samples
	t.at += int64(t.samples)
}

func (t *sender) sendAudio(s *Session) {
	h := header{pt: s.cur.pt, marker: !t.begun || t.event.ended(), seq: t.seq, ts: t.base + uint32(t.at), ssrc: t.ssrc}
	h.put(t.buf[:])
	t.event.gap = max(0, t.event.gap-t.samples)
	t.emit(s, t.buf[:rtpHeader+t.samples])
}

func (t *sender) emit(s *Session, b []byte) {
	t.seq++
	if !s.rtp.send(b, &t.target) {
		s.stats.SendFails++
		return
	}
	t.sent++
	t.octets += uint64(len(b) - rtpHeader)
	s.stats.Sent++
}
