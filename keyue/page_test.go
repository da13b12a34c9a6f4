package keyue

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"waihu"
)

// TestPage sends the request sample of the vendor's own page to a server with the fixture applied and holds the answer
// against the page's tables: every key, its type, no other key.
func TestPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw, err := os.ReadFile("testdata/agent_copy.txt")
	w.must(err)
	text := string(raw)
	server := httptest.NewServer(w.door)
	t.Cleanup(server.Close)

	address := regexp.MustCompile(`POST 'https://keyue.cloud.baidu.com([^']+)'`).FindStringSubmatch(text)[1]
	body := regexp.MustCompile(`--data '([^']+)'`).FindStringSubmatch(text)[1]
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+address, strings.NewReader(body))
	w.must(err)
	for _, h := range regexp.MustCompile(`--header '([^:]+): ([^']+)'`).FindAllStringSubmatch(text, -1) {
		r.Header.Set(h[1], h[2])
	}
	answer, err := http.DefaultClient.Do(r)
	w.must(err)
	defer answer.Body.Close()
	var got map[string]any
	d := json.NewDecoder(answer.Body)
	d.UseNumber()
	w.must(d.Decode(&got))
	if answer.StatusCode != 200 {
		t.Fatalf("%d %v", answer.StatusCode, got)
	}

	_, rest, _ := strings.Cut(text, "响应参数")
	envelope, data, _ := strings.Cut(rest, "\ndata子数据\n")
	if n := holdTable(t, envelope, got); n != 4 {
		t.Errorf("the page's envelope has %d keys", n)
	}
	object, _ := got["data"].(map[string]any)
	if n := holdTable(t, data, object); n != 25 {
		t.Errorf("the page's data has %d keys", n)
	}
	want := map[string]any{"agentId": pageAgent, "agentName": "回访助手", "userId": page.uid, "userName": page.username, "filePath": "", "deleted": json.Number("0"),
		"tenantId": "3156952326602753", "platform": "NGD", "requestSource": "UNIT", "created": "2025-06-02 10:00:00", "updated": "2025-06-02 10:00:00", "agentType": json.Number("2")}
	for key, v := range want {
		if object[key] != v {
			t.Errorf("%s is %v, want %v", key, object[key], v)
		}
	}
	if ms, _ := got["time"].(json.Number).Int64(); ms != clockNow.UnixMilli() {
		t.Errorf("time is %d, want unix ms", ms)
	}
	if object["taskUrl"] == printedTaskURL {
		t.Error("taskUrl does not tell the kind")
	}
}

// holdTable holds an object against a table of the page: name, type, and no other key.
func holdTable(t *testing.T, table string, got map[string]any) int {
	t.Helper()
	var names []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\w+) \| (\w+) \| [是否] \|`).FindAllStringSubmatch(table, -1) {
		name, kind := row[1], row[2]
		names = append(names, name)
		v, there := got[name]
		var is string
		switch v := v.(type) {
		case nil:
			is = "null"
		case string:
			is = "string"
		case json.Number:
			if !strings.ContainsAny(v.String(), ".eE") {
				is = "integer"
			}
		case map[string]any:
			is = "object"
		}
		if !there || is != kind {
			t.Errorf("%s is %T %v, want %s", name, v, v, kind)
		}
	}
	for name := range got {
		if !slices.Contains(names, name) {
			t.Errorf("the page has no %s", name)
		}
	}
	return len(names)
}

// TestCopyIsWhole: the copy of the page's agent has everything of it but its name and ids, and can be found by its id here
// and in the house.
func TestCopyIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	source, err := w.Agent(t.Context(), mainAccount, "9001")
	w.must(err)
	begun := w.ok("POST", v2+"/task/create/agent_copy", map[string]any{"agentId": pageAgent})
	if begun.at("taskStatus") != json.Number("0") || w.woke != 1 {
		t.Errorf("begun with %s, woke %d", begun.raw, w.woke)
	}
	done := w.finish(begun)
	id, _ := done["taskResult"].(string)
	if done["taskStatus"] != json.Number("2") || id == "" || done["errorMsg"] != nil {
		t.Fatalf("done: %v", done)
	}
	got, err := w.Agent(t.Context(), mainAccount, waihu.AgentID(id))
	w.must(err)
	if !strings.HasPrefix(got.Name, source.Name) || got.Name == source.Name || len(got.ExternalIDs) != 0 || strings.Trim(id, "0123456789") != "" {
		t.Errorf("copy %q %q %v", got.ID, got.Name, got.ExternalIDs)
	}
	same := func(a waihu.AgentSpec) string {
		a.ID, a.Name, a.Version, a.ExternalIDs, a.Vendor = "", "", 0, nil, nil
		raw, err := json.Marshal(a)
		w.must(err)
		return string(raw)
	}
	if same(got) != same(source) {
		t.Errorf("copy\n%s\nsource\n%s", same(got), same(source))
	}
	detail := w.ok("GET", v3+"/agents/detail", map[string]any{"id": id})
	if detail.text("status") != "0" || detail.text("createdUserId") != page.uid || detail.text("prompt") != source.LLM.Prompt {
		t.Errorf("detail %s", detail.raw)
	}
	// A flow agent, whole too: by its own id, as a number.
	flow := w.finish(w.ok("POST", v2+"/task/create/agent_copy", `{"agentId":123}`))
	flowID, _ := flow["taskResult"].(string)
	copied, err := w.Agent(t.Context(), mainAccount, waihu.AgentID(flowID))
	w.must(err)
	survey, err := w.Agent(t.Context(), mainAccount, "123")
	w.must(err)
	if same(copied) != same(survey) || flow["agentType"] != json.Number("1") {
		t.Errorf("copy of the flow agent %s\n%v", same(copied), flow)
	}
	// One that is led by somebody else's bot: its token, which is stored sealed to the agent, is the copy's too.
	bot := &waihu.AgentSpec{ID: "bot", Account: mainAccount, Name: "外部机器人", Brain: waihu.BrainBot, Bot: &waihu.BotSpec{URL: "wss://bot.example.com", Token: "bot-secret"}}
	w.must(w.SaveAgent(t.Context(), bot))
	botDone := w.finish(w.ok("POST", v2+"/task/create/agent_copy", map[string]any{"agentId": "bot"}))
	botID, _ := botDone["taskResult"].(string)
	copied, err = w.Agent(t.Context(), mainAccount, waihu.AgentID(botID))
	w.must(err)
	if copied.Bot == nil || *copied.Bot != *bot.Bot || strings.Contains(w.ok("GET", v3+"/agents/detail?id="+botID, nil).raw, "bot-secret") {
		t.Errorf("copy of the bot %+v", copied.Bot)
	}
	// The source vanishes before its copy is made.
	doomed := w.ok("POST", v3+"/agents/create", map[string]any{"agentName": "短命", "prompt": "x"}).text("id")
	late := w.ok("POST", v2+"/task/create/agent_copy", map[string]any{"agentId": doomed})
	w.ok("POST", v3+"/agents/delete?agentId="+doomed, map[string]any{"id": doomed, "agentName": "短命"})
	failed := w.finish(late)
	if failed["taskStatus"] != json.Number("3") || failed["taskResult"] != nil || failed["errorMsg"] != "数据不存在" {
		t.Errorf("copy of nothing: %v", failed)
	}
}
