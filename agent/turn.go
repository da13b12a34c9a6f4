package agent

import (
	"strings"
	"time"

	"waihu"
)

// Turn taking: who has the floor. One function per state; each frame exactly one of them
// runs (or two, when a line ends and the next thing begins in the same frame).
//
//	opening --waited, or first words ended--> speaking
//	speaking --speech over ours--> paused --no words--> speaking
//	speaking, paused --the callee means it, or a key--> listening
//	speaking --line and plan ended--> listening, or closing
//	listening --endpoint, keys, silence--> speaking, or closing
//	closing --400 ms--> over
func (c *Conversation) turn() {
	if c.now >= maxCallMS {
		c.Close(waihu.BySystem, "max call")
		return
	}
	switch c.state {
	case opening:
		c.whileOpening()
	case speaking:
		c.whileSpeaking()
	case paused:
		c.whilePaused()
	case listening:
		c.whileListening()
	case closing:
		if c.now >= c.closeAt {
			c.finish(waihu.ByAgent, c.plan.reason)
		}
	}
}

func (c *Conversation) whileOpening() {
	t := &c.callee
	if len(c.keys) > 0 && c.keysReady() {
		return
	}
	if t.talking && !c.wordless() && c.now < c.waits+openingOverMS {
		return
	}
	if c.now < c.waits && !(t.spoke && t.ms >= minSpeechMS) {
		return
	}
	if t.spoke && (t.ms >= minSpeechMS || t.text != "") {
		c.calleeSaid("", "", "opening")
	}
	c.forget()
	c.begin(c.plan)
}

// wordless says that the sound which goes on after the callee's words brings no more of them: babble holds the
// detector of voices, and the recogniser knows better.
func (c *Conversation) wordless() bool {
	return c.callee.text != "" && c.now-c.callee.wordsAt >= wordlessMS
}

// begin starts a plan. A voice that goes on from before it is no answer to it and does not cut it; words do.
func (c *Conversation) begin(p plan) {
	c.plan, c.next, c.gap = p, 0, 0
	c.callee.earlier = c.callee.talking
	c.proceed()
}

// proceed starts the plan's next line, or what follows the last.
func (c *Conversation) proceed() {
	for c.next < len(c.plan.lines) {
		c.saying = c.plan.lines[c.next]
		c.next++
		c.said = c.script.utterance(c.saying, c.flow.vars)
		if c.said.total == 0 {
			continue
		}
		c.state, c.pos, c.from = speaking, 0, max(c.now, c.gap)
		c.fadeIn, c.fadeOut = false, false
		c.protect = 0
		if c.saying.why == "opening" {
			c.protect = c.script.p.spec.Opening.ProtectMS
		} else if n := c.script.p.nodes[c.saying.node]; n != nil && c.saying.why == "node" {
			c.protect = n.ProtectMS
		}
		return
	}
	c.said, c.pos = utterance{}, 0
	if c.plan.hangup {
		c.state, c.closeAt = closing, c.now+hangupDelayMS
		return
	}
	c.state, c.waitsAt = listening, c.now
}

// play fills out with the next 20 ms of the current line.
func (c *Conversation) play(out []int16) bool {
	if c.fadeOut { // the 10 ms after a pause or a cut: no click
		c.fadeOut = false
		n := c.said.read(c.pos, out[:fadeSamples])
		fade(out[:n], -1)
		return n > 0
	}
	if c.state != speaking || c.now < c.gap {
		return false
	}
	n := c.said.read(c.pos, out)
	if c.fadeIn {
		c.fadeIn = false
		fade(out[:min(n, fadeSamples)], 1)
	}
	c.pos += n
	return n > 0
}

const fadeSamples = 80

func fade(pcm []int16, direction int) {
	for i := range pcm {
		k := i
		if direction < 0 {
			k = len(pcm) - 1 - i
		}
		pcm[i] = int16(int(pcm[i]) * k / len(pcm))
	}
}

func (c *Conversation) whileSpeaking() {
	if len(c.keys) > 0 && c.keysReady() {
		return
	}
	t := &c.callee
	switch {
	case c.pos*1000 < c.protect*sampleRate:
		t.over = 0
	case c.farewell():
		// The call ends after this sentence whatever is said into it, so it is said to its
		// end; only a wish that changes more than the talk (never call again) cuts it.
		if t.spoke && t.stop {
			c.yield()
			return
		}
	case t.spoke:
		if t.always || t.text != "" && !t.back && letters(t.text) >= commitChars {
			c.yield()
			return
		}
		if t.over >= pauseMSAfter {
			c.state, c.pausedAt, c.fadeOut = paused, c.now, c.pos < c.said.total
			return
		}
	}
	if t.spoke && !t.talking && c.now-t.last > backMS {
		c.forget() // a cough, or a "mhm" that is too old to be an answer
	}
	if c.pos < c.said.total {
		return
	}
	// The line was played to its end.
	c.record(false)
	c.gap = c.now + lineGapMS
	c.proceed()
	if c.state != speaking && t.spoke && !t.talking && t.text == "" {
		c.forget()
	}
}

func (c *Conversation) whilePaused() {
	if len(c.keys) > 0 && c.keysReady() {
		return
	}
	t := &c.callee
	words := t.text != "" && !t.back && letters(t.text) >= commitChars
	limit := commitMS
	if c.heard != nil {
		limit = commitSlowMS
	}
	switch {
	case t.always || words || t.over >= limit && !t.back:
		c.yield()
	case !t.talking && (t.back && t.final || c.now-c.pausedAt >= resumeMS):
		if !t.back {
			c.forget()
		}
		c.state, c.fadeIn = speaking, true
		c.pos = max(0, c.pos-rewindMS*sampleRate/1000)
	case t.back && c.now-c.pausedAt >= maxTurnMS:
		c.yield()
	}
}

// yield gives the callee the turn in the middle of our line.
func (c *Conversation) yield() {
	if c.state == speaking {
		c.fadeOut = c.pos < c.said.total && c.pos > 0
	}
	c.interrupted++
	c.record(true)
	c.state, c.waitsAt = listening, c.now
}

func (c *Conversation) whileListening() {
	if len(c.keys) > 0 {
		if c.keysReady() {
			return
		}
		c.waitsAt = c.now // somebody who types is not silent
	}
	t := &c.callee
	if !t.spoke {
		if c.unfinished() {
			c.goOn()
		} else if c.now-c.waitsAt >= c.quiet {
			c.decide(input{kind: inSilence})
		}
		return
	}
	silence := c.now - t.last
	if t.talking {
		silence = c.now - t.wordsAt // counts only when wordless
	}
	monologue := c.now-t.start >= c.longest()
	if t.talking && !c.wordless() && !monologue {
		return
	}
	if t.text == "" && t.ms < minSpeechMS && silence >= c.base {
		c.forget()
		return
	}
	if silence < t.need && !monologue {
		return
	}
	if c.heard == nil {
		c.decide(input{kind: inSpeech})
		return
	}
	if !t.final {
		if !t.asked {
			t.asked, t.askedAt = true, c.now
			c.heard.Finalize()
			return
		}
		if c.now-t.askedAt < finalWaitMS {
			return
		}
	}
	switch {
	case t.text != "":
		c.decide(input{kind: inText, text: t.text})
	case t.ms < 2*vadStopMS:
		c.waitsAt = c.now
		c.forget() // a short sound without words: a cough, a door
	default:
		c.decide(input{kind: inSpeech})
	}
}

// unfinished says that our plan was cut before its end.
func (c *Conversation) unfinished() bool { return c.next < len(c.plan.lines) || c.plan.hangup }

// goOn resumes a plan that was cut: with its next line, or with the end of the call.
func (c *Conversation) goOn() {
	c.begin(plan{lines: c.plan.lines[min(c.next, len(c.plan.lines)):], hangup: c.plan.hangup, reason: c.plan.reason})
}

// farewell says that the current line is the last before we hang up.
func (c *Conversation) farewell() bool { return c.plan.hangup && c.next >= len(c.plan.lines) }

// longest is how long the callee may speak without a break.
func (c *Conversation) longest() int {
	if c.farewell() {
		return maxProtestMS
	}
	if n := c.flow.at; n != nil && n.Collect != nil && n.Collect.MaxMS > 0 {
		return n.Collect.MaxMS
	}
	return maxTurnMS
}

// decide ends the callee's turn (words, speech, silence) and begins ours.
func (c *Conversation) decide(in input) {
	if c.unfinished() && (c.plan.hangup || in.kind != inText || !c.flow.expects(in.text)) {
		c.decideCut(in)
		return
	}
	p, d := c.flow.hear(in)
	if in.kind == inSilence {
		c.turns = append(c.turns, waihu.Turn{Who: "callee", Node: d.node, Intent: d.intent, Why: d.why,
			FromMS: int64(c.waitsAt), ToMS: int64(c.now)})
	} else {
		c.calleeSaid(d.node, d.intent, d.why)
	}
	c.forget()
	c.begin(p)
}

// decideCut decides what the callee said into a plan of ours that was cut and is not
// at its end: global intents count; otherwise the plan goes on with its next line, or
// ends the call when the goodbye was cut.
func (c *Conversation) decideCut(in input) {
	p, d, taken := c.flow.global(in.text)
	if !taken {
		d.why = "interrupted"
	}
	c.calleeSaid(d.node, d.intent, d.why)
	c.forget()
	switch {
	case !taken:
		c.goOn()
		return
	case c.plan.hangup && !p.hangup: // the end was decided before
		p.hangup, p.reason = true, c.plan.reason
	}
	c.begin(p)
}

// press takes a key.
func (c *Conversation) press(digit byte) {
	if c.state == closing || len(c.keys) == cap(c.keys) || strings.IndexByte("0123456789*#ABCDabcd", digit) < 0 {
		return
	}
	if digit >= 'a' {
		digit -= 'a' - 'A'
	}
	c.keys = append(c.keys, digit)
	bound, prefix := c.flow.keys(c.keys)
	ending := c.plan.hangup && c.state != opening
	collects := c.flow.collectsDigits() && !ending
	if !bound && !prefix && !collects && (ending || !c.flow.listensToKeys()) {
		// Nobody asked for keys: noted, and the talk goes on.
		c.flow.digits.Write(c.keys)
		c.turns = append(c.turns, waihu.Turn{Who: "callee", Digit: string(c.keys), Why: "dtmf: not asked for", FromMS: int64(c.now), ToMS: int64(c.now)})
		c.keys = c.keys[:0]
		return
	}
	if c.state == speaking || c.state == paused {
		c.yield()
	}
	switch {
	case collects && !bound && digit == '#':
		c.keyAt = c.now
	case collects:
		c.keyAt = c.now + collectGapMS
	case prefix:
		c.keyAt = c.now + keyGapMS
	default:
		c.keyAt = c.now
	}
}

// keysReady decides the keys when they are complete.
func (c *Conversation) keysReady() bool {
	if c.now < c.keyAt {
		return false
	}
	keys := string(c.keys)
	c.keys = c.keys[:0]
	if c.flow.collectsDigits() && len(keys) > 1 {
		keys = strings.TrimSuffix(keys, "#")
	}
	if c.state == opening { // typed before we said a word
		c.calleeOpening()
	}
	ending := c.plan.hangup && c.state != opening
	c.plan = plan{} // what was still to say is answered
	c.decideKeys(keys, ending)
	return true
}

func (c *Conversation) calleeOpening() {
	if t := &c.callee; t.spoke && (t.ms >= minSpeechMS || t.text != "") {
		c.calleeSaid("", "", "opening")
	}
}

func (c *Conversation) decideKeys(keys string, ending bool) {
	p, d := c.flow.hear(input{kind: inDigits, text: keys})
	if ending && !p.hangup {
		p.hangup, p.reason = true, "hangup"
	}
	c.turns = append(c.turns, waihu.Turn{Who: "callee", Digit: keys, Node: d.node, Intent: d.intent, Why: d.why,
		FromMS: int64(c.now), ToMS: int64(c.now)})
	c.forget()
	c.begin(p)
}

// record writes our line into the transcript, as far as it was played.
func (c *Conversation) record(cut bool) {
	text := c.said.text(c.pos)
	if text == "" {
		return
	}
	to := c.now
	if c.state == paused { // nothing of it was heard since
		to = c.pausedAt
	}
	c.turns = append(c.turns, waihu.Turn{Who: "agent", Text: text, Node: c.saying.node, Why: c.saying.why,
		FromMS: int64(c.from), ToMS: int64(to), Barged: cut && c.pos < c.said.total})
}

// calleeSaid writes the callee's turn into the transcript.
func (c *Conversation) calleeSaid(node, intent, why string) {
	t := &c.callee
	c.turns = append(c.turns, waihu.Turn{Who: "callee", Text: t.text, Node: node, Intent: intent, Why: why,
		FromMS: int64(t.start), ToMS: int64(max(t.start, t.last)), Partial: c.heard != nil && !t.final && t.text != ""})
	c.owe(len(c.turns) - 1)
}

func msDuration(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
