package call_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/audio"
	"waihu/speech"
)

// rawEnd is a far end of bare sockets: it answers one call at once, notes every RTP packet with its time,
// and sends what the callee says.
type rawEnd struct {
	t        *testing.T
	sip, rtp *net.UDPConn
	law      int // payload type of the answer
	say      []int16
	after    time.Duration // of silence before it

	mu       sync.Mutex
	answered time.Time // when the 200 left
	began    time.Time // when the first sound of say left
	stalled  bool      // the machine did not let us send in time
	spoken   time.Time // when the last sound of say left
	packets  []rawPacket
}

type rawPacket struct {
	at      time.Time
	seq     uint16
	ts      uint32
	pt      byte
	payload []byte
}

func newRawEnd(t *testing.T, law int, say []int16, after time.Duration) *rawEnd {
	t.Helper()
	f := &rawEnd{t: t, law: law, say: say, after: after}
	for _, c := range []**net.UDPConn{&f.sip, &f.rtp} {
		var err error
		if *c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	stop, loops := make(chan struct{}), sync.WaitGroup{}
	loops.Go(func() { f.signal(stop, &loops) })
	loops.Go(f.receive)
	t.Cleanup(func() {
		close(stop)
		f.sip.Close()
		f.rtp.Close()
		loops.Wait()
	})
	return f
}

func (f *rawEnd) trunk() waihu.Trunk {
	codec := "pcma"
	if f.law == 0 {
		codec = "pcmu"
	}
	return waihu.Trunk{URI: "sip:" + f.sip.LocalAddr().String(), Codecs: []string{codec}}
}

var rtpPort = regexp.MustCompile(`m=audio (\d+) `)

// signal answers INVITE and BYE, nothing else.
func (f *rawEnd) signal(stop chan struct{}, loops *sync.WaitGroup) {
	buf := make([]byte, 65536)
	for {
		n, from, err := f.sip.ReadFromUDP(buf)
		if err != nil {
			return
		}
		msg := string(buf[:n])
		method, _, _ := strings.Cut(msg, " ")
		if method != "INVITE" && method != "BYE" {
			continue
		}
		var head []string
		for _, line := range strings.Split(msg, "\r\n") {
			name, _, _ := strings.Cut(line, ":")
			switch strings.ToLower(name) {
			case "via", "from", "call-id", "cseq":
				head = append(head, line)
			case "to":
				if !strings.Contains(line, ";tag=") {
					line += ";tag=raw"
				}
				head = append(head, line)
			}
		}
		body := ""
		if method == "INVITE" {
			port := f.rtp.LocalAddr().(*net.UDPAddr).Port
			body = fmt.Sprintf("v=0\r\no=x 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP %d\r\n", port, f.law)
			head = append(head, "Contact: <sip:x@"+f.sip.LocalAddr().String()+">", "Content-Type: application/sdp")
		}
		answer := fmt.Sprintf("SIP/2.0 200 OK\r\n%s\r\nContent-Length: %d\r\n\r\n%s", strings.Join(head, "\r\n"), len(body), body)
		f.mu.Lock()
		first := f.answered.IsZero()
		if first {
			f.answered = time.Now()
		}
		f.mu.Unlock()
		if _, err := f.sip.WriteToUDP([]byte(answer), from); err != nil {
			f.t.Error(err)
			return
		}
		if m := rtpPort.FindStringSubmatch(msg); first && m != nil {
			to, err := net.ResolveUDPAddr("udp4", "127.0.0.1:"+m[1])
			if err != nil {
				f.t.Error(err)
				return
			}
			loops.Go(func() { f.send(stop, to) })
		}
	}
}

// send is the callee's sound: silence, say, silence.
func (f *rawEnd) send(stop chan struct{}, to *net.UDPAddr) {
	tick := time.NewTicker(audio.FrameMS * time.Millisecond)
	defer tick.Stop()
	packet := make([]byte, 12+audio.FrameSamples)
	packet[0], packet[1] = 0x80, byte(f.law)
	last := time.Now()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > stall {
			f.mu.Lock()
			f.stalled = true
			f.mu.Unlock()
		}
		last = now
		pcm := make([]int16, audio.FrameSamples)
		if at := i*audio.FrameSamples - int(f.after.Milliseconds())*8; at >= 0 && at < len(f.say) {
			copy(pcm, f.say[at:])
			if at == 0 {
				f.mu.Lock()
				f.began = time.Now()
				f.mu.Unlock()
			}
			if at+audio.FrameSamples >= len(f.say) {
				f.mu.Lock()
				f.spoken = time.Now()
				f.mu.Unlock()
			}
		}
		binary.BigEndian.PutUint16(packet[2:], uint16(i))
		binary.BigEndian.PutUint32(packet[4:], uint32(i*audio.FrameSamples))
		f.encode(packet[12:], pcm)
		if _, err := f.rtp.WriteToUDP(packet, to); err != nil {
			return
		}
	}
}

func (f *rawEnd) encode(dst []byte, pcm []int16) {
	if f.law == 0 {
		audio.EncodeULaw(dst, pcm)
	} else {
		audio.EncodeALaw(dst, pcm)
	}
}

func (f *rawEnd) silence() byte {
	var b [1]byte
	f.encode(b[:], []int16{0})
	return b[0]
}

func (f *rawEnd) receive() {
	buf := make([]byte, 2048)
	for {
		n, err := f.rtp.Read(buf)
		if err != nil {
			return
		}
		at := time.Now()
		if n < 12 || buf[1] >= 192 && buf[1] < 224 { // also RTCP, which is not for us
			continue
		}
		f.mu.Lock()
		f.packets = append(f.packets, rawPacket{at, binary.BigEndian.Uint16(buf[2:]), binary.BigEndian.Uint32(buf[4:]), buf[1] & 0x7f, slices.Clone(buf[12:n])})
		f.mu.Unlock()
	}
}

// stall is a pause between two packets that the machine made, not the program under test: neither end sends less often than every 20 ms.
const stall = 45 * time.Millisecond

// disturbed says that the machine stood still during the call, so that its times prove nothing.
func (f *rawEnd) disturbed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 1; i < len(f.packets); i++ {
		if f.packets[i].at.Sub(f.packets[i-1].at) > stall {
			return true
		}
	}
	return f.stalled
}

// median is the median of what one gives over calls that the machine left alone; 0 when it is too busy to tell. A median that
// is not good is taken again, twice at most: a machine that has little time for us delays all calls of a moment together,
// below what counts as standing still, and a mistake delays them always.
func median(t *testing.T, good func(time.Duration) bool, one func(t *testing.T, i int) (time.Duration, bool)) (d time.Duration) {
	t.Helper()
	for range 3 {
		if d = medianOnce(t, one); good(d) || t.Failed() {
			break
		}
	}
	return d
}

// medianOnce makes rounds of calls until enough of them were left alone by the machine.
func medianOnce(t *testing.T, one func(t *testing.T, i int) (time.Duration, bool)) time.Duration {
	t.Helper()
	const calls, enough, rounds = 5, 4, 3
	var took []time.Duration
	for range rounds {
		all, mu := sync.WaitGroup{}, sync.Mutex{}
		for i := range calls {
			all.Go(func() {
				if d, ok := one(t, i); ok {
					mu.Lock()
					took = append(took, d)
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(took) >= enough || t.Failed() {
			break
		}
	}
	slices.Sort(took)
	t.Logf("took %v", took)
	if len(took) < enough {
		t.Logf("in %d calls the machine stood still too often to tell", rounds*calls)
		return 0
	}
	return took[len(took)/2]
}

// firstWord is the first packet that holds sound.
func (f *rawEnd) firstWord() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.IndexFunc(f.packets, f.sounds)
}

// sounds says whether a packet holds more than silence.
func (f *rawEnd) sounds(p rawPacket) bool {
	quiet := f.silence()
	return slices.ContainsFunc(p.payload, func(b byte) bool { return b != quiet && b != quiet^0x80 })
}

const goodbye = "再见。"

// speakAgent says one shipped sentence after wait and hangs up.
func speakAgent(t *testing.T, wait int, say string) *waihu.AgentSpec {
	return agentOf(t, fmt.Sprintf(`{"id": "w", "name": "w", "version": 1, "vars": {"name": {}}, "opening": {"wait_ms": %d, "say": %q}, "brain": "flow",
		"flow": {"start": "bye", "nodes": {"bye": {"do": ["hangup"]}}}}`, wait, say))
}

func shippedVoice(t *testing.T) *speech.Synth {
	t.Helper()
	s, err := speech.NewSynth(speech.Options{Espeak: "off"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The first word leaves within 40 ms after opening.wait_ms has passed, or after the callee's first words have
// ended: they have when 200 ms of silence (vad.stop_ms) have come out of the jitter buffer, which
// holds packets for 40 ms at first; 20 ms are left to a busy machine.
func TestFirstWordLeavesInTime(t *testing.T) { // not parallel: it measures time
	r := newRig(t, nil)
	voice := shippedVoice(t)
	r.deps.Sounds = voice
	hello, err := voice.Say(t.Context(), agent.VoiceOf(&waihu.AgentSpec{}), "您好，")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		wait   int
		say    []int16
		budget time.Duration
	}{
		{"at once", 0, nil, 40 * time.Millisecond},
		{"after wait_ms", 400, nil, 440 * time.Millisecond},
		{"after their words", 3000, hello, (200 + 40 + 20) * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			good := func(d time.Duration) bool {
				return d <= tc.budget && (d == 0 || tc.say != nil || d >= time.Duration(tc.wait)*time.Millisecond)
			}
			got := median(t, good, func(t *testing.T, i int) (time.Duration, bool) {
				far := newRawEnd(t, 8, tc.say, 100*time.Millisecond)
				o := r.dial(t.Context(), far.trunk(), "10000000001", speakAgent(t, tc.wait, goodbye), nil)
				n := far.firstWord()
				if o.Disposition != waihu.Answered || n < 0 {
					t.Errorf("%s, first word in packet %d: %+v", o.Disposition, n, o.Evidence)
					return 0, false
				}
				disturbed := far.disturbed()
				far.mu.Lock()
				defer far.mu.Unlock()
				from := far.answered
				if tc.say != nil {
					from = far.spoken
				}
				return far.packets[n].at.Sub(from), !disturbed
			})
			if !good(got) {
				t.Errorf("the first word left after %v in the median, want %v at most", got, tc.budget)
			}
		})
	}
}

// What leaves the socket is the prompt, code for code, in 20 ms packets without a gap, and so is the recording's right channel.
func TestPromptLeavesWhole(t *testing.T) { // not parallel: it measures time
	r := newRig(t, nil)
	voice := shippedVoice(t)
	r.deps.Sounds = voice
	for _, law := range []int{8, 0} {
		t.Run(fmt.Sprint(law), func(t *testing.T) {
			t.Parallel()
			w, held, began := watch(t), heldUp(), time.Now()
			far := newRawEnd(t, law, nil, 0)
			o := r.dial(t.Context(), far.trunk(), "10000000001", speakAgent(t, 100, "您好，{{name|您}}，"+goodbye), nil)
			if o.Disposition != waihu.Answered {
				t.Fatalf("%s: %+v", o.Disposition, o.Evidence)
			}
			var want []byte
			add := func(pcm []int16) {
				b := make([]byte, len(pcm))
				far.encode(b, pcm)
				want = append(want, b...)
			}
			rest := make([]int16, 180*8) // of a comma at a cut
			for i, text := range []string{"您好，", "您", "，" + goodbye} {
				pcm, err := voice.Say(t.Context(), agent.VoiceOf(&waihu.AgentSpec{}), text)
				if err != nil {
					t.Fatal(err)
				}
				if i > 0 {
					add(rest)
				}
				add(pcm)
			}
			n := far.firstWord()
			if n < 0 {
				t.Fatal("no sound came")
			}
			far.mu.Lock()
			defer far.mu.Unlock()
			var got []byte
			var played []int16 // by time, as the recording has it
			for i, p := range far.packets {
				if len(p.payload) != audio.FrameSamples || int(p.pt) != law {
					t.Fatalf("packet %d: %d bytes of type %d", i, len(p.payload), p.pt)
				}
				if i > 0 {
					// A clock that the machine held up goes on with the present time; the prompt goes on where it was.
					was := far.packets[i-1]
					// What it was may have been read late, so the packets' own times do not always show it.
					step := p.ts - was.ts
					late := p.at.Sub(was.at) > stall || heldUp() > held || w.stood(began, p.at) > 0
					if p.seq != was.seq+1 || step != audio.FrameSamples && !(late && step%audio.FrameSamples == 0 && step < 80000) {
						t.Errorf("packet %d, %v after the one before: number %d and time %d after %d and %d", i, p.at.Sub(was.at), p.seq, p.ts, was.seq, was.ts)
					}
				}
				if i >= n && len(got) < len(want) {
					for len(played) < int(p.ts-far.packets[n].ts) {
						played = append(played, 0)
					}
					linear := make([]int16, len(p.payload))
					if law == 0 {
						audio.DecodeULaw(linear, p.payload)
					} else {
						audio.DecodeALaw(linear, p.payload)
					}
					played = append(played, linear...)
				}
				if i >= n {
					got = append(got, p.payload...)
				}
			}
			if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
				t.Errorf("%d codes left, of which the first %d are the prompt's %d", len(got), same(got, want), len(want))
			}
			for _, c := range got[min(len(got), len(want)):] {
				if c != far.silence() {
					t.Error("something follows the prompt")
					break
				}
			}
			raw, err := os.ReadFile(filepath.Join(r.deps.Recordings, filepath.FromSlash(o.Recording)))
			if err != nil {
				t.Fatal(err)
			}
			wav, err := audio.ReadWAV(raw)
			if err != nil {
				t.Fatal(err)
			}
			right, at := wav.Channels[1], 0
			for at+len(played) <= len(right) && !alike(right[at:at+len(played)], played) {
				at += audio.FrameSamples
			}
			if at+len(played) > len(right) {
				t.Errorf("the recording's right channel of %d samples does not hold what was sent", len(right))
			}
		})
	}
}

// A callee who speaks over the agent has silenced it 200 ms (barge.pause_ms) later, and the 40 ms that the jitter buffer holds;
// 20 ms are left to a busy machine.
func TestBargeInCutsInTime(t *testing.T) { // not parallel: it measures time
	r := newRig(t, nil)
	voice := shippedVoice(t)
	r.deps.Sounds = voice
	callee, err := voice.Say(t.Context(), agent.VoiceOf(&waihu.AgentSpec{}), "非常抱歉，我们会尽快为您补发。")
	if err != nil {
		t.Fatal(err)
	}
	spec := agentOf(t, `{"id": "b", "name": "b", "version": 1, "opening": {"wait_ms": 0, "say": "您好，我是回访助手，请问现在方便吗？"}, "brain": "flow",
		"flow": {"start": "ask", "nodes": {"ask": {"branches": [{"on": "speech", "go": "ask"}]}}}}`)
	good := func(d time.Duration) bool { return d == 0 || d >= 100*time.Millisecond && d <= 260*time.Millisecond }
	got := median(t, good, func(t *testing.T, i int) (time.Duration, bool) {
		far := newRawEnd(t, 8, callee, 700*time.Millisecond+time.Duration(i)*60*time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		o := r.dial(ctx, far.trunk(), "10000000001", spec, nil)
		disturbed := far.disturbed()
		far.mu.Lock()
		defer far.mu.Unlock()
		first, last := slices.IndexFunc(far.packets, far.sounds), 0
		for k, p := range far.packets {
			if far.sounds(p) {
				last = k
			}
		}
		if o.Disposition != waihu.Answered || first < 0 || disturbed {
			if o.Disposition != waihu.Answered {
				t.Errorf("%s: %+v", o.Disposition, o.Evidence)
			}
			return 0, false
		}
		if len(o.Transcript) == 0 || !o.Transcript[0].Barged {
			t.Errorf("transcript %+v", o.Transcript)
			return 0, false
		}
		// The line ends where its sound did, not where the interruption was believed.
		said, sounded := o.Transcript[0].ToMS-o.Transcript[0].FromMS, int64(far.packets[last].ts-far.packets[first].ts)/8
		if off := said - sounded; off < -60 || off > 60 {
			t.Errorf("a line of %d ms stands in the transcript with %d ms", sounded, said)
		}
		return far.packets[last].at.Sub(far.began), true
	})
	if !good(got) {
		t.Errorf("the agent was silent %v after the callee's first sound in the median, want 260 ms at most", got)
	}
}

// alike compares sounds; the quietest codes of G.711 all mean silence.
func alike(a, b []int16) bool {
	for i := range a {
		if d := int(a[i]) - int(b[i]); d < -8 || d > 8 {
			return false
		}
	}
	return true
}

// same is how many codes agree from the beginning.
func same(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
