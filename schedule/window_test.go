package schedule

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata"

	"waihu"
)

func all(spans ...waihu.Span) (w waihu.Weekly) {
	for i := range w {
		w[i] = spans
	}
	return w
}

func hm(h, m int) int { return h*60 + m }

// at reads a wall-clock time of the zone.
func at(t testing.TB, zone, s string) time.Time {
	t.Helper()
	v, err := time.ParseInLocation("2006-01-02 15:04:05", s, waihu.Location(zone))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWindow(t *testing.T) {
	t.Parallel()
	const cn, ny = "Asia/Shanghai", "America/New_York"
	office := all(waihu.Span{From: hm(9, 0), To: hm(12, 0)}, waihu.Span{From: hm(13, 0), To: hm(18, 0)})
	whole := all(waihu.Span{From: 0, To: 1440})
	var weekdays waihu.Weekly
	for d := time.Monday; d <= time.Friday; d++ {
		weekdays[d] = []waihu.Span{{From: hm(9, 0), To: hm(18, 0)}}
	}
	var sundayNight waihu.Weekly
	sundayNight[0] = []waihu.Span{{From: hm(2, 0), To: hm(3, 0)}}
	var evening waihu.Weekly // Friday 20:00 to Saturday 04:00
	evening[time.Friday] = []waihu.Span{{From: hm(20, 0), To: 1440}}
	evening[time.Saturday] = []waihu.Span{{From: 0, To: hm(4, 0)}}
	period := func(zone, from, to string) waihu.Period {
		return waihu.Period{From: at(t, zone, from), To: at(t, zone, to)}
	}

	for _, c := range []struct {
		name       string
		zone       string
		weekly     waihu.Weekly
		start      string
		stop       string
		holidays   []waihu.Period
		now        string
		open       bool
		next       string // "" never
		nextZoneAt time.Time
	}{
		{name: "no hours at all: never", weekly: waihu.Weekly{}, now: "2025-01-06 10:00:00", open: false},
		{name: "around the clock: always", weekly: whole, now: "2025-01-06 10:00:00", open: true},
		{name: "around the clock until stop", weekly: whole, stop: "2025-03-01 00:00:00", now: "2025-01-06 10:00:00", open: true, next: "2025-03-01 00:00:00"},
		{name: "before start", weekly: whole, start: "2025-02-01 08:30:00", now: "2025-01-06 10:00:00", next: "2025-02-01 08:30:00"},
		{name: "start falls in closed hours", weekly: office, start: "2025-02-01 12:30:00", now: "2025-01-06 10:00:00", next: "2025-02-01 13:00:00"},
		{name: "at start", weekly: whole, start: "2025-02-01 08:30:00", now: "2025-02-01 08:30:00", open: true},
		{name: "at stop: over", weekly: whole, stop: "2025-02-01 08:30:00", now: "2025-02-01 08:30:00"},
		{name: "a moment before stop", weekly: whole, stop: "2025-02-01 08:30:00", now: "2025-02-01 08:29:59", open: true, next: "2025-02-01 08:30:00"},
		{name: "stop before it would open again", weekly: office, stop: "2025-01-06 20:00:00", now: "2025-01-06 19:00:00"},
		{name: "morning", weekly: office, now: "2025-01-06 09:00:00", open: true, next: "2025-01-06 12:00:00"},
		{name: "noon", weekly: office, now: "2025-01-06 12:00:00", next: "2025-01-06 13:00:00"},
		{name: "last second", weekly: office, now: "2025-01-06 17:59:59", open: true, next: "2025-01-06 18:00:00"},
		{name: "night", weekly: office, now: "2025-01-06 23:00:00", next: "2025-01-07 09:00:00"},
		{name: "weekend", weekly: weekdays, now: "2025-01-10 18:00:00", next: "2025-01-13 09:00:00"},
		{name: "over midnight by 24:00", weekly: evening, now: "2025-01-10 21:00:00", open: true, next: "2025-01-11 04:00:00"},
		{name: "after midnight", weekly: evening, now: "2025-01-11 00:00:00", open: true, next: "2025-01-11 04:00:00"},
		{name: "once a week, next week", weekly: evening, now: "2025-01-11 04:00:00", next: "2025-01-17 20:00:00"},
		{name: "in a holiday", weekly: office, holidays: []waihu.Period{period(cn, "2025-01-06 00:00:00", "2025-01-08 00:00:00")}, now: "2025-01-06 10:00:00", next: "2025-01-08 09:00:00"},
		{name: "holiday begins while open", weekly: office, holidays: []waihu.Period{period(cn, "2025-01-06 11:00:00", "2025-01-06 11:30:00")}, now: "2025-01-06 10:00:00", open: true, next: "2025-01-06 11:00:00"},
		{name: "holiday ends while open", weekly: office, holidays: []waihu.Period{period(cn, "2025-01-06 11:00:00", "2025-01-06 11:30:00")}, now: "2025-01-06 11:10:00", next: "2025-01-06 11:30:00"},
		{name: "holidays in a row, out of order, overlapping", weekly: office, holidays: []waihu.Period{
			period(cn, "2025-01-08 00:00:00", "2025-01-09 10:00:00"), period(cn, "2025-01-06 00:00:00", "2025-01-07 00:00:00"), period(cn, "2025-01-06 12:00:00", "2025-01-08 00:00:00")},
			now: "2025-01-06 10:00:00", next: "2025-01-09 10:00:00"},
		{name: "holiday past stop", weekly: office, stop: "2025-01-08 00:00:00", holidays: []waihu.Period{period(cn, "2025-01-06 00:00:00", "2025-01-09 00:00:00")}, now: "2025-01-06 10:00:00"},
		{name: "years of holiday", weekly: office, holidays: []waihu.Period{period(cn, "2025-01-06 00:00:00", "2031-01-09 00:00:00")}, now: "2025-01-06 10:00:00", next: "2031-01-09 09:00:00"},
		{name: "empty holiday does nothing", weekly: whole, holidays: []waihu.Period{period(cn, "2025-01-06 12:00:00", "2025-01-06 12:00:00")}, now: "2025-01-06 10:00:00", open: true},
		{name: "unknown zone is the default zone", zone: "Mars/Olympus", weekly: office, now: "2025-01-06 09:00:00", open: true, next: "2025-01-06 12:00:00"},
		// New York leaps from 02:00 to 03:00 on 2025-03-09 and repeats 01:00–02:00 on 2025-11-02.
		{name: "the skipped hour never comes", zone: ny, weekly: sundayNight, now: "2025-03-08 12:00:00", next: "2025-03-16 02:00:00"},
		{name: "a span over the leap ends by the wall clock", zone: ny, weekly: all(waihu.Span{From: hm(1, 0), To: hm(4, 0)}), now: "2025-03-09 01:30:00", open: true, next: "2025-03-09 04:00:00"},
		{name: "a span that begins in the gap opens at the leap", zone: ny, weekly: all(waihu.Span{From: hm(2, 30), To: hm(4, 0)}), now: "2025-03-09 01:30:00", nextZoneAt: time.Date(2025, 3, 9, 7, 0, 0, 0, time.UTC)},
		{name: "a span that ends in the gap closes at the leap", zone: ny, weekly: all(waihu.Span{From: hm(1, 0), To: hm(2, 30)}), now: "2025-03-09 01:30:00", open: true, nextZoneAt: time.Date(2025, 3, 9, 7, 0, 0, 0, time.UTC)},
		{name: "the repeated hour is open twice without a break", zone: ny, weekly: all(waihu.Span{From: hm(1, 0), To: hm(2, 0)}), now: "2025-11-02 01:30:00", open: true, nextZoneAt: time.Date(2025, 11, 2, 7, 0, 0, 0, time.UTC)},
		{name: "a half of the repeated hour is open twice", zone: ny, weekly: all(waihu.Span{From: hm(1, 0), To: hm(1, 30)}), now: "2025-11-02 01:10:00", open: true, nextZoneAt: time.Date(2025, 11, 2, 5, 30, 0, 0, time.UTC)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			zone := c.zone
			if zone == "" {
				zone = cn
			}
			task := waihu.Task{Weekly: c.weekly, Zone: zone, Holidays: c.holidays}
			if c.start != "" {
				task.Start = at(t, zone, c.start)
			}
			if c.stop != "" {
				task.Stop = at(t, zone, c.stop)
			}
			want := c.nextZoneAt
			if c.next != "" {
				want = at(t, zone, c.next)
			}
			open, next := Open(&task, at(t, zone, c.now))
			if open != c.open || !next.Equal(want) {
				t.Errorf("got %v until %v, want %v until %v", open, next, c.open, want)
			}
		})
	}

	t.Run("the half that comes the second time", func(t *testing.T) {
		t.Parallel()
		task := waihu.Task{Weekly: all(waihu.Span{From: hm(1, 0), To: hm(1, 30)}), Zone: ny}
		open, next := Open(&task, time.Date(2025, 11, 2, 5, 45, 0, 0, time.UTC)) // 01:45 EDT
		if want := time.Date(2025, 11, 2, 6, 0, 0, 0, time.UTC); open || !next.Equal(want) {
			t.Errorf("got %v until %v, want closed until 01:00 EST %v", open, next, want)
		}
	})
}

// TestWindowAgainstTheClock walks random windows minute by minute and compares with what Open foretold.
func TestWindowAgainstTheClock(t *testing.T) {
	t.Parallel()
	zones := []string{"Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo", "America/Santiago"}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		zone := zones[r.IntN(len(zones))]
		begin := time.Date(2011+r.IntN(15), time.Month(1+r.IntN(12)), 1+r.IntN(28), r.IntN(24), 0, 0, 0, time.UTC)
		if seed%5 == 0 {
			begin = time.Date(2011, 12, 28, 0, 0, 0, 0, time.UTC) // Apia skipped the 30th
		}
		task := waihu.Task{Zone: zone, Start: begin.Add(time.Duration(r.IntN(48)) * time.Hour), Stop: begin.Add(time.Duration(24+r.IntN(500)) * time.Hour)}
		for d := range task.Weekly {
			for range r.IntN(3) {
				from := r.IntN(1440)
				task.Weekly[d] = append(task.Weekly[d], waihu.Span{From: from, To: from + r.IntN(1441-from)})
			}
		}
		for range r.IntN(4) {
			from := begin.Add(time.Duration(r.IntN(30000)) * time.Minute)
			task.Holidays = append(task.Holidays, waihu.Period{From: from, To: from.Add(time.Duration(r.IntN(3000)-10) * time.Minute)})
		}
		w, loc := NewWindow(&task), task.Location()
		open, next := w.Open(begin)
		for now := begin; now.Before(begin.AddDate(0, 0, 21)); now = now.Add(time.Minute) {
			if now.Equal(next) || !next.IsZero() && now.After(next) {
				was := open
				if open, next = w.Open(now); open == was {
					t.Fatalf("seed %d: foretold a change at %v that did not come", seed, now)
				}
			}
			if got := truth(&task, loc, now); got != open {
				t.Fatalf("seed %d: at %v (%v) foretold %v, the clock says %v", seed, now, now.In(loc), open, got)
			}
		}
	}
}

// truth is the definition of a window, without any cleverness.
func truth(task *waihu.Task, loc *time.Location, now time.Time) bool {
	if now.Before(task.Start) || !now.Before(task.Stop) {
		return false
	}
	if slices.ContainsFunc(task.Holidays, func(p waihu.Period) bool { return !now.Before(p.From) && now.Before(p.To) }) {
		return false
	}
	local := now.In(loc)
	m := local.Hour()*60 + local.Minute()
	return slices.ContainsFunc(task.Weekly[local.Weekday()], func(s waihu.Span) bool { return s.From <= m && m < s.To })
}
