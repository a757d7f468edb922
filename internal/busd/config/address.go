package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Checks of text: each returns what is wrong; empty if nothing is. They do not repeat URLs, which may hold passwords.

var dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9.])?$`)

// listenAddress checks addresses like the example, with a port from lowest. The host may be left out.
func listenAddress(example string, lowest int) func(string) string {
	return func(s string) string {
		host, port, err := net.SplitHostPort(s)
		if err != nil || host != "" && !isHost(host) {
			return quote(s) + " is not an address to listen on (try " + example + ")"
		}
		if n, err := strconv.Atoi(port); err != nil || n < lowest || n > 65535 {
			return fmt.Sprintf("%s does not end in a port from %d to 65535", quote(s), lowest)
		}
		return ""
	}
}

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || dnsName.MatchString(s)
}

// loopback reports whether only this machine reaches the address.
func loopback(listen string) bool {
	host, _, _ := net.SplitHostPort(listen)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// serverGrammar is the grammar of a server name, except for the inside of the brackets of an IPv6 address.
var serverGrammar = regexp.MustCompile(`^(?:[A-Za-z0-9.-]+|\[([0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?$`)

// serverName checks a server name by the grammar in the appendices of the Matrix specification.
func serverName(s string) string {
	parts := serverGrammar.FindStringSubmatch(s)
	if parts == nil || len(s) > 255 || parts[1] != "" && !isHost(parts[1]) {
		return quote(s) + " is not a server name (it is what follows the colon in user IDs, such as example.com)"
	}
	return ""
}

// natsURLs checks a list of NATS servers, separated by commas.
func natsURLs(s string) string {
	for one := range strings.SplitSeq(s, ",") {
		if !isURL(strings.TrimSpace(one), "nats", "tls", "ws", "wss") {
			return "is not one or more URLs of NATS servers (try nats://127.0.0.1:4222, with commas between several)"
		}
	}
	return ""
}

// httpURL checks a base URL.
func httpURL(s string) string {
	if u, err := url.Parse(s); err != nil || !isURL(s, "http", "https") || u.RawQuery != "" || u.Fragment != "" {
		return "is not a base URL for HTTP (try http://127.0.0.1:8008/_synapse/modulebus)"
	}
	return ""
}

// antispamURL checks the URL to which callbacks' names are appended.
func antispamURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || !isURL(s, "http", "https") || strings.ContainsAny(s, "?#"):
		return "is not a base URL for HTTP (try http://127.0.0.1:8080/api/1/spam_check)"
	case u.User != nil:
		return "holds a password (write the token into a file, and name that as token_file)"
	case strings.HasSuffix(s, "/"):
		return "ends with a slash, and another is put before the callback's name (remove it)"
	}
	return ""
}

func isURL(s string, schemes ...string) bool {
	u, err := url.Parse(s)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" {
		return false
	}
	_, err = strconv.ParseUint(cmp.Or(u.Port(), "0"), 10, 16)
	return err == nil
}

// network checks an address, or a network in the notation of RFC 4632.
func network(s string) string {
	if _, err := parseNetwork(s); err != nil {
		return quote(s) + " is not an address or a network (try 127.0.0.1 or 10.0.0.0/8)"
	}
	return ""
}

// parseNetwork reads a network. An address is a network of one.
func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Unmap().Prefix(addr.Unmap().BitLen())
	}
	return netip.ParsePrefix(s)
}

// moduleName checks a module's name.
func moduleName(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > 128:
		return quote(s) + " is longer than 128 bytes"
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unprintable):
		return quote(s) + " has a space, or a character that cannot be printed"
	}
	return ""
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

var variables = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variable checks the name of a variable of the environment.
func variable(s string) string {
	if !variables.MatchString(s) {
		return quote(s) + " is not the name of a variable (try DATABASE_URL; a value stands in busd's own environment)"
	}
	return ""
}
