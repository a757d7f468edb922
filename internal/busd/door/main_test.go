package door_test

import (
	"testing"

	"github.com/modulebus/modulebus/internal/busd/door/doortest"
)

func TestMain(m *testing.M) { doortest.Main(m) }
