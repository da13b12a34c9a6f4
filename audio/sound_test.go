package audio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestLevelAndTone(t *testing.T) {
	t.Parallel()
	if got := Level(Tone(8000, -20, 440)); math.Abs(got+20) > 0.05 {
		t.Errorf("a tone at -20 dBFS measures %.2f", got)
	}
	if got := Level(make([]int16, 160)); got != Quiet {
		t.Errorf("silence measures %.1f", got)
	}
	if got := Peak([]int16{0, -32768}); got != 0 {
		t.Errorf("the lowest sample peaks at %.2f dBFS", got)
	}
	loud := Tone(8000, -20, 440)
	Gain(loud, 6)
	if got := Level(loud); math.Abs(got+14) > 0.05 {
		t.Errorf("6 dB more is %.2f dBFS", got)
	}
}

func TestMixSaturates(t *testing.T) {
	t.Parallel()
	dst := []int16{30000, -30000, 100, 5}
	Mix(dst, []int16{10000, -10000, -300})
	if want := []int16{32767, -32768, -200, 5}; fmt.Sprint(dst) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", dst, want)
	}
}

// power is the level in dBFS of the component of pcm at hz.
func power(pcm []int16, rate int, hz float64) float64 {
	var re, im float64
	for i, s := range pcm {
		a := 2 * math.Pi * hz * float64(i) / float64(rate)
		re += float64(s) * math.Cos(a)
		im += float64(s) * math.Sin(a)
	}
	n := float64(len(pcm))
	return 10 * math.Log10(2*(re*re+im*im)/(n*n)/(32768*32768)+1e-12)
}

func tone(rate, n int, dbfs, hz float64) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(math.Round(math.Pow(10, dbfs/20) * math.Sqrt2 * 32768 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))))
	}
	return pcm
}

func TestResampleKeepsTonesAndKillsAliases(t *testing.T) {
	t.Parallel()
	for _, rates := range [][2]int{{8000, 16000}, {16000, 8000}, {24000, 8000}, {8000, 24000}, {22050, 8000}, {44100, 8000}, {48000, 8000}, {8000, 22050}, {11025, 8000}, {32000, 7993}} {
		from, to := rates[0], rates[1]
		t.Run(fmt.Sprint(from, "to", to), func(t *testing.T) {
			t.Parallel()
			for _, hz := range []float64{300, 1000, 3000, 3400} {
				in := tone(from, from, -10, hz)
				out := Resample(in, from, to)
				if want := (len(in)*to + from - 1) / from; len(out) != want {
					t.Fatalf("%d samples, want %d", len(out), want)
				}
				mid := out[to/4 : 3*to/4]
				if got := power(mid, to, hz); math.Abs(got+10) > 0.3 {
					t.Errorf("%g Hz at -10 dBFS comes out at %.2f", hz, got)
				}
				// what is left when the tone is taken out must be far below
				if noise := residue(mid, to, hz); noise > -68 {
					t.Errorf("%g Hz brings %.1f dBFS of something else", hz, noise)
				}
			}
			if from > to {
				above := float64(to)/2 + 0.15*float64(to)
				if above < float64(from)/2 {
					out := Resample(tone(from, from, -10, above), from, to)
					if got := Level(out[to/4 : 3*to/4]); got > -65 {
						t.Errorf("%g Hz leaks through at %.1f dBFS", above, got)
					}
				}
			}
		})
	}
	if out := Resample([]int16{1, 2, 3}, 8000, 8000); fmt.Sprint(out) != "[1 2 3]" {
		t.Errorf("equal rates change the samples: %v", out)
	}
	if out := Resample(nil, 8000, 16000); len(out) != 0 {
		t.Errorf("nothing becomes %v", out)
	}
}

// residue is the level of pcm without its component at hz.
func residue(pcm []int16, rate int, hz float64) float64 {
	var re, im float64
	for i, s := range pcm {
		a := 2 * math.Pi * hz * float64(i) / float64(rate)
		re += float64(s) * math.Cos(a)
		im += float64(s) * math.Sin(a)
	}
	n := float64(len(pcm))
	var sum float64
	for i, s := range pcm {
		a := 2 * math.Pi * hz * float64(i) / float64(rate)
		d := float64(s) - 2/n*(re*math.Cos(a)+im*math.Sin(a))
		sum += d * d
	}
	return 10 * math.Log10(sum/n/(32768*32768)+1e-12)
}

func TestResampleHasNoDelay(t *testing.T) {
	t.Parallel()
	in := make([]int16, 1000)
	in[500] = 20000
	out := Resample(in, 8000, 16000)
	best := 0
	for i, s := range out {
		if s > out[best] {
			best = i
		}
	}
	if best != 1000 {
		t.Errorf("the click of sample 500 is at %d, want 1000", best)
	}
}

func TestDTMFDetectorHearsAllDigits(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, digit := range []byte(dtmfDigits) {
		var d DTMFDetector
		var got []byte
		var pcm []int16
		for range 2 { // the same digit twice, 80 ms with 80 ms between
			pcm = append(pcm, make([]int16, 640)...)
			pcm = append(pcm, DTMFTone(digit, 640)...)
		}
		pcm = append(pcm, make([]int16, 640)...)
		for i := range pcm {
			pcm[i] += int16(rnd.NormFloat64() * 100)
		}
		for i := 0; i+FrameSamples <= len(pcm); i += FrameSamples {
			if b := d.Frame(pcm[i : i+FrameSamples]); b != 0 {
				got = append(got, b)
			}
		}
		if string(got) != string([]byte{digit, digit}) {
			t.Errorf("%c twice is heard as %q", digit, got)
		}
	}
}

func TestDTMFDetectorIgnoresOtherSounds(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(2, 2))
	noise := make([]int16, 80000)
	for i := range noise {
		noise[i] = int16(rnd.NormFloat64() * 3000)
	}
	twisted := Tone(8000, -30, 697) // the high group 12 dB louder
	Mix(twisted, Tone(8000, -18, 1209))
	for name, pcm := range map[string][]int16{
		"noise": noise, "speech": voice(rnd, 10*8000), "450 Hz": Tone(16000, -10, 450), "one group": Tone(8000, -10, 697),
		"twist": twisted, "soft": softDigit(),
	} {
		var d DTMFDetector
		for i := 0; i+FrameSamples <= len(pcm); i += FrameSamples {
			if b := d.Frame(pcm[i : i+FrameSamples]); b != 0 {
				t.Errorf("%s is heard as digit %c at %d ms", name, b, i/8)
			}
		}
	}
}

func softDigit() []int16 {
	pcm := DTMFTone('5', 8000)
	Gain(pcm, -35)
	return pcm
}

func TestWAVRoundTrip(t *testing.T) {
	t.Parallel()
	left, right := Tone(801, -20, 440), Tone(801, -30, 700)
	for _, f := range []WAVFormat{WAVPCM16, WAVALaw, WAVULaw} {
		var data []byte
		for i := range left {
			for _, s := range []int16{left[i], right[i]} {
				switch f {
				case WAVALaw:
					data = append(data, pcmToALaw[uint16(s)>>3])
				case WAVULaw:
					data = append(data, pcmToULaw[uint16(s)>>2])
				default:
					data = binary.LittleEndian.AppendUint16(data, uint16(s))
				}
			}
		}
		head := AppendWAVHeader(nil, f, 2, 8000, int64(len(data)))
		if len(head) != WAVHeaderSize {
			t.Fatalf("the header has %d bytes, not WAVHeaderSize", len(head))
		}
		w, err := ReadWAV(append(head, data...))
		if err != nil {
			t.Fatal(err)
		}
		if w.Rate != 8000 || w.Format != f || len(w.Channels) != 2 || len(w.Channels[1]) != len(right) {
			t.Fatalf("format %d: read back as %+v", f, w)
		}
		for i := range left {
			if d := abs(int(w.Channels[0][i]) - int(left[i])); d > 600 || f == WAVPCM16 && d != 0 {
				t.Fatalf("format %d: sample %d is %d, want %d", f, i, w.Channels[0][i], left[i])
			}
		}
		mono := w.Mono()
		if len(mono) != len(left) || mono[100] != int16((int(w.Channels[0][100])+int(w.Channels[1][100]))/2) {
			t.Errorf("mono is not the mean of both")
		}
	}
}

func TestReadWAVIsTolerant(t *testing.T) {
	t.Parallel()
	good := WriteWAV(8000, []int16{1, 2, 3})
	dataSize := WAVHeaderSize - 4
	patch := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	listed := append(bytes.Clone(good[:12]), "LIST\x03\x00\x00\x00abc"...) // odd, and the pad byte is forgotten
	padded := append(bytes.Clone(good[:12]), "LIST\x03\x00\x00\x00abc\x00"...)
	for name, b := range map[string][]byte{
		"plain": good, "data length 0": patch(dataSize, 0), "data length all ones": patch(dataSize, 1<<32-1), "data length beyond the end": patch(dataSize, 99),
		"RIFF length 0": patch(4, 0), "odd chunk without pad": append(listed, good[12:]...), "odd chunk with pad": append(padded, good[12:]...),
		"trailing chunk": append(bytes.Clone(good), "id3 \xff\xff\xff\xff"...), "half a sample at the end": append(patch(dataSize, 0), 7),
	} {
		w, err := ReadWAV(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(w.Channels) != 1 || len(w.Channels[0]) < 3 || w.Channels[0][0] != 1 || w.Channels[0][2] != 3 {
			t.Errorf("%s: read as %v", name, w.Channels)
		}
	}
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("hello, this is no sound at all"), "no data": good[:WAVHeaderSize-8], "data first": append(bytes.Clone(good[:12]), "data\x02\x00\x00\x00ab"...),
		"three channels": patch(20, 3<<16|1), "MP3": patch(20, 1<<16|85), "rate 0": patch(24, 0), "short format": append(bytes.Clone(good[:12]), "fmt \x02\x00\x00\x00ab"...),
	} {
		if _, err := ReadWAV(b); err == nil {
			t.Errorf("%s: read without an error", name)
		}
	}
}

func FuzzReadWAV(f *testing.F) {
	f.Add(WriteWAV(8000, []int16{1, 2, 3}))
	f.Add(WriteWAV(22050, []int16{1, 2}, []int16{3, 4}))
	f.Add(AppendWAVHeader(nil, WAVULaw, 2, 8000, 0))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVELIST\x03\x00\x00\x00abc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := ReadWAV(b)
		if err != nil {
			return
		}
		if n := len(w.Channels); n != 1 && n != 2 {
			t.Fatalf("%d channels", n)
		}
		for _, c := range w.Channels {
			if len(c) != len(w.Channels[0]) || len(c) > len(b) {
				t.Fatalf("channel of %d samples from %d bytes", len(c), len(b))
			}
		}
		w.Mono()
	})
}
