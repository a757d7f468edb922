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
	file := filepath.Join(t.TempDir(), "homeserver.yaml")
	testbed.Write(t, file, "modules:\n  - module: synapse_http_antispam.HTTPAntispam\n    config: {base_url: 'http://localhost'}\n  - module: synapse.module_api.ModuleApi\n")
	status, out, errors := testbed.Run(t, "import", file, "--python", testbed.Python(t))
	command := filepath.Join(filepath.Dir(testbed.Python(t)), "modulebus-synapse-module")
	for _, want := range []string{
		"# synapse_http_antispam.HTTPAntispam 0.5.1: can run.",
		"run: [" + command + ", synapse_http_antispam.HTTPAntispam]",
		"# synapse.module_api.ModuleApi 1.163.2: cannot run out of Synapse's process",
	} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("status %d, no %q in\n%s\n%s", status, want, out, errors)
		}
	}
}
