package docs_test

import (
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/cli"
)

// TestCommandsAreOnThePage wants a row for each command of busd in the table of docs/operating.md.
func TestCommandsAreOnThePage(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/operating.md")
	for _, c := range cli.Command().Commands() {
		row := "\n| `busd " + c.Name()
		if !strings.Contains(page, row+" ") && !strings.Contains(page, row+"`") {
			t.Errorf("busd %s has no row in the table of commands", c.Name())
		}
	}
}
