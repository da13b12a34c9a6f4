package sip

import (
	"context"
	"errors"
	"fmt"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

// Orphan is a call of a process that died. Callee and Caller must be those of its
// Invite: a CANCEL repeats them.
type Orphan struct {
	Call   waihu.CallID
	Peer   *Peer
	Callee waihu.PhoneNumber
	Caller waihu.PhoneNumber
}

// seqAhead is how far the CSeq of an orphan's BYE jumps: the dead process may have refreshed
// the session since the journal was written.
const seqAhead = 1000

// orphanInvites is how many INVITEs a challenged call is taken to have sent.
const orphanInvites = 3

func (c *call) entryLocked(g *leg) entry {
	e := entry{Call: c.inv.Call, To: g.to.Value(), Target: g.target.String(), Seq: g.localSeq}
	for i := range g.routes {
		e.Routes = append(e.Routes, g.routes[i].String())
	}
	return e
}

// legOf rebuilds a dialog from its journal entry.
func (c *call) legOf(e entry) (*leg, error) {
	g := &leg{c: c, localSeq: e.Seq + seqAhead, to: &gosip.ToHeader{}}
	h, err := gosip.DefaultHeadersParser()["to"]([]byte("to"), e.To)
	if err != nil {
		return nil, errors.New("journal: To cannot be read") // the reason would tell the number
	}
	to, ok := h.(*gosip.ToHeader)
	if !ok {
		return nil, errors.New("journal: To is no address")
	}
	g.to = to
	g.tag, _ = to.Params.Get("tag")
	if err := parseURI(e.Target, &g.target); err != nil {
		return nil, errors.New("journal: the target is no SIP address") // which would tell the number
	}
	for _, r := range e.Routes {
		var u gosip.Uri
		if err := parseURI(r, &u); err != nil {
			return nil, fmt.Errorf("journal: route: %w", err)
		}
		g.routes = append(g.routes, u)
	}
	return g, nil
}

// orphanOwner takes what arrives for the orphan's Call-ID while it is being ended.
type orphanOwner struct {
	*call
	finals  chan int  // INVITE's final answers other than 2xx
	answers chan *leg // dialogs that a 2xx revealed; acknowledged, not yet hung up
}

func (o *orphanOwner) response(res *gosip.Response, tx *clientTx) {
	seq := res.CSeq().SeqNo
	switch {
	case res.IsProvisional():
	case res.IsSuccess():
		o.mu.Lock()
		o.cseq = seq
		g := o.legLocked(res)
		fresh := g.localSeq < seqAhead
		if fresh {
			g.localSeq += seqAhead
			o.e.journal.add(o.entryLocked(g)) // once it is acknowledged nobody repeats the 200: a next process must know of it
		}
		o.mu.Unlock()
		g.ack(seq)
		if fresh {
			select {
			case o.answers <- g:
			default:
			}
		}
	case tx == nil && seq <= maxInvites:
		// The 487 to an INVITE of the dead process: acknowledged by what is known of it.
		o.mu.Lock()
		inv, conn := o.inviteLocked(int(seq), o.way), o.way.conn
		o.mu.Unlock()
		_ = conn.WriteMsg(ackFailure(inv, res))
		select {
		case o.finals <- res.StatusCode:
		default:
		}
	}
}

// inviteLocked names the n-th INVITE as its CANCEL and ACK must repeat it.
func (c *call) inviteLocked(n int, w *path) *gosip.Request {
	to := &gosip.ToHeader{Address: c.id.to}
	return c.e.newRequest(gosip.INVITE, c.id.request, w, c.ids.attempt(n), c.routes, c.id.from, to, c.ids.callID, uint32(n))
}

// EndOrphan ends on the wire what is left of a dead process' call: BYE when the
// journal knows its dialog, else CANCEL of every INVITE it may have sent, and ACK and
// BYE for a 200 that still arrives. It returns nil when the far end has confirmed
// that nothing stands, an error when it was silent for 64*T1 or ctx ended. Without the
// dead process' journal nothing can be addressed, and no answer to anything we could send
// would say something of the call: it returns an error after 64*T1.
//
// The endpoint must listen on the address that the dead process used: a CANCEL is
// matched by Via.
//
// Unless ctx ended it, nobody tries again: the journal forgets the dialog, and with it
// the callee's number, also when the far end was silent.
func (e *Endpoint) EndOrphan(ctx context.Context, o Orphan) error {
	err := e.endOrphan(ctx, o)
	if ctx.Err() == nil && !errors.Is(err, errLaneTaken) && !errors.Is(err, ErrClosed) {
		e.journal.remove(o.Call)
	}
	return err
}

func (e *Endpoint) endOrphan(ctx context.Context, o Orphan) error {
	if e.journal.lost {
		t := time.NewTimer(e.giveUp)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		return fmt.Errorf("end call %s of an earlier process: %w", o.Call, errNoJournal)
	}
	c := &call{e: e, inv: Invite{Call: o.Call, Peer: o.Peer, Callee: o.Callee, Caller: o.Caller}, peer: o.Peer, ids: e.ids.of(o.Call), over: true}
	c.creds = credentials{user: o.Peer.authUser, password: o.Peer.password}
	c.id = o.Peer.identify(o.Callee, o.Caller, c.ids.tag)
	c.routes = e.preloaded(o.Peer)
	own := &orphanOwner{call: c, finals: make(chan int, maxInvites), answers: make(chan *leg, maxLegs)}
	var err error
	if c.lane, err = e.openLane(c.ids.callID, own); err != nil {
		return fmt.Errorf("end call %s of an earlier process: %w", o.Call, err)
	}
	defer c.lane.release()
	h := c.peer.hop
	if len(c.routes) > 0 {
		h = uriHop(&c.routes[0])
	}
	if c.targets, err = e.resolver.lookup(ctx, h, c.peer.transport); err != nil {
		return fmt.Errorf("end call %s of an earlier process: %w", o.Call, err)
	}
	defer e.allow(c.targets)()
	if c.way, err = e.path(ctx, c.peer, c.targets[0]); err != nil {
		return fmt.Errorf("end call %s of an earlier process: %w", o.Call, err)
	}
	defer c.way.close()
	c.req = c.inviteLocked(1, c.way)

	ctx, cancel := context.WithTimeoutCause(ctx, e.giveUp+dnsWait, errSilent)
	defer cancel()
	if ent, ok := e.journal.get(o.Call); ok {
		g, err := c.legOf(ent)
		if err == nil {
			err = own.hangUp(ctx, g)
		}
		if err != nil {
			return fmt.Errorf("end call %s of an earlier process: %w", o.Call, err)
		}
		return nil
	}
	if err := own.cancelAll(ctx); err != nil {
		return fmt.Errorf("end call %s of an earlier process: %w", o.Call, err)
	}
	return nil
}

var (
	errSilent    = errors.New("the far end did not answer")
	errNoJournal = errors.New("the journal of dialogs is gone, without it the call cannot be addressed")
)

func (o *orphanOwner) hangUp(ctx context.Context, g *leg) error {
	o.mu.Lock()
	o.legs = append(o.legs, g)
	o.mu.Unlock()
	// 481 says that it has ended already; any answer is one.
	_, err := g.do(ctx, gosip.BYE, func(req *gosip.Request, _ *path) {
		req.AppendHeader(gosip.NewHeader("Reason", Q850(31, "caller restarted").String()))
		req.SetBody(nil)
	})
	return err
}

func (o *orphanOwner) cancelAll(ctx context.Context) error {
	n := len(o.targets)
	if o.peer.password != "" {
		n += orphanInvites - 1
	}
	type result struct {
		status int
		err    error
	}
	results := make(chan result, n*len(o.targets))
	sent := 0
	for _, dst := range o.targets {
		way, err := o.e.path(ctx, o.peer, dst)
		if err != nil {
			continue
		}
		for i := 1; i <= n; i++ {
			o.mu.Lock()
			inv := o.inviteLocked(i, way)
			o.mu.Unlock()
			tx, err := o.lane.send(cancelOf(inv, &Reason{"Q.850", 31, "caller restarted"}), way.take())
			if err != nil {
				continue
			}
			sent++
			if !o.lane.spawn(func() {
				res, err := o.lane.await(ctx, tx)
				if err != nil {
					results <- result{err: err}
					return
				}
				results <- result{status: res.StatusCode}
			}) {
				tx.Terminate()
				return ErrClosed
			}
		}
		way.close()
	}
	if sent == 0 {
		return errSilent
	}
	var found, heard bool
	var last error
	for range sent {
		select {
		case r := <-results:
			found = found || r.status >= 200 && r.status < 300
			heard = heard || r.err == nil
			if r.err != nil {
				last = r.err
			}
		case g := <-o.answers:
			return o.hangUp(ctx, g)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if found {
			break
		}
	}
	if !heard {
		return fmt.Errorf("%w: %w", errSilent, last)
	}
	// Canceled: its 487, or the 200 that crossed, ends the waiting. Unknown: it may have been answered
	// and never acknowledged; then its 200 is repeated at least every T2.
	wait := o.e.giveUp
	if !found {
		wait = o.e.t2 + o.e.t1
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-o.finals:
		return nil
	case g := <-o.answers:
		return o.hangUp(ctx, g)
	case <-t.C:
		if found {
			return fmt.Errorf("%w its canceled INVITE", errSilent)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// request answers what comes for the orphan; a BYE of the far end ends it like ours.
func (o *orphanOwner) request(req *gosip.Request, tx *gosip.ServerTx) {
	if req.Method == gosip.BYE {
		respond(tx, req, 200, "OK")
		return
	}
	respond(tx, req, 481, "Call/Transaction Does Not Exist")
}

func (o *orphanOwner) member(req *gosip.Request) bool {
	tag, _ := req.To().Params.Get("tag")
	return tag == o.ids.tag
}

func (o *orphanOwner) ack(*gosip.Request) { o.e.stats.stray.Add(1) }

func (o *orphanOwner) shut() {}
