package main

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"waihu"
	"waihu/carrier"
	"waihu/store"
)

// This file, which also serves tests under virtual time and so uses no context of theirs, holds the ledger against itself and against the carrier, for the tests of the whole product.

func allNumbers(t *testing.T, st *store.Store, task waihu.TaskID) (all []waihu.Number) {
	t.Helper()
	for page := 1; ; page++ {
		list, total, err := st.Numbers(context.Background(), testAccount, task, store.NumberFilter{Page: page, PerPage: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, list...); len(list) == 0 || len(all) == total {
			return all
		}
	}
}

// callsOf are the calls of one number, those of all when seq is 0.
func callsOf(t *testing.T, st *store.Store, task waihu.TaskID, seq int64) (all []waihu.Call) {
	t.Helper()
	for page := 1; ; page++ {
		list, total, err := st.Calls(context.Background(), testAccount, task, store.CallFilter{Seq: seq, Page: page, PerPage: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, list...); len(list) == 0 || len(all) == total {
			return all
		}
	}
}

// holdGauges counts a task's gauges again from its rows.
func holdGauges(t *testing.T, st *store.Store, task waihu.TaskID) {
	t.Helper()
	got, err := st.Counts(context.Background(), testAccount, task)
	if err != nil {
		t.Fatal(err)
	}
	want := store.Counts{Status: map[waihu.Disposition]int{}, Intention: map[string]int{}}
	for _, n := range allNumbers(t, st, task) {
		want.State[n.State]++
		want.Status[n.Outcome]++
		if n.Grade != "" {
			want.Intention[n.Grade]++
		}
	}
	got.State[waihu.NumberRemoved] = 0 // removed numbers are not listed
	started := len(callsOf(t, st, task, 0))
	if got.State != want.State || !maps.Equal(got.Status, want.Status) || !maps.Equal(got.Intention, want.Intention) || got.Started != started {
		t.Errorf("the gauges of task %s say %v %v %v and %d calls, its rows %v %v %v and %d", task,
			got.State, got.Status, got.Intention, got.Started, want.State, want.Status, want.Intention, started)
	}
}

// holdEvents looks for gaps in the numbers of events, and for ends that were told twice or never.
func holdEvents(t *testing.T, st *store.Store) {
	t.Helper()
	var last int64
	taskLast := map[waihu.TaskID]int64{}
	told := map[waihu.CallID]int{}
	for {
		list, err := st.Events(context.Background(), testAccount, last, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.N != last+1 || e.Task != "" && e.TaskN != taskLast[e.Task]+1 {
				t.Fatalf("event %d (%d of its task) follows %d (%d)", e.N, e.TaskN, last, taskLast[e.Task])
			}
			last = e.N
			if e.Task != "" {
				taskLast[e.Task] = e.TaskN
			}
			if e.Kind == waihu.EventCallEnded {
				told[e.Call]++
			}
		}
		if len(list) == 0 {
			break
		}
	}
	for task := range taskLast {
		if _, err := st.Task(context.Background(), testAccount, task); waihu.ErrorCode(err) == waihu.ENotFound {
			continue // deleted, with its calls
		}
		for _, c := range callsOf(t, st, task, 0) {
			want := 1
			if c.EndedAt.IsZero() {
				want = 0
			}
			if told[c.ID] != want {
				t.Errorf("the end of call %s was told %d times, want %d", c.ID, told[c.ID], want)
			}
		}
	}
}

// peakOf is how many of the chosen calls were up at once, at most, by the carrier's count.
func peakOf(records []carrier.Record, of func(*carrier.Record) bool) int {
	type edge struct {
		at time.Time
		by int
	}
	var edges []edge
	for i := range records {
		r := &records[i]
		if !of(r) {
			continue
		}
		edges = append(edges, edge{r.InviteAt, 1})
		if !r.EndAt.IsZero() {
			edges = append(edges, edge{r.EndAt, -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return a.at.Compare(b.at) })
	n, peak := 0, 0
	for _, e := range edges {
		n += e.by
		peak = max(peak, n)
	}
	return peak
}
