package yunfu

import (
	"net/http"
)

// userCreate registers an account for a partner. The partner is the token's main account here, and who registers becomes one of
// its sub-accounts: the token acts for it by its id in the path.
func (s *server) userCreate(c *request) (*answer, error) { return s.subCreate(c) }

// userList is the token's account and those that it has registered.
func (s *server) userList(c *request) (*answer, error) {
	p := c.page()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	subs, err := s.Store.SubAccounts(c.ctx, c.user.ID)
	if err != nil {
		return nil, err
	}
	data := []accountRow{}
	list := append(subs[:0:0], c.user)
	list = append(list, subs...)
	for _, a := range cut(list, p) {
		row, err := c.accountRow(&a)
		if err != nil {
			return nil, err
		}
		data = append(data, row)
	}
	return &answer{message: "返回用户列表成功", data: data, meta: p.meta(len(list))}, nil
}

// authorize gives an address at which who opens it is signed in to the console as the account.
func (s *server) authorize(c *request) (*answer, error) {
	if s.SignIn == nil {
		return nil, refused(http.StatusServiceUnavailable, "本服务未启用控制台,无法登录")
	}
	address, until, err := s.SignIn(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	return &answer{message: "登录成功", data: map[string]string{"url": c.address(address), "expires_at": stamp(until, c.loc)}}, nil
}
