package sip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	gosip "github.com/emiago/sipgo/sip"
)

// RegState is how a registration stands.
type RegState struct {
	Up         bool
	Expires    time.Duration // granted
	Status     int           // last answer, 0 when none came
	Fault      Fault
	RetryAfter time.Duration
	Err        error // why it is down
}

const (
	// registerRetry doubles from the first to the last after each failure.
	registerRetry    = 5 * time.Second
	registerRetryMax = 5 * time.Minute
	// goodbye bounds the deregistration at the end.
	goodbye = 4 * time.Second
	// minRegister is the shortest grant that is refreshed as told; shorter ones would flood.
	minRegister = 10 * time.Second
)

// lonely owns the lane of requests outside of dialogs: REGISTER, OPTIONS.
type lonely struct{ e *Endpoint }

func (lonely) response(*gosip.Response, *clientTx) {}
func (o lonely) request(req *gosip.Request, tx *gosip.ServerTx) {
	o.e.outOfDialog(req, tx)
}
func (o lonely) ack(*gosip.Request)       { o.e.stats.stray.Add(1) }
func (lonely) member(*gosip.Request) bool { return false }

// registration is one AOR's binding being kept.
type registration struct {
	e       *Endpoint
	p       *Peer
	lane    *lane
	creds   credentials
	tag     string
	seq     uint32
	expires time.Duration // asked for
	way     *path
}

// Register keeps a registration until ctx ends, then takes it back. report is told of
// every change. Calls that are to take the registrar's Service-Route use the same p. It returns an error only when the peer wants no registration or the
// endpoint has stopped; refusals are reported and tried again.
func (e *Endpoint) Register(ctx context.Context, p *Peer, report func(RegState)) error {
	r, err := e.newRegistration(p)
	if err != nil {
		return err
	}
	defer r.release()
	var forget func()
	defer func() {
		if forget != nil {
			forget()
		}
	}()
	up, wait := false, registerRetry
	for {
		st, addrs := r.once(ctx, r.expires)
		if len(addrs) > 0 {
			next := e.allow(addrs)
			if forget != nil {
				forget()
			}
			forget = next
		}
		if ctx.Err() != nil && !st.Up {
			break
		}
		var pause time.Duration
		if st.Up {
			wait = registerRetry
			// 80 to 90 % of the grant, spread so that lines registered together do not stay together.
			pause = max(st.Expires, minRegister) * time.Duration(800+rand.IntN(100)) / 1000
			if st.Expires < minRegister {
				pause = st.Expires * time.Duration(800+rand.IntN(100)) / 1000
			}
		} else {
			pause = max(wait, st.RetryAfter)
			wait = min(wait*2, registerRetryMax)
		}
		if !st.Up || !up {
			report(st)
		}
		up = st.Up
		t := time.NewTimer(pause)
		select {
		case <-t.C:
			continue
		case <-ctx.Done():
			t.Stop()
		}
		break
	}
	if up {
		bye, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		r.once(bye, 0)
		report(RegState{Err: context.Cause(ctx)})
	}
	return nil
}

// TryRegister registers once and leaves the binding to expire: somebody else may be keeping the same one, and to
// take it back would take theirs. Calls with p take the registrar's Service-Route until the returned function,
// which is never nil, is called.
func (e *Endpoint) TryRegister(ctx context.Context, p *Peer) (RegState, func()) {
	r, err := e.newRegistration(p)
	if err != nil {
		return RegState{Err: err}, func() {}
	}
	st, _ := r.once(ctx, r.expires)
	return st, r.release
}

func (e *Endpoint) newRegistration(p *Peer) (*registration, error) {
	if !p.Registers() {
		return nil, errors.New("register: the trunk asks for no registration")
	}
	l, err := e.openLane("reg-"+newToken()+newToken(), lonely{e})
	if err != nil {
		return nil, err
	}
	return &registration{e: e, p: p, lane: l, tag: newToken(), expires: p.expires, creds: credentials{user: p.authUser, password: p.password}}, nil
}

func (r *registration) release() {
	r.e.mu.Lock()
	delete(r.e.serviceRoutes, r.p)
	r.e.mu.Unlock()
	if r.way != nil {
		r.way.close()
	}
	r.lane.release()
}

// once sends REGISTER until it is granted or refused, over the peer's addresses.
func (r *registration) once(ctx context.Context, expires time.Duration) (RegState, []netip.AddrPort) {
	addrs, err := r.e.resolver.lookup(ctx, r.p.hop, r.p.transport)
	if err != nil {
		return RegState{Fault: FaultOurs, Err: err}, nil
	}
	var st RegState
	for _, a := range addrs {
		st = r.at(ctx, a, expires)
		if st.Up || st.Status != 0 && st.Status != 503 || ctx.Err() != nil {
			break
		}
		r.e.resolver.failed(a)
	}
	return st, addrs
}

func (r *registration) at(ctx context.Context, dst netip.AddrPort, expires time.Duration) RegState {
	way, err := r.e.path(ctx, r.p, dst)
	if err != nil {
		return RegState{Fault: FaultOurs, Err: err}
	}
	if r.way != nil {
		r.way.close()
	}
	r.way = way
	r.creds.begin()
	for range maxInvites {
		res, err := r.send(ctx, way, expires)
		if err != nil {
			return RegState{Fault: FaultCarrier, Err: fmt.Errorf("register at %s: %w", dst, err)}
		}
		st := RegState{Status: res.StatusCode, RetryAfter: retryAfterOf(res), Err: fmt.Errorf("register at %s: %d %s", dst, res.StatusCode, res.Reason)}
		switch {
		case res.StatusCode < 300:
			granted := r.granted(res, expires)
			if expires == 0 {
				return RegState{Status: res.StatusCode}
			}
			if granted <= 0 {
				st.Fault = FaultCarrier
				st.Err = fmt.Errorf("register at %s: accepted, but our address is not among the bindings", dst)
				return st
			}
			r.routes(res)
			if len(r.creds.sets) > 0 {
				r.p.admitted.Store(true)
			}
			return RegState{Up: true, Expires: granted, Status: res.StatusCode}
		case res.StatusCode == 401 || res.StatusCode == 407:
			if err := r.creds.challenged(res); err != nil {
				st.Fault, st.Err = FaultOurs, fmt.Errorf("register at %s: %d: %w", dst, res.StatusCode, err)
				return st
			}
			continue
		case res.StatusCode == 423:
			least, ok := parseSeconds(headerValue(res, "min-expires"))
			if ok && least > expires && least < 30*24*time.Hour {
				expires, r.expires = least, least
				continue
			}
			st.Fault = FaultOurs
			return st
		}
		_, st.Fault = Classify(Signs{Status: res.StatusCode, Sent: true, Elapsed: time.Minute, RetryAfter: st.RetryAfter})
		if st.Fault == FaultCallee {
			st.Fault = FaultOurs // 403, 404: the registrar does not know the user we claim to be
		}
		return st
	}
	return RegState{Fault: FaultCarrier, Err: fmt.Errorf("register at %s: no end of challenges", dst)}
}

func (r *registration) send(ctx context.Context, way *path, expires time.Duration) (*gosip.Response, error) {
	r.seq++
	aor := gosip.Uri{Scheme: "sip", User: userPart(r.p.username), Host: r.p.domain}
	from := &gosip.FromHeader{Address: aor, Params: gosip.HeaderParams{{K: "tag", V: r.tag}}}
	var routes []gosip.Uri
	if r.p.proxied {
		routes = []gosip.Uri{{Scheme: "sip", Host: r.p.hop.host, Port: r.p.hop.port, UriParams: gosip.HeaderParams{{K: "lr"}}}}
	}
	registrar := gosip.Uri{Scheme: "sip", Host: r.p.domain}
	if r.p.domain == r.p.target.Host {
		registrar.Port = r.p.target.Port
	}
	req := r.e.newRequest(gosip.REGISTER, registrar, way, newBranch(), routes, from, &gosip.ToHeader{Address: aor}, r.lane.callID, r.seq)
	contact := way.contact(userPart(r.p.username))
	contact.Params = gosip.HeaderParams{{K: "expires", V: seconds(expires)}}
	req.AppendHeader(contact)
	req.AppendHeader(gosip.NewHeader("Expires", seconds(expires)))
	req.AppendHeader(gosip.NewHeader("Supported", "path"))
	req.AppendHeader(gosip.NewHeader("Allow", allowed))
	if err := r.creds.sign(req); err != nil {
		return nil, err
	}
	req.SetBody(nil)
	tx, err := r.lane.send(req, way.take())
	if err != nil {
		return nil, err
	}
	return r.lane.await(ctx, tx)
}

// granted finds our own binding among those that the 200 lists. A registrar that lists none grants what its
// Expires says.
func (r *registration) granted(res *gosip.Response, asked time.Duration) time.Duration {
	def := asked
	if d, ok := parseSeconds(headerValue(res, "expires")); ok {
		def = d
	}
	contacts := res.GetHeaders("contact")
	if len(contacts) == 0 {
		return def
	}
	for _, h := range contacts {
		c, ok := h.(*gosip.ContactHeader)
		if !ok || !r.isOurs(&c.Address) {
			continue
		}
		if v, ok := c.Params.Get("expires"); ok {
			if d, ok := parseSeconds(strings.Trim(v, `"`)); ok {
				return d
			}
		}
		return def
	}
	if len(contacts) == 1 {
		return def // some registrars rewrite the address to what they saw; alone, it can only be ours
	}
	return 0
}

func (r *registration) isOurs(u *gosip.Uri) bool {
	port := u.Port
	if port == 0 {
		port = 5060
	}
	return u.User == userPart(r.p.username) && strings.EqualFold(strings.Trim(u.Host, "[]"), r.way.host) && port == r.way.port
}

// routes keeps the Service-Route of the registrar for the calls to come (RFC 3608).
func (r *registration) routes(res *gosip.Response) {
	var routes []gosip.Uri
	for _, h := range res.GetHeaders("service-route") {
		for _, v := range splitQuoted(h.Value(), ',') {
			if u, ok := addressOf(v); ok {
				routes = append(routes, u)
			}
		}
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if len(routes) == 0 {
		delete(r.e.serviceRoutes, r.p)
		return
	}
	r.e.serviceRoutes[r.p] = routes
}

// addressOf reads the URI of a name-addr.
func addressOf(s string) (gosip.Uri, bool) {
	s = strings.TrimSpace(s)
	if i := strings.IndexByte(s, '<'); i >= 0 {
		s = s[i+1:]
		j := strings.IndexByte(s, '>')
		if j < 0 {
			return gosip.Uri{}, false
		}
		s = s[:j]
	}
	var u gosip.Uri
	if err := parseURI(s, &u); err != nil {
		return gosip.Uri{}, false
	}
	return u, true
}

// Options probes the peer and returns how long its answer took. Any answer is life,
// except 408 and 503; the error says in words what failed: name, route, silence.
func (e *Endpoint) Options(ctx context.Context, p *Peer) (time.Duration, error) {
	addrs, err := e.resolver.lookup(ctx, p.hop, p.transport)
	if err != nil {
		return 0, fmt.Errorf("probe: %w", err)
	}
	defer e.allow(addrs)()
	l, err := e.openLane("opt-"+newToken()+newToken(), lonely{e})
	if err != nil {
		return 0, err
	}
	defer l.release()
	var last error
	for _, a := range addrs {
		way, err := e.path(ctx, p, a)
		if err != nil {
			last = fmt.Errorf("probe: %w", err)
			continue
		}
		id := p.identify("", "", newToken())
		uri := *p.target.Clone()
		req := e.newRequest(gosip.OPTIONS, uri, way, newBranch(), e.preloaded(p), id.from, &gosip.ToHeader{Address: uri}, l.callID, 1)
		req.AppendHeader(way.contact(id.user))
		req.AppendHeader(gosip.NewHeader("Accept", accepted))
		req.SetBody(nil)
		start := time.Now()
		tx, err := l.send(req, way.conn)
		if err != nil {
			last = fmt.Errorf("probe %s: %w", a, err)
			continue
		}
		res, err := l.await(ctx, tx)
		switch {
		case err != nil:
			last = fmt.Errorf("probe %s: no answer: %w", a, err)
			e.resolver.failed(a)
			continue
		case res.StatusCode == 408 || res.StatusCode == 503:
			last = fmt.Errorf("probe %s: %d %s", a, res.StatusCode, res.Reason)
			continue
		}
		return time.Since(start), nil
	}
	return 0, last
}
