package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"waihu"
)

// taskRef joins a task's word with its small number. Both never change.
type taskRef struct {
	id      waihu.TaskID
	serial  int64
	account waihu.AccountID
}

// bound is the place before which a task has no fresh number, in pop order.
type bound struct {
	order waihu.PopOrder
	value int64
}

// taskConfig is the column tasks.config: all of a task that SQL need not see.
type taskConfig struct {
	Routing     waihu.Routing       `json:"routing,omitzero"`
	HoursID     int64               `json:"hours_id,omitempty"`
	Weekly      waihu.Weekly        `json:"weekly"`
	Holidays    [][2]int64          `json:"holidays,omitempty"` // unix ms, [from, to)
	Zone        string              `json:"zone,omitempty"`
	Pop         waihu.PopOrder      `json:"pop,omitempty"`
	Interval    time.Duration       `json:"interval,omitempty"`
	Redial      waihu.Redial        `json:"redial,omitzero"`
	EndAction   waihu.EndAction     `json:"end_action,omitempty"`
	Unknown     waihu.UnknownPolicy `json:"unknown,omitempty"`
	RingTimeout time.Duration       `json:"ring_timeout,omitempty"`
	Version     int64               `json:"agent_version,omitempty"`
	Callers     []int64             `json:"callers,omitempty"`
	Quality     string              `json:"quality_check,omitempty"`
	Score       string              `json:"score_scheme,omitempty"`
}

// taskColumns are read by scanTask, from a table named or aliased tasks. Lines are in task_lines: loadTaskLines.
const taskColumns = `tasks.id, tasks.serial, tasks.account, tasks.name, tasks.remark, tasks.agent, tasks.concurrency, tasks.start_at, tasks.stop_at,
	tasks.started, tasks.config, tasks.doors, tasks.created_at, tasks.updated_at`

// scanTask reads taskColumns, and extra columns behind them.
func scanTask(scan func(dest ...any) error, extra ...any) (waihu.Task, error) {
	var k waihu.Task
	var start, stop, created, updated int64
	var started int
	var config, doors string
	if err := scan(append(into(&k.ID, &k.Serial, &k.Account, &k.Name, &k.Remark, &k.Agent, &k.Concurrency, &start, &stop,
		&started, &config, &doors, &created, &updated), extra...)...); err != nil {
		return k, err
	}
	k.Start, k.Stop, k.CreatedAt, k.UpdatedAt, k.Started = at(start), at(stop), at(created), at(updated), started != 0
	var c taskConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return k, fmt.Errorf("read the stored config of task %s: %w", k.ID, err)
	}
	k.Routing, k.HoursID, k.Weekly, k.Zone, k.Pop, k.Interval = c.Routing, c.HoursID, c.Weekly, c.Zone, c.Pop, c.Interval
	k.Redial, k.EndAction, k.Unknown, k.RingTimeout = c.Redial, c.EndAction, c.Unknown, c.RingTimeout
	k.AgentVersion, k.Callers = c.Version, c.Callers
	k.QualityCheck, k.ScoreScheme = c.Quality, c.Score
	for _, h := range c.Holidays {
		k.Holidays = append(k.Holidays, waihu.Period{From: at(h[0]), To: at(h[1])})
	}
	var err error
	k.Doors, err = decodeDoors(doors)
	return k, err
}

// encodeTaskConfig is the column tasks.config of a task.
func encodeTaskConfig(k *waihu.Task) (string, error) {
	c := taskConfig{Routing: k.Routing, HoursID: k.HoursID, Weekly: k.Weekly, Zone: k.Zone, Pop: k.Pop, Interval: k.Interval,
		Redial: k.Redial, EndAction: k.EndAction, Unknown: k.Unknown, RingTimeout: k.RingTimeout, Version: k.AgentVersion, Callers: k.Callers,
		Quality: clean(k.QualityCheck), Score: clean(k.ScoreScheme)}
	for _, p := range k.Holidays {
		c.Holidays = append(c.Holidays, [2]int64{ms(p.From), ms(p.To)})
	}
	b, err := json.Marshal(c)
	return string(b), err
}

// encodeDoors and decodeDoors keep what doors remember as one JSON object, values as they are.
func encodeDoors(doors map[string][]byte) (string, error) {
	raw := make(map[string]json.RawMessage, len(doors))
	for k, v := range doors {
		if len(v) > 0 {
			raw[k] = v
		}
	}
	b, err := json.Marshal(raw)
	return string(b), err
}

func decodeDoors(text string) (map[string][]byte, error) {
	if text == "" || text == "{}" {
		return nil, nil
	}
	var raw map[string]json.RawMessage
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&raw); err != nil {
		return nil, fmt.Errorf("read stored door fields: %w", err)
	}
	doors := make(map[string][]byte, len(raw))
	for k, v := range raw {
		doors[k] = v
	}
	return doors, nil
}

// loadTaskLines fills Lines of tasks, in the order they were given.
func (t *tx) loadTaskLines(tasks []*waihu.Task) error {
	if len(tasks) == 0 {
		return nil
	}
	list := make([][]any, len(tasks))
	by := make(map[int64]*waihu.Task, len(tasks))
	for i, k := range tasks {
		list[i], by[k.Serial] = []any{k.Serial}, k
	}
	param, err := jsonRows(list)
	if err != nil {
		return err
	}
	return t.each(func(scan func(...any) error) error {
		var serial int64
		var l waihu.TaskLine
		if err := scan(&serial, &l.Line, &l.Limit); err != nil {
			return err
		}
		by[serial].Lines = append(by[serial].Lines, l)
		return nil
	}, `select l.task, l.line, l.cap from {rows $1} join task_lines l on l.task = cast(r.value->>0 as bigint) order by l.task, l.pos`, param)
}

// findTask is the account's task; deleted ones (but for SeeDeleted) and strangers' are ENotFound.
func (t *tx) findTask(account waihu.AccountID, id waihu.TaskID) (taskRef, error) {
	ref := taskRef{id: id, account: account}
	found, err := t.one(into(&ref.serial), `select serial from tasks where id = $1 and account = $2 and deleted `+t.there(), id, account)
	if err != nil {
		return ref, err
	}
	if !found {
		return ref, notFound("task", id)
	}
	if !t.seesDeleted() {
		t.s.remember(ref)
	}
	return ref, nil
}

func (s *Store) remember(ref taskRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks[ref.id], s.names[ref.serial] = ref, ref
}
