package voicefox

import (
	"time"

	"waihu"
	"waihu/store"
)

// The vendor's six states of a task.
const (
	statusPending  = "pending"
	statusRunning  = "running"
	statusOperate  = "stop.operate"
	statusTimeout  = "stop.timeout"
	statusAbnormal = "stop.abnormal"
	statusDone     = "done"
)

// standing is what a task's state depends on: its last run, its numbers and its schedule.
type standing struct {
	started bool            // it was started at least once
	refused bool            // it was stopped at this door before it was ever started
	open    bool            // its last run dials or waits
	reason  waihu.RunReason // why its last run closed
	begun   bool            // a call of it was ever begun
	total   int
	left    int  // numbers without a final outcome
	over    bool // its schedule has run out
}

// statusTable is the whole of the transitions: the first line that holds gives the state. So a task goes
//
//	pending → running → done
//	pending, running → stop.operate, stop.timeout, stop.abnormal
//	stop.* → running when it is started again (our extension)
//
// and it is done from the moment its last number has a final outcome, whatever closed the run before: the calls that a stop
// left in progress may be the last. Numbers imported after that make it wait again.
var statusTable = []struct {
	status string
	holds  func(s standing) bool
}{
	{statusDone, func(s standing) bool { return s.started && s.total > 0 && s.left == 0 }},
	{statusRunning, func(s standing) bool { return s.open && s.begun }},
	{statusPending, func(s standing) bool { return s.open }}, // waits for numbers, for startDate, for the first window
	{statusOperate, func(s standing) bool { return s.reason == waihu.RunStopped || s.refused }},
	{statusTimeout, func(s standing) bool { return s.reason == waihu.RunTimeout }},
	{statusAbnormal, func(s standing) bool { return s.reason == waihu.RunAbnormal }},
	{statusTimeout, func(s standing) bool { return s.over }}, // never started, or numbers came after the last was done
	{statusPending, func(standing) bool { return true }},
}

func (s standing) status() string {
	for _, row := range statusTable {
		if row.holds(s) {
			return row.status
		}
	}
	return statusPending // the last row holds always
}

// standingOf reads where a task stands.
func (c *request) standingOf(t *waihu.Task) (standing, store.Counts, error) {
	counts, err := c.s.Store.Counts(c.ctx, t.Account, t.ID)
	if err != nil {
		return standing{}, counts, err
	}
	run, ok, err := c.s.Store.LastRun(c.ctx, t.Account, t.ID)
	if err != nil {
		return standing{}, counts, err
	}
	last := &run
	if !ok {
		last = nil
	}
	return stand(t, last, &counts, c.s.Now()), counts, nil
}

// stand judges it; last is the task's last run, nil before the first.
func stand(t *waihu.Task, last *waihu.Run, counts *store.Counts, now time.Time) standing {
	s := standing{begun: counts.Started > 0, over: !t.Stop.IsZero() && !now.Before(t.Stop)}
	s.left = counts.State[waihu.NumberFresh] + counts.State[waihu.NumberInFlight] + counts.State[waihu.NumberDue]
	s.total = s.left + counts.State[waihu.NumberDone]
	if last != nil {
		s.started, s.open, s.reason = true, last.State == waihu.RunOpen, last.Reason
	} else {
		stopped := keptOf(t).Stopped
		s.refused = stopped != 0 && stopped == t.Serial
	}
	return s
}
