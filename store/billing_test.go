package store

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"waihu"
)

// TestBills: whatever many do at once, each bill's balance is the sum of the bills until then, and none is below zero.
func TestBills(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		now := time.UnixMilli(1_700_000_000_000)
		s := open(Options{Now: func() time.Time { return now }})
		newWorld(t, s)
		ctx := t.Context()
		if m, err := s.Balance(ctx, acme); m != 0 || err != nil {
			t.Errorf("at first %d, %v", m, err)
		}
		if b, err := s.ZeroBalance(ctx, acme, "nothing"); err != nil || b.ID != 0 {
			t.Errorf("zero of nothing: %+v, %v", b, err)
		}
		_, err := s.AddBill(ctx, acme, -1, "")
		wantCode(t, err, waihu.EConflict, "too small")
		for _, amount := range []Money{0, MaxAmount + 1, -MaxAmount - 1} {
			_, err = s.AddBill(ctx, acme, amount, "")
			wantCode(t, err, waihu.EInvalid, "amount")
		}
		_, err = s.AddBill(ctx, "nobody", 1, "")
		wantCode(t, err, waihu.ENotFound, "")
		var crowd sync.WaitGroup
		for i := range 4 {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			crowd.Go(func() {
				for range 15 {
					var err error
					switch n := rng.IntN(10); {
					case n == 0:
						_, err = s.ZeroBalance(ctx, acme, "zero")
					case n < 4:
						_, err = s.AddBill(ctx, acme, -Money(rng.IntN(30_000)+1), "out")
					default:
						_, err = s.AddBill(ctx, acme, Money(rng.IntN(30_000)+1), "in")
					}
					if err != nil && waihu.ErrorCode(err) != waihu.EConflict {
						t.Error(err)
					}
				}
			})
		}
		crowd.Wait()
		list, total, err := s.Bills(ctx, acme, now, now, 1, 100)
		must(t, err)
		if len(list) != total || total < 20 {
			t.Fatalf("%d bills of %d", len(list), total)
		}
		var sum Money
		for i := len(list) - 1; i >= 0; i-- {
			if sum += list[i].Amount; sum < 0 || list[i].Balance != sum {
				t.Fatalf("bill %d says %d, the sum is %d", list[i].ID, list[i].Balance, sum)
			}
		}
		if m, err := s.Balance(ctx, acme); m != sum || err != nil {
			t.Errorf("balance %d, sum %d, %v", m, sum, err)
		}
		if page, _, err := s.Bills(ctx, acme, now, now, 2, 5); err != nil || len(page) != 5 || page[0].ID != list[5].ID {
			t.Errorf("second page %v, %v", page, err)
		}
		for _, c := range []struct {
			account  waihu.AccountID
			from, to time.Time
		}{{acme, now.Add(time.Second), now.Add(time.Hour)}, {acme, now.Add(-time.Hour), now.Add(-time.Second)}, {stranger, now, now}} {
			if list, total, err := s.Bills(ctx, c.account, c.from, c.to, 1, 5); err != nil || total != 0 || len(list) != 0 {
				t.Errorf("%v: %v, %v", c, list, err)
			}
		}
	})
}
