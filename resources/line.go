package resources

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"waihu"
	"waihu/store"
)

func (p *plan) buildLine(path string, x *lineDoc) {
	p.named("line", path, x.ID, x.Name)
	account := p.account(path, x.Account)
	l := waihu.Line{ID: waihu.LineID(x.ID), Account: account, Name: x.Name, Remark: x.Remark, Node: x.Node, CPS: x.CPS}
	switch {
	case x.Concurrency == nil:
		p.add(path, "concurrency was expected: how many calls the line carries at once")
	case *x.Concurrency < 0:
		p.add(join(path, "concurrency"), "%d is negative: 0 or more was expected", *x.Concurrency)
	default:
		l.Concurrency = *x.Concurrency
	}
	if x.CPS < 0 {
		p.add(join(path, "cps"), "%d is negative: 0 (no limit) or more was expected", x.CPS)
	}
	l.Expires = p.time(join(path, "expires"), x.Expires, p.zone(account))
	if x.Price != nil {
		l.Price = p.price(join(path, "price"), x.Price)
	}
	if x.Trunk == nil {
		p.add(path, `a trunk was expected, such as {uri: "sip:203.0.113.5:5060"}`)
	} else {
		l.Trunk = *x.Trunk
		p.secret(join(path, "trunk.password"), &l.Trunk.Password)
		p.checkTrunk(join(path, "trunk"), &l.Trunk)
	}
	p.lines[l.ID] = account
	p.put("lines", "line", x.ID, path, account, l)
}

// price reads yuan with up to four decimals; no float is in between.
func (p *plan) price(path string, x *priceDoc) waihu.Price {
	whole, part, _ := strings.Cut(x.Minute, ".")
	yuan, err := strconv.ParseInt(whole, 10, 64)
	fraction, err2 := strconv.ParseUint((part + "0000")[:4], 10, 32)
	if err != nil || err2 != nil || len(part) > 4 || yuan < 0 || yuan >= int64(store.MaxPrice/store.Yuan) {
		p.add(join(path, "minute"), "%q: yuan for a minute of talk, 0 to %d with up to 4 decimals, was expected", x.Minute, store.MaxPrice/store.Yuan)
	}
	p.between(join(path, "step"), x.Step, 0, 3600, "seconds (0 and 60: every minute that has begun)")
	return waihu.Price{Minute: yuan*int64(store.Yuan) + int64(fraction), Step: x.Step}
}

// checkPorts refuses lines for which the server has not enough RTP ports: a line that the file does not change
// counts as it is stored.
func (p *plan) checkPorts() {
	if p.o.Calls == 0 {
		return
	}
	stored, err := p.o.Store.Trunks(p.ctx)
	if !p.found(err) {
		return
	}
	need := map[waihu.LineID]int{}
	for i := range stored {
		need[stored[i].ID] = stored[i].Concurrency
	}
	changed := false
	for _, r := range p.list {
		if l, ok := r.Value.(waihu.Line); ok && p.digests[store.ResourceRef{Kind: r.Kind, ID: r.ID}] != r.Digest {
			need[l.ID], changed = l.Concurrency, true
		}
	}
	all := 0
	for _, n := range need {
		all += n
	}
	if changed && all > p.o.Calls {
		p.add("lines", "all lines together carry %d calls at once and need %d RTP ports, but the server's --rtp has %d: widen it and restart, or lower concurrency", all, 2*all, 2*p.o.Calls)
	}
}

func (p *plan) oneOf(path, value string, list ...string) {
	if value != "" && !slices.Contains(list, value) {
		p.add(path, "%q: %s was expected", value, strings.Join(list, " or "))
	}
}

func (p *plan) between(path string, value, least, most int, what string) {
	if value < least || value > most {
		p.add(path, "%d: %d to %d %s was expected", value, least, most, what)
	}
}

var callerForm = regexp.MustCompile(`^\+?[0-9A-Za-z*#._-]{1,64}$`)

// checkTrunk finds what can be found without dialling; waihu trunk check does the rest.
func (p *plan) checkTrunk(path string, t *waihu.Trunk) {
	at := func(key string) string { return join(path, key) }
	p.checkURI(at("uri"), t)
	p.oneOf(at("transport"), t.Transport, "udp", "tcp")
	p.oneOf(at("caller_header"), t.CallerHeader, "from", "pai", "ppi", "rpid")
	for i, c := range t.Codecs {
		p.oneOf(index(at("codecs"), i), c, "pcma", "pcmu")
		if slices.Index(t.Codecs, c) != i {
			p.add(index(at("codecs"), i), "%s is given twice", c)
		}
	}
	for i, r := range t.CalleeRewrite {
		if _, err := regexp.Compile(r.Match); err != nil {
			p.add(index(at("callee_rewrite"), i)+".match", "not a regular expression: %s", regexError(err))
		} else if r.Match == "" {
			p.add(index(at("callee_rewrite"), i), "match was expected: a regular expression")
		}
	}
	for i, c := range t.CallerIDs {
		if !callerForm.MatchString(c) {
			p.add(index(at("caller_ids"), i), "a caller number was expected: digits, perhaps with a + in front")
		} else if slices.Index(t.CallerIDs, c) != i {
			p.add(index(at("caller_ids"), i), "this caller number is given twice")
		}
	}
	for i, c := range t.AllowPrefixes {
		if c == "" || strings.Trim(strings.TrimPrefix(c, "+"), "0123456789") != "" {
			p.add(index(at("allow_prefixes"), i), "the first digits of a number were expected")
		}
	}
	if t.Ptime != 0 && !slices.Contains([]int{10, 20, 30, 40, 60}, t.Ptime) {
		p.add(at("ptime"), "%d: 10, 20, 30, 40 or 60 milliseconds was expected", t.Ptime)
	}
	if t.SessionTimer != 0 && t.SessionTimer != -1 {
		p.between(at("session_timer"), t.SessionTimer, 90, 86400, "seconds (RFC 4028), or -1 for off,") // 90 is its Min-SE
	}
	if t.RingTimeout != 0 {
		p.between(at("ring_timeout"), t.RingTimeout, 1, 300, "seconds")
	}
	if t.MaxCall != 0 {
		p.between(at("max_call"), t.MaxCall, 1, 86400, "seconds")
	}
	if t.Register != nil {
		if t.Register.Expires != 0 {
			p.between(at("register.expires"), t.Register.Expires, 30, 86400, "seconds")
		}
		if t.Username == "" {
			p.add(at("register"), "a registration needs a username")
		}
	}
	if t.Options != nil && t.Options.Every != 0 {
		p.between(at("options.every"), t.Options.Every, 5, 3600, "seconds")
	}
	if t.Password != "" && t.Username == "" && t.AuthUsername == "" {
		p.add(at("password"), "a password needs a username")
	}
	p.checkHost(at("proxy"), t.Proxy, true)
	p.checkHost(at("domain"), t.Domain, false)
	p.checkAddress(at("public_address"), t.PublicAddress)
	p.checkAddress(at("bind"), t.Bind)
}

const noIPv6 = "is an IPv6 address: IPv6 trunks are not supported, an IPv4 address or a name was expected"

// checkURI reads sip:host[:port][;transport=udp|tcp], or sim:anything.
func (p *plan) checkURI(path string, t *waihu.Trunk) {
	if t.Simulated() {
		return
	}
	rest, ok := strings.CutPrefix(t.URI, "sip:")
	if !ok {
		message := `a trunk's address such as sip:203.0.113.5:5060 was expected, or sim: for the simulated carrier`
		if strings.HasPrefix(t.URI, "sips:") {
			message = "sips (TLS) trunks are not supported: sip: with transport udp or tcp was expected"
		}
		p.add(path, "%s", message)
		return
	}
	host, params, _ := strings.Cut(rest, ";")
	if strings.Contains(host, "@") {
		p.add(path, "the address of the trunk without a user was expected, such as sip:203.0.113.5:5060; the user belongs into username")
		return
	}
	if host == "" {
		p.add(path, "the trunk's host is missing: one like sip:203.0.113.5:5060 was expected")
		return
	}
	p.checkHost(path, host, true)
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(param, "=")
		switch {
		case param == "" || strings.EqualFold(key, "lr"):
		case !strings.EqualFold(key, "transport"):
			p.add(path, "unknown parameter %q: transport=udp or transport=tcp was expected", key)
		case !strings.EqualFold(value, "udp") && !strings.EqualFold(value, "tcp"):
			p.add(path, "transport %q: udp or tcp was expected", value)
		case t.Transport != "" && !strings.EqualFold(value, t.Transport):
			p.add(path, "the address says transport=%s and the key transport says %s", value, t.Transport)
		}
	}
}

// checkHost refuses what is neither an IPv4 address nor a name, with a port when allowed.
func (p *plan) checkHost(path, text string, port bool) {
	if text == "" {
		return
	}
	if strings.HasPrefix(text, "[") || strings.Count(text, ":") > 1 {
		p.add(path, "%q %s", text, noIPv6)
		return
	}
	host, number, hasPort := strings.Cut(text, ":")
	if hasPort {
		if n, err := strconv.ParseUint(number, 10, 16); !port || err != nil || n == 0 {
			p.add(path, "%q has a bad port: 1 to 65535 was expected", text)
			return
		}
	}
	if !hostForm.MatchString(host) {
		p.add(path, "%q is not a host: an IPv4 address or a name was expected", text)
	}
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?$`)

// checkAddress refuses what is not an IPv4 address of this machine's side.
func (p *plan) checkAddress(path, text string) {
	if text == "" {
		return
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	switch {
	case err != nil:
		p.add(path, "%q is not an address: an IPv4 address was expected", text)
	case a.Is6():
		p.add(path, "%q %s", text, noIPv6)
	case a.IsUnspecified():
		p.add(path, "%s cannot be told to a carrier: leave the key out to use the address that the kernel routes with", text)
	}
}
