package egress

import "net/netip"

// refusedRanges are addresses that are not of the public internet: the special-purpose registries of IANA (RFC 6890 and its
// updates, as of 2026) without what is globally reachable by design. IPv6 outside 2000::/3 is refused as a whole: loopback,
// unique local, link-local, multicast, the unspecified address, IPv4-compatible and NAT64 forms (64:ff9b::/96, 64:ff9b:1::/48)
// lie there. IPv4-mapped addresses are judged as the IPv4 address they are, because the kernel dials that.
var refusedRanges = []struct {
	net netip.Prefix
	why string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this host"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private network"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a carrier's shared network"},
	{netip.MustParsePrefix("127.0.0.0/8"), "this host"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private network"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a protocol's own network"},
	{netip.MustParsePrefix("192.0.2.0/24"), "a network for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private network"},
	{netip.MustParsePrefix("198.18.0.0/15"), "a network for measuring"},
	{netip.MustParsePrefix("198.51.100.0/24"), "a network for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "a network for documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("2001::/23"), "a protocol's own network (Teredo and others)"},
	{netip.MustParsePrefix("2001:db8::/32"), "a network for documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4: an IPv4 address inside"},
	{netip.MustParsePrefix("3fff::/20"), "a network for documentation"},
}

var globalIPv6 = netip.MustParsePrefix("2000::/3")

// refused says why an address is not of the public internet, "" when it is.
func refused(a netip.Addr) string {
	if !a.IsValid() || a.Zone() != "" {
		return "not an address of the public internet"
	}
	a = a.Unmap()
	for _, r := range refusedRanges {
		if r.net.Contains(a) {
			return r.why
		}
	}
	if a.Is6() && !globalIPv6.Contains(a) {
		return "not an address of the public internet"
	}
	return ""
}
