package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
)

// TestCampaignStopAndStartAgain: stop while calls are live, start while they drain, what may be edited when.
func TestCampaignStopAndStartAgain(t *testing.T) {
	inBubble(t, func(c *campaign) {
		c.ends(10*time.Minute, waihu.Answered)
		task := c.task(20, body(4, nil))
		numbers, one := oldPath+"/task/"+task+"/number", []any{object{"phone": "13900000000"}}
		c.start(task)
		c.start(task) // again: the same success
		c.after(time.Minute)
		if n := len(c.called(task)); n != 4 || c.status(task) != 2 {
			t.Fatalf("%d dials, status %d", n, c.status(task))
		}
		c.refused(6007, "PUT", newPath+"/task/"+task, body(2, nil))
		c.refused(6007, "DELETE", newPath+"/task/"+task, nil)
		c.refused(6007, "DELETE", numbers+"-batch-delete", object{"customer_info_list": one})
		c.refused(6007, "PUT", numbers+"-batch-reset", object{})
		c.stop(task)
		c.stop(task) // again: the same success
		c.after(time.Minute)
		if r := c.run(task); r.State != waihu.RunClosed || r.Reason != waihu.RunStopped {
			t.Errorf("stopped while calls are live: %+v", r)
		}
		c.refused(6007, "DELETE", newPath+"/task/"+task, nil)
		c.refused(6007, "DELETE", numbers+"-batch-delete", object{"customer_info_list": one})
		c.refused(6007, "PUT", numbers+"-batch-reset", object{})
		c.do("PUT", newPath+"/task/"+task, body(5, nil), nil) // the task is stopped: only its calls go on
		c.start(task)
		c.after(time.Minute)
		if n := len(c.called(task)); n != 5 {
			t.Errorf("%d dials: the cap of 5 counts the calls of both runs", n)
		}
		c.after(8 * time.Minute)
		if r := c.run(task); r.N != 2 || r.State != waihu.RunOpen {
			t.Errorf("the second run: %+v", r)
		}
		c.stop(task)
		c.after(11 * time.Minute)
		runs, err := c.store.Runs(c.ctx, testAccount, waihu.TaskID(task))
		if err != nil || len(runs) != 2 || runs[0].State != waihu.RunEnded || runs[1].State != waihu.RunEnded {
			t.Fatalf("%v %+v", err, runs)
		}
		if p := c.peaks["task "+task]; p != 5 {
			t.Errorf("%d calls at once, want 5", p)
		}
		done := c.counts(task).State[waihu.NumberDone]
		c.do("DELETE", numbers+"-batch-delete", object{"customer_info_list": one}, nil)
		c.do("PUT", numbers+"-batch-reset", object{}, nil)
		if n := c.counts(task); n.State[waihu.NumberFresh] != 19 || n.State[waihu.NumberRemoved] != 1 || done == 0 {
			t.Errorf("after a reset: %+v, before it %d were done", n.State, done)
		}
		before := len(c.called(task))
		c.ends(time.Second, waihu.Busy)
		c.start(task)
		c.after(time.Minute)
		attempts := map[waihu.PhoneNumber]int{}
		for i, d := range c.called(task) {
			if attempts[d.Phone]++; d.N != attempts[d.Phone] || i >= before && d.Phone == "13900000000" {
				t.Errorf("dial %d of %s is attempt %d", attempts[d.Phone], d.Phone.Masked(), d.N)
			}
		}
		if n := c.counts(task).State[waihu.NumberDone]; n != 19 || len(c.called(task)) != before+19 {
			t.Errorf("%d of 19 done, %d dials after the reset", n, len(c.called(task))-before)
		}
		// A removed number that is imported again goes on counting its attempts.
		c.numbers(task, 0, 1)
		c.after(time.Minute)
		if last := c.called(task)[before+19]; last.Phone != "13900000000" || last.N != 2 {
			t.Errorf("the revived number: %+v", last.Attempt)
		}
		c.stop(task)
		c.do("DELETE", newPath+"/task/"+task, nil, nil)
		c.refused(404, "PUT", newPath+"/task_start/"+task, nil)
	})
}

// TestCampaignEnd: end_action 1 closes the run when nothing is left, 0 waits for more.
func TestCampaignEnd(t *testing.T) {
	inBubble(t, func(c *campaign) {
		one, zero := c.task(3, body(2, object{"end_action": 1})), c.task(3, body(2, object{"end_action": 0}))
		c.start(one)
		c.start(zero)
		c.after(time.Hour)
		if r := c.run(one); r.State != waihu.RunEnded || r.Reason != waihu.RunDone || c.status(one) != 1 {
			t.Errorf("end_action 1: %+v", r)
		}
		if r := c.run(zero); r.State != waihu.RunOpen || c.status(zero) == 1 {
			t.Errorf("end_action 0: %+v", r)
		}
		c.numbers(one, 100, 2)
		c.numbers(zero, 100, 2)
		c.after(time.Hour)
		if n, m := len(c.called(one)), len(c.called(zero)); n != 3 || m != 5 {
			t.Errorf("%d and %d dials after an import into a task that has ended and one that waits", n, m)
		}
	})
}

func TestCampaignOrder(t *testing.T) {
	for mode, want := range []func(a, b string) bool{nil, func(a, b string) bool { return a < b }, func(a, b string) bool { return a > b }} {
		t.Run(fmt.Sprint("pop_mode_", mode), func(t *testing.T) {
			inBubble(t, func(c *campaign) {
				c.ends(time.Second, waihu.Answered)
				task := c.task(40, body(1, object{"pop_mode": mode}))
				c.start(task)
				c.after(time.Hour)
				ups, list := 0, c.called(task)
				for i := range list[1:] {
					a, b := string(list[i].Phone), string(list[i+1].Phone)
					if a < b {
						ups++
					}
					if want != nil && !want(a, b) {
						t.Errorf("%s before %s", a, b)
					}
				}
				if len(list) != 40 || want == nil && (ups < 8 || ups > 31) { // by chance once in 100,000
					t.Errorf("%d dials, %d times the next number was higher", len(list), ups)
				}
			})
		})
	}
}

func TestCampaignIntervalAndPace(t *testing.T) {
	inBubble(t, func(c *campaign) {
		c.ends(time.Second, waihu.Answered)
		slow := c.task(10, body(5, object{"interval_time": 20, "line": []any{object{"id": "big", "limit": 5}}}))
		c.ends(time.Second, waihu.Answered)
		fast := c.task(60, body(10, object{"line": []any{object{"id": "slow", "limit": 10}}}))
		c.start(slow)
		c.start(fast)
		c.after(10 * time.Minute)
		list := c.called(slow)
		for i := range list[1:] {
			if gap := list[i+1].at.Sub(list[i].at); gap < 20*time.Second || gap > 21*time.Second {
				t.Errorf("interval_time 20: the next call came after %v", gap)
			}
		}
		paced := c.called(fast)
		for i := range paced[2:] {
			if gap := paced[i+2].at.Sub(paced[i].at); gap < time.Second {
				t.Errorf("cps 2: three calls within %v", gap)
			}
		}
		if took := paced[len(paced)-1].at.Sub(paced[0].at); len(list) != 10 || len(paced) != 60 || took > 33*time.Second {
			t.Errorf("%d and %d dials; 60 calls at 2 a second took %v", len(list), len(paced), took)
		}
	})
}

// TestCampaignRedial: the three forms, and which of them counts.
func TestCampaignRedial(t *testing.T) {
	t.Parallel()
	fixed := object{"redial_enabled": 1, "redial_interval": 30, "redial_max_times": 2, "redial_conditions": []any{object{"da_status": []int{4, 8}}}}
	with := func(o object, more object) object {
		out := object{}
		for _, m := range []object{o, more} {
			for k, v := range m {
				out[k] = v
			}
		}
		return out
	}
	minutes := func(list ...int) (out []time.Duration) {
		for _, m := range list {
			out = append(out, time.Duration(m)*time.Minute)
		}
		return out
	}
	for _, x := range []struct {
		name   string
		extras object
		ends   waihu.Disposition
		want   []time.Duration // from the end of one call to the begin of the next
	}{
		{"fixed", fixed, waihu.NoAnswer, minutes(30, 30)},
		{"fixed, other outcome", fixed, waihu.Vacant, nil},
		{"fixed decides alone", with(fixed, object{"auto_recycle_rule_id": 7}), waihu.NoAnswer, minutes(30, 30)},
		{"disabled decides alone", object{"redial_enabled": 0, "auto_recycle_rule_id": 7}, waihu.NoAnswer, nil},
		{"by rule, no answer", object{"auto_recycle_rule_id": 7}, waihu.NoAnswer, minutes(45, 45, 45)},
		{"by rule, busy", object{"auto_recycle_rule_id": 7}, waihu.Busy, minutes(5, 5, 5)},
		// The call begins at 08:00 and lasts 10 minutes.
		{"at clock", object{"new_call_rules": []any{object{"re_call_time": "10:30:00", "call_interval": 15, "rule_id": 7}, object{"re_call_time": "15:00:00", "call_interval": 15, "rule_id": 7}}},
			waihu.NoAnswer, minutes(140, 260)},
		{"at clock of the next day", object{"new_call_rules": []any{object{"re_call_time": "10:30:00", "call_interval": 150, "rule_id": 7}}}, waihu.NoAnswer, minutes(140 + 24*60)},
		{"at any time", object{"new_call_rules": []any{object{"call_interval": 15, "rule_id": 7}}}, waihu.Busy, minutes(15)},
		{"waits for the window", with(fixed, object{"work_hour": []any{object{"begin": "08:00", "end": "08:30", "wday": -1}}}), waihu.Busy, minutes(24*60-10, 24*60-10)},
		{"our fault spends no redial", fixed, waihu.OurFault, minutes(1, 5, 15)},
	} {
		t.Run(strings.NewReplacer(" ", "_", ",", "").Replace(x.name), func(t *testing.T) {
			inBubble(t, func(c *campaign) {
				c.ends(10*time.Minute, x.ends)
				task := c.task(1, body(1, with(x.extras, object{"end_action": 1})))
				c.start(task)
				c.after(5 * 24 * time.Hour)
				var got []time.Duration
				list := c.called(task)
				for i := range list[1:] {
					got = append(got, list[i+1].at.Sub(list[i].at.Add(10*time.Minute)).Round(time.Second))
				}
				if !slices.Equal(got, x.want) {
					t.Errorf("redialled %v after the ends, want %v", got, x.want)
				}
				if r := c.run(task); r.State != waihu.RunEnded || r.Reason != waihu.RunDone {
					t.Errorf("the run: %+v", r)
				}
			})
		})
	}
}

// TestCampaignNewNumbersFirst: redial_new_number_policy 1 keeps due redials behind fresh numbers.
func TestCampaignNewNumbersFirst(t *testing.T) {
	for _, policy := range []int{0, 1} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			inBubble(t, func(c *campaign) {
				c.ends(time.Minute, waihu.Busy)
				task := c.task(20, body(1, object{"redial_enabled": 1, "redial_interval": 3, "redial_max_times": 1, "da_status": []int{8}, "redial_new_number_policy": policy}))
				c.start(task)
				c.after(2 * time.Hour)
				list, firstRedial, lastFresh := c.called(task), 0, 0
				for i, d := range list {
					if d.N == 1 {
						lastFresh = i
					} else if firstRedial == 0 {
						firstRedial = i
					}
				}
				if len(list) != 40 || (firstRedial > lastFresh) != (policy == 1) {
					t.Errorf("%d dials, the first redial was the %d., the last fresh number the %d.", len(list), firstRedial, lastFresh)
				}
			})
		})
	}
}

// TestCampaignRouting: which script talks.
func TestCampaignRouting(t *testing.T) {
	t.Parallel()
	agents := func(list []dial) (ids []string) {
		for _, d := range list {
			ids = append(ids, string(d.Agent.ID))
		}
		return ids
	}
	t.Run("by time", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			c.ends(time.Second, waihu.Answered)
			task := c.task(4, body(1, object{"is_group_switch": 1, "interval_time": 3600, "destination_extension_list": []any{
				object{"begin": "09:00", "end": "10:30", "destination_extension": "11"}, object{"begin": "10:00", "end": "12:00", "destination_extension": "12"}}}))
			c.start(task) // at 08:00, 09:00, 10:00 and 11:00
			c.after(5 * time.Hour)
			if got := agents(c.called(task)); !slices.Equal(got, []string{"10", "11", "11", "12"}) {
				t.Errorf("%v", got)
			}
		})
	})
	t.Run("by variable", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			c.ends(time.Second, waihu.Answered)
			task := c.task(0, body(1, object{"is_group_switch": 2, "destination_extension_with_variable_list": []any{
				object{"mode": 1, "values": []string{"男"}, "destination_extension": "11", "sort": 2}, object{"mode": 0, "values": []string{"女", "未知"}, "destination_extension": "12", "sort": 1}}}))
			rows := []any{}
			words := []string{"男", "小女孩", "男人", "", "其他"}
			for i, word := range words {
				rows = append(rows, object{"phone": fmt.Sprint(13900000000 + i), "control_select_robot": word})
			}
			c.do("POST", oldPath+"/task/"+task+"/number", object{"data": rows}, nil)
			c.start(task)
			c.after(time.Minute)
			if got := agents(c.called(task)); !slices.Equal(got, []string{"11", "12", "12", "12", "12"}) {
				t.Errorf("%v by %v", got, words)
			}
		})
	})
	t.Run("several", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			c.ends(time.Second, waihu.Answered)
			list := []any{object{"destination_extension": "12", "sort": 2}, object{"destination_extension": "11", "sort": 1}, object{"destination_extension": "10", "sort": 3}}
			turns := c.task(7, body(1, object{"is_group_switch": 3, "destination_extension_multi_config": object{"dial_mode": 0, "list": list}}))
			random := c.task(90, body(1, object{"is_group_switch": 3, "destination_extension_multi_config": object{"dial_mode": 1, "list": list}}))
			c.start(turns)
			c.start(random)
			c.after(time.Hour)
			if got := agents(c.called(turns)); !slices.Equal(got, []string{"11", "12", "10", "11", "12", "10", "11"}) {
				t.Errorf("in turn: %v", got)
			}
			n := map[string]int{}
			for _, id := range agents(c.called(random)) {
				n[id]++
			}
			if n["10"] < 12 || n["11"] < 12 || n["12"] < 12 || n["10"]+n["11"]+n["12"] != 90 {
				t.Errorf("at random: %v", n)
			}
		})
	})
}

// TestCampaignSuppressed: a callee who wants no more calls is not dialled again, by no task and not by a redial.
func TestCampaignSuppressed(t *testing.T) {
	inBubble(t, func(c *campaign) {
		c.callee = func(waihu.Attempt) (time.Duration, waihu.Outcome) {
			return time.Minute, waihu.Outcome{Disposition: waihu.Busy, OptOut: true}
		}
		redial := object{"redial_enabled": 1, "redial_interval": 1, "redial_max_times": 3, "da_status": []int{8, 11}}
		first := c.task(2, body(1, redial))
		c.start(first)
		c.after(time.Hour)
		second := c.task(3, body(1, redial))
		c.start(second)
		c.after(time.Hour)
		if n, m := len(c.called(first)), c.called(second); n != 2 || len(m) != 1 || m[0].Phone != "13900000002" {
			t.Errorf("%d dials by the first task, %d by the second", n, len(m))
		}
		var rows []struct {
			Number string
			Status int
			Times  int `json:"call_times"`
		}
		c.do("GET", oldPath+"/task/"+second+"/number", nil, &rows)
		if len(rows) != 3 || rows[0].Status != 11 || rows[0].Times != 0 || rows[1].Status != 11 || rows[2].Status != 8 {
			t.Errorf("%+v, want the first two as 11 without a call", rows)
		}
		var stat struct {
			Status []struct{ Status, Count int } `json:"number_status"`
		}
		c.do("GET", oldPath+"/task/"+second+"/stat", nil, &stat)
		if stat.Status[11].Count != 2 {
			t.Errorf("%+v", stat.Status)
		}
	})
}

// TestCampaignLines: reservations, residue, sharing, and lines that go.
func TestCampaignLines(t *testing.T) {
	t.Parallel()
	residue := func(c *campaign) map[string]int {
		var init struct {
			Lines []struct {
				ID      string `json:"line_id"`
				Residue int
			} `json:"caller_line_list"`
		}
		c.do("GET", newPath+"/task/create", nil, &init)
		out := map[string]int{}
		for _, l := range init.Lines {
			out[l.ID] = l.Residue
		}
		return out
	}
	only := func(c *campaign, lines ...waihu.LineID) { // the dialer carries these alone
		for id, s := range c.lines {
			if !slices.Contains(lines, id) {
				s.Down = "not in this test"
				c.lines[id] = s
			}
		}
	}
	t.Run("reserved beside unreserved", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			only(c, "big")
			c.ends(10*time.Minute, waihu.Answered)
			reserved := c.task(100, body(4, nil))
			a := c.task(100, body(10, object{"line": []any{}}))
			b := c.task(100, body(2, object{"line": []any{}}))
			c.start(a)
			c.after(time.Second)
			c.start(reserved)
			c.start(b)
			if r := residue(c); r["big"] != 6 || r["slow"] != 10 {
				t.Errorf("residue %v", r)
			}
			if m := c.refused(422, "POST", newPath+"/task", body(7, nil)); !strings.Contains(m, "residue") || !strings.Contains(m, "6") {
				t.Errorf("a task beyond the residue: %s", m)
			}
			c.after(time.Hour)
			if p := c.peaks["line big"]; p != 10 {
				t.Errorf("%d calls at once on the line, want its 10 channels used", p)
			}
			c.mu.Lock()
			live := []int{c.live["task "+reserved], c.live["task "+a], c.live["task "+b]}
			c.mu.Unlock()
			if !slices.Equal(live, []int{4, 4, 2}) {
				t.Errorf("live calls %v, want the reserved task's 4 and the other 6 shared 4 to 2", live)
			}
			c.stop(reserved)
			c.after(time.Hour)
			if r := residue(c); r["big"] != 10 {
				t.Errorf("residue %v after the end of the run", r)
			}
		})
	})
	t.Run("two tasks on one line", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			c.ends(7*time.Second, waihu.Answered)
			a, b := c.task(60, body(5, nil)), c.task(60, body(5, nil))
			c.start(a)
			c.start(b)
			c.after(20 * time.Minute)
			if n := c.counts(a).State[waihu.NumberDone] + c.counts(b).State[waihu.NumberDone]; n != 120 || c.peaks["line big"] != 10 || c.peaks["task "+a] != 5 {
				t.Errorf("%d done, peaks %v", n, c.peaks)
			}
		})
	})
	t.Run("several lines", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			c.ends(time.Minute, waihu.Answered)
			b := body(8, object{"line": []any{"big", "slow"}})
			task := c.task(80, b)
			c.start(task)
			c.after(time.Hour)
			if c.peaks["both "+task+" big"] != 4 || c.peaks["both "+task+" slow"] != 4 {
				t.Errorf("peaks %v, want 4 on each line", c.peaks)
			}
			b["maximumcall"] = 7
			c.refused(422, "POST", newPath+"/task", b)
		})
	})
	t.Run("expiry", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			c.ends(7*time.Minute, waihu.Answered)
			task := c.task(60, body(4, object{"line": []any{object{"id": "short", "limit": 4}}}))
			c.start(task)
			c.after(2 * time.Hour)
			list := c.called(task)
			if last := list[len(list)-1].at; len(list) < 30 || !last.Before(clock(1, 9, 0)) {
				t.Errorf("%d dials, the last at %v", len(list), last)
			}
			if r := c.run(task); r.State != waihu.RunEnded || r.Reason != waihu.RunAbnormal || !strings.Contains(r.Detail, "short has expired") {
				t.Errorf("%+v", r)
			}
			c.refused(422, "PUT", newPath+"/task_start/"+task, nil)
		})
	})
	t.Run("ten faults of our own", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			c.ends(time.Second, waihu.OurFault)
			task := c.task(100, body(1, nil))
			c.start(task)
			c.after(time.Minute)
			if r := c.run(task); r.State != waihu.RunEnded || r.Reason != waihu.RunAbnormal || len(c.called(task)) != 10 || c.status(task) != 1 {
				t.Errorf("%d dials, %+v", len(c.called(task)), r)
			}
			c.ends(time.Second, waihu.Answered)
			c.start(task) // somebody has mended it
			c.after(time.Hour)
			if n := c.counts(task).State[waihu.NumberDone]; n != 100 {
				t.Errorf("%d of 100 done after the line was mended", n)
			}
		})
	})
	t.Run("retry after", func(t *testing.T) {
		inBubble(t, func(c *campaign) {
			only(c, "big", "slow")
			c.ends(time.Second, waihu.Answered)
			task := c.task(40, body(8, object{"line": []any{"big", "slow"}}))
			until := time.Now().Add(20 * time.Minute)
			c.mu.Lock()
			c.lines["big"] = waihu.LineState{Capacity: 10, NotBefore: until}
			c.mu.Unlock()
			c.start(task)
			c.after(time.Second)
			c.numbers(task, 100, 40)
			c.after(10 * time.Minute)
			for _, d := range c.called(task) {
				if d.Line == "big" {
					t.Fatalf("dialled on a line that asked to wait, at %v", d.at)
				}
			}
			c.after(time.Until(until) + time.Second)
			c.numbers(task, 200, 40)
			c.after(time.Minute)
			if c.peaks["line big"] == 0 || c.counts(task).State[waihu.NumberDone] != 120 {
				t.Errorf("peaks %v, %v", c.peaks, c.counts(task).State)
			}
		})
	})
}
