package agent

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"waihu"
)

// Part is a stretch of a text: fixed words, or a variable.
type Part struct {
	Text    string // fixed words; empty for a variable
	Var     string // name of the variable
	Default string // said when the variable has no value; {{name|default}}
}

// Cut cuts a text at its variables: {{name}} or {{name|default}}. There is no other logic in texts.
// A text that is not well formed is an error that says where.
func Cut(text string) ([]Part, error) {
	var parts []Part
	for rest := text; rest != ""; {
		open := strings.Index(rest, "{{")
		if open < 0 {
			if strings.Contains(rest, "}}") {
				return nil, fmt.Errorf("%q: }} without {{", text)
			}
			return append(parts, Part{Text: rest}), nil
		}
		if strings.Contains(rest[:open], "}}") {
			return nil, fmt.Errorf("%q: }} without {{", text)
		}
		if open > 0 {
			parts = append(parts, Part{Text: rest[:open]})
		}
		end := strings.Index(rest[open:], "}}")
		if end < 0 {
			return nil, fmt.Errorf("%q: {{ is not closed", text)
		}
		name, def, _ := strings.Cut(rest[open+2:open+end], "|")
		name, def = strings.TrimSpace(name), strings.TrimSpace(def)
		if !varName(name) {
			return nil, fmt.Errorf("%q: %q is not a name of a variable", text, name)
		}
		parts = append(parts, Part{Var: name, Default: def})
		rest = rest[open+end+2:]
	}
	return parts, nil
}

// varName allows letters of any script, digits, _ and -, not beginning with a digit.
func varName(s string) bool {
	for i, r := range s {
		if r == utf8.RuneError || !(unicode.IsLetter(r) || r == '_' || i > 0 && (unicode.IsDigit(r) || r == '-')) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// Speakable is a fixed part as it goes to the voice: without what stands at its front
// that has no sound. It is empty for mere punctuation.
func Speakable(text string) string {
	text = strings.TrimLeftFunc(text, silentRune)
	if strings.IndexFunc(text, func(r rune) bool { return !silentRune(r) }) < 0 {
		return ""
	}
	return strings.TrimRightFunc(text, unicode.IsSpace)
}

// silentRune is punctuation or space. Signs that are read out (%, +, $) are not.
func silentRune(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsPunct(r) && r != '%' && r != '#' && r != '&' && r != '@'
}

// pauseMS is the rest that belongs to a punctuation mark.
func pauseMS(r rune) int {
	switch r {
	case '。', '.', '？', '?', '！', '!', '；', ';', '…':
		return 350
	case '，', ',', '：', ':', '、', '—':
		return 180
	}
	return 0
}

// cutMS is the rest at a cut without punctuation: both sides were spoken by themselves, each to its
// own end, and run into each other without it.
const cutMS = 80

// pauseBetween is the rest where a text was cut between left and right.
func pauseBetween(left, right string) int {
	l, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(left, unicode.IsSpace))
	r, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(right, unicode.IsSpace))
	return max(cutMS, pauseMS(l), pauseMS(r))
}

// SpokenText is a text that an agent may speak, with where it stands in the spec.
type SpokenText struct {
	Where string // such as flow.nodes.bye.say
	Node  string // the flow's node, empty outside the flow
	Text  string // may hold variables; empty for a recording
	Play  string // name of a recording
}

// Texts lists every text and recording that a flow agent may speak, each place once, in a fixed order.
func Texts(spec *waihu.AgentSpec) []SpokenText {
	var out []SpokenText
	add := func(where, node, text string) {
		if text != "" {
			out = append(out, SpokenText{Where: where, Node: node, Text: text})
		}
	}
	actions := func(where, node string, do []waihu.Action) {
		for i, a := range do {
			at := fmt.Sprintf("%s[%d]", where, i)
			switch a.Kind {
			case "say":
				add(at+".say", node, a.Arg)
			case "play":
				out = append(out, SpokenText{Where: at + ".play", Node: node, Play: a.Arg})
			}
		}
	}
	add("opening.say", "", spec.Opening.Say)
	for i, t := range spec.Listen.NoInput.Say {
		add(fmt.Sprintf("listen.noinput.say[%d]", i), "", t)
	}
	for _, name := range sortedKeys(spec.Intents) {
		actions("intents."+name+".do", "", spec.Intents[name].Do)
	}
	for i, k := range spec.Knowledge {
		add(fmt.Sprintf("knowledge[%d].a", i), "", k.A)
	}
	if spec.Flow == nil {
		return out
	}
	for _, name := range sortedKeys(spec.Flow.Nodes) {
		n, at := spec.Flow.Nodes[name], "flow.nodes."+name
		add(at+".say", name, n.Say)
		if n.Play != "" {
			out = append(out, SpokenText{Where: at + ".play", Node: name, Play: n.Play})
		}
		for i, b := range n.Branches {
			add(fmt.Sprintf("%s.branches[%d].say", at, i), name, b.Say)
			actions(fmt.Sprintf("%s.branches[%d].do", at, i), name, b.Do)
		}
		if n.Else != nil {
			add(at+".else.say", name, n.Else.Say)
		}
		actions(at+".do", name, n.Do)
	}
	return out
}
