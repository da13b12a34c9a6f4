package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"waihu"
)

func TestCheckAcceptsTheFixtures(t *testing.T) {
	t.Parallel()
	for _, s := range []string{surveyJSON, remindJSON} {
		if p := Check(spec(t, s)); len(p) > 0 {
			t.Errorf("%+v", p)
		}
		if err := Usable(spec(t, s)); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, old, new, field, says string }{
		{"unknown brain", `"brain": "flow"`, `"brain": "magic"`, "brain", "magic"},
		{"start", `"start": "ask"`, `"start": "nowhere"`, "flow.start", "nowhere"},
		{"branch target", `"tag": "完好", "go": "bye"`, `"go": "goodbye"`, "flow.nodes.ask.branches[0].go", "goodbye"},
		{"else target", `"then": "bye"`, `"then": "there"`, "flow.nodes.ask.else.then", "there"},
		{"go target", `"go": "bye"},
    "bye"`, `"go": "by"},
    "bye"`, "flow.nodes.sorry.go", "by"},
		{"unknown intent", `"on": "fine"`, `"on": "great"`, "flow.nodes.ask.branches[0].on", "great"},
		{"keys", `"on": "fine"`, `"on": "dtmf:x"`, "flow.nodes.ask.branches[0].on", "keys"},
		{"no exit", `"do": ["hangup"]}`, `"do": [{"tag": "x"}]}`, "flow.nodes.bye", "no exit"},
		{"unreachable", `"tag": "破损", "go": "sorry"`, `"tag": "破损", "go": "bye"`, "flow.nodes.sorry", "no path"},
		{"variable", "感谢您的接听", "感谢您的接听{{who}}", "flow.nodes.bye.say", "who"},
		{"template", "感谢您的接听", "感谢您的接听{{who", "flow.nodes.bye.say", "not closed"},
		{"regex", `"any": ["坏了", "破损", "不完好"]`, `"regex": ["(坏"]`, "intents.broken.regex[0]", "missing"},
		{"empty intent", `"any": ["坏了", "破损", "不完好"], "dtmf": "2"`, `"any": []`, "intents.broken", "nothing can mean"},
		{"dtmf", `"dtmf": "2"`, `"dtmf": "two"`, "intents.broken.dtmf", "two"},
		{"keyword", `"坏了", `, `"。。", `, "intents.broken.any[0]", "no word"},
		{"grade syntax", `tag('完好')`, `tag('完好'`, "grade[0].when", ""},
		{"grade fact", `tag('完好')`, `colour == 3`, "grade[0].when", "colour"},
		{"grade type", `tag('完好')`, `rounds + 1`, "grade[0].when", "bool"},
		{"grade loop", `tag('完好')`, `all(1..1000000, # > 0)`, "grade[0].when", "not available"},
		{"variable type", `"type": "text"`, `"type": "colour"`, "vars.name.type", "colour"},
		{"wait", `"do": ["hangup"]}`, `"do": [{"wait": "an hour"}, "hangup"]}`, "flow.nodes.bye.do[0]", "wait"},
		{"action target", `"do": ["hangup"]}`, `"do": [{"go": "home"}]}`, "flow.nodes.bye.do[0].go", "home"},
		{"opening wait", `"wait_ms": 1200`, `"wait_ms": 99999`, "opening.wait_ms", "99999"},
		{"speed", `"speed": 1.0`, `"speed": 9`, "voice.speed", "9"},
		{"reserved name", `"broken":`, `"speech":`, "intents.speech", "built-in"},
		{"circle", `{"say": "非常抱歉，我们会尽快为您补发。", "go": "bye"}`, `{"go": "loop"}, "loop": {"go": "sorry"}`, "flow.nodes.loop", "circle"},
		{"collected and spoken", `{"say": "非常抱歉，我们会尽快为您补发。", "go": "bye"}`,
			`{"say": "为什么？", "collect": {"var": "why"}, "go": "echo"}, "echo": {"say": "您说{{why}}。", "go": "bye"}`, "flow.nodes.echo.say", "callee's own words"},
		{"collect kind", `{"say": "非常抱歉，我们会尽快为您补发。", "go": "bye"}`, `{"collect": {"var": "why", "kind": "song"}, "go": "bye"}`,
			"flow.nodes.sorry.collect.kind", "song"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(surveyJSON, tc.old, tc.new, 1)
			if text == surveyJSON {
				t.Fatalf("%q is not in the fixture", tc.old)
			}
			probs := Check(spec(t, text))
			for _, p := range probs {
				if p.Field == tc.field && strings.Contains(p.Message, tc.says) {
					return
				}
			}
			t.Errorf("no problem at %s with %q, but %+v", tc.field, tc.says, probs)
		})
	}
}

func TestUsableRefusesWhatCannotBeCarriedOut(t *testing.T) {
	t.Parallel()
	for _, do := range []string{`{"transfer": "sales"}`, `{"dtmf": "12"}`} {
		s := spec(t, strings.Replace(surveyJSON, `"do": ["hangup"]}`, `"do": [`+do+`, "hangup"]}`, 1))
		if err := Usable(s); err == nil || !strings.Contains(err.Error(), "flow.nodes.bye.do[0]") {
			t.Errorf("%s: %v", do, err)
		}
		if _, err := Dialogue(s, nil); err == nil {
			t.Errorf("%s: ran", do)
		}
	}
}

func TestGrade(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		when string
		f    Facts
		want bool
	}{
		{"tag('promise') and refusals == 0", Facts{Tags: []string{"promise"}}, true},
		{"tag('promise') and refusals == 0", Facts{Tags: []string{"promise"}, Refusals: 1}, false},
		{"duration >= 10 and rounds > 2", Facts{Duration: 12 * time.Second, Rounds: 3}, true},
		{"duration > 12.5", Facts{Duration: 12 * time.Second}, false},
		{"opt_out or not answered", Facts{}, true},
		{"intent('yes') >= 2", Facts{Intents: map[string]int{"yes": 2}}, true},
		{"visited('bye') and ended_by == 'agent'", Facts{Visited: map[string]bool{"bye": true}, EndedBy: waihu.ByAgent}, true},
		{"value('order') startsWith '20'", Facts{Values: map[string]string{"order": "2026"}}, true},
		{"'a' in tags and digits == '12' and turns + silences + misses + interrupted == 4",
			Facts{Tags: []string{"a"}, Digits: "12", Turns: 1, Silences: 1, Misses: 1, Interrupted: 1}, true},
		{"affirm / rounds > 0.5", Facts{Affirm: 2, Rounds: 3}, true},
		{"affirm > 0 and tags[3] == 'x'", Facts{Affirm: 1}, false}, // fails as it runs: does not hold
	} {
		s := &waihu.AgentSpec{Brain: waihu.BrainLLM, Grade: []waihu.GradeRule{{Level: "A", When: tc.when}, {Level: "E", When: "true"}}}
		want := "E"
		if tc.want {
			want = "A"
		}
		if got := Grade(s, tc.f); got != want {
			t.Errorf("%s with %+v: %q", tc.when, tc.f, got)
		}
		raw, err := json.Marshal(tc.f)
		if err != nil {
			t.Fatal(err)
		}
		var again Facts
		if err := json.Unmarshal(raw, &again); err != nil || Grade(s, again) != want {
			t.Errorf("%s: the stored facts %s give another grade", tc.when, raw)
		}
	}
	if got := Grade(&waihu.AgentSpec{Brain: waihu.BrainFlow}, Facts{}); got != "" {
		t.Errorf("no rules: %q", got)
	}
}

// A stored spec may be older than the checks: whatever it says, a talk ends and nothing panics.
func FuzzFlow(f *testing.F) {
	f.Add([]byte(surveyJSON), "没问题", "dtmf:2")
	f.Add([]byte(remindJSON), "是", "silence")
	f.Add([]byte(`{"brain":"flow","flow":{"start":"a","nodes":{"a":{"go":"b"},"b":{"go":"a"}}}}`), "x", "y")
	f.Add([]byte(`{"brain":"flow","flow":{"start":"a","nodes":{"a":{"do":[{"go":"a"}],"say":"hi"}}}}`), "", "speech")
	f.Fuzz(func(t *testing.T, raw []byte, a, b string) {
		var s waihu.AgentSpec
		if len(raw) > 4000 || json.Unmarshal(raw, &s) != nil {
			return
		}
		Check(&s)
		inputs := make([]string, 0, maxTurns+2)
		for range maxTurns/2 + 1 {
			inputs = append(inputs, a, b)
		}
		talk, err := Dialogue(&s, map[string]string{"name": "王先生"}, inputs...)
		if err == nil && !talk.Ended {
			t.Fatalf("after %d turns the talk goes on at %q", len(inputs), talk.Node)
		}
	})
}
