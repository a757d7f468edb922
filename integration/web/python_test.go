//go:build integration

package web_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/integration/testbed"
)

// pythonHop is a gateway, NATS, and a worker of the kit for Python, whose ASGI application passes requests on.
func pythonHop(t *testing.T) hop {
	t.Helper()
	s := startNATS(t, &server.Options{MaxPayload: 4 << 20}) // As in tunnelHop.
	control := connectTo(t, s.ClientURL())
	root, err := filepath.Abs(testbed.Root)
	if err != nil {
		t.Fatal(err)
	}
	worker := testbed.Execute(t, testbed.Python(t), filepath.Join(root, "integration/web/testdata/proxy.py")).With(
		"PYTHONPATH="+filepath.Join(root, "bridges/python"), "MODULEBUS_NATS_URL="+s.ClientURL(),
		"MODULEBUS_SERVER_NAME="+serverName, "MODULEBUS_MODULE=m").Start()
	worker.Stdout.Line(t, "serves")
	return func(t *testing.T, backend string) http.Handler {
		t.Helper()
		return aside(newGateway(t, control, backend))
	}
}

// TestSuitesBehindPython runs the foreign suites behind a worker in Python, and writes into docs/web-resources.md how many pass, and
// which pass behind a worker in Go alone.
func TestSuitesBehindPython(t *testing.T) { //nolint:paralleltest // its tests measure time
	if os.Getenv("MODULEBUS_FOREIGN") == "" {
		t.Skip("make foreign-python runs this, for half an hour")
	}
	rows := []string{"| suite | tests that pass on their own | behind a worker in Go | behind one in Python | behind the one in Go alone |", "|---|---:|---:|---:|---|"}
	for _, of := range []struct{ name, tests string }{{"net/http/httputil", `Test\w+`}, {"net/http", `Test\w+/h1`}} {
		dir := filepath.Join(goroot(t), "src", of.name)
		s := suite{name: of.name, dir: dir, args: exactly, binary: compile(t, dir, ".", overlay(t))}
		s.tests = s.passing(t, of.tests)
		rows = append(rows, s.besidePython(t))
	}
	testbed.WriteBetween(t, filepath.Join(testbed.Root, "docs/web-resources.md"), "suites", strings.Join(rows, "\n")+"\n")
}

// besidePython is a row of the table.
func (s suite) besidePython(t *testing.T) string {
	t.Helper()
	inGo := s.behind(t, "a worker in Go", tunneld(t, tunnelHop(t)))
	inPython := s.behind(t, "a worker in Python", tunneld(t, pythonHop(t)))
	var alone []string
	for _, test := range inGo.which("pass") {
		if inPython[test] != "pass" {
			alone = append(alone, "`"+strings.TrimSuffix(test, "/h1")+"`")
		}
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %s |", s.name, len(s.tests), inGo.count("pass"), inPython.count("pass"), strings.Join(alone, ", "))
}
