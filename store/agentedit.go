package store

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"waihu"
)

// NewAgent makes an agent, offline until it is published. Its name must be free in its main account and all
// sub-accounts: ErrNameTaken. Everything else is as in SaveAgent.
func (s *Store) NewAgent(ctx context.Context, a *waihu.AgentSpec) error {
	saved := *a
	err := s.update(ctx, normal, func(t *tx) error {
		saved = *a
		if err := t.agentID(&saved); err != nil {
			return err
		}
		return t.newAgent(&saved)
	})
	if err == nil {
		*a = saved
	}
	return err
}

func (t *tx) newAgent(a *waihu.AgentSpec) error {
	if exists, err := t.owned("agents", "agent", a.ID, a.Account); err != nil || exists {
		if err == nil {
			err = conflict(nil, "the agent id %s is taken", a.ID)
		}
		return err
	}
	if err := t.putAgent(a); err != nil {
		return err
	}
	if err := t.ownName(a); err != nil {
		return err
	}
	return t.setAgentState(a, waihu.AgentOffline)
}

func (t *tx) setAgentState(a *waihu.AgentSpec, state waihu.AgentState) error {
	a.State = state
	_, err := t.exec(`update agents set state = $2 where id = $1`, a.ID, state)
	return err
}

// EditAgent hands the newest version of the account's own agent to edit and saves what it makes of it as the next
// version; no change, no version. An error of edit is returned and changes nothing. A new name must be free:
// ErrNameTaken. An agent of the main account is EForbidden.
func (s *Store) EditAgent(ctx context.Context, account waihu.AccountID, id waihu.AgentID, edit func(*waihu.AgentSpec) error) (a waihu.AgentSpec, err error) {
	err = s.update(ctx, normal, func(t *tx) error {
		a, err = t.editAgent(account, id, edit)
		return err
	})
	if err == nil {
		s.wakeOwner()
	}
	return a, err
}

func (t *tx) editAgent(account waihu.AccountID, id waihu.AgentID, edit func(*waihu.AgentSpec) error) (waihu.AgentSpec, error) {
	a, err := t.ownAgent(account, id)
	if err != nil {
		return a, err
	}
	name := a.Name
	if err := edit(&a); err != nil {
		return a, err
	}
	a.Account, a.ID, a.Version = account, id, 0
	if err := t.putAgent(&a); err != nil {
		return a, err
	}
	if a.Name != name {
		err = t.ownName(&a)
	}
	return a, err
}

// usableAgent is the newest version of an agent that the account may use, locked until the commit.
func (t *tx) usableAgent(account waihu.AccountID, id waihu.AgentID) (a waihu.AgentSpec, err error) {
	if _, err := t.one(into(new(string)), `select id from agents where id = $1{lock}`, id); err != nil {
		return a, err
	}
	list, err := t.agentSpecs(`where v.id = a.version_id and a.id = $2 and a.`+family(1), account, id)
	if err != nil {
		return a, err
	}
	if len(list) == 0 {
		return a, notFound("agent", id)
	}
	return list[0], nil
}

// ownAgent is usableAgent for a write.
func (t *tx) ownAgent(account waihu.AccountID, id waihu.AgentID) (waihu.AgentSpec, error) {
	a, err := t.usableAgent(account, id)
	if err == nil && a.Account != account {
		err = waihu.Errorf(waihu.EForbidden, "agent %s belongs to the main account, which alone may change it", id)
	}
	return a, err
}

// AgentOffline takes the account's own agent offline: no further task can be started with it. Refused while a started
// task uses it (ErrAgentUsed). One that is offline stays so.
func (s *Store) AgentOffline(ctx context.Context, account waihu.AccountID, id waihu.AgentID) error {
	return s.update(ctx, normal, func(t *tx) error {
		a, err := t.ownAgent(account, id)
		if err != nil {
			return err
		}
		if err := t.unused(id, true); err != nil {
			return err
		}
		return t.setAgentState(&a, waihu.AgentOffline)
	})
}

// agentsOnline refuses a start with an agent that is offline. The rows stay locked until the commit, so that none goes
// offline meanwhile; one that is not there is the preflight's affair.
func (t *tx) agentsOnline(k *waihu.Task) error {
	ids := slices.Compact(slices.Sorted(slices.Values(k.Agents()))) // in one order: two starts never wait for each other in a circle
	for _, id := range ids {
		state, name := waihu.AgentOnline, ""
		if _, err := t.one(into(&state, &name), `select state, name from agents where id = $1{lock}`, id); err != nil {
			return err
		}
		if state != waihu.AgentOnline {
			return conflict(nil, "agent %s (%s) is offline: publish it before it calls", id, name)
		}
	}
	return nil
}

// DeleteAgent removes the account's own agent with its versions. Refused while it is online or being published
// (ErrAgentOnline) and while a task names it (ErrAgentUsed).
func (s *Store) DeleteAgent(ctx context.Context, account waihu.AccountID, id waihu.AgentID) error {
	return s.update(ctx, normal, func(t *tx) error {
		a, err := t.ownAgent(account, id)
		if err != nil {
			return err
		}
		if a.State != waihu.AgentOffline {
			return conflict(waihu.ErrAgentOnline, "agent %s is online", id)
		}
		if err := t.unused(id, false); err != nil {
			return err
		}
		for _, sql := range []string{`delete from agent_names where agent = $1`, `delete from agent_externals where agent = $1`,
			`delete from agent_versions where agent = $1`, `delete from agents where id = $1`} {
			if _, err := t.exec(sql, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// unused refuses an agent that a task may call with.
func (t *tx) unused(id waihu.AgentID, started bool) error {
	// An agent that only a routing names stands in the JSON of the task's config: found by text, confirmed by its fields.
	quoted, err := json.Marshal(id)
	if err != nil {
		return err
	}
	like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(string(quoted)) + "%"
	var uses []string
	if err := t.each(func(scan func(...any) error) error {
		k, err := scanTask(scan)
		if err == nil && slices.Contains(k.Agents(), id) {
			uses = append(uses, k.Name)
		}
		return err
	}, `select `+taskColumns+` from tasks where tasks.deleted = 0 and (tasks.started = 1 or $3 = 0) and (tasks.agent = $1 or tasks.config like $2 escape '\')`,
		id, like, flag(started)); err != nil {
		return err
	}
	if len(uses) > 0 {
		return conflict(waihu.ErrAgentUsed, "%d tasks use agent %s, among them %q", len(uses), id, uses[0])
	}
	return nil
}

// AgentFilter chooses agents. Zero fields choose all.
type AgentFilter struct {
	Name          string // part of the name
	State         *waihu.AgentState
	Door          string                      // that have an id of this door
	Match         func(*waihu.AgentSpec) bool // judges what SQL does not see; every agent is then read
	By            string                      // order: "created" (default), "updated", "name"
	Ascending     bool
	Page, PerPage int
}

// FindAgents are the newest versions of the agents that the account may use and the filter chooses, page by page
// (from 1; perPage 0 means 15), and how many there are.
func (s *Store) FindAgents(ctx context.Context, account waihu.AccountID, f AgentFilter) (list []waihu.AgentSpec, total int, err error) {
	name := ""
	if f.Name != "" {
		name = "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(f.Name)) + "%"
	}
	state := -1
	if f.State != nil {
		state = int(*f.State)
	}
	order := map[string]string{"updated": "a.updated_at", "name": "a.name"}[f.By]
	if order == "" {
		order = "a.created_at"
	}
	direction := " desc"
	if f.Ascending {
		direction = " asc"
	}
	// ids of one moment in the order of their making: the short decimal ones by length first
	order += direction + ", length(a.id)" + direction + ", a.id" + direction
	where := `a.` + family(1) + ` and ($2 = '' or lower(a.name) like $2 escape '\') and ($3 = -1 or a.state = $3)
		and ($4 = '' or a.id in (select agent from agent_externals where door = $4))`
	limit, offset := paging(f.Page, f.PerPage)
	err = s.read(ctx, func(t *tx) error {
		if f.Match != nil {
			all, err := t.agentSpecs(`where v.id = a.version_id and `+where+` order by `+order, account, name, state, f.Door)
			all = slices.DeleteFunc(all, func(a waihu.AgentSpec) bool { return !f.Match(&a) })
			total = len(all)
			list = all[min(offset, total):min(offset+limit, total)]
			return err
		}
		if _, err := t.one(into(&total), `select count(*) from agents a where `+where, account, name, state, f.Door); err != nil {
			return err
		}
		list, err = t.agentSpecs(`where v.id = a.version_id and `+where+` order by `+order+` limit `+strconv.Itoa(limit)+` offset `+strconv.Itoa(offset), account, name, state, f.Door)
		return err
	})
	return list, total, err
}
