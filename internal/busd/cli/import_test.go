package cli

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
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

// TestImportKeepsMarksOfTextDirection has a text in which they belong, and which is printed as what a terminal does not obey.
func TestImportKeepsMarksOfTextDirection(t *testing.T) {
	t.Parallel()
	const plain, folded = "\u05e9\u05dc\u05d5\u05dd (a)\u200f", "b \u202ec"
	file := filepath.Join(t.TempDir(), "homeserver.yaml")
	rewrite(t, file, "modules:\n  - module: m.M\n    config:\n      say: "+plain+"\n      "+plain+": >-\n        b\n        \u202ec\n")
	got := run(t, "import", file)
	var read struct {
		Modules []struct{ Config map[string]string }
	}
	if err := yaml.Unmarshal([]byte(got.out), &read); err != nil {
		t.Fatalf("%v in\n%s", err, got.out)
	}
	want := map[string]string{"say": plain, plain: folded}
	if strings.ContainsFunc(got.out, obeyed) || len(read.Modules) != 1 || !maps.Equal(read.Modules[0].Config, want) {
		t.Errorf("printed %q, which reads %q", got.out, read.Modules)
	}
}
