package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waihu"
	"waihu/audio"
	"waihu/store"
)

// sippCase is one far end played by sipp, and how a call to it must end.
type sippCase struct {
	scenario string
	numbers  int
	want     waihu.Disposition
	by       waihu.Party
	args     []string
	check    func(t *testing.T, data string, c waihu.Call)
}

var sippCases = []sippCase{
	{scenario: "answer", numbers: 24, want: waihu.Answered, by: waihu.ByAgent, check: heardAndRecorded},
	{scenario: "busy", numbers: 2, want: waihu.Busy, by: waihu.ByCallee},
	{scenario: "rejected", numbers: 2, want: waihu.Rejected, by: waihu.ByCallee},
	{scenario: "vacant", numbers: 2, want: waihu.Vacant, by: waihu.ByCallee},
	{scenario: "unavailable", numbers: 2, want: waihu.NoAnswer, by: waihu.ByCallee},
	{scenario: "early_vacant", numbers: 2, want: waihu.Vacant, by: waihu.ByCallee},
	{scenario: "no_answer", numbers: 2, want: waihu.NoAnswer, by: waihu.BySystem},
	{scenario: "late_answer", numbers: 2, want: waihu.NoAnswer, by: waihu.BySystem},
	{scenario: "callee_bye", numbers: 2, want: waihu.Answered, by: waihu.ByCallee},
	{scenario: "lost_bye", numbers: 2, want: waihu.Answered, by: waihu.ByAgent},
	{scenario: "digest", numbers: 2, want: waihu.Answered, by: waihu.ByAgent},
}

// TestAgainstSipp runs a task against every far end and holds the ledger against sipp's own counters.
func TestAgainstSipp(t *testing.T) {
	t.Parallel()
	requirePeer(t, "sipp")
	var far []*sippPeer
	for _, c := range sippCases {
		far = append(far, startSipp(t, c))
	}
	w := newWorld(t, sippResources(far), nil)
	// All tasks dial at once; each is then waited for and judged in turn.
	tasks := make([]waihu.TaskID, len(far))
	for i, p := range far {
		tasks[i] = w.startTask(t, "line-"+p.scenario, "goodbye", phones(p.numbers), p.numbers)
	}
	for i, p := range far {
		t.Run(p.scenario, func(t *testing.T) {
			w.waitTask(t, tasks[i], p.numbers)
			calls := w.calls(t, tasks[i])
			if len(calls) != p.numbers {
				t.Fatalf("%d calls in the ledger, want %d", len(calls), p.numbers)
			}
			for _, c := range calls {
				if c.EndedAt.IsZero() {
					t.Errorf("call %s has not ended", c.ID)
				}
				if c.Outcome.Disposition != p.want || c.Outcome.HangupBy != p.by {
					t.Errorf("call %s ended as %s by %q, want %s by %q; evidence %+v", c.ID, c.Outcome.Disposition, c.Outcome.HangupBy, p.want, p.by, c.Outcome.Evidence)
				}
				if p.check != nil {
					p.check(t, w.data, c)
				}
			}
			p.wait(t, p.numbers)
		})
	}
}

// heardAndRecorded: the recording is whole, the agent was sent, and what the far end echoed came back.
func heardAndRecorded(t *testing.T, data string, c waihu.Call) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(data, "recordings", filepath.FromSlash(c.Outcome.Recording)))
	if err != nil {
		t.Error(err)
		return
	}
	wav, err := audio.ReadWAV(raw)
	if err != nil {
		t.Errorf("recording of %s: %v", c.ID, err)
		return
	}
	if len(wav.Channels) != 2 {
		t.Errorf("recording of %s has %d channels, want 2", c.ID, len(wav.Channels))
		return
	}
	callee, agent := wav.Channels[0], wav.Channels[1]
	length := time.Duration(len(agent)) * time.Second / time.Duration(wav.Rate)
	if talk := c.Outcome.Talk(); length < talk-time.Second || length > talk+time.Second {
		t.Errorf("recording of %s lasts %v, the talk %v", c.ID, length, talk)
	}
	if l := audio.Level(agent); l < -40 {
		t.Errorf("recording of %s: the agent's side is at %.0f dBFS", c.ID, l)
	}
	if l := audio.Level(callee); l < -40 {
		t.Errorf("recording of %s: the echo's side is at %.0f dBFS", c.ID, l)
	}
	if gap := c.Outcome.Media.MaxGapMS; gap > 60 { // an echo that comes late, for somebody stood still, is not known as one
		t.Logf("recording of %s: %.0f ms without a packet: its echo is not judged", c.ID, gap)
		return
	}
	for _, turn := range c.Outcome.Transcript {
		if turn.Barged {
			t.Errorf("call %s: the agent's own echo cut it short at %d ms", c.ID, turn.ToMS)
		}
	}
}

// sippPeer is a running sipp.
type sippPeer struct {
	sippCase
	port  int
	stats string
	done  chan error
	log   *bytes.Buffer
}

func startSipp(t *testing.T, c sippCase) *sippPeer {
	t.Helper()
	scenario, err := filepath.Abs(filepath.Join("testdata", "sipp", c.scenario+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &sippPeer{sippCase: c, port: sipPort(t), stats: filepath.Join(dir, "stats.csv"), done: make(chan error, 1), log: &bytes.Buffer{}}
	args := append([]string{"-sf", scenario, "-i", "127.0.0.1", "-p", strconv.Itoa(p.port), "-mi", "127.0.0.1", "-mp", strconv.Itoa(mediaPort()),
		"-rtp_echo", "-m", strconv.Itoa(c.numbers), "-nostdin", "-trace_stat", "-stf", p.stats, "-fd", "1", "-timeout", "400", "-timeout_error"}, c.args...)
	cmd := exec.Command("sipp", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, p.log, p.log
	cmd.Env = append(os.Environ(), "TERM=dumb")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return p
}

// wait holds sipp's own counters against ours: all calls seen, none failed.
func (p *sippPeer) wait(t *testing.T, calls int) {
	t.Helper()
	select {
	case err := <-p.done:
		if err != nil {
			t.Errorf("sipp ended with %v:\n%s", err, tail(p.log.String(), 40))
		}
	case <-time.After(slow * time.Minute):
		t.Errorf("sipp has not seen the end of its calls:\n%s", tail(p.log.String(), 40))
		return
	}
	counts := lastStats(t, p.stats)
	if counts["IncomingCall(C)"] != calls || counts["SuccessfulCall(C)"] != calls || counts["FailedCall(C)"] != 0 {
		t.Errorf("sipp counts %d calls, %d successful, %d failed; the ledger has %d",
			counts["IncomingCall(C)"], counts["SuccessfulCall(C)"], counts["FailedCall(C)"], calls)
	}
}

// lastStats reads the last line of sipp's statistics by the names of the first.
func lastStats(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names, last []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		cells := strings.Split(lines.Text(), ";")
		if names == nil {
			names = cells
			continue
		}
		last = cells
	}
	out := map[string]int{}
	for i, name := range names {
		if i < len(last) {
			if n, err := strconv.Atoi(last[i]); err == nil {
				out[name] = n
			}
		}
	}
	return out
}

func tail(s string, lines int) string {
	all := strings.Split(s, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func sippResources(far []*sippPeer) string {
	var b strings.Builder
	b.WriteString(testResources)
	b.WriteString("lines:\n")
	for _, p := range far {
		fmt.Fprintf(&b, "  - {id: line-%s, name: %s, concurrency: %d, trunk: {uri: \"sip:127.0.0.1:%d\", caller_ids: [\"02160001000\"], codecs: [pcma], ring_timeout: 5, username: trunkuser, password: secret}}\n",
			p.scenario, p.scenario, p.numbers, p.port)
	}
	return b.String()
}

// mediaPort is where a sipp sends sound from: it takes the next three, too. Each gets its own stretch.
func mediaPort() int { return 10000 + (os.Getpid()*8+int(mediaPorts.Add(8)))%2000 }

var mediaPorts atomic.Int32

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

// world is a running server with its resources, spoken to as a customer does.
type world struct {
	server *server
	client *vendorClient
	data   string
}

const testAccount = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"

// testResources are an account, hours and an agent that says goodbye; lines follow per test.
const testResources = `accounts:
  - {id: 5832d184-dd53-42a0-8ace-0bf8d660f4cc, name: test, tokens: [{name: t, token: test-token}]}
calling_hours:
  - {id: 1, name: all day, default: true, weekly: {all: ["00:00-24:00"]}}
agents:
  - id: goodbye
    name: goodbye
    version: 1
    opening: {wait_ms: 200, say: 感谢您的接听，再见。}
    brain: flow
    flow: {start: bye, nodes: {bye: {say: 感谢您的接听，再见。, do: [hangup]}}}
`

// newWorld starts a server with resources on ports of its own. It is stopped when the test ends.
func newWorld(t *testing.T, resources string, change func(*config)) *world {
	t.Helper()
	data := t.TempDir()
	file := filepath.Join(data, "resources.yaml")
	if err := os.WriteFile(file, []byte(resources), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config{Data: data, HTTP: "127.0.0.1:0", SIP: "127.0.0.1:0", RTP: testRTP(t), Apply: file, BusyStatus: 200, LogLevel: "warn"}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := newServer(ctx, cfg, func(string) (string, bool) { return "", false }, newLog(testLog{t}, cfg.LogLevel), testLog{t})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return &world{s, &vendorClient{base: "http://" + s.http.Addr().String(), user: testAccount, token: "test-token"}, data}
}

// runTask creates, fills and starts a task, and returns when every number is done.
func (w *world) runTask(t *testing.T, line, agent string, list []waihu.PhoneNumber, concurrency int) waihu.TaskID {
	t.Helper()
	id := w.startTask(t, line, agent, list, concurrency)
	w.waitTask(t, id, len(list))
	return id
}

func (w *world) startTask(t *testing.T, line, agent string, list []waihu.PhoneNumber, concurrency int) waihu.TaskID {
	t.Helper()
	ctx := t.Context()
	now := time.Now().In(waihu.Location(""))
	id, err := w.client.newTask(ctx, t.Name(), agent, line, 1, concurrency, now.Add(-time.Hour).Format(time.DateTime), now.Add(24*time.Hour).Format(time.DateTime))
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]map[string]any, len(list))
	for i, p := range list {
		rows[i] = map[string]any{"phone": string(p)}
	}
	if err := w.client.addNumbers(ctx, id, rows); err != nil {
		t.Fatal(err)
	}
	if err := w.client.startTask(ctx, id); err != nil {
		t.Fatal(err)
	}
	return waihu.TaskID(id)
}

func (w *world) waitTask(t *testing.T, id waihu.TaskID, numbers int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), slow*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		counts, err := w.server.store.Counts(ctx, testAccount, id)
		if err != nil {
			t.Fatal(err)
		}
		if counts.State[waihu.NumberDone] == numbers {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after minutes the numbers stand at %v", counts.State)
		case <-tick.C:
		}
	}
}

func (w *world) calls(t *testing.T, task waihu.TaskID) []waihu.Call {
	t.Helper()
	list, _, err := w.server.store.Calls(t.Context(), testAccount, task, store.CallFilter{PerPage: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if list[i], err = w.server.store.Call(t.Context(), testAccount, task, list[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func phones(n int) []waihu.PhoneNumber {
	out := make([]waihu.PhoneNumber, n)
	for i := range out {
		out[i] = waihu.PhoneNumber(fmt.Sprintf("1380000%04d", i))
	}
	return out
}

// testLog sends a server's log to its test.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
