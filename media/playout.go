package media

import (
	"time"

	"waihu/audio"
)

// receiver turns packets into an even flow of frames. Codes lie in a ring by position: the
// packet's timestamp plus an offset that maps the far end's clock to ours. So order,
// length and number of the packets do not matter, and the same position aligns the recording.
// The offset is the shortest way that any packet of late took; what the others take longer
// is bridged by the delay.
const (
	ringSize  = 4096 // samples: half a second
	ringGrain = 8    // samples of one presence bit: 1 ms

	delayStart = 320  // samples: 40 ms
	delayMin   = 240  // 30 ms
	delayMost  = 1600 // 200 ms
	delayStep  = 80   // 10 ms

	window     = 256  // packets after which offset and delay are reviewed: about 5 s
	firstLook  = 25   // packets after which they are reviewed for the first time
	tooEarly   = 800  // samples ahead of the mapping at which it is corrected at once
	driftQuiet = 80   // drift that is corrected when it is quiet
	driftMost  = 480  // drift that is corrected at once
	quietCode  = 64   // linear level below which a moment is quiet: -54 dBFS
	jumpSlack  = 4000 // samples by which timestamps may run ahead of what sequence and time explain
	reanchor   = 5    // late packets at an even pace after which the mapping is wrong

	maxDropout  = 3000 // RFC 3550 appendix A.1
	maxMisorder = 100
)

type receiver struct {
	source source

	any     bool // something was received
	have    bool // there is a stream: what follows is valid
	ssrc    uint32
	maxSeq  uint16
	cycles  uint32 // times 2^16
	baseSeq uint32
	seen    uint64 // bit i: maxSeq-i was received
	lastTS  uint32
	lastExt int64 // lastTS without wrap-around
	soundAt int64 // when the packet of lastTS came
	lastAt  int64 // when the last packet came
	offset  int64 // position minus timestamp
	delay   int64
	late    int // late packets at an even pace in a row

	strange header // a packet that does not fit; believed when the next one fits to it
	doubt   bool

	reviewed bool
	count    int // packets in the window
	least    int64
	most     int64
	shift    int64 // correction of the offset that waits for a quiet moment
	shorten  bool  // the delay may be shortened at a quiet moment
	raised   int64 // position at which the delay last grew
	pauseTo  int64 // no sound is expected before this position: comfort noise or an event
	startPos int64
	firstPos int64

	received, expectedPrior, receivedPrior uint64  // of this SSRC
	lostBefore                             uint64  // of streams that ended
	jitter                                 float64 // in samples
	transit                                uint32
	timed                                  bool // transit is known
	maxGap                                 int64

	law     kind
	present [ringSize / ringGrain / 64]uint64
	ring    [ringSize]byte
}

func (r *receiver) init() { r.delay, r.startPos, r.firstPos = delayStart, -1, -1 }

// answered notes the beginning of media time.
func (r *receiver) answered(pos int64) {
	r.startPos = pos
	r.lastAt = 0 // a gap across the answer does not count
}

// packet takes a packet of an admitted source.
func (r *receiver) packet(s *Session, h *header, k kind, payload []byte, at int64) {
	if r.have && !r.fits(h, k, at) {
		// One packet proves nothing; the second that goes on from it begins a new stream.
		if !r.doubt || h.ssrc != r.strange.ssrc || h.seq != r.strange.seq+1 {
			r.strange, r.doubt = *h, true
			s.stats.Unknown++
			return
		}
		r.forget()
		s.stats.Resyncs++
	}
	r.doubt = false
	fresh, duplicate := r.sequence(h)
	if duplicate {
		s.stats.Duplicate++
		return
	}
	s.stats.Received++
	r.arrived(s, h, at)
	switch k {
	case kindEvent:
		r.pauseTo = s.pos + r.delay + 3*frameSamples
		s.digits.event(h, payload, s.pos)
	case kindNoise:
		r.pauseTo = 1 << 62 // until sound comes again
		r.place(s, h, fresh, at)
	default:
		q := r.place(s, h, fresh, at)
		if r.pauseTo == 1<<62 {
			r.pauseTo = q + r.delay
		}
		r.store(s, q, payload, k)
	}
}

// forget ends a stream of which the figures stay.
func (r *receiver) forget() {
	r.lostBefore += r.lost()
	r.have = false
}

// fits says whether the packet continues the stream. Events keep the timestamp of their beginning, which may lie
// behind that of sound sent at the same time.
func (r *receiver) fits(h *header, k kind, at int64) bool {
	if h.ssrc != r.ssrc {
		return false
	}
	step := int(int16(h.seq - r.maxSeq))
	if step <= -maxMisorder || step > maxDropout {
		return false
	}
	if k == kindEvent {
		return true
	}
	ts := int64(int32(h.ts - r.lastTS))
	if step <= 0 {
		return ts <= 0 && ts > -maxMisorder*480
	}
	elapsed := (at - r.soundAt) / 125000
	return ts >= 0 && ts <= max(int64(step)*480, elapsed)+jumpSlack
}

// sequence keeps the books of RFC 3550 appendix A.1.
func (r *receiver) sequence(h *header) (fresh, duplicate bool) {
	if !r.have {
		r.have, r.any = true, true
		r.ssrc, r.maxSeq, r.cycles, r.baseSeq = h.ssrc, h.seq, 0, uint32(h.seq)
		r.seen, r.received, r.expectedPrior, r.receivedPrior = 1, 1, 0, 0
		r.lastTS, r.lastExt = h.ts, int64(h.ts)
		r.jitter, r.timed, r.lastAt = 0, false, 0
		r.count, r.least, r.most, r.shift, r.late, r.reviewed = 0, 1<<62, 0, 0, 0, false
		r.offset = 1 << 62 // set by place
		return true, false
	}
	step := int(int16(h.seq - r.maxSeq))
	if step > 0 {
		if h.seq < r.maxSeq {
			r.cycles += 1 << 16
		}
		r.maxSeq = h.seq
		r.seen = r.seen<<min(step, 64) | 1
		r.received++
		return true, false
	}
	if step > -64 {
		bit := uint64(1) << -step
		if r.seen&bit != 0 {
			return false, true
		}
		r.seen |= bit
	}
	r.received++
	return false, false
}

// arrived keeps jitter and gaps. Events keep their timestamp and have no part in the jitter.
func (r *receiver) arrived(s *Session, h *header, at int64) {
	if r.lastAt != 0 && r.startPos >= 0 {
		r.maxGap = max(r.maxGap, at-r.lastAt)
	}
	if s.cur.kinds[h.pt] != kindEvent {
		transit := uint32(at/125000) - h.ts
		if r.timed {
			d := float64(int32(transit - r.transit))
			r.jitter += (max(d, -d) - r.jitter) / 16
		}
		r.timed, r.transit = true, transit
	}
	r.lastAt = max(at, 1)
	s.life = max(s.life, s.pos)
	if r.startPos >= 0 && !s.heard {
		s.heard = true
		if r.firstPos < 0 {
			s.stats.FirstRTP = max(0, samplesTime(s.position(at)-r.startPos))
		}
	}
	if r.firstPos < 0 {
		r.firstPos = s.pos
	}
}

// place maps the packet's timestamp to a position and keeps the mapping true.
func (r *receiver) place(s *Session, h *header, fresh bool, at int64) int64 {
	ext := r.lastExt + int64(int32(h.ts-r.lastTS))
	if fresh {
		r.lastTS, r.lastExt, r.soundAt = h.ts, ext, at
	}
	here := s.position(at)
	if r.offset == 1<<62 {
		r.offset = grain(here - ext)
	}
	d := here - ext - r.offset // how much longer than the shortest way it took
	if d < -tooEarly {
		r.move(grain(d)) // the mapping was made by a packet that was late
		d = here - ext - r.offset
	}
	r.least, r.most = min(r.least, d), max(r.most, d)
	if r.count++; r.count >= window || !r.reviewed && r.count >= firstLook {
		r.review()
	}
	if d > r.delay-frameSamples {
		r.tooLate(s, d, here-ext)
	} else {
		r.late = 0
	}
	return ext + r.offset
}

// tooLate makes room: by a longer delay, or by a new mapping when the stream stays late,
// such as after a pause in which the far end's timestamps stood still.
func (r *receiver) tooLate(s *Session, d, offset int64) {
	if d > delayMost {
		if r.late++; r.late >= reanchor {
			r.offset, r.late = grain(offset), 0
			r.count, r.least, r.most, r.shift = 0, 1<<62, 0, 0
			s.stats.Resyncs++
		}
		return
	}
	r.late = 0
	if s.pos-r.raised >= frameSamples || r.raised == 0 { // at most one step per frame
		r.raised = s.pos
		r.delay = min(delayMost, r.delay+min(grain(d-(r.delay-frameSamples))+delayStep, 2*delayStep))
	}
}

// review looks at the window that is full: clocks that drift apart move the mapping, spare room
// shortens the delay, both at a quiet moment.
func (r *receiver) review() {
	r.reviewed = true
	if r.least > driftQuiet || r.least < -driftQuiet/2 {
		r.shift = grain(r.least)
	}
	spare := r.delay - frameSamples - (r.most - max(r.least, 0))
	r.shorten = r.shift == 0 && spare > 2*delayStep && r.delay-delayStep >= delayMin
	r.count, r.least, r.most = 0, 1<<62, 0
}

// move shifts the mapping.
func (r *receiver) move(by int64) {
	r.offset += by
	if r.least != 1<<62 {
		r.least -= by
	}
	r.most -= by
	r.shift = 0
}

// grain rounds down to whole presence bits.
func grain(n int64) int64 { return n &^ (ringGrain - 1) }

// store puts the codes of a packet into the ring and into the recording.
func (r *receiver) store(s *Session, q int64, codes []byte, k kind) {
	if s.rec != nil {
		s.rec.put(recLeft, q-s.start, codes, k)
	}
	if r.law != k {
		r.convert(k)
	}
	from := s.pos - r.delay // the next sample to be heard
	if late := from - q; late > 0 {
		if late >= int64(len(codes)) {
			s.stats.Late++
			return
		}
		q, codes = q+late, codes[late:]
	}
	if q+int64(len(codes)) > from+ringSize {
		s.stats.Unknown++
		return
	}
	q = grain(q)
	n := copy(r.ring[q&(ringSize-1):], codes)
	copy(r.ring[:], codes[n:])
	for g := q / ringGrain; g < (q+int64(len(codes)))/ringGrain; g++ {
		i := g & (ringSize/ringGrain - 1)
		r.present[i/64] |= 1 << (i % 64)
	}
}

// convert makes the ring's codes those of another law: the far end changed its codec.
func (r *receiver) convert(k kind) {
	if r.law != kindNone {
		transcode(r.ring[:], r.ring[:], r.law, k)
	}
	r.law = k
}

// frame is the next 20 ms of sound; lost says that some of it should have come and did not.
func (r *receiver) frame(s *Session, out []int16) (lost bool) {
	if r.shift != 0 || r.shorten {
		r.settle(s)
	}
	from := s.pos - r.delay
	var whole [frameSamples]byte
	missing := 0
	for g := range int64(frameSamples / ringGrain) {
		i := (from/ringGrain + g) & (ringSize/ringGrain - 1)
		at := i * ringGrain
		if r.present[i/64]&(1<<(i%64)) == 0 {
			missing++
			silence(r.law, whole[g*ringGrain:][:ringGrain])
			continue
		}
		r.present[i/64] &^= 1 << (i % 64)
		copy(whole[g*ringGrain:][:ringGrain], r.ring[at:at+ringGrain])
	}
	if r.law == kindPCMU {
		audio.DecodeULaw(out, whole[:])
	} else {
		audio.DecodeALaw(out, whole[:])
	}
	if missing == frameSamples/ringGrain {
		clear(out)
	}
	// nothing is missing before the first packet could be heard, nor while the far end holds the call
	lost = missing > 0 && r.any && s.cur.expected && from > r.firstPos && s.pos >= r.pauseTo && !s.digits.sounding(s.pos)
	if lost && s.start >= 0 {
		s.stats.Underruns++
	}
	return lost
}

// settle moves the mapping or shortens the delay when nobody hears it; a mapping that is far off does not wait.
func (r *receiver) settle(s *Session) {
	if r.shift < driftMost && r.shift > -driftMost && !r.quiet(s) {
		return
	}
	if r.shift != 0 {
		r.move(r.shift)
		if r.pauseTo < 1<<62 {
			r.pauseTo = s.pos + r.delay + 2*frameSamples // the seam is no loss
		}
		return
	}
	r.shorten = false
	r.discard(s.pos-r.delay, s.pos-r.delay+delayStep)
	r.delay -= delayStep
}

// discard empties the ring between two positions.
func (r *receiver) discard(from, to int64) {
	for g := from / ringGrain; g < to/ringGrain && g < from/ringGrain+ringSize/ringGrain; g++ {
		i := g & (ringSize/ringGrain - 1)
		r.present[i/64] &^= 1 << (i % 64)
	}
}

// quiet says whether what was just received is near silence.
func (r *receiver) quiet(s *Session) bool {
	var pcm [ringGrain]int16
	at := ((s.pos - r.delay) / ringGrain * ringGrain) & (ringSize - 1)
	if r.law == kindPCMU {
		audio.DecodeULaw(pcm[:], r.ring[at:at+ringGrain])
	} else {
		audio.DecodeALaw(pcm[:], r.ring[at:at+ringGrain])
	}
	for _, v := range pcm {
		if v > quietCode || v < -quietCode {
			return false
		}
	}
	return true
}

// expected and lost are by sequence numbers of the present stream.
func (r *receiver) expected() uint64 {
	if !r.have {
		return 0
	}
	return uint64(r.cycles+uint32(r.maxSeq)-r.baseSeq) + 1
}

func (r *receiver) lost() uint64 {
	if e := r.expected(); e > r.received {
		return e - r.received
	}
	return 0
}

func (r *receiver) report(st *Stats) {
	st.Lost = r.lostBefore + r.lost()
	st.Jitter = time.Duration(r.jitter * float64(time.Second) / 8000)
	st.MaxGap = time.Duration(r.maxGap)
}

// alawToULaw and ulawToALaw go by way of the linear samples.
var alawToULaw, ulawToALaw = func() (au, ua [256]byte) {
	var all [256]byte
	var pcm [256]int16
	for i := range all {
		all[i] = byte(i)
	}
	audio.DecodeALaw(pcm[:], all[:])
	audio.EncodeULaw(au[:], pcm[:])
	audio.DecodeULaw(pcm[:], all[:])
	audio.EncodeALaw(ua[:], pcm[:])
	return au, ua
}()

// transcode copies src to dst in another law; they may be the same slice.
func transcode(dst, src []byte, from, to kind) {
	table := &alawToULaw
	switch {
	case from == to:
		copy(dst, src)
		return
	case from == kindPCMU:
		table = &ulawToALaw
	}
	for i, c := range src {
		dst[i] = table[c]
	}
}
