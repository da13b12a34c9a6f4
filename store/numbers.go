package store

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// query builds the where-part of a filter: conditions with their parameters.
type query struct {
	where []string
	args  []any
}

// and adds a condition; each ? in it is the next parameter.
func (q *query) and(cond string, args ...any) {
	for _, a := range args {
		q.args = append(q.args, a)
		cond = strings.Replace(cond, "?", "$"+strconv.Itoa(len(q.args)), 1)
	}
	q.where = append(q.where, cond)
}

// in adds "column is one of values".
func in[T any](q *query, cond string, values []T) error {
	list := make([][]any, len(values))
	for i, v := range values {
		list[i] = []any{v}
	}
	param, err := jsonRows(list)
	if err == nil {
		q.and(cond, param)
	}
	return err
}

func (q *query) String() string { return strings.Join(q.where, " and ") }

// with is the list of parameters with more behind them, and next the name of the first of those.
func (q *query) with(more ...any) []any { return append(q.args[:len(q.args):len(q.args)], more...) }
func (q *query) next(i int) string      { return "$" + strconv.Itoa(len(q.args)+i) }

const maxPerPage = 5000

func pageOf(page, perPage int) (limit, offset int) {
	if perPage <= 0 {
		perPage = 15
	}
	perPage = min(perPage, maxPerPage)
	return perPage, (max(page, 1) - 1) * perPage
}

// Numbers is one page of the task's numbers in the order of their import, and the total. The total
// comes from gauges when the filter names nothing, states or status alone; else the rows are counted.
func (s *Store) Numbers(ctx context.Context, account waihu.AccountID, task waihu.TaskID, f NumberFilter) (list []waihu.Number, total int, err error) {
	placed := s.d.embedded && f.placed()
	if placed {
		var ref taskRef
		err := s.read(ctx, func(t *tx) (err error) {
			ref, err = t.findTask(account, task)
			return err
		})
		if err == nil {
			err = s.track(ctx, ref.serial)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		q, err := f.query(ref)
		if err != nil {
			return err
		}
		limit, offset := pageOf(f.Page, f.PerPage)
		if placed {
			total = -1
			if f.CreatedFrom.IsZero() && f.CreatedTo.IsZero() { // the gauges say
				if total, err = t.totalNumbers(ref, f, q); err != nil {
					return err
				}
			}
			list, total, err = t.placedPage(ref, &f, q, limit, offset, total)
			return err
		}
		if total, err = t.totalNumbers(ref, f, q); err != nil {
			return err
		}
		if offset >= total {
			return nil
		}
		last := int64(0)
		if offset > 0 && f.all() {
			if _, err := t.one(into(&last), `select n from heads where name = $1`, seqHead(ref.serial)); err != nil {
				return err
			}
		}
		if last == int64(total) { // none was ever removed or left out: the place of a number is its key
			list, err = t.numbersAfter(ref, q, limit, int64(offset))
		} else {
			list, err = t.numbersPage(ref, q, len(f.Status) == 0 && len(f.States) == 0, limit, offset, total)
		}
		return err
	})
	return list, total, err
}

// numberedBy restricts column, a seq, to the numbers with these phone numbers or keys. Every row carries the task, and the cross join keeps
// the rows outside, else SQLite walks all numbers of the task; and it takes the partial index numbers_alias for bounds of phone alone, not for equality.
func numberedBy(q *query, column string, ref taskRef, phones []string) error {
	list := make([][]any, len(phones))
	for i, phone := range phones {
		list[i] = []any{ref.serial, phone}
	}
	param, err := jsonRows(list)
	if err == nil {
		rows := "{rows $" + strconv.Itoa(len(q.args)+1) + "}"
		q.args = append(q.args, param)
		q.and(column + " in (select b.seq from " + rows + " cross join numbers b where b.task = cast(r.value->>0 as bigint) and b.key = r.value->>1" +
			" union all select b.seq from " + rows + " cross join numbers b where b.task = cast(r.value->>0 as bigint) and b.phone >= r.value->>1 and b.phone <= r.value->>1 and b.key <> b.phone)")
	}
	return err
}

// all says that the filter restricts nothing.
func (f *NumberFilter) all() bool {
	return len(f.Status) == 0 && len(f.States) == 0 && len(f.Phones) == 0 && f.CreatedFrom.IsZero() && f.CreatedTo.IsZero()
}

func (f *NumberFilter) query(ref taskRef) (*query, error) {
	q := &query{}
	q.and("n.task = ?", ref.serial)
	q.and("n.state <> 4")
	var err error
	if len(f.Phones) > 0 {
		err = numberedBy(q, "n.seq", ref, f.Phones)
	}
	if err == nil && len(f.Status) > 0 {
		err = in(q, "n.outcome in (select cast(r.value->>0 as bigint) from {rows ?})", f.Status)
	}
	if err == nil && len(f.States) > 0 {
		err = in(q, "n.state in (select cast(r.value->>0 as bigint) from {rows ?})", f.States)
	}
	if !f.CreatedFrom.IsZero() {
		q.and("n.created_at >= ?", ms(f.CreatedFrom))
	}
	if !f.CreatedTo.IsZero() {
		q.and("n.created_at <= ?", ms(f.CreatedTo))
	}
	return q, err
}

func (t *tx) totalNumbers(ref taskRef, f NumberFilter, q *query) (total int, err error) {
	plain := len(f.Phones) == 0 && f.CreatedFrom.IsZero() && f.CreatedTo.IsZero()
	switch {
	case plain && len(f.States) == 0:
		c, err := t.counts(ref)
		if len(f.Status) == 0 {
			return c.numbers(), err
		}
		for _, d := range unique(f.Status) {
			total += c.Status[d]
		}
		return total, err
	case plain && len(f.Status) == 0:
		c, err := t.counts(ref)
		for _, st := range unique(f.States) {
			if st >= 0 && st < waihu.NumberRemoved {
				total += c.State[st]
			}
		}
		return total, err
	}
	_, err = t.one(into(&total), `select count(*) from numbers n where `+q.String(), q.args...)
	return total, err
}

func unique[T comparable](list []T) (out []T) {
	seen := map[T]bool{}
	for _, v := range list {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// numbersPage reads the page after its first key: the key of a page that follows another is
// remembered, others are found by walking the primary key from the nearer end. What numbers show changes all the time, so places in lists
// by that are not remembered.
func (t *tx) numbersPage(ref taskRef, q *query, stable bool, limit, offset, total int) ([]waihu.Number, error) {
	after, skip := int64(0), offset
	if stable {
		after, skip = t.s.pages.find(ref.serial, q, offset)
	}
	if skip > 0 {
		order, cond, from := "", ">", after
		if total-offset < skip {
			order, cond, from, skip = "desc", "<", math.MaxInt64, total-offset+1
		}
		if _, err := t.one(into(&after), `select n.seq from numbers n where `+q.String()+` and n.seq `+cond+` `+q.next(1)+` order by n.seq `+order+` limit 1 offset `+q.next(2),
			q.with(from, skip-1)...); err != nil {
			return nil, err
		}
	}
	list, err := t.numbersAfter(ref, q, limit, after)
	if err == nil && len(list) == limit && stable {
		t.s.pages.note(ref.serial, q, offset+limit, list[limit-1].Seq)
	}
	return list, err
}

func (t *tx) numbersAfter(ref taskRef, q *query, limit int, after int64) (list []waihu.Number, err error) {
	err = t.eachNumber(ref, func(n waihu.Number) { list = append(list, n) },
		q.String()+` and n.seq > `+q.next(1)+` order by n.seq limit `+q.next(2), q.with(after, limit)...)
	return list, err
}

// NumbersByPhone are the numbers with that phone number or key; more than one when keys carry a suffix.
func (s *Store) NumbersByPhone(ctx context.Context, account waihu.AccountID, task waihu.TaskID, phone string) (list []waihu.Number, err error) {
	list, _, err = s.Numbers(ctx, account, task, NumberFilter{Phones: []string{phone}, PerPage: maxPerPage})
	return list, err
}

func (t *tx) eachNumber(ref taskRef, f func(waihu.Number), where string, args ...any) error {
	return t.each(func(scan func(...any) error) error {
		n := waihu.Number{Task: ref.id}
		var data string
		var due, created, updated int64
		if err := scan(&n.Seq, &n.Key, &n.Phone, &data, &n.State, &due, &n.Attempts, &n.Redials, &n.Outcome, &n.Grade, &n.LastCall, &created, &updated); err != nil {
			return err
		}
		var err error
		n.Data, err = decodeData(data)
		n.DueAt, n.CreatedAt, n.UpdatedAt = at(due), at(created), at(updated)
		f(n)
		return err
	}, `select n.seq, n.key, n.phone, n.data, n.state, n.due_at, n.attempts, n.redials, n.outcome, n.grade, n.last_call, n.created_at, n.updated_at
	from numbers n where `+where, args...)
}

// RemoveNumbers removes the numbers with these phone numbers or keys and says how many there were.
// It is refused with waihu.ErrRunsOpen until every run of the task has ended. What is removed keeps
// its row, so that its attempts are never dialled twice, but loses its data.
func (s *Store) RemoveNumbers(ctx context.Context, account waihu.AccountID, task waihu.TaskID, phones []string) (removed int, err error) {
	return s.RemoveNumbersBy(ctx, account, task, phones, "")
}

// RemoveNumbersBy is RemoveNumbers for a door, whose name stands in the event.
func (s *Store) RemoveNumbersBy(ctx context.Context, account waihu.AccountID, task waihu.TaskID, phones []string, by string) (removed int, err error) {
	if len(phones) == 0 {
		return 0, nil
	}
	return s.editNumbers(ctx, account, task, NumberFilter{Phones: phones}, waihu.NumberRemoved, by)
}

// ResetNumbers makes finished and waiting numbers fresh again and says how many there were. Their
// redials start over, their attempts go on counting. Refused like RemoveNumbers.
func (s *Store) ResetNumbers(ctx context.Context, account waihu.AccountID, task waihu.TaskID, f NumberFilter) (reset int, err error) {
	return s.editNumbers(ctx, account, task, f, waihu.NumberFresh, "")
}

// editPortion is how many numbers one statement of an edit takes: a fraction of a slice.
const editPortion = 100

func (s *Store) editNumbers(ctx context.Context, account waihu.AccountID, task waihu.TaskID, f NumberFilter, to waihu.NumberState, by string) (edited int, err error) {
	after, pending := int64(0), 0
	err = s.inTurns(ctx, func(t *tx, more func() bool) (bool, error) {
		pending = 0
		k, _, err := t.lockTask(account, task)
		if err != nil {
			return false, err
		}
		if err := t.runsAlive(k.ref()); err != nil {
			return false, err
		}
		b, now := newBatch(), s.now()
		for last := after; ; after = last {
			n, seq, ranges, err := t.editPortion(b, k.ref(), f, to, last, now)
			if err != nil {
				return false, err
			}
			if n > 0 && to == waihu.NumberRemoved { // at most editPortion of them: the event stays small
				b.event(waihu.EventNumbersRemoved, account, task, now, 0, removedBody{Removed: n, By: by, Ranges: ranges})
			}
			pending, last = pending+n, seq
			if seq == 0 {
				return true, t.flush(b)
			}
			if !more() {
				after = last
				return false, t.flush(b)
			}
		}
	}, func() { edited += pending })
	if edited > 0 {
		s.pages.drop()
		s.dropBound(task)
		s.wakeOwner()
	}
	return edited, err
}

// editPortion edits up to editPortion numbers after a key and returns the key of the last, 0 at the end.
func (t *tx) editPortion(b *batch, ref taskRef, f NumberFilter, to waihu.NumberState, after int64, now time.Time) (n int, last int64, ranges seqRanges, err error) {
	q, err := f.query(ref)
	if err != nil {
		return 0, 0, nil, err
	}
	if to == waihu.NumberFresh {
		q.and("n.state in (2, 3)")
	}
	var list, turns [][]any
	if err := t.eachNumber(ref, func(x waihu.Number) {
		list, last, ranges = append(list, []any{ref.serial, x.Seq}), x.Seq, ranges.with(x.Seq)
		if to == waihu.NumberFresh && len(x.Data.Group) > 0 && x.Data.Group[0] != x.Phone {
			turns = append(turns, []any{ref.serial, x.Seq, string(x.Data.Group[0])})
		}
		b.state(ref.serial, x.State, to, 1)
		if to == waihu.NumberRemoved {
			b.count(ref.serial, byOutcome, strconv.Itoa(int(x.Outcome)), -1)
			t.moved(ref.serial, x.Seq, x.Outcome, gone, 0)
			b.grade(ref.serial, x.Grade, -1)
		} else {
			b.shows(ref.serial, x.Outcome, waihu.NoOutcome, x.Grade, "")
			t.moved(ref.serial, x.Seq, x.Outcome, waihu.NoOutcome, 0)
		}
	}, q.String()+` and n.seq > `+q.next(1)+` order by n.seq limit `+q.next(2), q.with(after, editPortion)...); err != nil {
		return 0, 0, nil, err
	}
	sql := sqlResetNumbers
	if to == waihu.NumberRemoved {
		sql = sqlRemoveNumbers
	}
	if err := t.execRows(sql, list, ms(now)); err != nil {
		return 0, 0, nil, fmt.Errorf("edit numbers: %w", err)
	}
	if err := t.execRows(sqlTurn, turns); err != nil {
		return 0, 0, nil, fmt.Errorf("edit numbers: %w", err)
	}
	if len(list) < editPortion {
		last = 0
	}
	return len(list), last, ranges, nil
}

// KeysIn are the keys of up to limit numbers of the task in ranges of seq, removed ones too but no erased ones, and where to go on: the
// ranges that are left, none at the end. For who is told what an import or a deletion was about.
func (s *Store) KeysIn(ctx context.Context, account waihu.AccountID, task waihu.TaskID, ranges [][2]int64, limit int) (keys []string, left [][2]int64, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		for i, r := range ranges {
			var last int64
			n := 0
			if err := t.each(func(scan func(...any) error) error {
				var key string
				err := scan(&key, &last)
				keys, n = append(keys, key), n+1
				return err
			}, `select key, seq from numbers where task = $1 and seq between $2 and $3 and phone <> '' order by seq limit $4`, ref.serial, r[0], r[1], limit-len(keys)); err != nil {
				return err
			}
			if len(keys) == limit {
				if left = ranges[i+1:]; n > 0 && last < r[1] {
					left = append([][2]int64{{last + 1, r[1]}}, left...)
				}
				return nil
			}
		}
		return nil
	})
	return keys, left, err
}

const (
	sqlResetNumbers = `update numbers set state = 0, due_at = 0, redials = 0, faults = 0, outcome = 0, grade = '', updated_at = $2` + editedRows

	sqlRemoveNumbers = `update numbers set state = 4, due_at = 0, data = '', updated_at = $2` + editedRows

	// The task comes with every row: given as a parameter of its own it makes SQLite walk all numbers of the task.
	editedRows = `
	from {rows $1} where numbers.task = cast(r.value->>0 as bigint) and numbers.seq = cast(r.value->>1 as bigint)`
)
