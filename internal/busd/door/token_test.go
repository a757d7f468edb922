package door_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
)

func TestTokenIsWantedWhereItIsConfigured(t *testing.T) {
	t.Parallel()
	d := newHouse(t).openHTTP(config.HTTP{TokenFile: tokenFile(t, "secret")})
	d.life.Begin()
	rsp, out := d.do("POST", createPath, user("evil"))
	wants(t, rsp, out, 401, "M_MISSING_TOKEN")
	rsp, out = d.do("POST", createPath, user("evil"), "Authorization", "Bearer guessed")
	wants(t, rsp, out, 401, "M_UNKNOWN_TOKEN")
	if rsp, _ := d.do("POST", createPath, user("evil"), "Authorization", "bearer secret"); rsp.StatusCode != 200 {
		t.Errorf("with the token: %s", rsp.Status)
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics"} {
		if rsp, _ := d.do("GET", path, nil); rsp.StatusCode != 200 {
			t.Errorf("%s: %s", path, rsp.Status)
		}
	}
}

func TestTokenDoesWhatItsScopesSay(t *testing.T) {
	t.Parallel()
	c := config.HTTP{Listen: "0.0.0.0:0", TokenFile: tokenFile(t, "everything")}
	for _, scope := range []string{config.ScopeAsk, config.ScopeRead, config.ScopeAdmin} {
		c.Tokens = append(c.Tokens, config.Token{File: tokenFile(t, scope), Scopes: []string{scope}})
	}
	d := newHouse(t).openHTTP(c)
	d.life.Begin()
	ask, read, admin := []string{"ask", "admin", "everything"}, []string{"read", "admin", "everything"}, []string{"admin", "everything"}
	for _, tt := range []struct {
		method, path string
		may          []string
	}{
		{"POST", createPath, ask},
		{"GET", "/_modulebus/v1/wants", ask},
		{"GET", "/_modulebus/v1/modules", read},
		{"GET", "/metrics", read},
		{"POST", "/_modulebus/v1/modules/gate/restart", admin},
	} {
		for _, token := range []string{"ask", "read", "admin", "everything"} {
			rsp, out := d.do(tt.method, tt.path, user("good"), "Authorization", "Bearer "+token)
			switch may := slices.Contains(tt.may, token); {
			case may && rsp.StatusCode != 200:
				t.Errorf("%s %s with %s: %s %s", tt.method, tt.path, token, rsp.Status, out)
			case !may:
				wants(t, rsp, out, 403, "M_FORBIDDEN")
			}
		}
		rsp, out := d.do(tt.method, tt.path, user("good"))
		wants(t, rsp, out, 401, "M_MISSING_TOKEN")
	}
}

// TestReadyTellsDetailsToReaders has a door that other machines reach, and a module that is missing.
func TestReadyTellsDetailsToReaders(t *testing.T) {
	t.Parallel()
	d := newHouse(t).openHTTP(config.HTTP{Listen: "0.0.0.0:0", TokenFile: tokenFile(t, "secret")})
	d.configure("{module: gate}, {module: missing}")
	rsp, out := d.do("GET", "/readyz", nil)
	if rsp.StatusCode != 503 || strings.Contains(string(out), "missing") {
		t.Errorf("without a token: %s %s", rsp.Status, out)
	}
	if rsp, out := d.do("GET", "/readyz", nil, "Authorization", "Bearer secret"); rsp.StatusCode != 503 || !strings.Contains(string(out), "missing") {
		t.Errorf("with the token: %s %s", rsp.Status, out)
	}
}

// TestPagesElsewhereCannotAsk has a browser's request that another page makes.
func TestPagesElsewhereCannotAsk(t *testing.T) {
	t.Parallel()
	d := begun(t)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		rsp, out := d.do("POST", "/_modulebus/v1/modules/gate/restart", nil, header...)
		wants(t, rsp, out, 403, "M_FORBIDDEN")
	}
}

// slowPage reads what people send, whoever they are.
type slowPage struct{ reads chan struct{} }

// ServeHTTP implements [door.Page].
func (p slowPage) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	close(p.reads)
	_, _ = io.Copy(io.Discard, r.Body)
}

// Deny implements [door.Page].
func (slowPage) Deny(http.ResponseWriter, *http.Request, *access.Denial) {}

// TestSignInThatNeverEndsIsCut has somebody without a token send a form byte by byte, as people may who have yet to show one.
func TestSignInThatNeverEndsIsCut(t *testing.T) {
	t.Parallel()
	h, page := newHouse(t), slowPage{make(chan struct{})}
	o := h.options(config.HTTP{Listen: "127.0.0.1:0", TokenFile: tokenFile(t, "secret")})
	o.Page = page
	d := h.openWith(o)
	body, form := io.Pipe()
	defer form.Close()
	answered := make(chan error, 1)
	go func() {
		rsp, err := d.client.Post(d.url+door.SignInPath, "application/x-www-form-urlencoded", body)
		if err == nil {
			err = rsp.Body.Close()
		}
		answered <- err
	}()
	<-page.reads
	d.life.Drain() // Else it may take half a minute.
	within(t, "the answer", func() {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}
