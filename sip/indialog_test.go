package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

// fakeSession records what a dialog asks of it.
type fakeSession struct {
	mu      sync.Mutex
	refuse  error
	offers  []string // nil offers as "-"
	answers []string
	digits  string
}

const answerSDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\n"

func (s *fakeSession) Negotiate(offer []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offer == nil {
		s.offers = append(s.offers, "-")
		return []byte(ourSDP), s.refuse
	}
	s.offers = append(s.offers, string(offer))
	return []byte(answerSDP), s.refuse
}

func (s *fakeSession) Answered(answer []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, string(answer))
	return s.refuse
}

func (s *fakeSession) DTMF(digit rune) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.digits += string(digit)
}

func (s *fakeSession) see() (offers, answers []string, digits string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.offers...), append([]string(nil), s.answers...), s.digits
}

func TestReinvite(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	s := &fakeSession{}
	d, inv := up(t, e, f, Invite{Session: s}, answer{})
	re := f.dialogRequest(gosip.INVITE, inv, "far", 10, []string{sdpHeader}, otherSDP)
	f.send(re)
	ok := f.expectStatus(gosip.INVITE, 200)
	if string(ok.Body()) != answerSDP || ok.Contact() == nil {
		t.Errorf("answer %s", ok.String())
	}
	if string(d.RemoteSDP()) != otherSDP {
		t.Errorf("RemoteSDP %q", d.RemoteSDP())
	}
	// No ACK yet: another re-INVITE is premature, our 200 is repeated.
	f.send(f.dialogRequest(gosip.INVITE, inv, "far", 11, []string{sdpHeader}, theirSDP))
	if res := f.expectStatus(gosip.INVITE, 500); headerValue(res, "retry-after") == "" {
		t.Error("500 without Retry-After")
	}
	eventually(t, "a repeated 200", func() bool { return f.countStatus(re, 200) >= 2 })
	f.send(f.dialogRequest(gosip.ACK, inv, "far", 10, nil, ""))

	// Without an offer: ours in the 200, theirs in the ACK.
	f.send(f.dialogRequest(gosip.INVITE, inv, "far", 12, nil, ""))
	if ok := f.expectStatus(gosip.INVITE, 200); string(ok.Body()) != ourSDP {
		t.Errorf("our offer is %q", ok.Body())
	}
	f.send(f.dialogRequest(gosip.ACK, inv, "far", 12, []string{sdpHeader}, theirSDP))
	eventually(t, "the answer in the ACK", func() bool { _, a, _ := s.see(); return len(a) == 1 && a[0] == theirSDP })
	if string(d.RemoteSDP()) != theirSDP {
		t.Errorf("RemoteSDP %q", d.RemoteSDP())
	}
	s.mu.Lock()
	s.refuse = errors.New("no common codec")
	s.mu.Unlock()
	f.send(f.dialogRequest(gosip.INVITE, inv, "far", 13, []string{sdpHeader}, otherSDP))
	f.expectStatus(gosip.INVITE, 488)
	if string(d.RemoteSDP()) != theirSDP {
		t.Errorf("a refused offer changed RemoteSDP")
	}
	bye(t, f, d)
}

// countStatus is how often an answer with that status to req arrived.
func (f *farEnd) countStatus(req *gosip.Request, status int) int {
	branch, _, _ := strings.Cut(strings.SplitN(headerValue(req, "via"), "branch=", 2)[1], ";")
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[branch+" "+headerValue(req, "cseq")+fmt.Sprint(status)]
}

func TestReinviteWithoutSession(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{}, answer{})
	f.send(f.dialogRequest(gosip.INVITE, inv, "far", 1, []string{sdpHeader}, theirSDP))
	if ok := f.expectStatus(gosip.INVITE, 200); string(ok.Body()) != ourSDP {
		t.Errorf("a refresh with the same description changed ours: %q", ok.Body())
	}
	f.send(f.dialogRequest(gosip.ACK, inv, "far", 1, nil, ""))
	f.send(f.dialogRequest(gosip.INVITE, inv, "far", 2, []string{sdpHeader}, otherSDP))
	f.expectStatus(gosip.INVITE, 488)
	bye(t, f, d)
}

func TestReinviteNeverAcknowledged(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{Session: &fakeSession{}}, answer{})
	f.send(f.dialogRequest(gosip.INVITE, inv, "far", 1, []string{sdpHeader}, otherSDP))
	f.expectStatus(gosip.INVITE, 200)
	f.reply(f.expect(gosip.BYE), 200, "OK", answer{})
	wait(t, "the end", d.Ended())
	if end := d.End(); !errors.Is(end.Cause, errNoACK) || end.By != waihu.BySystem {
		t.Errorf("%+v", end)
	}
}

func TestRequestsInDialog(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	s := &fakeSession{}
	d, inv := up(t, e, f, Invite{Session: s}, answer{})
	seq := uint32(100)
	ask := func(method gosip.RequestMethod, status int, headers []string, body string) *gosip.Response {
		t.Helper()
		seq++
		f.send(f.dialogRequest(method, inv, "far", seq, headers, body))
		return f.expectStatus(method, status)
	}
	if res := ask(gosip.OPTIONS, 200, nil, ""); !hasToken(res, "allow", "", "UPDATE") || headerValue(res, "accept") == "" {
		t.Errorf("OPTIONS: %s", res.String())
	}
	ask(gosip.UPDATE, 200, nil, "")
	if res := ask(gosip.UPDATE, 200, []string{sdpHeader}, otherSDP); string(res.Body()) != answerSDP {
		t.Errorf("UPDATE: %q", res.Body())
	}
	if string(d.RemoteSDP()) != otherSDP {
		t.Errorf("RemoteSDP %q", d.RemoteSDP())
	}
	ask(gosip.INFO, 200, []string{"Content-Type: application/dtmf-relay"}, "Signal=5\r\nDuration=160\r\n")
	ask(gosip.INFO, 200, []string{"Content-Type: application/dtmf"}, "#")
	ask(gosip.INFO, 200, []string{"Content-Type: application/x-unheard"}, "whatever")
	ask(gosip.NOTIFY, 481, []string{"Event: refer"}, "")
	ask(gosip.MESSAGE, 405, nil, "hello")
	ask(gosip.REFER, 405, []string{"Refer-To: <sip:x@y>"}, "")
	ask("FROBNICATE", 501, nil, "")
	if res := ask(gosip.UPDATE, 420, []string{"Require: timer, precondition"}, ""); headerValue(res, "unsupported") != "precondition" {
		t.Errorf("Unsupported: %s", headerValue(res, "unsupported"))
	}
	f.send(f.dialogRequest(gosip.OPTIONS, inv, "far", 1, nil, ""))
	f.expectStatus(gosip.OPTIONS, 500) // CSeq below the last
	f.send(f.dialogRequest(gosip.OPTIONS, inv, "other", seq, nil, ""))
	f.expectStatus(gosip.OPTIONS, 481)
	if _, _, digits := s.see(); digits != "5#" {
		t.Errorf("digits %q", digits)
	}
	// A repeated request gets the same answer and no second effect.
	info := f.dialogRequest(gosip.INFO, inv, "far", seq+1, []string{"Content-Type: application/dtmf"}, "9")
	f.send(info)
	f.expectStatus(gosip.INFO, 200)
	f.send(info)
	eventually(t, "a repeated answer", func() bool { return f.countStatus(info, 200) == 2 })
	if _, _, digits := s.see(); digits != "5#9" {
		t.Errorf("digits %q", digits)
	}
	bye(t, f, d)
}

func TestByeCrossesBye(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{}, answer{})
	done := make(chan error, 1)
	go func() { done <- d.Bye(context.Background(), HangUp{By: waihu.ByAgent}) }()
	b := f.expect(gosip.BYE)
	f.send(f.dialogRequest(gosip.BYE, inv, "far", 1, nil, ""))
	f.expectStatus(gosip.BYE, 200)
	if err := wait(t, "Bye", done); err != nil {
		t.Error(err)
	}
	f.reply(b, 481, "Gone", answer{})
	if end := d.End(); end.By != waihu.ByAgent {
		t.Errorf("%+v", end)
	}
	idle(t, e)
}

func TestLostBye(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, _ := up(t, e, f, Invite{}, answer{})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := d.Bye(ctx, HangUp{By: waihu.BySystem}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Bye = %v, want the deadline", err)
	}
	b := f.expect(gosip.BYE)
	wait(t, "the end without an answer", d.Ended())
	if end := d.End(); end.By != waihu.BySystem || end.Status != 0 || end.Cause == nil {
		t.Errorf("%+v", end)
	}
	if n := f.count(b); n < 4 {
		t.Errorf("BYE was sent %d times", n)
	}
	if waited := time.Since(begun); d.End().At.Sub(begun) > waited/2 {
		t.Errorf("the call ended %v after the BYE left: what was awaited for %v is no talk", d.End().At.Sub(begun), waited)
	}
}

func TestByeBeforeAckAndRightAfter200(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	// 200 and BYE leave together, many times: the order must hold.
	for range 30 {
		ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
		inv := f.expect(gosip.INVITE)
		f.reply(inv, 180, "Ringing", answer{})
		f.reply(inv, 200, "OK", answer{sdp: theirSDP})
		f.send(f.dialogRequest(gosip.BYE, inv, "far", 1, nil, ""))
		f.expectStatus(gosip.BYE, 200)
		f.expect(gosip.ACK)
		d := standing(t, ch)
		wait(t, "the end", d.Ended())
		if d.End().By != waihu.ByCallee {
			t.Fatalf("%+v", d.End())
		}
	}
}

func TestSendDTMF(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, _ := up(t, e, f, Invite{}, answer{})
	done := make(chan error, 1)
	go func() { done <- d.SendDTMF(context.Background(), '7', 100*time.Millisecond) }()
	info := f.expect(gosip.INFO)
	if !bytes.Contains(info.Body(), []byte("Signal=7\r\nDuration=100")) {
		t.Errorf("%s", info.Body())
	}
	f.reply(info, 200, "OK", answer{})
	if err := wait(t, "SendDTMF", done); err != nil {
		t.Error(err)
	}
	if err := d.SendDTMF(context.Background(), 'x', 0); !errors.Is(err, errDigit) {
		t.Errorf("x: %v", err)
	}
	bye(t, f, d)
}

func TestOutOfDialog(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	p := f.peerOf(nil)
	// A stranger first: silence, counted.
	stray := gosip.NewRequest(gosip.INVITE, gosip.Uri{Scheme: "sip", User: "x", Host: "127.0.0.1"})
	base := func(method gosip.RequestMethod) *gosip.Request {
		inv := gosip.NewRequest(method, stray.Recipient)
		inv.AppendHeader(&gosip.FromHeader{Address: stray.Recipient, Params: gosip.HeaderParams{{K: "tag", V: "a"}}})
		inv.AppendHeader(&gosip.ToHeader{Address: stray.Recipient})
		id := gosip.CallIDHeader(newToken())
		inv.AppendHeader(&id)
		req := f.dialogRequest(method, inv, "far", 1, nil, "")
		to := &gosip.ToHeader{Address: stray.Recipient}
		req.ReplaceHeader(to)
		return req
	}
	f.mu.Lock()
	f.peer = e.udpSocks[0].addr
	f.mu.Unlock()
	f.send(base(gosip.OPTIONS))
	eventually(t, "a counted stranger", func() bool { return e.Stats().Strangers == 1 })
	f.none("answer", 100*time.Millisecond, func(gosip.Message) bool { return true })
	forget, err := e.Allow(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	f.send(base(gosip.OPTIONS))
	f.expectStatus(gosip.OPTIONS, 200)
	f.send(base(gosip.INVITE))
	f.expectStatus(gosip.INVITE, 480)
	f.send(base(gosip.BYE))
	f.expectStatus(gosip.BYE, 481)
	f.send(base(gosip.CANCEL))
	f.expectStatus(gosip.CANCEL, 481)
	f.send(base(gosip.MESSAGE))
	f.expectStatus(gosip.MESSAGE, 405)
	forget()
	forget()
	f.send(base(gosip.OPTIONS))
	eventually(t, "another stranger", func() bool { return e.Stats().Strangers == 2 })
}

// A carrier's other machine may end the call: whoever names the dialog is heard.
func TestByeFromAnotherSource(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	d, inv := up(t, e, f, Invite{}, answer{})
	// Make the source a stranger, as another address would be.
	e.mu.Lock()
	for a := range e.peers {
		delete(e.peers, a)
	}
	e.mu.Unlock()
	f.send(f.dialogRequest(gosip.BYE, inv, "guess", 1, nil, ""))
	eventually(t, "a counted stranger", func() bool { return e.Stats().Strangers == 1 })
	f.none("answer to a guess", 100*time.Millisecond, func(m gosip.Message) bool { _, ok := m.(*gosip.Response); return ok })
	f.send(f.dialogRequest(gosip.BYE, inv, "far", 1, nil, ""))
	f.expectStatus(gosip.BYE, 200)
	wait(t, "the end", d.Ended())
}

func TestUpdateInEarlyDialog(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	s := &fakeSession{}
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil), Session: s})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 180, "Ringing", answer{})
	f.send(f.dialogRequest(gosip.UPDATE, inv, "far", 1, []string{sdpHeader}, otherSDP))
	f.expectStatus(gosip.UPDATE, 491) // our own offer is not answered yet
	f.reply(inv, 183, "Session Progress", answer{sdp: theirSDP})
	f.send(f.dialogRequest(gosip.UPDATE, inv, "far", 2, []string{sdpHeader}, otherSDP))
	if res := f.expectStatus(gosip.UPDATE, 200); string(res.Body()) != answerSDP {
		t.Errorf("%q", res.Body())
	}
	f.send(f.dialogRequest(gosip.INVITE, inv, "far", 3, []string{sdpHeader}, otherSDP))
	f.expectStatus(gosip.INVITE, 481)
	f.reply(inv, 200, "OK", answer{})
	f.expect(gosip.ACK)
	d := standing(t, ch)
	if string(d.RemoteSDP()) != otherSDP {
		t.Errorf("RemoteSDP %q", d.RemoteSDP())
	}
	bye(t, f, d)
}

func TestSDPBesideISUP(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
	inv := f.expect(gosip.INVITE)
	res := f.response(inv, 200, "OK", answer{headers: []string{"Content-Type: multipart/mixed; boundary=xx"}})
	res.SetBody([]byte("--xx\r\nContent-Type: application/isup\r\n\r\n\x01\x02\r\n--xx\r\nContent-Type: application/sdp\r\n\r\n" + theirSDP + "\r\n--xx--\r\n"))
	f.write([]byte(res.String()))
	f.expect(gosip.ACK)
	d := standing(t, ch)
	if string(d.RemoteSDP()) != theirSDP {
		t.Errorf("RemoteSDP %q", d.RemoteSDP())
	}
	bye(t, f, d)
}
