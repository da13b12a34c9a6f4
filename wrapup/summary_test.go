package wrapup

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

func TestOverview(t *testing.T) {
	t.Parallel()
	got := Overview([]waihu.CollectAsk{{Key: "visit", Question: "是否到店", Answers: []string{"是", "否", "未定"}}, {Key: "why", Question: "原因"}, {Key: "none", Question: "没人答"}},
		[]store.Answer{{Key: "visit", Answer: "是", N: 2}, {Key: "visit", Answer: "也许", N: 1}, {Key: "why", Answer: "", N: 5}, {Key: "why", Answer: "忙", N: 3}, {Key: "old", Answer: "x", N: 1}})
	want := []string{
		"visit 是否到店 3 true [{是 2 66.7%} {否 0 0%} {未定 0 0%} {也许 1 33.3%}]",
		"why 原因 8 false [{其他 5 62.5%} {忙 3 37.5%}]",
		"none 没人答 0 false []",
		"old old 1 false [{x 1 100%}]",
	}
	for i, q := range got {
		if s := fmt.Sprint(q.Key, " ", q.Question, " ", q.Total, " ", q.Option, " ", q.Results); i >= len(want) || s != want[i] {
			t.Errorf("%d: %s", i, s)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d questions", len(got))
	}
}

// TestFigures: numbers that were passed over were not called.
func TestFigures(t *testing.T) {
	t.Parallel()
	d := newDesk(t, waihu.AgentSpec{}, nil)
	d.calls(aCall(), aCall())
	_, err := d.AddNumbers(t.Context(), "acme", "t", []store.NewNumber{{Phone: "13900000001"}})
	d.must(err)
	d.must(d.Suppress(t.Context(), "acme", "13900000001", "said no", 0))
	_, err = d.Tick(t.Context(), &store.Tick{Epoch: d.epoch, Owner: "test", Now: time.Now(), Pops: []store.Pop{{Task: "t", Account: "acme", Run: 1, Fresh: true, Limit: 9,
		Decide: func(store.PoppedNumber) store.Decision { return store.Decision{Outcome: waihu.Blacklisted} }}}})
	d.must(err)
	c, err := d.Counts(t.Context(), "acme", "t")
	d.must(err)
	if got := figures(&waihu.Task{Name: "t"}, &c, nil); !strings.Contains(got, "共3个号码，已呼叫2个，接通2个，接通率100%") {
		t.Error(got)
	}
}

// summed waits for the task's summary of its only run.
func (d *desk) summed() (sum waihu.TaskSummary) {
	d.Helper()
	d.until("summary of the task", func() bool {
		var err error
		sum, err = d.TaskSummary(d.Context(), "acme", "t")
		return err == nil
	})
	return sum
}

// TestTaskSummary: it waits for the last review, counts the answers, and is written by a model or says that it is not.
func TestTaskSummary(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		models []waihu.Model
		answer func(n int) (Answer, error) // of the summary alone
		model  string
		note   string
		asked  int
	}{
		"no model":    {note: "no language model is configured"},
		"a model":     {models: someModels, answer: func(int) (Answer, error) { return Answer{Text: `{"summary":"很好","suggestion":"继续"}`}, nil }, model: "m1 (qwen)", asked: 1},
		"wrong twice": {models: someModels, answer: func(int) (Answer, error) { return Answer{Text: `{"summary":""}`}, nil }, note: "wrong twice: summary is missing or empty", asked: 2},
		"truncated":   {models: someModels, answer: func(int) (Answer, error) { return Answer{Text: `{"summary":"很`, Truncated: true}, nil }, note: "wrong twice: the answer was cut off", asked: 2},
		"absent":      {models: someModels, answer: func(int) (Answer, error) { return Answer{}, &AskError{Reason: "no answer in time", Retryable: true} }, note: "no answer in time", asked: 3},
		"right at last": {models: someModels, answer: func(n int) (Answer, error) {
			return Answer{Text: []string{"x", `{"summary":"很好","suggestion":""}`}[n]}, nil
		}, model: "m1 (qwen)", asked: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := waihu.AgentSpec{LLM: &waihu.LLMSpec{Collect: []waihu.CollectAsk{{Key: "visit", Question: "是否到店", Answers: []string{"是", "否"}}}}}
			d := newDesk(t, spec, nil)
			asked := 0
			hold := make(chan bool)
			d.models = x.models
			d.answer = func(_ int, _ waihu.Model, q Question) (Answer, error) {
				if q.Name == "review" {
					<-hold
					return Answer{Text: `{"summary":"客户说好","suggestion":""}`}, nil
				}
				d.mu.Lock()
				defer d.mu.Unlock()
				asked++
				if !strings.Contains(q.User, "客户说好") || !strings.Contains(q.User, "是 2个（66.7%）") {
					t.Errorf("asked without the facts: %s", q.User)
				}
				return x.answer(asked - 1)
			}
			said := func(answer string) *waihu.Outcome {
				o := aCall()
				o.Collected = map[string]string{"visit": answer}
				return o
			}
			d.calls(said("是"), said("否"), said("是"))
			d.must(d.StopTask(t.Context(), "acme", "t"))
			d.run()
			if len(x.models) > 0 {
				d.until("reviews are under way", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return len(d.asked) == 3 })
				if _, err := d.TaskSummary(t.Context(), "acme", "t"); waihu.ErrorCode(err) != waihu.ENotFound || asked > 0 {
					t.Errorf("summed up before the last review: %v", err)
				}
			}
			close(hold)
			sum := d.summed()
			if sum.Model != x.model || !strings.Contains(sum.Note, x.note) || asked != x.asked {
				t.Errorf("asked %d times: %+v", asked, sum)
			}
			if x.model == "" && (!strings.Contains(sum.Summary, "接通3个，接通率100%；意向等级：B级3个；“是否到店”有3个回答：是 2个（66.7%）、否 1个（33.3%）") || !strings.Contains(sum.Summary, "未使用大模型") || sum.Suggestion == "") {
				t.Errorf("%+v", sum)
			}
			if x.model != "" && sum.Summary != "很好" {
				t.Errorf("%+v", sum)
			}
			if o := sum.Overview; len(o) != 1 || o[0].Total != 3 || !o[0].Option || !slices.Equal(o[0].Results, []waihu.AnswerCount{{Result: "是", Total: 2, Percent: "66.7%"}, {Result: "否", Total: 1, Percent: "33.3%"}}) {
				t.Errorf("%+v", o)
			}
			if e := d.events(waihu.EventRunReviewed); !slices.Equal(e, []string{`0 {"run":1,"reason":"operator"}`}) {
				t.Errorf("%v", e)
			}
		})
	}
}
