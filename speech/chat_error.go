package speech

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Stages of a ChatError: how far the question came.
const (
	StageDial     = "dial"     // no connection
	StageAuth     = "auth"     // 401, 403
	StageQuota    = "quota"    // 429
	StageFormat   = "format"   // the server did not like the question: other 4xx
	StageServer   = "server"   // 5xx
	StageProtocol = "protocol" // the answer is none: HTML, no JSON, no choices
	StageRead     = "read"     // the connection broke inside the answer, or the answer was cut off
	StageTimeout  = "timeout"  // too slow
	StageStopped  = "stopped"  // the caller has ended it
)

// ChatError says why there is no answer. Its text holds no word of the server's own, which may repeat what it was asked: that is in Text.
type ChatError struct {
	Stage      string
	Retryable  bool
	Status     int           // of HTTP; 0 without an answer
	Code       string        // the server's own, such as rate_limit_exceeded
	Text       string        // the server's words; may hold personal data: not for logs
	RetryAfter time.Duration // 0: not said
	Partial    string        // what had come of a streamed answer
	Cause      error
}

func (e *ChatError) Error() string {
	var b strings.Builder
	b.WriteString("language model: ")
	b.WriteString(e.Stage)
	if e.Status != 0 {
		fmt.Fprintf(&b, ", status %d", e.Status)
	}
	if e.Code != "" {
		b.WriteString(", code " + e.Code)
	}
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	return b.String()
}

func (e *ChatError) Unwrap() error { return e.Cause }

// netError tells our own deadline, the caller's end and the network apart.
func netError(ctx context.Context, stage string, err error) *ChatError {
	switch {
	case errors.Is(context.Cause(ctx), errFirst), errors.Is(context.Cause(ctx), errStall):
		return &ChatError{Stage: StageTimeout, Retryable: true, Cause: context.Cause(ctx)}
	case errors.Is(ctx.Err(), context.Canceled):
		return &ChatError{Stage: StageStopped, Cause: ctx.Err()}
	case ctx.Err() != nil, isTimeout(err):
		return &ChatError{Stage: StageTimeout, Retryable: true, Cause: errors.New("no answer in time")}
	}
	return &ChatError{Stage: stage, Retryable: true, Cause: err}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// statusError reads an answer that is none. Servers put their words in different places.
func statusError(resp *http.Response) *ChatError {
	e := &ChatError{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		e.Stage = StageAuth
	case resp.StatusCode == http.StatusTooManyRequests:
		e.Stage, e.Retryable = StageQuota, true
	case resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode >= 500:
		e.Stage, e.Retryable = StageServer, true
	case resp.StatusCode >= 400:
		e.Stage = StageFormat
	default: // a redirect that was not followed, a 204
		e.Stage = StageProtocol
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what is missing of an error's words is missing
	var w chatWire
	if json.Unmarshal(text, &w) == nil {
		if f := w.failure(); f != nil {
			e.Code, e.Text = f.Code, f.Text
		}
	}
	if e.Code == "insufficient_quota" { // an empty purse is not filled by waiting
		e.Retryable = false
	}
	return e
}

// retryAfter reads the header's two forms: seconds, and a date. 0 when it says nothing.
func retryAfter(h string, now time.Time) time.Duration {
	if h == "" {
		return 0
	}
	if s, err := strconv.ParseFloat(h, 64); err == nil {
		if s <= 0 || s > 24*3600 {
			return 0
		}
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(h); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// failure is the error that a JSON answer holds in one of its usual places: {"error":{...}}, {"error":"..."}, {"detail":...}, {"message":...}.
func (w *chatWire) failure() *ChatError {
	if len(w.Choices) > 0 && w.Error == nil {
		return nil
	}
	e := &ChatError{Stage: StageServer, Retryable: true}
	var object struct {
		Message string          `json:"message"`
		Type    string          `json:"type"`
		Code    json.RawMessage `json:"code"`
	}
	var text string
	switch {
	case len(w.Error) > 0 && json.Unmarshal(w.Error, &object) == nil && (object.Message != "" || len(object.Code) > 0 || object.Type != ""):
		e.Text, e.Code = object.Message, word(object.Code)
		if e.Code == "" {
			e.Code = word([]byte(strconv.Quote(object.Type)))
		}
	case len(w.Error) > 0 && json.Unmarshal(w.Error, &text) == nil && text != "":
		e.Text = text
	case len(w.Detail) > 0:
		e.Text = string(w.Detail)
	case w.Message != "":
		e.Text, e.Code = w.Message, word(w.Code)
	default:
		return nil
	}
	e.Text = short(e.Text, 500)
	return e
}

// word is a code as text: servers send numbers, too. Anything that is not a plain word is dropped: it will be logged.
func word(raw json.RawMessage) string {
	s := strings.Trim(string(raw), `"`)
	if s == "null" || len(s) > 60 || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.- ", r)
	}) {
		return ""
	}
	return s
}

func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

func mediaType(resp *http.Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// unzip opens a body that the transport has left compressed.
func unzip(resp *http.Response) error {
	if !strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		return nil
	}
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		return fmt.Errorf("the answer says that it is gzip, and is not: %w", err)
	}
	resp.Body = zipped{z, resp.Body}
	return nil
}

type zipped struct {
	*gzip.Reader
	under io.Closer
}

func (z zipped) Close() error { return errors.Join(z.Reader.Close(), z.under.Close()) }
