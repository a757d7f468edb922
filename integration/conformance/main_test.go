// Package conformance_test replays what real Synapses decided, and compares.
package conformance_test

import (
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }
