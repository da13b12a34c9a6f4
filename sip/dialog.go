package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

// Dialog is a call that stands. It holds its lane, its journal entry and the
// allowance of its peer until it ends; whoever gets one must Bye it or wait for Ended.
type Dialog struct {
	InviteAt time.Time
	RingAt   time.Time // first 18x; zero when none came
	AnswerAt time.Time
	Evidence []waihu.Evidence // what signalling saw up to the answer

	c     *call
	g     *leg
	ended chan struct{}

	// guarded by call.mu
	over      bool
	closing   bool // our BYE is on its way
	hangUp    HangUp
	hungUpAt  time.Time // when it was decided
	end       End
	localSDP  []byte // our description that stands
	inviting  bool   // our re-INVITE or UPDATE is pending
	answering *unacked
	timer     sessionTimer
}

// unacked is a 2xx of ours to a re-INVITE that waits for its ACK.
type unacked struct {
	seq     uint32
	offered bool // the 2xx carried our offer, so the ACK carries the answer
	acked   chan struct{}
}

func newDialogLocked(c *call, g *leg, now time.Time) *Dialog {
	return &Dialog{
		InviteAt: c.inviteAt, RingAt: c.ringAt, AnswerAt: now, Evidence: append([]waihu.Evidence(nil), c.evidence...),
		c: c, g: g, ended: make(chan struct{}), localSDP: c.inv.SDP,
	}
}

// RemoteSDP is the far end's description that stands at present: the 200's, or
// that of a provisional answer of the same fork when the 200 had none.
func (d *Dialog) RemoteSDP() []byte {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	return bytes.Clone(d.g.sdp)
}

// CallID is the Call-ID on the wire, for logs and captures.
func (d *Dialog) CallID() string { return d.c.ids.callID }

// Ended is closed when the dialog has ended, whoever ended it.
func (d *Dialog) Ended() <-chan struct{} { return d.ended }

// End says how; valid after Ended.
func (d *Dialog) End() End {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	return d.end
}

// HangUp sends BYE and does not wait: Ended is closed when the far end has answered or 64*T1 have passed;
// 481 or silence are an end too. From here on the session is over (RFC 3261 15.1.1): send no more
// media, listen to none. It does nothing when called again.
func (d *Dialog) HangUp(h HangUp) {
	if h.Reason.Protocol == "" {
		h.Reason = Q850(16, "normal call clearing")
	}
	d.c.mu.Lock()
	first := !d.over && !d.closing
	if first {
		d.closing, d.hangUp, d.hungUpAt = true, h, time.Now()
		d.timer.stop()
	}
	d.c.mu.Unlock()
	if first && !d.c.lane.spawn(d.bye) {
		d.finish(End{By: h.By, Cause: ErrClosed})
	}
}

// Bye is HangUp, and waits for Ended. When ctx ends first it returns its cause and the BYE goes on alone.
func (d *Dialog) Bye(ctx context.Context, h HangUp) error {
	d.HangUp(h)
	select {
	case <-d.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hang up: %w", context.Cause(ctx))
	}
}

func (d *Dialog) bye() {
	// Timer F ends the transaction after 64*T1; the context is for what comes before it.
	ctx, cancel := context.WithTimeout(context.Background(), d.c.e.giveUp+dnsWait)
	defer cancel()
	res, err := d.g.do(ctx, gosip.BYE, func(req *gosip.Request, _ *path) {
		req.AppendHeader(gosip.NewHeader("Reason", d.hangUp.Reason.String()))
		req.SetBody(nil)
	})
	end := End{By: d.hangUp.By, Cause: err}
	if res != nil {
		end.Status = res.StatusCode
	}
	d.finish(end)
}

// finish ends the dialog once, whoever comes first.
func (d *Dialog) finish(end End) {
	c := d.c
	c.mu.Lock()
	if d.over {
		c.mu.Unlock()
		return
	}
	d.over = true
	end.At = time.Now()
	if d.closing {
		end.At = d.hungUpAt // the talk was over then, however long the answer to our BYE took
	}
	d.end = end
	d.timer.stop()
	if d.answering != nil {
		close(d.answering.acked)
		d.answering = nil
	}
	c.mu.Unlock()
	close(d.ended)
	if !errors.Is(end.Cause, ErrClosed) { // else it still stands over there: for the next process to end
		c.e.journal.remove(c.inv.Call)
	}
	c.forget()
	c.way.close()
	c.lane.release()
}

// lose ends a dialog that the far end no longer has, or that nobody refreshes. BYE is
// sent all the same: it costs little, and what is left at the far end may be billed.
func (d *Dialog) lose(cause error, why Reason) {
	d.c.mu.Lock()
	if d.over || d.closing {
		d.c.mu.Unlock()
		return
	}
	d.closing, d.hungUpAt = true, time.Now()
	d.hangUp = HangUp{By: waihu.BySystem, Reason: why}
	d.timer.stop()
	d.c.mu.Unlock()
	d.c.lane.spawn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), d.c.e.giveUp+dnsWait)
		defer cancel()
		res, _ := d.g.do(ctx, gosip.BYE, func(req *gosip.Request, _ *path) {
			req.AppendHeader(gosip.NewHeader("Reason", why.String()))
			req.SetBody(nil)
		})
		end := End{By: waihu.BySystem, Cause: cause}
		if res != nil {
			end.Status = res.StatusCode
		}
		d.finish(end)
	})
}

var errDigit = errors.New("not a DTMF digit")

// SendDTMF sends one digit by INFO (application/dtmf-relay).
func (d *Dialog) SendDTMF(ctx context.Context, digit rune, length time.Duration) error {
	if _, ok := dtmfDigit(string(digit)); !ok {
		return fmt.Errorf("%w: %q", errDigit, digit)
	}
	d.c.mu.Lock()
	over := d.over || d.closing
	d.c.mu.Unlock()
	if over {
		return errors.New("send DTMF: the call has ended")
	}
	res, err := d.g.do(ctx, gosip.INFO, func(req *gosip.Request, _ *path) {
		t := gosip.ContentTypeHeader("application/dtmf-relay")
		req.AppendHeader(&t)
		req.SetBody(fmt.Appendf(nil, "Signal=%c\r\nDuration=%d\r\n", digit, length.Milliseconds()))
	})
	if err != nil {
		return fmt.Errorf("send DTMF: %w", err)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("send DTMF: refused with %d %s", res.StatusCode, res.Reason)
	}
	return nil
}

// shut ends what stands when the endpoint stops; nothing more can be sent.
func (c *call) shut() {
	c.mu.Lock()
	d := c.dialog
	c.mu.Unlock()
	if d != nil {
		d.finish(End{By: waihu.BySystem, Cause: ErrClosed})
	}
}
