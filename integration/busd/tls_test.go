//go:build integration

package busd_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
)

// TestModulesJoinBehindTLS has a NATS inside with a certificate for another name, of an authority that nobody knows, as operators
// have them. busd runs a module in each language, and each refuses.
func TestModulesJoinBehindTLS(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("bus.example.com")
	kit, err := filepath.Abs(filepath.Join(testbed.Root, "bridges/python"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := filepath.Abs(filepath.Join(testbed.Root, "examples/python/kit.py"))
	if err != nil {
		t.Fatal(err)
	}
	d := testbed.Serve(t, fmt.Sprintf(`
nats: {listen: "127.0.0.1:0", tls: {cert: %q, key: %q, ca: %q}}
modules:
  - module: go
    run: [%s]
    config: {deny: [%q]}
  - module: python
    run: [env, "PYTHONPATH=%s", %s, %s]
    config: {deny: [%q]}
`, cert, key, a.File, testbed.Program(t, testbed.Demo), evil, kit, testbed.Python(t), example, alice))
	for user, module := range map[string]string{evil: "go", alice: "python"} {
		if got := d.Create(user); !got.Refused() || got.DecidedBy != module {
			t.Errorf("%s: %v; want a refusal by the module in %s", user, got, module)
		}
	}
}
