package yunfu

import (
	"crypto/rand"

	"waihu"
	"waihu/store"
)

// maxRows is how many rows one synchronous import may carry.
const maxRows = 100

// Prefix of the variables that hold what has no word of ours; scripts may use them by these names.
const componentVar = "component_"

// rowFields are the pool's fields of a row, kept as script variables under their own names.
var rowFields = []string{"name", "company", "email", "sex", "source_id", "industry_id", "grade_id"}

// addData is the answer to an import. The vendor's own is not known; this shape is ours.
type addData struct {
	Total   int         `json:"total"`
	Success int         `json:"success_count"`
	Fail    int         `json:"fail_count"`
	Errors  []addError  `json:"errors"`
	Numbers []addNumber `json:"numbers"`
}

type addError struct {
	Index   int    `json:"index"` // of data[], from 0
	Phone   string `json:"phone"`
	Message string `json:"message"`
}

type addNumber struct {
	Phone  string `json:"phone"`
	Number string `json:"number"` // with its suffix, when number_add_suffix asked for one
}

const duplicateText = "号码重复"

// numberAdd imports up to 100 rows. Without skip_error the first bad row refuses all of them; duplicates are
// bad rows unless a suffix makes them different.
func (s *server) numberAdd(c *request) (*answer, error) {
	t, rows, codec, skip, pool, err := c.importRows(maxRows)
	if err != nil {
		return nil, err
	}
	var good []store.NewNumber
	var index []int
	for i, r := range rows {
		switch {
		case r.bad == nil:
			good, index = append(good, r.number), append(index, i)
		case !skip:
			return nil, r.bad
		}
	}
	report := store.ImportReport{}
	if pool {
		if err := s.Store.SaveCustomers(c.ctx, c.acts.ID, customersOf(good), nil); err != nil {
			return nil, err
		}
	}
	if len(good) > 0 {
		if report, err = s.Store.AddNumbersBy(c.ctx, c.acts.ID, t.ID, good, Door); err != nil {
			return nil, c.noTask(err)
		}
	}
	for _, i := range report.DuplicateRows { // another import was faster
		rows[index[i]].bad = wrong(rows[index[i]].path, duplicateText)
	}
	out := addData{Total: len(rows), Errors: []addError{}, Numbers: []addNumber{}}
	for i, r := range rows {
		if r.bad != nil {
			out.Errors = append(out.Errors, addError{i, r.given, r.bad.Error()})
			continue
		}
		out.Numbers = append(out.Numbers, addNumber{codec.seal(string(r.number.Phone)), codec.seal(r.number.Key)})
	}
	out.Success, out.Fail = len(out.Numbers), len(out.Errors)
	return &answer{message: "批量添加号码成功", data: out}, nil
}

// importRows reads the rows of an import and judges each: what is wrong with it, and whether it is there already.
// pool says that they go to the customer pool as well.
func (c *request) importRows(most int) (t waihu.Task, rows []row, k *codec, skip, pool bool, err error) {
	list, err := c.data(most)
	if err != nil {
		return
	}
	if k, err = c.codec(); err != nil {
		return
	}
	if t, err = c.task(); err != nil {
		return
	}
	if t.Started && c.s.RefuseImportWhileStarted {
		err = c.s.busy()
		return
	}
	skip, pool = c.form.get("skip_error").flag(), !c.form.get("ignore_crm").flag()
	suffix := c.form.get("number_add_suffix").flag()
	if err = c.form.err(); err != nil {
		return
	}
	if rows, k, err = c.rows(list, k, pool, suffix); err == nil {
		err = c.markDuplicates(t.ID, rows)
	}
	return
}

// data is the list of rows. Some pages place sub_user_id inside them: then it counts, and a request acts for one account.
func (c *request) data(most int) ([]node, error) {
	data := c.form.get("data")
	list := data.need("号码数据").list()
	switch {
	case c.form.err() != nil:
	case len(list) == 0:
		data.fail("不能为空")
	case len(list) > most:
		data.fail("最多 %d 条,收到 %d 条", most, len(list))
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	said := ""
	for _, n := range list {
		if _, ok := n.unwrapped().v.(map[string]any); !ok {
			continue
		}
		sub := n.object().get("sub_user_id")
		id := sub.id()
		if id != "" && said != "" && id != said {
			sub.fail("同一请求中所有号码的 sub_user_id 应一致")
		}
		if id != "" {
			said = id
		}
	}
	if err := c.form.err(); err != nil || said == "" {
		return list, err
	}
	acts, err := c.s.reach(c.ctx, c.user.ID, said)
	if err == nil {
		c.acts, c.loc = acts, waihu.Location(acts.Zone)
	}
	return list, err
}

type row struct {
	number store.NewNumber
	given  string
	path   string
	bad    error
}

// rows reads each row by itself, so that a bad one can be skipped. Some pages place encryption inside them: the
// codec that any of them asked for is that of the answer.
func (c *request) rows(list []node, k *codec, components, suffix bool) ([]row, *codec, error) {
	answer := k
	rows := make([]row, len(list))
	for i, n := range list {
		own := &form{fields: c.form.fields}
		n.f = own
		r := &rows[i]
		r.path = n.path + ".phone"
		if _, ok := n.unwrapped().v.(map[string]any); !ok && !n.blank() { // a bare number instead of an object
			n.v = map[string]any{"phone": n.v}
		}
		n = n.object()
		k := k
		if e := n.get("encryption"); !e.blank() { // row wins
			var err error
			if k, err = c.codecOf(e); err != nil {
				r.bad = err
				continue
			}
			if k != nil {
				answer = k
			}
		}
		phone := n.get("phone", "number").need("号码")
		r.given = phone.text()
		if plain := k.opened(phone); own.err() == nil {
			r.bad = r.phone(plain, suffix)
		}
		r.number.Data = numberData(n, k, components)
		if own.err() != nil {
			r.bad = own.err()
		}
	}
	return rows, answer, nil
}

func (r *row) phone(text string, suffix bool) error {
	phone, err := waihu.ParsePhone(text)
	if err != nil {
		return wrong(r.path, "号码格式不正确,应为 3 到 20 位数字,可带前缀 +")
	}
	r.number.Phone, r.number.Key = phone, string(phone)
	if suffix {
		r.number.Key += "_" + randomSuffix()
	}
	return nil
}

// randomSuffix is six lowercase letters and digits: 100 repeats of one number in a task collide once in 400,000 imports.
func randomSuffix() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	var b [6]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b[:])
}

func numberData(n node, k *codec, components bool) waihu.NumberData {
	d := waihu.NumberData{Extra: n.get("extra").short(1000), Route: n.get("control_select_robot").short(200),
		Sort: n.get("sort").number(-1<<31, 1<<31-1)}
	set := func(key, value string) {
		if value == "" {
			return
		}
		if d.Vars == nil {
			d.Vars = map[string]string{}
		}
		d.Vars[key] = value
	}
	for _, key := range rowFields {
		if key == "company" && k != nil {
			field := n.get(key)
			field.v = k.opened(field)
			set(key, field.short(500))
			continue
		}
		set(key, n.get(key).short(500))
	}
	list := n.get("components").list()
	if !components {
		list = nil // only effective when the row goes to the pool too
	}
	for _, n := range list {
		e := n.object()
		if id := e.get("id").need("组件 id").id(); id != "" {
			set(componentVar+id, e.get("value").short(1000))
		}
	}
	return d
}

// markDuplicates finds rows that are there already, in the batch or in the task.
func (c *request) markDuplicates(task waihu.TaskID, rows []row) error {
	var keys []string
	for _, r := range rows {
		if r.bad == nil {
			keys = append(keys, r.number.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	seen, err := c.s.inTask(c.ctx, c.acts.ID, task, keys)
	if err != nil {
		return c.noTask(err)
	}
	for i := range rows {
		r := &rows[i]
		if r.bad != nil {
			continue
		}
		if seen[r.number.Key] {
			r.bad = wrong(r.path, duplicateText)
		}
		seen[r.number.Key] = true
	}
	return nil
}
