package keyue

import (
	"bytes"
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

// The documented codes that we answer with.
const (
	codeOK         = 200
	paramFormat    = 400001 // PARAM_FORMAT_INVALID
	paramCheck     = 400002 // PARAM_CHECK_ERROR
	denied         = 401001 // AUTH_PERMISSION_DENY
	importError    = 402002 // IMPORT_ERROR
	notExist       = 502001 // DATA_NOT_EXIST
	updateFailed   = 502004 // DATA_UPDATE_FAILED
	stateError     = 502007 // DATA_STATE_ERROR
	nameTaken      = 4001001
	tooMany        = 4000019 // of the sister product: too many requests
	noDialogue     = 4000647 // of the sister product: no dialogue engine available
	internalFailed = 500     // ours: no page names a code for the server's own faults
)

// handler answers one request with the value of data. It writes nothing itself but through w when it streams a body of
// its own; then it returns streamed.
type handler func(c *request) (data any, err error)

// streamed as data says that the answer has been written.
type streamed struct{}

// success and failure are the two shapes of the vendor's envelope.
type success struct {
	Time int64  `json:"time"` // unix milliseconds
	Data any    `json:"data"`
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

type failure struct {
	Code      int    `json:"code"`
	Msg       string `json:"msg"`
	Tip       string `json:"tip"`
	RequestID string `json:"requestId"`
}

// refusal is an error as the caller sees it. Status 0 is Options.ErrorStatus.
type refusal struct {
	status, code int
	message      string
}

func (e *refusal) Error() string { return e.message }

func refused(code int, format string, args ...any) *refusal {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

// wrong is a parameter that cannot be taken.
func wrong(code int, field, format string, args ...any) *refusal {
	return refused(code, "%s：%s", field, fmt.Sprintf(format, args...))
}

func unknown(message string) *refusal { return &refusal{http.StatusUnauthorized, denied, message} }

// explain turns any error into what the caller may see of it; nil: it is our own fault.
func explain(err error) *refusal {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, waihu.ErrDiskFull):
		return &refusal{http.StatusServiceUnavailable, updateFailed, "服务器磁盘空间不足,请联系管理员"}
	case errors.Is(err, waihu.ErrNameTaken):
		return refused(nameTaken, "机器人名称重复")
	case errors.Is(err, waihu.ErrAgentOnline):
		return refused(stateError, "机器人在线,请先下线")
	case errors.Is(err, waihu.ErrAgentUsed):
		return refused(stateError, "机器人正被外呼任务使用,请先停止或更换任务的机器人")
	}
	var e *waihu.Error
	message := ""
	if errors.As(err, &e) {
		message = e.Message
		if e.Field != "" {
			message = e.Field + "：" + message
		}
	}
	switch waihu.ErrorCode(err) {
	case waihu.EInvalid:
		return refused(paramCheck, "参数不正确：%s", message)
	case waihu.EUnauthorized:
		return unknown("token、uid、username 不匹配,或 token 已过期")
	case waihu.EForbidden:
		return refused(denied, "没有权限：该机器人属于主账户,只能由主账户修改") // the only thing that is forbidden here
	case waihu.ENotFound:
		return refused(notExist, "数据不存在")
	case waihu.EConflict:
		return refused(stateError, "当前状态不允许此操作：%s", message)
	case waihu.ELimit:
		return &refusal{http.StatusTooManyRequests, tooMany, "请求过于频繁或数量过多：" + message}
	case waihu.EUnavailable:
		return &refusal{http.StatusServiceUnavailable, internalFailed, "服务暂时不可用,请稍后再试"}
	}
	return nil
}

// fail writes a failure. What is not the caller's affair is logged under the requestId that the caller may quote.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	id := requestID()
	f := explain(err)
	if f == nil {
		s.Log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("error_id", id), slog.String("route", r.Pattern), slog.String("method", r.Method), slog.Any("error", err))
		f = &refusal{http.StatusInternalServerError, internalFailed, "服务器内部错误,请提供 requestId 联系管理员"}
	}
	status := f.status
	if status == 0 {
		status = s.ErrorStatus
	}
	write(w, status, failure{Code: f.code, Msg: f.message, RequestID: id})
}

// requestID is 32 hex characters, as the vendor's.
func requestID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// keyed is the one renderer of the agent API: it finds out who asks, reads the fields and writes the answer.
func (s *server) keyed(h handler) http.Handler { return s.answer(s.accept, h, readForm) }

// upload is keyed for a route that reads the body itself: only the query is in the fields.
func (s *server) upload(h handler) http.Handler { return s.answer(s.accept, h, readQuery) }

// talk is keyed for a dialogue, which asks for the token alone.
func (s *server) talk(h handler) http.Handler { return s.answer(s.acceptToken, h, readForm) }

func (s *server) answer(accept func(http.ResponseWriter, *http.Request) (*request, error), h handler, read func(*http.Request) (*form, error)) http.Handler {
	return s.safe(func(w http.ResponseWriter, r *http.Request) error {
		c, err := accept(w, r)
		if err != nil {
			return err
		}
		if c.form, err = read(r); err != nil {
			return err
		}
		data, err := h(c)
		if err != nil {
			return err
		}
		if _, done := data.(streamed); !done {
			write(w, http.StatusOK, success{Time: s.Now().UnixMilli(), Data: data, Code: codeOK, Msg: "OK"})
		}
		return nil
	})
}

// safe renders errors and panics as failures.
func (s *server) safe(h func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.fail(w, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

func write(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // our own types; a stored vendor field could hold no JSON at all
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"code":500,"msg":"服务器内部错误","tip":"","requestId":"` + requestID() + `"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
