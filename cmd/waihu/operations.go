package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"waihu"
	"waihu/resources"
	"waihu/speech"
	"waihu/store"
	"waihu/wrapup"
)

// openStore opens the ledger of a data folder with the key of its secrets.
func openStore(ctx context.Context, cfg config, env func(string) (string, bool), log *slog.Logger) (*store.Store, error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	key, err := secretKey(cfg, env)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, store.Options{Dir: cfg.Data, DSN: cfg.Database, Key: key, Log: log, MinFree: uint64(cfg.MinFreeMB) << 20, Crash: cfg.crash})
}

// secretKey is WAIHU_KEY, else the key file, which is made at the first start.
func secretKey(cfg config, env func(string) (string, bool)) ([]byte, error) {
	if text, ok := env("WAIHU_KEY"); ok && text != "" {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) != 32 {
			return nil, errors.New("WAIHU_KEY: 32 bytes in base64 were expected (openssl rand -base64 32)")
		}
		return key, nil
	}
	path := cfg.KeyFile
	if path == "" {
		path = filepath.Join(cfg.Data, "secret.key")
	}
	return store.LoadOrMakeKey(path)
}

func newVoice(cfg config) (*speech.Synth, error) {
	prompts := filepath.Join(cfg.Data, "prompts")
	if err := os.MkdirAll(prompts, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of prompts: %w", err)
	}
	return speech.NewSynth(speech.Options{Prompts: prompts, Espeak: cfg.espeak})
}

// applyResources reads, checks and applies a resources file; nothing is applied when anything in it is wrong.
// calls is how many calls at once the server has ports for, 0 when no server is asked.
func applyResources(ctx context.Context, st *store.Store, name string, raw []byte, calls int, say func(string)) error {
	report, err := resources.Apply(ctx, name, raw, resources.Options{Store: st, Check: checkAgent, Checks: wrapup.CheckChecks, Calls: calls})
	if err != nil {
		return err
	}
	say(strings.TrimRight(report.String(), "\n"))
	return nil
}

// operations are what the command line may ask of a running server.
func (s *server) operations() map[string]operation {
	ops := storeOperations(s.store, s.cfg.calls())
	apply := ops["apply"]
	ops["apply"] = func(ctx context.Context, q url.Values, body io.Reader, tell func(message)) error {
		if err := apply(ctx, q, body, tell); err != nil {
			return err
		}
		return s.configure(ctx)
	}
	ops["trunk-check"] = s.checkTrunk
	maps.Copy(ops, privacyOperations(s.store, s.records, s.ua.CompactJournal))
	return ops
}

// storeOperations need the ledger alone, so they also work when no server runs.
func storeOperations(st *store.Store, calls int) map[string]operation {
	ops := map[string]operation{
		"apply": func(ctx context.Context, q url.Values, body io.Reader, tell func(message)) error {
			raw, err := io.ReadAll(io.LimitReader(body, maxResources))
			if err != nil {
				return fmt.Errorf("reading the file: %w", err)
			}
			return applyResources(ctx, st, q.Get("name"), raw, calls, func(line string) { tell(message{Say: line}) })
		},
		"webhook": webhookOperation(st),
		"token": func(ctx context.Context, q url.Values, _ io.Reader, tell func(message)) error {
			token, err := makeToken(ctx, st, waihu.AccountID(q.Get("account")), q.Get("name"))
			if waihu.ErrorCode(err) == waihu.ENotFound {
				return unknownAccount(ctx, st, q.Get("account"))
			}
			if err != nil {
				return err
			}
			tell(message{Say: token})
			return nil
		},
		"import": func(ctx context.Context, q url.Values, body io.Reader, tell func(message)) error {
			return importNumbers(ctx, st, waihu.TaskID(q.Get("task")), body, tell)
		},
		"backup": func(ctx context.Context, q url.Values, _ io.Reader, tell func(message)) error {
			if err := st.Backup(ctx, q.Get("file"), func(n, of int64) { tell(message{Progress: n, Of: of}) }); err != nil {
				return err
			}
			tell(message{Say: "backed up to " + q.Get("file") + " (the key of stored secrets is not in it)"})
			return nil
		},
	}
	wrapupOperations(ops, st)
	return ops
}

// unknownAccount names those that there are.
func unknownAccount(ctx context.Context, st *store.Store, id string) error {
	accounts, err := st.Accounts(ctx)
	if err != nil {
		return err
	}
	known := make([]string, len(accounts))
	for i, a := range accounts {
		known[i] = fmt.Sprintf("%s (%s)", a.ID, a.Name)
	}
	return fmt.Errorf("there is no account %q; there are: %s", id, listed(known))
}

// listed joins the first of names, and says how many more there are.
func listed(names []string) string {
	const shown = 10
	switch {
	case len(names) == 0:
		return "none yet"
	case len(names) > shown:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return strings.Join(names, ", ")
}

// maxResources bounds a resources file; a thousand agents are about 5 MB.
const maxResources = 64 << 20

// withStore performs an operation on the running server, or on the data folder itself when none runs.
func withStore(ctx context.Context, io stdio, cfg config, name string, q url.Values, body io.Reader, on func(message)) error {
	if client, ok := adminClient(cfg.Data); ok {
		return perform(ctx, client, io.signals, name, q, body, on)
	}
	if name == "trunk-check" {
		return fmt.Errorf("no server runs on %s: start waihu serve first, the check uses its ports", cfg.Data)
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, "waihu.db")); errors.Is(err, fs.ErrNotExist) && cfg.Database == "" && name != "apply" {
		return fmt.Errorf("there is no ledger in %s, and no server runs on it: is --data right?", cfg.Data) // not a new one by a slip of the pen
	}
	st, err := openStore(ctx, cfg, io.env, newLog(io.err, cfg.LogLevel))
	if err != nil {
		return err
	}
	defer st.Close()
	rec, err := cfg.recordings(st, io.env, newLog(io.err, cfg.LogLevel))
	if err != nil {
		return err
	}
	ops := storeOperations(st, 0)
	maps.Copy(ops, privacyOperations(st, rec, cfg.closedJournal))
	client := &http.Client{Transport: handlerTransport{adminHandler(ops)}}
	return perform(ctx, client, io.signals, name, q, body, on)
}

// ledgerCommand reads the command line of a command that works on a ledger, running or not.
func ledgerCommand(std stdio, name string, args []string, least, most int) (words []string, cfg config, err error) {
	fs := newFlags(name)
	cfg.ledgerFlags(fs)
	words, err = cfg.load(std, fs, args, least, most)
	return words, cfg, err
}

func runApply(ctx context.Context, io stdio, args []string) error {
	words, cfg, err := ledgerCommand(io, "apply", args, 1, 1)
	if err != nil {
		return err
	}
	file, err := filepath.Abs(words[0]) // the server reads file: secrets beside it
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return withStore(ctx, io, cfg, "apply", url.Values{"name": {file}}, bytes.NewReader(raw), printer(io))
}

func printer(io stdio) func(message) {
	return func(m message) {
		if m.Say != "" {
			fmt.Fprintln(io.out, m.Say)
		}
	}
}

func runToken(ctx context.Context, io stdio, args []string) error {
	words, cfg, err := ledgerCommand(io, "token", args, 1, 2)
	if err != nil {
		return err
	}
	q := url.Values{"account": {words[0]}, "name": {"token"}}
	if len(words) == 2 {
		q.Set("name", words[1])
	}
	return withStore(ctx, io, cfg, "token", q, nil, printer(io))
}

func runBackup(ctx context.Context, io stdio, args []string) error {
	words, cfg, err := ledgerCommand(io, "backup", args, 1, 1)
	if err != nil {
		return err
	}
	file, err := filepath.Abs(words[0])
	if err != nil {
		return err
	}
	return withStore(ctx, io, cfg, "backup", url.Values{"file": {file}}, nil, printer(io))
}

func runImport(ctx context.Context, io stdio, args []string) error {
	words, cfg, err := ledgerCommand(io, "import", args, 2, 2)
	if err != nil {
		return err
	}
	file, err := os.Open(words[1])
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a folder: a CSV or XLSX file was expected", words[1])
	}
	bar := newBar(io.err, "importing", info.Size())
	q := url.Values{"task": {words[0]}}
	err = withStore(ctx, io, cfg, "import", q, bar.reader(file), func(m message) {
		if m.Progress > 0 {
			bar.say(fmt.Sprintf("%d numbers", m.Progress))
		}
		if m.Say != "" {
			bar.clear()
			fmt.Fprintln(io.out, m.Say)
		}
	})
	if err != nil {
		bar.drop()
		return err
	}
	bar.end()
	return nil
}
