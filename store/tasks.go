package store

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"waihu"
)

// TaskFilter chooses tasks; zero fields do not restrict.
type TaskFilter struct {
	Name    string // contained in the task's name
	Started *bool
	Door    string // tasks of which this door keeps something
	Page    int    // from 1; 0 means 1
	PerPage int    // 0 means 15, at most 5000
}

// TaskRow is a task with what lists show of its present state.
type TaskRow struct {
	waihu.Task
	Live     bool // a call is in progress
	RunsOpen bool // a run has not ended
}

// CreateTask keeps a new task. It fills in ID (a UUID) and Serial when they are empty, and the times. The account,
// agents and lines must exist and be within the account's reach.
func (s *Store) CreateTask(ctx context.Context, k *waihu.Task) error {
	if err := s.makeRoom(ctx, *k); err != nil {
		return err
	}
	saved := *k
	err := s.update(ctx, normal, func(t *tx) error {
		saved = *k
		return t.createTask(&saved)
	})
	if err == nil {
		*k = saved
	}
	return err
}

func (t *tx) createTask(k *waihu.Task) (err error) {
	if err := checkTask(k); err != nil {
		return err
	}
	if err := t.checkTaskRefs(k); err != nil {
		return err
	}
	if k.ID == "" {
		k.ID = waihu.TaskID(uuid.NewString())
	}
	if k.Serial == 0 {
		k.Serial, err = t.head("serial", 1)
	} else {
		err = t.headAtLeast("serial", k.Serial)
	}
	if err != nil {
		return err
	}
	config, err := encodeTaskConfig(k)
	if err != nil {
		return err
	}
	doors, err := encodeDoors(k.Doors)
	if err != nil {
		return waihu.FieldErrorf("doors", "not JSON: %v", err)
	}
	now := ms(t.s.now())
	n, err := t.exec(`insert into tasks (id, serial, account, shard, name, remark, agent, concurrency, start_at, stop_at, config, doors, created_at, updated_at)
		values ($1, $2, $3, (select shard from accounts where id = $3), $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
		on conflict do nothing`,
		k.ID, k.Serial, k.Account, k.Name, k.Remark, k.Agent, k.Concurrency, ms(k.Start), ms(k.Stop), config, doors, now)
	if err != nil {
		return err
	}
	if n == 0 {
		return conflict(nil, "a task with the id %s or the serial %d exists", k.ID, k.Serial)
	}
	k.CreatedAt, k.UpdatedAt, k.Started = at(now), at(now), false
	return t.putTaskLines(k)
}

func (t *tx) putTaskLines(k *waihu.Task) error {
	for i, l := range k.Lines {
		if _, err := t.exec(`insert into task_lines (task, line, pos, cap) values ($1, $2, $3, $4)`, k.Serial, l.Line, i, l.Limit); err != nil {
			return err
		}
	}
	return nil
}

// UpdateTask replaces all that a caller may set of a task; ID, Account, Serial and CreatedAt stay. A pin on a
// version of another agent than Agent is dropped. A started task is
// EConflict with waihu.ErrTaskStarted; runs that drain are no obstacle: the calls in progress keep what they had.
func (s *Store) UpdateTask(ctx context.Context, k *waihu.Task) error {
	saved := *k
	err := s.update(ctx, normal, func(t *tx) error {
		saved = *k
		return t.updateTask(&saved)
	})
	if err == nil {
		*k = saved
	}
	return err
}

func (t *tx) updateTask(k *waihu.Task) error {
	if err := checkTask(k); err != nil {
		return err
	}
	var started int
	var created int64
	found, err := t.one(into(&k.Serial, &started, &created),
		`select serial, started, created_at from tasks where id = $1 and account = $2 and deleted = 0{lock}`, k.ID, k.Account)
	switch {
	case err != nil:
		return err
	case !found:
		return notFound("task", k.ID)
	case started != 0:
		return conflict(waihu.ErrTaskStarted, "the task is started: stop it before changing it")
	}
	if err := t.dropStalePin(k); err != nil {
		return err
	}
	if err := t.checkTaskRefs(k); err != nil {
		return err
	}
	config, err := encodeTaskConfig(k)
	if err != nil {
		return err
	}
	doors, err := encodeDoors(k.Doors)
	if err != nil {
		return waihu.FieldErrorf("doors", "not JSON: %v", err)
	}
	now := ms(t.s.now())
	if _, err := t.exec(`update tasks set name = $2, remark = $3, agent = $4, concurrency = $5, start_at = $6, stop_at = $7, config = $8, doors = $9,
		updated_at = $10 where serial = $1`,
		k.Serial, k.Name, k.Remark, k.Agent, k.Concurrency, ms(k.Start), ms(k.Stop), config, doors, now); err != nil {
		return err
	}
	if _, err := t.exec(`delete from task_lines where task = $1`, k.Serial); err != nil {
		return err
	}
	k.CreatedAt, k.UpdatedAt, k.Started = at(created), at(now), false
	return t.putTaskLines(k)
}

// dropStalePin unpins a task whose agent a door has changed that knows of no pins.
func (t *tx) dropStalePin(k *waihu.Task) error {
	if k.AgentVersion != 0 {
		found, err := t.one(into(new(int64)), `select id from agent_versions where id = $1 and agent = $2`, k.AgentVersion, k.Agent)
		if err != nil {
			return err
		}
		if !found {
			k.AgentVersion = 0
		}
	}
	return nil
}

// Task is one task of the account.
func (s *Store) Task(ctx context.Context, account waihu.AccountID, id waihu.TaskID) (waihu.Task, error) {
	return s.taskWhere(ctx, id, `tasks.account = $1 and tasks.id = $2`, account, id)
}

// TaskBySerial is one task of the account by its small integer id.
func (s *Store) TaskBySerial(ctx context.Context, account waihu.AccountID, serial int64) (waihu.Task, error) {
	return s.taskWhere(ctx, serial, `tasks.account = $1 and tasks.serial = $2`, account, serial)
}

func (s *Store) taskWhere(ctx context.Context, id any, where string, args ...any) (k waihu.Task, err error) {
	err = s.read(ctx, func(t *tx) error {
		k, err = t.taskWhere(id, where, args...)
		return err
	})
	return k, err
}

func (t *tx) taskWhere(id any, where string, args ...any) (k waihu.Task, err error) {
	found := false
	err = t.each(func(scan func(...any) error) error {
		found = true
		k, err = scanTask(scan)
		return err
	}, `select `+taskColumns+` from tasks where tasks.deleted `+t.there()+` and `+where, args...)
	if err == nil && !found {
		err = notFound("task", id)
	}
	if err == nil {
		err = t.loadTaskLines([]*waihu.Task{&k})
	}
	return k, err
}

// Tasks are the accounts' tasks, newest first, page by page, and how many there are.
func (s *Store) Tasks(ctx context.Context, accounts []waihu.AccountID, f TaskFilter) (list []TaskRow, total int, err error) {
	rows := make([][]any, len(accounts))
	for i, a := range accounts {
		rows[i] = []any{a}
	}
	param, err := jsonRows(rows)
	if err != nil {
		return nil, 0, err
	}
	started := -1
	if f.Started != nil {
		started = flag(*f.Started)
	}
	name := ""
	if f.Name != "" {
		name = "%" + likeText(strings.ToLower(f.Name)) + "%"
	}
	limit, offset := paging(f.Page, f.PerPage)
	const where = ` from tasks where tasks.account in (select r.value->>0 from {rows $1}) and tasks.deleted = 0
		and ($2 = '' or lower(tasks.name) like $2 escape '\') and ($3 = -1 or tasks.started = $3)
sqlite:		and ($4 = '' or json_type(tasks.doors, '$."' || $4 || '"') is not null)
postgres:		and ($4 = '' or jsonb_exists(cast(tasks.doors as jsonb), $4))
`
	err = s.read(ctx, func(t *tx) error {
		if _, err := t.one(into(&total), `select count(*)`+where, param, name, started, f.Door); err != nil {
			return err
		}
		if err := t.each(func(scan func(...any) error) error {
			var live, open int
			k, err := scanTask(scan, &live, &open)
			list = append(list, TaskRow{Task: k, Live: live != 0, RunsOpen: open != 0})
			return err
		}, `select `+taskColumns+`,
			case when exists (select 1 from calls c where c.task = tasks.serial and c.ended_at = 0) then 1 else 0 end,
			case when exists (select 1 from runs n where n.task = tasks.serial and n.state < 2) then 1 else 0 end`+where+`
			order by tasks.serial desc limit $5 offset $6`, param, name, started, f.Door, limit, offset); err != nil {
			return err
		}
		tasks := make([]*waihu.Task, len(list))
		for i := range list {
			tasks[i] = &list[i].Task
		}
		return t.loadTaskLines(tasks)
	})
	return list, total, err
}

// likeText is a text as like takes it literally, with escape '\'.
func likeText(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// CopyTask makes a new task with everything of another but its numbers and runs.
func (s *Store) CopyTask(ctx context.Context, account waihu.AccountID, id waihu.TaskID, name string) (k waihu.Task, err error) {
	err = s.update(ctx, normal, func(t *tx) error {
		k, err = t.taskWhere(id, `tasks.account = $1 and tasks.id = $2`, account, id)
		if err != nil {
			return err
		}
		k.ID, k.Serial = "", 0
		if name != "" {
			k.Name = name
		}
		return t.createTask(&k)
	})
	if err != nil {
		return waihu.Task{}, err
	}
	return k, nil
}
