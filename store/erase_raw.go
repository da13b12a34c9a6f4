package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"waihu"
)

// settle takes erased content out of where the engine still keeps it. SQLite overwrites what is deleted (secure_delete); its log
// is copied and cut. PostgreSQL's tables are vacuumed; its own log and file system are its server's.
func (s *Store) settle(ctx context.Context, touched map[string]bool) error {
	if !s.d.embedded {
		return s.vacuumTables(ctx, touched)
	}
	return s.cutLog(ctx)
}

func (s *Store) vacuumTables(ctx context.Context, touched map[string]bool) error {
	c, err := s.write.get(ctx)
	if err != nil {
		return err
	}
	defer s.write.put(c)
	for name := range touched {
		if _, err := c.exec(ctx, `vacuum `+name); err != nil {
			return fmt.Errorf("vacuum %s: %w", name, err)
		}
	}
	return nil
}

// How often, and how long apart, the log is tried to be cut: it needs a moment without a reader of an old state.
const (
	cutTries = 100
	cutPause = 50 * time.Millisecond
)

var errLogStays = waihu.Errorf(waihu.EUnavailable, "the rows are erased, but the database's write-ahead log could not be cut because readers hold old states: erase once more")

// cutLog copies the whole log into the database and cuts it to nothing. It waits for readers without holding the writer up.
func (s *Store) cutLog(ctx context.Context) error {
	for range cutTries {
		busy := 1
		if err := s.gate.enter(ctx, normal); err != nil {
			return err
		}
		err := func() error {
			defer s.gate.leave()
			c, err := s.check.get(ctx)
			if err != nil {
				return err
			}
			defer s.check.put(c)
			t := &tx{s: s, c: c, ctx: context.WithoutCancel(ctx)}
			if err := c.script(t.ctx, `pragma busy_timeout(1)`); err != nil {
				return err
			}
			var log, done int
			_, err = t.one(into(&busy, &log, &done), `pragma wal_checkpoint(truncate)`)
			return errors.Join(err, c.script(t.ctx, `pragma busy_timeout(10000)`))
		}()
		if err == nil && busy == 0 {
			return nil
		}
		if err != nil && !strings.Contains(err.Error(), "locked") && !strings.Contains(err.Error(), "busy") {
			return err
		}
		select {
		case <-time.After(cutPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errLogStays
}

// Traces are the files of the data folder, but for sound, in which the digits of a number still stand: copies of the ledger from before a
// migration, a journal; the ledger itself when another account has the number or settings name it. It reads everything.
func (s *Store) Traces(ctx context.Context, phone waihu.PhoneNumber) (files []string, err error) {
	if s.o.Dir == "" {
		return nil, nil
	}
	digits := newMatcher(phone.Forms()).digits
	err = filepath.WalkDir(s.o.Dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) == ".wav" {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		found, err := holds(path, []byte(digits))
		if found {
			name, _ := filepath.Rel(s.o.Dir, path) // it lies below
			files = append(files, name)
		}
		return err
	})
	slices.Sort(files)
	return files, err
}

func holds(path string, digits []byte) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := f.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], digits) {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		tail := min(len(digits)-1, kept+n) // a number may lie across two pieces
		copy(buf, buf[kept+n-tail:kept+n])
		kept = tail
	}
}
