package keyue

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// maxUnpack bounds the text part of a Word document unpacked.
const maxUnpack = 20 << 20

// readDocx is the running text of a Word document (ECMA-376, WordprocessingML): a line per paragraph, headings as in
// Markdown, the cells of a table row in one line. Headers, footers, notes, comments and what was deleted in revisions
// are left out. Its part is read as far as most bytes.
func readDocx(data []byte, most int64) (string, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	f, err := z.Open("word/document.xml")
	if err != nil {
		return "", errors.New("it has no word/document.xml")
	}
	defer f.Close()
	var w docxText
	limited := &io.LimitedReader{R: f, N: most + 1}
	d := xml.NewDecoder(limited)
	for {
		token, err := d.Token()
		if limited.N <= 0 {
			return "", errors.New("its text is too long")
		}
		if err == io.EOF {
			return w.out.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch x := token.(type) {
		case xml.StartElement:
			w.start(x)
		case xml.EndElement:
			w.end(x.Name.Local)
		case xml.CharData:
			if w.text {
				w.line.Write(x)
			}
		}
	}
}

// docxText gathers the text of one document.
type docxText struct {
	out     strings.Builder
	line    strings.Builder
	heading int // of the present paragraph, 0: none
	rows    int // table rows that are open: their paragraphs are cells
	text    bool
}

func (w *docxText) start(x xml.StartElement) {
	switch x.Name.Local {
	case "t":
		w.text = true
	case "tab":
		w.line.WriteByte(' ')
	case "br", "cr":
		w.line.WriteByte('\n')
	case "tr":
		w.rows++
	case "outlineLvl", "pStyle":
		for _, a := range x.Attr {
			if a.Name.Local == "val" {
				w.heading = max(w.heading, headingLevel(x.Name.Local, a.Value))
			}
		}
	}
}

// headingLevel reads a paragraph's outline level (0 to 8 are headings) or the id of its style, which Word calls
// Heading1, in Chinese documents often only 1.
func headingLevel(element, value string) int {
	digits := strings.TrimPrefix(strings.ToLower(value), "heading")
	if len(digits) != 1 || digits[0] < '0' || digits[0] > '9' {
		return 0
	}
	level := int(digits[0] - '0')
	if element == "outlineLvl" {
		level++
	}
	if level > 9 {
		return 0
	}
	return level
}

func (w *docxText) end(name string) {
	switch name {
	case "t":
		w.text = false
	case "p":
		text := strings.TrimSpace(w.line.String())
		switch {
		case w.rows > 0:
			w.out.WriteString(strings.ReplaceAll(text, "\n", " ") + " ")
		case w.heading > 0 && text != "":
			w.out.WriteString("\n" + strings.Repeat("#", w.heading) + " " + strings.ReplaceAll(text, "\n", " ") + "\n")
		default:
			w.out.WriteString(text + "\n")
		}
		w.line.Reset()
		w.heading = 0
	case "tr":
		if w.rows--; w.rows == 0 {
			w.out.WriteByte('\n')
		}
	}
}
