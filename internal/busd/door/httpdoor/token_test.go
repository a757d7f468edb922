package httpdoor_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/busd/page"
)

func TestTokenIsWantedWhereItIsConfigured(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{TokenFile: doortest.TokenFile(t, "secret")})
	d.Life.Begin()
	rsp, out := d.Do("POST", doortest.CreatePath, doortest.User("evil"))
	doortest.Wants(t, rsp, out, 401, "M_MISSING_TOKEN")
	rsp, out = d.Do("POST", doortest.CreatePath, doortest.User("evil"), "Authorization", "Bearer guessed")
	doortest.Wants(t, rsp, out, 401, "M_UNKNOWN_TOKEN")
	if rsp, _ := d.Do("POST", doortest.CreatePath, doortest.User("evil"), "Authorization", "bearer secret"); rsp.StatusCode != 200 {
		t.Errorf("with the token: %s", rsp.Status)
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics"} {
		if rsp, _ := d.Do("GET", path, nil); rsp.StatusCode != 200 {
			t.Errorf("%s: %s", path, rsp.Status)
		}
	}
}

func TestTokenDoesWhatItsScopesSay(t *testing.T) {
	t.Parallel()
	c := config.HTTP{Listen: "0.0.0.0:0", TokenFile: doortest.TokenFile(t, "everything")}
	for _, scope := range []string{config.ScopeAsk, config.ScopeRead, config.ScopeAdmin} {
		c.Tokens = append(c.Tokens, config.Token{File: doortest.TokenFile(t, scope), Scopes: []string{scope}})
	}
	d := doortest.New(t).Serve(c)
	d.Life.Begin()
	ask, read, admin := []string{"ask", "admin", "everything"}, []string{"read", "admin", "everything"}, []string{"admin", "everything"}
	for _, tt := range []struct {
		method, path string
		may          []string
	}{
		{"POST", doortest.CreatePath, ask},
		{"GET", "/_modulebus/v1/wants", ask},
		{"GET", "/_modulebus/v1/modules", read},
		{"GET", "/metrics", read},
		{"POST", "/_modulebus/v1/modules/gate/restart", admin},
	} {
		for _, token := range []string{"ask", "read", "admin", "everything"} {
			rsp, out := d.Do(tt.method, tt.path, doortest.User("good"), "Authorization", "Bearer "+token)
			switch may := slices.Contains(tt.may, token); {
			case may && rsp.StatusCode != 200:
				t.Errorf("%s %s with %s: %s %s", tt.method, tt.path, token, rsp.Status, out)
			case !may:
				doortest.Wants(t, rsp, out, 403, "M_FORBIDDEN")
			}
		}
		rsp, out := d.Do(tt.method, tt.path, doortest.User("good"))
		doortest.Wants(t, rsp, out, 401, "M_MISSING_TOKEN")
	}
}

// TestPagesElsewhereCannotAsk has a browser's request that another page makes.
func TestPagesElsewhereCannotAsk(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		rsp, out := d.Do("POST", "/_modulebus/v1/modules/gate/restart", nil, header...)
		doortest.Wants(t, rsp, out, 403, "M_FORBIDDEN")
	}
}

// TestPageThatOpensWhatIsReadCannotLookIntoIt has what a script of a module's page could open in a window, with a password that the
// browser keeps.
func TestPageThatOpensWhatIsReadCannotLookIntoIt(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{TokenFile: doortest.TokenFile(t, "secret")})
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:secret"))
	for _, path := range []string{"/_modulebus/v1/modules", "/_modulebus/v1/decisions", "/metrics"} {
		rsp, _ := d.Do("GET", path, nil, "Authorization", basic, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
		if got := rsp.Header.Get("Cross-Origin-Opener-Policy"); rsp.StatusCode != 200 || got != "noopener-allow-popups" {
			t.Errorf("%s: %s, %q", path, rsp.Status, got)
		}
	}
}

// watched is a page that tells when it begins to read what somebody sends to sign in.
type watched struct {
	*page.Page
	reads chan struct{}
}

// Routes implements [door.Served].
func (w watched) Routes() []door.Route {
	all := w.Page.Routes()
	i := slices.IndexFunc(all, func(r door.Route) bool { return r.Pattern() == signInPath })
	reads := all[i].Handler
	all[i].Handler = func(rw http.ResponseWriter, r *http.Request) { close(w.reads); reads(rw, r) }
	return all
}

const signInPath = "/_modulebus/sign-in"

// TestSignInThatNeverEndsIsCut has somebody without a token send a form byte by byte, as people may who have yet to show one.
func TestSignInThatNeverEndsIsCut(t *testing.T) {
	t.Parallel()
	h := doortest.New(t)
	o := h.Options(config.HTTP{Listen: "127.0.0.1:0", TokenFile: doortest.TokenFile(t, "secret")})
	people := watched{page.New(page.Options{Guard: o.Guard, Life: h.Life}), make(chan struct{})}
	o.Doors = append(o.Doors, people)
	d := h.ServeWith(o)
	body, form := io.Pipe()
	defer form.Close()
	answered := make(chan error, 1)
	go func() {
		rsp, err := d.Browser.Post(d.URL+signInPath, "application/x-www-form-urlencoded", body)
		if err == nil {
			err = rsp.Body.Close()
		}
		answered <- err
	}()
	<-people.reads
	d.Life.Drain() // Else it may take half a minute.
	doortest.Within(t, "the answer", func() {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}
