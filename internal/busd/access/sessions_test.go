package access_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/waittest"
)

// signIn returns the cookie that a browser is given for a token, nil if it is denied.
func signIn(t *testing.T, g *access.Guard, token string) (*http.Cookie, *access.Denial) {
	t.Helper()
	w := httptest.NewRecorder()
	denial := g.SignIn(w, request("POST", ""), token)
	if set := w.Result().Cookies(); len(set) == 1 {
		return set[0], denial
	}
	return nil, denial
}

func with(c *http.Cookie) *http.Request {
	r := request("GET", "")
	r.AddCookie(c)
	return r
}

func readers(t *testing.T) (*access.Guard, string) {
	t.Helper()
	file := write(t, "read", "looks")
	return guard(t, config.HTTP{Listen: "0.0.0.0:1", Tokens: []config.Token{
		{File: file, Scopes: []string{config.ScopeRead}}, {File: write(t, "ask", "asks"), Scopes: []string{config.ScopeAsk}},
	}}), file
}

func TestSessionReadsThePageAndNothingElse(t *testing.T) {
	t.Parallel()
	g, _ := readers(t)
	c, denial := signIn(t, g, "looks")
	if denial != nil || c == nil {
		t.Fatalf("denied: %+v", denial)
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != access.PagePath || strings.Contains(c.Value, "looks") {
		t.Errorf("the cookie is %+v", c)
	}
	if denial := g.DeniesPage(with(c)); denial != nil {
		t.Errorf("the page is denied: %+v", denial)
	}
	if got := denied(g.Denies(with(c), access.Read)); got != "M_MISSING_TOKEN" {
		t.Errorf("the API is denied with %q", got)
	}
	g.SignOut(httptest.NewRecorder(), with(c))
	if got := denied(g.DeniesPage(with(c))); got != "M_UNKNOWN_TOKEN" {
		t.Errorf("signed out, the page is denied with %q", got)
	}
}

func TestSignInWantsATokenThatMayRead(t *testing.T) {
	t.Parallel()
	g, _ := readers(t)
	for token, want := range map[string]string{"": "M_UNKNOWN_TOKEN", "guessed": "M_UNKNOWN_TOKEN", "asks": "M_FORBIDDEN"} {
		if c, denial := signIn(t, g, token); denied(denial) != want || c != nil {
			t.Errorf("with %q: %+v, cookie %v", token, denial, c)
		}
	}
	if got := denied(g.DeniesPage(request("GET", ""))); got != "M_MISSING_TOKEN" {
		t.Errorf("without anything the page is denied with %q", got)
	}
	if denial := g.DeniesPage(request("GET", "Bearer looks")); denial != nil {
		t.Errorf("with a token in the header the page is denied: %+v", denial)
	}
}

// TestScriptOfAnotherPageReadsNothing has what a browser sends for a script of a module's page, under the same name and port.
func TestScriptOfAnotherPageReadsNothing(t *testing.T) {
	t.Parallel()
	g, _ := readers(t)
	c, _ := signIn(t, g, "looks")
	for said, want := range map[string]string{
		"": "", "navigate": "", "navigate document": "", "navigate iframe": "M_FORBIDDEN", "navigate object": "M_FORBIDDEN", "cors empty": "M_FORBIDDEN",
		"no-cors script": "M_FORBIDDEN", "same-origin": "M_FORBIDDEN", "websocket": "M_FORBIDDEN",
	} {
		page, basic := with(c), request("GET", "")
		basic.SetBasicAuth("anybody", "looks")
		mode, dest, _ := strings.Cut(said, " ")
		for _, r := range []*http.Request{page, basic} {
			r.Header.Set("Sec-Fetch-Mode", mode)
			r.Header.Set("Sec-Fetch-Dest", dest)
		}
		if got := denied(g.DeniesPage(page)); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
		if got := denied(g.Denies(basic, access.Read)); (got == "") != (want == "") {
			t.Errorf("%q, with a password that the browser keeps: got %q", said, got)
		}
		page.URL.RawQuery = access.PageKey + "=" + g.Key()
		if got := denied(g.DeniesPage(page)); got != "" {
			t.Errorf("%q, the page's own script: got %q", said, got)
		}
	}
}

// TestNobodySignsInOverPlainHTTPFromAnotherMachine has what browsers send; there they do not say which page a request comes from.
func TestNobodySignsInOverPlainHTTPFromAnotherMachine(t *testing.T) {
	t.Parallel()
	const browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	g, _ := readers(t)
	for _, c := range []struct {
		host, agent, header, value string
		may                        bool
	}{
		{"192.0.2.7:8010", browser, "", "", false},
		{"busd.example.com", browser, "", "", false},
		{"busd", browser, "X-Forwarded-Proto", "http", false},
		{"localhost.example.com", browser, "", "", false},
		{"127.0.0.1:8010", browser, "", "", true},
		{"[::1]:8010", browser, "", "", true},
		{"localhost:8010", browser, "", "", true},
		{"busd.localhost", browser, "", "", true},
		{"busd.example.com", browser, "X-Forwarded-Proto", "https", true},
		{"192.0.2.7:8010", browser, "Sec-Fetch-Mode", "navigate", true}, // The browser was told to trust that address.
		{"192.0.2.7:8010", "curl/8.14.1", "", "", true},
	} {
		r := request("POST", "")
		r.Host = c.host
		r.Header.Set("User-Agent", c.agent)
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		w, asked := httptest.NewRecorder(), http.Header{}
		denial := g.SignIn(w, r, "looks")
		g.Challenge(asked, r, access.Read)
		if (denial == nil) != c.may || (len(w.Result().Cookies()) == 1) != c.may || (len(asked.Values("WWW-Authenticate")) == 2) != c.may {
			t.Errorf("%+v: %+v, %v", c, denial, asked)
		}
	}
	r := request("POST", "")
	r.Header.Set("User-Agent", browser)
	r.TLS = &tls.ConnectionState{}
	if denial := g.SignIn(httptest.NewRecorder(), r, "looks"); denial != nil {
		t.Errorf("over HTTPS: %+v", denial)
	}
	if denial := guard(t, config.HTTP{Listen: "127.0.0.1:1"}).DeniesSignIn(request("GET", "")); denial != nil {
		t.Errorf("without tokens: %+v", denial)
	}
}

// TestSessionEndsWithItsToken has the token replaced while a browser is signed in.
func TestSessionEndsWithItsToken(t *testing.T) {
	t.Parallel()
	g, file := readers(t)
	c, _ := signIn(t, g, "looks")
	if err := os.WriteFile(file, []byte("another one"), 0o600); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the session ends", func() bool { return g.DeniesPage(with(c)) != nil })
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	g, _ := readers(t)
	first, _ := signIn(t, g, "looks")
	for range 256 {
		if _, denial := signIn(t, g, "looks"); denial != nil {
			t.Fatalf("denied: %+v", denial)
		}
	}
	if got := denied(g.DeniesPage(with(first))); got != "M_UNKNOWN_TOKEN" {
		t.Errorf("the first of too many sessions is denied with %q", got)
	}
}
