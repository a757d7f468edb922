//go:build integration

package busd_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestRestartOfAModuleInPythonLosesNoAsk(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(testbed.Root)
	if err != nil {
		t.Fatal(err)
	}
	d := testbed.Serve(t, fmt.Sprintf(`
modules:
  - module: gate
    run: [env, "PYTHONPATH=%s/bridges/python", %s, %[1]s/integration/python/testdata/everything.py]
    config: {deny: ["@refused:example.com"]}
    workers: 2
    timeout: 30s
budget: 40s
`, root, testbed.Python(t)))
	testbed.Eventually(t, "both workers have joined", func() bool { return d.Module("gate").Workers == 2 })
	a := startAskers(d, 64)
	for range 2 {
		a.more(t, 100)
		restarted(t, d, "gate")
	}
	a.noneLost(t)
	d.Stop()
}
