// Package store is the ledger and the shelf of resources: all SQL of waihu,
// a file per noun. It is the only room with a database driver.
//
// One SQL text runs on two engines: SQLite inside the process (the default, a
// data folder locked by one process) and PostgreSQL (when one machine is not
// enough). What differs is in dialect.go, sqlite.go and postgres.go.
//
// Guarantees:
//   - A public method is one transaction (bulk methods: one per slice) and has
//     happened, durably, when it returns nil. SQLite runs with synchronous=FULL.
//   - Every method that takes an account reaches only rows of that account;
//     anything else is ENotFound.
//   - What can be dialled is decided by Tick alone, under the fence of the
//     shard's row: a frozen owner that wakes cannot commit, and the unique index
//     calls_once refuses a second dial of one attempt whatever happens.
//   - Gauges, statistics, events and jobs move in the commit that makes them
//     true. Nothing counts rows to show progress.
//   - A write that has begun is not cancelled mid-way by its context; the
//     context counts while waiting for the turn.
//
// Concurrency: a *Store may be used by any number of goroutines. On SQLite there
// is one writer; two queues lead to it and the tick's goes first. Bulk writers
// work in short slices and give way as soon as a tick waits, so a tick waits for
// a part of one slice at most. Readers never wait for the writer.
//
// A full disk: Tick still books, but pops nothing and says waihu.ErrDiskFull;
// imports are refused. An unreachable database: every method returns the
// driver's error and nothing is assumed.
//
// To test code that uses a Store, Open one on t.TempDir(): it is real, takes
// milliseconds, and needs nothing installed.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waihu"
)

// Options say where the ledger lives.
type Options struct {
	Dir  string           // data folder: the file DIR/waihu.db on SQLite; locked while open. May be empty with DSN
	DSN  string           // "postgres://..." picks PostgreSQL
	Key  []byte           // 32 bytes: trunk passwords and the like are sealed with it
	Log  *slog.Logger     // default: discard
	Now  func() time.Time // default time.Now
	Role string           // what the lock file says of this process, default "waihu"

	// MinFree is the free space of the data folder's disk below which nothing new is dialled or
	// imported; default 200 MB. SQLite only: PostgreSQL's disk is its own server's affair.
	MinFree uint64

	// Crash is nil in the product. Tests kill the process in it at named points:
	// tick.before_commit, tick.after_commit, import.mid, migrate.mid.
	Crash func(point string)

	noSync bool // tests that do not cut the power need not wait for the disk
}

// Store is the open ledger.
type Store struct {
	o     Options
	d     dialect
	now   func() time.Time
	log   *slog.Logger
	lock  *os.File
	node  string // names the data folder
	gate  *gate
	write *pool // SQLite: one connection
	reads *pool
	check *pool // SQLite: the connection that checkpoints
	wake  chan struct{}
	disk  disk
	pages pageKeys

	positions positions
	texts     sync.Map // SQL as written -> SQL of this engine

	mu    sync.Mutex
	tasks map[waihu.TaskID]taskRef // never changes while the task exists
	names map[int64]taskRef
	low   map[int64]bound            // per task: no fresh number lies before it
	turns map[string]waihu.AccountID // by kind of job: whose turn was last

	notice     atomic.Pointer[Notice]
	maintained atomic.Bool // Maintain runs
	logWarned  time.Time   // Maintain's own

	opened   int64        // unix nano
	lastTick atomic.Int64 // unix nano; bulk writers take long slices when it is long ago
}

// Open opens the ledger, brings its tables up to date and makes it this process's own.
// It starts nothing in the background; run Maintain beside it.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Role == "" {
		o.Role = "waihu"
	}
	if o.MinFree == 0 {
		o.MinFree = 200 << 20
	}
	s := &Store{o: o, now: o.Now, opened: time.Now().UnixNano(), log: o.Log, wake: make(chan struct{}, 1),
		tasks: map[waihu.TaskID]taskRef{}, names: map[int64]taskRef{}, low: map[int64]bound{}, turns: map[string]waihu.AccountID{}}
	if len(o.Key) != 0 && len(o.Key) != 32 {
		return nil, fmt.Errorf("open the ledger: the key has %d bytes, 32 were expected", len(o.Key))
	}
	if o.Dir == "" && o.DSN == "" {
		return nil, errors.New("open the ledger: neither a data folder nor a database address is given")
	}
	if o.Dir != "" {
		var err error
		if s.lock, err = lockFolder(o.Dir, o.Role); err != nil {
			return nil, err
		}
		if s.node, err = nodeName(o.Dir); err != nil {
			s.lock.Close()
			return nil, err
		}
	}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	switch {
	case s.o.DSN == "":
		s.d = sqliteDialect
		s.gate = newGate(1)
		if err := s.openSQLite(ctx); err != nil {
			return err
		}
	case strings.HasPrefix(s.o.DSN, "postgres://") || strings.HasPrefix(s.o.DSN, "postgresql://"):
		s.d = postgresDialect
		s.gate = newGate(postgresWriters)
		if err := s.openPostgres(); err != nil {
			return err
		}
	default:
		return errors.New("the database address must begin with postgres://")
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.checkSums(ctx); err != nil {
		return err
	}
	if s.d.embedded {
		// The folder's lock proves that no former owner lives, so nobody has to wait for its lease.
		return s.update(ctx, urgent, func(t *tx) error {
			if _, err := t.exec(`update shards set lease_until = 0`); err != nil {
				return err
			}
			_, err := t.exec(sqlFreeJobs, ms(s.now()))
			return err
		})
	}
	return nil
}

// Close waits for the write in progress and closes the ledger.
func (s *Store) Close() error {
	var errs []error
	for _, p := range []*pool{s.check, s.reads, s.write} {
		if p != nil {
			errs = append(errs, p.close())
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close()) // closing releases the lock
		s.lock = nil
	}
	return errors.Join(errs...)
}

// Wake receives after any commit of this process that may change what can be dialled:
// start, stop, import, reset, an edited line. Several commits may share one value.
func (s *Store) Wake() <-chan struct{} { return s.wake }

func (s *Store) wakeOwner() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Store) crash(point string) {
	if s.o.Crash != nil {
		s.o.Crash(point)
	}
}

// ms and at translate between time.Time and the ledger's unix milliseconds; 0 is the zero time.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func notFound(what string, id any) error {
	return waihu.Errorf(waihu.ENotFound, "no %s %v", what, id)
}

func conflict(cause error, format string, args ...any) error {
	e := waihu.Errorf(waihu.EConflict, format, args...)
	e.Cause = cause
	return e
}
