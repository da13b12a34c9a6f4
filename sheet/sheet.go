// Package sheet reads and writes tables as streams of rows: CSV as people really
// send it (UTF-8 with or without a mark, UTF-16 with one, GBK and GB18030; comma,
// semicolon, tab or bar) and XLSX.
//
// A Reader finds out by itself what it is given. Rows carry the line number that
// a person sees in an editor or in Excel. A row that cannot be read is a
// *RowError and reading goes on with the next; any other error ends the stream.
//
// Memory is bounded by Limits whatever the input: CSV needs one row, XLSX the
// compressed file (Limits.File) while its large parts are unpacked into
// temporary files. Sizes beyond a limit are errors that say so.
//
// Written cells cannot be formulas: XLSX cells are text, and a CSV cell that
// spreadsheet programs would compute gets an apostrophe in front, which Reader
// takes off again.
//
// A Reader or Writer belongs to one goroutine. Nothing runs in the background: a
// slow source or sink only makes its own stream slow. To test code that reads
// tables, give NewReader a strings.Reader.
package sheet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Row is one row of a table.
type Row struct {
	Line  int // 1-based line of the text, or row of the worksheet, at which it begins
	Cells []string
}

// Cell is the i-th cell, "" when the row is shorter.
func (r Row) Cell(i int) string {
	if i < 0 || i >= len(r.Cells) {
		return ""
	}
	return r.Cells[i]
}

// RowError says why one row could not be read. The rows after it can be.
type RowError struct {
	Line int
	Err  error
}

func (e *RowError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *RowError) Unwrap() error { return e.Err }

// Limits bound what a Reader keeps in memory or unpacks. Zero fields mean the default.
type Limits struct {
	Cell   int   // bytes of a cell, default 64 KiB (Excel's own limit is 32,767 characters)
	Row    int   // bytes of a row, default 1 MiB
	Cells  int   // cells of a row, default 2,000
	File   int64 // bytes of an XLSX file, default 64 MiB: it is held in memory
	Unpack int64 // bytes of an XLSX file unpacked, default 2 GiB: parts above 16 MiB go to temporary files
}

func (l Limits) orDefault() Limits {
	if l.Cell <= 0 {
		l.Cell = 64 << 10
	}
	if l.Row <= 0 {
		l.Row = 1 << 20
	}
	if l.Cells <= 0 {
		l.Cells = 2000
	}
	if l.File <= 0 {
		l.File = 64 << 20
	}
	if l.Unpack <= 0 {
		l.Unpack = 2 << 30
	}
	return l
}

// Reader is a stream of rows. Close it.
type Reader struct {
	// Format is "csv" or "xlsx".
	Format string
	// Sheets are the names of an XLSX file's visible worksheets. Only the first is read.
	Sheets []string

	next  func() (Row, error)
	close func() error
	done  error
}

// NewReader looks at the first bytes and reads either format. It reads ahead.
func NewReader(r io.Reader, l Limits) (*Reader, error) {
	l = l.orDefault()
	br := bufio.NewReaderSize(r, window)
	head, err := br.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return newXLSX(br, l)
	case bytes.HasPrefix(head, []byte{0xd0, 0xcf, 0x11, 0xe0}):
		return nil, errors.New("this is an old .xls or a password-protected workbook: save it as .xlsx or .csv without a password")
	}
	c, err := newCSV(br, l)
	if err != nil {
		return nil, err
	}
	return &Reader{Format: "csv", next: c.read, close: func() error { return nil }}, nil
}

// Read returns the next row that is not blank, io.EOF after the last. After a
// *RowError reading may go on; every other error is final. The row is the caller's to keep.
func (r *Reader) Read() (Row, error) {
	if r.done != nil {
		return Row{}, r.done
	}
	row, err := r.next()
	var bad *RowError
	if err != nil && !errors.As(err, &bad) {
		r.done = err
	}
	return row, err
}

// All yields every row with its *RowError or nil; a final error other than io.EOF is yielded last.
func (r *Reader) All() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for {
			row, err := r.Read()
			if err == io.EOF || !yield(row, err) || r.done != nil {
				return
			}
		}
	}
}

// Close releases temporary files.
func (r *Reader) Close() error {
	if r.done == nil {
		r.done = errors.New("the table is closed")
	}
	return r.close()
}
