package busd

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
)

func TestReloadNamesTheKeysThatNeedARestart(t *testing.T) {
	t.Parallel()
	old := config.Config{ServerName: "a", StateDir: "s", Budget: time.Second}
	d := &daemon{config: old}
	for name, tt := range map[string]struct {
		change func(*config.Config)
		want   []string
	}{
		"nothing":        {func(*config.Config) {}, nil},
		"what is taken":  {func(c *config.Config) { c.Budget, c.Modules = time.Minute, []config.Module{{Name: "m"}} }, nil},
		"the server":     {func(c *config.Config) { c.ServerName = "b" }, []string{"server_name"}},
		"a limit of web": {func(c *config.Config) { c.HTTP.Web.BodyLimit = 1 }, []string{"http"}},
		"several":        {func(c *config.Config) { c.StateDir, c.NATS.URL, c.Homeserver.URL = "x", "y", "z" }, []string{"state_dir", "nats", "homeserver"}},
	} {
		c := old
		tt.change(&c)
		if got := d.needsRestart(&c); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestReloadTakesOverTokens(t *testing.T) {
	t.Parallel()
	token := func(text string) string {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	d := &daemon{config: config.Config{HTTP: config.HTTP{Listen: "0.0.0.0:1", TokenFile: token("old")}}, Options: Options{Log: zerolog.Nop()}}
	if err := d.openGuard(); err != nil {
		t.Fatal(err)
	}
	takes := func(text string) bool {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+text)
		return d.guard.Denies(r, access.Ask) == nil
	}
	next := config.HTTP{Listen: "0.0.0.0:1", Tokens: []config.Token{{File: token("new"), Scopes: []string{config.ScopeAsk}}}}
	if err := d.retoken(next); err != nil || !takes("new") || takes("old") {
		t.Errorf("%v; takes the new token: %t, the old one: %t", err, takes("new"), takes("old"))
	}
	if keys := d.needsRestart(&config.Config{HTTP: next}); len(keys) > 0 {
		t.Errorf("needs a restart for %q", keys)
	}
	for _, bad := range []config.HTTP{{Listen: "127.0.0.1:1"}, {Listen: "0.0.0.0:1", TokenFile: "nothing"}} {
		if err := d.retoken(bad); err == nil || !takes("new") {
			t.Errorf("%+v: %v; takes the token of before: %t", bad, err, takes("new"))
		}
	}
}

func TestWebLimitReachesTheBus(t *testing.T) {
	t.Parallel()
	web := reflect.ValueOf(webOptions(config.HTTP{Web: config.Web{
		AcceptTimeout: 1, ResponseTimeout: 2, IdleTimeout: 3, StallTimeout: 4, TotalTimeout: 5, BodyLimit: 6,
	}}))
	for i, name := range []string{"AcceptTimeout", "ResponseTimeout", "IdleTimeout", "StallTimeout", "TotalTimeout", "BodyLimit"} {
		if got := web.FieldByName(name).Int(); got != int64(i+1) {
			t.Errorf("%s: got %d, want %d", name, got, i+1)
		}
	}
}
