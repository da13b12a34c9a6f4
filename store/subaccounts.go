package store

import (
	"context"

	"waihu"
)

// DeleteSubAccount removes a sub-account of parent with its tokens, agents, hours and rules, and its tasks with their
// numbers and calls, its customers, endpoints and its money; its events stay. From the commit on nobody sees it; what is large goes in slices, and
// Maintain finishes what was interrupted. It is refused while a run of its tasks has not ended, and while it owns
// lines: other tasks may depend on them.
func (s *Store) DeleteSubAccount(ctx context.Context, parent, id waihu.AccountID) error {
	var refs []taskRef
	if err := s.update(ctx, normal, func(t *tx) error {
		refs = nil
		a, err := t.account(id)
		if err != nil {
			return err
		}
		if parent == "" || a.Parent != parent {
			return notFound("account", id)
		}
		var line waihu.LineID
		if owns, err := t.one(into(&line), `select id from lines where account = $1 limit 1`, id); err != nil {
			return err
		} else if owns {
			return conflict(nil, "the account owns line %s: remove its lines first", line)
		}
		var ids []waihu.TaskID
		if err := t.each(func(scan func(...any) error) error {
			var task waihu.TaskID
			err := scan(&task)
			ids = append(ids, task)
			return err
		}, `select id from tasks where account = $1 and deleted = 0 order by serial`, id); err != nil {
			return err
		}
		for _, task := range ids {
			k, _, err := t.lockTask(id, task)
			if err != nil {
				return err
			}
			if err := t.runsAlive(k.ref()); err != nil {
				return err
			}
			refs = append(refs, k.ref())
		}
		if err := t.removeEndpoints(id); err != nil {
			return err
		}
		for _, sql := range []string{
			`update tasks set deleted = 1, started = 0 where account = $1`,
			`delete from tokens where account = $1`,
			`delete from door_keys where account = $1`,
			`delete from agent_names where agent in (select id from agents where account = $1)`,
			`delete from agent_externals where account = $1`,
			`delete from agent_files where job in (select id from agent_jobs where account = $1)`,
			`delete from agent_jobs where account = $1`,
			`delete from agent_versions where agent in (select id from agents where account = $1)`,
			`delete from agents where account = $1`,
			`delete from hours where account = $1`,
			`delete from redial_rules where account = $1`,
			`delete from named where account = $1`,
			`delete from suppressed where account = $1`,
			`delete from jobs where account = $1`,
			`delete from batch_parts where batch in (select id from batches where account = $1)`,
			`delete from batches where account = $1`,
			`delete from customer_fields where customer in (select id from customers where account = $1)`,
			`delete from customers where account = $1`,
			`delete from field_names where account = $1`,
			`delete from balances where account = $1`,
			`delete from charges where account = $1`,
			`delete from allocations where account = $1`,
			`delete from bills where account = $1`,
			`delete from accounts where id = $1`,
		} {
			if _, err := t.exec(sql, id); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, ref := range refs {
		if err := s.eraseTask(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}
