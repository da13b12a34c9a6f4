package wrapup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"waihu"
)

// fromRules is Review.GradeFrom of a level that the agent's grade rules gave.
const fromRules = "rules"

// source is a list of items: the agent's, a quality check's or a score scheme's.
type source struct {
	name    string // "agent", "quality_check 1"
	version string
	waihu.Checks
}

// judges says that the source wants a level from a model.
func (s *source) judges() bool { return s != nil && (s.Prompt != "" || len(s.Levels) > 0) }

// levels are what the level may be, in order.
func (s *source) levels() map[string]string {
	if len(s.Levels) > 0 {
		return s.Levels
	}
	return waihu.DefaultLevels()
}

// check is one call being looked at.
type check struct {
	w       *Wrapup
	call    *waihu.Call
	spec    *waihu.AgentSpec // nil: gone
	quality *source
	scheme  *source
	models  []waihu.Model
	before  *waihu.Review
	again   bool

	notes []string
	in    string // what of the call is looked at
	facts *facts
	asks  []*ask // what models are to be asked, by model
}

func (c *check) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(c.notes, s) {
		c.notes = append(c.notes, s)
	}
}

// run makes the review; failed is how often it was tried. A model that does not answer is an error, until it was asked often enough.
func (c *check) run(ctx context.Context, failed int) (*waihu.Review, error) {
	o := &c.call.Outcome
	v := &waihu.Review{Call: c.call.ID, Task: c.call.Task, Agent: c.call.Agent}
	if c.spec != nil {
		v.Version = c.spec.Version
	}
	switch { // the first time it is what the call itself said
	case c.again && c.spec != nil && len(c.spec.Grade) > 0 && len(o.Facts) > 0:
		o.Grade = c.w.o.Grade(c.spec, o)
	case c.before != nil && c.before.GradeFrom != fromRules:
		o.Grade = "" // a check gave what it has, and may do so again
	}
	c.in, c.facts = input(o), factsOf(o)
	for _, s := range c.sources() {
		for i := range s.Items {
			v.Items = append(v.Items, c.item(s, &s.Items[i], len(v.Items)))
		}
	}
	level := -1
	if c.quality.judges() {
		level = len(v.Items)
		v.Items = append(v.Items, c.level())
	}
	c.collect(v)
	c.summarize(v)
	release, ok := c.w.slots.take(c.asks)
	if !ok {
		return nil, errBusy
	}
	defer release()
	for _, a := range c.asks {
		if err := a.ask(ctx, c, v, failed); err != nil {
			return nil, err
		}
	}
	score(v)
	c.grade(v, level)
	v.Notes = c.notes
	var all strings.Builder
	for _, x := range v.Items {
		all.WriteString(x.Hash)
	}
	for _, x := range v.Collected {
		all.WriteString(x.Hash)
	}
	v.Hash = digest(c.in, all.String(), v.SummaryHash)[:32]
	return v, nil
}

func (c *check) sources() (list []*source) {
	if c.spec != nil && len(c.spec.QA) > 0 {
		list = append(list, &source{name: "agent", version: strconv.Itoa(c.spec.Version), Checks: waihu.Checks{Items: c.spec.QA, Model: c.agentModel()}})
	}
	for _, s := range []*source{c.quality, c.scheme} {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}

func (c *check) agentModel() string {
	if c.spec != nil && c.spec.LLM != nil {
		return c.spec.LLM.Model
	}
	return ""
}

// item judges a rule item, or plans the question of an llm item; at is its place in Review.Items.
func (c *check) item(s *source, q *waihu.QualityItem, at int) waihu.ReviewItem {
	r := waihu.ReviewItem{ID: q.ID, Source: s.name, Kind: q.Kind, Ask: q.Ask, Fatal: q.Fatal, Version: s.version, Result: waihu.ItemUndecided, Of: max(0, points(q))}
	r.Hash = c.hash("", q)
	if q.Kind == kindRule {
		r.Ask = q.Check
		if len(c.call.Outcome.Transcript) == 0 {
			r.Reason = noTranscript
			return r
		}
		yes, err := holds(q.Check, c.facts)
		if err != nil {
			r.Reason = "the rule could not be run: " + short(err.Error(), 200)
			return r
		}
		verdict(&r, q, yes)
		return r
	}
	m, ok := c.model(s.Model, &r.Reason)
	if !ok {
		return r
	}
	r.Hash, r.Model = c.hash(modelName(m), q), modelName(m)
	if old := c.decided(&r); old != nil {
		return *old
	}
	a := c.asking(m)
	a.items = append(a.items, itemAsk{name: a.free(q.ID), q: q, at: at})
	return r
}

// decided is the same item with the same input as an earlier check has decided it.
func (c *check) decided(r *waihu.ReviewItem) *waihu.ReviewItem {
	if c.before == nil {
		return nil
	}
	for i := range c.before.Items {
		if b := &c.before.Items[i]; b.ID == r.ID && b.Source == r.Source && b.Hash == r.Hash && b.Result != waihu.ItemUndecided {
			old := *b
			old.Version = r.Version
			return &old
		}
	}
	return nil
}

const (
	noTranscript = "the call has no transcript"
	kindRule     = "rule"
	kindLLM      = "llm"
	kindLevel    = "level"
)

// model is the language model to ask; without one, or without anything to show it, reason says why not.
func (c *check) model(id string, reason *string) (waihu.Model, bool) {
	m, err := pick(c.models, id)
	if err != nil {
		*reason = err.Error()
		c.note("%s: items, questions and summaries that need one did not run", err.Error())
		return m, false
	}
	if len(c.call.Outcome.Transcript) == 0 {
		*reason = noTranscript
		return m, false
	}
	return m, true
}

// level plans the question for the level of intention.
func (c *check) level() waihu.ReviewItem {
	s := c.quality
	r := waihu.ReviewItem{ID: kindLevel, Source: s.name, Kind: kindLevel, Ask: s.Prompt, Version: s.version, Result: waihu.ItemUndecided}
	r.Hash = c.hash("", []any{s.Prompt, s.levels()})
	m, ok := c.model(s.Model, &r.Reason)
	if !ok {
		return r
	}
	r.Hash, r.Model = c.hash(modelName(m), []any{s.Prompt, s.levels()}), modelName(m)
	if old := c.decided(&r); old != nil {
		return *old
	}
	c.asking(m).level = s
	return r
}

// collect takes what the agent found out in the call, and plans the questions for the rest.
func (c *check) collect(v *waihu.Review) {
	if c.spec == nil || c.spec.LLM == nil {
		return
	}
	for i := range c.spec.LLM.Collect {
		q := &c.spec.LLM.Collect[i]
		a := waihu.CollectAnswer{Key: q.Key, Question: q.Question, Option: len(q.Answers) > 0, Hash: c.hash("", q)}
		if said, ok := c.call.Outcome.Collected[q.Key]; ok && strings.TrimSpace(said) != "" {
			a.Hit, a.Result, a.From = true, said, "agent"
			v.Collected = append(v.Collected, a)
			continue
		}
		m, ok := c.model(c.agentModel(), &a.Message)
		if !ok {
			a.Undecided = true
			v.Collected = append(v.Collected, a)
			continue
		}
		a.Hash = c.hash(modelName(m), q)
		if old := c.answered(&a); old != nil {
			v.Collected = append(v.Collected, *old)
			continue
		}
		a.Undecided = true
		c.asking(m).collect = append(c.asking(m).collect, collectAsk{q, len(v.Collected)})
		v.Collected = append(v.Collected, a)
	}
}

func (c *check) answered(a *waihu.CollectAnswer) *waihu.CollectAnswer {
	if c.before == nil {
		return nil
	}
	for i := range c.before.Collected {
		if b := &c.before.Collected[i]; b.Key == a.Key && b.Hash == a.Hash && !b.Undecided {
			old := *b
			return &old
		}
	}
	return nil
}

// summarize plans the summary, by the agent's model.
func (c *check) summarize(v *waihu.Review) {
	var reason string
	m, ok := c.model(c.agentModel(), &reason)
	if !ok {
		return
	}
	v.Model, v.SummaryHash = modelName(m), c.hash(modelName(m), "summary")
	if c.before != nil && c.before.SummaryHash == v.SummaryHash && c.before.Summary != "" {
		v.Summary, v.Suggestion = c.before.Summary, c.before.Suggestion
		return
	}
	c.asking(m).summary = true
}

// asking is the question to a model, begun when it is the first.
func (c *check) asking(m waihu.Model) *ask {
	for _, a := range c.asks {
		if a.m.ID == m.ID {
			return a
		}
	}
	a := &ask{m: m}
	c.asks = append(c.asks, a)
	return a
}

// promptVersion is part of every hash of a model's answer: raise it when the texts in prompt.go change what is asked.
const promptVersion = "1"

func (c *check) hash(model string, what any) string {
	b, err := json.Marshal(what)
	if err != nil {
		panic("wrapup: an item cannot be encoded: " + err.Error()) // texts and numbers
	}
	return digest(promptVersion, c.in, model, string(b))[:32]
}

// digest is the hex SHA-256 of texts, each with its length so that they cannot run into each other.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d:%s", len(t), t)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func modelName(m waihu.Model) string { return m.ID + " (" + m.Model + ")" }

// points is what an item gives, or takes when below 0.
func points(q *waihu.QualityItem) float64 {
	p, w := q.Score, q.Weight
	if p == 0 {
		p = 1
	}
	if w == 0 {
		w = 1
	}
	return p * w
}

// passes says whether an answer is the good one.
func passes(q *waihu.QualityItem, yes bool) bool {
	good := !(q.Kind == kindLLM && q.Fatal || points(q) < 0)
	if q.Pass != nil {
		good = *q.Pass
	}
	return yes == good
}

// verdict is the result of a yes-or-no item.
func verdict(r *waihu.ReviewItem, q *waihu.QualityItem, yes bool) {
	r.Answer, r.Result = strconv.FormatBool(yes), waihu.ItemFail
	p := points(q)
	if passes(q, yes) {
		r.Result = waihu.ItemPass
		r.Points = max(0, p)
	} else {
		r.Points = min(0, p)
	}
}

// score sums the points up: of 100, what was earned of what decided items could give, less deductions. Undecided items count on neither
// side. A fatal item that failed makes it 0.
func score(v *waihu.Review) {
	earned, of, decided := 0.0, 0.0, false
	for i := range v.Items {
		r := &v.Items[i]
		if r.Result != waihu.ItemPass && r.Result != waihu.ItemFail {
			continue
		}
		decided = true
		earned, of = earned+r.Points, of+r.Of
		if r.Fatal && r.Result == waihu.ItemFail {
			v.Fatal = true
		}
	}
	if !decided {
		return
	}
	if of == 0 { // nothing but deductions: they begin at 100
		earned, of = earned+100, 100
	}
	s := math.Round(min(max(earned/of, 0), 1)*1000) / 10
	if v.Fatal {
		s = 0
	}
	v.Score = &s
}

// grade decides the call's level: the model's, the quality check's rules, the agent's rules, in this order.
func (c *check) grade(v *waihu.Review, level int) {
	v.Grade, v.GradeFrom = c.call.Outcome.Grade, fromRules
	if v.Grade == "" {
		v.GradeFrom = ""
	}
	if level >= 0 && v.Items[level].Result == waihu.ItemNoted {
		v.Grade, v.GradeFrom, v.GradeWhy = v.Items[level].Answer, v.Items[level].Source, v.Items[level].Reason
		return
	}
	if c.quality == nil {
		return
	}
	if level >= 0 && c.before != nil && c.before.GradeFrom == c.quality.name && c.before.Grade != "" { // a model that is away takes back nothing
		v.Grade, v.GradeFrom, v.GradeWhy = c.before.Grade, c.before.GradeFrom, c.before.GradeWhy
		c.note("the level is that of the check before: this one has none")
		return
	}
	if len(c.quality.Grade) == 0 {
		return
	}
	f := *c.facts
	f.Item = func(id string) string {
		for _, s := range []string{c.quality.name, "agent", ""} { // the check's own items first
			for i := range v.Items {
				if r := &v.Items[i]; r.ID == id && (s == "" || r.Source == s) {
					return string(r.Result)
				}
			}
		}
		return ""
	}
	if v.Score != nil {
		f.Score = *v.Score
	}
	f.Collected = func(key string) string {
		for i := range v.Collected {
			if v.Collected[i].Key == key && v.Collected[i].Hit {
				return v.Collected[i].Result
			}
		}
		return c.facts.Collected(key)
	}
	for _, r := range c.quality.Grade {
		if yes, err := holds(r.When, &f); err == nil && yes {
			v.Grade, v.GradeFrom, v.GradeWhy = r.Level, c.quality.name, r.When
			return
		}
	}
}

func parseID(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n <= 0 {
		err = errors.New("not above 0")
	}
	return n, err
}

func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
