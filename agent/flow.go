package agent

import (
	"fmt"
	"slices"
	"strings"

	"waihu"
)

// The flow brain: a graph of nodes walked by the callee's turns. It knows no
// sound and no time; turn.go tells it what the callee did, it answers with a plan.
//
// Order per callee turn: key presses, global intents (those with a do list), the node's
// branches, knowledge, else. A node's own key binding wins over a global one for the same key.

// Limits that end every path, whatever the graph and the callee do.
const (
	maxMisses    = 12  // turns in a call that nothing took
	maxSilences  = 20  // silences in a call
	maxPlanSteps = 50  // nodes entered and actions run in answer to one turn
	maxTurns     = 200 // plans in a call
)

type inputKind int

const (
	inText    inputKind = iota // the recogniser's words
	inSpeech                   // the callee spoke, words unknown
	inDigits                   // keys, complete or given up
	inSilence                  // the callee was waited for in vain
)

type input struct {
	kind inputKind
	text string // words or digits
}

// line is one utterance of a plan.
type line struct {
	text string // may hold variables
	play string // a recording instead
	rest int    // ms of silence instead
	node string
	why  string
}

// plan is what the agent does next: speak its lines, then listen, or hang up.
type plan struct {
	lines  []line
	hangup bool
	reason string // why it hangs up
}

// decision is how a callee's turn was understood.
type decision struct {
	node   string // where the flow stood
	intent string
	why    string
}

type flow struct {
	p    *program
	vars map[string]string // the talk's own copy

	at       *node
	misses   map[string]int // else count by node
	missed   int            // and by call
	noinput  int            // silences in a row that noinput texts answered
	silences int
	plans    int

	tags      []string
	optOut    bool
	collected map[string]string
	meant     map[string]int // how often each intent was meant
	visited   map[string]bool
	rounds    int
	affirm    int
	refusals  int
	digits    strings.Builder

	now   plan // being built
	steps int
	moved bool // the decision led to another node
}

func newFlow(p *program, vars map[string]string) *flow {
	own := make(map[string]string, len(vars))
	for k, v := range vars {
		own[k] = v
	}
	return &flow{p: p, vars: own, misses: map[string]int{}, collected: map[string]string{}, meant: map[string]int{}, visited: map[string]bool{}}
}

// open is the first plan: the opening, then the start node.
func (f *flow) open() plan {
	f.begin()
	if say := f.p.spec.Opening.Say; say != "" {
		f.say(line{text: say, node: f.p.spec.Flow.Start, why: "opening"})
	}
	f.enter(f.p.spec.Flow.Start)
	return f.now
}

func (f *flow) begin() {
	f.now, f.steps, f.moved = plan{}, 0, false
	if f.plans++; f.plans > maxTurns {
		f.hangup("too many turns")
	}
}

func (f *flow) say(l line) { f.now.lines = append(f.now.lines, l) }

func (f *flow) hangup(reason string) {
	if !f.now.hangup {
		f.now.hangup, f.now.reason = true, reason
	}
}

func (f *flow) tag(name string) {
	if !slices.Contains(f.tags, name) {
		f.tags = append(f.tags, name)
	}
}

// enter goes to a node, and through those that wait for nothing.
func (f *flow) enter(name string) {
	for name != "" && !f.now.hangup {
		n := f.p.nodes[name]
		if n == nil { // refused by Check; a spec stored before the check existed ends here
			f.hangup(fmt.Sprintf("no node %q", name))
			return
		}
		if f.steps++; f.steps > maxPlanSteps {
			f.hangup("the flow turns in a circle")
			return
		}
		f.at, f.moved = n, true
		f.visited[name] = true
		f.ask(n)
		if next, left := f.do(n.Do, name); left {
			name = next
			continue
		}
		if n.waits() || f.now.hangup {
			return
		}
		if name = n.Go; name == "" {
			f.hangup("end of the flow")
		}
	}
}

// ask adds what a node says.
func (f *flow) ask(n *node) {
	if n.Say != "" {
		f.say(line{text: n.Say, node: n.name, why: "node"})
	} else if n.Play != "" {
		f.say(line{play: n.Play, node: n.name, why: "node"})
	}
}

// do runs a list of actions. left says that it goes to the node next and the rest does not count.
func (f *flow) do(list []waihu.Action, at string) (next string, left bool) {
	for _, a := range list {
		if f.steps++; f.steps > maxPlanSteps || f.now.hangup {
			return "", false
		}
		switch a.Kind {
		case "hangup":
			f.hangup("hangup")
		case "opt_out":
			f.optOut = true
		case "say":
			f.say(line{text: a.Arg, node: at, why: "do"})
		case "play":
			f.say(line{play: a.Arg, node: at, why: "do"})
		case "tag":
			f.tag(a.Arg)
		case "set":
			for name, value := range a.Set {
				f.vars[name] = value
				f.collected[name] = value
			}
		case "wait":
			if ms, err := waitMS(a.Arg); err == nil {
				f.say(line{rest: ms, node: at, why: "do"})
			}
		case "go":
			return a.Arg, true
		}
	}
	return "", false
}
