package waihu

import "time"

// AgentSpec is the declarative model of an agent (话术, 助手, AI客服): one document,
// three kinds of brain that share everything else. It is stored as JSON; versions are immutable.
type AgentSpec struct {
	ID        AgentID   `json:"id"`
	Account   AccountID `json:"-"`
	VersionID int64     `json:"-"` // the version row's own small integer id
	Serial    int64     `json:"-"` // the agent's integer id: ID itself when that is a decimal number
	CreatedAt time.Time `json:"-"`
	UpdatedAt time.Time `json:"-"`
	// State says whether tasks may call with the agent. It is the agent's, not the version's, and only the store's own
	// methods change it: in a spec that is saved it means nothing.
	State AgentState `json:"-"`

	Name      string                `json:"name"`
	Version   int                   `json:"version"`
	Language  string                `json:"language,omitempty"` // BCP 47, default zh-CN
	Scene     string                `json:"scene,omitempty"`
	Vars      map[string]VarSpec    `json:"vars,omitempty"`
	Voice     VoiceSpec             `json:"voice,omitzero"`
	Listen    ListenSpec            `json:"listen,omitzero"`
	Opening   OpeningSpec           `json:"opening,omitzero"`
	Intents   map[string]IntentSpec `json:"intents,omitempty"`
	Knowledge []KnowledgeSpec       `json:"knowledge,omitempty"`
	Brain     Brain                 `json:"brain"`
	Flow      *FlowSpec             `json:"flow,omitempty"`
	LLM       *LLMSpec              `json:"llm,omitempty"`
	Bot       *BotSpec              `json:"bot,omitempty"`
	Grade     []GradeRule           `json:"grade,omitempty"`
	QA        []QualityItem         `json:"qa,omitempty"`
	// Vendor keeps, by door name, fields that a vendor's API sets and reads back.
	Vendor map[string]map[string]any `json:"vendor,omitempty"`
	// ExternalIDs are the ids under which a door knows the agent.
	ExternalIDs map[string]string `json:"external_ids,omitempty"`
}

// AgentState is where an agent stands: one of the apply file or of a door without publications is online at once.
type AgentState int

const (
	AgentOffline    AgentState = iota // kept, edited, copied; no task that would call with it can be started
	AgentPublishing                   // being checked; as offline until that is done
	AgentOnline
)

// Brain is who decides what to say.
type Brain string

const (
	BrainFlow Brain = "flow"
	BrainLLM  Brain = "llm"
	BrainBot  Brain = "bot"
)

// VarSpec is a variable of the agent's texts, filled from the number or during the call.
type VarSpec struct {
	Type     string `json:"type,omitempty"` // text (default), money, date, digits, percent
	Required bool   `json:"required,omitempty"`
	Say      string `json:"say,omitempty"` // spoken when the number has no value
}

// VoiceSpec is how the agent sounds.
type VoiceSpec struct {
	TTS        string  `json:"tts,omitempty"`
	Voice      string  `json:"voice,omitempty"`
	Speed      float64 `json:"speed,omitempty"` // 1.0 is normal
	Volume     int     `json:"volume,omitempty"`
	Background string  `json:"background,omitempty"`
}

// ListenSpec is how the agent hears.
type ListenSpec struct {
	ASR        string         `json:"asr,omitempty"`
	EndpointMS int            `json:"endpoint_ms,omitempty"` // default 500
	Hotwords   map[string]int `json:"hotwords,omitempty"`
	NoInput    NoInputSpec    `json:"noinput,omitzero"`
}

// NoInputSpec is what happens when the callee says nothing: the texts in order, then hang-up.
type NoInputSpec struct {
	MS  int      `json:"ms,omitempty"` // default 5000
	Say []string `json:"say,omitempty"`
}

// OpeningSpec is the first sentence.
type OpeningSpec struct {
	WaitMS    *int   `json:"wait_ms,omitempty"` // default 1200: speak after the callee's first words or this time
	Say       string `json:"say,omitempty"`
	ProtectMS int    `json:"protect_ms,omitempty"` // no barge-in before
}

// IntentSpec is something a callee may mean. With Do it is global: checked before the brain.
type IntentSpec struct {
	Any   []string `json:"any,omitempty"`
	Regex []string `json:"regex,omitempty"`
	DTMF  string   `json:"dtmf,omitempty"`
	Do    []Action `json:"do,omitempty"`
}

// KnowledgeSpec is a question with its answer.
type KnowledgeSpec struct {
	Q    []string `json:"q"`
	A    string   `json:"a"`
	Then string   `json:"then,omitempty"` // stay (default), return, hangup, or a node
}

// FlowSpec is a directed graph of nodes.
type FlowSpec struct {
	Start string              `json:"start"`
	Nodes map[string]NodeSpec `json:"nodes"`
}

// NodeSpec says something, waits for an answer when it has branches, and goes on.
type NodeSpec struct {
	Say       string       `json:"say,omitempty"`
	Play      string       `json:"play,omitempty"` // a WAV prompt by name instead of text
	ProtectMS int          `json:"protect_ms,omitempty"`
	Branches  []BranchSpec `json:"branches,omitempty"`
	Else      *ElseSpec    `json:"else,omitempty"`
	Collect   *CollectSpec `json:"collect,omitempty"`
	Knowledge bool         `json:"knowledge,omitempty"`
	Do        []Action     `json:"do,omitempty"`
	Go        string       `json:"go,omitempty"`
}

// BranchSpec is taken when the callee means On: the name of an intent, or one of the
// built-in inputs speech, silence and dtmf:<digits>.
type BranchSpec struct {
	On  string   `json:"on"`
	Tag string   `json:"tag,omitempty"`
	Say string   `json:"say,omitempty"`
	Do  []Action `json:"do,omitempty"`
	Go  string   `json:"go,omitempty"`
}

// ElseSpec is what to do with an answer that no branch takes: Say up to Times times, then go to Then.
type ElseSpec struct {
	Times int    `json:"times,omitempty"`
	Say   string `json:"say,omitempty"`
	Then  string `json:"then,omitempty"`
}

// CollectSpec keeps what the callee answers in a variable.
type CollectSpec struct {
	Var   string `json:"var"`
	Kind  string `json:"kind,omitempty"`
	MaxMS int    `json:"max_ms,omitempty"`
}

// Action is one step of a do list. In files it is a word ("hangup", "opt_out") or an
// object with one key ({say: text}, {tag: name}, {go: node}, {set: {name: value}}, {transfer: group}).
type Action struct {
	Kind string            // hangup, opt_out, say, play, tag, go, set, transfer, wait, dtmf
	Arg  string            // text, name, node, digits
	Set  map[string]string // for set
}

// LLMSpec is a conversation led by a language model.
type LLMSpec struct {
	Model       string       `json:"model,omitempty"`
	Prompt      string       `json:"prompt,omitempty"`
	Temperature *float64     `json:"temperature,omitempty"`
	Collect     []CollectAsk `json:"collect,omitempty"`
	Tools       []string     `json:"tools,omitempty"`
	MaxTurns    int          `json:"max_turns,omitempty"`
	Fallback    *Fallback    `json:"fallback,omitempty"`
}

// Fallback is said when a provider fails.
type Fallback struct {
	Say string `json:"say"`
}

// CollectAsk is a question whose answer is wanted, with the allowed answers.
type CollectAsk struct {
	Key      string   `json:"key"`
	Question string   `json:"question"`
	Answers  []string `json:"answers,omitempty"`
}

// BotSpec is a conversation led by somebody else's server.
type BotSpec struct {
	URL      string `json:"url"`
	Token    string `json:"token,omitempty"`
	Protocol string `json:"protocol,omitempty"` // relay or media
}

// GradeRule gives Level when the expression When holds; the first match wins.
type GradeRule struct {
	Level string `json:"level"`
	When  string `json:"when"`
}

// QualityItem is one check of a finished call.
type QualityItem struct {
	ID     string  `json:"id"`
	Kind   string  `json:"kind"` // rule or llm
	Check  string  `json:"check,omitempty"`
	Ask    string  `json:"ask,omitempty"`
	Answer string  `json:"answer,omitempty"`
	Score  float64 `json:"score,omitempty"`
	Weight float64 `json:"weight,omitempty"`
	Fatal  bool    `json:"fatal,omitempty"`
	// Pass is which answer to a yes-or-no item is the good one. nil: yes, but for an llm item that is fatal and for one with
	// a score below 0: those ask for what must not happen.
	Pass *bool `json:"pass,omitempty"`
}
