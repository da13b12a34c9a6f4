package carrier

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"waihu"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]Options{
		"speed":       {Speed: 2},
		"negative":    {Speed: -1},
		"listen":      {Listen: "nowhere"},
		"unspecified": {Listen: "0.0.0.0:0"},
		"no range":    {RTPLow: 30000, RTPHigh: 30000},
		"low range":   {RTPLow: 2, RTPHigh: 30},
		"mixture":     {Mixture: &Mixture{AnswerRate: 0.5}},
		"no script":   {Mixture: &Mixture{Failures: map[int]int{98: 1}}},
		"itself":      {Mixture: &Mixture{Failures: map[int]int{mixed: 1}}},
		"rate":        {Mixture: &Mixture{AnswerRate: 1.5}},
	} {
		if c, err := New(opt); err == nil {
			t.Errorf("%s: New accepted it", name)
			c.udp.Close()
			c.tcp.Close()
		} else if !strings.HasPrefix(err.Error(), "carrier: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScriptFor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		phone     waihu.PhoneNumber
		suffix    string
		answered  bool
		reply     string
		unmatched bool
	}{
		{"+9990000001", "01", true, "完好", false},
		{"13800138101", "01", true, "坏了", false},
		{"13800138602", "02", false, "", false},
		{"+9990000399", "01", true, "1", true},
		{"8", "01", true, "完好", false},
		{"ab", "01", true, "完好", false},
		{"+99912", "12", false, "", false},
	} {
		s := ScriptFor(tc.phone)
		if s.Suffix != tc.suffix || s.Answered != tc.answered || s.Reply != tc.reply || s.Unmatched != tc.unmatched || s.Name == "" || len(s.Dispositions) == 0 {
			t.Errorf("%s: %+v", tc.phone, s)
		}
	}
	if ScriptFor("+99902").Allows(waihu.Answered) || !ScriptFor("+99902").Allows(waihu.Busy) {
		t.Error("a busy callee must end as busy and nothing else")
	}
}

// TestReference holds the table against the list of suffixes that the first product must have.
func TestReference(t *testing.T) {
	t.Parallel()
	for _, suffix := range []int{1, 2, 3, 4, 5, 9, 10, 12, 13, 14, 20, 30, 31, 32, 33, 34, 35, 36, 40, 45, 50, 51, 60, 61, 63, 67,
		70, 72, 73, 74, 76, 77, 80, 81, 84, 87, 90} {
		if _, ok := behaviours[suffix]; !ok {
			t.Errorf("no callee for %02d", suffix)
		}
	}
	for suffix, b := range behaviours {
		if suffix < 0 || suffix > 99 || b.name == "" || len(b.ends) == 0 || b.run == nil {
			t.Errorf("callee %02d is incomplete", suffix)
		}
	}
}

// signature is what a call was like, without times and identifiers.
func signature(p *phone) string {
	return fmt.Sprint(p.statuses, p.requests, p.seen.texts, p.seen.digits, p.seen.tones, len(p.dialogs[p.okTag].routes))
}

// TestSameSeedSameCalls holds the calls of one seed against what they were when this was written, and its steps against those of others.
func TestSameSeedSameCalls(t *testing.T) {
	t.Parallel()
	calls := []struct{ number, signature string }{
		{"+9990000101", "[100 180 200] [BYE] []1"},
		{"+9990000330", "[100 180 200] [BYE] []1"},
		{"+9990000587", "[100 180 200] [BYE] []1"},
		{"+9990000740", "[100 180 200] [BYE] []0"},
		{"+9990001014", "[100 183 200] [BYE] []1"},
	}
	seeded := func(seed uint64) (*Carrier, []cue) {
		c := start(t, func(o *Options) { o.Seed, o.T1 = seed, defaultT1 })
		var cues []cue
		for _, s := range newCall(t, c, calls[0].number).conversation() {
			cues = append(cues, cue{Step: s})
		}
		return c, cues
	}
	c, first := seeded(1)
	_, second := seeded(1)
	_, other := seeded(2)
	for _, v := range judgeCalls(t, c, len(calls), func(i int) *phone { return newPhone(t, c, calls[i].number) },
		func(v tell, i int, p *phone, _ Record) {
			p.seen.texts = nil // what is said is in the cues; what of it arrives is up to the machine
			if got := signature(p); got != calls[i].signature {
				v.Errorf("%s: %s, want %s", p.number, got, calls[i].signature)
			}
		}) {
		v.report(t)
	}
	if !reflect.DeepEqual(first, second) {
		t.Errorf("the same seed gave %v and %v", first, second)
	}
	if reflect.DeepEqual(first, other) {
		t.Errorf("another seed gave the same pauses: %v", other)
	}
}

func newCall(t *testing.T, c *Carrier, number string) *call {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newCallLocked("x", inviteTo(t, number), peer{})
}

// TestStepsAndChance replaces a callee's script and throws its dice.
func TestStepsAndChance(t *testing.T) {
	t.Parallel()
	c := start(t, func(o *Options) {
		o.Scripts = map[int][]Step{1: {
			{When: After, After: 100 * time.Millisecond, Say: "嗯"},
			{When: After, Noise: 300 * time.Millisecond},
			{When: After, Silence: 200 * time.Millisecond},
			{When: After, Chance: 1e-9, Say: "再见"},
			{When: After, After: 100 * time.Millisecond, Say: "谢谢"}, // has no clip: noise, with its subtitle
			{When: After, DTMF: "12"},
			{When: After, After: 300 * time.Millisecond, Hangup: true},
		}}
	})
	judgeCalls(t, c, 1, func(int) *phone { return newPhone(t, c, "+9990000001") }, func(v tell, _ int, p *phone, _ Record) {
		if got := fmt.Sprint(p.seen.texts, p.seen.digits); got != "[嗯 谢谢]12" && got != "[嗯 谢谢] 12" {
			v.Errorf("heard %s", got)
		}
	})[0].report(t)
	if f := c.Findings(); len(f) > 0 {
		t.Error(f)
	}
}

func TestMixtureDraw(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	seen := map[string]int{}
	for i := range 1000 {
		phone := waihu.PhoneNumber(fmt.Sprintf("+999%05d90", i))
		s := c.Script(phone)
		if s.Suffix != c.Script(phone).Suffix {
			t.Fatal("a number was drawn twice and came out differently")
		}
		if !ScriptFor(phone).Allows(s.Dispositions[0]) {
			t.Errorf("90 does not allow %v of %s", s.Dispositions, s.Suffix)
		}
		seen[s.Suffix]++
	}
	if n := seen["01"]; n < 400 || n > 500 {
		t.Errorf("%d of 1000 answer, want about 450: %v", n, seen)
	}
	if n := seen["04"]; n < 140 || n > 245 {
		t.Errorf("%d of 1000 ring on, want about 190: %v", n, seen)
	}
}

// TestCounts holds the carrier's books against calls that overlap by design.
func TestCounts(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	var phones []*phone
	for i := range 5 {
		p := newPhone(t, c, fmt.Sprintf("+999700%d04", i/2))
		p.cancelAfter, p.hold = time.Millisecond, func() bool { return c.Peak() < 5 }
		phones = append(phones, p)
	}
	callAll(t, c, phones)
	if c.Peak() != 5 || c.Live() != 0 {
		t.Errorf("peak %d, live %d; want 5, 0", c.Peak(), c.Live())
	}
	if got := c.Callers()["1000"]; got != (Load{0, 5}) {
		t.Errorf("caller 1000: %+v", got)
	}
	if got := c.Hosts()["test.invalid"]; got != (Load{0, 5}) {
		t.Errorf("host: %+v", got)
	}
	want := map[waihu.PhoneNumber]int{"+999700004": 2, "+999700104": 2, "+999700204": 1}
	if got := c.Attempts(); !reflect.DeepEqual(got, want) {
		t.Errorf("attempts %v, want %v", got, want)
	}
	for _, r := range c.Calls() {
		if r.Status != 487 || r.EndedBy != waihu.ByAgent || !r.AnswerAt.IsZero() || r.RingAt.IsZero() || r.EndAt.Before(r.RingAt) {
			t.Errorf("record %+v", r)
		}
	}
}

// A challenge ends a call by the carrier's count, and the repeated INVITE begins it again: one attempt, one record.
func TestChallengeIsOneAttempt(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	p := newPhone(t, c, "+9990000067")
	p.byeAfter = 200 * time.Millisecond
	callAll(t, c, []*phone{p})
	if n := c.Attempts()["+9990000067"]; n != 1 || len(c.Calls()) != 1 || c.Peak() != 1 || c.Live() != 0 {
		t.Errorf("%d attempts, %d records, peak %d, live %d", n, len(c.Calls()), c.Peak(), c.Live())
	}
}

// TestStopDuringCalls: Run returns at once although calls are up, and each gets its BYE.
func TestStopDuringCalls(t *testing.T) {
	t.Parallel()
	c, err := New(Options{Speed: 0.05})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	up, ringing := newPhone(t, c, "+9990000033"), newPhone(t, c, "+9990000004")
	done := make(chan bool, 2)
	for _, p := range []*phone{up, ringing} {
		go func() { p.call(); done <- true }()
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if r := c.Calls(); len(r) == 2 && (!r[0].AnswerAt.IsZero() || !r[1].AnswerAt.IsZero()) {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	began := time.Now()
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
	if d := time.Since(began); d > 20*time.Second { // 64*T1, which it would wait for answers, are 32 s
		t.Errorf("Run took %v to end", d)
	}
	<-done
	<-done
	if len(up.requests) != 1 || up.requests[0] != "BYE" {
		t.Errorf("the call that was up got %v", up.requests)
	}
	if ringing.final != 480 {
		t.Errorf("the call that rang ended with %d", ringing.final)
	}
	if len(c.Findings()) > 0 {
		t.Error(c.Findings())
	}
}

// plainRequest is a request outside any call.
func plainRequest(method, transport string, local net.Addr, branch, extra string) string {
	return fmt.Sprintf("%s sip:carrier.invalid SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=z9hG4bK%s;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:alice@test.invalid>;tag=f\r\nTo: <sip:alice@test.invalid>\r\nCall-ID: %s\r\nCSeq: 7 %s\r\n%sContent-Length: 0\r\n\r\n",
		method, transport, local, branch, branch, method, extra)
}

func TestOutsideCalls(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	conn, err := net.Dial("udp", c.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(raw string) *message {
		t.Helper()
		buf := make([]byte, 4096)
		if _, err := conn.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		return read(string(buf[:n]))
	}
	if m := ask(plainRequest("OPTIONS", "UDP", conn.LocalAddr(), "o", "")); m.status() != 200 || !strings.Contains(m.get("Allow"), "PRACK") ||
		param(m.get("Via"), "rport") == "" || param(m.get("To"), "tag") == "" {
		t.Errorf("OPTIONS: %+v", m)
	}
	if m := ask(plainRequest("SUBSCRIBE", "UDP", conn.LocalAddr(), "s", "")); m.status() != 405 {
		t.Errorf("SUBSCRIBE: %d", m.status())
	}
	if m := ask(plainRequest("CANCEL", "UDP", conn.LocalAddr(), "c", "")); m.status() != 481 {
		t.Errorf("CANCEL: %d", m.status())
	}
	contact := "Contact: <sip:alice@127.0.0.1:9>\r\nExpires: 60\r\n"
	m := ask(plainRequest("REGISTER", "UDP", conn.LocalAddr(), "r1", contact))
	if m.status() != 401 {
		t.Fatalf("REGISTER: %d", m.status())
	}
	login := func(branch, pass string) int {
		p := &phone{user: "alice", pass: pass, inviteURI: "sip:carrier.invalid"}
		answer := p.credentialsFor("REGISTER", m.get("WWW-Authenticate"))
		return ask(plainRequest("REGISTER", "UDP", conn.LocalAddr(), branch, contact+"Authorization: "+answer+"\r\n")).status()
	}
	if got := login("r2", "secret"); got != 200 {
		t.Errorf("REGISTER with the password: %d", got)
	}
	if got := login("r3", "wrong"); got != 403 {
		t.Errorf("REGISTER with a wrong password: %d", got)
	}
	for _, f := range c.Findings() {
		t.Error(f)
	}
	if m := ask("INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKm;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: m\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\n\r\n"); m.status() != 400 {
		t.Errorf("an INVITE with the CSeq of a BYE: %d", m.status())
	}
	if _, err := conn.Write([]byte("nonsense\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for len(c.Findings()) < 2 && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	if f := c.Findings(); len(f) != 2 || f[0].Rule != "cseq-method" || f[1].Rule != "syntax" {
		t.Errorf("findings %v", f)
	}
}

// TestTCP: keep-alives, two messages in one segment, one message in several.
func TestTCP(t *testing.T) {
	t.Parallel()
	c := start(t, func(o *Options) { o.T1 = defaultT1 })
	conn, err := net.Dial("tcp", c.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	next := func() *message {
		t.Helper()
		var head strings.Builder
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "\r\n" {
				break
			}
			head.WriteString(line)
		}
		m := read(head.String() + "\r\n")
		n := 0
		fmt.Sscan(m.get("Content-Length"), &n)
		body := make([]byte, n)
		if _, err := io.ReadFull(in, body); err != nil {
			t.Fatal(err)
		}
		m.body = string(body)
		return m
	}
	one := plainRequest("OPTIONS", "TCP", conn.LocalAddr(), "a", "")
	two := plainRequest("OPTIONS", "TCP", conn.LocalAddr(), "b", "")
	for _, part := range []string{"\r\n\r\n", one + two[:40], two[40:90], two[90:]} {
		if _, err := conn.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond) // so that the parts travel apart
	}
	for _, branch := range []string{"a", "b"} {
		if m := next(); m.status() != 200 || m.get("Call-ID") != branch {
			t.Errorf("OPTIONS %s: %+v", branch, m)
		}
	}
	// A whole call: the callee's BYE comes over the same connection.
	p := &phone{number: "+9990000032", to: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}, callID: "tcp", tag: "t"}
	send := func(method, uri, branch string, routes []string, tag, body string) {
		t.Helper()
		raw := p.raw(conn.LocalAddr().String(), "TCP", method, uri, branch, 1, tag, routes, nil, body)
		if _, err := conn.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
	}
	send("INVITE", "sip:"+p.number+"@x", "z9hG4bKi", nil, "", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n")
	var got []string
	for {
		m := next()
		if n := len(got); n == 0 || got[n-1] != m.start { // the 200 comes again while a slow machine owes it the ACK
			got = append(got, m.start)
		}
		if m.status() == 200 {
			if !strings.Contains(m.get("Contact"), "transport=tcp") {
				t.Errorf("Contact %s", m.get("Contact"))
			}
			routes := m.all("Record-Route")
			send("ACK", strings.Trim(m.get("Contact"), "<>"), "z9hG4bKj", routes, param(m.get("To"), "tag"), "")
		}
		if m.method() == "BYE" {
			answer := fmt.Sprintf("SIP/2.0 200 OK\r\nVia: %s\r\nFrom: %s\r\nTo: %s\r\nCall-ID: tcp\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n",
				m.get("Via"), m.get("From"), m.get("To"), m.get("CSeq"))
			if _, err := conn.Write([]byte(answer)); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if len(got) != 4 || !strings.HasPrefix(got[3], "BYE") {
		t.Errorf("the call went %v", got)
	}
	deadline := time.Now().Add(time.Minute)
	for len(unfinished(c)) > 0 && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond)
	}
	for _, f := range c.Findings() {
		t.Error(f)
	}
}

func TestPortRange(t *testing.T) {
	t.Parallel()
	free := listenUDP(t, 0)
	low := free.LocalAddr().(*net.UDPAddr).Port &^ 1
	free.Close()
	if low > 65000 {
		low -= 1000
	}
	c := start(t, func(o *Options) { o.RTPLow, o.RTPHigh = low, low+41 })
	p := newPhone(t, c, "+9990000013")
	p.byeAfter, p.hold = time.Millisecond, func() bool { return !p.hears() }
	callAll(t, c, []*phone{p})
	for port := range p.seen.froms {
		if port < low || port > low+41 || port%2 == 1 {
			t.Errorf("RTP from port %d: an even one within %d to %d was expected", port, low, low+41)
		}
	}
	if len(p.seen.froms) != 1 {
		t.Errorf("RTP from ports %v", p.seen.froms)
	}
}

// TestSipp lets sipp make calls with its own scenario: a peer that shares nothing with us.
func TestSipp(t *testing.T) {
	t.Parallel()
	sipp, err := exec.LookPath("sipp")
	if err != nil {
		if os.Getenv("WAIHU_TEST_REQUIRE") != "" {
			t.Fatal("sipp is not installed (Debian package sip-tester)")
		}
		t.Skip("sipp is not installed (Debian package sip-tester)")
	}
	c := start(t, func(o *Options) { o.T1 = 2 * time.Second }) // a sipp that stands still gets nothing twice
	dir := t.TempDir()
	numbers := filepath.Join(dir, "numbers.csv")
	var rows strings.Builder
	rows.WriteString("SEQUENTIAL\n")
	const calls = 20
	for i := range calls {
		fmt.Fprintf(&rows, "+9990%03d32;\n", i)
	}
	if err := os.WriteFile(numbers, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	scenario, err := filepath.Abs("testdata/uac.xml")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, sipp, c.Addr(), "-sf", scenario, "-inf", numbers, "-i", "127.0.0.1", "-m", fmt.Sprint(calls), "-l", "10", "-r", "10",
		"-nostdin", "-trace_err", "-timeout", "100")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(dir, "*errors*"))
		text := ""
		for _, l := range logs {
			b, _ := os.ReadFile(l)
			text += string(b)
		}
		t.Fatalf("sipp: %v\n%s\n%s", err, text, out[max(0, len(out)-2000):])
	}
	deadline := time.Now().Add(time.Minute)
	for len(unfinished(c)) > 0 && time.Now().Before(deadline) {
		<-time.After(20 * time.Millisecond)
	}
	for _, f := range c.Findings() {
		t.Error(f)
	}
	if n := len(c.Calls()); n != calls {
		t.Errorf("%d calls, want %d", n, calls)
	}
	for _, r := range c.Calls() {
		if r.Status != 200 || r.EndedBy != waihu.ByCallee {
			t.Errorf("%+v", r)
		}
	}
}
