package waihu

import (
	"strings"
	"unicode"
)

// Bounds of a dialled number in digits: E.164 allows 15; prefixes for carriers need more.
const (
	minPhoneDigits = 3
	maxPhoneDigits = 20
)

// ParsePhone reads a phone number as people write it: blanks, hyphens, dots and brackets are dropped,
// full-width digits are narrowed, one leading + is kept. The error is safe to show and does not repeat the input.
func ParsePhone(s string) (PhoneNumber, error) {
	var b strings.Builder
	digits := 0
	for _, r := range strings.TrimSpace(s) {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
			digits++
		case r >= '０' && r <= '９':
			b.WriteRune(r - '０' + '0')
			digits++
		case (r == '+' || r == '＋') && b.Len() == 0:
			b.WriteByte('+')
		case r == '-' || r == '.' || r == '(' || r == ')' || r == '（' || r == '）' || unicode.IsSpace(r):
		default:
			return "", Errorf(EInvalid, "a phone number holds digits with an optional leading +, not %q", r)
		}
	}
	if digits < minPhoneDigits || digits > maxPhoneDigits {
		return "", Errorf(EInvalid, "a phone number has %d to %d digits, not %d", minPhoneDigits, maxPhoneDigits, digits)
	}
	return PhoneNumber(b.String()), nil
}

// Agents are all agents that the task may use, each once, the default first.
func (t *Task) Agents() []AgentID {
	seen := map[AgentID]bool{"": true}
	var out []AgentID
	add := func(id AgentID) {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	add(t.Agent)
	add(t.Routing.Default)
	switch t.Routing.Kind {
	case RouteByTime:
		for _, r := range t.Routing.ByTime {
			add(r.Agent)
		}
	case RouteByVariable:
		for _, r := range t.Routing.ByVar {
			add(r.Agent)
		}
	case RouteSeveral, RouteByAttempt:
		for _, r := range t.Routing.Several {
			add(r.Agent)
		}
	}
	return out
}
