package sheet

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Excel's own limits.
const (
	maxSheetRows = 1 << 20
	// MaxCell is how many characters a cell of a workbook takes.
	MaxCell = 32767
)

// NewXLSXWriter writes a workbook of text cells. Its first row is the heading and is repeated on the
// further worksheets that begin when one is full. Rows leave as they come: worksheets are written first, and what names them at
// the end of the archive, so that neither memory nor a temporary file holds what is personal data most of the time.
func NewXLSXWriter(w io.Writer) (Writer, error) {
	z := zip.NewWriter(w)
	// Half the time of the default for a tenth more bytes: a download should not occupy a core that calls need.
	z.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { return flate.NewWriter(out, flate.BestSpeed) })
	x := &xlsxWriter{z: z, limit: maxSheetRows}
	return x, x.begin()
}

type xlsxWriter struct {
	z      *zip.Writer
	s      *bufio.Writer // the worksheet's part
	limit  int           // rows of a worksheet
	row    int           // rows written on this worksheet
	sheets int
	head   []string

	columns []string // their names
}

// begin begins a worksheet.
func (x *xlsxWriter) begin() error {
	x.sheets++
	x.row = 0
	part, err := x.z.Create(fmt.Sprintf("xl/worksheets/sheet%d.xml", x.sheets))
	if err != nil {
		return fmt.Errorf("begin worksheet %d: %w", x.sheets, err)
	}
	x.s = bufio.NewWriter(part)
	_, err = x.s.WriteString(xml.Header + `<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>`)
	return err
}

// end ends a worksheet.
func (x *xlsxWriter) end() error {
	x.s.WriteString(`</sheetData></worksheet>`) // a bufio.Writer keeps its first error
	if err := x.s.Flush(); err != nil {
		return fmt.Errorf("finish worksheet %d: %w", x.sheets, err)
	}
	return nil
}

func (x *xlsxWriter) Write(cells []string) error {
	for _, cell := range cells {
		if utf8.RuneCountInString(cell) > MaxCell {
			return fmt.Errorf("row %d: a cell has more than the %d characters that a workbook allows", x.row+1, MaxCell)
		}
	}
	if x.row == x.limit {
		if err := x.end(); err != nil {
			return err
		}
		if err := x.begin(); err != nil {
			return err
		}
		if err := x.put(x.head); err != nil {
			return err
		}
	}
	if x.head == nil {
		x.head = append([]string{}, cells...)
	}
	return x.put(cells)
}

// escaped is what a workbook would take for one of its own escapes of a character (ECMA-376 part 1, 22.4.2.4).
var escaped = regexp.MustCompile(`_x[0-9A-Fa-f]{4}_`)

func (x *xlsxWriter) put(cells []string) error {
	x.row++
	row := strconv.Itoa(x.row)
	x.s.WriteString(`<row r="` + row + `">`)
	for len(x.columns) < len(cells) {
		x.columns = append(x.columns, columnName(len(x.columns)))
	}
	for i, cell := range cells {
		if cell == "" {
			continue
		}
		if strings.Contains(cell, "_x") {
			cell = escaped.ReplaceAllString(cell, "_x005F$0")
		}
		x.s.WriteString(`<c r="`)
		x.s.WriteString(x.columns[i])
		x.s.WriteString(row)
		x.s.WriteString(`" t="inlineStr"><is><t xml:space="preserve">`)
		xml.EscapeText(x.s, []byte(cell)) // what XML cannot hold becomes U+FFFD
		x.s.WriteString(`</t></is></c>`)
	}
	_, err := x.s.WriteString(`</row>`)
	return err
}

// columnName is the letters of a column, counted from 0: A, B, ... Z, AA.
func columnName(i int) string {
	name := ""
	for i++; i > 0; i = (i - 1) / 26 {
		name = string(rune('A'+(i-1)%26)) + name
	}
	return name
}

// Close writes what names the worksheets and ends the archive.
func (x *xlsxWriter) Close() error {
	if err := x.end(); err != nil {
		return err
	}
	const (
		types     = "http://schemas.openxmlformats.org/package/2006/content-types"
		relations = "http://schemas.openxmlformats.org/package/2006/relationships"
		office    = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
		media     = "application/vnd.openxmlformats-officedocument.spreadsheetml."
	)
	var book, rels, parts strings.Builder
	for n := 1; n <= x.sheets; n++ {
		fmt.Fprintf(&book, `<sheet name="Sheet%d" sheetId="%d" r:id="rId%d"/>`, n, n, n)
		fmt.Fprintf(&rels, `<Relationship Id="rId%d" Type="%s/worksheet" Target="worksheets/sheet%d.xml"/>`, n, office, n)
		fmt.Fprintf(&parts, `<Override PartName="/xl/worksheets/sheet%d.xml" ContentType="%sworksheet+xml"/>`, n, media)
	}
	for _, f := range [][2]string{
		{"xl/workbook.xml", `<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="` + office + `"><sheets>` + book.String() + `</sheets></workbook>`},
		{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + relations + `">` + rels.String() + `</Relationships>`},
		{"_rels/.rels", `<Relationships xmlns="` + relations + `"><Relationship Id="rId1" Type="` + office + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		{"[Content_Types].xml", `<Types xmlns="` + types + `"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Override PartName="/xl/workbook.xml" ContentType="` + media + `sheet.main+xml"/>` + parts.String() + `</Types>`},
	} {
		part, err := x.z.Create(f[0])
		if err == nil {
			_, err = io.WriteString(part, xml.Header+f[1])
		}
		if err != nil {
			return fmt.Errorf("finish the workbook: %w", err)
		}
	}
	return x.z.Close()
}
