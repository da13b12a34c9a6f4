package sip

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"
)

const goodOptions = "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1;rport\r\n" +
	"Max-Forwards: 70\r\n" +
	"From: <sip:a@b>;tag=1\r\n" +
	"To: <sip:x@127.0.0.1>\r\n" +
	"Call-ID: one\r\n" +
	"CSeq: 1 OPTIONS\r\n" +
	"Content-Length: 0\r\n\r\n"

// Cases in the manner of RFC 4475: what the parser lets through and the validation must judge.
var tortures = []struct {
	name   string
	change func(string) string
	want   int // 0 good, -1 dropped or unparseable
}{
	{"good", func(s string) string { return s }, 0},
	{"compact headers", func(s string) string {
		return replace(s, "Via:", "v:", "From:", "f:", "To:", "t:", "Call-ID:", "i:", "Content-Length:", "l:")
	}, 0},
	{"odd case", func(s string) string { return replace(s, "Via:", "vIA:", "CSeq:", "cseq :", "From:", "FROM:") }, 0},
	{"folded line", func(s string) string { return replace(s, "From: <sip:a@b>;tag=1", "From:\r\n <sip:a@b>\r\n\t;tag=1") }, 0},
	{"quoted brackets", func(s string) string { return replace(s, "<sip:a@b>", `"A \"<b>\" c" <sip:a@b>`) }, 0},
	{"empty display name", func(s string) string { return replace(s, "From: <sip:a@b>", `From: "" <sip:a@b>`) }, 0},
	{"non-ASCII display name", func(s string) string { return replace(s, "From: <sip:a@b>", `From: "外呼" <sip:a@b>`) }, 0},
	{"escaped user", func(s string) string { return replace(s, "OPTIONS sip:x@", "OPTIONS sip:%75se%72;a=b@") }, 0},
	{"tel URI", func(s string) string { return replace(s, "OPTIONS sip:x@127.0.0.1", "OPTIONS tel:+8610086") }, 0},
	{"no Content-Length", func(s string) string { return replace(s, "Content-Length: 0\r\n", "") }, 0},
	{"excess bytes", func(s string) string { return s + "garbage" }, 0},
	{"several Via in one line", func(s string) string { return replace(s, ";rport\r\n", ";rport, SIP/2.0/UDP 10.0.0.1\r\n") }, 0},
	{"Max-Forwards 0 at its goal", func(s string) string { return replace(s, "Max-Forwards: 70", "Max-Forwards: 0") }, 0},
	{"unknown method", func(s string) string { return replace(s, "OPTIONS", "NEWMETHOD") }, 0},
	{"CSeq names another method", func(s string) string { return replace(s, "CSeq: 1 OPTIONS", "CSeq: 1 INVITE") }, 400},
	{"CSeq too large", func(s string) string { return replace(s, "CSeq: 1 ", "CSeq: 36893488147419103232 ") }, -1},
	{"two CSeq", func(s string) string { return replace(s, "CSeq: 1 OPTIONS", "CSeq: 1 OPTIONS\r\nCSeq: 2 OPTIONS") }, 400},
	{"two From", func(s string) string {
		return replace(s, "From: <sip:a@b>;tag=1", "From: <sip:a@b>;tag=1\r\nFrom: <sip:c@d>;tag=2")
	}, 400},
	{"two Call-ID", func(s string) string { return replace(s, "Call-ID: one", "Call-ID: one\r\nCall-ID: two") }, 400},
	{"lengths that differ", func(s string) string {
		return replace(s, "Content-Length: 0", "Content-Length: 4\r\nContent-Length: 0")
	}, 400},
	{"negative length", func(s string) string { return replace(s, "Content-Length: 0", "Content-Length: -9") }, -1},
	{"length beyond the body", func(s string) string { return replace(s, "Content-Length: 0", "Content-Length: 999") }, -1},
	{"no From tag", func(s string) string { return replace(s, ";tag=1", "") }, 400},
	{"no To", func(s string) string { return replace(s, "To: <sip:x@127.0.0.1>\r\n", "") }, -1},
	{"no Call-ID", func(s string) string { return replace(s, "Call-ID: one\r\n", "") }, -1},
	{"no Via", func(s string) string {
		return replace(s, "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1;rport\r\n", "")
	}, -1},
	{"version", func(s string) string { return replace(s, "127.0.0.1 SIP/2.0\r\n", "127.0.0.1 SIP/7.0\r\n") }, 505},
	{"scheme", func(s string) string { return replace(s, "OPTIONS sip:x@127.0.0.1", "OPTIONS nobodyKnowsThisScheme:x") }, 416},
	{"bad method", func(s string) string { return replace(s, "OPTIONS", `OPT"ONS`) }, 400},
	{"Max-Forwards 300", func(s string) string { return replace(s, "Max-Forwards: 70", "Max-Forwards: 300") }, 400},
	{"Via of another protocol", func(s string) string { return replace(s, "Via: SIP/2.0", "Via: SIP/7.0") }, 400},
	{"port", func(s string) string { return replace(s, "OPTIONS sip:x@127.0.0.1", "OPTIONS sip:x@127.0.0.1:99999") }, 400},
	{"Via flood", func(s string) string {
		return replace(s, "Max-Forwards", strings.Repeat("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\n", maxVias+1)+"Max-Forwards")
	}, 400},
	{"header flood", func(s string) string {
		return replace(s, "Max-Forwards", strings.Repeat("X: y\r\n", maxHeaders+1)+"Max-Forwards")
	}, 400},
	{"not SIP", func(string) string { return "GET / HTTP/1.1\r\nHost: x\r\n\r\n" }, -1},
	{"nothing", func(string) string { return "\r\n\r\n" }, -1},
}

func replace(s string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(s) }

func TestValidate(t *testing.T) {
	t.Parallel()
	e := &Endpoint{parser: gosip.NewParser()}
	for _, c := range tortures {
		got := -1
		if msg := e.parse([]byte(c.change(goodOptions))); msg != nil {
			got, _ = validate(msg)
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for text, want := range map[string]int{
		"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n":                                 0,
		"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP i;branch=z9hG4bK2\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n": -1,
		"SIP/2.0 4294967301 Big\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n":                               -1,
		"SIP/2.0 99 Small\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n":                                     -1,
	} {
		got := -1
		if msg := e.parse([]byte(text)); msg != nil {
			got, _ = validate(msg)
		}
		if got != want {
			t.Errorf("%.30q: %d, want %d", text, got, want)
		}
	}
}

// On the wire: each verdict's answer, or silence, and the endpoint still works afterwards.
func TestTortureOnTheWire(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	forget, err := e.Allow(context.Background(), f.peerOf(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer forget()
	f.mu.Lock()
	f.peer = e.udpSocks[0].addr
	f.mu.Unlock()
	for i, c := range tortures {
		if c.want < 0 || c.name == "unknown method" {
			f.write([]byte(c.change(goodOptions)))
			continue
		}
		id := fmt.Sprintf("torture%d", i)
		f.write([]byte(replace(c.change(goodOptions), "z9hG4bK1", "z9hG4bK"+id, "Call-ID: one", "Call-ID: "+id)))
		want := c.want
		if want == 0 {
			want = 200
		}
		res := f.await(c.name, func(m gosip.Message) bool {
			r, ok := m.(*gosip.Response)
			b, _ := m.Via().Params.Get("branch")
			return ok && b == "z9hG4bK"+id && r.StatusCode >= 200
		}).(*gosip.Response)
		if res.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", c.name, res.StatusCode, res.Reason, want)
		}
	}
	if e.Stats().Malformed == 0 {
		t.Error("nothing was counted as malformed")
	}
	f.write([]byte(replace(goodOptions, "\r\n", "\n", "z9hG4bK1", "z9hG4bKlf", "Call-ID: one", "Call-ID: lf")))
	f.expectStatus(gosip.OPTIONS, 200)
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter(3)
	a, now := netip.MustParseAddr("192.0.2.1"), time.Unix(50, 0)
	for i := range 5 {
		if got := l.allow(a, now); got != (i < 3) {
			t.Errorf("message %d: %v", i, got)
		}
	}
	if !l.allow(netip.MustParseAddr("192.0.2.2"), now) || !l.allow(a, now.Add(time.Second)) {
		t.Error("another source and another second have their own allowance")
	}
	for i := range maxStrangers {
		l.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now.Add(2*time.Second))
	}
	if l.allow(a, now.Add(2*time.Second)) || len(l.n) > maxStrangers {
		t.Error("forged sources are not bounded")
	}
}

func TestReadBuffer(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, func(o *Options) { o.ReadBuffer = 64 << 10 })
	if got := e.Stats().ReadBuffer; got < 64<<10 {
		t.Errorf("the kernel granted %d", got)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no listen address was accepted")
	}
	if _, err := New(Options{Listen: []ListenAddr{{"udp", e.Addrs()[0].Addr}}}); err == nil {
		t.Error("a taken address was accepted")
	}
	if _, err := New(Options{Listen: []ListenAddr{{"sctp", "127.0.0.1:0"}}}); err == nil {
		t.Error("sctp was accepted")
	}
}
