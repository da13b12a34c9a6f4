package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/resources"
	"waihu/schedule"
	"waihu/store"
	"waihu/yunfu"
)

// campaign is the durable half of the product under virtual time: the vendor's API, the ledger and the scheduler's own loop,
// with a dialer whose callees do as they are told. The bubble begins on Saturday 2000-01-01, 08:00 in Shanghai.
type campaign struct {
	*testing.T
	ctx   context.Context // a test's own is not of the bubble
	store *store.Store
	sched *schedule.Scheduler
	door  http.Handler

	mu     sync.Mutex
	lines  map[waihu.LineID]waihu.LineState
	callee func(waihu.Attempt) (time.Duration, waihu.Outcome) // how long its call lasts and how it ends
	dials  []dial
	live   map[string]int // by task, line and task-line
	peaks  map[string]int
}

type dial struct {
	waihu.Attempt
	at time.Time
}

const campaignResources = `accounts:
  - {id: 5832d184-dd53-42a0-8ace-0bf8d660f4cc, name: test, tokens: [{name: t, token: test-token}], aiob: {access_key: test-access-key, secret_key: test-secret-of-aiob}}
calling_hours:
  - {id: 1, name: office, default: true, weekly: {mon: &o ["09:00-12:00", "14:00-18:00"], tue: *o, wed: *o, thu: *o, fri: *o}}
  - {id: 5, name: all day, weekly: {all: ["00:00-24:00"]}}
redial_rules:
  - {id: 7, name: slowly, details: [{number_status: 4, after_minutes: 45}, {number_status: 8, after_minutes: 5}]}
agents:
  - &a {id: "10", name: ten, version: 1, brain: flow, flow: {start: bye, nodes: {bye: {say: 再见。, do: [hangup]}}}}
  - {<<: *a, id: "11", name: eleven}
  - {<<: *a, id: "12", name: twelve}
lines:
  - {id: big, name: big, concurrency: 10, trunk: {uri: "sip:127.0.0.1:5080"}}
  - {id: slow, name: slow, concurrency: 10, cps: 2, trunk: {uri: "sip:127.0.0.1:5080"}}
  - {id: short, name: short, concurrency: 4, expires: 2000-01-01 09:00:00, trunk: {uri: "sip:127.0.0.1:5080"}}
`

// inBubble runs f with a campaign under virtual time.
func inBubble(t *testing.T, f func(c *campaign)) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c := &campaign{T: t, ctx: ctx, live: map[string]int{}, peaks: map[string]int{}}
		var err error
		if c.store, err = store.Open(ctx, store.Options{Dir: dir, Key: bytes.Repeat([]byte{7}, 32), MinFree: 1}); err != nil {
			t.Fatal(err)
		}
		defer c.store.Close()
		if _, err := resources.Apply(ctx, "campaign.yaml", []byte(campaignResources), resources.Options{Store: c.store, Check: agent.Check}); err != nil {
			t.Fatal(err)
		}
		c.lines = map[waihu.LineID]waihu.LineState{}
		rows, err := c.store.Trunks(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range rows {
			c.lines[l.ID] = waihu.LineState{Capacity: l.Concurrency}
		}
		c.callee = func(waihu.Attempt) (time.Duration, waihu.Outcome) {
			return 30 * time.Second, waihu.Outcome{Disposition: waihu.Answered}
		}
		c.door = yunfu.New(yunfu.Options{Store: c.store})
		c.sched = schedule.New(schedule.Options{Store: c.store, Place: c, Agent: c.store.Agent, AgentVersion: c.store.AgentVersion, Owner: c.store.Owner(),
			Refresh: time.Hour, Lease: 24 * time.Hour, Log: newLog(testLog{t}, "error")})
		ran := make(chan error, 1)
		go func() { ran <- c.sched.Run(ctx) }()
		func() {
			defer func() { // also when f gives up
				cancel()
				if err := <-ran; err != nil && c.up() == 0 {
					t.Error(err)
				}
			}()
			f(c)
		}()
		for key, peak := range c.peaks {
			line, is := strings.CutPrefix(key, "line ")
			for _, l := range rows {
				if is && string(l.ID) == line && peak > l.Concurrency {
					t.Errorf("%s had %d calls at once, its concurrency is %d", key, peak, l.Concurrency)
				}
			}
		}
		tasks, _, err := c.store.Tasks(context.Background(), []waihu.AccountID{testAccount}, store.TaskFilter{PerPage: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range tasks {
			holdGauges(t, c.store, k.ID)
		}
		holdEvents(t, c.store)
	})
}

// Place, Lines and EndOrphans are the dialer.
func (c *campaign) Place(a waihu.Attempt) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials = append(c.dials, dial{a, time.Now()})
	c.count(a, 1)
	lasts, outcome := c.callee(a)
	outcome.Call = a.Call
	time.AfterFunc(lasts, func() {
		outcome.EndAt = time.Now()
		c.mu.Lock()
		c.count(a, -1)
		c.mu.Unlock()
		c.sched.Book(outcome)
	})
	return nil
}

func (c *campaign) count(a waihu.Attempt, by int) {
	for _, key := range []string{"all", "task " + string(a.Task), "line " + string(a.Line), "both " + string(a.Task) + " " + string(a.Line)} {
		c.live[key] += by
		c.peaks[key] = max(c.peaks[key], c.live[key])
	}
}

func (c *campaign) Lines() map[waihu.LineID]waihu.LineState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.lines)
}

func (c *campaign) EndOrphans(_ context.Context, list []waihu.Orphan, done func(waihu.CallID)) {
	for _, o := range list {
		done(o.Call)
	}
}

func (c *campaign) up() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live["all"]
}

// called are the dials of a task so far, those of all when it is empty.
func (c *campaign) called(task string) (list []dial) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.dials {
		if task == "" || string(d.Task) == task {
			list = append(list, d)
		}
	}
	return list
}

// after lets time pass.
func (c *campaign) after(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// reply is an answer of the API.
type reply struct {
	Code    int             `json:"code"`
	Status  string          `json:"status"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

func (c *campaign) ask(method, path string, body any) (r reply) {
	c.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		c.Fatal(err)
	}
	req := httptest.NewRequestWithContext(c.ctx, method, strings.ReplaceAll(path, "U", testAccount), bytes.NewReader(raw))
	req.Header.Set("Authorization", "Bearer test-token")
	w := httptest.NewRecorder()
	c.door.ServeHTTP(w, req)
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		c.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
	}
	synctest.Wait()
	return r
}

// do is ask for what must succeed; data may be nil.
func (c *campaign) do(method, path string, body, data any) {
	c.Helper()
	r := c.ask(method, path, body)
	if r.Status != "success" {
		c.Fatalf("%s %s: %d %s", method, path, r.Code, r.Message)
	}
	if data != nil {
		if err := json.Unmarshal(r.Data, data); err != nil {
			c.Fatalf("%s %s: %v: %s", method, path, err, r.Data)
		}
	}
}

// refused is ask for what must be refused with a code.
func (c *campaign) refused(code int, method, path string, body any) string {
	c.Helper()
	r := c.ask(method, path, body)
	if r.Status == "success" || r.Code != code {
		c.Errorf("%s %s is answered with %d %s %s, want %d", method, path, r.Code, r.Status, r.Message, code)
	}
	return r.Message
}

const newPath, oldPath = "/agent-api/new/user/U", "/agent-api/user/U"

type object map[string]any

// body is a task's body with one line and all hours, for a year; extras replaces fields of task_extras, or of the body where they are there.
func body(concurrency int, extras object) object {
	inner := object{"start_time": "2000-01-01 00:00:00", "stop_time": "2001-01-01 00:00:00", "holiday": []any{}, "pop_mode": 1,
		"line": []any{object{"id": "big", "limit": concurrency}}}
	b := object{"name": "task", "destination_extension": "10", "dial_time_id": 5, "maximumcall": concurrency, "task_extras": inner}
	for k, v := range extras {
		if _, top := b[k]; top || slices.Contains([]string{"end_action", "is_group_switch", "auto_recycle_rule_id", "new_call_rules"}, k) {
			b[k] = v
		} else {
			inner[k] = v
		}
	}
	return b
}

// task creates a task with n numbers, 13900000000 and on.
func (c *campaign) task(n int, b object) string {
	c.Helper()
	var made struct{ UUID string }
	c.do("POST", newPath+"/task", b, &made)
	c.numbers(made.UUID, 0, n)
	return made.UUID
}

func (c *campaign) numbers(task string, from, n int) {
	c.Helper()
	for ; n > 0; from, n = from+100, n-100 {
		rows := []any{}
		for i := range min(n, 100) {
			rows = append(rows, object{"phone": fmt.Sprint(13900000000 + from + i)})
		}
		c.do("POST", oldPath+"/task/"+task+"/number", object{"data": rows}, nil)
	}
}

func (c *campaign) start(task string) {
	c.Helper()
	c.do("PUT", newPath+"/task_start/"+task, nil, nil)
}

func (c *campaign) stop(task string) {
	c.Helper()
	c.do("PUT", newPath+"/task_stop/"+task, nil, nil)
}

// status is the task's state in the list: 1 stopped, 2 running, 3 waiting.
func (c *campaign) status(task string) int {
	c.Helper()
	var list []struct {
		UUID   string
		Status int
	}
	c.do("GET", newPath+"/task", nil, &list)
	for _, k := range list {
		if k.UUID == task {
			return k.Status
		}
	}
	c.Fatalf("task %s is not in the list", task)
	return 0
}

func (c *campaign) run(task string) waihu.Run {
	c.Helper()
	runs, err := c.store.Runs(c.ctx, testAccount, waihu.TaskID(task))
	if err != nil || len(runs) == 0 {
		c.Fatal(err, runs)
	}
	return runs[0]
}

func (c *campaign) counts(task string) store.Counts {
	c.Helper()
	n, err := c.store.Counts(c.ctx, testAccount, waihu.TaskID(task))
	if err != nil {
		c.Fatal(err)
	}
	return n
}

// ends makes all callees end their calls so.
func (c *campaign) ends(lasts time.Duration, d waihu.Disposition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callee = func(waihu.Attempt) (time.Duration, waihu.Outcome) { return lasts, waihu.Outcome{Disposition: d} }
}

// clock is a time of the bubble's first days in Shanghai: day 1 is Saturday.
func clock(day, hour, minute int) time.Time {
	return time.Date(2000, 1, day, hour, minute, 0, 0, waihu.Location(""))
}
