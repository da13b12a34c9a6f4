// Command aiob is an integration against AIOB, the outbound calling API of Baidu's 客悦, written from the vendor's pages: it
// takes a token, makes a task, imports people with one number and with several, runs the task, receives its callbacks,
// reads everything back, and has one more person called at once. Against waihu it runs as it does against the vendor;
// only the address differs.
//
//	go run ./examples/aiob -base http://127.0.0.1:8080 -ak KEY -sk SECRET -listen 127.0.0.1:9000 -callback http://127.0.0.1:9000/
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := client{out: os.Stdout}
	flag.StringVar(&c.base, "base", "https://aiob-open.baidu.com", "`address` of the API")
	flag.StringVar(&c.ak, "ak", "", "access `key`")
	flag.StringVar(&c.sk, "sk", "", "secret `key`")
	listen := flag.String("listen", "127.0.0.1:9000", "`address` at which callbacks are received")
	flag.StringVar(&c.callback, "callback", "http://127.0.0.1:9000/", "the same as the platform reaches it")
	groups := flag.String("groups", "", "groups to import, blanks between, numbers of a group between semicolons")
	person := flag.String("now", "", "`number` to be called at once")
	zone := flag.String("zone", "Asia/Shanghai", "time zone of the account")
	flag.Parse()
	var err error
	if c.loc, err = time.LoadLocation(*zone); err == nil {
		if c.back, err = hear(*listen); err == nil {
			err = c.run(ctx, strings.Fields(*groups), *person)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type object map[string]any

type client struct {
	base, ak, sk, callback, token string
	out                           io.Writer
	loc                           *time.Location
	back                          *callbacks
}

// call sends a request and reads data. The pages promise code 200 for a success and a reason in msg otherwise.
func (c *client) call(ctx context.Context, method, path string, body, data any) error {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		r.Header.Set("Authorization", c.token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer := struct {
		Code int    `json:"code"`
		Msg  string `json:"msg"`
		Data any    `json:"data"`
	}{Data: data}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, res.Status, err)
	}
	if answer.Code != 200 {
		return fmt.Errorf("%s: %d %s", path, answer.Code, answer.Msg)
	}
	return nil
}

func (c *client) post(ctx context.Context, path string, body, data any) error {
	return c.call(ctx, "POST", path, body, data)
}

const v3 = "/api/v3/console/apitask"

func (c *client) run(ctx context.Context, groups []string, person string) error {
	var token struct {
		AccessToken string `json:"accessToken"`
		TenantID    int64  `json:"tenantId"`
		ExpiresTime int    `json:"expiresTime"`
	}
	if err := c.post(ctx, "/api/v2/getToken", object{"accessKey": c.ak, "secretKey": c.sk}, &token); err != nil {
		return err
	}
	c.token = token.AccessToken
	fmt.Fprintln(c.out, "token holds for days:", token.ExpiresTime/60/24)
	var robots struct {
		List []struct {
			RobotID string `json:"robotId"`
		} `json:"list"`
	}
	if err := c.call(ctx, "GET", "/api/v1/robot/list?pn=1&ps=20", nil, &robots); err != nil {
		return err
	}
	var callers struct {
		List []struct {
			Number    string `json:"didNumber"`
			InOut     int    `json:"inOutBound"`
			State     int    `json:"state"`
			DidType   int    `json:"didType"`
			DidOwner  int    `json:"didOwner"`
			AreaCode  string `json:"didAreaCode"`
			Operator  int    `json:"operator"`
			CallerNum int64  `json:"id"`
		} `json:"list"`
	}
	if err := c.call(ctx, "GET", "/api/v1/did/list", nil, &callers); err != nil {
		return err
	}
	if len(robots.List) == 0 || len(callers.List) == 0 {
		return errors.New("there is no published robot or no caller number")
	}
	robot, caller := robots.List[0].RobotID, callers.List[0].AreaCode+callers.List[0].Number
	members, task, err := c.task(ctx, robot, caller, groups)
	if err != nil {
		return err
	}
	if err := c.post(ctx, v3+"/task/status/update", object{"taskId": task, "taskStatus": 2}, nil); err != nil {
		return err
	}
	if err := c.follow(ctx, task, members); err != nil {
		return err
	}
	if err := c.read(ctx, task, members); err != nil {
		return err
	}
	return c.now(ctx, robot, caller, person)
}

// task makes a task and imports the groups; members are by id what was imported.
func (c *client) task(ctx context.Context, robot, caller string, groups []string) (members map[string]string, id string, err error) {
	today := time.Now().In(c.loc).Format(time.DateOnly)
	var made struct {
		TaskID string `json:"taskId"`
	}
	if err := c.post(ctx, v3+"/create", object{"taskName": "示例任务 " + time.Now().Format(time.StampMicro), "robotId": robot, "dialStartDate": today, "dialEndDate": today,
		"dialStartTime": "09:00", "dialEndTime": "21:00", "callerNums": []string{caller}, "isOpenEmptyNum": false, "isOpenPhoneDown": false, "callBackUrl": c.callback}, &made); err != nil {
		return nil, "", err
	}
	var list []object
	for i, g := range groups {
		list = append(list, object{"mobile": g, "extJson": fmt.Sprintf("group %d", i), "var": object{"name": "张三"}})
	}
	var imported struct {
		SuccessNum, FailedNum int
		ResList               []struct {
			Status       int    `json:"status"`
			Reason       string `json:"reason"`
			TaskMemberID string `json:"taskMemberId"`
		} `json:"resList"`
	}
	if err := c.post(ctx, v3+"/import", object{"taskId": made.TaskID, "secretType": 2, "customerInfoList": list}, &imported); err != nil {
		return nil, "", err
	}
	if imported.FailedNum > 0 || imported.SuccessNum != len(groups) {
		return nil, "", fmt.Errorf("imported %+v", imported)
	}
	members = map[string]string{}
	for i, r := range imported.ResList {
		members[r.TaskMemberID] = fmt.Sprintf("group %d", i)
	}
	fmt.Fprintln(c.out, "groups imported:", imported.SuccessNum)
	return members, made.TaskID, nil
}

// follow waits until the callbacks have told of every group and of the task's end.
func (c *client) follow(ctx context.Context, task string, members map[string]string) error {
	done := func() bool { // the last call of a group may be told of after its end
		calls := 0
		for _, m := range c.back.finished {
			calls += m.TotalTimes
		}
		return len(c.back.calls) == calls && len(c.back.finished) == len(members) && c.back.states[task] == "手动启动任务,任务已呼叫完成"
	}
	if err := c.back.wait(ctx, done); err != nil {
		return fmt.Errorf("%w: %d of %d groups are finished, the task was told of as %q", err, len(c.back.finished), len(members), c.back.states[task])
	}
	c.back.mu.Lock()
	defer c.back.mu.Unlock()
	connected := 0
	for id, m := range c.back.finished {
		if m.ExtJSON != members[id] || m.Finished != 1 || m.Status != 3 && m.Status != 4 {
			return fmt.Errorf("group %s: %+v, want %q echoed", id, m, members[id])
		}
		if m.Status == 3 {
			connected++
		}
	}
	if len(c.back.wrong) > 0 {
		return fmt.Errorf("callbacks that are not as documented: %v", c.back.wrong)
	}
	fmt.Fprintf(c.out, "callbacks: %d calls, %d groups, %d connected\n", len(c.back.calls), len(c.back.finished), connected)
	return nil
}

// read asks for what the callbacks told.
func (c *client) read(ctx context.Context, task string, members map[string]string) error {
	var state struct {
		Status int `json:"status"`
	}
	if err := c.post(ctx, v3+"/gettask", object{"taskId": task}, &state); err != nil {
		return err
	}
	c.back.mu.Lock()
	defer c.back.mu.Unlock()
	if state.Status != 4 {
		return fmt.Errorf("the task is in state %d, want 4", state.Status)
	}
	var page struct {
		Total int `json:"total"`
		List  []struct {
			ID     int64 `json:"taskMemberId"`
			Status int   `json:"status"`
			Calls  int   `json:"callTimes"`
		} `json:"list"`
	}
	if err := c.post(ctx, v3+"/task/detail", object{"taskId": task, "pn": 1, "ps": 200}, &page); err != nil {
		return err
	}
	calls := 0
	for _, g := range page.List {
		told := c.back.finished[fmt.Sprint(g.ID)]
		if g.Status != told.Status || g.Calls != told.TotalTimes {
			return fmt.Errorf("group %d: read as %+v, told as %+v", g.ID, g, told)
		}
		var sessions []call
		if err := c.post(ctx, v3+"/member/detail2", object{"taskMemberId": g.ID}, &sessions); err != nil {
			return err
		}
		for _, s := range sessions {
			if told := c.back.calls[s.SessionID]; told.EndTypeReason != s.EndTypeReason || told.Mobile != s.Mobile || told.TalkingTimeLen != s.TalkingTimeLen {
				return fmt.Errorf("call %s: read as %+v, told as %+v", s.SessionID, s, told)
			}
			calls++
			if s.ContactUUID != "" && calls == 1 {
				if err := c.recording(ctx, s.ContactUUID); err != nil {
					return err
				}
			}
		}
	}
	var log struct {
		Total int `json:"total"`
	}
	now := time.Now().In(c.loc)
	if err := c.post(ctx, v3+"/member/list", object{"searchStartTime": now.Add(-time.Hour).Format(time.DateTime), "searchEndTime": now.Add(time.Hour).Format(time.DateTime)}, &log); err != nil {
		return err
	}
	if page.Total != len(members) || calls != len(c.back.calls) || log.Total != calls {
		return fmt.Errorf("%d groups and %d calls were read, %d in the log; %d and %d were told of", page.Total, calls, log.Total, len(members), len(c.back.calls))
	}
	fmt.Fprintln(c.out, "calls read:", calls)
	return nil
}

func (c *client) recording(ctx context.Context, id string) error {
	var urls []struct {
		RecordURL string `json:"recordUrl"`
	}
	if err := c.call(ctx, "GET", "/api/v1/record?contactUuid="+id, nil, &urls); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, "GET", urls[0].RecordURL, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != 200 || !bytes.HasPrefix(raw, []byte("RIFF"))) {
		err = fmt.Errorf("the recording: %s", res.Status)
	}
	fmt.Fprintln(c.out, "a recording of bytes:", len(raw))
	return err
}

// now has one person called at once, and a second time with a deadline that is over.
func (c *client) now(ctx context.Context, robot, caller, person string) error {
	for _, late := range []bool{false, true} {
		body := object{"robotId": robot, "mobile": person, "callerNum": []string{caller}, "secretType": 2, "dialogVar": object{"name": "李四"}, "callBackUrl": c.callback, "extJson": fmt.Sprint("late ", late)}
		if late {
			body["stopDate"] = time.Now().In(c.loc).Add(-time.Minute).Format(time.DateTime)
		}
		var made struct {
			MemberID int64 `json:"memberId"`
		}
		if err := c.post(ctx, "/api/v3/console/realtime/status/create", body, &made); err != nil {
			return err
		}
		if err := c.back.wait(ctx, func() bool { return c.back.realtime[made.MemberID].SessionID != "" }); err != nil {
			return fmt.Errorf("realtime call %d: %w", made.MemberID, err)
		}
		got := c.back.realtime[made.MemberID]
		if want := map[bool]string{false: "success", true: "beyonddeadline"}[late]; got.EndTypeReason != want || got.ExtJSON != body["extJson"] {
			return fmt.Errorf("the realtime call was told as %+v, want %s", got, want)
		}
		fmt.Fprintln(c.out, "realtime call:", got.EndTypeReason)
	}
	return nil
}
