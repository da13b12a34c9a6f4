package store

import (
	"context"
	"time"

	"waihu"
)

// Money is in 1/10000 yuan: exact, and no sum of ours comes near its end. A balance is the sum of the account's bills less
// what its calls have cost (charges), so it can be below zero.
type Money int64

// Yuan is one yuan.
const Yuan Money = 10_000

// MaxAmount bounds one bill: a thousand million yuan.
const MaxAmount = 1_000_000_000 * Yuan

// Bill is one entry of an account's ledger of money.
type Bill struct {
	ID      int64
	Amount  Money // above 0 paid in, below 0 taken out
	Balance Money // after it
	Remark  string
	At      time.Time
}

// AddBill pays in, or with a negative amount takes out; more than there is cannot be taken out (EConflict).
func (s *Store) AddBill(ctx context.Context, account waihu.AccountID, amount Money, remark string) (b Bill, err error) {
	if amount == 0 || amount > MaxAmount || amount < -MaxAmount {
		return b, waihu.FieldErrorf("amount", "an amount up to %d yuan was expected", MaxAmount/Yuan)
	}
	err = s.update(ctx, normal, func(t *tx) error {
		if _, err := t.balanceLocked(account); err != nil {
			return err
		}
		b, err = t.bill(account, amount, remark)
		return err
	})
	return b, err
}

// ZeroBalance takes out all there is, or pays in what is missing; nothing is written when that is nothing.
func (s *Store) ZeroBalance(ctx context.Context, account waihu.AccountID, remark string) (b Bill, err error) {
	err = s.update(ctx, normal, func(t *tx) error {
		b = Bill{}
		there, err := t.balanceLocked(account)
		if err != nil || there == 0 {
			return err
		}
		b, err = t.bill(account, -there, remark)
		return err
	})
	return b, err
}

// balanceLocked is the balance, held until the transaction ends.
func (t *tx) balanceLocked(account waihu.AccountID) (m Money, err error) {
	if _, err := t.account(account); err != nil {
		return 0, err
	}
	if _, err := t.exec(`insert into balances (account, amount) values ($1, 0) on conflict (account) do nothing`, account); err != nil {
		return 0, err
	}
	_, err = t.one(into(&m), `select amount from balances where account = $1{lock}`, account)
	return m, err
}

func (t *tx) bill(account waihu.AccountID, amount Money, remark string) (b Bill, err error) {
	b = Bill{Amount: amount, Remark: clean(remark), At: at(ms(t.s.now()))}
	enough, err := t.one(into(&b.Balance), `update balances set amount = amount + $2 where account = $1 and ($2 > 0 or amount + $2 >= 0) returning amount`, account, int64(amount))
	if err != nil {
		return b, err
	}
	if !enough {
		return b, conflict(nil, "the balance is too small")
	}
	if b.ID, err = t.head("bills", 1); err != nil {
		return b, err
	}
	_, err = t.exec(`insert into bills (id, account, amount, balance, remark, at) values ($1, $2, $3, $4, $5, $6)`,
		b.ID, account, int64(b.Amount), int64(b.Balance), b.Remark, ms(b.At))
	return b, err
}

// Balance is what an account has.
func (s *Store) Balance(ctx context.Context, account waihu.AccountID) (m Money, err error) {
	err = s.read(ctx, func(t *tx) error {
		_, err := t.one(into(&m), `select amount from balances where account = $1`, account)
		return err
	})
	return m, err
}

// Bills are the account's bills from one time to another, both included, the latest first, page by page, and how many
// there are.
func (s *Store) Bills(ctx context.Context, account waihu.AccountID, from, to time.Time, page, perPage int) (list []Bill, total int, err error) {
	limit, offset := pageOf(page, perPage)
	const where = ` from bills where account = $1 and at between $2 and $3`
	err = s.read(ctx, func(t *tx) error {
		if _, err := t.one(into(&total), `select count(*)`+where, account, ms(from), ms(to)); err != nil {
			return err
		}
		return t.each(func(scan func(...any) error) error {
			var b Bill
			var when int64
			err := scan(&b.ID, &b.Amount, &b.Balance, &b.Remark, &when)
			b.At = at(when)
			list = append(list, b)
			return err
		}, `select id, amount, balance, remark, at`+where+` order by id desc limit $4 offset $5`, account, ms(from), ms(to), limit, offset)
	})
	return list, total, err
}
