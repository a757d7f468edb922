package attacks_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestTableOfAttacksSaysWhatIsTried holds each row of the page to attacks as a module and as a homeserver, and each attack to a row.
func TestTableOfAttacksSaysWhatIsTried(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(testbed.Root, "docs", "attacks.md"))
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]map[string]bool{"module": rowsOf(asModule()), "homeserver": rowsOf(asHomeserver())}
	for _, h := range hostile {
		tried["module"][h.row] = true
	}
	rows := map[string]bool{"": true}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, " | ")
		if len(cells) < 4 || !strings.Contains(line, "`Test") {
			continue
		}
		row := strings.TrimPrefix(cells[0], "| ")
		rows[row] = true
		for i, identity := range []string{"module", "homeserver"} {
			if cells[i+1] == "refused" && !tried[identity][row] && !slices.ContainsFunc(hostile, func(h step) bool { return h.row == row }) {
				t.Errorf("nobody tries as a %s: %s", identity, row)
			}
		}
	}
	for identity, all := range tried {
		for row := range all {
			if !rows[row] {
				t.Errorf("the page has no row for what is tried as a %s: %s", identity, row)
			}
		}
	}
}

func rowsOf(all []attack) map[string]bool {
	rows := map[string]bool{}
	for _, a := range all {
		rows[a.kind] = true
	}
	return rows
}
