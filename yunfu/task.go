package yunfu

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"waihu"
	"waihu/store"
)

func (s *server) taskCreate(c *request) (*answer, error)       { return s.create(c, false) }
func (s *server) taskCreateLegacy(c *request) (*answer, error) { return s.create(c, true) }

func (s *server) create(c *request, legacy bool) (*answer, error) {
	t := waihu.Task{Account: c.acts.ID, Zone: c.acts.Zone}
	if err := c.readTask(&t, legacy); err != nil {
		return nil, err
	}
	if err := s.Store.CreateTask(c.ctx, &t); err != nil {
		return nil, err
	}
	return &answer{message: "创建成功", data: rowOf(&t, false, c.loc)}, nil
}

func (s *server) taskUpdate(c *request) (*answer, error)       { return s.update(c, false) }
func (s *server) taskUpdateLegacy(c *request) (*answer, error) { return s.update(c, true) }

func (s *server) update(c *request, legacy bool) (*answer, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	if t.Started { // the ledger asks again, under its lock
		return nil, s.busy()
	}
	if err := c.readTask(&t, legacy); err != nil {
		return nil, err
	}
	if err := s.Store.UpdateTask(c.ctx, &t); err != nil {
		return nil, c.noTask(err)
	}
	return &answer{message: "修改成功", data: ""}, nil
}

func (s *server) taskEdit(c *request) (*answer, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	data, err := c.editOf(c.ctx, &t)
	if err != nil {
		return nil, err
	}
	return &answer{message: "返回任务信息成功", data: data}, nil
}

func (s *server) taskDelete(c *request) (*answer, error) {
	if err := s.Store.DeleteTask(c.ctx, c.acts.ID, c.taskID()); err != nil {
		return nil, c.noTask(err)
	}
	return &answer{message: "删除任务成功", data: ""}, nil
}

// taskCopy makes the copy under the vendor's naming pattern.
func (s *server) taskCopy(c *request) (*answer, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	t, err = s.Store.CopyTask(c.ctx, c.acts.ID, t.ID, t.Name+"【复制】"+s.Now().In(c.loc).Format("2006-01-02(15:04)"))
	if err != nil {
		return nil, c.noTask(err)
	}
	return &answer{message: "复制任务成功", data: rowOf(&t, false, c.loc)}, nil
}

func (s *server) taskStop(c *request) (*answer, error) {
	if err := s.Store.StopTask(c.ctx, c.acts.ID, c.taskID()); err != nil {
		return nil, c.noTask(err)
	}
	return &answer{message: "停止任务成功", data: absent{}}, nil
}

func (s *server) taskStart(c *request) (*answer, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	if !t.Started {
		if err := s.mayStart(c, &t); err != nil {
			return nil, err
		}
	}
	_, err = s.Store.StartTask(c.ctx, c.acts.ID, t.ID)
	switch {
	case errors.Is(err, waihu.ErrResidue):
		return nil, s.shortLines(c, &t, err)
	case errors.Is(err, waihu.ErrWindowOver):
		return nil, windowOver(&t)
	case err != nil:
		return nil, c.noTask(err)
	}
	return &answer{message: "启动任务成功", data: absent{}}, nil
}

func windowOver(t *waihu.Task) error {
	return wrong("", "任务结束时间 %s 已过,请先修改任务时间", stamp(t.Stop, t.Location()))
}

func (s *server) mayStart(c *request, t *waihu.Task) error {
	if !t.Stop.IsZero() && !s.Now().Before(t.Stop) {
		return windowOver(t)
	}
	problems := s.Preflight(c.ctx, *t)
	if len(problems) == 0 {
		return nil
	}
	var list []string
	for _, p := range problems {
		list = append(list, problemText(p))
	}
	return wrong("", "任务无法启动：%s", strings.Join(list, "；"))
}

// shortLines says in the caller's language which lines have too little free.
func (s *server) shortLines(c *request, t *waihu.Task, cause error) error {
	residue, err := s.Store.Residue(c.ctx, c.acts.ID, t.ID)
	if err != nil {
		return errors.Join(err, cause)
	}
	var short []string
	for _, l := range t.Lines {
		want, free := min(l.Limit, t.Concurrency), residue[l.Line]
		if want <= free {
			continue
		}
		name := string(l.Line)
		if line, err := s.Store.Line(c.ctx, c.acts.ID, l.Line); err == nil {
			name = line.Name + "(" + name + ")"
		}
		short = append(short, fmt.Sprintf("%s 剩余并发(residue) %d,任务需要 %d", name, free, want))
	}
	if short == nil { // it became free in between
		return wrong("", "线路剩余并发不足,请重试")
	}
	return wrong("", "线路剩余并发不足：%s", strings.Join(short, "；"))
}

func (s *server) taskList(c *request) (*answer, error) {
	return s.list(c, []waihu.AccountID{c.acts.ID}, false, "返回任务列表信息成功")
}

func (s *server) taskListLegacy(c *request) (*answer, error) {
	return s.list(c, []waihu.AccountID{c.acts.ID}, true, "返回任务列表信息成功")
}

func (s *server) taskListSubs(c *request) (*answer, error)       { return s.listSubs(c, false) }
func (s *server) taskListSubsLegacy(c *request) (*answer, error) { return s.listSubs(c, true) }

// listSubs lists the tasks of all sub-accounts, or of the one that sub_user_id names.
func (s *server) listSubs(c *request, legacy bool) (*answer, error) {
	accounts := []waihu.AccountID{c.acts.ID}
	if c.acts.ID == c.user.ID {
		subs, err := s.Store.SubAccounts(c.ctx, c.user.ID)
		if err != nil {
			return nil, err
		}
		accounts = nil
		for _, a := range subs {
			accounts = append(accounts, a.ID)
		}
	}
	return s.list(c, accounts, legacy, "返回所有子账号的任务列表信息成功")
}

func (s *server) list(c *request, accounts []waihu.AccountID, legacy bool, message string) (*answer, error) {
	p := c.page()
	f := store.TaskFilter{Name: c.form.get("name").text(), Page: p.page, PerPage: p.per}
	states := c.states(legacy)
	kind := c.form.get("task_type")
	typed := kind.int64()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	f.Started = states.started()
	var rows []store.TaskRow
	var total int
	var err error
	if states.exact() && kind.blank() {
		rows, total, err = s.Store.Tasks(c.ctx, accounts, f)
	} else { // what the ledger does not filter by: an account's tasks are few beside its numbers
		rows, total, err = s.sift(c, accounts, f, func(r *store.TaskRow) bool {
			return states.has(r) && (kind.blank() || int64(keptOf(&r.Task, c.loc).TaskType) == typed)
		})
	}
	if err != nil {
		return nil, err
	}
	data := make([]taskRow, len(rows))
	for i := range rows {
		data[i] = rowOf(&rows[i].Task, rows[i].Live, c.loc)
	}
	return &answer{message: message, data: data, meta: p.meta(total)}, nil
}

// sift pages through what f finds and keeps what passes.
func (s *server) sift(c *request, accounts []waihu.AccountID, f store.TaskFilter, pass func(*store.TaskRow) bool) (page []store.TaskRow, total int, err error) {
	const portion = 1000
	first, last := (f.Page-1)*f.PerPage, f.Page*f.PerPage
	f.PerPage = portion
	for f.Page = 1; ; f.Page++ {
		rows, all, err := s.Store.Tasks(c.ctx, accounts, f)
		if err != nil {
			return nil, 0, err
		}
		for i := range rows {
			if !pass(&rows[i]) {
				continue
			}
			if total >= first && total < last {
				page = append(page, rows[i])
			}
			total++
		}
		if f.Page*portion >= all || len(rows) == 0 {
			return page, total, nil
		}
	}
}

// stateFilter is the set of wanted task states; empty: all.
type stateFilter map[int]bool

// states reads the status filter. On the 2.0 list 3 means running and waiting. The legacy list knows 1, 2 and
// 3, and drops the filter when it holds anything else, as documented.
func (c *request) states(legacy bool) stateFilter {
	want := stateFilter{}
	for _, n := range c.form.get("status").words() {
		if n.blank() {
			continue
		}
		if legacy && !slices.Contains([]string{"1", "2", "3"}, n.text()) {
			return stateFilter{}
		}
		switch state := n.number(statePaused, stateWaiting); {
		case state == stateWaiting && !legacy:
			want[stateRunning], want[stateWaiting] = true, true
		default:
			want[state] = true
		}
	}
	return want
}

// started is what the ledger can filter by.
func (f stateFilter) started() *bool {
	running := f[stateRunning] || f[stateWaiting]
	if len(f) == 0 || running && f[statePaused] {
		return nil
	}
	return &running
}

// exact says that started alone is the whole filter.
func (f stateFilter) exact() bool { return f[stateRunning] == f[stateWaiting] }

func (f stateFilter) has(r *store.TaskRow) bool {
	state, _ := taskState(r.Started, r.Live)
	return len(f) == 0 || f[state]
}
