package busd

import (
	"reflect"
	"slices"
	"testing"
	"time"

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

func TestEveryWebLimitReachesTheBus(t *testing.T) {
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
