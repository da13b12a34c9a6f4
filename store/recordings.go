package store

import (
	"context"
	"encoding/json"
	"time"

	"waihu"
)

// The kinds of jobs about recordings and erasures; room wrapup works them.
const (
	JobKeepRecording   = "recording.keep"   // key: the call; body: RecordingRow with its name alone
	JobRemoveRecording = "recording.remove" // key: the call; body: RecordingRow
	JobEraseNumber     = "erase.number"     // key: task and number; body: for EraseLater alone
)

// RecordingRow says where the recording of a call lies.
type RecordingRow struct {
	Call    waihu.CallID    `json:"call,omitempty"`
	Account waihu.AccountID `json:"account,omitempty"`
	Name    string          `json:"name"`            // path below the folder of recordings, or key in the bucket
	Place   string          `json:"place,omitempty"` // "" the folder; else the bucket's address
	Size    int64           `json:"size,omitempty"`
	Sum     string          `json:"sum,omitempty"` // SHA-256 of the file, hexadecimal
	EndedAt time.Time       `json:"-"`             // of the call
}

// keepRecording is the job that takes care of a finished recording.
func keepRecording(account waihu.AccountID, call waihu.CallID, name string) waihu.Job {
	body, _ := json.Marshal(RecordingRow{Name: name}) // a struct of texts
	return waihu.Job{Account: account, Kind: JobKeepRecording, Key: call.String(), Body: body}
}

// KeepRecording writes where the recording of r.Call lies now. ENotFound: the account has no such call, or it has no such recording any more,
// because it was erased meanwhile; whoever made a copy removes it then.
func (s *Store) KeepRecording(ctx context.Context, r RecordingRow) error {
	return s.update(ctx, normal, func(t *tx) error {
		var ended int64
		var body string
		found, err := t.one(into(&ended, &body), `select c.ended_at, d.body from calls c join tasks k on k.serial = c.task join call_details d on d.call = c.id
			where c.id = $1 and k.account = $2`, int64(r.Call), r.Account)
		if err != nil {
			return err
		}
		var d details
		if found {
			if err := json.Unmarshal([]byte(body), &d); err != nil {
				return err
			}
		}
		if !found || d.Recording != r.Name {
			return notFound("recording of call", r.Call)
		}
		_, err = t.exec(`insert into recordings (call, account, name, place, size, sum, ended_at) values ($1, $2, $3, $4, $5, $6, $7)
			on conflict (call) do update set place = excluded.place, size = excluded.size, sum = excluded.sum`,
			int64(r.Call), r.Account, r.Name, r.Place, r.Size, r.Sum, ended)
		return err
	})
}

// Recording is where the recording of a call of the account lies. ENotFound before its job has looked at it: it is in the folder then.
func (s *Store) Recording(ctx context.Context, account waihu.AccountID, call waihu.CallID) (r RecordingRow, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err := t.recordings(`account = $1 and call in (select cast(r.value->>0 as bigint) from {rows $2})`, account, [][]any{{int64(call)}})
		if err == nil && len(list) == 0 {
			return notFound("recording of call", call)
		}
		if err == nil {
			r = list[0]
		}
		return err
	})
	return r, err
}

// recordings are rows by a condition on $1 and the rows $2.
func (t *tx) recordings(where string, first any, rows [][]any) (list []RecordingRow, err error) {
	param, err := jsonRows(rows)
	if err != nil {
		return nil, err
	}
	err = t.each(func(scan func(...any) error) error {
		var r RecordingRow
		var ended int64
		err := scan(&r.Call, &r.Account, &r.Name, &r.Place, &r.Size, &r.Sum, &ended)
		r.EndedAt = at(ended)
		list = append(list, r)
		return err
	}, `select call, account, name, place, size, sum, ended_at from recordings where `+where, first, param)
	return list, err
}

// dropRecordings forgets the recordings of calls and leaves jobs behind that remove the files; the calls' rows are about to go, or lose
// their name. A recording that no job has looked at yet is removed by the job that then finds no call.
func (t *tx) dropRecordings(calls [][]any) (n int, err error) {
	if len(calls) == 0 {
		return 0, nil
	}
	list, err := t.recordings(`$1 = 0 and call in (select cast(r.value->>0 as bigint) from {rows $2})`, 0, calls)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	jobs := make([]waihu.Job, len(list))
	for i, r := range list {
		body, err := json.Marshal(r)
		if err != nil {
			return 0, err
		}
		jobs[i] = waihu.Job{Account: r.Account, Kind: JobRemoveRecording, Key: r.Call.String(), Body: body}
	}
	if err := t.execRows(`delete from recordings where call in (select cast(r.value->>0 as bigint) from {rows $1})`, calls); err != nil {
		return 0, err
	}
	return len(list), t.flushJobs(jobs)
}
