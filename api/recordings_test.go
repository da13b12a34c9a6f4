package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
	"waihu/wrapup"
)

// after is a world whose task has a line, is dialled by hand, and whose calls have recordings.
type after struct {
	*world
	rec   *wrapup.Recordings
	o     Options
	now   time.Time // of the handler
	epoch int64
	n     int64
}

func newAfter(t testing.TB) *after {
	t.Helper()
	a := &after{world: newWorld(t), now: time.Now()}
	a.rec = wrapup.NewRecordings(wrapup.RecordingOptions{Store: a.Store, Folder: filepath.Join(t.TempDir(), "recordings")})
	a.must(a.UpsertLine(t.Context(), waihu.Line{ID: "l", Account: "main", Name: "l", Concurrency: 100, Trunk: waihu.Trunk{URI: "sim:"}}))
	k, err := a.Task(t.Context(), "main", a.task)
	a.must(err)
	k.Concurrency = 100
	a.must(a.UpdateTask(t.Context(), &k))
	a.epoch, err = a.TakeShard(t.Context(), 0, "test", time.Hour)
	a.must(err)
	a.o = Options{Store: a.Store, Recordings: a.rec.Open, Remove: a.rec.Remove, Now: func() time.Time { return a.now }}
	a.serve()
	return a
}

// serve serves with a.o as it is now.
func (a *after) serve() {
	server := httptest.NewServer(New(a.o))
	a.Cleanup(server.Close)
	a.url = server.URL
}

func (a *after) add(list ...store.NewNumber) {
	a.Helper()
	_, err := a.AddNumbers(a.Context(), "main", a.task, list)
	a.must(err)
}

func (a *after) start() {
	a.Helper()
	_, err := a.StartTask(a.Context(), "main", a.task)
	a.must(err)
}

// dial dials up to n numbers and books their calls as edit makes them; without edit they stay in progress.
func (a *after) dial(n int, edit func(*store.Booking)) []store.Dialled {
	a.Helper()
	k := &store.Tick{Epoch: a.epoch, Owner: "test", Now: time.Now(), NextCall: func() (waihu.CallID, bool) { a.n++; return waihu.NewCallID(0, a.epoch, a.n), true },
		Pops: []store.Pop{{Task: a.task, Account: "main", Run: 1, Order: waihu.PopInOrder, Fresh: true, Limit: n, Decide: func(p store.PoppedNumber) store.Decision {
			if p.Suppressed {
				return store.Decision{Outcome: waihu.Blacklisted}
			}
			return store.Decision{Dial: true, Line: "l", Agent: "agent"}
		}}}}
	res, err := a.Tick(a.Context(), k)
	a.must(err)
	if edit == nil {
		return res.Dials
	}
	k.Pops = nil
	for _, d := range res.Dials {
		b := store.Booking{LiveCall: d.LiveCall, Next: waihu.NumberDone, Outcome: &waihu.Outcome{Call: d.Call, Disposition: waihu.Answered, AnswerAt: d.StartedAt, EndAt: d.StartedAt.Add(3 * time.Second)}}
		edit(&b)
		k.Book = append(k.Book, b)
	}
	_, err = a.Tick(a.Context(), k)
	a.must(err)
	return res.Dials
}

// recorded gives a booking's call a recording.
func (a *after) recorded(b *store.Booking) {
	b.Outcome.Recording = "2026-01-02/" + b.Call.String() + ".wav"
	file := filepath.Join(a.rec.Folder, b.Outcome.Recording)
	a.must(os.MkdirAll(filepath.Dir(file), 0o700))
	a.must(os.WriteFile(file, []byte("RIFF0123456789"), 0o600))
}

func (a *after) get(token, url string, header ...string) (*http.Response, string) {
	a.Helper()
	r, err := http.NewRequestWithContext(a.Context(), "GET", url, nil)
	a.must(err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	a.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	a.must(err)
	return res, string(raw)
}

func TestRecordings(t *testing.T) {
	t.Parallel()
	a := newAfter(t)
	a.add(store.NewNumber{Phone: "13800000001"}, store.NewNumber{Phone: "13800000002"})
	a.start()
	dials := a.dial(2, func(b *store.Booking) {
		if b.Phone == "13800000001" {
			a.recorded(b)
		}
	})
	path := "/api/v1/calls/" + dials[0].Call.String() + "/recording"
	if res, body := a.get("main", a.url+path); res.StatusCode != 200 || body != "RIFF0123456789" || res.Header.Get("Content-Type") != "audio/wav" || res.Header.Get("ETag") != "" {
		t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
	}
	jobs, err := a.TakeJobs(t.Context(), store.JobKeepRecording, 9, time.Minute)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	a.must(a.rec.Handlers()[store.JobKeepRecording](t.Context(), jobs[0]))
	sum := sha256.Sum256([]byte("RIFF0123456789"))
	etag := `"` + hex.EncodeToString(sum[:]) + `"`
	if res, body := a.get("main", a.url+path, "Range", "bytes=4-7", "If-Range", etag); res.StatusCode != 206 || body != "0123" || res.Header.Get("ETag") != etag || !strings.HasPrefix(res.Header.Get("Repr-Digest"), "sha-256=:") {
		t.Errorf("a range: %d %q %v", res.StatusCode, body, res.Header)
	}
	if res, _ := a.get("main", a.url+path, "Range", "bytes=99-"); res.StatusCode != 416 {
		t.Errorf("a range outside: %d", res.StatusCode)
	}
	if res, _ := a.get("main", a.url+path, "If-None-Match", etag); res.StatusCode != 304 {
		t.Errorf("known already: %d", res.StatusCode)
	}
	for _, who := range []string{"other", "sub"} {
		for _, p := range []string{path, path + "/link"} {
			method := "GET"
			if strings.HasSuffix(p, "link") {
				method = "POST"
			}
			if status, _ := a.do(who, method, p, ""); status != 404 {
				t.Errorf("%s %s of %s: %d", method, p, who, status)
			}
		}
	}
	none := "/api/v1/calls/" + dials[1].Call.String() + "/recording"
	for _, p := range []string{none, "/api/v1/calls/x/recording", "/api/v1/calls/99/recording"} {
		if status, raw := a.do("main", "GET", p, ""); status != 404 {
			t.Errorf("%s: %d %s", p, status, raw)
		}
	}
	var l link
	for _, bad := range []string{`{"expires_in":-1}`, `{"expires_in":604801}`, `{"x":1}`} {
		if status, raw := a.do("main", "POST", path+"/link", bad); status != 422 {
			t.Errorf("%s: %d %s", bad, status, raw)
		}
	}
	a.ok("POST", path+"/link", "", &l)
	if !l.ExpiresAt.Equal(a.now.Add(24 * time.Hour)) {
		t.Errorf("%+v", l)
	}
	a.ok("POST", path+"/link", `{"expires_in":60}`, &l)
	if res, body := a.get("", l.URL, "Range", "bytes=0-3"); res.StatusCode != 206 || body != "RIFF" {
		t.Errorf("a link: %d %q", res.StatusCode, body)
	}
	broken := []byte(l.URL)
	broken[len(broken)-9] ^= 1
	for _, bad := range []string{string(broken), a.url + "/api/v1/recordings/x"} {
		if res, body := a.get("", bad); res.StatusCode != 404 {
			t.Errorf("%s: %d %q", bad, res.StatusCode, body)
		}
	}
	foreign, err := a.Link("yunfu voice", "main\n"+dials[0].Call.String(), time.Now().Add(time.Hour)) // of another door
	a.must(err)
	if res, _ := a.get("", a.url+"/api/v1/recordings/"+foreign); res.StatusCode != 404 {
		t.Errorf("another door's link: %d", res.StatusCode)
	}
	stale, err := a.Link(linkUse, "main\n"+dials[0].Call.String(), time.Now().Add(-time.Second))
	a.must(err)
	if res, _ := a.get("", a.url+"/api/v1/recordings/"+stale); res.StatusCode != 404 {
		t.Errorf("an expired link: %d", res.StatusCode)
	}
	a.o.Recordings = nil
	a.serve()
	if status, _ := a.do("main", "GET", path, ""); status != 404 {
		t.Errorf("without a store of recordings: %d", status)
	}
}

// TestPrivacy: retention and erasure reach the own accounts and nobody else's.
func TestPrivacy(t *testing.T) {
	t.Parallel()
	a := newAfter(t)
	a.add(store.NewNumber{Phone: "13800000001"}, store.NewNumber{Phone: "13800000002"})
	a.start()
	dials := a.dial(2, a.recorded)
	var r retention
	a.ok("GET", "/api/v1/retention", "", &r)
	if r != (retention{}) {
		t.Errorf("%+v", r)
	}
	a.ok("PUT", "/api/v1/retention", `{"calls":365,"transcripts":90,"recordings":30}`, nil)
	a.ok("GET", "/api/v1/retention?account=sub", "", &r)
	if r != (retention{365, 90, 30}) {
		t.Errorf("%+v", r)
	}
	for _, bad := range []string{`{"calls":-1}`, `{"calls":99999}`, `{"days":1}`} {
		if status, raw := a.do("main", "PUT", "/api/v1/retention", bad); status != 422 {
			t.Errorf("%s: %d %s", bad, status, raw)
		}
	}
	for _, bad := range []string{`{"number":""}`, `{"number":"abc"}`, `{"number":"123"}`, `{}`} {
		if status, raw := a.do("main", "POST", "/api/v1/erasures", bad); status != 422 {
			t.Errorf("%s: %d %s", bad, status, raw)
		}
	}
	compacted := 0
	a.o.Compact = func() error { compacted++; return nil }
	a.serve()
	var report store.EraseReport
	for _, q := range []string{"", "?account=sub"} {
		who := map[string]string{"": "other", "?account=sub": "main"}[q]
		if status, raw := a.do(who, "POST", "/api/v1/erasures"+q, `{"number":"+86 138-0000-0001"}`); status != 200 || !strings.Contains(raw, `"numbers":0`) {
			t.Errorf("%s: %d %s", who, status, raw)
		}
	}
	a.ok("POST", "/api/v1/erasures", `{"number":"+86 138-0000-0001"}`, &report)
	if report.Numbers != 1 || report.Calls != 1 || report.Recordings != 1 {
		t.Errorf("%+v", report)
	}
	if compacted != 3 { // once for each erasure
		t.Errorf("the journal of dialogs was rewritten %d times", compacted)
	}
	for i, want := range []int{404, 200} {
		if status, _ := a.do("main", "GET", fmt.Sprintf("/api/v1/calls/%s/recording", dials[i].Call), ""); status != want {
			t.Errorf("recording %d: %d", i, status)
		}
	}
}
