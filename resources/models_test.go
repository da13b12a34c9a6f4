package resources

import (
	"strings"
	"testing"

	"waihu"
	"waihu/store"
	"waihu/wrapup"
)

const withModels = `accounts: [{id: a, name: A}]
models:
  - {id: qwen, url: "http://10.0.0.9:8000/v1", key: env:PASSWORD, model: qwen-plus, timeout: 30, retries: 0, parallel: 4, format: json_object, temperature: 0, max_tokens: 800, extra_body: {enable_thinking: false}, headers: {X-Title: waihu}}
  - {id: other, url: "https://api.example.com/v1", model: glm, default: true}
quality_checks:
  - id: 1
    name: 意向
    model: qwen
    prompt: 看态度
    levels: {A: 好, B: 坏}
    items: [{id: polite, kind: llm, ask: 礼貌？, weight: 2}]
    grade: [{level: B, when: "item('polite') == 'fail'"}]
  - {id: 2, name: 只有名字}
score_schemes:
  - {id: 3, name: 打分, items: [{id: hello, kind: rule, check: "agent_said('您好')", score: 10, pass: true}]}
calling_hours: [{id: 1, name: 全天, weekly: {all: ["00:00-24:00"]}}]
agents:
  - {id: "7", name: a, version: 1, brain: flow, flow: {start: bye, nodes: {bye: {say: 再见, do: [hangup]}}}}
tasks:
  - {id: t, name: t, agent: "7", calling_hours: 1, concurrency: 1, quality_check: 1, score_scheme: 3}
`

func checked(s *store.Store) Options {
	o := options(s)
	o.Checks = wrapup.CheckChecks
	return o
}

func TestModels(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t)
	_, err := Apply(ctx, "test.yaml", []byte(withModels), checked(s))
	must(t, err)
	r, err := Apply(ctx, "test.yaml", []byte(withModels), checked(s))
	must(t, err)
	if r.Wrote() {
		t.Errorf("the same file wrote again:\n%s", r)
	}
	list, err := s.Models(ctx)
	must(t, err)
	if len(list) != 2 || list[0].ID != "other" || list[1].Key != "s3cret-word" || list[1].Parallel != 4 || *list[1].Retries != 0 || *list[1].Temperature != 0 || list[1].Extra["enable_thinking"] != false || list[1].Headers["X-Title"] != "waihu" {
		t.Errorf("%+v", list)
	}
	// another default takes the word from the first
	_, err = Apply(ctx, "test.yaml", []byte(edit(t, withModels, "model: qwen-plus,", "model: qwen-plus, default: true,", "model: glm, default: true", "model: glm")), checked(s))
	must(t, err)
	if list, err = s.Models(ctx); err != nil || list[0].ID != "qwen" || !list[0].Default || list[1].Default || list[0].Key != "s3cret-word" {
		t.Errorf("%+v %v", list, err)
	}
	k, err := s.Task(ctx, "a", "t")
	must(t, err)
	if k.QualityCheck != "1" || k.ScoreScheme != "3" {
		t.Errorf("%+v", k)
	}
	n, err := s.Named(ctx, "a", waihu.QualityCheck, 1)
	must(t, err)
	if !strings.Contains(string(n.Data), `"prompt":"看态度"`) || !strings.Contains(string(n.Data), `"weight":2`) || !strings.Contains(string(n.Data), `"when":"item('polite') == 'fail'"`) {
		t.Errorf("%s", n.Data)
	}
	if n, err = s.Named(ctx, "a", waihu.QualityCheck, 2); err != nil || string(n.Data) != `{"default":false,"llm_type":0}` {
		t.Errorf("%s %v", n.Data, err)
	}
	must(t, s.DeleteModel(ctx, "qwen"))
	if err := s.DeleteModel(ctx, "qwen"); waihu.ErrorCode(err) != waihu.ENotFound {
		t.Error(err)
	}
}

func TestModelsRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, x := range []struct{ old, new, want string }{
		{`"http://10.0.0.9:8000/v1"`, `ftp://x`, "models[0].url: the base address"},
		{`"http://10.0.0.9:8000/v1"`, `"http://me:s3cret@x/v1"`, "models[0].url: an address without user"},
		{"model: qwen-plus,", "", "models[0]: model was expected"},
		{"key: env:PASSWORD", "key: env:NOTHING", "models[0].key: the environment variable NOTHING"},
		{"timeout: 30", "timeout: 1000", "models[0].timeout: 1000: 1 to 240"},
		{"retries: 0", "retries: 11", "models[0].retries: 11"},
		{"parallel: 4", "parallel: -1", "models[0].parallel: -1"},
		{"format: json_object", "format: xml", `models[0].format: "xml" is no format`},
		{"max_tokens: 800", "max_tokens: -1", "models[0].max_tokens"},
		{"id: other", "id: qwen", "the model id qwen is given twice"},
		{"model: qwen\n", "model: nobody\n", "quality_checks[0].model: there is no model nobody"},
		{"kind: llm", "kind: magic", "quality_checks[0].items[0].kind"},
		{"ask: 礼貌？, ", "", "quality_checks[0].items[0].ask"},
		{`item('polite') == 'fail'`, `item(`, "quality_checks[0].grade[0].when"},
		{`check: "agent_said('您好')"`, `check: "len(tags)"`, "score_schemes[0].items[0].check"},
		{"quality_check: 1", "quality_check: 9", "tasks[0].quality_check: there is no quality check 9"},
		{"score_scheme: 3", "score_scheme: 9", "tasks[0].score_scheme: there is no score scheme 9"},
		{"default: true", "defualt: true", "unknown key defualt: default was probably meant"},
	} {
		_, err := Apply(t.Context(), "test.yaml", []byte(edit(t, withModels, x.old, x.new)), checked(s))
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %s", x.new, err, x.want)
		}
	}
	if list, err := s.Models(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("a refused file has left %+v %v", list, err)
	}
}
