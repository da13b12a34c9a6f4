package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/egress"
	"waihu/schedule"
	"waihu/store"
)

// The kill test: this binary runs itself as a child that dials a task over a simulated port and delivers its events; the
// parent is the receivers and kills the child with -9 at random moments. Each way to fail has an endpoint that fails in that way until the
// last kill is over, a moody one fails in all of them at random for ever, and two are healthy. The whole proof:
//
//	WAIHU_TEST_DELIVERIES=5000 go test ./webhook -run TestKills -v -timeout 30m

func TestMain(m *testing.M) {
	if spec := os.Getenv("WAIHU_TEST_DELIVERY_CHILD"); spec != "" {
		fmt.Fprintln(os.Stderr, deliveryChild(spec))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	killTask = waihu.TaskID("task")
	killLine = waihu.LineID("line")
)

// childSpec is what the parent tells a child.
type childSpec struct {
	Dir string
	CA  string // PEM of the certificate that the child trusts
}

func openKill(dir string) (*store.Store, error) {
	return store.Open(context.Background(), store.Options{Dir: dir, Key: make([]byte, 32), MinFree: 1})
}

// deliveryChild lives until it is killed.
func deliveryChild(text string) error {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	s, err := openKill(spec.Dir)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(spec.CA))
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	d := New(Options{Store: s, Shapes: map[string]waihu.Shape{"test": plainShape, "many": manyShape}, Log: logger, BlockFor: time.Second,
		Client: egress.New(egress.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: hangs / 2, RootCAs: roots}),
		Pause:  func(n int) time.Duration { return min(5*time.Millisecond<<min(n, 10), 200*time.Millisecond) },
		Again:  func(n int) time.Duration { return min(20*time.Millisecond<<min(n, 10), 500*time.Millisecond) }})
	place := &killPort{}
	sched := schedule.New(schedule.Options{Store: s, Place: place, Agent: s.Agent, Owner: s.Owner(), Log: logger})
	place.book = sched.Book
	failed := make(chan error, 3)
	for _, run := range []func(context.Context) error{s.Maintain, d.Run, sched.Run} {
		go func() { failed <- run(context.Background()) }() // until we are killed
	}
	return <-failed
}

// killPort answers every order after some milliseconds.
type killPort struct{ book func(waihu.Outcome) }

func (p *killPort) Place(a waihu.Attempt) error {
	time.AfterFunc(time.Duration(rand.IntN(30))*time.Millisecond, func() {
		p.book(waihu.Outcome{Call: a.Call, Disposition: waihu.NoAnswer, HangupBy: waihu.BySystem, InviteAt: a.StartedAt, EndAt: time.Now()})
	})
	return nil
}

func (p *killPort) Lines() map[waihu.LineID]waihu.LineState {
	return map[waihu.LineID]waihu.LineState{killLine: {Capacity: 20}}
}

func (p *killPort) EndOrphans(_ context.Context, orphans []waihu.Orphan, done func(waihu.CallID)) {
	for _, o := range orphans {
		done(o.Call)
	}
}

// manyShape is up to seven events a POST, as a JSON list.
func manyShape(ctx context.Context, e waihu.Endpoint, events []waihu.Event) (waihu.Payload, int, error) {
	n := min(7, len(events))
	list := make([]json.RawMessage, n)
	for i := range n {
		p, _, err := plainShape(ctx, e, events[i:])
		if err != nil {
			return p, 0, err
		}
		list[i] = p.Body
	}
	body, err := json.Marshal(list)
	return waihu.Payload{Body: body}, n, err
}

// hangs is how long a receiver that hangs does so; the child gives up after half of it.
const hangs = 4 * time.Second

// mode is a way to fail.
type mode string

var modes = []mode{"refused", "slow", "500", "302", "hang", "close", "tls", "400"}

// target is a receiver of the kill test.
type target struct {
	name   string
	url    string
	mode   func() mode // "" good
	mu     sync.Mutex
	taken  []got
	seen   map[int64]int // events by number: how often
	last   int64         // the number of the run's end
	news   chan<- struct{}
	reopen func() error // after the refusal
	bad    atomic.Int64 // answers that were meant to fail
}

func (r *target) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	m := r.mode()
	if m != "" && m != "slow" {
		r.bad.Add(1)
	}
	switch m {
	case "slow": // it takes what it is given, late
		select {
		case <-time.After(100 * time.Millisecond):
		case <-q.Context().Done():
			return
		}
	case "hang":
		select {
		case <-time.After(hangs):
		case <-q.Context().Done():
		}
		panic(http.ErrAbortHandler) // to a child that stood still, and has not given up yet, a plain end would be a 200
	case "500", "400":
		status, _ := strconv.Atoi(string(m)) // digits
		w.WriteHeader(status)
		return
	case "302":
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusFound)
		return
	case "close", "tls", "refused":
		panic(http.ErrAbortHandler) // cuts the connection without an answer
	}
	var list []got
	if len(body) > 0 && body[0] == '[' {
		err = json.Unmarshal(body, &list)
	} else {
		list = make([]got, 1)
		err = json.Unmarshal(body, &list[0])
	}
	if err != nil || q.URL.Path != "/hook" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	r.mu.Lock()
	for _, g := range list {
		r.taken = append(r.taken, g)
		r.seen[g.N]++
		if g.Kind == waihu.EventRunEnded {
			r.last = g.N
		}
	}
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// calls is how many calls' ends have arrived.
func (r *target) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// whole says that the run's end and all before it have come.
func (r *target) whole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == 0 {
		return false
	}
	for n := int64(1); n <= r.last; n++ {
		if r.seen[n] == 0 {
			return false
		}
	}
	return true
}

// inOrder checks that of every call each event came first after all before it had come.
func (r *target) inOrder(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	came := map[int64]bool{}
	last := map[waihu.CallID]int64{}
	again := 0
	for _, g := range r.taken {
		if came[g.N] {
			again++
			continue
		}
		came[g.N] = true
		if g.Call == 0 {
			continue
		}
		if g.N < last[g.Call] {
			t.Errorf("%s: event %d of call %s came after event %d", r.name, g.N, g.Call, last[g.Call])
		}
		last[g.Call] = g.N
	}
	t.Logf("%-8s %6d events, %5d came again, %5d answers were failures", r.name, len(came), again, r.bad.Load())
}

// killWorld is the parent's side.
type killWorld struct {
	*testing.T
	dir     string
	ca      string
	news    chan struct{}
	healed  atomic.Bool
	targets []*target
}

func TestKills(t *testing.T) {
	t.Parallel()
	numbers, kills := 150, 3
	if text := os.Getenv("WAIHU_TEST_DELIVERIES"); text != "" {
		var err error
		if numbers, err = strconv.Atoi(text); err != nil || numbers < 1 {
			t.Fatalf("WAIHU_TEST_DELIVERIES=%q: how many calls was expected", text)
		}
		kills = 10
	}
	w := &killWorld{T: t, dir: t.TempDir(), news: make(chan struct{}, 1)}
	w.receivers()
	w.furnish(numbers)
	healthy := w.targets[0]
	rng := rand.New(rand.NewPCG(1, 2))
	for k := range kills {
		kill := w.child()
		// somewhere in the next part of the campaign, as the healthy receiver sees it
		goal := (2*numbers*(k+1) - rng.IntN(numbers)) / (kills + 1)
		w.wait("the campaign goes on", func() bool { return healthy.count() >= goal })
		pause := time.NewTimer(time.Duration(rng.IntN(40)) * time.Millisecond)
		<-pause.C
		kill()
	}
	for _, r := range w.targets {
		if r.mode() != "" && r.name != "slow" && r.name != "moody" && r.count() > 0 {
			t.Errorf("%s has taken %d events while it failed", r.name, r.count())
		}
	}
	w.healed.Store(true)
	for _, r := range w.targets {
		if r.reopen != nil {
			if err := r.reopen(); err != nil {
				t.Fatal(err)
			}
		}
	}
	kill := w.child()
	for _, r := range w.targets {
		w.wait(r.name+" has all events", r.whole)
	}
	kill()
	s, err := openKill(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if head, err := s.LastEvent(t.Context(), acme); err != nil || head < healthy.last || healthy.last < int64(2*numbers) {
		t.Errorf("the ledger has %d events, the run ended with %d: %v", head, healthy.last, err)
	}
	states, err := s.Endpoints(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	for i, st := range states {
		if st.Failed != 0 {
			t.Errorf("endpoint %s gave up %d events", w.targets[i].name, st.Failed)
		}
	}
	for _, r := range w.targets {
		r.inOrder(t)
		if r.name != "healthy" && r.name != "many" && r.name != "slow" && r.name != "refused" && r.name != "tls" && r.bad.Load() == 0 {
			t.Errorf("%s never failed", r.name)
		}
	}
}

// wait looks after each delivery, and now and then.
func (w *killWorld) wait(what string, f func() bool) {
	w.Helper()
	end := time.NewTimer(5 * time.Minute)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-w.news:
		case <-tick.C:
		case <-end.C:
			for _, r := range w.targets {
				w.Logf("%s: %d events", r.name, r.count())
			}
			w.Fatalf("waited in vain until %s", what)
		}
	}
}

// child starts a life; kill ends it with -9.
func (w *killWorld) child() (kill func()) {
	w.Helper()
	spec, err := json.Marshal(childSpec{Dir: w.dir, CA: w.ca})
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WAIHU_TEST_DELIVERY_CHILD="+string(spec))
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill() // it may have ended by itself, which Wait says
			err := cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
				w.Errorf("the child ended by itself: %v\n%s", err, said.String())
			}
		})
	}
	w.Cleanup(kill)
	return kill
}

// receivers opens two healthy ones, one for each way to fail, and the moody one.
func (w *killWorld) receivers() {
	good := func() mode { return "" }
	w.plain("healthy", good)
	w.plain("many", good)
	for _, m := range modes {
		until := func() mode {
			if w.healed.Load() {
				return ""
			}
			return m
		}
		switch m {
		case "refused":
			w.refusing(until)
		case "tls":
			w.secure(until)
		default:
			w.plain(string(m), until)
		}
	}
	w.plain("moody", func() mode {
		if rand.IntN(10) < 7 {
			return ""
		}
		return modes[rand.IntN(len(modes))]
	})
}

func (w *killWorld) target(name string, m func() mode) *target {
	r := &target{name: name, mode: m, seen: map[int64]int{}, news: w.news}
	w.targets = append(w.targets, r)
	return r
}

func (w *killWorld) plain(name string, m func() mode) {
	r := w.target(name, m)
	server := httptest.NewServer(r)
	w.Cleanup(server.Close)
	r.url = server.URL + "/hook"
}

// refusing has a port of its own on which nobody listens until it is healed. The socket has the port from the beginning: nobody takes it meanwhile.
func (w *killWorld) refusing(m func() mode) {
	r := w.target("refused", m)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		w.Fatal(err)
	}
	socket := os.NewFile(uintptr(fd), "refusing")
	w.Cleanup(func() { socket.Close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		w.Fatal(err)
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		w.Fatal(err)
	}
	r.url = fmt.Sprintf("http://127.0.0.1:%d/hook", addr.(*syscall.SockaddrInet4).Port)
	r.reopen = func() error {
		if err := syscall.Listen(fd, syscall.SOMAXCONN); err != nil {
			return err
		}
		l, err := net.FileListener(socket)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: r}
		go server.Serve(l) // ended by Close
		w.Cleanup(func() { server.Close() })
		return nil
	}
}

// secure shows a certificate that nobody trusts until it is healed.
func (w *killWorld) secure(m func() mode) {
	r := w.target("tls", m)
	server := httptest.NewUnstartedServer(r)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are what is wanted
	server.StartTLS()
	w.Cleanup(server.Close)
	r.url = server.URL + "/hook"
	good := server.TLS.Certificates[0]
	w.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Certificate[0]}))
	bad := nobodys(w)
	server.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if m() != "" {
			return &tls.Config{Certificates: []tls.Certificate{bad}}, nil
		}
		return nil, nil
	}
}

// nobodys is a certificate for this host that signs itself.
func nobodys(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(crand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// furnish makes the account, the endpoints and the task, and starts it.
func (w *killWorld) furnish(numbers int) {
	w.Helper()
	ctx := w.Context()
	must := func(err error) {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
	}
	s, err := openKill(w.dir)
	must(err)
	defer s.Close()
	must(s.UpsertAccount(ctx, waihu.Account{ID: acme, Name: "acme"}))
	for _, r := range w.targets {
		e := waihu.Endpoint{Account: acme, Door: "test", URL: r.url, Remark: r.name}
		if r.name == "many" {
			e.Door = "many"
		}
		must(s.AddEndpoint(ctx, &e, 0))
	}
	must(s.UpsertLine(ctx, waihu.Line{ID: killLine, Account: acme, Name: "line", Concurrency: 20, Trunk: waihu.Trunk{URI: "sim:test"}}))
	spec := waihu.AgentSpec{ID: "agent", Account: acme, Name: "agent", Version: 1, Brain: waihu.BrainFlow,
		Flow: &waihu.FlowSpec{Start: "bye", Nodes: map[string]waihu.NodeSpec{"bye": {Say: "再见。", Do: []waihu.Action{{Kind: "hangup"}}}}}}
	must(s.SaveAgent(ctx, &spec))
	var week waihu.Weekly
	for d := range week {
		week[d] = []waihu.Span{{From: 0, To: 1440}}
	}
	k := waihu.Task{ID: killTask, Account: acme, Name: "task", Agent: "agent", Concurrency: 20, Weekly: week, EndAction: waihu.EndPause}
	must(s.CreateTask(ctx, &k))
	list := make([]store.NewNumber, numbers)
	for i := range list {
		list[i].Phone = waihu.PhoneNumber(strconv.Itoa(13800000000 + i))
	}
	_, err = s.AddNumbers(ctx, acme, killTask, list)
	must(err)
	_, err = s.StartTask(ctx, acme, killTask)
	must(err)
}
