package keyue

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// ledger is what nobody without the right may change, as text.
func (a *aiobWorld) ledger() string {
	a.Helper()
	var out strings.Builder
	for _, account := range []waihu.AccountID{mainAccount, subAccount, stranger} {
		list, _, err := a.Tasks(a.Context(), []waihu.AccountID{account}, store.TaskFilter{PerPage: 1000})
		a.must(err)
		for i := range list {
			numbers, _, err := a.Numbers(a.Context(), account, list[i].ID, store.NumberFilter{PerPage: 1000})
			a.must(err)
			raw, err := json.Marshal([]any{list[i], numbers})
			a.must(err)
			out.Write(raw)
		}
		endpoints, err := a.Endpoints(a.Context(), account)
		a.must(err)
		blocked, err := a.Suppressed(a.Context(), account, "", 0)
		a.must(err)
		last, err := a.LastEvent(a.Context(), account)
		a.must(err)
		fmt.Fprintln(&out, len(endpoints), blocked, last)
	}
	return out.String()
}

// TestAIOBRefused: what cannot be taken is refused by its field, and changes nothing.
func TestAIOBRefused(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	id := a.create(fields{"taskName": "有"})
	a.bring(id, "13800000001")
	before := a.ledger()
	create := func(change fields) func() reply {
		return func() reply { return a.as(a.token, "POST", aiob3+"/create", campaign(change)) }
	}
	send := func(path string, body any) func() reply {
		return func() reply { return a.as(a.token, "POST", path, body) }
	}
	group := func(body any, secret any) func() reply {
		return send(aiob3+"/import", fields{"taskId": id, "secretType": secret, "customerInfoList": body})
	}
	realtime := func(change fields) func() reply {
		body := fields{"robotId": pageAgent, "mobile": "13800000001", "secretType": 2}
		for k, v := range change {
			body[k] = v
		}
		return send("/api/v3/console/realtime/status/create", body)
	}
	for i, c := range []struct {
		send  func() reply
		parts string
	}{
		{create(fields{"taskName": nil}), "taskName"}, {create(fields{"taskName": strings.Repeat("长", 101)}), "taskName"}, {create(fields{"taskName": []int{1}}), "taskName"},
		{create(fields{"taskName": "a\x00b"}), "taskName"}, {create(fields{"taskName": "有"}), "taskName"},
		{create(fields{"robotId": nil}), "robotId"}, {create(fields{"robotId": "nobody"}), "robotId"}, {create(fields{"robotId": pageAgent + "," + pageAgent}), "robotId"},
		{create(fields{"dialStartDate": nil}), "dialStartDate"}, {create(fields{"dialStartDate": "2025-13-01"}), "dialStartDate"}, {create(fields{"dialStartDate": "tomorrow"}), "dialStartDate"},
		{create(fields{"dialEndDate": "2025-05-31"}), "dialEndDate"}, {create(fields{"dialEndDate": "x"}), "dialEndDate"},
		{create(fields{"dialStartTime": nil}), "dialStartTime"}, {create(fields{"dialStartTime": "08:59"}), "dialStartTime"}, {create(fields{"dialEndTime": "21:01"}), "dialEndTime"},
		{create(fields{"dialEndTime": "09:00"}), "dialEndTime"}, {create(fields{"dialEndTime": "25:00"}), "dialEndTime"}, {create(fields{"dialEndTime": "9"}), "dialEndTime"},
		{create(fields{"forbidDialDate": []int{7}}), "forbidDialDate[0]"}, {create(fields{"forbidDialDate": []string{"x"}}), "forbidDialDate[0]"},
		{create(fields{"forbidDialDate": []int{0, 1, 2, 3, 4, 5, 6}}), "没有可呼叫的时段"},
		{create(fields{"forbidDialTime": []fields{{"forbidDialStartTime": "12:00"}}}), "forbidDialTime[0].forbidDialEndTime"},
		{create(fields{"forbidDialTime": []fields{{"forbidDialStartTime": "13:00", "forbidDialEndTime": "12:00"}}}), "forbidDialTime[0]"},
		{create(fields{"forbidDialTime": []fields{{"forbidDialStartTime": "00:00", "forbidDialEndTime": "24:00"}}}), "没有可呼叫的时段"},
		{create(fields{"callerNums": []string{"02160001000", "000"}}), "callerNums[1]"}, {create(fields{"lastCallerNums": []string{"000"}}), "lastCallerNums[0]"},
		{create(fields{"blackListStrategy": 3}), "blackListStrategy"}, {create(fields{"taskCapacity": -1}), "taskCapacity"}, {create(fields{"taskCapacity": 23}), "剩余通路数不足"},
		{create(fields{"isOpenEmptyNum": nil}), "isOpenEmptyNum"}, {create(fields{"isOpenPhoneDown": "maybe"}), "isOpenPhoneDown"},
		{create(fields{"retryTimes": 11}), "retryTimes"}, {create(fields{"retryInterval": 0}), "retryInterval"}, {create(fields{"retryTimes": 1.5}), "retryTimes"},
		{create(fields{"callFinishTaskEnd": 2}), "callFinishTaskEnd"}, {create(fields{"callBackUrl": "ftp://x"}), "callBackUrl"}, {create(fields{"callBackUrl": "http://u:p@x/"}), "callBackUrl"},
		{send(aiob3+"/create", "[]"), "JSON"}, {send(aiob3+"/create", "{"), "JSON"}, {send(aiob3+"/create", `{"a":1}{"b":2}`), "JSON"}, {send(aiob3+"/create", "\xff"), "UTF-8"},
		{send(aiob3+"/create?%zz", nil), "编码"}, {send(aiob3+"/create", `{"x":"`+strings.Repeat("x", maxAIOB)+`"}`), "过大"},
		{send(aiob3+"/task/status/update", fields{"taskId": id, "taskStatus": 1}), "taskStatus"}, {send(aiob3+"/task/status/update", fields{"taskId": id}), "taskStatus"},
		{send(aiob3+"/task/status/update", fields{"taskStatus": 2}), "taskId"}, {send(aiob3+"/task/status/update", fields{"taskId": "999", "taskStatus": 2}), "任务不存在"},
		{send(aiob3+"/gettask", fields{"taskId": "-1"}), "任务不存在"}, {send(aiob3+"/gettask", fields{"taskId": "99999999999999999999"}), "任务不存在"}, {send(aiob3+"/gettask", fields{"taskId": fields{}}), "taskId"},
		{send(aiob3+"/task/detail", fields{"taskId": id, "ps": 201}), "ps"}, {send(aiob3+"/task/detail", fields{"taskId": id, "pn": 0}), "pn"},
		{send(aiob4+"/task/detail", fields{"taskId": id, "nextCursor": []any{1, "x"}}), "nextCursor"}, {send(aiob4+"/task/detail", fields{"taskId": id, "nextCursor": []any{1, "1"}}), "nextCursor"},
		{send(aiob3+"/member/detail", fields{"taskMemberId": 1}), "无法识别"}, {send(aiob3+"/member/detail", fields{"taskMemberId": "x"}), "taskMemberId"}, {send(aiob3+"/member/detail", nil), "taskMemberId"},
		{send(aiob3+"/member/list", fields{"searchStartTime": "2025-06-02"}), "searchEndTime"}, {send(aiob3+"/member/list", fields{"searchStartTime": "2025-06-02", "searchEndTime": "2025-06-01"}), "searchEndTime"},
		{send(aiob3+"/member/list", fields{"searchStartTime": "2025-06-02", "searchEndTime": "2025-06-03", "nextCursor": []any{1, "x_y"}}), "nextCursor"},
		{group([]fields{{"mobile": "13800000002"}}, 1), "secretType"}, {group([]fields{{"mobile": "13800000002"}}, 3), "secretType"}, {group([]fields{{"mobile": "13800000002"}}, nil), "secretType"},
		{group([]fields{}, 2), "customerInfoList"}, {group(nil, 2), "customerInfoList"},
		{realtime(fields{"robotId": "nobody"}), "robotId"}, {realtime(fields{"mobile": "13800000001;13800000002"}), "mobile"}, {realtime(fields{"mobile": ""}), "mobile"}, {realtime(fields{"secretType": 1}), "secretType"},
		{realtime(fields{"stopDate": "soon"}), "stopDate"}, {realtime(fields{"callerNum": []string{"000"}}), "callerNum"}, {realtime(fields{"dialogVar": "x"}), "dialogVar"}, {realtime(fields{"callBackUrl": "x"}), "callBackUrl"},
		{send("/api/v1/record", fields{"contactUuid": "1_1", "expiration": 3601}), "expiration"}, {send("/api/v1/record", fields{"operation": 1}), "contactUuid"},
		{send("/api/v1/blacklist/create", fields{"identification": "x"}), "identification"}, {send("/api/v1/blacklist/delete", fields{}), "ids"},
		{send(aiob3+"/update", campaign(fields{"taskId": id, "taskName": "有", "dialEndTime": "22:00"})), "dialEndTime"},
	} {
		r := c.send()
		if r.code != 400 || r.status != 400 || !strings.Contains(r.msg, c.parts) || strings.Contains(r.raw, "13800000002") {
			t.Errorf("%d: %d %s, want 400 naming %s", i, r.status, r.raw, c.parts)
		}
	}
	if after := a.ledger(); after != before {
		t.Errorf("refused requests changed the ledger:\n%s\n%s", before, after)
	}
	for path, code := range map[string]int{"/create": 405, "/reorder": 404} {
		if r := a.as(a.token, "GET", aiob3+path, nil); r.status != code || r.code != code || len(r.body) != 5 {
			t.Errorf("GET %s: %d %s", path, r.status, r.raw)
		}
	}
	lenient := newAIOB(t, func(o *Options) { o.ErrorStatus = 200 })
	if r := lenient.as(lenient.token, "POST", aiob3+"/create", fields{}); r.status != 200 || r.code != 400 {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

// TestAIOBTenancy walks every route without a token, with wrong ones and with a stranger's and a sub-account's: what is not
// theirs looks as if it did not exist, and nothing changes.
func TestAIOBTenancy(t *testing.T) {
	t.Parallel()
	a := newAIOB(t)
	a.must(a.AddToken(t.Context(), store.Token{Account: subAccount, Name: "aiob", Scope: scopeKey}, store.KeyPair("sub-access-key", "sub-secret-key-of-letters")))
	sub := a.take("sub-access-key", "sub-secret-key-of-letters")
	id := a.create(nil)
	member := a.bring(id, "13800000001", "13800000002")[0]
	a.run(id, 2)
	a.dial(a.row(id).ID, talked(), waihu.NumberDone)
	a.post("/api/v3/console/realtime/status/create", fields{"robotId": pageAgent, "mobile": "13800000003", "secretType": 2})
	uuid := a.post(aiob3+"/member/detail", fields{"taskMemberId": member}).text(0, "contactUUID")
	blocked := a.post("/api/v1/blacklist/create", fields{"identification": "13800000009"}).text("id")
	before := a.ledger()
	body := campaign(fields{"taskId": id, "taskMemberId": member, "contactUuid": uuid, "taskStatus": 4, "secretType": 2, "customerInfoList": []fields{{"mobile": "13800000007"}}, "ids": []string{blocked},
		"searchStartTime": "2025-06-01", "searchEndTime": "2025-06-03", "callerNums": []string{"02160001000"}, "memberId": member})
	secrets := []string{"13800000", "呼叫任务123", "测试主账户", "02160001", pageAgent, uuid}
	// Routes on which a stranger sees and changes only what is his own.
	own := []string{aiob3 + "/task/list", aiob3 + "/member/list", "/api/v1/robot/list", "/api/v1/did/list"}
	for _, r := range (&server{}).aiobRoutes() {
		for _, method := range r.methods {
			if strings.HasSuffix(r.path, "/getToken") || strings.HasSuffix(r.path, "/record/file") {
				continue // no token is asked for
			}
			for _, token := range []string{"", "x", "YUNFU_TOKEN", page.token} {
				a.refused(a.as(token, method, r.path, body), 401)
			}
			got := a.as(a.foreign, method, r.path, body)
			switch {
			case slices.Contains(own, r.path):
				a.fine(got)
			case r.path == "/api/v1/blacklist/create":
				a.refused(got, 400, "identification")
			default:
				a.refused(got, 400)
			}
			for _, secret := range secrets {
				if strings.Contains(got.raw, secret) {
					t.Errorf("%s %s tells a stranger %s: %s", method, r.path, secret, got.raw)
				}
			}
			if strings.Contains(r.path, "apitask") && !strings.HasSuffix(r.path, "create") && !slices.Contains(own, r.path) {
				if as := a.as(sub, method, r.path, body); as.code != 400 { // a sub-account is not its main account
					t.Errorf("%s %s as a sub-account: %s", method, r.path, as.raw)
				}
				nothing := campaign(body)
				nothing["taskId"], nothing["taskMemberId"], nothing["memberId"] = "123456", "999", "999"
				if none := a.as(a.foreign, method, r.path, nothing); none.msg != got.msg {
					t.Errorf("%s %s tells that it exists: %q, %q", method, r.path, got.msg, none.msg)
				}
			}
		}
	}
	if after := a.ledger(); after != before {
		t.Errorf("strangers changed the ledger:\n%s\n%s", before, after)
	}
	// A sub-account calls with its main account's robots and lines, in tasks of its own.
	mine := a.as(sub, "POST", aiob3+"/create", campaign(nil))
	a.fine(mine)
	a.refused(a.as(a.token, "POST", aiob3+"/gettask", fields{"taskId": mine.text("taskId")}), 400, "任务不存在")
	for _, key := range []string{"", "?key=", "?key=x"} {
		if r := a.as("", "GET", "/api/v1/record/file"+key, nil); r.status != 404 {
			t.Errorf("%q: %d", key, r.status)
		}
	}
}

// FuzzAIOBBody sends anything as the body of every route: never our own fault, never anything but the envelope.
func FuzzAIOBBody(f *testing.F) {
	for _, body := range []string{`{}`, `{"taskId":"1","taskStatus":2}`, `{"taskName":"a","robotId":"x","dialWeeklyInfo":[[["8:00","12:00"]],[],[],[],[],[],[]],"dialTimeType":1}`,
		`{"taskMemberId":1e400}`, `{"taskId":"1","secretType":2,"customerInfoList":[{"mobile":"1;2","var":{"a":[]},"extJson":{}}]}`, `{"nextCursor":[null,{}]}`, `{"robotId":",,","mobile":true,"secretType":"2"}`,
		`{"accessKey":"a","secretKey":{}}`, `[]`, `{"forbidDialDate":99,"forbidDialTime":{}}`, "{\"taskId\":\"\u0000\"}", `{"contactUuid":"1_1","operation":3}`, `{"ids":[1,[2]]}`} {
		f.Add(body)
	}
	a := newAIOB(f)
	a.now = time.Date(2025, 6, 2, 10, 0, 0, 0, waihu.Location(""))
	f.Fuzz(func(t *testing.T, body string) {
		for _, r := range (&server{}).aiobRoutes() {
			if strings.HasSuffix(r.path, "/getToken") && len(body)%2 == 0 {
				continue
			}
			method := r.methods[len(r.methods)-1]
			req := httptest.NewRequest(method, r.path, strings.NewReader(body))
			req.Header.Set("Authorization", a.token)
			rec := httptest.NewRecorder()
			a.door.ServeHTTP(rec, req)
			if rec.Code >= 500 || !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s %s with %q: %d %s", method, r.path, body, rec.Code, rec.Body)
			}
		}
	})
}

// FuzzAIOBGroup: what is taken as a group is one to five different numbers that can be read again.
func FuzzAIOBGroup(f *testing.F) {
	for _, s := range []string{"13800000001", "1;2;3;4;5;6", ";", "", "138;138", "+86 138-0000-0001; 0216000;", "１３８", "a;b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		group, err := parseGroup(text)
		if err != nil {
			return
		}
		var parts []string
		for _, p := range group {
			parts = append(parts, string(p))
		}
		again, err := parseGroup(strings.Join(parts, ";"))
		if err != nil || !slices.Equal(again, group) || len(group) < 1 || len(group) > maxGroup {
			t.Errorf("%q: %v, again %v %v", text, group, again, err)
		}
	})
}

// FuzzAIOBWeek: whatever is forbidden, what is left open lies within what was open, in order, and holds nothing forbidden.
func FuzzAIOBWeek(f *testing.F) {
	f.Add(540, 1260, 720, 780, 840, 900)
	f.Add(0, 1440, 0, 1440, 10, 20)
	f.Fuzz(func(t *testing.T, from, to, a, b, c, d int) {
		clock := func(n int) int { return ((n % 1441) + 1441) % 1441 }
		open := []waihu.Span{{From: min(clock(from), clock(to)), To: max(clock(from), clock(to))}}
		if open[0].From == open[0].To {
			return
		}
		bans := []waihu.Span{{From: min(clock(a), clock(b)), To: max(clock(a), clock(b))}, {From: min(clock(c), clock(d)), To: max(clock(c), clock(d))}}
		got := within(open, bans)
		for m := range 1440 {
			in := func(list []waihu.Span) bool {
				return slices.ContainsFunc(list, func(s waihu.Span) bool { return s.From <= m && m < s.To })
			}
			if in(got) != (in(open) && !in(bans)) {
				t.Fatalf("%v less %v is %v: wrong at %s", open, bans, got, clockText(m))
			}
		}
		for i, s := range got {
			if s.From >= s.To || i > 0 && got[i-1].To > s.From {
				t.Fatalf("%v", got)
			}
		}
	})
}

// FuzzAIOBClock: a time of the day that is taken is written back as the same.
func FuzzAIOBClock(f *testing.F) {
	for _, s := range []string{"09:00", "9:00", "24:00", "24:01", "21:60", "::", "12:00:00", "1:2", "-1:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := parseClock(text)
		if !ok {
			return
		}
		if again, ok := parseClock(clockText(m)); !ok || again != m || m < 0 || m > 1440 {
			t.Errorf("%q is %d, %s", text, m, clockText(m))
		}
	})
}
