// Package busd_test runs busd and modules as an operator does, and breaks what may break.
package busd_test

import (
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }
