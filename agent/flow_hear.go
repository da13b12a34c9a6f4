package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"waihu"
)

// What the flow makes of a callee's turn.

// hear decides a callee's turn.
func (f *flow) hear(in input) (plan, decision) {
	f.begin()
	d := decision{}
	if f.at != nil {
		d.node = f.at.name
	}
	if in.kind != inSilence {
		f.rounds++
		f.noinput = 0
	}
	if in.kind == inDigits {
		f.digits.WriteString(in.text)
	}
	if f.now.hangup || f.at == nil {
		return f.now, d
	}
	switch in.kind {
	case inSilence:
		f.silent(&d)
	case inDigits:
		f.pressed(in.text, &d)
	case inSpeech:
		f.spoke("", &d)
	case inText:
		f.said(in.text, &d)
	}
	if d.intent != "" {
		f.meant[d.intent]++
	}
	if in.kind == inText || in.kind == inDigits {
		f.classify(d, in)
	}
	return f.now, d
}

// global decides a turn by the global intents alone: what the callee says into a goodbye.
func (f *flow) global(text string) (plan, decision, bool) {
	f.begin()
	d := decision{}
	if f.at != nil {
		d.node = f.at.name
	}
	f.rounds++
	taken := f.globalIntent(clauses(text), &d)
	if taken {
		f.meant[d.intent]++
		f.classify(d, input{kind: inText, text: text})
	}
	return f.now, d, taken
}

func (f *flow) said(text string, d *decision) {
	cl := clauses(text)
	if len(cl) == 0 {
		f.spoke(text, d)
		return
	}
	if f.globalIntent(cl, d) {
		return
	}
	if b, why := f.bestBranch(cl); b != nil {
		d.intent, d.why = b.On, why
		f.take(b)
		return
	}
	if f.at.Knowledge {
		if k, m := f.bestAnswer(cl); k != nil {
			d.why = fmt.Sprintf("knowledge: %s %q", m.how, m.word)
			f.answer(k)
			return
		}
	}
	f.spoke(text, d)
}

// globalIntent takes the best intent that has a do list.
func (f *flow) globalIntent(cl []string, d *decision) bool {
	var won *intent
	var best match
	for _, in := range f.p.global {
		if m, ok := in.find(cl); ok && (won == nil || m.better(best)) {
			won, best = in, m
		}
	}
	if won == nil {
		return false
	}
	// A branch of the node that heard a longer keyword of its own knows better
	// ("不需要" is global, "不需要发票" is this node's answer).
	if b, m, _ := f.branchMatch(cl); b != nil && b.intent != won && m.length > best.length {
		return false
	}
	d.intent, d.why = won.name, fmt.Sprintf("global: %s %q", best.how, best.word)
	f.runGlobal(won)
	return true
}

func (f *flow) runGlobal(in *intent) {
	if next, left := f.do(in.do, f.at.name); left {
		f.enter(next)
	}
}

// branchMatch is the branch whose intent matches best, with the number of those that matched.
func (f *flow) branchMatch(cl []string) (won *branch, best match, found int) {
	for i := range f.at.branches {
		b := &f.at.branches[i]
		if b.intent == nil {
			continue
		}
		if m, ok := b.intent.find(cl); ok {
			found++
			if won == nil || m.better(best) {
				won, best = b, m
			}
		}
	}
	return won, best, found
}

func (f *flow) bestBranch(cl []string) (*branch, string) {
	b, m, found := f.branchMatch(cl)
	if b == nil {
		return nil, ""
	}
	why := fmt.Sprintf("branch: %s %q", m.how, m.word)
	if found > 1 {
		why += fmt.Sprintf(", best of %d", found)
	}
	return b, why
}

func (f *flow) bestAnswer(cl []string) (won *knowledge, best match) {
	for _, k := range f.p.asks {
		if m, ok := k.find(cl); ok && (won == nil || m.better(best)) {
			won, best = k, m
		}
	}
	return won, best
}

// answer says a knowledge answer and goes on as it asks.
func (f *flow) answer(k *knowledge) {
	f.say(line{text: k.A, node: f.at.name, why: "knowledge"})
	switch k.Then {
	case "", "stay":
	case "return":
		f.ask(f.at)
	case "hangup":
		f.hangup("knowledge")
	default:
		f.enter(k.Then)
	}
}

// builtin is the branch for one of the built-in inputs.
func (f *flow) builtin(on string) *branch {
	for i := range f.at.branches {
		if b := &f.at.branches[i]; b.intent == nil && b.On == on {
			return b
		}
	}
	return nil
}

// spoke decides speech whose words are unknown or led nowhere.
func (f *flow) spoke(text string, d *decision) {
	c := f.at.Collect
	if c != nil && text != "" && f.keep(c, text) {
		d.why = "collect: " + c.Var
		f.goOn()
		return
	}
	if b := f.builtin("speech"); b != nil {
		d.intent, d.why = "speech", "speech"
		f.take(b)
		return
	}
	if c != nil && text == "" && (c.Kind == "" || c.Kind == "text") {
		// The callee has answered an open question; that it could not be written
		// down is no reason to ask again.
		d.why = "collect: without words"
		f.goOn()
		return
	}
	f.miss(d)
}

// keep stores an answer in the node's variable, if it is of the wanted kind.
func (f *flow) keep(c *waihu.CollectSpec, text string) bool {
	value := strings.TrimSpace(text)
	if c.Kind == "digits" {
		value = strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, arabic(value))
	}
	if value == "" {
		return false
	}
	f.vars[c.Var], f.collected[c.Var] = value, value
	return true
}

// arabic writes spoken digits as digits.
func arabic(s string) string {
	return strings.NewReplacer("零", "0", "〇", "0", "幺", "1", "一", "1", "二", "2", "两", "2", "三", "3", "四", "4", "五", "5",
		"六", "6", "七", "7", "八", "8", "九", "9").Replace(fold(s))
}

// goOn leaves a node that has its answer.
func (f *flow) goOn() {
	if f.at.Go == "" {
		f.hangup("end of the flow")
		return
	}
	f.enter(f.at.Go)
}

// take follows a branch.
func (f *flow) take(b *branch) {
	if b.Tag != "" {
		f.tag(b.Tag)
	}
	at := f.at.name
	if b.Say != "" {
		f.say(line{text: b.Say, node: at, why: "branch"})
	}
	if next, left := f.do(b.Do, at); left {
		f.enter(next)
		return
	}
	if b.Go != "" && !f.now.hangup {
		f.enter(b.Go)
	}
}

// miss answers a turn that nothing took: the else text so many times, then its target.
func (f *flow) miss(d *decision) {
	n := f.at
	f.misses[n.name]++
	f.missed++
	times, say, then := defaultElseTimes, "", ""
	if e := n.Else; e != nil {
		say, then = e.Say, e.Then
		times = e.Times
	}
	if d.why == "" {
		d.why = fmt.Sprintf("else %d of %d", f.misses[n.name], times)
		if f.misses[n.name] > times {
			d.why = "else: given up"
		}
	}
	switch {
	case f.missed > maxMisses:
		f.hangup("not understood")
	case f.misses[n.name] > times && then != "":
		f.misses[n.name] = 0
		f.enter(then)
	case f.misses[n.name] > times:
		f.hangup("not understood")
	case say != "":
		f.say(line{text: say, node: n.name, why: "else"})
	case n.Say != "" || n.Play != "":
		f.ask(n)
	case n.name == f.p.spec.Flow.Start && f.p.spec.Opening.Say != "":
		f.say(line{text: f.p.spec.Opening.Say, node: n.name, why: "else"})
	}
}

// silent answers silence: the node's branch, else the noinput texts in order and the end,
// else (no such texts) as an answer that was not understood.
func (f *flow) silent(d *decision) {
	f.silences++
	if f.silences > maxSilences {
		f.hangup("silence")
		return
	}
	if b := f.builtin("silence"); b != nil {
		d.intent, d.why = "silence", "silence"
		f.take(b)
		return
	}
	texts := f.p.spec.Listen.NoInput.Say
	if len(texts) == 0 {
		d.why = "silence: else"
		f.miss(d)
		return
	}
	d.why = fmt.Sprintf("silence %d of %d", f.noinput+1, len(texts))
	if f.noinput < len(texts) {
		text := texts[f.noinput]
		f.say(line{text: text, node: f.at.name, why: "noinput"})
		f.noinput++
		// After a last text that asks nothing there is nothing to wait for.
		if f.noinput < len(texts) || asks(text) {
			return
		}
	}
	f.hangup("silence")
}

func asks(text string) bool {
	t := strings.TrimSpace(text)
	return strings.HasSuffix(t, "？") || strings.HasSuffix(t, "?")
}

// pressed decides a complete sequence of keys.
func (f *flow) pressed(keys string, d *decision) {
	if c := f.at.Collect; c != nil && c.Kind == "digits" {
		if b, in := f.binding(keys); b == nil && in == nil && f.keep(c, keys) {
			d.why = "collect: " + c.Var
			f.goOn()
			return
		}
	}
	b, in := f.binding(keys)
	switch {
	case b != nil:
		d.intent, d.why = b.On, "dtmf "+keys
		if b.intent != nil && len(b.intent.do) > 0 && len(b.Do) == 0 && b.Go == "" && b.Say == "" {
			f.runGlobal(b.intent)
			return
		}
		f.take(b)
	case in != nil:
		d.intent, d.why = in.name, "dtmf "+keys
		f.runGlobal(in)
	default:
		d.why = "dtmf " + keys + ": else"
		f.miss(d)
	}
}

// binding is what the keys mean here: a branch of the node, or a global intent.
func (f *flow) binding(keys string) (*branch, *intent) {
	for i := range f.at.branches {
		if b := &f.at.branches[i]; b.dtmf == keys && keys != "" {
			return b, nil
		}
	}
	for _, in := range f.p.global {
		if in.dtmf == keys && keys != "" {
			return nil, in
		}
	}
	return nil, nil
}

// keys says how a sequence of keys stands: bound to something, a beginning of something
// longer, or neither. It allocates nothing: the turn engine asks at every key.
func (f *flow) keys(seq []byte) (bound, prefix bool) {
	if f.at == nil {
		return false, false
	}
	look := func(d string) {
		if len(d) >= len(seq) && d[:len(seq)] == string(seq) {
			bound = bound || len(d) == len(seq)
			prefix = prefix || len(d) > len(seq)
		}
	}
	for i := range f.at.branches {
		look(f.at.branches[i].dtmf)
	}
	for _, in := range f.p.global {
		look(in.dtmf)
	}
	return bound, prefix
}

// collectsDigits says that the node gathers keys.
func (f *flow) collectsDigits() bool {
	return f.at != nil && f.at.Collect != nil && f.at.Collect.Kind == "digits"
}

// listensToKeys says that a key press means something here.
func (f *flow) listensToKeys() bool {
	if f.at == nil {
		return false
	}
	if f.at.digits {
		return true
	}
	for _, in := range f.p.global {
		if in.dtmf != "" {
			return true
		}
	}
	return false
}

// expects says that a partial text already is an answer: the turn may end sooner.
func (f *flow) expects(text string) bool {
	cl := clauses(text)
	if f.at == nil || len(cl) == 0 {
		return false
	}
	b, _, _ := f.branchMatch(cl)
	return b != nil || f.stops(cl)
}

// stops says that the words mean a global intent.
func (f *flow) stops(cl []string) bool {
	for _, in := range f.p.global {
		if _, ok := in.find(cl); ok {
			return true
		}
	}
	return false
}

// classify counts a turn as agreement or refusal, for grade rules.
func (f *flow) classify(d decision, in input) {
	name := strings.ToLower(d.intent)
	switch {
	case slices.Contains(affirmNames, name):
		f.affirm++
	case slices.Contains(refuseNames, name):
		f.refusals++
	case in.kind == inText:
		cl := clauses(in.text)
		no, refused := refuseWords.find(cl)
		yes, agreed := affirmWords.find(cl)
		if refused && !(agreed && yes.better(no)) {
			f.refusals++
		} else if agreed {
			f.affirm++
		}
	}
}

// facts are the flow's part of what grade rules may ask about.
func (f *flow) facts() Facts {
	return Facts{
		Answered: true, Rounds: f.rounds, Affirm: f.affirm, Refusals: f.refusals, Silences: f.silences, Misses: f.missed,
		OptOut: f.optOut, Digits: f.digits.String(), Tags: slices.Clone(f.tags), Intents: maps.Clone(f.meant),
		Visited: maps.Clone(f.visited), Values: maps.Clone(f.collected),
	}
}
