package audio

import (
	"math"
	"math/rand/v2"
	"testing"
)

// frames runs v over pcm and returns what it said of each frame.
func (v *VAD) frames(pcm []int16) (said []bool) {
	for i := 0; i+FrameSamples <= len(pcm); i += FrameSamples {
		said = append(said, v.Frame(pcm[i:i+FrameSamples]))
	}
	return said
}

func noise(rnd *rand.Rand, n int, dbfs float64) []int16 {
	sd := math.Pow(10, dbfs/20) * 32768
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = clamp(int(math.Round(rnd.NormFloat64() * sd)))
	}
	return pcm
}

func through(pcm []int16) []int16 {
	code := make([]byte, len(pcm))
	EncodeALaw(code, pcm)
	out := make([]int16, len(pcm))
	DecodeALaw(out, code)
	return out
}

func TestVADIsQuietOnBackground(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 3))
	sounds := map[string][]int16{
		"zeros":     make([]int16, 80000),
		"A-law":     through(make([]int16, 80000)),
		"hum":       Tone(80000, -30, 50),
		"hum 100":   Tone(80000, -40, 50, 100, 150),
		"noise -65": noise(rnd, 80000, -65), "noise -50": noise(rnd, 80000, -50), "noise -40": noise(rnd, 80000, -40), "noise -30": noise(rnd, 80000, -30),
	}
	brown, last := make([]int16, 80000), 0.0
	for i := range brown { // car: most of it below 500 Hz
		last = 0.97*last + rnd.NormFloat64()*150
		brown[i] = clamp(int(last))
	}
	sounds["car"] = brown
	for name, pcm := range sounds {
		var v VAD
		for i, on := range v.frames(through(pcm)) {
			if on {
				t.Errorf("%s (%.0f dBFS): speech at %d ms", name, Level(pcm), i*FrameMS)
				break
			}
		}
	}
}

// A louder steady noise may be taken for speech for a moment, not for long.
func TestVADGetsUsedToANoise(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(4, 4))
	pcm := append(noise(rnd, 16000, -62), noise(rnd, 80000, -38)...)
	var v VAD
	said := v.frames(through(pcm))
	for i, on := range said[150:] {
		if on {
			t.Fatalf("still speech %d ms after the noise began", (i+50)*FrameMS)
		}
	}
}

func TestVADHearsSpeech(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ lead, floor, level float64 }{
		"at once on a clean line": {0, -75, -20}, "after a second": {1, -65, -20}, "soft": {1, -65, -36},
		"in noise": {2, -42, -22}, "long wait": {20, -60, -25},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(5, 5))
			lead := int(c.lead*50) * FrameSamples
			speech := spoken(rnd, 12*FrameSamples*10)
			Gain(speech, c.level-Level(speech))
			pcm := append(make([]int16, lead), speech...)
			pcm = append(pcm, make([]int16, 16000)...)
			Mix(pcm, noise(rnd, len(pcm), c.floor))
			var v VAD
			said := v.frames(through(pcm))
			on := -1
			for i, s := range said {
				if s {
					on = i
					break
				}
			}
			// the third frame of speech ends 60 ms after its beginning
			if first := lead / FrameSamples; on < first || on > first+2 {
				t.Errorf("speech that begins in frame %d is heard in frame %d", first, on)
			}
			end := (lead + len(speech)) / FrameSamples
			if !said[end-2] {
				t.Errorf("speech is lost before its end")
			}
			for i := end + vadHang + 6; i < len(said); i++ {
				if said[i] {
					t.Fatalf("still speech %d ms after the end", (i-end)*FrameMS)
				}
			}
		})
	}
}

// The carrier's callees speak in bursts of noise where no voice is installed.
func TestVADHearsBursts(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(6, 6))
	pcm := make([]int16, 16000)
	for range 5 {
		pcm = append(pcm, noise(rnd, 1600, -20)...)
		pcm = append(pcm, noise(rnd, 480, -45)...)
	}
	pcm = append(pcm, make([]int16, 8000)...)
	var v VAD
	said := v.frames(through(pcm))
	if !said[103] || !said[140] || said[len(said)-1] {
		t.Errorf("bursts are heard as %v", said[95:])
	}
}

// spoken is a synthetic voice: glottal pulses of wandering pitch through three formants, two syllables a second.
func spoken(rnd *rand.Rand, n int) []int16 {
	type pole struct{ b1, b2, y1, y2 float64 }
	mk := func(f, bw float64) pole {
		r := math.Exp(-math.Pi * bw / SampleRate)
		return pole{b1: 2 * r * math.Cos(2*math.Pi*f/SampleRate), b2: -r * r}
	}
	poles := []pole{mk(600, 90), mk(1500, 120), mk(2500, 180)}
	pcm := make([]int16, n)
	phase := 0.0
	for i := range pcm {
		at := float64(i) / SampleRate
		phase += (130 + 25*math.Sin(2*math.Pi*1.3*at)) / SampleRate
		x := rnd.NormFloat64() * 2
		if phase >= 1 {
			phase--
			x += 100
		}
		env := 0.15 + 0.85*math.Abs(math.Cos(math.Pi*2*at))
		var y float64
		for k := range poles {
			p := &poles[k]
			v := x + p.b1*p.y1 + p.b2*p.y2
			p.y2, p.y1 = p.y1, v
			y += v / float64(k+1)
		}
		pcm[i] = clamp(int(y * env * 4))
	}
	return pcm
}

func TestVADAllocatesNothing(t *testing.T) {
	pcm := Tone(FrameSamples, -20, 300)
	var v VAD
	var d DTMFDetector
	if n := testing.AllocsPerRun(100, func() { v.Frame(pcm); d.Frame(pcm) }); n != 0 {
		t.Errorf("%g allocations a frame", n)
	}
}

func BenchmarkVAD(b *testing.B) {
	pcm := noise(rand.New(rand.NewPCG(7, 7)), 80000, -50)
	Mix(pcm[40000:], spoken(rand.New(rand.NewPCG(7, 7)), 40000))
	var v VAD
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v.Frame(pcm[i%500*FrameSamples:])
	}
}
