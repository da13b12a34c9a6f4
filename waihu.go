// Package waihu holds the words of the house: accounts, tasks, runs, numbers,
// attempts, calls, outcomes, lines, callers, agents, events and errors, with
// the rules about them that need no I/O.
//
// Every other room speaks in these words. The package does no I/O, starts no
// goroutine and holds no state, so all of it is safe for concurrent use.
// Only nouns that two rooms share belong here.
package waihu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

type (
	// AccountID names a tenant or one of its sub-accounts; opaque text, usually a UUID.
	AccountID string
	// TaskID names a task; opaque text, usually a UUID.
	TaskID string
	// LineID names a line (a SIP trunk with caps); opaque text.
	LineID string
	// AgentID names an agent; opaque text, often a decimal number up to 18 digits.
	AgentID string
)

// CallID names one dialled attempt: shard<<44 | epoch<<24 | n.
// Outside the house it is always a decimal string, never a JSON number.
type CallID int64

const (
	callSeqBits   = 24
	callEpochBits = 20
	// MaxCallSeq is the last n of one epoch; the owner takes the next epoch after it.
	MaxCallSeq = 1<<callSeqBits - 1
	// MaxEpoch is the last epoch of a shard: a million takeovers.
	MaxEpoch = 1<<callEpochBits - 1
)

// NewCallID joins the parts of a call id.
func NewCallID(shard int, epoch int64, n int64) CallID {
	return CallID(int64(shard)<<(callSeqBits+callEpochBits) | epoch<<callSeqBits | n)
}

// Shard is the shard whose owner authorised the call.
func (id CallID) Shard() int { return int(id >> (callSeqBits + callEpochBits)) }

// Epoch is the epoch of the owner that authorised the call.
func (id CallID) Epoch() int64 { return int64(id>>callSeqBits) & MaxEpoch }

// String is the decimal form used on every wire.
func (id CallID) String() string { return strconv.FormatInt(int64(id), 10) }

// ParseCallID reads the decimal form; anything else is an EInvalid error.
func ParseCallID(s string) (CallID, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, Errorf(EInvalid, "%q is not a call id: a positive decimal number was expected", s)
	}
	return CallID(n), nil
}

// PhoneNumber is a number as dialled: digits with an optional leading +.
// It is personal data: its log form is masked.
type PhoneNumber string

// LogValue masks all but the first three and last two digits.
func (p PhoneNumber) LogValue() slog.Value { return slog.StringValue(p.Masked()) }

// Masked is the form that may be shown in logs and to strangers.
func (p PhoneNumber) Masked() string {
	if len(p) <= 6 {
		return "***"
	}
	return string(p[:3]) + "****" + string(p[len(p)-2:])
}

// Code says what kind of error it is; each door maps the few codes to its own statuses.
type Code string

const (
	EInvalid      Code = "invalid"      // the request is wrong; Field says where
	EUnauthorized Code = "unauthorized" // no or unknown credentials
	EForbidden    Code = "forbidden"    // known, but not allowed
	ENotFound     Code = "not_found"    // does not exist, or belongs to somebody else
	EConflict     Code = "conflict"     // not in the present state
	ELimit        Code = "limit"        // too many, too fast, too large
	EUnavailable  Code = "unavailable"  // try again later
	EInternal     Code = "internal"     // our fault
)

// Error is the one error shape that doors render. Message is safe to show to
// the caller; Cause is for the operator's log only.
type Error struct {
	Code    Code
	Message string
	Field   string // path of the offending field, such as task_extras.line[0].limit; may be empty
	Cause   error
}

func (e *Error) Error() string {
	s := e.Message
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error whose message is safe to show.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldErrorf is Errorf about one field of a request.
func FieldErrorf(field, format string, args ...any) *Error {
	return &Error{Code: EInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// ErrorCode is the code of the first Error in err's chain, EInternal for any other error, "" for nil.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return EInternal
}

// Sentinels that callers branch on. They arrive wrapped in an *Error (EConflict) or bare.
var (
	ErrTaskStarted = errors.New("the task is started: stop it first")
	ErrRunsOpen    = errors.New("a run of the task has not ended yet")
	ErrNoLine      = errors.New("the task has no usable line")
	ErrResidue     = errors.New("the line has too little free concurrency")
	ErrWindowOver  = errors.New("the task's window is over")
	ErrDiskFull    = errors.New("the disk is nearly full")
	ErrNameTaken   = errors.New("the name is taken")
	ErrAgentOnline = errors.New("the agent is online: take it offline first")
	ErrAgentUsed   = errors.New("tasks use the agent")
)

// Account is a tenant, or a sub-account when Parent is set.
type Account struct {
	ID     AccountID
	Serial int64     // small integer id, unique in the installation; the ledger gives it
	Parent AccountID // empty for a main account
	Name   string
	Email  string
	Phone  string
	Zone   string // IANA name; empty means DefaultZone
	// Doors keeps what a vendor's door needs to know of the account, by door name, as JSON.
	Doors     map[string][]byte
	CreatedAt time.Time
	UpdatedAt time.Time
}

// DefaultZone is the zone of an account or task that names none.
const DefaultZone = "Asia/Shanghai"

// Named is a resource of which only id, name and a few door-owned fields are known:
// background sounds, seat groups, quality checks, score schemes, voices, recognisers, knowledge bases.
type Named struct {
	Kind      NamedKind
	ID        int64
	Account   AccountID
	Name      string
	Data      []byte // JSON object of further fields, may be nil
	CreatedAt time.Time
	UpdatedAt time.Time
}

// NamedKind is the kind of a Named resource.
type NamedKind string

const (
	Background   NamedKind = "background"
	BridgeGroup  NamedKind = "bridge_group"
	QualityCheck NamedKind = "quality_check"
	ScoreScheme  NamedKind = "score_scheme"
	Speaker      NamedKind = "speaker"   // a voice: {"tts","voice"} of VoiceSpec
	Listener     NamedKind = "listener"  // a recogniser: {"asr"} of ListenSpec
	Knowledge    NamedKind = "knowledge" // a knowledge base: {"items":[KnowledgeSpec]}
)

// Event is something that became true, numbered without gaps per account and per task.
type Event struct {
	Account AccountID
	N       int64
	Task    TaskID
	TaskN   int64
	At      time.Time
	Kind    EventKind
	Call    CallID // 0 when not about a call
	Body    []byte // JSON object; shapes per kind are documented at the kinds
}

// EventKind is the kind of an Event.
type EventKind string

const (
	EventTaskStarted  EventKind = "task.started"  // {"run":n}
	EventTaskStopped  EventKind = "task.stopped"  // {"run":n,"reason":RunReason}
	EventTaskFinished EventKind = "task.finished" // {"run":n}: its client said that it is over for good
	EventRunEnded     EventKind = "run.ended"     // {"run":n,"reason":RunReason}
	EventCallEnded    EventKind = "call.ended"    // {"seq":n,"attempt":n,"disposition":"...","review":true}; review: call.reviewed follows
	EventCallReviewed EventKind = "call.reviewed" // {"seq":n,"attempt":n,"disposition":"...","grade":"...","again":true}: graded after the call; again: once more, by waihu regrade
	EventRunReviewed  EventKind = "run.reviewed"  // {"run":n,"reason":RunReason}: summary and overview are written
	EventNumberDone   EventKind = "number.done"   // {"seq":n,"disposition":"..."}
	EventLineDown     EventKind = "line.down"     // {"line":"...","reason":"..."}
	EventLineUp       EventKind = "line.up"       // {"line":"..."}
	EventNumbersAdded EventKind = "numbers.added" // {"added":n,"by":"door","ranges":[[first,last]]}: by seq; by is left out when no door names itself
	// EventNumbersRemoved is {"removed":n,"by":"door","ranges":[[first,last]]}.
	EventNumbersRemoved EventKind = "numbers.removed"
	EventBatchDone      EventKind = "batch.done" // {"batch":"id","kind":"..."}: work in the background is over, done or given up
)

// Live events are not stored: they only tell viewers what is happening now.
const (
	EventCallDialing  EventKind = "call.dialing"
	EventCallRinging  EventKind = "call.ringing"
	EventCallAnswered EventKind = "call.answered"
)

// Job is a piece of work without order (grading, summaries, copies, imports). Idempotent by Key.
type Job struct {
	ID      int64
	Account AccountID
	Kind    string
	Key     string
	Body    []byte
	RunAt   time.Time
	Tries   int // takings, this one included
	Failed  int // those of them that failed or of which nothing was heard again, this one included until it has ended well
}

// Problem is a reason why a task cannot start now, safe to show.
type Problem struct {
	Field   string
	Message string
}

// The function types by which cmd joins rooms that may not import each other.
type (
	// Preflight says what stands against starting the task: a text without a voice, an unusable line.
	Preflight func(context.Context, Task) []Problem
	// Publish tells viewers; it never blocks.
	Publish func(Event)
	// Handle works one job; an error means try again later.
	Handle func(context.Context, Job) error
)
