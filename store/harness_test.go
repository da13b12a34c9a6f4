package store

import (
	"context"
	"strconv"
	"testing"
	"time"

	"waihu"
)

// The conformance tests run on both engines: SQLite always, PostgreSQL as postgres_test.go says.

// engines runs f on both engines; open opens a new ledger each time unless the options name one.
func engines(t *testing.T, f func(t *testing.T, open func(Options) *Store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, func(o Options) *Store {
			if o.Dir == "" {
				o.Dir = t.TempDir()
			}
			o.noSync = true
			return mustOpen(t, o)
		})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		f(t, func(o Options) *Store {
			if o.DSN == "" {
				o.DSN = postgresDSN(t)
			}
			return mustOpen(t, o)
		})
	})
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the ledger: %v", err)
		}
	})
	return s
}

// world is a ledger with an account, lines and tasks, and an owner.
type world struct {
	testing.TB
	*Store
	ctx   context.Context
	epoch int64
	next  int64
}

const (
	acme     = waihu.AccountID("acme")
	stranger = waihu.AccountID("stranger")
)

func newWorld(t testing.TB, s *Store) *world {
	t.Helper()
	w := &world{TB: t, Store: s, ctx: context.Background()}
	w.do(func(x *tx) error {
		for _, a := range []waihu.AccountID{acme, stranger} {
			if _, err := x.exec(`insert into accounts (id, parent, name, email, phone, zone, doors, created_at, updated_at) values ($1, '', '', '', '', '', '{}', 0, 0)`, a); err != nil {
				return err
			}
		}
		return nil
	})
	w.takeShard()
	return w
}

func (w *world) do(f func(x *tx) error) {
	w.Helper()
	if err := w.update(w.ctx, normal, f); err != nil {
		w.Fatal(err)
	}
}

func (w *world) takeShard() {
	w.Helper()
	var err error
	if w.epoch, err = w.TakeShard(w.ctx, 0, "test", time.Minute); err != nil {
		w.Fatal(err)
	}
	w.next = 0
}

func (w *world) nextCall() (waihu.CallID, bool) {
	w.next++
	return waihu.NewCallID(0, w.epoch, w.next), w.next <= waihu.MaxCallSeq
}

func (w *world) line(id waihu.LineID, channels int) {
	w.Helper()
	w.do(func(x *tx) error {
		_, err := x.exec(`insert into lines (id, account, name, remark, node, concurrency, cps, expires_at, trunk, created_at, updated_at)
			values ($1, $2, $3, '', '', $4, 0, 0, '{"uri":"sim:"}', 0, 0)`, id, acme, "line "+string(id), channels)
		return err
	})
}

// task makes a task of acme that is not started; its concurrency is 10 unless given.
func (w *world) task(id waihu.TaskID, edit ...func(*waihu.Task)) *waihu.Task {
	w.Helper()
	k := &waihu.Task{ID: id, Account: acme, Name: string(id), Agent: "a1", Concurrency: 10}
	for _, f := range edit {
		f(k)
	}
	w.do(func(x *tx) error {
		serial, err := x.head("serial", 1)
		if err != nil {
			return err
		}
		k.Serial = serial
		config, err := encodeTaskConfig(k)
		if err != nil {
			return err
		}
		if _, err := x.exec(`insert into tasks (id, serial, account, name, remark, agent, concurrency, start_at, stop_at, config, doors, created_at, updated_at)
			values ($1, $2, $3, $4, '', $5, $6, $7, $8, $9, '{}', 0, 0)`, k.ID, k.Serial, k.Account, k.Name, k.Agent, k.Concurrency, ms(k.Start), ms(k.Stop), config); err != nil {
			return err
		}
		for i, l := range k.Lines {
			if _, err := x.exec(`insert into task_lines (task, line, pos, cap) values ($1, $2, $3, $4)`, k.Serial, l.Line, i, l.Limit); err != nil {
				return err
			}
		}
		return nil
	})
	return k
}

// numbers adds n numbers to a task, 13800000000 and on from the given offset.
func (w *world) numbers(id waihu.TaskID, from, n int) ImportReport {
	w.Helper()
	list := make([]NewNumber, n)
	for i := range list {
		list[i].Phone = waihu.PhoneNumber(strconv.Itoa(13800000000 + from + i))
	}
	r, err := w.AddNumbers(w.ctx, acme, id, list)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) start(id waihu.TaskID) waihu.Run {
	w.Helper()
	run, err := w.StartTask(w.ctx, acme, id)
	if err != nil {
		w.Fatalf("start %s: %v", id, err)
	}
	return run
}

// tick runs a tick of this world's epoch.
func (w *world) tick(k *Tick) *TickResult {
	w.Helper()
	r, err := w.try(k)
	if err != nil {
		w.Fatalf("tick: %v", err)
	}
	return r
}

func (w *world) try(k *Tick) (*TickResult, error) {
	k.Epoch, k.Owner, k.NextCall = w.epoch, "test", w.nextCall
	if k.Now.IsZero() {
		k.Now = w.now()
	}
	return w.Tick(w.ctx, k)
}

// pop is a Pop that dials all it gets on one line.
func pop(id waihu.TaskID, run, limit int) Pop {
	return Pop{Task: id, Account: acme, Run: run, Fresh: true, Due: true, Limit: limit, Decide: func(n PoppedNumber) Decision {
		return Decision{Dial: true, Line: "l1", Agent: "a1"}
	}}
}

// ended is a Booking of a call.
func ended(c LiveCall, d waihu.Disposition, next waihu.NumberState) Booking {
	return Booking{LiveCall: c, Outcome: &waihu.Outcome{Call: c.Call, Disposition: d, EndAt: c.StartedAt.Add(time.Second)}, Next: next}
}
