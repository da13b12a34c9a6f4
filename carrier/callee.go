package carrier

import (
	"time"

	"waihu"
)

// This file is the table of callees and those of them that never answer or just talk;
// callee_media.go holds those that are about sound, callee_sip.go those that are about signalling.

func init() { // a variable would be initialised in a cycle: scripts draw from the table
	unanswered := []waihu.Disposition{waihu.NoAnswer}
	behaviours = map[int]behaviour{
		1:  {"rings 3 s, answers, talks, hangs up at goodbye", answered, person, true},
		2:  {"busy", []waihu.Disposition{waihu.Busy}, busy, false},
		3:  {"rings 6 s, rejects", []waihu.Disposition{waihu.Rejected}, rejects, false},
		4:  {"rings until CANCEL", unanswered, ringsOn, false},
		5:  {"vacant number: announcement, 404", []waihu.Disposition{waihu.Vacant}, vacant, false},
		6:  {"powered off: announcement, 480 with cause 20", []waihu.Disposition{waihu.PoweredOff, waihu.Unreachable}, off, false},
		7:  {"suspended: announcement, 480", []waihu.Disposition{waihu.Suspended, waihu.Unreachable, waihu.NoAnswer}, suspended, false},
		8:  {"in a call: announcement, 486", []waihu.Disposition{waihu.Busy}, inCall, false},
		9:  {"incoming barred: 403 with cause 55", []waihu.Disposition{waihu.Barred}, barred, false},
		10: {"arrears: 402", []waihu.Disposition{waihu.Arrears}, arrears, false},
		11: {"rings, 480 after 45 s", unanswered, gaveUp, false},
		12: {"intercepted: 503 at once", []waihu.Disposition{waihu.Intercepted}, intercepted, false},
		13: {"answers without ringing", answered, answersAtOnce, true},
		14: {"colour ring, then answers", answered, colourRing, true},
		15: {"183, 180, 200 with another description", answered, movesOn, true},
		20: {"voicemail with greeting and beep", answered, voicemail, false},
		21: {"secretary service", answered, secretary, false},
		22: {"phone assistant asks who calls", answered, assistant, false},
		23: {"IVR menu", answered, menu, false},
		24: {"fax machine", answered, fax, false},
		30: {"hangs up after a few seconds", answered, leavesAfter, false},
		31: {"hangs up in the middle of the agent's sentence", answered, leavesMid, false},
		32: {"hangs up right after the answer", answered, leavesAtOnce, false},
		33: {"never speaks", answered, silent, false},
		34: {"speaks without pause", answered, chatterbox, false},
		35: {"network loss: RTP stops, no BYE", answered, vanishes, false},
		36: {"hangs up, its BYE is lost", answered, byeLost, false},
		40: {"barges in", answered, barges, true},
		41: {"says 嗯 every 2 s while the agent speaks", answered, backchannels, true},
		42: {"coughs while the agent speaks", answered, coughs, true},
		43: {"background babble", answered, babbles, true},
		44: {"a second voice speaks along", answered, twoSpeak, true},
		45: {"echoes the caller's voice", answered, echoes, true},
		50: {"presses keys by RFC 4733", answered, pressesBy(keyEvent), true},
		51: {"presses keys by INFO", answered, pressesBy(keyInfo), true},
		52: {"presses keys as tones, knows no telephone-event", answered, tonesOnly, true},
		53: {"presses keys by RFC 4733 and INFO at once", answered, pressesBy(keyBoth), true},
		54: {"telephone-event at payload type 96", answered, event96, true},
		55: {"presses keys, the marker is missing", answered, pressesBy(keyNoMark), true},
		56: {"presses keys, the end packets are lost", answered, pressesBy(keyNoEnd), true},
		60: {"requires PRACK", answered, prack, true},
		61: {"session timer 90 s, the callee refreshes", answered, sessionTimer, true},
		62: {"422 Session Interval Too Small, then as 01", answered, tooSmall, true},
		63: {"re-INVITE: hold, then resume", answered, holds, true},
		64: {"re-INVITE without description", answered, emptyReinvite, true},
		65: {"UPDATE with description", answered, updates, true},
		67: {"401, stale nonce, then as 01", answered, challenged, true},
		68: {"407 twice, then as 01", answered, challengedTwice, true},
		69: {"redirects: 302", []waihu.Disposition{waihu.CarrierFault, waihu.OurFault, waihu.Intercepted, waihu.Failed}, redirects, false},
		70: {"forks: two 183, the second answers", answered, forks, true},
		71: {"forks: two 200", answered, answersTwice, true},
		72: {"answers after CANCEL", unanswered, answersLate, false},
		73: {"200 sent five times more", answered, repeatsOK, true},
		74: {"the first ACK is lost", answered, ackLost, true},
		75: {"183 with description, 200 without", answered, describesEarly, true},
		76: {"100, then silence", unanswered, onlyTrying, false},
		77: {"thirty provisional responses", answered, thirty, true},
		80: {"PCMA only", answered, codecOnly(ptPCMA), true},
		81: {"PCMU only", answered, codecOnly(ptPCMU), true},
		83: {"packets of 30 ms", answered, ptime30, true},
		84: {"RTP from another port than described", answered, otherPort, true},
		85: {"the SSRC changes", answered, newSource, true},
		86: {"jitter of 60 ms", answered, jittery, true},
		87: {"5 % of the callee's packets are lost", answered, lossy, true},
		88: {"a clock that is 200 ppm slow", answered, drifting, true},
		90: {"mixture", anyOf(waihu.Answered, waihu.NoAnswer, waihu.Rejected, waihu.Busy, waihu.Vacant, waihu.PoweredOff, waihu.Unreachable,
			waihu.Suspended, waihu.Intercepted, waihu.Barred, waihu.Arrears), person, true},
	}
}

func anyOf(ds ...waihu.Disposition) []waihu.Disposition { return ds }

const (
	ringTime = 3 * time.Second
	// thumbTime: a refusal after shorter ringing is taken for a switch's, so Speed goes no further.
	thumbTime = 3200 * time.Millisecond
)

func (k *call) trying() { k.provisional(nil, 100, "Trying", nil) }

// ring lets the phone ring.
func (k *call) ring(d time.Duration) error {
	k.provisional(nil, 180, "Ringing", nil)
	return k.sleep(d)
}

// pickUp is the usual way to an answered call.
func (k *call) pickUp() (*dialog, error) {
	k.trying()
	ring := k.scaled(ringTime)
	if k.ringTime > 0 {
		ring = k.scaled(k.ringTime)
	}
	if err := k.ring(ring); err != nil {
		return nil, err
	}
	d := k.first()
	return d, k.answer(d, false)
}

// converse picks up, changes the media and talks as 01 does.
func (k *call) converse(change func(*media)) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	if change != nil {
		d.media.set(change)
	}
	return k.talk(d, k.conversation())
}

func person(k *call) error { return k.converse(nil) }

func busy(k *call) error {
	k.trying()
	if err := k.sleep(k.scaled(200 * time.Millisecond)); err != nil {
		return err
	}
	return k.fail(486, "Busy Here")
}

func rejects(k *call) error {
	k.trying()
	if err := k.ring(max(k.scaled(6*time.Second), thumbTime)); err != nil {
		return err
	}
	return k.fail(603, "Decline")
}

func ringsOn(k *call) error {
	k.trying()
	return k.ring(longest)
}

func gaveUp(k *call) error {
	k.trying()
	if err := k.ring(k.scaled(45 * time.Second)); err != nil {
		return err
	}
	return k.fail(480, "Temporarily Unavailable")
}

// announce plays an announcement as early media and then fails.
func (k *call) announce(text string, d time.Duration, status int, phrase string, extra ...string) error {
	k.trying()
	body, err := k.first().describe()
	if err != nil {
		return k.undescribed(err)
	}
	m := k.first().media
	clip := k.c.voice.plain(text)
	m.set(func(m *media) { m.mouth.under = append(clip[:len(clip):len(clip)], make([]int16, 8000)...) })
	k.provisional(nil, 183, "Session Progress", body, "P-Early-Media: sendonly")
	m.start()
	if err := k.sleep(k.scaled(d)); err != nil {
		return err
	}
	return k.fail(status, phrase, extra...)
}

func vacant(k *call) error { return k.announce(announceVacant, 20*time.Second, 404, "Not Found") }

func off(k *call) error {
	return k.announce(announceOff, 15*time.Second, 480, "Temporarily Unavailable", `Reason: Q.850;cause=20;text="Subscriber absent"`)
}

func suspended(k *call) error {
	return k.announce(announceSuspended, 15*time.Second, 480, "Temporarily Unavailable")
}

func inCall(k *call) error {
	return k.announce(announceBusy, 15*time.Second, 486, "Busy Here", `Reason: Q.850;cause=17;text="User busy"`)
}

func barred(k *call) error {
	k.trying()
	return k.fail(403, "Forbidden", `Reason: Q.850;cause=55;text="Incoming calls barred"`)
}

func arrears(k *call) error {
	k.trying()
	return k.fail(402, "Payment Required")
}

func intercepted(k *call) error { return k.fail(503, "Service Unavailable") }

func answersAtOnce(k *call) error {
	k.trying()
	d := k.first()
	if err := k.answer(d, false); err != nil || k.over {
		return err
	}
	return k.talk(d, k.conversation())
}

func colourRing(k *call) error {
	k.trying()
	d := k.first()
	body, err := d.describe()
	if err != nil {
		return k.undescribed(err)
	}
	music := k.c.voice.ringing()
	d.media.set(func(m *media) { m.mouth.under = music })
	k.provisional(d, 183, "Session Progress", body, "P-Early-Media: sendrecv")
	d.media.start()
	if err := k.sleep(k.scaled(5 * time.Second)); err != nil {
		return err
	}
	d.media.set(func(m *media) { m.mouth.under = nil })
	if err := k.answer(d, false); err != nil {
		return err
	}
	return k.talk(d, k.conversation())
}

// voicemail greets, beeps, records for a while and hangs up.
func voicemail(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	if err := k.talk(d, []Step{{When: After, After: 200 * time.Millisecond, Say: greeting}, {When: After, Hangup: true}}); err != nil {
		return err
	}
	d.media.play(k.c.voice.beep())
	return k.sleep(max(k.scaled(20*time.Second), 2*time.Second))
}

func (k *call) recite(steps ...Step) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	return k.talk(d, steps)
}

func secretary(k *call) error {
	return k.recite(Step{When: After, After: 200 * time.Millisecond, Say: secretaryText}, Step{When: After, After: time.Second, Hangup: true})
}

// assistant talks back: it asks, listens, promises and hangs up.
func assistant(k *call) error {
	return k.recite(Step{When: After, After: 300 * time.Millisecond, Say: assistantText},
		Step{When: AgentDone, Say: relayText}, Step{When: After, After: 500 * time.Millisecond, Hangup: true})
}

// menu says its choices three times and gives up.
func menu(k *call) error {
	choice := Step{When: After, After: 2 * time.Second, Say: menuText}
	return k.recite(choice, choice, choice, Step{When: After, After: 3 * time.Second, Hangup: true})
}

func fax(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	tone := k.c.voice.fax()
	d.media.set(func(m *media) { m.mouth.under = tone })
	return k.talk(d, []Step{{When: After, After: 15 * time.Second, Hangup: true}})
}

// leavesAfter hangs up 3 to 7 s after the answer, by the number's dice.
func leavesAfter(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	return k.talk(d, []Step{k.hello(), {When: After, After: 2*time.Second + k.some(5*time.Second), Hangup: true}})
}

func leavesMid(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	return k.talk(d, []Step{{When: Barge, After: 1500 * time.Millisecond, Hangup: true}})
}

func leavesAtOnce(k *call) error {
	_, err := k.pickUp()
	return err
}

func silent(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	return k.talk(d, []Step{{When: After, After: time.Minute, Hangup: true}})
}

func chatterbox(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	return k.talk(d, []Step{{When: After, After: 300 * time.Millisecond, Say: story}, {When: After, Say: story}, {When: After, Say: story},
		{When: After, Say: "再见"}, {When: After, Hangup: true}})
}

// vanishes stops its packets 3 s into the call; signalling still works, so the caller's BYE is answered.
func vanishes(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	if err := k.talk(d, []Step{k.hello(), {When: After, After: 2 * time.Second, Hangup: true}}); err != nil {
		return err
	}
	d.media.mute()
	return k.sleep(longest)
}

// byeLost has hung up and forgotten the dialog, but the caller never hears of it.
func byeLost(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	if err := k.talk(d, []Step{k.hello(), {When: After, After: 2 * time.Second, Hangup: true}}); err != nil {
		return err
	}
	k.release(waihu.ByCallee)
	d.media.mute()
	k.deaf = true
	over := false
	k.early = func(in *inbound) bool { // the answer to the caller's BYE is 481, and that ends it
		over = over || isBye(in)
		return false
	}
	if err := k.wait(longest, func() bool { return over }); err != nil {
		return err
	}
	d.ended, d.endedAt = true, time.Now()
	d.media.stop()
	k.over = true
	return nil
}
