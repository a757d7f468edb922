package docs_test

import (
	"regexp"
	"strings"
	"testing"
)

// speed finds a figure of what the bridge's own HTTP client costs or spares, in words or numbers.
var speed = regexp.MustCompile(`(?i)(twice|half|thrice|a (third|quarter|fifth) of|[0-9.]+ ?(×|times|%)( of)?) (as much |of )?(the |its )?(CPU|processor time|speed)`)

// TestBridgesSpeedIsWhatIsMeasured holds what is said of the bridge's own HTTP client to the benchmark: there is a row that compares it
// with Twisted's, and no other text has a figure that could differ from that row's.
func TestBridgesSpeedIsWhatIsMeasured(t *testing.T) {
	t.Parallel()
	const arrangement = `onAgent   = arrangement{"modulebus on Twisted's Agent"`
	if !strings.Contains(read(t, "internal/cmd/synapsebench/arrangement.go"), arrangement) {
		t.Errorf("the benchmark has no %s: what is the bridge's own client kept for?", arrangement)
	}
	if rows := read(t, "internal/cmd/synapsebench/measure.go"); !strings.Contains(rows, "{onAgent, 1}") {
		t.Error("no row of the benchmark holds the bridge against Twisted's Agent")
	}
	for _, name := range []string{
		"bridges/synapse/README.md", "bridges/synapse/modulebus_synapse/connection.py", "bridges/synapse/modulebus_synapse/web.py",
		"bridges/synapse/modulebus_synapse/door.py", "docs/synapse.md", "CHANGELOG.md",
	} {
		for line := range strings.SplitSeq(read(t, name), "\n") {
			if speed.MatchString(line) && (name != "CHANGELOG.md" || strings.Contains(line, "Twisted")) {
				t.Errorf("%s: %s: only the benchmark's row has figures", name, line)
			}
		}
	}
}
