package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
)

// The shelf's tests run on both engines with two tenants, main and other, and main's sub-account.
const (
	mainAccount = waihu.AccountID("main")
	subAccount  = waihu.AccountID("sub")
	other       = waihu.AccountID("other")
)

func shelf(t *testing.T, f func(t *testing.T, s *Store)) {
	t.Helper()
	engines(t, func(t *testing.T, open func(Options) *Store) {
		s := open(Options{Key: bytes.Repeat([]byte{7}, KeySize)})
		for _, a := range []waihu.Account{{ID: mainAccount, Name: "主账户"}, {ID: other, Name: "另一个"}, {ID: subAccount, Parent: mainAccount, Name: "子账户"}} {
			must(t, s.UpsertAccount(t.Context(), a))
		}
		f(t, s)
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code waihu.Code, part string) {
	t.Helper()
	if waihu.ErrorCode(err) != code || (err != nil && !strings.Contains(err.Error(), part)) {
		t.Errorf("got %q error %v, want %q with %q", waihu.ErrorCode(err), err, code, part)
	}
}

func TestAccounts(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a := waihu.Account{ID: mainAccount, Name: "改名", Email: "a@b.c", Phone: "138", Zone: "Asia/Tokyo", Doors: map[string][]byte{"keyue": []byte(`{"uid":"u"}`)}}
		must(t, s.UpsertAccount(ctx, a))
		got, err := s.Account(ctx, mainAccount)
		must(t, err)
		a.CreatedAt, a.UpdatedAt, a.Serial = got.CreatedAt, got.UpdatedAt, 1
		if !reflect.DeepEqual(got, a) || got.CreatedAt.IsZero() {
			t.Errorf("got %+v want %+v", got, a)
		}
		subs, err := s.SubAccounts(ctx, mainAccount)
		if err != nil || len(subs) != 1 || subs[0].ID != subAccount {
			t.Errorf("sub-accounts %v, %v", subs, err)
		}
		list, err := s.Accounts(ctx)
		if err != nil || len(list) != 2 {
			t.Errorf("accounts %v, %v", list, err)
		}
		for _, c := range []struct {
			actor, target waihu.AccountID
			want          bool
		}{{mainAccount, mainAccount, true}, {mainAccount, "", true}, {mainAccount, subAccount, true}, {subAccount, mainAccount, false},
			{other, subAccount, false}, {other, mainAccount, false}, {mainAccount, "nobody", false}, {"", other, false}} {
			if ok, err := s.Reaches(ctx, c.actor, c.target); err != nil || ok != c.want {
				t.Errorf("%q reaches %q: %v, %v", c.actor, c.target, ok, err)
			}
		}
		wantCode(t, s.UpsertAccount(ctx, waihu.Account{ID: subAccount, Name: "x"}), waihu.EConflict, "cannot move")
		wantCode(t, s.UpsertAccount(ctx, waihu.Account{ID: "s2", Name: "x", Parent: subAccount}), waihu.EInvalid, "no sub-accounts")
		wantCode(t, s.UpsertAccount(ctx, waihu.Account{ID: "s2", Name: "x", Parent: "nobody"}), waihu.ENotFound, "nobody")
		wantCode(t, s.UpsertAccount(ctx, waihu.Account{ID: "s2", Name: "x", Zone: "Mars/Base"}), waihu.EInvalid, "Mars/Base")
		wantCode(t, s.UpsertAccount(ctx, waihu.Account{ID: "s2"}), waihu.EInvalid, "name")
	})
}

func TestTokens(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		secret := NewSecret()
		must(t, s.AddToken(ctx, Token{Account: mainAccount, Name: "one"}, secret))
		must(t, s.AddToken(ctx, Token{Account: mainAccount, Name: "renamed", Scope: "keyue"}, secret))
		must(t, s.AddToken(ctx, Token{Account: other, Name: "old", ExpiresAt: s.now().Add(-time.Second)}, "expired"))
		wantCode(t, s.AddToken(ctx, Token{Account: other}, secret), waihu.EConflict, "in use")
		wantCode(t, s.AddToken(ctx, Token{Account: other}, ""), waihu.EInvalid, "empty")
		a, k, err := s.AccountByToken(ctx, secret)
		must(t, err)
		if a.ID != mainAccount || k.Name != "renamed" || k.Scope != "keyue" {
			t.Errorf("%+v %+v", a, k)
		}
		for secret, part := range map[string]string{"": "not known", "nonsense": "not known", "expired": "expired"} {
			_, _, err := s.AccountByToken(ctx, secret)
			wantCode(t, err, waihu.EUnauthorized, part)
		}
		list, err := s.Tokens(ctx, mainAccount)
		if err != nil || len(list) != 1 || list[0].UsedAt.IsZero() {
			t.Fatalf("%+v, %v", list, err)
		}
		var stored int
		must(t, s.read(ctx, func(x *tx) error {
			_, err := x.one(into(&stored), `select count(*) from tokens where hash = $1 or name = $1`, secret)
			return err
		}))
		if stored != 0 {
			t.Error("the token itself is stored")
		}
		wantCode(t, s.RevokeToken(ctx, other, list[0].ID), waihu.ENotFound, "token")
		must(t, s.RevokeToken(ctx, mainAccount, list[0].ID))
		_, _, err = s.AccountByToken(ctx, secret)
		wantCode(t, err, waihu.EUnauthorized, "not known")
	})
}

func TestLinesAndCallers(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		l := waihu.Line{ID: "l1", Account: mainAccount, Name: "线路", Remark: "r", Node: "n", Concurrency: 3, CPS: 2, Expires: time.UnixMilli(1_900_000_000_000),
			Trunk: waihu.Trunk{URI: "sip:127.0.0.1:5080", Username: "u", Password: "s3cret-word", CallerIDs: []string{"0216001", "0216002"}, Codecs: []string{"pcma"}}}
		must(t, s.UpsertLine(ctx, l))
		for _, account := range []waihu.AccountID{mainAccount, subAccount} {
			got, err := s.Line(ctx, account, "l1")
			must(t, err)
			want := l
			want.Trunk.Password, want.CreatedAt, want.UpdatedAt = "", got.CreatedAt, got.UpdatedAt
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v want %+v", got, want)
			}
			if list, err := s.Lines(ctx, account); err != nil || len(list) != 1 {
				t.Errorf("lines of %s: %v, %v", account, list, err)
			}
		}
		_, err := s.Line(ctx, other, "l1")
		wantCode(t, err, waihu.ENotFound, "l1")
		if list, err := s.Lines(ctx, other); err != nil || len(list) != 0 {
			t.Errorf("a stranger sees %v, %v", list, err)
		}
		if owner, err := s.LineOwner(ctx, "l1"); err != nil || owner != mainAccount {
			t.Errorf("owner %q, %v", owner, err)
		}
		wantCode(t, s.UpsertLine(ctx, waihu.Line{ID: "l1", Account: other}), waihu.EConflict, "taken")
		wantCode(t, s.UpsertLine(ctx, waihu.Line{ID: "l1", Account: subAccount}), waihu.EConflict, "taken")
		wantCode(t, s.UpsertLine(ctx, waihu.Line{ID: "l2", Account: other, CPS: -1}), waihu.EInvalid, "cps")

		password := func(want string) {
			t.Helper()
			list, err := s.Trunks(ctx)
			if err != nil || len(list) != 1 || list[0].Trunk.Password != want {
				t.Errorf("trunks %v, %v; want password %q", list, err, want)
			}
		}
		password("s3cret-word")
		var raw []byte
		var trunk string
		must(t, s.read(ctx, func(x *tx) error {
			_, err := x.one(into(&raw, &trunk), `select secret, trunk from lines`)
			return err
		}))
		if bytes.Contains(raw, []byte("s3cret")) || strings.Contains(trunk, "s3cret") || len(raw) == 0 {
			t.Error("the password stands in the clear")
		}
		back, err := s.Line(ctx, mainAccount, "l1") // written back as read: the password stays
		must(t, err)
		back.Trunk.CallerIDs = []string{"0216002", "0216003"}
		must(t, s.UpsertLine(ctx, back))
		password("s3cret-word")
		callers, err := s.Callers(ctx, subAccount, "l1")
		want := []waihu.Caller{{ID: 1, Line: "l1", Number: "0216001", State: 1}, {ID: 2, Line: "l1", Number: "0216002"}, {ID: 3, Line: "l1", Number: "0216003"}}
		if err != nil || !reflect.DeepEqual(callers, want) {
			t.Errorf("callers %+v, %v", callers, err)
		}
		back.Trunk.CallerIDs = []string{"0216001"}
		back.Trunk.Username = "somebody else"
		must(t, s.UpsertLine(ctx, back))
		password("")
		if c, err := s.Caller(ctx, mainAccount, 1); err != nil || c.State != 0 {
			t.Errorf("the number that came back: %+v, %v", c, err)
		}
		_, err = s.Caller(ctx, other, 1)
		wantCode(t, err, waihu.ENotFound, "caller")
		if list, err := s.Callers(ctx, other, ""); err != nil || len(list) != 0 {
			t.Errorf("a stranger sees %v, %v", list, err)
		}
	})
}

// What cannot be opened must say why, without saying what.
func TestSecretsNeedTheirKey(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		s := open(Options{})
		ctx := t.Context()
		must(t, s.UpsertAccount(ctx, waihu.Account{ID: mainAccount, Name: "a"}))
		l := waihu.Line{ID: "l1", Account: mainAccount, Trunk: waihu.Trunk{URI: "sip:h", Password: "s3cret-word"}}
		err := s.UpsertLine(ctx, l)
		if err == nil || !strings.Contains(err.Error(), "without a key") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("no key: %v", err)
		}
		s.o.Key = bytes.Repeat([]byte{1}, KeySize)
		must(t, s.UpsertLine(ctx, l))
		s.o.Key = bytes.Repeat([]byte{2}, KeySize)
		if _, err := s.Trunks(ctx); err == nil || !strings.Contains(err.Error(), "another key") {
			t.Errorf("another key: %v", err)
		}
		s.o.Key = []byte("short")
		if err := s.UpsertLine(ctx, l); err == nil || !strings.Contains(err.Error(), "5 bytes") {
			t.Errorf("a short key: %v", err)
		}
	})
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret.key")
	keys := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = LoadOrMakeKey(file); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if len(k) != KeySize || !bytes.Equal(k, keys[0]) {
			t.Fatal("processes that start at once got different keys")
		}
	}
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	if rest, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".secret-*")); len(rest) > 0 {
		t.Errorf("left behind: %v", rest)
	}
	must(t, os.Chmod(file, 0o644))
	if _, err := LoadOrMakeKey(file); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that all may read: %v", err)
	}
	must(t, os.WriteFile(file, []byte("not a key"), 0o600))
	must(t, os.Chmod(file, 0o600))
	if _, err := LoadOrMakeKey(file); err == nil || strings.Contains(err.Error(), "not a key") {
		t.Errorf("a bad key must be refused and not be shown: %v", err)
	}
	if _, err := LoadOrMakeKey(filepath.Join(t.TempDir(), "no", "such", "folder")); err == nil {
		t.Error("no folder, no error")
	}
	for _, text := range []string{strings.Repeat("ab", 32), "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="} {
		if _, err := ParseKey(text + "\n"); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAgents(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a := waihu.AgentSpec{ID: "123", Account: mainAccount, Name: "回访", Version: 1, Brain: waihu.BrainBot, Bot: &waihu.BotSpec{URL: "wss://x", Token: "b0t-token"},
			Vendor: map[string]map[string]any{"yunfu": {"id": 215870475195883520}}}
		must(t, s.SaveAgent(ctx, &a))
		if a.VersionID == 0 || a.CreatedAt.IsZero() {
			t.Errorf("%+v", a)
		}
		for _, account := range []waihu.AccountID{mainAccount, subAccount} {
			got, err := s.Agent(ctx, account, "123")
			if err != nil || !sameAgent(&got, &a) || got.Bot.Token != "b0t-token" || got.Account != mainAccount || got.VersionID != a.VersionID {
				t.Errorf("%+v, %v", got, err)
			}
		}
		var spec string
		must(t, s.read(ctx, func(x *tx) error {
			_, err := x.one(into(&spec), `select spec from agent_versions`)
			return err
		}))
		if strings.Contains(spec, "b0t-token") || !strings.Contains(spec, "215870475195883520") {
			t.Errorf("stored as %s", spec)
		}
		_, err := s.Agent(ctx, other, "123")
		wantCode(t, err, waihu.ENotFound, "123")
		_, err = s.AgentVersion(ctx, other, a.VersionID)
		wantCode(t, err, waihu.ENotFound, "agent")

		first := a.VersionID
		same := a
		must(t, s.SaveAgent(ctx, &same))
		same.Version = 0
		must(t, s.SaveAgent(ctx, &same))
		if same.VersionID != first || same.Version != 1 {
			t.Errorf("saving the same again made version %d", same.Version)
		}
		changed := a
		changed.Name = "回访二"
		wantCode(t, s.SaveAgent(ctx, &changed), waihu.EConflict, "version 2 was expected")
		changed.Version = 0
		must(t, s.SaveAgent(ctx, &changed))
		if changed.Version != 2 || changed.VersionID == first || !changed.CreatedAt.Equal(a.CreatedAt) {
			t.Errorf("%+v", changed)
		}
		if old, err := s.AgentVersion(ctx, subAccount, first); err != nil || old.Name != "回访" {
			t.Errorf("version 1 is now %+v, %v", old, err)
		}
		if list, err := s.AgentVersions(ctx, mainAccount, "123"); err != nil || len(list) != 2 || list[0].Version != 2 {
			t.Errorf("%v, %v", list, err)
		}
		thief := waihu.AgentSpec{ID: "123", Account: other, Name: "x"}
		wantCode(t, s.SaveAgent(ctx, &thief), waihu.EConflict, "taken")
		fresh := waihu.AgentSpec{Account: subAccount, Name: "new", Brain: waihu.BrainFlow}
		must(t, s.SaveAgent(ctx, &fresh))
		if fresh.ID != "124" || fresh.Version != 1 {
			t.Errorf("%+v", fresh)
		}
		list, total, err := s.Agents(ctx, subAccount, 2, 1)
		if err != nil || total != 2 || len(list) != 1 || list[0].ID != "124" {
			t.Errorf("%v of %d, %v", list, total, err)
		}
		if _, total, err := s.Agents(ctx, mainAccount, 0, 0); err != nil || total != 1 {
			t.Errorf("the main account sees %d agents, %v", total, err)
		}
	})
}

func TestHoursRulesNamed(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		h := waihu.CallingHours{ID: 123, Account: mainAccount, Name: "全天", Default: true, SkipHoliday: true, Weekly: waihu.Weekly{1: {{From: 0, To: 1440}}}}
		must(t, s.SaveCallingHours(ctx, &h))
		h2 := waihu.CallingHours{Account: mainAccount, Name: "早上", Default: true, Weekly: waihu.Weekly{0: {{From: 540, To: 720}}}}
		must(t, s.SaveCallingHours(ctx, &h2))
		if h2.ID != 124 {
			t.Errorf("generated id %d", h2.ID)
		}
		got, err := s.CallingHours(ctx, subAccount, 123)
		must(t, err)
		h.Default, h.CreatedAt, h.UpdatedAt = false, got.CreatedAt, got.UpdatedAt // the new default took the mark
		if !reflect.DeepEqual(got, h) {
			t.Errorf("got %+v want %+v", got, h)
		}
		if list, err := s.CallingHoursList(ctx, subAccount); err != nil || len(list) != 2 || !list[1].Default {
			t.Errorf("%+v, %v", list, err)
		}
		_, err = s.CallingHours(ctx, other, 123)
		wantCode(t, err, waihu.ENotFound, "123")
		wantCode(t, s.SaveCallingHours(ctx, &waihu.CallingHours{ID: 123, Account: other, Name: "x"}), waihu.EConflict, "taken")
		wantCode(t, s.SaveCallingHours(ctx, &waihu.CallingHours{Account: other, Name: "x", Weekly: waihu.Weekly{3: {{From: 10, To: 1441}}}}), waihu.EInvalid, "weekly[3][0]")
		wantCode(t, s.DeleteCallingHours(ctx, subAccount, 123), waihu.ENotFound, "123")
		must(t, s.DeleteCallingHours(ctx, mainAccount, 123))

		r := waihu.RedialRule{ID: 15486, Account: mainAccount, Name: "规则", Default: true, Details: []waihu.RedialDetail{{On: waihu.NoAnswer, After: time.Hour}}}
		must(t, s.SaveRedialRule(ctx, &r))
		r2 := waihu.RedialRule{Account: mainAccount, Name: "二"}
		must(t, s.SaveRedialRule(ctx, &r2))
		gotRule, err := s.RedialRule(ctx, subAccount, 15486)
		must(t, err)
		r.CreatedAt, r.UpdatedAt = gotRule.CreatedAt, gotRule.UpdatedAt
		if !reflect.DeepEqual(gotRule, r) || r2.ID != 15487 {
			t.Errorf("got %+v want %+v; %d", gotRule, r, r2.ID)
		}
		wantCode(t, s.SaveRedialRule(ctx, &waihu.RedialRule{Account: other, Name: "x", Details: []waihu.RedialDetail{{On: 4}, {On: 4}}}), waihu.EInvalid, "details[1]")
		wantCode(t, s.DeleteRedialRule(ctx, other, 15486), waihu.ENotFound, "15486")
		must(t, s.DeleteRedialRule(ctx, mainAccount, 15486))
		if list, err := s.RedialRules(ctx, mainAccount); err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}

		n := waihu.Named{Kind: waihu.Background, ID: 25, Account: mainAccount, Name: "办公室"}
		must(t, s.SaveNamed(ctx, &n))
		g := waihu.Named{Kind: waihu.BridgeGroup, ID: 25, Account: mainAccount, Name: "转人工", Data: []byte(`{"strategy":"even"}`)}
		must(t, s.SaveNamed(ctx, &g))
		g2 := waihu.Named{Kind: waihu.BridgeGroup, Account: other, Name: "x"}
		must(t, s.SaveNamed(ctx, &g2))
		gotNamed, err := s.Named(ctx, subAccount, waihu.BridgeGroup, 25)
		must(t, err)
		g.CreatedAt, g.UpdatedAt = gotNamed.CreatedAt, gotNamed.UpdatedAt
		if !reflect.DeepEqual(gotNamed, g) || g2.ID != 26 {
			t.Errorf("got %+v want %+v; %d", gotNamed, g, g2.ID)
		}
		if list, err := s.NamedList(ctx, mainAccount, waihu.Background); err != nil || len(list) != 1 || list[0].Name != "办公室" {
			t.Errorf("%+v, %v", list, err)
		}
		_, err = s.Named(ctx, other, waihu.Background, 25)
		wantCode(t, err, waihu.ENotFound, "25")
		wantCode(t, s.SaveNamed(ctx, &waihu.Named{Kind: "pet", Account: other, Name: "x"}), waihu.EInvalid, "pet")
		wantCode(t, s.SaveNamed(ctx, &waihu.Named{Kind: waihu.Background, ID: 25, Account: other, Name: "x"}), waihu.EConflict, "taken")
		must(t, s.DeleteNamed(ctx, mainAccount, waihu.Background, 25))
		wantCode(t, s.DeleteNamed(ctx, mainAccount, waihu.Background, 25), waihu.ENotFound, "25")
	})
}

func TestTasks(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		must(t, s.UpsertLine(ctx, waihu.Line{ID: "l1", Account: mainAccount, Concurrency: 5}))
		must(t, s.UpsertLine(ctx, waihu.Line{ID: "l0", Account: mainAccount, Concurrency: 5}))
		must(t, s.UpsertLine(ctx, waihu.Line{ID: "lx", Account: other, Concurrency: 5}))
		for id, account := range map[waihu.AgentID]waihu.AccountID{"123": mainAccount, "124": mainAccount, "99": other} {
			must(t, s.SaveAgent(ctx, &waihu.AgentSpec{ID: id, Account: account, Name: "a", Brain: waihu.BrainFlow}))
		}
		day := time.UnixMilli(1_800_000_000_000)
		k := waihu.Task{Account: subAccount, Name: "任务_一", Remark: "r", Agent: "123", Concurrency: 2, Lines: []waihu.TaskLine{{Line: "l1", Limit: 1}, {Line: "l0", Limit: 2}},
			Routing: waihu.Routing{Kind: waihu.RouteSeveral, Several: []waihu.SeveralRoute{{Agent: "124", Sort: 1}}},
			Start:   day, Stop: day.Add(time.Hour), HoursID: 5, Weekly: waihu.Weekly{2: {{From: 1, To: 2}}}, Holidays: []waihu.Period{{From: day, To: day.Add(time.Minute)}},
			Zone: "Asia/Shanghai", Pop: waihu.PopReverse, Interval: time.Second, Redial: waihu.Redial{Max: 3, Interval: time.Minute, On: []waihu.Disposition{4}},
			EndAction: waihu.EndPause, RingTimeout: time.Minute, Doors: map[string][]byte{"yunfu": []byte(`{"task_type":7}`)}}
		created := k
		must(t, s.CreateTask(ctx, &created))
		if len(created.ID) != 36 || created.Serial != 1 || created.CreatedAt.IsZero() {
			t.Errorf("%+v", created)
		}
		got, err := s.Task(ctx, subAccount, created.ID)
		must(t, err)
		if !reflect.DeepEqual(got, created) {
			t.Errorf("got %+v\nwant %+v", got, created)
		}
		if got, err := s.TaskBySerial(ctx, subAccount, 1); err != nil || got.ID != created.ID {
			t.Errorf("%+v, %v", got, err)
		}
		_, err = s.Task(ctx, other, created.ID)
		wantCode(t, err, waihu.ENotFound, "task")
		_, err = s.TaskBySerial(ctx, mainAccount, 1)
		wantCode(t, err, waihu.ENotFound, "task")

		for name, c := range map[string]struct {
			edit func(*waihu.Task)
			part string
		}{
			"stranger's agent": {func(k *waihu.Task) { k.Agent = "99" }, "no agent 99"},
			"stranger's route": {func(k *waihu.Task) { k.Routing.Several[0].Agent = "99" }, "no agent 99"},
			"stranger's line":  {func(k *waihu.Task) { k.Lines[1].Line = "lx" }, "lines[1]: there is no line lx"},
			"line twice":       {func(k *waihu.Task) { k.Lines[1].Line = "l1" }, "named twice"},
			"no name":          {func(k *waihu.Task) { k.Name = "" }, "name"},
			"no concurrency":   {func(k *waihu.Task) { k.Concurrency = 0 }, "at least 1"},
			"backwards":        {func(k *waihu.Task) { k.Stop = k.Start }, "stop"},
			"bad zone":         {func(k *waihu.Task) { k.Zone = "Local" }, "zone"},
			"bad holiday":      {func(k *waihu.Task) { k.Holidays[0].To = day }, "holidays[0]"},
			"bad week":         {func(k *waihu.Task) { k.Weekly[2] = []waihu.Span{{From: 5, To: 5}} }, "weekly[2][0]"},
		} {
			bad := k
			bad.Lines, bad.Holidays = append([]waihu.TaskLine{}, k.Lines...), append([]waihu.Period{}, k.Holidays...)
			bad.Routing.Several = append([]waihu.SeveralRoute{}, k.Routing.Several...)
			c.edit(&bad)
			if err := s.CreateTask(ctx, &bad); waihu.ErrorCode(err) != waihu.EInvalid || !strings.Contains(err.Error(), c.part) {
				t.Errorf("%s: %v", name, err)
			}
			bad.ID = created.ID
			if err := s.UpdateTask(ctx, &bad); waihu.ErrorCode(err) != waihu.EInvalid || !strings.Contains(err.Error(), c.part) {
				t.Errorf("update, %s: %v", name, err)
			}
		}
		twin := k
		twin.ID = created.ID
		wantCode(t, s.CreateTask(ctx, &twin), waihu.EConflict, "exists")
		twin.ID, twin.Serial = "", 1
		wantCode(t, s.CreateTask(ctx, &twin), waihu.EConflict, "serial 1")

		// an update replaces; what was left out is gone
		edit := waihu.Task{ID: created.ID, Account: subAccount, Name: "改名", Agent: "124", Concurrency: 1, Lines: []waihu.TaskLine{{Line: "l0", Limit: 1}}}
		must(t, s.UpdateTask(ctx, &edit))
		got, err = s.Task(ctx, subAccount, created.ID)
		must(t, err)
		if !reflect.DeepEqual(got, edit) || got.Serial != 1 || got.Remark != "" || len(got.Lines) != 1 || !got.CreatedAt.Equal(created.CreatedAt) {
			t.Errorf("got %+v\nwant %+v", got, edit)
		}
		stolen := edit
		stolen.Account = other
		wantCode(t, s.UpdateTask(ctx, &stolen), waihu.ENotFound, "task")

		c, err := s.CopyTask(ctx, subAccount, created.ID, "抄本")
		if err != nil || c.Name != "抄本" || c.ID == created.ID || c.Serial != 2 || len(c.Lines) != 1 || c.Started {
			t.Errorf("%+v, %v", c, err)
		}
		_, err = s.CopyTask(ctx, other, created.ID, "x")
		wantCode(t, err, waihu.ENotFound, "task")

		// started: only a stop makes it editable again
		must(t, s.update(ctx, normal, func(x *tx) error {
			_, err := x.exec(`update tasks set started = 1 where id = $1`, c.ID)
			return err
		}))
		err = s.UpdateTask(ctx, &c)
		wantCode(t, err, waihu.EConflict, "started")
		if !errors.Is(err, waihu.ErrTaskStarted) {
			t.Errorf("%v is not ErrTaskStarted", err)
		}

		with := k
		with.Account, with.Lines = mainAccount, nil
		must(t, s.CreateTask(ctx, &with))
		yes := true
		for name, q := range map[string]struct {
			accounts []waihu.AccountID
			f        TaskFilter
			want     []int64
			total    int
		}{
			"all":       {[]waihu.AccountID{mainAccount, subAccount}, TaskFilter{}, []int64{3, 2, 1}, 3},
			"page":      {[]waihu.AccountID{mainAccount, subAccount}, TaskFilter{Page: 2, PerPage: 2}, []int64{1}, 3},
			"account":   {[]waihu.AccountID{mainAccount}, TaskFilter{}, []int64{3}, 1},
			"name":      {[]waihu.AccountID{mainAccount, subAccount}, TaskFilter{Name: "务_"}, []int64{3}, 1},
			"no jokers": {[]waihu.AccountID{mainAccount, subAccount}, TaskFilter{Name: "%"}, nil, 0},
			"started":   {[]waihu.AccountID{subAccount}, TaskFilter{Started: &yes}, []int64{2}, 1},
			"door":      {[]waihu.AccountID{mainAccount, subAccount}, TaskFilter{Door: "yunfu"}, []int64{3}, 1},
			"stranger":  {[]waihu.AccountID{other}, TaskFilter{}, nil, 0},
			"nobody":    {nil, TaskFilter{}, nil, 0},
		} {
			rows, total, err := s.Tasks(ctx, q.accounts, q.f)
			var serials []int64
			for _, r := range rows {
				serials = append(serials, r.Serial)
			}
			if err != nil || total != q.total || !reflect.DeepEqual(serials, q.want) {
				t.Errorf("%s: %v of %d, %v", name, serials, total, err)
			}
		}
	})
}

func TestTaskRowsShowLife(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 2)
		w.task("k")
		w.numbers("k", 0, 1)
		show := func(live, open bool) {
			t.Helper()
			rows, _, err := w.Tasks(w.ctx, []waihu.AccountID{acme}, TaskFilter{})
			if err != nil || len(rows) != 1 || rows[0].Live != live || rows[0].RunsOpen != open {
				t.Fatalf("%+v, %v; want live %v, runs open %v", rows, err, live, open)
			}
		}
		show(false, false)
		run := w.start("k")
		show(false, true)
		r := w.tick(&Tick{Pops: []Pop{pop("k", run.N, 1)}})
		show(true, true)
		must(t, w.StopTask(w.ctx, acme, "k"))
		w.tick(&Tick{Book: []Booking{ended(r.Dials[0].LiveCall, waihu.Answered, waihu.NumberDone)}})
		show(false, false)
	})
}

func TestApply(t *testing.T) {
	shelf(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		batch := []Resource{
			{Kind: "account", ID: "new", Digest: "d1", Value: waihu.Account{ID: "new", Name: "新"}},
			{Kind: "token", ID: "new/t", Digest: "d2", Value: Credential{Token{Account: "new", Name: "t"}, "SECRET"}},
			{Kind: "hours", ID: "7", Digest: "d3", Value: waihu.CallingHours{ID: 7, Account: "new", Name: "h", Weekly: waihu.Weekly{1: {{From: 60, To: 120}}}}},
			{Kind: "agent", ID: "a", Digest: "d4", Value: waihu.AgentSpec{ID: "a", Account: "new", Name: "a", Version: 1}},
			{Kind: "task", ID: "k", Digest: "d5", Value: waihu.Task{ID: "k", Serial: 40, Account: "new", Name: "k", Agent: "a", Concurrency: 1, HoursID: 7}},
		}
		bad := append(batch[:4:4], Resource{Kind: "task", ID: "k", Value: waihu.Task{ID: "k", Account: "new", Name: "k", Agent: "nobody", Concurrency: 1}})
		_, err := s.Apply(ctx, bad)
		var refused *ApplyError
		if !errors.As(err, &refused) || refused.Index != 4 {
			t.Fatalf("%v", err)
		}
		if _, err := s.Account(ctx, "new"); waihu.ErrorCode(err) != waihu.ENotFound {
			t.Errorf("a refused batch left something: %v", err)
		}
		if d, err := s.Digests(ctx); err != nil || len(d) != 0 {
			t.Errorf("%v, %v", d, err)
		}
		created, err := s.Apply(ctx, batch)
		if err != nil || !reflect.DeepEqual(created, []bool{true, true, true, true, true}) {
			t.Fatalf("%v, %v", created, err)
		}
		k, err := s.Task(ctx, "new", "k")
		if err != nil || k.Serial != 40 || !reflect.DeepEqual(k.Weekly, waihu.Weekly{1: {{From: 60, To: 120}}}) {
			t.Errorf("%+v, %v", k, err)
		}
		created, err = s.Apply(ctx, batch[1:])
		if err != nil || !reflect.DeepEqual(created, []bool{false, false, false, false}) {
			t.Fatalf("%v, %v", created, err)
		}
		d, err := s.Digests(ctx)
		if err != nil || len(d) != 5 || d[ResourceRef{"token", "new/t"}] != "d2" {
			t.Errorf("%v, %v", d, err)
		}
	})
}

func TestBackup(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	s := mustOpen(t, Options{Dir: dir})
	must(t, s.UpsertAccount(ctx, waihu.Account{ID: mainAccount, Name: "主账户"}))
	home := t.TempDir()
	file := filepath.Join(home, "waihu.db")
	var told int64
	must(t, s.Backup(ctx, file, func(written, expected int64) { told = written }))
	if info, err := os.Stat(file); err != nil || info.Size() != told || info.Mode().Perm() != 0o600 {
		t.Errorf("told %d bytes: %v, %v", told, info, err)
	}
	wantCode(t, s.Backup(ctx, file, nil), waihu.EConflict, "exists")
	if rest, _ := filepath.Glob(filepath.Join(home, "*")); len(rest) != 1 {
		t.Errorf("left behind: %v", rest)
	}
	must(t, s.UpsertAccount(ctx, waihu.Account{ID: other, Name: "later"}))
	back := mustOpen(t, Options{Dir: home})
	list, err := back.Accounts(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "主账户" {
		t.Errorf("the copy holds %v, %v", list, err)
	}
	if err := s.Backup(ctx, filepath.Join(home, "no", "where"), nil); err == nil {
		t.Error("no folder, no error")
	}
}

func TestBackupOfPostgres(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{DSN: postgresDSN(t)})
	wantCode(t, s.Backup(t.Context(), filepath.Join(t.TempDir(), "x"), nil), waihu.EInvalid, "pg_dump")
}
