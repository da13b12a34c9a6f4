package keyue

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// aiobKept is what a task keeps for this family: its configuration as its client wrote it, and what the family knows of its state.
type aiobKept struct {
	V4                    bool          `json:"v4,omitempty"`
	RobotID               string        `json:"robotId"`
	TaskRobotCallStrategy int           `json:"taskRobotCallStrategy"`
	DialStartDate         string        `json:"dialStartDate"`
	DialEndDate           string        `json:"dialEndDate"`
	DialStartTime         string        `json:"dialStartTime"`
	DialEndTime           string        `json:"dialEndTime"`
	ForbidDialDate        []int         `json:"forbidDialDate"`
	ForbidDialTime        []forbidTime  `json:"forbidDialTime"`
	DialTimeType          int           `json:"dialTimeType"`
	DialTimeInDay         int           `json:"dialTimeInDay"`
	DialDayInWeek         int           `json:"dialDayInWeek"`
	DialNoonBreak         int           `json:"dialNoonBreak"`
	DialWeeklyInfo        [][][]string  `json:"dialWeeklyInfo"`
	CallerNums            []string      `json:"callerNums"`
	LastCallerNums        []string      `json:"lastCallerNums"`
	BlackListStrategy     int           `json:"blackListStrategy"`
	TaskCapacity          int           `json:"taskCapacity"`
	IsOpenEmptyNum        bool          `json:"isOpenEmptyNum"`
	IsOpenPhoneDown       bool          `json:"isOpenPhoneDown"`
	RetryTimes            int           `json:"retryTimes"`
	RetryInterval         int           `json:"retryInterval"` // minutes
	CallFinishTaskEnd     int           `json:"callFinishTaskEnd"`
	CallBackURL           string        `json:"callBackUrl"`          // of realtime calls each number has its own
	CallBackBy            int64         `json:"callBackBy,omitempty"` // the endpoint by which it is told; 0: those of the account that were made for no address
	Realtime              bool          `json:"realtime,omitempty"`   // it holds realtime calls and is no task to its clients
	Finished              bool          `json:"finished,omitempty"`   // its client said that it is over
	FinishedRun           int           `json:"finishedRun,omitempty"`
	FinishStopped         bool          `json:"finishStopped,omitempty"` // its last run was closed by that
	Robots                []string      `json:"robots,omitempty"`        // our ids, in order
	Row                   string        `json:"row,omitempty"`           // the task's row as its client's configuration left it
	weekly                *waihu.Weekly // of this request, else the task's stays
}

type forbidTime struct {
	Start string `json:"forbidDialStartTime"`
	End   string `json:"forbidDialEndTime"`
}

// aiobKeptOf is what the task keeps; a task of another door keeps nothing, and is shown from its row.
func aiobKeptOf(t *waihu.Task) (k aiobKept, err error) {
	if raw := t.Doors[doorAIOB]; len(raw) > 0 {
		if err := json.Unmarshal(raw, &k); err != nil {
			return k, fmt.Errorf("read what task %s keeps for AIOB: %w", t.ID, err)
		}
	}
	return k, nil
}

func (k *aiobKept) encode() []byte {
	raw, err := json.Marshal(k)
	if err != nil {
		panic("keyue: a task's own fields cannot be encoded: " + err.Error()) // texts and numbers
	}
	return raw
}

// Bounds of a task's configuration. The page of the maximum number of retries is not stored.
const (
	maxTaskName     = 100
	maxRetries      = 10
	defaultInterval = 5 // minutes, when there are retries and no interval
	maxInterval     = 24 * 60
	maxCallers      = 200
	maxCapacity     = 100_000
)

// retriedOn are the outcomes after which a group is tried again: nobody was reached, and may be another time. A number
// that does not exist, is out of service or blocks us is left alone.
var retriedOn = []waihu.Disposition{waihu.Intercepted, waihu.Rejected, waihu.NoAnswer, waihu.PoweredOff, waihu.Busy, waihu.Barred, waihu.Unreachable}

// aiobTaskBody reads the configuration of a task; on an update what the body does not name stays.
type aiobTaskBody struct {
	c      *aiobRequest
	n      aiobNode
	t      *waihu.Task
	k      *aiobKept
	update bool
}

// field is a field of the body: on a creation it must be there when needed.
func (b *aiobTaskBody) field(needed bool, names ...string) (aiobNode, bool) {
	n := b.n.get(names...)
	if n.v == nil && b.update {
		return n, false
	}
	if needed {
		n.need()
	}
	return n, true
}

// readTask fills in the task and what it keeps.
func (c *aiobRequest) readTask(t *waihu.Task, k *aiobKept, v4, update bool) error {
	b := &aiobTaskBody{c: c, n: c.body, t: t, k: k, update: update}
	if n, ok := b.field(true, "taskName"); ok {
		t.Name = n.text(maxTaskName)
	}
	b.dates()
	if v4 {
		b.week4()
	} else {
		b.week3()
	}
	b.options()
	if err := c.done(); err != nil {
		return err
	}
	if err := b.robots(v4); err != nil {
		return err
	}
	if err := b.callers(); err != nil {
		return err
	}
	if err := b.bans(); err != nil {
		return err
	}
	k.V4, k.Row = v4, rowOf(t)
	doors := maps.Clone(t.Doors) // what other doors keep stays
	if doors == nil {
		doors = map[string][]byte{}
	}
	t.Doors, doors[doorAIOB] = doors, k.encode()
	return c.done()
}

// rowOf is what a task's configuration makes of its row, as a digest: who talks, when, from where, how often.
func rowOf(t *waihu.Task) string {
	at := func(x time.Time) int64 { return unixMS(x) }
	var week, closed []int64
	for day, spans := range t.Weekly {
		for _, s := range spans {
			week = append(week, int64(day), int64(s.From), int64(s.To))
		}
	}
	for _, p := range t.Holidays {
		closed = append(closed, at(p.From), at(p.To))
	}
	sum := sha256.Sum256(fmt.Append(nil, t.Agents(), at(t.Start), at(t.Stop), week, closed, t.Concurrency, t.Callers, len(t.Lines), t.Redial.Max, int64(t.Redial.Interval), t.Redial.On, t.EndAction))
	return hex.EncodeToString(sum[:8])
}

// foreign says that the task is another door's: made there, or changed there since. Then its row tells what it is.
func (k *aiobKept) foreign(t *waihu.Task) bool {
	return len(k.Robots) == 0 || k.Row != "" && k.Row != rowOf(t)
}

func (b *aiobTaskBody) dates() {
	if n, ok := b.field(true, "dialStartDate"); ok {
		b.t.Start = n.date(b.c.loc)
		b.k.DialStartDate = dayText(b.t.Start, b.c.loc)
	}
	if n, ok := b.field(false, "dialEndDate"); ok {
		b.t.Stop, b.k.DialEndDate = time.Time{}, ""
		if day := n.date(b.c.loc); !day.IsZero() {
			b.t.Stop, b.k.DialEndDate = day.AddDate(0, 0, 1), dayText(day, b.c.loc)
			if !b.t.Stop.After(b.t.Start) {
				n.wrong("不能早于 dialStartDate")
			}
		}
	}
}

func dayText(t time.Time, loc *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(loc).Format(time.DateOnly)
}

// week3 is the week of a V3 task: one span a day inside the frame, less what is forbidden.
func (b *aiobTaskBody) week3() {
	k := b.k
	if n, ok := b.field(true, "dialStartTime"); ok {
		k.DialStartTime = b.framed(n)
	}
	if n, ok := b.field(true, "dialEndTime"); ok {
		k.DialEndTime = b.framed(n)
	}
	b.forbidden()
	from, _ := parseClock(k.DialStartTime)
	to, _ := parseClock(k.DialEndTime)
	if b.c.first == nil && from >= to {
		b.n.get("dialEndTime").wrong("应晚于 dialStartTime")
	}
	w := sameDays([]waihu.Span{{From: from, To: to}}, k.forbidSpans(), k.ForbidDialDate)
	k.weekly = &w
}

func (b *aiobTaskBody) framed(n aiobNode) string {
	m := n.clock()
	if m < frameFrom || m > frameTo {
		n.wrong("应在 09:00 与 21:00 之间")
	}
	return clockText(m)
}

func (b *aiobTaskBody) forbidden() {
	k := b.k
	if n, ok := b.field(false, "forbidDialDate"); ok {
		k.ForbidDialDate = []int{}
		for _, x := range n.list(10) {
			day := int(x.need().number(0, 0, forbidHoliday))
			if day > 6 && day != forbidHoliday {
				x.wrong("应为 0(周日)到 6(周六),或 99(节假日)")
			}
			k.ForbidDialDate = append(k.ForbidDialDate, day)
		}
	}
	if n, ok := b.field(false, "forbidDialTime"); ok {
		k.ForbidDialTime = []forbidTime{}
		for _, x := range n.list(20) {
			from, to := x.get("forbidDialStartTime").need().clock(), x.get("forbidDialEndTime").need().clock()
			if from >= to {
				x.wrong("forbidDialEndTime 应晚于 forbidDialStartTime")
			}
			k.ForbidDialTime = append(k.ForbidDialTime, forbidTime{clockText(from), clockText(to)})
		}
	}
}

func (k *aiobKept) forbidSpans() (out []waihu.Span) {
	for _, f := range k.ForbidDialTime {
		from, _ := parseClock(f.Start) // checked when it was kept
		to, _ := parseClock(f.End)
		out = append(out, waihu.Span{From: from, To: to})
	}
	return out
}

// The options of dialTimeInDay and dialNoonBreak, in minutes.
var (
	optionDays  = []waihu.Span{{From: 540, To: 1080}, {From: 540, To: 1020}, {From: 600, To: 1080}, {From: 600, To: 1020}}
	optionNoons = [][]waihu.Span{nil, {{From: 720, To: 780}}, {{From: 720, To: 840}}}
)

// week4 is the week of a V4 task: dialTimeType 0 chooses among options, 1 has its own seven days. dialStartTime and
// dialEndTime are taken as V3 takes them when neither is named.
func (b *aiobTaskBody) week4() {
	k := b.k
	for _, name := range []string{"dialTimeInDay", "dialDayInWeek", "dialNoonBreak", "dialTimeType", "dialWeeklyInfo"} {
		if b.n.get(name).v != nil {
			b.options4()
			return
		}
	}
	if b.update && k.V4 && b.n.get("dialStartTime", "dialEndTime").v == nil {
		b.forbidden()
		return
	}
	b.week3()
}

func (b *aiobTaskBody) options4() {
	k := b.k
	for name, to := range map[string]*int{"dialTimeType": &k.DialTimeType, "dialTimeInDay": &k.DialTimeInDay, "dialDayInWeek": &k.DialDayInWeek, "dialNoonBreak": &k.DialNoonBreak} {
		if n, ok := b.field(false, name); ok {
			*to = int(n.number(0, 0, map[string]int64{"dialTimeType": 1, "dialTimeInDay": 3, "dialDayInWeek": 2, "dialNoonBreak": 2}[name]))
		}
	}
	info := b.n.get("dialWeeklyInfo")
	if b.n.get("dialTimeType").blank() && !b.update && !info.blank() {
		k.DialTimeType = 1
	}
	b.forbidden()
	if k.DialTimeType == 1 {
		if info.v == nil && b.update && len(k.DialWeeklyInfo) == 7 {
			return
		}
		var w waihu.Weekly
		w, k.DialWeeklyInfo = weeklyInfo(info.need())
		for day := range w {
			w[day] = within(w[day], k.forbidSpans())
			if slices.Contains(k.ForbidDialDate, day) {
				w[day] = nil
			}
		}
		k.weekly = &w
		return
	}
	days := slices.Clone(k.ForbidDialDate)
	days = append(days, map[int][]int{1: {0, 6}, 2: {1, 2, 3, 4, 5}}[k.DialDayInWeek]...)
	w := sameDays([]waihu.Span{optionDays[k.DialTimeInDay]}, append(k.forbidSpans(), optionNoons[k.DialNoonBreak]...), days)
	k.weekly = &w
}

func (b *aiobTaskBody) options() {
	k := b.k
	whole := func(to *int, def, least, most int64, names ...string) {
		if n, ok := b.field(false, names...); ok {
			*to = int(n.number(def, least, most))
		}
	}
	whole(&k.BlackListStrategy, 1, 1, 2, "blackListStrategy")
	whole(&k.TaskCapacity, 0, 0, maxCapacity, "taskCapacity")
	whole(&k.RetryTimes, 0, 0, maxRetries, "retryTimes", "maxRetryTimes")
	whole(&k.RetryInterval, defaultInterval, 1, maxInterval, "retryInterval")
	whole(&k.CallFinishTaskEnd, 1, 0, 1, "callFinishTaskEnd")
	if n, ok := b.field(true, "isOpenEmptyNum"); ok {
		k.IsOpenEmptyNum = n.flag()
	}
	if n, ok := b.field(true, "isOpenPhoneDown"); ok {
		k.IsOpenPhoneDown = n.flag()
	}
	if n, ok := b.field(false, "callBackUrl"); ok {
		k.CallBackURL = n.url()
	}
}

// url is an address that callbacks can go to.
func (n aiobNode) url() string {
	text := n.text(2000)
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		n.wrong("应为 http:// 或 https:// 地址")
		return ""
	}
	return text
}

// robots chooses who talks. One robot or several cannot be changed into the other.
func (b *aiobTaskBody) robots(v4 bool) error {
	c, k := b.c, b.k
	n, ok := b.field(true, "robotId")
	if s, given := b.field(false, "taskRobotCallStrategy"); v4 && given {
		k.TaskRobotCallStrategy = int(s.number(1, 0, 1))
	}
	if ok {
		text := n.text(1000)
		var ids []string
		for id := range strings.SplitSeq(strings.TrimSuffix(text, ","), ",") {
			ids = append(ids, strings.TrimSpace(id))
		}
		if !v4 && len(ids) > 1 {
			n.wrong("该接口仅支持一个机器人")
		}
		if b.update && (len(ids) > 1) != (len(k.Robots) > 1) {
			n.wrong("单机器人任务与多机器人任务不能互相转换")
		}
		if err := c.done(); err != nil {
			return err
		}
		k.RobotID, k.Robots = text, nil
		for _, id := range ids {
			a, err := c.robot(id)
			if waihu.ErrorCode(err) == waihu.ENotFound {
				return aiobRefuse("robotId：机器人不存在")
			}
			if err != nil {
				return err
			}
			if a.State != waihu.AgentOnline {
				return aiobRefuse("robotId：机器人未发布,请先发布")
			}
			k.Robots = append(k.Robots, string(a.ID))
		}
	}
	switch sequential := k.TaskRobotCallStrategy == 1; {
	case len(k.Robots) < 2:
	case !sequential && len(k.Robots) > 3:
		n.wrong("ABTest 模式仅支持 2 到 3 个机器人")
	case sequential && len(k.Robots) > max(2, k.RetryTimes):
		n.wrong("顺序协同模式最多支持与最大重呼次数相同数量的机器人")
	}
	b.t.Agent, b.t.Routing = waihu.AgentID(k.Robots[0]), waihu.Routing{}
	if len(k.Robots) > 1 {
		b.t.Routing.Kind = waihu.RouteByAttempt
		if k.TaskRobotCallStrategy == 0 {
			b.t.Routing.Kind = waihu.RouteSeveral
		}
		for i, id := range k.Robots {
			b.t.Routing.Several = append(b.t.Routing.Several, waihu.SeveralRoute{Agent: waihu.AgentID(id), Sort: i})
		}
	}
	return c.done()
}

// callers chooses the caller numbers and what follows from the lines: how many calls at once.
func (b *aiobTaskBody) callers() error {
	c, t, k := b.c, b.t, b.k
	if n, ok := b.field(false, "callerNums"); ok {
		ids, err := c.callerIDs(n)
		if err != nil {
			return err
		}
		t.Callers, k.CallerNums = ids, orNone(n.texts(maxCallers, 40))
	}
	if n, ok := b.field(false, "lastCallerNums"); ok { // for matching by region, which is not done here: kept and shown
		if _, err := c.callerIDs(n); err != nil {
			return err
		}
		k.LastCallerNums = orNone(n.texts(maxCallers, 40))
	}
	most, err := c.channels(t.Callers)
	if err != nil {
		return err
	}
	left, err := c.leftCapacity(t.ID)
	if err != nil {
		return err
	}
	if k.TaskCapacity > left {
		return aiobRefuse("taskCapacity：剩余通路数不足,剩余 %d", left)
	}
	t.Concurrency = max(1, most)
	if k.TaskCapacity > 0 {
		t.Concurrency = k.TaskCapacity
	}
	return nil
}

func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// bans are what V4 documents and we cannot keep: an area or a holiday ban that is not kept would call whom it should not.
func (b *aiobTaskBody) bans() error {
	object, _ := b.n.v.(map[string]any)
	for name, v := range object {
		low := strings.ToLower(name)
		if !strings.HasPrefix(low, "holiday") && !strings.Contains(low, "area") {
			continue
		}
		switch v := v.(type) {
		case nil:
			continue
		case []any:
			if len(v) == 0 {
				continue
			}
		case map[string]any:
			if len(v) == 0 {
				continue
			}
		case bool:
			if !v {
				continue
			}
		default:
			if text := fmt.Sprint(v); text == "" || text == "0" {
				continue
			}
		}
		return aiobRefuse("%s：不支持,请勿传递；节假日请用 forbidDialDate 的 99", name)
	}
	t, k := b.t, b.k
	if k.weekly != nil {
		t.Weekly = *k.weekly
		if open := slices.ContainsFunc(t.Weekly[:], func(day []waihu.Span) bool { return len(day) > 0 }); !open {
			return aiobRefuse("呼叫时间：除去禁呼日期和禁呼时间后没有可呼叫的时段")
		}
	}
	t.Holidays = nil
	if slices.Contains(k.ForbidDialDate, forbidHoliday) {
		own, err := b.c.holidaysOwn()
		if err != nil {
			return err
		}
		end := time.Date(lastHoliday+1, 1, 1, 0, 0, 0, 0, b.c.loc)
		if t.Stop.After(end) || t.Stop.IsZero() && b.c.s.Now().After(end.AddDate(-2, 0, 0)) {
			return aiobRefuse("forbidDialDate：节假日日历只到 %d 年", lastHoliday)
		}
		if t.Stop.IsZero() { // nothing is known beyond: it ends there instead of calling on holidays
			t.Stop = end
		}
		t.Holidays = holidays(maxTime(t.Start, b.c.s.Now().AddDate(0, 0, -1)), t.Stop, own, b.c.loc)
	}
	t.Zone, t.Pop, t.EndAction = b.c.account.Zone, waihu.PopInOrder, waihu.EndNothing
	if k.CallFinishTaskEnd == 1 {
		t.EndAction = waihu.EndPause
	}
	t.Redial = waihu.Redial{}
	if k.RetryTimes > 0 {
		t.Redial = waihu.Redial{Max: k.RetryTimes, Interval: time.Duration(k.RetryInterval) * time.Minute, On: retriedOn}
	}
	return nil
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// callerIDs are the ids of caller numbers that are named by their number, or by the id that did/list gives.
func (c *aiobRequest) callerIDs(n aiobNode) ([]int64, error) {
	names := n.texts(maxCallers, 40)
	if err := c.done(); err != nil || len(names) == 0 {
		return nil, err
	}
	all, err := c.s.Store.Callers(c.ctx, c.account.ID, "")
	if err != nil {
		return nil, err
	}
	var ids []int64
	for i, name := range names {
		found := false
		for _, k := range all {
			if k.State == 0 && (samePhone(string(k.Number), name) || strconv.FormatInt(k.ID, 10) == name) {
				found = true
				if !slices.Contains(ids, k.ID) {
					ids = append(ids, k.ID)
				}
			}
		}
		if !found {
			return nil, aiobRefuse("%s[%d]：没有这个主叫号码", n.path, i)
		}
	}
	return ids, nil
}

func samePhone(a, b string) bool {
	x, err := waihu.ParsePhone(a)
	y, err2 := waihu.ParsePhone(b)
	return a == b || err == nil && err2 == nil && x == y
}

// channels is how many calls at once the lines carry that have one of the callers; all lines without any.
func (c *aiobRequest) channels(callers []int64) (n int, err error) {
	lines, err := c.s.Store.Lines(c.ctx, c.account.ID)
	if err != nil {
		return 0, err
	}
	wanted := map[waihu.LineID]bool{}
	if len(callers) > 0 {
		all, err := c.s.Store.Callers(c.ctx, c.account.ID, "")
		if err != nil {
			return 0, err
		}
		for _, k := range all {
			if slices.Contains(callers, k.ID) {
				wanted[k.Line] = true
			}
		}
	}
	for i := range lines {
		if l := &lines[i]; l.Usable(c.s.Now()) && (len(callers) == 0 || wanted[l.ID]) {
			n += l.Concurrency
		}
	}
	return n, nil
}

// aiobSettings are what an account keeps for this family.
type aiobSettings struct {
	Holidays []string `json:"holidays"`
}

func (c *aiobRequest) holidaysOwn() ([]waihu.Period, error) {
	var set aiobSettings
	if raw := c.account.Doors[doorAIOB]; len(raw) > 0 {
		if err := json.Unmarshal(raw, &set); err != nil {
			return nil, fmt.Errorf("read what account %s keeps for AIOB: %w", c.account.ID, err)
		}
	}
	return ownHolidays(set.Holidays, c.loc)
}
