package schemas_test

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"testing"
)

// The generator is a module of its own, so it is run as one; it writes nothing here.
func TestWhatIsGeneratedIsFresh(t *testing.T) {
	t.Parallel()
	// go test keeps a result until something changes that the test has looked at, which the generator does by itself.
	for _, dir := range []string{".", "../subjects", "../bus", "../modulekit", "../docs/callbacks", "../internal/cmd/schemagen"} {
		if err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	}
	check := exec.CommandContext(t.Context(), "go", "run", "-C", "../internal/cmd/schemagen", ".", "-check")
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\nIf something is stale: go generate ./schemas", err, out)
	}
}
