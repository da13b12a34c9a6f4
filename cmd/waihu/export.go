package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"waihu"
	"waihu/api"
	"waihu/store"
)

// exportTable writes the numbers or calls of a task into a new file, which appears under its name only when it is whole. Its
// ending says the format.
func exportTable(ctx context.Context, st *store.Store, id waihu.TaskID, what, file string, transcript bool, say func(string)) (err error) {
	task, err := findTask(ctx, st, id)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s exists: name a new file", file)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(file), ".export-*") // readable by its owner alone
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	defer part.Close()
	out := bufio.NewWriterSize(part, 1<<20)
	table, err := api.NewTable(tableFormat(file), out)
	if err != nil {
		return err
	}
	n := 0
	if what == "calls" {
		n, err = api.ExportCalls(ctx, st, task.Account, task.ID, transcript, table)
	} else {
		n, err = api.ExportNumbers(ctx, st, task.Account, task.ID, table)
	}
	if err == nil {
		err = table.Close()
	}
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = part.Sync()
	}
	if err == nil {
		err = os.Link(part.Name(), file) // unlike a rename, it never replaces a file that has come meanwhile
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	say(fmt.Sprintf("%d %s of task %s written to %s", n, what, task.ID, file))
	return nil
}

func tableFormat(file string) string {
	return strings.TrimPrefix(strings.ToLower(filepath.Ext(file)), ".")
}

func exportOperation(st *store.Store) operation {
	return func(ctx context.Context, q url.Values, _ io.Reader, tell func(message)) error {
		return exportTable(ctx, st, waihu.TaskID(q.Get("task")), q.Get("what"), q.Get("file"), q.Get("transcript") == "1", func(line string) { tell(message{Say: line}) })
	}
}

func runExport(ctx context.Context, io stdio, args []string) error {
	var cfg config
	fs := newFlags("export")
	cfg.ledgerFlags(fs)
	calls := fs.Bool("calls", false, "the task's calls instead of its numbers")
	transcript := fs.Bool("transcript", false, "with --calls: a column with what was said")
	words, err := cfg.load(io, fs, args, 2, 2)
	if err != nil {
		return err
	}
	if f := tableFormat(words[1]); f != "csv" && f != "xlsx" {
		return fmt.Errorf("%s: a name that ends in .csv or .xlsx was expected", words[1])
	}
	file, err := filepath.Abs(words[1]) // the server writes it
	if err != nil {
		return err
	}
	q := url.Values{"task": {words[0]}, "file": {file}, "what": {"numbers"}}
	if *calls {
		q.Set("what", "calls")
	}
	if *transcript {
		q.Set("transcript", "1")
	}
	return withStore(ctx, io, cfg, "export", q, nil, printer(io))
}
