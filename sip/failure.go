package sip

import (
	"fmt"
	"time"

	"waihu"
)

// Fault says on whose side a failed call failed.
type Fault string

const (
	FaultCallee  Fault = "callee"  // busy, no answer, vacant: the number's own answer
	FaultCarrier Fault = "carrier" // the way to the callee: congestion, 5xx, silence
	FaultOurs    Fault = "ours"    // password, codec, routing, address
)

// Failure is the error of every call that did not come to stand. It carries its own verdict.
type Failure struct {
	Status      int // final SIP status; 0 when none came
	Phrase      string
	Reasons     []Reason
	InviteAt    time.Time // zero: provably no INVITE left
	RingAt      time.Time // first 18x; zero when none came
	EndAt       time.Time
	Ring        time.Duration // from the first 180 to the end; 0 when it never rang
	RetryAfter  time.Duration // the carrier asks for a pause
	TimedOut    bool          // our ring or setup timeout ended it
	Canceled    bool          // the caller's context ended it
	Crossed     bool          // a 200 crossed our CANCEL and was ended at once: nobody was talked to
	Fault       Fault
	Disposition waihu.Disposition
	Evidence    []waihu.Evidence
	Cause       error // transport, DNS, context; may be nil
}

func (f *Failure) Error() string {
	s := "call failed"
	switch {
	case f.Crossed:
		s = "call answered after it was canceled"
	case f.Canceled:
		s = "call canceled"
	case f.TimedOut:
		s = "call not answered in time"
	}
	if f.Status > 0 {
		s += fmt.Sprintf(": %d %s", f.Status, f.Phrase)
	}
	if f.Cause != nil {
		s += ": " + f.Cause.Error()
	}
	return s
}

func (f *Failure) Unwrap() error { return f.Cause }

// Signs are what signalling alone knows of a failed call.
type Signs struct {
	Status     int
	Reasons    []Reason
	Ring       time.Duration // from the first 180 to the end; 0 when it never rang
	Elapsed    time.Duration // from INVITE to the end
	RetryAfter time.Duration
	GaveUp     bool // we canceled it, by timeout or by the caller's wish
	Silent     bool // nothing came from the far end, not even 100
	Stranger   bool // we showed credentials, and the trunk has never accepted them
	Sent       bool // an INVITE left
}

const (
	// atOnce: an operator's refusal comes before any exchange has tried the callee.
	atOnce = 2 * time.Second
	// rejectRing: shorter ringing before 486 or 403 is a switch, longer a thumb.
	rejectRing = 3 * time.Second
)

// Classify derives the disposition: Reason (Q.850, then SIP) before the final code,
// ring time where the code alone says too little.
func Classify(s Signs) (waihu.Disposition, Fault) {
	d := classify(s)
	switch d {
	case waihu.CarrierFault:
		return d, FaultCarrier
	case waihu.OurFault, waihu.NeverLeft:
		return d, FaultOurs
	}
	return d, FaultCallee
}

func classify(s Signs) waihu.Disposition {
	switch {
	case !s.Sent && s.GaveUp:
		return waihu.NeverLeft
	case !s.Sent: // no address, no socket, no route
		return waihu.OurFault
	case s.Silent: // a trunk that does not answer has not let anybody's telephone ring
		return waihu.CarrierFault
	case s.GaveUp && (s.Status < 300 || s.Status == 487):
		return waihu.NoAnswer
	}
	for _, r := range s.Reasons {
		if r.Protocol == "Q.850" {
			if d := classifyQ850(r.Cause, s); d != waihu.NoOutcome {
				return d
			}
		}
	}
	for _, r := range s.Reasons {
		if r.Protocol == "SIP" && r.Cause >= 400 && r.Cause != 487 {
			return classifyStatus(r.Cause, s)
		}
	}
	return classifyStatus(s.Status, s)
}

// classifyQ850 returns NoOutcome for causes that say less than the SIP status (16, 31, 127 and the like).
func classifyQ850(cause int, s Signs) waihu.Disposition {
	switch cause {
	case 1, 22, 28:
		return waihu.Vacant
	case 17:
		return waihu.Busy
	case 18, 19:
		return waihu.NoAnswer
	case 20:
		if s.Ring == 0 {
			return waihu.PoweredOff
		}
		return waihu.Unreachable
	case 21:
		if s.Ring > 0 {
			return waihu.Rejected
		}
		return waihu.Intercepted
	case 27:
		return waihu.Unreachable
	case 29, 55:
		return waihu.Barred
	case 57, 63:
		return waihu.Intercepted
	case 34, 38, 41, 42, 44, 47:
		return waihu.CarrierFault
	}
	return waihu.NoOutcome
}

func classifyStatus(status int, s Signs) waihu.Disposition {
	early := s.Ring == 0 && s.Elapsed <= atOnce
	switch status {
	case 402:
		return waihu.Arrears
	case 403:
		if s.Stranger && s.Ring == 0 {
			return waihu.OurFault // many registrars say to a wrong password what operators say of a number
		}
		if s.Ring >= rejectRing {
			return waihu.Rejected
		}
		return waihu.Intercepted
	case 404, 410, 484, 485, 604:
		return waihu.Vacant
	case 408, 487:
		return waihu.NoAnswer
	case 480:
		// Carriers use 480 for "did not answer" and for "not registered": ringing tells them apart.
		if s.Ring > 0 {
			return waihu.NoAnswer
		}
		return waihu.Unreachable
	case 486:
		if s.Ring >= rejectRing {
			return waihu.Rejected
		}
		return waihu.Busy
	case 600:
		return waihu.Busy
	case 603:
		if early {
			return waihu.Intercepted
		}
		return waihu.Rejected
	case 607:
		if early {
			return waihu.Intercepted
		}
		return waihu.Blocked
	case 608:
		return waihu.Intercepted // RFC 8688: an intermediary's refusal, never the callee's
	case 503:
		// With Retry-After the trunk speaks of itself; without, and at once, the operator refused this call.
		if early && s.RetryAfter == 0 {
			return waihu.Intercepted
		}
		return waihu.CarrierFault
	case 400, 401, 405, 406, 407, 413, 414, 415, 416, 420, 421, 422, 423, 482, 483, 488, 493, 494, 606:
		return waihu.OurFault
	}
	return waihu.CarrierFault
}
