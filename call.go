package waihu

import (
	"strings"
	"time"
)

// NumberState is where a number stands.
type NumberState int

const (
	NumberFresh    NumberState = iota // never dialled since its import or reset
	NumberInFlight                    // a dial intent is committed and not booked
	NumberDue                         // to be dialled again at DueAt
	NumberDone
	NumberRemoved
)

// Number is one row of a task.
type Number struct {
	Task      TaskID
	Seq       int64
	Key       string      // as imported; unique in the task
	Phone     PhoneNumber // what is dialled
	Data      NumberData
	State     NumberState
	DueAt     time.Time
	Attempts  int // dials that left or may have left; only grows
	Redials   int // what redial limits count; zeroed by a reset
	Outcome   Disposition
	Grade     string
	LastCall  CallID
	CreatedAt time.Time
	UpdatedAt time.Time
}

// NumberData is what an importer gave beside the phone number.
type NumberData struct {
	Vars  map[string]string `json:"vars,omitempty"`  // script variables
	Route string            `json:"route,omitempty"` // matched by RouteByVariable
	Extra string            `json:"extra,omitempty"` // opaque, echoed
	Sort  int               `json:"sort,omitempty"`
	// Group are the phone numbers of one person, when there are several, in the order in which they are tried: one at a
	// time, the next when the one before was not reached, until one answers. Number.Phone is the one whose turn it is.
	Group      []PhoneNumber `json:"group,omitempty"`
	GroupStops bool          `json:"group_stops,omitempty"` // a suppressed number ends its group instead of being passed over
	Until      int64         `json:"until,omitempty"`       // unix ms from which on it is not dialled any more; 0: no bound
	Callback   string        `json:"callback,omitempty"`    // where this number is told of, for a door that lets each have an address of its own
}

// Onward is the number of the group whose turn comes after phone; "" after the last and without a group.
func (d *NumberData) Onward(phone PhoneNumber) PhoneNumber {
	for i, p := range d.Group[:max(0, len(d.Group)-1)] {
		if p == phone {
			return d.Group[i+1]
		}
	}
	return ""
}

// Attempt is an order to dial: everything the real-time half needs to know of it.
type Attempt struct {
	Call        CallID
	Account     AccountID
	Task        TaskID
	Run         int
	Seq         int64
	N           int // the number's attempt counter at this dial, from 1
	Line        LineID
	Phone       PhoneNumber
	Data        NumberData
	Agent       *AgentSpec
	Caller      PhoneNumber   // chosen by the task; empty: the line's turn
	RingTimeout time.Duration // 0: the trunk's
	StartedAt   time.Time     // when the intent was committed
}

// Disposition is how an attempt or number ended. 1 to 12 follow the table that the
// Chinese market uses for da_status; the rest are ours.
type Disposition int

const (
	NoOutcome    Disposition = 0
	Answered     Disposition = 1
	Intercepted  Disposition = 2 // refused by an operator on the way
	Rejected     Disposition = 3
	NoAnswer     Disposition = 4
	Vacant       Disposition = 5 // the number does not exist
	PoweredOff   Disposition = 6
	Suspended    Disposition = 7
	Busy         Disposition = 8
	Barred       Disposition = 9 // incoming calls barred
	Arrears      Disposition = 10
	Blacklisted  Disposition = 11 // suppressed by us: no INVITE was sent
	Blocked      Disposition = 12 // the callee blocks us
	Unreachable  Disposition = 13
	CarrierFault Disposition = 14 // 5xx and the like; does not spend a redial
	OurFault     Disposition = 15 // password, codec, ports; never the callee's
	Unknown      Disposition = 16 // we died during the call
	NeverLeft    Disposition = 17 // provably no INVITE was sent; the attempt is undone
	Failed       Disposition = 18 // a number given up after three faults
	Invalid      Disposition = 19 // refused before dialling: no such variable, prefix not allowed
	Expired      Disposition = 20 // its own deadline (NumberData.Until) passed before it was dialled
)

var dispositionNames = [...]string{"none", "answered", "intercepted", "rejected", "no_answer", "vacant", "powered_off", "suspended", "busy",
	"barred", "arrears", "blacklisted", "blocked", "unreachable", "carrier_fault", "our_fault", "unknown", "never_left", "failed", "invalid", "expired"}

// String is the word used in events, logs and our own API.
func (d Disposition) String() string {
	if d < 0 || int(d) >= len(dispositionNames) {
		return "none"
	}
	return dispositionNames[d]
}

// Fault says that the attempt failed on the way, not at the callee: it spends no redial.
func (d Disposition) Fault() bool { return d == CarrierFault || d == OurFault }

// Party is who ended a call.
type Party string

const (
	ByCallee Party = "callee"
	ByAgent  Party = "agent"
	BySystem Party = "system" // ring timeout, media timeout, max call, shutdown
	ByNobody Party = ""
)

// Outcome is what a finished attempt returns: evidence first, the disposition derived from it.
type Outcome struct {
	Call        CallID
	Disposition Disposition
	HangupBy    Party
	Caller      PhoneNumber
	InviteAt    time.Time // zero: no INVITE left
	RingAt      time.Time // first 18x
	AnswerAt    time.Time
	EndAt       time.Time
	Evidence    []Evidence
	Transcript  []Turn
	Tags        []string
	Grade       string            // level of the agent's grade rules: "A".."F" or ""
	Facts       []byte            // JSON of what grade rules may ask about, kept so that newer rules can judge the call again
	Collected   map[string]string // by the agent
	OptOut      bool              // the callee asked never to be called again
	Recording   string            // path relative to the recordings folder; "" when none
	Recognizer  string            // which recognition made the transcript; "" when none
	Simulated   bool
	Media       MediaStats
	RetryAfter  time.Duration // a carrier asked for a pause (503)
	Stopped     bool          // our own stop cancelled it while it rang: OurFault, but nothing is wrong with the line
}

// Talk is the time from answer to end, 0 when not answered.
func (o *Outcome) Talk() time.Duration {
	if o.AnswerAt.IsZero() {
		return 0
	}
	return o.EndAt.Sub(o.AnswerAt)
}

// Evidence is one piece from which a disposition is derived. It is stored so that history can be judged again.
type Evidence struct {
	Kind       string  `json:"kind"`  // sip, reason, q850, ring_ms, early_media, tone, announcement, cancel, media, error, end
	Value      string  `json:"value"` // such as "486 Busy Here"
	AtMS       int64   `json:"at_ms"` // since the INVITE
	Confidence float64 `json:"confidence,omitempty"`
}

// Turn is one utterance of a transcript.
type Turn struct {
	Who     string `json:"who"` // agent or callee
	Text    string `json:"text"`
	Node    string `json:"node,omitempty"`   // flow node that spoke or was asked
	Intent  string `json:"intent,omitempty"` // what the callee's turn was understood as
	Why     string `json:"why,omitempty"`    // which rule decided: dtmf, global, branch, else, speech
	FromMS  int64  `json:"from_ms"`          // since the answer
	ToMS    int64  `json:"to_ms"`
	Digit   string `json:"digit,omitempty"`
	Barged  bool   `json:"barged,omitempty"` // the agent's sentence was cut short
	Partial bool   `json:"partial,omitempty"`
}

// Silence says that the turn stands for nothing the callee did: the agent waited in vain.
func (t *Turn) Silence() bool {
	return t.Who == "callee" && t.Text == "" && t.Digit == "" && strings.HasPrefix(t.Why, "silence")
}

// MediaStats are the figures of one call's RTP, as of hang-up.
type MediaStats struct {
	Codec     string  `json:"codec,omitempty"`
	Sent      uint64  `json:"sent"`
	Received  uint64  `json:"received"`
	Lost      uint64  `json:"lost"`
	Late      uint64  `json:"late"`
	Foreign   uint64  `json:"foreign"`
	JitterMS  float64 `json:"jitter_ms"`
	MaxGapMS  float64 `json:"max_gap_ms"`
	RTTMS     float64 `json:"rtt_ms,omitempty"`
	FirstRTP  int64   `json:"first_rtp_ms,omitempty"` // from answer to the first packet received
	DTMF      string  `json:"dtmf,omitempty"`
	Underruns uint64  `json:"underruns,omitempty"`
}

// Call is a ledger row with its details, for reading.
type Call struct {
	ID         CallID
	Account    AccountID
	Task       TaskID
	Run        int
	Seq        int64
	Attempt    int
	Line       LineID
	Phone      PhoneNumber
	Data       NumberData
	Agent      AgentID
	Version    int64 // row id of the agent's version that talked; 0: not known
	StartedAt  time.Time
	AnsweredAt time.Time
	EndedAt    time.Time // zero while live
	Outcome    Outcome
}
