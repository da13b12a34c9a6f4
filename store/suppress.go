package store

import (
	"context"

	"waihu"
)

// Suppress keeps the account's tasks from ever calling the number; a number suppressed already
// keeps its first reason. call may be 0.
func (s *Store) Suppress(ctx context.Context, account waihu.AccountID, phone waihu.PhoneNumber, reason string, call waihu.CallID) error {
	if phone == "" {
		return waihu.FieldErrorf("phone", "a phone number was expected")
	}
	return s.update(ctx, normal, func(t *tx) error {
		return t.execRows(sqlSuppress, [][]any{{account, string(phone), ms(s.now()), reason, int64(call)}})
	})
}

// Unsuppress lets the number be called again; one that is not suppressed is ENotFound.
func (s *Store) Unsuppress(ctx context.Context, account waihu.AccountID, phone waihu.PhoneNumber) error {
	return s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(`delete from suppressed where account = $1 and phone = $2`, account, phone)
		if err == nil && n == 0 {
			err = waihu.Errorf(waihu.ENotFound, "the number is not suppressed")
		}
		return err
	})
}

// Suppressed are up to limit suppressed numbers of the account after a number, in the order of the numbers.
func (s *Store) Suppressed(ctx context.Context, account waihu.AccountID, after waihu.PhoneNumber, limit int) (list []Suppression, err error) {
	if limit <= 0 || limit > maxPerPage {
		limit = maxPerPage
	}
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var x Suppression
			var since int64
			err := scan(&x.Phone, &since, &x.Reason, &x.Call)
			x.Since = at(since)
			list = append(list, x)
			return err
		}, `select phone, since, reason, call from suppressed where account = $1 and phone > $2 order by phone limit $3`, account, after, limit)
	})
	return list, err
}
