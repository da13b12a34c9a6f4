package store

import (
	"testing"
	"time"

	"waihu"
)

// TestCharges: an answered call is charged in whole steps of its line's price, or of the account's allocation, once; the
// balance is what was paid in less what calls have cost.
func TestCharges(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		ctx := t.Context()
		must(t, w.UpsertAccount(ctx, waihu.Account{ID: "sub", Parent: acme, Name: "sub"}))
		price := func(minute int64, step int) {
			t.Helper()
			must(t, w.UpsertLine(ctx, waihu.Line{ID: "l1", Account: acme, Name: "l1", Concurrency: 10, Price: waihu.Price{Minute: minute, Step: step}, Trunk: waihu.Trunk{URI: "sim:"}}))
		}
		price(0, 0)
		w.task("t1")
		w.numbers("t1", 0, 20)
		run := w.start("t1")
		began := w.now().Add(-time.Hour)
		call := func(talk time.Duration, d waihu.Disposition) Booking {
			t.Helper()
			r := w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 1)}})
			b := ended(r.Dials[0].LiveCall, d, waihu.NumberDone)
			if d == waihu.Answered {
				b.Outcome.AnswerAt, b.Outcome.EndAt = began, began.Add(talk)
			}
			w.tick(&Tick{Book: []Booking{b}})
			return b
		}
		balance := func(want Money) {
			t.Helper()
			if got, err := w.Balance(ctx, acme); err != nil || got != want {
				t.Errorf("balance %d, %v; want %d", got, err, want)
			}
		}
		call(30*time.Second, waihu.Answered) // free
		balance(0)
		_, err := w.AddBill(ctx, acme, 10*Yuan, "in")
		must(t, err)
		price(1200, 0) // 0.12 yuan a minute that has begun
		sum := 10 * Yuan
		for talk, want := range map[time.Duration]Money{time.Millisecond: 1200, time.Minute: 1200, time.Minute + time.Millisecond: 2400, 59 * time.Second: 1200} {
			b := call(talk, waihu.Answered)
			sum -= want
			balance(sum)
			if r := w.tick(&Tick{Book: []Booking{b}}); len(r.Booked) != 0 { // sent again
				t.Errorf("booked twice: %v", r.Booked)
			}
			balance(sum)
		}
		call(0, waihu.Busy)
		balance(sum)
		call(0, waihu.Answered) // over at once, but answered
		sum -= 1200
		balance(sum)
		price(1001, 6) // 7 s are 12 s: 200.2 rounded
		call(7*time.Second, waihu.Answered)
		sum -= 200
		price(1001, 1) // 29 s: 483.8 rounded
		call(29*time.Second, waihu.Answered)
		sum -= 484
		balance(sum)
		// What the account has been given counts, also when it is free; it may go below zero, and a payment need not lift it above.
		given, err := w.Allocate(ctx, acme, Allocation{Line: "l1", Account: acme, Concurrency: 3, Price: 12 * Yuan})
		must(t, err)
		call(30*time.Second, waihu.Answered)
		sum -= 12 * Yuan / 2
		balance(sum)
		call(60*time.Second, waihu.Answered)
		sum -= 12 * Yuan
		balance(sum)
		if sum >= 0 {
			t.Fatal("the test does not go below zero")
		}
		_, err = w.AddBill(ctx, acme, 1, "a little")
		must(t, err)
		_, err = w.AddBill(ctx, acme, -1, "out")
		wantCode(t, err, waihu.EConflict, "too small")
		sum++
		balance(sum)
		again, err := w.Allocate(ctx, acme, Allocation{Line: "l1", Account: acme, Concurrency: 4})
		must(t, err)
		if again.ID != given.ID || again.Concurrency != 4 || again.Price != 0 {
			t.Errorf("allocated again: %+v", again)
		}
		call(60*time.Second, waihu.Answered)
		balance(sum)

		list, total, err := w.Charges(ctx, []waihu.AccountID{acme, stranger}, ChargeFilter{From: began, To: w.now(), PerPage: 100})
		must(t, err)
		var all Money
		for _, c := range list {
			if all += c.Amount; c.Account != acme || c.Task != "t1" || c.Line != "l1" || c.Seconds%c.Step != 0 {
				t.Errorf("charge %+v", c)
			}
		}
		if total != 9 || len(list) != 9 || 10*Yuan+1-all != sum {
			t.Errorf("%d charges of %d come to %d, the balance is %d", len(list), total, all, sum)
		}
		fees, err := w.LineFees(ctx, []waihu.AccountID{acme}, ChargeFilter{From: began, To: w.now(), Lines: []waihu.LineID{"l1", "l2"}, Tasks: []waihu.TaskID{"t1"}})
		if err != nil || len(fees) != 1 || fees[0].Amount != all || fees[0].Calls != 9 {
			t.Errorf("fees %+v, %v", fees, err)
		}
		for _, f := range []ChargeFilter{{From: began, To: w.now(), Tasks: []waihu.TaskID{"t2"}}, {From: began.Add(-time.Hour), To: began.Add(-time.Minute)}} {
			if fees, err := w.LineFees(ctx, []waihu.AccountID{acme}, f); err != nil || len(fees) != 0 {
				t.Errorf("fees of %+v: %+v, %v", f, fees, err)
			}
		}
		if fees, err := w.LineFees(ctx, []waihu.AccountID{stranger}, ChargeFilter{From: began, To: w.now()}); err != nil || len(fees) != 0 {
			t.Errorf("a stranger's fees: %+v, %v", fees, err)
		}
		b, err := w.ZeroBalance(ctx, acme, "zero")
		if err != nil || b.Amount != -sum || b.Balance != 0 {
			t.Errorf("zero: %+v, %v", b, err)
		}
	})
}

// TestAllocations: what an account has been given of a line bounds what its tasks may reserve, and ends in time.
func TestAllocations(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		now := time.UnixMilli(1_700_000_000_000)
		w := newWorld(t, open(Options{Now: func() time.Time { return now }}))
		ctx := t.Context()
		must(t, w.UpsertAccount(ctx, waihu.Account{ID: "sub", Parent: acme, Name: "sub"}))
		w.line("l1", 10)
		residue := func(account waihu.AccountID, want int) {
			t.Helper()
			if got, err := w.Residue(ctx, account, ""); err != nil || got["l1"] != want {
				t.Errorf("residue of %s: %v, %v; want %d", account, got, err, want)
			}
		}
		residue("sub", 10)
		a, err := w.Allocate(ctx, acme, Allocation{Line: "l1", Account: "sub", Concurrency: 4, Price: 1200, Deadline: now.Add(time.Hour)})
		must(t, err)
		residue("sub", 4)
		residue(acme, 10)
		for _, bad := range []struct {
			owner waihu.AccountID
			a     Allocation
			code  waihu.Code
		}{{stranger, Allocation{Line: "l1", Account: "sub", Concurrency: 1}, waihu.ENotFound}, {acme, Allocation{Line: "l1", Account: stranger, Concurrency: 1}, waihu.ENotFound},
			{acme, Allocation{Line: "l1", Account: "sub", Concurrency: 11}, waihu.EInvalid}, {acme, Allocation{Line: "l1", Account: "sub"}, waihu.EInvalid},
			{acme, Allocation{Line: "l1", Account: "sub", Concurrency: 1, Price: -1}, waihu.EInvalid}} {
			_, err := w.Allocate(ctx, bad.owner, bad.a)
			wantCode(t, err, bad.code, "")
		}
		mine := func(id waihu.TaskID, limit int) {
			w.task(id, func(k *waihu.Task) { k.Account, k.Lines = "sub", []waihu.TaskLine{{Line: "l1", Limit: limit}} })
		}
		mine("s1", 3)
		mine("s2", 2)
		_, err = w.StartTask(ctx, "sub", "s1")
		must(t, err)
		residue("sub", 1)
		_, err = w.StartTask(ctx, "sub", "s2")
		wantCode(t, err, waihu.EConflict, "free")
		must(t, w.BindAgents(ctx, acme, "sub", a.ID, []waihu.AgentID{"7", "8"}))
		list, err := w.Allocations(ctx, acme)
		if err != nil || len(list) != 1 || len(list[0].Agents) != 2 || list[0].Price != 1200 || !list[0].Begin.Equal(now) {
			t.Errorf("allocations %+v, %v", list, err)
		}
		now = now.Add(time.Hour)
		residue("sub", 0)
		wantCode(t, w.Deallocate(ctx, stranger, "sub", a.ID), waihu.ENotFound, "")
		wantCode(t, w.BindAgents(ctx, stranger, "sub", a.ID, nil), waihu.ENotFound, "")
		must(t, w.Deallocate(ctx, acme, "sub", a.ID))
		residue("sub", 7)
		wantCode(t, w.Deallocate(ctx, acme, "sub", a.ID), waihu.ENotFound, "")
	})
}
