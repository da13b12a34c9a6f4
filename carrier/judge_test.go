package carrier

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// inRequest changes the messages of one method.
func inRequest(method, old, replacement string) func(string, string) string {
	return func(m, raw string) string {
		if m == method {
			return strings.Replace(raw, old, replacement, 1)
		}
		return raw
	}
}

// oddPort makes the last digit of the offer's RTP port odd.
func oddPort(m, raw string) string {
	head, tail, ok := strings.Cut(raw, " RTP/AVP")
	if m != "INVITE" || !ok {
		return raw
	}
	return head[:len(head)-1] + string(head[len(head)-1]+1) + " RTP/AVP" + tail
}

// TestFindings breaks one rule per call and expects the carrier to name it, and nothing else.
func TestFindings(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		suffix int
		wrong  string
		knobs  func(*phone)
		mangle func(method, raw string) string
		rules  []string
	}{
		{name: "no ACK of 200", suffix: 1, wrong: "ack-missing", rules: []string{"ack-missing"}},
		{name: "no ACK of 486", suffix: 2, wrong: "ack-missing", rules: []string{"ack-missing"}},
		{name: "ACK with another CSeq", suffix: 13, wrong: "ack-cseq", rules: []string{"ack-cseq", "ack-missing"}},
		{name: "ACK of 200 with the branch of the INVITE", suffix: 32, wrong: "ack-branch", rules: []string{"ack-branch"}},
		{name: "ACK of 486 with a new branch", suffix: 2, wrong: "ack-branch", rules: []string{"ack-branch"}},
		{name: "ACK of 486 with another tag", suffix: 2, wrong: "ack-tag", rules: []string{"ack-tag"}},
		{name: "only the first 200 gets an ACK", suffix: 73, wrong: "ack-each", rules: []string{"ack-each"}},
		{name: "CANCEL with another branch", suffix: 4, wrong: "cancel-match", knobs: cancels(100 * time.Millisecond), rules: []string{"cancel-match"}},
		{name: "CANCEL with a To tag", suffix: 4, knobs: cancels(100 * time.Millisecond), mangle: inRequest("CANCEL", ">\r\nCall-ID", ">;tag=x\r\nCall-ID"), rules: []string{"cancel-match"}},
		{name: "BYE with an old CSeq", suffix: 33, wrong: "cseq-order", knobs: hangsUp(300 * time.Millisecond), rules: []string{"cseq-order"}},
		{name: "BYE to the number, not the Contact", suffix: 33, wrong: "request-uri", knobs: hangsUp(300 * time.Millisecond), rules: []string{"request-uri"}},
		{name: "BYE with a Route too many", suffix: 33, wrong: "route", knobs: hangsUp(300 * time.Millisecond), rules: []string{"route"}},
		{name: "BYE with the branch of the INVITE", suffix: 33, wrong: "branch-reused", knobs: hangsUp(300 * time.Millisecond), rules: []string{"branch-reused"}},
		{name: "BYE with an unknown tag", suffix: 30, wrong: "dialog-tags", knobs: hangsUp(300 * time.Millisecond), rules: []string{"dialog-tags", "request-unanswered"}},
		{name: "no PRACK", suffix: 60, wrong: "prack-missing", rules: []string{"prack-missing"}},
		{name: "PRACK of another response", suffix: 60, wrong: "prack-rack", rules: []string{"prack-missing", "prack-rack"}},
		{name: "CSeq jumps after a challenge", suffix: 67, wrong: "cseq-retry", rules: []string{"cseq-retry"}},
		{name: "second 200 is kept", suffix: 71, wrong: "second-200", rules: []string{"second-200"}},
		{name: "200 after CANCEL is kept", suffix: 72, wrong: "late-200", knobs: cancels(100 * time.Millisecond), rules: []string{"late-200"}},
		{name: "hold answered with sendonly", suffix: 63, wrong: "answer", rules: []string{"answer"}},
		{name: "BYE of the callee not answered", suffix: 32, wrong: "request-unanswered", rules: []string{"request-unanswered"}},
		{name: "BYE answered with another CSeq", suffix: 32, wrong: "response-cseq", rules: []string{"request-unanswered", "response-cseq"}},
		{name: "sequence skips", suffix: 30, wrong: "rtp-sequence", rules: []string{"rtp-sequence"}},
		{name: "timestamp overlaps", suffix: 30, wrong: "rtp-timestamp", rules: []string{"rtp-timestamp"}},
		{name: "timestamp twice as fast", suffix: 30, wrong: "rtp-clock", rules: []string{"rtp-clock"}},
		{name: "SSRC changes", suffix: 30, wrong: "rtp-ssrc", rules: []string{"rtp-ssrc"}},
		{name: "payload type not described", suffix: 30, wrong: "rtp-payload", rules: []string{"rtp-payload"}},
		{name: "RTP version 1", suffix: 30, wrong: "rtp-version", rules: []string{"rtp-version"}},
		{name: "marker everywhere", suffix: 30, wrong: "rtp-marker", rules: []string{"rtp-marker"}},
		{name: "RTP from another port", suffix: 30, wrong: "rtp-source", rules: []string{"rtp-source"}},
		{name: "RTP after the BYE", suffix: 30, wrong: "rtp-after-end", rules: []string{"rtp-after-end"}},
		{name: "modem tones", suffix: 30, wrong: "modem-tone", rules: []string{"modem-tone"}},
		{name: "no Max-Forwards", suffix: 2, mangle: inRequest("INVITE", "Max-Forwards: 70\r\n", ""), rules: []string{"headers"}},
		{name: "Max-Forwards 0", suffix: 2, mangle: inRequest("INVITE", "Max-Forwards: 70", "Max-Forwards: 0"), rules: []string{"max-forwards"}},
		{name: "no Contact", suffix: 2, mangle: inRequest("INVITE", "Contact: ", "X-Contact: "), rules: []string{"contact"}},
		{name: "Contact 0.0.0.0", suffix: 2, mangle: inRequest("INVITE", "Contact: <sip:1000@127.0.0.1", "Contact: <sip:1000@0.0.0.0"), rules: []string{"contact"}},
		{name: "branch without cookie", suffix: 2, mangle: func(_, raw string) string { return strings.Replace(raw, "branch=z9hG4bK", "branch=1", 1) }, rules: []string{"via-branch"}},
		{name: "Via says TCP", suffix: 2, mangle: inRequest("INVITE", "SIP/2.0/UDP", "SIP/2.0/TCP"), rules: []string{"via-transport"}},
		{name: "no From tag", suffix: 2, mangle: func(m, raw string) string {
			if i := strings.Index(raw, ";tag="); (m == "INVITE" || m == "ACK") && i > 0 {
				return raw[:i] + raw[i+strings.Index(raw[i:], "\r\n"):]
			}
			return raw
		}, rules: []string{"from-tag"}},
		{name: "no Content-Type", suffix: 2, mangle: inRequest("INVITE", "Content-Type: application/sdp\r\n", ""), rules: []string{"content-type"}},
		{name: "offer with an odd port", suffix: 2, mangle: oddPort, rules: []string{"offer"}},
		{name: "offer without t=", suffix: 2, mangle: inRequest("INVITE", "t=0 0\r\n", "b=A:1\r\n"), rules: []string{"offer"}},
		{name: "dynamic payload type without rtpmap", suffix: 2, mangle: inRequest("INVITE", "a=rtpmap:101", "a=rtpmip:101"), rules: []string{"offer"}},
	}
	c := start(t, nil)
	verdicts := judgeCalls(t, c, len(cases), func(i int) *phone {
		tc := cases[i]
		p := newPhone(t, c, fmt.Sprintf("+99910%02d0%02d", i, tc.suffix))
		p.wrong, p.mangle = tc.wrong, tc.mangle
		if tc.knobs != nil {
			tc.knobs(p)
		}
		return p
	}, func(v tell, i int, p *phone, _ Record) {
		var found []Finding
		for _, f := range c.Findings() {
			if f.Call == p.callID {
				found = append(found, f)
			}
		}
		rules := rulesOf(c, p)
		slices.Sort(rules)
		if rules = slices.Compact(rules); !slices.Equal(rules, cases[i].rules) {
			v.Errorf("rules %v, want %v: %v", rules, cases[i].rules, found)
		}
	})
	for i, tc := range cases {
		t.Run(tc.name, verdicts[i].report)
	}
	for _, f := range c.Findings() {
		if f.RFC == "" || f.What == "" || f.At.IsZero() || strings.Contains(f.String(), "+99910") {
			t.Errorf("incomplete finding, or one with the number: %s", f)
		}
	}
}

// heard gives an ear a stream of packets and returns the rules it broke.
func heard(packets ...[]byte) ([]string, *ear) {
	m := &media{}
	m.ear.init()
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	m.ear.expect(local{codecs: []int{ptPCMA}, event: 101}, from)
	now := time.Unix(0, 0)
	for i, p := range packets {
		m.ear.packet(p, from, now.Add(time.Duration(i)*20*time.Millisecond), m)
	}
	var rules []string
	for _, i := range m.ear.issues {
		rules = append(rules, i.rule)
	}
	return rules, &m.ear
}

func packet(pt int, mark bool, seq uint16, ts uint32, payload ...byte) []byte {
	b := make([]byte, 12, 12+len(payload))
	b[0], b[1] = 0x80, byte(pt)
	if mark {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	return append(b, payload...)
}

func TestEarSequences(t *testing.T) {
	t.Parallel()
	frame := make([]byte, 160)
	voice := func(seq uint16, ts uint32) []byte { return packet(8, false, seq, ts, frame...) }
	for _, tc := range []struct {
		name    string
		packets [][]byte
		rules   []string
		lost    int
	}{
		{"in order, round the corner", [][]byte{voice(65535, 4294967200), voice(0, 64), voice(1, 224)}, nil, 0},
		{"one lost", [][]byte{voice(1, 0), voice(3, 320)}, nil, 1},
		{"time skipped after a stall", [][]byte{voice(1, 0), voice(2, 1600)}, nil, 0},
		{"number skipped", [][]byte{voice(1, 0), voice(3, 160)}, []string{"rtp-sequence"}, 1},
		{"repeated", [][]byte{voice(1, 0), voice(1, 0)}, []string{"rtp-sequence", "rtp-timestamp"}, 0},
		{"timestamp stands still", [][]byte{voice(1, 0), voice(2, 0)}, []string{"rtp-timestamp"}, 0},
		{"odd length", [][]byte{packet(8, false, 1, 0)}, []string{"rtp-length"}, 0},
	} {
		rules, e := heard(tc.packets...)
		if !slices.Equal(rules, tc.rules) || e.lost != tc.lost {
			t.Errorf("%s: rules %v, lost %d; want %v, %d", tc.name, rules, e.lost, tc.rules, tc.lost)
		}
	}
}

func TestEarDigits(t *testing.T) {
	t.Parallel()
	ev := func(mark bool, seq uint16, ts uint32, digit byte, end bool, dur uint16) []byte {
		flags := byte(10)
		if end {
			flags |= 0x80
		}
		return packet(101, mark, seq, ts, digit, flags, byte(dur>>8), byte(dur))
	}
	for _, tc := range []struct {
		name    string
		packets [][]byte
		rules   []string
		digits  string
	}{
		{"whole", [][]byte{ev(true, 1, 0, 5, false, 160), ev(false, 2, 0, 5, false, 320), ev(false, 3, 0, 5, true, 480), ev(false, 4, 0, 5, true, 480)}, nil, "5"},
		{"two equal digits", [][]byte{ev(true, 1, 0, 11, true, 160), ev(true, 2, 1600, 11, true, 160)}, nil, "##"},
		{"no marker", [][]byte{ev(false, 1, 0, 1, true, 160)}, []string{"dtmf-marker"}, "1"},
		{"no end", [][]byte{ev(true, 1, 0, 1, false, 160), ev(true, 2, 1600, 2, true, 160)}, []string{"dtmf-end"}, "12"},
		{"shrinks", [][]byte{ev(true, 1, 0, 12, false, 320), ev(false, 2, 0, 12, true, 160)}, []string{"dtmf-duration"}, "A"},
		{"cut short", [][]byte{packet(101, true, 1, 0, 1, 2)}, []string{"dtmf"}, ""},
	} {
		rules, e := heard(tc.packets...)
		if !slices.Equal(rules, tc.rules) || string(e.digits) != tc.digits {
			t.Errorf("%s: rules %v, digits %q; want %v, %q", tc.name, rules, e.digits, tc.rules, tc.digits)
		}
	}
}

// A CANCEL can only be too early when it overtakes the carrier's 100, so this one is made by hand.
func TestCancelBeforeProvisional(t *testing.T) {
	t.Parallel()
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.udp.Close()
	defer c.tcp.Close()
	const raw = "%s sip:+99902@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n" +
		"From: <sip:a@b>;tag=1\r\nTo: <sip:+99902@127.0.0.1>\r\nCall-ID: early\r\nCSeq: 1 %s\r\nContent-Length: 0\r\n\r\n"
	parse := func(method string) *sip.Request {
		m, err := sip.NewParser().ParseSIP(fmt.Appendf(nil, raw, method, method))
		if err != nil {
			t.Fatal(err)
		}
		return m.(*sip.Request)
	}
	k := c.newCallLocked("early", parse("INVITE"), peer{})
	k.judgeCancel(parse("CANCEL"), &inviteTx{req: parse("INVITE"), branch: "z9hG4bKa", seq: 1})
	if f := c.Findings(); len(f) != 1 || f[0].Rule != "cancel-early" {
		t.Errorf("findings %v", f)
	}
}

func TestCheckRTCP(t *testing.T) {
	t.Parallel()
	sr := make([]byte, 28)
	sr[0], sr[1], sr[3] = 0x80, 200, 6
	sdes := []byte{0x81, 202, 0, 3, 0, 0, 0, 1, 1, 1, 'x', 0, 0, 0, 0, 0}
	for _, tc := range []struct {
		name string
		b    []byte
		want string
	}{
		{"report and name", slices.Concat(sr, sdes), ""},
		{"no name", sr, "CNAME"},
		{"name first", slices.Concat(sdes, sr), "neither"},
		{"cut", sr[:20], "longer"},
		{"nothing", nil, "empty"},
		{"version 1", []byte{0x40, 200, 0, 0}, "version"},
	} {
		if got := checkRTCP(tc.b); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
