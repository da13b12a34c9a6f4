package schedule

import (
	"slices"
	"testing"
	"time"

	"waihu"
)

func TestRouteByVariable(t *testing.T) {
	t.Parallel()
	// The vendor's own example (contract §12.17).
	page := []waihu.VariableRoute{
		{Equal: false, Values: []string{"女", "小女孩"}, Agent: "12", Sort: 2},
		{Equal: true, Values: []string{"男"}, Agent: "11", Sort: 1},
		{Equal: true, Values: []string{"未知"}, Agent: "10", Sort: 3},
	}
	two := []waihu.VariableRoute{{Equal: true, Values: []string{"甲"}, Agent: "later", Sort: 5}, {Equal: true, Values: []string{"甲"}, Agent: "sooner", Sort: 1}}
	same := []waihu.VariableRoute{{Values: []string{"a"}, Agent: "first"}, {Values: []string{"a"}, Agent: "second"}}
	for _, c := range []struct {
		name   string
		routes []waihu.VariableRoute
		word   string
		want   waihu.AgentID
	}{
		{"equal", page, "男", "11"},
		{"equal is not contains", page, "男人", "10"},
		{"contains", page, "小女孩", "12"},
		{"contains one keyword", page, "美女", "12"},
		{"the word itself", page, "未知", "10"},
		{"unmatched", page, "其他", "10"},
		{"empty", page, "", "10"},
		{"blank", page, "  ", "10"},
		{"no entry for 未知", two, "乙", "own"},
		{"empty, no entry for 未知", two, "", "own"},
		{"smaller sort wins", two, "甲", "sooner"},
		{"equal sort: list order", same, "abc", "first"},
		{"no list", nil, "甲", "own"},
		{"an empty keyword matches nothing", []waihu.VariableRoute{{Values: []string{""}, Agent: "x"}}, "甲", "own"},
		{"unmatched, 未知 contained", []waihu.VariableRoute{{Values: []string{"知"}, Agent: "x"}}, "甲", "x"},
		{"an entry without an agent", []waihu.VariableRoute{{Values: []string{"甲"}}}, "甲", "own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := NewRouter(&waihu.Task{Agent: "own", Routing: waihu.Routing{Kind: waihu.RouteByVariable, ByVar: c.routes}})
			if got := r.Agent(time.Now(), c.word, 1, 1); got != c.want {
				t.Errorf("%q goes to %s, want %s", c.word, got, c.want)
			}
		})
	}
}

func TestRouteByTime(t *testing.T) {
	t.Parallel()
	const cn = "Asia/Shanghai"
	morning := waihu.TimeRoute{Span: waihu.Span{From: hm(9, 0), To: hm(12, 0)}, Agent: "morning"}
	overlap := waihu.TimeRoute{Span: waihu.Span{From: hm(11, 0), To: hm(14, 0)}, Agent: "noon"}
	night := waihu.TimeRoute{Span: waihu.Span{From: hm(22, 0), To: hm(2, 0)}, Agent: "night"}
	evening := waihu.TimeRoute{Span: waihu.Span{From: hm(18, 0), To: 1440}, Agent: "evening"}
	for _, c := range []struct {
		name    string
		routes  []waihu.TimeRoute
		outside waihu.AgentID
		now     string
		want    waihu.AgentID
	}{
		{"inside", []waihu.TimeRoute{morning}, "", "2025-01-06 09:00:00", "morning"},
		{"the end is outside", []waihu.TimeRoute{morning}, "", "2025-01-06 12:00:00", "own"},
		{"outside with a default", []waihu.TimeRoute{morning}, "out", "2025-01-06 08:59:59", "out"},
		{"overlap: list order", []waihu.TimeRoute{overlap, morning}, "", "2025-01-06 11:30:00", "noon"},
		{"over midnight, before", []waihu.TimeRoute{night}, "", "2025-01-06 23:00:00", "night"},
		{"over midnight, after", []waihu.TimeRoute{night}, "", "2025-01-06 01:59:00", "night"},
		{"over midnight, outside", []waihu.TimeRoute{night}, "", "2025-01-06 12:00:00", "own"},
		{"until 24:00", []waihu.TimeRoute{evening}, "", "2025-01-06 23:59:59", "evening"},
		{"no list", nil, "", "2025-01-06 10:00:00", "own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := NewRouter(&waihu.Task{Agent: "own", Zone: cn, Routing: waihu.Routing{Kind: waihu.RouteByTime, ByTime: c.routes, Default: c.outside}})
			if got := r.Agent(at(t, cn, c.now), "", 1, 1); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestRouteSeveral(t *testing.T) {
	t.Parallel()
	routing := waihu.Routing{Kind: waihu.RouteSeveral, Several: []waihu.SeveralRoute{{Agent: "c", Sort: 3}, {Agent: "a", Sort: 1}, {Agent: "b", Sort: 1}}}
	r := NewRouter(&waihu.Task{Agent: "own", Routing: routing})
	var got []waihu.AgentID
	for i := range 7 {
		got = append(got, r.Agent(time.Now(), "", int64(i), 1))
		r.Turn++
	}
	if want := []waihu.AgentID{"a", "b", "c", "a", "b", "c", "a"}; !slices.Equal(got, want) {
		t.Errorf("in turn: %v, want %v", got, want)
	}

	routing.Randomly = true
	r = NewRouter(&waihu.Task{Agent: "own", Routing: routing})
	n := map[waihu.AgentID]int{}
	for seq := range int64(3000) {
		id := r.Agent(time.Now(), "", seq, 1)
		if again := r.Agent(time.Now(), "", seq, 1); again != id {
			t.Fatalf("the same dial got %s and %s", id, again)
		}
		n[id]++
	}
	for _, id := range []waihu.AgentID{"a", "b", "c"} {
		if n[id] < 900 || n[id] > 1100 { // 1000 ± 4σ
			t.Errorf("at random: %v, want a third each", n)
		}
	}

	if got := NewRouter(&waihu.Task{Agent: "own", Routing: waihu.Routing{Kind: waihu.RouteSeveral}}).Agent(time.Now(), "", 1, 1); got != "own" {
		t.Errorf("without a list %s talks, want own", got)
	}
	if got := NewRouter(&waihu.Task{Agent: "own", Routing: waihu.Routing{Several: routing.Several}}).Agent(time.Now(), "", 1, 1); got != "own" {
		t.Errorf("a single routing talks with %s, want own", got)
	}
}

func TestRouterAgents(t *testing.T) {
	t.Parallel()
	r := NewRouter(&waihu.Task{Agent: "z", Routing: waihu.Routing{Kind: waihu.RouteByTime, Default: "b",
		ByTime: []waihu.TimeRoute{{Agent: "a"}, {Agent: ""}, {Agent: "b"}}}})
	if got := r.Agents(); !slices.Equal(got, []waihu.AgentID{"a", "b", "z"}) {
		t.Errorf("got %v", got)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	spec := &waihu.AgentSpec{Vars: map[string]waihu.VarSpec{"name": {Required: true}, "sum": {Required: true}, "title": {}}}
	for _, c := range []struct {
		vars map[string]string
		want string
	}{
		{map[string]string{"name": "李", "sum": "5"}, ""},
		{map[string]string{"name": "李", "sum": " "}, "sum"},
		{nil, "name"},
	} {
		if got := missing(spec, waihu.NumberData{Vars: c.vars}); got != c.want {
			t.Errorf("%v misses %q, want %q", c.vars, got, c.want)
		}
	}
}

// TestRouteByAttempt: the second robot talks in the second call, and the last in all that follow.
func TestRouteByAttempt(t *testing.T) {
	t.Parallel()
	r := NewRouter(&waihu.Task{Agent: "own", Routing: waihu.Routing{Kind: waihu.RouteByAttempt, Several: []waihu.SeveralRoute{{Agent: "a", Sort: 1}, {Agent: "b", Sort: 2}}}})
	for attempt, want := range map[int]waihu.AgentID{1: "a", 2: "b", 3: "b", 9: "b"} {
		if got := r.Agent(time.Now(), "", 7, attempt); got != want {
			t.Errorf("attempt %d: %s, want %s", attempt, got, want)
		}
	}
	if got := r.Agents(); !slices.Equal(got, []waihu.AgentID{"a", "b", "own"}) {
		t.Errorf("agents %v", got)
	}
}
