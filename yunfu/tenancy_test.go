package yunfu

import (
	"io"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"waihu"
)

// TestTenancy walks every route with no token, wrong tokens, a stranger's token and a stranger's ids: each is
// the envelope's 401, 403 or 404, the same whether what is asked for exists or not, and nothing changes.
func TestTenancy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.numbers(taskID, "13800000001", "13800000002")
	call := w.dial(taskID, answered("A"))[0].Call.String()
	w.must(w.StopTask(t.Context(), mainUser, taskID))
	batch, _ := w.ok("POST", old1+"/task/"+taskID+"/async_number", body("data", []any{object{"phone": "13800000003"}})).at("unique_id").(string)
	before := w.ledger()
	for _, route := range (&server{}).routes() {
		for _, method := range route.methods {
			fill := func(user, task, record string) string {
				return strings.NewReplacer("{user_id}", user, "{task_id}", task, "{record_id}", record, "{phone}", "13800000001", "{sub_user_id}", subUser,
					"{group_id}", "123", "{tenant_id}", "node", "{unique_id}", batch, "{type}", "clue", "{line_id}", lineMain, "{id}", "999").Replace(route.path)
			}
			send := func(secret, path string, want int) string {
				t.Helper()
				r := w.as(secret, method, path, body("data", []any{object{"phone": "13800000009"}}, "customer_info_list", []any{object{"phone": "13800000001"}}))
				w.bad(r, want)
				if r.http != want {
					t.Errorf("%s %s with %q: %d %s", method, path, secret, r.http, r.raw)
				}
				return r.raw
			}
			mine := fill(mainUser, taskID, call)
			send("", mine, 401)
			send("wrong", mine, 401)
			send("KEYUE_TOKEN", mine, 401)
			if !strings.Contains(route.path, "{user_id}") { // the token alone says whose: a stranger sees his own
				send(token, mine+"?sub_user_id="+otherUser, 403)
				send(otherToken, mine+"?sub_user_id="+mainUser, 403)
				r := w.as(otherToken, method, mine, nil)
				if method == "GET" && r.http != 200 {
					t.Errorf("%s %s with the stranger's token: %d %s", method, mine, r.http, r.raw)
				}
				want := 422 // an empty body lacks what it needs
				if strings.Contains(route.path, "{id}") {
					want = 404
				}
				if method != "GET" && r.http != want {
					t.Errorf("%s %s with the stranger's token: %d %s", method, mine, r.http, r.raw)
				}
				for _, secret := range []string{mainUser, subUser, lineMain, "话术123", "主账户"} {
					if strings.Contains(r.raw, secret) {
						t.Errorf("%s %s tells a stranger %s", method, mine, secret)
					}
				}
				continue
			}
			foreign := send(otherToken, mine, 403)
			send(subToken, mine, 403) // a sub-account does not reach its main account
			if nobody := send(otherToken, fill("nobody", taskID, call), 403); nobody != foreign {
				t.Errorf("%s %s tells that the account exists: %s, %s", method, route.path, foreign, nobody)
			}
			if a, b := send(token, mine+"?sub_user_id="+otherUser, 403), send(token, mine+"?sub_user_id=nobody", 403); a != b || a != foreign {
				t.Errorf("%s %s tells of a sub-account: %s, %s", method, route.path, a, b)
			}
			send(otherToken, fill(otherUser, taskID, call)+"?sub_user_id="+mainUser, 403)
			send(token, fill(subUser, taskID, call)+"?sub_user_id="+mainUser, 403) // no sub-account of that one
			if strings.Contains(route.path, "{task_id}") {
				if a, b := send(otherToken, fill(otherUser, taskID, call), 404), send(otherToken, fill(otherUser, "nothing", call), 404); a != b {
					t.Errorf("%s %s tells that the task exists: %s, %s", method, route.path, a, b)
				}
				send(token, fill(subUser, taskID, call), 404) // a sub-account is not its main account
				send(token, fill(mainUser, taskID, call)+"?sub_user_id="+subUser, 404)
			}
			if strings.Contains(route.path, "{sub_user_id}") {
				send(otherToken, fill(otherUser, taskID, call), 403)
				send(subToken, fill(subUser, taskID, call), 403) // not even itself
			}
			if strings.Contains(route.path, "{unique_id}") {
				if a, b := send(otherToken, fill(otherUser, taskID, call), 404), send(otherToken, strings.Replace(fill(otherUser, taskID, call), batch, "none", 1), 404); a != b {
					t.Errorf("%s %s tells that the batch exists: %s, %s", method, route.path, a, b)
				}
				send(subToken, fill(subUser, taskID, call), 404)
			}
			if strings.Contains(route.path, "{group_id}") {
				send(otherToken, fill(otherUser, taskID, call), 404)
				send(subToken, fill(subUser, taskID, call), 403) // read, but not written
			}
			if strings.Contains(route.path, "{record_id}") {
				send(token, fill(mainUser, taskID, "123456789"), 404)
			}
		}
	}
	if after := w.ledger(); after != before {
		t.Errorf("strangers changed the ledger:\n%s\n%s", before, after)
	}
	if !strings.Contains(w.as(otherToken, "GET", "/agent-api/user/"+otherUser+"/task", nil).raw, `"data":[]`) {
		t.Error("the stranger sees tasks")
	}
	for _, route := range (&server{}).openRoutes() {
		own, err := w.Link("another use", mainUser+"\n"+taskID+"\n"+call, clockNow.Add(time.Hour))
		w.must(err)
		for _, key := range []string{"", "?key=", "?key=x", "?key=" + own, "?key=" + own + "&sub_user_id=" + mainUser} {
			w.bad(w.as(token, "GET", route.path+key, nil), 404)
		}
	}
	w.bad(w.do("GET", "/agent-api/new_line_list?user_id="+otherUser, nil), 403)
	w.bad(w.as(subToken, "GET", "/agent-api/new_line_list?user_id="+mainUser, nil), 403)
	// Resources of a stranger are no better in a body.
	w.bad(w.do("POST", new2+"/task", body("destination_extension", 700)), 422, "destination_extension")
}

// ledger is what a stranger must not change, as text.
func (w *world) ledger() string {
	w.Helper()
	var out strings.Builder
	for _, path := range []string{new2 + "/task", new2 + "/subset_task", old1 + "/dial-time-group", old1 + "/subset_users", old1 + "/get_customer", old1 + "/message", old1 + "/bill_recharge_record", "/agent-api/group/" + mainUser} {
		out.WriteString(w.ok("GET", path+"?per_page=100", nil).raw)
	}
	out.WriteString(w.ok("GET", numberPath+"?page=1", nil).raw)
	out.WriteString(w.ok("GET", old1+"/task/"+taskID+"/stat", nil).raw)
	n, err := w.LastEvent(w.Context(), mainUser)
	w.must(err)
	out.WriteString(itoa(int(n)))
	return out.String()
}

// TestBadInput sends what no client should to every route: an error in the envelope, nothing changed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.numbers(taskID, "13800000001")
	call := w.dial(taskID, answered("A"))[0].Call.String()
	w.must(w.StopTask(t.Context(), mainUser, taskID))
	before := w.ledger()
	bodies := map[string]string{
		"cut JSON":            `{"name":`,
		"a list":              `[1,2]`,
		"a text":              `"name"`,
		"two documents":       `{}{}`,
		"bytes":               "\x00\xff\xfe{",
		"too large":           `{"name":"` + strings.Repeat("x", maxBody) + `"}`,
		"sub_user_id as list": `{"sub_user_id":[{}]}`,
		"sub_user_id long":    `{"sub_user_id":"` + strings.Repeat("x", 300) + `"}`,
	}
	for _, route := range (&server{}).routes() {
		path := strings.NewReplacer("{user_id}", mainUser, "{task_id}", taskID, "{record_id}", call, "{phone}", "13800000001", "{sub_user_id}", subUser, "{group_id}", "123").Replace(route.path)
		for _, method := range route.methods {
			for name, text := range bodies {
				r := w.as(token, method, path, text)
				if r.code != 422 || r.http != 422 || r.status != "error" {
					t.Errorf("%s %s with %s: %d %.200s", method, route.path, name, r.http, r.raw)
				}
			}
		}
	}
	for query, field := range map[string]string{"page=x": "page", "per_page=1.5": "per_page", "status=x": "status", "status[]=1&status[]=99": "status[1]", "sub_user_id[a]=1": "sub_user_id",
		"%zz=1": "编码", "start_at=yesterday": "start_at", "end_at=2025-02-30": "end_at"} {
		w.bad(w.do("GET", numberPath+"?"+query, nil), 422, field)
	}
	// A body that breaks off, and one that lies about its length.
	r := httptest.NewRequest("POST", new2+"/task", io.MultiReader(strings.NewReader(`{"name":"x"`), errorReader{}))
	r.Header.Set("Authorization", "Bearer "+token)
	w.bad(w.send(r), 422, "未能完整读取")
	if after := w.ledger(); after != before {
		t.Errorf("bad input changed the ledger:\n%s\n%s", before, after)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestLongToken: client code carries tokens of two kilobytes.
func TestLongToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("x", 2048)
	w.bad(w.as(long, "GET", new2+"/task", nil), 401)
	r := httptest.NewRequest("GET", new2+"/task", nil)
	r.Header.Set("Authorization", token) // no scheme
	w.bad(w.send(r), 401)
}

// TestErrorsInChinese: every message of an error of ours has Chinese in it.
func TestErrorsInChinese(t *testing.T) {
	t.Parallel()
	s := &server{Options: Options{BusyStatus: 200}}
	for _, code := range []waihu.Code{waihu.EInvalid, waihu.EUnauthorized, waihu.EForbidden, waihu.ENotFound, waihu.EConflict, waihu.ELimit, waihu.EUnavailable} {
		r := s.explain(waihu.Errorf(code, "x"))
		if r == nil || !regexp.MustCompile(`\p{Han}`).MatchString(r.message) || r.code != r.status {
			t.Errorf("%s is explained as %+v", code, r)
		}
	}
	for err, code := range map[error]int{waihu.ErrRunsOpen: 6007, waihu.ErrTaskStarted: 6007, waihu.ErrNoLine: 422, waihu.ErrDiskFull: 503} {
		if r := s.explain(err); r == nil || r.code != code {
			t.Errorf("%v is explained as %+v", err, r)
		}
	}
	if s.explain(os.ErrClosed) != nil {
		t.Error("an error of ours is told to the caller")
	}
}
