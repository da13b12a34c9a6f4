package media

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/pion/rtp"

	"waihu/audio"
)

// ramp makes packets whose every sample can be told apart from those around: A-law codes that count frames.
func ramp(i int) []byte { return bytes.Repeat([]byte{byte(i % 100)}, 160) }

// heardFrames is which of ramp's frames were heard, in order, without repeats.
func heardFrames(pcm []int16) (frames []int) {
	codes := make([]byte, len(pcm))
	audio.EncodeALaw(codes, pcm)
	for i, c := range codes {
		if c == audio.SilenceALaw || pcm[i] == 0 {
			continue
		}
		if n := len(frames); n == 0 || frames[n-1] != int(c) {
			frames = append(frames, int(c))
		}
	}
	return frames
}

func TestReorderDuplicatesAndLoss(t *testing.T) {
	t.Parallel()
	app := &ear{}
	d := drive(t, SessionConfig{App: app})
	d.far.answer(d.Session)
	d.Start()
	var packets [][]byte
	for i := range 60 {
		packets = append(packets, d.far.packet(8, ramp(i), 160))
	}
	packets[20], packets[21] = nil, append(packets[21], packets[20]...) // 20 comes after 21
	packets[30] = packets[29]                                           // a duplicate instead of 30
	packets[40] = nil                                                   // lost
	for _, p := range packets {
		d.tick(1)
		for ; len(p) > 0; p = p[172:] {
			d.deliver(p[:172], 3*time.Millisecond)
		}
	}
	d.tick(5)
	got := heardFrames(app.heard)
	want := 0
	for _, f := range got {
		for want == 30 || want == 40 {
			want++
		}
		if f != want {
			t.Fatalf("frame %d is heard where %d was sent; %v", f, want, got)
		}
		want++
	}
	st := d.Close()
	if st.Lost != 2 || st.Duplicate != 1 || st.Received != 58 || st.Late != 0 {
		t.Errorf("%+v", st)
	}
	if n := countTrue(app.lost[4:60]); n < 2 || n > 6 {
		t.Errorf("%d frames count as lost, want those that two packets touch", n)
	}
}

func countTrue(b []bool) (n int) {
	for _, v := range b {
		if v {
			n++
		}
	}
	return n
}

// Jitter of up to 60 ms must be learned: after the first seconds nothing is missing.
func TestJitterIsBridged(t *testing.T) {
	t.Parallel()
	app := &ear{}
	d := drive(t, SessionConfig{App: app})
	d.far.answer(d.Session)
	d.Start()
	rnd := rand.New(rand.NewPCG(1, 1))
	type flight struct {
		at time.Duration
		b  []byte
	}
	var wire []flight
	for i := range 1500 {
		wire = append(wire, flight{time.Duration(i)*frameLength + time.Duration(rnd.Float64()*60*float64(time.Millisecond)), d.far.packet(8, ramp(i), 160)})
	}
	for now := time.Duration(0); now < 31*time.Second; now += frameLength {
		d.tick(1)
		for i := 0; i < len(wire); i++ {
			if wire[i].at < now+frameLength {
				d.deliver(wire[i].b, wire[i].at-now)
				wire = append(wire[:i], wire[i+1:]...)
				i--
			}
		}
	}
	if n := countTrue(app.lost[500:1490]); n > 2 {
		t.Errorf("%d of 990 frames are lost to jitter", n)
	}
	if st := d.Close(); st.Jitter < 10*time.Millisecond || st.Jitter > 40*time.Millisecond || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

// The far end's clock runs 200 ppm fast or slow for an hour: nothing may grow, nothing be lost but
// the seams, and the recording must not drift from the wire.
func TestDriftOfAnHour(t *testing.T) {
	t.Parallel()
	for name, ppm := range map[string]int64{"fast": 200, "slow": -200} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := &tally{}
			d := drive(t, SessionConfig{App: app, MediaTimeout: -1})
			d.far.answer(d.Session)
			d.Start()
			pause := bytes.Repeat([]byte{audio.SilenceALaw}, 160)
			loud := ramp(7)
			next := time.Duration(0)
			step := frameLength - frameLength*time.Duration(ppm)/1e6
			for i := 0; i < 180_000; i++ {
				now := time.Duration(i) * frameLength
				d.tick(1)
				for ; next < now+frameLength; next += step {
					payload := loud
					if next/time.Second%4 == 3 {
						payload = pause
					}
					d.deliver(d.far.packet(8, payload, 160), next-now)
				}
				if i%5000 == 4999 {
					// the newest sample lies where the wire has it, within two frames
					newest := d.rx.lastExt + d.rx.offset
					if off := newest - (d.pos - frameSamples + int64(next-step-now)/125000); off > 320 || off < -640 {
						t.Fatalf("after %v the mapping is %d samples off", now, off)
					}
				}
			}
			if d.rx.delay > 480 {
				t.Errorf("the delay has grown to %d samples", d.rx.delay)
			}
			st := d.Close()
			// an hour of 200 ppm is 720 ms: as many seams of 10 ms and more
			if app.lost > 90 || st.Late > 20 || st.Lost != 0 || st.Resyncs != 0 {
				t.Errorf("%d frames lost, %+v", app.lost, st)
			}
		})
	}
}

// tally is an App that only counts.
type tally struct{ frames, lost int }

func (a *tally) Frame(f *Frame) bool {
	a.frames++
	if f.Lost {
		a.lost++
	}
	return false
}

func TestNewStreamsAndJumps(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *farEnd){
		"another SSRC":                func(f *farEnd) { f.ssrc++; f.seq += 9000; f.ts += 1 << 30 },
		"timestamp ahead":             func(f *farEnd) { f.ts += 1 << 28 },
		"timestamp back":              func(f *farEnd) { f.ts -= 1 << 20 },
		"sequence begins anew":        func(f *farEnd) { f.seq += 20000 },
		"timestamp and sequence wrap": func(f *farEnd) {},
	} {
		app := &ear{}
		d := drive(t, SessionConfig{App: app})
		d.far.answer(d.Session)
		d.Start()
		d.far.seq, d.far.ts = 65530, 1<<32-160*10
		for i := range 100 {
			if i == 50 {
				change(d.far)
			}
			d.tick(1)
			d.deliver(d.far.packet(8, ramp(i), 160), 0)
		}
		d.tick(3)
		got := heardFrames(app.heard)
		if len(got) < 98 || got[len(got)-1] != 99 {
			t.Errorf("%s: %d frames are heard: %v", name, len(got), got)
		}
		st := d.Close()
		if resyncs := map[bool]uint64{true: 0, false: 1}[name == "timestamp and sequence wrap"]; st.Resyncs != resyncs || st.Lost > 1 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// A pause in which the far end's timestamps stand still must not make it late for ever.
func TestFrozenTimestamps(t *testing.T) {
	t.Parallel()
	app := &ear{}
	d := drive(t, SessionConfig{App: app})
	d.far.answer(d.Session)
	d.Start()
	for i := range 100 {
		if i == 50 {
			d.tick(200)
		}
		d.tick(1)
		d.deliver(d.far.packet(8, ramp(i), 160), 0)
	}
	d.tick(3)
	got := heardFrames(app.heard)
	if len(got) < 100-reanchor-1 || got[len(got)-1] != 99 {
		t.Errorf("heard: %v", got)
	}
}

func TestComfortNoiseIsNoLoss(t *testing.T) {
	t.Parallel()
	app := &ear{}
	d := drive(t, SessionConfig{App: app})
	d.far.answer(d.Session)
	d.Start()
	for i := range 20 {
		d.tick(1)
		d.deliver(d.far.packet(8, ramp(i), 160), 0)
	}
	d.tick(1)
	d.deliver(d.far.packet(13, []byte{60}, 160*50), 0)
	d.tick(50)
	for i := range 20 {
		d.deliver(d.far.packet(8, ramp(40+i), 160), 0)
		d.tick(1)
	}
	if n := countTrue(app.lost[8:]); n > 0 {
		t.Errorf("%d frames of a pause count as lost", n)
	}
	if st := d.Close(); st.Lost != 0 || st.Unknown != 0 {
		t.Errorf("%+v", st)
	}
}

func TestHeadersOfAllKinds(t *testing.T) {
	t.Parallel()
	d := drive(t, SessionConfig{})
	d.far.answer(d.Session)
	d.Start()
	d.tick(1)
	send := func(p rtp.Packet) {
		p.Version, p.PayloadType, p.SequenceNumber, p.Timestamp, p.SSRC = 2, 8, d.far.seq, d.far.ts, d.far.ssrc
		d.far.seq++
		d.far.ts += 160
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		h, payload, ok := parseRTP(b)
		if !ok || len(payload) != 160 || h.seq != p.SequenceNumber || h.ts != p.Timestamp || h.ssrc != p.SSRC || h.marker != p.Marker {
			t.Errorf("%v is read as %+v with %d bytes", p.Header, h, len(payload))
		}
		d.deliver(b, 0)
		d.tick(1)
	}
	body := bytes.Repeat([]byte{9}, 160)
	send(rtp.Packet{Header: rtp.Header{Marker: true}, Payload: body})
	send(rtp.Packet{Header: rtp.Header{CSRC: []uint32{1, 2, 3}}, Payload: body})
	extended := rtp.Packet{Payload: body}
	if err := extended.SetExtension(1, []byte{1, 2, 3}); err != nil {
		extended.Extension, extended.ExtensionProfile = true, 0xBEDE
		if err := extended.SetExtension(1, []byte{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	send(extended)
	padded := rtp.Packet{Header: rtp.Header{Padding: true}, Payload: body}
	padded.PaddingSize = 7
	send(padded)
	for _, bad := range [][]byte{nil, {0x80}, bytes.Repeat([]byte{0}, 172), append([]byte{0xBF}, make([]byte, 20)...), append([]byte{0xA0, 8}, make([]byte, 10)...)} {
		d.deliver(bad, 0)
	}
	d.deliver(d.far.packet(99, body, 160), 0) // nobody agreed on 99
	if st := d.Close(); st.Received != 4 || st.Unknown != 6 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

func TestStrangersAreNeitherHeardNorFollowed(t *testing.T) {
	t.Parallel()
	app := &ear{}
	d := drive(t, SessionConfig{App: app})
	d.far.answer(d.Session)
	d.Start()
	stranger := newFarEnd(t, d.Session)
	for i := range 50 {
		d.tick(1)
		d.deliver(d.far.packet(8, ramp(i), 160), 0)
		for range 3 {
			d.packet(d.c, stranger.packet(8, bytes.Repeat([]byte{0xAA}, 160), 160), stranger.from(), d.now())
		}
	}
	if n := count(app.heard, 32256); n > 0 {
		t.Errorf("%d samples of the stranger are heard", n)
	}
	if d.tx.target.ap != d.far.from() {
		t.Errorf("we send to %v", d.tx.target.ap)
	}
	// Now the far end moves without saying so: within a second of silence nothing changes, then the newcomer is followed.
	for range 49 {
		d.tick(1)
		d.packet(d.c, stranger.packet(8, make([]byte, 160), 160), stranger.from(), d.now())
	}
	if d.tx.target.ap != d.far.from() {
		t.Errorf("followed a stranger too early")
	}
	for range 10 {
		d.tick(1)
		d.packet(d.c, stranger.packet(8, make([]byte, 160), 160), stranger.from(), d.now())
	}
	if d.tx.target.ap != stranger.from() {
		t.Errorf("the moved far end is not followed")
	}
	if st := d.Close(); st.Foreign < 190 {
		t.Errorf("%+v", st)
	}
}

// Behind a NAT the far end's real address differs from what it says.
func TestSourceIsLearned(t *testing.T) {
	t.Parallel()
	d := drive(t, SessionConfig{})
	behind := newFarEnd(t, d.Session)
	d.far.answer(d.Session)
	d.Start()
	for i := range lockAfter {
		d.tick(1)
		if d.tx.target.ap != d.far.from() {
			t.Fatalf("locked after %d packets", i)
		}
		d.packet(d.c, behind.packet(8, make([]byte, 160), 160), behind.from(), d.now())
	}
	if d.tx.target.ap != behind.from() {
		t.Errorf("after %d packets we still send to %v", lockAfter, d.tx.target.ap)
	}
	// a new description begins anew
	if err := d.Remote(behind.sdp(bothLaws, events)); err != nil {
		t.Fatal(err)
	}
	d.tick(1)
	if d.rx.source.locked {
		t.Error("still locked after another description")
	}
}

func FuzzPackets(f *testing.F) {
	good := make([]byte, 172)
	(&header{pt: 8, seq: 1, ts: 160, ssrc: 7}).put(good)
	f.Add(good, uint16(5))
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, uint16(1))
	f.Add([]byte{0x80, 101, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0x80, 0, 160}, uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		d := drive(t, SessionConfig{App: &tally{}})
		d.far.answer(d.Session)
		d.Start()
		d.tick(1)
		for i := range 4 {
			p := bytes.Clone(b)
			if len(p) >= 4 {
				binary.BigEndian.PutUint16(p[2:], binary.BigEndian.Uint16(p[2:])+uint16(i)*step)
			}
			d.deliver(p, time.Duration(i)*time.Millisecond)
			d.control(p, d.far.rtcp.LocalAddr().(*net.UDPAddr).AddrPort(), d.now())
			d.tick(1)
		}
		if d.broken {
			t.Fatal("a tick panicked")
		}
	})
}
