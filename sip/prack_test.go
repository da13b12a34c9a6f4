package sip

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

func reliable(rseq int, contact string) answer {
	return answer{headers: []string{"Require: 100rel", "RSeq: " + strconv.Itoa(rseq)}, contact: contact}
}

func TestPRACK(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	var seen []int
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(func(tr *waihu.Trunk) { tr.PRACK = true }),
		OnProgress: func(p Progress) { seen = append(seen, p.Status) }})
	inv := f.expect(gosip.INVITE)
	if !hasToken(inv, "supported", "k", "100rel") {
		t.Error("no Supported: 100rel although the trunk asks for it")
	}
	a := reliable(700, "<sip:gateway@"+f.addr()+";x=1>")
	a.sdp = theirSDP
	f.reply(inv, 183, "Session Progress", a)
	p := f.expect(gosip.PRACK)
	if p.Recipient.User != "gateway" || headerValue(p, "rack") != "700 "+strconv.Itoa(int(inv.CSeq().SeqNo))+" INVITE" || toTag(p) != "far" {
		t.Errorf("PRACK %s", p.String())
	}
	f.reply(inv, 183, "Session Progress", a) // repeated before the 200 to PRACK
	f.reply(p, 200, "OK", answer{})
	f.reply(inv, 180, "Ringing", reliable(703, "")) // out of order
	f.none("PRACK", 150*time.Millisecond, isMethod(gosip.PRACK))
	f.reply(inv, 180, "Ringing", reliable(701, ""))
	p2 := f.expect(gosip.PRACK)
	if p2.CSeq().SeqNo != p.CSeq().SeqNo+1 || p2.Recipient.User != "callee" {
		t.Errorf("second PRACK %s CSeq %d after %d", p2.Recipient.String(), p2.CSeq().SeqNo, p.CSeq().SeqNo)
	}
	f.reply(p2, 200, "OK", answer{})
	f.reply(inv, 200, "OK", answer{}) // the 183 carried the answer
	f.expect(gosip.ACK)
	d := standing(t, ch)
	if string(d.RemoteSDP()) != theirSDP || len(seen) != 2 {
		t.Errorf("RemoteSDP %q, progress %v", d.RemoteSDP(), seen)
	}
	if b := bye(t, f, d); b.CSeq().SeqNo <= p2.CSeq().SeqNo {
		t.Errorf("BYE CSeq %d after PRACK %d", b.CSeq().SeqNo, p2.CSeq().SeqNo)
	}
}

// Each fork counts its own RSeq.
func TestPRACKPerFork(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
	inv := f.expect(gosip.INVITE)
	for _, tag := range []string{"one", "two"} {
		a := reliable(1, "")
		a.tag = tag
		f.reply(inv, 180, "Ringing", a)
		p := f.expect(gosip.PRACK)
		if toTag(p) != tag {
			t.Errorf("PRACK to %s, want %s", toTag(p), tag)
		}
		f.reply(p, 200, "OK", answer{})
	}
	f.reply(inv, 486, "Busy Here", answer{})
	f.expect(gosip.ACK)
	failed(t, ch)
}

func TestIntervalTooSmall(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(func(tr *waihu.Trunk) { tr.SessionTimer = 600 })})
	inv := f.expect(gosip.INVITE)
	if se, ok := sessionExpiresOf(inv); !ok || se.interval != 600*time.Second || !hasToken(inv, "supported", "k", "timer") {
		t.Errorf("Session-Expires %v %v", se, ok)
	}
	f.reply(inv, 422, "Session Interval Too Small", answer{headers: []string{"Min-SE: 3600"}, contact: "-"})
	f.expect(gosip.ACK)
	inv = f.expect(gosip.INVITE)
	if se, _ := sessionExpiresOf(inv); se.interval != time.Hour || headerValue(inv, "min-se") != "3600" || inv.CSeq().SeqNo != 2 {
		t.Errorf("second INVITE: %s", inv.String())
	}
	f.reply(inv, 422, "Session Interval Too Small", answer{headers: []string{"Min-SE: 3600"}, contact: "-"})
	f.expect(gosip.ACK)
	if fail := failed(t, ch); fail.Status != 422 || fail.Disposition != waihu.OurFault {
		t.Errorf("%+v", fail)
	}
}

func withTimer(tr *waihu.Trunk) { tr.SessionTimer = 1800 }

// refreshed answers our refresh and checks it.
func refreshed(t *testing.T, f *farEnd, method gosip.RequestMethod, seq uint32) *gosip.Request {
	t.Helper()
	req := f.expect(method)
	if se, ok := sessionExpiresOf(req); !ok || se.refresher != "uac" || req.CSeq().SeqNo <= seq {
		t.Errorf("refresh: %s", req.String())
	}
	return req
}

func TestWeRefreshByUpdate(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	last := time.Now() // before the interval begins: a machine that stands still makes it longer, never shorter
	d, inv := up(t, e, f, Invite{Peer: f.peerOf(withTimer)}, answer{headers: []string{"Session-Expires: 4;refresher=uac", "Require: timer", "Allow: INVITE, ACK, UPDATE, BYE"}})
	seq := inv.CSeq().SeqNo
	for range 2 {
		u := refreshed(t, f, gosip.UPDATE, seq)
		if after := time.Since(last); after < 1900*time.Millisecond || after > 3900*time.Millisecond {
			t.Errorf("refreshed %v after the last time, want half of 4 s", after)
		}
		last = time.Now()
		if len(u.Body()) != 0 {
			t.Error("an UPDATE that only refreshes carries a body")
		}
		seq = u.CSeq().SeqNo
		f.reply(u, 200, "OK", answer{headers: []string{"Session-Expires: 4;refresher=uac"}})
	}
	bye(t, f, d)
	f.none("UPDATE after the end", 2200*time.Millisecond, isMethod(gosip.UPDATE))
}

func TestWeRefreshByReinvite(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	session := &fakeSession{}
	d, inv := up(t, e, f, Invite{Peer: f.peerOf(withTimer), Session: session}, answer{headers: []string{"Session-Expires: 4"}})
	re := refreshed(t, f, gosip.INVITE, inv.CSeq().SeqNo)
	if string(re.Body()) != ourSDP {
		t.Errorf("the refresh changed our description: %q", re.Body())
	}
	// While ours is pending theirs meets 491.
	f.send(f.dialogRequest(gosip.INVITE, inv, "far", 5, []string{sdpHeader}, otherSDP))
	f.expectStatus(gosip.INVITE, 491)
	f.reply(re, 200, "OK", answer{sdp: otherSDP, headers: []string{"Session-Expires: 1800;refresher=uas"}})
	if a := f.expect(gosip.ACK); a.CSeq().SeqNo == re.CSeq().SeqNo {
		f.reply(re, 200, "OK", answer{sdp: otherSDP, headers: []string{"Session-Expires: 1800;refresher=uas"}})
	}
	f.await("ACK for the repeated 200", func(m gosip.Message) bool {
		r, ok := m.(*gosip.Request)
		return ok && r.IsAck() && r.CSeq().SeqNo == re.CSeq().SeqNo
	})
	eventually(t, "the new place of their media", func() bool {
		_, answers, _ := session.see()
		return len(answers) == 1 && answers[0] == otherSDP && string(d.RemoteSDP()) == otherSDP
	})
	bye(t, f, d)
}

func TestTheyShouldRefreshAndDoNot(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{Peer: f.peerOf(withTimer)}, answer{headers: []string{"Session-Expires: 3;refresher=uas"}})
	// One refresh of theirs moves the end.
	u := f.dialogRequest(gosip.UPDATE, inv, "far", 3, []string{"Supported: timer", "Session-Expires: 90;refresher=uac"}, "")
	f.send(u)
	ok := f.expectStatus(gosip.UPDATE, 200)
	if se, _ := sessionExpiresOf(ok); se.refresher != "uac" || !hasToken(ok, "require", "", "timer") {
		t.Errorf("%s", ok.String())
	}
	f.none("BYE", 3200*time.Millisecond, isMethod(gosip.BYE))
	f.send(f.dialogRequest(gosip.UPDATE, inv, "far", 4, []string{"Supported: timer", "Session-Expires: 20"}, ""))
	if res := f.expectStatus(gosip.UPDATE, 422); headerValue(res, "min-se") != "90" {
		t.Errorf("%s", res.String())
	}
	// A switch that knows no timers but names an interval gets its way.
	f.send(f.dialogRequest(gosip.UPDATE, inv, "far", 5, []string{"Session-Expires: 1;refresher=uac"}, ""))
	f.expectStatus(gosip.UPDATE, 200)
	b := f.expect(gosip.BYE)
	f.reply(b, 200, "OK", answer{})
	wait(t, "the end", d.Ended())
	if end := d.End(); !errors.Is(end.Cause, errExpired) || end.By != waihu.BySystem {
		t.Errorf("%+v", end)
	}
}

func TestRefreshFindsTheCallGone(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{Peer: f.peerOf(withTimer)}, answer{headers: []string{"Session-Expires: 1;refresher=uac", "Allow: UPDATE"}})
	f.reply(refreshed(t, f, gosip.UPDATE, inv.CSeq().SeqNo), 481, "Gone", answer{})
	f.reply(f.expect(gosip.BYE), 481, "Gone", answer{})
	wait(t, "the end", d.Ended())
	if d.End().Cause == nil {
		t.Errorf("%+v", d.End())
	}
}
