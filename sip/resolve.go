package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// dnsKeep is how long an answer counts. net.Resolver does not tell the TTL; trunks seldom go below a minute.
	dnsKeep = 30 * time.Second
	// dnsMiss is how long a name that was not found is not asked for again. Carriers name hosts in Contact
	// and Record-Route that only they can resolve: each ACK and BYE would wait for the same no.
	dnsMiss = 10 * time.Second
	// dnsWait bounds one lookup, dialogWait one within a dialog, where the way back is known without it.
	dnsWait    = 5 * time.Second
	dialogWait = time.Second
	// badKeep is how long an address that failed is tried last.
	badKeep = time.Minute
	// maxTargets bounds how many addresses one request is tried at.
	maxTargets = 4
)

// resolver finds the addresses of a hop: literal, A/AAAA, or SRV with priority and
// weight (RFC 3263 without NAPTR: the transport is set per trunk).
type resolver struct {
	net interface {
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
		LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	}
	now func() time.Time

	mu   sync.Mutex
	kept map[resolveKey]resolved
	bad  map[netip.AddrPort]time.Time
}

type resolveKey struct {
	hop
	transport string
}

type resolved struct {
	addrs []netip.AddrPort
	err   error // instead of addresses
	until time.Time
}

func newResolver(r *net.Resolver) *resolver {
	if r == nil {
		r = net.DefaultResolver
	}
	return &resolver{net: r, now: time.Now, kept: map[resolveKey]resolved{}, bad: map[netip.AddrPort]time.Time{}}
}

// lookup returns at least one address or an error, those that failed lately last.
func (r *resolver) lookup(ctx context.Context, h hop, transport string) ([]netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(h.host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), defaultPort(h.port))}, nil
	}
	key := resolveKey{h, transport}
	now := r.now()
	r.mu.Lock()
	k, ok := r.kept[key]
	r.mu.Unlock()
	if !ok || now.After(k.until) {
		addrs, err := r.ask(ctx, h, transport)
		switch {
		case err == nil:
			k = resolved{addrs: addrs, until: now.Add(dnsKeep)}
		case errors.Is(ctx.Err(), context.Canceled):
			return nil, err
		case len(k.addrs) > 0:
			k.until = now.Add(dnsKeep / 10) // the name server is away: the last answer is better than none
		default:
			k = resolved{err: err, until: now.Add(dnsMiss)}
		}
		r.mu.Lock()
		r.tidyLocked(now)
		r.kept[key] = k
		r.mu.Unlock()
	}
	if k.err != nil {
		return nil, k.err
	}
	return r.order(k.addrs, now), nil
}

// maxKept bounds what far ends can make us remember by naming ever new hosts.
const maxKept = 1000

func (r *resolver) tidyLocked(now time.Time) {
	if len(r.kept) < maxKept {
		return
	}
	for key, k := range r.kept {
		if k.err != nil || now.After(k.until) {
			delete(r.kept, key)
		}
	}
}

func (r *resolver) order(addrs []netip.AddrPort, now time.Time) []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	var good, bad []netip.AddrPort
	for _, a := range addrs {
		if until, ok := r.bad[a]; ok && now.Before(until) {
			bad = append(bad, a)
		} else {
			good = append(good, a)
		}
	}
	good = append(good, bad...)
	return good[:min(len(good), maxTargets)]
}

// failed notes that nothing came from an address.
func (r *resolver) failed(a netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for k, until := range r.bad {
		if now.After(until) {
			delete(r.bad, k)
		}
	}
	r.bad[a] = now.Add(badKeep)
}

func (r *resolver) ask(ctx context.Context, h hop, transport string) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsWait)
	defer cancel()
	if h.port == 0 {
		_, srvs, err := r.net.LookupSRV(ctx, "sip", transport, h.host)
		if err == nil && len(srvs) > 0 && srvs[0].Target != "." {
			var out []netip.AddrPort
			var last error
			for _, s := range srvs {
				ips, err := r.ips(ctx, s.Target)
				if err != nil {
					last = err
					continue
				}
				for _, ip := range ips {
					out = append(out, netip.AddrPortFrom(ip, s.Port))
				}
			}
			if len(out) == 0 {
				return nil, fmt.Errorf("resolve %s: its SRV targets have no address: %w", h.host, last)
			}
			return out, nil
		}
	}
	ips, err := r.ips(ctx, h.host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", h.host, err)
	}
	var out []netip.AddrPort
	for _, ip := range ips {
		out = append(out, netip.AddrPortFrom(ip, defaultPort(h.port)))
	}
	return out, nil
}

func (r *resolver) ips(ctx context.Context, host string) ([]netip.Addr, error) {
	ips, err := r.net.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, errors.New("no address")
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	// IPv4 first: a trunk that publishes both seldom means IPv6.
	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return ips, nil
}

func defaultPort(port int) uint16 {
	if port == 0 {
		return 5060
	}
	return uint16(port)
}
