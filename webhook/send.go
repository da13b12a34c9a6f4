package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"waihu"
	"waihu/egress"
	"waihu/store"
)

// The headers of every delivery. Those of standard-webhooks (id, timestamp, signature) are as that specification says; the signature is
// there when the endpoint has a secret. The others say where the events stand: numbers without gaps per account and per task.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
	headerEvent     = "Waihu-Event"      // number in the account, first-last for several
	headerTaskEvent = "Waihu-Task-Event" // number in the task, of a single event that has a task
)

// result is what became of a POST.
type result struct {
	it       *item
	began    time.Time
	err      error
	answered bool          // the endpoint gave an answer, if a bad one
	pause    time.Duration // it asked for
}

// send lets an item fly; settle hears of it.
func (w *worker) send(it *item, extra bool) {
	it.flying, it.extra = true, extra
	w.inFlight++
	w.probe = false
	p := it.payload
	go func() { // ends with its result, for which run waits
		began := time.Now()
		r := result{it: it, began: began}
		w.post(p, it.events, &r)
		w.results <- r
	}()
}

// post fills in what became of a POST.
func (w *worker) post(p *waihu.Payload, events []waihu.Event, out *result) {
	defer func() {
		if r := recover(); r != nil { // of the door's Accept
			w.log.Error("a door panicked while judging an answer", "door", w.e.Door, "panic", fmt.Sprint(r))
			out.err = errors.New("our side: the answer could not be judged")
		}
	}()
	r, err := newRequest(w.ctx, &w.e, p, events, time.Now())
	if err != nil {
		out.err = err
		return
	}
	res, err := w.d.o.Client.Do(r)
	if res != nil {
		out.answered = true
		out.pause = wish(res.Header.Get("Retry-After"), time.Now())
	}
	switch {
	case errors.Is(err, egress.ErrRedirect):
		out.err = fmt.Errorf("answered %d: %w", res.Status, err)
	case err != nil && res != nil:
		out.err = fmt.Errorf("answered %d, then %w", res.Status, err)
	case err != nil:
		out.err = err
	case p.Accept != nil:
		out.err = p.Accept(res.Status, res.Body)
	case res.Status < 200 || res.Status > 299:
		out.err = fmt.Errorf("answered %d", res.Status)
	}
}

// longestWish bounds a receiver's Retry-After.
const longestWish = 5 * time.Minute

// wish reads a Retry-After in its two forms, seconds and a date.
func wish(header string, now time.Time) time.Duration {
	pause := time.Duration(0)
	if seconds, err := strconv.Atoi(header); err == nil {
		pause = time.Duration(min(max(0, seconds), int(longestWish/time.Second))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		pause = at.Sub(now)
	}
	return min(max(0, pause), longestWish)
}

func newRequest(ctx context.Context, e *waihu.Endpoint, p *waihu.Payload, events []waihu.Event, now time.Time) (*http.Request, error) {
	address := e.URL
	if p.URL != "" {
		address = p.URL
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(p.Body))
	if err != nil {
		return nil, errors.New("our side: the endpoint's address is not one")
	}
	for name, values := range p.Header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	contentType := p.ContentType
	if contentType == "" {
		contentType = "application/json"
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "waihu")
	// The same message may be sent twice, so net/http may do so when a connection that was kept alive turns out to be closed. Without a
	// value the header is not sent.
	r.Header["Idempotency-Key"] = nil
	if e.Authorization != "" {
		r.Header.Set("Authorization", e.Authorization)
	}
	first, last := events[0], events[len(events)-1]
	number := strconv.FormatInt(first.N, 10)
	if len(events) > 1 {
		number += "-" + strconv.FormatInt(last.N, 10)
	} else if first.Task != "" {
		r.Header.Set(headerTaskEvent, strconv.FormatInt(first.TaskN, 10))
	}
	r.Header.Set(headerEvent, number)
	id, stamp := messageID(events), strconv.FormatInt(now.Unix(), 10)
	r.Header.Set(headerID, id)
	r.Header.Set(headerTimestamp, stamp)
	if e.Secret != "" {
		signature, err := Sign(e.Secret, id, stamp, p.Body)
		if err != nil {
			return nil, errors.New("our side: the endpoint's secret is not one")
		}
		r.Header.Set(headerSignature, signature)
	}
	return r, nil
}

// messageID is the same for every delivery of the same events, and different for others.
func messageID(events []waihu.Event) string {
	h := sha256.New()
	for _, e := range events {
		fmt.Fprintf(h, "%d %s %d\n", len(e.Account), e.Account, e.N)
	}
	return "evt_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// Sign is the header webhook-signature of standard-webhooks 1.0: v1, and base64 of HMAC-SHA256 over id.timestamp.body. timestamp is
// unix seconds.
func Sign(secret, id, timestamp string, body []byte) (string, error) {
	key, err := waihu.WebhookKey(secret)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// settle books what became of a POST.
func (w *worker) settle(r result) {
	it := r.it
	it.flying = false
	w.inFlight--
	if it.extra {
		w.d.extra.give(w.e.Account)
	}
	now := time.Now()
	if r.err == nil {
		w.succeeded(it, now)
	} else {
		w.fail(it, r, now)
	}
}

func (w *worker) succeeded(it *item, now time.Time) {
	w.done(it)
	w.note(func(p *progress) {
		p.sent += int64(len(it.events))
		p.ok = now
	})
	w.limit = min(w.limit+1, w.d.o.Parallel)
	if w.warned {
		w.warned = false
		w.log.Info("an endpoint takes deliveries again")
	}
	if !w.blocked.IsZero() { // a probe got through
		w.blocked = time.Time{}
		w.note(func(p *progress) { p.block = &store.Block{} })
	}
	w.failures, w.culprit, w.several, w.rest, w.probe = 0, nil, false, time.Time{}, false
	for _, l := range w.lanes {
		for _, x := range append([]*item{}, l.items...) { // stepping over changes the list
			if x.failed && !x.flying {
				w.alone(x, now)
			}
		}
	}
}

// suspect is how often an event fails, while others get through, before it is stepped over.
const suspect = 3

// alone is called when another item got through after x had failed: the fault is x's own.
func (w *worker) alone(x *item, now time.Time) {
	x.failed = false
	x.alone++
	x.due = now
	if x.alone > 1 { // once may be chance
		x.due = now.Add(vary(w.d.o.Again(x.alone - 1)))
	}
	switch {
	case x.alone >= w.d.o.Tries:
		w.log.Warn("an event was given up: it is kept among the endpoint's failed deliveries", "event", x.events[0].N, "kind", string(x.events[0].Kind), "reason", x.err)
		w.noteStepped(x, true)
		x.lane.drop(x)
	case x.stepped:
		w.noteStepped(x, false)
	case x.alone >= suspect && x.lane.steps < x.lane.most:
		l := x.lane
		l.drop(x)
		for _, e := range x.events { // one by one: a POST of many may fail for one of them
			one := &item{lane: l, events: []waihu.Event{e}, stepped: true, tries: x.tries, alone: x.alone, due: x.due, err: x.err}
			l.put(one)
			w.noteStepped(one, false)
		}
	}
}

func (w *worker) fail(it *item, r result, now time.Time) {
	it.tries++
	it.failed, it.err = true, r.err.Error()
	it.due = now.Add(vary(w.d.o.Again(it.alone)))
	it.payload = nil // shaped anew: what it told may be erased meanwhile, and an event may fail for what it said
	w.note(func(p *progress) { p.errorAt, p.err = now, it.err })
	w.limit = max(1, w.limit/2)
	w.several = w.several || (w.culprit != nil && w.culprit != it)
	if w.culprit == nil {
		w.several = false
	}
	w.culprit, w.answered = it, r.answered
	if r.began.Before(w.lastFail) { // one of several that flew when the endpoint broke counts as the one that told it
		return
	}
	w.lastFail = now
	w.failures++
	w.rest = now.Add(max(r.pause, vary(w.d.o.Pause(w.failures))))
	if w.failures == 2 && now.Sub(w.lastWarn) > time.Minute { // one that fails now and then is no news each time
		w.warned, w.lastWarn = true, now
		w.log.Warn("deliveries to an endpoint fail: they are tried again with growing pauses", "reason", it.err)
	}
	if now.Before(w.blocked) || w.failures < w.d.o.BlockAfter {
		return
	}
	w.blocked = now.Add(w.d.o.BlockFor)
	w.probe = !w.several && w.answered
	w.failures = max(1, w.d.o.BlockAfter-3) // after it a few failures block it again
	w.note(func(p *progress) { p.block = &store.Block{Since: now, Until: w.blocked} })
	w.log.Warn("an endpoint is blocked: nothing got through", "until", w.blocked.Format(time.RFC3339), "reason", it.err)
}
