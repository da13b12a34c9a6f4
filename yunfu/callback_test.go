package yunfu

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// pushes are the bodies that the events of an account after number after come to, delivered most of them at once.
func (w *world) pushes(account waihu.AccountID, after int64, most int) (bodies []string) {
	w.Helper()
	shape := Callback(Options{Store: w.Store, Public: "https://calls.example.com/", Now: func() time.Time { return clockNow }, Milliseconds: true})
	for {
		events, err := w.Events(w.Context(), account, after, most)
		w.must(err)
		if len(events) == 0 {
			return bodies
		}
		for len(events) > 0 {
			p, n, err := shape(w.Context(), waihu.Endpoint{Account: account}, events)
			body := p.Body
			w.must(err)
			if n < 1 || n > len(events) {
				w.Fatalf("%d of %d events shaped", n, len(events))
			}
			if body != nil {
				bodies = append(bodies, string(body))
			}
			after = events[n-1].N
			events = events[n:]
		}
	}
}

var linkKey = regexp.MustCompile(`key=[\w-]+`)

// golden compares a body with a file, the keys of links aside.
func golden(t *testing.T, name, body string) {
	t.Helper()
	got := linkKey.ReplaceAllString(body, "key=KEY")
	want := tree(t, testdata(t, name))
	if !reflect.DeepEqual(tree(t, []byte(got)), want) {
		t.Errorf("%s:\n%s", name, got)
	}
}

// TestCallCallback: calls are pushed together, in order, as the documented page has them and with our columns behind.
func TestCallCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("POST", numberPath, object{"data": []any{object{"phone": "13800000001", "name": "张三", "extra": "e1", "components": []any{object{"id": "c1", "value": "v"}}}}})
	w.ok("POST", numberPath, object{"ignore_crm": true, "data": []any{object{"phone": "13300000002"}}})
	good := answered("B")
	good.Recording, good.Collected = "a.wav", map[string]string{"goods": "完好"}
	w.must(os.WriteFile(filepath.Join(w.recordings, "a.wav"), []byte("RIFF0123456789"), 0o600))
	calls := w.dial(taskID, good, ended(waihu.Busy))
	w.must(w.StopTask(t.Context(), mainUser, taskID))
	bodies := w.pushes(mainUser, 0, 100)
	if len(bodies) != 4 {
		t.Fatalf("%d bodies: %s", len(bodies), bodies)
	}
	golden(t, "callback_task_started.json", bodies[0])
	named := bodies[1]
	for i, name := range []string{"CALL1", "CALL2"} {
		named = strings.ReplaceAll(named, calls[i].Call.String(), name)
	}
	golden(t, "callback_calls.json", named)
	golden(t, "callback_task_stopped.json", bodies[2])
	golden(t, "callback_run_ended.json", bodies[3])

	var push struct {
		Data []struct {
			Record string `json:"record_url"`
		}
	}
	w.must(json.Unmarshal([]byte(bodies[1]), &push))
	rec := httptest.NewRecorder()
	w.door.ServeHTTP(rec, httptest.NewRequest("GET", strings.TrimPrefix(push.Data[0].Record, "https://calls.example.com"), nil))
	if rec.Body.String() != "RIFF0123456789" {
		t.Errorf("the recording of the push: %d %s", rec.Code, rec.Body)
	}
	// One event at a time gives the same calls in the same order.
	single := w.pushes(mainUser, 0, 1)
	if len(single) != 5 || !strings.Contains(single[1], calls[0].Call.String()) || !strings.Contains(single[2], calls[1].Call.String()) || !strings.Contains(single[1], `"count":1`) {
		t.Errorf("one by one: %s", single)
	}
}

// TestCallbackAfterReview: a call that is graded after its end is pushed then, once.
func TestCallbackAfterReview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.numbers(taskID, "13800000001")
	call := w.dial(taskID, answered("A"))[0]
	shape := Callback(Options{Store: w.Store})
	ended := waihu.Event{Account: mainUser, N: 1, Task: taskID, Kind: waihu.EventCallEnded, Call: call.Call, Body: []byte(`{"seq":1,"attempt":1,"disposition":"answered","review":true}`)}
	reviewed := ended
	reviewed.N, reviewed.Kind, reviewed.Body = 2, waihu.EventCallReviewed, []byte(`{"seq":1,"attempt":1,"disposition":"answered","grade":"A"}`)
	if body, n, err := shape(t.Context(), waihu.Endpoint{}, []waihu.Event{ended}); err != nil || n != 1 || body.Body != nil {
		t.Errorf("before the review: %s %d %v", body.Body, n, err)
	}
	body, n, err := shape(t.Context(), waihu.Endpoint{}, []waihu.Event{ended, reviewed})
	if err != nil || n != 2 || !within(tree(t, object{"count": 1, "data": []any{object{"callid": call.Call.String(), "intention_results": 1}}}), tree(t, body.Body)) {
		t.Errorf("after it: %s %d %v", body.Body, n, err)
	}
	// Who wants to hear of ends alone hears of them at once.
	if body, n, err := shape(t.Context(), waihu.Endpoint{Kinds: []waihu.EventKind{waihu.EventCallEnded}}, []waihu.Event{ended}); err != nil || n != 1 || body.Body == nil {
		t.Errorf("without reviews: %s %d %v", body.Body, n, err)
	}
	// A call whose task is gone, and an account that is, have nobody to be told about.
	reviewed.Task = "gone"
	if body, n, err := shape(t.Context(), waihu.Endpoint{}, []waihu.Event{reviewed}); err != nil || n != 1 || body.Body != nil {
		t.Errorf("a call without its task: %s %d %v", body.Body, n, err)
	}
	reviewed.Account = "gone"
	if body, n, err := shape(t.Context(), waihu.Endpoint{}, []waihu.Event{reviewed, reviewed}); err != nil || n != 2 || body.Body != nil {
		t.Errorf("an account that is gone: %s %d %v", body.Body, n, err)
	}
}

// TestSubCallback: a sub-account's calls say so.
func TestSubCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := waihu.Task{ID: "sub-task", Account: subUser, Name: "子任务", Agent: "123", Concurrency: 1, Lines: []waihu.TaskLine{{Line: lineMain, Limit: 1}}}
	for i := range k.Weekly {
		k.Weekly[i] = []waihu.Span{{From: 0, To: 1440}}
	}
	w.must(w.CreateTask(t.Context(), &k))
	_, err := w.AddNumbersBy(t.Context(), subUser, k.ID, []store.NewNumber{{Phone: "13800000001"}}, Door)
	w.must(err)
	w.dialAs(subUser, k.ID, answered("C"))
	bodies := w.pushes(subUser, 0, 10)
	if len(bodies) < 2 || !within(tree(t, object{"data": []any{object{"type": 8, "user_id": subUser, "master_user_id": mainUser, "user": object{"id": subUser, "name": "子账户一"}}}}), tree(t, []byte(bodies[1]))) {
		t.Errorf("pushed: %s", bodies)
	}
}

// TestNumberCallbacks: numbers that came or went by other ways than this door, and batches of the background.
func TestNumberCallbacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add := func(phones ...waihu.PhoneNumber) {
		var rows []store.NewNumber
		for _, p := range phones {
			rows = append(rows, store.NewNumber{Phone: p})
		}
		_, err := w.AddNumbers(t.Context(), mainUser, taskID, rows)
		w.must(err)
	}
	add("13800000001")
	add("13800000002", "13800000003")
	w.numbers(taskID, "13800000004") // by the client itself: not told
	w.ok("DELETE", old1+"/task/"+taskID+"/number-batch-delete", object{"customer_info_list": []any{object{"phone": "13800000004"}}})
	for _, phones := range [][]string{{"13800000001"}, {"13800000002", "13800000003"}} {
		_, err := w.RemoveNumbers(t.Context(), mainUser, taskID, phones)
		w.must(err)
	}
	add("13800000003", "13800000009")
	moved := w.ok("POST", asyncPath, object{"data": phonesFrom(100, 2)}).at("unique_id").(string)
	w.work(jobImport)
	pool := w.ok("GET", old1+"/customer_to_task/"+taskID, nil).at("unique_id").(string)
	w.work(jobToTask)
	bodies := w.pushes(mainUser, 0, 100)
	names := []string{"import_single", "import_batch", "delete_single", "delete_batch", "import_batch", "async_import", "customer_to_task"}
	if len(bodies) != len(names) {
		t.Fatalf("%d bodies: %s", len(bodies), bodies)
	}
	ids := regexp.MustCompile(`"unique_id":"([^"]+)"`)
	want := map[int]string{1: `["13800000002","13800000003"]`, 3: `["13800000002","13800000003"]`, 4: `["13800000003","13800000009"]`, 5: `["13800000100","13800000101"]`,
		6: `["13800000004"]`}
	for i, body := range bodies {
		id := ids.FindStringSubmatch(body)[1]
		golden(t, "callback_"+names[i]+".json", strings.ReplaceAll(body, id, "ID"))
		if i == 5 && id != moved || i == 6 && id != pool {
			t.Errorf("body %d has another unique_id: %s", i, body)
		}
		if i < 5 {
			if r := w.batch(id); !within(tree(t, object{"unique_id": id, "task_id": taskID}), r.data) {
				t.Errorf("identification of %s: %s", id, r.raw)
			}
			w.bad(w.as(otherToken, "GET", "/agent-api/user/"+otherUser+"/identification/"+id, nil), 404)
		}
		if want[i] == "" {
			continue
		}
		var p struct{ Data struct{ URL string } }
		w.must(json.Unmarshal([]byte(body), &p))
		file := w.as("", "GET", strings.TrimPrefix(p.Data.URL, "https://calls.example.com"), nil)
		if file.raw != `{"numbers":`+want[i]+`}` {
			t.Errorf("the file of %s: %s", body, file.raw)
		}
	}
	again := w.pushes(mainUser, 0, 1)
	for i := range bodies {
		if linkKey.ReplaceAllString(again[i], "") != linkKey.ReplaceAllString(bodies[i], "") {
			t.Errorf("another delivery differs: %s\n%s", again[i], bodies[i])
		}
	}
}

// TestBlacklist: blocked addresses as the page shows them, and their release.
func TestBlacklist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r := w.ok("GET", "/agent-api/callback_blacklist", nil); r.message != "查看黑名单成功" || len(r.data.([]any)) != 0 || r.meta != nil {
		t.Errorf("nothing blocked: %s", r.raw)
	}
	e := waihu.Endpoint{Account: subUser, Door: Door, URL: "https://customer.example.com/hook"}
	w.must(w.AddEndpoint(t.Context(), &e, 0))
	w.block(e.ID)
	want := object{"id": 1, "user_id": subUser, "url": e.URL, "blackout_time": "2025-06-02 10:00:00", "release_time": "2025-06-02 12:00:00", "status": 0, "status_str": "拉黑中",
		"created_at": "2025-06-02 10:00:00", "updated_at": "2025-06-02 10:00:00"}
	r := w.ok("GET", "/agent-api/callback_blacklist", nil)
	if !reflect.DeepEqual(r.data, tree(t, []any{want})) {
		t.Errorf("blocked: %s", r.raw)
	}
	if r := w.as(otherToken, "GET", "/agent-api/callback_blacklist", nil); len(r.data.([]any)) != 0 {
		t.Errorf("a stranger sees %s", r.raw)
	}
	w.bad(w.as(otherToken, "PUT", "/agent-api/callback_blacklist/1/release", nil), 404)
	w.bad(w.do("PUT", "/agent-api/callback_blacklist/9/release", nil), 404)
	w.ok("PUT", "/agent-api/callback_blacklist/1/release", nil)
	if r := w.ok("GET", "/agent-api/callback_blacklist", nil); !within(tree(t, object{"status": 1, "status_str": "已释放"}), r.at(0)) {
		t.Errorf("released: %s", r.raw)
	}
	w.ok("PUT", "/agent-api/callback_blacklist/1/release", nil)
}

// block lets the breaker block an endpoint for two hours.
func (w *world) block(id int64) {
	w.Helper()
	list, err := w.LeaseEndpoints(w.Context(), "test", time.Minute)
	w.must(err)
	if len(list) != 1 || list[0].Endpoint.ID != id {
		w.Fatalf("leased %+v", list)
	}
	w.must(w.SaveDeliveries(w.Context(), "test", []store.DeliveryProgress{{Endpoint: id, Version: list[0].Version, Block: &store.Block{Since: clockNow, Until: clockNow.Add(2 * time.Hour)}}}))
}
