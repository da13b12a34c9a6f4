package sip

import (
	"strings"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

func FuzzReasons(f *testing.F) {
	for _, s := range []string{`Q.850;cause=16;text="Normal, call; clearing"`, `SIP ;cause=486, q850; Cause = "17"`, `;cause=1`, `Q.850;cause=-1`, `Q.850;text="\"`, `<a,b>,"`, ``} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range parseReasons(s) {
			if r.Cause < 0 || r.Cause > 999 || r.Protocol == "" {
				t.Fatalf("%q: %+v", s, r)
			}
			// What we read we can send: one header line, and the cause survives.
			out := r.String()
			if strings.ContainsAny(r.Protocol, "\r\n,;\"<>") {
				continue // never sent: Reason of ours are made by us
			}
			again := parseReasons(out)
			if strings.ContainsAny(strings.TrimPrefix(out, r.Protocol), "\r\n") || len(again) != 1 || again[0].Cause != r.Cause {
				t.Fatalf("%q became %q, read as %+v", s, out, again)
			}
		}
	})
}

func FuzzHeaders(f *testing.F) {
	for _, s := range []string{"1800;refresher=uac", "90", "0", "18000;duration=3600", "120 (I'm in a meeting)", "4294967295", "99999999999999999999", " 7 ", "-1", ";", "776656"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := parseRetryAfter(s); d < 0 || d > maxRetryAfter {
			t.Fatalf("Retry-After %q: %v", s, d)
		}
		if se, ok := parseSessionExpires(s); ok && (se.interval <= 0 || se.refresher != "" && se.refresher != "uac" && se.refresher != "uas") {
			t.Fatalf("Session-Expires %q: %+v", s, se)
		}
		if d, ok := parseSeconds(s); ok && d < 0 {
			t.Fatalf("seconds %q: %v", s, d)
		}
		if n, ok := parseRSeq(s); ok && n == 0 {
			t.Fatalf("RSeq %q: 0", s)
		}
	})
}

func FuzzDTMF(f *testing.F) {
	f.Add("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n")
	f.Add("application/dtmf-relay", "Duration=160\nSIGNAL = 11")
	f.Add("application/dtmf", "#")
	f.Add("application/dtmf", "")
	f.Fuzz(func(t *testing.T, kind, body string) {
		if d, ok := parseDTMF(kind, body); ok && !strings.ContainsRune("0123456789*#ABCD", d) {
			t.Fatalf("%q %q: %q", kind, body, d)
		}
	})
}

func FuzzPeer(f *testing.F) {
	for _, s := range []string{"sip:a.example", "a.example:5080", "[::1]:5060", "sip:10.0.0.1;transport=tcp", "sips:x", "sip:[::1", "sip:a:b:c", "sip:@", "sip:a?b=c"} {
		f.Add(s, s, "13800138000")
	}
	f.Fuzz(func(t *testing.T, uri, proxy, number string) {
		p, err := NewPeer(waihu.Trunk{URI: uri, Proxy: proxy})
		if err != nil {
			return
		}
		if p.hop.host == "" || p.hop.port < 0 || p.hop.port > 65535 {
			t.Fatalf("%q %q: %+v", uri, proxy, p.hop)
		}
		// Whatever the number, the INVITE stays one parseable line after the other.
		id := p.identify(waihu.PhoneNumber(number), waihu.PhoneNumber(number), "tag")
		if s := id.request.String() + id.from.Value() + id.to.String(); strings.ContainsAny(s, "\r\n \t") {
			t.Fatalf("%q %q: %q", uri, number, s)
		}
		if u := userPart(number); strings.ContainsAny(u, "@<>\"\r\n \t:") {
			t.Fatalf("user part of %q is %q", number, u)
		}
	})
}

func FuzzJournal(f *testing.F) {
	head := `{"waihu_sip_journal":1,"salt":"00112233445566778899aabbccddeeff"}` + "\n"
	f.Add([]byte(head + `{"add":{"call":7,"to":"<sip:a@b>;tag=c","target":"sip:a@b","routes":["sip:r;lr"],"seq":2}}` + "\n"))
	f.Add([]byte(head + `{"end":7}` + "\n" + `{"add":{"ca`))
	f.Add([]byte("{}\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := &journal{live: map[waihu.CallID]entry{}, salt: make([]byte, saltBytes)}
		if err := j.replay(data); err != nil {
			return
		}
		if len(j.salt) != saltBytes {
			t.Fatalf("salt of %d bytes", len(j.salt))
		}
		for id, e := range j.live {
			if id <= 0 || e.Call != id {
				t.Fatalf("entry %d: %+v", id, e)
			}
			c := &call{}
			if g, err := c.legOf(e); err == nil && g.target.Host == "" {
				t.Fatalf("entry %+v has no target", e)
			}
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, c := range tortures {
		f.Add([]byte(c.change(goodOptions)))
	}
	f.Add([]byte("SIP/2.0 183 P\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n" +
		"Contact: <sip:x@[::1]:5>\r\nRecord-Route: <sip:r;lr>, <sip:s>\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--\r\n"))
	e := &Endpoint{parser: gosip.NewParser()}
	f.Fuzz(func(t *testing.T, data []byte) {
		msg := e.parse(data)
		if msg == nil {
			return
		}
		if status, _ := validate(msg); status != 0 {
			return
		}
		// What passed must be safe for everything that reads it afterwards.
		_ = sdpOf(msg)
		_ = reasonsOf(msg)
		switch m := msg.(type) {
		case *gosip.Response:
			c := &call{id: identity{request: gosip.Uri{Scheme: "sip", Host: "h"}}}
			g := c.legLocked(m)
			uri, routes, _ := g.nextLocked()
			if uri.Host == "" {
				t.Fatalf("no host to go to after %q", data)
			}
			_ = routes
			_, _ = gosip.ClientTxKeyMake(m)
		case *gosip.Request:
			_ = unsupported(m)
			_, _ = dtmfOf(m)
			res := gosip.NewResponseFromRequest(m, 200, "OK", nil)
			if !strings.HasPrefix(res.String(), "SIP/2.0 200 OK\r\n") {
				t.Fatalf("answer %q", res.String())
			}
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"<sip:a;lr>", `"x" <sip:[::1]:5060;lr>`, "sip:a", "<sip:a", "<>", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, v := range splitQuoted(s, ',') {
			if u, ok := addressOf(v); ok && u.Host == "" {
				t.Fatalf("%q: %+v", v, u)
			}
		}
	})
}

func FuzzChallenge(f *testing.F) {
	for _, s := range []string{`Digest realm="r", nonce="n", algorithm=MD5, qop="auth,auth-int", stale=TRUE`, `Digest realm="r`, `Basic x`, `Digest ,,,`, `Digest qop=auth, realm="a\"b", nonce=x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		chal, err := readChallenge(s)
		if err != nil {
			return
		}
		c := credentials{user: "u", password: "p", sets: []*credential{{header: "Authorization", chal: chal}}}
		req := gosip.NewRequest(gosip.INVITE, gosip.Uri{Scheme: "sip", Host: "h"})
		if err := c.sign(req); err != nil {
			t.Fatalf("%q was taken but cannot be answered: %v", s, err)
		}
	})
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{0: "0", time.Second: "1", 1500 * time.Millisecond: "2", time.Hour: "3600"} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}
