package carrier

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waihu/audio"
)

func TestMain(m *testing.M) {
	if os.Getenv("CARRIER_LEAKS") == "off" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// start runs a fast carrier for a test: T1 is 50 ms and ringing takes a twentieth.
func start(t *testing.T, change func(*Options)) *Carrier {
	t.Helper()
	opt := Options{Seed: 7, Speed: 0.05, T1: 50 * time.Millisecond, Username: "alice", Password: "secret"}
	if change != nil {
		change(&opt)
	}
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return c
}

// callAll makes calls, as many at once as the machine bears, and waits until the carrier has judged them.
func callAll(t *testing.T, c *Carrier, phones []*phone) {
	t.Helper()
	callAtOnce(t, c, phones, maxAtOnce)
}

func callAtOnce(t *testing.T, c *Carrier, phones []*phone, atOnce int) {
	t.Helper()
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, p := range phones {
		wg.Go(func() {
			slots <- struct{}{}
			p.call()
			<-slots
		})
	}
	wg.Wait()
	deadline := time.Now().Add(time.Minute)
	for len(unfinished(c)) > 0 && time.Now().Before(deadline) {
		<-time.After(20 * time.Millisecond)
	}
}

// message is a SIP message as the test's phone reads it: no parser of the product.
type message struct {
	start   string
	headers [][2]string
	body    string
}

func read(raw string) *message {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	m := &message{start: lines[0], body: body}
	for _, l := range lines[1:] {
		name, v, _ := strings.Cut(l, ":")
		m.headers = append(m.headers, [2]string{name, strings.TrimSpace(v)})
	}
	return m
}

func (m *message) get(name string) string {
	if v := m.all(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (m *message) all(name string) (out []string) {
	for _, h := range m.headers {
		if strings.EqualFold(h[0], name) {
			out = append(out, h[1])
		}
	}
	return out
}

func (m *message) status() int {
	if f := strings.Fields(m.start); f[0] == "SIP/2.0" {
		n, _ := strconv.Atoi(f[1])
		return n
	}
	return 0
}

func (m *message) method() string { return strings.Fields(m.start)[0] }

func param(v, name string) string {
	_, v, ok := strings.Cut(v, name+"=")
	if !ok {
		return ""
	}
	v = strings.Trim(v, `"`)
	return v[:len(v)-len(strings.TrimLeft(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."))]
}

// phone is a caller on raw sockets. The zero knobs make it keep every rule.
type phone struct {
	t      *testing.T
	number string
	to     *net.UDPAddr
	sip    *net.UDPConn
	rtp    *net.UDPConn
	rtcp   *net.UDPConn

	// knobs
	codecs      []int
	cancelAfter time.Duration // after the first 18x (or 100)
	byeAfter    time.Duration // after the answer; 0: the callee hangs up, or talked ends it
	hold        func() bool   // neither CANCEL nor BYE leaves while it says true
	quiet       bool          // sends silence instead of speech
	extra       []string      // header lines of the INVITE
	user, pass  string
	wrong       string // the rule to break
	limit       time.Duration
	midCall     func(*phone)                    // 400 ms after the answer
	mangle      func(method, raw string) string // changes a message before it leaves

	// what happened
	statuses []int
	requests []string
	final    int
	reasons  string
	infos    string // heard by INFO
	acks     int
	ended    bool
	byMe     bool
	seen     *stream
	begun    time.Time
	done     time.Time

	callID, tag    string
	cseq           int
	inviteCSeq     int
	inviteBranch   string
	inviteURI      string
	dialogs        map[string]*leg
	answered       time.Time
	okTag          string
	challenge      string
	last           map[string]string // responses to the carrier's requests, by branch and method
	lastRSeq       string
	mine           map[string]string // branch to method of our requests that wait
	byeStatus      int
	sessionVersion int
	broken         bool // by breakRTP, once
	refused        bool // a BYE was answered with 500
}

// leg is one fork as the phone knows it.
type leg struct {
	contact string
	routes  []string
	sdp     string
}

// stream is the RTP that a phone hears.
type stream struct {
	mu      sync.Mutex
	packets int
	last    time.Time
	ssrcs   map[uint32]bool
	froms   map[int]bool
	sizes   map[int]int
	pts     map[int]int
	marks   int
	lost    int
	seq     uint16
	started bool
	levels  []float64
	modem   *audio.ModemDecoder
	text    string
	texts   []string
	digits  string
	eventTS uint32
	ends    int
	evMarks int
	evTotal int
	due     uint32 // timestamp of the next audio packet
	early   int    // packets sooner than 12 ms after the one before
	dtmf    audio.DTMFDetector
	tones   string
}

func newPhone(t *testing.T, c *Carrier, number string) *phone {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", c.Addr())
	if err != nil {
		t.Fatal(err)
	}
	p := &phone{t: t, number: number, to: to, callID: rand.Text(), tag: rand.Text()[:8], cseq: 1, limit: time.Minute,
		codecs: []int{8, 0}, dialogs: map[string]*leg{}, last: map[string]string{}, mine: map[string]string{}, sessionVersion: 1,
		user: "alice", pass: "secret",
		seen: &stream{ssrcs: map[uint32]bool{}, froms: map[int]bool{}, sizes: map[int]int{}, pts: map[int]int{}, modem: audio.NewModemDecoder()}}
	p.sip = listenUDP(t, 0)
	for {
		p.rtp = listenUDP(t, 0)
		port := p.rtp.LocalAddr().(*net.UDPAddr).Port
		if port%2 == 0 {
			if conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port + 1}); err == nil {
				p.rtcp = conn
				break
			}
		}
		p.rtp.Close()
	}
	return p
}

func listenUDP(t testing.TB, port int) *net.UDPConn {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (p *phone) local() string { return p.sip.LocalAddr().String() }

func (p *phone) sdp() string {
	port := p.rtp.LocalAddr().(*net.UDPAddr).Port
	formats, maps := "", ""
	for _, c := range p.codecs {
		formats += fmt.Sprintf(" %d", c)
	}
	maps = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
	return fmt.Sprintf("v=0\r\no=- 1 %d IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP%s 101\r\n%sa=ptime:20\r\na=sendrecv\r\n",
		p.sessionVersion, port, formats, maps)
}

func (p *phone) write(s string) {
	if p.mangle != nil {
		s = p.mangle(strings.Fields(s)[0], s)
	}
	_, _ = p.sip.WriteToUDP([]byte(s), p.to)
}

// compose makes a request.
func (p *phone) compose(method, uri, branch string, cseq int, toTag string, routes, extra []string, body string) string {
	return p.raw(p.local(), "UDP", method, uri, branch, cseq, toTag, routes, extra, body)
}

func (p *phone) raw(local, transport, method, uri, branch string, cseq int, toTag string, routes, extra []string, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=%s;rport\r\nMax-Forwards: 70\r\n", method, uri, transport, local, branch)
	for _, r := range routes {
		b.WriteString("Route: " + r + "\r\n")
	}
	to := "<sip:" + p.number + "@" + p.to.String() + ">"
	if toTag != "" {
		to += ";tag=" + toTag
	}
	fmt.Fprintf(&b, "From: \"caller\" <sip:1000@test.invalid>;tag=%s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", p.tag, to, p.callID, cseq, method)
	if method != "ACK" && method != "BYE" && method != "CANCEL" {
		fmt.Fprintf(&b, "Contact: <sip:1000@%s>\r\n", local)
	}
	for _, e := range extra {
		b.WriteString(e + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

func (p *phone) invite(extra ...string) {
	p.inviteBranch, p.inviteCSeq = "z9hG4bK"+rand.Text(), p.cseq
	p.inviteURI = "sip:" + p.number + "@" + p.to.String()
	head := append([]string{"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO", "Supported: timer, 100rel", "Session-Expires: 1800"}, p.extra...)
	p.write(p.compose("INVITE", p.inviteURI, p.inviteBranch, p.cseq, "", nil, append(head, extra...), p.sdp()))
}

// call dials and serves the call until it is over.
func (p *phone) call() {
	p.t.Helper()
	defer p.sip.Close()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	defer wg.Wait()
	defer p.rtp.Close()
	defer p.rtcp.Close()
	var once sync.Once
	silence := func() { once.Do(func() { close(stop) }) }
	defer silence()
	wg.Go(p.hear)
	wg.Go(func() { // RTCP is only drained
		b := make([]byte, 1500)
		for {
			if _, _, err := p.rtcp.ReadFromUDP(b); err != nil {
				return
			}
		}
	})
	p.begun = time.Now()
	defer func() { p.done = time.Now() }()
	var canceled, ringing time.Time
	p.invite()
	buf := make([]byte, 65536)
	over := time.Time{}
	for {
		if time.Since(p.begun) > p.limit {
			p.t.Errorf("%s: the call was not over after %v: statuses %v, requests %v", p.number, p.limit, p.statuses, p.requests)
			return
		}
		if p.ended && over.IsZero() {
			over = time.Now()
			if p.wrong != "rtp-after-end" {
				silence()
			}
		}
		linger := 300 * time.Millisecond // repeated requests are answered
		if p.wrong != "" {
			linger = 1200 * time.Millisecond
		}
		if !over.IsZero() && time.Since(over) > linger && len(p.mine) == 0 {
			return
		}
		if len(p.statuses) > 0 && ringing.IsZero() {
			ringing = time.Now()
		}
		held := p.hold != nil && p.hold()
		if p.cancelAfter > 0 && !held && canceled.IsZero() && !ringing.IsZero() && p.final == 0 && time.Since(ringing) > p.cancelAfter {
			canceled = time.Now()
			branch := p.inviteBranch
			if p.wrong == "cancel-match" {
				p.write(p.compose("CANCEL", p.inviteURI, branch+"x", p.cseq, "", nil, nil, ""))
			}
			p.mine[branch+" CANCEL"] = "CANCEL"
			p.write(p.compose("CANCEL", p.inviteURI, branch, p.cseq, "", nil, nil, ""))
		}
		if p.midCall != nil && !p.answered.IsZero() && time.Since(p.answered) > 400*time.Millisecond {
			do := p.midCall
			p.midCall = nil
			do(p)
		}
		if !p.answered.IsZero() && !p.byMe && !p.ended {
			if !canceled.IsZero() && p.wrong != "late-200" || p.byeAfter > 0 && !held && time.Since(p.answered) > p.byeAfter {
				p.bye(p.okTag)
			}
		}
		_ = p.sip.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, from, err := p.sip.ReadFromUDP(buf)
		if err != nil || from.Port != p.to.Port { // a stranger's media: whose far end had this port before, or has the one below, may send RTCP here
			continue
		}
		m := read(string(buf[:n]))
		was := p.answered
		if m.status() > 0 {
			p.response(m)
		} else {
			p.request(m)
		}
		if was.IsZero() && !p.answered.IsZero() {
			sdp := p.dialogs[p.okTag].sdp
			wg.Go(func() { p.speak(sdp, stop) })
		}
	}
}

func (p *phone) bye(tag string) {
	l := p.dialogs[tag]
	p.cseq++
	branch := "z9hG4bK" + rand.Text()
	cseq, uri, routes := p.cseq, l.contact, l.routes
	switch p.wrong {
	case "cseq-order":
		if !p.refused {
			cseq = 1
		}
	case "request-uri":
		uri = p.inviteURI
	case "route":
		routes = append(routes, "<sip:127.0.0.1:9;lr>")
	case "branch-reused":
		branch = p.inviteBranch
	case "dialog-tags":
		tag = "nobody"
	}
	p.mine[branch+" BYE"] = "BYE"
	p.write(p.compose("BYE", uri, branch, cseq, tag, routes, nil, ""))
	if tag == p.okTag || p.wrong == "dialog-tags" {
		p.byMe = true
	}
}

func (p *phone) response(m *message) {
	cseq := strings.Fields(m.get("CSeq"))
	branch := param(m.get("Via"), "branch")
	if cseq[1] != "INVITE" {
		if m.status() >= 200 {
			delete(p.mine, branch+" "+cseq[1])
			if cseq[1] == "BYE" {
				p.byeStatus = m.status()
				if p.byeStatus == 500 && !p.refused {
					p.refused, p.byMe = true, false // again, rightly
				}
				if p.byMe {
					p.ended = true
				}
			}
		}
		return
	}
	if n, _ := strconv.Atoi(cseq[0]); m.status() >= 300 && n < p.inviteCSeq && p.final == 0 {
		return // a repetition from before the credentials
	}
	status := m.status()
	p.statuses = append(p.statuses, status)
	tag := param(m.get("To"), "tag")
	if status > 100 && status < 300 && m.get("Contact") != "" {
		l := p.dialogs[tag]
		if l == nil {
			l = &leg{contact: strings.Trim(m.get("Contact"), "<>"), routes: m.all("Record-Route")}
			slices.Reverse(l.routes)
			p.dialogs[tag] = l
		}
		if m.body != "" {
			l.sdp = m.body
		}
		if rseq := m.get("RSeq"); rseq != "" && rseq != p.lastRSeq && p.wrong != "prack-missing" {
			p.lastRSeq = rseq
			p.cseq++
			rack := rseq + " " + cseq[0] + " INVITE"
			if p.wrong == "prack-rack" {
				rack = "1 1 INVITE"
			}
			branch := "z9hG4bK" + rand.Text()
			p.mine[branch+" PRACK"] = "PRACK"
			p.write(p.compose("PRACK", l.contact, branch, p.cseq, tag, l.routes, []string{"RAck: " + rack}, ""))
		}
	}
	n, _ := strconv.Atoi(cseq[0])
	switch {
	case status < 200:
	case status < 300:
		p.final = status
		l := p.dialogs[tag]
		branch := "z9hG4bK" + rand.Text()
		seq := n
		switch p.wrong {
		case "ack-missing":
			l = nil
		case "ack-each":
			if p.acks > 0 {
				l = nil
			}
		case "ack-cseq":
			seq += 5
		case "ack-branch":
			branch = p.inviteBranch
		}
		if l != nil {
			p.acks++
			p.write(p.compose("ACK", l.contact, branch, seq, tag, l.routes, nil, ""))
		}
		if p.okTag == "" {
			p.okTag, p.answered = tag, time.Now()
		} else if tag != p.okTag && p.wrong != "second-200" {
			p.bye(tag) // a second fork
		}
	default:
		branch, to := p.inviteBranch, tag
		if p.wrong == "ack-branch" {
			branch = "z9hG4bK" + rand.Text()
		}
		if p.wrong == "ack-tag" {
			to = "other"
		}
		if p.wrong != "ack-missing" {
			p.write(p.compose("ACK", p.inviteURI, branch, n, to, nil, nil, ""))
		}
		p.reasons = m.get("Reason")
		again := ""
		switch {
		case (status == 401 || status == 407) && p.pass != "":
			name, header := "WWW-Authenticate", "Authorization"
			if status == 407 {
				name, header = "Proxy-Authenticate", "Proxy-Authorization"
			}
			again = header + ": " + p.credentials(m.get(name))
			if again == p.challenge {
				again = ""
			}
			p.challenge = again
		case status == 422:
			again = "Session-Expires: " + m.get("Min-SE")
		}
		if again == "" {
			p.final, p.ended = status, true
			return
		}
		p.cseq++
		if p.wrong == "cseq-retry" {
			p.cseq++
		}
		if status == 422 {
			p.inviteWith(again)
		} else {
			p.invite(again)
		}
	}
}

// inviteWith dials again with another session interval.
func (p *phone) inviteWith(interval string) {
	p.inviteBranch, p.inviteCSeq = "z9hG4bK"+rand.Text(), p.cseq
	p.write(p.compose("INVITE", p.inviteURI, p.inviteBranch, p.cseq, "", nil,
		[]string{"Allow: INVITE, ACK, CANCEL, BYE, UPDATE, INFO", "Supported: timer", interval}, p.sdp()))
}

func (p *phone) credentials(challenge string) string { return p.credentialsFor("INVITE", challenge) }

func (p *phone) credentialsFor(method, challenge string) string {
	c := map[string]string{"nonce": param(challenge, "nonce"), "uri": p.inviteURI, "nc": "00000001", "cnonce": "abc", "qop": "auth"}
	response := digest(p.user, param(challenge, "realm"), p.pass, method, c)
	return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", qop=auth, nc=00000001, cnonce="abc", algorithm=MD5`,
		p.user, param(challenge, "realm"), c["nonce"], p.inviteURI, response)
}

// inDialog sends a request within the dialog.
func (p *phone) inDialog(method, body string, extra ...string) {
	p.cseq++
	branch := "z9hG4bK" + rand.Text()
	l := p.dialogs[p.okTag]
	if method != "INVITE" {
		p.mine[branch+" "+method] = method
	}
	p.write(p.compose(method, l.contact, branch, p.cseq, p.okTag, l.routes, extra, body))
}

// request answers the carrier.
func (p *phone) request(m *message) {
	via := m.get("Via")
	key := param(via, "branch") + m.method()
	if r, ok := p.last[key]; ok {
		p.write(r)
		return
	}
	p.requests = append(p.requests, m.method())
	if m.method() == "ACK" {
		return
	}
	body, extra := "", ""
	switch m.method() {
	case "INVITE":
		dir := "sendrecv"
		if strings.Contains(m.body, "a=sendonly") {
			dir = "recvonly"
			if p.wrong == "answer" {
				dir = "sendonly"
			}
		}
		p.sessionVersion++
		body = strings.Replace(p.sdp(), "a=sendrecv", "a="+dir, 1)
		extra = fmt.Sprintf("Contact: <sip:1000@%s>\r\nContent-Type: application/sdp\r\n", p.local())
	case "UPDATE":
		extra = fmt.Sprintf("Contact: <sip:1000@%s>\r\n", p.local())
		if se := m.get("Session-Expires"); se != "" {
			extra += "Session-Expires: " + se + "\r\nRequire: timer\r\n"
		}
		if m.body != "" {
			body, extra = p.sdp(), extra+"Content-Type: application/sdp\r\n"
		}
	case "INFO":
		_, d, _ := strings.Cut(m.body, "Signal=")
		p.infos += d[:1]
	case "BYE":
		p.ended = true
		p.reasons = m.get("Reason")
		if p.wrong == "request-unanswered" {
			return
		}
	}
	cs := m.get("CSeq")
	if p.wrong == "response-cseq" {
		cs = "1 BYE"
	}
	r := fmt.Sprintf("SIP/2.0 200 OK\r\nVia: %s\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		via, m.get("From"), m.get("To"), m.get("Call-ID"), cs, extra, len(body), body)
	p.last[key] = r
	p.write(r)
}

// speak sends RTP: 1.5 s of speech a second after the answer, silence, 1 s of speech again each time the callee ended an utterance.
func (p *phone) speak(sdp string, stop chan struct{}) {
	f := strings.Fields(sdp[strings.Index(sdp, "m=audio"):])
	port, _ := strconv.Atoi(f[1])
	pt, _ := strconv.Atoi(f[3])
	to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	voice := voiceOf(story)
	seq, ts := uint16(65000), uint32(1<<31)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	talk, heard, pos := -50, 0, 0
	modem := audio.AppendModem(nil, -20, audio.Subtitle("你好你好")...)
	begun := time.Now()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if missed := int(time.Since(begun)/(20*time.Millisecond)) - n; missed > 3 { // the machine stalled: time has passed
			n += missed
			ts += uint32(missed * 160)
		}
		p.seen.mu.Lock()
		texts := len(p.seen.texts)
		p.seen.mu.Unlock()
		if talk++; texts > heard && talk > 75 {
			heard, talk = texts, -15
		}
		pcm := make([]int16, 160)
		if talk >= 0 && talk < 75 && !p.quiet {
			copy(pcm, voice[pos:pos+160])
			pos = (pos + 160) % (len(voice) - 160)
		}
		if p.wrong == "modem-tone" && n >= 10 && (n-10)*160+160 < len(modem) {
			copy(pcm, modem[(n-10)*160:])
		}
		b := make([]byte, 172)
		b[0], b[1] = 0x80, byte(pt)
		if n == 0 {
			b[1] |= 0x80
		}
		binary.BigEndian.PutUint16(b[2:], seq)
		binary.BigEndian.PutUint32(b[4:], ts)
		binary.BigEndian.PutUint32(b[8:], 0x1234)
		if pt == 0 {
			audio.EncodeULaw(b[12:], pcm)
		} else {
			audio.EncodeALaw(b[12:], pcm)
		}
		seq++
		ts += 160
		p.breakRTP(n, b, &seq, &ts)
		out := p.rtp
		if p.wrong == "rtp-source" {
			out = p.rtcp
		}
		_, _ = out.WriteToUDP(b, to)
	}
}

// breakRTP breaks one rule when the test asks for it.
func (p *phone) breakRTP(n int, b []byte, seq *uint16, ts *uint32) {
	if n < 40 || n > 40 && p.broken {
		n = -1
	}
	p.broken = p.broken || n >= 40
	if n < 0 && p.wrong != "rtp-clock" && p.wrong != "rtp-marker" {
		return
	}
	switch p.wrong {
	case "rtp-sequence":
		*seq += 7
	case "rtp-timestamp":
		*ts -= 80
	case "rtp-clock":
		*ts += 160
	case "rtp-ssrc":
		b[11]++
	case "rtp-payload":
		b[1] = 3
	case "rtp-gap":
		<-time.After(500 * time.Millisecond)
	case "rtp-version":
		b[0] = 0x40
	case "rtp-marker":
		b[1] |= 0x80
	}
}

// hear listens to the callee.
func (p *phone) hear() {
	s := p.seen
	b := make([]byte, 2048)
	for {
		n, from, err := p.rtp.ReadFromUDP(b)
		if err != nil {
			return
		}
		if n < 14 || b[1] >= 192 && b[1] < 224 { // a stranger's RTCP
			continue
		}
		s.mu.Lock()
		s.packet(b[:n], from.Port)
		s.mu.Unlock()
	}
}

// hears says that sound has come.
func (p *phone) hears() bool {
	p.seen.mu.Lock()
	defer p.seen.mu.Unlock()
	return p.seen.packets > 0
}

func (s *stream) packet(b []byte, from int) {
	s.packets++
	if s.started && time.Since(s.last) < 12*time.Millisecond {
		s.early++
	}
	s.last = time.Now()
	seq, ts, pt := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), int(b[1]&0x7F)
	if s.started && seq != s.seq+1 {
		s.lost++
		if gap := int(int16(seq-s.seq)) - 1; gap > 0 && gap < 50 {
			for range gap {
				s.modem.Frame(make([]int16, 160), true)
			}
		}
	}
	s.started, s.seq = true, seq
	s.ssrcs[binary.BigEndian.Uint32(b[8:])] = true
	s.froms[from] = true
	s.sizes[len(b)-12]++
	s.pts[pt]++
	if b[1]&0x80 != 0 {
		s.marks++
	}
	if pt > 95 {
		s.evTotal++
		if ts != s.eventTS {
			s.eventTS = ts
			s.digits += string("0123456789*#"[b[12]])
			if b[1]&0x80 != 0 {
				s.evMarks++
			}
		}
		if b[13]&0x80 != 0 {
			s.ends++
		}
		return
	}
	if gap := int(int32(ts - s.due)); s.due != 0 && gap > 0 && gap < 8000 && s.lost == 0 {
		s.modem.Frame(make([]int16, gap), true) // the carrier's machine stood still: what it missed is lost
	}
	s.due = ts + uint32(len(b)-12)
	pcm := make([]int16, len(b)-12)
	if pt == 0 {
		audio.DecodeULaw(pcm, b[12:])
	} else {
		audio.DecodeALaw(pcm, b[12:])
	}
	if d := s.dtmf.Frame(pcm); d != 0 {
		s.tones += string(d)
	}
	for _, piece := range s.modem.Frame(pcm, false) {
		s.text += piece.Text()
		if piece.Type == audio.PieceEnd {
			s.texts = append(s.texts, s.text)
			s.text = ""
		}
	}
	s.levels = append(s.levels, audio.Level(pcm))
}
