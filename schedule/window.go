package schedule

import (
	"slices"
	"time"

	"waihu"
)

// Window is the times at which a task may start calls, compiled from its row:
// start and stop, the weekly hours in the task's zone, the holidays. It fails
// closed: a task without any weekly span is never open. Values are immutable.
type Window struct {
	start, stop time.Time
	weekly      waihu.Weekly
	holidays    []waihu.Period
	loc         *time.Location
}

// NewWindow compiles the window of a task.
func NewWindow(t *waihu.Task) Window {
	return Window{start: t.Start, stop: t.Stop, weekly: t.Weekly, holidays: t.Holidays, loc: t.Location()}
}

// Open is NewWindow(t).Open(now), for callers that ask once.
func Open(t *waihu.Task, now time.Time) (open bool, next time.Time) {
	return NewWindow(t).Open(now)
}

// Open says whether calls may start at now and when that answer changes next;
// the zero time means never.
func (w Window) Open(now time.Time) (open bool, next time.Time) {
	if !w.openAt(now) {
		return false, w.Next(now)
	}
	end := w.stop // zero: no bound
	earlier := func(t time.Time) {
		if !t.IsZero() && (end.IsZero() || t.Before(end)) {
			end = t
		}
	}
	for _, h := range w.holidays {
		if h.From.After(now) && h.To.After(h.From) {
			earlier(h.From)
		}
	}
	earlier(w.flip(now))
	return true, end
}

// Next is the first instant at or after from at which calls may start; zero means never.
func (w Window) Next(from time.Time) time.Time {
	t := from
	// Every turn leaves one holiday, the time before start, or one closed stretch behind it; a
	// closed stretch is followed by a holiday or by the answer. So the turns are bounded.
	for range 2*len(w.holidays) + 3 {
		if t.Before(w.start) {
			t = w.start
		}
		if w.over(t) {
			return time.Time{}
		}
		if h, in := w.holiday(t); in {
			t = h.To
			continue
		}
		if w.hoursAt(t) {
			return t
		}
		if t = w.flip(t); t.IsZero() {
			return time.Time{}
		}
	}
	return time.Time{} // closed is the safe answer
}

// Over says that the stop time has come: the task never opens again.
func (w Window) Over(now time.Time) bool { return w.over(now) }

func (w Window) over(t time.Time) bool { return !w.stop.IsZero() && !t.Before(w.stop) }

func (w Window) openAt(t time.Time) bool {
	if t.Before(w.start) || w.over(t) {
		return false
	}
	if _, in := w.holiday(t); in {
		return false
	}
	return w.hoursAt(t)
}

func (w Window) holiday(t time.Time) (waihu.Period, bool) {
	for _, h := range w.holidays {
		if !t.Before(h.From) && t.Before(h.To) {
			return h, true
		}
	}
	return waihu.Period{}, false
}

// hoursAt reads the wall clock of the zone: an hour that a clock change repeats is open twice,
// one that it skips never comes.
func (w Window) hoursAt(t time.Time) bool {
	local := t.In(w.loc)
	m := local.Hour()*60 + local.Minute()
	for _, s := range w.weekly[local.Weekday()] {
		if s.From <= m && m < s.To {
			return true
		}
	}
	return false
}

// flipDays is how far flip looks: two weeks, because a clock change may swallow the only
// span of one week, and a day more for zones that change at midnight.
const flipDays = 16

// flip is the first instant after t at which the weekly hours alone change their answer; zero when
// they never do. The answer can only change where the wall clock passes the edge of a span, under any
// offset in force around that day, or where the offset itself changes.
func (w Window) flip(t time.Time) time.Time {
	now := w.hoursAt(t)
	local := t.In(w.loc)
	var edges []time.Time
	for d := -1; d <= flipDays; d++ {
		midnight := time.Date(local.Year(), local.Month(), local.Day()+d, 0, 0, 0, 0, time.UTC)
		var offsets [2]int
		_, offsets[0] = midnight.Add(-14 * time.Hour).In(w.loc).Zone() // offsets reach from -12 h to +14 h
		_, offsets[1] = midnight.Add(38 * time.Hour).In(w.loc).Zone()
		for i, off := range offsets {
			if i == 1 && off == offsets[0] {
				break
			}
			base := midnight.Add(-time.Duration(off) * time.Second)
			for _, s := range w.weekly[midnight.Weekday()] {
				edges = append(edges, base.Add(time.Duration(s.From)*time.Minute), base.Add(time.Duration(s.To)*time.Minute))
			}
			edges = append(edges, base) // a day may end open and the next begin closed
		}
	}
	for at := local; ; {
		_, change := at.ZoneBounds()
		if change.IsZero() || change.After(t.AddDate(0, 0, flipDays)) {
			break
		}
		edges = append(edges, change)
		at = change.In(w.loc)
	}
	slices.SortFunc(edges, time.Time.Compare)
	for _, e := range edges {
		if e.After(t) && w.hoursAt(e) != now {
			return e.In(w.loc)
		}
	}
	return time.Time{}
}
