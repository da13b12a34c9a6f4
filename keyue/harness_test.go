package keyue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/resources"
	"waihu/store"
)

// The fixture's account, and what the vendor's page names.
const (
	mainAccount = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
	subAccount  = "876e5d57-fd76-4109-8b15-6726f1ec2dfa"
	stranger    = "0b9d1f6e-3c1a-4f0e-9a53-2d1f6f6f2a10"
	pageAgent   = "c24ce952-8355-457e-a997-51995167c0ae" // agent 9001

	v2 = "/open/v1/api/v2"
	v3 = "/open/v1/api/v3"
)

// headers are the three of a caller.
type headers struct{ token, uid, username string }

var (
	page  = headers{"7f3894e7-01d8-4e2e-88d0-ef437ffd3f63", "dd6283a283df42998bab14607e23f38d", "xxxxxxxx"}
	other = headers{"other-key", "other-uid", "别人"}
	sub   = headers{"sub-key", subAccount, "子账户一"} // an account that keeps nothing for this door
)

var clockNow = time.Date(2025, 6, 2, 10, 0, 0, 0, waihu.Location("")) // a Monday

// world is the door over a real store with the fixture applied.
type world struct {
	testing.TB
	*store.Store
	door http.Handler
	jobs map[string]waihu.Handle
	now  time.Time
	woke int
}

// fixture is the folder of a ledger with the fixture applied, made once: every world has a copy of its file.
var fixture = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "keyue-fixture-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	st, err := store.Open(ctx, store.Options{Dir: dir, Key: fixtureKey, Now: func() time.Time { return clockNow }})
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile("../resources/testdata/resources.yaml")
	if err == nil {
		_, err = resources.Apply(ctx, "resources.yaml", raw, resources.Options{Store: st, Check: agent.Check})
	}
	for _, f := range []func() error{
		func() error {
			return st.UpsertAccount(ctx, waihu.Account{ID: stranger, Name: "另一个租户", Doors: map[string][]byte{Door: []byte(`{"uid":"other-uid","username":"别人","tenant_id":"9"}`)}})
		},
		func() error {
			return st.AddToken(ctx, store.Token{Account: stranger, Name: "keyue", Scope: Door}, other.token)
		},
		func() error {
			return st.AddToken(ctx, store.Token{Account: subAccount, Name: "keyue", Scope: Door}, sub.token)
		},
		func() error {
			return st.AddToken(ctx, store.Token{Account: mainAccount, Name: "yunfu", Scope: "yunfu"}, "YUNFU_TOKEN")
		},
	} {
		if err == nil {
			err = f()
		}
	}
	if err := errors.Join(err, st.Close()); err != nil { // which leaves no log beside the file
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "waihu.db"))
})

var fixtureKey = bytes.Repeat([]byte{7}, store.KeySize)

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{TB: t, now: clockNow}
	now := func() time.Time { return w.now }
	file, err := fixture()
	w.must(err)
	dir := t.TempDir()
	w.must(os.WriteFile(filepath.Join(dir, "waihu.db"), file, 0o600))
	w.Store, err = store.Open(t.Context(), store.Options{Dir: dir, Key: fixtureKey, Now: now})
	w.must(err)
	t.Cleanup(func() { w.Store.Close() })
	o := Options{Store: w.Store, Check: agent.Check, Now: now, Wake: func() { w.woke++ }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&o)
	}
	w.door, w.jobs = New(o), Jobs(o)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// reply is an answer of the agent API.
type reply struct {
	status int
	code   int
	msg    string
	data   any
	body   map[string]any
	raw    string
	header http.Header
}

// at is a part of data by path: keys and indexes.
func (r reply) at(path ...any) any {
	v := r.data
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (r reply) text(path ...any) string {
	text, _ := r.at(path...).(string)
	return text
}

// do sends a request as a caller; body is nil, a text, or anything that JSON can encode.
func (w *world) do(as headers, method, path string, body any, more ...string) reply {
	w.Helper()
	var sent io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		sent = strings.NewReader(b)
	case io.Reader:
		sent = b
	default:
		raw, err := json.Marshal(b)
		w.must(err)
		sent = bytes.NewReader(raw)
	}
	r := httptest.NewRequest(method, path, sent)
	r.Header.Set("Content-Type", "application/json")
	for name, value := range map[string]string{"token": as.token, "uid": as.uid, "username": as.username} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	for i := 0; i+1 < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	return w.send(r)
}

func (w *world) send(r *http.Request) reply {
	w.Helper()
	rec := httptest.NewRecorder()
	w.door.ServeHTTP(rec, r)
	out := reply{status: rec.Code, raw: rec.Body.String(), header: rec.Header()}
	if !strings.HasPrefix(rec.Header().Get("Content-Type"), "application/json") {
		return out
	}
	object, err := decodeObject(rec.Body.Bytes())
	if err != nil {
		w.Fatalf("%s %s: not an envelope: %.200s", r.Method, r.URL, rec.Body)
	}
	out.body = object
	if n, ok := object["code"].(json.Number); ok {
		code, _ := n.Int64()
		out.code = int(code)
	}
	out.msg, _ = object["msg"].(string)
	out.data = object["data"]
	return out
}

// ok is do for a request of the page's caller that must succeed.
func (w *world) ok(method, path string, body any, more ...string) reply {
	w.Helper()
	r := w.do(page, method, path, body, more...)
	w.good(r)
	return r
}

// good checks the success's shape.
func (w *world) good(r reply) {
	w.Helper()
	_, timed := r.body["time"].(json.Number)
	if r.status != 200 || r.code != 200 || r.msg != "OK" || len(r.body) != 4 || !timed {
		w.Fatalf("%d %s, want the success's envelope", r.status, r.raw)
	}
}

// bad checks the failure's shape, its code, and that its message has all parts.
func (w *world) bad(r reply, code int, parts ...string) {
	w.Helper()
	id, _ := r.body["requestId"].(string)
	if r.code != code || r.status < 400 || len(r.body) != 4 || r.body["tip"] != "" || len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		w.Errorf("%d %s, want the failure's envelope with %d", r.status, r.raw, code)
	}
	for _, part := range parts {
		if !strings.Contains(r.msg, part) {
			w.Errorf("%q does not say %q", r.msg, part)
		}
	}
}

// work does every job that waits.
func (w *world) work() {
	w.Helper()
	for again := true; again; {
		again = false
		for kind, handle := range w.jobs {
			jobs, err := w.TakeJobs(w.Context(), kind, 100, time.Minute)
			w.must(err)
			for _, j := range jobs {
				w.must(handle(w.Context(), j))
				w.must(w.FinishJob(w.Context(), j.ID))
				again = true
			}
		}
	}
}

// task is an asynchronous task as openList has it.
func (w *world) task(as headers, id string) map[string]any {
	w.Helper()
	r := w.do(as, "GET", v2+"/task/openList?queryLevel=2&ps=1000", nil)
	w.good(r)
	list, _ := r.at("taskList").([]any)
	for _, v := range list {
		if t := v.(map[string]any); t["id"] == id {
			return t
		}
	}
	w.Fatalf("task %s is not in %s", id, r.raw)
	return nil
}

// finish begins an asynchronous task, works it and returns it as it then is.
func (w *world) finish(r reply) map[string]any {
	w.Helper()
	w.good(r)
	w.work()
	return w.task(page, r.text("id"))
}
