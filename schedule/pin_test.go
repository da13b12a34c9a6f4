package schedule

import (
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// TestPinnedVersionTalks: a task that pins a version keeps it whatever is saved later; another follows the agent.
func TestPinnedVersionTalks(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	r.line("a", 2, 0)
	first, err := r.store.Agent(r.ctx, account, agentID)
	r.must(err)
	second := first
	second.Name, second.Version = "changed", 0
	r.must(r.store.SaveAgent(r.ctx, &second))
	talked := map[waihu.TaskID]int64{}
	r.field.script = func(a waihu.Attempt) (time.Duration, waihu.Outcome) {
		talked[a.Task] = a.Agent.VersionID
		return time.Second, waihu.Outcome{Disposition: waihu.Answered}
	}
	r.task(waihu.Task{ID: "pinned", Concurrency: 1, AgentVersion: first.VersionID, EndAction: waihu.EndPause}, 1)
	r.task(waihu.Task{ID: "free", Concurrency: 1, EndAction: waihu.EndPause}, 1)
	r.drive(begin.Add(time.Minute), nil)
	if talked["pinned"] != first.VersionID || talked["free"] != second.VersionID {
		t.Errorf("versions %v, want %d pinned and %d free", talked, first.VersionID, second.VersionID)
	}
	calls, _, err := r.store.Calls(r.ctx, account, "pinned", store.CallFilter{})
	if err != nil || len(calls) != 1 || calls[0].Version != first.VersionID {
		t.Errorf("the ledger keeps %+v, %v", calls, err)
	}
}

// TestTaskChoosesCallers: the named caller numbers choose the lines, unreserved, and are used in turn, by a later process too.
func TestTaskChoosesCallers(t *testing.T) {
	t.Parallel()
	r := newRig(t, store.Options{})
	for _, id := range []waihu.LineID{"a", "b", "c"} {
		r.must(r.store.UpsertLine(r.ctx, waihu.Line{ID: id, Account: account, Name: string(id), Concurrency: 2,
			Trunk: waihu.Trunk{URI: "sim:", CallerIDs: []string{string(id) + "1", string(id) + "2", string(id) + "3"}}}))
		r.field.lines[id] = waihu.LineState{Capacity: 2}
	}
	used := map[waihu.PhoneNumber]int{}
	r.field.script = func(a waihu.Attempt) (time.Duration, waihu.Outcome) {
		if string(a.Line) != string(a.Caller[:1]) {
			t.Errorf("caller %s on line %s", a.Caller, a.Line)
		}
		used[a.Caller]++
		return time.Minute, waihu.Outcome{Disposition: waihu.Answered}
	}
	r.task(waihu.Task{ID: "t", Concurrency: 10, Callers: []int64{1, 3, 4}}, 24) // a1, a3, b1
	r.drive(begin.Add(30*time.Second), nil)
	r.restart()
	r.field.orphans = nil
	r.drive(begin.Add(time.Hour), nil)
	if len(used) != 3 || used["a1"] == 0 || used["a3"] == 0 || used["b1"] == 0 {
		t.Errorf("caller numbers used: %v", used)
	}
	if len(r.field.orphans) == 0 {
		t.Fatal("the later process found no orphan")
	}
	for _, o := range r.field.orphans {
		if o.Caller == "" || string(o.Caller[:1]) != string(o.Line) {
			t.Errorf("the orphan %v of line %s is said to come from %q", o.Call, o.Line, o.Caller)
		}
	}
}
