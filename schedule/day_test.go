package schedule

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// laws watches a field: every dial inside its window, caps never passed by the carrier's count, redials within their rules.
type laws struct {
	r       *rig
	tasks   map[waihu.TaskID]waihu.Task
	windows map[waihu.TaskID]Window
	lines   map[waihu.LineID]int
	last    map[dialKey]time.Time // of the number's latest dial; n is 0
	peaks   map[waihu.LineID]int
	broken  int
}

func watch(r *rig, tasks ...waihu.Task) *laws {
	l := &laws{r: r, tasks: map[waihu.TaskID]waihu.Task{}, windows: map[waihu.TaskID]Window{}, lines: map[waihu.LineID]int{}, last: map[dialKey]time.Time{}, peaks: map[waihu.LineID]int{}}
	for _, k := range tasks {
		l.tasks[k.ID], l.windows[k.ID] = k, NewWindow(&k)
	}
	for id, s := range r.field.lines {
		l.lines[id] = s.Capacity
	}
	r.field.onDial = l.dial
	return l
}

func (l *laws) errorf(format string, args ...any) {
	l.r.t.Helper()
	if l.broken++; l.broken <= 10 {
		l.r.t.Errorf(format, args...)
	}
}

func (l *laws) dial(a waihu.Attempt, now time.Time) {
	f, k := l.r.field, l.tasks[a.Task]
	if !l.windows[a.Task].openAt(now) {
		l.errorf("task %s dialled at %v", k.Name, now.In(k.Location()))
	}
	if n := f.perTask[a.Task]; n > k.Concurrency {
		l.errorf("task %s has %d calls, its cap is %d", k.Name, n, k.Concurrency)
	}
	if n := f.perLine[a.Line]; n > l.lines[a.Line] {
		l.errorf("line %s has %d calls, its cap is %d", a.Line, n, l.lines[a.Line])
	}
	l.peaks[a.Line] = max(l.peaks[a.Line], f.perLine[a.Line])
	for _, tl := range k.Lines {
		if n := f.perBoth[taskLine{a.Task, tl.Line}]; n > tl.Limit {
			l.errorf("task %s has %d calls on %s, its limit is %d", k.Name, n, tl.Line, tl.Limit)
		}
	}
	key := dialKey{task: a.Task, seq: a.Seq}
	if was, again := l.last[key]; again && now.Sub(was) < min(k.Redial.Interval, time.Minute) {
		l.errorf("number %d of task %s was dialled again after %v", a.Seq, k.Name, now.Sub(was))
	}
	l.last[key] = now
}

// cpuTime is what this process has used of the machine.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestSimulatedDay runs a day of 100,000 numbers under an injected clock.
func TestSimulatedDay(t *testing.T) {
	numbers := 100_000
	if underRace {
		numbers /= 40
	}
	if testing.Short() {
		numbers /= 20
	}
	real, busy := time.Now(), cpuTime(t)
	r := newRig(t, store.Options{})
	r.step = 5 * time.Second // large ticks: the day has 17,280 of these, not seventeen million
	if underRace {
		r.step *= 4
	}
	scale := func(n int) int { return max(1, n*numbers/100_000) }
	r.line("main", scale(160), 0)
	r.line("side", scale(100), 0)
	r.line("slow", scale(40), 2)
	office := all(waihu.Span{From: hm(9, 0), To: hm(12, 0)}, waihu.Span{From: hm(13, 0), To: hm(18, 0)})
	longDay := all(waihu.Span{From: hm(8, 30), To: 1440})
	at := func(h, m int) time.Time {
		return begin.Add(time.Duration(h-9)*time.Hour + time.Duration(m)*time.Minute)
	}
	fixed := waihu.Redial{Max: 2, Interval: 25 * time.Minute, On: []waihu.Disposition{waihu.NoAnswer, waihu.Busy}, NewFirst: true}
	tasks := []waihu.Task{
		{Name: "reserved", Concurrency: scale(120), Lines: []waihu.TaskLine{{Line: "main", Limit: scale(80)}, {Line: "side", Limit: scale(40)}}, Weekly: office, Redial: fixed,
			Pop: waihu.PopInOrder},
		{Name: "shared", Concurrency: scale(200), Weekly: office, Redial: waihu.Redial{Max: 1, ByRule: []waihu.RedialDetail{{On: waihu.Busy, After: 2 * time.Minute}}},
			Holidays: []waihu.Period{{From: at(10, 0), To: at(10, 45)}, {From: at(15, 0), To: at(15, 20)}}},
		{Name: "evening", Concurrency: scale(100), Weekly: longDay, Start: at(14, 0), Pop: waihu.PopReverse,
			Redial: waihu.Redial{AtClock: []waihu.ClockRedial{{At: hm(20, 0), Wait: 10 * time.Minute, On: []waihu.Disposition{waihu.NoAnswer}}}}},
		{Name: "faulty", Concurrency: scale(50), Weekly: longDay, Redial: fixed},
	}
	shares := []int{50, 30, 15, 5}
	rnd := rand.New(rand.NewPCG(7, 7))
	r.field.script = func(a waihu.Attempt) (time.Duration, waihu.Outcome) {
		p := rnd.IntN(100)
		switch {
		case p < 45:
			return time.Duration(15+rnd.IntN(60)) * time.Second, waihu.Outcome{Disposition: waihu.Answered}
		case p < 70:
			return 30 * time.Second, waihu.Outcome{Disposition: waihu.NoAnswer}
		case p < 80:
			return 3 * time.Second, waihu.Outcome{Disposition: waihu.Busy}
		case p < 82:
			return time.Second, waihu.Outcome{Disposition: waihu.CarrierFault}
		}
		return 2 * time.Second, waihu.Outcome{Disposition: waihu.Vacant}
	}
	want := map[waihu.TaskID]int{}
	for i := range tasks {
		n := numbers * shares[i] / 100
		tasks[i].EndAction = waihu.EndPause
		tasks[i] = r.task(tasks[i], n)
		want[tasks[i].ID] = n
	}
	l := watch(r, tasks...)
	imported := time.Since(real)
	r.drive(begin.Add(48*time.Hour), nil) // what the day did not finish, the next morning does
	distinct := map[waihu.TaskID]int{}
	for key := range l.last {
		distinct[key.task]++
	}
	for _, k := range tasks {
		c, run := r.counts(k.ID), r.run(k.ID)
		if c.State[waihu.NumberDone] != want[k.ID] || distinct[k.ID] != want[k.ID] {
			t.Errorf("task %s: %d of %d numbers were dialled, ended with %v", k.Name, distinct[k.ID], want[k.ID], c.State)
		}
		if run.State != waihu.RunEnded || run.Reason != waihu.RunDone {
			t.Errorf("task %s: %+v", k.Name, run)
		}
	}
	if l.peaks["main"] != l.lines["main"] {
		t.Errorf("the main line was never full: %d of %d", l.peaks["main"], l.lines["main"])
	}
	took, work := time.Since(real), cpuTime(t)-busy
	t.Logf("%d numbers, %d dials in %v, %v of CPU (import %v)", numbers, r.field.dials, took.Round(time.Millisecond), work.Round(time.Millisecond), imported.Round(time.Millisecond))
	if took > time.Minute && work > time.Minute { // a machine that others use may be slow without our doing
		t.Errorf("the day took %v of real time, 60 s were allowed", took)
	}
}

// TestAnyCampaign throws random tasks, lines and misfortunes at the loop: restarts, transactions whose answer is lost, a database
// that is away, refused orders, stops and starts, edited lines. The laws hold all the time and in the end every number has ended.
func TestAnyCampaign(t *testing.T) {
	t.Parallel()
	seeds := uint64(12)
	if underRace || testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			anyCampaign(t, seed)
		})
	}
}

func anyCampaign(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 11))
	r := newRig(t, store.Options{})
	r.s.o.Refresh = 2 * time.Second
	var lines []waihu.LineID
	for i := range 1 + rnd.IntN(3) {
		id := waihu.LineID(fmt.Sprint("line", i))
		r.line(id, 6+rnd.IntN(20), rnd.IntN(3)*10)
		lines = append(lines, id)
	}
	left := map[waihu.LineID]int{} // for reservations; two slots stay for the unreserved
	for id, s := range r.field.lines {
		left[id] = s.Capacity - 2
	}
	outcomes := []waihu.Disposition{waihu.Answered, waihu.Answered, waihu.NoAnswer, waihu.Busy, waihu.Vacant, waihu.CarrierFault}
	r.field.script = func(waihu.Attempt) (time.Duration, waihu.Outcome) {
		return time.Duration(rnd.IntN(90_000)) * time.Millisecond, waihu.Outcome{Disposition: outcomes[rnd.IntN(len(outcomes))]}
	}
	r.field.refuse = func(waihu.Attempt) error {
		if rnd.IntN(50) == 0 {
			return errLost
		}
		return nil
	}
	var tasks []waihu.Task
	for i := range 1 + rnd.IntN(4) {
		k := waihu.Task{Name: fmt.Sprint("task", i), Concurrency: 1 + rnd.IntN(25), Pop: waihu.PopOrder(rnd.IntN(3)), EndAction: waihu.EndPause, Unknown: waihu.UnknownPolicy(rnd.IntN(2)),
			Redial: waihu.Redial{Max: rnd.IntN(4), Interval: time.Duration(rnd.IntN(30)) * time.Minute, On: []waihu.Disposition{waihu.NoAnswer, waihu.Busy}, NewFirst: rnd.IntN(2) == 0}}
		if rnd.IntN(2) == 0 {
			for _, id := range lines {
				if n := rnd.IntN(left[id] + 1); n > 0 {
					k.Lines = append(k.Lines, waihu.TaskLine{Line: id, Limit: n})
					left[id] -= n
				}
			}
		}
		if rnd.IntN(3) == 0 {
			k.Weekly = all(waihu.Span{From: hm(9, rnd.IntN(30)), To: hm(10, rnd.IntN(60))}, waihu.Span{From: hm(13, 0), To: 1440})
		}
		if rnd.IntN(4) == 0 {
			k.Interval = time.Duration(1+rnd.IntN(5)) * time.Second
		}
		tasks = append(tasks, r.task(k, 50+rnd.IntN(150)))
	}
	watch(r, tasks...)
	misfortune := func() {
		switch rnd.IntN(9) {
		case 0:
			r.restart()
			r.s.o.Refresh = 2 * time.Second
		case 1:
			r.ledger.after = func(*store.Tick, *store.TickResult, error) error { r.ledger.after = nil; return errLost }
		case 2:
			failures := rnd.IntN(5)
			r.ledger.before = func(*store.Tick) error {
				if failures--; failures < 0 {
					r.ledger.before = nil
					return nil
				}
				return errLost
			}
		case 3, 4:
			k := tasks[rnd.IntN(len(tasks))]
			r.must(r.store.StopTask(r.ctx, account, k.ID))
		case 5:
			id := lines[rnd.IntN(len(lines))]
			l := waihu.LineState{Capacity: rnd.IntN(10)}
			if rnd.IntN(2) == 0 {
				l.Down = "away"
			}
			r.field.mu.Lock()
			r.field.lines[id] = l
			r.field.mu.Unlock()
		case 6: // lost to another owner for a while
			r.free()
			_, err := r.store.TakeShard(r.ctx, 0, "thief", 20*time.Second)
			r.must(err)
		}
	}
	full := r.field.Lines()
	start := func() {
		for _, k := range tasks {
			c := r.counts(k.ID)
			if now, err := r.store.Task(r.ctx, account, k.ID); err != nil {
				t.Fatal(err)
			} else if !now.Started && c.State[waihu.NumberFresh]+c.State[waihu.NumberDue]+c.State[waihu.NumberInFlight] > 0 {
				_, err := r.store.StartTask(r.ctx, account, k.ID)
				r.must(err)
			}
		}
	}
	for range 60 {
		misfortune()
		r.drive(r.clock.Now().Add(time.Duration(rnd.IntN(120))*time.Second), nil)
		r.s.wg.Wait()
		start()
	}
	for id, l := range full {
		r.field.lines[id] = l
	}
	r.s.o.Refresh = time.Hour
	for range 20 {
		start()
		r.drive(r.clock.Now().Add(6*time.Hour), nil)
	}
	for _, k := range tasks {
		if c := r.counts(k.ID); c.State[waihu.NumberFresh]+c.State[waihu.NumberDue]+c.State[waihu.NumberInFlight] > 0 || c.State[waihu.NumberDone] == 0 {
			t.Errorf("task %s has not ended: %v", k.Name, c.State)
		}
	}
	if len(r.s.live) > 0 || len(r.s.known) > 0 || len(r.s.n.task) > 0 {
		t.Errorf("memory is not empty: %d live, %d known, %v", len(r.s.live), len(r.s.known), r.s.n)
	}
}
