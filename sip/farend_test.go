package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"waihu"
)

// Tests run on a clock ten times faster: T1 50 ms, so 64*T1 is 3.2 s.
func TestMain(m *testing.M) {
	fastClock()
	goleak.VerifyTestMain(m)
}

func fastClock() {
	gosip.SetTimers(50*time.Millisecond, 400*time.Millisecond, 100*time.Millisecond)
	gosip.Timer_D = 500 * time.Millisecond
}

// patient is how long a test waits for what must come.
const patient = time.Minute

const (
	ourSDP   = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 0 101\r\n"
	theirSDP = "v=0\r\no=- 7 7 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 8 101\r\n"
	otherSDP = "v=0\r\no=- 7 8 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30002 RTP/AVP 8 101\r\n"
)

// farEnd is a carrier of raw messages: a UDP socket (or one TCP connection) that a test scripts by hand.
type farEnd struct {
	t      *testing.T
	pc     *net.UDPConn
	ln     net.Listener
	parser *gosip.Parser
	msgs   chan gosip.Message
	done   chan struct{}

	mu    sync.Mutex
	peer  netip.AddrPort // who wrote last
	conn  net.Conn
	seen  map[string]int
	early []gosip.Message // came while something else was awaited
}

func newFarEnd(t *testing.T) *farEnd {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &farEnd{t: t, pc: pc, parser: gosip.NewParser(), msgs: make(chan gosip.Message, 1000), done: make(chan struct{}), seen: map[string]int{}}
	go f.read()
	t.Cleanup(func() { pc.Close(); <-f.done })
	return f
}

func newTCPFarEnd(t *testing.T) *farEnd {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &farEnd{t: t, ln: ln, parser: gosip.NewParser(), msgs: make(chan gosip.Message, 1000), done: make(chan struct{}), seen: map[string]int{}}
	go f.serve()
	t.Cleanup(func() {
		ln.Close()
		f.mu.Lock()
		if f.conn != nil {
			f.conn.Close()
		}
		f.mu.Unlock()
		<-f.done
	})
	return f
}

func (f *farEnd) serve() {
	defer close(f.done)
	for {
		c, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conn = c
		f.mu.Unlock()
		stream := f.parser.NewSIPStream()
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				break
			}
			_ = stream.ParseSIPStream(buf[:n], f.take)
		}
		c.Close()
	}
}

func (f *farEnd) read() {
	defer close(f.done)
	buf := make([]byte, 65536)
	for {
		n, src, err := f.pc.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		msg, err := f.parser.ParseSIP(buf[:n])
		if err != nil {
			continue
		}
		f.mu.Lock()
		f.peer = src
		f.mu.Unlock()
		msg.SetSource(src.String())
		f.take(msg)
	}
}

// take counts repetitions and passes only the first of each message on.
func (f *farEnd) take(msg gosip.Message) {
	branch, _ := msg.Via().Params.Get("branch")
	key := branch + " " + msg.CSeq().Value()
	if r, ok := msg.(*gosip.Response); ok {
		key += fmt.Sprint(r.StatusCode)
	}
	f.mu.Lock()
	f.seen[key]++
	first := f.seen[key] == 1
	f.mu.Unlock()
	if first {
		f.msgs <- msg
	}
}

func (f *farEnd) addr() string {
	if f.ln != nil {
		return f.ln.Addr().String()
	}
	return f.pc.LocalAddr().String()
}

func (f *farEnd) write(b []byte) {
	f.mu.Lock()
	peer, conn := f.peer, f.conn
	f.mu.Unlock()
	if conn != nil {
		_, _ = conn.Write(b)
		return
	}
	_, _ = f.pc.WriteToUDPAddrPort(b, peer)
}

// await returns the first message that fits and keeps the others for later.
func (f *farEnd) await(what string, fits func(gosip.Message) bool) gosip.Message {
	f.t.Helper()
	for i, m := range f.early {
		if fits(m) {
			f.early = append(f.early[:i:i], f.early[i+1:]...)
			return m
		}
	}
	limit := time.After(patient)
	for {
		select {
		case m := <-f.msgs:
			if fits(m) {
				return m
			}
			f.early = append(f.early, m)
		case <-limit:
			var got []string
			for _, m := range f.early {
				got = append(got, strings.SplitN(m.String(), "\r\n", 2)[0])
			}
			f.t.Fatalf("far end: no %s within %v; got %q", what, patient, got)
		}
	}
}

// expect returns the next request of that method; repetitions do not count.
func (f *farEnd) expect(method gosip.RequestMethod) *gosip.Request {
	f.t.Helper()
	return f.await(string(method), func(m gosip.Message) bool {
		r, ok := m.(*gosip.Request)
		return ok && r.Method == method
	}).(*gosip.Request)
}

// expectStatus returns the next answer to a request of the far end's own.
func (f *farEnd) expectStatus(method gosip.RequestMethod, status int) *gosip.Response {
	f.t.Helper()
	res := f.await(fmt.Sprintf("answer to %s", method), func(m gosip.Message) bool {
		r, ok := m.(*gosip.Response)
		return ok && r.CSeq().MethodName == method && (r.StatusCode >= 200 || status < 200)
	}).(*gosip.Response)
	if res.StatusCode != status {
		f.t.Fatalf("answer to %s: %d %s, want %d", method, res.StatusCode, res.Reason, status)
	}
	return res
}

// none fails when a message that fits comes within d.
func (f *farEnd) none(what string, d time.Duration, fits func(gosip.Message) bool) {
	f.t.Helper()
	for _, m := range f.early {
		if fits(m) {
			f.t.Fatalf("far end: unexpected %s: %s", what, m.String())
		}
	}
	limit := time.After(d)
	for {
		select {
		case m := <-f.msgs:
			if fits(m) {
				f.t.Fatalf("far end: unexpected %s: %s", what, m.String())
			}
			f.early = append(f.early, m)
		case <-limit:
			return
		}
	}
}

// count is how often a message was received, repetitions included.
func (f *farEnd) count(msg gosip.Message) int {
	branch, _ := msg.Via().Params.Get("branch")
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[branch+" "+msg.CSeq().Value()]
}

func isMethod(method gosip.RequestMethod) func(gosip.Message) bool {
	return func(m gosip.Message) bool {
		r, ok := m.(*gosip.Request)
		return ok && r.Method == method
	}
}

// answer shapes one response.
type answer struct {
	tag     string
	sdp     string
	headers []string // "Name: value"
	contact string   // default: the far end's own; "-" for none
}

// response builds a response to req.
func (f *farEnd) response(req *gosip.Request, status int, phrase string, a answer) *gosip.Response {
	res := gosip.NewResponseFromRequest(req, status, phrase, nil)
	if a.tag == "" {
		a.tag = "far"
	}
	if status > 100 && res.To() != nil {
		to := &gosip.ToHeader{DisplayName: res.To().DisplayName, Address: res.To().Address, Params: gosip.HeaderParams{{K: "tag", V: a.tag}}}
		if old, ok := req.To().Params.Get("tag"); ok {
			to.Params = gosip.HeaderParams{{K: "tag", V: old}}
		}
		res.ReplaceHeader(to)
	}
	if status > 100 && a.contact != "-" {
		if a.contact == "" {
			a.contact = "<sip:callee@" + f.addr() + ">"
		}
		res.AppendHeader(gosip.NewHeader("Contact", a.contact))
	}
	for _, h := range a.headers {
		name, value, _ := strings.Cut(h, ": ")
		res.AppendHeader(gosip.NewHeader(name, value))
	}
	if a.sdp != "" {
		res.AppendHeader(gosip.NewHeader("Content-Type", "application/sdp"))
		res.SetBody([]byte(a.sdp))
	}
	return res
}

func (f *farEnd) reply(req *gosip.Request, status int, phrase string, a answer) *gosip.Response {
	f.t.Helper()
	res := f.response(req, status, phrase, a)
	f.write([]byte(res.String()))
	return res
}

// dialogRequest builds a request of the far end within the dialog that invite and its answer made.
func (f *farEnd) dialogRequest(method gosip.RequestMethod, invite *gosip.Request, tag string, seq uint32, headers []string, body string) *gosip.Request {
	f.t.Helper()
	var uri gosip.Uri
	if c := invite.Contact(); c != nil {
		uri = c.Address
	}
	req := gosip.NewRequest(method, uri)
	transport := "UDP"
	if f.ln != nil {
		transport = "TCP"
	}
	req.AppendHeader(gosip.NewHeader("Via", "SIP/2.0/"+transport+" "+f.addr()+";branch="+newBranch()+";rport"))
	req.AppendHeader(gosip.NewHeader("Max-Forwards", "70"))
	req.AppendHeader(gosip.NewHeader("From", "<"+invite.To().Address.String()+">;tag="+tag))
	req.AppendHeader(gosip.NewHeader("To", invite.From().Value()))
	req.AppendHeader(gosip.NewHeader("Call-ID", invite.CallID().Value()))
	req.AppendHeader(gosip.NewHeader("CSeq", fmt.Sprintf("%d %s", seq, method)))
	req.AppendHeader(gosip.NewHeader("Contact", "<sip:callee@"+f.addr()+">"))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.AppendHeader(gosip.NewHeader(name, value))
	}
	req.SetBody([]byte(body))
	return req
}

func (f *farEnd) send(req *gosip.Request) { f.write([]byte(req.String())) }

const sdpHeader = "Content-Type: application/sdp"

// startEndpoint runs an endpoint on loopback for the length of the test.
func startEndpoint(t *testing.T, change func(*Options)) *Endpoint {
	t.Helper()
	e, stop := openEndpoint(t, change)
	t.Cleanup(stop)
	return e
}

func openEndpoint(t testing.TB, change func(*Options)) (*Endpoint, func()) {
	t.Helper()
	opt := Options{Listen: []ListenAddr{{"udp", "127.0.0.1:0"}}, UserAgent: "waihu"}
	if change != nil {
		change(&opt)
	}
	e, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	var once sync.Once
	return e, func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patient):
				t.Error("the endpoint did not stop")
			}
		})
	}
}

func (f *farEnd) peerOf(change func(*waihu.Trunk)) *Peer {
	f.t.Helper()
	tr := waihu.Trunk{URI: "sip:" + f.addr(), SessionTimer: -1}
	if f.ln != nil {
		tr.Transport = "tcp"
	}
	if change != nil {
		change(&tr)
	}
	p, err := NewPeer(tr)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

var nextCall struct {
	sync.Mutex
	n int64
}

func newCallID() waihu.CallID {
	nextCall.Lock()
	defer nextCall.Unlock()
	nextCall.n++
	return waihu.NewCallID(1, 1, nextCall.n)
}

type result struct {
	d   *Dialog
	err error
}

// dial starts an Invite and returns where its result will be.
func dial(ctx context.Context, e *Endpoint, inv Invite) chan result {
	if inv.Call == 0 {
		inv.Call = newCallID()
	}
	if inv.Callee == "" {
		inv.Callee = "13800138000"
	}
	if inv.Caller == "" {
		inv.Caller = "01088886666"
	}
	if inv.SDP == nil {
		inv.SDP = []byte(ourSDP)
	}
	ch := make(chan result, 1)
	go func() {
		d, err := e.Invite(ctx, inv)
		ch <- result{d, err}
	}()
	return ch
}

func wait[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patient):
		t.Fatalf("%s did not come within %v", what, patient)
		panic("unreachable")
	}
}

func standing(t *testing.T, ch chan result) *Dialog {
	t.Helper()
	r := wait(t, "the result of Invite", ch)
	if r.err != nil {
		t.Fatalf("Invite: %v", r.err)
	}
	return r.d
}

func failed(t *testing.T, ch chan result) *Failure {
	t.Helper()
	r := wait(t, "the result of Invite", ch)
	var f *Failure
	if !errors.As(r.err, &f) {
		t.Fatalf("Invite: %v, want a *Failure", r.err)
	}
	return f
}

// up makes a dialog that stands: INVITE, 180, 200, ACK.
func up(t *testing.T, e *Endpoint, f *farEnd, inv Invite, a answer) (*Dialog, *gosip.Request) {
	t.Helper()
	if inv.Peer == nil {
		inv.Peer = f.peerOf(nil)
	}
	ch := dial(context.Background(), e, inv)
	req := f.expect(gosip.INVITE)
	f.reply(req, 180, "Ringing", answer{tag: a.tag})
	if a.sdp == "" {
		a.sdp = theirSDP
	}
	f.reply(req, 200, "OK", a)
	f.expect(gosip.ACK)
	return standing(t, ch), req
}

// bye hangs up and lets the far end confirm it.
func bye(t *testing.T, f *farEnd, d *Dialog) *gosip.Request {
	t.Helper()
	ch := make(chan error, 1)
	go func() { ch <- d.Bye(context.Background(), HangUp{By: waihu.ByAgent}) }()
	req := f.expect(gosip.BYE)
	f.reply(req, 200, "OK", answer{})
	if err := wait(t, "the end of Bye", ch); err != nil {
		t.Fatal(err)
	}
	return req
}

// idle waits until nothing of any call is left in the endpoint.
func idle(t *testing.T, e *Endpoint) {
	t.Helper()
	deadline := time.Now().Add(patient)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for e.Stats().Lanes > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d lanes are left", e.Stats().Lanes)
		}
		<-tick.C
	}
}

func file(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b)
}
