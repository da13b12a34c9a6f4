package yunfu

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// TestSubAccounts walks a sub-account's life; the edit answer is the page's, key by key.
func TestSubAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	subs := old1 + "/subset_users"
	sent := object{"name": "子账户二", "email": "two@example.com", "phone": 13800000002, "password": "secret1", "password_confirmation": "secret1",
		"subset_data": object{"alias": "小二", "birthday": "2000-1-2", "duty": "客服", "wechat": "wx", "qq": 10001, "landline_phone": "02160001000", "sex": "1"}}
	created := w.ok("POST", subs, sent)
	id, _ := created.at("id").(string)
	edit := w.ok("GET", subs+"/"+id+"/edit", nil)
	want := tree(t, object{"code": 200, "status": "success", "message": "查看子账户信息成功", "data": object{"id": id, "name": "子账户二", "phone": "13800000002",
		"email": "two@example.com", "sex": 1, "alias": "小二", "duty": "客服", "landline_phone": "02160001000", "qq": "10001", "wechat": "wx", "birthday": "2000-01-02",
		"created_at": "2025-06-02 10:00:00", "updated_at": "2025-06-02 10:00:00"}})
	if got := tree(t, []byte(edit.raw)); !within(want, got) || !within(got, want) {
		t.Errorf("edit:\n got %s\nwant %v", edit.raw, want)
	}
	if strings.Contains(created.raw, "secret1") || strings.Contains(edit.raw, "secret1") {
		t.Error("the password is told")
	}
	plain := w.ok("GET", subs+"/"+subUser+"/edit", nil)
	for _, key := range []string{"alias", "duty", "landline_phone", "qq", "wechat"} {
		if v := plain.at(key); v != nil {
			t.Errorf("%s without a value is %v", key, v)
		}
	}
	// A list with each filter, and a second page.
	for query, names := range map[string]string{"page=1": "子账户一,子账户二", "page=1&name=二": "子账户二", "page=1&id=" + id: "子账户二", "page=1&email=TWO@": "子账户二",
		"page=1&phone=0002": "子账户二", "page=1&name=nobody": ""} {
		var got []string
		r := w.ok("GET", subs+"?"+query, nil)
		for i := range r.data.([]any) {
			got = append(got, r.at(i, "name").(string))
		}
		slices.Sort(got) // made in the same moment
		if strings.Join(got, ",") != names {
			t.Errorf("%s: %v", query, got)
		}
	}
	if r := w.ok("GET", subs+"?page=2&per_page=1", nil); len(r.data.([]any)) != 1 || r.meta["last_page"] != tree(t, 2) {
		t.Errorf("second page %s", r.raw)
	}
	// An update changes what it names.
	w.ok("PUT", subs+"/"+id, object{"name": "改名", "subset_data": object{"qq": ""}})
	if got := w.ok("GET", subs+"/"+id+"/edit", nil); got.at("name") != "改名" || got.at("qq") != nil || got.at("alias") != "小二" {
		t.Errorf("after the update: %s", got.raw)
	}
	// It is an account: what acts for it works, until it is deleted.
	w.ok("GET", new2+"/task?sub_user_id="+id, nil)
	w.ok("DELETE", subs+"/"+id, nil)
	w.bad(w.do("GET", new2+"/task?sub_user_id="+id, nil), 403)
	w.bad(w.do("DELETE", subs+"/"+id, nil), 403)
	w.bad(w.do("DELETE", subs+"/"+mainUser, nil), 403)
	// A sub-account whose task runs stays.
	k := waihu.Task{Account: subUser, Name: "x", Agent: "123", Concurrency: 1}
	w.must(w.CreateTask(t.Context(), &k))
	_, err := w.StartTask(t.Context(), subUser, k.ID)
	w.must(err)
	w.bad(w.do("DELETE", subs+"/"+subUser, nil), 6007)

	for name, c := range map[string]struct {
		body  object
		parts []string
	}{
		"no name":       {object{"email": "a@b", "phone": "13800000001", "password": "x", "password_confirmation": "x"}, []string{"name", "必填"}},
		"no password":   {object{"name": "x", "email": "a@b", "phone": "13800000001"}, []string{"password", "必填"}},
		"not confirmed": {object{"name": "x", "email": "a@b", "phone": "13800000001", "password": "x", "password_confirmation": "y"}, []string{"password_confirmation", "不一致"}},
		"no email":      {object{"name": "x", "email": "ab", "phone": "13800000001", "password": "x", "password_confirmation": "x"}, []string{"email", "邮箱"}},
		"phone":         {object{"name": "x", "email": "a@b", "phone": "abc", "password": "x", "password_confirmation": "x"}, []string{"phone"}},
		"sex": {object{"name": "x", "email": "a@b", "phone": "13800000001", "password": "x", "password_confirmation": "x", "subset_data": object{"sex": 3}},
			[]string{"subset_data.sex"}},
	} {
		t.Log(name)
		w.bad(w.do("POST", subs, c.body), 422, c.parts...)
	}
	w.bad(w.as(subToken, "POST", "/agent-api/user/"+subUser+"/subset_users", sent), 403, "子账户")
}

func TestTokenAndAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(w.AddToken(t.Context(), store.Token{Account: mainUser, Name: "short", ExpiresAt: clockNow.Add(time.Hour)}, "SHORT"))
	if r := w.as("SHORT", "GET", "/agent-api/token", nil); r.at("expires_at") != "2025-06-02 11:00:00" {
		t.Errorf("got %s", r.raw)
	}
	if r := w.ok("GET", "/agent-api/token", nil); r.at("expires_at") != neverExpires {
		t.Errorf("got %s", r.raw)
	}
	if r := w.ok("GET", old1+"/message", nil); r.at("id") != mainUser || r.at("name") != "测试主账户" || !within(tree(t, 4), r.at("type")) || r.at("parent_id") != nil {
		t.Errorf("got %s", r.raw)
	}
	if r := w.ok("GET", old1+"/message?sub_user_id="+subUser, nil); r.at("id") != subUser || !within(tree(t, 8), r.at("type")) || r.at("parent_id") != mainUser {
		t.Errorf("got %s", r.raw)
	}
}

// TestTimeGroups: the update answer is the page's, key by key.
func TestTimeGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := old1 + "/dial-time-group"
	content := []any{object{"week": 1, "times": []any{object{"begin_time": "9:00", "end_time": "12:00"}, object{"begin_time": "13:00", "end_time": "24:00"}}},
		object{"week": 5, "times": []any{object{"begin_time": "09:00", "end_time": "18:00"}}}}
	saved := w.ok("POST", path, object{"name": "新时间组", "content": content, "is_default": true, "skip_holiday": 1})
	id := saved.at("id")
	if saved.at("is_default") != true || saved.at("skip_holiday") != true || saved.at("content", 0, "times", 0, "begin_time") != "09:00" {
		t.Errorf("saved %s", saved.raw)
	}
	list := w.ok("GET", path+"?page=1&per_page=10", nil)
	if list.at(0, "is_default") != false || list.at(3, "id") != id || list.meta["total"] != tree(t, 4) || list.meta["per_page"] != "10" {
		t.Errorf("list %s", list.raw)
	}
	if r := w.ok("GET", path+"?page=2&per_page=3", nil); r.at(0, "id") != id {
		t.Errorf("second page %s", r.raw)
	}
	number := tree(t, id)
	put := w.ok("PUT", path+"/"+itoaOf(t, id), object{"name": "改名"})
	want := tree(t, object{"code": 200, "status": "success", "message": "修改成功", "data": object{"id": number, "name": "改名", "user_id": mainUser,
		"content": []any{object{"week": 1, "times": []any{object{"begin_time": "09:00", "end_time": "12:00"}, object{"begin_time": "13:00", "end_time": "24:00"}}},
			object{"week": 5, "times": []any{object{"begin_time": "09:00", "end_time": "18:00"}}}},
		"is_default": true, "skip_holiday": true, "remark": nil, "created_at": "2025-06-02 10:00:00", "updated_at": "2025-06-02 10:00:00"}})
	if got := tree(t, []byte(put.raw)); !within(want, got) || !within(got, want) {
		t.Errorf("update:\n got %s\nwant %v", put.raw, want)
	}
	// A task that copied the group keeps its hours.
	task := w.create("dial_time_id", id)
	w.ok("PUT", path+"/"+itoaOf(t, id), object{"name": "改名", "content": []any{object{"week": 0, "times": []any{object{"begin_time": "01:00", "end_time": "02:00"}}}}})
	if again, err := w.Task(t.Context(), mainUser, task.ID); err != nil || len(again.Weekly[0]) != 0 || len(again.Weekly[1]) != 2 {
		t.Errorf("the task's hours moved: %v, %v", again.Weekly, err)
	}
	one := func(times ...any) object {
		return object{"name": "x", "is_default": false, "skip_holiday": false, "content": []any{object{"week": 1, "times": times}}}
	}
	for _, c := range []struct {
		body object
		part string
	}{
		{object{"content": content}, "name"},
		{object{"name": "x"}, "content"},
		{object{"name": "x", "content": []any{}}, "content"},
		{object{"name": "x", "content": []any{object{"week": 7}}}, "content[0].week"},
		{one(), "content：至少需要一个时间段"},
		{one(object{"begin_time": "9:00"}), "content[0].times[0].end_time"},
		{one(object{"begin_time": "9:00", "end_time": "08:00"}), "content[0].times[0]"},
		{one(object{"begin_time": "9:00", "end_time": "10:00"}, object{"begin_time": "09:30", "end_time": "11:00"}), "重叠"},
		{object{"name": "x", "content": content, "is_default": "maybe"}, "is_default"},
	} {
		w.bad(w.do("POST", path, c.body), 422, c.part)
	}
	w.bad(w.do("PUT", path+"/x", object{"name": "x"}), 404)
	w.bad(w.do("PUT", path+"/99999", object{"name": "x"}), 404)
	w.bad(w.do("PUT", path+"/900", object{"name": "x"}), 404) // the stranger's
	w.bad(w.do("PUT", path+"/123?sub_user_id="+subUser, object{"name": "x"}), 403, "主账户")
}

func itoaOf(t *testing.T, v any) string {
	t.Helper()
	s, ok := v.(interface{ String() string })
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	return s.String()
}

// TestHeard: a script group's speed and volume are the voice's, in whatever form they were kept.
func TestHeard(t *testing.T) {
	t.Parallel()
	own := waihu.AgentSpec{}
	own.Voice.Speed, own.Voice.Volume = 1.1, 40
	for _, c := range []struct {
		vendor map[string]any
		speed  float64
		volume int
	}{
		{nil, 1.1, 40}, {map[string]any{"debug": true, "speed": nil, "volume": "loud"}, 1.1, 40}, {map[string]any{"speed": 101, "volume": -1}, 1.1, 40},
		{map[string]any{"speed": 50, "volume": 50}, 1, 50}, {map[string]any{"speed": json.Number("60")}, 1.2, 40}, {map[string]any{"speed": "100", "volume": float64(80)}, 2, 80},
		{map[string]any{"speed": 0, "volume": 0}, 0.5, 1},
	} {
		spec := own
		spec.Vendor = map[string]map[string]any{Door: c.vendor, "another": {"speed": 99}}
		if v := Heard(spec).Voice; v.Speed != c.speed || v.Volume != c.volume {
			t.Errorf("%v is heard as %+v", c.vendor, v)
		}
	}
}

func TestGroupsAndLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	groups := w.ok("GET", "/agent-api/group/"+mainUser+"?page=1&per_page=100", nil)
	init := w.ok("GET", new2+"/task/create", nil)
	if !within(groups.data, init.at("outbound_group")) || groups.meta["total"] != tree(t, 12) {
		t.Errorf("%v\nis not init's outbound_group", groups.data)
	}
	if r := w.ok("GET", "/agent-api/group/"+mainUser+"?page=2&per_page=11", nil); len(r.data.([]any)) != 1 {
		t.Errorf("second page %s", r.raw)
	}
	w.must(w.SaveAgent(t.Context(), &waihu.AgentSpec{ID: "555", Account: subUser, Name: "子话术", Brain: waihu.BrainFlow}))
	r := w.ok("GET", "/agent-api/agent_group/tenant/node?per_page=100", nil)
	if last := len(r.data.([]any)) - 1; last != 12 || r.at(last, "user_id") != subUser || r.at(0, "user_id") != mainUser {
		t.Errorf("groups under the node: %s", r.raw)
	}
	lines := w.ok("GET", "/agent-api/new_line_list?id=node&page=1", nil)
	want := tree(t, object{"id": lineOne, "robot_cli_node_id": "fs-node1", "user_id": mainUser, "gateway_id": 0, "extension_id": nil, "name": "修改线路测试1111",
		"description": "yw代理-测试主账户1", "type": 1, "call_line": 1, "call_number_prefix": "", "origination_caller_id_number": "", "dial_string": "",
		"destination_prefix": "", "bind_type_str": "IP", "line_allocation": []any{}, "residue": 1, "available_at": "2036-11-28 00:00:00",
		"created_at": "2025-06-02 10:00:00", "updated_at": "2025-06-02 10:00:00"})
	if lines.message != "返回所属代理线路列表成功" || !within(want, lines.at(0)) || !within(lines.at(0), want) || lines.meta["total"] != tree(t, 4) {
		t.Errorf("lines %s", lines.raw)
	}
	if strings.Contains(lines.raw, "127.0.0.1:5080") {
		t.Error("the trunk's address is told")
	}
	if r := w.ok("GET", "/agent-api/new_line_list?id=node&page=1&user_id="+subUser, nil); r.meta["total"] != tree(t, 4) {
		t.Errorf("lines of the sub-account %s", r.raw)
	}
}

// TestBatchRecordings: addresses that play without a token, and only those recordings, and only for a day.
func TestBatchRecordings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.numbers(taskID, "13800000001", "13800000002")
	with := answered("A")
	with.Recording = "a.wav"
	w.must(os.WriteFile(filepath.Join(w.recordings, "a.wav"), []byte("RIFFsound"), 0o600))
	calls := w.dial(taskID, with, answered("B"))
	path := old1 + "/task/" + taskID + "/batch_record/download-full-voice"
	r := w.ok("GET", path+"?recordIds[]="+calls[0].Call.String()+"&recordIds[]="+calls[1].Call.String()+"&recordIds[]=77", nil)
	address, _ := r.at(0, "url").(string)
	if !strings.HasPrefix(address, "http://example.com/agent-api/download-voice?key=") || r.at(0, "expires_at") != "2025-06-03 10:00:00" {
		t.Errorf("got %s", r.raw)
	}
	if r.at(1, "url") != nil || r.at(1, "message") != "该通话没有录音" || r.at(2, "message") != "通话记录不存在" {
		t.Errorf("got %s", r.raw)
	}
	if played := w.as("", "GET", strings.TrimPrefix(address, "http://example.com"), nil); played.http != 200 || played.raw != "RIFFsound" {
		t.Errorf("played %d %q", played.http, played.raw)
	}
	w.bad(w.as("", "GET", strings.TrimPrefix(address, "http://example.com")+"x", nil), 404)
	many := strings.Repeat("&recordIds[]=1", maxRecordings+1)
	w.bad(w.do("GET", path+"?x=1"+many, nil), 422, "recordIds", "30")
	w.bad(w.do("GET", path, nil), 422, "recordIds")
}
