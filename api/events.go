package api

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"waihu"
)

func (s *server) eventRoutes() []route {
	return []route{
		{"GET", Prefix + "events", s.events, false, operation{
			ID: "listEvents", Tag: "events", Summary: "What happened, in order, numbered without gaps",
			Text: "The same events that endpoints are told of: whoever keeps the last n knows whether anything is missing. n counts per account, task_n per task.",
			Query: []param{
				{"after", "integer", "events with a higher n only; 0 for all that there are"},
				{"limit", "integer", "at most so many, 1 to 1000; default 100"},
				{"task", "string", "only this task's events"},
				{"kind", "string", "only events of these kinds, with commas between them"},
			}, Answer: eventPage{}}},
	}
}

type eventPage struct {
	Events []event `json:"events"`
	Next   int64   `json:"next" doc:"go on after this number; with a filter a page may be short, even empty, before the end is reached"`
	Last   int64   `json:"last" doc:"number of the account's latest event"`
}

type event struct {
	N      int64           `json:"n" doc:"number in the account"`
	Task   waihu.TaskID    `json:"task,omitempty"`
	TaskN  int64           `json:"task_n,omitempty" doc:"number in the task"`
	At     time.Time       `json:"at"`
	Kind   waihu.EventKind `json:"kind"`
	CallID string          `json:"call_id,omitempty"`
	Data   json.RawMessage `json:"data" doc:"what the kind says: docs/callbacks.md"`
}

func toEvent(e *waihu.Event) event {
	out := event{N: e.N, Task: e.Task, TaskN: e.TaskN, At: e.At.UTC(), Kind: e.Kind, Data: e.Body}
	if e.Call != 0 {
		out.CallID = e.Call.String()
	}
	return out
}

func (s *server) events(c *request) (any, error) {
	after, err := c.number("after", 0, 0, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	limit, err := c.number("limit", 100, 1, 1000)
	if err != nil {
		return nil, err
	}
	wanted, err := c.eventFilter()
	if err != nil {
		return nil, err
	}
	last, err := s.Store.LastEvent(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	page := eventPage{Events: []event{}, Next: after}
	size := filterPage
	if wanted == nil {
		size = int(limit)
	}
	for range filterPages {
		list, err := s.Store.Events(c.ctx, c.acts.ID, page.Next, size)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if len(page.Events) == int(limit) {
				break
			}
			if wanted == nil || wanted(&list[i]) {
				page.Events = append(page.Events, toEvent(&list[i]))
			}
			page.Next = list[i].N
			last = max(last, page.Next)
		}
		if len(list) < size || len(page.Events) == int(limit) {
			break
		}
	}
	page.Last = last
	return page, nil
}

// What a request with a filter looks through at most: a task of a large account is found in steps.
const (
	filterPage  = 1000
	filterPages = 20
)

// eventFilter says which events are wanted; nil: all.
func (c *request) eventFilter() (func(*waihu.Event) bool, error) {
	q := c.r.URL.Query()
	task := waihu.TaskID(q.Get("task"))
	var kinds []waihu.EventKind
	for _, text := range strings.FieldsFunc(q.Get("kind"), func(r rune) bool { return r == ',' }) {
		if !slices.Contains(waihu.EventKinds, waihu.EventKind(text)) {
			return nil, waihu.FieldErrorf("kind", "%q is not a kind of event: one of %v was expected", text, waihu.EventKinds)
		}
		kinds = append(kinds, waihu.EventKind(text))
	}
	if task == "" && len(kinds) == 0 {
		return nil, nil
	}
	return func(e *waihu.Event) bool {
		return (task == "" || e.Task == task) && (len(kinds) == 0 || slices.Contains(kinds, e.Kind))
	}, nil
}
