package audio

import "math"

// The detector splits a frame into five bands with a tree of half-band all-pass
// filters, follows each band's background in the logarithm (mean and spread), and
// weighs how far the frame stands out. An onset must be carried by a voice (a pitch
// in 71-400 Hz found in the band below 1 kHz) or, once the background is known,
// by plain energy; energy that stays flat and without pitch for long is background after all.
const (
	vadBands      = 5    // 0-500, 500-1k, 1-2k, 2-3k, 3-4 kHz
	vadFloor      = -62  // dBFS: assumed background of a band before any is known
	vadAbsolute   = -48  // dBFS: nothing softer is speech
	vadSpread     = 1.5  // dB: least spread of a band's background
	vadSpreadMost = 4    // dB: greatest
	vadOn         = 3.2  // mean weighted excess, in spreads, that is active
	vadHang       = 9    // frames that speech outlives its last active frame: 180 ms bridge stops between syllables
	vadKnown      = 10   // frames of background after which it counts as known
	vadVoiced     = 0.62 // normalised autocorrelation of a voiced frame
	vadSteady     = 30   // frames: flat and unvoiced for so long is background
	vadFlat       = 2.2  // dB: greatest mean change from frame to frame that is flat
	vadPitchMin   = 5    // lags at 2 kHz: 400 Hz
	vadPitchMax   = 28   // 71 Hz
	vadPitchLen   = 80   // samples at 2 kHz that are looked at: two frames
)

// The top band carries hiss, sibilants and the subtitle modem, hardly ever a voice alone.
var vadWeight = [vadBands]float32{1, 1.2, 1.2, 0.8, 0.3}

// VAD tells speech from background in one stream at 8 kHz. The zero value is ready.
// It says so within 60 ms of an onset and holds on for 180 ms after the end.
// Lost frames are best not fed.
type VAD struct {
	hp     [2]float32 // high-pass state
	split  [4]halfband
	mean   [vadBands]float32
	spread [vadBands]float32
	last   [vadBands]float32
	low    [vadPitchLen]float32 // the band below 1 kHz at 2 kHz, two frames
	known  int                  // frames of background seen
	active int                  // active frames in a row, with small gaps
	voiced int
	steady int
	flat   float32 // smoothed change from frame to frame
	hang   int
	speech bool
	level  float64
	begun  bool
	buf    [FrameSamples]float32
	lo, hi [FrameSamples / 2]float32
	q      [4][FrameSamples / 4]float32
}

// Frame takes the next FrameSamples samples and says whether there is speech.
func (v *VAD) Frame(pcm []int16) bool {
	if len(pcm) < FrameSamples {
		return v.speech
	}
	v.level = Level(pcm[:FrameSamples])
	e := v.bands(pcm)
	if !v.begun {
		v.begun = true
		v.last = e
		for k := range v.mean {
			v.mean[k], v.spread[k] = vadFloor, 3
		}
	}
	var excess, most, weight, change float32
	for k := range e {
		x := (e[k] - v.mean[k]) / max(v.spread[k]*1.6, 2.5)
		excess += vadWeight[k] * min(max(x, -2), 12)
		weight += vadWeight[k]
		most = max(most, vadWeight[k]*x)
		change += abs32(e[k] - v.last[k])
	}
	v.last = e
	v.flat += (change/vadBands - v.flat) * 0.15
	excess /= weight
	active := excess > vadOn && v.level > vadAbsolute
	voiced := false
	if active || most > vadOn && v.level > vadAbsolute {
		voiced = v.periodicity() > vadVoiced
		active = active || voiced // a voice may stand out in one band only
	}
	v.decide(active, voiced)
	v.learn(&e, active)
	return v.speech
}

// Speech repeats what the last Frame said.
func (v *VAD) Speech() bool { return v.speech }

// Level is the last frame's level in dBFS.
func (v *VAD) Level() float64 { return v.level }

func (v *VAD) decide(active, voiced bool) {
	if !active {
		v.active, v.voiced = max(0, v.active-1), max(0, v.voiced-1)
		v.steady = 0
		if v.hang > 0 {
			v.hang--
		}
		if v.hang == 0 {
			v.speech = false
		}
		return
	}
	v.active++
	if voiced {
		v.voiced++
		v.steady = 0
	} else if v.flat < vadFlat {
		v.steady++
	}
	if v.steady >= vadSteady {
		v.speech, v.hang = false, 0
		return
	}
	if !v.speech {
		v.speech = v.voiced >= 2 || v.known >= vadKnown && v.active >= 3
	}
	if v.speech {
		v.hang = vadHang
	}
}

// learn follows the background: quickly down, normally while nothing is active, and at
// once when a flat sound has lasted.
func (v *VAD) learn(e *[vadBands]float32, active bool) {
	if (active || v.speech) && v.steady < vadSteady {
		for k := range e { // a creeping rise, so that no level can lock the detector for ever
			if e[k] > v.mean[k] {
				v.mean[k] += 0.02
			}
		}
		return
	}
	rate := float32(0.08)
	if v.known < vadKnown || v.steady >= vadSteady {
		rate = 0.3
	}
	for k := range e {
		d := e[k] - v.mean[k]
		r := rate
		if d < 0 {
			r = max(rate, 0.15)
		}
		v.mean[k] += r * d
		v.spread[k] += 0.05 * (abs32(d)*1.25 - v.spread[k])
		v.spread[k] = min(max(v.spread[k], vadSpread), vadSpreadMost)
	}
	v.known++
}

// bands are the levels of the frame's bands in dBFS.
func (v *VAD) bands(pcm []int16) (e [vadBands]float32) {
	// first-order high-pass at 100 Hz: no DC, less hum
	x1, y1 := v.hp[0], v.hp[1]
	for i, s := range pcm[:FrameSamples] {
		x := float32(s)
		y1 = x - x1 + 0.924*y1
		x1 = x
		v.buf[i] = y1
	}
	v.hp[0], v.hp[1] = x1, y1
	v.split[0].run(v.lo[:], v.hi[:], v.buf[:])    // 0-2k, 2-4k
	v.split[1].run(v.q[0][:], v.q[1][:], v.lo[:]) // 0-1k, 1-2k
	v.split[2].run(v.q[2][:], v.q[3][:], v.hi[:]) // the high half is mirrored: 3-4k, then 2-3k
	copy(v.low[:], v.low[vadPitchLen/2:])         // keep the frame before
	copy(v.low[vadPitchLen/2:], v.q[0][:])        // and this one
	var b0, b1 [FrameSamples / 8]float32          // 0-500, 500-1k
	v.split[3].run(b0[:], b1[:], v.q[0][:])
	e[0], e[1] = decibels(b0[:]), decibels(b1[:])
	e[2], e[3], e[4] = decibels(v.q[1][:]), decibels(v.q[3][:]), decibels(v.q[2][:])
	return e
}

// periodicity is the greatest normalised autocorrelation at an inner peak of the pitch range.
func (v *VAD) periodicity() float32 {
	const n = vadPitchLen - vadPitchMax - 1
	tail := v.low[vadPitchLen-n:]
	var e0 float32
	for _, s := range tail {
		e0 += s * s
	}
	var c [vadPitchMax - vadPitchMin + 3]float32 // one lag more at both ends
	for i := range c {
		lag := vadPitchMin - 1 + i
		var xy, yy float32
		head := v.low[vadPitchLen-n-lag:][:n]
		for k, s := range tail {
			xy += s * head[k]
			yy += head[k] * head[k]
		}
		if xy > 0 {
			c[i] = xy / float32(math.Sqrt(float64(e0*yy)+1))
		}
	}
	var best float32
	for i := 1; i < len(c)-1; i++ {
		if c[i] >= c[i-1] && c[i] >= c[i+1] {
			best = max(best, c[i])
		}
	}
	return best
}

// halfband is a pair of first-order all-pass filters in polyphase form: sum and
// difference are the lower and the upper half of the band at half the rate.
type halfband struct{ x0, y0, x1, y1 float32 }

func (h *halfband) run(low, high, in []float32) {
	const a0, a1 = 0.1413, 0.5898 // elliptic half-band of order 5, about 35 dB
	for i := range low {
		// y = a*(x - y') + x'
		even, odd := in[2*i], in[2*i+1]
		p := a1*(even-h.y1) + h.x1
		h.x1, h.y1 = even, p
		q := a0*(odd-h.y0) + h.x0
		h.x0, h.y0 = odd, q
		low[i], high[i] = (q+p)/2, (q-p)/2
	}
}

func decibels(b []float32) float32 {
	var sum float32
	for _, s := range b {
		sum += s * s
	}
	return 10 * float32(math.Log10(float64(sum/float32(len(b)))/(32768*32768)+1e-10))
}

func abs32(x float32) float32 {
	if x < 0 {
		return -x
	}
	return x
}
