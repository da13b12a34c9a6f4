package store

import (
	"fmt"
	"sync"
)

// pageKeys remembers where pages of lists begin, so that reading a list page by page does not walk
// from its start each time. What it remembers may be slightly off after the list has changed before
// that place, as any page number is; it lives for a bounded number of pages.
type pageKeys struct {
	mu   sync.Mutex
	keys map[string]map[int]int64 // list -> offset -> key of the row before
	n    int
}

const maxPageKeys = 10_000

func (p *pageKeys) name(task int64, q *query) string { return fmt.Sprint(task, q.String(), q.args) }

// find is the nearest known place at or before offset: rows after key, of which skip are to be passed over.
func (p *pageKeys) find(task int64, q *query, offset int) (key int64, skip int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := 0
	for o, k := range p.keys[p.name(task, q)] {
		if o <= offset && o > best {
			best, key = o, k
		}
	}
	return key, offset - best
}

// near is the known place whose offset is nearest to the one asked for, on either side.
func (p *pageKeys) near(task int64, q *query, offset int) (at int, key int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for o, k := range p.keys[p.name(task, q)] {
		if !ok || max(o-offset, offset-o) < max(at-offset, offset-at) {
			at, key, ok = o, k, true
		}
	}
	return at, key, ok
}

func (p *pageKeys) note(task int64, q *query, offset int, key int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil || p.n >= maxPageKeys {
		p.keys, p.n = map[string]map[int]int64{}, 0
	}
	name := p.name(task, q)
	if p.keys[name] == nil {
		p.keys[name] = map[int]int64{}
	}
	if _, ok := p.keys[name][offset]; !ok {
		p.n++
	}
	p.keys[name][offset] = key
}

// drop forgets everything: a list has lost rows, or got rows back in its middle.
func (p *pageKeys) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys, p.n = nil, 0
}
