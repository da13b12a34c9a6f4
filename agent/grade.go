package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"waihu"
)

// Facts are what grade rules may ask about a finished call. A rule is an expression of
// expr-lang over the names below; it must give true or false.
//
//	duration    seconds from the answer to the end
//	rounds      callee turns that were decided (words, mere speech or keys; not silence)
//	turns       utterances in the transcript, of both sides
//	affirm      callee turns that agreed
//	refusals    callee turns that refused
//	silences    times the callee was waited for in vain
//	misses      callee turns that nothing took
//	interrupted times the callee cut the agent short
//	opt_out     the callee asked never to be called again
//	answered    there was a conversation at all
//	ended_by    "agent", "callee" or "system"
//	digits      all keys pressed, in order
//	tags        all tags, a list
//	tag(x)      the tag x was set
//	intent(x)   how often the intent x was meant
//	visited(x)  the flow came to the node x
//	value(x)    what the talk has put into the variable x, "" when nothing
type Facts struct {
	Duration    time.Duration     `json:"duration,omitempty"`
	Rounds      int               `json:"rounds,omitempty"`
	Turns       int               `json:"turns,omitempty"`
	Affirm      int               `json:"affirm,omitempty"`
	Refusals    int               `json:"refusals,omitempty"`
	Silences    int               `json:"silences,omitempty"`
	Misses      int               `json:"misses,omitempty"`
	Interrupted int               `json:"interrupted,omitempty"`
	OptOut      bool              `json:"opt_out,omitempty"`
	Answered    bool              `json:"answered,omitempty"`
	EndedBy     waihu.Party       `json:"ended_by,omitempty"`
	Digits      string            `json:"digits,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Intents     map[string]int    `json:"intents,omitempty"`
	Visited     map[string]bool   `json:"visited,omitempty"`
	Values      map[string]string `json:"values,omitempty"`
}

// gradeEnv is Facts as expressions see them.
type gradeEnv struct {
	Duration    float64             `expr:"duration"`
	Rounds      int                 `expr:"rounds"`
	Turns       int                 `expr:"turns"`
	Affirm      int                 `expr:"affirm"`
	Refusals    int                 `expr:"refusals"`
	Silences    int                 `expr:"silences"`
	Misses      int                 `expr:"misses"`
	Interrupted int                 `expr:"interrupted"`
	OptOut      bool                `expr:"opt_out"`
	Answered    bool                `expr:"answered"`
	EndedBy     string              `expr:"ended_by"`
	Digits      string              `expr:"digits"`
	Tags        []string            `expr:"tags"`
	Tag         func(string) bool   `expr:"tag"`
	Intent      func(string) int    `expr:"intent"`
	Visited     func(string) bool   `expr:"visited"`
	Value       func(string) string `expr:"value"`
}

func (f *Facts) env() gradeEnv {
	return gradeEnv{
		Duration: f.Duration.Seconds(), Rounds: f.Rounds, Turns: f.Turns, Affirm: f.Affirm, Refusals: f.Refusals,
		Silences: f.Silences, Misses: f.Misses, Interrupted: f.Interrupted, OptOut: f.OptOut, Answered: f.Answered,
		EndedBy: string(f.EndedBy), Digits: f.Digits, Tags: f.Tags,
		Tag:     func(t string) bool { return slices.Contains(f.Tags, t) },
		Intent:  func(name string) int { return f.Intents[name] },
		Visited: func(name string) bool { return f.Visited[name] },
		Value:   func(name string) string { return f.Values[name] },
	}
}

// gradebook is a list of compiled rules; safe for concurrent use.
type gradebook struct {
	levels []string
	rules  []*vm.Program
}

// maxRule bounds a rule: it is an operator's text and runs at every booking.
const maxRule = 500

func newGradebook(rules []waihu.GradeRule) (*gradebook, error) {
	g := &gradebook{}
	for i, r := range rules {
		p, err := compileRule(r.When)
		if err != nil {
			return nil, fmt.Errorf("grade[%d].when: %w", i, err)
		}
		g.levels = append(g.levels, r.Level)
		g.rules = append(g.rules, p)
	}
	return g, nil
}

func compileRule(when string) (*vm.Program, error) {
	if len(when) > maxRule {
		return nil, fmt.Errorf("longer than %d bytes", maxRule)
	}
	tree, err := parser.Parse(when)
	if err != nil {
		return nil, err
	}
	var plain plainRule
	ast.Walk(&tree.Node, &plain)
	if plain.err != nil {
		return nil, plain.err
	}
	return expr.Compile(when, expr.Env(gradeEnv{}), expr.AsBool(), expr.DisableAllBuiltins())
}

// plainRule refuses what comparisons do not need: the language's own functions, its loops over
// lists and its ranges. Without them a rule takes no more time than its length.
type plainRule struct{ err error }

func (v *plainRule) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.BuiltinNode:
		v.err = fmt.Errorf("%s(...) is not available in rules", n.Name)
	case *ast.PredicateNode:
		v.err = fmt.Errorf("loops are not available in rules")
	case *ast.BinaryNode:
		if n.Operator == ".." {
			v.err = fmt.Errorf("ranges are not available in rules")
		}
	}
}

// level is the first rule that holds. A rule that fails while it runs does not hold.
func (g *gradebook) level(f *Facts) string {
	env := f.env()
	for i, r := range g.rules {
		if out, err := expr.Run(r, env); err == nil && out == true {
			return g.levels[i]
		}
	}
	return ""
}

// Grade is the level of the first of spec's rules that holds, empty when none does. It is
// a pure function of the facts, for calls without a conversation too. Rules
// are compiled once per content of the spec.
func Grade(spec *waihu.AgentSpec, facts Facts) string {
	if p, err := programs.of(spec); err == nil {
		return p.grades.level(&facts)
	}
	// Agents that cannot talk here (another brain) are graded all the same.
	g, err := newGradebook(spec.Grade)
	if err != nil {
		return ""
	}
	return g.level(&facts)
}
