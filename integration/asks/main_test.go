// Package asks_test asks modules through every door, with NATS in every home, and lets modules call back.
package asks_test

import (
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }
