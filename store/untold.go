package store

import (
	"context"
	"strconv"
	"time"

	"waihu"
)

// untoldFor is how long a deleted task's rows wait for endpoints that do not take its events: a long weekend.
const untoldFor = 72 * time.Hour

type deletedKey struct{}

// SeeDeleted lets reads with this context see tasks that were deleted and are not erased yet: what is told of their calls, and what
// follows them, goes on as if they were there.
func SeeDeleted(ctx context.Context) context.Context {
	return context.WithValue(ctx, deletedKey{}, true)
}

// there is the condition on tasks.deleted under which this transaction sees a task.
func (t *tx) there() string {
	if t.seesDeleted() {
		return "<= 1"
	}
	return "= 0"
}

func (t *tx) seesDeleted() bool { return t.ctx.Value(deletedKey{}) != nil }

// untold says whether somebody has still to be told of a task that was deleted: an endpoint follows its account, and a review is to come or
// an event of the task was not taken yet. deleted is when it was.
func (t *tx) untold(ref taskRef, deleted time.Time) (bool, error) {
	any := func(sql string, args ...any) (bool, error) { return t.one(into(new(int64)), sql, args...) }
	if t.s.now().Sub(deleted) > untoldFor {
		return false, nil
	}
	if follows, err := any(`select next_n from cursors where account = $1 limit 1`, ref.account); err != nil || !follows {
		return false, err
	}
	if coming, err := any(`select n from counts where task = $1 and kind = 'v' and n > 0 limit 1`, ref.serial); err != nil || coming {
		return true, err
	}
	if coming, err := any(`select id from jobs where kind = $1 and key like $2 escape '\' and state = 0 limit 1`, waihu.JobSummary, likeText(string(ref.id))+"/%"); err != nil || coming {
		return true, err
	}
	var head, last int64 // nothing of the task comes after what was the account's last event when this was first asked
	if _, err := t.one(into(&head), `select n from heads where name = $1`, eventsHead(ref.account)); err != nil {
		return false, err
	}
	if err := t.headOnce(untoldHead(ref.serial), head); err != nil {
		return false, err
	}
	if _, err := t.one(into(&last), `select n from heads where name = $1`, untoldHead(ref.serial)); err != nil {
		return false, err
	}
	if behind, err := any(`select next_n from cursors where account = $1 and next_n <= $2 limit 1`, ref.account, last); err != nil || behind {
		return true, err
	}
	return any(`select d.n from deliveries d join events e on e.account = d.account and e.n = d.n
		where d.endpoint in (select endpoint from cursors where account = $1) and d.account = $1 and d.state = 0 and e.task = $2 limit 1`, ref.account, ref.id)
}

func untoldHead(serial int64) string { return "untold:" + strconv.FormatInt(serial, 10) }

// headOnce sets the counter name to n, unless it has a value.
func (t *tx) headOnce(name string, n int64) error {
	_, err := t.exec(`insert into heads (name, n) values ($1, $2) on conflict (name) do nothing`, name, n)
	return err
}

// makeRoom erases deleted tasks whose id or serial somebody gives to a new one: whoever uses it again has done with the old.
func (s *Store) makeRoom(ctx context.Context, tasks ...waihu.Task) error {
	rows := make([][]any, 0, len(tasks))
	for _, k := range tasks {
		if k.ID != "" || k.Serial != 0 {
			rows = append(rows, []any{k.ID, k.Serial})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	param, err := jsonRows(rows)
	if err != nil {
		return err
	}
	var refs []taskRef
	if err := s.read(ctx, func(t *tx) error {
		refs = nil
		return t.each(func(scan func(...any) error) error {
			var r taskRef
			err := scan(&r.id, &r.serial, &r.account)
			refs = append(refs, r)
			return err
		}, `select distinct t.id, t.serial, t.account from {rows $1} join tasks t on t.id = r.value->>0 or t.serial = cast(r.value->>1 as bigint) where t.deleted = 1`, param)
	}); err != nil {
		return err
	}
	for _, r := range refs {
		if err := s.eraseTask(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
