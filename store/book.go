package store

import (
	"encoding/json"
	"strconv"
	"time"

	"waihu"
)

// ending is a live call that this tick books, with its number as it is now.
type ending struct {
	*Booking
	ref                      taskRef
	state                    waihu.NumberState
	outcome                  waihu.Disposition
	grade                    string
	attempts, redials, fault int
	data                     waihu.NumberData
	agent                    string
	intact                   bool // the number is in flight with this very attempt
}

// book ends the calls whose outcomes arrived: call row, details, number's next state, gauges,
// statistics, events, opt-outs. A call that has ended already is passed over.
func (w *tickWork) book() error {
	if len(w.k.Book) == 0 {
		return nil
	}
	by := make(map[waihu.CallID]*Booking, len(w.k.Book))
	list := make([][]any, 0, len(w.k.Book))
	for i := range w.k.Book {
		bk := &w.k.Book[i]
		if by[bk.Call] == nil {
			by[bk.Call] = bk
			list = append(list, []any{int64(bk.Call)})
		}
	}
	param, err := jsonRows(list)
	if err != nil {
		return err
	}
	var ends []ending
	if err := w.each(func(scan func(...any) error) error {
		var call waihu.CallID
		var e ending
		var live LiveCall
		var started int64
		var data string
		if err := scan(&call, &e.ref.serial, &live.Run, &live.Seq, &live.Attempt, &e.ref.id, &e.ref.account,
			&e.state, &e.outcome, &e.grade, &e.attempts, &e.redials, &e.fault, &live.Phone, &started, &data, &e.agent); err != nil {
			return err
		}
		var err error
		if e.data, err = groupOf(data); err != nil {
			return err
		}
		bk := *by[call] // the ledger knows better than the caller what the call is about
		bk.Account, bk.Task, bk.Run, bk.Seq, bk.Attempt, bk.Phone, bk.StartedAt = e.ref.account, e.ref.id, live.Run, live.Seq, live.Attempt, live.Phone, at(started)
		e.Booking = &bk
		e.intact = e.state == waihu.NumberInFlight && e.attempts == live.Attempt
		ends = append(ends, e)
		return nil
	}, sqlBookable, param, w.k.Shard); err != nil {
		return err
	}
	var calls, details, numbers, turns, optOuts, talks [][]any
	for i := range ends {
		e := &ends[i]
		w.refs[e.ref.id] = e.ref
		w.touched[e.ref.serial] = true
		w.ends = append(w.ends, runKey{e.ref.serial, e.Run})
		w.res.Booked = append(w.res.Booked, e.Call)
		o := e.Outcome
		if o == nil {
			o = &waihu.Outcome{Disposition: waihu.Unknown}
		}
		ended := o.EndAt
		if ended.IsZero() {
			ended = w.k.Now
		}
		disposition, rounds := o.Disposition, 0
		if e.Undo {
			disposition = waihu.NeverLeft
		}
		if disposition == waihu.Answered {
			rounds = roundsOf(o)
		}
		calls = append(calls, []any{int64(e.Call), ms(o.AnswerAt), ms(ended), int(disposition), o.Grade, rounds})
		if body, err := encodeDetails(o, e.callee()); err != nil {
			return err
		} else if body != "{}" {
			details = append(details, []any{int64(e.Call), body})
		}
		if !e.Undo { // before the end of its number: that is how readers expect it
			review := e.Review && disposition == waihu.Answered
			if review {
				w.b.jobs = append(w.b.jobs, waihu.Job{Account: e.ref.account, Kind: waihu.JobReview, Key: e.Call.String(), Body: jobBody(waihu.ReviewOrder{Version: e.AgentVersion})})
				w.b.count(e.ref.serial, gaugeReviews, strconv.Itoa(e.Run), 1)
			}
			w.b.event(waihu.EventCallEnded, e.ref.account, e.ref.id, w.k.Now, e.Call,
				callBody{Seq: e.Seq, Attempt: e.Attempt, Disposition: disposition.String(), Review: review})
		}
		if e.intact {
			if phone := e.turn(disposition, w.k.Now); phone != "" && phone != e.Phone {
				turns = append(turns, []any{e.ref.serial, e.Seq, string(phone)})
			}
			numbers = append(numbers, w.settle(e, disposition, o.Grade))
		}
		if o.Recording != "" {
			w.b.jobs = append(w.b.jobs, keepRecording(e.ref.account, e.Call, o.Recording))
		}
		if o.OptOut {
			optOuts = append(optOuts, []any{e.ref.account, string(e.Phone), ms(w.k.Now), "opt_out", int64(e.Call)})
		}
		if e.Undo {
			w.b.count(e.ref.serial, gaugeCalls, "", -1)
			w.b.count(e.ref.serial, byAgent, e.agent, -1)
			w.b.stat(e.ref.serial, e.StartedAt, statStarted, "", -1)
			continue // nothing happened: no event, no further statistics
		}
		if disposition == waihu.Answered && !o.AnswerAt.IsZero() { // one that ended in the same millisecond costs a step too
			talks = append(talks, []any{int64(e.Call), e.ref.account, e.ref.id, max(1, ms(ended)-ms(o.AnswerAt)), ms(ended)})
		}
		w.bookStats(e.ref.serial, ended, disposition, o, rounds)
	}
	if err := w.execRows(sqlEndCalls, calls); err != nil {
		return err
	}
	if err := w.execRows(sqlDetails, details); err != nil {
		return err
	}
	if err := w.charge(talks); err != nil {
		return err
	}
	if err := w.execRows(sqlSettle, numbers, ms(w.k.Now)); err != nil {
		return err
	}
	if err := w.execRows(sqlTurn, turns); err != nil {
		return err
	}
	return w.suppress(optOuts)
}

// settle moves the number on and returns its row for sqlSettle.
func (w *tickWork) settle(e *ending, disposition waihu.Disposition, grade string) []any {
	attempts, redials, faults, outcome, newGrade := e.attempts, e.redials, e.fault, e.outcome, e.grade
	if e.Undo {
		attempts--
	} else {
		outcome = disposition
		if e.Status != waihu.NoOutcome {
			outcome = e.Status
		}
		if disposition.Fault() {
			faults++
		} else {
			faults = 0
		}
		if e.Redial {
			redials++
		}
		if grade != "" {
			newGrade = grade
		}
	}
	due := int64(0)
	switch e.Next {
	case waihu.NumberDue:
		due = ms(e.Due)
	case waihu.NumberDone:
		w.b.event(waihu.EventNumberDone, e.ref.account, e.ref.id, w.k.Now, e.Call, callBody{Seq: e.Seq, Disposition: outcome.String()})
	case waihu.NumberFresh:
		w.low[e.ref.serial] = nil // it may lie before the bound
	}
	w.b.state(e.ref.serial, waihu.NumberInFlight, e.Next, 1)
	w.b.shows(e.ref.serial, e.outcome, outcome, e.grade, newGrade)
	w.moved(e.ref.serial, e.Seq, e.outcome, outcome, 0)
	return []any{e.ref.serial, e.Seq, int(e.Next), due, attempts, redials, faults, int(outcome), newGrade}
}

func (w *tickWork) bookStats(task int64, ended time.Time, disposition waihu.Disposition, o *waihu.Outcome, rounds int) {
	w.b.stat(task, ended, byOutcome, strconv.Itoa(int(disposition)), 1)
	w.b.stat(task, ended, statTalk, "", o.Talk().Milliseconds())
	if disposition == waihu.Answered {
		w.b.count(task, byRounds, roundsBucket(rounds), 1)
		w.b.stat(task, ended, byRounds, roundsBucket(rounds), 1)
	}
	if o.Grade != "" {
		w.b.stat(task, ended, byGrade, o.Grade, 1)
	}
}

// roundsOf is how often the callee spoke in an answered call; a call in which nobody did had one
// round, the opening.
func roundsOf(o *waihu.Outcome) int {
	n := 0
	for i := range o.Transcript {
		if turn := &o.Transcript[i]; turn.Who == "callee" && !turn.Partial && !turn.Silence() {
			n++
		}
	}
	return max(1, n)
}

func roundsBucket(n int) string {
	switch {
	case n <= 1:
		return "1"
	case n <= 5:
		return "2~5"
	case n <= 10:
		return "6~10"
	case n <= 20:
		return "11~20"
	default:
		return ">20"
	}
}

// details is the column call_details.body: what the row of a call does not hold.
type details struct {
	HangupBy   waihu.Party       `json:"hangup_by,omitempty"`
	Caller     waihu.PhoneNumber `json:"caller,omitempty"`
	InviteAt   int64             `json:"invite_at,omitempty"` // unix ms
	RingAt     int64             `json:"ring_at,omitempty"`
	Evidence   []waihu.Evidence  `json:"evidence,omitempty"`
	Transcript []waihu.Turn      `json:"transcript,omitempty"`
	Tags       []string          `json:"tags,omitempty"`
	Collected  map[string]string `json:"collected,omitempty"`
	OptOut     bool              `json:"opt_out,omitempty"`
	Recording  string            `json:"recording,omitempty"`
	Recognizer string            `json:"recognizer,omitempty"`
	Simulated  bool              `json:"simulated,omitempty"`
	Media      waihu.MediaStats  `json:"media,omitzero"`
	RetryAfter int64             `json:"retry_after,omitempty"` // ms
	Callee     waihu.PhoneNumber `json:"callee,omitempty"`      // of a group: the phone that was called; else the number's
	Facts      json.RawMessage   `json:"facts,omitempty"`
}

// callee is the phone that was called when the number's row may name another one later.
func (e *ending) callee() waihu.PhoneNumber {
	if len(e.data.Group) == 0 {
		return ""
	}
	return e.Phone
}

func encodeDetails(o *waihu.Outcome, callee waihu.PhoneNumber) (string, error) {
	b, err := json.Marshal(details{o.HangupBy, o.Caller, ms(o.InviteAt), ms(o.RingAt), o.Evidence, o.Transcript, o.Tags, o.Collected, o.OptOut,
		o.Recording, o.Recognizer, o.Simulated, o.Media, o.RetryAfter.Milliseconds(), callee, o.Facts})
	return string(b), err
}

const sqlBookable = `select c.id, c.task, c.run, c.seq, c.attempt, t.id, t.account, n.state, n.outcome, n.grade, n.attempts, n.redials, n.faults, n.phone, c.started_at, n.data, c.agent
	from {rows $1} join calls c on c.id = cast(r.value->>0 as bigint) join tasks t on t.serial = c.task
	join numbers n on n.task = c.task and n.seq = c.seq where c.ended_at = 0 and t.shard = $2`

const sqlEndCalls = `update calls set answered_at = cast(r.value->>1 as bigint), ended_at = cast(r.value->>2 as bigint),
	outcome = cast(r.value->>3 as integer), grade = r.value->>4, rounds = cast(r.value->>5 as integer)
	from {rows $1} where calls.id = cast(r.value->>0 as bigint) and calls.ended_at = 0`

const sqlDetails = `insert into call_details (call, body) select cast(r.value->>0 as bigint), r.value->>1 from {rows $1}`

const sqlSettle = `update numbers set state = cast(r.value->>2 as integer), due_at = cast(r.value->>3 as bigint), attempts = cast(r.value->>4 as integer),
	redials = cast(r.value->>5 as integer), faults = cast(r.value->>6 as integer), outcome = cast(r.value->>7 as integer), grade = r.value->>8, updated_at = $2
	from {rows $1} where numbers.task = cast(r.value->>0 as bigint) and numbers.seq = cast(r.value->>1 as bigint) and numbers.state = 1`

const sqlSuppress = `insert into suppressed (account, phone, since, reason, call)
	select r.value->>0, r.value->>1, cast(r.value->>2 as bigint), r.value->>3, cast(r.value->>4 as bigint) from {rows $1} where true
	on conflict (account, phone) do nothing`
