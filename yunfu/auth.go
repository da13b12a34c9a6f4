package yunfu

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"waihu"
	"waihu/store"
)

// request is one accepted request: who asks, for whom, and with which fields.
type request struct {
	s    *server
	w    http.ResponseWriter
	r    *http.Request
	ctx  context.Context
	form *form

	token store.Token
	user  waihu.Account // of the path, or the token's where the path names none: the main account
	acts  waihu.Account // whose tasks are meant: user, or its sub-account named by sub_user_id
	loc   *time.Location
	keys  *codec // of acts, once it was asked for
}

// accept says who asks and reads the fields. Nothing of a request is looked at before its token is known, and
// an account out of reach is answered the same whether it exists or not.
func (s *server) accept(w http.ResponseWriter, r *http.Request) (*request, error) {
	if !utf8.ValidString(r.URL.Path) || strings.ContainsRune(r.URL.Path, 0) { // no text that PostgreSQL takes
		return nil, refused(http.StatusNotFound, "接口不存在")
	}
	scheme, secret, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return nil, refused(http.StatusUnauthorized, "请求头缺少 Authorization: Bearer <token>")
	}
	actor, token, err := s.Store.AccountByToken(r.Context(), secret)
	if err != nil {
		return nil, err
	}
	if token.Scope != "" && token.Scope != Door {
		return nil, refused(http.StatusUnauthorized, "token 无效或已过期")
	}
	if wait := s.limit.Wait(token.ID, s.Now()); wait > 0 {
		w.Header().Set("Retry-After", itoa(int((wait+time.Second-1)/time.Second)))
		return nil, refused(http.StatusTooManyRequests, "请求过于频繁,每秒最多 "+itoa(s.PerSecond)+" 次,请稍后再试")
	}
	c := &request{s: s, w: w, r: r, ctx: r.Context(), token: token, user: actor}
	if strings.Contains(r.Pattern, "{user_id}") {
		if c.user, err = s.reach(r.Context(), actor.ID, r.PathValue("user_id")); err != nil {
			return nil, err
		}
	}
	fields, err := readFields(r)
	if err != nil {
		return nil, err
	}
	c.form = &form{fields: fields}
	sub := c.form.get("sub_user_id").id()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	c.acts = c.user
	if sub != "" {
		if c.acts, err = s.reach(r.Context(), c.user.ID, sub); err != nil {
			return nil, err
		}
	}
	c.loc = waihu.Location(c.acts.Zone)
	return c, nil
}

func (s *server) reach(ctx context.Context, actor waihu.AccountID, target string) (waihu.Account, error) {
	if target == "" {
		return waihu.Account{}, refused(http.StatusForbidden, "没有权限操作该用户")
	}
	a, err := s.Store.Reach(ctx, actor, waihu.AccountID(target))
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = refused(http.StatusForbidden, "没有权限操作该用户")
	}
	return a, err
}

// task is the task of the path.
func (c *request) task() (waihu.Task, error) {
	t, err := c.s.Store.Task(c.ctx, c.acts.ID, c.taskID())
	return t, c.noTask(err)
}

func (c *request) taskID() waihu.TaskID { return waihu.TaskID(c.r.PathValue("task_id")) }

// noTask names what was not found by a store method whose one object is the task.
func (c *request) noTask(err error) error {
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return refused(http.StatusNotFound, "任务不存在")
	}
	return err
}

// Bounds of a page.
const (
	defaultPerPage = 15
	maxPerPage     = 1000
	maxPage        = 1 << 30
)

type page struct {
	page, per int
	echo      any
}

// page reads page and per_page; per_page is echoed as text when the caller sent it.
func (c *request) page() page {
	p := page{page: 1, per: defaultPerPage, echo: defaultPerPage}
	if n := c.form.get("page"); !n.blank() {
		p.page = max(1, n.number(-maxPage, maxPage))
	}
	if n := c.form.get("per_page"); !n.blank() {
		p.per = min(max(1, n.number(-maxPage, maxPage)), maxPerPage)
		p.echo = itoa(p.per)
	}
	return p
}

func (p page) meta(total int) *meta {
	return &meta{HasPages: total > p.per, Total: total, LastPage: max(1, (total+p.per-1)/p.per), CurrentPage: p.page, PerPage: p.echo}
}
