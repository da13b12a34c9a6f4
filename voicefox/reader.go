package voicefox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"waihu"
)

// maxBody bounds a JSON body.
const maxBody = 4 << 20

// read decodes a JSON body into out, a pointer to a struct. A key that the struct does not have is refused by its name:
// what was misspelt would else be lost in silence.
func (c *request) read(out any) error {
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return refused(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", maxBody)
	case err != nil:
		return wrong("", "the body could not be read to its end")
	}
	return decode(raw, out)
}

// decode reads one JSON document.
func decode(raw []byte, out any) error {
	if !utf8.Valid(raw) || bytes.Contains(raw, []byte(`\u0000`)) {
		return wrong("", "the body is not text in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(out)
	if err == nil && len(bytes.TrimSpace(raw[d.InputOffset():])) > 0 {
		err = errors.New("more follows the JSON document")
	}
	var wrongType *json.UnmarshalTypeError
	var refusal *refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &wrongType):
		return wrong(wrongType.Field, "%s was expected, not %s", typeName(wrongType.Type.String()), wrongType.Value)
	}
	return wrong("", "the body is not the JSON that was expected: %s", strings.TrimPrefix(err.Error(), "json: "))
}

func typeName(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"), strings.HasPrefix(goType, "*[]"):
		return "a list"
	case strings.Contains(goType, "string"):
		return "a text"
	case strings.HasSuffix(goType, ".number"):
		return "a whole number"
	case strings.Contains(goType, "int"), strings.Contains(goType, "float"):
		return "a number"
	case strings.Contains(goType, "bool"):
		return "true or false"
	}
	return "an object"
}

// number is an integer that clients also send as text.
type number int64

// UnmarshalJSON reads 7, "7" and 7.0.
func (n *number) UnmarshalJSON(raw []byte) error {
	text := strings.TrimSpace(strings.Trim(string(raw), `"`))
	if string(raw) == "null" {
		return nil
	}
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		*n = number(v)
		return nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 && raw[0] != '"' {
		*n = number(f)
		return nil
	}
	return &json.UnmarshalTypeError{Value: fmt.Sprintf("%.40s", raw), Type: reflect.TypeFor[number]()} // the decoder adds the field
}

// ids reads a query parameter that may be repeated, a comma-separated list, or both, under name or name[].
func (c *request) ids(name string, most int) ([]int64, error) {
	var out []int64
	query := c.r.URL.Query()
	for _, text := range append(query[name], query[name+"[]"]...) {
		for _, part := range strings.Split(text, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			n, err := strconv.ParseInt(part, 10, 64)
			if err != nil {
				return nil, wrong(name, "decimal numbers with commas between them were expected")
			}
			out = append(out, n)
		}
	}
	if len(out) > most {
		return nil, wrong(name, "at most %d ids were expected, not %d", most, len(out))
	}
	return out, nil
}

// Bounds of a page, as documented.
const (
	defaultPageSize = 10
	maxPageSize     = 100
)

// page reads pageIndex and pageSize. A size beyond the maximum is cut to it.
func (c *request) page() (p page, err error) {
	p = page{PageIndex: 1, PageSize: defaultPageSize}
	for name, to := range map[string]*int{"pageIndex": &p.PageIndex, "pageSize": &p.PageSize} {
		text := strings.TrimSpace(c.r.URL.Query().Get(name))
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 1 {
			return p, wrong(name, "a number from 1 on was expected")
		}
		*to = int(n)
	}
	p.PageSize = min(p.PageSize, maxPageSize)
	if p.PageIndex > math.MaxInt32/maxPageSize {
		return p, wrong("pageIndex", "is too large")
	}
	return p, nil
}

// stamp is a time as the vendor's console shows it: RFC 3339 with milliseconds in the account's zone; "" for none.
func stamp(t time.Time, loc *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(loc).Format("2006-01-02T15:04:05.000Z07:00")
}

// parseTime reads a time of a query: the documented form, its date alone, or RFC 3339. With end the documented form is the
// end of that second, for calls begin within one, and a date alone is the end of that day.
func parseTime(text string, loc *time.Location, end bool) (time.Time, bool) {
	for _, form := range []string{time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(form, text, loc); err == nil {
			if end && t.Nanosecond() == 0 {
				t = t.Add(time.Second - time.Millisecond)
			}
			return t, true
		}
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, true
	}
	t, err := time.ParseInLocation(time.DateOnly, text, loc)
	if err == nil && end {
		t = endOfDay(t)
	}
	return t, err == nil
}

func startOfDay(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, t.Location())
}

// endOfDay is the last instant of a day that the ledger can tell from the next.
func endOfDay(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, t.Location()).Add(-time.Millisecond)
}

// parseClock reads HH:MM, with seconds 00 or none, as minutes from midnight; 24:00 is 1440.
func parseClock(text string) (int, bool) {
	parts := strings.Split(strings.TrimSpace(text), ":")
	if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[2] != "00" {
		return 0, false
	}
	h, err1 := strconv.ParseUint(parts[0], 10, 8)
	m, err2 := strconv.ParseUint(parts[1], 10, 8)
	if err1 != nil || err2 != nil || len(parts[0]) > 2 || len(parts[1]) != 2 || m > 59 || h > 24 || h == 24 && m > 0 {
		return 0, false
	}
	return int(h*60 + m), true
}

func clockText(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// problems are several reasons as one error.
func problems(list []waihu.Problem) error {
	if len(list) == 0 {
		return nil
	}
	var all []string
	for _, p := range list {
		text := p.Message
		if p.Field != "" {
			text = p.Field + ": " + text
		}
		all = append(all, text)
	}
	return refused(http.StatusUnprocessableEntity, "%s", strings.Join(all, "; "))
}
