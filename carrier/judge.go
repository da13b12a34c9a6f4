package carrier

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// This file holds the rules of SIP that callers are judged by. A rule here is a MUST of
// the RFC that it names, or follows from one; what an RFC only recommends is no finding.

const cookie = "z9hG4bK"

// judgeRequest checks what every request must have; false: it cannot be worked at all.
func (c *Carrier) judgeRequest(id string, in *inbound, req *sip.Request) bool {
	usable := true
	for _, h := range []string{"From", "To", "Call-ID", "CSeq", "Max-Forwards"} {
		if n := len(req.GetHeaders(h)); n != 1 {
			c.find(id, "headers", "3261 8.1.1", "%s has %d %s headers: one was expected", req.Method, n, h)
			usable = usable && (n > 0 || h == "Max-Forwards")
		}
	}
	if req.Via() == nil {
		c.find(id, "headers", "3261 8.1.1", "%s has no Via", req.Method)
		usable = false
	}
	if !usable || req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil {
		return false
	}
	if req.CSeq().MethodName != req.Method {
		c.find(id, "cseq-method", "3261 8.1.1.5", "%s has a CSeq with %s", req.Method, clip(string(req.CSeq().MethodName)))
		return false
	}
	if m := req.MaxForwards(); m != nil && m.Val() == 0 {
		c.find(id, "max-forwards", "3261 8.1.1.6", "%s has Max-Forwards 0", req.Method)
	}
	if tagOf(req.From()) == "" {
		c.find(id, "from-tag", "3261 8.1.1.3", "%s has no From tag", req.Method)
	}
	c.judgeVia(id, in, req)
	if len(req.Body()) > 0 && value(req, "Content-Type", "c") == "" {
		c.find(id, "content-type", "3261 7.4.1", "%s has a body and no Content-Type", req.Method)
	}
	return true
}

func (c *Carrier) judgeVia(id string, in *inbound, req *sip.Request) {
	v := req.Via()
	if !strings.EqualFold(v.Transport, in.from.network()) {
		c.find(id, "via-transport", "3261 18.1.1", "%s came over %s and its Via says %s", req.Method, in.from.network(), clip(v.Transport))
	}
	if a, err := netip.ParseAddr(strings.Trim(v.Host, "[]")); err == nil && a.IsUnspecified() {
		c.find(id, "via-address", "3261 18.1.1", "the Via of %s names %s, where nothing can be sent", req.Method, a)
	}
	branch := branchOf(req)
	if !strings.HasPrefix(branch, cookie) || len(branch) <= len(cookie) {
		c.find(id, "via-branch", "3261 8.1.1.7", "%s has the branch %q: it must begin with %s", req.Method, clip(branch), cookie)
		return
	}
	method := req.Method
	if method == sip.ACK || method == sip.CANCEL {
		method = sip.INVITE
	}
	use := fmt.Sprintf("%s %d %s", id, req.CSeq().SeqNo, method)
	if was := c.claim(v.SentBy()+" "+branch, use); was != use {
		c.find(id, "branch-reused", "3261 8.1.1.7", "the branch of %s was that of another transaction before", req.Method)
	}
}

// claim books a branch and returns its first use. Two generations bound the memory.
func (c *Carrier) claim(branch, use string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.branches {
		if was, ok := g[branch]; ok {
			return was
		}
	}
	if len(c.branches[0]) >= keepBranches {
		c.branches = [2]map[string]string{{}, c.branches[0]}
	}
	c.branches[0][branch] = use
	return use
}

func (k *call) judgeInvite(req *sip.Request) {
	contacts := req.GetHeaders("Contact")
	if len(contacts) != 1 {
		k.find("contact", "3261 8.1.1.8", "an INVITE has %d Contacts: one was expected", len(contacts))
	} else if u := req.Contact().Address; u.Scheme != "sip" && u.Scheme != "sips" {
		k.find("contact", "3261 8.1.1.8", "the Contact of an INVITE is a %s URI", clip(u.Scheme))
	} else if a, err := netip.ParseAddr(strings.Trim(u.Host, "[]")); err == nil && a.IsUnspecified() {
		k.find("contact", "3261 8.1.1.8", "the Contact of an INVITE is %s, where nothing can be sent", a)
	}
}

func (k *call) judgeOffer(d *description) {
	if len(d.missing) > 0 {
		k.find("offer", "8866 5", "the offer has no %s", strings.Join(d.missing, ", "))
	}
	if !d.addr.IsValid() {
		k.find("offer", "8866 5.7", "the offer has no c= line for its audio")
	} else if d.addr.IsUnspecified() {
		k.find("offer", "3264 5.1", "the offer names %s as its address", d.addr)
	}
	if d.port == 0 {
		k.find("offer", "3264 5.1", "the first offer has port 0")
	} else if d.port%2 == 1 && d.rtcp == 0 {
		k.find("offer", "3550 11", "the RTP port %d is odd and no a=rtcp names another", d.port)
	}
	for _, pt := range d.formats {
		if pt >= 96 && d.maps[pt] == "" {
			k.find("offer", "8866 6.6", "payload type %d has no rtpmap", pt)
		}
	}
}

// judgeReoffer checks a later offer against the one before (RFC 3264 8).
func (d *dialog) judgeReoffer(now *description, body []byte) {
	k := d.k
	was := k.offer
	if was == nil {
		return
	}
	if now.session != was.session {
		k.find("reoffer", "3264 8", "a later offer has another o= session id")
	}
	same := string(body) == string(k.offerBody)
	a, err1 := strconv.ParseUint(was.version, 10, 64)
	b, err2 := strconv.ParseUint(now.version, 10, 64)
	if err1 == nil && err2 == nil && !same && b != a+1 {
		k.find("reoffer", "3264 8", "a changed offer has o= version %d after %d: one more was expected", b, a)
	}
	if now.media < was.media {
		k.find("reoffer", "3264 8", "a later offer has %d m= lines after %d", now.media, was.media)
	}
}

// judgeInDialog checks a request within d; false: its CSeq is out of order.
func (k *call) judgeInDialog(req *sip.Request, d *dialog) bool {
	seq := req.CSeq().SeqNo
	if seq <= d.remoteSeq {
		k.find("cseq-order", "3261 12.2.1.1", "%s has CSeq %d after %d", req.Method, seq, d.remoteSeq)
		return false
	}
	d.remoteSeq = seq
	k.judgeRouting(req, d)
	return true
}

// judgeRouting: a request within a dialog goes to our Contact over our Record-Route (RFC 3261 12.2.1.1).
func (k *call) judgeRouting(req *sip.Request, d *dialog) {
	if !sameURI(&req.Recipient, &d.contact) {
		k.find("request-uri", "3261 12.2.1.1", "%s does not go to the Contact %s of the carrier", req.Method, d.contact.String())
	}
	routes := req.GetHeaders("Route")
	switch {
	case !k.routed && len(routes) > 0:
		k.find("route", "3261 12.2.1.1", "%s has a Route although the carrier gave no Record-Route", req.Method)
	case k.routed && len(routes) != 1:
		k.find("route", "3261 12.2.1.1", "%s has %d Routes: the carrier's Record-Route was expected", req.Method, len(routes))
	case k.routed:
		want := sip.Uri{Scheme: "sip", Host: k.c.addr.Addr().String(), Port: int(k.c.addr.Port())}
		if got := routes[0].(*sip.RouteHeader).Address; !sameURI(&got, &want) || !got.UriParams.Has("lr") {
			k.find("route", "3261 12.2.1.1", "%s has another Route than the carrier's Record-Route", req.Method)
		}
	}
}

// judgeAck checks the ACK of a 2xx: a transaction of its own to the Contact.
func (k *call) judgeAck(req *sip.Request, tx *inviteTx, d *dialog) {
	if branchOf(req) == tx.branch {
		k.find("ack-branch", "3261 8.1.1.7", "the ACK of a 2xx has the branch of the INVITE: it is a transaction of its own")
	}
	k.judgeRouting(req, d)
}

// judgeFailureAck checks the ACK of a failure: part of the INVITE's transaction.
func (k *call) judgeFailureAck(req *sip.Request, tx *inviteTx) {
	if branchOf(req) != tx.branch {
		k.find("ack-branch", "3261 17.1.1.3", "the ACK of %d has another branch than the INVITE", tx.status)
	}
	if tagOf(req.To()) != tx.tag {
		k.find("ack-tag", "3261 17.1.1.3", "the ACK of %d has another To tag than the response", tx.status)
	}
	if req.Recipient.String() != tx.req.Recipient.String() {
		k.find("ack-uri", "3261 17.1.1.3", "the ACK of %d has another Request-URI than the INVITE", tx.status)
	}
	if n := len(req.GetHeaders("Via")); n != 1 {
		k.find("ack-via", "3261 17.1.1.3", "the ACK of %d has %d Vias", tx.status, n)
	}
}

func (k *call) judgeCancel(req *sip.Request, tx *inviteTx) {
	if tx.last == nil {
		k.find("cancel-early", "3261 9.1", "a CANCEL came before any provisional response")
	}
	if req.CSeq().SeqNo != tx.seq {
		k.find("cancel-match", "3261 9.1", "a CANCEL has CSeq %d, its INVITE %d", req.CSeq().SeqNo, tx.seq)
	}
	if req.Recipient.String() != tx.req.Recipient.String() {
		k.find("cancel-match", "3261 9.1", "a CANCEL has another Request-URI than its INVITE")
	}
	if tagOf(req.To()) != tagOf(tx.req.To()) || tagOf(req.From()) != tagOf(tx.req.From()) {
		k.find("cancel-match", "3261 9.1", "a CANCEL has other tags than its INVITE")
	}
	if n := len(req.GetHeaders("Via")); n != 1 {
		k.find("cancel-via", "3261 9.1", "a CANCEL has %d Vias", n)
	}
	if tx.status >= 200 && tx.acked {
		k.find("cancel-late", "3261 9.1", "a CANCEL came after the INVITE's final response had its ACK")
	}
}

// judgeResponse checks the final response to a request of ours.
func (k *call) judgeResponse(tx *clientTx, res *sip.Response) {
	if tagOf(res.From()) != tx.d.tag || tagOf(res.To()) != tagOf(k.initial().req.From()) {
		k.find("response-tags", "3261 8.2.6.2", "the response to %s has other tags than the request", tx.method)
	}
	if value(res, "Call-ID", "i") != k.id {
		k.find("response-tags", "3261 8.2.6.2", "the response to %s has another Call-ID than the request", tx.method)
	}
	switch {
	case tx.method == sip.INVITE && tx.status < 300:
		if res.Contact() == nil {
			k.find("contact", "3261 12.1.1", "the 2xx to a re-INVITE has no Contact")
		}
		d, err := parseSDP(res.Body())
		if err != nil {
			k.find("answer", "3264 6", "the 2xx to a re-INVITE has no readable description: %v", err)
			return
		}
		k.judgeAnswer(tx, d)
	case tx.method == sip.BYE && tx.status >= 300 && tx.status != 481 && tx.status != 408:
		k.find("bye-refused", "3261 15.1.2", "a BYE was answered with %d", tx.status)
	}
}

// judgeAnswer checks an answer to our offer (RFC 3264 6).
func (k *call) judgeAnswer(tx *clientTx, d *description) {
	offered, err := parseSDP(bodyOf(tx.raw))
	if err != nil {
		return // ours had no offer: theirs is one
	}
	if d.media != offered.media {
		k.find("answer", "3264 6", "the answer has %d m= lines, the offer had %d", d.media, offered.media)
	}
	allowed := map[string][]string{"sendrecv": {"sendrecv", "sendonly", "recvonly", "inactive"}, "sendonly": {"recvonly", "inactive"},
		"recvonly": {"sendonly", "inactive"}, "inactive": {"inactive"}}[offered.direction]
	ok := d.port == 0
	for _, a := range allowed {
		ok = ok || a == d.direction
	}
	if !ok {
		k.find("answer", "3264 6.1", "an offer %s was answered %s", offered.direction, d.direction)
	}
	if d.port != 0 && d.codec(offered.formats...) < 0 {
		k.find("answer", "3264 6.1", "the answer has no format of the offer")
	}
}

func bodyOf(raw []byte) []byte {
	_, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	return []byte(body)
}

// judgeEnd judges the call as a whole once it is over and quiet.
func (k *call) judgeEnd() {
	if k.stopping {
		return
	}
	for _, d := range k.dialogs {
		if d.confirmed {
			if d.acks == 0 {
				k.find("ack-missing", "3261 13.2.2.4", "a 200 was never acknowledged")
			}
			// A 200 sent right before the end may cross the BYE.
			due := 0
			for _, at := range d.okAt {
				if at.Before(d.endedAt.Add(-k.c.opt.T1)) {
					due++
				}
			}
			if d.acks > 0 && d.acks < due {
				k.find("ack-each", "3261 13.2.2.4", "the 200 was sent %d times and acknowledged %d times", due, d.acks)
			}
		}
		if d.media != nil {
			d.media.judge(k, d.endedAt)
		}
	}
}
