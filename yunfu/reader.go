package yunfu

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxBody bounds a request's body: 200 import rows of 10 KB each.
const maxBody = 2 << 20

// Bounds of one request's names in query and forms.
const (
	maxPairs = 20_000
	maxDepth = 8
)

// fields is a request's merged tree: map[string]any, []any, string, json.Number, bool, nil.
type fields map[string]any

// readFields merges query and body into one tree. The documents disagree about where parameters
// travel, so every method takes both; of a name given twice the body's counts, on GET the query's. A null or an empty
// text beside a value is no second one: a client whose objects have a field for everything sends sub_user_id null in the body
// and means the one in its query.
// An empty body is the empty object whatever its Content-Type says.
func readFields(r *http.Request) (fields, error) {
	query, err := formFields(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	body, err := bodyFields(r)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		query, body = body, query
	}
	for name, v := range body {
		if old, ok := query[name]; !ok || old == nil || v != nil && v != "" {
			query[name] = v
		}
	}
	return query, nil
}

func bodyFields(r *http.Request) (fields, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, wrong("", "请求体过大,最多 %d 字节", maxBody)
	case err != nil:
		return nil, wrong("", "请求体未能完整读取")
	}
	media, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // unreadable: judged by its looks below
	if media == "multipart/form-data" {
		return multipartFields(raw, params["boundary"])
	}
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	switch {
	case len(raw) == 0:
		return fields{}, nil
	case raw[0] == '{' || raw[0] == '[': // also what curl -d labels as a form
		return jsonFields(raw)
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		if string(raw) == "null" || string(raw) == `""` {
			return fields{}, nil
		}
		return nil, wrong("", "请求体应为 JSON 对象")
	}
	return formFields(string(raw))
}

func jsonFields(raw []byte) (fields, error) {
	v, err := decodeJSON(raw)
	if err != nil {
		// The vendor's printed blocks carry comments and trailing commas; who copies them gets through.
		var relaxedErr error
		if v, relaxedErr = decodeJSON(relax(raw)); relaxedErr != nil {
			at := ""
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				at = "(第 " + strconv.FormatInt(syntax.Offset, 10) + " 字节附近)"
			}
			return nil, wrong("", "请求体不是有效的 JSON%s", at)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		return v, nil
	case []any:
		if len(v) == 0 { // PHP encodes an empty map so
			return fields{}, nil
		}
	}
	return nil, wrong("", "请求体应为 JSON 对象")
}

func decodeJSON(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &json.SyntaxError{Offset: d.InputOffset()}
	}
	return v, nil
}

// relax removes comments, and commas before a closing bracket, outside strings.
func relax(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			end := i + 1
			for end < len(raw) && raw[end] != '"' {
				if raw[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(raw))
			out = append(out, raw[i:end]...)
			i = end - 1
		case c == '/' && bytes.HasPrefix(raw[i:], []byte("//")):
			if n := bytes.IndexByte(raw[i:], '\n'); n >= 0 {
				i += n - 1
			} else {
				i = len(raw)
			}
		case c == '/' && bytes.HasPrefix(raw[i:], []byte("/*")):
			if n := bytes.Index(raw[i+2:], []byte("*/")); n >= 0 {
				i += n + 3
			} else {
				i = len(raw)
			}
		case c == '}' || c == ']':
			out = append(bytes.TrimSuffix(bytes.TrimRight(out, " \t\r\n"), []byte(",")), c)
		default:
			out = append(out, c)
		}
	}
	return out
}

func multipartFields(raw []byte, boundary string) (fields, error) {
	var pairs [][2]string
	m := multipart.NewReader(bytes.NewReader(raw), boundary)
	for len(pairs) <= maxPairs {
		p, err := m.NextPart()
		if err == io.EOF {
			return nest(pairs)
		}
		if err != nil {
			return nil, wrong("", "multipart 请求体无法解析")
		}
		if p.FileName() != "" {
			continue // no endpoint of this contract takes a file
		}
		value, err := io.ReadAll(p)
		if err != nil {
			return nil, wrong("", "multipart 请求体无法解析")
		}
		pairs = append(pairs, [2]string{p.FormName(), string(value)})
	}
	return nil, wrong("", "参数过多")
}

func formFields(text string) (fields, error) {
	var pairs [][2]string
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		if len(pairs) >= maxPairs {
			return nil, wrong("", "参数过多")
		}
		name, value, _ := strings.Cut(part, "=")
		k, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return nil, wrong("", "参数 %.40s 的编码不正确", name)
		}
		pairs = append(pairs, [2]string{k, v})
	}
	return nest(pairs)
}

// nest builds the tree of PHP-style names: x[]=, x[0]=, a[b][c]=, and repeated x=.
func nest(pairs [][2]string) (fields, error) {
	root := &branch{}
	for _, p := range pairs {
		path := splitName(p[0])
		if len(path) > maxDepth {
			return nil, wrong("", "参数 %.40s 的层级过深", p[0])
		}
		at := root
		for _, step := range path {
			at = at.child(step)
		}
		at.values = append(at.values, p[1])
	}
	out := fields{}
	for _, k := range root.order {
		out[k] = root.children[k].tree()
	}
	return out, nil
}

// splitName takes a[b][] apart; a name with unbalanced brackets is taken as it stands.
func splitName(name string) []string {
	head, rest, found := strings.Cut(name, "[")
	if !found || head == "" || !strings.HasSuffix(rest, "]") {
		return []string{name}
	}
	path := []string{head}
	for part := range strings.SplitSeq(strings.TrimSuffix(rest, "]"), "][") {
		if strings.ContainsAny(part, "[]") {
			return []string{name}
		}
		path = append(path, part)
	}
	return path
}

// branch is a node of a form's tree while it grows.
type branch struct {
	values   []string
	children map[string]*branch
	order    []string
	appended int // next index of x[]
}

func (b *branch) child(step string) *branch {
	if step == "" { // x[]= appends
		step = strconv.Itoa(b.appended)
	}
	if n, err := strconv.Atoi(step); err == nil && n >= b.appended && n < maxPairs {
		b.appended = n + 1
	}
	c := b.children[step]
	if c == nil {
		c = &branch{}
		if b.children == nil {
			b.children = map[string]*branch{}
		}
		b.children[step] = c
		b.order = append(b.order, step)
	}
	return c
}

func (b *branch) tree() any {
	if len(b.children) == 0 {
		if len(b.values) == 1 {
			return b.values[0]
		}
		return texts(b.values)
	}
	object := map[string]any{}
	for _, k := range b.order {
		object[k] = b.children[k].tree()
	}
	if list, ok := asList(object); ok {
		return append(texts(b.values), list...)
	}
	return object
}

func texts(values []string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// asList reads an object whose keys are all indexes as the list that it is in PHP.
func asList(object map[string]any) ([]any, bool) {
	keys := make([]int, 0, len(object))
	for k := range object {
		n, err := strconv.Atoi(k)
		if err != nil || n < 0 || strconv.Itoa(n) != k {
			return nil, false
		}
		keys = append(keys, n)
	}
	slices.Sort(keys)
	list := make([]any, len(keys))
	for i, k := range keys {
		list[i] = object[strconv.Itoa(k)]
	}
	return list, true
}
