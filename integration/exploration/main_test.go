// Package exploration_test asks while everything breaks: workers are killed and paused, NATS is restarted, messages are
// held up. What each module answers to each question is known beforehand, and so each decision can be checked afterwards
// against asking one module after the other.
package exploration_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if module := os.Getenv(moduleVariable); module != "" {
		os.Exit(work(module))
	}
	goleak.VerifyTestMain(m)
}
