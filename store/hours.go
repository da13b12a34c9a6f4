package store

import (
	"context"
	"encoding/json"
	"fmt"

	"waihu"
)

const hoursColumns = `id, account, name, remark, is_default, skip_holiday, config, created_at, updated_at`

func scanHours(scan func(dest ...any) error) (h waihu.CallingHours, err error) {
	var config string
	var isDefault, skip int
	var created, updated int64
	if err := scan(&h.ID, &h.Account, &h.Name, &h.Remark, &isDefault, &skip, &config, &created, &updated); err != nil {
		return h, err
	}
	h.Default, h.SkipHoliday, h.CreatedAt, h.UpdatedAt = isDefault != 0, skip != 0, at(created), at(updated)
	if err := json.Unmarshal([]byte(config), &h.Weekly); err != nil {
		return h, fmt.Errorf("read the stored calling hours %d: %w", h.ID, err)
	}
	return h, nil
}

// SaveCallingHours makes calling hours (with ID 0: under a new id) or replaces them. The tasks that copied them
// stay as they are. New default hours take the mark from the account's other ones.
func (s *Store) SaveCallingHours(ctx context.Context, h *waihu.CallingHours) error {
	saved := *h
	err := s.update(ctx, normal, func(t *tx) error {
		saved = *h
		return t.putHours(&saved)
	})
	if err == nil {
		*h = saved
	}
	return err
}

func (t *tx) putHours(h *waihu.CallingHours) error {
	if h.Name == "" {
		return waihu.FieldErrorf("name", "calling hours have a name")
	}
	if err := checkWeekly("weekly", h.Weekly); err != nil {
		return err
	}
	config, err := json.Marshal(h.Weekly)
	if err != nil {
		return err
	}
	created, err := t.smallID("hours", "calling hours", &h.ID, h.Account)
	if err != nil {
		return err
	}
	if h.Default {
		if _, err := t.exec(`update hours set is_default = 0 where account = $1 and id <> $2 and is_default = 1`, h.Account, h.ID); err != nil {
			return err
		}
	}
	now := ms(t.s.now())
	h.CreatedAt, h.UpdatedAt = at(orNow(created, now)), at(now)
	_, err = t.exec(`insert into hours (id, account, name, remark, is_default, skip_holiday, config, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
		on conflict (id) do update set name = excluded.name, remark = excluded.remark, is_default = excluded.is_default,
			skip_holiday = excluded.skip_holiday, config = excluded.config, updated_at = excluded.updated_at`,
		h.ID, h.Account, h.Name, h.Remark, flag(h.Default), flag(h.SkipHoliday), string(config), now)
	return err
}

// smallID takes the next integer id of a table when *id is 0, else learns of the given one and refuses another
// account's. It returns when the row was made, 0 for a new one.
func (t *tx) smallID(table, what string, id *int64, account waihu.AccountID) (created int64, err error) {
	if _, err := t.account(account); err != nil {
		return 0, err
	}
	switch {
	case *id < 0:
		return 0, waihu.FieldErrorf("id", "%d is negative", *id)
	case *id == 0:
		*id, err = t.head(table, 1)
		return 0, err
	}
	if exists, err := t.owned(table, what, *id, account); err != nil || !exists {
		if err == nil {
			err = t.headAtLeast(table, *id)
		}
		return 0, err
	}
	_, err = t.one(into(&created), `select created_at from `+table+` where id = $1`, *id)
	return created, err
}

func orNow(created, now int64) int64 {
	if created == 0 {
		return now
	}
	return created
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// CallingHours are hours that the account may use, its own or its main account's.
func (s *Store) CallingHours(ctx context.Context, account waihu.AccountID, id int64) (h waihu.CallingHours, err error) {
	err = s.read(ctx, func(t *tx) error {
		h, err = t.callingHours(account, id)
		return err
	})
	return h, err
}

func (t *tx) callingHours(account waihu.AccountID, id int64) (h waihu.CallingHours, err error) {
	found := false
	err = t.each(func(scan func(...any) error) error {
		found = true
		h, err = scanHours(scan)
		return err
	}, `select `+hoursColumns+` from hours where id = $2 and `+family(1), account, id)
	if err == nil && !found {
		err = notFound("calling hours", id)
	}
	return h, err
}

// CallingHoursList are all hours that the account may use, by id.
func (s *Store) CallingHoursList(ctx context.Context, account waihu.AccountID) (list []waihu.CallingHours, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			h, err := scanHours(scan)
			list = append(list, h)
			return err
		}, `select `+hoursColumns+` from hours where `+family(1)+` order by id`, account)
	})
	return list, err
}

// DeleteCallingHours removes the account's own hours. Tasks keep their copy.
func (s *Store) DeleteCallingHours(ctx context.Context, account waihu.AccountID, id int64) error {
	return s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(`delete from hours where id = $1 and account = $2`, id, account)
		if err == nil && n == 0 {
			return notFound("calling hours", id)
		}
		return err
	})
}
