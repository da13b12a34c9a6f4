package agent

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/width"
)

// The spoken forms of variables. A voice reads bare digits as it likes ("20000" digit by
// digit, "2026-11-21" with its hyphens), so typed values become words first.

// varTypes are the types a variable may have.
var varTypes = []string{"text", "money", "date", "digits", "percent"}

// Spoken is value as it is said in the language, for a variable of that type. An empty
// value has no spoken form. A value that is not of the type is an error that does not repeat it:
// it is personal data.
func Spoken(kind, language, value string) (string, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return "", nil
	}
	zh := strings.HasPrefix(strings.ToLower(language), "zh") || language == ""
	plain := width.Narrow.String(value)
	switch kind {
	case "", "text":
		return value, nil
	case "digits":
		return spokenDigits(plain, zh)
	case "money":
		return spokenMoney(plain, zh)
	case "percent":
		n, err := parseDecimal(strings.TrimSuffix(strings.TrimSpace(plain), "%"))
		if err != nil {
			return "", fmt.Errorf("not a percentage such as 12.5%%: %w", err)
		}
		if zh {
			return "百分之" + n.chinese(), nil
		}
		return n.plain() + " percent", nil
	case "date":
		return spokenDate(plain, zh)
	}
	return "", fmt.Errorf("unknown type %q: %s was expected", kind, strings.Join(varTypes, ", "))
}

var digitWords = [10]string{"零", "一", "二", "三", "四", "五", "六", "七", "八", "九"}

// spokenDigits says one digit after another; one is 幺, as on the telephone.
func spokenDigits(s string, zh bool) (string, error) {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '-' || r == ' ' || r == '+':
			continue
		case r < '0' || r > '9':
			return "", fmt.Errorf("not a number of digits")
		case zh && r == '1':
			b.WriteString("幺")
		case zh:
			b.WriteString(digitWords[r-'0'])
		default:
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}

// decimal is a number as its digits before and after the point.
type decimal struct {
	negative bool
	whole    string // without leading zeros, at least "0"
	frac     string
}

var decimalForm = regexp.MustCompile(`^([+-]?)(\d{1,3}(?:,\d{3})+|\d{1,16})(?:\.(\d{1,6}))?$`)

func parseDecimal(s string) (decimal, error) {
	m := decimalForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return decimal{}, fmt.Errorf("not a decimal number")
	}
	whole := strings.TrimLeft(strings.ReplaceAll(m[2], ",", ""), "0")
	if whole == "" {
		whole = "0"
	}
	if len(whole) > 16 {
		return decimal{}, fmt.Errorf("more than 16 digits")
	}
	return decimal{m[1] == "-", whole, m[3]}, nil
}

func (d decimal) plain() string {
	s := d.whole
	if f := strings.TrimRight(d.frac, "0"); f != "" {
		s += "." + f
	}
	if d.negative {
		s = "minus " + s
	}
	return s
}

func (d decimal) chinese() string {
	s := chineseInt(d.whole)
	if f := strings.TrimRight(d.frac, "0"); f != "" {
		s += "点"
		for _, r := range f {
			s += digitWords[r-'0']
		}
	}
	if d.negative {
		s = "负" + s
	}
	return s
}

// chineseInt reads a whole number of up to 16 digits: groups of four with 万, 亿, 万亿.
func chineseInt(digits string) string {
	if strings.Trim(digits, "0") == "" {
		return "零"
	}
	units := [4]string{"", "十", "百", "千"}
	groups := [4]string{"", "万", "亿", "万亿"}
	for len(digits)%4 != 0 {
		digits = "0" + digits
	}
	var b strings.Builder
	zero := false // a gap that must be read as 零 before the next digit
	for g := len(digits)/4 - 1; g >= 0; g-- {
		part := digits[len(digits)-4*(g+1) : len(digits)-4*g]
		said := false
		for i, r := range part {
			if r == '0' {
				zero = b.Len() > 0
				continue
			}
			if zero {
				b.WriteString("零")
				zero = false
			}
			unit := units[3-i]
			if !(r == '1' && unit == "十" && b.Len() == 0) { // 十二, not 一十二, at the front
				b.WriteString(digitWords[r-'0'])
			}
			b.WriteString(unit)
			said = true
		}
		if said {
			b.WriteString(groups[g])
		}
	}
	return b.String()
}

// spokenMoney reads an amount; in Chinese as yuan with 角 and 分, else as the number.
func spokenMoney(s string, zh bool) (string, error) {
	s = strings.TrimSpace(strings.TrimSuffix(strings.TrimLeft(s, "¥￥$"), "元"))
	n, err := parseDecimal(s)
	if err != nil {
		return "", fmt.Errorf("not an amount such as 1234.50: %w", err)
	}
	if !zh {
		return n.plain(), nil
	}
	if len(strings.TrimRight(n.frac, "0")) > 2 {
		return "", fmt.Errorf("an amount has at most two decimals")
	}
	frac := (n.frac + "00")[:2]
	out := chineseInt(n.whole) + "元"
	if n.whole == "0" && frac != "00" {
		out = ""
	}
	switch {
	case frac[0] != '0':
		out += digitWords[frac[0]-'0'] + "角"
	case frac[1] != '0' && out != "":
		out += "零"
	}
	if frac[1] != '0' {
		out += digitWords[frac[1]-'0'] + "分"
	}
	if n.negative {
		out = "负" + out
	}
	return out, nil
}

// dateLayouts are the forms in which lists carry dates; the shorter ones leave the year out.
var dateLayouts = []struct {
	layout string
	year   bool
}{{"2006-1-2", true}, {"2006/1/2", true}, {"2006.1.2", true}, {"20060102", true}, {"2006年1月2日", true},
	{"1-2", false}, {"1/2", false}, {"1月2日", false}}

func spokenDate(s string, zh bool) (string, error) {
	day, _, _ := strings.Cut(strings.TrimSpace(s), " ") // a time of day is not read
	day, _, _ = strings.Cut(day, "T")
	for _, l := range dateLayouts {
		t, err := time.Parse(l.layout, day)
		if err != nil {
			continue
		}
		if !zh {
			if l.year {
				return t.Format("January 2, 2006"), nil
			}
			return t.Format("January 2"), nil
		}
		out := chineseInt(strconv.Itoa(int(t.Month()))) + "月" + chineseInt(strconv.Itoa(t.Day())) + "日"
		if l.year {
			year := ""
			for _, r := range t.Format("2006") {
				year += digitWords[r-'0']
			}
			out = year + "年" + out
		}
		return out, nil
	}
	return "", fmt.Errorf("not a date such as 2026-11-21")
}
