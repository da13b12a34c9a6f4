package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
)

// answered books n answered calls of a task's run, all to be reviewed, and returns them.
func (w *world) answered(id waihu.TaskID, run, n int, grade string) []Dialled {
	w.Helper()
	r := w.tick(&Tick{Pops: []Pop{pop(id, run, n)}})
	if len(r.Dials) != n {
		w.Fatalf("%d dials, want %d", len(r.Dials), n)
	}
	var book []Booking
	for _, d := range r.Dials {
		b := ended(d.LiveCall, waihu.Answered, waihu.NumberDone)
		b.Outcome.AnswerAt, b.Outcome.Grade, b.Review = d.StartedAt, grade, true
		book = append(book, b)
	}
	w.tick(&Tick{Book: book})
	return r.Dials
}

func (w *world) take(kind string, n int) []waihu.Job {
	w.Helper()
	list, err := w.TakeJobs(w.ctx, kind, n, time.Minute)
	if err != nil {
		w.Fatal(err)
	}
	return list
}

func (w *world) eventsOf(kind waihu.EventKind) (bodies []string) {
	w.Helper()
	list, err := w.Events(w.ctx, acme, 0, 1000)
	if err != nil {
		w.Fatal(err)
	}
	for _, e := range list {
		if e.Kind == kind {
			bodies = append(bodies, string(e.Body))
		}
	}
	return bodies
}

// found is a check's result for a taken job.
func found(j waihu.Job, v *waihu.Review) Reviewed {
	id, err := waihu.ParseCallID(j.Key)
	if err != nil {
		panic(err)
	}
	return Reviewed{Job: j, Call: id, Review: v}
}

func TestReviews(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t1")
		w.numbers("t1", 0, 6)
		w.start("t1")
		dials := w.answered("t1", 1, 3, "B")
		if got := w.eventsOf(waihu.EventCallEnded); len(got) != 3 || !strings.Contains(got[0], `"review":true`) {
			t.Fatalf("call.ended: %v", got)
		}
		w.checkGauges()
		if n, err := w.ReviewsWaiting(w.ctx, acme, "t1", 1); n != 3 || err != nil {
			t.Fatalf("%d reviews wait: %v", n, err)
		}
		jobs := w.take(waihu.JobReview, 10)
		if len(jobs) != 3 {
			t.Fatalf("%d jobs", len(jobs))
		}
		score := 80.0
		good := &waihu.Review{Grade: "A", GradeFrom: "quality_check 1", Score: &score, Items: []waihu.ReviewItem{{ID: "polite", Result: waihu.ItemPass}},
			Collected: []waihu.CollectAnswer{{Key: "visit", Question: "是否到店", Option: true, Hit: true, Result: "是"}, {Key: "why", Hit: true, Result: "路过\x00"}, {Key: "no", Undecided: true}}}
		plain := &waihu.Review{Grade: "B"}
		done := []Reviewed{found(jobs[0], good), found(jobs[1], plain)}
		for range 2 { // twice done, once in effect
			if err := w.FinishReviews(w.ctx, done...); err != nil {
				t.Fatal(err)
			}
			w.checkGauges()
		}
		if got := w.eventsOf(waihu.EventCallReviewed); len(got) != 2 || !strings.Contains(strings.Join(got, " "), `"disposition":"answered","grade":"A"}`) {
			t.Errorf("call.reviewed: %v", got)
		}
		v, err := w.Review(w.ctx, acme, done[0].Call)
		if err != nil || v.Grade != "A" || *v.Score != 80 || v.Task != "t1" || v.At.IsZero() || !v.Hit() || v.Undecided() != 1 {
			t.Errorf("%+v %v", v, err)
		}
		if _, err := w.Review(w.ctx, stranger, done[0].Call); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger reads a review: %v", err)
		}
		if m, err := w.Reviews(w.ctx, acme, []waihu.CallID{done[0].Call, done[1].Call, 5}); len(m) != 2 || err != nil {
			t.Errorf("%v %v", m, err)
		}
		call, err := w.CallOf(w.ctx, acme, done[0].Call)
		if err != nil || call.Outcome.Grade != "A" {
			t.Errorf("%+v %v", call, err)
		}
		if _, err := w.CallOf(w.ctx, stranger, done[0].Call); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger reads a call: %v", err)
		}
		c, err := w.Counts(w.ctx, acme, "t1")
		if err != nil || c.Intention["A"] != 1 || c.Intention["B"] != 2 || c.Hits != 1 || c.Reviewing != 1 {
			t.Errorf("%+v %v", c, err)
		}
		between, err := w.CountsBetween(w.ctx, acme, "t1", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		if err != nil || between.Intention["A"] != 1 || between.Intention["B"] != 2 {
			t.Errorf("statistics: %+v %v", between.Intention, err)
		}
		if list, err := w.Answers(w.ctx, acme, "t1"); err != nil || !slices.Equal(list, []Answer{{"visit", "是", 1}, {"why", "路过", 1}}) {
			t.Errorf("%v %v", list, err)
		}

		// The run ends: its summary waits for the last review.
		if err := w.StopTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		sums := w.take(waihu.JobSummary, 10)
		if len(sums) != 1 || sums[0].Key != "t1/1" || string(sums[0].Body) != `{"task":"t1","run":1}` {
			t.Fatalf("%+v", sums)
		}
		if err := w.EndJobs(w.ctx, JobEnd{Job: sums[0], Retry: time.Now().Add(time.Hour), Free: true, Reason: JobWaits}); err != nil {
			t.Fatal(err)
		}
		if got := w.take(waihu.JobSummary, 10); len(got) != 0 {
			t.Errorf("a summary that waits is due: %v", got)
		}
		if err := w.FinishReviews(w.ctx, found(jobs[2], nil)); err != nil { // nothing ran: the event comes all the same
			t.Fatal(err)
		}
		if sums = w.take(waihu.JobSummary, 10); len(sums) != 1 {
			t.Fatal("the last review did not make the summary due")
		}
		if got := w.eventsOf(waihu.EventCallReviewed); len(got) != 3 {
			t.Errorf("call.reviewed: %v", got)
		}
		if _, err := w.TaskSummary(w.ctx, acme, "t1"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a summary before there is one: %v", err)
		}
		order := waihu.SummaryOrder{Task: "t1", Run: 1}
		for range 2 {
			if err := w.FinishSummary(w.ctx, sums[0], order, waihu.TaskSummary{Summary: "好", Overview: []waihu.QuestionCount{{Question: "是否到店", Total: 1}}}); err != nil {
				t.Fatal(err)
			}
		}
		if sum, err := w.TaskSummary(w.ctx, acme, "t1"); err != nil || sum.Summary != "好" || sum.Run != 1 || len(sum.Overview) != 1 {
			t.Errorf("%+v %v", sum, err)
		}
		if _, err := w.TaskSummary(w.ctx, stranger, "t1"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger reads a summary: %v", err)
		}
		if got := w.eventsOf(waihu.EventRunReviewed); !slices.Equal(got, []string{`{"run":1,"reason":"operator"}`}) {
			t.Errorf("run.reviewed: %v", got)
		}
		w.checkGauges()

		// Once more: every answered call, one event for what has changed, and the answers are not counted twice.
		if n, err := w.Regrade(w.ctx, acme, "t1"); n != 3 || err != nil {
			t.Fatalf("%d calls to check again: %v", n, err)
		}
		w.checkGauges()
		if n, err := w.Regrade(w.ctx, acme, "t1"); n != 0 || err != nil {
			t.Errorf("%d calls to check again a second time: %v", n, err)
		}
		good.Grade, good.Collected[0].Result = "C", "否"
		for _, j := range w.take(waihu.JobReview, 10) {
			x := found(j, nil)
			if x.Again = true; x.Call == done[0].Call {
				x.Review = good
			}
			if err := w.FinishReviews(w.ctx, x); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.eventsOf(waihu.EventCallReviewed); len(got) != 4 || !strings.Contains(got[3], `"grade":"C","again":true`) {
			t.Errorf("call.reviewed: %v", got)
		}
		w.checkGauges()
		if len(dials) != 3 {
			t.Fatal("unreachable")
		}
		if err := w.DeleteTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		w.rows(`select 'review ' || call from reviews union all select 'summary ' || task from summaries`, func(line string) { t.Errorf("left of a deleted task: %s", line) })
	})
}

// TestReviewOfEarlierCall: a number shows the grade of its latest graded call, whenever the earlier ones are reviewed; a number
// that was reset meanwhile shows nothing.
func TestReviewOfEarlierCall(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t1")
		w.numbers("t1", 0, 1)
		w.start("t1")
		dial := func() Booking {
			t.Helper()
			r := w.tick(&Tick{Now: time.Now().Add(time.Hour), Pops: []Pop{pop("t1", 1, 1)}})
			if len(r.Dials) != 1 {
				t.Fatalf("%+v", r)
			}
			b := ended(r.Dials[0].LiveCall, waihu.Answered, waihu.NumberDue)
			b.Due, b.Review = time.Now().Add(time.Minute), true
			return b
		}
		shows := func(want string) {
			t.Helper()
			list, _, err := w.Numbers(w.ctx, acme, "t1", NumberFilter{})
			if err != nil || len(list) != 1 || list[0].Grade != want {
				t.Errorf("the number shows %+v %v, want grade %q", list, err, want)
			}
			w.checkGauges()
		}
		first := dial()
		first.Outcome.Grade = "B"
		w.tick(&Tick{Book: []Booking{first}})
		second := dial()
		jobs := w.take(waihu.JobReview, 10)
		if err := w.FinishReviews(w.ctx, found(jobs[0], &waihu.Review{Grade: "A"})); err != nil { // while the second is live
			t.Fatal(err)
		}
		shows("A")
		second.Outcome.Grade, second.Next = "C", waihu.NumberDone
		w.tick(&Tick{Book: []Booking{second}})
		shows("C")
		if _, err := w.Regrade(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		for _, j := range w.take(waihu.JobReview, 10) {
			if x := found(j, &waihu.Review{Grade: "E"}); x.Call == first.Call {
				if err := w.FinishReviews(w.ctx, x); err != nil {
					t.Fatal(err)
				}
			}
		}
		shows("C")
		if err := w.StopTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		if n, err := w.ResetNumbers(w.ctx, acme, "t1", NumberFilter{}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		w.do(func(x *tx) error { _, err := x.exec(`update jobs set run_at = 0`); return err }) // the leases are over
		for _, j := range w.take(waihu.JobReview, 10) {
			if err := w.FinishReviews(w.ctx, found(j, &waihu.Review{Grade: "D"})); err != nil {
				t.Fatal(err)
			}
		}
		shows("")
	})
}

// TestFairJobs: accounts take turns, whoever has more.
func TestFairJobs(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		s := open(Options{})
		ctx := context.Background()
		var jobs []waihu.Job
		for i := range 100 {
			jobs = append(jobs, waihu.Job{Account: "big", Kind: "k", Key: fmt.Sprint("big", i)})
		}
		for i := range 3 {
			jobs = append(jobs, waihu.Job{Account: "small", Kind: "k", Key: fmt.Sprint("small", i)})
		}
		jobs = append(jobs, waihu.Job{Account: "one", Kind: "k", Key: "one"}, waihu.Job{Account: "later", Kind: "k", Key: "later", RunAt: time.Now().Add(time.Hour)})
		if err := s.AddJobs(ctx, jobs...); err != nil {
			t.Fatal(err)
		}
		per := func(n int) map[waihu.AccountID]int {
			t.Helper()
			list, err := s.TakeJobs(ctx, "k", n, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			m := map[waihu.AccountID]int{}
			for _, j := range list {
				m[j.Account]++
			}
			return m
		}
		// One at a time: everybody is served within one turn.
		seen := map[waihu.AccountID]int{}
		for range 3 {
			for a, n := range per(1) {
				seen[a] += n
			}
		}
		if seen["big"] != 1 || seen["small"] != 1 || seen["one"] != 1 {
			t.Errorf("three turns served %v", seen)
		}
		if got := per(10); got["small"] != 2 || got["big"] != 8 {
			t.Errorf("ten at once: %v", got)
		}
		if got := per(200); got["big"] != 91 {
			t.Errorf("the rest: %v", got)
		}
		counts, err := s.JobCounts(ctx, "")
		if err != nil || len(counts) != 4 || counts[0] != (JobCount{Account: "big", Kind: "k", Waiting: 100}) {
			t.Errorf("%+v %v", counts, err)
		}
		if counts, err = s.JobCounts(ctx, "one"); err != nil || len(counts) != 1 {
			t.Errorf("%+v %v", counts, err)
		}
	})
}

// TestDeadJobs: what was given up is shown with its reason, counted, and comes back when asked for.
func TestDeadJobs(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		if err := w.AddJobs(w.ctx, waihu.Job{Account: acme, Kind: "k", Key: "1"}, waihu.Job{Account: acme, Kind: "k", Key: "2"}, waihu.Job{Account: stranger, Kind: "k", Key: "3"}); err != nil {
			t.Fatal(err)
		}
		jobs := w.take("k", 10)
		ends := []JobEnd{{Job: jobs[0], Dead: true, Reason: "no luck\x00"}, {Job: jobs[1]}, {Job: jobs[2], Dead: true, Reason: "neither"}}
		for range 2 {
			if err := w.EndJobs(w.ctx, ends...); err != nil {
				t.Fatal(err)
			}
			w.checkGauges()
		}
		dead, err := w.DeadJobs(w.ctx, JobFilter{})
		if err != nil || len(dead) != 2 || dead[0].CreatedAt.IsZero() {
			t.Fatalf("%+v %v", dead, err)
		}
		only, err := w.DeadJobs(w.ctx, JobFilter{Account: dead[0].Account, Kind: "k", ID: dead[0].ID})
		if err != nil || len(only) != 1 || only[0].Reason != dead[0].Reason || strings.Contains(only[0].Reason, "\x00") {
			t.Errorf("%+v %v", only, err)
		}
		if got := w.take("k", 10); len(got) != 0 {
			t.Errorf("given up and taken: %v", got)
		}
		if n, err := w.ReplayJobs(w.ctx, JobFilter{ID: dead[1].ID}); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.checkGauges()
		if got := w.take("k", 10); len(got) != 1 || got[0].ID != dead[1].ID || got[0].Failed != 1 {
			t.Errorf("%+v", got)
		}
		// Somebody whose lease ran out does not undo what the next one does.
		stale := dead[1].Job
		if err := w.EndJobs(w.ctx, JobEnd{Job: stale, Retry: time.Now().Add(-time.Second), Reason: "late"}); err != nil {
			t.Fatal(err)
		}
		if got := w.take("k", 10); len(got) != 0 {
			t.Errorf("a stale word made %v due", got)
		}
		w.checkGauges()
	})
}

// TestJobsOfTwoProcesses: two processes on one PostgreSQL share the jobs, each is taken once, and reviews that both write have one effect.
func TestJobsOfTwoProcesses(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	stores := []*Store{mustOpen(t, Options{DSN: dsn}), mustOpen(t, Options{DSN: dsn})}
	w := newWorld(t, stores[0])
	w.line("l1", 100)
	w.task("t1")
	const calls = 60
	w.numbers("t1", 0, calls)
	w.start("t1")
	w.answered("t1", 1, calls, "B")
	var jobs []waihu.Job
	for i := range 240 {
		jobs = append(jobs, waihu.Job{Account: waihu.AccountID(fmt.Sprint("a", i%3)), Kind: "k", Key: fmt.Sprint(i)})
	}
	if err := w.AddJobs(w.ctx, jobs...); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	taken := map[string]int{}
	var all sync.WaitGroup
	for n := range 6 {
		s := stores[n%2]
		all.Go(func() {
			for {
				list, err := s.TakeJobs(w.ctx, "k", 7, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				reviews, err := s.TakeJobs(w.ctx, waihu.JobReview, 3, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				if len(list)+len(reviews) == 0 {
					counts, err := s.JobCounts(w.ctx, "")
					if err != nil {
						t.Error(err)
					}
					waiting := int64(0)
					for _, c := range counts {
						waiting += c.Waiting
					}
					if waiting == 0 || err != nil {
						return
					}
					continue // somebody else is at it
				}
				var ends []JobEnd
				mu.Lock()
				for _, j := range list {
					taken[j.Kind+j.Key]++
					ends = append(ends, JobEnd{Job: j})
				}
				var done []Reviewed
				for _, j := range reviews {
					taken[j.Kind+j.Key]++
					done = append(done, found(j, &waihu.Review{Grade: "A"}))
				}
				mu.Unlock()
				for _, other := range []*Store{s, stores[(n+1)%2]} { // as if the lease had run out meanwhile
					if err := other.FinishReviews(w.ctx, done...); err != nil {
						t.Error(err)
						return
					}
				}
				if err := s.EndJobs(w.ctx, ends...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	for k, n := range taken {
		if n != 1 {
			t.Errorf("job %s was taken %d times", k, n)
		}
	}
	if len(taken) != 240+calls {
		t.Errorf("%d jobs were taken", len(taken))
	}
	if got := w.eventsOf(waihu.EventCallReviewed); len(got) != calls {
		t.Errorf("%d events for %d calls", len(got), calls)
	}
	w.checkGauges()
}
