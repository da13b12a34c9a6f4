package yunfu

import (
	"net/http"
	"slices"
	"strconv"

	"waihu"
)

// hoursRow is a time group of 5.5. Unlike init's rows it has skip_holiday, which the older page lacks, and names
// only the days that are open, as they were sent.
type hoursRow struct {
	ID          int64           `json:"id"`
	Name        string          `json:"name"`
	UserID      waihu.AccountID `json:"user_id"`
	Content     []hoursDay      `json:"content"`
	Default     bool            `json:"is_default"`
	SkipHoliday bool            `json:"skip_holiday"`
	Remark      any             `json:"remark"`
	Created     string          `json:"created_at"`
	Updated     string          `json:"updated_at"`
}

func (c *request) hoursRow(h *waihu.CallingHours) hoursRow {
	content := slices.DeleteFunc(weekContent(h.Weekly), func(d hoursDay) bool { return len(d.Times) == 0 })
	return hoursRow{ID: h.ID, Name: h.Name, UserID: h.Account, Content: content, Default: h.Default, SkipHoliday: h.SkipHoliday,
		Remark: textOrNull(h.Remark), Created: stamp(h.CreatedAt, c.loc), Updated: stamp(h.UpdatedAt, c.loc)}
}

// weekContent is a week in the vendor's form, all days.
func weekContent(w waihu.Weekly) []hoursDay {
	content := []hoursDay{}
	for day, spans := range w {
		times := []hoursSpan{}
		for _, x := range spans {
			times = append(times, hoursSpan{Begin: clockText(x.From), End: clockText(x.To)})
		}
		content = append(content, hoursDay{Week: day, Times: times})
	}
	return content
}

func (s *server) hoursList(c *request) (*answer, error) {
	p := c.page()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	list, err := s.Store.CallingHoursList(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	data := []hoursRow{}
	for _, h := range cut(list, p) {
		data = append(data, c.hoursRow(&h))
	}
	return &answer{message: "返回呼叫时间组列表成功", data: data, meta: p.meta(len(list))}, nil
}

// cut is a page of a list that is whole in memory.
func cut[T any](list []T, p page) []T {
	first := min((p.page-1)*p.per, len(list))
	return list[first:min(first+p.per, len(list))]
}

func (s *server) hoursSave(c *request) (*answer, error) {
	h := waihu.CallingHours{Account: c.acts.ID}
	c.form.get("content").need("时间段")
	if err := c.readHours(&h); err != nil {
		return nil, err
	}
	if err := s.Store.SaveCallingHours(c.ctx, &h); err != nil {
		return nil, err
	}
	return &answer{message: "保存成功", data: c.hoursRow(&h)}, nil
}

// hoursUpdate changes what the body names and keeps the rest. The tasks that copied the group stay as they are.
func (s *server) hoursUpdate(c *request) (*answer, error) {
	missing := refused(http.StatusNotFound, "呼叫时间组不存在")
	id, err := strconv.ParseInt(c.r.PathValue("group_id"), 10, 64)
	if err != nil {
		return nil, missing
	}
	h, err := s.Store.CallingHours(c.ctx, c.acts.ID, id)
	switch {
	case waihu.ErrorCode(err) == waihu.ENotFound:
		return nil, missing
	case err != nil:
		return nil, err
	case h.Account != c.acts.ID:
		return nil, refused(http.StatusForbidden, "主账户的呼叫时间组只能由主账户修改")
	}
	if err := c.readHours(&h); err != nil {
		return nil, err
	}
	if err := s.Store.SaveCallingHours(c.ctx, &h); err != nil {
		return nil, err
	}
	return &answer{message: "修改成功", data: c.hoursRow(&h)}, nil
}

// readHours fills in what the body names.
func (c *request) readHours(h *waihu.CallingHours) error {
	h.Name = c.form.get("name").need("时间组名称").short(maxName)
	if n := c.form.get("remark"); n.has {
		h.Remark = n.short(2000)
	}
	if n := c.form.get("is_default"); !n.blank() {
		h.Default = n.flag()
	}
	if n := c.form.get("skip_holiday"); !n.blank() {
		h.SkipHoliday = n.flag()
	}
	if n := c.form.get("content"); n.has {
		h.Weekly = n.week()
	}
	return c.form.err()
}

// week reads content; the parts of a day may come in any order but must not overlap.
func (n node) week() (w waihu.Weekly) {
	for _, n := range n.list() {
		e := n.object()
		day := e.get("week").need("星期,0=周日 … 6=周六").number(0, 6)
		for _, n := range e.get("times").list() {
			x := n.object()
			span := waihu.Span{From: x.get("begin_time", "begin").need("开始时间").clock(), To: x.get("end_time", "end").need("结束时间").clock()}
			if span.From >= span.To {
				n.fail("end_time 应晚于 begin_time")
			}
			if slices.ContainsFunc(w[day], func(o waihu.Span) bool { return span.From < o.To && o.From < span.To }) {
				n.fail("与同一天的其他时间段重叠")
			}
			w[day] = append(w[day], span)
		}
		slices.SortFunc(w[day], func(a, b waihu.Span) int { return a.From - b.From })
	}
	if !slices.ContainsFunc(w[:], func(day []waihu.Span) bool { return len(day) > 0 }) { // days without times: a task with such hours never calls
		n.fail("至少需要一个时间段")
	}
	return w
}
