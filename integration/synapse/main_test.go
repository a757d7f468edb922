//go:build integration

// Package synapse_test runs a real Synapse with modules over the bus, beside the same modules in its own process.
package synapse_test

import (
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }
