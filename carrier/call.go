package carrier

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"waihu"
)

// call is one Call-ID with everything the carrier does in it. Its main goroutine owns
// all fields but those marked; scripts run on it as ordinary functions that wait.
type call struct {
	// fixed
	c      *Carrier
	id     string
	rec    *Record // guarded by Carrier.mu
	script Script
	suffix int
	in     chan *inbound
	notify chan struct{} // something was posted
	done   chan struct{} // closed when main has returned
	rng    *rand.Rand
	log    *slog.Logger
	serial int // makes Contacts unique

	mu     sync.Mutex
	posted []func() // guarded by mu: from the media side, run by main

	timers    []*timer
	invites   []*inviteTx // initial ones and re-INVITEs of the caller, oldest first
	answers   map[string][]byte
	clients   []*clientTx
	dialogs   []*dialog
	offer     *description // of the last initial INVITE
	offerBody []byte
	routed    bool // the carrier put a Record-Route between
	codecs    []int
	eventPT   int  // of our answers; -1: as offered
	noEvents  bool // telephone-event is not understood
	ptime     int
	ringTime  time.Duration // 0: the script's
	retired   []*media      // replaced by a later description
	fresh     bool          // a new initial INVITE has come since the last challenge
	held      bool
	over      bool
	canceled  bool
	stopping  bool   // the carrier stops
	onCancel  func() // replaces the 487
	onAck     func(*dialog) (ignore bool)
	early     func(*inbound) bool // sees each request first; true: it is done
	deaf      bool                // the dialog is gone on our side: 481
	reliable  *reliable
	required  []string // headers of the next 2xx
	found     map[string]bool
}

// inviteTx is a server transaction of an INVITE.
type inviteTx struct {
	req    *sip.Request
	from   peer
	branch string
	seq    uint32
	last   []byte // repeated when the request is
	status int    // final status; 0 before
	tag    string // To-tag of the final response
	acked  bool
	d      *dialog // of a re-INVITE; nil for an initial one
	resend *timer
}

type timer struct {
	at  time.Time
	run func()
}

func (t *timer) stop() {
	if t != nil {
		t.run = nil
	}
}

var errOver = errors.New("the call is over")

const (
	inboxSize = 64
	// quarantine is how long a call that is over still listens: for repeated requests and for RTP that should have stopped.
	quarantine = 1500 * time.Millisecond
	// longest ends calls that nobody ends.
	longest = 15 * time.Minute
)

func (c *Carrier) newCallLocked(id string, req *sip.Request, from peer) *call {
	phone := waihu.PhoneNumber(req.Recipient.User)
	script := c.Script(phone)
	k := &call{
		c: c, id: id, script: script,
		in: make(chan *inbound, inboxSize), notify: make(chan struct{}, 1), done: make(chan struct{}),
		rng: c.dice(phone), log: c.log.With("sip_call", id, "called", phone, "script", script.Suffix),
		answers: map[string][]byte{}, eventPT: -1, ptime: 20, codecs: []int{ptPCMA, ptPCMU}, found: map[string]bool{},
		serial: len(c.records),
		rec:    &Record{Call: id, Called: phone, Suffix: script.Suffix, Script: script.Name, InviteAt: time.Now(), Unmatched: script.Unmatched},
	}
	k.suffix, _ = strconv.Atoi(script.Suffix)
	k.routed = k.rng.IntN(2) == 1
	if suffixOf(phone) == mixed {
		k.ringTime = c.mixture.draw(c.dice(phone)).ring
	}
	if f := req.From(); f != nil {
		k.rec.Caller, k.rec.Host = f.Address.User, f.Address.Host
	}
	return k
}

// main is the call from its INVITE to the last packet of its quarantine.
func (k *call) main(ctx context.Context) {
	defer close(k.done)
	defer k.c.forget(k)
	stop := context.AfterFunc(ctx, func() { k.post(func() { k.stopping, k.over = true, true }) })
	defer stop()
	k.c.begin(k.rec)
	k.pump(time.Now().Add(longest), func() bool { return len(k.invites) > 0 }) // it is on its way to the inbox; one who stops must answer it, too
	if k.script.Unmatched {
		k.log.Info("this suffix has no script of its own: it plays as 01")
	}
	if k.offerOK() {
		if err := behaviours[k.suffix].run(k); err != nil && !errors.Is(err, errOver) {
			k.log.Warn("script ended early", "err", err)
		}
	}
	k.close()
}

// close ends what the script has left open and listens on for a while.
func (k *call) close() {
	k.over = true
	k.reject(480, "Temporarily Unavailable") // unless a final response has been sent
	for _, d := range k.dialogs {
		if d.confirmed && !d.ended {
			k.bye(d)
		}
	}
	k.drop()
	now := time.Now()
	k.pump(now.Add(quarantine), func() bool { return k.stopping })
	k.pump(now.Add(64*k.c.opt.T1+time.Second), func() bool { return k.stopping || k.quiet() })
	k.judgeEnd()
	for _, d := range k.dialogs {
		d.media.close()
	}
	for _, m := range k.retired {
		m.close()
	}
	k.release(waihu.ByNobody)
}

// quiet says that no answer is awaited any more.
func (k *call) quiet() bool {
	for _, tx := range k.invites {
		if tx.status != 0 && !tx.acked {
			return false
		}
	}
	for _, tx := range k.clients {
		if !tx.done {
			return false
		}
	}
	return true
}

// post brings f to the main goroutine. It never blocks.
func (k *call) post(f func()) {
	k.mu.Lock()
	k.posted = append(k.posted, f)
	k.mu.Unlock()
	select {
	case k.notify <- struct{}{}:
	default:
	}
}

// after runs f on the main goroutine once d has passed.
func (k *call) after(d time.Duration, f func()) *timer {
	t := &timer{at: time.Now().Add(d), run: f}
	k.timers = append(k.timers, t)
	return t
}

// scaled is a time of the network, shortened by Speed.
func (k *call) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * k.c.opt.Speed)
}

// sleep lets d pass; errOver when the call ends before.
func (k *call) sleep(d time.Duration) error { return k.wait(d, nil) }

// wait works messages and timers until cond holds or d has passed; errOver when the call is over.
func (k *call) wait(d time.Duration, cond func() bool) error {
	k.pump(time.Now().Add(d), func() bool { return k.over || cond != nil && cond() })
	if k.over {
		return errOver
	}
	return nil
}

// pump works messages and timers until cond holds or the deadline has passed.
func (k *call) pump(deadline time.Time, cond func() bool) {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for !cond() {
		now := time.Now()
		next := deadline
		for i := 0; i < len(k.timers); i++ {
			t := k.timers[i]
			switch {
			case t.run == nil:
				k.timers = slices.Delete(k.timers, i, i+1)
				i--
			case !t.at.After(now):
				run := t.run
				k.timers = slices.Delete(k.timers, i, i+1)
				run()
				next, i = now, len(k.timers) // look again: run may have changed everything
			case t.at.Before(next):
				next = t.at
			}
		}
		if !now.Before(deadline) {
			return
		}
		alarm.Reset(time.Until(next))
		select {
		case in := <-k.in:
			k.receive(in)
		case <-k.notify:
			k.runPosted()
		case <-alarm.C:
		}
	}
}

func (k *call) runPosted() {
	k.mu.Lock()
	fs := k.posted
	k.posted = nil
	k.mu.Unlock()
	for _, f := range fs {
		f()
	}
}

// initial is the newest initial INVITE.
func (k *call) initial() *inviteTx {
	for _, tx := range slices.Backward(k.invites) {
		if tx.d == nil {
			return tx
		}
	}
	return nil
}

func (k *call) hold() {
	if !k.held {
		k.held = true
		k.c.hold(k.rec)
	}
}

// release ends the call by the carrier's count.
func (k *call) release(by waihu.Party) {
	if k.held {
		k.held = false
		k.c.release(k.rec, by)
	}
}

// drop stops all sound of the call; its sockets go on listening.
func (k *call) drop() {
	for _, d := range k.dialogs {
		d.media.stop()
	}
}

// find books a broken rule, each once per call.
func (k *call) find(rule, rfc, format string, args ...any) {
	if !k.found[rule] {
		k.found[rule] = true
		k.c.find(k.id, rule, rfc, format, args...)
	}
}
