//go:build integration

package python_test

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

// TestModuleOutlivesANATSThatDoesNotKnowItsUser has NATS come back and not know its users at first. The module is the process that it
// was, and refuses again.
func TestModuleOutlivesANATSThatDoesNotKnowItsUser(t *testing.T) {
	t.Parallel()
	known := server.Options{Username: "bus", Password: "secret"}
	s := natstest.Start(t, &known)
	address := s.Addr().String()
	url := "nats://bus:secret@" + address
	d := testbed.Serve(t, fmt.Sprintf("nats: {url: %q}\nmodules: [{module: faulty}]\n", url))
	testbed.Execute(t, testbed.Python(t), absolute(t, "integration/python/testdata/faulty.py")).With(
		"PYTHONPATH="+absolute(t, "bridges/python"), "MODULEBUS_NATS_URL="+url,
		"MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=faulty").Start()
	testbed.Eventually(t, "the module refuses", func() bool { return d.Create(alice).Refused() })
	process := func() string {
		pid, _, _ := strings.Cut(by(d.Create(alice)), " ")
		return pid
	}
	before := process()
	s = again(t, s, address, server.Options{Username: "somebody", Password: "else"})
	testbed.Eventually(t, "both were refused, again and again", func() bool {
		v, err := s.Varz(nil)
		return err == nil && v.TotalConnections > 12
	})
	again(t, s, address, known)
	testbed.Eventually(t, "the same process refuses again", func() bool { return process() == before })
}

// again has another server at the address of one that ends.
func again(t *testing.T, s *server.Server, address string, o server.Options) *server.Server {
	t.Helper()
	s.Shutdown()
	s.WaitForShutdown()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	if o.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	return natstest.Start(t, &o)
}
