package store

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is all that differs between the engines' SQL. Statements are written once, with
//
//	{lock}      the suffix that locks the selected rows (nothing on SQLite: its one writer is the lock)
//	{rows $1}   the elements of the JSON array $1 as a table r with the column value,
//	            itself an array: cast(r.value->>0 as bigint) is a row's first field
//	{bytes}     the type of a column of bytes
//	{id}        the type of a primary key of small integers
//
// and lines beginning with "postgres:" or "sqlite:" that only that engine sees (migrations).
type dialect struct {
	name     string
	embedded bool
	lock     string
	rows     string // with %s for the parameter
	bytes    string
	id       string // of small integer ids
	clock    string // the database's clock in unix ms; empty: the process's clock counts
}

var sqliteDialect = dialect{name: "sqlite", embedded: true, rows: "json_each(%s) r", bytes: "blob", id: "integer primary key"}

var postgresDialect = dialect{name: "postgres", lock: " for update", rows: "jsonb_array_elements(cast(cast(%s as text) as jsonb)) r(value)", bytes: "bytea", id: "bigint primary key",
	clock: "cast(extract(epoch from clock_timestamp())*1000 as bigint)"}

// text is the engine's text of a statement.
func (d *dialect) text(sql string) string {
	var b strings.Builder
	for line := range strings.Lines(sql) {
		if engine, rest, ok := strings.Cut(line, ":"); ok && (engine == "postgres" || engine == "sqlite") {
			if engine != d.name {
				continue
			}
			line = rest
		}
		b.WriteString(line)
	}
	out := strings.NewReplacer("{lock}", d.lock, "{bytes}", d.bytes, "{id}", d.id).Replace(b.String())
	for {
		i := strings.Index(out, "{rows ")
		if i < 0 {
			return out
		}
		n := strings.IndexByte(out[i:], '}')
		param := out[i+len("{rows ") : i+n]
		out = out[:i] + strings.Replace(d.rows, "%s", param, 1) + out[i+n+1:]
	}
}

// isDiskFull says whether the database could not grow.
func isDiskFull(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code == "53100"
	}
	var se *sqlite.Error
	return errors.As(err, &se) && se.Code()&0xff == sqlite3.SQLITE_FULL
}
