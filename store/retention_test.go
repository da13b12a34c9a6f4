package store

import (
	"strings"
	"testing"
	"time"

	"waihu"
)

// TestRetention: what is older than its account says goes, with its gauges and its files; the rest stays, and so do other accounts' things.
func TestRetention(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
		w := newWorld(t, open(Options{Key: testKey, Now: func() time.Time { return now }}))
		w.line("l1", 100)
		w.task("t1")
		w.numbers("t1", 0, 40)
		w.start("t1")
		call := func() waihu.CallID {
			r := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 1)}})
			b := ended(r.Dials[0].LiveCall, waihu.Answered, waihu.NumberDone)
			b.Outcome.AnswerAt, b.Outcome.Recording = b.StartedAt, "x/"+b.Call.String()+".wav"
			b.Outcome.Transcript = []waihu.Turn{{Who: "callee", Text: "喂"}}
			b.Outcome.Tags = []string{"kept"}
			w.tick(&Tick{Book: []Booking{b}})
			if err := w.KeepRecording(w.ctx, RecordingRow{Call: b.Call, Account: acme, Name: b.Outcome.Recording, Size: 5, Sum: "s"}); err != nil {
				t.Fatal(err)
			}
			return b.Call
		}
		var ids []waihu.CallID
		for range 4 { // 30, 20, 10 and 0 days old at the end
			ids = append(ids, call())
			now = now.Add(10 * 24 * time.Hour)
		}
		now = now.Add(-10 * 24 * time.Hour).Add(time.Minute)
		live := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 1)}}).Dials[0]

		if err := w.SetRetention(w.ctx, acme, Retention{Calls: -1}); waihu.ErrorCode(err) != waihu.EInvalid {
			t.Errorf("-1 days: %v", err)
		}
		if err := w.SetRetention(w.ctx, "nobody", Retention{Calls: 1}); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("nobody: %v", err)
		}
		if err := w.UpsertAccount(w.ctx, waihu.Account{ID: "sub", Parent: acme, Name: "sub"}); err != nil {
			t.Fatal(err)
		}
		before := w.recount()
		if err := w.RetainNow(w.ctx); err != nil || w.recount() != before {
			t.Errorf("without a setting something went: %v", err)
		}
		want := Retention{Calls: 25, Transcripts: 15, Recordings: 5}
		if err := w.SetRetention(w.ctx, acme, want); err != nil {
			t.Fatal(err)
		}
		for _, a := range []waihu.AccountID{acme, "sub"} {
			if r, err := w.Retention(w.ctx, a); err != nil || r != want {
				t.Errorf("%s keeps %+v, %v", a, r, err)
			}
		}
		for range 2 { // the second time there is nothing to do
			if err := w.RetainNow(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.checkGauges()
			calls, total, err := w.Calls(w.ctx, acme, "t1", CallFilter{Ended: true})
			if err != nil || total != 3 || len(calls) != 3 {
				t.Fatalf("%d calls of %d, %v", len(calls), total, err)
			}
			for i, c := range calls { // the latest first
				o := c.Outcome
				if (o.Recording != "") != (i == 0) || (len(o.Transcript) > 0) != (i <= 1) || len(o.Tags) != 1 {
					t.Errorf("call %d of %d days has recording %q, %d turns, tags %q", c.ID, 10*i, o.Recording, len(o.Transcript), o.Tags)
				}
			}
		}
		if _, err := w.Call(w.ctx, acme, "t1", ids[0]); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("the oldest call: %v", err)
		}
		jobs, err := w.TakeJobs(w.ctx, JobRemoveRecording, 10, time.Minute)
		if err != nil || len(jobs) != 3 {
			t.Errorf("%d files to remove, %v", len(jobs), err)
		}
		// A copy that comes too late is refused, and its maker removes it.
		if err := w.KeepRecording(w.ctx, RecordingRow{Call: ids[1], Account: acme, Name: "x/" + ids[1].String() + ".wav", Place: "s3"}); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("kept after it was removed: %v", err)
		}
		if err := w.KeepRecording(w.ctx, RecordingRow{Call: ids[3], Account: stranger, Name: "x/" + ids[3].String() + ".wav"}); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger keeps it: %v", err)
		}
		if _, err := w.Recording(w.ctx, stranger, ids[3]); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger reads it: %v", err)
		}
		if r, err := w.Recording(w.ctx, acme, ids[3]); err != nil || r.Sum != "s" || r.Size != 5 {
			t.Errorf("%+v %v", r, err)
		}

		// The task goes: its last recording with it.
		w.tick(&Tick{Book: []Booking{ended(live.LiveCall, waihu.Busy, waihu.NumberDone)}, Close: []RunClose{{Task: "t1", Run: 1, Reason: waihu.RunStopped}}})
		if err := w.DeleteTask(w.ctx, acme, "t1"); err != nil {
			t.Fatal(err)
		}
		jobs, err = w.TakeJobs(w.ctx, JobRemoveRecording, 10, time.Minute)
		if err != nil || len(jobs) != 1 || !strings.Contains(string(jobs[0].Body), ids[3].String()) {
			t.Errorf("after the task was deleted: %d jobs, %v", len(jobs), err)
		}
	})
}
