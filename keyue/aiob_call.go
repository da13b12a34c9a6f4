package keyue

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// aiobCall is a call in callbacks 0 and 3 and in every read. Times are unix milliseconds, 0 for none; lengths are seconds.
type aiobCall struct {
	SessionID       string            `json:"sessionId"`
	TenantID        int64             `json:"tenantId"`
	TaskID          string            `json:"taskId"` // the tenant's id for a realtime call
	TaskName        string            `json:"taskName"`
	RobotID         string            `json:"robotId"`
	RobotName       string            `json:"robotName"`
	MemberID        int64             `json:"memberId"`
	Mobile          string            `json:"mobile"`
	CallTimes       int               `json:"callTimes"`
	CallerNum       string            `json:"callerNum"`
	EndType         int               `json:"endType"`
	CallType        int               `json:"callType"`
	EndTypeReason   string            `json:"endTypeReason"`
	ContactUUID     string            `json:"contactUUID"` // "" when there is no recording
	FileID          int64             `json:"fileId"`
	CollectInfo     map[string]string `json:"collectInfo"`
	Intent          string            `json:"intent"`
	Record          []aiobTurn        `json:"record"`
	DurationTimeLen int64             `json:"durationTimeLen"`
	RingingTimeLen  int64             `json:"ringingTimeLen"`
	TalkingTimeLen  int64             `json:"talkingTimeLen"`
	StartTime       int64             `json:"startTime"`
	RingStartTime   int64             `json:"ringStartTime"`
	TalkingStart    int64             `json:"talkingStartTime"`
	EndTime         int64             `json:"endTime"`
	IsRobotHangup   bool              `json:"isRobotHangup"`
	IsAnswer        bool              `json:"isAnswer"`
	CompleteType    int               `json:"completeType,omitempty"` // 2 done, 3 not; in reads
	SIPCode         string            `json:"sipCode"`
	SIPInfo         string            `json:"sipInfo"`
	ExtJSON         string            `json:"extJson"`
}

// intentKey is the collected value that is shown as intent; without it the call's grade is.
const intentKey = "意向"

// aiobTurn is one sentence of a call.
type aiobTurn struct {
	Role        string `json:"role"`      // voice: the robot, speech: the callee
	Timestamp   int64  `json:"timestamp"` // unix ms of its beginning
	ContextText string `json:"contextText"`
	Intent      string `json:"intent"`
	Start       int64  `json:"start"` // ms since the answer
	Stop        int64  `json:"stop"`
	TimeLen     int64  `json:"timeLen"` // ms
	Interrupted bool   `json:"interrupted"`
	Silent      bool   `json:"silent"`
	NodeInfo    string `json:"nodeInfo"`
}

// look keeps what the rows of one answer have in common.
type look struct {
	tasks  map[waihu.TaskID]*lookTask
	robots map[waihu.AgentID][2]string
}

type lookTask struct {
	t *waihu.Task // nil: gone
	k *aiobKept
}

func newLook() *look {
	return &look{map[waihu.TaskID]*lookTask{}, map[waihu.AgentID][2]string{}}
}

// task is nil for one that is gone.
func (l *look) task(c *aiobRequest, id waihu.TaskID) (*waihu.Task, *aiobKept, error) {
	if l.tasks[id] == nil {
		t, err := c.s.Store.Task(c.ctx, c.account.ID, id)
		if waihu.ErrorCode(err) == waihu.ENotFound {
			l.tasks[id] = &lookTask{}
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		k, err := aiobKeptOf(&t)
		if err != nil {
			return nil, nil, err
		}
		l.tasks[id] = &lookTask{&t, &k}
	}
	return l.tasks[id].t, l.tasks[id].k, nil
}

func (l *look) robot(c *aiobRequest, id waihu.AgentID) (wire, name string, err error) {
	if r, ok := l.robots[id]; ok {
		return r[0], r[1], nil
	}
	wire, name, err = c.robotID(id)
	l.robots[id] = [2]string{wire, name}
	return wire, name, err
}

// callRow is a call that has ended.
func (c *aiobRequest) callRow(t *waihu.Task, k *aiobKept, call *waihu.Call, l *look) (*aiobCall, error) {
	agent := call.Agent
	if agent == "" {
		agent = t.Agent
	}
	wire, name, err := l.robot(c, agent)
	if err != nil {
		return nil, err
	}
	o := &call.Outcome
	row := &aiobCall{SessionID: call.ID.String(), TenantID: c.tenant, TaskID: taskWire(t), TaskName: t.Name, RobotID: wire, RobotName: name,
		MemberID: memberID(t.Serial, call.Seq), Mobile: string(call.Phone), CallTimes: call.Attempt, CallerNum: string(o.Caller),
		EndType: endTypeOf(o.Disposition), EndTypeReason: endReasons[o.Disposition], CollectInfo: map[string]string{}, Record: []aiobTurn{},
		StartTime: unixMS(call.StartedAt), RingStartTime: unixMS(o.RingAt), TalkingStart: unixMS(call.AnsweredAt), EndTime: unixMS(call.EndedAt),
		DurationTimeLen: secondsBetween(call.StartedAt, call.EndedAt), TalkingTimeLen: secondsBetween(call.AnsweredAt, call.EndedAt),
		IsRobotHangup: o.HangupBy == waihu.ByAgent, IsAnswer: o.Disposition == waihu.Answered, ExtJSON: call.Data.Extra}
	ringEnd := call.AnsweredAt
	if ringEnd.IsZero() {
		ringEnd = call.EndedAt
	}
	row.RingingTimeLen = secondsBetween(o.RingAt, ringEnd)
	if call.Attempt > 1 {
		row.CallType = callRetry
	}
	if k.Realtime {
		row.CallType, row.TaskID, row.TaskName = callRealtime, strconv.FormatInt(c.tenant, 10), "实时任务"
	}
	for key, v := range o.Collected {
		row.CollectInfo[key] = v
	}
	if row.Intent = o.Collected[intentKey]; row.Intent == "" {
		row.Intent = o.Grade
	}
	if o.Recording != "" {
		row.ContactUUID = recordID(t, call.ID)
	}
	for _, turn := range o.Transcript {
		if !turn.Partial {
			row.Record = append(row.Record, turnRow(call, &turn))
		}
	}
	for _, e := range o.Evidence {
		if code, info, ok := strings.Cut(e.Value, " "); e.Kind == "sip" && ok && len(code) == 3 {
			row.SIPCode, row.SIPInfo = code, info
		}
	}
	return row, nil
}

func turnRow(call *waihu.Call, t *waihu.Turn) aiobTurn {
	row := aiobTurn{Role: "speech", ContextText: t.Text, Intent: t.Intent, Start: t.FromMS, Stop: t.ToMS, TimeLen: max(0, t.ToMS-t.FromMS),
		Interrupted: t.Barged, Silent: t.Text == "" && t.Digit == "", NodeInfo: t.Node}
	if t.Who == "agent" {
		row.Role = "voice"
	}
	if t.Text == "" && t.Digit != "" {
		row.ContextText = t.Digit
	}
	if !call.AnsweredAt.IsZero() {
		row.Timestamp = call.AnsweredAt.UnixMilli() + t.FromMS
	}
	return row
}

// secondsBetween is in whole seconds, a part of one counting as one, 0 when one end is missing.
func secondsBetween(from, to time.Time) int64 {
	if from.IsZero() || to.IsZero() || to.Before(from) {
		return 0
	}
	return int64((to.Sub(from) + time.Second - 1) / time.Second)
}

// recordID names the recording of a call: contactUUID.
func recordID(t *waihu.Task, id waihu.CallID) string {
	return strconv.FormatInt(t.Serial, 10) + "_" + id.String()
}

// aiobLink is the use of links to recordings.
const aiobLink = "aiob record"

// aiobRecord gives addresses of a recording that hold for a while without a token.
func (s *server) aiobRecord(c *aiobRequest) (any, error) {
	id := c.body.get("contactUuid", "contactUUID").need().text(60)
	lasts := c.body.get("expiration").number(1800, 1, 3600)
	operation := c.body.get("operation").number(1, 1, 3)
	if err := c.done(); err != nil {
		return nil, err
	}
	call, err := c.recorded(c.account.ID, id)
	if err != nil {
		return nil, err
	}
	if call.Outcome.Recording == "" {
		return nil, noRecord
	}
	key, err := s.Store.Link(aiobLink, string(c.account.ID)+"\n"+id, s.Now().Add(time.Duration(lasts)*time.Second))
	if err != nil {
		return nil, err
	}
	address := c.address("/api/v1/record/file?key=" + key)
	row := map[string]any{}
	if operation != 2 {
		row["recordUrl"] = address
	}
	if operation != 1 {
		row["downloadUrl"] = address + "&download=1"
	}
	return []any{row}, nil
}

var noRecord = aiobRefuse("录音不存在")

// recorded is the call that a contactUUID names.
func (c *aiobRequest) recorded(account waihu.AccountID, id string) (waihu.Call, error) {
	number, callText, _ := strings.Cut(id, "_")
	serial, err := strconv.ParseInt(number, 10, 64)
	call, err2 := waihu.ParseCallID(callText)
	if err != nil || err2 != nil {
		return waihu.Call{}, noRecord
	}
	t, err := c.s.Store.TaskBySerial(c.ctx, account, serial)
	if err == nil {
		var k waihu.Call
		if k, err = c.s.Store.Call(c.ctx, account, t.ID, call); err == nil {
			return k, nil
		}
	}
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = noRecord
	}
	return waihu.Call{}, err
}

// aiobRecordFile sends a recording to whoever has a link that still holds.
func (s *server) aiobRecordFile(c *aiobRequest) (any, error) {
	target, err := s.Store.OpenLink(aiobLink, c.body.get("key").text(2000))
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, &refusal{http.StatusNotFound, http.StatusNotFound, "录音地址无效或已过期"}
	}
	if err != nil {
		return nil, err
	}
	account, id, _ := strings.Cut(target, "\n")
	call, err := c.recorded(waihu.AccountID(account), id)
	if err != nil {
		return nil, err
	}
	if s.Recordings == nil {
		return nil, noRecord
	}
	file, err := s.Recordings(c.ctx, &call)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, noRecord
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h := c.w.Header()
	h.Set("Content-Type", "audio/wav")
	h.Set("Cache-Control", "private")
	if c.body.get("download").text(5) != "" {
		h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", id+".wav"))
	}
	http.ServeContent(c.w, c.r, "", file.ModTime, file)
	return streamed{}, nil
}

// address is a path of ours as the client would reach it.
func (c *aiobRequest) address(path string) string {
	scheme := "http"
	if c.r.TLS != nil || strings.EqualFold(c.r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	if c.r.Host == "" {
		return path
	}
	return (&url.URL{Scheme: scheme, Host: c.r.Host}).String() + path
}
