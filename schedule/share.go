package schedule

import (
	"container/heap"

	"waihu"
)

// bidder is a task that could start calls now.
type bidder struct {
	task   waihu.TaskID
	want   int                  // calls it may start: numbers, concurrency, interval
	own    map[waihu.LineID]int // reserved tasks: free slots of its own on each named line
	lines  []waihu.LineID       // unreserved tasks: the lines it may use
	held   int                  // live calls; unreserved tasks are levelled by it
	turn   int64                // when it was last served; the longest waiting goes first
	grants map[waihu.LineID]int // the answer
	total  int
}

func (b *bidder) reserved() bool { return b.own != nil }

// room is what a line can take in this tick.
type room struct {
	free int // calls the line can start: concurrency, capacity, pace
	open int // of these, slots that no reservation keeps
}

// share hands out at most limit call starts. Reserved tasks draw on their own slots, which nobody else may use.
// Unreserved tasks share what no reservation keeps by max-min fairness: each slot goes to the task
// that holds least, so that none can gain but by taking from one that has no more; and no slot stays
// free while a task that may use it wants one. Where the pace is scarcer than the slots the two kinds take turns.
// The last turn used is returned.
func share(bidders []*bidder, lines map[waihu.LineID]*room, limit int, turn int64) int64 {
	var reserved, levelled queue
	levelled.level = true
	for _, b := range bidders {
		if b.want <= 0 {
			continue
		}
		b.grants = make(map[waihu.LineID]int)
		if b.reserved() {
			reserved.bidders = append(reserved.bidders, b)
		} else {
			levelled.bidders = append(levelled.bidders, b)
		}
	}
	heap.Init(&reserved)
	heap.Init(&levelled)
	for limit > 0 && (reserved.Len() > 0 || levelled.Len() > 0) {
		q := &reserved
		if q.Len() == 0 || levelled.Len() > 0 && levelled.bidders[0].turn < q.bidders[0].turn {
			q = &levelled
		}
		b := q.bidders[0]
		line, ok := b.choose(lines)
		if !ok || b.total >= b.want {
			heap.Pop(q) // lines only fill up during a tick: it cannot be served later either
			continue
		}
		lines[line].free--
		if b.reserved() {
			b.own[line]--
		} else {
			lines[line].open--
		}
		turn++
		limit--
		b.grants[line]++
		b.total++
		b.held++
		b.turn = turn
		heap.Fix(q, 0)
	}
	return turn
}

// choose is the line with most room for the task; the first of equals in its own order.
func (b *bidder) choose(lines map[waihu.LineID]*room) (waihu.LineID, bool) {
	best, most := waihu.LineID(""), 0
	for _, id := range b.lines {
		r := lines[id]
		if r == nil {
			continue
		}
		n := min(r.free, r.open)
		if b.reserved() {
			n = min(r.free, b.own[id])
		}
		if n > most {
			best, most = id, n
		}
	}
	return best, most > 0
}

// queue orders bidders: by what they hold when level is set, then by who waited longest.
type queue struct {
	bidders []*bidder
	level   bool
}

func (q *queue) Len() int { return len(q.bidders) }
func (q *queue) Less(i, j int) bool {
	a, b := q.bidders[i], q.bidders[j]
	if q.level && a.held != b.held {
		return a.held < b.held
	}
	if a.turn != b.turn {
		return a.turn < b.turn
	}
	return a.task < b.task
}
func (q *queue) Swap(i, j int) { q.bidders[i], q.bidders[j] = q.bidders[j], q.bidders[i] }
func (q *queue) Push(x any)    { q.bidders = append(q.bidders, x.(*bidder)) }
func (q *queue) Pop() any {
	last := len(q.bidders) - 1
	b := q.bidders[last]
	q.bidders = q.bidders[:last]
	return b
}
