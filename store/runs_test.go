package store

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"waihu"
)

func lines(list ...waihu.TaskLine) func(*waihu.Task) {
	return func(k *waihu.Task) { k.Lines = list }
}

func concurrency(n int) func(*waihu.Task) { return func(k *waihu.Task) { k.Concurrency = n } }

func TestReservations(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.line("l2", 4)
		w.task("a", lines(waihu.TaskLine{Line: "l1", Limit: 6}, waihu.TaskLine{Line: "l2", Limit: 6}), concurrency(3))
		w.task("b", lines(waihu.TaskLine{Line: "l1", Limit: 8}), concurrency(20))
		w.task("c") // names no line
		residue := func(except waihu.TaskID, l1, l2 int) {
			t.Helper()
			got, err := w.Residue(w.ctx, acme, except)
			if err != nil || len(got) != 2 || got["l1"] != l1 || got["l2"] != l2 {
				t.Errorf("residue without %q: %v %v, want %d and %d", except, got, err, l1, l2)
			}
		}
		residue("", 10, 4)
		w.start("a") // min(6, 3) on each
		residue("", 7, 1)
		residue("a", 10, 4)
		_, err := w.StartTask(w.ctx, acme, "b")
		if !errors.Is(err, waihu.ErrResidue) || waihu.ErrorCode(err) != waihu.EConflict || !strings.Contains(err.Error(), "l1") || !strings.Contains(err.Error(), "7") {
			t.Fatalf("a start beyond the residue: %v, want ErrResidue naming line and residue", err)
		}
		w.start("c")
		residue("", 7, 1)
		// The same run is returned for a started task.
		if again := w.start("a"); again.N != 1 || again.State != waihu.RunOpen {
			t.Fatalf("start of a started task: %+v", again)
		}
		// A draining run's hold is taken over by the next run.
		w.numbers("a", 0, 2)
		r := w.tick(&Tick{Pops: []Pop{pop("a", 1, 1)}})
		if err := w.StopTask(w.ctx, acme, "a"); err != nil {
			t.Fatal(err)
		}
		residue("", 7, 1)
		if run := w.start("a"); run.N != 2 {
			t.Fatalf("second run %+v", run)
		}
		residue("", 7, 1)
		r2 := w.tick(&Tick{Book: []Booking{ended(r.Dials[0].LiveCall, waihu.Busy, waihu.NumberDone)}})
		if len(r2.Ended) != 1 || r2.Ended[0] != (RunRef{"a", 1}) {
			t.Fatalf("the drained run: %+v", r2)
		}
		residue("", 7, 1)
		owned, err := w.OwnedTasks(w.ctx, 0)
		if err != nil || len(owned) != 2 || owned[0].Task.ID != "a" || len(owned[0].Runs) != 1 || owned[0].Reserved["l1"] != 3 || len(owned[0].Lines) != 2 ||
			owned[0].Gauge.Fresh != 1 || len(owned[1].Reserved) != 0 || len(owned[1].Lines) != 2 {
			t.Fatalf("owned tasks: %+v %v", owned, err)
		}
		if err := w.StopTask(w.ctx, acme, "a"); err != nil {
			t.Fatal(err)
		}
		residue("", 10, 4)
		if err := w.StopTask(w.ctx, acme, "a"); err != nil {
			t.Fatalf("stop of a stopped task: %v", err)
		}
		w.checkGauges()
	})
}

func TestStartRefusals(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.task("t1")
		if _, err := w.StartTask(w.ctx, acme, "t1"); !errors.Is(err, waihu.ErrNoLine) || waihu.ErrorCode(err) != waihu.EConflict {
			t.Errorf("a start without a line: %v", err)
		}
		w.line("dead", 0)
		if _, err := w.StartTask(w.ctx, acme, "t1"); !errors.Is(err, waihu.ErrNoLine) {
			t.Errorf("a start with a line without channels: %v", err)
		}
		w.line("l1", 5)
		w.task("over", func(k *waihu.Task) { k.Stop = time.Now().Add(-time.Minute) })
		if _, err := w.StartTask(w.ctx, acme, "over"); !errors.Is(err, waihu.ErrWindowOver) {
			t.Errorf("a start after the window: %v", err)
		}
		if runs, err := w.Runs(w.ctx, acme, "over"); err != nil || len(runs) != 0 {
			t.Errorf("a refused start left %v %v", runs, err)
		}
		if _, err := w.StartTask(w.ctx, acme, "nowhere"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a start of no task: %v", err)
		}
	})
}

func TestDeleteTask(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 5)
		k := w.task("t1", lines(waihu.TaskLine{Line: "l1", Limit: 2}))
		w.task("t2")
		w.numbers("t1", 0, 450)
		w.numbers("t2", 0, 3)
		w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 250)}})
		if err := w.StopTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"delete": w.DeleteTask(w.ctx, acme, "t1"),
			"remove": second(w.RemoveNumbers(w.ctx, acme, "t1", []string{"13800000001"})),
			"reset":  second(w.ResetNumbers(w.ctx, acme, "t1", NumberFilter{})),
		} {
			if !errors.Is(err, waihu.ErrRunsOpen) || waihu.ErrorCode(err) != waihu.EConflict {
				t.Errorf("%s beside a draining run: %v", name, err)
			}
		}
		var book []Booking
		for _, d := range r.Dials {
			b := ended(d.LiveCall, waihu.Answered, waihu.NumberDone)
			b.Outcome.Tags = []string{"x"}
			book = append(book, b)
		}
		w.tick(&Tick{Book: book})
		if err := w.DeleteTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		w.rows(`select 'numbers' from numbers where task = $1 union all select 'calls' from calls where task = $1 union all select 'stats' from stats where task = $1
			union all select 'counts' from counts where task = $1 union all select 'runs' from runs where task = $1 union all select 'task' from tasks where serial = $1
			union all select 'lines' from task_lines where task = $1`, func(line string) { t.Errorf("left behind: %s", line) }, k.Serial)
		w.rows(`select 'details ' || call from call_details`, func(line string) { t.Errorf("left behind: %s", line) })
		if _, err := w.Counts(w.ctx, acme, "t1"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("counts of a deleted task: %v", err)
		}
		if c, err := w.Counts(w.ctx, acme, "t2"); err != nil || c.State[0] != 3 {
			t.Errorf("the other task: %+v %v", c, err)
		}
		w.checkGauges()
	})
}

func second[T any](_ T, err error) error { return err }

func TestInterruptedDeletionIsFinished(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		k := w.task("t1")
		w.numbers("t1", 0, 300)
		w.do(func(x *tx) error {
			_, err := x.exec(`update tasks set deleted = 1 where serial = $1`, k.Serial)
			return err
		})
		if err := w.finishDeletions(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.rows(`select 'number ' || seq from numbers`, func(line string) { t.Errorf("left behind: %s", line) })
	})
}

// Every method that names an account must not reach another account's task.
func TestTenancy(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 5)
		w.task("t1")
		w.numbers("t1", 0, 3)
		w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 1)}})
		w.tick(&Tick{Book: []Booking{ended(r.Dials[0].LiveCall, waihu.Busy, waihu.NumberDone)}})
		before := w.recount()
		ctx, s := w.ctx, w.Store
		for name, err := range map[string]error{
			"StartTask":      second(s.StartTask(ctx, stranger, "t1")),
			"StopTask":       s.StopTask(ctx, stranger, "t1"),
			"DeleteTask":     s.DeleteTask(ctx, stranger, "t1"),
			"Runs":           second(s.Runs(ctx, stranger, "t1")),
			"Residue":        second(s.Residue(ctx, stranger, "t1")),
			"AddNumbers":     second(s.AddNumbers(ctx, stranger, "t1", []NewNumber{{Phone: "1"}})),
			"Numbers":        third(s.Numbers(ctx, stranger, "t1", NumberFilter{})),
			"NumbersByPhone": second(s.NumbersByPhone(ctx, stranger, "t1", "13800000000")),
			"RemoveNumbers":  second(s.RemoveNumbers(ctx, stranger, "t1", []string{"13800000000"})),
			"ResetNumbers":   second(s.ResetNumbers(ctx, stranger, "t1", NumberFilter{})),
			"Calls":          third(s.Calls(ctx, stranger, "t1", CallFilter{})),
			"Call":           second(s.Call(ctx, stranger, "t1", r.Dials[0].Call)),
			"Counts":         second(s.Counts(ctx, stranger, "t1")),
			"CountsBetween":  second(s.CountsBetween(ctx, stranger, "t1", time.Now(), time.Now())),
		} {
			if waihu.ErrorCode(err) != waihu.ENotFound {
				t.Errorf("%s by a stranger: %v, want not_found", name, err)
			}
		}
		if after := w.recount(); before != after {
			t.Errorf("a stranger changed the ledger:\n%s\n%s", before, after)
		}
		if got, err := s.Events(ctx, stranger, 0, 0); err != nil || len(got) != 0 {
			t.Errorf("a stranger's events: %v %v", got, err)
		}
		if got, err := s.Residue(ctx, stranger, ""); err != nil || len(got) != 0 {
			t.Errorf("a stranger's lines: %v %v", got, err)
		}
		if err := s.Suppress(ctx, acme, "13900000000", "asked", 0); err != nil {
			t.Fatal(err)
		}
		if err := s.Unsuppress(ctx, stranger, "13900000000"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger lifts a suppression: %v", err)
		}
		w.task("t2")
		if _, err := s.Call(ctx, acme, "t2", r.Dials[0].Call); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a call under another task of the account: %v", err)
		}
	})
}

func third[A, B any](_ A, _ B, err error) error { return err }

// TestCloseAsDone: a run is closed as done only when the ledger agrees at that moment, whatever its owner has read before.
func TestCloseAsDone(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t1")
		w.numbers("t1", 0, 1)
		run := w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 1)}})
		done := []RunClose{{Task: "t1", Run: run.N, Reason: waihu.RunDone}}
		if early := w.tick(&Tick{Close: done}); len(early.Closed) != 0 || len(early.Ended) != 0 {
			t.Errorf("closed as done with a number in flight: %+v", early)
		}
		w.numbers("t1", 1, 1) // between the owner's reading and its tick
		book := []Booking{ended(r.Dials[0].LiveCall, waihu.Answered, waihu.NumberDone)}
		late := w.tick(&Tick{Close: done, Book: book})
		if len(late.Closed) != 0 || late.Gauges["t1"].Fresh != 1 {
			t.Errorf("closed as done with a fresh number: %+v", late)
		}
		r = w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 1)}})
		book[0] = ended(r.Dials[0].LiveCall, waihu.Answered, waihu.NumberDone)
		last := w.tick(&Tick{Close: done, Book: book})
		if want := (RunRef{"t1", run.N}); len(last.Closed) != 1 || last.Closed[0] != want || len(last.Ended) != 1 || last.Ended[0] != want {
			t.Errorf("the run with its last call: %+v", last)
		}
		// Any other reason closes it with numbers left.
		w.numbers("t1", 2, 1)
		run = w.start("t1")
		if r := w.tick(&Tick{Close: []RunClose{{Task: "t1", Run: run.N, Reason: waihu.RunTimeout}}}); len(r.Closed) != 1 {
			t.Errorf("the stop time: %+v", r)
		}
		w.checkGauges()
	})
}

// TestCloseBesideImport closes runs as done while another writer imports into them: whatever an import has committed
// before a close is still to be dialled, and neither waits for the other for ever.
func TestCloseBesideImport(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t1")
		w.numbers("t1", 0, 1)
		const batches = 60
		imported := make(chan error, 1)
		go func() {
			for i := range batches {
				if _, err := w.AddNumbers(w.ctx, acme, "t1", []NewNumber{{Phone: waihu.PhoneNumber(strconv.Itoa(13900000000 + i))}}); err != nil {
					imported <- err
					return
				}
			}
			imported <- nil
		}()
		var book []Booking
		for over := false; ; {
			run := w.start("t1")
			r := w.tick(&Tick{Book: book, Close: []RunClose{{Task: "t1", Run: run.N, Reason: waihu.RunDone}}, Pops: []Pop{pop("t1", run.N, 3)}})
			book = nil
			for _, d := range r.Dials {
				book = append(book, ended(d.LiveCall, waihu.Answered, waihu.NumberDone))
			}
			if len(r.Closed) > 0 && (len(r.Dials) > 0 || r.Gauges["t1"].Fresh > 0) {
				t.Fatalf("closed as done with numbers left: %+v", r)
			}
			if over && len(book) == 0 {
				break
			}
			select {
			case err := <-imported:
				if err != nil {
					t.Fatal(err)
				}
				over = true
			default:
			}
		}
		if c, err := w.Counts(w.ctx, acme, "t1"); err != nil || c.State[waihu.NumberDone] != batches+1 {
			t.Errorf("%+v, %v", c.State, err)
		}
		w.checkGauges()
	})
}
