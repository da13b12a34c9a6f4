package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"waihu"
	"waihu/schedule"
	"waihu/store"
)

// ledgerBench is a ledger with one account, one line and one task, made for measuring.
type ledgerBench struct {
	rows     int
	seconds  int
	rate     int
	rounds   int
	database string
	data     string
	store    *store.Store
	task     waihu.Task
}

const (
	benchAccount = waihu.AccountID("bench")
	benchLine    = waihu.LineID("bench")
	benchAgent   = waihu.AgentID("bench")
	benchCap     = 2000
	benchTalk    = 50 * time.Millisecond // how long a simulated call lasts
)

// openLedgerBench reads the flags and opens a ledger in a temporary folder, or on an empty PostgreSQL database.
func openLedgerBench(ctx context.Context, std stdio, name string, args []string) (*ledgerBench, func(), error) {
	b := &ledgerBench{}
	fs := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	fs.SetOutput(std.err)
	fs.IntVar(&b.rows, "rows", 1_000_000, "`numbers` of the task")
	fs.IntVar(&b.seconds, "seconds", 20, "`seconds` of each phase of dialling")
	fs.IntVar(&b.rate, "rate", 500, "call starts a `second` of the phases at a fixed load")
	fs.IntVar(&b.rounds, "rounds", 5, "`rounds` of slices, where like is compared with like")
	fs.StringVar(&b.database, "database", "", "PostgreSQL `address` of an empty database; default SQLite in a temporary folder")
	fs.StringVar(&b.data, "data", "", "`folder` for the SQLite file; default a temporary one (its disk is what is measured)")
	if err := fs.Parse(args); err != nil {
		return nil, nil, err
	}
	if b.rows < 1 || b.seconds < 1 || b.rate < 1 || b.rounds < 1 {
		return nil, nil, errors.New("--rows, --seconds, --rate and --rounds want a positive number")
	}
	dir, err := os.MkdirTemp(b.data, "waihu-bench-")
	if err != nil {
		return nil, nil, err
	}
	b.store, err = store.Open(ctx, store.Options{Dir: dir, DSN: b.database, Key: make([]byte, 32)})
	if err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	done := func() {
		b.store.Close()
		os.RemoveAll(dir)
	}
	if err := b.furnish(ctx); err != nil {
		done()
		return nil, nil, err
	}
	return b, done, nil
}

func (b *ledgerBench) furnish(ctx context.Context) error {
	if err := b.store.UpsertAccount(ctx, waihu.Account{ID: benchAccount, Name: "bench"}); err != nil {
		return err
	}
	if err := b.store.UpsertLine(ctx, waihu.Line{ID: benchLine, Account: benchAccount, Name: "bench", Concurrency: benchCap, Trunk: waihu.Trunk{URI: "sim:bench"}}); err != nil {
		return err
	}
	spec := waihu.AgentSpec{ID: benchAgent, Account: benchAccount, Name: "bench", Version: 1, Brain: waihu.BrainFlow,
		Flow: &waihu.FlowSpec{Start: "bye", Nodes: map[string]waihu.NodeSpec{"bye": {Say: "再见。", Do: []waihu.Action{{Kind: "hangup"}}}}}}
	if err := b.store.SaveAgent(ctx, &spec); err != nil {
		return err
	}
	var week waihu.Weekly
	for d := range week {
		week[d] = []waihu.Span{{From: 0, To: 1440}}
	}
	b.task = waihu.Task{Account: benchAccount, Name: "bench", Agent: benchAgent, Concurrency: benchCap,
		Lines: []waihu.TaskLine{{Line: benchLine, Limit: benchCap}}, Weekly: week,
		Redial: waihu.Redial{Max: 1, Interval: time.Minute, On: []waihu.Disposition{waihu.NoAnswer}}}
	return b.store.CreateTask(ctx, &b.task)
}

// fill imports the rows and says how fast.
func (b *ledgerBench) fill(ctx context.Context, std stdio) error {
	bar := newBar(std.err, "importing", int64(b.rows))
	defer bar.end()
	const batch = 20_000
	list := make([]store.NewNumber, 0, batch)
	began := time.Now()
	for i := 0; i < b.rows; {
		list = list[:0]
		for ; i < b.rows && len(list) < batch; i++ {
			list = append(list, store.NewNumber{Phone: waihu.PhoneNumber(fmt.Sprintf("1%010d", i)),
				Data: waihu.NumberData{Vars: map[string]string{"name": "张三", "amount": "128.50", "due": "2026-12-01"}}})
		}
		if _, err := b.store.AddNumbers(ctx, benchAccount, b.task.ID, list); err != nil {
			return err
		}
		bar.set(int64(i), fmt.Sprintf("%.0f rows/s", float64(i)/time.Since(began).Seconds()))
	}
	took := time.Since(began)
	bar.clear()
	fmt.Fprintf(std.out, "import: %d rows in %.1f s = %.0f rows/s (indexes in place, three variables a row)\n", b.rows, took.Seconds(), float64(b.rows)/took.Seconds())
	return nil
}

func benchImport(ctx context.Context, std stdio, args []string) error {
	b, done, err := openLedgerBench(ctx, std, "import", args)
	if err != nil {
		return err
	}
	defer done()
	if err := b.fill(ctx, std); err != nil {
		return err
	}
	return b.progress(ctx, std.out)
}

// progress measures how long it takes to say where the task stands.
func (b *ledgerBench) progress(ctx context.Context, out io.Writer) error {
	var times spread
	for range 201 {
		began := time.Now()
		if _, err := b.store.Counts(ctx, benchAccount, b.task.ID); err != nil {
			return err
		}
		times = append(times, time.Since(began))
	}
	fmt.Fprintf(out, "progress of the task: %v\n", times)
	return nil
}

// benchDialer answers every order after benchTalk: 60 % answered, the rest not.
type benchDialer struct {
	book   func(waihu.Outcome)
	wg     sync.WaitGroup
	mu     sync.Mutex
	placed int
}

func (d *benchDialer) Place(a waihu.Attempt) error {
	d.mu.Lock()
	d.placed++
	d.mu.Unlock()
	d.wg.Add(1)
	time.AfterFunc(benchTalk, func() {
		defer d.wg.Done()
		now := time.Now()
		o := waihu.Outcome{Call: a.Call, Disposition: waihu.NoAnswer, HangupBy: waihu.BySystem, InviteAt: a.StartedAt, EndAt: now}
		if rand.IntN(10) < 6 {
			o.Disposition, o.AnswerAt, o.Grade = waihu.Answered, now.Add(-benchTalk/2), "A"
			o.Transcript = []waihu.Turn{{Who: "agent", Text: "您好。"}, {Who: "callee", Text: "好的", Intent: "yes"}}
		}
		d.book(o)
	})
	return nil
}

func (d *benchDialer) Lines() map[waihu.LineID]waihu.LineState {
	return map[waihu.LineID]waihu.LineState{benchLine: {Capacity: benchCap}}
}

func (d *benchDialer) EndOrphans(_ context.Context, orphans []waihu.Orphan, done func(waihu.CallID)) {
	for _, o := range orphans {
		done(o.Call)
	}
}

func (d *benchDialer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.placed
}

// timedLedger notes how long each tick takes.
type timedLedger struct {
	*store.Store
	mu    sync.Mutex
	ticks spread
}

func (l *timedLedger) Tick(ctx context.Context, k *store.Tick) (*store.TickResult, error) {
	began := time.Now()
	r, err := l.Store.Tick(ctx, k)
	l.mu.Lock()
	l.ticks = append(l.ticks, time.Since(began))
	l.mu.Unlock()
	return r, err
}

func (l *timedLedger) take() spread {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.ticks
	l.ticks = nil
	return out
}

func benchSchedule(ctx context.Context, std stdio, args []string) error {
	b, done, err := openLedgerBench(ctx, std, "schedule", args)
	if err != nil {
		return err
	}
	defer done()
	if err := b.fill(ctx, std); err != nil {
		return err
	}
	return b.scheduled(ctx, func(ledger *timedLedger, dialer *benchDialer) error { return b.dial(ctx, std.out, ledger, dialer) })
}

// scheduled starts the task and runs f beside a scheduler that dials it.
func (b *ledgerBench) scheduled(ctx context.Context, f func(*timedLedger, *benchDialer) error) error {
	if _, err := b.store.StartTask(ctx, benchAccount, b.task.ID); err != nil {
		return err
	}
	ledger := &timedLedger{Store: b.store}
	dialer := &benchDialer{}
	sched := schedule.New(schedule.Options{Store: ledger, Place: dialer, Agent: b.store.Agent, Owner: b.store.Owner()})
	dialer.book = sched.Book
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan error, 1)
	go func() { stopped <- sched.Run(run) }()
	err := f(ledger, dialer)
	if e := sched.Drain(context.WithoutCancel(ctx)); err == nil {
		err = e
	}
	dialer.wg.Wait()
	stop()
	if e := <-stopped; err == nil {
		err = e
	}
	return err
}

// dial counts starts over the time asked for: as fast as it goes, then at a fixed load alone (twice, so that the
// difference between like and like is known) and beside an import.
func (b *ledgerBench) dial(ctx context.Context, out io.Writer, ledger *timedLedger, dialer *benchDialer) error {
	span := time.Duration(b.seconds) * time.Second
	if err := wait(ctx, 2*time.Second); err != nil { // caches and plans
		return err
	}
	phase := func(name string, beside func(context.Context)) error {
		ledger.take()
		before, began := dialer.count(), time.Now()
		inner, cancel := context.WithTimeout(ctx, span)
		defer cancel()
		var wg sync.WaitGroup
		if beside != nil {
			wg.Go(func() { beside(inner) })
		}
		<-inner.Done()
		n, took := dialer.count()-before, time.Since(began)
		wg.Wait()
		fmt.Fprintf(out, "%s: %d call starts in %.1f s = %.0f/s; ticks %v\n", name, n, took.Seconds(), float64(n)/took.Seconds(), ledger.take())
		return ctx.Err()
	}
	if err := phase("as fast as it goes", nil); err != nil {
		return err
	}
	if err := b.pace(ctx); err != nil {
		return err
	}
	if err := wait(ctx, 2*time.Second); err != nil { // the calls of the phase before end
		return err
	}
	for _, name := range []string{"at a fixed load", "at a fixed load, again"} {
		if err := phase(name, nil); err != nil {
			return err
		}
	}
	imported := 0
	if err := phase("at a fixed load beside an import", func(ctx context.Context) { imported = b.importAlong(ctx) }); err != nil {
		return err
	}
	fmt.Fprintf(out, "imported meanwhile: %.0f rows/s\n", float64(imported)/span.Seconds())
	return b.progress(ctx, out)
}

// pace limits the line to the fixed load.
func (b *ledgerBench) pace(ctx context.Context) error {
	line, err := b.store.Line(ctx, benchAccount, benchLine)
	if err != nil {
		return err
	}
	line.CPS = b.rate
	return b.store.UpsertLine(ctx, line)
}

// importAlong imports until ctx ends and returns how many numbers it has added.
func (b *ledgerBench) importAlong(ctx context.Context) (added int) {
	for n := 0; ctx.Err() == nil; n++ {
		list := make([]store.NewNumber, 2000)
		for i := range list {
			list[i] = store.NewNumber{Phone: waihu.PhoneNumber(fmt.Sprintf("2%05d%05d", n, i))}
		}
		r, err := b.store.AddNumbers(ctx, benchAccount, b.task.ID, list)
		if err != nil {
			return added
		}
		added += r.Added
	}
	return added
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
