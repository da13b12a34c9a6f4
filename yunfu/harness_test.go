package yunfu

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
	"waihu/wrapup"
)

// The resources that the vendor's examples name.
const (
	mainUser  = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
	subUser   = "876e5d57-fd76-4109-8b15-6726f1ec2dfa"
	otherUser = "0b9d1f6e-3c1a-4f0e-9a53-2d1f6f6f2a10"
	lineMain  = "d47c3599-f166-4cd0-999c-f60e46814d26" // 20 channels
	lineOne   = "29c39ec4-b292-4af9-a88b-922d61866aag" // 1 channel
	lineSub   = "29c39ec4-b292-4af9-a88b-922d61866sub" // 1 channel
	lineOther = "other-line"
	taskID    = "f232d184-dd54-42a0-8ace-0bf8d660f4cc"

	token      = "YOUR_TOKEN"
	otherToken = "STRANGER_TOKEN"
	subToken   = "SUB_TOKEN"

	new2 = "/agent-api/new/user/" + mainUser
	old1 = "/agent-api/user/" + mainUser
)

var clockNow = time.Date(2025, 6, 2, 10, 0, 0, 0, waihu.Location("")) // a Monday

// world is the door over a real store with the vendor's resources.
type world struct {
	testing.TB
	*store.Store
	door       http.Handler
	jobs       map[string]waihu.Handle
	recordings string
	epoch      int64
	calls      int64
	problems   []waihu.Problem
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{TB: t, recordings: t.TempDir()}
	now := func() time.Time { return clockNow }
	var err error
	w.Store, err = store.Open(t.Context(), store.Options{Dir: t.TempDir(), Key: bytes.Repeat([]byte{7}, store.KeySize), Now: now})
	w.must(err)
	t.Cleanup(func() { w.Store.Close() })
	ctx := t.Context()
	for _, a := range []waihu.Account{{ID: mainUser, Name: "测试主账户"}, {ID: subUser, Parent: mainUser, Name: "子账户一"}, {ID: otherUser, Name: "另一个租户"}} {
		w.must(w.UpsertAccount(ctx, a))
	}
	w.must(w.AddToken(ctx, store.Token{Account: mainUser, Name: "integration"}, token))
	w.must(w.AddToken(ctx, store.Token{Account: otherUser, Name: "stranger"}, otherToken))
	w.must(w.AddToken(ctx, store.Token{Account: subUser, Name: "sub"}, subToken))
	w.must(w.AddToken(ctx, store.Token{Account: mainUser, Name: "other door", Scope: "keyue"}, "KEYUE_TOKEN"))
	expires := time.Date(2036, 11, 28, 0, 0, 0, 0, waihu.Location(""))
	for _, l := range []waihu.Line{
		{ID: lineMain, Account: mainUser, Name: "主线路", Node: "fs-node1", Concurrency: 20, CPS: 10, Expires: expires},
		{ID: lineOne, Account: mainUser, Name: "修改线路测试1111", Remark: "yw代理-测试主账户1", Node: "fs-node1", Concurrency: 1, Expires: expires},
		{ID: lineSub, Account: mainUser, Name: "线路sub", Remark: "子线路", Concurrency: 1},
		{ID: "expired", Account: mainUser, Name: "过期", Concurrency: 5, Expires: clockNow.Add(-time.Hour)},
		{ID: lineOther, Account: otherUser, Name: "别人的线路", Concurrency: 5},
	} {
		l.Trunk.URI = "sip:127.0.0.1:5080"
		w.must(w.UpsertLine(ctx, l))
	}
	var day, all waihu.Weekly
	for i := range day {
		day[i] = []waihu.Span{{From: 540, To: 720}, {From: 780, To: 1080}}
		all[i] = []waihu.Span{{From: 0, To: 1440}}
	}
	for _, h := range []waihu.CallingHours{{ID: 1, Name: "系统呼叫时间", Default: true, Weekly: day}, {ID: 5, Name: "全天", Weekly: all}, {ID: 123, Name: "全天二", Weekly: all}} {
		h.Account = mainUser
		w.must(w.SaveCallingHours(ctx, &h))
	}
	w.must(w.SaveCallingHours(ctx, &waihu.CallingHours{ID: 900, Account: otherUser, Name: "别人的", Weekly: all}))
	for _, n := range []waihu.Named{{Kind: waihu.Background, ID: 25, Name: "办公室"}, {Kind: waihu.Background, ID: 34, Name: "超市大厅"},
		{Kind: waihu.Background, ID: 52, Name: "街道"}, {Kind: waihu.Background, ID: 123, Name: "呼叫中心"},
		{Kind: waihu.BridgeGroup, ID: 1, Name: "转人工", Data: []byte(`{"strategy":"even"}`)}, {Kind: waihu.QualityCheck, ID: 1, Name: "质检条件1"}} {
		n.Account = mainUser
		w.must(w.SaveNamed(ctx, &n))
	}
	for _, r := range []waihu.RedialRule{{ID: 1, Name: "默认重呼规则", Default: true, Details: []waihu.RedialDetail{{On: waihu.PoweredOff}}},
		{ID: 15486, Name: "重呼规则15486", Details: []waihu.RedialDetail{{On: waihu.NoAnswer, After: time.Hour}}}} {
		r.Account = mainUser
		w.must(w.SaveRedialRule(ctx, &r))
	}
	for _, id := range []waihu.AgentID{"123", "1", "102", "297", "10", "11", "12", "13037", "13601", "13716", "215870475195883520", "9001", "named"} {
		a := waihu.AgentSpec{ID: id, Account: mainUser, Name: "话术" + string(id), Brain: waihu.BrainFlow}
		if id == "1" {
			a.Vendor = map[string]map[string]any{Door: {"debug": true, "exclusive_asr": "aliYun1", "speed": 60, "unknown": 1}}
		}
		w.must(w.SaveAgent(ctx, &a))
	}
	w.must(w.SaveAgent(ctx, &waihu.AgentSpec{ID: "700", Account: otherUser, Name: "别人的话术", Brain: waihu.BrainFlow}))
	w.must(w.CreateTask(ctx, &waihu.Task{ID: taskID, Account: mainUser, Name: "测试任务", Agent: "123", HoursID: 123, Weekly: all, Concurrency: 2,
		Lines: []waihu.TaskLine{{Line: lineMain, Limit: 2}}, Start: clockNow.AddDate(-1, 0, 0), Stop: clockNow.AddDate(10, 0, 0)}))
	o := Options{Store: w.Store, Recordings: wrapup.Folder(w.recordings).Open, Now: now,
		Preflight: func(context.Context, waihu.Task) []waihu.Problem { return w.problems }}
	for _, f := range change {
		f(&o)
	}
	w.door, w.jobs = New(o), Jobs(o)
	w.epoch, err = w.TakeShard(ctx, 0, "test", 24*time.Hour)
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// reply is an answer in the envelope.
type reply struct {
	http    int
	code    int
	status  string
	message string
	data    any
	hasData bool
	meta    map[string]any
	raw     string
	header  http.Header
}

// object is a part of data by path: keys and indexes.
func (r reply) at(path ...any) any {
	v := r.data
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(map[string]any)
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

// do sends a request; body is nil, a text, or anything that JSON can encode.
func (w *world) do(method, path string, body any) reply {
	w.Helper()
	return w.as(token, method, path, body)
}

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
	out := reply{http: rec.Code, raw: rec.Body.String(), header: rec.Header()}
	if !strings.HasPrefix(rec.Header().Get("Content-Type"), "application/json") {
		return out
	}
	v, err := decodeJSON(rec.Body.Bytes())
	object, ok := v.(map[string]any)
	if err != nil || !ok {
		w.Fatalf("%s %s: not an envelope: %.200s", r.Method, r.URL, rec.Body)
	}
	number, _ := object["code"].(json.Number) // none in a bare answer
	code, _ := number.Int64()
	out.code = int(code)
	out.status, _ = object["status"].(string)
	out.message, _ = object["message"].(string)
	out.data, out.hasData = object["data"]
	out.meta, _ = object["meta"].(map[string]any)
	return out
}

// ok is do for a request that must succeed.
func (w *world) ok(method, path string, body any) reply {
	w.Helper()
	r := w.do(method, path, body)
	if r.http != 200 || r.code != 200 || r.status != "success" {
		w.Fatalf("%s %s: %d %s", method, path, r.http, r.raw)
	}
	return r
}

// bad checks an error envelope whose message has all parts.
func (w *world) bad(r reply, code int, parts ...string) {
	w.Helper()
	list, isList := r.data.([]any)
	if r.code != code || r.status != "error" || !isList || len(list) != 0 || code != 6007 && r.http != code {
		w.Errorf("got %d %s, want the error envelope with %d", r.http, r.raw, code)
	}
	for _, part := range parts {
		if !strings.Contains(r.message, part) {
			w.Errorf("message %q does not say %q", r.message, part)
		}
	}
}

// body is the smallest body of create with changes: "task_extras.x" goes inside, a nil removes.
func body(changes ...any) map[string]any {
	extras := map[string]any{"start_time": "2024-12-23 19:00:00", "stop_time": "2036-12-25 23:59:59", "line": []any{}, "holiday": []any{}, "pop_mode": 1}
	b := map[string]any{"name": "任务", "destination_extension": 123, "dial_time_id": 123, "maximumcall": 2, "task_extras": extras}
	for i := 0; i < len(changes); i += 2 {
		at, name := b, changes[i].(string)
		if inner, ok := strings.CutPrefix(name, "task_extras."); ok {
			at, name = extras, inner
		}
		if at[name] = changes[i+1]; changes[i+1] == nil {
			delete(at, name)
		}
	}
	return b
}

// create makes a task by the door and returns it as the ledger has it.
func (w *world) create(changes ...any) waihu.Task {
	w.Helper()
	r := w.ok("POST", new2+"/task", body(changes...))
	id, _ := r.at("uuid").(string)
	t, err := w.Task(w.Context(), mainUser, waihu.TaskID(id))
	w.must(err)
	return t
}

// dial starts the task, dials n of its numbers and books each with an outcome; a nil outcome stays live.
func (w *world) dial(task waihu.TaskID, outcomes ...*waihu.Outcome) []store.LiveCall {
	w.Helper()
	return w.dialAs(mainUser, task, outcomes...)
}

func (w *world) dialAs(account waihu.AccountID, task waihu.TaskID, outcomes ...*waihu.Outcome) []store.LiveCall {
	w.Helper()
	run, err := w.StartTask(w.Context(), account, task)
	w.must(err)
	next := func() (waihu.CallID, bool) { w.calls++; return waihu.NewCallID(0, w.epoch, w.calls), true }
	r, err := w.Tick(w.Context(), &store.Tick{Epoch: w.epoch, Owner: "test", Now: clockNow, NextCall: next, Pops: []store.Pop{{Task: task, Account: account,
		Run: run.N, Order: waihu.PopInOrder, Fresh: true, Due: true, Limit: len(outcomes),
		Decide: func(store.PoppedNumber) store.Decision {
			return store.Decision{Dial: true, Line: lineMain, Agent: "123"}
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
			book = append(book, store.Booking{LiveCall: d.LiveCall, Outcome: o, Next: waihu.NumberDone})
		}
	}
	w.book(book...)
	return calls
}

func (w *world) book(list ...store.Booking) {
	w.Helper()
	_, err := w.Tick(w.Context(), &store.Tick{Epoch: w.epoch, Owner: "test", Now: clockNow.Add(time.Minute), Book: list})
	w.must(err)
}

// answered is a call of 30 s with a conversation.
func answered(grade string) *waihu.Outcome {
	return &waihu.Outcome{Disposition: waihu.Answered, HangupBy: waihu.ByCallee, Caller: "02160001000", Grade: grade, Tags: []string{"完好"},
		InviteAt: clockNow, AnswerAt: clockNow.Add(5 * time.Second), EndAt: clockNow.Add(35 * time.Second),
		Transcript: []waihu.Turn{{Who: "agent", Text: "您好", Node: "ask", ToMS: 1500}, {Who: "callee", Text: "完好", Intent: "fine", FromMS: 2000, ToMS: 2600},
			{Who: "agent", Text: "再见", Node: "bye", FromMS: 3000, ToMS: 4000}}}
}

func ended(d waihu.Disposition) *waihu.Outcome {
	return &waihu.Outcome{Disposition: d, InviteAt: clockNow, EndAt: clockNow.Add(10 * time.Second)}
}

// numbers imports phones by the door.
func (w *world) numbers(task waihu.TaskID, phones ...string) {
	w.Helper()
	var rows []any
	for _, p := range phones {
		rows = append(rows, map[string]any{"phone": p})
	}
	w.ok("POST", old1+"/task/"+string(task)+"/number", map[string]any{"data": rows})
}

// within says whether every part of want is in got: objects by key, lists by index, numbers by value.
func within(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		for k, v := range want {
			if !ok || !within(v, g[k]) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(want) {
			return false
		}
		for i := range want {
			if !within(want[i], g[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(want, got)
}

// tree is any value as decodeJSON would give it.
func tree(t testing.TB, v any) any {
	t.Helper()
	raw, ok := v.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	out, err := decodeJSON(raw)
	if err != nil {
		t.Fatalf("%v in %.200s", err, raw)
	}
	return out
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }
