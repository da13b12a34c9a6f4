package carrier

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"waihu"
)

func isBye(in *inbound) bool {
	req, ok := in.msg.(*sip.Request)
	return ok && req.Method == sip.BYE
}

// movesOn gives early media, rings, and answers from another port than the early media came from.
func movesOn(k *call) error {
	k.trying()
	d := k.first()
	body, err := d.describe()
	if err != nil {
		return k.undescribed(err)
	}
	k.provisional(d, 183, "Session Progress", body)
	d.media.start()
	if err := k.sleep(k.scaled(time.Second)); err != nil {
		return err
	}
	if err := k.ring(k.scaled(2 * time.Second)); err != nil {
		return err
	}
	old := d.media
	old.mute()
	d.media = nil
	k.retired = append(k.retired, old)
	version := d.local.version
	if _, err := d.describe(); err != nil {
		return k.undescribed(err)
	}
	d.local.version = version + 1
	if err := k.answer(d, false); err != nil {
		return err
	}
	return k.talk(d, k.conversation())
}

// prack sends its 183 reliably and rings on only after the PRACK.
func prack(k *call) error {
	k.trying()
	d := k.first()
	body, err := d.describe()
	if err != nil {
		return k.undescribed(err)
	}
	if err := k.provisionalReliably(d, 183, "Session Progress", body); err != nil || k.over {
		return err
	}
	d.media.start()
	if err := k.ring(k.scaled(ringTime)); err != nil {
		return err
	}
	if err := k.answer(d, false); err != nil {
		return err
	}
	return k.talk(d, k.conversation())
}

const sessionInterval = 90

// sessionTimer refreshes at half of its 90 s (RFC 4028 10), sooner by Speed.
func sessionTimer(k *call) error {
	k.required = []string{fmt.Sprintf("Session-Expires: %d;refresher=uas", sessionInterval)}
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	every := max(k.scaled(sessionInterval*time.Second/2), time.Second)
	var refresh func()
	refresh = func() {
		if d.ended || k.over {
			return
		}
		extra := []string{fmt.Sprintf("Session-Expires: %d;refresher=uac", sessionInterval), "Supported: timer"}
		if d.update {
			d.request(sip.UPDATE, extra, "", nil)
		} else {
			d.request(sip.INVITE, extra, contentSDP, d.local.bytes())
		}
		k.after(every, refresh)
	}
	k.after(every, refresh)
	return k.talk(d, k.conversation())
}

// tooSmall refuses the first session interval, when there is one, and takes the second.
func tooSmall(k *call) error {
	k.trying()
	interval, _, _ := strings.Cut(value(k.initial().req, "Session-Expires", "x"), ";")
	n, err := strconv.Atoi(strings.TrimSpace(interval))
	if err != nil {
		return k.converse(nil)
	}
	least := n + 600
	if err := k.refuse(422, "Session Interval Too Small", fmt.Sprintf("Min-SE: %d", least)); err != nil {
		return err
	}
	req := k.initial().req
	interval, _, _ = strings.Cut(value(req, "Session-Expires", "x"), ";")
	if n, _ := strconv.Atoi(strings.TrimSpace(interval)); n < least {
		k.find("session-expires", "4028 7.3", "after 422 with Min-SE %d the INVITE asks for %d", least, n)
	}
	return k.converse(nil)
}

// refuse fails the INVITE and waits for the next one of the same call; errOver when none comes.
func (k *call) refuse(status int, phrase string, extra ...string) error {
	k.fresh = false
	k.reject(status, phrase, extra...)
	if err := k.wait(10*time.Second+64*k.c.opt.T1, func() bool { return k.fresh }); err != nil {
		return err
	}
	if !k.fresh {
		k.over = true
		return errOver
	}
	if !k.offerOK() {
		return errOver
	}
	return nil
}

// holds puts the caller on hold for 2 s and takes it back, then talks.
func holds(k *call) error {
	return k.midCall(func(d *dialog) error {
		for _, direction := range []string{"sendonly", "sendrecv"} {
			d.local.direction = direction
			d.local.version++
			res, err := d.exchange(sip.INVITE, nil, contentSDP, d.local.bytes())
			if err != nil {
				return err
			}
			if res != nil && res.StatusCode >= 300 {
				k.find("hold", "3264 8.4", "a re-INVITE with %s was refused with %d", direction, res.StatusCode)
			}
			if direction == "sendonly" {
				if err := k.sleep(2 * time.Second); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// midCall says hello, does something with the dialog, then goes on as 01.
func (k *call) midCall(do func(*dialog) error) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	steps := k.conversation()
	if err := k.talk(d, []Step{steps[0], {When: After, After: 500 * time.Millisecond, Hangup: true}}); err != nil {
		return err
	}
	if err := do(d); err != nil {
		return err
	}
	d.media.set(func(m *media) { m.mouth.over = false })
	return k.talk(d, steps[1:])
}

func emptyReinvite(k *call) error {
	return k.midCall(func(d *dialog) error {
		res, err := d.exchange(sip.INVITE, nil, "", nil)
		if err == nil && res != nil && res.StatusCode >= 300 {
			k.find("reinvite-empty", "3261 14.2", "a re-INVITE without offer was refused with %d", res.StatusCode)
		}
		return err
	})
}

func updates(k *call) error {
	return k.midCall(func(d *dialog) error {
		if !d.update {
			return nil
		}
		d.local.version++
		_, err := d.exchange(sip.UPDATE, nil, contentSDP, d.local.bytes())
		return err
	})
}

// challenged asks for credentials, finds their nonce stale, asks again, and serves.
func challenged(k *call) error {
	k.trying()
	first, second := k.c.nonce("first"), k.c.nonce("second")
	if err := k.refuse(401, "Unauthorized", k.c.challenge("WWW-Authenticate", first, false)); err != nil {
		return err
	}
	if err := k.checked("Authorization", first); err != nil {
		return err
	}
	k.trying()
	if err := k.refuse(401, "Unauthorized", k.c.challenge("WWW-Authenticate", second, true)); err != nil {
		return err
	}
	if err := k.checked("Authorization", second); err != nil {
		return err
	}
	return k.converse(nil)
}

// challengedTwice asks as two proxies do: the second with its own nonce, not stale but another realm's.
func challengedTwice(k *call) error {
	k.trying()
	nonce := k.c.nonce("proxy")
	if err := k.refuse(407, "Proxy Authentication Required", k.c.challenge("Proxy-Authenticate", nonce, false)); err != nil {
		return err
	}
	if err := k.checked("Proxy-Authorization", nonce); err != nil {
		return err
	}
	k.trying()
	nonce = k.c.nonce("proxy again")
	if err := k.refuse(407, "Proxy Authentication Required", k.c.challenge("Proxy-Authenticate", nonce, true)); err != nil {
		return err
	}
	if err := k.checked("Proxy-Authorization", nonce); err != nil {
		return err
	}
	return k.converse(nil)
}

// checked refuses a call whose credentials are wrong.
func (k *call) checked(header, nonce string) error {
	req := k.initial().req
	ok, reason := false, "no credentials for the nonce"
	for _, h := range req.GetHeaders(header) {
		if good, bad := k.c.authorized(req, h.Value(), k.id, nonce); good || bad != "" {
			ok, reason = good, bad
		}
	}
	if ok {
		return nil
	}
	k.log.Info("credentials refused", "why", reason)
	k.reject(403, "Forbidden")
	k.over = true
	return errOver
}

func redirects(k *call) error {
	k.trying()
	return k.fail(302, "Moved Temporarily", fmt.Sprintf("Contact: <sip:elsewhere@%s>", k.c.addr))
}

// forks sends early media from two places; the second answers.
func forks(k *call) error {
	k.trying()
	a, b := k.first(), k.fork()
	music := k.c.voice.ringing()
	for _, d := range []*dialog{a, b} {
		body, err := d.describe()
		if err != nil {
			return k.undescribed(err)
		}
		d.media.set(func(m *media) { m.mouth.under = music })
		k.provisional(d, 183, "Session Progress", body)
		d.media.start()
		if err := k.sleep(k.scaled(time.Second)); err != nil {
			return err
		}
	}
	a.media.mute()
	b.media.set(func(m *media) { m.mouth.under = nil })
	if err := k.answer(b, false); err != nil {
		return err
	}
	return k.talk(b, k.conversation())
}

// answersTwice: two phones were picked up; the caller keeps one and ends the other (RFC 3261 13.2.2.4).
func answersTwice(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	if err := k.wait(64*k.c.opt.T1, func() bool { return d.acks > 0 }); err != nil {
		return err
	}
	second := k.fork()
	if err := k.answerAgain(second); err != nil {
		return err
	}
	k.after(20*k.c.opt.T1, func() { // a caller that stands still for a while is no rule broken
		if !second.ended && !d.ended && !k.over {
			k.find("second-200", "3261 13.2.2.4", "a second 200 was not ended by BYE")
		}
	})
	return k.talk(d, k.conversation())
}

// answerAgain sends another 200 to the INVITE from another fork.
func (k *call) answerAgain(d *dialog) error {
	tx := k.initial()
	body, err := d.describe()
	if err != nil {
		return err
	}
	extra := append(k.route(), d.contactHeader(), "Content-Type: "+contentSDP)
	again := &inviteTx{req: tx.req, from: tx.from, branch: tx.branch, seq: tx.seq, status: 200, tag: d.tag,
		last: answer(tx.req, tx.from, 200, "OK", d.tag, extra, body)}
	d.confirmed = true
	d.sendOK(again)
	k.onAck = func(acked *dialog) bool {
		again.acked = again.acked || acked == d
		return false
	}
	d.repeatOK(again)
	return nil
}

// answersLate answers just when the caller cancels: its 200 crosses the CANCEL.
func answersLate(k *call) error {
	k.trying()
	crossed := false
	k.onCancel = func() { crossed = true }
	k.provisional(nil, 180, "Ringing", nil)
	if err := k.wait(longest, func() bool { return crossed }); err != nil {
		return err
	}
	d := k.first()
	if err := k.answer(d, false); err != nil {
		return err
	}
	k.c.note(k.rec, func(r *Record) { r.Crossed = true })
	err := k.wait(16*k.c.opt.T1, func() bool { return false })
	if err == nil && !d.ended {
		k.find("late-200", "3261 9.1", "a 200 that crossed the CANCEL was not ended by BYE")
	}
	return err
}

const okRepeats = 5

// repeatsOK repeats its 200 although the ACK came; each must be acknowledged again.
func repeatsOK(k *call) error {
	d, err := k.pickUp()
	if err != nil || k.over {
		return err
	}
	tx := k.initial()
	for i := range okRepeats {
		k.after(time.Duration(i+1)*200*time.Millisecond, func() {
			if !d.ended {
				d.sendOK(tx)
			}
		})
	}
	return k.talk(d, k.conversation())
}

// ackLost never got the first ACK.
func ackLost(k *call) error {
	k.onAck = func(d *dialog) bool { return d.acks == 1 }
	return k.converse(nil)
}

func describesEarly(k *call) error {
	k.trying()
	d := k.first()
	body, err := d.describe()
	if err != nil {
		return k.undescribed(err)
	}
	k.provisional(d, 183, "Session Progress", body)
	d.media.start()
	if err := k.sleep(k.scaled(ringTime)); err != nil {
		return err
	}
	if err := k.answer(d, true); err != nil {
		return err
	}
	return k.talk(d, k.conversation())
}

// onlyTrying says nothing more; a CANCEL is answered, since 100 is a provisional response too.
func onlyTrying(k *call) error {
	k.trying()
	return k.sleep(longest)
}

func thirty(k *call) error {
	k.trying()
	d := k.first()
	body, err := d.describe()
	if err != nil {
		return k.undescribed(err)
	}
	d.media.start()
	for i := range 30 {
		switch i % 3 {
		case 0:
			k.provisional(d, 183, "Session Progress", body)
		case 1:
			k.provisional(d, 180, "Ringing", nil)
		default:
			k.provisional(d, 182, "Queued", nil)
		}
		if err := k.sleep(k.scaled(100 * time.Millisecond)); err != nil {
			return err
		}
	}
	if err := k.answer(d, false); err != nil {
		return err
	}
	return k.talk(d, k.conversation())
}

// keyOf is the key that a callee presses: the one of its reply's branch.
func keyOf(phone waihu.PhoneNumber) string {
	switch r := replyOf(phone); r {
	case "坏了", "2":
		return "2"
	case "别打了":
		return "9"
	}
	return "1"
}
