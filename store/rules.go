package store

import (
	"context"
	"encoding/json"
	"fmt"

	"waihu"
)

const ruleColumns = `id, account, name, remark, is_default, config, created_at, updated_at`

func scanRule(scan func(dest ...any) error) (r waihu.RedialRule, err error) {
	var config string
	var isDefault int
	var created, updated int64
	if err := scan(&r.ID, &r.Account, &r.Name, &r.Remark, &isDefault, &config, &created, &updated); err != nil {
		return r, err
	}
	r.Default, r.CreatedAt, r.UpdatedAt = isDefault != 0, at(created), at(updated)
	if err := json.Unmarshal([]byte(config), &r.Details); err != nil {
		return r, fmt.Errorf("read the stored redial rule %d: %w", r.ID, err)
	}
	return r, nil
}

// SaveRedialRule makes a redial rule (with ID 0: under a new id) or replaces it. The tasks that copied it stay as
// they are. A new default rule takes the mark from the account's other ones.
func (s *Store) SaveRedialRule(ctx context.Context, r *waihu.RedialRule) error {
	saved := *r
	err := s.update(ctx, normal, func(t *tx) error {
		saved = *r
		return t.putRule(&saved)
	})
	if err == nil {
		*r = saved
	}
	return err
}

func (t *tx) putRule(r *waihu.RedialRule) error {
	if r.Name == "" {
		return waihu.FieldErrorf("name", "a redial rule has a name")
	}
	seen := map[waihu.Disposition]bool{}
	for i, d := range r.Details {
		field := fmt.Sprintf("details[%d]", i)
		switch {
		case d.After < 0:
			return waihu.FieldErrorf(field, "the wait is negative")
		case seen[d.On]:
			return waihu.FieldErrorf(field, "%s has a wait already", d.On)
		}
		seen[d.On] = true
	}
	config, err := json.Marshal(append([]waihu.RedialDetail{}, r.Details...))
	if err != nil {
		return err
	}
	created, err := t.smallID("redial_rules", "redial rule", &r.ID, r.Account)
	if err != nil {
		return err
	}
	if r.Default {
		if _, err := t.exec(`update redial_rules set is_default = 0 where account = $1 and id <> $2 and is_default = 1`, r.Account, r.ID); err != nil {
			return err
		}
	}
	now := ms(t.s.now())
	r.CreatedAt, r.UpdatedAt = at(orNow(created, now)), at(now)
	_, err = t.exec(`insert into redial_rules (id, account, name, remark, is_default, config, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $7)
		on conflict (id) do update set name = excluded.name, remark = excluded.remark, is_default = excluded.is_default,
			config = excluded.config, updated_at = excluded.updated_at`,
		r.ID, r.Account, r.Name, r.Remark, flag(r.Default), string(config), now)
	return err
}

// RedialRule is a rule that the account may use, its own or its main account's.
func (s *Store) RedialRule(ctx context.Context, account waihu.AccountID, id int64) (r waihu.RedialRule, err error) {
	err = s.read(ctx, func(t *tx) error {
		found := false
		err := t.each(func(scan func(...any) error) error {
			found = true
			r, err = scanRule(scan)
			return err
		}, `select `+ruleColumns+` from redial_rules where id = $2 and `+family(1), account, id)
		if err == nil && !found {
			return notFound("redial rule", id)
		}
		return err
	})
	return r, err
}

// RedialRules are all rules that the account may use, by id.
func (s *Store) RedialRules(ctx context.Context, account waihu.AccountID) (list []waihu.RedialRule, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			r, err := scanRule(scan)
			list = append(list, r)
			return err
		}, `select `+ruleColumns+` from redial_rules where `+family(1)+` order by id`, account)
	})
	return list, err
}

// DeleteRedialRule removes the account's own rule. Tasks keep their copy.
func (s *Store) DeleteRedialRule(ctx context.Context, account waihu.AccountID, id int64) error {
	return s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(`delete from redial_rules where id = $1 and account = $2`, id, account)
		if err == nil && n == 0 {
			return notFound("redial rule", id)
		}
		return err
	})
}
