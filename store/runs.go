package store

import (
	"context"
	"time"

	"waihu"
)

// StartTask opens a run and reserves min(limit, concurrency) on each named line, or is refused.
// An earlier run may still drain: its hold counts as the task's own. A task that is started
// already has its open run returned. An agent that is offline stands against it.
func (s *Store) StartTask(ctx context.Context, account waihu.AccountID, id waihu.TaskID) (run waihu.Run, err error) {
	err = s.update(ctx, normal, func(t *tx) error {
		k, last, err := t.lockTask(account, id)
		if err != nil {
			return err
		}
		if k.Started {
			run, err = t.run(k.ref(), last)
			return err
		}
		now := s.now()
		if !k.Stop.IsZero() && !now.Before(k.Stop) {
			return conflict(waihu.ErrWindowOver, "the task's window ended at %s", k.Stop.In(k.Location()).Format(time.DateTime))
		}
		if err := t.agentsOnline(&k.Task); err != nil {
			return err
		}
		hold, err := t.hold(&k.Task, now)
		if err != nil {
			return err
		}
		run = waihu.Run{Task: id, N: last + 1, StartedAt: at(ms(now))}
		if _, err := t.exec(`update tasks set started = 1, run = $2 where serial = $1`, k.Serial, run.N); err != nil {
			return err
		}
		if _, err := t.exec(`insert into runs (task, n, state, reason, detail, started_at, closed_at, ended_at) values ($1, $2, 0, '', '', $3, 0, 0)`,
			k.Serial, run.N, ms(now)); err != nil {
			return err
		}
		for line, n := range hold {
			if _, err := t.exec(`insert into reservations (task, line, run, cap) values ($1, $2, $3, $4)`, k.Serial, line, run.N, n); err != nil {
				return err
			}
		}
		b := newBatch()
		b.event(waihu.EventTaskStarted, account, id, now, 0, runBody{Run: run.N})
		return t.flush(b)
	})
	if err == nil {
		s.wakeOwner()
	}
	return run, err
}

// hold is what a start of the task reserves, per named line.
func (t *tx) hold(k *waihu.Task, now time.Time) (map[waihu.LineID]int, error) {
	all, err := t.linesFor(k.Account)
	if err != nil {
		return nil, err
	}
	held, err := t.held(k.Serial)
	if err != nil {
		return nil, err
	}
	callers, err := t.callersOf(k)
	if err != nil {
		return nil, err
	}
	usable, hold, free := 0, map[waihu.LineID]int{}, map[waihu.LineID]int{}
	for _, l := range all {
		free[l.ID] = max(0, l.Concurrency-held[l.ID])
	}
	if err := t.allotted(k.Account, k.Serial, free, now); err != nil {
		return nil, err
	}
	for _, l := range linesOf(k, all, callers) {
		if !l.Usable(now) {
			continue
		}
		usable++
		if len(k.Lines) == 0 {
			continue
		}
		for _, tl := range k.Lines {
			if tl.Line != l.ID {
				continue
			}
			want, residue := min(tl.Limit, k.Concurrency), free[l.ID]
			if want > residue {
				return nil, conflict(waihu.ErrResidue, "line %s (%s) has %d of its %d channels free, the task needs %d", l.Name, l.ID, residue, l.Concurrency, want)
			}
			hold[l.ID] = want
		}
	}
	if usable == 0 {
		return nil, conflict(waihu.ErrNoLine, "the task has no usable line: add a line that has channels and has not expired")
	}
	return hold, nil
}

// held is what tasks hold of each line, but for the task except.
func (t *tx) held(except int64) (map[waihu.LineID]int, error) {
	held := map[waihu.LineID]int{}
	err := t.each(func(scan func(...any) error) error {
		var line waihu.LineID
		var n int
		err := scan(&line, &n)
		held[line] = n
		return err
	}, `select line, sum(n) from (select line, task, max(cap) as n from reservations where task <> $1 group by line, task) x group by line`, except)
	return held, err
}

// Residue is, for every line the account may use, its concurrency less what tasks hold of it. What exceptTask holds does not count.
func (s *Store) Residue(ctx context.Context, account waihu.AccountID, exceptTask waihu.TaskID) (map[waihu.LineID]int, error) {
	out := map[waihu.LineID]int{}
	err := s.snapshot(ctx, func(t *tx) error {
		var except int64
		if exceptTask != "" {
			ref, err := t.findTask(account, exceptTask)
			if err != nil {
				return err
			}
			except = ref.serial
		}
		lines, err := t.linesFor(account)
		if err != nil {
			return err
		}
		held, err := t.held(except)
		for _, l := range lines {
			out[l.ID] = max(0, l.Concurrency-held[l.ID])
		}
		if err == nil {
			err = t.allotted(account, except, out, s.now())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// StopTask closes the open run: nothing more is dialled, calls in progress go on. The run has
// ended at once when there are none. Stopping a stopped task is no error.
func (s *Store) StopTask(ctx context.Context, account waihu.AccountID, id waihu.TaskID) error {
	err := s.update(ctx, normal, func(t *tx) error {
		k, last, err := t.lockTask(account, id)
		if err != nil || !k.Started {
			return err
		}
		b, now := newBatch(), s.now()
		if _, err := t.closeRun(b, k.ref(), last, waihu.RunStopped, "", now); err != nil {
			return err
		}
		if _, err := t.endRuns(b, []runKey{{k.Serial, last}}, now); err != nil {
			return err
		}
		return t.flush(b)
	})
	if err == nil {
		s.wakeOwner()
	}
	return err
}

// closeRun closes an open run and stops its task; a run that is not open stays as it is.
func (t *tx) closeRun(b *batch, ref taskRef, run int, reason waihu.RunReason, detail string, now time.Time) (bool, error) {
	n, err := t.exec(`update runs set state = 1, reason = $3, detail = $4, closed_at = $5 where task = $1 and n = $2 and state = 0`,
		ref.serial, run, reason, detail, ms(now))
	if err != nil || n == 0 {
		return false, err
	}
	if _, err := t.exec(`update tasks set started = 0 where serial = $1 and run = $2`, ref.serial, run); err != nil {
		return false, err
	}
	b.event(waihu.EventTaskStopped, ref.account, ref.id, now, 0, runBody{Run: run, Reason: reason})
	return true, nil
}

type runKey struct {
	task int64
	n    int
}

// endRuns ends those of the runs that are closed and have no live call, and gives back what they held.
func (t *tx) endRuns(b *batch, keys []runKey, now time.Time) (ended []RunRef, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	list := make([][]any, len(keys))
	for i, k := range keys {
		list[i] = []any{k.task, k.n}
	}
	param, err := jsonRows(list)
	if err != nil {
		return nil, err
	}
	type over struct {
		ref    taskRef
		run    int
		reason waihu.RunReason
	}
	var overs []over
	if err := t.each(func(scan func(...any) error) error {
		var o over
		if err := scan(&o.ref.serial, &o.ref.id, &o.ref.account, &o.run, &o.reason); err != nil {
			return err
		}
		overs = append(overs, o)
		return nil
	}, sqlRunsOver, param); err != nil {
		return nil, err
	}
	for _, o := range overs {
		n, err := t.exec(`update runs set state = 2, ended_at = $3 where task = $1 and n = $2 and state = 1`, o.ref.serial, o.run, ms(now))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue // named twice
		}
		if _, err := t.exec(`delete from reservations where task = $1 and run = $2`, o.ref.serial, o.run); err != nil {
			return nil, err
		}
		b.event(waihu.EventRunEnded, o.ref.account, o.ref.id, now, 0, runBody{Run: o.run, Reason: o.reason})
		b.jobs = append(b.jobs, waihu.Job{Account: o.ref.account, Kind: waihu.JobSummary, Key: summaryKey(o.ref.id, o.run),
			Body: jobBody(waihu.SummaryOrder{Task: o.ref.id, Run: o.run})})
		ended = append(ended, RunRef{o.ref.id, o.run})
	}
	return ended, nil
}

const sqlRunsOver = `select t.serial, t.id, t.account, u.n, u.reason
	from {rows $1} join runs u on u.task = cast(r.value->>0 as bigint) and u.n = cast(r.value->>1 as integer) join tasks t on t.serial = u.task
	where u.state = 1 and not exists (select 1 from calls c where c.task = u.task and c.run = u.n and c.ended_at = 0)`

// Runs are all runs of the task, the latest first.
func (s *Store) Runs(ctx context.Context, account waihu.AccountID, id waihu.TaskID) (list []waihu.Run, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, id)
		if err != nil {
			return err
		}
		return t.eachRun(`where task = $1 order by n desc`, func(_ int64, r waihu.Run) {
			r.Task = id
			list = append(list, r)
		}, ref.serial)
	})
	return list, err
}

func (t *tx) run(ref taskRef, n int) (run waihu.Run, err error) {
	err = t.eachRun(`where task = $1 and n = $2`, func(_ int64, r waihu.Run) {
		run = r
		run.Task = ref.id
	}, ref.serial, n)
	return run, err
}

func (t *tx) eachRun(where string, f func(serial int64, r waihu.Run), args ...any) error {
	return t.each(func(scan func(...any) error) error {
		var r waihu.Run
		var serial, started, closed, ended int64
		if err := scan(&serial, &r.N, &r.State, &r.Reason, &r.Detail, &started, &closed, &ended); err != nil {
			return err
		}
		r.StartedAt, r.ClosedAt, r.EndedAt = at(started), at(closed), at(ended)
		f(serial, r)
		return nil
	}, `select task, n, state, reason, detail, started_at, closed_at, ended_at from runs `+where, args...)
}

// lockedTask is a task read under its shard's lock.
type lockedTask struct{ waihu.Task }

func (k *lockedTask) ref() taskRef { return taskRef{k.ID, k.Serial, k.Account} }

// lockTask locks the task's shard, so that no tick runs beside what follows, and reads the task
// with its lines and the number of its last run.
func (t *tx) lockTask(account waihu.AccountID, id waihu.TaskID) (k lockedTask, lastRun int, err error) {
	var shard int
	found, err := t.one(into(&shard), `select shard from tasks where id = $1 and account = $2 and deleted = 0`, id, account)
	if err != nil {
		return k, 0, err
	}
	if !found {
		return k, 0, notFound("task", id)
	}
	if err := t.lockShard(shard); err != nil {
		return k, 0, err
	}
	found = false
	if err := t.each(func(scan func(...any) error) error {
		found = true
		k.Task, err = scanTask(scan, &lastRun)
		return err
	}, `select `+taskColumns+`, tasks.run from tasks where id = $1 and account = $2 and deleted = 0`, id, account); err != nil {
		return k, 0, err
	}
	if !found { // deleted while we waited for the lock
		return k, 0, notFound("task", id)
	}
	t.s.remember(k.ref())
	return k, lastRun, t.loadTaskLines([]*waihu.Task{&k.Task})
}

// runsAlive refuses with ErrRunsOpen while any run of the task has not ended.
func (t *tx) runsAlive(ref taskRef) error {
	var n int
	found, err := t.one(into(&n), `select n from runs where task = $1 and state < 2 limit 1`, ref.serial)
	if err == nil && found {
		err = conflict(waihu.ErrRunsOpen, "run %d of the task has not ended yet: stop the task and wait for its calls", n)
	}
	return err
}

// DeleteTask removes the task with its numbers, calls and statistics; its events stay. From the first
// commit on nobody sees it; what is large goes in slices, and Maintain finishes what was interrupted. While endpoints have not
// taken its events, three days at most, its rows wait out of sight (SeeDeleted), because callbacks tell what they say.
func (s *Store) DeleteTask(ctx context.Context, account waihu.AccountID, id waihu.TaskID) error {
	var ref taskRef
	untold := false
	if err := s.update(ctx, normal, func(t *tx) error {
		k, _, err := t.lockTask(account, id)
		if err != nil {
			return err
		}
		ref = k.ref()
		if err := t.runsAlive(ref); err != nil {
			return err
		}
		now := s.now()
		if _, err = t.exec(`update tasks set deleted = 1, started = 0, updated_at = $2 where serial = $1`, ref.serial, ms(now)); err != nil {
			return err
		}
		untold, err = t.untold(ref, now)
		return err
	}); err != nil {
		return err
	}
	if untold {
		s.forget(ref)
		s.positions.forget(ref.serial)
		return nil
	}
	return s.eraseTask(ctx, ref)
}

// eraseTask removes the rows of a task that is marked deleted.
func (s *Store) eraseTask(ctx context.Context, ref taskRef) error {
	err := s.inTurns(ctx, func(t *tx, more func() bool) (bool, error) {
		for _, part := range []func(serial int64) (int64, error){t.eraseNumbers, t.eraseCalls, t.eraseStats} {
			for {
				n, err := part(ref.serial)
				if err != nil {
					return false, err
				}
				if n == 0 {
					break
				}
				if !more() {
					return false, nil
				}
			}
		}
		for _, sql := range []string{`delete from counts where task = $1`, `delete from runs where task = $1`, `delete from reservations where task = $1`,
			`delete from task_lines where task = $1`, `delete from retained where task = $1`, `delete from summaries where task = $1`, `delete from tasks where serial = $1`, `delete from heads where name in ('seq:' || cast($1 as bigint), 'untold:' || cast($1 as bigint))`} {
			if _, err := t.exec(sql, ref.serial); err != nil {
				return false, err
			}
		}
		return true, nil
	}, func() {})
	s.forget(ref)
	s.positions.forget(ref.serial)
	return err
}

// erasePortion is how many rows one statement of an erasure takes: a fraction of a slice.
const erasePortion = 100

func (t *tx) eraseNumbers(task int64) (int64, error) {
	return t.exec(sqlEraseNumbers, task, erasePortion)
}

func (t *tx) eraseStats(task int64) (int64, error) {
	return t.exec(sqlEraseStats, task, erasePortion)
}

func (t *tx) eraseCalls(task int64) (int64, error) {
	var ids [][]any
	if err := t.each(func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		ids = append(ids, []any{id})
		return err
	}, sqlEraseCalls, task, erasePortion); err != nil {
		return 0, err
	}
	if err := t.execRows(sqlEraseReviews, ids); err != nil {
		return 0, err
	}
	if _, err := t.dropRecordings(ids); err != nil {
		return 0, err
	}
	return int64(len(ids)), t.execRows(sqlEraseDetails, ids)
}

const (
	sqlEraseNumbers = `delete from numbers where task = $1 and seq in (select seq from numbers where task = $1 order by seq limit $2)`
	sqlEraseStats   = `delete from stats where task = $1 and minute in (select minute from stats where task = $1 order by minute limit $2)`
	sqlEraseCalls   = `delete from calls where id in (select id from calls where task = $1 order by id limit $2) returning id`
	sqlEraseReviews = `delete from reviews where call in (select cast(r.value->>0 as bigint) from {rows $1})`
	sqlEraseDetails = `delete from call_details where call in (select cast(r.value->>0 as bigint) from {rows $1})`
)

func (s *Store) forget(ref taskRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tasks, ref.id)
	delete(s.names, ref.serial)
	delete(s.low, ref.serial)
}
