//go:build integration

package busd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestPyYAMLMakesWhatItsRecordSays makes the record anew, of which the configuration's own tests take what scalars mean.
func TestPyYAMLMakesWhatItsRecordSays(t *testing.T) {
	t.Parallel()
	folder := filepath.FromSlash("../../internal/busd/config/testdata")
	got, err := exec.CommandContext(t.Context(), testbed.Python(t), filepath.Join(folder, "pyyaml.py")).Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(folder, "pyyaml.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the record (-) is not what PyYAML makes (+):\n%s", diff)
	}
}
