package policydoor_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/busd/door/policydoor"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func TestMain(m *testing.M) { doortest.Main(m) }

// served is busd's HTTP server with the door of a policy server.
func served(t *testing.T) *doortest.HTTP {
	t.Helper()
	return servedWith(t, prometheus.NewRegistry())
}

func servedWith(t *testing.T, metrics *prometheus.Registry) *doortest.HTTP {
	t.Helper()
	s := doortest.New(t)
	policy := policydoor.New(policydoor.Options{
		KeyFile: filepath.Join(t.TempDir(), "policy.key"), Answerer: s.Answerer, Life: s.Life,
		Server: policyserver.Options{ServerName: doortest.ServerName, Metrics: metrics, Log: zerolog.Nop()},
	})
	if err := policy.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(policy.Close)
	o := s.Options(config.HTTP{Listen: "127.0.0.1:0"})
	o.Doors = append(o.Doors, policy)
	return s.ServeWith(o)
}

func TestPolicyServerIsReachedWithoutAToken(t *testing.T) {
	t.Parallel()
	d := served(t)
	rsp, body := d.Do("GET", "/.well-known/matrix/policy_server", nil)
	if rsp.StatusCode != http.StatusOK || rsp.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(string(body), "public_keys") {
		t.Errorf("%s %v %s", rsp.Status, rsp.Header, body)
	}
	for _, path := range []string{"/_matrix/policy/v1/sign", "/_matrix/policy/unstable/org.matrix.msc4284/sign"} {
		rsp, body := d.Do("POST", path, []byte("{}"))
		doortest.Wants(t, rsp, body, http.StatusUnauthorized, "M_UNAUTHORIZED")
	}
}

// TestPolicyServerRefusesAnEventThatIsCut has a body that ends in the middle: to a homeserver, another status would be no decision.
func TestPolicyServerRefusesAnEventThatIsCut(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	d := servedWith(t, metrics)
	out := d.Raw("POST /_matrix/policy/v1/sign HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n")
	if !strings.HasPrefix(out, "HTTP/1.1 400") || !strings.Contains(out, "M_FORBIDDEN") {
		t.Errorf("answered %q", out)
	}
	counted, err := metrics.Gather()
	if err != nil || len(counted) != 1 || counted[0].GetMetric()[0].GetCounter().GetValue() != 1 {
		t.Errorf("counted %v, %v", counted, err)
	}
}

func TestPolicyServerHasNoOtherPaths(t *testing.T) {
	t.Parallel()
	d := served(t)
	d.Life.Begin()
	for _, path := range []string{"/_matrix/policy", "/_matrix/policy/v1", "/_matrix/policy/v1/sign/x", "/.well-known/matrix/policy_server/x", "/_matrix/client"} {
		rsp, body := d.Do("GET", path, nil)
		doortest.Wants(t, rsp, body, http.StatusNotFound, "M_UNRECOGNIZED")
	}
}

func TestPolicyServerWithAnUnreadableKeyDoesNotOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policy.key")
	if err := os.WriteFile(file, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := policydoor.New(policydoor.Options{KeyFile: file})
	if err := d.Open(); err == nil || !strings.HasPrefix(err.Error(), "policy_server.key_file: ") {
		t.Errorf("%v", err)
	}
	d.Close()
}

// TestPolicyServerTellsOtherServersOfNoModule has a module fail that is not there.
func TestPolicyServerTellsOtherServersOfNoModule(t *testing.T) {
	t.Parallel()
	s := doortest.New(t)
	s.Configure("{module: gate}, {module: own-affair, callbacks: {check_event_for_spam: {on_failure: {policy: refuse}}}}")
	s.Service.Wake()
	s.AwaitRoster()
	s.Life.Begin()
	ask := policydoor.Ask(s.Answerer, s.Life)
	event := &callbacksv1.Event{EventId: "$e", Json: []byte("{}")}
	if refusal, err := ask(t.Context(), event); err != nil || refusal.GetError() != policyserver.Undecided {
		t.Errorf("under refuse: %v, %v", refusal, err)
	}
	s.Configure("{module: gate}, {module: own-affair, callbacks: {check_event_for_spam: {on_failure: {policy: fail}}}}")
	s.Service.Wake()
	s.AwaitRoster()
	if refusal, err := ask(t.Context(), event); refusal != nil || !errors.Is(err, policyserver.ErrFailed) || strings.Contains(err.Error(), "own-affair") {
		t.Errorf("under fail: %v, %v", refusal, err)
	}
}

func TestPolicyServerAsksNobodyBeforeBusdHasBegun(t *testing.T) {
	t.Parallel()
	s := doortest.New(t)
	s.Life.Drain() // So that nobody waits for it to begin.
	if _, err := policydoor.Ask(s.Answerer, s.Life)(t.Context(), &callbacksv1.Event{}); err == nil || !strings.Contains(err.Error(), "starting") {
		t.Errorf("%v", err)
	}
}
