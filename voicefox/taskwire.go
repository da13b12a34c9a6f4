package voicefox

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"waihu"
	"waihu/store"
)

// taskWire is a task as the vendor's page shows it: every key, no other, no null but deletedAt.
type taskWire struct {
	ID             int64         `json:"id"`
	CreatedAt      string        `json:"createdAt"`
	UpdatedAt      string        `json:"updatedAt"`
	Name           string        `json:"name"`
	Status         string        `json:"status"`
	Total          int           `json:"total"`
	Progress       int           `json:"progress"`
	CollectionRate int           `json:"collectionRate"`
	Option         optionWire    `json:"option"`
	Summary        string        `json:"summary"`
	Suggestion     string        `json:"suggestion"`
	AssistantVid   int64         `json:"assistantVid"`
	Assistant      assistantWire `json:"assistant"`
}

type optionWire struct {
	NumberFileMeta map[string]int `json:"numberFileMeta"`
	Numbers        []int64        `json:"numbers"`
	StartDate      string         `json:"startDate"`
	StartTime      [][]string     `json:"startTime"`
	RetryCount     int            `json:"retryCount"`
	RetryInterval  int            `json:"retryInterval"`
}

// assistantWire is the assistant as it is embedded in a task.
type assistantWire struct {
	ID             int64         `json:"id"`
	ProjectID      int64         `json:"projectId"`
	Name           string        `json:"name"`
	VersionID      int64         `json:"versionId"`
	Scene          string        `json:"scene"`
	SpeakerID      int64         `json:"speakerId"`
	WebsocketURL   string        `json:"websocketUrl"`
	WebsocketToken string        `json:"websocketToken"`
	ListenerID     int64         `json:"listenerId"`
	Welcome        string        `json:"welcome"`
	Prompt         string        `json:"prompt"`
	Collect        []collectWire `json:"collect"`
	Knowledge      string        `json:"knowledge"`
	CreatedAt      string        `json:"createdAt"`
	UpdatedAt      string        `json:"updatedAt"`
	Creator        creatorWire   `json:"creator"`
	DeletedAt      *string       `json:"deletedAt"` // typed as null on the page
	IDOldVersion   bool          `json:"idOldVersion"`
	UsageCount     int           `json:"usageCount"`
	CreatorID      int64         `json:"creatorId"`
}

type collectWire struct {
	Question string   `json:"question"`
	Answers  []string `json:"answers"`
}

type creatorWire struct {
	Email string `json:"email"`
}

// The three keys of numberFileMeta that the page lists, and so what every map has.
const (
	phoneColumn  = "号码"
	remarkColumn = "备注"
	nameColumn   = "姓名"
)

// kept is what a task keeps for this door.
type kept struct {
	NumberFileMeta map[string]int `json:"numberFileMeta,omitempty"`
	FromFile       bool           `json:"fromFile,omitempty"` // the map is that of the last file, and not the client's: a file's own titles go before it
	Stopped        int64          `json:"stopped,omitempty"`  // the task itself, when it was stopped before it was ever started; a copy of it was not
}

func keptOf(t *waihu.Task) (k kept) {
	if raw := t.Doors[Door]; len(raw) > 0 {
		_ = json.Unmarshal(raw, &k) // what another version of us wrote shows as if it were not there
	}
	return k
}

// metaShown is numberFileMeta with the keys that the page requires. A task whose numbers came without a file has phone numbers alone.
func metaShown(m map[string]int) map[string]int {
	out := map[string]int{phoneColumn: 0, remarkColumn: noColumn, nameColumn: noColumn}
	for title, i := range m {
		out[title] = i
	}
	return out
}

// taskShown is the task as of now.
func (c *request) taskShown(t *waihu.Task, look *lookup) (taskWire, error) {
	s, counts, err := c.standingOf(t)
	if err != nil {
		return taskWire{}, err
	}
	spec, err := look.talks(t)
	if err != nil {
		return taskWire{}, err
	}
	assistant, err := look.embedded(&spec)
	if err != nil {
		return taskWire{}, err
	}
	numbers, err := look.callers(t)
	if err != nil {
		return taskWire{}, err
	}
	end, err := c.s.Store.TaskSummary(c.ctx, t.Account, t.ID)
	if err != nil && waihu.ErrorCode(err) != waihu.ENotFound { // none before it has ended
		return taskWire{}, err
	}
	return taskWire{ID: t.Serial, CreatedAt: stamp(t.CreatedAt, c.loc), UpdatedAt: stamp(t.UpdatedAt, c.loc), Name: t.Name, Status: s.status(),
		Total: s.total, Progress: progress(s.total, s.left), CollectionRate: collectionRate(answeredCalls(&counts), counts.Hits),
		Option: optionWire{NumberFileMeta: metaShown(keptOf(t).NumberFileMeta), Numbers: numbers, StartDate: startDate(t), StartTime: startTime(t.Weekly),
			RetryCount: retryCount(&t.Redial), RetryInterval: c.s.retryInterval(retryGap(&t.Redial))},
		Summary: end.Summary, Suggestion: end.Suggestion, AssistantVid: assistant.VersionID, Assistant: assistant}, nil
}

// answeredCalls is how many calls were answered; a number may have had several.
func answeredCalls(c *store.Counts) (n int) {
	for _, calls := range c.Rounds {
		n += calls
	}
	return n
}

// startDate is the day from which a task may call, in its own zone; "" when it has no bound.
func startDate(t *waihu.Task) string {
	if t.Start.IsZero() {
		return ""
	}
	return t.Start.In(t.Location()).Format(time.DateOnly)
}

// startTime are the parts of the day in which a task may call on any day of the week, joined where they touch.
func startTime(w waihu.Weekly) [][]string {
	var all []waihu.Span
	for _, day := range w {
		all = append(all, day...)
	}
	slices.SortFunc(all, func(a, b waihu.Span) int { return a.From - b.From })
	var joined []waihu.Span
	for _, s := range all {
		if n := len(joined); n > 0 && s.From <= joined[n-1].To {
			joined[n-1].To = max(joined[n-1].To, s.To)
			continue
		}
		joined = append(joined, s)
	}
	out := [][]string{}
	for _, s := range joined {
		out = append(out, []string{clockText(s.From), clockText(s.To)})
	}
	return out
}

// retryCount is how often a number is dialled again at most.
func retryCount(r *waihu.Redial) int { return max(r.Max, len(r.AtClock)) }

// retryGap is the wait before a redial, the shortest where outcomes or redials differ in it.
func retryGap(r *waihu.Redial) time.Duration {
	var gaps []time.Duration
	for _, d := range r.ByRule {
		gaps = append(gaps, d.After)
	}
	for _, d := range r.AtClock {
		gaps = append(gaps, d.Wait)
	}
	if len(gaps) == 0 {
		return r.Interval
	}
	return slices.Min(gaps)
}

// lookup reads what several tasks or calls of one answer share, once each.
type lookup struct {
	c        *request
	versions map[int64]waihu.AgentSpec
	newest   map[waihu.AgentID]waihu.AgentSpec
	accounts map[waihu.AccountID]waihu.Account
	calls    map[waihu.AgentID]int
	numbers  []waihu.Caller
}

func (c *request) look() *lookup {
	return &lookup{c: c, versions: map[int64]waihu.AgentSpec{}, newest: map[waihu.AgentID]waihu.AgentSpec{},
		accounts: map[waihu.AccountID]waihu.Account{c.account.ID: c.account}, calls: map[waihu.AgentID]int{}}
}

// talks is the version that talks in a task: the pinned one, or the newest. One that is gone is the zero spec.
func (l *lookup) talks(t *waihu.Task) (waihu.AgentSpec, error) {
	if t.AgentVersion != 0 {
		return l.version(t.AgentVersion)
	}
	return l.agent(t.Agent)
}

func (l *lookup) version(id int64) (waihu.AgentSpec, error) {
	if a, ok := l.versions[id]; ok {
		return a, nil
	}
	a, err := l.c.s.Store.AgentVersion(l.c.ctx, l.c.account.ID, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = nil
	}
	l.versions[id] = a
	return a, err
}

func (l *lookup) agent(id waihu.AgentID) (waihu.AgentSpec, error) {
	if a, ok := l.newest[id]; ok {
		return a, nil
	}
	a, err := l.c.s.Store.Agent(l.c.ctx, l.c.account.ID, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = nil
	}
	l.newest[id] = a
	return a, err
}

func (l *lookup) account(id waihu.AccountID) (waihu.Account, error) {
	if a, ok := l.accounts[id]; ok || id == "" {
		return a, nil
	}
	a, err := l.c.s.Store.Account(l.c.ctx, id)
	l.accounts[id] = a
	return a, err
}

// used is how many calls the agent has had.
func (l *lookup) used(id waihu.AgentID) (int, error) {
	if n, ok := l.calls[id]; ok {
		return n, nil
	}
	n, err := l.c.s.Store.AgentCalls(l.c.ctx, l.c.account.ID, id)
	l.calls[id] = n
	return n, err
}

// callers are the ids of the caller numbers that a task calls from.
func (l *lookup) callers(t *waihu.Task) ([]int64, error) {
	if len(t.Callers) > 0 {
		return t.Callers, nil
	}
	if l.numbers == nil {
		list, err := l.c.s.Store.Callers(l.c.ctx, l.c.account.ID, "")
		if err != nil {
			return nil, err
		}
		l.numbers = list
	}
	out := []int64{}
	for _, n := range l.numbers {
		if n.State == 0 && (len(t.Lines) == 0 || slices.ContainsFunc(t.Lines, func(tl waihu.TaskLine) bool { return tl.Line == n.Line })) {
			out = append(out, n.ID)
		}
	}
	return out, nil
}

// text is a field that an agent keeps for this door.
func text(a *waihu.AgentSpec, key string) string {
	s, _ := a.Vendor[Door][key].(string)
	return s
}

// integer is a number that an agent keeps for this door, whatever it was decoded as.
func integer(a *waihu.AgentSpec, key string) int64 {
	var n number
	if v, ok := a.Vendor[Door][key]; ok {
		_ = n.UnmarshalJSON([]byte(fmt.Sprint(v)))
	}
	return int64(n)
}

// embedded is the assistant as tasks show it.
func (l *lookup) embedded(a *waihu.AgentSpec) (assistantWire, error) {
	w := assistantWire{ID: a.Serial, Name: a.Name, VersionID: a.VersionID, Scene: a.Scene, SpeakerID: integer(a, "speakerId"), ListenerID: integer(a, "listenerId"),
		Welcome: a.Opening.Say, Collect: []collectWire{}, Knowledge: text(a, "knowledge"), CreatedAt: stamp(a.CreatedAt, l.c.loc), UpdatedAt: stamp(a.UpdatedAt, l.c.loc)}
	if a.Bot != nil {
		w.WebsocketURL, w.WebsocketToken = a.Bot.URL, a.Bot.Token
	}
	if a.LLM != nil {
		w.Prompt = a.LLM.Prompt
		for _, ask := range a.LLM.Collect {
			w.Collect = append(w.Collect, collectWire{ask.Question, orEmpty(ask.Answers)})
		}
	}
	owner, err := l.account(a.Account)
	if err != nil {
		return w, err
	}
	w.ProjectID, w.CreatorID, w.Creator.Email = owner.Serial, owner.Serial, owner.Email
	w.UsageCount, err = l.used(a.ID)
	return w, err
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
