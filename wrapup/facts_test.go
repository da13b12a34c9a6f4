package wrapup

import (
	"math"
	"strings"
	"testing"
	"time"

	"waihu"
)

// aCall is a call of 30 s: greeting, an answer with an overlap, a wait of 2 s, a long silence.
func aCall() *waihu.Outcome {
	answered := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	return &waihu.Outcome{Disposition: waihu.Answered, AnswerAt: answered, EndAt: answered.Add(30 * time.Second), HangupBy: waihu.ByAgent, Tags: []string{"promise"},
		Collected: map[string]string{"reason": "忙"}, Grade: "B", Transcript: []waihu.Turn{
			{Who: "agent", Text: "您好，请问是张三吗？", FromMS: 1000, ToMS: 4000, Barged: true},
			{Who: "callee", Text: "是的", FromMS: 3500, ToMS: 4500},
			{Who: "callee", Text: "是", FromMS: 4500, ToMS: 4600, Partial: true},
			{Who: "agent", Text: "您有一笔 ABC 账单。", FromMS: 6500, ToMS: 9500},
			{Who: "callee", Text: "知道了", Digit: "1", FromMS: 10000, ToMS: 11000},
			{Who: "agent", Text: "感谢您的接听，再见。", FromMS: 11500, ToMS: 13500},
		}}
}

func TestFacts(t *testing.T) {
	t.Parallel()
	f := factsOf(aCall())
	near := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-6 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	near("duration", f.Duration, 30)
	near("agent_talk", f.AgentTalk, 8)
	near("callee_talk", f.CalleeTalk, 2)
	near("talk_ratio", f.TalkRatio, 0.8)
	near("longest_silence", f.Silence, 16.5)
	near("overlap_time", f.OverlapTime, 0.5)
	near("agent_latency", f.Latency, 1.25)
	near("agent_latency_max", f.MaxLatency, 2)
	near("speech_rate", f.SpeechRate, 23*60/8.0) // 8, 4 and a word and 2, 8
	near("callee_speech_rate", f.CalleeRate, 5*60/2.0)
	if f.Turns != 5 || f.Rounds != 2 || f.Overlaps != 1 || f.Interruptions != 1 || f.Digits != "1" {
		t.Errorf("%+v", f)
	}
	empty := factsOf(&waihu.Outcome{Disposition: waihu.Answered})
	if empty.TalkRatio != 0 || empty.Silence != 0 || empty.Latency != 0 || empty.SpeechRate != 0 {
		t.Errorf("of nothing: %+v", empty)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	f := factsOf(aCall())
	for rule, want := range map[string]bool{
		"agent_said_within(10, ['您好'])":                        true,
		"agent_said_within(0.5, ['您好'])":                       false,
		"agent_said_within(5, '账单')":                           false,
		"agent_said('张三吗') and not callee_said('账单')":          true,
		"agent_said(['没有', 'ａｂｃ账单'])":                          true, // full width, blanks and case do not matter
		"agent_said_all(['您好', '再见'])":                         true,
		"agent_said_all(['您好', '稳赚'])":                         false,
		"agent_said('') or agent_said([]) or agent_said(3)":    false,
		"agent_said_count('您') == 3":                           true,
		"callee_said_count(['是', '知道']) == 2":                  true,
		"talk_ratio < 0.9 and longest_silence > 10":            true,
		"agent_latency_max <= 2 and overlaps == 1":             true,
		"tag('promise') and collected('reason') == '忙'":        true,
		"ended_by == 'agent' and grade == 'B' and not opt_out": true,
		"digits == '1' and rounds == 2":                        true,
		"'promise' in tags":                                    true,
	} {
		if got, err := holds(rule, f); got != want || err != nil {
			t.Errorf("%s is %v %v", rule, got, err)
		}
	}
	for _, rule := range []string{"", "duration", "nothing > 1", "agent_said(", "all(tags, true)", "1..100000 == []", "len(tags) > 0", "repeat('a', 1000000) == ''", strings.Repeat("true and ", 200) + "true"} {
		if _, err := compile(rule); err == nil {
			t.Errorf("%q was accepted", rule)
		}
	}
}

func FuzzRule(f *testing.F) {
	for _, s := range []string{"duration > 1", "agent_said(['x'])", "agent_said_within(1, 2)", "tag(1)", "1/0 > 1", "tags[9] == ''", "agent_said({'a': 1})"} {
		f.Add(s)
	}
	facts := factsOf(aCall())
	f.Fuzz(func(t *testing.T, rule string) {
		_, _ = holds(rule, facts) // any text may be wrong; none may panic
	})
}
