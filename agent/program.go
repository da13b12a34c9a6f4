package agent

import (
	"container/list"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"waihu"
)

// Defaults of the turn engine; the table and its reasons are in docs (turn taking).
const (
	defaultWaitMS     = 1200
	defaultNoInputMS  = 5000
	defaultEndpointMS = 500
	defaultElseTimes  = 2
)

// program is a flow agent made ready to run: names resolved, patterns compiled.
// It is read-only after compile.
type program struct {
	spec    *waihu.AgentSpec
	voice   Voice
	intents map[string]*intent
	order   []*intent // by name: the order in which equal matches are settled
	global  []*intent // those with a do list
	nodes   map[string]*node
	asks    []*knowledge
	sets    map[string][]string // values that set actions can give a variable
	grades  *gradebook
}

type intent struct {
	name string
	matcher
	dtmf string
	do   []waihu.Action
}

type node struct {
	name string
	waihu.NodeSpec
	branches []branch
	digits   bool // some key press means something here
}

type branch struct {
	waihu.BranchSpec
	intent *intent // nil for the built-in inputs
	dtmf   string  // what must be pressed, empty when nothing
}

type knowledge struct {
	matcher
	waihu.KnowledgeSpec
}

// waits says whether the node expects an answer after it has spoken.
func (n *node) waits() bool {
	return len(n.branches) > 0 || n.Else != nil || n.Collect != nil || n.Knowledge
}

// compile makes spec ready, or says what is wrong first.
func compile(spec *waihu.AgentSpec) (*program, error) {
	if err := Usable(spec); err != nil {
		return nil, err
	}
	p := &program{spec: spec, voice: VoiceOf(spec), intents: map[string]*intent{}, nodes: map[string]*node{}, sets: map[string][]string{}}
	for _, name := range sortedKeys(spec.Intents) {
		is := spec.Intents[name]
		in := &intent{name: name, dtmf: is.DTMF, do: is.Do}
		for _, w := range is.Any {
			if k, ok := newKeyword(w); ok {
				in.words = append(in.words, k)
			}
		}
		for _, src := range is.Regex {
			re, err := regexp.Compile("(?i)" + src)
			if err != nil {
				return nil, fmt.Errorf("intents.%s.regex: %w", name, err)
			}
			in.regex = append(in.regex, re)
		}
		p.intents[name] = in
		p.order = append(p.order, in)
		if len(in.do) > 0 {
			p.global = append(p.global, in)
		}
		p.noteSets(in.do)
	}
	for name, ns := range spec.Flow.Nodes {
		n := &node{name: name, NodeSpec: ns, digits: ns.Collect != nil && ns.Collect.Kind == "digits"}
		for _, bs := range ns.Branches {
			b := branch{BranchSpec: bs}
			if d, ok := strings.CutPrefix(bs.On, "dtmf:"); ok {
				b.dtmf = d
			} else if b.intent = p.intents[bs.On]; b.intent != nil {
				b.dtmf = b.intent.dtmf
			}
			n.digits = n.digits || b.dtmf != ""
			n.branches = append(n.branches, b)
			p.noteSets(bs.Do)
		}
		p.noteSets(ns.Do)
		p.nodes[name] = n
	}
	for _, ks := range spec.Knowledge {
		k := &knowledge{KnowledgeSpec: ks}
		for _, q := range ks.Q {
			if w, ok := newKeyword(q); ok {
				k.words = append(k.words, w)
			}
		}
		p.asks = append(p.asks, k)
	}
	var err error
	if p.grades, err = newGradebook(spec.Grade); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *program) noteSets(do []waihu.Action) {
	for _, a := range do {
		for name, value := range a.Set {
			p.sets[name] = append(p.sets[name], value)
		}
	}
}

// programs keeps what was compiled lately, by content: a campaign compiles its agent once.
var programs = programCache{limit: 256, byKey: map[[32]byte]*list.Element{}, order: list.New()}

type programCache struct {
	limit int

	mu    sync.Mutex
	byKey map[[32]byte]*list.Element // of cachedProgram
	order *list.List                 // most recent first
}

type cachedProgram struct {
	key [32]byte
	p   *program
}

// of is the compiled form of spec. Failures are not kept: they end a task's start, not a call.
func (c *programCache) of(spec *waihu.AgentSpec) (*program, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", spec.ID, err)
	}
	key := sha256.Sum256(raw)
	c.mu.Lock()
	if e := c.byKey[key]; e != nil {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(cachedProgram).p, nil
	}
	c.mu.Unlock()
	p, err := compile(spec)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key] == nil {
		c.byKey[key] = c.order.PushFront(cachedProgram{key, p})
		for c.order.Len() > c.limit {
			last := c.order.Back()
			delete(c.byKey, c.order.Remove(last).(cachedProgram).key)
		}
	}
	return p, nil
}
