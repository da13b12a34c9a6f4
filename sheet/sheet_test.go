package sheet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
)

// all reads everything: rows as "line: a|b", bad rows as "line! reason".
func all(t *testing.T, r io.Reader, l Limits) []string {
	t.Helper()
	sr, err := NewReader(r, l)
	if err != nil {
		t.Fatal(err)
	}
	defer sr.Close()
	var out []string
	for row, err := range sr.All() {
		var bad *RowError
		switch {
		case errors.As(err, &bad):
			out = append(out, fmt.Sprintf("%d! %v", bad.Line, bad.Err))
		case err != nil:
			t.Fatal(err)
		default:
			out = append(out, fmt.Sprintf("%d: %s", row.Line, strings.Join(row.Cells, "|")))
		}
	}
	return out
}

func encode(t *testing.T, s string, f func(string) (string, error)) string {
	t.Helper()
	out, err := f(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCSV(t *testing.T) {
	t.Parallel()
	gbk := simplifiedchinese.GBK.NewEncoder().String
	gb18030 := simplifiedchinese.GB18030.NewEncoder().String
	utf16 := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String
	longASCII := strings.Repeat("13800138000,x\n", 2*window/14)
	lines := strings.Count(longASCII, "\n")
	for _, c := range []struct {
		name, in string
		l        Limits
		want     []string
	}{
		{"plain", "phone,name\n138,王\n", Limits{}, []string{"1: phone|name", "2: 138|王"}},
		{"no end of line", "a,b\nc,d", Limits{}, []string{"1: a|b", "2: c|d"}},
		{"empty last cell", "a,\nb,", Limits{}, []string{"1: a|", "2: b|"}},
		{"mark", "\ufeffphone,姓名\r\n138,王\r\n", Limits{}, []string{"1: phone|姓名", "2: 138|王"}},
		{"gbk", encode(t, "号码,姓名\n138,王小明\n", gbk), Limits{}, []string{"1: 号码|姓名", "2: 138|王小明"}},
		{"gb18030", encode(t, "号码,姓名\n138,㐂😀\n", gb18030), Limits{}, []string{"1: 号码|姓名", "2: 138|㐂😀"}},
		{"utf16", encode(t, "号码\t姓名\n138\t王\n", utf16), Limits{}, []string{"1: 号码|姓名", "2: 138|王"}},
		{"semicolon", "a;b,c;d\n1;2;3\n", Limits{}, []string{"1: a|b,c|d", "2: 1|2|3"}},
		{"tab", "a\tb\n", Limits{}, []string{"1: a|b"}},
		{"sep", "sep=|\r\na|b,c\n", Limits{}, []string{"2: a|b,c"}},
		{"one column", "138\n139\n", Limits{}, []string{"1: 138", "2: 139"}},
		{"quotes", "\"a,1\",\"b\"\"c\"\n\"two\nlines\",x\ny,z\n", Limits{}, []string{"1: a,1|b\"c", "2: two\nlines|x", "4: y|z"}},
		{"quote inside", "a\"b,c\n", Limits{}, []string{"1: a\"b|c"}},
		{"blank lines", "a\n\n  \nb\n\n", Limits{}, []string{"1: a", "4: b"}},
		{"lone cr", "a,b\rc,d\r", Limits{}, []string{"1: a|b", "2: c|d"}},
		{"after quote", "a,b\n\"x\"y,z\nc,d\n", Limits{}, []string{"1: a|b", "2! " + errAfter.Error(), "3: c|d"}},
		{"open quote", "a,b\n\"x,z\nc,d\n", Limits{}, []string{"1: a|b", "2! " + errQuote.Error()}},
		{"open quote, short cells", "\"" + strings.Repeat("x", 9) + "\ny\n", Limits{Cell: 8}, []string{"1! " + errQuote.Error(), "2: y"}},
		{"long cell", "a,123456789,b\nc\n", Limits{Cell: 8}, []string{"1! " + errCell.Error(), "2: c"}},
		{"long row", "aaaa,bbbb,cccc\nc\n", Limits{Row: 8}, []string{"1! " + errRow.Error(), "2: c"}},
		{"many cells", "a,b,c,d\ne,f\n", Limits{Cells: 3}, []string{"1! " + errCells.Error(), "2: e|f"}},
		{"bad bytes in utf-8", "\ufeffa\n\xff\xfe\nb\n", Limits{}, []string{"1: a", "2! " + errEncoding.Error(), "3: b"}},
		{"guarded", "'=1+1,'+86,'x\n", Limits{}, []string{"1: =1+1|+86|'x"}},
		{"late gbk", longASCII + encode(t, "王,张\n", gbk), Limits{}, nil},
		{"late utf-8", longASCII + "王,张\n", Limits{}, nil},
		{"empty", "", Limits{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				got := all(t, r, c.l)
				if strings.HasPrefix(c.name, "late") {
					if len(got) != lines+1 || got[lines] != fmt.Sprintf("%d: 王|张", lines+1) {
						t.Fatalf("%d rows, last %q", len(got), got[len(got)-1])
					}
				} else if !reflect.DeepEqual(got, c.want) {
					t.Fatalf("got %q\nwant %q", got, c.want)
				}
			}
		})
	}
}

func TestNotATable(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"neither CSV":        "\x7fELF\x00\x00\x00",
		"save it as .xlsx":   "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
		"open the workbook":  "PK\x03\x04 and then nothing of the kind",
		"larger than 0 MiB":  "PK\x03\x04" + strings.Repeat("x", 2000),
		"the disk has fled!": "",
	} {
		var r io.Reader = strings.NewReader(in)
		if in == "" {
			r = iotest.ErrReader(errors.New("the disk has fled!"))
		}
		_, err := NewReader(r, Limits{File: 1000})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A source that breaks in the middle must not look like an end.
func TestSourceBreaks(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	in := strings.Repeat("a,b\n", window)
	r, err := NewReader(io.MultiReader(strings.NewReader(in), iotest.ErrReader(boom)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err = range r.All() {
		n++
	}
	if !errors.Is(err, boom) || n != window+1 {
		t.Fatalf("%d rows, then %v", n, err)
	}
	if _, err := r.Read(); !errors.Is(err, boom) {
		t.Fatalf("the end must stay: %v", err)
	}
}

var awkward = [][]string{
	{"号码", "name", "note"},
	{"+8613800138000", "=HYPERLINK(\"http://x\")", "'=x"},
	{"-5.5", "-5-5", "@SUM(A1)"},
	{"", "\tx", "a,b\"c\r\nd"},
	{"''+1", "＝1", "'quoted'"},
	{" padded ", "+", "1;2|3"},
}

func TestCSVRoundTrip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := NewCSVWriter(&b)
	for _, row := range awkward {
		if err := w.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, bad := range []string{",=", "\n=", ",\"=", ",@", ",-5-5", ",＝"} {
		if strings.Contains(text, bad) {
			t.Errorf("a cell may be computed: %q in %q", bad, text)
		}
	}
	r, err := NewReader(&b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for row, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(strings.Join(awkward[i], "|"), "\r\n", "\n") // line ends are the format's, not the cell's
		if got := strings.Join(row.Cells, "|"); got != want {
			t.Errorf("row %d: got %q want %q", i, got, want)
		}
		i++
	}
	if i != len(awkward) {
		t.Errorf("%d rows came back", i)
	}
}

func TestXLSXRoundTrip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w, err := NewXLSXWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range awkward {
		if err := w.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, cell := range []string{"B2", "C3"} {
		if formula, err := f.GetCellFormula("Sheet1", cell); err != nil || formula != "" {
			t.Errorf("%s is the formula %q (%v)", cell, formula, err)
		}
	}
	r, err := NewReader(&b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range awkward {
		row, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if row.Line != i+1 || row.Cell(0) != awkward[i][0] || row.Cell(1) != awkward[i][1] {
			t.Errorf("row %d: got %d %q want %q", i, row.Line, row.Cells, awkward[i])
		}
	}
	if _, err := r.Read(); err != io.EOF {
		t.Errorf("after the last row: %v", err)
	}
}

// Phone numbers typed into Excel are numbers; whatever their format shows, all digits come back.
func TestXLSXNumbers(t *testing.T) {
	t.Parallel()
	f := excelize.NewFile()
	style := func(format string) int {
		id, err := f.NewStyle(&excelize.Style{CustomNumFmt: &format})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for i, c := range []struct {
		cell   string
		value  any
		format string
	}{
		{"A1", 13800138000, ""}, {"B1", 13800138000, "0.00E+00"}, {"C1", 13800138000, "#,##0"},
		{"A5", 45000, "yyyy-mm-dd"}, {"B5", 0.5, "0%"}, {"C5", 13900139000, "0.00E+00"}, {"D5", 123456789012345678, ""},
	} {
		if err := f.SetCellValue("Sheet1", c.cell, c.value); err != nil {
			t.Fatal(i, err)
		}
		if c.format != "" {
			if err := f.SetCellStyle("Sheet1", c.cell, c.cell, style(c.format)); err != nil {
				t.Fatal(i, err)
			}
		}
	}
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	want := []string{"1: 13800138000|13800138000|13800138000", "5: 2023-03-15|50%|13900139000|123456789012345678"}
	if got := all(t, &b, Limits{}); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
}

// A date in the format that Excel gives dates by itself is shown as each computer likes. It comes back as one that can be read.
func TestXLSXDatesOfNoCountry(t *testing.T) {
	t.Parallel()
	f := excelize.NewFile()
	for cell, format := range map[string]int{"A1": 14, "B1": 22, "C1": 31, "D1": 57, "E1": 21} {
		if err := f.SetCellValue("Sheet1", cell, 45000.75); err != nil {
			t.Fatal(err)
		}
		id, err := f.NewStyle(&excelize.Style{NumFmt: format})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.SetCellStyle("Sheet1", cell, cell, id); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	want := []string{"1: 2023-03-15|2023-03-15 18:00|2023年3月15日|2023年3月|18:00:00"}
	if got := all(t, &b, Limits{}); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
}

func TestXLSXWriterBeginsAnotherSheet(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w, err := NewXLSXWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w.(*xlsxWriter).limit = 3
	for _, c := range []string{"head", "1", "2", "3", "4", "5"} {
		if err := w.Write([]string{c}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write([]string{strings.Repeat("长", MaxCell+1)}); err == nil {
		t.Error("a cell beyond Excel's limit was taken")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{"Sheet1": "[[head] [1] [2]]", "Sheet2": "[[head] [3] [4]]", "Sheet3": "[[head] [5]]"} {
		rows, err := f.GetRows(name)
		if err != nil || fmt.Sprint(rows) != want {
			t.Errorf("%s: %v, %v", name, rows, err)
		}
	}
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\"x\ny\",z", "sep=;\na;b", "\xef\xbb\xbfa", "\xba\xc5\xc2\xeb,x", "'=1", "\"", "\r\r\n\n", "\xff\xfea\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.HasPrefix(in, []byte("PK")) {
			return
		}
		l := Limits{Cell: 32, Row: 64, Cells: 8}
		r, err := NewReader(bytes.NewReader(in), l)
		if err != nil {
			return
		}
		last := 0
		for row, err := range r.All() {
			line := row.Line
			var bad *RowError
			if errors.As(err, &bad) {
				line = bad.Line
			} else if err != nil {
				t.Fatalf("a source in memory failed: %v", err)
			} else if len(row.Cells) == 0 || len(row.Cells) > l.Cells {
				t.Fatalf("%d cells", len(row.Cells))
			}
			if line <= last {
				t.Fatalf("line %d after %d", line, last)
			}
			last = line
		}
	})
}

func FuzzCSVRoundTrip(f *testing.F) {
	f.Add("=1", "'x", "a\"b")
	f.Add("", "-", "'''+")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		in := []string{a, b, c}
		for i, s := range in {
			in[i] = strings.NewReplacer("\x00", "", "\ufffd", "", "\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(s, ""))
		}
		var buf bytes.Buffer
		w := NewCSVWriter(&buf)
		if err := errors.Join(w.Write([]string{"h1", "h2", "h3"}), w.Write(in), w.Close()); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(&buf, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		row, err := r.Read()
		if err != nil || !reflect.DeepEqual(row.Cells, in) {
			t.Fatalf("wrote %q, read %q, %v", in, row.Cells, err)
		}
	})
}

func FuzzXLSX(f *testing.F) {
	var b bytes.Buffer
	w, err := NewXLSXWriter(&b)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(w.Write([]string{"a", "1"}), w.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		if !bytes.HasPrefix(in, []byte("PK")) {
			return
		}
		r, err := NewReader(bytes.NewReader(in), Limits{File: 1 << 20, Unpack: 8 << 20})
		if err != nil {
			return
		}
		for range r.All() { // must end and must not panic
		}
		r.Close()
	})
}

func benchmarkRead(b *testing.B, text []byte, rows int) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(text), Limits{})
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, err := range r.All() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != rows {
			b.Fatalf("%d rows", n)
		}
		r.Close()
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func benchmarkRows(b *testing.B, w Writer) (rows int) {
	for rows < 20000 {
		rows++
		if err := w.Write([]string{fmt.Sprint(13800000000 + rows), "王小明", "北京市, 海淀区"}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return rows
}

func BenchmarkCSV(b *testing.B) {
	var buf bytes.Buffer
	rows := benchmarkRows(b, NewCSVWriter(&buf))
	benchmarkRead(b, buf.Bytes(), rows)
}

func BenchmarkXLSX(b *testing.B) {
	var buf bytes.Buffer
	w, err := NewXLSXWriter(&buf)
	if err != nil {
		b.Fatal(err)
	}
	rows := benchmarkRows(b, w)
	benchmarkRead(b, buf.Bytes(), rows)
}
