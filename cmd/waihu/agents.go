package main

import (
	"context"

	"waihu"
	"waihu/store"
	"waihu/yunfu"
)

// heardAgents reads agents as they are heard: with what a vendor's own fields ask of the voice.
type heardAgents struct{ *store.Store }

func (s heardAgents) Agent(ctx context.Context, account waihu.AccountID, id waihu.AgentID) (waihu.AgentSpec, error) {
	spec, err := s.Store.Agent(ctx, account, id)
	return yunfu.Heard(spec), err
}

func (s heardAgents) AgentVersion(ctx context.Context, account waihu.AccountID, version int64) (waihu.AgentSpec, error) {
	spec, err := s.Store.AgentVersion(ctx, account, version)
	return yunfu.Heard(spec), err
}

func (s heardAgents) TaskAgent(ctx context.Context, k *waihu.Task, id waihu.AgentID) (waihu.AgentSpec, error) {
	spec, err := s.Store.TaskAgent(ctx, k, id)
	return yunfu.Heard(spec), err
}
