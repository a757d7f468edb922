// Package testbed is what the suites of integration/ share: programs and processes, busd as a process and inside the test,
// callers of its doors, and waiting.
package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/modulebus/modulebus/internal/freeport"
	"github.com/modulebus/modulebus/internal/waittest"
)

// left are goroutines that a NATS server with JetStream leaves after its shutdown, where it is one of a cluster.
var left = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
	goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*DirJWTStore).startExpiring.func1"), // of a configuration that is read
	goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
}

// Main runs the tests of a package, removes what was built for them, and looks for goroutines that are left.
func Main(m *testing.M) {
	status := m.Run()
	removePrograms()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(left...); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// Patience is how long a test waits for what must happen.
const Patience = waittest.Patience

// Eventually waits until the condition holds.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	waittest.Until(t, what, holds)
}

// Bounded is a context that ends with the test, or when the test is out of patience.
func Bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// parsed is what the JSON says; nil for none.
func parsed(t *testing.T, text string) (v any) {
	t.Helper()
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// Same wants two JSON values to be the same, where a wanted "*" stands for any text.
func Same(t *testing.T, what string, want, got any) {
	t.Helper()
	anyText := cmp.FilterValues(func(a, b string) bool { return a == "*" || b == "*" }, cmp.Ignore())
	if diff := cmp.Diff(want, got, anyText); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Pause lets others work between two looks at what must come.
func Pause(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-t.Context().Done():
		t.FailNow()
	}
}

// Setting is something that make integration says.
func Setting(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatal(name + " is not set: run make integration")
	}
	return value
}

// Python is a Python that has what integration/requirements.txt names.
func Python(t *testing.T) string {
	t.Helper()
	return Setting(t, "MODULEBUS_PYTHON")
}

// Write writes a file that only its owner reads.
func Write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// WriteBetween puts a text between the marks of that name in a page.
func WriteBetween(t *testing.T, page, name, text string) {
	t.Helper()
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(old), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no place for the %s", page, name)
	}
	Write(t, page, before+begin+text+end+after)
}

// FreePort is one that nobody listens on, and that nobody else is given.
func FreePort(t *testing.T) int {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// FreeAddress has such a port.
func FreeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(t))
}
