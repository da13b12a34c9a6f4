package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waihu"
	"waihu/keyue"
	"waihu/voicefox"
)

// fox is the VoiceFox door of a campaign under virtual time, with AIOB beside it.
type fox struct {
	*campaign
	door, aiob http.Handler
	token      string // of AIOB
}

// foxTask is what a task detail shows of its state.
type foxTask struct {
	ID       int64
	Status   string
	Total    int
	Progress int
}

func (c *campaign) fox() *fox {
	log := newLog(testLog{c.T}, "error")
	f := &fox{campaign: c, door: voicefox.New(voicefox.Options{Store: c.store, Log: log}), aiob: keyue.New(keyue.Options{Store: c.store, Log: log})}
	f.token = f.login()
	return f
}

// send asks the door; body is a text, or what JSON makes of it.
func (f *fox) send(method, path string, body any, out any) (status int, said string) {
	f.Helper()
	text, is := body.(string)
	if !is && body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			f.Fatal(err)
		}
		text = string(raw)
	}
	r := httptest.NewRequestWithContext(f.ctx, method, path, strings.NewReader(text))
	r.Header.Set("Authorization", "Bearer test-token")
	w := httptest.NewRecorder()
	f.door.ServeHTTP(w, r)
	if out != nil && w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			f.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	synctest.Wait()
	return w.Code, w.Body.String()
}

func (f *fox) ok(method, path string, body, out any) {
	f.Helper()
	if status, said := f.send(method, path, body, out); status != http.StatusOK {
		f.Fatalf("%s %s: %d %s", method, path, status, said)
	}
}

// line makes a line with a caller number and returns the number's id.
func (f *fox) line(id waihu.LineID, concurrency int, expires time.Time) int64 {
	f.Helper()
	if err := f.store.UpsertLine(f.ctx, waihu.Line{ID: id, Account: testAccount, Name: string(id), Concurrency: concurrency, Expires: expires,
		Trunk: waihu.Trunk{URI: "sip:127.0.0.1:5080", CallerIDs: []string{"021" + string(id)}}}); err != nil {
		f.Fatal(err)
	}
	f.mu.Lock()
	f.lines[id] = waihu.LineState{Capacity: concurrency}
	f.mu.Unlock()
	list, err := f.store.Callers(f.ctx, testAccount, id)
	if err != nil || len(list) != 1 {
		f.Fatal(list, err)
	}
	return list[0].ID
}

// make makes a task with n numbers that calls from one caller number.
func (f *fox) make(caller int64, n int, option object) foxTask {
	f.Helper()
	o := object{"numbers": []int64{caller}, "startDate": "2000-01-01", "startTime": [][]string{{"00:00", "24:00"}}}
	for k, v := range option {
		o[k] = v
	}
	var k foxTask
	f.ok("POST", "/openapi/tasks", object{"name": "回访", "assistantId": 10, "option": o}, &k)
	f.sees(k.ID, "pending", 0, 1, 1)
	if n > 0 {
		var rows strings.Builder
		for i := range n {
			fmt.Fprintln(&rows, 13700000000+int(k.ID)*1000+i)
		}
		f.ok("POST", fmt.Sprintf("/openapi/tasks/%d/numbers", k.ID), rows.String(), nil)
		f.sees(k.ID, "pending", 0, 1, 1)
	}
	return k
}

func (f *fox) word(id int64) string {
	f.Helper()
	k, err := f.store.TaskBySerial(f.ctx, testAccount, id)
	if err != nil {
		f.Fatal(err)
	}
	return string(k.ID)
}

// sees holds a task's state as the doors show it: VoiceFox's word with progress, 云蝠's number (1 stopped, 2 calls in progress,
// 3 waiting) and AIOB's (1 waiting, 2 running, 3 paused, 4 finished).
func (f *fox) sees(id int64, status string, progress, yunfu, aiob int) {
	f.Helper()
	var k foxTask
	f.ok("GET", fmt.Sprintf("/openapi/tasks/%d", id), nil, &k)
	if k.Status != status || k.Progress != progress {
		f.Errorf("task %d is %s at %d %%, want %s at %d %%", id, k.Status, k.Progress, status, progress)
	}
	if n := f.status(f.word(id)); n != yunfu {
		f.Errorf("云蝠 shows task %d (%s) as %d, want %d", id, status, n, yunfu)
	}
	if n := f.aiobState(id); n != aiob {
		f.Errorf("AIOB shows task %d (%s) as %d, want %d", id, status, n, aiob)
	}
}

// TestStatusWalk reaches each of VoiceFox's six states by a real run and looks at it through the other doors too; then it does the same with tasks of theirs.
func TestStatusWalk(t *testing.T) {
	inBubble(t, func(c *campaign) {
		f := c.fox()
		two := f.line("two", 2, time.Time{})

		// Numbers finish: pending until the first window, running in it and between two, done with the last number.
		c.ends(20*time.Minute, waihu.Answered)
		windows := object{"startTime": [][]string{{"09:00", "10:00"}, {"14:00", "18:00"}}}
		whole := f.make(two, 9, windows)
		f.ok("POST", fmt.Sprintf("/openapi/tasks/%d/start", whole.ID), nil, nil)
		f.sees(whole.ID, "pending", 0, 3, 2)
		c.after(time.Until(clock(1, 9, 5)))
		f.sees(whole.ID, "running", 0, 2, 2)
		c.after(time.Until(clock(1, 12, 0))) // six were called from 9 to 10
		f.sees(whole.ID, "running", 66, 3, 2)
		c.after(time.Until(clock(1, 14, 30)))
		f.sees(whole.ID, "running", 88, 2, 2)
		c.after(time.Until(clock(1, 15, 0)))
		f.sees(whole.ID, "done", 100, 1, 4)
		if r := c.run(f.word(whole.ID)); r.Reason != waihu.RunDone || r.State != waihu.RunEnded {
			t.Errorf("the finished task's run is %+v", r)
		}
		if status, said := f.send("POST", fmt.Sprintf("/openapi/tasks/%d/start", whole.ID), nil, nil); status != http.StatusConflict {
			t.Errorf("a done task is started: %d %s", status, said)
		}

		// An operator stops it, here and at the other door; it goes on from there.
		for _, stop := range []func(id int64){
			func(id int64) { f.ok("POST", fmt.Sprintf("/openapi/tasks/%d/stop", id), nil, nil) },
			func(id int64) { c.stop(f.word(id)) },
		} {
			k := f.make(two, 5, nil)
			c.start(f.word(k.ID)) // started at the other door
			c.after(time.Minute)
			f.sees(k.ID, "running", 0, 2, 2)
			stop(k.ID)
			f.sees(k.ID, "stop.operate", 0, 1, 3)
			c.after(time.Hour)
			f.sees(k.ID, "stop.operate", 40, 1, 3)
			f.ok("POST", fmt.Sprintf("/openapi/tasks/%d/resume", k.ID), nil, nil)
			f.sees(k.ID, "running", 40, 2, 2)
			c.after(time.Hour)
			f.sees(k.ID, "done", 100, 1, 4)
		}

		// The schedule runs out with numbers left.
		today := time.Now().In(waihu.Location(""))
		k := f.make(two, 50, object{"startDate": today.Format(time.DateOnly), "taskTimeType": "onetime", "startTime": [][]string{{"00:00", today.Add(30 * time.Minute).Format("15:04")}}})
		f.ok("POST", fmt.Sprintf("/openapi/tasks/%d/start", k.ID), nil, nil)
		c.after(time.Second)
		f.sees(k.ID, "running", 0, 2, 2)
		c.after(31 * time.Minute)
		f.sees(k.ID, "stop.timeout", 4, 1, 4) // two are finished, two go on
		c.after(time.Hour)
		f.sees(k.ID, "stop.timeout", 8, 1, 4)
		if status, said := f.send("POST", fmt.Sprintf("/openapi/tasks/%d/resume", k.ID), nil, nil); status != http.StatusConflict {
			t.Errorf("a task whose schedule is over is started: %d %s", status, said)
		}

		// The line becomes unusable: it expires, or every call on it fails on the way.
		dying := f.line("dying", 2, time.Now().Add(30*time.Minute))
		k = f.make(dying, 50, nil)
		f.ok("POST", fmt.Sprintf("/openapi/tasks/%d/start", k.ID), nil, nil)
		c.after(10 * time.Minute)
		f.sees(k.ID, "running", 0, 2, 2)
		c.after(time.Hour)
		f.sees(k.ID, "stop.abnormal", 8, 1, 3)
		c.ends(time.Second, waihu.CarrierFault)
		bad := f.line("bad", 2, time.Time{})
		k = f.make(bad, 50, nil)
		f.ok("POST", fmt.Sprintf("/openapi/tasks/%d/start", k.ID), nil, nil)
		c.after(time.Minute)
		f.sees(k.ID, "stop.abnormal", 0, 1, 3)
		if r := c.run(f.word(k.ID)); r.Reason != waihu.RunAbnormal || !strings.Contains(r.Detail, "bad") {
			t.Errorf("the run without a line is %+v", r)
		}

		// A task of the other door, which stays open when nothing is left.
		c.ends(time.Minute, waihu.Answered)
		other := c.task(3, body(2, nil))
		list := struct{ Items []foxTask }{}
		f.ok("GET", "/openapi/tasks?pageSize=1", nil, &list)
		id := list.Items[0].ID
		f.sees(id, "pending", 0, 1, 1)
		c.start(other)
		c.after(time.Second)
		f.sees(id, "running", 0, 2, 2)
		c.after(time.Hour)
		f.sees(id, "done", 100, 3, 2)
		c.numbers(other, 100, 2)
		f.sees(id, "running", 60, 2, 2)
		c.after(time.Hour)
		f.sees(id, "done", 100, 3, 2)
		c.stop(other)
		f.sees(id, "done", 100, 1, 3) // AIOB shows who stopped it

		f.walkAIOB()
	})
}

// TestVoiceFoxIntegration runs examples/voicefox, which knows nothing of waihu but the documents, against a server with the simulated carrier.
func TestVoiceFoxIntegration(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "voicefox")
	if said, err := exec.Command("go", "build", "-o", program, "../../examples/voicefox").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	s := startServe(t, t.TempDir(), "--apply", writeFile(t, integrationResources), "--callback-allow", "127.0.0.1/32")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, program, "-base", s.base, "-token", "integration-token", "-numbers", "20").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, said, s.log.String())
	}
	t.Logf("%s", said)
	for _, part := range []string{"numbers imported: 20", "done: 100 % of 20 numbers, ", "calls were told of", "call records: 2", "货物是否完好: [{完好", "a recording of", "begin", "hangup", "task and webhook deleted"} {
		if !strings.Contains(string(said), part) {
			t.Errorf("it does not say %q:\n%s", part, said)
		}
	}
	s.stop(t)
}

// TestVoiceFoxPage: the request of the vendor's page against a running server with the vendor's resources; an assistant of a
// language model is kept whole and not dialled with.
func TestVoiceFoxPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../voicefox/testdata/task_page.txt")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("{taskID}", "1", "<YOUR_TOKEN>", "YOUR_TOKEN").Replace(string(page))
	sample := regexp.MustCompile(`curl -X (\w+) 'https://[^/]+([^']*)' \\\s+-H '([^:]+): ([^']*)' \\\s+-H '([^:]+): ([^']*)'`).FindStringSubmatch(text)
	if sample == nil {
		t.Fatal("the page has no request")
	}
	s := startServe(t, t.TempDir(), "--apply", "../../resources/testdata/resources.yaml")
	ask := func(method, path, body string) (int, map[string]any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(sample[3], sample[4])
		r.Header.Set(sample[5], sample[6])
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
			t.Fatalf("%s %s: %s: %v", method, path, res.Status, err)
		}
		return res.StatusCode, out
	}
	status, task := ask(sample[1], sample[2], "")
	_, answer, _ := strings.Cut(text, "响应示例")
	var want map[string]any
	if err := json.Unmarshal([]byte(answer), &want); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK || task["name"] != "测试任务" {
		t.Errorf("%d %v", status, task)
	}
	sameKeys(t, "task", want, task)

	status, task = ask("POST", "/openapi/tasks", `{"name":"x","assistantId":9001,"option":{"startTime":[["00:00","24:00"]]}}`)
	assistant, _ := task["assistant"].(map[string]any)
	if status != http.StatusOK || assistant["scene"] != "outbound_collect" || !strings.HasPrefix(fmt.Sprint(assistant["prompt"]), "你是客服") {
		t.Fatalf("%d %v", status, task)
	}
	sameKeys(t, "task", want, task)
	status, refusal := ask("POST", fmt.Sprintf("/openapi/tasks/%v/start", task["id"]), "")
	if status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(refusal["message"]), "9001") {
		t.Errorf("a task of a language model is started: %d %v", status, refusal)
	}
	s.stop(t)
}

// sameKeys holds the keys and the kinds of values of got to the sample's.
func sameKeys(t *testing.T, where string, want, got any) {
	t.Helper()
	if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
		t.Errorf("%s is %v, the sample has %v", where, got, want)
		return
	}
	switch want := want.(type) {
	case map[string]any:
		got := got.(map[string]any)
		for k := range want {
			sameKeys(t, where+"."+k, want[k], got[k])
		}
		if len(want) != len(got) {
			t.Errorf("%s has %d keys, the sample %d", where, len(got), len(want))
		}
	case []any:
		for _, v := range got.([]any) {
			sameKeys(t, where+"[]", want[0], v)
		}
	}
}
