package voicefox

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

var updateGolden = flag.Bool("update", false, "write golden files anew")

// told is what the shape makes of the account's events after the n-th, by name of the vendor's.
func (w *world) told(after int64) (list []object) {
	w.Helper()
	shape := Shape(w.o)
	events, err := w.Events(w.Context(), mainUser, after, 1000)
	w.must(err)
	for len(events) > 0 {
		p, n, err := shape(w.Context(), waihu.Endpoint{Account: mainUser, Door: Door}, events)
		if err != nil || n != 1 {
			w.Fatalf("%s: took %d, %v", events[0].Kind, n, err)
		}
		if p.Body != nil {
			list = append(list, tree(w, p.Body).(object))
		}
		events = events[n:]
	}
	return list
}

// golden compares a payload with the file; the key of a recording's address is another each time.
func (w *world) golden(name string, payload object) {
	w.Helper()
	raw, err := json.MarshalIndent(payload, "", "  ")
	w.must(err)
	raw = append(regexp.MustCompile(`(/openapi/records/)[^"]+`).ReplaceAll(raw, []byte("${1}KEY")), '\n')
	file := filepath.Join("testdata", name)
	if *updateGolden {
		w.must(os.WriteFile(file, raw, 0o644))
	}
	want, err := os.ReadFile(file)
	w.must(err)
	if !bytes.Equal(raw, want) {
		w.Errorf("%s has changed:\n%s", name, raw)
	}
}

// TestCallbacks: the three payloads, key by key.
func TestCallbacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := waihu.TaskID("f232d184-dd54-42a0-8ace-0bf8d660f4cc")
	k, err := w.Task(t.Context(), mainUser, id)
	w.must(err)
	k.Agent = "9001" // collects
	w.must(w.UpdateTask(t.Context(), &k))
	w.numbers(taskID, "13800000001", "13800000002", "13800000003")
	after, err := w.LastEvent(t.Context(), mainUser)
	w.must(err)
	calls := w.dial(taskID, w.answered(), w.unanswered(waihu.Busy))
	list := w.told(after)
	if len(list) != 2 {
		t.Fatalf("two calls ended and %d payloads were made: %v", len(list), list)
	}
	w.golden("hangup_answered.json", list[0])
	w.golden("hangup_busy.json", list[1])

	// The check of the answered call.
	after, err = w.LastEvent(t.Context(), mainUser)
	w.must(err)
	jobs, err := w.TakeJobs(t.Context(), waihu.JobReview, 10, time.Minute)
	w.must(err)
	if len(jobs) != 1 {
		t.Fatalf("%d calls are to be checked, want the answered one", len(jobs))
	}
	w.must(w.FinishReviews(t.Context(), store.Reviewed{Job: jobs[0], Call: calls[0].Call, Review: &waihu.Review{Grade: "A", Summary: "货物完好。", Suggestion: "无需跟进。",
		Collected: []waihu.CollectAnswer{{Key: "goods", Question: "货物是否完好", Hit: true, Option: true, Result: "完好", Message: "完好"},
			{Key: "again", Question: "是否愿意再次购买", Option: true, Message: "没有问到"}},
		Items: []waihu.ReviewItem{{ID: "polite", Kind: "llm", Ask: "是否礼貌", Result: waihu.ItemPass, Answer: "true"}}}}))
	list = w.told(after)
	if len(list) != 1 {
		t.Fatalf("a check made %v", list)
	}
	w.golden("collect.json", list[0])

	// Checked once more, by newer rules: the customer has been told of the call.
	regraded, err := w.Regrade(t.Context(), mainUser, taskID)
	w.must(err)
	jobs, err = w.TakeJobs(t.Context(), waihu.JobReview, 10, time.Minute)
	w.must(err)
	after, err = w.LastEvent(t.Context(), mainUser)
	w.must(err)
	if len(jobs) != 1 {
		t.Fatalf("%d calls are to be checked again (%v)", len(jobs), regraded)
	}
	w.must(w.FinishReviews(t.Context(), store.Reviewed{Job: jobs[0], Call: calls[0].Call, Again: true, Review: &waihu.Review{Grade: "A", Summary: "货物完好。",
		Collected: []waihu.CollectAnswer{{Key: "goods", Question: "货物是否完好", Hit: true, Option: true, Result: "完好", Message: "完好"}}}}))
	if list := w.told(after); len(list) != 0 {
		t.Errorf("a repeated check is told: %v", list)
	}
	if r := w.ok("GET", "/openapi/tasks/1", nil); r.number("collectionRate") != 100 || r.number("progress") != 66 {
		t.Errorf("%s", r.raw)
	}

	// The end of the task.
	after, err = w.LastEvent(t.Context(), mainUser)
	w.must(err)
	w.must(w.StopTask(t.Context(), mainUser, taskID))
	if list := w.told(after); len(list) != 0 {
		t.Errorf("before the summary is written %v is told", list)
	}
	jobs, err = w.TakeJobs(t.Context(), waihu.JobSummary, 10, time.Minute)
	w.must(err)
	if len(jobs) != 1 {
		t.Fatalf("%d runs are to be summed up", len(jobs))
	}
	w.must(w.FinishSummary(t.Context(), jobs[0], waihu.SummaryOrder{Task: taskID, Run: 1}, waihu.TaskSummary{Summary: "一通接通。", Suggestion: "继续。",
		Overview: []waihu.QuestionCount{{Key: "goods", Question: "货物是否完好", Total: 1, Option: true, Results: []waihu.AnswerCount{{Result: "完好", Total: 1, Percent: "100%"}, {Result: "破损", Percent: "0%"}}}}}))
	list = w.told(after)
	if len(list) != 1 {
		t.Fatalf("the end made %v", list)
	}
	w.golden("task_end.json", list[0])
	if r := w.ok("GET", "/openapi/tasks/1", nil); r.text("summary") != "一通接通。" || r.text("suggestion") != "继续。" || r.text("status") != "stop.operate" {
		t.Errorf("%s", r.raw)
	}

	// What is gone is passed over.
	last, err := w.LastEvent(t.Context(), mainUser)
	w.must(err)
	w.must(w.DeleteTask(t.Context(), mainUser, taskID))
	if list := w.told(0); len(list) != 0 {
		t.Errorf("of a deleted task %d payloads are made (%d events)", len(list), last)
	}
}
