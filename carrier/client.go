package carrier

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"waihu"
)

// clientTx is a request of the carrier within a dialog.
type clientTx struct {
	d           *dialog
	method      sip.RequestMethod
	branch      string
	seq         uint32
	raw         []byte
	to          peer
	provisional bool
	status      int // final status; 0 before
	res         *sip.Response
	done        bool // answered, or given up
	ack         []byte
	resend      *timer
}

// request sends a request within d and repeats it until it is answered.
func (d *dialog) request(method sip.RequestMethod, extra []string, contentType string, body []byte) *clientTx {
	k := d.k
	d.seq++
	tx := &clientTx{d: d, method: method, branch: newBranch(), seq: d.seq, to: d.next()}
	if contentType != "" {
		extra = append(extra, "Content-Type: "+contentType)
	}
	tx.raw = d.compose(tx, method, tx.branch, extra, body)
	k.clients = append(k.clients, tx)
	tx.to.send(tx.raw)
	tx.repeat()
	return tx
}

// repeat sends again until an answer comes, over UDP, and gives up after 64*T1 (RFC 3261 17.1).
func (tx *clientTx) repeat() {
	k, t1 := tx.d.k, tx.d.k.c.opt.T1
	end, wait := time.Now().Add(64*t1), t1
	var again func()
	again = func() {
		switch {
		case tx.done:
		case !time.Now().Before(end):
			k.find("request-unanswered", "3261 8.2.6", "%s of the carrier was not answered within 64*T1", tx.method)
			tx.done = true
		default:
			if !tx.to.reliable() && !(tx.method == sip.INVITE && tx.provisional) {
				tx.to.send(tx.raw)
			}
			if wait *= 2; tx.method != sip.INVITE {
				wait = min(wait, 8*t1)
			}
			tx.resend = k.after(min(wait, time.Until(end)), again)
		}
	}
	tx.resend = k.after(wait, again)
}

// next is where a request within the dialog goes: the caller's Contact, not where its INVITE came from, so that a wrong Contact shows.
func (d *dialog) next() peer {
	tx := d.k.initial()
	p := tx.from
	if p.reliable() {
		return p
	}
	hop := d.target
	if rr := tx.req.RecordRoute(); rr != nil {
		hop = rr.Address
	}
	if a, err := netip.ParseAddr(strings.Trim(hop.Host, "[]")); err == nil && !a.IsUnspecified() {
		p.addr = netip.AddrPortFrom(a.Unmap(), uint16(portOf(&hop)))
	}
	return p
}

func (d *dialog) compose(tx *clientTx, method sip.RequestMethod, branch string, extra []string, body []byte) []byte {
	k := d.k
	inv := k.initial().req
	target := d.target.String()
	if d.target.Host == "" {
		target = "sip:" + k.initial().from.addr.String()
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=%s;rport\r\nMax-Forwards: 70\r\n", method, target, tx.to.network(), k.c.addr, branch)
	for _, h := range inv.GetHeaders("Record-Route") {
		b.WriteString("Route: " + h.Value() + "\r\n")
	}
	fmt.Fprintf(&b, "From: %s;tag=%s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", inv.To().Value(), d.tag, inv.From().Value(), k.id, tx.seq, method)
	if method != sip.BYE && method != sip.ACK && method != sip.INFO {
		b.WriteString(d.contactHeader() + "\r\n")
	}
	finish(&b, extra, body)
	return b.Bytes()
}

// response takes a response to a request of ours.
func (k *call) response(res *sip.Response, in *inbound) {
	var tx *clientTx
	for _, t := range k.clients {
		if t.branch == branchOf(res) {
			tx = t
		}
	}
	if tx == nil {
		k.find("response-unmatched", "3261 8.2.6.2", "a response %d has a Via branch that the carrier never used", res.StatusCode)
		return
	}
	if cs := res.CSeq(); cs == nil || cs.SeqNo != tx.seq || cs.MethodName != tx.method {
		k.find("response-cseq", "3261 8.2.6.2", "the response to %s %d has another CSeq", tx.method, tx.seq)
		return
	}
	if res.StatusCode < 200 {
		tx.provisional = true
		return
	}
	if tx.method == sip.INVITE {
		k.ackReinvite(tx, res)
	}
	if tx.done {
		return
	}
	tx.done, tx.status, tx.res = true, res.StatusCode, res
	tx.resend.stop()
	if tx.method == sip.BYE {
		tx.d.media.over()
	}
	k.judgeResponse(tx, res)
}

// ackReinvite acknowledges the final response to our re-INVITE, again for each repetition.
func (k *call) ackReinvite(tx *clientTx, res *sip.Response) {
	if tx.ack == nil {
		branch := tx.branch
		var body []byte
		var extra []string
		if res.StatusCode < 300 {
			branch = newBranch()
			if strings.Contains(string(tx.raw), "Content-Length: 0\r\n") && len(res.Body()) > 0 { // theirs was the offer
				extra, body = []string{"Content-Type: " + contentSDP}, tx.d.local.bytes()
			}
			if c := res.Contact(); c != nil {
				tx.d.target = c.Address
			}
		}
		tx.ack = tx.d.compose(tx, sip.ACK, branch, extra, body)
	}
	tx.to.send(tx.ack)
}

// exchange sends a request and waits for its answer; errOver when the call ends before.
func (d *dialog) exchange(method sip.RequestMethod, extra []string, contentType string, body []byte) (*sip.Response, error) {
	tx := d.request(method, extra, contentType, body)
	err := d.k.wait(64*d.k.c.opt.T1+time.Second, func() bool { return tx.done })
	return tx.res, err
}

// bye ends d from our side. A callee may not send BYE before its 200 was acknowledged (RFC 3261 15).
func (k *call) bye(d *dialog) {
	if d.ended {
		return
	}
	if d.media != nil {
		d.media.mute()
	}
	if !k.stopping {
		k.pump(time.Now().Add(64*k.c.opt.T1), func() bool { return d.acks > 0 || d.ended || k.stopping })
	}
	if d.ended {
		return
	}
	d.ended, d.endedAt = true, time.Now()
	d.resend.stop()
	d.media.stop()
	k.release(waihu.ByCallee)
	d.request(sip.BYE, []string{`Reason: Q.850;cause=16;text="Normal call clearing"`}, "", nil)
}
