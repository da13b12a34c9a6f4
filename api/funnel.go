package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"waihu"
	"waihu/store"
)

func (s *server) funnelRoutes() []route {
	return []route{
		{"GET", Prefix + "tasks/{task}/funnel", s.funnel, false, operation{ID: "taskFunnel", Tag: "tasks", Summary: "Why numbers of a task were not called, or are not being called now",
			Text: "From gauges: no row is counted. Suppressed and invalid numbers are those that were met when their turn came; how many there are among fresh ones nobody knows before.", Answer: funnel{}}},
		{"GET", Prefix + "tasks/{task}/why", s.why, false, operation{ID: "whyNotCalled", Tag: "tasks", Summary: "Why a number is not being called now, and when it can be",
			Query: []param{{"number", "string", "the phone number, or the key under which it was imported"}}, Answer: whyList{}}},
	}
}

// reason is one thing that keeps a call from being made. The decisive one comes first.
type reason struct {
	Reason string     `json:"reason" doc:"called, in_flight, suppressed, invalid, failed, expired, task_not_started, task_over, window, redial_wait, line_unusable, line_down, cap, disk_full, not_ready or turn"`
	Text   string     `json:"text"`
	Until  *time.Time `json:"until,omitempty" doc:"when it ends by itself; absent: not by itself, or nobody knows"`
}

type funnel struct {
	Task         waihu.TaskID   `json:"task"`
	Total        int            `json:"total" doc:"numbers of the task"`
	Called       int            `json:"called" doc:"numbers with a call behind them: answered and not"`
	Answered     int            `json:"answered"`
	Status       map[string]int `json:"status" doc:"numbers by what they show; none: never called"`
	Fresh        int            `json:"fresh" doc:"never called since import or reset"`
	InFlight     int            `json:"in_flight"`
	RedialWait   int            `json:"redial_wait" doc:"called, and to be called again"`
	Done         int            `json:"done"`
	Suppressed   int            `json:"suppressed" doc:"not called because the number must not be"`
	Invalid      int            `json:"invalid" doc:"not called because something was missing"`
	Failed       int            `json:"failed" doc:"given up after faults on the way"`
	Holding      []reason       `json:"holding" doc:"what keeps the waiting numbers from being called now; empty: nothing waits"`
	NextEligible *time.Time     `json:"next_eligible,omitempty" doc:"when the next waiting number can be called; absent: not by itself"`
}

type whyList struct {
	Numbers []whyNumber `json:"numbers" doc:"several when keys carry a suffix"`
}

type whyNumber struct {
	Seq          int64      `json:"seq"`
	Key          string     `json:"key"`
	State        string     `json:"state" doc:"fresh, in_flight, due or done"`
	Status       string     `json:"status" doc:"what it shows"`
	Attempts     int        `json:"attempts"`
	Redials      int        `json:"redials"`
	Reasons      []reason   `json:"reasons"`
	NextEligible *time.Time `json:"next_eligible,omitempty" doc:"when it can be called; absent: not by itself"`
}

func (s *server) funnel(c *request) (any, error) {
	k, err := c.task()
	if err != nil {
		return nil, err
	}
	st, err := s.Store.Standing(c.ctx, c.acts.ID, k.ID)
	if err != nil {
		return nil, err
	}
	n := &st.Counts
	f := funnel{Task: st.Task.ID, Status: map[string]int{}, Fresh: n.State[waihu.NumberFresh], InFlight: n.State[waihu.NumberInFlight], RedialWait: n.State[waihu.NumberDue],
		Done: n.State[waihu.NumberDone], Suppressed: n.Status[waihu.Blacklisted], Invalid: n.Status[waihu.Invalid], Failed: n.Status[waihu.Failed], Called: n.Answered + n.NotAnswered, Answered: n.Answered, Holding: []reason{}}
	f.Total = f.Fresh + f.InFlight + f.RedialWait + f.Done
	for d, count := range n.Status {
		if count > 0 {
			f.Status[d.String()] = count
		}
	}
	if f.Fresh+f.RedialWait == 0 {
		return f, nil
	}
	from := s.Now()
	w := s.waiting(c.ctx, &st)
	if f.Fresh == 0 && st.NextDue.After(from) {
		from = st.NextDue
		w.add("redial_wait", "all numbers that are left wait for their redial", from)
	}
	f.Holding, f.NextEligible = w.reasons(from)
	return f, nil
}

func (s *server) why(c *request) (any, error) {
	k, err := c.task()
	if err != nil {
		return nil, err
	}
	task := k.ID
	st, err := s.Store.Standing(c.ctx, c.acts.ID, task)
	if err != nil {
		return nil, err
	}
	number := c.r.URL.Query().Get("number")
	if number == "" {
		return nil, waihu.FieldErrorf("number", "a phone number or key was expected")
	}
	list, err := s.Store.NumbersByPhone(c.ctx, c.acts.ID, task, number)
	if err != nil {
		return nil, err
	}
	if phone, bad := waihu.ParsePhone(number); bad == nil && len(list) == 0 {
		for _, form := range phone.Forms() { // it may have been imported in another form
			if list, err = s.Store.NumbersByPhone(c.ctx, c.acts.ID, task, string(form)); err != nil || len(list) > 0 {
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, waihu.Errorf(waihu.ENotFound, "the task has no such number")
	}
	out := whyList{Numbers: make([]whyNumber, len(list))}
	for i := range list {
		if out.Numbers[i], err = s.whyNumber(c, &st, &list[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *server) whyNumber(c *request, st *store.Standing, n *waihu.Number) (whyNumber, error) {
	out := whyNumber{Seq: n.Seq, Key: n.Key, State: stateName(n.State), Status: n.Outcome.String(), Attempts: n.Attempts, Redials: n.Redials}
	switch n.State {
	case waihu.NumberInFlight:
		out.Reasons = []reason{{"in_flight", "it is being called now", nil}}
		return out, nil
	case waihu.NumberDone:
		out.Reasons = []reason{ended(n)}
		return out, nil
	}
	now := s.Now()
	if x, found, err := s.Store.Suppression(c.ctx, st.Task.Account, n.Phone); err != nil {
		return out, err
	} else if found {
		out.Reasons = []reason{{"suppressed", fmt.Sprintf("the number must not be called, since %s (%s)", x.Since.UTC().Format(time.DateOnly), x.Reason), nil}}
		return out, nil
	}
	from := now
	w := s.waiting(c.ctx, st)
	if n.State == waihu.NumberDue && n.DueAt.After(now) {
		from = n.DueAt
		w.add("redial_wait", fmt.Sprintf("it waits for its redial after %d attempts", n.Attempts), from)
	}
	if n.Data.Until > 0 && !from.Before(time.UnixMilli(n.Data.Until)) {
		w.never("expired", "its own last moment has passed")
	}
	out.Reasons, out.NextEligible = w.reasons(from)
	return out, nil
}

// ended says why a number that is done was not called, or that it was.
func ended(n *waihu.Number) reason {
	switch n.Outcome {
	case waihu.Blacklisted:
		return reason{"suppressed", "when its turn came it was on the list of numbers that must not be called", nil}
	case waihu.Invalid:
		return reason{"invalid", "when its turn came something was missing that its agent needs, or its prefix is not allowed", nil}
	case waihu.Failed:
		return reason{"failed", fmt.Sprintf("it was given up after faults on the way, with %d attempts", n.Attempts), nil}
	case waihu.Expired:
		return reason{"expired", "its own last moment passed before its turn came", nil}
	}
	return reason{"called", fmt.Sprintf("it was called %d times and ended as %s", n.Attempts, n.Outcome), nil}
}

// waiting gathers what keeps a task's numbers from being called.
type waiting struct {
	now   time.Time
	task  *waihu.Task
	list  []reason
	stuck bool      // by something that does not end by itself
	from  time.Time // the earliest moment that the parts allow, but for the window
	over  func(at time.Time) (bool, time.Time)
}

func (w *waiting) add(what, text string, until time.Time) {
	w.list = append(w.list, reason{what, text, &until})
	if until.After(w.from) {
		w.from = until
	}
}

func (w *waiting) never(what, text string) {
	w.list = append(w.list, reason{what, text, nil})
	w.stuck = true
}

// soon is a reason that ends by itself, nobody knows when.
func (w *waiting) soon(what, text string) { w.list = append(w.list, reason{what, text, nil}) }

// waiting looks at everything but the number itself and the calling hours.
func (s *server) waiting(ctx context.Context, st *store.Standing) *waiting {
	now := s.Now()
	t := &st.Task
	w := &waiting{now: now, task: t, from: now, over: func(time.Time) (bool, time.Time) { return true, time.Time{} }}
	if s.Window != nil {
		w.over = func(at time.Time) (bool, time.Time) { return s.Window(t, at) }
	}
	switch {
	case !t.Stop.IsZero() && !now.Before(t.Stop):
		w.never("task_over", "the task's last moment has passed")
	case !t.Started && st.Run.N == 0:
		w.never("task_not_started", "the task has not been started")
	case !t.Started:
		text := fmt.Sprintf("the task is stopped (%s)", st.Run.Reason)
		if st.Run.Detail != "" {
			text += ": " + st.Run.Detail
		}
		w.never("task_not_started", text)
	}
	if s.NotReady != nil {
		if s.Store.Full() {
			w.soon("disk_full", "the disk is nearly full: nothing new is dialled until there is room")
		} else if why := s.NotReady(ctx); why != "" {
			w.soon("not_ready", "nothing new is dialled at the moment") // why is the operator's
		}
	}
	w.lines(s, st)
	if t.Concurrency > 0 && st.Live >= t.Concurrency {
		w.soon("cap", fmt.Sprintf("the task has %d calls in progress, as many as it may", st.Live))
	}
	return w
}

// lines judges the lines together: one that can take a call is enough.
func (w *waiting) lines(s *server, st *store.Standing) {
	var states map[waihu.LineID]waihu.LineState
	if s.Lines != nil {
		states = s.Lines()
	}
	usable, up, free := 0, 0, 0
	var back time.Time // the first line that pauses and comes back
	for i := range st.Lines {
		l := &st.Lines[i]
		if !l.Line.Usable(w.now) {
			continue
		}
		usable++
		state, carried := states[l.Line.ID]
		if s.Lines != nil && (!carried || state.Down != "") {
			continue
		}
		if w.now.Before(state.NotBefore) {
			if back.IsZero() || state.NotBefore.Before(back) {
				back = state.NotBefore
			}
			continue
		}
		up++
		if l.Live < l.Line.Concurrency && (l.Cap == 0 || l.Own < l.Cap) {
			free++
		}
	}
	switch {
	case usable == 0:
		w.never("line_unusable", "the task has no line that could be used: none there, expired or without concurrency")
	case up == 0 && !back.IsZero():
		w.add("line_down", "the lines were asked to pause", back)
	case up == 0:
		w.soon("line_down", "no line takes calls at the moment")
	case free == 0:
		w.soon("cap", "the lines have as many calls in progress as they, or the task on them, may")
	}
}

// reasons are what was found, with the calling hours, and when a number that could go at from can be called.
func (w *waiting) reasons(from time.Time) ([]reason, *time.Time) {
	if w.from.After(from) {
		from = w.from
	}
	open, next := w.over(w.now)
	if !open {
		r := reason{"window", "it is outside the task's calling hours", nil}
		if !next.IsZero() {
			r.Until = &next
		} else {
			r.Text = "the task's calling hours never come again"
			w.stuck = true
		}
		w.list = append(w.list, r)
	}
	if len(w.list) == 0 {
		return []reason{{"turn", "nothing keeps it: it is called when its turn comes", nil}}, &w.now
	}
	slices.SortStableFunc(w.list, func(a, b reason) int { return weight(a) - weight(b) })
	if w.stuck {
		return w.list, nil
	}
	if open, next := w.over(from); !open {
		if next.IsZero() {
			return w.list, nil
		}
		from = next
	}
	return w.list, &from
}

// weight puts what does not end by itself first, then what ends at a known time, the latest first among nobody's.
func weight(r reason) int {
	switch r.Reason {
	case "task_over", "task_not_started", "line_unusable", "expired":
		return 0
	case "disk_full", "not_ready":
		return 1
	case "window":
		return 2
	case "redial_wait":
		return 3
	case "line_down":
		return 4
	}
	return 5
}
