package yunfu

import (
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
)

type object = map[string]any

func holiday(keys ...string) []any {
	return []any{object{keys[0]: "2025-10-01 13:25", "end": "2025/10/3 13:25"}}
}

// TestAccepted is one row per row of the contract's sections 7 and 12 that says how a body is to be read.
func TestAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := func(s string) time.Time {
		v, ok := parseTime(s, waihu.Location(""), false)
		if !ok {
			t.Fatal(s)
		}
		return v
	}
	fixed := func(changes ...any) []any {
		return append([]any{"task_extras.redial_enabled", 1, "task_extras.redial_interval", 3, "task_extras.redial_max_times", 2}, changes...)
	}
	on := func(want ...waihu.Disposition) func(k waihu.Task) bool {
		return func(k waihu.Task) bool { return slices.Equal(k.Redial.On, want) }
	}
	rule4 := []waihu.RedialDetail{{On: waihu.NoAnswer, After: time.Hour}, {On: waihu.Unreachable, After: time.Hour}}
	slots := []any{object{"switch_start": "09:00", "switch_end": "12:00", "group_id": 13037, "default_group_id": 102}}
	times := []any{object{"begin": "09:00", "end": "12:00", "destination_extension": "215870475195883520"}}
	period := waihu.Period{From: at("2025-10-01 13:25:00"), To: at("2025-10-03 13:25:00")}
	for _, c := range []struct {
		name    string
		changes []any
		good    func(k waihu.Task) bool
	}{
		{"7.1 holiday with begin", []any{"task_extras.holiday", holiday("begin")}, func(k waihu.Task) bool { return sameTimes(k.Holidays, period) }},
		{"7.1 holiday with start", []any{"task_extras.holiday", holiday("start")}, func(k waihu.Task) bool { return sameTimes(k.Holidays, period) }},
		{"12.7 several holidays", []any{"task_extras.holiday", append(holiday("start"), holiday("begin")...)}, func(k waihu.Task) bool { return len(k.Holidays) == 2 }},
		{"7.2 redial_conditions as object", fixed("task_extras.redial_conditions", object{"da_status": []int{6}}), on(waihu.PoweredOff)},
		{"7.2 redial_conditions as list of objects", fixed("task_extras.redial_conditions", []any{object{"da_status": []int{6}}}), on(waihu.PoweredOff)},
		{"7.2 redial_conditions as bare list", fixed("task_extras.redial_conditions", []int{6, 8}), on(waihu.PoweredOff, waihu.Busy)},
		{"7.3 da_status in task_extras", fixed("task_extras.da_status", []string{"6"}), on(waihu.PoweredOff)},
		{"12.2 both lists: the nested one", fixed("task_extras.da_status", []int{6}, "task_extras.redial_conditions", object{"da_status": []int{8}}), on(waihu.Busy)},
		{"7.3 an empty object beside da_status", fixed("task_extras.da_status", []int{6}, "task_extras.redial_conditions", []any{}), on(waihu.PoweredOff)},
		{"7.4 codes without a redial", fixed("task_extras.da_status", []int{0, 1, 11, 5}), on(waihu.Vacant)},
		{"7.4 English words", fixed("task_extras.da_status", []string{"power off", "Busy now"}), on(waihu.PoweredOff, waihu.Busy)},
		{"4 is unreachable too", fixed("task_extras.da_status", []int{4}), on(waihu.NoAnswer, waihu.Unreachable)},
		{"no list: that of the samples", fixed(), on(waihu.Intercepted, waihu.Rejected, waihu.NoAnswer, waihu.Unreachable, waihu.PoweredOff, waihu.Busy, waihu.Barred, waihu.Blocked)},
		{"an empty list: nothing", fixed("task_extras.redial_conditions", object{"da_status": []int{}}), func(k waihu.Task) bool { return len(k.Redial.On) == 0 && k.Redial.Max == 2 }},
		{"7.5 task_extras as list of one", []any{"task_extras", []any{body("task_extras.pop_mode", 2)["task_extras"]}}, func(k waihu.Task) bool { return k.Pop == waihu.PopReverse }},
		{"7.6 lines as ids", []any{"task_extras.line", []any{lineOne, lineSub}}, lines(lineOne, 1, lineSub, 1)},
		{"7.6 lines as objects", []any{"task_extras.line", []any{object{"id": lineMain, "limit": "2"}}}, lines(lineMain, 2)},
		{"7.6 an object without limit", []any{"task_extras.line", []any{object{"id": lineMain}}}, lines(lineMain, 2)},
		{"7.6 no key", []any{"task_extras.line", nil, "task_extras.holiday", nil}, lines()},
		{"12.2 line at top level", []any{"task_extras.line", nil, "line", []any{lineMain}}, lines(lineMain, 2)},
		{"12.2 task_extras wins", []any{"line", []any{lineMain}}, lines()},
		{"12.2 interval_time at top level", []any{"interval_time", 4}, func(k waihu.Task) bool { return k.Interval == 4*time.Second }},
		{"12.2 interval_time in both", []any{"interval_time", 4, "task_extras.interval_time", 5}, func(k waihu.Task) bool { return k.Interval == 5*time.Second }},
		{"12.10 sum below maximumcall", []any{"maximumcall", 5, "task_extras.line", []any{object{"id": lineMain, "limit": 2}}}, lines(lineMain, 2)},
		{"12.9 no line, one call", []any{"maximumcall", 1}, lines()},
		{"12.9 no line, no residue check", []any{"maximumcall", 999}, lines()},
		{"7.7 flags as bools", []any{"task_extras.redial_enabled", true, "task_extras.redial_max_times", 1, "task_extras.redial_new_number_policy", true},
			func(k waihu.Task) bool { return k.Redial.Max == 1 && k.Redial.NewFirst }},
		{"7.7 flags as words", []any{"task_extras.redial_enabled", "FALSE", "task_extras.redial_max_times", 1, "task_extras.redial_new_number_policy", "True", "elasticity_type", "FALSE", "end_action", 1},
			func(k waihu.Task) bool {
				return !redialEnabled(&k) && k.Redial.NewFirst && k.EndAction == waihu.EndPause
			}},
		{"7.8 a script id as text", []any{"destination_extension", "215870475195883520"}, func(k waihu.Task) bool { return k.Agent == "215870475195883520" }},
		{"7.8 a long script id as int", []any{"destination_extension", json.Number("215870475195883520")}, func(k waihu.Task) bool { return k.Agent == "215870475195883520" }},
		{"7.9 is_switch_group", []any{"is_switch_group", 1, "task_extras.destination_extension_list", times}, byTime("215870475195883520", "")},
		{"7.24 both time lists: the new one", []any{"is_group_switch", 1, "group_switch_rule", slots, "task_extras.destination_extension_list", times}, byTime("215870475195883520", "")},
		{"12.15 only the old list", []any{"is_group_switch", 1, "group_switch_rule", slots}, byTime("13037", "102")},
		{"12.15 the old list without a switch", []any{"group_switch_rule", slots}, byTime("13037", "102")},
		{"12.15 switch 0 beside a list", []any{"is_group_switch", 0, "group_switch_rule", slots}, single},
		{"12.15 switch 1 without a list", []any{"is_group_switch", 1}, single},
		{"12.15 switch 2 without a list", []any{"is_group_switch", 2, "task_extras.destination_extension_with_variable_list", []any{}}, single},
		{"12.15 switch 3 without a list", []any{"is_group_switch", 3}, single},
		{"12.15 a new list without a switch", []any{"task_extras.destination_extension_list", times}, single},
		{"12.16 over midnight", []any{"is_group_switch", 1, "task_extras.destination_extension_list", []any{object{"begin": "22:00", "end": "02:00", "destination_extension": 11}}},
			func(k waihu.Task) bool { return k.Routing.ByTime[0].Span == (waihu.Span{From: 1320, To: 120}) }},
		{"12.17 by variable", []any{"is_group_switch", 2, "task_extras.destination_extension_with_variable_list", []any{
			object{"mode": 1, "values": []string{"男", "男的"}, "destination_extension": 11, "sort": 1}, object{"mode": "0", "values": "女", "destination_extension": "12"}}},
			func(k waihu.Task) bool {
				return reflect.DeepEqual(k.Routing.ByVar, []waihu.VariableRoute{{Equal: true, Values: []string{"男", "男的"}, Agent: "11", Sort: 1}, {Values: []string{"女"}, Agent: "12"}})
			}},
		{"12.17 a hundred entries of ten words", []any{"is_group_switch", 2, "task_extras.destination_extension_with_variable_list", variables(100, 10)},
			func(k waihu.Task) bool { return len(k.Routing.ByVar) == 100 && len(k.Routing.ByVar[99].Values) == 10 }},
		{"12.18 several in turn", []any{"is_group_switch", 3, "task_extras.destination_extension_multi_config", object{"dial_mode": 0,
			"list": []any{object{"destination_extension": "13601", "sort": 2}, object{"destination_extension": "13716", "sort": 1}}}},
			func(k waihu.Task) bool {
				return !k.Routing.Randomly && reflect.DeepEqual(k.Routing.Several, []waihu.SeveralRoute{{Agent: "13601", Sort: 2}, {Agent: "13716", Sort: 1}})
			}},
		{"12.18 several at random, no sort", []any{"is_group_switch", 3, "task_extras.destination_extension_multi_config", object{"dial_mode": 1,
			"list": []any{object{"destination_extension": 13601}, object{"destination_extension": 13716}}}},
			func(k waihu.Task) bool {
				return k.Routing.Randomly && k.Routing.Several[0].Sort == 0 && k.Routing.Several[1].Sort == 1
			}},
		{"7.27 a script of a list that is not in effect", []any{"is_group_switch", 0, "task_extras.destination_extension_list", []any{object{"begin": "09:00", "end": "10:00", "destination_extension": 424242}}}, single},
		{"12.1 no generation", []any{"task_type", 4, "group_type", "group", "enable_type", 2, "is_call_in", 0, "group_switch_rule", []any{}}, single},
		{"7.26 table dates", []any{"task_extras.start_time", "2024/11/1 13:25", "task_extras.stop_time", "2025/11/1 13:25"},
			func(k waihu.Task) bool {
				return k.Start.Equal(at("2024-11-01 13:25:00")) && k.Stop.Equal(at("2025-11-01 13:25:00"))
			}},
		{"12.6 a window that is over", []any{"task_extras.stop_time", "2025-01-01 00:00:00"}, func(k waihu.Task) bool { return k.Stop.Equal(at("2025-01-01 00:00:00")) }},
		{"7.21 wday as text, every day", []any{"task_extras.work_hour", []any{object{"wday": "-1", "begin": "10:00", "end": "11:00"}}},
			func(k waihu.Task) bool {
				return reflect.DeepEqual(k.Weekly[0], []waihu.Span{{From: 600, To: 660}}) && len(k.Weekly[6]) == 1
			}},
		{"7.21 wday as int, Sunday", []any{"task_extras.work_hour", []any{object{"wday": 0, "begin": "10:00", "end": "24:00"}}},
			func(k waihu.Task) bool { return len(k.Weekly[0]) == 1 && len(k.Weekly[1]) == 0 }},
		{"7.21 wday 7 is Sunday too", []any{"task_extras.work_hour", []any{object{"wday": 7, "begin": "10:00", "end": "24:00"}}},
			func(k waihu.Task) bool { return len(k.Weekly[0]) == 1 && len(k.Weekly[1]) == 0 }},
		{"12.7 work_week keeps the group's hours", []any{"dial_time_id", 1, "task_extras.work_week", []any{1, "2", 0}},
			func(k waihu.Task) bool {
				return len(k.Weekly[0]) == 2 && len(k.Weekly[2]) == 2 && len(k.Weekly[3]) == 0
			}},
		{"12.7 empty ones take the group's", []any{"dial_time_id", 1, "task_extras.work_week", []any{}, "task_extras.work_hour", []any{}},
			func(k waihu.Task) bool {
				return k.HoursID == 1 && len(k.Weekly[6]) == 2 && k.Weekly[6][1] == (waihu.Span{From: 780, To: 1080})
			}},
		{"7.28 a quality check as UUID", []any{"llm_intention_id", "1b0c-uuid"}, single},
		{"12.19 no times", []any{"task_extras.redial_enabled", 1, "task_extras.redial_interval", 60}, func(k waihu.Task) bool { return !redialEnabled(&k) }},
		{"12.19 the bounds", []any{"task_extras.redial_enabled", 1, "task_extras.redial_interval", 60, "task_extras.redial_max_times", 3},
			func(k waihu.Task) bool { return k.Redial.Max == 3 && k.Redial.Interval == time.Hour }},
		{"12.21 a rule", []any{"auto_recycle_rule_id", "15486"}, func(k waihu.Task) bool {
			return reflect.DeepEqual(k.Redial.ByRule, rule4) && k.Redial.Max == ruleRedials
		}},
		{"12.21 by the clock", []any{"auto_recycle_rule_id", 1, "new_call_rules", []any{object{"re_call_time": "10:00:00", "call_interval": 60, "rule_id": 15486}, object{"re_call_time": "22:00:00"}}},
			func(k waihu.Task) bool {
				a := k.Redial.AtClock
				return len(a) == 2 && len(k.Redial.ByRule) == 0 && a[0].At == 600 && a[0].Wait == time.Hour &&
					slices.Equal(a[0].On, []waihu.Disposition{waihu.NoAnswer, waihu.Unreachable}) && a[1].At == 1320 && len(a[1].On) == 8
			}},
		{"12.21 without a clock", []any{"new_call_rules", []any{object{"call_interval": 30}}}, func(k waihu.Task) bool {
			return k.Redial.AtClock[0].At == -1 && k.Redial.AtClock[0].Wait == 30*time.Minute
		}},
		{"12.21 redial_enabled decides alone", []any{"task_extras.redial_enabled", 0, "auto_recycle_rule_id", 1, "new_call_rules", []any{object{"re_call_time": "13:00:00"}}},
			func(k waihu.Task) bool { return !redialEnabled(&k) && len(k.Redial.ByRule) == 0 }},
		{"12.22 no pop_mode", []any{"task_extras.pop_mode", nil}, func(k waihu.Task) bool { return k.Pop == waihu.PopRandom }},
		{"numbers as texts", []any{"maximumcall", "2", "dial_time_id", "5", "task_extras.pop_mode", "2"}, func(k waihu.Task) bool { return k.HoursID == 5 && k.Pop == waihu.PopReverse }},
		{"a background of 0 is none", []any{"background_id", 0, "auto_recycle_rule_id", 0}, single},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.TB = t
			k := w.create(c.changes...)
			if !c.good(k) {
				raw, _ := json.Marshal(k)
				t.Errorf("the task is %s", raw)
			}
			// What PUT makes of it is the same.
			w.ok("PUT", new2+"/task/"+string(k.ID), body(c.changes...))
			again, err := w.Task(t.Context(), mainUser, k.ID)
			if err != nil || !c.good(again) {
				t.Errorf("after PUT: %+v, %v", again, err)
			}
		})
	}
}

// TestMixedLines: a line without a limit takes its even share beside one with.
func TestMixedLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(w.UpsertLine(t.Context(), waihu.Line{ID: "mixed", Account: mainUser, Name: "混合", Concurrency: 3, Trunk: waihu.Trunk{URI: "sip:x"}}))
	k := w.create("maximumcall", 4, "task_extras.line", []any{object{"id": lineMain, "limit": 2}, "mixed"})
	if !lines(lineMain, 2, "mixed", 2)(k) {
		t.Errorf("lines %+v", k.Lines)
	}
}

// TestLinesShown: lines are read back in the form in which they were sent, by whatever name: a client of one generation
// cannot decode the other's.
func TestLinesShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	whole := object{"id": lineMain, "limit": 2}
	for _, c := range []struct{ sent, shown, effect []any }{
		{[]any{lineMain}, []any{lineMain}, []any{lineMain}},
		{[]any{whole}, []any{whole}, []any{whole}},
		{[]any{object{"id": lineMain}}, []any{whole}, []any{whole}},
		{[]any{object{"id": lineMain, "limit": 1}, lineOne}, []any{object{"id": lineMain, "limit": 1}, lineOne}, []any{object{"id": lineMain, "limit": 1}, object{"id": lineOne, "limit": 1}}},
		{[]any{}, []any{}, []any{}},
	} {
		id := w.create("task_extras.line", c.sent).ID
		r := w.ok("GET", new2+"/task/"+string(id)+"/edit", nil)
		if shown := r.at("task_extras", "line"); !reflect.DeepEqual(shown, tree(t, c.shown)) {
			t.Errorf("%v is shown as %v", c.sent, shown)
		}
		list := w.ok("GET", new2+"/task?per_page=1", nil)
		if dialler := r.at("new_task_extra", "line"); !reflect.DeepEqual(dialler, tree(t, c.effect)) || !reflect.DeepEqual(list.at(0, "new_task_extra", "line"), dialler) {
			t.Errorf("%v is in effect as %v, in the list %s", c.sent, dialler, list.raw)
		}
	}
	// Another door's change is shown whole.
	k := w.create("task_extras.line", []any{lineMain})
	k.Concurrency, k.Lines = 5, []waihu.TaskLine{{Line: lineMain, Limit: 5}}
	w.must(w.UpdateTask(t.Context(), &k))
	if r := w.ok("GET", new2+"/task/"+string(k.ID)+"/edit", nil); !reflect.DeepEqual(r.at("new_task_extra", "line"), tree(t, []any{object{"id": lineMain, "limit": 5}})) {
		t.Errorf("after another door: %s", r.raw)
	}
}

func lines(want ...any) func(waihu.Task) bool {
	return func(k waihu.Task) bool {
		if len(k.Lines)*2 != len(want) {
			return false
		}
		for i, l := range k.Lines {
			if string(l.Line) != want[2*i] || l.Limit != want[2*i+1] {
				return false
			}
		}
		return true
	}
}

func byTime(agent, outside waihu.AgentID) func(waihu.Task) bool {
	return func(k waihu.Task) bool {
		want := waihu.Routing{Kind: waihu.RouteByTime, ByTime: []waihu.TimeRoute{{Span: waihu.Span{From: 540, To: 720}, Agent: agent}}, Default: outside}
		return reflect.DeepEqual(k.Routing, want)
	}
}

func single(k waihu.Task) bool { return k.Routing.Kind == waihu.RouteSingle && k.Agent == "123" }

func sameTimes(got []waihu.Period, want ...waihu.Period) bool {
	return slices.EqualFunc(got, want, func(a, b waihu.Period) bool { return a.From.Equal(b.From) && a.To.Equal(b.To) })
}

func variables(entries, words int) (list []any) {
	for i := range entries {
		var values []string
		for j := range words {
			values = append(values, itoa(i)+"词"+itoa(j))
		}
		list = append(list, object{"mode": 0, "values": values, "destination_extension": 11, "sort": i})
	}
	return list
}

// TestNoStopTime is row 25 of section 7: both ends are wanted, unless the setting says otherwise.
func TestNoStopTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.NoStopTime = true })
	k := w.create("task_extras.stop_time", nil)
	if !k.Stop.IsZero() {
		t.Errorf("it ends at %v", k.Stop)
	}
	id := string(k.ID)
	edit := w.ok("GET", new2+"/task/"+id+"/edit", nil)
	if edit.at("task_extras", "stop_time") != nil || edit.at("new_task_extra", "stop_time") != nil {
		t.Errorf("edit %s", edit.raw)
	}
	w.ok("PUT", new2+"/task_start/"+id, nil)
	w.bad(w.do("POST", new2+"/task", body("task_extras.start_time", nil)), 422, "task_extras.start_time")
}

// TestRefused: each a 422 that names the field and what was expected, and no task is made or changed.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := func(at string) []any { return []any{"new_call_rules", []any{object{"re_call_time": at}}} }
	for _, c := range []struct {
		changes []any
		field   string
		says    string
	}{
		{[]any{"name", nil}, "name", "必填"},
		{[]any{"name", strings.Repeat("长", maxName+1)}, "name", "255"},
		{[]any{"name", object{}}, "name", "字符串"},
		{[]any{"destination_extension", nil}, "destination_extension", "必填"},
		{[]any{"destination_extension", 424242}, "destination_extension", "不存在"},
		{[]any{"destination_extension", 700}, "destination_extension", "不存在"},
		{[]any{"destination_extension", 1.5}, "destination_extension", "整数"},
		{[]any{"dial_time_id", nil}, "dial_time_id", "必填"},
		{[]any{"dial_time_id", "abc"}, "dial_time_id", "整数"},
		{[]any{"dial_time_id", 900}, "dial_time_id", "不存在"},
		{[]any{"maximumcall", nil}, "maximumcall", "必填"},
		{[]any{"maximumcall", 0}, "maximumcall", "1 到"},
		{[]any{"task_extras", nil}, "task_extras", "必填"},
		{[]any{"task_extras", "x"}, "task_extras", "对象"},
		{[]any{"task_extras", []any{object{}, object{}}}, "task_extras", "对象"},
		{[]any{"task_extras.start_time", nil}, "task_extras.start_time", "必填"},
		{[]any{"task_extras.stop_time", nil}, "task_extras.stop_time", "必填"},
		{[]any{"task_extras.stop_time", "2025-13-01"}, "task_extras.stop_time", "YYYY-MM-DD"},
		{[]any{"task_extras.stop_time", "2023-01-01"}, "task_extras.stop_time", "晚于"},
		{[]any{"task_extras.holiday", []any{object{"begin": "x", "end": "2025-01-01"}}}, "task_extras.holiday[0].begin", "YYYY-MM-DD"},
		{[]any{"task_extras.holiday", []any{object{"start": "2025-01-02", "end": "2025-01-01"}}}, "task_extras.holiday[0]", "晚于"},
		{[]any{"task_extras.holiday", []any{object{}}}, "task_extras.holiday[0].begin", "必填"},
		{[]any{"task_extras.work_hour", []any{object{"wday": 8, "begin": "10:00", "end": "11:00"}}}, "task_extras.work_hour[0].wday", "-1 到 7"},
		{[]any{"task_extras.work_hour", []any{object{"wday": 1, "begin": "12:00", "end": "11:00"}}}, "task_extras.work_hour[0]", "晚于"},
		{[]any{"task_extras.work_week", []any{9}}, "task_extras.work_week[0]", "0 到 7"},
		{[]any{"task_extras.line", []any{"nowhere"}}, "task_extras.line[0]", "线路不存在"},
		{[]any{"task_extras.line", []any{lineOther}}, "task_extras.line[0]", "线路不存在"},
		{[]any{"task_extras.line", []any{object{"limit": 1}}}, "task_extras.line[0].id", "必填"},
		{[]any{"task_extras.line", []any{object{"id": lineMain, "limit": 0}}}, "task_extras.line[0].limit", "1 到"},
		{[]any{"task_extras.line", []any{object{"id": lineMain, "limit": "x"}}}, "task_extras.line[0].limit", "整数"},
		{[]any{"task_extras.line", []any{lineMain, lineMain}}, "task_extras.line[1]", "重复"},
		{[]any{"maximumcall", 3, "task_extras.line", []any{lineMain, lineOne}}, "maximumcall", "整数倍"},
		{[]any{"maximumcall", 4, "task_extras.line", []any{lineMain, lineOne}}, "maximumcall", lineOne},
		{[]any{"maximumcall", 21, "task_extras.line", []any{lineMain}}, "maximumcall", "residue) 20"},
		{[]any{"maximumcall", 30, "task_extras.line", []any{object{"id": lineMain, "limit": 21}}}, "task_extras.line[0].limit", "residue) 20"},
		{[]any{"maximumcall", 2, "task_extras.line", []any{object{"id": lineMain, "limit": 3}}}, "task_extras.line[0].limit", "maximumcall 2"},
		{[]any{"maximumcall", 3, "task_extras.line", []any{object{"id": lineMain, "limit": 3}, object{"id": lineOne, "limit": 1}}}, "task_extras.line", "之和 4"},
		{[]any{"task_extras.pop_mode", 3}, "task_extras.pop_mode", "0 到 2"},
		{[]any{"end_action", 2}, "end_action", "0 到 1"},
		{[]any{"end_action", 1, "elasticity_type", true}, "end_action", "动态坐席"},
		{[]any{"end_action", "1", "elasticity_type", "TRUE"}, "end_action", "动态坐席"},
		{[]any{"bridge_group_id", ""}, "bridge_group_id", "必填"},
		{[]any{"bridge_group_id", json.RawMessage("null")}, "bridge_group_id", "必填"},
		{[]any{"bridge_group_id", 99}, "bridge_group_id", "不存在"},
		{[]any{"background_id", 99}, "background_id", "不存在"},
		{[]any{"auto_recycle_rule_id", 99}, "auto_recycle_rule_id", "不存在"},
		{[]any{"is_group_switch", 4}, "is_group_switch", "0 到 3"},
		{[]any{"is_group_switch", 1, "task_extras.destination_extension_list", []any{object{"begin": "09:00", "end": "25:00", "destination_extension": 11}}},
			"task_extras.destination_extension_list[0].end", "HH:MM"},
		{[]any{"is_group_switch", 1, "task_extras.destination_extension_list", []any{object{"begin": "09:00", "end": "10:00", "destination_extension": 424242}}},
			"task_extras.destination_extension_list[0].destination_extension", "不存在"},
		{[]any{"task_extras.destination_extension_with_variable_list", variables(101, 1)}, "task_extras.destination_extension_with_variable_list", "100"},
		{[]any{"task_extras.destination_extension_with_variable_list", variables(1, 11)}, "task_extras.destination_extension_with_variable_list[0].values", "10"},
		{[]any{"task_extras.destination_extension_with_variable_list", []any{object{"values": []string{"男", "男"}, "destination_extension": 11}}},
			"task_extras.destination_extension_with_variable_list[0].values[1]", "重复"},
		{[]any{"task_extras.redial_interval", 61}, "task_extras.redial_interval", "0 到 60"},
		{[]any{"task_extras.redial_enabled", 1, "task_extras.redial_max_times", 4}, "task_extras.redial_max_times", "0 到 3"},
		{[]any{"task_extras.redial_enabled", "maybe"}, "task_extras.redial_enabled", "布尔"},
		{[]any{"task_extras.redial_conditions", object{"da_status": []int{13}}}, "task_extras.redial_conditions.da_status[0]", "0 到 12"},
		{clock("09:59:59"), "new_call_rules[0].re_call_time", "10:00:00-11:00:00"},
		{clock("11:00:01"), "new_call_rules[0].re_call_time", "13:00:00-22:00:00"},
		{clock("22:00:01"), "new_call_rules[0].re_call_time", "13:00:00-22:00:00"},
		{clock("noon"), "new_call_rules[0].re_call_time", "HH:MM:SS"},
		{[]any{"new_call_rules", []any{object{"re_call_time": "10:00:00", "rule_id": 99}}}, "new_call_rules[0].rule_id", "不存在"},
	} {
		b := body(c.changes...)
		before := w.ok("GET", new2+"/task", nil).meta["total"]
		r := w.do("POST", new2+"/task", b)
		w.bad(r, 422, c.field+"：", c.says)
		edit := w.ok("GET", new2+"/task/"+taskID+"/edit", nil).raw
		w.bad(w.do("PUT", new2+"/task/"+taskID, b), 422, c.field+"：", c.says)
		if after := w.ok("GET", new2+"/task", nil).meta["total"]; after != before || edit != w.ok("GET", new2+"/task/"+taskID+"/edit", nil).raw {
			t.Fatalf("%v changed something", c.changes)
		}
	}
}

// TestOwnReservation: what a task holds itself never counts against its own check.
func TestOwnReservation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := body("maximumcall", 20, "task_extras.line", []any{lineMain})
	k := w.create("maximumcall", 20, "task_extras.line", []any{lineMain})
	w.numbers(k.ID, "13800000001")
	w.dial(k.ID, nil)
	w.ok("PUT", new2+"/task_stop/"+string(k.ID), nil) // its run drains and still holds all 20
	w.ok("PUT", new2+"/task/"+string(k.ID), all)
	w.bad(w.do("POST", new2+"/task", all), 422, "maximumcall：", "residue) 0")
}

// TestHoursAreCopied: at create and at every update; an edit of the group moves no task.
func TestHoursAreCopied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.create("dial_time_id", 1)
	h, err := w.CallingHours(t.Context(), mainUser, 1)
	w.must(err)
	h.Weekly = waihu.Weekly{}
	h.Weekly[3] = []waihu.Span{{From: 0, To: 60}}
	w.must(w.SaveCallingHours(t.Context(), &h))
	if got, _ := w.Task(t.Context(), mainUser, k.ID); len(got.Weekly[1]) != 2 {
		t.Errorf("editing the group moved a task: %v", got.Weekly)
	}
	w.ok("PUT", new2+"/task/"+string(k.ID), body("dial_time_id", 1))
	if got, _ := w.Task(t.Context(), mainUser, k.ID); len(got.Weekly[1]) != 0 || len(got.Weekly[3]) != 1 {
		t.Errorf("an update with the same id did not copy: %v", got.Weekly)
	}
}

// TestFormBody: the same task from a form, in the query, and from a JSON text inside a form.
func TestFormBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, text := range []string{
		"name=x&destination_extension=123&dial_time_id=123&maximumcall=2&task_extras[start_time]=2024-12-23+19:00:00&task_extras[stop_time]=2036-12-25" +
			"&task_extras[line][0][id]=" + lineMain + "&task_extras[line][0][limit]=2&task_extras[holiday]=&task_extras[redial_enabled]=1&task_extras[redial_max_times]=1&task_extras[da_status][]=6",
		`name=x&destination_extension=123&dial_time_id=123&maximumcall=2&task_extras={"start_time":"2024-12-23","stop_time":"2036-12-25","line":[{"id":"` + lineMain +
			`","limit":2}],"redial_enabled":1,"redial_max_times":1,"da_status":"6"}`,
	} {
		for _, query := range []bool{false, true} {
			path, b := new2+"/task", text
			if query {
				path, b = path+"?"+strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22").Replace(text), ""
			}
			r := httptest.NewRequest("POST", path, strings.NewReader(b))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Authorization", "bearer "+token)
			got := w.send(r)
			if got.code != 200 {
				t.Fatalf("%s: %s", text, got.raw)
			}
			k, err := w.Task(t.Context(), mainUser, waihu.TaskID(got.at("uuid").(string)))
			if err != nil || !lines(lineMain, 2)(k) || !slices.Equal(k.Redial.On, []waihu.Disposition{waihu.PoweredOff}) {
				t.Errorf("%s made %+v, %v", text, k, err)
			}
		}
	}
}

// TestLegacyBody: the oldest body knows one line and no task_extras.
func TestLegacyBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := object{"name": "旧任务", "destination_extension": 123, "dial_time_id": 5, "maximumcall": 2, "caller_line_id": lineMain, "call_pause_second": 10, "task_type": 1}
	r := w.ok("POST", old1+"/task", b)
	k, err := w.Task(t.Context(), mainUser, waihu.TaskID(r.at("uuid").(string)))
	if err != nil || !lines(lineMain, 2)(k) || k.Interval != 10*time.Second || !k.Stop.IsZero() || r.at("task_type") != json.Number("1") || r.at("caller_line_id") != lineMain {
		t.Errorf("made %+v, %v from %s", k, err, r.raw)
	}
	w.ok("PUT", old1+"/task/"+string(k.ID), b)
	if r := w.ok("GET", old1+"/task/"+string(k.ID)+"/edit", nil); r.at("caller_line_id") != lineMain || r.at("caller_line_name") != "主线路" {
		t.Errorf("edit shows %s", r.raw)
	}
	w.bad(w.do("PUT", new2+"/task/"+string(k.ID), b), 422, "task_extras：")
	b["caller_line_id"] = "none"
	w.bad(w.do("PUT", old1+"/task/"+string(k.ID), b), 422, "caller_line_id：线路不存在")
	w.bad(w.do("POST", new2+"/task", body("task_extras.line", []any{"none"})), 422, "task_extras.line[0]：线路不存在")
}
