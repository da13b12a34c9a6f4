package yunfu

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

func TestCallsAndRecordings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("POST", numberPath, phones(object{"phone": "13800000001", "name": "张三", "company": "公司", "extra": "e1", "components": []any{object{"id": "c1", "value": "v"}}}, "13800000002", "13800000003", "13800000004"))
	good := answered("B")
	good.Recording, good.Collected = "2025/a.wav", map[string]string{"goods": "完好"}
	outside, gone := ended(waihu.NoAnswer), ended(waihu.Rejected)
	gone.EndAt = gone.EndAt.Add(400 * time.Millisecond)
	outside.Recording, gone.Recording = "../secret.wav", "missing.wav"
	w.must(os.MkdirAll(filepath.Join(w.recordings, "2025"), 0o700))
	w.must(os.WriteFile(filepath.Join(w.recordings, "2025", "a.wav"), []byte("RIFF0123456789"), 0o600))
	secret := filepath.Join(filepath.Dir(w.recordings), "secret.wav")
	w.must(os.WriteFile(secret, []byte("secret"), 0o600))
	t.Cleanup(func() { os.Remove(secret) })
	calls := w.dial(taskID, good, outside, gone, nil)
	id := calls[0].Call.String()
	base := old1 + "/task/" + taskID

	r := w.ok("GET", base+"/record", nil)
	if r.message != "查看通话记录列表成功" || r.meta["total"] != json.Number("3") {
		t.Fatalf("list answers %s", r.raw)
	}
	row := r.at(2)
	customer := w.ok("GET", old1+"/get_customer?phone=13800000001", nil).at(0, "id")
	if detail := w.ok("GET", base+"/detail/"+id, nil); customer == "" || r.at(2, "customer_id") != customer || detail.at("customer_id") != customer {
		t.Errorf("customer %v: %s", customer, r.raw)
	}
	if all := strings.Join(w.pushes(mainUser, 0, 100), ""); !strings.Contains(all, `"customer_id":"`+customer.(string)+`"`) {
		t.Errorf("customer %v: %s", customer, all)
	}
	if want := tree(t, object{"callid": id, "id": id, "calldate": "2025-06-02 10:00:00", "answerdate": "2025-06-02 10:00:05", "bill": 30, "duration": 35, "status": 1,
		"intention_results": 2, "level": object{"level_id": "2", "level_name": "B级(可能有意向)"}, "rounds": 1, "score": 0, "hangup_party": "callee", "extra": "e1",
		"name": "张三", "company": "公司", "tags": []any{object{"tag_id": "完好", "name": "完好"}}, "tag_groups": []any{}, "send_wechat_data": []any{}, "operator_name": "移动",
		"components": []any{object{"id": "c1", "type": "text", "value": "v"}}, "group": object{"id": 123, "name": "话术123"}, "task": object{"id": taskID, "name": "测试任务"},
		"user": object{"id": mainUser, "name": "测试主账户"}, "master_user_id": mainUser, "type": 4, "number_data": object{"number": "13800000001", "hangupdate": "2025-06-02 10:00:35"},
		"component": object{"goods": "完好"}, "record_url": base + "/record/" + id + "/download-full-voice"}); !within(want, row) {
		t.Errorf("row is %v", row)
	}
	for query, want := range map[string]int{"keyword=13800000001": 1, "keyword=139": 0, "intention_tags[]=2": 1, "intention_tags[]=B&intention_tags[]=1": 1, "intention_tags=1": 0, "intention_tags[]=": 3, "intention_tags[]=&intention_tags[]=2": 1,
		"start_at=2025-06-02+10:00:00&end_at=2025-06-02+10:00:00": 3, "start_at=2025-06-02+10:00:01": 0, "hangup_date[]=2025-06-02&hangup_date[]=2025-06-02": 3,
		"hangup_date[]=2025-06-02+10:00:30&hangup_date[]=2025-06-02+10:00:35": 1, "hangup_date[]=2025-06-02+10:00:10&hangup_date[]=2025-06-02+10:00:10": 2, "levels=[[0,100],[100,500]]": 3, "levels[0][]=1&levels[0][]=100": 0} {
		if got := w.ok("GET", base+"/record?"+query, nil).meta["total"]; got != json.Number(itoa(want)) {
			t.Errorf("%s finds %v, want %d", query, got, want)
		}
	}
	w.bad(w.do("GET", base+"/record?intention_tags=Z", nil), 422, "intention_tags")
	w.bad(w.do("GET", base+"/record?levels=5", nil), 422, "levels[0]")
	w.bad(w.do("GET", base+"/record?hangup_date=2025-06-02", nil), 422, "hangup_date")

	d := w.ok("GET", base+"/detail/"+id, `{"sub_user_id":null}`)
	if d.message != "查看通话记录详情成功" {
		t.Errorf("detail answers %s", d.raw)
	}
	if want := tree(t, []any{
		object{"notify": "enter", "sequence": 1, "question": "", "answer_content": "您好", "answer_text": "ask", "play_ms": 1500, "record_id": id, "callid": id, "task_id": taskID, "asrtype": nil},
		object{"notify": "asrmessage_notify", "sequence": 2, "question": "完好", "keyword": "fine", "speak_ms": 600, "answer_content": "再见", "answer_text": "bye",
			"created_at": "2025-06-02 10:00:07", "callee": "13800000001"}}); !within(want, d.at("records")) {
		t.Errorf("records %v", d.at("records"))
	}
	for _, bad := range []string{"nothing", "0", "999", "..%2Fx", "..%2F.."} {
		w.bad(w.do("GET", base+"/detail/"+bad, nil), 404)
	}

	get := func(call waihu.CallID, span string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", base+"/record/"+call.String()+"/download-full-voice", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if span != "" {
			r.Header.Set("Range", span)
		}
		rec := httptest.NewRecorder()
		w.door.ServeHTTP(rec, r)
		return rec
	}
	whole, part := get(calls[0].Call, ""), get(calls[0].Call, "bytes=4-7")
	if whole.Code != 200 || whole.Body.String() != "RIFF0123456789" || whole.Header().Get("Content-Type") != "audio/wav" {
		t.Errorf("recording: %d %q", whole.Code, whole.Body)
	}
	if part.Code != 206 || part.Body.String() != "0123" {
		t.Errorf("a part of it: %d %q", part.Code, part.Body)
	}
	if r := get(calls[1].Call, ""); r.Code == 200 || r.Body.String() == "secret" {
		t.Errorf("a path out of the folder: %d %s", r.Code, r.Body)
	}
	for _, c := range []store.LiveCall{calls[2], calls[3]} {
		if r := get(c.Call, ""); r.Code != 404 {
			t.Errorf("no recording: %d %s", r.Code, r.Body)
		}
	}
}

func TestStat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stat := old1 + "/task/" + taskID + "/stat"
	empty := w.ok("GET", stat, nil)
	if empty.message != "获取外呼任务数据统计成功" || empty.at("answer_rate", "callCompletetRate") != json.Number("0") || empty.at("answer_rate", "taskProgress") != json.Number("0") {
		t.Errorf("stat of nothing: %s", empty.raw)
	}
	w.numbers(taskID, "13800000001", "13800000002", "13800000003", "13800000004", "13800000005", "13800000006")
	w.dial(taskID, answered("A"), answered("E"), ended(waihu.Unreachable), ended(waihu.CarrierFault), nil)
	r := w.ok("GET", stat, nil)
	want := object{
		"answer_rate": object{"answered": 2, "noAnswer": 2, "callCompletetRate": 50, "taskProgress": 66},
		"rounds":      object{"1": 2, "2~5": 0, "6~10": 0, "11~20": 0, ">20": 0},
	}
	if !within(tree(t, want), r.data) {
		t.Errorf("stat is %s", r.raw)
	}
	counts := map[int]int{0: 2, 1: 2, 2: 1, 4: 1}
	for code, name := range statusNames {
		if !within(tree(t, object{"status": code, "status_str": name, "count": counts[code]}), r.at("number_status", code)) {
			t.Errorf("status %d is %v", code, r.at("number_status", code))
		}
	}
	for level, total := range []int{1, 0, 0, 0, 1} {
		if !within(tree(t, object{"intention_results": level + 1, "name": intentionNames[level+1], "total": total, "percent": total * 50}), r.at("intention", level)) {
			t.Errorf("level %d is %v", level+1, r.at("intention", level))
		}
	}
	if n := len(r.at("intention").([]any)); n != 5 {
		t.Errorf("%d levels", n)
	}
	keys := keysOf(r.data)
	if !slices.Equal(keys, []string{"answer_rate", "intention", "number_status", "rounds"}) || len(keysOf(r.at("answer_rate"))) != 4 || len(keysOf(r.at("rounds"))) != 5 {
		t.Errorf("keys %v", keys)
	}
	day := clockNow.Format(time.DateOnly)
	if r := w.ok("GET", stat+"?date[]="+day+"&date[]="+day, nil); r.at("answer_rate", "answered") != json.Number("2") {
		t.Errorf("stat of today: %s", r.raw)
	}
	before := w.ok("GET", stat, object{"date": []string{"2025-05-01 00:00:00", "2025-05-02"}})
	if before.at("answer_rate", "answered") != json.Number("0") || before.at("answer_rate", "taskProgress") != json.Number("66") {
		t.Errorf("stat of another day: %s", before.raw)
	}
	w.bad(w.do("GET", stat+"?date=2025-05-01", nil), 422, "date：")
	w.bad(w.do("GET", stat+"?date[]=2025-05-02&date[]=2025-05-01", nil), 422, "date：")
}

func keysOf(v any) (keys []string) {
	m, _ := v.(map[string]any)
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestDispositionTable: each of ours has a code, and each code finds its own back.
func TestDispositionTable(t *testing.T) {
	t.Parallel()
	want := map[waihu.Disposition]int{waihu.Unreachable: 4, waihu.CarrierFault: 2, waihu.OurFault: 4, waihu.Unknown: 4, waihu.NeverLeft: 0, waihu.Failed: 4, waihu.Invalid: 2, waihu.Expired: 2}
	for d := waihu.NoOutcome; d <= waihu.Expired; d++ {
		code, other := want[d]
		if !other {
			code = int(d)
		}
		if statusOf(d) != code || !slices.Contains(dispositionsOf(code), d) {
			t.Errorf("%s shows as %d, want %d", d, statusOf(d), code)
		}
	}
}

// What a callee presses is their answer, and a silence is none: neither heard nor counted.
func TestKeysAndSilenceInTheDetail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("POST", numberPath, phones("13800000001"))
	o := answered("A")
	o.Transcript = []waihu.Turn{{Who: "agent", Text: "请按键", Node: "ask", ToMS: 1500}, {Who: "callee", Why: "silence 1 of 2", FromMS: 1500, ToMS: 3500},
		{Who: "agent", Text: "您还在吗？", Node: "ask", FromMS: 3500, ToMS: 4500}, {Who: "callee", Digit: "12", Intent: "fine", Why: "dtmf 12", FromMS: 5000, ToMS: 5000},
		{Who: "agent", Text: "再见", Node: "bye", FromMS: 5000, ToMS: 6000}}
	id := w.dial(taskID, o)[0].Call.String()
	d := w.ok("GET", old1+"/task/"+taskID+"/detail/"+id, nil)
	if want := tree(t, []any{
		object{"notify": "enter", "question": "", "answer_content": "请按键"},
		object{"notify": "asrmessage_notify", "question": "", "speak_ms": 0, "record_ms": 2000, "answer_content": "您还在吗？"},
		object{"notify": "asrmessage_notify", "question": "12", "keyword": "fine", "answer_content": "再见"}}); !within(want, d.at("records")) {
		t.Errorf("records %v", d.at("records"))
	}
	if got := d.at("rounds"); got != json.Number("1") {
		t.Errorf("rounds %v: the callee answered once", got)
	}
	if got := w.ok("GET", old1+"/task/"+taskID+"/stat", nil).at("rounds", "1"); got != json.Number("1") {
		t.Errorf("calls of one round in the statistics: %v", got)
	}
}
