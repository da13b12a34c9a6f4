package keyue

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"waihu"
	"waihu/store"
)

// The vendor's numbers for kinds of agents.
const (
	typeOrdinary = 1 // led by a flow
	typeAI       = 2 // led by a model or by somebody else's bot
)

// Bounds of an agent's fields; the vendor's pages give none.
const (
	maxName        = 200
	maxDescription = 2000
	maxURL         = 2000
)

// agentObject is an agent in list and detail. The detail page is stored up to lastEditUsername, the list page not at
// all; the names of what follows are ours.
type agentObject struct {
	ID               string `json:"id"`
	AgentName        string `json:"agentName"`
	QuickSceneType   int    `json:"quickSceneType"` // 1 商品导购, 2 线索收集
	Description      string `json:"description"`
	AvatarURL        string `json:"avatarUrl"`
	TenantID         string `json:"tenantId"`
	Updated          string `json:"updated"`
	Created          string `json:"created"`
	CreatedUserID    string `json:"createdUserId"`
	CreatedUsername  string `json:"createdUsername"`
	LastEditID       string `json:"lastEditId"`
	LastEditUsername string `json:"lastEditUsername"`
	Status           string `json:"status"` // 0 offline, 1 publishing, 2 online; text as in the query
	Type             int    `json:"type"`
	AgentScene       int    `json:"agentScene"`
	Version          int    `json:"version"`
	VersionID        int64  `json:"versionId"`
	Language         string `json:"language"`
	Welcome          string `json:"welcome"`
	Prompt           string `json:"prompt"`
	KnowledgeCount   int    `json:"knowledgeCount"`
	CollectCount     int    `json:"collectCount"`
}

func (c *request) agentObject(a *waihu.AgentSpec) agentObject {
	set := settingsOf(a)
	o := agentObject{ID: wireID(a), AgentName: a.Name, QuickSceneType: set.number("quickSceneType"), Description: set.text("description"), AvatarURL: set.text("avatarUrl"),
		TenantID: c.who.TenantID, Updated: stamp(a.UpdatedAt, c.loc), Created: stamp(a.CreatedAt, c.loc),
		CreatedUserID: set.text("createdUserId"), CreatedUsername: set.text("createdUsername"), LastEditID: set.text("lastEditId"), LastEditUsername: set.text("lastEditUsername"),
		Status: strconv.Itoa(int(a.State)), Type: typeOf(a), AgentScene: set.number("agentScene"), Version: a.Version, VersionID: a.VersionID,
		Language: a.Language, Welcome: a.Opening.Say, KnowledgeCount: len(a.Knowledge)}
	if a.LLM != nil {
		o.Prompt, o.CollectCount = a.LLM.Prompt, len(a.LLM.Collect)
	}
	if o.CreatedUserID == "" { // of the apply file: nobody but the account has made it
		o.CreatedUserID, o.CreatedUsername = c.who.UID, c.who.Username
	}
	if o.LastEditID == "" {
		o.LastEditID, o.LastEditUsername = o.CreatedUserID, o.CreatedUsername
	}
	return o
}

// wireID is the id under which this door's clients know an agent.
func wireID(a *waihu.AgentSpec) string {
	if id := a.ExternalIDs[Door]; id != "" {
		return id
	}
	return string(a.ID)
}

func typeOf(a *waihu.AgentSpec) int {
	if a.Brain == waihu.BrainFlow {
		return typeOrdinary
	}
	return typeAI
}

func stamp(t time.Time, loc *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(loc).Format(time.DateTime)
}

// settings are what this door keeps in an agent's vendor fields, under the vendor's own names.
type settings map[string]any

func settingsOf(a *waihu.AgentSpec) settings { return a.Vendor[Door] }

func (s settings) text(name string) string {
	text, _ := s[name].(string)
	return text
}

func (s settings) number(name string) int {
	switch v := s[name].(type) {
	case json.Number: // as the store reads it
		n, err := strconv.Atoi(v.String())
		if err == nil {
			return n
		}
	case int:
		return v
	}
	return 0
}

// set writes one of the door's fields into an agent; the empty value removes it.
func set(a *waihu.AgentSpec, name string, value any) {
	if a.Vendor == nil {
		a.Vendor = map[string]map[string]any{}
	}
	if a.Vendor[Door] == nil {
		a.Vendor[Door] = map[string]any{}
	}
	if value == "" || value == 0 {
		delete(a.Vendor[Door], name)
		return
	}
	a.Vendor[Door][name] = value
}

func (c *request) agentList() (any, error) {
	f := store.AgentFilter{}
	var err error
	if f.Name, err = c.form.text("keyword"); err != nil {
		return nil, err
	}
	if f.Page, f.PerPage, err = c.page(); err != nil {
		return nil, err
	}
	status, err := c.form.number("status", -1, 0, 2)
	if err != nil {
		return nil, err
	}
	if status >= 0 {
		state := waihu.AgentState(status)
		f.State = &state
	}
	scene, err := c.form.number("agentScene", -1, 0, 1000)
	if err != nil {
		return nil, err
	}
	kind, err := c.form.number("type", 0, 0, 2)
	if err != nil {
		return nil, err
	}
	if scene >= 0 || kind > 0 {
		f.Match = func(a *waihu.AgentSpec) bool {
			return (scene < 0 || settingsOf(a).number("agentScene") == scene) && (kind == 0 || typeOf(a) == kind)
		}
	}
	by, err := c.form.text("orderBy")
	if err != nil {
		return nil, err
	}
	switch by { // the names are not on the page: those of the detail, and what clients of such APIs write
	case "updated", "updateTime", "updatedAt":
		f.By = "updated"
	case "agentName", "name":
		f.By = "name"
	}
	order, err := c.form.text("order")
	if err != nil {
		return nil, err
	}
	switch order {
	case "asc":
		f.Ascending = true
	case "", "desc":
	default:
		return nil, wrong(paramCheck, "order", "应为 asc 或 desc")
	}
	list, total, err := c.s.Store.FindAgents(c.ctx, c.account.ID, f)
	if err != nil {
		return nil, err
	}
	out := make([]agentObject, 0, len(list))
	for i := range list {
		out = append(out, c.agentObject(&list[i]))
	}
	return map[string]any{"total": total, "pn": f.Page, "ps": f.PerPage, "list": out}, nil
}

// page reads pn and ps.
func (c *request) page() (pn, ps int, err error) {
	if pn, err = c.form.number("pn", 1, 1, 1<<30); err != nil {
		return
	}
	ps, err = c.form.number("ps", 20, 1, 1000)
	return
}

// agent is the agent that a field names.
func (c *request) agent(field string) (waihu.AgentSpec, error) {
	id, err := c.form.needed(field)
	if err != nil {
		return waihu.AgentSpec{}, err
	}
	return c.agentBy(id)
}

func (c *request) agentBy(id string) (waihu.AgentSpec, error) {
	a, err := c.s.Store.AgentByExternal(c.ctx, c.account.ID, Door, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = refused(notExist, "机器人不存在")
	}
	return a, err
}

func (c *request) agentDetail() (any, error) {
	a, err := c.agent("id")
	if err != nil {
		return nil, err
	}
	return c.agentObject(&a), nil
}

// card reads the fields that update and create share; only those that were given are written.
func (c *request) card() (func(*waihu.AgentSpec), error) {
	type field struct {
		name string
		most int
	}
	texts := map[string]string{}
	for _, f := range []field{{"agentName", maxName}, {"description", maxDescription}, {"avatarUrl", maxURL}} {
		if !c.form.has(f.name) {
			continue
		}
		text, err := c.form.text(f.name)
		if err != nil {
			return nil, err
		}
		if utf8.RuneCountInString(text) > f.most {
			return nil, wrong(paramCheck, f.name, "过长,最多 %d 个字符", f.most)
		}
		texts[f.name] = text
	}
	numbers := map[string]int{}
	for name, most := range map[string]int{"quickSceneType": 2, "agentScene": 5} {
		if !c.form.has(name) {
			continue
		}
		n, err := c.form.number(name, 0, 0, most)
		if err != nil {
			return nil, err
		}
		numbers[name] = n
	}
	return func(a *waihu.AgentSpec) {
		for name, text := range texts {
			if name == "agentName" {
				a.Name = text
			} else {
				set(a, name, text)
			}
		}
		for name, n := range numbers {
			set(a, name, n)
		}
	}, nil
}

func (c *request) agentUpdate() (any, error) {
	a, err := c.agent("id")
	if err != nil {
		return nil, err
	}
	if _, err := c.form.needed("agentName"); err != nil {
		return nil, err
	}
	change, err := c.card()
	if err != nil {
		return nil, err
	}
	_, err = c.s.Store.EditAgent(c.ctx, c.account.ID, a.ID, func(a *waihu.AgentSpec) error {
		change(a)
		set(a, "lastEditId", c.who.UID)
		set(a, "lastEditUsername", c.who.Username)
		return nil
	})
	return nil, err
}

func (c *request) agentDelete() (any, error) {
	id, err := c.form.text("agentId")
	if err != nil {
		return nil, err
	}
	again, err := c.form.text("id")
	switch {
	case err != nil:
		return nil, err
	case id == "" && again == "":
		return nil, wrong(paramCheck, "agentId", "不能为空")
	case id == "":
		id = again
	case again != "" && again != id:
		return nil, wrong(paramCheck, "id", "与 agentId 不一致")
	}
	a, err := c.agentBy(id)
	if err != nil {
		return nil, err
	}
	name, err := c.form.text("agentName")
	if err != nil {
		return nil, err
	}
	if name != "" && name != a.Name {
		return nil, wrong(paramCheck, "agentName", "与该机器人的名称不一致")
	}
	return nil, c.s.Store.DeleteAgent(c.ctx, c.account.ID, a.ID)
}

func (c *request) agentOffline() (any, error) {
	a, err := c.agent("agentId")
	if err != nil {
		return nil, err
	}
	return nil, c.s.Store.AgentOffline(c.ctx, c.account.ID, a.ID)
}

// theAgent is the agent that a request is about whose page names none in its body: the header Agentid, the field
// agentId, or the one agent that the key can mean. The vendor has a key per agent, we have one per account, so that is
// the only agent with an id of this door, else the only agent there is. ok is false when none is named and none is meant.
func (c *request) theAgent() (a waihu.AgentSpec, ok bool, err error) {
	id := c.r.Header.Get("Agentid")
	if id == "" {
		if id, err = c.form.text("agentId"); err != nil {
			return a, false, err
		}
	}
	if id != "" {
		a, err = c.agentBy(id)
		return a, err == nil, err
	}
	list, _, err := c.s.Store.FindAgents(c.ctx, c.account.ID, store.AgentFilter{PerPage: 2, Door: Door})
	if err == nil && len(list) == 0 {
		list, _, err = c.s.Store.FindAgents(c.ctx, c.account.ID, store.AgentFilter{PerPage: 2})
	}
	if err != nil || len(list) != 1 {
		return a, false, err
	}
	return list[0], true, nil
}

// needAgent is theAgent where there must be one.
func (c *request) needAgent() (waihu.AgentSpec, error) {
	a, ok, err := c.theAgent()
	if err == nil && !ok {
		err = wrong(paramCheck, "Agentid", "请在请求头 Agentid 或参数 agentId 中指明机器人")
	}
	return a, err
}
