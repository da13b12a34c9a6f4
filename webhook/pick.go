package webhook

import (
	"time"

	"waihu"
	"waihu/store"
)

// most are the events that a door may put into one POST.
const most = 100

// pick is what is sent next, nil when nothing can be: what failed and is due again, else something new. While nothing gets through
// the two take turns, so that one bad event is told from a bad endpoint; and no more than maxFailing are at fault at a time.
func (w *worker) pick(now time.Time) *item {
	again := w.due(now)
	if again != nil && (again != w.culprit || w.failures == 0) && !w.probe {
		return w.shaped(again, now)
	}
	for i := range w.lanes {
		l := w.lanes[(w.turn+i)%len(w.lanes)]
		if w.failures > 0 && l.failing() >= maxFailing {
			continue
		}
		if it := w.fresh(l, now); it != nil {
			w.turn = (w.turn + i + 1) % len(w.lanes)
			return it
		}
	}
	if again != nil && !w.probe {
		return w.shaped(again, now)
	}
	return nil
}

// due is what is tried again now, the earliest first, but rather another than the one that failed last. Of the events of a call that
// were stepped over only the first may be tried: the others wait for it.
func (w *worker) due(now time.Time) (best *item) {
	for _, l := range w.lanes {
		calls := map[waihu.CallID]bool{}
		for _, it := range l.items {
			if call := it.events[0].Call; it.stepped && call != 0 {
				if calls[call] {
					continue
				}
				calls[call] = true
			}
			if it.flying || now.Before(it.due) {
				continue
			}
			if best == nil || best == w.culprit || (it != w.culprit && it.due.Before(best.due)) {
				best = it
			}
		}
	}
	return best
}

// fresh is a POST of new events of a lane. Events of which the door has nothing to tell are passed over.
func (w *worker) fresh(l *lane, now time.Time) *item {
	for w.ctx.Err() == nil {
		events := l.ready(most)
		if len(events) == 0 {
			return nil
		}
		p, n, err := w.shape(events)
		if err != nil {
			n = 1
		}
		l.remove(events[:n])
		if err == nil && p.Body == nil {
			continue
		}
		it := &item{lane: l, events: events[:n:n]}
		if err == nil {
			it.payload = &p
		}
		l.put(it)
		if err == nil {
			return it
		}
		w.unshaped(it, err, now)
	}
	return nil
}

// shaped makes the POST of an item whose payload was not kept; nil: there is none now.
func (w *worker) shaped(it *item, now time.Time) *item {
	if it.payload != nil {
		return it
	}
	p, n, err := w.shape(it.events)
	switch {
	case err != nil:
		w.unshaped(it, err, now)
		return nil
	case n < len(it.events): // the rest becomes another POST
		rest := &item{lane: it.lane, events: it.events[n:], tries: it.tries, due: now}
		it.events = it.events[:n:n]
		it.lane.put(rest)
	}
	if p.Body == nil {
		w.done(it)
		return nil
	}
	it.payload = &p
	return it
}

// unshaped puts an item off that its door could not shape: that is no fault of the endpoint.
func (w *worker) unshaped(it *item, err error, now time.Time) {
	if it.err == "" {
		w.log.Error("an event could not be shaped: it is tried again", "door", w.e.Door, "event", it.events[0].N, "err", err)
	}
	it.tries++
	it.failed, it.err = true, "our side: the event could not be shaped"
	it.due = now.Add(vary(w.d.o.Again(it.tries)))
	if w.ctx.Err() != nil {
		it.tries--
	}
}

// done ends an item that was delivered, or of which there is nothing to tell.
func (w *worker) done(it *item) {
	it.lane.drop(it)
	if !it.stepped {
		return
	}
	w.note(func(p *progress) {
		for _, e := range it.events {
			p.finish(store.EventRef{Account: e.Account, N: e.N})
		}
	})
}
