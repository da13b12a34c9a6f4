package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"waihu"
)

// CallLogFilter chooses calls of an account over all its tasks; zero fields do not restrict.
type CallLogFilter struct {
	Tasks    []int64         // serials
	Agents   []waihu.AgentID // who talked
	Phone    string          // caller or callee, as dialled or as imported, in whichever of its common forms
	From, To time.Time       // when the call began, both included
	Before   waihu.CallID    // only calls with a lesser id: those behind it in a list; 0: all
	Page     int             // from 1; 0 means 1
	PerPage  int             // 0 means 15, at most 5000
}

// CallLog is one page of the account's ended calls, the latest first, and the total. Calls that never left and those of deleted
// tasks are not shown. What it costs grows with the calls between From and To, not with the ledger.
func (s *Store) CallLog(ctx context.Context, account waihu.AccountID, f CallLogFilter) (list []waihu.Call, total int, err error) {
	err = s.read(ctx, func(t *tx) error {
		from, q, err := t.callLog(account, &f)
		if err != nil {
			return err
		}
		if _, err := t.one(into(&total), `select count(*)`+from+q.String(), q.args...); err != nil {
			return err
		}
		limit, offset := pageOf(f.Page, f.PerPage)
		if offset >= total {
			return nil
		}
		page := map[taskRef][][]any{}
		if err := t.each(func(scan func(...any) error) error {
			ref := taskRef{account: account}
			var id int64
			err := scan(&id, &ref.serial, &ref.id)
			page[ref] = append(page[ref], []any{id})
			return err
		}, `select c.id, t.serial, t.id`+from+q.String()+sqlLogPage(q), q.with(limit, offset)...); err != nil {
			return err
		}
		for ref, ids := range page {
			param, err := jsonRows(ids)
			if err != nil {
				return err
			}
			if err := t.eachCall(ref, func(c waihu.Call) { list = append(list, c) },
				`c.task = $1 and c.id in (select cast(r.value->>0 as bigint) from {rows $2})`, ref.serial, param); err != nil {
				return err
			}
		}
		slices.SortFunc(list, func(a, b waihu.Call) int { return cmp.Compare(b.ID, a.ID) })
		return nil
	})
	return list, total, err
}

// callLog is the from- and where-part of the filter.
func (t *tx) callLog(account waihu.AccountID, f *CallLogFilter) (from string, q *query, err error) {
	from = ` from calls c join tasks t on t.serial = c.task`
	q = &query{}
	if f.Phone != "" {
		from += ` join numbers n on n.task = c.task and n.seq = c.seq left join call_details d on d.call = c.id`
		var tests []string
		var args []any
		for _, form := range forms(f.Phone) {
			// A name with its value cannot be part of a text of the document: there its quotes are escaped.
			tests = append(tests, `n.phone = ? or n.key = ? or d.body like ? escape '\'`)
			args = append(args, form, form, `%"caller":"`+likeText(form)+`"%`)
		}
		q.and(`(`+strings.Join(tests, ` or `)+`)`, args...)
	}
	q.and(`t.account = ?`, account)
	q.and(`t.deleted = 0`)
	q.and(`c.ended_at > 0`)
	q.and(`c.outcome <> 17`)
	if f.Before != 0 {
		q.and(`c.id < ?`, int64(f.Before))
	}
	if err = t.callsBetween(q, account, f.From, f.To); err != nil {
		return "", nil, err
	}
	if len(f.Tasks) > 0 {
		err = in(q, `t.serial in (select cast(r.value->>0 as bigint) from {rows ?})`, f.Tasks)
	}
	if err == nil && len(f.Agents) > 0 {
		err = in(q, `c.agent in (select r.value->>0 from {rows ?})`, f.Agents)
	}
	return from + ` where `, q, err
}

// forms are a number's common forms and itself, each once.
func forms(phone string) (list []string) {
	for _, form := range append(waihu.PhoneNumber(phone).Forms(), waihu.PhoneNumber(phone)) {
		if !slices.Contains(list, string(form)) {
			list = append(list, string(form))
		}
	}
	return list
}

func sqlLogPage(q *query) string {
	return ` order by c.id desc limit ` + q.next(1) + ` offset ` + q.next(2)
}

// clockSlack is how far the clock may have been set back between two calls for the later to be found by its time.
const clockSlack = 10 * time.Minute

// callsBetween restricts calls to those that began from from to to. Ids grow with the time in a shard, so the bounds are looked up
// on the primary key: an index on the time would be paid for at every dial.
func (t *tx) callsBetween(q *query, account waihu.AccountID, from, to time.Time) error {
	if from.IsZero() && to.IsZero() {
		return nil
	}
	var shard int
	if _, err := t.one(into(&shard), `select shard from accounts where id = $1`, account); err != nil {
		return err
	}
	if !from.IsZero() {
		first, err := t.firstCallSince(shard, from.Add(-clockSlack))
		if err != nil {
			return err
		}
		q.and(`c.id >= ?`, first)
		q.and(`c.started_at >= ?`, ms(from))
	}
	if !to.IsZero() {
		end, err := t.firstCallSince(shard, to.Add(clockSlack))
		if err != nil {
			return err
		}
		q.and(`c.id < ?`, end)
		q.and(`c.started_at <= ?`, ms(to))
	}
	return nil
}

// firstCallSince is the least id from which on the shard's calls began at or after when.
func (t *tx) firstCallSince(shard int, when time.Time) (int64, error) {
	low, high := int64(waihu.NewCallID(shard, 0, 0)), int64(waihu.NewCallID(shard+1, 0, 0))
	for end := high; low < high; {
		middle := low + (high-low)/2
		var id, started int64
		found, err := t.one(into(&id, &started), `select id, started_at from calls where id >= $1 and id < $2 order by id limit 1`, middle, end)
		switch {
		case err != nil:
			return 0, err
		case found && started < ms(when):
			low = id + 1
		default:
			high = middle
		}
	}
	return low, nil
}

// AgentCalls is how many calls the agent has had in the tasks of the account and its sub-accounts, from gauges.
func (s *Store) AgentCalls(ctx context.Context, account waihu.AccountID, id waihu.AgentID) (n int, err error) {
	err = s.read(ctx, func(t *tx) error {
		_, err := t.one(into(&n), `select coalesce(sum(c.n), 0) from tasks t cross join counts c
			where t.account in (select id from accounts where id = $1 or parent = $1) and t.deleted = 0 and c.task = t.serial and c.kind = 'a' and c.code = $2`,
			account, id)
		return err
	})
	return n, err
}

// TaskOwner is the account of a task by the task's integer id.
func (s *Store) TaskOwner(ctx context.Context, serial int64) (waihu.AccountID, error) {
	return s.ownerOf(ctx, "task", serial, `select account from tasks where serial = $1 and deleted = 0`)
}

// AgentOwner is the account of an agent by the agent's integer id.
func (s *Store) AgentOwner(ctx context.Context, serial int64) (waihu.AccountID, error) {
	return s.ownerOf(ctx, "agent", serial, `select account from agents where serial = $1`)
}

// CallOwner is the account of a call.
func (s *Store) CallOwner(ctx context.Context, id waihu.CallID) (waihu.AccountID, error) {
	return s.ownerOf(ctx, "call", int64(id), `select t.account from calls c join tasks t on t.serial = c.task where c.id = $1 and t.deleted = 0 and c.outcome <> 17`)
}

func (s *Store) ownerOf(ctx context.Context, what string, id int64, sql string) (owner waihu.AccountID, err error) {
	err = s.read(ctx, func(t *tx) error {
		found, err := t.one(into(&owner), sql, id)
		if err == nil && !found {
			err = notFound(what, id)
		}
		return err
	})
	return owner, err
}
