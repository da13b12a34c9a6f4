package yunfu

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"waihu"
)

// tokenInfo says until when the token holds; that it is this key is ours.
func (s *server) tokenInfo(c *request) (*answer, error) {
	until := neverExpires
	if !c.token.ExpiresAt.IsZero() {
		until = stamp(c.token.ExpiresAt, c.loc)
	}
	return &answer{message: "返回token有效期成功", data: map[string]string{"expires_at": until}}, nil
}

// profile is what a sub-account keeps for this door beside its name, phone and email.
type profile struct {
	Alias    string `json:"alias,omitempty"`
	Birthday string `json:"birthday,omitempty"`
	Duty     string `json:"duty,omitempty"`
	Wechat   string `json:"wechat,omitempty"`
	QQ       string `json:"qq,omitempty"`
	Landline string `json:"landline_phone,omitempty"`
	Sex      int    `json:"sex,omitempty"`
}

// accountRow is data of the documented edit answer, and a row of the list.
type accountRow struct {
	ID       waihu.AccountID `json:"id"`
	Name     string          `json:"name"`
	Phone    string          `json:"phone"`
	Email    string          `json:"email"`
	Sex      int             `json:"sex"`
	Alias    any             `json:"alias"`
	Duty     any             `json:"duty"`
	Landline any             `json:"landline_phone"`
	QQ       any             `json:"qq"`
	Wechat   any             `json:"wechat"`
	Birthday any             `json:"birthday"`
	Created  string          `json:"created_at"`
	Updated  string          `json:"updated_at"`
}

func profileOf(a *waihu.Account) (p profile, err error) {
	if raw := a.Doors[Door]; len(raw) > 0 {
		err = json.Unmarshal(raw, &p)
	}
	return p, err
}

func (c *request) accountRow(a *waihu.Account) (accountRow, error) {
	p, err := profileOf(a)
	return accountRow{ID: a.ID, Name: a.Name, Phone: a.Phone, Email: a.Email, Sex: p.Sex, Alias: textOrNull(p.Alias), Duty: textOrNull(p.Duty),
		Landline: textOrNull(p.Landline), QQ: textOrNull(p.QQ), Wechat: textOrNull(p.Wechat), Birthday: textOrNull(p.Birthday),
		Created: stamp(a.CreatedAt, c.loc), Updated: stamp(a.UpdatedAt, c.loc)}, err
}

// accountInfo is what there is to know of an account; the vendor's own answer is not known.
func (s *server) accountInfo(c *request) (*answer, error) {
	row, err := c.accountRow(&c.acts)
	if err != nil {
		return nil, err
	}
	balance, err := s.Store.Balance(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	data := struct {
		accountRow
		Type    int         `json:"type"` // 4 main account, 8 sub-account
		Parent  any         `json:"parent_id"`
		Balance json.Number `json:"balance"`
	}{row, mainAccount, textOrNull(string(c.acts.Parent)), yuan(balance)}
	if c.acts.Parent != "" {
		data.Type = subAccount
	}
	return &answer{message: "返回账户信息成功", data: data}, nil
}

func (s *server) subList(c *request) (*answer, error) {
	p := c.page()
	id, name, email, phone := c.form.get("id").id(), c.form.get("name").text(), c.form.get("email").text(), c.form.get("phone").text()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	subs, err := s.Store.SubAccounts(c.ctx, c.user.ID)
	if err != nil {
		return nil, err
	}
	var list []waihu.Account
	for _, a := range subs {
		if (id == "" || string(a.ID) == id) && like(a.Name, name) && like(a.Email, email) && like(a.Phone, phone) {
			list = append(list, a)
		}
	}
	data := []accountRow{}
	for _, a := range cut(list, p) {
		row, err := c.accountRow(&a)
		if err != nil {
			return nil, err
		}
		data = append(data, row)
	}
	return &answer{message: "返回子账户列表成功", data: data, meta: p.meta(len(list))}, nil
}

func like(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// subCreate registers a sub-account. The password must be confirmed and is not kept: there is nothing here to sign
// in to with it, tokens are given out by the operator.
func (s *server) subCreate(c *request) (*answer, error) {
	if c.user.Parent != "" {
		return nil, refused(http.StatusForbidden, "子账户不能再创建子账户")
	}
	f := c.form
	f.get("name").need("名称")
	f.get("email").need("邮箱")
	f.get("phone").need("手机号")
	password := f.get("password").need("密码").text()
	if again := f.get("password_confirmation").need("确认密码"); again.text() != password {
		again.fail("与 password 不一致")
	}
	a := waihu.Account{ID: waihu.AccountID(uuid.NewString()), Parent: c.user.ID, Zone: c.user.Zone}
	return s.subSave(c, a, "子账户注册成功")
}

// subUpdate changes what the body names; route and answer are ours.
func (s *server) subUpdate(c *request) (*answer, error) {
	a, err := c.subAccount()
	if err != nil {
		return nil, err
	}
	return s.subSave(c, a, "修改子账户成功")
}

func (s *server) subSave(c *request, a waihu.Account, message string) (*answer, error) {
	if err := c.readSub(&a); err != nil {
		return nil, err
	}
	if err := s.Store.UpsertAccount(c.ctx, a); err != nil {
		return nil, err
	}
	a, err := s.Store.Account(c.ctx, a.ID)
	if err != nil {
		return nil, err
	}
	row, err := c.accountRow(&a)
	return &answer{message: message, data: row}, err
}

// readSub fills in what the body names. The further fields stand in subset_data, or beside it.
func (c *request) readSub(a *waihu.Account) error {
	p, err := profileOf(a)
	if err != nil {
		return err
	}
	f := c.form
	more := f.get("subset_data").object()
	set := func(n node, max int, to *string) {
		if n.has {
			*to = n.short(max)
		}
	}
	if n := f.get("name"); n.has {
		a.Name = n.need("名称").short(maxName)
	}
	if n := f.get("email"); n.has {
		if a.Email = n.short(maxName); !strings.Contains(a.Email, "@") {
			n.fail("应为邮箱地址")
		}
	}
	if n := f.get("phone"); n.has {
		phone, err := waihu.ParsePhone(n.text())
		if err != nil {
			n.fail("号码格式不正确,应为 3 到 20 位数字,可带前缀 +")
		}
		a.Phone = string(phone)
	}
	for name, to := range map[string]*string{"alias": &p.Alias, "duty": &p.Duty, "wechat": &p.Wechat, "qq": &p.QQ, "landline_phone": &p.Landline} {
		set(more.get(name).or(f.get(name)), maxName, to)
	}
	if n := more.get("sex").or(f.get("sex")); n.has {
		p.Sex = n.number(0, 2)
	}
	if n := more.get("birthday").or(f.get("birthday")); n.has {
		if p.Birthday = ""; !n.blank() {
			p.Birthday = n.when(c.loc, false).Format(time.DateOnly)
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	doc, err := json.Marshal(p)
	if err != nil {
		return err
	}
	doors := map[string][]byte{Door: doc}
	for name, kept := range a.Doors {
		if name != Door {
			doors[name] = kept
		}
	}
	a.Doors = doors
	return nil
}

// subAccount is the sub-account of the path; any other account is as if it did not exist.
func (c *request) subAccount() (waihu.Account, error) {
	a, err := c.s.reach(c.ctx, c.user.ID, c.r.PathValue("sub_user_id"))
	if err == nil && a.Parent != c.user.ID {
		err = refused(http.StatusForbidden, "没有权限操作该用户")
	}
	return a, err
}

func (s *server) subEdit(c *request) (*answer, error) {
	a, err := c.subAccount()
	if err != nil {
		return nil, err
	}
	row, err := c.accountRow(&a)
	return &answer{message: "查看子账户信息成功", data: row}, err
}

func (s *server) subDelete(c *request) (*answer, error) {
	a, err := c.subAccount()
	if err != nil {
		return nil, err
	}
	if err := s.Store.DeleteSubAccount(c.ctx, c.user.ID, a.ID); err != nil {
		return nil, err
	}
	return &answer{message: "删除子账户成功", data: ""}, nil
}
