package yunfu

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// work works the due jobs of a kind once, as the queue does, and says how many there were.
func (w *world) work(kind string) int {
	w.Helper()
	jobs, err := w.TakeJobs(w.Context(), kind, 100, time.Minute)
	w.must(err)
	for _, j := range jobs {
		w.must(w.jobs[kind](w.Context(), j))
		w.must(w.FinishJob(w.Context(), j.ID))
	}
	return len(jobs)
}

func (w *world) batch(id any) reply {
	w.Helper()
	return w.ok("GET", old1+"/identification/"+id.(string), nil)
}

const asyncPath = old1 + "/task/" + taskID + "/async_number"

func phonesFrom(from, n int) []any {
	var list []any
	for i := range n {
		list = append(list, object{"phone": strconv.Itoa(13800000000 + from + i)})
	}
	return list
}

// TestAsyncImport: 200 rows are taken at once and added by the job; unique_id tells before and after.
func TestAsyncImport(t *testing.T) {
	t.Parallel()
	woken := 0
	w := newWorld(t, func(o *Options) { o.Wake = func() { woken++ } })
	rows := phonesFrom(0, maxAsyncRows)
	rows[7] = object{"phone": "13800000007", "name": "张三", "extra": "e7", "control_select_robot": "男"}
	sent := w.ok("POST", asyncPath, object{"data": rows})
	id := sent.at("unique_id")
	if woken != 1 {
		t.Errorf("the queue was told %d times", woken)
	}
	before := w.batch(id)
	if !within(tree(t, object{"type": "import_number", "mode": "batch", "unique_id": id, "user_id": mainUser, "task_id": taskID, "status": 0, "progress": 0,
		"total": 200, "success_count": 0, "fail_count": 0, "data": object{"url": nil}}), before.data) {
		t.Errorf("before the work: %s", before.raw)
	}
	if r := w.ok("GET", numberPath+"?page=1", nil); r.meta["total"] != tree(t, 0) {
		t.Errorf("numbers before the work: %s", r.raw)
	}
	if n := w.work(jobImport); n != 1 {
		t.Fatalf("%d jobs", n)
	}
	after := w.batch(id)
	if !within(tree(t, object{"status": 1, "progress": 100, "success_count": 200, "fail_count": 0, "errors": []any{}}), after.data) {
		t.Errorf("after the work: %s", after.raw)
	}
	if r := w.ok("GET", numberPath+"/detail/13800000007", nil); r.at("name") != "张三" || r.at("extra") != "e7" || r.at("control_select_robot") != "男" {
		t.Errorf("number %s", r.raw)
	}
	address, _ := after.at("data", "url").(string)
	file := w.as("", "GET", strings.TrimPrefix(address, "http://example.com"), nil)
	var got map[string][]string
	if err := json.Unmarshal([]byte(file.raw), &got); err != nil || len(got) != 1 || len(got["numbers"]) != 200 || got["numbers"][199] != "13800000199" {
		t.Errorf("the file %s: %.200s", address, file.raw)
	}
	// Twice, too many, bad rows.
	w.bad(w.do("POST", asyncPath, object{"data": phonesFrom(0, 1)}), 422, "data[0].phone", duplicateText)
	w.bad(w.do("POST", asyncPath, object{"data": phonesFrom(300, 201)}), 422, "data", "200")
	w.bad(w.do("POST", asyncPath, object{"data": []any{object{"phone": "x"}}}), 422, "data[0].phone")
	w.bad(w.do("POST", asyncPath, object{"data": []any{}}), 422, "data")
	w.bad(w.do("GET", old1+"/identification/none", nil), 404)
	skipped := w.ok("POST", asyncPath, object{"skip_error": true, "data": append(phonesFrom(0, 1), object{"phone": "x"}, object{"phone": "13900000001"})})
	w.work(jobImport)
	r := w.batch(skipped.at("unique_id"))
	if !within(tree(t, object{"total": 3, "success_count": 1, "fail_count": 2}), r.data) || !within(tree(t, 1), r.at("errors", 1, "index")) {
		t.Errorf("skipped: %s", r.raw)
	}
	// Repeats under suffixes.
	twice := w.ok("POST", asyncPath, object{"number_add_suffix": 1, "data": append(phonesFrom(0, 1), phonesFrom(0, 1)...)})
	w.work(jobImport)
	if r := w.batch(twice.at("unique_id")); !within(tree(t, 2), r.at("success_count")) {
		t.Errorf("suffixed: %s", r.raw)
	}
}

// TestAsyncImportDies: what a dead process had added is the batch's own when the job is worked again; what somebody else
// added between acceptance and work is not.
func TestAsyncImportDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.ok("POST", asyncPath, object{"data": phonesFrom(0, 3)}).at("unique_id")
	dead, err := w.TakeJobs(t.Context(), jobImport, 1, -time.Second) // its lease is over at once
	w.must(err)
	_, err = w.AddNumbers(t.Context(), mainUser, taskID, []store.NewNumber{{Phone: "13800000001"}}) // as far as it came
	w.must(err)
	if len(dead) != 1 || w.work(jobImport) != 1 {
		t.Fatal("the job is not due again")
	}
	if r := w.batch(id); !within(tree(t, object{"status": 1, "success_count": 3, "fail_count": 0}), r.data) {
		t.Errorf("after a death: %s", r.raw)
	}
	w.must(w.jobs[jobImport](t.Context(), dead[0])) // once more changes nothing
	if r := w.ok("GET", numberPath+"?page=1", nil); r.meta["total"] != tree(t, 3) {
		t.Errorf("numbers %s", r.raw)
	}
	id = w.ok("POST", asyncPath, object{"data": phonesFrom(10, 3)}).at("unique_id")
	w.numbers(taskID, "13800000011")
	w.work(jobImport)
	if r := w.batch(id); !within(tree(t, object{"success_count": 2, "fail_count": 1}), r.data) || r.at("errors", 0, "phone") != "13800000011" {
		t.Errorf("somebody was faster: %s", r.raw)
	}
}

// TestAsyncImportGivenUp: a task that is gone ends the batch, an error of the ledger only after many tries.
func TestAsyncImportGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.create()
	id := w.ok("POST", old1+"/task/"+string(k.ID)+"/async_number", object{"data": phonesFrom(0, 2)}).at("unique_id")
	w.ok("DELETE", old1+"/task/"+string(k.ID), nil)
	w.work(jobImport)
	if r := w.batch(id); !within(tree(t, object{"status": 2, "progress": 100, "success_count": 0, "fail_count": 2, "message": "任务不存在"}), r.data) {
		t.Errorf("the task is gone: %s", r.raw)
	}
	id = w.ok("POST", asyncPath, object{"data": phonesFrom(0, 2)}).at("unique_id")
	s := newServer(Options{Store: w.Store, Log: testLog(t)})
	b, err := w.Batch(t.Context(), mainUser, id.(string))
	w.must(err)
	boom := errors.New("the ledger does not answer")
	if err := s.batchFailed(t.Context(), waihu.Job{Tries: lastTry - 1}, b, boom); !errors.Is(err, boom) {
		t.Errorf("try again: %v", err)
	}
	w.must(s.batchFailed(t.Context(), waihu.Job{Tries: lastTry}, b, boom))
	if r := w.batch(id); !within(tree(t, object{"status": 2, "fail_count": 2}), r.data) || strings.Contains(r.raw, "ledger") {
		t.Errorf("given up: %s", r.raw)
	}
	if w.work(jobImport); w.ok("GET", numberPath+"?page=1", nil).meta["total"] != tree(t, 0) {
		t.Error("a batch that was given up was worked")
	}
}

// TestRowsSubAccount: sub_user_id inside the rows acts for that sub-account, and for one only.
func TestRowsSubAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := waihu.Task{Account: subUser, Name: "x", Agent: "123", Concurrency: 1}
	w.must(w.CreateTask(t.Context(), &k))
	path := old1 + "/task/" + string(k.ID)
	for _, way := range []string{"/number", "/async_number"} {
		w.bad(w.do("POST", path+way, object{"data": phonesFrom(0, 1)}), 404)
		w.bad(w.do("POST", path+way, object{"data": []any{object{"phone": "13800000000", "sub_user_id": otherUser}}}), 403)
		w.bad(w.do("POST", path+way, object{"data": []any{object{"phone": "13800000000", "sub_user_id": subUser}, object{"phone": "13800000001", "sub_user_id": mainUser}}}),
			422, "data[1].sub_user_id")
	}
	w.ok("POST", path+"/number", object{"data": []any{object{"phone": "13800000000", "sub_user_id": subUser}}})
	id := w.ok("POST", path+"/async_number", object{"data": []any{object{"phone": "13800000001", "sub_user_id": subUser}, object{"phone": "13800000002"}}}).at("unique_id").(string)
	w.work(jobImport)
	if r := w.ok("GET", old1+"/identification/"+id+"?sub_user_id="+subUser, nil); !within(tree(t, 2), r.at("success_count")) {
		t.Errorf("got %s", r.raw)
	}
	w.bad(w.do("GET", old1+"/identification/"+id, nil), 404)
}
