package sip

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

// crash copies the journal aside before the endpoint stops, as a kill would leave it.
func crash(t *testing.T, journal string, stop func()) {
	t.Helper()
	left := file(t, journal)
	stop()
	if err := os.WriteFile(journal, append(left, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// restart opens an endpoint on the same address with the same journal.
func restart(t *testing.T, journal, addr string) *Endpoint {
	t.Helper()
	return startEndpoint(t, func(o *Options) {
		o.Journal = journal
		o.Listen = []ListenAddr{{"udp", addr}}
	})
}

func endOrphan(e *Endpoint, o Orphan) chan error {
	ch := make(chan error, 1)
	go func() { ch <- e.EndOrphan(context.Background(), o) }()
	return ch
}

func TestOrphanThatStood(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	journal := filepath.Join(t.TempDir(), "journal")
	e, stop := openEndpoint(t, func(o *Options) { o.Journal = journal })
	addr := e.Addrs()[0].Addr
	call := newCallID()
	peer := f.peerOf(nil)
	d, inv := up(t, e, f, Invite{Call: call, Peer: peer}, answer{headers: []string{"Record-Route: <sip:" + f.addr() + ";lr>"}})
	if info, err := os.Stat(journal); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("journal %v %v", info.Mode(), err)
	}
	stop() // without a BYE: the entry must survive that as well as a kill
	wait(t, "the end", d.Ended())
	if !errors.Is(d.End().Cause, ErrClosed) {
		t.Errorf("%+v", d.End())
	}

	e = restart(t, journal, addr)
	done := endOrphan(e, Orphan{Call: call, Peer: peer, Callee: "13800138000", Caller: "01088886666"})
	b := f.expect(gosip.BYE)
	if b.CallID().Value() != inv.CallID().Value() || b.From().Value() != inv.From().Value() || toTag(b) != "far" {
		t.Errorf("BYE names another dialog: %s", b.String())
	}
	if b.Route() == nil || b.Recipient.User != "callee" || b.CSeq().SeqNo <= inv.CSeq().SeqNo {
		t.Errorf("BYE %s", b.String())
	}
	f.reply(b, 200, "OK", answer{})
	if err := wait(t, "the orphan's end", done); err != nil {
		t.Fatal(err)
	}
	if _, ok := e.journal.get(call); ok {
		t.Error("the entry is still in the journal")
	}
	idle(t, e)
}

// TestOrphanStoodInSilence: a carrier that answers no BYE does not keep the callee's number in the journal for ever; an attempt that was
// broken off is left to the next process.
func TestOrphanStoodInSilence(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	journal := filepath.Join(t.TempDir(), "journal")
	e, stop := openEndpoint(t, func(o *Options) { o.Journal = journal })
	addr := e.Addrs()[0].Addr
	call, broken := newCallID(), newCallID()
	peer := f.peerOf(nil)
	up(t, e, f, Invite{Call: call, Peer: peer}, answer{})
	up(t, e, f, Invite{Call: broken, Peer: peer, Callee: "13900139000"}, answer{})
	stop()

	e = restart(t, journal, addr)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.EndOrphan(ctx, Orphan{Call: broken, Peer: peer, Callee: "13900139000"}); err == nil {
		t.Error("ended by nobody")
	}
	if _, ok := e.journal.get(broken); !ok {
		t.Error("broken off, and the next process cannot end it")
	}
	if err := wait(t, "giving up", endOrphan(e, Orphan{Call: call, Peer: peer, Callee: "13800138000", Caller: "01088886666"})); err == nil {
		t.Error("silence ended it")
	}
	if _, ok := e.journal.get(call); ok {
		t.Error("the entry is still in the journal")
	}
	if err := e.CompactJournal(); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(journal); err != nil || strings.Contains(string(raw), "13800138000") {
		t.Errorf("the journal: %s %v", raw, err)
	}
}

// TestOrphanWithoutJournal: whoever has lost the journal knows nothing of the call, and a 481 to what it would make up does not
// mean that the call is over.
func TestOrphanWithoutJournal(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	e := startEndpoint(t, func(o *Options) { o.Journal = filepath.Join(t.TempDir(), "journal") })
	e.giveUp = 200 * time.Millisecond
	begin := time.Now()
	done := endOrphan(e, Orphan{Call: newCallID(), Peer: f.peerOf(nil), Callee: "13800138000"})
	f.none("anything for it", 150*time.Millisecond, func(gosip.Message) bool { return true })
	if err := wait(t, "the orphan's end", done); !errors.Is(err, errNoJournal) || time.Since(begin) < e.giveUp {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestOrphanThatRang(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	journal := filepath.Join(t.TempDir(), "journal")
	e, stop := openEndpoint(t, func(o *Options) { o.Journal = journal })
	addr := e.Addrs()[0].Addr
	call := newCallID()
	peer := f.peerOf(withPassword) // so several INVITEs may have been sent
	ch := dial(context.Background(), e, Invite{Call: call, Peer: peer})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 401, "Who?", answer{headers: []string{`WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"`}, contact: "-"})
	f.expect(gosip.ACK)
	inv = f.expect(gosip.INVITE)
	f.reply(inv, 180, "Ringing", answer{})
	crash(t, journal, stop)
	failed(t, ch)

	e = restart(t, journal, addr)
	done := endOrphan(e, Orphan{Call: call, Peer: peer, Callee: "13800138000", Caller: "01088886666"})
	hit := false
	for range orphanInvites {
		c := f.expect(gosip.CANCEL)
		if c.Via().Value() != inv.Via().Value() {
			f.reply(c, 481, "No Such Transaction", answer{})
			continue
		}
		hit = true
		if c.CSeq().SeqNo != inv.CSeq().SeqNo || c.Recipient.String() != inv.Recipient.String() || c.From().Value() != inv.From().Value() ||
			c.CallID().Value() != inv.CallID().Value() {
			t.Errorf("CANCEL does not repeat the INVITE:\n%s\n%s", c.String(), inv.String())
		}
		f.reply(c, 200, "OK", answer{})
		f.reply(inv, 487, "Request Terminated", answer{})
	}
	if !hit {
		t.Fatal("no CANCEL with the INVITE's branch")
	}
	if a := f.expect(gosip.ACK); a.Via().Value() != inv.Via().Value() {
		t.Errorf("ACK %s", a.String())
	}
	if err := wait(t, "the orphan's end", done); err != nil {
		t.Fatal(err)
	}
}

// Answered, but killed before the ACK: the 200 that is repeated betrays the dialog.
func TestOrphanAnsweredMeanwhile(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	journal := filepath.Join(t.TempDir(), "journal")
	e, stop := openEndpoint(t, func(o *Options) { o.Journal = journal })
	addr := e.Addrs()[0].Addr
	call := newCallID()
	ch := dial(context.Background(), e, Invite{Call: call, Peer: f.peerOf(nil)})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 180, "Ringing", answer{})
	crash(t, journal, stop)
	failed(t, ch)

	e = restart(t, journal, addr)
	done := endOrphan(e, Orphan{Call: call, Peer: f.peerOf(nil), Callee: "13800138000", Caller: "01088886666"})
	f.reply(f.expect(gosip.CANCEL), 481, "No Such Transaction", answer{})
	f.reply(inv, 200, "OK", answer{sdp: theirSDP})
	if a := f.expect(gosip.ACK); a.CSeq().SeqNo != inv.CSeq().SeqNo {
		t.Errorf("ACK %s", a.String())
	}
	b := f.expect(gosip.BYE)
	if toTag(b) != "far" {
		t.Errorf("BYE %s", b.String())
	}
	if _, ok := e.journal.get(call); !ok {
		t.Error("killed here, the next process would know of nothing to end")
	}
	f.reply(b, 200, "OK", answer{})
	if err := wait(t, "the orphan's end", done); err != nil {
		t.Fatal(err)
	}
	if _, ok := e.journal.get(call); ok {
		t.Error("the entry is still in the journal")
	}
}

func TestOrphanOfSilence(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	e := startEndpoint(t, nil)
	o := Orphan{Call: newCallID(), Peer: f.peerOf(nil), Callee: "13800138000", Caller: "01088886666"}
	start := time.Now()
	done := endOrphan(e, o)
	f.expect(gosip.CANCEL)
	if err := wait(t, "giving up", done); !errors.Is(err, errSilent) {
		t.Errorf("%v", err)
	}
	if d := time.Since(start); d < e.giveUp {
		t.Errorf("gave up after %v", d)
	}
	// Never sent: the far end knows nothing of it.
	done = endOrphan(e, Orphan{Call: newCallID(), Peer: f.peerOf(nil), Callee: "13800138000"})
	f.reply(f.expect(gosip.CANCEL), 481, "No Such Transaction", answer{})
	if err := wait(t, "the end", done); err != nil {
		t.Error(err)
	}
	// A call that this process is making is no orphan.
	d, _ := up(t, e, f, Invite{Call: o.Call}, answer{})
	if err := e.EndOrphan(context.Background(), o); !errors.Is(err, errLaneTaken) {
		t.Errorf("%v", err)
	}
	bye(t, f, d)
}

func TestJournal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, discard)
	if err != nil {
		t.Fatal(err)
	}
	salt := string(j.salt)
	for id := waihu.CallID(1); id <= 3*compactAt; id++ {
		j.add(entry{Call: id, To: "<sip:a@b>;tag=c", Target: "sip:a@b", Seq: 1})
		if id != 7 {
			j.remove(id)
		}
	}
	j.remove(99999)
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(file(t, path)), "\n"); lines > compactAt+8 {
		t.Errorf("%d lines for one live dialog: not compacted", lines)
	}
	// A kill tears the last line.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"add":{"call":8,"to`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if j, err = openJournal(path, discard); err != nil {
		t.Fatal(err)
	}
	if string(j.salt) != salt || len(j.live) != 1 {
		t.Errorf("salt kept %v, live %v", string(j.salt) == salt, j.live)
	}
	if e, ok := j.get(7); !ok || e.Target != "sip:a@b" {
		t.Errorf("%+v %v", e, ok)
	}
	j.close()
	for _, bad := range []string{"hello\n", `{"waihu_sip_journal":9,"salt":"00"}` + "\n", "{}\n{}\n"} {
		p := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(p, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openJournal(p, discard); err == nil {
			t.Errorf("%q was taken for a journal", bad)
		} else if string(file(t, p)) != strings.TrimSpace(bad) {
			t.Errorf("%q was overwritten", bad)
		}
	}
}

func TestDerivedIdentifiers(t *testing.T) {
	t.Parallel()
	a, b := derivation{[]byte("one")}, derivation{[]byte("two")}
	if a.of(5) != (derivation{[]byte("one")}).of(5) || a.of(5) == a.of(6) || a.of(5) == b.of(5) {
		t.Error("identifiers must depend on call and salt alone")
	}
	id := a.of(5)
	if id.callID == "" || id.tag == "" || id.attempt(1) == id.attempt(2) || !strings.HasPrefix(id.attempt(1), gosip.RFC3261BranchMagicCookie) {
		t.Errorf("%+v", id)
	}
}
