package store

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

//go:embed migration001.sql
var migration001 string

//go:embed migration002.sql
var migration002 string

//go:embed migration003.sql
var migration003 string

//go:embed migration004.sql
var migration004 string

//go:embed migration005.sql
var migration005 string

//go:embed migration006.sql
var migration006 string

//go:embed migration007.sql
var migration007 string

//go:embed migration008.sql
var migration008 string

//go:embed migration009.sql
var migration009 string

// migrations in order; the version of a ledger is how many of them it has. Never edit one
// that has been released: add another.
var migrations = []string{
	migration001, migration002, migration003, migration004, migration005,
	migration006, migration007, migration008, migration009,
}

// migrate brings the ledger to this binary's version: each migration in a transaction of its own,
// on SQLite after a copy of the file has been made. A newer ledger is refused.
func (s *Store) migrate(ctx context.Context) error {
	version, err := s.version(ctx)
	if err != nil {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("the ledger has version %d and this program knows only %d: use the newer program", version, len(migrations))
	}
	if version == len(migrations) {
		return nil
	}
	if version > 0 && s.d.embedded {
		if err := s.copyBefore(ctx, version); err != nil {
			return fmt.Errorf("copy the ledger before migrating it: %w", err)
		}
	}
	for version < len(migrations) {
		if version, err = s.migrateOnce(ctx, migrations); err != nil {
			return err
		}
		s.log.Info("ledger migrated", "version", version, "engine", s.d.name)
	}
	return nil
}

// migrateOnce applies the next migration, unless another process was faster, and returns the version reached.
func (s *Store) migrateOnce(ctx context.Context, list []string) (version int, err error) {
	err = s.update(ctx, normal, func(t *tx) error {
		if !s.d.embedded { // two processes may start at once
			if _, err := t.exec(`select pg_advisory_xact_lock(7246)`); err != nil {
				return err
			}
		}
		if version, err = t.version(); err != nil || version >= len(list) {
			return err
		}
		if err := t.c.script(t.ctx, s.d.text(list[version])); err != nil {
			return fmt.Errorf("migration %d: %w", version+1, err)
		}
		s.crash("migrate.mid")
		version++
		_, err := t.exec(`insert into settings (name, value) values ('version', $1) on conflict (name) do update set value = excluded.value`,
			strconv.Itoa(version))
		return err
	})
	return version, err
}

func (s *Store) version(ctx context.Context) (v int, err error) {
	err = s.read(ctx, func(t *tx) error {
		v, err = t.version()
		return err
	})
	return v, err
}

// version is 0 for an empty database.
func (t *tx) version() (int, error) {
	exists := `select count(*) from sqlite_master where type = 'table' and name = 'settings'`
	if !t.s.d.embedded {
		exists = `select count(*) from pg_tables where schemaname = current_schema() and tablename = 'settings'`
	}
	var n int
	if _, err := t.one(into(&n), exists); err != nil || n == 0 {
		return 0, err
	}
	var value string
	found, err := t.one(into(&value), `select value from settings where name = 'version'`)
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("the database has a table \"settings\" without a version: it is not a ledger of waihu")
	}
	v, err := strconv.Atoi(value)
	if err != nil || v < 1 {
		return 0, fmt.Errorf("the ledger's version %q is not a number: it is damaged or not a ledger of waihu", value)
	}
	return v, nil
}

// copyBefore writes DIR/waihu.db.before-N, complete and consistent.
func (s *Store) copyBefore(ctx context.Context, version int) error {
	file := filepath.Join(s.o.Dir, "waihu.db.before-"+strconv.Itoa(version+1))
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		return err // a copy left by an attempt that failed
	}
	c, err := s.write.get(ctx)
	if err != nil {
		return err
	}
	defer s.write.put(c)
	if _, err := c.exec(ctx, `vacuum into $1`, file); err != nil {
		return err
	}
	s.log.Info("ledger copied before migration", "file", file)
	return nil
}
