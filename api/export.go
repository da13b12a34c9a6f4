package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"waihu"
	"waihu/sheet"
	"waihu/store"
)

func (s *server) exportRoutes() []route {
	format := param{"format", "string", "csv (default) or xlsx"}
	return []route{
		{"GET", Prefix + "tasks/{task}/numbers/export", s.exportNumbers, false, operation{ID: "exportNumbers", Tag: "export", Summary: "All numbers of a task as a table",
			Text: "A stream: rows are read page by page while they are sent. Cells cannot be formulas.", Query: []param{format}, Media: "text/csv"}},
		{"GET", Prefix + "tasks/{task}/calls/export", s.exportCalls, false, operation{ID: "exportCalls", Tag: "export", Summary: "All calls of a task as a table",
			Text: "A stream, as that of the numbers; with transcript=1 the last column holds what was said.", Query: []param{format, {"transcript", "string", "1: with what was said"}}, Media: "text/csv"}},
	}
}

// How many rows a page has: what is in memory of an export, and how long one statement of it may hold the database.
const (
	numbersPage = 2000 // at most 5,000: see design.md
	callsPage   = 500  // with their transcripts
)

// ExportNumbers writes all numbers of a task, a heading first, and says how many there were. Variables have columns of their own when one of the
// first page's numbers has them; others stand together in the last column, as JSON. Times are in the task's zone.
func ExportNumbers(ctx context.Context, st *store.Store, account waihu.AccountID, task waihu.TaskID, w sheet.Writer) (int, error) {
	k, err := st.Task(ctx, account, task)
	if err != nil {
		return 0, err
	}
	return writeNumbers(func(after int64) ([]waihu.Number, error) {
		return st.NumbersAfter(ctx, account, task, after, numbersPage)
	}, k.Location(), w)
}

func writeNumbers(page func(after int64) ([]waihu.Number, error), zone *time.Location, w sheet.Writer) (n int, err error) {
	var vars []string
	known := map[string]bool{}
	for after := int64(0); ; {
		list, err := page(after)
		if err != nil {
			return n, err
		}
		if n == 0 {
			for _, x := range list {
				maps.Insert(known, maps.All(mark(x.Data.Vars)))
			}
			vars = slices.Sorted(maps.Keys(known))
			head := []string{"number", "key", "state", "status", "grade", "attempts", "redials", "due_at", "last_call", "created_at", "updated_at", "route", "extra", "group"}
			for _, v := range vars {
				head = append(head, "var_"+v)
			}
			if err := w.Write(cut(append(head, "more_vars"))); err != nil {
				return n, err
			}
		}
		for _, x := range list {
			last := ""
			if x.LastCall != 0 {
				last = x.LastCall.String()
			}
			group := make([]string, len(x.Data.Group))
			for i, p := range x.Data.Group {
				group[i] = string(p)
			}
			row := []string{string(x.Phone), x.Key, stateName(x.State), x.Outcome.String(), x.Grade, strconv.Itoa(x.Attempts), strconv.Itoa(x.Redials),
				stamp(x.DueAt, zone), last, stamp(x.CreatedAt, zone), stamp(x.UpdatedAt, zone), x.Data.Route, x.Data.Extra, strings.Join(group, " ")}
			for _, v := range vars {
				row = append(row, x.Data.Vars[v])
			}
			if err := w.Write(cut(append(row, otherVars(x.Data.Vars, known)))); err != nil {
				return n, err
			}
			n, after = n+1, x.Seq
		}
		if len(list) == 0 {
			return n, nil
		}
	}
}

func mark(vars map[string]string) map[string]bool {
	m := make(map[string]bool, len(vars))
	for k := range vars {
		m[k] = true
	}
	return m
}

// otherVars are the variables without a column, as JSON; "" when there are none.
func otherVars(vars map[string]string, known map[string]bool) string {
	var more map[string]string
	for k, v := range vars {
		if !known[k] {
			if more == nil {
				more = map[string]string{}
			}
			more[k] = v
		}
	}
	if more == nil {
		return ""
	}
	raw, _ := json.Marshal(more) // texts
	return string(raw)
}

// ExportCalls writes all calls of a task in the order of their beginnings, a heading first, and says how many there were.
func ExportCalls(ctx context.Context, st *store.Store, account waihu.AccountID, task waihu.TaskID, transcript bool, w sheet.Writer) (int, error) {
	k, err := st.Task(ctx, account, task)
	if err != nil {
		return 0, err
	}
	return writeCalls(func(after waihu.CallID) ([]waihu.Call, error) {
		return st.CallsAfter(ctx, account, task, after, callsPage)
	}, k.Location(), transcript, w)
}

func writeCalls(page func(after waihu.CallID) ([]waihu.Call, error), zone *time.Location, transcript bool, w sheet.Writer) (n int, err error) {
	head := []string{"call", "number", "run", "attempt", "line", "caller", "agent", "started_at", "answered_at", "ended_at", "talk_seconds", "disposition", "hangup_by",
		"grade", "tags", "collected", "opt_out", "recording"}
	if transcript {
		head = append(head, "transcript")
	}
	if err := w.Write(head); err != nil {
		return 0, err
	}
	for after := waihu.CallID(0); ; {
		list, err := page(after)
		if err != nil || len(list) == 0 {
			return n, err
		}
		for i := range list {
			c := &list[i]
			o := &c.Outcome
			collected := ""
			if len(o.Collected) > 0 {
				raw, _ := json.Marshal(o.Collected) // texts
				collected = string(raw)
			}
			talk := ""
			if !c.AnsweredAt.IsZero() && !c.EndedAt.IsZero() {
				talk = strconv.FormatFloat(c.EndedAt.Sub(c.AnsweredAt).Seconds(), 'f', 1, 64)
			}
			row := []string{c.ID.String(), string(c.Phone), strconv.Itoa(c.Run), strconv.Itoa(c.Attempt), string(c.Line), string(o.Caller), string(c.Agent),
				stamp(c.StartedAt, zone), stamp(c.AnsweredAt, zone), stamp(c.EndedAt, zone), talk, o.Disposition.String(), string(o.HangupBy), o.Grade,
				strings.Join(o.Tags, " "), collected, strconv.FormatBool(o.OptOut), o.Recording}
			if transcript {
				row = append(row, said(o.Transcript))
			}
			if err := w.Write(cut(row)); err != nil {
				return n, err
			}
			n, after = n+1, c.ID
		}
	}
}

// said is a transcript as lines of a cell.
func said(turns []waihu.Turn) string {
	var b strings.Builder
	for _, t := range turns {
		if t.Partial {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(t.Who + ": " + t.Text)
	}
	return b.String()
}

// cut shortens cells to what a workbook takes, in both formats, so that they hold the same.
func cut(row []string) []string {
	for i, cell := range row {
		if len(cell) > sheet.MaxCell && utf8.RuneCountInString(cell) > sheet.MaxCell {
			row[i] = string([]rune(cell)[:sheet.MaxCell-1]) + "…"
		}
	}
	return row
}

func stamp(t time.Time, zone *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(zone).Format("2006-01-02 15:04:05")
}

var stateNames = [...]string{"fresh", "in_flight", "due", "done", "removed"}

func stateName(s waihu.NumberState) string {
	if s < 0 || int(s) >= len(stateNames) {
		return ""
	}
	return stateNames[s]
}

// NewTable begins a table of the format csv or xlsx.
func NewTable(format string, w io.Writer) (sheet.Writer, error) {
	switch format {
	case "csv":
		return sheet.NewCSVWriter(w), nil
	case "xlsx":
		return sheet.NewXLSXWriter(w)
	}
	return nil, waihu.FieldErrorf("format", "csv or xlsx was expected, not %q", format)
}

func (s *server) exportNumbers(c *request) (any, error) {
	return s.export(c, "numbers", func(w sheet.Writer) (int, error) {
		return ExportNumbers(c.ctx, s.Store, c.acts.ID, waihu.TaskID(c.r.PathValue("task")), w)
	})
}

func (s *server) exportCalls(c *request) (any, error) {
	return s.export(c, "calls", func(w sheet.Writer) (int, error) {
		return ExportCalls(c.ctx, s.Store, c.acts.ID, waihu.TaskID(c.r.PathValue("task")), c.r.URL.Query().Get("transcript") == "1", w)
	})
}

// task is the task that the path names.
func (c *request) task() (waihu.Task, error) {
	k, err := c.s.Store.Task(c.ctx, c.acts.ID, waihu.TaskID(c.r.PathValue("task")))
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = waihu.Errorf(waihu.ENotFound, "no such task")
	}
	return k, err
}

// A download whose client takes nothing for so long is cut off; until then it costs a page in memory and nothing of the database.
const stallLimit = time.Minute

// exportsAtOnce is how many downloads an account may have in progress.
const exportsAtOnce = 4

var tableTypes = map[string]string{"csv": "text/csv; charset=utf-8", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}

func (s *server) export(c *request, name string, rows func(sheet.Writer) (int, error)) (any, error) {
	format := c.r.URL.Query().Get("format")
	if format == "" {
		format = "csv"
	}
	if tableTypes[format] == "" {
		return nil, waihu.FieldErrorf("format", "csv or xlsx was expected, not %q", format)
	}
	if _, err := c.task(); err != nil { // before the first byte
		return nil, err
	}
	if !s.exports.begin(c.acts.ID) {
		return nil, waihu.Errorf(waihu.ELimit, "%d exports are in progress: wait for one to end", exportsAtOnce)
	}
	defer s.exports.end(c.acts.ID)
	h := c.w.Header()
	h.Set("Content-Type", tableTypes[format])
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.%s"`, name, format))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w, err := NewTable(format, &patient{w: c.w, rc: http.NewResponseController(c.w)})
	if err == nil {
		if _, err = rows(w); err == nil {
			err = w.Close()
		}
	}
	return written, err
}

// patient gives every piece that is sent the same time.
type patient struct {
	w  io.Writer
	rc *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(stallLimit)) // a writer without deadlines is a test's
	return p.w.Write(b)
}

// counter bounds what an account does at once.
type counter struct {
	mu sync.Mutex
	n  map[waihu.AccountID]int
}

func (c *counter) begin(a waihu.AccountID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[waihu.AccountID]int{}
	}
	if c.n[a] >= exportsAtOnce {
		return false
	}
	c.n[a]++
	return true
}

func (c *counter) end(a waihu.AccountID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[a]--; c.n[a] == 0 {
		delete(c.n, a)
	}
}
