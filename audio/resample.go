package audio

import "math"

const (
	resampleZeros  = 24   // zero crossings of the sinc on each side
	resampleBeta   = 9.0  // Kaiser window: about -90 dB outside the band
	resampleRoll   = 0.93 // pass band edge as a part of the smaller Nyquist frequency
	resamplePhases = 4096 // most phases of the table; rarer ratios take the nearest phase
)

// Resample converts a whole recording from one rate to another with a polyphase
// FIR filter (Kaiser-windowed sinc) and no delay: sample 0 stays sample 0. The
// result has len(pcm)*to/from samples, rounded up. Rates must be positive.
func Resample(pcm []int16, from, to int) []int16 {
	if from <= 0 || to <= 0 {
		panic("audio: Resample with a rate that is not positive")
	}
	if from == to {
		return append([]int16(nil), pcm...)
	}
	g := gcd(from, to)
	up, down := to/g, from/g
	phases := min(up, resamplePhases)
	taps, half := resampleTable(phases, min(1, float64(to)/float64(from)))
	width := 2 * half
	out := make([]int16, (len(pcm)*up+down-1)/down)
	for i := range out {
		// the output sample lies at input position at + phase/up
		at, rest := i*down/up, i*down%up
		table := taps[rest*phases/up*width:][:width]
		first := at - half + 1
		var sum float32
		if first >= 0 && first+width <= len(pcm) {
			for k, s := range pcm[first : first+width] {
				sum += float32(s) * table[k]
			}
		} else {
			for k, c := range table {
				if j := first + k; j >= 0 && j < len(pcm) {
					sum += float32(pcm[j]) * c
				}
			}
		}
		out[i] = clamp(int(math.Round(float64(sum))))
	}
	return out
}

// resampleTable makes the taps of every phase, 2*half each, each phase of unit gain at 0 Hz.
func resampleTable(phases int, scale float64) ([]float32, int) {
	cut := resampleRoll * scale
	half := int(math.Ceil(resampleZeros / scale))
	taps := make([]float32, phases*2*half)
	norm := bessel0(resampleBeta)
	row := make([]float64, 2*half)
	for p := range phases {
		var sum float64
		for k := range row {
			x := float64(k-half+1) - float64(p)/float64(phases)
			r := x / float64(half)
			w := bessel0(resampleBeta*math.Sqrt(max(0, 1-r*r))) / norm
			row[k] = cut * sinc(cut*x) * w
			sum += row[k]
		}
		for k, v := range row {
			taps[p*2*half+k] = float32(v / sum)
		}
	}
	return taps, half
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// bessel0 is the modified Bessel function of the first kind of order 0, by its series.
func bessel0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-12; k++ {
		term *= (x / 2 / k) * (x / 2 / k)
		sum += term
	}
	return sum
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
