package line

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waihu"
	"waihu/agent"
	"waihu/call"
	"waihu/carrier"
	"waihu/media"
	"waihu/sip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silent has no voice but a blank one.
type silent struct{}

func (silent) Say(context.Context, agent.Voice, string) ([]int16, error) {
	return make([]int16, 1600), nil
}
func (silent) Prompt(context.Context, string) ([]int16, error) { return make([]int16, 1600), nil }

// startLines runs Lines with everything below on loopback; outcomes come out of the channel.
func startLines(t *testing.T, simAddr func() string) (*Lines, chan waihu.Outcome, context.CancelFunc) {
	t.Helper()
	ua, err := sip.New(sip.Options{Listen: []sip.ListenAddr{{Network: "udp", Addr: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	low := 10000 + 200*rand.IntN(10)
	engine, err := media.New(media.Config{PortLow: low, PortHigh: low + 199, Quarantine: -1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make(chan waihu.Outcome, 64)
	l := New(Options{Endpoint: ua, SimAddr: simAddr, Done: func(o waihu.Outcome) { outcomes <- o },
		Call: call.Deps{Endpoint: ua, Engine: engine, Sounds: silent{}, Recordings: t.TempDir(), Log: discard, Bind: netip.MustParseAddr("127.0.0.1")}})
	below, stopBelow := context.WithCancel(context.Background())
	ctx, stop := context.WithCancel(context.Background())
	var rooms, lines sync.WaitGroup
	for _, run := range []func(context.Context) error{ua.Run, engine.Run} {
		rooms.Go(func() {
			if err := run(below); err != nil {
				t.Error(err)
			}
		})
	}
	lines.Go(func() { _ = l.Run(ctx) })
	t.Cleanup(func() {
		stop()
		lines.Wait()
		l.HangUp()
		if err := l.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		stopBelow()
		rooms.Wait()
	})
	return l, outcomes, func() {
		stop()
		lines.Wait()
	}
}

func take(t *testing.T, outcomes chan waihu.Outcome) waihu.Outcome {
	t.Helper()
	select {
	case o := <-outcomes:
		return o
	case <-time.After(time.Minute):
		t.Fatal("no outcome came")
		return waihu.Outcome{}
	}
}

func order(t *testing.T, id waihu.LineID, n int64, phone waihu.PhoneNumber) waihu.Attempt {
	t.Helper()
	var spec waihu.AgentSpec
	text := `{"id": "a", "name": "a", "version": 1, "opening": {"wait_ms": 0, "say": "喂"}, "listen": {"noinput": {"ms": 60000, "say": ["喂"]}}, "brain": "flow",
		"intents": {"key": {"dtmf": "7"}}, "flow": {"start": "ask", "nodes": {"ask": {"branches": [{"on": "key", "go": "ask"}]}}}}`
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	return waihu.Attempt{Call: waihu.NewCallID(0, 1, n), Line: id, Phone: phone, Agent: &spec, RingTimeout: 3 * time.Second}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// TestOrdersLeaveInOrder: numbers that are placed together are called in the order in which they were placed; one that is never
// called holds nobody up.
func TestOrdersLeaveInOrder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var called []string
	far := startTrunk(t, func(method, message string) string {
		if method != "INVITE" {
			return ""
		}
		mu.Lock()
		defer mu.Unlock()
		to, _, _ := strings.Cut(strings.TrimPrefix(message, "INVITE sip:"), "@")
		if !slices.Contains(called, to) {
			called = append(called, to)
		}
		return "486 Busy Here"
	})
	l, outcomes, _ := startLines(t, func() string { return "" })
	l.Configure([]waihu.Line{{ID: "far", Concurrency: 100, Trunk: waihu.Trunk{URI: "sip:" + far.conn.LocalAddr().String(), AllowPrefixes: []string{"1"}}}})
	for round := range int64(10) { // a machine that stands still for longer than turnWait lets them pass each other
		var want []string
		for n := range int64(30) {
			phone := fmt.Sprint(13800000000 + 100*round + n)
			if n%10 == 5 {
				phone = "2" + phone // refused
			} else {
				want = append(want, phone)
			}
			if err := l.Place(order(t, "far", 100*round+n, waihu.PhoneNumber(phone))); err != nil {
				t.Fatal(err)
			}
		}
		for range 30 {
			take(t, outcomes)
		}
		mu.Lock()
		got := called
		called = nil
		mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		t.Logf("round %d: called in the order %v", round, got)
	}
	t.Error("never in the order in which they were placed")
}

// TestLifeOfTheLines: orders are taken, refused with a reason, ended by HangUp, and each accepted one has one outcome.
func TestLifeOfTheLines(t *testing.T) {
	t.Parallel()
	c, err := carrier.New(carrier.Options{Speed: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stopCarrier := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	t.Cleanup(func() {
		stopCarrier()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		for _, f := range c.Findings() {
			t.Error(f)
		}
	})
	l, outcomes, stop := startLines(t, c.Addr)
	l.Configure([]waihu.Line{{ID: "sim", Concurrency: 10, Trunk: waihu.Trunk{URI: "sim:"}}, {ID: "bad", Concurrency: 1, Trunk: waihu.Trunk{URI: "sips:x"}},
		{ID: "real", Concurrency: 1, Trunk: waihu.Trunk{URI: "sip:127.0.0.1:9"}}})
	states := l.Lines()
	if s := states["sim"]; s.Down != "" || s.Capacity != 10 {
		t.Errorf("the usable line is %+v", s)
	}
	if s := states["bad"]; !strings.Contains(s.Down, "TLS") {
		t.Errorf("the line that asks for TLS is %+v", s)
	}
	for _, bad := range []waihu.Attempt{order(t, "nobody", 1, "1"), order(t, "bad", 2, "1")} {
		if err := l.Place(bad); err == nil {
			t.Errorf("an order for line %s was taken", bad.Line)
		}
	}
	if err := l.Place(order(t, "real", 3, "+99900000001")); err != nil {
		t.Fatal(err)
	}
	if o := take(t, outcomes); o.Disposition != waihu.Invalid || !o.InviteAt.IsZero() {
		t.Errorf("the test range on a real line ended as %s", o.Disposition)
	}
	const talks = 5
	for n := range int64(talks) {
		if err := l.Place(order(t, "sim", 10+n, "+99900000033")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Place(order(t, "sim", 10, "+99900000033")); err == nil {
		t.Error("the same call was placed twice")
	}
	eventually(t, "all calls", func() bool { return c.Live() == talks })
	stop()
	if err := l.Place(order(t, "sim", 20, "+99900000033")); err == nil || !strings.Contains(l.Lines()["sim"].Down, "stopping") {
		t.Errorf("a stopping server took an order: %v", err)
	}
	if n := l.Live(); n != talks {
		t.Errorf("%d calls go on when nothing new is taken, %d were up", n, talks)
	}
	l.HangUp()
	seen := map[waihu.CallID]bool{}
	for range talks {
		if o := take(t, outcomes); seen[o.Call] || o.HangupBy != waihu.BySystem || o.EndAt.IsZero() {
			t.Errorf("outcome %+v", o)
		} else {
			seen[o.Call] = true
		}
	}
	if err := l.Wait(t.Context()); err != nil || l.Live() != 0 {
		t.Errorf("%d calls are left: %v", l.Live(), err)
	}
	eventually(t, "the BYE of every call", func() bool { return c.Live() == 0 })
}

// trunkEnd is a far end that answers each request as it is told; what it answers nothing to is repeated.
type trunkEnd struct {
	conn   *net.UDPConn
	answer func(method, message string) string // status line and headers; empty: nothing

	mu   sync.Mutex
	seen []string
}

func startTrunk(t *testing.T, answer func(method, message string) string) *trunkEnd {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	e := &trunkEnd{conn: conn, answer: answer}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if n > 0 && buf[0] < 0x80 { // else a stranger's media
				e.take(string(buf[:n]), from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return e
}

func (e *trunkEnd) take(message string, from *net.UDPAddr) {
	method, _, _ := strings.Cut(message, " ")
	e.mu.Lock()
	e.seen = append(e.seen, message)
	e.mu.Unlock()
	res := e.answer(method, message)
	if res == "" {
		return
	}
	res = "SIP/2.0 " + res + "\r\n"
	for _, name := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
		res += name + ": " + header(message, name)
		if name == "To" {
			res += ";tag=far"
		}
		res += "\r\n"
	}
	_, _ = e.conn.WriteToUDP([]byte(res+"Content-Length: 0\r\n\r\n"), from)
}

func header(message, name string) string {
	_, rest, _ := strings.Cut(message, "\r\n"+name+": ")
	v, _, _ := strings.Cut(rest, "\r\n")
	return v
}

func (e *trunkEnd) trunk() waihu.Trunk {
	return waihu.Trunk{URI: "sip:" + e.conn.LocalAddr().String(), Username: "u", Password: "p"}
}

// requests are the requests of a method so far.
func (e *trunkEnd) requests(method string) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.seen {
		if strings.HasPrefix(m, method+" ") {
			out = append(out, m)
		}
	}
	return out
}

// TestPauses: 503 pauses the line, for a bounded time; a busy callee does not, whatever it asks for.
func TestPauses(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		answer   string
		min, max time.Duration
	}{
		{"503 Service Unavailable\r\nRetry-After: 20", 10 * time.Second, 20 * time.Second},
		{"503 Service Unavailable\r\nRetry-After: 86400", 10 * time.Minute, maxPause},
		{"486 Busy Here\r\nRetry-After: 3600", 0, 0},
		{"480 Temporarily Unavailable\r\nRetry-After: 3600", 0, 0},
	} {
		t.Run(k.answer, func(t *testing.T) {
			t.Parallel()
			e := startTrunk(t, func(method, _ string) string {
				if method == "INVITE" {
					return k.answer
				}
				return ""
			})
			l, outcomes, _ := startLines(t, nil)
			l.Configure([]waihu.Line{{ID: "a", Concurrency: 1, Trunk: e.trunk()}})
			if err := l.Place(order(t, "a", 1, "13800000000")); err != nil {
				t.Fatal(err)
			}
			take(t, outcomes)
			pause := time.Duration(0)
			if until := l.Lines()["a"].NotBefore; !until.IsZero() {
				pause = time.Until(until)
			}
			if pause < k.min || pause > k.max {
				t.Errorf("the line pauses for %v, %v to %v were expected", pause, k.min, k.max)
			}
		})
	}
}

// TestChangedTrunkStaysRegistered: the farewell of the old settings must not undo the registration of the new ones,
// which bind the same address.
func TestChangedTrunkStaysRegistered(t *testing.T) {
	t.Parallel()
	expires := func(m string) string { return header(m, "Expires") }
	e := startTrunk(t, func(method, m string) string {
		if method != "REGISTER" {
			return ""
		}
		return fmt.Sprintf("200 OK\r\nContact: %s\r\nExpires: %s", header(m, "Contact"), expires(m))
	})
	l, _, stop := startLines(t, nil)
	row := waihu.Line{ID: "a", Concurrency: 1, Trunk: e.trunk(), UpdatedAt: time.Unix(1, 0)}
	row.Trunk.Register = &waihu.Register{Expires: 600}
	for n := range 8 {
		row.UpdatedAt = time.Unix(int64(n), 0)
		row.Trunk.Register.Expires = 600 + n
		l.Configure([]waihu.Line{row})
		eventually(t, "registration", func() bool {
			all := e.requests("REGISTER")
			return l.Lines()["a"].Down == "" && len(all) > 0 && expires(all[len(all)-1]) == fmt.Sprint(600+n)
		})
	}
	stop()
	if all := e.requests("REGISTER"); expires(all[len(all)-1]) != "0" {
		t.Errorf("the last REGISTER of a stopped server asks for %s s", expires(all[len(all)-1]))
	}
}

var discard = slog.New(slog.DiscardHandler)
