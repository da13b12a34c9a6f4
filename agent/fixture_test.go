package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"testing"

	"waihu"
)

// surveyJSON is the flow agent that the resources fixture names.
const surveyJSON = `{
  "id": "123", "name": "回访", "version": 1, "language": "zh-CN",
  "vars": {"name": {"type": "text"}},
  "voice": {"speed": 1.0, "volume": 50},
  "opening": {"wait_ms": 1200, "say": "您好，{{name|您}}，请问昨天收到的货物完好吗？完好请按一，不完好请按二。"},
  "intents": {
    "fine":   {"any": ["完好", "没问题", "是的", "好的"], "dtmf": "1"},
    "broken": {"any": ["坏了", "破损", "不完好"], "dtmf": "2"},
    "stop":   {"any": ["别打了", "不需要"], "dtmf": "9", "do": ["opt_out", {"say": "好的，不再打扰。"}, "hangup"]}},
  "brain": "flow",
  "flow": {"start": "ask", "nodes": {
    "ask":   {"branches": [{"on": "fine", "tag": "完好", "go": "bye"}, {"on": "broken", "tag": "破损", "go": "sorry"}],
              "else": {"times": 2, "say": "不好意思没听清，完好请按一，不完好请按二。", "then": "bye"}},
    "sorry": {"say": "非常抱歉，我们会尽快为您补发。", "go": "bye"},
    "bye":   {"say": "感谢您的接听，再见。", "do": ["hangup"]}}},
  "grade": [{"level": "A", "when": "tag('完好')"}, {"level": "B", "when": "tag('破损')"}, {"level": "E", "when": "true"}]
}`

// remindJSON is the agent of the reference's model, the parts that a flow uses.
const remindJSON = `{
  "id": "remind", "name": "还款提醒", "version": 3, "language": "zh-CN",
  "vars": {"name": {"type": "text", "required": true, "say": "先生或女士"}, "amount": {"type": "money"}, "due": {"type": "date"}},
  "listen": {"endpoint_ms": 500, "noinput": {"ms": 5000, "say": ["您好，能听到吗？", "那先不打扰了，再见。"]}},
  "opening": {"wait_ms": 1200, "say": "您好，请问是{{name}}吗？"},
  "intents": {
    "yes": {"any": ["是", "对", "好的", "可以", "嗯"], "dtmf": "1"},
    "no": {"any": ["不是", "不用", "不需要", "不可以"], "dtmf": "2"},
    "stop": {"any": ["别再打了", "投诉", "拉黑"], "do": ["opt_out", {"say": "好的，不再打扰。"}, "hangup"]}},
  "knowledge": [{"q": ["利息多少", "收费吗"], "a": "没有任何手续费。", "then": "return"}],
  "brain": "flow",
  "flow": {"start": "confirm", "nodes": {
    "confirm": {"branches": [{"on": "yes", "go": "remind"}, {"on": "no", "go": "wrong"}], "else": {"times": 2, "say": "请问您是{{name}}本人吗？", "then": "wrong"}},
    "remind": {"say": "您有一笔{{amount|应付}}的账单，{{due|近期}}到期，方便按时还款吗？", "branches": [{"on": "yes", "tag": "promise", "go": "bye"}, {"on": "no", "go": "why"}], "knowledge": true},
    "why": {"say": "请问是什么原因呢？", "collect": {"var": "reason", "kind": "text", "max_ms": 15000}, "go": "bye"},
    "wrong": {"say": "打扰了，再见。", "do": [{"tag": "wrong_person"}, "hangup"]},
    "bye": {"say": "好的，祝您生活愉快，再见。", "do": ["hangup"]}}},
  "grade": [{"level": "A", "when": "tag('promise') and refusals == 0"}, {"level": "B", "when": "affirm >= 1 and refusals <= 1"},
            {"level": "C", "when": "refusals >= 2 or rounds <= 2"}, {"level": "D", "when": "true"}]
}`

func spec(t testing.TB, text string) *waihu.AgentSpec {
	t.Helper()
	var s waihu.AgentSpec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// toneSounds says every text as a buzz of its own pitch, 120 ms a character.
type toneSounds struct {
	mute string // a text that nobody can say
}

func (s toneSounds) Say(_ context.Context, _ Voice, text string) ([]int16, error) {
	if text == "" || text == s.mute {
		return nil, fmt.Errorf("%w: %q", ErrNoVoice, text)
	}
	h := fnv.New32a()
	h.Write([]byte(text))
	return buzz(90+float64(h.Sum32()%120), 960*len([]rune(text)), 3000), nil
}

func (s toneSounds) Prompt(_ context.Context, name string) ([]int16, error) {
	if name != "jingle" {
		return nil, errors.New("no such recording")
	}
	return buzz(300, 4000, 3000), nil
}

// buzz is n samples of a voice-like tone: a falling row of harmonics whose pitch and strength wander.
func buzz(f0 float64, n int, amp float64) []int16 {
	out := make([]int16, n)
	phase := 0.0
	for i := range out {
		t := float64(i) / sampleRate
		phase += 2 * math.Pi * f0 * (1 + 0.15*math.Sin(2*math.Pi*3.1*t+f0)) / sampleRate
		v := 0.0
		for h := 1.0; h <= 8; h++ {
			v += math.Sin(h*phase) / h * (1 + 0.5*math.Sin(2*math.Pi*(2+h/3)*t+f0*h))
		}
		out[i] = int16(amp * v / 2 * (0.6 + 0.4*math.Cos(2*math.Pi*4.3*t+f0)))
		if i == 0 {
			out[i] = 40 // the very first sample sounds
		}
	}
	return out
}
