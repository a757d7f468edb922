//go:build integration

package synapse_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/integration/testbed"
)

// The refusals that a client which others wrote must hand on as they are.
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

// handedOn is how matrix-js-sdk hands on such a refusal.
func handedOn(text string) map[string]any {
	return map[string]any{
		"MatrixError": true, "httpStatus": 403.0, "errcode": "ORG_EXAMPLE_REFUSED",
		"data": map[string]any{
			"errcode": "ORG_EXAMPLE_REFUSED", "error": text,
			"org.example.appeal": map[string]any{"to": "@admin:example.org"},
		},
	}
}

// TestSynapseThirdPartyClient has matrix-js-sdk use a Synapse whose module refuses some of what it does.
func TestSynapseThirdPartyClient(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	packages := testbed.Setting(t, "MODULEBUS_MATRIX_PACKAGES")
	st := busStage(t, "")
	testbed.Write(t, st.script, clientsScript)
	st.s.start(t)
	st.populate(t)

	want := map[string]any{
		"a message comes with the sync":            true,
		"an invite":                                map[string]any{"allowed": map[string]any{}},
		"a room is refused":                        handedOn("no casinos here"),
		"a message is refused":                     handedOn("nobody wants your watches"),
		"an invite is refused":                     handedOn("no strangers here"),
		"a message after that comes with the sync": true,
		"the room has":                             []any{"good morning", "good night"},
	}
	if diff := cmp.Diff(want, st.thirdPartyClient(t, packages)); diff != "" {
		t.Errorf("what the client's program got (+) is not what it must (-):\n%s", diff)
	}
	for callback, text := range map[string]string{
		"user_may_create_room": "casino", "check_event_for_spam": "cheap watches", "user_may_invite": "@stranger",
	} {
		if n := len(st.calls(t, callback, text)); n != 1 {
			t.Errorf("%s was asked %d times about %q; want once", callback, n, text)
		}
	}
}

// thirdPartyClient runs matrix/client.mjs as alice, and returns what it prints.
func (st *stage) thirdPartyClient(t *testing.T, packages string) (got map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := exec.CommandContext(ctx, "node", "matrix/client.mjs")
	client.Env = append(os.Environ(), "PACKAGES="+packages, "URL="+st.s.url, "USER="+st.alice.id, "PASSWORD=secret", "OTHER="+st.bob.id)
	client.Stderr = t.Output()
	out, err := client.Output()
	if err != nil {
		t.Fatalf("the client: %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("the client printed %q: %v", out, err)
	}
	return got
}
