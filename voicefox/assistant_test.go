package voicefox

import (
	"fmt"
	"strings"
	"testing"

	"waihu"
)

// documented are the keys of an assistant that the vendor's page names, without the part that no copy of it shows.
var documented = []string{"id", "projectId", "name", "versionId", "scene", "objective", "speakerId", "speakerName", "listenerId", "listenerName", "websocketUrl", "websocketToken",
	"welcome", "prompt", "collect", "knowledge", "hotWords", "usageCount", "creatorId", "creator", "idOldVersion", "llmId", "enableFuzzyMatch", "featureFlags", "timeZone"}

func TestAssistants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.Check = func(a *waihu.AgentSpec) []waihu.Problem {
			if a.Name == "坏" {
				return []waihu.Problem{{Field: "flow.start", Message: "no such node"}}
			}
			return nil
		}
	})
	speaker := w.ok("POST", "/openapi/speakers", object{"name": "晓晓", "voice": "zh-x", "tts": "local"}).number("id")
	listener := w.ok("POST", "/openapi/listeners", object{"name": "听", "asr": "local"}).number("id")
	base := w.ok("POST", "/openapi/knowledge", object{"name": "常见问题", "items": []object{{"q": []string{"几点开门?"}, "a": "九点。"}}})
	full := object{"name": "收集", "scene": "outbound_collect", "objective": "回访", "speakerId": speaker, "listenerId": fmt.Sprint(listener), "websocketUrl": "wss://bot.example.com",
		"websocketToken": "s3cret", "welcome": "您好", "prompt": "你是客服", "collect": []object{{"question": "几点?"}, {"question": "好吗?", "answers": []string{"好", "不好"}}},
		"knowledge": base.text("code"), "hotWords": []object{{"word": "云蝠", "weight": 5, "replacedWords": []string{"云服"}, "enableFuzzyMatch": true}}, "llmId": 7, "enableFuzzyMatch": true,
		"featureFlags": "a,b", "timeZone": "Asia/Tokyo"}
	made := w.ok("POST", "/openapi/assistants", full)
	for _, key := range documented {
		if v, ok := made.body.(object)[key]; !ok || v == nil {
			t.Errorf("the assistant lacks %s", key)
		}
	}
	want := object{"name": "收集", "scene": "outbound_collect", "objective": "回访", "websocketUrl": "wss://bot.example.com", "websocketToken": "s3cret", "welcome": "您好", "prompt": "你是客服",
		"knowledge": base.text("code"), "featureFlags": "a,b", "timeZone": "Asia/Tokyo", "speakerName": "晓晓", "listenerName": "听"}
	for key, v := range want {
		if made.at(key) != v {
			t.Errorf("%s is %v, want %v", key, made.at(key), v)
		}
	}
	if made.number("speakerId") != speaker || made.number("listenerId") != listener || made.number("llmId") != 7 || made.at("enableFuzzyMatch") != true || made.number("version") != 1 ||
		made.text("creator", "email") != "demo@example.com" || made.text("creator", "username") != "测试主账户" || made.number("creator", "id") != 1 || made.number("projectId") != 1 ||
		made.text("hotWords", 0, "word") != "云蝠" || made.text("hotWords", 0, "replacedWords", 0) != "云服" || made.at("hotWords", 0, "enableFuzzyMatch") != true {
		t.Errorf("%s", made.raw)
	}
	path := fmt.Sprintf("/openapi/assistants/%d", made.number("id"))
	if got := w.ok("GET", path, nil); got.raw != made.raw {
		t.Errorf("the detail is %s", got.raw)
	}
	// What the engine has of it.
	a, err := w.AgentBySerial(w.Context(), mainUser, made.number("id"))
	w.must(err)
	if a.Brain != waihu.BrainBot || a.Bot.Token != "s3cret" || a.Voice.Voice != "zh-x" || a.Voice.TTS != "local" || a.Listen.ASR != "local" || a.Listen.Hotwords["云蝠"] != 5 ||
		len(a.Knowledge) != 1 || a.Knowledge[0].A != "九点。" || a.LLM.Collect[1].Answers[1] != "不好" || a.LLM.Collect[0].Key == a.LLM.Collect[1].Key {
		t.Errorf("%+v", a)
	}
	// A new version: what is not said stays; sent back whole it is the same; the question's key stays with its words.
	keys := map[string]string{a.LLM.Collect[0].Question: a.LLM.Collect[0].Key, a.LLM.Collect[1].Question: a.LLM.Collect[1].Key}
	same := w.as(token, "PUT", path, made.raw)
	if same.code != 200 || same.number("versionId") != made.number("versionId") {
		t.Errorf("sent back: %d %s", same.code, same.raw)
	}
	second := w.ok("PUT", path, object{"prompt": "新", "websocketUrl": "", "collect": []object{{"question": "新问题"}, {"question": "好吗?"}}})
	if second.number("version") != 2 || second.number("versionId") == made.number("versionId") || second.text("welcome") != "您好" || second.text("websocketUrl") != "" || second.number("speakerId") != speaker {
		t.Errorf("%s", second.raw)
	}
	a, err = w.AgentBySerial(w.Context(), mainUser, made.number("id"))
	w.must(err)
	if a.Brain != waihu.BrainLLM || a.LLM.Collect[1].Key != keys["好吗?"] || a.LLM.Collect[0].Key == keys["好吗?"] {
		t.Errorf("%+v", a.LLM)
	}
	versions := w.ok("GET", path+"/versions", nil)
	if versions.number("total") != 2 || versions.number("items", 1, "versionId") != made.number("versionId") || versions.text("items", 1, "prompt") != "你是客服" {
		t.Errorf("%s", versions.raw)
	}
	// Deleted resources are gone for new assistants and stay in the versions that copied them.
	for kind, id := range map[string]int64{"speakers": speaker, "listeners": listener, "knowledge": base.number("id")} {
		if n := w.ok("GET", "/openapi/"+kind, nil).number("total"); n != 1 {
			t.Errorf("%d %s", n, kind)
		}
		w.ok("DELETE", fmt.Sprintf("/openapi/%s/%d", kind, id), nil)
		w.bad(w.as(token, "DELETE", fmt.Sprintf("/openapi/%s/%d", kind, id), nil), 404)
	}
	if got := w.ok("GET", path, nil); got.number("speakerId") != speaker || got.text("speakerName") != "" || got.text("knowledge") != base.text("code") {
		t.Errorf("%s", got.raw)
	}
	taken := w.ok("PUT", path, object{"speakerId": 0, "listenerId": 0, "knowledge": "", "hotWords": []object{}})
	if taken.number("speakerId") != 0 || taken.text("knowledge") != "" || len(taken.at("hotWords").([]any)) != 0 {
		t.Errorf("%s", taken.raw)
	}
	// One with a flow of ours calls today, one with a prompt alone is kept as a language model's.
	flow := w.ok("POST", "/openapi/assistants", object{"name": "流程", "flow": object{"start": "a", "nodes": object{"a": object{"say": "再见", "do": []string{"hangup"}}}}})
	if a, err := w.AgentBySerial(w.Context(), mainUser, flow.number("id")); err != nil || a.Brain != waihu.BrainFlow || flow.text("flow", "start") != "a" {
		t.Errorf("%+v, %v", a, err)
	}
	list := w.ok("GET", "/openapi/assistants?pageSize=100", nil)
	if n := len(list.at("items").([]any)); int64(n) != list.number("total") || n < 14 {
		t.Errorf("%d assistants of %d", n, list.number("total"))
	}
	for field, b := range map[string]object{"name": {"name": ""}, "speakerId": {"name": "x", "speakerId": 99}, "listenerId": {"name": "x", "listenerId": 99}, "knowledge": {"name": "x", "knowledge": "KB"},
		"collect[0].question": {"name": "x", "collect": []object{{"question": " "}}}, "collect[1].key": {"name": "x", "collect": []object{{"question": "a", "key": "k"}, {"question": "b", "key": "k"}}}, "flow.start: no such node": {"name": "坏"}, `unknown field "promt"`: {"name": "x", "promt": "y"},
		"collect": {"name": "x", "collect": "?"}} {
		w.bad(w.as(token, "POST", "/openapi/assistants", b), 422, field)
	}
	w.bad(w.as(token, "PUT", path, object{"name": "坏"}), 422)
	w.bad(w.as(subToken, "PUT", path, object{"name": "x"}), 403, "main account")
	if r := w.as(subToken, "GET", path, nil); r.code != 200 || r.number("projectId") != 1 {
		t.Errorf("a sub-account sees %s", r.raw)
	}
	w.bad(w.as(token, "PUT", path, object{"name": strings.Repeat("长", 201)}), 422, "name: at most 200")
	for field, b := range map[string]object{"name": {"voice": "x"}, "asr": {"name": "x", "asr": "y"}} {
		w.bad(w.as(token, "POST", "/openapi/speakers", b), 422, field)
	}
	w.bad(w.as(token, "POST", "/openapi/knowledge", object{"name": "x", "items": []object{{"q": []string{}, "a": "x"}}}), 422, "items[0]")
}

// TestPinnedAssistant: a task keeps the version it was made with, whole, whatever is saved later.
func TestPinnedAssistant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.ok("POST", "/openapi/assistants", object{"name": "收集", "prompt": "第一版", "welcome": "一", "websocketToken": "x", "websocketUrl": "wss://one"})
	path := fmt.Sprintf("/openapi/assistants/%d", made.number("id"))
	first := w.ok("POST", "/openapi/tasks", body("assistantVid", made.number("versionId")))
	second := w.ok("PUT", path, object{"prompt": "第二版", "welcome": "二", "websocketUrl": "wss://two"})
	shown := w.ok("GET", taskPath(first.number("id"), ""), nil)
	if shown.number("assistantVid") != made.number("versionId") || shown.text("assistant", "prompt") != "第一版" || shown.text("assistant", "websocketUrl") != "wss://one" ||
		shown.text("assistant", "websocketToken") != "x" || shown.number("assistant", "id") != made.number("id") {
		t.Errorf("%s", shown.raw)
	}
	later := w.ok("POST", "/openapi/tasks", body("assistantVid", 0, "assistantId", made.number("id")))
	if later.number("assistantVid") != second.number("versionId") || later.text("assistant", "welcome") != "二" {
		t.Errorf("%s", later.raw)
	}
	if !strings.Contains(w.ok("GET", "/openapi/numbers", nil).raw, `"number":"02160001000"`) {
		t.Error("no caller numbers")
	}
}
