package yunfu

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"

	"waihu"
	"waihu/store"
)

// defaultBillDays is how far back reports go when nothing is said.
const defaultBillDays = 7

// billRow is a recharge or a deduction; the vendor's row is not known.
type billRow struct {
	ID      string          `json:"id"`
	UserID  waihu.AccountID `json:"user_id"`
	Type    int             `json:"type"` // 1 recharge, 2 deduction
	TypeStr string          `json:"type_str"`
	Amount  json.Number     `json:"amount"`
	Balance json.Number     `json:"balance"`
	Remark  string          `json:"remark"`
	Created string          `json:"created_at"`
}

// yuan is an amount as an exact decimal number.
func yuan(m store.Money) json.Number {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	text := fmt.Sprintf("%s%d.%04d", sign, m/store.Yuan, m%store.Yuan)
	return json.Number(strings.TrimSuffix(strings.TrimRight(text, "0"), "."))
}

// money is an amount of yuan with up to four decimals, as number or text; it never passes through a float.
func (n node) money() store.Money {
	whole, part, _ := strings.Cut(n.decimal(), ".")
	part = strings.TrimRight(part, "0")
	units, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.HasPrefix(whole, "-") || strings.HasPrefix(whole, "+") || len(part) > 4 || strings.Trim(part, "0123456789") != "" {
		n.fail("应为金额(元),大于 0,最多 4 位小数")
		return 0
	}
	if units >= int64(store.MaxAmount/store.Yuan) {
		n.fail("金额过大,应小于 %d", store.MaxAmount/store.Yuan)
		return 0
	}
	fraction, _ := strconv.ParseInt((part + "0000")[:4], 10, 64) // four digits
	m := store.Money(units)*store.Yuan + store.Money(fraction)
	if m == 0 {
		n.fail("应为金额(元),大于 0,最多 4 位小数")
	}
	return m
}

// decimal is the text of a number without its exponent: Java writes a double of 0.0005 as 5.0E-4. What is no such
// number is its text, for the caller to judge.
func (n node) decimal() string {
	text := n.text()
	if _, ok := n.scalar().(json.Number); !ok {
		return text
	}
	_, power, found := strings.Cut(strings.ToLower(text), "e")
	if p, err := strconv.Atoi(power); !found || err != nil || p < -20 || p > 20 || len(text) > 40 {
		return text
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return text
	}
	return r.FloatString(60) // exact: 40 digits moved by 20 places at most
}

// price is an amount of yuan with up to four decimals, 0 too.
func (n node) price() store.Money {
	if t := strings.Trim(n.decimal(), "0"); t == "" || t == "." {
		return 0
	}
	m := n.money()
	if m > store.MaxPrice {
		n.fail("应为每分钟价格(元),最多 %d", store.MaxPrice/store.Yuan)
	}
	return m
}

func (c *request) billRow(b *store.Bill) billRow {
	r := billRow{ID: strconv.FormatInt(b.ID, 10), UserID: c.acts.ID, Type: 1, TypeStr: "充值", Amount: yuan(b.Amount), Balance: yuan(b.Balance), Remark: b.Remark,
		Created: stamp(b.At, c.loc)}
	if b.Amount < 0 {
		r.Type, r.TypeStr, r.Amount = 2, "扣款", yuan(-b.Amount)
	}
	return r
}

// payer refuses the token of a sub-account: money is its main account's affair.
func (c *request) payer() error {
	if c.acts.Parent != "" && c.token.Account == c.acts.ID {
		return refused(http.StatusForbidden, "子账户不能充值或扣款,请使用主账户的 token")
	}
	return nil
}

func (s *server) recharge(c *request) (*answer, error) {
	if err := c.payer(); err != nil {
		return nil, err
	}
	amount, remark := c.form.get("amount").need("金额").money(), c.form.get("remark").short(maxName)
	kind := 1
	if n := c.form.get("type"); !n.blank() {
		kind = n.number(1, 2)
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	message := "充值成功"
	if kind == 2 {
		amount, message = -amount, "扣款成功"
	}
	b, err := s.Store.AddBill(c.ctx, c.acts.ID, amount, remark)
	if waihu.ErrorCode(err) == waihu.EConflict {
		err = wrong("amount", "余额不足")
	}
	if err != nil {
		return nil, err
	}
	return &answer{message: message, data: c.billRow(&b)}, nil
}

func (s *server) zeroBalance(c *request) (*answer, error) {
	if err := c.payer(); err != nil {
		return nil, err
	}
	if _, err := s.Store.ZeroBalance(c.ctx, c.acts.ID, "余额归零"); err != nil {
		return nil, err
	}
	return &answer{message: "余额归零成功", data: map[string]json.Number{"balance": "0"}}, nil
}

// billList lists recharges and deductions, of the last 7 days unless date says otherwise.
func (s *server) billList(c *request) (*answer, error) {
	p := c.page()
	from, to := c.days("date", defaultBillDays)
	if err := c.form.err(); err != nil {
		return nil, err
	}
	list, total, err := s.Store.Bills(c.ctx, c.acts.ID, from, to, p.page, p.per)
	if err != nil {
		return nil, err
	}
	data := []billRow{}
	for _, b := range list {
		data = append(data, c.billRow(&b))
	}
	return &answer{message: "返回充值记录成功", data: data, meta: p.meta(total)}, nil
}
