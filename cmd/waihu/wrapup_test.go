package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/queue"
	"waihu/speech"
	"waihu/store"
)

const reviewResources = `
accounts: [{id: acme, name: Acme}]
lines: [{id: l1, name: l1, concurrency: 10, trunk: {uri: "sim:"}}]
calling_hours: [{id: 1, name: always, weekly: {all: ["00:00-24:00"]}}]
models: [{id: far, url: URL, key: env:MODEL_KEY, model: qwen-test, timeout: 30, retries: 0}]
quality_checks:
  - id: 1
    name: 意向
    prompt: 看客户的态度。
    items: [{id: polite, kind: llm, ask: 坐席是否礼貌？}, {id: hello, kind: rule, check: "agent_said_within(10, ['您好'])"}]
agents:
  - id: a
    name: a
    version: 1
    brain: flow
    flow: {start: bye, nodes: {bye: {say: 再见。, do: [hangup]}}}
    grade: [{level: E, when: "answered"}]
    llm: {collect: [{key: visit, question: 是否到店, answers: [是, 否]}]}
tasks: [{id: t, name: t, agent: a, calling_hours: 1, concurrency: 10, lines: [{id: l1, limit: 10}], start: 2020-01-01 00:00:00, stop: 2036-01-01 00:00:00, quality_check: 1}]
`

const reviewAnswer = `{"items":{"polite":{"answer":true,"confidence":0.9,"reason":"礼貌"}},"collect":{"visit":{"hit":true,"answer":"是","words":"会去"}},
	"level":{"answer":"A","confidence":0.8,"reason":"会去"},"summary":"客户会去。","suggestion":"发地址"}`

// TestReviewedByModel is the whole path of a call after its end, against an OpenAI-compatible server that answers validly, with nonsense, cut
// off, too late, or not at all: booked, job, model, review, event, grade.
func TestReviewedByModel(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		script   func(n int) speech.ChatStep
		grade    string
		open     int    // undecided
		reason   string // of one that is undecided
		requests int    // at least
	}{
		"valid": {func(int) speech.ChatStep { return speech.ChatStep{Text: reviewAnswer} }, "A", 0, "", 1},
		"valid, streamed": {func(int) speech.ChatStep {
			return speech.ChatStep{Body: streamed(reviewAnswer), ContentType: "text/event-stream", Split: 1}
		}, "A", 0, "", 1},
		"invalid, then good": {func(n int) speech.ChatStep {
			return speech.ChatStep{Text: []string{"好的，我来看看。", reviewAnswer}[min(n, 1)]}
		}, "A", 0, "", 2},
		"invalid":    {func(int) speech.ChatStep { return speech.ChatStep{Text: `{"items":{},"level":"A"}`} }, "E", 3, "wrong twice: items.polite: is missing", 2},
		"truncated":  {func(int) speech.ChatStep { return speech.ChatStep{Text: reviewAnswer[:120], Finish: "length"} }, "E", 3, "cut off", 2},
		"broken off": {func(int) speech.ChatStep { return speech.ChatStep{Text: reviewAnswer, Cut: 100} }, "E", 3, "its answer broke off", 3},
		"slow":       {func(int) speech.ChatStep { return speech.ChatStep{Hang: true} }, "E", 3, "no answer in time", 3},
		"absent":     {nil, "E", 3, "it could not be reached", 0},
		"busy": {func(int) speech.ChatStep {
			return speech.ChatStep{Status: 429, Header: map[string]string{"Retry-After": "1"}}
		}, "E", 3, "it has too much to do, or our quota is used up (status 429)", 8},
		"wrong key": {func(int) speech.ChatStep {
			return speech.ChatStep{Status: 401, Body: `{"error":{"message":"sk-secret is wrong","code":"invalid_api_key"}}`}
		}, "E", 3, "it refused our key (status 401)", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far := &speech.ChatServer{Key: "sk-secret", Script: func(n int, r speech.ChatSeen) speech.ChatStep {
				if !slices.ContainsFunc(r.Messages, func(m speech.ChatMessage) bool { return strings.Contains(m.Content, "客户：会去。") }) {
					return speech.ChatStep{Text: `{"summary":"s","suggestion":""}`} // about the task
				}
				return x.script(n)
			}}
			server := httptest.NewServer(far)
			t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
			if x.script == nil {
				server.Close()
			}
			raw := strings.Replace(reviewResources, "URL", server.URL+"/v1", 1)
			if name == "slow" {
				raw = strings.Replace(raw, "timeout: 30", "timeout: 1", 1)
			}
			st, ids := answeredCalls(t, raw, 1)
			var logged script
			runJobs := startReviews(t, st, slog.New(slog.NewTextHandler(&logged, nil)))
			var v waihu.Review
			eventually(t, time.Minute, "the call is reviewed", func() bool {
				var err error
				v, err = st.Review(t.Context(), "acme", ids[0])
				return err == nil
			})
			runJobs()
			if v.Grade != x.grade || v.Undecided() != x.open || v.Score == nil || *v.Score != 100 {
				t.Errorf("%+v", v)
			}
			reasons := ""
			for _, r := range v.Items {
				reasons += r.Reason + "\n"
			}
			if x.open > 0 && !strings.Contains(reasons, x.reason) {
				t.Errorf("the reasons are %s", reasons)
			}
			if x.open == 0 && (v.Summary != "客户会去。" || !v.Hit() || v.Model != "far (qwen-test)") {
				t.Errorf("%+v", v)
			}
			if n := len(far.Seen()); n < x.requests {
				t.Errorf("%d requests, want %d", n, x.requests)
			}
			if b := far.Breaches(); len(b) > 0 {
				t.Errorf("the protocol was broken: %v", b)
			}
			events, err := st.Events(t.Context(), "acme", 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			var bodies []string
			for _, e := range events {
				if e.Call == ids[0] && (e.Kind == waihu.EventCallEnded || e.Kind == waihu.EventCallReviewed) {
					bodies = append(bodies, string(e.Body))
				}
			}
			if want := []string{`{"seq":1,"attempt":1,"disposition":"answered","review":true}`, fmt.Sprintf(`{"seq":1,"attempt":1,"disposition":"answered","grade":%q}`, x.grade)}; !slices.Equal(bodies, want) {
				t.Errorf("events %v, want %v", bodies, want)
			}
			for _, secret := range []string{"sk-secret", "会去", server.URL, "13800000001"} {
				if stored, _ := json.Marshal(v); secret != "会去" && strings.Contains(string(stored), secret) {
					t.Errorf("the review tells %q", secret)
				}
				if secret != server.URL && strings.Contains(logged.String(), secret) {
					t.Errorf("the log tells %q: %s", secret, logged.String())
				}
			}
		})
	}
}

// streamed is an answer as a stream of events.
func streamed(text string) string {
	piece, _ := json.Marshal(text)
	return "data: {\"choices\":[{\"delta\":{\"content\":" + string(piece) + "}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
}

// answeredCalls is a ledger with resources applied and n answered calls of task t booked, of account acme.
func answeredCalls(t *testing.T, raw string, n int) (*store.Store, []waihu.CallID) {
	t.Helper()
	ctx := t.Context()
	st, err := openStore(ctx, config{Data: t.TempDir()}, noEnv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	raw = strings.Replace(raw, "env:MODEL_KEY", "sk-secret", 1)
	must(applyResources(ctx, st, "r.yaml", []byte(raw), 0, func(string) {}))
	var list []store.NewNumber
	for i := range n {
		list = append(list, store.NewNumber{Phone: waihu.PhoneNumber(fmt.Sprint(13800000001 + i))})
	}
	_, err = st.AddNumbers(ctx, "acme", "t", list)
	must(err)
	_, err = st.StartTask(ctx, "acme", "t")
	must(err)
	epoch, err := st.TakeShard(ctx, 0, "test", time.Hour)
	must(err)
	next := int64(0)
	tick := store.Tick{Epoch: epoch, Owner: "test", Now: time.Now(), NextCall: func() (waihu.CallID, bool) { next++; return waihu.NewCallID(0, epoch, next), true },
		Pops: []store.Pop{{Task: "t", Account: "acme", Run: 1, Fresh: true, Limit: n, Decide: func(store.PoppedNumber) store.Decision {
			return store.Decision{Dial: true, Line: "l1", Agent: "a"}
		}}}}
	res, err := st.Tick(ctx, &tick)
	must(err)
	spec, err := st.Agent(ctx, "acme", "a")
	must(err)
	tick.Pops = nil
	var ids []waihu.CallID
	for _, d := range res.Dials {
		o := waihu.Outcome{Call: d.Call, Disposition: waihu.Answered, AnswerAt: d.StartedAt, EndAt: d.StartedAt.Add(9 * time.Second), Grade: "E", Facts: []byte(`{"answered":true,"refusals":2}`),
			Transcript: []waihu.Turn{{Who: "agent", Text: "您好，您会来吗？", FromMS: 500, ToMS: 3000}, {Who: "callee", Text: "会去。", FromMS: 4000, ToMS: 5000}}}
		tick.Book = append(tick.Book, store.Booking{LiveCall: d.LiveCall, Next: waihu.NumberDone, Outcome: &o, Review: true, AgentVersion: spec.VersionID})
		ids = append(ids, d.Call)
	}
	_, err = st.Tick(ctx, &tick)
	must(err)
	if len(ids) != n {
		t.Fatalf("%d calls", len(ids))
	}
	return st, ids
}

// startReviews works the ledger's jobs as the server does, with short pauses, until the test ends or stop is called.
func startReviews(t *testing.T, st *store.Store, log *slog.Logger) (stop func()) {
	t.Helper()
	o := queue.Options{Store: st, Log: log, Poll: 5 * time.Millisecond, Pause: func(int) time.Duration { return time.Millisecond }}
	newWrapup(st, log).Join(&o)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- queue.New(o).Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-over
		}
	}
	t.Cleanup(stop)
	return stop
}

// TestRegradeCommand: newer grade rules judge stored calls again by the facts that were kept with them; and jobs that were given up are shown
// and brought back, with a server or without.
func TestRegradeCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw := strings.Replace(reviewResources, "models: [{id: far, url: URL, key: env:MODEL_KEY, model: qwen-test, timeout: 30, retries: 0}]\n", "", 1)
	st, ids := answeredCalls(t, raw, 3)
	stop := startReviews(t, st, slog.New(slog.DiscardHandler))
	reviewed := func(grade string) func() bool {
		return func() bool {
			m, err := st.Reviews(t.Context(), "acme", ids)
			if err != nil || len(m) != len(ids) {
				return false
			}
			for _, v := range m {
				if v.Grade != grade {
					return false
				}
			}
			return true
		}
	}
	eventually(t, time.Minute, "all calls are reviewed", reviewed("E"))
	raw = strings.Replace(raw, "version: 1\n", "version: 2\n", 1)
	raw = strings.Replace(raw, `{level: E, when: "answered"}`, `{level: C, when: "refusals >= 2"}`, 1)
	if err := applyResources(t.Context(), st, "r.yaml", []byte(raw), 0, func(string) {}); err != nil {
		t.Fatal(err)
	}
	said := ""
	tell := func(m message) { said += m.Say + "\n" }
	if err := regrade(t.Context(), st, "t", tell); err != nil || !strings.Contains(said, "3 calls of t") {
		t.Fatal(said, err)
	}
	eventually(t, time.Minute, "all calls are reviewed again", reviewed("C"))
	stop()
	if err := regrade(t.Context(), st, "nobody's", tell); waihu.ErrorCode(err) == "" {
		t.Error("a task that does not exist was regraded")
	}

	// The commands themselves, on a data folder without a server.
	file := filepath.Join(dir, "r.yaml")
	if err := os.WriteFile(file, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if code, out := waihuDoes(t, "apply", file, "--data", data); code != 0 {
		t.Fatal(out)
	}
	other, err := openStore(t.Context(), config{Data: data}, noEnv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.AddJobs(t.Context(), waihu.Job{Account: "acme", Kind: "import", Key: "k1"}, waihu.Job{Account: "acme", Kind: "copy", Key: "k2"}); err != nil {
		t.Fatal(err)
	}
	jobs, err := other.TakeJobs(t.Context(), "import", 1, time.Minute)
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	if err := other.EndJobs(t.Context(), store.JobEnd{Job: jobs[0], Dead: true, Reason: "no luck\nstack"}); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"jobs", "list"}, 0, []string{"import               acme", "0 waiting      1 given up", "1 waiting      0 given up", "import k1 of acme, 1 tries", "no luck ..."}},
		{[]string{"jobs", "list", "--kind", "copy"}, 0, []string{"1 waiting"}},
		{[]string{"jobs", "replay", "99"}, 1, []string{"job 99 was not given up"}},
		{[]string{"jobs", "replay", "x"}, 1, []string{`"x" is not a job's id`}},
		{[]string{"jobs", "replay", "--account", "nobody"}, 0, []string{"0 jobs are due again"}},
		{[]string{"jobs", "replay"}, 0, []string{"1 jobs are due again"}},
		{[]string{"jobs", "forget"}, 2, []string{"list or replay was expected"}},
		{[]string{"jobs"}, 2, []string{"an argument is missing"}},
		{[]string{"regrade", "t"}, 0, []string{"0 calls of t"}},
		{[]string{"regrade", "x"}, 1, []string{"x"}},
	} {
		code, out := waihuDoes(t, append(x.args, "--data", data)...)
		if code != x.code {
			t.Errorf("%v: exit %d: %s", x.args, code, out)
		}
		for _, w := range x.want {
			if !strings.Contains(out, w) {
				t.Errorf("%v does not say %q: %s", x.args, w, out)
			}
		}
		if strings.Contains(out, "stack") {
			t.Errorf("%v shows a stack", x.args)
		}
	}
}

// TestReviewEndToEnd is a campaign over real SIP whose task names a quality check: the callees' words travel as sound, are recognised, reviewed by a
// model and summed up when the run ends.
func TestReviewEndToEnd(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	far := &speech.ChatServer{Script: func(_ int, r speech.ChatSeen) speech.ChatStep {
		all := ""
		for _, m := range r.Messages {
			all += m.Content
		}
		switch {
		case !strings.Contains(all, "通话记录"):
			return speech.ChatStep{Text: `{"summary":"两个客户都说完好。","suggestion":"结束"}`}
		case strings.Contains(all, "客户："):
			return speech.ChatStep{Text: `{"items":{"polite":{"answer":true,"confidence":1,"reason":"礼貌"}},"level":{"answer":"B","confidence":1,"reason":"一般"},"summary":"货物完好。","suggestion":""}`}
		}
		return speech.ChatStep{Status: 500}
	}}
	server := httptest.NewServer(far)
	t.Cleanup(server.Close)
	raw := strings.NewReplacer("$ACCOUNT", "acme", "$TOKEN", "acme-token", "$LINE", "sim", "$CAP", "5", "$RING", "8").Replace(demoResources) + `
models: [{id: far, url: "` + server.URL + `", model: m}]
quality_checks:
  - {id: 7, name: 意向, prompt: 看态度, items: [{id: polite, kind: llm, ask: 礼貌？}, {id: hello, kind: rule, check: "agent_said_within(15, ['您好']) and callee_talk > 0 and rounds > 0"}]}
`
	s := startServe(t, t.TempDir(), "--apply", writeFile(t, raw))
	client := &vendorClient{base: s.base, user: "acme", token: "acme-token"}
	var made struct {
		UUID string `json:"uuid"`
	}
	if err := client.do(ctx, "POST", "/agent-api/new/user/acme/task", map[string]any{
		"name": "质检", "destination_extension": "123", "dial_time_id": 1, "maximumcall": 5, "task_type": 7, "end_action": 1, "llm_intention_id": 7, "score_scheme_id": "none-of-ours",
		"task_extras": map[string]any{"start_time": "2024-01-01 00:00:00", "stop_time": "2099-01-01 00:00:00", "holiday": []any{}, "line": []any{map[string]any{"id": "sim", "limit": 5}}},
	}, &made); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any // 01 says that all is well, 03 is answered by nobody
	for _, n := range []string{"+99900000001", "+99900000101", "+99900000002"} {
		rows = append(rows, map[string]any{"number": n})
	}
	if err := client.addNumbers(ctx, made.UUID, rows); err != nil {
		t.Fatal(err)
	}
	if err := client.startTask(ctx, made.UUID); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "three numbers done", func() bool { _, done, _ := numbersOf(t, client, made.UUID); return done == 3 })
	reviewed := func() (said string) {
		_, body := getAs(t, s.base+"/api/v1/events?limit=1000", "acme-token")
		return body
	}
	eventually(t, time.Minute, "the run is reviewed", func() bool { return strings.Contains(reviewed(), string(waihu.EventRunReviewed)) })
	s.stop(t)
	st, err := openStore(ctx, config{Data: s.data}, noEnv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	calls, _, err := st.Calls(ctx, "acme", waihu.TaskID(made.UUID), store.CallFilter{Outcomes: []waihu.Disposition{waihu.Answered}})
	if err != nil || len(calls) != 2 {
		t.Fatalf("%d calls answered: %v", len(calls), err)
	}
	for _, c := range calls {
		v, err := st.Review(ctx, "acme", c.ID)
		if err != nil || v.Grade != "B" || v.GradeFrom != "quality_check 7" || v.Score == nil || *v.Score != 100 || v.Undecided() != 0 || len(c.Outcome.Facts) == 0 {
			t.Errorf("%+v %v; facts %s", v, err, c.Outcome.Facts)
		}
		if len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "score_scheme none-of-ours: there is none") {
			t.Errorf("notes %v", v.Notes)
		}
	}
	sum, err := st.TaskSummary(ctx, "acme", waihu.TaskID(made.UUID))
	if err != nil || sum.Summary != "两个客户都说完好。" || sum.Model != "far (m)" {
		t.Errorf("%+v %v", sum, err)
	}
	events, err := st.Events(ctx, "acme", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	n := map[waihu.EventKind]int{}
	for _, e := range events {
		if n[e.Kind]++; e.Kind == waihu.EventRunReviewed && n[waihu.EventCallReviewed] != 2 {
			t.Error("the run was summed up before its calls were reviewed")
		}
	}
	if n[waihu.EventCallReviewed] != 2 || n[waihu.EventRunReviewed] != 1 || n[waihu.EventRunEnded] != 1 {
		t.Errorf("%v", n)
	}
	for _, r := range far.Seen() {
		for _, m := range r.Messages {
			if strings.Contains(m.Content, "9990000") {
				t.Error("the model was told a phone number")
			}
		}
	}
}

func getAs(t *testing.T, url, token string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(r)
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
