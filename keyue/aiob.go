package keyue

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// The AIOB outbound family: the calling side of the same product, under its own token (files aiob_*). What stands on
// which page, and what is ours, is in docs/keyue-compatibility.md.

// doorAIOB is the name under which accounts, tasks and endpoints keep what is this family's alone, and the scope of its tokens.
const doorAIOB = "aiob"

// The codes of this family are HTTP statuses in the body. A refused request also has Options.ErrorStatus.
const (
	aiobWrong   = http.StatusBadRequest
	aiobUnknown = http.StatusUnauthorized
)

// aiobEnvelope is every answer of the family. The samples print time and requestId on some pages only; here they are always there.
type aiobEnvelope struct {
	Code      int    `json:"code"`
	Msg       string `json:"msg"`
	Data      any    `json:"data"`
	RequestID string `json:"requestId"`
	Time      int64  `json:"time"` // unix ms
}

// aiobSaid is data with a message other than "success".
type aiobSaid struct {
	msg  string
	data any
}

// aiobRequest is one accepted request: who asks, with which fields.
type aiobRequest struct {
	s     *server
	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context
	body  aiobNode
	first error // what was found wrong first

	account waihu.Account
	token   store.Token
	tenant  int64
	loc     *time.Location
}

type aiobHandler func(c *aiobRequest) (any, error)

func aiobRefuse(format string, args ...any) *refusal {
	return &refusal{code: aiobWrong, message: fmt.Sprintf(format, args...)}
}

var aiobNoToken = &refusal{aiobUnknown, aiobUnknown, "Authorization 无效或已过期,请用 accessKey、secretKey 重新获取 accessToken"}

// aiob renders a route that asks for a token, aiobOpen one that asks for none.
func (s *server) aiob(h aiobHandler) http.Handler     { return s.aiobServe(h, (*server).aiobAccept) }
func (s *server) aiobOpen(h aiobHandler) http.Handler { return s.aiobServe(h, nil) }

func (s *server) aiobServe(h aiobHandler, accept func(*server, *aiobRequest) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.aiobFail(w, r, fmt.Errorf("panic: %v", p))
			}
		}()
		c := &aiobRequest{s: s, w: w, r: r, ctx: r.Context()}
		if accept != nil {
			if err := accept(s, c); err != nil {
				s.aiobFail(w, r, err)
				return
			}
		}
		body, err := readAIOB(r)
		if err != nil {
			s.aiobFail(w, r, err)
			return
		}
		c.body = aiobNode{first: &c.first, v: body}
		data, err := h(c)
		if err != nil {
			s.aiobFail(w, r, err)
			return
		}
		e := aiobEnvelope{Code: codeOK, Msg: "success", Data: data, RequestID: requestID(), Time: s.Now().UnixMilli()}
		switch said := data.(type) {
		case streamed:
			return
		case aiobSaid:
			e.Msg, e.Data = said.msg, said.data
		}
		write(w, http.StatusOK, e)
	})
}

// aiobAccept says who asks. Nothing of a request is looked at before.
func (s *server) aiobAccept(c *aiobRequest) error {
	secret := strings.TrimSpace(c.r.Header.Get("Authorization"))
	if scheme, rest, ok := strings.Cut(secret, " "); ok && strings.EqualFold(scheme, "Bearer") { // not documented; clients do it
		secret = strings.TrimSpace(rest)
	}
	if secret == "" {
		return &refusal{aiobUnknown, aiobUnknown, "请求头缺少 Authorization"}
	}
	a, token, err := s.Store.AccountByToken(c.ctx, secret)
	if err != nil {
		return err
	}
	if wait := s.limit.Wait(token.ID, s.Now()); wait > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		return &refusal{http.StatusTooManyRequests, http.StatusTooManyRequests, "请求过于频繁,请稍后再试"}
	}
	if token.Scope != "" {
		alive, err := s.aiobAlive(c.ctx, &token)
		if err != nil {
			return err
		}
		if !alive {
			return aiobNoToken
		}
	}
	return c.of(a, token)
}

// of fills in what follows from the account.
func (c *aiobRequest) of(a waihu.Account, token store.Token) error {
	who, err := identityOf(a)
	c.account, c.token, c.loc = a, token, waihu.Location(a.Zone)
	c.tenant = tenantNumber(who.TenantID)
	return err
}

// tenantNumber is the tenant's id as a number: as the apply file says when that is one, else a digest that stays the same.
func tenantNumber(id string) int64 {
	if n, err := strconv.ParseInt(id, 10, 64); err == nil && n > 0 {
		return n
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	return int64(h.Sum64() >> 12) // 52 bits: exact in every JSON reader
}

// done is the first mistake in the fields that were read, nil when there is none.
func (c *aiobRequest) done() error { return c.first }

// aiobExplain turns any error into what the caller may see of it; nil: it is our own fault.
func aiobExplain(err error) *refusal {
	var r *refusal
	var e *waihu.Error
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, waihu.ErrDiskFull):
		return &refusal{http.StatusServiceUnavailable, http.StatusServiceUnavailable, "服务器磁盘空间不足,请联系管理员"}
	case errors.Is(err, waihu.ErrTaskStarted):
		return aiobRefuse("任务正在执行中,请先暂停任务")
	case errors.Is(err, waihu.ErrRunsOpen):
		return aiobRefuse("任务仍有通话未结束,请稍后再试")
	case errors.Is(err, waihu.ErrNoLine):
		return aiobRefuse("无可用主叫号码")
	case errors.Is(err, waihu.ErrResidue):
		return aiobRefuse("剩余通路数不足")
	case errors.Is(err, waihu.ErrWindowOver):
		return aiobRefuse("任务已到期")
	}
	message := ""
	if errors.As(err, &e) {
		message = e.Message
		if e.Field != "" {
			message = e.Field + "：" + message
		}
	}
	switch waihu.ErrorCode(err) {
	case waihu.EUnauthorized:
		return aiobNoToken
	case waihu.EInvalid:
		return aiobRefuse("参数不正确：%s", message)
	case waihu.EForbidden:
		return aiobRefuse("没有权限")
	case waihu.ENotFound:
		return aiobRefuse("数据不存在")
	case waihu.EConflict:
		return aiobRefuse("当前状态不允许此操作：%s", message)
	case waihu.ELimit:
		return &refusal{http.StatusTooManyRequests, http.StatusTooManyRequests, "请求过于频繁或数量过多：" + message}
	case waihu.EUnavailable:
		return &refusal{http.StatusServiceUnavailable, http.StatusServiceUnavailable, "服务暂时不可用,请稍后再试"}
	}
	return nil
}

// aiobFail writes a failure; what is our own fault is logged under the requestId.
func (s *server) aiobFail(w http.ResponseWriter, r *http.Request, err error) {
	id := requestID()
	f := aiobExplain(err)
	if f == nil {
		s.Log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("error_id", id), slog.String("route", r.Pattern), slog.Any("error", err))
		f = &refusal{http.StatusInternalServerError, http.StatusInternalServerError, "服务器内部错误,请提供 requestId 联系管理员"}
	}
	status := f.status
	if status == 0 {
		status = s.ErrorStatus
	}
	code := f.code
	if code > 599 { // of the agent API's codes
		code = aiobWrong
	}
	write(w, status, aiobEnvelope{Code: code, Msg: f.message, RequestID: id, Time: s.Now().UnixMilli()})
}

// robot is an agent of the account by the id under which clients of this door know it, or by its own.
func (c *aiobRequest) robot(id string) (waihu.AgentSpec, error) {
	return c.s.Store.AgentByExternal(c.ctx, c.account.ID, Door, id)
}

// robotID is the id of an agent as this door's clients know it, with its name; an agent that is gone keeps its own.
func (c *aiobRequest) robotID(id waihu.AgentID) (wire, name string, err error) {
	a, err := c.s.Store.Agent(c.ctx, c.account.ID, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return string(id), "", nil
	}
	if err != nil {
		return "", "", err
	}
	return robotWire(&a), a.Name, nil
}

func robotWire(a *waihu.AgentSpec) string {
	if id := a.ExternalIDs[Door]; id != "" {
		return id
	}
	return string(a.ID)
}

// stampAIOB is a time as the family writes it, "" for none.
func stampAIOB(t time.Time, loc *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(loc).Format(time.DateTime)
}

// unixMS is a time in unix milliseconds, 0 for none.
func unixMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
