package verify

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
)

// line is the module's connection to NATS. It can be cut.
type line struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	open     map[net.Conn]bool
	owned    sync.WaitGroup
}

func openLine(nats string) (*line, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &line{listener: listener, to: strings.TrimPrefix(nats, "nats://"), open: map[net.Conn]bool{}}
	l.owned.Go(l.accept)
	return l, nil
}

func (l *line) url() string { return "nats://" + l.listener.Addr().String() }

func (l *line) accept() {
	for {
		from, err := l.listener.Accept()
		if err != nil {
			return
		}
		to, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", l.to)
		if err != nil {
			from.Close()
			continue
		}
		l.mu.Lock()
		l.open[from], l.open[to] = true, true
		l.mu.Unlock()
		l.owned.Go(func() { l.pass(to, from) })
		l.owned.Go(func() { l.pass(from, to) })
	}
}

func (l *line) pass(to, from net.Conn) {
	_, _ = io.Copy(to, from) // Any error ends the connection.
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		c.Close()
		delete(l.open, c)
	}
}

// cut breaks open connections.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		c.Close()
	}
}

func (l *line) close() {
	l.listener.Close()
	l.cut()
	l.owned.Wait()
}
