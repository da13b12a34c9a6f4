package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"waihu"
)

// Backup writes a complete, consistent copy of the running ledger to a new file. Dialling and imports go on beside
// it; the write-ahead log grows until it is done. progress, when not nil, is told bytes written and expected, a few
// times a second. The file appears under its name only when it is whole; an existing one is refused. The key (secret.key)
// is not in it: keep it elsewhere, without it the trunks' passwords cannot be read.
func (s *Store) Backup(ctx context.Context, file string, progress func(written, expected int64)) error {
	if !s.d.embedded {
		return waihu.Errorf(waihu.EInvalid, "this ledger is in PostgreSQL: back it up there, for instance with: pg_dump --format=custom --file=%s DATABASE", filepath.Base(file))
	}
	if _, err := os.Lstat(file); err == nil {
		return waihu.Errorf(waihu.EConflict, "%s exists: name a new file", file)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("back up: %w", err)
	}
	part := file + ".part"
	// VACUUM INTO wants a file that is new or empty; made here, it is ours alone from the first byte on.
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return waihu.Errorf(waihu.EConflict, "%s exists: another backup is running, or one was broken off; remove the file then", part)
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer os.Remove(part)
	defer f.Close()

	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watchBackup(part, done, progress)
	}()
	err = s.vacuumInto(ctx, part)
	close(done)
	<-watched
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	// A link, unlike a rename, never replaces a file that has come meanwhile.
	if err := os.Link(part, file); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return syncFolder(filepath.Dir(file))
}

func (s *Store) vacuumInto(ctx context.Context, file string) error {
	// A connection of its own: readers refuse to write, and the writer is not to wait for a copy.
	c, err := s.write.open(ctx)
	if err != nil {
		return err
	}
	_, err = c.exec(ctx, `vacuum into $1`, file)
	return errors.Join(err, c.close())
}

func (s *Store) watchBackup(part string, done <-chan struct{}, progress func(written, expected int64)) {
	if progress == nil {
		return
	}
	size := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			return 0 // only a figure on a screen
		}
		return info.Size()
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			n := size(part)
			progress(n, n)
			return
		case <-tick.C:
			n := size(part)
			progress(n, max(n, size(filepath.Join(s.o.Dir, "waihu.db"))))
		}
	}
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
