package waihu

import (
	"slices"
	"testing"
)

func TestForms(t *testing.T) {
	t.Parallel()
	for _, same := range [][]PhoneNumber{
		{"13800138000", "+8613800138000", "8613800138000", "008613800138000", "013800138000"},
		{"057188888888", "+8657188888888", "8657188888888", "008657188888888"},
		{"01062345678", "+861062345678", "861062345678", "00861062345678"},
		{"02162345678", "+862162345678", "862162345678", "00862162345678"},
		{"4915123456789", "+4915123456789", "004915123456789"},
		{"12025550123", "+12025550123", "0012025550123"},
	} {
		for _, p := range same {
			if got := p.Forms(); !slices.Equal(got, same) {
				t.Errorf("%s: %q, want %q", p, got, same)
			}
			if p.Canonical() != same[0] {
				t.Errorf("%s: canonical %s", p, p.Canonical())
			}
		}
	}
	for _, p := range []PhoneNumber{"10086", "95588", "110", "+110", "anonymous", "", "+"} {
		if got := p.Forms(); len(got) != 1 || got[0] != p {
			t.Errorf("%s: %q", p, got)
		}
	}
	for _, other := range []PhoneNumber{"13800138001", "113800138000", "+113800138000"} {
		if other.Canonical() == "13800138000" {
			t.Errorf("%s is taken for another number", other)
		}
	}
}
