package resources

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// plan is what a checked file comes to: store resources in the order in which they depend on each other.
type plan struct {
	*doc
	o   Options
	ctx context.Context
	err error // of the database; the first ends the plan

	digests  map[store.ResourceRef]string
	list     []planned
	changed  []planned // what write hands to the store
	ids      map[string]int
	accounts map[waihu.AccountID]waihu.Account // of the file
	first    waihu.AccountID
	lines    map[waihu.LineID]waihu.AccountID
	agents   map[waihu.AgentID]waihu.AccountID
	hours    map[int64]waihu.AccountID
}

// planned is a resource with its place in the file.
type planned struct {
	store.Resource
	report string // kind in the report
	path   string
	same   bool // the file is only written differently
}

// kinds are the report's lines, in order.
var kinds = []string{"accounts", "tokens", "lines", "calling_hours", "backgrounds", "redial_rules", "bridge_groups", "quality_checks", "score_schemes", "agents", "tasks", "webhooks", "models", "speakers", "listeners", "knowledge"}

// build checks everything and fills the list.
func (p *plan) build(f *fileDoc) error {
	p.ids, p.accounts = map[string]int{}, map[waihu.AccountID]waihu.Account{}
	p.lines, p.agents, p.hours = map[waihu.LineID]waihu.AccountID{}, map[waihu.AgentID]waihu.AccountID{}, map[int64]waihu.AccountID{}
	if p.digests, p.err = p.o.Store.Digests(p.ctx); p.err != nil {
		return p.err
	}
	p.buildAccounts(f.Accounts)
	for i := range f.Lines {
		p.buildLine(index("lines", i), &f.Lines[i])
	}
	p.checkPorts()
	for i := range f.CallingHours {
		p.buildHours(index("calling_hours", i), &f.CallingHours[i])
	}
	p.buildModels(f.Models)
	p.buildNamed(f)
	for i := range f.RedialRules {
		p.buildRule(index("redial_rules", i), &f.RedialRules[i])
	}
	for i := range f.Agents {
		p.buildAgent(index("agents", i), &f.Agents[i])
	}
	for i := range f.Tasks {
		p.buildTask(index("tasks", i), &f.Tasks[i])
	}
	p.buildWebhooks(f)
	return p.err
}

// put adds a resource; its digest covers what the file says at path without the keys named in but, the account it
// falls to, and the secrets it names. The digest is of the file's words, not of Go structs: a newer
// version of this program must not take an unchanged file for a changed one.
func (p *plan) put(report, kind, id, path string, account waihu.AccountID, value any, but ...string) {
	said := map[string]any{}
	if node := p.nodes[path]; node != nil {
		said, _ = p.plain(node).(map[string]any) // it was decoded as a mapping
	}
	for _, k := range but {
		delete(said, k)
	}
	var secrets []string
	for _, at := range slices.Sorted(maps.Keys(p.secrets)) {
		if strings.HasPrefix(at, path+".") {
			secrets = append(secrets, at[len(path):], p.secrets[at])
		}
	}
	text, err := json.Marshal([]any{said, account, secrets})
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("%s: %w", path, err)
	}
	p.list = append(p.list, planned{store.Resource{Kind: kind, ID: id, Digest: p.o.Store.Sum(text), Value: value}, report, path, false})
}

// once refuses an id given twice in its kind.
func (p *plan) once(kind, id, path string) bool {
	line := p.line(path)
	if first, ok := p.ids[kind+"\x00"+id]; ok {
		p.add(path, "the %s %s is given twice, first in line %d: once was expected", kind, id, first)
		return false
	}
	p.ids[kind+"\x00"+id] = line
	return true
}

// named checks id and name, the two that every resource has.
func (p *plan) named(kind, path, id, name string) bool {
	ok := true
	if id == "" || id == "0" {
		p.add(path, "an id was expected: every %s has one", kind)
		ok = false
	} else if strings.TrimSpace(id) != id || len(id) > 200 || strings.HasPrefix(id, "-") {
		p.add(join(path, "id"), "an id is up to 200 letters or digits without blanks around it")
		ok = false
	}
	if strings.TrimSpace(name) == "" {
		p.add(path, "a name was expected: every %s has one", kind)
		ok = false
	}
	return ok && p.once(kind+" id", id, join(path, "id"))
}

// account is the owner of a resource: as named, else the first account.
func (p *plan) account(path, id string) waihu.AccountID {
	if id == "" {
		if p.first == "" {
			p.add(path, "there is no account yet: accounts with one entry was expected, or account: ID here")
		}
		return p.first
	}
	if !p.knownAccount(waihu.AccountID(id)) {
		p.add(join(path, "account"), "there is no account %s, neither in this file nor in the ledger", id)
	}
	return waihu.AccountID(id)
}

func (p *plan) knownAccount(id waihu.AccountID) bool {
	_, ok := p.accountOf(id)
	return ok
}

func (p *plan) accountOf(id waihu.AccountID) (waihu.Account, bool) {
	if a, ok := p.accounts[id]; ok {
		return a, true
	}
	a, err := p.o.Store.Account(p.ctx, id)
	return a, p.found(err)
}

// found tells a missing row from a database in trouble.
func (p *plan) found(err error) bool {
	if err != nil && waihu.ErrorCode(err) != waihu.ENotFound && p.err == nil {
		p.err = err
	}
	return err == nil
}

// reaches says whether user may use what owner has: itself or its main account.
func (p *plan) reaches(user, owner waihu.AccountID) bool {
	if user == owner {
		return true
	}
	a, ok := p.accountOf(user)
	return ok && a.Parent == owner
}

func (p *plan) zone(account waihu.AccountID) *time.Location {
	a, _ := p.accountOf(account) // an unknown one is refused elsewhere
	return waihu.Location(a.Zone)
}

func (p *plan) checkZone(path, zone string) {
	if zone == "" {
		return
	}
	if _, err := time.LoadLocation(zone); err != nil || zone == "Local" {
		p.add(path, "%q is not a time zone: an IANA name such as Asia/Shanghai was expected", zone)
	}
}

var timeForms = []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02", "2006/1/2 15:04:05", "2006/1/2 15:04", "2006/1/2"}

// time reads text in a zone; with an offset of its own (RFC 3339) that counts.
func (p *plan) time(path, text string, loc *time.Location) time.Time {
	if text == "" {
		return time.Time{}
	}
	for _, form := range timeForms {
		if t, err := time.ParseInLocation(form, text, loc); err == nil {
			return t
		}
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t
	}
	p.add(path, "%q is not a time: one like 2036-11-28 09:30:00 was expected", text)
	return time.Time{}
}

func (p *plan) buildAccounts(list []accountDoc) {
	if len(list) > 0 {
		p.first = waihu.AccountID(list[0].ID)
	} else if have, err := p.o.Store.Accounts(p.ctx); p.found(err) && len(have) > 0 {
		p.first = have[0].ID
	}
	for i := range list {
		a, path := &list[i], index("accounts", i)
		p.buildAccount(path, a, "")
		for j := range a.SubAccounts {
			sub, at := &a.SubAccounts[j], index(join(path, "subaccounts"), j)
			if len(sub.SubAccounts) > 0 {
				p.add(join(at, "subaccounts"), "a sub-account has no sub-accounts of its own")
			}
			p.buildAccount(at, sub, waihu.AccountID(a.ID))
		}
	}
}

func (p *plan) buildAccount(path string, a *accountDoc, parent waihu.AccountID) {
	p.named("account", path, a.ID, a.Name)
	p.checkZone(join(path, "zone"), a.Zone)
	id := waihu.AccountID(a.ID)
	account := waihu.Account{ID: id, Parent: parent, Name: a.Name, Email: a.Email, Phone: a.Phone, Zone: a.Zone}
	tokens := a.Tokens
	if k := a.Keyue; k != nil {
		at := join(path, "keyue")
		p.secret(join(at, "token"), &k.Token)
		if k.Token == "" {
			p.add(at, "a token was expected")
		}
		// the key itself is a token of that door: only its hash is kept
		door, err := json.Marshal(map[string]string{"uid": k.UID, "username": k.Username, "tenant_id": k.TenantID})
		if err != nil && p.err == nil {
			p.err = err
		}
		account.Doors = map[string][]byte{"keyue": door}
	}
	if k := a.AIOB; k != nil {
		if account.Doors == nil {
			account.Doors = map[string][]byte{}
		}
		account.Doors["aiob"] = p.buildAIOB(join(path, "aiob"), k, a.Zone)
	}
	p.accounts[id] = account
	p.put("accounts", "account", a.ID, path, parent, account, "tokens", "subaccounts", "yunfu", "retention")
	if k := a.Keyue; k != nil {
		p.putToken(join(path, "keyue"), id, store.Token{Account: id, Name: "keyue", Scope: "keyue"}, k.Token)
	}
	if k := a.AIOB; k != nil { // key and secret together are a token of that door: only their hash is kept
		p.putToken(join(path, "aiob"), id, store.Token{Account: id, Name: "aiob", Scope: "aiob-key"}, store.KeyPair(k.AccessKey, k.SecretKey))
	}
	if r := a.Retention; r != nil {
		at := join(path, "retention")
		kept := store.AccountRetention{Account: id, Retention: store.Retention(*r)}
		if err := kept.Check(); err != nil {
			p.add(at, "%v", err)
		}
		p.put("accounts", "retention", a.ID, at, id, kept)
	}
	if y := a.Yunfu; y != nil {
		at := join(path, "yunfu")
		p.secret(join(at, "encryption_key"), &y.EncryptionKey)
		if _, err := store.ParseDoorKey(y.EncryptionKey); err != nil {
			p.add(at, "encryption_key: %v", err)
		}
		p.put("tokens", "door key", a.ID+"/yunfu", at, id, store.DoorKey{Account: id, Door: "yunfu", Key: y.EncryptionKey})
	}
	for i := range tokens {
		k, at := &tokens[i], index(join(path, "tokens"), i)
		p.secret(join(at, "token"), &k.Token)
		if k.Name == "" {
			p.add(at, "a name was expected: it says in lists what the token is for")
		}
		if k.Token == "" {
			p.add(at, "a token was expected")
		}
		if k.Name == "keyue" || k.Name == "aiob" {
			p.add(join(at, "name"), "the name %s is that of the account's %s key: another was expected", k.Name, k.Name)
		}
		expires := p.time(join(at, "expires"), k.Expires, waihu.Location(a.Zone))
		p.putToken(at, id, store.Token{Account: id, Name: k.Name, ExpiresAt: expires}, k.Token)
	}
}

// Least lengths of an access key and its secret: they are kept under a fast hash, as all tokens are.
const (
	minAccessKey = 8
	minSecretKey = 16
)

func (p *plan) buildAIOB(path string, k *aiobDoc, zone string) []byte {
	p.secret(join(path, "access_key"), &k.AccessKey)
	p.secret(join(path, "secret_key"), &k.SecretKey)
	if len(k.AccessKey) < minAccessKey || strings.ContainsAny(k.AccessKey, "\n\r") {
		p.add(join(path, "access_key"), "at least %d characters were expected", minAccessKey)
	}
	if len(k.SecretKey) < minSecretKey {
		p.add(join(path, "secret_key"), "at least %d characters were expected, from a random source", minSecretKey)
	}
	loc := waihu.Location(zone)
	for i, text := range k.Holidays {
		at := index(join(path, "holidays"), i)
		first, last, ok := strings.Cut(text, "/")
		if !ok {
			last = first
		}
		from, err := time.ParseInLocation(time.DateOnly, first, loc)
		to, err2 := time.ParseInLocation(time.DateOnly, last, loc)
		if err != nil || err2 != nil || to.Before(from) {
			p.add(at, "%q is not a day such as 2036-10-01 or days such as 2036-10-01/2036-10-07", text)
		}
	}
	kept, err := json.Marshal(map[string][]string{"holidays": append([]string{}, k.Holidays...)})
	if err != nil && p.err == nil {
		p.err = err
	}
	return kept
}

func (p *plan) putToken(path string, account waihu.AccountID, k store.Token, secret string) {
	if k.Name != "" {
		p.once("token name", string(account)+" "+k.Name, join(path, "name"))
	}
	if secret != "" {
		if first, ok := p.ids["secret\x00"+secret]; ok {
			p.add(join(path, "token"), "this token is given twice, first in line %d", first)
		}
		p.ids["secret\x00"+secret] = p.line(join(path, "token"))
	}
	p.put("tokens", "token", string(account)+"/"+k.Name, path, account, store.Credential{Token: k, Secret: secret})
}

func (p *plan) status(path string, n int) waihu.Disposition {
	if n < int(waihu.Intercepted) || n > int(waihu.Unreachable) {
		p.add(path, "%d is not the status of a number not reached: %d to %d was expected (4 is no answer, 8 busy)", n, waihu.Intercepted, waihu.Unreachable)
	}
	return waihu.Disposition(n)
}

func (p *plan) buildRule(path string, r *ruleDoc) {
	p.named("redial rule", path, strconv.FormatInt(r.ID, 10), r.Name)
	account := p.account(path, r.Account)
	if r.Default {
		p.once("default redial rule of account", string(account), join(path, "default"))
	}
	rule := waihu.RedialRule{ID: r.ID, Account: account, Name: r.Name, Remark: r.Remark, Default: r.Default}
	seen := map[int]bool{}
	for i, x := range r.Details {
		at := index(join(path, "details"), i)
		on := p.status(join(at, "number_status"), x.NumberStatus)
		if seen[x.NumberStatus] {
			p.add(join(at, "number_status"), "the status %d has a wait already", x.NumberStatus)
		}
		seen[x.NumberStatus] = true
		if x.AfterMinutes < 0 || x.AfterMinutes > 7*24*60 {
			p.add(join(at, "after_minutes"), "%d: 0 to 10080 (a week) was expected", x.AfterMinutes)
		}
		rule.Details = append(rule.Details, waihu.RedialDetail{On: on, After: time.Duration(x.AfterMinutes) * time.Minute})
	}
	p.put("redial_rules", "redial_rule", strconv.FormatInt(r.ID, 10), path, account, rule)
}

func (p *plan) buildNamed(f *fileDoc) {
	put := func(kind waihu.NamedKind, report string, i int, id int64, owner, name string, data map[string]any) {
		path := index(report, i)
		p.named(strings.ReplaceAll(string(kind), "_", " "), path, strconv.FormatInt(id, 10), name)
		account := p.account(path, owner)
		n := waihu.Named{Kind: kind, ID: id, Account: account, Name: name}
		if data != nil {
			var err error
			if n.Data, err = json.Marshal(data); err != nil && p.err == nil {
				p.err = err
			}
		}
		p.put(report, string(kind), strconv.FormatInt(id, 10), path, account, n)
	}
	for i, x := range f.Backgrounds {
		put(waihu.Background, "backgrounds", i, x.ID, x.Account, x.Name, nil)
	}
	for i, x := range f.BridgeGroups {
		path := index("bridge_groups", i)
		if x.Strategy == "" {
			x.Strategy = "even"
		}
		if x.Strategy != "even" {
			p.add(join(path, "strategy"), "%q is not a strategy: even was expected", x.Strategy)
		}
		for j, seat := range x.Seats {
			if !strings.HasPrefix(seat, "sip:") || len(seat) < len("sip:a@b") {
				p.add(index(join(path, "seats"), j), "a SIP address such as sip:seat1@10.0.0.5 was expected")
			}
		}
		put(waihu.BridgeGroup, "bridge_groups", i, x.ID, x.Account, x.Name, map[string]any{"strategy": x.Strategy, "seats": append([]string{}, x.Seats...)})
	}
	for i := range f.QualityChecks {
		x := &f.QualityChecks[i]
		data := p.checks(index("quality_checks", i), &x.Checks)
		data["default"], data["llm_type"] = x.Default, x.LLMType
		put(waihu.QualityCheck, "quality_checks", i, x.ID, x.Account, x.Name, data)
	}
	for i := range f.ScoreSchemes {
		x := &f.ScoreSchemes[i]
		data := p.checks(index("score_schemes", i), &x.Checks)
		if len(data) == 0 {
			data = nil
		}
		put(waihu.ScoreScheme, "score_schemes", i, x.ID, x.Account, x.Name, data)
	}
	for i, x := range f.Speakers {
		put(waihu.Speaker, "speakers", i, x.ID, x.Account, x.Name, map[string]any{"tts": x.TTS, "voice": x.Voice})
	}
	for i, x := range f.Listeners {
		put(waihu.Listener, "listeners", i, x.ID, x.Account, x.Name, map[string]any{"asr": x.ASR})
	}
	for i, x := range f.Knowledge {
		for j, item := range x.Items {
			if len(item.Q) == 0 || strings.TrimSpace(item.A) == "" {
				p.add(index(join(index("knowledge", i), "items"), j), "questions q and an answer a were expected")
			}
		}
		put(waihu.Knowledge, "knowledge", i, x.ID, x.Account, x.Name, map[string]any{"items": append([]waihu.KnowledgeSpec{}, x.Items...)})
	}
}

// write hands over what changed and counts.
func (p *plan) write() (Report, error) {
	report := make(Report, len(kinds))
	at := map[string]*Count{}
	for i, k := range kinds {
		report[i].Kind = k
		at[k] = &report[i]
	}
	var resources []store.Resource
	for _, r := range p.list {
		if p.digests[store.ResourceRef{Kind: r.Kind, ID: r.ID}] == r.Digest {
			at[r.report].Unchanged++
			continue
		}
		p.changed = append(p.changed, r)
		resources = append(resources, r.Resource)
	}
	created, err := p.o.Store.Apply(p.ctx, resources)
	if err != nil {
		return nil, err
	}
	for i, r := range p.changed {
		switch {
		case created[i]:
			at[r.report].Created++
		case r.same:
			at[r.report].Unchanged++
		default:
			at[r.report].Changed++
		}
	}
	return report, nil
}
