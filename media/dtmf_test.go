package media

import (
	"encoding/binary"
	"testing"

	"waihu/audio"
)

// press sends an event as the far end would: updates with growing duration, end packets.
func (d *driven) press(pt uint8, code byte, updates, ends int, marker bool) {
	start := d.far.ts
	for i := range updates + ends {
		var b [4]byte
		b[0], b[1] = code, 10
		if i >= updates {
			b[1] |= 0x80
		}
		binary.BigEndian.PutUint16(b[2:], uint16(160*min(i+1, updates)))
		p := d.far.packet(pt, b[:], 0)
		if marker && i == 0 {
			p[1] |= 0x80
		}
		d.tick(1)
		d.deliver(p, 0)
	}
	d.far.ts = start + uint32(160*(updates+ends))
}

func TestDigitsByEvent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pt            uint8
		updates, ends int
		marker        bool
	}{
		"plain": {101, 5, 3, true}, "no marker": {101, 5, 3, false}, "lost end": {101, 5, 0, true}, "only the end": {101, 0, 3, false},
		"payload type 96": {96, 5, 3, true}, "one packet": {101, 1, 0, false}, "long": {101, 100, 3, true},
	} {
		app := &ear{}
		d := drive(t, SessionConfig{App: app})
		if err := d.Remote(d.far.sdp("8 0 96", "a=rtpmap:96 telephone-event/8000")); err != nil {
			t.Fatal(err)
		}
		d.Start()
		for _, code := range []byte{1, 1, 10, 11, 15} {
			for range 10 {
				d.tick(1)
				d.deliver(d.far.packet(8, ramp(3), 160), 0)
			}
			d.press(c.pt, code, c.updates, c.ends, c.marker)
		}
		d.tick(20)
		if got := app.pressed(); got != "11*#D" {
			t.Errorf("%s: %q is heard", name, got)
		}
		if st := d.Close(); st.DTMF != "11*#D" || st.Lost != 0 || st.Resyncs != 0 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// An event longer than 8.2 s goes on under a new timestamp (RFC 4733 section 2.5.1.3).
func TestLongEventIsOneDigit(t *testing.T) {
	t.Parallel()
	app := &ear{}
	d := drive(t, SessionConfig{App: app})
	d.far.answer(d.Session)
	d.Start()
	for range 3 {
		d.tick(1)
		d.deliver(d.far.packet(8, ramp(3), 160), 0)
	}
	for segment := range 2 {
		for i := range 409 {
			var b [4]byte
			b[0] = 5
			binary.BigEndian.PutUint16(b[2:], uint16(min(0xFFFF, 160*(i+1))))
			d.tick(1)
			d.deliver(d.far.packet(101, b[:], 0), 0)
		}
		if segment == 0 {
			d.far.ts += 0xFFFF
		}
	}
	if got := app.pressed(); got != "5" {
		t.Errorf("%q is heard", got)
	}
}

func TestSamePressByTwoWays(t *testing.T) {
	t.Parallel()
	app := &ear{}
	d := drive(t, SessionConfig{App: app})
	d.far.answer(d.Session)
	d.Start()
	d.tick(3)
	d.press(101, 7, 4, 3, true)
	d.InjectDTMF('7') // 140 ms after the event began
	d.tick(20)
	d.InjectDTMF('7') // half a second later it is another press
	d.tick(3)
	d.InjectDTMF('8')
	d.InjectDTMF('c')
	d.InjectDTMF('x')
	d.tick(3)
	if got := app.pressed(); got != "778C" {
		t.Errorf("%q is heard", got)
	}
}

func TestDigitsByEarOnlyWithoutEvents(t *testing.T) {
	t.Parallel()
	for _, agreed := range []bool{true, false} {
		app := &ear{}
		d := drive(t, SessionConfig{App: app})
		formats := "8"
		if agreed {
			formats = bothLaws
		}
		if err := d.Remote(d.far.sdp(formats, events)); err != nil {
			t.Fatal(err)
		}
		d.Start()
		pcm := append(audio.DTMFTone('4', 1600), make([]int16, 1600)...)
		for i := range 20 {
			codes := make([]byte, 160)
			audio.EncodeALaw(codes, pcm[i*160:][:160])
			d.tick(1)
			d.deliver(d.far.packet(8, codes, 160), 0)
		}
		d.tick(4)
		want := "4"
		if agreed {
			want = ""
		}
		if got := app.pressed(); got != want {
			t.Errorf("events agreed on %v: %q is heard", agreed, got)
		}
	}
}

func TestPressingByEvent(t *testing.T) {
	t.Parallel()
	d := drive(t, SessionConfig{App: &ear{say: func(f *Frame) bool { copy(f.Out, audio.Tone(160, -10, 1000)); return true }}})
	if err := d.Remote(d.far.sdp("8 96", "a=rtpmap:96 telephone-event/8000")); err != nil {
		t.Fatal(err)
	}
	d.Start()
	d.tick(2)
	if err := d.SendDTMF("5#"); err != nil {
		t.Fatal(err)
	}
	if err := d.SendDTMF("12x"); err == nil {
		t.Error("a key that is none is taken")
	}
	d.tick(40)
	first := d.far.receive()
	seq, ts := first.SequenceNumber, first.Timestamp
	type press struct {
		code      byte
		durations []uint16
		ends      int
		stamp     uint32
	}
	var presses []press
	gap := 0
	for i := 1; i < 42; i++ {
		p := d.far.receive()
		if p.SequenceNumber != seq+uint16(i) {
			t.Fatalf("packet %d is out of sequence", i)
		}
		if p.PayloadType == 8 {
			if p.Timestamp != ts+uint32(i)*160 {
				t.Errorf("sound after an event has timestamp +%d, want +%d", p.Timestamp-ts, i*160)
			}
			gap++
			continue
		}
		code, end, duration := p.Payload[0], p.Payload[1]&0x80 != 0, binary.BigEndian.Uint16(p.Payload[2:])
		if p.Marker {
			if len(presses) == 1 && gap < 5 {
				t.Errorf("%d packets between two digits", gap)
			}
			if p.Timestamp != ts+uint32(i)*160 {
				t.Errorf("the event begins at +%d, want +%d", p.Timestamp-ts, i*160)
			}
			presses = append(presses, press{code: code, stamp: p.Timestamp})
			gap = 0
		}
		cur := &presses[len(presses)-1]
		if p.Timestamp != cur.stamp || p.PayloadType != 96 || code != cur.code {
			t.Errorf("an update of %+v is %v", cur, p)
		}
		cur.durations = append(cur.durations, duration)
		if end {
			cur.ends++
		}
	}
	if len(presses) != 2 || presses[0].code != 5 || presses[1].code != 11 {
		t.Fatalf("%+v", presses)
	}
	for _, p := range presses {
		if p.ends != 3 || len(p.durations) != 7 || p.durations[0] != 160 || p.durations[4] != 800 || p.durations[6] != 800 {
			t.Errorf("%+v", p)
		}
	}
}

func TestPressingByTone(t *testing.T) {
	t.Parallel()
	d := drive(t, SessionConfig{})
	if err := d.Remote(d.far.sdp("0")); err != nil {
		t.Fatal(err)
	}
	d.Start()
	if err := d.SendDTMF("19D"); err != nil {
		t.Fatal(err)
	}
	d.tick(40)
	var ear audio.DTMFDetector
	var heard []byte
	for range 40 {
		var pcm [160]int16
		audio.DecodeULaw(pcm[:], d.far.receive().Payload)
		if digit := ear.Frame(pcm[:]); digit != 0 {
			heard = append(heard, digit)
		}
	}
	if string(heard) != "19D" {
		t.Errorf("%q is heard", heard)
	}
}

func TestDigitsBeforeAnybodyAsksAreBounded(t *testing.T) {
	t.Parallel()
	d := drive(t, SessionConfig{})
	for range 1000 {
		d.InjectDTMF('1')
	}
	var err error
	for range 100 {
		err = d.SendDTMF("1")
	}
	if err == nil {
		t.Error("a hundred waiting digits are no error")
	}
}
