package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"waihu"
)

// Erased stands in texts where an erased number stood. Imports pass such rows over.
const Erased = "[erased]"

// Erasure says whose data is to go.
type Erasure struct {
	Phone    waihu.PhoneNumber // in any of its forms
	Accounts []waihu.AccountID // nil: the whole installation
	// Remove removes the file of a recording, at once; one that cannot be removed now is left to a job. Nil: all are. It must be
	// idempotent: an erasure that dies half-way is begun anew.
	Remove func(context.Context, RecordingRow) error
}

// EraseReport says what an erasure did; it holds no number.
type EraseReport struct {
	Numbers         int            `json:"numbers"`          // rows of tasks that were emptied
	Calls           int            `json:"calls"`            // calls that lost all but times and outcome
	Recordings      int            `json:"recordings"`       // files removed
	RecordingsLater int            `json:"recordings_later"` // files that a job goes on trying to remove
	Customers       int            `json:"customers"`
	Suppressed      int            `json:"suppressed"`      // suppressions of which only the keyed hash stays
	Texts           map[string]int `json:"texts,omitempty"` // rows by table.column in which the number was overwritten, or which were deleted
	Live            int            `json:"live"`            // calls in progress: a job erases what they leave
	Kept            map[string]int `json:"kept,omitempty"`  // rows of settings (agents, tasks, lines ...) that name it and are left to their owner
}

// Erase removes a number from calls, transcripts, recordings, jobs, batches, the customer pool and wherever else the accounts' rows hold it,
// in all its forms, beside dialling: in slices that give way to ticks. What stays: that calls took place (times, line, outcome), because bills and
// the count of attempts hang on it; and, of a suppressed number, the keyed hash by which it is never called. Once begun again it finds
// what an interruption left.
func (s *Store) Erase(ctx context.Context, e Erasure) (EraseReport, error) {
	x := &eraser{s: s, e: e, forms: e.Phone.Forms(), report: EraseReport{Texts: map[string]int{}, Kept: map[string]int{}}}
	if !slices.Contains(x.forms, e.Phone) { // it may have been imported just so
		x.forms = append(x.forms, e.Phone)
	}
	if len(x.forms[0]) < minErased {
		return x.report, waihu.FieldErrorf("phone", "a phone number with at least %d digits was expected", minErased)
	}
	if len(s.o.Key) == 0 {
		return x.report, errors.New("erase: the ledger was opened without a key, so no hash could keep a suppressed number from being called")
	}
	var err error
	if x.tables, err = s.columns(ctx); err != nil {
		return x.report, fmt.Errorf("erase: %w", err)
	}
	for _, part := range []func(context.Context) error{x.suppressions, x.numbers, x.customers, x.sweep, x.note} {
		if err := part(ctx); err != nil {
			return x.report, fmt.Errorf("erase: %w", err)
		}
	}
	s.pages.drop()
	s.wakeOwner()
	return x.report, s.settle(ctx, x.touched)
}

// minErased: shorter digits stand in too many texts by chance.
const minErased = 5

type eraser struct {
	s       *Store
	e       Erasure
	forms   []waihu.PhoneNumber
	report  EraseReport
	tables  map[string][]column // of the schema
	touched map[string]bool     // tables written, for PostgreSQL's vacuum
}

// in is the SQL condition that an account column is in reach, with its parameter as $n.
func (x *eraser) in(column string, n int) (string, any) {
	if x.e.Accounts == nil {
		return fmt.Sprintf(`cast($%d as text) = ''`, n), ""
	}
	rows := make([][]any, len(x.e.Accounts))
	for i, a := range x.e.Accounts {
		rows[i] = []any{a}
	}
	param, _ := jsonRows(rows) // texts
	return fmt.Sprintf(`%s in (select r.value->>0 from {rows $%d})`, column, n), param
}

func (x *eraser) formRows(more ...any) [][]any {
	rows := make([][]any, len(x.forms))
	for i, f := range x.forms {
		rows[i] = append([]any{string(f)}, more...)
	}
	return rows
}

// suppressions leaves of each only its hash, which a row has since it was written; older rows get theirs here.
func (x *eraser) suppressions(ctx context.Context) error {
	where, accounts := x.in("account", 1)
	forms, err := jsonRows(x.formRows())
	if err != nil {
		return err
	}
	return x.s.update(ctx, normal, func(t *tx) error {
		var list, gone [][]any
		if err := t.each(func(scan func(...any) error) error {
			var account waihu.AccountID
			var phone, reason string
			var since, call int64
			err := scan(&account, &phone, &since, &reason, &call)
			list, gone = append(list, []any{account, phone, since, reason, call}), append(gone, []any{account, phone})
			return err
		}, `select account, phone, since, reason, call from suppressed where `+where+` and phone in (select r.value->>0 from {rows $2})`, accounts, forms); err != nil {
			return err
		}
		if err := t.suppress(list); err != nil {
			return err
		}
		x.report.Suppressed = len(list)
		return t.execRows(`delete from suppressed where (account, phone) in (select r.value->>0, r.value->>1 from {rows $1})`, gone)
	})
}

// numberRef names a row of numbers.
type numberRef struct {
	taskRef
	shard int
	seq   int64
}

// numbers empties the rows of tasks that dial the number and what their calls left.
func (x *eraser) numbers(ctx context.Context) error {
	refs, err := x.find(ctx)
	if err != nil {
		return err
	}
	for _, r := range refs {
		if err := x.number(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// find looks for the number in every task, a hundred tasks a statement.
func (x *eraser) find(ctx context.Context) (list []numberRef, err error) {
	where, accounts := x.in("account", 1)
	var tasks []numberRef
	err = x.s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var r numberRef
			err := scan(&r.id, &r.serial, &r.account, &r.shard)
			tasks = append(tasks, r)
			return err
		}, `select id, serial, account, shard from tasks where `+where, accounts)
	})
	for chunk := range slices.Chunk(tasks, 100) {
		var rows [][]any
		by := map[int64]numberRef{}
		for _, k := range chunk {
			by[k.serial] = k
			for _, f := range x.forms {
				rows = append(rows, []any{k.serial, string(f)})
			}
		}
		param, err := jsonRows(rows)
		if err != nil {
			return nil, err
		}
		seen := map[[2]int64]bool{} // a row may have it as key in one form and as phone in another
		if err := x.s.read(ctx, func(t *tx) error {
			return t.each(func(scan func(...any) error) error {
				var serial, seq int64
				err := scan(&serial, &seq)
				if r := by[serial]; !seen[[2]int64{serial, seq}] {
					seen[[2]int64{serial, seq}] = true
					r.seq = seq
					list = append(list, r)
				}
				return err
			}, sqlNumbersByForm, param)
		}); err != nil {
			return nil, err
		}
	}
	return list, err
}

// As in numberedBy: the rows outside, and bounds of phone, for which SQLite takes the partial index.
const sqlNumbersByForm = `select b.task, b.seq from {rows $1} cross join numbers b where b.task = cast(r.value->>0 as bigint) and b.key = r.value->>1
	union all select b.task, b.seq from {rows $1} cross join numbers b where b.task = cast(r.value->>0 as bigint) and b.phone >= r.value->>1 and b.phone <= r.value->>1 and b.key <> b.phone`

// number empties one row: first the files of its recordings, then, in one commit, all that the ledger has of it.
func (x *eraser) number(ctx context.Context, r numberRef) error {
	later, removed, err := x.removeFiles(ctx, r)
	if err != nil {
		return err
	}
	live := false
	var calls [][]any
	err = x.s.update(ctx, normal, func(t *tx) error {
		live, calls = false, nil
		if err := t.lockShard(r.shard); err != nil {
			return err
		}
		if err := t.each(func(scan func(...any) error) error {
			var id, ended int64
			err := scan(&id, &ended)
			live = live || ended == 0
			calls = append(calls, []any{id})
			return err
		}, sqlCallsOfNumber, r.serial, r.seq); err != nil {
			return err
		}
		if live {
			return x.postpone(t, r)
		}
		b := newBatch()
		if err := t.dropReviews(b, calls); err != nil {
			return err
		}
		if err := x.empty(t, b, r); err != nil {
			return err
		}
		for _, sql := range []string{sqlEraseDetails, `delete from recordings where call in (select cast(r.value->>0 as bigint) from {rows $1})`} {
			if err := t.execRows(sql, calls); err != nil {
				return err
			}
		}
		b.jobs = later
		return t.flush(b)
	})
	if err != nil {
		return err
	}
	x.report.Recordings += removed
	if live {
		x.report.Live++
		return nil
	}
	x.report.Numbers++
	x.report.Calls += len(calls)
	x.report.RecordingsLater += len(later)
	x.s.dropBound(r.id)
	x.touch("numbers", "call_details", "recordings", "reviews")
	return nil
}

const sqlCallsOfNumber = `select id, ended_at from calls where task = $1 and seq = $2 and outcome <> 17`

// removeFiles removes the recordings of a number's ended calls, wherever they lie. What cannot be removed now becomes jobs.
func (x *eraser) removeFiles(ctx context.Context, r numberRef) (later []waihu.Job, removed int, err error) {
	var list []RecordingRow
	if err := x.s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			row := RecordingRow{Account: r.account}
			var body string
			if err := scan(&row.Call, &body, &row.Name, &row.Place); err != nil {
				return err
			}
			var d details
			if body != "" {
				if err := json.Unmarshal([]byte(body), &d); err != nil {
					return err
				}
			}
			if row.Name == "" {
				row.Name = d.Recording
			}
			if row.Name != "" {
				list = append(list, row)
			}
			return nil
		}, `select c.id, coalesce(d.body, ''), coalesce(f.name, ''), coalesce(f.place, '') from calls c left join call_details d on d.call = c.id
			left join recordings f on f.call = c.id where c.task = $1 and c.seq = $2 and c.outcome <> 17 and c.ended_at > 0`, r.serial, r.seq)
	}); err != nil {
		return nil, 0, err
	}
	for _, row := range list {
		if x.e.Remove != nil {
			if err := x.e.Remove(ctx, row); err == nil {
				removed++
				continue
			} else if ctx.Err() != nil {
				return nil, removed, ctx.Err()
			}
			x.s.log.Warn("a recording of an erased number could not be removed yet: a job goes on", "call", row.Call)
		}
		body, err := json.Marshal(row)
		if err != nil {
			return nil, removed, err
		}
		later = append(later, waihu.Job{Account: r.account, Kind: JobRemoveRecording, Key: row.Call.String(), Body: body})
	}
	return later, removed, nil
}

// empty takes number, key and data out of the row; the row stays as a removed one, so that no attempt is ever dialled twice.
func (x *eraser) empty(t *tx, b *batch, r numberRef) error {
	found := false
	if err := t.eachNumber(r.taskRef, func(n waihu.Number) {
		found = true
		if n.State == waihu.NumberRemoved {
			return
		}
		b.state(r.serial, n.State, waihu.NumberRemoved, 1)
		b.shows(r.serial, n.Outcome, n.Outcome, n.Grade, "")
		b.count(r.serial, byOutcome, fmt.Sprint(int(n.Outcome)), -1)
		t.moved(r.serial, n.Seq, n.Outcome, gone, 0)
	}, `n.task = $1 and n.seq = $2`, r.serial, r.seq); err != nil || !found {
		return err
	}
	_, err := t.exec(`update numbers set state = 4, due_at = 0, key = $3, phone = '', data = '', grade = '', updated_at = $4 where task = $1 and seq = $2`,
		r.serial, r.seq, fmt.Sprintf("%s %d", Erased, r.seq), ms(x.s.now()))
	return err
}

// dropReviews removes what was found out about calls, with its gauges.
func (t *tx) dropReviews(b *batch, calls [][]any) error {
	if len(calls) == 0 {
		return nil
	}
	r := &reviewing{tx: t, b: b, codes: map[int64]map[string]bool{}}
	list, err := r.read(calls)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.beforeBody == "" {
			continue
		}
		if err := r.answers(c, &waihu.Review{}); err != nil {
			return err
		}
	}
	return t.execRows(sqlEraseReviews, calls)
}

// eraseLater is the body of a JobEraseNumber.
type eraseLater struct {
	Task     int64             `json:"task"`
	Seq      int64             `json:"seq"`
	Accounts []waihu.AccountID `json:"accounts"`
}

// postpone leaves a number with a call in progress to a job, which knows it by its row and not by its digits.
func (x *eraser) postpone(t *tx, r numberRef) error {
	body, err := json.Marshal(eraseLater{r.serial, r.seq, x.e.Accounts})
	if err != nil {
		return err
	}
	return t.flushJobs([]waihu.Job{{Account: r.account, Kind: JobEraseNumber, Key: fmt.Sprintf("%d/%d", r.serial, r.seq), Body: body, RunAt: x.s.now().Add(5 * time.Second)}})
}

// ErrCallLive says that a number cannot be erased yet.
var ErrCallLive = errors.New("a call to the number is in progress")

// EraseLater works a JobEraseNumber: it erases the number once its call has ended, and is ErrCallLive before.
func (s *Store) EraseLater(ctx context.Context, j waihu.Job, remove func(context.Context, RecordingRow) error) error {
	var l eraseLater
	if err := json.Unmarshal(j.Body, &l); err != nil {
		return err
	}
	var phone waihu.PhoneNumber
	live := 0
	if err := s.read(ctx, func(t *tx) error {
		if _, err := t.one(into(&phone), `select phone from numbers where task = $1 and seq = $2`, l.Task, l.Seq); err != nil {
			return err
		}
		_, err := t.one(into(&live), `select count(*) from calls where task = $1 and seq = $2 and outcome <> 17 and ended_at = 0`, l.Task, l.Seq)
		return err
	}); err != nil || phone == "" {
		return err
	}
	if live > 0 {
		return ErrCallLive
	}
	report, err := s.Erase(ctx, Erasure{Phone: phone, Accounts: l.Accounts, Remove: remove})
	if err == nil && report.Live > 0 {
		err = ErrCallLive
	}
	return err
}

// customers removes the number from the customer pools.
func (x *eraser) customers(ctx context.Context) error {
	where, accounts := x.in("account", 1)
	forms, err := jsonRows(x.formRows())
	if err != nil {
		return err
	}
	return x.s.update(ctx, normal, func(t *tx) error {
		var ids [][]any
		if err := t.each(func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			ids = append(ids, []any{id})
			return err
		}, `select id from customers where `+where+` and phone in (select r.value->>0 from {rows $2})`, accounts, forms); err != nil {
			return err
		}
		x.report.Customers = len(ids)
		for _, sql := range []string{`delete from customer_fields where customer in (select cast(r.value->>0 as bigint) from {rows $1})`,
			`delete from customers where id in (select cast(r.value->>0 as bigint) from {rows $1})`} {
			if err := t.execRows(sql, ids); err != nil {
				return err
			}
		}
		return nil
	})
}

// note writes that an erasure took place, for the proof that it did: with the number's keyed hash, not with the number.
func (x *eraser) note(ctx context.Context) error {
	report, err := json.Marshal(x.report)
	if err != nil {
		return err
	}
	account := waihu.AccountID("")
	if len(x.e.Accounts) > 0 {
		account = x.e.Accounts[0]
	}
	return x.s.update(ctx, normal, func(t *tx) error {
		id, err := t.head("erasures", 1)
		if err != nil {
			return err
		}
		_, err = t.exec(`insert into erasures (id, account, sum, at, report) values ($1, $2, $3, $4, $5)`, id, account, x.s.sums().of(account, x.forms[0]), ms(x.s.now()), string(report))
		return err
	})
}

func (x *eraser) touch(tables ...string) {
	if x.touched == nil {
		x.touched = map[string]bool{}
	}
	for _, name := range tables {
		x.touched[name] = true
	}
}
