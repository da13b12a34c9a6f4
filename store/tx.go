package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"waihu"
)

// tx runs statements on one connection: a write transaction in update, plain statements in read.
type tx struct {
	moves []move // what it does to positions
	stale bool   // lists have lost rows: remembered places of pages are forgotten after the commit
	s     *Store
	c     conn
	ctx   context.Context

	heads map[waihu.AccountID]int64 // the last numbers of accounts that got events
}

// update runs f in one write transaction and commits it. The context counts until the turn has
// come; after that the transaction runs to its end. f must not keep t, and must close its rows.
func (s *Store) update(ctx context.Context, u urgency, f func(t *tx) error) error {
	return s.updateThen(ctx, u, f, "", "")
}

// updateThen is update with crash points around the commit.
func (s *Store) updateThen(ctx context.Context, u urgency, f func(t *tx) error, before, after string) error {
	if err := s.gate.enter(ctx, u); err != nil {
		return err
	}
	defer s.gate.leave()
	c, err := s.write.get(ctx)
	if err != nil {
		return err
	}
	defer s.write.put(c)
	ctx = context.WithoutCancel(ctx)
	if !s.d.embedded { // a server that hangs must not hold the writer for ever; SQLite has no such wait
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
	}
	t := &tx{s: s, c: c, ctx: ctx}
	begin := "begin"
	if s.d.embedded {
		begin = "begin immediate"
	}
	if u == relaxed && s.d.embedded && !s.o.noSync {
		defer fullSync(ctx, c)
		if err := c.script(ctx, "pragma synchronous = normal"); err != nil { // no prepared statement: this pragma acts when it is compiled
			return err
		}
	}
	if _, err := c.exec(ctx, begin); err != nil {
		return diskError(err)
	}
	if u == relaxed && !s.d.embedded {
		if err := c.script(ctx, "set local synchronous_commit = off"); err != nil {
			c.exec(ctx, "rollback") // the first error says why
			return err
		}
	}
	finished, committed := false, false
	defer func() { s.positions.settled(t.moves, committed) }()
	defer func() {
		if !finished { // f panicked: the connection must not stay inside its transaction
			c.exec(ctx, "rollback")
		}
	}()
	err = f(t)
	finished = true
	if err != nil {
		_, rerr := c.exec(ctx, "rollback") // fails when the engine has rolled back by itself: the first error says why
		if rerr != nil && s.d.embedded && !strings.Contains(rerr.Error(), "no transaction") {
			err = errors.Join(err, fmt.Errorf("roll back: %w", rerr))
		}
		return diskError(err)
	}
	if before != "" {
		s.crash(before)
	}
	if _, err := c.exec(ctx, "commit"); err != nil {
		c.exec(ctx, "rollback") // a commit that failed may leave the transaction open; the commit's error counts
		return diskError(fmt.Errorf("commit: %w", err))
	}
	committed = true
	if t.stale {
		s.pages.drop()
	}
	if after != "" {
		s.crash(after)
	}
	s.eventsWritten(t.heads)
	return nil
}

// fullSync makes the connection's commits wait for the disk again. Without that a dial intent could be forgotten, so there is no going on.
func fullSync(ctx context.Context, c conn) {
	if err := c.script(ctx, "pragma synchronous = full"); err != nil {
		panic("store: commits cannot be made durable again: " + err.Error())
	}
}

func diskError(err error) error {
	if isDiskFull(err) {
		return fmt.Errorf("%w: %w", waihu.ErrDiskFull, err)
	}
	return err
}

// read runs f with statements that each see a fresh, consistent state. There is no transaction
// around them: nothing holds a snapshot while bytes go to a client.
func (s *Store) read(ctx context.Context, f func(t *tx) error) error {
	c, err := s.reads.get(ctx)
	if err != nil {
		return err
	}
	defer s.reads.put(c)
	return f(&tx{s: s, c: c, ctx: ctx})
}

// snapshot is read where all statements must see one state. Keep it short.
func (s *Store) snapshot(ctx context.Context, f func(t *tx) error) error {
	return s.read(ctx, func(t *tx) error {
		begin := "begin isolation level repeatable read read only"
		if s.d.embedded {
			begin = "begin"
		}
		if _, err := t.exec(begin); err != nil {
			return err
		}
		err := f(t)
		t.ctx = context.WithoutCancel(ctx)
		if _, rerr := t.exec("rollback"); err == nil {
			err = rerr
		}
		return err
	})
}

// text is the engine's text of a statement, translated once.
func (s *Store) text(sql string) string {
	if v, ok := s.texts.Load(sql); ok {
		return v.(string)
	}
	out := s.d.text(sql)
	s.texts.Store(sql, out)
	return out
}

// exec runs one statement and says how many rows it changed.
func (t *tx) exec(sql string, args ...any) (int64, error) {
	n, err := t.c.exec(t.ctx, t.s.text(sql), args...)
	if err != nil {
		return n, sqlError(sql, err)
	}
	return n, nil
}

// each runs one statement and calls f for every row, with Scan.
func (t *tx) each(f func(scan func(dest ...any) error) error, sql string, args ...any) error {
	r, err := t.c.query(t.ctx, t.s.text(sql), args...)
	if err != nil {
		return sqlError(sql, err)
	}
	defer r.Close()
	for r.Next() {
		if err := f(r.Scan); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil {
		return sqlError(sql, err)
	}
	return nil
}

// one scans the first row into dest and says whether there was one.
func (t *tx) one(dest []any, sql string, args ...any) (bool, error) {
	found := false
	err := t.each(func(scan func(...any) error) error {
		if found {
			return nil
		}
		found = true
		return scan(dest...)
	}, sql, args...)
	return found, err
}

// into is the list of destinations of one.
func into(dest ...any) []any { return dest }

// sqlError names the statement by its first line: enough to find it, and without any values.
func sqlError(sql string, err error) error {
	first, _, _ := strings.Cut(strings.TrimSpace(sql), "\n")
	return fmt.Errorf("%s: %w", first, err)
}

// jsonRows is the parameter of {rows $n}.
func jsonRows(rows [][]any) (string, error) {
	b, err := json.Marshal(rows)
	return string(b), err
}

// head raises the counter name by n and returns its new value: ids, sequence numbers and event
// numbers, without gaps because the counter rolls back with the transaction.
func (t *tx) head(name string, n int64) (int64, error) {
	var v int64
	_, err := t.one(into(&v), `insert into heads (name, n) values ($1, $2)
		on conflict (name) do update set n = heads.n + excluded.n returning n`, name, n)
	return v, err
}

// headAtLeast raises the counter name to at least n: an id was given from outside.
func (t *tx) headAtLeast(name string, n int64) error {
	_, err := t.exec(`insert into heads (name, n) values ($1, $2)
		on conflict (name) do update set n = case when heads.n < excluded.n then excluded.n else heads.n end`, name, n)
	return err
}

// inTurns works through something large in slices of a transaction each, giving way to ticks:
// f is called with more = "go on with this slice?" and says whether all is done; committed is called after
// each slice's commit, so that what it counts is true also when the work is broken off right after it.
func (s *Store) inTurns(ctx context.Context, f func(t *tx, more func() bool) (done bool, err error), committed func()) error {
	for {
		s.holdBulk(ctx)
		var done bool
		start := time.Now()
		err := s.update(ctx, normal, func(t *tx) (err error) {
			done, err = f(t, s.slice())
			return err
		})
		if err != nil {
			return err
		}
		committed()
		if done {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !s.d.embedded && s.campaign() {
			// The server works at both at once: leave it half of the time, at most, to the bulk.
			select {
			case <-time.After(min(time.Since(start), 50*time.Millisecond)):
			case <-ctx.Done():
			}
		}
	}
}

// slice returns a function that holds until the slice's time is over or a tick waits. A slice
// lasts at most 10 ms beside a campaign; with no tick for a second it may last 200 ms, because
// many rows a commit are cheaper. It is asked after every few rows.
func (s *Store) slice() func() bool {
	limit := 4 * time.Millisecond // the commit takes as much again
	if !s.campaign() {
		limit = 200 * time.Millisecond
	}
	start := time.Now()
	return func() bool {
		return time.Since(start) < limit && !s.gate.urgentWaits()
	}
}

// campaign says whether ticks are going on in this process.
func (s *Store) campaign() bool {
	return time.Now().UnixNano()-s.lastTick.Load() < int64(time.Second)
}
