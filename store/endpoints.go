package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"waihu"
)

// maxEndpoints bounds the endpoints of one account: each costs a goroutine and reads every event of its account.
const maxEndpoints = 100

// EndpointState is an endpoint with where it stands. Its Authorization and Secret are left out.
type EndpointState struct {
	waihu.Endpoint
	HasAuthorization, HasSecret bool
	BlockedUntil                time.Time // by the circuit breaker; zero: it is not blocked
	LastOK                      time.Time // the last delivery
	LastErrorAt                 time.Time
	LastError                   string // of the last failure, "" when there was none since the last delivery
	Sent                        int64  // events delivered
	Waiting                     int64  // events that failed and are tried again beside the cursor
	Failed                      int64  // events given up; see Deliveries
	Cursors                     []EndpointCursor
}

// Lag is how many events lie before the endpoint, those of other tasks and kinds included.
func (e EndpointState) Lag() (n int64) {
	for _, c := range e.Cursors {
		n += max(0, c.Head-c.Next+1)
	}
	return n
}

// EndpointCursor is how far an endpoint is with the events of one account that it follows.
type EndpointCursor struct {
	Account waihu.AccountID
	Next    int64 // the first that is not settled
	Head    int64 // the account's last
}

// EndpointEdit changes what is not nil.
type EndpointEdit struct {
	URL           *string
	Task          *waihu.TaskID
	Kinds         *[]waihu.EventKind
	Authorization *string
	Secret        *string
	Remark        *string
}

// AddEndpoint makes an endpoint under a new id. It is told of what happens from now on, or from event from on when that is
// above 0 (of sub-accounts: from their first).
func (s *Store) AddEndpoint(ctx context.Context, e *waihu.Endpoint, from int64) error {
	made := *e
	made.ID = 0
	err := s.update(ctx, normal, func(t *tx) error {
		made = *e
		made.ID = 0
		return t.putEndpoint(&made, from)
	})
	if err == nil {
		*e = made
		s.endpointsChanged()
	}
	return err
}

// putEndpoint makes an endpoint, or replaces one that the account has under that id.
func (t *tx) putEndpoint(e *waihu.Endpoint, from int64) error {
	if err := checkEndpoint(e); err != nil {
		return err
	}
	if err := t.checkEndpointTask(e); err != nil {
		return err
	}
	created, err := t.smallID("endpoints", "endpoint", &e.ID, e.Account)
	if err != nil {
		return err
	}
	if created == 0 {
		var n int
		if _, err := t.one(into(&n), `select count(*) from endpoints where account = $1`, e.Account); err != nil {
			return err
		}
		if n >= maxEndpoints {
			return conflict(nil, "the account has %d endpoints already: remove one first", n)
		}
	}
	authorization, err := t.sealOptional(endpointSecret(e.ID, "authorization"), e.Authorization)
	if err != nil {
		return err
	}
	secret, err := t.sealOptional(endpointSecret(e.ID, "secret"), e.Secret)
	if err != nil {
		return err
	}
	kinds, err := json.Marshal(append([]waihu.EventKind{}, e.Kinds...))
	if err != nil {
		return err
	}
	now := ms(t.s.now())
	e.CreatedAt, e.UpdatedAt = at(orNow(created, now)), at(now)
	if _, err := t.exec(`insert into endpoints (id, account, door, url, task, kinds, authorization_sealed, secret_sealed, remark, version, owner, lease_until,
			blocked_until, last_ok, last_error_at, last_error, sent, waiting, failed, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, '', 0, 0, 0, 0, '', 0, 0, 0, $10, $10)
		on conflict (id) do update set door = excluded.door, url = excluded.url, task = excluded.task, kinds = excluded.kinds,
			authorization_sealed = excluded.authorization_sealed, secret_sealed = excluded.secret_sealed, remark = excluded.remark,
			version = endpoints.version + 1, updated_at = excluded.updated_at`,
		e.ID, e.Account, e.Door, e.URL, e.Task, string(kinds), authorization, secret, e.Remark, now); err != nil || created != 0 {
		return err
	}
	if from < 0 {
		return waihu.FieldErrorf("from", "%d is negative: the number of the first event that is wanted was expected, or 0 for what happens from now on", from)
	}
	_, err = t.exec(`insert into cursors (endpoint, account, next_n)
		select $1, a.id, case when cast($3 as bigint) = 0 then coalesce((select n from heads where name = 'events:' || a.id), 0) + 1
			when a.id = $2 then cast($3 as bigint) else 1 end
		from accounts a where a.id = $2 or a.parent = $2`, e.ID, e.Account, from)
	return err
}

// checkEndpointTask refuses a task that the account does not reach. One that the endpoint has already may be gone since.
func (t *tx) checkEndpointTask(e *waihu.Endpoint) error {
	if e.Task == "" {
		return nil
	}
	found, err := t.one(into(new(int)), `select 1 from tasks where id = $1 and deleted = 0 and (account = $2 or account in (select id from accounts where parent = $2))
		union all select 1 from endpoints where id = $3 and account = $2 and task = $1`, e.Task, e.Account, e.ID)
	if err == nil && !found {
		err = waihu.FieldErrorf("task", "no task %s", e.Task)
	}
	return err
}

func endpointSecret(id int64, what string) string { return fmt.Sprintf("endpoint %d %s", id, what) }

func (t *tx) sealOptional(where, secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	return t.s.seal(where, secret)
}

func checkEndpoint(e *waihu.Endpoint) error {
	if e.Door == "" {
		return waihu.FieldErrorf("door", "an endpoint has the door whose shape its bodies have")
	}
	u, err := url.Parse(e.URL)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || len(e.URL) > 2000 || !printable(e.URL):
		return waihu.FieldErrorf("url", "an address beginning with http:// or https:// was expected, of at most 2000 letters, all of ASCII: others as %%E4%%B8%%AD and, in the name of a host, as xn--")
	case u.User != nil:
		return waihu.FieldErrorf("url", "a name and password in the address would stand in logs: use authorization")
	case len(e.Authorization) > 4000 || !printable(e.Authorization):
		return waihu.FieldErrorf("authorization", "the value of a header was expected: printable letters, at most 4000")
	case len(e.Remark) > 1000 || len(e.Kinds) > 100:
		return waihu.FieldErrorf("remark", "at most 1000 letters and 100 kinds were expected")
	}
	for i, k := range e.Kinds {
		if !slices.Contains(waihu.EventKinds, k) {
			return waihu.FieldErrorf(fmt.Sprintf("kinds[%d]", i), "%q is not a kind of event: one of %v was expected", k, waihu.EventKinds)
		}
	}
	if e.Secret != "" {
		if _, err := waihu.WebhookKey(e.Secret); err != nil {
			return err
		}
	}
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// UpdateEndpoint changes an endpoint. A new address is tried at once: it is not the one that was blocked.
func (s *Store) UpdateEndpoint(ctx context.Context, account waihu.AccountID, id int64, edit EndpointEdit) error {
	err := s.update(ctx, normal, func(t *tx) error {
		list, err := t.endpoints(true, `where account = $1 and id = $2`, account, id)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return notFound("endpoint", id)
		}
		e := list[0].Endpoint
		moved := edit.URL != nil && *edit.URL != e.URL
		for _, f := range []struct{ to, from *string }{{&e.URL, edit.URL}, {&e.Authorization, edit.Authorization}, {&e.Secret, edit.Secret}, {&e.Remark, edit.Remark}, {(*string)(&e.Task), (*string)(edit.Task)}} {
			if f.from != nil {
				*f.to = *f.from
			}
		}
		if edit.Kinds != nil {
			e.Kinds = *edit.Kinds
		}
		if err := t.putEndpoint(&e, 0); err != nil || !moved {
			return err
		}
		return t.release(id)
	})
	if err == nil {
		s.endpointsChanged()
	}
	return err
}

// RemoveEndpoint ends an endpoint and forgets what failed; the list of blackouts keeps its rows.
func (s *Store) RemoveEndpoint(ctx context.Context, account waihu.AccountID, id int64) error {
	err := s.update(ctx, normal, func(t *tx) error {
		if n, err := t.exec(`delete from endpoints where account = $1 and id = $2`, account, id); err != nil || n == 0 {
			if err == nil {
				err = notFound("endpoint", id)
			}
			return err
		}
		for _, sql := range []string{`delete from cursors where endpoint = $1`, `delete from deliveries where endpoint = $1`} {
			if _, err := t.exec(sql, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.endpointsChanged()
	}
	return err
}

// removeEndpoints ends all of an account, and its part in those of its main account.
func (t *tx) removeEndpoints(account waihu.AccountID) error {
	for _, sql := range []string{
		`delete from deliveries where account = $1 or endpoint in (select id from endpoints where account = $1)`,
		`delete from cursors where account = $1 or endpoint in (select id from endpoints where account = $1)`,
		`delete from blackouts where account = $1`,
		`update endpoints set version = version + 1 where account = (select parent from accounts where id = $1)`,
		`delete from endpoints where account = $1`,
	} {
		if _, err := t.exec(sql, account); err != nil {
			return err
		}
	}
	return nil
}

// Endpoint is one endpoint of the account.
func (s *Store) Endpoint(ctx context.Context, account waihu.AccountID, id int64) (EndpointState, error) {
	list, err := s.listEndpoints(ctx, `where account = $1 and id = $2`, account, id)
	if err == nil && len(list) == 0 {
		err = notFound("endpoint", id)
	}
	if err != nil {
		return EndpointState{}, err
	}
	return list[0], nil
}

// Endpoints are all of the account by id.
func (s *Store) Endpoints(ctx context.Context, account waihu.AccountID) ([]EndpointState, error) {
	return s.listEndpoints(ctx, `where account = $1`, account)
}

// AllEndpoints are those of every account: for the operator.
func (s *Store) AllEndpoints(ctx context.Context) ([]EndpointState, error) {
	return s.listEndpoints(ctx, ``)
}

func (s *Store) listEndpoints(ctx context.Context, where string, args ...any) (list []EndpointState, err error) {
	err = s.read(ctx, func(t *tx) error {
		if list, err = t.endpoints(false, where, args...); err != nil || len(list) == 0 {
			return err
		}
		place := map[int64]int{}
		rows := make([][]any, len(list))
		for i := range list {
			place[list[i].ID] = i
			rows[i] = []any{list[i].ID}
		}
		param, err := jsonRows(rows)
		if err != nil {
			return err
		}
		return t.each(func(scan func(...any) error) error {
			var id int64
			var c EndpointCursor
			if err := scan(&id, &c.Account, &c.Next, &c.Head); err != nil {
				return err
			}
			e := &list[place[id]]
			e.Cursors = append(e.Cursors, c)
			return nil
		}, sqlEndpointCursors, param)
	})
	return list, err
}

const sqlEndpointCursors = `select c.endpoint, c.account, c.next_n, coalesce(h.n, 0) from {rows $1} join cursors c on c.endpoint = cast(r.value->>0 as bigint)
	left join heads h on h.name = 'events:' || c.account order by c.endpoint, c.account`

// endpoints reads rows; open also opens the sealed texts.
func (t *tx) endpoints(open bool, where string, args ...any) (list []EndpointState, err error) {
	err = t.each(func(scan func(...any) error) error {
		var e EndpointState
		var kinds string
		var authorization, secret []byte
		var blocked, ok, failed, created, updated int64
		if err := scan(&e.ID, &e.Account, &e.Door, &e.URL, &e.Task, &kinds, &authorization, &secret, &e.Remark, &blocked, &ok, &failed, &e.LastError,
			&e.Sent, &e.Waiting, &e.Failed, &created, &updated); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(kinds), &e.Kinds); err != nil {
			return fmt.Errorf("read the stored kinds of endpoint %d: %w", e.ID, err)
		}
		e.HasAuthorization, e.HasSecret = len(authorization) > 0, len(secret) > 0
		e.LastOK, e.LastErrorAt, e.CreatedAt, e.UpdatedAt = at(ok), at(failed), at(created), at(updated)
		if blocked > ms(t.s.now()) {
			e.BlockedUntil = at(blocked)
		}
		if open {
			if e.Authorization, err = t.s.unseal(endpointSecret(e.ID, "authorization"), authorization); err != nil {
				return err
			}
			if e.Secret, err = t.s.unseal(endpointSecret(e.ID, "secret"), secret); err != nil {
				return err
			}
		}
		list = append(list, e)
		return nil
	}, `select id, account, door, url, task, kinds, authorization_sealed, secret_sealed, remark, blocked_until, last_ok, last_error_at, last_error,
		sent, waiting, failed, created_at, updated_at from endpoints `+where+` order by id`, args...)
	return list, err
}

// ReleaseEndpoint ends the breaker's block: the endpoint is tried again at once, from where it stood.
func (s *Store) ReleaseEndpoint(ctx context.Context, account waihu.AccountID, id int64) error {
	return s.changeEndpoint(ctx, account, id, func(t *tx) error { return t.release(id) })
}

func (t *tx) release(id int64) error {
	now := ms(t.s.now())
	if _, err := t.exec(`update blackouts set release_at = $2, updated_at = $2 where endpoint = $1 and release_at > $2`, id, now); err != nil {
		return err
	}
	_, err := t.exec(`update endpoints set blocked_until = 0 where id = $1`, id)
	return err
}

// changeEndpoint runs f on an endpoint of the account and makes whoever delivers begin anew with it.
func (s *Store) changeEndpoint(ctx context.Context, account waihu.AccountID, id int64, f func(t *tx) error) error {
	err := s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(`update endpoints set version = version + 1, updated_at = $3 where account = $1 and id = $2`, account, id, ms(s.now()))
		if err == nil && n == 0 {
			err = notFound("endpoint", id)
		}
		if err != nil {
			return err
		}
		return f(t)
	})
	if err == nil {
		s.endpointsChanged()
	}
	return err
}

// ReplayEndpoint sets the endpoint's cursor for the events of one account that it follows (empty: its own) back to number from: all from
// there on is delivered again. What of it stood among the failed is forgotten there.
func (s *Store) ReplayEndpoint(ctx context.Context, account waihu.AccountID, id int64, of waihu.AccountID, from int64) error {
	if of == "" {
		of = account
	}
	if from < 1 {
		return waihu.FieldErrorf("from", "%d: the number of the first event that is wanted was expected, from 1 on", from)
	}
	return s.changeEndpoint(ctx, account, id, func(t *tx) error {
		n, err := t.exec(`update cursors set next_n = $3 where endpoint = $1 and account = $2 and next_n >= $3`, id, of, from)
		if err != nil {
			return err
		}
		if n == 0 {
			return waihu.FieldErrorf("from", "the endpoint has not come as far as event %d of account %s, or does not follow it", from, of)
		}
		if _, err := t.exec(`delete from deliveries where endpoint = $1 and account = $2 and n >= $3`, id, of, from); err != nil {
			return err
		}
		return t.recountDeliveries(id)
	})
}

// RetryDeliveries makes all events that were given up due again.
func (s *Store) RetryDeliveries(ctx context.Context, account waihu.AccountID, id int64) error {
	return s.changeEndpoint(ctx, account, id, func(t *tx) error {
		if _, err := t.exec(`update deliveries set state = 0, tries = 0, updated_at = $2 where endpoint = $1 and state = 1`, id, ms(s.now())); err != nil {
			return err
		}
		return t.recountDeliveries(id)
	})
}

// recountDeliveries sets the gauges after a change of many rows.
func (t *tx) recountDeliveries(id int64) error {
	_, err := t.exec(`update endpoints set waiting = (select count(*) from deliveries where endpoint = $1 and state = 0),
		failed = (select count(*) from deliveries where endpoint = $1 and state = 1) where id = $1`, id)
	return err
}

// FailedDelivery is an event that an endpoint was stepped over.
type FailedDelivery struct {
	Account   waihu.AccountID // whose event
	N         int64
	GivenUp   bool // false: it is tried again by itself
	Tries     int
	Error     string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// FailedDeliveries are up to limit events of an endpoint that failed, by account and number, after that one.
func (s *Store) FailedDeliveries(ctx context.Context, account waihu.AccountID, id int64, afterAccount waihu.AccountID, after int64, limit int) (list []FailedDelivery, err error) {
	if limit <= 0 || limit > maxEvents {
		limit = maxEvents
	}
	err = s.read(ctx, func(t *tx) error {
		var one int
		if found, err := t.one(into(&one), `select 1 from endpoints where account = $1 and id = $2`, account, id); err != nil || !found {
			if err == nil {
				err = notFound("endpoint", id)
			}
			return err
		}
		return t.each(func(scan func(...any) error) error {
			var d FailedDelivery
			var state int
			var created, updated int64
			err := scan(&d.Account, &d.N, &state, &d.Tries, &d.Error, &created, &updated)
			d.GivenUp, d.CreatedAt, d.UpdatedAt = state == 1, at(created), at(updated)
			list = append(list, d)
			return err
		}, `select account, n, state, tries, error, created_at, updated_at from deliveries where endpoint = $1 and (account, n) > ($2, $3)
			order by account, n limit $4`, id, afterAccount, after, limit)
	})
	return list, err
}

// Blackout is one time that the breaker blocked an endpoint.
type Blackout struct {
	ID        int64
	Endpoint  int64
	Account   waihu.AccountID
	URL       string
	Since     time.Time
	ReleaseAt time.Time // when it ends or ended
	Released  bool
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Blackouts are the last 1000 of the account and its sub-accounts, the latest first.
func (s *Store) Blackouts(ctx context.Context, account waihu.AccountID) (list []Blackout, err error) {
	now := s.now()
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var b Blackout
			var since, release, created, updated int64
			err := scan(&b.ID, &b.Endpoint, &b.Account, &b.URL, &since, &release, &created, &updated)
			b.Since, b.ReleaseAt, b.CreatedAt, b.UpdatedAt = at(since), at(release), at(created), at(updated)
			b.Released = !now.Before(b.ReleaseAt)
			list = append(list, b)
			return err
		}, `select id, endpoint, account, url, since, release_at, created_at, updated_at from blackouts
			where account = $1 or account in (select id from accounts where parent = $1) order by id desc limit 1000`, account)
	})
	return list, err
}
