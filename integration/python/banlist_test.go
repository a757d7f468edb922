//go:build integration

package python_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// serveBanList has busd run so many workers of a module with a list in memory, before a homeserver that knows nothing.
func serveBanList(t *testing.T, workersOf int) *testbed.Daemon {
	t.Helper()
	d := testbed.Serve(t, fmt.Sprintf(`%s
modules:
  - module: banlist
    run: [env, "PYTHONPATH=%s:%s", %s, -m, modulebus.synapse, banlist.BanList]
    workers: %d
`, unknowing(t), absolute(t, "bridges/python"), absolute(t, "integration/python/testdata"), testbed.Python(t), workersOf))
	testbed.Eventually(t, "its workers have joined", func() bool { return workers(d) == workersOf })
	return d
}

// says asks about an event, and reports whether it is refused.
func says(t *testing.T, d *testbed.Daemon, sender, kind, content string) bool {
	t.Helper()
	_, out := d.Request(http.MethodPost, "/_modulebus/v1/ask/spam_checker/check_event_for_spam", fmt.Appendf(nil, `
{"event": {"event_id": "$e", "room_version": "10", "json": {"type": %q, "sender": %q, "room_id": "!r:example.com", "content": %s,
 "origin_server_ts": 1, "depth": 1, "prev_events": [], "auth_events": [], "hashes": {"sha256": ""}, "signatures": {}}}}`, kind, sender, content))
	var verdict struct {
		Answer struct{ Refusal any }
		Error  string
	}
	if err := json.Unmarshal(out, &verdict); err != nil || verdict.Error != "" {
		t.Fatalf("%v: %s", err, out)
	}
	return verdict.Answer.Refusal != nil
}

const rule = `{"entity": "` + evil + `", "recommendation": "m.ban", "reason": ""}`

func TestListInMemoryIsOneWorkersOwn(t *testing.T) {
	t.Parallel()
	one, two := serveBanList(t, 1), serveBanList(t, 2)
	for _, d := range []*testbed.Daemon{one, two} {
		says(t, d, alice, "m.policy.rule.user", rule)
	}
	for range 16 {
		if !says(t, one, evil, "m.room.message", "{}") {
			t.Fatal("the one worker lets a user pass whom it was told to ban")
		}
	}
	passed, refused := false, false
	testbed.Eventually(t, "of two workers, one has heard of the ban and one has not", func() bool {
		if says(t, two, evil, "m.room.message", "{}") {
			refused = true
		} else {
			passed = true
		}
		return passed && refused
	})
}
