package access_test

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modulebus/modulebus/internal/busd/access"
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
