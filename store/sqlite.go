package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	_ "modernc.org/sqlite" // registers the driver
)

// The pragmas every connection is opened with. FULL: a committed dial intent survives a power
// loss, NORMAL would forget it and dial again. The automatic checkpoint is a fallback far above
// what Maintain keeps the log at, because it runs inside a commit.
var sqlitePragmas = []string{
	"busy_timeout(10000)", "secure_delete(on)", "journal_mode(wal)", "synchronous(full)", "foreign_keys(off)",
	"temp_store(memory)", "journal_size_limit(67108864)", "cache_size(-65536)",
}

func (s *Store) openSQLite(ctx context.Context) error {
	file := filepath.Join(s.o.Dir, "waihu.db")
	dsn := func(extra ...string) string {
		v := url.Values{}
		if s.o.noSync {
			extra = append(extra, "synchronous(off)")
		}
		for _, p := range slices.Concat(sqlitePragmas, extra) {
			v.Add("_pragma", p)
		}
		return "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + v.Encode()
	}
	open := func(dsn string) func(ctx context.Context) (conn, error) {
		return func(ctx context.Context) (conn, error) {
			db, err := sql.Open("sqlite", dsn)
			if err != nil {
				return nil, err
			}
			db.SetMaxOpenConns(1)
			c, err := db.Conn(ctx)
			if err != nil {
				db.Close()
				return nil, fmt.Errorf("open %s: %w", file, err)
			}
			return &sqliteConn{db: db, c: c, stmts: map[string]*sql.Stmt{}}, nil
		}
	}
	// Only the writer asks for auto_vacuum: on a file that is there the pragma is a write transaction, and a reader that opened
	// beside an import found no gap between the writer's transactions, now and then not within busy_timeout.
	s.write = newPool(1, open(dsn("auto_vacuum(incremental)", fmt.Sprintf("wal_autocheckpoint(%d)", walTooLong))))
	s.reads = newPool(max(4, runtime.GOMAXPROCS(0)*2), open(dsn("query_only(on)", "wal_autocheckpoint(0)")))
	s.check = newPool(1, open(dsn("wal_autocheckpoint(0)")))
	s.disk = disk{dir: s.o.Dir, least: s.o.MinFree, every: time.Second}
	c, err := s.write.get(ctx) // before any reader: auto_vacuum is a matter of how the file is made
	if err != nil {
		return err
	}
	s.write.put(c)
	return nil
}

// sqliteConn keeps every statement it has run prepared: their number is the number of
// statements in this room.
type sqliteConn struct {
	db    *sql.DB
	c     *sql.Conn
	stmts map[string]*sql.Stmt
}

func (c *sqliteConn) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if st := c.stmts[text]; st != nil {
		return st, nil
	}
	st, err := c.c.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	c.stmts[text] = st
	return st, nil
}

func (c *sqliteConn) exec(ctx context.Context, text string, args ...any) (int64, error) {
	st, err := c.stmt(ctx, text)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (c *sqliteConn) query(ctx context.Context, text string, args ...any) (rows, error) {
	st, err := c.stmt(ctx, text)
	if err != nil {
		return nil, err
	}
	r, err := st.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	return sqliteRows{r}, nil
}

func (c *sqliteConn) script(ctx context.Context, text string) error {
	_, err := c.c.ExecContext(ctx, text)
	return err
}

func (c *sqliteConn) broken() bool { return false }

func (c *sqliteConn) close() error {
	for _, st := range c.stmts {
		st.Close()
	}
	c.c.Close()
	return c.db.Close()
}

type sqliteRows struct{ *sql.Rows }

func (r sqliteRows) Close() { r.Rows.Close() } // its error is Err's
