package wrapup

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"time"

	"waihu"
	"waihu/queue"
	"waihu/store"
)

// RecordingOptions join the store of recordings with the rest. Folder and Store are required.
type RecordingOptions struct {
	Store  *store.Store
	Folder string  // into which calls write
	Bucket *Bucket // where finished recordings go; nil: they stay in the folder
	Log    *slog.Logger
	// Compact takes out of the journal of dialogs what it says of calls that are over; called after an erasure by job. Nil: there is none.
	Compact func() error
	// Crash is nil in the product. Tests die in it at named points: recording.copied (the bucket has it, the ledger does not know),
	// recording.kept (the ledger knows, the file is still here).
	Crash func(point string)
}

// Recordings keep what calls have recorded, in the folder or in a bucket.
type Recordings struct {
	RecordingOptions
	folder Folder
}

// NewRecordings touches neither folder nor bucket.
func NewRecordings(o RecordingOptions) *Recordings {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Crash == nil {
		o.Crash = func(string) {}
	}
	return &Recordings{o, Folder(o.Folder)}
}

// Handlers work the jobs about recordings and erasures.
func (r *Recordings) Handlers() map[string]waihu.Handle {
	return map[string]waihu.Handle{store.JobKeepRecording: r.keep, store.JobRemoveRecording: r.removeJob, store.JobEraseNumber: r.eraseJob}
}

// bucketTries lets jobs about recordings go on for about a week: a bucket may be away over a long weekend, and nobody should have to bring back by
// hand what was to be copied, or worse, removed.
const bucketTries = 700

// Join adds the handlers to a queue. Copies into a bucket are slow and wait for the network: several at once, with time.
func (r *Recordings) Join(o *queue.Options) {
	if o.Workers == nil {
		o.Workers = map[string]int{}
	}
	if o.Limit == nil {
		o.Limit = map[string]time.Duration{}
	}
	if o.Tries == nil {
		o.Tries = map[string]int{}
	}
	for kind, handle := range r.Handlers() {
		o.Handle[kind], o.Limit[kind], o.Tries[kind] = handle, 10*time.Minute, bucketTries
	}
	o.Workers[store.JobKeepRecording], o.Workers[store.JobRemoveRecording] = 4, 4
}

// Open is a waihu.OpenRecording: wherever the recording lies, also while it is being moved.
func (r *Recordings) Open(ctx context.Context, k *waihu.Call) (*waihu.Recording, error) {
	if k.Outcome.Recording == "" {
		return nil, errNoRecording
	}
	row, err := r.Store.Recording(ctx, k.Account, k.ID)
	if err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
		return nil, err
	}
	if row.Place == "" {
		rec, err := r.folder.open(k.Outcome.Recording)
		if err == nil {
			rec.Sum = row.Sum
		}
		if waihu.ErrorCode(err) != waihu.ENotFound {
			return rec, err
		}
		if row, err = r.Store.Recording(ctx, k.Account, k.ID); err != nil || row.Place == "" { // it may have been moved between the two looks
			return nil, errNoRecording
		}
	}
	b, err := r.bucket(row)
	if err != nil {
		return nil, err
	}
	return b.open(ctx, row)
}

func (r *Recordings) bucket(row store.RecordingRow) (*Bucket, error) {
	if r.Bucket == nil || r.Bucket.Place() != row.Place {
		e := waihu.Errorf(waihu.EUnavailable, "the recording lies in a bucket that is not configured")
		e.Cause = fmt.Errorf("%s: set --recordings-bucket to it", row.Place)
		return nil, e
	}
	return r.Bucket, nil
}

// keep is the job after a call: size and checksum, and the way into the bucket. The file here is removed last, when the ledger knows that
// the bucket has it; whatever dies before, the job comes again and finds the file, or the ledger's word that it is done.
func (r *Recordings) keep(ctx context.Context, j waihu.Job) error {
	row, err := jobRow(j)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(r.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever recorded here
	}
	if err != nil {
		return err
	}
	defer root.Close()
	file, err := root.Open(row.Name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := r.Store.Recording(ctx, row.Account, row.Call); waihu.ErrorCode(err) == waihu.ENotFound {
			r.Log.Warn("the recording of a call is not in the folder", "call", row.Call)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	sha, sum := sha256.New(), md5.New() // the latter is what the S3 protocol checks an upload with
	if row.Size, err = io.Copy(io.MultiWriter(sha, sum), file); err != nil {
		return fmt.Errorf("read the recording of call %s: %w", row.Call, err)
	}
	row.Sum = hex.EncodeToString(sha.Sum(nil))
	if r.Bucket == nil {
		return r.kept(ctx, root, row)
	}
	row.Place = r.Bucket.Place()
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := r.Bucket.put(ctx, row, file, hex.EncodeToString(sum.Sum(nil))); err != nil {
		return fmt.Errorf("copy the recording of call %s into the bucket: %w", row.Call, err)
	}
	r.Crash("recording.copied")
	if err := r.kept(ctx, root, row); err != nil {
		return err
	}
	r.Crash("recording.kept")
	return removeFile(root, row.Name)
}

// kept tells the ledger where the recording is. When it wants to know nothing of it any more, the recording goes.
func (r *Recordings) kept(ctx context.Context, root *os.Root, row store.RecordingRow) error {
	err := r.Store.KeepRecording(ctx, row)
	if waihu.ErrorCode(err) != waihu.ENotFound {
		return err
	}
	return r.Remove(ctx, row)
}

// Remove removes a recording from folder and bucket. Nothing there is as good.
func (r *Recordings) Remove(ctx context.Context, row store.RecordingRow) error {
	if row.Place != "" {
		b, err := r.bucket(row)
		if err == nil {
			err = b.remove(ctx, row)
		}
		if err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(r.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return removeFile(root, row.Name)
}

// removeFile removes a file and its day's folder when that is empty and no call can write there any more.
func removeFile(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	day, err := time.ParseInLocation("2006-01-02", path.Dir(name), time.Local)
	if err == nil && time.Since(day) > 48*time.Hour {
		_ = root.Remove(path.Dir(name)) // refused while anything is in it
	}
	return nil
}

func (r *Recordings) removeJob(ctx context.Context, j waihu.Job) error {
	row, err := jobRow(j)
	if err != nil {
		return err
	}
	return r.Remove(ctx, row)
}

func jobRow(j waihu.Job) (row store.RecordingRow, err error) {
	if err := json.Unmarshal(j.Body, &row); err != nil {
		return row, err
	}
	row.Account = j.Account
	row.Call, err = waihu.ParseCallID(j.Key)
	return row, err
}

func (r *Recordings) eraseJob(ctx context.Context, j waihu.Job) error {
	err := r.Store.EraseLater(ctx, j, r.Remove)
	if errors.Is(err, store.ErrCallLive) {
		return queue.Later(5 * time.Second)
	}
	if err == nil && r.Compact != nil {
		err = r.Compact()
	}
	return err
}

// Lost names the file of a call whose process died while it talked: its sound is true to the last flush.
func (r *Recordings) Lost(o *waihu.Outcome) {
	if o.Recording != "" {
		return
	}
	found, err := filepath.Glob(filepath.Join(r.Folder, "*", o.Call.String()+".wav")) // one folder a day
	if err != nil || len(found) == 0 {
		return
	}
	if name, err := filepath.Rel(r.Folder, found[0]); err == nil {
		o.Recording = filepath.ToSlash(name)
	}
}
