package voicefox

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"waihu"
	"waihu/sheet"
	"waihu/store"
)

// Bounds of a file of numbers.
const (
	maxFile     = 64 << 20
	maxFileRows = 1_000_000
	maxFailed   = 100 // rows that the answer names
	maxMetaKeys = 100
	maxColumn   = 1999 // sheet's limit
)

// readMeta reads a map of column titles to zero-based indices; negative ones are columns that the file does not have.
func readMeta(field string, in map[string]number) (map[string]int, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := map[string]int{}
	if len(in) > maxMetaKeys {
		return nil, wrong(field, "at most %d columns were expected", maxMetaKeys)
	}
	for _, title := range slices.Sorted(maps.Keys(in)) {
		i := in[title]
		switch {
		case strings.TrimSpace(title) == "":
			return nil, wrong(field, "a column has a title")
		case i > maxColumn:
			return nil, wrong(field+"."+title, "the index of a column, from 0, was expected")
		}
		out[title] = max(int(i), noColumn)
	}
	if i, ok := out[phoneColumn]; !ok || i == noColumn {
		return nil, wrong(field, "the key 号码 with the index of the column of phone numbers was expected")
	}
	return out, nil
}

// importWire is the console's answer to an import, with ours behind.
type importWire struct {
	Count      int         `json:"count"` // numbers that were added
	Message    string      `json:"message"`
	Rows       int         `json:"rows"`       // of the file, its title line left out
	Duplicates int         `json:"duplicates"` // were there already, in the file or in the task
	Failed     int         `json:"failed"`
	Errors     []rowWire   `json:"errors"` // of the failed rows, the first maxFailed
	Meta       columnsWire `json:"numberFileMeta"`
}

type rowWire struct {
	Row     int    `json:"row"` // line of the file, from 1
	Message string `json:"message"`
}

type columnsWire map[string]int

// numberImport adds the numbers of a file. Nothing is added unless the whole file could be read; rows that hold no phone
// number are told and left out.
func (s *server) numberImport(c *request) (any, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	file, err := c.spool()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	kept := keptOf(&t)
	if _, err := readFile(file, kept.NumberFileMeta, kept.FromFile, func(store.NewNumber) error { return nil }); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var batch []store.NewNumber
	var report store.ImportReport
	add := func() error {
		r, err := s.Store.AddNumbersBy(c.ctx, t.Account, t.ID, batch, Door)
		report.Added, report.Revived, report.Duplicates = report.Added+r.Added, report.Revived+r.Revived, report.Duplicates+r.Duplicates
		batch = batch[:0]
		return err
	}
	w, err := readFile(file, kept.NumberFileMeta, kept.FromFile, func(n store.NewNumber) error {
		if batch = append(batch, n); len(batch) < importBatch {
			return nil
		}
		return add()
	})
	if err == nil {
		err = add()
	}
	if err != nil {
		return nil, err
	}
	if !maps.Equal(kept.NumberFileMeta, w.Meta) {
		kept.FromFile = kept.FromFile || len(kept.NumberFileMeta) == 0
		kept.NumberFileMeta = w.Meta
		if err := c.keep(&t, kept); err != nil {
			return nil, err
		}
	}
	w.Count, w.Duplicates, w.Message = report.Added+report.Revived, report.Duplicates, "success"
	return w, nil
}

// importBatch is how many numbers of a file are held at once.
const importBatch = 5000

// spool puts the file aside, so that it can be read twice: once to see that it can be, once to add its numbers.
func (c *request) spool() (*os.File, error) {
	from, err := c.file()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := os.CreateTemp("", "waihu-numbers-*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(to.Name()) // it lives as long as it is open: nobody's numbers outlast us
	_, err = io.Copy(to, from)
	if err != nil && !isOurs(err) {
		err = unread(err)
	}
	if err == nil {
		_, err = to.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = to.Close()
		return nil, err
	}
	return to, nil
}

// isOurs says that writing failed, not reading.
func isOurs(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

// file is the part "file" of a form, or the body itself.
func (c *request) file() (io.ReadCloser, error) {
	body := http.MaxBytesReader(c.w, c.r.Body, maxFile)
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return body, nil
	}
	if params["boundary"] == "" {
		return nil, wrong("", "the form has no boundary: let your HTTP library write the Content-Type")
	}
	c.r.Body = body
	parts, err := c.r.MultipartReader()
	if err != nil {
		return nil, wrong("", "the form could not be read")
	}
	for {
		p, err := parts.NextPart()
		if err == io.EOF {
			return nil, wrong("file", "a form with the file as its part \"file\" was expected")
		}
		if err != nil {
			return nil, unread(err)
		}
		if p.FormName() == "file" {
			return p, nil
		}
	}
}

func unread(err error) error {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return refused(http.StatusRequestEntityTooLarge, "the file has more than %d bytes", maxFile)
	}
	return wrong("file", "the file could not be read: %v", err)
}

// readFile reads a table of numbers. columns, when there are any, say where they stand; else the titles of the file's first
// row say it, and a file without titles has its phone numbers in the first column. With earlier the columns are those of an
// earlier file, and only say it when this one's titles do not. take gets each number; its error ends the reading.
func readFile(r io.Reader, columns map[string]int, earlier bool, take func(store.NewNumber) error) (w importWire, err error) {
	taken := 0
	w.Errors = []rowWire{}
	table, err := sheet.NewReader(r, sheet.Limits{File: maxFile})
	if err != nil {
		return w, unread(err)
	}
	defer table.Close()
	var extra map[string]int
	first := true
	for row, err := range table.All() {
		var bad *sheet.RowError
		if errors.As(err, &bad) {
			w.fail(bad.Line, bad.Err.Error())
			w.Rows++
			continue
		}
		if err != nil {
			return w, unread(err)
		}
		if first {
			first = false
			titled := false
			if columns, extra, titled, err = layout(row.Cells, columns, earlier); err != nil {
				return w, err
			}
			w.Meta = columns
			if titled {
				continue
			}
		}
		if w.Rows++; w.Rows > maxFileRows {
			return w, refused(http.StatusRequestEntityTooLarge, "the file has more than %d rows: send it in parts", maxFileRows)
		}
		n, err := numberOf(row, columns, extra)
		if err != nil {
			w.fail(row.Line, err.Error())
			continue
		}
		taken++
		if err := take(n); err != nil {
			return w, err
		}
	}
	if w.Meta == nil {
		w.Meta = columns
	}
	if taken == 0 && w.Failed == 0 {
		return w, wrong("file", "the file has no numbers")
	}
	if taken == 0 {
		return w, wrong("file", "no row of the file has a phone number; row %d: %s", w.Errors[0].Row, w.Errors[0].Message)
	}
	return w, nil
}

func (w *importWire) fail(line int, message string) {
	if w.Failed++; len(w.Errors) < maxFailed {
		w.Errors = append(w.Errors, rowWire{line, message})
	}
}

// titles are what people call the three columns that the page names.
var titles = map[string][]string{
	phoneColumn:  {phoneColumn, "手机号", "手机号码", "电话", "电话号码", "phone", "phone number", "number", "mobile", "tel"},
	remarkColumn: {remarkColumn, "说明", "remark", "note"},
	nameColumn:   {nameColumn, "名字", "客户姓名", "name"},
}

// layout says which column is which. A first row whose cell in the column of phone numbers is none is a title line:
// its further titles become the names of variables.
func layout(cells []string, given map[string]int, earlier bool) (columns, extra map[string]int, titled bool, err error) {
	columns, extra = maps.Clone(given), map[string]int{}
	if len(given) == 0 || earlier {
		found := byTitle(cells)
		if _, ok := found[phoneColumn]; ok {
			columns = found
		} else if len(given) == 0 {
			columns = map[string]int{phoneColumn: 0}
		}
	}
	at := columns[phoneColumn]
	if at < len(cells) {
		_, bad := waihu.ParsePhone(cells[at])
		titled = bad != nil && !damaged(cells[at])
	}
	if !titled {
		return columns, extra, false, nil
	}
	taken := map[int]bool{}
	for _, i := range columns {
		taken[i] = true
	}
	for i, cell := range cells {
		title := strings.TrimSpace(cell)
		if title == "" || taken[i] {
			continue
		}
		at, known := columns[title]
		if known = known && at != noColumn; known && len(given) > 0 && !earlier { // the map names another
			continue
		}
		if _, twice := extra[title]; twice || known {
			return nil, nil, false, wrong("file", "two columns have the title %.60q", title)
		}
		extra[title] = i
	}
	return columns, extra, true, nil
}

// damaged says that a cell which is no phone number was meant to be one: it is told as a row that failed, instead of being lost as a title.
func damaged(cell string) bool {
	digits := strings.Count(strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return '0'
		}
		return r
	}, cell), "0")
	return digits >= 3 && 2*digits >= utf8.RuneCountInString(strings.TrimSpace(cell))
}

// byTitle finds the columns that the page names by their titles.
func byTitle(cells []string) map[string]int {
	columns := map[string]int{}
	for name, words := range titles {
		i := slices.IndexFunc(cells, func(cell string) bool { return strings.TrimSpace(cell) == name })
		if i < 0 {
			i = slices.IndexFunc(cells, func(cell string) bool { return slices.Contains(words, strings.ToLower(strings.TrimSpace(cell))) })
		}
		if i >= 0 {
			columns[name] = i
		}
	}
	return columns
}

// nameVariable is what agents' texts call the person; a file's 姓名 fills it when no column does.
const nameVariable = "name"

// numberOf is the number of a row; every column but that of the phone numbers is a variable of it.
func numberOf(row sheet.Row, columns, extra map[string]int) (store.NewNumber, error) {
	phone, err := waihu.ParsePhone(row.Cell(columns[phoneColumn]))
	if err != nil {
		var e *waihu.Error
		if errors.As(err, &e) {
			return store.NewNumber{}, errors.New(e.Message)
		}
		return store.NewNumber{}, err
	}
	// The key is the same in whichever form the number is written: nobody is called twice for being in a file as +86138… and as 138….
	n := store.NewNumber{Key: string(phone.Canonical()), Phone: phone, Data: waihu.NumberData{Vars: map[string]string{}}}
	for _, group := range []map[string]int{columns, extra} {
		for title, i := range group {
			if value := strings.TrimSpace(row.Cell(i)); title != phoneColumn && value != "" {
				n.Data.Vars[title] = value
			}
		}
	}
	if _, ok := n.Data.Vars[nameVariable]; !ok && n.Data.Vars[nameColumn] != "" {
		n.Data.Vars[nameVariable] = n.Data.Vars[nameColumn]
	}
	if len(n.Data.Vars) == 0 {
		n.Data.Vars = nil
	}
	return n, nil
}

// extraOf are the variables of a number as webhooks give them back: those that came with it.
func extraOf(d *waihu.NumberData) map[string]string {
	out := maps.Clone(d.Vars)
	if out == nil {
		out = map[string]string{}
	}
	if v, ok := out[nameVariable]; ok && v == out[nameColumn] {
		delete(out, nameVariable)
	}
	return out
}
