package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// workflow is what these tests read of a job of the repository.
type workflow struct {
	On   map[string]any `yaml:"on"`
	Jobs map[string]struct {
		Steps []struct{ Run string }
	}
	Permissions map[string]string
}

// runs are the commands of all jobs.
func (w workflow) runs() (all []string) {
	for _, j := range w.Jobs {
		for _, s := range j.Steps {
			if s.Run != "" {
				all = append(all, s.Run)
			}
		}
	}
	return all
}

// TestWorkflowsRunWhatTheRepositoryHas holds each workflow to commands that are here, to reading alone, and to when it has to run.
func TestWorkflowsRunWhatTheRepositoryHas(t *testing.T) {
	t.Parallel()
	makefile := read(t, "Makefile")
	for name, want := range map[string]struct {
		on   string
		runs []string
	}{
		"ci.yml":   {"pull_request", []string{".ci/run"}},
		"vuln.yml": {"schedule", []string{"make vuln", "make sbom"}},
	} {
		var w workflow
		if err := yaml.Unmarshal([]byte(read(t, filepath.Join(".github/workflows", name))), &w); err != nil {
			t.Fatal(err)
		}
		if _, ok := w.On[want.on]; !ok {
			t.Errorf("%s does not run on %s", name, want.on)
		}
		if w.Permissions["contents"] != "read" || len(w.Permissions) != 1 {
			t.Errorf("%s may %v", name, w.Permissions)
		}
		runs := w.runs()
		if strings.Join(runs, ", ") != strings.Join(want.runs, ", ") {
			t.Errorf("%s runs %q, want %q", name, runs, want.runs)
		}
		for _, run := range runs {
			if target, ok := strings.CutPrefix(run, "make "); ok && !strings.Contains(makefile, "\n"+target+":") {
				t.Errorf("%s runs %s, which is no target", name, run)
			} else if _, err := os.Stat(filepath.Join(root, run)); !ok && err != nil {
				t.Errorf("%s runs %s: %v", name, run, err)
			}
		}
	}
}
