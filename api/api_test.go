package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"waihu"
	"waihu/store"
)

type world struct {
	testing.TB
	*store.Store
	url  string
	dir  string // of the ledger
	task waihu.TaskID
}

// newWorld serves three accounts: main with its sub, and other; each has a token of its name.
func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{TB: t, Store: s, dir: dir}
	for _, a := range []waihu.Account{{ID: "main", Name: "main"}, {ID: "sub", Parent: "main", Name: "sub"}, {ID: "other", Name: "other"}} {
		w.must(s.UpsertAccount(t.Context(), a))
		w.must(s.AddToken(t.Context(), store.Token{Account: a.ID, Name: "t"}, string(a.ID)))
	}
	w.must(s.AddToken(t.Context(), store.Token{Account: "main", Name: "keyue", Scope: "keyue"}, "keyue"))
	spec := waihu.AgentSpec{ID: "agent", Account: "main", Name: "agent", Version: 1, Brain: waihu.BrainFlow,
		Flow: &waihu.FlowSpec{Start: "bye", Nodes: map[string]waihu.NodeSpec{"bye": {Say: "再见。", Do: []waihu.Action{{Kind: "hangup"}}}}}}
	w.must(s.SaveAgent(t.Context(), &spec))
	k := waihu.Task{Account: "main", Name: "task", Agent: "agent", Concurrency: 1}
	w.must(s.CreateTask(t.Context(), &k))
	w.task = k.ID
	server := httptest.NewServer(New(Options{Store: s, Doors: []string{"native", "yunfu"}, URL: func(url string) error {
		if strings.Contains(url, "private") {
			return fmt.Errorf("a private address")
		}
		return nil
	}}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) happen(n int) {
	w.Helper()
	for i := range n {
		_, err := w.AddNumbers(w.Context(), "main", w.task, []store.NewNumber{{Phone: waihu.PhoneNumber(fmt.Sprintf("138%08d", i))}})
		w.must(err)
	}
}

// do sends a request as an account and returns status and body.
func (w *world) do(token, method, path, body string) (int, string) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	w.must(err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(r)
	w.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	w.must(err)
	return res.StatusCode, string(raw)
}

// ok is do that must succeed; v is decoded strictly, so it has every field of the answer.
func (w *world) ok(method, path, body string, v any) {
	w.Helper()
	status, raw := w.do("main", method, path, body)
	if status > 299 {
		w.Fatalf("%s %s: %d %s", method, path, status, raw)
	}
	if v != nil {
		dec := json.NewDecoder(strings.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(v); err != nil {
			w.Fatalf("%s %s: %v: %s", method, path, err, raw)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(5)
	var page eventPage
	w.ok("GET", "/api/v1/events?after=2&limit=2", "", &page)
	if page.Last != 5 || len(page.Events) != 2 || page.Events[0].N != 3 || page.Events[0].TaskN != 3 || page.Events[0].Kind != waihu.EventNumbersAdded || !strings.Contains(string(page.Events[0].Data), `"added":1`) {
		t.Errorf("%+v", page)
	}
	if page.Next != 4 {
		t.Errorf("next is %d", page.Next)
	}
	for query, want := range map[string][3]int64{"task=" + string(w.task): {5, 5, 5}, "task=none": {0, 5, 5}, "kind=numbers.added,call.ended&limit=3": {3, 3, 5}, "kind=call.ended": {0, 5, 5},
		"after=5": {0, 5, 5}, "after=9": {0, 9, 5}} {
		var page eventPage
		w.ok("GET", "/api/v1/events?"+query, "", &page)
		if got := [3]int64{int64(len(page.Events)), page.Next, page.Last}; got != want {
			t.Errorf("%s: %v, %v was expected", query, got, want)
		}
	}
	for _, bad := range []string{"kind=call.end", "after=x", "after=-1", "limit=0", "limit=1001"} {
		if status, raw := w.do("main", "GET", "/api/v1/events?"+bad, ""); status != 422 {
			t.Errorf("%s: %d %s", bad, status, raw)
		}
	}
	w.ok("GET", "/api/v1/events?after=99&account=sub", "", &page)
	if page.Last != 0 || len(page.Events) != 0 {
		t.Errorf("%+v", page)
	}
}

func TestEndpointLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(3)
	var e endpoint
	w.ok("POST", "/api/v1/endpoints", `{"url":"https://example.com/a","kinds":["call.ended"],"authorization":"x"}`, &e)
	if _, err := waihu.WebhookKey(e.Secret); err != nil || !e.HasSecret || !e.HasAuthorization || e.Door != "native" || e.State != "ok" || e.Lag != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	path := fmt.Sprintf("/api/v1/endpoints/%d", e.ID)
	e = endpoint{}
	w.ok("GET", path, "", &e)
	if e.Secret != "" || !e.HasSecret || !slices.Equal(e.Kinds, []waihu.EventKind{"call.ended"}) || len(e.Cursors) != 2 {
		t.Errorf("%+v", e)
	}
	w.ok("PATCH", path, `{"url":"https://example.com/b","secret":"","remark":"r"}`, &e)
	if e.URL != "https://example.com/b" || e.HasSecret || !e.HasAuthorization || e.Remark != "r" {
		t.Errorf("%+v", e)
	}
	w.ok("POST", path+"/replay", `{"from":1}`, &e)
	if e.Lag != 3 {
		t.Errorf("%+v", e)
	}
	w.ok("POST", path+"/replay", `{"failed":true}`, &e)
	w.ok("POST", path+"/release", ``, &e)
	var failed failedPage
	w.ok("GET", path+"/failed", "", &failed)
	var black blackoutList
	w.ok("GET", "/api/v1/blackouts", "", &black)
	var list endpointList
	w.ok("GET", "/api/v1/endpoints", "", &list)
	if len(list.Endpoints) != 1 {
		t.Errorf("%+v", list)
	}
	var other endpoint
	w.ok("POST", "/api/v1/endpoints?account=sub", `{"url":"https://example.com/a","door":"yunfu"}`, &other)
	if other.HasSecret || other.Secret != "" {
		t.Errorf("a vendor's endpoint got a secret: %+v", other)
	}
	for body, field := range map[string]string{`{"url":"https://private/"}`: "url", `{"url":"x"}`: "url", `{"url":"https://a.com","door":"x"}`: "door", `{"url":"https://a.com","secret":"x"}`: "secret",
		`{"url":"https://a.com","kind":[]}`: "", `{"url":1}`: "url", `{`: "", `{}{}`: "", `{"url":"https://a.com","remark":"\u0000"}`: "", `{"url":"https://a.com","from":-1}`: "from"} {
		status, raw := w.do("main", "POST", "/api/v1/endpoints", body)
		var f errorBody
		if err := json.Unmarshal([]byte(raw), &f); err != nil || status != 422 || f.Error.Field != field || f.Error.Message == "" {
			t.Errorf("%s: %d %s", body, status, raw)
		}
	}
	for _, body := range []string{`{}`, `{"from":1,"failed":true}`, `{"from":100}`, `{"from":1,"of":"other"}`} {
		if status, raw := w.do("main", "POST", path+"/replay", body); status != 422 {
			t.Errorf("%s: %d %s", body, status, raw)
		}
	}
	w.ok("DELETE", path, "", nil)
	if status, _ := w.do("main", "GET", path, ""); status != 404 {
		t.Errorf("it is still there: %d", status)
	}
}

// TestTenancy walks every route with no token, wrong tokens and a stranger's.
func TestTenancy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(1)
	var e endpoint
	w.ok("POST", "/api/v1/endpoints", `{"url":"https://example.com/secret-path"}`, &e)
	walked := 0
	for _, r := range newServer(Options{Store: w.Store}).routes() {
		if r.open {
			continue
		}
		walked++
		path := strings.NewReplacer("{id}", fmt.Sprint(e.ID), "{task}", string(w.task)).Replace(r.path)
		nothing := regexp.MustCompile(`\{[a-z_]+\}`).ReplaceAllString(r.path, "999999")
		body := ""
		if r.says.Body != nil {
			body = `{"failed":true}`
			if r.method == "PATCH" {
				body = `{}`
			}
		}
		for _, token := range []string{"", "wrong", "keyue"} {
			if status, raw := w.do(token, r.method, path, body); status != 401 {
				t.Errorf("%s %s with %q: %d %s", r.method, path, token, status, raw)
			}
		}
		for _, q := range []string{"?account=main", "?account=nobody"} {
			if status, raw := w.do("other", r.method, path+q, body); status != 404 || strings.Contains(raw, "secret-path") {
				t.Errorf("%s %s%s of a stranger: %d %s", r.method, path, q, status, raw)
			}
		}
		if status, _ := w.do("sub", r.method, path+"?account=main", body); status != 404 {
			t.Errorf("%s %s: a sub-account reaches its main account: %d", r.method, path, status)
		}
		status, raw := w.do("other", r.method, path, body)
		if strings.Contains(raw, "secret-path") || strings.Contains(raw, string(w.task)) {
			t.Errorf("%s %s tells a stranger: %s", r.method, path, raw)
		}
		if path != r.path {
			absent, rawAbsent := w.do("other", r.method, nothing, body)
			if status != 404 || absent != 404 || len(raw)-len(path) > len(rawAbsent) {
				t.Errorf("%s %s: %d %s; what does not exist: %d %s", r.method, path, status, raw, absent, rawAbsent)
			}
		}
	}
	if walked < 9 {
		t.Errorf("only %d routes were walked", walked)
	}
	if st, err := w.Endpoint(t.Context(), "main", e.ID); err != nil || st.URL != "https://example.com/secret-path" {
		t.Errorf("%+v, %v", st, err)
	}
	for path, want := range map[string]int{"/api/v1/nothing": 404, "/api/v1/": 404} {
		if status, raw := w.do("main", "GET", path, ""); status != want || !strings.Contains(raw, `"error"`) {
			t.Errorf("%s: %d %s", path, status, raw)
		}
	}
	if status, raw := w.do("main", "PUT", "/api/v1/events", ""); status != 405 || !strings.Contains(raw, `"error"`) {
		t.Errorf("a method that is not there: %d %s", status, raw)
	}
}

// TestDocument holds the OpenAPI document against the table of routes and itself.
func TestDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, raw := w.do("", "GET", "/api/v1/openapi.json", "")
	if status != 200 {
		t.Fatalf("%d %s", status, raw)
	}
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal([]byte(raw), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Fatalf("%v, %q", err, doc.OpenAPI)
	}
	var inDoc, inTable []string
	ids := map[string]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			inDoc = append(inDoc, strings.ToUpper(method)+" "+path)
			id, _ := op["operationId"].(string)
			if id == "" || ids[id] || op["summary"] == "" || op["responses"] == nil {
				t.Errorf("%s %s: %v", method, path, op)
			}
			ids[id] = true
		}
	}
	for _, r := range newServer(Options{Store: w.Store}).routes() {
		inTable = append(inTable, r.method+" "+r.path)
		if r.handle == nil || !strings.HasPrefix(r.path, Prefix) {
			t.Errorf("%s %s cannot be served", r.method, r.path)
		}
	}
	slices.Sort(inDoc)
	slices.Sort(inTable)
	if !slices.Equal(inDoc, inTable) {
		t.Errorf("the document has\n%s\nthe table\n%s", strings.Join(inDoc, "\n"), strings.Join(inTable, "\n"))
	}
	for _, m := range regexp.MustCompile(`"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(raw, -1) {
		if doc.Components.Schemas[m[1]] == nil {
			t.Errorf("the schema %s is not there", m[1])
		}
	}
	// the schema of a type names the keys that the type is encoded with
	b, err := json.Marshal(endpoint{})
	w.must(err)
	var keys map[string]any
	w.must(json.Unmarshal(b, &keys))
	props, _ := doc.Components.Schemas["endpoint"]["properties"].(map[string]any)
	for k := range maps.Keys(keys) {
		if props[k] == nil {
			t.Errorf("the schema of an endpoint has no %s", k)
		}
	}
	if len(props) != reflect.TypeFor[endpoint]().NumField() {
		t.Errorf("the schema of an endpoint has %d properties", len(props))
	}
}
