package keyue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"waihu"
	"waihu/store"
)

// The types of callbacks.
const (
	backCall     = 0 // a task's call has ended
	backMember   = 1 // a group is finished
	backTask     = 2 // a task's state has changed
	backRealtime = 3 // a realtime call has ended
)

// callBackRemark marks endpoints that were made for a callBackUrl: they are told of the tasks that name it, and of no others.
const callBackRemark = "AIOB callBackUrl"

// callBackKinds are the events that a callback can follow from.
var callBackKinds = []waihu.EventKind{waihu.EventTaskStarted, waihu.EventTaskStopped, waihu.EventTaskFinished, waihu.EventCallEnded, waihu.EventCallReviewed, waihu.EventNumberDone}

// callbackTo sees to it that an address is told. Tasks that name the same address share one endpoint.
func (c *aiobRequest) callbackTo(address string) error {
	if address == "" {
		return nil
	}
	if err := c.s.CheckURL(address); err != nil {
		return aiobRefuse("callBackUrl：不允许的回调地址：%v", err)
	}
	list, err := c.s.Store.Endpoints(c.ctx, c.account.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(e store.EndpointState) bool { return e.Door == Door && e.URL == address && e.Task == "" }) {
		return nil
	}
	return c.s.Store.AddEndpoint(c.ctx, &waihu.Endpoint{Account: c.account.ID, Door: Door, URL: address, Kinds: callBackKinds, Remark: callBackRemark}, 0)
}

// aiobBody is every callback.
type aiobBody struct {
	CallbackType int `json:"callbackType"`
	Data         any `json:"data"`
}

// memberBack and taskBack are the data of types 1 and 2, with the types that the tables declare; the sample of type 1 writes callEndTime as text.
type memberBack struct {
	TaskMemberID string `json:"taskMemberId"`
	TenantID     int64  `json:"tenantId"`
	TaskID       string `json:"taskId"`
	Status       int    `json:"status"`
	CallEndTime  int64  `json:"callEndTime"`
	Finished     int    `json:"finished"`
	TotalTimes   int    `json:"totalTimes"`
	ExtJSON      string `json:"extJson"`
}

type taskBack struct {
	TenantID   int64  `json:"tenantId"`
	TaskID     string `json:"taskId"`
	TaskStatus int    `json:"taskStatus"`
	UpdateTime string `json:"updateTime"`
	Reason     string `json:"reason"`
}

// Callback is the shape of the door's callbacks: those of the AIOB family, one event a POST. The agent API has none.
func Callback(o Options) waihu.Shape {
	s := &server{Options: o.orDefault()}
	return func(ctx context.Context, e waihu.Endpoint, events []waihu.Event) (waihu.Payload, int, error) {
		body, err := s.callback(ctx, &e, &events[0])
		if err != nil || body == nil {
			return waihu.Payload{}, 1, err
		}
		raw, err := json.Marshal(body)
		return waihu.Payload{Body: raw, Accept: accepted}, 1, err
	}
}

// accepted judges an answer: the body's code is 200, whatever stands beside it.
func accepted(status int, body []byte) error {
	if status < 200 || status > 299 {
		return fmt.Errorf("answered %d", status)
	}
	var answer struct {
		Code json.RawMessage `json:"code"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return errors.New(`the answer is not {"code":200,"msg":"success"}`)
	}
	if code := string(answer.Code); code != "200" && code != `"200"` {
		return errors.New("the answer's code is not 200")
	}
	return nil
}

// callback is the body of an event; nil when there is nothing to tell of it.
func (s *server) callback(ctx context.Context, e *waihu.Endpoint, ev *waihu.Event) (*aiobBody, error) {
	if !slices.Contains(callBackKinds, ev.Kind) || ev.Task == "" {
		return nil, nil
	}
	c := &aiobRequest{s: s, ctx: ctx}
	a, err := s.Store.Account(ctx, ev.Account)
	if err == nil {
		err = c.of(a, c.token)
	}
	var t waihu.Task
	if err == nil {
		t, err = s.Store.Task(ctx, ev.Account, ev.Task)
	}
	if waihu.ErrorCode(err) == waihu.ENotFound { // deleted since: there is nothing left to tell
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	k, err := aiobKeptOf(&t)
	if err != nil {
		return nil, err
	}
	if k.CallBackURL != "" && (e.URL != k.CallBackURL || e.Account != ev.Account) || k.CallBackURL == "" && e.Remark == callBackRemark {
		return nil, nil
	}
	var b struct {
		Run         int             `json:"run"`
		Reason      waihu.RunReason `json:"reason"`
		Seq         int64           `json:"seq"`
		Attempt     int             `json:"attempt"`
		Disposition string          `json:"disposition"`
		Review      bool            `json:"review"`
	}
	if err := json.Unmarshal(ev.Body, &b); err != nil {
		return nil, fmt.Errorf("event %d of account %s: %w", ev.N, ev.Account, err)
	}
	var body *aiobBody
	switch {
	case ev.Kind == waihu.EventNumberDone && k.Realtime:
		body, err = c.notCalled(&t, ev, b.Seq, b.Disposition)
	case ev.Kind == waihu.EventNumberDone:
		body, err = c.memberDone(&t, ev, b.Seq)
	case ev.Kind == waihu.EventCallReviewed || ev.Kind == waihu.EventCallEnded && !b.Review:
		body, err = c.callDone(&t, &k, ev)
	case !k.Realtime && ev.Kind != waihu.EventCallEnded:
		body = c.taskChanged(&t, &k, ev, b.Run, b.Reason)
	}
	if waihu.ErrorCode(err) == waihu.ENotFound { // removed since
		return nil, nil
	}
	return body, err
}

// callDone tells of a call. A realtime call that failed on the way comes back by itself, and is told when it is over.
func (c *aiobRequest) callDone(t *waihu.Task, k *aiobKept, ev *waihu.Event) (*aiobBody, error) {
	call, err := c.s.Store.Call(c.ctx, ev.Account, ev.Task, ev.Call)
	if err != nil {
		return nil, err
	}
	kind := backCall
	if k.Realtime {
		if kind = backRealtime; call.Outcome.Disposition.Fault() && call.Attempt <= faultsForgiven {
			return nil, nil
		}
	}
	row, err := c.callRow(t, k, &call, newLook())
	if err != nil {
		return nil, err
	}
	if err := c.reviewed([]*aiobCall{row}, []waihu.CallID{call.ID}); err != nil {
		return nil, err
	}
	return &aiobBody{kind, row}, nil
}

// faultsForgiven is how often the scheduler lets a number come back after a fault on the way.
const faultsForgiven = 3

// reviewed adds what was collected after the calls. Rows and ids belong together.
func (c *aiobRequest) reviewed(rows []*aiobCall, ids []waihu.CallID) error {
	if len(ids) == 0 {
		return nil
	}
	found, err := c.s.Store.Reviews(c.ctx, c.account.ID, ids)
	for i, row := range rows {
		v := found[ids[i]]
		if v.Grade != "" && row.CollectInfo[intentKey] == "" {
			row.Intent = v.Grade
		}
		for _, x := range v.Collected {
			if x.Result == "" {
				continue
			}
			name := x.Question
			if name == "" {
				name = x.Key
			}
			row.CollectInfo[name] = x.Result
			if name == intentKey {
				row.Intent = x.Result
			}
		}
	}
	return err
}

// notCalled tells of a realtime call that never was: past its deadline, on the blacklist, refused by a rule.
func (c *aiobRequest) notCalled(t *waihu.Task, ev *waihu.Event, seq int64, word string) (*aiobBody, error) {
	outcome := waihu.NoOutcome
	for d := range endReasons {
		if d.String() == word {
			outcome = d
		}
	}
	if ev.Call != 0 && outcome != waihu.Expired { // the call itself was told
		return nil, nil
	}
	n, err := c.s.Store.Number(c.ctx, ev.Account, ev.Task, seq)
	if err != nil {
		return nil, err
	}
	wire, name, err := c.robotID(t.Agent)
	if err != nil {
		return nil, err
	}
	return &aiobBody{backRealtime, &aiobCall{SessionID: "member-" + strconv.FormatInt(memberID(t.Serial, seq), 10), TenantID: c.tenant, TaskID: strconv.FormatInt(c.tenant, 10),
		TaskName: "实时任务", RobotID: wire, RobotName: name, MemberID: memberID(t.Serial, seq), Mobile: string(n.Phone), CallTimes: n.Attempts, CallType: callRealtime,
		EndType: endNot, EndTypeReason: endReasons[outcome], CollectInfo: map[string]string{}, Record: []aiobTurn{}, EndTime: unixMS(ev.At), ExtJSON: n.Data.Extra}}, nil
}

// memberDone tells that a group is finished.
func (c *aiobRequest) memberDone(t *waihu.Task, ev *waihu.Event, seq int64) (*aiobBody, error) {
	n, err := c.s.Store.Number(c.ctx, ev.Account, ev.Task, seq)
	if err != nil {
		return nil, err
	}
	back := memberBack{TaskMemberID: strconv.FormatInt(memberID(t.Serial, seq), 10), TenantID: c.tenant, TaskID: taskWire(t), Status: groupExhausted,
		CallEndTime: unixMS(ev.At), Finished: 1, TotalTimes: n.Attempts, ExtJSON: n.Data.Extra}
	if n.Outcome == waihu.Answered {
		back.Status = groupCompleted
	}
	return &aiobBody{backMember, back}, nil
}

// taskChanged tells of a state; a stop that is part of finishing is told as that.
func (c *aiobRequest) taskChanged(t *waihu.Task, k *aiobKept, ev *waihu.Event, run int, why waihu.RunReason) *aiobBody {
	back := taskBack{TenantID: c.tenant, TaskID: taskWire(t), UpdateTime: stampAIOB(ev.At, c.loc)}
	switch ev.Kind {
	case waihu.EventTaskStarted:
		back.TaskStatus, back.Reason = taskRunning, reasonStarted
	case waihu.EventTaskFinished:
		back.TaskStatus, back.Reason = taskFinished, reasonFinished
	case waihu.EventTaskStopped:
		if k.FinishStopped && k.FinishedRun == run {
			return nil
		}
		after := afterRun[why]
		back.TaskStatus, back.Reason = after.state, after.reason
	}
	return &aiobBody{backTask, back}
}
