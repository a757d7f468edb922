package httpdoor_test

import (
	"cmp"
	"net/http"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/busd/door/httpdoor"
	"github.com/modulebus/modulebus/internal/busd/door/policydoor"
	"github.com/modulebus/modulebus/internal/busd/page"
	"github.com/modulebus/modulebus/internal/webpath"
)

// needed is what each path of busd's own needs. Whoever adds a path says here what a token has to give.
var needed = map[string]access.Scope{
	"/_modulebus/v1/ask/{category}/{callback}": access.Ask,
	"/_modulebus/v1/wants":                     access.Ask,
	"/_modulebus/antispam/":                    access.Ask,
	"/_meowlnir/antispam/":                     access.Ask,
	"/api/1/spam_check/":                       access.Ask,
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
		c.Tokens = append(c.Tokens, config.Token{File: doortest.TokenFile(t, scope), Scopes: []string{scope}})
	}
	h := doortest.New(t)
	options := h.Options(c)
	options.Doors = append(options.Doors, policydoor.New(policydoor.Options{}), page.New(page.Options{}))
	if diff := gocmp.Diff(needed, scopesOf(t, httpdoor.New(options))); diff != "" {
		t.Errorf("paths and what they need (-wanted +got):\n%s", diff)
	}
	d := h.Serve(c)
	d.Life.Begin()
	for _, r := range d.Routes() {
		for token, gives := range map[string]access.Scope{
			"": access.Public, "wrong": access.Public, config.ScopeAsk: access.Ask, config.ScopeRead: access.Read, config.ScopeAdmin: access.Admin,
		} {
			passes(d, r, token, gives&r.Needs == r.Needs)
		}
	}
}

// scopesOf is what the door says that its paths need.
func scopesOf(t *testing.T, d *httpdoor.Door) map[string]access.Scope {
	t.Helper()
	all := map[string]access.Scope{}
	for _, r := range d.Routes() {
		if all[r.Pattern()] = r.Needs; (r.Needs == access.Public) == (r.Open == "") {
			t.Errorf("%s needs a scope, or a reason to need none: %v, %q", r.Pattern(), r.Needs, r.Open)
		}
	}
	return all
}

// passes sees to whether a token opens a path. What it finds there does not matter.
func passes(d *doortest.HTTP, r door.Route, token string, want bool) {
	d.T.Helper()
	path := example(r)
	req, err := http.NewRequestWithContext(d.T.Context(), cmp.Or(r.Method, http.MethodGet), d.URL+path, strings.NewReader("{}"))
	if err != nil {
		d.T.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := d.Browser.Do(req)
	if err != nil {
		d.T.Fatal(err)
	}
	_ = rsp.Body.Close() // A stream of records has no end.
	if passed := rsp.StatusCode != http.StatusUnauthorized && rsp.StatusCode != http.StatusForbidden; passed != want {
		d.T.Errorf("%s %s with token %q: %s", req.Method, path, token, rsp.Status)
	}
}

// TestModulesCannotRegisterBusdsPaths looks at the routes of all doors.
func TestModulesCannotRegisterBusdsPaths(t *testing.T) {
	t.Parallel()
	for pattern := range needed {
		path := strings.TrimSuffix(regexp.MustCompile(`/\{.*`).ReplaceAllString(pattern, ""), "/")
		if err := webpath.Check(path); err == nil {
			t.Errorf("a module can register %q", path)
		}
	}
}

// example is a path that leads to a route.
func example(r door.Route) string {
	if r.Pattern() == "/" {
		return "/nothing"
	}
	return strings.NewReplacer("{category}", "spam_checker", "{callback}", "user_may_create_room", "{module}", "gate", "{id}", "d-1", "{$}", "").Replace(r.Pattern())
}

// TestPageUnderANameThatLeadsHereCannotAsk asks for each path of busd's own as a browser does for a page of evil.example, whose name
// leads to this machine by now: the page is of the same origin then.
func TestPageUnderANameThatLeadsHereCannotAsk(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, r := range d.Routes() {
		if r.Needs == access.Public || r.Endless {
			continue
		}
		for host, want := range map[string]bool{"evil.example": false, "127.0.0.1": true} {
			out := d.Raw(cmp.Or(r.Method, "GET") + " " + example(r) + " HTTP/1.1\r\nHost: " + host + ":8010\r\nOrigin: http://" + host + ":8010\r\n" +
				"Sec-Fetch-Site: same-origin\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
			if passed := !strings.HasPrefix(out, "HTTP/1.1 403"); passed != want {
				t.Errorf("%s %s as %s: %.300q", r.Method, r.Pattern(), host, out)
			}
		}
	}
}

// TestNameOfARequestIsWhatItsTargetSays has names in all places where a request can have one. A target with a name counts before Host (RFC
// 9112, section 3.2.2), and what proxies add does not count.
func TestNameOfARequestIsWhatItsTargetSays(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for head, status := range map[string]string{
		"GET http://evil.example:8010/_modulebus/v1/modules HTTP/1.1\r\nHost: localhost":                                 "403",
		"GET http://localhost:8010/_modulebus/v1/modules HTTP/1.1\r\nHost: evil.example":                                 "200",
		"GET /_modulebus/v1/modules HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost":                       "403",
		"GET /_modulebus/v1/modules HTTP/1.1\r\nHost: evil.example\r\nForwarded: host=localhost":                         "403",
		"GET /_modulebus/v1/modules HTTP/1.1\r\nHost: EVIL.example.:8010":                                                "403",
		"GET /_modulebus/v1/modules HTTP/1.1\r\nHost: localhost\r\nHost: evil.example":                                   "400",
		"GET /_modulebus/v1/modules HTTP/1.1\r\nHost: localhost, evil.example":                                           "400",
		"GET /_modulebus/v1/modules HTTP/1.1\r\nHost: user@evil.example":                                                 "400",
		"GET /_modulebus/v1/modules HTTP/1.1":                                                                            "400",
		"GET /_modulebus/v1/modules HTTP/1.0":                                                                            "200", // A program: browsers send one.
		"GET /_modulebus/v1/modules HTTP/1.0\r\nHost: evil.example":                                                      "403",
		"POST //evil.example/../_modulebus/antispam/user_may_invite HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0": "404",
		"POST /_modulebus/antispam/user_may_invite HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0":                  "403",
	} {
		if out := d.Raw(head + "\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out[min(len("HTTP/1.x "), len(out)):], status) {
			t.Errorf("%q: %.200q, want %s", head, out, status)
		}
	}
}

// TestHeadIsGetWithoutABody asks for each path of busd's own that is read.
func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, r := range d.Routes() {
		if cmp.Or(r.Method, http.MethodGet) != http.MethodGet || r.Endless {
			continue
		}
		got, _ := d.Do(http.MethodGet, example(r), nil)
		rsp, out := d.Do(http.MethodHead, example(r), nil)
		if rsp.StatusCode != got.StatusCode || rsp.Header.Get("Content-Type") != got.Header.Get("Content-Type") || len(out) > 0 {
			t.Errorf("%s: %s %v, %q; GET has %s %v", r.Pattern(), rsp.Status, rsp.Header, out, got.Status, got.Header)
		}
	}
}

// TestPathsThatAreNotCleanAreNobodys has paths that [http.ServeMux] would redirect: to programs, an answer that they do not expect.
func TestPathsThatAreNotCleanAreNobodys(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, path := range []string{
		"//", "//nothing", "//evil.example/..", "//_modulebus/v1/modules", "/_modulebus//v1/modules", "/_modulebus/./v1/modules",
		"/_modulebus/v1/modules/../modules", "/metrics//",
	} {
		if out := d.Raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 404 ") || !strings.Contains(out, "M_UNRECOGNIZED") {
			t.Errorf("%s: %.300q", path, out)
		}
	}
}
