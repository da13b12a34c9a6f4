package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"waihu"
	"waihu/sip"
	"waihu/store"
	"waihu/wrapup"
)

// recordingsFolder is where calls write and finished recordings stay, unless a bucket is configured.
func (c *config) recordingsFolder() string { return filepath.Join(c.Data, "recordings") }

// recordings joins the store of recordings with the ledger.
func (c *config) recordings(st *store.Store, env func(string) (string, bool), log *slog.Logger) (*wrapup.Recordings, error) {
	o := wrapup.RecordingOptions{Store: st, Folder: c.recordingsFolder(), Log: log, Crash: c.crash}
	if c.Bucket == "" {
		return wrapup.NewRecordings(o), nil
	}
	key, err := settingSecret("--recordings-key", c.BucketKey, env)
	if err != nil {
		return nil, err
	}
	pass, err := settingSecret("--recordings-secret", c.BucketPass, env)
	if err != nil {
		return nil, err
	}
	if o.Bucket, err = wrapup.OpenBucket(c.Bucket, c.Region, key, pass); err != nil {
		return nil, fmt.Errorf("--recordings-bucket: %w", err)
	}
	return wrapup.NewRecordings(o), nil
}

// settingSecret reads env:NAME or file:PATH. A secret in a command line would be seen by every process, so none is taken there.
func settingSecret(setting, ref string, env func(string) (string, bool)) (string, error) {
	if name, ok := strings.CutPrefix(ref, "env:"); ok {
		if v, ok := env(name); ok && v != "" {
			return v, nil
		}
		return "", fmt.Errorf("%s: the environment variable %s is not set or empty", setting, name)
	}
	if name, ok := strings.CutPrefix(ref, "file:"); ok {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", setting, err)
		}
		if v := strings.TrimSpace(string(text)); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("%s: the file %s is empty", setting, name)
	}
	return "", fmt.Errorf("%s: env:NAME or file:PATH was expected", setting)
}

// privacyOperations are those that hand out and erase what calls have left; compact cleans the journal of dialogs.
func privacyOperations(st *store.Store, rec *wrapup.Recordings, compact func() error) map[string]operation {
	return map[string]operation{
		"export": exportOperation(st),
		"erase": func(ctx context.Context, q url.Values, _ io.Reader, tell func(message)) error {
			phone, err := waihu.ParsePhone(q.Get("number"))
			if err != nil {
				return err
			}
			accounts, err := family(ctx, st, q.Get("account"))
			if err != nil {
				return err
			}
			return erase(ctx, st, store.Erasure{Phone: phone, Accounts: accounts, Remove: rec.Remove}, compact, func(line string) { tell(message{Say: line}) })
		},
	}
}

// family is an account with its sub-accounts; nil, which is everybody, without an account.
func family(ctx context.Context, st *store.Store, id string) ([]waihu.AccountID, error) {
	if id == "" {
		return nil, nil
	}
	if _, err := st.Account(ctx, waihu.AccountID(id)); waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, unknownAccount(ctx, st, id)
	} else if err != nil {
		return nil, err
	}
	subs, err := st.SubAccounts(ctx, waihu.AccountID(id))
	list := []waihu.AccountID{waihu.AccountID(id)}
	for _, a := range subs {
		list = append(list, a.ID)
	}
	return list, err
}

// erase erases and says what became of it, place by place, without the number.
func erase(ctx context.Context, st *store.Store, e store.Erasure, compact func() error, say func(string)) error {
	report, err := st.Erase(ctx, e)
	if err != nil {
		return err
	}
	if err := compact(); err != nil {
		return fmt.Errorf("the number is erased, but the journal of dialogs could not be rewritten: %w", err)
	}
	for _, l := range []struct {
		n    int
		what string
	}{
		{report.Numbers, "numbers of tasks emptied"},
		{report.Calls, "calls left with times and outcome alone; transcripts, evidence and reviews are gone"},
		{report.Recordings, "recordings removed"},
		{report.RecordingsLater, "recordings could not be removed now: a job goes on trying"},
		{report.Customers, "customers removed from the pool"},
		{report.Suppressed, "suppressions kept as keyed hashes: the number is still never called"},
		{report.Live, "calls in progress: what they leave is erased when they have ended"},
	} {
		say(fmt.Sprintf("%6d  %s", l.n, l.what))
	}
	for _, place := range slices.Sorted(maps.Keys(report.Texts)) {
		say(fmt.Sprintf("%6d  rows of %s in which it stood", report.Texts[place], place))
	}
	for _, table := range slices.Sorted(maps.Keys(report.Kept)) {
		say(fmt.Sprintf("%6d  rows of %s name it still: settings are changed by whoever made them", report.Kept[table], table))
	}
	traces, err := st.Traces(ctx, e.Phone)
	if err != nil {
		return fmt.Errorf("the number is erased, but whether files still hold it could not be looked at: %w", err)
	}
	for _, file := range traces {
		switch {
		case strings.HasPrefix(file, "waihu.db.before-"):
			say(file + " still holds it: a copy from before a migration; delete it when you do not need it any more")
		case strings.HasPrefix(file, "waihu.db") && (e.Accounts != nil || report.Live > 0 || len(report.Kept) > 0):
			say(file + " still holds it: for other accounts, calls in progress or settings, or inside a longer number")
		default:
			say(file + " still holds these digits")
		}
	}
	if len(traces) == 0 {
		say("no file of the data folder holds the number any more")
	}
	say("backups made before now still hold it: delete them, or erase again after restoring one")
	return nil
}

func runErase(ctx context.Context, io stdio, args []string) error {
	var cfg config
	fs := newFlags("erase")
	cfg.ledgerFlags(fs)
	account := fs.String("account", "", "only this `account` and its sub-accounts; default all")
	words, err := cfg.load(io, fs, args, 1, 1)
	if err != nil {
		return err
	}
	if _, err := waihu.ParsePhone(words[0]); err != nil {
		return err
	}
	return withStore(ctx, io, cfg, "erase", url.Values{"number": {words[0]}, "account": {*account}}, nil, printer(io))
}

// closedJournal cleans the journal that a stopped server has left.
func (c *config) closedJournal() error {
	return sip.CompactJournal(c.journal())
}

func (c *config) journal() string { return filepath.Join(c.Data, "dialogs.journal") }
