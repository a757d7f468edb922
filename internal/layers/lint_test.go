package layers_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestLintIsPartOfTheChecks holds that a change cannot land without the linters, nor those be without what finds
// repetitions, words that are written out again and again, long functions, and calls that are forbidden here.
func TestLintIsPartOfTheChecks(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if !regexp.MustCompile(`(?m)^\s+(nice )?make [^|&;>]*\blint\b`).Match(read(".ci/run")) {
		t.Error(".ci/run does not run make lint")
	}
	if !regexp.MustCompile(`(?m)^lint: .*golangci-lint.*\n\t.* run --config`).Match(read("Makefile")) {
		t.Error("make lint does not run golangci-lint")
	}
	var lint struct {
		Linters struct {
			Default string
			Disable []string
		}
	}
	if err := yaml.Unmarshal(read(".golangci.yml"), &lint); err != nil || lint.Linters.Default != "all" {
		t.Fatalf("not every linter is on: %q, %v", lint.Linters.Default, err)
	}
	for _, off := range lint.Linters.Disable {
		switch off {
		case "dupl", "goconst", "forbidigo", "funlen":
			t.Errorf("%s is off", off)
		}
	}
}
