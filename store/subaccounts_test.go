package store

import (
	"errors"
	"testing"
	"time"

	"waihu"
)

func TestDeleteSubAccount(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		s := open(Options{Key: make([]byte, KeySize)})
		w := newWorld(t, s)
		ctx := t.Context()
		sub := waihu.AccountID("acme-sub")
		must(t, s.UpsertAccount(ctx, waihu.Account{ID: sub, Parent: acme, Name: "sub"}))
		w.line("l1", 5)
		must(t, s.AddToken(ctx, Token{Account: sub, Name: "x"}, "secret"))
		must(t, s.SaveAgent(ctx, &waihu.AgentSpec{ID: "a1", Account: sub, Name: "agent", Brain: waihu.BrainFlow}))
		must(t, s.SaveCallingHours(ctx, &waihu.CallingHours{Account: sub, Name: "hours"}))
		k := waihu.Task{Account: sub, Name: "task", Agent: "a1", Concurrency: 1}
		must(t, s.CreateTask(ctx, &k))
		if _, err := s.AddNumbers(ctx, sub, k.ID, []NewNumber{{Phone: "13800000001"}}); err != nil {
			t.Fatal(err)
		}

		wantCode(t, s.DeleteSubAccount(ctx, stranger, sub), waihu.ENotFound, "")
		wantCode(t, s.DeleteSubAccount(ctx, "", acme), waihu.ENotFound, "") // a main account
		wantCode(t, s.DeleteSubAccount(ctx, acme, "nobody"), waihu.ENotFound, "")
		if _, err := s.StartTask(ctx, sub, k.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteSubAccount(ctx, acme, sub); !errors.Is(err, waihu.ErrRunsOpen) {
			t.Errorf("deleted while a task runs: %v", err)
		}
		must(t, s.StopTask(ctx, sub, k.ID))
		must(t, s.UpsertLine(ctx, waihu.Line{ID: "own", Account: sub, Name: "own", Concurrency: 1}))
		wantCode(t, s.DeleteSubAccount(ctx, acme, sub), waihu.EConflict, "own")
		w.do(func(x *tx) error {
			_, err := x.exec(`delete from lines where id = 'own'`)
			return err
		})
		must(t, s.DeleteSubAccount(ctx, acme, sub))

		_, err := s.Account(ctx, sub)
		wantCode(t, err, waihu.ENotFound, "")
		_, _, err = s.AccountByToken(ctx, "secret")
		wantCode(t, err, waihu.EUnauthorized, "")
		_, err = s.Task(ctx, sub, k.ID)
		wantCode(t, err, waihu.ENotFound, "")
		w.do(func(x *tx) error {
			for _, table := range []string{"tasks", "numbers", "agents", "agent_versions", "hours", "counts"} {
				var n int
				if _, err := x.one(into(&n), `select count(*) from `+table); err != nil || n != 0 {
					t.Errorf("%d rows left in %s, %v", n, table, err)
				}
			}
			return nil
		})
		if _, err := s.Account(ctx, acme); err != nil {
			t.Errorf("the main account: %v", err)
		}
	})
}

func TestLinks(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	s := mustOpen(t, Options{Dir: t.TempDir(), Key: make([]byte, KeySize), Now: func() time.Time { return now }, noSync: true})
	link, err := s.Link("voice", "a b", now.Add(time.Minute))
	must(t, err)
	if got, err := s.OpenLink("voice", link); err != nil || got != "a b" {
		t.Errorf("%q, %v", got, err)
	}
	if again, _ := s.Link("voice", "a b", now.Add(time.Minute)); again == link {
		t.Error("two links of one target are equal")
	}
	changed := []byte(link)
	changed[20] ^= 1
	for _, bad := range []string{"", "x", "AQ", string(changed), link[:len(link)-2], "*" + link} {
		_, err := s.OpenLink("voice", bad)
		wantCode(t, err, waihu.ENotFound, "")
	}
	_, err = s.OpenLink("numbers", link)
	wantCode(t, err, waihu.ENotFound, "")
	now = now.Add(time.Minute)
	_, err = s.OpenLink("voice", link)
	wantCode(t, err, waihu.ENotFound, "")
}
