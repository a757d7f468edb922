package access_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
)

// try signs in from an address.
func try(g *access.Guard, addr, token string) string {
	r := request("POST", "")
	r.RemoteAddr = addr
	return denied(g.SignIn(httptest.NewRecorder(), r, token))
}

// TestSignInIsTriedSoOften has somebody guess from all ports and addresses that are theirs, and an operator elsewhere.
func TestSignInIsTriedSoOften(t *testing.T) {
	t.Parallel()
	g, _ := readers(t)
	synctest.Test(t, func(t *testing.T) {
		for name, addr := range map[string]string{"IPv4": "203.0.113.7:%d", "IPv6": "[2001:db8::%d]:1"} {
			for i := range 10 {
				if got := try(g, fmt.Sprintf(addr, i+1), "guessed"); got != "M_UNKNOWN_TOKEN" {
					t.Errorf("%s, try %d: %q", name, i, got)
				}
			}
			if got := try(g, fmt.Sprintf(addr, 99), "looks"); got != "M_LIMIT_EXCEEDED" {
				t.Errorf("%s, after too many: %q", name, got)
			}
		}
		<-time.After(time.Minute)
		if got := try(g, "203.0.113.7:1", "looks"); got != "" {
			t.Errorf("a minute later: %q", got)
		}
	})
}

// TestSignInThatSucceedsCountsForNothing has somebody sign in over and over.
func TestSignInThatSucceedsCountsForNothing(t *testing.T) {
	t.Parallel()
	g, _ := readers(t)
	for i := range 100 {
		if got := try(g, "203.0.113.7:1", "looks"); got != "" {
			t.Fatalf("time %d: %q", i, got)
		}
	}
}

// TestBusdOnOneHostKeepTheirBrowsersApart has browsers send the cookies of both, since they tell no ports apart.
func TestBusdOnOneHostKeepTheirBrowsersApart(t *testing.T) {
	t.Parallel()
	one, _ := readers(t)
	other, _ := readers(t)
	first, _ := signIn(t, one, "looks")
	second, _ := signIn(t, other, "looks")
	r := with(first)
	r.AddCookie(second)
	if first.Name == second.Name || one.DeniesPage(r) != nil || other.DeniesPage(r) != nil {
		t.Errorf("with %s and %s: %v, %v", first.Name, second.Name, one.DeniesPage(r), other.DeniesPage(r))
	}
}

// TestVisitorsOfAProxyAreToldApart has somebody guess through a trusted proxy, and say that it is for others, beside an operator.
func TestVisitorsOfAProxyAreToldApart(t *testing.T) {
	t.Parallel()
	file := write(t, "token", "looks")
	g := guard(t, config.HTTP{TokenFile: file, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	through := func(peer, forwarded, token string) string {
		r := request("POST", "")
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", forwarded)
		return denied(g.SignIn(httptest.NewRecorder(), r, token))
	}
	for i := range 10 {
		through("127.0.0.1:1", fmt.Sprintf("198.51.100.%d, 203.0.113.7", i), "guessed")
		through("203.0.113.8:1", fmt.Sprintf("198.51.100.%d", i), "guessed") // It is no proxy that is trusted.
	}
	for name, got := range map[string]string{
		"who guessed": through("127.0.0.1:1", "203.0.113.7", "looks"), "who is no proxy": through("203.0.113.8:1", "198.51.100.1", "looks"),
	} {
		if got != "M_LIMIT_EXCEEDED" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := through("127.0.0.1:1", "198.51.100.1", "looks"); got != "" {
		t.Errorf("the operator: %q", got)
	}
}
