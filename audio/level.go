package audio

import "math"

// Quiet is the level of digital silence: what Level says of nothing but zeros.
const Quiet = -96.0

// Level is the RMS level of pcm in dBFS, Quiet at least.
func Level(pcm []int16) float64 {
	if len(pcm) == 0 {
		return Quiet
	}
	var sum int64
	for _, s := range pcm {
		sum += int64(s) * int64(s)
	}
	if sum == 0 {
		return Quiet
	}
	return max(Quiet, 10*math.Log10(float64(sum)/float64(len(pcm))/(32768*32768)))
}

// Peak is the level of the loudest sample in dBFS.
func Peak(pcm []int16) float64 {
	peak := 0
	for _, s := range pcm {
		peak = max(peak, int(s), -int(s))
	}
	if peak == 0 {
		return Quiet
	}
	return 20 * math.Log10(float64(peak)/32768)
}

// Mix adds src to dst sample by sample. Sums beyond the range stay at its end instead of wrapping around.
func Mix(dst, src []int16) {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for i, s := range src {
		dst[i] = clamp(int(dst[i]) + int(s))
	}
}

// Gain multiplies pcm by db decibels with saturation.
func Gain(pcm []int16, db float64) {
	factor := int(math.Round(math.Pow(10, db/20) * 4096))
	for i, s := range pcm {
		pcm[i] = clamp((int(s)*factor + 2048) >> 12)
	}
}

func clamp(v int) int16 { return int16(max(math.MinInt16, min(math.MaxInt16, v))) }

// Tone is n samples at 8 kHz of sines at the frequencies hz, each at the RMS level
// dbfs, beginning at phase 0. Sums beyond full scale saturate.
func Tone(n int, dbfs float64, hz ...float64) []int16 {
	amplitude := math.Pow(10, dbfs/20) * math.Sqrt2 * 32768
	pcm := make([]int16, n)
	for i := range pcm {
		var v float64
		for _, f := range hz {
			v += amplitude * math.Sin(2*math.Pi*f*float64(i)/SampleRate)
		}
		pcm[i] = int16(max(-32768, min(32767, math.Round(v))))
	}
	return pcm
}
