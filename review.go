package waihu

import (
	"fmt"
	"time"
)

// Kinds of jobs that follow a call and a run; store writes them, wrapup works them.
const (
	JobReview  = "call.review" // key: the call id; body ReviewOrder
	JobSummary = "run.summary" // key: task id/run; body SummaryOrder
)

// ReviewOrder is the body of a JobReview.
type ReviewOrder struct {
	Version int64 `json:"version,omitempty"` // agent_versions.id with which the call is reviewed; 0: the newest
	Again   bool  `json:"again,omitempty"`   // a later check of a call that was reviewed before
}

// SummaryOrder is the body of a JobSummary.
type SummaryOrder struct {
	Task  TaskID `json:"task"`
	Run   int    `json:"run"`
	Again bool   `json:"again,omitempty"` // no event: the run was summed up before
}

// Review is what was found in a call after its end: the latest check's results. It is stored as JSON.
type Review struct {
	Call CallID    `json:"-"`
	Task TaskID    `json:"-"`
	At   time.Time `json:"-"`

	Grade      string          `json:"grade,omitempty"`      // the call's level after the check
	GradeFrom  string          `json:"grade_from,omitempty"` // what gave it: "rules", or the source of an item such as "quality_check 1"
	GradeWhy   string          `json:"grade_why,omitempty"`
	Score      *float64        `json:"score,omitempty"` // 0 to 100; nil: nothing that gives points was decided
	Fatal      bool            `json:"fatal,omitempty"` // a fatal item failed: the score is 0
	Items      []ReviewItem    `json:"items,omitempty"`
	Collected  []CollectAnswer `json:"collected,omitempty"`
	Summary    string          `json:"summary,omitempty"`
	Suggestion string          `json:"suggestion,omitempty"`
	Agent      AgentID         `json:"agent,omitempty"`
	Version    int             `json:"version,omitempty"` // of that agent
	Hash       string          `json:"hash,omitempty"`    // of everything that went in: transcript, items, model
	Model      string          `json:"model,omitempty"`   // "id (name)" of the language model that sums up; empty: none
	// SummaryHash is of what went into the summary.
	SummaryHash string   `json:"summary_hash,omitempty"`
	Notes       []string `json:"notes,omitempty"` // what did not run and why
}

// Undecided is how many items and questions have no answer.
func (r *Review) Undecided() (n int) {
	for i := range r.Items {
		if r.Items[i].Result == ItemUndecided {
			n++
		}
	}
	for i := range r.Collected {
		if r.Collected[i].Undecided {
			n++
		}
	}
	return n
}

// Hit says that at least one wanted answer was found.
func (r *Review) Hit() bool {
	for i := range r.Collected {
		if r.Collected[i].Hit {
			return true
		}
	}
	return false
}

// ItemResult is what became of a quality item.
type ItemResult string

const (
	ItemPass      ItemResult = "pass"
	ItemFail      ItemResult = "fail"
	ItemNoted     ItemResult = "noted"     // an answer that is no verdict: a text, a choice
	ItemUndecided ItemResult = "undecided" // no answer; Reason says why
)

// ReviewItem is the result of one quality item.
type ReviewItem struct {
	ID         string     `json:"id"`
	Source     string     `json:"source"` // "agent", "quality_check 1", "score_scheme 123"
	Kind       string     `json:"kind"`   // rule, llm, level
	Ask        string     `json:"ask,omitempty"`
	Result     ItemResult `json:"result"`
	Answer     string     `json:"answer,omitempty"` // as given: "true", "80", a text
	Reason     string     `json:"reason,omitempty"`
	Confidence *float64   `json:"confidence,omitempty"` // 0 to 1
	Points     float64    `json:"points"`               // earned; below 0 for a deduction
	Of         float64    `json:"of,omitempty"`         // that could be earned
	Fatal      bool       `json:"fatal,omitempty"`
	Version    string     `json:"version"`         // of the agent, or a digest of the named resource
	Hash       string     `json:"hash"`            // of transcript, item and model
	Model      string     `json:"model,omitempty"` // that answered
}

// CollectAnswer is what a call gave to one of the agent's questions (llm.collect).
type CollectAnswer struct {
	Key       string `json:"key"`
	Question  string `json:"question"`
	Hit       bool   `json:"hit"`               // an answer was found
	Option    bool   `json:"option,omitempty"`  // the question has preset answers
	Result    string `json:"result,omitempty"`  // the answer; one of the preset ones when there are any
	Message   string `json:"message,omitempty"` // why there is none, or the words it rests on
	From      string `json:"from,omitempty"`    // "agent": collected in the call; "model": read from the transcript
	Undecided bool   `json:"undecided,omitempty"`
	Hash      string `json:"hash,omitempty"`
}

// TaskSummary is what a task has come to, written when a run has ended and its calls are reviewed. The counts are of all the
// task's runs.
type TaskSummary struct {
	Task       TaskID          `json:"-"`
	Run        int             `json:"-"`
	At         time.Time       `json:"-"`
	Summary    string          `json:"summary"`
	Suggestion string          `json:"suggestion"`
	Overview   []QuestionCount `json:"task_overview"`
	Model      string          `json:"model,omitempty"` // empty: the texts are made of the counts alone, and say so
	Note       string          `json:"note,omitempty"`  // why no model wrote them
}

// QuestionCount is how the callees answered one question.
type QuestionCount struct {
	Key      string        `json:"key"`
	Question string        `json:"question"`
	Total    int           `json:"total"`  // calls that answered
	Option   bool          `json:"option"` // a choice question: one row per preset answer
	Results  []AnswerCount `json:"results"`
}

// AnswerCount is one answer with its share of the question's Total.
type AnswerCount struct {
	Result  string `json:"result"`
	Total   int    `json:"total"`
	Percent string `json:"percent"` // such as "66.7%"
}

// Percent is n of total as text with one decimal, "0%" of nothing.
func Percent(n, total int) string {
	if total <= 0 || n <= 0 {
		return "0%"
	}
	if n >= total {
		return "100%"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(total))
}

// Checks is the data of a quality check or score scheme (Named.Data): what is looked for in a finished call. One without
// Prompt and Items runs nothing.
type Checks struct {
	Model  string            `json:"model,omitempty"`  // id of a language model; empty: the first that is configured
	Prompt string            `json:"prompt,omitempty"` // of a quality check: by what the level is judged
	Levels map[string]string `json:"levels,omitempty"` // level -> what it means; default DefaultLevels
	Items  []QualityItem     `json:"items,omitempty"`
	// Grade gives the level where no model does: the first rule that holds, over the facts of rule items and their results.
	Grade []GradeRule `json:"grade,omitempty"`
}

// DefaultLevels are the levels of intention as 云蝠's statistics name them.
func DefaultLevels() map[string]string {
	return map[string]string{"A": "有明确意向", "B": "可能有意向", "C": "明确拒绝", "D": "用户在忙", "E": "其他"}
}

// Model is a language model of the OpenAI-compatible kind that the operator has configured.
type Model struct {
	ID      string        `json:"id"`
	URL     string        `json:"url"`               // the base, such as https://api.example.com/v1
	Key     string        `json:"-"`                 // sealed in the ledger, never printed
	Model   string        `json:"model"`             // the name that the server knows
	Timeout time.Duration `json:"timeout,omitempty"` // of one request; 0: the client's
	Retries *int          `json:"retries,omitempty"` // after 429 and 5xx; nil: the client's
	// Format is how JSON answers are asked for: json_schema (default), json_object, none. A server that refuses one gets the next.
	Default     bool              `json:"default,omitempty"` // asked where no id is named; else the first by id is
	Format      string            `json:"format,omitempty"`
	Temperature *float64          `json:"temperature,omitempty"`
	MaxTokens   int               `json:"max_tokens,omitempty"`
	Parallel    int               `json:"parallel,omitempty"`   // questions at once from this process; 0: 16
	Extra       map[string]any    `json:"extra_body,omitempty"` // merged into every request last, such as enable_thinking: false
	Headers     map[string]string `json:"headers,omitempty"`    // no secrets: they are stored as they are
}
