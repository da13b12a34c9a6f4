package keyue

import (
	"io"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
)

// open are the routes that ask for no headers, dialogue those that ask for the token alone.
var (
	open     = []string{v2 + "/task/file"}
	dialogue = regexp.MustCompile(`/core/v5/`)
)

// ledger is what a stranger must not change, as text.
func (w *world) ledger() string {
	w.Helper()
	return w.ok("GET", v3+"/agents?ps=1000", nil).raw + w.ok("GET", v2+"/task/openList?queryLevel=2&ps=1000", nil).raw
}

// TestTenancy walks every route with no headers, with each header wrong or missing, with other doors' and a stranger's
// keys, and with a stranger's key for what is ours: each is the failure's envelope, the same whether what is asked for
// exists or not, and nothing changes.
func TestTenancy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done := w.finish(w.upload(page, "faq.csv", []byte("q,a\n"), "", "", "Agentid", "123"))
	key, _ := done["filePath"].(string)
	w.ok("POST", v3+"/agents/offline", map[string]any{"agentId": "102"}) // so that nothing but the account stands against deleting it
	before := w.ledger()
	body := func(agent, file string) map[string]any {
		return map[string]any{"id": agent, "agentId": agent, "agentName": "偷", "fileKey": file, "category": "all"}
	}
	for _, route := range (&server{}).routes() {
		if slices.Contains(open, route.path) {
			continue
		}
		talks := dialogue.MatchString(route.path)
		for _, method := range route.methods {
			send := func(as headers, agent, file string) reply {
				if strings.HasSuffix(route.path, "_import") {
					return w.upload(as, "a.txt", []byte("x"), "", "", "Agentid", agent)
				}
				return w.do(as, method, route.path+"?queryLevel=1", body(agent, file), "Agentid", agent)
			}
			refusals := map[string]headers{
				"nobody": {}, "no token": {"", page.uid, page.username}, "a wrong token": {"wrong", page.uid, page.username},
				"another door's token": {"YUNFU_TOKEN", page.uid, page.username}, "the stranger's token": {other.token, page.uid, page.username},
			}
			if !talks {
				for name, h := range map[string]headers{"no uid": {page.token, "", page.username}, "no name": {page.token, page.uid, ""}, "a wrong uid": {page.token, other.uid, page.username},
					"a wrong name": {page.token, page.uid, other.username}, "another's pair": {page.token, other.uid, other.username}, "our pair": {other.token, page.uid, page.username},
					"the account's id": {page.token, mainAccount, page.username}, "a blank": {page.token, page.uid, " "}} {
					refusals[name] = h
				}
			} else {
				delete(refusals, "the stranger's token") // one more caller of a route that has nothing to give
			}
			for name, h := range refusals {
				r := send(h, "102", key)
				w.bad(r, denied)
				if r.status != 401 {
					t.Errorf("%s %s with %s: %d %s", method, route.path, name, r.status, r.raw)
				}
			}
			if talks {
				w.bad(send(page, "102", key), noDialogue, "不可用")
				continue
			}
			if strings.HasSuffix(route.path, "/agents") || strings.HasSuffix(route.path, "/create") {
				continue // the stranger sees and makes his own: below
			}
			theirs, nobodys := send(other, "102", key), send(other, "no-such-agent", "file/99999/x")
			byExternal := send(other, pageAgent, key)
			w.bad(theirs, notExist)
			for _, r := range []reply{nobodys, byExternal} {
				if r.msg != theirs.msg || r.status != theirs.status || r.code != theirs.code {
					t.Errorf("%s %s tells that it exists: %s, %s", method, route.path, theirs.raw, r.raw)
				}
			}
			if strings.Contains(theirs.raw, "话术102") {
				t.Errorf("%s %s tells a stranger %s", method, route.path, theirs.raw)
			}
		}
	}
	for _, query := range []string{"", "?key=", "?key=x"} {
		w.bad(w.do(page, "GET", v2+"/task/file"+query, nil), notExist)
	}
	made := w.do(other, "POST", v3+"/agents/create", map[string]any{"agentName": "回访助手"}) // names are the account's own
	w.good(made)
	for _, path := range []string{v3 + "/agents", v2 + "/task/openList?queryLevel=2", v2 + "/task/openList?queryLevel=1"} {
		r := w.do(other, "GET", path, nil)
		w.good(r)
		for _, secret := range []string{"话术", pageAgent, page.uid, "faq.csv", mainAccount} {
			if strings.Contains(r.raw, secret) {
				t.Errorf("%s tells a stranger %s", path, secret)
			}
		}
	}
	w.bad(w.do(page, "GET", v3+"/agents/detail?id="+made.text("id"), nil), notExist)
	w.work()
	if after := stripTime(w.ledger()); after != stripTime(before) {
		t.Errorf("strangers changed the ledger:\n%s\n%s", before, after)
	}
}

// stripTime takes out what differs between two answers that say the same: links are made anew.
func stripTime(text string) string {
	return regexp.MustCompile(`key=[\w-]+`).ReplaceAllString(text, "")
}

// TestBadInput sends what no client should to every route: a failure in the envelope, nothing changed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.ledger()
	for _, route := range (&server{}).routes() {
		if slices.Contains(open, route.path) {
			continue
		}
		for _, method := range route.methods {
			for name, text := range map[string]string{"cut JSON": `{"agentId":`, "a list": `[1,2]`, "a text": `"x"`, "two documents": `{}{}`, "bytes": "\x00\xff\xfe{", "too large": `{"agentId":"` + strings.Repeat("x", maxBody) + `"}`} {
				r := w.do(page, method, route.path, text)
				if r.status != 400 || r.code != paramFormat && r.code != paramCheck {
					t.Errorf("%s %s with %s: %d %.200s", method, route.path, name, r.status, r.raw)
				}
			}
			for name, value := range map[string]any{"an object": map[string]any{}, "a list": []int{1}, "a zero byte": "\x00", "too long": strings.Repeat("长", maxText+1)} {
				if method == "GET" || dialogue.MatchString(route.path) || strings.HasSuffix(route.path, "_import") {
					continue
				}
				r := w.do(page, method, route.path, map[string]any{"id": value, "agentId": value, "agentName": value, "fileKey": value, "category": value})
				if r.status != 400 || r.code != paramFormat && r.code != paramCheck {
					t.Errorf("%s %s with %s: %d %.200s", method, route.path, name, r.status, r.raw)
				}
			}
		}
	}
	r := httptest.NewRequest("POST", v3+"/agents/create", io.MultiReader(strings.NewReader(`{"agentName":"x"`), brokenReader{}))
	for name, value := range map[string]string{"token": page.token, "uid": page.uid, "username": page.username} {
		r.Header.Set(name, value)
	}
	w.bad(w.send(r), paramFormat, "未能完整读取")
	if after := w.ledger(); after != before {
		t.Errorf("bad input changed the ledger:\n%s\n%s", before, after)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestIdentity: what an account that keeps nothing for the door is called, names beyond ASCII, and missing types.
func TestIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.good(w.do(sub, "GET", v3+"/agents", nil))
	w.good(w.do(headers{other.token, other.uid, "%E5%88%AB%E4%BA%BA"}, "GET", v3+"/agents", nil))
	w.good(w.do(headers{"YOUR_TOKEN", page.uid, page.username}, "GET", v3+"/agents", nil)) // a token of every door
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
		if r := w.ok("POST", v2+"/task/create/agent_copy", `{"agentId":"`+pageAgent+`"}`, "Content-Type", contentType); r.text("agentId") != pageAgent {
			t.Errorf("%q: %s", contentType, r.raw)
		}
	}
	w.ok("POST", v2+"/task/create/agent_copy", "agentId="+pageAgent, "Content-Type", "application/x-www-form-urlencoded")
	broken := waihu.Account{ID: stranger, Name: "x", Doors: map[string][]byte{Door: []byte(`[]`)}}
	w.must(w.UpsertAccount(t.Context(), broken))
	if r := w.do(other, "GET", v3+"/agents", nil); r.status != 500 || r.code != internalFailed || strings.Contains(r.raw, "json") {
		t.Errorf("what cannot be read: %d %s", r.status, r.raw)
	}
}

// TestLimit: who asks too often is told when to come back; others are not.
func TestLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.PerSecond = 2 })
	for range 2 {
		w.ok("GET", v3+"/agents", nil)
	}
	r := w.do(page, "GET", v3+"/agents", nil)
	w.bad(r, tooMany)
	if r.status != 429 || r.header.Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q", r.status, r.header.Get("Retry-After"))
	}
	w.good(w.do(other, "GET", v3+"/agents", nil))
	w.now = w.now.Add(time.Second)
	w.ok("GET", v3+"/agents", nil)
}
