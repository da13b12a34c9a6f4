package sip

import (
	"strings"

	gosip "github.com/emiago/sipgo/sip"
)

// Limits of one message; sipgo's parser bounds the size alone.
const (
	maxHeaders = 1000
	maxVias    = 50
)

// validate checks what the parser lets through (RFC 4475 lists most of it). It returns 0
// for a good message, a status for a request that deserves an answer, -1 for what is dropped.
func validate(msg gosip.Message) (int, string) {
	req, isRequest := msg.(*gosip.Request)
	bad := func(status int, phrase string) (int, string) {
		if !isRequest {
			return -1, phrase
		}
		return status, phrase
	}
	hs := headersOf(msg)
	if len(hs) > maxHeaders {
		return bad(400, "Too Many Headers")
	}
	var vias, froms, tos, callIDs, cseqs, forwards, lengths int
	for _, h := range hs {
		switch h.(type) {
		case *gosip.ViaHeader:
			vias++
		case *gosip.FromHeader:
			froms++
		case *gosip.ToHeader:
			tos++
		case *gosip.CallIDHeader:
			callIDs++
		case *gosip.CSeqHeader:
			cseqs++
		case *gosip.MaxForwardsHeader:
			forwards++
		case *gosip.ContentLengthHeader:
			lengths++
		}
	}
	switch {
	case vias == 0 || froms == 0 || tos == 0 || callIDs == 0 || cseqs == 0:
		// An answer needs exactly these headers, so there is none.
		return -1, "Missing Header"
	case vias > maxVias:
		return bad(400, "Too Many Via")
	case froms > 1 || tos > 1 || callIDs > 1 || cseqs > 1 || forwards > 1:
		return bad(400, "Repeated Header")
	case lengths > 1 && !sameLengths(hs):
		return bad(400, "Repeated Content-Length")
	}
	via := msg.Via()
	if via.Host == "" || via.Port < 0 || via.Port > 65535 || !strings.EqualFold(via.ProtocolName, "SIP") || via.ProtocolVersion != "2.0" {
		return bad(400, "Bad Via")
	}
	if n := strings.TrimSpace(msg.CallID().Value()); n == "" || strings.ContainsAny(n, " \t") {
		return bad(400, "Bad Call-ID")
	}
	if tag, _ := msg.From().Params.Get("tag"); tag == "" {
		return bad(400, "Missing From Tag")
	}
	if !isRequest {
		res := msg.(*gosip.Response)
		switch {
		case vias > 1:
			return -1, "More Than One Via" // RFC 3261 8.1.3.3
		case res.StatusCode < 100 || res.StatusCode > 699:
			return -1, "Bad Status"
		case res.SipVersion != "SIP/2.0":
			return -1, "Bad Version"
		}
		return 0, ""
	}
	switch {
	case req.SipVersion != "SIP/2.0":
		req.SipVersion = "SIP/2.0" // the answer copies it
		return 505, "Version Not Supported"
	case !token(string(req.Method)):
		return 400, "Bad Method"
	case req.CSeq().MethodName != req.Method:
		return 400, "CSeq Method Does Not Match"
	case req.Recipient.Scheme != "sip" && req.Recipient.Scheme != "sips" && req.Recipient.Scheme != "tel":
		return 416, "Unsupported URI Scheme"
	case req.Recipient.Port < 0 || req.Recipient.Port > 65535:
		return 400, "Bad Request-URI"
	case forwards == 1 && req.MaxForwards().Val() > 255:
		return 400, "Bad Max-Forwards"
	}
	return 0, ""
}

func sameLengths(hs []gosip.Header) bool {
	first := ""
	for _, h := range hs {
		if c, ok := h.(*gosip.ContentLengthHeader); ok {
			if first == "" {
				first = c.Value()
			} else if c.Value() != first {
				return false
			}
		}
	}
	return true
}

// token checks RFC 3261's token, of which methods are made.
func token(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', strings.IndexByte("-.!%*_+`'~", c) >= 0:
		default:
			return false
		}
	}
	return true
}
