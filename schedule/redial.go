package schedule

import (
	"slices"
	"time"

	"waihu"
)

// faultWaits are the pauses after a fault on the way, one for each time a number may come back:
// the dial that follows the last of them ends the number when it fails too.
var faultWaits = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

// End is what is known of a number when one of its calls has ended.
type End struct {
	Outcome waihu.Disposition
	At      time.Time // end of the call: intervals count from here
	Attempt int       // which dial of the number it was, from 1
	Redials int       // redials spent before this end
	Faults  int       // times it came back from a fault before
	OptOut  bool      // the callee wants no more calls
}

// Next is what becomes of the number.
type Next struct {
	State  waihu.NumberState
	Due    time.Time         // with NumberDue: not before this and not outside the window
	Redial bool              // coming back spends one redial
	Undo   bool              // the attempt never was
	Status waihu.Disposition // what the number shows
}

// After decides what becomes of a number whose call has ended. It is a pure function of the task's rules.
func After(t *waihu.Task, e End) Next {
	done := Next{State: waihu.NumberDone, Status: e.Outcome}
	switch {
	case e.Outcome == waihu.NeverLeft:
		if e.Attempt > 1 {
			return Next{State: waihu.NumberDue, Due: e.At, Undo: true}
		}
		return Next{State: waihu.NumberFresh, Undo: true}
	case e.OptOut, e.Outcome == waihu.Blacklisted, e.Outcome == waihu.Invalid, e.Outcome == waihu.Failed, e.Outcome == waihu.Expired:
		return done // never dialled again, whatever the rules list
	case e.Outcome.Fault():
		if e.Faults >= len(faultWaits) {
			return Next{State: waihu.NumberDone, Status: waihu.Failed}
		}
		return Next{State: waihu.NumberDue, Due: e.At.Add(faultWaits[e.Faults]), Status: e.Outcome}
	}
	due, ok := redialAt(t, e)
	if !ok {
		return done
	}
	return Next{State: waihu.NumberDue, Due: due, Redial: true, Status: e.Outcome}
}

// redialAt applies the one form of redial that the task has.
func redialAt(t *waihu.Task, e End) (time.Time, bool) {
	r := &t.Redial
	if e.Outcome == waihu.Unknown {
		return unknownAt(t, e)
	}
	switch {
	case len(r.AtClock) > 0:
		if e.Redials >= len(r.AtClock) {
			return time.Time{}, false
		}
		c := r.AtClock[e.Redials]
		return nextClock(t.Location(), e.At.Add(c.Wait), c.At), slices.Contains(c.On, e.Outcome)
	case e.Redials >= r.Max:
		return time.Time{}, false
	case len(r.ByRule) > 0:
		i := slices.IndexFunc(r.ByRule, func(d waihu.RedialDetail) bool { return d.On == e.Outcome })
		if i < 0 {
			return time.Time{}, false
		}
		return e.At.Add(r.ByRule[i].After), true
	default:
		return e.At.Add(r.Interval), slices.Contains(r.On, e.Outcome)
	}
}

// unknownAt brings back a number whose call died with us, when the task asks for it: as a redial within the
// allowance, but at least once, since the task said so, and not sooner than a minute, so that a process
// that keeps dying does not ring the same person again and again.
func unknownAt(t *waihu.Task, e End) (time.Time, bool) {
	r := &t.Redial
	allowed := max(r.Max, len(r.AtClock), 1)
	if t.Unknown != waihu.UnknownRedial || e.Redials >= allowed {
		return time.Time{}, false
	}
	return e.At.Add(max(r.Interval, time.Minute)), true
}

// nextClock is the first time at or after t at which a clock in loc shows the minute of the day; t itself for a negative minute.
func nextClock(loc *time.Location, t time.Time, minute int) time.Time {
	if minute < 0 {
		return t
	}
	local := t.In(loc)
	for d := 0; ; d++ {
		at := time.Date(local.Year(), local.Month(), local.Day()+d, 0, minute, 0, 0, loc)
		if !at.Before(t) {
			return at
		}
	}
}
