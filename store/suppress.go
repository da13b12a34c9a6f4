package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"waihu"
)

// Suppress keeps the account's tasks from ever calling the number, however it is written; a number suppressed already
// keeps its first reason. call may be 0.
func (s *Store) Suppress(ctx context.Context, account waihu.AccountID, phone waihu.PhoneNumber, reason string, call waihu.CallID) error {
	if phone == "" {
		return waihu.FieldErrorf("phone", "a phone number was expected")
	}
	return s.update(ctx, normal, func(t *tx) error {
		return t.suppress([][]any{{account, string(phone), ms(s.now()), reason, int64(call)}})
	})
}

// SuppressAll is Suppress for many numbers of one reason: all of them or none.
func (s *Store) SuppressAll(ctx context.Context, account waihu.AccountID, phones []waihu.PhoneNumber, reason string) error {
	rows := make([][]any, 0, len(phones))
	seen := map[waihu.PhoneNumber]bool{}
	for _, p := range phones {
		if p == "" {
			return waihu.FieldErrorf("phones", "a phone number was expected")
		}
		if !seen[p] {
			seen[p] = true
			rows = append(rows, []any{account, string(p), ms(s.now()), reason, int64(0)})
		}
	}
	return s.update(ctx, normal, func(t *tx) error { return t.suppress(rows) })
}

// suppress writes rows of account, phone, since, reason, call, each with its keyed hash, which stays when the number is erased.
func (t *tx) suppress(list [][]any) error {
	if len(list) == 0 {
		return nil
	}
	if err := t.execRows(sqlSuppress, list); err != nil {
		return err
	}
	sums := make([][]any, len(list))
	mac := t.s.sums()
	for i, r := range list {
		sums[i] = []any{r[0], mac.of(r[0].(waihu.AccountID), waihu.PhoneNumber(r[1].(string))), r[2], r[3]}
	}
	if err := t.execRows(sqlSuppressSum, sums); err != nil {
		return err
	}
	_, err := t.exec(`insert into settings (name, value) values ('suppressed_key', $1) on conflict (name) do nothing`, mac.of("", keyProbe))
	return err
}

// Unsuppress lets the number be called again; one that is not suppressed is ENotFound.
func (s *Store) Unsuppress(ctx context.Context, account waihu.AccountID, phone waihu.PhoneNumber) error {
	return s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(`delete from suppressed_sums where account = $1 and sum = $2`, account, s.sums().of(account, phone))
		if err != nil {
			return err
		}
		for _, form := range append(phone.Forms(), phone) {
			m, err := t.exec(`delete from suppressed where account = $1 and phone = $2`, account, form)
			if err != nil {
				return err
			}
			n += m
		}
		if n == 0 {
			err = waihu.Errorf(waihu.ENotFound, "the number is not suppressed")
		}
		return err
	})
}

// Suppressed are up to limit suppressed numbers of the account after a number, in the order of the numbers. Those that were
// erased are not among them: nobody knows them any more, and they are still never called.
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

// sums makes the keyed hashes of suppressed numbers. It belongs to one goroutine.
type sums struct{ mac hash.Hash }

// keyProbe is hashed as if it were a number, so that a ledger knows whether it is opened with its own key.
const keyProbe = "the key of suppressed numbers"

func (s *Store) sums() sums {
	key := hmac.New(sha256.New, s.o.Key)
	key.Write([]byte(keyProbe))
	return sums{hmac.New(sha256.New, key.Sum(nil))}
}

// of is the hash of a number in an account: 128 bits, and of another account another.
func (x sums) of(account waihu.AccountID, phone waihu.PhoneNumber) string {
	x.mac.Reset()
	x.mac.Write([]byte(account))
	x.mac.Write([]byte{0})
	x.mac.Write([]byte(phone.Canonical()))
	var out [sha256.Size]byte
	return hex.EncodeToString(x.mac.Sum(out[:0])[:16])
}

// markSuppressed finds, among popped numbers, those that are suppressed in another form or whose number was erased. An account that never
// suppressed anything pays one look into an index for it.
func (t *tx) markSuppressed(account waihu.AccountID, found []popped) error {
	if len(found) == 0 {
		return nil
	}
	var n int
	if some, err := t.one(into(&n), sqlAnySum, account); err != nil || !some {
		return err
	}
	mac := t.s.sums()
	by := make(map[string][]int, len(found))
	list := make([][]any, 0, len(found))
	for i := range found {
		sum := mac.of(account, found[i].Phone)
		if by[sum] == nil {
			list = append(list, []any{account, sum})
		}
		by[sum] = append(by[sum], i)
	}
	param, err := jsonRows(list)
	if err != nil {
		return err
	}
	return t.each(func(scan func(...any) error) error {
		var sum string
		err := scan(&sum)
		for _, i := range by[sum] {
			found[i].Suppressed = true
		}
		return err
	}, sqlSuppressedSums, param)
}

// checkSums refuses a key with which the hashes of suppressed numbers would never match: people who said no would be called.
func (s *Store) checkSums(ctx context.Context) error {
	return s.read(ctx, func(t *tx) error {
		var want string
		found, err := t.one(into(&want), `select value from settings where name = 'suppressed_key'`)
		if err == nil && found && want != s.sums().of("", keyProbe) {
			err = fmt.Errorf("the hashes of suppressed numbers were made with another key (WAIHU_KEY, --key-file or secret.key in the data folder): " +
				"open the ledger with that key; docs/recordings-and-privacy.md says what to do when it is lost")
		}
		return err
	})
}

const (
	sqlSuppressSum = `insert into suppressed_sums (account, sum, since, reason)
	select r.value->>0, r.value->>1, cast(r.value->>2 as bigint), r.value->>3 from {rows $1} where true
	on conflict (account, sum) do nothing`

	sqlAnySum = `select 1 from suppressed_sums where account = $1 limit 1`

	// The rows are outside: each is one look into the primary key.
	sqlSuppressedSums = `select x.sum from {rows $1} cross join suppressed_sums x where x.account = r.value->>0 and x.sum = r.value->>1`
)
