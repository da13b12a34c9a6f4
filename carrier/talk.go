package carrier

import (
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
)

// isKeys says whether a reply is pressed, not spoken.
func isKeys(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && r != '*' && r != '#' {
			return false
		}
	}
	return s != ""
}

// conversation is what a person does who was called: says hello, answers the agent's
// question, waits for its goodbye and hangs up.
func (k *call) conversation() []Step {
	reply := Step{When: AgentDone, After: defaultQuiet + k.some(400*time.Millisecond)}
	if r := replyOf(k.rec.Called); isKeys(r) {
		reply.DTMF = r
	} else {
		reply.Say = r
	}
	return []Step{k.hello(), reply, goodbye}
}

func (k *call) hello() Step {
	return Step{When: After, After: 300*time.Millisecond + k.some(400*time.Millisecond), Say: "喂"}
}

// goodbye hangs up when the agent has said its last and nothing more comes.
var goodbye = Step{When: AgentDone, After: 2500 * time.Millisecond, Limit: 8 * time.Second, Hangup: true}

// some is a time below d, by the number's dice.
func (k *call) some(d time.Duration) time.Duration { return time.Duration(k.rng.Int64N(int64(d))) }

// talk plays steps on d until the callee hangs up; errOver when the caller does.
func (k *call) talk(d *dialog, steps []Step) error {
	if own, ok := k.c.opt.Scripts[k.suffix]; ok {
		steps = own
	}
	cues := make([]cue, len(steps))
	for i, s := range steps {
		cues[i] = cue{Step: s, sound: k.sound(s), skip: s.Chance > 0 && k.rng.Float64() >= s.Chance}
	}
	hung := false
	d.media.setKeys(keyEvent, func(digit byte) { k.post(func() { k.pressInfo(d, digit) }) })
	d.media.perform(cues, func() { k.post(func() { hung = true }) })
	return k.wait(longest, func() bool { return hung })
}

// sound renders what a step sounds like.
func (k *call) sound(s Step) []int16 {
	switch {
	case s.Say != "":
		return k.c.voice.say(s.Say)
	case s.Noise > 0:
		return noise(int(s.Noise*8/time.Millisecond), noiseLevel)
	case s.Silence > 0:
		return make([]int16, s.Silence*8/time.Millisecond)
	}
	return nil
}

// pressInfo sends a digit by INFO.
func (k *call) pressInfo(d *dialog, digit byte) {
	if !d.ended {
		d.request(sip.INFO, nil, "application/dtmf-relay", fmt.Appendf(nil, "Signal=%c\r\nDuration=160\r\n", digit))
	}
}

// setKeys says how digits travel, unless a script has chosen before.
func (m *media) setKeys(way keyWay, info func(byte)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mouth.keys.info == nil {
		m.mouth.keys.way, m.mouth.keys.info = way, info
	}
}

func (m *media) set(change func(*media)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}
