package sip

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

const (
	allowed   = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK"
	accepted  = "application/sdp, application/dtmf-relay, application/dtmf"
	sdpType   = "application/sdp"
	branchTag = "z9hG4bK"
)

// derivation makes the identifiers of a call from its id and the node's salt, so that
// a restarted process finds them again. The salt keeps ids of an older ledger apart
// and makes them hard to guess.
type derivation struct{ salt []byte }

type callIdents struct {
	callID string
	tag    string
	branch string
}

func (d derivation) of(id waihu.CallID) callIdents {
	m := hmac.New(sha256.New, d.salt)
	m.Write([]byte(id.String()))
	h := hex.EncodeToString(m.Sum(nil))
	return callIdents{callID: h[:28], tag: h[28:44], branch: h[44:]}
}

// attempt is the branch of the call's n-th INVITE (again after a challenge, 422 or another address), from 1.
func (c callIdents) attempt(n int) string { return branchTag + c.branch + "." + strconv.Itoa(n) }

func newToken() string { return strconv.FormatUint(rand.Uint64(), 36) }

func newBranch() string { return branchTag + newToken() + newToken() }

// userPart escapes what RFC 3261 does not allow in the user part of a URI, such as the # of a tech prefix.
func userPart(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.!~*'()&=+$,;?/", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// identity is how one call names its two ends.
type identity struct {
	request gosip.Uri // Request-URI of the INVITE
	from    *gosip.FromHeader
	to      gosip.Uri
	extra   []gosip.Header // PAI and its kin
	user    string         // of our Contact
}

func (p *Peer) identify(callee, caller waihu.PhoneNumber, tag string) identity {
	number := string(caller)
	fromUser := number
	if p.header != "from" {
		fromUser = p.fromUser
		if fromUser == "" {
			fromUser = p.username
		}
	}
	for _, alt := range []string{p.fromUser, p.username, number, "anonymous"} {
		if fromUser != "" {
			break
		}
		fromUser = alt
	}
	id := identity{request: *p.target.Clone(), user: userPart(fromUser)}
	id.request.User = userPart(p.Dialled(callee))
	id.to = gosip.Uri{Scheme: "sip", User: id.request.User, Host: p.domain}
	id.from = &gosip.FromHeader{
		Address: gosip.Uri{Scheme: "sip", User: userPart(fromUser), Host: p.domain},
		Params:  gosip.HeaderParams{{K: "tag", V: tag}},
	}
	if p.username != "" {
		id.user = userPart(p.username)
	}
	if number == "" {
		return id
	}
	addr := "<sip:" + userPart(number) + "@" + p.domain + ">"
	switch p.header {
	case "pai":
		id.extra = append(id.extra, gosip.NewHeader("P-Asserted-Identity", addr))
	case "ppi":
		id.extra = append(id.extra, gosip.NewHeader("P-Preferred-Identity", addr))
	case "rpid":
		id.extra = append(id.extra, gosip.NewHeader("Remote-Party-ID", addr+";party=calling;screen=yes;privacy=off"))
	}
	return id
}

// preloaded is the route set before a dialog exists: the registrar's Service-Route, else the outbound proxy.
func (e *Endpoint) preloaded(p *Peer) []gosip.Uri {
	e.mu.Lock()
	r := e.serviceRoutes[p]
	e.mu.Unlock()
	if len(r) > 0 {
		return r
	}
	if !p.proxied {
		return nil
	}
	return []gosip.Uri{{Scheme: "sip", Host: p.hop.host, Port: p.hop.port, UriParams: gosip.HeaderParams{{K: "lr"}}}}
}

// newRequest makes a request with the headers that every one of ours has, in the order in which carriers print them.
func (e *Endpoint) newRequest(method gosip.RequestMethod, uri gosip.Uri, w *path, branch string, routes []gosip.Uri,
	from *gosip.FromHeader, to *gosip.ToHeader, callID string, cseq uint32) *gosip.Request {
	req := gosip.NewRequest(method, uri)
	req.AppendHeader(&gosip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: w.transport, Host: w.host, Port: w.port,
		Params: gosip.HeaderParams{{K: "branch", V: branch}, {K: "rport"}},
	})
	for i := range routes {
		req.AppendHeader(&gosip.RouteHeader{Address: routes[i]})
	}
	forwards := gosip.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	req.AppendHeader(from)
	req.AppendHeader(to)
	id := gosip.CallIDHeader(callID)
	req.AppendHeader(&id)
	req.AppendHeader(&gosip.CSeqHeader{SeqNo: cseq, MethodName: method})
	if e.opt.UserAgent != "" {
		req.AppendHeader(gosip.NewHeader("User-Agent", e.opt.UserAgent))
	}
	req.SetTransport(w.transport)
	req.SetDestination(w.dst.String())
	return req
}

func (w *path) contact(user string) *gosip.ContactHeader {
	h := &gosip.ContactHeader{Address: gosip.Uri{Scheme: "sip", User: user, Host: w.host, Port: w.port}}
	if w.transport == "TCP" {
		h.Address.UriParams = gosip.HeaderParams{{K: "transport", V: "tcp"}}
	}
	return h
}

func setSDP(req gosip.Message, body []byte) {
	if body == nil {
		req.SetBody(nil)
		return
	}
	t := gosip.ContentTypeHeader(sdpType)
	req.AppendHeader(&t)
	req.SetBody(body)
}

// cancelOf is the CANCEL of an INVITE (RFC 3261 9.1).
func cancelOf(inv *gosip.Request, why *Reason) *gosip.Request {
	req := gosip.NewRequest(gosip.CANCEL, inv.Recipient)
	req.AppendHeader(inv.Via().Clone())
	gosip.CopyHeaders("route", inv, req)
	forwards := gosip.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	req.AppendHeader(inv.From())
	req.AppendHeader(inv.To())
	req.AppendHeader(inv.CallID())
	req.AppendHeader(&gosip.CSeqHeader{SeqNo: inv.CSeq().SeqNo, MethodName: gosip.CANCEL})
	if why != nil {
		req.AppendHeader(gosip.NewHeader("Reason", why.String()))
	}
	req.SetBody(nil)
	req.SetTransport(inv.Transport())
	req.SetDestination(inv.Destination())
	return req
}

// ackFailure is the ACK of a non-2xx answer (RFC 3261 17.1.1.3), for when that answer is repeated.
func ackFailure(inv *gosip.Request, res *gosip.Response) *gosip.Request {
	req := gosip.NewRequest(gosip.ACK, inv.Recipient)
	req.AppendHeader(inv.Via().Clone())
	gosip.CopyHeaders("route", inv, req)
	forwards := gosip.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	req.AppendHeader(inv.From())
	req.AppendHeader(res.To())
	req.AppendHeader(inv.CallID())
	req.AppendHeader(&gosip.CSeqHeader{SeqNo: inv.CSeq().SeqNo, MethodName: gosip.ACK})
	req.SetBody(nil)
	req.SetTransport(inv.Transport())
	req.SetDestination(inv.Destination())
	return req
}
