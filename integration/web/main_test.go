// Package web_test serves pages of modules through busd and package bus, and breaks what may break between them.
package web_test

import (
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }
