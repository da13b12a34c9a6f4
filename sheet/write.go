package sheet

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
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
