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
// full-width digits are narrowed, one leading + is kept. A table that held the number as a decimal fraction (13800000000.0) means
// the whole number before the point. The error is safe to show and does not repeat the input.
func ParsePhone(s string) (PhoneNumber, error) {
	var b strings.Builder
	digits := 0
	for _, r := range wholeNumber(strings.TrimSpace(s)) {
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

// wholeNumber drops the .0 or .00 with which spreadsheets and data frames print a column of numbers that has an empty cell
// somewhere. Read as a separator like other dots it would add a digit, and call somebody else. A number that
// people group with dots has more than one, or a last group of more than zeros.
func wholeNumber(s string) string {
	whole, zeros, ok := strings.Cut(s, ".")
	if ok && (zeros == "0" || zeros == "00") && len(whole) >= minDecimalPhone && strings.Trim(whole, "0123456789") == "" {
		return whole
	}
	return s
}

// minDecimalPhone is the least number of digits before such a fraction: a short one may be an extension with its own dot.
const minDecimalPhone = 7

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
