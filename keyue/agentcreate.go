package keyue

import (
	"bytes"
	"encoding/json"

	"waihu"
)

// agentCreate is ours: an AI agent from a prompt, an ordinary one that says its welcome and hangs up, or any agent
// from spec, an object as in docs/agents.md. It is offline until it is published.
func (c *request) agentCreate() (any, error) {
	if _, err := c.form.needed("agentName"); err != nil {
		return nil, err
	}
	change, err := c.card()
	if err != nil {
		return nil, err
	}
	a, err := c.newSpec()
	if err != nil {
		return nil, err
	}
	a.Account, a.ID, a.Version, a.ExternalIDs = c.account.ID, "", 0, nil
	change(&a)
	sign(&a, c.who.UID, c.who.Username)
	if problems := c.s.Check(&a); len(problems) > 0 {
		return nil, wrong(paramCheck, problems[0].Field, "%s", problems[0].Message)
	}
	if err := c.s.Store.NewAgent(c.ctx, &a); err != nil {
		return nil, err
	}
	return c.agentObject(&a), nil
}

func (c *request) newSpec() (a waihu.AgentSpec, err error) {
	if object, ok := c.form.values["spec"].(map[string]any); ok {
		raw, err := json.Marshal(object)
		if err != nil {
			return a, err
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&a); err != nil {
			return a, wrong(paramFormat, "spec", "%v", err)
		}
		return a, nil
	}
	kind, err := c.form.number("type", typeAI, typeOrdinary, typeAI)
	if err != nil {
		return a, err
	}
	a.Language = "zh-CN"
	if a.Opening.Say, err = c.form.text("welcome"); err != nil {
		return a, err
	}
	prompt, err := c.form.text("prompt")
	if err != nil {
		return a, err
	}
	if kind == typeAI {
		a.Brain, a.LLM = waihu.BrainLLM, &waihu.LLMSpec{Prompt: prompt}
		return a, nil
	}
	if a.Opening.Say == "" {
		return a, wrong(paramCheck, "welcome", "普通机器人的开场白不能为空")
	}
	a.Brain = waihu.BrainFlow
	a.Flow = &waihu.FlowSpec{Start: "welcome", Nodes: map[string]waihu.NodeSpec{"welcome": {Say: a.Opening.Say, Do: []waihu.Action{{Kind: "hangup"}}}}}
	return a, nil
}

// sign writes who has made an agent.
func sign(a *waihu.AgentSpec, uid, username string) {
	for name, value := range map[string]string{"createdUserId": uid, "createdUsername": username, "lastEditId": uid, "lastEditUsername": username} {
		set(a, name, value)
	}
}
