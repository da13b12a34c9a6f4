package keyue

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"waihu"
	"waihu/store"
)

// identity is what an account keeps for this door, as the apply file writes it.
type identity struct {
	UID      string `json:"uid"`
	Username string `json:"username"`
	TenantID string `json:"tenant_id"`
}

// identityOf is the account's; what it does not name is its own: uid and tenant the account's id, username its name.
func identityOf(a waihu.Account) (id identity, err error) {
	if raw := a.Doors[Door]; len(raw) > 0 {
		if err = json.Unmarshal(raw, &id); err != nil {
			return id, fmt.Errorf("read what account %s keeps for the door: %w", a.ID, err)
		}
	}
	if id.UID == "" {
		id.UID = string(a.ID)
	}
	if id.Username == "" {
		id.Username = a.Name
	}
	if id.TenantID == "" {
		id.TenantID = string(a.ID)
	}
	return id, nil
}

// request is one accepted request: who asks, and with which fields.
type request struct {
	s    *server
	w    http.ResponseWriter
	r    *http.Request
	ctx  context.Context
	form *form

	account waihu.Account
	token   store.Token
	who     identity
	loc     *time.Location
}

// accept says who asks. Nothing of a request is looked at before its headers are known to belong
// together; which of the three was wrong is not told.
func (s *server) accept(w http.ResponseWriter, r *http.Request) (*request, error) {
	c := &request{s: s, w: w, r: r, ctx: r.Context()}
	secret, uid, username := r.Header.Get("token"), r.Header.Get("uid"), r.Header.Get("username")
	if secret == "" || uid == "" || username == "" {
		return nil, unknown("请求头缺少 token、uid 或 username")
	}
	if err := c.known(secret); err != nil {
		return nil, err
	}
	if !same(uid, c.who.UID) || !same(username, c.who.Username) {
		return nil, waihu.Errorf(waihu.EUnauthorized, "the headers do not belong together")
	}
	return c, nil
}

// acceptToken says who asks by the token alone, as the vendor's dialogue routes do.
func (s *server) acceptToken(w http.ResponseWriter, r *http.Request) (*request, error) {
	c := &request{s: s, w: w, r: r, ctx: r.Context()}
	secret := r.Header.Get("token")
	if secret == "" {
		return nil, unknown("请求头缺少 token")
	}
	return c, c.known(secret)
}

// known finds the account of a token of this door.
func (c *request) known(secret string) (err error) {
	if c.account, c.token, err = c.s.Store.AccountByToken(c.ctx, secret); err != nil {
		return err
	}
	if c.token.Scope != "" && c.token.Scope != Door {
		return waihu.Errorf(waihu.EUnauthorized, "the token is another door's")
	}
	if wait := c.s.limit.Wait(c.token.ID, c.s.Now()); wait > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		return &refusal{http.StatusTooManyRequests, tooMany, "请求过于频繁,请稍后再试"}
	}
	c.loc = waihu.Location(c.account.Zone)
	c.who, err = identityOf(c.account)
	return err
}

// same compares a header with what it should be. A name beyond ASCII may arrive percent-encoded.
func same(got, want string) bool {
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1 {
		return true
	}
	plain, err := url.PathUnescape(got)
	return err == nil && subtle.ConstantTimeCompare([]byte(plain), []byte(want)) == 1
}
