package sip

import (
	"context"
	"net/netip"
	"sync"

	gosip "github.com/emiago/sipgo/sip"
)

// inbound is one message with where it came from.
type inbound struct {
	msg   gosip.Message
	src   netip.AddrPort
	sock  *udpSocket // nil: TCP
	local netip.Addr // which of our addresses it came to, when the socket has several; else zero
	known bool       // the source is a configured peer
}

// owner is what a lane's messages are for: a call, a registration, an orphan.
type owner interface {
	// response sees every response of the lane's INVITE transactions before the
	// transaction does, in order of arrival; tx is nil when none knows it.
	response(res *gosip.Response, tx *clientTx)
	// request works a new request within a dialog; it must respond or leave the transaction to someone who does.
	request(req *gosip.Request, tx *gosip.ServerTx)
	// ack brings an ACK that belongs to a 2xx.
	ack(req *gosip.Request)
	// member says whether a request from a source that is no peer names a dialog of ours.
	member(req *gosip.Request) bool
}

// lane is everything with one Call-ID. Its messages are worked one after the other by
// a worker that exists only while there are some.
type lane struct {
	// fixed
	e      *Endpoint
	callID string

	// initMu is held while a client transaction starts: sipgo arms its timers after
	// sending, so a response must not be worked in between (timer B would outlive it
	// and end a call that rings).
	initMu sync.Mutex

	mu     sync.Mutex // after Endpoint.mu
	owner  owner      // nil: out of dialog
	holds  int        // owners that keep the lane
	shutL  bool
	busy   bool
	queue  []inbound
	client []*clientTx
	server []*gosip.ServerTx
}

// clientTx is a client transaction with what sipgo does not keep.
type clientTx struct {
	*gosip.ClientTx
	conn gosip.Connection
	ack  *gosip.Request // of the final non-2xx answer; worker only
}

// openLane returns the lane of a Call-ID of ours, held.
func (e *Endpoint) openLane(callID string, o owner) (*lane, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	l := e.lanes[callID]
	if l == nil {
		l = &lane{e: e, callID: callID}
		e.lanes[callID] = l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != nil {
		return nil, errLaneTaken
	}
	l.owner = o
	l.holds++
	return l, nil
}

// release lets the lane go once its transactions have ended.
func (l *lane) release() {
	l.mu.Lock()
	l.holds--
	l.mu.Unlock()
	l.retire()
}

func (l *lane) retire() {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holds == 0 && !l.busy && len(l.client) == 0 && len(l.server) == 0 && l.e.lanes[l.callID] == l {
		delete(l.e.lanes, l.callID)
	}
}

// receive routes one message; called by the socket readers in order of arrival.
func (e *Endpoint) receive(in inbound) {
	status, phrase := validate(in.msg)
	if status != 0 {
		e.stats.malformed.Add(1)
		if req, ok := in.msg.(*gosip.Request); ok && in.known && !req.IsAck() && status > 0 {
			e.refuse(in, req, status, phrase)
		}
		return
	}
	callID := in.msg.CallID().Value()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	l := e.lanes[callID]
	if l == nil {
		req, ok := in.msg.(*gosip.Request)
		switch {
		case !in.known:
			e.stats.strangers.Add(1)
			return
		case !ok || req.IsAck():
			e.stats.stray.Add(1)
			return
		}
		l = &lane{e: e, callID: callID}
		e.lanes[callID] = l
	}
	l.push(in)
}

// refuse answers a malformed request of a peer without a transaction.
func (e *Endpoint) refuse(in inbound, req *gosip.Request, status int, phrase string) {
	if req.Via() == nil {
		return
	}
	if conn := e.answerPath(in, req); conn != nil {
		_ = conn.WriteMsg(gosip.NewResponseFromRequest(req, status, phrase, nil))
		conn.TryClose()
	}
}

func (l *lane) push(in inbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shutL {
		return
	}
	l.queue = append(l.queue, in)
	if !l.busy {
		l.busy = true
		l.e.running.Go(l.work)
	}
}

func (l *lane) work() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.busy, l.queue = false, nil
			l.mu.Unlock()
			l.retire()
			return
		}
		in := l.queue[0]
		l.queue = l.queue[1:]
		o := l.owner
		l.mu.Unlock()
		switch m := in.msg.(type) {
		case *gosip.Response:
			l.response(m, o)
		case *gosip.Request:
			l.request(in, m, o)
		}
	}
}

// spawn runs f on a goroutine that Run waits for; false when the endpoint has stopped.
func (l *lane) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shutL {
		return false
	}
	l.e.running.Go(f)
	return true
}

// shut ends everything of the lane at once.
func (l *lane) shut() {
	l.mu.Lock()
	l.shutL = true
	l.queue = nil
	client, server, o := l.client, l.server, l.owner
	l.client, l.server = nil, nil
	l.mu.Unlock()
	for _, tx := range client {
		tx.Terminate()
	}
	for _, tx := range server {
		tx.Terminate()
	}
	if s, ok := o.(interface{ shut() }); ok {
		s.shut()
	}
}

func (l *lane) response(res *gosip.Response, o owner) {
	key, err := gosip.ClientTxKeyMake(res)
	if err != nil {
		l.e.stats.malformed.Add(1)
		return
	}
	l.initMu.Lock()
	var tx *clientTx
	l.mu.Lock()
	for _, c := range l.client {
		if c.Key() == key {
			tx = c
			break
		}
	}
	l.mu.Unlock()
	l.initMu.Unlock()
	if tx == nil && o == nil {
		l.e.stats.stray.Add(1)
		return
	}
	invite := res.CSeq().MethodName == gosip.INVITE
	if tx != nil && invite && res.StatusCode >= 300 {
		if tx.ack != nil {
			// A repeated final answer: the ACK was lost. sipgo would hold this lane for T2 before it repeats it.
			_ = tx.conn.WriteMsg(tx.ack)
			return
		}
		tx.ack = ackFailure(tx.Origin(), res)
	}
	if invite && o != nil {
		o.response(res, tx)
	} else if tx == nil {
		l.e.stats.stray.Add(1)
	}
	if tx == nil {
		return
	}
	tx.Receive(res)
	if !invite && !res.IsProvisional() {
		// sipgo keeps it for 32 s (RFC 3261 says T4) to absorb repeated answers; as strays they do no harm,
		// and a busy dialer would hold thousands of ended calls.
		tx.Terminate()
	}
}

func (l *lane) request(in inbound, req *gosip.Request, o owner) {
	if !in.known && (o == nil || !o.member(req)) {
		l.e.stats.strangers.Add(1)
		return
	}
	if req.IsAck() {
		if tx := l.findServer(req, gosip.INVITE); tx != nil {
			tx.Terminate() // ACK of our refusal: nothing is left to repeat
			return
		}
		if o != nil {
			o.ack(req)
		} else {
			l.e.stats.stray.Add(1)
		}
		return
	}
	if tx := l.findServer(req, ""); tx != nil {
		_ = tx.Receive(req) // repeats the last answer
		return
	}
	tx, err := l.serve(in, req)
	if err != nil {
		return
	}
	if req.IsCancel() {
		// Requests are answered as they come, so whatever it names has had its final answer.
		if l.findServer(req, gosip.INVITE) != nil {
			respond(tx, req, 200, "OK")
		} else {
			respond(tx, req, 481, "Call/Transaction Does Not Exist")
		}
		return
	}
	if o != nil {
		o.request(req, tx)
		return
	}
	l.e.outOfDialog(req, tx)
}

// findServer finds the transaction of a repeated request, or with method INVITE that which an ACK or CANCEL names.
func (l *lane) findServer(req *gosip.Request, method gosip.RequestMethod) *gosip.ServerTx {
	probe := req
	if method != "" && req.Method != method {
		probe = gosip.NewRequest(method, req.Recipient)
		gosip.CopyHeaders("via", req, probe)
		gosip.CopyHeaders("from", req, probe)
		gosip.CopyHeaders("call-id", req, probe)
		probe.AppendHeader(&gosip.CSeqHeader{SeqNo: req.CSeq().SeqNo, MethodName: method})
	}
	key, err := gosip.ServerTxKeyMake(probe)
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tx := range l.server {
		if tx.Key() == key {
			return tx
		}
	}
	return nil
}

// serve starts a server transaction.
func (l *lane) serve(in inbound, req *gosip.Request) (*gosip.ServerTx, error) {
	key, err := gosip.ServerTxKeyMake(req)
	if err != nil {
		return nil, err
	}
	conn := l.e.answerPath(in, req)
	if conn == nil {
		return nil, errNoConnection
	}
	tx := gosip.NewServerTx(key, req, conn, discard)
	tx.OnTerminate(func(string, error) { l.dropServer(tx) })
	if !add(l, &l.server, tx) {
		tx.Terminate()
		return nil, ErrClosed
	}
	if err := tx.Init(); err != nil {
		tx.Terminate()
		return nil, err
	}
	return tx, nil
}

func add[T any](l *lane, list *[]T, tx T) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shutL {
		return false
	}
	*list = append(*list, tx)
	return true
}

func (l *lane) dropServer(tx *gosip.ServerTx) {
	l.mu.Lock()
	for i, t := range l.server {
		if t == tx {
			l.server = append(l.server[:i:i], l.server[i+1:]...)
			break
		}
	}
	last := len(l.server) == 0 && len(l.client) == 0
	l.mu.Unlock()
	if last {
		l.retire()
	}
}

func (l *lane) dropClient(tx *clientTx) {
	l.mu.Lock()
	for i, t := range l.client {
		if t == tx {
			l.client = append(l.client[:i:i], l.client[i+1:]...)
			break
		}
	}
	last := len(l.server) == 0 && len(l.client) == 0
	l.mu.Unlock()
	if last {
		l.retire()
	}
}

// send starts a client transaction. conn's reference passes to it.
func (l *lane) send(req *gosip.Request, conn gosip.Connection) (*clientTx, error) {
	key, err := gosip.ClientTxKeyMake(req)
	if err != nil {
		conn.TryClose()
		return nil, err
	}
	tx := &clientTx{ClientTx: gosip.NewClientTx(key, req, conn, discard), conn: conn}
	tx.OnTerminate(func(string, error) { l.dropClient(tx) })
	l.initMu.Lock()
	defer l.initMu.Unlock()
	if !add(l, &l.client, tx) {
		tx.Terminate()
		return nil, ErrClosed
	}
	if err := tx.Init(); err != nil {
		tx.Terminate()
		return nil, err
	}
	return tx, nil
}

// await returns the final answer of a transaction other than the call's INVITE. When ctx ends
// first the transaction goes on by itself.
func (l *lane) await(ctx context.Context, tx *clientTx) (*gosip.Response, error) {
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			if err := tx.Err(); err != nil {
				return nil, err
			}
			return nil, gosip.ErrTransactionTerminated
		case <-ctx.Done():
			l.leave(tx)
			return nil, context.Cause(ctx)
		}
	}
}

// leave lets a transaction run to its end without anybody waiting for the answer.
func (l *lane) leave(tx *clientTx) {
	ok := l.spawn(func() {
		for {
			select {
			case res := <-tx.Responses():
				if !res.IsProvisional() {
					return
				}
			case <-tx.Done():
				return
			}
		}
	})
	if !ok {
		tx.Terminate()
	}
}

func respond(tx *gosip.ServerTx, req *gosip.Request, status int, phrase string, headers ...gosip.Header) {
	res := gosip.NewResponseFromRequest(req, status, phrase, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	_ = tx.Respond(res) // a lost answer is repeated when the request is
}
