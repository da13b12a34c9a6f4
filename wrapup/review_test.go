package wrapup

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
)

// judgedAgent has one item of each kind and two questions.
func judgedAgent() waihu.AgentSpec {
	return waihu.AgentSpec{QA: []waihu.QualityItem{
		{ID: "disclose", Kind: "rule", Check: "agent_said_within(10, ['您好'])", Score: 10},
		{ID: "slow", Kind: "rule", Check: "agent_latency_max > 1", Score: -5},
		{ID: "polite", Kind: "llm", Ask: "坐席是否始终礼貌？", Answer: "bool", Weight: 2},
		{ID: "no_threat", Kind: "llm", Ask: "是否出现威胁？", Answer: "bool", Fatal: true},
		{ID: "topic", Kind: "llm", Ask: "谈了什么？", Answer: "text"},
		{ID: "mood", Kind: "llm", Ask: "客户情绪", Answer: "好|坏"},
		{ID: "clear", Kind: "llm", Ask: "表达是否清楚", Answer: "score", Score: 10},
	}, LLM: &waihu.LLMSpec{Collect: []waihu.CollectAsk{{Key: "visit", Question: "是否到店", Answers: []string{"是", "否"}}, {Key: "why", Question: "原因"}}}}
}

const goodAnswer = "<think>想一想</think>```json\n" + `{"items":{"polite":{"answer":true,"confidence":0.9,"reason":"礼貌"},"no_threat":{"answer":false,"confidence":1,"reason":"没有"},
	"topic":{"answer":"账单","confidence":0.5,"reason":""},"mood":{"answer":"好","confidence":0.5,"reason":"笑"},"clear":{"answer":80,"confidence":0.7,"reason":"清楚"}},
	"collect":{"visit":{"hit":true,"answer":"是","words":"知道了"},"why":{"hit":false,"answer":"","words":""}},"summary":"客户知道了。","suggestion":"跟进"}` + "\n```"

func TestReviewByModel(t *testing.T) {
	t.Parallel()
	d := newDesk(t, judgedAgent(), nil)
	d.models = someModels
	d.answer = func(int, waihu.Model, Question) (Answer, error) { return Answer{Text: goodAnswer}, nil }
	d.run()
	id := d.calls(aCall())[0]
	v := d.review(id)
	for name, want := range map[string]string{"disclose": "pass true 10/10", "slow": "fail true -5/0", "polite": "pass true 2/2", "no_threat": "pass false 1/1",
		"topic": "noted 账单 0/0", "mood": "noted 好 0/0", "clear": "pass 80 8/10"} {
		r := d.item(v, "agent", name)
		if name == "slow" {
			want = "fail true -5/0" // a deduction asks for what must not be
		}
		if got := fmt.Sprintf("%s %s %v/%v", r.Result, r.Answer, r.Points, r.Of); got != want || r.Version != "1" || len(r.Hash) != 32 {
			t.Errorf("%s: %s, want %s; %+v", name, got, want, r)
		}
		if (r.Kind == "llm") != (r.Model == "m1 (qwen)") {
			t.Errorf("%s was answered by %q", name, r.Model)
		}
	}
	if v.Score == nil || math.Abs(*v.Score-69.6) > 1e-9 || v.Fatal { // (10-5+2+1+8)/23
		t.Errorf("score %v, fatal %v", v.Score, v.Fatal)
	}
	if v.Grade != "B" || v.GradeFrom != "rules" || v.Summary != "客户知道了。" || v.Suggestion != "跟进" || v.Model != "m1 (qwen)" || v.Version != 1 || v.Undecided() != 0 || len(v.Notes) != 0 || len(v.Hash) != 32 {
		t.Errorf("%+v", v)
	}
	if a := v.Collected; len(a) != 2 || !a[0].Hit || a[0].Result != "是" || !a[0].Option || a[0].From != "model" || a[1].Hit || a[1].Undecided {
		t.Errorf("%+v", a)
	}
	if e := d.events(waihu.EventCallReviewed); !slices.Equal(e, []string{id.String() + ` {"seq":1,"attempt":1,"disposition":"answered","grade":"B"}`}) {
		t.Errorf("%v", e)
	}
	q := d.asked[0]
	if len(d.asked) != 1 || !strings.Contains(q.User, "[00:06] 坐席：您有一笔 ABC 账单。") || !strings.Contains(q.User, "按键 1") || strings.Contains(q.User, "138000") {
		t.Errorf("asked %d times: %s", len(d.asked), q.User)
	}
}

// TestAnswers: everything that a model can say instead of what it was asked.
func TestAnswers(t *testing.T) {
	t.Parallel()
	bad := func(old, new string) string { // good but for one place
		if strings.Count(goodAnswer, old) != 1 {
			t.Fatalf("%q stands %d times in the answer", old, strings.Count(goodAnswer, old))
		}
		return strings.Replace(goodAnswer, old, new, 1)
	}
	absent := func(retryable bool) func(int) (Answer, error) {
		return func(int) (Answer, error) {
			return Answer{}, &AskError{Reason: "no answer in time", Retryable: retryable}
		}
	}
	twice := func(text string) func(int) (Answer, error) {
		return func(int) (Answer, error) { return Answer{Text: text}, nil }
	}
	type kase struct {
		answer func(n int) (Answer, error)
		times  int    // it is asked
		open   int    // items and questions that stay undecided
		reason string // in one of them
	}
	type tried struct {
		kase
		name  string
		asked []Question
	}
	var list []*tried
	for name, x := range map[string]kase{
		"valid at the second time": {func(n int) (Answer, error) {
			return Answer{Text: []string{"我不知道", goodAnswer}[min(n, 1)]}, nil
		}, 2, 0, ""},
		"half right twice, other halves": {func(n int) (Answer, error) {
			return Answer{Text: []string{bad(`"answer":80`, `"answer":"高"`), bad(`"answer":true`, `"answer":"yes"`)}[n]}, nil
		}, 2, 0, ""},
		"no JSON":                    {twice("抱歉。"), 2, 7, "not a JSON object"},
		"a list":                     {twice("[1]"), 2, 7, "not a JSON object"},
		"null":                       {twice("null"), 2, 7, "not a JSON object"},
		"empty":                      {twice(""), 2, 7, "not a JSON object"},
		"something behind":           {twice(`{"items":{}} {"items":{}}`), 2, 7, "not a JSON object"},
		"cut off":                    {func(int) (Answer, error) { return Answer{Text: goodAnswer[:200], Truncated: true}, nil }, 2, 7, "cut off"},
		"no items":                   {twice(`{"collect":{"visit":{"hit":true,"answer":"是","words":""},"why":{"hit":false,"answer":"","words":""}},"summary":"a","suggestion":""}`), 2, 5, "items: is missing"},
		"items is a list":            {twice(bad(`"items":{"polite"`, `"items":[1],"x":{"polite"`)), 2, 5, "items: not a JSON object"},
		"bool as text":               {twice(bad(`"answer":true`, `"answer":"true"`)), 2, 1, "items.polite: answer: true or false was expected"},
		"no answer":                  {twice(bad(`"answer":true,`, ``)), 2, 1, "items.polite: answer is missing"},
		"null as answer":             {twice(bad(`"answer":true`, `"answer":null`)), 2, 1, "items.polite: answer is missing"},
		"confidence over 1":          {twice(bad(`"confidence":0.9`, `"confidence":90`)), 2, 1, "confidence: a number from 0 to 1"},
		"no confidence":              {twice(bad(`"confidence":0.9,`, ``)), 2, 1, "confidence"},
		"no reason":                  {twice(bad(`,"reason":"礼貌"`, ``)), 2, 1, "reason is missing"},
		"more than was asked":        {twice(bad(`"reason":"礼貌"`, `"reason":"礼貌","extra":1`)), 2, 1, "not an object of the right fields"},
		"a choice of its own":        {twice(bad(`"answer":"好"`, `"answer":"一般"`)), 2, 1, "one of 好, 坏 was expected"},
		"score over 100":             {twice(bad(`"answer":80`, `"answer":800`)), 2, 1, "0 to 100"},
		"unknown preset answer":      {twice(bad(`"answer":"是"`, `"answer":"也许"`)), 2, 1, "one of 是, 否 was expected"},
		"an answer without a hit":    {twice(bad(`"hit":false,"answer":""`, `"hit":false,"answer":"x"`)), 2, 1, "with hit false"},
		"a hit without an answer":    {twice(bad(`"hit":true,"answer":"是"`, `"hit":true,"answer":""`)), 2, 1, "although hit is true"},
		"hit is missing":             {twice(bad(`"hit":true,`, ``)), 2, 1, "hit is missing"},
		"an item that was not asked": {twice(bad(`"items":{`, `"items":{"own":{"answer":true,"confidence":1,"reason":""},`)), 2, 0, ""},
		"no summary":                 {twice(bad(`"summary":"客户知道了。",`, ``)), 2, 0, ""},
		"absent, for good":           {absent(false), 1, 7, "no answer in time"},
		"absent, three times":        {absent(true), 3, 7, "no answer in time"},
		"absent, then there": {func(n int) (Answer, error) {
			if n < 2 {
				return absent(true)(n)
			}
			return Answer{Text: goodAnswer}, nil
		}, 3, 0, ""},
	} {
		list = append(list, &tried{kase: x, name: name})
	}
	// One desk for all: each call's callee says the number of its case, by which the model knows what to answer.
	d := newDesk(t, judgedAgent(), nil)
	d.models = someModels
	d.answer = func(_ int, _ waihu.Model, q Question) (Answer, error) {
		for i, x := range list {
			if !strings.Contains(q.User, fmt.Sprintf("客户：第%d例", i)) {
				continue
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			x.asked = append(x.asked, q)
			return x.answer(len(x.asked) - 1)
		}
		return Answer{}, errors.New("asked about no call of ours")
	}
	var outcomes []*waihu.Outcome
	for i := range list {
		o := aCall()
		o.Transcript[1].Text = fmt.Sprintf("第%d例", i)
		outcomes = append(outcomes, o)
	}
	ids := d.calls(outcomes...)
	d.run()
	for i, x := range list {
		t.Run(x.name, func(t *testing.T) {
			v := d.review(ids[i])
			d.mu.Lock()
			defer d.mu.Unlock()
			if len(x.asked) != x.times || v.Undecided() != x.open {
				t.Errorf("asked %d times, want %d; %d undecided, want %d: %+v", len(x.asked), x.times, v.Undecided(), x.open, v)
			}
			found := x.reason == ""
			for _, r := range v.Items {
				found = found || r.Result == waihu.ItemUndecided && strings.Contains(r.Reason, x.reason)
				if r.Result == waihu.ItemUndecided && (r.Reason == "" || r.Points != 0 || r.Answer != "" || r.Confidence != nil) {
					t.Errorf("undecided, but %+v", r)
				}
			}
			for _, a := range v.Collected {
				found = found || a.Undecided && strings.Contains(a.Message, x.reason)
				if a.Undecided && (a.Message == "" || a.Hit || a.Result != "") {
					t.Errorf("undecided, but %+v", a)
				}
			}
			if !found {
				t.Errorf("no reason %q in %+v", x.reason, v)
			}
			n := 0
			for _, e := range d.events(waihu.EventCallReviewed) {
				if strings.HasPrefix(e, ids[i].String()+" ") {
					n++
				}
			}
			if n != 1 { // always, and once
				t.Errorf("%d events", n)
			}
			if d.item(v, "agent", "disclose").Result != waihu.ItemPass || v.Score == nil {
				t.Errorf("the rules did not run: %+v", v)
			}
			if x.times == 2 && x.asked[1].Wrong == "" {
				t.Error("the second question does not say what was wrong")
			}
		})
	}
}

// TestWithoutModel: rules run, everything else says why it did not.
func TestWithoutModel(t *testing.T) {
	t.Parallel()
	d := newDesk(t, judgedAgent(), func(k *waihu.Task) { k.QualityCheck, k.ScoreScheme = "1", "uuid-of-somebody" })
	d.must(d.SaveNamed(t.Context(), &waihu.Named{Kind: waihu.QualityCheck, ID: 1, Account: "acme", Name: "质检条件1", Data: []byte(`{"default":false,"llm_type":0}`)}))
	d.run()
	silent := aCall()
	silent.Transcript = nil
	said := aCall()
	said.Collected = map[string]string{"visit": "是"}
	ids := d.calls(aCall(), silent, said)
	v := d.review(ids[0])
	if v.Undecided() != 7 || v.Score == nil || *v.Score != 50 || v.Model != "" || v.Summary != "" {
		t.Errorf("%+v", v)
	}
	if r := d.item(v, "agent", "polite"); r.Reason != "no language model is configured" {
		t.Errorf("%+v", r)
	}
	notes := strings.Join(v.Notes, "\n")
	for _, want := range []string{"no language model is configured", "quality_check 1 (质检条件1) has no prompt", "score_scheme uuid-of-somebody: there is none"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes do not say %q: %s", want, notes)
		}
	}
	v = d.review(ids[1])
	if v.Undecided() != 9 || v.Score != nil || d.item(v, "agent", "disclose").Reason != "the call has no transcript" {
		t.Errorf("without a transcript: %+v", v)
	}
	v = d.review(ids[2])
	if a := v.Collected[0]; !a.Hit || a.Result != "是" || a.From != "agent" || a.Undecided {
		t.Errorf("collected in the call: %+v", a)
	}
	if c, err := d.Counts(t.Context(), "acme", "t"); err != nil || c.Hits != 1 || c.Reviewing != 0 || c.Intention["B"] != 3 {
		t.Errorf("%+v %v", c, err)
	}
}

// TestLevels: the level after the check is the model's, then the check's rules', then the agent's.
func TestLevels(t *testing.T) {
	t.Parallel()
	d := newDesk(t, waihu.AgentSpec{}, func(k *waihu.Task) { k.QualityCheck, k.ScoreScheme = "1", "2" })
	rules := []waihu.GradeRule{{Level: "C", When: "item('rude') == 'fail' or score < 10"}, {Level: "D", When: "callee_said('知道') and item('polite') == 'pass' and collected('reason') == '忙'"}}
	d.named(waihu.QualityCheck, 1, waihu.Checks{Model: "m2", Prompt: "看态度", Grade: rules, Items: []waihu.QualityItem{{ID: "polite", Kind: "rule", Check: "agent_said('您好')"}}})
	d.named(waihu.ScoreScheme, 2, waihu.Checks{Items: []waihu.QualityItem{{ID: "polite", Kind: "llm", Ask: "礼貌？", Score: 4}, {ID: "calm", Kind: "rule", Check: "true", Score: 6, Pass: no()}}})
	d.run()
	level := func(text string) waihu.Review {
		t.Helper()
		d.mu.Lock()
		d.answer = func(_ int, m waihu.Model, q Question) (Answer, error) {
			if m.ID == "m2" {
				if !strings.Contains(q.User, "看态度") || !strings.Contains(q.User, "D：用户在忙") {
					return Answer{}, errors.New("not what the check asks")
				}
				return Answer{Text: text}, nil
			}
			return Answer{Text: `{"items":{"polite":{"answer":true,"confidence":1,"reason":""}},"summary":"s","suggestion":""}`}, nil
		}
		d.mu.Unlock()
		return d.review(d.calls(aCall())[0])
	}
	v := level("")
	if v.Grade != "D" || v.GradeFrom != "quality_check 1" || !strings.Contains(d.item(v, "quality_check 1", "level").Reason, "no language model") {
		t.Errorf("by rules: %+v", v)
	}
	d.mu.Lock()
	d.models = someModels
	d.mu.Unlock()
	v = level(`{"level":{"answer":"A","confidence":0.8,"reason":"感兴趣"}}`)
	if v.Grade != "A" || v.GradeFrom != "quality_check 1" || v.GradeWhy != "感兴趣" || v.Summary != "s" {
		t.Errorf("by the model: %+v", v)
	}
	if *v.Score != 45.5 { // 1 + 4 of 1 + 4 + 6: calm asks for what must not be
		t.Errorf("score %v: %+v", *v.Score, v.Items)
	}
	v = level(`{"level":{"answer":"F","confidence":0.8,"reason":"x"}}`)
	if r := d.item(v, "quality_check 1", "level"); v.Grade != "D" || r.Result != waihu.ItemUndecided || !strings.Contains(r.Reason, "one of A, B, C, D, E was expected") {
		t.Errorf("a level of its own: %+v", v)
	}
	c, err := d.Counts(t.Context(), "acme", "t")
	if err != nil || c.Intention["A"] != 1 || c.Intention["D"] != 2 || c.Intention["B"] != 0 {
		t.Errorf("%+v %v", c.Intention, err)
	}
	// Asked again something else while the model is away: what it gave before stays.
	d.named(waihu.QualityCheck, 1, waihu.Checks{Model: "m2", Prompt: "看意向", Grade: rules})
	d.mu.Lock()
	d.answer = func(int, waihu.Model, Question) (Answer, error) { return Answer{}, &AskError{Reason: "away"} }
	d.mu.Unlock()
	_, err = d.Regrade(t.Context(), "acme", "t")
	d.must(err)
	d.until("all checked again", func() bool {
		c, err := d.Counts(t.Context(), "acme", "t")
		d.must(err)
		return c.Reviewing == 0
	})
	if c, err = d.Counts(t.Context(), "acme", "t"); err != nil || c.Intention["A"] != 1 || c.Intention["D"] != 2 {
		t.Errorf("%+v %v", c.Intention, err)
	}
	list, _, err := d.Calls(t.Context(), "acme", "t", waihuCallsByGrade("A"))
	if err != nil || len(list) != 1 || list[0].Outcome.Grade != "A" {
		t.Errorf("%+v %v", list, err)
	}
}

func TestScore(t *testing.T) {
	t.Parallel()
	type item struct {
		score, weight float64
		fatal         bool
		kind          string
		pass          *bool
		yes           bool
	}
	for name, x := range map[string]struct {
		items []item
		want  float64
	}{
		"all":                     {[]item{{yes: true}, {score: 10, yes: true}}, 100},
		"none":                    {[]item{{}, {score: 10}}, 0},
		"weights":                 {[]item{{score: 2, weight: 3, yes: true}, {score: 4}}, 60},
		"deductions alone":        {[]item{{score: -20, yes: true}, {score: -30}}, 80},
		"more deducted than had":  {[]item{{score: 10, yes: true}, {score: -30, yes: true}}, 0},
		"fatal rule passes":       {[]item{{fatal: true, kind: kindRule, yes: true}, {yes: true}}, 100},
		"fatal rule fails":        {[]item{{fatal: true, kind: kindRule}, {yes: true}}, 0},
		"fatal question, no":      {[]item{{fatal: true, kind: kindLLM}, {yes: true}}, 100},
		"fatal question, yes":     {[]item{{fatal: true, kind: kindLLM, yes: true}, {yes: true}}, 0},
		"fatal question, as said": {[]item{{fatal: true, kind: kindLLM, yes: true, pass: yes()}, {yes: true}}, 100},
		"deduction, as said":      {[]item{{score: -10, pass: yes(), yes: true}, {score: 10, yes: true}}, 100},
	} {
		v := &waihu.Review{Items: []waihu.ReviewItem{{Result: waihu.ItemUndecided, Of: 50}}} // counts on neither side
		for _, i := range x.items {
			q := &waihu.QualityItem{Kind: i.kind, Score: i.score, Weight: i.weight, Fatal: i.fatal, Pass: i.pass}
			r := waihu.ReviewItem{Fatal: i.fatal, Of: max(0, points(q))}
			verdict(&r, q, i.yes)
			v.Items = append(v.Items, r)
		}
		if score(v); v.Score == nil || *v.Score != x.want {
			t.Errorf("%s: %v, want %v", name, v.Score, x.want)
		}
	}
	v := &waihu.Review{Items: []waihu.ReviewItem{{Result: waihu.ItemUndecided}, {Result: waihu.ItemNoted}}}
	if score(v); v.Score != nil {
		t.Errorf("a score of nothing: %v", *v.Score)
	}
}

// TestRegrade: a newer version judges the same calls again; what is the same costs nothing.
func TestRegrade(t *testing.T) {
	t.Parallel()
	spec := judgedAgent()
	spec.Grade = []waihu.GradeRule{{Level: "B", When: "true"}}
	d := newDesk(t, spec, nil)
	d.models = someModels
	d.answer = func(int, waihu.Model, Question) (Answer, error) { return Answer{Text: goodAnswer}, nil }
	d.run()
	o := aCall()
	o.Facts = []byte(`{"answered":true}`)
	id := d.calls(o)[0]
	first := d.review(id)
	again := func() waihu.Review {
		t.Helper()
		if n, err := d.Regrade(t.Context(), "acme", "t"); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		d.until("no job left", func() bool {
			c, err := d.JobCounts(t.Context(), "")
			d.must(err)
			for _, x := range c {
				if x.Waiting > 0 {
					return false
				}
			}
			return true
		})
		return d.review(id)
	}
	same := again()
	if len(d.asked) != 1 || len(d.events(waihu.EventCallReviewed)) != 1 || same.At != first.At {
		t.Errorf("unchanged, but asked %d times: %v", len(d.asked), d.events(waihu.EventCallReviewed))
	}
	spec = judgedAgent()
	spec.ID, spec.Account, spec.Name, spec.Brain = "a", "acme", "a", waihu.BrainFlow
	spec.QA[0].Score = 20
	spec.QA[2].Ask = "坐席是否礼貌地结束？"
	spec.Grade = []waihu.GradeRule{{Level: "E", When: "true"}}
	d.must(d.SaveAgent(t.Context(), &spec))
	d.mu.Lock()
	d.answer = func(_ int, _ waihu.Model, q Question) (Answer, error) {
		text := `{"items":{"polite":{"answer":false,"confidence":0.9,"reason":"没有"}}}`
		if strings.Contains(q.User, "summary") { // the grade is part of what is looked at: everything is asked again
			text = strings.Replace(goodAnswer, `"answer":true`, `"answer":false`, 1)
		}
		return Answer{Text: text}, nil
	}
	d.mu.Unlock()
	v := again()
	if v.Version != 2 || v.Grade != "E" || d.item(v, "agent", "polite").Result != waihu.ItemFail || d.item(v, "agent", "disclose").Points != 20 || d.item(v, "agent", "polite").Version != "2" || v.Hash == first.Hash {
		t.Errorf("%+v", v)
	}
	e := d.events(waihu.EventCallReviewed)
	if len(e) != 2 || !strings.HasSuffix(e[1], `"grade":"E","again":true}`) || len(d.asked) != 2 {
		t.Errorf("%v after %d questions", e, len(d.asked))
	}
	c, err := d.Counts(t.Context(), "acme", "t")
	if err != nil || c.Intention["E"] != 1 || c.Intention["B"] != 0 || c.Hits != 1 {
		t.Errorf("%+v %v", c, err)
	}
	// What stayed undecided is asked again, and only that.
	d.mu.Lock()
	spec.QA = append(spec.QA, waihu.QualityItem{ID: "new", Kind: "llm", Ask: "新的？"})
	spec.Version = 0
	n := len(d.asked)
	d.answer = func(n int, _ waihu.Model, q Question) (Answer, error) {
		if strings.Contains(q.User, "items.polite") || strings.Contains(q.User, "summary：") {
			return Answer{}, errors.New("asked again what is known")
		}
		return Answer{Text: "?"}, nil
	}
	d.mu.Unlock()
	d.must(d.SaveAgent(t.Context(), &spec))
	if v = again(); v.Undecided() != 1 || len(d.asked) != n+2 {
		t.Errorf("asked %d times: %+v", len(d.asked)-n, v)
	}
	d.mu.Lock()
	d.answer = func(int, waihu.Model, Question) (Answer, error) {
		return Answer{Text: `{"items":{"new":{"answer":true,"confidence":1,"reason":"是"}}}`}, nil
	}
	d.mu.Unlock()
	if v = again(); v.Undecided() != 0 || d.item(v, "agent", "new").Result != waihu.ItemPass {
		t.Errorf("%+v", v)
	}
}

// TestBroken: a check that fails for a reason of ours ends all the same, with its event.
func TestBroken(t *testing.T) {
	t.Parallel()
	d := newDesk(t, judgedAgent(), nil)
	d.models = someModels
	d.answer = func(int, waihu.Model, Question) (Answer, error) { panic("boom") }
	d.run()
	id := d.calls(aCall())[0]
	v := d.review(id)
	if len(v.Items) != 0 || len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "could not be made") || v.Grade != "B" || strings.Contains(v.Notes[0], "boom") {
		t.Errorf("%+v", v)
	}
	if e := d.events(waihu.EventCallReviewed); len(e) != 1 {
		t.Errorf("%v", e)
	}
}

// TestSlowModel: a model that hangs holds up the reviews that need it, as many at once as it may be asked, and no others.
func TestSlowModel(t *testing.T) {
	t.Parallel()
	d := newDesk(t, waihu.AgentSpec{QA: []waihu.QualityItem{{ID: "hello", Kind: "rule", Check: "agent_said('您好')"}}}, nil)
	spec := judgedAgent()
	spec.ID, spec.Account, spec.Name, spec.Brain = "b", "acme", "b", waihu.BrainFlow
	d.must(d.SaveAgent(t.Context(), &spec))
	hold := make(chan bool)
	d.models = []waihu.Model{{ID: "m1", Model: "slow", Parallel: 3}}
	inside, most := 0, 0
	d.answer = func(int, waihu.Model, Question) (Answer, error) {
		d.mu.Lock()
		inside++
		most = max(most, inside)
		d.mu.Unlock()
		<-hold
		d.mu.Lock()
		inside--
		d.mu.Unlock()
		return Answer{Text: goodAnswer}, nil
	}
	list := make([]*waihu.Outcome, 150)
	for i := range list {
		list[i] = aCall()
	}
	d.agent = "b"
	slow := d.calls(list...)
	d.run()
	d.until("the model is asked", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return inside == 3 })
	silent := aCall()
	silent.Transcript = nil // nothing to show a model
	d.agent = "a"
	d.review(d.calls(silent)[0])
	d.mu.Lock()
	if most != 3 {
		t.Errorf("asked %d questions at once", most)
	}
	d.mu.Unlock()
	close(hold)
	d.review(slow[0])
}

// TestBusyModel: a model that has too much to do is waited for, longer than one that is away, and asked no sooner than it wants.
func TestBusyModel(t *testing.T) {
	t.Parallel()
	const wish = 200 * time.Millisecond
	d := newDesk(t, judgedAgent(), nil)
	d.models = someModels
	var at []time.Time
	d.answer = func(n int, _ waihu.Model, _ Question) (Answer, error) {
		d.mu.Lock()
		at = append(at, time.Now())
		d.mu.Unlock()
		switch {
		case n == 0:
			return Answer{}, &AskError{Reason: "too much to do", Retryable: true, Busy: true, After: wish}
		case n < 3:
			return Answer{}, &AskError{Reason: "too much to do", Retryable: true, Busy: true}
		}
		return Answer{Text: goodAnswer}, nil
	}
	d.run()
	v := d.review(d.calls(aCall())[0])
	if v.Undecided() != 0 || v.Summary == "" {
		t.Errorf("%+v", v)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if waited := at[1].Sub(at[0]); waited < wish {
		t.Errorf("asked again after %v", waited)
	}
}
