// Package proxied finds the client of a request that reverse proxies passed on.
package proxied

import (
	"net/netip"
	"slices"
	"strings"
)

// Origin is the last address that a trusted proxy names, for a request that came from an address, and how many of the trusted proxies
// are in between. Forwarded are the elements of X-Forwarded-For, to which each proxy appends: they are read from the right, as far
// as the addresses are those of trusted proxies, since anybody may have written what is left of that.
func Origin(from netip.AddrPort, forwarded []string, trusted []netip.Prefix) (client netip.AddrPort, hops int) {
	for trusts(trusted, from.Addr()) {
		hops++
		if hops > len(forwarded) {
			break
		}
		before, ok := address(forwarded[len(forwarded)-hops])
		if !ok {
			break
		}
		from = before
	}
	return from, hops
}

// trusts reports whether the address is a trusted proxy's, over whichever interface it comes.
func trusts(trusted []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a.Unmap().WithZone("")) })
}

// address reads an element of X-Forwarded-For, which may have a port. Without one it is 0.
func address(s string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a, true
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return netip.AddrPortFrom(a, 0), err == nil
}
