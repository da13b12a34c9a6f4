package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"waihu"
)

// SaveAgent keeps a version of an agent; versions never change. With Version 0 it becomes the next
// version, unless nothing differs from the newest; an empty ID becomes a small decimal one. Saving a
// stored version again with the same content changes nothing; with other content, or with a number below
// the newest, it is EConflict. ID, Version, VersionID and the times are filled in.
func (s *Store) SaveAgent(ctx context.Context, a *waihu.AgentSpec) error {
	saved := *a
	err := s.update(ctx, normal, func(t *tx) error {
		saved = *a
		return t.putAgent(&saved)
	})
	if err == nil {
		*a = saved
		s.wakeOwner()
	}
	return err
}

func (t *tx) putAgent(a *waihu.AgentSpec) error {
	if a.Name == "" {
		return waihu.FieldErrorf("name", "an agent has a name")
	}
	if a.Version < 0 {
		return waihu.FieldErrorf("version", "%d is negative", a.Version)
	}
	if _, err := t.account(a.Account); err != nil {
		return err
	}
	if err := t.agentID(a); err != nil {
		return err
	}
	exists, err := t.owned("agents", "agent", a.ID, a.Account)
	if err != nil {
		return err
	}
	var newest waihu.AgentSpec
	if exists {
		list, err := t.agentSpecs(`where v.id = a.version_id and a.id = $1`, a.ID)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("agent %s has no stored version", a.ID)
		}
		newest = list[0]
	}
	ask := a.Version
	if ask == 0 {
		if a.Version = newest.Version; sameAgent(a, &newest) {
			*a = newest
			return nil
		}
		a.Version = newest.Version + 1
	} else if ask <= newest.Version {
		list, err := t.agentSpecs(`where v.agent = $1 and v.version = $2`, a.ID, ask)
		if err != nil {
			return err
		}
		if len(list) == 1 && sameAgent(a, &list[0]) {
			*a = list[0]
			return nil
		}
		return conflict(nil, "version %d of agent %s is stored with other content, and versions never change: version %d was expected",
			ask, a.ID, newest.Version+1)
	}
	return t.insertAgent(a, exists, newest)
}

// agentID gives a new agent an id, or learns of a small decimal one given from outside.
func (t *tx) agentID(a *waihu.AgentSpec) error {
	if a.ID != "" {
		// Ids of 18 digits stay out of it: generated ones shall remain small.
		if n, err := strconv.ParseInt(string(a.ID), 10, 64); err == nil && n > 0 && n < 1_000_000_000 {
			return t.headAtLeast("agents", n)
		}
		return nil
	}
	for { // past the integer ids of agents that have other words for ids
		n, err := t.head("agents", 1)
		if err != nil {
			return err
		}
		taken, err := t.one(into(new(int64)), `select serial from agents where serial = $1`, n)
		if err != nil || !taken {
			a.ID = waihu.AgentID(strconv.FormatInt(n, 10))
			return err
		}
	}
}

func (t *tx) insertAgent(a *waihu.AgentSpec, exists bool, newest waihu.AgentSpec) (err error) {
	now := t.s.now()
	if a.VersionID, err = t.head("agent_versions", 1); err != nil {
		return err
	}
	spec, err := t.s.encodeAgent(a)
	if err != nil {
		return err
	}
	if _, err := t.exec(`insert into agent_versions (id, agent, version, spec, created_at) values ($1, $2, $3, $4, $5)`,
		a.VersionID, a.ID, a.Version, spec, ms(now)); err != nil {
		return err
	}
	a.CreatedAt, a.UpdatedAt, a.Serial = at(ms(now)), at(ms(now)), newest.Serial
	if exists {
		a.CreatedAt = newest.CreatedAt
	}
	if a.Serial == 0 {
		if a.Serial, err = t.agentSerial(a.ID); err != nil {
			return err
		}
	}
	_, err = t.exec(`insert into agents (id, account, name, version, version_id, created_at, updated_at, serial) values ($1, $2, $3, $4, $5, $6, $6, $7)
		on conflict (id) do update set name = excluded.name, version = excluded.version, version_id = excluded.version_id, updated_at = excluded.updated_at`,
		a.ID, a.Account, a.Name, a.Version, a.VersionID, ms(now), a.Serial)
	if err != nil {
		return err
	}
	if a.State = newest.State; !exists {
		a.State = waihu.AgentOnline // the column's default
	}
	if _, err := t.claimName(a); err != nil {
		return err
	}
	return t.putExternals(a)
}

// agentSerial is the integer id of a new agent: its own id when that is a decimal number that nobody has, else the next free one.
func (t *tx) agentSerial(id waihu.AgentID) (int64, error) {
	n, err := strconv.ParseInt(string(id), 10, 64)
	own := err == nil && n > 0 && strconv.FormatInt(n, 10) == string(id)
	for {
		if !own {
			if n, err = t.head("agents", 1); err != nil {
				return 0, err
			}
		}
		taken, err := t.one(into(new(int64)), `select serial from agents where serial = $1 or id = $2 and id <> $3`, n, strconv.FormatInt(n, 10), id)
		if err != nil || !taken {
			return n, err
		}
		own = false
	}
}

// The one secret of an agent, the token of somebody else's bot, stands sealed in the document.
func agentSecret(id waihu.AgentID) string { return "agent " + string(id) }

const sealedPrefix = "sealed:"

func (s *Store) encodeAgent(a *waihu.AgentSpec) (string, error) {
	doc := *a
	if a.Bot != nil && a.Bot.Token != "" {
		sealed, err := s.seal(agentSecret(a.ID), a.Bot.Token)
		if err != nil {
			return "", err
		}
		bot := *a.Bot
		bot.Token = sealedPrefix + base64.StdEncoding.EncodeToString(sealed)
		doc.Bot = &bot
	}
	b, err := json.Marshal(&doc)
	return string(b), err
}

func (s *Store) decodeAgent(a *waihu.AgentSpec, spec string) error {
	dec := json.NewDecoder(bytes.NewReader([]byte(spec)))
	dec.UseNumber() // the vendors' numbers of 18 digits
	if err := dec.Decode(a); err != nil {
		return fmt.Errorf("read the stored agent: %w", err)
	}
	if a.Bot != nil && a.Bot.Token != "" {
		// what encodeAgent wrote: a token that does not decode cannot be opened either
		sealed, _ := base64.StdEncoding.DecodeString(a.Bot.Token[min(len(sealedPrefix), len(a.Bot.Token)):])
		token, err := s.unseal(agentSecret(a.ID), sealed)
		if err != nil {
			return err
		}
		a.Bot.Token = token
	}
	return nil
}

// sameAgent compares documents by their JSON, secrets included.
func sameAgent(a, b *waihu.AgentSpec) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// agentSpecs reads versions v of agents a.
func (t *tx) agentSpecs(where string, args ...any) (list []waihu.AgentSpec, err error) {
	err = t.each(func(scan func(...any) error) error {
		var id waihu.AgentID
		var account waihu.AccountID
		var versionID, serial, created, updated int64
		var spec string
		var state waihu.AgentState
		if err := scan(&id, &account, &versionID, &serial, &created, &updated, &state, &spec); err != nil {
			return err
		}
		a := waihu.AgentSpec{ID: id}
		if err := t.s.decodeAgent(&a, spec); err != nil {
			return fmt.Errorf("agent %s: %w", id, err)
		}
		a.ID, a.Account, a.VersionID, a.Serial, a.CreatedAt, a.UpdatedAt, a.State = id, account, versionID, serial, at(created), at(updated), state
		list = append(list, a)
		return nil
	}, `select a.id, a.account, v.id, a.serial, a.created_at, v.created_at, a.state, v.spec from agents a join agent_versions v on v.agent = a.id `+where, args...)
	return list, err
}

func (s *Store) agentWhere(ctx context.Context, id any, where string, args ...any) (a waihu.AgentSpec, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err := t.agentSpecs(where, args...)
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

// Agent is the newest version of an agent that the account may use, its own or its main account's.
func (s *Store) Agent(ctx context.Context, account waihu.AccountID, id waihu.AgentID) (waihu.AgentSpec, error) {
	return s.agentWhere(ctx, id, `where v.id = a.version_id and a.id = $2 and a.`+family(1), account, id)
}

// AgentVersion is one stored version, newest or not, by its own small integer id.
func (s *Store) AgentVersion(ctx context.Context, account waihu.AccountID, versionID int64) (waihu.AgentSpec, error) {
	return s.agentWhere(ctx, versionID, `where v.id = $2 and a.`+family(1), account, versionID)
}

// AgentVersions are all versions of an agent, newest first.
func (s *Store) AgentVersions(ctx context.Context, account waihu.AccountID, id waihu.AgentID) (list []waihu.AgentSpec, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err = t.agentSpecs(`where a.id = $2 and a.`+family(1)+` order by v.version desc`, account, id)
		if err == nil && len(list) == 0 {
			return notFound("agent", id)
		}
		return err
	})
	return list, err
}

// AgentBySerial is the newest version of an agent that the account may use, by the agent's integer id.
func (s *Store) AgentBySerial(ctx context.Context, account waihu.AccountID, serial int64) (waihu.AgentSpec, error) {
	return s.agentWhere(ctx, serial, `where v.id = a.version_id and a.serial = $2 and a.`+family(1), account, serial)
}

// TaskAgent is the agent of the task in the version that talks: the pinned one of its Agent, the newest of any other.
func (s *Store) TaskAgent(ctx context.Context, k *waihu.Task, id waihu.AgentID) (waihu.AgentSpec, error) {
	if id == k.Agent && k.AgentVersion != 0 {
		return s.AgentVersion(ctx, k.Account, k.AgentVersion)
	}
	return s.Agent(ctx, k.Account, id)
}

// Agents are the newest versions of the agents that the account may use, oldest agent first, page by
// page (from 1; perPage 0 means 15), and how many there are.
func (s *Store) Agents(ctx context.Context, account waihu.AccountID, page, perPage int) (list []waihu.AgentSpec, total int, err error) {
	limit, offset := paging(page, perPage)
	err = s.read(ctx, func(t *tx) error {
		if _, err := t.one(into(&total), `select count(*) from agents where `+family(1), account); err != nil {
			return err
		}
		list, err = t.agentSpecs(`where v.id = a.version_id and a.`+family(1)+` order by a.created_at, a.id limit $2 offset $3`, account, limit, offset)
		return err
	})
	return list, total, err
}

const (
	defaultPage = 15
	maxPage     = 5000
)

func paging(page, perPage int) (limit, offset int) {
	if perPage <= 0 {
		perPage = defaultPage
	}
	perPage = min(perPage, maxPage)
	return perPage, (max(page, 1) - 1) * perPage
}
