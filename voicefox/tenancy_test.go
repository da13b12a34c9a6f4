package voicefox

import (
	"fmt"
	"strings"
	"testing"

	"waihu"
	"waihu/store"
)

// TestTenancy walks every route with no token, wrong tokens, a stranger's token and a stranger's ids: 401, 403 or 404, or the
// stranger's own; nothing changes and nothing is told.
func TestTenancy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.numbers(taskID, "13800000001")
	call := w.dial(taskID, w.answered())[0].Call.String()
	w.must(w.StopTask(t.Context(), mainUser, taskID))
	hook := w.ok("POST", "/openapi/webhooks", object{"url": "https://receiver.example.com/x", "authorization": "Bearer secret-of-the-receiver"}).number("id")
	for _, kind := range []string{"speakers", "listeners", "knowledge"} {
		w.ok("POST", "/openapi/"+kind, object{"name": "主账户的"})
	}
	before := w.ledger()
	secrets := []string{string(mainUser), "测试任务", "回访", "138000", "0216000", string(lineMain), "主账户", "receiver", "demo@example.com"}
	for _, route := range (&server{}).routes() {
		if route.open {
			continue
		}
		fill := func(task, assistant, session string, other int64) string {
			path := strings.NewReplacer("{taskID}", task, "{sessionId}", session).Replace(route.path)
			if strings.Contains(path, "assistants") {
				return strings.Replace(path, "{id}", assistant, 1)
			}
			return strings.Replace(path, "{id}", fmt.Sprint(other), 1)
		}
		mine := fill("1", "123", call, 1)
		if strings.Contains(route.path, "webhooks") {
			mine = fill("1", "123", call, hook)
		}
		body := `{"name":"x","url":"https://example.com"}`
		for _, secret := range []string{"", "wrong", "KEYUE_TOKEN", strings.Repeat("x", 5000)} {
			w.bad(w.as(secret, route.method, mine, body), 401)
		}
		if route.method != "GET" && !strings.Contains(route.path, "{") {
			continue // a stranger makes things of his own
		}
		for name, secret := range map[string]string{"stranger": otherToken, "sub-account": subToken} {
			r := w.as(secret, route.method, mine, body)
			switch {
			case !strings.Contains(route.path, "{"):
				if r.code != 200 {
					t.Errorf("%s %s by the %s: %d %s", route.method, mine, name, r.code, r.raw)
				}
			case name == "sub-account" && route.method == "GET" && strings.Contains(route.path, "assistants"):
				continue // the main account's may be used
			case strings.Contains(route.path, "taskID"), strings.Contains(route.path, "session"), strings.Contains(route.path, "assistants"):
				w.bad(r, 403)
			default:
				w.bad(r, 404)
			}
			if name == "sub-account" {
				continue
			}
			for _, s := range secrets {
				if strings.Contains(r.raw, s) {
					t.Errorf("%s %s tells a stranger %q: %s", route.method, mine, s, r.raw)
				}
			}
		}
		if strings.Contains(route.path, "{") {
			nothing := w.as(otherToken, route.method, fill("987654", "987654", "987654", 987654), body)
			w.bad(nothing, 404)
		}
	}
	// A stranger's ids are no better in a body.
	for field, b := range map[string]object{"assistantVid": body("option.numbers", nil), "option.numbers[0]": body("assistantVid", nil, "assistantId", 700)} {
		w.bad(w.as(otherToken, "POST", "/openapi/tasks", b), 422, field)
	}
	w.bad(w.as(otherToken, "POST", "/openapi/webhooks", object{"url": "https://x.example", "taskId": 1}), 422, "taskId")
	w.bad(w.as(otherToken, "POST", "/openapi/assistants", object{"name": "x", "speakerId": 1}), 422, "speakerId")
	if after := w.ledger(); after != before {
		t.Errorf("strangers changed the ledger:\n%s\n%s", before, after)
	}
}

// ledger is what a stranger must not change, as text.
func (w *world) ledger() string {
	w.Helper()
	var out strings.Builder
	for _, path := range []string{"tasks", "assistants", "assistants/123/versions", "numbers", "speakers", "listeners", "knowledge", "webhooks", "calllog?taskId=1"} {
		r := w.ok("GET", "/openapi/"+path, nil)
		if path == "calllog?taskId=1" {
			fmt.Fprintln(&out, r.number("total")) // the address of the recording is another each time
			continue
		}
		out.WriteString(r.raw)
	}
	n, err := w.LastEvent(w.Context(), mainUser)
	w.must(err)
	list, _, err := w.Tasks(w.Context(), []waihu.AccountID{mainUser}, store.TaskFilter{PerPage: 100})
	w.must(err)
	fmt.Fprintln(&out, n, len(list))
	return out.String()
}

// TestWebhookRoutes: endpoints of this door, and no others.
func TestWebhookRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.CheckURL = func(url string) error {
			if !strings.HasPrefix(url, "https://") {
				return fmt.Errorf("https:// was expected")
			}
			return nil
		}
	})
	native := waihu.Endpoint{Account: mainUser, Door: waihu.DoorNative, URL: "https://native.example.com"}
	w.must(w.AddEndpoint(t.Context(), &native, 0))
	made := w.ok("POST", "/openapi/webhooks", object{"url": "https://r.example.com", "events": []string{"task.end", "task.call.collect", "task.end"}, "taskId": "1", "authorization": "Bearer x", "remark": "r"})
	if made.number("taskId") != 1 || made.at("hasAuthorization") != true || made.at("hasSecret") != false || strings.Contains(made.raw, "Bearer x") || len(made.at("events").([]any)) != 2 {
		t.Errorf("%s", made.raw)
	}
	e, err := w.Endpoint(t.Context(), mainUser, made.number("id"))
	w.must(err)
	if e.Door != Door || e.Task != taskID || fmt.Sprint(e.Kinds) != "[run.reviewed call.reviewed]" {
		t.Errorf("%+v", e)
	}
	if list := w.ok("GET", "/openapi/webhooks", nil); list.number("total") != 1 {
		t.Errorf("%s", list.raw)
	}
	w.bad(w.as(token, "DELETE", fmt.Sprintf("/openapi/webhooks/%d", native.ID), nil), 404)
	for field, b := range map[string]object{"url": {"url": "ftp://x"}, "events": {"url": "https://x.example", "events": []string{"callin.hangup"}}, "taskId": {"url": "https://x.example", "taskId": 99},
		"secret": {"url": "https://x.example", "secret": "short"}} {
		w.bad(w.as(token, "POST", "/openapi/webhooks", b), 422, field)
	}
	w.ok("DELETE", fmt.Sprintf("/openapi/webhooks/%d", made.number("id")), nil)
	if list := w.ok("GET", "/openapi/webhooks", nil); list.number("total") != 0 {
		t.Errorf("%s", list.raw)
	}
}
