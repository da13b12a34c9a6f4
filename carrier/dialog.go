package carrier

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"waihu"
)

// dialog is one fork of a call: our tag with what the caller knows by it. Owned by the call's main goroutine.
type dialog struct {
	k         *call
	tag       string
	contact   sip.Uri // ours
	seq       uint32  // of our last request
	remoteSeq uint32  // of the caller's last request
	target    sip.Uri // the caller's Contact
	local     local   // our description
	media     *media  // nil before a description was made

	confirmed bool
	ended     bool
	endedAt   time.Time
	offered   bool // our 2xx carried the offer
	oks       int  // times the 2xx was sent
	okAt      []time.Time
	acks      int
	resend    *timer
	update    bool // the caller allows UPDATE
}

// first is the dialog that answers unless a script forks.
func (k *call) first() *dialog {
	if len(k.dialogs) == 0 {
		return k.fork()
	}
	return k.dialogs[0]
}

// fork opens a further early dialog.
func (k *call) fork() *dialog {
	tx := k.initial()
	d := &dialog{k: k, tag: newTag(), seq: 100 + uint32(k.rng.IntN(1000)), remoteSeq: tx.seq}
	d.contact = sip.Uri{Scheme: "sip", User: fmt.Sprintf("c%d-%d", k.serial, len(k.dialogs)),
		Host: k.c.addr.Addr().String(), Port: int(k.c.addr.Port())}
	if tx.from.reliable() {
		d.contact.UriParams = sip.HeaderParams{{K: "transport", V: "tcp"}}
	}
	if c := tx.req.Contact(); c != nil {
		d.target = c.Address
	}
	d.update = lists(tx.req, "UPDATE", "Allow")
	k.dialogs = append(k.dialogs, d)
	return d
}

func (d *dialog) contactHeader() string { return "Contact: <" + d.contact.String() + ">" }

// member finds the dialog that a request names, and books it when there is none.
func (k *call) member(req *sip.Request) *dialog {
	tag := tagOf(req.To())
	for _, d := range k.dialogs {
		if d.tag == tag {
			if tx := k.initial(); tagOf(req.From()) != tagOf(tx.req.From()) {
				k.find("dialog-tags", "3261 12.2.1.1", "%s has another From tag than the INVITE", req.Method)
				return nil
			}
			return d
		}
	}
	k.find("dialog-tags", "3261 12.2.1.1", "%s has a To tag that the carrier never gave", req.Method)
	return nil
}

var errNoCodec = errors.New("no codec in common")

// describe makes or repeats the dialog's session description and readies its sockets.
func (d *dialog) describe() ([]byte, error) {
	if d.media != nil {
		return d.local.bytes(), nil
	}
	k := d.k
	m, err := k.c.openMedia(k)
	if err != nil {
		return nil, err
	}
	d.media = m
	d.local = local{addr: k.c.addr.Addr(), port: m.port, session: uint64(1000 + k.serial), version: 1,
		codecs: k.codecs, event: 101, ptime: k.ptime, direction: "sendrecv"}
	if k.offer != nil {
		pt := k.offer.codec(k.codecs...)
		if pt < 0 {
			return nil, errNoCodec
		}
		d.local.codecs = []int{pt}
		d.local.event = k.offer.event()
		if d.local.event >= 0 && k.eventPT >= 0 {
			d.local.event = k.eventPT
		}
		if k.noEvents {
			d.local.event = -1
		}
		d.local.direction = mirror(k.offer.direction)
		d.agree(k.offer)
	}
	return d.local.bytes(), nil
}

// undescribed ends a call for which there is no description.
func (k *call) undescribed(err error) error {
	if errors.Is(err, errNoCodec) {
		return k.fail(488, "Not Acceptable Here")
	}
	k.log.Error("no media for a call", "err", err)
	return k.fail(500, "Server Internal Error")
}

// agree sets the media to what the caller described.
func (d *dialog) agree(remote *description) {
	pt := remote.codec(d.local.codecs...)
	if pt < 0 {
		pt = d.local.codecs[0]
	}
	d.media.agree(remote, pt, remote.event(), d.local)
}

// answer sends the 200 to the initial INVITE and repeats it until the ACK. With silent
// the 200 has no description.
func (k *call) answer(d *dialog, silent bool) error {
	tx := k.initial()
	if k.over || tx.status >= 300 {
		return errOver
	}
	extra := append(k.route(), d.contactHeader(), "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO", "Supported: timer, 100rel")
	extra = append(extra, k.required...)
	var body []byte
	if !silent {
		var err error
		if body, err = d.describe(); err != nil {
			return k.undescribed(err)
		}
		extra = append(extra, "Content-Type: "+contentSDP)
	}
	d.confirmed = true
	d.offered = k.offer == nil && !silent
	tx.status, tx.tag = 200, d.tag
	tx.last = answer(tx.req, tx.from, 200, "OK", d.tag, extra, body)
	k.c.note(k.rec, func(r *Record) {
		r.Status = 200
		if r.AnswerAt.IsZero() {
			r.AnswerAt = time.Now()
		}
	})
	d.sendOK(tx)
	d.repeatOK(tx)
	d.media.start()
	return nil
}

// repeatOK repeats the 200 until its ACK (RFC 3261 13.3.1.4), whatever the transport, and ends a call whose ACK never comes.
func (d *dialog) repeatOK(tx *inviteTx) {
	k, t1 := d.k, d.k.c.opt.T1
	end, wait := time.Now().Add(64*t1), t1
	var again func()
	again = func() {
		switch {
		case tx.acked || d.ended:
		case !time.Now().Before(end):
			if d.acks == 0 {
				k.find("ack-missing", "3261 13.2.2.4", "no ACK for 200 within 64*T1")
			}
			tx.acked, k.over = true, true
		default:
			d.sendOK(tx)
			wait = min(2*wait, 8*t1)
			d.resend = k.after(min(wait, time.Until(end)), again)
		}
	}
	d.resend = k.after(wait, again)
}

func (d *dialog) sendOK(tx *inviteTx) {
	d.oks++
	d.okAt = append(d.okAt, time.Now())
	tx.from.send(tx.last)
}

// answeredInAck takes the answer to an offer that our 200 made.
func (k *call) answeredInAck(req *sip.Request, d *dialog) {
	remote, err := parseSDP(req.Body())
	if err != nil {
		k.find("answer", "3264 4", "the ACK of a 200 with an offer must carry the answer: %v", err)
		return
	}
	d.agree(remote)
}

// renegotiate answers an offer within the dialog, or makes one when req has none.
func (d *dialog) renegotiate(req *sip.Request) (status int, phrase string, extra []string, body []byte) {
	k := d.k
	extra = []string{allowHeaders[0]}
	if se := value(req, "Session-Expires", "x"); se != "" {
		interval, _, _ := strings.Cut(se, ";")
		extra = append(extra, "Session-Expires: "+strings.TrimSpace(interval)+";refresher=uac")
		if lists(req, "timer", "Supported", "k") {
			extra = append(extra, "Require: timer")
		}
	}
	if len(req.Body()) == 0 {
		if req.Method != sip.INVITE {
			return 200, "OK", extra, nil
		}
		d.offered = true
		return 200, "OK", append(extra, "Content-Type: "+contentSDP), d.local.bytes()
	}
	remote, err := parseSDP(req.Body())
	if err != nil {
		k.find("offer", "8866 5", "an offer within the dialog cannot be read: %v", err)
		return 400, "Bad Session Description", extra, nil
	}
	d.judgeReoffer(remote, req.Body())
	if remote.codec(d.local.codecs...) < 0 {
		return 488, "Not Acceptable Here", extra, nil
	}
	if dir := mirror(remote.direction); dir != d.local.direction {
		d.local.direction = dir
		d.local.version++
	}
	k.offer, k.offerBody = remote, bytes.Clone(req.Body())
	d.agree(remote)
	return 200, "OK", append(extra, "Content-Type: "+contentSDP), d.local.bytes()
}

// indialog works a request that is neither INVITE, ACK nor CANCEL.
func (k *call) indialog(req *sip.Request) (status int, phrase string, extra []string, body []byte) {
	d := k.member(req)
	if d == nil || k.deaf || d.ended && req.Method != sip.BYE {
		return 481, "Call/Transaction Does Not Exist", nil, nil
	}
	if !k.judgeInDialog(req, d) {
		return 500, "CSeq Out of Order", nil, nil
	}
	switch req.Method {
	case sip.BYE:
		k.byed(d)
		return 200, "OK", nil, nil
	case sip.PRACK:
		return k.pracked(req)
	case sip.UPDATE:
		status, phrase, extra, body = d.renegotiate(req)
		return status, phrase, append(extra, d.contactHeader()), body
	case sip.INFO:
		k.heardInfo(req)
		return 200, "OK", nil, nil
	case sip.OPTIONS:
		return 200, "OK", allowHeaders, nil
	}
	return 405, "Method Not Allowed", allowHeaders[:1], nil
}

// byed takes a BYE of the caller.
func (k *call) byed(d *dialog) {
	if d.ended {
		return // it crossed ours
	}
	d.ended, d.endedAt = true, time.Now()
	d.media.stop()
	d.media.over() // RFC 3261 15.1.1: from the moment that it sends BYE
	if !d.confirmed {
		k.rejectBy(waihu.ByAgent, 487, "Request Terminated")
	}
	if !slices.ContainsFunc(k.dialogs, func(o *dialog) bool { return o.confirmed && !o.ended }) {
		k.over = true
		k.release(waihu.ByAgent)
	}
}

// heardInfo notes a digit that came by INFO.
func (k *call) heardInfo(req *sip.Request) {
	kind, _, _ := strings.Cut(value(req, "Content-Type", "c"), ";")
	digit := ""
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "application/dtmf-relay":
		for line := range strings.Lines(string(req.Body())) {
			if name, v, ok := strings.Cut(line, "="); ok && strings.EqualFold(strings.TrimSpace(name), "signal") {
				digit = strings.TrimSpace(v)
			}
		}
	case "application/dtmf":
		digit = strings.TrimSpace(string(req.Body()))
	default:
		return
	}
	if len(digit) != 1 || !strings.Contains(digits, digit) {
		k.find("info-dtmf", "2976 2", "an INFO of type %s holds no digit", kind)
		return
	}
	k.c.note(k.rec, func(r *Record) { r.Digits += digit })
}

// reliable is a provisional response that waits for its PRACK.
type reliable struct {
	d      *dialog
	rseq   uint32
	raw    []byte
	acked  bool
	resend *timer
}

// provisionalReliably sends 1xx with Require: 100rel and repeats it until the PRACK (RFC 3262 3); errOver when none comes.
func (k *call) provisionalReliably(d *dialog, status int, phrase string, body []byte) error {
	r := &reliable{d: d, rseq: 1 + uint32(k.rng.IntN(1<<20))}
	k.reliable = r
	k.provisional(d, status, phrase, body, "Require: 100rel", "RSeq: "+strconv.Itoa(int(r.rseq)))
	tx, t1 := k.initial(), k.c.opt.T1
	r.raw = tx.last
	end, wait := time.Now().Add(64*t1), t1
	var again func()
	again = func() {
		if !r.acked && time.Now().Before(end) {
			tx.from.send(r.raw)
			wait *= 2
			r.resend = k.after(wait, again)
		}
	}
	r.resend = k.after(wait, again)
	err := k.wait(64*t1, func() bool { return r.acked })
	r.resend.stop()
	if err == nil && !r.acked {
		k.find("prack-missing", "3262 4", "no PRACK for a reliable %d within 64*T1", status)
		return k.fail(504, "Server Time-out")
	}
	return err
}

// pracked takes a PRACK.
func (k *call) pracked(req *sip.Request) (status int, phrase string, extra []string, body []byte) {
	r := k.reliable
	if r == nil || r.acked {
		k.find("prack-repeated", "3262 4", "a PRACK came for no response that waits for one")
		return 481, "Call/Transaction Does Not Exist", nil, nil
	}
	want := fmt.Sprintf("%d %d INVITE", r.rseq, k.initial().seq)
	if got := strings.Join(strings.Fields(value(req, "RAck")), " "); got != want {
		k.find("prack-rack", "3262 7.2", "RAck is %q: %q was expected", clip(got), want)
		return 481, "Call/Transaction Does Not Exist", nil, nil
	}
	if d := k.member(req); d != r.d {
		k.find("prack-dialog", "3262 4", "the PRACK goes to another dialog than the response came from")
	}
	r.acked = true
	r.resend.stop()
	return 200, "OK", nil, nil
}
