package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRecordingsInBucket: with a bucket of a real S3 server configured, a call's recording ends there and not in the folder, every door plays it from there, in
// whole and in part, and an erasure removes it there.
func TestRecordingsInBucket(t *testing.T) {
	t.Parallel()
	requirePeer(t, "versitygw")                                        // go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	stored, addr := t.TempDir(), "127.0.0.1:"+strconv.Itoa(sipPort(t)) // one that nobody else gets
	if err := os.Mkdir(filepath.Join(stored, "calls"), 0o700); err != nil {
		t.Fatal(err)
	}
	s3 := exec.Command("versitygw", "--access", "the-key", "--secret", "the-secret", "--port", addr, "--quiet", "posix", "--sidecar", t.TempDir(), stored)
	if err := s3.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s3.Process.Kill()
		_ = s3.Wait()
	})
	const goner = "99912345013"
	data := t.TempDir()
	raw := testResources + `lines:
  - {id: sim, name: simulated, concurrency: 9, trunk: {uri: "sim:log", caller_ids: ["02160001234"]}}
tasks:
  - {id: t, name: t, agent: goodbye, calling_hours: 1, concurrency: 9, lines: [{id: sim, limit: 9}], start: "2024-01-01", stop: "2099-01-01"}
`
	s := startServe(t, data, "--apply", writeFile(t, raw), "--recordings-bucket", "http://"+addr+"/calls/waihu",
		"--recordings-key", "file:"+writeFile(t, "the-key\n"), "--recordings-secret", "file:"+writeFile(t, "the-secret\n"))
	client := &vendorClient{base: s.base, user: testAccount, token: "test-token"}
	expect(t, 0, "1 numbers imported", "import", "t", writeFile(t, "+"+goner+"\n"), "--data", data)
	if err := client.startTask(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	wavs := func(dir string) (list []string) {
		list, err := filepath.Glob(filepath.Join(dir, "*", "*.wav"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	eventually(t, 60*time.Second, "the recording is in the bucket, and not in the folder", func() bool {
		return len(wavs(filepath.Join(stored, "calls", "waihu"))) == 1 && len(wavs(filepath.Join(data, "recordings"))) == 0
	})
	object := wavs(filepath.Join(stored, "calls", "waihu"))[0]
	want, err := os.ReadFile(object)
	if err != nil || len(want) < 8000 {
		t.Fatalf("%d bytes, %v", len(want), err)
	}
	call := strings.TrimSuffix(filepath.Base(object), ".wav")
	get := func(url, token, part string) (int, []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		if part != "" {
			r.Header.Set("Range", part)
		}
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
	task := s.base + "/agent-api/user/" + testAccount + "/task/t"
	var batch struct {
		Data []struct{ URL string }
	}
	status, body := get(task+"/batch_record/download-full-voice?recordIds[]="+call, "test-token", "")
	if err := json.Unmarshal(body, &batch); status != 200 || err != nil || len(batch.Data) != 1 {
		t.Fatalf("the batch: %d %s", status, body)
	}
	native := s.base + "/api/v1/calls/" + call + "/recording"
	for url, token := range map[string]string{native: "test-token", task + "/record/" + call + "/download-full-voice": "test-token", batch.Data[0].URL: ""} {
		if status, body := get(url, token, ""); status != 200 || !bytes.Equal(body, want) {
			t.Errorf("%s: %d, %d bytes of %d", url, status, len(body), len(want))
		}
		if status, body := get(url, token, "bytes=100-199"); status != 206 || !bytes.Equal(body, want[100:200]) {
			t.Errorf("a part of %s: %d, %d bytes", url, status, len(body))
		}
	}
	expect(t, 0, "1  recordings removed", "erase", goner, "--data", data)
	if left := wavs(filepath.Join(stored, "calls", "waihu")); len(left) != 0 {
		t.Errorf("the bucket still has %q", left)
	}
	if status, _ := get(native, "test-token", ""); status != 404 {
		t.Errorf("the recording of an erased number: %d", status)
	}
}
