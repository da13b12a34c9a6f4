package agent

import (
	"maps"
	"slices"

	"waihu"
	"waihu/audio"
)

// Parameters of the turn engine. Times are milliseconds of media time.
const (
	vadOnsetMS    = 60   // what the detector needs to believe in speech
	vadStopMS     = 200  // silence after which the callee may have ended
	minSpeechMS   = 100  // less than this was a click
	echoDoubtMS   = 400  // a turn shorter than this ends when the sound turns out to be an echo
	pauseDB       = 25   // a frame so far below the stretch's loudest is a pause
	openingOverMS = 2000 // after wait_ms: somebody who still talks, or a room that does, is spoken to all the same
	fastMS        = 300  // endpoint when the words already are an answer
	slowMS        = 900  // endpoint when the words are plainly unfinished
	finalWaitMS   = 500  // for the recogniser's final text, then the partial counts
	lateFinalMS   = 3000 // a final text that comes after its turn was decided still names it
	pauseMSAfter  = 200  // of speech over ours: pause
	commitMS      = 600  // of speech over ours, words unknown: the callee has the turn
	commitSlowMS  = 1500 // the same while a recogniser listens and has said nothing
	commitChars   = 2    // of words over ours
	resumeMS      = 1000 // no commit: go on
	rewindMS      = 300  // from so much before the pause
	backMS        = 800  // a backchannel so shortly before our end is the answer
	keyGapMS      = 2000 // between two keys of a longer binding
	collectGapMS  = 3000 // between two keys that are collected
	maxTurnMS     = 30000
	wordlessMS    = 1000 // of sound without new words after some: the room, not the callee
	maxProtestMS  = 3000 // of talk into a goodbye that was cut
	maxCallMS     = 300000
	lineGapMS     = 350 // between two sentences of ours
	hangupDelayMS = 400 // after the goodbye: the carrier's buffer drains
)

type state int

const (
	opening   state = iota // nothing said yet
	speaking               // our line is played
	paused                 // our line stands still: the callee talks over it
	listening              // the callee has the turn
	closing                // the goodbye was played
	over
)

// Conversation is one call's talk. See the package comment for who may call what.
type Conversation struct {
	script *Script
	flow   *flow
	heard  Recognizer
	vad    audio.VAD
	peak   float64 // loudest frame of the present stretch of speech, dBFS
	echo   echoGuard

	state state
	now   int // ms at the start of the current frame
	waits int // opening.wait_ms
	base  int // endpoint
	quiet int // noinput.ms

	// What we say.
	plan     plan      // lines[next:] are still to come
	next     int       // index of the line after the current one
	said     utterance // the current line
	saying   line
	protect  int // ms of the current line that nothing interrupts
	pos      int // samples of it that were played
	from     int // when it began
	gap      int // ms until which there is a rest between two lines
	pausedAt int
	fadeIn   bool
	fadeOut  bool

	callee  calleeTurn
	waitsAt int // listening since
	closeAt int

	keys  []byte // pressed and not yet decided
	keyAt int    // when they count as complete

	turns       []waihu.Turn
	interrupted int
	late        bool // the recogniser still owes the final text of an earlier turn
	lateTurn    int  // its place in turns, -1 when it was dropped
	lateUntil   int
	by          waihu.Party
	reason      string
}

// calleeTurn is what the callee does since the last decision.
type calleeTurn struct {
	talking bool
	spoke   bool // some speech since the last decision
	start   int  // of the turn
	last    int  // end of the last speech frame
	ms      int  // of speech in the turn
	over    int  // of speech in this run while we were speaking
	earlier bool // this run began before our line: no answer to it

	before  string // finished utterances of the turn
	text    string // all of it, as far as known
	wordsAt int    // when its last words came
	final   bool
	asked   bool // the recogniser was asked for the final text
	askedAt int
	need    int  // endpoint for the present text
	answer  bool // the text already is an expected answer
	back    bool // the text is only a backchannel
	stop    bool // the text means a global intent
	always  bool // the text interrupts at once
}

// Start begins the conversation at the answer: the first Frame is its first 20 ms.
// heard is nil on a line without recognition.
func (s *Script) Start(heard Recognizer) *Conversation {
	spec := s.p.spec
	c := &Conversation{
		script: s, flow: newFlow(s.p, s.vars), heard: heard, echo: newEchoGuard(),
		waits: defaultWaitMS, base: spec.Listen.EndpointMS, quiet: spec.Listen.NoInput.MS,
		turns: make([]waihu.Turn, 0, 16), keys: make([]byte, 0, 32),
	}
	if w := spec.Opening.WaitMS; w != nil {
		c.waits = *w
	}
	if c.base == 0 {
		c.base = defaultEndpointMS
	}
	if c.quiet == 0 {
		c.quiet = defaultNoInputMS
	}
	c.callee.need = c.base
	c.plan = c.flow.open()
	return c
}

// Frame takes 20 ms of the callee's sound (in may be empty when nothing came; lost says
// that it only stands in for a packet that never came), the key whose press became known in this
// frame (0: none), and fills out (FrameSamples long) with what the callee shall
// hear. spoke says that out holds words of the agent. in and out are not kept.
func (c *Conversation) Frame(in []int16, lost bool, digit byte, out []int16) (spoke bool) {
	clear(out)
	if c.state == over {
		return false
	}
	c.listen(in, lost)
	if digit != 0 {
		c.press(digit)
	}
	c.turn()
	spoke = c.play(out)
	c.echo.frame(in, out, spoke)
	c.now += frameMS
	return spoke
}

// listen takes the callee's sound: is it speech, which words.
func (c *Conversation) listen(in []int16, lost bool) {
	t := &c.callee
	switch active, echo := c.voice(in, lost); {
	case echo && t.text == "" && t.ms < echoDoubtMS:
		// What began this turn was our own sound, before the guard had learned its delay.
		t.spoke, t.talking, t.ms, t.over = false, false, 0, 0
	case active && !t.talking:
		t.talking, t.last = true, c.now+frameMS
		if !t.spoke {
			t.spoke, t.start, t.ms = true, max(0, c.now+frameMS-vadOnsetMS), 0
		}
		t.ms += vadOnsetMS
		t.over, t.earlier = vadOnsetMS, false
	case active:
		t.last = c.now + frameMS
		t.ms += frameMS
		if !t.earlier {
			t.over += frameMS
		}
	case t.talking && c.now+frameMS-t.last >= vadStopMS:
		t.talking, t.over = false, 0
	}
	if c.heard == nil {
		return
	}
	for _, h := range c.heard.Frame(in, lost) {
		c.words(h)
	}
}

// voice says whether the callee's voice sounds in this frame, and whether what sounds is our own echo.
// The detector bridges 180 ms between syllables; here the end of speech counts, so a frame
// far softer than the stretch it belongs to is a pause.
func (c *Conversation) voice(in []int16, lost bool) (active, echo bool) {
	if lost || len(in) < FrameSamples {
		return c.callee.talking && c.callee.last == c.now, false // as the frame before
	}
	was := c.vad.Speech()
	speech := c.vad.Frame(in)
	if c.echo.heard(in, speech) {
		return false, true
	}
	level := c.vad.Level()
	if speech && (!was || level > c.peak) {
		c.peak = level
	}
	return speech && level > c.peak-pauseDB, false
}

// words takes an event of the recogniser.
func (c *Conversation) words(h Heard) {
	if h.Noise {
		return
	}
	if c.late && c.now > c.lateUntil {
		c.late = false
	}
	if c.late { // the end of a turn that is already decided, or dropped
		if i := c.lateTurn; i >= 0 && h.Text != "" {
			c.turns[i].Text, c.turns[i].Partial = h.Text, !h.Final
		}
		c.late = !h.Final
		return
	}
	t := &c.callee
	if h.Text == "" && !h.Final {
		return
	}
	if !t.spoke { // the recogniser hears better than we do
		t.spoke, t.start, t.last, t.ms = true, c.now, c.now+frameMS, minSpeechMS
	}
	if t.final && h.Text != "" { // another utterance of the same turn
		t.before, t.final = t.text, false
		if !silentRune(lastRune(t.text)) {
			t.before += "，"
		}
	}
	if h.Text != "" {
		if text := t.before + h.Text; text != t.text {
			t.text, t.wordsAt = text, c.now
		}
	}
	t.final = t.final || h.Final
	t.answer = c.flow.expects(t.text)
	t.back = backchannel(t.text)
	t.stop = c.flow.stops(clauses(t.text))
	t.always = t.stop || interrupts(t.text)
	switch {
	case t.answer || endsClearly(t.text):
		t.need = min(fastMS, c.base)
	case endsOpenly(t.text):
		t.need = max(slowMS, c.base)
	default:
		t.need = c.base
	}
}

// forget ends the callee's turn.
func (c *Conversation) forget() {
	t := &c.callee
	if t.spoke {
		c.owe(-1)
	}
	*t = calleeTurn{talking: t.talking, last: t.last, need: c.base}
	if t.talking { // the voice goes on: what follows is another turn
		t.spoke, t.start = true, c.now
	}
}

// owe notes that the final text of the present words is still to come, for a turn of the
// transcript or for none.
func (c *Conversation) owe(turn int) {
	t := &c.callee
	if c.heard == nil || t.final || c.late {
		return
	}
	if !t.asked {
		t.asked = true
		c.heard.Finalize()
	}
	c.late, c.lateTurn, c.lateUntil = true, turn, c.now+lateFinalMS
}

// Done says that the conversation is over: hang up now.
func (c *Conversation) Done() bool { return c.state == over }

// End says who ended the conversation and why; empty while it goes on.
func (c *Conversation) End() (by waihu.Party, reason string) { return c.by, c.reason }

// Close ends the conversation from outside: the callee hung up, the media failed. What was
// being said enters the transcript as far as it was played. After the agent has ended, it changes nothing.
func (c *Conversation) Close(by waihu.Party, reason string) {
	if c.state == over {
		return
	}
	if c.state == speaking || c.state == paused {
		c.record(true)
	}
	c.finish(by, reason)
}

func (c *Conversation) finish(by waihu.Party, reason string) {
	if t := &c.callee; t.spoke && (t.text != "" || t.ms >= minSpeechMS) {
		c.calleeSaid("", "", "undecided")
	}
	c.state, c.by, c.reason = over, by, reason
	c.keys, c.late = c.keys[:0], false
}

// Transcript is what was said, in order, as far as it was played.
func (c *Conversation) Transcript() []waihu.Turn { return slices.Clone(c.turns) }

// Tags are the tags set, in order, each once.
func (c *Conversation) Tags() []string { return slices.Clone(c.flow.tags) }

// OptOut says that the callee asked never to be called again.
func (c *Conversation) OptOut() bool { return c.flow.optOut }

// Collected are the variables that the talk has set.
func (c *Conversation) Collected() map[string]string { return maps.Clone(c.flow.collected) }

// Recognizer names what made the transcript, "" without recognition.
func (c *Conversation) Recognizer() string {
	if c.heard == nil {
		return ""
	}
	return c.heard.Name()
}

// Facts are what grade rules may ask about, as of now.
func (c *Conversation) Facts() Facts {
	f := c.flow.facts()
	f.Duration = msDuration(c.now)
	f.Interrupted = c.interrupted
	f.EndedBy = c.by
	for _, t := range c.turns {
		if t.Who == "agent" || t.Text != "" || t.Digit != "" || t.Why == "speech" {
			f.Turns++
		}
	}
	return f
}
