package keyue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"waihu"
)

// The types of callbacks.
const (
	backCall     = 0 // a task's call has ended
	backMember   = 1 // a group is finished
	backTask     = 2 // a task's state has changed
	backRealtime = 3 // a realtime call has ended
)

// callBackRemark marks endpoints that were made for a callBackUrl: they are told of the tasks that name an address of that host, and
// of no others.
const callBackRemark = "AIOB callBackUrl"

// callBackKinds are the events that a callback can follow from.
var callBackKinds = []waihu.EventKind{waihu.EventTaskStarted, waihu.EventTaskStopped, waihu.EventTaskFinished, waihu.EventCallEnded, waihu.EventCallReviewed, waihu.EventNumberDone}

// callbackTo is the endpoint by which an address is told: the account's own of that very address, else one for all addresses of its
// host, made when there is none. An endpoint for each address would soon be all that an account may have: many clients write the
// number of their order into it. 0: no address, nobody is told.
func (c *aiobRequest) callbackTo(address string) (int64, error) {
	id, err := c.tells(address)
	if err != nil || id != 0 || address == "" {
		return id, err
	}
	e := waihu.Endpoint{Account: c.account.ID, Door: Door, URL: address, Kinds: callBackKinds, Remark: callBackRemark}
	err = c.s.Store.AddEndpoint(c.ctx, &e, 0)
	if waihu.ErrorCode(err) == waihu.EConflict {
		return 0, aiobRefuse("callBackUrl：回调地址的主机过多,请先删除不用的回调地址")
	}
	return e.ID, err
}

// tells finds the endpoint of callbackTo, 0 when there is none. An address that may not be called is refused.
func (c *aiobRequest) tells(address string) (id int64, err error) {
	if address == "" {
		return 0, nil
	}
	if err := c.s.CheckURL(address); err != nil {
		return 0, aiobRefuse("callBackUrl：不允许的回调地址：%v", err)
	}
	list, err := c.s.Store.Endpoints(c.ctx, c.account.ID)
	for i := range list {
		switch e := &list[i]; {
		case e.Door != Door || e.Task != "":
		case e.URL == address && e.Remark != callBackRemark:
			return e.ID, nil
		case e.Remark == callBackRemark && id == 0 && hostOf(e.URL) == hostOf(address):
			id = e.ID
		}
	}
	return id, err
}

// hostOf is scheme, host and port of an address.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// aiobBody is every callback.
type aiobBody struct {
	CallbackType int `json:"callbackType"`
	Data         any `json:"data"`
}

// memberBack and taskBack are the data of types 1 and 2, with the types that the tables declare, but for totalTimes of type 1, which is a number
// in the sample; the sample writes callEndTime as text.
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
		body, address, err := s.callback(ctx, &e, &events[0])
		if err != nil || body == nil {
			return waihu.Payload{}, 1, err
		}
		raw, err := json.Marshal(body)
		return waihu.Payload{Body: raw, URL: address, Accept: accepted}, 1, err
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

// callback is the body of an event and where it goes, "" for the endpoint's own address; nil when there is nothing to tell of it.
func (s *server) callback(ctx context.Context, e *waihu.Endpoint, ev *waihu.Event) (body *aiobBody, address string, err error) {
	if !slices.Contains(callBackKinds, ev.Kind) || ev.Task == "" {
		return nil, "", nil
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
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	k, err := aiobKeptOf(&t)
	if err != nil {
		return nil, "", err
	}
	if k.CallBackBy != 0 && e.ID != k.CallBackBy || k.CallBackBy == 0 && e.Remark == callBackRemark {
		return nil, "", nil
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
		return nil, "", fmt.Errorf("event %d of account %s: %w", ev.N, ev.Account, err)
	}
	address = k.CallBackURL
	switch {
	case ev.Kind == waihu.EventNumberDone && k.Realtime:
		body, address, err = c.notCalled(&t, ev, b.Seq, b.Disposition)
	case ev.Kind == waihu.EventNumberDone:
		body, err = c.memberDone(&t, ev, b.Seq)
	case ev.Kind == waihu.EventCallReviewed || ev.Kind == waihu.EventCallEnded && !b.Review:
		body, address, err = c.callDone(&t, &k, ev)
	case !k.Realtime && ev.Kind != waihu.EventCallEnded:
		body = c.taskChanged(&t, &k, ev, b.Run, b.Reason)
	}
	if waihu.ErrorCode(err) == waihu.ENotFound { // removed since
		return nil, "", nil
	}
	return body, address, err
}

// callDone tells of a call, a realtime one at its own address. One that failed on the way comes back by itself, and is told when it
// is over.
func (c *aiobRequest) callDone(t *waihu.Task, k *aiobKept, ev *waihu.Event) (*aiobBody, string, error) {
	call, err := c.s.Store.Call(c.ctx, ev.Account, ev.Task, ev.Call)
	if err != nil {
		return nil, "", err
	}
	kind, address := backCall, k.CallBackURL
	if k.Realtime {
		kind, address = backRealtime, call.Data.Callback
		if call.Outcome.Disposition.Fault() && call.Attempt <= faultsForgiven {
			return nil, "", nil
		}
	}
	row, err := c.callRow(t, k, &call, newLook())
	if err != nil {
		return nil, "", err
	}
	if err := c.reviewed([]*aiobCall{row}, []waihu.CallID{call.ID}); err != nil {
		return nil, "", err
	}
	return &aiobBody{kind, row}, address, nil
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
func (c *aiobRequest) notCalled(t *waihu.Task, ev *waihu.Event, seq int64, word string) (*aiobBody, string, error) {
	outcome := waihu.NoOutcome
	for d := range endReasons {
		if d.String() == word {
			outcome = d
		}
	}
	if ev.Call != 0 && outcome != waihu.Expired { // the call itself was told
		return nil, "", nil
	}
	n, err := c.s.Store.Number(c.ctx, ev.Account, ev.Task, seq)
	if err != nil {
		return nil, "", err
	}
	wire, name, err := c.robotID(t.Agent)
	if err != nil {
		return nil, "", err
	}
	return &aiobBody{backRealtime, &aiobCall{SessionID: "member-" + strconv.FormatInt(memberID(t.Serial, seq), 10), TenantID: c.tenant, TaskID: strconv.FormatInt(c.tenant, 10),
		TaskName: "实时任务", RobotID: wire, RobotName: name, MemberID: memberID(t.Serial, seq), Mobile: string(n.Phone), CallTimes: n.Attempts, CallType: callRealtime,
		EndType: endNot, EndTypeReason: endReasons[outcome], CollectInfo: map[string]string{}, Record: []aiobTurn{}, EndTime: unixMS(ev.At), ExtJSON: n.Data.Extra}}, n.Data.Callback, nil
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
