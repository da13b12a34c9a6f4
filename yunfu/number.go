package yunfu

import (
	"net/http"
	"slices"
	"strings"

	"waihu"
	"waihu/store"
)

// numberRow is a number in lists. The vendor's row is not known; where its call records have a column of
// the same meaning this has its name.
type numberRow struct {
	ID         string       `json:"id"`
	TaskID     waihu.TaskID `json:"task_id"`
	Number     string       `json:"number"`
	Phone      string       `json:"phone"`
	Status     int          `json:"status"`
	StatusStr  string       `json:"status_str"`
	Calling    bool         `json:"call_status"`
	Intention  int          `json:"intention_results"`
	CallTimes  int          `json:"call_times"`
	RedialTime int          `json:"redial_times"`
	NextCallAt any          `json:"next_call_at"`
	CallID     any          `json:"callid"`
	Name       string       `json:"name"`
	Company    string       `json:"company"`
	Email      string       `json:"email"`
	Sex        int          `json:"sex"`
	Extra      any          `json:"extra"`
	Sort       int          `json:"sort"`
	Route      string       `json:"control_select_robot"`
	Components []component  `json:"components"`
	Created    string       `json:"created_at"`
	Updated    string       `json:"updated_at"`
}

type component struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

func componentsOf(d *waihu.NumberData) []component {
	list := []component{}
	for k, v := range d.Vars {
		if id, ok := strings.CutPrefix(k, componentVar); ok {
			list = append(list, component{ID: id, Name: k, Type: "text", Value: v})
		}
	}
	slices.SortFunc(list, func(a, b component) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func (c *request) numberRow(n *waihu.Number, k *codec) numberRow {
	code := statusOf(n.Outcome)
	r := numberRow{ID: itoa(int(n.Seq)), TaskID: n.Task, Number: k.seal(n.Key), Phone: k.seal(string(n.Phone)), Status: code, StatusStr: statusNames[code],
		Calling: n.State == waihu.NumberInFlight, Intention: levelOf(n.Grade), CallTimes: n.Attempts, RedialTime: n.Redials,
		Name: n.Data.Vars["name"], Company: k.seal(n.Data.Vars["company"]), Email: n.Data.Vars["email"], Extra: textOrNull(n.Data.Extra), Sort: n.Data.Sort,
		Route: n.Data.Route, Components: componentsOf(&n.Data), Created: stamp(n.CreatedAt, c.loc), Updated: stamp(n.UpdatedAt, c.loc)}
	if sex, ok := digits(n.Data.Vars["sex"], 1); ok {
		r.Sex = sex
	}
	if n.State == waihu.NumberDue {
		r.NextCallAt = stamp(n.DueAt, c.loc)
	}
	if n.LastCall != 0 {
		r.CallID = n.LastCall.String()
	}
	return r
}

func (s *server) numberList(c *request) (*answer, error) {
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	p := c.page()
	f := store.NumberFilter{Status: c.statuses(), Page: p.page, PerPage: p.per,
		CreatedFrom: c.form.get("start_at").when(c.loc, false), CreatedTo: lastOf(c.form.get("end_at").when(c.loc, true))}
	if n := c.form.get("keyword", "phone"); !n.blank() {
		f.Phones = []string{lookup(codec.opened(n))}
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	list, total, err := s.Store.Numbers(c.ctx, c.acts.ID, c.taskID(), f)
	if err != nil {
		return nil, c.noTask(err)
	}
	data := make([]numberRow, len(list))
	for i := range list {
		data[i] = c.numberRow(&list[i], codec)
	}
	return &answer{message: "返回号码列表成功", data: data, meta: p.meta(total)}, nil
}

func (s *server) numberDetail(c *request) (*answer, error) {
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	given, ok := codec.open(c.r.PathValue("phone"))
	if !ok {
		return nil, wrong("phone", notDecrypted)
	}
	phone := lookup(given)
	list, err := s.Store.NumbersByPhone(c.ctx, c.acts.ID, c.taskID(), phone)
	if err != nil {
		return nil, c.noTask(err)
	}
	if len(list) == 0 {
		return nil, refused(http.StatusNotFound, "号码不存在")
	}
	best := slices.IndexFunc(list, func(n waihu.Number) bool { return n.Key == phone })
	if best < 0 {
		best = len(list) - 1 // the latest of those that share it under suffixes
	}
	return &answer{message: "返回号码详情成功", data: c.numberRow(&list[best], codec)}, nil
}

func (s *server) numberDelete(c *request) (*answer, error) {
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	var phones []string
	for _, n := range c.form.get("customer_info_list").need("号码列表").list() {
		if _, ok := n.unwrapped().v.(map[string]any); ok {
			n = n.object().get("phone", "number")
		}
		phones = append(phones, lookup(codec.opened(n.need("号码"))))
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	if len(phones) == 0 {
		return nil, wrong("customer_info_list", "不能为空")
	}
	n, err := s.Store.RemoveNumbersBy(c.ctx, c.acts.ID, c.taskID(), phones, Door)
	if err != nil {
		return nil, c.noTask(err)
	}
	return &answer{message: "批量删除号码成功", data: map[string]int{"delete_count": n}}, nil
}

// numberReset makes numbers fresh again; without any filter all of them (ours).
func (s *server) numberReset(c *request) (*answer, error) {
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	from, to := c.form.get("start_at"), c.form.get("end_at")
	if from.blank() != to.blank() {
		return nil, wrong("start_at", "start_at 与 end_at 必须同时传递")
	}
	f := store.NumberFilter{Status: c.statuses(), CreatedFrom: from.when(c.loc, false), CreatedTo: lastOf(to.when(c.loc, true))}
	for _, n := range c.form.get("phones").words() {
		f.Phones = append(f.Phones, lookup(codec.opened(n.need("号码"))))
	}
	nobody := false
	if n := c.form.get("keyword"); !n.blank() {
		one := lookup(codec.opened(n))
		nobody = len(f.Phones) > 0 && !slices.Contains(f.Phones, one) // both filters hold
		f.Phones = []string{one}
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	if nobody {
		f.Status, f.Phones = nil, []string{""} // matches nothing, but the task is still judged
	}
	if _, err := s.Store.ResetNumbers(c.ctx, c.acts.ID, c.taskID(), f); err != nil {
		return nil, c.noTask(err)
	}
	return &answer{message: "批量重置号码成功", data: absent{}}, nil
}

// statuses is the status filter as our dispositions.
func (c *request) statuses() (out []waihu.Disposition) {
	for _, n := range c.form.get("status").words() {
		out = append(out, dispositionsOf(n.status())...)
	}
	return out
}

// lookup is a number as it was imported: normalised like one, or with its suffix as it stands.
func lookup(text string) string {
	if phone, err := waihu.ParsePhone(text); err == nil {
		return string(phone)
	}
	return strings.TrimSpace(text)
}
