package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waihu"
)

// Tick is the owner's transaction: check the fence, book what ended, close runs, pop numbers for
// free slots, write the dial intents, move gauges, write events and jobs, commit.
//
// Only after it returned without ErrFenced and with a result may the orders in Dials leave. Booking is
// idempotent: an outcome sent twice is booked once. On a nearly full disk the tick is committed without
// its pops and returns both its result and waihu.ErrDiskFull; with any other error nothing happened
// (or, if the commit's answer was lost, the next Recover tells).
func (s *Store) Tick(ctx context.Context, k *Tick) (*TickResult, error) {
	s.lastTick.Store(time.Now().UnixNano())
	var full error
	if len(k.Pops) > 0 {
		full = s.disk.full(time.Now())
	}
	var w *tickWork
	if err := s.updateThen(ctx, urgent, func(t *tx) error {
		w = &tickWork{tx: t, k: k, b: newBatch(), touched: map[int64]bool{}, low: map[int64]*bound{},
			res: &TickResult{Exhausted: map[waihu.TaskID]bool{}, NotOpen: map[waihu.TaskID]bool{}, Gauges: map[waihu.TaskID]TaskGauge{}}}
		return w.run(full == nil)
	}, "tick.before_commit", "tick.after_commit"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	for task, b := range w.low {
		if b == nil {
			delete(s.low, task)
		} else {
			s.low[task] = *b
		}
	}
	s.mu.Unlock()
	return w.res, full
}

// tickWork is one tick on its way.
type tickWork struct {
	*tx
	k       *Tick
	b       *batch
	res     *TickResult
	refs    map[waihu.TaskID]taskRef
	touched map[int64]bool // tasks whose gauges the owner wants to know
	ends    []runKey       // runs that may have ended
	low     map[int64]*bound
}

func (w *tickWork) run(mayPop bool) error {
	if err := w.fence(w.k.Shard, w.k.Epoch); err != nil {
		return err
	}
	if !w.k.Lease.IsZero() {
		now, err := w.clock()
		if err != nil {
			return err
		}
		if _, err := w.exec(`update shards set lease_until = $2 where id = $1`, w.k.Shard, now+w.k.Lease.Sub(w.k.Now).Milliseconds()); err != nil {
			return err
		}
	}
	if err := w.findRefs(); err != nil {
		return err
	}
	if err := w.book(); err != nil {
		return err
	}
	for i := range w.k.Close {
		if err := w.close(&w.k.Close[i]); err != nil {
			return err
		}
	}
	for _, e := range w.k.End {
		if ref, ok := w.refs[e.Task]; ok {
			w.ends = append(w.ends, runKey{ref.serial, e.Run})
		}
	}
	if mayPop {
		if err := w.pop(); err != nil {
			return err
		}
	}
	var err error
	if w.res.Ended, err = w.endRuns(w.b, w.ends, w.k.Now); err != nil {
		return err
	}
	for _, e := range w.k.Events {
		if e.At.IsZero() {
			e.At = w.k.Now
		}
		if len(e.Body) == 0 {
			e.Body = []byte("{}")
		}
		w.b.events = append(w.b.events, e)
	}
	w.b.jobs = append(w.b.jobs, w.k.Jobs...)
	if err := w.flush(w.b); err != nil {
		return err
	}
	return w.readGauges()
}

// close closes a run that its owner says is over. That nothing is left to dial is the owner's memory, and
// an import may have come since: the ledger must agree.
func (w *tickWork) close(c *RunClose) error {
	ref, ok := w.refs[c.Task]
	if !ok {
		return nil
	}
	if c.Reason == waihu.RunDone {
		w.touched[ref.serial] = true // the owner learns what is left
		if left, err := w.left(ref.serial); err != nil || left > 0 {
			return err
		}
	}
	closed, err := w.closeRun(w.b, ref, c.Run, c.Reason, c.Detail, w.k.Now)
	if closed {
		w.res.Closed = append(w.res.Closed, RunRef{c.Task, c.Run})
	}
	w.ends = append(w.ends, runKey{ref.serial, c.Run})
	return err
}

// left is how many numbers of the task are not finished, with what this tick has moved so far. An import beside it
// waits for the gauges from here on, and counts as having come after the tick.
func (w *tickWork) left(task int64) (left int64, err error) {
	open := map[string]bool{"0": true, "1": true, "2": true} // fresh, in flight, due
	if err := w.each(func(scan func(...any) error) error {
		var kind, code string
		var n int64
		err := scan(&kind, &code, &n)
		if kind == gaugeState && open[code] {
			left += n
		}
		return err
	}, sqlLockCounts, task); err != nil {
		return 0, err
	}
	for code := range open {
		left += w.b.counts[gaugeKey{task, gaugeState, code}]
	}
	return left, nil
}

// sqlLockCounts locks the rows in the order in which flushCounts writes them.
const sqlLockCounts = `select kind, code, n from counts where task = $1 order by kind, code{lock}`

// findRefs learns the small numbers of all tasks that the tick names. A task that does not exist (any more) is passed over.
func (w *tickWork) findRefs() error {
	w.refs = map[waihu.TaskID]taskRef{}
	var unknown [][]any
	w.s.mu.Lock()
	need := func(id waihu.TaskID) {
		if _, done := w.refs[id]; done {
			return
		}
		if ref, ok := w.s.tasks[id]; ok {
			w.refs[id] = ref
		} else {
			unknown = append(unknown, []any{id})
		}
	}
	for i := range w.k.Close {
		need(w.k.Close[i].Task)
	}
	for i := range w.k.End {
		need(w.k.End[i].Task)
	}
	for i := range w.k.Pops {
		need(w.k.Pops[i].Task)
	}
	w.s.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	param, err := jsonRows(unknown)
	if err != nil {
		return err
	}
	return w.each(func(scan func(...any) error) error {
		var ref taskRef
		if err := scan(&ref.id, &ref.serial, &ref.account); err != nil {
			return err
		}
		w.refs[ref.id] = ref
		w.s.remember(ref)
		return nil
	}, `select t.id, t.serial, t.account from {rows $1} join tasks t on t.id = r.value->>0 where t.deleted = 0`, param)
}

// readGauges tells the owner what is left of each task it touched, as of this commit.
func (w *tickWork) readGauges() error {
	serials := make([]int64, 0, len(w.touched))
	ids := map[int64]waihu.TaskID{}
	for serial := range w.touched {
		serials = append(serials, serial)
	}
	for id, ref := range w.refs {
		ids[ref.serial] = id
	}
	gauges, err := w.gauges(serials)
	if err != nil {
		return err
	}
	for serial, g := range gauges {
		id, ok := ids[serial]
		if !ok {
			return fmt.Errorf("the tick touched task %d without knowing its id", serial)
		}
		w.res.Gauges[id] = g
	}
	return nil
}

var errTwoPops = errors.New("a tick pops a task twice")
