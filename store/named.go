package store

import (
	"context"
	"encoding/json"

	"waihu"
)

// Resources of which only id, name and a few further fields are known. Ids are per kind. Data is the JSON
// object of the further keys as the apply file writes them, such as {"strategy":"even","seats":["sip:…"]}
// of a bridge group.

const namedColumns = `kind, id, account, name, data, created_at, updated_at`

func scanNamed(scan func(dest ...any) error) (n waihu.Named, err error) {
	var data string
	var created, updated int64
	err = scan(&n.Kind, &n.ID, &n.Account, &n.Name, &data, &created, &updated)
	n.CreatedAt, n.UpdatedAt = at(created), at(updated)
	if data != "" {
		n.Data = []byte(data)
	}
	return n, err
}

// SaveNamed makes a resource (with ID 0: under a new id) or replaces it.
func (s *Store) SaveNamed(ctx context.Context, n *waihu.Named) error {
	saved := *n
	err := s.update(ctx, normal, func(t *tx) error {
		saved = *n
		return t.putNamed(&saved)
	})
	if err == nil {
		*n = saved
	}
	return err
}

func (t *tx) putNamed(n *waihu.Named) error {
	switch n.Kind {
	case waihu.Background, waihu.BridgeGroup, waihu.QualityCheck, waihu.ScoreScheme, waihu.Speaker, waihu.Listener, waihu.Knowledge:
	default:
		return waihu.FieldErrorf("kind", "%q is not a kind of resource", n.Kind)
	}
	if n.Name == "" {
		return waihu.FieldErrorf("name", "a %s has a name", n.Kind)
	}
	if len(n.Data) > 0 {
		var object map[string]json.RawMessage
		if json.Unmarshal(n.Data, &object) != nil {
			return waihu.FieldErrorf("data", "not a JSON object")
		}
	}
	if _, err := t.account(n.Account); err != nil {
		return err
	}
	now := ms(t.s.now())
	created := now
	counter := "named:" + string(n.Kind)
	switch {
	case n.ID < 0:
		return waihu.FieldErrorf("id", "%d is negative", n.ID)
	case n.ID == 0:
		var err error
		if n.ID, err = t.head(counter, 1); err != nil {
			return err
		}
	default:
		var owner waihu.AccountID
		found, err := t.one(into(&owner, &created), `select account, created_at from named where kind = $1 and id = $2`, n.Kind, n.ID)
		if err != nil {
			return err
		}
		if found && owner != n.Account {
			return conflict(nil, "the %s id %d is taken", n.Kind, n.ID)
		}
		if !found {
			if err := t.headAtLeast(counter, n.ID); err != nil {
				return err
			}
		}
	}
	n.CreatedAt, n.UpdatedAt = at(created), at(now)
	_, err := t.exec(`insert into named (kind, id, account, name, data, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $6)
		on conflict (kind, id) do update set name = excluded.name, data = excluded.data, updated_at = excluded.updated_at`,
		n.Kind, n.ID, n.Account, n.Name, string(n.Data), now)
	return err
}

// Named is a resource that the account may use, its own or its main account's.
func (s *Store) Named(ctx context.Context, account waihu.AccountID, kind waihu.NamedKind, id int64) (n waihu.Named, err error) {
	err = s.read(ctx, func(t *tx) error {
		found := false
		err := t.each(func(scan func(...any) error) error {
			found = true
			n, err = scanNamed(scan)
			return err
		}, `select `+namedColumns+` from named where kind = $2 and id = $3 and `+family(1), account, kind, id)
		if err == nil && !found {
			return notFound(string(kind), id)
		}
		return err
	})
	return n, err
}

// NamedList are all resources of a kind that the account may use, by id.
func (s *Store) NamedList(ctx context.Context, account waihu.AccountID, kind waihu.NamedKind) (list []waihu.Named, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			n, err := scanNamed(scan)
			list = append(list, n)
			return err
		}, `select `+namedColumns+` from named where kind = $2 and `+family(1)+` order by id`, account, kind)
	})
	return list, err
}

// DeleteNamed removes the account's own resource.
func (s *Store) DeleteNamed(ctx context.Context, account waihu.AccountID, kind waihu.NamedKind, id int64) error {
	return s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(`delete from named where kind = $1 and id = $2 and account = $3`, kind, id, account)
		if err == nil && n == 0 {
			return notFound(string(kind), id)
		}
		return err
	})
}
