package yunfu

import (
	"slices"
	"time"

	"waihu"
)

// The values of is_group_switch.
const (
	switchNone = iota
	switchByTime
	switchByVariable
	switchSeveral
)

// routing reads which script talks. A kind without its list talks with destination_extension.
func (b *taskBody) routing() {
	f := b.form
	kindNode := f.get("is_group_switch", "is_switch_group") // the second is a misprint that clients copied
	kind := kindNode.number(switchNone, switchSeveral)
	slices := f.get("group_switch_rule")
	oldSlices := b.oldTimeRoutes(slices)
	byTime := b.timeRoutes()
	byVariable := b.variableRoutes()
	several, randomly := b.severalRoutes()
	if kindNode.blank() && len(slices.list()) > 0 {
		kind = switchByTime
	}
	if !kindNode.blank() {
		b.kept.Switch = &kind
	}
	r := waihu.Routing{}
	switch kind {
	case switchByTime:
		switch {
		case len(byTime) > 0: // where both are sent the new list counts
			r = waihu.Routing{Kind: waihu.RouteByTime, ByTime: b.checked(byTime)}
		case len(oldSlices) > 0:
			r = waihu.Routing{Kind: waihu.RouteByTime, ByTime: b.checked(oldSlices)}
			if first := slices.list()[0].object().get("default_group_id"); !first.blank() {
				r.Default = b.agent(first)
			}
		}
	case switchByVariable:
		if len(byVariable) > 0 {
			r.Kind = waihu.RouteByVariable
			for _, v := range byVariable {
				v.route.Agent = b.agent(v.agent)
				r.ByVar = append(r.ByVar, v.route)
			}
		}
	case switchSeveral:
		if len(several) > 0 {
			r.Kind, r.Randomly = waihu.RouteSeveral, randomly
			for _, v := range several {
				r.Several = append(r.Several, waihu.SeveralRoute{Agent: b.agent(v.agent), Sort: v.sort})
			}
		}
	}
	b.t.Routing = r
}

// A route whose script is not yet known to exist: lists that are not in effect are checked in form only.
type timeRoute struct {
	span  waihu.Span
	agent node
}

type variableRoute struct {
	route waihu.VariableRoute
	agent node
}

type severalRoute struct {
	sort  int
	agent node
}

func (b *taskBody) checked(list []timeRoute) (out []waihu.TimeRoute) {
	for _, r := range list {
		out = append(out, waihu.TimeRoute{Span: r.span, Agent: b.agent(r.agent)})
	}
	return out
}

// span reads a part of the day; an end before the begin is over midnight.
func span(n, begin, end node) waihu.Span {
	s := waihu.Span{From: begin.need("开始时间").clock(), To: end.need("结束时间").clock()}
	if s.From == s.To {
		n.fail("开始时间与结束时间不能相同")
	}
	return s
}

func (b *taskBody) timeRoutes() (out []timeRoute) {
	n := b.extra("destination_extension_list")
	shown := []any{}
	for _, n := range n.list() {
		e := n.object()
		r := timeRoute{span(n, e.get("begin", "start"), e.get("end")), e.get("destination_extension").need("话术分组 id")}
		out = append(out, r)
		shown = append(shown, map[string]any{"begin": clockText(r.span.From), "end": clockText(r.span.To), "destination_extension": scalar(r.agent)})
	}
	if n.v != nil {
		b.shown["destination_extension_list"] = shown
	}
	return out
}

func (b *taskBody) oldTimeRoutes(n node) (out []timeRoute) {
	shown := []any{}
	for _, n := range n.list() {
		e := n.object()
		r := timeRoute{span(n, e.get("switch_start"), e.get("switch_end")), e.get("group_id").need("话术分组 id")}
		out = append(out, r)
		shown = append(shown, map[string]any{"switch_start": clockText(r.span.From), "switch_end": clockText(r.span.To),
			"group_id": scalar(r.agent), "default_group_id": scalar(e.get("default_group_id"))})
	}
	if n.v != nil {
		b.kept.SwitchRule = shown
	}
	return out
}

func (b *taskBody) variableRoutes() (out []variableRoute) {
	n := b.extra("destination_extension_with_variable_list")
	list := n.list()
	if len(list) > maxVariables {
		n.fail("最多配置 %d 个变量话术组,收到 %d 个", maxVariables, len(list))
		return nil
	}
	shown := []any{}
	for _, n := range list {
		e := n.object()
		values, mode := e.get("values"), e.get("mode").number(0, 1)
		r := variableRoute{waihu.VariableRoute{Equal: mode == 1, Sort: e.get("sort").number(-1<<31, 1<<31-1)},
			e.get("destination_extension").need("话术分组 id")}
		for _, v := range values.list() {
			word := v.need("关键词").short(200)
			if slices.Contains(r.route.Values, word) {
				v.fail("关键词重复")
			}
			r.route.Values = append(r.route.Values, word)
		}
		if len(r.route.Values) > maxKeywords {
			values.fail("关键词最多 %d 个,收到 %d 个", maxKeywords, len(r.route.Values))
		}
		out = append(out, r)
		shown = append(shown, map[string]any{"mode": mode, "values": orEmpty(r.route.Values),
			"destination_extension": scalar(r.agent), "sort": r.route.Sort})
	}
	if n.v != nil {
		b.shown["destination_extension_with_variable_list"] = shown
	}
	return out
}

func (b *taskBody) severalRoutes() (out []severalRoute, randomly bool) {
	n := b.extra("destination_extension_multi_config")
	if n.v == nil {
		return nil, false
	}
	e := n.object()
	mode := e.get("dial_mode").number(0, 1)
	shown := []any{}
	for i, n := range e.get("list").list() {
		e := n.object()
		sort := e.get("sort")
		r := severalRoute{i, e.get("destination_extension").need("话术分组 id")} // without sort: list order
		if !sort.blank() {
			r.sort = sort.number(-1<<31, 1<<31-1)
		}
		out = append(out, r)
		shown = append(shown, map[string]any{"destination_extension": scalar(r.agent), "sort": r.sort})
	}
	b.shown["destination_extension_multi_config"] = map[string]any{"dial_mode": mode, "list": shown}
	return out, mode == 1
}

// redial reads the three forms: redial_enabled, when it is there, decides alone; else new_call_rules; else
// auto_recycle_rule_id. All are checked, whichever counts.
func (b *taskBody) redial() {
	fixed, decides := b.fixedRedial()
	clocks := b.clockRedial()
	rule := b.ruleRedial()
	newFirst := b.extra("redial_new_number_policy")
	b.t.Redial = waihu.Redial{}
	switch {
	case decides:
		b.t.Redial = fixed
	case len(clocks) > 0:
		b.t.Redial.AtClock = clocks
	case rule != nil:
		b.t.Redial.Max = ruleRedials
		for _, d := range rule.Details {
			for _, on := range redialOn(int(d.On)) {
				b.t.Redial.ByRule = append(b.t.Redial.ByRule, waihu.RedialDetail{On: on, After: d.After})
			}
		}
	}
	b.t.Redial.NewFirst = newFirst.flag()
	if newFirst.v != nil {
		b.shown["redial_new_number_policy"] = flagAsSent(newFirst)
	}
}

func (b *taskBody) fixedRedial() (r waihu.Redial, decides bool) {
	enabled, interval, times := b.extra("redial_enabled"), b.extra("redial_interval"), b.extra("redial_max_times")
	minutes, most := interval.number(0, maxRedialMinutes), times.number(0, maxRedials)
	codes, sent := b.redialCodes()
	for _, n := range []struct {
		node
		name  string
		value any
	}{{enabled, "redial_enabled", flagAsSent(enabled)}, {interval, "redial_interval", minutes}, {times, "redial_max_times", most}} {
		if n.v != nil {
			b.shown[n.name] = n.value
		}
	}
	if sent {
		b.shown["redial_conditions"] = map[string]any{"hangup_cause": nil, "da_status": orEmpty(codes)}
	}
	if enabled.blank() {
		return r, false
	}
	if !enabled.flag() || most == 0 {
		return r, true
	}
	if !sent {
		codes = sampleRedialOn
	}
	r = waihu.Redial{Max: most, Interval: time.Duration(minutes) * time.Minute}
	for _, code := range codes {
		for _, d := range redialOn(code) {
			if !slices.Contains(r.On, d) {
				r.On = append(r.On, d)
			}
		}
	}
	return r, true
}

// redialCodes reads redial_conditions as an object, as a list of objects or as a bare list of codes, and
// da_status beside it, which the table names; of both the nested one counts.
func (b *taskBody) redialCodes() (codes []int, sent bool) {
	conditions := b.extra("redial_conditions").unwrapped()
	var lists []node
	if object, ok := conditions.v.(map[string]any); ok {
		if _, indexed := asList(object); !indexed {
			lists = append(lists, conditions.get("da_status"))
		}
	}
	if lists == nil {
		bare := false
		for _, n := range conditions.list() {
			if _, ok := n.v.(map[string]any); ok {
				lists = append(lists, n.get("da_status"))
			} else {
				bare = true
			}
		}
		if bare {
			lists = []node{conditions}
		}
	}
	if !slices.ContainsFunc(lists, func(n node) bool { return n.v != nil }) {
		lists = []node{b.extra("da_status")}
	}
	sent = conditions.v != nil || b.extra("da_status").v != nil
	for _, list := range lists {
		for _, n := range list.words() {
			if code := n.status(); !slices.Contains(codes, code) {
				codes = append(codes, code)
			}
		}
	}
	return codes, sent
}

// callClocks are the times of the day at which new_call_rules may dial, in seconds, bounds included.
var callClocks = [2][2]int{{10 * 3600, 11 * 3600}, {13 * 3600, 22 * 3600}}

func (b *taskBody) clockRedial() (out []waihu.ClockRedial) {
	n := b.form.get("new_call_rules").or(b.extras.get("new_call_rules"))
	shown := []any{}
	for _, n := range n.list() {
		e := n.object()
		at, wait, ruleID := e.get("re_call_time"), e.get("call_interval"), e.get("rule_id")
		c := waihu.ClockRedial{At: callClock(at), Wait: time.Duration(wait.number(0, 7*24*60)) * time.Minute}
		if rule := b.rule(ruleID); rule != nil {
			for _, d := range rule.Details {
				c.On = append(c.On, redialOn(int(d.On))...)
			}
		} else {
			for _, code := range sampleRedialOn {
				c.On = append(c.On, redialOn(code)...)
			}
		}
		out = append(out, c)
		shown = append(shown, map[string]any{"re_call_time": scalar(at), "call_interval": int(c.Wait.Minutes()), "rule_id": scalar(ruleID)})
	}
	if n.v != nil {
		b.kept.CallRules = shown
	}
	return out
}

// callClock is re_call_time in minutes; -1, no clock, when it is left out.
func callClock(n node) int {
	if n.blank() {
		return -1
	}
	text := n.text()
	secs, ok := parseSeconds(text)
	if when, dated := parseTime(text, time.UTC, false); !ok && dated { // the page types it as a date
		secs, ok = when.Hour()*3600+when.Minute()*60+when.Second(), true
	}
	if !ok {
		n.fail("时间格式不正确,应为 HH:MM:SS")
	} else if !slices.ContainsFunc(callClocks[:], func(c [2]int) bool { return c[0] <= secs && secs <= c[1] }) {
		n.fail("重呼执行时间应在 10:00:00-11:00:00 或 13:00:00-22:00:00 之间")
	}
	return secs / 60
}

func (b *taskBody) ruleRedial() *waihu.RedialRule {
	n := b.form.get("auto_recycle_rule_id")
	rule := b.rule(n)
	if rule != nil {
		b.kept.Rule = &rule.ID
	}
	return rule
}

// rule is the named redial rule; nil when none is named.
func (b *taskBody) rule(n node) *waihu.RedialRule {
	if n.blank() || n.text() == "0" {
		return nil
	}
	id := n.int64()
	if b.form.err() != nil {
		return nil
	}
	rule, err := b.s.Store.RedialRule(b.ctx, b.acts.ID, id)
	if !b.found(n, "重呼规则", err) {
		return nil
	}
	return &rule
}
