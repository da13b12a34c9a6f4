package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"waihu"
)

// TestCallLog: calls over all tasks of an account, by day, task, agent and phone, and nobody else's.
func TestCallLog(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 100)
		day := time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC)
		var tasks []*waihu.Task
		for i, agent := range []waihu.AgentID{"a1", "a2"} {
			k := w.task(waihu.TaskID(fmt.Sprint("t", i)))
			tasks = append(tasks, k)
			w.numbers(k.ID, 100*i, 6)
			run := w.start(k.ID)
			for hour := range 6 { // a call every four hours, three of them a day
				at := day.Add(time.Duration(8*hour) * time.Hour)
				r := w.tick(&Tick{Now: at, Pops: []Pop{{Task: k.ID, Account: acme, Run: run.N, Order: waihu.PopInOrder, Fresh: true, Limit: 1, Decide: func(PoppedNumber) Decision {
					return Decision{Dial: true, Line: "l1", Agent: agent, Version: 7}
				}}}})
				end := ended(r.Dials[0].LiveCall, waihu.Answered, waihu.NumberDone)
				end.Outcome.Caller = "02160001000"
				if hour == 5 && i == 1 {
					continue // still live
				}
				w.tick(&Tick{Now: at.Add(time.Minute), Book: []Booking{end}})
			}
			// Ids grow with the time: the second task's calls begin where the clock was set back to.
		}
		count := func(want int, f CallLogFilter) {
			t.Helper()
			list, total, err := w.CallLog(w.ctx, acme, f)
			if err != nil || total != want || len(list) != min(want, 15) {
				t.Errorf("%+v: %d of %d calls, want %d, %v", f, len(list), total, want, err)
			}
			if !slices.IsSortedFunc(list, func(a, b waihu.Call) int { return int(b.ID - a.ID) }) {
				t.Error("not the latest first")
			}
			for _, c := range list {
				if c.Version != 7 || c.Phone == "" || c.Outcome.Caller != "02160001000" || c.Account != acme {
					t.Errorf("%+v", c)
				}
			}
		}
		count(11, CallLogFilter{})
		count(6, CallLogFilter{Tasks: []int64{tasks[0].Serial}})
		count(0, CallLogFilter{Tasks: []int64{99}})
		count(5, CallLogFilter{Agents: []waihu.AgentID{"a2"}})
		count(1, CallLogFilter{Phone: "13800000000"})
		count(11, CallLogFilter{Phone: "02160001000"})
		count(0, CallLogFilter{Phone: "0216000100_"})
		count(1, CallLogFilter{Phone: "+8613800000000"}) // another form of the same number
		count(11, CallLogFilter{Phone: "+862160001000"})
		if _, total, err := w.CallLog(w.ctx, stranger, CallLogFilter{}); err != nil || total != 0 {
			t.Errorf("a stranger sees %d calls, %v", total, err)
		}
		page, total, err := w.CallLog(w.ctx, acme, CallLogFilter{Page: 3, PerPage: 4})
		if err != nil || total != 11 || len(page) != 3 {
			t.Errorf("page 3 has %d of %d, %v", len(page), total, err)
		}
		all, _, _ := w.CallLog(w.ctx, acme, CallLogFilter{})
		one, err := w.CallOf(w.ctx, acme, all[0].ID)
		if err != nil || one.ID != all[0].ID || one.Task != all[0].Task {
			t.Errorf("%+v, %v", one, err)
		}
		_, err = w.CallOf(w.ctx, stranger, all[0].ID)
		wantCode(t, err, waihu.ENotFound, "call")
		for id, want := range map[waihu.AgentID]int{"a1": 6, "a2": 6, "a3": 0} {
			if n, err := w.AgentCalls(w.ctx, acme, id); err != nil || n != want {
				t.Errorf("agent %s has had %d calls, want %d, %v", id, n, want, err)
			}
		}
		if o, err := w.TaskOwner(w.ctx, tasks[0].Serial); err != nil || o != acme {
			t.Errorf("%s, %v", o, err)
		}
		if o, err := w.CallOwner(w.ctx, all[0].ID); err != nil || o != acme {
			t.Errorf("%s, %v", o, err)
		}
		_, err = w.TaskOwner(w.ctx, 999)
		wantCode(t, err, waihu.ENotFound, "task")
		w.checkGauges()
	})
}

// TestCallLogByTime: the bounds are found on the primary key, whatever gaps the ids have.
func TestCallLogByTime(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 100)
		k := w.task("t")
		day := time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC)
		w.numbers("t", 0, 48)
		run := w.start("t")
		for hour := range 48 {
			if hour%13 == 12 {
				w.takeShard() // another epoch: a gap of 2^24 ids
			}
			at := day.Add(time.Duration(hour) * time.Hour)
			r := w.tick(&Tick{Now: at, Pops: []Pop{pop("t", run.N, 1)}})
			w.tick(&Tick{Now: at.Add(time.Minute), Book: []Booking{ended(r.Dials[0].LiveCall, waihu.NoAnswer, waihu.NumberDone)}})
		}
		for _, x := range []struct{ from, to, want int }{{0, 23, 24}, {24, 47, 24}, {5, 5, 1}, {47, 60, 1}, {48, 60, 0}, {-30, -1, 0}, {-30, 99, 48}, {11, 27, 17}} {
			f := CallLogFilter{Tasks: []int64{k.Serial}, From: day.Add(time.Duration(x.from) * time.Hour), To: day.Add(time.Duration(x.to)*time.Hour + time.Second)}
			if _, n, err := w.CallLog(w.ctx, acme, f); err != nil || n != x.want {
				t.Errorf("hours %d to %d: %d calls, want %d, %v", x.from, x.to, n, x.want, err)
			}
		}
	})
}
