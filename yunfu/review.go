package yunfu

import (
	"math"

	"waihu"
)

// callLook is what the rows of several calls need beside the calls, read once.
type callLook struct {
	tasks   map[waihu.TaskID]*waihu.Task
	agents  map[waihu.AgentID]string
	reviews map[waihu.CallID]waihu.Review
}

func (c *request) look(ids ...waihu.CallID) (*callLook, error) {
	reviews, err := c.s.Store.Reviews(c.ctx, c.acts.ID, ids)
	return &callLook{tasks: map[waihu.TaskID]*waihu.Task{}, agents: map[waihu.AgentID]string{}, reviews: reviews}, err
}

func (l *callLook) score(id waihu.CallID) int {
	if r, ok := l.reviews[id]; ok && r.Score != nil {
		return int(math.Round(*r.Score))
	}
	return 0
}

// reviewData is the check of a call after its end; the vendor's shape is not known.
type reviewData struct {
	Record     string       `json:"record_id"`
	Status     int          `json:"status"` // 0 not checked (yet), 1 checked
	StatusStr  string       `json:"status_str"`
	Intention  int          `json:"intention_results"`
	Level      callLevel    `json:"level"`
	Reason     string       `json:"reason"` // of the level
	Score      int          `json:"score"`
	Summary    string       `json:"summary"`
	Suggestion string       `json:"suggestion"`
	Items      []reviewItem `json:"items"`
	Answers    []reviewTold `json:"answers"`
	Checked    any          `json:"checked_at"`
}

type reviewItem struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Result     string   `json:"result"` // pass, fail, noted, undecided
	ResultStr  string   `json:"result_str"`
	Answer     string   `json:"answer"`
	Reason     string   `json:"reason"`
	Confidence *float64 `json:"confidence"`
	Score      float64  `json:"score"`
}

type reviewTold struct {
	Key      string `json:"key"`
	Question string `json:"question"`
	Answer   string `json:"answer"`
	Message  string `json:"message"`
}

var itemResults = map[waihu.ItemResult]string{waihu.ItemPass: "通过", waihu.ItemFail: "未通过", waihu.ItemNoted: "已记录", waihu.ItemUndecided: "未判定"}

func (s *server) callReview(c *request) (*answer, error) {
	k, _, err := c.call()
	if err != nil {
		return nil, err
	}
	look, err := c.look(k.ID)
	if err != nil {
		return nil, err
	}
	level := levelOf(k.Outcome.Grade)
	d := reviewData{Record: k.ID.String(), StatusStr: "未质检", Intention: level, Level: callLevel{itoa(level), intentionNames[level]}, Score: look.score(k.ID),
		Items: []reviewItem{}, Answers: []reviewTold{}}
	if r, ok := look.reviews[k.ID]; ok {
		d.Status, d.StatusStr, d.Reason, d.Summary, d.Suggestion, d.Checked = 1, "已质检", r.GradeWhy, r.Summary, r.Suggestion, stamp(r.At, c.loc)
		for _, i := range r.Items {
			d.Items = append(d.Items, reviewItem{i.ID, i.Ask, string(i.Result), itemResults[i.Result], i.Answer, i.Reason, i.Confidence, i.Points})
		}
		for _, a := range r.Collected {
			d.Answers = append(d.Answers, reviewTold{a.Key, a.Question, a.Result, a.Message})
		}
	}
	return &answer{message: "查看通话记录大模型质检记录成功", data: d}, nil
}
