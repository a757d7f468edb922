package exploration_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is a network between NATS and who connects to it, which can be made worse.
type proxy struct {
	to       string
	listener net.Listener
	owned    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool // nil once the proxy is closed
	delay  time.Duration     // of each piece, at most
	opened chan struct{}     // closed while bytes pass
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: to, listener: l, conns: map[net.Conn]bool{}, opened: make(chan struct{})}
	close(p.opened)
	p.owned.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		if p.keep(client) && p.keep(server) {
			p.owned.Go(func() { p.pass(client, server) })
			p.owned.Go(func() { p.pass(server, client) })
		} else {
			_ = client.Close()
			_ = server.Close()
		}
	}
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	p.conns[c] = true
	return true
}

// pass passes on what comes, as soon as it may.
func (p *proxy) pass(from, to net.Conn) {
	defer p.forget(from)
	defer p.forget(to)
	piece := make([]byte, 4<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			p.hold()
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) hold() {
	p.mu.Lock()
	delay, opened := p.delay, p.opened
	p.mu.Unlock()
	if delay > 0 {
		<-time.After(rand.N(delay))
	}
	<-opened
}

func (p *proxy) forget(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// slow has each piece take up to d from now on.
func (p *proxy) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// shut holds all bytes up; open lets them pass.
func (p *proxy) shut() (open func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	opened := make(chan struct{})
	p.opened = opened
	return sync.OnceFunc(func() { close(opened) })
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
	p.mu.Lock()
	p.conns = nil
	p.mu.Unlock()
	p.owned.Wait()
}
