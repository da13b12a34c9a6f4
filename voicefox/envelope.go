package voicefox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"waihu"
)

// handler answers one request with the value of the body. It writes nothing itself but through w when it streams a body
// of its own; then it returns streamed.
type handler func(c *request) (body any, err error)

// streamed says that the answer has been written.
type streamed struct{}

// refusal is an error as the caller sees it. Other errors are mapped by their waihu.Code.
type refusal struct {
	Code    int    `json:"code"` // the HTTP status again
	Message string `json:"message"`
}

func (e *refusal) Error() string { return e.Message }

func refused(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// wrong is a request that cannot be taken; field is the path of what is wrong with it.
func wrong(field, format string, args ...any) *refusal {
	m := fmt.Sprintf(format, args...)
	if field != "" {
		m = field + ": " + m
	}
	return refused(http.StatusUnprocessableEntity, "%s", m)
}

// explain turns any error into what the caller may see of it; nil: it is our own fault.
func explain(err error) *refusal {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, waihu.ErrDiskFull):
		return refused(http.StatusServiceUnavailable, "the server's disk is nearly full")
	}
	var e *waihu.Error
	message := ""
	if errors.As(err, &e) {
		message = e.Message
		if e.Field != "" {
			message = e.Field + ": " + message
		}
	}
	switch waihu.ErrorCode(err) {
	case waihu.EInvalid:
		return refused(http.StatusUnprocessableEntity, "%s", message)
	case waihu.EUnauthorized:
		return refused(http.StatusUnauthorized, "the token is not known or has expired")
	case waihu.EForbidden:
		return refused(http.StatusForbidden, "not permitted: %s", message)
	case waihu.ENotFound:
		return refused(http.StatusNotFound, "not found")
	case waihu.EConflict:
		return refused(http.StatusConflict, "%s", message)
	case waihu.ELimit:
		return refused(http.StatusTooManyRequests, "%s", message)
	case waihu.EUnavailable:
		return refused(http.StatusServiceUnavailable, "not available now, try again later")
	}
	return nil
}

// fail writes an error. What is not the caller's affair is logged under an id that the caller may quote.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := explain(err)
	switch {
	case f == nil && r.Context().Err() != nil:
		f = refused(http.StatusServiceUnavailable, "the request was given up")
	case f == nil:
		var b [5]byte
		rand.Read(b[:])
		id := hex.EncodeToString(b[:])
		s.Log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelError, "request failed",
			slog.String("error_id", id), slog.String("route", r.Pattern), slog.String("method", r.Method), slog.Any("error", err))
		f = refused(http.StatusInternalServerError, "internal error %s", id)
	}
	write(w, f.Code, f)
}

// serve is the one renderer.
func (s *server) serve(h handler, open bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.fail(w, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		c, err := &request{s: s, w: w, r: r, ctx: r.Context()}, error(nil)
		if !open {
			c, err = s.accept(w, r)
		}
		var body any
		if err == nil {
			body, err = h(c)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if _, done := body.(streamed); !done {
			write(w, http.StatusOK, body)
		}
	})
}

func write(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil { // our own types; a stored vendor field could hold no JSON at all
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"code":500,"message":"internal error"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// page is a paging object, bare as the vendor's.
type page struct {
	Items     any `json:"items"`
	Total     int `json:"total"`
	PageIndex int `json:"pageIndex"`
	PageSize  int `json:"pageSize"`
}
