package store

import (
	"fmt"
	"strings"
	"testing"

	"waihu"
)

// TestAgentSerials: every agent has an integer id; a decimal id is its own unless somebody has it.
func TestAgentSerials(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		save := func(account waihu.AccountID, id waihu.AgentID) waihu.AgentSpec {
			t.Helper()
			a := waihu.AgentSpec{ID: id, Account: account, Name: "x", Brain: waihu.BrainFlow}
			must(t, s.SaveAgent(ctx, &a))
			return a
		}
		for _, x := range []struct {
			id   waihu.AgentID
			want int64
		}{{"123", 123}, {"215870475195883520", 215870475195883520}, {"c24ce952", 124}, {"124", 125}, {"", 126}, {"0127", 128}, {"127", 127}, {"-5", 129}, {"", 130}} {
			a := save(mainAccount, x.id)
			if a.Serial != x.want {
				t.Errorf("agent %q got the integer id %d, want %d", x.id, a.Serial, x.want)
			}
			got, err := s.AgentBySerial(ctx, subAccount, x.want)
			if err != nil || got.ID != a.ID || got.Serial != x.want {
				t.Errorf("by %d: %+v, %v", x.want, got, err)
			}
		}
		again := save(mainAccount, "c24ce952")
		again.Name, again.Version = "y", 0
		must(t, s.SaveAgent(ctx, &again))
		if again.Serial != 124 || again.Version != 2 {
			t.Errorf("another version: %+v", again)
		}
		_, err := s.AgentBySerial(ctx, other, 124)
		wantCode(t, err, waihu.ENotFound, "124")
		if o, err := s.AgentOwner(ctx, 124); err != nil || o != mainAccount {
			t.Errorf("%s, %v", o, err)
		}
	})
}

// TestPin: a task pins one version of its agent, is refused another's, and loses the pin with the agent.
func TestPin(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		one := waihu.AgentSpec{ID: "1", Account: mainAccount, Name: "first", Brain: waihu.BrainFlow}
		must(t, s.SaveAgent(ctx, &one))
		two := one
		two.Name, two.Version = "second", 0
		must(t, s.SaveAgent(ctx, &two))
		other := waihu.AgentSpec{ID: "2", Account: mainAccount, Name: "other", Brain: waihu.BrainFlow}
		must(t, s.SaveAgent(ctx, &other))
		must(t, s.UpsertLine(ctx, waihu.Line{ID: "l", Account: mainAccount, Name: "l", Concurrency: 1, Trunk: waihu.Trunk{URI: "sim:", CallerIDs: []string{"100", "200"}}}))
		k := waihu.Task{Account: subAccount, Name: "t", Agent: "1", AgentVersion: one.VersionID, Concurrency: 1, Callers: []int64{2, 1}}
		must(t, s.CreateTask(ctx, &k))
		got, err := s.Task(ctx, subAccount, k.ID)
		must(t, err)
		if got.AgentVersion != one.VersionID || fmt.Sprint(got.Callers) != "[2 1]" {
			t.Errorf("%+v", got)
		}
		if a, err := s.TaskAgent(ctx, &got, "1"); err != nil || a.Name != "first" || a.VersionID != one.VersionID {
			t.Errorf("%+v, %v", a, err)
		}
		if a, err := s.TaskAgent(ctx, &got, "2"); err != nil || a.Name != "other" {
			t.Errorf("%+v, %v", a, err)
		}
		wrong := k
		wrong.ID, wrong.Serial, wrong.AgentVersion = "", 0, other.VersionID
		wantCode(t, s.CreateTask(ctx, &wrong), waihu.EInvalid, "agent_version")
		wrong.AgentVersion, wrong.Callers = 0, []int64{9}
		wantCode(t, s.CreateTask(ctx, &wrong), waihu.EInvalid, "callers[0]")
		got.Agent = "2"
		must(t, s.UpdateTask(ctx, &got))
		if got.AgentVersion != 0 {
			t.Errorf("the pin is %d after the agent was changed", got.AgentVersion)
		}
		must(t, s.UpsertLine(ctx, waihu.Line{ID: "l", Account: mainAccount, Name: "l", Concurrency: 1, Trunk: waihu.Trunk{URI: "sim:", CallerIDs: []string{"300"}}}))
		got.Weekly[0] = []waihu.Span{{From: 0, To: 1440}}
		must(t, s.UpdateTask(ctx, &got)) // its caller numbers were retired since
		_, err = s.StartTask(ctx, subAccount, got.ID)
		wantCode(t, err, waihu.EConflict, "no usable line")
	})
}

// TestMigrationGivesSerials: agents and accounts of an older ledger get their integer ids, calls are counted by agent.
func TestMigrationGivesSerials(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		w.task("t")
		w.numbers("t", 0, 3)
		w.tick(&Tick{Pops: []Pop{pop("t", w.start("t").N, 2)}})
		w.do(func(x *tx) error {
			undo := `drop index accounts_serial; drop index agents_serial; alter table accounts drop column serial; alter table agents drop column serial;
				alter table calls drop column version; alter table calls drop column caller; delete from counts where kind = 'a'; delete from heads where name = 'accounts';`
			if err := x.c.script(x.ctx, undo); err != nil {
				return err
			}
			for _, id := range []string{"7", "0123", "agent-x", "215870475195883520", "9223372036854775808", "-1"} {
				if _, err := x.exec(`insert into agents (id, account, name, version, version_id, created_at, updated_at) values ($1, $2, 'x', 1, 1, 0, 0)`, id, acme); err != nil {
					return err
				}
			}
			return x.c.script(x.ctx, w.d.text(migration008))
		})
		var got []string
		w.rows(`select id || '=' || serial from agents order by serial`, func(line string) { got = append(got, line) })
		seen := map[string]bool{}
		for _, line := range got {
			id, serial, _ := strings.Cut(line, "=")
			if seen[serial] || serial == "0" || (id == "7" || id == "215870475195883520") && serial != id {
				t.Errorf("agents have the integer ids %v", got)
			}
			seen[serial] = true
		}
		if len(got) != 6 {
			t.Errorf("%d agents", len(got))
		}
		w.rows(`select id || ' has no integer id' from accounts where serial = 0`, func(line string) { t.Error(line) })
		w.checkGauges()
		must(t, w.UpsertAccount(w.ctx, waihu.Account{ID: "new", Name: "new"}))
		if a, err := w.Account(w.ctx, "new"); err != nil || a.Serial != 3 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// TestSetTaskDoor: what a door keeps changes beside what others keep, in a started task too, and for nobody else.
func TestSetTaskDoor(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 10)
		k := w.task("t")
		must(t, w.SetTaskDoor(w.ctx, acme, k.ID, "one", []byte(`{"a":1}`)))
		w.start(k.ID)
		must(t, w.SetTaskDoor(w.ctx, acme, k.ID, "two", []byte(`{"b":2}`)))
		must(t, w.SetTaskDoor(w.ctx, acme, k.ID, "one", []byte(`{"a":3}`)))
		got, err := w.Task(w.ctx, acme, k.ID)
		must(t, err)
		if string(got.Doors["one"]) != `{"a":3}` || string(got.Doors["two"]) != `{"b":2}` || !got.Started {
			t.Errorf("%+v", got.Doors)
		}
		wantCode(t, w.SetTaskDoor(w.ctx, stranger, k.ID, "one", []byte(`{}`)), waihu.ENotFound, "task")
		wantCode(t, w.SetTaskDoor(w.ctx, acme, k.ID, "one", []byte(`{`)), waihu.EInvalid, "JSON")
	})
}
