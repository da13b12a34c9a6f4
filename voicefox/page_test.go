package voicefox

import (
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"waihu"
)

// vendorPage is the request sample and the answer of the vendor's own page.
func vendorPage(t testing.TB) (method, path string, header map[string]string, answer any) {
	t.Helper()
	raw, err := os.ReadFile("testdata/task_page.txt")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.NewReplacer("{taskID}", "1", "<YOUR_TOKEN>", "YOUR_TOKEN").Replace(string(raw))
	request := regexp.MustCompile(`curl -X (\w+) 'https://[^/]+([^']*)'`).FindStringSubmatch(page)
	if request == nil {
		t.Fatal("the page has no request")
	}
	header = map[string]string{}
	for _, h := range regexp.MustCompile(`-H '([^:]+): ([^']*)'`).FindAllStringSubmatch(page, -1) {
		header[h[1]] = h[2]
	}
	_, sample, _ := strings.Cut(page, "响应示例")
	return request[1], request[2], header, tree(t, []byte(sample))
}

// TestVendorPage: the page's own request, and its answer field by field.
func TestVendorPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method, path, header, sample := vendorPage(t)
	ask := func() reply {
		t.Helper()
		r := httptest.NewRequest(method, path, nil)
		for k, v := range header {
			r.Header.Set(k, v)
		}
		got := w.send(r)
		if got.code != 200 {
			t.Fatalf("%s %s: %d %s", method, path, got.code, got.raw)
		}
		sameShape(t, "task", sample, got.body)
		return got
	}
	got := ask()
	for _, x := range []struct {
		path []any
		want string
	}{{[]any{"id"}, "1"}, {[]any{"name"}, "测试任务"}, {[]any{"status"}, "pending"}, {[]any{"total"}, "0"}, {[]any{"progress"}, "0"},
		{[]any{"option", "numberFileMeta", "号码"}, "0"}, {[]any{"option", "numberFileMeta", "备注"}, "-1"}, {[]any{"option", "numberFileMeta", "姓名"}, "-1"},
		{[]any{"option", "numbers", 0}, "1"}, {[]any{"option", "numbers", 1}, "2"}, {[]any{"option", "startDate"}, "2024-12-23"},
		{[]any{"option", "startTime", 0, 0}, "00:00"}, {[]any{"option", "startTime", 0, 1}, "24:00"}, {[]any{"option", "retryCount"}, "0"},
		{[]any{"assistant", "id"}, "123"}, {[]any{"assistant", "name"}, "回访"}, {[]any{"assistant", "projectId"}, "1"}, {[]any{"assistant", "creator", "email"}, "demo@example.com"},
		{[]any{"summary"}, ""}, {[]any{"suggestion"}, ""}, {[]any{"assistant", "websocketUrl"}, ""}, {[]any{"assistant", "speakerId"}, "0"}, {[]any{"createdAt"}, "2025-06-02T10:00:00.000+08:00"}} {
		if text := textOf(got.at(x.path...)); text != x.want {
			t.Errorf("%v is %s, want %s", x.path, text, x.want)
		}
	}
	if n := got.at("option", "numbers").([]any); len(n) != 2 {
		t.Errorf("option.numbers is %v: those of the task's line were expected", n)
	}
	if len(got.at("assistant", "collect").([]any)) != 0 {
		t.Errorf("collect is %v", got.at("assistant", "collect"))
	}
	if v := got.number("assistantVid"); v < 1 || v != got.number("assistant", "versionId") {
		t.Errorf("assistantVid %d, assistant.versionId %d", v, got.number("assistant", "versionId"))
	}
	// The same task with everything that it can have.
	w.numbers(taskID, "13800000001", "13800000002", "13800000003")
	w.dial(taskID, w.answered(), w.unanswered(waihu.NoAnswer))
	got = ask()
	if got.text("status") != "running" || got.number("total") != 3 || got.number("progress") != 66 || got.number("assistant", "usageCount") != 2 {
		t.Errorf("%s", got.raw)
	}
	// A task with an assistant that has everything, in every answer that is a task.
	assistant := w.ok("POST", "/openapi/assistants", object{"name": "收集", "scene": "outbound_collect", "prompt": "你是客服", "welcome": "您好",
		"websocketUrl": "wss://bot.example.com/", "websocketToken": "s3cret", "collect": []object{{"question": "几点?"}, {"question": "好吗?", "answers": []string{"好", "不好"}}}})
	created := w.ok("POST", "/openapi/tasks", body("assistantVid", assistant.number("versionId")))
	sameShape(t, "created", sample, created.body)
	if created.number("assistantVid") != assistant.number("versionId") || created.text("assistant", "websocketToken") != "s3cret" ||
		created.text("assistant", "collect", 1, "answers", 0) != "好" || created.text("assistant", "prompt") != "你是客服" {
		t.Errorf("%s", created.raw)
	}
	list := w.ok("GET", "/openapi/tasks", nil)
	if list.number("total") != 2 {
		t.Errorf("%s", list.raw)
	}
	for _, task := range list.at("items").([]any) {
		sameShape(t, "listed", sample, task)
	}
}

func textOf(v any) string {
	if s, ok := v.(interface{ String() string }); ok {
		return s.String()
	}
	s, _ := v.(string)
	return s
}
