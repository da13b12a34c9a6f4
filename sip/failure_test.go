package sip

import (
	"testing"
	"time"

	"waihu"
)

// The table of dispositions, one row each: reference to carriers' habits is in failure.go.
func TestClassify(t *testing.T) {
	t.Parallel()
	q := func(causes ...int) (rs []Reason) {
		for _, c := range causes {
			rs = append(rs, Q850(c, ""))
		}
		return rs
	}
	const s = time.Second
	for _, c := range []struct {
		name  string
		signs Signs
		want  waihu.Disposition
		fault Fault
	}{
		{"403 at once", Signs{Status: 403, Elapsed: s}, waihu.Intercepted, FaultCallee},
		{"403 after an announcement, never rang", Signs{Status: 403, Elapsed: 9 * s}, waihu.Intercepted, FaultCallee},
		{"403 after ringing", Signs{Status: 403, Ring: 4 * s, Elapsed: 6 * s}, waihu.Rejected, FaultCallee},
		{"403 to credentials never accepted", Signs{Status: 403, Elapsed: s, Stranger: true}, waihu.OurFault, FaultOurs},
		{"403 with 55", Signs{Status: 403, Reasons: q(55)}, waihu.Barred, FaultCallee},
		{"403 with 29", Signs{Status: 403, Reasons: q(29)}, waihu.Barred, FaultCallee},
		{"503 at once", Signs{Status: 503, Elapsed: s}, waihu.Intercepted, FaultCallee},
		{"503 with Retry-After", Signs{Status: 503, Elapsed: s, RetryAfter: 5 * s}, waihu.CarrierFault, FaultCarrier},
		{"503 late", Signs{Status: 503, Elapsed: 5 * s}, waihu.CarrierFault, FaultCarrier},
		{"503 after ringing", Signs{Status: 503, Ring: s, Elapsed: s}, waihu.CarrierFault, FaultCarrier},
		{"603 at once", Signs{Status: 603, Elapsed: s}, waihu.Intercepted, FaultCallee},
		{"603 after ringing", Signs{Status: 603, Ring: 6 * s, Elapsed: 7 * s}, waihu.Rejected, FaultCallee},
		{"607 at once", Signs{Status: 607, Elapsed: s}, waihu.Intercepted, FaultCallee},
		{"607 after ringing", Signs{Status: 607, Ring: s, Elapsed: 3 * s}, waihu.Blocked, FaultCallee},
		{"608", Signs{Status: 608, Ring: 5 * s, Elapsed: 9 * s}, waihu.Intercepted, FaultCallee},
		{"21 without ringing", Signs{Status: 480, Reasons: q(21)}, waihu.Intercepted, FaultCallee},
		{"21 after ringing", Signs{Status: 480, Ring: s, Reasons: q(21)}, waihu.Rejected, FaultCallee},
		{"57", Signs{Status: 500, Reasons: q(57)}, waihu.Intercepted, FaultCallee},
		{"63", Signs{Status: 503, Elapsed: 9 * s, Reasons: q(63)}, waihu.Intercepted, FaultCallee},
		{"486", Signs{Status: 486, Elapsed: s}, waihu.Busy, FaultCallee},
		{"486 after ringing", Signs{Status: 486, Ring: 5 * s, Elapsed: 6 * s}, waihu.Rejected, FaultCallee},
		{"486 after ringing, truly busy", Signs{Status: 486, Ring: 5 * s, Reasons: q(17)}, waihu.Busy, FaultCallee},
		{"600", Signs{Status: 600}, waihu.Busy, FaultCallee},
		{"408", Signs{Status: 408}, waihu.NoAnswer, FaultCallee},
		{"480 after ringing", Signs{Status: 480, Ring: 20 * s, Elapsed: 22 * s}, waihu.NoAnswer, FaultCallee},
		{"480 without ringing", Signs{Status: 480, Elapsed: s}, waihu.Unreachable, FaultCallee},
		{"480 with 18", Signs{Status: 480, Reasons: q(18)}, waihu.NoAnswer, FaultCallee},
		{"480 with 19", Signs{Status: 480, Reasons: q(19)}, waihu.NoAnswer, FaultCallee},
		{"480 with 20, never rang", Signs{Status: 480, Elapsed: 12 * s, Reasons: q(20)}, waihu.PoweredOff, FaultCallee},
		{"480 with 20, rang", Signs{Status: 480, Ring: s, Reasons: q(20)}, waihu.Unreachable, FaultCallee},
		{"480 with 27", Signs{Status: 480, Reasons: q(27)}, waihu.Unreachable, FaultCallee},
		{"our timeout, 487", Signs{Status: 487, GaveUp: true, Reasons: q(16)}, waihu.NoAnswer, FaultCallee},
		{"our timeout, nothing", Signs{GaveUp: true}, waihu.NoAnswer, FaultCallee},
		{"our timeout, 200 crossed", Signs{Status: 200, GaveUp: true}, waihu.NoAnswer, FaultCallee},
		{"our timeout, busy crossed", Signs{Status: 486, GaveUp: true}, waihu.Busy, FaultCallee},
		{"487 of the carrier", Signs{Status: 487}, waihu.NoAnswer, FaultCallee},
		{"404", Signs{Status: 404, Elapsed: 20 * s}, waihu.Vacant, FaultCallee},
		{"410", Signs{Status: 410}, waihu.Vacant, FaultCallee},
		{"484", Signs{Status: 484}, waihu.Vacant, FaultCallee},
		{"485", Signs{Status: 485}, waihu.Vacant, FaultCallee},
		{"604", Signs{Status: 604}, waihu.Vacant, FaultCallee},
		{"1", Signs{Status: 500, Reasons: q(1)}, waihu.Vacant, FaultCallee},
		{"22", Signs{Status: 480, Reasons: q(22)}, waihu.Vacant, FaultCallee},
		{"28", Signs{Status: 480, Reasons: q(28)}, waihu.Vacant, FaultCallee},
		{"402", Signs{Status: 402}, waihu.Arrears, FaultCallee},
		{"16 says nothing", Signs{Status: 404, Reasons: q(16)}, waihu.Vacant, FaultCallee},
		{"first telling cause", Signs{Status: 480, Reasons: q(16, 17)}, waihu.Busy, FaultCallee},
		{"SIP reason", Signs{Status: 500, Reasons: []Reason{{"SIP", 486, ""}}}, waihu.Busy, FaultCallee},
		{"SIP reason 200 says nothing", Signs{Status: 486, Reasons: []Reason{{"SIP", 200, ""}}}, waihu.Busy, FaultCallee},
		{"Q.850 before SIP", Signs{Status: 500, Reasons: append([]Reason{{"SIP", 486, ""}}, q(1)...)}, waihu.Vacant, FaultCallee},
		{"500", Signs{Status: 500}, waihu.CarrierFault, FaultCarrier},
		{"502", Signs{Status: 502}, waihu.CarrierFault, FaultCarrier},
		{"504", Signs{Status: 504}, waihu.CarrierFault, FaultCarrier},
		{"580", Signs{Status: 580}, waihu.CarrierFault, FaultCarrier},
		{"302", Signs{Status: 302}, waihu.CarrierFault, FaultCarrier},
		{"silence", Signs{}, waihu.CarrierFault, FaultCarrier},
		{"34", Signs{Status: 480, Reasons: q(34)}, waihu.CarrierFault, FaultCarrier},
		{"38", Signs{Status: 480, Reasons: q(38)}, waihu.CarrierFault, FaultCarrier},
		{"41", Signs{Status: 480, Reasons: q(41)}, waihu.CarrierFault, FaultCarrier},
		{"42", Signs{Status: 480, Reasons: q(42)}, waihu.CarrierFault, FaultCarrier},
		{"44", Signs{Status: 480, Reasons: q(44)}, waihu.CarrierFault, FaultCarrier},
		{"47", Signs{Status: 480, Reasons: q(47)}, waihu.CarrierFault, FaultCarrier},
		{"401", Signs{Status: 401}, waihu.OurFault, FaultOurs},
		{"407", Signs{Status: 407}, waihu.OurFault, FaultOurs},
		{"488", Signs{Status: 488}, waihu.OurFault, FaultOurs},
		{"415", Signs{Status: 415}, waihu.OurFault, FaultOurs},
		{"482", Signs{Status: 482}, waihu.OurFault, FaultOurs},
		{"483", Signs{Status: 483}, waihu.OurFault, FaultOurs},
		{"606", Signs{Status: 606}, waihu.OurFault, FaultOurs},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.signs.Sent = true
			if d, f := Classify(c.signs); d != c.want || f != c.fault {
				t.Errorf("%+v: %v, %v; want %v, %v", c.signs, d, f, c.want, c.fault)
			}
		})
	}
	if d, f := Classify(Signs{}); d != waihu.OurFault || f != FaultOurs {
		t.Errorf("no address: %v %v", d, f)
	}
	if d, _ := Classify(Signs{GaveUp: true}); d != waihu.NeverLeft {
		t.Errorf("given up before it left: %v", d)
	}
}
