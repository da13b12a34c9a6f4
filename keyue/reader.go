package keyue

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what a request may carry.
const (
	maxBody = 1 << 20
	maxText = 20_000 // letters of one value
)

// form is a request's fields: those of the body, and of the query what the body does not name. The documents disagree
// about where some of them travel, so every route takes both.
type form struct {
	values map[string]any // as JSON decodes, numbers as json.Number; of the query texts
}

// readForm reads query and body. An empty body is no fields whatever its Content-Type says; the vendor's samples and
// clients send JSON under any type or none.
func readForm(r *http.Request) (*form, error) {
	f, err := readQuery(r)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refused(paramCheck, "请求体过大,最多 %d 字节", maxBody)
	case err != nil:
		return nil, refused(paramFormat, "请求体未能完整读取")
	}
	return f, f.body(raw)
}

func readQuery(r *http.Request) (*form, error) {
	f := &form{values: map[string]any{}}
	return f, f.query(r.URL.RawQuery)
}

func (f *form) query(text string) error {
	values, err := url.ParseQuery(text)
	if err != nil {
		return refused(paramFormat, "请求地址中的参数编码不正确")
	}
	for name, list := range values {
		f.values[name] = list[len(list)-1]
	}
	return nil
}

func (f *form) body(raw []byte) error {
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if !utf8.Valid(raw) {
		return refused(paramFormat, "请求体不是有效的 UTF-8")
	}
	if raw[0] != '{' && raw[0] != '[' && raw[0] != '"' {
		return f.query(string(raw))
	}
	object, err := decodeObject(raw)
	if err != nil {
		return refused(paramFormat, "请求体应为一个 JSON 对象")
	}
	for name, v := range object {
		f.values[name] = v
	}
	return nil
}

// decodeObject reads exactly one JSON object.
func decodeObject(raw []byte) (object map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one document")
	}
	if object == nil {
		return nil, errors.New("null")
	}
	return object, nil
}

// has says whether a field was given a value.
func (f *form) has(name string) bool {
	v, ok := f.values[name]
	return ok && v != nil
}

// text is a field that is a text or a number; absent or null it is "".
func (f *form) text(name string) (string, error) {
	text := ""
	switch v := f.values[name].(type) {
	case nil:
	case string:
		text = v
	case json.Number:
		text = v.String()
	default:
		return "", wrong(paramFormat, name, "应为字符串")
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) { // no text that PostgreSQL takes
		return "", wrong(paramFormat, name, "含有无效字符")
	}
	if utf8.RuneCountInString(text) > maxText {
		return "", wrong(paramCheck, name, "过长,最多 %d 个字符", maxText)
	}
	return strings.TrimSpace(text), nil
}

// needed is a text that must be there.
func (f *form) needed(name string) (string, error) {
	text, err := f.text(name)
	if err == nil && text == "" {
		err = wrong(paramCheck, name, "不能为空")
	}
	return text, err
}

// number is a whole number from least to most, or its default when absent or empty.
func (f *form) number(name string, def, least, most int) (int, error) {
	text, err := f.text(name)
	if err != nil || text == "" {
		return def, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, wrong(paramFormat, name, "应为整数")
	}
	if n < least || n > most {
		return 0, wrong(paramCheck, name, "应在 %d 与 %d 之间", least, most)
	}
	return n, nil
}
