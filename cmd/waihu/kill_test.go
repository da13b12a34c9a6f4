package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/carrier"
	"waihu/resources"
	"waihu/store"
)

// TestMain lets the test binary stand in for the program: a child with a life in its environment is a server.
func TestMain(m *testing.M) {
	if spec := os.Getenv("WAIHU_TEST_LIFE"); spec != "" {
		if err := liveOnce(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	stopPostgres()
	os.Exit(code)
}

// life is what the parent tells a child.
type life struct {
	Data, DSN, SIP, RTP string
	Crash               string // point of store.Options.Crash or schedule.Options.Crash at which it kills itself
	Nth                 int    // there, the n-th time
	HTTP                string // address of the HTTP API; then it lives until it is killed, and a dead life's jobs wait only jobLease
}

// jobLease is how long a job waits that a killed life was at.
const jobLease = 2 * time.Second

// liveOnce serves until no run is left, or until it is killed.
func liveOnce(spec string) error {
	var l life
	if err := json.Unmarshal([]byte(spec), &l); err != nil {
		return err
	}
	cfg := config{Data: l.Data, Database: l.DSN, HTTP: "127.0.0.1:0", SIP: l.SIP, RTP: l.RTP, BusyStatus: 200, MinFreeMB: 1, LogLevel: "warn", Threads: 1}
	if l.HTTP != "" {
		cfg.HTTP, cfg.jobLease = l.HTTP, jobLease
	}
	var met atomic.Int64
	cfg.crash = func(point string) {
		if point == l.Crash && met.Add(1) == int64(l.Nth) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := newServer(ctx, cfg, func(string) (string, bool) { return "", false }, newLog(os.Stderr, cfg.LogLevel), os.Stderr)
	if err != nil {
		return err
	}
	if l.HTTP != "" {
		return s.run(ctx, nil)
	}
	go func() { // ends with the process
		for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
			if list, err := s.store.OwnedTasks(ctx, 0); err == nil && len(list) == 0 {
				cancel()
				return
			}
		}
	}()
	return s.run(ctx, nil)
}

// killPoint is a moment at which a life ends.
type killPoint string

// Where a life ends: at the first four it kills itself there; at ringing and talking the parent kills it when the
// carrier has an INVITE that is not answered, or a call that is answered and not over; at any it is killed at a random moment.
const (
	beforeCommit  killPoint = "tick.before_commit"
	afterCommit   killPoint = "tick.after_commit"
	orderLeft     killPoint = "order.before"   // committed, no INVITE yet
	outcomeUnkept killPoint = "outcome.before" // the call is over, its end is not booked
	ringing       killPoint = "ringing"
	talking       killPoint = "talking"
	anyMoment     killPoint = "any"
	byDesign      killPoint = "" // lives until everything is done
)

// killPlan is every named point n times and kills at random moments, mixed. The whole proof is WAIHU_TEST_KILLS=100: a
// hundred random kills and each point ten times, on each engine:
//
//	WAIHU_TEST_KILLS=100 go test ./cmd/waihu -run TestKills -v -timeout 60m
func killPlan(t *testing.T, rng *rand.Rand) []killPoint {
	randoms := 3
	if text := os.Getenv("WAIHU_TEST_KILLS"); text != "" {
		var err error
		if randoms, err = strconv.Atoi(text); err != nil || randoms < 1 {
			t.Fatalf("WAIHU_TEST_KILLS=%q: a positive number was expected", text)
		}
	}
	var plan []killPoint
	for range max(1, randoms/10) {
		plan = append(plan, beforeCommit, afterCommit, orderLeft, outcomeUnkept, ringing, talking)
	}
	for range randoms {
		plan = append(plan, anyMoment)
	}
	rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	return plan
}

// TestKills kills a serving process with -9 at named points and at random moments of a campaign over real SIP, over and over.
// The carrier, which lives on, is the outside observer: no number is dialled twice for one attempt, no cap is passed by the
// carrier's count, what a dead process left is ended on the wire, and in the end every number has its outcome.
func TestKills(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		testKills(t, "")
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		testKills(t, privatePostgres(t))
	})
}

const (
	killLine     = 20 // channels of the line
	killReserved = 12 // the first task's; the second, which names no line, shares what is left
	perLife      = 15 // numbers of each task, more than a life can dial
)

// killed is a campaign whose server is killed.
type killed struct {
	*testing.T
	life
	far     *carrier.Carrier
	rng     *rand.Rand
	tasks   [2]waihu.TaskID
	numbers int             // of each task
	orphans map[string]bool // calls that were up by the carrier's count when a life ended
	fresh   map[string]bool // calls that had just ended then: their ends may not have been booked
	up      time.Duration   // longest time from a start to its first new call
	pings   int
}

func testKills(t *testing.T, dsn string) {
	k := &killed{T: t, rng: rand.New(rand.NewPCG(1, 7)), orphans: map[string]bool{}, fresh: map[string]bool{}, life: life{
		Data: t.TempDir(), DSN: dsn, SIP: "127.0.0.1:" + strconv.Itoa(sipPort(t)), RTP: killRTP()}}
	k.far = startFar(t, carrier.Options{Seed: 7, Speed: 0.2})
	plan := killPlan(t, k.rng)
	k.numbers = perLife * (len(plan) + 1)
	k.prepare()
	begin := time.Now()
	for i, point := range plan {
		if err := k.liveAndDie(point); err != nil {
			t.Fatalf("life %d, to be killed at %q: %v", i+1, point, err)
		}
	}
	if err := k.liveAndDie(byDesign); err != nil {
		t.Fatalf("the last life: %v", err)
	}
	k.judge(len(plan), time.Since(begin))
}

// startFar runs a simulated carrier for a test.
func startFar(t *testing.T, o carrier.Options) *carrier.Carrier {
	t.Helper()
	far, err := carrier.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- far.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("the carrier ended with %v", err)
		}
	})
	return far
}

// killRTP is a range wide enough for many short calls: a used pair rests for ten seconds.
func killRTP() string {
	low := 20000 + int(killRanges.Add(1)-1)%3*4000
	return fmt.Sprintf("%d-%d", low, low+3999)
}

var killRanges atomic.Int32

// sipPorts counts the ports given out, so that two tests at once never get the same.
var sipPorts atomic.Int32

// sipPort is free for UDP and TCP, and not one that the kernel gives to somebody between two lives.
func sipPort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 8000 + (os.Getpid()+int(sipPorts.Add(1)))%2000
		addr := "127.0.0.1:" + strconv.Itoa(port)
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", addr)
		u.Close()
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free for SIP")
	return 0
}

// killResources: a real trunk towards the observing carrier, so that the child's calls cross sockets between processes.
const killResources = testResources + `lines:
  - {id: far, name: far, concurrency: %d, price: {minute: "0.60", step: 1}, trunk: {uri: "sip:%s", caller_ids: ["02160001000"], codecs: [pcma], ring_timeout: 2, max_call: 1}}
`

func (k *killed) prepare() {
	k.Helper()
	st := k.open()
	defer st.Close()
	ctx := k.Context()
	raw := fmt.Sprintf(killResources, killLine, k.far.Addr())
	if _, err := resources.Apply(ctx, "kill.yaml", []byte(raw), resources.Options{Store: st, Check: agent.Check}); err != nil {
		k.Fatal(err)
	}
	var week waihu.Weekly
	for d := range week {
		week[d] = []waihu.Span{{From: 0, To: 1440}}
	}
	suffixes := []int{1, 2, 13, 32, 5, 70, 9, 2, 74}
	if os.Getenv("WAIHU_TEST_KILLS") != "" {
		suffixes = append(suffixes, 1, 2, 4, 13, 72) // killed after our CANCEL, they keep their slots for 32 s: too long for every day
	}
	for i := range k.tasks {
		task := waihu.Task{Account: testAccount, Name: fmt.Sprint("kill ", i), Agent: "goodbye", Concurrency: killReserved, Weekly: week, EndAction: waihu.EndPause,
			Redial: waihu.Redial{Max: 1, Interval: 300 * time.Millisecond, On: []waihu.Disposition{waihu.Busy}}}
		if i == 0 {
			task.Lines = []waihu.TaskLine{{Line: "far", Limit: killReserved}}
		}
		if err := st.CreateTask(ctx, &task); err != nil {
			k.Fatal(err)
		}
		list := make([]store.NewNumber, k.numbers)
		for n := range list {
			list[n].Phone = waihu.PhoneNumber(fmt.Sprintf("13%d%06d%02d", i, n, suffixes[n%len(suffixes)]))
		}
		if _, err := st.AddNumbers(ctx, testAccount, task.ID, list); err != nil {
			k.Fatal(err)
		}
		if _, err := st.StartTask(ctx, testAccount, task.ID); err != nil {
			k.Fatal(err)
		}
		k.tasks[i] = task.ID
	}
}

func (k *killed) open() *store.Store {
	k.Helper()
	st, err := openStore(k.Context(), config{Data: k.Data, Database: k.DSN, MinFreeMB: 1}, func(string) (string, bool) { return "", false }, newLog(testLog{k.T}, "warn"))
	if err != nil {
		k.Fatal(err)
	}
	return st
}

// lifeLimit bounds the wait for a kill point, and five times it the last life.
const lifeLimit = 3 * time.Minute

// liveAndDie runs one life to its end and remembers what the carrier has of it then.
func (k *killed) liveAndDie(point killPoint) error {
	l := k.life
	limit := time.After(lifeLimit)
	var look <-chan time.Time // at what the carrier sees
	var kill <-chan time.Time
	switch point {
	case ringing, talking:
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		look = tick.C
	case anyMoment:
		kill = time.After(200*time.Millisecond + time.Duration(k.rng.Int64N(int64(time.Second))))
	case byDesign:
		limit = time.After(5 * lifeLimit)
	default:
		l.Crash, l.Nth = string(point), 1+k.rng.IntN(8)
	}
	before, begin := len(k.far.Calls()), time.Now()
	c, err := startLife(k.T, l)
	if err != nil {
		return err
	}
	for {
		select {
		case err = <-c.done:
		case <-kill:
			err = c.kill()
		case <-look:
			if !k.sees(point, before) {
				continue
			}
			err = c.kill()
		case <-limit:
			_ = c.kill()
			return fmt.Errorf("it has lived for %v; the carrier has seen %d calls and has %d up; its log ends with\n%s", time.Since(begin).Round(time.Second), len(k.far.Calls()), k.far.Live(), c.log())
		}
		break
	}
	end := time.Now()
	if err := k.drain(); err != nil {
		return err
	}
	for i, r := range k.far.Calls() {
		if i == before {
			k.up = max(k.up, r.InviteAt.Sub(begin))
		}
		if r.EndAt.IsZero() {
			k.orphans[r.Call] = true
		} else if end.Sub(r.EndAt) < 5*time.Second { // a machine that stands still books late
			k.fresh[r.Call] = true
		}
	}
	var exit *exec.ExitError
	switch byKill := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL; {
	case point == byDesign && err != nil:
		return fmt.Errorf("%w\n%s", err, c.log())
	case point != byDesign && err == nil:
		return errors.New("all numbers were done before the killing was over")
	case point != byDesign && !byKill:
		return fmt.Errorf("it ended by itself: %w\n%s", err, c.log())
	}
	if text := c.log(); point == byDesign && text != "" {
		k.Log("the last life's log:\n", text)
	}
	return nil
}

// drain waits until the carrier has read what a dead process had sent: an OPTIONS stands behind it in the same queue.
func (k *killed) drain() error {
	conn, err := net.Dial("udp", fmt.Sprint(k.far.Addr()))
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := range 30 {
		k.pings++
		if _, err := fmt.Fprintf(conn, "OPTIONS sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s;branch=z9hG4bKping%[3]d;rport\r\nMax-Forwards: 70\r\n"+
			"From: <sip:ping@%[2]s>;tag=ping\r\nTo: <sip:%[1]s>\r\nCall-ID: ping%[3]d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", conn.RemoteAddr(), conn.LocalAddr(), k.pings); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Duration(i+1) * time.Second)); err != nil {
			return err
		}
		if _, err = conn.Read(make([]byte, 2048)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the carrier answers nothing: %w", err)
}

// sees says whether one of the carrier's calls after the first n is at the point.
func (k *killed) sees(point killPoint, n int) bool {
	for _, r := range k.far.Calls()[n:] {
		if r.EndAt.IsZero() && r.AnswerAt.IsZero() == (point == ringing) {
			return true
		}
	}
	return false
}

// child is a process that lives one life.
type child struct {
	cmd  *exec.Cmd
	done chan error
	out  *bytes.Buffer // complete when done has been received
}

// kill ends the process with -9 and waits for its end.
func (c *child) kill() error {
	_ = c.cmd.Process.Kill() // it may have ended by itself: done tells
	return <-c.done
}

func (c *child) log() string { return strings.TrimSpace(tail(c.out.String(), 30)) }

func startLife(t *testing.T, l life) (*child, error) {
	spec, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(os.Args[0]), done: make(chan error, 1), out: &bytes.Buffer{}}
	c.cmd.Env = append(os.Environ(), "WAIHU_TEST_LIFE="+string(spec))
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c, nil
}

// judge holds the ledger against what the carrier saw.
func (k *killed) judge(kills int, took time.Duration) {
	st := k.open()
	defer st.Close()
	attempts, unknown, dials := k.far.Attempts(), 0, 0
	for i, task := range k.tasks {
		counts, err := st.Counts(k.Context(), testAccount, task)
		if err != nil {
			k.Fatal(err)
		}
		unknown += counts.Status[waihu.Unknown]
		if counts.State[waihu.NumberDone] != k.numbers {
			k.Errorf("the numbers of task %d stand at %v, want all %d done: something was lost", i, counts.State, k.numbers)
		}
		for _, n := range allNumbers(k.T, st, task) {
			seen, doubt, never := attempts[n.Phone], 0, 0
			dials += seen
			for _, c := range callsOf(k.T, st, task, n.Seq) {
				switch c.Outcome.Disposition {
				case waihu.Unknown:
					doubt++
				case waihu.OurFault: // a dial only if its INVITE left, and that it knows
					full, err := st.Call(k.Context(), testAccount, task, c.ID)
					if err != nil {
						k.Fatal(err)
					}
					if full.Outcome.InviteAt.IsZero() {
						never++
					}
				}
				if c.EndedAt.IsZero() {
					k.Errorf("number %s: call %s has not ended", n.Phone.Masked(), c.ID)
				}
			}
			if most := n.Attempts - never; seen > most || seen < most-doubt {
				k.Errorf("number %s was dialled %d times by the carrier's count for %d attempts, of which %d never left by a fault of our own and %d are unknown",
					n.Phone.Masked(), seen, n.Attempts, never, doubt)
			}
			if n.Outcome == waihu.NoOutcome {
				k.Errorf("number %s has no outcome", n.Phone.Masked())
			}
		}
		holdGauges(k.T, st, task)
	}
	holdEvents(k.T, st)
	k.holdCharges(st)
	records := k.far.Calls()
	if len(records) != dials {
		k.Errorf("the carrier saw %d calls, %d of them to the tasks' numbers", len(records), dials)
	}
	if p := k.far.Peak(); p > killLine {
		k.Errorf("the carrier saw %d calls at once, above the line's cap of %d", p, killLine)
	}
	caps, peaks := [2]int{killReserved, killLine - killReserved}, [2]int{}
	of := func(i int, r *carrier.Record) bool {
		return strings.HasPrefix(string(r.Called), fmt.Sprintf("13%d", i))
	}
	var last time.Time // call of the first task; then its reservation is given back
	for i := range records {
		if of(0, &records[i]) {
			last = records[i].InviteAt
		}
	}
	for i := range peaks {
		peaks[i] = peakOf(records, func(r *carrier.Record) bool { return of(i, r) && !r.InviteAt.After(last) })
		if peaks[i] > caps[i] {
			k.Errorf("the carrier saw %d calls of task %d at once, above its cap of %d", peaks[i], i, caps[i])
		}
	}
	ended := map[waihu.Party]int{}
	for _, r := range records {
		if !k.orphans[r.Call] {
			continue
		}
		ended[r.EndedBy]++
		if r.EndAt.IsZero() || r.EndedBy == waihu.ByNobody {
			k.Errorf("a call that a dead process left was never ended on the wire: %s (%s): %+v", r.Script, r.Call, r)
		}
	}
	if ended[waihu.ByAgent] == 0 {
		k.Error("no call that a dead process left was ended by the next: this test has proved nothing of it")
	}
	for _, f := range k.far.Findings() {
		// To end a call of which it does not know how it stands a process must send a CANCEL that may be too late.
		if !k.orphans[f.Call] && !(k.fresh[f.Call] && f.Rule == "cancel-late") {
			k.Errorf("the carrier found: %s", f)
		}
	}
	k.Logf("%d kills in %v: %d numbers, %d calls by the carrier's count, none twice for an attempt, none lost; peak %d of %d on the line, %d of %d and %d of %d in the tasks; %d calls left by dead processes, %d of them ended by us on the wire, %d by the callee meanwhile; %d numbers unknown; first call at most %v after a start",
		kills, took.Round(time.Second), 2*k.numbers, len(records), k.far.Peak(), killLine, peaks[0], caps[0], peaks[1], caps[1],
		ended[waihu.ByAgent]+ended[waihu.ByCallee], ended[waihu.ByAgent], ended[waihu.ByCallee], unknown, k.up.Round(time.Millisecond))
}
