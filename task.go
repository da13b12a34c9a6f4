package waihu

import "time"

// Task is a campaign: numbers, windows, lines with caps, an agent, redial rules.
type Task struct {
	ID      TaskID
	Serial  int64 // small integer id, unique in the installation
	Account AccountID
	Name    string
	Remark  string
	Agent   AgentID // used when Routing finds nothing better
	// AgentVersion is the version of Agent that talks, by its row's id, whatever is saved later. 0: the present one.
	AgentVersion int64
	Routing      Routing
	Concurrency  int
	Lines        []TaskLine // empty: all usable lines of the account, unreserved
	// Callers are the caller numbers to call from, by their ids. Empty: whatever the lines have. Without Lines they
	// also choose the lines: those they belong to, unreserved.
	Callers     []int64
	Start       time.Time // zero: no bound
	Stop        time.Time // zero: no bound
	HoursID     int64     // the calling hours it was copied from, for display
	Weekly      Weekly    // when calls may start; copied at create and update
	Holidays    []Period  // nothing starts inside
	Zone        string    // IANA name; empty means DefaultZone
	Pop         PopOrder
	Interval    time.Duration // between two call starts of the task
	Redial      Redial
	EndAction   EndAction
	Unknown     UnknownPolicy
	RingTimeout time.Duration // 0: the trunk's
	// QualityCheck and ScoreScheme name what is looked for in the task's calls after they ended: the decimal id of a
	// Named of that kind. Doors accept any word; one that names nothing runs nothing.
	QualityCheck string
	ScoreScheme  string
	// Doors keeps what a vendor's door must return as it was sent, by door name, as JSON.
	Doors     map[string][]byte
	Started   bool
	CreatedAt time.Time
	UpdatedAt time.Time
}

// TaskLine is a line of a task with its share of the task's concurrency.
type TaskLine struct {
	Line  LineID
	Limit int
}

// Location is the task's zone, DefaultZone when the name is unknown or empty.
func (t *Task) Location() *time.Location { return Location(t.Zone) }

// Location loads an IANA zone, DefaultZone for an empty or unknown name.
func Location(zone string) *time.Location {
	if zone == "" {
		zone = DefaultZone
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		loc, _ = time.LoadLocation(DefaultZone)
	}
	return loc
}

// Span is a part of a day in minutes from midnight, [From, To), To at most 1440.
type Span struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Weekly is the open part of each day of the week; index 0 is Sunday.
// A week without any span is never open (windows fail closed).
type Weekly [7][]Span

// Period is a stretch of absolute time, [From, To).
type Period struct {
	From time.Time
	To   time.Time
}

// CallingHours is a named Weekly that tasks copy.
type CallingHours struct {
	ID          int64
	Account     AccountID
	Name        string
	Remark      string
	Default     bool
	SkipHoliday bool
	Weekly      Weekly
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// PopOrder is the order in which fresh numbers are dialled.
type PopOrder int

const (
	PopRandom PopOrder = iota
	PopInOrder
	PopReverse
)

// EndAction says what happens when a task has no number left to dial.
type EndAction int

const (
	EndNothing EndAction = iota // the run stays open for numbers to come
	EndPause                    // the run closes and its reservations are released
)

// UnknownPolicy says what becomes of a number whose call ended with our own death.
type UnknownPolicy int

const (
	UnknownDone   UnknownPolicy = iota // the number is finished
	UnknownRedial                      // it comes back as a redial
)

// RoutingKind says how a call's agent is chosen.
type RoutingKind int

const (
	RouteSingle     RoutingKind = iota // Task.Agent
	RouteByTime                        // first TimeRoute that holds now
	RouteByVariable                    // first VariableRoute by Sort that matches Number.Route
	RouteSeveral                       // several, in turn or at random
	RouteByAttempt                     // the n-th of Several talks in a number's n-th call, the last in all after it
)

// Routing chooses the agent of a call; without a match Task.Agent talks.
type Routing struct {
	Kind     RoutingKind
	ByTime   []TimeRoute
	Default  AgentID // RouteByTime: outside every period; empty means Task.Agent
	ByVar    []VariableRoute
	Several  []SeveralRoute
	Randomly bool // RouteSeveral: at random instead of in turn
}

// TimeRoute gives the agent inside a span of the day, in the task's zone.
type TimeRoute struct {
	Span  Span
	Agent AgentID
}

// VariableRoute matches Number.Route: Equal compares with any of Values, else contains any.
type VariableRoute struct {
	Equal  bool
	Values []string
	Agent  AgentID
	Sort   int
}

// SeveralRoute is one agent of RouteSeveral.
type SeveralRoute struct {
	Agent AgentID
	Sort  int
}

// Redial says whether and when a number is dialled again.
// At most one of the three forms is set; all empty means never.
type Redial struct {
	// Fixed interval: at most Max further dials, Interval after the end of the call,
	// when the outcome is one of On.
	Max      int
	Interval time.Duration
	On       []Disposition
	// ByRule: each outcome has its own wait; at most Max further dials.
	ByRule []RedialDetail
	// AtClock: the n-th entry governs the n-th redial: at the next At (minutes from midnight,
	// task zone) that is at least Wait after the end of the call, for outcomes in its rule.
	AtClock []ClockRedial
	// NewFirst dials fresh numbers before due redials.
	NewFirst bool
}

// RedialDetail is one row of a redial rule.
type RedialDetail struct {
	On    Disposition
	After time.Duration
}

// ClockRedial is one entry of Redial.AtClock.
type ClockRedial struct {
	At   int // minutes from midnight; negative: at any time, Wait alone counts
	Wait time.Duration
	On   []Disposition
}

// RedialRule is a named list of RedialDetail that tasks copy.
type RedialRule struct {
	ID        int64
	Account   AccountID
	Name      string
	Remark    string
	Default   bool
	Details   []RedialDetail
	CreatedAt time.Time
	UpdatedAt time.Time
}

// RunState is where a run stands.
type RunState int

const (
	RunOpen   RunState = iota // dialling or waiting
	RunClosed                 // dials nothing more, calls may be live
	RunEnded                  // closed and its last call is booked
)

// RunReason says why a run closed.
type RunReason string

const (
	RunStopped  RunReason = "operator" // stop was asked for
	RunTimeout  RunReason = "timeout"  // the window ended with the task
	RunDone     RunReason = "done"     // nothing left to dial and the end action says pause
	RunAbnormal RunReason = "abnormal" // no line left
)

// Run is one start of a task.
type Run struct {
	Task      TaskID
	N         int
	State     RunState
	Reason    RunReason
	Detail    string // human words for RunAbnormal
	StartedAt time.Time
	ClosedAt  time.Time
	EndedAt   time.Time
}
