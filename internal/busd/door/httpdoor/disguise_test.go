package httpdoor_test

import (
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
)

// TestPathsInDisguiseNeedATokenToo has paths of busd's own that are spelled so that who guards them and who serves them could read
// different ones.
func TestPathsInDisguiseNeedATokenToo(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{Listen: "0.0.0.0:0", Tokens: []config.Token{{File: doortest.TokenFile(t, "secret"), Scopes: []string{config.ScopeAdmin}}}})
	d.Life.Begin()
	for _, path := range []string{"/_modulebus/v1/modules", "/metrics"} {
		segments := strings.Split(path[1:], "/")
		for _, target := range []string{
			path, "/" + path, path + "/", path + "?x", path + ";x", path + "%00", path + "%2f", "/." + path, "/x/.." + path, "/healthz/.." + path,
			"/healthz/%2e%2e" + path, "/healthz/..%2f" + path[1:], `/healthz\..` + path, "/_synapse/client/gate/../../.." + path,
			"/_modulebus/antispam/../.." + path, "http://x" + path, "http://x/healthz/.." + path, "/%" + hexOf(segments[0][0]) + path[2:],
			"/" + strings.Join(segments, "%2F"), "/" + strings.Join(segments, "//"), strings.ToUpper(path),
		} {
			for _, header := range []string{
				"", "X-Original-URL: /healthz\r\n", "X-Rewrite-URL: /healthz\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "X-HTTP-Method-Override: OPTIONS\r\n",
			} {
				out := d.Raw("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + header + "Connection: close\r\n\r\n")
				if strings.HasPrefix(out, "HTTP/1.1 2") || strings.Contains(out, "roster_revision") || strings.Contains(out, "# HELP") {
					t.Errorf("%s with %q: %.300q", target, header, out)
				}
			}
		}
	}
}

// hexOf is a byte as it is escaped in a path.
func hexOf(b byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{digits[b>>4], digits[b&0xf]})
}
