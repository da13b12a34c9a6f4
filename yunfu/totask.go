package yunfu

import (
	"context"
	"encoding/json"

	"waihu"
	"waihu/store"
)

// poolPortion is how many customers go into a task at once; a death repeats one portion at most.
const poolPortion = 500

// customerToTask copies the customers that match into the task, in the background. All of them, when nothing is
// named.
func (s *server) customerToTask(c *request) (*answer, error) {
	f, err := c.customerFilter()
	if err != nil {
		return nil, err
	}
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	if t.Started && s.RefuseImportWhileStarted {
		return nil, s.busy()
	}
	f.PerPage = 1
	_, total, err := s.Store.Customers(c.ctx, c.acts.ID, f)
	if err != nil {
		return nil, err
	}
	return s.batchAdd(c, store.Batch{Task: t.ID, Kind: batchMoved, Total: total}, jobToTask, batchBody{User: c.user.ID, Encrypted: c.keys != nil}, f, "客户公海导入任务已提交")
}

// toTaskJob goes through the pool in portions. Each is planned in the ledger before its numbers are added, so that
// after a death the numbers which are there already are known to be its own.
func (s *server) toTaskJob(ctx context.Context, j waihu.Job) error {
	b, err := s.Store.Batch(ctx, j.Account, j.Key)
	if waihu.ErrorCode(err) == waihu.ENotFound || err == nil && b.State != store.BatchWaiting {
		return nil
	}
	if err != nil {
		return err
	}
	var f store.CustomerFilter
	if err := json.Unmarshal(j.Body, &f); err != nil {
		return err
	}
	parts, err := s.Store.BatchParts(ctx, b.Account, b.ID)
	if err != nil {
		return err
	}
	for {
		more, err := s.toTaskPortion(ctx, &b, f, &parts)
		if err != nil {
			return s.batchFailed(ctx, j, b, err)
		}
		if !more {
			b.State, b.Total = store.BatchDone, b.Done+b.Failed // the pool may have moved on
			return s.Store.SaveBatch(ctx, b, nil)
		}
	}
}

func (s *server) toTaskPortion(ctx context.Context, b *store.Batch, f store.CustomerFilter, parts *[]store.BatchPart) (more bool, err error) {
	body, err := bodyOf(b)
	if err != nil {
		return false, err
	}
	list, err := s.Store.CustomersAfter(ctx, b.Account, f, body.After, poolPortion)
	if err != nil || len(list) == 0 {
		return false, err
	}
	rows := make([]store.NewNumber, len(list))
	for i := range list {
		rows[i] = numberOf(&list[i])
	}
	var part store.BatchPart
	if n := len(*parts); n > 0 && !(*parts)[n-1].Done { // planned by a process that died
		part = (*parts)[n-1]
	} else {
		there, err := s.inTask(ctx, b.Account, b.Task, rowKeys(rows))
		if err != nil {
			return false, err
		}
		part = store.BatchPart{N: n, Numbers: []string{}}
		for _, r := range rows {
			if !there[r.Key] {
				part.Numbers = append(part.Numbers, r.Key)
			}
		}
		if err := s.Store.SaveBatch(ctx, *b, &part); err != nil {
			return false, err
		}
		*parts = append(*parts, part)
	}
	planned := map[string]bool{}
	for _, key := range part.Numbers {
		planned[key] = true
	}
	var add []store.NewNumber
	for _, r := range rows {
		if planned[r.Key] {
			add = append(add, r)
		}
	}
	if _, err := s.Store.AddNumbersBy(ctx, b.Account, b.Task, add, Door); err != nil {
		return false, err
	}
	part.Done, part.Numbers = true, rowKeys(add)
	(*parts)[len(*parts)-1] = part
	body.After = list[len(list)-1].ID
	b.Done, b.Failed, b.Body = b.Done+len(add), b.Failed+len(rows)-len(add), body.encode()
	return true, s.Store.SaveBatch(ctx, *b, &part)
}

// inTask is which of the keys the task has already.
func (s *server) inTask(ctx context.Context, account waihu.AccountID, task waihu.TaskID, keys []string) (map[string]bool, error) {
	there := map[string]bool{}
	for p := 1; ; p++ {
		stored, total, err := s.Store.Numbers(ctx, account, task, store.NumberFilter{Phones: keys, Page: p, PerPage: maxPerPage})
		if err != nil {
			return nil, err
		}
		for _, n := range stored {
			there[n.Key] = true
		}
		if p*maxPerPage >= total {
			return there, nil
		}
	}
}

func rowKeys(rows []store.NewNumber) []string {
	keys := make([]string, len(rows))
	for i, r := range rows {
		keys[i] = r.Key
	}
	return keys
}
