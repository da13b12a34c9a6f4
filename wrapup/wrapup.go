// Package wrapup is what is done after a call: it keeps its recording and looks at what was said. It runs the quality items of the agent and of the task's quality check and
// score scheme, finds the answers to the agent's questions, writes summaries, and moves grades. It works the jobs call.review and
// run.summary, which the ledger adds in the commits that book an answered call and end a run; see docs/grading.md.
//
// Guarantees: a result is a pure function of the stored call, the items and what the language model said; it keeps their versions and
// the hash of what went in, and a later check asks again only what has changed or stayed undecided. A job has one effect however often
// it is worked: result, grade, gauges, event and the job's end are one commit. An item that could not be judged is undecided
// with a reason, never a zero; the event call.reviewed always comes.
//
// Rules need no model. What a model is asked goes in one request per call and model; its answer is JSON, checked field by field against
// the schema it was asked for, asked for once more when something is wrong with it, and then left undecided. A model that does not answer
// is tried Tries times with the queue's pauses. A model is asked a bounded number of questions at once (Model.Parallel); reviews that find it
// busy make room for those that need none, and come back: a slow model delays nobody else.
//
// Recordings: a call writes its sound into a folder of this machine; once the call has ended the job recording.keep notes size and
// checksum and, when a bucket is configured, moves the file there: it is removed here only after the copy was read back or
// confirmed by its checksum. Open finds it wherever it lies. Nothing here ever logs a phone number or a transcript.
//
// All methods may be called concurrently. To test against it, open a store on t.TempDir(), book a call and give Options an Ask of your own.
package wrapup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"waihu"
	"waihu/queue"
	"waihu/store"
)

// Options join this room with the rest. Store and Grade are required; without Ask no model is asked.
type Options struct {
	Store *store.Store
	// Grade is the level that the agent's grade rules give to a finished call.
	Grade func(spec *waihu.AgentSpec, o *waihu.Outcome) string
	// Models are the language models that are configured, the default first.
	Models func(ctx context.Context) ([]waihu.Model, error)
	// Ask asks one of them. An error that may pass is a *AskError with Retryable.
	Ask func(ctx context.Context, m waihu.Model, q Question) (Answer, error)
	// Tries is how often a job is tried while a model does not answer; default 3. BusyTries is how often while it answers that it has too much
	// to do, which passes: default 8, some two minutes.
	Tries, BusyTries int
	// Fresh is how old what was read of tasks, checks and models may be; default 1 s, below 0 is always read.
	Fresh time.Duration
	// Wait is how long run.summary waits before it looks again whether all reviews are done; default 1 s.
	Wait time.Duration
	Log  *slog.Logger // default: discard
}

// Question is what a model is asked: the texts, and the schema of the JSON answer.
type Question struct {
	System, User string
	// Before is a first answer that was no good, and Wrong what was wrong with it; both empty at the first asking.
	Before, Wrong string
	Name          string // of the schema
	Schema        json.RawMessage
}

// Answer is what a model said. Truncated: it was cut off.
type Answer struct {
	Text      string
	Truncated bool
}

// AskError says why a model has not answered; Reason is safe to be stored and shown.
type AskError struct {
	Reason    string
	Retryable bool
	Busy      bool          // it works, but has too much to do now
	After     time.Duration // it wants to be asked again no sooner; 0: it has not said
	Cause     error
}

func (e *AskError) Error() string { return e.Reason }
func (e *AskError) Unwrap() error { return e.Cause }

// Wrapup works what follows calls.
type Wrapup struct {
	o      Options
	saver  saver
	memory memory
	slots  slots
}

// New starts nothing.
func New(o Options) *Wrapup {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tries == 0 {
		o.Tries = 3
	}
	if o.BusyTries == 0 {
		o.BusyTries = 8
	}
	if o.Wait == 0 {
		o.Wait = time.Second
	}
	if o.Fresh == 0 {
		o.Fresh = time.Second
	}
	if o.Models == nil || o.Ask == nil {
		o.Models = func(context.Context) ([]waihu.Model, error) { return nil, nil }
	}
	w := &Wrapup{o: o}
	w.saver.save = o.Store.FinishReviews
	return w
}

// Bounds of the jobs. Reviews mostly wait, for a model or for the commit that they share with others: many of them cost little.
const (
	reviewWorkers  = 128
	summaryWorkers = 16
	jobLimit       = 5 * time.Minute
)

// Join adds this room's jobs to a queue's options.
func (w *Wrapup) Join(o *queue.Options) {
	if o.Handle == nil {
		o.Handle = map[string]waihu.Handle{}
	}
	if o.Workers == nil {
		o.Workers = map[string]int{}
	}
	if o.Limit == nil {
		o.Limit = map[string]time.Duration{}
	}
	if o.GaveUp == nil {
		o.GaveUp = map[string]func(context.Context, waihu.Job, string) error{}
	}
	o.Handle[waihu.JobReview], o.Handle[waihu.JobSummary] = w.Review, w.Summary
	o.Workers[waihu.JobReview], o.Workers[waihu.JobSummary] = reviewWorkers, summaryWorkers
	o.Limit[waihu.JobReview], o.Limit[waihu.JobSummary] = jobLimit, jobLimit
	o.GaveUp[waihu.JobReview] = w.gaveUp
}

// longestWish bounds a model's Retry-After: what waits for the review waits as long.
const longestWish = 10 * time.Second

// again is the error by which a job that has failed so often asks a model once more, no sooner than that wants; nil: it was asked often enough.
func (w *Wrapup) again(e *AskError, model string, failed int) error {
	tries := w.o.Tries
	if e.Busy {
		tries = w.o.BusyTries
	}
	if !e.Retryable || failed >= tries {
		return nil
	}
	return queue.After(min(e.After, longestWish), fmt.Errorf("%s did not answer: %w", model, e))
}

// Review works a call.review job.
func (w *Wrapup) Review(ctx context.Context, j waihu.Job) error {
	ctx = store.SeeDeleted(ctx) // somebody waits for call.reviewed, also when its task was deleted meanwhile
	id, order, err := readOrder(j)
	if err != nil {
		return err
	}
	call, err := w.o.Store.CallOf(ctx, j.Account, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil // deleted meanwhile, with its task
	}
	if err != nil {
		return err
	}
	c, err := w.gather(ctx, &call, order)
	if err != nil {
		return err
	}
	v, err := c.run(ctx, j.Failed)
	if errors.Is(err, errBusy) { // the worker is free for others meanwhile
		pause := time.Second << min(max(j.Tries-1, 0), 5)
		return queue.Later(pause/2 + rand.N(pause))
	}
	if err != nil {
		return err
	}
	done := store.Reviewed{Job: j, Call: id, Review: v, Again: order.Again}
	if order.Again && c.before != nil && same(v, c.before) {
		done.Review = nil
	}
	return w.saver.add(ctx, done)
}

// gaveUp ends a review that kept failing: undecided, with the reason, and with its event.
func (w *Wrapup) gaveUp(ctx context.Context, j waihu.Job, reason string) error {
	ctx = store.SeeDeleted(ctx)
	id, order, err := readOrder(j)
	if err != nil {
		return err
	}
	call, err := w.o.Store.CallOf(ctx, j.Account, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil
	}
	if err != nil {
		return err
	}
	done := store.Reviewed{Job: j, Call: id, Again: order.Again}
	if !order.Again {
		done.Review = &waihu.Review{Grade: call.Outcome.Grade, GradeFrom: fromRules, Agent: call.Agent,
			Notes: []string{"the check could not be made: an error of the program, see its log; waihu regrade tries it again"}}
	}
	w.o.Log.Error("a call could not be reviewed", "call", j.Key, "account", string(j.Account), "err", reason)
	return w.saver.add(ctx, done)
}

func readOrder(j waihu.Job) (id waihu.CallID, order waihu.ReviewOrder, err error) {
	if id, err = waihu.ParseCallID(j.Key); err != nil {
		return 0, order, err
	}
	if len(j.Body) > 0 {
		if err := json.Unmarshal(j.Body, &order); err != nil {
			return 0, order, fmt.Errorf("read the job's body: %w", err)
		}
	}
	return id, order, nil
}

// same says that two reviews found the same.
func same(a, b *waihu.Review) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && string(x) == string(y)
}

// gather reads everything that a check of the call needs.
func (w *Wrapup) gather(ctx context.Context, call *waihu.Call, order waihu.ReviewOrder) (*check, error) {
	c := &check{w: w, call: call, again: order.Again}
	task, err := w.task(ctx, call.Account, call.Task)
	if err != nil {
		return nil, err
	}
	spec, err := w.agentOf(ctx, call, &task, order)
	switch {
	case err == nil:
		c.spec = &spec
	case waihu.ErrorCode(err) == waihu.ENotFound:
		c.note("the agent is gone: its grade rules and items did not run")
	default:
		return nil, err
	}
	if c.models, err = w.configured(ctx); err != nil {
		return nil, err
	}
	if order.Again {
		before, err := w.o.Store.Review(ctx, call.Account, call.ID)
		switch {
		case err == nil:
			c.before = &before
		case waihu.ErrorCode(err) != waihu.ENotFound:
			return nil, err
		}
	}
	if c.quality, err = w.named(ctx, c, waihu.QualityCheck, task.QualityCheck); err != nil {
		return nil, err
	}
	c.scheme, err = w.named(ctx, c, waihu.ScoreScheme, task.ScoreScheme)
	return c, err
}

// named is the check or scheme that a task names; nil with a note when there is nothing to run.
func (w *Wrapup) named(ctx context.Context, c *check, kind waihu.NamedKind, id string) (*source, error) {
	if id == "" {
		return nil, nil
	}
	name := string(kind) + " " + id
	n, err := parseID(id)
	if err != nil {
		c.note("%s: there is none of that name, nothing ran", name)
		return nil, nil
	}
	found, err := w.readNamed(ctx, namedKey{c.call.Account, kind, n})
	if err != nil {
		return nil, err
	}
	if found == nil {
		c.note("%s: there is none of that name, nothing ran", name)
		return nil, nil
	}
	s := &source{name: name, version: digest(string(found.Data))[:12]}
	if len(found.Data) > 0 {
		if err := json.Unmarshal(found.Data, &s.Checks); err != nil {
			c.note("%s (%s): its definition cannot be read, nothing ran", name, found.Name)
			return nil, nil
		}
	}
	if len(s.Items) == 0 && !s.judges() && len(s.Grade) == 0 {
		c.note("%s (%s) has no prompt, levels, items or grade rules: nothing ran", name, found.Name)
		return nil, nil
	}
	return s, nil
}

var errNoModel = errors.New("no language model is configured")

// pick is the model of that id, or the default.
func pick(models []waihu.Model, id string) (waihu.Model, error) {
	if len(models) == 0 {
		return waihu.Model{}, errNoModel
	}
	if id == "" {
		return models[0], nil
	}
	for _, m := range models {
		if m.ID == id {
			return m, nil
		}
	}
	return waihu.Model{}, fmt.Errorf("the language model %q is not configured", id)
}
