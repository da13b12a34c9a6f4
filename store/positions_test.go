package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
)

// checkPositions compares what is known of blocks with the rows.
func (w *world) checkPositions() {
	w.Helper()
	w.Store.positions.mu.Lock()
	defer w.Store.positions.mu.Unlock()
	for task, k := range w.Store.positions.tasks {
		want := map[string]int{}
		w.rows(fmt.Sprintf(`select (seq / %d) || ' ' || outcome from numbers where task = %d and state <> 4`, blockSize, task), func(line string) { want[line]++ })
		for i := range k.blocks {
			b := &k.blocks[i]
			if b.writing != 0 {
				w.Errorf("block %d of task %d is being written by %d", i, task, b.writing)
			}
			for outcome, n := range b.byOutcome {
				if b.counted && want[fmt.Sprint(i, " ", outcome)] != int(n) {
					w.Errorf("block %d of task %d: %d numbers with outcome %d, the rows are %d", i, task, n, outcome, want[fmt.Sprint(i, " ", outcome)])
				}
			}
		}
	}
}

// pages reads all pages of a filter and compares them with the rows themselves.
func (w *world) checkPages(task waihu.TaskID, f NumberFilter, perPage int) {
	w.Helper()
	var want []int64
	ref := w.Store.tasks[task]
	q, err := f.query(ref)
	if err != nil {
		w.Fatal(err)
	}
	w.do(func(x *tx) error {
		return x.eachNumber(ref, func(n waihu.Number) { want = append(want, n.Seq) }, q.String()+` order by n.seq`, q.args...)
	})
	pages := max(1, (len(want)+perPage-1)/perPage)
	for _, page := range []int{1, 2, pages / 3, pages / 2, pages - 1, pages, pages + 1} {
		f.Page, f.PerPage = max(1, page), perPage
		list, total, err := w.Numbers(w.ctx, acme, task, f)
		if err != nil {
			w.Fatal(err)
		}
		var got []int64
		for _, n := range list {
			got = append(got, n.Seq)
		}
		from := min((f.Page-1)*perPage, len(want))
		if part := want[from:min(from+perPage, len(want))]; total != len(want) || !slices.Equal(got, part) {
			w.Fatalf("%+v: %d rows of %d, %v; want %d, %v", f, len(got), total, got, len(want), part)
		}
	}
}

// TestPlacedPages: pages by status and time are the rows themselves, whatever has happened before and between.
func TestPlacedPages(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		clock := time.UnixMilli(1_700_000_000_000)
		var mu sync.Mutex
		w := newWorld(t, open(Options{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }}))
		pass := func(d time.Duration) { mu.Lock(); clock = clock.Add(d); mu.Unlock() }
		rng := rand.New(rand.NewPCG(3, 4))
		w.line("l1", 1000)
		w.task("t1")
		begun := clock
		filters := func() []NumberFilter {
			return []NumberFilter{{Status: []waihu.Disposition{waihu.NoOutcome}}, {Status: []waihu.Disposition{waihu.Busy}}, {Status: []waihu.Disposition{waihu.Busy, waihu.Answered, waihu.Busy}},
				{Status: []waihu.Disposition{waihu.Vacant}}, {Status: []waihu.Disposition{99, -1}}, {CreatedFrom: begun.Add(90 * time.Minute)}, {CreatedTo: begun.Add(150 * time.Minute)},
				{CreatedFrom: begun.Add(time.Hour), CreatedTo: begun.Add(2 * time.Hour), Status: []waihu.Disposition{waihu.Answered}}, {CreatedFrom: begun.Add(1000 * time.Hour)}}
		}
		for round := range 5 {
			w.numbers("t1", round*1500, 1500)
			pass(time.Hour)
			run := w.start("t1")
			p := pop("t1", run.N, 400)
			p.Order = waihu.PopRandom
			r := w.tick(&Tick{Pops: []Pop{p}})
			var book []Booking
			for _, d := range r.Dials {
				outcome := []waihu.Disposition{waihu.Busy, waihu.Answered, waihu.NoAnswer}[rng.IntN(3)]
				book = append(book, ended(d.LiveCall, outcome, waihu.NumberDone))
			}
			w.tick(&Tick{Book: book[:200]})
			for _, f := range filters() {
				w.checkPages("t1", f, 40)
			}
			w.tick(&Tick{Book: book[200:]})
			must(t, w.StopTask(w.ctx, acme, "t1"))
			var phones []string
			for range 60 {
				phones = append(phones, fmt.Sprint(13800000000+rng.IntN(1500*(round+1))))
			}
			_, err := w.RemoveNumbers(w.ctx, acme, "t1", phones[:30])
			must(t, err)
			_, err = w.ResetNumbers(w.ctx, acme, "t1", NumberFilter{Phones: phones[30:]})
			must(t, err)
			if round > 1 { // some come back
				w.numbers("t1", 0, 700)
			}
			for _, f := range filters() {
				w.checkPages("t1", f, 40)
			}
			w.checkGauges()
		}
		// A transaction that is rolled back leaves nothing behind.
		err := w.update(w.ctx, normal, func(x *tx) error {
			x.moved(w.Store.tasks["t1"].serial, 5, waihu.Busy, waihu.Answered, 0)
			return fmt.Errorf("no")
		})
		if err == nil {
			t.Fatal("no error")
		}
		w.checkPages("t1", NumberFilter{Status: []waihu.Disposition{waihu.Busy}}, 40)
		w.checkPositions()
		must(t, w.DeleteTask(w.ctx, acme, "t1"))
		if n := len(w.Store.positions.tasks); n != 0 {
			t.Errorf("%d tasks are still followed", n)
		}
	})
}

// TestPositionsBesideWriters: counting beside ticks and imports never leaves a wrong count behind.
func TestPositionsBesideWriters(t *testing.T) {
	w := newWorld(t, mustOpen(t, Options{Dir: t.TempDir(), noSync: true}))
	w.line("l1", 1000)
	w.task("t1")
	w.numbers("t1", 0, 6000)
	run := w.start("t1")
	var crowd sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		crowd.Go(func() {
			for page := 1; ; page = page%300 + 1 {
				select {
				case <-done:
					return
				default:
				}
				if _, _, err := w.Numbers(w.ctx, acme, "t1", NumberFilter{Status: []waihu.Disposition{waihu.Busy, waihu.NoOutcome}, Page: page, PerPage: 20}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	crowd.Go(func() {
		for i := range 10 {
			w.numbers("t1", 6000+i*300, 300)
		}
	})
	for range 40 {
		r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 100)}})
		var book []Booking
		for i, d := range r.Dials {
			book = append(book, ended(d.LiveCall, []waihu.Disposition{waihu.Busy, waihu.Answered}[i%2], waihu.NumberDone))
		}
		w.tick(&Tick{Book: book})
	}
	close(done)
	crowd.Wait()
	w.checkGauges()
	for _, f := range []NumberFilter{{Status: []waihu.Disposition{waihu.Busy}}, {Status: []waihu.Disposition{waihu.NoOutcome}}} {
		w.checkPages("t1", f, 100)
	}
}

// TestFarPages: a page deep in a list by status is entered where it lies, after the list has changed before it too.
func TestFarPages(t *testing.T) {
	w := newWorld(t, mustOpen(t, Options{Dir: t.TempDir(), noSync: true}))
	w.line("l1", 5000)
	w.task("t1")
	w.numbers("t1", 0, 5000)
	f := NumberFilter{Status: []waihu.Disposition{waihu.NoOutcome}, Page: 1, PerPage: 100}
	first := func() string {
		f.Page = 1
		list, _, err := w.Numbers(w.ctx, acme, "t1", f)
		must(t, err)
		a := list[len(list)-1].Key
		f.Page = 2
		list, _, err = w.Numbers(w.ctx, acme, "t1", f)
		must(t, err)
		return a + " " + list[0].Key
	}
	if got := first(); got != "13800000099 13800000100" {
		t.Errorf("pages meet at %s", got)
	}
	run := w.start("t1")
	r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 150)}})
	var book []Booking
	for _, d := range r.Dials {
		book = append(book, ended(d.LiveCall, waihu.Busy, waihu.NumberDone))
	}
	w.tick(&Tick{Book: book})
	if got := first(); strings.Fields(got)[0] >= strings.Fields(got)[1] {
		t.Errorf("after 150 calls pages meet at %s", got)
	}
	w.checkPages("t1", f, 100)
}

// TestCallPages: all pages of a task's calls are the calls themselves, in whatever order they are asked for, while calls
// begin, end out of order and are undone.
func TestCallPages(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		rng := rand.New(rand.NewPCG(5, 6))
		w.line("l1", 1000)
		w.task("t1")
		w.numbers("t1", 0, 2000)
		run := w.start("t1")
		var live []LiveCall
		for range 12 {
			r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 60)}})
			for _, d := range r.Dials {
				live = append(live, d.LiveCall)
			}
			rng.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
			var book []Booking
			for i, c := range live[:min(len(live), 50)] {
				b := ended(c, waihu.Busy, waihu.NumberDone)
				if i%9 == 0 {
					b = ended(c, waihu.NeverLeft, waihu.NumberFresh)
					b.Undo = true
				}
				book = append(book, b)
			}
			live = live[len(book):]
			w.tick(&Tick{Book: book})
			for _, f := range []CallFilter{{Ended: true}, {}} {
				var want []waihu.CallID
				cond := ""
				if f.Ended {
					cond = " and ended_at > 0"
				}
				w.rows(`select id from calls where outcome <> 17`+cond+` order by id desc`, func(line string) {
					id, err := waihu.ParseCallID(strings.TrimSpace(line))
					must(t, err)
					want = append(want, id)
				})
				pages := (len(want) + 19) / 20
				for _, page := range rng.Perm(pages) {
					f.Page, f.PerPage = page+1, 20
					list, total, err := w.Calls(w.ctx, acme, "t1", f)
					must(t, err)
					var got []waihu.CallID
					for _, c := range list {
						got = append(got, c.ID)
					}
					if part := want[page*20 : min(page*20+20, len(want))]; total != len(want) || !slices.Equal(got, part) {
						t.Fatalf("page %d of %d calls (%d): %v, want %v", page+1, len(want), total, got, part)
					}
				}
			}
		}
	})
}

// TestKeysIn: the numbers of ranges in portions, removed ones too, erased ones not.
func TestKeysIn(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{Key: make([]byte, KeySize)}))
		w.task("t1")
		w.numbers("t1", 0, 10)
		_, err := w.RemoveNumbers(w.ctx, acme, "t1", []string{"13800000003"})
		must(t, err)
		w.do(func(x *tx) error {
			_, err := x.exec(`update numbers set state = 4, phone = '', key = 'erased' where seq = 6`)
			return err
		})
		left, all := [][2]int64{{2, 4}, {6, 6}, {8, 9}, {20, 30}}, []string{}
		for range 10 {
			var keys []string
			keys, left, err = w.KeysIn(w.ctx, acme, "t1", left, 2)
			must(t, err)
			all = append(all, keys...)
			if len(keys) > 2 {
				t.Fatalf("%d keys at once", len(keys))
			}
			if len(left) == 0 {
				break
			}
		}
		if want := []string{"13800000001", "13800000002", "13800000003", "13800000007", "13800000008"}; !slices.Equal(all, want) || len(left) != 0 {
			t.Errorf("%v and %v left, want %v", all, left, want)
		}
		_, _, err = w.KeysIn(w.ctx, stranger, "t1", [][2]int64{{1, 9}}, 5)
		wantCode(t, err, waihu.ENotFound, "")
	})
}
