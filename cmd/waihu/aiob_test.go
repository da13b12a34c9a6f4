package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waihu"
)

const aiobResources = `accounts:
  - id: 5832d184-dd53-42a0-8ace-0bf8d660f4cc
    name: integration
    zone: ZONE
    tokens: [{name: integration, token: integration-token}]
    aiob: {access_key: integration-key, secret_key: integration-secret-key}
lines:
  - {id: d47c3599-f166-4cd0-999c-f60e46814d26, name: simulated, concurrency: 70, trunk: {uri: "sim:integration", caller_ids: ["02160001000"], ring_timeout: 8, max_call: 10}}
calling_hours:
  - {id: 1, name: all day, default: true, weekly: {all: ["00:00-24:00"]}}
agents:
  - id: "123"
    name: goodbye
    version: 1
    opening: {wait_ms: 200, say: 感谢您的接听，再见。}
    brain: flow
    flow: {start: bye, nodes: {bye: {say: 感谢您的接听，再见。, do: [hangup]}}}
`

// workingZone is a time zone where it is about two in the afternoon: AIOB calls between 09:00 and 21:00 alone.
func workingZone() string {
	east := 14 - time.Now().UTC().Hour() // of -9 to 14
	if east > 0 {
		return fmt.Sprintf("Etc/GMT-%d", east) // the signs of these names are those of POSIX
	}
	return fmt.Sprintf("Etc/GMT+%d", -east)
}

// TestAIOB runs examples/aiob, which knows nothing of waihu, against a server with the simulated carrier.
func TestAIOB(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "aiob")
	if said, err := exec.Command("go", "build", "-o", program, "../../examples/aiob").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	hook, zone := unusedTCP(t), workingZone()
	s := startServe(t, t.TempDir(), "--apply", writeFile(t, strings.Replace(aiobResources, "ZONE", zone, 1)), "--callback-allow", "127.0.0.1/32")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	groups := []string{"+99900000013", "+99900000002;+99900000113", "+99900000005", "+99900000010;+99900000110"}
	said, err := exec.CommandContext(ctx, program, "-base", s.base, "-ak", "integration-key", "-sk", "integration-secret-key", "-listen", hook,
		"-callback", "http://"+hook+"/", "-zone", zone, "-groups", strings.Join(groups, " "), "-now", "+99900000213").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, said, s.log.String())
	}
	t.Logf("%s", said)
	for _, part := range []string{"token holds for days: ", "groups imported: 4", "callbacks: 6 calls, 4 groups, 2 connected", "a recording of bytes: ", "calls read: 6",
		"realtime call: success", "realtime call: beyonddeadline"} {
		if !strings.Contains(string(said), part) {
			t.Errorf("it does not say %q:\n%s", part, said)
		}
	}
	s.stop(t)
}

// askAIOB asks for what AIOB must do.
func (f *fox) askAIOB(path string, body object, data any) {
	f.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		f.Fatal(err)
	}
	r := httptest.NewRequestWithContext(f.ctx, "POST", path, bytes.NewReader(raw))
	r.Header.Set("Authorization", f.token)
	w := httptest.NewRecorder()
	f.aiob.ServeHTTP(w, r)
	answer := struct {
		Code int `json:"code"`
		Data any `json:"data"`
	}{Data: data}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Code != 200 {
		f.Fatalf("%s: %v: %s", path, err, w.Body)
	}
	synctest.Wait()
}

func (f *fox) login() string {
	f.Helper()
	var token struct{ AccessToken string }
	f.askAIOB("/api/v2/getToken", object{"accessKey": "test-access-key", "secretKey": "test-secret-of-aiob"}, &token)
	return token.AccessToken
}

const apiTask = "/api/v3/console/apitask"

func (f *fox) aiobState(id int64) int {
	f.Helper()
	var task struct{ Status int }
	f.askAIOB(apiTask+"/gettask", object{"taskId": fmt.Sprint(id)}, &task)
	return task.Status
}

// turn changes a task's state at AIOB: 2 runs, 3 pauses, 4 finishes.
func (f *fox) turn(id int64, to int) {
	f.Helper()
	f.askAIOB(apiTask+"/task/status/update", object{"taskId": fmt.Sprint(id), "taskStatus": to}, nil)
}

// made makes a task of n people at AIOB, which calls from one number between 09:00 and 21:00 of this day.
func (f *fox) made(caller string, n int) int64 {
	f.Helper()
	today := time.Now().In(waihu.Location("")).Format(time.DateOnly)
	var task struct{ TaskID string }
	f.askAIOB(apiTask+"/create", object{"taskName": fmt.Sprint("回访 ", caller, n), "robotId": "10", "dialStartDate": today, "dialEndDate": today,
		"dialStartTime": "09:00", "dialEndTime": "21:00", "callerNums": []string{caller}, "isOpenEmptyNum": false, "isOpenPhoneDown": false}, &task)
	id, err := strconv.ParseInt(task.TaskID, 10, 64)
	if err != nil {
		f.Fatal(err)
	}
	f.sees(id, "pending", 0, 1, 1)
	var list []object
	for i := range n {
		list = append(list, object{"mobile": fmt.Sprint(13600000000 + i)})
	}
	f.askAIOB(apiTask+"/import", object{"taskId": task.TaskID, "secretType": 2, "customerInfoList": list}, nil)
	f.sees(id, "pending", 0, 1, 1)
	return id
}

// walkAIOB brings tasks of AIOB to the six states, on the next day.
func (f *fox) walkAIOB() {
	f.Helper()
	y, m, d := time.Now().In(waihu.Location("")).Date()
	at := func(hour, minute int) {
		f.after(time.Until(time.Date(y, m, d+1, hour, minute, 0, 0, waihu.Location(""))))
	}
	at(8, 0)
	f.line("77", 2, time.Time{})

	// Numbers finish.
	f.ends(20*time.Minute, waihu.Answered)
	id := f.made("02177", 5)
	f.turn(id, 2)
	f.sees(id, "pending", 0, 3, 2) // waits for nine
	at(9, 30)
	f.sees(id, "running", 40, 2, 2)
	at(10, 1)
	f.sees(id, "done", 100, 1, 4)

	// An operator pauses it, another goes on at another door, and the first finishes it.
	id = f.made("02177", 6)
	f.turn(id, 2)
	at(10, 2)
	f.sees(id, "running", 0, 2, 2)
	f.turn(id, 3)
	f.sees(id, "stop.operate", 0, 1, 3)
	at(11, 0)
	f.sees(id, "stop.operate", 33, 1, 3)
	f.ok("POST", fmt.Sprintf("/openapi/tasks/%d/resume", id), nil, nil)
	at(11, 1)
	f.sees(id, "running", 33, 2, 2)
	f.turn(id, 4)
	f.sees(id, "stop.operate", 33, 1, 4)
	at(12, 0)
	f.sees(id, "stop.operate", 66, 1, 4)

	// Its only caller number is of a line that expires.
	f.line("78", 2, time.Now().Add(30*time.Minute))
	id = f.made("02178", 50)
	f.turn(id, 2)
	at(12, 10)
	f.sees(id, "running", 0, 2, 2)
	at(13, 30)
	f.sees(id, "stop.abnormal", 8, 1, 3)

	// Its last day is over, at midnight.
	f.ends(7*time.Hour, waihu.Answered)
	id = f.made("02177", 7)
	f.turn(id, 2)
	at(23, 59)
	f.sees(id, "running", 28, 2, 2) // two calls from 20:30 go on
	at(24, 1)
	f.sees(id, "stop.timeout", 28, 1, 4)
}
