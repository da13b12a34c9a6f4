package yunfu

import (
	"regexp"
	"strings"
	"testing"

	"waihu"
	"waihu/agent"
	"waihu/speech"
)

var englishWords = regexp.MustCompile(`[a-z]{3,} [a-z]{2,} [a-z]{2,}`)

// TestProblemsInChinese: what the other rooms find wrong with agents is told in Chinese, with the path of the field.
func TestProblemsInChinese(t *testing.T) {
	t.Parallel()
	voice, err := speech.NewSynth(speech.Options{Espeak: "off"})
	if err != nil {
		t.Fatal(err)
	}
	ms := 99999
	broken := waihu.AgentSpec{ID: "7", Brain: waihu.BrainFlow, Opening: waihu.OpeningSpec{WaitMS: &ms}, Voice: waihu.VoiceSpec{Speed: 9, Volume: 900},
		Vars: map[string]waihu.VarSpec{"1x": {}, "ok": {Type: "strange"}}, Grade: []waihu.GradeRule{{When: "true"}},
		Intents: map[string]waihu.IntentSpec{"empty": {}, "silence": {Any: []string{"x"}}, "bad": {Any: []string{"。"}, DTMF: "x"}},
		Flow: &waihu.FlowSpec{Start: "nowhere", Nodes: map[string]waihu.NodeSpec{
			"stuck": {Say: "您好 {{unknown}}", ProtectMS: -1, Branches: []waihu.BranchSpec{{On: "nothing", Go: "missing"}}},
			"both":  {Say: "x", Play: "y", Go: "both", Do: []waihu.Action{{Kind: "dance"}}},
			"text":  {Say: "{{open", Go: "stuck"}, "text2": {Say: "close}}", Go: "stuck"}}}}
	var all []waihu.Problem
	all = append(all, agent.Check(&broken)...)
	all = append(all, voice.Missing(&broken)...)
	for _, brain := range []waihu.Brain{waihu.BrainLLM, waihu.BrainBot, "other"} {
		all = append(all, agent.Check(&waihu.AgentSpec{Brain: brain})...)
	}
	if err := agent.Usable(&waihu.AgentSpec{ID: "7", Brain: "other"}); err != nil {
		all = append(all, waihu.Problem{Field: "agent", Message: "agent 7: " + err.Error()})
	}
	all = append(all, waihu.Problem{Field: "agent", Message: "agent 7 (某话术) is offline: publish it before it calls"})
	if len(all) < 20 {
		t.Fatalf("only %d problems: %v", len(all), all)
	}
	for _, p := range all {
		got := problemText(p)
		if !han.MatchString(got) || englishWords.MatchString(got) || strings.Contains(got, "配置有误") {
			t.Errorf("%s: %s\nis told as %s", p.Field, p.Message, got)
		}
		if p.Field != "" && !strings.Contains(got, p.Field) {
			t.Errorf("%s does not name the field %s", got, p.Field)
		}
	}
	for english, chinese := range map[string]string{
		"there is no agent 700":                               "话术 700 不存在",
		"123: at least 1 was expected":                        "123 无效,至少为 1",
		"agent 7: there is no node \"a\"":                     "话术 7：节点“a”不存在",
		"something that nobody has translated yet":            "配置有误(something that nobody has translated yet)",
		"话术 123 有误":                                           "话术 123 有误",
		"node hi (flow.nodes.hi.say): there is no node \"x\"": "节点 hi(flow.nodes.hi.say)：节点“x”不存在",
	} {
		if got := inChinese(english); got != chinese {
			t.Errorf("%s is told as %s, want %s", english, got, chinese)
		}
	}
}

// TestStartProblems: they arrive with the start.
func TestStartProblems(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.problems = []waihu.Problem{{Field: "flow.start", Message: `there is no node "a"`}, {Message: "agent 7 (某) is offline: publish it before it calls"}}
	w.bad(w.do("PUT", new2+"/task_start/"+taskID, nil), 422, "任务无法启动：flow.start：节点“a”不存在；话术 7(某)未上线,请先发布")
}
