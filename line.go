package waihu

import "time"

// Line is a SIP trunk with its caps, owned by one account.
type Line struct {
	ID          LineID
	Account     AccountID
	Name        string
	Remark      string
	Node        string    // display name of the node that carries it
	Concurrency int       // live calls at most, over all tasks and runs
	CPS         int       // call starts a second at most; 0 means no limit
	Expires     time.Time // zero: never
	Price       Price
	Trunk       Trunk
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Price is what talking over a line costs its user. The zero Price is free.
type Price struct {
	Minute int64 // of a minute of talk, in 1/10000 yuan
	Step   int   // talk is charged in whole steps of so many seconds; 0 means 60: every minute that has begun
}

// Usable says whether the line may take calls at now, as far as its row knows.
func (l *Line) Usable(now time.Time) bool {
	return l.Concurrency > 0 && (l.Expires.IsZero() || now.Before(l.Expires))
}

// Caller is one caller number of a line. Its small integer id is what some vendors' contracts name.
type Caller struct {
	ID     int64
	Line   LineID
	Number PhoneNumber
	State  int // 0 usable, 1 retired
}

// Trunk is how a line is reached. Keys are those of the apply file.
// A URI "sim:..." is the simulated carrier of this process.
type Trunk struct {
	URI           string    `json:"uri" yaml:"uri"`
	Transport     string    `json:"transport,omitempty" yaml:"transport"` // udp (default) or tcp
	Domain        string    `json:"domain,omitempty" yaml:"domain"`       // host part of From, To and the AOR; default: the URI's
	Proxy         string    `json:"proxy,omitempty" yaml:"proxy"`         // outbound proxy as host[:port]
	Username      string    `json:"username,omitempty" yaml:"username"`
	Password      string    `json:"password,omitempty" yaml:"password"`           // secret; may be env:NAME or file:PATH in files
	AuthUsername  string    `json:"auth_username,omitempty" yaml:"auth_username"` // digest user when it differs from Username
	Register      *Register `json:"register,omitempty" yaml:"register"`
	FromUser      string    `json:"from_user,omitempty" yaml:"from_user"`         // user part of From when the caller number travels elsewhere
	CallerHeader  string    `json:"caller_header,omitempty" yaml:"caller_header"` // from (default), pai, ppi, rpid
	CalleeRewrite []Rewrite `json:"callee_rewrite,omitempty" yaml:"callee_rewrite"`
	CallerIDs     []string  `json:"caller_ids,omitempty" yaml:"caller_ids"`
	Codecs        []string  `json:"codecs,omitempty" yaml:"codecs"` // pcma, pcmu in order of preference; default both
	Ptime         int       `json:"ptime,omitempty" yaml:"ptime"`   // ms, default 20
	EarlyRTP      bool      `json:"early_rtp,omitempty" yaml:"early_rtp"`
	SessionTimer  int       `json:"session_timer,omitempty" yaml:"session_timer"` // seconds; 0 means 1800, -1 off
	PRACK         bool      `json:"prack,omitempty" yaml:"prack"`                 // send Supported: 100rel; a required one is always answered
	Options       *Probe    `json:"options,omitempty" yaml:"options"`
	PublicAddress string    `json:"public_address,omitempty" yaml:"public_address"`
	Bind          string    `json:"bind,omitempty" yaml:"bind"`
	AllowPrefixes []string  `json:"allow_prefixes,omitempty" yaml:"allow_prefixes"` // numbers must start with one of these when given
	RingTimeout   int       `json:"ring_timeout,omitempty" yaml:"ring_timeout"`     // seconds from INVITE to answer, default 45
	MaxCall       int       `json:"max_call,omitempty" yaml:"max_call"`             // seconds from answer, default 3600
}

// Register asks for a registration with the trunk.
type Register struct {
	Expires int `json:"expires" yaml:"expires"` // seconds, default 3600
}

// Probe asks for OPTIONS probing.
type Probe struct {
	Every int  `json:"every,omitempty" yaml:"every"` // seconds, default 30
	Off   bool `json:"off,omitempty" yaml:"off"`
}

// Rewrite replaces what Match (a Go regular expression) matches in the callee's number.
type Rewrite struct {
	Match   string `json:"match" yaml:"match"`
	Replace string `json:"replace" yaml:"replace"`
}

// Simulated says whether the trunk is the simulated carrier.
func (t *Trunk) Simulated() bool { return len(t.URI) >= 4 && t.URI[:4] == "sim:" }

// LineState is what the real-time half knows of one of its lines at this moment.
type LineState struct {
	Capacity  int       // live calls it can carry in all, at most; the row's Concurrency counts too
	NotBefore time.Time // no call starts earlier (503 with Retry-After); zero: now
	Down      string    // why it takes nothing now (registration lost, trunk unreachable); empty: it does
}

// Orphan is a call that a dead process left behind: ordered, perhaps on the wire, its outcome never booked.
type Orphan struct {
	Call      CallID
	Account   AccountID
	Line      LineID
	Phone     PhoneNumber
	Caller    PhoneNumber // chosen by the task; empty: it was the line's turn
	StartedAt time.Time
}
