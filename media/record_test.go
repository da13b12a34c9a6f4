package media

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"waihu/audio"
)

// onset is the sample at which a tone of hz begins in pcm: where a sliding Goertzel power of 5 ms rises most.
func onset(pcm []int16, hz float64) int {
	const w = 40
	power := func(at int) float64 {
		var re, im float64
		for i, s := range pcm[at : at+w] {
			a := 2 * math.Pi * hz * float64(at+i) / 8000
			re += float64(s) * math.Cos(a)
			im += float64(s) * math.Sin(a)
		}
		return re*re + im*im
	}
	full := 0.0
	for at := 0; at+w <= len(pcm); at += 8 {
		full = max(full, power(at))
	}
	for at := 0; at+w <= len(pcm); at++ {
		if power(at) > full/4 { // half the amplitude: half of the window
			return at + w/2
		}
	}
	return -1
}

func codes(pcm []int16, ulaw bool) []byte {
	b := make([]byte, len(pcm))
	if ulaw {
		audio.EncodeULaw(b, pcm)
	} else {
		audio.EncodeALaw(b, pcm)
	}
	return b
}

// Both channels must lie where the wire had them, whatever jitter, order and loss did to the arrival.
func TestRecordingIsAlignedByTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ulaw, pcm16, switched bool
		jitter                time.Duration
		loss                  float64
	}{
		"A-law": {}, "µ-law": {ulaw: true}, "16 bits": {pcm16: true}, "jitter and loss": {jitter: 50 * time.Millisecond, loss: 0.05}, "the codec changes": {switched: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "day", "call.wav")
			const begin, end = 150, 250 // frames of the callee's tone
			reply := audio.Tone(160*400, -15, 700)
			frame := 0
			app := &ear{say: func(f *Frame) bool {
				frame++
				if frame > 300 && frame <= 350 {
					copy(f.Out, reply[frame*160:])
					return true
				}
				return false
			}}
			d := drive(t, SessionConfig{App: app, Recording: path, PCM16: c.pcm16})
			formats, pt := "8 0 101", uint8(8)
			if c.ulaw {
				formats, pt = "0 8 101", 0
			}
			if err := d.Remote(d.far.sdp(formats, events)); err != nil {
				t.Fatal(err)
			}
			d.tick(7) // ringing
			d.Start()
			rnd := rand.New(rand.NewPCG(9, 9))
			tone := audio.Tone(160*400, -15, 1000)
			type flight struct {
				at time.Duration
				b  []byte
			}
			var wire []flight
			for i := range 400 {
				pcm := make([]int16, 160)
				if i >= begin && i < end {
					copy(pcm, tone[i*160:])
				}
				if c.switched && i == 200 {
					pt = 0
				}
				b := d.far.packet(pt, codes(pcm, pt == 0), 160)
				if rnd.Float64() < c.loss && i != begin {
					continue
				}
				wire = append(wire, flight{time.Duration(i)*frameLength + time.Duration(rnd.Float64()*float64(c.jitter)), b})
			}
			for now := time.Duration(0); now < 410*frameLength; now += frameLength {
				d.tick(1)
				for i := 0; i < len(wire); i++ {
					if wire[i].at < now+frameLength {
						d.deliver(wire[i].b, wire[i].at-now)
						wire = append(wire[:i], wire[i+1:]...)
						i--
					}
				}
				if frame%20 == 0 {
					d.flushRecording()
				}
			}
			st := d.Close()
			if st.Recorded != 410*frameLength || st.RecordingErr != nil || st.RecordingDropped != 0 {
				t.Errorf("%+v", st)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			w, err := audio.ReadWAV(b)
			if err != nil {
				t.Fatal(err)
			}
			want := audio.WAVALaw
			if c.ulaw {
				want = audio.WAVULaw
			}
			if c.pcm16 {
				want = audio.WAVPCM16
			}
			if w.Format != want || len(w.Channels) != 2 || len(w.Channels[0]) != 410*160 {
				t.Fatalf("format %d, %d channels of %d", w.Format, len(w.Channels), len(w.Channels[0]))
			}
			// the first packet defines the way's length; with jitter it may have been a slow one
			left, right := onset(w.Channels[0], 1000), onset(w.Channels[1], 700)
			if off := left - begin*160; off > 16+int(c.jitter/time.Millisecond)*8 || off < -16 {
				t.Errorf("the callee's tone is recorded %d samples off", off)
			}
			if off := right - 300*160; off > 16 || off < -16 {
				t.Errorf("the agent's tone is recorded %d samples off", off)
			}
			if lvl := audio.Level(w.Channels[0][160*170 : 160*190]); c.loss == 0 && math.Abs(lvl+15) > 1 {
				t.Errorf("the callee is recorded at %.1f dBFS", lvl)
			}
			if lvl := audio.Level(w.Channels[0][160*360 : 160*390]); lvl > -60 {
				t.Errorf("the silence after it is at %.1f dBFS", lvl)
			}
		})
	}
}

// flushRecording does the writer's work.
func (d *driven) flushRecording() {
	if d.rec != nil {
		d.rec.mu.Lock()
		defer d.rec.mu.Unlock()
		d.rec.flush(d.eng.writer.scratch)
	}
}

// What the disk does not take is counted and leaves no shift behind.
func TestSlowDiskCostsRecordingOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "call.wav")
	d := drive(t, SessionConfig{Recording: path, App: &ear{say: func(f *Frame) bool { copy(f.Out, audio.Tone(160, -10, 1000)); return true }}})
	d.far.answer(d.Session)
	d.Start()
	d.tick(200) // four seconds without a write: longer than the ring
	d.flushRecording()
	d.tick(50)
	d.flushRecording()
	d.tick(50)
	st := d.Close()
	if over := st.RecordingDropped - (4*time.Second - samplesTime(recFrames)); over.Abs() > 100*time.Millisecond || st.Sent != 300 {
		t.Errorf("%v more dropped than the ring could not hold: %+v", over, st)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := audio.ReadWAV(b)
	if err != nil || len(w.Channels[1]) != 300*160 {
		t.Fatalf("%v, %d samples", err, len(w.Channels[1]))
	}
	if a, b, c := audio.Level(w.Channels[1][8000:12000]), audio.Level(w.Channels[1][20000:28000]), audio.Level(w.Channels[1][36000:44000]); a < -11 || b > -60 || c < -11 {
		t.Errorf("levels %.1f, then %.1f while the disk stood, then %.1f", a, b, c)
	}
}

func TestRecordingThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := drive(t, SessionConfig{Recording: filepath.Join(file, "call.wav")})
	d.far.answer(d.Session)
	d.Start()
	d.tick(60)
	d.flushRecording()
	d.tick(10)
	if st := d.Close(); st.RecordingErr == nil || st.Sent != 70 || st.Recorded != 0 {
		t.Errorf("%+v", st)
	}
}

func TestUnansweredCallLeavesNoRecording(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "call.wav")
	d := drive(t, SessionConfig{Recording: path})
	d.far.answer(d.Session)
	d.tick(20)
	d.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("there is a file: %v", err)
	}
}

// A process that is killed in the middle of a call leaves a file whose header tells the truth and
// which lacks two seconds at most.
func TestRecordingIsTrueAfterKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "call.wav")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WAIHU_MEDIA_TEST_ROLE=record", "WAIHU_MEDIA_TEST_PATH="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	said := time.Duration(0)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		ms, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(lines.Text())
		}
		said = time.Duration(ms) * time.Millisecond
		if said >= 3700*time.Millisecond {
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("after %v of call: %v", said, err)
	}
	length := int(binary.LittleEndian.Uint32(b[audio.WAVHeaderSize-4:]))
	if string(b[audio.WAVHeaderSize-8:audio.WAVHeaderSize-4]) != "data" || length > len(b)-audio.WAVHeaderSize || length == 0 {
		t.Fatalf("the header claims %d bytes, the file has %d", length, len(b)-audio.WAVHeaderSize)
	}
	w, err := audio.ReadWAV(b)
	if err != nil {
		t.Fatal(err)
	}
	recorded := samplesTime(int64(len(w.Channels[0])))
	if recorded < said-2*time.Second {
		t.Errorf("of %v only %v are in the file", said, recorded)
	}
	if l, r := audio.Level(w.Channels[0][8000:]), audio.Level(w.Channels[1][4000:]); l < -30 || r < -30 {
		t.Errorf("channels at %.1f and %.1f dBFS", l, r)
	}
}

// recordForever is the helper process that gets killed: a call with tones both ways.
func recordForever() {
	t := fatal{}
	e := testEngine(t, Config{Threads: 1})
	go e.Run(t.Context())
	frames := make(chan time.Duration, 1)
	s, err := e.Open(SessionConfig{Local: loopback, Recording: os.Getenv("WAIHU_MEDIA_TEST_PATH"), App: &ear{say: func(f *Frame) bool {
		copy(f.Out, audio.Tone(160, -15, 700))
		select {
		case frames <- f.Time:
		default:
		}
		return true
	}}})
	if err != nil {
		t.Fatal(err)
	}
	far := newFarEnd(t, s)
	far.answer(s)
	s.Start()
	for at := range frames {
		far.send(far.packet(8, codes(audio.Tone(160, -15, 1000), false), 160))
		fmt.Println(at.Milliseconds())
	}
}

// fatal is a testing.TB for the helper process.
type fatal struct{ testing.TB }

func (fatal) Helper()        {}
func (fatal) Cleanup(func()) {}
func (fatal) Fatal(args ...any) {
	fmt.Println(args...)
	os.Exit(1)
}
func (f fatal) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

func TestRecordingBufferIsBounded(t *testing.T) {
	t.Parallel()
	r := newRecorder("unused", kindPCMA, false)
	r.put(recLeft, -80, bytes.Repeat([]byte{1}, 160), kindPCMA)
	r.put(recLeft, recFrames-80, bytes.Repeat([]byte{2}, 160), kindPCMA)
	r.put(recRight, 1<<40, bytes.Repeat([]byte{3}, 160), kindPCMA)
	r.put(recLeft, -1<<40, bytes.Repeat([]byte{4}, 160), kindPCMA)
	if got := fmt.Sprint(bytes.Count(r.ring, []byte{1}), bytes.Count(r.ring, []byte{2}), bytes.Count(r.ring, []byte{3}), bytes.Count(r.ring, []byte{4}), r.dropped); got != "80 80 0 0 160" {
		t.Errorf("%s", got)
	}
	if strings.Count(string(r.ring), "\xd5") != 2*recFrames-160 {
		t.Error("the rest is not silence")
	}
}
