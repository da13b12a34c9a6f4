package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// scriptedTrunk answers SIP over UDP as a table says: method to answer. It is made of text, so that it shares no mistake with package sip.
type scriptedTrunk struct {
	pc      net.PacketConn
	answers map[string]string // "" is silence; a first line, and after a blank line a body
	asked   chan string       // what came; nil: nobody wants to know
}

func startScriptedTrunk(t *testing.T, answers map[string]string) string {
	t.Helper()
	return (&scriptedTrunk{answers: answers}).start(t)
}

func (s *scriptedTrunk) start(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.pc = pc
	over := make(chan struct{})
	go func() { defer close(over); s.serve() }()
	t.Cleanup(func() { pc.Close(); <-over })
	return pc.LocalAddr().String()
}

var copied = regexp.MustCompile(`(?mi)^(Via|From|Call-ID|CSeq|Contact): [^\r\n]*`)
var toHeader = regexp.MustCompile(`(?mi)^To: [^\r\n]*`)

func (s *scriptedTrunk) serve() {
	buf := make([]byte, 65536)
	for {
		n, from, err := s.pc.ReadFrom(buf)
		if err != nil {
			return
		}
		if n == 0 || buf[0] >= 0x80 {
			continue // a stranger's media
		}
		req := string(buf[:n])
		if s.asked != nil {
			s.asked <- req
		}
		method, _, _ := strings.Cut(req, " ")
		answer := s.answers[method]
		if method == "BYE" {
			answer = "200 OK"
		}
		if answer == "" || method == "ACK" {
			continue
		}
		first, body, _ := strings.Cut(answer, "\n\n")
		var b strings.Builder
		fmt.Fprintf(&b, "SIP/2.0 %s\r\n", strings.ReplaceAll(first, "\n", "\r\n"))
		for _, h := range copied.FindAllString(req, -1) {
			if !strings.HasPrefix(strings.ToLower(h), "contact") {
				b.WriteString(h + "\r\n")
			} else if method == "REGISTER" {
				b.WriteString(h + ";expires=60\r\n")
			}
		}
		fmt.Fprintf(&b, "%s;tag=far\r\n", toHeader.FindString(req))
		if method == "INVITE" {
			fmt.Fprintf(&b, "Contact: <sip:far@%s>\r\n", s.pc.LocalAddr())
		}
		body = strings.ReplaceAll(body, "\n", "\r\n")
		if body != "" {
			b.WriteString("Content-Type: application/sdp\r\n")
		}
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
		_, _ = s.pc.WriteTo([]byte(b.String()), from)
	}
}

// answerWith is a 200 with a session description of one codec at a port where nothing is sent from.
func answerWith(payload int) string {
	return fmt.Sprintf("200 OK\n\nv=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP %d\n", payload)
}

const challenge = "401 Unauthorized\nWWW-Authenticate: Digest realm=\"far\", nonce=\"n\", algorithm=MD5"

// TestTrunkCheck: each way in which a trunk fails is told in words, with what to do.
func TestTrunkCheck(t *testing.T) {
	t.Parallel()
	cases := []struct {
		id, uri, more, call string
		answers             map[string]string
		words               []string
	}{
		{id: "silent", answers: map[string]string{}, words: []string{"port: nothing has answered", "firewall"}},
		{id: "name", uri: "sip:no-such-name.invalid", words: []string{"DNS", "no-such-name.invalid"}},
		{id: "refused", uri: "sip:127.0.0.1:9;transport=tcp", words: []string{"port: nothing has answered"}},
		{id: "password", more: `, username: u, password: wrong, register: {expires: 60}`,
			answers: map[string]string{"OPTIONS": "200 OK", "REGISTER": challenge}, words: []string{"registration: refused with 401", "password"}},
		{id: "forbidden", more: `, username: u, password: wrong, register: {expires: 60}`,
			answers: map[string]string{"OPTIONS": "200 OK", "REGISTER": "403 Forbidden"}, words: []string{"registration: refused with 403", "password"}},
		{id: "callpassword", more: `, username: u, password: wrong`, call: "13800000000",
			answers: map[string]string{"OPTIONS": "200 OK", "INVITE": challenge}, words: []string{"call: ", "password"}},
		{id: "notallowed", call: "13800000000", answers: map[string]string{"OPTIONS": "200 OK", "INVITE": "403 Forbidden"},
			words: []string{"403", "caller number"}},
		{id: "codec488", call: "13800000000", answers: map[string]string{"OPTIONS": "200 OK", "INVITE": "488 Not Acceptable Here"},
			words: []string{"no common codec"}},
		{id: "codec", more: `, codecs: [pcma]`, call: "13800000000", answers: map[string]string{"OPTIONS": "200 OK", "INVITE": answerWith(18)},
			words: []string{"codec: the call was answered, but", "pcma"}},
		{id: "oneway", call: "13800000000", answers: map[string]string{"OPTIONS": "200 OK", "INVITE": answerWith(8)},
			words: []string{"one-way audio: nothing came back", "public_address"}},
		{id: "prefix", more: `, allow_prefixes: ["139"]`, call: "13800000000", answers: map[string]string{"OPTIONS": "200 OK"}, words: []string{"allow_prefixes"}},
		{id: "testrange", call: "+99900000001", answers: map[string]string{"OPTIONS": "200 OK"}, words: []string{"+999 is the test range"}},
	}
	resources := testResources + "lines:\n"
	for _, c := range cases {
		uri := c.uri
		if uri == "" {
			uri = "sip:" + startScriptedTrunk(t, c.answers)
		}
		resources += fmt.Sprintf("  - {id: %s, name: n, concurrency: 2, trunk: {uri: %q, caller_ids: [\"02160001000\"]%s}}\n", c.id, uri, c.more)
	}
	w := newWorld(t, resources, func(c *config) { c.LogLevel = "error" })
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), slow*time.Minute)
			defer cancel()
			var said []string
			err := w.server.checkTrunk(ctx, url.Values{"line": {c.id}, "call": {c.call}}, nil, func(m message) { said = append(said, m.Say) })
			if err == nil {
				t.Fatalf("the check passed: %q", said)
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("it says %q, want %q in it", err, word)
				}
			}
		})
	}
}

// TestTrunkCheckLeavesTheRegistration: the check registers beside the server and takes nothing back that the server keeps.
func TestTrunkCheckLeavesTheRegistration(t *testing.T) {
	t.Parallel()
	far := &scriptedTrunk{answers: map[string]string{"OPTIONS": "200 OK", "REGISTER": "200 OK"}, asked: make(chan string, 100)}
	uri := far.start(t)
	w := newWorld(t, testResources+fmt.Sprintf("lines:\n  - {id: reg, name: n, concurrency: 2, trunk: {uri: \"sip:%s\", username: u, password: p, register: {expires: 60}}}\n", uri),
		func(c *config) { c.LogLevel = "error" })
	next := func() string { // the Call-ID of the next REGISTER
		for {
			select {
			case req := <-far.asked:
				if !strings.HasPrefix(req, "REGISTER") {
					continue
				}
				if strings.Contains(req, "expires=0") {
					t.Error("a registration was taken back")
				}
				return copied.FindString(req[strings.Index(req, "Call-ID"):])
			case <-time.After(slow * 30 * time.Second):
				t.Fatal("no REGISTER came")
			}
		}
	}
	kept := next()
	var said []string
	if err := w.server.checkTrunk(t.Context(), url.Values{"line": {"reg"}}, nil, func(m message) { said = append(said, m.Say) }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(said, " "), "registration: ok") || next() == kept {
		t.Errorf("the check has not registered by itself: %q", said)
	}
	if st := w.server.lines.Lines()["reg"]; st.Down != "" {
		t.Errorf("the line is down: %s", st.Down)
	}
	for len(far.asked) > 0 {
		if req := <-far.asked; strings.Contains(req, "expires=0") {
			t.Error("a registration was taken back")
		}
	}
}
