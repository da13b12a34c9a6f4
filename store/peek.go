package store

import (
	"context"
	"math"
	"time"

	"waihu"
)

// Peek says which numbers a look ahead of the pop wants.
type Peek struct {
	Account  waihu.AccountID
	Task     waihu.TaskID
	Order    waihu.PopOrder
	NewFirst bool
	Due      time.Time // redials that are due by then count
	Limit    int
}

// NextNumbers are the numbers that the task's next pops will probably find, in their order. It is a hint:
// nothing is locked or changed, and fresh numbers before the pop's own bound in memory are not looked for.
func (s *Store) NextNumbers(ctx context.Context, p Peek) (list []PoppedNumber, err error) {
	if p.Limit <= 0 {
		return nil, nil
	}
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(p.Account, p.Task)
		if err != nil {
			return err
		}
		sql, from := sqlPopRandom, int64(math.MinInt64)
		switch p.Order {
		case waihu.PopInOrder:
			sql = sqlPopInOrder
		case waihu.PopReverse:
			sql, from = sqlPopReverse, math.MaxInt64
		}
		s.mu.Lock()
		if b, ok := s.low[ref.serial]; ok && b.order == p.Order {
			from = b.value
		}
		s.mu.Unlock()
		type arm struct {
			state waihu.NumberState
			sql   string
			from  int64
		}
		arms := [2]arm{{waihu.NumberDue, sqlPopDue, ms(p.Due)}, {waihu.NumberFresh, sql, from}}
		if p.NewFirst {
			arms[0], arms[1] = arms[1], arms[0]
		}
		for _, a := range arms {
			var found []popped
			if len(list) < p.Limit {
				if err := t.findArm(&found, a.state, a.sql, ref.account, ref.serial, a.from, p.Limit-len(list)); err != nil {
					return err
				}
			}
			for _, n := range found {
				list = append(list, n.PoppedNumber)
			}
		}
		return nil
	})
	return list, err
}
