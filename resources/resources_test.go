package resources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/store"
)

const (
	mainAccount = waihu.AccountID("5832d184-dd53-42a0-8ace-0bf8d660f4cc")
	subAccount  = waihu.AccountID("876e5d57-fd76-4109-8b15-6726f1ec2dfa")
	fixture     = "testdata/resources.yaml"
)

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Options{Dir: t.TempDir(), Key: bytes.Repeat([]byte{7}, store.KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func options(s *store.Store) Options {
	return Options{Store: s, Check: agent.Check, Env: func(name string) (string, bool) {
		v, ok := map[string]string{"PASSWORD": "s3cret-word", "EMPTY": "", "TOKEN": "t0ken-text"}[name]
		return v, ok
	}}
}

func apply(t testing.TB, s *store.Store, text string) Report {
	t.Helper()
	r, err := Apply(t.Context(), "test.yaml", []byte(text), options(s))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFixture(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t)
	r, err := ApplyFile(ctx, fixture, options(s))
	must(t, err)
	want := Report{{"accounts", 4, 0, 0}, {"tokens", 3, 0, 0}, {"lines", 3, 0, 0}, {"calling_hours", 3, 0, 0}, {"backgrounds", 4, 0, 0}, {"redial_rules", 2, 0, 0},
		{"bridge_groups", 1, 0, 0}, {"quality_checks", 2, 0, 0}, {"score_schemes", 1, 0, 0}, {"agents", 12, 0, 0}, {"tasks", 1, 0, 0}, {"webhooks", 0, 0, 0}, {"models", 0, 0, 0}, {"speakers", 0, 0, 0}, {"listeners", 0, 0, 0}, {"knowledge", 0, 0, 0}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got\n%swant\n%s", r, want)
	}
	a, k, err := s.AccountByToken(ctx, "YOUR_TOKEN")
	if err != nil || a.ID != mainAccount || k.Scope != "" {
		t.Errorf("%+v %+v %v", a, k, err)
	}
	a, k, err = s.AccountByToken(ctx, "7f3894e7-01d8-4e2e-88d0-ef437ffd3f63")
	if err != nil || a.ID != mainAccount || k.Scope != "keyue" ||
		string(a.Doors["keyue"]) != `{"tenant_id":"3156952326602753","uid":"dd6283a283df42998bab14607e23f38d","username":"xxxxxxxx"}` {
		t.Errorf("%s %+v %v", a.Doors["keyue"], k, err)
	}
	if ok, err := s.Reaches(ctx, mainAccount, subAccount); !ok || err != nil {
		t.Errorf("the sub-account is out of reach: %v", err)
	}
	l, err := s.Line(ctx, mainAccount, "29c39ec4-b292-4af9-a88b-922d61866aag")
	must(t, err)
	shanghai := waihu.Location("Asia/Shanghai")
	if l.Remark != "yw代理-测试主账户1" || l.Concurrency != 1 || l.Node != "fs-node1" || !l.Expires.Equal(time.Date(2036, 11, 28, 0, 0, 0, 0, shanghai)) ||
		l.Trunk.URI != "sip:127.0.0.1:5081;transport=udp" || !reflect.DeepEqual(l.Trunk.CallerIDs, []string{"02160002000"}) {
		t.Errorf("%+v", l)
	}
	h, err := s.CallingHours(ctx, mainAccount, 1)
	must(t, err)
	for day, spans := range h.Weekly {
		if !reflect.DeepEqual(spans, []waihu.Span{{From: 540, To: 720}, {From: 780, To: 1080}}) {
			t.Errorf("day %d: %v", day, spans)
		}
	}
	rule, err := s.RedialRule(ctx, mainAccount, 15486)
	if err != nil || !reflect.DeepEqual(rule.Details, []waihu.RedialDetail{{On: waihu.NoAnswer, After: time.Hour}}) {
		t.Errorf("%+v, %v", rule, err)
	}
	g, err := s.Named(ctx, mainAccount, waihu.BridgeGroup, 1)
	if err != nil || string(g.Data) != `{"seats":["sip:seat1@127.0.0.1:5090","sip:seat2@127.0.0.1:5090"],"strategy":"even"}` {
		t.Errorf("%s, %v", g.Data, err)
	}
	merged, err := s.Agent(ctx, mainAccount, "215870475195883520")
	if err != nil || merged.Name != "长编号话术" || len(merged.Flow.Nodes) != 3 || merged.Intents["stop"].Do[0].Kind != "opt_out" || merged.Intents["stop"].Do[1].Arg != "好的，不再打扰。" {
		t.Errorf("%+v, %v", merged, err)
	}
	vendor, err := s.Agent(ctx, mainAccount, "1")
	if err != nil || fmt.Sprintf("%v %v", vendor.Vendor["yunfu"]["llm_nlp_threshold"], vendor.Vendor["yunfu"]["debug"]) != "80 true" {
		t.Errorf("%+v, %v", vendor.Vendor, err)
	}
	task, err := s.TaskBySerial(ctx, mainAccount, 1)
	must(t, err)
	if task.ID != "f232d184-dd54-42a0-8ace-0bf8d660f4cc" || task.HoursID != 123 || !reflect.DeepEqual(task.Weekly[3], []waihu.Span{{From: 0, To: 1440}}) ||
		!task.Start.Equal(time.Date(2024, 12, 23, 19, 0, 0, 0, shanghai)) || !reflect.DeepEqual(task.Lines, []waihu.TaskLine{{Line: "d47c3599-f166-4cd0-999c-f60e46814d26", Limit: 2}}) {
		t.Errorf("%+v", task)
	}

	// the same file again writes nothing
	before, err := s.Digests(ctx)
	must(t, err)
	r, err = ApplyFile(ctx, fixture, options(s))
	must(t, err)
	if r.Wrote() {
		t.Errorf("the second time wrote\n%s", r)
	}
	after, err := s.Digests(ctx)
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Error("digests moved")
	}
}

const small = `accounts:
  - id: main
    name: 主
    tokens: [{name: one, token: SECRET}]
    subaccounts: [{id: sub, name: 子}]
lines:
  - id: l1
    name: 线
    concurrency: 2
    trunk: {uri: "sip:127.0.0.1:5080", username: u, password: env:PASSWORD}
calling_hours:
  - {id: 1, name: 全天, weekly: {all: ["00:00-24:00"], sun: []}}
agents:
  - id: "7"
    name: a
    version: 1
    brain: flow
    flow: {start: bye, nodes: {bye: {say: 再见, do: [hangup]}}}
tasks:
  - {id: t, account: sub, name: t, agent: "7", calling_hours: 1, concurrency: 1, lines: [{id: l1, limit: 1}], redial: {max: 2, after_minutes: 5, on: [4, 8]}}
`

func edit(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			t.Fatalf("%q stands %d times in the document", pairs[i], strings.Count(text, pairs[i]))
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func TestOnlyWhatTheFileChanged(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t)
	apply(t, s, small)
	trunks, err := s.Trunks(ctx)
	if err != nil || len(trunks) != 1 || trunks[0].Trunk.Password != "s3cret-word" {
		t.Fatalf("%v, %v", trunks, err)
	}
	task, err := s.Task(ctx, "sub", "t")
	must(t, err)
	if len(task.Weekly[0]) != 0 || len(task.Weekly[1]) != 1 || task.Redial.Max != 2 || task.Redial.Interval != 5*time.Minute || len(task.Redial.On) != 2 {
		t.Errorf("%+v", task)
	}

	// edits by API survive the same file, and a file that changed elsewhere
	l, err := s.Line(ctx, "main", "l1")
	must(t, err)
	l.Concurrency = 9
	must(t, s.UpsertLine(ctx, l))
	task.Name = "by API"
	must(t, s.UpdateTask(ctx, &task))
	tokens, err := s.Tokens(ctx, "main")
	must(t, err)
	must(t, s.RevokeToken(ctx, "main", tokens[0].ID))
	if r := apply(t, s, small); r.Wrote() {
		t.Errorf("wrote\n%s", r)
	}
	r := apply(t, s, edit(t, small, "name: 主", "name: 改"))
	if r[0] != (Count{"accounts", 0, 1, 1}) {
		t.Errorf("%s", r)
	}
	if l, err := s.Line(ctx, "main", "l1"); err != nil || l.Concurrency != 9 {
		t.Errorf("the line is back at %d, %v", l.Concurrency, err)
	}
	if _, _, err := s.AccountByToken(ctx, "SECRET"); waihu.ErrorCode(err) != waihu.EUnauthorized {
		t.Errorf("a revoked token came back: %v", err)
	}

	// what changed in the file counts, and only there; what is absent stays
	r = apply(t, s, edit(t, small, "concurrency: 2", "concurrency: 3", "name: 主", "name: 改"))
	if r[2] != (Count{"lines", 0, 1, 0}) || r[10] != (Count{"tasks", 0, 0, 1}) {
		t.Errorf("%s", r)
	}
	if l, err := s.Line(ctx, "main", "l1"); err != nil || l.Concurrency != 3 {
		t.Errorf("the line has %d, %v", l.Concurrency, err)
	}
	apply(t, s, "accounts: [{id: main, name: 改}]\n")
	if _, err := s.Task(ctx, "sub", "t"); err != nil {
		t.Errorf("absent, so removed: %v", err)
	}
	// a secret that changed behind env: is a change of the line, though the file's text is the same
	o := options(s)
	o.Env = func(string) (string, bool) { return "another", true }
	if _, err := Apply(ctx, "test.yaml", []byte(edit(t, small, "concurrency: 2", "concurrency: 3", "name: 主", "name: 改")), o); err != nil {
		t.Fatal(err)
	}
	if trunks, err := s.Trunks(ctx); err != nil || trunks[0].Trunk.Password != "another" {
		t.Errorf("%v, %v", trunks, err)
	}
}

func TestAgentVersions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t)
	apply(t, s, small)
	refused(t, s, edit(t, small, "再见", "回见"), `16: agents[0].version: agent 7 was changed, but version 1 is stored already and versions never change: version: 2 was expected`)
	// written differently is not changed
	if r := apply(t, s, edit(t, small, `id: "7"`, `id: 7`)); r[9] != (Count{"agents", 0, 0, 1}) {
		t.Errorf("%s", r)
	}
	r := apply(t, s, edit(t, small, "再见", "回见", "version: 1", "version: 2"))
	if r[9] != (Count{"agents", 0, 1, 0}) {
		t.Errorf("%s", r)
	}
	byAPI := waihu.AgentSpec{ID: "7", Account: "main", Name: "by API", Brain: waihu.BrainFlow}
	must(t, s.SaveAgent(ctx, &byAPI))
	refused(t, s, edit(t, small, "再见", "下次见", "version: 1", "version: 3"), `16: agents[0].version: agent 7 was changed, but version 3 is stored`)
	if a, err := s.Agent(ctx, "main", "7"); err != nil || a.Name != "by API" || a.Version != 3 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestRotatedToken(t *testing.T) {
	t.Parallel()
	s := open(t)
	apply(t, s, small)
	r := apply(t, s, edit(t, small, "token: SECRET", "token: env:TOKEN"))
	if r[1] != (Count{"tokens", 0, 1, 0}) {
		t.Errorf("%s", r)
	}
	if _, _, err := s.AccountByToken(t.Context(), "SECRET"); waihu.ErrorCode(err) != waihu.EUnauthorized {
		t.Errorf("the old token still works: %v", err)
	}
	if a, _, err := s.AccountByToken(t.Context(), "t0ken-text"); err != nil || a.ID != "main" {
		t.Errorf("%v, %v", a.ID, err)
	}
}

func TestStartedTaskIsRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t)
	apply(t, s, small)
	if _, err := s.StartTask(ctx, "sub", "t"); err != nil {
		t.Fatal(err)
	}
	if r := apply(t, s, small); r.Wrote() {
		t.Errorf("%s", r)
	}
	refused(t, s, edit(t, small, "max: 2", "max: 3", "name: 主", "name: 改"), `20: tasks[0]: the task is started`)
	if a, err := s.Account(ctx, "main"); err != nil || a.Name != "主" {
		t.Errorf("half applied: %+v, %v", a, err)
	}
}

// refused wants exactly these problems, as LINE: TEXT, each beginning like this.
func refused(t testing.TB, s *store.Store, text string, want ...string) {
	t.Helper()
	before, err := s.Digests(t.Context())
	must(t, err)
	_, err = Apply(t.Context(), "test.yaml", []byte(text), options(s))
	var p *Problems
	if !errors.As(err, &p) {
		t.Fatalf("got %v, want problems", err)
	}
	if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "t0ken") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a secret is printed: %v", err)
	}
	got := strings.Split(err.Error(), "\n")
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.HasPrefix(got[i], "test.yaml:"+want[i])
	}
	if !ok {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	after, err := s.Digests(t.Context())
	must(t, err)
	if !reflect.DeepEqual(before, after) {
		t.Error("a refused file was applied")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	s := open(t) // one for all: nothing is ever applied to it
	for _, c := range []struct {
		name  string
		pairs []string // edits of small
		want  []string
	}{
		{"unknown section", []string{"tasks:", "taks: []\ntasks:"}, []string{"19: unknown key taks: tasks was probably meant"}},
		{"unknown key", []string{"    concurrency: 2", "    channels: 2"}, []string{"9: lines[0]: unknown key channels: expected is one of account, concurrency, cps"}},
		{"misspelt key", []string{"password: env", "pasword: env"}, []string{"10: lines[0].trunk: unknown key pasword: password was probably meant"}},
		{"unknown key of an agent", []string{"say: 再见", "speak: 再见"}, []string{"18: agents[0].flow.nodes.bye: unknown key speak"}},
		{"unknown action", []string{"[hangup]", "[hang_up]"}, []string{`18: agents[0].flow.nodes.bye.do[0]: "hang_up" is not an action`}},
		{"key twice", []string{"    name: a\n", "    name: a\n    name: b\n"}, []string{"16: agents[0]: the key name is given twice, first in line 15"}},
		{"number for a list", []string{"[{name: one, token: SECRET}]", "5"}, []string{"4: accounts[0].tokens: a list was expected, not the number 5"}},
		{"list for keys", []string{"subaccounts: [{id: sub, name: 子}]", "subaccounts: [[sub]]"}, []string{"5: accounts[0].subaccounts[0]: keys with values were expected, not a list"}},
		{"text for a number", []string{"concurrency: 2", "concurrency: two"}, []string{"9: lines[0].concurrency: a whole number was expected, not text"}},
		{"fraction", []string{"concurrency: 2", "concurrency: 2.5"}, []string{"9: lines[0].concurrency: a whole number was expected, not the number 2.5"}},
		{"bool for text", []string{"name: 线", "name: true"}, []string{"8: lines[0].name: text was expected, not true (in quotes it would be text)"}},
		{"huge number", []string{"concurrency: 2", "concurrency: 99999999999999999999"}, []string{"9: lines[0].concurrency: a whole number was expected"}},
		{"not YAML", []string{"lines:\n", "lines: [\n"}, []string{"6: not YAML: "}},
		{"second document", []string{"tasks:", "---\ntasks:"}, []string{"19: a second document begins here"}},
		{"missing anchor", []string{"  - id: l1", "  - <<: *none\n    id: l1"}, []string{"1: not YAML: unknown anchor 'none' referenced"}},
		{"merge of a list", []string{"  - id: l1", "  - <<: [1]\n    id: l1"}, []string{"7: lines[0]: << merges mappings"}},
		{"account twice", []string{"{id: sub, name: 子}", "{id: main, name: 子}"}, []string{"5: accounts[0].subaccounts[0].id: the account id main is given twice, first in line 2: once was expected", `20: tasks[0].account: there is no account sub`,
			`20: tasks[0].agent: there is no agent 7 that account sub may use`, `20: tasks[0].calling_hours: there are no calling hours 1`, `20: tasks[0].lines[0].id: there is no line l1`}},
		{"line twice", []string{"calling_hours:\n", "  - {id: l1, name: x, concurrency: 1, trunk: {uri: \"sim:\"}}\ncalling_hours:\n"}, []string{"11: lines[1].id: the line id l1 is given twice, first in line 7"}},
		{"token twice", []string{"{name: one, token: SECRET}", "{name: one, token: SECRET}, {name: two, token: SECRET}"}, []string{"4: accounts[0].tokens[1].token: this token is given twice, first in line 4"}},
		{"token name twice", []string{"{name: one, token: SECRET}", "{name: one, token: SECRET}, {name: one, token: X}"}, []string{"4: accounts[0].tokens[1].name: the token name main one is given twice"}},
		{"no id", []string{"  - id: l1\n    name: 线", "  - name: 线"}, []string{"7: lines[0]: an id was expected: every line has one", "19: tasks[0].lines[0].id: there is no line l1"}},
		{"external id twice", []string{"    brain: flow\n", "    brain: flow\n    external_ids: {keyue: x}\n", "tasks:", "  - {id: \"8\", name: b, version: 1, brain: flow, external_ids: {keyue: x}, flow: {start: bye, nodes: {bye: {say: 再见, do: [hangup]}}}}\ntasks:"},
			[]string{"20: agents[1].external_ids.keyue: the external_ids.keyue of account main x is given twice, first in line 18"}},
		{"no name", []string{"    name: 线\n", ""}, []string{"7: lines[0]: a name was expected"}},
		{"unknown account", []string{"account: sub", "account: nobody"}, []string{"20: tasks[0].account: there is no account nobody, neither in this file nor in the ledger",
			"20: tasks[0].agent: there is no agent 7 that account nobody", "20: tasks[0].calling_hours", "20: tasks[0].lines[0].id"}},
		{"unknown agent", []string{`agent: "7"`, "agent: 8"}, []string{"20: tasks[0].agent: there is no agent 8 that account sub may use, neither in this file nor in the ledger"}},
		{"unknown hours", []string{"calling_hours: 1,", "calling_hours: 2,"}, []string{"20: tasks[0].calling_hours: there are no calling hours 2"}},
		{"no hours", []string{"calling_hours: 1,", ""}, []string{"20: tasks[0]: calling_hours with the id of calling hours was expected"}},
		{"unknown line", []string{"{id: l1, limit", "{id: l2, limit"}, []string{"20: tasks[0].lines[0].id: there is no line l2"}},
		{"no limit", []string{"{id: l1, limit: 1}", "{id: l1}"}, []string{"20: tasks[0].lines[0]: limit was expected"}},
		{"bad time", []string{"concurrency: 2", "concurrency: 2\n    expires: 2036-13-28"}, []string{`10: lines[0].expires: "2036-13-28" is not a time: one like 2036-11-28 09:30:00 was expected`}},
		{"stop before start", []string{"{id: t,", "{id: t, start: 2030-01-02, stop: 2030-01-01,"}, []string{"20: tasks[0].stop: the task stops before it starts"}},
		{"bad day", []string{"sun: []", "sunday: []"}, []string{`12: calling_hours[0].weekly.sunday: "sunday" is not a day`}},
		{"bad span", []string{`["00:00-24:00"]`, `["9-12"]`}, []string{`12: calling_hours[0].weekly.all[0]: "9-12" is not a part of a day: one like 09:00-12:00 was expected`}},
		{"late span", []string{"00:00-24:00", "00:00-24:01"}, []string{`12: calling_hours[0].weekly.all[0]: "00:00-24:01" is not a part of a day`}},
		{"backward span", []string{"00:00-24:00", "22:00-06:00"}, []string{`12: calling_hours[0].weekly.all[0]: "22:00-06:00" ends before it begins`}},
		{"overlap", []string{`"00:00-24:00"`, `"09:00-12:00", "11:00-13:00"`}, []string{"12: calling_hours[0].weekly.all: two spans overlap"}},
		{"bad zone", []string{"name: 主", "name: 主\n    zone: Mars/Base"}, []string{`4: accounts[0].zone: "Mars/Base" is not a time zone`}},
		{"unknown codec", []string{"username: u", "username: u, codecs: [pcma, opus]"}, []string{`10: lines[0].trunk.codecs[1]: "opus": pcma or pcmu was expected`}},
		{"bad regex", []string{"username: u", `username: u, callee_rewrite: [{match: "(", replace: ""}]`}, []string{"10: lines[0].trunk.callee_rewrite[0].match: not a regular expression: missing closing )"}},
		{"bad regex of an intent", []string{"    brain: flow", "    intents: {x: {regex: [\"[\"]}}\n    brain: flow"}, []string{"17: agents[0].intents.x.regex[0]: not a regular expression: missing closing ]"}},
		{"IPv6 trunk", []string{"sip:127.0.0.1:5080", "sip:[2001:db8::1]:5080"}, []string{`10: lines[0].trunk.uri: "[2001:db8::1]:5080" is an IPv6 address: IPv6 trunks are not supported`}},
		{"IPv6 bind", []string{"username: u", `username: u, bind: "::1"`}, []string{`10: lines[0].trunk.bind: "::1" is an IPv6 address`}},
		{"address of nobody", []string{"username: u", `username: u, public_address: 0.0.0.0`}, []string{"10: lines[0].trunk.public_address: 0.0.0.0 cannot be told to a carrier"}},
		{"sips", []string{"sip:127.0.0.1:5080", "sips:127.0.0.1:5080"}, []string{"10: lines[0].trunk.uri: sips (TLS) trunks are not supported"}},
		{"no scheme", []string{"sip:127.0.0.1:5080", "127.0.0.1:5080"}, []string{"10: lines[0].trunk.uri: a trunk's address such as sip:203.0.113.5:5060 was expected"}},
		{"bad port", []string{"127.0.0.1:5080", "127.0.0.1:99999"}, []string{`10: lines[0].trunk.uri: "127.0.0.1:99999" has a bad port`}},
		{"bad transport", []string{"127.0.0.1:5080", "127.0.0.1:5080;transport=ws"}, []string{`10: lines[0].trunk.uri: transport "ws": udp or tcp was expected`}},
		{"caller header", []string{"username: u", "username: u, caller_header: x-caller"}, []string{`10: lines[0].trunk.caller_header: "x-caller": from or pai or ppi or rpid was expected`}},
		{"no such variable", []string{"env:PASSWORD", "env:NOWHERE"}, []string{"10: lines[0].trunk.password: the environment variable NOWHERE is not set or empty"}},
		{"empty variable", []string{"env:PASSWORD", "env:EMPTY"}, []string{"10: lines[0].trunk.password: the environment variable EMPTY is not set or empty"}},
		{"no such file", []string{"env:PASSWORD", "file:no/such"}, []string{"10: lines[0].trunk.password: the file no/such cannot be read: no such file or directory"}},
		{"password alone", []string{"username: u, ", ""}, []string{"10: lines[0].trunk.password: a password needs a username"}},
		{"no version", []string{"    version: 1\n", ""}, []string{"14: agents[0].version: 0: a whole number from 1 was expected"}},
		{"unknown node", []string{"start: bye", "start: hello"}, []string{"18: agents[0].flow.start: ", "18: agents[0].flow.nodes.bye: "}},
		{"bad status", []string{"on: [4, 8]", "on: [4, 1]"}, []string{"20: tasks[0].redial.on[1]: 1 is not the status of a number not reached"}},
		{"too many redials", []string{"max: 2", "max: 4"}, []string{"20: tasks[0].redial.max: 4: 1 to 3 redials was expected"}},
		{"several at once", []string{"concurrency: 2", "concurrency: -2", "00:00-24:00", "x", "max: 2", "max: 9"}, []string{"9: lines[0].concurrency: -2 is negative", "12: calling_hours[0].weekly.all[0]", "20: tasks[0].redial.max"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			refused(t, s, edit(t, small, c.pairs...), c.want...)
		})
	}
}

// References may be to what only the ledger knows, but not to another tenant's.
func TestReferencesIntoTheLedger(t *testing.T) {
	t.Parallel()
	s := open(t)
	apply(t, s, small)
	r := apply(t, s, "tasks: [{id: t2, name: t2, agent: '7', calling_hours: 1, concurrency: 1, lines: [{id: l1, limit: 1}]}]\n")
	if r[10].Created != 1 {
		t.Errorf("%s", r)
	}
	refused(t, s, "accounts: [{id: other, name: o}]\ntasks:\n  - {id: t3, name: t3, agent: '7', calling_hours: 1, concurrency: 1}\n",
		"3: tasks[0].agent: there is no agent 7 that account other may use", "3: tasks[0].calling_hours: there are no calling hours 1")
	// an id of another tenant cannot be taken over
	refused(t, s, "accounts: [{id: other, name: o}]\nlines:\n  - {id: l1, name: x, concurrency: 1, trunk: {uri: 'sim:'}}\n", "3: lines[0]: the line id l1 is taken")
	refused(t, open(t), "lines:\n  - {id: l1, name: x, concurrency: 1, trunk: {uri: 'sim:'}}\n", "2: lines[0]: there is no account yet")
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	s := open(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"pw": "from-file\n", "prompt.md": "你是客服。\n", "bot": "b0t"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	text := edit(t, small, "env:PASSWORD", "file:pw") + "  - {id: t4, name: t4, agent: '7', calling_hours: 1, concurrency: 1}\n"
	text = edit(t, text, "agents:\n", `agents:
  - {id: l, name: l, version: 1, brain: llm, llm: {prompt: "file:prompt.md"}, opening: {say: 您好}}
  - {id: b, name: b, version: 1, brain: bot, bot: {url: "wss://bot.example.com/x", token: "file:bot", protocol: relay}}
`)
	file := filepath.Join(dir, "apply.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	if _, err := ApplyFile(t.Context(), file, options(s)); err != nil {
		t.Fatal(err)
	}
	trunks, err := s.Trunks(t.Context())
	must(t, err)
	l, err := s.Agent(t.Context(), "main", "l")
	must(t, err)
	b, err := s.Agent(t.Context(), "main", "b")
	must(t, err)
	if trunks[0].Trunk.Password != "from-file" || l.LLM.Prompt != "你是客服。" || b.Bot.Token != "b0t" {
		t.Errorf("%q %q %q", trunks[0].Trunk.Password, l.LLM.Prompt, b.Bot.Token)
	}
}

// A file of a few lines must not unfold to gigabytes, nor run in circles.
func TestAnchorBombs(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	for _, text := range []string{bomb, "accounts: &a\n  - *a\n"} {
		_, err := Apply(t.Context(), "bomb.yaml", []byte(text), options(open(t)))
		var p *Problems
		if !errors.As(err, &p) {
			t.Errorf("%v", err)
		}
	}
}

func TestEmptyFile(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, text := range []string{"", "# nothing\n", "accounts:\n"} {
		if r := apply(t, s, text); r.Wrote() {
			t.Errorf("%q wrote\n%s", text, r)
		}
	}
}

func FuzzApply(f *testing.F) {
	fixtureText, err := os.ReadFile(fixture)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fixtureText)
	f.Add([]byte(small))
	f.Add([]byte("a: &a {<<: *a}\n"))
	f.Add([]byte("accounts: [{id: [], tokens: {}}]\n- x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d := &doc{env: func(string) (string, bool) { return "", false }, dir: "."}
		file := d.read(text)
		if file == nil && len(d.problems) == 0 {
			t.Fatal("refused without a reason")
		}
		for _, p := range d.problems {
			if p.Line < 1 || p.Message == "" {
				t.Fatalf("%+v", p)
			}
		}
	})
}

func FuzzSpan(f *testing.F) {
	for _, s := range []string{"09:00-12:00", "00:00-24:00", "24:00-24:00", "-", "9:5-10:00", "00:00-23:60"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSpan(text)
		if err == nil && (s.From < 0 || s.From >= s.To || s.To > 1440) {
			t.Fatalf("%q gave %v", text, s)
		}
	})
}

// TestPriceAndKey: a line's price and a vendor's key arrive in the ledger, and what is wrong with them is said.
func TestPriceAndKey(t *testing.T) {
	t.Parallel()
	s := open(t)
	file := func(minute, step, key string) string {
		return "accounts:\n  - {id: a, name: a, yunfu: {encryption_key: " + key + "}}\nlines:\n  - {id: l, name: l, concurrency: 1, price: {minute: " + minute + ", step: " + step + "}, trunk: {uri: \"sim:\"}}\n"
	}
	for _, c := range []struct {
		minute, step, key string
		want              waihu.Price
	}{{`"0.12"`, "6", "0123456789abcdef", waihu.Price{Minute: 1200, Step: 6}}, {`"3"`, "0", "fedcba9876543210", waihu.Price{Minute: 30000}}, {`"0.0001"`, "60", "fedcba9876543210", waihu.Price{Minute: 1, Step: 60}}} {
		if _, err := Apply(t.Context(), "f.yaml", []byte(file(c.minute, c.step, c.key)), options(s)); err != nil {
			t.Fatal(err)
		}
		l, err := s.Line(t.Context(), "a", "l")
		if err != nil || l.Price != c.want {
			t.Errorf("price %+v, %v; want %+v", l.Price, err, c.want)
		}
		if k, err := s.DoorKey(t.Context(), "a", "yunfu"); err != nil || k != c.key {
			t.Errorf("key %q, %v", k, err)
		}
	}
	for _, c := range [][4]string{{`"0.12345"`, "6", "0123456789abcdef", "lines[0].price.minute"}, {`"-1"`, "6", "0123456789abcdef", "lines[0].price.minute"}, {`"1000"`, "6", "0123456789abcdef", "lines[0].price.minute"},
		{`"x"`, "6", "0123456789abcdef", "lines[0].price.minute"}, {`"1"`, "-1", "0123456789abcdef", "lines[0].price.step"}, {`"1"`, "6", "short-secret", "accounts[0].yunfu"}} {
		_, err := Apply(t.Context(), "f.yaml", []byte(file(c[0], c[1], c[2])), options(s))
		if err == nil || !strings.Contains(err.Error(), c[3]) || strings.Contains(err.Error(), "short-secret") {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	s := open(t)
	const file = `
accounts:
  - {id: a, name: A, webhooks: [{id: 1, url: "https://example.com/a", door: yunfu, authorization: "env:TOKEN"}], subaccounts: [{id: b, name: B, webhooks: [{id: 2, url: "https://example.com/b", kinds: [call.ended]}]}]}
webhooks:
  - {id: 3, account: b, url: "https://example.com/c", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA", remark: r}
`
	apply(t, s, file)
	if r := apply(t, s, file); r.Wrote() {
		t.Errorf("the same file again wrote: %s", r)
	}
	apply(t, s, strings.Replace(file, "example.com/a", "example.com/aa", 1))
	list, err := s.AllEndpoints(t.Context())
	must(t, err)
	if len(list) != 3 || list[0].URL != "https://example.com/aa" || list[0].Account != "a" || list[0].Door != "yunfu" || !list[0].HasAuthorization || list[1].Account != "b" || list[1].Kinds[0] != "call.ended" ||
		list[2].Account != "b" || list[2].Door != waihu.DoorNative || !list[2].HasSecret {
		t.Errorf("%+v", list)
	}
	for text, want := range map[string]string{
		`{id: 4, url: "ftp://x"}`:                                  "http",
		`{id: 4, url: "https://x.com", door: other}`:               "door",
		`{id: 4, url: "https://x.com", secret: abc}`:               "whsec_",
		`{url: "https://x.com"}`:                                   "id",
		`{id: 4, url: "https://x.com", account: none}`:             "no account",
		`{id: 4, url: "https://x.com", task: none}`:                "no task",
		`{id: 4, url: "https://x.com", authorization: "env:NONE"}`: "NONE",
	} {
		if _, err := Apply(t.Context(), "test.yaml", []byte("webhooks: ["+text+"]"), options(s)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAssistantResources: voices, recognisers and knowledge bases of the file.
func TestAssistantResources(t *testing.T) {
	t.Parallel()
	s := open(t)
	file := func(items string) []byte {
		return []byte("accounts:\n  - {id: a, name: a}\nspeakers:\n  - {id: 7, name: 晓晓, tts: local, voice: zh-x}\nlisteners:\n  - {id: 8, name: 听, asr: local}\nknowledge:\n  - {id: 9, name: 问, items: [" + items + "]}\n")
	}
	if _, err := Apply(t.Context(), "f", file("{q: [], a: x}"), options(s)); err == nil || !strings.Contains(err.Error(), "knowledge[0].items[0]") {
		t.Errorf("a knowledge base without questions: %v", err)
	}
	if _, err := Apply(t.Context(), "f", file("{q: [何时开门], a: 九点。}"), options(s)); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[waihu.NamedKind]string{waihu.Speaker: `{"tts":"local","voice":"zh-x"}`, waihu.Listener: `{"asr":"local"}`, waihu.Knowledge: `{"items":[{"q":["何时开门"],"a":"九点。"}]}`} {
		list, err := s.NamedList(t.Context(), "a", kind)
		if err != nil || len(list) != 1 || string(list[0].Data) != want {
			t.Errorf("%s: %+v, %v", kind, list, err)
		}
	}
}

// TestRetention: an account of the file says how long it keeps things; without a word nothing changes.
func TestRetention(t *testing.T) {
	t.Parallel()
	s := open(t)
	apply := func(text string) error {
		_, err := Apply(t.Context(), "test.yaml", []byte("accounts: ["+text+"]"), options(s))
		return err
	}
	must(t, apply("{id: a, name: A, retention: {calls: 365, recordings: 30}, subaccounts: [{id: b, name: B}]}"))
	must(t, apply("{id: a, name: A}"))
	for _, id := range []waihu.AccountID{"a", "b"} {
		if r, err := s.Retention(t.Context(), id); err != nil || r != (store.Retention{Calls: 365, Recordings: 30}) {
			t.Errorf("%s: %+v %v", id, r, err)
		}
	}
	for _, bad := range []string{"{calls: -1}", "{recordings: 4000}", "{days: 1}"} {
		if err := apply("{id: a, name: A, retention: " + bad + "}"); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
