package store

import (
	"encoding/json"
	"fmt"

	"waihu"
)

// lineColumns are read by scanLine.
const lineColumns = `lines.id, lines.account, lines.name, lines.remark, lines.node, lines.concurrency, lines.cps, lines.expires_at, lines.trunk, lines.price, lines.price_step,
	lines.created_at, lines.updated_at`

// scanLine reads lineColumns, and extra columns behind them. The trunk's password is not among them: it is sealed in lines.secret.
func scanLine(scan func(dest ...any) error, extra ...any) (waihu.Line, error) {
	var l waihu.Line
	var expires, created, updated int64
	var trunk string
	if err := scan(append(into(&l.ID, &l.Account, &l.Name, &l.Remark, &l.Node, &l.Concurrency, &l.CPS, &expires, &trunk, &l.Price.Minute, &l.Price.Step, &created, &updated), extra...)...); err != nil {
		return l, err
	}
	l.Expires, l.CreatedAt, l.UpdatedAt = at(expires), at(created), at(updated)
	if err := json.Unmarshal([]byte(trunk), &l.Trunk); err != nil {
		return l, fmt.Errorf("read the stored trunk of line %s: %w", l.ID, err)
	}
	return l, nil
}

// linesFor are the lines that the account's tasks may use, its own and its main account's, without passwords, in the order of their ids.
func (t *tx) linesFor(account waihu.AccountID) (list []waihu.Line, err error) {
	err = t.each(func(scan func(...any) error) error {
		l, err := scanLine(scan)
		list = append(list, l)
		return err
	}, `select `+lineColumns+` from lines where account in ($1, (select parent from accounts where id = $1)) order by id`, account)
	return list, err
}
