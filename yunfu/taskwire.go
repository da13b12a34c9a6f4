package yunfu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"waihu"
)

// kept is what a task keeps for this door: what its client sent and wants to read back, and what the
// engine has no use for.
type kept struct {
	TaskType   int            `json:"task_type"`
	GroupType  string         `json:"group_type,omitempty"`
	Switch     *int           `json:"is_group_switch,omitempty"`
	SwitchRule []any          `json:"group_switch_rule,omitempty"`
	CallRules  []any          `json:"new_call_rules,omitempty"`
	EnableType int            `json:"enable_type"`
	IsCallIn   int            `json:"is_call_in"`
	EndAction  int            `json:"end_action"`
	Elastic    bool           `json:"elasticity_type"`
	Rule       *int64         `json:"auto_recycle_rule_id,omitempty"`
	Background *int64         `json:"background_id,omitempty"`
	Bridge     *int64         `json:"bridge_group_id,omitempty"`
	Quality    any            `json:"llm_intention_id,omitempty"`
	Score      any            `json:"score_scheme_id,omitempty"`
	CallerLine string         `json:"caller_line_id,omitempty"`
	Extras     map[string]any `json:"task_extras"`
	Mark       string         `json:"mark"` // of the task as it was when this was written
}

// keptOf is what the door keeps of a task. What was sent is shown only while the task still is what it made:
// a task that another door made or changed since shows what it is.
func keptOf(t *waihu.Task, loc *time.Location) kept {
	k := kept{TaskType: 7, EndAction: int(t.EndAction)}
	if raw := t.Doors[Door]; len(raw) > 0 {
		var stored kept
		if decodeKept(raw, &stored) == nil {
			k = stored
		}
	}
	if k.Extras == nil || k.Mark != mark(t) {
		k.Extras = extrasOf(t, loc)
		k.EndAction, k.SwitchRule, k.CallRules, k.CallerLine, k.Switch = int(t.EndAction), nil, nil, "", nil
	}
	if k.Switch == nil { // not sent: what is in effect, whose numbers are the vendor's
		kind := int(t.Routing.Kind)
		k.Switch = &kind
	}
	if _, ok := k.Extras["work_hour"]; !ok {
		k.Extras["work_hour"] = workHours(t.Weekly)
	}
	if _, ok := k.Extras["work_week"]; !ok {
		k.Extras["work_week"] = workWeek(t.Weekly)
	}
	return k
}

func decodeKept(raw []byte, k *kept) error {
	v, err := decodeJSON(raw)
	if err != nil {
		return err
	}
	if object, ok := v.(map[string]any); ok {
		extras := object["task_extras"]
		if err := json.Unmarshal(raw, k); err != nil {
			return err
		}
		k.Quality, k.Score = object["llm_intention_id"], object["score_scheme_id"] // ids never pass through a float
		k.SwitchRule, _ = object["group_switch_rule"].([]any)
		k.CallRules, _ = object["new_call_rules"].([]any)
		k.Extras, _ = extras.(map[string]any)
	}
	return nil
}

// mark is a digest of what a body sets and an answer shows as it was sent.
func mark(t *waihu.Task) string {
	unix := func(at time.Time) int64 {
		if at.IsZero() {
			return 0
		}
		return at.Unix()
	}
	holidays := make([][2]int64, len(t.Holidays))
	for i, p := range t.Holidays {
		holidays[i] = [2]int64{unix(p.From), unix(p.To)}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%v %v %v %v %v %v %v %v %v %v %+v %+v %v", t.Agent, t.Concurrency, t.Lines, unix(t.Start), unix(t.Stop),
		t.HoursID, t.Weekly, holidays, t.Pop, t.Interval, t.Redial, t.Routing, t.EndAction))
	return hex.EncodeToString(sum[:8])
}

// extrasOf is task_extras of a task as it is.
func extrasOf(t *waihu.Task, loc *time.Location) map[string]any {
	lines, holidays := []any{}, []any{}
	for _, l := range t.Lines {
		lines = append(lines, map[string]any{"id": l.Line, "limit": l.Limit})
	}
	for _, p := range t.Holidays {
		holidays = append(holidays, holidayShown(p, loc))
	}
	x := map[string]any{
		"start_time": stampOrNull(t.Start, loc), "stop_time": stampOrNull(t.Stop, loc), "line": lines, "holiday": holidays,
		"work_hour": workHours(t.Weekly), "work_week": workWeek(t.Weekly), "pop_mode": int(t.Pop), "interval_time": int(t.Interval / time.Second),
		"redial_enabled": redialEnabled(t), "redial_new_number_policy": t.Redial.NewFirst, "redial_interval": int(t.Redial.Interval / time.Minute),
		"redial_max_times": t.Redial.Max, "redial_conditions": redialConditions(t),
	}
	switch r := t.Routing; r.Kind {
	case waihu.RouteByTime:
		list := []any{}
		for _, e := range r.ByTime {
			list = append(list, map[string]any{"begin": clockText(e.Span.From), "end": clockText(e.Span.To), "destination_extension": e.Agent})
		}
		x["destination_extension_list"] = list
	case waihu.RouteByVariable:
		list := []any{}
		for _, e := range r.ByVar {
			mode := 0
			if e.Equal {
				mode = 1
			}
			list = append(list, map[string]any{"mode": mode, "values": orEmpty(e.Values), "destination_extension": e.Agent, "sort": e.Sort})
		}
		x["destination_extension_with_variable_list"] = list
	case waihu.RouteSeveral, waihu.RouteByAttempt:
		list, mode := []any{}, 0
		for _, e := range r.Several {
			list = append(list, map[string]any{"destination_extension": e.Agent, "sort": e.Sort})
		}
		if r.Randomly {
			mode = 1
		}
		x["destination_extension_multi_config"] = map[string]any{"dial_mode": mode, "list": list}
	}
	return x
}

func redialEnabled(t *waihu.Task) bool {
	return t.Redial.Max > 0 || len(t.Redial.AtClock) > 0
}

func redialConditions(t *waihu.Task) map[string]any {
	codes := []int{}
	for code := range statusNames {
		for _, d := range t.Redial.On {
			if int(d) == code {
				codes = append(codes, code)
			}
		}
	}
	return map[string]any{"hangup_cause": nil, "da_status": codes}
}

// taskRow is a task in lists. The page shows columns of the vendor's switch; those that mean nothing here are
// the constants of its example.
type taskRow struct {
	UUID                 waihu.TaskID    `json:"uuid"`
	ID                   waihu.TaskID    `json:"id"`
	Name                 string          `json:"name"`
	Created              string          `json:"create_datetime"`
	Altered              string          `json:"alter_datetime"`
	Start                int             `json:"start"`
	Enable               bool            `json:"enable"`
	Maximumcall          int             `json:"maximumcall"`
	CallPerSecond        int             `json:"call_per_second"`
	RecycleLimit         int             `json:"recycle_limit"`
	RandomAssignment     int             `json:"random_assignment_number"`
	DisableDialTimegroup any             `json:"disable_dial_timegroup"`
	DialTimeID           int64           `json:"dial_time_id"`
	DestinationExtension waihu.AgentID   `json:"destination_extension"`
	DestinationDialplan  string          `json:"destination_dialplan"`
	DestinationContext   string          `json:"destination_context"`
	SchedulingRatio      any             `json:"scheduling_policy_ratio"`
	SchedulingQueue      any             `json:"scheduling_queue"`
	DialFormat           string          `json:"dial_format"`
	Domain               any             `json:"domain"`
	Remark               any             `json:"remark"`
	Sort                 int             `json:"sort"`
	OriginateVariables   string          `json:"originate_variables"`
	OriginateTimeout     int             `json:"_originate_timeout"`
	OriginationCaller    string          `json:"_origination_caller_id_number"`
	UserID               waihu.AccountID `json:"user_id"`
	CallerLineID         any             `json:"caller_line_id"`
	AutoRecycleRuleID    *int64          `json:"auto_recycle_rule_id"`
	ClueConfigurationID  any             `json:"clue_configuration_id"`
	DeletedAt            any             `json:"deleted_at"`
	CallNotifyURL        string          `json:"call_notify_url"`
	TaskType             int             `json:"task_type"`
	Status               int             `json:"status"`
	StatusStr            string          `json:"status_str"`
	CallStatus           bool            `json:"call_status"`
	NewTaskExtra         map[string]any  `json:"new_task_extra"`
}

// originateTimeout is the vendor's constant when the task leaves ringing to its trunk.
const originateTimeout = 60

func rowOf(t *waihu.Task, calling bool, loc *time.Location) taskRow {
	k := keptOf(t, loc)
	status, text := taskState(t.Started, calling)
	r := taskRow{UUID: t.ID, ID: t.ID, Name: t.Name, Created: stamp(t.CreatedAt, loc), Altered: stamp(t.UpdatedAt, loc), Enable: t.Started,
		Maximumcall: t.Concurrency, CallPerSecond: 10, DialTimeID: t.HoursID, DestinationExtension: t.Agent, DestinationDialplan: "XML",
		DestinationContext: "default", Remark: textOrNull(t.Remark), OriginateTimeout: ringSeconds(t), UserID: t.Account,
		CallerLineID: textOrNull(k.CallerLine), AutoRecycleRuleID: k.Rule, TaskType: k.TaskType, Status: status, StatusStr: text, CallStatus: calling,
		NewTaskExtra: newTaskExtra(t, &k, calling, loc)}
	return r
}

func ringSeconds(t *waihu.Task) int {
	if t.RingTimeout > 0 {
		return int(t.RingTimeout / time.Second)
	}
	return originateTimeout
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// newTaskExtra is the task at the dialler: what is in effect, in the types that integrators read back. Lines that were
// sent as ids are ids here too, as the page of the older generation shows them.
func newTaskExtra(t *waihu.Task, k *kept, calling bool, loc *time.Location) map[string]any {
	x := extrasOf(t, loc)
	if sent, ok := k.Extras["line"].([]any); ok && !slices.ContainsFunc(sent, func(v any) bool { _, id := v.(string); return !id }) {
		x["line"] = sent
	}
	x["work_hour"] = effectiveHours(t.Weekly)
	x["id"], x["name"], x["enable"], x["limit"], x["cps"] = t.ID, t.Name, t.Started, t.Concurrency, 1
	x["destination_extension"], x["blacklist"], x["call_status"], x["call_info"] = t.Agent, "", calling, []any{}
	x["plan_stop_code"], x["account_id"] = 0, t.Account
	return x
}

// effectiveHours is workHours with the vendor's "-1" when every day has the same hours.
func effectiveHours(w waihu.Weekly) []any {
	same := true
	for _, day := range w {
		same = same && fmt.Sprint(day) == fmt.Sprint(w[0])
	}
	out := []any{}
	if same {
		for _, s := range w[0] {
			out = append(out, map[string]any{"wday": "-1", "begin": clockText(s.From), "end": clockText(s.To)})
		}
		return out
	}
	for _, h := range workHours(w) {
		out = append(out, h)
	}
	return out
}

// editOf is the whole of a task: data of the edit route.
func (c *request) editOf(ctx context.Context, t *waihu.Task) (map[string]any, error) {
	counts, err := c.s.Store.Counts(ctx, t.Account, t.ID)
	if err != nil {
		return nil, c.noTask(err)
	}
	agent, err := c.agentName(t.Agent)
	if err != nil {
		return nil, err
	}
	calling, numbers := counts.State[waihu.NumberInFlight] > 0, 0
	for _, n := range counts.State[:waihu.NumberRemoved] {
		numbers += n
	}
	k := keptOf(t, c.loc)
	var lineName any
	if k.CallerLine != "" {
		line, err := c.s.Store.Line(ctx, t.Account, waihu.LineID(k.CallerLine))
		if err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
			return nil, err
		}
		lineName = textOrNull(line.Name)
	}
	status, text := taskState(t.Started, calling)
	dialler := newTaskExtra(t, &k, calling, c.loc)
	dialler["number_count"] = numbers
	return map[string]any{
		"id": t.ID, "uuid": t.ID, "user_id": t.Account, "name": t.Name, "remark": textOrNull(t.Remark),
		"maximumcall": t.Concurrency, "recycle_limit": 0, "random_assignment_number": 0, "_originate_timeout": ringSeconds(t),
		"destination_extension": t.Agent, "destination_extension_name": agent,
		"caller_line_id": textOrNull(k.CallerLine), "caller_line_name": lineName,
		"bridge_group_id": k.Bridge, "auto_recycle_rule_id": k.Rule, "dial_time_id": t.HoursID, "end_action": k.EndAction,
		"llm_intention_id": k.Quality, "score_scheme_id": k.Score, "background_id": k.Background,
		"elasticity_task": k.Elastic, "elasticity_type": k.Elastic,
		"status": status, "status_str": text, "enable": t.Started, "call_status": calling,
		"task_type": k.TaskType, "group_type": textOrNull(k.GroupType), "enable_type": k.EnableType, "is_call_in": k.IsCallIn,
		"is_group_switch": k.Switch, "group_switch_rule": orEmpty(k.SwitchRule), "new_call_rules": orEmpty(k.CallRules),
		"created_at": stamp(t.CreatedAt, c.loc), "updated_at": stamp(t.UpdatedAt, c.loc),
		"new_task_extra": dialler, "task_extras": k.Extras,
	}, nil
}

// agentName is an agent's name; "" when it is gone.
func (c *request) agentName(id waihu.AgentID) (string, error) {
	a, err := c.s.Store.Agent(c.ctx, c.acts.ID, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return "", nil
	}
	return a.Name, err
}

// scriptID is a script-group id as the int that answers show, or as text when it is none.
func scriptID(id waihu.AgentID) any {
	if n, err := strconv.ParseInt(string(id), 10, 64); err == nil && strconv.FormatInt(n, 10) == string(id) {
		return n
	}
	return id
}
