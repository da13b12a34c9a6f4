package store

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waihu"
)

// TestDeletedTaskIsTold: a deleted task is gone for everybody but those who tell of it; its rows go when all endpoints have been told, when
// that takes too long, or when somebody gives its id to a new task.
func TestDeletedTaskIsTold(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		var ahead atomic.Int64
		w := newWorld(t, open(Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}))
		w.line("l1", 5)
		e := waihu.Endpoint{Account: acme, Door: "native", URL: "https://example.com/hook"}
		if err := w.AddEndpoint(w.ctx, &e, 0); err != nil {
			t.Fatal(err)
		}
		// ran is a deleted task whose one call waits for its review.
		ran := func(id waihu.TaskID) (waihu.CallID, int64) {
			t.Helper()
			k := w.task(id, lines(waihu.TaskLine{Line: "l1", Limit: 1}))
			w.numbers(id, 0, 1)
			run := w.start(id)
			d := w.tick(&Tick{Pops: []Pop{pop(id, run.N, 1)}}).Dials[0]
			b := ended(d.LiveCall, waihu.Answered, waihu.NumberDone)
			b.Review, b.Outcome.Transcript = true, []waihu.Turn{{Who: "callee", Text: "你好"}}
			w.tick(&Tick{Book: []Booking{b}})
			if err := w.StopTask(w.ctx, acme, id); err != nil {
				t.Fatal(err)
			}
			w.tick(&Tick{})
			if err := w.DeleteTask(w.ctx, acme, id); err != nil {
				t.Fatal(err)
			}
			return d.Call, k.Serial
		}
		sees := SeeDeleted(w.ctx)
		there := func(id waihu.TaskID, call waihu.CallID, want bool) {
			t.Helper()
			if err := w.finishDeletions(w.ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Task(w.ctx, acme, id); waihu.ErrorCode(err) != waihu.ENotFound {
				t.Errorf("a deleted task is seen: %v", err)
			}
			_, err := w.Task(sees, acme, id)
			k, err2 := w.Call(sees, acme, id, call)
			if seen := err == nil && err2 == nil && len(k.Outcome.Transcript) == 1; seen != want {
				t.Errorf("task %s is there to be told of: %v, want %v (%v, %v)", id, seen, want, err, err2)
			}
		}
		told := func() {
			w.do(func(x *tx) error {
				_, err := x.exec(`update cursors set next_n = 1000 where endpoint = $1`, e.ID)
				return err
			})
		}

		call, serial := ran("t1")
		told()
		there("t1", call, true) // its review is to come
		jobs, err := w.TakeJobs(w.ctx, waihu.JobReview, 5, time.Minute)
		if err != nil || len(jobs) != 1 {
			t.Fatal(jobs, err)
		}
		w.do(func(x *tx) error {
			_, err := x.exec(`update cursors set next_n = 1 where endpoint = $1`, e.ID)
			return err
		})
		if err := w.FinishReviews(w.ctx, Reviewed{Job: jobs[0], Call: call, Review: &waihu.Review{Grade: "A"}}); err != nil {
			t.Fatal(err)
		}
		if sums, err := w.TakeJobs(w.ctx, waihu.JobSummary, 5, time.Minute); err != nil || len(sums) != 1 {
			t.Fatal(sums, err)
		} else if err := w.FinishSummary(w.ctx, sums[0], waihu.SummaryOrder{Task: "t1", Run: 1}, waihu.TaskSummary{}); err != nil {
			t.Fatal(err)
		}
		kinds := []string{}
		w.rows(`select kind from events where task = 't1' order by n`, func(kind string) { kinds = append(kinds, kind) })
		if got := strings.Join(kinds, " "); !strings.HasSuffix(got, "call.reviewed run.reviewed") {
			t.Errorf("events of the deleted task: %s", got)
		}
		there("t1", call, true) // nobody has been told
		told()
		there("t1", call, false)
		w.rows(`select 'heads ' || name from heads where name = 'untold:' || cast($1 as bigint)`, func(line string) { t.Errorf("left behind: %s", line) }, serial)

		w.do(func(x *tx) error {
			_, err := x.exec(`update cursors set next_n = 1 where endpoint = $1`, e.ID)
			return err
		})
		call, _ = ran("t2")
		there("t2", call, true)
		ahead.Store(int64(untoldFor + time.Minute))
		there("t2", call, false) // too long

		ahead.Store(0)
		call, serial = ran("t3")
		there("t3", call, true)
		if err := w.SaveAgent(w.ctx, &waihu.AgentSpec{ID: "a1", Account: acme, Name: "a1", Version: 1, Brain: waihu.BrainFlow}); err != nil {
			t.Fatal(err)
		}
		again := waihu.Task{ID: "t3", Account: acme, Name: "t3", Agent: "a1", Concurrency: 1}
		if err := w.CreateTask(w.ctx, &again); err != nil || again.Serial == serial {
			t.Fatal(again.Serial, err)
		}
		if c, err := w.Call(sees, acme, "t3", call); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("the new task has the old one's call: %+v %v", c, err)
		}
	})
}
