package store

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresWriters is how many transactions may write at once: the tick, an import, edits.
const postgresWriters = 6

// The plans are pinned: every statement of the ledger is meant to be an index scan in index order,
// and a plan cached while a table was small or unanalysed must not turn into a scan, a hash or a
// sort of a million rows (ledger.md, planner traps). explain_test.go holds them to it.
var postgresPlans = map[string]string{
	"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "enable_sort": "off", "jit": "off",
}

var postgresWriterParams = map[string]string{
	"synchronous_commit": "on", "idle_in_transaction_session_timeout": "30000", "lock_timeout": "30000",
}

var postgresReaderParams = map[string]string{
	"default_transaction_read_only": "on", "statement_timeout": "60000", "idle_in_transaction_session_timeout": "30000",
}

func (s *Store) openPostgres() error {
	open := func(params map[string]string) (func(ctx context.Context) (conn, error), error) {
		cfg, err := pgx.ParseConfig(s.o.DSN)
		if err != nil {
			return nil, fmt.Errorf("read the database address: %w", err)
		}
		maps.Copy(cfg.RuntimeParams, postgresPlans)
		maps.Copy(cfg.RuntimeParams, params)
		cfg.RuntimeParams["application_name"] = s.o.Role
		if cfg.ConnectTimeout == 0 {
			cfg.ConnectTimeout = 10 * time.Second
		}
		return func(ctx context.Context) (conn, error) {
			c, err := pgx.ConnectConfig(ctx, cfg)
			if err != nil {
				return nil, err
			}
			return &postgresConn{c}, nil
		}, nil
	}
	w, err := open(postgresWriterParams)
	if err != nil {
		return err
	}
	r, err := open(postgresReaderParams)
	if err != nil {
		return err
	}
	s.write, s.reads = newPool(postgresWriters, w), newPool(8, r)
	return nil
}

type postgresConn struct{ c *pgx.Conn }

func (c *postgresConn) exec(ctx context.Context, text string, args ...any) (int64, error) {
	tag, err := c.c.Exec(ctx, text, args...)
	return tag.RowsAffected(), err
}

func (c *postgresConn) query(ctx context.Context, text string, args ...any) (rows, error) {
	r, err := c.c.Query(ctx, text, args...)
	return r, err
}

func (c *postgresConn) script(ctx context.Context, text string) error {
	_, err := c.c.PgConn().Exec(ctx, text).ReadAll()
	return err
}

// broken also holds for a connection left inside a transaction.
func (c *postgresConn) broken() bool {
	return c.c.IsClosed() || c.c.PgConn().TxStatus() != 'I'
}

func (c *postgresConn) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.c.Close(ctx)
}

// copyNumbers fills the connection's temporary table import_numbers, which empties itself at the commit.
func (c *postgresConn) copyNumbers(ctx context.Context, rows []importRow) error {
	if _, err := c.c.Exec(ctx, `create temporary table if not exists import_numbers (i bigint, key text, phone text, data text, rnd bigint) on commit delete rows`); err != nil {
		return err
	}
	_, err := c.c.CopyFrom(ctx, pgx.Identifier{"import_numbers"}, []string{"i", "key", "phone", "data", "rnd"},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			r := &rows[i]
			return []any{int64(i + 1), r.key, r.phone, r.data, r.rnd}, nil
		}))
	return err
}
