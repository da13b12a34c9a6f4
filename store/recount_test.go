package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"waihu"
)

// recount is the whole truth about numbers, calls, gauges, events and runs as text, for comparing before and after.
func (w *world) recount() string {
	w.Helper()
	var b strings.Builder
	for _, q := range []string{
		`select task || ' ' || seq || ' ' || key || ' ' || state || ' ' || due_at || ' ' || attempts || ' ' || redials || ' ' || faults || ' ' || outcome || ' ' || grade from numbers order by task, seq`,
		`select id || ' ' || task || ' ' || run || ' ' || seq || ' ' || attempt || ' ' || ended_at || ' ' || outcome from calls order by id`,
		`select task || ' ' || kind || ' ' || code || ' ' || n from counts where n <> 0 order by task, kind, code`,
		`select account || ' ' || n || ' ' || kind || ' ' || body from events order by account, n`,
		`select task || ' ' || n || ' ' || state from runs order by task, n`,
		`select task || ' ' || line || ' ' || run || ' ' || cap from reservations order by task, line, run`,
	} {
		w.rows(q, func(line string) { fmt.Fprintln(&b, line) })
	}
	return b.String()
}

func (w *world) rows(q string, f func(string), args ...any) {
	w.Helper()
	if err := w.read(w.ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var line string
			err := scan(&line)
			f(line)
			return err
		}, q, args...)
	}); err != nil {
		w.Fatal(err)
	}
}

// checkGauges counts every gauge again from the rows and compares; and looks for gaps in the events.
func (w *world) checkGauges() {
	w.Helper()
	w.checkPositions()
	want, got := map[string]int{}, map[string]int{}
	count := func(q, kind string) {
		w.rows(q, func(line string) {
			task, code, _ := strings.Cut(line, " ")
			if kind == byRounds {
				n, _ := strconv.Atoi(code)
				code = roundsBucket(n)
			}
			want[task+" "+kind+" "+code]++
		})
	}
	count(`select task || ' ' || state from numbers`, gaugeState)
	count(`select task || ' ' || outcome from numbers where state <> 4`, byOutcome)
	count(`select task || ' ' || grade from numbers where state <> 4 and grade <> ''`, byGrade)
	count(`select task || ' ' || rounds from calls where outcome = 1`, byRounds)
	count(`select task || ' ' from calls where outcome <> 17`, gaugeCalls)
	count(`select task || ' ' || agent from calls where outcome <> 17`, byAgent)
	count(`select c.task || ' ' || c.run from jobs j join calls c on cast(c.id as text) = j.key where j.kind = 'call.review'`, gaugeReviews)
	w.rows(`select task || ' ' || body from reviews`, func(line string) {
		task, body, _ := strings.Cut(line, " ")
		var v waihu.Review
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			w.Fatal(err)
		}
		if v.Hit() {
			want[task+" "+gaugeHits+" "]++
		}
		for _, a := range v.Collected {
			if a.Hit {
				want[task+" "+gaugeAnswers+" "+a.Key+answerMark+a.Result]++
			}
		}
	})
	w.rows(`select task || ' ' || kind || ' ' || code || '|' || n from counts where n <> 0`, func(line string) {
		key, n, _ := strings.Cut(line, "|")
		got[key], _ = strconv.Atoi(n)
	})
	if !maps.Equal(want, got) {
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if want[k] != got[k] {
				w.Errorf("gauge %q is %d, counted %d", k, got[k], want[k])
			}
		}
		for k, n := range got {
			if _, ok := want[k]; !ok {
				w.Errorf("gauge %q is %d, counted 0", k, n)
			}
		}
	}
	// Events and statistics against each other: begun calls by minute sum up to the calls that left.
	for _, q := range []string{
		`select account || ' has ' || count(*) || ' events up to ' || max(n) from events group by account having count(*) <> max(n) or min(n) <> 1`,
		`select task || ' has ' || count(*) || ' events up to ' || max(task_n) from events where task <> '' group by task having count(*) <> max(task_n) or min(task_n) <> 1`,
		`select 'jobs ' || kind || ' of ' || account || ' are counted ' || waiting || ' and ' || dead from job_counts c
			where waiting <> (select count(*) from jobs j where j.kind = c.kind and j.account = c.account and j.state = 0)
			or dead <> (select count(*) from jobs j where j.kind = c.kind and j.account = c.account and j.state = 1)`,
		`select 'jobs of ' || kind || ' and ' || account || ' are not counted' from jobs j
			where not exists (select 1 from job_counts c where c.kind = j.kind and c.account = j.account)`,
		`select 'number ' || task || '/' || seq || ' is in flight without a live call' from numbers n where state = 1
			and not exists (select 1 from calls c where c.task = n.task and c.seq = n.seq and c.attempt = n.attempts and c.ended_at = 0)`,
		`select 'call ' || id || ' is live and its number is not in flight' from calls c where ended_at = 0
			and not exists (select 1 from numbers n where n.task = c.task and n.seq = c.seq and n.state = 1)`,
		`select 'run ' || task || '/' || n || ' ended with a live call' from runs u where state = 2 and exists (select 1 from calls c where c.task = u.task and c.run = u.n and c.ended_at = 0)`,
		`select 'run ' || task || '/' || n || ' ended and holds a line' from runs u where state = 2 and exists (select 1 from reservations v where v.task = u.task and v.run = u.n)`,
	} {
		w.rows(q, func(line string) { w.Error(line) })
	}
}
