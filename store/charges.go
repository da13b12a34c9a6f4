package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"waihu"
)

// Charge is what one call has cost.
type Charge struct {
	Call    waihu.CallID
	Account waihu.AccountID
	Task    waihu.TaskID
	Line    waihu.LineID
	Price   Money // of a minute
	Step    int   // seconds
	Talk    time.Duration
	Seconds int // charged
	Amount  Money
	At      time.Time // the call's end
}

// charge writes what the answered calls among the ends have cost and takes it from the balances, in the commit that
// books them: a call that is booked once is charged once. Rows are call, account, task, talk in ms, end.
func (w *tickWork) charge(rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	param, err := jsonRows(rows)
	if err != nil {
		return err
	}
	spent := map[waihu.AccountID]Money{}
	if err := w.each(func(scan func(...any) error) error {
		var account waihu.AccountID
		var amount Money
		err := scan(&account, &amount)
		spent[account] += amount
		return err
	}, sqlCharge, param); err != nil {
		return err
	}
	for _, account := range slices.Sorted(maps.Keys(spent)) { // in one order, so that no two transactions wait for each other
		if _, err := w.exec(`insert into balances (account, amount) values ($1, $2) on conflict (account) do update set amount = balances.amount + excluded.amount`,
			account, -int64(spent[account])); err != nil {
			return err
		}
	}
	return nil
}

// sqlCharge rounds half up to 1/10000 yuan.
const sqlCharge = `insert into charges (call, account, task, line, price, step, talk_ms, seconds, amount, at)
	select y.call, y.account, y.task, y.line, y.price, y.step, y.talk, y.seconds, (y.seconds * y.price + 30) / 60, y.at from (
		select x.*, (x.talk + x.step * 1000 - 1) / (x.step * 1000) * x.step as seconds from (
			select cast(r.value->>0 as bigint) as call, r.value->>1 as account, r.value->>2 as task, c.line, coalesce(a.price, l.price) as price,
				case l.price_step when 0 then 60 else l.price_step end as step, cast(r.value->>3 as bigint) as talk, cast(r.value->>4 as bigint) as at
			from {rows $1} join calls c on c.id = cast(r.value->>0 as bigint) join lines l on l.id = c.line
				left join allocations a on a.line = c.line and a.account = r.value->>1
			where coalesce(a.price, l.price) > 0) x) y
	where true on conflict (call) do nothing returning account, amount`

// ChargeFilter chooses charges of some accounts; empty lists do not restrict.
type ChargeFilter struct {
	From, To time.Time // of the calls' ends, both included
	Lines    []waihu.LineID
	Tasks    []waihu.TaskID
	Page     int
	PerPage  int
}

func (f *ChargeFilter) query(accounts []waihu.AccountID) (*query, error) {
	q := &query{}
	q.and("at between ? and ?", ms(f.From), ms(f.To))
	err := in(q, "account in (select r.value->>0 from {rows ?})", accounts)
	if err == nil && len(f.Lines) > 0 {
		err = in(q, "line in (select r.value->>0 from {rows ?})", f.Lines)
	}
	if err == nil && len(f.Tasks) > 0 {
		err = in(q, "task in (select r.value->>0 from {rows ?})", f.Tasks)
	}
	return q, err
}

// Charges is one page of what calls of these accounts have cost, the latest first, and how many there are.
func (s *Store) Charges(ctx context.Context, accounts []waihu.AccountID, f ChargeFilter) (list []Charge, total int, err error) {
	q, err := f.query(accounts)
	if err != nil {
		return nil, 0, err
	}
	limit, offset := pageOf(f.Page, f.PerPage)
	err = s.read(ctx, func(t *tx) error {
		if _, err := t.one(into(&total), `select count(*) from charges where `+q.String(), q.args...); err != nil {
			return err
		}
		return t.each(func(scan func(...any) error) error {
			var c Charge
			var talk, when int64
			err := scan(&c.Call, &c.Account, &c.Task, &c.Line, &c.Price, &c.Step, &talk, &c.Seconds, &c.Amount, &when)
			c.Talk, c.At = time.Duration(talk)*time.Millisecond, at(when)
			list = append(list, c)
			return err
		}, `select call, account, task, line, price, step, talk_ms, seconds, amount, at from charges where `+q.String()+
			` order by at desc, call desc limit `+q.next(1)+` offset `+q.next(2), q.with(limit, offset)...)
	})
	return list, total, err
}

// LineFee is what the calls of one account over one line have cost together.
type LineFee struct {
	Account waihu.AccountID
	Line    waihu.LineID
	Calls   int
	Talk    time.Duration
	Seconds int // charged
	Amount  Money
}

// LineFees sums charges by account and line.
func (s *Store) LineFees(ctx context.Context, accounts []waihu.AccountID, f ChargeFilter) (list []LineFee, err error) {
	q, err := f.query(accounts)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var l LineFee
			var talk int64
			err := scan(&l.Account, &l.Line, &l.Calls, &talk, &l.Seconds, &l.Amount)
			l.Talk = time.Duration(talk) * time.Millisecond
			list = append(list, l)
			return err
		}, `select account, line, count(*), cast(sum(talk_ms) as bigint), cast(sum(seconds) as bigint), cast(sum(amount) as bigint) from charges where `+q.String()+
			` group by account, line order by account, line`, q.args...)
	})
	return list, err
}
