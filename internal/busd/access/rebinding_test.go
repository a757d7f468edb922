package access_test

import (
	"testing"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
)

// TestRequestUnderAStrangersNameNeedsAToken has what a browser sends for a page of evil.example whose name leads to this machine.
func TestRequestUnderAStrangersNameNeedsAToken(t *testing.T) {
	t.Parallel()
	open := guard(t, config.HTTP{Listen: "127.0.0.1:1"})
	locked := guard(t, config.HTTP{Listen: "127.0.0.1:1", TokenFile: write(t, "token", "secret")})
	for host, want := range map[string]string{
		"127.0.0.1:8010": "", "127.0.0.1": "", "[::1]:8010": "", "[::1]": "", "10.0.0.7:8010": "", "": "", "localhost:8010": "", "LocalHost.": "", "busd.localhost": "", "busd:8010": "",
		"host.docker.internal:8010": "", "host.containers.internal": "", "internal.evil.example": "M_FORBIDDEN", "notinternal.example": "M_FORBIDDEN",
		"example.com": "", "busd.example.com:8010": "", "BUSD.EXAMPLE.COM.": "",
		"evil.example": "M_FORBIDDEN", "evil.example:8010": "M_FORBIDDEN", "notexample.com": "M_FORBIDDEN", "example.com.evil.example": "M_FORBIDDEN",
		"localhost.evil.example": "M_FORBIDDEN", "127.0.0.1.evil.example": "M_FORBIDDEN", "evil.example:8010:x": "M_FORBIDDEN", "@127.0.0.1": "M_FORBIDDEN",
	} {
		for _, need := range []access.Scope{access.Ask, access.Read, access.Change} {
			r := request("POST", "")
			r.Host = host
			if got := denied(open.Denies(r, need)); got != want {
				t.Errorf("%q: got %q, want %q", host, got, want)
			}
		}
		r := request("GET", "")
		r.Host = host
		if got := denied(open.DeniesPage(r)); got != want {
			t.Errorf("%q, the page: got %q, want %q", host, got, want)
		}
		if got := denied(locked.DeniesDetails(r)); (got == "") != (want == "") {
			t.Errorf("%q, details beside a token: got %q", host, got)
		}
		r.Header.Set("Authorization", "Bearer secret")
		if got := denied(locked.Denies(r, access.Read)); got != "" {
			t.Errorf("%q, with a token: got %q", host, got)
		}
	}
}
