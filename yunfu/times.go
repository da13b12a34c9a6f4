package yunfu

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// parseTime reads 2024-11-01 13:25:26 with - or /, with or without padding and seconds, or a date alone.
// With end a date alone is the last second of that day. 24:00 is the next day's beginning.
func parseTime(s string, loc *time.Location, end bool) (time.Time, bool) {
	s = strings.TrimSpace(strings.Replace(s, "T", " ", 1))
	date, clock, timed := strings.Cut(s, " ")
	ymd := strings.FieldsFunc(date, func(r rune) bool { return r == '-' || r == '/' })
	if len(ymd) != 3 || strings.Count(date, "-")+strings.Count(date, "/") != 2 {
		return time.Time{}, false
	}
	var n [6]int
	for i, part := range ymd {
		var ok bool
		if n[i], ok = digits(part, 4); !ok {
			return time.Time{}, false
		}
	}
	if timed {
		clock, _, _ = strings.Cut(strings.TrimSpace(clock), ".")
		hms := strings.Split(clock, ":")
		if len(hms) < 2 || len(hms) > 3 {
			return time.Time{}, false
		}
		for i, part := range hms {
			var ok bool
			if n[3+i], ok = digits(part, 2); !ok {
				return time.Time{}, false
			}
		}
	} else if end {
		n[3], n[4], n[5] = 23, 59, 59
	}
	midnight := n[3] == 24 && n[4] == 0 && n[5] == 0
	if n[0] < 1970 || n[3] > 23 && !midnight || n[4] > 59 || n[5] > 59 {
		return time.Time{}, false
	}
	day := time.Date(n[0], time.Month(n[1]), n[2], 0, 0, 0, 0, time.UTC)
	if day.Year() != n[0] || int(day.Month()) != n[1] || day.Day() != n[2] {
		return time.Time{}, false // 30 February
	}
	return time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, loc), true
}

// parseClock reads 9:00, 09:00 or 09:00:00 (with seconds 00) as minutes from midnight; 24:00 is 1440.
func parseClock(s string) (int, bool) {
	secs, ok := parseSeconds(s)
	return secs / 60, ok && secs%60 == 0
}

// parseSeconds reads a time of the day with optional seconds as seconds from midnight.
func parseSeconds(s string) (int, bool) {
	hms := strings.Split(strings.TrimSpace(s), ":")
	if len(hms) < 2 || len(hms) > 3 {
		return 0, false
	}
	total := 0
	for i, part := range hms {
		n, ok := digits(part, 2)
		if !ok || i > 0 && n > 59 {
			return 0, false
		}
		total += n * []int{3600, 60, 1}[i]
	}
	return total, total <= 24*3600
}

func digits(s string, max int) (int, bool) {
	if s == "" || len(s) > max || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// lastOf is the end of the second that a caller named as an inclusive bound.
func lastOf(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(time.Second - time.Millisecond)
}

// stamp is how answers write a point in time.
func stamp(t time.Time, loc *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(loc).Format(time.DateTime)
}

// stampOrNull is stamp with null for no time.
func stampOrNull(t time.Time, loc *time.Location) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t, loc)
}

// minuteStamp is how answers write the bounds of a holiday: no seconds when there are none.
func minuteStamp(t time.Time, loc *time.Location) string {
	if t.In(loc).Second() != 0 {
		return stamp(t, loc)
	}
	return t.In(loc).Format("2006-01-02 15:04")
}

func clockText(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }

// workHour is one open part of a day; wday 0 is Sunday, as in work_week.
type workHour struct {
	End   string `json:"end"`
	Wday  int    `json:"wday"`
	Begin string `json:"begin"`
}

// workHours and workWeek are a week in the form of task_extras.
func workHours(w waihu.Weekly) []workHour {
	out := []workHour{}
	for _, day := range weekFromMonday {
		for _, s := range w[day] {
			out = append(out, workHour{Begin: clockText(s.From), End: clockText(s.To), Wday: day})
		}
	}
	return out
}

func workWeek(w waihu.Weekly) []int {
	out := []int{}
	for _, day := range weekFromMonday {
		if len(w[day]) > 0 {
			out = append(out, day)
		}
	}
	return out
}

// weekFromMonday is the order in which the vendor writes a week: 1 to 6, then 0.
var weekFromMonday = [7]int{1, 2, 3, 4, 5, 6, 0}
