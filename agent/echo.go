package agent

import "math"

// The echo guard answers one question: is what comes in our own sound of the last
// 500 ms? It compares at 2 kHz (speech has its strength below 1 kHz, and it is a
// sixteenth of the work) with the pitch's dominance filtered out: a window of 200 ms of
// what was received against every delay of what was sent. Another voice may resemble ours
// for a moment, at changing delays; an echo has one delay. So a delay is learned when five frames agree
// on it, and from then on what is alike at that delay is echo. It runs only while the callee
// seems to speak over or shortly after our own sound: some 0.1 ms for such a frame until
// a delay is known (BenchmarkFrameUnderEcho), a tenth of that afterwards.
const (
	echoDecimate = 4
	echoRate     = sampleRate / echoDecimate
	echoFrame    = FrameSamples / echoDecimate // 40
	echoWindow   = 200 * echoRate / 1000       // 400
	echoDelays   = 500 * echoRate / 1000       // 1000
	echoFlat     = echoDelays + echoWindow
	echoRing     = 2048 // of ours: holds delays and window; a power of two
	echoGot      = 512  // of theirs: holds the window
	echoAlike    = 0.6  // of 1; an echo at -20 dB beside line noise gives more than 0.9
	echoDrift    = 1    // steps of 0.5 ms by which frames may disagree
	echoLearn    = 5    // frames that must agree
	echoWhiten   = 0.95 // of the sample before, taken away
)

type echoGuard struct {
	sent              [echoRing]float32 // decimated and whitened, as all here
	got               [echoGot]float32
	n                 int64   // samples in both rings
	lastSent, lastGot float32 // for the whitening
	lastSound         int64   // of ours, in samples; 0: never

	known  int // the delay of the line's echo, -1 while none was found
	maybe  int // the delay that the last frame found
	agreed int // frames in a row that found it
	sure   int // frames for which a found echo is still believed
	flat   [echoFlat]float32
	win    [echoWindow]float32
}

func newEchoGuard() echoGuard { return echoGuard{known: -1} }

// frame takes what was received in a frame (see heard) and what was sent in the same.
func (e *echoGuard) frame(in, out []int16, spoke bool) {
	for i := range echoFrame {
		at := e.n + int64(i)
		g, s := quarter(in, i), quarter(out, i)
		e.got[at&(echoGot-1)], e.lastGot = g-echoWhiten*e.lastGot, g
		e.sent[at&(echoRing-1)], e.lastSent = s-echoWhiten*e.lastSent, s
	}
	e.n += echoFrame
	if spoke {
		e.lastSound = e.n
	}
}

// quarter is sample i of a frame at 2 kHz.
func quarter(pcm []int16, i int) float32 {
	if i *= echoDecimate; i+echoDecimate <= len(pcm) {
		return float32(int(pcm[i]) + int(pcm[i+1]) + int(pcm[i+2]) + int(pcm[i+3]))
	}
	return 0
}

// heard judges the frame in, which is about to be given to frame: is it an echo?
// speech says that it sounds like speech at all; without it nothing is computed.
func (e *echoGuard) heard(in []int16, speech bool) bool {
	if e.lastSound == 0 || e.n-e.lastSound > echoFlat {
		e.agreed, e.sure = 0, 0
		return false
	}
	if !speech {
		e.agreed = 0
		e.sure = max(0, e.sure-1)
		return false
	}
	energy := e.gather(in)
	if e.known >= 0 {
		if _, alike := e.correlate(energy, e.known-2*echoDrift, e.known+2*echoDrift); alike >= echoAlike {
			e.sure = 3 // bridges the frames in which one sound changes to the next
			return true
		}
	}
	delay, alike := e.correlate(energy, 0, echoDelays)
	switch {
	case alike < echoAlike:
		e.agreed = 0
	case e.agreed > 0 && abs(delay-e.maybe) <= echoDrift:
		e.agreed++
	default:
		e.agreed = 1
	}
	e.maybe = delay
	if e.agreed >= echoLearn {
		e.known, e.sure = delay, 3
		return true
	}
	e.sure = max(0, e.sure-1)
	return e.sure > 0
}

func abs(v int) int { return max(v, -v) }

// gather lays out the received window, in included, and what was sent, oldest first, and
// gives the window's energy. The received window ends one frame after what was sent, so
// a delay below 20 ms cannot be seen: nothing comes back from a network that fast.
func (e *echoGuard) gather(in []int16) (energy float64) {
	const past = echoWindow - echoFrame
	for i := range past {
		e.win[i] = e.got[(e.n-past+int64(i))&(echoGot-1)]
	}
	last := e.lastGot
	for i := range echoFrame {
		g := quarter(in, i)
		e.win[past+i] = g - echoWhiten*last
		last = g
	}
	for _, v := range e.win {
		energy += float64(v * v)
	}
	for i := range e.flat {
		e.flat[i] = e.sent[(e.n-echoFlat+int64(i))&(echoRing-1)]
	}
	return energy
}

// correlate finds the delay between from and to (in steps of 0.5 ms, beyond the 20 ms) at which our own sound
// is most like the received window, and how much, of 1.
func (e *echoGuard) correlate(energy float64, from, to int) (delay int, alike float64) {
	if energy < 1 {
		return 0, 0
	}
	from, to = max(0, from), min(to, echoDelays)
	own := float32(0) // energy of our part, moved along with it
	for d := to; d >= from; d-- {
		at := echoFlat - echoWindow - d
		part := e.flat[at:][:echoWindow]
		if d == to {
			for _, v := range part {
				own += v * v
			}
		} else {
			old, last := e.flat[at-1], part[echoWindow-1]
			own += last*last - old*old
		}
		if float64(own) < energy*1e-3 || own < 1e3 { // an echo is not 30 dB louder than its source
			continue
		}
		if c := math.Abs(float64(dot(e.win[:], part))) / math.Sqrt(energy*float64(own)); c > alike {
			alike, delay = c, d
		}
	}
	return delay, alike
}

// dot is the inner product; four sums keep the processor's adders busy.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	for len(a) >= 4 && len(b) >= 4 {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		a, b = a[4:], b[4:]
	}
	return s0 + s1 + s2 + s3
}
