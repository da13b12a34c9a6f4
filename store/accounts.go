package store

import (
	"context"
	"fmt"

	"waihu"
)

const accountColumns = `accounts.id, accounts.serial, accounts.parent, accounts.name, accounts.email, accounts.phone, accounts.zone, accounts.doors, accounts.created_at, accounts.updated_at`

func scanAccount(scan func(dest ...any) error, extra ...any) (waihu.Account, error) {
	var a waihu.Account
	var doors string
	var created, updated int64
	if err := scan(append(into(&a.ID, &a.Serial, &a.Parent, &a.Name, &a.Email, &a.Phone, &a.Zone, &doors, &created, &updated), extra...)...); err != nil {
		return a, err
	}
	a.CreatedAt, a.UpdatedAt = at(created), at(updated)
	var err error
	a.Doors, err = decodeDoors(doors)
	return a, err
}

// UpsertAccount makes an account or replaces its fields. An account never changes its parent, and a
// sub-account has none of its own.
func (s *Store) UpsertAccount(ctx context.Context, a waihu.Account) error {
	err := s.update(ctx, normal, func(t *tx) error { return t.putAccount(a) })
	if err == nil && a.Parent != "" {
		s.endpointsChanged() // those of the main account follow it
	}
	return err
}

func (t *tx) putAccount(a waihu.Account) error {
	if a.ID == "" || a.Name == "" {
		return waihu.Errorf(waihu.EInvalid, "an account has an id and a name")
	}
	if a.Zone != "" {
		if err := checkZone("zone", a.Zone); err != nil {
			return err
		}
	}
	if a.Parent != "" {
		parent, err := t.account(a.Parent)
		if err != nil {
			return err
		}
		if parent.Parent != "" {
			return waihu.FieldErrorf("parent", "%s is a sub-account itself: sub-accounts have no sub-accounts", a.Parent)
		}
	}
	doors, err := encodeDoors(a.Doors)
	if err != nil {
		return waihu.FieldErrorf("doors", "not JSON: %v", err)
	}
	old, err := t.account(a.ID)
	if err == nil && old.Parent != a.Parent {
		return conflict(nil, "account %s exists with another parent: an account cannot move", a.ID)
	}
	if err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
		return err
	}
	if old.Serial == 0 {
		if old.Serial, err = t.head("accounts", 1); err != nil {
			return err
		}
	}
	now := ms(t.s.now())
	// a sub-account lives on its main account's shard
	_, err = t.exec(`insert into accounts (id, parent, name, email, phone, zone, shard, doors, created_at, updated_at, serial)
		values ($1, $2, $3, $4, $5, $6, coalesce((select shard from accounts p where p.id = $2), 0), $7, $8, $8, $9)
		on conflict (id) do update set name = excluded.name, email = excluded.email, phone = excluded.phone, zone = excluded.zone,
			doors = excluded.doors, updated_at = excluded.updated_at, serial = excluded.serial`,
		a.ID, a.Parent, a.Name, a.Email, a.Phone, a.Zone, doors, now, old.Serial)
	return err
}

// Account is one account or sub-account.
func (s *Store) Account(ctx context.Context, id waihu.AccountID) (a waihu.Account, err error) {
	err = s.read(ctx, func(t *tx) error {
		a, err = t.account(id)
		return err
	})
	return a, err
}

func (t *tx) account(id waihu.AccountID) (a waihu.Account, err error) {
	list, err := t.accounts(`select `+accountColumns+` from accounts where id = $1`, id)
	if err == nil && len(list) == 0 {
		return a, notFound("account", id)
	}
	if err != nil {
		return a, err
	}
	return list[0], nil
}

func (t *tx) accounts(sql string, args ...any) (list []waihu.Account, err error) {
	err = t.each(func(scan func(...any) error) error {
		a, err := scanAccount(scan)
		list = append(list, a)
		return err
	}, sql, args...)
	return list, err
}

// Accounts are the main accounts, oldest first.
func (s *Store) Accounts(ctx context.Context) ([]waihu.Account, error) {
	return s.SubAccounts(ctx, "")
}

// SubAccounts are the sub-accounts of a main account, oldest first.
func (s *Store) SubAccounts(ctx context.Context, parent waihu.AccountID) (list []waihu.Account, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err = t.accounts(`select `+accountColumns+` from accounts where parent = $1 order by created_at, id`, parent)
		return err
	})
	return list, err
}

// Reach is the account on which actor may act as target: itself (also for an empty target) or its own
// sub-account. Any other is ENotFound, as if it did not exist.
func (s *Store) Reach(ctx context.Context, actor, target waihu.AccountID) (waihu.Account, error) {
	if target == "" {
		target = actor
	}
	a, err := s.Account(ctx, target)
	if err == nil && a.ID != actor && (a.Parent == "" || a.Parent != actor) {
		return waihu.Account{}, notFound("account", target)
	}
	return a, err
}

// Reaches says whether Reach would succeed; an error is one of the database.
func (s *Store) Reaches(ctx context.Context, actor, target waihu.AccountID) (bool, error) {
	_, err := s.Reach(ctx, actor, target)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return false, nil
	}
	return err == nil, err
}

// family is the SQL condition under which a resource may be used by the account in parameter n: its own
// resources and those of its main account. Resources are written by their owner only.
func family(n int) string {
	return fmt.Sprintf(`account in ($%d, (select parent from accounts where id = $%d))`, n, n)
}

// owned refuses to write a resource whose id belongs to another account.
func (t *tx) owned(table, what string, id any, account waihu.AccountID) (exists bool, err error) {
	var owner waihu.AccountID
	exists, err = t.one(into(&owner), `select account from `+table+` where id = $1`, id)
	if err == nil && exists && owner != account {
		return true, conflict(nil, "the %s id %v is taken", what, id)
	}
	return exists, err
}
