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
	"time"
	"unicode/utf8"

	"waihu"
)

// maxAIOB bounds a body: a thousand groups with their variables.
const maxAIOB = 8 << 20

// readAIOB reads the query and the JSON body as one object; the body's fields win.
func readAIOB(r *http.Request) (map[string]any, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, aiobRefuse("请求地址中的参数编码不正确")
	}
	object := map[string]any{}
	for name, list := range values {
		object[name] = list[len(list)-1]
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxAIOB))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, aiobRefuse("请求体过大,最多 %d 字节", maxAIOB)
	case err != nil:
		return nil, aiobRefuse("请求体未能完整读取")
	}
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	if len(raw) == 0 {
		return object, nil
	}
	if !utf8.Valid(raw) {
		return nil, aiobRefuse("请求体不是有效的 UTF-8")
	}
	fields, err := decodeObject(raw)
	if err != nil {
		return nil, aiobRefuse("请求体应为一个 JSON 对象")
	}
	for name, v := range fields {
		object[name] = v
	}
	return object, nil
}

// aiobNode is one value of a request with its path. Readers go on after a mistake with a zero value; the first one is kept.
type aiobNode struct {
	first *error
	path  string
	v     any
}

func (n aiobNode) wrong(format string, args ...any) {
	if *n.first == nil {
		r := aiobRefuse(format, args...)
		if n.path != "" {
			r.message = n.path + "：" + r.message
		}
		*n.first = r
	}
}

// get is a field of an object; absent and null are the same. Of several names the first that has a value counts.
func (n aiobNode) get(names ...string) aiobNode {
	object, _ := n.v.(map[string]any)
	path := names[0]
	if n.path != "" {
		path = n.path + "." + path
	}
	for _, name := range names {
		if v := object[name]; v != nil {
			return aiobNode{n.first, path, v}
		}
	}
	return aiobNode{n.first, path, nil}
}

// blank says that there is no value: no field, null, or an empty text.
func (n aiobNode) blank() bool {
	text, is := n.v.(string)
	return n.v == nil || is && strings.TrimSpace(text) == ""
}

func (n aiobNode) need() aiobNode {
	if n.blank() {
		n.wrong("不能为空")
	}
	return n
}

// text is a text or a number as text, of at most so many characters.
func (n aiobNode) text(most int) string {
	text := ""
	switch v := n.v.(type) {
	case nil:
	case string:
		text = strings.TrimSpace(v)
	case json.Number:
		text = v.String()
	default:
		n.wrong("应为字符串")
		return ""
	}
	switch {
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0): // no text that PostgreSQL takes
		n.wrong("含有无效字符")
	case utf8.RuneCountInString(text) > most:
		n.wrong("过长,最多 %d 个字符", most)
	default:
		return text
	}
	return ""
}

// number is a whole number from least to most, as number or text; def when there is none.
func (n aiobNode) number(def, least, most int64) int64 {
	if n.blank() {
		return def
	}
	text := n.text(30)
	i, err := strconv.ParseInt(strings.TrimSuffix(text, ".0"), 10, 64)
	switch {
	case err != nil:
		n.wrong("应为整数")
	case i < least || i > most:
		n.wrong("应在 %d 与 %d 之间", least, most)
	default:
		return i
	}
	return def
}

// flag is a boolean; 0, 1 and texts count as ones.
func (n aiobNode) flag() bool {
	if v, is := n.v.(bool); is {
		return v
	}
	switch strings.ToLower(n.text(10)) {
	case "true", "1":
		return true
	case "false", "0", "":
		return false
	}
	n.wrong("应为布尔值")
	return false
}

// list is an array; none is an empty one, and a single value a list of one.
func (n aiobNode) list(most int) []aiobNode {
	list, is := n.v.([]any)
	switch {
	case n.blank():
		return nil
	case !is:
		list = []any{n.v}
	}
	if len(list) > most {
		n.wrong("最多 %d 个,收到 %d 个", most, len(list))
		return nil
	}
	out := make([]aiobNode, len(list))
	for i, v := range list {
		out[i] = aiobNode{n.first, n.path + "[" + strconv.Itoa(i) + "]", v}
	}
	return out
}

// texts is a list of texts, none of them empty.
func (n aiobNode) texts(most, letters int) []string {
	var out []string
	for _, x := range n.list(most) {
		out = append(out, x.need().text(letters))
	}
	return out
}

// vars is an object whose values are texts, numbers or booleans: what a script may say.
func (n aiobNode) vars() map[string]string {
	object, is := n.v.(map[string]any)
	if n.blank() || is && len(object) == 0 {
		return nil
	}
	if !is || len(object) > 200 {
		n.wrong("应为对象,最多 200 个变量")
		return nil
	}
	out := make(map[string]string, len(object))
	for name := range object {
		x := n.get(name)
		if b, is := x.v.(bool); is {
			x.v = strconv.FormatBool(b)
		}
		if name == "" || utf8.RuneCountInString(name) > 100 || strings.ContainsRune(name, 0) {
			n.wrong("变量名应为 1 到 100 个字符")
			return nil
		}
		out[name] = x.text(2000)
	}
	return out
}

// opaque is a value that is echoed as it came: a text as it stands, anything else as its JSON.
func (n aiobNode) opaque(most int) string {
	text, is := n.v.(string)
	if n.v != nil && !is {
		raw, err := json.Marshal(n.v)
		if err != nil {
			n.wrong("无法读取")
			return ""
		}
		text = string(raw)
	}
	if len(text) > most || strings.ContainsRune(text, 0) {
		n.wrong("过长或含有无效字符,最多 %d 字节", most)
		return ""
	}
	return text
}

// date is a day, yyyy-MM-dd, at its first moment; a time behind it is dropped.
func (n aiobNode) date(loc *time.Location) time.Time {
	text, _, _ := strings.Cut(n.text(30), " ")
	if text == "" {
		return time.Time{}
	}
	t, err := time.ParseInLocation("2006-1-2", text, loc)
	if err != nil || t.Year() < 1970 || t.Year() > 9000 {
		n.wrong("日期格式应为 yyyy-MM-dd")
		return time.Time{}
	}
	return t
}

// when is a moment, yyyy-MM-dd HH:mm:ss.
func (n aiobNode) when(loc *time.Location) time.Time {
	text := n.text(30)
	if text == "" {
		return time.Time{}
	}
	for _, form := range []string{"2006-1-2 15:4:5", "2006-1-2 15:4", "2006-1-2T15:4:5", "2006-1-2"} {
		if t, err := time.ParseInLocation(form, text, loc); err == nil && t.Year() >= 1970 && t.Year() <= 9000 {
			return t
		}
	}
	n.wrong("时间格式应为 yyyy-MM-dd HH:mm:ss")
	return time.Time{}
}

// clock is a time of the day, HH:mm, in minutes; 24:00 is the day's end.
func (n aiobNode) clock() int {
	text := n.text(10)
	m, ok := parseClock(text)
	if !ok {
		n.wrong("时间格式应为 HH:mm")
	}
	return m
}

func parseClock(text string) (minutes int, ok bool) {
	h, m, ok := strings.Cut(text, ":")
	m, seconds, more := strings.Cut(m, ":")
	if !ok || len(h) < 1 || len(h) > 2 || len(m) != 2 || more && seconds != "00" {
		return 0, false
	}
	hours, err := strconv.ParseUint(h, 10, 8)
	minute, err2 := strconv.ParseUint(m, 10, 8)
	if err != nil || err2 != nil || hours > 24 || minute > 59 || hours == 24 && minute > 0 {
		return 0, false
	}
	return int(hours*60 + minute), true
}

// Bounds of a group of numbers of one person.
const maxGroup = 5

// parseGroup reads the numbers of one person: one to five between semicolons, the last of which may end with one too.
func parseGroup(text string) (group []waihu.PhoneNumber, err error) {
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(text), ";"), ";") {
		if len(group) == maxGroup {
			return nil, errors.New("一个号码组最多 5 个号码")
		}
		phone, err := waihu.ParsePhone(part)
		if err != nil {
			return nil, errors.New("号码格式不正确")
		}
		for _, p := range group {
			if p.Canonical() == phone.Canonical() {
				return nil, errors.New("号码组内号码重复")
			}
		}
		group = append(group, phone)
	}
	return group, nil
}
