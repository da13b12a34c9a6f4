package schedule

import (
	"testing"
	"time"

	"waihu"
)

func TestAfter(t *testing.T) {
	t.Parallel()
	const cn = "Asia/Shanghai"
	end := at(t, cn, "2025-01-06 10:07:30")
	fixed := waihu.Redial{Max: 3, Interval: 20 * time.Minute, On: []waihu.Disposition{waihu.NoAnswer, waihu.Busy, waihu.Blacklisted, waihu.CarrierFault}}
	rule := waihu.Redial{Max: 2, ByRule: []waihu.RedialDetail{{On: waihu.PoweredOff, After: 0}, {On: waihu.NoAnswer, After: time.Hour}}}
	clock := waihu.Redial{AtClock: []waihu.ClockRedial{
		{At: hm(13, 30), Wait: 10 * time.Minute, On: []waihu.Disposition{waihu.NoAnswer}},
		{At: hm(10, 10), Wait: 30 * time.Minute, On: []waihu.Disposition{waihu.Busy}}}}
	due := func(d time.Duration, redial bool, status waihu.Disposition) Next {
		return Next{State: waihu.NumberDue, Due: end.Add(d), Redial: redial, Status: status}
	}
	dueAt := func(s string, status waihu.Disposition) Next {
		return Next{State: waihu.NumberDue, Due: at(t, cn, s), Redial: true, Status: status}
	}
	done := func(d waihu.Disposition) Next { return Next{State: waihu.NumberDone, Status: d} }

	for _, c := range []struct {
		name    string
		redial  waihu.Redial
		unknown waihu.UnknownPolicy
		end     End
		want    Next
	}{
		{name: "no redial", end: End{Outcome: waihu.NoAnswer}, want: done(waihu.NoAnswer)},
		{name: "answered", redial: fixed, end: End{Outcome: waihu.Answered}, want: done(waihu.Answered)},
		{name: "fixed, listed", redial: fixed, end: End{Outcome: waihu.NoAnswer}, want: due(20*time.Minute, true, waihu.NoAnswer)},
		{name: "fixed, not listed", redial: fixed, end: End{Outcome: waihu.Vacant}, want: done(waihu.Vacant)},
		{name: "fixed, last one", redial: fixed, end: End{Outcome: waihu.Busy, Redials: 2, Attempt: 3}, want: due(20*time.Minute, true, waihu.Busy)},
		{name: "fixed, spent: three redials are four dials", redial: fixed, end: End{Outcome: waihu.Busy, Redials: 3, Attempt: 4}, want: done(waihu.Busy)},
		{name: "attempts of before a reset do not count", redial: fixed, end: End{Outcome: waihu.Busy, Redials: 0, Attempt: 9}, want: due(20*time.Minute, true, waihu.Busy)},
		{name: "fixed, no interval", redial: waihu.Redial{Max: 1, On: []waihu.Disposition{waihu.Busy}}, end: End{Outcome: waihu.Busy}, want: due(0, true, waihu.Busy)},
		{name: "fixed, nothing listed", redial: waihu.Redial{Max: 1}, end: End{Outcome: waihu.Busy}, want: done(waihu.Busy)},
		{name: "blacklisted although listed", redial: fixed, end: End{Outcome: waihu.Blacklisted}, want: done(waihu.Blacklisted)},
		{name: "opted out although listed", redial: fixed, end: End{Outcome: waihu.NoAnswer, OptOut: true}, want: done(waihu.NoAnswer)},
		{name: "opted out on a fault", redial: fixed, end: End{Outcome: waihu.OurFault, OptOut: true}, want: done(waihu.OurFault)},
		{name: "invalid", redial: fixed, end: End{Outcome: waihu.Invalid}, want: done(waihu.Invalid)},
		{name: "by rule", redial: rule, end: End{Outcome: waihu.NoAnswer, Redials: 1}, want: due(time.Hour, true, waihu.NoAnswer)},
		{name: "by rule, at once", redial: rule, end: End{Outcome: waihu.PoweredOff}, want: due(0, true, waihu.PoweredOff)},
		{name: "by rule, no row", redial: rule, end: End{Outcome: waihu.Busy}, want: done(waihu.Busy)},
		{name: "by rule, spent", redial: rule, end: End{Outcome: waihu.NoAnswer, Redials: 2}, want: done(waihu.NoAnswer)},
		{name: "clock, first entry", redial: clock, end: End{Outcome: waihu.NoAnswer}, want: dueAt("2025-01-06 13:30:00", waihu.NoAnswer)},
		{name: "clock, first entry has other outcomes", redial: clock, end: End{Outcome: waihu.Busy}, want: done(waihu.Busy)},
		{name: "clock, second entry: today's time comes before the wait is over", redial: clock, end: End{Outcome: waihu.Busy, Redials: 1}, want: dueAt("2025-01-07 10:10:00", waihu.Busy)},
		{name: "clock, spent", redial: clock, end: End{Outcome: waihu.Busy, Redials: 2}, want: done(waihu.Busy)},
		{name: "first fault", redial: fixed, end: End{Outcome: waihu.CarrierFault}, want: due(time.Minute, false, waihu.CarrierFault)},
		{name: "second fault", end: End{Outcome: waihu.OurFault, Faults: 1}, want: due(5*time.Minute, false, waihu.OurFault)},
		{name: "third fault", end: End{Outcome: waihu.OurFault, Faults: 2}, want: due(15*time.Minute, false, waihu.OurFault)},
		{name: "failed after the third return", redial: fixed, end: End{Outcome: waihu.CarrierFault, Faults: 3}, want: done(waihu.Failed)},
		{name: "a fault comes back although redials are spent", redial: fixed, end: End{Outcome: waihu.CarrierFault, Redials: 3}, want: due(time.Minute, false, waihu.CarrierFault)},
		{name: "unknown ends", redial: fixed, end: End{Outcome: waihu.Unknown}, want: done(waihu.Unknown)},
		{name: "unknown comes back", redial: fixed, unknown: waihu.UnknownRedial, end: End{Outcome: waihu.Unknown}, want: due(20*time.Minute, true, waihu.Unknown)},
		{name: "unknown comes back once without any redial, not at once", unknown: waihu.UnknownRedial, end: End{Outcome: waihu.Unknown}, want: due(time.Minute, true, waihu.Unknown)},
		{name: "unknown twice without any redial", unknown: waihu.UnknownRedial, end: End{Outcome: waihu.Unknown, Redials: 1}, want: done(waihu.Unknown)},
		{name: "unknown, spent", redial: fixed, unknown: waihu.UnknownRedial, end: End{Outcome: waihu.Unknown, Redials: 3}, want: done(waihu.Unknown)},
		{name: "never left, first dial", redial: fixed, end: End{Outcome: waihu.NeverLeft, Attempt: 1}, want: Next{State: waihu.NumberFresh, Undo: true}},
		{name: "never left, a redial", redial: fixed, end: End{Outcome: waihu.NeverLeft, Attempt: 2, Redials: 1}, want: Next{State: waihu.NumberDue, Due: end, Undo: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			task := waihu.Task{Zone: cn, Redial: c.redial, Unknown: c.unknown}
			c.end.At = end
			got := After(&task, c.end)
			if got.State != c.want.State || !got.Due.Equal(c.want.Due) || got.Redial != c.want.Redial || got.Undo != c.want.Undo || got.Status != c.want.Status {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestNextClock(t *testing.T) {
	t.Parallel()
	const ny = "America/New_York"
	for _, c := range []struct {
		name, from string
		minute     int
		want       string
	}{
		{"later today", "2025-01-06 09:00:00", hm(10, 0), "2025-01-06 10:00:00"},
		{"this very minute", "2025-01-06 10:00:00", hm(10, 0), "2025-01-06 10:00:00"},
		{"a second too late", "2025-01-06 10:00:01", hm(10, 0), "2025-01-07 10:00:00"},
		{"over the end of the year", "2025-12-31 23:00:00", 0, "2026-01-01 00:00:00"},
		{"no clock is named", "2025-01-06 10:00:01", -1, "2025-01-06 10:00:01"},
		{"the day has 23 hours", "2025-03-08 11:00:00", hm(10, 0), "2025-03-09 10:00:00"},
		{"the day has 25 hours", "2025-11-01 11:00:00", hm(10, 0), "2025-11-02 10:00:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := nextClock(waihu.Location(ny), at(t, ny, c.from), c.minute); !got.Equal(at(t, ny, c.want)) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
