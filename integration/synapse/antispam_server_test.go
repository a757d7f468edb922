//go:build integration

package synapse_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/antispam"
)

// TestAntispamServerThatOthersWrote asks a server that runs somewhere, and that others wrote, each question of the recording
// whose callback it has: it must be well and answer each one. With another token it must be a module that has failed.
func TestAntispamServerThatOthersWrote(t *testing.T) {
	t.Parallel()
	base := os.Getenv("MODULEBUS_ANTISPAM_URL")
	if base == "" {
		t.Skip("say which server: make antispam URL=base_url TOKEN_FILE=file CALLBACKS='user_may_invite …'")
	}
	askEach(t, base, os.Getenv("MODULEBUS_ANTISPAM_TOKEN_FILE"), strings.Fields(os.Getenv("MODULEBUS_ANTISPAM_CALLBACKS")))
}

// askEach asks the server at base_url each question of the recording that is about one of the callbacks.
func askEach(t *testing.T, base, tokenFile string, callbacks []string) {
	t.Helper()
	serve := func(token string) *testbed.Daemon {
		return testbed.Serve(t, fmt.Sprintf("modules:\n  - module: server\n    antispam: {base_url: '%s', token_file: '%s', callbacks: [%s]}\n    on_failure: fail\n",
			base, token, strings.Join(callbacks, ", ")))
	}
	state := func(d *testbed.Daemon, want string) {
		testbed.Eventually(t, "the server is "+want, func() bool { return d.Module("server").State == want })
	}
	known := serve(tokenFile)
	state(known, "ready")
	wrong := filepath.Join(t.TempDir(), "token")
	testbed.Write(t, wrong, "another token")
	stranger := serve(wrong)
	state(stranger, "failed")
	for _, r := range recordedAsks(t) {
		if !slices.Contains(callbacks, r.Callback) {
			continue
		}
		path := "/_modulebus/v1/ask/spam_checker/" + r.Callback
		rsp, answer := known.Request("POST", path, r.Ask)
		if t.Logf("%s: %s", r.Name, answer); rsp.StatusCode != http.StatusOK && r.Name != "a creation of version 12" { // Draupnir cannot read it.
			t.Errorf("%s: the server failed", r.Name)
		}
		if rsp, answer := stranger.Request("POST", path, r.Ask); rsp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s, with another token: %d %s", r.Name, rsp.StatusCode, answer)
		}
	}
}

type recordedAsk struct {
	Name, Callback string
	Ask            json.RawMessage
}

// recordedAsks are requests that the package was seen to make, as busd is asked them.
func recordedAsks(t *testing.T) []recordedAsk {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testbed.Root, "internal/antispam/testdata/recorded.json"))
	if err != nil {
		t.Fatal(err)
	}
	var recording struct{ Requests []recordedAsk }
	if err := json.Unmarshal(text, &recording); err != nil {
		t.Fatal(err)
	}
	for _, r := range recording.Requests {
		if _, ok := antispam.Find(r.Callback); !ok {
			t.Fatalf("the protocol has no %s", r.Callback)
		}
	}
	return recording.Requests
}
