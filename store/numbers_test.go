package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"waihu"
)

func TestImport(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.task("t1")
		r, err := w.AddNumbers(w.ctx, acme, "t1", []NewNumber{
			{Phone: "13800000001", Data: waihu.NumberData{Vars: map[string]string{"name": "王"}, Extra: "x\x001"}},
			{Phone: "13800000002"},
			{Phone: "13800000001"},
			{Key: "13800000001_a1", Phone: "13800000001"},
		})
		if err != nil || r.Added != 3 || r.Duplicates != 1 || !slices.Equal(r.DuplicateRows, []int{2}) {
			t.Fatalf("import: %+v %v", r, err)
		}
		r, err = w.AddNumbers(w.ctx, acme, "t1", []NewNumber{{Phone: "13800000003"}, {Phone: "13800000002"}})
		if err != nil || r.Added != 1 || r.Duplicates != 1 || !slices.Equal(r.DuplicateRows, []int{1}) {
			t.Fatalf("import of a known number: %+v %v", r, err)
		}
		if _, err := w.AddNumbers(w.ctx, acme, "t1", []NewNumber{{Phone: "13800000009"}, {}}); waihu.ErrorCode(err) != waihu.EInvalid {
			t.Fatalf("import of a row without a phone number: %v", err)
		}
		got, err := w.NumbersByPhone(w.ctx, acme, "t1", "13800000001")
		if err != nil || len(got) != 2 || got[0].Data.Vars["name"] != "王" || got[0].Data.Extra != "x1" || got[1].Key != "13800000001_a1" {
			t.Fatalf("by phone: %+v %v", got, err)
		}
		// Removed and imported again: the row lives again, with new data.
		if n, err := w.RemoveNumbers(w.ctx, acme, "t1", []string{"13800000002", "13800000002", "13899999999"}); err != nil || n != 1 {
			t.Fatalf("removed %d, %v", n, err)
		}
		if got, err := w.NumbersByPhone(w.ctx, acme, "t1", "13800000002"); err != nil || len(got) != 0 {
			t.Fatalf("a removed number is found: %v %v", got, err)
		}
		r, err = w.AddNumbers(w.ctx, acme, "t1", []NewNumber{{Phone: "13800000002", Data: waihu.NumberData{Route: "r"}}, {Phone: "13800000003"}})
		if err != nil || r.Revived != 1 || r.Added != 0 || !slices.Equal(r.DuplicateRows, []int{1}) {
			t.Fatalf("import of a removed number: %+v %v", r, err)
		}
		if got, err := w.NumbersByPhone(w.ctx, acme, "t1", "13800000002"); err != nil || len(got) != 1 || got[0].Data.Route != "r" || got[0].State != waihu.NumberFresh {
			t.Fatalf("a revived number: %+v %v", got, err)
		}
		w.checkGauges()
		events, err := w.Events(w.ctx, acme, 0, 0)
		if err != nil || len(events) != 4 || events[0].Kind != waihu.EventNumbersAdded || string(events[0].Body) != `{"added":3,"ranges":[[1,3]]}` || events[3].N != 4 || events[3].TaskN != 4 ||
			events[2].Kind != waihu.EventNumbersRemoved || string(events[2].Body) != `{"removed":1,"ranges":[[2,2]]}` || string(events[3].Body) != `{"added":1,"ranges":[[2,2]]}` {
			t.Fatalf("events: %+v %v", events, err)
		}
	})
}

// A batch large enough for COPY and for several slices, half of it known already.
func TestImportLarge(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.task("t1")
		n := 50_000 / raceScale
		if r := w.numbers("t1", 0, n); r.Added != n {
			t.Fatalf("%d added", r.Added)
		}
		if _, err := w.RemoveNumbers(w.ctx, acme, "t1", []string{"13800000000", strconv.Itoa(13800000000 + n/2)}); err != nil {
			t.Fatal(err)
		}
		r := w.numbers("t1", n/2, n)
		if r.Added != n/2 || r.Revived != 1 || r.Duplicates != n/2-1 || len(r.DuplicateRows) != n/2-1 || r.DuplicateRows[0] != 1 {
			t.Fatalf("added %d revived %d duplicates %d", r.Added, r.Revived, r.Duplicates)
		}
		c, err := w.Counts(w.ctx, acme, "t1")
		if err != nil || c.numbers() != n+n/2-1 || c.State[waihu.NumberRemoved] != 1 {
			t.Fatalf("%+v %v", c, err)
		}
		w.checkGauges()
	})
}

// TestImportCancelled: broken off right after a commit, the report counts what that commit made durable.
func TestImportCancelled(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := newWorld(t, open(Options{Crash: func(point string) {
			if point == "import.mid" {
				cancel()
			}
		}}))
		w.task("t1")
		w.lastTick.Store(time.Now().UnixNano()) // short slices, as beside a campaign
		list := make([]NewNumber, 60_000/raceScale)
		for i := range list {
			list[i].Phone = waihu.PhoneNumber(strconv.Itoa(13800000000 + i))
		}
		r, err := w.AddNumbers(ctx, acme, "t1", list)
		c, cerr := w.Counts(w.ctx, acme, "t1")
		if cerr != nil || !errors.Is(err, context.Canceled) || r.Added == 0 || r.Added >= len(list) || r.Added != c.numbers() {
			t.Fatalf("%v: %d reported, %d in the task (%v), of %d", err, r.Added, c.numbers(), cerr, len(list))
		}
		w.checkGauges()
	})
}

func TestImportOnAFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mustOpen(t, Options{Dir: t.TempDir()}))
	w.line("l1", 5)
	w.task("t1")
	w.numbers("t1", 0, 3)
	w.start("t1")
	r := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 1)}})
	free := uint64(1 << 20)
	w.disk.every, w.disk.free = 0, func(string) (uint64, error) { return free, nil }
	if _, err := w.AddNumbers(w.ctx, acme, "t1", []NewNumber{{Phone: "1"}}); !errors.Is(err, waihu.ErrDiskFull) {
		t.Errorf("import: %v", err)
	}
	if err := w.Ready(w.ctx); !errors.Is(err, waihu.ErrDiskFull) {
		t.Errorf("ready: %v", err)
	}
	r2, err := w.try(&Tick{Book: []Booking{ended(r.Dials[0].LiveCall, waihu.Busy, waihu.NumberDone)}, Pops: []Pop{pop("t1", 1, 1)}})
	if !errors.Is(err, waihu.ErrDiskFull) || r2 == nil || len(r2.Booked) != 1 || len(r2.Dials) != 0 {
		t.Fatalf("tick: %+v %v, want the booking done and nothing dialled", r2, err)
	}
	if _, err := w.try(&Tick{}); err != nil {
		t.Errorf("a tick without pops: %v", err)
	}
	free = 1 << 40
	if r := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 1)}}); len(r.Dials) != 1 || w.Ready(w.ctx) != nil {
		t.Errorf("after space came back: %+v", r)
	}
	w.checkGauges()
}

func TestNumberPagesAndReset(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 50)
		w.task("t1")
		w.numbers("t1", 0, 95)
		w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 30)}})
		var book []Booking
		for i, d := range r.Dials {
			b := ended(d.LiveCall, waihu.Busy, waihu.NumberDone)
			if i%2 == 0 {
				b = ended(d.LiveCall, waihu.Answered, waihu.NumberDone)
				b.Outcome.Grade = "A"
			}
			book = append(book, b)
		}
		w.tick(&Tick{Book: book})
		if err := w.StopTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		all := func(f NumberFilter, want int) (list []waihu.Number) {
			t.Helper()
			f.PerPage = 10
			for f.Page = 1; ; f.Page++ {
				page, total, err := w.Numbers(w.ctx, acme, "t1", f)
				if err != nil || total != want {
					t.Fatalf("page %d of %+v: total %d, %v; want %d", f.Page, f, total, err, want)
				}
				if len(page) == 0 {
					break
				}
				list = append(list, page...)
			}
			if len(list) != want || !slices.IsSortedFunc(list, func(a, b waihu.Number) int { return int(a.Seq - b.Seq) }) {
				t.Fatalf("%d numbers in order %v, want %d", len(list), f, want)
			}
			for i := 1; i < len(list); i++ {
				if list[i].Seq == list[i-1].Seq {
					t.Fatalf("number %d stands on two pages", list[i].Seq)
				}
			}
			return list
		}
		all(NumberFilter{}, 95)
		all(NumberFilter{Status: []waihu.Disposition{waihu.Answered}}, 15)
		all(NumberFilter{Status: []waihu.Disposition{waihu.Answered, waihu.Busy, waihu.Busy}}, 30)
		all(NumberFilter{States: []waihu.NumberState{waihu.NumberFresh}}, 65)
		all(NumberFilter{Status: []waihu.Disposition{waihu.Busy}, States: []waihu.NumberState{waihu.NumberDone}}, 15)
		all(NumberFilter{CreatedFrom: time.Now().Add(-time.Hour), CreatedTo: time.Now().Add(time.Hour)}, 95)
		all(NumberFilter{CreatedFrom: time.Now().Add(time.Hour)}, 0)
		// A page reached without those before it is the same page.
		w.pages.drop()
		page, _, err := w.Numbers(w.ctx, acme, "t1", NumberFilter{Page: 4, PerPage: 10})
		if err != nil || len(page) != 10 || page[0].Seq != 31 {
			t.Fatalf("page 4: %+v %v", page, err)
		}
		calls, total, err := w.Calls(w.ctx, acme, "t1", CallFilter{PerPage: 20, Page: 2})
		if err != nil || total != 30 || len(calls) != 10 || calls[0].ID < calls[9].ID {
			t.Fatalf("calls: %d of %d, %v", len(calls), total, err)
		}
		calls, total, err = w.Calls(w.ctx, acme, "t1", CallFilter{Grades: []string{"A"}, Outcomes: []waihu.Disposition{waihu.Answered}, StartedFrom: time.Now().Add(-time.Hour), Ended: true})
		if err != nil || total != 15 || len(calls) != 15 || calls[0].Outcome.Grade != "A" {
			t.Fatalf("calls by grade: %d of %d, %v", len(calls), total, err)
		}
		calls, total, err = w.Calls(w.ctx, acme, "t1", CallFilter{Phone: string(r.Dials[3].Phone)})
		if err != nil || total != 1 || len(calls) != 1 || calls[0].ID != r.Dials[3].Call || calls[0].Phone != r.Dials[3].Phone {
			t.Fatalf("calls by phone: %+v of %d, %v", calls, total, err)
		}
		w.checkGauges()

		if n, err := w.ResetNumbers(w.ctx, acme, "t1", NumberFilter{Status: []waihu.Disposition{waihu.Busy}}); err != nil || n != 15 {
			t.Fatalf("reset %d, %v", n, err)
		}
		w.checkGauges()
		if n, err := w.ResetNumbers(w.ctx, acme, "t1", NumberFilter{}); err != nil || n != 15 {
			t.Fatalf("reset of all: %d, %v", n, err)
		}
		run := w.start("t1")
		r = w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 200)}})
		second := 0
		for _, d := range r.Dials {
			if d.Redials != 0 {
				t.Errorf("redials %d after a reset", d.Redials)
			}
			if d.Attempt == 2 {
				second++
			}
		}
		if len(r.Dials) != 95 || second != 30 || r.Refused != 0 {
			t.Fatalf("%d dials, %d of them second attempts, %d refused", len(r.Dials), second, r.Refused)
		}
		w.checkGauges()
	})
}

func TestSuppression(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 5)
		w.task("t1")
		w.numbers("t1", 0, 2)
		w.start("t1")
		if err := w.Suppress(w.ctx, acme, "13800000000", "asked", 0); err != nil {
			t.Fatal(err)
		}
		if err := w.Suppress(w.ctx, acme, "13800000000", "again", 7); err != nil {
			t.Fatal(err)
		}
		p := pop("t1", 1, 5)
		p.Decide = func(n PoppedNumber) Decision {
			if n.Suppressed != (n.Phone == "13800000000") {
				t.Errorf("number %d: suppressed %v", n.Seq, n.Suppressed)
			}
			if n.Suppressed {
				return Decision{Outcome: waihu.Blacklisted}
			}
			return Decision{Dial: true, Line: "l1"}
		}
		r := w.tick(&Tick{Pops: []Pop{p}})
		if len(r.Dials) != 1 {
			t.Fatalf("%+v", r)
		}
		b := ended(r.Dials[0].LiveCall, waihu.Answered, waihu.NumberDone)
		b.Outcome.OptOut = true
		w.tick(&Tick{Book: []Booking{b}})
		list, err := w.Suppressed(w.ctx, acme, "", 0)
		if err != nil || len(list) != 2 || list[0].Reason != "asked" || list[1].Reason != "opt_out" || list[1].Call != r.Dials[0].Call {
			t.Fatalf("suppressed: %+v %v", list, err)
		}
		if err := w.Unsuppress(w.ctx, acme, "13800000000"); err != nil {
			t.Fatal(err)
		}
		if err := w.Unsuppress(w.ctx, acme, "13800000000"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Fatalf("lifted twice: %v", err)
		}
		w.checkGauges()
	})
}

// TestEveryPage reads lists page by page, from the front, from the back and by place, with holes and without, and holds each
// page against the whole list.
func TestEveryPage(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 100)
		w.task("t1", concurrency(100))
		w.numbers("t1", 0, 47)
		run := w.start("t1")
		r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 31)}})
		var book []Booking
		for i, d := range r.Dials {
			outcome, undo := []waihu.Disposition{waihu.Busy, waihu.Answered, waihu.NeverLeft, waihu.Busy}[i%4], i%4 == 2
			b := ended(d.LiveCall, outcome, waihu.NumberDone)
			if b.Undo = undo; undo {
				b.Next = waihu.NumberFresh
			}
			if i%5 > 0 { // the others stay live
				book = append(book, b)
			}
		}
		w.tick(&Tick{Book: book})
		check := func(what string) {
			t.Helper()
			for _, f := range []NumberFilter{{}, {Status: []waihu.Disposition{waihu.Busy, waihu.NoOutcome}}, {States: []waihu.NumberState{waihu.NumberDone}}, {CreatedTo: w.now().Add(time.Hour)}} {
				f.PerPage = 5000
				all, total, err := w.Numbers(w.ctx, acme, "t1", f)
				if err != nil || len(all) != total || total == 0 {
					t.Fatalf("%s: %d numbers of %d, %v", what, len(all), total, err)
				}
				f.PerPage = 7
				for f.Page = 1; f.Page <= total/7+2; f.Page++ {
					for range 2 { // with what is remembered, and without
						page, n, err := w.Numbers(w.ctx, acme, "t1", f)
						want := all[min(total, 7*(f.Page-1)):min(total, 7*f.Page)]
						if err != nil || n != total || len(page) != len(want) || len(page) > 0 && (page[0].Seq != want[0].Seq || page[len(page)-1].Seq != want[len(want)-1].Seq) {
							t.Fatalf("%s: page %d of numbers %+v has %d of %d, want %d: %v", what, f.Page, f, len(page), n, len(want), err)
						}
						w.pages.drop()
					}
				}
			}
			for _, f := range []CallFilter{{}, {Ended: true}, {Outcomes: []waihu.Disposition{waihu.Busy}}} {
				f.PerPage = 5000
				all, total, err := w.Calls(w.ctx, acme, "t1", f)
				if err != nil || len(all) != total || total == 0 {
					t.Fatalf("%s: %d calls of %d with %+v, %v", what, len(all), total, f, err)
				}
				f.PerPage = 4
				for f.Page = 1; f.Page <= total/4+2; f.Page++ {
					page, n, err := w.Calls(w.ctx, acme, "t1", f)
					want := all[min(total, 4*(f.Page-1)):min(total, 4*f.Page)]
					if err != nil || n != total || len(page) != len(want) || len(page) > 0 && (page[0].ID != want[0].ID || page[len(page)-1].ID != want[len(want)-1].ID) {
						t.Fatalf("%s: page %d of calls %+v has %d of %d, want %d: %v", what, f.Page, f, len(page), n, len(want), err)
					}
				}
			}
		}
		check("whole")
		w.numbers("t1", 40, 20) // some of them duplicates
		check("after a second import")
		if err := w.StopTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		book = nil
		for i, d := range r.Dials {
			if i%5 == 0 {
				book = append(book, ended(d.LiveCall, waihu.NoAnswer, waihu.NumberDone))
			}
		}
		w.tick(&Tick{Book: book})
		if n, err := w.RemoveNumbers(w.ctx, acme, "t1", []string{"13800000003", "13800000030", "13800000046"}); err != nil || n != 3 {
			t.Fatal(n, err)
		}
		check("with holes")
		w.checkGauges()
	})
}
