package yunfu

import (
	"net/http"
	"time"

	"waihu"
	"waihu/store"
)

// callRow is a call in lists and callbacks. The head of the list row is documented; the rest has the names of
// the documented callback where the meaning is the same, and is otherwise ours.
type callRow struct {
	ID         string            `json:"id"`
	CallID     string            `json:"callid"`
	TaskID     waihu.TaskID      `json:"task_id"`
	CustomerID string            `json:"customer_id"` // of the pool
	Callee     waihu.PhoneNumber `json:"callee"`
	Caller     waihu.PhoneNumber `json:"caller"`
	Calldate   string            `json:"calldate"`
	Answerdate any               `json:"answerdate"`
	Bill       int               `json:"bill"`     // talk, as span
	Duration   int               `json:"duration"` // from dialling to the end
	Status     int               `json:"status"`
	StatusStr  string            `json:"status_str"`
	Hangup     string            `json:"hangup_party"`
	Intention  int               `json:"intention_results"`
	Rounds     int               `json:"rounds"`
	Score      int               `json:"score"`
	Attempt    int               `json:"call_times"`
	Tags       []callTag         `json:"tags"`
	TagGroups  []any             `json:"tag_groups"`
	Operator   string            `json:"operator_name"`
	Extra      any               `json:"extra"`
	Name       string            `json:"name"`
	Company    string            `json:"company"`
	Wechat     []any             `json:"send_wechat_data"`
	Components []component       `json:"components"`
	NumberData callNumber        `json:"number_data"`
	Group      callGroup         `json:"group"`
	Task       callTask          `json:"task"`
	User       callUser          `json:"user"`
	MasterUser waihu.AccountID   `json:"master_user_id"`
	UserID     waihu.AccountID   `json:"user_id"`
	Type       int               `json:"type"` // 4 main account, 8 sub-account
	Level      callLevel         `json:"level"`
	Recording  any               `json:"record_url"`
	Summary    map[string]string `json:"component"` // what the agent collected
}

type callTag struct {
	ID   string `json:"tag_id"`
	Name string `json:"name"`
}

type callNumber struct {
	Number     string `json:"number"`
	Hangupdate string `json:"hangupdate"`
	Province   string `json:"province"`
	City       string `json:"city"`
	Operator   string `json:"operator"`
}

type callGroup struct {
	ID   any    `json:"id"`
	Name string `json:"name"`
}

type callTask struct {
	ID   waihu.TaskID `json:"id"`
	Name string       `json:"name"`
}

type callUser struct {
	ID   waihu.AccountID `json:"id"`
	Name string          `json:"name"`
}

type callLevel struct {
	ID   string `json:"level_id"`
	Name string `json:"level_name"`
}

// Kinds of account in records and callbacks.
const (
	mainAccount = 4
	subAccount  = 8
)

// callRow names agents from look, which it fills.
func (c *request) callRow(k *waihu.Call, task *waihu.Task, look *callLook) (callRow, error) {
	name, known := look.agents[k.Agent]
	if !known {
		var err error
		if name, err = c.agentName(k.Agent); err != nil {
			return callRow{}, err
		}
		look.agents[k.Agent] = name
	}
	operator := operatorNames[operatorOf(string(k.Phone))]
	o, code, level := &k.Outcome, statusOf(k.Outcome.Disposition), levelOf(k.Outcome.Grade)
	r := callRow{ID: k.ID.String(), CallID: k.ID.String(), TaskID: k.Task, Callee: k.Phone, Caller: o.Caller,
		Calldate: stamp(k.StartedAt, c.loc), Answerdate: stampOrNull(k.AnsweredAt, c.loc), Bill: c.s.span(o.Talk()), Duration: c.s.span(between(k)),
		Status: code, StatusStr: statusNames[code], Hangup: string(o.HangupBy), Intention: level, Rounds: rounds(o), Score: look.score(k.ID), Attempt: k.Attempt,
		Tags: []callTag{}, TagGroups: []any{}, Operator: operator, Extra: textOrNull(k.Data.Extra), Name: k.Data.Vars["name"], Company: k.Data.Vars["company"],
		Wechat: []any{}, Components: componentsOf(&k.Data), NumberData: callNumber{Number: string(k.Phone), Hangupdate: stamp(k.EndedAt, c.loc), Operator: operator},
		Group: callGroup{scriptID(k.Agent), name}, Task: callTask{task.ID, task.Name}, User: callUser{c.acts.ID, c.acts.Name},
		MasterUser: c.user.ID, UserID: c.acts.ID, Type: mainAccount, Level: callLevel{itoa(level), intentionNames[level]}, Summary: o.Collected}
	if c.acts.Parent != "" {
		r.Type = subAccount
		r.MasterUser = c.acts.Parent
	}
	if r.Summary == nil {
		r.Summary = map[string]string{}
	}
	for _, t := range o.Tags {
		r.Tags = append(r.Tags, callTag{t, t})
	}
	if o.Recording != "" {
		r.Recording = c.recordPath(k)
	}
	return r, nil
}

// span is a duration in the unit that the deployment has chosen.
func (s *server) span(d time.Duration) int {
	if s.Milliseconds {
		return int(d.Milliseconds())
	}
	return seconds(d)
}

func seconds(d time.Duration) int { return int(d.Round(time.Second) / time.Second) }

func between(k *waihu.Call) time.Duration {
	if k.EndedAt.IsZero() {
		return 0
	}
	return k.EndedAt.Sub(k.StartedAt)
}

// rounds is how often the callee spoke, at least once in an answered call: as the task's statistics count.
func rounds(o *waihu.Outcome) (n int) {
	if o.Disposition != waihu.Answered {
		return 0
	}
	for i := range o.Transcript {
		if t := &o.Transcript[i]; t.Who == "callee" && !t.Partial && !t.Silence() {
			n++
		}
	}
	return max(1, n)
}

// callList lists the calls that have ended, the latest first. levels are ranges of the score, which is 0 without a
// check that gives points.
func (s *server) callList(c *request) (*answer, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	p := c.page()
	f := store.CallFilter{Ended: true, Page: p.page, PerPage: p.per,
		StartedFrom: c.form.get("start_at").when(c.loc, false), StartedTo: lastOf(c.form.get("end_at").when(c.loc, true))}
	if n := c.form.get("keyword"); !n.blank() {
		f.Phone = lookup(n.text())
	}
	for _, n := range c.form.get("intention_tags").words() {
		if !n.blank() { // a form's way to choose none
			f.Grades = append(f.Grades, n.grade())
		}
	}
	f.EndedFrom, f.EndedTo = c.form.get("hangup_date").between(c.loc)
	f.EndedTo = lastOf(f.EndedTo)
	f.Scores = c.scores()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	data := []callRow{}
	calls, total, err := s.Store.Calls(c.ctx, c.acts.ID, t.ID, f)
	if err != nil {
		return nil, c.noTask(err)
	}
	ids := make([]waihu.CallID, len(calls))
	for i := range calls {
		ids[i] = calls[i].ID
	}
	look, err := c.look(ids...)
	if err != nil {
		return nil, err
	}
	for i := range calls {
		row, err := c.callRow(&calls[i], &t, look)
		if err != nil {
			return nil, err
		}
		data = append(data, row)
	}
	if err := c.nameCustomers(data); err != nil {
		return nil, err
	}
	return &answer{message: "查看通话记录列表成功", data: data, meta: p.meta(total)}, nil
}

// scores are the wanted ranges of the score, both ends included.
func (c *request) scores() (list [][2]int64) {
	for _, n := range c.form.get("levels").list() {
		bounds := n.list()
		if len(bounds) != 2 {
			n.fail("应为 [最低分, 最高分]")
			break
		}
		list = append(list, [2]int64{bounds[0].int64(), bounds[1].int64()})
	}
	return list
}

// callDetail is a call with its conversation.
type callDetail struct {
	callRow
	Records []turnRow `json:"records"`
}

// turnRow is one exchange: what the callee said and what the agent answered.
type turnRow struct {
	ID                    string            `json:"id"`
	RecordID              string            `json:"record_id"`
	TaskID                waihu.TaskID      `json:"task_id"`
	Notify                string            `json:"notify"`
	CallID                string            `json:"callid"`
	ErrorCode             int               `json:"error_code"`
	ASRType               any               `json:"asrtype"`
	Callee                waihu.PhoneNumber `json:"callee"`
	Gender                any               `json:"gender"`
	ASRElapse             any               `json:"asr_elapse"`
	RecordMS              any               `json:"record_ms"`
	VolumeGain            any               `json:"volume_gain"`
	Question              string            `json:"question"`
	SplitQuestion         any               `json:"split_question"`
	QuestionIndex         int               `json:"question_index"`
	SpeakMS               int64             `json:"speak_ms"`
	PlayMS                int64             `json:"play_ms"`
	Keyword               any               `json:"keyword"`
	AnswerID              string            `json:"answer_id"`
	AnswerText            string            `json:"answer_text"`
	AnswerContent         string            `json:"answer_content"`
	WordClass             string            `json:"word_class"`
	AnswerAction          any               `json:"answer_action"`
	PlaybackAfterAction   int               `json:"playback_after_action"`
	UpstreamAnswerAction  any               `json:"upstream_answer_action"`
	UpstreamAnswerContent any               `json:"upstream_answer_content"`
	UpstreamAnswerText    any               `json:"upstream_answer_text"`
	UpstreamAnswerID      any               `json:"upstream_answer_id"`
	Score                 int               `json:"score"`
	Sequence              int               `json:"sequence"`
	CreatedAt             string            `json:"created_at"`
}

// Values of notify that we send: the opening, a heard answer, a sentence that answers nothing.
const (
	notifyEnter = "enter"
	notifyHeard = "asrmessage_notify"
	notifySaid  = "playback_result"
)

// turnRows joins each turn of the callee with the agent's next; an agent's turn that answers nothing stands alone.
func (c *request) turnRows(k *waihu.Call) []turnRow {
	rows := []turnRow{}
	open := false // the last row still waits for the agent's answer
	for _, t := range k.Outcome.Transcript {
		if t.Partial {
			continue
		}
		heard := t.Who == "callee"
		if heard || !open {
			n := len(rows) + 1
			notify := notifySaid
			switch {
			case heard:
				notify = notifyHeard
			case n == 1:
				notify = notifyEnter
			}
			rows = append(rows, turnRow{ID: k.ID.String() + "-" + itoa(n), RecordID: k.ID.String(), CallID: k.ID.String(), TaskID: k.Task,
				Notify: notify, Callee: k.Phone, QuestionIndex: n, Sequence: n,
				CreatedAt: stamp(k.AnsweredAt.Add(time.Duration(t.FromMS)*time.Millisecond), c.loc)})
		}
		r := &rows[len(rows)-1]
		if heard {
			r.Question, r.SpeakMS, r.RecordMS, r.Keyword = t.Text, t.ToMS-t.FromMS, t.ToMS-t.FromMS, textOrNull(t.Intent)
			if t.Text == "" {
				r.Question = t.Digit // the keys are the answer
			}
			if t.Silence() {
				r.SpeakMS = 0
			}
		} else {
			r.AnswerContent, r.AnswerText, r.AnswerID, r.PlayMS = t.Text, t.Node, t.Node, t.ToMS-t.FromMS
		}
		open = heard
	}
	return rows
}

// call is the call of the path.
func (c *request) call() (waihu.Call, waihu.Task, error) {
	t, err := c.task()
	if err != nil {
		return waihu.Call{}, t, err
	}
	missing := refused(http.StatusNotFound, "通话记录不存在")
	id, err := waihu.ParseCallID(c.r.PathValue("record_id"))
	if err != nil {
		return waihu.Call{}, t, missing
	}
	k, err := c.s.Store.Call(c.ctx, c.acts.ID, t.ID, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = missing
	}
	return k, t, err
}

func (s *server) callDetail(c *request) (*answer, error) {
	k, t, err := c.call()
	if err != nil {
		return nil, err
	}
	look, err := c.look(k.ID)
	if err != nil {
		return nil, err
	}
	row, err := c.callRow(&k, &t, look)
	if err != nil {
		return nil, err
	}
	rows := []callRow{row}
	if err := c.nameCustomers(rows); err != nil {
		return nil, err
	}
	return &answer{message: "查看通话记录详情成功", data: callDetail{rows[0], c.turnRows(&k)}}, nil
}
