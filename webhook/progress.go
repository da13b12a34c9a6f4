package webhook

import (
	"maps"
	"slices"
	"time"

	"waihu"
	"waihu/store"
)

// progress is what became of an endpoint's events and is not saved yet.
type progress struct {
	cursors map[waihu.AccountID]int64
	stepped map[store.EventRef]store.FailedDelivery
	done    map[store.EventRef]bool
	sent    int64
	ok      time.Time
	errorAt time.Time
	err     string
	block   *store.Block
}

func newProgress() *progress {
	return &progress{cursors: map[waihu.AccountID]int64{}, stepped: map[store.EventRef]store.FailedDelivery{}, done: map[store.EventRef]bool{}}
}

func (p *progress) empty() bool {
	return len(p.cursors)+len(p.stepped)+len(p.done) == 0 && p.sent == 0 && p.ok.IsZero() && p.errorAt.IsZero() && p.block == nil
}

func (p *progress) step(d store.FailedDelivery) {
	ref := store.EventRef{Account: d.Account, N: d.N}
	delete(p.done, ref)
	p.stepped[ref] = d
}

func (p *progress) finish(ref store.EventRef) {
	delete(p.stepped, ref)
	p.done[ref] = true
}

// add brings what happened later on top.
func (p *progress) add(later *progress) {
	maps.Copy(p.cursors, later.cursors)
	for _, d := range later.stepped {
		p.step(d)
	}
	for ref := range later.done {
		p.finish(ref)
	}
	p.sent += later.sent
	if later.ok.After(p.ok) {
		p.ok = later.ok
	}
	if later.errorAt.After(p.errorAt) {
		p.errorAt, p.err = later.errorAt, later.err
	}
	if later.block != nil {
		p.block = later.block
	}
}

// progress is the form in which the store takes it.
func (p *progress) progress(endpoint, version int64) store.DeliveryProgress {
	out := store.DeliveryProgress{Endpoint: endpoint, Version: version, Cursors: p.cursors, Stepped: slices.Collect(maps.Values(p.stepped)),
		Done: slices.Collect(maps.Keys(p.done)), Sent: p.sent, OK: p.ok, Block: p.block}
	if p.errorAt.After(p.ok) {
		out.ErrorAt, out.Error = p.errorAt, p.err
	}
	return out
}
