package keyue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"waihu"
	"waihu/store"
)

// Jobs are the handlers of what the door does asynchronously, for a queue. Each effect and the end of its task are one
// commit, so a handler may be called again for the same job at any time.
func Jobs(o Options) map[string]waihu.Handle {
	s := &server{Options: o.orDefault()}
	return map[string]waihu.Handle{
		store.AgentCopy.JobKind():    s.job(s.copyAgent),
		store.AgentPublish.JobKind(): s.job(s.publishAgent),
		store.AgentImport.JobKind():  s.job(s.importDocument),
		jobExpire:                    s.expireJob,
	}
}

// GaveUp ends the tasks whose jobs the queue gives up, so that their clients do not poll for ever; for queue.Options.
func GaveUp(o Options) map[string]func(ctx context.Context, j waihu.Job, reason string) error {
	s := &server{Options: o.orDefault()}
	end := func(ctx context.Context, job waihu.Job, reason string) error {
		id, err := strconv.ParseInt(job.Key, 10, 64)
		if err != nil {
			return fmt.Errorf("job %d has the key %q, no number: %w", job.ID, job.Key, err)
		}
		j, err := s.Store.AgentJob(ctx, job.Account, id)
		if waihu.ErrorCode(err) == waihu.ENotFound {
			return nil
		}
		if err != nil {
			return err
		}
		s.Log.Error("asynchronous task given up", "task", j.ID, "kind", string(j.Kind), "tries", job.Tries, "reason", reason)
		return s.Store.FailAgentJob(ctx, j, "服务器内部错误,请重新提交", nil)
	}
	ends := map[string]func(context.Context, waihu.Job, string) error{}
	for _, kind := range kinds {
		ends[kind.JobKind()] = end
	}
	return ends
}

func (s *server) job(work func(context.Context, store.AgentJob, jobBody) error) waihu.Handle {
	return func(ctx context.Context, job waihu.Job) error {
		id, err := strconv.ParseInt(job.Key, 10, 64)
		if err != nil {
			return fmt.Errorf("job %d has the key %q, no number: %w", job.ID, job.Key, err)
		}
		j, err := s.Store.BeginAgentJob(ctx, job.Account, id)
		if waihu.ErrorCode(err) == waihu.ENotFound || err == nil && j.State.Over() {
			return nil
		}
		if err != nil {
			return err
		}
		var body jobBody
		if err := json.Unmarshal(j.Body, &body); err != nil {
			return s.Store.FailAgentJob(ctx, j, "任务内容无法读取", nil)
		}
		err = work(ctx, j, body)
		if err == nil || ctx.Err() != nil {
			return err
		}
		reason := explain(err)
		switch {
		case errors.Is(err, waihu.ErrNameTaken): // by somebody who was faster: another name is found
		case reason != nil && reason.status < 500:
			return s.Store.FailAgentJob(ctx, j, reason.message, nil)
		}
		return err
	}
}

func (s *server) copyAgent(ctx context.Context, j store.AgentJob, body jobBody) error {
	return s.Store.CopyAgent(ctx, j, func(a *waihu.AgentSpec) { sign(a, body.UID, body.Username) })
}

// publishAgent puts an agent online in which nothing is wrong.
func (s *server) publishAgent(ctx context.Context, j store.AgentJob, _ jobBody) error {
	a, err := s.Store.Agent(ctx, j.Account, j.Agent)
	if err != nil {
		return err
	}
	if problems := s.Check(&a); len(problems) > 0 {
		return refused(stateError, "机器人配置不正确：%s %s", problems[0].Field, problems[0].Message)
	}
	return s.Store.PublishAgent(ctx, j)
}
