package yunfu

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// TestFees: calls over a line with a price are charged, reported by line, and told by the VOS endpoints.
func TestFees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, err := w.Line(t.Context(), mainUser, lineMain)
	w.must(err)
	l.Price = waihu.Price{Minute: 1200}
	w.must(w.UpsertLine(t.Context(), l))
	w.ok("PUT", old1+"/recharge", object{"amount": 1})
	w.numbers(taskID, "13800000001", "13800000002", "13800000003")
	calls := w.dial(taskID, answered("A"), answered("B"), ended(waihu.Busy))
	if r := w.ok("GET", old1+"/message", nil); r.at("balance") != json.Number("0.76") {
		t.Errorf("balance %s", r.raw)
	}
	fee := w.ok("GET", old1+"/call_line_fee", nil)
	if !within(tree(t, object{"total_fee": json.Number("0.24"), "list": []any{object{"user_id": mainUser, "user_name": "测试主账户", "line_id": lineMain, "line_name": "主线路",
		"call_count": 2, "bill": 60, "fee_time": 120, "fee": json.Number("0.24")}}}), fee.data) {
		t.Errorf("fees %s", fee.raw)
	}
	for query, want := range map[string]int{"?type=all": 1, "?type=self": 1, "?date[]=2025-06-02&date[]=2025-06-02": 1, "?date[]=2025-06-01&date[]=2025-06-01": 0,
		"?caller_line_ids[]=" + lineMain: 1, "?caller_line_ids[]=" + lineOne: 0, "?task_ids[]=" + taskID: 1, "?task_ids[]=none": 0, "?user_ids[]=" + subUser: 0,
		"?user_ids[]=" + subUser + "&user_ids[]=" + mainUser: 1} {
		list, _ := w.ok("GET", old1+"/call_line_fee"+query, nil).at("list").([]any)
		if len(list) != want {
			t.Errorf("%s finds %v", query, list)
		}
	}
	w.bad(w.do("GET", old1+"/call_line_fee?type=x", nil), 422, "type")
	w.bad(w.do("GET", old1+"/call_line_fee?user_ids[]="+otherUser, nil), 403)

	today := "?time=2025-06-02"
	records := w.ok("GET", "/agent-api/vos/"+mainUser+"/get_call_record"+today, nil)
	if records.meta["total"] != tree(t, 2) || !within(tree(t, object{"callid": calls[1].Call.String(), "callee": "13800000002", "caller": "02160001000", "hold_time": 30, "fee_time": 60,
		"fee": json.Number("0.12"), "start_time": "2025-06-02 10:00:05", "stop_time": "2025-06-02 10:00:35"}), records.at(0)) {
		t.Errorf("records %s", records.raw)
	}
	for query, want := range map[string]int{"": 0, today + "&callee_phone=13800000001": 1, today + "&phone=02160001000": 2, today + "&phone=1": 0, today + "&vos_account_id=" + subUser: 0} {
		if r := w.ok("GET", "/agent-api/vos/"+mainUser+"/get_call_record"+query, nil); r.meta["total"] != tree(t, want) {
			t.Errorf("%s finds %s", query, r.raw)
		}
	}
	if r := w.ok("GET", "/agent-api/vos/"+mainUser+"/get_customer_fee?time[]=2025-06-02&time[]=2025-06-02", nil); r.at("total_fee") != json.Number("0.24") {
		t.Errorf("fee %s", r.raw)
	}
	if r := w.ok("GET", "/agent-api/vos/"+mainUser+"/get_customer_fee", nil); r.at("total_fee") != json.Number("0") {
		t.Errorf("yesterday's fee %s", r.raw)
	}
	if r := w.ok("GET", "/agent-api/vos_bill/"+mainUser+"?all=true", nil); len(r.data.([]any)) != 2 || !within(tree(t, object{"vos_account_id": mainUser, "balance": json.Number("0.76"), "fee": json.Number("0.24")}), r.at(0)) {
		t.Errorf("bill %s", r.raw)
	}
	if r := w.ok("GET", "/agent-api/vos_bill/"+mainUser, nil); len(r.data.([]any)) != 1 {
		t.Errorf("bill %s", r.raw)
	}
	w.bad(w.do("GET", "/agent-api/vos_bill/"+mainUser+"?vos_account_id="+otherUser, nil), 403)
}

// TestAllocate: a main account gives its sub-account a part of a line, which bounds it, shows in the lists and has a price of its own.
func TestAllocate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sub := "/agent-api/new/user/" + subUser
	given := w.ok("POST", sub+"/line/"+lineMain, object{"line_concurrency": 3, "deadline_at": "2025-06-03 10:00:00", "price": 0.15})
	if !within(tree(t, object{"line_id": lineMain, "belong_user": subUser, "name": nil, "line_concurrency": 3, "price": json.Number("0.15"), "agent_cost": 0, "begin_at": "2025-06-02 10:00:00",
		"deadline_at": "2025-06-03 10:00:00", "available_time": 86400, "group_ids": []any{}}), given.data) {
		t.Errorf("allocation %s", given.raw)
	}
	id, _ := given.at("id").(json.Number)
	again := w.ok("POST", new2+"/line/"+lineMain+"?sub_user_id="+subUser, object{"line_concurrency": "4", "price": "0.12", "deadline_at": "2025-06-03"}) // the other way to name it
	if again.at("id") != id || again.at("line_concurrency") != json.Number("4") {
		t.Errorf("changed: %s", again.raw)
	}
	kept := w.ok("POST", sub+"/line/"+lineMain, object{"line_concurrency": 4}) // what a change does not name stays
	if kept.at("price") != json.Number("0.12") || kept.at("deadline_at") != "2025-06-03 23:59:59" {
		t.Errorf("price and deadline of a change without them: %s", kept.raw)
	}
	w.ok("PUT", new2+"/line_bind_group", object{"id": id, "group_ids": []int{123, 102}})
	for path, row := range map[string]string{"/agent-api/new_line_list": "main", "/agent-api/new_line_list?user_id=" + subUser: "sub"} {
		list, _ := w.ok("GET", path+"", nil).data.([]any)
		found := false
		for _, l := range list {
			found = found || within(tree(t, object{"id": lineMain, "line_allocation": []any{object{"id": id, "belong_user": subUser, "group_ids": []any{123, 102}}}}), l)
		}
		if !found {
			t.Errorf("the list of %s lacks it: %v", row, list)
		}
	}
	init := w.ok("GET", sub+"/task/create", nil)
	found := false
	for _, l := range init.at("caller_line_list").([]any) {
		found = found || within(tree(t, object{"line_id": lineMain, "line_concurrency": 4, "residue": 4, "available_at": "2025-06-03 23:59:59"}), l)
	}
	if !found {
		t.Errorf("init of the sub-account: %s", init.raw)
	}
	w.bad(w.do("POST", sub+"/task", body("maximumcall", 5, "task_extras.line", []any{object{"id": lineMain, "limit": 5}})), 422, "task_extras.line[0].limit")
	w.ok("POST", sub+"/task", body("maximumcall", 4, "task_extras.line", []any{object{"id": lineMain, "limit": 4}}))

	for _, c := range []struct {
		body object
		part string
	}{{object{}, "line_concurrency"}, {object{"line_concurrency": 0}, "line_concurrency"}, {object{"line_concurrency": 21}, "line_concurrency"},
		{object{"line_concurrency": 1, "price": -1}, "price"}, {object{"line_concurrency": 1, "price": "x"}, "price"}, {object{"line_concurrency": 1, "price": 2000}, "price"}, {object{"line_concurrency": 1, "deadline_at": "x"}, "deadline_at"}} {
		w.bad(w.do("POST", sub+"/line/"+lineMain, c.body), 422, c.part)
	}
	w.bad(w.do("POST", sub+"/line/"+lineOther, object{"line_concurrency": 1}), 404)
	w.bad(w.as(subToken, "POST", sub+"/line/"+lineMain, object{"line_concurrency": 1}), 403)
	w.bad(w.as(subToken, "DELETE", sub+"/line/"+id.String(), nil), 403)
	w.bad(w.do("PUT", new2+"/line_bind_group", object{"id": id, "group_ids": []int{700}}), 422, "group_ids[0]")
	w.bad(w.do("PUT", new2+"/line_bind_group", object{"id": 99, "group_ids": []int{123}}), 404)
	w.bad(w.as(subToken, "PUT", sub+"/line_bind_group", object{"id": id, "group_ids": []int{123}}), 403)
	w.bad(w.as(otherToken, "DELETE", "/agent-api/new/user/"+otherUser+"/line/"+id.String(), nil), 404)
	w.bad(w.do("DELETE", new2+"/line/99", nil), 404)
	w.bad(w.do("DELETE", sub+"/line/x", nil), 404)
	w.ok("DELETE", sub+"/line/"+id.String(), nil)
	w.bad(w.do("DELETE", sub+"/line/"+id.String(), nil), 404)
	for i, price := range []string{"5.0E-4", "0.000500000"} { // as Java and a database write it
		again := w.ok("POST", sub+"/line/"+lineMain, `{"line_concurrency":1,"price":`+price+`}`)
		if again.at("price") != json.Number("0.0005") {
			t.Errorf("price %s: %s", price, again.raw)
		}
		n, _ := again.at("id").(json.Number)
		w.ok("DELETE", []string{new2, sub}[i]+"/line/"+n.String(), nil) // the main account's address reaches it too
	}
	l, err := w.Line(t.Context(), mainUser, lineMain)
	w.must(err)
	l.Price = waihu.Price{Minute: 1200}
	w.must(w.UpsertLine(t.Context(), l))
	for _, c := range []struct {
		body  object
		price string
		until any
	}{{object{"deadline_at": "2025-07-01"}, "0.12", "2025-07-01 23:59:59"}, {object{"price": 0, "deadline_at": ""}, "0", nil}, {object{}, "0", nil}} { // without a price: the line's
		c.body["line_concurrency"] = 1
		if r := w.ok("POST", sub+"/line/"+lineMain, c.body); r.at("price") != json.Number(c.price) || r.at("deadline_at") != c.until {
			t.Errorf("%v: %s", c.body, r.raw)
		}
	}
	left, err := w.Allocations(t.Context(), mainUser)
	w.must(err)
	if len(left) != 1 {
		t.Fatalf("%d allocations", len(left))
	}
	w.ok("DELETE", sub+"/line/"+itoa(int(left[0].ID)), nil)
	if list, err := w.Allocations(t.Context(), mainUser); err != nil || len(list) != 0 {
		t.Errorf("left over: %v, %v", list, err)
	}
}

// TestUsers: who registers is reached by the token that registered it; signing in needs a console.
func TestUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.SignIn = func(_ context.Context, a waihu.AccountID) (string, time.Time, error) {
			return "/console/enter?as=" + string(a), clockNow.Add(time.Hour), nil
		}
	})
	user := object{"name": "新客户", "email": "new@example.com", "phone": "13800000001", "password": "p", "password_confirmation": "p", "tenant_id": "node"}
	for _, prefix := range []string{"", "/agent-api"} {
		made := w.ok("POST", prefix+"/users", user)
		id, _ := made.at("id").(string)
		if !within(tree(t, object{"name": "新客户", "email": "new@example.com", "phone": "13800000001"}), made.data) {
			t.Errorf("registered %s", made.raw)
		}
		w.ok("GET", "/agent-api/new/user/"+id+"/task/create", nil)
		if r := w.ok("GET", prefix+"/users", nil); !strings.Contains(r.raw, id) || r.at(0, "id") != mainUser {
			t.Errorf("list %s", r.raw)
		}
		in := w.ok("POST", prefix+"/user/"+mainUser+"/authorize", object{"sub_user_id": id})
		if in.at("url") != "http://example.com/console/enter?as="+id || in.at("expires_at") != "2025-06-02 11:00:00" {
			t.Errorf("signing in: %s", in.raw)
		}
	}
	delete(user, "email")
	w.bad(w.do("POST", "/users", user), 422, "email")
	w.bad(w.as(subToken, "POST", "/users", user), 403)
	w.bad(newWorld(t).do("POST", "/user/"+mainUser+"/authorize", nil), 503, "控制台")
}

// TestReviewShown: score, levels and the check itself, once a call was reviewed.
func TestReviewShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.numbers(taskID, "13800000001", "13800000002")
	calls := w.dial(taskID, nil, answered("B"))
	first := answered("C")
	first.Call = calls[0].Call
	w.book(store.Booking{LiveCall: calls[0], Outcome: first, Next: waihu.NumberDone, Review: true})
	base := old1 + "/task/" + taskID
	path := base + "/record/" + calls[0].Call.String() + "/llm_intention_tag"
	if r := w.ok("GET", path, nil); !within(tree(t, object{"record_id": calls[0].Call.String(), "status": 0, "intention_results": 3, "score": 0, "items": []any{}, "checked_at": nil}), r.data) {
		t.Errorf("before: %s", r.raw)
	}
	score, sure := 79.6, 0.9
	jobs, err := w.TakeJobs(t.Context(), waihu.JobReview, 1, time.Minute)
	w.must(err)
	if len(jobs) != 1 {
		t.Fatalf("%d reviews to do", len(jobs))
	}
	pushed := func(want int) string {
		t.Helper()
		all := strings.Join(w.pushes(mainUser, 0, 100), "")
		if n := strings.Count(all, `"callid":"`+calls[0].Call.String()); n != want {
			t.Errorf("pushed %d times: %s", n, all)
		}
		return all
	}
	pushed(0)
	w.must(w.FinishReviews(t.Context(), store.Reviewed{Job: jobs[0], Call: calls[0].Call, Review: &waihu.Review{Grade: "A", GradeWhy: "要求回电", Score: &score, Summary: "想买", Suggestion: "回电",
		Items:     []waihu.ReviewItem{{ID: "i1", Ask: "是否问候", Result: waihu.ItemPass, Answer: "true", Reason: "开头", Confidence: &sure, Points: 79.6, Of: 100}},
		Collected: []waihu.CollectAnswer{{Key: "when", Question: "何时", Hit: true, Result: "明天"}}}}))
	if all := pushed(1); !strings.Contains(all, `"intention_results":1,"rounds":1,"score":80`) {
		t.Errorf("pushed: %s", all)
	}
	if r := w.ok("GET", path, nil); !within(tree(t, object{"status": 1, "intention_results": 1, "level": object{"level_id": "1"}, "reason": "要求回电", "score": 80, "summary": "想买", "suggestion": "回电",
		"items":   []any{object{"id": "i1", "name": "是否问候", "result": "pass", "result_str": "通过", "reason": "开头", "confidence": json.Number("0.9")}},
		"answers": []any{object{"key": "when", "question": "何时", "answer": "明天"}}}), r.data) {
		t.Errorf("after: %s", r.raw)
	}
	for query, want := range map[string]int{"": 2, "?levels=[[80,100]]": 1, "?levels=[[0,79]]": 1, "?levels=[[0,0],[80,80]]": 2, "?levels[0][]=81&levels[0][]=100": 0} {
		if r := w.ok("GET", base+"/record"+query, nil); r.meta["total"] != tree(t, want) {
			t.Errorf("%s finds %s", query, r.raw)
		}
	}
	if r := w.ok("GET", base+"/record?levels=[[80,100]]", nil); r.at(0, "score") != json.Number("80") || r.at(0, "intention_results") != json.Number("1") {
		t.Errorf("row %s", r.raw)
	}
	if r := w.ok("GET", base+"/detail/"+calls[0].Call.String(), nil); r.at("score") != json.Number("80") {
		t.Errorf("detail %s", r.raw)
	}
}
