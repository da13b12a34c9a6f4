package audio

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// voice makes n samples that disturb as speech does: syllables of harmonics with a
// falling spectrum, then a hiss, at about -20 dBFS.
func voice(rnd *rand.Rand, n int) []int16 {
	out := make([]int16, n)
	f0, level := 120.0, 0.0
	for i := range out {
		t := float64(i) / 8000
		if i%1600 == 0 {
			f0 = 100 + 80*rnd.Float64()
			level = 0.5 + rnd.Float64()
		}
		env := math.Abs(math.Sin(math.Pi * float64(i%1600) / 1600))
		v := 0.0
		for h := 1; float64(h)*f0 < 3900; h++ {
			v += math.Sin(2*math.Pi*f0*float64(h)*t) / float64(h)
		}
		if i%1600 > 1200 {
			v = 1.5 * rnd.NormFloat64()
		}
		out[i] = clamp(int(3200 * level * env * v))
	}
	return out
}

// alaw passes the samples through the companding of a telephone line.
func alaw(pcm []int16) []int16 {
	line := make([]byte, len(pcm))
	EncodeALaw(line, pcm)
	out := make([]int16, len(pcm))
	DecodeALaw(out, line)
	return out
}

// receive sends pcm through a line that loses packets of 20 ms.
func receive(d *ModemDecoder, pcm []int16, loss float64, rnd *rand.Rand) (got []Piece) {
	for len(pcm) >= 160 {
		frame := pcm[:160]
		pcm = pcm[160:]
		lost := rnd.Float64() < loss
		if lost {
			frame = make([]int16, 160)
		}
		got = append(got, d.Frame(frame, lost)...)
	}
	return got
}

func TestModemLossTable(t *testing.T) {
	t.Parallel()
	words := []string{"完好", "没问题", "我现在很忙", "请问你是哪位", "好的谢谢再见", "坏了破损了一半", "yes please", "2026年11月"}
	for _, row := range []struct{ loss, want float64 }{{0, 1}, {0.01, 0.985}, {0.03, 0.95}, {0.05, 0.9}} {
		rnd := rand.New(rand.NewPCG(7, uint64(row.loss*1000)))
		sent, right := 0, 0
		for range 60 {
			var text strings.Builder
			for range 4 {
				text.WriteString(words[rnd.IntN(len(words))])
			}
			want := Subtitle(text.String())
			pcm := UnderSpeech(voice(rnd, len(want)*ModemPieceSamples), text.String(), ModemLevel)
			// An odd beginning: nothing aligns the bits with the packets.
			pcm = append(make([]int16, 800+rnd.IntN(160)), pcm...)
			got := receive(NewModemDecoder(), append(alaw(pcm), make([]int16, 800)...), row.loss, rnd)
			sent += len(want)
			i := 0
			for _, g := range got {
				for i < len(want) && want[i] != g {
					i++
				}
				if i == len(want) {
					t.Fatalf("loss %.0f %%: false text %q", row.loss*100, g.Text())
				}
				right++
				i++
			}
		}
		rate := float64(right) / float64(sent)
		t.Logf("loss %.0f %%: %d of %d pieces (%.1f %%)", row.loss*100, right, sent, rate*100)
		if rate < row.want {
			t.Errorf("loss %.0f %%: %.3f of the pieces arrived, want at least %.3f", row.loss*100, rate, row.want)
		}
	}
}

// A text given out wrongly would be worse than a lost one: noise, voice and plain
// tones must never make a piece, whatever is lost.
func TestModemNoFalseText(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]int16, 8000*120)
	for i := range noise {
		noise[i] = clamp(int(3000 * rnd.NormFloat64()))
	}
	bits := make([]int16, 0, 8000*120)
	for len(bits) < cap(bits) { // the modem's own tones in random order
		p := AppendModem(nil, ModemLevel, NewPiece(PieceText, "x"))
		at := rnd.IntN(len(p)/modemBit) * modemBit
		bits = append(bits, p[at:at+modemBit]...)
	}
	for name, pcm := range map[string][]int16{"noise": noise, "voice": voice(rnd, 8000*120), "random bits": bits} {
		for _, loss := range []float64{0, 0.05} {
			if got := receive(NewModemDecoder(), pcm, loss, rnd); len(got) > 0 {
				t.Errorf("%s at loss %.2f: %d pieces, the first %q", name, loss, len(got), got[0].Text())
			}
		}
	}
}

func TestSubtitleKeepsText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "喂", "abcdefghijkl", "abcdefghijklm", "您好，我想问一下，货什么时候到？", "bad\xff\xfebytes"} {
		pieces := Subtitle(text)
		var got strings.Builder
		for i := range pieces {
			got.WriteString(pieces[i].Text())
			if last := i == len(pieces)-1; last != (pieces[i].Type == PieceEnd) {
				t.Errorf("%q: piece %d has type %d", text, i, pieces[i].Type)
			}
		}
		if want := string([]rune(text)); got.String() != want {
			t.Errorf("Subtitle(%q) says %q", text, got.String())
		}
	}
}

func TestReedSolomonFills(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		var w [rsWord]byte
		for i := range rsData {
			w[i] = byte(rnd.IntN(256))
		}
		rsEncode(&w)
		n := rnd.IntN(rsParity + 1)
		lost := rnd.Perm(rsWord)[:n]
		bad := w
		for _, p := range lost {
			bad[p] ^= byte(1 + rnd.IntN(255))
		}
		if !rsFill(&bad, lost) || bad != w {
			t.Fatalf("places %v not restored", lost)
		}
		if n < rsParity { // a further wrong byte must be noticed
			p := rnd.IntN(rsWord)
			for known := false; !known; {
				known = true
				for _, l := range lost {
					if l == p {
						p, known = (p+1)%rsWord, false
						break
					}
				}
			}
			bad[p] ^= 0x55
			if rsFill(&bad, lost) {
				t.Fatalf("a wrong byte at %d beside the gaps %v went unnoticed", p, lost)
			}
		}
	}
}

func TestModemDecoderAllocatesNothing(t *testing.T) {
	d := NewModemDecoder()
	pcm := AppendModem(nil, ModemLevel, Subtitle("没问题，完好")...)
	i := 0
	if n := testing.AllocsPerRun(500, func() {
		d.Frame(pcm[i:i+160], i%7 == 0)
		if i += 160; i+160 > len(pcm) {
			i = 0
		}
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func FuzzModemDecoder(f *testing.F) {
	f.Add([]byte("some noise"), uint8(3))
	f.Add([]byte{0x12, 0x34, 0x80, 0x7f, 0, 0, 0xff, 0xff}, uint8(0))
	f.Fuzz(func(t *testing.T, raw []byte, cut uint8) {
		d := NewModemDecoder()
		pcm := AppendModem(nil, ModemLevel, NewPiece(PieceText, "fuzz"))
		for i := 0; i+1 < len(raw) && i/2 < len(pcm); i += 2 {
			pcm[i/2] = clamp(int(pcm[i/2]) + int(int16(uint16(raw[i])<<8|uint16(raw[i+1]))))
		}
		for n := int(cut) + 1; len(pcm) > 0; pcm = pcm[min(n, len(pcm)):] {
			for _, p := range d.Frame(pcm[:min(n, len(pcm))], n%11 == 0) {
				if got := p.Text(); got != "fuzz" {
					t.Fatalf("false text %q", got)
				}
			}
		}
	})
}

func BenchmarkModemDecoder(b *testing.B) {
	d := NewModemDecoder()
	pcm := AppendModem(nil, ModemLevel, Subtitle("没问题，完好，谢谢")...)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		d.Frame(pcm[i:i+160], false)
		if i += 160; i+160 > len(pcm) {
			i = 0
		}
	}
}
