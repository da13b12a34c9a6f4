package carrier

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

var allowHeaders = []string{
	"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO",
	"Accept: application/sdp",
}

const contentSDP = "application/sdp"

func newTag() string { return rand.Text()[:12] }

// newBranch is a branch with the cookie of RFC 3261 8.1.1.7.
func newBranch() string { return "z9hG4bK" + rand.Text() }

// tagOf is the tag of a From or To header, empty when it has none.
func tagOf(h any) string {
	switch h := h.(type) {
	case *sip.FromHeader:
		if h != nil {
			tag, _ := h.Params.Get("tag")
			return tag
		}
	case *sip.ToHeader:
		if h != nil {
			tag, _ := h.Params.Get("tag")
			return tag
		}
	}
	return ""
}

func tagged(h *sip.ToHeader) bool { return tagOf(h) != "" }

func branchOf(m sip.Message) string {
	v := m.Via()
	if v == nil {
		return ""
	}
	b, _ := v.Params.Get("branch")
	return b
}

// headers is what requests and responses share.
type headers interface {
	GetHeader(name string) sip.Header
	GetHeaders(name string) []sip.Header
}

// value is a header's value by its long name or its compact form.
func value(m headers, names ...string) string {
	for _, n := range names {
		if h := m.GetHeader(n); h != nil {
			return h.Value()
		}
	}
	return ""
}

// lists says whether a comma-separated header holds the token.
func lists(m headers, token string, names ...string) bool {
	for _, n := range names {
		for _, h := range m.GetHeaders(n) {
			for t := range strings.SplitSeq(h.Value(), ",") {
				if strings.EqualFold(strings.TrimSpace(t), token) {
					return true
				}
			}
		}
	}
	return false
}

// answer makes a response to req (RFC 3261 8.2.6). The tag is added when To has none. extra are whole header lines.
func answer(req *sip.Request, to peer, status int, phrase, tag string, extra []string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", status, phrase)
	for i, h := range req.GetHeaders("Via") {
		v := h.Value()
		if i == 0 {
			v = received(h.(*sip.ViaHeader), to)
		}
		b.WriteString("Via: " + v + "\r\n")
	}
	if status > 100 && status < 300 && req.Method == sip.INVITE {
		for _, h := range req.GetHeaders("Record-Route") {
			b.WriteString("Record-Route: " + h.Value() + "\r\n")
		}
	}
	b.WriteString("From: " + req.From().Value() + "\r\n")
	b.WriteString("To: " + req.To().Value())
	if tag != "" && !tagged(req.To()) && status > 100 {
		b.WriteString(";tag=" + tag)
	}
	b.WriteString("\r\nCall-ID: " + req.CallID().Value() + "\r\nCSeq: " + req.CSeq().Value() + "\r\n")
	finish(&b, extra, body)
	return b.Bytes()
}

func finish(b *bytes.Buffer, extra []string, body []byte) {
	for _, line := range extra {
		b.WriteString(line + "\r\n")
	}
	fmt.Fprintf(b, "Content-Length: %d\r\n\r\n", len(body))
	b.Write(body)
}

// received completes the top Via: where the request really came from (RFC 3261 18.2.1, RFC 3581 4).
func received(v *sip.ViaHeader, from peer) string {
	v = v.Clone()
	if v.Params == nil {
		v.Params = sip.NewParams()
	}
	host := from.addr.Addr().String()
	if v.Params.Has("rport") {
		v.Params.Add("rport", strconv.Itoa(int(from.addr.Port())))
		v.Params.Add("received", host)
	} else if v.Host != host {
		v.Params.Add("received", host)
	}
	return v.Value()
}

// answerPeer is where the response to req goes (RFC 3261 18.2.2, RFC 3581 4).
func answerPeer(req *sip.Request, from peer) peer {
	v := req.Via()
	if from.reliable() || v == nil || v.Params.Has("rport") {
		return from
	}
	port := v.Port
	if port == 0 {
		port = 5060
	}
	a, err := net.ResolveUDPAddr("udp", net.JoinHostPort(from.addr.Addr().String(), strconv.Itoa(port)))
	if err != nil {
		return from
	}
	from.addr = a.AddrPort()
	return from
}

// sameURI compares what a Request-URI must repeat of a Contact: scheme, user, host, port.
func sameURI(a, b *sip.Uri) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && a.User == b.User && strings.EqualFold(a.Host, b.Host) && portOf(a) == portOf(b)
}

func portOf(u *sip.Uri) int {
	if u.Port == 0 {
		return 5060
	}
	return u.Port
}
