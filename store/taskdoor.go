package store

import (
	"context"

	"waihu"
)

// FinishTask ends a task for good in the words of a door, in one commit: an open run closes as by an operator, keep makes what the door keeps of the task
// from the number of its last run (0: none), and the event task.finished tells. That no run follows is the door's to see to.
func (s *Store) FinishTask(ctx context.Context, account waihu.AccountID, id waihu.TaskID, door string, keep func(k *waihu.Task, run int) []byte) error {
	err := s.update(ctx, normal, func(t *tx) error {
		k, last, err := t.lockTask(account, id)
		if err != nil {
			return err
		}
		b, now := newBatch(), s.now()
		if k.Started {
			if _, err := t.closeRun(b, k.ref(), last, waihu.RunStopped, "", now); err != nil {
				return err
			}
		}
		doors := map[string][]byte{}
		for name, kept := range k.Doors {
			doors[name] = kept
		}
		doors[door] = keep(&k.Task, last)
		text, err := encodeDoors(doors)
		if err != nil {
			return waihu.FieldErrorf("doors", "not JSON: %v", err)
		}
		if _, err := t.exec(`update tasks set doors = $2, updated_at = $3 where serial = $1`, k.Serial, text, ms(now)); err != nil {
			return err
		}
		b.event(waihu.EventTaskFinished, account, id, now, 0, runBody{Run: last})
		if _, err := t.endRuns(b, []runKey{{k.Serial, last}}, now); err != nil {
			return err
		}
		return t.flush(b)
	})
	if err == nil {
		s.wakeOwner()
	}
	return err
}

// SetTaskDoor keeps what one door remembers of the task, a JSON document, whether the task is started or not. It is not a change of
// the task: UpdatedAt stays.
func (s *Store) SetTaskDoor(ctx context.Context, account waihu.AccountID, id waihu.TaskID, door string, data []byte) error {
	return s.update(ctx, normal, func(t *tx) error {
		k, _, err := t.lockTask(account, id)
		if err != nil {
			return err
		}
		doors := map[string][]byte{}
		for name, kept := range k.Doors {
			doors[name] = kept
		}
		doors[door] = data
		text, err := encodeDoors(doors)
		if err != nil {
			return waihu.FieldErrorf("doors", "not JSON: %v", err)
		}
		_, err = t.exec(`update tasks set doors = $2 where serial = $1`, k.Serial, text)
		return err
	})
}

// LastRun is the task's last run; ok is false when it was never started.
func (s *Store) LastRun(ctx context.Context, account waihu.AccountID, id waihu.TaskID) (run waihu.Run, ok bool, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, id)
		if err != nil {
			return err
		}
		ok = false
		return t.eachRun(`where task = $1 order by n desc limit 1`, func(_ int64, r waihu.Run) {
			run, ok = r, true
			run.Task = id
		}, ref.serial)
	})
	return run, ok, err
}
