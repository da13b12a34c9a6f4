package resources

import "waihu"

// The shape of the file. Keys are the json names; agents are waihu.AgentSpec and trunks waihu.Trunk as they are.

type fileDoc struct {
	Accounts      []accountDoc   `json:"accounts"`
	Lines         []lineDoc      `json:"lines"`
	CallingHours  []hoursDoc     `json:"calling_hours"`
	Backgrounds   []namedDoc     `json:"backgrounds"`
	RedialRules   []ruleDoc      `json:"redial_rules"`
	BridgeGroups  []bridgeDoc    `json:"bridge_groups"`
	QualityChecks []qualityDoc   `json:"quality_checks"`
	ScoreSchemes  []schemeDoc    `json:"score_schemes"`
	Speakers      []speakerDoc   `json:"speakers"`
	Listeners     []listenerDoc  `json:"listeners"`
	Knowledge     []knowledgeDoc `json:"knowledge"`
	Agents        []agentDoc     `json:"agents"`
	Tasks         []taskDoc      `json:"tasks"`
	Webhooks      []webhookDoc   `json:"webhooks"`
	Models        []modelDoc     `json:"models"`
}

type accountDoc struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Email       string       `json:"email"`
	Phone       string       `json:"phone"`
	Zone        string       `json:"zone"`
	Tokens      []tokenDoc   `json:"tokens"`
	SubAccounts []accountDoc `json:"subaccounts"`
	Webhooks    []webhookDoc `json:"webhooks"`
	Keyue       *keyueDoc    `json:"keyue"`
	AIOB        *aiobDoc     `json:"aiob"`
	Yunfu       *yunfuDoc    `json:"yunfu"`
	Retention   *retention   `json:"retention"`
}

// retention is in days; 0 for ever.
type retention struct {
	Calls       int `json:"calls"`
	Transcripts int `json:"transcripts"`
	Recordings  int `json:"recordings"`
}

type webhookDoc struct {
	ID            int64    `json:"id"`
	Account       string   `json:"account"`
	Door          string   `json:"door"` // native, yunfu, voicefox, keyue
	URL           string   `json:"url"`
	Task          string   `json:"task"`
	Kinds         []string `json:"kinds"`
	Authorization string   `json:"authorization"`
	Secret        string   `json:"secret"`
	Remark        string   `json:"remark"`
}

type tokenDoc struct {
	Name    string `json:"name"`
	Token   string `json:"token"`
	Expires string `json:"expires"`
}

type keyueDoc struct {
	Token    string `json:"token"`
	UID      string `json:"uid"`
	Username string `json:"username"`
	TenantID string `json:"tenant_id"`
}

// aiobDoc is the access key of an AIOB client.
type aiobDoc struct {
	AccessKey string   `json:"access_key"`
	SecretKey string   `json:"secret_key"`
	Holidays  []string `json:"holidays"` // days on which tasks that leave holidays out do not call, beside the statutory ones
}

type yunfuDoc struct {
	EncryptionKey string `json:"encryption_key"`
}

type priceDoc struct {
	Minute string `json:"minute"`
	Step   int    `json:"step"`
}

type lineDoc struct {
	ID          string       `json:"id"`
	Account     string       `json:"account"`
	Name        string       `json:"name"`
	Remark      string       `json:"remark"`
	Node        string       `json:"node"`
	Concurrency *int         `json:"concurrency"`
	CPS         int          `json:"cps"`
	Expires     string       `json:"expires"`
	Price       *priceDoc    `json:"price"`
	Trunk       *waihu.Trunk `json:"trunk"`
}

type hoursDoc struct {
	ID          int64               `json:"id"`
	Account     string              `json:"account"`
	Name        string              `json:"name"`
	Remark      string              `json:"remark"`
	Default     bool                `json:"default"`
	SkipHoliday bool                `json:"skip_holiday"`
	Weekly      map[string][]string `json:"weekly"`
}

type ruleDoc struct {
	ID      int64       `json:"id"`
	Account string      `json:"account"`
	Name    string      `json:"name"`
	Remark  string      `json:"remark"`
	Default bool        `json:"default"`
	Details []detailDoc `json:"details"`
}

type detailDoc struct {
	NumberStatus int `json:"number_status"`
	AfterMinutes int `json:"after_minutes"`
}

type namedDoc struct {
	ID      int64  `json:"id"`
	Account string `json:"account"`
	Name    string `json:"name"`
}

type speakerDoc struct {
	ID      int64  `json:"id"`
	Account string `json:"account"`
	Name    string `json:"name"`
	TTS     string `json:"tts"`
	Voice   string `json:"voice"`
}

type listenerDoc struct {
	ID      int64  `json:"id"`
	Account string `json:"account"`
	Name    string `json:"name"`
	ASR     string `json:"asr"`
}

type knowledgeDoc struct {
	ID      int64                 `json:"id"`
	Account string                `json:"account"`
	Name    string                `json:"name"`
	Items   []waihu.KnowledgeSpec `json:"items"`
}

type bridgeDoc struct {
	ID       int64    `json:"id"`
	Account  string   `json:"account"`
	Name     string   `json:"name"`
	Strategy string   `json:"strategy"`
	Seats    []string `json:"seats"`
}

type qualityDoc struct {
	ID      int64  `json:"id"`
	Account string `json:"account"`
	Name    string `json:"name"`
	Default bool   `json:"default"`
	LLMType int    `json:"llm_type"`
	waihu.Checks
}

type schemeDoc struct {
	namedDoc
	waihu.Checks
}

type modelDoc struct {
	ID          string            `json:"id"`
	URL         string            `json:"url"`
	Key         string            `json:"key"`
	Model       string            `json:"model"`
	Default     bool              `json:"default"`
	Timeout     int               `json:"timeout"` // seconds
	Retries     *int              `json:"retries"`
	Format      string            `json:"format"` // json_schema, json_object, none
	Temperature *float64          `json:"temperature"`
	MaxTokens   int               `json:"max_tokens"`
	Parallel    int               `json:"parallel"`
	ExtraBody   map[string]any    `json:"extra_body"`
	Headers     map[string]string `json:"headers"`
}

type agentDoc struct {
	Account string `json:"account"`
	waihu.AgentSpec
}

type taskDoc struct {
	ID             string              `json:"id"`
	Serial         int64               `json:"serial"`
	Account        string              `json:"account"`
	Name           string              `json:"name"`
	Remark         string              `json:"remark"`
	Agent          string              `json:"agent"`
	CallingHours   int64               `json:"calling_hours"`
	Weekly         map[string][]string `json:"weekly"` // instead of calling_hours
	Concurrency    int                 `json:"concurrency"`
	Lines          []taskLineDoc       `json:"lines"`
	Start          string              `json:"start"`
	Stop           string              `json:"stop"`
	Holidays       []periodDoc         `json:"holidays"`
	Zone           string              `json:"zone"`
	Order          string              `json:"order"`    // random, in_order, reverse
	Interval       int                 `json:"interval"` // seconds between call starts
	Redial         *redialDoc          `json:"redial"`
	EndAction      string              `json:"end_action"`      // none, pause
	UnknownOutcome string              `json:"unknown_outcome"` // done, redial
	RingTimeout    int                 `json:"ring_timeout"`    // seconds
	QualityCheck   int64               `json:"quality_check"`
	ScoreScheme    int64               `json:"score_scheme"`
}

type taskLineDoc struct {
	ID    string `json:"id"`
	Limit int    `json:"limit"`
}

type periodDoc struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type redialDoc struct {
	Max          int   `json:"max"`
	AfterMinutes int   `json:"after_minutes"`
	On           []int `json:"on"` // number statuses, as in redial rules
	NewFirst     bool  `json:"new_first"`
}
