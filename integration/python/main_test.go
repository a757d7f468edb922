//go:build integration

// Package python_test runs modules that are written with the kit for Python.
package python_test

import (
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }
