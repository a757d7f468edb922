package bus_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Some tests kill workers of modules, so those are processes: of this program.
func TestMain(m *testing.M) {
	if name := os.Getenv(workerName); name != "" {
		runWorker(name)
		return
	}
	goleak.VerifyTestMain(m)
}
