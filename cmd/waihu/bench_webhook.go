package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"waihu"
	"waihu/api"
	"waihu/egress"
	"waihu/webhook"
)

// hookBench is receivers of callbacks beside a ledger that is dialled.
type hookBench struct {
	*ledgerBench
	url   string // of the healthy receiver; /slow of it hangs, /500 and /close fail
	taken atomic.Int64
	mu    sync.Mutex
	late  spread // between an event's time and its arrival at a healthy endpoint
}

// benchReceiver serves the receivers on loopback until ctx ends.
func (b *hookBench) benchReceiver(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(_ http.ResponseWriter, r *http.Request) {
		var m struct{ Timestamp time.Time }
		if json.NewDecoder(r.Body).Decode(&m) != nil {
			return
		}
		late := time.Since(m.Timestamp)
		b.taken.Add(1)
		b.mu.Lock()
		b.late = append(b.late, late)
		b.mu.Unlock()
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is left of it matters to nobody
		<-r.Context().Done()
	})
	mux.HandleFunc("/500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.HandleFunc("/close", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	go server.Serve(l) // ended by Close
	context.AfterFunc(ctx, func() { server.Close() })
	b.url = "http://" + l.Addr().String()
	return nil
}

func (b *hookBench) takeLate() spread {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.late
	b.late = nil
	return out
}

// add makes an endpoint that is told from now on.
func (b *hookBench) add(ctx context.Context, url string) (int64, error) {
	e := waihu.Endpoint{Account: benchAccount, Door: waihu.DoorNative, URL: url}
	err := b.store.AddEndpoint(ctx, &e, 0)
	return e.ID, err
}

// delivered runs f beside a deliverer, with receivers on loopback and the line at the fixed load.
func (b *hookBench) delivered(ctx context.Context, std stdio, f func(dialer *benchDialer) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := b.benchReceiver(inner); err != nil {
		return err
	}
	if err := b.fill(ctx, std); err != nil {
		return err
	}
	if err := b.pace(ctx); err != nil {
		return err
	}
	client := egress.New(egress.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	defer client.Close()
	d := webhook.New(webhook.Options{Store: b.store, Client: client, Shapes: map[string]waihu.Shape{waihu.DoorNative: api.Shape(b.store)}})
	over := make(chan error, 1)
	go func() { over <- d.Run(inner) }()
	err := b.scheduled(ctx, func(_ *timedLedger, dialer *benchDialer) error {
		if err := wait(ctx, 3*time.Second); err != nil { // caches and plans
			return err
		}
		return f(dialer)
	})
	cancel()
	if e := <-over; err == nil {
		err = e
	}
	return err
}

// benchWebhook measures how late healthy endpoints are told, alone and beside endpoints that fail. A round is three slices: without,
// with, without again; the two without are the control.
func benchWebhook(ctx context.Context, std stdio, args []string) error {
	lb, done, err := openLedgerBench(ctx, std, "webhook", args)
	if err != nil {
		return err
	}
	defer done()
	b := &hookBench{ledgerBench: lb}
	return b.delivered(ctx, std, func(*benchDialer) error {
		for range 4 {
			if _, err := b.add(ctx, b.url+"/good"); err != nil {
				return err
			}
		}
		slice := func() (spread, error) {
			if err := wait(ctx, time.Second); err != nil { // what the slice before left
				return nil, err
			}
			b.takeLate()
			err := wait(ctx, time.Duration(b.seconds)*time.Second)
			return b.takeLate(), err
		}
		var all [3]spread
		err := rounds(std.out, b.rounds, "bad endpoints", func(kind int) (any, float64, error) {
			s, err := slice()
			all[kind] = append(all[kind], s...)
			return s, ms(s.at(0.99)), err
		}, func(f func() error) error { return b.besideBad(ctx, f) }, "p99 of the delay", "at most 1.2")
		p99 := func(of ...spread) float64 { return ms(spread(slices.Concat(of...)).at(0.99)) }
		without, with := p99(all[0], all[2]), p99(all[1])
		fmt.Fprintf(std.out, "all slices together: p99 %.2f ms without, %.2f ms with, ratio %.3f; control %.3f (of %d deliveries)\n",
			without, with, with/without, p99(all[2])/p99(all[0]), len(all[0])+len(all[1])+len(all[2]))
		return err
	})
}

// besideBad runs f with three endpoints of each of four ways to fail.
func (b *hookBench) besideBad(ctx context.Context, f func() error) error {
	var ids []int64
	for range 3 {
		for _, url := range []string{b.url + "/slow", b.url + "/500", b.url + "/close", "http://127.0.0.1:9/refused"} {
			id, err := b.add(ctx, url)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
	}
	err := f()
	for _, id := range ids {
		if e := b.store.RemoveEndpoint(context.WithoutCancel(ctx), benchAccount, id); err == nil {
			err = e
		}
	}
	return err
}

// benchCallbacks measures call starts at a fixed load without and with an endpoint that is told of all of them.
func benchCallbacks(ctx context.Context, std stdio, args []string) error {
	lb, done, err := openLedgerBench(ctx, std, "callbacks", args)
	if err != nil {
		return err
	}
	defer done()
	b := &hookBench{ledgerBench: lb}
	return b.delivered(ctx, std, func(dialer *benchDialer) error {
		return rounds(std.out, b.rounds, "callbacks", func(int) (any, float64, error) {
			if err := wait(ctx, 500*time.Millisecond); err != nil {
				return nil, 0, err
			}
			taken, placed, began, cpu := b.taken.Load(), dialer.count(), time.Now(), cpuTime()
			err := wait(ctx, time.Duration(b.seconds)*time.Second)
			took := time.Since(began).Seconds()
			starts := float64(dialer.count()-placed) / took
			return fmt.Sprintf("%.1f starts/s, %.0f callbacks/s, %.2f cores", starts, float64(b.taken.Load()-taken)/took, (cpuTime()-cpu).Seconds()/took), starts, err
		}, func(f func() error) error {
			id, err := b.add(ctx, b.url+"/good")
			if err != nil {
				return err
			}
			err = f()
			if e := b.store.RemoveEndpoint(context.WithoutCancel(ctx), benchAccount, id); err == nil {
				err = e
			}
			return err
		}, "starts", "at least 0.9")
	})
}

// rounds measures n times without, with, and without again, and says the median of with/without and of without/without.
func rounds(out io.Writer, n int, what string, measure func(kind int) (any, float64, error), with func(func() error) error, of, wanted string) error {
	var ratios, controls []float64
	for round := range n {
		var figure [3]float64
		for i, name := range []string{"without", "with", "without, again"} {
			run := func() error {
				said, x, err := measure(i)
				figure[i] = x
				if err == nil {
					fmt.Fprintf(out, "round %d %s %s: %v\n", round+1, name, what, said)
				}
				return err
			}
			err := error(nil)
			if i == 1 {
				err = with(run)
			} else {
				err = run()
			}
			if err != nil {
				return err
			}
		}
		ratios = append(ratios, figure[1]/((figure[0]+figure[2])/2))
		controls = append(controls, figure[2]/figure[0])
	}
	slices.Sort(ratios)
	slices.Sort(controls)
	fmt.Fprintf(out, "%s, with/without: median %.3f of %.3f (wanted: %s); control, without/without: median %.3f of %.3f (void outside 0.95-1.05)\n",
		of, ratios[len(ratios)/2], ratios, wanted, controls[len(controls)/2], controls)
	return nil
}

// benchBook measures how many outcomes a second are booked, as fast as it goes, with their events and, where the agent wants
// answered calls graded, jobs.
func benchBook(ctx context.Context, std stdio, args []string) error {
	b, done, err := openLedgerBench(ctx, std, "book", args)
	if err != nil {
		return err
	}
	defer done()
	spec, err := b.store.Agent(ctx, benchAccount, benchAgent)
	if err != nil {
		return err
	}
	spec.Version++
	spec.QA = []waihu.QualityItem{{ID: "answered", Kind: "rule", Check: "answered", Score: 1}}
	if err := b.store.SaveAgent(ctx, &spec); err != nil {
		return err
	}
	if err := b.fill(ctx, std); err != nil {
		return err
	}
	return b.scheduled(ctx, func(_ *timedLedger, dialer *benchDialer) error {
		if err := wait(ctx, 2*time.Second); err != nil {
			return err
		}
		was, err := b.booked(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := wait(ctx, time.Duration(b.seconds)*time.Second); err != nil {
			return err
		}
		is, err := b.booked(ctx)
		took := time.Since(began).Seconds()
		rate := func(i int) float64 { return float64(is[i]-was[i]) / took }
		fmt.Fprintf(std.out, "booked: %.0f outcomes/s with %.0f events/s and %.0f review jobs/s (wanted: 1000 outcomes/s)\n", rate(0), rate(1), rate(2))
		return err
	})
}

// booked are the outcomes booked so far, the events written, and the calls that wait for their review.
func (b *ledgerBench) booked(ctx context.Context) (n [3]int64, err error) {
	c, err := b.store.Counts(ctx, benchAccount, b.task.ID)
	if err != nil {
		return n, err
	}
	for d, k := range c.Status {
		if d != waihu.NoOutcome {
			n[0] += int64(k)
		}
	}
	n[2] = int64(c.Reviewing)
	n[1], err = b.store.LastEvent(ctx, benchAccount)
	return n, err
}
