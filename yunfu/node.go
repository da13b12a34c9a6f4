package yunfu

import (
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// form is a request's fields with what was found wrong in them. Readers go on after a mistake with a
// zero value; who has read all asks err once.
type form struct {
	fields fields
	first  error
}

func (f *form) err() error { return f.first }

// get is the first of the names that the request carries.
func (f *form) get(names ...string) node {
	return node{f: f, v: map[string]any(f.fields), has: true}.get(names...)
}

// node is one value of the request with its path.
type node struct {
	f    *form
	path string
	v    any
	has  bool // the key was there, perhaps null
}

func (n node) fail(format string, args ...any) {
	if n.f.first == nil {
		n.f.first = wrong(n.path, format, args...)
	}
}

// blank says that there is no value: no key, null, or an empty text.
func (n node) blank() bool {
	text, ok := n.v.(string)
	return n.v == nil || ok && strings.TrimSpace(text) == ""
}

// need fails unless there is a value.
func (n node) need(what string) node {
	if n.blank() {
		n.fail("必填,%s", what)
	}
	return n
}

// get is the first present of an object's keys, else an absent node with the first key's path.
func (n node) get(names ...string) node {
	object, _ := n.v.(map[string]any)
	prefix := n.path
	if prefix != "" {
		prefix += "."
	}
	for _, name := range names {
		if v, ok := object[name]; ok {
			return node{f: n.f, path: prefix + name, v: v, has: true}
		}
	}
	return node{f: n.f, path: prefix + names[0]}
}

// or is n when it is there, else m when that is; a null is as if it were not there.
func (n node) or(m node) node {
	if n.v == nil && m.v != nil {
		return m
	}
	return n
}

// unwrapped undoes what forms and PHP do to values: JSON inside a text, a list of one.
func (n node) unwrapped() node {
	if text, ok := n.v.(string); ok {
		if t := strings.TrimSpace(text); t != "" && (t[0] == '{' || t[0] == '[') {
			if v, err := decodeJSON([]byte(t)); err == nil {
				n.v = v
			}
		}
	}
	return n
}

// object is the node as an object; a list of one object counts as it (the tables type objects as
// arrays), an empty list as the empty object.
func (n node) object() node {
	n = n.unwrapped()
	if list, ok := n.v.([]any); ok {
		switch len(list) {
		case 0:
			n.v = map[string]any{}
		case 1:
			n.v = list[0]
		}
	}
	switch n.v.(type) {
	case nil:
		n.v = map[string]any{}
	case map[string]any:
	default:
		if n.blank() {
			n.v = map[string]any{}
			break
		}
		n.fail("应为对象")
		n.v = map[string]any{}
	}
	return n
}

// list is the node as a list; absent, null and "" are the empty one, a single value is a list of one.
func (n node) list() []node {
	n = n.unwrapped()
	var list []any
	switch v := n.v.(type) {
	case nil:
	case []any:
		list = v
	case map[string]any:
		var ok bool
		if list, ok = asList(v); !ok {
			list = []any{v}
		}
	default:
		if !n.blank() {
			list = []any{v}
		}
	}
	out := make([]node, len(list))
	for i, v := range list {
		out[i] = node{f: n.f, path: n.path + "[" + strconv.Itoa(i) + "]", v: v, has: true}
	}
	return out
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}

// words is a list whose single text may hold several values between commas.
func (n node) words() []node {
	list := n.list()
	if text, ok := n.v.(string); ok && len(list) == 1 && strings.Contains(text, ",") {
		list = nil
		for part := range strings.SplitSeq(text, ",") {
			list = append(list, node{f: n.f, path: n.path, v: strings.TrimSpace(part), has: true})
		}
	}
	return list
}

// scalar is the last of repeated values, as PHP reads them.
func (n node) scalar() any {
	if list, ok := n.v.([]any); ok && len(list) > 0 {
		if _, nested := list[len(list)-1].([]any); !nested {
			return list[len(list)-1]
		}
	}
	return n.v
}

// text is any scalar as text, without blanks around it; absent and null are "".
func (n node) text() string {
	switch v := n.scalar().(type) {
	case nil:
		return ""
	case string:
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			n.fail("含有无效字符,应为 UTF-8 文本")
			return ""
		}
		return strings.TrimSpace(v)
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	n.fail("应为字符串")
	return ""
}

// short is a text of at most max characters.
func (n node) short(max int) string {
	t := n.text()
	if utf8.RuneCountInString(t) > max {
		n.fail("过长,最多 %d 个字符", max)
		return ""
	}
	return t
}

// id is an opaque id: a text, or a whole number in its decimal form. It never passes through a float.
func (n node) id() string {
	if v, ok := n.scalar().(json.Number); ok {
		t := strings.TrimSuffix(v.String(), ".0")
		if strings.ContainsAny(t, ".eE") {
			n.fail("应为整数或字符串 id")
			return ""
		}
		return t
	}
	return n.short(200)
}

// int64 is a whole number, as number or text. Absent, null and "" are 0.
func (n node) int64() int64 {
	var t string
	switch v := n.scalar().(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case string:
		if t = strings.TrimSpace(v); t == "" {
			return 0
		}
	case json.Number:
		t = v.String()
	default:
		n.fail("应为整数")
		return 0
	}
	if i, err := strconv.ParseInt(t, 10, 64); err == nil {
		return i
	}
	// 3.0 and 3e0 are whole numbers too; the length bounds what an exponent can ask for.
	if f, _, err := big.ParseFloat(t, 10, 64, big.ToNearestEven); err == nil && len(t) < 20 && f.IsInt() {
		if i, exact := f.Int64(); exact == big.Exact {
			return i
		}
	}
	n.fail("应为整数")
	return 0
}

// number is a whole number within bounds.
func (n node) number(min, max int) int {
	i := n.int64()
	if i < int64(min) || i > int64(max) {
		n.fail("应为 %d 到 %d 之间的整数", min, max)
		return min
	}
	return int(i)
}

// flag is a boolean in any of the forms that the samples and tables show.
func (n node) flag() bool {
	switch v := n.scalar().(type) {
	case nil:
		return false
	case bool:
		return v
	case string, json.Number:
		switch strings.ToLower(n.text()) {
		case "true", "1", "yes", "on":
			return true
		case "false", "0", "no", "off", "":
			return false
		}
	}
	n.fail("应为布尔值(true/false 或 1/0)")
	return false
}

// when is a point in time in loc; zero when blank. With end, a date alone means the last second of its day.
func (n node) when(loc *time.Location, end bool) time.Time {
	if n.blank() {
		return time.Time{}
	}
	t, ok := parseTime(n.text(), loc, end)
	if !ok {
		n.fail("时间格式不正确,应为 YYYY-MM-DD HH:MM:SS")
	}
	return t
}

// clock is a time of the day in minutes.
func (n node) clock() int {
	m, ok := parseClock(n.text())
	if !ok {
		n.fail("时间格式不正确,应为 HH:MM")
	}
	return m
}

// between is a list of two times, [from, to]; both zero when blank.
func (n node) between(loc *time.Location) (from, to time.Time) {
	list := n.words()
	list = slices.DeleteFunc(list, node.blank)
	switch len(list) {
	case 0:
		return
	case 2:
		from, to = list[0].when(loc, false), list[1].when(loc, true)
		if !from.IsZero() && !to.IsZero() && to.Before(from) {
			n.fail("结束时间不能早于开始时间")
		}
	default:
		n.fail("应为 [开始时间, 结束时间]")
	}
	return from, to
}
