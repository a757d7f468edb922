package cli

import (
	"os"
	"path/filepath"
	"testing"
)

func TestImportPrintsEntriesOfModules(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "homeserver.yaml")
	if err := os.WriteFile(file, []byte("modules:\n  - module: no_such_package.Gate\n    config: {deny: [a]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without a Python, and with one that does not have it, the entry is the same.
	run(t, "import", file).wants(t, 0, []string{"  - module: no-such-package\n", "run: [venv/bin/modulebus-synapse-module, no_such_package.Gate]", "config: {deny: [a]}"}, nil)
	run(t, "import", file, "--python", "/no/such/python").wants(t, 1, nil, []string{"busd: /no/such/python: "})
	run(t, "import", file+".gone").wants(t, 2, nil, []string{"no such file", "say where Synapse's homeserver.yaml is"})
	run(t, "import", filepath.Dir(file)).wants(t, 2, nil, []string{filepath.Dir(file) + " is a folder: name a file in it"})
	rewrite(t, file, "- a\n")
	run(t, "import", file).wants(t, 2, nil, []string{file + ": line 1: this is no homeserver.yaml"})
}
