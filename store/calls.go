package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"waihu"
)

const callColumns = `select c.id, c.run, c.seq, c.attempt, c.line, c.agent, c.started_at, c.answered_at, c.ended_at, c.outcome, c.grade,
	n.phone, n.data, coalesce(d.body, ''), c.version
	from calls c join numbers n on n.task = c.task and n.seq = c.seq left join call_details d on d.call = c.id where `

// Calls is one page of the task's calls, the latest first, and the total: from a gauge without a
// filter or when only ended calls are wanted, else counted. Calls that never left are not shown.
func (s *Store) Calls(ctx context.Context, account waihu.AccountID, task waihu.TaskID, f CallFilter) (list []waihu.Call, total int, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		q, err := f.query(ref)
		if err != nil {
			return err
		}
		if f.plain() {
			c, err := t.gaugeRows(ref)
			if err != nil {
				return err
			}
			total = c[gaugeKey{ref.serial, gaugeCalls, ""}]
			if f.Ended { // the live ones are few, and have an index of their own
				live := 0
				if _, err := t.one(into(&live), sqlLiveCalls, ref.serial); err != nil {
					return err
				}
				total = max(0, total-live)
			}
		} else if _, err := t.one(into(&total), `select count(*) from calls c where `+q.String(), q.args...); err != nil {
			return err
		}
		limit, offset := pageOf(f.Page, f.PerPage)
		if offset >= total {
			return nil
		}
		if f.plain() && offset > 0 {
			list, err = t.callsFrom(ref, q, limit, offset, total)
		} else {
			list, err = t.callsPage(ref, q, f.id(), limit, offset, total)
		}
		return err
	})
	return list, total, err
}

// id is the key that pages are sorted by. The calls of one number are few and found by the number: the sign keeps both engines from
// walking all calls of the task in the order of their ids instead.
func (f *CallFilter) id() string {
	if f.Phone != "" || f.Seq != 0 {
		return "+c.id"
	}
	return "c.id"
}

func (f *CallFilter) plain() bool {
	return f.Phone == "" && f.Seq == 0 && len(f.Outcomes) == 0 && len(f.Grades) == 0 && len(f.Scores) == 0 &&
		f.StartedFrom.IsZero() && f.StartedTo.IsZero() && f.EndedFrom.IsZero() && f.EndedTo.IsZero()
}

func (f *CallFilter) query(ref taskRef) (*query, error) {
	q := &query{}
	q.and("c.task = ?", ref.serial)
	q.and("c.outcome <> 17")
	var err error
	if f.Phone != "" {
		err = numberedBy(q, "c.seq", ref, []string{f.Phone})
	}
	if f.Seq != 0 {
		q.and("c.seq = ?", f.Seq)
	}
	if err == nil && len(f.Outcomes) > 0 {
		err = in(q, "c.outcome in (select cast(r.value->>0 as bigint) from {rows ?})", f.Outcomes)
	}
	if err == nil && len(f.Grades) > 0 {
		err = in(q, "c.grade in (select r.value->>0 from {rows ?})", f.Grades)
	}
	if len(f.Scores) > 0 {
		var within []string
		var bounds []any
		for _, s := range f.Scores {
			within, bounds = append(within, callScore+" between ? and ?"), append(bounds, s[0], s[1])
		}
		q.and("("+strings.Join(within, " or ")+")", bounds...)
	}
	for _, b := range []struct {
		cond string
		when time.Time
	}{{"c.started_at >= ?", f.StartedFrom}, {"c.started_at <= ?", f.StartedTo}, {"c.ended_at >= ?", f.EndedFrom}, {"c.ended_at <= ?", f.EndedTo}} {
		if !b.when.IsZero() {
			q.and(b.cond, ms(b.when))
		}
	}
	if f.Ended || !f.EndedTo.IsZero() {
		q.and("c.ended_at > 0")
	}
	return q, err
}

// callScore is rounded as it is shown.
const callScore = `coalesce((select round(
sqlite:	cast(v.body->>'score' as real)
postgres:	cast(cast(v.body as jsonb)->>'score' as numeric)
	) from reviews v where v.call = c.id), 0)`

// sqlFirstLive keeps the engines by the sign from walking all calls in the order of their ids until they meet a live one.
const sqlFirstLive = `select coalesce(min(+id), $2) from calls where task = $1 and ended_at = 0`

const sqlLiveCalls = `select count(*) from calls where task = $1 and ended_at = 0`

// callsFrom is callsPage for all calls of a task. Seen from the oldest a call keeps its place, for calls are only added: places are
// remembered by that, unless an older call is still live and would push it on when it ends.
func (t *tx) callsFrom(ref taskRef, q *query, limit, offset, total int) (list []waihu.Call, err error) {
	place := total - offset // of the call before the page, from 0 at the oldest
	at, key, known := t.s.pages.near(ref.serial, q, place)
	order, cond, skip, from := "desc", "<", offset-1, int64(math.MaxInt64)
	if place < skip {
		order, cond, skip, from = "", ">", place, 0
	}
	switch {
	case known && at >= place && at-place < skip:
		order, cond, skip, from = "desc", "<=", at-place, key
	case known && at < place && place-at < skip:
		order, cond, skip, from = "", ">=", place-at, key
	}
	var before int64
	found, err := t.one(into(&before), `select c.id from calls c where `+q.String()+` and c.id `+cond+` `+q.next(1)+` order by c.id `+order+` limit 1 offset `+q.next(2), q.with(from, skip)...)
	if err != nil || !found {
		return nil, err
	}
	var live int64
	if _, err := t.one(into(&live), sqlFirstLive, ref.serial, int64(math.MaxInt64)); err != nil {
		return nil, err
	}
	if before < live {
		t.s.pages.note(ref.serial, q, place, before)
	}
	err = t.eachCall(ref, func(c waihu.Call) { list = append(list, c) }, q.String()+` and c.id < `+q.next(1)+` order by c.id desc limit `+q.next(2), q.with(before, limit)...)
	return list, err
}

func (t *tx) callsPage(ref taskRef, q *query, id string, limit, offset, total int) (list []waihu.Call, err error) {
	before := int64(math.MaxInt64)
	if offset > 0 {
		order, cond, skip := "desc", "<", offset-1
		if offset > total/2 { // the row before the page lies nearer to the other end
			order, cond, skip, before = "", ">", total-offset, 0
		}
		if _, err := t.one(into(&before), `select c.id from calls c where `+q.String()+` and `+id+` `+cond+` `+q.next(1)+` order by `+id+` `+order+` limit 1 offset `+q.next(2),
			q.with(before, skip)...); err != nil {
			return nil, err
		}
	}
	err = t.eachCall(ref, func(c waihu.Call) { list = append(list, c) },
		q.String()+` and `+id+` < `+q.next(1)+` order by `+id+` desc limit `+q.next(2), q.with(before, limit)...)
	return list, err
}

func (t *tx) eachCall(ref taskRef, f func(waihu.Call), where string, args ...any) error {
	return t.each(func(scan func(...any) error) error {
		c := waihu.Call{Account: ref.account, Task: ref.id}
		var started, answered, ended int64
		var data, body string
		if err := scan(&c.ID, &c.Run, &c.Seq, &c.Attempt, &c.Line, &c.Agent, &started, &answered, &ended, &c.Outcome.Disposition, &c.Outcome.Grade,
			&c.Phone, &data, &body, &c.Version); err != nil {
			return err
		}
		c.StartedAt, c.AnsweredAt, c.EndedAt = at(started), at(answered), at(ended)
		var err error
		if c.Data, err = decodeData(data); err != nil {
			return err
		}
		c.Outcome.Call, c.Outcome.AnswerAt, c.Outcome.EndAt = c.ID, c.AnsweredAt, c.EndedAt
		if body != "" {
			err = decodeDetails(body, &c)
		}
		f(c)
		return err
	}, callColumns+where, args...)
}

func decodeDetails(body string, c *waihu.Call) error {
	var d details
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		return fmt.Errorf("read the stored details of call %s: %w", c.ID, err)
	}
	o := &c.Outcome
	if d.Callee != "" {
		c.Phone = d.Callee
	}
	o.HangupBy, o.Caller, o.InviteAt, o.RingAt = d.HangupBy, d.Caller, at(d.InviteAt), at(d.RingAt)
	o.Evidence, o.Transcript, o.Tags, o.Collected, o.OptOut = d.Evidence, d.Transcript, d.Tags, d.Collected, d.OptOut
	o.Recording, o.Recognizer, o.Simulated, o.Media = d.Recording, d.Recognizer, d.Simulated, d.Media
	o.RetryAfter, o.Facts = time.Duration(d.RetryAfter)*time.Millisecond, d.Facts
	return nil
}

// Call is one call of the task with its details.
func (s *Store) Call(ctx context.Context, account waihu.AccountID, task waihu.TaskID, id waihu.CallID) (call waihu.Call, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		found := false
		if err := t.eachCall(ref, func(c waihu.Call) { call, found = c, true }, `c.task = $1 and c.id = $2 and c.outcome <> 17`, ref.serial, int64(id)); err != nil {
			return err
		}
		if !found {
			return notFound("call", id)
		}
		return nil
	})
	return call, err
}
