package sheet

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/xuri/excelize/v2"
)

// xlsxReader reads the first visible worksheet.
type xlsxReader struct {
	f     *excelize.File
	sheet string
	l     Limits
	rows  *excelize.Rows // as shown
	line  int

	raw     *excelize.Rows // as stored; opened when first needed
	rawLine int
}

func newXLSX(r io.Reader, l Limits) (out *Reader, err error) {
	// excelize unpacks what strangers send; should it panic on a crafted file, that file is bad and nothing else.
	defer recovered(&err)
	src := &io.LimitedReader{R: r, N: l.File + 1}
	// The formats that mean "the date as this computer shows dates" would else be American (03-15-23), which no reader
	// of dates in this country takes for one.
	f, err := excelize.OpenReader(src, excelize.Options{UnzipSizeLimit: l.Unpack, UnzipXMLSizeLimit: min(16<<20, l.Unpack),
		ShortDatePattern: "yyyy-mm-dd", LongDatePattern: "yyyy-mm-dd", LongTimePattern: "hh:mm:ss", CultureInfo: excelize.CultureNameZhCN})
	if src.N <= 0 {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return nil, fmt.Errorf("the workbook is larger than %d MiB: save it as CSV, which may have any size", l.File>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("open the workbook: %w", err)
	}
	x := &xlsxReader{f: f, l: l}
	out = &Reader{Format: "xlsx", next: x.read, close: x.close}
	for _, name := range f.GetSheetList() {
		if shown, err := f.GetSheetVisible(name); err == nil && shown {
			out.Sheets = append(out.Sheets, name)
		}
	}
	if len(out.Sheets) == 0 {
		return nil, errors.Join(errors.New("the workbook has no visible worksheet"), f.Close())
	}
	x.sheet = out.Sheets[0]
	if x.rows, err = f.Rows(x.sheet); err != nil {
		return nil, errors.Join(fmt.Errorf("open worksheet %q: %w", x.sheet, err), f.Close())
	}
	return out, nil
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the workbook is damaged: %v", p)
	}
}

func (x *xlsxReader) read() (row Row, err error) {
	defer recovered(&err)
	for x.rows.Next() {
		x.line++
		cells, err := x.rows.Columns()
		if err != nil {
			return Row{}, fmt.Errorf("row %d: %w", x.line, err)
		}
		if blank(cells) {
			continue
		}
		if len(cells) > x.l.Cells {
			return Row{}, &RowError{Line: x.line, Err: errCells}
		}
		if err := x.unround(cells); err != nil {
			return Row{}, err
		}
		size := 0
		for _, c := range cells {
			if size += len(c); len(c) > x.l.Cell {
				return Row{}, &RowError{Line: x.line, Err: errCell}
			}
		}
		if size > x.l.Row {
			return Row{}, &RowError{Line: x.line, Err: errRow}
		}
		return Row{Line: x.line, Cells: cells}, nil
	}
	if err := x.rows.Error(); err != nil {
		return Row{}, fmt.Errorf("row %d: %w", x.line+1, err)
	}
	return Row{}, io.EOF
}

func blank(cells []string) bool {
	for _, c := range cells {
		if strings.TrimSpace(c) != "" {
			return false
		}
	}
	return true
}

// unround puts back the digits of whole numbers that a display format hides: a phone number shown as
// 1.38E+10 or 13,800,138,000 is stored as 13800138000. Dates and the like stay as shown.
func (x *xlsxReader) unround(cells []string) error {
	var raw []string
	for i, c := range cells {
		if !rounded(c) {
			continue
		}
		if raw == nil {
			var err error
			if raw, err = x.rawCells(); err != nil {
				return err
			}
		}
		if i < len(raw) && digits(raw[i]) {
			cells[i] = raw[i]
		}
	}
	return nil
}

// rawCells moves the second, unformatted iterator to the present row.
func (x *xlsxReader) rawCells() ([]string, error) {
	if x.raw == nil {
		rows, err := x.f.Rows(x.sheet)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", x.line, err)
		}
		x.raw = rows
	}
	for x.rawLine < x.line {
		if !x.raw.Next() {
			return nil, fmt.Errorf("row %d: %w", x.line, errors.Join(errors.New("cannot be read twice"), x.raw.Error()))
		}
		x.rawLine++
	}
	cells, err := x.raw.Columns(excelize.Options{RawCellValue: true})
	if err != nil {
		return nil, fmt.Errorf("row %d: %w", x.line, err)
	}
	return cells, nil
}

// rounded says whether c may be a whole number in disguise.
func rounded(c string) bool {
	disguise := false
	for _, r := range c {
		switch {
		case r >= '0' && r <= '9', r == ' ':
		case r == ',' || r == 'E' || r == '+' || r == '#' || r == '.':
			disguise = true
		default:
			return false
		}
	}
	return disguise
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func (x *xlsxReader) close() error {
	var errs []error
	if x.raw != nil {
		errs = append(errs, x.raw.Close())
	}
	return errors.Join(append(errs, x.rows.Close(), x.f.Close())...)
}
