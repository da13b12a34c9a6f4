package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"waihu"
	"waihu/sheet"
	"waihu/store"
)

// importBatch is how many rows go to the ledger at a time.
const importBatch = 2000

// How many refused rows, and rows whose number is there already, are listed by line; the counts are always whole. A file
// that is imported again consists of the latter.
const (
	maxRefusedShown   = 200
	maxDuplicateShown = 20
)

// importer streams a table into a task.
type importer struct {
	store *store.Store
	task  waihu.Task
	tell  func(message)

	columns columns
	batch   []store.NewNumber
	lines   []int // of the batch's rows
	added   int
	refused int
	known   int // already in the task
}

// importNumbers streams a CSV or XLSX file into a task. The first row names the columns, or is a number
// itself when the file has no header. A row that cannot be used is refused with its line and the rest goes on.
func importNumbers(ctx context.Context, st *store.Store, id waihu.TaskID, body io.Reader, tell func(message)) error {
	task, err := findTask(ctx, st, id)
	if err != nil {
		return err
	}
	rows, err := sheet.NewReader(body, sheet.Limits{})
	if err != nil {
		return err
	}
	defer rows.Close()
	im := importer{store: st, task: task, tell: tell}
	first := true
	for row, err := range rows.All() {
		var bad *sheet.RowError
		if errors.As(err, &bad) {
			im.refuse(bad.Line, bad.Err.Error())
			continue
		}
		if ctx.Err() != nil {
			return im.interrupted()
		}
		if err != nil {
			return fmt.Errorf("%w (%s before it)", err, im.sum())
		}
		if first {
			first = false
			header, err := im.header(row)
			if err != nil {
				return err
			}
			if header {
				continue
			}
		}
		if err := im.row(ctx, row); err != nil {
			return err
		}
	}
	if err := im.flush(ctx); err != nil {
		return err
	}
	if n := im.refused - maxRefusedShown; n > 0 {
		tell(message{Say: fmt.Sprintf("and %d refused rows more", n)})
	}
	if n := im.known - maxDuplicateShown; n > 0 {
		tell(message{Say: fmt.Sprintf("and %d rows more whose numbers are in the task already", n)})
	}
	tell(message{Say: im.sum()})
	return nil
}

func (im *importer) sum() string {
	return fmt.Sprintf("%d numbers imported, %d were in the task already, %d rows refused", im.added, im.known, im.refused)
}

// header reads the first row as column names; a row that begins with a phone number means a file without names.
func (im *importer) header(row sheet.Row) (bool, error) {
	im.columns = readColumns(row.Cells)
	if im.columns.phone >= 0 {
		return true, nil
	}
	if _, err := waihu.ParsePhone(row.Cell(0)); err == nil {
		im.columns = columns{phone: 0, route: -1, extra: -1}
		return false, nil
	}
	return false, fmt.Errorf("line %d: no column holds phone numbers: name one of them phone, number, mobile, 号码, 手机号 or 电话", row.Line)
}

func (im *importer) refuse(line int, why string) {
	if im.refused++; im.refused <= maxRefusedShown {
		im.tell(message{Say: fmt.Sprintf("line %d refused: %s", line, why)})
	}
}

func (im *importer) row(ctx context.Context, row sheet.Row) error {
	n, err := im.columns.number(row)
	if err != nil {
		im.refuse(row.Line, err.Error())
		return nil
	}
	im.batch, im.lines = append(im.batch, n), append(im.lines, row.Line)
	if len(im.batch) < importBatch {
		return nil
	}
	return im.flush(ctx)
}

func (im *importer) flush(ctx context.Context) error {
	if len(im.batch) == 0 {
		return nil
	}
	r, err := im.store.AddNumbers(ctx, im.task.Account, im.task.ID, im.batch) // r holds also when it failed half-way
	for _, i := range r.DuplicateRows {
		if im.known++; im.known <= maxDuplicateShown {
			im.tell(message{Say: fmt.Sprintf("line %d: the number is in the task already", im.lines[i])})
		}
	}
	im.added += r.Added + r.Revived
	switch {
	case err != nil && ctx.Err() != nil:
		return im.interrupted()
	case err != nil:
		return fmt.Errorf("after %d numbers: %w", im.added, err)
	}
	im.batch, im.lines = im.batch[:0], im.lines[:0]
	im.tell(message{Progress: int64(im.added)})
	return nil
}

// interrupted says how far an import got that was told to stop.
func (im *importer) interrupted() error {
	return fmt.Errorf("interrupted: %s; what is imported stays, import the same file again to add the rest", im.sum())
}

// columns says which column holds what; -1: none. All others become variables by their name.
type columns struct {
	phone, route, extra int
	vars                []string // by column; "" is no variable
}

var (
	phoneNames = []string{"phone", "number", "mobile", "tel", "telephone", "号码", "手机", "手机号", "手机号码", "电话", "电话号码"}
	routeNames = []string{"control_select_robot", "route"}
	extraNames = []string{"extra"}
	// varNames gives the usual Chinese headings the variable that scripts use.
	varNames = map[string]string{"姓名": "name", "公司": "company", "备注": "remark", "邮箱": "email"}
)

func readColumns(cells []string) columns {
	c := columns{phone: -1, route: -1, extra: -1, vars: make([]string, len(cells))}
	for i, cell := range cells {
		name := strings.ToLower(strings.TrimSpace(cell))
		switch {
		case c.phone < 0 && slices.Contains(phoneNames, name):
			c.phone = i
		case c.route < 0 && slices.Contains(routeNames, name):
			c.route = i
		case c.extra < 0 && slices.Contains(extraNames, name):
			c.extra = i
		case varNames[name] != "":
			c.vars[i] = varNames[name]
		default:
			c.vars[i] = strings.TrimSpace(cell)
		}
	}
	return c
}

func (c *columns) number(row sheet.Row) (store.NewNumber, error) {
	phone, err := waihu.ParsePhone(row.Cell(c.phone))
	if err != nil {
		return store.NewNumber{}, err
	}
	n := store.NewNumber{Phone: phone, Data: waihu.NumberData{Route: row.Cell(c.route), Extra: row.Cell(c.extra)}}
	for i, name := range c.vars {
		if v := row.Cell(i); name != "" && v != "" {
			if n.Data.Vars == nil {
				n.Data.Vars = map[string]string{}
			}
			n.Data.Vars[name] = v
		}
	}
	return n, nil
}

// findTask looks for a task in every account: who may use the command line may reach them all.
func findTask(ctx context.Context, st *store.Store, id waihu.TaskID) (waihu.Task, error) {
	accounts, err := st.Accounts(ctx)
	if err != nil {
		return waihu.Task{}, err
	}
	for _, a := range accounts { // and those of sub-accounts
		subs, err := st.SubAccounts(ctx, a.ID)
		if err != nil {
			return waihu.Task{}, err
		}
		accounts = append(accounts, subs...)
	}
	for _, a := range accounts {
		switch task, err := st.Task(ctx, a.ID, id); waihu.ErrorCode(err) {
		case "":
			return task, nil
		case waihu.ENotFound:
		default:
			return waihu.Task{}, err
		}
	}
	return waihu.Task{}, waihu.Errorf(waihu.ENotFound, "there is no task %q", id)
}
