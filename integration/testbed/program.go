package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Root is the folder of this module, seen from the folder of a suite.
const Root = "../.."

// What several suites run besides busd and the examples.
const (
	Busd      = "cmd/busd"
	Demo      = "cmd/demo-module"
	Faulty    = "integration/testbed/testdata/faulty"
	WebFaulty = "integration/testbed/testdata/webfaulty"
	Curl      = "integration/testbed/testdata/curl"
)

// programs are the programs that a suite runs. Each is built once, when it is first wanted.
var programs struct {
	mu    sync.Mutex
	dir   string
	built map[string]error
}

// Program returns the path of a program, built from the package in this folder of the module. Where the tests have the
// race detector, the program has it, too.
func Program(t *testing.T, folder string) string {
	t.Helper()
	programs.mu.Lock()
	defer programs.mu.Unlock()
	err, built := programs.built[folder]
	if !built {
		err = build(folder)
		programs.built[folder] = err
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(programs.dir, filepath.Base(folder))
}

func build(folder string) (err error) {
	if programs.built == nil {
		programs.built = map[string]error{}
		if programs.dir, err = os.MkdirTemp("", "modulebus-programs-"); err != nil {
			return err
		}
	}
	args := []string{"build", "-o", programs.dir + "/"}
	if RaceDetector {
		args = append(args, "-race")
	}
	command := exec.Command("go", append(args, "./"+folder)...)
	command.Dir = Root
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", folder, err, out)
	}
	return nil
}

func removePrograms() { _ = os.RemoveAll(programs.dir) }
