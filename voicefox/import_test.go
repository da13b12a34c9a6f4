package voicefox

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"waihu"
	"waihu/sheet"
	"waihu/store"
)

// xlsx is a workbook of these rows.
func xlsx(t testing.TB, rows ...[]string) string {
	t.Helper()
	var b bytes.Buffer
	out, err := sheet.NewXLSXWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := out.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (w *world) imported(task int64) map[string]map[string]string {
	w.Helper()
	k, err := w.TaskBySerial(w.Context(), mainUser, task)
	w.must(err)
	list, _, err := w.Numbers(w.Context(), mainUser, k.ID, store.NumberFilter{PerPage: 1000})
	w.must(err)
	out := map[string]map[string]string{}
	for _, n := range list {
		out[string(n.Phone)] = n.Data.Vars
	}
	return out
}

// TestImport: every way a file says which column is which.
func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type vars = map[string]map[string]string
	for _, x := range []struct {
		name, file string
		meta       object // given at creation
		want       vars
		columns    string
		answer     string // count, rows, duplicates, failed
	}{
		{"one column without titles, as the console", "13800000001\n13800000002\n13800000001\n", object{"号码": 0}, vars{"13800000001": nil, "13800000002": nil},
			"map[号码:0 备注:-1 姓名:-1]", "2 3 1 0"},
		{"titles alone", "姓名,手机号,城市\n张三,138-0000-0001,上海\n,13800000002,\n", nil,
			vars{"13800000001": {"姓名": "张三", "name": "张三", "城市": "上海"}, "13800000002": nil}, "map[号码:1 备注:-1 姓名:0]", "2 2 0 0"},
		{"a map with columns of its own", "备忘;13800000001;张三;A\n;13800000002;;\n", object{"号码": 1, "备注": 0, "姓名": "2", "等级": 3},
			vars{"13800000001": {"备注": "备忘", "姓名": "张三", "name": "张三", "等级": "A"}, "13800000002": nil}, "map[号码:1 备注:0 姓名:2 等级:3]", "2 2 0 0"},
		{"a map and titles", "电话,称呼,name\n13800000001,张三,老张\n", object{"号码": 0, "姓名": 1, "备注": -1}, vars{"13800000001": {"姓名": "张三", "name": "老张"}},
			"map[号码:0 备注:-1 姓名:1]", "1 1 0 0"},
		{"a column that the map has not, and the file has", "号码,姓名\n13800000001,张三\n", object{"号码": 0, "姓名": -1, "备注": -1},
			vars{"13800000001": {"姓名": "张三", "name": "张三"}}, "map[号码:0 备注:-1 姓名:-1]", "1 1 0 0"},
		{"two titles for a phone number", "手机号,号码\n13800000001,13800000002\n", nil, vars{"13800000002": {"手机号": "13800000001"}}, "map[号码:1 备注:-1 姓名:-1]", "1 1 0 0"},
		{"rows that are none", "phone\n13800000001\nnone\n12\n", nil, vars{"13800000001": nil}, "map[号码:0 备注:-1 姓名:-1]", "1 3 0 2"},
		{"a first row whose number is damaged", "1380000000O,张三\n13800000002,李四\n", object{"号码": 0, "姓名": 1}, vars{"13800000002": {"姓名": "李四", "name": "李四"}},
			"map[号码:0 备注:-1 姓名:1]", "1 2 0 1"},
		{"a first row that a spreadsheet has rounded", "1.38E+10\n13800000002\n", nil, vars{"13800000002": nil}, "map[号码:0 备注:-1 姓名:-1]", "1 2 0 1"},
		{"a title with a digit", "号码1\n13800000001\n", object{"号码": 0}, vars{"13800000001": nil}, "map[号码:0 备注:-1 姓名:-1]", "1 1 0 0"},
		{"one number in two forms", "+86 138-0000-0001\n13800000001\n008613800000001\n", nil, vars{"+8613800000001": nil}, "map[号码:0 备注:-1 姓名:-1]", "1 3 2 0"},
		{"a workbook", xlsx(t, []string{"号码", "备注", "生日"}, []string{"13800000001", "vip", "0101"}), nil, vars{"13800000001": {"备注": "vip", "生日": "0101"}},
			"map[号码:0 备注:1 姓名:-1]", "1 1 0 0"},
	} {
		id := w.ok("POST", "/openapi/tasks", body("option.numberFileMeta", x.meta)).number("id")
		r := w.upload(token, taskPath(id, "/numbers"), "numbers.csv", x.file)
		if r.code != 200 {
			t.Errorf("%s: %d %s", x.name, r.code, r.raw)
			continue
		}
		if got := strings.TrimSpace(fmt.Sprintln(r.at("count"), r.at("rows"), r.at("duplicates"), r.at("failed"))); got != x.answer || r.text("message") != "success" {
			t.Errorf("%s: %s, want %s", x.name, got, x.answer)
		}
		if got := w.imported(id); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s: %v, want %v", x.name, got, x.want)
		}
		if got := fmt.Sprint(w.ok("GET", taskPath(id, ""), nil).at("option", "numberFileMeta")); got != x.columns {
			t.Errorf("%s: numberFileMeta is %s, want %s", x.name, got, x.columns)
		}
		// The file itself as the body; all of it is there.
		raw := httptest.NewRequest("POST", taskPath(id, "/numbers"), strings.NewReader(x.file))
		raw.Header.Set("Authorization", "Bearer "+token)
		if again := w.send(raw); again.code != 200 || again.number("count") != 0 {
			t.Errorf("%s once more: %s", x.name, again.raw)
		}
	}
}

// TestImportNextFile: without a map of the client's every file's own titles say where its columns stand; one without
// titles stands as the file before.
func TestImportNextFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.ok("POST", "/openapi/tasks", body("option.numberFileMeta", nil)).number("id")
	for i, file := range []string{"姓名,手机号\n张三,13800000001\n", "手机号,备注\n13800000002,乙\n", "13800000003,丙\n"} {
		if r := w.upload(token, taskPath(id, "/numbers"), "numbers.csv", file); r.code != 200 || r.number("count") != 1 {
			t.Fatalf("file %d: %d %s", i, r.code, r.raw)
		}
	}
	want := map[string]map[string]string{"13800000001": {"姓名": "张三", "name": "张三"}, "13800000002": {"备注": "乙"}, "13800000003": {"备注": "丙"}}
	if got := w.imported(id); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	r := w.upload(token, taskPath(id, "/numbers"), "numbers.csv", "号码,姓名,姓名\n13800000004,甲,乙\n")
	w.bad(r, 422, "two columns have the title")
}

// TestImportRefused: a file that cannot be read to its end adds nothing.
func TestImportRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	book := xlsx(t, []string{"号码"}, []string{"13800000001"})
	for name, file := range map[string]string{"empty": "", "titles alone": "号码,姓名\n", "no numbers": "a\nb\n", "cut workbook": book[:len(book)/2], "old workbook": "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
		"titles twice": "号码,城市,城市\n13800000001,a,b\n"} {
		r := w.upload(token, "/openapi/tasks/1/numbers", name, file)
		w.bad(r, 422, "file")
	}
	r := httptest.NewRequest("POST", "/openapi/tasks/1/numbers", strings.NewReader("--x\r\n\r\n"))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	w.bad(w.send(r), 422)
	r = httptest.NewRequest("POST", "/openapi/tasks/1/numbers", strings.NewReader(`13800000001`))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "multipart/form-data")
	w.bad(w.send(r), 422, "boundary")
	if got := w.imported(1); len(got) != 0 {
		t.Errorf("refused files added %v", got)
	}
	w.bad(w.upload(token, "/openapi/tasks/99/numbers", "x", "13800000001"), 404)
	w.bad(w.upload(otherToken, "/openapi/tasks/1/numbers", "x", "13800000001"), 403)
}

// FuzzReadFile: no file makes the reader panic, and what it gives is always a phone number with texts that both engines can keep.
func FuzzReadFile(f *testing.F) {
	for _, s := range []string{"", "号码,姓名\n13800000001,张三\n", "13800000001", "a;b\n\"", "PK\x03\x04", "\xff\xfe1\x003\x008\x00"} {
		f.Add([]byte(s), 0, 1)
	}
	f.Fuzz(func(t *testing.T, file []byte, phone, name int) {
		for _, columns := range []map[string]int{nil, {phoneColumn: max(0, phone%50), nameColumn: name % 50}} {
			var list []store.NewNumber
			w, err := readFile(bytes.NewReader(file), columns, false, func(n store.NewNumber) error { list = append(list, n); return nil })
			if err != nil {
				if explain(err) == nil {
					t.Fatalf("%v is not explained", err)
				}
				continue
			}
			if len(list) == 0 || len(list)+w.Failed != w.Rows || w.Meta[phoneColumn] < 0 {
				t.Fatalf("%d numbers, %+v", len(list), w)
			}
			for _, n := range list {
				if again, err := waihu.ParsePhone(string(n.Phone)); err != nil || again != n.Phone || n.Key != string(n.Phone.Canonical()) {
					t.Fatalf("%+v", n)
				}
				for k, v := range n.Data.Vars {
					if !utf8.ValidString(k) || !utf8.ValidString(v) || v == "" {
						t.Fatalf("the variable %q is %q", k, v)
					}
				}
			}
		}
	})
}

// FuzzBodies: no body makes a reader panic, and what it refuses it explains.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{`{"name":"x","assistantVid":"1","option":{"numbers":[1,"2"],"startTime":[["09:00","18:00"]],"weeks":{"1":true}}}`, `{"collect":[{"question":"?"}],"flow":{"nodes":{}}}`,
		`{"items":[{"q":["?"],"a":"!"}]}`, `{"url":"https://x","events":["task.end"]}`, `null`, `[`, `{"option":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, out := range []any{&taskBody{}, &assistantBody{}, &resourceBody{}, &webhookBody{}} {
			err := decode(raw, out)
			if err != nil && explain(err) == nil {
				t.Fatalf("%v is not explained", err)
			}
			if err != nil {
				continue
			}
			switch b := out.(type) {
			case *taskBody:
				spans, last, err := readSpans(b.Option.StartTime)
				for _, s := range spans {
					if s.From < 0 || s.From >= s.To || s.To > 1440 || last > 2*1440 {
						t.Fatalf("%v became %v, last %d, %v", b.Option.StartTime, spans, last, err)
					}
				}
				meta, err := readMeta("m", b.Option.NumberFileMeta)
				if err == nil && meta != nil && meta[phoneColumn] < 0 {
					t.Fatalf("%v", meta)
				}
			case *assistantBody:
				a := waihu.AgentSpec{}
				if err := applyLLM(b, &a); err == nil {
					applyBot(b, &a)
				}
			case *resourceBody:
				_ = b.check(waihu.Knowledge)
			case *webhookBody:
				_, _ = kindsOf(b.Events)
			}
		}
	})
}

// FuzzTimes: times of queries are read or refused, never misread.
func FuzzTimes(f *testing.F) {
	for _, s := range []string{"2025-06-02 10:00:00", "2025-06-02", "2025-06-02T10:00:00+08:00", "24:00", "9:00", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if at, ok := parseTime(text, clockNow.Location(), true); ok && at.IsZero() && !strings.HasPrefix(text, "0001") {
			t.Fatalf("%q is read as no time", text)
		}
		if n, ok := parseClock(text); ok {
			if again, _ := parseClock(clockText(n)); again != n || n < 0 || n > 1440 {
				t.Fatalf("%q is read as minute %d", text, n)
			}
		}
	})
}

// TestImportInPortions: a file of several portions, with the first number once more at its end.
func TestImportInPortions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var file strings.Builder
	for i := range 2*importBatch + 7 {
		fmt.Fprintln(&file, 13800000000+i)
	}
	fmt.Fprintln(&file, 13800000000)
	r := w.upload(token, "/openapi/tasks/1/numbers", "numbers.csv", file.String())
	if r.code != 200 || r.number("count") != 2*importBatch+7 || r.number("rows") != 2*importBatch+8 || r.number("duplicates") != 1 {
		t.Errorf("%d %s", r.code, r.raw)
	}
	if got := w.ok("GET", "/openapi/tasks/1", nil); got.number("total") != 2*importBatch+7 {
		t.Errorf("%s", got.raw)
	}
	// One that breaks off in transit adds nothing, however much of it has arrived.
	long := httptest.NewRequest("POST", "/openapi/tasks/1/numbers", io.MultiReader(strings.NewReader("13900000001\n13900000002\n"), brokenReader{}))
	long.Header.Set("Authorization", "Bearer "+token)
	w.bad(w.send(long), 422, "file")
	if got := w.ok("GET", "/openapi/tasks/1", nil); got.number("total") != 2*importBatch+7 {
		t.Errorf("%s", got.raw)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
