package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waihu"
	"waihu/egress"
	"waihu/store"
)

func TestDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(acme, 3) // before the endpoint: not told
	r := newReceiver(t, nil)
	key := make([]byte, 32)
	key[5] = 9
	e := w.endpoint(acme, r.URL+"/hook?x=1", func(e *waihu.Endpoint) {
		e.Authorization, e.Secret = "Bearer customer", waihu.WebhookSecret(key)
	})
	stop := w.deliver()
	w.happen(acme, 20)
	w.happen(child, 5)
	w.happen(other, 5)
	list := r.distinct(t, 25)
	complete(t, list, acme, 4, 23)
	complete(t, list, child, 1, 5)
	for _, g := range list {
		if g.Account == other {
			t.Errorf("event %d of a stranger was delivered", g.N)
		}
		verify(t, key, g)
		if g.header.Get("Authorization") != "Bearer customer" || g.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers: %v", g.header)
		}
	}
	acmes := slices.DeleteFunc(firsts(list), func(g got) bool { return g.Account != acme })
	if !slices.IsSortedFunc(acmes, func(a, b got) int { return int(a.N - b.N) }) {
		t.Error("events of one task came out of order")
	}
	w.until("the progress is saved", func() bool { return w.state(e).Lag() == 0 && w.state(e).Sent >= 25 })
	const late = waihu.AccountID("late") // a sub-account made while it runs is followed at once
	if err := w.UpsertAccount(t.Context(), waihu.Account{ID: late, Parent: acme, Name: "late"}); err != nil {
		t.Fatal(err)
	}
	w.tasks[late] = w.task(late)
	w.happen(late, 1)
	complete(t, r.distinct(t, 26), late, 1, 1)
	w.until("the progress is saved", func() bool { return w.state(e).Lag() == 0 })
	stop()
	w.happen(acme, 1)
	w.deliver()
	list = r.distinct(t, 27)
	if len(list) != 27 {
		t.Errorf("%d deliveries: a life that ended in order delivers nothing twice", len(list))
	}
}

// verify does what a receiver's library does, without our code: the specification of standard-webhooks 1.0.
func verify(t *testing.T, key []byte, g got) {
	t.Helper()
	id, stamp := g.header.Get("webhook-id"), g.header.Get("webhook-timestamp")
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join([]string{id, stamp, g.body}, ".")))
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, s := range strings.Fields(g.header.Get("webhook-signature")) {
		if version, sum, _ := strings.Cut(s, ","); version == "v1" && sum == want {
			return
		}
	}
	t.Errorf("the signature %q of %s does not verify", g.header.Get("webhook-signature"), id)
}

// TestSignVector is the vector of the libraries of standard-webhooks.
func TestSignVector(t *testing.T) {
	t.Parallel()
	got, err := Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("%s, %v; %s was expected", got, err, want)
	}
}

func TestFilterAndEdit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := w.task(acme)
	r := newReceiver(t, nil)
	e := w.endpoint(acme, r.URL, func(e *waihu.Endpoint) { e.Task = second.ID })
	w.deliver()
	w.happen(acme, 5)
	if _, err := w.AddNumbers(t.Context(), acme, second.ID, []store.NewNumber{{Phone: "13900000001"}}); err != nil {
		t.Fatal(err)
	}
	list := r.distinct(t, 1)
	if list[0].Task != second.ID || len(list) != 1 || list[0].header.Get("waihu-task-event") != "1" || list[0].header.Get("waihu-event") != "6" {
		t.Errorf("only the second task's event was expected: %v", list)
	}
	none := []waihu.EventKind{"call.ended"}
	all := waihu.TaskID("")
	if err := w.UpdateEndpoint(t.Context(), acme, e.ID, store.EndpointEdit{Kinds: &none, Task: &all}); err != nil {
		t.Fatal(err)
	}
	w.happen(acme, 3)
	w.until("the cursor has passed what is not wanted", func() bool { return w.state(e).Lag() == 0 })
	any := []waihu.EventKind{}
	if err := w.UpdateEndpoint(t.Context(), acme, e.ID, store.EndpointEdit{Kinds: &any}); err != nil {
		t.Fatal(err)
	}
	w.happen(acme, 1)
	list = r.distinct(t, 2)
	if len(list) != 2 || list[1].N != 10 {
		t.Errorf("event 10 was expected after the edit: %v", list)
	}
	// all again from the first
	if err := w.ReplayEndpoint(t.Context(), acme, e.ID, "", 1); err != nil {
		t.Fatal(err)
	}
	complete(t, r.distinct(t, 10), acme, 1, 10)
	if err := w.RemoveEndpoint(t.Context(), acme, e.ID); err != nil {
		t.Fatal(err)
	}
}

// TestPoison: one event that the receiver never takes is stepped over, tried beside the others, given up, and delivered when asked for again.
func TestPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	heal := make(chan struct{})
	r := newReceiver(t, func(_ int, g got) int {
		select {
		case <-heal:
		default:
			if g.Account == acme && g.N == 3 {
				return http.StatusInternalServerError
			}
		}
		return 200
	})
	e := w.endpoint(acme, r.URL)
	w.deliver(func(o *Options) { o.Tries = 6 })
	// numbers.added of one task stay behind one another: those of the child get through meanwhile
	w.happen(acme, 6)
	for end := time.Now().Add(patience); w.state(e).Failed == 0; {
		if time.Now().After(end) {
			t.Fatalf("the event is not given up: %+v", w.state(e))
		}
		w.happen(child, 1)
	}
	complete(t, r.wait(t, "the rest", func(list []got) bool { return len(firsts(mine(list))) >= 5 }), acme, 1, 6, 3)
	failed, err := w.FailedDeliveries(t.Context(), acme, e.ID, "", 0, 0)
	if err != nil || len(failed) != 1 || failed[0].N != 3 || !failed[0].GivenUp || failed[0].Error != "answered 500" || failed[0].Tries != 6 {
		t.Errorf("the failed deliveries: %+v, %v", failed, err)
	}
	close(heal)
	if err := w.RetryDeliveries(t.Context(), acme, e.ID); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "the event that was given up", func(list []got) bool { return len(firsts(mine(list))) >= 6 })
	w.until("nothing is kept as failed", func() bool { st := w.state(e); return st.Failed == 0 && st.Waiting == 0 })
}

func mine(list []got) []got {
	return slices.DeleteFunc(slices.Clone(list), func(g got) bool { return g.Account != acme })
}

// TestBreaker: an endpoint that takes nothing is blocked, seen, released by hand, and goes on where it stood.
func TestBreaker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	heal := make(chan struct{})
	r := newReceiver(t, func(int, got) int {
		select {
		case <-heal:
			return 200
		default:
			return http.StatusServiceUnavailable
		}
	})
	e := w.endpoint(acme, r.URL)
	w.deliver(func(o *Options) { o.BlockAfter = 5 })
	w.happen(acme, 4)
	w.until("the endpoint is blocked", func() bool { return !w.state(e).BlockedUntil.IsZero() })
	st := w.state(e)
	if left := time.Until(st.BlockedUntil); left < 110*time.Minute || left > 2*time.Hour {
		t.Errorf("blocked for %v", left)
	}
	black, err := w.Blackouts(t.Context(), acme)
	if err != nil || len(black) != 1 || black[0].Endpoint != e.ID || black[0].URL != r.URL || black[0].Released {
		t.Errorf("blackouts: %+v, %v", black, err)
	}
	before := r.attempts()
	w.happen(acme, 4)
	if st := w.state(e); st.Lag() != 8 || st.LastError != "answered 503" || st.Failed != 0 {
		t.Errorf("while it is blocked: %+v", st)
	}
	close(heal)
	if after := r.attempts(); after > before+1 { // one probe is its right
		t.Errorf("%d attempts while blocked", after-before)
	}
	if err := w.ReleaseEndpoint(t.Context(), other, e.ID); waihu.ErrorCode(err) != waihu.ENotFound {
		t.Errorf("a stranger releases it: %v", err)
	}
	if err := w.ReleaseEndpoint(t.Context(), acme, e.ID); err != nil {
		t.Fatal(err)
	}
	complete(t, r.distinct(t, 8), acme, 1, 8)
	if black, err := w.Blackouts(t.Context(), acme); err != nil || len(black) != 1 || !black[0].Released {
		t.Errorf("blackouts after the release: %+v, %v", black, err)
	}
}

// TestHangingEndpoints: whoever hangs holds its own worker and nobody else's, whatever the number of those that hang.
func TestHangingEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	first := make(chan struct{}, 1000)
	bad := newReceiver(t, func(int, got) int {
		select {
		case first <- struct{}{}:
		default:
		}
		<-release
		return 500
	})
	defer close(release)
	good := newReceiver(t, nil)
	const many = 60
	for range many {
		w.endpoint(acme, bad.URL)
	}
	w.endpoint(other, good.URL)
	w.deliver(func(o *Options) {
		o.Extra = 4
		o.Client = client(t, func(e *egress.Options) { e.Timeout = 10 * patience })
	})
	w.happen(acme, 3)
	for range many {
		select {
		case <-first:
		case <-time.After(patience):
			t.Fatal("the bad endpoints were not asked")
		}
	}
	w.happen(other, 200)
	complete(t, good.distinct(t, 200), other, 1, 200)
	if n := bad.attempts(); n != many {
		t.Errorf("%d deliveries hang, one an endpoint was expected: what never succeeded has no right to more", n)
	}
}

// TestPool: an account gets a part of the pool and gives it back.
func TestPool(t *testing.T) {
	t.Parallel()
	p := newPool(8)
	for i := range 3 {
		if p.take(acme) != (i < 2) {
			t.Error("a quarter of 8 is 2")
		}
	}
	for i, a := range []waihu.AccountID{other, other, "x", "x", "y", "y"} {
		if !p.take(a) {
			t.Errorf("the %d-th was refused", i)
		}
	}
	if p.take("z") {
		t.Error("nine of eight")
	}
	p.give(acme)
	for i := range 2 {
		if p.take("z") != (i == 0) {
			t.Error("what was given back is to be had once")
		}
	}
}

// TestParallel: events of different tasks go out beside one another, those of one task one after the other.
func TestParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := w.task(acme)
	both := make(chan struct{})
	var mu sync.Mutex
	in := map[waihu.TaskID]int{}
	r := newReceiver(t, func(_ int, g got) int {
		if g.N <= 4 { // the first make the endpoint trusted: it gets two at once
			return 200
		}
		mu.Lock()
		in[g.Task]++
		if in[g.Task] > 1 {
			t.Errorf("two events of one task at once")
		}
		if len(in) == 2 && in[second.ID] > 0 && in[w.tasks[acme].ID] > 0 {
			select {
			case <-both:
			default:
				close(both)
			}
		}
		mu.Unlock()
		select {
		case <-both:
		case <-time.After(patience):
			t.Error("the tasks were told one after the other")
		}
		mu.Lock()
		in[g.Task]--
		mu.Unlock()
		return 200
	})
	w.endpoint(acme, r.URL)
	w.deliver(func(o *Options) { o.Client = client(t, func(e *egress.Options) { e.Timeout = patience }) })
	w.happen(acme, 4)
	r.distinct(t, 4)
	w.happen(acme, 3)
	for i := range 3 {
		if _, err := w.AddNumbers(t.Context(), acme, second.ID, []store.NewNumber{{Phone: waihu.PhoneNumber(strconv.Itoa(13900000000 + i))}}); err != nil {
			t.Fatal(err)
		}
	}
	complete(t, r.distinct(t, 10), acme, 1, 10)
}

// TestAcceptAndRest: a door may demand more than 2xx, say nothing of some events, and fail for a while.
func TestAcceptAndRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var refusals, trouble atomic.Int64
	r := newReceiver(t, nil)
	e := w.endpoint(acme, r.URL)
	shape := func(ctx context.Context, e waihu.Endpoint, events []waihu.Event) (waihu.Payload, int, error) {
		if events[0].N == 2 { // nothing to tell
			return waihu.Payload{}, 1, nil
		}
		switch {
		case events[0].N == 3 && trouble.Add(1) < 3:
			return waihu.Payload{}, 0, errors.New("the ledger is away")
		case events[0].N == 3 && trouble.Load() == 3:
			panic("a bug")
		}
		p, n, err := plainShape(ctx, e, events)
		p.Header = http.Header{"X-Door": {"yes"}}
		p.ContentType = "application/json; charset=utf-8"
		p.Accept = func(status int, body []byte) error {
			if status != 200 || refusals.Add(1) <= 2 {
				return errors.New("the answer was not the one that is wanted")
			}
			return nil
		}
		return p, n, err
	}
	w.deliver(func(o *Options) { o.Shapes["test"] = shape })
	w.happen(acme, 5)
	list := r.wait(t, "four events", func(list []got) bool { return len(firsts(list)) == 4 })
	complete(t, list, acme, 1, 5, 2)
	if h := list[0].header; h.Get("X-Door") != "yes" || h.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%v", h)
	}
	w.until("all is settled", func() bool { st := w.state(e); return st.Lag() == 0 && st.Sent == 4 })
	if refusals.Load() < 6 {
		t.Errorf("%d answers were judged", refusals.Load())
	}
}

// TestAddress: a door may send a message to another address than the endpoint's.
func TestAddress(t *testing.T) {
	t.Parallel()
	e := waihu.Endpoint{URL: "http://127.0.0.1:1/a", Authorization: "x"}
	for address, want := range map[string]string{"": e.URL, "http://127.0.0.1:1/b?order=1": "http://127.0.0.1:1/b?order=1"} {
		r, err := newRequest(t.Context(), &e, &waihu.Payload{Body: []byte("{}"), URL: address}, []waihu.Event{{N: 1}}, time.Now())
		if err != nil || r.URL.String() != want || r.Header.Get("Authorization") != "x" {
			t.Errorf("%q: %v %v", address, r, err)
		}
	}
}

// TestSteppedOverSurvives: what was stepped over is tried again by the next life.
func TestSteppedOverSurvives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var healed atomic.Bool
	r := newReceiver(t, func(_ int, g got) int {
		if g.Account == acme && g.N == 1 && !healed.Load() {
			return 500
		}
		return 200
	})
	e := w.endpoint(acme, r.URL)
	stop := w.deliver()
	w.happen(acme, 3)
	for end := time.Now().Add(patience); w.state(e).Waiting == 0; {
		if time.Now().After(end) {
			t.Fatalf("nothing was stepped over: %+v", w.state(e))
		}
		w.happen(child, 1)
	}
	w.until("the cursor has passed it", func() bool { return w.state(e).Cursors[0].Next == 4 })
	stop()
	healed.Store(true)
	w.deliver()
	complete(t, r.wait(t, "the event that was stepped over", func(list []got) bool { return len(firsts(mine(list))) == 3 }), acme, 1, 3)
	w.until("its row is gone", func() bool { st := w.state(e); return st.Waiting == 0 && st.Failed == 0 })
}

// TestManyGivenUp: what was given up comes again in portions, in order, whatever their number.
func TestManyGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t, nil)
	e := w.endpoint(acme, r.URL)
	const n = 70
	w.happen(acme, n)
	leased, err := w.LeaseEndpoints(t.Context(), "me", time.Minute)
	if err != nil || len(leased) != 1 {
		t.Fatalf("%+v, %v", leased, err)
	}
	p := store.DeliveryProgress{Endpoint: e.ID, Version: leased[0].Version, Cursors: map[waihu.AccountID]int64{acme: n + 1}}
	for i := range n {
		p.Stepped = append(p.Stepped, store.FailedDelivery{Account: acme, N: int64(i + 1), GivenUp: true, Tries: 20, Error: "answered 500"})
	}
	if err := w.SaveDeliveries(t.Context(), "me", []store.DeliveryProgress{p}); err != nil {
		t.Fatal(err)
	}
	w.deliver(func(o *Options) { o.stepped = 16 })
	if err := w.RetryDeliveries(t.Context(), acme, e.ID); err != nil {
		t.Fatal(err)
	}
	w.happen(acme, 1)
	complete(t, r.distinct(t, n+1), acme, 1, n+1)
	w.until("their rows are gone", func() bool { st := w.state(e); return st.Waiting == 0 && st.Failed == 0 && st.Lag() == 0 })
}

// TestRetryAfter: a receiver's wish is granted, up to a bound.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	wish := "7"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Idempotency-Key") != "" || len(q.Header.Values("Idempotency-Key")) > 0 {
			t.Error("the mark for net/http was sent")
		}
		w.Header().Set("Retry-After", wish)
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer server.Close()
	w := newWorker(New(Options{Client: client(t), Owner: "me"}), &store.Delivery{Endpoint: waihu.Endpoint{ID: 1, Account: acme, URL: server.URL}})
	for text, want := range map[string]time.Duration{"7": 7 * time.Second, "": 0, "-4": 0, "soon": 0, "86400": longestWish, "99999999999": longestWish,
		time.Now().Add(24 * time.Hour).UTC().Format(http.TimeFormat): longestWish, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0} {
		wish = text
		it := &item{lane: newLane(acme, 1, 10), events: []waihu.Event{{Account: acme, N: 1}}}
		r := result{it: it, began: time.Now()}
		w.post(&waihu.Payload{Body: []byte("{}")}, it.events, &r)
		if r.err == nil || !r.answered || r.pause != want {
			t.Errorf("Retry-After %q: %v, %v", text, r.pause, r.err)
		}
		w.failures, w.rest = 0, time.Time{}
		now := time.Now()
		w.fail(it, r, now)
		if rest := w.rest.Sub(now); rest != want {
			t.Errorf("Retry-After %q: the endpoint rests %v", text, rest)
		}
	}
}

// TestShapedAnew: what failed tells what is known when it is sent, also several events in one POST: a number may be erased in between.
func TestShapedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var known atomic.Pointer[string]
	number, erased := "13800000001", "erased"
	known.Store(&number)
	bodies := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		bodies <- string(body)
		if string(body) == number {
			known.Store(&erased)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	e := w.endpoint(acme, server.URL)
	w.happen(acme, 3)
	w.deliver(func(o *Options) {
		o.Shapes = map[string]waihu.Shape{"test": func(_ context.Context, _ waihu.Endpoint, events []waihu.Event) (waihu.Payload, int, error) {
			return waihu.Payload{Body: []byte(*known.Load())}, len(events), nil
		}}
	})
	w.until("all is told", func() bool { st := w.state(e); return st.Lag() == 0 && st.Waiting == 0 })
	if first, second := <-bodies, <-bodies; first != number || second != erased {
		t.Errorf("told %q, then %q", first, second)
	}
}
