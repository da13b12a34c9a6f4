package line

import (
	"testing"

	"waihu"
)

func TestRefuseNumber(t *testing.T) {
	t.Parallel()
	real := waihu.Trunk{URI: "sip:203.0.113.1"}
	sim := waihu.Trunk{URI: "sim:demo"}
	narrow := waihu.Trunk{URI: "sip:203.0.113.1", AllowPrefixes: []string{"1", "010"}}
	for _, c := range []struct {
		name    string
		trunk   waihu.Trunk
		number  waihu.PhoneNumber
		refused bool
	}{
		{"test range on a real line", real, "+99900001", true},
		{"test range on the simulated carrier", sim, "+99900001", false},
		{"any number without prefixes", real, "13800000000", false},
		{"allowed prefix", narrow, "01088888888", false},
		{"other prefix", narrow, "0013105551234", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if why := Refuses(&c.trunk, c.number); (why != "") != c.refused {
				t.Errorf("Refuses = %q, refused should be %v", why, c.refused)
			}
		})
	}
}

func TestCallerNumbersTakeTurns(t *testing.T) {
	t.Parallel()
	trunk := waihu.Trunk{CallerIDs: []string{"1", "2", "3"}}
	var got string
	for n := range int64(5) {
		got += string(callerOf(&trunk, waihu.NewCallID(0, 3, n), ""))
	}
	if got != "12312" && got != "23123" && got != "31231" {
		t.Errorf("turns = %s, want 1, 2, 3 one after the other", got)
	}
	if n := callerOf(&trunk, 1, "9"); n != "9" {
		t.Errorf("the task chose 9 and the call comes from %q", n)
	}
	if n := callerOf(&waihu.Trunk{}, 1, ""); n != "" {
		t.Errorf("a trunk without numbers gave %q", n)
	}
}
