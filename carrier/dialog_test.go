package carrier

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCallersRequests: what a caller may ask within a call, and what the carrier says when it asks wrongly.
func TestCallersRequests(t *testing.T) {
	t.Parallel()
	hold := func(s string) string { return strings.Replace(s, "a=sendrecv", "a=sendonly", 1) }
	for _, tc := range []struct {
		name     string
		statuses []int // of INVITEs
		mid      func(*phone)
		check    func(tell, *phone, Record)
		rules    []string
	}{
		{"the same offer again", []int{100, 180, 200, 200}, func(p *phone) { p.inDialog("INVITE", p.sdp()) }, version("1"), nil},
		{"hold", []int{100, 180, 200, 200}, func(p *phone) {
			p.sessionVersion++
			p.inDialog("INVITE", hold(p.sdp()))
		}, func(t tell, p *phone, r Record) {
			version("2")(t, p, r)
			if !strings.Contains(p.dialogs[p.okTag].sdp, "a=recvonly") {
				t.Errorf("hold was answered %q", p.dialogs[p.okTag].sdp)
			}
			if quiet := time.Since(p.seen.last); quiet < time.Second {
				t.Errorf("the callee went on sending: its last packet came %v before the end", quiet)
			}
		}, nil},
		{"changed offer, same version", []int{100, 180, 200, 200}, func(p *phone) { p.inDialog("INVITE", hold(p.sdp())) }, nil, []string{"reoffer"}},
		{"refresh by UPDATE", []int{100, 180, 200}, func(p *phone) {
			p.inDialog("UPDATE", "", "Session-Expires: 90;refresher=uac", "Supported: timer")
		}, nil, nil},
		{"digits by INFO", []int{100, 180, 200}, func(p *phone) {
			p.inDialog("INFO", "5", "Content-Type: application/dtmf")
			p.inDialog("INFO", "Signal=#\r\nDuration=160\r\n", "Content-Type: application/dtmf-relay")
		}, func(t tell, _ *phone, r Record) {
			if r.Digits != "5#" {
				t.Errorf("digits %q, want 5#", r.Digits)
			}
		}, nil},
		{"INFO without a digit", []int{100, 180, 200}, func(p *phone) {
			p.inDialog("INFO", "Signal=what", "Content-Type: application/dtmf-relay")
		}, nil, []string{"info-dtmf"}},
		{"OPTIONS and an unknown method", []int{100, 180, 200}, func(p *phone) {
			p.inDialog("OPTIONS", "")
			p.inDialog("PUBLISH", "")
		}, nil, nil},
		{"PRACK of nothing", []int{100, 180, 200}, func(p *phone) { p.inDialog("PRACK", "", "RAck: 1 1 INVITE") }, nil, []string{"prack-repeated"}},
		{"CANCEL of an answered call", []int{100, 180, 200}, func(p *phone) {
			p.write(p.compose("CANCEL", p.inviteURI, p.inviteBranch, p.inviteCSeq, "", nil, nil, ""))
		}, nil, []string{"cancel-late"}},
		{"a pause above the limit", []int{100, 180, 200}, func(p *phone) {}, nil, []string{"rtp-gap"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := start(t, func(o *Options) {
				o.T1 = defaultT1 // with a shorter one a busy machine makes repetitions
				if slices.Contains(tc.rules, "rtp-gap") {
					o.MaxGap = 400 * time.Millisecond
				}
			})
			judgeCalls(t, c, 1, func(int) *phone {
				p := newPhone(t, c, "+9990000033")
				p.midCall, p.byeAfter = tc.mid, 2*time.Second
				if p.mangle = dropSecondType; len(tc.rules) > 0 && tc.rules[0] == "rtp-gap" {
					p.wrong = "rtp-gap"
				}
				return p
			}, func(v tell, _ int, p *phone, r Record) {
				if !slices.Equal(p.statuses, tc.statuses) {
					v.Errorf("statuses %v, want %v", p.statuses, tc.statuses)
				}
				if p.byeStatus != 200 {
					v.Errorf("BYE was answered %d", p.byeStatus)
				}
				if rules := rulesOf(c, p); !slices.Equal(rules, tc.rules) {
					v.Errorf("findings %v, want %v", c.Findings(), tc.rules)
				}
				if tc.check != nil {
					tc.check(v, p, r)
				}
			})[0].report(t)
		})
	}
}

// rulesOf are the rules that a phone broke by the carrier's judgement, oldest first.
func rulesOf(c *Carrier, p *phone) (rules []string) {
	for _, f := range c.Findings() {
		if f.Call == p.callID {
			rules = append(rules, f.Rule)
		}
	}
	return rules
}

// dropSecondType: compose adds the type of a description to every body; a body of another type has its own.
func dropSecondType(_, raw string) string {
	if strings.Contains(raw, "application/dtmf") {
		return strings.Replace(raw, "Content-Type: application/sdp\r\n", "", 1)
	}
	return raw
}

// version expects this o= version in the carrier's last description.
func version(v string) func(tell, *phone, Record) {
	return func(t tell, p *phone, _ Record) {
		if f := strings.Fields(p.dialogs[p.okTag].sdp); f[3] != v {
			t.Errorf("the carrier's description has version %s, want %s", f[3], v)
		}
	}
}
