package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/audio"
	"waihu/carrier"
	"waihu/resources"
	"waihu/store"
)

// folderHolds are the files below a folder in whose bytes the text stands.
func folderHolds(t *testing.T, dir, text string) (files []string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		seen++
		if bytes.Contains(raw, []byte(text)) {
			files = append(files, filepath.Base(path))
		}
		return err
	})
	if err != nil || seen < 4 {
		t.Fatalf("%d files, %v", seen, err)
	}
	return files
}

// TestErasedNowhere calls somebody, records it, and erases them: by the command line, with the server running and without one. After that neither the
// folder's files nor the database nor the log hold the number, and the recording is gone.
func TestErasedNowhere(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		testErasedNowhere(t, "")
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		testErasedNowhere(t, privatePostgres(t))
	})
}

func testErasedNowhere(t *testing.T, dsn string) {
	const goner, second = "99912345013", "99912377013" // who talk
	data := t.TempDir()
	raw := testResources + `lines:
  - {id: sim, name: simulated, concurrency: 9, trunk: {uri: "sim:log", caller_ids: ["02160001234"]}}
tasks:
  - {id: t, name: t, agent: goodbye, calling_hours: 1, concurrency: 9, lines: [{id: sim, limit: 9}], start: "2024-01-01", stop: "2099-01-01"}
`
	where := []string{"--data", data}
	if dsn != "" {
		where = append(where, "--database", dsn)
	}
	with := func(args ...string) []string { return append(args, where...) }
	s := startServe(t, data, append([]string{"--log-level", "debug", "--apply", writeFile(t, raw)}, where[2:]...)...)
	client := &vendorClient{base: s.base, user: testAccount, token: "test-token"}
	expect(t, 0, "2 numbers imported", with("import", "t", writeFile(t, "+"+goner+"\n+"+second+"\n"))...)
	if err := client.startTask(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "both have been called", func() bool {
		_, done, _ := numbersOf(t, client, "t")
		return done == 2
	})
	// The calls are exported; their recordings play.
	table := filepath.Join(t.TempDir(), "calls.csv")
	expect(t, 0, "2 calls of task t written", with("export", "t", table, "--calls", "--transcript")...)
	expect(t, 1, "exists: name a new file", with("export", "t", table, "--calls")...)
	expect(t, 0, "2 numbers of task t written", with("export", "t", filepath.Join(t.TempDir(), "numbers.xlsx"))...)
	text, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(text), "\ufeff"))).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%q %v", rows, err)
	}
	calls := map[string][]string{}
	for _, row := range rows[1:] {
		calls[strings.TrimPrefix(row[1], "+")] = row
		if !strings.Contains(row[18], "感谢") || row[17] == "" {
			t.Errorf("a call that says nothing or has no recording: %q", row)
		}
	}
	play := func(call string) (int, []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/api/v1/calls/"+call+"/recording", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer test-token")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, body
	}
	if status, body := play(calls[goner][0]); status != 200 || !bytes.HasPrefix(body, []byte("RIFF")) {
		t.Fatalf("the recording: %d, %d bytes", status, len(body))
	}
	if len(folderHolds(t, data, goner)) == 0 && dsn == "" {
		t.Fatal("the number is not in the folder before it is erased: this test proves nothing")
	}

	gone := func(number string) {
		t.Helper()
		if files := folderHolds(t, data, number); len(files) > 0 {
			t.Errorf("%s still stands in %q", number, files)
		}
		if _, err := os.Stat(filepath.Join(data, "recordings", calls[number][17])); err == nil {
			t.Error("the recording is still in the folder")
		}
		if dsn == "" {
			return
		}
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		schema := q.Get("search_path")
		q.Del("search_path")
		u.RawQuery = q.Encode()
		dump, err := exec.CommandContext(t.Context(), "/usr/lib/postgresql/15/bin/pg_dump", "--schema", schema, u.String()).Output()
		if err != nil || !bytes.Contains(dump, []byte("call_details")) {
			t.Fatalf("dump: %v, %d bytes", err, len(dump))
		}
		if i := bytes.Index(dump, []byte(number)); i >= 0 {
			t.Errorf("the database still holds it: %q", dump[max(0, i-80):i+20])
		}
	}
	said := expect(t, 0, "1  numbers of tasks emptied", with("erase", "+999 1234-5013")...)
	if !strings.Contains(said, "no file of the data folder holds the number any more") || !strings.Contains(said, "1  recordings removed") || strings.Contains(said, goner) {
		t.Errorf("the report: %s", said)
	}
	gone(goner)
	if status, _ := play(calls[goner][0]); status != 404 {
		t.Errorf("the recording of an erased number: %d", status)
	}
	if status, _ := play(calls[second][0]); status != 200 {
		t.Errorf("another's recording: %d", status)
	}
	expect(t, 0, "0  numbers of tasks emptied", with("erase", goner)...)
	expect(t, 1, "there is no account", with("erase", goner, "--account", "nobody")...)
	expect(t, 1, "3 to 20 digits", with("erase", "1")...)
	s.stop(t)
	gone(goner)

	// Without a server.
	expect(t, 0, "1  numbers of tasks emptied", with("erase", second, "--account", testAccount)...)
	gone(second)
	for _, secret := range []string{goner[3:], second[3:], "感谢"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestKilledRecordingPlays kills the process in the middle of a call with -9. What was said until two seconds before is in the file, whose header is true;
// the next process finds it, and it plays through the API to its last second.
func TestKilledRecordingPlays(t *testing.T) {
	t.Parallel()
	for try := 1; !killedRecordingPlays(t, try == 3); try++ {
		t.Log("the agent said nothing in its last second, as it does when its voice is not rendered in time: once more")
	}
}

// killedRecordingPlays is one kill. A silent end is judged only when it is the last: a defect is there each time.
func killedRecordingPlays(t *testing.T, last bool) bool {
	t.Helper()
	far := startFar(t, carrier.Options{Seed: 7, Speed: 0.2})
	l := life{Data: t.TempDir(), SIP: "127.0.0.1:" + strconv.Itoa(sipPort(t)), RTP: killRTP()}
	st, err := openStore(t.Context(), config{Data: l.Data, MinFreeMB: 1}, noEnv, newLog(testLog{t}, "warn"))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("这是一段很长的说明，请您耐心听完，我们马上就好。", 8)
	raw := strings.ReplaceAll(fmt.Sprintf(killResources, 2, far.Addr()), "感谢您的接听，再见。", long)
	raw = strings.ReplaceAll(raw, "max_call: 1}", "max_call: 60}")
	if _, err := resources.Apply(t.Context(), "kill.yaml", []byte(raw), resources.Options{Store: st, Check: agent.Check}); err != nil {
		t.Fatal(err)
	}
	var week waihu.Weekly
	for d := range week {
		week[d] = []waihu.Span{{From: 0, To: 1440}}
	}
	task := waihu.Task{Account: testAccount, Name: "kill", Agent: "goodbye", Concurrency: 1, Weekly: week, EndAction: waihu.EndPause, Lines: []waihu.TaskLine{{Line: "far", Limit: 1}}}
	if err := st.CreateTask(t.Context(), &task); err != nil {
		t.Fatal(err)
	}
	if _, err := st.AddNumbers(t.Context(), testAccount, task.ID, []store.NewNumber{{Phone: "13900000013"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.StartTask(t.Context(), testAccount, task.ID); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	child, err := startLife(t, l)
	if err != nil {
		t.Fatal(err)
	}
	file := ""
	eventually(t, 60*time.Second, "four seconds of the call are in the file", func() bool {
		if found, _ := filepath.Glob(filepath.Join(l.Data, "recordings", "*", "*.wav")); len(found) > 0 {
			file = found[0]
			info, err := os.Stat(file)
			return err == nil && info.Size() > 4*2*audio.SampleRate
		}
		if len(child.done) > 0 {
			t.Fatalf("the server ended by itself: %s", child.log())
		}
		return false
	})
	died := time.Now() // it lives a little longer: that is for it, not against it
	_ = child.kill()
	talked := died.Sub(far.Calls()[0].AnswerAt)
	left, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wav, err := audio.ReadWAV(left)
	if err != nil {
		t.Fatalf("the file that the dead process left: %v", err)
	}
	length := time.Duration(len(wav.Channels[0])) * time.Second / audio.SampleRate
	if len(wav.Channels) != 2 || talked-length > 2*time.Second || length > talked+time.Second {
		t.Errorf("%d channels of %v after %v of talk: the file must be true within 2 s", len(wav.Channels), length, talked)
	}
	lastSecond := wav.Channels[1][len(wav.Channels[1])-audio.SampleRate:]
	if level := audio.Level(lastSecond); level < -50 {
		if !last {
			return false
		}
		t.Errorf("the agent's last second is at %.0f dBFS: it was talking", level)
	}
	t.Logf("killed after %v of talk: %v are in the file", talked.Round(time.Millisecond), length)

	// The next life books the call and hands the recording out.
	s := startServe(t, l.Data, "--sip", l.SIP)
	var call []string
	tries := 0
	eventually(t, 60*time.Second, "the call is booked", func() bool {
		tries++
		table := filepath.Join(t.TempDir(), fmt.Sprint(tries, ".csv"))
		expect(t, 0, "calls of task", "export", string(task.ID), table, "--calls", "--data", l.Data)
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(text), "\ufeff"))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 2 {
			call = rows[1]
		}
		return len(rows) == 2 && call[9] != ""
	})
	if call[11] != "unknown" || call[17] == "" {
		t.Errorf("the call is booked as %q", call)
	}
	for _, path := range []string{"/api/v1/calls/" + call[0] + "/recording",
		"/agent-api/user/" + testAccount + "/task/" + string(task.ID) + "/record/" + call[0] + "/download-full-voice"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer test-token")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		played, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || !bytes.Equal(played, left) {
			t.Errorf("%s: %d, %d bytes of %d, %v", path, res.StatusCode, len(played), len(left), err)
		}
	}
	return true
}
