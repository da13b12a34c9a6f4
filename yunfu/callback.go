package yunfu

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/google/uuid"

	"waihu"
	"waihu/store"
)

// maxCallbackEvents is how many events become one push at most, and so how many calls it holds.
const maxCallbackEvents = 200

// Callback shapes events of one account for an endpoint: the leading n of them become one body, nil when there is
// nothing to tell of them. Calls that ended one after the other travel together, as the vendor's count says; a call
// that is graded after its end travels then, so that its level is the one after the check. What a client has done
// over this door itself is not told to it, but for what goes on in the background.
// The bodies of the same events differ in the keys of their links alone.
func Callback(o Options) waihu.Shape {
	s := newServer(o)
	return func(ctx context.Context, e waihu.Endpoint, events []waihu.Event) (p waihu.Payload, n int, err error) {
		c, err := s.telling(ctx, events[0].Account)
		if waihu.ErrorCode(err) == waihu.ENotFound { // deleted since: nobody is left to tell
			return p, len(events), nil
		}
		if err != nil {
			return p, 0, err
		}
		p.Body, n, err = c.callback(events, len(e.Kinds) == 0 || slices.Contains(e.Kinds, waihu.EventCallReviewed))
		return p, n, err
	}
}

// telling is a request without a request: what the shapes of rows need to know.
func (s *server) telling(ctx context.Context, account waihu.AccountID) (*request, error) {
	a, err := s.Store.Account(ctx, account)
	c := &request{s: s, ctx: ctx, acts: a, user: a, loc: waihu.Location(a.Zone)}
	if err == nil && a.Parent != "" {
		c.user, err = s.Store.Account(ctx, a.Parent)
	}
	return c, err
}

func (c *request) callback(events []waihu.Event, reviews bool) (body []byte, n int, err error) {
	push := callPush{Data: []callRow{}}
	var ids []waihu.CallID
	for i := range events[:min(len(events), maxCallbackEvents)] {
		if endsCall(&events[i], reviews) {
			ids = append(ids, events[i].Call)
		}
	}
	look, err := c.look(ids...)
	if err != nil {
		return nil, 0, err
	}
	for i := range events[:min(len(events), maxCallbackEvents)] {
		e := &events[i]
		if !endsCall(e, reviews) {
			other, err := c.eventPush(e)
			if err != nil {
				return nil, 0, err
			}
			if other == nil {
				continue
			}
			if len(push.Data) > 0 { // after the calls before it
				return c.pushed(push, i)
			}
			raw, err := json.Marshal(other)
			return raw, i + 1, err
		}
		row, err := c.pushRow(e, look)
		if err != nil {
			return nil, 0, err
		}
		if row != nil {
			push.Data = append(push.Data, *row)
		}
	}
	return c.pushed(push, min(len(events), maxCallbackEvents))
}

// endsCall says whether the event is the one at which a call is told. Where no reviews are asked for, its end is.
func endsCall(e *waihu.Event, reviews bool) bool {
	var b struct {
		Review bool `json:"review"`
		Again  bool `json:"again"` // a check that was repeated later: the call has been told
	}
	if json.Unmarshal(e.Body, &b) != nil {
		return false
	}
	return e.Kind == waihu.EventCallEnded && !(b.Review && reviews) || e.Kind == waihu.EventCallReviewed && !b.Again
}

// callPush is the body of calls.
type callPush struct {
	Count int       `json:"count"`
	Data  []callRow `json:"data"`
}

// pushRow is nil when the call is gone with its task.
func (c *request) pushRow(e *waihu.Event, look *callLook) (*callRow, error) {
	task := look.tasks[e.Task]
	if task == nil {
		t, err := c.s.Store.Task(c.ctx, e.Account, e.Task)
		if waihu.ErrorCode(err) == waihu.ENotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		task = &t
		look.tasks[e.Task] = task
	}
	k, err := c.s.Store.Call(c.ctx, e.Account, e.Task, e.Call)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	row, err := c.callRow(&k, task, look)
	if err != nil {
		return nil, err
	}
	row.Bill, row.Duration = seconds(k.Outcome.Talk()), seconds(between(&k)) // seconds here, whatever records are in
	row.Recording = nil
	if k.Outcome.Recording != "" {
		if row.Recording, err = c.voiceAddress(e.Task, k.ID); err != nil {
			return nil, err
		}
	}
	return &row, nil
}

// pushed ends a push of calls with what is looked up for all of them at once.
func (c *request) pushed(push callPush, n int) ([]byte, int, error) {
	if len(push.Data) == 0 {
		return nil, n, nil
	}
	push.Count = len(push.Data)
	if err := c.nameCustomers(push.Data); err != nil {
		return nil, 0, err
	}
	raw, err := json.Marshal(push)
	return raw, n, err
}

// nameCustomers gives each call the id that its number has in the customer pool; "" when it is not there.
func (c *request) nameCustomers(rows []callRow) error {
	if len(rows) == 0 {
		return nil
	}
	phones := make([]string, len(rows))
	for i := range rows {
		phones[i] = rows[i].NumberData.Number
	}
	list, _, err := c.s.Store.Customers(c.ctx, c.acts.ID, store.CustomerFilter{Phones: phones, PerPage: len(phones)})
	if err != nil {
		return err
	}
	ids := map[string]string{}
	for _, k := range list {
		ids[k.Phone] = itoa(int(k.ID))
	}
	for i := range rows {
		rows[i].CustomerID = ids[phones[i]]
	}
	return nil
}

// The types and modes of callbacks.
const (
	typeRemoved = "del_number"
	typeTask    = "task_status" // ours
	modeSingle  = "single"
	modeBatch   = "batch"
)

// eventPush is the body of every other callback.
type eventPush struct {
	Type     string          `json:"type"`
	Mode     string          `json:"mode"`
	UniqueID string          `json:"unique_id"`
	UserID   waihu.AccountID `json:"user_id"`
	TaskID   waihu.TaskID    `json:"task_id"`
	Data     any             `json:"data"`
}

type (
	pushNumber struct {
		Number string `json:"number"`
	}
	pushFile struct {
		URL string `json:"url"`
	}
	pushStatus struct {
		Status    int    `json:"status"`
		StatusStr string `json:"status_str"`
		Run       int    `json:"run"`
		Reason    any    `json:"reason"`
	}
)

// eventPush is nil when the event is none that this door tells.
func (c *request) eventPush(e *waihu.Event) (*eventPush, error) {
	p := &eventPush{Mode: modeBatch, UniqueID: eventID(e), UserID: e.Account, TaskID: e.Task}
	var b struct {
		By     string     `json:"by"`
		Ranges [][2]int64 `json:"ranges"`
		Batch  string     `json:"batch"`
		Kind   string     `json:"kind"`
		Run    int        `json:"run"`
		Reason string     `json:"reason"`
	}
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return nil, err
	}
	var err error
	switch e.Kind {
	case waihu.EventBatchDone:
		if b.Kind != batchImport && b.Kind != batchMoved && b.Kind != batchPool {
			return nil, nil // of another door
		}
		var address string
		address, err = c.numbersAddress(e.Account, b.Batch)
		p.Type, p.UniqueID, p.Data = b.Kind, b.Batch, pushFile{address}
	case waihu.EventNumbersAdded, waihu.EventNumbersRemoved:
		if p.Type = batchImport; e.Kind == waihu.EventNumbersRemoved {
			p.Type = typeRemoved
		}
		if b.By == Door || len(b.Ranges) == 0 {
			return nil, nil
		}
		return p, c.pushNumbers(p, b.Ranges)
	case waihu.EventTaskStarted, waihu.EventTaskStopped, waihu.EventRunEnded:
		p.Type, p.Mode = typeTask, modeSingle
		code, text := taskState(e.Kind == waihu.EventTaskStarted, true)
		if e.Kind == waihu.EventRunEnded {
			text = "执行结束"
		}
		p.Data = pushStatus{code, text, b.Run, textOrNull(b.Reason)}
	default:
		return nil, nil
	}
	return p, err
}

// pushNumbers names one number, and several by a file of them.
func (c *request) pushNumbers(p *eventPush, ranges [][2]int64) error {
	if len(ranges) == 1 && ranges[0][0] == ranges[0][1] {
		keys, _, err := c.s.Store.KeysIn(c.ctx, p.UserID, p.TaskID, ranges, 1)
		if waihu.ErrorCode(err) == waihu.ENotFound || err == nil && len(keys) == 0 {
			keys, err = []string{""}, nil // gone with its task
		}
		if err != nil {
			return err
		}
		p.Mode, p.Data = modeSingle, pushNumber{keys[0]}
		return nil
	}
	address, err := c.rangesAddress(p.UserID, p.TaskID, ranges)
	p.Data = pushFile{address}
	return err
}

// eventSpace makes names of events that are not batches.
var eventSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("waihu event"))

// eventID is the same at every delivery, and holds the event's number in its second half: identification finds the
// event by it.
func eventID(e *waihu.Event) string {
	id := uuid.NewSHA1(eventSpace, []byte(e.Account))
	binary.BigEndian.PutUint64(id[8:], uint64(e.N))
	id[8] = id[8]&0x3f | 0x80 // the variant; a number of 62 bits stays whole
	return id.String()
}

// eventBody is the callback of that name, nil when it is none of an event.
func (c *request) eventBody(name string) (any, error) {
	id, err := uuid.Parse(name)
	if err != nil {
		return nil, nil
	}
	n := int64(binary.BigEndian.Uint64(id[8:]) &^ (3 << 62))
	if n <= 0 || eventID(&waihu.Event{Account: c.acts.ID, N: n}) != id.String() {
		return nil, nil
	}
	list, err := c.s.Store.Events(c.ctx, c.acts.ID, n-1, 1)
	if err != nil || len(list) == 0 || list[0].N != n {
		return nil, err
	}
	p, err := c.eventPush(&list[0])
	if p == nil || err != nil {
		return nil, err
	}
	return p, nil
}

// recordPath is the address of a call's recording for who has a token.
func (c *request) recordPath(k *waihu.Call) string {
	path := "/agent-api/user/" + url.PathEscape(string(c.user.ID)) + "/task/" + url.PathEscape(string(k.Task)) + "/record/" + k.ID.String() + "/download-full-voice"
	if c.acts.ID != c.user.ID {
		path += "?sub_user_id=" + url.QueryEscape(string(c.acts.ID))
	}
	return path
}

// blackoutRow is a time for which the breaker blocked an address.
type blackoutRow struct {
	ID        int64           `json:"id"`
	UserID    waihu.AccountID `json:"user_id"`
	URL       string          `json:"url"`
	Begin     string          `json:"blackout_time"`
	Release   string          `json:"release_time"`
	Status    int             `json:"status"` // 0 blocked, 1 released
	StatusStr string          `json:"status_str"`
	Created   string          `json:"created_at"`
	Updated   string          `json:"updated_at"`
}

func (c *request) blackoutRow(b *store.Blackout) blackoutRow {
	r := blackoutRow{b.ID, b.Account, b.URL, stamp(b.Since, c.loc), stamp(b.ReleaseAt, c.loc), 0, "拉黑中", stamp(b.CreatedAt, c.loc), stamp(b.UpdatedAt, c.loc)}
	if b.Released {
		r.Status, r.StatusStr = 1, "已释放"
	}
	return r
}

func (s *server) blackouts(c *request) (*answer, error) {
	list, err := s.Store.Blackouts(c.ctx, c.acts.ID)
	data := []blackoutRow{}
	for i := range list {
		data = append(data, c.blackoutRow(&list[i]))
	}
	return &answer{message: "查看黑名单成功", data: data}, err
}

// blackoutRelease lets an address be called again before its time; the vendor has a console for that.
func (s *server) blackoutRelease(c *request) (*answer, error) {
	list, err := s.Store.Blackouts(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(b store.Blackout) bool { return itoa(int(b.ID)) == c.r.PathValue("id") })
	if i < 0 {
		return nil, refused(http.StatusNotFound, "黑名单记录不存在")
	}
	if !list[i].Released {
		if err := s.Store.ReleaseEndpoint(c.ctx, list[i].Account, list[i].Endpoint); err != nil {
			return nil, err
		}
	}
	return &answer{message: "释放成功", data: ""}, nil
}
