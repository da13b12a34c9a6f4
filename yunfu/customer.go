package yunfu

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"waihu"
	"waihu/store"
)

const (
	jobPool    = "yunfu.pool"
	jobToTask  = "yunfu.to-task"
	batchPool  = "import_customer"
	batchMoved = "api_customer_to_task"
)

// maxDeletePhones is how many numbers one deletion may name.
const maxDeletePhones = 100

// customerRow is a customer in lists. The vendor's row is not known; the names are those of the request.
type customerRow struct {
	ID         string      `json:"id"`
	Phone      string      `json:"phone"`
	Name       string      `json:"name"`
	Email      string      `json:"email"`
	Company    string      `json:"company"`
	Sex        int         `json:"sex"`
	Sort       int         `json:"sort"`
	SourceID   int64       `json:"source_id"`
	IndustryID int64       `json:"industry_id"`
	GradeID    int64       `json:"grade_id"`
	Extra      any         `json:"extra"`
	Operator   string      `json:"operator_name"`
	Follow     int         `json:"is_follow"`
	Called     int         `json:"ai_call"`
	Components []component `json:"components"`
	Created    string      `json:"created_at"`
	Updated    string      `json:"updated_at"`
}

// customerOf is a row of an import as a customer: the pool's fields are the script variables of their names.
func customerOf(n *store.NewNumber) store.Customer {
	v := n.Data.Vars
	whole := func(key string) int64 {
		i, err := strconv.ParseInt(v[key], 10, 64)
		if err != nil { // no whole number is no id
			return 0
		}
		return i
	}
	c := store.Customer{Phone: string(n.Phone), Name: v["name"], Email: v["email"], Company: v["company"], Sort: n.Data.Sort, Extra: n.Data.Extra,
		Operator: operatorOf(string(n.Phone)), Source: whole("source_id"), Industry: whole("industry_id"), Grade: whole("grade_id")}
	if sex := whole("sex"); sex == 1 || sex == 2 {
		c.Sex = int(sex)
	}
	for k, value := range v {
		if id, ok := strings.CutPrefix(k, componentVar); ok {
			if c.Fields == nil {
				c.Fields = map[string]string{}
			}
			c.Fields[id] = value
		}
	}
	return c
}

func customersOf(rows []store.NewNumber) []store.Customer {
	list := make([]store.Customer, len(rows))
	for i := range rows {
		list[i] = customerOf(&rows[i])
	}
	return list
}

// numberOf is customerOf backwards.
func numberOf(c *store.Customer) store.NewNumber {
	vars := map[string]string{}
	set := func(key, value string) {
		if value != "" && value != "0" {
			vars[key] = value
		}
	}
	set("name", c.Name)
	set("email", c.Email)
	set("company", c.Company)
	set("sex", itoa(c.Sex))
	set("source_id", strconv.FormatInt(c.Source, 10))
	set("industry_id", strconv.FormatInt(c.Industry, 10))
	set("grade_id", strconv.FormatInt(c.Grade, 10))
	for id, value := range c.Fields {
		vars[componentVar+id] = value
	}
	return store.NewNumber{Key: c.Phone, Phone: waihu.PhoneNumber(c.Phone), Data: waihu.NumberData{Vars: vars, Extra: c.Extra, Sort: c.Sort}}
}

// customerCreate lists the further fields that customers may have. They have no console here: a field exists from its
// first use, under its id.
func (s *server) customerCreate(c *request) (*answer, error) {
	names, err := s.Store.FieldNames(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	data := []map[string]any{}
	for _, f := range names {
		data = append(data, map[string]any{"id": f.ID, "name": f.Name, "type": "text", "created_at": stamp(f.CreatedAt, c.loc)})
	}
	return &answer{message: "返回公海自定义组件成功", data: data}, nil
}

// customerAddAsync takes up to 200 rows into the pool, in the background.
func (s *server) customerAddAsync(c *request) (*answer, error) {
	list, err := c.data(maxAsyncRows)
	if err != nil {
		return nil, err
	}
	k, err := c.codec()
	if err != nil {
		return nil, err
	}
	skip := c.form.get("skip_error").flag()
	rows, k, err := c.rows(list, k, true, false)
	if err == nil {
		err = c.form.err()
	}
	if err != nil {
		return nil, err
	}
	body, good, err := judged(c, rows, skip)
	if err != nil {
		return nil, err
	}
	body.Encrypted = k != nil
	return s.batchAdd(c, store.Batch{Kind: batchPool, Total: len(rows)}, jobPool, body, good, "批量导入客户公海任务已提交")
}

// poolJob writes the rows of an import into the pool; doing it again changes nothing.
func (s *server) poolJob(ctx context.Context, j waihu.Job) error {
	b, rows, err := s.batchRows(ctx, j)
	if err != nil || rows == nil {
		return err
	}
	if err := s.Store.SaveCustomers(ctx, b.Account, customersOf(rows), nil); err != nil {
		return s.batchFailed(ctx, j, b, err)
	}
	part := store.BatchPart{Done: true, Numbers: rowKeys(rows)}
	b.State, b.Done, b.Failed = store.BatchDone, len(rows), b.Total-len(rows)
	return s.Store.SaveBatch(ctx, b, &part)
}

// customerFilter reads the filters that the pool's endpoints share.
func (c *request) customerFilter() (f store.CustomerFilter, err error) {
	form := c.form
	k, err := c.codec()
	if err != nil {
		return f, err
	}
	for _, n := range form.get("phone", "phones").words() {
		if !n.blank() {
			f.Phones = append(f.Phones, lookup(k.opened(n)))
		}
	}
	f.Email, f.Company = form.get("email").text(), k.opened(form.get("company"))
	f.CreatedFrom, f.CreatedTo = form.get("created_at").between(c.loc)
	f.CreatedTo = lastOf(f.CreatedTo)
	for _, n := range form.get("operator").words() {
		if !n.blank() {
			f.Operators = append(f.Operators, n.operator())
		}
	}
	for _, n := range form.get("components").list() {
		e := n.object()
		if id := e.get("id").need("组件 id").id(); id != "" {
			if f.Fields == nil {
				f.Fields = map[string]string{}
			}
			f.Fields[id] = e.get("value").text()
		}
	}
	return f, form.err()
}

func (s *server) customerList(c *request) (*answer, error) {
	f, err := c.customerFilter()
	if err != nil {
		return nil, err
	}
	return s.customers(c, f)
}

// customerListType is the list of a stage; clue, the only one that the vendor documents, is all of them here.
func (s *server) customerListType(c *request) (*answer, error) {
	if c.r.PathValue("type") != "clue" {
		return nil, refused(http.StatusNotFound, "客户类型不存在,应为 clue")
	}
	f, err := c.customerFilter()
	if err != nil {
		return nil, err
	}
	for _, n := range c.form.get("sex").words() {
		if !n.blank() {
			f.Sex = append(f.Sex, n.number(0, 2))
		}
	}
	if n := c.form.get("is_follow"); !n.blank() {
		on := n.flag()
		f.Followed = &on
	}
	if n := c.form.get("ai_call"); !n.blank() {
		on := n.flag()
		f.Called = &on
	}
	return s.customers(c, f)
}

func (s *server) customers(c *request, f store.CustomerFilter) (*answer, error) {
	p := c.page()
	f.Page, f.PerPage = p.page, p.per
	if err := c.form.err(); err != nil {
		return nil, err
	}
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	list, total, err := s.Store.Customers(c.ctx, c.acts.ID, f)
	if err != nil {
		return nil, err
	}
	names, err := s.Store.FieldNames(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	data := []customerRow{}
	for _, k := range list {
		row := customerRow{ID: strconv.FormatInt(k.ID, 10), Phone: codec.seal(k.Phone), Name: k.Name, Email: k.Email, Company: codec.seal(k.Company), Sex: k.Sex, Sort: k.Sort,
			SourceID: k.Source, IndustryID: k.Industry, GradeID: k.Grade, Extra: textOrNull(k.Extra), Operator: operatorNames[k.Operator],
			Components: []component{}, Created: stamp(k.CreatedAt, c.loc), Updated: stamp(k.UpdatedAt, c.loc)}
		if k.Followed {
			row.Follow = 1
		}
		if k.Called {
			row.Called = 1
		}
		for _, n := range names {
			if value, ok := k.Fields[n.ID]; ok {
				row.Components = append(row.Components, component{ID: n.ID, Name: n.Name, Type: "text", Value: value})
			}
		}
		data = append(data, row)
	}
	return &answer{message: "返回客户公海列表成功", data: data, meta: p.meta(total)}, nil
}

// customerDelete deletes nothing when nothing is named, as documented.
func (s *server) customerDelete(c *request) (*answer, error) {
	all, err := c.customerFilter()
	if err != nil {
		return nil, err
	}
	f := store.CustomerFilter{Phones: all.Phones, CreatedFrom: all.CreatedFrom, CreatedTo: all.CreatedTo}
	if len(f.Phones) > maxDeletePhones {
		return nil, wrong("phone", "最多 %d 个,收到 %d 个", maxDeletePhones, len(f.Phones))
	}
	n := 0
	if !f.Empty() {
		if n, err = s.Store.DeleteCustomers(c.ctx, c.acts.ID, f); err != nil {
			return nil, err
		}
	}
	return &answer{message: "删除客户公海数据成功", data: map[string]int{"delete_count": n}}, nil
}
