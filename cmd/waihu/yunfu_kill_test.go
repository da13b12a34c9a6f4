package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/resources"
	"waihu/store"
)

const (
	importAccount = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
	importRows    = 200
	importBatches = 12
)

// TestImportsSurvive sends asynchronous imports and copies the customer pool into another task while the server is killed
// with -9 inside and between the portions of that work: every number arrives once, every batch says so, once.
func TestImportsSurvive(t *testing.T) {
	t.Parallel()
	l := life{Data: t.TempDir(), HTTP: "127.0.0.1:" + strconv.Itoa(sipPort(t)), SIP: "127.0.0.1:" + strconv.Itoa(sipPort(t)), RTP: killRTP()}
	open := func() *store.Store {
		t.Helper()
		st, err := openStore(t.Context(), config{Data: l.Data, MinFreeMB: 1}, noEnv, newLog(testLog{t}, "warn"))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := open()
	_, err := resources.Apply(t.Context(), "integration.yaml", []byte(integrationResources), resources.Options{Store: st, Check: agent.Check})
	if err != nil {
		t.Fatal(err)
	}
	var tasks []waihu.TaskID
	for range 2 {
		k := waihu.Task{Account: importAccount, Name: "x", Agent: "123", Concurrency: 1}
		if err := st.CreateTask(t.Context(), &k); err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, k.ID)
	}
	st.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	base := "http://" + l.HTTP + "/agent-api/user/" + importAccount
	ask := func(method, path string, body any) (map[string]any, error) {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer integration-token")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		if raw, err = io.ReadAll(res.Body); err != nil {
			return nil, err
		}
		var answer struct {
			Code int
			Data map[string]any
		}
		if err := json.Unmarshal(raw, &answer); err != nil || answer.Code != 200 {
			return nil, fmt.Errorf("%s %s", res.Status, raw)
		}
		return answer.Data, nil
	}
	// The client goes on until the last death, so that there is always work to die in; not without bound, for what it sends
	// faster than a slow machine imports must be imported in the last life.
	accepted, stop := make(chan string, 1000), make(chan struct{})
	sent, doubt := 0, false
	var client sync.WaitGroup
	client.Go(func() {
		defer close(accepted)
		for again := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-again.C {
			select {
			case <-stop:
				if sent > 0 && !doubt { // what died before its answer may have been taken: it is sent again
					return
				}
			default:
				if sent == importBatches {
					continue
				}
			}
			var rows []map[string]string
			for i := range importRows {
				rows = append(rows, map[string]string{"phone": strconv.Itoa(13800000000 + sent*importRows + i)})
			}
			data, err := ask("POST", "/task/"+string(tasks[0])+"/async_number", map[string]any{"data": rows, "skip_error": true})
			if doubt = err != nil; doubt {
				continue // dead, or died before the answer: it is sent again
			}
			accepted <- data["unique_id"].(string)
			sent++
		}
	})
	die := func(point string, nth int, meanwhile func(*child)) {
		t.Helper()
		dying := l
		dying.Crash, dying.Nth = point, nth
		c, err := startLife(t, dying)
		if err != nil {
			t.Fatal(err)
		}
		meanwhile(c)
		select {
		case err = <-c.done:
		case <-ctx.Done():
			_ = c.kill()
			t.Fatalf("%s was not met %d times:\n%s", point, nth, c.log())
		}
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("it was not killed at %s: %v\n%s", point, err, c.log())
		}
	}
	nothing := func(*child) {}
	die("batch.before_commit", 1, nothing)
	die("batch.after_commit", 2, nothing)
	die("import.mid", 1, func(*child) { close(stop) }) // what the client sends last is imported by the next life
	last, err := startLife(t, l)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for id := range accepted {
		ids = append(ids, id)
	}
	client.Wait()
	over := func() bool {
		for _, id := range ids {
			if data, err := ask("GET", "/identification/"+id, nil); err != nil || data["status"] != 1.0 {
				return false
			}
		}
		return true
	}
	eventually(t, time.Minute, "all imports are over", over)
	_ = last.kill()
	// Nothing else is left to commit: it dies with the copies of the first portion made and not yet said.
	moved := ""
	die("batch.before_commit", 2, func(c *child) {
		eventually(t, time.Minute, "the pool is asked for", func() bool {
			data, err := ask("POST", "/customer_to_task/"+string(tasks[1]), map[string]any{})
			if err == nil {
				moved, _ = data["unique_id"].(string)
			}
			return err == nil || len(c.done) > 0
		})
	})
	if moved == "" { // it died before its answer was out
		st := open()
		jobs, err := st.TakeJobs(t.Context(), "yunfu.to-task", 1, time.Minute) // free again for the next life
		if err != nil || len(jobs) != 1 {
			t.Fatalf("it died of copies that nobody has asked for: %v, %v", jobs, err)
		}
		moved = jobs[0].Key
		st.Close()
	}
	ids = append(ids, moved)
	if last, err = startLife(t, l); err != nil {
		t.Fatal(err)
	}
	success := map[string]float64{}
	eventually(t, time.Minute, "all batches are over", over)
	for _, id := range ids {
		data, err := ask("GET", "/identification/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		success[id] = data["success_count"].(float64)
	}
	_ = last.kill()

	st = open()
	defer st.Close()
	for i, task := range tasks {
		_, total, err := st.Numbers(t.Context(), importAccount, task, store.NumberFilter{PerPage: 1})
		if err != nil || i == 0 && total != sent*importRows || i == 1 && float64(total) != success[moved] {
			t.Errorf("task %d has %d numbers, %v; %d batches were sent, and of the pool %v copied", i, total, err, sent, success[moved])
		}
	}
	events, err := st.Events(t.Context(), importAccount, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	for _, e := range events {
		var b struct {
			Batch string `json:"batch"`
		}
		if e.Kind == waihu.EventBatchDone {
			if err := json.Unmarshal(e.Body, &b); err != nil {
				t.Fatal(err)
			}
			told[b.Batch]++
		}
	}
	for _, id := range ids {
		if told[id] != 1 {
			t.Errorf("the end of batch %s was told %d times", id, told[id])
		}
	}
	t.Logf("%d batches, %v", len(ids), success)
}

// holdCharges: every answered call was charged once, by its own length, and the balance is what they have cost together.
func (k *killed) holdCharges(st *store.Store) {
	k.Helper()
	f := store.ChargeFilter{From: time.UnixMilli(0), To: time.Now().Add(time.Hour), PerPage: 5000}
	charged := map[waihu.CallID]store.Charge{}
	sum := store.Money(0)
	for f.Page = 1; ; f.Page++ {
		list, total, err := st.Charges(k.Context(), []waihu.AccountID{testAccount}, f)
		if err != nil {
			k.Fatal(err)
		}
		for _, c := range list {
			charged[c.Call], sum = c, sum+c.Amount
		}
		if len(charged) == total {
			break
		}
	}
	answered := 0
	for _, task := range k.tasks {
		for page := 1; ; page++ {
			calls, total, err := st.Calls(k.Context(), testAccount, task, store.CallFilter{Ended: true, Outcomes: []waihu.Disposition{waihu.Answered}, Page: page, PerPage: 5000})
			if err != nil {
				k.Fatal(err)
			}
			for i := range calls {
				c, talk := charged[calls[i].ID], max(time.Millisecond, calls[i].Outcome.Talk())
				answered++
				if seconds := int((talk + time.Second - time.Millisecond) / time.Second); c.Seconds != seconds || c.Amount != store.Money(seconds)*100 {
					k.Errorf("a call of %v was charged %d s, %d", talk, c.Seconds, c.Amount)
				}
			}
			if page*5000 >= total {
				break
			}
		}
	}
	balance, err := st.Balance(k.Context(), testAccount)
	if err != nil || balance != -sum || len(charged) != answered || answered == 0 {
		k.Errorf("%d answered calls, %d charges of %d together, balance %d, %v", answered, len(charged), sum, balance, err)
	}
}
