package store

import (
	"slices"
	"testing"
	"time"

	"waihu"
)

// What NextNumbers foretells is what the pops then find, in every order, and it changes nothing.
func TestNextNumbersForetellsThePop(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 1000)
		for name, k := range map[waihu.TaskID]struct {
			order    waihu.PopOrder
			newFirst bool
		}{"random": {waihu.PopRandom, false}, "forward": {waihu.PopInOrder, false}, "reverse": {waihu.PopReverse, false}, "fresh-first": {waihu.PopInOrder, true}} {
			w.task(name)
			w.numbers(name, 0, 40)
			run := w.start(name)
			now := w.now()
			soon := now.Add(time.Minute)
			popOf := func(limit int) Pop {
				p := pop(name, run.N, limit)
				p.Order, p.NewFirst = k.order, k.newFirst
				return p
			}
			peek := func(limit int) (seqs []int64) {
				t.Helper()
				list, err := w.NextNumbers(w.ctx, Peek{Account: acme, Task: name, Order: k.order, NewFirst: k.newFirst, Due: soon, Limit: limit})
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range list {
					if n.Attempt < 1 || n.Phone == "" {
						t.Errorf("%s: %+v", name, n)
					}
					seqs = append(seqs, n.Seq)
				}
				return seqs
			}
			dial := func(limit int) (seqs []int64, dials []Dialled) {
				r := w.tick(&Tick{Now: now, Pops: []Pop{popOf(limit)}})
				for _, d := range r.Dials {
					seqs = append(seqs, d.Seq)
				}
				return seqs, r.Dials
			}
			said := peek(10)
			if again := peek(10); !slices.Equal(said, again) {
				t.Errorf("%s: a second look sees %v after %v", name, again, said)
			}
			got, dials := dial(10)
			if !slices.Equal(said, got) || len(got) != 10 {
				t.Errorf("%s: foretold %v, popped %v", name, said, got)
			}
			// Three come back, due within the horizon; four later.
			var book []Booking
			for i, d := range dials {
				b := ended(d.LiveCall, waihu.Busy, waihu.NumberDone)
				if i < 7 {
					b.Next, b.Due, b.Redial = waihu.NumberDue, now.Add(time.Duration(i)*time.Second), true
				}
				if i >= 3 && i < 7 {
					b.Due = now.Add(time.Hour)
				}
				book = append(book, b)
			}
			w.tick(&Tick{Now: now, Book: book})
			said = peek(20)
			now = now.Add(10 * time.Second)
			got, _ = dial(20)
			if !slices.Equal(said, got) || len(got) != 20 {
				t.Errorf("%s: with redials foretold %v, popped %v", name, said, got)
			}
			if said = peek(100); len(said) != 13 {
				t.Errorf("%s: %d numbers are left to foretell, want 13", name, len(said))
			}
		}
		if _, err := w.NextNumbers(w.ctx, Peek{Account: stranger, Task: "random", Limit: 1}); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger's look: %v", err)
		}
		w.do(func(x *tx) error {
			_, err := x.exec(`insert into suppressed (account, phone, since, reason, call) select 'acme', phone, 1, 'x', 0 from numbers where state = 0 and task = (select serial from tasks where id = 'forward') order by seq limit 1`)
			return err
		})
		list, err := w.NextNumbers(w.ctx, Peek{Account: acme, Task: "forward", Order: waihu.PopInOrder, NewFirst: true, Limit: 2})
		if err != nil || len(list) != 2 || !list[0].Suppressed || list[1].Suppressed {
			t.Errorf("suppressed: %+v, %v", list, err)
		}
	})
}
