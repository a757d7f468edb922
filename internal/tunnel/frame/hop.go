package frame

import (
	"net/http"
	"slices"
	"strings"
)

// ReservedPrefix begins the field names that belong to the tunnel. The gateway strips them from requests and from
// responses, so a field that arrives under it is the gateway's own.
const ReservedPrefix = "Modulebus-"

// EndToEnd removes, in place, what must not pass the gateway: fields of this hop (RFC 9110, section 7.6.1), those that
// Connection names, and reserved ones. "Te: trailers" passes, since trailers do.
func EndToEnd(fields []Field) []Field {
	named := Tokens(fields, "Connection")
	trailers := slices.ContainsFunc(Tokens(fields, "Te"), func(s string) bool { return s == "Trailers" })
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

// Tokens lists the elements of all fields called name, in the canonical form of field names.
func Tokens(fields []Field, name string) (list []string) {
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
