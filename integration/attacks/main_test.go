// Package attacks_test has hostile participants try what they must not, with NATS inside busd and with a cluster that was set up with
// what busd prints.
package attacks_test

import (
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }
