package call_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waihu"
)

// Scenarios for sipp are put together from steps: what they have in common would be most of each file.

// recv waits for a request of ours; a regexp on the message's text must match when given.
func recv(method string, match ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<recv request="%s" crlf="true" rrs="%t">`, method, method == "INVITE")
	b.WriteString("\n<action>\n")
	if method == "INVITE" {
		b.WriteString(`<ereg regexp="sip:([^&gt;]*)" search_in="hdr" header="Contact:" check_it="true" assign_to="all,peer"/>` + "\n" +
			`<ereg regexp=":.*" search_in="hdr" header="From" check_it="true" assign_to="from"/>` + "\n" +
			`<log message="peer [$all][$peer][$from]"/>` + "\n")
	}
	for i, m := range match {
		m = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(m)
		fmt.Fprintf(&b, "<ereg regexp=\"%s\" search_in=\"msg\" check_it=\"true\" assign_to=\"m%d\"/>\n<log message=\"m [$m%d]\"/>\n", m, i, i)
	}
	b.WriteString("</action>\n</recv>\n")
	return b.String()
}

func recvStatus(status int) string {
	return fmt.Sprintf(`<recv response="%d" crlf="true"/>`+"\n", status)
}
func pause(ms int) string { return fmt.Sprintf(`<pause milliseconds="%d"/>`+"\n", ms) }

// repeatAfter is sipp's T1 in ms. Loopback loses nothing; on a slow machine what is repeated brings messages that no scenario awaits.
const repeatAfter = 5000

// message is what sipp sends; retrans 0 leaves repeating to the scenario.
func message(retrans int, lines []string, body string) string {
	head := "<send>"
	if retrans > 0 {
		head = fmt.Sprintf(`<send retrans="%d">`, retrans)
	}
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	return head + "\n<![CDATA[\n" + strings.Join(lines, "\n") + "\nContent-Length: [len]\n\n" + body + "\n]]>\n</send>\n"
}

const tagA, tagB = "[pid]a[call_number]", "[pid]b[call_number]"

// provisional and final answer the INVITE on the fork named by tag.
func provisional(status, tag, body string, extra ...string) string {
	return message(0, answerLines(status, tag, "[last_CSeq:]", extra), body)
}

func final(status, tag, body string, extra ...string) string {
	return message(repeatAfter, answerLines(status, tag, "[last_CSeq:]", extra), body)
}

func answerLines(status, tag, cseq string, extra []string) []string {
	to := "[last_To:]"
	if tag != "" {
		to += ";tag=" + tag
	}
	return append([]string{"SIP/2.0 " + status, "[last_Via:]", "[last_From:]", to, "[last_Call-ID:]", cseq, "[last_Record-Route:]",
		"Contact: <sip:[local_ip]:[local_port];transport=[transport]>"}, extra...)
}

// ok answers a request within the dialog.
func ok(extra ...string) string {
	return message(0, append([]string{"SIP/2.0 200 OK", "[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]",
		"Contact: <sip:[local_ip]:[local_port];transport=[transport]>"}, extra...), "")
}

// request is one of sipp's own within the dialog of tag.
func request(method string, cseq int, tag, body string, extra ...string) string {
	return message(repeatAfter, append([]string{method + " sip:[$peer] SIP/2.0", "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
		"From: <sip:callee@[local_ip]:[local_port]>;tag=" + tag, "To[$from]", "[last_Call-ID:]", fmt.Sprintf("CSeq: %d %s", cseq, method), "Max-Forwards: 70",
		"Contact: <sip:[local_ip]:[local_port];transport=[transport]>"}, extra...), body)
}

// ackOf acknowledges the answer to sipp's re-INVITE.
func ackOf(cseq int, tag, body string) string {
	return message(0, []string{"ACK sip:[$peer] SIP/2.0", "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
		"From: <sip:callee@[local_ip]:[local_port]>;tag=" + tag, "To[$from]", "[last_Call-ID:]", fmt.Sprintf("CSeq: %d ACK", cseq), "Max-Forwards: 70"}, body)
}

// sdp is a description with the given version, formats and attributes.
func sdp(version int, formats string, attributes ...string) string {
	return sdpAt("[media_ip]", "[media_port]", version, formats, attributes...)
}

func sdpAt(ip, port string, version int, formats string, attributes ...string) string {
	lines := []string{"v=0", fmt.Sprintf("o=carrier 53655765 %d IN IP[local_ip_type] [local_ip]", version), "s=-", "c=IN IP4 " + ip, "t=0 0",
		"m=audio " + port + " RTP/AVP " + formats}
	return strings.Join(append(lines, attributes...), "\n")
}

var pcma = sdp(1, "8 101", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=ptime:20")

const (
	ringing = "180 Ringing"
	early   = "183 Session Progress"
	okay    = "200 OK"
)

func seq(steps ...string) string { return strings.Join(steps, "") }

// byeCame takes our hang-up.
func byeCame(match ...string) string { return recv("BYE", match...) + ok() }

// far is sipp serving one scenario.
type far struct {
	port int
	done chan error
	log  *bytes.Buffer
	dir  string
}

func startSipp(t *testing.T, calls int, scenario string, args ...string) *far {
	t.Helper()
	for try := 0; ; try++ { // somebody else may take one of its ports before it does
		f := launchSipp(t, calls, scenario, args...)
		err := f.listens(t, slices.Contains(args, "t1"))
		if err == nil {
			return f
		}
		if try == 4 {
			t.Fatal(err)
		}
	}
}

// listens returns when sipp has its port by the kernel's own list; to try the port would take it from it. An error
// says that it ended instead.
func (f *far) listens(t *testing.T, tcp bool) error {
	t.Helper()
	list, socket := "/proc/net/udp", fmt.Appendf(nil, ":%04X 00000000:0000 ", f.port)
	if tcp {
		list, socket = "/proc/net/tcp", fmt.Appendf(nil, ":%04X 00000000:0000 0A ", f.port)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; {
		sockets, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sockets, socket) {
			return nil
		}
		if time.Now().After(deadline) {
			t.Fatal("sipp does not listen")
		}
		select {
		case err := <-f.done:
			errs, _ := os.ReadFile(filepath.Join(f.dir, "err.log"))
			return fmt.Errorf("sipp ended before it listened: %v\n%s%s", err, f.log, errs)
		case <-tick.C:
		}
	}
}

func launchSipp(t *testing.T, calls int, scenario string, args ...string) *far {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "scenario.xml")
	text := `<?xml version="1.0" encoding="UTF-8"?>` + "\n<scenario name=\"peer\">\n" + scenario + "</scenario>\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &far{port: freePort(t), done: make(chan error, 1), log: &bytes.Buffer{}, dir: dir}
	cmd := exec.Command("sipp", append([]string{"-sf", file, "-i", "127.0.0.1", "-p", strconv.Itoa(f.port), "-mi", "127.0.0.1", "-mp", strconv.Itoa(mediaPort()),
		"-rtp_echo", "-m", strconv.Itoa(calls), "-nostdin", "-timeout", "60", "-timeout_error", "-trace_err", "-error_file", filepath.Join(dir, "err.log")}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, f.log, f.log
	cmd.Env = append(os.Environ(), "TERM=dumb")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { f.done <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return f
}

// wait fails the test unless sipp saw every message it was promised.
func (f *far) wait(t tell) {
	t.Helper()
	select {
	case err := <-f.done:
		if err != nil {
			errs, _ := os.ReadFile(filepath.Join(f.dir, "err.log"))
			t.Errorf("sipp ended with %v:\n%s", err, errs)
		}
	case <-time.After(65 * time.Second):
		t.Error("sipp has not seen the end of its calls")
	}
}

func (f *far) trunk() waihu.Trunk {
	return waihu.Trunk{URI: "sip:127.0.0.1:" + strconv.Itoa(f.port), Codecs: []string{"pcma"}, Username: "trunkuser", Password: "secret"}
}

// sipp takes the port it is given and the second after it, and ends when one is taken: ours lie above those that
// the kernel gives to others.
var lastMedia atomic.Int64

func mediaPort() int { return 61000 + int(os.Getpid()*97+int(lastMedia.Add(1))*4)%4400/4*4 }

// freePort is a port that nobody has for UDP or TCP, and whose next one is free for TCP: baresip wants that for TLS. It lies
// below the kernel's ephemeral ports, or any connection of another program may take it before the peer does.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 6000 + (os.Getpid()+int(portsGiven.Add(1)))*2%2000
		u, err := net.ListenPacket("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		u.Close()
		free := true
		for _, p := range []int{port, port + 1} {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// portsGiven counts the ports given out, so that two tests at once never get the same.
var portsGiven atomic.Int32

// requirePeer skips a test whose peer is not installed; where peers are required it fails.
func requirePeer(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("WAIHU_TEST_REQUIRE") != "" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

// sippCall is one far end and how a call to it must end.
type sippCall struct {
	name     string
	scenario string
	args     []string
	agent    string // byeAgent when empty
	trunk    func(*waihu.Trunk)
	want     waihu.Disposition
	by       waihu.Party
	tags     string
	check    func(t tell, o waihu.Outcome)
}

var answerAndBye = seq(final(okay, tagA, pcma), recv("ACK"), byeCame())

var sippCalls = []sippCall{
	{name: "200 without SDP after 183 with SDP",
		scenario: seq(recv("INVITE"), provisional(early, tagA, pcma), pause(300), final(okay, tagA, ""), recv("ACK"), byeCame()),
		want:     waihu.Answered, by: waihu.ByAgent},
	{name: "200 with other SDP than 183",
		scenario: seq(recv("INVITE"), provisional(early, tagA, sdpAt("127.0.0.1", "9", 1, "8")), pause(300), final(okay, tagA, pcma), recv("ACK"), byeCame()),
		want:     waihu.Answered, by: waihu.ByAgent},
	{name: "early media on one fork, answer on another",
		scenario: seq(recv("INVITE"), provisional(early, tagA, sdpAt("127.0.0.1", "9", 1, "8")), provisional(ringing, tagB, ""), pause(200), final(okay, tagB, pcma), recv("ACK"), byeCame()),
		want:     waihu.Answered, by: waihu.ByAgent},
	{name: "fork answers without SDP of its own",
		scenario: seq(recv("INVITE"), provisional(early, tagA, pcma), provisional(ringing, tagB, ""), pause(200), final(okay, tagB, ""), recv("ACK"), byeCame("Reason: Q.850;cause=88")),
		want:     waihu.OurFault, by: waihu.BySystem},
	{name: "422 then ok",
		scenario: seq(recv("INVITE"), final("422 Session Interval Too Small", tagA, "", "Min-SE: 3600"), recv("ACK"), recv("INVITE", "Session-Expires: 3600", "Min-SE: 3600"), final(okay, tagB, pcma), recv("ACK"), byeCame()),
		want:     waihu.Answered, by: waihu.ByAgent},
	{name: "401 for ever", scenario: seq(recv("INVITE"), final("401 Unauthorized", tagA, "", `WWW-Authenticate: Digest realm="x", nonce="aa", algorithm=MD5`), recv("ACK"),
		recv("INVITE", "Authorization: Digest"), final("401 Unauthorized", tagA, "", `WWW-Authenticate: Digest realm="x", nonce="bb", algorithm=MD5`), recv("ACK")), want: waihu.OurFault, by: waihu.BySystem},
	{name: "503 with Retry-After",
		scenario: seq(recv("INVITE"), final("503 Service Unavailable", tagA, "", "Retry-After: 7"), recv("ACK")),
		want:     waihu.CarrierFault, by: waihu.BySystem,
		check: func(t tell, o waihu.Outcome) {
			if o.RetryAfter != 7*time.Second {
				t.Errorf("RetryAfter = %v", o.RetryAfter)
			}
		}},
	{name: "486 with Retry-After", scenario: seq(recv("INVITE"), final("486 Busy Here", tagA, "", "Retry-After: 3600"), recv("ACK")), want: waihu.Busy, by: waihu.ByCallee,
		check: func(t tell, o waihu.Outcome) {
			if o.RetryAfter != 0 {
				t.Errorf("a busy callee pauses the whole line for %v", o.RetryAfter)
			}
		}},
	{name: "G.729 only",
		scenario: seq(recv("INVITE"), final(okay, tagA, sdp(1, "18", "a=rtpmap:18 G729/8000")), recv("ACK"), byeCame("Reason: Q.850;cause=88")),
		want:     waihu.OurFault, by: waihu.BySystem},
	{name: "stream refused",
		scenario: seq(recv("INVITE"), final(okay, tagA, sdpAt("[media_ip]", "0", 1, "8")), recv("ACK"), byeCame("Reason: Q.850;cause=88")),
		want:     waihu.OurFault, by: waihu.BySystem},
	{name: "telephone-event at 96",
		scenario: seq(recv("INVITE"), final(okay, tagA, sdp(1, "8 96", "a=rtpmap:8 PCMA/8000", "a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-15")), recv("ACK"), byeCame()),
		want:     waihu.Answered, by: waihu.ByAgent},
	{name: "ptime 30", scenario: seq(recv("INVITE"), final(okay, tagA, sdp(1, "8", "a=ptime:30")), recv("ACK"), byeCame()), want: waihu.Answered, by: waihu.ByAgent},
	{name: "INFO DTMF", agent: patientAgent, scenario: seq(recv("INVITE"), final(okay, tagA, pcma), recv("ACK"), pause(700),
		strings.Replace(request("INFO", 1, tagA, "Signal=7\nDuration=160"), "application/sdp", "application/dtmf-relay", 1), recvStatus(200), pause(200),
		strings.Replace(strings.Replace(request("INFO", 2, tagA, "7"), "Content-Type: application/sdp", "c: application/dtmf", 1), "Call-ID", "Call-ID", 1), recvStatus(200), pause(800),
		request("BYE", 3, tagA, ""), recvStatus(200)), want: waihu.Answered, by: waihu.ByCallee, tags: "[seven]", check: func(t tell, o waihu.Outcome) {
		if o.Media.DTMF != "77" {
			t.Errorf("digits %q, want 77", o.Media.DTMF)
		}
	}},
	{name: "200 repeated",
		scenario: seq(recv("INVITE"), message(0, answerLines(okay, tagA, "[last_CSeq:]", nil), pcma), recv("ACK"), message(0, answerLines(okay, tagA, "CSeq: 1 INVITE", nil), pcma), recv("ACK"),
			message(0, answerLines(okay, tagA, "CSeq: 1 INVITE", nil), pcma), recv("ACK"), byeCame()), want: waihu.Answered, by: waihu.ByAgent},
	{name: "hold and resume", agent: patientAgent, scenario: seq(recv("INVITE"), final(okay, tagA, pcma), recv("ACK"), pause(400),
		request("INVITE", 1, tagA, strings.Replace(strings.Replace(pcma, "53655765 1", "53655765 2", 1), "a=ptime:20", "a=sendonly", 1)), `<recv response="200" crlf="true"><action><ereg regexp="a=recvonly" search_in="body" check_it="true" assign_to="h"/><log message="[$h]"/></action></recv>`, ackOf(1, tagA, ""), pause(1000),
		request("INVITE", 2, tagA, strings.Replace(pcma, "53655765 1", "53655765 3", 1)), `<recv response="200" crlf="true"><action><ereg regexp="a=sendrecv" search_in="body" check_it="true" assign_to="h2"/><log message="[$h2]"/></action></recv>`, ackOf(2, tagA, ""), pause(300),
		request("INVITE", 3, tagA, ""), `<recv response="200" crlf="true"><action><ereg regexp="m=audio" search_in="body" check_it="true" assign_to="h3"/><log message="[$h3]"/></action></recv>`, ackOf(3, tagA, strings.Replace(pcma, "53655765 1", "53655765 4", 1)), pause(300),
		request("UPDATE", 4, tagA, strings.Replace(pcma, "53655765 1", "53655765 5", 1), "Session-Expires: 90;refresher=uac", "Supported: timer"), recvStatus(200), pause(200),
		request("OPTIONS", 5, tagA, ""), recvStatus(200), request("REFER", 6, tagA, "", "Refer-To: <sip:1@127.0.0.1>"), recvStatus(405),
		request("BYE", 7, tagA, "", `Reason: Q.850;cause=16;text="done"`), recvStatus(200)), want: waihu.Answered, by: waihu.ByCallee, check: func(t tell, o waihu.Outcome) {
		if o.Media.Underruns > 30 { // the echo pauses for 50 while it holds
			t.Errorf("%d frames were missed that nobody had promised", o.Media.Underruns)
		}
	}},
	{name: "preconditions", agent: patientAgent,
		scenario: seq(recv("INVITE"), final(okay, tagA, pcma), recv("ACK"), request("UPDATE", 1, tagA, "", "Require: precondition"), recvStatus(420), request("BYE", 2, tagA, ""), recvStatus(200)),
		want:     waihu.Answered, by: waihu.ByCallee},
	{name: "thirty provisionals",
		scenario: seq(recv("INVITE"), strings.Repeat(provisional(early, tagA, pcma)+provisional(ringing, tagA, "")+provisional("181 Call Is Being Forwarded", tagB, ""), 10), answerAndBye),
		want:     waihu.Answered, by: waihu.ByAgent},
	{name: "CANCEL answered 481",
		scenario: seq(recv("INVITE"), provisional(ringing, tagA, ""), recv("CANCEL", "Reason: Q.850;cause=19"), message(0, []string{"SIP/2.0 481 Call/Transaction Does Not Exist", "[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]"}, ""),
			message(repeatAfter, answerLines("487 Request Terminated", tagA, "CSeq: 1 INVITE", nil), ""), recv("ACK")), want: waihu.NoAnswer, by: waihu.BySystem},
	{name: "compact, long",
		scenario: seq(recv("INVITE"), provisional(ringing, tagA, "", "X-Long: "+strings.Repeat("long ", 800), "P-Early-Media: inactive", "History-Info: <sip:a@b>;index=1, <sip:c@d;p=\"x,y\">;index=1.1"),
			message(repeatAfter, []string{"SIP/2.0 200 ", "[last_From:]", "[last_To:];tag=" + tagA, "[last_Call-ID:]", "[last_CSeq:]", "[last_Via:]", "m: \"=?utf-8?q?x?= <\\\"x\\\">\" <sip:[local_ip]:[local_port];x-odd=1;ob>;+g.x=\"a,b\"", "k: timer,100rel", "x: 1800;refresher=uas"}, pcma), recv("ACK"), byeCame()), want: waihu.Answered, by: waihu.ByAgent},
	{name: "over TCP", args: []string{"-t", "t1"}, trunk: func(w *waihu.Trunk) { w.Transport = "tcp" },
		scenario: seq(recv("INVITE", "SIP/2.0/TCP", "transport=tcp"), provisional(ringing, tagA, ""), answerAndBye),
		want:     waihu.Answered, by: waihu.ByAgent},
	{name: "public address", trunk: func(w *waihu.Trunk) { w.PublicAddress = "203.0.113.7:5070" },
		scenario: seq(recv("INVITE", "Via: SIP/2.0/UDP 203.0.113.7:5070;", "Contact: <sip:trunkuser@203.0.113.7:5070>", "c=IN IP4 203.0.113.7"), answerAndBye),
		want:     waihu.Answered, by: waihu.ByAgent},
	{name: "recvonly answer", scenario: seq(recv("INVITE"), final(okay, tagA, sdp(1, "8", "a=recvonly")), recv("ACK"), byeCame()), want: waihu.Answered, by: waihu.ByAgent},
	{name: "multipart body",
		scenario: seq(recv("INVITE"), strings.Replace(final(okay, tagA, "--xx\nContent-Type: application/sdp\n\n"+pcma+"\n\n--xx\nContent-Type: application/isup\n\nabc\n--xx--\n"), "application/sdp", "multipart/mixed;boundary=xx", 1), recv("ACK"), byeCame()),
		want:     waihu.Answered, by: waihu.ByAgent},
}

// TestAgainstSipp: what carriers do to a call, played by sipp, which fails when a message of ours is not the promised one.
func TestAgainstSipp(t *testing.T) {
	t.Parallel()
	requirePeer(t, "sipp")
	r := newRig(t, nil)
	for _, c := range sippCalls {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := c.agent
			if text == "" {
				text = byeAgent
			}
			spec := agentOf(t, text)
			outer := t
			steady(t, nil, func(t tell) {
				f := startSipp(outer, 1, c.scenario, c.args...)
				trunk := f.trunk()
				if c.trunk != nil {
					c.trunk(&trunk)
				}
				o := r.dial(outer.Context(), trunk, "13800001234", spec, nil)
				sound(t, r, &o)
				if o.Disposition != c.want || o.HangupBy != c.by || c.tags != "" && fmt.Sprint(o.Tags) != c.tags {
					t.Errorf("ended as %s by %q with tags %v, want %s by %q, %s; evidence %+v", o.Disposition, o.HangupBy, o.Tags, c.want, c.by, c.tags, o.Evidence)
				}
				if (o.Disposition == waihu.Answered) != (o.Recording != "") {
					t.Errorf("%s with recording %q", o.Disposition, o.Recording)
				}
				if c.check != nil {
					c.check(t, o)
				}
				f.wait(t)
			})
		})
	}
}
