package keyue

import (
	"strconv"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// maxImport is how many groups one import may carry.
const maxImport = 1000

// Bounds of a group's own fields.
const (
	maxMobile  = 200
	maxExtJSON = 4096
)

// imported is what became of a group, in the order of the request.
type imported struct {
	Status       int    `json:"status"` // 1 imported, 0 not
	Reason       string `json:"reason"`
	TaskMemberID string `json:"taskMemberId"` // "" when it was not
	ExtJSON      string `json:"extJson"`
}

// plainText refuses numbers that are not in the clear: the page of the vendor's cipher is not stored, and a number that is
// guessed wrong rings a stranger.
func (c *aiobRequest) plainText() {
	n := c.body.get("secretType").need()
	if n.blank() {
		return
	}
	switch n.number(0, 1, 3) {
	case 1:
		n.wrong("1(系统加密)不支持,请用 2(明文)")
	case 3:
		n.wrong("3(自定义加密)不支持,请用 2(明文)")
	}
}

// aiobImport adds groups of numbers to a task. A group is one number of ours: its phones are dialled one after the other
// until one answers. What is wrong with one group is said in its row, and the others are imported.
func (s *server) aiobImport(c *aiobRequest) (any, error) {
	t, k, err := c.task()
	if err != nil {
		return nil, err
	}
	state, err := c.stateOf(&t, &k)
	if err != nil {
		return nil, err
	}
	if state == taskFinished {
		return nil, aiobRefuse("任务已完成,不能导入名单")
	}
	c.plainText()
	list := c.body.get("customerInfoList").need()
	rows := list.list(maxImport)
	if len(rows) == 0 {
		list.wrong("不能为空")
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	res, numbers := make([]imported, len(rows)), []store.NewNumber{}
	at := map[string]int{} // key to row
	for i, n := range rows {
		number, err := c.group(n, k.BlackListStrategy)
		res[i].ExtJSON = number.Data.Extra // of a refused group too: by it the client knows whom the row is about
		if err != nil {
			res[i].Reason = err.Error()
			continue
		}
		if _, twice := at[number.Key]; twice {
			res[i].Reason = "号码组重复"
			continue
		}
		at[number.Key] = i
		numbers = append(numbers, number)
	}
	counts, err := s.Store.Counts(c.ctx, t.Account, t.ID)
	if err != nil {
		return nil, gone(err)
	}
	all := len(numbers)
	for _, n := range counts.State {
		all += n
	}
	if all > maxGroups {
		return nil, aiobRefuse("customerInfoList：一个任务最多 %d 个号码组", maxGroups)
	}
	report, err := s.Store.AddNumbersBy(c.ctx, t.Account, t.ID, numbers, doorAIOB)
	if err != nil {
		return nil, gone(err)
	}
	for _, i := range report.DuplicateRows {
		res[at[numbers[i].Key]].Reason = "号码组重复"
		delete(at, numbers[i].Key)
	}
	ok := len(at)
	if err := c.members(&t, at, res); err != nil {
		return nil, err
	}
	return map[string]any{"successNum": ok, "failedNum": len(rows) - ok, "resList": res}, nil
}

// group reads one person: mobile, extJson and the variables. Of one that is wrong there is the extJson.
func (c *aiobRequest) group(n aiobNode, blackList int) (number store.NewNumber, err error) {
	var wrong error
	n.first = &wrong
	if _, is := n.v.(map[string]any); !is {
		n.wrong("应为对象")
		return number, wrong
	}
	mobile := n.get("mobile").need()
	group, err := parseGroup(mobile.text(maxMobile))
	if err != nil {
		mobile.wrong("%s", err.Error())
	}
	data := waihu.NumberData{Extra: n.get("extJson").opaque(maxExtJSON), Vars: n.get("var").vars()}
	for _, name := range []string{"dialogVar", "promptVar"} {
		for key, v := range n.get(name).vars() {
			if data.Vars == nil {
				data.Vars = map[string]string{}
			}
			data.Vars[key] = v
		}
	}
	if wrong != nil {
		return store.NewNumber{Data: waihu.NumberData{Extra: data.Extra}}, wrong
	}
	keys := make([]string, len(group))
	for i, p := range group {
		keys[i] = string(p.Canonical()) // the same person in another form is the same person
	}
	if len(group) > 1 {
		data.Group, data.GroupStops = group, blackList != 2
	}
	return store.NewNumber{Key: strings.Join(keys, ";"), Phone: group[0], Data: data}, nil
}

// members finds the ids of what was imported.
func (c *aiobRequest) members(t *waihu.Task, at map[string]int, res []imported) error {
	keys := make([]string, 0, len(at))
	for key := range at {
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil
	}
	// A key may be another number's phone, so there can be more than were asked for.
	for page := 1; ; page++ {
		const per = 5000
		list, total, err := c.s.Store.Numbers(c.ctx, t.Account, t.ID, store.NumberFilter{Phones: keys, Page: page, PerPage: per})
		if err != nil {
			return err
		}
		for i := range list {
			if row, ok := at[list[i].Key]; ok {
				res[row].Status, res[row].TaskMemberID = 1, strconv.FormatInt(memberID(t.Serial, list[i].Seq), 10)
			}
		}
		if page*per >= total {
			return nil
		}
	}
}

var noMember = aiobRefuse("被叫号码组无法识别")

// member is the number that taskMemberId names, with its task.
func (c *aiobRequest) member() (t waihu.Task, k aiobKept, n waihu.Number, err error) {
	id := c.body.get("taskMemberId", "memberId").need().number(0, 1, maxMember)
	if err := c.done(); err != nil {
		return t, k, n, err
	}
	serial, seq := memberParts(id)
	if t, err = c.s.Store.TaskBySerial(c.ctx, c.account.ID, serial); err == nil {
		n, err = c.s.Store.Number(c.ctx, c.account.ID, t.ID, seq)
	}
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return t, k, n, noMember
	}
	if err == nil {
		k, err = aiobKeptOf(&t)
	}
	return t, k, n, err
}

// aiobRemove takes a waiting group out of its task. One in a call goes on with it, one that is finished stays.
func (s *server) aiobRemove(c *aiobRequest) (any, error) {
	t, _, n, err := c.member()
	if err != nil {
		return nil, err
	}
	task := c.body.get("taskId").need()
	id := task.text(40)
	if err := c.done(); err != nil {
		return nil, err
	}
	if id != taskWire(&t) && id != string(t.ID) {
		return nil, noMember
	}
	done, err := s.Store.Withdraw(c.ctx, t.Account, t.ID, n.Seq, waihu.NoOutcome, doorAIOB)
	if err == nil && !done {
		err = aiobRefuse("被叫号码组无法识别：正在呼叫或已经结束,不能删除")
	}
	return nil, err
}

// span is when a group was called first and last.
func (c *aiobRequest) span(t *waihu.Task, n *waihu.Number) (calls []waihu.Call, connected int, err error) {
	if n.Attempts == 0 {
		return nil, 0, nil
	}
	calls, _, err = c.s.Store.Calls(c.ctx, t.Account, t.ID, store.CallFilter{Seq: n.Seq, PerPage: 1000})
	for i := range calls {
		if calls[i].Outcome.Disposition == waihu.Answered {
			connected++
		}
	}
	return calls, connected, err
}

// groupRow is a group in task/detail.
func (c *aiobRequest) groupRow(t *waihu.Task, n *waihu.Number) (map[string]any, error) {
	calls, connected, err := c.span(t, n)
	if err != nil {
		return nil, err
	}
	row := map[string]any{"taskMemberId": memberID(t.Serial, n.Seq), "status": groupState(n), "callTimes": len(calls), "callStartTime": "", "callEndTime": "", "connectedTimes": connected}
	if len(calls) > 0 {
		row["callStartTime"] = stampAIOB(calls[len(calls)-1].StartedAt, c.loc)
		row["callEndTime"] = stampAIOB(calls[0].EndedAt, c.loc)
	}
	return row, nil
}

// aiobGroups3 lists the groups of a task by page.
func (s *server) aiobGroups3(c *aiobRequest) (any, error) {
	t, _, err := c.task()
	if err != nil {
		return nil, err
	}
	pn, ps := c.page(listPS)
	if err := c.done(); err != nil {
		return nil, err
	}
	list, total, err := s.Store.Numbers(c.ctx, t.Account, t.ID, store.NumberFilter{Page: pn, PerPage: ps})
	if err != nil {
		return nil, gone(err)
	}
	rows := make([]map[string]any, len(list))
	for i := range list {
		if rows[i], err = c.groupRow(&t, &list[i]); err != nil {
			return nil, err
		}
		delete(rows[i], "connectedTimes")
	}
	return aiobPage{pn, ps, "", "", total, rows}, nil
}

// aiobGroups4 lists them by cursor, with more of each.
func (s *server) aiobGroups4(c *aiobRequest) (any, error) {
	t, _, err := c.task()
	if err != nil {
		return nil, err
	}
	_, ps := c.page(listPS)
	after := int64(0)
	if cursor := c.body.get("nextCursor").list(2); len(cursor) > 0 {
		serial, seq := memberParts(cursor[len(cursor)-1].need().number(0, 1, maxMember))
		if after = seq; serial != t.Serial {
			c.body.get("nextCursor").wrong("不是该任务的游标")
		}
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	list, err := s.Store.NumbersAfter(c.ctx, t.Account, t.ID, after, ps+1)
	if err != nil {
		return nil, gone(err)
	}
	_, total, err := s.Store.Numbers(c.ctx, t.Account, t.ID, store.NumberFilter{PerPage: 1})
	if err != nil {
		return nil, gone(err)
	}
	more := len(list) > ps
	list = list[:min(len(list), ps)]
	rows, next := make([]map[string]any, len(list)), any(nil)
	for i := range list {
		n := &list[i]
		if rows[i], err = c.groupRow(&t, n); err != nil {
			return nil, err
		}
		masked := []string{}
		for _, p := range phonesOf(n) {
			masked = append(masked, p.Masked())
		}
		rows[i]["mobileList"], rows[i]["createTime"], rows[i]["expireTime"] = masked, stampAIOB(n.CreatedAt, c.loc), ""
		next = []any{n.CreatedAt.UnixMilli(), strconv.FormatInt(memberID(t.Serial, n.Seq), 10)}
	}
	if !more {
		next = nil
	}
	return map[string]any{"nextCursor": next, "hasMore": more, "total": total, "items": rows}, nil
}

func phonesOf(n *waihu.Number) []waihu.PhoneNumber {
	if len(n.Data.Group) > 0 {
		return n.Data.Group
	}
	return []waihu.PhoneNumber{n.Phone}
}

// aiobCallText is a call as the oldest of these pages has it: there two of its times are texts.
type aiobCallText struct {
	*aiobCall
	StartTime    string `json:"startTime"`
	TalkingStart string `json:"talkingStartTime"`
}

// aiobCalls1 is every call of a group as member/detail has it, the first first.
func (s *server) aiobCalls1(c *aiobRequest) (any, error) {
	t, k, n, err := c.member()
	if err != nil {
		return nil, err
	}
	rows, err := c.sessions(&t, &k, &n)
	list := make([]aiobCallText, len(rows))
	for i, row := range rows {
		list[i] = aiobCallText{row, c.text(row.StartTime), c.text(row.TalkingStart)}
	}
	return list, err
}

// text is a time in unix milliseconds as the family writes texts, "" for none.
func (c *aiobRequest) text(ms int64) string {
	if ms == 0 {
		return ""
	}
	return stampAIOB(time.UnixMilli(ms), c.loc)
}

// aiobCalls3 is every call of a group as detail2 has it, the first first.
func (s *server) aiobCalls3(c *aiobRequest) (any, error) {
	t, k, n, err := c.member()
	if err != nil {
		return nil, err
	}
	return c.sessions(&t, &k, &n)
}

func (c *aiobRequest) sessions(t *waihu.Task, k *aiobKept, n *waihu.Number) ([]*aiobCall, error) {
	calls, _, err := c.span(t, n)
	if err != nil {
		return nil, err
	}
	rows, ids := []*aiobCall{}, []waihu.CallID{}
	look := newLook()
	for i := len(calls) - 1; i >= 0; i-- {
		if calls[i].EndedAt.IsZero() {
			continue // told when it is over
		}
		row, err := c.callRow(t, k, &calls[i], look)
		if err != nil {
			return nil, err
		}
		row.CompleteType = completeType(n)
		rows, ids = append(rows, row), append(ids, calls[i].ID)
	}
	return rows, c.reviewed(rows, ids)
}

func completeType(n *waihu.Number) int {
	if n.State == waihu.NumberDone {
		return 2
	}
	return 3
}

// aiobCalls4 is the group with its calls.
func (s *server) aiobCalls4(c *aiobRequest) (any, error) {
	t, k, n, err := c.member()
	if err != nil {
		return nil, err
	}
	rows, err := c.sessions(&t, &k, &n)
	if err != nil {
		return nil, err
	}
	info := map[string]any{"taskMemberId": strconv.FormatInt(memberID(t.Serial, n.Seq), 10), "tenantId": c.tenant, "status": groupState(&n), "callEndTime": int64(0),
		"finished": 0, "totalTimes": len(rows), "connectedTimes": 0, "extJson": n.Data.Extra}
	connected := 0
	for i := range rows {
		info["callEndTime"] = rows[i].EndTime
		if rows[i].EndType == endConnected {
			connected++
		}
	}
	info["connectedTimes"] = connected
	if n.State == waihu.NumberDone {
		info["finished"] = 1
	}
	return map[string]any{"memberInfo": info, "sessions": rows}, nil
}

// aiobCallLog is every call of the account in a span of time, the latest first, by cursor.
func (s *server) aiobCallLog(c *aiobRequest) (any, error) {
	f := store.CallLogFilter{From: c.body.get("searchStartTime").need().when(c.loc), To: c.body.get("searchEndTime").need().when(c.loc)}
	f.PerPage = int(c.body.get("ps").number(100, 1, maxPS))
	if f.To.Before(f.From) {
		c.body.get("searchEndTime").wrong("不能早于 searchStartTime")
	}
	f.To = f.To.Add(time.Second - time.Millisecond) // the whole second: calls begin within one
	cursor := c.body.get("nextCursor")
	if parts := cursor.list(2); len(parts) > 0 {
		_, call, _ := strings.Cut(parts[len(parts)-1].need().text(60), "_")
		id, err := waihu.ParseCallID(call)
		if err != nil {
			cursor.wrong("游标无效")
		}
		f.Before = id
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	list, left, err := s.Store.CallLog(c.ctx, c.account.ID, f)
	if err != nil {
		return nil, err
	}
	total := left
	if f.Before != 0 {
		all := f
		all.Before, all.PerPage = 0, 1
		if _, total, err = s.Store.CallLog(c.ctx, c.account.ID, all); err != nil {
			return nil, err
		}
	}
	rows, ids, next := []*aiobCall{}, []waihu.CallID{}, any(nil)
	look := newLook()
	for i := range list {
		t, k, err := look.task(c, list[i].Task)
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		row, err := c.callRow(t, k, &list[i], look)
		if err != nil {
			return nil, err
		}
		if n, err := s.Store.Number(c.ctx, c.account.ID, t.ID, list[i].Seq); err == nil {
			row.CompleteType = completeType(&n)
		} else if waihu.ErrorCode(err) != waihu.ENotFound {
			return nil, err
		}
		rows, ids = append(rows, row), append(ids, list[i].ID)
		next = []any{list[i].StartedAt.UnixMilli(), recordID(t, list[i].ID)}
	}
	if err := c.reviewed(rows, ids); err != nil {
		return nil, err
	}
	more := left > len(list)
	if !more {
		next = nil
	}
	return map[string]any{"nextCursor": next, "hasMore": more, "total": total, "items": rows, "requestId": requestID()}, nil
}
