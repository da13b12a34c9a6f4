package waihu

import (
	"slices"
	"testing"
)

func TestParsePhone(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]PhoneNumber{
		"13800000000":        "13800000000",
		" +86 138-0000-0000": "+8613800000000",
		"(010) 8888.8888":    "01088888888",
		"１３８０００００００１":        "13800000001",
		"110":                "110",
		"+99900000001":       "+99900000001",
		"13800000000.0":      "13800000000", // a column of numbers as decimal fractions: no further digit
		" 13800000000.00 ":   "13800000000",
		"138.0000.0000":      "13800000000",
		"8888.00":            "888800",
	} {
		if got, err := ParsePhone(in); err != nil || got != want {
			t.Errorf("ParsePhone(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "12", "123456789012345678901", "138a", "1+38", "sip:x", "++138000", "电话"} {
		if got, err := ParsePhone(in); err == nil || ErrorCode(err) != EInvalid {
			t.Errorf("ParsePhone(%q) = %q, %v; want an EInvalid error", in, got, err)
		}
	}
}

func FuzzParsePhone(f *testing.F) {
	f.Add("+86 138")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePhone(s)
		if err != nil {
			return
		}
		if again, err := ParsePhone(string(p)); err != nil || again != p {
			t.Errorf("ParsePhone(%q) = %q, which reads as %q, %v", s, p, again, err)
		}
	})
}

func TestAgentsOfATask(t *testing.T) {
	t.Parallel()
	task := Task{Agent: "1", Routing: Routing{Kind: RouteByTime, Default: "2",
		ByTime: []TimeRoute{{Agent: "3"}, {Agent: "1"}}, ByVar: []VariableRoute{{Agent: "9"}}}}
	if got := task.Agents(); !slices.Equal(got, []AgentID{"1", "2", "3"}) {
		t.Errorf("agents = %v: the default, the other default and the routes of its kind were expected", got)
	}
}
