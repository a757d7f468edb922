package broker

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// acceptPause is how long the relay waits when it cannot accept a connection.
const acceptPause = 10 * time.Millisecond

// relay is a port on loopback without TLS, for modules that busd runs beside an embedded server that uses TLS with all
// other clients. Without it, those modules would have to know the certificate's name and authority, and perhaps have
// certificates of their own, which cannot be arranged for programs in any language. They show their credentials at the
// relay, as all clients do.
type relay struct {
	server   *server.Server
	listener net.Listener
	owned    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func openRelay(s *server.Server) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It takes no time.
	if err != nil {
		return nil, err
	}
	r := &relay{server: s, listener: listener, conns: map[net.Conn]struct{}{}}
	r.owned.Go(r.accept)
	return r, nil
}

// url is where modules find the relay.
func (r *relay) url() string { return "nats://" + r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		outside, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause) // Too many files may be open now, and fewer later.
			continue
		}
		inside, err := r.server.InProcessConn()
		if err != nil {
			_ = outside.Close()
			continue
		}
		r.owned.Go(func() { r.carry(outside, inside) })
		r.owned.Go(func() { r.carry(inside, outside) })
	}
}

// carry copies until either side has ended, and ends both.
func (r *relay) carry(from, to net.Conn) {
	if r.keep(from) {
		_, _ = io.Copy(to, from) // It fails as connections do; their ends see it.
	}
	r.drop(from)
	_ = to.Close()
}

func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = struct{}{}
	return !r.closed
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	_ = c.Close()
}

// close ends all connections, and returns when nothing is left of them.
func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.owned.Wait()
}
