package busd_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/redact/redacttest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// apiMoods are how a homeserver answers a call of the Module API, in whatever it can say repeating what it was asked.
var apiMoods = map[string]func(w http.ResponseWriter, body []byte){
	"refuses":    func(w http.ResponseWriter, body []byte) { say(w, http.StatusForbidden, "M_FORBIDDEN", body) },
	"no token":   func(w http.ResponseWriter, body []byte) { say(w, http.StatusUnauthorized, "M_UNKNOWN_TOKEN", body) },
	"breaks":     func(w http.ResponseWriter, body []byte) { http.Error(w, string(body), http.StatusInternalServerError) },
	"no JSON":    func(w http.ResponseWriter, body []byte) { _, _ = w.Write(append([]byte("<html>"), body...)) },
	"mistyped":   func(w http.ResponseWriter, body []byte) { _, _ = fmt.Fprintf(w, `{%q: [{"x": %q}]}`, body, body) },
	"breaks off": func(http.ResponseWriter, []byte) { panic(http.ErrAbortHandler) },
	"cut": func(w http.ResponseWriter, body []byte) {
		w.Header().Set("Content-Length", "99999")
		_, _ = w.Write(body)
	},
}

func say(w http.ResponseWriter, status int, code string, body []byte) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errcode": %q, "error": %q}`, code, body) // It fails only when busd is gone.
}

// seededCall is a method of the Module API, and what it is called with.
type seededCall struct {
	*subjects.Method
	secrets []string
	bodies  [][]byte // whole, and in ways that cannot be read
}

func seededCalls(t *testing.T) (all []seededCall) {
	t.Helper()
	for _, m := range subjects.Methods() {
		req := m.NewRequest()
		seeds := redacttest.Fill(req, m.Name)
		binary, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := wire.ToJSON(req)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, seededCall{m, seeds.Secret, [][]byte{binary, binary[:len(binary)/2], body, body[:len(body)-1], append(bytes.Clone(body[:len(body)-1]), "\xff}"...)}})
	}
	return all
}

// TestSecretsOfModuleAPICallsAreNeverSaid has modules call every method of the Module API with a seed in every field, of a homeserver
// that fails in each way and repeats them, and looks for them in all that busd says. What the module is answered is its own.
func TestSecretsOfModuleAPICallsAreNeverSaid(t *testing.T) {
	t.Parallel()
	var mood atomic.Value
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // What busd sends arrives.
		apiMoods[mood.Load().(string)](w, body)
	}))
	t.Cleanup(hs.Close)
	token := filepath.Join(t.TempDir(), "api.token")
	testbed.Write(t, token, "secret-token-of-the-homeserver")
	d := testbed.Serve(t, "homeserver: {url: '"+hs.URL+"', token_file: '"+token+"'}\nmodules:\n"+
		"  - {module: caller, grants: ["+strings.Join(subjects.Scopes(), ", ")+"]}\n  - {module: nobody}\n", "--log-level", "trace")
	modules := map[string]*nats.Conn{"caller": d.ConnectModule("caller"), "nobody": d.ConnectModule("nobody")}
	calls := seededCalls(t)
	for name := range apiMoods {
		mood.Store(name)
		callAll(t, modules, calls)
	}
	hs.Close()
	callAll(t, modules, calls)
	secrets := []string{"secret-token-of-the-homeserver"}
	for _, c := range calls {
		secrets = append(secrets, c.secrets...)
	}
	unsaid(t, d, secrets)
}

// callAll has each module call each method with each body, and wants an answer to each.
func callAll(t *testing.T, modules map[string]*nats.Conn, calls []seededCall) {
	t.Helper()
	for module, nc := range modules {
		for _, c := range calls {
			for i, body := range c.bodies {
				m := &nats.Msg{Subject: subjects.For("example.com").API(c.Method, module), Data: body, Header: nats.Header{}}
				if i > 1 {
					m.Header.Set("Content-Type", wire.JSONType)
				}
				if _, err := nc.RequestMsgWithContext(testbed.Bounded(t), m); err != nil {
					t.Errorf("%s calls %s: %v", module, c.Name, err)
				}
			}
		}
	}
}

// unsaid ends busd, and wants nothing that it said, or what runs for it, to have one of the secrets.
func unsaid(t *testing.T, d *testbed.Daemon, secrets []string) {
	t.Helper()
	said := map[string][]byte{}
	for _, path := range []string{"/_modulebus/v1/modules", "/metrics", "/readyz", "/_modulebus/", "/_modulebus/v1/decisions"} {
		_, said[path] = d.Request(http.MethodGet, path, nil)
	}
	d.Stop()
	said["the log"], said["stdout"] = d.Stderr.Bytes(), d.Stdout.Bytes()
	for where, text := range said {
		for _, secret := range slices.Compact(slices.Sorted(slices.Values(secrets))) {
			if i := bytes.Index(text, []byte(secret)); i >= 0 {
				t.Errorf("%s has %s: …%s…", where, secret, text[max(0, i-200):min(len(text), i+200)])
			}
		}
	}
	contains(t, "the metrics", string(said["/metrics"]), "modulebus_")
}
