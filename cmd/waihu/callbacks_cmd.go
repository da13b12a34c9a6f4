package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// webhookDoors are those whose shape an endpoint may be given on the command line, whether a server runs or not.
var webhookDoors = []string{waihu.DoorNative, "yunfu", "voicefox", "keyue"}

// runWebhook looks after the endpoints of all accounts.
func runWebhook(ctx context.Context, std stdio, args []string) error {
	var cfg config
	fs := newFlags("webhook")
	cfg.ledgerFlags(fs)
	q := url.Values{}
	for _, f := range []struct{ name, def, usage string }{
		{"door", waihu.DoorNative, "add: whose `shape` the bodies have: native, yunfu, voicefox or keyue"}, {"task", "", "add: only this `task`'s events"},
		{"kinds", "", "add: only these `kinds` of events, such as call.ended,run.ended"}, {"authorization", "", "add: `value` of the header of that name"},
		{"remark", "", "add: a `text` for people"},
	} {
		fs.Func(f.name, f.usage, func(v string) error { q.Set(f.name, v); return nil })
	}
	from := fs.String("from", "", "add, replay: `number` of the first event that is wanted")
	unsigned := fs.Bool("unsigned", false, "add: without a secret")
	words, err := cfg.load(std, fs, args, 1, 3)
	if err != nil {
		return err
	}
	least := map[string]int{"list": 1, "add": 3, "remove": 2, "release": 2, "replay": 2}[words[0]]
	switch {
	case least == 0:
		return usageErrorf("%q: list, add, remove, release or replay was expected", words[0])
	case words[0] == "list" && len(words) > 2, words[0] != "list" && len(words) > least:
		return usageErrorf("%q is one argument too many", words[len(words)-1])
	case len(words) < least:
		return usageErrorf("an argument is missing")
	}
	q.Set("do", words[0])
	q.Set("from", *from)
	if *unsigned {
		q.Set("unsigned", "yes")
	}
	if len(words) > 1 {
		q.Set("of", words[1])
	}
	if len(words) > 2 {
		q.Set("url", words[2])
	}
	return withStore(ctx, std, cfg, "webhook", q, nil, printer(std))
}

// webhookOperation does what runWebhook asks for.
func webhookOperation(st *store.Store) operation {
	return func(ctx context.Context, q url.Values, _ io.Reader, tell func(message)) error {
		say := func(format string, args ...any) { tell(message{Say: fmt.Sprintf(format, args...)}) }
		switch q.Get("do") {
		case "list":
			return listWebhooks(ctx, st, waihu.AccountID(q.Get("of")), say)
		case "add":
			return addWebhook(ctx, st, q, say)
		}
		id, err := strconv.ParseInt(q.Get("of"), 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not the number of an endpoint: waihu webhook list shows them", q.Get("of"))
		}
		all, err := st.AllEndpoints(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(e store.EndpointState) bool { return e.ID == id })
		if i < 0 {
			return fmt.Errorf("there is no endpoint %d: waihu webhook list shows them", id)
		}
		e := &all[i]
		switch q.Get("do") {
		case "remove":
			err = st.RemoveEndpoint(ctx, e.Account, id)
		case "release":
			err = st.ReleaseEndpoint(ctx, e.Account, id)
		case "replay":
			if q.Get("from") == "" {
				err = st.RetryDeliveries(ctx, e.Account, id)
				break
			}
			from, e2 := strconv.ParseInt(q.Get("from"), 10, 64)
			if e2 != nil {
				return fmt.Errorf("--from %q: the number of an event was expected", q.Get("from"))
			}
			err = st.ReplayEndpoint(ctx, e.Account, id, "", from)
		default:
			return fmt.Errorf("%q is not known here", q.Get("do"))
		}
		if err == nil {
			say("done")
		}
		return err
	}
}

func addWebhook(ctx context.Context, st *store.Store, q url.Values, say func(string, ...any)) error {
	e := waihu.Endpoint{Account: waihu.AccountID(q.Get("of")), URL: q.Get("url"), Door: q.Get("door"), Task: waihu.TaskID(q.Get("task")), Authorization: q.Get("authorization"), Remark: q.Get("remark")}
	if e.Door == "" {
		e.Door = waihu.DoorNative
	}
	if !slices.Contains(webhookDoors, e.Door) {
		return fmt.Errorf("--door %q: %s was expected", e.Door, strings.Join(webhookDoors, ", "))
	}
	for _, k := range strings.FieldsFunc(q.Get("kinds"), func(r rune) bool { return r == ',' || r == ' ' }) {
		e.Kinds = append(e.Kinds, waihu.EventKind(k))
	}
	var from int64
	if text := q.Get("from"); text != "" {
		var err error
		if from, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("--from %q: the number of an event was expected", text)
		}
	}
	if q.Get("unsigned") == "" && e.Door == waihu.DoorNative {
		key := make([]byte, 32)
		rand.Read(key) // never fails
		e.Secret = waihu.WebhookSecret(key)
	}
	err := st.AddEndpoint(ctx, &e, from)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return unknownAccount(ctx, st, string(e.Account))
	}
	if err != nil {
		return err
	}
	if e.Secret != "" {
		say("endpoint %d, signed with %s (kept sealed: it is not shown again)", e.ID, e.Secret)
	} else {
		say("endpoint %d", e.ID)
	}
	return nil
}

func listWebhooks(ctx context.Context, st *store.Store, account waihu.AccountID, say func(string, ...any)) error {
	all, err := st.AllEndpoints(ctx)
	if err != nil {
		return err
	}
	shown := 0
	for i := range all {
		e := &all[i]
		if account != "" && e.Account != account {
			continue
		}
		if shown++; shown == 1 {
			say("%4s  %-36s %-8s %-8s %8s %8s %7s %6s  %s", "id", "account", "door", "state", "lag", "sent", "waiting", "failed", "address")
		}
		state, more := "ok", ""
		switch {
		case !e.BlockedUntil.IsZero():
			state, more = "blocked", " until "+e.BlockedUntil.UTC().Format(time.RFC3339)
		case e.LastErrorAt.After(e.LastOK):
			state = "failing"
		}
		if e.LastError != "" && state != "ok" {
			more += ": " + e.LastError
		}
		say("%4d  %-36s %-8s %-8s %8d %8d %7d %6d  %s%s", e.ID, e.Account, e.Door, state, e.Lag(), e.Sent, e.Waiting, e.Failed, bareURL(e.URL), more)
	}
	if shown == 0 {
		say("no endpoints")
	}
	return nil
}

// bareURL is an address without its query, which may hold a secret.
func bareURL(text string) string {
	head, _, cut := strings.Cut(text, "?")
	if cut {
		head += "?…"
	}
	return head
}
