package api

import (
	"context"
	"encoding/json"
	"time"

	"waihu"
	"waihu/store"
)

// message is the body of a callback of ours: standard-webhooks' type, timestamp and data.
type message struct {
	Type      waihu.EventKind `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Data      messageData     `json:"data"`
}

type messageData struct {
	Account waihu.AccountID `json:"account"`
	event
	Call    *call     `json:"call,omitempty" doc:"with call.ended and call.reviewed"`
	Review  *reviewed `json:"review,omitempty" doc:"with call.reviewed"`
	Summary *summed   `json:"summary,omitempty" doc:"with run.reviewed"`
}

// call is a call as this API shows it.
type call struct {
	ID          string            `json:"id"`
	Task        waihu.TaskID      `json:"task"`
	Run         int               `json:"run"`
	Seq         int64             `json:"seq" doc:"the number's place in its task"`
	Attempt     int               `json:"attempt"`
	Phone       waihu.PhoneNumber `json:"phone"`
	Vars        map[string]string `json:"vars,omitempty"`
	Extra       string            `json:"extra,omitempty" doc:"as imported"`
	Line        waihu.LineID      `json:"line"`
	Caller      waihu.PhoneNumber `json:"caller,omitempty"`
	Agent       waihu.AgentID     `json:"agent"`
	StartedAt   time.Time         `json:"started_at"`
	AnsweredAt  *time.Time        `json:"answered_at,omitempty"`
	EndedAt     *time.Time        `json:"ended_at,omitempty"`
	TalkMS      int64             `json:"talk_ms"`
	Disposition string            `json:"disposition"`
	HangupBy    waihu.Party       `json:"hangup_by,omitempty"`
	Grade       string            `json:"grade,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Collected   map[string]string `json:"collected,omitempty"`
	Transcript  []waihu.Turn      `json:"transcript,omitempty"`
	OptOut      bool              `json:"opt_out,omitempty"`
	Recorded    bool              `json:"recorded"`
}

func toCall(c *waihu.Call) *call {
	o := &c.Outcome
	return &call{ID: c.ID.String(), Task: c.Task, Run: c.Run, Seq: c.Seq, Attempt: c.Attempt, Phone: c.Phone, Vars: c.Data.Vars, Extra: c.Data.Extra, Line: c.Line, Caller: o.Caller,
		Agent: c.Agent, StartedAt: c.StartedAt.UTC(), AnsweredAt: when(c.AnsweredAt), EndedAt: when(c.EndedAt), TalkMS: o.Talk().Milliseconds(), Disposition: o.Disposition.String(),
		HangupBy: o.HangupBy, Grade: o.Grade, Tags: o.Tags, Collected: o.Collected, Transcript: o.Transcript, OptOut: o.OptOut, Recorded: o.Recording != ""}
}

// Shape is our own shape of callbacks: one event a POST, {"type","timestamp","data"} with the event as GET /events shows it and what the
// event makes known: the call, its review, the task's summary. Of what was deleted since the event alone is told.
func Shape(s *store.Store) waihu.Shape {
	return func(ctx context.Context, _ waihu.Endpoint, events []waihu.Event) (waihu.Payload, int, error) {
		e := &events[0]
		m := message{Type: e.Kind, Timestamp: e.At.UTC(), Data: messageData{Account: e.Account, event: toEvent(e)}}
		var err error
		switch e.Kind {
		case waihu.EventCallEnded:
			err = m.Data.addCall(ctx, s, e)
		case waihu.EventCallReviewed:
			if err = m.Data.addCall(ctx, s, e); err == nil {
				err = m.Data.addReview(ctx, s, e)
			}
		case waihu.EventRunReviewed:
			var sum waihu.TaskSummary
			if sum, err = s.TaskSummary(ctx, e.Account, e.Task); err == nil {
				m.Data.Summary = toSummed(sum)
			}
		}
		if err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
			return waihu.Payload{}, 0, err
		}
		body, err := json.Marshal(m)
		return waihu.Payload{Body: body}, 1, err
	}
}

func (d *messageData) addCall(ctx context.Context, s *store.Store, e *waihu.Event) error {
	c, err := s.Call(ctx, e.Account, e.Task, e.Call)
	if err == nil {
		d.Call = toCall(&c)
	}
	return err
}

func (d *messageData) addReview(ctx context.Context, s *store.Store, e *waihu.Event) error {
	v, err := s.Review(ctx, e.Account, e.Call)
	if err == nil {
		d.Review = toReviewed(v)
	}
	return err
}
