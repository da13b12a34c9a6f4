package keyue

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"waihu/sheet"
)

const importPath = v2 + "/task/create/llm_document_import?dirId=7"

// send uploads a file; the content type is the form's own unless given.
func (w *world) upload(as headers, name string, file []byte, extend, contentType string, more ...string) reply {
	w.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	part, err := m.CreateFormFile("file", name)
	w.must(err)
	_, err = part.Write(file)
	w.must(err)
	if extend != "" {
		w.must(m.WriteField("taskExtend", extend))
	}
	w.must(m.Close())
	if contentType == "" {
		contentType = m.FormDataContentType()
	}
	return w.do(as, "POST", importPath, &b, append(more, "Content-Type", strings.ReplaceAll(contentType, "BOUNDARY", m.Boundary()))...)
}

func xlsx(t *testing.T, rows ...[]string) []byte {
	t.Helper()
	var b bytes.Buffer
	x, err := sheet.NewXLSXWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := x.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// docx is an archive with one part.
func docx(t testing.TB, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const wordText = `<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>
<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>退货</w:t></w:r></w:p>
<w:p><w:r><w:t xml:space="preserve">七天内</w:t></w:r><w:r><w:t>可退&amp;换。</w:t></w:r><w:del><w:r><w:delText>不退</w:delText></w:r></w:del></w:p>
<w:p><w:pPr><w:outlineLvl w:val="0"/></w:pPr><w:r><w:t>发货</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>城市</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>天数</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
<w:p><w:r><w:t>当天</w:t><w:tab/><w:t>发货</w:t><w:br/><w:t>。</w:t></w:r></w:p></w:body></w:document>`

func TestReadDocx(t *testing.T) {
	t.Parallel()
	text, err := readDocx(docx(t, "word/document.xml", wordText), maxUnpack)
	if want := "\n# 退货\n七天内可退&换。\n\n# 发货\n城市 天数 \n当天 发货\n。\n"; err != nil || text != want {
		t.Errorf("%q, want %q: %v", text, want, err)
	}
	if _, err := readDocx(docx(t, "word/document.xml", "<a>"+strings.Repeat(" ", 1000)+"</a>"), 1000); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a bomb: %v", err)
	}
}

// TestDocuments: each format that can be read becomes knowledge, with a report; the file and the report can be fetched.
func TestDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gbk, err := simplifiedchinese.GBK.NewEncoder().Bytes([]byte("问题,答案\n营业时间,九点到六点\n"))
	w.must(err)
	gbkText, err := simplifiedchinese.GBK.NewEncoder().Bytes([]byte("国标编码的文字"))
	w.must(err)
	known := 0
	for i, c := range []struct {
		name              string
		file              []byte
		extend            string
		contentType       string
		success, dup, bad int
		question          string // of the last entry
	}{
		{"faq.csv", []byte("编号,答案,标准问,相似问\n1,包邮,运费多少,要运费吗\n2,,缺答案,\n3,七天,退货期限,\n"), "", "", 2, 0, 1, "退货期限"},
		{"again.csv", []byte("运费多少\n要运费吗"), "", "", 0, 0, 2, ""}, // no answers at all
		{"两列.CSV", gbk, "{}", "", 1, 0, 0, "营业时间"},
		{"faq.xlsx", xlsx(t, []string{"question", "answer"}, []string{"How long?", "Two days"}, []string{"x", "{{open"}), "", "", 1, 0, 1, "How long?"},
		{"faq.csv", []byte("退货期限,七天\n"), "", "", 0, 1, 0, "How long?"},
		{"手册.md", []byte("# 售后\n\n七天内可退。\n\n# 发货\n当天发货。\n"), `{"split_by":"wrap","chunk_size":200,"overlap_proportion":0,"pre_handle_text":true}`, "", 2, 0, 0, "发货"},
		{"plain.txt", []byte("第一段。\n第二段。"), "", "application/json", 1, 0, 0, "第一段。"},
		{"制度.docx", docx(t, "word/document.xml", wordText), `{"split_by":"wrap"}`, "", 2, 0, 0, "发货"},
		{"gbk.txt", gbkText, "", "", 1, 0, 0, "国标编码的文字"},
		{"utf16.txt", []byte("\xff\xfe\x00\x4e\x8c\x4e"), "", "", 1, 0, 0, "一二"},
		{"typed.txt", []byte("另一段"), "", "application/json; boundary=BOUNDARY", 1, 0, 0, "另一段"},
	} {
		begun := w.upload(page, c.name, c.file, c.extend, c.contentType, "Agentid", "123")
		if begun.text("taskUrl") != printedTaskURL || begun.text("filePath") == "" || begun.at("fileUrl") != nil || begun.at("reportFilePath") != nil {
			t.Errorf("%d: begun with %s", i, begun.raw)
		}
		done := w.finish(begun)
		if c.success+c.dup == 0 {
			why, _ := done["errorMsg"].(string)
			if done["taskStatus"] != json.Number("3") || !strings.Contains(why, "没有一条") {
				t.Errorf("%d: %v", i, done)
			}
		} else {
			want := fmt.Sprintf(`{"total":%d,"success":%d,"duplicate":%d,"failed":%d}`, c.success+c.dup+c.bad, c.success, c.dup, c.bad)
			if done["taskStatus"] != json.Number("2") || done["taskResult"] != want {
				t.Errorf("%d: %v, want %s", i, done, want)
			}
			known += c.success
		}
		a, err := w.Agent(t.Context(), mainAccount, "123")
		w.must(err)
		if len(a.Knowledge) != known || c.question != "" && a.Knowledge[known-1].Q[0] != c.question {
			t.Errorf("%d: the agent knows %+v, want %d", i, a.Knowledge, known)
		}
		key, _ := done["filePath"].(string)
		if r := w.do(page, "POST", v2+"/llm/document/download", map[string]any{"fileKey": key}); r.raw != string(c.file) || r.status != 200 {
			t.Errorf("%d: %s gives %d %.100q", i, key, r.status, r.raw)
		}
		for _, as := range []headers{other, sub} { // a sub-account sees its main account's agents, not what was sent to them
			w.bad(w.do(as, "POST", v2+"/llm/document/download?fileKey="+url.QueryEscape(key), nil), notExist)
		}
		report, _ := done["reportFilePath"].(string)
		link, _ := done["reportFileUrl"].(string)
		byKey := w.do(page, "POST", v2+"/llm/document/download?fileKey="+report, nil)
		byLink := w.do(headers{}, "GET", strings.TrimPrefix(link, "http://example.com"), nil)
		if byKey.raw != byLink.raw || strings.Count(byKey.raw, "\n") != 1+c.success+c.dup+c.bad || strings.Count(byKey.raw, "未导入") != c.bad {
			t.Errorf("%d: report %q and by link %d %q", i, byKey.raw, byLink.status, byLink.raw)
		}
	}
	a, err := w.Agent(t.Context(), mainAccount, "123")
	w.must(err)
	if a.Version == 1 || a.State != 2 || len(a.Knowledge[0].Q) != 2 {
		t.Errorf("%+v", a)
	}
	w.bad(w.do(headers{}, "GET", v2+"/task/file?key=x", nil), notExist)
	w.bad(w.do(page, "POST", v2+"/llm/document/download", map[string]any{"fileKey": "file/999/x"}), notExist)
	w.bad(w.do(page, "POST", v2+"/llm/document/download", nil), paramCheck, "fileKey")
}

// TestRefusedDocuments: what cannot be read is said so at once, and begins nothing.
func TestRefusedDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name, file, extend string
		code               int
		parts              string
	}{
		{"a.pdf", "%PDF-1.7", "", importError, "txt、md、docx、csv 或 xlsx"},
		{"a.docx", "text", "", importError, "docx"},
		{"a.doc", "\xd0\xcf\x11\xe0", "", importError, "不支持 .doc"},
		{"a", "text", "", importError, "扩展名"},
		{"a.xlsx", "text", "", importError, "xlsx"},
		{"a.txt", "PK\x03\x04", "", importError, "不是文本"},
		{"a.txt", "", "", importError, "空"},
		{"a.txt", "x", `{"chunk_size":100}`, paramCheck, "chunk_size"},
		{"a.txt", "x", `{"overlap_proportion":"many"}`, paramFormat, "overlap_proportion"},
		{"a.txt", "x", `{"split_by":"page"}`, paramCheck, "split_by"},
		{"a.txt", "x", `[]`, paramFormat, "taskExtend"},
		{"a.txt", strings.Repeat("x", maxUpload), "", importError, "MB"},
	} {
		w.bad(w.upload(page, c.name, []byte(c.file), c.extend, "", "Agentid", "123"), c.code, c.parts)
	}
	w.bad(w.do(page, "POST", importPath, `{"file":"x"}`, "Agentid", "123"), paramFormat, "multipart")
	w.bad(w.do(page, "POST", importPath, "--b\r\nContent-Disposition: form-data; name=\"taskExtend\"\r\n\r\n{}\r\n--b--\r\n", "Agentid", "123"), paramCheck, "file")
	w.bad(w.do(page, "POST", importPath, "--b\r\nbroken", "Agentid", "123"), paramFormat)
	w.bad(w.upload(sub, "a.txt", []byte("x"), "", "", "Agentid", "123"), denied)
	if r := w.ok("GET", v2+"/task/openList?queryLevel=2", nil); r.at("total") != json.Number("0") {
		t.Errorf("begun: %s", r.raw)
	}
	// What only the work finds out.
	for name, file := range map[string]string{"a.xlsx": "PK\x03\x04 no zip", "a.docx": "PK\x03\x04 no zip", "b.docx": string(docx(t, "word/other.xml", "")), "c.docx": string(docx(t, "word/document.xml", "<a>")), "a.txt": "\x00\x01\x02", "b.csv": "\n\n", "c.txt": " \n"} {
		done := w.finish(w.upload(page, name, []byte(file), "", "", "Agentid", "123"))
		why, _ := done["errorMsg"].(string)
		if done["taskStatus"] != json.Number("3") || !strings.Contains(why, name) {
			t.Errorf("%s: %v", name, done)
		}
	}
	many := strings.Repeat("q", 1) + ",a\n"
	var rows strings.Builder
	for i := range maxEntries + 1 {
		fmt.Fprintf(&rows, "%d%s", i, many)
	}
	done := w.finish(w.upload(page, "many.csv", []byte(rows.String()), "", "", "Agentid", "123"))
	if why, _ := done["errorMsg"].(string); !strings.Contains(why, "5000") {
		t.Errorf("too many rows: %v", done)
	}
}

func TestSplitText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("一二三四五六七八九。", 50) // 500 letters
	for name, c := range map[string]struct {
		text  string
		o     splitting
		sizes []int
	}{
		"one piece":  {"短。", splitting{size: 200}, []int{2}},
		"sentences":  {long, splitting{by: "punc", size: 200}, []int{200, 200, 100}},
		"overlap":    {long, splitting{by: "punc", size: 200, overlap: 20}, []int{200, 200, 180}},
		"hard cut":   {strings.Repeat("长", 450), splitting{by: "punc", size: 200}, []int{200, 200, 50}},
		"lines":      {"甲\n乙\n\n丙", splitting{by: "wrap", size: 200}, []int{5}},
		"paragraphs": {strings.Repeat("段", 120) + "\n\n" + strings.Repeat("落", 30), splitting{size: 200}, []int{120, 30}},
		"headings":   {"# 一\n甲\n## 二\n乙\n#三 no heading", splitting{size: 200}, []int{1, 15}},
		"blank":      {" \n\n#\n# \n", splitting{size: 200}, nil},
	} {
		var sizes []int
		for _, e := range splitText(c.text, c.o) {
			sizes = append(sizes, utf8.RuneCountInString(e.A))
		}
		if fmt.Sprint(sizes) != fmt.Sprint(c.sizes) {
			t.Errorf("%s: %v, want %v: %+v", name, sizes, c.sizes, splitText(c.text, c.o))
		}
	}
}

// FuzzDocument: no document brings the reader down, and what it yields keeps the bounds.
func FuzzDocument(f *testing.F) {
	f.Add("a.txt", []byte("# h\n一。二"), "punc", 200, 20)
	f.Add("a.csv", []byte("问题,答案\nq,a\n"), "", 500, 0)
	f.Add("a.docx", docx(f, "word/document.xml", wordText), "", 500, 0)
	f.Add("a.md", []byte("\xef\xbb\xbf#\xff"), "wrap", 800, 5)
	f.Fuzz(func(t *testing.T, name string, data []byte, by string, size, overlap int) {
		if size < 200 || size > 800 || overlap < 0 || overlap > 20 {
			return
		}
		list, _, err := readDocument(name, data, splitting{by, size, overlap})
		if err != nil {
			return
		}
		for _, e := range list {
			if len(e.Q) == 0 || e.A == "" || !utf8.ValidString(e.A) || utf8.RuneCountInString(e.A) > maxAnswer || e.line < 1 || strings.ContainsRune(e.A, 0) {
				t.Errorf("%+v", e)
			}
		}
	})
}

// FuzzDocx: no part of a Word document brings the reader down.
func FuzzDocx(f *testing.F) {
	f.Add(wordText)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := readWord("a.docx", docx(t, "word/document.xml", text), splitting{size: 200})
		for _, e := range list {
			if err != nil || e.A == "" || !utf8.ValidString(e.A) || strings.ContainsRune(e.A, 0) {
				t.Errorf("%+v %v", e, err)
			}
		}
	})
}

// FuzzUpload: no body of parts brings the reader down.
func FuzzUpload(f *testing.F) {
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../a.txt\"\r\n\r\nx\r\n--b--\r\n"))
	f.Add("application/json", []byte("--b\r\n\r\n--b--"))
	f.Fuzz(func(t *testing.T, contentType string, raw []byte) {
		up, err := splitParts(contentType, raw)
		if err == nil && (up.name == "" || strings.ContainsAny(up.name, "/\\\n") || !utf8.ValidString(up.name) || len(up.file) == 0) {
			t.Errorf("%q, %d bytes", up.name, len(up.file))
		}
		if _, err := parseExtend(string(raw)); err == nil {
			return
		}
		parseFileKey(string(raw))
	})
}

// FuzzForm: no query or body brings the reader down, and what it yields is text that every database takes.
func FuzzForm(f *testing.F) {
	f.Add("a=1&b=%41", []byte(`{"agentId":"x","n":1e3}`))
	f.Add("", []byte("agentId=x"))
	f.Add("%", []byte("[1]"))
	f.Fuzz(func(t *testing.T, query string, body []byte) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.URL.RawQuery = query
		form, err := readForm(r)
		if err != nil {
			return
		}
		for name := range form.values {
			if text, err := form.text(name); err == nil && (!utf8.ValidString(text) || strings.ContainsRune(text, 0)) {
				t.Errorf("%q", text)
			}
			form.number(name, 0, 0, 10)
		}
	})
}
