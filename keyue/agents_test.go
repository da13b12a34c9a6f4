package keyue

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"waihu"
)

func names(r reply) string {
	var out []string
	list, _ := r.at("list").([]any)
	for i := range list {
		out = append(out, r.text("list", i, "agentName"))
	}
	return strings.Join(out, " ")
}

func TestAgentList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.now = w.now.Add(time.Second)
	for i, name := range []string{"甲", "乙", "丙"} {
		w.ok("POST", v3+"/agents/create", map[string]any{"agentName": "新建" + name, "prompt": "p", "agentScene": i, "description": "d", "quickSceneType": 2})
	}
	for query, want := range map[string]struct {
		total int
		names string
	}{
		"?keyword=新建":                                {3, "新建丙 新建乙 新建甲"},
		"?keyword=新建&order=asc&ps=2":                 {3, "新建甲 新建乙"},
		"?keyword=新建&order=asc&ps=2&pn=2":            {3, "新建丙"},
		"?keyword=新建&agentScene=1":                   {1, "新建乙"},
		"?keyword=新建&status=2":                       {0, ""},
		"?type=2&orderBy=agentName&status=0&ps=1000": {3, ""},
		"?type=2&status=2":                           {1, "回访助手"},
		"?keyword=%25":                               {0, ""},
		"?keyword=长编号":                               {1, "长编号话术"},
	} {
		r := w.ok("GET", v3+"/agents"+query, nil)
		if got := r.at("total").(json.Number).String(); got != strconv.Itoa(want.total) || want.names != "" && names(r) != want.names {
			t.Errorf("%s: %s %q, want %+v", query, got, names(r), want)
		}
	}
	r := w.ok("GET", v3+"/agents", nil)
	if r.at("pn") != json.Number("1") || r.at("ps") != json.Number("20") || r.at("total") != json.Number("15") || r.text("list", 0, "agentName") != "新建丙" {
		t.Errorf("the default page: %s", r.raw)
	}
	if r := w.do(sub, "GET", v3+"/agents?keyword=回访助手", nil); r.text("list", 0, "id") != pageAgent {
		t.Errorf("a sub-account's list: %s", r.raw)
	}
	if r := w.do(other, "GET", v3+"/agents", nil); r.at("total") != json.Number("0") {
		t.Errorf("a stranger's list: %s", r.raw)
	}
	for query, parts := range map[string]string{"?ps=x": "ps", "?pn=0": "pn", "?ps=100000": "ps", "?status=3": "status", "?order=up": "order", "?type=9": "type", "?agentScene=x": "agentScene", "?%zz": "编码"} {
		code := paramCheck
		if strings.HasSuffix(query, "x") || query == "?%zz" {
			code = paramFormat
		}
		w.bad(w.do(page, "GET", v3+"/agents"+query, nil), code, parts)
	}
}

// TestAgentLife: made, read in each documented way, renamed, published, refused, taken offline, deleted.
func TestAgentLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.ok("POST", v3+"/agents/create", map[string]any{"agentName": "测试机器人", "type": 1, "welcome": "您好", "avatarUrl": "https://x/y.png"})
	id := made.text("id")
	if made.text("status") != "0" || made.at("type") != json.Number("1") || made.text("created") != "2025-06-02 10:00:00" || made.text("tenantId") != "3156952326602753" {
		t.Errorf("made %s", made.raw)
	}
	for _, r := range []reply{w.ok("GET", v3+"/agents/detail?id="+id, nil), w.ok("GET", v3+"/agents/detail", map[string]any{"id": id}), w.ok("POST", v3+"/agents/detail", `{"id":`+id+`}`)} {
		if r.text("agentName") != "测试机器人" || r.text("avatarUrl") != "https://x/y.png" || r.text("createdUsername") != page.username || r.text("lastEditId") != page.uid {
			t.Errorf("detail %s", r.raw)
		}
	}
	w.bad(w.do(page, "POST", v3+"/agents/create", map[string]any{"agentName": "回访助手"}), nameTaken, "机器人名称重复")
	w.bad(w.do(sub, "POST", v3+"/agents/create", map[string]any{"agentName": "测试机器人"}), nameTaken)
	w.bad(w.do(page, "POST", v3+"/agents/create", map[string]any{"agentName": "x", "spec": map[string]any{"brian": "flow"}}), paramFormat, "brian")
	w.bad(w.do(page, "POST", v3+"/agents/create", map[string]any{"agentName": "x", "spec": map[string]any{"brain": "flow"}}), paramCheck, "flow")
	w.bad(w.do(page, "POST", v3+"/agents/create", map[string]any{"agentName": "x", "type": 1}), paramCheck, "welcome")
	whole := w.ok("POST", v3+"/agents/create", `{"agentName":"整份","spec":{"id":"123","name":"z","brain":"flow","flow":{"start":"a","nodes":{"a":{"say":"再见","do":["hangup"]}}}}}`)
	if whole.text("id") == "123" || whole.text("agentName") != "整份" {
		t.Errorf("from a spec: %s", whole.raw)
	}

	update := map[string]any{"id": id, "agentName": "改名", "avatarUrl": "", "description": "新"}
	if r := w.ok("POST", v3+"/agents/update", update); r.data != nil {
		t.Errorf("update: %s", r.raw)
	}
	if r := w.ok("GET", v3+"/agents/detail?id="+id, nil); r.text("agentName") != "改名" || r.text("description") != "新" || r.text("avatarUrl") != "" || r.text("welcome") != "您好" {
		t.Errorf("updated: %s", r.raw)
	}
	update["agentName"] = "回访助手"
	w.bad(w.do(page, "POST", v3+"/agents/update", update), nameTaken, "机器人名称重复")
	update["agentName"] = " "
	w.bad(w.do(page, "POST", v3+"/agents/update", update), paramCheck, "agentName")
	update["agentName"] = strings.Repeat("长", 201)
	w.bad(w.do(page, "POST", v3+"/agents/update", update), paramCheck, "agentName")
	w.bad(w.do(sub, "POST", v3+"/agents/update", map[string]any{"id": pageAgent, "agentName": "x"}), denied)

	publish := w.ok("POST", v2+"/task/create/agent_publish", map[string]any{"category": "all"}, "Agentid", id, "Tenantid", "3156952326602753")
	if r := w.ok("GET", v3+"/agents/detail?id="+id, nil); r.text("status") != "1" {
		t.Errorf("while it is published: %s", r.raw)
	}
	w.bad(w.do(page, "POST", v3+"/agents/delete?agentId="+id, nil), stateError, "下线")
	if done := w.finish(publish); done["taskStatus"] != json.Number("2") || done["taskType"] != "agent_publish" {
		t.Errorf("published: %v", done)
	}
	if r := w.ok("GET", v3+"/agents/detail?id="+id, nil); r.text("status") != "2" {
		t.Errorf("published: %s", r.raw)
	}
	w.bad(w.do(page, "POST", v2+"/task/create/agent_publish", nil, "Agentid", id, "Tenantid", "9"), denied, "Tenantid")
	w.bad(w.do(page, "POST", v2+"/task/create/agent_publish", map[string]any{"category": "some"}, "Agentid", id), paramCheck, "category")
	w.bad(w.do(sub, "POST", v2+"/task/create/agent_publish", nil, "Agentid", pageAgent), denied)

	w.bad(w.do(page, "POST", v3+"/agents/delete?agentId="+id, map[string]any{"agentName": "改名", "id": id}), stateError, "下线")
	w.ok("POST", v3+"/agents/offline", map[string]any{"agentId": id})
	w.ok("POST", v3+"/agent/agents/offline", map[string]any{"agentId": id}) // the page's other path, and twice
	w.bad(w.do(page, "POST", v3+"/agents/delete?agentId="+id, map[string]any{"agentName": "别的", "id": id}), paramCheck, "agentName")
	w.bad(w.do(page, "POST", v3+"/agents/delete?agentId="+id, map[string]any{"id": pageAgent}), paramCheck, "id")
	w.bad(w.do(page, "POST", v3+"/agents/delete", nil), paramCheck, "agentId")
	if r := w.ok("POST", v3+"/agents/delete?agentId="+id, map[string]any{"agentName": "改名", "id": id}); r.data != nil {
		t.Errorf("deleted: %s", r.raw)
	}
	w.bad(w.do(page, "POST", v3+"/agents/delete?agentId="+id, nil), notExist)
	w.bad(w.do(page, "GET", v3+"/agents/detail?id="+id, nil), notExist)
	w.bad(w.do(page, "POST", v3+"/agents/offline", map[string]any{"agentId": id}), notExist)

	// The fixture's task names agent 123.
	w.ok("POST", v3+"/agents/offline", map[string]any{"agentId": "123"})
	w.bad(w.do(page, "POST", v3+"/agents/delete?agentId=123", nil), stateError, "任务")
}

// TestPublishFaulty: an agent with faults does not go online, and its client is told why.
func TestPublishFaulty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := &waihu.AgentSpec{Account: mainAccount, Name: "坏", Brain: waihu.BrainFlow, Flow: &waihu.FlowSpec{Start: "nowhere"}}
	w.must(w.NewAgent(t.Context(), a))
	done := w.finish(w.ok("POST", v2+"/task/create/agent_publish", map[string]any{"category": "all"}, "Agentid", string(a.ID)))
	why, _ := done["errorMsg"].(string)
	if done["taskStatus"] != json.Number("3") || !strings.Contains(why, "flow") {
		t.Errorf("%v", done)
	}
	if r := w.ok("GET", v3+"/agents/detail?id="+string(a.ID), nil); r.text("status") != "0" {
		t.Errorf("after it: %s", r.raw)
	}
}

// TestOpenList polls at every level.
func TestOpenList(t *testing.T) {
	t.Parallel()
	for _, printed := range []bool{false, true} {
		w := newWorld(t, func(o *Options) { o.PrintedTaskURL = printed; o.TaskStatus = [4]int{10, 11, 12, 13} })
		copied := w.ok("POST", v2+"/task/create/agent_copy", map[string]any{"agentId": pageAgent})
		published := w.ok("POST", v2+"/task/create/agent_publish", map[string]any{"category": "all"}, "Agentid", "123")
		if copied.at("taskStatus") != json.Number("10") || copied.text("taskUrl") == printedTaskURL != printed {
			t.Errorf("printed %v: %s", printed, copied.raw)
		}
		count := func(query string, more ...string) string {
			t.Helper()
			r := w.ok("GET", v2+"/task/openList?"+query, nil, more...)
			list, ok := r.at("taskList").([]any)
			if n, _ := r.at("total").(json.Number).Int64(); !ok || int(n) < len(list) {
				t.Errorf("%s: %s", query, r.raw)
			}
			var ids []string
			for i := range list {
				ids = append(ids, r.text("taskList", i, "id"))
			}
			return strings.Join(ids, " ")
		}
		one, two := copied.text("id"), published.text("id")
		both := two + " " + one
		byURL := one
		if printed {
			byURL = both
		}
		for query, want := range map[string]string{"queryLevel=2": both, "queryLevel=2&ps=1": two, "queryLevel=2&ps=1&pn=2": one, "queryLevel=1&agentId=123": two,
			"queryLevel=1&agentId=" + pageAgent: one, "queryLevel=1": one, "queryLevel=0&taskUrl=" + copied.text("taskUrl"): byURL, "queryLevel=0&taskUrl=/nothing": ""} {
			if got := count(query); got != want {
				t.Errorf("printed %v: %s: %q, want %q", printed, query, got, want)
			}
		}
		if got := count("queryLevel=1", "Agentid", "123"); got != two {
			t.Errorf("by the header: %q", got)
		}
		r := w.ok("GET", v2+"/task/openList?queryLevel=2", nil)
		if len(r.at("taskList", 0).(map[string]any)) != 27 || r.text("taskList", 0, "moudel") == "" || r.text("taskList", 0, "createTime") != "2025-06-02 10:00:00" || r.at("queryLevel") != json.Number("2") {
			t.Errorf("%s", r.raw)
		}
		w.bad(w.do(page, "GET", v2+"/task/openList", nil), paramCheck, "queryLevel")
		w.bad(w.do(page, "GET", v2+"/task/openList?queryLevel=3", nil), paramCheck, "queryLevel")
		w.bad(w.do(page, "GET", v2+"/task/openList?queryLevel=x", nil), paramFormat, "queryLevel")
		w.bad(w.do(page, "GET", v2+"/task/openList?queryLevel=0", nil), paramCheck, "taskUrl")
		w.bad(w.do(page, "GET", v2+"/task/openList?queryLevel=1&agentId=nothing", nil), notExist)
		if r := w.do(other, "GET", v2+"/task/openList?queryLevel=2", nil); r.at("total") != json.Number("0") {
			t.Errorf("a stranger sees %s", r.raw)
		}
		if w.work(); w.task(page, one)["taskStatus"] != json.Number("12") {
			t.Errorf("%v", w.task(page, one))
		}
	}
}

// TestTheAgent: which agent a key means that no request names.
func TestTheAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ok("POST", v2+"/task/create/agent_publish", map[string]any{"category": "all"})
	if r.text("agentId") != pageAgent {
		t.Errorf("the only agent with an id of this door: %s", r.raw)
	}
	if done := w.finish(r); done["taskResult"] != pageAgent { // the id that its client knows
		t.Errorf("published as %v", done["taskResult"])
	}
	w.bad(w.do(other, "POST", v2+"/task/create/agent_publish", map[string]any{"category": "all"}), paramCheck, "Agentid")
	made := w.do(other, "POST", v3+"/agents/create", map[string]any{"agentName": "唯一"})
	if r := w.do(other, "POST", v2+"/task/create/agent_publish", nil); r.text("agentId") != made.text("id") || made.text("id") == "" {
		t.Errorf("the only agent: %s", r.raw)
	}
}

// TestStatuses: what a failure's HTTP status is, by default and with the setting.
func TestStatuses(t *testing.T) {
	t.Parallel()
	for set, want := range map[int]int{0: 400, 200: 200} {
		w := newWorld(t, func(o *Options) { o.ErrorStatus = set })
		for path, status := range map[string]int{v3 + "/agents?ps=x": want, v3 + "/agents/detail?id=x": want, v3 + "/nothing": 404, v3 + "/agents/update": 405, "/core/v5/end": 405} {
			if r := w.do(page, "GET", path, nil); r.status != status || r.code == 200 {
				t.Errorf("%s: %d %s, want %d", path, r.status, r.raw, status)
			}
		}
		if r := w.do(headers{}, "GET", v3+"/agents", nil); r.status != http.StatusUnauthorized {
			t.Errorf("nobody: %d", r.status)
		}
	}
	w := newWorld(t)
	w.good(w.do(page, "GET", "//open/v1//api/v3/agents/", nil))
	w.bad(w.do(page, "GET", "/open/v1/../v1/api/v3/agents", nil), notExist)
	for path, want := range map[string]bool{"//open/v1/x": true, "/openapi/tasks/1": false, "/core/v5/end": true, "/online/core/v5/end": true, "/agent-api/token": false, "/api/v2/getToken": true, "/api/v1/events": false} {
		if Owns(path) != want {
			t.Errorf("Owns(%s) is %v", path, !want)
		}
	}
}

// TestGaveUp: a task whose job the queue gives up says so, and an agent that was to be published is offline again.
func TestGaveUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.ok("POST", v3+"/agents/create", map[string]any{"agentName": "x"}).text("id")
	task := w.ok("POST", v2+"/task/create/agent_publish", nil, "Agentid", id).text("id")
	ends := GaveUp(Options{Store: w.Store})
	for kind := range ends { // a realtime call past its deadline needs no end: it is not dialled whatever happens
		jobs, err := w.TakeJobs(t.Context(), kind, 10, time.Minute)
		w.must(err)
		for _, j := range jobs {
			w.must(ends[kind](t.Context(), j, "dial tcp 10.0.0.1: secret"))
			w.must(w.jobs[kind](t.Context(), j)) // too late
		}
		w.must(ends[kind](t.Context(), waihu.Job{Account: mainAccount, Key: "999"}, "gone"))
		if err := ends[kind](t.Context(), waihu.Job{Account: mainAccount, Key: "x"}, ""); err == nil {
			t.Error("a key that is no number")
		}
	}
	o := w.task(page, task)
	if why, _ := o["errorMsg"].(string); o["taskStatus"] != json.Number("3") || why == "" || strings.Contains(why, "secret") {
		t.Errorf("%v", o)
	}
	if r := w.ok("GET", v3+"/agents/detail?id="+id, nil); r.text("status") != "0" {
		t.Errorf("%s", r.raw)
	}
}
