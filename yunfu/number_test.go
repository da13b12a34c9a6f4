package yunfu

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"waihu"
	"waihu/store"
)

const numberPath = old1 + "/task/" + taskID + "/number"

func phones(list ...any) object {
	var rows []any
	for _, p := range list {
		if row, ok := p.(object); ok {
			rows = append(rows, row)
			continue
		}
		rows = append(rows, object{"phone": p})
	}
	return object{"data": rows}
}

func with(b object, changes ...any) object {
	for i := 0; i < len(changes); i += 2 {
		b[changes[i].(string)] = changes[i+1]
	}
	return b
}

func (w *world) stored(task waihu.TaskID) (keys []string, rows []waihu.Number) {
	w.Helper()
	rows, _, err := w.Numbers(w.Context(), mainUser, task, store.NumberFilter{PerPage: 500})
	w.must(err)
	for _, n := range rows {
		keys = append(keys, n.Key)
	}
	return keys, rows
}

func TestNumberAdd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ok("POST", numberPath, with(phones(object{"phone": 13800000001, "name": "张三", "company": "公司", "sex": 1, "sort": "3", "extra": "外部", "control_select_robot": "男",
		"components": []any{object{"id": 7, "value": "蓝色"}}}, "+8613800000002", " 138-0000-0003 "), "ignore_crm", false, "encryption", false))
	if r.at("success_count") != json.Number("3") || r.at("fail_count") != json.Number("0") || r.at("numbers", 2, "number") != "13800000003" {
		t.Errorf("add answers %s", r.raw)
	}
	keys, rows := w.stored(taskID)
	if !reflect.DeepEqual(keys, []string{"13800000001", "+8613800000002", "13800000003"}) {
		t.Fatalf("stored %v", keys)
	}
	want := waihu.NumberData{Vars: map[string]string{"name": "张三", "company": "公司", "sex": "1", "component_7": "蓝色"}, Route: "男", Extra: "外部", Sort: 3}
	if !reflect.DeepEqual(rows[0].Data, want) {
		t.Errorf("data %+v, want %+v", rows[0].Data, want)
	}
	// All or nothing, unless skip_error.
	bad := func() object {
		return phones("13800000004", "12", "13800000001", object{"name": "无号"}, "13800000004", object{"phone": "13800000005", "sort": "x"})
	}
	w.bad(w.do("POST", numberPath, bad()), 422, "data[1].phone：", "3 到 20 位")
	if keys, _ := w.stored(taskID); len(keys) != 3 {
		t.Errorf("a refused import left %v", keys)
	}
	r = w.ok("POST", numberPath, with(bad(), "skip_error", "true"))
	if r.at("success_count") != json.Number("1") || r.at("fail_count") != json.Number("5") {
		t.Errorf("skip_error answers %s", r.raw)
	}
	for i, want := range []struct{ index, part string }{{"1", "data[1].phone"}, {"2", "重复"}, {"3", "必填"}, {"4", "重复"}, {"5", "data[5].sort"}} {
		if r.at("errors", i, "index") != json.Number(want.index) || !strings.Contains(r.at("errors", i, "message").(string), want.part) {
			t.Errorf("error %d is %v, want %v", i, r.at("errors", i), want)
		}
	}
	w.bad(w.do("POST", numberPath, phones("13800000001")), 422, "data[0].phone：", "重复")
	// With a suffix the same number comes as often as it likes.
	r = w.ok("POST", numberPath, with(phones("13800000001", "13800000001"), "number_add_suffix", 1))
	a, b := r.at("numbers", 0, "number").(string), r.at("numbers", 1, "number").(string)
	if a == b || !strings.HasPrefix(a, "13800000001_") || len(a) != len("13800000001_abcdef") || r.at("numbers", 0, "phone") != "13800000001" {
		t.Errorf("suffixes %q %q", a, b)
	}
	// Without the pool, its fields are not effective but name and company are.
	w.ok("POST", numberPath, with(phones(object{"phone": "13800000009", "name": "李四", "components": []any{object{"id": 7, "value": "x"}}}), "ignore_crm", true))
	if _, rows := w.stored(taskID); !reflect.DeepEqual(rows[len(rows)-1].Data.Vars, map[string]string{"name": "李四"}) {
		t.Errorf("vars %v", rows[len(rows)-1].Data.Vars)
	}
	w.ok("PUT", new2+"/task_start/"+taskID, nil)
	w.ok("POST", numberPath, phones("13800000010")) // into a started task
	// A removed number may be imported again.
	w.ok("PUT", new2+"/task_stop/"+taskID, nil)
	w.ok("DELETE", old1+"/task/"+taskID+"/number-batch-delete", object{"customer_info_list": []any{object{"phone": "13800000010"}}})
	w.ok("POST", numberPath, phones("13800000010"))
}

func TestNumberAddRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := make([]any, maxRows+1)
	for i := range many {
		many[i] = "138" + strings.Repeat("0", 5) + itoa(100+i)
	}
	for _, c := range []struct {
		body any
		says string
	}{
		{nil, "data：必填"},
		{object{"data": []any{}}, "data：不能为空"},
		{phones(many...), "最多 100 条,收到 101 条"},
		{with(phones("13800000001"), "encryption", true), "encryption：该账户未启用接口加密"},
		{phones(object{"phone": "13800000001", "encryption": true}), "encryption："},
		{phones(object{}), "data[0].phone：必填"},
		{phones("138a"), "data[0].phone：号码格式"},
		{phones(strings.Repeat("1", 21)), "data[0].phone：号码格式"},
		{phones(object{"phone": "13800000001", "extra": object{}}), "data[0].extra：应为字符串"},
		{phones(object{"phone": "13800000001", "components": []any{object{"value": "x"}}}), "data[0].components[0].id：必填"},
		{object{"data": []any{7.5}}, "data[0].phone：号码格式"},
		{object{"data": []any{[]any{[]any{}}}}, "data[0]"},
	} {
		w.bad(w.do("POST", numberPath, c.body), 422, c.says)
	}
	if keys, _ := w.stored(taskID); keys != nil {
		t.Errorf("refused imports left %v", keys)
	}
	w.ok("POST", numberPath, phones(many[:maxRows]...))
}

func TestNumberListDetailResetDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("POST", numberPath, phones(object{"phone": "13800000001", "name": "张三", "extra": "e"}, "13800000002", "13800000003", "13800000004"))
	w.ok("POST", numberPath, with(phones("13800000004"), "number_add_suffix", true))
	w.dial(taskID, answered("A"), ended(waihu.Unreachable), ended(waihu.PoweredOff), nil)
	list := func(query string) reply { t.Helper(); return w.ok("GET", numberPath+"?page=1&"+query, nil) }
	r := list("")
	if r.message != "返回号码列表成功" || r.meta["total"] != json.Number("5") {
		t.Fatalf("list answers %s", r.raw)
	}
	if !within(tree(t, object{"number": "13800000001", "status": 1, "status_str": "呼叫成功", "name": "张三", "extra": "e", "call_times": 1, "intention_results": 1, "call_status": false}), r.at(0)) {
		t.Errorf("row 0 is %v", r.at(0))
	}
	if !within(tree(t, object{"status": 0, "status_str": "等待呼叫", "call_status": true, "callid": r.at(3, "callid"), "extra": nil}), r.at(3)) || r.at(3, "callid") == nil {
		t.Errorf("the number in flight is %v", r.at(3))
	}
	for query, want := range map[string]int{"status=1": 1, "status[]=4&status[]=6": 2, "status=4,6": 2, "status[]=0": 2, "status=5": 0, "keyword=138-0000-0002": 1, "start_at=2025-06-02": 5,
		"start_at=2025-06-03": 0, "end_at=2025-06-02": 5, "end_at=2025-06-01": 0} {
		if got := list(query).meta["total"]; got != json.Number(itoa(want)) {
			t.Errorf("%s finds %v, want %d", query, got, want)
		}
	}
	if p := w.ok("GET", numberPath+"?page=2&per_page=2", nil); p.at(0, "number") != "13800000003" || p.meta["per_page"] != "2" || p.meta["last_page"] != json.Number("3") || p.meta["has_pages"] != true {
		t.Errorf("page 2: %s", p.raw)
	}
	if d := w.ok("GET", numberPath+"/detail/13800000004", nil); d.at("number") != "13800000004" {
		t.Errorf("detail answers %s", d.raw)
	}
	w.bad(w.do("GET", numberPath+"/detail/13899999999", nil), 404, "号码不存在")
	w.bad(w.do("GET", numberPath+"/detail/13800000001?encryption=1", nil), 422, "encryption")

	reset := func(body object) {
		t.Helper()
		r := w.ok("PUT", old1+"/task/"+taskID+"/number-batch-reset", body)
		if !reflect.DeepEqual(tree(t, []byte(r.raw)), tree(t, []byte(`{"code":200,"status":"success","message":"批量重置号码成功"}`))) {
			t.Errorf("reset answers %s", r.raw)
		}
	}
	w.ok("PUT", new2+"/task_stop/"+taskID, nil)
	live, err := w.Recover(t.Context(), 0, w.epoch)
	w.must(err)
	w.book(store.Booking{LiveCall: live[0], Outcome: ended(waihu.Busy), Next: waihu.NumberDone})
	waiting := func(want int) {
		t.Helper()
		if got := list("status=0").meta["total"]; got != json.Number(itoa(want)) {
			t.Errorf("%v numbers wait, want %d", got, want)
		}
	}
	waiting(1)
	reset(object{"phones": []string{"13800000001"}, "keyword": "13800000002"}) // both hold: nobody
	reset(object{"status": []int{5}})
	waiting(1)
	reset(object{"status": []int{4}, "is_new_task": true})
	waiting(2)
	reset(object{"phones": []string{"138-0000-0001"}})
	waiting(3)
	reset(object{"keyword": "13800000003", "start_at": "2025-06-01", "end_at": "2025-06-02"})
	waiting(4)
	reset(object{})
	waiting(5)
	if d := w.ok("GET", numberPath+"/detail/13800000001", nil); d.at("call_times") != json.Number("1") {
		t.Errorf("a reset number forgot its attempts: %s", d.raw)
	}
	for _, c := range []struct {
		body object
		says string
	}{{object{"start_at": "2025-06-01"}, "必须同时"}, {object{"status": []any{"abc"}}, "status[0]"}, {object{"status": []any{99}}, "0 到 12"}, {object{"phones": []any{""}}, "phones[0]"},
		{object{"start_at": "x", "end_at": "y"}, "start_at"}, {object{"encryption": true}, "encryption"}} {
		w.bad(w.do("PUT", old1+"/task/"+taskID+"/number-batch-reset", c.body), 422, c.says)
	}

	del := old1 + "/task/" + taskID + "/number-batch-delete"
	if r := w.ok("DELETE", del, object{"customer_info_list": []any{object{"phone": "138 0000 0001"}, "13800000002", object{"phone": 13800000003}, object{"phone": "13899999999"}}}); r.at("delete_count") != json.Number("3") {
		t.Errorf("delete answers %s", r.raw)
	}
	w.ok("DELETE", del+"?customer_info_list[0][phone]=13800000004", nil)
	if keys, _ := w.stored(taskID); len(keys) != 0 {
		t.Errorf("left %v", keys)
	}
	for _, b := range []any{nil, object{"customer_info_list": []any{}}, object{"customer_info_list": []any{object{}}}} {
		w.bad(w.do("DELETE", del, b), 422, "customer_info_list")
	}
}
