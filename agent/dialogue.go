package agent

import (
	"strings"
	"time"

	"waihu"
)

// Talk is what came of a Dialogue.
type Talk struct {
	Turns     []waihu.Turn
	Tags      []string
	OptOut    bool
	Collected map[string]string
	Node      string // where the flow stands
	Ended     bool   // the agent hung up
	Reason    string
	Facts     Facts
	Grade     string
}

// Dialogue runs a flow agent on text alone, without sound or time: for tests of a flow
// and for trying one out. Each input is a turn of the callee: words, or "dtmf:1", "silence" (waited for
// in vain), "speech" (spoke, but not understood by a line without recognition). Inputs after
// the agent has hung up are not used.
func Dialogue(spec *waihu.AgentSpec, vars map[string]string, inputs ...string) (*Talk, error) {
	p, err := programs.of(spec)
	if err != nil {
		return nil, err
	}
	s := &Script{p: p, vars: map[string]string{}}
	if err := s.admit(vars); err != nil {
		return nil, err
	}
	f := newFlow(p, s.vars)
	talk := &Talk{}
	hear := func(pl plan) {
		for _, l := range pl.lines {
			if text := s.written(l, f.vars); text != "" {
				talk.Turns = append(talk.Turns, waihu.Turn{Who: "agent", Text: text, Node: l.node, Why: l.why})
			}
		}
		talk.Ended, talk.Reason = pl.hangup, pl.reason
	}
	hear(f.open())
	for _, words := range inputs {
		if talk.Ended {
			break
		}
		in := input{kind: inText, text: words}
		turn := waihu.Turn{Who: "callee", Text: words}
		if keys, ok := strings.CutPrefix(words, "dtmf:"); ok {
			in, turn = input{kind: inDigits, text: keys}, waihu.Turn{Who: "callee", Digit: keys}
		} else if words == "silence" || words == "speech" {
			in, turn = input{kind: map[string]inputKind{"silence": inSilence, "speech": inSpeech}[words]}, waihu.Turn{Who: "callee"}
		}
		pl, d := f.hear(in)
		turn.Node, turn.Intent, turn.Why = d.node, d.intent, d.why
		talk.Turns = append(talk.Turns, turn)
		hear(pl)
	}
	talk.Tags, talk.OptOut, talk.Collected = f.tags, f.optOut, f.collected
	if f.at != nil {
		talk.Node = f.at.name
	}
	talk.Facts = f.facts()
	talk.Facts.Turns = len(talk.Turns)
	talk.Facts.Duration = time.Duration(len(talk.Turns)) * 3 * time.Second // no sound, no time: three seconds a turn
	talk.Facts.EndedBy = waihu.ByCallee
	if talk.Ended {
		talk.Facts.EndedBy = waihu.ByAgent
	}
	talk.Grade = p.grades.level(&talk.Facts)
	return talk, nil
}

// written is a line as text.
func (s *Script) written(l line, vars map[string]string) string {
	if l.play != "" {
		return "[" + l.play + "]"
	}
	parts, _ := Cut(l.text)
	var b strings.Builder
	for _, part := range parts {
		b.WriteString(part.Text)
		if part.Var == "" {
			continue
		}
		text, err := Spoken(s.p.spec.Vars[part.Var].Type, s.p.voice.Language, vars[part.Var])
		if err != nil || text == "" {
			text = s.fallback(part)
		}
		b.WriteString(text)
	}
	return b.String()
}
