package yunfu

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"waihu"
	"waihu/store"
)

// maxAsyncRows is how many rows one asynchronous import may carry.
const maxAsyncRows = 200

const jobImport = "yunfu.import"

// lastTry is the try of a job after which its batch is given up and says so.
const lastTry = 8

// The types of batches, as callbacks name them.
const batchImport = "import_number"

// Jobs are the handlers of the jobs that the door adds, by kind: for whoever works the queue.
func Jobs(o Options) map[string]waihu.Handle {
	s := newServer(o)
	return map[string]waihu.Handle{jobImport: s.importJob, jobPool: s.poolJob, jobToTask: s.toTaskJob}
}

// batchBody is what a batch keeps for this door.
type batchBody struct {
	User    waihu.AccountID `json:"user"` // the main account of the request
	Errors  []addError      `json:"errors,omitempty"`
	Pool    bool            `json:"pool,omitempty"`    // the rows go to the customer pool too
	After   int64           `json:"after,omitempty"`   // the last customer that has been copied
	Message string          `json:"message,omitempty"` // why it was given up
	// Encrypted: the request was, and so is what is told of its numbers.
	Encrypted bool `json:"encrypted,omitempty"`
}

func (b *batchBody) encode() []byte {
	raw, err := json.Marshal(b)
	if err != nil {
		panic("yunfu: a batch's own fields cannot be encoded: " + err.Error()) // texts and numbers
	}
	return raw
}

// numberAddAsync takes up to 200 rows. They are judged now, as the synchronous import judges them, and added in the
// background; the answer's unique_id asks what became of them.
func (s *server) numberAddAsync(c *request) (*answer, error) {
	t, rows, codec, skip, pool, err := c.importRows(maxAsyncRows)
	if err != nil {
		return nil, err
	}
	body, good, err := judged(c, rows, skip)
	if err != nil {
		return nil, err
	}
	body.Pool, body.Encrypted = pool, codec != nil
	return s.batchAdd(c, store.Batch{Task: t.ID, Kind: batchImport, Total: len(rows)}, jobImport, body, good, "批量添加号码任务已提交")
}

// batchAdd writes a batch with its job and answers its name.
func (s *server) batchAdd(c *request, b store.Batch, kind string, body batchBody, work any, message string) (*answer, error) {
	raw, err := json.Marshal(work)
	if err != nil {
		return nil, err
	}
	b.ID, b.Account, b.Failed, b.Body = uuid.NewString(), c.acts.ID, len(body.Errors), body.encode()
	if err := s.Store.AddBatch(c.ctx, b, waihu.Job{Account: b.Account, Kind: kind, Key: b.ID, Body: raw}); err != nil {
		return nil, err
	}
	s.Wake()
	return &answer{message: message, data: map[string]any{"unique_id": b.ID, "total": b.Total, "fail_count": b.Failed, "errors": orEmpty(body.Errors)}}, nil
}

// judged parts the good rows of an import from the bad ones; without skip the first bad one refuses all.
func judged(c *request, rows []row, skip bool) (body batchBody, good []store.NewNumber, err error) {
	body.User, good = c.user.ID, []store.NewNumber{}
	for i, r := range rows {
		switch {
		case r.bad == nil:
			good = append(good, r.number)
		case !skip:
			return body, nil, r.bad
		default:
			body.Errors = append(body.Errors, addError{i, r.given, r.bad.Error()})
		}
	}
	return body, good, nil
}

// batchRows is the batch of a job with its rows; no rows at all when there is nothing to do any more: the batch was
// deleted with its account, or finished when the process died.
func (s *server) batchRows(ctx context.Context, j waihu.Job) (b store.Batch, rows []store.NewNumber, err error) {
	b, err = s.Store.Batch(ctx, j.Account, j.Key)
	if waihu.ErrorCode(err) == waihu.ENotFound || err == nil && b.State != store.BatchWaiting {
		return b, nil, nil
	}
	if err == nil {
		rows = []store.NewNumber{}
		err = json.Unmarshal(j.Body, &rows)
	}
	return b, rows, err
}

// importJob adds the numbers of an asynchronous import. Worked again after a death, it finds its own numbers in the
// task and counts them as added.
func (s *server) importJob(ctx context.Context, j waihu.Job) error {
	b, rows, err := s.batchRows(ctx, j)
	if err != nil || rows == nil {
		return err
	}
	body, err := bodyOf(&b)
	if err != nil {
		return err
	}
	if body.Pool {
		if err := s.Store.SaveCustomers(ctx, b.Account, customersOf(rows), nil); err != nil {
			return s.batchFailed(ctx, j, b, err)
		}
	}
	report, err := s.Store.AddNumbersBy(ctx, b.Account, b.Task, rows, Door)
	if err != nil {
		return s.batchFailed(ctx, j, b, err)
	}
	codec, err := s.batchCodec(ctx, b.Account, &body)
	if err != nil {
		return s.batchFailed(ctx, j, b, err)
	}
	late := map[int]bool{}
	if j.Tries == 1 { // another import was faster
		for _, i := range report.DuplicateRows {
			late[i] = true
			body.Errors = append(body.Errors, addError{i, codec.seal(string(rows[i].Phone)), duplicateText})
		}
	}
	part := store.BatchPart{Done: true, Numbers: []string{}}
	for i, r := range rows {
		if !late[i] {
			part.Numbers = append(part.Numbers, r.Key)
		}
	}
	b.State, b.Done, b.Body = store.BatchDone, len(part.Numbers), body.encode()
	b.Failed = b.Total - b.Done
	return s.Store.SaveBatch(ctx, b, &part)
}

// batchFailed gives a batch up when its task is gone or it has failed too often; else the job is tried again.
func (s *server) batchFailed(ctx context.Context, j waihu.Job, b store.Batch, why error) error {
	if ctx.Err() != nil || errors.Is(why, context.DeadlineExceeded) {
		return why
	}
	gone := waihu.ErrorCode(why) == waihu.ENotFound
	if !gone && j.Tries < lastTry {
		return why
	}
	body, err := bodyOf(&b)
	if err != nil {
		return err
	}
	body.Message = "多次尝试后仍未能完成,请重新提交"
	if gone {
		body.Message = "任务不存在"
	}
	b.State, b.Failed, b.Body = store.BatchFailed, b.Total-b.Done, body.encode()
	s.Log.Error("batch given up", "batch", b.ID, "kind", b.Kind, "tries", j.Tries, "err", why)
	return s.Store.SaveBatch(ctx, b, nil)
}

// batchCodec is how a batch's numbers are told.
func (s *server) batchCodec(ctx context.Context, account waihu.AccountID, body *batchBody) (*codec, error) {
	if !body.Encrypted {
		return nil, nil
	}
	text, err := s.Store.DoorKey(ctx, account, Door)
	if err != nil {
		return nil, err
	}
	return newCodec(text)
}

func bodyOf(b *store.Batch) (body batchBody, err error) {
	err = json.Unmarshal(b.Body, &body)
	return body, err
}

var batchStates = map[store.BatchState]string{store.BatchWaiting: "处理中", store.BatchDone: "已完成", store.BatchFailed: "失败"}

// identification is what became of a batch: the callback's body, with the progress beside it.
func (s *server) identification(c *request) (*answer, error) {
	id := c.r.PathValue("unique_id")
	if body, err := c.eventBody(id); body != nil || err != nil {
		return &answer{message: "查看回调数据成功", data: body}, err
	}
	b, err := s.Store.Batch(c.ctx, c.acts.ID, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, refused(http.StatusNotFound, "回调数据不存在")
	}
	if err != nil {
		return nil, err
	}
	body, err := bodyOf(&b)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"type": b.Kind, "mode": modeBatch, "unique_id": b.ID, "user_id": b.Account, "task_id": b.Task,
		"status": int(b.State), "status_str": batchStates[b.State], "progress": batchProgress(&b), "message": body.Message,
		"total": b.Total, "success_count": b.Done, "fail_count": b.Failed, "errors": orEmpty(body.Errors),
		"created_at": stamp(b.CreatedAt, c.loc), "finished_at": stampOrNull(b.DoneAt, c.loc), "data": map[string]any{"url": nil},
	}
	if b.State != store.BatchWaiting && b.Done > 0 {
		address, err := c.numbersAddress(b.Account, b.ID)
		if err != nil {
			return nil, err
		}
		data["data"] = map[string]any{"url": address}
	}
	return &answer{message: "查看回调数据成功", data: data}, nil
}

// batchProgress is in whole percent; 100 only when it is over.
func batchProgress(b *store.Batch) int {
	switch {
	case b.State != store.BatchWaiting:
		return 100
	case b.Total == 0:
		return 0
	}
	return min(99, (b.Done+b.Failed)*100/b.Total)
}
