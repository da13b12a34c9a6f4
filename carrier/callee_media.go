package carrier

import (
	"time"
)

// barges breaks into the agent's sentence, then answers it.
func barges(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	steps := k.conversation()
	at := 600*time.Millisecond + k.some(700*time.Millisecond)
	return k.talk(d, []Step{steps[0], {When: Barge, After: at, Limit: 6 * time.Second, Say: "等一下"}, steps[1], steps[2]})
}

// whileAgentSpeaks repeats a step every interval of the agent's speech, then goes on as 01.
func (k *call) whileAgentSpeaks(interval time.Duration, s Step) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	steps := k.conversation()
	s.When, s.After, s.Limit = Barge, interval, 6*time.Second
	return k.talk(d, []Step{steps[0], s, s, steps[1], steps[2]})
}

func backchannels(k *call) error {
	return k.whileAgentSpeaks(2*time.Second, Step{Say: "嗯"})
}

func coughs(k *call) error {
	return k.whileAgentSpeaks(time.Second, Step{Noise: 250 * time.Millisecond})
}

func babbles(k *call) error {
	under := k.c.voice.babble()
	return k.converse(func(m *media) { m.mouth.under = under })
}

// twoSpeak has a second person in the room, softer than the callee and without subtitle.
func twoSpeak(k *call) error {
	voice := k.c.voice.once("second voice", func() []int16 {
		pcm := voiceOf(story)
		for i := range pcm {
			pcm[i] /= 5
		}
		return append(pcm, make([]int16, 24000)...)
	})
	return k.converse(func(m *media) { m.mouth.under = voice })
}

func echoes(k *call) error {
	return k.converse(func(m *media) {
		e := newEcho(150*time.Millisecond, -20)
		m.mouth.echo, m.ear.echo = e, e
	})
}

// pressesBy answers the agent with a key, whatever the number's reply would be.
func pressesBy(way keyWay) func(*call) error {
	return func(k *call) error {
		d, err := k.pickUp()
		if err != nil || k.over {
			return err
		}
		d.media.setKeys(way, func(digit byte) { k.post(func() { k.pressInfo(d, digit) }) })
		steps := k.conversation()
		steps[1].Say, steps[1].DTMF = "", keyOf(k.rec.Called)
		return k.talk(d, steps)
	}
}

// event96 describes telephone-event at 96. What it sends still bears the number that the caller gave it (RFC 3264 5.1).
func event96(k *call) error {
	k.eventPT = 96
	return pressesBy(keyEvent)(k)
}

func codecOnly(pt int) func(*call) error {
	return func(k *call) error {
		k.codecs = []int{pt}
		return k.converse(nil)
	}
}

func ptime30(k *call) error {
	k.ptime = 30
	return k.converse(nil)
}

func otherPort(k *call) error {
	k.trying()
	if err := k.ring(k.scaled(ringTime)); err != nil {
		return err
	}
	d := k.first()
	if _, err := d.describe(); err != nil {
		return k.undescribed(err)
	}
	if err := d.media.otherPort(); err != nil {
		return err
	}
	if err := k.answer(d, false); err != nil {
		return err
	}
	return k.talk(d, k.conversation())
}

// tonesOnly knows no telephone-event, so its keys can only be heard.
func tonesOnly(k *call) error {
	k.noEvents = true
	return pressesBy(keyTone)(k)
}

// newSource changes SSRC, sequence and timestamp 2 s after the answer.
func newSource(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	k.after(2*time.Second, func() {
		d.media.set(func(m *media) {
			m.ssrc, m.seq, m.ts, m.mark = m.rng.Uint32(), uint16(m.rng.Uint32()), m.rng.Uint32(), true
		})
	})
	return k.talk(d, k.conversation())
}

func jittery(k *call) error {
	return k.converse(func(m *media) { m.jitter = 60 * time.Millisecond })
}

// drifting counts its samples by a clock of its own, so its packets come 20 ms and 4 µs apart.
func drifting(k *call) error {
	return k.converse(func(m *media) { m.drift = 200e-6 })
}

func lossy(k *call) error {
	return k.converse(func(m *media) { m.loss = 0.05 })
}
