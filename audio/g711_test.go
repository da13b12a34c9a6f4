package audio

import "testing"

func TestG711KnownCodes(t *testing.T) {
	t.Parallel()
	// ITU-T G.711 tables 1 and 2: ends and middles of both laws.
	for _, c := range []struct {
		code       byte
		alaw, ulaw int16
	}{
		{0xD5, 8, 716}, {0x55, -8, -716}, {0xAA, 32256, 5372}, {0x2A, -32256, -5372},
		{0xFF, 848, 0}, {0x7F, -848, 0}, {0x80, 5504, 32124}, {0x00, -5504, -32124},
	} {
		var a, u [1]int16
		DecodeALaw(a[:], []byte{c.code})
		DecodeULaw(u[:], []byte{c.code})
		if a[0] != c.alaw || u[0] != c.ulaw {
			t.Errorf("%#02x decodes to %d (A-law), %d (µ-law), want %d, %d", c.code, a[0], u[0], c.alaw, c.ulaw)
		}
	}
}

// No sample may come back further away than half a step of its segment, and codes come back as themselves.
func TestG711ErrorIsHalfAStep(t *testing.T) {
	t.Parallel()
	laws := map[string]struct {
		encode func([]byte, []int16) int
		table  [256]int16
		bias   int
	}{
		"alaw": {EncodeALaw, alawToPCM, 256}, // the lowest segment has steps of 16
		"ulaw": {EncodeULaw, ulawToPCM, 132},
	}
	for name, law := range laws {
		last := -1 << 20
		for s := -32768; s <= 32767; s++ {
			var code [1]byte
			law.encode(code[:], []int16{int16(s)})
			got := int(law.table[code[0]])
			if limit := (abs(s)+law.bias)/32 + 4; abs(s-got) > limit {
				t.Fatalf("%s: %d becomes %d, more than %d away", name, s, got, limit)
			}
			if got < last {
				t.Fatalf("%s: %d becomes %d, less than its neighbour", name, s, got)
			}
			last = got
		}
		for code := range 256 {
			var back [1]byte
			law.encode(back[:], []int16{law.table[code]})
			if int(back[0]) != code && !(name == "ulaw" && code == 0x7F && back[0] == 0xFF) {
				t.Errorf("%s: code %#02x comes back as %#02x", name, code, back[0])
			}
		}
	}
}

func TestG711Silence(t *testing.T) {
	t.Parallel()
	var a, u [1]byte
	EncodeALaw(a[:], []int16{0})
	EncodeULaw(u[:], []int16{0})
	if a[0] != SilenceALaw || u[0] != SilenceULaw {
		t.Errorf("0 becomes %#02x and %#02x", a[0], u[0])
	}
}

func TestG711ShorterSideCounts(t *testing.T) {
	t.Parallel()
	if n := DecodeALaw(make([]int16, 3), make([]byte, 5)); n != 3 {
		t.Errorf("decoded %d of 3", n)
	}
	if n := EncodeULaw(make([]byte, 5), make([]int16, 2)); n != 2 {
		t.Errorf("encoded %d of 2", n)
	}
}

func BenchmarkDecodeALaw(b *testing.B) {
	var pcm [FrameSamples]int16
	var code [FrameSamples]byte
	b.ReportAllocs()
	for b.Loop() {
		DecodeALaw(pcm[:], code[:])
	}
}

func BenchmarkEncodeALaw(b *testing.B) {
	pcm := Tone(FrameSamples, -20, 440)
	var code [FrameSamples]byte
	b.ReportAllocs()
	for b.Loop() {
		EncodeALaw(code[:], pcm)
	}
}

func abs(x int) int { return max(x, -x) }
