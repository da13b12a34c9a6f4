package yunfu

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// pool imports rows into the customer pool and works the job.
func (w *world) pool(rows ...any) {
	w.Helper()
	w.ok("POST", old1+"/async_customer", object{"data": rows})
	w.work(jobPool)
}

// listed are the last digits of the phones of a list, as they stand.
func listed(r reply) string {
	var out []string
	for i := range r.data.([]any) {
		phone, _ := r.at(i, "phone").(string)
		out = append(out, phone[10:])
	}
	return strings.Join(out, " ")
}

func TestCustomerPool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pool(object{"phone": "13800000001", "sort": 5, "name": "张三", "email": "z@x.cn", "company": "一公司", "sex": 1, "source_id": 1, "industry_id": 2, "grade_id": 3, "extra": "e1",
		"components": []any{object{"id": 7, "value": "黄金"}}},
		object{"phone": "13300000002", "sort": 0, "company": "二公司", "sex": 2}, object{"phone": "18600000003", "sort": 0})
	sent := w.ok("POST", old1+"/async_customer", object{"skip_error": true, "data": []any{object{"phone": "13800000001", "name": "张三丰"}, object{"phone": "x"}}})
	w.work(jobPool)
	if r := w.batch(sent.at("unique_id")); !within(tree(t, object{"type": "import_customer", "status": 1, "total": 2, "success_count": 1, "fail_count": 1}), r.data) {
		t.Errorf("batch %s", r.raw)
	}
	list := w.ok("GET", old1+"/get_customer?page=1&per_page=15", nil)
	if listed(list) != "3 2 1" || list.meta["total"] != tree(t, 3) || list.meta["per_page"] != "15" {
		t.Errorf("list %s", list.raw)
	}
	want := tree(t, object{"id": list.at(2, "id"), "phone": "13800000001", "name": "张三丰", "email": "z@x.cn", "company": "一公司", "sex": 1, "sort": 5, "source_id": 1,
		"industry_id": 2, "grade_id": 3, "extra": "e1", "operator_name": "移动", "is_follow": 0, "ai_call": 0,
		"components": []any{object{"id": "7", "name": "7", "type": "text", "value": "黄金"}}, "created_at": "2025-06-02 10:00:00", "updated_at": "2025-06-02 10:00:00"})
	if !within(want, list.at(2)) || !within(list.at(2), want) {
		t.Errorf("row %v\nwant %v", list.at(2), want)
	}
	if r := w.ok("GET", old1+"/customer/create", nil); r.at(0, "id") != "7" || r.at(0, "type") != "text" {
		t.Errorf("components %s", r.raw)
	}
	// One of them is called.
	w.numbers(taskID, "13300000002")
	w.dial(taskID, answered("A"))
	for query, phones := range map[string]string{"phone=13800000001": "1", "email=z@x.cn": "1", "company=公司": "2 1", "operator[]=1&operator[]=2": "3 2", "operator=移动": "1",
		"operator=中国联通": "3", "created_at[]=2025-06-02&created_at[]=2025-06-02": "3 2 1", "created_at[]=2025-06-03&created_at[]=2025-06-04": "",
		"components[0][id]=7&components[0][value]=黄金": "1", "components[0][id]=7&components[0][value]=白银": "", "page=2&per_page=2": "1"} {
		if r := w.ok("GET", old1+"/get_customer?"+query, nil); listed(r) != phones {
			t.Errorf("%s: %q want %q", query, listed(r), phones)
		}
	}
	if r := w.do("GET", old1+"/get_customer", object{"phone": "18600000003", "page": 1}); listed(r) != "3" { // a body on a GET
		t.Errorf("by body: %s", r.raw)
	}
	for query, phones := range map[string]string{"sex[]=1&sex[]=2": "2 1", "sex=0": "3", "is_follow=1": "", "is_follow=0": "3 2 1", "ai_call=1": "2", "ai_call=0": "3 1"} {
		if r := w.ok("GET", old1+"/type/clue/get_customer?"+query, nil); listed(r) != phones {
			t.Errorf("clue %s: %q want %q", query, listed(r), phones)
		}
	}
	w.bad(w.do("GET", old1+"/type/other/get_customer", nil), 404)
	for query, field := range map[string]string{"operator=9": "operator", "created_at=2025": "created_at", "components[0][value]=1": "components[0].id", "encryption=1": "encryption"} {
		w.bad(w.do("GET", old1+"/get_customer?"+query, nil), 422, field)
	}
	w.bad(w.do("POST", old1+"/async_customer", object{"data": phonesFrom(0, 201)}), 422, "data", "200")
	w.bad(w.do("POST", old1+"/async_customer", object{"data": []any{object{"phone": "x"}}}), 422, "data[0].phone")
	// The sub-account's pool is its own.
	if r := w.ok("GET", old1+"/get_customer?sub_user_id="+subUser, nil); listed(r) != "" {
		t.Errorf("the sub-account's pool: %s", r.raw)
	}
	// Deleting: nothing named, nothing deleted.
	del := old1 + "/del_customer"
	var many []any
	for range maxDeletePhones + 1 {
		many = append(many, "13800000001")
	}
	w.bad(w.do("DELETE", del, object{"phone": many}), 422, "phone", "100")
	for _, c := range []struct {
		body object
		n    int
		rest string
	}{
		{object{}, 0, "3 2 1"},
		{object{"phone": []any{}, "created_at": []any{}}, 0, "3 2 1"},
		{object{"company": "一公司"}, 0, "3 2 1"}, // no filter of this endpoint
		{object{"phone": []any{"13800000001", "13912345678"}, "created_at": []any{"2025-06-03", "2025-06-04"}}, 0, "3 2 1"},
		{object{"phone": []any{"13800000001", "13912345678"}}, 1, "3 2"},
		{object{"created_at": []any{"2025-06-02 00:00:00", "2025-06-02 23:00:00"}}, 2, ""},
	} {
		if r := w.ok("DELETE", del, c.body); !within(tree(t, c.n), r.at("delete_count")) {
			t.Errorf("delete %v: %s", c.body, r.raw)
		}
		if r := w.ok("GET", old1+"/get_customer", nil); listed(r) != c.rest {
			t.Errorf("after delete %v: %q", c.body, listed(r))
		}
	}
}

// TestImportsReachThePool: an import goes to the pool too unless ignore_crm says otherwise.
func TestImportsReachThePool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	row := func(phone string) object {
		return object{"phone": phone, "name": "张三", "components": []any{object{"id": "7", "value": "v"}}}
	}
	w.ok("POST", numberPath, object{"ignore_crm": true, "data": []any{row("13800000001")}})
	w.ok("POST", asyncPath, object{"ignore_crm": 1, "data": []any{row("13800000002")}})
	w.work(jobImport)
	if r := w.ok("GET", old1+"/get_customer", nil); listed(r) != "" {
		t.Errorf("the pool holds %s", listed(r))
	}
	w.ok("POST", numberPath, object{"data": []any{row("13800000003")}})
	w.ok("POST", asyncPath, object{"data": []any{row("13800000004")}})
	w.work(jobImport)
	r := w.ok("GET", old1+"/get_customer", nil)
	if listed(r) != "4 3" || r.at(0, "name") != "张三" || r.at(1, "components", 0, "value") != "v" {
		t.Errorf("the pool holds %s", r.raw)
	}
}

// TestCustomersToTask: those that match go into the task, with what scripts may use; the rest of the pool does not.
func TestCustomersToTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pool(object{"phone": "13800000001", "name": "张三", "sex": 1, "extra": "e1", "sort": 3, "source_id": 9, "components": []any{object{"id": "7", "value": "黄金"}}},
		object{"phone": "13300000002"}, object{"phone": "18600000003"})
	path := old1 + "/customer_to_task/" + taskID
	w.numbers(taskID, "18600000003")
	// The filters as a body on a GET, as the page shows them.
	id := w.do("GET", path, object{"operator": []any{2, 3}, "components": []any{}}).at("unique_id")
	w.work(jobToTask)
	r := w.batch(id)
	if !within(tree(t, object{"type": "api_customer_to_task", "status": 1, "total": 2, "success_count": 1, "fail_count": 1, "task_id": taskID}), r.data) {
		t.Errorf("batch %s", r.raw)
	}
	address, _ := r.at("data", "url").(string)
	if file := w.as("", "GET", strings.TrimPrefix(address, "http://example.com"), nil); strings.TrimSpace(file.raw) != `{"numbers":["13800000001"]}` {
		t.Errorf("the file holds %s", file.raw)
	}
	got := w.ok("GET", numberPath+"/detail/13800000001", nil)
	if got.at("name") != "张三" || !within(tree(t, 1), got.at("sex")) || got.at("extra") != "e1" || !within(tree(t, 3), got.at("sort")) || got.at("components", 0, "value") != "黄金" {
		t.Errorf("number %s", got.raw)
	}
	w.bad(w.do("GET", numberPath+"/detail/13300000002", nil), 404)
	none := w.ok("GET", path+"?phone=13912345678", nil).at("unique_id")
	w.work(jobToTask)
	if r := w.batch(none); !within(tree(t, object{"status": 1, "progress": 100, "total": 0}), r.data) || r.at("data", "url") != nil {
		t.Errorf("none: %s", r.raw)
	}
	gone := w.create()
	id = w.ok("GET", old1+"/customer_to_task/"+string(gone.ID), nil).at("unique_id")
	w.ok("DELETE", old1+"/task/"+string(gone.ID), nil)
	w.work(jobToTask)
	if r := w.batch(id); !within(tree(t, object{"status": 2, "message": "任务不存在"}), r.data) {
		t.Errorf("gone: %s", r.raw)
	}
}

// TestCustomersToTaskDies: the job dies in its second portion after the plan and some of its numbers; worked again it
// counts each customer once.
func TestCustomersToTaskDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 2*poolPortion + 10
	var list []store.Customer
	for _, row := range phonesFrom(0, n) {
		list = append(list, store.Customer{Phone: row.(object)["phone"].(string)})
	}
	for part := range slices.Chunk(list, 500) {
		w.must(w.SaveCustomers(t.Context(), mainUser, part, nil))
	}
	w.numbers(taskID, "13800000700") // in the second portion, not the batch's own
	id := w.ok("GET", old1+"/customer_to_task/"+taskID, nil).at("unique_id").(string)
	jobs, err := w.TakeJobs(t.Context(), jobToTask, 1, -time.Second)
	w.must(err)
	s := newServer(Options{Store: w.Store, Log: testLog(t)})
	b, err := w.Batch(t.Context(), mainUser, id)
	w.must(err)
	var parts []store.BatchPart
	if more, err := s.toTaskPortion(t.Context(), &b, store.CustomerFilter{}, &parts); err != nil || !more {
		t.Fatal(more, err)
	}
	if r := w.batch(id); !within(tree(t, object{"status": 0, "progress": 49, "success_count": poolPortion, "data": object{"url": nil}}), r.data) {
		t.Errorf("half-way: %s", r.raw)
	}
	plan := store.BatchPart{N: 1}
	var some []store.NewNumber
	for i, c := range list[poolPortion : 2*poolPortion] {
		if c.Phone == "13800000700" {
			continue
		}
		plan.Numbers = append(plan.Numbers, c.Phone)
		if i < 100 {
			some = append(some, store.NewNumber{Phone: waihu.PhoneNumber(c.Phone)})
		}
	}
	w.must(w.SaveBatch(t.Context(), b, &plan))
	_, err = w.AddNumbers(t.Context(), mainUser, taskID, some)
	w.must(err)
	// An end in order says so and leaves all as it is.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.jobs[jobToTask](over, jobs[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	w.must(w.jobs[jobToTask](t.Context(), jobs[0]))
	if r := w.batch(id); !within(tree(t, object{"status": 1, "total": n, "success_count": n - 1, "fail_count": 1}), r.data) {
		t.Errorf("worked again: %s", r.raw)
	}
	if r := w.ok("GET", numberPath+"?page=1", nil); r.meta["total"] != tree(t, n) {
		t.Errorf("numbers: %v", r.meta)
	}
}

func TestOperators(t *testing.T) {
	t.Parallel()
	for phone, want := range map[string]int{"13800000000": 3, "+8613300000000": 1, "17040000000": 2, "17030000000": 3, "17000000000": 1, "02160001000": 0, "1380000": 0, "16500000000": 3} {
		if got := operatorOf(phone); got != want {
			t.Errorf("%s is of %d, want %d", phone, got, want)
		}
	}
	seen := map[string]int{}
	for code, prefixes := range operatorPrefixes {
		for _, p := range prefixes {
			if seen[p] != 0 {
				t.Errorf("%s is of %d and %d", p, seen[p], code)
			}
			seen[p] = code
		}
	}
}
