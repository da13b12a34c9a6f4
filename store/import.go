package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"waihu"
)

// How many rows a transaction of an import takes on PostgreSQL, and from how many on they travel
// through COPY instead of as JSON.
const (
	copyChunk     = 20_000
	campaignChunk = 500 // beside a campaign
	copyFrom      = 500
)

// AddNumbers appends numbers to the task, of any size, beside dialling: in slices that give way to
// ticks. A key that was removed comes back to life, a key that is there already is a duplicate and
// changes nothing. When it fails half-way, the report says what had been committed until then;
// sending the same batch again adds what is missing and reports the rest as duplicates.
func (s *Store) AddNumbers(ctx context.Context, account waihu.AccountID, task waihu.TaskID, list []NewNumber) (ImportReport, error) {
	return s.AddNumbersBy(ctx, account, task, list, "")
}

// AddNumbersBy is AddNumbers for a door: its name stands in the event, so that the door need not tell a client what the
// client has done itself.
func (s *Store) AddNumbersBy(ctx context.Context, account waihu.AccountID, task waihu.TaskID, list []NewNumber, by string) (ImportReport, error) {
	im := &importer{s: s, task: task, account: account, by: by}
	if err := im.prepare(list); err != nil {
		return ImportReport{}, err
	}
	err := s.inTurns(ctx, im.slice, im.commit)
	slices.Sort(im.report.DuplicateRows)
	return im.report, err
}

// importer is one AddNumbers on its way. What a slice did is pending until its commit.
type importer struct {
	s       *Store
	account waihu.AccountID
	task    waihu.TaskID
	by      string
	rows    []importRow
	next    int // rows before it are committed
	report  ImportReport
	told    int // numbers that an event has named
	ranges  seqRanges

	pending       ImportReport
	pendingNext   int
	pendingTold   int
	pendingRanges seqRanges
}

// seqRanges are numbers of a task by their seq, as first and last of each range.
type seqRanges [][2]int64

// maxRanges bounds one event, and with it the addresses that are made of it.
const maxRanges = 200

// with adds a seq, which is usually the next.
func (r seqRanges) with(seq int64) seqRanges {
	if n := len(r); n > 0 && r[n-1][1] == seq-1 {
		r[n-1][1] = seq
		return r
	}
	return append(r, [2]int64{seq, seq})
}

type importRow struct {
	index      int // in the caller's batch
	key, phone string
	data       string
	rnd        int64
}

// prepare encodes the rows and finds duplicates inside the batch.
func (im *importer) prepare(list []NewNumber) error {
	im.rows = make([]importRow, 0, len(list))
	seen := make(map[string]bool, len(list))
	for i, n := range list {
		key := n.Key
		if key == "" {
			key = string(n.Phone)
		}
		if n.Phone == "" {
			return waihu.FieldErrorf(fmt.Sprintf("numbers[%d]", i), "a phone number was expected")
		}
		if seen[key] || n.Phone == Erased { // the latter: erased while the import waited
			im.report.Duplicates++
			im.report.DuplicateRows = append(im.report.DuplicateRows, i)
			continue
		}
		seen[key] = true
		data, err := encodeData(n.Data)
		if err != nil {
			return err
		}
		im.rows = append(im.rows, importRow{i, clean(key), clean(string(n.Phone)), data, int64(rand.Uint32())})
	}
	return nil
}

// clean drops what PostgreSQL cannot keep in text.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

func encodeData(d waihu.NumberData) (string, error) {
	if len(d.Vars) == 0 && d.Route == "" && d.Extra == "" && d.Sort == 0 && len(d.Group) == 0 && d.Until == 0 && d.Callback == "" {
		return "", nil
	}
	b, err := json.Marshal(d)
	return strings.ReplaceAll(string(b), `\u0000`, ""), err
}

// commit counts what the last slice did: it is durable now.
func (im *importer) commit() {
	im.next, im.told, im.ranges = im.pendingNext, im.pendingTold, im.pendingRanges
	im.report.Added += im.pending.Added
	im.report.Revived += im.pending.Revived
	im.report.Duplicates += im.pending.Duplicates
	im.report.DuplicateRows = append(im.report.DuplicateRows, im.pending.DuplicateRows...)
	if im.pending.Added+im.pending.Revived > 0 {
		if im.pending.Revived > 0 {
			im.s.pages.drop()
		}
		im.s.dropBound(im.task)
		im.s.wakeOwner()
	}
	im.s.crash("import.mid")
}

// dropBound forgets where the task's fresh numbers begin.
func (s *Store) dropBound(id waihu.TaskID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.low, s.tasks[id].serial)
}

func (im *importer) slice(t *tx, more func() bool) (done bool, err error) {
	if err := im.s.disk.full(time.Now()); err != nil {
		return false, err
	}
	ref, err := t.findTask(im.account, im.task)
	if err != nil {
		return false, err
	}
	im.pending, im.pendingNext = ImportReport{}, im.next
	im.pendingTold, im.pendingRanges = im.told, slices.Clone(im.ranges)
	seq, err := t.head(seqHead(ref.serial), 0) // on PostgreSQL this locks out other imports of the task
	if err != nil {
		return false, err
	}
	now := im.s.now()
	var used int64
	if pg, ok := t.c.(*postgresConn); ok {
		used, err = im.chunk(t, pg, ref, seq, now)
	} else {
		used, err = im.byRow(t, more, ref, seq, now)
	}
	if err != nil {
		return false, err
	}
	if _, err := t.head(seqHead(ref.serial), used); err != nil {
		return false, err
	}
	b := newBatch()
	fresh := int64(im.pending.Added + im.pending.Revived)
	b.count(ref.serial, gaugeState, "0", fresh)
	b.count(ref.serial, gaugeState, "4", -int64(im.pending.Revived))
	b.count(ref.serial, byOutcome, "0", fresh)
	done = im.pendingNext == len(im.rows)
	if added := im.report.Added + im.report.Revived + int(fresh) - im.told; added > 0 && (done || len(im.pendingRanges) >= maxRanges) {
		b.event(waihu.EventNumbersAdded, im.account, im.task, now, 0, addedBody{Added: added, By: im.by, Ranges: im.pendingRanges})
		im.pendingTold, im.pendingRanges = im.told+added, nil
	}
	return done, t.flush(b)
}

// seqHead names the counter of a task's numbers.
func seqHead(task int64) string { return fmt.Sprintf("seq:%d", task) }

// byRow is the quickest way on SQLite: prepared statements row by row, many rows a transaction.
func (im *importer) byRow(t *tx, more func() bool, ref taskRef, seq int64, now time.Time) (used int64, err error) {
	for im.pendingNext < len(im.rows) {
		r := &im.rows[im.pendingNext]
		n, err := t.exec(sqlAddNumber, ref.serial, seq+used+1, r.key, r.phone, r.data, r.rnd, ms(now))
		if err != nil {
			return 0, err
		}
		switch {
		case n == 1:
			used++
			im.pending.Added++
			im.pendingRanges = im.pendingRanges.with(seq + used)
			t.moved(ref.serial, seq+used, gone, waihu.NoOutcome, ms(now))
		default:
			var back int64
			revived, err := t.one(into(&back), sqlRevive, ref.serial, r.key, r.phone, r.data, ms(now))
			if err != nil {
				return 0, err
			}
			if revived {
				im.pending.Revived++
				im.pendingRanges = im.pendingRanges.with(back)
				t.moved(ref.serial, back, gone, waihu.NoOutcome, 0)
			} else {
				im.duplicate(r.index)
			}
		}
		im.pendingNext++
		if im.pendingNext%16 == 0 && !more() {
			break
		}
	}
	return used, nil
}

func (im *importer) duplicate(index int) {
	im.pending.Duplicates++
	im.pending.DuplicateRows = append(im.pending.DuplicateRows, index)
}

// chunk adds many rows in one statement on PostgreSQL.
func (im *importer) chunk(t *tx, pg *postgresConn, ref taskRef, seq int64, now time.Time) (used int64, err error) {
	size := copyChunk
	if im.s.campaign() {
		size = campaignChunk
	}
	rows := im.rows[im.next:min(im.next+size, len(im.rows))]
	im.pendingNext = im.next + len(rows)
	if im.pendingNext < len(im.rows) {
		// Only the last chunk waits for the disk, and with it all before it: meanwhile the task's
		// gauges are not locked for the length of a sync, which ticks would have to wait for.
		if _, err := t.exec(`set local synchronous_commit = off`); err != nil {
			return 0, err
		}
	}
	add, revive := sqlAddCopied, sqlReviveCopied
	args := into(ref.serial, seq, ms(now))
	if len(rows) >= copyFrom {
		err = pg.copyNumbers(t.ctx, rows)
	} else {
		add, revive = sqlAddSent, sqlReviveSent
		list := make([][]any, len(rows))
		for i, r := range rows {
			list[i] = []any{i + 1, r.key, r.phone, r.data, r.rnd}
		}
		var param string
		param, err = jsonRows(list)
		args = append(args, param)
	}
	if err != nil {
		return 0, err
	}
	fresh := make([]bool, len(rows))
	if err := t.each(func(scan func(...any) error) error {
		var n int64
		if err := scan(&n); err != nil {
			return err
		}
		fresh[n-seq-1] = true
		im.pending.Added++
		return nil
	}, add, args...); err != nil {
		return 0, err
	}
	for i := range rows {
		if fresh[i] {
			im.pendingRanges = im.pendingRanges.with(seq + int64(i) + 1)
		}
	}
	if im.pending.Added == len(rows) {
		return int64(len(rows)), nil
	}
	revived := map[string]bool{}
	if err := t.each(func(scan func(...any) error) error {
		var key string
		var back int64
		err := scan(&key, &back)
		revived[key] = true
		im.pendingRanges = im.pendingRanges.with(back)
		return err
	}, revive, args...); err != nil {
		return 0, err
	}
	for i, r := range rows {
		switch {
		case fresh[i]:
		case revived[r.key]:
			im.pending.Revived++
		default:
			im.duplicate(r.index)
		}
	}
	return int64(len(rows)), nil
}

const sqlAddNumber = `insert into numbers (task, seq, key, phone, data, rnd, state, due_at, attempts, redials, faults, outcome, grade, last_call, created_at, updated_at)
	values ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, 0, 0, '', 0, $7, $7) on conflict (task, key) do nothing`

const sqlRevive = `update numbers set phone = $3, data = $4, state = 0, due_at = 0, redials = 0, faults = 0, outcome = 0, grade = '', updated_at = $5
	where task = $1 and key = $2 and state = 4 returning seq`

// Where the rows of a chunk are: in the temporary table that COPY filled, or in the parameter.
const (
	copiedRows = `import_numbers`
	sentRows   = `(select cast(r.value->>0 as bigint) as i, r.value->>1 as key, r.value->>2 as phone, r.value->>3 as data,
		cast(r.value->>4 as bigint) as rnd from {rows $4})`

	addBegin = `insert into numbers (task, seq, key, phone, data, rnd, state, due_at, attempts, redials, faults, outcome, grade, last_call, created_at, updated_at)
	select cast($1 as bigint), cast($2 as bigint) + i, key, phone, data, rnd, 0, 0, 0, 0, 0, 0, '', 0, cast($3 as bigint), cast($3 as bigint) from `
	addEnd = ` im on conflict (task, key) do nothing returning seq`

	reviveBegin = `update numbers set phone = im.phone, data = im.data, state = 0, due_at = 0, redials = 0, faults = 0, outcome = 0, grade = '', updated_at = $3
	from `
	reviveEnd = ` im where numbers.task = $1 and numbers.seq <= $2 and numbers.key = im.key and numbers.state = 4 returning numbers.key, numbers.seq`

	sqlAddCopied    = addBegin + copiedRows + addEnd
	sqlAddSent      = addBegin + sentRows + addEnd
	sqlReviveCopied = reviveBegin + copiedRows + reviveEnd
	sqlReviveSent   = reviveBegin + sentRows + reviveEnd
)
