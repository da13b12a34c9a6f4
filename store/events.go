package store

import (
	"context"

	"waihu"
)

const maxEvents = 1000

// Events are up to limit events of the account after number after, in order. They are numbered
// without gaps per account and per task, so that a reader knows that it has all.
func (s *Store) Events(ctx context.Context, account waihu.AccountID, after int64, limit int) (list []waihu.Event, err error) {
	if limit <= 0 || limit > maxEvents {
		limit = maxEvents
	}
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			e, err := scanEvent(account, scan)
			list = append(list, e)
			return err
		}, sqlReadEvents, account, after, limit)
	})
	return list, err
}

func scanEvent(account waihu.AccountID, scan func(dest ...any) error) (waihu.Event, error) {
	e := waihu.Event{Account: account}
	var when int64
	var body string
	err := scan(&e.N, &e.Task, &e.TaskN, &when, &e.Kind, &e.Call, &body)
	e.At, e.Body = at(when), []byte(body)
	return e, err
}

const sqlReadEvents = `select n, task, task_n, at, kind, call, body from events where account = $1 and n > $2 order by n limit $3`

// LastEvent is the number of the account's latest event, 0 when there is none.
func (s *Store) LastEvent(ctx context.Context, account waihu.AccountID) (n int64, err error) {
	err = s.read(ctx, func(t *tx) error {
		_, err := t.one(into(&n), `select n from heads where name = $1`, eventsHead(account))
		return err
	})
	return n, err
}
