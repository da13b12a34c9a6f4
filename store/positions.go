package store

import (
	"context"
	"math"
	"slices"
	"sync"

	"waihu"
)

// positions knows how many numbers of each outcome lie in each block of a task's seqs, and when they were imported: by
// that a page is entered where it lies, and a filter by status or time is counted, without walking the rows before it.
// Blocks are counted when they are first asked for and then follow every commit. One process must write the ledger
// alone for that, so SQLite has it and PostgreSQL, on which other processes write too, walks.
//
// A block's counts are kept only when no transaction that touches it was under way while its rows were read:
// a transaction says so before it commits (moved) and takes it back after the end (settled). A task is
// tracked from a moment on at which no transaction is under way.
type positions struct {
	mu    sync.Mutex
	tasks map[int64]*trackedTask
}

type trackedTask struct {
	blocks []block // by seq / blockSize
}

const (
	blockSize = 2048
	// maxTracked tasks are kept: of a million numbers each, they take 50 MB.
	maxTracked  = 1000
	maxOutcomes = 32 // of waihu.Disposition
)

type block struct {
	counted   bool
	writing   int                 // transactions under way that may change it
	version   uint64              // rises when one of them has ended
	from, to  int64               // created_at of its rows, removed ones too
	byOutcome [maxOutcomes]uint16 // at most blockSize each
}

// move is a number that shows something else after the transaction; gone means not listed.
type move struct {
	task, seq int64
	from, to  waihu.Disposition
	at        int64 // created_at of a new row
}

// gone stands for a number that is removed, or not there yet.
const gone waihu.Disposition = -1

// moved notes that a number of the task will show another outcome if this transaction commits.
func (t *tx) moved(task, seq int64, from, to waihu.Disposition, at int64) {
	p := &t.s.positions
	if !t.s.d.embedded || from == to {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.tasks[task]; k != nil {
		k.block(seq).writing++
		t.moves = append(t.moves, move{task, seq, from, to, at})
	}
}

func (k *trackedTask) block(seq int64) *block {
	i := int(seq / blockSize)
	if n := i + 1 - len(k.blocks); n > 0 {
		k.blocks = append(k.blocks, make([]block, n)...)
	}
	return &k.blocks[i]
}

// settled applies what a transaction has moved. What one that was rolled back touched is counted anew.
func (p *positions) settled(moves []move, committed bool) {
	if len(moves) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range moves {
		k := p.tasks[m.task]
		if k == nil {
			continue
		}
		b := k.block(m.seq)
		b.writing--
		b.version++
		if b.counted = b.counted && committed; !b.counted {
			continue
		}
		if m.from != gone {
			b.byOutcome[m.from%maxOutcomes]--
		}
		if m.to != gone {
			b.byOutcome[m.to%maxOutcomes]++
		}
		if m.at != 0 {
			b.from, b.to = min(b.from, m.at), max(b.to, m.at)
		}
	}
}

// forget drops what is known of a task that is gone.
func (p *positions) forget(task int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tasks, task)
}

// track begins to follow a task, at a moment at which no transaction is under way.
func (s *Store) track(ctx context.Context, task int64) error {
	p := &s.positions
	p.mu.Lock()
	known := p.tasks[task] != nil
	p.mu.Unlock()
	if known {
		return nil
	}
	return s.update(ctx, normal, func(*tx) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.tasks == nil || len(p.tasks) >= maxTracked {
			p.tasks = map[int64]*trackedTask{}
		}
		if p.tasks[task] == nil {
			p.tasks[task] = &trackedTask{}
		}
		return nil
	})
}

// count is block i of the task as of now; it is read when it is not known.
func (t *tx) countBlock(task int64, i int) (block, error) {
	p := &t.s.positions
	p.mu.Lock()
	k := p.tasks[task]
	if k == nil { // dropped meanwhile with many others
		k = &trackedTask{}
	}
	seen := *k.block(int64(i) * blockSize)
	p.mu.Unlock()
	if seen.counted {
		return seen, nil
	}
	b := block{from: math.MaxInt64, to: math.MinInt64}
	err := t.each(func(scan func(...any) error) error {
		var outcome, n int
		var state waihu.NumberState
		var from, to int64
		err := scan(&outcome, &state, &n, &from, &to)
		if state != waihu.NumberRemoved {
			b.byOutcome[outcome%maxOutcomes] += uint16(n)
		}
		b.from, b.to = min(b.from, from), max(b.to, to)
		return err
	}, sqlCountBlock, task, int64(i)*blockSize, int64(i+1)*blockSize)
	if err != nil {
		return b, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := k.block(int64(i) * blockSize); seen.writing == 0 && now.writing == 0 && now.version == seen.version {
		b.counted, b.version = true, now.version
		*now = b
	}
	return b, nil
}

const sqlCountBlock = `select outcome, state, count(*), min(created_at), max(created_at) from numbers where task = $1 and seq >= $2 and seq < $3 group by outcome, state`

// placed says whether positions can count the filter: by status and time alone.
func (f *NumberFilter) placed() bool { return len(f.States) == 0 && len(f.Phones) == 0 && !f.all() }

// blockCount is how many rows of block i the filter wants. exact is false when it must be read because the time cuts the block.
func (f *NumberFilter) blockCount(b *block) (n int, exact bool) {
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !f.CreatedFrom.IsZero() {
		from = ms(f.CreatedFrom)
	}
	if !f.CreatedTo.IsZero() {
		to = ms(f.CreatedTo)
	}
	if b.to < from || b.from > to { // also a block without rows
		return 0, true
	}
	if len(f.Status) == 0 {
		for _, x := range b.byOutcome {
			n += int(x)
		}
	}
	for _, d := range unique(f.Status) {
		if d >= 0 && d < maxOutcomes {
			n += int(b.byOutcome[d])
		}
	}
	return n, n == 0 || from <= b.from && b.to <= to
}

// placedPage is the page of a filter by status and time, and how many rows there are in all: by the gauges when total is
// known, else by the blocks.
func (t *tx) placedPage(ref taskRef, f *NumberFilter, q *query, limit, offset, total int) (list []waihu.Number, all int, err error) {
	var last int64
	if _, err := t.one(into(&last), `select n from heads where name = $1`, seqHead(ref.serial)); err != nil {
		return nil, 0, err
	}
	blocks := int(last/blockSize) + 1
	counts := make([]int, blocks)
	for i := range counts {
		counts[i] = -1
	}
	count := func(i int) (int, error) {
		if counts[i] >= 0 {
			return counts[i], nil
		}
		b, err := t.countBlock(ref.serial, i)
		if err != nil {
			return 0, err
		}
		n, exact := f.blockCount(&b)
		if !exact {
			_, err = t.one(into(&n), `select count(*) from numbers n where `+q.String()+` and n.seq >= `+q.next(1)+` and n.seq < `+q.next(2), q.with(int64(i)*blockSize, int64(i+1)*blockSize)...)
		}
		counts[i] = n
		return n, err
	}
	if all = total; total < 0 {
		all = 0
		for i := range counts {
			n, err := count(i)
			if err != nil {
				return nil, 0, err
			}
			all += n
		}
	}
	if offset >= all {
		return nil, all, nil
	}
	// The block in which the page begins is found from the nearer end.
	i, before := 0, 0
	if offset > all/2 {
		i = blocks
		for behind := 0; i > 0 && behind < all-offset; {
			i--
			n, err := count(i)
			if err != nil {
				return nil, 0, err
			}
			behind += n
			before = all - behind
		}
	} else {
		for ; i < blocks; i++ {
			n, err := count(i)
			if err != nil {
				return nil, 0, err
			}
			if before+n > offset {
				break
			}
			before += n
		}
	}
	// From there block by block, those without a wanted row left out.
	for skip := max(0, offset-before); i < blocks && len(list) < limit; i++ {
		n, err := count(i)
		if err != nil {
			return nil, 0, err
		}
		if n == 0 || skip >= n {
			skip = max(0, skip-n)
			continue
		}
		if err := t.eachNumber(ref, func(n waihu.Number) { list = append(list, n) },
			q.String()+` and n.seq >= `+q.next(1)+` and n.seq < `+q.next(2)+` order by n.seq limit `+q.next(3)+` offset `+q.next(4),
			q.with(int64(i)*blockSize, int64(i+1)*blockSize, limit-len(list), skip)...); err != nil {
			return nil, 0, err
		}
		skip = 0
	}
	return slices.Clip(list), all, nil
}
