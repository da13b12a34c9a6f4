package voicefox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/resources"
	"waihu/store"
	"waihu/wrapup"
)

const (
	mainUser  = waihu.AccountID("5832d184-dd53-42a0-8ace-0bf8d660f4cc")
	otherUser = waihu.AccountID("0b9d1f6e-3c1a-4f0e-9a53-2d1f6f6f2a10")
	subUser   = waihu.AccountID("876e5d57-fd76-4109-8b15-6726f1ec2dfa")
	taskID    = waihu.TaskID("f232d184-dd54-42a0-8ace-0bf8d660f4cc") // serial 1
	lineMain  = waihu.LineID("d47c3599-f166-4cd0-999c-f60e46814d26")

	token      = "YOUR_TOKEN"
	otherToken = "STRANGER_TOKEN"
	subToken   = "SUB_TOKEN"
)

var clockNow = time.Date(2025, 6, 2, 10, 0, 0, 0, waihu.Location("")) // a Monday

type object = map[string]any

// world is the door over a real store with the vendor's resources.
type world struct {
	testing.TB
	*store.Store
	door       http.Handler
	o          Options
	now        time.Time
	recordings string
	epoch      int64
	calls      int64
	problems   []waihu.Problem
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{TB: t, recordings: t.TempDir(), now: clockNow}
	now := func() time.Time { return w.now }
	var err error
	w.Store, err = store.Open(t.Context(), store.Options{Dir: t.TempDir(), Key: bytes.Repeat([]byte{7}, store.KeySize), Now: now})
	w.must(err)
	t.Cleanup(func() { w.Store.Close() })
	raw, err := os.ReadFile("../resources/testdata/resources.yaml")
	w.must(err)
	_, err = resources.Apply(t.Context(), "resources.yaml", raw, resources.Options{Store: w.Store})
	w.must(err)
	w.must(w.AddToken(t.Context(), store.Token{Account: subUser, Name: "sub"}, subToken))
	w.must(w.AddToken(t.Context(), store.Token{Account: mainUser, Name: "other door", Scope: "keyue"}, "KEYUE_TOKEN"))
	w.must(w.SaveAgent(t.Context(), &waihu.AgentSpec{ID: "700", Account: otherUser, Name: "别人的助手", Brain: waihu.BrainFlow}))
	w.o = Options{Store: w.Store, Recordings: wrapup.Folder(w.recordings).Open, Now: now, Public: "https://calls.example.com/",
		Log:       slog.New(slog.NewTextHandler(t.Output(), nil)),
		Preflight: func(context.Context, waihu.Task) []waihu.Problem { return w.problems }}
	for _, f := range change {
		f(&w.o)
	}
	w.door = New(w.o)
	w.epoch, err = w.TakeShard(t.Context(), 0, "test", 24*time.Hour)
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// reply is an answer.
type reply struct {
	code   int
	raw    string
	body   any
	header http.Header
}

// at is a part of the body by path: keys and indexes.
func (r reply) at(path ...any) any {
	v := r.body
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(object)
			if !ok {
				return "no object at " + p
			}
			v = m[p]
		case int:
			l, ok := v.([]any)
			if !ok || p >= len(l) {
				return "no such index"
			}
			v = l[p]
		}
	}
	return v
}

func (r reply) number(path ...any) int64 {
	n, ok := r.at(path...).(json.Number)
	if !ok {
		return -1
	}
	v, _ := n.Int64()
	return v
}

func (r reply) text(path ...any) string { s, _ := r.at(path...).(string); return s }

// as sends a request; body is nil, a text, or anything that JSON can encode.
func (w *world) as(secret, method, path string, body any) reply {
	w.Helper()
	var text string
	switch b := body.(type) {
	case nil:
	case string:
		text = b
	default:
		raw, err := json.Marshal(b)
		w.must(err)
		text = string(raw)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	return w.send(r)
}

func (w *world) send(r *http.Request) reply {
	w.Helper()
	rec := httptest.NewRecorder()
	w.door.ServeHTTP(rec, r)
	out := reply{code: rec.Code, raw: rec.Body.String(), header: rec.Header()}
	if strings.HasPrefix(rec.Header().Get("Content-Type"), "application/json") {
		out.body = tree(w, rec.Body.Bytes())
	}
	return out
}

func tree(t testing.TB, raw []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %.200s", err, raw)
	}
	return v
}

// ok sends a request that must succeed.
func (w *world) ok(method, path string, body any) reply {
	w.Helper()
	r := w.as(token, method, path, body)
	if r.code != http.StatusOK {
		w.Fatalf("%s %s: %d %s", method, path, r.code, r.raw)
	}
	return r
}

// bad holds that a reply is an error of that status whose message has the words.
func (w *world) bad(r reply, status int, words ...string) {
	w.Helper()
	m, ok := r.body.(object)
	if r.code != status || !ok || len(m) != 2 || r.number("code") != int64(status) || r.text("message") == "" {
		w.Errorf("%d %s, want an error %d", r.code, r.raw, status)
	}
	for _, word := range words {
		if !strings.Contains(r.text("message"), word) {
			w.Errorf("the error %q says nothing of %q", r.text("message"), word)
		}
	}
}

// upload sends a file as a form.
func (w *world) upload(secret, path, name, content string) reply {
	w.Helper()
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	part, err := form.CreateFormFile("file", name)
	w.must(err)
	_, err = part.Write([]byte(content))
	w.must(err)
	w.must(form.Close())
	r := httptest.NewRequest("POST", path, &b)
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Authorization", "Bearer "+secret)
	return w.send(r)
}

// body is a task's that is made without a word of ours beyond what it must say.
func body(change ...any) object {
	b := object{"name": "回访", "assistantVid": 1, "category": "assistant", "option": object{
		"numberFileMeta": object{"号码": 0}, "numbers": []int{1}, "startDate": "2025-06-02", "startTime": [][]string{{"00:00", "24:00"}}, "retryCount": 0, "retryInterval": 60}}
	for i := 0; i+1 < len(change); i += 2 {
		if key, in := strings.CutPrefix(change[i].(string), "option."); in {
			b["option"].(object)[key] = change[i+1]
		} else {
			b[key] = change[i+1]
		}
	}
	return b
}

// numbers adds numbers to a task.
func (w *world) numbers(id waihu.TaskID, phones ...waihu.PhoneNumber) {
	w.Helper()
	var list []store.NewNumber
	for _, p := range phones {
		list = append(list, store.NewNumber{Key: string(p), Phone: p, Data: waihu.NumberData{Vars: map[string]string{"姓名": "张三", "name": "张三", "城市": "上海"}}})
	}
	_, err := w.AddNumbers(w.Context(), mainUser, id, list)
	w.must(err)
}

// dial starts the task and calls as many numbers as there are outcomes; nil stays in progress.
func (w *world) dial(id waihu.TaskID, outcomes ...*waihu.Outcome) []store.LiveCall {
	w.Helper()
	run, err := w.StartTask(w.Context(), mainUser, id)
	w.must(err)
	k, err := w.Task(w.Context(), mainUser, id)
	w.must(err)
	spec, err := w.TaskAgent(w.Context(), &k, k.Agent)
	w.must(err)
	r, err := w.Tick(w.Context(), &store.Tick{Epoch: w.epoch, Owner: "test", Now: w.now,
		NextCall: func() (waihu.CallID, bool) { w.calls++; return waihu.NewCallID(0, w.epoch, w.calls), true },
		Pops: []store.Pop{{Task: id, Account: mainUser, Run: run.N, Order: waihu.PopInOrder, Fresh: true, Due: true, Limit: len(outcomes),
			Decide: func(store.PoppedNumber) store.Decision {
				return store.Decision{Dial: true, Line: lineMain, Agent: k.Agent, Version: spec.VersionID, Node: "test"}
			}}}})
	w.must(err)
	if len(r.Dials) != len(outcomes) {
		w.Fatalf("dialled %d, want %d", len(r.Dials), len(outcomes))
	}
	var calls []store.LiveCall
	var book []store.Booking
	for i, d := range r.Dials {
		calls = append(calls, d.LiveCall)
		if o := outcomes[i]; o != nil {
			o.Call = d.Call
			book = append(book, store.Booking{LiveCall: d.LiveCall, Outcome: o, Next: waihu.NumberDone, Review: spec.LLM != nil && len(spec.LLM.Collect) > 0, AgentVersion: spec.VersionID})
		}
	}
	_, err = w.Tick(w.Context(), &store.Tick{Epoch: w.epoch, Owner: "test", Now: w.now.Add(time.Minute), Book: book})
	w.must(err)
	return calls
}

// answered is a call of 30 s with a conversation and a recording.
func (w *world) answered() *waihu.Outcome {
	w.Helper()
	name := fmt.Sprintf("%d.wav", w.calls)
	w.must(os.WriteFile(filepath.Join(w.recordings, name), []byte("RIFFsound"), 0o600))
	return &waihu.Outcome{Disposition: waihu.Answered, HangupBy: waihu.ByCallee, Caller: "02160001000", Recording: name,
		InviteAt: w.now, RingAt: w.now.Add(time.Second), AnswerAt: w.now.Add(5 * time.Second), EndAt: w.now.Add(35 * time.Second),
		Transcript: []waihu.Turn{{Who: "agent", Text: "您好", ToMS: 1500}, {Who: "callee", Text: "完好", Intent: "fine", FromMS: 2000, ToMS: 2600},
			{Who: "callee", Text: "完", Partial: true}, {Who: "agent", Text: "再见", FromMS: 3000, ToMS: 4000}}}
}

func (w *world) unanswered(d waihu.Disposition) *waihu.Outcome {
	return &waihu.Outcome{Disposition: d, HangupBy: waihu.BySystem, InviteAt: w.now, EndAt: w.now.Add(10 * time.Second)}
}

// sameShape compares an answer with a sample of the vendor's: the same keys, no other, and the same types. Lists of the sample have
// one element, which all of got's must be like.
func sameShape(t testing.TB, where string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case object:
		g, ok := got.(object)
		if !ok {
			t.Errorf("%s is %v, want an object", where, got)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if _, ok := g[key]; !ok {
				t.Errorf("%s lacks %s", where, key)
				continue
			}
			sameShape(t, where+"."+key, want[key], g[key])
		}
		for key := range g {
			if _, ok := want[key]; !ok {
				t.Errorf("%s has %s, which the sample has not", where, key)
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			t.Errorf("%s is %v, want a list", where, got)
			return
		}
		for i, v := range g {
			sameShape(t, fmt.Sprintf("%s[%d]", where, i), want[0], v)
		}
	case nil:
		if got != nil {
			t.Errorf("%s is %v, want null", where, got)
		}
	case json.Number:
		n, ok := got.(json.Number)
		if _, err := n.Int64(); !ok || err != nil {
			t.Errorf("%s is %v, want an integer", where, got)
		}
	default:
		if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
			t.Errorf("%s is %v (%T), want a %T", where, got, got, want)
		}
	}
}
