package access_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/renewed"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func guard(t *testing.T, c config.HTTP) *access.Guard {
	t.Helper()
	g, err := access.NewGuard("example.com", c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func request(method, authorization string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

func denied(d *access.Denial) string {
	if d == nil {
		return ""
	}
	return d.Errcode
}

func TestGuardWithoutTokensAllowsEverything(t *testing.T) {
	t.Parallel()
	g := guard(t, config.HTTP{Listen: "127.0.0.1:1"})
	if d := g.Denies(request("POST", ""), access.Admin); d != nil {
		t.Errorf("denied: %+v", d)
	}
}

func TestTokenFileAloneGivesEveryScope(t *testing.T) {
	t.Parallel()
	g := guard(t, config.HTTP{Listen: "0.0.0.0:1", TokenFile: write(t, "token", "secret\n")})
	for _, need := range []access.Scope{access.Ask, access.Read, access.Change, access.Admin} {
		if got := denied(g.Denies(request("POST", "bearer secret"), need)); got != "" {
			t.Errorf("%v: %s", need, got)
		}
	}
}

// TestBasicAuthenticationReadsOnly has what a browser makes of a token that somebody typed.
func TestBasicAuthenticationReadsOnly(t *testing.T) {
	t.Parallel()
	g := guard(t, config.HTTP{Listen: "0.0.0.0:1", TokenFile: write(t, "token", "secret")})
	for _, tt := range []struct {
		method, password string
		need             access.Scope
		want             string
	}{
		{"GET", "secret", access.Read, ""},
		{"GET", "guess", access.Read, "M_UNKNOWN_TOKEN"},
		{"POST", "secret", access.Read, "M_MISSING_TOKEN"},
		{"GET", "secret", access.Ask, "M_MISSING_TOKEN"},
		{"GET", "secret", access.Admin, "M_MISSING_TOKEN"},
	} {
		r := request(tt.method, "")
		r.SetBasicAuth("anybody", tt.password)
		if got := denied(g.Denies(r, tt.need)); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestDetailsAreOpenOnLoopbackAlone(t *testing.T) {
	t.Parallel()
	file := write(t, "token", "secret")
	for listen, want := range map[string]string{"127.0.0.1:1": "", "[::1]:1": "", "localhost:1": "", "0.0.0.0:1": "M_MISSING_TOKEN", ":1": "M_MISSING_TOKEN"} {
		g := guard(t, config.HTTP{Listen: listen, TokenFile: file})
		if got := denied(g.DeniesDetails(request("GET", ""))); got != want {
			t.Errorf("%s: got %q, want %q", listen, got, want)
		}
	}
}

func TestTokenIsReplacedWhileInUse(t *testing.T) {
	t.Parallel()
	file := write(t, "token", "old")
	g := guard(t, config.HTTP{Listen: "0.0.0.0:1", TokenFile: file})
	if err := os.WriteFile(file, []byte("newer"), 0o600); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for denied(g.Denies(request("GET", "Bearer newer"), access.Ask)) != "" {
		select {
		case <-time.After(renewed.LookEvery / 50):
		case <-deadline:
			t.Fatal("the new token is not taken")
		}
	}
	if got := denied(g.Denies(request("GET", "Bearer old"), access.Ask)); got != "M_UNKNOWN_TOKEN" {
		t.Errorf("with the old token: %q", got)
	}
}

func TestTokenFileThatHoldsNoneIsAnError(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"nothing": "open nothing", write(t, "empty", " \n"): "is empty", t.TempDir(): "directory"} {
		c := config.HTTP{Tokens: []config.Token{{File: file, Scopes: []string{"ask"}, Key: "http.tokens[0].token_file"}}}
		_, err := access.NewGuard("example.com", c, zerolog.Nop())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "http.tokens[0].token_file: ") {
			t.Errorf("%s: got %v", file, err)
		}
	}
}

func TestFileWithMoreThanOneTokenIsAnError(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"one\ntwo\n": "more than one line", "one\rtwo": "more than one line", "o\x00ne": "no token can have", "\x7f": "no token can have"} {
		file := write(t, "token", text)
		_, err := access.NewGuard("example.com", config.HTTP{Tokens: []config.Token{{File: file, Key: "http.tokens[0].token_file"}}}, zerolog.Nop())
		if err == nil || !strings.HasPrefix(err.Error(), "http.tokens[0].token_file: "+file) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "one\n") {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if got := denied(guard(t, config.HTTP{TokenFile: write(t, "token", "\r\n one two \n\n")}).Denies(request("GET", "Bearer one two"), access.Ask)); got != "" {
		t.Errorf("one line with space around it: %s", got)
	}
}

func TestConfigureThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	g := guard(t, config.HTTP{TokenFile: write(t, "token", "secret")})
	if err := g.Configure(config.HTTP{TokenFile: "nothing"}); err == nil {
		t.Error("there is no error")
	}
	if got := denied(g.Denies(request("GET", "Bearer secret"), access.Ask)); got != "" {
		t.Errorf("with the token of before: %s", got)
	}
}
