package keyue

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// The frame in which a V3 task may call, in minutes.
const (
	frameFrom = 9 * 60
	frameTo   = 21 * 60
)

// forbidHoliday is the number of "holidays" among the forbidden days; 0 to 6 are Sunday to Saturday.
const forbidHoliday = 99

// within cuts the forbidden parts out of the open ones of a day.
func within(open, forbidden []waihu.Span) []waihu.Span {
	out := slices.Clone(open)
	for _, f := range forbidden {
		var left []waihu.Span
		for _, s := range out {
			if f.To <= s.From || f.From >= s.To {
				left = append(left, s)
				continue
			}
			if s.From < f.From {
				left = append(left, waihu.Span{From: s.From, To: f.From})
			}
			if f.To < s.To {
				left = append(left, waihu.Span{From: f.To, To: s.To})
			}
		}
		out = left
	}
	return out
}

// sameDays is a week whose days are alike but for the forbidden ones.
func sameDays(open, forbidden []waihu.Span, days []int) (w waihu.Weekly) {
	for day := range w {
		if !slices.Contains(days, day) {
			w[day] = within(open, forbidden)
		}
	}
	return w
}

// weeklyInfo is dialWeeklyInfo: seven lists of pairs, Monday first.
func weeklyInfo(n aiobNode) (w waihu.Weekly, shown [][][]string) {
	days := n.list(7)
	if len(days) != 7 {
		n.wrong("应有 7 项,从周一到周日,收到 %d 项", len(days))
		return w, nil
	}
	for i, day := range days {
		pairs := [][]string{}
		for _, x := range day.list(20) {
			pair := x.list(2)
			if len(pair) != 2 {
				x.wrong("应为 [开始时间, 结束时间]")
				continue
			}
			s := waihu.Span{From: pair[0].need().clock(), To: pair[1].need().clock()}
			if s.From >= s.To {
				x.wrong("结束时间应晚于开始时间")
				continue
			}
			w[(i+1)%7] = append(w[(i+1)%7], s)
			pairs = append(pairs, []string{clockText(s.From), clockText(s.To)})
		}
		shown = append(shown, pairs)
	}
	return w, shown
}

func clockText(m int) string {
	return strconv.Itoa(m/600) + strconv.Itoa(m/60%10) + ":" + strconv.Itoa(m%60/10) + strconv.Itoa(m%10)
}

// statutory are the days of the Chinese public holidays that are fixed by law (State Council Order 795, since 2025): New Year, four days of
// Spring Festival from its eve, Qingming, two of Labour Day, Dragon Boat, Mid-Autumn, three of National Day. Each row is
// the first day of Spring Festival, Qingming, Dragon Boat and Mid-Autumn of a year. What the yearly notice adds around them stands in the apply file.
var statutory = map[int][4]string{
	2025: {"01-29", "04-04", "05-31", "10-06"}, 2026: {"02-17", "04-05", "06-19", "09-25"}, 2027: {"02-06", "04-05", "06-09", "09-15"},
	2028: {"01-26", "04-04", "05-28", "10-03"}, 2029: {"02-13", "04-04", "06-16", "09-22"}, 2030: {"02-03", "04-05", "06-05", "09-12"},
	2031: {"01-23", "04-05", "06-24", "10-01"}, 2032: {"02-11", "04-04", "06-12", "09-19"}, 2033: {"01-31", "04-04", "06-01", "09-08"},
	2034: {"02-19", "04-05", "06-20", "09-27"}, 2035: {"02-08", "04-05", "06-10", "09-16"},
}

// lastHoliday is the last year of which holidays are known; a task that may call beyond it cannot leave holidays out.
const lastHoliday = 2035

// holidays are the days on which nothing is dialled between two moments: the statutory ones and those of the account.
func holidays(from, to time.Time, own []waihu.Period, loc *time.Location) (list []waihu.Period) {
	add := func(day time.Time, days int) {
		p := waihu.Period{From: day, To: day.AddDate(0, 0, days)}
		if p.To.After(from) && p.From.Before(to) {
			list = append(list, p)
		}
	}
	for year := max(from.In(loc).Year(), 2025); year <= min(to.In(loc).Year(), lastHoliday); year++ {
		on := func(day string) time.Time {
			t, err := time.ParseInLocation("2006-01-02", strconv.Itoa(year)+"-"+day, loc)
			if err != nil {
				panic("keyue: the table of holidays: " + err.Error())
			}
			return t
		}
		row := statutory[year]
		add(on("01-01"), 1)
		add(on(row[0]).AddDate(0, 0, -1), 4)
		add(on(row[1]), 1)
		add(on("05-01"), 2)
		add(on(row[2]), 1)
		add(on(row[3]), 1)
		add(on("10-01"), 3)
	}
	for _, p := range own {
		if p.To.After(from) && p.From.Before(to) {
			list = append(list, p)
		}
	}
	return list
}

// ownHolidays are the further holidays that the account keeps: days, or first and last day with a slash between.
func ownHolidays(list []string, loc *time.Location) (out []waihu.Period, err error) {
	for _, text := range list {
		first, last, ok := strings.Cut(text, "/")
		if !ok {
			last = first
		}
		from, err := time.ParseInLocation(time.DateOnly, strings.TrimSpace(first), loc)
		if err != nil {
			return nil, err
		}
		to, err := time.ParseInLocation(time.DateOnly, strings.TrimSpace(last), loc)
		if err != nil {
			return nil, err
		}
		out = append(out, waihu.Period{From: from, To: to.AddDate(0, 0, 1)})
	}
	return out, nil
}
