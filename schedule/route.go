package schedule

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"waihu"
)

// unknownWord is what a route variable that is empty or matches nothing is matched as once more.
const unknownWord = "未知"

// Router chooses the agent of a call, compiled from the task's routing. Only Turn moves: it counts the
// dials of an in-turn routing, in memory, so the turns start over with the process.
type Router struct {
	kind     waihu.RoutingKind
	fallback waihu.AgentID
	loc      *time.Location
	byTime   []waihu.TimeRoute
	byVar    []waihu.VariableRoute
	several  []waihu.SeveralRoute
	outside  waihu.AgentID
	randomly bool
	Turn     int
}

// NewRouter compiles the routing of a task. A kind without its list talks with the task's own agent.
func NewRouter(t *waihu.Task) *Router {
	r := &Router{kind: t.Routing.Kind, fallback: t.Agent, loc: t.Location(), byTime: t.Routing.ByTime,
		byVar: slices.Clone(t.Routing.ByVar), several: slices.Clone(t.Routing.Several), outside: t.Routing.Default, randomly: t.Routing.Randomly}
	slices.SortStableFunc(r.byVar, func(a, b waihu.VariableRoute) int { return cmp.Compare(a.Sort, b.Sort) })
	slices.SortStableFunc(r.several, func(a, b waihu.SeveralRoute) int { return cmp.Compare(a.Sort, b.Sort) })
	return r
}

// Agents are all agents that a call of the task may get.
func (r *Router) Agents() []waihu.AgentID {
	ids := []waihu.AgentID{r.fallback}
	switch r.kind {
	case waihu.RouteByTime:
		ids = append(ids, r.outside)
		for _, e := range r.byTime {
			ids = append(ids, e.Agent)
		}
	case waihu.RouteByVariable:
		for _, e := range r.byVar {
			ids = append(ids, e.Agent)
		}
	case waihu.RouteSeveral, waihu.RouteByAttempt:
		for _, e := range r.several {
			ids = append(ids, e.Agent)
		}
	}
	ids = slices.DeleteFunc(ids, func(id waihu.AgentID) bool { return id == "" })
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Agent chooses for a dial at now of the number seq, its attempt-th. It does not move Turn.
func (r *Router) Agent(now time.Time, route string, seq int64, attempt int) waihu.AgentID {
	var id waihu.AgentID
	switch r.kind {
	case waihu.RouteByTime:
		id = r.atTime(now)
	case waihu.RouteByVariable:
		id = r.matching(route)
	case waihu.RouteSeveral:
		if n := len(r.several); n > 0 {
			id = r.several[r.pick(n, seq, attempt)].Agent
		}
	case waihu.RouteByAttempt:
		if n := len(r.several); n > 0 {
			id = r.several[min(max(attempt, 1), n)-1].Agent
		}
	}
	if id == "" {
		return r.fallback
	}
	return id
}

func (r *Router) atTime(now time.Time) waihu.AgentID {
	local := now.In(r.loc)
	m := local.Hour()*60 + local.Minute()
	for _, e := range r.byTime {
		in := e.Span.From <= m && m < e.Span.To
		if e.Span.To < e.Span.From { // over midnight
			in = m >= e.Span.From || m < e.Span.To
		}
		if in {
			return e.Agent
		}
	}
	return r.outside
}

func (r *Router) matching(route string) waihu.AgentID {
	if strings.TrimSpace(route) != "" {
		if id, ok := r.match(route); ok {
			return id
		}
	}
	id, _ := r.match(unknownWord)
	return id
}

func (r *Router) match(word string) (waihu.AgentID, bool) {
	for _, e := range r.byVar {
		for _, v := range e.Values {
			if v == "" {
				continue // every text contains the empty one
			}
			if e.Equal && word == v || !e.Equal && strings.Contains(word, v) {
				return e.Agent, true
			}
		}
	}
	return "", false
}

// pick at random is a hash of the dial, so that the same ledger and clock give the same campaign.
func (r *Router) pick(n int, seq int64, attempt int) int {
	if !r.randomly {
		return r.Turn % n
	}
	h := fnv.New64a()
	for v := uint64(seq); v > 0; v >>= 8 {
		h.Write([]byte{byte(v)})
	}
	h.Write([]byte{0, byte(attempt), byte(attempt >> 8)})
	return int(mix(h.Sum64()) % uint64(n))
}

// mix spreads the low bits of a short FNV sum (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// missing is a variable that the agent requires and the number does not have; "" when none.
func missing(spec *waihu.AgentSpec, data waihu.NumberData) string {
	first := ""
	for name, v := range spec.Vars {
		if v.Required && strings.TrimSpace(data.Vars[name]) == "" && (first == "" || name < first) {
			first = name
		}
	}
	return first
}
