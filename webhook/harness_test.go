package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/egress"
	"waihu/store"
)

const (
	acme  = waihu.AccountID("acme")
	child = waihu.AccountID("child")
	other = waihu.AccountID("other")
)

// world is a ledger whose events a test makes, and a deliverer.
type world struct {
	testing.TB
	*store.Store
	tasks map[waihu.AccountID]waihu.Task
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := store.Open(context.Background(), store.Options{Dir: t.TempDir(), Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{TB: t, Store: s, tasks: map[waihu.AccountID]waihu.Task{}}
	for _, a := range []waihu.Account{{ID: acme, Name: "acme"}, {ID: child, Parent: acme, Name: "child"}, {ID: other, Name: "other"}} {
		if err := s.UpsertAccount(context.Background(), a); err != nil {
			t.Fatal(err)
		}
		w.tasks[a.ID] = w.task(a.ID)
	}
	return w
}

func (w *world) task(a waihu.AccountID) waihu.Task {
	w.Helper()
	spec := waihu.AgentSpec{ID: waihu.AgentID("agent-" + a), Account: a, Name: "agent", Version: 1, Brain: waihu.BrainFlow,
		Flow: &waihu.FlowSpec{Start: "bye", Nodes: map[string]waihu.NodeSpec{"bye": {Say: "再见。", Do: []waihu.Action{{Kind: "hangup"}}}}}}
	if err := w.SaveAgent(w.Context(), &spec); err != nil {
		w.Fatal(err)
	}
	k := waihu.Task{Account: a, Name: "task", Agent: spec.ID, Concurrency: 1}
	if err := w.CreateTask(w.Context(), &k); err != nil {
		w.Fatal(err)
	}
	return k
}

var phones sync.Map // account -> last phone given

// happen makes n events of an account: imports of a number each.
func (w *world) happen(a waihu.AccountID, n int) {
	w.Helper()
	for range n {
		last, _ := phones.LoadOrStore(w.Name()+string(a), new(int))
		*last.(*int)++
		list := []store.NewNumber{{Phone: waihu.PhoneNumber(strconv.Itoa(13800000000 + *last.(*int)))}}
		if _, err := w.AddNumbers(w.Context(), a, w.tasks[a].ID, list); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) endpoint(a waihu.AccountID, url string, edit ...func(*waihu.Endpoint)) waihu.Endpoint {
	w.Helper()
	e := waihu.Endpoint{Account: a, Door: "test", URL: url}
	for _, f := range edit {
		f(&e)
	}
	if err := w.AddEndpoint(w.Context(), &e, 0); err != nil {
		w.Fatal(err)
	}
	return e
}

// plainShape is one event a POST: its numbers as JSON.
func plainShape(_ context.Context, _ waihu.Endpoint, events []waihu.Event) (waihu.Payload, int, error) {
	e := events[0]
	body, err := json.Marshal(map[string]any{"account": e.Account, "n": e.N, "task": e.Task, "task_n": e.TaskN, "kind": e.Kind, "call": e.Call})
	return waihu.Payload{Body: body}, 1, err
}

func client(t testing.TB, edit ...func(*egress.Options)) *egress.Client {
	o := egress.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: patience}
	for _, f := range edit {
		f(&o)
	}
	c := egress.New(o)
	t.Cleanup(c.Close)
	return c
}

// deliver runs a deliverer until stop or the end of the test.
func (w *world) deliver(edit ...func(*Options)) (stop func()) {
	w.Helper()
	o := Options{Store: w.Store, Client: client(w), Shapes: map[string]waihu.Shape{"test": plainShape}, Save: 10 * time.Millisecond, Lease: 2 * time.Second,
		Pause: func(n int) time.Duration { return min(time.Millisecond<<min(n, 10), 50*time.Millisecond) },
		Again: func(n int) time.Duration { return min(time.Millisecond<<min(n, 10), 50*time.Millisecond) }}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(w.Output(), nil))
	}
	for _, f := range edit {
		f(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(o).Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.Error(err)
			}
		})
	}
	w.Cleanup(stop)
	return stop
}

// got is one delivery that a receiver took.
type got struct {
	Account waihu.AccountID
	N       int64
	Task    waihu.TaskID
	TaskN   int64 `json:"task_n"`
	Kind    waihu.EventKind
	Call    waihu.CallID
	header  http.Header
	body    string
}

// receiver is a customer's server: judge answers, nil: 200.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	taken []got
	tries int
	news  chan struct{} // has a value after each delivery that was taken
	judge func(n int, g got) int
}

func newReceiver(t testing.TB, judge func(n int, g got) int) *receiver {
	r := &receiver{news: make(chan struct{}, 1), judge: judge}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	g := got{header: q.Header, body: string(body)}
	if strings.HasPrefix(g.body, "{") {
		if err := json.Unmarshal(body, &g); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
	}
	r.mu.Lock()
	r.tries++
	n := r.tries
	r.mu.Unlock()
	status := 200
	if r.judge != nil {
		status = r.judge(n, g)
	}
	if status == 200 {
		r.mu.Lock()
		r.taken = append(r.taken, g)
		r.mu.Unlock()
		select {
		case r.news <- struct{}{}:
		default:
		}
	}
	w.WriteHeader(status)
}

func (r *receiver) list() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got{}, r.taken...)
}

func (r *receiver) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

// patience is for machines under load: a test that passes is never slowed by it.
const patience = 60 * time.Second

// wait returns when enough holds of what the receiver took.
func (r *receiver) wait(t testing.TB, what string, enough func(list []got) bool) []got {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		list := r.list()
		if enough(list) {
			return list
		}
		select {
		case <-r.news:
		case <-end.C:
			t.Fatalf("waited in vain for %s: %d deliveries came", what, len(list))
		}
	}
}

// distinct waits for n different events and returns all deliveries.
func (r *receiver) distinct(t testing.TB, n int) []got {
	t.Helper()
	return r.wait(t, fmt.Sprint(n, " events"), func(list []got) bool { return len(firsts(list)) >= n })
}

type ref struct {
	account waihu.AccountID
	n       int64
}

// firsts are the deliveries without those that came again.
func firsts(list []got) (out []got) {
	seen := map[ref]bool{}
	for _, g := range list {
		if k := (ref{g.Account, g.N}); !seen[k] {
			seen[k] = true
			out = append(out, g)
		}
	}
	return out
}

// complete checks that the first deliveries of an account are the numbers from first to last without gaps.
func complete(t testing.TB, list []got, a waihu.AccountID, first, last int64, but ...int64) {
	t.Helper()
	t.Helper()
	have := map[int64]bool{}
	for _, g := range list {
		if g.Account == a {
			have[g.N] = true
		}
	}
	for n := first; n <= last; n++ {
		if slices.Contains(but, n) == have[n] {
			t.Errorf("event %d of %s came: %v", n, a, have[n])
		}
	}
	if want := int(last-first) + 1 - len(but); len(have) != want {
		t.Errorf("%d events of %s came, %d were expected", len(have), a, want)
	}
}

// until polls a state that nothing announces.
func (w *world) until(what string, f func() bool) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end.C:
			w.Fatalf("waited in vain until %s", what)
		}
	}
}

func (w *world) state(e waihu.Endpoint) store.EndpointState {
	w.Helper()
	st, err := w.Endpoint(w.Context(), e.Account, e.ID)
	if err != nil {
		w.Fatal(err)
	}
	return st
}
