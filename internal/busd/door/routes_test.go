package door_test

import (
	"cmp"
	"net/http"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
)

// needed is what each path of busd's own needs. Whoever adds a path says here what a token has to give.
var needed = map[string]access.Scope{
	"/_modulebus/v1/ask/{category}/{callback}": access.Ask,
	"/_modulebus/v1/wants":                     access.Ask,
	"/_modulebus/antispam/":                    access.Ask,
	"/_modulebus/v1/modules":                   access.Read,
	"/_modulebus/v1/decisions":                 access.Read,
	"/_modulebus/v1/decisions/{id}":            access.Read,
	"/_modulebus/v1/decisions/stream":          access.Read,
	"/_modulebus/":                             access.Read,
	"/_modulebus/{$}":                          access.Read,
	"/_modulebus/explain":                      access.Read,
	"/_modulebus/live":                         access.Read,
	"/metrics":                                 access.Read,
	"/_modulebus/v1/modules/{module}/restart":  access.Change,
	"/{$}":                    access.Public,
	"/":                       access.Public,
	"/_modulebus/sign-in":     access.Public,
	"/_modulebus/sign-out":    access.Public,
	"/_modulebus/assets/":     access.Public,
	"/healthz":                access.Public,
	"/readyz":                 access.Public,
	"/_matrix/policy/v1/sign": access.Public,
	"/_matrix/policy/unstable/org.matrix.msc4284/sign": access.Public,
	"/.well-known/matrix/policy_server":                access.Public,
}

// TestPathsNeedWhatTheySay asks for each path of busd's own with each token.
func TestPathsNeedWhatTheySay(t *testing.T) {
	t.Parallel()
	c := config.HTTP{Listen: "0.0.0.0:0"}
	for _, scope := range []string{config.ScopeAsk, config.ScopeRead, config.ScopeAdmin} {
		c.Tokens = append(c.Tokens, config.Token{File: tokenFile(t, scope), Scopes: []string{scope}})
	}
	h := newHouse(t)
	options := h.options(c)
	options.PolicyServer, options.Page = &policyserver.Server{}, somePage{}
	if diff := gocmp.Diff(needed, scopesOf(t, door.NewHTTP(options))); diff != "" {
		t.Errorf("paths and what they need (-wanted +got):\n%s", diff)
	}
	d := h.openHTTP(c)
	d.life.Begin()
	for _, r := range d.Routes() {
		for token, gives := range map[string]access.Scope{
			"": access.Public, "wrong": access.Public, config.ScopeAsk: access.Ask, config.ScopeRead: access.Read, config.ScopeAdmin: access.Admin,
		} {
			d.passes(r, token, gives&r.Needs == r.Needs)
		}
	}
}

// somePage is a page that says nothing.
type somePage struct{ http.Handler }

// Deny implements [door.Page].
func (somePage) Deny(http.ResponseWriter, *http.Request, *access.Denial) {}

// scopesOf is what the door says that its paths need.
func scopesOf(t *testing.T, d *door.HTTP) map[string]access.Scope {
	t.Helper()
	all := map[string]access.Scope{}
	for _, r := range d.Routes() {
		if all[r.Path] = r.Needs; (r.Needs == access.Public) == (r.Open == "") {
			t.Errorf("%s needs a scope, or a reason to need none: %v, %q", r.Path, r.Needs, r.Open)
		}
	}
	return all
}

// passes sees to whether a token opens a path. What it finds there does not matter.
func (d *httpDoor) passes(r door.Route, token string, want bool) {
	d.t.Helper()
	path := example(r)
	req, err := http.NewRequestWithContext(d.t.Context(), cmp.Or(r.Method, http.MethodGet), d.url+path, strings.NewReader("{}"))
	if err != nil {
		d.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	_ = rsp.Body.Close() // A stream of records has no end.
	if passed := rsp.StatusCode != http.StatusUnauthorized && rsp.StatusCode != http.StatusForbidden; passed != want {
		d.t.Errorf("%s %s with token %q: %s", req.Method, path, token, rsp.Status)
	}
}

// example is a path that leads to a route.
func example(r door.Route) string {
	if r.Path == "/" {
		return "/nothing"
	}
	return strings.NewReplacer("{category}", "spam_checker", "{callback}", "user_may_create_room", "{module}", "gate", "{id}", "d-1", "{$}", "").Replace(r.Path)
}

// TestPageUnderANameThatLeadsHereCannotAsk asks for each path of busd's own as a browser does for a page of evil.example, whose name
// leads to this machine by now: the page is of the same origin then.
func TestPageUnderANameThatLeadsHereCannotAsk(t *testing.T) {
	t.Parallel()
	d := begun(t)
	for _, r := range d.Routes() {
		if r.Needs == access.Public || r.Endless {
			continue
		}
		for host, want := range map[string]bool{"evil.example": false, "127.0.0.1": true} {
			out := d.raw(cmp.Or(r.Method, "GET") + " " + example(r) + " HTTP/1.1\r\nHost: " + host + ":8010\r\nOrigin: http://" + host + ":8010\r\n" +
				"Sec-Fetch-Site: same-origin\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
			if passed := !strings.HasPrefix(out, "HTTP/1.1 403"); passed != want {
				t.Errorf("%s %s as %s: %.300q", r.Method, r.Path, host, out)
			}
		}
	}
}

// TestHeadIsGetWithoutABody asks for each path of busd's own that is read.
func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	d := begun(t)
	for _, r := range d.Routes() {
		if cmp.Or(r.Method, http.MethodGet) != http.MethodGet || r.Endless {
			continue
		}
		got, _ := d.do(http.MethodGet, example(r), nil)
		rsp, out := d.do(http.MethodHead, example(r), nil)
		if rsp.StatusCode != got.StatusCode || rsp.Header.Get("Content-Type") != got.Header.Get("Content-Type") || len(out) > 0 {
			t.Errorf("%s: %s %v, %q; GET has %s %v", r.Path, rsp.Status, rsp.Header, out, got.Status, got.Header)
		}
	}
}
