package sheet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

var (
	errQuote    = errors.New("the quote that begins a cell is never closed, or the cell is too long")
	errAfter    = errors.New(`text after a closing quote: a quote inside a quoted cell is written ""`)
	errCell     = errors.New("a cell is too long")
	errRow      = errors.New("the row is too long")
	errCells    = errors.New("the row has too many cells")
	errEncoding = errors.New("the row holds bytes that are neither UTF-8 nor GB18030")
)

// csvReader parses RFC 4180 with what the world adds to it: other delimiters, lone CR or LF as
// line end, quotes inside unquoted cells, a first line "sep=;", blank lines (skipped).
type csvReader struct {
	br    *bufio.Reader
	l     Limits
	delim byte
	line  int // line of the byte to come, 1-based
	cell  []byte
	size  int // bytes of the row so far
}

func newCSV(br *bufio.Reader, l Limits) (*csvReader, error) {
	c := &csvReader{br: bufio.NewReaderSize(decoded(br), window), l: l, line: 1}
	head, err := c.br.Peek(window)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	if bytes.IndexByte(head[:min(len(head), 512)], 0) >= 0 {
		return nil, errors.New("this is neither CSV text nor an XLSX workbook")
	}
	if len(head) >= 5 && strings.EqualFold(string(head[:4]), "sep=") && (len(head) == 5 || head[5] == '\r' || head[5] == '\n') {
		c.delim = head[4]
		if _, err := c.skipLine(); err != nil && err != io.EOF {
			return nil, fmt.Errorf("read the table: %w", err)
		}
		return c, nil
	}
	c.delim = delimiter(head)
	return c, nil
}

// delimiter is the one that the first line with any of them has most of outside quotes; comma when in doubt.
func delimiter(head []byte) byte {
	const all = ",;\t|"
	var n [256]int
	quoted := false
	for _, b := range head {
		switch {
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '\n' || b == '\r':
			if n[',']+n[';']+n['\t']+n['|'] > 0 {
				return most(all, &n)
			}
		case strings.IndexByte(all, b) >= 0:
			n[b]++
		}
	}
	return most(all, &n)
}

func most(all string, n *[256]int) byte {
	best := all[0]
	for i := range len(all) {
		if n[all[i]] > n[best] {
			best = all[i]
		}
	}
	return best
}

// read returns the next row that is not blank.
func (c *csvReader) read() (Row, error) {
	for {
		row, err := c.row()
		if err != nil {
			return Row{}, err
		}
		if len(row.Cells) > 1 || strings.TrimSpace(row.Cells[0]) != "" {
			return row, nil
		}
	}
}

// byte returns the next byte and whether it ends a line; CRLF is one end.
func (c *csvReader) next() (b byte, end bool, err error) {
	b, err = c.br.ReadByte()
	if err != nil {
		return 0, false, err
	}
	if b == '\r' {
		if nl, _ := c.br.Peek(1); len(nl) == 1 && nl[0] == '\n' {
			c.br.ReadByte() // peeked: it cannot fail
		}
		b = '\n'
	}
	if b == '\n' {
		c.line++
		return b, true, nil
	}
	return b, false, nil
}

func (c *csvReader) skipLine() (bool, error) {
	for {
		_, end, err := c.next()
		if err != nil || end {
			return end, err
		}
	}
}

// fail drops the rest of the line. The error of the source, if any, comes with the next read.
func (c *csvReader) fail(line int, atEnd bool, err error) (Row, error) {
	if !atEnd {
		if _, e := c.skipLine(); e != nil && e != io.EOF {
			return Row{}, e
		}
	}
	return Row{}, &RowError{Line: line, Err: err}
}

func (c *csvReader) row() (Row, error) {
	row := Row{Line: c.line}
	c.size = 0
	for first := true; ; first = false {
		cell, last, err := c.field()
		switch {
		case err == io.EOF && first && cell == "": // nothing at all after the last line's end
			return Row{}, io.EOF
		case err == io.EOF:
			last = true
		case errors.Is(err, errQuote) || errors.Is(err, errAfter) || errors.Is(err, errCell) || errors.Is(err, errRow):
			return c.fail(row.Line, last, err)
		case err != nil:
			return Row{}, err
		}
		if len(row.Cells) == c.l.Cells {
			return c.fail(row.Line, last, errCells)
		}
		row.Cells = append(row.Cells, cell)
		if last {
			break
		}
	}
	for _, cell := range row.Cells {
		// U+FFFD is what the decoders put in place of bytes they cannot read
		if !utf8.ValidString(cell) || strings.ContainsRune(cell, utf8.RuneError) {
			return Row{}, &RowError{Line: row.Line, Err: errEncoding}
		}
	}
	for i, cell := range row.Cells {
		row.Cells[i] = unguard(cell)
	}
	return row, nil
}

// field reads one cell and says whether the line ended with it. io.EOF comes with the last cell.
func (c *csvReader) field() (cell string, last bool, err error) {
	c.cell = c.cell[:0]
	b, end, err := c.next()
	if err != nil {
		return "", false, err
	}
	if b == '"' {
		return c.quoted()
	}
	for {
		switch {
		case end:
			return string(c.cell), true, nil
		case b == c.delim:
			return string(c.cell), false, nil
		}
		if err := c.keep(b); err != nil {
			return "", false, err
		}
		if b, end, err = c.next(); err != nil {
			return string(c.cell), false, err
		}
	}
}

func (c *csvReader) quoted() (string, bool, error) {
	for {
		b, end, err := c.next()
		if err == io.EOF {
			return "", true, errQuote
		}
		if err != nil {
			return "", false, err
		}
		if b != '"' {
			if err := c.keep(b); err != nil {
				return "", end, errQuote
			}
			continue
		}
		b, end, err = c.next()
		switch {
		case err != nil:
			return string(c.cell), false, err
		case b == '"':
			if err := c.keep(b); err != nil {
				return "", false, errQuote
			}
		case end:
			return string(c.cell), true, nil
		case b == c.delim:
			return string(c.cell), false, nil
		default:
			return "", false, errAfter
		}
	}
}

func (c *csvReader) keep(b byte) error {
	if len(c.cell) >= c.l.Cell {
		return errCell
	}
	if c.size++; c.size > c.l.Row {
		return errRow
	}
	c.cell = append(c.cell, b)
	return nil
}
