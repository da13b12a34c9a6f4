package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"waihu"
)

// The sizes are those of the targets: a task of a million numbers.
const (
	benchNumbers = 1_000_000
	benchBatch   = 5_000 // rows a call, as the doors stream them
)

func benchEngines(b *testing.B, f func(b *testing.B, s *Store)) {
	b.Run("sqlite", func(b *testing.B) { f(b, mustOpen(b, Options{Dir: b.TempDir()})) })
	b.Run("postgres", func(b *testing.B) { f(b, mustOpen(b, Options{DSN: postgresDSN(b)})) })
}

func benchRows(from, n int) []NewNumber {
	list := make([]NewNumber, n)
	for i := range list {
		list[i] = NewNumber{Phone: waihu.PhoneNumber(strconv.Itoa(13000000000 + from + i)),
			Data: waihu.NumberData{Vars: map[string]string{"name": "王先生", "order": strconv.Itoa(from + i), "city": "上海"}}}
	}
	return list
}

// maintained runs Maintain beside the benchmark, as serve does.
func maintained(b *testing.B, s *Store) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Maintain(ctx) })
	b.Cleanup(func() { cancel(); wg.Wait() })
}

// BenchmarkImport: go test -run '^$' -bench Import -benchtime 1x ./store/
func BenchmarkImport(b *testing.B) {
	benchEngines(b, func(b *testing.B, s *Store) {
		maintained(b, s)
		w := newWorld(b, s)
		for i := range b.N {
			id := waihu.TaskID(fmt.Sprint("t", i))
			w.task(id)
			start := time.Now()
			for from := 0; from < benchNumbers; from += benchBatch {
				if _, err := s.AddNumbers(w.ctx, acme, id, benchRows(from, benchBatch)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(benchNumbers/time.Since(start).Seconds(), "rows/s")
		}
	})
}

// load keeps a task under dialling: each tick books the calls of the tick before and dials as many.
type load struct {
	*world
	task  waihu.TaskID
	run   int
	batch int
	live  []LiveCall
	times []time.Duration
}

func (l *load) tick() int {
	k := &Tick{Pops: []Pop{pop(l.task, l.run, l.batch)}}
	for _, c := range l.live {
		bk := ended(c, waihu.NoAnswer, waihu.NumberDone)
		bk.Outcome.Evidence = []waihu.Evidence{{Kind: "sip", Value: "480 Temporarily Unavailable", AtMS: 30000}}
		k.Book = append(k.Book, bk)
	}
	start := time.Now()
	r := l.world.tick(k)
	l.times = append(l.times, time.Since(start))
	l.live = l.live[:0]
	for _, d := range r.Dials {
		l.live = append(l.live, d.LiveCall)
	}
	return len(r.Dials)
}

func (l *load) percentile(p float64) time.Duration {
	t := slices.Sorted(slices.Values(l.times))
	return t[min(len(t)-1, int(float64(len(t))*p))]
}

// BenchmarkTick: call starts a second on a task of a million numbers, each booked in a later tick.
// go test -run '^$' -bench Tick -benchtime 10s ./store/
func BenchmarkTick(b *testing.B) {
	benchEngines(b, func(b *testing.B, s *Store) {
		w := newWorld(b, s)
		w.line("l1", 1000)
		w.task("t1", func(k *waihu.Task) { k.Concurrency = 1000 })
		for from := 0; from < benchNumbers; from += 50_000 {
			if _, err := s.AddNumbers(w.ctx, acme, "t1", benchRows(from, 50_000)); err != nil {
				b.Fatal(err)
			}
		}
		maintained(b, s)
		run := w.start("t1")
		from := benchNumbers
		for _, batch := range []int{20, 100, 300} {
			b.Run(strconv.Itoa(batch), func(b *testing.B) {
				l := &load{world: w, task: "t1", run: run.N, batch: batch}
				dials := 0
				start := time.Now()
				for b.Loop() {
					n := l.tick()
					dials += n
					if n < batch {
						b.Fatal("the task has no number left: fewer iterations are needed")
					}
				}
				b.ReportMetric(float64(dials)/time.Since(start).Seconds(), "starts/s")
				b.ReportMetric(float64(l.percentile(0.99).Microseconds())/1000, "p99-ms")
				l.batch = 0
				l.tick()
			})
		}
		// The same offered load, 500 starts a second, without and with an import beside it: the first is the control.
		for _, importing := range []bool{false, true} {
			b.Run(map[bool]string{false: "alone", true: "beside-import"}[importing], func(b *testing.B) {
				ctx, cancel := context.WithCancel(w.ctx)
				var wg sync.WaitGroup
				rows := 0
				if importing {
					wg.Go(func() {
						for ; ctx.Err() == nil; from += benchBatch {
							r, _ := s.AddNumbers(ctx, acme, "t1", benchRows(from, benchBatch)) // ends with the context
							rows += r.Added
						}
					})
				}
				l := &load{world: w, task: "t1", run: run.N, batch: 10}
				start := time.Now()
				clock := time.NewTicker(20 * time.Millisecond)
				defer clock.Stop()
				for b.Loop() {
					<-clock.C
					l.tick()
				}
				cancel()
				wg.Wait()
				b.ReportMetric(float64(rows)/time.Since(start).Seconds(), "rows/s")
				b.ReportMetric(float64(l.percentile(0.5).Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(l.percentile(0.99).Microseconds())/1000, "p99-ms")
				l.batch = 0
				l.tick()
			})
		}
		b.Run("counts", func(b *testing.B) {
			for b.Loop() {
				if c, err := s.Counts(w.ctx, acme, "t1"); err != nil || c.numbers() < benchNumbers {
					b.Fatal(c, err)
				}
			}
		})
	})
}

// BenchmarkPages: what the lists of a task of a million numbers and 200,000 calls cost, each page read as if no page had been read
// before. go test -run '^$' -bench Pages -benchtime 5x ./store/
func BenchmarkPages(b *testing.B) {
	benchEngines(b, func(b *testing.B, s *Store) {
		w := newWorld(b, s)
		w.line("l1", 1000)
		w.task("t1", func(k *waihu.Task) { k.Concurrency = 1000 })
		for from := 0; from < benchNumbers; from += 50_000 {
			if _, err := s.AddNumbers(w.ctx, acme, "t1", benchRows(from, 50_000)); err != nil {
				b.Fatal(err)
			}
		}
		maintained(b, s)
		l := &load{world: w, task: "t1", run: w.start("t1").N, batch: 500}
		for range 400 {
			l.tick()
		}
		some, _, err := s.Calls(w.ctx, acme, "t1", CallFilter{PerPage: 1})
		if err != nil {
			b.Fatal(err)
		}
		const perPage = 100
		numbers := func(f NumberFilter) func() (int, error) {
			return func() (int, error) {
				f.PerPage = perPage
				list, _, err := s.Numbers(w.ctx, acme, "t1", f)
				return len(list), err
			}
		}
		calls := func(f CallFilter) func() (int, error) {
			return func() (int, error) {
				f.PerPage = perPage
				list, _, err := s.Calls(w.ctx, acme, "t1", f)
				return len(list), err
			}
		}
		done, last := []waihu.Disposition{waihu.NoAnswer}, benchNumbers/perPage
		for _, x := range []struct {
			name string
			read func() (int, error)
		}{
			{"numbers/first", numbers(NumberFilter{Page: 1})},
			{"numbers/middle", numbers(NumberFilter{Page: last / 2})},
			{"numbers/last", numbers(NumberFilter{Page: last})},
			{"numbers/by-status", numbers(NumberFilter{Page: 2, Status: done})},
			{"numbers/by-status-late", numbers(NumberFilter{Page: 1900, Status: done})},
			{"numbers/by-day", numbers(NumberFilter{Page: 1, CreatedFrom: time.Now().Add(-24 * time.Hour)})},
			{"calls/first", calls(CallFilter{Page: 1})},
			{"calls/first-ended", calls(CallFilter{Page: 1, Ended: true})},
			{"calls/last-ended", calls(CallFilter{Page: 1990, Ended: true})},
			{"calls/by-number", calls(CallFilter{Phone: string(some[0].Phone)})},
			{"calls/by-hour", calls(CallFilter{StartedFrom: time.Now().Add(-time.Hour), Ended: true})},
			{"stat", func() (int, error) {
				_, err := s.Counts(w.ctx, acme, "t1")
				return 1, err
			}},
			{"stat-between", func() (int, error) {
				_, err := s.CountsBetween(w.ctx, acme, "t1", time.Now().Add(-time.Hour), time.Now())
				return 1, err
			}},
			{"tasks", func() (int, error) {
				list, _, err := s.Tasks(w.ctx, []waihu.AccountID{acme}, TaskFilter{PerPage: perPage})
				return len(list), err
			}},
		} {
			b.Run(x.name, func(b *testing.B) {
				for b.Loop() {
					s.pages.drop()
					if n, err := x.read(); err != nil || n == 0 {
						b.Fatal(n, err)
					}
				}
			})
		}
	})
}

// BenchmarkBeside: 500 call starts a second alone, beside a reset of 100,000 numbers and beside the deletion of a task with as many.
// go test -run '^$' -bench Beside -benchtime 300x ./store/
func BenchmarkBeside(b *testing.B) {
	const others = 100_000
	benchEngines(b, func(b *testing.B, s *Store) {
		w := newWorld(b, s)
		w.line("l1", 1000)
		for _, id := range []waihu.TaskID{"t1", "other"} {
			w.task(id, func(k *waihu.Task) { k.Concurrency = 1000 })
			for from := 0; from < others; from += 10_000 {
				if _, err := s.AddNumbers(w.ctx, acme, id, benchRows(from, 10_000)); err != nil {
					b.Fatal(err)
				}
			}
		}
		maintained(b, s)
		run := w.start("t1")
		finish := func() { // all of the other task's numbers are done
			w.do(func(x *tx) error {
				for _, sql := range []string{`update numbers set state = 3 where task = $1`, `update counts set n = case code when '3' then n + (select c.n from counts c where c.task = $1 and c.kind = 's' and c.code = '0') else 0 end
					where task = $1 and kind = 's' and code in ('0', '3')`} {
					if _, err := x.exec(sql, s.tasks["other"].serial); err != nil {
						return err
					}
				}
				return nil
			})
		}
		for _, x := range []struct {
			name string
			do   func() error
		}{
			{"alone", nil},
			{"reset", func() error {
				n, err := s.ResetNumbers(w.ctx, acme, "other", NumberFilter{})
				if err == nil && n != others {
					err = fmt.Errorf("%d of %d reset", n, others)
				}
				return err
			}},
			{"delete", func() error { return s.DeleteTask(w.ctx, acme, "other") }},
		} {
			b.Run(x.name, func(b *testing.B) {
				finish()
				l := &load{world: w, task: "t1", run: run.N, batch: 10}
				over, begin := make(chan error, 1), time.Now()
				if x.do != nil {
					go func() { over <- x.do() }()
				}
				clock := time.NewTicker(20 * time.Millisecond)
				defer clock.Stop()
				took := time.Duration(0)
				for b.Loop() {
					<-clock.C
					l.tick()
					select {
					case err := <-over:
						if took = time.Since(begin); err != nil {
							b.Fatal(err)
						}
					default:
					}
				}
				if x.do != nil && took == 0 {
					if err := <-over; err != nil {
						b.Fatal(err)
					}
					took = time.Since(begin)
				}
				b.ReportMetric(took.Seconds(), "bulk-s")
				b.ReportMetric(float64(l.percentile(0.5).Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(l.percentile(0.99).Microseconds())/1000, "p99-ms")
				l.batch = 0
				l.tick()
			})
		}
	})
}
