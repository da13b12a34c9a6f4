package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"waihu"
)

// TestRandomHistories throws everything at three tasks in random order and then counts every gauge
// again. The observer's rules hold at every dial: an attempt is dialled once, no number is live twice.
func TestRandomHistories(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		for seed := range uint64(2) {
			w := newWorld(t, open(Options{}))
			(&history{world: w, r: rand.New(rand.NewPCG(seed, 7)), now: time.Now().Truncate(time.Second),
				attempts: map[string]bool{}, live: map[waihu.CallID]LiveCall{}}).play(max(100, 300/raceScale))
		}
	})
}

type history struct {
	*world
	r        *rand.Rand
	now      time.Time
	attempts map[string]bool // task/seq/attempt that were dialled
	live     map[waihu.CallID]LiveCall
}

func (h *history) play(steps int) {
	h.line("l1", 30)
	h.line("l2", 30)
	tasks := []waihu.TaskID{"random", "order", "reverse"}
	for i, id := range tasks {
		h.world.task(id, func(k *waihu.Task) {
			k.Pop = waihu.PopOrder(i)
			if i == 1 {
				k.Lines = []waihu.TaskLine{{Line: "l1", Limit: 5}}
			}
		})
	}
	for _, id := range tasks { // so that even a short history has something to dial
		h.numbers(id, 0, 60)
		h.start(id)
	}
	for step := range steps {
		h.now = h.now.Add(time.Duration(h.r.IntN(20)) * time.Second)
		id := tasks[h.r.IntN(len(tasks))]
		switch p := h.r.IntN(100); {
		case p < 12:
			n := h.r.IntN(60)
			from := h.r.IntN(300)
			h.numbers(id, from, n)
		case p < 20:
			h.start(id)
		case p < 24:
			h.must(h.StopTask(h.ctx, acme, id), nil)
		case p < 28:
			_, err := h.ResetNumbers(h.ctx, acme, id, NumberFilter{})
			h.must(err, waihu.ErrRunsOpen)
		case p < 32:
			_, err := h.RemoveNumbers(h.ctx, acme, id, []string{strconv.Itoa(13800000000 + h.r.IntN(300)), strconv.Itoa(13800000000 + h.r.IntN(300))})
			h.must(err, waihu.ErrRunsOpen)
		case p < 34:
			h.must(h.Suppress(h.ctx, acme, waihu.PhoneNumber(strconv.Itoa(13800000000+h.r.IntN(300))), "test", 0), nil)
		case p < 36:
			h.takeover()
		case p < 42:
			h.review()
		case p < 43:
			_, err := h.Regrade(h.ctx, acme, id)
			h.must(err, nil)
		default:
			h.dial(tasks)
		}
		if step%50 == 49 {
			h.checkGauges()
		}
	}
	h.checkGauges()
	for _, id := range tasks {
		c, err := h.Counts(h.ctx, acme, id)
		if err != nil {
			h.Fatal(err)
		}
		// statistics per minute against the gauges that never fall
		b, err := h.CountsBetween(h.ctx, acme, id, h.now.Add(-24*time.Hour), h.now.Add(24*time.Hour))
		if err != nil || b.Started != c.Started || fmt.Sprint(b.Rounds) != fmt.Sprint(c.Rounds) {
			h.Errorf("%s: statistics %+v, gauges %+v, %v", id, b, c, err)
		}
	}
	if len(h.attempts) < steps/4 {
		h.Fatalf("only %d dials in %d steps: the history proves little", len(h.attempts), steps)
	}
}

func (h *history) must(err, allowed error) {
	h.Helper()
	if err != nil && (allowed == nil || !errors.Is(err, allowed)) {
		h.Fatal(err)
	}
}

// takeover kills the owner: a new epoch, and what was live must be found again.
func (h *history) takeover() {
	h.takeShard()
	found, err := h.Recover(h.ctx, 0, h.epoch)
	if err != nil {
		h.Fatal(err)
	}
	if len(found) != len(h.live) {
		h.Fatalf("recovered %d calls, %d are live", len(found), len(h.live))
	}
	for _, c := range found {
		if h.live[c.Call] != c {
			h.Fatalf("recovered %+v, dialled as %+v", c, h.live[c.Call])
		}
	}
}

func (h *history) dial(tasks []waihu.TaskID) {
	k := &Tick{Now: h.now}
	for _, id := range slices.Sorted(maps.Keys(h.live)) { // in order: a seed is one history
		if h.r.IntN(3) > 0 {
			continue
		}
		c := h.live[id]
		b := Booking{LiveCall: c, Outcome: &waihu.Outcome{Call: id, EndAt: h.now, Disposition: waihu.Disposition(1 + h.r.IntN(8))}, Next: waihu.NumberDone}
		switch h.r.IntN(6) {
		case 0:
			b.Undo, b.Next, b.Outcome.Disposition = true, waihu.NumberFresh, waihu.NeverLeft
			delete(h.attempts, key(c))
		case 1, 2:
			b.Next, b.Due, b.Redial = waihu.NumberDue, h.now.Add(time.Duration(h.r.IntN(60))*time.Second), true
		case 3:
			b.Outcome.Disposition, b.Next, b.Due = waihu.CarrierFault, waihu.NumberDue, h.now.Add(time.Minute)
		case 4:
			b.Outcome.Disposition, b.Status = waihu.OurFault, waihu.Failed
		}
		if b.Outcome.Disposition == waihu.Answered {
			b.Outcome.AnswerAt, b.Outcome.Grade, b.Review = h.now.Add(-time.Second), string("ABCDE"[h.r.IntN(5)]), h.r.IntN(2) == 0
			for range h.r.IntN(25) {
				b.Outcome.Transcript = append(b.Outcome.Transcript, waihu.Turn{Who: "callee", Text: "好"})
			}
		}
		k.Book = append(k.Book, b)
		delete(h.live, id)
	}
	owned, err := h.OwnedTasks(h.ctx, 0)
	if err != nil {
		h.Fatal(err)
	}
	for _, o := range owned {
		for _, run := range o.Runs {
			if run.State == waihu.RunOpen && h.r.IntN(20) == 0 {
				k.Close = append(k.Close, RunClose{Task: o.Task.ID, Run: run.N, Reason: waihu.RunDone})
			} else if run.State == waihu.RunOpen && h.r.IntN(4) > 0 {
				p := pop(o.Task.ID, run.N, 1+h.r.IntN(10))
				p.Order, p.NewFirst = o.Task.Pop, h.r.IntN(2) == 0
				p.Decide = func(n PoppedNumber) Decision {
					switch {
					case n.Suppressed:
						return Decision{Outcome: waihu.Blacklisted}
					case h.r.IntN(8) == 0:
						return Decision{}
					}
					return Decision{Dial: true, Line: "l1", Agent: "a1", Node: "n1"}
				}
				k.Pops = append(k.Pops, p)
			}
		}
	}
	r := h.tick(k)
	if len(r.Booked) != len(k.Book) || r.Refused != 0 {
		h.Fatalf("booked %d of %d, refused %d", len(r.Booked), len(k.Book), r.Refused)
	}
	for _, d := range r.Dials {
		if h.attempts[key(d.LiveCall)] {
			h.Fatalf("%s was dialled twice", key(d.LiveCall))
		}
		h.attempts[key(d.LiveCall)] = true
		for _, c := range h.live {
			if c.Task == d.Task && c.Seq == d.Seq {
				h.Fatalf("number %s/%d is live twice", d.Task, d.Seq)
			}
		}
		h.live[d.Call] = d.LiveCall
	}
	for id, g := range r.Gauges {
		c, err := h.Counts(h.ctx, acme, id)
		if err != nil || g.Fresh != c.State[waihu.NumberFresh] || g.Due != c.State[waihu.NumberDue] || (g.Due > 0) == g.NextDue.IsZero() {
			h.Fatalf("%s: the tick says %+v, the gauges %+v, %v", id, g, c.State, err)
		}
	}
}

// review takes some jobs that followed calls, and finishes, fails or forgets them.
func (h *history) review() {
	var done []Reviewed
	var ends []JobEnd
	for _, j := range h.take(waihu.JobReview, 1+h.r.IntN(20)) {
		switch h.r.IntN(8) {
		case 0:
			ends = append(ends, JobEnd{Job: j, Retry: h.now.Add(-time.Minute), Free: h.r.IntN(2) == 0})
			continue
		case 1:
			done = append(done, found(j, nil))
			continue
		}
		v := &waihu.Review{Grade: []string{"", "A", "B"}[h.r.IntN(3)]}
		for _, a := range []string{"x", "y", "z"}[:h.r.IntN(4)] {
			v.Collected = append(v.Collected, waihu.CollectAnswer{Key: a, Hit: h.r.IntN(2) == 0, Option: h.r.IntN(2) == 0, Result: string("ab"[h.r.IntN(2)])})
		}
		x := found(j, v)
		x.Again = h.r.IntN(2) == 0
		done = append(done, x)
		if h.r.IntN(4) == 0 {
			done = append(done, x)
		}
	}
	h.must(h.FinishReviews(h.ctx, done...), nil)
	h.must(h.EndJobs(h.ctx, ends...), nil)
}

func key(c LiveCall) string { return fmt.Sprintf("%s/%d/%d", c.Task, c.Seq, c.Attempt) }
