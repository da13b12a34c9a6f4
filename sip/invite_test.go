package sip

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

func TestAnswerAndHangUp(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{}, answer{})
	if got := string(d.RemoteSDP()); got != theirSDP {
		t.Errorf("RemoteSDP = %q", got)
	}
	if inv.Recipient.User != "13800138000" || inv.From().Address.User != "01088886666" {
		t.Errorf("INVITE %s from %s", inv.Recipient.String(), inv.From().Value())
	}
	if inv.Via().Host != "127.0.0.1" || inv.Contact().Address.Host != "127.0.0.1" || !inv.Via().Params.Has("rport") {
		t.Errorf("Via %s, Contact %s", inv.Via().Value(), inv.Contact().Value())
	}
	if d.AnswerAt.IsZero() || d.RingAt.IsZero() || d.AnswerAt.Before(d.RingAt) || d.RingAt.Before(d.InviteAt) {
		t.Errorf("times: invite %v ring %v answer %v", d.InviteAt, d.RingAt, d.AnswerAt)
	}
	b := bye(t, f, d)
	if b.Recipient.User != "callee" || b.CSeq().SeqNo <= inv.CSeq().SeqNo {
		t.Errorf("BYE %s CSeq %d", b.Recipient.String(), b.CSeq().SeqNo)
	}
	if r := reasonsOf(b); len(r) != 1 || r[0].Cause != 16 {
		t.Errorf("Reason of BYE: %v", r)
	}
	if end := d.End(); end.By != waihu.ByAgent || end.Status != 200 || end.Cause != nil {
		t.Errorf("End = %+v", end)
	}
	idle(t, e)
}

func TestCalleeHangsUp(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{}, answer{})
	f.send(f.dialogRequest(gosip.BYE, inv, "far", 1, []string{`Reason: Q.850;cause=16;text="Normal"`}, ""))
	f.expectStatus(gosip.BYE, 200)
	wait(t, "the end", d.Ended())
	if end := d.End(); end.By != waihu.ByCallee || len(end.Reasons) != 1 || end.Reasons[0].Cause != 16 {
		t.Errorf("End = %+v", end)
	}
	if err := d.Bye(context.Background(), HangUp{By: waihu.ByAgent}); err != nil {
		t.Errorf("Bye after the end: %v", err)
	}
	f.none("BYE", 200*time.Millisecond, isMethod(gosip.BYE))
	idle(t, e)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, nil)
	for _, c := range []struct {
		name    string
		status  int
		headers []string
		want    waihu.Disposition
		fault   Fault
	}{
		{"busy", 486, []string{"Retry-After: 3600"}, waihu.Busy, FaultCallee},
		{"vacant", 404, nil, waihu.Vacant, FaultCallee},
		{"reason wins", 480, []string{"Reason: Q.850;cause=1"}, waihu.Vacant, FaultCallee},
		{"pause", 503, []string{"Retry-After: 7 (busy)"}, waihu.CarrierFault, FaultCarrier},
		{"redirect", 302, []string{"Contact: <sip:else@127.0.0.1:1>"}, waihu.CarrierFault, FaultCarrier},
		{"codec", 488, nil, waihu.OurFault, FaultOurs},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFarEnd(t)
			ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
			req := f.expect(gosip.INVITE)
			f.reply(req, c.status, "No", answer{headers: c.headers, contact: "-"})
			ack := f.expect(gosip.ACK)
			if ack.Via().Value() != req.Via().Value() || ack.CSeq().SeqNo != req.CSeq().SeqNo {
				t.Errorf("ACK is not of the INVITE's transaction: %s", ack.Via().Value())
			}
			fail := failed(t, ch)
			if fail.Status != c.status || fail.Disposition != c.want || fail.Fault != c.fault {
				t.Errorf("status %d, %v, fault %v; want %v, %v", fail.Status, fail.Disposition, fail.Fault, c.want, c.fault)
			}
			if c.status == 503 && fail.RetryAfter != 7*time.Second {
				t.Errorf("RetryAfter = %v", fail.RetryAfter)
			}
			if c.status != 503 && fail.RetryAfter != 0 {
				t.Errorf("%d pauses the trunk for %v", c.status, fail.RetryAfter)
			}
			if !slices.ContainsFunc(fail.Evidence, func(ev waihu.Evidence) bool { return ev.Kind == "sip" }) {
				t.Errorf("no evidence of the answer: %v", fail.Evidence)
			}
			f.none("second INVITE", 100*time.Millisecond, isMethod(gosip.INVITE))
		})
	}
}

func TestRepeatedRefusalIsAcknowledgedAgain(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
	req := f.expect(gosip.INVITE)
	f.reply(req, 486, "Busy Here", answer{})
	ack := f.expect(gosip.ACK)
	failed(t, ch)
	f.reply(req, 486, "Busy Here", answer{})
	eventually(t, "a second ACK", func() bool { return f.count(ack) >= 2 })
}

// ringFor is a ring timeout that leaves a far end which stands still for a while the time to say that it rings.
const ringFor = 1500 * time.Millisecond

func TestRingTimeout(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil), RingTimeout: ringFor})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 180, "Ringing", answer{})
	c := f.expect(gosip.CANCEL)
	if c.Via().Value() != inv.Via().Value() || c.CSeq().SeqNo != inv.CSeq().SeqNo || c.Recipient.String() != inv.Recipient.String() {
		t.Errorf("CANCEL does not name the INVITE: %s", c.String())
	}
	f.reply(c, 200, "OK", answer{})
	f.reply(inv, 487, "Request Terminated", answer{})
	f.expect(gosip.ACK)
	fail := failed(t, ch)
	if !fail.TimedOut || fail.Canceled || fail.Disposition != waihu.NoAnswer || fail.Ring == 0 {
		t.Errorf("%+v", fail)
	}
	idle(t, e)
}

func TestCancelWaitsForProvisional(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := dial(ctx, e, Invite{Peer: f.peerOf(nil)})
	inv := f.expect(gosip.INVITE)
	why := errors.New("no longer wanted")
	cancel(why)
	f.none("CANCEL", 200*time.Millisecond, isMethod(gosip.CANCEL))
	f.reply(inv, 100, "Trying", answer{})
	c := f.expect(gosip.CANCEL)
	f.reply(c, 200, "OK", answer{})
	f.reply(inv, 487, "Request Terminated", answer{})
	f.expect(gosip.ACK)
	fail := failed(t, ch)
	if !fail.Canceled || !errors.Is(fail, why) {
		t.Errorf("%+v", fail)
	}
}

func TestAnswerCrossesCancel(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil), RingTimeout: ringFor})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 180, "Ringing", answer{})
	c := f.expect(gosip.CANCEL)
	f.reply(inv, 200, "OK", answer{sdp: theirSDP})
	f.reply(c, 481, "No Such Transaction", answer{})
	f.expect(gosip.ACK)
	b := f.expect(gosip.BYE)
	f.reply(b, 200, "OK", answer{})
	fail := failed(t, ch)
	if !fail.Crossed || fail.Disposition != waihu.NoAnswer {
		t.Errorf("%+v", fail)
	}
	idle(t, e)
}

func TestLateAnswerAfterGivingUp(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil), RingTimeout: ringFor})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 180, "Ringing", answer{})
	c := f.expect(gosip.CANCEL)
	f.reply(c, 200, "OK", answer{})
	fail := failed(t, ch) // after 64*T1 without a final answer
	if !fail.TimedOut || fail.Status != 0 {
		t.Errorf("%+v", fail)
	}
	f.reply(inv, 200, "OK", answer{sdp: theirSDP})
	f.expect(gosip.ACK)
	f.reply(f.expect(gosip.BYE), 200, "OK", answer{})
}

func TestSilentTrunk(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
	inv := f.expect(gosip.INVITE)
	fail := failed(t, ch)
	if fail.Disposition != waihu.CarrierFault || !errors.Is(fail, gosip.ErrTransactionTimeout) {
		t.Errorf("%+v", fail)
	}
	if n := f.count(inv); n < 5 {
		t.Errorf("INVITE was sent %d times, want the repetitions of timer A", n)
	}
	// The ring timeout may end before timer B: the trunk is as silent as before.
	ch = dial(context.Background(), e, Invite{Peer: f.peerOf(nil), RingTimeout: 50 * time.Millisecond})
	f.expect(gosip.INVITE)
	if fail = failed(t, ch); fail.Disposition != waihu.CarrierFault || !fail.TimedOut {
		t.Errorf("silent until the ring timeout: %+v", fail)
	}
	// Whoever says 100 works.
	ch = dial(context.Background(), e, Invite{Peer: f.peerOf(nil), RingTimeout: ringFor})
	inv = f.expect(gosip.INVITE)
	f.reply(inv, 100, "Trying", answer{})
	f.reply(f.expect(gosip.CANCEL), 200, "OK", answer{})
	f.reply(inv, 487, "Request Terminated", answer{})
	if fail = failed(t, ch); fail.Disposition != waihu.NoAnswer {
		t.Errorf("100 and nothing more: %+v", fail)
	}
}

// Some gateways end the status line of an answer without a phrase where its blank should be.
func TestAnswerWithoutPhrase(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
	res := f.response(f.expect(gosip.INVITE), 200, "OK", answer{sdp: theirSDP})
	f.write(bytes.Replace([]byte(res.String()), []byte("200 OK\r\n"), []byte("200\r\n"), 1))
	f.expect(gosip.ACK)
	bye(t, f, standing(t, ch))
}

func TestManyProvisionals(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	var seen []int
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil), OnProgress: func(p Progress) { seen = append(seen, p.Status) }})
	inv := f.expect(gosip.INVITE)
	var want []int
	for i := range 40 {
		status := []int{180, 183, 181, 182}[i%4]
		want = append(want, status)
		f.reply(inv, status, "Progress", answer{})
	}
	f.reply(inv, 200, "OK", answer{sdp: theirSDP})
	f.expect(gosip.ACK)
	d := standing(t, ch)
	if !slices.Equal(seen, want) {
		t.Errorf("progress out of order or lost: %v", seen)
	}
	bye(t, f, d)
}

func TestRepeated200IsAcknowledgedEachTime(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{}, answer{})
	for range 5 {
		f.reply(inv, 200, "OK", answer{sdp: theirSDP})
		if a := f.expect(gosip.ACK); a.CSeq().SeqNo != inv.CSeq().SeqNo {
			t.Errorf("ACK with CSeq %d", a.CSeq().SeqNo)
		}
	}
	bye(t, f, d)
	// Even after the end the far end may not have seen an ACK.
	f.reply(inv, 200, "OK", answer{sdp: theirSDP})
	f.expect(gosip.ACK)
}

func TestForks(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	var tags []string
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil), OnProgress: func(p Progress) { tags = append(tags, p.Tag+":"+string(p.SDP)) }})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 183, "Session Progress", answer{tag: "one", sdp: otherSDP})
	f.reply(inv, 183, "Session Progress", answer{tag: "two", sdp: theirSDP})
	f.reply(inv, 200, "OK", answer{tag: "two"}) // no SDP: the 183's of the same tag counts
	f.expect(gosip.ACK)
	d := standing(t, ch)
	if got := string(d.RemoteSDP()); got != theirSDP {
		t.Errorf("RemoteSDP = %q", got)
	}
	if !slices.Equal(tags, []string{"one:" + otherSDP, "two:" + theirSDP}) {
		t.Errorf("progress %q", tags)
	}
	f.reply(inv, 200, "OK", answer{tag: "one", sdp: otherSDP})
	if a := f.expect(gosip.ACK); toTag(a) != "one" {
		t.Errorf("ACK to %s", toTag(a))
	}
	b := f.expect(gosip.BYE)
	if toTag(b) != "one" {
		t.Errorf("BYE to %s", toTag(b))
	}
	f.reply(b, 200, "OK", answer{})
	select {
	case <-d.Ended():
		t.Error("the call itself ended")
	default:
	}
	bye(t, f, d)
	idle(t, e)
}

func toTag(m gosip.Message) string {
	tag, _ := m.To().Params.Get("tag")
	return tag
}

func TestAnswerWithoutSDP(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 183, "Session Progress", answer{tag: "one", sdp: theirSDP})
	f.reply(inv, 200, "OK", answer{tag: "two"})
	f.expect(gosip.ACK)
	b := f.expect(gosip.BYE)
	if r := reasonsOf(b); len(r) != 1 || r[0].Cause != 88 {
		t.Errorf("Reason %v", r)
	}
	f.reply(b, 200, "OK", answer{})
	if fail := failed(t, ch); fail.Disposition != waihu.OurFault {
		t.Errorf("%+v", fail)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	for _, c := range []struct {
		name          string
		a             answer
		uri           string
		routes        []string
		recordRouting []string
	}{
		{name: "loose", a: answer{headers: []string{"Record-Route: <sip:FAR;lr;x=2>, <sip:10.9.9.9;lr>"}},
			uri: "sip:callee@FAR", routes: []string{"<sip:10.9.9.9;lr>", "<sip:FAR;lr;x=2>"}},
		{name: "strict", a: answer{headers: []string{"Record-Route: <sip:FAR>"}},
			uri: "sip:FAR", routes: []string{"<sip:callee@FAR>"}},
		{name: "no contact", a: answer{contact: "-"}, uri: "sip:13800138000@FAR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "loose" {
				// The topmost reversed route is where it goes: keep it reachable.
				c.a.headers[0] = "Record-Route: <sip:10.9.9.9;lr>, <sip:FAR;lr;x=2>"
				c.routes[0], c.routes[1] = c.routes[1], c.routes[0]
			}
			here := func(s string) string { return strings.ReplaceAll(s, "FAR", f.addr()) }
			for i := range c.a.headers {
				c.a.headers[i] = here(c.a.headers[i])
			}
			c.a.sdp = theirSDP
			ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
			f.reply(f.expect(gosip.INVITE), 200, "OK", c.a)
			ack := f.expect(gosip.ACK)
			d := standing(t, ch)
			b := bye(t, f, d)
			for _, req := range []*gosip.Request{ack, b} {
				if got := req.Recipient.String(); got != here(c.uri) {
					t.Errorf("%s to %s, want %s", req.Method, got, here(c.uri))
				}
				var routes []string
				for _, h := range req.GetHeaders("route") {
					routes = append(routes, h.Value())
				}
				var want []string
				for _, r := range c.routes {
					want = append(want, here(r))
				}
				if !slices.Equal(routes, want) {
					t.Errorf("%s Route %v, want %v", req.Method, routes, want)
				}
			}
		})
	}
}

func TestProxyAndIdentity(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	for _, c := range []struct {
		header, name, want string
	}{
		{"pai", "P-Asserted-Identity", "<sip:01088886666@ims.example>"},
		{"ppi", "P-Preferred-Identity", "<sip:01088886666@ims.example>"},
		{"rpid", "Remote-Party-ID", "<sip:01088886666@ims.example>;party=calling;screen=yes;privacy=off"},
	} {
		t.Run(c.header, func(t *testing.T) {
			p := f.peerOf(func(tr *waihu.Trunk) {
				tr.URI, tr.Proxy, tr.Domain = "sip:core.example", f.addr(), "ims.example"
				tr.CallerHeader, tr.Username, tr.PublicAddress = c.header, "trunk 1"[:5], "203.0.113.9"
				tr.CalleeRewrite = []waihu.Rewrite{{Match: "^", Replace: "8888#0"}}
			})
			ch := dial(context.Background(), e, Invite{Peer: p})
			inv := f.expect(gosip.INVITE)
			f.reply(inv, 486, "Busy Here", answer{})
			failed(t, ch)
			if got := inv.Recipient.String(); got != "sip:8888%23013800138000@core.example" {
				t.Errorf("Request-URI %s", got)
			}
			if got := inv.Route().Address.String(); got != "sip:"+f.addr()+";lr" {
				t.Errorf("Route %s", got)
			}
			if got := inv.From().Address.String(); got != "sip:trunk@ims.example" {
				t.Errorf("From %s", got)
			}
			if got := headerValue(inv, strings.ToLower(c.name)); got != c.want {
				t.Errorf("%s: %s", c.name, got)
			}
			if inv.Via().Host != "203.0.113.9" || inv.Contact().Address.Host != "203.0.113.9" {
				t.Errorf("Via %s, Contact %s", inv.Via().Value(), inv.Contact().Value())
			}
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patient)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, patient)
		}
		<-tick.C
	}
}
