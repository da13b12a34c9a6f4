package waihu

import "strings"

// Forms are the ways in which the same number is commonly written, the canonical one first: mainland numbers with and without 86, +86,
// 0086 and the trunk 0, others with and without + and 00. What has no digits is its own only form.
//
// The canonical form of a mainland mobile is its 11 digits, of a mainland landline the trunk 0 with area code and number, of any other
// number its digits alone.
func (p PhoneNumber) Forms() []PhoneNumber {
	n, prefixes := p.canonical()
	out := make([]PhoneNumber, len(prefixes))
	for i, prefix := range prefixes {
		out[i] = PhoneNumber(prefix) + n
	}
	if strings.HasPrefix(string(n), "0") && len(prefixes) > 3 { // a landline: behind a country code the trunk 0 falls away
		for i := 1; i < len(out); i++ {
			out[i] = PhoneNumber(prefixes[i]) + n[1:]
		}
	}
	return out
}

// Canonical is the first of Forms: two texts that mean the same number have the same one.
func (p PhoneNumber) Canonical() PhoneNumber {
	n, _ := p.canonical()
	return n
}

var (
	mobileForms   = []string{"", "+86", "86", "0086", "0"}
	landlineForms = []string{"", "+86", "86", "0086"}
	otherForms    = []string{"", "+", "00"}
	onlyForm      = []string{""}
)

func (p PhoneNumber) canonical() (PhoneNumber, []string) {
	digits, plus := strings.CutPrefix(string(p), "+")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return p, onlyForm
	}
	if !plus {
		digits = strings.TrimPrefix(digits, "00")
	}
	if !plus && mobile(digits) {
		return PhoneNumber(digits), mobileForms
	}
	if home, ok := strings.CutPrefix(digits, "86"); ok {
		switch {
		case mobile(home):
			return PhoneNumber(home), mobileForms
		case landline(home):
			return PhoneNumber("0" + home), landlineForms
		}
	}
	if home, ok := strings.CutPrefix(digits, "0"); ok && !plus {
		switch {
		case mobile(home):
			return PhoneNumber(home), mobileForms
		case landline(home):
			return PhoneNumber(digits), landlineForms
		}
	}
	if len(digits) < minInternational { // a service number such as 10086 or an extension: a + in front would be another number
		return p, onlyForm
	}
	return PhoneNumber(digits), otherForms
}

// minInternational is the least number of digits with a country code that we take for one.
const minInternational = 8

// mobile says that the digits are a mainland mobile number.
func mobile(d string) bool { return len(d) == 11 && d[0] == '1' && d[1] >= '3' }

// landline says that the digits are a mainland area code without its 0 (10, 2x or three digits from 3 on) and a number of 7 or 8 digits.
func landline(d string) bool {
	switch {
	case len(d) == 10 && (d[0] == '2' || d[:2] == "10"):
		return true
	case (len(d) == 10 || len(d) == 11) && d[0] >= '3':
		return true
	}
	return false
}
