package audio

import "math"

const (
	modemStep   = 4                    // samples between two looks at the tones
	stepsPerBit = modemBit / modemStep // 8
	// modemRing holds the looks of one piece and of the bit in which its sync is refined.
	modemRing = 2048
	// modemFloor is the amplitude below which there is no tone: -50 dBFS is 104;
	// the idle noise of A-law is 8.
	modemFloor = 32
	// modemWrong is how many bits of the sync word may be wrong (22 of 24 agree).
	modemWrong = 2
	// modemSyncLost is how many bits of it may be lost: one packet of 20 ms
	// touches six at most.
	modemSyncLost   = 6
	modemCandidates = 16
	// modemGone is how many of a bit's eight looks may be lost: the rest still tells the tone.
	modemGone = 4
)

// ModemDecoder finds subtitle pieces in a stream of 8 kHz samples.
//
// It correlates with the two tones without regard to phase every 4 samples,
// takes a sync word when at most 2 of its bits disagree, then samples the bits
// at a fixed step of 32. Bytes that touch a lost frame are erasures, then the
// weakest bytes, five at most; only a word that encodes again to itself is given
// out. A decoder costs about 0.12 ms per second of sound (BenchmarkModemDecoder) and
// allocates nothing.
type ModemDecoder struct {
	phase int // sample index within a bit, for the tone tables
	fill  int // samples in acc
	acc   [4]float32
	block [stepsPerBit][4]float32 // the last eight steps' sums: mark cos, sin, space cos, sin
	lossy [stepsPerBit]bool

	step  int64              // number of the look about to be written
	soft  [modemRing]float32 // mark against space, -1 to 1; 0 without a tone
	gap   [modemRing]bool    // most of the look was lost
	cand  [modemCandidates]modemCandidate
	nCand int
	out   []Piece
}

// modemCandidate is a place where a sync word may have ended.
type modemCandidate struct {
	step  int64
	score float32
}

// NewModemDecoder makes a decoder for one stream.
func NewModemDecoder() *ModemDecoder {
	return &ModemDecoder{out: make([]Piece, 0, 4)}
}

// modemTable holds cos and sin of both tones for each sample of a bit.
var modemTable = func() (t [modemBit][4]float32) {
	for i := range t {
		m := 2 * math.Pi * modemMark * float64(i) / modemBit
		s := 2 * math.Pi * modemSpace * float64(i) / modemBit
		t[i] = [4]float32{float32(math.Cos(m)), float32(math.Sin(m)), float32(math.Cos(s)), float32(math.Sin(s))}
	}
	return t
}()

// Frame takes the next samples of the stream, whatever their number, and
// returns the pieces that became complete. lost says that pcm only stands in for
// a packet that never came; its content is ignored, its length keeps the time.
// The result is valid until the next call.
func (d *ModemDecoder) Frame(pcm []int16, lost bool) []Piece {
	d.out = d.out[:0]
	for _, v := range pcm {
		if !lost {
			x, t := float32(v), &modemTable[d.phase]
			d.acc[0] += x * t[0]
			d.acc[1] += x * t[1]
			d.acc[2] += x * t[2]
			d.acc[3] += x * t[3]
		}
		d.phase = (d.phase + 1) % modemBit
		d.lossy[d.step%stepsPerBit] = d.lossy[d.step%stepsPerBit] || lost
		if d.fill++; d.fill == modemStep {
			d.look()
		}
	}
	return d.out
}

// look ends a step of 4 samples.
func (d *ModemDecoder) look() {
	d.block[d.step%stepsPerBit] = d.acc
	d.acc, d.fill = [4]float32{}, 0
	var s [4]float32
	gone := 0
	for i := range d.block {
		b := &d.block[i]
		s[0], s[1], s[2], s[3] = s[0]+b[0], s[1]+b[1], s[2]+b[2], s[3]+b[3]
		if d.lossy[i] {
			gone++
		}
	}
	mark := float32(math.Sqrt(float64(s[0]*s[0] + s[1]*s[1])))
	space := float32(math.Sqrt(float64(s[2]*s[2] + s[3]*s[3])))
	soft := float32(0)
	if mark+space > modemFloor*modemBit/2 { // a tone of amplitude a gives a*32/2
		soft = (mark - space) / (mark + space)
	}
	at := d.step % modemRing
	d.soft[at], d.gap[at] = soft, gone > modemGone
	d.sync()
	for d.nCand > 0 && d.step-d.cand[0].step >= 8*rsWord*stepsPerBit {
		c := d.cand[0]
		d.nCand--
		copy(d.cand[:], d.cand[1:1+d.nCand])
		d.read(c.step)
	}
	d.step++
	d.lossy[d.step%stepsPerBit] = false
}

// sync looks whether a sync word ends at this step.
func (d *ModemDecoder) sync() {
	wrong, gone := 0, 0
	score := float32(0)
	for b := range modemSyncBits {
		at := (d.step - int64(b*stepsPerBit)) & (modemRing - 1)
		if d.gap[at] {
			if gone++; gone > modemSyncLost {
				return
			}
			continue
		}
		v := d.soft[at]
		if modemSync>>b&1 == 0 {
			v = -v
		}
		if v <= 0 {
			if wrong++; wrong > modemWrong {
				return
			}
		}
		score += v
	}
	// Looks that are less than a bit apart see the same sync word: keep the best.
	if n := d.nCand; n > 0 && d.step-d.cand[n-1].step < stepsPerBit {
		if score > d.cand[n-1].score {
			d.cand[n-1] = modemCandidate{d.step, score}
		}
		return
	}
	if d.nCand == modemCandidates { // noise: the oldest candidate is the least likely
		copy(d.cand[:], d.cand[1:])
		d.nCand--
	}
	d.cand[d.nCand] = modemCandidate{d.step, score}
	d.nCand++
}

// read decodes the word that follows the sync word ending at step.
func (d *ModemDecoder) read(step int64) {
	var word [rsWord]byte
	var weak [rsWord]float32
	var lost [rsWord]bool
	for i := range word {
		weak[i] = math.MaxFloat32
		for b := range 8 {
			at := (step + int64((8*i+b+1)*stepsPerBit)) & (modemRing - 1)
			v := d.soft[at]
			word[i] <<= 1
			if v > 0 {
				word[i] |= 1
			}
			weak[i] = min(weak[i], max(v, -v))
			lost[i] = lost[i] || d.gap[at]
		}
	}
	var erased [rsParity]int
	n := 0
	for i := range lost {
		if lost[i] {
			if n == rsParity {
				return
			}
			erased[n] = i
			n++
		}
	}
	for {
		w := word
		if rsFill(&w, erased[:n]) {
			if p, ok := pieceOf(&w); ok {
				d.accept(p, step)
				return
			}
		}
		if n == rsParity {
			return
		}
		next := -1
		for i := range weak {
			if !lost[i] && (next < 0 || weak[i] < weak[next]) {
				next = i
			}
		}
		lost[next] = true
		erased[n] = next
		n++
	}
}

// accept gives a piece out and forgets the candidates inside it.
func (d *ModemDecoder) accept(p Piece, step int64) {
	d.out = append(d.out, p)
	end := step + 8*rsWord*stepsPerBit
	kept := d.cand[:0]
	for _, c := range d.cand[:d.nCand] {
		if c.step > end {
			kept = append(kept, c)
		}
	}
	d.nCand = len(kept)
}

// Busy says that a piece may be in the air: a sync word was seen whose piece is not
// complete, or the last look heard one tone clearly above the other.
func (d *ModemDecoder) Busy() bool {
	last := d.soft[(d.step-1)&(modemRing-1)]
	return d.nCand > 0 || last > 0.5 || last < -0.5
}
