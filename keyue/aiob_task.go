package keyue

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"waihu"
	"waihu/store"
)

func (s *server) aiobCreate3(c *aiobRequest) (any, error) { return s.aiobCreate(c, false) }
func (s *server) aiobCreate4(c *aiobRequest) (any, error) { return s.aiobCreate(c, true) }

func (s *server) aiobCreate(c *aiobRequest, v4 bool) (any, error) {
	t := waihu.Task{Account: c.account.ID}
	var k aiobKept
	if err := c.readTask(&t, &k, v4, false); err != nil {
		return nil, err
	}
	s.naming.Lock() // task names are unique in this family
	defer s.naming.Unlock()
	if err := c.freeName(t.Name, ""); err != nil {
		return nil, err
	}
	if err := c.tellBy(&t, &k); err != nil {
		return nil, err
	}
	if err := s.Store.CreateTask(c.ctx, &t); err != nil {
		return nil, err
	}
	return map[string]any{"taskId": taskWire(&t)}, nil
}

// tellBy chooses the endpoint by which a task's callBackUrl is told.
func (c *aiobRequest) tellBy(t *waihu.Task, k *aiobKept) (err error) {
	if k.CallBackBy, err = c.callbackTo(k.CallBackURL); err == nil {
		t.Doors[doorAIOB] = k.encode()
	}
	return err
}

// freeName refuses a name that another task of the account has.
func (c *aiobRequest) freeName(name string, but waihu.TaskID) error {
	for page := 1; ; page++ {
		const per = 1000
		list, total, err := c.s.Store.Tasks(c.ctx, []waihu.AccountID{c.account.ID}, store.TaskFilter{Name: name, Page: page, PerPage: per})
		if err != nil {
			return err
		}
		for i := range list {
			if list[i].Name == name && list[i].ID != but {
				return aiobRefuse("taskName：任务名称重复")
			}
		}
		if page*per >= total {
			return nil
		}
	}
}

// taskWire is a task's id on the wire: its small number as text.
func taskWire(t *waihu.Task) string { return strconv.FormatInt(t.Serial, 10) }

var noTask = aiobRefuse("任务不存在")

// task is the task that taskId names. Tasks that hold realtime calls are none to clients.
func (c *aiobRequest) task() (t waihu.Task, k aiobKept, err error) {
	n := c.body.get("taskId").need()
	id := n.text(40)
	if err := c.done(); err != nil {
		return t, k, err
	}
	serial, err := strconv.ParseInt(id, 10, 64)
	if err == nil {
		t, err = c.s.Store.TaskBySerial(c.ctx, c.account.ID, serial)
	} else { // ours: the id under which other doors know it
		t, err = c.s.Store.Task(c.ctx, c.account.ID, waihu.TaskID(id))
	}
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return t, k, noTask
	}
	if err != nil {
		return t, k, err
	}
	if k, err = aiobKeptOf(&t); err == nil && k.Realtime {
		err = noTask
	}
	return t, k, err
}

// gone names what was not found by a store method whose one object is the task.
func gone(err error) error {
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return noTask
	}
	return err
}

func (s *server) aiobUpdate3(c *aiobRequest) (any, error) { return s.aiobUpdate(c, false) }
func (s *server) aiobUpdate4(c *aiobRequest) (any, error) { return s.aiobUpdate(c, true) }

func (s *server) aiobUpdate(c *aiobRequest, v4 bool) (any, error) {
	t, k, err := c.task()
	if err != nil {
		return nil, err
	}
	if k.foreign(&t) {
		return nil, aiobRefuse("该任务不是通过本接口创建的,或已被其他接口修改,不能修改")
	}
	state, err := c.stateOf(&t, &k)
	switch {
	case err != nil:
		return nil, err
	case state == taskRunning:
		return nil, waihu.ErrTaskStarted
	case state == taskFinished:
		return nil, aiobRefuse("任务已完成,不能修改")
	}
	if err := c.readTask(&t, &k, v4, true); err != nil {
		return nil, err
	}
	s.naming.Lock()
	defer s.naming.Unlock()
	if err := c.freeName(t.Name, t.ID); err != nil {
		return nil, err
	}
	if err := c.tellBy(&t, &k); err != nil {
		return nil, err
	}
	if err := s.Store.UpdateTask(c.ctx, &t); err != nil {
		return nil, gone(err)
	}
	return nil, nil
}

func (c *aiobRequest) stateOf(t *waihu.Task, k *aiobKept) (int, error) {
	last, ok, err := c.s.Store.LastRun(c.ctx, t.Account, t.ID)
	if err != nil {
		return 0, gone(err)
	}
	if !ok {
		return aiobState(t, nil, k), nil
	}
	return aiobState(t, &last, k), nil
}

// aiobStatus runs, pauses or finishes a task. Calls in progress go on whatever happens to their task.
func (s *server) aiobStatus(c *aiobRequest) (any, error) {
	t, k, err := c.task()
	if err != nil {
		return nil, err
	}
	want := int(c.body.get("taskStatus").need().number(0, taskRunning, taskFinished))
	if err := c.done(); err != nil {
		return nil, err
	}
	state, err := c.stateOf(&t, &k)
	if err != nil {
		return nil, err
	}
	if state == taskFinished && want != taskFinished {
		return nil, aiobRefuse("任务已完成,不能变更状态")
	}
	switch want {
	case taskRunning:
		err = s.aiobStart(c, &t)
	case taskPaused:
		if state == taskWaiting {
			return nil, aiobRefuse("任务尚未启动,不能暂停")
		}
		err = s.Store.StopTask(c.ctx, t.Account, t.ID)
	case taskFinished:
		if state != taskFinished {
			err = s.Store.FinishTask(c.ctx, t.Account, t.ID, doorAIOB, func(now *waihu.Task, run int) []byte {
				kept, err := aiobKeptOf(now)
				if err != nil {
					kept = k
				}
				kept.Finished, kept.FinishedRun, kept.FinishStopped = true, run, now.Started
				return kept.encode()
			})
		}
	}
	if err != nil {
		return nil, gone(err)
	}
	return aiobSaid{msg: "任务状态变更成功,变更为『" + taskStateNames[want] + "』"}, nil
}

// aiobStart starts a task against which nothing stands.
func (s *server) aiobStart(c *aiobRequest, t *waihu.Task) error {
	if t.Started {
		return nil
	}
	if err := s.aiobReady(c, t); err != nil {
		return err
	}
	_, err := s.Store.StartTask(c.ctx, t.Account, t.ID)
	return err
}

// aiobReady says what stands against a start.
func (s *server) aiobReady(c *aiobRequest, t *waihu.Task) error {
	if s.Preflight == nil {
		return nil
	}
	problems := s.Preflight(c.ctx, *t)
	if len(problems) == 0 {
		return nil
	}
	var list []string
	for _, p := range problems {
		list = append(list, strings.TrimPrefix(p.Field+"："+p.Message, "："))
	}
	return aiobRefuse("任务无法启动：%s", strings.Join(list, "；"))
}

// aiobGet is a task's configuration. A task of another door is shown from its row, as far as this page's fields can say it.
func (s *server) aiobGet(c *aiobRequest) (any, error) {
	t, k, err := c.task()
	if err != nil {
		return nil, err
	}
	state, err := c.stateOf(&t, &k)
	if err != nil {
		return nil, err
	}
	wire, name, err := c.robotID(t.Agent)
	if err != nil {
		return nil, err
	}
	if err := c.shown(&t, &k); err != nil {
		return nil, err
	}
	robot := k.RobotID
	if robot == "" {
		robot = wire
	}
	empty := 1
	if len(k.ForbidDialTime) > 0 {
		empty = 0
	}
	return map[string]any{
		"tenantId": c.tenant, "userId": c.tenant, "lastEditUserId": c.tenant, "taskId": t.Serial, "taskName": t.Name, "robotId": robot, "robotName": name,
		"status": state, "callerNums": orNone(k.CallerNums), "lastCallerNums": orNone(k.LastCallerNums),
		"dialStartDate": k.DialStartDate, "dialEndDate": k.DialEndDate, "dialStartTime": k.DialStartTime, "dialEndTime": k.DialEndTime,
		"forbidDialDate": orNone(k.ForbidDialDate), "forbidDialTimeIsEmpty": empty, "forbidDialTime": orNone(k.ForbidDialTime),
		"dialTimeType": k.DialTimeType, "dialTimeInDay": k.DialTimeInDay, "dialDayInWeek": k.DialDayInWeek, "dialNoonBreak": k.DialNoonBreak,
		"dialWeeklyInfo": orNone(k.DialWeeklyInfo), "blackListStrategy": k.BlackListStrategy, "taskCapacity": k.TaskCapacity,
		"isOpenEmptyNum": k.IsOpenEmptyNum, "isOpenPhoneDown": k.IsOpenPhoneDown, "retryTimes": k.RetryTimes, "retryInterval": k.RetryInterval,
		"callFinishTaskEnd": k.CallFinishTaskEnd, "taskRobotCallStrategy": k.TaskRobotCallStrategy, "callBackUrl": k.CallBackURL,
		"createTime": stampAIOB(t.CreatedAt, c.loc), "updateTime": stampAIOB(t.UpdatedAt, c.loc),
	}, nil
}

// shown fills in from its row what a task of another door does not keep, or what another door has changed since.
func (c *aiobRequest) shown(t *waihu.Task, k *aiobKept) error {
	if !k.foreign(t) {
		return nil
	}
	loc := t.Location()
	*k = aiobKept{BlackListStrategy: k.BlackListStrategy, CallBackURL: k.CallBackURL, IsOpenEmptyNum: k.IsOpenEmptyNum, IsOpenPhoneDown: k.IsOpenPhoneDown, LastCallerNums: k.LastCallerNums}
	k.DialStartDate = dayText(t.Start, loc)
	if len(t.Callers) > 0 {
		all, err := c.s.Store.Callers(c.ctx, c.account.ID, "")
		if err != nil {
			return err
		}
		for _, n := range all {
			if slices.Contains(t.Callers, n.ID) {
				k.CallerNums = append(k.CallerNums, string(n.Number))
			}
		}
	}
	if !t.Stop.IsZero() {
		k.DialEndDate = dayText(t.Stop.Add(-1), loc)
	}
	from, to := 1440, 0
	for day, spans := range t.Weekly {
		for _, s := range spans {
			from, to = min(from, s.From), max(to, s.To)
		}
		if len(spans) == 0 {
			k.ForbidDialDate = append(k.ForbidDialDate, day)
		}
	}
	if from < to {
		k.DialStartTime, k.DialEndTime = clockText(from), clockText(to)
	}
	k.TaskCapacity, k.RetryTimes, k.RetryInterval = t.Concurrency, t.Redial.Max, int(t.Redial.Interval.Minutes())
	if t.EndAction == waihu.EndPause {
		k.CallFinishTaskEnd = 1
	}
	return nil
}

// Bounds of a page.
const (
	maxPS  = 200
	maxPN  = 1 << 30
	listPS = 20
)

func (c *aiobRequest) page(def int64) (pn, ps int) {
	return int(c.body.get("pn").number(1, 1, maxPN)), int(c.body.get("ps").number(def, 1, maxPS))
}

type aiobPage struct {
	PN      int    `json:"pn"`
	PS      int    `json:"ps"`
	OrderBy string `json:"orderBy"`
	Order   string `json:"order"`
	Total   int    `json:"total"`
	List    any    `json:"list"`
}

// aiobTasks lists the account's tasks, of every door, the newest first.
func (s *server) aiobTasks(c *aiobRequest) (any, error) {
	pn, ps := c.page(listPS)
	name := c.body.get("taskName").text(maxTaskName)
	from, to := c.body.get("createStartTime").date(c.loc), c.body.get("createEndTime").date(c.loc)
	var states []int
	for _, n := range c.body.get("statusList").list(10) {
		states = append(states, int(n.need().number(0, taskWaiting, taskFinished)))
	}
	robots := c.body.get("robotIdList").texts(100, 200)
	if err := c.done(); err != nil {
		return nil, err
	}
	page, total := []map[string]any{}, 0
	for at := 1; ; at++ {
		const per = 1000
		list, all, err := s.Store.Tasks(c.ctx, []waihu.AccountID{c.account.ID}, store.TaskFilter{Name: name, Page: at, PerPage: per})
		if err != nil {
			return nil, err
		}
		for i := range list {
			t := &list[i].Task
			k, err := aiobKeptOf(t)
			if err != nil {
				return nil, err
			}
			if k.Realtime || !from.IsZero() && t.CreatedAt.Before(from) || !to.IsZero() && !t.CreatedAt.Before(to.AddDate(0, 0, 1)) {
				continue
			}
			state, err := c.stateOf(t, &k)
			if errors.Is(err, noTask) {
				continue // deleted since
			}
			if err != nil {
				return nil, err
			}
			wire, robotName, err := c.robotID(t.Agent)
			if err != nil {
				return nil, err
			}
			if len(states) > 0 && !slices.Contains(states, state) || len(robots) > 0 && !slices.Contains(robots, wire) && !slices.Contains(robots, string(t.Agent)) {
				continue
			}
			if total++; total <= (pn-1)*ps || total > pn*ps {
				continue
			}
			counts, err := s.Store.Counts(c.ctx, t.Account, t.ID)
			if err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
				return nil, err
			}
			done, numbers := counts.State[waihu.NumberDone], 0
			for _, n := range counts.State[:waihu.NumberRemoved] {
				numbers += n
			}
			page = append(page, map[string]any{"taskId": taskWire(t), "taskName": t.Name, "finishNumCount": done, "totalNumCount": numbers, "status": state,
				"robotId": wire, "robotName": robotName, "createTime": stampAIOB(t.CreatedAt, c.loc)})
		}
		if at*per >= all || len(list) == 0 {
			break
		}
	}
	return aiobPage{pn, ps, "createTime", "desc", total, page}, nil
}

// aiobDelete removes a task that was never started.
func (s *server) aiobDelete(c *aiobRequest) (any, error) {
	t, k, err := c.task()
	if err != nil {
		return nil, err
	}
	state, err := c.stateOf(&t, &k)
	if err != nil {
		return nil, err
	}
	if state != taskWaiting {
		return nil, aiobRefuse("仅支持删除未执行的任务,该任务%s", taskStateNames[state])
	}
	return nil, gone(s.Store.DeleteTask(c.ctx, t.Account, t.ID))
}

// aiobCapacity is what is left to promise to a task.
func (s *server) aiobCapacity(c *aiobRequest) (any, error) {
	var but waihu.TaskID
	if c.body.get("taskId").v != nil && !c.body.get("taskId").blank() {
		t, _, err := c.task()
		if err != nil {
			return nil, err
		}
		but = t.ID
	}
	left, err := c.leftCapacity(but)
	if err != nil {
		return nil, err
	}
	return map[string]any{"tenantLeftCapacity": left}, nil
}

// leftCapacity is what the account's lines carry less what its unfinished tasks of this family were promised, but for one.
func (c *aiobRequest) leftCapacity(but waihu.TaskID) (int, error) {
	left, err := c.channels(nil)
	if err != nil {
		return 0, err
	}
	for page := 1; ; page++ {
		const per = 1000
		list, total, err := c.s.Store.Tasks(c.ctx, []waihu.AccountID{c.account.ID}, store.TaskFilter{Door: doorAIOB, Page: page, PerPage: per})
		if err != nil {
			return 0, err
		}
		for i := range list {
			t := &list[i].Task
			k, err := aiobKeptOf(t)
			if err != nil {
				return 0, err
			}
			if k.TaskCapacity == 0 || t.ID == but {
				continue
			}
			state, err := c.stateOf(t, &k)
			if errors.Is(err, noTask) {
				continue
			}
			if err != nil {
				return 0, err
			}
			if state != taskFinished {
				left -= k.TaskCapacity
			}
		}
		if page*per >= total {
			return max(0, left), nil
		}
	}
}
