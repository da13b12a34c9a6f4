package store

import (
	"strings"
	"testing"
	"time"

	"waihu"
)

func (w *world) endpoint(account waihu.AccountID) waihu.Endpoint {
	w.Helper()
	e := waihu.Endpoint{Account: account, Door: "native", URL: "https://example.com/hook", Authorization: "Bearer x"}
	if err := w.AddEndpoint(w.ctx, &e, 0); err != nil {
		w.Fatal(err)
	}
	return e
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{Key: make([]byte, 32)}))
		w.task("t1")
		w.numbers("t1", 0, 1)
		e := w.endpoint(acme)
		w.numbers("t1", 10, 1)
		st, err := w.Endpoint(w.ctx, acme, e.ID)
		if err != nil || st.Lag() != 1 || st.Authorization != "" || !st.HasAuthorization || st.HasSecret || len(st.Cursors) != 1 || st.Cursors[0].Next != 2 {
			t.Fatalf("%+v, %v", st, err)
		}
		// a stranger sees and changes nothing
		for what, err := range map[string]error{
			"update": w.UpdateEndpoint(w.ctx, stranger, e.ID, EndpointEdit{}), "remove": w.RemoveEndpoint(w.ctx, stranger, e.ID),
			"release": w.ReleaseEndpoint(w.ctx, stranger, e.ID), "replay": w.ReplayEndpoint(w.ctx, stranger, e.ID, "", 1), "retry": w.RetryDeliveries(w.ctx, stranger, e.ID),
			"failed": func() error { _, err := w.FailedDeliveries(w.ctx, stranger, e.ID, "", 0, 0); return err }(),
			"read":   func() error { _, err := w.Endpoint(w.ctx, stranger, e.ID); return err }(),
			"open":   func() error { _, _, err := w.EndpointSecrets(w.ctx, stranger, e.ID); return err }(),
			"take":   w.AddEndpoint(w.ctx, &waihu.Endpoint{Account: stranger, Door: "native", URL: "https://example.com", Task: "t1"}, 0),
		} {
			if code := waihu.ErrorCode(err); code != waihu.ENotFound && what != "take" || err == nil {
				t.Errorf("a stranger may %s: %v", what, err)
			}
		}
		for _, bad := range []waihu.Endpoint{{}, {Door: "native", URL: "ftp://x"}, {Door: "native", URL: "https://u:p@x.com"}, {Door: "native", URL: "https://x", Authorization: "a\nb"},
			{Door: "native", URL: "https://x", Secret: "short"}, {Door: "native", URL: "https://x", Kinds: []waihu.EventKind{""}}, {Door: "native", URL: "https://x", Task: "none"}} {
			bad.Account = acme
			if err := w.AddEndpoint(w.ctx, &bad, 0); waihu.ErrorCode(err) != waihu.EInvalid {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		// leases
		mine, err := w.LeaseEndpoints(w.ctx, "a/1", time.Minute)
		if err != nil || len(mine) != 1 || mine[0].Cursors[acme] != 2 || mine[0].Authorization != "" {
			t.Fatalf("%+v, %v", mine, err)
		}
		if authorization, _, err := w.EndpointSecrets(w.ctx, acme, e.ID); err != nil || authorization != "Bearer x" {
			t.Errorf("the secrets: %q, %v", authorization, err)
		}
		if theirs, err := w.LeaseEndpoints(w.ctx, "b/1", time.Minute); !w.d.embedded && (err != nil || len(theirs) != 0) {
			t.Errorf("two processes have one endpoint: %+v, %v", theirs, err)
		}
		if mine, err = w.LeaseEndpoints(w.ctx, "a/1", time.Minute); err != nil || len(mine) != 1 {
			t.Fatalf("%+v, %v", mine, err)
		}
		// progress
		at := time.Now().Truncate(time.Millisecond)
		save := func(owner string, version int64, next int64) EndpointState {
			t.Helper()
			p := DeliveryProgress{Endpoint: e.ID, Version: version, Cursors: map[waihu.AccountID]int64{acme: next}, Sent: 2, OK: at,
				Stepped: []FailedDelivery{{Account: acme, N: 5, Tries: 3, Error: "answered 500"}, {Account: acme, N: 6, GivenUp: true, Tries: 9, Error: "answered 400"}},
				Block:   &Block{Since: at, Until: at.Add(time.Hour)}}
			if err := w.SaveDeliveries(w.ctx, owner, []DeliveryProgress{p}); err != nil {
				t.Fatal(err)
			}
			st, err := w.Endpoint(w.ctx, acme, e.ID)
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		if st := save("b/1", mine[0].Version, 9); st.Cursors[0].Next != 2 || st.Waiting+st.Failed+st.Sent != 0 {
			t.Errorf("another process saved: %+v", st)
		}
		if st := save("a/1", mine[0].Version+1, 9); st.Cursors[0].Next != 2 {
			t.Errorf("another version saved: %+v", st)
		}
		st = save("a/1", mine[0].Version, 3)
		if st.Cursors[0].Next != 3 || st.Waiting != 1 || st.Failed != 1 || st.Sent != 2 || !st.LastOK.Equal(at) || !st.BlockedUntil.Equal(at.Add(time.Hour)) {
			t.Errorf("saved: %+v", st)
		}
		if st = save("a/1", mine[0].Version, 2); st.Cursors[0].Next != 3 || st.Waiting != 1 || st.Failed != 1 {
			t.Errorf("a cursor went back, or a row counted twice: %+v", st)
		}
		if list, err := w.SteppedOver(w.ctx, e.ID, EventRef{}, 10); err != nil || len(list) != 1 || list[0].N != 5 || list[0].Tries != 3 {
			t.Errorf("%+v, %v", list, err)
		}
		if err := w.SaveDeliveries(w.ctx, "a/1", []DeliveryProgress{{Endpoint: e.ID, Version: mine[0].Version, Done: []EventRef{{acme, 5}, {acme, 77}}, ErrorAt: at.Add(time.Second), Error: "refused"}}); err != nil {
			t.Fatal(err)
		}
		if st, err = w.Endpoint(w.ctx, acme, e.ID); err != nil || st.Waiting != 0 || st.Failed != 1 || st.LastError != "refused" {
			t.Errorf("%+v, %v", st, err)
		}
		if err := w.RetryDeliveries(w.ctx, acme, e.ID); err != nil {
			t.Fatal(err)
		}
		if st, err = w.Endpoint(w.ctx, acme, e.ID); err != nil || st.Waiting != 1 || st.Failed != 0 {
			t.Errorf("asked for again: %+v, %v", st, err)
		}
		if list, err := w.Blackouts(w.ctx, acme); err != nil || len(list) != 2 || list[0].Released || list[0].ID <= list[1].ID {
			t.Errorf("%+v, %v", list, err)
		}
		if err := w.ReleaseEndpoint(w.ctx, acme, e.ID); err != nil {
			t.Fatal(err)
		}
		if list, err := w.Blackouts(w.ctx, acme); err != nil || !list[0].Released {
			t.Errorf("%+v, %v", list, err)
		}
		if err := w.ReplayEndpoint(w.ctx, acme, e.ID, "", 4); waihu.ErrorCode(err) != waihu.EInvalid {
			t.Errorf("a replay of what is to come: %v", err)
		}
		if err := w.ReplayEndpoint(w.ctx, acme, e.ID, "", 1); err != nil {
			t.Fatal(err)
		}
		if st, err = w.Endpoint(w.ctx, acme, e.ID); err != nil || st.Cursors[0].Next != 1 || st.Waiting != 0 || !st.BlockedUntil.IsZero() {
			t.Errorf("replayed: %+v, %v", st, err)
		}
		if list, err := w.EventsOf(w.ctx, acme, []int64{2, 99}); err != nil || len(list) != 1 || list[0].N != 2 {
			t.Errorf("%+v, %v", list, err)
		}
		if heads, err := w.EventHeads(w.ctx, []waihu.AccountID{acme, stranger}); err != nil || heads[acme] != 2 || heads[stranger] != 0 {
			t.Errorf("%+v, %v", heads, err)
		}
		// a sub-account that is made later is followed from its first event, and gone with it
		if err := w.UpsertAccount(w.ctx, waihu.Account{ID: "sub", Parent: acme, Name: "sub"}); err != nil {
			t.Fatal(err)
		}
		if mine, err = w.LeaseEndpoints(w.ctx, "a/1", time.Minute); err != nil || mine[0].Cursors["sub"] != 1 {
			t.Errorf("%+v, %v", mine, err)
		}
		w.endpoint("sub")
		if err := w.DeleteSubAccount(w.ctx, acme, "sub"); err != nil {
			t.Fatal(err)
		}
		if mine, err = w.LeaseEndpoints(w.ctx, "a/1", time.Minute); err != nil || len(mine) != 1 || len(mine[0].Cursors) != 1 {
			t.Errorf("%+v, %v", mine, err)
		}
		if err := w.RemoveEndpoint(w.ctx, acme, e.ID); err != nil {
			t.Fatal(err)
		}
		if list, err := w.Endpoints(w.ctx, acme); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestEndpointPlans: the statements that run with every save and every look use indexes.
func TestEndpointPlans(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{Key: make([]byte, 32)}))
		w.task("t1")
		for i := range 50 {
			w.numbers("t1", i, 1)
		}
		w.endpoint(acme)
		if !w.d.embedded {
			w.do(func(x *tx) error { _, err := x.exec(`analyze`); return err })
		}
		for _, st := range []struct {
			name, sql string
			args      []any
			reader    bool
		}{
			{"held endpoints", sqlHeldEndpoints, into(`[[1,1]]`, "me"), false},
			{"stepped before", sqlSteppedBefore, into(`[[1,"a",1]]`), false},
			{"stepped", sqlStepped, into(`[[1,"a",1,0,1,""]]`, 1), false},
			{"done", sqlDeliveryDone, into(`[[1,"a",1]]`), false},
			{"cursors", sqlCursors, into(`[[1,"a",1]]`), false},
			{"states", sqlDeliveryStates, into(`[[1,1,0,0,1,0,"",0,0]]`), false},
			{"events of", sqlEventsOf, into(`[[1],[2]]`, acme), true},
			{"cursors of", sqlEndpointCursors, into(`[[1]]`), true},
		} {
			plan := w.explain(st.sql, st.reader, st.args...)
			for _, line := range plan {
				if bad(line) && !strings.Contains(line, "TEMP B-TREE") { // they sort what the parameter names
					t.Errorf("%s: %s\nin the plan\n%s", st.name, strings.TrimSpace(line), strings.Join(plan, "\n"))
				}
			}
		}
	})
}

// TestRelaxed: a commit that does not wait for the disk is kept, and the next one waits again.
func TestRelaxed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, Options{Dir: dir})
	w := newWorld(t, s)
	level := func(x *tx) (n int) {
		t.Helper()
		if _, err := x.one(into(&n), `pragma synchronous`); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 2 {
		if err := s.update(w.ctx, relaxed, func(x *tx) error {
			if n := level(x); n != 1 {
				t.Errorf("a relaxed commit waits for the disk as %d", n)
			}
			_, err := x.exec(`insert into settings (name, value) values ('relaxed', 'yes') on conflict (name) do update set value = excluded.value`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		w.do(func(x *tx) error {
			if n := level(x); n != 2 {
				t.Errorf("the commit after it waits for the disk as %d", n)
			}
			return nil
		})
		if err := s.update(w.ctx, relaxed, func(x *tx) error { return notFound("x", 1) }); err == nil {
			t.Error("an error was lost")
		}
		w.do(func(x *tx) error {
			var v string
			if _, err := x.one(into(&v), `select value from settings where name = 'relaxed'`); err != nil || v != "yes" || level(x) != 2 {
				t.Errorf("%q, %v, %d", v, err, level(x))
			}
			return nil
		})
	}
}
