package store

import (
	"reflect"
	"testing"
	"time"

	"waihu"
)

func TestBatches(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		now := time.UnixMilli(1_700_000_000_000)
		s := open(Options{Now: func() time.Time { return now }})
		w := newWorld(t, s)
		ctx := t.Context()
		b := Batch{ID: "u1", Account: acme, Task: "t1", Kind: "import", Total: 3, Body: []byte(`{"a":1}`)}
		job := waihu.Job{Account: acme, Kind: "import", Key: "u1", Body: []byte(`[]`)}
		must(t, s.AddBatch(ctx, b, job))
		if err := s.AddBatch(ctx, b, job); err == nil {
			t.Error("the same batch twice")
		}
		jobs, err := s.TakeJobs(ctx, "import", 10, time.Minute)
		if err != nil || len(jobs) != 1 || jobs[0].Key != "u1" {
			t.Fatalf("jobs %v, %v", jobs, err)
		}
		got, err := s.Batch(ctx, acme, "u1")
		must(t, err)
		b.CreatedAt = now
		if !reflect.DeepEqual(got, b) {
			t.Errorf("got %+v want %+v", got, b)
		}
		_, err = s.Batch(ctx, stranger, "u1")
		wantCode(t, err, waihu.ENotFound, "")
		if parts, err := s.BatchParts(ctx, stranger, "u1"); err != nil || len(parts) != 0 {
			t.Errorf("a stranger's parts: %v, %v", parts, err)
		}
		must(t, s.SaveBatch(ctx, b, &BatchPart{N: 1, Numbers: nil}))
		b.Done, b.Failed, b.State = 2, 1, BatchDone
		must(t, s.SaveBatch(ctx, b, &BatchPart{Done: true, Numbers: []string{"138", "139"}}))
		parts, err := s.BatchParts(ctx, acme, "u1")
		if err != nil || !reflect.DeepEqual(parts, []BatchPart{{N: 0, Done: true, Numbers: []string{"138", "139"}}, {N: 1}}) {
			t.Errorf("parts %+v, %v", parts, err)
		}
		got, err = s.Batch(ctx, acme, "u1")
		if err != nil || got.State != BatchDone || got.Done != 2 || got.Failed != 1 || !got.DoneAt.Equal(now) {
			t.Errorf("finished %+v, %v", got, err)
		}
		other := b
		other.Account = stranger
		wantCode(t, s.SaveBatch(ctx, other, nil), waihu.ENotFound, "")
		// After its time the next batch of the account takes it away; one that still waits stays.
		waiting := Batch{ID: "u2", Account: acme, Kind: "import"}
		must(t, s.AddBatch(ctx, waiting, waihu.Job{Kind: "import", Key: "u2"}))
		now = now.Add(batchLife + time.Second)
		must(t, s.AddBatch(ctx, Batch{ID: "u3", Account: acme, Kind: "import"}, waihu.Job{Kind: "import", Key: "u3"}))
		_, err = s.Batch(ctx, acme, "u1")
		wantCode(t, err, waihu.ENotFound, "")
		if _, err := s.Batch(ctx, acme, "u2"); err != nil {
			t.Errorf("the waiting batch: %v", err)
		}
		w.do(func(x *tx) error {
			var n int
			if _, err := x.one(into(&n), `select count(*) from batch_parts`); err != nil || n != 0 {
				t.Errorf("%d parts left, %v", n, err)
			}
			return nil
		})
	})
}
