package sip

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"waihu"
)

// proves checks that req answers chal with the password.
func proves(t *testing.T, req *gosip.Request, header string, chal *digest.Challenge, user, password string) *digest.Credentials {
	t.Helper()
	var found *digest.Credentials
	for _, h := range req.GetHeaders(header) {
		c, err := digest.ParseCredentials(h.Value())
		if err != nil {
			t.Fatalf("%s: %v", header, err)
		}
		if c.Realm == chal.Realm {
			found = c
		}
	}
	if found == nil {
		t.Fatalf("%s has no %s for realm %q", req.Method, header, chal.Realm)
	}
	want, err := digest.Digest(chal, digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), Count: found.Nc, Cnonce: found.Cnonce, Username: user, Password: password,
	})
	if err != nil {
		t.Fatal(err)
	}
	if found.Response != want.Response || found.Nonce != chal.Nonce || !strings.EqualFold(found.Algorithm, chal.Algorithm) {
		t.Fatalf("wrong answer %+v to %+v", found, chal)
	}
	return found
}

func withPassword(tr *waihu.Trunk) {
	tr.Username, tr.AuthUsername, tr.Password = "line", "auth", "secret"
}

func TestDigest(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, nil)
	for _, c := range []struct {
		name   string
		status int
		chal   digest.Challenge
		others []string // further challenges beside it
	}{
		{"401 md5", 401, digest.Challenge{Realm: "r", Nonce: "n", Algorithm: "MD5", QOP: []string{"auth"}}, nil},
		{"407 sha-256", 407, digest.Challenge{Realm: "r", Nonce: "n", Algorithm: "SHA-256", QOP: []string{"auth", "auth-int"}, Opaque: "o"}, nil},
		{"no qop, no algorithm", 407, digest.Challenge{Realm: "r", Nonce: "n"}, nil},
		{"strongest", 401, digest.Challenge{Realm: "r", Nonce: "n256", Algorithm: "SHA-256", QOP: []string{"auth"}},
			[]string{`Digest realm="r", nonce="n5", algorithm=MD5, qop="auth"`, `Digest realm="r", nonce="x", algorithm=AKAv1-MD5`, `Basic realm="r"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFarEnd(t)
			ask, reply := "WWW-Authenticate", "Authorization"
			if c.status == 407 {
				ask, reply = "Proxy-Authenticate", "Proxy-Authorization"
			}
			ch := dial(context.Background(), e, Invite{Peer: f.peerOf(withPassword)})
			first := f.expect(gosip.INVITE)
			if first.GetHeader(reply) != nil {
				t.Error("credentials before a challenge")
			}
			var headers []string
			for _, o := range append(c.others, c.chal.String()) {
				headers = append(headers, ask+": "+o)
			}
			f.reply(first, c.status, "Who?", answer{headers: headers, contact: "-"})
			f.expect(gosip.ACK)
			second := f.expect(gosip.INVITE)
			if first.CallID().Value() != second.CallID().Value() || second.CSeq().SeqNo != first.CSeq().SeqNo+1 {
				t.Errorf("second INVITE: Call-ID %s CSeq %d", second.CallID().Value(), second.CSeq().SeqNo)
			}
			a, _ := first.From().Params.Get("tag")
			b, _ := second.From().Params.Get("tag")
			if a != b || first.Via().Value() == second.Via().Value() {
				t.Error("want the same From-tag and another branch")
			}
			cred := proves(t, second, reply, &c.chal, "auth", "secret")
			if len(c.chal.QOP) > 0 && cred.Nc != 1 {
				t.Errorf("nonce count %d", cred.Nc)
			}
			f.reply(second, 200, "OK", answer{sdp: theirSDP})
			ack := f.expect(gosip.ACK)
			if got := headerValue(ack, strings.ToLower(reply)); got != headerValue(second, strings.ToLower(reply)) {
				t.Errorf("ACK carries %q", got) // RFC 3261 22.1
			}
			d := standing(t, ch)
			cred = proves(t, bye(t, f, d), reply, &c.chal, "auth", "secret")
			if len(c.chal.QOP) > 0 && cred.Nc != 2 {
				t.Errorf("nonce count of BYE %d", cred.Nc)
			}
		})
	}
}

// Far ends write challenges in many ways that all mean the same.
func TestChallengeForms(t *testing.T) {
	t.Parallel()
	for _, form := range []string{
		`Digest realm="a, \"b\"",nonce="n==",qop="auth",algorithm=MD5,opaque="o"`,
		`digest  Realm="a, \"b\"" , NONCE = "n==" , qop = "AUTH" , Algorithm = md5 , opaque=o,`,
		"Digest\trealm=\"a, \\\"b\\\"\",\tnonce=n==, qop=auth, algorithm=\"MD5\", opaque=o, stale=FALSE",
	} {
		c, err := readChallenge(form)
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		if c.Realm != `a, "b"` || c.Nonce != "n==" || !c.SupportsQOP("auth") || strength(c) != 1 || c.Opaque != "o" || c.Stale {
			t.Errorf("%s: read as %+v", form, c)
		}
	}
	for _, form := range []string{"", "Digest", "Digest realm", `Basic realm="r"`, `Digest realm="r"`, `Digest realm="r", nonce="n`, `Digest realm="r",nonce="n",qop="auth-int"`} {
		if c, err := readChallenge(form); err == nil {
			t.Errorf("%q: read as %+v, want an error", form, c)
		}
	}
}

// The session algorithms keep the nonces of the first answer in their key (RFC 7616 3.4.2).
func TestDigestSessionAlgorithm(t *testing.T) {
	t.Parallel()
	c := credentials{user: "u", password: "p"}
	res := gosip.NewResponse(401, "Unauthorized")
	res.AppendHeader(gosip.NewHeader("WWW-Authenticate", `Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth"`))
	if err := c.challenged(res); err != nil {
		t.Fatal(err)
	}
	sum := func(s string) string { return fmt.Sprintf("%x", md5.Sum([]byte(s))) }
	first := ""
	for n := 1; n <= 2; n++ {
		req := gosip.NewRequest(gosip.INVITE, gosip.Uri{Scheme: "sip", User: "1", Host: "h"})
		if err := c.sign(req); err != nil {
			t.Fatal(err)
		}
		got, err := digest.ParseCredentials(headerValue(req, "authorization"))
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			first = got.Cnonce
		}
		a1 := sum(sum("u:r:p") + ":n:" + first)
		want := sum(a1 + ":n:" + fmt.Sprintf("%08x", n) + ":" + got.Cnonce + ":auth:" + sum("INVITE:"+req.Recipient.String()))
		if got.Algorithm != "MD5-sess" || got.Nc != n || first == "" || got.Response != want {
			t.Errorf("answer %d: %+v, want response %s", n, got, want)
		}
	}
}

func TestDigestRefused(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, nil)
	ask := func(nonce string, stale bool) []string {
		return []string{fmt.Sprintf(`WWW-Authenticate: Digest realm="r", nonce=%q, algorithm=MD5, qop="auth", stale=%v`, nonce, stale)}
	}
	for _, c := range []struct {
		name   string
		trunk  func(*waihu.Trunk)
		asks   [][]string
		sent   int // INVITEs
		want   error
		answer bool // the last one is answered with 200
	}{
		{"no password", nil, [][]string{ask("1", false)}, 1, errNoPassword, false},
		{"loop", withPassword, [][]string{ask("1", false), ask("2", false)}, 2, errBadPassword, false},
		{"stale once", withPassword, [][]string{ask("1", false), ask("2", true)}, 3, nil, true},
		{"stale for ever", withPassword, [][]string{ask("1", false), ask("2", true), ask("3", true)}, 3, errBadPassword, false},
		{"auth-int only", withPassword, [][]string{{`WWW-Authenticate: Digest realm="r", nonce="n", qop="auth-int"`}}, 1, nil, false},
		{"unreadable", withPassword, [][]string{{`WWW-Authenticate: Digest realm="r`}}, 1, nil, false},
		{"none", withPassword, [][]string{nil}, 1, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFarEnd(t)
			ch := dial(context.Background(), e, Invite{Peer: f.peerOf(c.trunk)})
			sent := 0
			for _, headers := range c.asks {
				sent++
				f.reply(f.expect(gosip.INVITE), 401, "Unauthorized", answer{headers: headers, contact: "-"})
				f.expect(gosip.ACK)
			}
			if c.answer {
				sent++
				f.reply(f.expect(gosip.INVITE), 200, "OK", answer{sdp: theirSDP})
				f.expect(gosip.ACK)
				bye(t, f, standing(t, ch))
			} else {
				fail := failed(t, ch)
				if fail.Disposition != waihu.OurFault || fail.Fault != FaultOurs || fail.Cause == nil || c.want != nil && !errors.Is(fail, c.want) {
					t.Errorf("%v %v: %v", fail.Disposition, fail.Fault, fail)
				}
				if strings.Contains(fail.Error(), "secret") {
					t.Error("the password is in the error")
				}
				f.none("INVITE", 100*time.Millisecond, isMethod(gosip.INVITE))
			}
			if sent != c.sent {
				t.Errorf("%d INVITEs, want %d", sent, c.sent)
			}
		})
	}
}

// A proxy and the server behind it may both ask; BYE may be challenged anew.
func TestTwoChallengersAndBye(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	proxy := digest.Challenge{Realm: "proxy", Nonce: "p", Algorithm: "MD5", QOP: []string{"auth"}}
	server := digest.Challenge{Realm: "server", Nonce: "s", Algorithm: "MD5", QOP: []string{"auth"}}
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(withPassword)})
	f.reply(f.expect(gosip.INVITE), 407, "Who?", answer{headers: []string{"Proxy-Authenticate: " + proxy.String()}, contact: "-"})
	f.expect(gosip.ACK)
	f.reply(f.expect(gosip.INVITE), 401, "Who?", answer{headers: []string{"WWW-Authenticate: " + server.String()}, contact: "-"})
	f.expect(gosip.ACK)
	inv := f.expect(gosip.INVITE)
	proves(t, inv, "Proxy-Authorization", &proxy, "auth", "secret")
	proves(t, inv, "Authorization", &server, "auth", "secret")
	f.reply(inv, 200, "OK", answer{sdp: theirSDP})
	f.expect(gosip.ACK)
	d := standing(t, ch)
	done := make(chan error, 1)
	go func() { done <- d.Bye(context.Background(), HangUp{By: waihu.ByAgent}) }()
	b := f.expect(gosip.BYE)
	again := proxy
	again.Nonce = "new"
	f.reply(b, 407, "Who?", answer{headers: []string{"Proxy-Authenticate: " + again.String()}, contact: "-"})
	b2 := f.expect(gosip.BYE)
	proves(t, b2, "Proxy-Authorization", &again, "auth", "secret")
	if b2.CSeq().SeqNo != b.CSeq().SeqNo+1 {
		t.Errorf("CSeq %d after %d", b2.CSeq().SeqNo, b.CSeq().SeqNo)
	}
	f.reply(b2, 200, "OK", answer{})
	if err := wait(t, "Bye", done); err != nil {
		t.Error(err)
	}
}

// A repeated challenge is acknowledged at once and holds nobody up: sipgo alone would wait T2 for each.
func TestRepeatedChallenge(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	rang := make(chan time.Time, 1)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(withPassword), OnProgress: func(p Progress) { rang <- p.At }})
	first := f.expect(gosip.INVITE)
	for range 6 {
		f.reply(first, 401, "Who?", answer{headers: []string{`WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"`}, contact: "-"})
	}
	second := f.expect(gosip.INVITE)
	start := time.Now()
	f.reply(second, 180, "Ringing", answer{})
	if d := wait(t, "ringing", rang).Sub(start); d > 5*e.t2 {
		t.Errorf("ringing was seen after %v", d)
	}
	ack := f.expect(gosip.ACK)
	eventually(t, "an ACK for each", func() bool { return f.count(ack) == 6 })
	f.reply(second, 486, "Busy Here", answer{})
	failed(t, ch)
}

// A 403 speaks of our password until a trunk has accepted it once, from then on of the number.
func TestForbidden(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	peer := f.peerOf(withPassword)
	for _, c := range []struct {
		status int
		want   waihu.Disposition
	}{{403, waihu.OurFault}, {403, waihu.OurFault}, {486, waihu.Busy}, {403, waihu.Intercepted}} {
		ch := dial(context.Background(), e, Invite{Peer: peer})
		f.reply(f.expect(gosip.INVITE), 401, "Unauthorized", answer{headers: []string{`WWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5`}, contact: "-"})
		f.expect(gosip.ACK)
		f.reply(f.expect(gosip.INVITE), c.status, "No", answer{contact: "-"})
		f.expect(gosip.ACK)
		if fail := failed(t, ch); fail.Disposition != c.want {
			t.Errorf("%d: %s, want %s", c.status, fail.Disposition, c.want)
		}
	}
}
