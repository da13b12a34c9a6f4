package carrier

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"waihu/audio"
)

func inviteTo(t *testing.T, number string) *sip.Request {
	t.Helper()
	m, err := sip.NewParser().ParseSIP([]byte("INVITE sip:" + number + "@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKx\r\n" +
		"From: <sip:a@b>;tag=1\r\nTo: <sip:" + number + "@127.0.0.1>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return m.(*sip.Request)
}

// Every clip must be there, loud enough to be heard and short of the limit; callees must be heard as speech.
func TestClips(t *testing.T) {
	t.Parallel()
	for text := range clipOf {
		pcm := voiceOf(text)
		if l := audio.Level(pcm); l < -30 || l > -14 || audio.Peak(pcm) > -0.1 {
			t.Errorf("%s: level %.1f, peak %.1f dBFS", text, l, audio.Peak(pcm))
		}
		var vad audio.VAD
		speech := 0
		for ; len(pcm) >= audio.FrameSamples; pcm = pcm[audio.FrameSamples:] {
			if vad.Frame(pcm) {
				speech++
			}
		}
		if speech < 5 {
			t.Errorf("%s: %d frames of it are speech", text, speech)
		}
	}
}

func TestSayCarriesSubtitle(t *testing.T) {
	t.Parallel()
	v := newVoices()
	for _, text := range []string{"喂", "完好", greeting, "没有录音的话"} {
		pcm := append(v.say(text), make([]int16, 800)...)
		code := make([]byte, len(pcm))
		audio.EncodeALaw(code, pcm)
		audio.DecodeALaw(pcm, code)
		d := audio.NewModemDecoder()
		got := ""
		for ; len(pcm) >= audio.FrameSamples; pcm = pcm[audio.FrameSamples:] {
			for _, p := range d.Frame(pcm[:audio.FrameSamples], false) {
				got += p.Text()
			}
		}
		if got != text {
			t.Errorf("%q reads as %q", text, got)
		}
	}
	if first := &v.say("喂")[0]; first != &v.say("喂")[0] {
		t.Error("a sound was rendered twice")
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	e := newEcho(150*time.Millisecond, -20)
	tone := audio.Tone(8000, -10, 500)
	var out []int16
	for i := 0; i+160 <= len(tone); i += 160 {
		e.write(tone[i : i+160])
		frame := make([]int16, 160)
		e.mix(frame)
		out = append(out, frame...)
	}
	if l := audio.Level(out[:1200]); l > -90 {
		t.Errorf("the first 150 ms have %.1f dBFS", l)
	}
	if l := audio.Level(out[1300:]); l < -31 || l > -29 {
		t.Errorf("the echo has %.1f dBFS, want -30", l)
	}
}

// A frame of a call in full swing must not allocate: hundreds share one pacer.
func TestPacketsAllocateNothing(t *testing.T) {
	conn := listenUDP(t, 0)
	defer conn.Close()
	sink := listenUDP(t, 0)
	defer sink.Close()
	to := netip.MustParseAddrPort(sink.LocalAddr().String())
	m := &media{rtp: conn, rtcp: conn, pt: ptPCMA, ptime: 20, eventPT: 101, dst: to, rtcpDst: to, sending: true, mark: true}
	m.ear.init()
	m.mouth.m = m
	m.ear.expect(local{codecs: []int{ptPCMA}, event: 101}, to)
	e := newEcho(150*time.Millisecond, -20)
	m.mouth.echo, m.ear.echo = e, e
	v := newVoices()
	m.mouth.under = v.babble()
	m.mouth.cues = []cue{{Step: Step{When: After}, sound: v.say(story)}, {Step: Step{When: After, DTMF: "12345"}}}
	in := packet(8, false, 0, 0, make([]byte, 160)...)
	pcm := voiceOf(story)
	now := time.Now()
	m.next = now
	n := 0
	if allocs := testing.AllocsPerRun(600, func() {
		now = now.Add(20 * time.Millisecond)
		n++
		audio.EncodeALaw(in[12:], pcm[n%300*160:])
		in[2], in[3] = byte(n>>8), byte(n)
		ts := uint32(n * 160)
		in[4], in[5], in[6], in[7] = byte(ts>>24), byte(ts>>16), byte(ts>>8), byte(ts)
		m.ear.packet(in, to, now, m)
		m.tick(now)
	}); allocs > 0.02 { // the queue of digits grows once
		t.Errorf("%.2f allocations per packet in and out", allocs)
	}
	if m.sent < 500 || len(m.ear.issues) > 0 {
		t.Errorf("%d packets sent, issues %v", m.sent, m.ear.issues)
	}
}

// After a stall the callee's clock must have gone on: what was missed is lost, what follows comes at its own time,
// so that a subtitle survives as it survives lost packets.
func TestStallLosesNoTime(t *testing.T) {
	t.Parallel()
	conn, sink := listenUDP(t, 0), listenUDP(t, 0)
	defer conn.Close()
	defer sink.Close()
	to := netip.MustParseAddrPort(sink.LocalAddr().String())
	m := &media{rtp: conn, rtcp: conn, pt: ptPCMA, ptime: 20, eventPT: -1, dst: to, sending: true}
	m.mouth.m = m
	v := newVoices()
	m.mouth.clip = v.say("完好")
	now := time.Now()
	m.next, m.nextSR = now, now.Add(time.Hour)
	for range 60 {
		if now = now.Add(20 * time.Millisecond); m.sent == 12 {
			now = now.Add(80 * time.Millisecond)
		}
		m.tick(now)
	}
	d := audio.NewModemDecoder()
	buf, pcm := make([]byte, 2000), make([]int16, 160)
	got, last := "", uint32(0)
	for i := range m.sent {
		_ = sink.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := sink.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		ts := binary.BigEndian.Uint32(buf[4:])
		for ; i > 0 && last+160 < ts; last += 160 {
			d.Frame(pcm, true)
		}
		last = ts
		audio.DecodeALaw(pcm, buf[12:n])
		for _, p := range d.Frame(pcm, false) {
			got += p.Text()
		}
	}
	if got != "完好" {
		t.Errorf("after a stall of 80 ms %q was read", got)
	}
}

// A slow clock sends 3 packets less in five minutes: 300 s * 200 ppm = 60 ms.
func TestDrift(t *testing.T) {
	t.Parallel()
	conn := listenUDP(t, 0)
	defer conn.Close()
	sent := func(drift float64) int {
		m := &media{rtp: conn, rtcp: conn, pt: ptPCMA, ptime: 20, eventPT: -1, sending: true, drift: drift}
		m.mouth.m = m
		now := time.Now()
		m.next, m.nextSR = now, now.Add(time.Hour)
		seq := m.seq
		n := 0
		for range 60 * 5 * 200 {
			now = now.Add(5 * time.Millisecond)
			m.tick(now)
			n += int(m.seq - seq)
			seq = m.seq
		}
		return n
	}
	if a, b := sent(0), sent(200e-6); a-b != 3 {
		t.Errorf("%d packets with a true clock, %d with a slow one: 3 less were expected", a, b)
	}
}

func BenchmarkCallSecond(b *testing.B) {
	conn, sink := listenUDP(b, 0), listenUDP(b, 0)
	defer conn.Close()
	defer sink.Close()
	to := netip.MustParseAddrPort(sink.LocalAddr().String())
	m := &media{rtp: conn, rtcp: conn, pt: ptPCMA, ptime: 20, eventPT: 101, dst: to, rtcpDst: to, sending: true}
	m.ear.init()
	m.mouth.m = m
	m.ear.expect(local{codecs: []int{ptPCMA}, event: 101}, to)
	in := packet(8, false, 0, 0, make([]byte, 160)...)
	now := time.Now()
	m.next = now
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for range 50 {
			now = now.Add(20 * time.Millisecond)
			n++
			in[2], in[3] = byte(n>>8), byte(n)
			ts := uint32(n * 160)
			in[4], in[5], in[6], in[7] = byte(ts>>24), byte(ts>>16), byte(ts>>8), byte(ts)
			m.ear.packet(in, to, now, m)
			m.tick(now)
		}
	}
}

const offer = "v=0\r\no=alice 12 3 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 18 8 0 97\r\n" +
	"a=rtpmap:97 telephone-event/8000\r\na=ptime:30\r\na=rtcp:4005\r\nm=video 5000 RTP/AVP 96\r\nc=IN IP4 192.0.2.9\r\na=inactive\r\n"

func TestParseSDP(t *testing.T) {
	t.Parallel()
	for _, text := range []string{offer, strings.ReplaceAll(offer, "\r\n", "\n")} {
		d, err := parseSDP([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if d.addr.String() != "192.0.2.1" || d.port != 4000 || d.codec(0, 8) != 8 || d.event() != 97 || d.ptime != 30 || d.rtcp != 4005 ||
			d.direction != "sendonly" || d.media != 2 || d.session != "12" || d.version != "3" || !d.held() || len(d.missing) > 0 {
			t.Errorf("%+v", d)
		}
	}
	for name, text := range map[string]string{
		"no audio":     "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n",
		"no form":      "v=0\r\nnonsense\r\n",
		"origin":       "v=0\r\no=- 1 1\r\n",
		"address":      "v=0\r\nc=IN IP4 somewhere\r\n",
		"connection":   "v=0\r\nc=ATM x\r\n",
		"media":        "m=audio 4000\r\n",
		"port":         "m=audio 70000 RTP/AVP 0\r\n",
		"payload type": "m=audio 4000 RTP/AVP 200\r\n",
	} {
		if d, err := parseSDP([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
	own := local{addr: netip.MustParseAddr("127.0.0.1"), port: 6, session: 1, version: 2, codecs: []int{0, 8}, event: 101, ptime: 20, direction: "recvonly"}
	d, err := parseSDP(own.bytes())
	if err != nil || d.port != 6 || d.direction != "recvonly" || d.version != "2" || d.event() != 101 || len(d.missing) > 0 {
		t.Errorf("our own description reads as %+v, %v", d, err)
	}
}

func FuzzParseSDP(f *testing.F) {
	f.Add([]byte(offer))
	f.Add([]byte("v=0\nm=audio 1/2 RTP/AVP 0 8\nc=IN IP6 ::1/127\na=rtpmap:0\na=ptime:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseSDP(b)
		if err == nil && (d.formats == nil || d.port < 0 || d.port > 65535) {
			t.Errorf("%q gave %+v", b, d)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	f.Add(`Digest username="a,b", realm="r", nonce=x, uri="sip:a", nc=00000001`)
	f.Add(`Digest a="`)
	f.Fuzz(func(t *testing.T, s string) {
		for name := range credentials(s) {
			if strings.ToLower(name) != name {
				t.Errorf("%q gave the name %q", s, name)
			}
		}
	})
}

func FuzzRTCP(f *testing.F) {
	f.Add([]byte{0x80, 200, 0, 0, 0x81, 202, 0, 3, 0, 0, 0, 1, 1, 1, 'x', 0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) { checkRTCP(b) })
}

func FuzzEar(f *testing.F) {
	f.Add(packet(8, true, 1, 2, 3, 4, 5), packet(101, false, 2, 3, 5, 0x8A, 1, 2))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		_, e := heard(a, b, a)
		if len(e.issues) > maxIssues || e.lost < 0 {
			t.Errorf("issues %v, lost %d", e.issues, e.lost)
		}
	})
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	// RFC 7616 3.9.1, with MD5 and with SHA-256.
	p := credentials(`Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=MD5, ` +
		`nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, ` +
		`response="8ca523f5e9506fed4657c9700eebdbec", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`)
	if got := digest("Mufasa", p["realm"], "Circle of Life", "GET", p); got != p["response"] {
		t.Errorf("MD5: %s, want %s", got, p["response"])
	}
	p["algorithm"] = "SHA-256"
	if got, want := digest("Mufasa", p["realm"], "Circle of Life", "GET", p), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"; got != want {
		t.Errorf("SHA-256: %s, want %s", got, want)
	}
	if credentials("Basic abc") != nil {
		t.Error("Basic was taken for Digest")
	}
}
