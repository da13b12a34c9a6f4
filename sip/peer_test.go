package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

func TestNewPeerRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field string
		trunk waihu.Trunk
		says  string
	}{
		{"uri", waihu.Trunk{URI: ""}, "not a SIP address"},
		{"uri", waihu.Trunk{URI: "sim:mixed"}, "simulated"},
		{"uri", waihu.Trunk{URI: "sips:a.example"}, "TLS"},
		{"uri", waihu.Trunk{URI: "sip:user@a.example"}, "user"},
		{"uri", waihu.Trunk{URI: "sip:a.example:99999"}, "port"},
		{"uri", waihu.Trunk{URI: "sip:a b"}, "blank"},
		{"uri", waihu.Trunk{URI: "tel:10086"}, "scheme"},
		{"transport", waihu.Trunk{URI: "a.example", Transport: "tls"}, "udp or tcp"},
		{"transport", waihu.Trunk{URI: "sip:a.example;transport=ws"}, "udp or tcp"},
		{"proxy", waihu.Trunk{URI: "a.example", Proxy: "p:x"}, "host[:port]"},
		{"domain", waihu.Trunk{URI: "a.example", Domain: "d.example:5060"}, "host name"},
		{"username", waihu.Trunk{URI: "a.example", Password: "x"}, "username"},
		{"caller_header", waihu.Trunk{URI: "a.example", CallerHeader: "x-caller"}, "pai"},
		{"callee_rewrite[1].match", waihu.Trunk{URI: "a.example", CalleeRewrite: []waihu.Rewrite{{Match: "^0"}, {Match: "("}}}, "missing"},
		{"public_address", waihu.Trunk{URI: "a.example", PublicAddress: "0.0.0.0"}, "reach"},
		{"public_address", waihu.Trunk{URI: "a.example", PublicAddress: "me.example"}, "IP"},
		{"bind", waihu.Trunk{URI: "a.example", Bind: "eth0"}, "local IP"},
		{"session_timer", waihu.Trunk{URI: "a.example", SessionTimer: 30}, "90"},
		{"register", waihu.Trunk{URI: "a.example", Register: &waihu.Register{}}, "username"},
		{"from_user", waihu.Trunk{URI: "a.example", FromUser: "a\"b"}, "quote"},
	} {
		_, err := NewPeer(c.trunk)
		var e *waihu.Error
		if !errors.As(err, &e) || e.Field != c.field || !strings.Contains(e.Message, c.says) {
			t.Errorf("%+v: %v, want one about %s that says %q", c.trunk, err, c.field, c.says)
		}
	}
}

func TestNewPeerAccepts(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]hop{
		"carrier.example":                     {"carrier.example", 0},
		"sip:carrier.example:5080":            {"carrier.example", 5080},
		"SIP:10.0.0.1;transport=tcp":          {"10.0.0.1", 0},
		"sip:[2001:db8::1]:5070":              {"2001:db8::1", 5070},
		"sip:carrier.example;user=phone":      {"carrier.example", 0},
		"sip:carrier.example:5060;lr;other=1": {"carrier.example", 5060},
	} {
		p, err := NewPeer(waihu.Trunk{URI: uri})
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if p.hop != want || p.timer != DefaultSessionTimer {
			t.Errorf("%s: hop %+v, timer %v", uri, p.hop, p.timer)
		}
	}
	p, err := NewPeer(waihu.Trunk{URI: "sip:a.example", Transport: "TCP", Proxy: "[::1]:5062", CalleeRewrite: []waihu.Rewrite{{Match: `^\+86`, Replace: ""}, {Match: "^1", Replace: "01"}}})
	if err != nil {
		t.Fatal(err)
	}
	if p.transport != "tcp" || p.hop != (hop{"::1", 5062}) || p.Dialled("+8613800138000") != "013800138000" {
		t.Errorf("%+v, dialled %s", p, p.Dialled("+8613800138000"))
	}
}

func TestUserPart(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"+8613": "+8613", "8888#1": "8888%231", "a@b c": "a%40b%20c", "é": "%C3%A9", "x;y=1": "x;y=1"} {
		if got := userPart(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// names is a name server for tests.
type names struct {
	ips  map[string][]netip.Addr
	srv  map[string][]*net.SRV
	fail bool
	asks atomic.Int32
	hang string // of this name nothing is ever heard
}

func (n *names) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	n.asks.Add(1)
	if host == n.hang {
		<-ctx.Done()
		return nil, &net.DNSError{Err: ctx.Err().Error(), Name: host, IsTimeout: true}
	}
	if ips := n.ips[strings.TrimSuffix(host, ".")]; len(ips) > 0 && !n.fail {
		return slices.Clone(ips), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (n *names) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if s := n.srv["_"+service+"._"+proto+"."+name]; len(s) > 0 && !n.fail {
		return "", s, nil
	}
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr
	dns := &names{
		ips: map[string][]netip.Addr{"a.example": {ip("2001:db8::1"), ip("192.0.2.1")}, "one.example": {ip("192.0.2.11")}, "two.example": {ip("192.0.2.12")}},
		srv: map[string][]*net.SRV{"_sip._udp.s.example": {{Target: "one.example.", Port: 5071}, {Target: "gone.example.", Port: 1}, {Target: "two.example.", Port: 5072}}},
	}
	now := time.Unix(1000, 0)
	r := newResolver(nil)
	r.net, r.now = dns, func() time.Time { return now }
	check := func(h hop, transport string, want ...string) {
		t.Helper()
		got, err := r.lookup(context.Background(), h, transport)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, a := range got {
			texts = append(texts, a.String())
		}
		if !slices.Equal(texts, want) {
			t.Errorf("%+v: %v, want %v", h, texts, want)
		}
	}
	check(hop{"192.0.2.9", 0}, "udp", "192.0.2.9:5060")
	check(hop{"::1", 5070}, "udp", "[::1]:5070")
	check(hop{"a.example", 0}, "udp", "192.0.2.1:5060", "[2001:db8::1]:5060")
	check(hop{"a.example", 5099}, "tcp", "192.0.2.1:5099", "[2001:db8::1]:5099")
	check(hop{"s.example", 0}, "udp", "192.0.2.11:5071", "192.0.2.12:5072")
	r.failed(netip.MustParseAddrPort("192.0.2.11:5071"))
	check(hop{"s.example", 0}, "udp", "192.0.2.12:5072", "192.0.2.11:5071")
	now = now.Add(badKeep + time.Second)
	dns.fail = true // the last answer stands in for a name server that is away
	check(hop{"s.example", 0}, "udp", "192.0.2.11:5071", "192.0.2.12:5072")
	if _, err := r.lookup(context.Background(), hop{"unknown.example", 0}, "udp"); err == nil || !strings.Contains(err.Error(), "unknown.example") {
		t.Errorf("unknown name: %v", err)
	}
	dns.fail = false
	now = now.Add(dnsKeep + time.Second)
	asks := dns.asks.Load()
	check(hop{"a.example", 5099}, "tcp", "192.0.2.1:5099", "[2001:db8::1]:5099")
	check(hop{"a.example", 5099}, "tcp", "192.0.2.1:5099", "[2001:db8::1]:5099")
	if dns.asks.Load() != asks+1 {
		t.Errorf("%d lookups for two calls", dns.asks.Load()-asks)
	}
	// A name that is not found is not asked for at every turn, and is found when it appears.
	late := hop{"late.example", 5060}
	asks = dns.asks.Load()
	for range 3 {
		if _, err := r.lookup(context.Background(), late, "udp"); err == nil {
			t.Error("a name that nobody knows was found")
		}
	}
	if dns.asks.Load() != asks+1 {
		t.Errorf("%d lookups for a name that is not found", dns.asks.Load()-asks)
	}
	dns.ips["late.example"] = []netip.Addr{ip("192.0.2.77")}
	now = now.Add(dnsMiss + time.Second)
	check(late, "udp", "192.0.2.77:5060")
	for i := range 3 * maxKept { // names that far ends make up
		_, _ = r.lookup(context.Background(), hop{fmt.Sprintf("%d.example", i), 5060}, "udp")
	}
	if len(r.kept) > maxKept {
		t.Errorf("%d names are remembered", len(r.kept))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dns.hang = "hang.example"
	if _, err := r.lookup(ctx, hop{"hang.example", 5060}, "udp"); err == nil {
		t.Error("found without an answer")
	}
	dns.hang, dns.ips["hang.example"] = "", []netip.Addr{ip("192.0.2.78")}
	check(hop{"hang.example", 5060}, "udp", "192.0.2.78:5060") // a caller that gave up says nothing of the name
}

// A Contact that only the carrier can resolve, and a name server that says nothing: the ACK goes back the
// way the INVITE went before the far end has given up, and the BYE does not wait again.
func TestContactThatCannotBeResolved(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, nil), newFarEnd(t)
	dns := &names{hang: "sbc.internal"}
	e.resolver.net = dns
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
	begun := time.Now()
	f.reply(f.expect(gosip.INVITE), 200, "OK", answer{sdp: theirSDP, contact: "<sip:callee@sbc.internal:5060>"})
	f.expect(gosip.ACK)
	if waited := time.Since(begun); waited > e.giveUp {
		t.Errorf("the ACK came after %v", waited)
	}
	d := standing(t, ch)
	asked := dns.asks.Load()
	if req := bye(t, f, d); req.Recipient.Host != "sbc.internal" {
		t.Errorf("BYE goes to %s", req.Recipient.Host)
	}
	if n := dns.asks.Load() - asked; n != 0 {
		t.Errorf("for the BYE a name was asked for %d times that had not been found before", n)
	}
}

// The first address refuses for itself, the second takes the call.
func TestFailover(t *testing.T) {
	t.Parallel()
	e, bad, good := startEndpoint(t, nil), newFarEnd(t), newFarEnd(t)
	port := func(f *farEnd) uint16 { return netip.MustParseAddrPort(f.addr()).Port() }
	e.resolver.net = &names{
		ips: map[string][]netip.Addr{"gw.example": {netip.MustParseAddr("127.0.0.1")}},
		srv: map[string][]*net.SRV{"_sip._udp.trunk.example": {{Target: "gw.example.", Port: port(bad)}, {Target: "gw.example.", Port: port(good)}}},
	}
	p, err := NewPeer(waihu.Trunk{URI: "sip:trunk.example", SessionTimer: -1})
	if err != nil {
		t.Fatal(err)
	}
	ch := dial(context.Background(), e, Invite{Peer: p})
	bad.reply(bad.expect(gosip.INVITE), 503, "Service Unavailable", answer{contact: "-"})
	bad.expect(gosip.ACK)
	inv := good.expect(gosip.INVITE)
	good.reply(inv, 200, "OK", answer{sdp: theirSDP})
	good.expect(gosip.ACK)
	bye(t, good, standing(t, ch))
	// Next time the address that failed comes last.
	ch = dial(context.Background(), e, Invite{Peer: p})
	good.reply(good.expect(gosip.INVITE), 486, "Busy Here", answer{contact: "-"})
	good.expect(gosip.ACK)
	if f := failed(t, ch); f.Disposition != waihu.Busy {
		t.Errorf("%+v", f)
	}
	ch = dial(context.Background(), e, Invite{Peer: mustPeer(t, waihu.Trunk{URI: "sip:nowhere.example"})})
	if f := failed(t, ch); f.Disposition != waihu.OurFault || !f.InviteAt.IsZero() {
		t.Errorf("unresolvable: %+v", f)
	}
}

func mustPeer(t testing.TB, tr waihu.Trunk) *Peer {
	t.Helper()
	p, err := NewPeer(tr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLocalIP(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, func(o *Options) { o.Listen = []ListenAddr{{"udp", "0.0.0.0:0"}} })
	for _, c := range []struct {
		trunk waihu.Trunk
		want  string
	}{
		{waihu.Trunk{URI: "sip:127.0.0.1:5060"}, "127.0.0.1"},
		{waihu.Trunk{URI: "sip:127.0.0.1:5060", PublicAddress: "203.0.113.5"}, "203.0.113.5"},
	} {
		got, err := e.LocalIP(context.Background(), mustPeer(t, c.trunk))
		if err != nil || got.String() != c.want {
			t.Errorf("%+v: %v %v", c.trunk, got, err)
		}
	}
	// An address of the socket is no address for Via.
	f := newFarEnd(t)
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(nil)})
	inv := f.expect(gosip.INVITE)
	f.reply(inv, 486, "Busy", answer{})
	failed(t, ch)
	if inv.Via().Host != "127.0.0.1" || inv.Contact().Address.Host != "127.0.0.1" || inv.Via().Port == 0 {
		t.Errorf("Via %s, Contact %s", inv.Via().Value(), inv.Contact().Value())
	}
	if _, err := e.LocalIP(context.Background(), mustPeer(t, waihu.Trunk{URI: "sip:[::1]:5060"})); err == nil || !strings.Contains(err.Error(), "no UDP socket") {
		t.Errorf("IPv6 peer on an IPv4 socket: %v", err)
	}
	only := startEndpoint(t, nil)
	if _, err := only.path(context.Background(), mustPeer(t, waihu.Trunk{URI: "sip:127.0.0.1", Bind: "127.0.0.9"}), netip.MustParseAddrPort("127.0.0.1:5060")); err == nil || !strings.Contains(err.Error(), "127.0.0.9") {
		t.Errorf("bind address without a socket: %v", err)
	}
}

// On a socket for every address a trunk's bind address is the one that everything leaves from, and what comes to one of
// our addresses is answered from that one, whatever the kernel would choose.
func TestBindOnEveryAddress(t *testing.T) {
	t.Parallel()
	e, f := startEndpoint(t, func(o *Options) { o.Listen = []ListenAddr{{"udp", "0.0.0.0:0"}} }), newFarEnd(t)
	ours := func() string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.peer.Addr().String()
	}
	peer := f.peerOf(func(tr *waihu.Trunk) { tr.Bind = "127.0.0.5" })
	d, inv := up(t, e, f, Invite{Peer: peer}, answer{})
	if inv.Via().Host != "127.0.0.5" || inv.Contact().Address.Host != "127.0.0.5" || ours() != "127.0.0.5" {
		t.Errorf("Via %s, Contact %s, sent from %s", inv.Via().Value(), inv.Contact().Value(), ours())
	}
	f.send(f.dialogRequest(gosip.OPTIONS, inv, "far", 7, nil, ""))
	f.expectStatus(gosip.OPTIONS, 200)
	if ours() != "127.0.0.5" {
		t.Errorf("answered from %s", ours())
	}
	bye(t, f, d)
	if ours() != "127.0.0.5" {
		t.Errorf("BYE from %s", ours())
	}
	ch := dial(context.Background(), e, Invite{Peer: f.peerOf(func(tr *waihu.Trunk) { tr.Bind = "192.0.2.77" })})
	if fail := failed(t, ch); fail.Disposition != waihu.OurFault || !fail.InviteAt.IsZero() || !strings.Contains(fail.Error(), "192.0.2.77") {
		t.Errorf("an address that is not ours: %+v", fail)
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	pc, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skipf("no IPv6 on this machine: %v", err)
	}
	f := &farEnd{t: t, pc: pc, parser: gosip.NewParser(), msgs: make(chan gosip.Message, 100), done: make(chan struct{}), seen: map[string]int{}}
	go f.read()
	t.Cleanup(func() { pc.Close(); <-f.done })
	e := startEndpoint(t, func(o *Options) { o.Listen = []ListenAddr{{"udp", "[::1]:0"}} })
	d, inv := up(t, e, f, Invite{}, answer{})
	if !strings.Contains(inv.Via().Value(), "[::1]:") || !strings.Contains(inv.Contact().Value(), "@[::1]:") {
		t.Errorf("Via %s, Contact %s", inv.Via().Value(), inv.Contact().Value())
	}
	bye(t, f, d)
}
