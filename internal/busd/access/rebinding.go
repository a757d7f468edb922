package access

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/modulebus/modulebus/matrix"
)

// unnamed is the denial of a request that needs no token but is for a name that any web page could have.
var unnamed = &Denial{
	Status: http.StatusForbidden, Errcode: matrix.Forbidden,
	Text: "without a token, this is answered only at an address such as http://127.0.0.1:8010, at names without a dot such as localhost, and at " +
		"names of server_name's domain, not at the name in this request's Host: a page elsewhere could have a browser ask under such a name " +
		"(DNS rebinding). Use one of those, have the proxy before busd send one, or set http.token_file",
}

// stranger returns why a request without a token must not be answered; nil if it may be. It may be if its host is a
// name that no outsider can point to this machine: an address, a name that cannot be registered (one without a dot, or
// below localhost or internal, such as host.docker.internal, by which a container reaches its host), or a name in the
// homeserver's domain. The reason is DNS rebinding: a page of evil.example has the same origin as any machine that the
// name is later made to point to, so neither Origin nor Sec-Fetch-Site shows the difference (ADR 79). Programs that
// send no host are no browsers.
func (g *Guard) stranger(r *http.Request) *Denial {
	host := hostname(r.Host)
	_, err := netip.ParseAddr(host)
	if err == nil || !strings.Contains(host, ".") || under(host, "localhost") || under(host, "internal") || under(host, g.domain) {
		return nil
	}
	return unnamed
}

// under reports whether a name is a domain or lies below it.
func under(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

// hostname is a host without its port, in lower case.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
