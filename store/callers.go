package store

import (
	"context"

	"waihu"
)

// Caller states.
const (
	callerUsable  = 0
	callerRetired = 1
)

// putCallers brings a line's caller numbers in step with numbers. One that is gone is retired and keeps its
// id, because vendors' clients hold these ids as constants; when it comes back it is the same caller again.
func (t *tx) putCallers(line waihu.LineID, numbers []string) error {
	if _, err := t.exec(`update callers set state = $2 where line = $1`, line, callerRetired); err != nil {
		return err
	}
	for _, number := range numbers {
		n, err := t.exec(`update callers set state = $3 where line = $1 and number = $2`, line, number, callerUsable)
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		id, err := t.head("callers", 1)
		if err != nil {
			return err
		}
		if _, err := t.exec(`insert into callers (id, line, number, state) values ($1, $2, $3, $4)`, id, line, number, callerUsable); err != nil {
			return err
		}
	}
	return nil
}

// Callers are the caller numbers, retired ones too, of one line that the account may use, or of all of them
// when line is empty, by id.
func (s *Store) Callers(ctx context.Context, account waihu.AccountID, line waihu.LineID) (list []waihu.Caller, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var c waihu.Caller
			err := scan(&c.ID, &c.Line, &c.Number, &c.State)
			list = append(list, c)
			return err
		}, `select id, line, number, state from callers where line in (select id from lines where `+family(1)+`) and ($2 = '' or line = $2) order by id`,
			account, line)
	})
	return list, err
}

// Caller is one caller number of a line that the account may use, retired or not.
func (s *Store) Caller(ctx context.Context, account waihu.AccountID, id int64) (c waihu.Caller, err error) {
	err = s.read(ctx, func(t *tx) error {
		found, err := t.one(into(&c.ID, &c.Line, &c.Number, &c.State),
			`select id, line, number, state from callers where id = $2 and line in (select id from lines where `+family(1)+`)`, account, id)
		if err == nil && !found {
			return notFound("caller number", id)
		}
		return err
	})
	return c, err
}
