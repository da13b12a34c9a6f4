package store

import (
	"encoding/json"
	"fmt"
	"math"

	"waihu"
)

// popped is a number that a pop found, with what is needed to move its gauges.
type popped struct {
	PoppedNumber
	outcome waihu.Disposition
	state   waihu.NumberState
	place   int64 // in pop order, of fresh numbers
}

// pop finds numbers for every pop whose run is open, asks what becomes of them, and writes the
// dial intents. The shard's lock is held, so what was read stays true until the update.
func (w *tickWork) pop() error {
	if len(w.k.Pops) == 0 {
		return nil
	}
	open, err := w.openRuns()
	if err != nil {
		return err
	}
	var flying, done, onward, calls [][]any
	var dials []Dialled
	from := map[waihu.CallID]popped{}
	seen := map[waihu.TaskID]bool{}
	for i := range w.k.Pops {
		p := &w.k.Pops[i]
		if seen[p.Task] {
			return fmt.Errorf("%w: %s", errTwoPops, p.Task)
		}
		seen[p.Task] = true
		ref, known := w.refs[p.Task]
		if !known || !open[runKey{ref.serial, p.Run}] {
			w.res.NotOpen[p.Task] = true
			continue
		}
		w.touched[ref.serial] = true
		if p.Limit <= 0 {
			continue
		}
		found, err := w.find(ref, p)
		if err != nil {
			return err
		}
		if err := w.markSuppressed(ref.account, found); err != nil {
			return err
		}
		if len(found) < p.Limit {
			w.res.Exhausted[p.Task] = true
		}
		var low lowMark
		for _, n := range found {
			d := p.Decide(n.PoppedNumber)
			var id waihu.CallID
			if d.Dial {
				var ok bool
				if id, ok = w.k.NextCall(); !ok { // the epoch has used up its ids: the owner takes the next one
					d = Decision{}
				}
			}
			if n.state == waihu.NumberFresh {
				low.passed(n.place, d.Dial || d.Outcome != waihu.NoOutcome)
			}
			switch {
			case d.Dial:
				live := LiveCall{Call: id, Account: ref.account, Task: ref.id, Run: p.Run, Seq: n.Seq, Attempt: n.Attempt, Redials: n.Redials, Faults: n.Faults,
					Line: d.Line, Phone: n.Phone, Caller: d.Caller.Number, StartedAt: at(ms(w.k.Now)), Node: d.Node, Agent: d.Agent}
				dials = append(dials, Dialled{LiveCall: live, Data: n.Data})
				from[id] = n
				flying = append(flying, []any{ref.serial, n.Seq, int64(id)})
				calls = append(calls, []any{int64(id), ref.serial, p.Run, n.Seq, n.Attempt, d.Line, d.Agent, d.Node, d.Version, d.Caller.ID})
				w.b.state(ref.serial, n.state, waihu.NumberInFlight, 1)
			case passed(&n.PoppedNumber, d.Outcome) != "":
				onward = append(onward, []any{ref.serial, n.Seq, string(passed(&n.PoppedNumber, d.Outcome))})
				w.b.state(ref.serial, n.state, waihu.NumberDue, 1)
			case d.Outcome != waihu.NoOutcome:
				done = append(done, []any{ref.serial, n.Seq, int(d.Outcome)})
				w.b.state(ref.serial, n.state, waihu.NumberDone, 1)
				w.b.shows(ref.serial, n.outcome, d.Outcome, "", "")
				w.moved(ref.serial, n.Seq, n.outcome, d.Outcome, 0)
				w.b.event(waihu.EventNumberDone, ref.account, ref.id, w.k.Now, 0, callBody{Seq: n.Seq, Disposition: d.Outcome.String()})
			}
		}
		w.setLow(ref.serial, p.Order, low)
	}
	if err := w.execAll(sqlFly, flying, ms(w.k.Now)); err != nil {
		return err
	}
	if err := w.execAll(sqlDoneAtPop, done, ms(w.k.Now)); err != nil {
		return err
	}
	if err := w.execAll(sqlPassOn, onward, ms(w.k.Now)); err != nil {
		return err
	}
	return w.intend(dials, calls, from)
}

// intend inserts the dial intents. One that calls_once refuses is not dialled: its number has been
// dialled under this attempt already, whatever its row says, and ends as unknown.
func (w *tickWork) intend(dials []Dialled, calls [][]any, from map[waihu.CallID]popped) error {
	if len(calls) == 0 {
		return nil
	}
	param, err := jsonRows(calls)
	if err != nil {
		return err
	}
	in := make(map[waihu.CallID]bool, len(calls))
	if err := w.each(func(scan func(...any) error) error {
		var id waihu.CallID
		err := scan(&id)
		in[id] = true
		return err
	}, sqlIntend, param, ms(w.k.Now)); err != nil {
		return err
	}
	var refused [][]any
	for _, d := range dials {
		ref := w.refs[d.Task]
		if in[d.Call] {
			w.res.Dials = append(w.res.Dials, d)
			w.b.count(ref.serial, gaugeCalls, "", 1)
			w.b.count(ref.serial, byAgent, string(d.Agent), 1)
			w.b.stat(ref.serial, w.k.Now, statStarted, "", 1)
			continue
		}
		w.res.Refused++
		w.s.log.Error("the ledger refused a second dial of one attempt", "task", d.Task, "seq", d.Seq, "attempt", d.Attempt)
		refused = append(refused, []any{ref.serial, d.Seq, int(waihu.Unknown)})
		w.b.state(ref.serial, waihu.NumberInFlight, waihu.NumberDone, 1)
		w.b.shows(ref.serial, from[d.Call].outcome, waihu.Unknown, "", "")
		w.moved(ref.serial, d.Seq, from[d.Call].outcome, waihu.Unknown, 0)
		w.b.event(waihu.EventNumberDone, ref.account, ref.id, w.k.Now, 0, callBody{Seq: d.Seq, Disposition: waihu.Unknown.String()})
	}
	return w.execRows(sqlRefused, refused, ms(w.k.Now))
}

// openRuns are the open ones among the runs of the pops.
func (w *tickWork) openRuns() (map[runKey]bool, error) {
	var list [][]any
	for _, p := range w.k.Pops {
		if ref, ok := w.refs[p.Task]; ok {
			list = append(list, []any{ref.serial, p.Run})
		}
	}
	open := map[runKey]bool{}
	if len(list) == 0 {
		return open, nil
	}
	param, err := jsonRows(list)
	if err != nil {
		return nil, err
	}
	err = w.each(func(scan func(...any) error) error {
		var k runKey
		err := scan(&k.task, &k.n)
		open[k] = true
		return err
	}, sqlOpenRuns, param)
	return open, err
}

// find reads up to Limit numbers, due and fresh ones in the order the task wants.
func (w *tickWork) find(ref taskRef, p *Pop) ([]popped, error) {
	var found []popped
	arms := []func() error{
		func() error {
			return w.findArm(&found, waihu.NumberDue, sqlPopDue, ref.account, ref.serial, ms(w.k.Now), p.Limit-len(found))
		},
		func() error { return w.findFresh(&found, ref, p) },
	}
	want := []bool{p.Due, p.Fresh}
	if p.NewFirst {
		arms[0], arms[1], want[0], want[1] = arms[1], arms[0], want[1], want[0]
	}
	for i, arm := range arms {
		if want[i] && len(found) < p.Limit {
			if err := arm(); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// findFresh looks from the bound in memory on: entries of the index before it belong to numbers that
// are not fresh any more and, on PostgreSQL, not vacuumed yet. Only when that is not enough it looks
// from the start, because another process may have imported.
func (w *tickWork) findFresh(found *[]popped, ref taskRef, p *Pop) error {
	sql, start := sqlPopRandom, int64(math.MinInt64)
	switch p.Order {
	case waihu.PopInOrder:
		sql = sqlPopInOrder
	case waihu.PopReverse:
		sql, start = sqlPopReverse, math.MaxInt64
	}
	before, limit := len(*found), p.Limit-len(*found)
	from := start
	w.s.mu.Lock()
	if b, ok := w.s.low[ref.serial]; ok && b.order == p.Order && w.low[ref.serial] == nil {
		if _, reset := w.low[ref.serial]; !reset {
			from = b.value
		}
	}
	w.s.mu.Unlock()
	if err := w.findArm(found, waihu.NumberFresh, sql, ref.account, ref.serial, from, limit); err != nil {
		return err
	}
	if len(*found)-before < limit && from != start {
		*found = (*found)[:before]
		return w.findArm(found, waihu.NumberFresh, sql, ref.account, ref.serial, start, limit)
	}
	return nil
}

func (t *tx) findArm(found *[]popped, state waihu.NumberState, sql string, args ...any) error {
	return t.each(func(scan func(...any) error) error {
		n := popped{state: state}
		var data string
		var attempts, suppressed int
		if err := scan(&n.Seq, &n.Phone, &data, &attempts, &n.Redials, &n.Faults, &n.outcome, &n.place, &suppressed); err != nil {
			return err
		}
		n.Attempt, n.Suppressed, n.Due = attempts+1, suppressed != 0, state == waihu.NumberDue
		var err error
		n.Data, err = decodeData(data)
		*found = append(*found, n)
		return err
	}, sql, args...)
}

func decodeData(text string) (d waihu.NumberData, err error) {
	if text != "" {
		err = json.Unmarshal([]byte(text), &d)
	}
	return d, err
}

// lowMark follows the pop to the place of the first number that stays fresh.
type lowMark struct {
	set, stuck bool
	place      int64
}

func (m *lowMark) passed(place int64, gone bool) {
	if m.stuck {
		return
	}
	m.set, m.place, m.stuck = true, place, !gone
}

func (w *tickWork) setLow(task int64, order waihu.PopOrder, m lowMark) {
	if _, reset := w.low[task]; m.set && !reset {
		w.low[task] = &bound{order, m.place}
	}
}

// execAll is execRows for updates that must change every one of their rows: the shard's lock was
// held when they were read, so another count means that somebody wrote without it.
func (w *tickWork) execAll(sql string, list [][]any, more ...any) error {
	if len(list) == 0 {
		return nil
	}
	param, err := jsonRows(list)
	if err != nil {
		return err
	}
	n, err := w.exec(sql, append([]any{param}, more...)...)
	if err == nil && n != int64(len(list)) {
		err = fmt.Errorf("%d of %d popped numbers had changed under the shard's lock", len(list)-int(n), len(list))
	}
	return err
}

const popColumns = `select n.seq, n.phone, n.data, n.attempts, n.redials, n.faults, n.outcome, `
const popFrom = `, (select count(*) from suppressed s where s.account = $1 and s.phone = n.phone) from numbers n where n.task = $2 and `

const (
	sqlPopDue     = popColumns + `0` + popFrom + `n.state = 2 and n.due_at <= $3 order by n.due_at limit $4`
	sqlPopRandom  = popColumns + `n.rnd` + popFrom + `n.state = 0 and n.rnd >= $3 order by n.rnd limit $4`
	sqlPopInOrder = popColumns + `n.seq` + popFrom + `n.state = 0 and n.seq >= $3 order by n.seq limit $4`
	sqlPopReverse = popColumns + `n.seq` + popFrom + `n.state = 0 and n.seq <= $3 order by n.seq desc limit $4`
)

const sqlOpenRuns = `select u.task, u.n from {rows $1} join runs u on u.task = cast(r.value->>0 as bigint) and u.n = cast(r.value->>1 as integer) where u.state = 0`

const sqlFly = `update numbers set state = 1, attempts = attempts + 1, last_call = cast(r.value->>2 as bigint), updated_at = $2
	from {rows $1} where numbers.task = cast(r.value->>0 as bigint) and numbers.seq = cast(r.value->>1 as bigint) and numbers.state in (0, 2)`

const sqlDoneAtPop = `update numbers set state = 3, outcome = cast(r.value->>2 as integer), updated_at = $2
	from {rows $1} where numbers.task = cast(r.value->>0 as bigint) and numbers.seq = cast(r.value->>1 as bigint) and numbers.state in (0, 2)`

const sqlRefused = `update numbers set state = 3, outcome = cast(r.value->>2 as integer), updated_at = $2
	from {rows $1} where numbers.task = cast(r.value->>0 as bigint) and numbers.seq = cast(r.value->>1 as bigint) and numbers.state = 1`

const sqlIntend = `insert into calls (id, task, run, seq, attempt, line, agent, node, started_at, answered_at, ended_at, outcome, grade, rounds, version, caller)
	select cast(r.value->>0 as bigint), cast(r.value->>1 as bigint), cast(r.value->>2 as integer), cast(r.value->>3 as bigint), cast(r.value->>4 as integer),
		r.value->>5, r.value->>6, r.value->>7, cast($2 as bigint), 0, 0, 0, '', 0, cast(r.value->>8 as bigint), cast(r.value->>9 as bigint) from {rows $1} where true
	on conflict do nothing returning id`
