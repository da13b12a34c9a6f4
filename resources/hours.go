package resources

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waihu"
)

var weekdays = map[string]int{"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}

// weekly reads {all: [...], mon: [...]}; a day of its own replaces all.
func (p *plan) weekly(path string, in map[string][]string) (w waihu.Weekly) {
	for day, texts := range in {
		n, ok := weekdays[day]
		if !ok && day != "all" {
			p.add(join(path, day), "%q is not a day: all, mon, tue, wed, thu, fri, sat or sun was expected", day)
			continue
		}
		spans := []waihu.Span{}
		for i, text := range texts {
			s, err := parseSpan(text)
			if err != nil {
				p.add(index(join(path, day), i), "%v", err)
				continue
			}
			spans = append(spans, s)
		}
		slices.SortFunc(spans, func(a, b waihu.Span) int { return a.From - b.From })
		for i := 1; i < len(spans); i++ {
			if spans[i].From < spans[i-1].To {
				p.add(join(path, day), "two spans overlap")
			}
		}
		if ok {
			w[n] = spans
			continue
		}
		for n := range w {
			if _, own := in[dayName(n)]; !own {
				w[n] = spans
			}
		}
	}
	return w
}

func dayName(n int) string {
	for name, i := range weekdays {
		if i == n {
			return name
		}
	}
	return ""
}

// parseSpan reads 09:00-12:00, up to 24:00.
func parseSpan(text string) (waihu.Span, error) {
	from, to, ok := strings.Cut(text, "-")
	a, err1 := parseClock(from)
	b, err2 := parseClock(to)
	if !ok || err1 != nil || err2 != nil {
		return waihu.Span{}, fmt.Errorf("%q is not a part of a day: one like 09:00-12:00 was expected, up to 24:00", text)
	}
	if a >= b {
		return waihu.Span{}, fmt.Errorf("%q ends before it begins: a night is two spans, 22:00-24:00 and 00:00-06:00 of the next day", text)
	}
	return waihu.Span{From: a, To: b}, nil
}

func parseClock(text string) (int, error) {
	h, m, ok := strings.Cut(strings.TrimSpace(text), ":")
	hours, err1 := strconv.ParseUint(h, 10, 8)
	minutes, err2 := strconv.ParseUint(m, 10, 8)
	if !ok || err1 != nil || err2 != nil || len(h) > 2 || len(m) != 2 || minutes > 59 || hours*60+minutes > 1440 {
		return 0, fmt.Errorf("%q is not a time of day", text)
	}
	return int(hours*60 + minutes), nil
}

func (p *plan) buildHours(path string, h *hoursDoc) {
	p.named("calling hours", path, strconv.FormatInt(h.ID, 10), h.Name)
	account := p.account(path, h.Account)
	if len(h.Weekly) == 0 {
		p.add(path, `weekly was expected, such as {all: ["09:00-12:00"]}`)
	}
	if h.Default {
		p.once("default calling hours of account", string(account), join(path, "default"))
	}
	w := p.weekly(join(path, "weekly"), h.Weekly)
	p.hours[h.ID] = account
	p.put("calling_hours", "calling_hours", strconv.FormatInt(h.ID, 10), path, account, waihu.CallingHours{ID: h.ID, Account: account, Name: h.Name,
		Remark: h.Remark, Default: h.Default, SkipHoliday: h.SkipHoliday, Weekly: w})
}
