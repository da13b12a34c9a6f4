package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	gosip "github.com/emiago/sipgo/sip"
)

// timing is a session interval as agreed (RFC 4028).
type timing struct {
	interval time.Duration // 0: no timer
	ours     bool          // we refresh
	role     string        // refresher parameter of our answer: uac or uas
	required bool          // the far end knows timers, so Require: timer goes with it
}

func (t timing) headers() []gosip.Header {
	if t.interval == 0 {
		return nil
	}
	hs := []gosip.Header{gosip.NewHeader("Session-Expires", seconds(t.interval)+";refresher="+t.role)}
	if t.required {
		hs = append(hs, gosip.NewHeader("Require", "timer"))
	}
	return hs
}

// sessionTimer runs one dialog's session. Its fields are guarded by call.mu.
type sessionTimer struct {
	t       *time.Timer
	timing  timing
	expires time.Time
	stopped bool
}

// stop is called with call.mu held.
func (s *sessionTimer) stop() {
	s.stopped = true
	if s.t != nil {
		s.t.Stop()
	}
}

// startTimer takes the session interval from the 2xx of our INVITE. Without one the far end knows no timers.
func (d *Dialog) startTimer(res *gosip.Response) {
	se, ok := sessionExpiresOf(res)
	if !ok || d.c.peer.timer == 0 {
		return
	}
	d.timer.set(d, timing{interval: se.interval, ours: se.refresher != "uas"})
}

// asked reads the session interval of a request of the far end and decides our answer.
// A header is returned when the interval is refused.
func (s *sessionTimer) asked(req *gosip.Request) (timing, gosip.Header) {
	se, ok := sessionExpiresOf(req)
	if !ok {
		return timing{}, nil
	}
	knows := hasToken(req, "supported", "k", "timer") || hasToken(req, "require", "", "timer")
	if se.interval < minSessionTimer && knows {
		return timing{}, gosip.NewHeader("Min-SE", seconds(minSessionTimer))
	}
	// In this transaction the far end is the UAC. Whoever it names refreshes; if it names nobody, it does
	// itself when it knows timers, else we do.
	t := timing{interval: se.interval, role: se.refresher, required: knows}
	if t.role == "" {
		t.role = "uac"
		if !knows {
			t.role = "uas"
		}
	}
	t.ours = t.role == "uas"
	return t, nil
}

// set starts the interval anew: every refresh does.
func (s *sessionTimer) set(d *Dialog, t timing) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if s.stopped || d.over {
		return
	}
	if s.t != nil {
		s.t.Stop()
	}
	s.timing = t
	if t.interval == 0 {
		return
	}
	s.expires = time.Now().Add(t.interval)
	if t.ours {
		s.t = time.AfterFunc(t.interval/2, func() { d.c.lane.spawn(d.refresh) })
		return
	}
	s.t = time.AfterFunc(s.lastCall(), func() { d.lose(errExpired, Reason{"SIP", 408, "session expired"}) })
}

// lastCall is how long to wait before the BYE: min(32 s, a third) ahead of the end (RFC 4028 10).
func (s *sessionTimer) lastCall() time.Duration {
	return max(time.Until(s.expires)-min(32*time.Second, s.timing.interval/3), 0)
}

var errExpired = errors.New("the session was not refreshed in time")

// refresh asks for another interval by UPDATE where the far end allows it, else by re-INVITE.
func (d *Dialog) refresh() {
	c := d.c
	c.mu.Lock()
	if d.over || d.closing || d.timer.stopped {
		c.mu.Unlock()
		return
	}
	if d.answering != nil {
		d.againLocked(time.Second) // theirs first
		c.mu.Unlock()
		return
	}
	d.inviting = true
	t, last := d.timer.timing, d.timer.lastCall()
	method, sdp := gosip.INVITE, d.localSDP
	if d.g.updates {
		method, sdp = gosip.UPDATE, nil
	}
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), max(min(last, c.e.giveUp), time.Millisecond))
	defer cancel()
	res, err := d.g.do(ctx, method, func(req *gosip.Request, w *path) {
		req.AppendHeader(w.contact(c.id.user))
		req.AppendHeader(gosip.NewHeader("Allow", allowed))
		req.AppendHeader(gosip.NewHeader("Supported", "timer"))
		req.AppendHeader(gosip.NewHeader("Session-Expires", seconds(t.interval)+";refresher=uac"))
		if t.interval > minSessionTimer {
			req.AppendHeader(gosip.NewHeader("Min-SE", seconds(minSessionTimer)))
		}
		setSDP(req, sdp)
	})
	if err == nil && res.StatusCode < 300 {
		d.described(sdpOf(res))
	}
	c.mu.Lock()
	d.inviting = false
	c.mu.Unlock()
	switch {
	case err != nil:
		d.lose(fmt.Errorf("%w: %w", errExpired, err), Reason{"SIP", 408, "session expired"})
	case res.StatusCode < 300:
		c.mu.Lock()
		if contact := res.Contact(); contact != nil && usable(&contact.Address) {
			d.g.target = contact.Address
		}
		c.mu.Unlock()
		if se, ok := sessionExpiresOf(res); ok {
			d.timer.set(d, timing{interval: se.interval, ours: se.refresher != "uas"})
		} else {
			d.timer.set(d, t)
		}
	case res.StatusCode == 481, res.StatusCode == 408: // RFC 3261 12.2.1.2: the far end has lost the dialog
		d.lose(fmt.Errorf("the far end lost the call: %d %s", res.StatusCode, res.Reason), Q850(31, "dialog lost"))
	case res.StatusCode == 422:
		if least, ok := parseSeconds(headerValue(res, "min-se")); ok && least > t.interval && least < 24*time.Hour {
			t.interval = least
			c.mu.Lock()
			d.timer.timing = t
			d.againLocked(0)
			c.mu.Unlock()
			return
		}
		d.retry(c, 2*time.Second)
	case res.StatusCode == 491: // RFC 3261 14.1: we own the Call-ID
		d.retry(c, 2100*time.Millisecond+time.Duration(rand.Int64N(int64(1900*time.Millisecond))))
	case res.StatusCode == 405, res.StatusCode == 501:
		c.mu.Lock()
		was := d.g.updates
		d.g.updates = false
		c.mu.Unlock()
		if !was {
			d.retry(c, 10*time.Second)
			return
		}
		d.retry(c, 0)
	default:
		// The session stands until its end (RFC 4028 7.4): try once more before.
		d.retry(c, 10*time.Second)
	}
}

// described takes the description that answers our refresh: a border controller may have moved the media meanwhile.
func (d *Dialog) described(sdp []byte) {
	c := d.c
	c.mu.Lock()
	if sdp == nil || bytes.Equal(sdp, d.g.sdp) {
		c.mu.Unlock()
		return
	}
	d.g.sdp = sdp
	c.mu.Unlock()
	if c.inv.Session == nil {
		return
	}
	if err := c.inv.Session.Answered(sdp); err != nil {
		d.lose(fmt.Errorf("answer to our refresh: %w", err), Q850(88, "no common media"))
	}
}

func (d *Dialog) retry(c *call, after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.againLocked(after)
}

// againLocked arms another refresh, or the BYE when there is no time left for it.
func (d *Dialog) againLocked(after time.Duration) {
	s := &d.timer
	if s.stopped || d.over {
		return
	}
	if left := s.lastCall(); after >= left {
		s.t = time.AfterFunc(left, func() { d.lose(errExpired, Reason{"SIP", 408, "session expired"}) })
		return
	}
	s.t = time.AfterFunc(after, func() { d.c.lane.spawn(d.refresh) })
}
