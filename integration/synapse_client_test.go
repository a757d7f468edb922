//go:build integration

package integration

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// refusals that a client others wrote must hand on as they are; see matrix/client.mjs.
const clientsScript = `{
	"user_may_create_room": {"when": "casino", "reply": {"refusal": {
		"errcode": "ORG_EXAMPLE_REFUSED", "error": "no casinos here",
		"additional_fields": {"org.example.appeal": {"to": "@admin:example.org"}}}}},
	"check_event_for_spam": {"when": "cheap watches", "reply": {"refusal": {
		"errcode": "ORG_EXAMPLE_REFUSED", "error": "nobody wants your watches",
		"additional_fields": {"org.example.appeal": {"to": "@admin:example.org"}}}}},
	"user_may_invite": {"when": "@stranger", "reply": {"refusal": {
		"errcode": "ORG_EXAMPLE_REFUSED", "error": "no strangers here",
		"additional_fields": {"org.example.appeal": {"to": "@admin:example.org"}}}}}}`

// TestSynapseThirdPartyClient has matrix-js-sdk use a Synapse whose module refuses some of what it does.
func TestSynapseThirdPartyClient(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	packages := setting(t, "MODULEBUS_MATRIX_PACKAGES")
	w := busWorld(t, buildAll(t), "")
	write(t, w.script, clientsScript)
	w.s.start(t)
	w.populate(t)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := exec.CommandContext(ctx, "node", "--test-reporter=spec", "--test-force-exit", "matrix/client.mjs")
	client.Env = append(os.Environ(), "PACKAGES="+packages, "URL="+w.s.url, "USER="+w.alice.id, "PASSWORD=secret", "OTHER="+w.bob.id)
	if out, err := client.CombinedOutput(); err != nil || !strings.Contains(string(out), "pass 3\n") {
		t.Errorf("the client does not get on with the modules: %v\n%s", err, out)
	}
	for callback, text := range map[string]string{
		"user_may_create_room": "casino", "check_event_for_spam": "cheap watches", "user_may_invite": "@stranger",
	} {
		if n := len(w.calls(t, callback, text)); n != 1 {
			t.Errorf("%s was asked %d times about %q; want once", callback, n, text)
		}
	}
}
