package wrapup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/queue"
	"waihu/store"
)

// TestKilled kills the process with -9 around the commits of reviews, again and again: every call is reviewed, once in its effect, and
// its event comes once.
func TestKilled(t *testing.T) {
	if env := os.Getenv("WAIHU_WRAPUP_VICTIM"); env != "" {
		victim(t, env)
		return
	}
	t.Parallel()
	d := newDesk(t, waihu.AgentSpec{LLM: &waihu.LLMSpec{Collect: []waihu.CollectAsk{{Key: "visit", Question: "是否到店", Answers: []string{"是", "否"}}}}},
		func(k *waihu.Task) { k.QualityCheck = "1" })
	d.named(waihu.QualityCheck, 1, waihu.Checks{Prompt: "看态度"})
	const calls = 80
	list := make([]*waihu.Outcome, calls)
	for i := range list {
		list[i] = aCall()
	}
	ids := d.calls(list...)
	d.must(d.StopTask(t.Context(), "acme", "t"))
	d.must(d.Close())
	kills := 0
	for n := range 8 {
		point := []string{"review.before_commit", "review.after_commit"}[n%2]
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("WAIHU_WRAPUP_VICTIM=%s|%d|%s", point, 1+n%3, d.dir))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
			kills++
		} else if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if kills < 4 {
		t.Fatalf("only %d of 8 lives were killed: this proves little", kills)
	}
	var err error
	d.Store, err = store.Open(t.Context(), store.Options{Dir: d.dir, Key: []byte(deskKey)})
	d.must(err)
	t.Cleanup(func() { d.Close() })
	d.models, d.answer = someModels, victimAnswer
	o := victimQueue(d.wrapup(), d.Store)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- queue.New(o).Run(ctx) }()
	sum := d.summed()
	cancel()
	<-over
	per := map[string]int{}
	for _, e := range d.events(waihu.EventCallReviewed) {
		call, body, _ := strings.Cut(e, " ")
		per[call]++
		if !strings.Contains(body, `"grade":"A"`) {
			t.Errorf("%s", e)
		}
	}
	for _, id := range ids {
		if per[id.String()] != 1 {
			t.Errorf("call %s has %d events", id, per[id.String()])
		}
		if v, err := d.Review(t.Context(), "acme", id); err != nil || v.Grade != "A" || !v.Hit() {
			t.Errorf("%+v %v", v, err)
		}
	}
	if c, err := d.Counts(t.Context(), "acme", "t"); err != nil || c.Intention["A"] != calls || c.Hits != calls || c.Reviewing != 0 {
		t.Errorf("%+v %v", c, err)
	}
	if len(sum.Overview) != 1 || sum.Overview[0].Total != calls {
		t.Errorf("%+v", sum)
	}
	if e := d.events(waihu.EventRunReviewed); len(e) != 1 {
		t.Errorf("%v", e)
	}
}

func victimAnswer(_ int, _ waihu.Model, q Question) (Answer, error) {
	if q.Name != "review" {
		return Answer{Text: `{"summary":"s","suggestion":""}`}, nil
	}
	return Answer{Text: `{"level":{"answer":"A","confidence":1,"reason":""},"collect":{"visit":{"hit":true,"answer":"是","words":""}},"summary":"s","suggestion":""}`}, nil
}

// victimQueue has few workers, so that commits are many. What the dead have taken along is free when the next opens the ledger.
func victimQueue(w *Wrapup, st *store.Store) queue.Options {
	o := queue.Options{Store: st, Poll: 5 * time.Millisecond}
	w.Join(&o)
	o.Workers[waihu.JobReview] = 8
	return o
}

// victim reviews until it is killed at the n-th time it comes to the point; without that until nothing is left.
func victim(t *testing.T, env string) {
	part := strings.SplitN(env, "|", 3)
	n, err := strconv.Atoi(part[1])
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Options{Dir: part[2], Key: []byte(deskKey), Crash: func(point string) {
		if point != part[0] {
			return
		}
		if n--; n == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	d := &desk{T: t, Store: st, models: someModels, answer: victimAnswer}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	go func() {
		defer cancel() // all is done
		for look := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; {
			if _, err := st.TaskSummary(ctx, "acme", "t"); err == nil {
				return
			}
			<-look.C
		}
	}()
	if err := queue.New(victimQueue(d.wrapup(), st)).Run(ctx); err != nil {
		t.Fatal(err)
	}
}
