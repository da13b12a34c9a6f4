package sip

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

// member says whether a request names one of this call's dialogs.
func (c *call) member(req *gosip.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.legOfLocked(req) != nil
}

func (c *call) legOfLocked(req *gosip.Request) *leg {
	if tag, _ := req.To().Params.Get("tag"); tag != c.ids.tag {
		return nil
	}
	remote, _ := req.From().Params.Get("tag")
	for _, g := range c.legs {
		if g.tag == remote {
			return g
		}
	}
	return nil
}

// request works one request of the far end (RFC 3261 12.2.2).
func (c *call) request(req *gosip.Request, tx *gosip.ServerTx) {
	c.mu.Lock()
	g, d := c.legOfLocked(req), c.dialog
	if g == nil {
		c.mu.Unlock()
		respond(tx, req, 481, "Call/Transaction Does Not Exist")
		return
	}
	over := d != nil && d.over
	confirmed := d != nil && d.g == g
	if seq := req.CSeq().SeqNo; seq < g.remoteSeq {
		c.mu.Unlock()
		respond(tx, req, 500, "CSeq Out of Order")
		return
	} else {
		g.remoteSeq = seq
	}
	c.mu.Unlock()
	if missing := unsupported(req); missing != "" {
		respond(tx, req, 420, "Bad Extension", gosip.NewHeader("Unsupported", missing))
		return
	}
	if over && req.Method != gosip.BYE {
		respond(tx, req, 481, "Call/Transaction Does Not Exist")
		return
	}
	switch req.Method {
	case gosip.BYE:
		respond(tx, req, 200, "OK")
		if confirmed {
			d.byeCame(req)
		}
	case gosip.INVITE:
		if !confirmed {
			respond(tx, req, 481, "Call/Transaction Does Not Exist")
			return
		}
		d.reinvite(req, tx)
	case gosip.UPDATE:
		c.update(g, d, confirmed, req, tx)
	case gosip.INFO:
		// 200 whatever the body: 415 confuses switches less than a timeout, but more than this.
		respond(tx, req, 200, "OK")
		if digit, ok := dtmfOf(req); ok && c.inv.Session != nil {
			c.inv.Session.DTMF(digit)
		}
	case gosip.OPTIONS:
		respond(tx, req, 200, "OK", capabilities()...)
	case gosip.NOTIFY:
		respond(tx, req, 481, "Subscription Does Not Exist")
	case gosip.PRACK:
		respond(tx, req, 481, "Call/Transaction Does Not Exist") // we send no reliable provisional answers
	case gosip.REFER, gosip.MESSAGE, gosip.SUBSCRIBE, gosip.REGISTER, gosip.PUBLISH:
		respond(tx, req, 405, "Method Not Allowed", gosip.NewHeader("Allow", allowed))
	default:
		respond(tx, req, 501, "Not Implemented", gosip.NewHeader("Allow", allowed))
	}
}

// outOfDialog works a request that belongs to no call of ours.
func (e *Endpoint) outOfDialog(req *gosip.Request, tx *gosip.ServerTx) {
	switch missing := unsupported(req); {
	case missing != "":
		respond(tx, req, 420, "Bad Extension", gosip.NewHeader("Unsupported", missing))
	case req.Method == gosip.OPTIONS:
		respond(tx, req, 200, "OK", capabilities()...)
	case req.To().Params.Has("tag"), req.Method == gosip.BYE, req.Method == gosip.PRACK, req.Method == gosip.UPDATE, req.Method == gosip.NOTIFY:
		respond(tx, req, 481, "Call/Transaction Does Not Exist")
	case req.Method == gosip.INVITE:
		respond(tx, req, 480, "No Incoming Calls")
	case req.Method == gosip.INFO, req.Method == gosip.REFER, req.Method == gosip.MESSAGE, req.Method == gosip.SUBSCRIBE,
		req.Method == gosip.REGISTER, req.Method == gosip.PUBLISH:
		respond(tx, req, 405, "Method Not Allowed", gosip.NewHeader("Allow", allowed))
	default:
		respond(tx, req, 501, "Not Implemented", gosip.NewHeader("Allow", allowed))
	}
}

func capabilities() []gosip.Header {
	return []gosip.Header{gosip.NewHeader("Allow", allowed), gosip.NewHeader("Accept", accepted), gosip.NewHeader("Supported", "timer, 100rel")}
}

// unsupported lists what Require names and we do not have.
func unsupported(req *gosip.Request) string {
	var missing []string
	for _, h := range req.GetHeaders("require") {
		for _, v := range strings.Split(h.Value(), ",") {
			switch v = strings.TrimSpace(v); strings.ToLower(v) {
			case "", "timer", "100rel":
			default:
				missing = append(missing, v)
			}
		}
	}
	return strings.Join(missing, ", ")
}

func (d *Dialog) byeCame(req *gosip.Request) {
	d.c.mu.Lock()
	end := End{By: waihu.ByCallee, Reasons: reasonsOf(req)}
	if d.closing {
		end.By = d.hangUp.By // BYE crossed BYE: ours was first to be decided here
	}
	d.c.mu.Unlock()
	d.finish(end)
}

// refreshed takes the target that a re-INVITE or UPDATE brings; c.mu is held.
func (g *leg) refreshLocked(req *gosip.Request) {
	if contact := req.Contact(); contact != nil && usable(&contact.Address) {
		g.target = contact.Address
	}
}

// reinvite answers an INVITE within the dialog: hold, resume, another address, a refresh.
func (d *Dialog) reinvite(req *gosip.Request, tx *gosip.ServerTx) {
	c := d.c
	c.mu.Lock()
	busy, pending, closing := d.inviting, d.answering != nil, d.closing
	c.mu.Unlock()
	switch {
	case closing:
		respond(tx, req, 487, "Request Terminated")
		return
	case busy:
		respond(tx, req, 491, "Request Pending")
		return
	case pending: // RFC 3261 14.2
		respond(tx, req, 500, "Previous INVITE Not Acknowledged", gosip.NewHeader("Retry-After", strconv.Itoa(rand.IntN(11))))
		return
	}
	timer, refused := d.timer.asked(req)
	if refused != nil {
		respond(tx, req, 422, "Session Interval Too Small", refused)
		return
	}
	offer := sdpOf(req)
	answer, err := d.negotiate(offer)
	if err != nil {
		respond(tx, req, 488, "Not Acceptable Here", gosip.NewHeader("Warning", `304 waihu "no common media"`))
		return
	}
	res := gosip.NewResponseFromRequest(req, 200, "OK", nil)
	c.mu.Lock()
	d.g.refreshLocked(req)
	if offer != nil {
		d.g.sdp = offer
	}
	d.localSDP = answer
	u := &unacked{seq: req.CSeq().SeqNo, offered: offer == nil, acked: make(chan struct{})}
	d.answering = u
	res.AppendHeader(c.way.contact(c.id.user))
	c.mu.Unlock()
	for _, h := range append(capabilities(), timer.headers()...) {
		res.AppendHeader(h)
	}
	setSDP(res, answer)
	d.timer.set(d, timer)
	_ = tx.Respond(res)
	if !c.lane.spawn(func() { d.repeat(u, tx, res) }) {
		tx.Terminate()
	}
}

// repeat sends our 2xx again until its ACK comes (RFC 3261 13.3.1.4); the transaction layer does not.
func (d *Dialog) repeat(u *unacked, tx *gosip.ServerTx, res *gosip.Response) {
	wait := d.c.e.t1
	t := time.NewTimer(wait)
	defer t.Stop()
	deadline := time.Now().Add(d.c.e.giveUp)
	for {
		select {
		case <-u.acked:
			return
		case <-t.C:
		}
		if time.Now().After(deadline) {
			d.c.mu.Lock()
			if d.answering == u {
				d.answering = nil
			}
			d.c.mu.Unlock()
			d.lose(errNoACK, Reason{"SIP", 408, "no ACK"})
			return
		}
		_ = tx.Respond(res)
		wait = min(2*wait, d.c.e.t2)
		t.Reset(wait)
	}
}

var (
	errNoACK     = errors.New("the far end did not acknowledge our answer")
	errNoSession = errors.New("no session to change")
)

// ack takes the ACK of a 2xx of ours.
func (c *call) ack(req *gosip.Request) {
	c.mu.Lock()
	d := c.dialog
	if d == nil || d.answering == nil || d.answering.seq != req.CSeq().SeqNo {
		c.mu.Unlock()
		c.e.stats.stray.Add(1)
		return
	}
	u := d.answering
	d.answering = nil
	close(u.acked)
	answer := sdpOf(req)
	if u.offered && answer != nil {
		d.g.sdp = answer
	}
	c.mu.Unlock()
	if !u.offered {
		return
	}
	err := errors.New("the ACK carried no answer to our offer")
	if answer != nil {
		err = c.inv.Session.Answered(answer)
	}
	if err != nil {
		d.lose(fmt.Errorf("re-INVITE without offer: %w", err), Q850(88, "no common media"))
	}
}

func (d *Dialog) negotiate(offer []byte) ([]byte, error) {
	if d.c.inv.Session == nil {
		d.c.mu.Lock()
		defer d.c.mu.Unlock()
		// Without anyone who understands it, only what stands already can be agreed on.
		if offer != nil && bytes.Equal(offer, d.g.sdp) {
			return d.localSDP, nil
		}
		return nil, errNoSession
	}
	answer, err := d.c.inv.Session.Negotiate(offer)
	if err == nil && len(answer) == 0 {
		err = errNoSession
	}
	return answer, err
}

// update answers UPDATE (RFC 3311), with or without an offer, before or after the answer.
func (c *call) update(g *leg, d *Dialog, confirmed bool, req *gosip.Request, tx *gosip.ServerTx) {
	offer := sdpOf(req)
	c.mu.Lock()
	busy := confirmed && (d.inviting || d.answering != nil && d.answering.offered)
	unanswered := !confirmed && g.sdp == nil // our INVITE's offer still waits for its answer
	c.mu.Unlock()
	if offer != nil && (busy || unanswered) {
		respond(tx, req, 491, "Request Pending")
		return
	}
	var timer timing
	if confirmed {
		var refused gosip.Header
		if timer, refused = d.timer.asked(req); refused != nil {
			respond(tx, req, 422, "Session Interval Too Small", refused)
			return
		}
	}
	res := gosip.NewResponseFromRequest(req, 200, "OK", nil)
	var answer []byte
	if offer != nil {
		var err error
		if confirmed {
			answer, err = d.negotiate(offer)
		} else if err = errNoSession; c.inv.Session != nil {
			answer, err = c.inv.Session.Negotiate(offer)
		}
		if err != nil {
			respond(tx, req, 488, "Not Acceptable Here", gosip.NewHeader("Warning", `304 waihu "no common media"`))
			return
		}
	}
	c.mu.Lock()
	g.refreshLocked(req)
	if offer != nil {
		g.sdp = offer
		if confirmed {
			d.localSDP = answer
		}
	}
	res.AppendHeader(c.way.contact(c.id.user))
	c.mu.Unlock()
	for _, h := range append(capabilities(), timer.headers()...) {
		res.AppendHeader(h)
	}
	setSDP(res, answer)
	if confirmed {
		d.timer.set(d, timer)
	}
	_ = tx.Respond(res)
}

// dtmfOf reads application/dtmf-relay ("Signal=5") and application/dtmf ("5").
func dtmfOf(req *gosip.Request) (rune, bool) {
	kind, _, _ := strings.Cut(headerValue(req, "content-type"), ";")
	return parseDTMF(strings.ToLower(strings.TrimSpace(kind)), string(req.Body()))
}

func parseDTMF(kind, body string) (rune, bool) {
	switch kind {
	case "application/dtmf":
		return dtmfDigit(strings.TrimSpace(body))
	case "application/dtmf-relay":
		for line := range strings.Lines(body) {
			if k, v, ok := strings.Cut(line, "="); ok && strings.EqualFold(strings.TrimSpace(k), "signal") {
				return dtmfDigit(strings.TrimSpace(v))
			}
		}
	}
	return 0, false
}

// dtmfDigit knows 0-9 * # A-D and the numeric dialect in which 10 is *, 11 is # and 12 to 15 are A to D.
func dtmfDigit(s string) (rune, bool) {
	if len(s) == 1 {
		switch c := rune(s[0]); {
		case c >= '0' && c <= '9', c == '*', c == '#', c >= 'A' && c <= 'D':
			return c, true
		case c >= 'a' && c <= 'd':
			return c - 'a' + 'A', true
		}
		return 0, false
	}
	if n, err := strconv.Atoi(s); err == nil && n >= 10 && n <= 15 {
		return rune("*#ABCD"[n-10]), true
	}
	return 0, false
}
