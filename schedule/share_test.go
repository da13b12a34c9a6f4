package schedule

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"waihu"
)

func TestShare(t *testing.T) {
	t.Parallel()
	type task struct {
		want, held int
		turn       int64
		own        map[waihu.LineID]int
		lines      []waihu.LineID
		get        int
	}
	ab := []waihu.LineID{"a", "b"}
	a := ab[:1]
	for _, c := range []struct {
		name  string
		lines map[waihu.LineID]room
		limit int
		tasks []task
	}{
		{"even", map[waihu.LineID]room{"a": {10, 10}}, 500, []task{{want: 99, lines: a, get: 5}, {want: 99, lines: a, get: 5}}},
		{"what one does not want the others get", map[waihu.LineID]room{"a": {10, 10}}, 500, []task{{want: 2, lines: a, get: 2}, {want: 99, lines: a, get: 4}, {want: 99, lines: a, get: 4}}},
		{"who holds less is filled up first", map[waihu.LineID]room{"a": {6, 6}}, 500, []task{{want: 99, held: 5, lines: a, get: 1}, {want: 99, held: 1, lines: a, get: 5}}},
		{"two lines", map[waihu.LineID]room{"a": {3, 3}, "b": {5, 5}}, 500, []task{{want: 99, lines: ab, get: 4}, {want: 99, lines: ab, get: 4}}},
		{"work conserving", map[waihu.LineID]room{"a": {7, 7}}, 500, []task{{want: 99, lines: a, get: 7}}},
		{"reserved slots are not lent", map[waihu.LineID]room{"a": {10, 4}}, 500, []task{{want: 0, lines: a, own: map[waihu.LineID]int{"a": 6}}, {want: 99, lines: a, get: 4}}},
		{"a reservation is also the most it gets", map[waihu.LineID]room{"a": {10, 4}}, 500, []task{{want: 99, lines: a, own: map[waihu.LineID]int{"a": 6}, get: 6}, {want: 99, lines: a, get: 4}}},
		{"the line itself is fuller than the reservation", map[waihu.LineID]room{"a": {2, 0}}, 500, []task{{want: 99, lines: a, own: map[waihu.LineID]int{"a": 6}, get: 2}, {want: 99, lines: a, get: 0}}},
		{"reserved on two lines", map[waihu.LineID]room{"a": {9, 0}, "b": {9, 0}}, 500, []task{{want: 5, lines: ab, own: map[waihu.LineID]int{"a": 3, "b": 3}, get: 5}}},
		{"scarce pace goes round", map[waihu.LineID]room{"a": {3, 3}}, 500, []task{{want: 9, turn: 3, lines: a, own: map[waihu.LineID]int{"a": 9}, get: 1}, {want: 9, turn: 1, lines: a, own: map[waihu.LineID]int{"a": 9}, get: 1}, {want: 9, turn: 2, lines: a, get: 1}}},
		{"the limit of the tick", map[waihu.LineID]room{"a": {99, 99}}, 10, []task{{want: 99, lines: a, get: 5}, {want: 99, lines: a, get: 5}}},
		{"an unknown line takes nothing", map[waihu.LineID]room{"a": {3, 3}}, 500, []task{{want: 9, lines: []waihu.LineID{"x"}, get: 0}}},
		{"one slot goes to who waited longest", map[waihu.LineID]room{"a": {1, 1}}, 500, []task{{want: 9, turn: 8, lines: a, get: 0}, {want: 9, turn: 7, lines: a, get: 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lines := map[waihu.LineID]*room{}
			for id, r := range c.lines {
				lines[id] = &r
			}
			var bidders []*bidder
			for i, k := range c.tasks {
				bidders = append(bidders, &bidder{task: waihu.TaskID(fmt.Sprint(i)), want: k.want, held: k.held, turn: k.turn, own: k.own, lines: k.lines})
			}
			share(bidders, lines, c.limit, 100)
			for i, b := range bidders {
				if b.total != c.tasks[i].get {
					t.Errorf("task %d gets %d, want %d", i, b.total, c.tasks[i].get)
				}
			}
		})
	}
}

// TestShareLaws holds random sharings against the definitions: no cap passed, nothing left that somebody wants, and max-min:
// nobody has fewer than another could give up.
func TestShareLaws(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 2))
		var ids []waihu.LineID
		lines, before := map[waihu.LineID]*room{}, map[waihu.LineID]room{}
		for i := range 1 + r.IntN(4) {
			id := waihu.LineID(fmt.Sprint("l", i))
			free := r.IntN(20)
			before[id] = room{free: free, open: r.IntN(free + 5)}
			lines[id] = &room{free: free, open: before[id].open}
			ids = append(ids, id)
		}
		var bidders []*bidder
		own := map[waihu.TaskID]map[waihu.LineID]int{}
		for i := range 1 + r.IntN(7) {
			b := &bidder{task: waihu.TaskID(fmt.Sprint(i)), want: r.IntN(15), held: r.IntN(9), turn: int64(r.IntN(4)), lines: ids}
			if r.IntN(3) == 0 {
				b.own, own[b.task] = map[waihu.LineID]int{}, map[waihu.LineID]int{}
				for _, id := range ids {
					n := r.IntN(6)
					b.own[id], own[b.task][id] = n, n
				}
			}
			bidders = append(bidders, b)
		}
		limit := r.IntN(60)
		share(bidders, lines, limit, 10)

		total := 0
		perLine, perOpen := map[waihu.LineID]int{}, map[waihu.LineID]int{}
		for _, b := range bidders {
			total += b.total
			sum := 0
			for id, n := range b.grants {
				sum += n
				perLine[id] += n
				if b.reserved() {
					if n > own[b.task][id] {
						t.Fatalf("seed %d: task %s got %d of its %d own slots", seed, b.task, n, own[b.task][id])
					}
				} else {
					perOpen[id] += n
				}
			}
			if sum != b.total || b.total > max(0, b.want) {
				t.Fatalf("seed %d: task %s wants %d, got %d in %v", seed, b.task, b.want, b.total, b.grants)
			}
		}
		if total > limit {
			t.Fatalf("seed %d: %d starts, limit %d", seed, total, limit)
		}
		for id, l := range before {
			if perLine[id] > l.free || perOpen[id] > l.open {
				t.Fatalf("seed %d: line %s %+v gave %d, %d of them unreserved", seed, id, l, perLine[id], perOpen[id])
			}
		}
		for _, b := range bidders {
			if b.total >= b.want {
				continue
			}
			if _, ok := b.choose(lines); ok && total < limit {
				t.Fatalf("seed %d: task %s wants more and there is room: not work-conserving", seed, b.task)
			}
			for _, o := range bidders {
				if !b.reserved() && !o.reserved() && o.total > 0 && o.held > b.held+1 {
					t.Fatalf("seed %d: task %s holds %d and wants more while %s was given up to %d", seed, b.task, b.held, o.task, o.held)
				}
			}
		}
	}
}
