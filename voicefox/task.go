package voicefox

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"

	"waihu"
	"waihu/store"
)

func (s *server) taskDetail(c *request) (any, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	return c.taskShown(&t, c.look())
}

// taskList lists the tasks, the newest first, those of other doors too.
func (s *server) taskList(c *request) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	rows, total, err := s.Store.Tasks(c.ctx, []waihu.AccountID{c.account.ID}, store.TaskFilter{Name: c.r.URL.Query().Get("name"), Page: p.PageIndex, PerPage: p.PageSize})
	if err != nil {
		return nil, err
	}
	items, look := []taskWire{}, c.look()
	for i := range rows {
		shown, err := c.taskShown(&rows[i].Task, look)
		if waihu.ErrorCode(err) == waihu.ENotFound { // deleted since the list was read
			continue
		}
		if err != nil {
			return nil, err
		}
		items = append(items, shown)
	}
	p.Items, p.Total = items, total
	return p, nil
}

func (s *server) taskCreate(c *request) (any, error) {
	t, start, err := c.newTask()
	if err != nil {
		return nil, err
	}
	if err := s.Store.CreateTask(c.ctx, &t); err != nil {
		return nil, err
	}
	if start {
		if err := c.start(&t); err != nil { // a refused request leaves nothing behind
			if gone := s.Store.DeleteTask(context.WithoutCancel(c.ctx), t.Account, t.ID); gone != nil {
				return nil, errors.Join(gone, err)
			}
			return nil, err
		}
	}
	return c.taskShown(&t, c.look())
}

// taskStart starts a task that waits, or was stopped; one that is started stays as it is.
func (s *server) taskStart(c *request) (any, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	if err := c.start(&t); err != nil {
		return nil, err
	}
	return c.taskShown(&t, c.look())
}

// taskResume starts a task that was stopped, and no other.
func (s *server) taskResume(c *request) (any, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	at, _, err := c.standingOf(&t)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(at.status(), "stop.") {
		return nil, refused(http.StatusConflict, "the task is %s: only a stopped one is resumed", at.status())
	}
	if err := c.start(&t); err != nil {
		return nil, err
	}
	return c.taskShown(&t, c.look())
}

func (c *request) start(t *waihu.Task) error {
	at, _, err := c.standingOf(t)
	switch {
	case err != nil:
		return err
	case at.open:
		return nil
	case at.status() == statusDone:
		return refused(http.StatusConflict, "the task is done: every number has its final outcome; import more before starting it again")
	}
	if err := problems(c.s.Preflight(c.ctx, *t)); err != nil {
		return err
	}
	_, err = c.s.Store.StartTask(c.ctx, t.Account, t.ID)
	return err
}

// taskStop stops a task: nothing more is dialled, calls in progress go on. One that has ended stays as it is.
func (s *server) taskStop(c *request) (any, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	if err := s.Store.StopTask(c.ctx, t.Account, t.ID); err != nil {
		return nil, err
	}
	if at, _, err := c.standingOf(&t); err != nil {
		return nil, err
	} else if !at.started && !at.refused { // waits no longer to be started
		k := keptOf(&t)
		k.Stopped = t.Serial
		if err := c.keep(&t, k); err != nil {
			return nil, err
		}
	}
	return c.taskShown(&t, c.look())
}

// keep changes what the task keeps for this door, and t with it.
func (c *request) keep(t *waihu.Task, k kept) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := c.s.Store.SetTaskDoor(c.ctx, t.Account, t.ID, Door, raw); err != nil {
		return err
	}
	doors := maps.Clone(t.Doors)
	if doors == nil {
		doors = map[string][]byte{}
	}
	doors[Door] = raw
	t.Doors = doors
	return nil
}

// removed is the answer to a deletion.
type removed struct {
	ID int64 `json:"id"`
}

func (s *server) taskDelete(c *request) (any, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	return removed{t.Serial}, s.Store.DeleteTask(c.ctx, t.Account, t.ID)
}
