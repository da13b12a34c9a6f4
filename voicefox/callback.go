package voicefox

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"waihu"
)

// The names of webhook events. The first is ours by the vendor's pattern: its page documents the payload, and names it for
// inbound calls (callin.hangup) alone.
const (
	eventHangup  = "task.call.hangup"
	eventCollect = "task.call.collect"
	eventEnd     = "task.end"
)

// eventKinds are the events of ours at which they are sent.
var eventKinds = map[string]waihu.EventKind{
	eventHangup:  waihu.EventCallEnded,
	eventCollect: waihu.EventCallReviewed,
	eventEnd:     waihu.EventRunReviewed,
}

// Shape tells of events as the vendor's webhooks do: one thing a POST. It is a waihu.Shape.
func Shape(o Options) waihu.Shape {
	s := newServer(o)
	return func(ctx context.Context, _ waihu.Endpoint, events []waihu.Event) (waihu.Payload, int, error) {
		if len(events) == 0 {
			return waihu.Payload{}, 0, nil
		}
		data, name, err := s.telling(ctx, &events[0])
		if waihu.ErrorCode(err) == waihu.ENotFound { // deleted since: nothing is left to tell
			return waihu.Payload{}, 1, nil
		}
		if err != nil || data == nil {
			return waihu.Payload{}, 1, err
		}
		body, err := json.Marshal(pushWire{name, data})
		return waihu.Payload{Body: body}, 1, err
	}
}

type pushWire struct {
	Name string `json:"event_name"`
	Data any    `json:"event_data"`
}

// repeated says that a check was made once more, later: the call has been told.
func repeated(e *waihu.Event) bool {
	var b struct {
		Again bool `json:"again"`
	}
	return json.Unmarshal(e.Body, &b) == nil && b.Again
}

// telling is what an event becomes; nil data: nothing.
func (s *server) telling(ctx context.Context, e *waihu.Event) (data any, name string, err error) {
	switch e.Kind {
	case waihu.EventCallEnded, waihu.EventCallReviewed, waihu.EventRunReviewed:
	default:
		return nil, "", nil
	}
	if e.Kind == waihu.EventCallReviewed && repeated(e) {
		return nil, "", nil
	}
	account, err := s.Store.Account(ctx, e.Account)
	if err != nil {
		return nil, "", err
	}
	c := &request{s: s, ctx: ctx, account: account, loc: waihu.Location(account.Zone)}
	switch e.Kind {
	case waihu.EventCallEnded:
		data, err = c.callPush(e)
		return data, eventHangup, err
	case waihu.EventCallReviewed:
		data, err = c.collectPush(e)
		return data, eventCollect, err
	}
	data, err = c.endPush(e)
	return data, eventEnd, err
}

// callPush is a call that has ended.
type callPush struct {
	SessionID    string              `json:"session_id"`
	Callee       string              `json:"callee"`
	Caller       string              `json:"caller"`
	StartAt      string              `json:"start_at"`
	AnswerAt     string              `json:"answer_at"`
	EndAt        string              `json:"end_at"`
	Duration     int                 `json:"duration"`
	Billsec      int                 `json:"billsec"`
	RingTime     int                 `json:"ring_time"`
	Direction    string              `json:"direction"`
	HangupSide   string              `json:"hangup_side"`
	HangupReason string              `json:"hangup_reason"`
	RecordURL    string              `json:"record_url"`
	TaskID       int64               `json:"task_id"`
	TaskItemID   int64               `json:"task_item_id"`
	Assistants   []assistantPairPush `json:"assistant_infos"`
	Extra        map[string]string   `json:"extra"`
}

type assistantPairPush struct {
	ID  int64 `json:"assistant_id"`
	Vid int64 `json:"assistant_vid"`
}

func (c *request) callPush(e *waihu.Event) (*callPush, error) {
	k, err := c.s.Store.CallOf(c.ctx, e.Account, e.Call)
	if err != nil {
		return nil, err
	}
	t, err := c.s.Store.Task(c.ctx, e.Account, k.Task)
	if err != nil {
		return nil, err
	}
	pair, err := c.look().pair(&k)
	if err != nil {
		return nil, err
	}
	record, err := c.recordAddress(&k)
	if err != nil {
		return nil, err
	}
	return &callPush{SessionID: k.ID.String(), Callee: string(k.Phone), Caller: string(k.Outcome.Caller), StartAt: stamp(k.StartedAt, c.loc),
		AnswerAt: stamp(k.AnsweredAt, c.loc), EndAt: stamp(k.EndedAt, c.loc), Duration: seconds(duration(&k)), Billsec: seconds(k.Outcome.Talk()),
		RingTime: ringTime(&k), Direction: outbound, HangupSide: hangupSide(k.Outcome.HangupBy), HangupReason: hangupReason(k.Outcome.Disposition),
		RecordURL: record, TaskID: t.Serial, TaskItemID: k.Seq, Assistants: []assistantPairPush{{pair.ID, pair.Vid}}, Extra: extraOf(&k.Data)}, nil
}

// ringTime is how long it rang: from the first sign of it to the answer, or to the end.
func ringTime(k *waihu.Call) int {
	end := k.AnsweredAt
	if end.IsZero() {
		end = k.EndedAt
	}
	if k.Outcome.RingAt.IsZero() || end.Before(k.Outcome.RingAt) {
		return 0
	}
	return seconds(end.Sub(k.Outcome.RingAt))
}

// collectPush is a call whose analysis is done: everything of its end, and what was found.
type collectPush struct {
	callPush
	Targets  []targetPush   `json:"collect_targets"`
	Analysis []analysisPush `json:"conversation_analysis"`
}

type targetPush struct {
	Question string `json:"question"`
	Hit      bool   `json:"hit"`
	Result   string `json:"result"`
	Message  string `json:"message"`
	UUID     string `json:"question_uuid"`
}

type analysisPush struct {
	Title  string `json:"title"`
	Result string `json:"result"`
}

func (c *request) collectPush(e *waihu.Event) (any, error) {
	call, err := c.callPush(e)
	if err != nil {
		return nil, err
	}
	v, err := c.s.Store.Review(c.ctx, e.Account, e.Call)
	if err != nil && waihu.ErrorCode(err) != waihu.ENotFound { // checked, and nothing could be said
		return nil, err
	}
	p := collectPush{callPush: *call, Targets: []targetPush{}, Analysis: []analysisPush{}}
	for _, a := range v.Collected {
		p.Targets = append(p.Targets, targetPush{a.Question, a.Hit, a.Result, a.Message, questionUUID(call, a.Key)})
	}
	for _, x := range []analysisPush{{"summary", v.Summary}, {"suggestion", v.Suggestion}, {"grade", v.Grade}} {
		if x.Result != "" {
			p.Analysis = append(p.Analysis, x)
		}
	}
	for _, i := range v.Items {
		title := i.Ask
		if title == "" {
			title = i.ID
		}
		result := i.Answer
		if result == "" {
			result = string(i.Result)
		}
		p.Analysis = append(p.Analysis, analysisPush{title, result})
	}
	return p, nil
}

// questionUUID names a question of an assistant: the same in all its calls and versions.
func questionUUID(call *callPush, key string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "waihu assistant %d question %s", call.Assistants[0].ID, key)).String()
}

// endPush is a task that has finished.
type endPush struct {
	TaskID   int64          `json:"task_id"`
	StartAt  string         `json:"task_start_at"`
	Progress progressPush   `json:"task_progress"`
	Overview []overviewPush `json:"task_overview"`
}

type progressPush struct {
	Total      int `json:"total_num"`
	Called     int `json:"called_num"` // with redials
	Answered   int `json:"called_answered_num"`
	Unanswered int `json:"called_un_answered_num"`
	Pending    int `json:"pending_num"`
}

type overviewPush struct {
	Question string       `json:"question"`
	Total    int          `json:"total"`
	Option   bool         `json:"option"`
	Results  []resultPush `json:"results"`
}

type resultPush struct {
	Result  string `json:"result"`
	Total   int    `json:"total"`
	Percent string `json:"percent"`
}

func (c *request) endPush(e *waihu.Event) (any, error) {
	var body struct {
		Run    int             `json:"run"`
		Reason waihu.RunReason `json:"reason"`
	}
	if err := json.Unmarshal(e.Body, &body); err != nil {
		return nil, err
	}
	if !tellsEnd(body.Reason) {
		return nil, nil
	}
	t, err := c.s.Store.Task(c.ctx, e.Account, e.Task)
	if err != nil {
		return nil, err
	}
	runs, err := c.s.Store.Runs(c.ctx, e.Account, e.Task)
	if err != nil {
		return nil, err
	}
	counts, err := c.s.Store.Counts(c.ctx, e.Account, e.Task)
	if err != nil {
		return nil, err
	}
	sum, err := c.s.Store.TaskSummary(c.ctx, e.Account, e.Task)
	if err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
		return nil, err
	}
	at, answered := stand(&t, nil, &counts, c.s.Now()), answeredCalls(&counts)
	p := endPush{TaskID: t.Serial, Overview: []overviewPush{}, Progress: progressPush{Total: at.total, Called: counts.Started, Answered: answered,
		Unanswered: max(0, counts.Started-answered-counts.State[waihu.NumberInFlight]), Pending: at.left}}
	for _, r := range runs {
		if r.N == body.Run {
			p.StartAt = stamp(r.StartedAt, c.loc)
		}
	}
	for _, q := range sum.Overview {
		o := overviewPush{q.Question, q.Total, q.Option, []resultPush{}}
		for _, r := range q.Results {
			o.Results = append(o.Results, resultPush{r.Result, r.Total, r.Percent})
		}
		p.Overview = append(p.Overview, o)
	}
	return p, nil
}
