package store

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"waihu"
)

func TestPragmas(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{Dir: t.TempDir()})
	w := &world{TB: t, Store: s, ctx: t.Context()}
	w.do(func(x *tx) error {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "auto_vacuum": "2"} {
			var got string
			if _, err := x.one(into(&got), "pragma "+pragma); err != nil || got != want {
				t.Errorf("pragma %s is %q, want %q (%v)", pragma, got, want, err)
			}
		}
		return nil
	})
	if err := s.read(t.Context(), func(x *tx) error {
		_, err := x.exec(`delete from heads`)
		return err
	}); err == nil {
		t.Error("a reader wrote")
	}
}

// TestOpeningBesideAWriter: a connection that is opened while a transaction writes does not wait for its end.
func TestOpeningBesideAWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mustOpen(t, Options{Dir: t.TempDir(), noSync: true}))
	w.do(func(x *tx) error {
		if _, err := x.exec(`delete from heads where name = 'nothing'`); err != nil {
			return err
		}
		for name, p := range map[string]*pool{"reader": w.reads, "checkpointer": w.check} {
			c, err := p.open(w.ctx)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if err := c.close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
}

func TestMigrations(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		o := Options{}
		if strings.Contains(t.Name(), "sqlite") {
			o.Dir = t.TempDir()
		} else {
			o.DSN = postgresDSN(t)
		}
		s := open(o)
		w := newWorld(t, s)
		w.task("t1")
		w.numbers("t1", 0, 5)
		before := w.recount()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		// A ledger that is up to date is opened as it is.
		s = open(o)
		w.Store = s
		if after := w.recount(); before != after {
			t.Fatalf("opening changed the ledger:\n%s\n%s", before, after)
		}
		// The next migration, cut off in the middle: nothing of it stays.
		next := append(migrations[:len(migrations):len(migrations)], `create table added (x bigint not null); insert into added (x) select count(*) from numbers;`)
		s.o.Crash = func(point string) {
			if point == "migrate.mid" {
				panic(point)
			}
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the crash point was not reached")
				}
			}()
			s.migrateOnce(t.Context(), next)
		}()
		s.o.Crash = nil
		s.Close()
		s = open(o)
		w.Store = s
		if v, err := s.version(t.Context()); err != nil || v != len(migrations) {
			t.Fatalf("version %d after a migration that was cut off, %v", v, err)
		}
		if v, err := s.migrateOnce(t.Context(), next); err != nil || v != len(next) {
			t.Fatalf("migrated to %d, %v", v, err)
		}
		w.rows(`select 'x' || x from added`, func(line string) {
			if line != "x5" {
				t.Errorf("the migration saw %s", line)
			}
		})
		s.Close()
		// Now the ledger is newer than this program.
		_, err := Open(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "version "+strconv.Itoa(len(next))) || !strings.Contains(err.Error(), "newer program") {
			t.Fatalf("opening a newer ledger: %v", err)
		}
	})
}

func TestCopyBeforeMigration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, Options{Dir: dir})
	w := newWorld(t, s)
	w.task("t1")
	w.numbers("t1", 0, 7)
	if err := s.copyBefore(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "waihu.db.before-2"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRow(`select count(*) from numbers`).Scan(&n); err != nil || n != 7 {
		t.Fatalf("the copy has %d numbers, %v", n, err)
	}
}

func TestOpenRefusals(t *testing.T) {
	t.Parallel()
	foreign := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(foreign, "waihu.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`create table settings (name text, value text)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	garbage := t.TempDir()
	if err := os.WriteFile(filepath.Join(garbage, "waihu.db"), []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"neither a data folder": {},
		"begin with postgres":   {DSN: "mysql://x"},
		"key has 5 bytes":       {Dir: t.TempDir(), Key: []byte("short")},
		"not a ledger of waihu": {Dir: foreign},
		"not a database":        {Dir: garbage},
	} {
		s, err := Open(t.Context(), o)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

func TestCallsKeepWhatHappened(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 5)
		w.task("t1")
		if _, err := w.AddNumbers(w.ctx, acme, "t1", []NewNumber{{Phone: "13800000000", Data: waihu.NumberData{Extra: "e"}}}); err != nil {
			t.Fatal(err)
		}
		w.start("t1")
		d := w.tick(&Tick{Pops: []Pop{pop("t1", 1, 1)}}).Dials[0]
		live, err := w.Call(w.ctx, acme, "t1", d.Call)
		if err != nil || !live.EndedAt.IsZero() || live.Attempt != 1 || live.Agent != "a1" {
			t.Fatalf("a live call: %+v %v", live, err)
		}
		o := &waihu.Outcome{Call: d.Call, Disposition: waihu.Answered, HangupBy: waihu.ByCallee, Caller: "02160001000",
			InviteAt: d.StartedAt, RingAt: d.StartedAt.Add(1000e6), AnswerAt: d.StartedAt.Add(2000e6), EndAt: d.StartedAt.Add(9000e6),
			Evidence:   []waihu.Evidence{{Kind: "sip", Value: "200 OK", AtMS: 2000, Confidence: 1}},
			Transcript: []waihu.Turn{{Who: "agent", Text: "您好"}, {Who: "callee", Text: "好 <&> \u2028", FromMS: 1, ToMS: 2}, {Who: "callee", Text: "再见"}},
			Tags:       []string{"完好"}, Grade: "B", Collected: map[string]string{"goods": "完好"}, Recording: "a/b.wav", Recognizer: "x", Simulated: true,
			Media: waihu.MediaStats{Codec: "pcma", Sent: 5, JitterMS: 1.5}, RetryAfter: 3e9}
		w.tick(&Tick{Book: []Booking{{LiveCall: d.LiveCall, Outcome: o, Next: waihu.NumberDone}}})
		got, err := w.Call(w.ctx, acme, "t1", d.Call)
		if err != nil || got.Phone != "13800000000" || got.Data.Extra != "e" || !got.AnsweredAt.Equal(o.AnswerAt) {
			t.Fatalf("%+v %v", got, err)
		}
		if show(t, got.Outcome) != show(t, *o) {
			t.Errorf("stored\n%s\nread\n%s", show(t, *o), show(t, got.Outcome))
		}
		for _, f := range []CallFilter{{Seq: d.Seq}, {EndedFrom: o.EndAt, EndedTo: o.EndAt}, {StartedTo: d.StartedAt}} {
			if list, total, err := w.Calls(w.ctx, acme, "t1", f); err != nil || total != 1 || len(list) != 1 {
				t.Errorf("%+v finds %d of %d, %v", f, len(list), total, err)
			}
		}
		c, err := w.CountsBetween(w.ctx, acme, "t1", d.StartedAt, o.EndAt)
		if err != nil || c.Answered != 1 || c.TalkTime != 7e9 || c.Rounds["2~5"] != 1 || c.Intention["B"] != 1 || c.Started != 1 {
			t.Errorf("between: %+v %v", c, err)
		}
		if c, err := w.CountsBetween(w.ctx, acme, "t1", d.StartedAt.Add(-1e13), d.StartedAt.Add(-1e12)); err != nil || c.Started != 0 || c.Answered != 0 {
			t.Errorf("before: %+v %v", c, err)
		}
	})
}

// TestRestartNeedNotWaitForTheLease: a process that was killed left its lease behind, and its data folder's lock proves that it
// is dead. Anybody else waits.
func TestRestartNeedNotWaitForTheLease(t *testing.T) {
	t.Parallel()
	dir, dsn := t.TempDir(), postgresDSN(t)
	s := mustOpen(t, Options{Dir: dir, DSN: dsn})
	newWorld(t, s)
	owner := s.Owner()
	if _, err := s.TakeShard(t.Context(), 0, owner, time.Minute); err == nil {
		t.Fatal("took the shard of the world's own owner")
	}
	w := &world{TB: t, Store: s, ctx: t.Context()}
	w.do(func(x *tx) error {
		_, err := x.exec(`update shards set owner = $1`, owner)
		return err
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	raw, err := os.ReadFile(filepath.Join(dir, "node"))
	if err == nil {
		err = os.WriteFile(filepath.Join(copied, "node"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{DSN: dsn}, {DSN: dsn, Dir: t.TempDir()}, {DSN: dsn, Dir: copied}} {
		other := mustOpen(t, o)
		if _, err := other.TakeShard(t.Context(), 0, other.Owner(), time.Minute); !errors.Is(err, ErrShardHeld) {
			t.Errorf("a process of another folder takes the shard beside its owner: %v", err)
		}
	}
	again := mustOpen(t, Options{Dir: dir, DSN: dsn})
	if again.Owner() == owner {
		t.Error("two lives have one name")
	}
	if _, err := again.TakeShard(t.Context(), 0, again.Owner(), time.Minute); err != nil {
		t.Errorf("the next life of the folder: %v", err)
	}
}
