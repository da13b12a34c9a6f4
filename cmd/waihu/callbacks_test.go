package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// told is what a receiver of native callbacks was told.
type told struct {
	mu     sync.Mutex
	list   []toldEvent
	fail   bool
	server *httptest.Server
}

type toldEvent struct {
	Type string
	Data struct {
		N     int64
		TaskN int64 `json:"task_n"`
		Call  *struct{ Phone, Disposition string }
		ID    string `json:"call_id"`
	}
}

func newTold(t *testing.T) *told {
	r := &told{}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var e toldEvent
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fail {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if err := json.NewDecoder(q.Body).Decode(&e); err != nil || q.Header.Get("webhook-signature") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.list = append(r.list, e)
	}))
	t.Cleanup(r.server.Close)
	return r
}

func (r *told) count(kind string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.list {
		if kind == "" || e.Type == kind {
			n++
		}
	}
	return n
}

func (r *told) breakDown(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = is
}

// TestCallbacks walks an operator and a customer through callbacks of a running server: endpoints by command line, file and API, private
// addresses refused, calls told with their numbers, the breaker and its release, a replay, and the proof that nothing is missing.
func TestCallbacks(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := startServe(t, data, "--callback-allow", "127.0.0.0/8", "--callback-block-after", "3", "--callback-block-minutes", "30")
	m := regexp.MustCompile(`account (\S+) with token (\S+)`).FindStringSubmatch(s.out.String())
	if m == nil {
		t.Fatalf("no token was printed: %s", s.out.String())
	}
	client := &vendorClient{base: s.base, user: m[1], token: m[2]}
	r := newTold(t)
	say := expect(t, 0, "signed with whsec_", "webhook", "add", m[1], r.server.URL+"/hook?key=hush", "--data", data)
	id := regexp.MustCompile(`endpoint (\d+)`).FindStringSubmatch(say)[1]
	expect(t, 1, "beginning with http", "webhook", "add", m[1], "ftp://x", "--data", data)
	expect(t, 1, "there is no account", "webhook", "add", "nobody", r.server.URL, "--data", data)
	expect(t, 2, "list, add, remove", "webhook", "kick", "--data", data)
	expect(t, 0, "created", "apply", writeFile(t, dayResources), "--data", data)
	expect(t, 0, "numbers imported", "import", "day", writeFile(t, "手机号\n+99900000013\n+99900000113\n+99900000002\n"), "--data", data)
	if err := client.startTask(t.Context(), "day"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "three numbers are told as done", func() bool { return r.count("number.done") == 3 && r.count("call.ended") == 3 })

	// what was told is what the list says, without a gap
	var page struct {
		Events []struct {
			N    int64
			Kind string
		}
		Last int64
	}
	native := func(method, path, body string, v any) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+m[2])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if v != nil {
			if err := json.Unmarshal(raw, v); err != nil {
				t.Fatalf("%s %s: %s", method, path, raw)
			}
		}
		return res.StatusCode
	}
	native("GET", "/api/v1/events?limit=1000", "", &page)
	have := map[int64]string{}
	r.mu.Lock()
	for _, e := range r.list {
		have[e.Data.N] = e.Type
		if e.Type == "call.ended" && (e.Data.Call == nil || !strings.HasPrefix(e.Data.Call.Phone, "+999") || e.Data.ID == "") {
			t.Errorf("a call is told without what it was: %+v", e)
		}
	}
	r.mu.Unlock()
	for i, e := range page.Events {
		if e.N != int64(i+1) || have[e.N] != e.Kind {
			t.Errorf("event %d, %s, was told as %q", e.N, e.Kind, have[e.N])
		}
	}

	// private addresses
	var failure struct {
		Error struct{ Field, Message string }
	}
	if code := native("POST", "/api/v1/endpoints", `{"url":"http://10.0.0.8/x"}`, &failure); code != 422 || failure.Error.Field != "url" || !strings.Contains(failure.Error.Message, "private") {
		t.Errorf("a private address: %d %+v", code, failure)
	}

	// the breaker
	r.breakDown(true)
	expect(t, 0, "1 numbers imported", "import", "day", writeFile(t, "+99900000313\n"), "--data", data)
	eventually(t, 30*time.Second, "the endpoint is blocked", func() bool {
		_, said := waihuDoes(t, "webhook", "list", "--data", data)
		return strings.Contains(said, "blocked") && strings.Contains(said, "answered 502")
	})
	if _, said := waihuDoes(t, "webhook", "list", m[1], "--data", data); strings.Contains(said, "hush") || !strings.Contains(said, r.server.URL) {
		t.Errorf("the list shows %s", said)
	}
	var black struct{ Blackouts []struct{ URL string } }
	if native("GET", "/api/v1/blackouts", "", &black); len(black.Blackouts) != 1 {
		t.Errorf("blackouts: %+v", black)
	}
	eventually(t, 30*time.Second, "the fourth number is done", func() bool { _, done, _ := numbersOf(t, client, "day"); return done == 4 })
	r.breakDown(false)
	before := r.count("")
	expect(t, 0, "done", "webhook", "release", id, "--data", data)
	eventually(t, 30*time.Second, "what waited is told", func() bool { return r.count("number.done") == 4 })

	// a replay of everything, asked for while nothing runs
	all := r.count("")
	if all <= before {
		t.Errorf("%d events were told, %d before the release", all, before)
	}
	s.stop(t)
	expect(t, 0, "done", "webhook", "replay", id, "--from", "1", "--data", data)
	expect(t, 1, "there is no endpoint", "webhook", "replay", "99", "--data", data)
	s = startServe(t, data, "--callback-allow", "127.0.0.0/8")
	eventually(t, 30*time.Second, "all is told again", func() bool { return r.count("") >= 2*all })
	expect(t, 0, "done", "webhook", "remove", id, "--data", data)
	expect(t, 0, "no endpoints", "webhook", "list", "--data", data)
	s.stop(t)
	for _, secret := range []string{"hush", "9990000", "whsec"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestCallbacksOnPostgres: of two servers on one database one delivers; when it ends the other goes on, and nothing is told twice.
func TestCallbacksOnPostgres(t *testing.T) {
	t.Parallel()
	dsn := privatePostgres(t)
	shared := []string{"--database", dsn, "--key-file", filepath.Join(t.TempDir(), "key")}
	serve := append([]string{"--callback-allow", "127.0.0.0/8"}, shared...)
	at := func(data string, args ...string) []string { return append(append(args, "--data", data), shared...) }
	first := startServe(t, t.TempDir(), serve...)
	m := regexp.MustCompile(`account (\S+) with token`).FindStringSubmatch(first.out.String())
	if m == nil {
		t.Fatalf("no account was made: %s", first.out.String())
	}
	second := startServe(t, t.TempDir(), serve...)
	r := newTold(t)
	third := t.TempDir()
	expect(t, 0, "created", at(third, "apply", writeFile(t, dayResources))...)
	expect(t, 0, "signed with", at(third, "webhook", "add", m[1], r.server.URL)...)
	add := func(n int) {
		t.Helper()
		for i := range n {
			expect(t, 0, "1 numbers imported", at(third, "import", "day", writeFile(t, fmt.Sprintf("+9990%03d%04d\n", r.count(""), i)))...)
		}
	}
	add(5) // by a process that delivers nothing: found by looking
	eventually(t, 30*time.Second, "five events are told", func() bool { return r.count("") >= 5 })
	first.stop(t)
	add(3)
	eventually(t, 30*time.Second, "the second goes on", func() bool { return r.count("") >= 8 })
	second.stop(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range r.list {
		if e.Data.N != int64(i+1) || e.Type != "numbers.added" {
			t.Errorf("delivery %d is event %d, %s", i+1, e.Data.N, e.Type)
		}
	}
}
