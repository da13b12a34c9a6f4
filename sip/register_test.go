package sip

import (
	"context"
	"strings"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"waihu"
)

func registering(tr *waihu.Trunk) {
	withPassword(tr)
	tr.Register = &waihu.Register{Expires: 60}
}

func contactOf(req *gosip.Request, expires string) string {
	c := req.Contact().Clone()
	c.Params = gosip.HeaderParams{{K: "expires", V: expires}}
	return c.Value()
}

func TestRegister(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	p := f.peerOf(registering)
	ctx, cancel := context.WithCancel(context.Background())
	states := make(chan RegState, 10)
	done := make(chan error, 1)
	go func() { done <- e.Register(ctx, p, func(s RegState) { states <- s }) }()

	req := f.expect(gosip.REGISTER)
	if got := req.Recipient.String(); got != "sip:"+f.addr() || req.To().Address.User != "line" || headerValue(req, "expires") != "60" {
		t.Errorf("REGISTER %s", req.String())
	}
	chal := digest.Challenge{Realm: "r", Nonce: "1", Algorithm: "SHA-256", QOP: []string{"auth"}}
	f.reply(req, 401, "Unauthorized", answer{headers: []string{"WWW-Authenticate: " + chal.String()}, contact: "-"})
	req2 := f.expect(gosip.REGISTER)
	proves(t, req2, "Authorization", &chal, "auth", "secret")
	if req2.CallID().Value() != req.CallID().Value() || req2.CSeq().SeqNo != req.CSeq().SeqNo+1 {
		t.Error("want the same Call-ID and CSeq+1")
	}
	f.reply(req2, 423, "Interval Too Brief", answer{headers: []string{"Min-Expires: 120"}, contact: "-"})
	req3 := f.expect(gosip.REGISTER)
	if headerValue(req3, "expires") != "120" {
		t.Errorf("after 423: Expires %s", headerValue(req3, "expires"))
	}
	// Two bindings; ours has one second left, so the refresh comes soon.
	start := time.Now()
	f.reply(req3, 200, "OK", answer{contact: "<sip:line@203.0.113.1:5060>;expires=3600", headers: []string{
		"Contact: " + contactOf(req3, "1"), "Service-Route: <sip:" + f.addr() + ";lr>, <sip:10.1.1.1;lr>"}})
	if st := wait(t, "the registration", states); !st.Up || st.Expires != time.Second {
		t.Errorf("%+v", st)
	}
	req4 := f.expect(gosip.REGISTER)
	if late := time.Since(start); late < 500*time.Millisecond || late > 30*time.Second {
		t.Errorf("refreshed after %v", late)
	}
	if proves(t, req4, "Authorization", &chal, "auth", "secret").Nc != 3 {
		t.Error("the refresh does not count the nonce on")
	}
	f.reply(req4, 200, "OK", answer{contact: contactOf(req4, "3600")[0:], headers: []string{"Service-Route: <sip:" + f.addr() + ";lr>"}})

	// Calls now take the registrar's route.
	ch := dial(context.Background(), e, Invite{Peer: p})
	inv := f.expect(gosip.INVITE)
	eventually(t, "the new route", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.serviceRoutes[p]) > 0 })
	if inv.Route() == nil || !strings.HasPrefix(inv.Route().Address.String(), "sip:"+f.addr()+";lr") {
		t.Errorf("Route of the INVITE: %v", inv.Route())
	}
	f.reply(inv, 486, "Busy", answer{})
	f.expect(gosip.ACK)
	failed(t, ch)

	cancel()
	last := f.expect(gosip.REGISTER)
	if headerValue(last, "expires") != "0" {
		t.Errorf("at the end: Expires %s", headerValue(last, "expires"))
	}
	f.reply(last, 200, "OK", answer{contact: "-"})
	if err := wait(t, "the end of Register", done); err != nil {
		t.Error(err)
	}
	if st := wait(t, "the last state", states); st.Up {
		t.Errorf("%+v", st)
	}
	idle(t, e)
}

func TestRegisterRefused(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, nil)
	for _, c := range []struct {
		name   string
		status int
		a      answer
		fault  Fault
	}{
		{"forbidden", 403, answer{contact: "-"}, FaultOurs},
		{"overloaded", 503, answer{contact: "-", headers: []string{"Retry-After: 60"}}, FaultCarrier},
		{"somebody else's binding", 200, answer{contact: "<sip:other@10.0.0.1>", headers: []string{"Contact: <sip:third@10.0.0.2>"}}, FaultCarrier},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFarEnd(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			states := make(chan RegState, 10)
			done := make(chan error, 1)
			go func() { done <- e.Register(ctx, f.peerOf(registering), func(s RegState) { states <- s }) }()
			f.reply(f.expect(gosip.REGISTER), c.status, "No", c.a)
			st := wait(t, "the refusal", states)
			if st.Up || st.Err == nil || st.Fault != c.fault || st.Status != c.status {
				t.Errorf("%+v", st)
			}
			if c.status == 503 && st.RetryAfter != time.Minute {
				t.Errorf("RetryAfter %v", st.RetryAfter)
			}
			cancel()
			if err := wait(t, "the end", done); err != nil {
				t.Error(err)
			}
		})
	}
	if err := e.Register(context.Background(), newFarEnd(t).peerOf(nil), nil); err == nil {
		t.Error("a trunk without registration was registered")
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	for _, c := range []struct {
		status int
		alive  bool
	}{{200, true}, {404, true}, {481, true}, {503, false}} {
		type probe struct {
			rtt time.Duration
			err error
		}
		ch := make(chan probe, 1)
		go func() {
			rtt, err := e.Options(context.Background(), f.peerOf(nil))
			ch <- probe{rtt, err}
		}()
		f.reply(f.expect(gosip.OPTIONS), c.status, "Answer", answer{contact: "-"})
		if p := wait(t, "the probe", ch); (p.err == nil) != c.alive || c.alive && p.rtt <= 0 {
			t.Errorf("%d: %v %v", c.status, p.rtt, p.err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := e.Options(ctx, f.peerOf(nil)); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("silence: %v", err)
	}
}
