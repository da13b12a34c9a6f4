package media

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"waihu/audio"
)

// keys in the order of RFC 4733's event codes.
const eventKeys = "0123456789*#ABCD"

const (
	// pressLength and pressGap are what every switch understands.
	pressLength = 100 * 8 // samples
	pressGap    = 100 * 8
	eventVolume = 10 // -10 dBm0
	eventEnds   = 3  // the last packet is sent so often
	// mergeTime is within which the same digit by another way is the same press.
	mergeTime = 300 * 8
	// eventLost is after how many samples without a packet an event counts as over.
	eventLost = 3 * frameSamples
)

// InjectDTMF tells of a digit that came by another way, such as SIP INFO. What is no digit is ignored.
func (s *Session) InjectDTMF(digit byte) {
	if digit >= 'a' && digit <= 'd' {
		digit -= 'a' - 'A'
	}
	if strings.IndexByte(eventKeys, digit) < 0 {
		return
	}
	select {
	case s.info <- digit:
	default: // sixteen unheard digits: nobody listens
	}
}

// SendDTMF presses digits one after another, 100 ms each: as RFC 4733 events where they were agreed on, else
// as tones. It returns at once. While a digit sounds the App is not heard.
func (s *Session) SendDTMF(digits string) error {
	for i := range len(digits) {
		if strings.IndexByte(eventKeys, digits[i]) < 0 {
			return fmt.Errorf("%q is not a key: 0-9, *, # or A-D was expected", digits[i])
		}
	}
	for i := range len(digits) {
		select {
		case s.keys <- digits[i]:
		default:
			return fmt.Errorf("more than %d digits wait to be pressed", cap(s.keys))
		}
	}
	return nil
}

// digits gathers what the far end presses and paces what we press.
type digits struct {
	queue  [16]byte
	n      int
	all    [maxDigits]byte // everything pressed, as far as it fits
	nAll   int
	ear    audio.DTMFDetector
	lastBy way
	last   byte
	lastAt int64

	// the event being received
	eventSSRC uint32
	eventTS   uint32
	eventAny  bool
	eventOpen bool
	eventCode byte
	eventAt   int64

	// what we press in band
	tone     byte
	toneLeft int
	phase    [2]float64
	gapLeft  int
}

// way is how a digit came.
type way byte

const (
	byEvent way = iota + 1
	byInfo
	byEar
)

// maxDigits bounds what is kept of a call's digits.
const maxDigits = 64

// press books a digit unless it is the same press by another way.
func (d *digits) press(digit byte, by way, at int64) {
	if digit == d.last && by != d.lastBy && at-d.lastAt < mergeTime {
		return
	}
	d.last, d.lastBy, d.lastAt = digit, by, at
	if d.n < len(d.queue) {
		d.queue[d.n] = digit
		d.n++
	}
	if d.nAll < maxDigits {
		d.all[d.nAll] = digit
		d.nAll++
	}
}

// event reads a telephone-event packet (RFC 4733 section 2.3). A press begins with the first packet of
// a new timestamp, marker or not; a long one goes on under a new timestamp when its duration
// is full (section 2.5.1.3).
func (d *digits) event(h *header, payload []byte, at int64) {
	if len(payload) < 4 {
		return
	}
	code, end := payload[0], payload[1]&0x80 != 0
	if int(code) >= len(eventKeys) {
		return
	}
	fresh := !d.eventAny || h.ssrc != d.eventSSRC || int32(h.ts-d.eventTS) > 0
	if fresh {
		goesOn := d.eventAny && h.ssrc == d.eventSSRC && d.eventOpen && code == d.eventCode &&
			h.ts-d.eventTS >= 0xFFFF-frameSamples && h.ts-d.eventTS <= 0xFFFF && at-d.eventAt < eventLost
		if !goesOn {
			d.press(eventKeys[code], byEvent, at)
		}
		d.eventAny, d.eventSSRC, d.eventTS, d.eventCode, d.eventOpen = true, h.ssrc, h.ts, code, true
	} else if h.ts != d.eventTS {
		return // a straggler of an older event
	}
	d.eventAt = at
	if end {
		d.eventOpen = false
	}
}

// sounding says whether an event stands for the sound at present.
func (d *digits) sounding(at int64) bool { return d.eventAny && at-d.eventAt < eventLost }

// hear listens for tones where no events were agreed on.
func (d *digits) hear(s *Session, pcm []int16) {
	for {
		select {
		case digit := <-s.info:
			d.press(digit, byInfo, s.pos)
			continue
		default:
		}
		break
	}
	if s.cur == nil || s.cur.events {
		return
	}
	if digit := d.ear.Frame(pcm); digit != 0 {
		d.press(digit, byEar, s.pos)
	}
}

// next takes the oldest digit that the App has not been told.
func (d *digits) next() byte {
	if d.n == 0 {
		return 0
	}
	digit := d.queue[0]
	copy(d.queue[:], d.queue[1:d.n])
	d.n--
	return digit
}

// pressing takes up the next digit to press, and fills out when it is pressed in band.
func (d *digits) pressing(s *Session, out []int16) bool {
	if d.toneLeft == 0 && d.gapLeft > 0 {
		d.gapLeft -= frameSamples
		clear(out)
		return true
	}
	if d.toneLeft == 0 && !s.tx.event.busy() && s.sending() {
		select {
		case digit := <-s.keys:
			if s.cur.events {
				s.tx.event.begin(digit)
			} else {
				d.tone, d.toneLeft, d.phase = digit, pressLength, [2]float64{}
			}
		default:
		}
	}
	if d.toneLeft == 0 {
		return false
	}
	d.sing(out)
	if d.toneLeft -= frameSamples; d.toneLeft == 0 {
		d.gapLeft = pressGap
	}
	return true
}

// sing is the digit's tone at -13 and -11 dBFS.
func (d *digits) sing(out []int16) {
	const low, high = 0.2239 * math.Sqrt2 * 32768, 0.2818 * math.Sqrt2 * 32768
	f1, f2 := audio.DTMFPair(d.tone)
	for i := range out {
		out[i] = int16(low*math.Sin(d.phase[0]) + high*math.Sin(d.phase[1]))
		d.phase[0] += 2 * math.Pi * f1 / audio.SampleRate
		d.phase[1] += 2 * math.Pi * f2 / audio.SampleRate
	}
}

// event is a digit being sent by RFC 4733.
type event struct {
	digit    byte // 0: none
	begun    bool
	at       int64 // position of its beginning
	duration int
	ends     int // end packets sent
	gap      int // samples until the next may begin
	last     bool
}

func (e *event) begin(digit byte) { *e = event{digit: digit} }

func (e *event) stop() { *e = event{} }

// active says that the next packet belongs to the event.
func (e *event) active() bool { return e.digit != 0 }

// busy says that no other digit may begin yet.
func (e *event) busy() bool { return e.digit != 0 || e.gap > 0 }

// ended says once that sound resumes after an event.
func (e *event) ended() bool {
	last := e.last
	e.last = false
	return last
}

// sendEvent sends the event's next packet in place of sound: one timestamp, a growing duration, the
// last one three times (RFC 4733 section 2.5.1).
func (t *sender) sendEvent(s *Session) {
	e := &t.event
	first := !e.begun
	if first {
		e.begun, e.at = true, t.at
	}
	if e.duration < pressLength {
		e.duration = min(pressLength, e.duration+t.samples)
	}
	b := t.small[:]
	h := header{pt: s.cur.eventPT, marker: first, seq: t.seq, ts: t.base + uint32(e.at), ssrc: t.ssrc}
	h.put(b)
	b[rtpHeader] = byte(strings.IndexByte(eventKeys, e.digit))
	b[rtpHeader+1] = eventVolume
	if e.duration == pressLength {
		b[rtpHeader+1] |= 0x80
		e.ends++
	}
	binary.BigEndian.PutUint16(b[rtpHeader+2:], uint16(e.duration))
	t.emit(s, b)
	if e.ends == eventEnds {
		*e = event{gap: pressGap, last: true}
	}
}
