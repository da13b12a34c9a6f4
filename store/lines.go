package store

import (
	"context"
	"encoding/json"

	"waihu"
)

// maxStep is the longest step of a price, in seconds.
const maxStep = 3600

// UpsertLine makes a line or replaces its fields, and brings its caller numbers in step with
// Trunk.CallerIDs. An empty password keeps the stored one while the username stays the same, so
// that what Line returned can be written back.
func (s *Store) UpsertLine(ctx context.Context, l waihu.Line) error {
	err := s.update(ctx, normal, func(t *tx) error { return t.putLine(l, true) })
	if err == nil {
		s.wakeOwner()
	}
	return err
}

// putLine writes a line. keep: an empty password keeps the stored one.
func (t *tx) putLine(l waihu.Line, keep bool) error {
	switch {
	case l.ID == "":
		return waihu.FieldErrorf("id", "a line has an id")
	case l.Concurrency < 0:
		return waihu.FieldErrorf("concurrency", "%d is negative", l.Concurrency)
	case l.CPS < 0:
		return waihu.FieldErrorf("cps", "%d is negative: 0 means no limit", l.CPS)
	case l.Price.Minute < 0 || Money(l.Price.Minute) > MaxPrice:
		return waihu.FieldErrorf("price", "0 to %d yuan a minute was expected", MaxPrice/Yuan)
	case l.Price.Step < 0 || l.Price.Step > maxStep:
		return waihu.FieldErrorf("price.step", "%d: 1 to %d seconds was expected", l.Price.Step, maxStep)
	}
	if _, err := t.account(l.Account); err != nil {
		return err
	}
	exists, err := t.owned("lines", "line", l.ID, l.Account)
	if err != nil {
		return err
	}
	var sealed []byte
	switch {
	case l.Trunk.Password != "":
		if sealed, err = t.s.seal("line "+string(l.ID), l.Trunk.Password); err != nil {
			return err
		}
	case exists && keep:
		var text string
		if _, err := t.one(into(&text, &sealed), `select trunk, secret from lines where id = $1`, l.ID); err != nil {
			return err
		}
		var old waihu.Trunk
		if err := json.Unmarshal([]byte(text), &old); err != nil {
			return err
		}
		if old.Username != l.Trunk.Username || old.AuthUsername != l.Trunk.AuthUsername {
			sealed = nil
		}
	}
	bare := l.Trunk
	bare.Password = ""
	trunk, err := json.Marshal(bare)
	if err != nil {
		return err
	}
	now := ms(t.s.now())
	if _, err := t.exec(`insert into lines (id, account, name, remark, node, concurrency, cps, expires_at, trunk, secret, price, price_step, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, $13, $11, $11)
		on conflict (id) do update set name = excluded.name, remark = excluded.remark, node = excluded.node, concurrency = excluded.concurrency,
			cps = excluded.cps, expires_at = excluded.expires_at, trunk = excluded.trunk, secret = excluded.secret, price = excluded.price, price_step = excluded.price_step, updated_at = excluded.updated_at`,
		l.ID, l.Account, l.Name, l.Remark, l.Node, l.Concurrency, l.CPS, ms(l.Expires), string(trunk), sealed, now, l.Price.Minute, l.Price.Step); err != nil {
		return err
	}
	return t.putCallers(l.ID, l.Trunk.CallerIDs)
}

// Line is a line that the account may use, its own or its main account's, without the trunk's password.
func (s *Store) Line(ctx context.Context, account waihu.AccountID, id waihu.LineID) (l waihu.Line, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err := t.lines(`select `+lineColumns+` from lines where id = $2 and `+family(1), account, id)
		if err == nil && len(list) == 0 {
			return notFound("line", id)
		}
		if err == nil {
			l = list[0]
		}
		return err
	})
	return l, err
}

// Lines are the lines that the account may use, its own and its main account's, by id, without passwords.
func (s *Store) Lines(ctx context.Context, account waihu.AccountID) (list []waihu.Line, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err = t.linesFor(account)
		return err
	})
	return list, err
}

// LineOwner is the account that a line belongs to.
func (s *Store) LineOwner(ctx context.Context, id waihu.LineID) (owner waihu.AccountID, err error) {
	err = s.read(ctx, func(t *tx) error {
		found, err := t.one(into(&owner), `select account from lines where id = $1`, id)
		if err == nil && !found {
			return notFound("line", id)
		}
		return err
	})
	return owner, err
}

// Trunks are all lines of all accounts by id, with their passwords: for the process that dials, and no door.
func (s *Store) Trunks(ctx context.Context) (list []waihu.Line, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var sealed []byte
			l, err := scanLine(scan, &sealed)
			if err != nil {
				return err
			}
			if l.Trunk.Password, err = s.unseal("line "+string(l.ID), sealed); err != nil {
				return err
			}
			list = append(list, l)
			return nil
		}, `select `+lineColumns+`, lines.secret from lines order by id`)
	})
	return list, err
}

func (t *tx) lines(sql string, args ...any) (list []waihu.Line, err error) {
	err = t.each(func(scan func(...any) error) error {
		l, err := scanLine(scan)
		list = append(list, l)
		return err
	}, sql, args...)
	return list, err
}
