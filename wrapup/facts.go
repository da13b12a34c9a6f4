package wrapup

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
	"golang.org/x/text/width"

	"waihu"
)

// facts is what rule items may ask about a finished call: names of expr-lang, see docs/grading.md. Times are in seconds.
type facts struct {
	Duration      float64 `expr:"duration"`
	Turns         int     `expr:"turns"`
	Rounds        int     `expr:"rounds"`
	AgentTalk     float64 `expr:"agent_talk"`
	CalleeTalk    float64 `expr:"callee_talk"`
	TalkRatio     float64 `expr:"talk_ratio"`
	Silence       float64 `expr:"longest_silence"`
	Overlaps      int     `expr:"overlaps"`
	OverlapTime   float64 `expr:"overlap_time"`
	Interruptions int     `expr:"interruptions"`
	Latency       float64 `expr:"agent_latency"`
	MaxLatency    float64 `expr:"agent_latency_max"`
	SpeechRate    float64 `expr:"speech_rate"`
	CalleeRate    float64 `expr:"callee_speech_rate"`

	Grade   string   `expr:"grade"`
	EndedBy string   `expr:"ended_by"`
	OptOut  bool     `expr:"opt_out"`
	Answer  bool     `expr:"answered"`
	Digits  string   `expr:"digits"`
	Tags    []string `expr:"tags"`

	Tag         func(string) bool       `expr:"tag"`
	Collected   func(string) string     `expr:"collected"`
	AgentSaid   func(any) bool          `expr:"agent_said"`
	CalleeSaid  func(any) bool          `expr:"callee_said"`
	AgentWithin func(float64, any) bool `expr:"agent_said_within"`
	AgentAll    func(any) bool          `expr:"agent_said_all"`
	AgentCount  func(any) int           `expr:"agent_said_count"`
	CalleeCount func(any) int           `expr:"callee_said_count"`

	// for grade rules only
	Item  func(string) string `expr:"item"`
	Score float64             `expr:"score"`
}

// factsOf reads a call. Turns that were still being recognised (partial) are left out: another turn replaced them.
func factsOf(o *waihu.Outcome) *facts {
	f := &facts{Duration: o.Talk().Seconds(), Grade: o.Grade, EndedBy: string(o.HangupBy), OptOut: o.OptOut, Answer: o.Disposition == waihu.Answered, Tags: slices.Clone(o.Tags)}
	var agent, callee []span
	var agentText, calleeText strings.Builder
	said := func(who string) (texts []string) {
		for i := range o.Transcript {
			if t := &o.Transcript[i]; t.Who == who && !t.Partial {
				texts = append(texts, fold(t.Text))
			}
		}
		return texts
	}
	end := int64(0)
	for i := range o.Transcript {
		t := &o.Transcript[i]
		if t.Partial {
			continue
		}
		f.Turns++
		end = max(end, t.ToMS)
		if t.Who == "callee" {
			f.Rounds++
			f.Digits += t.Digit
			callee = append(callee, span{t.FromMS, t.ToMS})
			calleeText.WriteString(t.Text)
			continue
		}
		if t.Barged {
			f.Interruptions++
		}
		agent = append(agent, span{t.FromMS, t.ToMS})
		agentText.WriteString(t.Text)
	}
	if f.Duration == 0 { // a text dialogue, or an answer without its time
		f.Duration = float64(end) / 1000
	}
	f.AgentTalk, f.CalleeTalk = length(agent), length(callee)
	if sum := f.AgentTalk + f.CalleeTalk; sum > 0 {
		f.TalkRatio = f.AgentTalk / sum
	}
	f.Silence = longestSilence(slices.Concat(agent, callee), max(end, int64(f.Duration*1000)))
	f.Overlaps, f.OverlapTime = overlaps(agent, callee)
	f.Latency, f.MaxLatency = latency(agent, callee)
	f.SpeechRate, f.CalleeRate = rate(agentText.String(), f.AgentTalk), rate(calleeText.String(), f.CalleeTalk)

	f.Tag = func(t string) bool { return slices.Contains(f.Tags, t) }
	f.Collected = func(k string) string { return o.Collected[k] }
	agentSaid, calleeSaid := said("agent"), said("callee")
	f.AgentSaid = func(w any) bool { return count(agentSaid, w) > 0 }
	f.CalleeSaid = func(w any) bool { return count(calleeSaid, w) > 0 }
	f.AgentCount = func(w any) int { return count(agentSaid, w) }
	f.CalleeCount = func(w any) int { return count(calleeSaid, w) }
	f.AgentAll = func(w any) bool {
		list := wordsOf(w)
		return len(list) > 0 && !slices.ContainsFunc(list, func(x string) bool { return count(agentSaid, x) == 0 })
	}
	f.AgentWithin = func(seconds float64, w any) bool {
		var early []string
		for i := range o.Transcript {
			if t := &o.Transcript[i]; t.Who != "callee" && !t.Partial && float64(t.FromMS) <= seconds*1000 {
				early = append(early, fold(t.Text))
			}
		}
		return count(early, w) > 0
	}
	f.Item = func(string) string { return "" }
	return f
}

type span struct{ from, to int64 }

func length(list []span) float64 {
	ms := int64(0)
	for _, s := range merge(list) {
		ms += s.to - s.from
	}
	return float64(ms) / 1000
}

// merge joins spans that touch; the result is in order.
func merge(list []span) (out []span) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for _, s := range list {
		if s.to = max(s.from, s.to); len(out) > 0 && s.from <= out[len(out)-1].to {
			out[len(out)-1].to = max(out[len(out)-1].to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// longestSilence is the longest time from the answer to the end in which nobody spoke.
func longestSilence(all []span, end int64) float64 {
	longest, quiet := int64(0), int64(0)
	for _, s := range merge(all) {
		longest, quiet = max(longest, s.from-quiet), max(quiet, s.to)
	}
	return float64(max(longest, end-quiet)) / 1000
}

// overlaps counts the times at which both spoke at once, and how long.
func overlaps(agent, callee []span) (n int, seconds float64) {
	both := int64(0)
	mine := merge(agent)
	for _, c := range merge(callee) {
		for _, a := range mine {
			if d := min(a.to, c.to) - max(a.from, c.from); d > 0 {
				n, both = n+1, both+d
			}
		}
	}
	return n, float64(both) / 1000
}

// latency is how long callees waited for the agent's next words, on average and at most; 0 when they never did.
func latency(agent, callee []span) (mean, longest float64) {
	n, sum, most := 0, int64(0), int64(0)
	mine := merge(agent)
	for _, c := range merge(callee) {
		for _, a := range mine {
			if a.from >= c.to {
				if !slices.ContainsFunc(callee, func(x span) bool { return x.from > c.from && x.from < a.from }) { // the callee went on instead
					n, sum, most = n+1, sum+a.from-c.to, max(most, a.from-c.to)
				}
				break
			}
		}
	}
	if n == 0 {
		return 0, 0
	}
	return float64(sum) / float64(n) / 1000, float64(most) / 1000
}

// rate is syllables a minute: Chinese characters, and words of letters or digits.
func rate(text string, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	n, word := 0, false
	for _, r := range text {
		switch {
		case unicode.Is(unicode.Han, r):
			n, word = n+1, false
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			if !word {
				n++
			}
			word = true
		default:
			word = false
		}
	}
	return float64(n) * 60 / seconds
}

// fold makes texts comparable: full width is half width, letters are small, blanks and punctuation are gone.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsPunct(r) || unicode.IsSymbol(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, width.Fold.String(s))
}

// wordsOf are the words of a text or a list of texts; empty ones say nothing.
func wordsOf(w any) (list []string) {
	switch w := w.(type) {
	case string:
		list = append(list, w)
	case []any:
		for _, x := range w {
			list = append(list, fmt.Sprint(x))
		}
	case []string:
		list = w
	}
	return slices.DeleteFunc(list, func(s string) bool { return fold(s) == "" })
}

// count is how often any of the words occurs in the texts.
func count(texts []string, w any) (n int) {
	for _, word := range wordsOf(w) {
		for _, t := range texts {
			n += strings.Count(t, fold(word))
		}
	}
	return n
}

// maxRule bounds a rule: it is an operator's text and runs for every call.
const maxRule = 1000

// compile reads a rule; it must give true or false.
func compile(rule string) (*vm.Program, error) {
	switch {
	case strings.TrimSpace(rule) == "":
		return nil, errors.New("a rule was expected")
	case len(rule) > maxRule:
		return nil, fmt.Errorf("longer than %d bytes", maxRule)
	}
	tree, err := parser.Parse(rule)
	if err != nil {
		return nil, err
	}
	var plain plainRule
	ast.Walk(&tree.Node, &plain)
	if plain.err != nil {
		return nil, plain.err
	}
	return expr.Compile(rule, expr.Env(facts{}), expr.AsBool(), expr.DisableAllBuiltins())
}

// plainRule refuses what comparisons do not need, so that a rule takes no more time than its length; the same as for an agent's grade rules.
type plainRule struct{ err error }

// Visit refuses loops, ranges and the language's own functions.
func (v *plainRule) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.BuiltinNode:
		v.err = fmt.Errorf("%s(...) is not available in rules", n.Name)
	case *ast.PredicateNode:
		v.err = errors.New("loops are not available in rules")
	case *ast.BinaryNode:
		if n.Operator == ".." {
			v.err = errors.New("ranges are not available in rules")
		}
	}
}

// holds runs a rule.
func holds(rule string, f *facts) (bool, error) {
	p, err := compiled(rule)
	if err != nil {
		return false, err
	}
	out, err := expr.Run(p, *f)
	if err != nil {
		return false, err
	}
	yes, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("the rule gave %T, not true or false", out)
	}
	return yes, nil
}

// input is what of a call goes into its check, as one text: what is hashed.
func input(o *waihu.Outcome) string {
	b, err := json.Marshal([]any{o.Transcript, o.Tags, o.Collected, o.HangupBy, o.OptOut, o.Talk().Milliseconds(), o.Grade})
	if err != nil {
		panic("wrapup: a transcript cannot be encoded: " + err.Error()) // texts and numbers
	}
	return string(b)
}
