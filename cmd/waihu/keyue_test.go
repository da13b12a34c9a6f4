package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/resources"
	"waihu/store"
)

// keyueFixture names what the vendor's page names.
const (
	keyueFixture = "../../resources/testdata/resources.yaml"
	keyueAccount = waihu.AccountID("5832d184-dd53-42a0-8ace-0bf8d660f4cc")
	keyueAgent   = "c24ce952-8355-457e-a997-51995167c0ae"
	keyueSource  = waihu.AgentID("9001") // the same
)

// TestKeyue runs the request sample of the vendor's page, and then examples/keyue, which knows nothing of waihu, against
// a server with the fixture applied.
func TestKeyue(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "keyue")
	if said, err := exec.Command("go", "build", "-o", program, "../../examples/keyue").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	s := startServe(t, t.TempDir(), "--apply", keyueFixture)
	sample := keyuePage(t)
	data, err := sample.send(t.Context(), s.base)
	if err != nil || len(data) != 25 || data["agentId"] != keyueAgent {
		t.Errorf("the page's sample: %v: %v", err, data)
	}
	ctx, cancel := context.WithTimeout(t.Context(), slow*2*time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, program, "-base", s.base, "-token", sample.header["token"], "-uid", sample.header["uid"], "-username", sample.header["username"],
		"-agent", keyueAgent, "-copies", "50").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, said, s.log.String())
	}
	for _, part := range []string{"copies made: 50", `"success":2`, "published: 1", "deleted: 50"} {
		if !strings.Contains(string(said), part) {
			t.Errorf("it does not say %q:\n%s", part, said)
		}
	}
	keyueOffline(t, s.base, sample)
	s.stop(t)
}

// keyueOffline: a copy of a flow agent is known to 云蝠's door by its id, whose task cannot be started before the copy is
// published; while it runs the agent cannot be taken offline.
func keyueOffline(t *testing.T, base string, sample keyueSample) {
	ctx := t.Context()
	sample.body = `{"agentId":"123"}`
	begun, err := sample.send(ctx, base)
	if err != nil {
		t.Fatal(err)
	}
	result := func(task any) (text string) {
		eventually(t, time.Minute, "the task is over", func() bool {
			data, err := sample.ask(ctx, "GET", base+"/open/v1/api/v2/task/openList?queryLevel=2&ps=1000", "")
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range data["taskList"].([]any) {
				if o := v.(map[string]any); o["id"] == task && o["taskResult"] != nil {
					text, _ = o["taskResult"].(string)
				}
			}
			return text != ""
		})
		return text
	}
	id := result(begun["id"])
	yunfu := func(method, path, body string) (string, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, base+"/agent-api/new/user/"+string(keyueAccount)+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer YOUR_TOKEN")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct {
			Status, Message string
			Data            struct{ UUID string }
		}
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal(raw, &answer) // a list as data is no task
		return answer.Status + " " + answer.Message, answer.Data.UUID
	}
	said, task := yunfu("POST", "/task", `{"name":"offline","destination_extension":`+id+`,"dial_time_id":123,"maximumcall":1,
		"task_extras":{"start_time":"2024-12-23 19:00:00","stop_time":"2036-12-25 23:59:59","line":[],"holiday":[],"pop_mode":1}}`)
	if task == "" {
		t.Fatalf("no task was made: %s", said)
	}
	if said, _ := yunfu("PUT", "/task_start/"+task, ""); strings.HasPrefix(said, "success") || !strings.Contains(said, "未上线") {
		t.Errorf("started with an agent that is offline: %s", said)
	}
	sample.header["Agentid"] = id
	published, err := sample.ask(ctx, "POST", base+"/open/v1/api/v2/task/create/agent_publish", `{"category":"all"}`)
	if err != nil {
		t.Fatal(err)
	}
	result(published["id"])
	if said, _ := yunfu("PUT", "/task_start/"+task, ""); !strings.HasPrefix(said, "success") {
		t.Errorf("not started with an agent that is online: %s", said)
	}
	if _, err := sample.ask(ctx, "POST", base+"/open/v1/api/v3/agents/offline", `{"agentId":"`+id+`"}`); err == nil || !strings.Contains(err.Error(), "502007") {
		t.Errorf("taken offline while it calls: %v", err)
	}
	if said, _ := yunfu("PUT", "/task_stop/"+task, ""); !strings.HasPrefix(said, "success") {
		t.Error(said)
	}
	if _, err := sample.ask(ctx, "POST", base+"/open/v1/api/v3/agents/offline", `{"agentId":"`+id+`"}`); err != nil {
		t.Error(err)
	}
}

// keyueSample is the request sample of the page.
type keyueSample struct {
	path, body string
	header     map[string]string
}

func keyuePage(t *testing.T) keyueSample {
	t.Helper()
	page, err := os.ReadFile("../../keyue/testdata/agent_copy.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := keyueSample{header: map[string]string{}}
	for _, m := range regexp.MustCompile(`--header '([^:]+): ([^']+)'`).FindAllStringSubmatch(string(page), -1) {
		s.header[m[1]] = m[2]
	}
	s.path = regexp.MustCompile(`POST 'https://[^/]+([^']+)'`).FindStringSubmatch(string(page))[1]
	s.body = regexp.MustCompile(`--data '([^']+)'`).FindStringSubmatch(string(page))[1]
	return s
}

func (s keyueSample) send(ctx context.Context, base string) (map[string]any, error) {
	return s.ask(ctx, "POST", base+s.path, s.body)
}

// ask makes a request with the sample's headers and gives data of the answer.
func (s keyueSample) ask(ctx context.Context, method, address, body string) (map[string]any, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range s.header {
		r.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Code int
		Data map[string]any
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil || answer.Code != 200 {
		return nil, fmt.Errorf("%s %s", res.Status, raw)
	}
	return answer.Data, nil
}

// TestKeyueCopiesSurvive asks for 50 copies of one agent at once while the server is killed with -9 over and over, before
// and after the commit of a copy and at a random moment: every task that was accepted, answered or not, becomes exactly
// one copy, whole and under a name of its own.
func TestKeyueCopiesSurvive(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		testKeyueCopies(t, "")
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		testKeyueCopies(t, privatePostgres(t))
	})
}

const keyueCopies = 50

func testKeyueCopies(t *testing.T, dsn string) {
	l := life{Data: t.TempDir(), DSN: dsn, HTTP: "127.0.0.1:" + strconv.Itoa(sipPort(t)), SIP: "127.0.0.1:" + strconv.Itoa(sipPort(t)), RTP: killRTP()}
	open := func() *store.Store {
		t.Helper()
		st, err := openStore(t.Context(), config{Data: l.Data, Database: l.DSN, MinFreeMB: 1}, noEnv, newLog(testLog{t}, "warn"))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	raw, err := os.ReadFile(keyueFixture)
	if err != nil {
		t.Fatal(err)
	}
	st := open()
	_, err = resources.Apply(t.Context(), keyueFixture, raw, resources.Options{Store: st, Check: agent.Check})
	st.Close()
	if err != nil {
		t.Fatal(err)
	}

	// The clients: each asks until it is answered. One that a death left without an answer may have made a task all the same.
	ctx, cancel := context.WithTimeout(t.Context(), slow*2*time.Minute)
	defer cancel()
	sample, base := keyuePage(t), "http://"+l.HTTP
	var answered sync.Map
	var clients sync.WaitGroup
	for range keyueCopies {
		clients.Go(func() {
			for again := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-again.C {
				if data, err := sample.send(ctx, base); err == nil {
					answered.Store(data["id"], true)
					return
				}
			}
		})
	}
	deaths := 0
	die := func(point string, nth int) {
		t.Helper()
		dying := l
		dying.Crash, dying.Nth = point, nth
		c, err := startLife(t, dying)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err = <-c.done:
		case <-ctx.Done():
			_ = c.kill()
			t.Fatalf("%s was not met %d times:\n%s", point, nth, c.log())
		}
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("it was not killed at %s: %v\n%s", point, err, c.log())
		}
		deaths++
	}
	die("copy.after_commit", 5)
	die("copy.before_commit", 10)
	last, err := startLife(t, l)
	if err != nil {
		t.Fatal(err)
	}
	clients.Wait()
	over := func() (list []map[string]any, waiting int) {
		data, err := sample.ask(ctx, "GET", base+"/open/v1/api/v2/task/openList?queryLevel=2&ps=1000", "")
		if err != nil {
			return nil, keyueCopies
		}
		tasks, _ := data["taskList"].([]any)
		for _, v := range tasks {
			task := v.(map[string]any)
			if list = append(list, task); task["taskResult"] == nil && task["errorMsg"] == nil {
				waiting++
			}
		}
		return list, waiting
	}
	eventually(t, time.Minute, "half of the copies are made", func() bool { list, waiting := over(); return len(list) > 0 && 2*waiting <= len(list) })
	_ = last.kill() // wherever it stands
	if last, err = startLife(t, l); err != nil {
		t.Fatal(err)
	}
	deaths++
	var tasks []map[string]any
	eventually(t, time.Minute, "all tasks are over", func() bool {
		list, waiting := over()
		tasks = list
		return len(list) >= keyueCopies && waiting == 0
	})
	_ = last.kill()

	st = open()
	defer st.Close()
	judgeKeyueCopies(t, st, tasks, &answered)
	t.Logf("%d deaths, %d tasks for %d clients", deaths, len(tasks), keyueCopies)
}

// judgeKeyueCopies holds the ledger's agents against the tasks that the clients saw.
func judgeKeyueCopies(t *testing.T, st *store.Store, tasks []map[string]any, answered *sync.Map) {
	source, err := st.Agent(t.Context(), keyueAccount, keyueSource)
	if err != nil {
		t.Fatal(err)
	}
	content := func(a waihu.AgentSpec) string {
		a.ID, a.Name, a.Version, a.ExternalIDs, a.Vendor = "", "", 0, nil, nil
		raw, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	copies, names := map[string]bool{}, map[string]bool{}
	for _, task := range tasks {
		answered.Delete(task["id"])
		id, _ := task["taskResult"].(string)
		a, err := st.Agent(t.Context(), keyueAccount, waihu.AgentID(id))
		if err != nil || copies[id] || names[a.Name] || !strings.HasPrefix(a.Name, source.Name) || a.Name == source.Name || content(a) != content(source) || a.State != waihu.AgentOffline {
			t.Errorf("task %v: %v, agent %s %q (seen %v, name seen %v)\n%s", task, err, id, a.Name, copies[id], names[a.Name], content(a))
		}
		copies[id], names[a.Name] = true, true
	}
	answered.Range(func(id, _ any) bool {
		t.Errorf("task %v was answered and is lost", id)
		return true
	})
	list, total, err := st.FindAgents(t.Context(), keyueAccount, store.AgentFilter{Name: source.Name + "-", PerPage: 1000})
	if err != nil || total != len(tasks) {
		t.Errorf("%d copies for %d tasks: %v", total, len(tasks), err)
	}
	for _, a := range list {
		if !copies[string(a.ID)] {
			t.Errorf("agent %s %q is no task's", a.ID, a.Name)
		}
	}
}

func TestKeyueSettings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"0,1,2,3": "", " 10, 20 ,30,40": "", "": "four", "1,2,3": "four", "1,2,3,4,5": "four", "1,2,3,3": "four", "1,2,3,x": "four"} {
		err := (&keyueConfig{ErrorStatus: 400, TaskStatus: text}).check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for status, good := range map[int]bool{200: true, 400: true, 422: true, 499: true, 0: false, 201: false, 302: false, 500: false} {
		if err := (&keyueConfig{ErrorStatus: status, TaskStatus: "0,1,2,3"}).check(); (err == nil) != good {
			t.Errorf("status %d: %v", status, err)
		}
	}
}
