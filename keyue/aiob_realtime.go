package keyue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"waihu"
	"waihu/store"
)

// jobExpire ends realtime calls whose stopDate has come before anybody could place them.
const jobExpire = "aiob.expire"

type expireBody struct {
	Task waihu.TaskID `json:"task"`
	Key  string       `json:"key"`
}

// aiobRealtime has one number called now. It stands in a task of its own kind that always runs, so that it goes through the
// same caps, windows and ledger as every other number; calls that share robot, caller numbers and the host that is told share one.
func (s *server) aiobRealtime(c *aiobRequest) (any, error) {
	robot, mobile := c.body.get("robotId").need().text(200), c.body.get("mobile").need()
	group, err := parseGroup(mobile.text(maxMobile))
	if err == nil && len(group) != 1 {
		err = errors.New("每次调用只能传一个号码")
	}
	if err != nil {
		mobile.wrong("%s", err.Error())
	}
	c.plainText()
	callers := c.body.get("callerNum", "callerNums")
	stop := c.body.get("stopDate").when(c.loc)
	data := waihu.NumberData{Extra: c.body.get("extJson").opaque(maxExtJSON), Until: unixMS(stop)}
	for _, name := range []string{"dialogVar", "promptVar"} {
		for key, v := range c.body.get(name).vars() {
			if data.Vars == nil {
				data.Vars = map[string]string{}
			}
			data.Vars[key] = v
		}
	}
	data.Callback = c.body.get("callBackUrl").url()
	if err := c.done(); err != nil {
		return nil, err
	}
	ids, err := c.callerIDs(callers)
	if err != nil {
		return nil, err
	}
	a, err := c.robot(robot)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, aiobRefuse("robotId：机器人不存在")
	}
	if err != nil {
		return nil, err
	}
	if a.State != waihu.AgentOnline {
		return nil, aiobRefuse("robotId：机器人未发布,请先发布")
	}
	t, err := s.standing(c, &a, ids, data.Callback)
	if err != nil {
		return nil, err
	}
	n := store.NewNumber{Key: string(group[0]) + "#" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12], Phone: group[0], Data: data}
	if !stop.IsZero() { // before the number: whatever dies in between, the deadline is kept
		body, err := json.Marshal(expireBody{t.ID, n.Key})
		if err != nil {
			return nil, err
		}
		if err := s.Store.AddJobs(c.ctx, waihu.Job{Account: t.Account, Kind: jobExpire, Key: n.Key, Body: body, RunAt: stop}); err != nil {
			return nil, err
		}
	}
	if _, err := s.Store.AddNumbersBy(c.ctx, t.Account, t.ID, []store.NewNumber{n}, doorAIOB); err != nil {
		return nil, err
	}
	s.Wake()
	list, err := s.Store.NumbersByPhone(c.ctx, t.Account, t.ID, n.Key)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(x waihu.Number) bool { return x.Key == n.Key })
	if i < 0 {
		return nil, fmt.Errorf("the number of a realtime call is not in task %s", t.ID)
	}
	return map[string]any{"memberId": memberID(t.Serial, list[i].Seq)}, nil
}

// standing is the task that holds such realtime calls, made and started when there is none. Its window is the account's
// default calling hours, without any the frame of 09:00 to 21:00; when those or the lines change, another task takes over.
func (s *server) standing(c *aiobRequest, a *waihu.AgentSpec, callers []int64, back string) (t waihu.Task, err error) {
	weekly, err := c.defaultHours()
	if err != nil {
		return t, err
	}
	channels, err := c.channels(callers)
	if err != nil {
		return t, err
	}
	slices.Sort(callers)
	month := standingMonth(s.Now())
	name := func(by int64) (string, error) {
		said, err := json.Marshal([]any{a.ID, callers, by, weekly, c.account.Zone, channels})
		sum := sha256.Sum256(said)
		return standingName + month + " " + hex.EncodeToString(sum[:8]), err
	}
	s.naming.Lock() // one standing task of a kind
	defer s.naming.Unlock()
	kept := aiobKept{Realtime: true, Robots: []string{string(a.ID)}}
	if kept.CallBackBy, err = c.tells(back); err != nil {
		return t, err
	}
	t = waihu.Task{Account: c.account.ID, Agent: a.ID, Callers: callers, Weekly: weekly, Zone: c.account.Zone, Concurrency: max(1, channels),
		Pop: waihu.PopInOrder, EndAction: waihu.EndNothing}
	if t.Name, err = name(kept.CallBackBy); err != nil {
		return t, err
	}
	list, _, err := s.Store.Tasks(c.ctx, []waihu.AccountID{c.account.ID}, store.TaskFilter{Name: t.Name, Door: doorAIOB, PerPage: 10})
	if err != nil {
		return t, err
	}
	for i := range list {
		k, err := aiobKeptOf(&list[i].Task)
		if err == nil && k.Realtime && list[i].Name == t.Name && k.CallBackBy == kept.CallBackBy && (back == "" || k.CallBackBy != 0) {
			t = list[i].Task
			return t, s.aiobStart(c, &t)
		}
	}
	if err := s.aiobReady(c, &t); err != nil { // before anything is made: a refused call leaves nothing behind
		return t, err
	}
	if kept.CallBackBy, err = c.callbackTo(back); err != nil {
		return t, err
	}
	if t.Name, err = name(kept.CallBackBy); err != nil {
		return t, err
	}
	t.Doors = map[string][]byte{doorAIOB: kept.encode()}
	if err := s.Store.CreateTask(c.ctx, &t); err != nil {
		return t, err
	}
	if err := s.retire(c, standingMonth(s.Now().AddDate(0, 0, -31))); err != nil {
		return t, err
	}
	return t, s.aiobStart(c, &t)
}

// A standing task serves one month (UTC): member ids have room for 16 million calls of one task.
const standingName = "AIOB 实时任务 "

func standingMonth(t time.Time) string { return t.UTC().Format("2006-01") }

// retire stops the account's standing tasks of months before one. The month itself is left alone: requests that found its
// task may be adding numbers still. So is a task in which somebody waits for a window.
func (s *server) retire(c *aiobRequest, before string) error {
	for page := 1; ; page++ {
		const per = 1000
		list, total, err := s.Store.Tasks(c.ctx, []waihu.AccountID{c.account.ID}, store.TaskFilter{Name: standingName, Door: doorAIOB, Page: page, PerPage: per})
		if err != nil {
			return err
		}
		for i := range list {
			t := &list[i].Task
			k, err := aiobKeptOf(t)
			month, is := strings.CutPrefix(t.Name, standingName)
			if err != nil || !k.Realtime || !t.Started || !is || month >= before {
				continue
			}
			n, err := s.Store.Counts(c.ctx, t.Account, t.ID)
			if err == nil && n.State[waihu.NumberFresh]+n.State[waihu.NumberDue]+n.State[waihu.NumberInFlight] == 0 {
				err = s.Store.StopTask(c.ctx, t.Account, t.ID)
			}
			if err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
				return err
			}
		}
		if page*per >= total {
			return nil
		}
	}
}

func (c *aiobRequest) defaultHours() (waihu.Weekly, error) {
	list, err := c.s.Store.CallingHoursList(c.ctx, c.account.ID)
	if err != nil {
		return waihu.Weekly{}, err
	}
	for _, h := range list {
		if h.Default {
			return h.Weekly, nil
		}
	}
	return sameDays([]waihu.Span{{From: frameFrom, To: frameTo}}, nil, nil), nil
}

// expireAgain is how long a realtime call that is in progress at its deadline is left before it is looked at again: a fault
// on the way may bring it back.
const expireAgain = 30 * time.Second

// expireJob ends a realtime call that waits still. Its callback says that the deadline has passed.
func (s *server) expireJob(ctx context.Context, j waihu.Job) error {
	var b expireBody
	if err := json.Unmarshal(j.Body, &b); err != nil {
		return err
	}
	list, err := s.Store.NumbersByPhone(ctx, j.Account, b.Task, b.Key)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(n waihu.Number) bool { return n.Key == b.Key })
	switch {
	case i < 0 && j.Tries < 3:
		return errors.New("the number is not there yet") // its request is on the way, or was removed
	case i < 0 || list[i].State == waihu.NumberDone:
		return nil
	}
	done, err := s.Store.Withdraw(ctx, j.Account, b.Task, list[i].Seq, waihu.Expired, doorAIOB)
	if err != nil || done {
		return err
	}
	again := j
	again.ID, again.Key, again.RunAt = 0, b.Key+" "+s.Now().Format(time.RFC3339Nano), s.Now().Add(expireAgain)
	return s.Store.AddJobs(ctx, again)
}

// aiobRealtimeDelete takes back realtime calls that wait; without any field all of the account's.
func (s *server) aiobRealtimeDelete(c *aiobRequest) (any, error) {
	mobile, robot := c.body.get("mobile"), c.body.get("robotId").text(200)
	member := c.body.get("memberId").number(0, 0, maxMember)
	var phone waihu.PhoneNumber
	if !mobile.blank() {
		group, err := parseGroup(mobile.text(maxMobile))
		if err != nil || len(group) != 1 {
			mobile.wrong("应为一个号码")
		} else {
			phone = group[0]
		}
	}
	if n := c.body.get("batchMarking"); !n.blank() {
		n.wrong("不支持按批次删除")
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	if robot != "" {
		a, err := c.robot(robot)
		if waihu.ErrorCode(err) == waihu.ENotFound {
			return nil, aiobRefuse("robotId：机器人不存在")
		}
		if err != nil {
			return nil, err
		}
		robot = string(a.ID)
	}
	for page := 1; ; page++ {
		const per = 1000
		list, total, err := s.Store.Tasks(c.ctx, []waihu.AccountID{c.account.ID}, store.TaskFilter{Door: doorAIOB, Page: page, PerPage: per})
		if err != nil {
			return nil, err
		}
		for i := range list {
			t := &list[i].Task
			k, err := aiobKeptOf(t)
			if err != nil {
				return nil, err
			}
			if !k.Realtime || robot != "" && string(t.Agent) != robot {
				continue
			}
			if err := c.withdrawAll(t, phone, member); err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
				return nil, err
			}
		}
		if page*per >= total {
			return aiobSaid{msg: "OK"}, nil
		}
	}
}

// withdrawAll removes the waiting numbers of a task that match.
func (c *aiobRequest) withdrawAll(t *waihu.Task, phone waihu.PhoneNumber, member int64) error {
	f := store.NumberFilter{States: []waihu.NumberState{waihu.NumberFresh, waihu.NumberDue}, PerPage: 1000}
	if phone != "" {
		f.Phones = []string{string(phone)}
	}
	var all []waihu.Number
	for f.Page = 1; ; f.Page++ {
		list, total, err := c.s.Store.Numbers(c.ctx, t.Account, t.ID, f)
		if err != nil {
			return err
		}
		all = append(all, list...)
		if len(list) == 0 || len(all) >= total {
			break
		}
	}
	for i := range all {
		if member != 0 && member != memberID(t.Serial, all[i].Seq) {
			continue
		}
		if _, err := c.s.Store.Withdraw(c.ctx, t.Account, t.ID, all[i].Seq, waihu.NoOutcome, doorAIOB); err != nil {
			return err
		}
	}
	return nil
}
