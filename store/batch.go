package store

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"waihu"
)

// batch collects what must move in the commit that makes it true: gauges, per-minute
// statistics, events, jobs. flush writes it, always in the same order of rows, so that
// two transactions never wait for each other in a circle.
type batch struct {
	counts map[gaugeKey]int64
	stats  map[statKey]int64
	events []waihu.Event
	jobs   []waihu.Job
}

// The kinds of gauges and statistics.
const (
	gaugeState  = "s"
	gaugeCalls  = "c" // calls that left or may have left
	byAgent     = "a" // the same by agent
	byOutcome   = "o"
	byGrade     = "g"
	byRounds    = "r"
	statStarted = "b"
	statTalk    = "t"

	gaugeReviews = "v" // reviews that a run, the code, waits for
	gaugeHits    = "h" // calls in which a wanted answer was found
	gaugeAnswers = "q" // answers to questions: reviewing.code
)

type gaugeKey struct {
	task       int64
	kind, code string
}

type statKey struct {
	task, minute int64
	kind, code   string
}

func newBatch() *batch {
	return &batch{counts: map[gaugeKey]int64{}, stats: map[statKey]int64{}}
}

func (b *batch) count(task int64, kind, code string, n int64) {
	b.counts[gaugeKey{task, kind, code}] += n
}

// state moves n numbers from one state to another; a removed number counts only as removed.
func (b *batch) state(task int64, from, to waihu.NumberState, n int64) {
	b.count(task, gaugeState, strconv.Itoa(int(from)), -n)
	b.count(task, gaugeState, strconv.Itoa(int(to)), n)
}

// shows moves a number from what it showed to what it shows.
func (b *batch) shows(task int64, from, to waihu.Disposition, fromGrade, toGrade string) {
	if from != to {
		b.count(task, byOutcome, strconv.Itoa(int(from)), -1)
		b.count(task, byOutcome, strconv.Itoa(int(to)), 1)
	}
	if fromGrade != toGrade {
		b.grade(task, fromGrade, -1)
		b.grade(task, toGrade, 1)
	}
}

func (b *batch) grade(task int64, grade string, n int64) {
	if grade != "" {
		b.count(task, byGrade, grade, n)
	}
}

func (b *batch) stat(task int64, when time.Time, kind, code string, n int64) {
	if n != 0 {
		b.stats[statKey{task, when.UnixMilli() / 60_000, kind, code}] += n
	}
}

// event adds an event; body is encoded as JSON.
func (b *batch) event(kind waihu.EventKind, account waihu.AccountID, task waihu.TaskID, when time.Time, call waihu.CallID, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic("store: an event body of ours cannot be encoded: " + err.Error()) // they are structs of strings and numbers
	}
	b.events = append(b.events, waihu.Event{Account: account, Task: task, At: when, Kind: kind, Call: call, Body: text})
}

// The bodies of events, as documented at waihu.EventKind.
type (
	runBody struct {
		Run    int             `json:"run"`
		Reason waihu.RunReason `json:"reason,omitempty"`
	}
	callBody struct {
		Seq         int64  `json:"seq"`
		Attempt     int    `json:"attempt,omitempty"`
		Disposition string `json:"disposition"`
		Review      bool   `json:"review,omitempty"`
	}
	addedBody struct {
		Added  int       `json:"added"`
		By     string    `json:"by,omitempty"`
		Ranges seqRanges `json:"ranges"`
	}
	removedBody struct {
		Removed int       `json:"removed"`
		By      string    `json:"by,omitempty"`
		Ranges  seqRanges `json:"ranges"`
	}
	batchBody struct {
		Batch string `json:"batch"`
		Kind  string `json:"kind"`
	}
)

func (t *tx) flush(b *batch) error {
	if err := t.flushCounts(b); err != nil {
		return err
	}
	if err := t.flushStats(b); err != nil {
		return err
	}
	if err := t.flushEvents(b.events); err != nil {
		return err
	}
	return t.flushJobs(b.jobs)
}

func (t *tx) flushCounts(b *batch) error {
	keys := slices.SortedFunc(maps.Keys(b.counts), func(x, y gaugeKey) int {
		return cmp.Or(cmp.Compare(x.task, y.task), cmp.Compare(x.kind, y.kind), cmp.Compare(x.code, y.code))
	})
	var list [][]any
	for _, k := range keys {
		if n := b.counts[k]; n != 0 {
			list = append(list, []any{k.task, k.kind, k.code, n})
		}
	}
	return t.execRows(sqlCounts, list)
}

const sqlCounts = `insert into counts (task, kind, code, n)
	select cast(r.value->>0 as bigint), r.value->>1, r.value->>2, cast(r.value->>3 as bigint) from {rows $1} where true
	on conflict (task, kind, code) do update set n = counts.n + excluded.n`

func (t *tx) flushStats(b *batch) error {
	keys := slices.SortedFunc(maps.Keys(b.stats), func(x, y statKey) int {
		return cmp.Or(cmp.Compare(x.task, y.task), cmp.Compare(x.minute, y.minute), cmp.Compare(x.kind, y.kind), cmp.Compare(x.code, y.code))
	})
	var list [][]any
	for _, k := range keys {
		list = append(list, []any{k.task, k.minute, k.kind, k.code, b.stats[k]})
	}
	return t.execRows(sqlStats, list)
}

const sqlStats = `insert into stats (task, minute, kind, code, n)
	select cast(r.value->>0 as bigint), cast(r.value->>1 as bigint), r.value->>2, r.value->>3, cast(r.value->>4 as bigint) from {rows $1} where true
	on conflict (task, minute, kind, code) do update set n = stats.n + excluded.n`

// flushEvents numbers the events per account and per task and writes them.
func (t *tx) flushEvents(events []waihu.Event) error {
	if len(events) == 0 {
		return nil
	}
	need := map[string]int64{}
	for _, e := range events {
		need[eventsHead(e.Account)]++
		if e.Task != "" {
			need[taskEventsHead(e.Task)]++
		}
	}
	var list [][]any
	for _, name := range slices.Sorted(maps.Keys(need)) {
		list = append(list, []any{name, need[name]})
	}
	param, err := jsonRows(list)
	if err != nil {
		return err
	}
	next := map[string]int64{}
	if err := t.each(func(scan func(...any) error) error {
		var name string
		var n int64
		if err := scan(&name, &n); err != nil {
			return err
		}
		next[name] = n - need[name]
		return nil
	}, sqlHeads, param); err != nil {
		return err
	}
	list = list[:0]
	for _, e := range events {
		next[eventsHead(e.Account)]++
		var taskN int64
		if e.Task != "" {
			next[taskEventsHead(e.Task)]++
			taskN = next[taskEventsHead(e.Task)]
		}
		list = append(list, []any{e.Account, next[eventsHead(e.Account)], e.Task, taskN, ms(e.At), e.Kind, int64(e.Call), string(e.Body)})
	}
	if t.heads == nil {
		t.heads = map[waihu.AccountID]int64{}
	}
	for _, e := range events {
		t.heads[e.Account] = next[eventsHead(e.Account)]
	}
	return t.execRows(sqlEvents, list)
}

func eventsHead(a waihu.AccountID) string  { return "events:" + string(a) }
func taskEventsHead(k waihu.TaskID) string { return "events-of:" + string(k) }

const sqlHeads = `insert into heads (name, n) select r.value->>0, cast(r.value->>1 as bigint) from {rows $1} where true
	on conflict (name) do update set n = heads.n + excluded.n returning name, n`

const sqlEvents = `insert into events (account, n, task, task_n, at, kind, call, body)
	select r.value->>0, cast(r.value->>1 as bigint), r.value->>2, cast(r.value->>3 as bigint), cast(r.value->>4 as bigint), r.value->>5,
		cast(r.value->>6 as bigint), r.value->>7 from {rows $1}`

// execRows runs a statement whose only parameter is {rows $1}; nothing to do without rows.
func (t *tx) execRows(sql string, list [][]any, more ...any) error {
	if len(list) == 0 {
		return nil
	}
	param, err := jsonRows(list)
	if err != nil {
		return err
	}
	_, err = t.exec(sql, append([]any{param}, more...)...)
	return err
}
