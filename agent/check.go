package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// Usable says whether spec can hold a call today. Agents of other brains are stored,
// shown and returned, but not dialled. The error is safe to show.
func Usable(spec *waihu.AgentSpec) error {
	switch spec.Brain {
	case waihu.BrainFlow:
	case waihu.BrainLLM, waihu.BrainBot:
		return waihu.FieldErrorf("brain", "agent %q is led by %q, which this version cannot run: only brain: flow can be dialled", spec.ID, spec.Brain)
	default:
		return waihu.FieldErrorf("brain", "%q is not a brain: flow, llm or bot was expected", spec.Brain)
	}
	if spec.Flow == nil || spec.Flow.Nodes == nil {
		return waihu.FieldErrorf("flow", "agent %q has brain: flow but no flow", spec.ID)
	}
	if _, ok := spec.Flow.Nodes[spec.Flow.Start]; !ok {
		return waihu.FieldErrorf("flow.start", "there is no node %q", spec.Flow.Start)
	}
	var bad error
	eachAction(spec, func(where string, a waihu.Action) {
		if bad == nil && (a.Kind == "transfer" || a.Kind == "dtmf") {
			bad = waihu.FieldErrorf(where, "the action %s cannot be carried out by this version", a.Kind)
		}
	})
	return bad
}

// waitMS reads the argument of a wait action: milliseconds, or a duration such as 1.5s.
func waitMS(arg string) (int, error) {
	if n, err := strconv.Atoi(arg); err == nil && n >= 0 && n <= 10000 {
		return n, nil
	}
	if d, err := time.ParseDuration(arg); err == nil && d >= 0 && d <= 10*time.Second {
		return int(d.Milliseconds()), nil
	}
	return 0, fmt.Errorf("wait %q: milliseconds up to 10000 or a duration such as 1.5s was expected", arg)
}

// eachAction visits every do list of a flow agent.
func eachAction(spec *waihu.AgentSpec, visit func(where string, a waihu.Action)) {
	list := func(where string, do []waihu.Action) {
		for i, a := range do {
			visit(fmt.Sprintf("%s[%d]", where, i), a)
		}
	}
	for _, name := range sortedKeys(spec.Intents) {
		list("intents."+name+".do", spec.Intents[name].Do)
	}
	if spec.Flow == nil {
		return
	}
	for _, name := range sortedKeys(spec.Flow.Nodes) {
		n := spec.Flow.Nodes[name]
		for i, b := range n.Branches {
			list(fmt.Sprintf("flow.nodes.%s.branches[%d].do", name, i), b.Do)
		}
		list("flow.nodes."+name+".do", n.Do)
	}
}

// checker gathers problems.
type checker struct {
	spec  *waihu.AgentSpec
	found []waihu.Problem
	known map[string]bool // variables with a value before or during the call
	kept  map[string]bool // variables that only the callee's words fill
}

func (c *checker) add(field, format string, args ...any) {
	c.found = append(c.found, waihu.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// Check finds what is wrong with a spec without running it: unknown targets and
// intents, nodes that cannot be left or reached, circles without a spoken turn, variables
// nobody sets, patterns and rules that do not compile. An agent without problems
// may still be one that cannot be dialled (Usable).
func Check(spec *waihu.AgentSpec) []waihu.Problem {
	c := &checker{spec: spec, known: map[string]bool{}, kept: map[string]bool{}}
	switch spec.Brain {
	case waihu.BrainFlow:
		if spec.Flow == nil || len(spec.Flow.Nodes) == 0 {
			c.add("flow", "brain: flow wants a flow with nodes")
		}
	case waihu.BrainLLM:
		if spec.LLM == nil {
			c.add("llm", "brain: llm wants llm")
		}
	case waihu.BrainBot:
		if spec.Bot == nil || spec.Bot.URL == "" {
			c.add("bot.url", "brain: bot wants the bot's address")
		}
	default:
		c.add("brain", "%q is not a brain: flow, llm or bot was expected", spec.Brain)
	}
	c.settings()
	c.intents()
	for i, r := range spec.Grade {
		if r.Level == "" {
			c.add(fmt.Sprintf("grade[%d].level", i), "a rule needs a level")
		}
		if _, err := compileRule(r.When); err != nil {
			c.add(fmt.Sprintf("grade[%d].when", i), "%s", firstLine(err.Error()))
		}
	}
	if spec.Brain == waihu.BrainFlow && spec.Flow != nil && len(spec.Flow.Nodes) > 0 {
		c.nodes()
		c.actions()
		c.texts()
		c.graph()
	}
	return c.found
}

func firstLine(s string) string { line, _, _ := strings.Cut(s, "\n"); return line }

func (c *checker) settings() {
	for _, name := range sortedKeys(c.spec.Vars) {
		v := c.spec.Vars[name]
		if !varName(name) {
			c.add("vars."+name, "%q is not a name of a variable", name)
		}
		if v.Type != "" && !slices.Contains(varTypes, v.Type) {
			c.add("vars."+name+".type", "unknown type %q: %s was expected", v.Type, strings.Join(varTypes, ", "))
		}
		c.known[name] = true
	}
	for _, t := range []struct {
		field string
		ms    int
	}{{"listen.endpoint_ms", c.spec.Listen.EndpointMS}, {"listen.noinput.ms", c.spec.Listen.NoInput.MS}, {"opening.protect_ms", c.spec.Opening.ProtectMS}} {
		if t.ms < 0 || t.ms > 60000 {
			c.add(t.field, "%d ms is not between 0 and 60000", t.ms)
		}
	}
	if w := c.spec.Opening.WaitMS; w != nil && (*w < 0 || *w > 10000) {
		c.add("opening.wait_ms", "%d ms is not between 0 and 10000", *w)
	}
	if s := c.spec.Voice.Speed; s != 0 && (s < 0.5 || s > 2) {
		c.add("voice.speed", "%g is not between 0.5 and 2", s)
	}
	if v := c.spec.Voice.Volume; v < 0 || v > 100 {
		c.add("voice.volume", "%d is not between 0 and 100", v)
	}
}

// builtinInputs are names that no intent may take.
var builtinInputs = []string{"speech", "silence", "dtmf"}

func (c *checker) intents() {
	for _, name := range sortedKeys(c.spec.Intents) {
		in, at := c.spec.Intents[name], "intents."+name
		if slices.Contains(builtinInputs, name) || strings.HasPrefix(name, "dtmf:") {
			c.add(at, "%q is the name of a built-in input", name)
		}
		if len(in.Any) == 0 && len(in.Regex) == 0 && in.DTMF == "" {
			c.add(at, "nothing can mean this intent: any, regex or dtmf was expected")
		}
		for i, w := range in.Any {
			if _, ok := newKeyword(w); !ok {
				c.add(fmt.Sprintf("%s.any[%d]", at, i), "%q has no word in it", w)
			}
		}
		for i, re := range in.Regex {
			if _, err := regexp.Compile("(?i)" + re); err != nil {
				c.add(fmt.Sprintf("%s.regex[%d]", at, i), "%v", err)
			}
		}
		c.keys(at+".dtmf", in.DTMF, true)
	}
}

func (c *checker) keys(field, keys string, mayBeEmpty bool) {
	if keys == "" && mayBeEmpty {
		return
	}
	if keys == "" || len(keys) > 16 || strings.Trim(keys, "0123456789*#ABCD") != "" {
		c.add(field, "%q is no sequence of keys: 1 to 16 of 0-9 * # A-D were expected", keys)
	}
}

func (c *checker) target(field, name string) {
	if name == "" {
		return
	}
	if _, ok := c.spec.Flow.Nodes[name]; !ok {
		c.add(field, "there is no node %q", name)
	}
}

func (c *checker) nodes() {
	if _, ok := c.spec.Flow.Nodes[c.spec.Flow.Start]; !ok {
		c.add("flow.start", "there is no node %q", c.spec.Flow.Start)
	}
	for i, k := range c.spec.Knowledge {
		at := fmt.Sprintf("knowledge[%d]", i)
		if len(k.Q) == 0 || k.A == "" {
			c.add(at, "a question (q) and an answer (a) were expected")
		}
		if !slices.Contains([]string{"", "stay", "return", "hangup"}, k.Then) {
			c.target(at+".then", k.Then)
		}
	}
	for _, name := range sortedKeys(c.spec.Flow.Nodes) {
		n, at := c.spec.Flow.Nodes[name], "flow.nodes."+name
		if n.Say != "" && n.Play != "" {
			c.add(at, "say and play exclude each other")
		}
		if n.ProtectMS < 0 || n.ProtectMS > 60000 {
			c.add(at+".protect_ms", "%d ms is not between 0 and 60000", n.ProtectMS)
		}
		for i, b := range n.Branches {
			bat := fmt.Sprintf("%s.branches[%d]", at, i)
			if d, ok := strings.CutPrefix(b.On, "dtmf:"); ok {
				c.keys(bat+".on", d, false)
			} else if _, ok := c.spec.Intents[b.On]; !ok && b.On != "speech" && b.On != "silence" {
				c.add(bat+".on", "there is no intent %q, and it is none of speech, silence, dtmf:<keys>", b.On)
			}
			c.target(bat+".go", b.Go)
		}
		if e := n.Else; e != nil {
			if e.Times < 0 || e.Times > 10 {
				c.add(at+".else.times", "%d is not between 0 and 10", e.Times)
			}
			c.target(at+".else.then", e.Then)
		}
		if k := n.Collect; k != nil {
			if !varName(k.Var) {
				c.add(at+".collect.var", "%q is not a name of a variable", k.Var)
			}
			if !slices.Contains([]string{"", "text", "digits"}, k.Kind) {
				c.add(at+".collect.kind", "%q: text or digits was expected", k.Kind)
			}
			if k.MaxMS < 0 || k.MaxMS > 120000 {
				c.add(at+".collect.max_ms", "%d ms is not between 0 and 120000", k.MaxMS)
			}
			if !c.known[k.Var] {
				c.kept[k.Var] = true
			}
		}
		c.target(at+".go", n.Go)
		c.exit(at, n)
	}
}

// exit wants every node to lead somewhere.
func (c *checker) exit(at string, n waihu.NodeSpec) {
	ends := n.Go != ""
	leaves := func(do []waihu.Action) {
		for _, a := range do {
			ends = ends || a.Kind == "hangup" || a.Kind == "go" || a.Kind == "transfer"
		}
	}
	leaves(n.Do)
	for _, b := range n.Branches {
		ends = ends || b.Go != ""
		leaves(b.Do)
		if in, ok := c.spec.Intents[b.On]; ok {
			leaves(in.Do)
		}
	}
	if n.Else != nil {
		ends = true // after so many times it goes to then, or hangs up
	}
	if !ends {
		c.add(at, "the node has no exit: go, a branch with go, else, or do: [hangup] was expected")
	}
}

func (c *checker) actions() {
	eachAction(c.spec, func(where string, a waihu.Action) {
		switch a.Kind {
		case "go":
			c.target(where+".go", a.Arg)
		case "wait":
			if _, err := waitMS(a.Arg); err != nil {
				c.add(where, "%v", err)
			}
		case "set":
			for _, name := range sortedKeys(a.Set) {
				if !varName(name) {
					c.add(where+".set", "%q is not a name of a variable", name)
				}
				c.known[name] = true
				kind := c.spec.Vars[name].Type
				if _, err := Spoken(kind, c.spec.Language, a.Set[name]); err != nil {
					c.add(where+".set."+name, "%v", err)
				}
			}
		case "hangup", "opt_out", "say", "play", "tag", "transfer", "dtmf":
		default:
			c.add(where, "unknown action %q", a.Kind)
		}
	})
}

func (c *checker) texts() {
	for _, t := range Texts(c.spec) {
		parts, err := Cut(t.Text)
		if err != nil {
			c.add(t.Where, "%v", err)
			continue
		}
		for _, p := range parts {
			switch {
			case p.Var == "" || c.known[p.Var]:
			case c.kept[p.Var]:
				c.add(t.Where, "{{%s}} is known only from the callee's own words: a collected variable cannot be spoken in the same call", p.Var)
			case p.Default == "":
				c.add(t.Where, "{{%s}} is not among vars, nothing sets it, and it has no default", p.Var)
			}
		}
	}
}

// next lists where a node can lead; silent says whether it gets there without speaking
// or listening.
func (c *checker) next(n waihu.NodeSpec) (targets []string, silent []string) {
	quiet := n.Say == "" && n.Play == "" && len(n.Branches) == 0 && n.Else == nil && n.Collect == nil && !n.Knowledge
	walk := func(do []waihu.Action) {
		spoken := false
		for _, a := range do {
			spoken = spoken || a.Kind == "say" || a.Kind == "play"
			if a.Kind == "go" {
				targets = append(targets, a.Arg)
				if n.Say == "" && n.Play == "" && !spoken {
					silent = append(silent, a.Arg)
				}
			}
		}
	}
	walk(n.Do)
	if n.Go != "" {
		targets = append(targets, n.Go)
		said := slices.ContainsFunc(n.Do, func(a waihu.Action) bool { return a.Kind == "say" || a.Kind == "play" })
		if quiet && !said {
			silent = append(silent, n.Go)
		}
	}
	for _, b := range n.Branches {
		if b.Go != "" {
			targets = append(targets, b.Go)
		}
		for _, a := range b.Do {
			if a.Kind == "go" {
				targets = append(targets, a.Arg)
			}
		}
	}
	if n.Else != nil && n.Else.Then != "" {
		targets = append(targets, n.Else.Then)
	}
	return targets, silent
}

// graph finds nodes nobody can reach, and circles that neither speak nor listen.
func (c *checker) graph() {
	nodes := c.spec.Flow.Nodes
	reached := map[string]bool{}
	todo := []string{c.spec.Flow.Start}
	for _, name := range sortedKeys(c.spec.Intents) {
		for _, a := range c.spec.Intents[name].Do {
			if a.Kind == "go" {
				todo = append(todo, a.Arg)
			}
		}
	}
	for _, k := range c.spec.Knowledge {
		todo = append(todo, k.Then)
	}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		n, ok := nodes[name]
		if !ok || reached[name] {
			continue
		}
		reached[name] = true
		targets, _ := c.next(n)
		todo = append(todo, targets...)
	}
	const (
		unseen = iota
		open
		done
	)
	state := map[string]int{}
	var visit func(name string) bool
	visit = func(name string) bool {
		switch state[name] {
		case open:
			return true
		case done:
			return false
		}
		state[name] = open
		_, silent := c.next(nodes[name])
		circle := slices.ContainsFunc(silent, func(t string) bool { _, ok := nodes[t]; return ok && visit(t) })
		state[name] = done
		return circle
	}
	for _, name := range sortedKeys(nodes) {
		if !reached[name] {
			c.add("flow.nodes."+name, "no path leads to this node")
		}
		if state[name] == unseen && visit(name) {
			c.add("flow.nodes."+name, "from here the flow can turn in a circle without speaking or listening")
		}
	}
}
