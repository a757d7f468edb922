package access

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/modulebus/modulebus/matrix"
)

// unnamed is the denial of a request that needs no token, and comes under a name that anybody's page could have.
var unnamed = &Denial{
	Status: http.StatusForbidden, Errcode: matrix.Forbidden,
	Text: "without a token, this is answered only at an address such as http://127.0.0.1:8010, at names without a dot such as localhost, and at " +
		"names of server_name's domain, not at the name in this request's Host: a page elsewhere could have a browser ask under such a name " +
		"(DNS rebinding). Use one of those, have the proxy before busd send one, or set http.token_file",
}

// stranger says why a request that shows no token must not be answered, and returns nil if it may be: if it comes under a name that
// nobody elsewhere can have lead here, which is an address, a name that nobody can register (without a dot, or below localhost or
// internal, such as host.docker.internal, by which a container reaches its host), or one of the homeserver's
// domain. A browser takes a page of evil.example for the same origin as whatever that name leads to a moment later, so that neither
// Origin nor Sec-Fetch-Site tell (ADR 79). Programs that show no name are no browsers.
func (g *Guard) stranger(r *http.Request) *Denial {
	host := hostname(r.Host)
	_, err := netip.ParseAddr(host)
	if err == nil || !strings.Contains(host, ".") || under(host, "localhost") || under(host, "internal") || under(host, g.domain) {
		return nil
	}
	return unnamed
}

// under reports whether a name is that of a domain, or of something in it.
func under(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

// hostname is a host without its port, in lower case.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
