package store

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"waihu"
)

// AddJobs writes jobs; one whose kind and key exist already is left as it is.
func (s *Store) AddJobs(ctx context.Context, jobs ...waihu.Job) error {
	return s.update(ctx, normal, func(t *tx) error { return t.flushJobs(jobs) })
}

func (t *tx) flushJobs(jobs []waihu.Job) error {
	_, err := t.addJobs(jobs)
	return err
}

// jobName is what makes a job unique.
type jobName struct{ kind, key string }

// addJobs writes the jobs that do not exist yet, moves their gauges and says which they were.
func (t *tx) addJobs(jobs []waihu.Job) (added map[jobName]bool, err error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	last, err := t.head("jobs", int64(len(jobs)))
	if err != nil {
		return nil, err
	}
	var list [][]any
	for i, j := range jobs {
		list = append(list, []any{last - int64(len(jobs)-1-i), j.Account, j.Kind, j.Key, string(j.Body), ms(j.RunAt)})
	}
	param, err := jsonRows(list)
	if err != nil {
		return nil, err
	}
	added, moves := map[jobName]bool{}, jobMoves{}
	if err := t.each(func(scan func(...any) error) error {
		var n jobName
		var account waihu.AccountID
		err := scan(&n.kind, &n.key, &account)
		added[n] = true
		moves.add(n.kind, account, 1, 0, 0)
		return err
	}, sqlAddJobs, param, ms(t.s.now())); err != nil {
		return nil, err
	}
	return added, t.moveJobs(moves)
}

const sqlAddJobs = `insert into jobs (id, account, kind, key, body, state, run_at, tries, error, created_at)
	select cast(r.value->>0 as bigint), r.value->>1, r.value->>2, r.value->>3, r.value->>4, 0, cast(r.value->>5 as bigint), 0, '', cast($2 as bigint) from {rows $1} where true
	on conflict (kind, key) do nothing returning kind, key, account`

// jobMoves are the changes of the gauges in job_counts.
type jobMoves map[jobGauge]*[3]int64

type jobGauge struct {
	kind    string
	account waihu.AccountID
}

func (m jobMoves) add(kind string, account waihu.AccountID, waiting, dead, done int64) {
	n := m[jobGauge{kind, account}]
	if n == nil {
		n = &[3]int64{}
		m[jobGauge{kind, account}] = n
	}
	n[0], n[1], n[2] = n[0]+waiting, n[1]+dead, n[2]+done
}

// moveJobs writes the gauges, always last and in the same order, so that two transactions never wait in a circle.
func (t *tx) moveJobs(m jobMoves) error {
	var list [][]any
	for k, n := range m {
		if *n != [3]int64{} {
			list = append(list, []any{k.kind, k.account, n[0], n[1], n[2]})
		}
	}
	slices.SortFunc(list, func(a, b []any) int {
		return cmp.Or(cmp.Compare(a[0].(string), b[0].(string)), cmp.Compare(a[1].(waihu.AccountID), b[1].(waihu.AccountID)))
	})
	return t.execRows(sqlMoveJobs, list)
}

const sqlMoveJobs = `insert into job_counts (kind, account, waiting, dead, done)
	select r.value->>0, r.value->>1, cast(r.value->>2 as bigint), cast(r.value->>3 as bigint), cast(r.value->>4 as bigint) from {rows $1} where true
	on conflict (kind, account) do update set waiting = job_counts.waiting + excluded.waiting, dead = job_counts.dead + excluded.dead, done = job_counts.done + excluded.done`

// TakeJobs leases up to limit due jobs of a kind: until lease is over nobody else gets them, after it
// they are due again unless EndJobs said what became of them. Tries and Failed count this taking.
//
// Accounts take turns: each that has due jobs gets an equal share of limit, beginning after the account that came last
// in this process's taking before. Several processes on one PostgreSQL never get the same job, nor wait for each other.
func (s *Store) TakeJobs(ctx context.Context, kind string, limit int, lease time.Duration) (list []waihu.Job, err error) {
	s.mu.Lock()
	after := s.turns[kind]
	s.mu.Unlock()
	now := s.now()
	due, err := s.dueAccounts(ctx, kind, now) // outside the writer: an idle queue writes nothing
	if err != nil || len(due) == 0 || limit <= 0 {
		return nil, err
	}
	first, _ := slices.BinarySearch(due, after+"\x00")
	due = append(due[first:len(due):len(due)], due[:first]...)
	var last waihu.AccountID
	err = s.update(ctx, normal, func(t *tx) error {
		list, last = nil, ""
		// The second round gives what poor accounts left over to the others.
		for round := 0; round < 2 && len(list) < limit; round++ {
			for i, account := range due {
				share := (limit - len(list)) / (len(due) - i)
				if round > 0 {
					share = limit - len(list)
				}
				n := len(list)
				if list, err = t.takeJobs(list, kind, account, now, max(1, share), lease); err != nil {
					return err
				}
				if len(list) > n {
					last = account
				}
				if len(list) >= limit {
					break
				}
			}
			if len(list) == 0 {
				break
			}
		}
		return nil
	})
	if err == nil && last != "" {
		s.mu.Lock()
		s.turns[kind] = last
		s.mu.Unlock()
	}
	return list, err
}

// takeJobs leases up to limit due jobs of one account.
func (t *tx) takeJobs(list []waihu.Job, kind string, account waihu.AccountID, now time.Time, limit int, lease time.Duration) ([]waihu.Job, error) {
	var taken [][]any
	if err := t.each(func(scan func(...any) error) error {
		j := waihu.Job{Kind: kind, Account: account}
		var body string
		var run int64
		if err := scan(&j.ID, &j.Key, &body, &run, &j.Tries, &j.Failed); err != nil {
			return err
		}
		j.Body, j.RunAt, j.Tries = []byte(body), at(run), j.Tries+1
		j.Failed++
		list, taken = append(list, j), append(taken, []any{j.ID})
		return nil
	}, sqlDueJobs, kind, account, ms(now), limit); err != nil {
		return list, err
	}
	return list, t.execRows(`update jobs set run_at = $2, tries = tries + 1, failed = failed + 1, error = '' from {rows $1} where jobs.id = cast(r.value->>0 as bigint)`, taken, ms(now.Add(lease)))
}

const sqlDueJobs = `select id, key, body, run_at, tries, failed from jobs where kind = $1 and account = $2 and state = 0 and run_at <= $3 order by run_at limit $4
postgres: for update skip locked
`

// sqlFreeJobs makes leased jobs due: those that were taken and of which nothing was said since. Others that are not due yet
// have a reason, or were never taken.
const sqlFreeJobs = `update jobs set run_at = $1 where id in (select j.id from job_counts c join jobs j on j.kind = c.kind and j.account = c.account
	where c.waiting > 0 and j.state = 0 and j.run_at > $1 and j.tries > 0 and j.error = '')`

// dueAccounts are the accounts that have due jobs of a kind, in their order: one look into the index per account that has any waiting.
func (s *Store) dueAccounts(ctx context.Context, kind string, now time.Time) (list []waihu.AccountID, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var a waihu.AccountID
			err := scan(&a)
			list = append(list, a)
			return err
		}, sqlDueAccounts, kind, ms(now))
	})
	slices.Sort(list) // as Go compares, whatever the database's collation
	return list, err
}

const sqlDueAccounts = `select c.account from job_counts c where c.kind = $1 and c.waiting > 0
	and exists (select 1 from jobs j where j.kind = c.kind and j.account = c.account and j.state = 0 and j.run_at <= $2)`

// KeepJobs prolongs the leases of jobs that are still being worked.
func (s *Store) KeepJobs(ctx context.Context, lease time.Duration, jobs ...waihu.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	return s.update(ctx, normal, func(t *tx) error {
		var list [][]any
		for _, j := range jobs {
			list = append(list, []any{j.ID, j.Tries})
		}
		return t.execRows(`update jobs set run_at = $2 from {rows $1} where jobs.id = cast(r.value->>0 as bigint) and jobs.tries = cast(r.value->>1 as integer) and jobs.state = 0`,
			list, ms(s.now().Add(lease)))
	})
}

// JobWaits is the Reason of a job that came back because it waits for something: what it waits for may make it due.
const JobWaits = "waits"

// JobEnd says what became of a taken job. The zero JobEnd but for Job is success: the job is removed.
type JobEnd struct {
	Job    waihu.Job
	Retry  time.Time // due again then
	Free   bool      // with Retry: this taking was no failure
	Dead   bool      // given up: kept with its reason until it is replayed or forgotten
	Reason string
}

// EndJobs writes what became of taken jobs, all in one commit. A job that was taken by somebody else meanwhile, because its
// lease ran out, is removed by success and otherwise left to them.
func (s *Store) EndJobs(ctx context.Context, ends ...JobEnd) error {
	if len(ends) == 0 {
		return nil
	}
	return s.update(ctx, normal, func(t *tx) error {
		moves := jobMoves{}
		var done, again [][]any
		for _, e := range ends {
			switch {
			case e.Dead:
				again = append(again, []any{e.Job.ID, e.Job.Tries, 1, 0, 0, clean(e.Reason)})
			case !e.Retry.IsZero():
				again = append(again, []any{e.Job.ID, e.Job.Tries, 0, ms(e.Retry), flag(e.Free), clean(e.Reason)})
			default:
				done = append(done, []any{e.Job.ID})
			}
		}
		if _, err := t.removeJobs(moves, done); err != nil {
			return err
		}
		if err := t.moveBy(moves, sqlAgainJobs, again, func(state int, kind string, account waihu.AccountID) {
			if state == 1 {
				moves.add(kind, account, -1, 1, 0)
			}
		}); err != nil {
			return err
		}
		return t.moveJobs(moves)
	})
}

// removeJobs deletes finished jobs and says which there were; a job that is gone already is passed over.
func (t *tx) removeJobs(moves jobMoves, list [][]any) (ids map[int64]bool, err error) {
	ids = map[int64]bool{}
	if len(list) == 0 {
		return ids, nil
	}
	param, err := jsonRows(list)
	if err != nil {
		return nil, err
	}
	err = t.each(func(scan func(...any) error) error {
		var id int64
		var state int
		var kind string
		var account waihu.AccountID
		err := scan(&id, &state, &kind, &account)
		ids[id] = true
		if state == 0 {
			moves.add(kind, account, -1, 0, 1)
		} else {
			moves.add(kind, account, 0, -1, 1)
		}
		return err
	}, sqlRemoveJobs, param)
	return ids, err
}

// moveBy runs a statement that returns state, kind and account of the jobs it changed.
func (t *tx) moveBy(moves jobMoves, sql string, list [][]any, f func(state int, kind string, account waihu.AccountID)) error {
	if len(list) == 0 {
		return nil
	}
	param, err := jsonRows(list)
	if err != nil {
		return err
	}
	return t.each(func(scan func(...any) error) error {
		var state int
		var kind string
		var account waihu.AccountID
		err := scan(&state, &kind, &account)
		f(state, kind, account)
		return err
	}, sql, param)
}

const (
	sqlRemoveJobs = `delete from jobs where id in (select cast(r.value->>0 as bigint) from {rows $1}) returning id, state, kind, account`

	sqlAgainJobs = `update jobs set state = cast(r.value->>2 as integer), run_at = cast(r.value->>3 as bigint), failed = failed - cast(r.value->>4 as integer), error = r.value->>5
	from {rows $1} where jobs.id = cast(r.value->>0 as bigint) and jobs.tries = cast(r.value->>1 as integer) and jobs.state = 0
	returning state, kind, account`
)

// FinishJob removes jobs that are done.
func (s *Store) FinishJob(ctx context.Context, ids ...int64) error {
	ends := make([]JobEnd, len(ids))
	for i, id := range ids {
		ends[i].Job.ID = id
	}
	return s.EndJobs(ctx, ends...)
}

// JobCount is where the jobs of an account and kind stand, from gauges alone.
type JobCount struct {
	Account waihu.AccountID
	Kind    string
	Waiting int64 // to do, those being worked included
	Dead    int64 // given up and kept
	Done    int64 // finished since the ledger began
}

// JobCounts are the gauges of all jobs, or of one account's when it is not empty; by kind and account.
func (s *Store) JobCounts(ctx context.Context, account waihu.AccountID) (list []JobCount, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var c JobCount
			err := scan(&c.Kind, &c.Account, &c.Waiting, &c.Dead, &c.Done)
			list = append(list, c)
			return err
		}, `select kind, account, waiting, dead, done from job_counts where $1 = '' or account = $1 order by kind, account`, account)
	})
	return list, err
}

// DeadJob is a job that was given up.
type DeadJob struct {
	waihu.Job
	Reason    string
	CreatedAt time.Time
}

// JobFilter chooses jobs that were given up; zero fields do not restrict.
type JobFilter struct {
	Account waihu.AccountID
	Kind    string
	ID      int64
	After   int64 // only ids above
	Limit   int   // 0: 100, at most 1000
}

func (f *JobFilter) args() []any {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return into(f.Kind, f.Account, f.ID, f.After, min(f.Limit, 1000))
}

const deadJobs = ` from jobs where state = 1 and ($1 = '' or kind = $1) and ($2 = '' or account = $2) and (cast($3 as bigint) = 0 or id = cast($3 as bigint)) and id > cast($4 as bigint) order by id limit $5`

// DeadJobs are jobs that were given up, with their reasons, by id.
func (s *Store) DeadJobs(ctx context.Context, f JobFilter) (list []DeadJob, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var j DeadJob
			var body string
			var created int64
			if err := scan(&j.ID, &j.Account, &j.Kind, &j.Key, &body, &j.Tries, &j.Reason, &created); err != nil {
				return err
			}
			j.Body, j.CreatedAt = []byte(body), at(created)
			list = append(list, j)
			return nil
		}, `select id, account, kind, key, body, tries, error, created_at`+deadJobs, f.args()...)
	})
	return list, err
}

// ReplayJobs makes jobs that were given up due again, with all their tries, and says how many there were.
func (s *Store) ReplayJobs(ctx context.Context, f JobFilter) (n int, err error) {
	f.Limit = cmp.Or(f.Limit, 1000)
	err = s.update(ctx, normal, func(t *tx) error {
		n = 0
		moves := jobMoves{}
		if err := t.each(func(scan func(...any) error) error {
			var kind string
			var account waihu.AccountID
			err := scan(&kind, &account)
			moves.add(kind, account, 1, -1, 0)
			n++
			return err
		}, `update jobs set state = 0, run_at = 0, failed = 0 where id in (select id`+deadJobs+`) and state = 1 returning kind, account`, f.args()...); err != nil {
			return err
		}
		return t.moveJobs(moves)
	})
	return n, err
}

// jobBody is the JSON of one of our own bodies.
func jobBody(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("store: a job's body of ours cannot be encoded: " + err.Error()) // they are structs of strings and numbers
	}
	return b
}

// summaryKey names the job that sums up a run.
func summaryKey(task waihu.TaskID, run int) string { return string(task) + "/" + strconv.Itoa(run) }
