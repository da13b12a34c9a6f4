package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
)

func copySource() *waihu.AgentSpec {
	return &waihu.AgentSpec{ID: "9001", Account: acme, Name: "回访助手", Brain: waihu.BrainLLM, LLM: &waihu.LLMSpec{Prompt: "礼貌", Collect: []waihu.CollectAsk{{Key: "goods", Question: "完好？"}}},
		Knowledge: []waihu.KnowledgeSpec{{Q: []string{"你是谁"}, A: "回访助手"}}, Voice: waihu.VoiceSpec{Voice: "cmn", Speed: 1.1},
		ExternalIDs: map[string]string{"keyue": "c24ce952"}, Vendor: map[string]map[string]any{"keyue": {"description": "x"}}}
}

// TestCopyAgent: copies are whole, their names differ however many are made at once, and a job that is worked twice copies once.
func TestCopyAgent(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		must(t, w.SaveAgent(w.ctx, copySource()))
		// A name that the apply file took: the copies go around it.
		must(t, w.SaveAgent(w.ctx, &waihu.AgentSpec{Account: acme, Name: "回访助手-副本2", Brain: waihu.BrainFlow}))
		const n = 20
		var jobs [n]AgentJob
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				j := AgentJob{Account: acme, Agent: "9001", Kind: AgentCopy}
				err := w.AddAgentJob(w.ctx, &j, nil)
				for range 2 { // as after a kill between the commit and the queue's own
					if err == nil {
						err = w.CopyAgent(w.ctx, j, func(*waihu.AgentSpec) {})
					}
				}
				if err != nil {
					t.Error(err)
				}
				jobs[i] = j
			})
		}
		all.Wait()
		names := map[string]bool{}
		for _, j := range jobs {
			done, err := w.AgentJob(w.ctx, acme, j.ID)
			must(t, err)
			a, err := w.Agent(w.ctx, acme, waihu.AgentID(done.Result))
			if err != nil || done.State != AgentJobDone {
				t.Fatalf("%+v: %v", done, err)
			}
			if !strings.HasPrefix(a.Name, "回访助手") || names[a.Name] || a.Name == "回访助手-副本2" || a.State != waihu.AgentOffline || a.ExternalIDs != nil {
				t.Errorf("copy %s %q in state %d with %v", a.ID, a.Name, a.State, a.ExternalIDs)
			}
			names[a.Name] = true
			want := *copySource()
			want.ID, want.Name, want.Version, want.ExternalIDs = a.ID, a.Name, 1, nil
			if !sameAgent(&a, &want) {
				t.Errorf("copy %+v", a)
			}
		}
		_, total, err := w.FindAgents(w.ctx, acme, AgentFilter{})
		must(t, err)
		if total != n+2 {
			t.Errorf("%d agents, want the source, the other and %d copies", total, n)
		}
		if _, err := w.AgentJob(w.ctx, stranger, jobs[0].ID); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger sees a job: %v", err)
		}
		if err := w.AddAgentJob(w.ctx, &AgentJob{Account: stranger, Agent: "9001", Kind: AgentCopy}, nil); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger copies: %v", err)
		}
	})
}

// TestAgentLife walks an agent through making, publishing, renaming, importing, going offline and being deleted.
func TestAgentLife(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		must(t, w.UpsertAccount(w.ctx, waihu.Account{ID: "sub", Parent: acme, Name: "sub"}))
		first := &waihu.AgentSpec{Account: acme, Name: "one", Brain: waihu.BrainFlow}
		must(t, w.NewAgent(w.ctx, first))
		for _, account := range []waihu.AccountID{acme, "sub"} { // one space of names
			if err := w.NewAgent(w.ctx, &waihu.AgentSpec{Account: account, Name: "one", Brain: waihu.BrainFlow}); !errors.Is(err, waihu.ErrNameTaken) {
				t.Errorf("%s: the same name again: %v", account, err)
			}
		}
		must(t, w.NewAgent(w.ctx, &waihu.AgentSpec{Account: stranger, Name: "one", Brain: waihu.BrainFlow}))
		state := func(want waihu.AgentState) {
			t.Helper()
			a, err := w.Agent(w.ctx, acme, first.ID)
			must(t, err)
			if a.State != want {
				t.Errorf("state %d, want %d", a.State, want)
			}
		}
		state(waihu.AgentOffline)
		publish := func(end func(j AgentJob) error) {
			t.Helper()
			j := AgentJob{Account: acme, Agent: first.ID, Kind: AgentPublish}
			must(t, w.AddAgentJob(w.ctx, &j, nil))
			_, err := w.BeginAgentJob(w.ctx, acme, j.ID)
			must(t, err)
			must(t, end(j))
		}
		publish(func(j AgentJob) error {
			state(waihu.AgentPublishing)
			return w.FailAgentJob(w.ctx, j, "no", nil)
		})
		state(waihu.AgentOffline)
		publish(func(j AgentJob) error { return w.PublishAgent(w.ctx, j) })
		publish(func(j AgentJob) error { return w.FailAgentJob(w.ctx, j, "no", nil) }) // what was online stays so
		state(waihu.AgentOnline)

		rename := func(name string) error {
			_, err := w.EditAgent(w.ctx, acme, first.ID, func(a *waihu.AgentSpec) error { a.Name = name; return nil })
			return err
		}
		must(t, w.NewAgent(w.ctx, &waihu.AgentSpec{Account: acme, Name: "two", Brain: waihu.BrainFlow}))
		if err := rename("two"); !errors.Is(err, waihu.ErrNameTaken) {
			t.Errorf("renamed to a name that is taken: %v", err)
		}
		must(t, rename("uno"))
		must(t, w.NewAgent(w.ctx, &waihu.AgentSpec{Account: "sub", Name: "one", Brain: waihu.BrainFlow})) // free again
		state(waihu.AgentOnline)
		if _, err := w.EditAgent(w.ctx, "sub", first.ID, func(*waihu.AgentSpec) error { return nil }); waihu.ErrorCode(err) != waihu.EForbidden {
			t.Errorf("a sub-account edits its main account's agent: %v", err)
		}

		file := bytes.Repeat([]byte("0123456789"), 60_000) // three portions
		j := AgentJob{Account: acme, Agent: first.ID, Kind: AgentImport}
		must(t, w.AddAgentJob(w.ctx, &j, file))
		if got, err := w.AgentJobFile(w.ctx, acme, j.ID, "file"); err != nil || !bytes.Equal(got, file) {
			t.Errorf("%d bytes of %d: %v", len(got), len(file), err)
		}
		if _, err := w.AgentJobFile(w.ctx, stranger, j.ID, "file"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger reads a file: %v", err)
		}
		for range 2 {
			must(t, w.ImportIntoAgent(w.ctx, j, func(a *waihu.AgentSpec) error {
				a.Knowledge = append(a.Knowledge, waihu.KnowledgeSpec{Q: []string{"q"}, A: "a"})
				return nil
			}, "1", []byte("report")))
		}
		a, err := w.Agent(w.ctx, acme, first.ID)
		must(t, err)
		if len(a.Knowledge) != 1 || a.Name != "uno" {
			t.Errorf("%+v", a)
		}
		if got, err := w.AgentJobFile(w.ctx, acme, j.ID, "report"); err != nil || string(got) != "report" {
			t.Errorf("report %q: %v", got, err)
		}

		if err := w.DeleteAgent(w.ctx, acme, first.ID); !errors.Is(err, waihu.ErrAgentOnline) {
			t.Errorf("an online agent was deleted: %v", err)
		}
		w.line("line", 1)
		var week waihu.Weekly
		for d := range week {
			week[d] = []waihu.Span{{From: 0, To: 1440}}
		}
		task := &waihu.Task{Account: acme, Name: "task", Agent: first.ID, Concurrency: 1, Weekly: week}
		must(t, w.CreateTask(w.ctx, task))
		_, err = w.StartTask(w.ctx, acme, task.ID)
		must(t, err)
		if err := w.AgentOffline(w.ctx, acme, first.ID); !errors.Is(err, waihu.ErrAgentUsed) {
			t.Errorf("an agent that dials was taken offline: %v", err)
		}
		must(t, w.StopTask(w.ctx, acme, task.ID))
		must(t, w.AgentOffline(w.ctx, acme, first.ID))
		if _, err := w.StartTask(w.ctx, acme, task.ID); waihu.ErrorCode(err) != waihu.EConflict || !strings.Contains(err.Error(), "offline") {
			t.Errorf("started with an agent that is offline: %v", err)
		}
		if err := w.DeleteAgent(w.ctx, acme, first.ID); !errors.Is(err, waihu.ErrAgentUsed) {
			t.Errorf("an agent of a task was deleted: %v", err)
		}
		task.Agent = "other"
		routed := &waihu.AgentSpec{ID: "other", Account: acme, Name: "other", Brain: waihu.BrainFlow}
		must(t, w.SaveAgent(w.ctx, routed))
		must(t, w.UpdateTask(w.ctx, task))
		if err := w.DeleteAgent(w.ctx, "sub", first.ID); waihu.ErrorCode(err) != waihu.EForbidden {
			t.Errorf("a sub-account deletes its main account's agent: %v", err)
		}
		must(t, w.DeleteAgent(w.ctx, acme, first.ID))
		if err := w.DeleteAgent(w.ctx, acme, first.ID); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("deleted twice: %v", err)
		}
		must(t, w.NewAgent(w.ctx, &waihu.AgentSpec{Account: acme, Name: "uno", Brain: waihu.BrainFlow}))

		// A sub-account goes with its agents, their names, jobs and files.
		subs := &waihu.AgentSpec{Account: "sub", Name: "sub's", Brain: waihu.BrainFlow, ExternalIDs: map[string]string{"keyue": "x"}}
		must(t, w.NewAgent(w.ctx, subs))
		must(t, w.AddAgentJob(w.ctx, &AgentJob{Account: "sub", Agent: subs.ID, Kind: AgentImport}, []byte("x")))
		count := func() (n int) {
			t.Helper()
			must(t, w.read(w.ctx, func(x *tx) error {
				_, err := x.one(into(&n), `select (select count(*) from agent_names where agent = $1) + (select count(*) from agent_externals where account = 'sub')
					+ (select count(*) from agent_jobs where account = 'sub') + (select count(*) from agent_files where job not in (select id from agent_jobs where account = $2))`, subs.ID, acme)
				return err
			}))
			return n
		}
		if n := count(); n != 4 {
			t.Errorf("%d rows of the sub-account's agent", n)
		}
		must(t, w.DeleteSubAccount(w.ctx, acme, "sub"))
		if n := count(); n != 0 {
			t.Errorf("%d rows are left of a deleted sub-account's agent", n)
		}
	})
}

// TestExternalIDs: a door finds an agent by the id it knows, within the family only, and one id names one agent.
func TestExternalIDs(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		must(t, w.UpsertAccount(w.ctx, waihu.Account{ID: "sub", Parent: acme, Name: "sub"}))
		must(t, w.SaveAgent(w.ctx, copySource()))
		for _, id := range []string{"c24ce952", "9001"} {
			for _, account := range []waihu.AccountID{acme, "sub"} {
				if a, err := w.AgentByExternal(w.ctx, account, "keyue", id); err != nil || a.ID != "9001" {
					t.Errorf("%s as %s: %v %v", id, account, a.ID, err)
				}
			}
			if _, err := w.AgentByExternal(w.ctx, stranger, "keyue", id); waihu.ErrorCode(err) != waihu.ENotFound {
				t.Errorf("a stranger finds %s: %v", id, err)
			}
		}
		if _, err := w.AgentByExternal(w.ctx, acme, "voicefox", "c24ce952"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("another door's id: %v", err)
		}
		twin := copySource()
		twin.ID = "9002"
		if err := w.SaveAgent(w.ctx, twin); waihu.ErrorCode(err) != waihu.EConflict {
			t.Errorf("a second agent of the same external id: %v", err)
		}
		next := copySource()
		next.ExternalIDs = map[string]string{"keyue": "other"}
		must(t, w.SaveAgent(w.ctx, next))
		must(t, w.SaveAgent(w.ctx, twin)) // free now
	})
}

// TestFindAgents filters, sorts and pages.
func TestFindAgents(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		now := time.UnixMilli(1_700_000_000_000)
		w := newWorld(t, open(Options{Now: func() time.Time { return now }}))
		for i := range 12 {
			a := &waihu.AgentSpec{Account: acme, Name: fmt.Sprintf("Agent_%d", i), Brain: waihu.BrainFlow}
			if i%3 == 0 {
				a.Brain = waihu.BrainLLM
			}
			must(t, w.NewAgent(w.ctx, a))
		}
		must(t, w.SaveAgent(w.ctx, &waihu.AgentSpec{Account: acme, Name: "100%", Brain: waihu.BrainFlow}))
		now = now.Add(-time.Hour)
		must(t, w.SaveAgent(w.ctx, copySource()))
		must(t, w.NewAgent(w.ctx, &waihu.AgentSpec{Account: stranger, Name: "Agent_99", Brain: waihu.BrainFlow}))
		online := waihu.AgentOnline
		llm := func(a *waihu.AgentSpec) bool { return a.Brain == waihu.BrainLLM }
		for _, c := range []struct {
			f     AgentFilter
			total int
			want  string
		}{
			{AgentFilter{PerPage: 3}, 14, "100% Agent_11 Agent_10"},
			{AgentFilter{PerPage: 3, Page: 2, Ascending: true}, 14, "Agent_2 Agent_3 Agent_4"},
			{AgentFilter{Name: "agent_1", By: "name", Ascending: true}, 3, "Agent_1 Agent_10 Agent_11"},
			{AgentFilter{Name: "%"}, 1, "100%"},
			{AgentFilter{State: &online}, 2, "100% 回访助手"},
			{AgentFilter{Match: llm, PerPage: 2}, 5, "Agent_9 Agent_6"},
			{AgentFilter{Match: llm, PerPage: 2, Page: 9}, 5, ""},
			{AgentFilter{Name: "nothing"}, 0, ""},
			{AgentFilter{Door: "keyue"}, 1, "回访助手"},
			{AgentFilter{Door: "voicefox"}, 0, ""},
		} {
			list, total, err := w.FindAgents(w.ctx, acme, c.f)
			var names []string
			for _, a := range list {
				names = append(names, a.Name)
			}
			if got := strings.Join(names, " "); err != nil || total != c.total || got != c.want {
				t.Errorf("%+v: %d %q, want %d %q: %v", c.f, total, got, c.total, c.want, err)
			}
		}
	})
}

// TestMigrationOfAgents: a ledger that had agents before knows their names and external ids.
func TestMigrationOfAgents(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		must(t, w.SaveAgent(w.ctx, copySource()))
		must(t, w.SaveAgent(w.ctx, &waihu.AgentSpec{Account: acme, Name: "plain", Brain: waihu.BrainFlow}))
		w.do(func(x *tx) error {
			for _, sql := range []string{`delete from agent_names`, `delete from agent_externals`} {
				if _, err := x.exec(sql); err != nil {
					return err
				}
			}
			for line := range strings.SplitSeq(x.s.d.text(migration009), ";\n") {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "insert") {
					if _, err := x.exec(line); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if a, err := w.AgentByExternal(context.Background(), acme, "keyue", "c24ce952"); err != nil || a.ID != "9001" {
			t.Errorf("%v: %v", a.ID, err)
		}
		if err := w.NewAgent(w.ctx, &waihu.AgentSpec{Account: acme, Name: "plain", Brain: waihu.BrainFlow}); !errors.Is(err, waihu.ErrNameTaken) {
			t.Errorf("a name from before: %v", err)
		}
	})
}

// TestOldAgentJobs: what is long over goes with its files, and so do uploads that broke off.
func TestOldAgentJobs(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		now := time.UnixMilli(1_700_000_000_000)
		w := newWorld(t, open(Options{Now: func() time.Time { return now }}))
		must(t, w.SaveAgent(w.ctx, copySource()))
		job := func() AgentJob {
			t.Helper()
			j := AgentJob{Account: acme, Agent: "9001", Kind: AgentImport}
			must(t, w.AddAgentJob(w.ctx, &j, []byte("x")))
			return j
		}
		done, waits := job(), job()
		must(t, w.FailAgentJob(w.ctx, done, "no", nil))
		w.do(func(x *tx) error { // an upload that broke off, and a thousand jobs since
			if err := x.putFile(500, "file", 0, []byte("x")); err != nil {
				return err
			}
			return x.headAtLeast("agent_jobs", 500+uploadsAtOnce)
		})
		now = now.Add(agentJobLife + time.Hour)
		if job().ID != 500+uploadsAtOnce+1 {
			t.Error("not the next id")
		}
		if _, err := w.AgentJob(w.ctx, acme, done.ID); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a job of long ago: %v", err)
		}
		if _, err := w.AgentJob(w.ctx, acme, waits.ID); err != nil {
			t.Errorf("a job that waits: %v", err)
		}
		files := 0
		must(t, w.read(w.ctx, func(x *tx) error {
			_, err := x.one(into(&files), `select count(*) from agent_files`)
			return err
		}))
		if files != 2 {
			t.Errorf("%d files, want those of the two jobs that are left", files)
		}
	})
}
