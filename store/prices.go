package store

import (
	"context"
	"encoding/json"
	"time"

	"waihu"
)

// MaxPrice bounds the price of a minute.
const MaxPrice = 1000 * Yuan

// Allocation is a part of a line that its owner has given an account.
type Allocation struct {
	ID          int64
	Line        waihu.LineID
	Account     waihu.AccountID // who uses it
	Name        string          // the account's own label; may be empty
	Concurrency int             // calls at once that the account's tasks may reserve
	Price       Money           // of a minute of talk, charged in the line's steps
	Begin       time.Time
	Deadline    time.Time // zero: none
	Agents      []waihu.AgentID
	CreatedAt   time.Time
}

// Over says whether the allocation has ended.
func (a *Allocation) Over(now time.Time) bool { return !a.Deadline.IsZero() && !now.Before(a.Deadline) }

// Allocate gives account a part of a line of owner's, or replaces what it has of it. An account can be given what is its
// own main account's line, or its own.
func (s *Store) Allocate(ctx context.Context, owner waihu.AccountID, a Allocation) (out Allocation, err error) {
	switch {
	case a.Concurrency < 1:
		return out, waihu.FieldErrorf("concurrency", "%d: at least 1 was expected", a.Concurrency)
	case a.Price < 0 || a.Price > MaxPrice:
		return out, waihu.FieldErrorf("price", "0 to %d yuan a minute was expected", MaxPrice/Yuan)
	}
	err = s.update(ctx, normal, func(t *tx) error {
		user, err := t.account(a.Account)
		if err != nil {
			return err
		}
		var channels int
		found, err := t.one(into(&channels), `select concurrency from lines where id = $1 and account = $2`, a.Line, owner)
		switch {
		case err != nil:
			return err
		case !found || user.ID != owner && user.Parent != owner:
			return notFound("line", a.Line)
		case a.Concurrency > channels:
			return waihu.FieldErrorf("concurrency", "%d: the line has %d channels", a.Concurrency, channels)
		}
		now := ms(s.now())
		if a.ID, err = t.head("allocations", 1); err != nil {
			return err
		}
		if _, err := t.exec(`insert into allocations (id, line, account, name, concurrency, price, begin_at, deadline_at, agents, created_at, updated_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, '[]', $7, $7)
			on conflict (line, account) do update set concurrency = excluded.concurrency, price = excluded.price, deadline_at = excluded.deadline_at, updated_at = excluded.updated_at`,
			a.ID, a.Line, a.Account, clean(a.Name), a.Concurrency, int64(a.Price), now, ms(a.Deadline)); err != nil {
			return err
		}
		list, err := t.allocations(`line = $1 and account = $2`, a.Line, a.Account)
		if err == nil {
			out = list[0]
		}
		return err
	})
	return out, err
}

// Deallocate takes an allocation of a line of owner's back; what it has cost stays charged.
func (s *Store) Deallocate(ctx context.Context, owner waihu.AccountID, account waihu.AccountID, id int64) error {
	return s.changeAllocation(ctx, `delete from allocations where `+ownedAllocation, id, account, owner)
}

// BindAgents says which agents an allocation is for; the list replaces what was there.
func (s *Store) BindAgents(ctx context.Context, owner waihu.AccountID, account waihu.AccountID, id int64, agents []waihu.AgentID) error {
	raw, err := json.Marshal(agents)
	if err != nil {
		return err
	}
	return s.changeAllocation(ctx, `update allocations set agents = $4 where `+ownedAllocation, id, account, owner, string(raw))
}

const ownedAllocation = `id = $1 and account = $2 and line in (select id from lines where account = $3)`

func (s *Store) changeAllocation(ctx context.Context, sql string, id int64, args ...any) error {
	return s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(sql, append(into(id), args...)...)
		if err == nil && n == 0 {
			err = notFound("allocation", id)
		}
		return err
	})
}

// Allocations are those of the lines that an account owns, and those that it has been given, by id.
func (s *Store) Allocations(ctx context.Context, account waihu.AccountID) (list []Allocation, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err = t.allocations(`account = $1 or line in (select id from lines where lines.account = $1)`, account)
		return err
	})
	return list, err
}

func (t *tx) allocations(where string, args ...any) (list []Allocation, err error) {
	err = t.each(func(scan func(...any) error) error {
		var a Allocation
		var begin, deadline, created int64
		var agents string
		if err := scan(&a.ID, &a.Line, &a.Account, &a.Name, &a.Concurrency, &a.Price, &begin, &deadline, &agents, &created); err != nil {
			return err
		}
		a.Begin, a.Deadline, a.CreatedAt = at(begin), at(deadline), at(created)
		list = append(list, a)
		return json.Unmarshal([]byte(agents), &list[len(list)-1].Agents)
	}, `select id, line, account, name, concurrency, price, begin_at, deadline_at, agents, created_at from allocations where `+where+` order by id`, args...)
	return list, err
}

// allotted bounds residue, the free channels per line, by what account has been given of each, less what its own tasks
// but for except hold of it.
func (t *tx) allotted(account waihu.AccountID, except int64, residue map[waihu.LineID]int, now time.Time) error {
	list, err := t.allocations(`account = $1`, account)
	if err != nil || len(list) == 0 {
		return err
	}
	held := map[waihu.LineID]int{}
	if err := t.each(func(scan func(...any) error) error {
		var line waihu.LineID
		var n int
		err := scan(&line, &n)
		held[line] = n
		return err
	}, `select line, sum(n) from (select r.line, r.task, max(r.cap) as n from reservations r join tasks k on k.serial = r.task
		where r.task <> $1 and k.account = $2 group by r.line, r.task) x group by line`, except, account); err != nil {
		return err
	}
	for _, a := range list {
		n, usable := residue[a.Line]
		if !usable {
			continue
		}
		if a.Over(now) {
			n = 0
		}
		residue[a.Line] = max(0, min(n, a.Concurrency-held[a.Line]))
	}
	return nil
}
