package modulekit

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
)

// told returns what a module is told by its flags.
func told(t *testing.T, stderr *bytes.Buffer, args ...string) *settings {
	t.Helper()
	args = append([]string{"--server-name", "example.com", "--module", "gate"}, args...)
	s, err := parseFlags(args, func(string) string { return "" }, stderr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// secured is the URL of a NATS with TLS, which asks clients for certificates of the authority.
func secured(t *testing.T, a *certstest.Authority) string {
	t.Helper()
	cert, key := a.Issue("127.0.0.1")
	c, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: cert, KeyFile: key, CaFile: a.File, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	return natstest.Start(t, &server.Options{TLS: true, TLSVerify: true, TLSConfig: c, TLSTimeout: 10}).ClientURL()
}

func TestFlagsOfTLSLetTheModuleIn(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	url := secured(t, a)
	cert, key := a.Issue("gate")
	var stderr bytes.Buffer
	nc, err := told(t, &stderr, "--nats", url, "--nats-ca", a.File, "--nats-cert", cert, "--nats-key", key).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if state, err := nc.TLSConnectionState(); err != nil || !state.HandshakeComplete {
		t.Errorf("%+v, %v", state, err)
	}
}

// stops is a log that stops what waits when it is written to.
type stops struct {
	bytes.Buffer

	stop context.CancelFunc
}

// Write implements [io.Writer].
func (s *stops) Write(p []byte) (int, error) {
	defer s.stop()
	return s.Buffer.Write(p)
}

func TestModuleThatTLSDoesNotLetInWaitsAndSaysWhy(t *testing.T) {
	t.Parallel()
	a, other := certstest.New(t), certstest.New(t)
	url := secured(t, a)
	cert, key := a.Issue("gate")
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no authority":      {nil, "certificate signed by unknown authority"},
		"another authority": {[]string{"--nats-ca", other.File, "--nats-cert", cert, "--nats-key", key}, "certificate signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			log := &stops{stop: cancel}
			args := append([]string{"--server-name", "example.com", "--module", "gate", "--nats", url}, tt.args...)
			m := Module[struct{}]{New: func(struct{}, *ModuleAPI) error { return nil }}
			status := execute(ctx, m, args, func(string) string { return "" }, log)
			if status != exitDrained || !strings.Contains(log.String(), tt.says) {
				t.Errorf("status %d: %s", status, log)
			}
		})
	}
	var stderr bytes.Buffer
	if _, err := parseFlags([]string{"--server-name", "a", "--module", "b", "--nats-cert", cert}, func(string) string { return "" }, &stderr); err == nil {
		t.Error("a certificate without its key is taken")
	}
}

func TestRefusedLoginSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{Username: "gate", Password: "right"})
	var stderr bytes.Buffer
	_, err := told(t, &stderr, "--nats", strings.Replace(s.ClientURL(), "nats://", "nats://gate:s3cret@", 1)).connect(t.Context())
	if err == nil || !strings.Contains(err.Error(), "busd credentials gate") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Errorf("it waited: %v", err)
	}
}

// TestModuleOutlivesANATSThatDoesNotKnowItsUsers has a NATS that comes back without its users, and gets them later. nats.go gives up at the
// second login that is refused, if it may.
func TestModuleOutlivesANATSThatDoesNotKnowItsUsers(t *testing.T) {
	t.Parallel()
	first := natstest.Start(t, &server.Options{Username: "gate", Password: "right"})
	var stderr bytes.Buffer
	nc, err := told(t, &stderr, "--nats", strings.Replace(first.ClientURL(), "nats://", "nats://gate:right@", 1)).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	replace := func(old *server.Server, o *server.Options) *server.Server {
		address := old.Addr().String()
		old.Shutdown()
		old.WaitForShutdown()
		return restartNATS(t, address, o)
	}
	second := replace(first, &server.Options{Username: "somebody", Password: "else"})
	waittest.Until(t, "logins are refused", func() bool {
		v, err := second.Varz(nil)
		return err == nil && v.TotalConnections > 3
	})
	replace(second, &server.Options{Username: "gate", Password: "right"})
	waittest.Until(t, "the module is connected", nc.IsConnected)
}
