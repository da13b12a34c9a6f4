package yunfu

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// Documented bounds of a task's body.
const (
	maxName          = 255
	maxVariables     = 100 // destination_extension_with_variable_list
	maxKeywords      = 10  // values of one of them
	maxRedialMinutes = 60
	maxRedials       = 3
	maxConcurrency   = 100_000
)

// sampleRedialOn is the da_status list of every vendor sample: what a redial without a list is for (ours).
var sampleRedialOn = []int{2, 3, 4, 6, 8, 9, 12}

// ruleRedials is how often auto_recycle_rule_id dials again. The pages do not say; it is the bound that
// the newer form has (ours).
const ruleRedials = 3

// taskBody reads the body of create and update into a task. All three generations are read field by
// field: nothing tells them apart, and nothing is refused for belonging to one of them.
type taskBody struct {
	*request
	t      *waihu.Task
	extras node
	kept   kept
	shown  map[string]any // task_extras as edit will show it
	agents map[string]bool
	lookup error // of the ledger; the first ends the reading
}

// readTask fills in everything of t that a body says. A key left out is unset: PUT replaces. legacy paths do
// not know task_extras and so need no window.
func (c *request) readTask(t *waihu.Task, legacy bool) error {
	b := &taskBody{request: c, t: t, shown: map[string]any{}, agents: map[string]bool{}}
	f := c.form
	extras := f.get("task_extras")
	if !extras.has && !legacy {
		extras.need("2.0 任务配置信息")
	}
	b.extras = extras.object()
	t.Name = f.get("name").need("任务名称").short(maxName)
	t.Remark = f.get("remark").short(2000)
	t.Agent = b.agent(f.get("destination_extension").need("话术分组 id"))
	t.Concurrency = f.get("maximumcall").need("并发总数").number(1, maxConcurrency)
	b.window(!legacy)
	b.hours()
	b.holidays()
	b.pace()
	b.routing()
	b.redial()
	b.rest()
	if f.err() == nil && b.lookup == nil {
		b.lines() // last: it judges numbers that must be right by now
	}
	if err := f.err(); err != nil {
		return err
	}
	if b.lookup != nil {
		return b.lookup
	}
	b.kept.Extras = b.shown
	b.kept.Mark = mark(t)
	raw, err := json.Marshal(b.kept)
	if err != nil {
		return fmt.Errorf("keep the task's body: %w", err)
	}
	doors := map[string][]byte{Door: raw}
	for name, doc := range t.Doors {
		if name != Door {
			doors[name] = doc
		}
	}
	t.Doors = doors
	return nil
}

// extra is a field of task_extras that some documents place at top level; task_extras wins.
func (b *taskBody) extra(name string) node {
	return b.extras.get(name).or(b.form.get(name))
}

// found turns "no such resource" into a mistake of the field, and keeps other errors of the ledger.
func (b *taskBody) found(n node, what string, err error) bool {
	switch {
	case err == nil:
		return true
	case waihu.ErrorCode(err) == waihu.ENotFound:
		n.fail("%s不存在", what)
	case b.lookup == nil:
		b.lookup = err
	}
	return false
}

func (b *taskBody) agent(n node) waihu.AgentID {
	id := n.id()
	if id == "" {
		n.need("话术分组 id")
		return ""
	}
	if !b.agents[id] {
		_, err := b.s.Store.Agent(b.ctx, b.acts.ID, waihu.AgentID(id))
		b.agents[id] = b.found(n, "话术分组", err)
	}
	return waihu.AgentID(id)
}

func (b *taskBody) window(needed bool) {
	start, stop := b.extra("start_time"), b.extra("stop_time")
	if needed {
		start.need("任务开始时间")
		if !b.s.NoStopTime {
			stop.need("任务结束时间")
		}
	}
	b.t.Start, b.t.Stop = start.when(b.loc, false), stop.when(b.loc, true)
	if !b.t.Start.IsZero() && !b.t.Stop.IsZero() && !b.t.Start.Before(b.t.Stop) {
		stop.fail("应晚于 start_time")
	}
	b.shown["start_time"], b.shown["stop_time"] = stampOrNull(b.t.Start, b.loc), stampOrNull(b.t.Stop, b.loc)
}

// hours copies the time group, so that a later edit of it moves no task; work_hour and work_week replace
// its hours and its days.
func (b *taskBody) hours() {
	n := b.form.get("dial_time_id", "disable_dial_timegroup").need("呼叫时间组 id")
	id := n.int64()
	if b.form.err() != nil {
		return
	}
	group, err := b.s.Store.CallingHours(b.ctx, b.acts.ID, id)
	if !b.found(n, "呼叫时间组", err) {
		return
	}
	week := group.Weekly
	b.t.HoursID = id
	hours, days := b.extra("work_hour"), b.extra("work_week")
	var shown []workHour
	if list := hours.list(); len(list) > 0 {
		week = waihu.Weekly{}
		for _, n := range list {
			e := n.object()
			wday := e.get("wday")
			span := waihu.Span{From: e.get("begin", "start").need("开始时间").clock(), To: e.get("end").need("结束时间").clock()}
			day := -1
			if !wday.blank() {
				day = wday.number(-1, 7)
			}
			if span.From >= span.To {
				n.fail("end 应晚于 begin")
			}
			shown = append(shown, workHour{Begin: clockText(span.From), End: clockText(span.To), Wday: day})
			for d := range week {
				if day == -1 || day%7 == d {
					week[d] = append(week[d], span)
				}
			}
		}
	}
	if hours.v != nil {
		b.shown["work_hour"] = orEmpty(shown)
	}
	var open []int
	for _, n := range days.words() {
		open = append(open, n.number(0, 7)%7)
	}
	if len(open) > 0 {
		for d := range week {
			if !slices.Contains(open, d) {
				week[d] = nil
			}
		}
	}
	if days.v != nil {
		b.shown["work_week"] = orEmpty(open)
	}
	b.t.Weekly = week
}

// holidays are written with begin in samples and with start in tables and answers: both are shown back.
func (b *taskBody) holidays() {
	b.t.Holidays = nil
	shown := []map[string]any{}
	for _, n := range b.extra("holiday").list() {
		e := n.object()
		from := e.get("begin", "start")
		p := waihu.Period{From: from.need("开始时间").when(b.loc, false), To: e.get("end").need("结束时间").when(b.loc, true)}
		if !p.From.Before(p.To) {
			n.fail("end 应晚于 begin")
		}
		h := holidayShown(p, b.loc)
		if p.To.Second() == 59 {
			p.To = p.To.Add(time.Second) // the day's last second belongs to the holiday
		}
		b.t.Holidays = append(b.t.Holidays, p)
		if e.get("begin").has {
			h["begin"] = h["start"]
		}
		shown = append(shown, h)
	}
	b.shown["holiday"] = shown
}

func holidayShown(p waihu.Period, loc *time.Location) map[string]any {
	return map[string]any{"start": minuteStamp(p.From, loc), "end": minuteStamp(p.To, loc)}
}

func (b *taskBody) pace() {
	pop := b.extra("pop_mode").number(0, 2)
	b.t.Pop = waihu.PopOrder(pop)
	b.shown["pop_mode"] = pop
	gap := b.extra("interval_time").or(b.form.get("call_pause_second")).number(0, 24*3600)
	b.t.Interval = time.Duration(gap) * time.Second
	b.shown["interval_time"] = gap
	end := b.form.get("end_action")
	action := end.number(0, 1)
	b.kept.EndAction = action
	b.t.EndAction = waihu.EndAction(action)
	b.kept.Elastic = b.form.get("elasticity_type", "elasticity_task").flag()
	if b.kept.Elastic && action == 1 {
		end.fail("任务结束动作不能与动态坐席(elasticity_type)同时开启")
	}
}

// lines judges the chosen lines against maximumcall and against what is free of each, not counting what
// this task holds itself.
func (b *taskBody) lines() {
	n := b.extra("line")
	if n.v == nil {
		if one := b.form.get("caller_line_id"); !one.blank() { // the legacy body
			n = one
			b.kept.CallerLine = one.id()
		}
	}
	list := n.list()
	if one := n.unwrapped(); len(list) == 1 && !isList(one.v) { // a line by itself has no index
		list[0].path = n.path
	}
	b.t.Lines = nil
	shown := []any{}
	if len(list) == 0 {
		b.shown["line"] = shown
		return
	}
	residue, err := b.s.Store.Residue(b.ctx, b.acts.ID, b.t.ID)
	if err != nil {
		b.lookup = err
		return
	}
	sum, shared, seen := 0, 0, map[waihu.LineID]bool{}
	for _, n := range list {
		id, limit := n, node{f: n.f}
		_, whole := n.unwrapped().v.(map[string]any)
		if whole {
			e := n.object()
			id, limit = e.get("id", "line_id"), e.get("limit")
		}
		line := waihu.TaskLine{Line: waihu.LineID(id.need("线路 id").id())}
		free, ok := residue[line.Line]
		switch {
		case !ok:
			id.fail("线路不存在")
		case seen[line.Line]:
			id.fail("线路重复")
		}
		seen[line.Line] = true
		if whole {
			shown = append(shown, map[string]any{"id": line.Line})
		} else {
			shown = append(shown, string(line.Line))
		}
		if limit.blank() {
			shared++
		} else {
			line.Limit = limit.number(1, maxConcurrency)
			sum += line.Limit
			switch {
			case line.Limit > free:
				limit.fail("最大并发 %d 超过线路剩余并发(residue) %d", line.Limit, free)
			case line.Limit > b.t.Concurrency:
				limit.fail("最大并发 %d 超过并发总数 maximumcall %d", line.Limit, b.t.Concurrency)
			}
		}
		b.t.Lines = append(b.t.Lines, line)
	}
	total := b.form.get("maximumcall")
	if shared > 0 {
		if b.t.Concurrency%len(list) != 0 {
			total.fail("并发总数 %d 必须为线路数量 %d 的整数倍", b.t.Concurrency, len(list))
		}
		share := b.t.Concurrency / len(list)
		for i := range b.t.Lines {
			l := &b.t.Lines[i]
			if l.Limit > 0 {
				continue
			}
			l.Limit = share
			sum += share
			if free := residue[l.Line]; share > free {
				total.fail("每条线路的平均并发 %d 超过线路 %s 的剩余并发(residue) %d", share, l.Line, free)
			}
		}
	}
	for i, l := range b.t.Lines {
		if object, ok := shown[i].(map[string]any); ok {
			object["limit"] = l.Limit
		}
	}
	if sum > b.t.Concurrency {
		n.fail("各线路 limit 之和 %d 超过并发总数 maximumcall %d", sum, b.t.Concurrency)
	}
	b.shown["line"] = shown
}

// rest is what the door keeps for its client and the engine has no use for, but for the check that it exists.
func (b *taskBody) rest() {
	f, k := b.form, &b.kept
	k.TaskType = 7
	if n := f.get("task_type"); !n.blank() {
		k.TaskType = n.number(0, 1000)
	}
	k.GroupType = f.get("group_type").short(100)
	k.EnableType = f.get("enable_type").number(0, 1000)
	k.IsCallIn = f.get("is_call_in").number(0, 1)
	k.Quality, k.Score = scalar(f.get("llm_intention_id")), scalar(f.get("score_scheme_id"))
	b.t.QualityCheck, b.t.ScoreScheme = checkWord(k.Quality), checkWord(k.Score)
	if n := f.get("background_id"); !n.blank() && n.text() != "0" {
		k.Background = b.named(n, waihu.Background, "背景音")
	}
	if n := f.get("bridge_group_id"); n.has {
		k.Bridge = b.named(n.need("转接组 id;不使用转接组时请不要传这个键"), waihu.BridgeGroup, "转接组")
	}
}

// checkWord is the id of a check as the engine keeps it; 0 is what clients send for none.
func checkWord(v any) string {
	if v == nil {
		return ""
	}
	if s := fmt.Sprint(v); s != "0" && s != "false" {
		return s
	}
	return ""
}

func (b *taskBody) named(n node, kind waihu.NamedKind, what string) *int64 {
	id := n.int64()
	if b.form.err() != nil {
		return nil
	}
	_, err := b.s.Store.Named(b.ctx, b.acts.ID, kind, id)
	b.found(n, what, err)
	return &id
}

// scalar is an opaque value as it was sent; null when blank.
func scalar(n node) any {
	switch v := n.scalar().(type) {
	case json.Number:
		if len(v) > 40 || strings.ContainsAny(v.String(), "eE") { // PostgreSQL's jsonb would spell an exponent out
			n.fail("应为整数或字符串")
			return nil
		}
		return v
	case string, bool:
		if n.blank() {
			return nil
		}
		return n.short(200)
	case nil:
		return nil
	}
	n.fail("应为整数或字符串")
	return nil
}

// flagAsSent is a flag in the type that it was sent in: the samples send 0 and 1 where tables say bool.
func flagAsSent(n node) any {
	on := n.flag()
	if _, ok := n.scalar().(bool); ok {
		return on
	}
	if on {
		return 1
	}
	return 0
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func itoa(n int) string { return strconv.Itoa(n) }
