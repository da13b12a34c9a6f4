package voicefox

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"waihu"
)

// taskBody is what a task is made of: the keys of the console, and ours behind.
type taskBody struct {
	Name         string     `json:"name"`
	AssistantVid number     `json:"assistantVid"`
	Category     string     `json:"category"` // assistant is the only one
	Option       optionBody `json:"option"`

	AssistantID number `json:"assistantId"` // ours: its present version, instead of assistantVid
	Remark      string `json:"remark"`      // ours
	Concurrency number `json:"concurrency"` // ours: calls at once; default all that its lines carry
	AutoStart   bool   `json:"autoStart"`   // ours: start it at once; it waits for its numbers
}

type optionBody struct {
	NumberFileMeta map[string]number `json:"numberFileMeta"`
	Numbers        []number          `json:"numbers"`
	StartDate      string            `json:"startDate"`
	StartTime      [][]string        `json:"startTime"`
	RetryCount     number            `json:"retryCount"`
	RetryInterval  number            `json:"retryInterval"`

	// What the console sends beyond the page.
	TaskTimeType string          `json:"taskTimeType"` // onetime: on startDate alone
	Weeks        map[string]bool `json:"weeks"`        // "0" is Sunday
	TaskTransfer *struct {
		Target number `json:"target"`
	} `json:"taskTransfer"`
	SMSOption *smsBody `json:"smsOption"`

	EndDate string `json:"endDate"` // ours: the last day; default none
}

type smsBody struct {
	IsActive   bool   `json:"isActive"`
	SendTiming any    `json:"sendTiming"`
	Signature  number `json:"smsSignatureId"`
	Template   number `json:"smsTemplateId"`
}

// newTask reads a task from the body.
func (c *request) newTask() (t waihu.Task, start bool, err error) {
	var b taskBody
	if err := c.read(&b); err != nil {
		return t, false, err
	}
	t = waihu.Task{Account: c.account.ID, Name: strings.TrimSpace(b.Name), Remark: b.Remark, Zone: c.loc.String(), Pop: waihu.PopInOrder, EndAction: waihu.EndPause}
	switch {
	case t.Name == "":
		return t, false, wrong("name", "a task has a name")
	case utf8.RuneCountInString(t.Name) > maxName:
		return t, false, wrong("name", "at most %d letters were expected", maxName)
	case b.Category != "" && b.Category != "assistant":
		return t, false, wrong("category", "assistant is the only kind of task here")
	case b.Option.TaskTransfer != nil && b.Option.TaskTransfer.Target != 0:
		return t, false, wrong("option.taskTransfer.target", "calls are not transferred here: 0 was expected")
	case b.Option.SMSOption != nil && b.Option.SMSOption.IsActive:
		return t, false, wrong("option.smsOption.isActive", "no short messages are sent here: false was expected")
	}
	for _, f := range []func(*taskBody, *waihu.Task) error{c.readAssistant, c.readNumbers, c.readSchedule, c.readRetry, c.readMeta} {
		if err := f(&b, &t); err != nil {
			return t, false, err
		}
	}
	return t, b.AutoStart, nil
}

// readAssistant pins the version: what is saved later does not change the task.
func (c *request) readAssistant(b *taskBody, t *waihu.Task) error {
	var a waihu.AgentSpec
	var err error
	field := "assistantVid"
	switch {
	case b.AssistantVid != 0:
		a, err = c.s.Store.AgentVersion(c.ctx, c.account.ID, int64(b.AssistantVid))
	case b.AssistantID != 0:
		field = "assistantId"
		a, err = c.s.Store.AgentBySerial(c.ctx, c.account.ID, int64(b.AssistantID))
	default:
		return wrong(field, "the versionId of an assistant was expected")
	}
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return wrong(field, "there is no such assistant in this workspace")
	}
	t.Agent, t.AgentVersion = a.ID, a.VersionID
	return err
}

// readNumbers reads the caller numbers; without them the task calls from every line of the workspace.
func (c *request) readNumbers(b *taskBody, t *waihu.Task) error {
	callers, err := c.s.Store.Callers(c.ctx, c.account.ID, "")
	if err != nil {
		return err
	}
	wanted := map[waihu.LineID]bool{}
	for i, id := range b.Option.Numbers {
		at := slices.IndexFunc(callers, func(n waihu.Caller) bool { return n.ID == int64(id) && n.State == 0 })
		if at < 0 {
			return wrong(fmt.Sprintf("option.numbers[%d]", i), "there is no caller number with the id %d: GET /openapi/numbers lists them", id)
		}
		if !slices.Contains(t.Callers, int64(id)) {
			t.Callers = append(t.Callers, int64(id))
		}
		wanted[callers[at].Line] = true
	}
	if t.Concurrency = int(b.Concurrency); b.Concurrency != 0 {
		if b.Concurrency < 1 || b.Concurrency > maxConcurrency {
			return wrong("concurrency", "1 to %d was expected", maxConcurrency)
		}
		return nil
	}
	lines, err := c.s.Store.Lines(c.ctx, c.account.ID)
	for _, l := range lines {
		if len(wanted) == 0 || wanted[l.ID] {
			t.Concurrency += l.Concurrency
		}
	}
	t.Concurrency = max(1, min(t.Concurrency, maxConcurrency))
	return err
}

const maxConcurrency = 100_000

// readSchedule reads startDate, startTime, weeks and the end. Parts of the day that cross midnight are cut in two.
func (c *request) readSchedule(b *taskBody, t *waihu.Task) error {
	o := &b.Option
	start := startOfDay(c.s.Now().In(c.loc))
	if o.StartDate != "" {
		day, err := time.ParseInLocation(time.DateOnly, o.StartDate, c.loc)
		if err != nil {
			return wrong("option.startDate", "a date such as 2025-03-01 was expected")
		}
		start = day
	}
	spans, last, err := readSpans(o.StartTime)
	if err != nil {
		return err
	}
	days := 0
	for key, on := range o.Weeks {
		if len(key) != 1 || key[0] < '0' || key[0] > '6' {
			return wrong("option.weeks", `the keys "0" (Sunday) to "6" were expected`)
		}
		if on {
			t.Weekly[key[0]-'0'], days = spans, days+1
		}
	}
	if len(o.Weeks) == 0 {
		for day := range t.Weekly {
			t.Weekly[day] = spans
		}
	} else if days == 0 {
		return wrong("option.weeks", "at least one day was expected")
	}
	end := o.EndDate
	switch o.TaskTimeType {
	case "", "week", "weeks", "repeat":
	case "onetime":
		if end != "" && end != start.Format(time.DateOnly) {
			return wrong("option.endDate", "a onetime task ends on its startDate")
		}
		end = start.Format(time.DateOnly)
	default:
		return wrong("option.taskTimeType", "onetime, or nothing for every day, was expected")
	}
	t.Start = start
	if end != "" {
		day, err := time.ParseInLocation(time.DateOnly, end, c.loc)
		if err != nil || day.Before(start) {
			return wrong("option.endDate", "a date from startDate on was expected")
		}
		y, m, d := day.Date()
		t.Stop = time.Date(y, m, d, 0, last, 0, 0, c.loc) // its schedule has run out when the last part of that day is over
	}
	return nil
}

// readSpans reads pairs of HH:MM. last is the end of the last one in minutes from midnight, above 1440 when it crosses midnight.
func readSpans(pairs [][]string) (spans []waihu.Span, last int, err error) {
	if len(pairs) == 0 {
		return nil, 0, wrong("option.startTime", `at least one pair such as ["09:00","18:00"] was expected: the parts of the day in which calls may start`)
	}
	if len(pairs) > maxSpans {
		return nil, 0, wrong("option.startTime", "at most %d pairs were expected", maxSpans)
	}
	for i, p := range pairs {
		field := fmt.Sprintf("option.startTime[%d]", i)
		if len(p) != 2 {
			return nil, 0, wrong(field, `a pair such as ["09:00","18:00"] was expected`)
		}
		from, ok1 := parseClock(p[0])
		to, ok2 := parseClock(p[1])
		if !ok1 || !ok2 || from == to || from == 24*60 {
			return nil, 0, wrong(field, `two different times of the day such as ["09:00","18:00"] were expected`)
		}
		if from < to {
			spans = append(spans, waihu.Span{From: from, To: to})
			last = max(last, to)
			continue
		}
		spans = append(spans, waihu.Span{From: from, To: 24 * 60})
		if to > 0 {
			spans = append(spans, waihu.Span{From: 0, To: to})
		}
		last = max(last, 24*60+to)
	}
	slices.SortFunc(spans, func(a, b waihu.Span) int { return a.From - b.From })
	return spans, last, nil
}

const maxSpans = 24

func (c *request) readRetry(b *taskBody, t *waihu.Task) error {
	n, gap := int64(b.Option.RetryCount), int64(b.Option.RetryInterval)
	most := int64(maxRetryInterval / c.s.RetryUnit)
	switch {
	case n < 0 || n > maxRetry:
		return wrong("option.retryCount", "0 to %d was expected", maxRetry)
	case gap < 0 || gap > most:
		return wrong("option.retryInterval", "0 to %d was expected", most)
	}
	t.Redial.Interval = c.s.retryWait(int(gap))
	if n > 0 {
		t.Redial.Max, t.Redial.On = int(n), retryOn
	}
	return nil
}

func (c *request) readMeta(b *taskBody, t *waihu.Task) error {
	meta, err := readMeta("option.numberFileMeta", b.Option.NumberFileMeta)
	if err != nil || len(meta) == 0 {
		return err
	}
	raw, err := json.Marshal(kept{NumberFileMeta: meta})
	if err != nil {
		return err
	}
	t.Doors = map[string][]byte{Door: raw}
	return nil
}
