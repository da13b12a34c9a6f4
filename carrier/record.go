package carrier

import (
	"fmt"
	"slices"
	"time"

	"waihu"
)

// Finding is a rule that a caller broke.
type Finding struct {
	Rule string // short name, such as ack-missing
	Call string // Call-ID; empty when the message had none
	What string // what was seen and what was expected; holds no phone number
	RFC  string // where the rule stands
	At   time.Time
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (RFC %s; call %s)", f.Rule, f.What, f.RFC, f.Call)
}

// Record is what the carrier knows of one call.
type Record struct {
	Call      string // Call-ID
	Called    waihu.PhoneNumber
	Caller    string // user part of From
	Host      string // host part of From
	Suffix    string // the script that was played
	Script    string // its name
	InviteAt  time.Time
	RingAt    time.Time // first 180
	AnswerAt  time.Time
	EndAt     time.Time     // zero while the call is live
	EndedBy   waihu.Party   // ByCallee: the carrier's side; ByAgent: the caller
	Status    int           // last final status of the INVITE; 0 when none was sent
	Speech    time.Duration // how long the caller's voice was heard
	Turns     int           // how often it began to speak
	Digits    string        // heard from the caller by any path
	Received  int           // RTP packets from the caller
	Lost      int           // missing by sequence numbers
	MaxGap    time.Duration // longest pause between two of its packets
	Sent      int           // RTP packets to the caller
	Skipped   time.Duration // of the callee's sound that was never sent, because this process stood still when it was due
	Crossed   bool          // answered although the caller had canceled
	Unmatched bool          // the suffix has no script of its own and played as 01
}

// Load is how many calls are up.
type Load struct {
	Live, Peak int
}

// Bounds of what is kept; the oldest goes first.
const (
	keepRecords  = 200_000
	keepFindings = 10_000
	keepBranches = 100_000 // per generation of two
	keepNumbers  = 1_000_000
)

// Findings are the rules that callers broke so far, oldest first.
func (c *Carrier) Findings() []Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.findings)
}

// Calls are the records of the calls so far, in the order of their INVITEs.
func (c *Carrier) Calls() []Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Record, len(c.records))
	for i, r := range c.records {
		out[i] = *r
	}
	return out
}

// Live is how many calls are up now, by the carrier's count.
func (c *Carrier) Live() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load.Live
}

// Peak is how many calls were up at once, at most.
func (c *Carrier) Peak() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load.Peak
}

// Callers are the loads by caller number (user part of From).
func (c *Carrier) Callers() map[string]Load { return c.loads(c.callers) }

// Hosts are the loads by host part of From.
func (c *Carrier) Hosts() map[string]Load { return c.loads(c.hosts) }

func (c *Carrier) loads(of map[string]*Load) map[string]Load {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]Load, len(of))
	for k, v := range of {
		out[k] = *v
	}
	return out
}

// Attempts says how often each number was called; a repeated INVITE after a challenge is no new call.
func (c *Carrier) Attempts() map[waihu.PhoneNumber]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[waihu.PhoneNumber]int, len(c.attempts))
	for k, v := range c.attempts {
		out[k] = v
	}
	return out
}

func (c *Carrier) find(call, rule, rfc, format string, args ...any) {
	f := Finding{Rule: rule, Call: call, RFC: rfc, What: fmt.Sprintf(format, args...), At: time.Now()}
	c.log.Warn("a caller broke a rule", "rule", f.Rule, "sip_call", f.Call, "what", f.What, "rfc", f.RFC)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.findings = append(c.findings, f)
	if len(c.findings) > keepFindings {
		c.findings = c.findings[1:]
	}
}

// begin books a new call.
func (c *Carrier) begin(r *Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = append(c.records, r)
	if len(c.records) > keepRecords {
		c.records = c.records[1:]
	}
	if len(c.attempts) < keepNumbers {
		c.attempts[r.Called]++
	}
}

// hold counts r's call as live until release.
func (c *Carrier) hold(r *Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.EndAt = time.Time{}
	for _, l := range []*Load{&c.load, loadOf(c.callers, r.Caller), loadOf(c.hosts, r.Host)} {
		l.Live++
		l.Peak = max(l.Peak, l.Live)
	}
}

func (c *Carrier) release(r *Record, by waihu.Party) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.EndAt, r.EndedBy = time.Now(), by
	for _, l := range []*Load{&c.load, loadOf(c.callers, r.Caller), loadOf(c.hosts, r.Host)} {
		l.Live--
	}
}

func loadOf(m map[string]*Load, key string) *Load {
	l := m[key]
	if l == nil {
		l = &Load{}
		m[key] = l
	}
	return l
}

// note changes a record.
func (c *Carrier) note(r *Record, change func(*Record)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(r)
}
