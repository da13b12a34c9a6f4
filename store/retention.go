package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"waihu"
)

// Retention is for how many days after a call's end an account keeps what it left; 0 for ever. Retained are numbers of tasks, gauges and
// statistics: they say nothing of what was said.
type Retention struct {
	Calls       int // rows of calls with all that belongs to them
	Transcripts int // transcripts, collected answers, evidence, reviews
	Recordings  int
}

// maxRetention is ten years: more is a slip of the pen.
const maxRetention = 3660

// AccountRetention is the retention of one account, as an apply file gives it.
type AccountRetention struct {
	Account waihu.AccountID
	Retention
}

// Check refuses days that cannot be meant.
func (r Retention) Check() error {
	for _, f := range []struct {
		name string
		days int
	}{{"calls", r.Calls}, {"transcripts", r.Transcripts}, {"recordings", r.Recordings}} {
		if f.days < 0 || f.days > maxRetention {
			return waihu.FieldErrorf(f.name, "0 (for ever) to %d days were expected, not %d", maxRetention, f.days)
		}
	}
	return nil
}

// SetRetention says how long an account keeps things. Sub-accounts without their own follow it.
func (s *Store) SetRetention(ctx context.Context, account waihu.AccountID, r Retention) error {
	return s.update(ctx, normal, func(t *tx) error { return t.putRetention(AccountRetention{account, r}) })
}

func (t *tx) putRetention(r AccountRetention) error {
	if err := r.Check(); err != nil {
		return err
	}
	if _, err := t.account(r.Account); err != nil {
		return err
	}
	_, err := t.exec(`insert into retention (account, calls, transcripts, recordings, updated_at) values ($1, $2, $3, $4, $5)
		on conflict (account) do update set calls = excluded.calls, transcripts = excluded.transcripts, recordings = excluded.recordings, updated_at = excluded.updated_at`,
		r.Account, r.Calls, r.Transcripts, r.Recordings, ms(t.s.now()))
	return err
}

// Retention is how long the account keeps things, by itself or as its main account says; the zero value for ever.
func (s *Store) Retention(ctx context.Context, account waihu.AccountID) (r Retention, err error) {
	err = s.read(ctx, func(t *tx) error {
		var id waihu.AccountID
		_, err := t.one(into(&id, &r.Calls, &r.Transcripts, &r.Recordings), sqlRetention+` where a.id = $1`, account)
		return err
	})
	return r, err
}

const sqlRetention = `select a.id, coalesce(o.calls, m.calls, 0), coalesce(o.transcripts, m.transcripts, 0), coalesce(o.recordings, m.recordings, 0)
	from accounts a left join retention o on o.account = a.id left join retention m on m.account = a.parent`

// retainEvery is how often Retain looks: what is kept for days need not go in the minute.
const retainEvery = 10 * time.Minute

// Retain removes what accounts keep no longer, beside all else, until the context ends. Run it once beside Maintain.
func (s *Store) Retain(ctx context.Context) error {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		if err := s.RetainNow(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("remove what is kept no longer", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// RetainNow removes, once, what accounts keep no longer: in slices that give way to ticks. Files of recordings go by jobs.
func (s *Store) RetainNow(ctx context.Context) error {
	kept := map[waihu.AccountID]Retention{}
	if err := s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var id waihu.AccountID
			var r Retention
			err := scan(&id, &r.Calls, &r.Transcripts, &r.Recordings)
			if r != (Retention{}) {
				kept[id] = r
			}
			return err
		}, sqlRetention)
	}); err != nil {
		return err
	}
	for id, r := range kept {
		if r.Recordings > 0 {
			if err := s.retainRecordings(ctx, id, s.daysAgo(r.Recordings)); err != nil {
				return fmt.Errorf("recordings of account %s: %w", id, err)
			}
		}
		if r.Transcripts > 0 || r.Calls > 0 {
			if err := s.retainCalls(ctx, id, r); err != nil {
				return fmt.Errorf("calls of account %s: %w", id, err)
			}
		}
	}
	return nil
}

// daysAgo is the end of a call before which things go, in unix ms; 0 days: nothing goes.
func (s *Store) daysAgo(days int) int64 {
	if days == 0 {
		return math.MinInt64
	}
	return ms(s.now().Add(-time.Duration(days) * 24 * time.Hour))
}

// retainPortion is how many rows one statement takes: a fraction of a slice.
const retainPortion = 50

func (s *Store) retainRecordings(ctx context.Context, account waihu.AccountID, before int64) error {
	return s.inTurns(ctx, func(t *tx, more func() bool) (bool, error) {
		for {
			var calls [][]any
			if err := t.each(func(scan func(...any) error) error {
				var id int64
				err := scan(&id)
				calls = append(calls, []any{id})
				return err
			}, sqlOldRecordings, account, before, retainPortion); err != nil {
				return false, err
			}
			if err := t.cutDetails(calls, "recording"); err != nil {
				return false, err
			}
			if _, err := t.dropRecordings(calls); err != nil {
				return false, err
			}
			if len(calls) < retainPortion {
				return true, nil
			}
			if !more() {
				return false, nil
			}
		}
	}, func() {})
}

const sqlOldRecordings = `select call from recordings where account = $1 and ended_at < $2 order by ended_at limit $3`

// cutDetails takes fields out of calls' details, and the details away that have none left. It knows no other field, so none is lost.
func (t *tx) cutDetails(calls [][]any, fields ...string) error {
	if len(calls) == 0 {
		return nil
	}
	param, err := jsonRows(calls)
	if err != nil {
		return err
	}
	var cut [][]any
	if err := t.each(func(scan func(...any) error) error {
		var id int64
		var body string
		if err := scan(&id, &body); err != nil {
			return err
		}
		var d map[string]json.RawMessage
		if err := json.Unmarshal([]byte(body), &d); err != nil {
			return fmt.Errorf("read the stored details of call %d: %w", id, err)
		}
		n := len(d)
		for _, f := range fields {
			delete(d, f)
		}
		if len(d) == n {
			return nil
		}
		b, err := json.Marshal(d)
		cut = append(cut, []any{id, string(b)})
		return err
	}, `select d.call, d.body from {rows $1} cross join call_details d where d.call = cast(r.value->>0 as bigint)`, param); err != nil {
		return err
	}
	return t.execRows(`update call_details set body = r.value->>1 from {rows $1} where call_details.call = cast(r.value->>0 as bigint)`, cut)
}

// oldCall is a call that retention looks at.
type oldCall struct {
	id, seq, ended  int64
	outcome, rounds int
	agent           string
}

// retainCalls goes through the account's tasks, each in the order of its calls, which is that of their beginnings.
func (s *Store) retainCalls(ctx context.Context, account waihu.AccountID, r Retention) error {
	var tasks []int64
	if err := s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var serial int64
			err := scan(&serial)
			tasks = append(tasks, serial)
			return err
		}, `select serial from tasks where account = $1 and deleted = 0`, account)
	}); err != nil {
		return err
	}
	for _, task := range tasks {
		if r.Calls > 0 {
			if err := s.retainTask(ctx, task, "calls", s.daysAgo(r.Calls), (*tx).dropCalls); err != nil {
				return err
			}
		}
		if r.Transcripts > 0 {
			if err := s.retainTask(ctx, task, "transcripts", s.daysAgo(r.Transcripts), (*tx).dropTranscripts); err != nil {
				return err
			}
		}
	}
	return nil
}

// retainTask hands the task's calls that ended before a moment to drop, those before the mark of that column excepted.
func (s *Store) retainTask(ctx context.Context, task int64, column string, before int64, drop func(t *tx, task int64, calls []oldCall) error) error {
	return s.inTurns(ctx, func(t *tx, more func() bool) (bool, error) {
		var mark int64
		if _, err := t.one(into(&mark), `select `+column+` from retained where task = $1`, task); err != nil {
			return false, err
		}
		start := mark
		for {
			var list []oldCall
			if err := t.each(func(scan func(...any) error) error {
				var c oldCall
				err := scan(&c.id, &c.seq, &c.ended, &c.outcome, &c.rounds, &c.agent)
				list = append(list, c)
				return err
			}, sqlOldCalls, task, mark, retainPortion); err != nil {
				return false, err
			}
			read := len(list)
			for i, c := range list {
				if c.ended == 0 || c.ended >= before { // those behind it have their turn when it is old enough
					list = list[:i]
					break
				}
			}
			if len(list) > 0 {
				mark = list[len(list)-1].id
				if err := drop(t, task, list); err != nil {
					return false, err
				}
			}
			done := len(list) < retainPortion || read < retainPortion
			if !done && more() {
				continue
			}
			if mark == start {
				return done, nil
			}
			_, err := t.exec(`insert into retained (task, calls, transcripts) values ($1, 0, 0) on conflict (task) do nothing`, task)
			if err == nil {
				_, err = t.exec(`update retained set `+column+` = $2 where task = $1`, task, mark)
			}
			return done, err
		}
	}, func() {})
}

const sqlOldCalls = `select id, seq, ended_at, outcome, rounds, agent from calls where task = $1 and id > $2 order by id limit $3`

// dropTranscripts takes away what was said.
func (t *tx) dropTranscripts(task int64, list []oldCall) error {
	if err := t.lockShardOf(task); err != nil { // as all who move gauges of reviews
		return err
	}
	b := newBatch()
	if err := t.dropReviews(b, idsOf(list)); err != nil {
		return err
	}
	if err := t.flush(b); err != nil {
		return err
	}
	return t.cutDetails(idsOf(list), "transcript", "collected", "evidence", "summary", "facts")
}

func idsOf(list []oldCall) [][]any {
	ids := make([][]any, len(list))
	for i, c := range list {
		ids[i] = []any{c.id}
	}
	return ids
}

// dropCalls removes calls with what belongs to them. That no attempt is dialled twice does not need them: numbers count on.
func (t *tx) dropCalls(task int64, list []oldCall) error {
	if err := t.lockShardOf(task); err != nil { // numbers are written below
		return err
	}
	t.stale = true
	ids := idsOf(list)
	if _, err := t.dropRecordings(ids); err != nil {
		return err
	}
	b := newBatch()
	if err := t.dropReviews(b, ids); err != nil {
		return err
	}
	for _, sql := range []string{sqlEraseDetails, `delete from calls where id in (select cast(r.value->>0 as bigint) from {rows $1})`} {
		if err := t.execRows(sql, ids); err != nil {
			return err
		}
	}
	last := make([][]any, len(list))
	for i, c := range list {
		last[i] = []any{task, c.seq, c.id}
		if waihu.Disposition(c.outcome) != waihu.NeverLeft {
			b.count(task, gaugeCalls, "", -1)
			b.count(task, byAgent, c.agent, -1)
		}
		if waihu.Disposition(c.outcome) == waihu.Answered {
			b.count(task, byRounds, roundsBucket(c.rounds), -1)
		}
	}
	if err := t.execRows(`update numbers set last_call = 0 from {rows $1} where numbers.task = cast(r.value->>0 as bigint)
		and numbers.seq = cast(r.value->>1 as bigint) and numbers.last_call = cast(r.value->>2 as bigint)`, last); err != nil {
		return err
	}
	return t.flush(b)
}

// lockShardOf keeps ticks of the task's shard out until the commit.
func (t *tx) lockShardOf(task int64) error {
	var shard int
	if _, err := t.one(into(&shard), `select shard from tasks where serial = $1`, task); err != nil {
		return err
	}
	return t.lockShard(shard)
}
