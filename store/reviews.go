package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"waihu"
)

// Review is what was found in a call after its end; ENotFound when the call was not (yet) reviewed or is a stranger's.
func (s *Store) Review(ctx context.Context, account waihu.AccountID, call waihu.CallID) (v waihu.Review, err error) {
	err = s.read(ctx, func(t *tx) error {
		found := false
		if err := t.eachReview(func(_ string, r waihu.Review) { v, found = r, true },
			`where v.call = $1 and t.account = $2 and t.deleted `+t.there(), int64(call), account); err != nil {
			return err
		}
		if !found {
			return notFound("review of call", call)
		}
		return nil
	})
	return v, err
}

// Reviews are those of the named calls that were reviewed and belong to the account.
func (s *Store) Reviews(ctx context.Context, account waihu.AccountID, calls []waihu.CallID) (map[waihu.CallID]waihu.Review, error) {
	out := map[waihu.CallID]waihu.Review{}
	if len(calls) == 0 {
		return out, nil
	}
	list := make([][]any, len(calls))
	for i, c := range calls {
		list[i] = []any{int64(c)}
	}
	param, err := jsonRows(list)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(t *tx) error {
		return t.eachReview(func(_ string, r waihu.Review) { out[r.Call] = r },
			`where v.call in (select cast(r.value->>0 as bigint) from {rows $1}) and t.account = $2 and t.deleted `+t.there(), param, account)
	})
	return out, err
}

// LatestReviews are up to limit reviews of the task's latest calls.
func (s *Store) LatestReviews(ctx context.Context, account waihu.AccountID, task waihu.TaskID, limit int) (list []waihu.Review, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		return t.eachReview(func(_ string, r waihu.Review) { list = append(list, r) }, `where v.task = $1 order by v.call desc limit $2`, ref.serial, limit)
	})
	return list, err
}

func (t *tx) eachReview(f func(grade string, v waihu.Review), where string, args ...any) error {
	return t.each(func(scan func(...any) error) error {
		var v waihu.Review
		var when int64
		var grade, body string
		if err := scan(&v.Call, &v.Task, &when, &grade, &body); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			return fmt.Errorf("read the stored review of call %s: %w", v.Call, err)
		}
		v.At = at(when)
		f(grade, v)
		return nil
	}, `select v.call, t.id, v.at, v.grade, v.body from reviews v join tasks t on t.serial = v.task `+where, args...)
}

// TaskSummary is what the task's last run that ended has come to; ENotFound before.
func (s *Store) TaskSummary(ctx context.Context, account waihu.AccountID, task waihu.TaskID) (sum waihu.TaskSummary, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		var when int64
		var body string
		found, err := t.one(into(&sum.Run, &when, &body), `select run, at, body from summaries where task = $1 order by run desc limit 1`, ref.serial)
		if err != nil {
			return err
		}
		if !found {
			return notFound("summary of task", task)
		}
		sum.Task, sum.At = task, at(when)
		if err := json.Unmarshal([]byte(body), &sum); err != nil {
			return fmt.Errorf("read the stored summary of task %s: %w", task, err)
		}
		return nil
	})
	return sum, err
}

// Answer is how many calls of a task answered a question so; Answer is empty for calls whose answers in own words are
// too many to be counted one by one.
type Answer struct {
	Key, Answer string
	N           int
}

// maxAnswers is how many different answers to one question are counted each for itself; the rest is one number.
const maxAnswers = 20

// Answers are what the reviewed calls of the task answered, from gauges alone, by key and number, the most frequent first.
func (s *Store) Answers(ctx context.Context, account waihu.AccountID, task waihu.TaskID) (list []Answer, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		gauges, err := t.gaugeRows(ref)
		for k, n := range gauges {
			if k.kind == gaugeAnswers && n > 0 {
				key, answer, _ := strings.Cut(k.code, answerMark)
				list = append(list, Answer{key, answer, n})
			}
		}
		return err
	})
	slices.SortFunc(list, func(a, b Answer) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		if a.N != b.N {
			return b.N - a.N
		}
		return strings.Compare(a.Answer, b.Answer)
	})
	return list, err
}

const answerMark = "\x1f"

// ReviewsWaiting is how many calls of a run are still to be reviewed, from a gauge.
func (s *Store) ReviewsWaiting(ctx context.Context, account waihu.AccountID, task waihu.TaskID, run int) (n int, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		_, err = t.one(into(&n), sqlReviewsWaiting, ref.serial, fmt.Sprint(run))
		return err
	})
	return n, err
}

const sqlReviewsWaiting = `select n from counts where task = $1 and kind = 'v' and code = $2`

// CallOf is a call of the account with its details, whatever its task.
func (s *Store) CallOf(ctx context.Context, account waihu.AccountID, id waihu.CallID) (call waihu.Call, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref := taskRef{account: account}
		found, err := t.one(into(&ref.serial, &ref.id), `select t.serial, t.id from calls c join tasks t on t.serial = c.task where c.id = $1 and t.account = $2 and t.deleted `+t.there(),
			int64(id), account)
		if err != nil {
			return err
		}
		if found {
			found = false
			err = t.eachCall(ref, func(c waihu.Call) { call, found = c, true }, `c.task = $1 and c.id = $2 and c.outcome <> 17`, ref.serial, int64(id))
		}
		if err == nil && !found {
			err = notFound("call", id)
		}
		return err
	})
	return call, err
}

// Reviewed is a finished check: the job that asked for it and what was found.
type Reviewed struct {
	Job    waihu.Job
	Call   waihu.CallID
	Review *waihu.Review // nil: nothing new was found; with a first check the call.reviewed event comes all the same
	Again  bool          // the call was reviewed before: an event comes only with a Review, and says so
}

// FinishReviews stores what checks found, removes their jobs, moves the grades of calls and numbers with all their gauges, and
// writes the call.reviewed events: all of it in one commit and only for jobs that still exist, so that a check that was done
// twice has one effect.
func (s *Store) FinishReviews(ctx context.Context, list ...Reviewed) error {
	if len(list) == 0 {
		return nil
	}
	return s.updateThen(ctx, normal, func(t *tx) error {
		r := &reviewing{tx: t, b: newBatch(), moves: jobMoves{}, now: s.now(), numbers: map[numberKey]string{}, codes: map[int64]map[string]bool{},
			runs: map[RunRef]int64{}}
		return r.finish(list)
	}, "review.before_commit", "review.after_commit")
}

type numberKey struct{ task, seq int64 }

// reviewing is one commit of FinishReviews.
type reviewing struct {
	*tx
	b     *batch
	moves jobMoves
	now   time.Time

	numbers map[numberKey]string      // grades of numbers that this commit has changed
	codes   map[int64]map[string]bool // by task: the codes of its counted answers
	runs    map[RunRef]int64          // whose reviews these are, with the task's serial

	calls, grades, bodies [][]any
}

// reviewedCall is a call as the ledger has it when its check is written.
type reviewedCall struct {
	ref         taskRef
	run         int
	seq         int64
	attempt     int
	ended       int64
	outcome     waihu.Disposition
	grade       string
	state       waihu.NumberState
	shows       waihu.Disposition
	numberGrade string
	lastCall    waihu.CallID
	later       bool // a later call of the number has a grade of its own
	erased      bool // the number was
	before      waihu.Review
	beforeBody  string
}

func (r *reviewing) finish(list []Reviewed) error {
	var jobs, ids [][]any
	shards := map[int]bool{}
	for _, x := range list {
		jobs, ids = append(jobs, []any{x.Job.ID}), append(ids, []any{int64(x.Call)})
		shards[x.Call.Shard()] = true
	}
	if err := r.lockShards(shards); err != nil {
		return err
	}
	ours, err := r.removeJobs(r.moves, jobs)
	if err != nil {
		return err
	}
	calls, err := r.read(ids)
	if err != nil {
		return err
	}
	for _, x := range list {
		c := calls[x.Call]
		if c == nil || !ours[x.Job.ID] { // erased meanwhile, or written by somebody else
			continue
		}
		delete(ours, x.Job.ID)
		if err := r.one(x, c); err != nil {
			return err
		}
	}
	if err := r.execRows(sqlGradeCalls, r.calls); err != nil {
		return err
	}
	if err := r.execRows(sqlGradeNumbers, r.grades, ms(r.now)); err != nil {
		return err
	}
	if err := r.execRows(sqlPutReviews, r.bodies, ms(r.now)); err != nil {
		return err
	}
	if err := r.flush(r.b); err != nil {
		return err
	}
	if err := r.wakeSummaries(); err != nil {
		return err
	}
	return r.moveJobs(r.moves)
}

// wakeSummaries makes the summaries due that wait for nothing any more.
func (r *reviewing) wakeSummaries() error {
	for ref, serial := range r.runs {
		var n int
		if _, err := r.tx.one(into(&n), sqlReviewsWaiting, serial, fmt.Sprint(ref.Run)); err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		if _, err := r.exec(sqlWakeSummary, summaryKey(ref.Task, ref.Run), ms(r.now)); err != nil {
			return err
		}
	}
	return nil
}

// Only a summary that waits, see JobWaits: one that is being worked has its lease in run_at.
const sqlWakeSummary = `update jobs set run_at = $2 where id in (select id from jobs where kind = 'run.summary' and key = $1 and state = 0 and error = 'waits' and run_at > $2
postgres: for update skip locked
)`

func (t *tx) lockShards(shards map[int]bool) error {
	list := make([]int, 0, len(shards))
	for n := range shards {
		list = append(list, n)
	}
	slices.Sort(list)
	for _, n := range list {
		if err := t.lockShard(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *reviewing) read(ids [][]any) (map[waihu.CallID]*reviewedCall, error) {
	param, err := jsonRows(ids)
	if err != nil {
		return nil, err
	}
	out := map[waihu.CallID]*reviewedCall{}
	err = r.each(func(scan func(...any) error) error {
		var id waihu.CallID
		var c reviewedCall
		var later, erased int
		if err := scan(&id, &c.ref.serial, &c.ref.id, &c.ref.account, &c.run, &c.seq, &c.attempt, &c.ended, &c.outcome, &c.grade,
			&c.state, &c.shows, &c.numberGrade, &c.lastCall, &later, &erased, &c.beforeBody); err != nil {
			return err
		}
		c.later, c.erased = later != 0, erased != 0
		if c.beforeBody != "" {
			if err := json.Unmarshal([]byte(c.beforeBody), &c.before); err != nil {
				return fmt.Errorf("read the stored review of call %s: %w", id, err)
			}
		}
		out[id] = &c
		return nil
	}, sqlReviewedCalls, param)
	return out, err
}

// one takes a check into the commit.
func (r *reviewing) one(x Reviewed, c *reviewedCall) error {
	r.b.count(c.ref.serial, gaugeReviews, fmt.Sprint(c.run), -1)
	r.runs[RunRef{c.ref.id, c.run}] = c.ref.serial
	if c.erased { // between the check and now: what was found says too much
		x.Review = nil
	}
	grade := c.grade
	if v := x.Review; v != nil {
		grade = v.Grade
		body, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("store the review of call %s: %w", x.Call, err)
		}
		r.bodies = append(r.bodies, []any{int64(x.Call), c.ref.serial, v.Grade, plainJSON(body)})
		if err := r.answers(c, v); err != nil {
			return err
		}
	}
	if grade != c.grade {
		r.regrade(x.Call, c, grade)
	}
	if x.Review != nil || !x.Again {
		r.b.event(waihu.EventCallReviewed, c.ref.account, c.ref.id, r.now, x.Call,
			reviewedBody{Seq: c.seq, Attempt: c.attempt, Disposition: c.outcome.String(), Grade: grade, Again: x.Again})
	}
	return nil
}

// regrade moves a call's grade with all that counts it; the number's only while it shows this call's.
func (r *reviewing) regrade(id waihu.CallID, c *reviewedCall, grade string) {
	r.calls = append(r.calls, []any{int64(id), grade})
	ended := at(c.ended)
	if c.grade != "" {
		r.b.stat(c.ref.serial, ended, byGrade, c.grade, -1)
	}
	if grade != "" {
		r.b.stat(c.ref.serial, ended, byGrade, grade, 1)
	}
	key := numberKey{c.ref.serial, c.seq}
	shown, changed := r.numbers[key]
	if !changed {
		shown = c.numberGrade
	}
	gone := c.state == waihu.NumberRemoved || c.shows == waihu.NoOutcome // removed, or reset since
	if gone || c.later || shown != c.grade && c.lastCall != id {
		return
	}
	r.numbers[key] = grade
	r.b.shows(c.ref.serial, c.shows, c.shows, shown, grade)
	r.grades = append(r.grades, []any{c.ref.serial, c.seq, grade})
}

// answers moves the gauges from what the check before found to what this one found.
func (r *reviewing) answers(c *reviewedCall, v *waihu.Review) error {
	for _, side := range []struct {
		v *waihu.Review
		n int64
	}{{&c.before, -1}, {v, 1}} {
		if side.v.Hit() {
			r.b.count(c.ref.serial, gaugeHits, "", side.n)
		}
		for i := range side.v.Collected {
			a := &side.v.Collected[i]
			if !a.Hit {
				continue
			}
			code, err := r.code(c.ref, a)
			if err != nil {
				return err
			}
			r.b.count(c.ref.serial, gaugeAnswers, code, side.n)
		}
	}
	return nil
}

// code is the gauge that counts an answer. Preset answers have one each; of answers in own words the first
// maxAnswers different ones have, the rest share one: a task has a bounded number of gauges.
func (r *reviewing) code(ref taskRef, a *waihu.CollectAnswer) (string, error) {
	text := []rune(clean(strings.ReplaceAll(a.Result, answerMark, " ")))
	code := a.Key + answerMark + string(text[:min(len(text), 40)])
	if a.Option {
		return code, nil
	}
	known := r.codes[ref.serial]
	if known == nil {
		known = map[string]bool{}
		gauges, err := r.gaugeRows(ref)
		if err != nil {
			return "", err
		}
		for k := range gauges {
			if k.kind == gaugeAnswers {
				known[k.code] = true
			}
		}
		r.codes[ref.serial] = known
	}
	if known[code] {
		return code, nil
	}
	n := 0
	for k := range known {
		if strings.HasPrefix(k, a.Key+answerMark) {
			n++
		}
	}
	if n >= maxAnswers {
		return a.Key + answerMark, nil
	}
	known[code] = true
	return code, nil
}

type reviewedBody struct {
	Seq         int64  `json:"seq"`
	Attempt     int    `json:"attempt"`
	Disposition string `json:"disposition"`
	Grade       string `json:"grade"`
	Again       bool   `json:"again,omitempty"`
}

const (
	sqlReviewedCalls = `select c.id, c.task, t.id, t.account, c.run, c.seq, c.attempt, c.ended_at, c.outcome, c.grade, n.state, n.outcome, n.grade, n.last_call,
		case when exists (select 1 from calls l where l.task = c.task and l.seq = c.seq and l.attempt > c.attempt and l.outcome <> 17 and l.grade <> '') then 1 else 0 end,
		case when n.phone = '' then 1 else 0 end, coalesce(v.body, '')
	from {rows $1} join calls c on c.id = cast(r.value->>0 as bigint) join tasks t on t.serial = c.task
	join numbers n on n.task = c.task and n.seq = c.seq left join reviews v on v.call = c.id`

	sqlGradeCalls = `update calls set grade = r.value->>1 from {rows $1} where calls.id = cast(r.value->>0 as bigint)`

	sqlGradeNumbers = `update numbers set grade = r.value->>2, updated_at = $2
	from {rows $1} where numbers.task = cast(r.value->>0 as bigint) and numbers.seq = cast(r.value->>1 as bigint)`

	sqlPutReviews = `insert into reviews (call, task, at, grade, body)
	select cast(r.value->>0 as bigint), cast(r.value->>1 as bigint), cast($2 as bigint), r.value->>2, r.value->>3 from {rows $1} where true
	on conflict (call) do update set at = excluded.at, grade = excluded.grade, body = excluded.body`
)

// FinishSummary stores what a run has come to, removes its job and, unless it was summed up before, writes run.reviewed: in one
// commit, and only while the job exists.
func (s *Store) FinishSummary(ctx context.Context, job waihu.Job, order waihu.SummaryOrder, sum waihu.TaskSummary) error {
	return s.update(ctx, normal, func(t *tx) error {
		moves := jobMoves{}
		ours, err := t.removeJobs(moves, [][]any{{job.ID}})
		if err != nil || !ours[job.ID] {
			return err
		}
		var ref taskRef
		var reason waihu.RunReason
		found, err := t.one(into(&ref.serial, &ref.id, &ref.account, &reason), `select t.serial, t.id, t.account, u.reason from tasks t
			join runs u on u.task = t.serial and u.n = $3 where t.id = $1 and t.account = $2`, order.Task, job.Account, order.Run)
		if err != nil {
			return err
		}
		b, now := newBatch(), s.now()
		if found {
			body, err := json.Marshal(sum)
			if err != nil {
				return fmt.Errorf("store the summary of task %s: %w", order.Task, err)
			}
			if _, err := t.exec(`insert into summaries (task, run, at, body) values ($1, $2, $3, $4)
				on conflict (task, run) do update set at = excluded.at, body = excluded.body`, ref.serial, order.Run, ms(now), plainJSON(body)); err != nil {
				return err
			}
			if !order.Again {
				b.event(waihu.EventRunReviewed, ref.account, ref.id, now, 0, runBody{Run: order.Run, Reason: reason})
			}
		}
		if err := t.flush(b); err != nil {
			return err
		}
		return t.moveJobs(moves)
	})
}

// regradePortion is how many calls one slice of Regrade looks at.
const regradePortion = 200

// Regrade has every answered call of the task checked again, with the agent's newest version, and says how many there are.
// Calls whose check is still to come are left to it. When all are done the summary of the last ended run is made anew.
func (s *Store) Regrade(ctx context.Context, account waihu.AccountID, task waihu.TaskID) (added int, err error) {
	after, pending := int64(0), 0
	err = s.inTurns(ctx, func(t *tx, more func() bool) (bool, error) {
		pending = 0
		k, _, err := t.lockTask(account, task)
		if err != nil {
			return false, err
		}
		for last := after; ; {
			var jobs []waihu.Job
			runs := map[string]int{}
			seen := 0
			if err := t.each(func(scan func(...any) error) error {
				var run int
				if err := scan(&last, &run); err != nil {
					return err
				}
				seen++
				key := waihu.CallID(last).String()
				runs[key] = run
				jobs = append(jobs, waihu.Job{Account: account, Kind: waihu.JobReview, Key: key, Body: jobBody(waihu.ReviewOrder{Again: true})})
				return nil
			}, sqlAnsweredCalls, k.Serial, last, regradePortion); err != nil {
				return false, err
			}
			if seen < regradePortion {
				var run int
				if found, err := t.one(into(&run), `select n from runs where task = $1 and state = 2 order by n desc limit 1`, k.Serial); err != nil {
					return false, err
				} else if found {
					jobs = append(jobs, waihu.Job{Account: account, Kind: waihu.JobSummary, Key: summaryKey(task, run),
						Body: jobBody(waihu.SummaryOrder{Task: task, Run: run, Again: true})})
				}
			}
			new, err := t.addJobs(jobs)
			if err != nil {
				return false, err
			}
			b := newBatch()
			for n := range new {
				if n.kind == waihu.JobReview {
					b.count(k.Serial, gaugeReviews, fmt.Sprint(runs[n.key]), 1)
					pending++
				}
			}
			if err := t.flushCounts(b); err != nil {
				return false, err
			}
			if seen < regradePortion {
				return true, nil
			}
			if !more() {
				after = last
				return false, nil
			}
		}
	}, func() { added += pending })
	return added, err
}

const sqlAnsweredCalls = `select id, run from calls where task = $1 and id > $2 and ended_at > 0 and outcome = 1 order by id limit $3`

// plainJSON is a JSON document as text without NULs, which a model may have dreamt and PostgreSQL's text refuses.
func plainJSON(body []byte) string { return clean(strings.ReplaceAll(string(body), `\u0000`, "")) }
