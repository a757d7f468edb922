//go:build integration

package synapse_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestSynapseBridgeAlone runs the bridge's own tests, and checks its types.
func TestSynapseBridgeAlone(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"pytest": {"-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"},
		"mypy":   {"-m", "mypy", "--cache-dir", filepath.Join(t.TempDir(), "mypy")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := exec.CommandContext(t.Context(), testbed.Python(t), args...)
			c.Dir = filepath.Join(testbed.Root, "bridges", "synapse")
			c.Env = append(os.Environ(), "PYTHONPATH=.", "PYTHONDONTWRITEBYTECODE=1")
			out, err := c.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}
