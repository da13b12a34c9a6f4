package store

import (
	"context"

	"waihu"
)

// CallsAfter are up to limit calls of the task whose ids follow after, with their details, in the order of their beginnings. Each page is a
// statement of its own: nothing is held between two. Calls that never left are not among them.
func (s *Store) CallsAfter(ctx context.Context, account waihu.AccountID, task waihu.TaskID, after waihu.CallID, limit int) (list []waihu.Call, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		list = nil
		return t.eachCall(ref, func(c waihu.Call) { list = append(list, c) }, `c.task = $1 and c.id > $2 and c.outcome <> 17 order by c.id limit $3`,
			ref.serial, int64(after), min(max(limit, 1), maxPerPage))
	})
	return list, err
}
