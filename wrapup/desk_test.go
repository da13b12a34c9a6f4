package wrapup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/queue"
	"waihu/store"
)

// desk is a ledger with a task whose calls are reviewed by a queue.
type desk struct {
	*testing.T
	*store.Store
	epoch, next int64
	seq         int
	dir         string
	agent       waihu.AgentID // that calls talk with

	mu     sync.Mutex
	models []waihu.Model
	answer func(n int, m waihu.Model, q Question) (Answer, error)
	asked  []Question
}

const deskKey = "0123456789abcdef0123456789abcdef"

const patience = 2 * time.Minute

func newDesk(t *testing.T, spec waihu.AgentSpec, edit func(*waihu.Task)) *desk {
	t.Helper()
	ctx := t.Context()
	dir := t.TempDir()
	st, err := store.Open(ctx, store.Options{Dir: dir, Key: []byte(deskKey)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	d := &desk{T: t, Store: st, dir: dir, agent: "a"}
	d.must(st.UpsertAccount(ctx, waihu.Account{ID: "acme", Name: "Acme"}))
	spec.ID, spec.Account, spec.Name, spec.Brain = "a", "acme", "a", waihu.BrainFlow
	d.must(st.SaveAgent(ctx, &spec))
	d.must(st.UpsertLine(ctx, waihu.Line{ID: "l", Account: "acme", Name: "l", Concurrency: 100, Trunk: waihu.Trunk{URI: "sim:"}}))
	task := waihu.Task{ID: "t", Account: "acme", Name: "回访", Agent: "a", Concurrency: 100}
	if edit != nil {
		edit(&task)
	}
	d.must(st.CreateTask(ctx, &task))
	_, err = st.StartTask(ctx, "acme", "t")
	d.must(err)
	d.epoch, err = st.TakeShard(ctx, 0, "test", time.Hour)
	d.must(err)
	return d
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *desk) named(kind waihu.NamedKind, id int64, checks waihu.Checks) {
	d.Helper()
	data, err := json.Marshal(checks)
	d.must(err)
	d.must(d.SaveNamed(d.Context(), &waihu.Named{Kind: kind, ID: id, Account: "acme", Name: fmt.Sprint("N", id), Data: data}))
}

// calls books answered calls, one for each outcome, in one commit.
func (d *desk) calls(outcomes ...*waihu.Outcome) (ids []waihu.CallID) {
	d.Helper()
	list := make([]store.NewNumber, len(outcomes))
	for i := range list {
		d.seq++
		list[i].Phone = waihu.PhoneNumber(fmt.Sprint(13800000000 + d.seq))
	}
	_, err := d.AddNumbers(d.Context(), "acme", "t", list)
	d.must(err)
	tick := store.Tick{Epoch: d.epoch, Owner: "test", Now: time.Now(), NextCall: func() (waihu.CallID, bool) { d.next++; return waihu.NewCallID(0, d.epoch, d.next), true },
		Pops: []store.Pop{{Task: "t", Account: "acme", Run: 1, Fresh: true, Limit: len(outcomes), Decide: func(store.PoppedNumber) store.Decision {
			return store.Decision{Dial: true, Line: "l", Agent: d.agent}
		}}}}
	res, err := d.Tick(d.Context(), &tick)
	d.must(err)
	if len(res.Dials) != len(outcomes) {
		d.Fatalf("%d dials for %d calls", len(res.Dials), len(outcomes))
	}
	tick.Pops = nil
	for i, x := range res.Dials {
		o := *outcomes[i]
		o.Call = x.Call
		tick.Book = append(tick.Book, store.Booking{LiveCall: x.LiveCall, Next: waihu.NumberDone, Outcome: &o, Review: true})
		ids = append(ids, x.Call)
	}
	_, err = d.Tick(d.Context(), &tick)
	d.must(err)
	return ids
}

// wrapup is the room over this desk, with the scripted model when there are models.
func (d *desk) wrapup() *Wrapup {
	return New(Options{Store: d.Store, Wait: time.Millisecond, Fresh: -1, Grade: func(spec *waihu.AgentSpec, o *waihu.Outcome) string {
		if len(spec.Grade) > 0 {
			return spec.Grade[0].Level
		}
		return ""
	}, Models: func(context.Context) ([]waihu.Model, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.models, nil
	}, Ask: func(ctx context.Context, m waihu.Model, q Question) (Answer, error) {
		d.mu.Lock()
		n := len(d.asked)
		d.asked = append(d.asked, q)
		answer := d.answer
		d.mu.Unlock()
		if q.Schema == nil || !json.Valid(q.Schema) || !strings.Contains(q.User, string(q.Schema)) {
			return Answer{}, errors.New("a question without its schema")
		}
		return answer(n, m, q)
	}})
}

// run runs a queue until the test ends or stop is called.
func (d *desk) run() (stop func()) {
	o := queue.Options{Store: d.Store, Poll: 2 * time.Millisecond, Pause: func(int) time.Duration { return 0 }}
	d.wrapup().Join(&o)
	ctx, cancel := context.WithCancel(d.Context())
	over := make(chan error, 1)
	go func() { over <- queue.New(o).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		<-over
	})
	d.Cleanup(stop)
	return stop
}

// until waits for a condition that the queue brings about.
func (d *desk) until(what string, ok func() bool) {
	d.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			d.Fatalf("still not: %s", what)
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-d.Context().Done():
			d.Fatal("over")
		}
	}
}

// review waits for a call's review, which comes in the commit of its event.
func (d *desk) review(id waihu.CallID) (v waihu.Review) {
	d.Helper()
	d.until("review of call "+id.String(), func() bool {
		var err error
		v, err = d.Review(d.Context(), "acme", id)
		return err == nil
	})
	return v
}

// events are those of a kind.
func (d *desk) events(kind waihu.EventKind) (bodies []string) {
	d.Helper()
	for after := int64(0); ; {
		list, err := d.Events(d.Context(), "acme", after, 1000)
		d.must(err)
		if len(list) == 0 {
			return bodies
		}
		for _, e := range list {
			if after = e.N; e.Kind == kind {
				bodies = append(bodies, e.Call.String()+" "+string(e.Body))
			}
		}
	}
}

func (d *desk) item(v waihu.Review, source, id string) waihu.ReviewItem {
	d.Helper()
	for _, r := range v.Items {
		if r.Source == source && r.ID == id {
			return r
		}
	}
	d.Fatalf("no item %s of %s in %+v", id, source, v.Items)
	return waihu.ReviewItem{}
}

func yes() *bool { b := true; return &b }
func no() *bool  { b := false; return &b }

var someModels = []waihu.Model{{ID: "m1", Model: "qwen"}, {ID: "m2", Model: "glm"}}

func waihuCallsByGrade(g string) store.CallFilter { return store.CallFilter{Grades: []string{g}} }
