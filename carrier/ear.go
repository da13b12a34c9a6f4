package carrier

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/rtp"

	"waihu/audio"
)

const digits = "0123456789*#ABCD"

// ear hears what the caller sends and judges its RTP. Guarded by the media's mu.
type ear struct {
	vad    audio.VAD
	modem  *audio.ModemDecoder
	dtmf   audio.DTMFDetector
	inBand bool // digits can only come as tones
	codecs []int
	event  int // payload type of digits in our description; -1: none
	from   netip.AddrPort
	agreed bool
	header rtp.Header
	pcm    [maxPayload * 4]int16
	part   [audio.FrameSamples]int16 // the frame that is being filled
	fill   int
	echo   *echo
	issues []issue
	digits []byte

	// the stream
	begun    bool
	ssrc     uint32
	seq      uint16
	ts       uint32 // of the last audio packet
	samples  uint32 // in the last audio packet
	ts0      uint32
	at0, at  time.Time
	driftAt  time.Time // since when timestamps and time have parted
	packets  int
	lost     int
	marks    int
	maxGap   time.Duration
	lateAt   time.Time // last packet that came when the call was long over
	late     int
	eventTS  uint32
	eventOn  bool
	eventEnd bool
	eventDur uint16

	// the caller's voice, counted in frames of 20 ms
	speaking   bool
	speech     int // all speech
	turns      int
	run        int // length of the present stretch of speech
	quiet      int // frames since it ended
	sinceSpeak int // speech since the callee's last step
}

// issue is a broken rule of RTP that waits for the end of the call.
type issue struct{ rule, rfc, what string }

// Limits of what still counts as one machine's noise.
const (
	// rtpGrace is how long after a call's end packets may still be under way.
	rtpGrace = 500 * time.Millisecond
	// lateFew packets after the grace are no stream.
	lateFew = 5
	// maxDrift is how far timestamps and time may part, and for how long, before it is logic.
	maxDrift     = time.Second
	driftAtLeast = 50 // packets
	maxIssues    = 20
	// modemHeard: no subtitle can be read in softer frames, so they are not searched for one.
	modemHeard = -50 // dBFS
)

func (e *ear) init() {
	e.modem = audio.NewModemDecoder()
	e.event = -1
	e.quiet = 1 << 20
}

// note keeps a broken rule, each once.
func (e *ear) note(rule, rfc, format string, args ...any) {
	if len(e.issues) < maxIssues && !slices.ContainsFunc(e.issues, func(i issue) bool { return i.rule == rule }) {
		e.issues = append(e.issues, issue{rule, rfc, fmt.Sprintf(format, args...)})
	}
}

// expect says what our description allows and where the caller's packets come from.
func (e *ear) expect(ours local, from netip.AddrPort) {
	e.codecs = append(e.codecs[:0], ours.codecs...)
	e.event = ours.event
	e.inBand = ours.event < 0
	e.from, e.agreed = from, true
}

// packet takes one datagram. It allocates nothing unless a rule is broken.
func (e *ear) packet(b []byte, from netip.AddrPort, now time.Time, m *media) {
	if len(b) < rtpHeader || b[0]>>6 != 2 {
		e.note("rtp-version", "3550 5.1", "a datagram of %d bytes on the RTP port is no RTP", len(b))
		return
	}
	if e.agreed && from != e.from && b[1] >= 192 && b[1] <= 223 {
		// RTCP (RFC 5761 section 4) of somebody else: the last words of a caller that died, towards a port
		// that the kernel has given to this call since.
		return
	}
	n, err := e.header.Unmarshal(b)
	if err != nil {
		e.note("rtp-version", "3550 5.1", "an RTP header cannot be read: %v", err)
		return
	}
	payload := b[n:]
	if e.header.Padding && len(payload) > 0 {
		if pad := int(payload[len(payload)-1]); pad > 0 && pad <= len(payload) {
			payload = payload[:len(payload)-pad]
		}
	}
	if !m.stopAt.IsZero() && now.Sub(m.stopAt) > rtpGrace {
		e.late++
		e.lateAt = now
		return
	}
	if e.agreed && from != e.from {
		e.note("rtp-source", "4961 4", "RTP comes from port %d: port %d of the description was expected", from.Port(), e.from.Port())
	}
	pt := int(e.header.PayloadType)
	e.sequence(pt, now)
	switch {
	case slices.Contains(e.codecs, pt):
		e.audio(pt, payload, m)
	case pt == e.event && e.event >= 0:
		e.digit(payload)
	case pt == 13: // comfort noise, RFC 3389
	case e.agreed:
		e.note("rtp-payload", "3264 6.1", "RTP has payload type %d, which the carrier's description does not hold", pt)
	}
}

// sequence follows sequence numbers, source and arrival.
func (e *ear) sequence(pt int, now time.Time) {
	h := &e.header
	e.packets++
	if h.Marker && !(e.samples > 0 && h.Timestamp-e.ts > e.samples) { // after a pause it says just that
		e.marks++
	}
	if !e.begun {
		e.begun, e.ssrc, e.seq, e.at0, e.at = true, h.SSRC, h.SequenceNumber, now, now
		e.ts0, e.ts, e.samples = h.Timestamp, h.Timestamp, 0
		return
	}
	if gap := now.Sub(e.at); gap > e.maxGap {
		e.maxGap = gap
	}
	e.at = now
	if h.SSRC != e.ssrc {
		e.note("rtp-ssrc", "3550 8", "the SSRC changed within a stream, %d packets after its begin", e.packets-1)
		e.ssrc, e.seq, e.ts, e.samples = h.SSRC, h.SequenceNumber, h.Timestamp, 0
		e.ts0, e.at0 = h.Timestamp, now
		return
	}
	step := int16(h.SequenceNumber - e.seq)
	e.seq = h.SequenceNumber
	switch {
	case step == 1:
	case step <= 0:
		e.note("rtp-sequence", "3550 5.1", "the sequence number went %d at packet %d: 1 was expected", step, e.packets)
	default:
		// A packet that was lost has taken its time with it; a number that was skipped has not.
		passed := h.Timestamp - e.ts
		if e.samples > 0 && pt != e.event && passed < uint32(step)*e.samples {
			e.note("rtp-sequence", "3550 5.1", "the sequence number went up by %d at packet %d and the timestamp by %d only: no packets were lost, numbers were skipped",
				step, e.packets, passed)
		}
		e.lost += int(step) - 1
	}
}

func (e *ear) audio(pt int, payload []byte, m *media) {
	n := uint32(len(payload))
	if n == 0 || len(payload) > len(e.pcm) {
		e.note("rtp-length", "3551 4.5.14", "a G.711 packet has %d bytes", len(payload))
		return
	}
	ts := e.header.Timestamp
	if e.samples > 0 {
		if passed := int32(ts - e.ts); passed < int32(e.samples) {
			e.note("rtp-timestamp", "3550 5.1", "the timestamp went up by %d after a packet of %d samples", passed, e.samples)
		}
	}
	e.ts, e.samples = ts, n
	e.clock(ts)
	pcm := e.pcm[:n]
	if pt == ptPCMU {
		audio.DecodeULaw(pcm, payload)
	} else {
		audio.DecodeALaw(pcm, payload)
	}
	if e.echo != nil {
		e.echo.write(pcm)
	}
	for len(pcm) > 0 {
		c := copy(e.part[e.fill:], pcm)
		pcm = pcm[c:]
		if e.fill += c; e.fill == len(e.part) {
			e.fill = 0
			e.hear()
		}
	}
}

// clock compares timestamps with time. A machine that stalls reads packets late and then
// many at once, so only what lasts counts, and the first packets may set the begin.
func (e *ear) clock(ts uint32) {
	media := time.Duration(int64(int32(ts-e.ts0))) * time.Second / audio.SampleRate
	if e.packets < driftAtLeast {
		if begin := e.at.Add(-media); begin.Before(e.at0) {
			e.at0 = begin
		}
		return
	}
	wall := e.at.Sub(e.at0)
	d := media - wall
	if d.Abs() <= maxDrift || d.Abs() <= wall/10 {
		e.driftAt = time.Time{}
		return
	}
	if e.driftAt.IsZero() {
		e.driftAt = e.at
	} else if e.at.Sub(e.driftAt) >= maxDrift {
		e.note("rtp-clock", "3550 5.1", "timestamps ran %v ahead of time within %v", d.Round(time.Millisecond), wall.Round(time.Millisecond))
	}
}

// hear takes one whole frame of the caller's sound.
func (e *ear) hear() {
	if e.inBand {
		if d := e.dtmf.Frame(e.part[:]); d != 0 {
			e.digits = append(e.digits, d)
		}
	}
	was := e.speaking
	e.speaking = e.vad.Frame(e.part[:])
	if e.vad.Level() > modemHeard && len(e.modem.Frame(e.part[:], false)) > 0 {
		e.note("modem-tone", "none, house rule", "the caller sends subtitle tones, which only simulated callees do")
	}
	switch {
	case e.speaking:
		if !was {
			e.turns++
			e.run = 0
		}
		e.speech++
		e.run++
		e.sinceSpeak++
		e.quiet = 0
	default:
		e.quiet++
	}
}

// digit takes one packet of an RFC 4733 event.
func (e *ear) digit(payload []byte) {
	if len(payload) < 4 {
		e.note("dtmf", "4733 2.3", "a telephone-event packet has %d bytes of payload", len(payload))
		return
	}
	ts, end, dur := e.header.Timestamp, payload[1]&0x80 != 0, binary.BigEndian.Uint16(payload[2:])
	if !e.eventOn || ts != e.eventTS {
		if e.eventOn && !e.eventEnd {
			e.note("dtmf-end", "4733 2.5.1.4", "an event began before the one before it had its end")
		}
		if !e.header.Marker {
			e.note("dtmf-marker", "4733 2.5.1.2", "the first packet of an event has no marker")
		}
		if int(payload[0]) < len(digits[:12]) {
			e.digits = append(e.digits, digits[payload[0]])
		} else if payload[0] < 16 {
			e.digits = append(e.digits, "ABCD"[payload[0]-12])
		}
		e.eventOn, e.eventTS, e.eventEnd, e.eventDur = true, ts, end, dur
		return
	}
	if dur < e.eventDur {
		e.note("dtmf-duration", "4733 2.5.1.2", "the duration of an event went from %d down to %d", e.eventDur, dur)
	}
	e.eventEnd, e.eventDur = e.eventEnd || end, dur
}

// judge books what was heard and what was broken, when the call is over.
func (m *media) judge(k *call, ended time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := &m.ear
	if e.late > lateFew {
		e.note("rtp-after-end", "3261 15", "%d RTP packets came more than %v after the end of the call, the last after %v",
			e.late, rtpGrace, e.lateAt.Sub(m.stopAt).Round(time.Millisecond))
	}
	if e.packets >= 50 && e.marks > e.packets/5 {
		e.note("rtp-marker", "3551 4.1", "%d of %d packets have the marker, which begins a talkspurt", e.marks, e.packets)
	}
	if limit := k.c.opt.MaxGap; limit > 0 && e.maxGap > limit {
		e.note("rtp-gap", "3550 5.1", "a pause of %v between two packets: at most %v was allowed", e.maxGap.Round(time.Millisecond), limit)
	}
	for _, i := range e.issues {
		k.find(i.rule, i.rfc, "%s", i.what)
	}
	k.c.note(k.rec, func(r *Record) {
		r.Speech += time.Duration(e.speech) * audio.FrameMS * time.Millisecond
		r.Turns += e.turns
		r.Digits += string(e.digits)
		r.Received += e.packets
		r.Lost += e.lost
		r.MaxGap = max(r.MaxGap, e.maxGap)
		r.Sent += m.sent
	})
	e.issues, e.digits = nil, nil
}

// echo gives the caller its own voice back, softer and later.
type echo struct {
	ring [4000]int16
	w, r int
	gain float64
}

func newEcho(delay time.Duration, db float64) *echo {
	e := &echo{gain: db}
	e.w = int(delay * audio.SampleRate / time.Second)
	return e
}

func (e *echo) write(pcm []int16) {
	for _, s := range pcm {
		e.ring[e.w%len(e.ring)] = s
		e.w++
	}
	if e.w-e.r > len(e.ring) {
		e.r = e.w - len(e.ring)
	}
}

// mix adds what is due to dst.
func (e *echo) mix(dst []int16) {
	var part [audio.FrameSamples]int16
	n := min(len(dst), len(part), e.w-e.r)
	for i := range n {
		part[i] = e.ring[(e.r+i)%len(e.ring)]
	}
	e.r += n
	audio.Gain(part[:n], e.gain)
	audio.Mix(dst, part[:n])
}
