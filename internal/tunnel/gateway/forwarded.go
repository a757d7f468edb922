package gateway

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// forwarded removes, in place, what the client claims about its origin, and adds what the gateway saw. What a trusted
// proxy says stays as it is.
func forwarded(fields []frame.Field, r *frame.Request, trusted []netip.Prefix) []frame.Field {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	peer := from.Addr().Unmap()
	if slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(peer) }) {
		return fields
	}
	fields = slices.DeleteFunc(fields, func(f frame.Field) bool {
		return f.Name == "Forwarded" || strings.HasPrefix(f.Name, "X-Forwarded-")
	})
	fields = append(fields, frame.Field{Name: "X-Forwarded-Host", Value: r.Authority}, frame.Field{Name: "X-Forwarded-Proto", Value: r.Scheme})
	if from.IsValid() {
		fields = append(fields, frame.Field{Name: "X-Forwarded-For", Value: peer.String()})
	}
	return fields
}
