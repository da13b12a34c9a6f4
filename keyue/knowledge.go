package keyue

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"waihu"
	"waihu/sheet"
)

// Bounds of what a document may add to an agent. The whole agent is one document of the ledger and is checked and
// compiled as one.
const (
	maxQuestion  = 500  // letters
	maxAnswer    = 2000 // letters
	maxEntries   = 5000 // of an agent
	maxKnowledge = 2 << 20
)

// format is how a document is read.
type format int

const (
	formatText format = iota
	formatTable
	formatDocx
)

const readable = "请上传 txt、md、docx、csv 或 xlsx 文件"

// formatOf says how a document is to be read, by its name and its first bytes, or why it cannot be.
func formatOf(name string, data []byte) (format, error) {
	zip := bytes.HasPrefix(data, []byte("PK\x03\x04"))
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".txt", ".md", ".markdown":
		if zip || bytes.HasPrefix(data, []byte("%PDF")) {
			return 0, refused(importError, "文件 %s 不是文本文件,%s", name, readable)
		}
		return formatText, nil
	case ".csv":
		return formatTable, nil
	case ".xlsx":
		if !zip {
			return 0, refused(importError, "文件 %s 不是有效的 xlsx 文件,请另存为 .xlsx 或 .csv", name)
		}
		return formatTable, nil
	case ".docx":
		if !zip {
			return 0, refused(importError, "文件 %s 不是有效的 docx 文件,请另存为 .docx 或 .txt", name)
		}
		return formatDocx, nil
	case "":
		return 0, refused(importError, "文件 %s 没有扩展名,%s", name, readable)
	default:
		return 0, refused(importError, "不支持 %s 格式的文件,%s", ext, readable)
	}
}

// splitting is how a text becomes pieces: the vendor's taskExtend.
type splitting struct {
	by      string // "" by paragraphs, punc at the ends of sentences, wrap at line breaks
	size    int    // letters of a piece
	overlap int    // percent of a piece that the next repeats
}

func parseExtend(text string) (o splitting, err error) {
	o = splitting{size: 500}
	object, err := decodeObject([]byte(text))
	if err != nil {
		return o, wrong(paramFormat, "taskExtend", "应为 JSON 对象的文本")
	}
	f := &form{values: object}
	if o.by, err = f.text("split_by"); err != nil {
		return o, err
	}
	if !slices.Contains([]string{"", "punc", "wrap"}, o.by) {
		return o, wrong(paramCheck, "split_by", "应为 punc 或 wrap")
	}
	if o.size, err = f.number("chunk_size", o.size, 200, 800); err != nil {
		return o, err
	}
	o.overlap, err = f.number("overlap_proportion", 0, 0, 20)
	return o, err
}

// entry is one question with its answer, or one piece of a text, and the line at which it begins.
type entry struct {
	line int
	waihu.KnowledgeSpec
}

// flaw is a line that was not taken.
type flaw struct {
	line int
	why  string
}

// readDocument reads a whole document. Lines that cannot be taken are flaws; an error is about the document.
func readDocument(name string, data []byte, o splitting) (list []entry, bad []flaw, err error) {
	f, err := formatOf(name, data)
	if err != nil {
		return nil, nil, err
	}
	switch f {
	case formatText:
		list, err = readText(name, data, o)
	case formatDocx:
		list, err = readWord(name, data, o)
	default:
		list, bad, err = readTable(name, data)
	}
	if err == nil && len(list)+len(bad) == 0 {
		err = refused(importError, "文件 %s 中没有内容", name)
	}
	return list, bad, err
}

// The headings under which tables have their questions, further wordings of them, and answers.
var (
	questionHeads = []string{"问题", "标准问题", "标准问", "问", "question", "q"}
	similarHeads  = []string{"相似问题", "相似问", "similar", "similar questions"}
	answerHeads   = []string{"答案", "回答", "答", "answer", "a"}
)

// readTable reads questions and answers: by the headings of the first row, or, where it has none of them, from the
// first two columns.
func readTable(name string, data []byte) (list []entry, bad []flaw, err error) {
	unreadable := func(err error) error { return refused(importError, "文件 %s 无法读取：%v", name, err) }
	r, err := sheet.NewReader(bytes.NewReader(data), sheet.Limits{File: maxUpload, Unpack: 10 * maxUpload, Cells: 200})
	if err != nil {
		return nil, nil, unreadable(err)
	}
	defer r.Close()
	question, answer, similar := 0, 1, []int(nil)
	first := true
	for row, err := range r.All() {
		var broken *sheet.RowError
		if errors.As(err, &broken) {
			bad = append(bad, flaw{broken.Line, "这一行无法读取：" + broken.Err.Error()})
			continue
		}
		if err != nil {
			return nil, nil, unreadable(err)
		}
		if len(list)+len(bad) > maxEntries {
			return nil, nil, refused(importError, "文件 %s 超过 %d 行", name, maxEntries)
		}
		if first {
			first = false
			q, a := column(row.Cells, questionHeads), column(row.Cells, answerHeads)
			if q >= 0 && a >= 0 {
				question, answer = q, a
				for i, cell := range row.Cells {
					if column([]string{cell}, similarHeads) == 0 {
						similar = append(similar, i)
					}
				}
				continue
			}
		}
		k := waihu.KnowledgeSpec{A: tidyText(row.Cell(answer))}
		for _, i := range append([]int{question}, similar...) {
			for line := range strings.Lines(tidyText(row.Cell(i))) {
				if q := strings.TrimSpace(line); q != "" && !slices.Contains(k.Q, q) {
					k.Q = append(k.Q, q)
				}
			}
		}
		if why := flawOf(k); why != "" {
			bad = append(bad, flaw{row.Line, why})
			continue
		}
		list = append(list, entry{row.Line, k})
	}
	return list, bad, nil
}

// column is the first cell that is one of the names, -1 for none.
func column(cells, names []string) int {
	return slices.IndexFunc(cells, func(cell string) bool {
		return slices.Contains(names, strings.ToLower(strings.TrimSpace(cell)))
	})
}

func flawOf(k waihu.KnowledgeSpec) string {
	switch {
	case len(k.Q) == 0:
		return "缺少问题"
	case k.A == "":
		return "缺少答案"
	case utf8.RuneCountInString(k.A) > maxAnswer:
		return "答案过长"
	case slices.ContainsFunc(k.Q, func(q string) bool { return utf8.RuneCountInString(q) > maxQuestion }):
		return "问题过长"
	}
	return ""
}

// tidyText takes out what is no text and the blanks around.
func tidyText(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
	return strings.TrimSpace(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text))
}

func readText(name string, data []byte, o splitting) ([]entry, error) {
	raw, err := io.ReadAll(sheet.Text(bytes.NewReader(data)))
	if err != nil {
		return nil, refused(importError, "文件 %s 的文字编码无法识别,请存为 UTF-8", name)
	}
	if !utf8.Valid(raw) || bytes.ContainsRune(raw, 0) || bytes.ContainsRune(raw, utf8.RuneError) {
		return nil, refused(importError, "文件 %s 不是文本文件,%s", name, readable)
	}
	return pieces(name, string(raw), o)
}

func readWord(name string, data []byte, o splitting) ([]entry, error) {
	text, err := readDocx(data, maxUnpack)
	if err != nil {
		return nil, refused(importError, "文件 %s 无法读取：%v", name, err)
	}
	return pieces(name, tidyText(text), o)
}

func pieces(name, text string, o splitting) ([]entry, error) {
	list := splitText(text, o)
	if len(list) > maxEntries {
		return nil, refused(importError, "文件 %s 分为 %d 段,最多 %d 段", name, len(list), maxEntries)
	}
	return list, nil
}
