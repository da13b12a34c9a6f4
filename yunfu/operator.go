package yunfu

import "strings"

// operatorNames are the vendor's operators by code; 0 is none of them.
var operatorNames = [...]string{"", "电信", "联通", "移动"}

// operatorPrefixes are the ranges of mainland mobile numbers by operator (MIIT's numbering plan, virtual operators
// counted to the network they use). A number that moved to another operator keeps its old range here.
var operatorPrefixes = [...][]string{
	1: {"133", "149", "153", "1700", "1701", "1702", "162", "173", "174", "177", "180", "181", "189", "190", "191", "193", "199"},
	2: {"130", "131", "132", "145", "146", "155", "156", "166", "167", "1704", "1707", "1708", "1709", "171", "175", "176", "185", "186", "196"},
	3: {"134", "135", "136", "137", "138", "139", "147", "148", "150", "151", "152", "157", "158", "159", "165", "1703", "1705", "1706", "172", "178",
		"182", "183", "184", "187", "188", "195", "197", "198"},
}

// operatorOf is the operator of a mobile number of eleven digits, with or without +86; 0 when it is none.
func operatorOf(phone string) int {
	phone = strings.TrimPrefix(phone, "+86")
	if len(phone) != 11 {
		return 0
	}
	for code, prefixes := range operatorPrefixes {
		for _, p := range prefixes {
			if strings.HasPrefix(phone, p) {
				return code
			}
		}
	}
	return 0
}

// operator reads a code 1 to 3, or the operator's name.
func (n node) operator() int {
	text := strings.TrimPrefix(n.text(), "中国")
	for code, name := range operatorNames {
		if code > 0 && text == name {
			return code
		}
	}
	return n.number(1, 3)
}
