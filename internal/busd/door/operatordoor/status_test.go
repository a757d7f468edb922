package operatordoor_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// TestReadyTellsWhatIsWrongAlthoughBusdIsReady has a module that refused a new configuration and goes on with the old one, and a NATS
// that cannot store.
func TestReadyTellsWhatIsWrongAlthoughBusdIsReady(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	refusal := &rosterv1.Join{Worker: "1", Callbacks: []string{subjects.UserMayCreateRoom.FullName()}, ConfigError: &rosterv1.ConfigError{Path: "deny", Error: "no list"}}
	d.Roster.Join("gate", refusal, time.Now())
	d.Trouble = "JetStream stream 'news' is not healthy"
	rsp, out := d.Do("GET", "/readyz", nil)
	if rsp.StatusCode != http.StatusOK {
		t.Errorf("%s %s", rsp.Status, out)
	}
	for _, want := range []string{`"ready":true`, `"troubled":[{"name":"gate"`, "config refused: deny: no list", `"last_error_at":"`, `"nats_error":"JetStream stream 'news'`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
}

func TestHealthAndReadinessTellWhatIsMissing(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	if rsp, out := d.Do("GET", "/readyz", nil); rsp.StatusCode != 200 || string(out) != `{"config_error":"a mistake","ready":true}` {
		t.Errorf("%s %s", rsp.Status, out)
	}
	d.Configure("{module: gate, timeout: 1m}, {module: missing}")
	if rsp, out := d.Do("GET", "/readyz", nil); rsp.StatusCode != 503 || !strings.Contains(string(out), "missing") {
		t.Errorf("%s %s", rsp.Status, out)
	}
	d.Alive = false
	if rsp, out := d.Do("GET", "/healthz", nil); rsp.StatusCode != 503 || !strings.Contains(string(out), "NATS") {
		t.Errorf("%s %s", rsp.Status, out)
	}
}

// TestReadyTellsDetailsToReaders has a door that other machines reach, and a module that is missing.
func TestReadyTellsDetailsToReaders(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{Listen: "0.0.0.0:0", TokenFile: doortest.TokenFile(t, "secret")})
	d.Configure("{module: gate}, {module: missing}")
	rsp, out := d.Do("GET", "/readyz", nil)
	if rsp.StatusCode != 503 || strings.Contains(string(out), "missing") {
		t.Errorf("without a token: %s %s", rsp.Status, out)
	}
	if rsp, out := d.Do("GET", "/readyz", nil, "Authorization", "Bearer secret"); rsp.StatusCode != 503 || !strings.Contains(string(out), "missing") {
		t.Errorf("with the token: %s %s", rsp.Status, out)
	}
}
