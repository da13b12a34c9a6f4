package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"waihu"
	"waihu/store"
	"waihu/yunfu"
)

const benchToken = "bench-token-bench-token"

// doorBench serves the 云蝠 door of a ledger on loopback.
type doorBench struct {
	*ledgerBench
	url    string
	client http.Client
	asked  atomic.Int64
}

func (b *doorBench) serve(ctx context.Context) error {
	if err := b.store.AddToken(ctx, store.Token{Account: benchAccount, Name: "bench"}, benchToken); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: yunfu.New(yunfu.Options{Store: b.store}), ReadHeaderTimeout: headerTimeout}
	go server.Serve(l) // ended by Close
	context.AfterFunc(ctx, func() { server.Close() })
	b.url = "http://" + l.Addr().String()
	b.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	return nil
}

// get asks for a path and returns the total that a list says.
func (b *doorBench) get(ctx context.Context, path string) (total int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+benchToken)
	res, err := b.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var answer struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Meta    struct {
			Total int `json:"total"`
		} `json:"meta"`
	}
	raw, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(raw, &answer)
	}
	if err == nil && answer.Code != 200 {
		err = fmt.Errorf("GET %s: %d %s", path, answer.Code, answer.Message)
	}
	return answer.Meta.Total, err
}

// benchPages measures the answers that show where a task stands: statistics, the list of tasks, pages of numbers and calls.
func benchPages(ctx context.Context, std stdio, args []string) error {
	lb, done, err := openLedgerBench(ctx, std, "pages", args)
	if err != nil {
		return err
	}
	defer done()
	b := &doorBench{ledgerBench: lb}
	if err := b.fill(ctx, std); err != nil {
		return err
	}
	if err := b.callSome(ctx, std); err != nil {
		return err
	}
	if err := b.serve(ctx); err != nil {
		return err
	}
	own := "/agent-api/user/" + string(benchAccount) + "/task/" + string(b.task.ID)
	tasks := "/agent-api/new/user/" + string(benchAccount) + "/task"
	if err := b.measure(ctx, std.out, "stat", own+"/stat"); err != nil {
		return err
	}
	if err := b.measure(ctx, std.out, "task list", tasks); err != nil {
		return err
	}
	now := time.Now().In(waihu.Location("")).Add(time.Minute)
	span := "start_at=" + now.Add(-24*time.Hour).Format("2006-01-02+15:04:05") + "&end_at="
	for _, list := range []struct{ name, path, query string }{
		{"numbers", own + "/number", ""}, {"numbers, status 0 (waiting)", own + "/number", "status=0&"}, {"numbers, status 1 (answered)", own + "/number", "status=1&"},
		{"numbers, status 8 (busy, one in a thousand)", own + "/number", "status=8&"}, {"numbers, status 1, 4 and 8", own + "/number", "status[]=1&status[]=4&status[]=8&"},
		{"numbers, imported until now", own + "/number", span + now.Format("2006-01-02+15:04:05") + "&"},
		{"numbers, one phone", own + "/number", fmt.Sprintf("keyword=1%010d&", b.rows/2)},
		{"calls", own + "/record", ""}, {"calls, level A", own + "/record", "intention_tags[]=1&"}, {"calls ended until now", own + "/record",
			"hangup_date[]=" + now.Add(-24*time.Hour).Format("2006-01-02+15:04:05") + "&hangup_date[]=" + now.Format("2006-01-02+15:04:05") + "&"},
		{"calls, one phone", own + "/record", fmt.Sprintf("keyword=1%010d&", b.rows/2)},
	} {
		began := time.Now()
		total, err := b.get(ctx, list.path+"?"+list.query+"page=1")
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "%s: %d rows, asked for the first time in %.1f ms\n", list.name, total, ms(time.Since(began)))
		last := max(1, (total+14)/15)
		for _, place := range []struct {
			name string
			page int
		}{{"first", 1}, {"middle", (last + 1) / 2}, {"last", last}} {
			if err := b.measure(ctx, std.out, "  "+place.name+" page", fmt.Sprintf("%s?%spage=%d", list.path, list.query, place.page)); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure asks 41 times.
func (b *doorBench) measure(ctx context.Context, out io.Writer, name, path string) error {
	var times spread
	for range 41 {
		began := time.Now()
		if _, err := b.get(ctx, path); err != nil {
			return err
		}
		times = append(times, time.Since(began))
	}
	fmt.Fprintf(out, "%s: %v\n", name, times)
	return nil
}

// callSome lets two thirds of the numbers be called, in random order, by large ticks.
func (b *ledgerBench) callSome(ctx context.Context, std stdio) error {
	run, err := b.store.StartTask(ctx, benchAccount, b.task.ID)
	if err != nil {
		return err
	}
	epoch, err := b.store.TakeShard(ctx, 0, b.store.Owner(), time.Hour)
	if err != nil {
		return err
	}
	bar := newBar(std.err, "calling", int64(b.rows*2/3))
	defer bar.end()
	var n int64
	next := func() (waihu.CallID, bool) { n++; return waihu.NewCallID(0, epoch, n), true }
	for called := 0; called < b.rows*2/3; {
		tick := &store.Tick{Epoch: epoch, Owner: b.store.Owner(), Now: time.Now(), NextCall: next, Pops: []store.Pop{{Task: b.task.ID, Account: benchAccount, Run: run.N,
			Order: waihu.PopRandom, Fresh: true, Limit: 2000, Decide: func(store.PoppedNumber) store.Decision {
				return store.Decision{Dial: true, Line: benchLine, Agent: benchAgent}
			}}}}
		r, err := b.store.Tick(ctx, tick)
		if err != nil {
			return err
		}
		if len(r.Dials) == 0 {
			break
		}
		book := &store.Tick{Epoch: epoch, Owner: b.store.Owner(), Now: time.Now(), NextCall: next}
		for _, d := range r.Dials {
			o := &waihu.Outcome{Call: d.Call, Disposition: waihu.NoAnswer, InviteAt: d.StartedAt, EndAt: time.Now()}
			switch x := rand.IntN(1000); {
			case x == 0:
				o.Disposition = waihu.Busy
			case x < 400:
				o.Disposition, o.AnswerAt, o.Grade = waihu.Answered, o.EndAt.Add(-benchTalk), string(rune('A'+x%5))
				o.Transcript = []waihu.Turn{{Who: "agent", Text: "您好。"}, {Who: "callee", Text: "好的", Intent: "yes"}}
			}
			book.Book = append(book.Book, store.Booking{LiveCall: d.LiveCall, Outcome: o, Next: waihu.NumberDone})
		}
		if _, err := b.store.Tick(ctx, book); err != nil {
			return err
		}
		called += len(r.Dials)
		bar.set(int64(called), "")
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// benchStat measures call starts at a fixed load without and with as many requests for the task's statistics a second.
func benchStat(ctx context.Context, std stdio, args []string) error {
	lb, done, err := openLedgerBench(ctx, std, "stat", args)
	if err != nil {
		return err
	}
	defer done()
	b := &doorBench{ledgerBench: lb}
	if err := b.fill(ctx, std); err != nil {
		return err
	}
	if err := b.pace(ctx); err != nil {
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := b.serve(inner); err != nil {
		return err
	}
	path := "/agent-api/user/" + string(benchAccount) + "/task/" + string(b.task.ID) + "/stat"
	return b.scheduled(ctx, func(ledger *timedLedger, dialer *benchDialer) error {
		if err := wait(ctx, 3*time.Second); err != nil { // caches and plans
			return err
		}
		return rounds(std.out, b.rounds, "requests", func(int) (any, float64, error) {
			if err := wait(ctx, 500*time.Millisecond); err != nil {
				return nil, 0, err
			}
			ledger.take()
			placed, asked, began := dialer.count(), b.asked.Load(), time.Now()
			err := wait(ctx, time.Duration(b.seconds)*time.Second)
			took := time.Since(began).Seconds()
			starts := float64(dialer.count()-placed) / took
			return fmt.Sprintf("%.1f starts/s, %.0f requests/s, ticks %v", starts, float64(b.asked.Load()-asked)/took, ledger.take()), starts, err
		}, func(f func() error) error { return b.besideRequests(ctx, path, f) }, "starts", "at least 0.9")
	})
}

// besideRequests runs f while the path is asked for at the fixed rate, by as many clients as that needs.
func (b *doorBench) besideRequests(ctx context.Context, path string, f func() error) error {
	inner, cancel := context.WithCancel(ctx)
	due := make(chan struct{}, b.rate) // a server that cannot keep up is asked a second's worth later, and then less
	var clients sync.WaitGroup
	clients.Go(func() {
		defer close(due)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		began, sent := time.Now(), 0
		for {
			select {
			case <-tick.C:
			case <-inner.Done():
				return
			}
			for ; sent < int(time.Since(began).Seconds()*float64(b.rate)); sent++ {
				select {
				case due <- struct{}{}:
				default:
				}
			}
		}
	})
	var failed atomic.Pointer[error]
	for range 16 {
		clients.Go(func() {
			for range due {
				if _, err := b.get(inner, path); err == nil {
					b.asked.Add(1)
				} else if inner.Err() == nil {
					failed.Store(&err)
				}
			}
		})
	}
	err := f()
	cancel()
	clients.Wait()
	if e := failed.Load(); e != nil && err == nil {
		err = *e
	}
	return err
}
