//go:build integration

package synapse_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestSynapseRefusalIsFoundInTwoCommands goes the way of an operator whose user complains: a look into Synapse's log, and
// what that says to type.
func TestSynapseRefusalIsFoundInTwoCommands(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	port := freePort(t)
	w := &world{s: prepareSynapse(t)}
	w.files(t)
	w.say(t, map[string]string{"user_may_create_room": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`})
	w.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: "http://127.0.0.1:%d"}`, port), "")
	testbed.Serve(t, w.faultsConfig(t, port, "user_may_create_room")+"  - module: absent\n    callbacks: {user_may_create_room: {on_failure: skip}}\n")
	w.s.start(t)
	w.populate(t)

	const refused = `403 M_FORBIDDEN "not this one"`
	if got := eventually(t, refused, func() string {
		return w.alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": "refused"}).String()
	}); got != refused {
		t.Fatalf("the client saw %s", got)
	}
	line := w.s.log.Line(t, "spam_checker.user_may_create_room", w.alice.id, "refused by module scripted")
	command := regexp.MustCompile(`busd (explain) (d-\w+)`).FindStringSubmatch(line)
	if command == nil {
		t.Fatalf("Synapse's log says only: %s", line)
	}
	status, out, complaints := testbed.Run(t, command[1], command[2], "--url", fmt.Sprintf("http://127.0.0.1:%d", port))
	if status != 0 {
		t.Fatalf("busd explain ended with %d: %s", status, complaints)
	}
	for _, want := range []string{
		"spam_checker.user_may_create_room: refused by scripted", "refusal M_FORBIDDEN", "yes: it decided", "absent", "no: a module before it had decided",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
