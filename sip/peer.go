package sip

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

// DefaultSessionTimer is the session interval we propose (RFC 4028 recommends 1800 s).
const DefaultSessionTimer = 1800 * time.Second

// minSessionTimer is the smallest interval anyone may ask for (RFC 4028 section 5).
const minSessionTimer = 90 * time.Second

// DefaultRegisterExpires is the registration time asked for when the trunk names none.
const DefaultRegisterExpires = 3600 * time.Second

// Peer is the signalling side of one trunk, checked and ready. Its settings are fixed
// after NewPeer; it may be shared.
type Peer struct {
	// admitted: our credentials have been accepted once. Before, a 403 speaks of them, not of the callee.
	admitted atomic.Bool

	transport string // udp or tcp
	target    gosip.Uri
	domain    string
	hop       hop // where requests go first: the proxy, else the URI's host
	proxied   bool
	username  string
	authUser  string
	password  string
	fromUser  string
	header    string // from, pai, ppi, rpid
	rewrites  []rewrite
	public    netip.Addr
	publicStr string // Via and Contact host when set
	publicPrt int
	bind      netip.Addr
	timer     time.Duration // 0: off
	prack     bool
	expires   time.Duration // of a registration; 0: none wanted
}

type rewrite struct {
	match *regexp.Regexp
	with  string
}

// hop is a host to resolve: port 0 asks for SRV first.
type hop struct {
	host string
	port int
}

// NewPeer checks a trunk's signalling settings; the error names the key and what was expected.
func NewPeer(t waihu.Trunk) (*Peer, error) {
	p := &Peer{username: t.Username, authUser: t.AuthUsername, password: t.Password, fromUser: t.FromUser, prack: t.PRACK}
	if t.Simulated() {
		return nil, waihu.FieldErrorf("uri", "%q is the simulated carrier and no address: give the peer its sip: address", t.URI)
	}
	text := t.URI
	if !strings.Contains(text, ":") || !hasScheme(text) {
		text = "sip:" + text
	}
	if strings.HasPrefix(strings.ToLower(text), "sips:") {
		return nil, waihu.FieldErrorf("uri", "%q asks for TLS, which this version does not speak: use sip: with udp or tcp", t.URI)
	}
	if err := parseURI(text, &p.target); err != nil {
		return nil, waihu.FieldErrorf("uri", "%q is not a SIP address (sip:host[:port]): %v", t.URI, err)
	}
	if p.target.User != "" {
		return nil, waihu.FieldErrorf("uri", "%q carries a user: give host[:port] only, the number is put in front of it", t.URI)
	}
	p.transport = strings.ToLower(t.Transport)
	if v, ok := p.target.UriParams.Get("transport"); ok && p.transport == "" {
		p.transport = strings.ToLower(v)
	}
	switch p.transport {
	case "":
		p.transport = "udp"
	case "udp", "tcp":
	default:
		return nil, waihu.FieldErrorf("transport", "%q is not spoken: udp or tcp", p.transport)
	}
	p.target.UriParams.Remove("transport")
	p.hop = hop{strings.Trim(p.target.Host, "[]"), p.target.Port}
	if t.Proxy != "" {
		h, err := parseHop(t.Proxy)
		if err != nil {
			return nil, waihu.FieldErrorf("proxy", "%q is not host[:port]: %v", t.Proxy, err)
		}
		p.hop, p.proxied = h, true
	}
	p.domain = p.target.Host
	if t.Domain != "" {
		h, err := parseHop(t.Domain)
		if err != nil || h.port != 0 {
			return nil, waihu.FieldErrorf("domain", "%q is not a host name", t.Domain)
		}
		p.domain = h.host
	}
	if p.authUser == "" {
		p.authUser = p.username
	}
	if p.password != "" && p.authUser == "" {
		return nil, waihu.FieldErrorf("username", "a password without username or auth_username proves nothing")
	}
	for field, v := range map[string]string{"username": p.username, "from_user": p.fromUser, "auth_username": p.authUser} {
		if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
			return nil, waihu.FieldErrorf(field, "contains a blank, quote or control character")
		}
	}
	switch p.header = strings.ToLower(t.CallerHeader); p.header {
	case "":
		p.header = "from"
	case "from", "pai", "ppi", "rpid":
	default:
		return nil, waihu.FieldErrorf("caller_header", "%q: from, pai, ppi or rpid was expected", t.CallerHeader)
	}
	for i, r := range t.CalleeRewrite {
		re, err := regexp.Compile(r.Match)
		if err != nil {
			return nil, waihu.FieldErrorf(fmt.Sprintf("callee_rewrite[%d].match", i), "%v", err)
		}
		p.rewrites = append(p.rewrites, rewrite{re, r.Replace})
	}
	if t.PublicAddress != "" {
		h, err := parseHop(t.PublicAddress)
		if err != nil {
			return nil, waihu.FieldErrorf("public_address", "%q is not an address: %v", t.PublicAddress, err)
		}
		if p.public, err = netip.ParseAddr(h.host); err != nil || p.public.IsUnspecified() {
			return nil, waihu.FieldErrorf("public_address", "%q: an IP address that the trunk can reach was expected", t.PublicAddress)
		}
		p.publicStr, p.publicPrt = h.host, h.port
	}
	if t.Bind != "" {
		var err error
		if p.bind, err = netip.ParseAddr(strings.Trim(t.Bind, "[]")); err != nil || p.bind.IsUnspecified() {
			return nil, waihu.FieldErrorf("bind", "%q: a local IP address was expected", t.Bind)
		}
	}
	switch {
	case t.SessionTimer == 0:
		p.timer = DefaultSessionTimer
	case t.SessionTimer < 0:
	case time.Duration(t.SessionTimer)*time.Second < minSessionTimer:
		return nil, waihu.FieldErrorf("session_timer", "%d s is below the %d s that RFC 4028 allows at least; -1 turns it off", t.SessionTimer, minSessionTimer/time.Second)
	default:
		p.timer = time.Duration(t.SessionTimer) * time.Second
	}
	if t.Register != nil {
		if p.username == "" {
			return nil, waihu.FieldErrorf("register", "a registration needs a username")
		}
		if t.Register.Expires < 0 {
			return nil, waihu.FieldErrorf("register.expires", "%d: seconds were expected", t.Register.Expires)
		}
		p.expires = time.Duration(t.Register.Expires) * time.Second
		if p.expires == 0 {
			p.expires = DefaultRegisterExpires
		}
	}
	return p, nil
}

// Registers says whether the trunk asked for a registration.
func (p *Peer) Registers() bool { return p.expires > 0 }

// Dialled is the callee's number as this trunk wants it.
func (p *Peer) Dialled(n waihu.PhoneNumber) string {
	s := string(n)
	for _, r := range p.rewrites {
		s = r.match.ReplaceAllString(s, r.with)
	}
	return s
}

func hasScheme(s string) bool {
	l := strings.ToLower(s)
	return strings.HasPrefix(l, "sip:") || strings.HasPrefix(l, "sips:") || strings.HasPrefix(l, "tel:")
}

// parseURI is gosip.ParseUri with what it lets through refused: other schemes, empty hosts, ports out of range.
func parseURI(s string, u *gosip.Uri) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("blank or control character")
	}
	if err := gosip.ParseUri(s, u); err != nil {
		return err
	}
	switch {
	case u.Scheme != "sip" && u.Scheme != "sips":
		return fmt.Errorf("scheme %q", u.Scheme)
	case u.Host == "" || u.Wildcard:
		return fmt.Errorf("no host")
	case u.Port < 0 || u.Port > 65535:
		return fmt.Errorf("port %d", u.Port)
	}
	return nil
}

// parseHop reads host, host:port, [v6], [v6]:port and a bare v6 address.
func parseHop(s string) (hop, error) {
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return hop{host: ip.String()}, nil
	}
	host, port, ok := s, "", false
	if strings.Contains(s, ":") {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return hop{}, err
		}
		ok = true
	}
	if host == "" || strings.ContainsAny(host, " \t/@<>\"'") {
		return hop{}, fmt.Errorf("host %q", host)
	}
	h := hop{host: host}
	if ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return hop{}, fmt.Errorf("port %q", port)
		}
		h.port = int(n)
	}
	return h, nil
}
