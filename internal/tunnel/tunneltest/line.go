package tunneltest

import (
	"net/http"
	"sync"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/gateway"
)

// Tunnelled is a server whose handler is behind the tunnel.
func Tunnelled(t *testing.T, h http.Handler) http.Handler {
	t.Helper()
	return Connect(t, gateway.Options{}, h).Gateway
}

// Nearby is Tunnelled, where gateway and worker are on one machine.
func Nearby(t *testing.T, h http.Handler) http.Handler {
	t.Helper()
	n := Connect(t, gateway.Options{}, h)
	n.Nearby = true
	return n.Gateway
}

// line is one side of a line. Frames arrive at once, but for what the test does to them.
type line struct {
	*Network
	deliver func(frame []byte)
	parted  func()
	once    sync.Once
}

// Send implements [flow.Line].
func (l *line) Send(frame []byte) error {
	frame = append([]byte(nil), frame...)
	l.pass(frame, func() { l.deliver(frame) })
	return nil
}

// Leave implements [flow.Line].
func (l *line) Leave() { l.Close() }

// Close implements [flow.Line]. The other side hears of it later, as over a socket, and not in this call, whose locks it may want.
func (l *line) Close() { l.once.Do(func() { l.running.Go(l.parted) }) }
