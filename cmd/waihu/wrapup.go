package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"

	"waihu"
	"waihu/agent"
	"waihu/egress"
	"waihu/speech"
	"waihu/store"
	"waihu/wrapup"
)

// newWrapup joins the checks after calls with the ledger and its language models.
func newWrapup(st *store.Store, log *slog.Logger) *wrapup.Wrapup {
	m := newModels(log)
	return wrapup.New(wrapup.Options{Store: st, Grade: gradeAgain, Models: st.Models, Ask: m.ask, Log: log})
}

// gradeAgain is the level that an agent's rules give to a stored call.
func gradeAgain(spec *waihu.AgentSpec, o *waihu.Outcome) string {
	var facts agent.Facts
	if err := json.Unmarshal(o.Facts, &facts); err != nil {
		return o.Grade // a call without facts keeps what it has
	}
	return agent.Grade(spec, facts)
}

// checkAgent is all that can be wrong with an agent.
func checkAgent(spec *waihu.AgentSpec) []waihu.Problem {
	return append(agent.Check(spec), wrapup.Check(spec)...)
}

// models asks the language models of the ledger; a client is kept for each configuration.
type models struct {
	client *http.Client
	log    *slog.Logger

	mu    sync.Mutex
	chats map[string]*speech.Chat
}

// newModels makes the clients' common transport. Addresses of models are the operator's own, so all networks are allowed; redirects are not.
func newModels(log *slog.Logger) *models {
	out := egress.New(egress.Options{IdlePerHost: 32, Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	return &models{client: &http.Client{Transport: out.Transport(), CheckRedirect: egress.NoRedirect}, log: log, chats: map[string]*speech.Chat{}}
}

// maxChats bounds the clients kept: changed configurations leave theirs behind.
const maxChats = 100

func (m *models) chat(x waihu.Model) (*speech.Chat, error) {
	config, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	key := x.Key + "\x00" + string(config)
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.chats[key]; c != nil {
		return c, nil
	}
	o := speech.ChatOptions{URL: x.URL, Key: x.Key, Model: x.Model, Client: m.client, Timeout: x.Timeout, Format: x.Format, Temperature: x.Temperature,
		MaxTokens: x.MaxTokens, Extra: x.Extra, Headers: x.Headers}
	if x.Retries != nil {
		if o.Retries = *x.Retries; o.Retries == 0 {
			o.Retries = -1
		}
	}
	c, err := speech.NewChat(o)
	if err != nil {
		return nil, err
	}
	if len(m.chats) >= maxChats {
		clear(m.chats)
	}
	m.chats[key] = c
	return c, nil
}

// maxBefore is how much of a wrong answer the model is shown again.
const maxBefore = 4000

func (m *models) ask(ctx context.Context, x waihu.Model, q wrapup.Question) (wrapup.Answer, error) {
	c, err := m.chat(x)
	if err != nil {
		return wrapup.Answer{}, &wrapup.AskError{Reason: err.Error()}
	}
	req := speech.ChatRequest{SchemaName: q.Name, Schema: q.Schema, Messages: []speech.ChatMessage{{Role: "system", Content: q.System}, {Role: "user", Content: q.User}}}
	if q.Wrong != "" {
		before := []rune(q.Before)
		req.Messages = append(req.Messages, speech.ChatMessage{Role: "assistant", Content: string(before[:min(len(before), maxBefore)])},
			speech.ChatMessage{Role: "user", Content: "上面的输出不符合要求：" + q.Wrong + "。请重新输出完整的 JSON 对象。"})
	}
	r, err := c.Complete(ctx, req)
	var failed *speech.ChatError
	if errors.As(err, &failed) {
		m.log.Warn("a language model did not answer", "model", x.ID, "err", err)
		return wrapup.Answer{}, &wrapup.AskError{Reason: why(failed), Retryable: failed.Retryable, Busy: failed.Stage == speech.StageQuota, After: failed.RetryAfter, Cause: err}
	}
	if err != nil {
		return wrapup.Answer{}, err
	}
	return wrapup.Answer{Text: r.Text, Truncated: r.Truncated()}, nil
}

// why says what a customer may read: no address, no word of the server's.
func why(e *speech.ChatError) string {
	words := map[string]string{speech.StageDial: "it could not be reached", speech.StageAuth: "it refused our key", speech.StageQuota: "it has too much to do, or our quota is used up",
		speech.StageFormat: "it refused the question", speech.StageServer: "it has failed", speech.StageProtocol: "its answer was no answer", speech.StageRead: "its answer broke off",
		speech.StageTimeout: "no answer in time", speech.StageStopped: "it was not waited for"}
	s := words[e.Stage]
	if e.Status != 0 && e.Status != http.StatusOK {
		s += " (status " + strconv.Itoa(e.Status) + ")"
	}
	return s
}

// regrade has a task's calls checked again.
func regrade(ctx context.Context, st *store.Store, id waihu.TaskID, tell func(message)) error {
	task, err := findTask(ctx, st, id)
	if err != nil {
		return err
	}
	n, err := st.Regrade(ctx, task.Account, task.ID)
	if err != nil {
		return err
	}
	tell(message{Say: fmt.Sprintf("%d calls of %s are checked again by the running server, or by the next one; waihu jobs list says how many are left", n, task.Name)})
	return nil
}

// maxDeadShown is how many given-up jobs a listing shows.
const maxDeadShown = 100

// jobsOperation lists jobs by their gauges and those given up with their reasons, or brings given-up ones back.
func jobsOperation(ctx context.Context, st *store.Store, q url.Values, tell func(message)) error {
	f := store.JobFilter{Account: waihu.AccountID(q.Get("account")), Kind: q.Get("kind"), Limit: maxDeadShown}
	if text := q.Get("job"); text != "" {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id <= 0 {
			return fmt.Errorf("%q is not a job's id: waihu jobs list shows them", text)
		}
		f.ID = id
	}
	if q.Get("do") == "replay" {
		total := 0
		for {
			f.Limit = 1000
			n, err := st.ReplayJobs(ctx, f)
			if err != nil {
				return err
			}
			if total += n; n < f.Limit {
				break
			}
		}
		if total == 0 && f.ID != 0 {
			return fmt.Errorf("job %d was not given up: waihu jobs list shows those that were", f.ID)
		}
		tell(message{Say: fmt.Sprintf("%d jobs are due again", total)})
		return nil
	}
	counts, err := st.JobCounts(ctx, f.Account)
	if err != nil {
		return err
	}
	for _, c := range counts {
		if f.Kind == "" || f.Kind == c.Kind {
			tell(message{Say: fmt.Sprintf("%-20s %-36s %8d waiting %6d given up %10d done", c.Kind, c.Account, c.Waiting, c.Dead, c.Done)})
		}
	}
	dead, err := st.DeadJobs(ctx, f)
	if err != nil {
		return err
	}
	for _, j := range dead {
		tell(message{Say: fmt.Sprintf("given up: job %d %s %s of %s, %d tries, since %s: %s", j.ID, j.Kind, j.Key, j.Account, j.Tries, j.CreatedAt.Format("2006-01-02 15:04"), firstLine(j.Reason))})
	}
	if len(dead) == maxDeadShown {
		tell(message{Say: fmt.Sprintf("only the first %d are shown; --kind, --account and an id choose others", maxDeadShown)})
	}
	return nil
}

func firstLine(s string) string {
	for i, r := range s {
		if r == '\n' {
			return s[:i] + " ..."
		}
	}
	return s
}

func runRegrade(ctx context.Context, std stdio, args []string) error {
	words, cfg, err := ledgerCommand(std, "regrade", args, 1, 1)
	if err != nil {
		return err
	}
	return withStore(ctx, std, cfg, "regrade", url.Values{"task": {words[0]}}, nil, printer(std))
}

func runJobs(ctx context.Context, std stdio, args []string) error {
	fs := newFlags("jobs")
	var cfg config
	cfg.ledgerFlags(fs)
	kind := fs.String("kind", "", "only jobs of this `kind`, such as call.review")
	account := fs.String("account", "", "only jobs of this `account`")
	words, err := cfg.load(std, fs, args, 1, 2)
	if err != nil {
		return err
	}
	q := url.Values{"do": {words[0]}, "kind": {*kind}, "account": {*account}}
	switch words[0] {
	case "list":
		if len(words) == 2 {
			return usageErrorf("%q: list takes no job", words[1])
		}
	case "replay":
		if len(words) == 2 {
			q.Set("job", words[1])
		}
	default:
		return usageErrorf("%q: list or replay was expected", words[0])
	}
	return withStore(ctx, std, cfg, "jobs", q, nil, printer(std))
}

// wrapupOperations are the commands about what follows calls.
func wrapupOperations(ops map[string]operation, st *store.Store) {
	ops["regrade"] = func(ctx context.Context, q url.Values, _ io.Reader, tell func(message)) error {
		return regrade(ctx, st, waihu.TaskID(q.Get("task")), tell)
	}
	ops["jobs"] = func(ctx context.Context, q url.Values, _ io.Reader, tell func(message)) error {
		return jobsOperation(ctx, st, q, tell)
	}
}
