package voicefox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"waihu"
)

// detailWire is an assistant by itself: what is documented of it, and ours behind. No page marks a field as required.
type detailWire struct {
	assistantWire
	Creator          creatorFull   `json:"creator"` // shadows the embedded one
	Objective        string        `json:"objective"`
	SpeakerName      string        `json:"speakerName"`
	ListenerName     string        `json:"listenerName"`
	HotWords         []hotWordWire `json:"hotWords"`
	LLMID            int64         `json:"llmId"`
	EnableFuzzyMatch bool          `json:"enableFuzzyMatch"`
	FeatureFlags     string        `json:"featureFlags"`
	TimeZone         string        `json:"timeZone"`

	Version  int                         `json:"version"` // ours: 1, 2, 3 … of this assistant; versionId is unique over all
	Language string                      `json:"language,omitempty"`
	Vars     map[string]waihu.VarSpec    `json:"vars,omitempty"`
	Intents  map[string]waihu.IntentSpec `json:"intents,omitempty"`
	Flow     *waihu.FlowSpec             `json:"flow,omitempty"`
	Grade    []waihu.GradeRule           `json:"grade,omitempty"`
}

type creatorFull struct {
	ID       int64  `json:"id"`
	Email    string `json:"email"`
	Username string `json:"username"`
}

type hotWordWire struct {
	Word             string   `json:"word"`
	Weight           int      `json:"weight"`
	ReplacedWords    []string `json:"replacedWords"`
	EnableFuzzyMatch bool     `json:"enableFuzzyMatch"`
}

// detail is the assistant as its own page shows it.
func (l *lookup) detail(a *waihu.AgentSpec) (detailWire, error) {
	w, err := l.embedded(a)
	if err != nil {
		return detailWire{}, err
	}
	owner, err := l.account(a.Account)
	if err != nil {
		return detailWire{}, err
	}
	d := detailWire{assistantWire: w, Creator: creatorFull{owner.Serial, owner.Email, owner.Name}, Objective: text(a, "objective"), HotWords: hotWordsOf(a),
		LLMID: integer(a, "llmId"), FeatureFlags: text(a, "featureFlags"), TimeZone: text(a, "timeZone"),
		Version: a.Version, Language: a.Language, Vars: a.Vars, Intents: a.Intents, Flow: a.Flow, Grade: a.Grade}
	d.EnableFuzzyMatch, _ = a.Vendor[Door]["enableFuzzyMatch"].(bool)
	if d.TimeZone == "" {
		d.TimeZone = waihu.Location(owner.Zone).String()
	}
	if d.SpeakerName, err = l.name(waihu.Speaker, w.SpeakerID); err != nil {
		return d, err
	}
	d.ListenerName, err = l.name(waihu.Listener, w.ListenerID)
	return d, err
}

// hotWordsOf are the hot words as they were sent; those of another door have words and weights alone.
func hotWordsOf(a *waihu.AgentSpec) []hotWordWire {
	out := []hotWordWire{}
	if stored, ok := a.Vendor[Door]["hotWords"]; ok {
		raw, err := json.Marshal(stored)
		if err == nil && json.Unmarshal(raw, &out) == nil {
			for i := range out {
				out[i].ReplacedWords = orEmpty(out[i].ReplacedWords)
			}
			return out
		}
	}
	for _, word := range slices.Sorted(maps.Keys(a.Listen.Hotwords)) {
		out = append(out, hotWordWire{Word: word, Weight: a.Listen.Hotwords[word], ReplacedWords: []string{}})
	}
	return out
}

// name is that of a resource; "" when there is none.
func (l *lookup) name(kind waihu.NamedKind, id int64) (string, error) {
	if id == 0 {
		return "", nil
	}
	n, err := l.c.s.Store.Named(l.c.ctx, l.c.account.ID, kind, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return "", nil
	}
	return n.Name, err
}

func (s *server) assistantDetail(c *request) (any, error) {
	a, err := c.assistant()
	if err != nil {
		return nil, err
	}
	return c.look().detail(&a)
}

// assistantList lists the assistants that the workspace may use, the oldest first, those of other doors too.
func (s *server) assistantList(c *request) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	list, total, err := s.Store.Agents(c.ctx, c.account.ID, p.PageIndex, p.PageSize)
	if err != nil {
		return nil, err
	}
	p.Items, err = c.details(list)
	p.Total = total
	return p, err
}

// assistantVersions lists the versions, the newest first.
func (s *server) assistantVersions(c *request) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	a, err := c.assistant()
	if err != nil {
		return nil, err
	}
	list, err := s.Store.AgentVersions(c.ctx, c.account.ID, a.ID)
	if err != nil {
		return nil, err
	}
	p.Total = len(list)
	p.Items, err = c.details(cut(list, p))
	return p, err
}

func (c *request) details(list []waihu.AgentSpec) ([]detailWire, error) {
	items, look := []detailWire{}, c.look()
	for i := range list {
		d, err := look.detail(&list[i])
		if err != nil {
			return nil, err
		}
		items = append(items, d)
	}
	return items, nil
}

// assistantBody is what an assistant is made of. The keys of the page that only the platform sets may be sent back and are
// not looked at.
type assistantBody struct {
	Name             *string        `json:"name"`
	Scene            *string        `json:"scene"`
	Objective        *string        `json:"objective"`
	SpeakerID        *number        `json:"speakerId"`
	ListenerID       *number        `json:"listenerId"`
	WebsocketURL     *string        `json:"websocketUrl"`
	WebsocketToken   *string        `json:"websocketToken"`
	Welcome          *string        `json:"welcome"`
	Prompt           *string        `json:"prompt"`
	Collect          *[]collectBody `json:"collect"`
	Knowledge        *string        `json:"knowledge"`
	HotWords         *[]hotWordWire `json:"hotWords"`
	LLMID            *number        `json:"llmId"`
	EnableFuzzyMatch *bool          `json:"enableFuzzyMatch"`
	FeatureFlags     *string        `json:"featureFlags"`
	TimeZone         *string        `json:"timeZone"`

	// ours
	Language *string                      `json:"language"`
	Vars     *map[string]waihu.VarSpec    `json:"vars"`
	Intents  *map[string]waihu.IntentSpec `json:"intents"`
	Flow     *waihu.FlowSpec              `json:"flow"`
	Grade    *[]waihu.GradeRule           `json:"grade"`

	ID, ProjectID, VersionID, Version, UsageCount, CreatorID, SpeakerName, ListenerName any
	CreatedAt, UpdatedAt, Creator, DeletedAt, IDOldVersion                              any
}

// collectBody is a question. Key (ours) is the variable under which a flow of ours keeps the answer itself.
type collectBody struct {
	collectWire
	Key string `json:"key"`
}

const (
	maxCollect = 100
	maxName    = 200 // letters of an assistant's, a task's and a resource's name
)

// apply writes what the body says into a; what it does not say stays.
func (c *request) apply(b *assistantBody, named *namedBy, a *waihu.AgentSpec) error {
	kept := maps.Clone(a.Vendor[Door])
	if kept == nil {
		kept = map[string]any{}
	}
	set(&a.Name, b.Name)
	set(&a.Scene, b.Scene)
	set(&a.Opening.Say, b.Welcome)
	set(&a.Language, b.Language)
	set(&a.Vars, b.Vars)
	set(&a.Intents, b.Intents)
	set(&a.Grade, b.Grade)
	if a.Name = strings.TrimSpace(a.Name); a.Name == "" {
		return wrong("name", "an assistant has a name")
	}
	if b.Name != nil && utf8.RuneCountInString(a.Name) > maxName {
		return wrong("name", "at most %d letters were expected", maxName)
	}
	for key, v := range map[string]*string{"objective": b.Objective, "featureFlags": b.FeatureFlags, "timeZone": b.TimeZone} {
		if v != nil {
			kept[key] = *v
		}
	}
	if b.LLMID != nil {
		kept["llmId"] = int64(*b.LLMID)
	}
	if b.EnableFuzzyMatch != nil {
		kept["enableFuzzyMatch"] = *b.EnableFuzzyMatch
	}
	if b.Flow != nil {
		a.Flow = b.Flow
	}
	if err := applyLLM(b, a); err != nil {
		return err
	}
	applyBot(b, a)
	named.apply(a, kept)
	if b.HotWords != nil {
		delete(kept, "hotWords")
		if a.Listen.Hotwords = nil; len(*b.HotWords) > 0 {
			var list []map[string]any // keys in the order in which the ledger gives them back, so that the same again is no change
			a.Listen.Hotwords = map[string]int{}
			for _, w := range *b.HotWords {
				list = append(list, map[string]any{"word": w.Word, "weight": w.Weight, "replacedWords": orEmpty(w.ReplacedWords), "enableFuzzyMatch": w.EnableFuzzyMatch})
				a.Listen.Hotwords[w.Word] = w.Weight
			}
			kept["hotWords"] = list
		}
	}
	vendor := maps.Clone(a.Vendor)
	if vendor == nil {
		vendor = map[string]map[string]any{}
	}
	vendor[Door] = kept
	if len(kept) == 0 {
		delete(vendor, Door)
	}
	if a.Vendor = vendor; len(vendor) == 0 {
		a.Vendor = nil
	}
	url := ""
	if a.Bot != nil {
		url = a.Bot.URL
	}
	a.Brain = brainOf(a.Flow != nil, url)
	return problems(c.s.Check(a))
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// applyLLM reads prompt and collect. Questions keep their keys while their words stay, so that answers of an earlier version
// can be told with those of a later one.
func applyLLM(b *assistantBody, a *waihu.AgentSpec) error {
	if b.Prompt == nil && b.Collect == nil {
		if a.LLM == nil && a.Flow == nil && a.Bot == nil {
			a.LLM = &waihu.LLMSpec{}
		}
		return nil
	}
	llm := waihu.LLMSpec{}
	if a.LLM != nil {
		llm = *a.LLM
	}
	set(&llm.Prompt, b.Prompt)
	if b.Collect != nil {
		if len(*b.Collect) > maxCollect {
			return wrong("collect", "at most %d questions were expected", maxCollect)
		}
		keys := map[string]string{}
		for _, ask := range llm.Collect {
			keys[ask.Question] = ask.Key
		}
		llm.Collect = nil
		used := map[string]bool{}
		for i, w := range *b.Collect {
			question := strings.TrimSpace(w.Question)
			if question == "" {
				return wrong(fmt.Sprintf("collect[%d].question", i), "a question was expected")
			}
			key := strings.TrimSpace(w.Key)
			if key != "" && used[key] {
				return wrong(fmt.Sprintf("collect[%d].key", i), "the key %.60q is another question's", key)
			}
			if key == "" {
				key = keys[question]
			}
			for n := i + 1; key == "" || used[key]; n++ {
				key = fmt.Sprintf("q%d", n)
			}
			used[key] = true
			llm.Collect = append(llm.Collect, waihu.CollectAsk{Key: key, Question: question, Answers: w.Answers})
		}
	}
	a.LLM = &llm
	return nil
}

// applyBot reads the websocket; an empty address takes it away.
func applyBot(b *assistantBody, a *waihu.AgentSpec) {
	if b.WebsocketURL == nil && b.WebsocketToken == nil {
		return
	}
	bot := waihu.BotSpec{Protocol: botProtocol}
	if a.Bot != nil {
		bot = *a.Bot
	}
	set(&bot.URL, b.WebsocketURL)
	set(&bot.Token, b.WebsocketToken)
	if a.Bot = &bot; bot.URL == "" {
		a.Bot = nil
	}
}

func (s *server) assistantCreate(c *request) (any, error) {
	var b assistantBody
	if err := c.read(&b); err != nil {
		return nil, err
	}
	named, err := c.named(&b)
	if err != nil {
		return nil, err
	}
	a := waihu.AgentSpec{Account: c.account.ID}
	if err := c.apply(&b, named, &a); err != nil {
		return nil, err
	}
	if err := s.Store.SaveAgent(c.ctx, &a); err != nil {
		return nil, err
	}
	return c.look().detail(&a)
}

// assistantUpdate makes a new version with what the body says, unless nothing changes. Tasks go on with the version they pin.
func (s *server) assistantUpdate(c *request) (any, error) {
	a, err := c.assistant()
	if err != nil {
		return nil, err
	}
	if a.Account != c.account.ID {
		return nil, refused(http.StatusForbidden, "the assistant is the main account's: it can be used here, not changed")
	}
	var b assistantBody
	if err := c.read(&b); err != nil {
		return nil, err
	}
	named, err := c.named(&b)
	if err != nil {
		return nil, err
	}
	a, err = s.Store.EditAgent(c.ctx, c.account.ID, a.ID, func(a *waihu.AgentSpec) error { return c.apply(&b, named, a) })
	if err != nil {
		return nil, err
	}
	return c.look().detail(&a)
}
