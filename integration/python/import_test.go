//go:build integration

package python_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestImportReadsModulesWhereSynapseHasThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "homeserver.yaml")
	testbed.Write(t, file, "modules:\n  - module: synapse_http_antispam.HTTPAntispam\n    config: {base_url: 'http://localhost'}\n  - module: counting.Users\n")
	testbed.Write(t, filepath.Join(dir, "counting.py"), "class Users:\n    def __init__(self, config, api):\n        api.run_db_interaction('count', count)\n")
	status, out, errors := testbed.Command(t, testbed.Busd, "import", file, "--python", testbed.Python(t)).With("PYTHONPATH=" + dir).Run()
	command := filepath.Join(filepath.Dir(testbed.Python(t)), "modulebus-synapse-module")
	for _, want := range []string{
		"# synapse_http_antispam.HTTPAntispam 0.5.1: can run.",
		"run: [" + command + ", synapse_http_antispam.HTTPAntispam]",
		"# counting.Users: cannot run out of Synapse's process",
		"# " + filepath.Join(dir, "counting.py") + ":3 uses run_db_interaction.",
	} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("status %d, no %q in\n%s\n%s", status, want, out, errors)
		}
	}
}
