package busd_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// askedFor has some things asked of a module whose requests are recorded, and returns the records in a file.
func askedFor(t *testing.T, d *testbed.Daemon) (file string) {
	t.Helper()
	d.Create("@refused:example.com")
	d.Create("@alice:example.com")
	d.Request(http.MethodPost, "/_modulebus/v1/ask/spam_checker/check_registration_for_spam",
		[]byte(`{"username": "bob", "request_info": [{"user_agent": "x", "ip": "192.0.2.1"}]}`))
	status, records, problem := testbed.Run(t, "tail", "--since", "1h", "--json", "--url", d.URL)
	if status != 0 || strings.Count(records, "\n") != 3 || strings.Contains(records, "192.0.2.1") {
		t.Fatalf("status %d, %s: %s", status, problem, records)
	}
	first, _, _ := strings.Cut(records, "\n")
	file = filepath.Join(t.TempDir(), "records")
	testbed.Write(t, file, records+strings.ReplaceAll(first, "spam_checker.user_may_create_room", "third_party_rules.on_new_event")+"\n")
	return file
}

func TestReplayAsksTheNextVersionWhatTheLastOneWasAsked(t *testing.T) {
	t.Parallel()
	old := testbed.Serve(t, "decisions: {requests: true}\nmodules:\n"+faulty(t, "gate"))
	file := askedFor(t, old)
	next := testbed.Serve(t, "modules:\n  - module: gate\n    run: ["+testbed.Program(t, testbed.Demo)+"]\n    config: {deny: ['@alice:example.com']}\n")
	status, out, said := testbed.Run(t, "replay", "--file", file, "--ask", "--url", next.URL)
	if status != 3 {
		t.Errorf("status %d: %s%s", status, out, said)
	}
	contains(t, "what differs", out, "was refused by gate, would be no opinion", "was no opinion, would be refused by gate",
		"was failed by gate, would be no opinion", "4 records: 3 differ, 1 unknown, 0 that")
	contains(t, "what is said", said, "on_new_event may have side effects, so it is not asked again",
		"1 asked without what records never have", "check_registration_for_spam without email_threepid.address, request_info.ip")

	status, out, said = testbed.Run(t, "replay", "--since", "1h", "--ask", "--url", old.URL) // It ends, although it makes records.
	if status != 0 {
		t.Errorf("status %d: %s%s", status, out, said)
	}
	contains(t, "what differs", out, "3 records: 0 differ, 0 unknown")
	next.Stop()
	status, out, said = testbed.Run(t, "replay", "--file", file, "--ask", "--url", next.URL)
	if status != 1 || !strings.Contains(said, "cannot reach busd") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
	old.Stop()
}
