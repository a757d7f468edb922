//go:build integration

package python_test

import (
	"fmt"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestModuleReadsDecisions(t *testing.T) {
	t.Parallel()
	run := fmt.Sprintf(`[env, "PYTHONPATH=%s", %s, %s]`, absolute(t, "bridges/python"), testbed.Python(t), absolute(t, "integration/python/testdata/reading.py"))
	d := testbed.Serve(t, fmt.Sprintf(`
modules:
  - module: demo
    run: [%s]
    config: {deny: [%q]}
  - {module: reading, run: %s, grants: [decisions.read]}
  - {module: deaf, run: %[3]s}
`, testbed.Program(t, testbed.Demo), evil, run))
	for range 2 {
		d.Create(evil)
		d.Create(alice)
	}
	testbed.Eventually(t, "the module has read what was decided", func() bool {
		return d.Stderr.Count("refused by demo, 0 lost") == 2 && d.Stderr.Count("no_opinion by None, 0 lost") == 2
	})
	testbed.Eventually(t, "the log says why a reader failed", func() bool { return d.Stderr.Count("a reader that fails") > 0 })
	if n := d.Stderr.Count(`"module":"deaf"`, "by demo"); n > 0 {
		t.Errorf("a module without the grant has read %d decisions", n)
	}
	d.Stop()
}
