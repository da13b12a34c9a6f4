package store

import (
	"testing"
	"time"

	"waihu"
)

// TestRestartNeedNotWaitForJobs: what a killed process was working is due at once in its folder's next life; what failed or
// is meant for later waits on.
func TestRestartNeedNotWaitForJobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, Options{Dir: dir})
	w := newWorld(t, s)
	later := time.Now().Add(time.Hour)
	if err := s.AddJobs(w.ctx, waihu.Job{Account: acme, Kind: "work", Key: "taken"}, waihu.Job{Account: acme, Kind: "work", Key: "failed"},
		waihu.Job{Account: acme, Kind: "work", Key: "later", RunAt: later}); err != nil {
		t.Fatal(err)
	}
	jobs := w.take("work", 10)
	if len(jobs) != 2 {
		t.Fatalf("%d jobs", len(jobs))
	}
	for _, j := range jobs {
		if j.Key == "failed" {
			if err := s.EndJobs(w.ctx, JobEnd{Job: j, Retry: later, Reason: "broken"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := &world{TB: t, Store: mustOpen(t, Options{Dir: dir}), ctx: t.Context()}
	if jobs = again.take("work", 10); len(jobs) != 1 || jobs[0].Key != "taken" || jobs[0].Failed != 2 {
		t.Errorf("%+v", jobs)
	}
}
