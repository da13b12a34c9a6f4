package sip

import (
	"bytes"
	"context"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strconv"
	"strings"
	"time"

	gosip "github.com/emiago/sipgo/sip"
)

// leg is one dialog of an INVITE, early or confirmed: RFC 3261 12.1.2. Each To-tag has its own.
// All fields but c and tag are guarded by call.mu.
type leg struct {
	c         *call
	tag       string
	to        *gosip.ToHeader
	target    gosip.Uri
	routes    []gosip.Uri
	localSeq  uint32
	remoteSeq uint32
	sdp       []byte // the far end's description
	rseq      uint32 // last reliable provisional answer
	updates   bool   // the far end takes UPDATE
	unwanted  bool   // answered, acknowledged and hung up: another was first, or we had given up
}

// legLocked finds or makes the dialog that a response belongs to and refreshes what it says.
func (c *call) legLocked(res *gosip.Response) *leg {
	tag, _ := res.To().Params.Get("tag")
	i := slices.IndexFunc(c.legs, func(g *leg) bool { return g.tag == tag })
	var g *leg
	if i >= 0 {
		g = c.legs[i]
	} else {
		g = &leg{c: c, tag: tag, to: res.To(), target: c.id.request, localSeq: c.cseq}
		if len(c.legs) < maxLegs {
			c.legs = append(c.legs, g)
		}
	}
	if contact := res.Contact(); contact != nil && usable(&contact.Address) {
		g.target = contact.Address // a missing Contact leaves the address we called
	}
	if rr := res.GetHeaders("record-route"); len(rr) > 0 {
		g.routes = g.routes[:0]
		for _, h := range slices.Backward(rr) {
			if r, ok := h.(*gosip.RecordRouteHeader); ok && usable(&r.Address) {
				g.routes = append(g.routes, r.Address)
			}
		}
	}
	if hasToken(res, "allow", "", "UPDATE") {
		g.updates = true
	}
	return g
}

func usable(u *gosip.Uri) bool {
	return (u.Scheme == "sip" || u.Scheme == "sips") && u.Host != "" && !u.Wildcard
}

// next says where a request within the dialog goes (RFC 3261 12.2.1.1): loose routers
// see the target in the Request-URI, a strict one sees itself there.
func (g *leg) nextLocked() (uri gosip.Uri, routes []gosip.Uri, h hop) {
	if len(g.routes) == 0 {
		return g.target, nil, uriHop(&g.target)
	}
	first := g.routes[0]
	if first.UriParams.Has("lr") {
		return g.target, g.routes, uriHop(&first)
	}
	routes = append(slices.Clone(g.routes[1:]), g.target)
	uri = *first.Clone()
	uri.Headers = nil
	return uri, routes, uriHop(&first)
}

// request makes a request within the dialog and the way to send it on. seq 0 takes the next CSeq.
func (g *leg) request(ctx context.Context, method gosip.RequestMethod, seq uint32) (*gosip.Request, *path, error) {
	c := g.c
	c.mu.Lock()
	uri, routes, h := g.nextLocked()
	way := *c.way
	c.mu.Unlock()
	dst := way.dst
	lookup, cancel := context.WithTimeout(ctx, dialogWait)
	if addrs, err := c.e.resolver.lookup(lookup, h, c.peer.transport); err == nil {
		dst = addrs[0]
	} // a Contact with a name that only the carrier can resolve: back the way the INVITE went
	cancel()
	if way.transport == "TCP" {
		w, err := c.e.tcpWay(ctx, c.peer, dst)
		if err != nil {
			return nil, nil, err
		}
		way = *w
	} else {
		conn := *way.conn.(*udpPath)
		conn.dst = dst
		way.dst, way.conn = dst, &conn
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq == 0 {
		g.localSeq++
		seq = g.localSeq
	}
	req := c.e.newRequest(method, uri, &way, newBranch(), routes, c.id.from, g.to, c.ids.callID, seq)
	return req, &way, nil
}

// do sends a request within the dialog and returns its final answer, meeting challenges on the way.
// body adds headers and the body; it runs once per try.
func (g *leg) do(ctx context.Context, method gosip.RequestMethod, body func(*gosip.Request, *path)) (*gosip.Response, error) {
	c := g.c
	c.mu.Lock()
	c.creds.begin()
	c.mu.Unlock()
	for {
		req, way, err := g.request(ctx, method, 0)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		err = c.creds.sign(req)
		c.mu.Unlock()
		if err != nil {
			way.close()
			return nil, err
		}
		body(req, way)
		tx, err := c.lane.send(req, way.conn)
		if err != nil {
			return nil, err
		}
		res, err := c.lane.await(ctx, tx)
		if err != nil {
			return nil, err
		}
		if res.StatusCode != 401 && res.StatusCode != 407 {
			return res, nil
		}
		c.mu.Lock()
		err = c.creds.challenged(res)
		c.mu.Unlock()
		if err != nil {
			return res, nil
		}
	}
}

// ack acknowledges a 2xx (RFC 3261 13.2.2.4): its own transaction, so it goes straight to the transport. The same 2xx again gets an
// ACK with another branch: far ends that drop repeated messages by their bytes (sipp) would not see that it was answered.
func (g *leg) ack(seq uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), dnsWait)
	defer cancel()
	req, way, err := g.request(ctx, gosip.ACK, seq)
	if err != nil {
		return // the far end repeats its 2xx, and so do we
	}
	defer way.close()
	g.c.mu.Lock()
	for _, name := range []string{"authorization", "proxy-authorization"} {
		gosip.CopyHeaders(name, g.c.req, req)
	}
	g.c.mu.Unlock()
	req.SetBody(nil)
	_ = way.conn.WriteMsg(req)
}

// drop ends a fork that nobody wants.
func (g *leg) drop(why Reason) {
	g.c.lane.spawn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), g.c.e.giveUp)
		defer cancel()
		_, _ = g.do(ctx, gosip.BYE, func(req *gosip.Request, _ *path) {
			req.AppendHeader(gosip.NewHeader("Reason", why.String()))
			req.SetBody(nil)
		})
	})
}

// response is the lane's call-out for every response to an INVITE, in order of arrival.
func (c *call) response(res *gosip.Response, tx *clientTx) {
	seq := res.CSeq().SeqNo
	c.mu.Lock()
	c.heard = true
	if len(c.creds.sets) > 0 && seq == c.cseq {
		switch res.StatusCode {
		case 100, 401, 403, 407:
		default:
			c.peer.admitted.Store(true)
		}
	}
	current, d := c.cseq, c.dialog
	c.mu.Unlock()
	switch {
	case seq > current:
		// A re-INVITE of ours, of which each 2xx wants its ACK.
		if d != nil && res.IsSuccess() {
			d.g.ack(seq)
		}
	case seq < current && !res.IsSuccess():
		// An INVITE that we replaced after its final answer.
		if tx == nil {
			c.e.stats.stray.Add(1)
		}
	case res.StatusCode == 100:
	case res.IsProvisional():
		c.progress(res)
	case res.IsSuccess():
		c.answered(res)
	default:
		c.mu.Lock()
		c.noteResponseLocked(res)
		c.mu.Unlock()
	}
}

func (c *call) progress(res *gosip.Response) {
	now := time.Now()
	c.mu.Lock()
	if c.dialog != nil {
		c.mu.Unlock()
		return // overtaken by the answer
	}
	g := c.legLocked(res)
	if res.StatusCode == 199 { // RFC 6228: this fork has ended
		c.legs = slices.DeleteFunc(c.legs, func(l *leg) bool { return l == g })
	}
	if hasToken(res, "require", "", "100rel") {
		rseq, ok := parseRSeq(headerValue(res, "rseq"))
		switch {
		case !ok, g.tag == "":
			// Cannot be acknowledged (RFC 3262 4): treated like an unreliable one.
		case g.rseq != 0 && rseq != g.rseq+1:
			// Repeated, or ahead of one that is still to come: PRACK only in order.
			c.mu.Unlock()
			return
		default:
			g.rseq = rseq
			c.prackLocked(g, rseq, res.CSeq().SeqNo)
		}
	}
	if c.ringAt.IsZero() && res.StatusCode >= 180 && res.StatusCode < 190 {
		c.ringAt = now
	}
	if c.alertAt.IsZero() && res.StatusCode == 180 {
		c.alertAt = now
	}
	if res.StatusCode != c.lastSeen {
		c.lastSeen = res.StatusCode
		c.noteResponseLocked(res)
	}
	sdp := sdpOf(res)
	if sdp != nil {
		g.sdp = sdp
	}
	c.mu.Unlock()
	if c.inv.OnProgress != nil {
		c.inv.OnProgress(Progress{Status: res.StatusCode, Phrase: res.Reason, Reasons: reasonsOf(res), Tag: g.tag, SDP: sdp, At: now})
	}
}

// prackLocked acknowledges a reliable provisional answer (RFC 3262); c.mu is held.
func (c *call) prackLocked(g *leg, rseq, cseq uint32) {
	value := strconv.FormatUint(uint64(rseq), 10) + " " + strconv.FormatUint(uint64(cseq), 10) + " INVITE"
	c.lane.spawn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.e.giveUp)
		defer cancel()
		// Whatever answers it, the INVITE's own final answer decides.
		_, _ = g.do(ctx, gosip.PRACK, func(req *gosip.Request, _ *path) {
			req.AppendHeader(gosip.NewHeader("RAck", value))
			req.SetBody(nil)
		})
	})
}

// answered takes a 2xx: the first makes the dialog, the same again wants its ACK again,
// another fork's is acknowledged and hung up.
func (c *call) answered(res *gosip.Response) {
	now := time.Now()
	c.mu.Lock()
	d := c.dialog
	tag, _ := res.To().Params.Get("tag")
	if d != nil && d.g.tag == tag {
		c.mu.Unlock()
		c.e.stats.retried200.Add(1)
		d.g.ack(res.CSeq().SeqNo)
		return
	}
	g := c.legLocked(res)
	if d != nil || c.over || res.CSeq().SeqNo < c.cseq {
		first := !g.unwanted
		g.unwanted = true
		c.mu.Unlock()
		g.ack(res.CSeq().SeqNo)
		if first {
			g.drop(Reason{"SIP", 487, "no longer wanted"})
		}
		return
	}
	if sdp := sdpOf(res); sdp != nil {
		g.sdp = sdp
	}
	c.noteResponseLocked(res)
	d = newDialogLocked(c, g, now)
	c.dialog = d
	c.e.journal.add(c.entryLocked(g))
	c.mu.Unlock()
	g.ack(res.CSeq().SeqNo)
	d.startTimer(res)
}

// sdpOf is the session description a message carries, alone or beside ISUP in a multipart body.
func sdpOf(msg gosip.Message) []byte {
	body := msg.Body()
	if len(body) == 0 {
		return nil
	}
	value := headerValue(msg, "content-type")
	if value == "" {
		value = headerValue(msg, "c")
	}
	kind, params, err := mime.ParseMediaType(value)
	switch {
	case err != nil:
		kind, _, _ = strings.Cut(value, ";")
		if !strings.EqualFold(strings.TrimSpace(kind), sdpType) {
			return nil
		}
		return body
	case kind == sdpType:
		return body
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for range 8 {
			part, err := r.NextPart()
			if err != nil {
				return nil
			}
			if t, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); t == sdpType {
				b, err := io.ReadAll(part)
				if err != nil {
					return nil
				}
				return b
			}
		}
	}
	return nil
}
