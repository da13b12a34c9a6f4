package store

import (
	"context"
	"encoding/json"
	"time"

	"waihu"
)

// BatchState is where a batch stands.
type BatchState int

const (
	BatchWaiting BatchState = iota // not finished yet
	BatchDone
	BatchFailed // given up; what was done until then stays done
)

// Batch is work of an account in the background, under a name that its client was given.
type Batch struct {
	ID                  string
	Account             waihu.AccountID
	Task                waihu.TaskID
	Kind                string
	State               BatchState
	Total, Done, Failed int
	Body                []byte // JSON of the door that made it
	CreatedAt           time.Time
	DoneAt              time.Time // zero while waiting
}

// BatchPart is a portion of a batch. It is written before the work that it names begins, and marked when that is done:
// who finds one that is not marked does it again, and knows that what is there already may be its own.
type BatchPart struct {
	N       int
	Done    bool
	Numbers []string
}

// batchLife is how long a batch can be asked for: its numbers are personal data.
const batchLife = 7 * 24 * time.Hour

// AddBatch writes a batch and the job that works it in one commit; old batches of the account go.
func (s *Store) AddBatch(ctx context.Context, b Batch, job waihu.Job) error {
	return s.update(ctx, normal, func(t *tx) error {
		now := s.now()
		for _, sql := range []string{
			`delete from batch_parts where batch in (select id from batches where account = $1 and created_at < $2 and state <> 0)`,
			`delete from batches where account = $1 and created_at < $2 and state <> 0`,
		} {
			if _, err := t.exec(sql, b.Account, ms(now.Add(-batchLife))); err != nil {
				return err
			}
		}
		if _, err := t.exec(`insert into batches (id, account, task, kind, state, total, done, failed, body, created_at, done_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)`,
			b.ID, b.Account, b.Task, b.Kind, b.State, b.Total, b.Done, b.Failed, clean(string(b.Body)), ms(now)); err != nil {
			return err
		}
		return t.flushJobs([]waihu.Job{job})
	})
}

// SaveBatch writes where a batch stands and one of its parts, if any, in one commit, and the event that it is over when it is.
func (s *Store) SaveBatch(ctx context.Context, b Batch, part *BatchPart) error {
	return s.updateThen(ctx, normal, func(t *tx) error {
		done, was := int64(0), BatchWaiting
		if b.State != BatchWaiting {
			done = ms(s.now())
		}
		if _, err := t.one(into(&was), `select state from batches where id = $1 and account = $2{lock}`, b.ID, b.Account); err != nil {
			return err
		}
		n, err := t.exec(`update batches set state = $3, total = $4, done = $5, failed = $6, body = $7, done_at = $8 where id = $1 and account = $2`,
			b.ID, b.Account, b.State, b.Total, b.Done, b.Failed, clean(string(b.Body)), done)
		if err != nil {
			return err
		}
		if n == 0 {
			return notFound("batch", b.ID)
		}
		if part != nil {
			if err := t.putPart(b.ID, part); err != nil {
				return err
			}
		}
		if was != BatchWaiting || b.State == BatchWaiting {
			return nil
		}
		told := newBatch()
		told.event(waihu.EventBatchDone, b.Account, b.Task, s.now(), 0, batchBody{Batch: b.ID, Kind: b.Kind})
		return t.flush(told)
	}, "batch.before_commit", "batch.after_commit")
}

func (t *tx) putPart(batch string, p *BatchPart) error {
	numbers, err := json.Marshal(p.Numbers)
	if err != nil {
		return err
	}
	_, err = t.exec(`insert into batch_parts (batch, n, done, body) values ($1, $2, $3, $4)
		on conflict (batch, n) do update set done = excluded.done, body = excluded.body`, batch, p.N, flag(p.Done), clean(string(numbers)))
	return err
}

// Batch is one batch of the account.
func (s *Store) Batch(ctx context.Context, account waihu.AccountID, id string) (b Batch, err error) {
	err = s.read(ctx, func(t *tx) error {
		var body string
		var created, done int64
		b = Batch{ID: id, Account: account}
		found, err := t.one(into(&b.Task, &b.Kind, &b.State, &b.Total, &b.Done, &b.Failed, &body, &created, &done),
			`select task, kind, state, total, done, failed, body, created_at, done_at from batches where id = $1 and account = $2`, id, account)
		if err == nil && !found {
			err = notFound("batch", id)
		}
		b.Body, b.CreatedAt, b.DoneAt = []byte(body), at(created), at(done)
		return err
	})
	return b, err
}

// BatchParts are the parts of a batch of the account, in order.
func (s *Store) BatchParts(ctx context.Context, account waihu.AccountID, id string) (list []BatchPart, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var p BatchPart
			var body string
			var done int
			if err := scan(&p.N, &done, &body); err != nil {
				return err
			}
			p.Done = done != 0
			list = append(list, p)
			return json.Unmarshal([]byte(body), &list[len(list)-1].Numbers)
		}, `select p.n, p.done, p.body from batch_parts p join batches b on b.id = p.batch where p.batch = $1 and b.account = $2 order by p.n`, id, account)
	})
	return list, err
}
