// Package call is one live call, from the order to the outcome.
//
// Run is a function: it gets a context and an order, and when it returns the call
// is over: nothing of it is left on the wire, no port is held, the recording is
// complete. It joins signalling (sip), sound (media) and the conversation (agent).
// Whatever ends the call first (either side's hang-up, lost media, the longest
// allowed time, the context) names the reason; one exit closes everything in the
// order written there.
//
// Run may be called many times concurrently; a call costs one goroutine and its
// media slot. Run never returns an error: an attempt that could not be made is an outcome too.
//
// Testing: against a scripted far end over loopback, see the simulated carrier.
package call

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path"
	"path/filepath"
	"sync/atomic"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/audio"
	"waihu/media"
	"waihu/sip"
)

// Deps are shared by all calls.
type Deps struct {
	Endpoint *sip.Endpoint
	Engine   *media.Engine
	Sounds   agent.Sounds
	// Recognizer makes the ears of one call; nil, or a nil result: none there.
	Recognizer func(*waihu.AgentSpec, *waihu.Trunk) (agent.Recognizer, error)
	Recordings string        // folder
	Publish    waihu.Publish // may be nil
	Log        *slog.Logger
	Bind       netip.Addr // local address of RTP where a trunk names none
}

// Order is one call to make.
type Order struct {
	Attempt waihu.Attempt
	Peer    *sip.Peer
	Trunk   waihu.Trunk
	Caller  waihu.PhoneNumber
	// Before is closed when the INVITE of the order before this one on the line has left, or never will. Ours waits for it, not
	// longer than turnWait, so that numbers are called in the order in which they were chosen. nil: nothing to wait for.
	Before <-chan struct{}
	OnSent func() // the INVITE has left; may be nil
}

// turnWait bounds what calls that are slow to begin (a name to resolve, a sentence to render) can cost those behind them.
const turnWait = 100 * time.Millisecond

// DefaultMaxCall ends every call whose trunk names no limit.
const DefaultMaxCall = time.Hour

// live is what one call holds.
type live struct {
	Deps
	order   Order
	log     *slog.Logger
	out     waihu.Outcome
	session *media.Session
	talk    *talk
	begun   time.Time

	// Set on the dialog's goroutine.
	described atomic.Int64 // when the first description was taken, ms since begun
	ringing   atomic.Bool  // viewers were told that it rings
}

// Run makes the call and returns its outcome.
func Run(ctx context.Context, deps Deps, order Order) waihu.Outcome {
	a := &order.Attempt
	c := &live{Deps: deps, order: order, begun: time.Now(),
		log: deps.Log.With("call", a.Call, "line", a.Line),
		out: waihu.Outcome{Call: a.Call, Caller: order.Caller, Simulated: order.Trunk.Simulated()}}
	script, err := agent.Prepare(ctx, a.Agent, a.Data.Vars, deps.Sounds)
	if err != nil {
		return c.notMade(ctx, "agent", err)
	}
	if err := c.open(ctx, script); err != nil {
		return c.notMade(ctx, "media", err)
	}
	dialog, err := c.invite(ctx)
	if err != nil {
		c.session.Close()
		return c.failed(err)
	}
	return c.converse(ctx, dialog)
}

// notMade is the outcome of an attempt that failed before any INVITE. What the number itself lacks is its own
// fault. All else is ours: a name that DNS does not know, a text without a voice, ports that another program holds.
// It counts as an attempt, since what lacks now will mostly lack in a moment, and an attempt undone
// is made again at once. Only our own stop undoes it.
func (c *live) notMade(ctx context.Context, what string, err error) waihu.Outcome {
	c.out.Disposition = waihu.OurFault
	switch {
	case ctx.Err() != nil:
		c.out.Disposition = waihu.NeverLeft
	case errors.Is(err, agent.ErrNoVoice):
	case waihu.ErrorCode(err) == waihu.EInvalid:
		c.out.Disposition = waihu.Invalid
	}
	c.log.Warn("call not made", "at", what, "err", err)
	c.out.EndAt = time.Now()
	c.out.HangupBy = waihu.BySystem
	c.evidence("error", what+": "+err.Error())
	return c.out
}

func (c *live) evidence(kind, value string) { c.evidenceAt(kind, value, time.Now()) }

// evidenceAt counts from the INVITE like the evidence of signalling; before there is one, from the order.
func (c *live) evidenceAt(kind, value string, at time.Time) {
	from := c.out.InviteAt
	if from.IsZero() {
		from = c.begun
	}
	c.out.Evidence = append(c.out.Evidence, waihu.Evidence{Kind: kind, Value: value, AtMS: at.Sub(from).Milliseconds(), Confidence: 1})
}

// earlyMedia notes what was heard before the answer: that, how long, how loud.
func (c *live) earlyMedia() {
	heard := c.session.Early()
	if len(heard.PCM) == 0 {
		return
	}
	length := len(heard.PCM) * 1000 / audio.SampleRate
	began := c.begun.Add(time.Duration(c.described.Load())*time.Millisecond + heard.After)
	c.evidenceAt("early_media", fmt.Sprintf("%d ms at %.0f dBFS", length, audio.Level(heard.PCM)), began)
}

// open takes ports and prepares the conversation, so that nothing is left to do at the answer.
func (c *live) open(ctx context.Context, script *agent.Script) error {
	local, err := c.Endpoint.LocalIP(ctx, c.order.Peer)
	if err != nil {
		return fmt.Errorf("local address towards the trunk: %w", err)
	}
	var ears agent.Recognizer
	if c.Recognizer != nil {
		if ears, err = c.Recognizer(c.order.Attempt.Agent, &c.order.Trunk); err != nil {
			return err
		}
	}
	c.talk = newTalk(script, ears)
	bind := c.Bind
	if own, err := netip.ParseAddr(c.order.Trunk.Bind); err == nil { // checked when the trunk was made
		bind = own
	}
	file := recordingName(c.order.Attempt, c.begun)
	c.session, err = c.Engine.Open(media.SessionConfig{
		Local:     local,
		Bind:      bind,
		Codecs:    c.order.Trunk.Codecs,
		Ptime:     time.Duration(c.order.Trunk.Ptime) * time.Millisecond,
		EarlyRTP:  c.order.Trunk.EarlyRTP,
		Recording: filepath.Join(c.Recordings, filepath.FromSlash(file)),
		App:       c.talk,
	})
	if err != nil {
		return err
	}
	c.out.Recording = file
	return nil
}

// recordingName is the path of a call's recording below the recordings folder: one folder a day, so that
// no folder grows without bound and retention can drop whole days.
func recordingName(a waihu.Attempt, at time.Time) string {
	return path.Join(at.Format("2006-01-02"), a.Call.String()+".wav")
}

// invite signals until the call stands.
func (c *live) invite(ctx context.Context) (*sip.Dialog, error) {
	AwaitTurn(ctx, c.order.Before)
	a := &c.order.Attempt
	ring := a.RingTimeout
	if ring == 0 {
		ring = time.Duration(c.order.Trunk.RingTimeout) * time.Second
	}
	return c.Endpoint.Invite(ctx, sip.Invite{
		Call: a.Call, Peer: c.order.Peer, Callee: a.Phone, Caller: c.order.Caller,
		SDP: c.session.Offer(), RingTimeout: ring, Session: negotiator{c.session},
		OnSent: c.order.OnSent, OnProgress: c.progress,
	})
}

// AwaitTurn returns when before is closed, after turnWait at the latest, or when ctx ends. A nil before is closed.
func AwaitTurn(ctx context.Context, before <-chan struct{}) {
	if before == nil {
		return
	}
	select {
	case <-before:
		return
	default:
	}
	late := time.NewTimer(turnWait)
	defer late.Stop()
	select {
	case <-before:
	case <-late.C:
	case <-ctx.Done():
	}
}

// progress takes the early media of a provisional answer and tells viewers, once, that it rings.
func (c *live) progress(p sip.Progress) {
	if p.SDP != nil {
		if err := c.session.Remote(p.SDP); err != nil {
			c.log.Info("early media not understood", "err", err)
		} else {
			c.described.CompareAndSwap(0, time.Since(c.begun).Milliseconds())
		}
	}
	if p.Status >= 180 && c.ringing.CompareAndSwap(false, true) {
		c.publish(waihu.EventCallRinging)
	}
}

func (c *live) publish(kind waihu.EventKind) {
	if c.Publish == nil {
		return
	}
	a := &c.order.Attempt
	c.Publish(waihu.Event{Account: a.Account, Task: a.Task, Call: a.Call, Kind: kind, At: time.Now()})
}

// failed is the outcome of a call that never stood.
func (c *live) failed(err error) waihu.Outcome {
	var f *sip.Failure
	if !errors.As(err, &f) {
		f = &sip.Failure{Disposition: waihu.OurFault, EndAt: time.Now(), Cause: err}
	}
	o := &c.out
	o.Recording = ""
	o.InviteAt, o.RingAt, o.EndAt, o.RetryAfter = f.InviteAt, f.RingAt, f.EndAt, f.RetryAfter
	o.Disposition = f.Disposition
	o.Evidence = append(o.Evidence, f.Evidence...)
	c.earlyMedia()
	o.HangupBy = waihu.ByCallee
	if f.TimedOut || f.Canceled || f.Fault != sip.FaultCallee {
		o.HangupBy = waihu.BySystem
	}
	if f.Canceled && !f.InviteAt.IsZero() {
		switch {
		case f.Status == 487 || f.Crossed: // the far end says that nobody was talked to, and it was us who stopped: the number comes back
			o.Disposition, o.Stopped = waihu.OurFault, true
		case f.Status < 300:
			o.Disposition = waihu.Unknown // no final answer: nobody can say what became of it
		}
	}
	if f.InviteAt.IsZero() {
		c.evidence("error", err.Error())
	}
	if f.Fault == sip.FaultOurs {
		c.log.Warn("call failed by our own fault", "err", err)
	}
	return *o
}

// converse holds the answered call until the first thing that ends it, then closes everything.
func (c *live) converse(ctx context.Context, dialog *sip.Dialog) waihu.Outcome {
	o := &c.out
	o.InviteAt, o.RingAt, o.AnswerAt = dialog.InviteAt, dialog.RingAt, dialog.AnswerAt
	o.Evidence = append(o.Evidence, dialog.Evidence...)
	c.earlyMedia()
	o.Disposition = waihu.Answered
	var hang sip.HangUp
	var why string
	if err := c.session.Remote(dialog.RemoteSDP()); err != nil {
		// No common codec, a refused stream, no description: nobody could hear anybody.
		o.Disposition = waihu.OurFault
		hang = sip.HangUp{By: waihu.BySystem, Reason: sip.Q850(88, "incompatible destination")}
		why = "media: " + err.Error()
		c.evidence("media", err.Error())
		o.Recording = "" // nothing was begun
	} else {
		c.session.Start()
		c.publish(waihu.EventCallAnswered)
		hang, why = c.wait(ctx, dialog)
	}

	// The one exit, in this order: stop talking; hang up; close the media, which completes the recording and
	// is silent from the BYE on; wait for the far end's answer; read what the conversation has become.
	c.talk.stop()
	dialog.HangUp(hang)
	stats := c.session.Close()
	<-dialog.Ended() // 64*T1 at the latest
	end := dialog.End()
	o.EndAt, o.HangupBy = end.At, end.By
	for _, r := range end.Reasons {
		c.evidenceAt("reason", r.String(), end.At)
	}
	if end.Cause != nil {
		c.evidenceAt("error", end.Cause.Error(), end.At)
	}
	if why != "" {
		c.evidenceAt("end", why, end.At)
	}
	if stats.RecordingErr != nil {
		c.log.Error("the recording is missing or cut short", "err", stats.RecordingErr)
		if stats.Recorded == 0 {
			o.Recording = ""
		}
	}
	o.Media = mediaStats(stats)
	c.talk.report(o, c.order.Attempt.Agent, why)
	return *o
}

// wait returns what to say when hanging up, and why the call ends.
func (c *live) wait(ctx context.Context, dialog *sip.Dialog) (sip.HangUp, string) {
	limit := time.Duration(c.order.Trunk.MaxCall) * time.Second
	if limit <= 0 {
		limit = DefaultMaxCall
	}
	longest := time.NewTimer(limit)
	defer longest.Stop()
	select {
	case <-dialog.Ended():
		return sip.HangUp{}, ""
	case <-c.talk.over:
		by, why := c.talk.end()
		return sip.HangUp{By: by}, why
	case err := <-c.session.Done():
		return sip.HangUp{By: waihu.BySystem, Reason: sip.Q850(41, "media timeout")}, fmt.Sprintf("media lost: %v", err)
	case <-longest.C:
		return sip.HangUp{By: waihu.BySystem, Reason: sip.Q850(16, "longest call")}, "longest call reached"
	case <-ctx.Done():
		return sip.HangUp{By: waihu.BySystem, Reason: sip.Q850(31, "shutting down")}, "shutting down"
	}
}
