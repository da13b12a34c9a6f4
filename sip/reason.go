package sip

import (
	"strconv"
	"strings"
	"time"

	gosip "github.com/emiago/sipgo/sip"
)

// Reason is one value of a Reason header (RFC 3326).
type Reason struct {
	Protocol string // SIP or Q.850
	Cause    int
	Text     string
}

// Q850 makes a Reason with an ISDN cause.
func Q850(cause int, text string) Reason { return Reason{"Q.850", cause, text} }

func (r Reason) String() string {
	s := r.Protocol + ";cause=" + strconv.Itoa(r.Cause)
	if r.Text != "" {
		s += `;text="` + strings.Map(quotable, r.Text) + `"`
	}
	return s
}

func quotable(r rune) rune {
	if r < ' ' || r == '"' || r == '\\' || r == 0x7f {
		return '.'
	}
	return r
}

// reasonsOf reads all Reason headers of a message. Values that cannot be read are left out.
func reasonsOf(msg gosip.Message) []Reason {
	var out []Reason
	for _, h := range msg.GetHeaders("reason") {
		out = append(out, parseReasons(h.Value())...)
	}
	out = out[:min(len(out), maxReasons)]
	for i := range out {
		out[i].Protocol, out[i].Text = short(out[i].Protocol), short(out[i].Text)
	}
	return out
}

const maxReasons = 8

func parseReasons(value string) []Reason {
	var out []Reason
	for _, part := range splitQuoted(value, ',') {
		fields := splitQuoted(part, ';')
		r := Reason{Protocol: strings.TrimSpace(fields[0]), Cause: -1}
		switch {
		case strings.EqualFold(r.Protocol, "q.850"), strings.EqualFold(r.Protocol, "q850"):
			r.Protocol = "Q.850"
		case strings.EqualFold(r.Protocol, "sip"):
			r.Protocol = "SIP"
		case r.Protocol == "":
			continue
		}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(f, "=")
			v = strings.TrimSpace(v)
			switch strings.ToLower(strings.TrimSpace(k)) {
			case "cause":
				if n, err := strconv.Atoi(strings.Trim(v, `"`)); err == nil && n >= 0 && n < 1000 {
					r.Cause = n
				}
			case "text":
				r.Text = unquote(v)
			}
		}
		if r.Cause >= 0 {
			out = append(out, r)
		}
	}
	return out
}

// splitQuoted splits at sep outside of quoted strings and angle brackets. It always returns at least one part.
func splitQuoted(s string, sep byte) []string {
	var out []string
	start, quoted, angle := 0, false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == sep && !angle:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// maxRetryAfter bounds what a carrier may ask of us.
const maxRetryAfter = 24 * time.Hour

// parseRetryAfter reads "18000;duration=3600" and "120 (I'm in a meeting)".
func parseRetryAfter(s string) time.Duration {
	s = strings.TrimSpace(s)
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(s[:end], 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxRetryAfter)
}

func retryAfterOf(msg gosip.Message) time.Duration {
	return parseRetryAfter(headerValue(msg, "retry-after"))
}

// sessionExpires is a Session-Expires header (RFC 4028); "x" is its compact form.
type sessionExpires struct {
	interval  time.Duration
	refresher string // uac, uas or empty
}

func parseSessionExpires(s string) (sessionExpires, bool) {
	fields := strings.Split(s, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(fields[0]), 10, 31)
	if err != nil || n == 0 {
		return sessionExpires{}, false
	}
	se := sessionExpires{interval: time.Duration(n) * time.Second}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		if strings.EqualFold(strings.TrimSpace(k), "refresher") {
			switch v = strings.ToLower(strings.TrimSpace(v)); v {
			case "uac", "uas":
				se.refresher = v
			}
		}
	}
	return se, true
}

func sessionExpiresOf(msg gosip.Message) (sessionExpires, bool) {
	v := headerValue(msg, "session-expires")
	if v == "" {
		v = headerValue(msg, "x")
	}
	return parseSessionExpires(v)
}

// parseSeconds reads a header that is a bare number of seconds, such as Min-SE and Min-Expires.
func parseSeconds(s string) (time.Duration, bool) {
	s, _, _ = strings.Cut(s, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31)
	if err != nil {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

// parseRSeq reads an RSeq header (RFC 3262: 1 to 2**31-1 at first, up to 2**32-1 later).
func parseRSeq(s string) (uint32, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
	return uint32(n), err == nil && n > 0
}

// hasToken says whether any of the named header's comma-separated values is token.
func hasToken(msg gosip.Message, header, compact, token string) bool {
	for _, name := range []string{header, compact} {
		if name == "" {
			continue
		}
		for _, h := range msg.GetHeaders(name) {
			for _, v := range strings.Split(h.Value(), ",") {
				if strings.EqualFold(strings.TrimSpace(v), token) {
					return true
				}
			}
		}
	}
	return false
}

// headerValue is the value of the first header of that (lower-case) name, "" when there is none.
func headerValue(msg gosip.Message, name string) string {
	for _, h := range headersOf(msg) {
		if gosip.HeaderToLower(h.Name()) == name {
			return h.Value()
		}
	}
	return ""
}

func headersOf(msg gosip.Message) []gosip.Header {
	switch m := msg.(type) {
	case *gosip.Request:
		return m.Headers()
	case *gosip.Response:
		return m.Headers()
	}
	return nil
}
