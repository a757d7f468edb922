package attacks_test

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestIdleConnectionsKeepNobodyOut has clients that connect to each listener, and say nothing.
func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules: [{module: "+victim+", run: ["+testbed.Program(t, testbed.Faulty)+"], timeout: 20s}]\nbudget: 30s\n")
	asked(t, d)
	for listener, address := range map[string]string{"HTTP": strings.TrimPrefix(d.URL, "http://"), "NATS": strings.TrimPrefix(d.NATS, "nats://")} {
		before := resident(t, d)
		conns := idle(t, address)
		asked(t, d)
		if err := d.ConnectModule(victim).Flush(); err != nil {
			t.Errorf("%s: a module that connects: %v", listener, err)
		}
		const each = 96 << 10
		most := each * len(conns)
		if testbed.RaceDetector { // It remembers what was done to each byte.
			most *= 4
		}
		if grown := resident(t, d) - before; grown > most {
			t.Errorf("%s: busd has grown by %d MiB for %d connections", listener, grown>>20, len(conns))
		}
		for _, c := range conns {
			if err := ended(c); err != nil {
				t.Fatalf("%s: a connection that says nothing stays open: %v", listener, err)
			}
		}
	}
}

// idle opens ten thousand connections, or as many as this process may; with the race detector, which makes each of them cost ten times as
// much, a thousand.
func idle(t *testing.T, address string) (conns []net.Conn) {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	const others = 4000 // of this package's tests
	n := int(min(10_000, max(files.Cur, 2*others)-others))
	if testbed.RaceDetector {
		n = min(n, 1000)
	}
	t.Logf("%d connections to %s", n, address)
	for range n {
		c, err := (&net.Dialer{}).DialContext(testbed.Bounded(t), "tcp", address)
		if err != nil {
			t.Fatalf("after %d connections: %v", len(conns), err)
		}
		t.Cleanup(func() { _ = c.Close() })
		conns = append(conns, c)
	}
	return conns
}

// ended waits until the other side has closed a connection.
func ended(c net.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(testbed.Patience)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return err
	}
	return c.Close() // It ended, or was cut.
}
