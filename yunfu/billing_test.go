package yunfu

import (
	"encoding/json"
	"testing"

	"waihu/store"
)

func TestBilling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pay := old1 + "/recharge"
	for _, c := range []struct {
		body    any
		message string
		balance string
	}{
		{object{"amount": 100}, "充值成功", "100"},
		{object{"amount": "0.1", "type": 1, "remark": "十分"}, "充值成功", "100.1"},
		{object{"amount": 0.2}, "充值成功", "100.3"}, // no float: 0.1 + 0.2
		{object{"amount": "0.0003", "type": "2"}, "扣款成功", "100.2997"},
	} {
		r := w.ok("PUT", pay, c.body)
		if r.message != c.message || r.at("balance") != tree(t, []byte(c.balance)) {
			t.Errorf("%v: %s", c.body, r.raw)
		}
	}
	if r := w.ok("GET", old1+"/message", nil); r.at("balance") != tree(t, []byte("100.2997")) {
		t.Errorf("account %s", r.raw)
	}
	for _, c := range []struct {
		body any
		part string
	}{
		{object{}, "amount"}, {object{"amount": 0}, "amount"}, {object{"amount": -1}, "amount"}, {object{"amount": "1.00001"}, "amount"},
		{object{"amount": "1e3"}, "amount"}, {`{"amount":1.5E-5}`, "amount"}, {`{"amount":1e20}`, "amount"}, {`{"amount":1e999999999}`, "amount"}, {object{"amount": "x"}, "amount"}, {object{"amount": "1000000000"}, "过大"}, {object{"amount": "99999999999999999999"}, "amount"},
		{object{"amount": 1, "type": 3}, "type"}, {object{"amount": "100.2998", "type": 2}, "余额不足"},
	} {
		w.bad(w.do("PUT", pay, c.body), 422, c.part)
	}
	// The sub-account's money is its own, and its main account's affair.
	w.ok("PUT", pay, object{"amount": 5, "sub_user_id": subUser})
	w.ok("PUT", "/agent-api/user/"+subUser+"/recharge", object{"amount": 5})
	w.bad(w.as(subToken, "PUT", "/agent-api/user/"+subUser+"/recharge", object{"amount": 5}), 403)
	w.bad(w.as(subToken, "PUT", "/agent-api/user/"+subUser+"/zero_balance", nil), 403)
	if r := w.as(subToken, "GET", "/agent-api/user/"+subUser+"/message", nil); r.at("balance") != tree(t, 10) {
		t.Errorf("the sub-account %s", r.raw)
	}
	zero := w.ok("PUT", old1+"/zero_balance", nil)
	w.ok("PUT", old1+"/zero_balance", nil) // once more takes nothing
	if zero.at("balance") != tree(t, 0) {
		t.Errorf("zero %s", zero.raw)
	}
	records := old1 + "/bill_recharge_record"
	r := w.ok("GET", records+"?page=1", nil)
	if r.meta["total"] != tree(t, 5) || !within(tree(t, object{"type": 2, "type_str": "扣款", "amount": 100.2997, "balance": 0, "remark": "余额归零", "user_id": mainUser,
		"created_at": "2025-06-02 10:00:00"}), r.at(0)) || !within(tree(t, object{"type": 1, "amount": 0.1, "balance": 100.1, "remark": "十分"}), r.at(3)) {
		t.Errorf("records %s", r.raw)
	}
	for query, n := range map[string]int{"page=2&per_page=3": 2, "date[]=2025-06-02&date[]=2025-06-02": 5, "date[]=2025-06-01&date[]=2025-06-01": 0} {
		if r := w.ok("GET", records+"?"+query, nil); len(r.data.([]any)) != n {
			t.Errorf("%s: %s", query, r.raw)
		}
	}
	w.bad(w.do("GET", records+"?date=2025-06-01", nil), 422, "date")
}

func TestYuan(t *testing.T) {
	t.Parallel()
	for m, want := range map[store.Money]string{0: "0", 1: "0.0001", 10_000: "1", 12_500: "1.25", -12_500: "-1.25", 100_000_000: "10000", 99_999: "9.9999"} {
		if got := yuan(m); string(got) != want {
			t.Errorf("%d is %s, want %s", m, got, want)
		}
	}
}

// TestAmounts: a number counts whatever its writer makes of it, exactly.
func TestAmounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ body, balance string }{
		{`{"amount":1.25E1}`, "12.5"}, {`{"amount":1.0E-4}`, "12.5001"}, {`{"amount":"0.000200000"}`, "12.5003"}, {`{"amount":1e2}`, "112.5003"},
		{`{"amount":12.500300,"type":2}`, "100"}, {`{"amount":1.0E7}`, "10000100"},
	} {
		if r := w.ok("PUT", old1+"/recharge", c.body); r.at("balance") != json.Number(c.balance) {
			t.Errorf("%s: %s", c.body, r.raw)
		}
	}
}
