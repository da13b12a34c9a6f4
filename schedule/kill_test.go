package schedule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// The kill test: this binary runs itself as a child that owns a ledger and dials over a unix socket; the parent is
// the carrier. The child is killed with -9, by itself at named points or by the parent at any moment, and started again, until
// all numbers have ended. The parent has seen every dial and every hang-up.
//
//	go test ./schedule -run TestKill -kills 10 -random 100 -timeout 60m
var (
	kills   = flag.Int("kills", 1, "kills at each named point, on each engine")
	randoms = flag.Int("random", 5, "kills at random moments, on each engine")
)

func TestMain(m *testing.M) {
	if spec := os.Getenv("WAIHU_KILL_CHILD"); spec != "" {
		if err := killChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	stopPostgres()
	os.Exit(code)
}

// killPoints in the order in which a ledger meets them. INVITE before answer is dial.after: the carrier knows the call, nobody has answered.
var killPoints = []string{"migrate.mid", "import.mid", "tick.before_commit", "tick.after_commit", "order.before", "dial.before", "dial.after", "outcome.before", "orphan.before"}

// childSpec is what the parent tells a child.
type childSpec struct {
	Dir, DSN, Socket string
	Crash            string // point
	Nth              int    // die there the n-th time
	Numbers          int    // of each task
	Lease            time.Duration
}

// message is a line on the socket. From the child: dial, end, done. From the carrier: over, ended.
type message struct {
	Kind string `json:"kind"`
	Call int64  `json:"call,omitempty"`
	Task string `json:"task,omitempty"`
	Seq  int64  `json:"seq,omitempty"`
	N    int    `json:"n,omitempty"`
	Line string `json:"line,omitempty"`
	As   int    `json:"as,omitempty"`
}

var (
	killLines = map[waihu.LineID]int{"a": 12, "b": 8}
	killTasks = []waihu.Task{
		{ID: "reserved", Concurrency: 9, Lines: []waihu.TaskLine{{Line: "a", Limit: 5}, {Line: "b", Limit: 4}}},
		{ID: "shared", Concurrency: 7},
		{ID: "greedy", Concurrency: 50},
	}
)

// ---- the child

// wire is the child's dialer.
type wire struct {
	crash func(string)
	lines map[waihu.LineID]waihu.LineState
	mu    sync.Mutex
	out   *json.Encoder
	ended map[waihu.CallID]func(waihu.CallID)
}

func (w *wire) send(m message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.out.Encode(m); err != nil {
		os.Exit(3) // the parent is gone
	}
}

func (w *wire) Place(a waihu.Attempt) error {
	w.crash("dial.before")
	w.send(message{Kind: "dial", Call: int64(a.Call), Task: string(a.Task), Seq: a.Seq, N: a.N, Line: string(a.Line)})
	w.crash("dial.after")
	return nil
}

func (w *wire) Lines() map[waihu.LineID]waihu.LineState { return w.lines }

func (w *wire) EndOrphans(ctx context.Context, orphans []waihu.Orphan, done func(waihu.CallID)) {
	var left sync.WaitGroup
	left.Add(len(orphans))
	w.mu.Lock()
	for _, o := range orphans {
		w.ended[o.Call] = func(id waihu.CallID) { done(id); left.Done() }
	}
	w.mu.Unlock()
	for _, o := range orphans {
		w.crash("orphan.before")
		w.send(message{Kind: "end", Call: int64(o.Call)})
	}
	left.Wait()
}

func killChild(text string) error {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	var mu sync.Mutex
	hits := 0
	crash := func(point string) {
		if point != spec.Crash {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if hits++; hits >= spec.Nth {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	conn, err := net.Dial("unix", spec.Socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	st, err := store.Open(ctx, store.Options{Dir: spec.Dir, DSN: spec.DSN, Key: make([]byte, 32), Crash: crash})
	if err != nil {
		return err
	}
	defer st.Close()
	if err := killSetup(ctx, st); err != nil {
		return err
	}
	w := &wire{crash: crash, lines: map[waihu.LineID]waihu.LineState{}, out: json.NewEncoder(conn), ended: map[waihu.CallID]func(waihu.CallID){}}
	for id, n := range killLines {
		w.lines[id] = waihu.LineState{Capacity: n}
	}
	s := New(Options{Store: st, Place: w, Agent: st.Agent, Owner: fmt.Sprint("child ", os.Getpid()), Lease: spec.Lease, Crash: crash})
	go w.read(conn, s)
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	for _, k := range killTasks {
		if err := killImport(ctx, st, k.ID, spec.Numbers); err != nil {
			return err
		}
	}
	for done := false; !done; { // another look every 20 ms
		select {
		case err := <-ran:
			return fmt.Errorf("the scheduler ended by itself: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
		done = true
		for _, k := range killTasks {
			c, err := st.Counts(ctx, account, k.ID)
			if err != nil {
				return err
			}
			done = done && c.State[waihu.NumberDone] == spec.Numbers
		}
	}
	if err := s.Drain(ctx); err != nil {
		return err
	}
	cancel()
	if err := <-ran; err != nil {
		return err
	}
	w.send(message{Kind: "done"})
	return nil
}

func (w *wire) read(conn net.Conn, s *Scheduler) {
	in := json.NewDecoder(conn)
	for {
		var m message
		if in.Decode(&m) != nil {
			os.Exit(3) // the parent is gone
		}
		switch m.Kind {
		case "over":
			s.Book(waihu.Outcome{Call: waihu.CallID(m.Call), Disposition: waihu.Disposition(m.As), EndAt: time.Now()})
		case "ended":
			w.mu.Lock()
			done := w.ended[waihu.CallID(m.Call)]
			delete(w.ended, waihu.CallID(m.Call))
			w.mu.Unlock()
			if done != nil {
				done(waihu.CallID(m.Call))
			}
		}
	}
}

// killSetup makes what is not there yet and starts the tasks.
func killSetup(ctx context.Context, st *store.Store) error {
	if err := st.UpsertAccount(ctx, waihu.Account{ID: account, Name: "tenant"}); err != nil {
		return err
	}
	for id, n := range killLines {
		if err := st.UpsertLine(ctx, waihu.Line{ID: id, Account: account, Name: string(id), Concurrency: n, Trunk: waihu.Trunk{URI: "sim:"}}); err != nil {
			return err
		}
	}
	if _, err := st.Agent(ctx, account, agentID); waihu.ErrorCode(err) == waihu.ENotFound {
		if err := st.SaveAgent(ctx, testAgent()); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for _, k := range killTasks {
		if _, err := st.Task(ctx, account, k.ID); waihu.ErrorCode(err) == waihu.ENotFound {
			k.Account, k.Agent, k.Name = account, agentID, string(k.ID)
			k.Weekly = all(waihu.Span{From: 0, To: 1440})
			k.Redial = waihu.Redial{Max: 2, Interval: 200 * time.Millisecond, On: []waihu.Disposition{waihu.NoAnswer}}
			if err := st.CreateTask(ctx, &k); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		if _, err := st.StartTask(ctx, account, k.ID); err != nil {
			return err
		}
	}
	return nil
}

// killImport adds all numbers; those that are there already are duplicates.
func killImport(ctx context.Context, st *store.Store, id waihu.TaskID, n int) error {
	list := make([]store.NewNumber, n)
	for i := range list {
		p := waihu.PhoneNumber(fmt.Sprintf("+999%07d", i))
		list[i] = store.NewNumber{Key: string(p), Phone: p}
	}
	_, err := st.AddNumbers(ctx, account, id, list)
	return err
}

// ---- the parent

// observer is the carrier: what it has not hung up, or been asked to end, is live.
type observer struct {
	mu     sync.Mutex
	rnd    *rand.Rand
	out    *json.Encoder
	live   map[int64]message
	seen   map[dialKey]int
	dials  int
	dialed chan struct{} // receives with every dial, cap 1
	done   bool
	wrong  []string
	peaks  map[string]int
	full   chan struct{} // closed when the caps have been reached; no callee hangs up before
}

// capsReached says that a line and a task with reservations have been full.
func (o *observer) capsReached() bool {
	return o.peaks["line a"] >= killLines["a"] && o.peaks["task reserved"] >= killTasks[0].Concurrency
}

func (o *observer) wrongf(format string, args ...any) {
	if len(o.wrong) < 20 {
		o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
	}
}

func (o *observer) dial(m message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dials++
	key := dialKey{waihu.TaskID(m.Task), m.Seq, m.N}
	if o.seen[key]++; o.seen[key] > 1 {
		o.wrongf("double dial: task %s number %d attempt %d", m.Task, m.Seq, m.N)
	}
	o.live[m.Call] = m
	count := func(what string, cap int, in func(message) bool) {
		n := 0
		for _, l := range o.live {
			if in(l) {
				n++
			}
		}
		if o.peaks[what] = max(o.peaks[what], n); n > cap {
			o.wrongf("%s has %d calls, its cap is %d", what, n, cap)
		}
	}
	count("line "+m.Line, killLines[waihu.LineID(m.Line)], func(l message) bool { return l.Line == m.Line })
	for _, k := range killTasks {
		if string(k.ID) != m.Task {
			continue
		}
		count("task "+m.Task, k.Concurrency, func(l message) bool { return l.Task == m.Task })
		for _, tl := range k.Lines {
			if string(tl.Line) == m.Line {
				count("task "+m.Task+" on "+m.Line, tl.Limit, func(l message) bool { return l.Task == m.Task && l.Line == m.Line })
			}
		}
	}
	select {
	case o.dialed <- struct{}{}:
	default:
	}
	select {
	case <-o.full:
	default:
		if o.capsReached() {
			close(o.full)
		}
	}
	as := waihu.Answered
	if o.rnd.IntN(4) == 0 {
		as = waihu.NoAnswer
	}
	time.AfterFunc(time.Duration(10+o.rnd.IntN(120))*time.Millisecond, func() {
		<-o.full
		o.hangUp(m.Call, as)
	})
}

// hangUp is the callee's doing: the call is over for the carrier, and the process that dialled learns it if it lives.
func (o *observer) hangUp(call int64, as waihu.Disposition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, live := o.live[call]; !live {
		return
	}
	delete(o.live, call)
	if o.out != nil {
		o.out.Encode(message{Kind: "over", Call: call, As: int(as)}) // the child may be dead: then nobody learns it
	}
}

// serve reads one child until its socket ends: all that it has sent has happened, also after its death.
func (o *observer) serve(conn net.Conn) {
	o.mu.Lock()
	o.out = json.NewEncoder(conn)
	o.mu.Unlock()
	in := json.NewDecoder(bufio.NewReader(conn))
	for {
		var m message
		if in.Decode(&m) != nil {
			break
		}
		switch m.Kind {
		case "dial":
			o.dial(m)
		case "end":
			o.mu.Lock()
			delete(o.live, m.Call)
			o.out.Encode(message{Kind: "ended", Call: m.Call})
			o.mu.Unlock()
		case "done":
			o.mu.Lock()
			o.done = true
			o.mu.Unlock()
		}
	}
	o.mu.Lock()
	o.out = nil
	o.mu.Unlock()
	conn.Close()
}

func TestKill(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { killEngine(t, childSpec{Dir: t.TempDir(), Lease: 10 * time.Second}) })
	t.Run("postgres", func(t *testing.T) { killEngine(t, childSpec{DSN: postgresDSN(t), Lease: 500 * time.Millisecond}) })
}

func killEngine(t *testing.T, spec childSpec) {
	var plan []childSpec
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, point := range killPoints {
		for i := range *kills {
			p := spec
			p.Crash, p.Nth = point, 1
			switch {
			case strings.HasPrefix(point, "tick."):
				p.Nth = 1 + rnd.IntN(12)
			case point != "migrate.mid" && point != "import.mid" && point != "orphan.before":
				p.Nth = 1 + rnd.IntN(40)
			}
			if point == "orphan.before" && i%2 == 1 {
				p.Nth = 3 // the child before it died with calls live: this one has orphans
			}
			plan = append(plan, p)
		}
		if point == "import.mid" {
			plan = append(plan, spec) // the first life that dials fills the lines and is killed then
		}
	}
	for range *randoms {
		plan = append(plan, spec)
	}
	each := 30 // numbers of each task per life: more than a life can dial
	if underRace {
		each = 10
	}
	socket := filepath.Join(t.TempDir(), "carrier")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	o := &observer{rnd: rand.New(rand.NewPCG(3, 4)), live: map[int64]message{}, seen: map[dialKey]int{}, dialed: make(chan struct{}, 1), peaks: map[string]int{}, full: make(chan struct{})}
	begin := time.Now()
	for i, p := range plan {
		p.Socket, p.Numbers = socket, each*len(plan)
		if err := killLife(t.Context(), o, listener, p, rnd); err != nil {
			t.Fatalf("life %d (%s): %v", i, p.Crash, err)
		}
	}
	last := spec
	last.Socket, last.Numbers = socket, each*len(plan)
	last.Crash = "never"
	if err := killLife(t.Context(), o, listener, last, rnd); err != nil {
		t.Fatalf("the last life: %v", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.wrong {
		t.Error(w)
	}
	if !o.done {
		t.Error("the last life did not end in order")
	}
	audit(t, o, spec, last.Numbers)
	t.Logf("%d kills, %d dials, peaks %v, %v", len(plan), o.dials, o.peaks, time.Since(begin).Round(time.Millisecond))
}

// killLife runs one child until it is dead: at its point, at a random moment when it has none, or in order when its point never comes.
func killLife(ctx context.Context, o *observer, listener net.Listener, p childSpec, rnd *rand.Rand) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "WAIHU_KILL_CHILD="+string(text))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	select {
	case <-o.dialed:
	default:
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := listener.Accept(); err == nil {
			o.serve(conn)
		}
	}()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	if p.Crash == "" {
		select { // not before it works
		case <-o.dialed:
		case err := <-exited:
			return fmt.Errorf("died before its first dial: %w: %s", err, &stderr)
		}
		select {
		case <-o.full:
		case err := <-exited:
			return fmt.Errorf("died: %w: %s", err, &stderr)
		case <-ctx.Done():
			return fmt.Errorf("the caps were never reached, so not proved: %v", o.peaks)
		}
		select {
		case <-time.After(time.Duration(rnd.IntN(250)) * time.Millisecond): // the random moment
			cmd.Process.Kill()
		case err := <-exited:
			exited <- err
		}
	}
	err = <-exited
	<-served
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && ctx.Err() == nil
	switch {
	case p.Crash == "never" && err == nil, p.Crash != "never" && killed:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("neither ended nor died in two minutes: %s", &stderr)
	case err == nil:
		return errors.New("the work ran out before the kill")
	}
	return fmt.Errorf("%w: %s", err, &stderr)
}

// audit opens the ledger as the next process would and compares it with what the carrier saw.
func audit(t *testing.T, o *observer, spec childSpec, numbers int) {
	t.Helper()
	ctx := t.Context()
	st, err := store.Open(ctx, store.Options{Dir: spec.Dir, DSN: spec.DSN, Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ledger := map[dialKey]waihu.Disposition{}
	unknown := 0
	for _, k := range killTasks {
		for page := 1; ; page++ {
			calls, _, err := st.Calls(ctx, account, k.ID, store.CallFilter{Page: page, PerPage: 5000})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range calls {
				if c.EndedAt.IsZero() {
					t.Errorf("call %s is still live in the ledger", c.ID)
				}
				if c.Outcome.Disposition == waihu.NeverLeft {
					continue
				}
				key := dialKey{k.ID, c.Seq, c.Attempt}
				if _, twice := ledger[key]; twice {
					t.Errorf("the ledger has two calls for attempt %d of number %d", c.Attempt, c.Seq)
				}
				ledger[key] = c.Outcome.Disposition
				if c.Outcome.Disposition == waihu.Unknown {
					unknown++
				} else if o.seen[key] != 1 {
					t.Errorf("the ledger has a call that nobody saw: %+v as %v", key, c.Outcome.Disposition)
				}
			}
			if len(calls) < 5000 {
				break
			}
		}
		attempts, done := 0, 0
		for page := 1; ; page++ {
			list, _, err := st.Numbers(ctx, account, k.ID, store.NumberFilter{Page: page, PerPage: 5000})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range list {
				attempts += n.Attempts
				if n.State == waihu.NumberDone && n.Attempts > 0 {
					done++
				}
			}
			if len(list) < 5000 {
				break
			}
		}
		calls := 0
		for key := range ledger {
			if key.task == k.ID {
				calls++
			}
		}
		if done != numbers || attempts != calls {
			t.Errorf("task %s: %d of %d numbers ended after a dial; %d attempts, %d calls", k.ID, done, numbers, attempts, calls)
		}
	}
	for key := range o.seen {
		if _, ok := ledger[key]; !ok {
			t.Errorf("a dial that the ledger does not know: %+v", key)
		}
	}
	t.Logf("%d calls ended as unknown", unknown)
}
