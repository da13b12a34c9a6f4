package carrier

import (
	"time"

	"waihu/audio"
)

// mouth is the callee's side of the talk: it follows a script frame by frame, in media
// time. Guarded by the media's mu; speak runs on the pacer.
type mouth struct {
	m     *media
	cues  []cue
	i     int
	idle  int // frames since the last step ended
	clip  []int16
	pos   int
	under []int16 // sound that never ends, beneath the voice
	at    int
	echo  *echo
	keys  keys
	over  bool // the script has hung up
	done  func()
}

// cue is a step with its sound rendered and its dice thrown.
type cue struct {
	Step
	sound []int16
	skip  bool
}

const frameTime = audio.FrameMS * time.Millisecond

func frames(d time.Duration) int { return int(d / frameTime) }

// play makes the callee sound a clip at once, as announcements are.
func (m *media) play(clip []int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mouth.clip, m.mouth.pos = clip, 0
}

// perform starts a script; done is called once, from the pacer, when it hangs up.
func (m *media) perform(cues []cue, done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &m.mouth
	w.cues, w.i, w.idle, w.done, w.clip = cues, 0, 0, done, nil
	m.ear.sinceSpeak = 0
}

// speak makes the next 20 ms.
func (w *mouth) speak(dst []int16) {
	clear(dst)
	w.keys.advance(w.m)
	if w.pos >= len(w.clip) && !w.keys.busy() {
		w.act()
	}
	if w.pos < len(w.clip) {
		w.pos += copy(dst, w.clip[w.pos:])
		w.idle = 0
		if w.pos >= len(w.clip) {
			w.m.ear.sinceSpeak = 0
			if w.m.ear.speaking { // the agent spoke over the callee: that counts as its turn
				w.m.ear.sinceSpeak = 1
			}
		}
	} else if w.keys.busy() {
		w.idle = 0
	} else {
		w.idle++
	}
	for i := 0; i < len(dst) && len(w.under) > 0; {
		n := min(len(dst)-i, len(w.under)-w.at)
		audio.Mix(dst[i:i+n], w.under[w.at:w.at+n])
		i += n
		w.at = (w.at + n) % len(w.under)
	}
	if w.echo != nil {
		w.echo.mix(dst)
	}
}

// minAgent is how much speech counts as the agent having spoken.
const minAgent = 6 // frames

// act starts the next steps whose moment has come.
func (w *mouth) act() {
	for w.i < len(w.cues) && !w.over {
		c := &w.cues[w.i]
		if c.skip {
			w.i++
			continue
		}
		if !w.due(c) {
			return
		}
		w.i++
		w.idle = 0
		switch {
		case c.Hangup:
			w.over = true
			w.done()
			return
		case c.DTMF != "":
			w.keys.press(c.DTMF)
			return
		case len(c.sound) > 0:
			w.clip, w.pos = c.sound, 0
			return
		}
	}
}

func (w *mouth) due(c *cue) bool {
	e := &w.m.ear
	limit := c.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	switch c.When {
	case AgentDone:
		quiet := c.Step.After
		if quiet == 0 {
			quiet = defaultQuiet
		}
		if e.sinceSpeak >= minAgent && !e.speaking && e.quiet >= frames(quiet) {
			return true
		}
		return !e.speaking && w.idle >= frames(limit) && e.quiet >= frames(quiet)
	case Barge:
		return e.speaking && e.run >= frames(c.Step.After) || w.idle >= frames(limit)
	}
	return w.idle >= frames(c.Step.After)
}

// keyWay is how a callee's digits travel.
type keyWay int

const (
	keyEvent   keyWay = iota // RFC 4733
	keyInfo                  // SIP INFO
	keyTone                  // as tones in the sound
	keyBoth                  // RFC 4733 and INFO at once
	keyNoMark                // RFC 4733 without the marker
	keyNoEnd                 // RFC 4733 whose end packets are lost
	keyFrames  = 8           // 160 ms of a digit
	keyPause   = 8
	keyEndings = 3 // RFC 4733 2.5.1.4
)

// keys sends digits, one after the other.
type keys struct {
	way   keyWay
	info  func(digit byte) // for keyInfo and keyBoth; called from the pacer
	queue []byte
	frame int // within the present digit, -1: none
	on    bool
	out   event
}

// event is one packet of an RFC 4733 event.
type event struct {
	code      byte
	ts        uint32
	duration  uint16
	mark, end bool
}

func (k *keys) busy() bool { return k.on }

func (k *keys) press(digits string) {
	k.queue = append(k.queue, digits...)
	k.frame, k.on = -1, true
}

// advance goes on by one frame.
func (k *keys) advance(m *media) {
	if !k.on {
		return
	}
	k.frame++
	if k.frame == keyFrames+keyPause {
		k.queue, k.frame = k.queue[1:], 0
	}
	if len(k.queue) == 0 {
		k.on = false
		return
	}
	if k.frame != 0 {
		return
	}
	d := k.queue[0]
	way := k.way
	if m.eventPT < 0 && way != keyInfo {
		way = keyTone // the caller knows no events
	}
	switch way {
	case keyInfo:
		k.info(d)
	case keyBoth:
		k.info(d)
	case keyTone:
		m.mouth.clip, m.mouth.pos = audio.DTMFTone(d, keyFrames*audio.FrameSamples), 0
	}
	k.out = event{code: codeOf(d), ts: m.ts}
}

func codeOf(digit byte) byte {
	for i := range digits {
		if digits[i] == digit {
			return byte(i)
		}
	}
	return 0
}

// event is the packet that takes the place of this frame's sound; nil: none.
func (w *mouth) event() *event {
	k := &w.keys
	if !k.on || k.way == keyInfo || k.way == keyTone || w.m.eventPT < 0 || k.frame < 0 || k.frame >= keyFrames+keyEndings-1 {
		return nil
	}
	e := &k.out
	e.mark = k.frame == 0 && k.way != keyNoMark
	e.end = k.frame >= keyFrames-1
	if e.end && k.way == keyNoEnd {
		return nil
	}
	e.duration = uint16(min(k.frame+1, keyFrames) * audio.FrameSamples)
	return e
}
