package api

import (
	"time"

	"waihu"
)

func (s *server) reviewRoutes() []route {
	return []route{
		{"GET", Prefix + "calls/{call}/review", s.review, false, operation{ID: "review", Tag: "calls", Summary: "What the check after a call has found",
			Text: "Level, score, quality items, answers, summary. 404 until the event call.reviewed, and for calls that nobody wanted checked.", Answer: reviewed{}}},
		{"GET", Prefix + "tasks/{task}/summary", s.summary, false, operation{ID: "taskSummary", Tag: "tasks", Summary: "What a task has come to",
			Text: "Written when a run has ended and its calls are reviewed (event run.reviewed); 404 before. The answers are those of all runs.", Answer: summed{}}},
		{"POST", Prefix + "tasks/{task}/regrade", s.regrade, false, operation{ID: "regrade", Tag: "tasks", Summary: "Check a task's answered calls again",
			Text:   "With the agent's newest version, or the one that the task pins. What has neither changed nor stayed undecided is kept. Calls of which something new was found are told by call.reviewed with again: true.",
			Answer: regraded{}}},
	}
}

type reviewed struct {
	Call      string       `json:"call"`
	Task      waihu.TaskID `json:"task"`
	At        time.Time    `json:"at"`
	Undecided int          `json:"undecided" doc:"items and questions without an answer"`
	waihu.Review
}

type summed struct {
	Task waihu.TaskID `json:"task"`
	Run  int          `json:"run" doc:"after which it was written"`
	At   time.Time    `json:"at"`
	waihu.TaskSummary
}

type regraded struct {
	Calls int `json:"calls" doc:"to be checked again; those whose check is still to come are not among them"`
}

func (s *server) review(c *request) (any, error) {
	id, err := waihu.ParseCallID(c.r.PathValue("call"))
	if err != nil {
		return nil, waihu.Errorf(waihu.ENotFound, "no such call")
	}
	v, err := s.Store.Review(c.ctx, c.acts.ID, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = waihu.Errorf(waihu.ENotFound, "no such call, or it was not reviewed")
	}
	if err != nil {
		return nil, err
	}
	return toReviewed(v), nil
}

func toReviewed(v waihu.Review) *reviewed {
	return &reviewed{Call: v.Call.String(), Task: v.Task, At: v.At.UTC(), Undecided: v.Undecided(), Review: v}
}

func (s *server) summary(c *request) (any, error) {
	k, err := c.task()
	if err != nil {
		return nil, err
	}
	sum, err := s.Store.TaskSummary(c.ctx, c.acts.ID, k.ID)
	if err != nil {
		return nil, err
	}
	return toSummed(sum), nil
}

func toSummed(sum waihu.TaskSummary) *summed {
	return &summed{Task: sum.Task, Run: sum.Run, At: sum.At.UTC(), TaskSummary: sum}
}

func (s *server) regrade(c *request) (any, error) {
	k, err := c.task()
	if err != nil {
		return nil, err
	}
	n, err := s.Store.Regrade(c.ctx, c.acts.ID, k.ID)
	if err != nil {
		return nil, err
	}
	return regraded{n}, nil
}
