package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// transcript of a command: what it wrote so far; safe to read while it runs.
type script struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *script) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// slow is how much longer than on an idle machine something may take.
const slow = 4

// eventually polls until ok, and fails the test when it takes slow times the limit.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(slow * limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %v still not: %s", slow*limit, what)
		}
	}
}

// waihuDoes runs a command line to its end.
func waihuDoes(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out script
	code = run(t.Context(), stdio{out: &out, err: &out, env: noEnv}, args)
	return code, out.String()
}

// expect runs a command line and holds its exit code and words.
func expect(t *testing.T, code int, words string, args ...string) string {
	t.Helper()
	got, said := waihuDoes(t, args...)
	if got != code || !strings.Contains(said, words) {
		t.Errorf("waihu %s: exit %d, want %d; it said\n%s\nwant in it: %s", strings.Join(args, " "), got, code, said, words)
	}
	return said
}

// served is waihu serve, run as its command line.
type served struct {
	out, log script
	data     string
	base     string
	signals  chan os.Signal
	code     chan int
}

func startServe(t *testing.T, data string, args ...string) *served {
	t.Helper()
	s := &served{data: data, signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	args = append([]string{"serve", "--data", data, "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0", "--rtp", testRTP(t)}, args...)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		s.code <- run(ctx, stdio{out: &s.out, err: &s.log, env: noEnv, signals: s.signals}, args)
	}()
	t.Cleanup(func() {
		cancel()
		if s.code != nil {
			<-s.code
		}
	})
	address := regexp.MustCompile(`serves (http://\S+),`)
	eventually(t, 30*time.Second, "the server is up", func() bool {
		m := address.FindStringSubmatch(s.out.String())
		if m == nil && len(s.code) > 0 {
			t.Fatalf("serve ended: %s %s", s.out.String(), s.log.String())
		}
		if m != nil {
			s.base = m[1]
		}
		return m != nil
	})
	return s
}

// stop sends a SIGTERM and wants exit code 0.
func (s *served) stop(t *testing.T) {
	t.Helper()
	s.signals <- syscall.SIGTERM
	if code := <-s.code; code != 0 {
		t.Errorf("serve exited with %d: %s", code, s.log.String())
	}
	s.code = nil
}

func (s *served) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	res, err := http.Get(s.base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// numbersOf are a task's numbers as a client sees them: all, finished, being called.
func numbersOf(t *testing.T, client *vendorClient, task string) (all, done, calling int) {
	t.Helper()
	var list []struct {
		Status  int  `json:"status"`
		Calling bool `json:"call_status"`
	}
	if err := client.do(t.Context(), http.MethodGet, "/agent-api/user/"+client.user+"/task/"+task+"/number?per_page=100", nil, &list); err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		if n.Calling {
			calling++
		} else if n.Status != 0 {
			done++
		}
	}
	return len(list), done, calling
}

// dayResources give the account of a first start a simulated line, an agent and a task.
const dayResources = `lines:
  - {id: sim, name: simulated, concurrency: 5, trunk: {uri: "sim:day", caller_ids: ["02160001000"]}}
calling_hours:
  - {id: 1, name: all day, default: true, weekly: {all: ["00:00-24:00"]}}
agents:
  - id: goodbye
    name: goodbye
    version: 1
    opening: {wait_ms: 200, say: 感谢您的接听，再见。}
    brain: flow
    flow: {start: bye, nodes: {bye: {say: 感谢您的接听，再见。, do: [hangup]}}}
tasks:
  - {id: day, name: day, agent: goodbye, calling_hours: 1, concurrency: 5, lines: [{id: sim, limit: 5}], start: "2024-01-01", stop: "2099-01-01"}
`

// TestOperatorsDay is a stranger's first day: start without a file, use the printed token, bring the first line into
// the running server, import, dial, import more while it dials, check the trunk, back up, stop.
func TestOperatorsDay(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	data := t.TempDir()
	s := startServe(t, data)
	m := regexp.MustCompile(`account (\S+) with token (\S+)`).FindStringSubmatch(s.out.String())
	if m == nil {
		t.Fatalf("no token was printed: %s", s.out.String())
	}
	client := &vendorClient{base: s.base, user: m[1], token: m[2]}
	list := "/agent-api/new/user/" + m[1] + "/task"
	if err := client.do(ctx, http.MethodGet, list, nil, nil); err != nil {
		t.Errorf("with the printed token: %v", err)
	}
	eventually(t, 10*time.Second, "ready", func() bool { code, _ := s.get(t, "/readyz"); return code == 200 })
	if code, body := s.get(t, "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	expect(t, 1, "is in use by waihu (process", "serve", "--data", data, "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0", "--rtp", testRTP(t))

	// the first simulated line of a running server works at once
	expect(t, 0, "lines              1 created", "apply", writeFile(t, dayResources), "--data", data)
	said := expect(t, 0, "packets received", "trunk", "check", "sim", "--call", "+99900000001", "--data", data)
	if !strings.Contains(said, "port: ok") {
		t.Errorf("the check said %s", said)
	}
	big := strings.Replace(dayResources, "concurrency: 5, trunk", "concurrency: 5000, trunk", 1)
	expect(t, 1, "need 10000 RTP ports, but the server's --rtp has 400", "apply", writeFile(t, big), "--data", data)

	// suffix 13 answers without ringing, 02 is busy
	expect(t, 0, "4 numbers imported, 0 were in the task already, 1 rows refused", "import", "day",
		writeFile(t, "手机号,姓名\n+99900000013,甲\n+99900000113,乙\nnonsense,丙\n+99900000213,丁\n+99900000002,戊\n"), "--data", data)
	if err := client.startTask(ctx, "day"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the first call is over", func() bool { _, done, _ := numbersOf(t, client, "day"); return done > 0 })
	expect(t, 0, "1 numbers imported", "import", "day", writeFile(t, "+99900000313\n"), "--data", data)
	eventually(t, 60*time.Second, "five numbers done", func() bool { all, done, _ := numbersOf(t, client, "day"); return all == 5 && done == 5 })

	copied := filepath.Join(t.TempDir(), "copy")
	expect(t, 0, "backed up to", "backup", filepath.Join(copied, "..", "waihu.db"), "--data", data)
	expect(t, 1, "exists: name a new file", "backup", filepath.Join(copied, "..", "waihu.db"), "--data", data)
	s.stop(t)

	// what a log may hold of a whole day: no number, no word of the talk, no token
	log := s.log.String()
	for _, secret := range []string{"9990000", "感谢", "甲", m[2]} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}

	// the copy opens and holds the same; with no server running commands work on it directly
	restored := filepath.Dir(copied)
	key, err := os.ReadFile(filepath.Join(data, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(restored, "secret.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, 0, "0 numbers imported, 1 were in the task already", "import", "--data", restored, "day", writeFile(t, "+99900000313\n"))
	expect(t, 0, "wh_", "token", m[1], "--data", restored)
	expect(t, 1, "start waihu serve first", "trunk", "check", "sim", "--data", restored)
}

// TestLogHoldsNothingPersonal: whatever goes wrong in calls, no line of the log, not even at level debug, holds a number,
// a word of the talk, a token or a password.
func TestLogHoldsNothingPersonal(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	resources := strings.Replace(testResources, "test-token", "T0KEN-SECRET", 1) + `lines:
  - {id: sim, name: simulated, concurrency: 9, trunk: {uri: "sim:log", username: u, password: PASSW0RD, caller_ids: ["02160001234"]}}
  - {id: dead, name: nobody, concurrency: 2, trunk: {uri: "sip:127.0.0.1:9;transport=tcp", caller_ids: ["02160001234"]}}
tasks:
  - {id: log, name: log, agent: goodbye, calling_hours: 1, concurrency: 9, lines: [{id: sim, limit: 9}], start: "2024-01-01", stop: "2099-01-01"}
  - {id: lost, name: lost, agent: goodbye, calling_hours: 1, concurrency: 2, lines: [{id: dead, limit: 2}], start: "2024-01-01", stop: "2099-01-01"}
`
	s := startServe(t, data, "--log-level", "debug", "--apply", writeFile(t, resources))
	client := &vendorClient{base: s.base, user: testAccount, token: "T0KEN-SECRET"}
	// 02 is busy, 10 has no credit, 12 is intercepted, 13 talks, 67 and 68 want other credentials, 99 has no script
	expect(t, 0, "7 numbers imported", "import", "log", writeFile(t, "+99912345002\n+99912345010\n+99912345012\n+99912345013\n+99912345067\n+99912345068\n+99912345099\n"), "--data", data)
	expect(t, 0, "1 numbers imported", "import", "lost", writeFile(t, "13912345678\n"), "--data", data)
	for _, task := range []string{"log", "lost"} {
		if err := client.startTask(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 60*time.Second, "the log speaks of refused credentials, of a missing script and of our own faults", func() bool {
		log := s.log.String()
		_, done, _ := numbersOf(t, client, "log")
		return strings.Contains(log, "credentials refused") && strings.Contains(log, "this suffix has no script") && strings.Contains(log, "call failed by our") && done >= 4
	})
	if err := (&vendorClient{base: s.base, user: testAccount, token: "wrong-T0KEN"}).startTask(t.Context(), "log"); err == nil {
		t.Error("a wrong token was taken")
	}
	s.signals <- syscall.SIGTERM
	s.stop(t)
	for _, secret := range []string{"99912345", "13912345678", "60001234", "感谢", "T0KEN", "PASSW0RD"} {
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, secret) {
				t.Errorf("the log holds %q: %s", secret, line)
			}
		}
	}
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	rtp := testRTP(t)
	lines := "accounts: [{id: a, name: a}]\nlines: [{id: l, name: l, concurrency: 300, trunk: {uri: \"sip:127.0.0.1:5060\"}}]\n"
	low, high := 40000, 40999
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(b), &low, &high); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, words string
		code        int
		args        []string
	}{
		{"HTTP port taken", "another program uses that port", 1, []string{"--http", taken.Addr().String()}},
		{"SIP port taken", "another program uses that port", 1, []string{"--sip", udp.LocalAddr().String()}},
		{"address of another machine", "this machine has no such address", 1, []string{"--http", "192.0.2.1:8080"}},
		{"ephemeral ports", "net.ipv4.ip_local_port_range", 1, []string{"--rtp", fmt.Sprintf("%d-%d", low, high)}},
		{"too few ports", "need 600 RTP ports, but the server's --rtp has 400", 1, []string{"--apply", writeFile(t, lines)}},
		{"unknown key", ":1: unknown key linse: lines was probably meant", 1, []string{"--apply", writeFile(t, "linse: []\n")}},
		{"no such file", "reading the resources", 1, []string{"--apply", filepath.Join(t.TempDir(), "none")}},
		{"path too long", "choose a shorter --data", 1, []string{"--data", filepath.Join(t.TempDir(), strings.Repeat("long", 25))}},
		{"unknown flag", "usage: waihu serve [settings]", 2, []string{"--prot", "5"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			args := append([]string{"serve", "--data", data, "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0", "--rtp", rtp}, c.args...)
			expect(t, c.code, c.words, args...)
		})
	}
}

// TestDrain: after the first signal calls in progress go on and new ones do not start; the second hangs up.
func TestDrain(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	resources := testResources + `lines:
  - {id: sim, name: simulated, concurrency: 2, trunk: {uri: "sim:drain", caller_ids: ["02160001000"]}}
tasks:
  - {id: drain, name: drain, agent: goodbye, calling_hours: 1, concurrency: 2, lines: [{id: sim, limit: 2}], start: "2024-01-01", stop: "2099-01-01"}
`
	s := startServe(t, data, "--apply", writeFile(t, resources))
	client := &vendorClient{base: s.base, user: testAccount, token: "test-token"}
	// suffix 04 rings until it is cancelled, 45 s
	expect(t, 0, "4 numbers imported", "import", "drain", writeFile(t, "+99900000004\n+99900000104\n+99900000204\n+99900000304\n"), "--data", data)
	if err := client.startTask(t.Context(), "drain"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "two calls ring", func() bool { _, _, calling := numbersOf(t, client, "drain"); return calling == 2 })
	s.signals <- syscall.SIGTERM
	eventually(t, 10*time.Second, "draining", func() bool {
		code, body := s.get(t, "/readyz")
		return code == 503 && strings.Contains(body, "draining")
	})
	if _, _, calling := numbersOf(t, client, "drain"); calling != 2 || len(s.code) > 0 {
		t.Fatalf("%d calls go on while draining, want 2; the server said %s", calling, s.log.String())
	}
	began := time.Now()
	s.stop(t)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("hanging up took %v", took)
	}
	st, err := openStore(t.Context(), config{Data: data}, noEnv, newLog(io.Discard, "error"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	list, total, err := st.Calls(t.Context(), testAccount, "drain", callPage(1))
	if err != nil {
		t.Fatal(err)
	}
	if total > 2 { // one that was hung up before its INVITE left is undone
		t.Errorf("%d calls were made, want the two that were in progress at the first signal", total)
	}
	for _, c := range list {
		if c.EndedAt.IsZero() {
			t.Errorf("call %s has not ended", c.ID)
		}
	}
}

// TestTwoOnOnePostgres: of two servers one dials and the other says who does; what a third process applies is known to
// the one that dials, and when that stops the other takes over.
func TestTwoOnOnePostgres(t *testing.T) {
	t.Parallel()
	dsn := privatePostgres(t)
	key := filepath.Join(t.TempDir(), "key")
	shared := []string{"--database", dsn, "--key-file", key}
	at := func(data string, args ...string) []string { return append(append(args, "--data", data), shared...) }
	first := startServe(t, t.TempDir(), append(shared, "--apply", writeFile(t, testResources))...)
	eventually(t, 20*time.Second, "the first is ready", func() bool { code, _ := first.get(t, "/readyz"); return code == 200 })
	second := startServe(t, t.TempDir(), shared...)
	eventually(t, 10*time.Second, "the second says who dials", func() bool {
		code, body := second.get(t, "/readyz")
		return code == 503 && strings.Contains(body, "is held by")
	})

	third := t.TempDir()
	expect(t, 0, "created", at(third, "apply", writeFile(t, `lines:
  - {id: sim, name: simulated, concurrency: 5, trunk: {uri: "sim:shared", caller_ids: ["02160001000"]}}
tasks:
  - {id: shared, name: shared, agent: goodbye, calling_hours: 1, concurrency: 5, lines: [{id: sim, limit: 5}], start: "2024-01-01", stop: "2099-01-01"}
`))...)
	expect(t, 0, "1 numbers imported", at(third, "import", "shared", writeFile(t, "+99900000002\n"))...)
	client := &vendorClient{base: second.base, user: testAccount, token: "test-token"}
	if err := client.startTask(t.Context(), "shared"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the first has dialled", func() bool { _, done, _ := numbersOf(t, client, "shared"); return done == 1 })
	first.stop(t)
	eventually(t, 20*time.Second, "the second is ready", func() bool { code, _ := second.get(t, "/readyz"); return code == 200 })
	expect(t, 1, "pg_dump", at(third, "backup", filepath.Join(third, "copy"))...)
	second.stop(t)
}

// TestDiskFull: with too little room nothing is dialled or imported, readyz says why, nothing is lost, and it goes on
// when there is room again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	resources := writeFile(t, testResources+`lines:
  - {id: sim, name: simulated, concurrency: 2, trunk: {uri: "sim:disk", caller_ids: ["02160001000"]}}
tasks:
  - {id: disk, name: disk, agent: goodbye, calling_hours: 1, concurrency: 2, lines: [{id: sim, limit: 2}], start: "2024-01-01", stop: "2099-01-01"}
`)
	expect(t, 0, "created", "apply", resources, "--data", data)
	expect(t, 0, "2 numbers imported", "import", "disk", writeFile(t, "+99900000002\n+99900000102\n"), "--data", data)

	s := startServe(t, data, "--min-free-mb", "1000000000")
	client := &vendorClient{base: s.base, user: testAccount, token: "test-token"}
	if err := client.startTask(t.Context(), "disk"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "not ready, and why", func() bool {
		code, body := s.get(t, "/readyz")
		return code == 503 && strings.Contains(body, "disk")
	})
	if code, _ := s.get(t, "/healthz"); code != 200 {
		t.Errorf("healthz %d: the process works all the same", code)
	}
	expect(t, 1, "disk", "import", "disk", writeFile(t, "+99900000202\n"), "--data", data)
	s.stop(t)

	s = startServe(t, data)
	client.base = s.base
	eventually(t, 30*time.Second, "both numbers are done", func() bool {
		all, done, _ := numbersOf(t, client, "disk")
		return all == 2 && done == 2
	})
	s.stop(t)
}
