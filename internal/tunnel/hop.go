package tunnel

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ReservedPrefix begins the field names that belong to the tunnel. The gateway strips them from requests and from
// responses, so whatever arrives under it was said by the gateway.
const ReservedPrefix = "Modulebus-"

// endToEnd removes, in place, what must not pass the gateway: fields of this hop (RFC 9110, section 7.6.1), those that
// Connection names, and reserved ones. "Te: trailers" passes, since trailers do.
func endToEnd(fields []Field) []Field {
	named := tokens(fields, "Connection")
	trailers := slices.ContainsFunc(tokens(fields, "Te"), func(s string) bool { return s == "Trailers" })
	fields = slices.DeleteFunc(fields, func(f Field) bool {
		return ofHop(f.Name) || slices.Contains(named, f.Name) || strings.HasPrefix(f.Name, ReservedPrefix)
	})
	if trailers {
		fields = append(fields, Field{"Te", "trailers"})
	}
	return fields
}

func ofHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// forwarded removes, in place, what the client claims about its origin, and adds what the gateway saw. What a trusted
// proxy says stays as it is.
func forwarded(fields []Field, r *Request, trusted []netip.Prefix) []Field {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	peer := from.Addr().Unmap()
	if slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(peer) }) {
		return fields
	}
	fields = slices.DeleteFunc(fields, func(f Field) bool {
		return f.Name == "Forwarded" || strings.HasPrefix(f.Name, "X-Forwarded-")
	})
	fields = append(fields, Field{"X-Forwarded-Host", r.Authority}, Field{"X-Forwarded-Proto", r.Scheme})
	if from.IsValid() {
		fields = append(fields, Field{"X-Forwarded-For", peer.String()})
	}
	return fields
}

// tokens lists the elements of all fields called name, in the canonical form of field names.
func tokens(fields []Field, name string) (list []string) {
	for _, f := range fields {
		if f.Name != name {
			continue
		}
		for s := range strings.SplitSeq(f.Value, ",") {
			list = append(list, http.CanonicalHeaderKey(strings.TrimSpace(s)))
		}
	}
	return list
}
