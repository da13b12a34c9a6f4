package wrapup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"waihu"
)

// ask is all that one model is to find in one call: one request.
type ask struct {
	m       waihu.Model
	items   []itemAsk
	collect []collectAsk
	level   *source
	summary bool
}

type itemAsk struct {
	name string // in the answer; the item's id
	q    *waihu.QualityItem
	at   int // in Review.Items
}

type collectAsk struct {
	q  *waihu.CollectAsk
	at int // in Review.Collected
}

// ask asks, once more when something was wrong with the answer, and writes what was found into v. What was right in one of the two answers counts.
func (a *ask) ask(ctx context.Context, c *check, v *waihu.Review, failed int) error {
	q := a.question(c)
	for try := range 2 {
		answer, err := c.w.o.Ask(ctx, a.m, q)
		if err != nil {
			return a.failed(ctx, c, v, err, failed, try > 0)
		}
		wrong := a.take(v, answer)
		if len(wrong) == 0 {
			return nil
		}
		q.Before, q.Wrong = answer.Text, strings.Join(wrong, "; ")
	}
	a.undecided(c, v, "the model's answer was wrong twice: ", q.Wrong)
	return nil
}

// free is a name for an item in the answer: its id, unless an item of another source has it already.
func (a *ask) free(id string) string {
	name := id
	for n := 2; slices.ContainsFunc(a.items, func(x itemAsk) bool { return x.name == name }); n++ {
		name = fmt.Sprintf("%s_%d", id, n)
	}
	return name
}

// failed decides what an unanswered question means: tried again later, or undecided with the reason. What was right in a first answer is not asked for again.
func (a *ask) failed(ctx context.Context, c *check, v *waihu.Review, err error, failed int, answered bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *AskError
	if !errors.As(err, &e) {
		return err
	}
	if !answered {
		if again := c.w.again(e, a.m.ID, failed); again != nil {
			return again
		}
	}
	a.undecided(c, v, "the model did not answer: ", e.Reason)
	return nil
}

// undecided gives what is still open its reason.
func (a *ask) undecided(c *check, v *waihu.Review, why, detail string) {
	reason := short(why+detail, 300)
	for _, x := range a.items {
		if r := &v.Items[x.at]; r.Result == waihu.ItemUndecided {
			r.Reason = reason
		}
	}
	for _, x := range a.collect {
		if r := &v.Collected[x.at]; r.Undecided {
			r.Message = reason
		}
	}
	if a.level != nil {
		for i := range v.Items {
			if r := &v.Items[i]; r.Kind == kindLevel && r.Result == waihu.ItemUndecided {
				r.Reason = reason
			}
		}
	}
	if a.summary && v.Summary == "" {
		c.note("no summary: %s", reason)
	}
}

// take checks an answer against the schema, part by part, takes what is right and says what is wrong.
func (a *ask) take(v *waihu.Review, answer Answer) (wrong []string) {
	top, err := object(plain(answer.Text))
	if err != nil {
		if answer.Truncated {
			return []string{"the answer was cut off: shorter reasons are needed"}
		}
		return []string{err.Error()}
	}
	bad := func(path, format string, args ...any) {
		wrong = append(wrong, path+": "+fmt.Sprintf(format, args...))
	}
	part := func(name string) map[string]json.RawMessage {
		raw, ok := top[name]
		delete(top, name)
		if !ok {
			bad(name, "is missing")
			return nil
		}
		o, err := object(string(raw))
		if err != nil {
			bad(name, "%v", err)
		}
		return o
	}
	if len(a.items) > 0 {
		items := part("items")
		for _, x := range a.items {
			r := &v.Items[x.at]
			raw, ok := items[x.name]
			delete(items, x.name)
			if r.Result != waihu.ItemUndecided {
				continue
			}
			if !ok {
				bad("items."+x.name, "is missing")
			} else if err := readItem(raw, x.q, r); err != nil {
				bad("items."+x.name, "%v", err)
			}
		}
		for name := range items {
			bad("items."+short(name, 40), "was not asked for")
		}
	}
	if len(a.collect) > 0 {
		collect := part("collect")
		for _, x := range a.collect {
			r := &v.Collected[x.at]
			raw, ok := collect[x.q.Key]
			delete(collect, x.q.Key)
			if !r.Undecided {
				continue
			}
			if !ok {
				bad("collect."+x.q.Key, "is missing")
			} else if err := readCollect(raw, x.q, r); err != nil {
				bad("collect."+x.q.Key, "%v", err)
			}
		}
		for name := range collect {
			bad("collect."+short(name, 40), "was not asked for")
		}
	}
	if a.level != nil {
		raw, ok := top["level"]
		delete(top, "level")
		for i := range v.Items {
			if r := &v.Items[i]; r.Kind == kindLevel && r.Result == waihu.ItemUndecided {
				if !ok {
					bad("level", "is missing")
				} else if err := readLevel(raw, a.level, r); err != nil {
					bad("level", "%v", err)
				}
			}
		}
	}
	if a.summary {
		for _, x := range []struct {
			name string
			to   *string
		}{{"summary", &v.Summary}, {"suggestion", &v.Suggestion}} {
			raw, ok := top[x.name]
			delete(top, x.name)
			var s string
			switch {
			case !ok:
				bad(x.name, "is missing")
			case json.Unmarshal(raw, &s) != nil || string(raw) == "null":
				bad(x.name, "is not a text")
			case x.name == "summary" && strings.TrimSpace(s) == "":
				bad(x.name, "is empty")
			default:
				*x.to = short(strings.TrimSpace(s), 1000)
			}
		}
	}
	for name := range top {
		bad(short(name, 40), "was not asked for")
	}
	return wrong
}

// judged is the answer to one item.
type judged struct {
	Answer     json.RawMessage `json:"answer"`
	Confidence *float64        `json:"confidence"`
	Reason     *string         `json:"reason"`
}

func readJudged(raw json.RawMessage, r *waihu.ReviewItem) (json.RawMessage, error) {
	var j judged
	if err := strict(raw, &j); err != nil {
		return nil, err
	}
	switch {
	case len(j.Answer) == 0 || string(j.Answer) == "null":
		return nil, errors.New("answer is missing")
	case j.Confidence == nil || *j.Confidence < 0 || *j.Confidence > 1:
		return nil, errors.New("confidence: a number from 0 to 1 was expected")
	case j.Reason == nil:
		return nil, errors.New("reason is missing")
	}
	r.Confidence, r.Reason = j.Confidence, short(strings.TrimSpace(*j.Reason), 500)
	return j.Answer, nil
}

func readItem(raw json.RawMessage, q *waihu.QualityItem, to *waihu.ReviewItem) error {
	r := *to // an answer that is wrong leaves nothing behind
	answer, err := readJudged(raw, &r)
	if err != nil {
		return err
	}
	switch kind, options := answerKind(q.Answer); kind {
	case "bool":
		var yes bool
		if json.Unmarshal(answer, &yes) != nil {
			return errors.New("answer: true or false was expected")
		}
		verdict(&r, q, yes)
	case "score":
		var n float64
		if json.Unmarshal(answer, &n) != nil || n < 0 || n > 100 {
			return errors.New("answer: a number from 0 to 100 was expected")
		}
		r.Answer, r.Result, r.Points = fmt.Sprint(n), waihu.ItemPass, points(q)*n/100
		if n < 60 {
			r.Result = waihu.ItemFail
		}
	default:
		var s string
		if json.Unmarshal(answer, &s) != nil {
			return errors.New("answer: a text was expected")
		}
		if s = strings.TrimSpace(s); kind == "choice" && !contains(options, s) {
			return fmt.Errorf("answer: one of %s was expected", strings.Join(options, ", "))
		}
		r.Answer, r.Result, r.Of = short(s, 1000), waihu.ItemNoted, 0
	}
	*to = r
	return nil
}

// answerKind reads QualityItem.Answer: bool (default), score, text, or the choices a|b|c.
func answerKind(s string) (kind string, options []string) {
	if strings.Contains(s, "|") {
		for o := range strings.SplitSeq(s, "|") {
			options = append(options, strings.TrimSpace(o))
		}
		return "choice", options
	}
	if s == "" {
		s = "bool"
	}
	return s, nil
}

func readLevel(raw json.RawMessage, s *source, to *waihu.ReviewItem) error {
	r := *to
	answer, err := readJudged(raw, &r)
	if err != nil {
		return err
	}
	var level string
	if json.Unmarshal(answer, &level) != nil {
		return errors.New("answer: a text was expected")
	}
	if _, ok := s.levels()[level]; !ok {
		return fmt.Errorf("answer: one of %s was expected", strings.Join(sortedKeys(s.levels()), ", "))
	}
	r.Answer, r.Result = level, waihu.ItemNoted
	*to = r
	return nil
}

func readCollect(raw json.RawMessage, q *waihu.CollectAsk, to *waihu.CollectAnswer) error {
	var j struct {
		Hit    *bool   `json:"hit"`
		Answer *string `json:"answer"`
		Words  *string `json:"words"`
	}
	if err := strict(raw, &j); err != nil {
		return err
	}
	switch {
	case j.Hit == nil:
		return errors.New("hit is missing")
	case j.Answer == nil:
		return errors.New("answer is missing")
	case j.Words == nil:
		return errors.New("words is missing")
	}
	answer := strings.TrimSpace(*j.Answer)
	switch {
	case !*j.Hit && answer != "":
		return errors.New("answer: an empty text was expected with hit false")
	case *j.Hit && answer == "":
		return errors.New("answer: empty, although hit is true")
	case *j.Hit && len(q.Answers) > 0 && !contains(q.Answers, answer):
		return fmt.Errorf("answer: one of %s was expected", strings.Join(q.Answers, ", "))
	}
	to.Hit, to.Result, to.Message, to.From, to.Undecided = *j.Hit, short(answer, 500), short(strings.TrimSpace(*j.Words), 500), "model", false
	return nil
}
