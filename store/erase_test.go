package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
)

const (
	goner   = waihu.PhoneNumber("13912345678") // who asks to be erased
	gonerNo = "3912345678"                     // what no file may hold
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

// erasable is a world in which the goner is everywhere.
func erasable(t *testing.T, s *Store) (w *world, live LiveCall) {
	t.Helper()
	w = newWorld(t, s)
	w.line("l1", 100)
	w.task("t1")
	w.task("t2")
	w.task("late")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	add := func(task waihu.TaskID, list ...NewNumber) {
		t.Helper()
		_, err := w.AddNumbers(w.ctx, acme, task, list)
		must(err)
	}
	vars := waihu.NumberData{Vars: map[string]string{"name": "王小明"}}
	add("t1", NewNumber{Phone: goner, Data: vars}, NewNumber{Phone: "13800000001", Data: waihu.NumberData{Vars: map[string]string{"referred by": string(goner), "query": "a=1&" + string(goner)}}})
	add("t2", NewNumber{Key: string(goner) + "#2", Phone: goner}, NewNumber{Phone: "+86" + goner, Data: vars}, NewNumber{Phone: "113912345678"},
		NewNumber{Phone: "13700000001", Data: waihu.NumberData{Group: []waihu.PhoneNumber{"13700000001", goner, "13700000002"}}})
	add("late", NewNumber{Phone: goner})
	w.start("t1")
	w.start("late")
	r := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 10), pop("late", 1, 10)}})
	for _, d := range r.Dials {
		if d.Task == "late" {
			live = d.LiveCall
			continue
		}
		b := ended(d.LiveCall, waihu.Answered, waihu.NumberDone)
		b.Outcome.AnswerAt, b.Outcome.Grade = b.StartedAt, "A"
		b.Outcome.Transcript = []waihu.Turn{{Who: "callee", Text: "我的号码是" + string(d.Phone)}}
		b.Outcome.Recording = "2026-01-02/" + d.Call.String() + ".wav"
		b.Outcome.OptOut = d.Phone == goner
		w.tick(&Tick{Book: []Booking{b}})
		must(w.KeepRecording(w.ctx, RecordingRow{Call: d.Call, Account: acme, Name: b.Outcome.Recording, Size: 1, Sum: "x"}))
	}
	must(w.Suppress(w.ctx, acme, "13700000009", "wife of "+string(goner), 0))
	must(w.SaveCustomers(w.ctx, acme, []Customer{{Phone: string(goner), Name: "王小明", Fields: map[string]string{"a": "b"}}, {Phone: "13800000001", Extra: "friend of " + string(goner)}}, nil))
	must(w.SaveCustomers(w.ctx, stranger, []Customer{{Phone: "13800000002", Name: "x"}}, nil))
	must(w.AddJobs(w.ctx, waihu.Job{Account: acme, Kind: "import", Key: "i", Body: []byte(`[{"Phone":"13912345678"},{"Phone":13912345678,"n":[13912345678,1],"name":"\u753513912345678"},{"Phone":"113912345678"}]`)}))
	must(w.AddBatch(w.ctx, Batch{ID: "b", Account: acme, Task: "t1", Kind: "x", Body: []byte(`{"errors":["86` + goner + `"]}`)}, waihu.Job{Account: acme, Kind: "x", Key: "b", Body: []byte(`{}`)}))
	must(w.SaveBatch(w.ctx, Batch{ID: "b", Account: acme, Body: []byte(`{"errors":["86` + goner + `"]}`)}, &BatchPart{N: 1, Numbers: []string{string(goner), "13800000001"}}))
	return w, live
}

// TestErase: after an erasure the number is found nowhere, in no row and in no file; others are untouched; and who said no is still not called.
func TestErase(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		dir := t.TempDir()
		w, live := erasable(t, open(Options{Dir: dir, Key: testKey}))
		var removed []string
		e := Erasure{Phone: "+86" + goner, Remove: func(_ context.Context, r RecordingRow) error {
			removed = append(removed, r.Name)
			return nil
		}}
		report, err := w.Erase(w.ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		if report.Numbers != 3 || report.Calls != 1 || report.Recordings != 1 || len(removed) != 1 || report.Customers != 1 || report.Suppressed != 1 || report.Live != 1 {
			t.Errorf("report: %+v, files removed: %q", report, removed)
		}
		for _, place := range []string{"jobs.body", "batches.body", "batch_parts.body", "numbers.data", "customers.extra"} {
			if report.Texts[place] == 0 {
				t.Errorf("nothing was overwritten in %s: %v", place, report.Texts)
			}
		}
		w.checkGauges()

		// The call in progress ends, with another refusal; its job does the rest.
		jobs, err := w.TakeJobs(w.ctx, JobEraseNumber, 10, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) != 0 {
			t.Error("the job of a call in progress is due at once")
		}
		w.do(func(x *tx) error { _, err := x.exec(`update jobs set run_at = 0`); return err })
		if jobs, err = w.TakeJobs(w.ctx, JobEraseNumber, 10, time.Minute); err != nil || len(jobs) != 1 {
			t.Fatalf("%d jobs, %v", len(jobs), err)
		}
		if err := w.EraseLater(w.ctx, jobs[0], nil); err == nil {
			t.Error("erased during the call")
		}
		b := ended(live, waihu.Answered, waihu.NumberDone)
		b.Outcome.AnswerAt, b.Outcome.OptOut = b.StartedAt, true
		b.Outcome.Transcript = []waihu.Turn{{Who: "callee", Text: string(goner)}}
		w.tick(&Tick{Book: []Booking{b}})
		if err := w.EraseLater(w.ctx, jobs[0], nil); err != nil {
			t.Fatal(err)
		}
		w.checkGauges()
		w.foundNowhere(dir)

		// What belongs to others is there.
		calls, _, err := w.Calls(w.ctx, acme, "t1", CallFilter{Phone: "13800000001"})
		if err != nil || len(calls) != 1 || len(calls[0].Outcome.Transcript) != 1 {
			t.Errorf("another's call: %+v %v", calls, err)
		}
		if list, _ := w.NumbersByPhone(w.ctx, acme, "t2", "113912345678"); len(list) != 1 {
			t.Error("a longer number was taken for it")
		}
		if list, _ := w.NumbersByPhone(w.ctx, acme, "t2", "13700000001"); len(list) != 1 || !slices.Equal(list[0].Data.Group, []waihu.PhoneNumber{"13700000001", "13700000002"}) {
			t.Errorf("another person's other phones: %+v", list)
		}
		jobs, err = w.TakeJobs(w.ctx, "import", 10, time.Minute)
		if want := `[{"Phone":"[erased]"},{"Phone":0,"n":[0,1],"name":"\u7535[erased]"},{"Phone":"113912345678"}]`; err != nil || len(jobs) != 1 || string(jobs[0].Body) != want {
			t.Errorf("the waiting job: %s %v", jobs[0].Body, err)
		}
		if rep, err := w.AddNumbers(w.ctx, acme, "t2", []NewNumber{{Key: Erased, Phone: Erased}, {Phone: "13700000000"}}); err != nil || rep.Added != 1 {
			t.Errorf("an import with an erased row: %+v %v", rep, err)
		}

		// Never after they said no: imported again, in any form, it is popped as suppressed and not dialled.
		w.task("again")
		if _, err := w.AddNumbers(w.ctx, acme, "again", []NewNumber{{Phone: goner}, {Phone: "86" + goner}, {Phone: "0" + goner}, {Phone: "13800000001"}}); err != nil {
			t.Fatal(err)
		}
		w.start("again")
		var suppressed []waihu.PhoneNumber
		p := pop("again", 1, 10)
		p.Decide = func(n PoppedNumber) Decision {
			if n.Suppressed {
				suppressed = append(suppressed, n.Phone)
			}
			return Decision{}
		}
		w.tick(&Tick{Pops: []Pop{p}})
		if len(suppressed) != 3 || slices.Contains(suppressed, "13800000001") {
			t.Errorf("suppressed at the pop: %q", suppressed)
		}
		if err := w.Unsuppress(w.ctx, acme, goner); err != nil {
			t.Errorf("they say yes again: %v", err)
		}
		suppressed = nil
		w.tick(&Tick{Pops: []Pop{p}})
		if len(suppressed) != 0 {
			t.Errorf("suppressed still: %q", suppressed)
		}
	})
}

// foundNowhere reads every column of every table, and the files.
func (w *world) foundNowhere(dir string) {
	w.Helper()
	tables, err := w.columns(w.ctx)
	if err != nil {
		w.Fatal(err)
	}
	n := 0
	for table, cols := range tables {
		for _, c := range cols {
			n++
			q := fmt.Sprintf(`select '%s.%s: ' || cast(%s as text) from %s where cast(%s as text) like '%%%s%%' and cast(%s as text) not like '%%113912345678%%'`, table, c.name, c.name, table, c.name, gonerNo, c.name)
			w.rows(q, func(line string) { w.Errorf("still there: %s", line) })
		}
	}
	if n < 100 {
		w.Fatalf("only %d columns were looked at", n)
	}
	if !w.d.embedded {
		return
	}
	// The longer number is a decoy that must stay in rows; gone, it must not hide what the file keeps.
	if _, err := w.Erase(w.ctx, Erasure{Phone: "113912345678"}); err != nil {
		w.Fatal(err)
	}
	if _, err := w.AddNumbers(w.ctx, acme, "t2", []NewNumber{{Phone: "113912345678"}}); err != nil {
		w.Fatal(err)
	}
	w.do(func(x *tx) error {
		_, err := x.exec(`update jobs set body = '[{"Phone":"[erased]"},{"Phone":0,"n":[0,1],"name":"\u7535[erased]"},{"Phone":"113912345678"}]' where kind = 'import'`)
		return err
	})
	w.grep(dir)
}

// grep looks for the number in the bytes of all files of the folder, the decoy excepted.
func (w *world) grep(dir string) {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 3 {
		w.Fatalf("%q %v", files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			w.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), "11"+gonerNo, "")
		if i := strings.Index(text, gonerNo); i >= 0 {
			w.Errorf("%s still holds the number: %q", filepath.Base(f), text[max(0, i-60):min(len(text), i+40)])
		}
	}
}

// TestEraseOneAccount: a tenant's erasure leaves other tenants' rows as they are, also suppressions, and says that the ledger still has the number.
func TestEraseOneAccount(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		dir := t.TempDir()
		w, _ := erasable(t, open(Options{Dir: dir, Key: testKey}))
		if err := w.Suppress(w.ctx, stranger, goner, "opt_out", 0); err != nil {
			t.Fatal(err)
		}
		before := w.recount()
		report, err := w.Erase(w.ctx, Erasure{Phone: goner, Accounts: []waihu.AccountID{stranger}})
		if err != nil || report.Suppressed != 1 || report.Numbers+report.Customers+len(report.Texts)+report.Live != 0 {
			t.Errorf("%+v %v", report, err)
		}
		if w.recount() != before {
			t.Error("another account's rows were changed")
		}
		if list, err := w.Suppressed(w.ctx, acme, "", 0); err != nil || len(list) != 2 {
			t.Errorf("%v %v", list, err)
		}
		if w.d.embedded {
			files, err := w.Traces(w.ctx, goner)
			if err != nil || !slices.Equal(files, []string{"waihu.db"}) {
				t.Errorf("traces: %q %v", files, err)
			}
		}
		if _, err := w.Erase(w.ctx, Erasure{Phone: "123"}); waihu.ErrorCode(err) != waihu.EInvalid {
			t.Errorf("three digits: %v", err)
		}
	})
}

// TestEraseFilesLater: a recording that cannot be removed does not keep the number; a job goes on with the file alone.
func TestEraseFilesLater(t *testing.T) {
	t.Parallel()
	w, _ := erasable(t, mustOpen(t, Options{Dir: t.TempDir(), Key: testKey, noSync: true}))
	report, err := w.Erase(w.ctx, Erasure{Phone: goner, Remove: func(context.Context, RecordingRow) error { return errors.New("the bucket does not answer") }})
	if err != nil || report.RecordingsLater != 1 || report.Recordings != 0 {
		t.Fatalf("%+v %v", report, err)
	}
	jobs, err := w.TakeJobs(w.ctx, JobRemoveRecording, 10, time.Minute)
	if err != nil || len(jobs) != 1 || strings.Contains(string(jobs[0].Body), gonerNo) || !strings.Contains(string(jobs[0].Body), ".wav") {
		t.Errorf("%v %v", jobs, err)
	}
}

// TestKeyOfSums: a ledger with hashed suppressions does not open under another key, with which they would never match.
func TestKeyOfSums(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(context.Background(), Options{Dir: dir, Key: testKey, noSync: true})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, s)
	if err := w.Suppress(w.ctx, acme, goner, "x", 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(context.Background(), Options{Dir: dir, Key: []byte(strings.Repeat("k", 32)), noSync: true}); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("opened with another key: %v", err)
		if s != nil {
			s.Close()
		}
	}
}
