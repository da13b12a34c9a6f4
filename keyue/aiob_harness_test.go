package keyue

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

var updateGolden = flag.Bool("update-aiob", false, "write the callbacks of testdata anew")

const (
	accessKey, secretKey           = "5b050c050f5a4e74b8c20bf512e39c1d", "a-secret-of-many-letters"
	strangerAccess, strangerSecret = "0123456789abcdef", "another-secret-of-many"
	aiob3, aiob4                   = "/api/v3/console/apitask", "/api/v4/console/apitask"
	lineOfPage                     = "d47c3599-f166-4cd0-999c-f60e46814d26"
)

// aiobWorld is the AIOB family over the fixture, with an owner of the ledger.
type aiobWorld struct {
	*world
	token, foreign string
	shape          waihu.Shape
	epoch, calls   int64
}

type fields = map[string]any

func newAIOB(t testing.TB, change ...func(*Options)) *aiobWorld {
	t.Helper()
	a := &aiobWorld{world: newWorld(t, change...)}
	for account, pair := range map[waihu.AccountID][2]string{mainAccount: {accessKey, secretKey}, stranger: {strangerAccess, strangerSecret}} {
		a.must(a.AddToken(t.Context(), store.Token{Account: account, Name: "aiob", Scope: scopeKey}, store.KeyPair(pair[0], pair[1])))
	}
	a.token, a.foreign = a.take(accessKey, secretKey), a.take(strangerAccess, strangerSecret)
	a.shape = Callback(Options{Store: a.Store, Now: func() time.Time { return a.now }})
	var err error
	a.epoch, err = a.TakeShard(t.Context(), 0, "test", 24*time.Hour)
	a.must(err)
	return a
}

func (a *aiobWorld) take(ak, sk string) string {
	a.Helper()
	r := a.as("", "POST", "/api/v2/getToken", fields{"accessKey": ak, "secretKey": sk})
	a.fine(r)
	return r.text("accessToken")
}

// as sends a request with an access token.
func (a *aiobWorld) as(token, method, path string, body any) reply {
	a.Helper()
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw = []byte(b)
	default:
		var err error
		raw, err = json.Marshal(b)
		a.must(err)
	}
	r := httptest.NewRequest(method, path, bytes.NewReader(raw))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	return a.send(r)
}

func (a *aiobWorld) fine(r reply) {
	a.Helper()
	id, _ := r.body["requestId"].(string)
	if r.status != 200 || r.code != 200 || len(r.body) != 5 || len(id) != 32 {
		a.Fatalf("%d %s, want a success", r.status, r.raw)
	}
}

// post is a request that must succeed.
func (a *aiobWorld) post(path string, body any) reply {
	a.Helper()
	r := a.as(a.token, "POST", path, body)
	a.fine(r)
	return r
}

// refused checks a failure: its code, its status, no data, and what its message says.
func (a *aiobWorld) refused(r reply, code int, parts ...string) {
	a.Helper()
	if r.code != code || r.status != code || r.data != nil || len(r.body) != 5 {
		a.Errorf("%d %s, want a failure with %d", r.status, r.raw, code)
	}
	for _, part := range parts {
		if !strings.Contains(r.msg, part) {
			a.Errorf("%q does not say %q", r.msg, part)
		}
	}
}

// campaign is the body of a V3 task with changes; nil takes a field out.
func campaign(change fields) fields {
	body := fields{"taskName": "呼叫任务123_测试", "robotId": pageAgent, "dialStartDate": "2025-06-01", "dialStartTime": "09:00", "dialEndTime": "21:00",
		"isOpenEmptyNum": false, "isOpenPhoneDown": false}
	for k, v := range change {
		if v == nil {
			delete(body, k)
		} else {
			body[k] = v
		}
	}
	return body
}

func (a *aiobWorld) create(change fields) string {
	a.Helper()
	return a.post(aiob3+"/create", campaign(change)).text("taskId")
}

// bring imports one group per mobile and gives their ids.
func (a *aiobWorld) bring(task string, mobiles ...string) (ids []string) {
	a.Helper()
	var list []fields
	for _, m := range mobiles {
		list = append(list, fields{"mobile": m, "extJson": "ext " + m, "var": fields{"name": "张三"}})
	}
	r := a.post(aiob3+"/import", fields{"taskId": task, "secretType": 2, "customerInfoList": list})
	for i := range mobiles {
		ids = append(ids, r.text("resList", i, "taskMemberId"))
	}
	return ids
}

func (a *aiobWorld) run(task string, status int) reply {
	a.Helper()
	return a.post(aiob3+"/task/status/update", fields{"taskId": task, "taskStatus": status})
}

func (a *aiobWorld) state(task string) string {
	a.Helper()
	n, _ := a.post(aiob3+"/gettask", fields{"taskId": task}).at("status").(json.Number)
	return n.String()
}

// row is a task as the ledger has it.
func (a *aiobWorld) row(task string) waihu.Task {
	a.Helper()
	list, _, err := a.Tasks(context.Background(), []waihu.AccountID{mainAccount, stranger}, store.TaskFilter{PerPage: 1000})
	a.must(err)
	for i := range list {
		if taskWire(&list[i].Task) == task {
			return list[i].Task
		}
	}
	a.Fatalf("no task %s", task)
	return waihu.Task{}
}

func (a *aiobWorld) tick(k *store.Tick) *store.TickResult {
	a.Helper()
	k.Epoch, k.Owner, k.Now = a.epoch, "test", a.now
	k.NextCall = func() (waihu.CallID, bool) { a.calls++; return waihu.NewCallID(0, a.epoch, a.calls), true }
	r, err := a.Tick(context.Background(), k)
	a.must(err)
	return r
}

// dial pops one number of a started task, as the scheduler would, and books its call.
func (a *aiobWorld) dial(task waihu.TaskID, o *waihu.Outcome, next waihu.NumberState) {
	a.Helper()
	run, ok, err := a.LastRun(context.Background(), mainAccount, task)
	if err != nil || !ok {
		a.Fatalf("run of %s: %v %v", task, ok, err)
	}
	r := a.tick(&store.Tick{Pops: []store.Pop{{Task: task, Account: mainAccount, Run: run.N, Order: waihu.PopInOrder, Fresh: true, Due: true, Limit: 1,
		Decide: func(store.PoppedNumber) store.Decision {
			return store.Decision{Dial: true, Line: lineOfPage, Agent: "9001"}
		}}}})
	if len(r.Dials) != 1 {
		a.Fatalf("dialled %d", len(r.Dials))
	}
	o.Call = r.Dials[0].Call
	b := store.Booking{LiveCall: r.Dials[0].LiveCall, Outcome: o, Next: next}
	if next == waihu.NumberDue {
		b.Due, b.Redial = a.now.Add(time.Minute), true
	}
	a.tick(&store.Tick{Book: []store.Booking{b}})
}

func talked() *waihu.Outcome {
	return &waihu.Outcome{Disposition: waihu.Answered, HangupBy: waihu.ByAgent, Caller: "02160001000", Grade: "A", Collected: map[string]string{"意向": "愿意购买"},
		InviteAt: clockNow, RingAt: clockNow.Add(2 * time.Second), AnswerAt: clockNow.Add(5 * time.Second), EndAt: clockNow.Add(35 * time.Second), Recording: "x/y.wav",
		Evidence:   []waihu.Evidence{{Kind: "sip", Value: "200 OK"}},
		Transcript: []waihu.Turn{{Who: "agent", Text: "您好", Node: "ask", ToMS: 1500}, {Who: "callee", Text: "好的", Intent: "fine", FromMS: 2000, ToMS: 2600, Barged: true}}}
}

func unreached(d waihu.Disposition) *waihu.Outcome {
	return &waihu.Outcome{Disposition: d, HangupBy: waihu.ByNobody, Caller: "02160001000", InviteAt: clockNow, EndAt: clockNow.Add(3 * time.Second),
		Evidence: []waihu.Evidence{{Kind: "sip", Value: "486 Busy Here"}}}
}

// told shapes all of the main account's events behind after for an endpoint, and gives the bodies.
func (a *aiobWorld) told(e waihu.Endpoint, after int64) (bodies []string) {
	a.Helper()
	events, err := a.Events(context.Background(), mainAccount, after, 0)
	a.must(err)
	for len(events) > 0 {
		p, n, err := a.shape(context.Background(), e, events)
		a.must(err)
		if p.Body != nil {
			bodies = append(bodies, string(p.Body))
		}
		events = events[n:]
	}
	return bodies
}

// made is the only endpoint that was made for a callBackUrl.
func (a *aiobWorld) made() waihu.Endpoint {
	a.Helper()
	list, err := a.Endpoints(context.Background(), mainAccount)
	a.must(err)
	var made []waihu.Endpoint
	for _, e := range list {
		if e.Remark == callBackRemark {
			made = append(made, e.Endpoint)
		}
	}
	if len(made) != 1 {
		a.Fatalf("%d endpoints were made for addresses: %+v", len(made), made)
	}
	return made[0]
}

// addressed is where everything that an endpoint is told of goes.
func (a *aiobWorld) addressed(e waihu.Endpoint) (list []string) {
	a.Helper()
	events, err := a.Events(context.Background(), mainAccount, 0, 0)
	a.must(err)
	for len(events) > 0 {
		p, n, err := a.shape(context.Background(), e, events)
		a.must(err)
		if p.Body != nil {
			list = append(list, cmp.Or(p.URL, e.URL))
		}
		events = events[n:]
	}
	return list
}

// golden holds a body to its file, but for indentation.
func (a *aiobWorld) golden(name, got string) {
	a.Helper()
	var pretty bytes.Buffer
	a.must(json.Indent(&pretty, []byte(got), "", "  "))
	pretty.WriteByte('\n')
	file := filepath.Join("testdata", name)
	if *updateGolden {
		a.must(os.WriteFile(file, pretty.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	a.must(err)
	if pretty.String() != string(want) {
		a.Errorf("%s:\n%s\nwant\n%s", name, pretty.String(), want)
	}
}
