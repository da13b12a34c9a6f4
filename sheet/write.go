package sheet

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// Writer takes rows. Close finishes the file, it does not close the destination.
type Writer interface {
	Write(cells []string) error
	Close() error
}

// NewCSVWriter writes UTF-8 with a byte order mark (without it Excel reads Chinese as GBK),
// comma and CRLF. Rows leave as they come.
func NewCSVWriter(w io.Writer) Writer {
	bw := bufio.NewWriter(w)
	bw.WriteString("\ufeff") // buffered: an error of the sink comes with Flush
	return &csvWriter{w: bw}
}

type csvWriter struct{ w *bufio.Writer }

func (c *csvWriter) Write(cells []string) error {
	for i, cell := range cells {
		if i > 0 {
			c.w.WriteByte(',')
		}
		cell = guard(strings.ToValidUTF8(cell, "\ufffd"))
		if strings.ContainsAny(cell, ",\"\r\n;\t|") || strings.TrimSpace(cell) != cell || (cell == "" && len(cells) == 1) {
			cell = `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
		}
		c.w.WriteString(cell)
	}
	_, err := c.w.WriteString("\r\n") // a bufio.Writer keeps its first error
	return err
}

func (c *csvWriter) Close() error { return c.w.Flush() }

// triggers are the first characters by which spreadsheet programs take a cell for a formula,
// with the full-width forms that they fold (OWASP: CSV injection).
const triggers = "=+-@\t\r\n＝＋－＠"

// guard puts an apostrophe in front of a cell that a spreadsheet program would compute, and in front
// of one that already has such an apostrophe, so that unguard gives back exactly what was written.
// Plain numbers (+8613800138000, -1.5) compute to themselves and stay.
func guard(cell string) string {
	bare := strings.TrimLeft(cell, "'")
	if !triggered(bare) || (len(bare) == len(cell) && plainNumber(cell)) {
		return cell
	}
	return "'" + cell
}

func unguard(cell string) string {
	if strings.HasPrefix(cell, "'") && triggered(strings.TrimLeft(cell, "'")) {
		return cell[1:]
	}
	return cell
}

func triggered(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && strings.ContainsRune(triggers, r)
}

func plainNumber(s string) bool {
	s = strings.TrimLeft(s[:1], "+-") + s[1:]
	whole, frac, dot := strings.Cut(s, ".")
	return digits(whole) && (!dot || digits(frac))
}

// Excel's own limits.
const (
	maxSheetRows = 1 << 20
	maxCellRunes = 32767
)

// NewXLSXWriter writes a workbook of text cells. Its first row is the heading and is repeated on the
// further worksheets that begin when one is full. Rows wait in temporary files until Close, because a
// workbook is a zip archive.
func NewXLSXWriter(w io.Writer) (Writer, error) {
	x := &xlsxWriter{w: w, f: excelize.NewFile(), limit: maxSheetRows}
	if err := x.sheet("Sheet1"); err != nil {
		return nil, err
	}
	return x, nil
}

type xlsxWriter struct {
	w      io.Writer
	f      *excelize.File
	s      *excelize.StreamWriter
	limit  int // rows of a worksheet
	row    int // rows written on this worksheet
	sheets int
	head   []any
}

func (x *xlsxWriter) sheet(name string) (err error) {
	if x.s, err = x.f.NewStreamWriter(name); err != nil {
		return fmt.Errorf("begin worksheet %s: %w", name, err)
	}
	x.sheets++
	x.row = 0
	return nil
}

func (x *xlsxWriter) Write(cells []string) error {
	row := make([]any, len(cells))
	for i, cell := range cells {
		if utf8.RuneCountInString(cell) > maxCellRunes {
			return fmt.Errorf("row %d: a cell has more than the %d characters that a workbook allows", x.row+1, maxCellRunes)
		}
		row[i] = strings.ToValidUTF8(cell, "\ufffd")
	}
	if x.row == x.limit {
		if err := x.s.Flush(); err != nil {
			return fmt.Errorf("finish a worksheet: %w", err)
		}
		name := fmt.Sprintf("Sheet%d", x.sheets+1)
		if _, err := x.f.NewSheet(name); err != nil {
			return fmt.Errorf("add worksheet %s: %w", name, err)
		}
		if err := x.sheet(name); err != nil {
			return err
		}
		if err := x.put(x.head); err != nil {
			return err
		}
	}
	if x.head == nil {
		x.head = row
	}
	return x.put(row)
}

func (x *xlsxWriter) put(row []any) error {
	x.row++
	cell, err := excelize.CoordinatesToCellName(1, x.row)
	if err != nil {
		return err
	}
	return x.s.SetRow(cell, row)
}

// Close writes the workbook to its destination and removes the temporary files.
func (x *xlsxWriter) Close() error {
	err := x.s.Flush()
	if err == nil {
		_, err = x.f.WriteTo(x.w)
	}
	if e := x.f.Close(); err == nil {
		err = e
	}
	return err
}
