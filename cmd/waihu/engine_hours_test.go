package main

import (
	"strings"
	"testing"
	"time"

	"waihu"
)

// hoursOf are the hours of Shanghai in which a task was dialled, by day of January.
func hoursOf(list []dial) map[int]map[int]int {
	out := map[int]map[int]int{}
	for _, d := range list {
		at := d.at.In(waihu.Location(""))
		if out[at.Day()] == nil {
			out[at.Day()] = map[int]int{}
		}
		out[at.Day()][at.Hour()]++
	}
	return out
}

// TestCampaignHours: a task with more to dial than eight days allow is dialled in exactly the hours that its windows leave open.
func TestCampaignHours(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name   string
		extras object
		want   func(day, hour int) bool // day 1 is Saturday
	}{
		{"group", object{"dial_time_id": 1}, func(day, hour int) bool {
			return day%7 > 2 && office(hour) || day%7 == 0 && office(hour)
		}},
		{"start and stop", object{"start_time": "2000-01-02 13:00:00", "stop_time": "2000-01-05 10:00:00"}, func(day, hour int) bool {
			at := day*24 + hour
			return at >= 2*24+13 && at < 5*24+10
		}},
		{"work_hour replaces the group's hours", object{"dial_time_id": 1, "work_hour": []any{object{"begin": "20:00", "end": "22:00", "wday": 1}, object{"begin": "07:00", "end": "08:00", "wday": 0}}},
			func(day, hour int) bool {
				return day%7 == 3 && (hour == 20 || hour == 21) || day%7 == 2 && hour == 7
			}},
		{"work_week cuts the days", object{"dial_time_id": 5, "work_week": []int{2, 4}}, func(day, _ int) bool { return day%7 == 4 || day%7 == 6 }},
		{"holidays", object{"holiday": []any{
			object{"start": "2000-01-02 00:00:00", "end": "2000-01-03 23:59:59"},
			object{"begin": "2000-01-05 08:00", "end": "2000-01-05 12:00"},
			object{"start": "2000-01-07", "end": "2000-01-07"}}}, func(day, hour int) bool {
			return day != 2 && day != 3 && day != 7 && !(day == 5 && hour >= 8 && hour < 12)
		}},
	} {
		t.Run(strings.ReplaceAll(x.name, " ", "_"), func(t *testing.T) {
			inBubble(t, func(c *campaign) {
				b := body(1, x.extras)
				c.ends(29*time.Minute+59*time.Second, waihu.NoAnswer)
				b["task_extras"].(object)["redial_enabled"] = 1
				b["task_extras"].(object)["redial_interval"] = 0
				b["task_extras"].(object)["redial_max_times"] = 3
				task := c.task(100, b)
				c.start(task)
				c.after(time.Until(clock(9, 0, 0)))
				got := hoursOf(c.called(task))
				for day := 1; day <= 8; day++ {
					for hour := range 24 {
						want := x.want(day, hour) && (day > 1 || hour >= 8)
						if n := got[day][hour]; (n > 0) != want {
							t.Errorf("2000-01-%02d %02d:00 %s: %d dials, want some: %v", day, hour, clock(day, hour, 0).Weekday(), n, want)
						}
					}
				}
			})
		})
	}
}

func office(hour int) bool { return hour >= 9 && hour < 12 || hour >= 14 && hour < 18 }

// TestCampaignHolidayEndsWithItsLastSecond: 23:59:59 as the end of a holiday means the end of the day.
func TestCampaignHolidayEndsWithItsLastSecond(t *testing.T) {
	inBubble(t, func(c *campaign) {
		c.ends(100*time.Millisecond, waihu.Answered)
		task := c.task(3, body(1, object{"holiday": []any{object{"start": "2000-01-01 00:00:00", "end": "2000-01-01 23:59:59"}, object{"start": "2000-01-01", "end": "2000-01-01"}}}))
		c.start(task)
		c.after(time.Until(clock(2, 0, 1)))
		list := c.called(task)
		if len(list) != 3 || list[0].at.Before(clock(2, 0, 0)) {
			t.Errorf("%d dials, the first at %v: before the holiday was over", len(list), list[0].at.In(waihu.Location("")))
		}
	})
}

func TestCampaignWindowOver(t *testing.T) {
	inBubble(t, func(c *campaign) {
		c.ends(10*time.Minute, waihu.Answered)
		task := c.task(10, body(2, object{"stop_time": "2000-01-01 08:05:00"}))
		c.start(task)
		c.after(6 * time.Minute)
		if r := c.run(task); r.State != waihu.RunClosed || r.Reason != waihu.RunTimeout || !r.ClosedAt.Equal(clock(1, 8, 5)) {
			t.Errorf("at stop_time: %+v", r)
		}
		if n := c.status(task); n != 1 && n != 3 {
			t.Errorf("the list shows status %d of a task whose calls drain", n)
		}
		if m := c.refused(422, "PUT", newPath+"/task_start/"+task, nil); !strings.Contains(m, "2000-01-01 08:05:00") {
			t.Errorf("a start after the window says %q", m)
		}
		c.after(10 * time.Minute)
		if r := c.run(task); r.State != waihu.RunEnded || len(c.called(task)) != 2 {
			t.Errorf("after the last call: %+v, %d dials", r, len(c.called(task)))
		}
		// A window that is over is accepted by update, as by create; a new one lets it start.
		c.do("PUT", newPath+"/task/"+task, body(2, object{"stop_time": "2000-01-01 08:06:00"}), nil)
		c.do("PUT", newPath+"/task/"+task, body(2, object{"stop_time": "2000-01-02 08:06:00"}), nil)
		c.start(task)
		c.after(time.Hour)
		if n := c.counts(task).State[waihu.NumberDone]; n != 10 {
			t.Errorf("%d of 10 done", n)
		}
	})
}

// TestCampaignGroupEdit: the group's hours are copied at create and at every update; an edit of the group moves no task.
func TestCampaignGroupEdit(t *testing.T) {
	inBubble(t, func(c *campaign) {
		task := c.task(1, body(1, object{"dial_time_id": 1})) // it is Saturday
		group, err := c.store.CallingHours(c.ctx, testAccount, 1)
		if err != nil {
			t.Fatal(err)
		}
		for d := range group.Weekly {
			group.Weekly[d] = []waihu.Span{{From: 0, To: 1440}}
		}
		if err := c.store.SaveCallingHours(c.ctx, &group); err != nil {
			t.Fatal(err)
		}
		c.start(task)
		c.after(6 * time.Hour)
		if n := len(c.called(task)); n != 0 {
			t.Fatalf("%d dials: the edit of the group moved the task", n)
		}
		c.stop(task)
		c.do("PUT", newPath+"/task/"+task, body(1, object{"dial_time_id": 1}), nil)
		c.start(task)
		c.after(time.Minute)
		if n := len(c.called(task)); n != 1 {
			t.Errorf("%d dials after an update, which copies the hours", n)
		}
	})
}
