package store

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"waihu"
)

// show is a value as JSON in UTC, for comparing what has times in it.
func show(t *testing.T, o waihu.Outcome) string {
	t.Helper()
	for _, p := range []*time.Time{&o.InviteAt, &o.RingAt, &o.AnswerAt, &o.EndAt} {
		*p = p.UTC()
	}
	b, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGateLetsTheTickGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		if err := g.enter(t.Context(), normal); err != nil {
			t.Fatal(err)
		}
		var order []string
		done := make(chan struct{})
		enter := func(name string, u urgency) {
			go func() {
				if err := g.enter(t.Context(), u); err != nil {
					t.Error(err)
				}
				order = append(order, name) // the gate's turn is the lock
				g.leave()
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		enter("import", normal)
		enter("start", normal)
		if g.urgentWaits() {
			t.Error("no tick waits")
		}
		enter("tick", urgent)
		if !g.urgentWaits() {
			t.Error("a tick waits and nobody knows")
		}
		g.leave()
		for range 3 {
			<-done
		}
		if len(order) != 3 || order[0] != "tick" || order[1] != "import" || order[2] != "start" {
			t.Errorf("order %v", order)
		}
	})
}

func TestGateGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		if err := g.enter(t.Context(), normal); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.enter(ctx, urgent); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v", err)
		}
		g.leave()
		if err := g.enter(t.Context(), normal); err != nil {
			t.Fatalf("the turn was lost: %v", err)
		}
		g.leave()
	})
}

func TestPoolWaitsForItsConnections(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{Dir: t.TempDir()})
	in, out, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go s.read(t.Context(), func(*tx) error {
		close(in)
		<-out
		return nil
	})
	<-in
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("closed under a reader: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(out)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Counts(t.Context(), acme, "t1"); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestJobs(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		now := time.Now()
		s := open(Options{Now: func() time.Time { return now }})
		ctx := context.Background()
		if err := s.AddJobs(ctx, waihu.Job{Account: acme, Kind: "k", Key: "1", Body: []byte(`{}`)}, waihu.Job{Account: acme, Kind: "k", Key: "2", RunAt: now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if err := s.AddJobs(ctx, waihu.Job{Account: acme, Kind: "k", Key: "1", Body: []byte(`{"x":1}`)}); err != nil {
			t.Fatal(err)
		}
		take := func(want ...string) (list []waihu.Job) {
			t.Helper()
			list, err := s.TakeJobs(ctx, "k", 10, time.Minute)
			if err != nil || len(list) != len(want) {
				t.Fatalf("took %+v %v, want %v", list, err, want)
			}
			for i, k := range want {
				if list[i].Key != k {
					t.Fatalf("took %+v, want %v", list, want)
				}
			}
			return list
		}
		if j := take("1")[0]; j.Tries != 1 || string(j.Body) != "{}" || j.Account != acme {
			t.Fatalf("%+v", j)
		}
		take()
		now = now.Add(2 * time.Minute) // the worker died
		j := take("1")[0]
		if j.Tries != 2 {
			t.Fatalf("%+v", j)
		}
		if err := s.EndJobs(ctx, JobEnd{Job: j, Retry: now.Add(time.Second), Reason: "no luck"}); err != nil {
			t.Fatal(err)
		}
		take()
		now = now.Add(time.Hour)
		list := take("1", "2")
		if err := s.FinishJob(ctx, list[1].ID); err != nil {
			t.Fatal(err)
		}
		if err := s.EndJobs(ctx, JobEnd{Job: list[0], Dead: true, Reason: "given up"}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
		take()
	})
}
