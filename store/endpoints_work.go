package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"waihu"
)

// Delivery is an endpoint that this process may deliver to, with its secrets and where it stands.
type Delivery struct {
	waihu.Endpoint
	Version      int64
	BlockedUntil time.Time
	LeaseUntil   time.Time
	Cursors      map[waihu.AccountID]int64 // the first event of each account that is not settled
}

// LeaseEndpoints takes the endpoints that nobody delivers to, renews those of owner and returns all it has then. Until lease is over
// no other process gets them; endpoints of a process that is dead are free when the lease is over, or at once where the lock of the
// data folder proves the death. New sub-accounts get a cursor, from their first event on.
func (s *Store) LeaseEndpoints(ctx context.Context, owner string, lease time.Duration) (list []Delivery, err error) {
	began := s.now() // before the wait for the turn: we end early rather than late
	err = s.update(ctx, normal, func(t *tx) error {
		list = nil
		now, err := t.clock()
		if err != nil {
			return err
		}
		version := map[int64]int64{}
		var mine, renewed [][]any
		if err := t.each(func(scan func(...any) error) error {
			var id, v, until int64
			var of string
			if err := scan(&id, &v, &of, &until); err != nil {
				return err
			}
			if of == owner || until < now || s.d.embedded || s.formerLife(of) {
				version[id] = v
				mine = append(mine, []any{id})
				if of != owner || !s.d.embedded { // where nobody else can come, nothing is written for the sake of time
					renewed = append(renewed, []any{id})
				}
			}
			return nil
		}, `select id, version, owner, lease_until from endpoints order by id{lock}`); err != nil || len(mine) == 0 {
			return err
		}
		until := now + lease.Milliseconds()
		if err := t.execRows(`update endpoints set owner = $2, lease_until = $3 from {rows $1} where endpoints.id = cast(r.value->>0 as bigint)`, renewed, owner, until); err != nil {
			return err
		}
		if err := t.execRows(sqlMissingCursors, mine); err != nil {
			return err
		}
		all, err := t.endpoints(false, `where owner = $1`, owner)
		if err != nil {
			return err
		}
		place := map[int64]int{}
		for i := range all {
			e := &all[i]
			place[e.ID] = i
			list = append(list, Delivery{Endpoint: e.Endpoint, Version: version[e.ID], BlockedUntil: e.BlockedUntil, LeaseUntil: began.Add(lease), Cursors: map[waihu.AccountID]int64{}})
		}
		return t.each(func(scan func(...any) error) error {
			var id, next int64
			var account waihu.AccountID
			if err := scan(&id, &account, &next); err != nil {
				return err
			}
			if i, ok := place[id]; ok {
				list[i].Cursors[account] = next
			}
			return nil
		}, `select c.endpoint, c.account, c.next_n from cursors c join endpoints e on e.id = c.endpoint where e.owner = $1`, owner)
	})
	return list, err
}

// sqlMissingCursors: an account that a main account's endpoint does not follow yet is a sub-account made after the endpoint.
const sqlMissingCursors = `insert into cursors (endpoint, account, next_n)
	select e.id, a.id, 1 from {rows $1} join endpoints e on e.id = cast(r.value->>0 as bigint) join accounts a on a.parent = e.account
	where true on conflict (endpoint, account) do nothing`

// EndpointSecrets opens what is sealed of an endpoint.
func (s *Store) EndpointSecrets(ctx context.Context, account waihu.AccountID, id int64) (authorization, secret string, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err := t.endpoints(true, `where account = $1 and id = $2`, account, id)
		if err == nil && len(list) == 0 {
			err = notFound("endpoint", id)
		}
		if err == nil {
			authorization, secret = list[0].Authorization, list[0].Secret
		}
		return err
	})
	return authorization, secret, err
}

// ReleaseLeases gives up the endpoints of owner: another process may take them at once.
func (s *Store) ReleaseLeases(ctx context.Context, owner string) error {
	return s.update(ctx, normal, func(t *tx) error {
		_, err := t.exec(`update endpoints set owner = '', lease_until = 0 where owner = $1`, owner)
		return err
	})
}

// DeliveryProgress is what became of an endpoint's events since the last time.
type DeliveryProgress struct {
	Endpoint int64
	Version  int64
	Cursors  map[waihu.AccountID]int64
	Stepped  []FailedDelivery // stepped over, or tried again, or given up: they stand as they are here
	Done     []EventRef       // delivered after they had been stepped over
	Sent     int64            // events delivered
	OK       time.Time        // the last success, if there was one
	ErrorAt  time.Time        // the last failure, if it is later than OK
	Error    string
	Block    *Block // the breaker opened or closed
}

// Block is how long an endpoint is left alone; zero times: no longer.
type Block struct{ Since, Until time.Time }

// EventRef names an event.
type EventRef struct {
	Account waihu.AccountID
	N       int64
}

// SaveDeliveries writes the progress of many endpoints in one commit. That of an endpoint which has another owner or version by now is
// dropped: somebody else delivers from where the last commit stood. Cursors never go back. The commit does not wait for the disk, so that it holds
// up no tick: after a loss of power events are delivered again.
func (s *Store) SaveDeliveries(ctx context.Context, owner string, list []DeliveryProgress) error {
	if len(list) == 0 {
		return nil
	}
	return s.update(ctx, relaxed, func(t *tx) error {
		ids := make([][]any, len(list))
		for i := range list {
			ids[i] = []any{list[i].Endpoint, list[i].Version}
		}
		slices.SortFunc(ids, func(a, b []any) int { return int(a[0].(int64) - b[0].(int64)) })
		param, err := jsonRows(ids)
		if err != nil {
			return err
		}
		type held struct {
			account waihu.AccountID
			url     string
		}
		mine := map[int64]held{}
		if err := t.each(func(scan func(...any) error) error {
			var id int64
			var h held
			err := scan(&id, &h.account, &h.url)
			mine[id] = h
			return err
		}, sqlHeldEndpoints, param, owner); err != nil {
			return err
		}
		now := ms(s.now())
		var cursors, stepped, done, states, blacks [][]any
		for i := range list {
			p := &list[i]
			h, ok := mine[p.Endpoint]
			if !ok {
				continue
			}
			for _, account := range slices.Sorted(maps.Keys(p.Cursors)) {
				cursors = append(cursors, []any{p.Endpoint, account, p.Cursors[account]})
			}
			for _, d := range p.Stepped {
				stepped = append(stepped, []any{p.Endpoint, d.Account, d.N, flag(d.GivenUp), d.Tries, clean(d.Error)})
			}
			for _, d := range p.Done {
				done = append(done, []any{p.Endpoint, d.Account, d.N})
			}
			waiting, failed, err := t.deliveryMoves(p)
			if err != nil {
				return err
			}
			set, until := 0, int64(0)
			if p.Block != nil {
				set, until = 1, ms(p.Block.Until)
				if until > 0 {
					blacks = append(blacks, []any{p.Endpoint, h.account, h.url, ms(p.Block.Since), until})
				}
			}
			states = append(states, []any{p.Endpoint, p.Sent, waiting, failed, ms(p.OK), ms(p.ErrorAt), clean(p.Error), set, until})
		}
		for _, w := range []struct {
			sql  string
			rows [][]any
			args []any
		}{{sqlStepped, stepped, into(now)}, {sqlDeliveryDone, done, nil}, {sqlCursors, cursors, nil}, {sqlDeliveryStates, states, nil}} {
			if err := t.execRows(w.sql, w.rows, w.args...); err != nil {
				return err
			}
		}
		if len(blacks) == 0 {
			return nil
		}
		last, err := t.head("blackouts", int64(len(blacks)))
		if err != nil {
			return err
		}
		for i := range blacks {
			blacks[i] = append(blacks[i], last-int64(len(blacks)-1-i))
		}
		return t.execRows(sqlBlackouts, blacks, now)
	})
}

// deliveryMoves is by how much an endpoint's gauges of waiting and failed events move.
func (t *tx) deliveryMoves(p *DeliveryProgress) (waiting, failed int64, err error) {
	if len(p.Stepped)+len(p.Done) == 0 {
		return 0, 0, nil
	}
	after := map[EventRef]int{}
	for _, d := range p.Stepped {
		after[EventRef{d.Account, d.N}] = flag(d.GivenUp)
	}
	for _, d := range p.Done {
		after[d] = -1
	}
	var rows [][]any
	for ref := range after {
		rows = append(rows, []any{p.Endpoint, ref.Account, ref.N})
	}
	param, err := jsonRows(rows)
	if err != nil {
		return 0, 0, err
	}
	gauge := []*int64{&waiting, &failed}
	for _, to := range after {
		if to >= 0 {
			*gauge[to]++
		}
	}
	err = t.each(func(scan func(...any) error) error {
		var from int
		err := scan(&from)
		*gauge[min(from, 1)]--
		return err
	}, sqlSteppedBefore, param)
	return waiting, failed, err
}

const (
	sqlHeldEndpoints = `select e.id, e.account, e.url from {rows $1} join endpoints e on e.id = cast(r.value->>0 as bigint)
	where e.version = cast(r.value->>1 as bigint) and e.owner = $2 order by e.id{lock}`
	sqlSteppedBefore = `select d.state from {rows $1} join deliveries d on d.endpoint = cast(r.value->>0 as bigint) and d.account = r.value->>1 and d.n = cast(r.value->>2 as bigint)`
	sqlStepped       = `insert into deliveries (endpoint, account, n, state, tries, error, created_at, updated_at)
	select cast(r.value->>0 as bigint), r.value->>1, cast(r.value->>2 as bigint), cast(r.value->>3 as integer), cast(r.value->>4 as integer), r.value->>5, cast($2 as bigint), cast($2 as bigint)
	from {rows $1} where true on conflict (endpoint, account, n) do update set state = excluded.state, tries = excluded.tries, error = excluded.error, updated_at = excluded.updated_at`
	sqlDeliveryDone = `delete from deliveries where (endpoint, account, n) in (select cast(r.value->>0 as bigint), r.value->>1, cast(r.value->>2 as bigint) from {rows $1})`
	sqlCursors      = `update cursors set next_n = cast(r.value->>2 as bigint) from {rows $1} where cursors.endpoint = cast(r.value->>0 as bigint)
	and cursors.account = r.value->>1 and cursors.next_n < cast(r.value->>2 as bigint)`
	sqlDeliveryStates = `update endpoints set sent = sent + cast(r.value->>1 as bigint), waiting = waiting + cast(r.value->>2 as bigint), failed = failed + cast(r.value->>3 as bigint),
	last_ok = case when cast(r.value->>4 as bigint) > last_ok then cast(r.value->>4 as bigint) else last_ok end,
	last_error_at = case when cast(r.value->>5 as bigint) > 0 then cast(r.value->>5 as bigint) else last_error_at end,
	last_error = case when cast(r.value->>5 as bigint) > 0 then r.value->>6 when cast(r.value->>4 as bigint) > 0 then '' else last_error end,
	blocked_until = case when cast(r.value->>7 as integer) = 1 then cast(r.value->>8 as bigint) else blocked_until end
	from {rows $1} where endpoints.id = cast(r.value->>0 as bigint)`
	sqlBlackouts = `insert into blackouts (id, endpoint, account, url, since, release_at, created_at, updated_at)
	select cast(r.value->>5 as bigint), cast(r.value->>0 as bigint), r.value->>1, r.value->>2, cast(r.value->>3 as bigint), cast(r.value->>4 as bigint), cast($2 as bigint), cast($2 as bigint) from {rows $1}`
)

// SteppedOver are up to limit events of an endpoint, after that one, that were stepped over and are to be tried again, by account and number.
func (s *Store) SteppedOver(ctx context.Context, endpoint int64, after EventRef, limit int) (list []FailedDelivery, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var d FailedDelivery
			err := scan(&d.Account, &d.N, &d.Tries, &d.Error)
			list = append(list, d)
			return err
		}, `select account, n, tries, error from deliveries where endpoint = $1 and state = 0 and (account, n) > ($2, $3)
			order by account, n limit $4`, endpoint, after.Account, after.N, limit)
	})
	return list, err
}

// EventsOf are the named events that exist, for a delivery to an endpoint that follows their accounts.
func (s *Store) EventsOf(ctx context.Context, account waihu.AccountID, numbers []int64) (list []waihu.Event, err error) {
	rows := make([][]any, len(numbers))
	for i, n := range numbers {
		rows[i] = []any{n}
	}
	param, err := jsonRows(rows)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			e, err := scanEvent(account, scan)
			list = append(list, e)
			return err
		}, sqlEventsOf, param, account)
	})
	return list, err
}

const sqlEventsOf = `select e.n, e.task, e.task_n, e.at, e.kind, e.call, e.body from {rows $1} join events e on e.account = $2 and e.n = cast(r.value->>0 as bigint) order by e.n`

// EventHeads are the numbers of the accounts' last events.
func (s *Store) EventHeads(ctx context.Context, accounts []waihu.AccountID) (map[waihu.AccountID]int64, error) {
	rows := make([][]any, len(accounts))
	for i, a := range accounts {
		rows[i] = []any{a}
	}
	param, err := jsonRows(rows)
	if err != nil {
		return nil, err
	}
	heads := map[waihu.AccountID]int64{}
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var a waihu.AccountID
			var n int64
			err := scan(&a, &n)
			heads[a] = n
			return err
		}, `select r.value->>0, h.n from {rows $1} join heads h on h.name = 'events:' || (r.value->>0)`, param)
	})
	return heads, err
}

// Notice tells whoever delivers what the commits of this process changed. Both functions must not block; events maps
// accounts to the number of their latest event.
type Notice struct {
	Events    func(heads map[waihu.AccountID]int64)
	Endpoints func()
}

// Notify sets who is told; nil: nobody. Commits of other processes are not seen here.
func (s *Store) Notify(n *Notice) { s.notice.Store(n) }

// Shared says that other processes may write the ledger too: what Notify tells is not all that happens.
func (s *Store) Shared() bool { return !s.d.embedded }

func (s *Store) endpointsChanged() {
	if n := s.notice.Load(); n != nil {
		n.Endpoints()
	}
}

func (s *Store) eventsWritten(heads map[waihu.AccountID]int64) {
	if n := s.notice.Load(); n != nil && len(heads) > 0 {
		n.Events(heads)
	}
}
