package voicefox

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"waihu"
)

// request is one accepted request: who asks.
type request struct {
	s       *server
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context
	account waihu.Account
	loc     *time.Location
}

// accept says who asks. Nothing of a request is looked at before its token is known.
func (s *server) accept(w http.ResponseWriter, r *http.Request) (*request, error) {
	if !utf8.ValidString(r.URL.Path) || strings.ContainsRune(r.URL.Path, 0) { // no text that PostgreSQL takes
		return nil, refused(http.StatusNotFound, "no such path")
	}
	scheme, secret, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return nil, refused(http.StatusUnauthorized, "the header Authorization: Bearer <token> is missing")
	}
	account, token, err := s.Store.AccountByToken(r.Context(), secret)
	if err != nil {
		return nil, err
	}
	if token.Scope != "" && token.Scope != Door {
		return nil, refused(http.StatusUnauthorized, "the token is not valid here")
	}
	if wait := s.limit.Wait(token.ID, s.Now()); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		return nil, refused(http.StatusTooManyRequests, "too many requests: at most %d a second", s.PerSecond)
	}
	return &request{s: s, w: w, r: r, ctx: r.Context(), account: account, loc: waihu.Location(account.Zone)}, nil
}

// pathID is an integer id of the path.
func (c *request) pathID(name string) (int64, error) {
	text := c.r.PathValue(name)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, wrong(name, "a decimal number was expected")
	}
	return n, nil
}

// task is the task of the path.
func (c *request) task() (waihu.Task, error) {
	serial, err := c.pathID("taskID")
	if err != nil {
		return waihu.Task{}, err
	}
	t, err := c.s.Store.TaskBySerial(c.ctx, c.account.ID, serial)
	return t, c.foreign(err, "task", func() (waihu.AccountID, error) { return c.s.Store.TaskOwner(c.ctx, serial) })
}

// assistant is the newest version of the assistant of the path.
func (c *request) assistant() (waihu.AgentSpec, error) {
	serial, err := c.pathID("id")
	if err != nil {
		return waihu.AgentSpec{}, err
	}
	a, err := c.s.Store.AgentBySerial(c.ctx, c.account.ID, serial)
	return a, c.foreign(err, "assistant", func() (waihu.AccountID, error) { return c.s.Store.AgentOwner(c.ctx, serial) })
}

// call is the call of the path.
func (c *request) call() (waihu.Call, error) {
	id, err := waihu.ParseCallID(c.r.PathValue("sessionId"))
	if err != nil {
		return waihu.Call{}, refused(http.StatusNotFound, "no such session")
	}
	k, err := c.s.Store.CallOf(c.ctx, c.account.ID, id)
	return k, c.foreign(err, "session", func() (waihu.AccountID, error) { return c.s.Store.CallOwner(c.ctx, id) })
}
