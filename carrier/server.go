package carrier

import (
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"waihu"
)

// receive works one message of the call.
func (k *call) receive(in *inbound) {
	if res, ok := in.msg.(*sip.Response); ok {
		k.response(res, in)
		return
	}
	req := in.msg.(*sip.Request)
	if k.early != nil && k.early(in) {
		return
	}
	switch req.Method {
	case sip.INVITE:
		k.invited(req, in)
		return
	case sip.ACK:
		k.acknowledged(req)
		return
	case sip.CANCEL:
		k.cancel(req, in)
		return
	}
	key := branchOf(req) + " " + string(req.Method)
	if b, again := k.answers[key]; again {
		in.from.send(b)
		return
	}
	status, phrase, extra, body := k.indialog(req)
	b := answer(req, in.from, status, phrase, k.tag(), extra, body)
	k.answers[key] = b
	answerPeer(req, in.from).send(b)
}

// tag is our tag where the caller has not chosen among several.
func (k *call) tag() string {
	if len(k.dialogs) == 0 {
		k.fork()
	}
	return k.dialogs[0].tag
}

// invited takes an INVITE: the first, a repetition, one with credentials, or one within the dialog.
func (k *call) invited(req *sip.Request, in *inbound) {
	branch, seq := branchOf(req), req.CSeq().SeqNo
	for _, tx := range k.invites {
		if tx.branch == branch && tx.seq == seq {
			if tx.last != nil && !tx.acked {
				answerPeer(req, in.from).send(tx.last)
			}
			return
		}
	}
	tx := &inviteTx{req: req, from: answerPeer(req, in.from), branch: branch, seq: seq}
	if tagged(req.To()) {
		k.reinvited(tx)
		return
	}
	if last := k.initial(); last != nil {
		if last.status < 300 {
			k.find("invite-overlap", "3261 14.1", "an INVITE with a new branch came before the one before it was answered")
			tx.from.send(answer(req, in.from, 482, "Loop Detected", newTag(), nil, nil))
			return
		}
		if seq != last.seq+1 {
			k.find("cseq-retry", "3261 22.2", "the INVITE after a challenge has CSeq %d: %d was expected", seq, last.seq+1)
		}
		if tagOf(req.From()) != tagOf(last.req.From()) {
			k.find("from-tag", "3261 22.2", "the INVITE after a challenge has another From tag")
		}
		k.over = false
	}
	k.invites = append(k.invites, tx)
	k.fresh = true
	k.hold()
	k.judgeInvite(req)
}

// offerOK reads the offer and refuses calls that cannot be served at all.
func (k *call) offerOK() bool {
	tx := k.initial()
	if tx == nil || k.over {
		return false
	}
	body := tx.req.Body()
	if len(body) == 0 {
		return true // the offer will be ours
	}
	d, err := parseSDP(body)
	if err != nil {
		k.find("offer", "8866 5", "the offer cannot be read: %v", err)
		k.reject(400, "Bad Session Description")
		return false
	}
	k.offer, k.offerBody = d, body
	k.judgeOffer(d)
	return true
}

// reinvited answers an INVITE within the dialog.
func (k *call) reinvited(tx *inviteTx) {
	d := k.member(tx.req)
	if d == nil || d.ended {
		tx.status, tx.tag = 481, tagOf(tx.req.To())
		tx.last = answer(tx.req, tx.from, 481, "Call/Transaction Does Not Exist", "", nil, nil)
		k.invites = append(k.invites, tx)
		tx.from.send(tx.last)
		return
	}
	if !k.judgeInDialog(tx.req, d) {
		tx.from.send(answer(tx.req, tx.from, 500, "CSeq Out of Order", "", nil, nil))
		return
	}
	tx.d = d
	k.invites = append(k.invites, tx)
	status, phrase, extra, body := d.renegotiate(tx.req)
	tx.status, tx.tag = status, d.tag
	tx.last = answer(tx.req, tx.from, status, phrase, "", append(extra, d.contactHeader()), body)
	tx.from.send(tx.last)
	k.repeatFinal(tx)
}

// acknowledged takes an ACK.
func (k *call) acknowledged(req *sip.Request) {
	seq := req.CSeq().SeqNo
	var tx *inviteTx
	for _, t := range k.invites {
		if t.seq == seq && (tx == nil || t.branch == branchOf(req)) {
			tx = t
		}
	}
	if tx == nil {
		k.find("ack-cseq", "3261 13.2.2.4", "an ACK has CSeq %d, which no INVITE had", seq)
		return
	}
	switch {
	case tx.status == 0:
		k.find("ack-early", "3261 13.2.2.4", "an ACK came before any final response")
	case tx.status >= 300:
		k.judgeFailureAck(req, tx)
		tx.acked = true
		tx.resend.stop()
		if tx.d == nil && tx == k.initial() {
			for _, d := range k.dialogs {
				d.media.over()
			}
		}
	default:
		d := k.member(req)
		if d == nil {
			return // member has said why
		}
		d.acks++
		k.judgeAck(req, tx, d)
		if tx.d == nil && k.onAck != nil && k.onAck(d) {
			return
		}
		if tx.d == nil && d.offered && d.acks == 1 {
			k.answeredInAck(req, d)
		}
		tx.acked = true
		tx.resend.stop()
		d.resend.stop()
	}
}

// cancel takes a CANCEL.
func (k *call) cancel(req *sip.Request, in *inbound) {
	var tx *inviteTx
	for _, t := range k.invites {
		if t.branch == branchOf(req) {
			tx = t
		}
	}
	to := answerPeer(req, in.from)
	if tx == nil {
		k.find("cancel-match", "3261 9.1", "a CANCEL has a branch that no INVITE of the call had")
		to.send(answer(req, in.from, 481, "Call/Transaction Does Not Exist", k.tag(), nil, nil))
		return
	}
	k.judgeCancel(req, tx)
	to.send(answer(req, in.from, 200, "OK", k.tag(), nil, nil))
	if tx.status != 0 || tx.d != nil || k.canceled {
		return
	}
	k.canceled = true
	if k.onCancel != nil {
		k.onCancel()
		return
	}
	k.over = true
	k.rejectBy(waihu.ByAgent, 487, "Request Terminated")
}

// provisional answers the initial INVITE with 1xx on behalf of d (nil: no dialog yet).
func (k *call) provisional(d *dialog, status int, phrase string, body []byte, extra ...string) {
	tx := k.initial()
	if tx == nil || tx.status != 0 {
		return
	}
	tag := ""
	if status > 100 {
		if d == nil {
			d = k.first()
		}
		tag = d.tag
		extra = append(extra, k.route()...)
		extra = append(extra, d.contactHeader())
		if status == 180 {
			k.c.note(k.rec, func(r *Record) {
				if r.RingAt.IsZero() {
					r.RingAt = time.Now()
				}
			})
		}
	}
	if body != nil {
		extra = append(extra, "Content-Type: "+contentSDP)
	}
	tx.last = answer(tx.req, tx.from, status, phrase, tag, extra, body)
	tx.from.send(tx.last)
}

// route is the Record-Route of the carrier's own proxy, for numbers that have one.
func (k *call) route() []string {
	if !k.routed {
		return nil
	}
	return []string{"Record-Route: " + k.c.proxy()}
}

func (c *Carrier) proxy() string { return fmt.Sprintf("<sip:%s;lr>", c.addr) }

// reject ends the call with a final failure.
func (k *call) reject(status int, phrase string, extra ...string) {
	k.rejectBy(waihu.ByCallee, status, phrase, extra...)
}

func (k *call) rejectBy(by waihu.Party, status int, phrase string, extra ...string) {
	tx := k.initial()
	if tx == nil || tx.status != 0 {
		return
	}
	tx.status, tx.tag = status, k.tag()
	tx.last = answer(tx.req, tx.from, status, phrase, tx.tag, extra, nil)
	k.c.note(k.rec, func(r *Record) { r.Status = status })
	k.release(by)
	tx.from.send(tx.last)
	k.drop()
	k.repeatFinal(tx)
}

// repeatFinal repeats a final response until its ACK (RFC 3261 13.3.1.4, 17.2.1) and misses an ACK that never comes.
func (k *call) repeatFinal(tx *inviteTx) {
	t1 := k.c.opt.T1
	end := time.Now().Add(64 * t1)
	wait := t1
	var again func()
	again = func() {
		if tx.acked {
			return
		}
		if !time.Now().Before(end) {
			k.find("ack-missing", "3261 17.1.1.3", "no ACK for %d within 64*T1", tx.status)
			tx.acked = true // nothing more is awaited
			return
		}
		if !tx.from.reliable() || tx.status < 300 {
			tx.from.send(tx.last)
		}
		wait = min(2*wait, 8*t1)
		tx.resend = k.after(min(wait, time.Until(end)), again)
	}
	tx.resend = k.after(wait, again)
}

// fail is reject as the end of a script.
func (k *call) fail(status int, phrase string, extra ...string) error {
	k.reject(status, phrase, extra...)
	k.over = true
	return nil
}

// register answers REGISTER, with a challenge when the carrier has a password.
func (c *Carrier) register(req *sip.Request, in *inbound) {
	to := answerPeer(req, in.from)
	if c.opt.Password != "" {
		switch ok, reason := c.authorized(req, value(req, "Authorization"), "", c.nonce("register")); {
		case reason != "":
			to.send(answer(req, in.from, 403, "Forbidden", newTag(), nil, nil))
			return
		case !ok:
			to.send(answer(req, in.from, 401, "Unauthorized", newTag(), []string{c.challenge("WWW-Authenticate", c.nonce("register"), false)}, nil))
			return
		}
	}
	var extra []string
	if contact := value(req, "Contact", "m"); contact != "" && contact != "*" {
		expires := value(req, "Expires")
		if expires == "" {
			expires = "3600"
		}
		if !strings.Contains(contact, "expires=") {
			contact += ";expires=" + expires
		}
		extra = append(extra, "Contact: "+contact, "Expires: "+expires)
	}
	to.send(answer(req, in.from, 200, "OK", newTag(), extra, nil))
}
