package store

import (
	"context"
	"time"

	"waihu"
)

// Standing is what says why numbers of a task are not being called now, read from gauges and short indexes: nothing is counted row by row.
type Standing struct {
	Task    waihu.Task
	Counts  Counts
	Run     waihu.Run // the latest; N 0 before the first
	NextDue time.Time // of the earliest number that waits for its redial; zero: none waits
	Live    int       // calls of the task in progress
	Lines   []LineStanding
}

// LineStanding is a line that the task may use.
type LineStanding struct {
	Line waihu.Line
	Live int // calls of all tasks in progress on it
	Cap  int // how many of them the task may have; 0: no bound but the line's own
	Own  int // calls of the task on it
}

// Standing is where the task stands.
func (s *Store) Standing(ctx context.Context, account waihu.AccountID, task waihu.TaskID) (st Standing, err error) {
	counts, err := s.Counts(ctx, account, task)
	if err != nil {
		return st, err
	}
	err = s.snapshot(ctx, func(t *tx) error {
		st = Standing{Counts: counts}
		var err error
		if st.Task, err = t.taskWhere(task, `tasks.account = $1 and tasks.id = $2`, account, task); err != nil {
			return err
		}
		serial := st.Task.Serial
		var started, closed, ended, due int64
		if _, err := t.one(into(&st.Run.N, &st.Run.State, &st.Run.Reason, &st.Run.Detail, &started, &closed, &ended),
			`select n, state, reason, detail, started_at, closed_at, ended_at from runs where task = $1 order by n desc limit 1`, serial); err != nil {
			return err
		}
		st.Run.Task, st.Run.StartedAt, st.Run.ClosedAt, st.Run.EndedAt = task, at(started), at(closed), at(ended)
		if _, err := t.one(into(&due), `select due_at from numbers where task = $1 and state = 2 order by due_at limit 1`, serial); err != nil {
			return err
		}
		st.NextDue = at(due)
		if _, err := t.one(into(&st.Live), sqlLiveCalls, serial); err != nil {
			return err
		}
		return t.standingLines(&st, serial)
	})
	return st, err
}

// standingLines are the lines that the task names, or all of the account when it names none.
func (t *tx) standingLines(st *Standing, serial int64) error {
	all, own := map[waihu.LineID]int{}, map[waihu.LineID]int{}
	if err := t.each(func(scan func(...any) error) error {
		var line waihu.LineID
		var n, mine int
		err := scan(&line, &n, &mine)
		all[line], own[line] = n, mine
		return err
	}, sqlLiveByLine, serial); err != nil {
		return err
	}
	caps := map[waihu.LineID]int{}
	for _, l := range st.Task.Lines {
		caps[l.Line] = l.Limit
	}
	lines, err := t.linesFor(st.Task.Account)
	if err != nil {
		return err
	}
	for _, l := range lines {
		limit, named := caps[l.ID]
		if named || len(caps) == 0 {
			st.Lines = append(st.Lines, LineStanding{l, all[l.ID], limit, own[l.ID]})
		}
	}
	return nil
}

// As many rows as calls are in progress in the installation: the partial index of live calls holds no other.
const sqlLiveByLine = `select line, count(*), sum(case when task = $1 then 1 else 0 end) from calls where ended_at = 0 group by line`

// Suppression says since when and why the account must not call the number, however it is written; found is false when it may.
func (s *Store) Suppression(ctx context.Context, account waihu.AccountID, phone waihu.PhoneNumber) (x Suppression, found bool, err error) {
	err = s.read(ctx, func(t *tx) error {
		var since int64
		x = Suppression{Phone: phone}
		found, err = t.one(into(&since, &x.Reason, &x.Call), `select since, reason, call from suppressed where account = $1 and phone = $2`, account, phone)
		if err == nil && !found {
			found, err = t.one(into(&since, &x.Reason), `select since, reason from suppressed_sums where account = $1 and sum = $2`, account, s.sums().of(account, phone))
		}
		x.Since = at(since)
		return err
	})
	return x, found, err
}

// Full says that the disk has too little room, so that nothing new is dialled.
func (s *Store) Full() bool { return s.disk.full(time.Now()) != nil }
