package yunfu

import (
	"encoding/json"
	"slices"
	"time"

	"waihu"
	"waihu/store"
)

// feeRow is what an account's calls over a line have cost; the vendor's report is not known.
type feeRow struct {
	UserID   waihu.AccountID `json:"user_id"`
	UserName string          `json:"user_name"`
	LineID   waihu.LineID    `json:"line_id"`
	LineName string          `json:"line_name"`
	Calls    int             `json:"call_count"`
	Bill     int             `json:"bill"`     // seconds of talk
	Charged  int             `json:"fee_time"` // seconds that were charged
	Fee      json.Number     `json:"fee"`
}

type feeData struct {
	Total json.Number `json:"total_fee"`
	List  []feeRow    `json:"list"`
}

// days is a list of two dates, by default the last n days with today.
func (c *request) days(name string, n int) (from, to time.Time) {
	from, to = c.form.get(name).between(c.loc)
	if from.IsZero() {
		now := c.s.Now().In(c.loc)
		from, to = time.Date(now.Year(), now.Month(), now.Day()-n+1, 0, 0, 0, 0, c.loc), time.Date(now.Year(), now.Month(), now.Day(), 23, 59, 59, 0, c.loc)
	}
	return from, lastOf(to)
}

// lineFee reports what calls have cost by line: the account's own, or with type all its sub-accounts' too. user_ids are
// then the only ones.
func (s *server) lineFee(c *request) (*answer, error) {
	var f store.ChargeFilter
	f.From, f.To = c.days("date", defaultBillDays)
	for _, n := range c.form.get("caller_line_ids").words() {
		f.Lines = append(f.Lines, waihu.LineID(n.id()))
	}
	for _, n := range c.form.get("task_ids").words() {
		f.Tasks = append(f.Tasks, waihu.TaskID(n.id()))
	}
	kind := c.form.get("type")
	all := kind.text() == "all"
	if !kind.blank() && !all && kind.text() != "self" {
		kind.fail("应为 self 或 all")
	}
	accounts := []waihu.Account{c.acts}
	if all && c.acts.Parent == "" {
		subs, err := s.Store.SubAccounts(c.ctx, c.acts.ID)
		if err != nil {
			return nil, err
		}
		accounts = append(accounts, subs...)
	}
	var users []waihu.AccountID
	for _, n := range c.form.get("user_ids").words() {
		users = append(users, waihu.AccountID(n.id()))
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	if len(users) > 0 {
		accounts = nil
		for _, id := range users {
			a, err := s.reach(c.ctx, c.acts.ID, string(id))
			if err != nil {
				return nil, err
			}
			accounts = append(accounts, a)
		}
	}
	data, err := c.fees(accounts, f)
	return &answer{message: "返回线路消费报表成功", data: data}, err
}

func (c *request) fees(accounts []waihu.Account, f store.ChargeFilter) (d feeData, err error) {
	d.List = []feeRow{}
	users, lines := map[waihu.AccountID]string{}, map[waihu.LineID]string{}
	var ids []waihu.AccountID
	for _, a := range accounts {
		users[a.ID], ids = a.Name, append(ids, a.ID)
	}
	list, err := c.s.Store.Lines(c.ctx, c.acts.ID)
	if err != nil {
		return d, err
	}
	for _, l := range list {
		lines[l.ID] = l.Name
	}
	fees, err := c.s.Store.LineFees(c.ctx, ids, f)
	var total store.Money
	for _, x := range fees {
		total += x.Amount
		d.List = append(d.List, feeRow{x.Account, users[x.Account], x.Line, lines[x.Line], x.Calls, seconds(x.Talk), x.Seconds, yuan(x.Amount)})
	}
	d.Total = yuan(total)
	return d, err
}

// The VOS endpoints ask the vendor's softswitch. There is none here: an account is its own VOS account, and what they
// tell comes from the charges of its calls.
type vosBill struct {
	Account waihu.AccountID `json:"vos_account_id"`
	Name    string          `json:"name"`
	Balance json.Number     `json:"balance"`
	Fee     json.Number     `json:"fee"` // of all its calls
}

// vosAccounts are the accounts asked for: the account itself, another that it reaches, or all of them.
func (c *request) vosAccounts(all bool) ([]waihu.Account, error) {
	n := c.form.get("vos_account_id")
	id := n.id()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	if id != "" {
		a, err := c.s.reach(c.ctx, c.acts.ID, id)
		return []waihu.Account{a}, err
	}
	list := []waihu.Account{c.acts}
	if all && c.acts.Parent == "" {
		subs, err := c.s.Store.SubAccounts(c.ctx, c.acts.ID)
		return append(list, subs...), err
	}
	return list, nil
}

func (s *server) vosBills(c *request) (*answer, error) {
	accounts, err := c.vosAccounts(c.form.get("all").flag())
	if err != nil {
		return nil, err
	}
	data := []vosBill{}
	for _, a := range accounts {
		balance, err := s.Store.Balance(c.ctx, a.ID)
		if err != nil {
			return nil, err
		}
		spent, err := c.fees([]waihu.Account{a}, store.ChargeFilter{From: time.UnixMilli(0), To: s.Now().AddDate(1, 0, 0)})
		if err != nil {
			return nil, err
		}
		data = append(data, vosBill{a.ID, a.Name, yuan(balance), spent.Total})
	}
	return &answer{message: "查询账单成功", data: data}, nil
}

// yesterday is the default of the VOS endpoints.
func (c *request) yesterday() (from, to time.Time) {
	now := c.s.Now().In(c.loc)
	from = time.Date(now.Year(), now.Month(), now.Day()-1, 0, 0, 0, 0, c.loc)
	return from, from.AddDate(0, 0, 1).Add(-time.Millisecond)
}

func (s *server) vosFee(c *request) (*answer, error) {
	accounts, err := c.vosAccounts(false)
	if err != nil {
		return nil, err
	}
	var f store.ChargeFilter
	f.From, f.To = c.form.get("time").between(c.loc)
	f.To = lastOf(f.To)
	if f.From.IsZero() {
		f.From, f.To = c.yesterday()
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	data, err := c.fees(accounts, f)
	return &answer{message: "查询vos消费报表成功", data: data}, err
}

// vosCall is a charged call.
type vosCall struct {
	ID      string            `json:"callid"`
	Account waihu.AccountID   `json:"vos_account_id"`
	TaskID  waihu.TaskID      `json:"task_id"`
	LineID  waihu.LineID      `json:"line_id"`
	Caller  waihu.PhoneNumber `json:"caller"`
	Callee  waihu.PhoneNumber `json:"callee"`
	Start   string            `json:"start_time"` // answered
	Stop    string            `json:"stop_time"`
	Hold    int               `json:"hold_time"` // seconds
	Charged int               `json:"fee_time"`
	Fee     json.Number       `json:"fee"`
}

// maxVosCalls bounds the charges of one day that are looked through for a number.
const maxVosCalls = 5000

// vosCalls lists the charged calls of a day; with phone or callee_phone those of that caller or callee.
func (s *server) vosCalls(c *request) (*answer, error) {
	accounts, err := c.vosAccounts(false)
	if err != nil {
		return nil, err
	}
	p := c.page()
	f := store.ChargeFilter{Page: p.page, PerPage: p.per}
	if f.From = c.form.get("time").when(c.loc, false); f.From.IsZero() {
		f.From, _ = c.yesterday()
	}
	f.To = f.From.AddDate(0, 0, 1).Add(-time.Millisecond)
	caller, callee := c.form.get("phone").text(), c.form.get("callee_phone").text()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	some := caller != "" || callee != ""
	if some {
		f.Page, f.PerPage = 1, maxVosCalls
	}
	charges, total, err := s.Store.Charges(c.ctx, []waihu.AccountID{accounts[0].ID}, f)
	if err != nil {
		return nil, err
	}
	data := []vosCall{}
	for _, x := range charges {
		row := vosCall{ID: x.Call.String(), Account: x.Account, TaskID: x.Task, LineID: x.Line, Start: stamp(x.At.Add(-x.Talk), c.loc), Stop: stamp(x.At, c.loc),
			Hold: seconds(x.Talk), Charged: x.Seconds, Fee: yuan(x.Amount)}
		k, err := s.Store.Call(c.ctx, x.Account, x.Task, x.Call)
		if err != nil && waihu.ErrorCode(err) != waihu.ENotFound { // deleted with its task: what it cost stays
			return nil, err
		}
		row.Caller, row.Callee = k.Outcome.Caller, k.Phone
		data = append(data, row)
	}
	if some {
		data = slices.DeleteFunc(data, func(r vosCall) bool {
			return caller != "" && string(r.Caller) != caller || callee != "" && string(r.Callee) != lookup(callee)
		})
		total = len(data)
		data = cut(data, p)
	}
	return &answer{message: "查询vos话单列表成功", data: data, meta: p.meta(total)}, nil
}
