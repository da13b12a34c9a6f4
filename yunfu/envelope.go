package yunfu

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

// handler answers one request. It writes nothing itself but through w when it streams a body
// of its own (a recording); then it returns a nil answer.
type handler func(c *request) (*answer, error)

// answer is a success. data absent, "", [] or an object differ per endpoint, as documented.
type answer struct {
	message string
	data    any
	meta    *meta
}

// absent as data leaves the key out.
type absent struct{}

// meta is what lists add. PerPage is the caller's own text when it sent one, an int otherwise:
// in every vendor example it is a string beside ints.
type meta struct {
	HasPages    bool `json:"has_pages"`
	Total       int  `json:"total"`
	LastPage    int  `json:"last_page"`
	CurrentPage int  `json:"current_page"`
	PerPage     any  `json:"per_page"`
}

// refusal is an error as the caller sees it. Other errors are mapped by their waihu.Code.
type refusal struct {
	status, code int
	message      string
}

func (e *refusal) Error() string { return e.message }

func refused(status int, message string) *refusal {
	return &refusal{status: status, code: status, message: message}
}

// wrong is a request that cannot be taken; field is the path of what is wrong with it.
func wrong(field, format string, args ...any) *refusal {
	m := fmt.Sprintf(format, args...)
	if field != "" {
		m = field + "：" + m
	}
	return refused(http.StatusUnprocessableEntity, m)
}

// busy is error 6007, worded as documented.
func (s *server) busy() *refusal {
	return &refusal{status: s.BusyStatus, code: 6007, message: "2.0任务启动中,请先停止任务"}
}

// explain turns any error into what the caller may see of it.
func (s *server) explain(err error) *refusal {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, waihu.ErrTaskStarted), errors.Is(err, waihu.ErrRunsOpen):
		return s.busy()
	case errors.Is(err, waihu.ErrNoLine):
		return refused(http.StatusUnprocessableEntity, "任务未配置线路,请先选择线路")
	case errors.Is(err, waihu.ErrDiskFull):
		return refused(http.StatusServiceUnavailable, "服务器磁盘空间不足,请联系管理员")
	}
	var e *waihu.Error
	message := ""
	if errors.As(err, &e) {
		message = inChinese(e.Message)
		if e.Field != "" {
			message = e.Field + "：" + message
		}
	}
	switch waihu.ErrorCode(err) {
	case waihu.EInvalid:
		return refused(http.StatusUnprocessableEntity, "参数不正确："+message)
	case waihu.EUnauthorized:
		return refused(http.StatusUnauthorized, "token 无效或已过期")
	case waihu.EForbidden:
		return refused(http.StatusForbidden, "没有权限")
	case waihu.ENotFound:
		return refused(http.StatusNotFound, "数据不存在")
	case waihu.EConflict:
		return refused(http.StatusUnprocessableEntity, "当前状态不允许此操作："+message)
	case waihu.ELimit:
		return refused(http.StatusTooManyRequests, "请求过于频繁或数量过多："+message)
	case waihu.EUnavailable:
		return refused(http.StatusServiceUnavailable, "服务暂时不可用,请稍后再试")
	}
	return nil
}

// fail writes an error in the envelope. What is not the caller's affair is logged under an id that the
// caller may quote.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := s.explain(err)
	switch {
	case f == nil && r.Context().Err() != nil:
		f = refused(http.StatusServiceUnavailable, "请求已取消")
	case f == nil:
		id := errorID()
		s.Log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelError, "request failed",
			slog.String("error_id", id), slog.String("route", r.Pattern), slog.String("method", r.Method), slog.Any("error", err))
		f = refused(http.StatusInternalServerError, "服务器内部错误,错误编号 "+id)
	}
	write(w, f.status, envelope{Code: f.code, Status: "error", Message: f.message, Data: []int{}})
}

// errorID is short enough to be read out over a telephone.
func errorID() string {
	var b [5]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

type envelope struct {
	Code    int    `json:"code"`
	Status  string `json:"status"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"` // an interface is only empty when nil
	Meta    *meta  `json:"meta,omitempty"`
}

// serve is the one renderer. open routes ask for no token: what they are asked for is in the address itself.
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
		if err != nil {
			s.fail(w, r, err)
			return
		}
		a, err := h(c)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if a == nil {
			return
		}
		e := envelope{Code: 200, Status: "success", Message: a.message, Data: a.data, Meta: a.meta}
		if _, ok := a.data.(absent); ok {
			e.Data = nil
		}
		write(w, http.StatusOK, e)
	})
}

func write(w http.ResponseWriter, status int, e envelope) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil { // our own types; a stored vendor field could hold no JSON at all
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"code":500,"status":"error","message":"服务器内部错误","data":[]}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
