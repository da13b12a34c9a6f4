package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"waihu"
)

// wildRecognizer gives out events at random moments: late, early, twice, never.
type wildRecognizer struct {
	rnd  *rand.Rand
	out  []Heard
	owed bool
}

var wildWords = []string{"嗯", "好的", "没问题", "坏了", "别打了", "我想问一下那个", "不完好", "", "什么", "你是谁", "12", "yes please"}

func (r *wildRecognizer) Name() string { return "wild" }
func (r *wildRecognizer) Finalize()    { r.owed = true }
func (r *wildRecognizer) Frame([]int16, bool) []Heard {
	r.out = r.out[:0]
	if r.rnd.IntN(60) == 0 || r.owed && r.rnd.IntN(15) == 0 {
		r.out = append(r.out, Heard{Text: wildWords[r.rnd.IntN(len(wildWords))], Final: r.owed || r.rnd.IntN(2) == 0, Noise: r.rnd.IntN(10) == 0})
		r.owed = false
	}
	return r.out
}

// life is one call of random events, and what must be true of it at every frame.
type life struct {
	log    []string
	frames int
}

func randomLife(t *testing.T, specJSON string, seed uint64) *life {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 99))
	var rec Recognizer
	if seed%3 > 0 {
		rec = &wildRecognizer{rnd: rand.New(rand.NewPCG(seed, 100))}
	}
	p := newPhone(t, specJSON, map[string]string{"name": "王先生", "amount": "99.9"}, rec)
	l := &life{}
	limit := maxCallMS/frameMS + 2
	if seed%5 == 0 {
		limit = rnd.IntN(2000) // the callee hangs up at a random moment
	}
	lines := 0 // agent's lines that have begun
	for ; l.frames < limit && !p.c.Done(); l.frames++ {
		var digit byte
		switch rnd.IntN(150) {
		case 0:
			p.says(rnd.IntN(3000))
		case 1:
			p.voice = nil
		case 2:
			digit = "0123456789*#ABCDx"[rnd.IntN(17)]
		}
		before := p.c.pos
		spoke := p.step(digit)
		switch c := p.c; {
		case spoke && c.state != speaking && c.state != paused && c.state != listening && c.state != over && c.state != closing:
			t.Fatalf("seed %d, %d ms: sound in state %d", seed, p.ms(), c.state)
		case c.pos > c.said.total:
			t.Fatalf("seed %d: played %d of %d samples", seed, c.pos, c.said.total)
		case spoke && c.state == speaking && c.pos < before && c.pos > FrameSamples && !c.fadeIn && c.said.total > 0 && before-c.pos > rewindMS*8+FrameSamples:
			t.Fatalf("seed %d: jumped back from %d to %d", seed, before, c.pos)
		}
		if !spoke && p.agentSpeaks() {
			t.Fatalf("seed %d, %d ms: sound that nobody speaks", seed, p.ms())
		}
		for _, turn := range p.c.turns[lines:] {
			lines++
			l.log = append(l.log, fmt.Sprintf("%+v", turn))
		}
	}
	if !p.c.Done() {
		p.c.Close(waihu.ByCallee, "hung up") // reachable in any state
	}
	after := len(p.c.turns)
	for range 300 { // nothing lives on: no timer, no sound, no turn
		if p.step('1') || p.agentSpeaks() || len(p.c.turns) != after {
			t.Fatalf("seed %d: something happened after the end", seed)
		}
	}
	by, reason := p.c.End()
	if by == "" || reason == "" {
		t.Fatalf("seed %d: ended by %q, %q", seed, by, reason)
	}
	// No two utterances of the agent overlap, and times run forward.
	last := int64(0)
	for _, turn := range p.c.Transcript() {
		if turn.Who != "agent" {
			continue
		}
		if turn.FromMS < last || turn.ToMS < turn.FromMS {
			t.Fatalf("seed %d: utterances overlap: %+v", seed, p.c.Transcript())
		}
		last = turn.ToMS
	}
	l.log = append(l.log, string(by), reason, fmt.Sprint(p.c.Tags(), p.c.OptOut(), p.c.Collected(), p.c.Facts()))
	return l
}

func TestRandomLives(t *testing.T) {
	t.Parallel()
	n := uint64(24)
	if testing.Short() {
		n = 5
	}
	for name, s := range map[string]string{"survey": surveyJSON, "remind": remindJSON} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range n {
				a := randomLife(t, s, seed)
				if seed%8 == 0 {
					if b := randomLife(t, s, seed); !slices.Equal(a.log, b.log) || a.frames != b.frames {
						t.Fatalf("seed %d: the same frames gave another conversation\n%v\n%v", seed, a.log, b.log)
					}
				}
			}
		})
	}
}

// What the transcript says the agent said is a beginning of what it had to say, as long as was played.
func TestHistoryHoldsWhatWasPlayed(t *testing.T) {
	t.Parallel()
	full := "您好，您，请问昨天收到的货物完好吗？完好请按一，不完好请按二。"
	prev := 0
	for ms := 200; ms < 4400; ms += 300 {
		p := newPhone(t, surveyJSON, nil, nil)
		p.until("first word", 2000, p.agentSpeaks)
		p.idle(ms)
		p.c.Close(waihu.ByCallee, "x")
		tr := p.c.Transcript()
		if len(tr) == 0 {
			t.Fatalf("%d ms: nothing recorded", ms)
		}
		got := []rune(tr[0].Text)
		if string(got) != string([]rune(full)[:len(got)]) || len(got) < prev {
			t.Errorf("%d ms: %q", ms, tr[0].Text)
		}
		prev = len(got)
	}
	if prev < len([]rune(full))-1 {
		t.Errorf("at the end only %d characters", prev)
	}
}

// A line cut in its middle with more to come: the rest of the plan follows, and the call ends.
func TestCutPlanGoesOn(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	p.until("question", 20000, p.listens)
	p.step('2')
	p.until("sorry", 1000, p.agentSpeaks)
	p.idle(300)
	p.says(1200)
	p.until("end", 15000, p.c.Done)
	tr := p.c.Transcript()
	last := tr[len(tr)-1]
	if last.Text != "感谢您的接听，再见。" || !tr[len(tr)-3].Barged || tr[len(tr)-2].Why != "interrupted" {
		t.Errorf("%+v", tr)
	}
}

func TestCollectDigits(t *testing.T) {
	t.Parallel()
	const s = `{"id":"x","brain":"flow","opening":{"wait_ms":0,"say":"请输入订单号，按井号结束。"},
		"intents":{"help":{"dtmf":"*","any":["帮助"],"do":[{"say":"请看短信里的号码。"}]}},
		"flow":{"start":"ask","nodes":{
			"ask":{"collect":{"var":"order","kind":"digits"},"else":{"times":1,"say":"请输入数字。","then":"end"},"go":"end"},
			"end":{"say":"谢谢，再见。","do":["hangup"]}}},
		"grade":[{"level":"A","when":"value('order') == '20260'"}]}`
	if probs := Check(spec(t, s)); len(probs) > 0 {
		t.Fatal(probs)
	}
	for _, tc := range []struct {
		keys, grade string
	}{{"20260#", "A"}, {"20260", "A"}, {"*20260#", "A"}, {"2026#", ""}} {
		p := newPhone(t, s, nil, nil)
		p.until("first word", 100, p.agentSpeaks)
		for _, k := range []byte(tc.keys) {
			p.step(k)
			p.idle(200)
		}
		p.until("end", 20000, p.c.Done)
		if g := Grade(p.c.script.p.spec, p.c.Facts()); g != tc.grade {
			t.Errorf("%s: collected %v, grade %q, %+v", tc.keys, p.c.Collected(), g, p.c.Transcript())
		}
	}
}
