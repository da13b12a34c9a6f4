package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"waihu"
)

// What Maintain keeps SQLite's log at, in pages of 4 KiB. A checkpoint copies the log into the
// database beside the writer; the log begins anew when a checkpoint has caught up with the writer,
// which only needs a moment without bulk writing.
const (
	maintainEvery = 100 * time.Millisecond
	walCheckpoint = 2000   // copy when so many pages wait: often and little, because its sync delays commits
	walHold       = 16_000 // bulk writers wait while the log is longer
	walTooLong    = 64_000 // SQLite's own checkpoint inside a commit: the last resort
	holdAtMost    = time.Second
	vacuumPages   = 200 // free pages given back to the disk per turn
	deletionEvery = time.Minute
)

// Maintain keeps the ledger's files small and finishes interrupted deletions, until the context
// ends. Run it beside the rest, once; without it everything works, but SQLite's checkpoints fall
// into commits and free pages stay.
func (s *Store) Maintain(ctx context.Context) error {
	s.maintained.Store(true)
	defer s.maintained.Store(false)
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	var deletions time.Time
	for {
		err := s.keepLogShort(ctx)
		if err == nil && time.Since(deletions) > deletionEvery {
			deletions = time.Now()
			if err = s.finishDeletions(ctx); err == nil && s.d.embedded {
				err = s.vacuum(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("maintain the ledger", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// keepLogShort checkpoints until little is left; while the log is long it keeps at it, so that it can begin anew.
func (s *Store) keepLogShort(ctx context.Context) error {
	if !s.d.embedded {
		return nil
	}
	for range 20 {
		length, waiting := s.logPages()
		if waiting < walCheckpoint && (length < walHold || waiting == 0) {
			return nil
		}
		if err := s.checkpoint(ctx); err != nil {
			return err
		}
	}
	if length, _ := s.logPages(); length > 2*walHold && time.Since(s.logWarned) > time.Minute {
		s.logWarned = time.Now()
		s.log.Warn("the database's log stays long: a reader holds an old state, or the disk is slow", "bytes", length*4096)
	}
	return nil
}

// logPages is how long SQLite's log is and how much of it has not been copied into the database,
// read from the header of the shared-memory file (sqlite.org/walformat.html: mxFrame at 16, nBackfill
// at 96, both in the machine's byte order). A guide only: nothing but the timing of checkpoints hangs on it.
func (s *Store) logPages() (length, waiting uint32) {
	f, err := os.Open(filepath.Join(s.o.Dir, "waihu.db-shm"))
	if err != nil {
		return 0, 0 // no log yet
	}
	defer f.Close()
	var head [100]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, 0
	}
	length = binary.NativeEndian.Uint32(head[16:])
	copied := binary.NativeEndian.Uint32(head[96:])
	return length, length - min(copied, length)
}

// holdBulk lets a bulk writer wait while the log is long, so that a checkpoint can catch up; ticks go on.
// It gives up after a while: a reader may hold an old state, and the import must go on.
func (s *Store) holdBulk(ctx context.Context) {
	if !s.d.embedded || !s.maintained.Load() {
		return
	}
	for end := time.Now().Add(holdAtMost); time.Now().Before(end); {
		length, waiting := s.logPages()
		if length < walHold || waiting == 0 { // with nothing waiting the next write begins the log anew
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// checkpoint copies what it can of the log on a connection of its own, beside the writer.
func (s *Store) checkpoint(ctx context.Context) error {
	c, err := s.check.get(ctx)
	if err != nil {
		return err
	}
	defer s.check.put(c)
	t := &tx{s: s, c: c, ctx: context.WithoutCancel(ctx)}
	var busy, log, done int
	if _, err := t.one(into(&busy, &log, &done), `pragma wal_checkpoint(passive)`); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// vacuum gives free pages back, a few at a time.
func (s *Store) vacuum(ctx context.Context) error {
	var free int
	if err := s.read(ctx, func(t *tx) error {
		_, err := t.one(into(&free), `pragma freelist_count`)
		return err
	}); err != nil || free < 10*vacuumPages {
		return err
	}
	return s.update(ctx, normal, func(t *tx) error {
		return t.c.script(t.ctx, fmt.Sprintf(`pragma incremental_vacuum(%d)`, vacuumPages))
	})
}

// finishDeletions removes the rows of tasks that were marked deleted when a process died, or of which nobody has to be told any more.
func (s *Store) finishDeletions(ctx context.Context) error {
	var refs []taskRef
	var since []time.Time
	if err := s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var r taskRef
			var deleted int64
			err := scan(&r.id, &r.serial, &r.account, &deleted)
			refs, since = append(refs, r), append(since, at(deleted))
			return err
		}, `select id, serial, account, updated_at from tasks where deleted = 1`)
	}); err != nil {
		return err
	}
	for i, r := range refs {
		untold := false
		if err := s.update(ctx, normal, func(t *tx) (err error) {
			untold, err = t.untold(r, since[i])
			return err
		}); err != nil {
			return err
		}
		if untold {
			continue
		}
		if err := s.eraseTask(ctx, r); err != nil {
			return fmt.Errorf("finish the deletion of task %s: %w", r.id, err)
		}
	}
	return nil
}

// Ready says what stands against dialling: waihu.ErrDiskFull, or a database that does not answer. Nil when all is well.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.disk.full(time.Now()); err != nil {
		return err
	}
	if err := s.read(ctx, func(t *tx) error {
		var n int
		_, err := t.one(into(&n), `select count(*) from shards`)
		return err
	}); err != nil {
		e := waihu.Errorf(waihu.EUnavailable, "the database does not answer")
		e.Cause = err
		return e
	}
	return nil
}
