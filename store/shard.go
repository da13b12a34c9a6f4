package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waihu"
)

var (
	// ErrFenced says that the shard has another owner by now: step down, dial nothing.
	ErrFenced = errors.New("the shard has a new owner")
	// ErrShardHeld is what a *ShardHeldError is.
	ErrShardHeld = errors.New("the shard is held")
)

// ShardHeldError says who holds the shard and until when, by the database's clock.
type ShardHeldError struct {
	Shard int
	Owner string
	Until time.Time
}

func (e *ShardHeldError) Error() string {
	return fmt.Sprintf("shard %d is held by %s until %s", e.Shard, e.Owner, e.Until.UTC().Format(time.RFC3339))
}

func (e *ShardHeldError) Is(target error) bool { return target == ErrShardHeld }

// TakeShard makes owner the shard's owner for ttl and returns its epoch, higher than any before.
// It waits for a transaction of the former owner; after it the former owner cannot commit any more.
// owner must name this process's life, not only its host: see Owner. An owner may take its own shard again, and that of
// a former life of its data folder at once.
func (s *Store) TakeShard(ctx context.Context, shard int, owner string, ttl time.Duration) (epoch int64, err error) {
	err = s.update(ctx, urgent, func(t *tx) error {
		var holder string
		var until int64
		found, err := t.one(into(&epoch, &holder, &until), `select epoch, owner, lease_until from shards where id = $1{lock}`, shard)
		if err != nil {
			return err
		}
		if !found {
			return notFound("shard", shard)
		}
		now, err := t.clock()
		if err != nil {
			return err
		}
		if until > now && holder != owner && !t.s.formerLife(holder) {
			return &ShardHeldError{Shard: shard, Owner: holder, Until: at(until)}
		}
		epoch++
		if epoch > waihu.MaxEpoch {
			return fmt.Errorf("shard %d has used up its %d epochs", shard, waihu.MaxEpoch)
		}
		_, err = t.exec(`update shards set epoch = $2, owner = $3, lease_until = $4 where id = $1`, shard, epoch, owner, now+ttl.Milliseconds())
		return err
	})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	clear(s.low)
	s.mu.Unlock()
	return epoch, nil
}

// clock is the clock that leases are measured with: the database's when several processes share it.
func (t *tx) clock() (now int64, err error) {
	if t.s.d.clock == "" {
		return t.s.now().UnixMilli(), nil
	}
	_, err = t.one(into(&now), `select `+t.s.d.clock)
	return now, err
}

// lockShard locks the shard's row, so that no tick runs beside what follows.
func (t *tx) lockShard(shard int) error {
	var id int
	_, err := t.one(into(&id), `select id from shards where id = $1{lock}`, shard)
	return err
}

// fence locks the shard's row and checks that epoch is still its epoch. A row lock leaves no dead row behind.
func (t *tx) fence(shard int, epoch int64) error {
	var id int
	found, err := t.one(into(&id), sqlFence, shard, epoch)
	if err != nil {
		return err
	}
	if !found {
		return ErrFenced
	}
	return nil
}

const sqlFence = `select id from shards where id = $1 and epoch = $2{lock}`

// Recover returns the shard's committed calls that nobody has booked: the live calls a new owner must count.
func (s *Store) Recover(ctx context.Context, shard int, epoch int64) (list []LiveCall, err error) {
	err = s.snapshot(ctx, func(t *tx) error {
		var id int
		found, err := t.one(into(&id), `select id from shards where id = $1 and epoch = $2`, shard, epoch)
		if err != nil {
			return err
		}
		if !found {
			return ErrFenced
		}
		return t.each(func(scan func(...any) error) error {
			var c LiveCall
			var started int64
			if err := scan(&c.Call, &c.Account, &c.Task, &c.Run, &c.Seq, &c.Attempt, &c.Redials, &c.Faults, &c.Line, &c.Phone, &started, &c.Node, &c.Agent, &c.Caller); err != nil {
				return err
			}
			c.StartedAt = at(started)
			list = append(list, c)
			return nil
		}, sqlRecover, shard)
	})
	return list, err
}

const sqlRecover = `select c.id, t.account, t.id, c.run, c.seq, c.attempt, n.redials, n.faults, c.line, n.phone, c.started_at, c.node, c.agent,
	coalesce((select x.number from callers x where x.id = c.caller), '')
	from calls c join tasks t on t.serial = c.task join numbers n on n.task = c.task and n.seq = c.seq
	where c.ended_at = 0 and t.shard = $1 order by c.task, c.run, c.id`

// OwnedTasks returns the shard's tasks that are started or have a run that has not ended.
func (s *Store) OwnedTasks(ctx context.Context, shard int) (list []OwnedTask, err error) {
	err = s.snapshot(ctx, func(t *tx) error {
		list = nil
		if err := t.each(func(scan func(...any) error) error {
			k, err := scanTask(scan)
			list = append(list, OwnedTask{Task: k, Reserved: map[waihu.LineID]int{}})
			return err
		}, `select `+taskColumns+` from tasks where serial in (select task from runs where state < 2) and shard = $1 and deleted = 0 order by serial`, shard); err != nil {
			return err
		}
		tasks, by := make([]*waihu.Task, len(list)), make(map[int64]*OwnedTask, len(list))
		serials := make([]int64, len(list))
		for i := range list {
			k := &list[i]
			tasks[i], by[k.Task.Serial], serials[i] = &k.Task, k, k.Task.Serial
			s.remember(taskRef{k.Task.ID, k.Task.Serial, k.Task.Account})
		}
		if err := t.loadTaskLines(tasks); err != nil {
			return err
		}
		if err := t.eachRun(`where state < 2`, func(serial int64, r waihu.Run) {
			if k := by[serial]; k != nil {
				r.Task = k.Task.ID
				k.Runs = append(k.Runs, r)
			}
		}); err != nil {
			return err
		}
		if err := t.each(func(scan func(...any) error) error {
			var serial int64
			var line waihu.LineID
			var n int
			if err := scan(&serial, &line, &n); err != nil {
				return err
			}
			if k := by[serial]; k != nil {
				k.Reserved[line] = n
			}
			return nil
		}, `select task, line, max(cap) from reservations group by task, line`); err != nil {
			return err
		}
		gauges, err := t.gauges(serials)
		if err != nil {
			return err
		}
		lines := map[waihu.AccountID][]waihu.Line{}
		for i := range list {
			k := &list[i]
			k.Gauge = gauges[k.Task.Serial]
			all, ok := lines[k.Task.Account]
			if !ok {
				if all, err = t.linesFor(k.Task.Account); err != nil {
					return err
				}
				lines[k.Task.Account] = all
			}
			if k.Callers, err = t.callersOf(&k.Task); err != nil {
				return err
			}
			k.Lines = linesOf(&k.Task, all, k.Callers)
		}
		return nil
	})
	return list, err
}

// callersOf are the usable caller numbers that the task names, by line.
func (t *tx) callersOf(k *waihu.Task) (map[waihu.LineID][]waihu.Caller, error) {
	if len(k.Callers) == 0 {
		return nil, nil
	}
	by := map[waihu.LineID][]waihu.Caller{}
	for _, id := range k.Callers {
		c := waihu.Caller{ID: id}
		found, err := t.one(into(&c.Line, &c.Number, &c.State), `select line, number, state from callers where id = $1`, id)
		if err != nil {
			return nil, err
		}
		if found && c.State == callerUsable {
			by[c.Line] = append(by[c.Line], c)
		}
	}
	return by, nil
}

// linesOf are the lines the task names; when it names none those of its callers, and all when it names none either.
func linesOf(k *waihu.Task, all []waihu.Line, callers map[waihu.LineID][]waihu.Caller) (list []waihu.Line) {
	if len(k.Lines) == 0 {
		for _, l := range all {
			if len(k.Callers) == 0 || len(callers[l.ID]) > 0 {
				list = append(list, l)
			}
		}
		return list
	}
	for _, tl := range k.Lines {
		for _, l := range all {
			if l.ID == tl.Line {
				list = append(list, l)
			}
		}
	}
	return list
}

// gauges reads what is left to dial of each task.
func (t *tx) gauges(serials []int64) (map[int64]TaskGauge, error) {
	out := make(map[int64]TaskGauge, len(serials))
	if len(serials) == 0 {
		return out, nil
	}
	list := make([][]any, len(serials))
	for i, n := range serials {
		list[i] = []any{n}
	}
	param, err := jsonRows(list)
	if err != nil {
		return nil, err
	}
	err = t.each(func(scan func(...any) error) error {
		var serial, due int64
		var g TaskGauge
		if err := scan(&serial, &g.Fresh, &g.Due, &due); err != nil {
			return err
		}
		g.NextDue = at(due)
		out[serial] = g
		return nil
	}, sqlGauges, param)
	return out, err
}

const sqlGauges = `select v.task,
	coalesce((select n from counts where task = v.task and kind = 's' and code = '0'), 0),
	coalesce((select n from counts where task = v.task and kind = 's' and code = '2'), 0),
	coalesce((select due_at from numbers where numbers.task = v.task and state = 2 order by due_at limit 1), 0)
	from (select cast(r.value->>0 as bigint) as task from {rows $1}) v`
