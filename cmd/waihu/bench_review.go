package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"waihu"
	"waihu/queue"
	"waihu/store"
)

// benchReview measures what follows calls, apart from dialling: outcomes booked with their transcripts, events and review jobs, in ticks as the scheduler
// writes them, and the reviews themselves by rules alone.
func benchReview(ctx context.Context, std stdio, args []string) error {
	b, done, err := openLedgerBench(ctx, std, "review", args)
	if err != nil {
		return err
	}
	defer done()
	spec, err := b.store.Agent(ctx, benchAccount, benchAgent)
	if err != nil {
		return err
	}
	spec.Version = 0
	spec.QA = []waihu.QualityItem{
		{ID: "disclose", Kind: "rule", Check: "agent_said_within(10, ['您好'])", Score: 10},
		{ID: "forbidden", Kind: "rule", Check: "agent_said(['保证收益', '稳赚', '零风险'])", Score: -20},
		{ID: "lively", Kind: "rule", Check: "agent_latency_max < 3 and longest_silence < 8 and talk_ratio < 0.8", Score: 5},
	}
	if err := b.store.SaveAgent(ctx, &spec); err != nil {
		return err
	}
	if err := b.fill(ctx, std); err != nil {
		return err
	}
	if _, err := b.store.StartTask(ctx, benchAccount, b.task.ID); err != nil {
		return err
	}
	live, tick, err := b.dialAll(ctx)
	if err != nil {
		return err
	}
	var ticks spread
	began := time.Now()
	for len(live) > 0 && time.Since(began) < time.Duration(b.seconds)*time.Second {
		n := min(len(live), bookRows)
		tick.Book, tick.Now = tick.Book[:0], time.Now()
		for _, d := range live[:n] {
			tick.Book = append(tick.Book, store.Booking{LiveCall: d.LiveCall, Outcome: benchOutcome(&d, tick.Now), Next: waihu.NumberDone, Review: true, AgentVersion: spec.VersionID})
		}
		at := time.Now()
		r, err := b.store.Tick(ctx, tick)
		if err != nil {
			return err
		}
		ticks = append(ticks, time.Since(at))
		if len(r.Booked) != n {
			return fmt.Errorf("%d of %d outcomes were booked", len(r.Booked), n)
		}
		live = live[n:]
	}
	took := time.Since(began)
	counts, err := b.store.Counts(ctx, benchAccount, b.task.ID)
	if err != nil {
		return err
	}
	booked := counts.Started - len(live)
	last, err := b.store.LastEvent(ctx, benchAccount)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "booked: %d outcomes in %.1f s = %.0f/s, with %d events in all and %d review jobs; ticks of %d: %v\n",
		booked, took.Seconds(), float64(booked)/took.Seconds(), last, counts.Reviewing, bookRows, ticks)
	return b.reviewAll(ctx, std, counts.Reviewing)
}

// bookRows is how many outcomes the scheduler books in a tick at most.
const bookRows = 500

// dialAll makes every number of the task a live call.
func (b *ledgerBench) dialAll(ctx context.Context) (live []store.Dialled, tick *store.Tick, err error) {
	epoch, err := b.store.TakeShard(ctx, 0, "bench", time.Hour)
	if err != nil {
		return nil, nil, err
	}
	next := int64(0)
	tick = &store.Tick{Epoch: epoch, Owner: "bench", NextCall: func() (waihu.CallID, bool) { next++; return waihu.NewCallID(0, epoch, next), next <= waihu.MaxCallSeq }}
	for {
		tick.Now = time.Now()
		tick.Pops = []store.Pop{{Task: b.task.ID, Account: benchAccount, Run: 1, Order: waihu.PopInOrder, Fresh: true, Limit: bookRows, Decide: func(store.PoppedNumber) store.Decision {
			return store.Decision{Dial: true, Line: benchLine, Agent: benchAgent}
		}}}
		r, err := b.store.Tick(ctx, tick)
		if err != nil {
			return nil, nil, err
		}
		if live = append(live, r.Dials...); len(r.Dials) == 0 {
			tick.Pops = nil
			return live, tick, nil
		}
	}
}

// benchOutcome is a call of half a minute with six utterances in six of ten cases, else no answer.
func benchOutcome(d *store.Dialled, now time.Time) *waihu.Outcome {
	o := &waihu.Outcome{Call: d.Call, Disposition: waihu.NoAnswer, HangupBy: waihu.BySystem, InviteAt: d.StartedAt, EndAt: now,
		Evidence: []waihu.Evidence{{Kind: "sip", Value: "480 Temporarily Unavailable", AtMS: 30000}}}
	if rand.IntN(10) < 6 {
		o.Disposition, o.AnswerAt, o.Grade, o.HangupBy = waihu.Answered, now.Add(-30*time.Second), "A", waihu.ByAgent
		o.Facts = []byte(`{"answered":true,"rounds":3}`)
		for i := range int64(3) {
			o.Transcript = append(o.Transcript, waihu.Turn{Who: "agent", Text: "您好，请问您的订单收到了吗？", Node: "ask", Why: "node", FromMS: i * 9000, ToMS: i*9000 + 4000},
				waihu.Turn{Who: "callee", Text: "收到了，谢谢。", Intent: "yes", Why: "branch", FromMS: i*9000 + 5000, ToMS: i*9000 + 7000})
		}
	}
	return o
}

// reviewAll works the reviews as the server does.
func (b *ledgerBench) reviewAll(ctx context.Context, std stdio, n int) error {
	o := queue.Options{Store: b.store}
	newWrapup(b.store, slog.New(slog.DiscardHandler)).Join(&o)
	run, stop := context.WithTimeout(ctx, time.Duration(b.seconds)*time.Second)
	defer stop()
	over := make(chan error, 1)
	began := time.Now()
	go func() { over <- queue.New(o).Run(run) }()
	left := n
	for left > 0 && wait(run, 20*time.Millisecond) == nil {
		c, err := b.store.Counts(ctx, benchAccount, b.task.ID)
		if err != nil {
			return err
		}
		left = c.Reviewing
	}
	took := time.Since(began)
	stop()
	if err := <-over; err != nil {
		return err
	}
	fmt.Fprintf(std.out, "reviewed by three rules: %d calls in %.1f s = %.0f/s\n", n-left, took.Seconds(), float64(n-left)/took.Seconds())
	return ctx.Err()
}
