package access_test

import (
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
