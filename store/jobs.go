package store

import (
	"context"
	"time"

	"waihu"
)

// AddJobs writes jobs; one whose kind and key exist already is left as it is.
func (s *Store) AddJobs(ctx context.Context, jobs ...waihu.Job) error {
	return s.update(ctx, normal, func(t *tx) error { return t.flushJobs(jobs) })
}

func (t *tx) flushJobs(jobs []waihu.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	last, err := t.head("jobs", int64(len(jobs)))
	if err != nil {
		return err
	}
	var list [][]any
	for i, j := range jobs {
		list = append(list, []any{last - int64(len(jobs)-1-i), j.Account, j.Kind, j.Key, string(j.Body), ms(j.RunAt)})
	}
	return t.execRows(`insert into jobs (id, account, kind, key, body, state, run_at, tries, error, created_at)
		select cast(r.value->>0 as bigint), r.value->>1, r.value->>2, r.value->>3, r.value->>4, 0, cast(r.value->>5 as bigint), 0, '', cast($2 as bigint) from {rows $1} where true
		on conflict (kind, key) do nothing`, list, ms(t.s.now()))
}

// TakeJobs leases up to limit due jobs of a kind: until lease is over nobody else gets them, after it
// they are due again unless FinishJob or RetryJob was called. Tries counts this taking.
func (s *Store) TakeJobs(ctx context.Context, kind string, limit int, lease time.Duration) (list []waihu.Job, err error) {
	err = s.update(ctx, normal, func(t *tx) error {
		list = nil
		now := s.now()
		var taken [][]any
		if err := t.each(func(scan func(...any) error) error {
			j := waihu.Job{Kind: kind}
			var body string
			var run int64
			if err := scan(&j.ID, &j.Account, &j.Key, &body, &run, &j.Tries); err != nil {
				return err
			}
			j.Body, j.RunAt, j.Tries = []byte(body), at(run), j.Tries+1
			list, taken = append(list, j), append(taken, []any{j.ID})
			return nil
		}, sqlDueJobs, kind, ms(now), limit); err != nil {
			return err
		}
		return t.execRows(`update jobs set run_at = $2, tries = tries + 1 from {rows $1} where jobs.id = cast(r.value->>0 as bigint)`, taken, ms(now.Add(lease)))
	})
	return list, err
}

const sqlDueJobs = `select id, account, key, body, run_at, tries from jobs where kind = $1 and state = 0 and run_at <= $2 order by run_at limit $3{lock}`

// FinishJob removes a job that is done.
func (s *Store) FinishJob(ctx context.Context, id int64) error {
	return s.update(ctx, normal, func(t *tx) error {
		_, err := t.exec(`delete from jobs where id = $1`, id)
		return err
	})
}

// RetryJob makes a failed job due at when; the zero time gives it up and keeps it with its reason.
func (s *Store) RetryJob(ctx context.Context, id int64, when time.Time, reason string) error {
	return s.update(ctx, normal, func(t *tx) error {
		state := 0
		if when.IsZero() {
			state = 1
		}
		_, err := t.exec(`update jobs set state = $2, run_at = $3, error = $4 where id = $1`, id, state, ms(when), clean(reason))
		return err
	})
}
