package store

import (
	"context"
	"maps"
	"slices"

	"waihu"
)

// space is the account within whose sub-accounts and itself names of agents are unique: the main account.
func (t *tx) space(account waihu.AccountID) (waihu.AccountID, error) {
	a, err := t.account(account)
	if err == nil && a.Parent != "" {
		return a.Parent, nil
	}
	return account, err
}

// claimName notes that a bears its name, unless somebody had it first, and gives up a name that it bore before. The
// table's key decides between two transactions at once.
func (t *tx) claimName(a *waihu.AgentSpec) (space waihu.AccountID, err error) {
	if space, err = t.space(a.Account); err != nil {
		return space, err
	}
	if _, err := t.exec(`delete from agent_names where agent = $1 and name <> $2`, a.ID, a.Name); err != nil {
		return space, err
	}
	_, err = t.exec(`insert into agent_names (space, name, agent) values ($1, $2, $3) on conflict do nothing`, space, a.Name, a.ID)
	return space, err
}

// ownName claims a's name and refuses it with ErrNameTaken when another agent bears it too.
func (t *tx) ownName(a *waihu.AgentSpec) error {
	space, err := t.claimName(a)
	if err != nil {
		return err
	}
	var first waihu.AgentID
	if _, err := t.one(into(&first), `select agent from agent_names where space = $1 and name = $2`, space, a.Name); err != nil {
		return err
	}
	others := 0
	if _, err := t.one(into(&others), `select count(*) from agents where account in (select id from accounts where id = $1 or parent = $1) and name = $2 and id <> $3`,
		space, a.Name, a.ID); err != nil {
		return err
	}
	if first != a.ID || others > 0 {
		return conflict(waihu.ErrNameTaken, "another agent is named %q", a.Name)
	}
	return nil
}

// putExternals keeps the ids under which doors know the agent. Within an account one such id names one agent.
func (t *tx) putExternals(a *waihu.AgentSpec) error {
	if _, err := t.exec(`delete from agent_externals where agent = $1`, a.ID); err != nil {
		return err
	}
	for _, door := range slices.Sorted(maps.Keys(a.ExternalIDs)) {
		id := a.ExternalIDs[door]
		if id == "" {
			continue
		}
		n, err := t.exec(`insert into agent_externals (account, door, id, agent) values ($1, $2, $3, $4) on conflict do nothing`, a.Account, door, id, a.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			return conflict(nil, "external_ids.%s %q names another agent already", door, id)
		}
	}
	return nil
}

// AgentByExternal is the agent that the account may use and that the door knows under id: by its external id, else by
// its own.
func (s *Store) AgentByExternal(ctx context.Context, account waihu.AccountID, door, id string) (a waihu.AgentSpec, err error) {
	err = s.read(ctx, func(t *tx) error {
		own := waihu.AgentID(id)
		// an account's own agent comes before its main account's
		if _, err := t.one(into(&own), `select agent from agent_externals where door = $2 and id = $3 and `+family(1)+` order by case when account = $1 then 0 else 1 end`,
			account, door, id); err != nil {
			return err
		}
		list, err := t.agentSpecs(`where v.id = a.version_id and a.id = $2 and a.`+family(1), account, own)
		if err == nil && len(list) == 0 {
			return notFound("agent", id)
		}
		if err == nil {
			a = list[0]
		}
		return err
	})
	return a, err
}
