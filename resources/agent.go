package resources

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"waihu"
	"waihu/store"
)

func (p *plan) buildAgent(path string, x *agentDoc) {
	a := x.AgentSpec
	before := len(p.problems)
	p.named("agent", path, string(a.ID), a.Name)
	a.Account = p.account(path, x.Account)
	if a.Version < 1 {
		p.add(join(path, "version"), "%d: a whole number from 1 was expected, a higher one with every change", a.Version)
	}
	if a.Bot != nil {
		bot := *a.Bot
		p.secret(join(path, "bot.token"), &bot.Token)
		a.Bot = &bot
	}
	if a.LLM != nil {
		llm := *a.LLM
		p.fromFile(join(path, "llm.prompt"), &llm.Prompt)
		a.LLM = &llm
	}
	for name, intent := range a.Intents {
		for i, pattern := range intent.Regex {
			if _, err := regexp.Compile(pattern); err != nil {
				p.add(index(join(path, "intents."+name+".regex"), i), "not a regular expression: %s", regexError(err))
			}
		}
	}
	if p.o.Check != nil && len(p.problems) == before {
		for _, problem := range p.o.Check(&a) {
			p.add(join(path, problem.Field), "%s", problem.Message)
		}
	}
	for _, door := range slices.Sorted(maps.Keys(a.ExternalIDs)) { // within an account one such id names one agent
		if id := a.ExternalIDs[door]; id != "" {
			p.once("external_ids."+door+" of account "+string(a.Account), id, join(path, "external_ids."+door))
		}
	}
	p.agents[a.ID] = a.Account
	p.put("agents", "agent", string(a.ID), path, a.Account, a)
	p.newVersion(path, &a)
}

func regexError(err error) string { return strings.TrimPrefix(err.Error(), "error parsing regexp: ") }

// newVersion refuses a document that changed under a version that is stored already. One that is stored
// exactly so (the file was only written differently) is good.
func (p *plan) newVersion(path string, a *waihu.AgentSpec) {
	if p.digests[store.ResourceRef{Kind: "agent", ID: string(a.ID)}] == p.list[len(p.list)-1].Digest {
		return
	}
	stored, err := p.o.Store.AgentVersions(p.ctx, a.Account, a.ID)
	if !p.found(err) || a.Version > stored[0].Version {
		return
	}
	for i := range stored {
		if stored[i].Version == a.Version && sameSpec(&stored[i], a) {
			p.list[len(p.list)-1].same = true
			return
		}
	}
	p.add(join(path, "version"), "agent %s was changed, but version %d is stored already and versions never change: version: %d was expected",
		a.ID, a.Version, stored[0].Version+1)
}

func sameSpec(a, b *waihu.AgentSpec) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
