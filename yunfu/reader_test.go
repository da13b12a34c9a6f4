package yunfu

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestReadFields(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct{ name, method, query, media, body, want string }{
		{"nothing", "GET", "", "", "", `{}`},
		{"empty body under JSON", "PUT", "", "application/json", "", `{}`},
		{"blank body under JSON", "DELETE", "", "application/json", " \r\n", `{}`},
		{"null", "PUT", "", "application/json", "null", `{}`},
		{"empty array of PHP", "POST", "", "application/json", "[]", `{}`},
		{"repeated", "GET", "x=1&x=2", "", "", `{"x":["1","2"]}`},
		{"brackets", "GET", "x[]=1&x[]=2", "", "", `{"x":["1","2"]}`},
		{"encoded brackets", "GET", "x%5B%5D=1", "", "", `{"x":["1"]}`},
		{"indexes in any order", "GET", "x[1]=b&x[0]=a", "", "", `{"x":["a","b"]}`},
		{"huge index", "GET", "x[999999999999]=b&x[0]=a", "", "", `{"x":["a","b"]}`},
		{"plain and brackets", "GET", "x=1&x[]=2", "", "", `{"x":["1","2"]}`},
		{"nested", "GET", "a[b][0][c]=1&a[b][1][c]=2&a[d]=3", "", "", `{"a":{"b":[{"c":"1"},{"c":"2"}],"d":"3"}}`},
		{"unbalanced", "GET", "a[b=1&[c]=2", "", "", `{"[c]":"2","a[b":"1"}`},
		{"GET with a body", "GET", "", "application/json", `{"x":1}`, `{"x":1}`},
		{"query wins on GET", "GET", "x=1", "application/json", `{"x":2,"y":3}`, `{"x":"1","y":3}`},
		{"body wins on PUT", "PUT", "x=1&z=4", "application/json", `{"x":2}`, `{"x":2,"z":"4"}`},
		{"null beside a value", "PUT", "x=1&y=2&z=", "application/json", `{"x":null,"y":"","z":null,"w":null,"v":""}`, `{"v":"","w":null,"x":"1","y":"2","z":""}`},
		{"null beside a value on GET", "GET", "x=&y=2", "application/json", `{"x":1,"y":null}`, `{"x":1,"y":"2"}`},
		{"DELETE with a body", "DELETE", "", "application/json", `{"x":[1]}`, `{"x":[1]}`},
		{"form", "POST", "", form, "a=1&b[]=2", `{"a":"1","b":["2"]}`},
		{"JSON labelled as form", "POST", "", form, `{"a":1}`, `{"a":1}`},
		{"JSON without label", "POST", "", "", `{"a":1}`, `{"a":1}`},
		{"form without label", "POST", "", "", `a=1`, `{"a":"1"}`},
		{"byte order mark", "POST", "", "application/json", "\xef\xbb\xbf{\"a\":1}", `{"a":1}`},
		{"escaped Chinese", "POST", "", "application/json", `{"a":"\u4efb\u52a1"}`, `{"a":"任务"}`},
		{"long id", "POST", "", "application/json", `{"a":215870475195883520}`, `{"a":215870475195883520}`},
		{"trailing commas", "POST", "", "application/json", "{\"a\":[1,2,\n],\"b\":\"x,]\",}", `{"a":[1,2],"b":"x,]"}`},
		{"comments", "POST", "", "application/json", "{\"a\":1, // one\n/* two */ \"b\":\"//no\"}", `{"a":1,"b":"//no"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(c.method, "/x?"+c.query, strings.NewReader(c.body))
			r.Header.Set("Content-Type", c.media)
			got, err := readFields(r)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(got)
			if err != nil || string(raw) != c.want {
				t.Errorf("got %s, %v; want %s", raw, err, c.want)
			}
		})
	}
}

func TestReadMultipart(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, p := range [][2]string{{"name", "任务"}, {"task_extras[line][0][id]", "x"}} {
		if err := m.WriteField(p[0], p[1]); err != nil {
			t.Fatal(err)
		}
	}
	f, err := m.CreateFormFile("file", "f")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("ignored"))
	m.Close()
	r := httptest.NewRequest("POST", "/", &b)
	r.Header.Set("Content-Type", m.FormDataContentType())
	got, err := readFields(r)
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := json.Marshal(got); string(raw) != `{"name":"任务","task_extras":{"line":[{"id":"x"}]}}` {
		t.Errorf("got %s", raw)
	}
}

func TestReadFieldsRefuses(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"cut":           `{"a":`,
		"two values":    `{} {}`,
		"list":          `[1]`,
		"text":          `"x"`,
		"number":        `7`,
		"not JSON":      `name=1`,
		"unquoted key":  `{a:1}`,
		"array as dict": `{"redial_conditions":["da_status":[2]]}`,
		"too large":     `{"a":"` + strings.Repeat("x", maxBody) + `"}`,
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if got, err := readFields(r); err == nil {
			t.Errorf("%s: read as %v", name, got)
		}
	}
	for name, query := range map[string]string{
		"deep":     "a[" + strings.Repeat("b][", 20) + "c]=1",
		"many":     strings.Repeat("a=1&", maxPairs+1),
		"encoding": "a=%zz",
	} {
		if got, err := formFields(query); err == nil {
			t.Errorf("%s: read as %.60v", name, got)
		}
	}
}

func TestAccessors(t *testing.T) {
	t.Parallel()
	value := func(raw string) node {
		v, err := decodeJSON([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		return node{f: &form{}, path: "x", v: v, has: true}
	}
	for raw, want := range map[string]bool{`true`: true, `false`: false, `0`: false, `1`: true, `"0"`: false, `"1"`: true, `"TRUE"`: true,
		`"False"`: false, `null`: false, `""`: false, `["0","1"]`: true} {
		n := value(raw)
		if got := n.flag(); got != want || n.f.err() != nil {
			t.Errorf("flag %s: %v, %v", raw, got, n.f.err())
		}
	}
	for raw, want := range map[string]int64{`3`: 3, `"3"`: 3, `" 3 "`: 3, `3.0`: 3, `"3.00"`: 3, `3e1`: 30, `null`: 0, `""`: 0, `false`: 0, `true`: 1,
		`-7`: -7, `215870475195883520`: 215870475195883520, `"9007199254740993"`: 9007199254740993} {
		n := value(raw)
		if got := n.int64(); got != want || n.f.err() != nil {
			t.Errorf("int %s: %v, %v", raw, got, n.f.err())
		}
	}
	for raw, want := range map[string]string{`215870475195883520`: "215870475195883520", `"29c-aag"`: "29c-aag", `123.0`: "123", `null`: ""} {
		n := value(raw)
		if got := n.id(); got != want || n.f.err() != nil {
			t.Errorf("id %s: %q, %v", raw, got, n.f.err())
		}
	}
	refuse := func(raw string, read func(node)) {
		t.Helper()
		n := value(raw)
		if read(n); n.f.err() == nil || !strings.HasPrefix(n.f.err().Error(), "x") {
			t.Errorf("%s was read: %v", raw, n.f.err())
		}
	}
	for _, raw := range []string{`"abc"`, `1.5`, `{}`, `1e99`, `"Inf"`, `"0x10"`, `99999999999999999999`} {
		refuse(raw, func(n node) { n.int64() })
	}
	for _, raw := range []string{`"maybe"`, `2`, `{}`} {
		refuse(raw, func(n node) { n.flag() })
	}
	for _, raw := range []string{`1.5`, `1e30`, `{}`, `"a\u0000b"`} {
		refuse(raw, func(n node) { n.id() })
	}
	for _, raw := range []string{`"x"`, `1`, `[1,2]`} {
		refuse(raw, func(n node) { n.object() })
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"2024-11-01 13:25:26": "2024-11-01 13:25:26",
		"2024-11-01 13:25":    "2024-11-01 13:25:00",
		"2024/11/1 13:25":     "2024-11-01 13:25:00",
		"2024/11/1 3:5":       "2024-11-01 03:05:00",
		"2024-11-01T13:25:26": "2024-11-01 13:25:26",
		"2024-11-01":          "2024-11-01 00:00:00",
		"2024-11-01 24:00":    "2024-11-02 00:00:00",
	} {
		got, ok := parseTime(in, time.UTC, false)
		if !ok || got.Format(time.DateTime) != want {
			t.Errorf("%q: %v, %v", in, got, ok)
		}
	}
	if got, ok := parseTime("2024-11-01", time.UTC, true); !ok || got.Format(time.TimeOnly) != "23:59:59" {
		t.Errorf("a day as an end: %v", got)
	}
	for _, in := range []string{"", "x", "2024-13-01", "2024-02-30", "2024-11-01 25:00", "2024-11-01 10:60", "20241101", "2024-11", "2024-11-01 10", "-1-1-1", "2024--1-1",
		"11/1/2024", "2024-11-01 10:00:00 PM", "1700000000"} {
		if got, ok := parseTime(in, time.UTC, false); ok {
			t.Errorf("%q was read as %v", in, got)
		}
	}
	for in, want := range map[string]int{"09:00": 540, "9:00": 540, "24:00": 1440, "09:00:00": 540} {
		if got, ok := parseClock(in); !ok || got != want {
			t.Errorf("%q: %d, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "9", "24:01", "09:60", "09:00:30", "a:b", "-1:00"} {
		if got, ok := parseClock(in); ok {
			t.Errorf("%q was read as %d", in, got)
		}
	}
}

// FuzzRead reads arbitrary requests with every accessor: nothing panics, and what is read can be written as JSON.
func FuzzRead(f *testing.F) {
	f.Add("PUT", "x[]=1&a[b]=2", "application/json", []byte(`{"task_extras":{"line":[{"id":"a","limit":2}],"holiday":[]}}`))
	f.Add("GET", "date[]=2024-01-01&date[]=2024-01-02", "", []byte{})
	f.Add("POST", "", "multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n"))
	f.Add("POST", "", "application/json", []byte(`{"a":1,}//`))
	f.Add("POST", "", "", []byte(`{"a":"\`))
	f.Fuzz(func(t *testing.T, method, query, media string, body []byte) {
		r := &http.Request{Method: method, URL: &url.URL{RawQuery: query}, Header: http.Header{"Content-Type": {media}}, Body: io.NopCloser(bytes.NewReader(body))}
		got, err := readFields(r)
		if err != nil {
			return
		}
		if _, err := json.Marshal(got); err != nil {
			t.Fatal(err)
		}
		visit(&form{fields: got}, node{f: &form{}, v: map[string]any(got), has: true}, 0)
	})
}

func visit(f *form, n node, depth int) {
	n.text()
	n.id()
	n.int64()
	n.flag()
	n.status()
	n.grade()
	n.clock()
	n.when(time.UTC, true)
	n.between(time.UTC)
	n.words()
	if depth > 20 {
		return
	}
	for _, e := range n.list() {
		if _, ok := e.v.([]any); ok {
			visit(f, e, depth+1)
		}
	}
	if object, ok := n.object().v.(map[string]any); ok {
		for k := range object {
			visit(f, n.object().get(k), depth+1)
		}
	}
}
