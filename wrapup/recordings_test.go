package wrapup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waihu"
	"waihu/store"
)

// s3Server starts a real S3 server on an empty folder and opens a bucket of it. It is Versity's gateway, which checks signatures, checksums and
// ranges as S3 does: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
func s3Server(t *testing.T) (b *Bucket, stop func()) {
	t.Helper()
	program, err := exec.LookPath("versitygw")
	if err != nil {
		if os.Getenv("WAIHU_TEST_REQUIRE") != "" {
			t.Fatal("versitygw is not installed and WAIHU_TEST_REQUIRE is set")
		}
		t.Skip("versitygw is not installed: recordings are tested with the local folder alone")
	}
	l, err := net.Listen("tcp", "127.78.0.1:0") // an address of our own: nobody takes its port meanwhile
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	data, meta := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "bucket"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--access", "the-key", "--secret", "the-secret", "--port", addr, "--quiet", "posix", "--sidecar", meta, data)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	if b, err = OpenBucket("http://"+addr+"/bucket/some/prefix", "", "the-key", "the-secret"); err != nil {
		t.Fatal(err)
	}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(2 * time.Minute); ; <-look.C {
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err == nil {
			c.Close()
			return b, stop
		}
		if time.Now().After(end) {
			t.Fatalf("the S3 server does not listen: %v\n%s", err, out.String())
		}
	}
}

// rig is a ledger with answered calls that have recordings in a folder.
type rig struct {
	*testing.T
	*Recordings
	calls []waihu.Call
}

const sound = "RIFF, let us say, 0123456789"

func newRig(t *testing.T, b *Bucket, n int) *rig {
	t.Helper()
	ctx := context.Background()
	st, err := store.Open(ctx, store.Options{Dir: t.TempDir(), Key: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(st.UpsertAccount(ctx, waihu.Account{ID: "acme", Name: "Acme"}))
	must(st.SaveAgent(ctx, &waihu.AgentSpec{ID: "a", Account: "acme", Name: "a", Brain: waihu.BrainFlow}))
	must(st.UpsertLine(ctx, waihu.Line{ID: "l", Account: "acme", Name: "l", Concurrency: 100, Trunk: waihu.Trunk{URI: "sim:"}}))
	must(st.CreateTask(ctx, &waihu.Task{ID: "t", Account: "acme", Name: "t", Agent: "a", Concurrency: 100}))
	list := make([]store.NewNumber, n)
	for i := range list {
		list[i].Phone = waihu.PhoneNumber(fmt.Sprint(13800000000 + i))
	}
	_, err = st.AddNumbers(ctx, "acme", "t", list)
	must(err)
	_, err = st.StartTask(ctx, "acme", "t")
	must(err)
	epoch, err := st.TakeShard(ctx, 0, "test", time.Hour)
	must(err)
	r := &rig{T: t, Recordings: NewRecordings(RecordingOptions{Store: st, Folder: filepath.Join(t.TempDir(), "recordings"), Bucket: b})}
	id := int64(0)
	tick := store.Tick{Epoch: epoch, Owner: "test", Now: time.Now(), NextCall: func() (waihu.CallID, bool) { id++; return waihu.NewCallID(0, epoch, id), true },
		Pops: []store.Pop{{Task: "t", Account: "acme", Run: 1, Fresh: true, Limit: n, Decide: func(store.PoppedNumber) store.Decision {
			return store.Decision{Dial: true, Line: "l", Agent: "a"}
		}}}}
	res, err := st.Tick(ctx, &tick)
	must(err)
	tick.Pops = nil
	for _, d := range res.Dials {
		name := "2026-01-02/" + d.Call.String() + ".wav"
		file := filepath.Join(r.Folder, filepath.FromSlash(name))
		must(os.MkdirAll(filepath.Dir(file), 0o700))
		must(os.WriteFile(file, []byte(sound+d.Call.String()), 0o600))
		tick.Book = append(tick.Book, store.Booking{LiveCall: d.LiveCall, Next: waihu.NumberDone, Outcome: &waihu.Outcome{Call: d.Call, Disposition: waihu.Answered,
			AnswerAt: d.StartedAt, EndAt: d.StartedAt.Add(time.Second), Recording: name}})
	}
	_, err = st.Tick(ctx, &tick)
	must(err)
	r.calls, _, err = st.Calls(ctx, "acme", "t", store.CallFilter{PerPage: n})
	must(err)
	if len(r.calls) != n {
		t.Fatalf("%d calls", len(r.calls))
	}
	return r
}

// work does the jobs of a kind that are due, by the handler, as the queue would.
func (r *rig) work(kind string) (errs []error) {
	r.Helper()
	jobs, err := r.Store.TakeJobs(r.Context(), kind, 100, time.Minute)
	if err != nil {
		r.Fatal(err)
	}
	for _, j := range jobs {
		err := r.once(j)
		errs = append(errs, err)
		end := store.JobEnd{Job: j}
		if err != nil {
			end.Retry = time.Now().Add(-time.Second)
		}
		if err := r.Store.EndJobs(r.Context(), end); err != nil {
			r.Fatal(err)
		}
	}
	return errs
}

func (r *rig) once(j waihu.Job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("died at %v", p)
		}
	}()
	return r.Handlers()[j.Kind](r.Context(), j)
}

func (r *rig) plays(k waihu.Call) {
	r.Helper()
	rec, err := r.Open(r.Context(), &k)
	if err != nil {
		r.Errorf("open the recording of %s: %v", k.ID, err)
		return
	}
	defer rec.Close()
	want := sound + k.ID.String()
	got, err := io.ReadAll(rec)
	if err != nil || string(got) != want || rec.Size != int64(len(want)) {
		r.Errorf("recording of %s: %q (%d bytes), %v", k.ID, got, rec.Size, err)
	}
	if _, err := rec.Seek(5, io.SeekStart); err != nil {
		r.Error(err)
	}
	part := make([]byte, 4)
	if _, err := io.ReadFull(rec, part); err != nil || string(part) != want[5:9] {
		r.Errorf("a part: %q %v", part, err)
	}
}

func (r *rig) here(k waihu.Call) bool {
	_, err := os.Stat(filepath.Join(r.Folder, filepath.FromSlash(k.Outcome.Recording)))
	return err == nil
}

// TestRecordings holds both places to the same: a recording plays before, while and after it is kept, its checksum is known, whoever erases its
// call finds it wherever it lies, and a death at any point costs nothing.
func TestRecordings(t *testing.T) {
	t.Parallel()
	t.Run("folder", func(t *testing.T) { t.Parallel(); testRecordings(t, nil) })
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		b, _ := s3Server(t)
		if err := b.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		testRecordings(t, b)
	})
}

func testRecordings(t *testing.T, b *Bucket) {
	r := newRig(t, b, 4)
	for _, k := range r.calls {
		r.plays(k)
	}
	if b != nil { // die at each point, twice over
		for _, point := range []string{"recording.copied", "recording.kept"} {
			r.Crash = func(at string) {
				if at == point {
					panic(at)
				}
			}
			for _, err := range r.work(store.JobKeepRecording) {
				if err == nil || !strings.Contains(err.Error(), point) {
					t.Errorf("it was to die at %s: %v", point, err)
				}
			}
			for _, k := range r.calls {
				if !r.here(k) {
					t.Errorf("the file is gone at %s", point)
				}
				r.plays(k)
			}
		}
		r.Crash = func(string) {}
	}
	for _, err := range r.work(store.JobKeepRecording) {
		if err != nil {
			t.Error(err)
		}
	}
	for _, k := range r.calls {
		if r.here(k) != (b == nil) {
			t.Errorf("the file of %s is here: %v", k.ID, r.here(k))
		}
		r.plays(k)
		row, err := r.Store.Recording(t.Context(), "acme", k.ID)
		sum := sha256.Sum256([]byte(sound + k.ID.String()))
		if err != nil || row.Sum != hex.EncodeToString(sum[:]) || row.Size == 0 || (row.Place != "") != (b != nil) {
			t.Errorf("%+v %v", row, err)
		}
	}
	// One is erased at once, one by its job.
	report, err := r.Store.Erase(t.Context(), store.Erasure{Phone: r.calls[0].Phone, Remove: r.Remove})
	if err != nil || report.Recordings != 1 {
		t.Errorf("%+v %v", report, err)
	}
	report, err = r.Store.Erase(t.Context(), store.Erasure{Phone: r.calls[1].Phone})
	if err != nil || report.RecordingsLater != 1 {
		t.Errorf("%+v %v", report, err)
	}
	for _, err := range r.work(store.JobRemoveRecording) {
		if err != nil {
			t.Error(err)
		}
	}
	for i, k := range r.calls[:2] {
		if _, err := r.Open(t.Context(), &k); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("erased recording %d: %v", i, err)
		}
		if b != nil {
			if _, err := b.client.StatObject(t.Context(), b.name, b.prefix+"/"+k.Outcome.Recording, minio.StatObjectOptions{}); minio.ToErrorResponse(err).StatusCode != 404 {
				t.Errorf("the bucket still has the erased recording %d: %v", i, err)
			}
		}
		if r.here(k) {
			t.Errorf("the file of erased recording %d is here", i)
		}
	}
	r.plays(r.calls[2])
	// A stranger's account, a call without recording, a name that leads out.
	k := r.calls[2]
	if b != nil {
		k.Account = "stranger"
		if _, err := r.Open(t.Context(), &k); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a stranger: %v", err)
		}
	}
	for _, name := range []string{"", "../secret", "2026-01-02"} {
		if _, err := Folder(r.Folder).Open(t.Context(), &waihu.Call{Outcome: waihu.Outcome{Recording: name}}); err == nil {
			t.Errorf("%q was opened", name)
		}
	}
}

// TestErasedDuringUpload: a call that is erased while its recording is copied leaves no copy behind.
func TestErasedDuringUpload(t *testing.T) {
	t.Parallel()
	b, _ := s3Server(t)
	r := newRig(t, b, 1)
	k := r.calls[0]
	r.Crash = func(at string) {
		if at == "recording.copied" {
			if _, err := r.Store.Erase(t.Context(), store.Erasure{Phone: k.Phone, Remove: r.Remove}); err != nil {
				t.Error(err)
			}
		}
	}
	if errs := r.work(store.JobKeepRecording); len(errs) != 1 || errs[0] != nil {
		t.Errorf("%v", errs)
	}
	if _, err := b.client.StatObject(t.Context(), b.name, b.prefix+"/"+k.Outcome.Recording, minio.StatObjectOptions{}); minio.ToErrorResponse(err).StatusCode != 404 {
		t.Errorf("the bucket has the recording of an erased number: %v", err)
	}
	if r.here(k) {
		t.Error("the file is here")
	}
}

// TestBucketAway: a store that does not answer, or refuses us, costs the file here nothing, and who asks is told to come again.
func TestBucketAway(t *testing.T) {
	t.Parallel()
	b, stop := s3Server(t)
	r := newRig(t, b, 1)
	wrong, err := OpenBucket("http://"+b.host+"/bucket", "", "the-key", "another-secret")
	if err != nil {
		t.Fatal(err)
	}
	if err := wrong.Check(t.Context()); err == nil {
		t.Error("a wrong secret is let in: this is no real server")
	}
	right := r.Bucket
	r.Bucket = wrong
	if errs := r.work(store.JobKeepRecording); len(errs) != 1 || errs[0] == nil {
		t.Errorf("kept with a wrong secret: %v", errs)
	}
	r.plays(r.calls[0])
	r.Bucket = right
	if errs := r.work(store.JobKeepRecording); len(errs) != 1 || errs[0] != nil {
		t.Errorf("%v", errs)
	}
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := r.Open(ctx, &r.calls[0]); waihu.ErrorCode(err) != waihu.EUnavailable {
		t.Errorf("the store is away: %v", err)
	}
	r.Bucket = nil
	if _, err := r.Open(ctx, &r.calls[0]); waihu.ErrorCode(err) != waihu.EUnavailable || strings.Contains(err.(*waihu.Error).Message, "127.0.0.1") {
		t.Errorf("the bucket is not configured any more: %v", err)
	}
}

func TestBucketAddress(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "s3.example.com/b", "https://s3.example.com", "https://s3.example.com/", "ftp://h/b", "https://key:secret@h/b", "https://h/b?x=y"} {
		if _, err := OpenBucket(bad, "", "k", "s"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := OpenBucket("https://h/b", "", "", ""); err == nil {
		t.Error("no key was taken")
	}
	b, err := OpenBucket("https://h:9000/b/c/d/", "eu-1", "k", "s")
	if err != nil || b.Place() != "s3://h:9000/b/c/d" {
		t.Errorf("%v %v", b, err)
	}
}

// TestLost: the file of a call whose process died is found by the call's id.
func TestLost(t *testing.T) {
	t.Parallel()
	r := NewRecordings(RecordingOptions{Folder: t.TempDir()})
	if err := errors.Join(os.MkdirAll(filepath.Join(r.Folder, "2026-01-02"), 0o700), os.WriteFile(filepath.Join(r.Folder, "2026-01-02", "77.wav"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	o := waihu.Outcome{Call: 77}
	if r.Lost(&o); o.Recording != "2026-01-02/77.wav" {
		t.Errorf("%q", o.Recording)
	}
	if o = (waihu.Outcome{Call: 7}); o.Recording != "" {
		t.Errorf("%q", o.Recording)
	}
}

// TestEraseLaterCompacts: the journal of dialogs named the callee while the call stood; it is rewritten when the job has erased what the call left,
// and again when the job is repeated because that failed.
func TestEraseLaterCompacts(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, 1)
	asked, full := 0, errors.New("the disk is full")
	r.Compact = func() error {
		if asked++; asked == 1 {
			return full
		}
		return nil
	}
	job := waihu.Job{Account: "acme", Kind: store.JobEraseNumber, Key: "1/1", Body: []byte(`{"task":1,"seq":1}`)}
	for i, want := range []error{full, nil} {
		if err := r.eraseJob(t.Context(), job); !errors.Is(err, want) || asked != i+1 {
			t.Errorf("attempt %d: %v, asked %d times", i, err, asked)
		}
	}
	if list, err := r.Store.NumbersByPhone(t.Context(), "acme", "t", "13800000000"); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

// TestHangingBucket: whoever wants to hear a recording is told in time that its store does not answer.
func TestHangingBucket(t *testing.T) {
	t.Parallel()
	over := make(chan bool)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}))
	t.Cleanup(func() { close(over); s.Close() })
	b, err := OpenBucket(s.URL+"/recordings", "", "key", "secret")
	if err != nil {
		t.Fatal(err)
	}
	b.patience = 20 * time.Millisecond
	ended := make(chan error, 1)
	go func() {
		_, err := b.open(t.Context(), store.RecordingRow{Name: "2026-11-21/1.wav"})
		ended <- err
	}()
	select {
	case err := <-ended:
		if waihu.ErrorCode(err) != waihu.EUnavailable {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Error("no word")
	}
}
