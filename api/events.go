package api

import (
	"encoding/json"
	"math"
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
			}, Answer: eventPage{}}},
	}
}

type eventPage struct {
	Events []event `json:"events"`
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
	list, err := s.Store.Events(c.ctx, c.acts.ID, after, int(limit))
	if err != nil {
		return nil, err
	}
	last, err := s.Store.LastEvent(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	page := eventPage{Events: make([]event, len(list)), Last: last}
	for i := range list {
		page.Events[i] = toEvent(&list[i])
	}
	return page, nil
}
