package media

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/sdp/v3"
)

// parse reads a description of ours with another implementation.
func parse(t *testing.T, b []byte) *sdp.SessionDescription {
	t.Helper()
	var d sdp.SessionDescription
	if err := d.Unmarshal(b); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	return &d
}

func TestOffer(t *testing.T) {
	t.Parallel()
	e := testEngine(t, Config{})
	s := open(t, e, SessionConfig{Codecs: []string{"pcmu", "pcma"}, Ptime: 30 * time.Millisecond})
	text := s.Offer()
	d := parse(t, text)
	m := d.MediaDescriptions[0]
	if got := fmt.Sprint(m.MediaName.Formats, m.MediaName.Port.Value == s.Port(), s.Port()%2, d.ConnectionInformation.Address.Address); got != "[0 8 101] true 0127.0.0.1" {
		t.Errorf("%s in\n%s", got, text)
	}
	for _, want := range []string{"a=rtpmap:8 PCMA/8000\r\n", "a=rtpmap:0 PCMU/8000\r\n", "a=rtpmap:101 telephone-event/8000\r\n", "a=fmtp:101 0-15\r\n", "a=ptime:30\r\n", "a=sendrecv\r\n", fmt.Sprintf("a=rtcp:%d\r\n", s.Port()+1)} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if again := s.Offer(); !bytes.Equal(again, text) {
		t.Errorf("the same offer is another text:\n%s", again)
	}
}

func TestAnswersAsCarriersWriteThem(t *testing.T) {
	t.Parallel()
	const head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
	for name, c := range map[string]struct {
		sdp  string
		want string // law, pt, samples, event pt, remote, send
		err  error
	}{
		"plain":                   {head + "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n", "PCMA 8 160 101 192.0.2.1:4000 true", nil},
		"LF only":                 {strings.ReplaceAll(head+"m=audio 4000 RTP/AVP 0\r\na=ptime:40\r\n", "\r\n", "\n"), "PCMU 0 320 0 192.0.2.1:4000 true", nil},
		"no rtpmap":               {head + "m=audio 4000 RTP/AVP 0 8\r\n", "PCMU 0 160 0 192.0.2.1:4000 true", nil},
		"event at 96":             {head + "m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:96 Telephone-Event/8000/1\r\na=fmtp:96 0-16\r\n", "PCMA 8 160 96 192.0.2.1:4000 true", nil},
		"dynamic PCMA":            {head + "m=audio 4000 RTP/AVP 99\r\na=rtpmap:99 pcma/8000\r\n", "PCMA 99 160 0 192.0.2.1:4000 true", nil},
		"own c=":                  {head + "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 198.51.100.7/127\r\n", "PCMA 8 160 0 198.51.100.7:4000 true", nil},
		"a host name":             {strings.ReplaceAll(head, "c=IN IP4 192.0.2.1", "c=IN IP4 media.example.com") + "m=audio 4000 RTP/AVP 8\r\n", "PCMA 8 160 0 invalid AddrPort true", nil},
		"ptime 60 maxptime 30":    {head + "m=audio 4000 RTP/AVP 8\r\na=ptime:60\r\na=maxptime:30\r\n", "PCMA 8 240 0 192.0.2.1:4000 true", nil},
		"ptime 25 is not ours":    {head + "m=audio 4000 RTP/AVP 8\r\na=ptime:25\r\n", "PCMA 8 160 0 192.0.2.1:4000 true", nil},
		"ptime 20.0":              {head + "m=audio 4000 RTP/AVP 8\r\na=ptime:10.0\r\n", "PCMA 8 80 0 192.0.2.1:4000 true", nil},
		"unknown lines":           {"v=0\r\nz=what\r\no=x\r\nq\r\nk=clear:1\r\nc=IN IP4 192.0.2.1\r\nb=AS:64\r\nx-=y\r\nm=audio 4000 RTP/AVP 8\r\na=unheard:of\r\ni=hm\r\na=\r\n\r\n", "PCMA 8 160 0 192.0.2.1:4000 true", nil},
		"attributes before media": {"v=0\r\nc=IN IP4 192.0.2.1\r\na=sendonly\r\na=ptime:30\r\nm=audio 4000 RTP/AVP 8\r\n", "PCMA 8 240 0 192.0.2.1:4000 false", nil},
		"second stream":           {head + "m=video 5000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\nm=audio 4000 RTP/AVP 8\r\na=inactive\r\n", "PCMA 8 160 0 192.0.2.1:4000 false", nil},
		"comfort noise first":     {head + "m=audio 4000 RTP/AVP 13 0\r\n", "PCMU 0 160 0 192.0.2.1:4000 true", nil},
		"0.0.0.0":                 {strings.ReplaceAll(head, "192.0.2.1", "0.0.0.0") + "m=audio 4000 RTP/AVP 8\r\n", "PCMA 8 160 0 invalid AddrPort false", nil},
		"G.729 only":              {head + "m=audio 4000 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n", "", ErrNoCodec},
		"wideband PCMA":           {head + "m=audio 4000 RTP/AVP 99\r\na=rtpmap:99 PCMA/16000\r\n", "", ErrNoCodec},
		"events only":             {head + "m=audio 4000 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n", "", ErrNoCodec},
		"port 0":                  {head + "m=audio 0 RTP/AVP 8\r\n", "", ErrRefused},
		"no audio":                {head + "m=image 4000 udptl t38\r\n", "", ErrSDP},
		"encrypted":               {head + "m=audio 4000 RTP/SAVP 8\r\n", "", ErrSDP},
		"nothing":                 {"", "", ErrSDP},
		"not SDP":                 {"<html>", "", ErrSDP},
		"too long":                {strings.Repeat("a=x\r\n", 20000), "", ErrSDP},
		"IPv6 on a v4 line":       {strings.ReplaceAll(head, "IP4 192.0.2.1", "IP6 2001:db8::1") + "m=audio 4000 RTP/AVP 8\r\n", "", ErrSDP},
	} {
		s := open(t, testEngine(t, Config{}), SessionConfig{})
		s.Offer()
		err := s.Remote([]byte(c.sdp))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
			continue
		}
		if err != nil {
			continue
		}
		f := s.flow.Load()
		if got := fmt.Sprint(kindNames[f.law], " ", f.pt, f.samples, f.eventPT, " ", f.remote, " ", f.send); strings.ReplaceAll(got, "  ", " ") != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestReoffers(t *testing.T) {
	t.Parallel()
	e := testEngine(t, Config{})
	s := open(t, e, SessionConfig{})
	far := newFarEnd(t, s)
	offer := s.Offer()
	far.answer(s)
	versionOf := func(b []byte) uint64 { return parse(t, b).Origin.SessionVersion }
	direction := func(b []byte) string {
		for _, a := range parse(t, b).MediaDescriptions[0].Attributes {
			if slices.Contains(directionNames[:], a.Key) {
				return a.Key
			}
		}
		return ""
	}
	reoffer := func(b []byte) []byte {
		t.Helper()
		a, err := s.Reoffer(b)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	base := far.sdp("8 101", events)
	same := reoffer(base)
	again := reoffer(base)
	if !bytes.Equal(same, again) {
		t.Errorf("the same offer gets another answer:\n%s\n%s", same, again)
	}
	if versionOf(same) != versionOf(offer)+1 { // the answer names fewer codecs than the offer did
		t.Errorf("the version goes from %d to %d", versionOf(offer), versionOf(same))
	}
	// The far end raises its own version only: nothing of ours changes.
	if a := reoffer(bytes.Replace(base, []byte("o=x 1 1"), []byte("o=x 1 2"), 1)); !bytes.Equal(a, same) {
		t.Errorf("only the far end's version changed, and we answer\n%s", a)
	}
	last := versionOf(same)
	for _, c := range []struct {
		name  string
		extra string
		addr  string
		want  string
		send  bool
	}{{"hold", "a=sendonly", "127.0.0.1", "recvonly", false}, {"resume", "a=sendrecv", "127.0.0.1", "sendrecv", true}, {"inactive", "a=inactive", "127.0.0.1", "inactive", false},
		{"recvonly", "a=recvonly", "127.0.0.1", "sendonly", true}, {"old hold", "", "0.0.0.0", "recvonly", false}, {"back", "", "127.0.0.1", "sendrecv", true}, {"moved", "", "192.0.2.9", "sendrecv", true}} {
		a := reoffer(bytes.ReplaceAll(far.sdp("8 101", events, c.extra), []byte("c=IN IP4 127.0.0.1"), []byte("c=IN IP4 "+c.addr)))
		if got := direction(a); got != c.want {
			t.Errorf("%s: answered with %s, want %s", c.name, got, c.want)
		}
		f := s.flow.Load()
		if f.send != c.send {
			t.Errorf("%s: sending is %v", c.name, f.send)
		}
		if c.name == "moved" {
			if want := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), uint16(portOf(far.rtp))); f.remote != want {
				t.Errorf("sends to %v, want %v", f.remote, want)
			}
			if versionOf(a) != last {
				t.Errorf("ours is unchanged, yet the version goes from %d to %d", last, versionOf(a))
			}
		} else if versionOf(a) != last+1 {
			t.Errorf("%s: the version goes from %d to %d", c.name, last, versionOf(a))
		}
		last = versionOf(a)
	}
	// Without an offer of theirs we make one, with all our codecs again.
	own := reoffer(nil)
	if got := parse(t, own).MediaDescriptions[0].MediaName.Formats; len(got) != 3 || versionOf(own) != last+1 {
		t.Errorf("our own offer:\n%s", own)
	}
	if err := s.Remote(far.sdp("0")); err != nil || s.flow.Load().law != kindPCMU {
		t.Errorf("its answer: %v, %v", err, s.flow.Load().law)
	}
	// A video stream beside is refused, in its place.
	a := reoffer([]byte("v=0\r\no=- 1 9 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 6000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\nm=audio 4000 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\n"))
	ms := parse(t, a).MediaDescriptions
	if len(ms) != 2 || ms[0].MediaName.Port.Value != 0 || ms[0].MediaName.Media != "video" || ms[1].MediaName.Port.Value != s.Port() {
		t.Errorf("with video:\n%s", a)
	}
	before := s.flow.Load()
	if _, err := s.Reoffer([]byte("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 18\r\n")); !errors.Is(err, ErrNoCodec) {
		t.Errorf("an offer without our codecs: %v", err)
	}
	if s.flow.Load() != before {
		t.Error("a refused offer changed the call")
	}
	a = reoffer([]byte("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 0 RTP/AVP 8\r\n"))
	if parse(t, a).MediaDescriptions[0].MediaName.Port.Value != 0 || s.flow.Load().send {
		t.Errorf("a removed stream is answered\n%s", a)
	}
	s.Close()
	if _, err := s.Reoffer(base); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestHoldStopsSendingAndResumes(t *testing.T) {
	t.Parallel()
	app := &ear{}
	d := drive(t, SessionConfig{App: app})
	d.far.answer(d.Session)
	d.Start()
	d.tick(3)
	var last uint32
	for range 3 {
		last = d.far.receive().Timestamp
	}
	hold := d.far.sdp(bothLaws, events, "a=sendonly")
	if _, err := d.Reoffer(hold); err != nil {
		t.Fatal(err)
	}
	d.tick(50)
	if d.far.tryReceive(20*time.Millisecond) != nil || !app.held {
		t.Error("we send while held")
	}
	if _, err := d.Reoffer(d.far.sdp(bothLaws, events)); err != nil {
		t.Fatal(err)
	}
	d.tick(2)
	if p := d.far.receive(); !p.Marker || p.Timestamp != last+51*160 {
		t.Errorf("after the hold comes %v, %d samples later", p, p.Timestamp-last)
	}
	if p := d.far.receive(); p.Marker {
		t.Error("a second marker")
	}
}

func FuzzSDP(f *testing.F) {
	f.Add([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=rtcp:4001 IN IP4 192.0.2.2\r\n"))
	f.Add([]byte("c=IN IP4 0.0.0.0\nm=audio 4000/2 RTP/AVPF 96\na=rtpmap:96 PCMU/8000/1\na=inactive\nm=video 1\n"))
	f.Add([]byte("m=audio 0 RTP/AVP 8\na=maxptime:5\na=rtcp:x\na=rtpmap:999 PCMA/8000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Session{cfg: SessionConfig{Local: loopback, Ptime: frameLength}, port: 4000, rtp: &socket{local: netip.AddrPortFrom(loopback, 4000)}}
		s.neg.offered, _ = formatsOf(nil)
		s.clock = newClock(nil) // joined already: nothing but the negotiation is tried
		s.Offer()
		s.Remote(b)
		answer, err := s.Reoffer(b)
		if err != nil {
			return
		}
		d, err := parseSDP(answer)
		if err != nil {
			t.Fatalf("our own answer cannot be read: %v\n%s", err, answer)
		}
		in, err := parseSDP(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.streams) != len(in.streams) || d.audio != in.audio {
			t.Fatalf("%d streams are answered with %d:\n%s", len(in.streams), len(d.streams), answer)
		}
		again, err := s.Reoffer(b)
		if err != nil || !bytes.Equal(again, answer) {
			t.Fatalf("the same offer is answered otherwise: %v", err)
		}
		fl := s.flow.Load()
		if fl != nil && (fl.samples < 80 || fl.samples > 480) {
			t.Fatalf("packets of %d samples", fl.samples)
		}
	})
}
