package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// A number may stand for a group of phone numbers of one person (waihu.NumberData.Group). Its row holds the phone whose
// turn it is; this file moves the turn.

// groupOf reads what the data of a number says of its group; most numbers have none, and are not decoded for it.
func groupOf(data string) (waihu.NumberData, error) {
	if !strings.Contains(data, `"group":`) {
		return waihu.NumberData{}, nil
	}
	return decodeData(data)
}

// turn lets the next phone of a group have its turn after a call that did not reach the person. It changes what the
// rules decided of the number: as long as a phone is left it is due at once and spends no redial; with the last one the
// rules count, and a redial begins with the first phone again. It returns the phone, "" when the turn stays.
func (e *ending) turn(disposition waihu.Disposition, now time.Time) waihu.PhoneNumber {
	shown := disposition
	if e.Status != waihu.NoOutcome {
		shown = e.Status
	}
	switch {
	case len(e.data.Group) == 0 || e.Undo || e.Outcome == nil || e.Outcome.OptOut || e.Next == waihu.NumberFresh:
		return ""
	case disposition.Fault() && e.Next == waihu.NumberDue: // the fault was on the way: the same phone again
		return ""
	}
	switch shown {
	case waihu.Answered, waihu.Unknown, waihu.Invalid, waihu.Expired:
		return ""
	}
	if next := e.data.Onward(e.Phone); next != "" {
		e.Next, e.Due, e.Redial = waihu.NumberDue, now, false
		if disposition.Fault() {
			e.fault = -1 // that of another phone: settle counts it to 0
		}
		return next
	}
	if e.Next == waihu.NumberDue {
		return e.data.Group[0]
	}
	return ""
}

// passed is the phone of a group that has its turn instead of a suppressed one; "" when the number ends.
func passed(n *PoppedNumber, outcome waihu.Disposition) waihu.PhoneNumber {
	if outcome != waihu.Blacklisted || n.Data.GroupStops {
		return ""
	}
	return n.Data.Onward(n.Phone)
}

const sqlTurn = `update numbers set phone = r.value->>2
	from {rows $1} where numbers.task = cast(r.value->>0 as bigint) and numbers.seq = cast(r.value->>1 as bigint)`

const sqlPassOn = `update numbers set state = 2, due_at = cast($2 as bigint), phone = r.value->>2, updated_at = cast($2 as bigint)
	from {rows $1} where numbers.task = cast(r.value->>0 as bigint) and numbers.seq = cast(r.value->>1 as bigint) and numbers.state in (0, 2)`

// Number is one number of the task by its place; a removed one is ENotFound.
func (s *Store) Number(ctx context.Context, account waihu.AccountID, task waihu.TaskID, seq int64) (n waihu.Number, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		found := false
		err = t.eachNumber(ref, func(x waihu.Number) { n, found = x, true }, `n.task = $1 and n.seq = $2 and n.state <> 4`, ref.serial, seq)
		if err == nil && !found {
			err = notFound("number", seq)
		}
		return err
	})
	return n, err
}

// NumbersAfter are up to limit numbers of the task behind place after, in the order of their import.
func (s *Store) NumbersAfter(ctx context.Context, account waihu.AccountID, task waihu.TaskID, after int64, limit int) (list []waihu.Number, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		list = nil
		q, err := (&NumberFilter{}).query(ref)
		if err == nil {
			list, err = t.numbersAfter(ref, q, min(max(limit, 1), maxPerPage), after)
		}
		return err
	})
	return list, err
}

// Withdraw takes a waiting number out of the dialling, also while its task runs: with waihu.NoOutcome it is removed, else it is
// done with the outcome, and its end is an event. It says false, and changes nothing, when the number is not waiting: in
// flight, done or removed. A call in progress is never touched. by names the
// door that asked, for the event of a removal.
func (s *Store) Withdraw(ctx context.Context, account waihu.AccountID, task waihu.TaskID, seq int64, outcome waihu.Disposition, by string) (done bool, err error) {
	err = s.update(ctx, normal, func(t *tx) error {
		done = false
		k, _, err := t.lockTask(account, task)
		if err != nil {
			return err
		}
		ref := k.ref()
		var n *waihu.Number
		if err := t.eachNumber(ref, func(x waihu.Number) { n = &x }, `n.task = $1 and n.seq = $2 and n.state in (0, 2)`, ref.serial, seq); err != nil || n == nil {
			return err
		}
		done = true
		b, now := newBatch(), s.now()
		row := [][]any{{ref.serial, seq, int(outcome)}}
		if outcome == waihu.NoOutcome {
			b.state(ref.serial, n.State, waihu.NumberRemoved, 1)
			b.shows(ref.serial, n.Outcome, n.Outcome, n.Grade, "")
			b.count(ref.serial, byOutcome, strconv.Itoa(int(n.Outcome)), -1)
			t.moved(ref.serial, seq, n.Outcome, gone, 0)
			b.event(waihu.EventNumbersRemoved, account, task, now, 0, removedBody{Removed: 1, By: by, Ranges: seqRanges{{seq, seq}}})
			if err := t.execRows(sqlRemoveNumbers, row, ms(now)); err != nil {
				return err
			}
			return t.flush(b)
		}
		b.state(ref.serial, n.State, waihu.NumberDone, 1)
		b.shows(ref.serial, n.Outcome, outcome, n.Grade, n.Grade)
		t.moved(ref.serial, seq, n.Outcome, outcome, 0)
		b.event(waihu.EventNumberDone, account, task, now, n.LastCall, callBody{Seq: seq, Disposition: outcome.String()})
		if err := t.execRows(sqlDoneAtPop, row, ms(now)); err != nil {
			return err
		}
		return t.flush(b)
	})
	if done && err == nil {
		s.pages.drop()
		s.dropBound(task)
		s.wakeOwner()
	}
	return done && err == nil, err
}
