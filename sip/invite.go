package sip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

// Defaults of an Invite.
const (
	DefaultRingTimeout  = 45 * time.Second // from INVITE to answer
	DefaultSetupTimeout = 90 * time.Second // cap over everything before the answer, authentication included
)

// Invite is the order to call one number.
type Invite struct {
	Call         waihu.CallID
	Peer         *Peer
	Callee       waihu.PhoneNumber // as dialled; the peer's rewrites are applied here
	Caller       waihu.PhoneNumber // empty: the peer's from_user or username
	SDP          []byte            // our offer
	RingTimeout  time.Duration     // 0: DefaultRingTimeout
	SetupTimeout time.Duration     // 0: DefaultSetupTimeout
	OnSent       func()            // the first INVITE has left; may be nil
	OnProgress   func(Progress)    // provisional answers in order; may be nil
	Session      Session           // may be nil: later offers are refused with 488
}

// Progress is one provisional answer other than 100.
type Progress struct {
	Status  int
	Phrase  string
	Reasons []Reason
	Tag     string // To-tag: which fork speaks
	SDP     []byte // nil when it carried none
	At      time.Time
}

// Session understands session descriptions on behalf of a dialog. Calls come one at a
// time, and the messages of the call wait for their return: do not wait for a Bye in them.
type Session interface {
	// Negotiate answers an offer of the far end; a nil offer asks for an offer of ours,
	// to which Answered brings the answer. An error refuses with 488.
	// An offer identical to the last one must get the same answer with unchanged o= line.
	Negotiate(offer []byte) ([]byte, error)
	// Answered brings the far end's answer to an offer that Negotiate(nil) made, or another answer
	// than before to the offer that stands, when the session was refreshed.
	Answered(answer []byte) error
	// DTMF brings a digit that came by INFO: 0-9 * # A-D.
	DTMF(digit rune)
}

// End says how a dialog ended.
type End struct {
	By      waihu.Party // callee: BYE came; agent or system: see Bye; system also for failures
	Status  int         // answer to our BYE; 0 when none came or the far end hung up
	Reasons []Reason    // of the far end's BYE
	Cause   error       // why the dialog was lost, when nobody hung up: session expired, 481
	At      time.Time   // when it was decided: the BYE left or came
}

// HangUp says why we hang up; it travels in the Reason header of the BYE.
type HangUp struct {
	By     waihu.Party // agent or system
	Reason Reason      // zero: Q.850 16, normal clearing
}

// call is one INVITE with all its forks, and the dialog that came of it. It owns a lane.
type call struct {
	// fixed after newCall
	e       *Endpoint
	inv     Invite
	peer    *Peer
	lane    *lane
	ids     callIdents
	id      identity
	routes  []gosip.Uri // before a dialog exists
	targets []netip.AddrPort
	forget  func() // ends the allowance of the peer's addresses

	mu       sync.Mutex
	creds    credentials
	way      *path
	req      *gosip.Request // the INVITE that stands
	attempt  int            // INVITEs sent
	cseq     uint32         // of the INVITE that stands
	minSE    time.Duration
	legs     []*leg
	dialog   *Dialog
	inviteAt time.Time
	ringAt   time.Time // first 18x
	alertAt  time.Time // first 180
	lastSeen int       // last provisional status put into evidence
	heard    bool      // some answer to an INVITE came
	evidence []waihu.Evidence
	over     bool // Invite has given up: whatever answers now is hung up
}

// Limits of what one INVITE may make us keep or do.
const (
	maxLegs     = 32
	maxEvidence = 40
	maxInvites  = 8 // challenges, intervals and addresses together
)

// Invite calls. It returns when the call stands, or a *Failure. When ctx ends the
// call is canceled; Invite then still waits for the far end to confirm, at most 64*T1.
func (e *Endpoint) Invite(ctx context.Context, inv Invite) (*Dialog, error) {
	if inv.RingTimeout <= 0 {
		inv.RingTimeout = DefaultRingTimeout
	}
	if inv.SetupTimeout <= 0 {
		inv.SetupTimeout = DefaultSetupTimeout
	}
	c := &call{e: e, inv: inv, peer: inv.Peer, ids: e.ids.of(inv.Call)}
	c.creds = credentials{user: inv.Peer.authUser, password: inv.Peer.password}
	c.id = inv.Peer.identify(inv.Callee, inv.Caller, c.ids.tag)
	c.routes = e.preloaded(inv.Peer)
	var err error
	if c.lane, err = e.openLane(c.ids.callID, c); err != nil {
		return nil, c.failure(Failure{Cause: err})
	}
	h := c.peer.hop
	if len(c.routes) > 0 {
		h = uriHop(&c.routes[0])
	}
	if c.targets, err = e.resolver.lookup(ctx, h, c.peer.transport); err != nil {
		c.lane.release()
		return nil, c.failure(Failure{Cause: err})
	}
	c.forget = e.allow(c.targets)
	d, f := c.run(ctx)
	if f != nil {
		return nil, f
	}
	return d, nil
}

// run sends INVITEs until one is decided.
func (c *call) run(ctx context.Context) (*Dialog, *Failure) {
	ring := time.NewTimer(min(c.inv.RingTimeout, c.inv.SetupTimeout))
	defer ring.Stop()
	p := &patience{ctx: ctx, ring: ring.C}
	target := 0
	var last Failure
	for n := 1; n <= maxInvites; n++ {
		if p.ended() {
			break
		}
		res, err := c.once(p, n, c.targets[target])
		if err != nil || res.StatusCode == 503 {
			last = Failure{Cause: err}
			if res != nil {
				last = verdict(res)
			}
			if p.ended() {
				break
			}
			if target+1 < len(c.targets) {
				c.e.resolver.failed(c.targets[target])
				target++ // RFC 3263 4.3
				continue
			}
			if err != nil {
				c.e.resolver.failed(c.targets[target])
			}
			break
		}
		last = verdict(res)
		switch {
		case res.StatusCode < 300:
			return c.stands(p)
		case res.StatusCode == 401 || res.StatusCode == 407:
			c.mu.Lock()
			err := c.creds.challenged(res)
			c.mu.Unlock()
			if err == nil && !p.ended() {
				continue
			}
			last.Cause = err
		case res.StatusCode == 422:
			least, ok := parseSeconds(headerValue(res, "min-se"))
			if ok && least > c.minSE && least < 24*time.Hour && c.peer.timer > 0 && !p.ended() {
				c.minSE = least
				continue
			}
		}
		break
	}
	last.TimedOut, last.Canceled = p.timedOut, p.canceled
	if last.Cause == nil && p.canceled {
		last.Cause = context.Cause(ctx)
	}
	f := c.failure(last)
	c.close(p.unanswered)
	return nil, f
}

// patience is how long a call may take, and that it was given up.
type patience struct {
	ctx        context.Context
	ring       <-chan time.Time
	timedOut   bool
	canceled   bool
	unanswered bool // an INVITE was left without a final answer
}

func (p *patience) ended() bool {
	select {
	case <-p.ctx.Done():
		p.canceled = p.canceled || !p.timedOut
	default:
	}
	return p.timedOut || p.canceled
}

// once sends one INVITE and waits for its final answer, canceling when patience ends.
func (c *call) once(p *patience, n int, dst netip.AddrPort) (*gosip.Response, error) {
	way, err := c.e.path(p.ctx, c.peer, dst)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.way != nil {
		c.way.close()
	}
	c.way, c.attempt, c.cseq, c.legs = way, n, uint32(n), nil
	req, err := c.compose()
	c.req = req
	if c.inviteAt.IsZero() {
		c.inviteAt = time.Now()
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	tx, err := c.lane.send(req, way.take())
	if err != nil {
		c.mu.Lock()
		if n == 1 {
			c.inviteAt = time.Time{} // nothing left
		}
		c.mu.Unlock()
		return nil, err
	}
	if n == 1 && c.inv.OnSent != nil {
		c.inv.OnSent()
	}
	var (
		provisional, canceled bool
		stop                  = p.ctx.Done()
		giveUp                <-chan time.Time
	)
	if p.timedOut || p.canceled {
		stop = nil
	}
	for {
		if provisional && !canceled && (p.timedOut || p.canceled) {
			// RFC 3261 9.1: not before a provisional answer, or it may overtake the INVITE.
			canceled = true
			c.cancel(p)
			t := time.NewTimer(c.e.giveUp)
			defer t.Stop()
			giveUp = t.C
		}
		select {
		case res := <-tx.Responses():
			if res.StatusCode >= 200 {
				return res, nil
			}
			provisional = true
		case <-tx.Done():
			err := tx.Err()
			if err == nil {
				err = gosip.ErrTransactionTerminated
			}
			p.unanswered = true
			return nil, fmt.Errorf("no answer from %s: %w", dst, err)
		case <-stop:
			stop = nil
			p.canceled = !p.timedOut
		case <-p.ring:
			p.timedOut = !p.canceled
		case <-giveUp:
			p.unanswered = true
			tx.Terminate()
			return nil, fmt.Errorf("%s did not end the canceled call within %v", dst, c.e.giveUp)
		}
	}
}

// cancel sends CANCEL and leaves its transaction to itself: 200 to it is not the end.
func (c *call) cancel(p *patience) {
	why := &Reason{"SIP", 487, "canceled"}
	word := "canceled by the caller"
	if p.timedOut {
		why = &Reason{"Q.850", 19, "no answer"}
		word = "ring timeout"
	}
	c.mu.Lock()
	req, conn := cancelOf(c.req, why), c.way.take()
	c.noteLocked("cancel", word)
	c.mu.Unlock()
	if tx, err := c.lane.send(req, conn); err == nil {
		c.lane.leave(tx)
	}
}

// compose writes the INVITE; c.mu is held.
func (c *call) compose() (*gosip.Request, error) {
	to := &gosip.ToHeader{Address: c.id.to}
	req := c.e.newRequest(gosip.INVITE, c.id.request, c.way, c.ids.attempt(c.attempt), c.routes, c.id.from, to, c.ids.callID, c.cseq)
	req.AppendHeader(c.way.contact(c.id.user))
	for _, h := range c.id.extra {
		req.AppendHeader(h)
	}
	req.AppendHeader(gosip.NewHeader("Allow", allowed))
	var supported []string
	if c.peer.timer > 0 {
		supported = append(supported, "timer")
		interval := max(c.peer.timer, c.minSE)
		req.AppendHeader(gosip.NewHeader("Session-Expires", seconds(interval)))
		if c.minSE > 0 {
			req.AppendHeader(gosip.NewHeader("Min-SE", seconds(c.minSE)))
		}
	}
	if c.peer.prack {
		supported = append(supported, "100rel")
	}
	if len(supported) > 0 {
		req.AppendHeader(gosip.NewHeader("Supported", strings.Join(supported, ", ")))
	}
	if c.attempt == 1 {
		c.creds.begin()
	}
	if err := c.creds.sign(req); err != nil {
		return nil, err
	}
	setSDP(req, c.inv.SDP)
	return req, nil
}

// stands hands the dialog over, or ends it when nobody wants it any more.
func (c *call) stands(p *patience) (*Dialog, *Failure) {
	c.mu.Lock()
	d := c.dialog
	sdp := d.g.sdp
	c.mu.Unlock()
	switch {
	case p.timedOut || p.canceled:
		// The 200 crossed our CANCEL. RFC 3261 9.1: the call stands, so it is ended like one.
		_ = d.Bye(context.Background(), HangUp{By: waihu.BySystem, Reason: Reason{"SIP", 487, "canceled"}})
		f := Failure{Status: 200, Phrase: "OK", Crossed: true, TimedOut: p.timedOut, Canceled: p.canceled}
		if p.canceled {
			f.Cause = context.Cause(p.ctx)
		}
		return nil, c.failure(f)
	case len(sdp) == 0 && len(c.inv.SDP) > 0:
		_ = d.Bye(context.Background(), HangUp{By: waihu.BySystem, Reason: Q850(88, "no session description")})
		return nil, c.failure(Failure{Status: 200, Phrase: "OK", Cause: errNoSDP})
	}
	return d, nil
}

var errNoSDP = errors.New("answered without a session description")

// close ends a call that never stood. When an INVITE is without a final answer its
// lane stays: a late 200 must be acknowledged and ended.
func (c *call) close(late bool) {
	c.mu.Lock()
	c.over = true
	d := c.dialog
	if c.way != nil && !late {
		c.way.close()
	}
	c.mu.Unlock()
	if d != nil { // the 200 came with the very end of our patience
		c.lane.spawn(func() {
			_ = d.Bye(context.Background(), HangUp{By: waihu.BySystem, Reason: Reason{"SIP", 487, "canceled"}})
		})
	}
	c.forget()
	if !late {
		c.lane.release()
		return
	}
	time.AfterFunc(c.e.giveUp, func() {
		c.mu.Lock()
		if c.way != nil {
			c.way.close()
		}
		c.mu.Unlock()
		c.lane.release()
	})
}

// verdict copies what a final answer says. Only with 503 does Retry-After speak of the trunk (RFC 3261 21.5.4);
// with 404, 480, 486, 600 and 603 it is the callee who may be tried later.
func verdict(res *gosip.Response) Failure {
	f := Failure{Status: res.StatusCode, Phrase: short(res.Reason), Reasons: reasonsOf(res)}
	if res.StatusCode == 503 {
		f.RetryAfter = retryAfterOf(res)
	}
	return f
}

// failure completes f with times, evidence and the disposition.
func (c *call) failure(f Failure) *Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.EndAt = time.Now()
	f.InviteAt, f.RingAt = c.inviteAt, c.ringAt
	if !c.alertAt.IsZero() {
		f.Ring = f.EndAt.Sub(c.alertAt)
		c.noteLocked("ring_ms", strconv.FormatInt(f.Ring.Milliseconds(), 10))
	}
	if f.Crossed {
		c.noteLocked("sip", "200 after CANCEL")
	}
	if f.Cause != nil && !f.Canceled {
		c.noteLocked("error", f.Cause.Error())
	}
	f.Evidence = c.evidence
	s := Signs{Status: f.Status, Reasons: f.Reasons, Ring: f.Ring, RetryAfter: f.RetryAfter, Sent: !f.InviteAt.IsZero()}
	s.GaveUp = f.TimedOut || f.Canceled || errors.Is(f.Cause, ErrClosed)
	s.Silent = !c.heard
	s.Stranger = len(c.creds.sets) > 0 && !c.peer.admitted.Load()
	if s.Sent {
		s.Elapsed = f.EndAt.Sub(f.InviteAt)
	}
	f.Disposition, f.Fault = Classify(s)
	if errors.Is(f.Cause, errNoSDP) {
		f.Disposition, f.Fault = waihu.OurFault, FaultOurs
	}
	return &f
}

// noteLocked adds evidence; c.mu is held.
func (c *call) noteLocked(kind, value string) {
	if len(c.evidence) >= maxEvidence {
		return
	}
	var at int64
	if !c.inviteAt.IsZero() {
		at = time.Since(c.inviteAt).Milliseconds()
	}
	c.evidence = append(c.evidence, waihu.Evidence{Kind: kind, Value: short(value), AtMS: at})
}

// short bounds what a far end's text may take in the ledger and in logs.
func short(s string) string {
	const limit = 160
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(s, "."))
}

func (c *call) noteResponseLocked(res *gosip.Response) {
	c.noteLocked("sip", strconv.Itoa(res.StatusCode)+" "+res.Reason)
	for _, r := range reasonsOf(res) {
		kind := "reason"
		if r.Protocol == "Q.850" {
			kind = "q850"
		}
		c.noteLocked(kind, r.String())
	}
}

func seconds(d time.Duration) string { return strconv.Itoa(int((d + time.Second - 1) / time.Second)) }
