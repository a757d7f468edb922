package tunnel_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel"
)

// network is a gateway and a worker with a line between them. Frames arrive at once, but for what the test does to
// them.
type network struct {
	gateway *tunnel.Gateway
	workers []*worker

	mu      sync.Mutex
	next    int
	limit   int
	sent    map[string]int                       // frames, by type
	meddle  func(f tunnel.Frame, deliver func()) // nil delivers
	running sync.WaitGroup
}

type worker struct {
	*tunnel.Worker
	name    string
	handler http.Handler
	ctx     context.Context
	gone    bool // nobody hears it, and it hears nobody
	mute    bool // it takes what it is sent, and does nothing
}

// connect builds a network with one worker for each handler.
func connect(t *testing.T, opts tunnel.GatewayOptions, handlers ...http.Handler) *network {
	t.Helper()
	n := &network{limit: frameLimit, sent: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	for i, h := range handlers {
		name := string(rune('a' + i))
		w := &worker{name: name, handler: h, ctx: ctx}
		w.Worker = tunnel.NewWorker(end{n, name}, tunnel.WorkerOptions{})
		n.workers = append(n.workers, w)
	}
	n.gateway = tunnel.NewGateway(end{n, "gateway"}, opts)
	t.Cleanup(func() {
		cancel()
		for _, w := range n.workers {
			w.GoAway()
		}
		n.running.Wait()
	})
	return n
}

// end is where one process is connected.
type end struct {
	*network
	process string
}

func (e end) Route(path string) (tunnel.Destination, bool) {
	return tunnel.Destination{Module: "gate", Resource: "web"}, path != "/nowhere"
}

func (e end) MaxFrame() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.limit
}

func (e end) Ask(_ tunnel.Destination, token string, frame []byte) error {
	from := tunnel.Address{Process: e.process, Token: token}
	frame = append([]byte(nil), frame...)
	w := e.pick()
	if w == nil {
		e.gateway.Unheard(token, "")
		return nil
	}
	if w.mute {
		return nil
	}
	e.pass(frame, func() {
		e.running.Go(func() { w.Serve(w.ctx, w.handler, from, frame) })
	})
	return nil
}

// pick takes turns among those that are there.
func (n *network) pick() *worker {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range n.workers {
		w := n.workers[n.next%len(n.workers)]
		if n.next++; !w.gone {
			return w
		}
	}
	return nil
}

func (e end) Send(_ tunnel.Channel, to tunnel.Address, token string, frame []byte) error {
	from := tunnel.Address{}
	if token != "" {
		from = tunnel.Address{Process: e.process, Token: token}
	}
	frame = append([]byte(nil), frame...)
	e.pass(frame, func() { e.deliver(to, from, frame) })
	return nil
}

func (n *network) deliver(to, from tunnel.Address, frame []byte) {
	if to.Process == "gateway" {
		if w := n.worker(from.Process); w == nil || !w.gone {
			n.gateway.Receive(to.Token, from, frame)
		}
		return
	}
	w := n.worker(to.Process)
	switch {
	case w.gone && from.Token != "":
		n.gateway.Unheard(from.Token, to.Process)
	case !w.gone && !w.mute:
		w.Receive(to.Token, from, frame)
	}
}

func (n *network) worker(name string) *worker {
	for _, w := range n.workers {
		if w.name == name {
			return w
		}
	}
	return nil
}

// pass counts a frame, and lets the test meddle.
func (n *network) pass(frame []byte, deliver func()) {
	f, err := tunnel.Decode(frame)
	if err != nil {
		panic(err)
	}
	n.mu.Lock()
	n.sent[kind(f)]++
	meddle := n.meddle
	n.mu.Unlock()
	if meddle == nil {
		deliver()
		return
	}
	meddle(f, deliver)
}

func kind(f tunnel.Frame) string {
	switch f.(type) {
	case *tunnel.Request:
		return "REQ"
	case *tunnel.Response:
		return "RSP"
	case *tunnel.Info:
		return "INFO"
	case *tunnel.Data:
		return "DATA"
	case *tunnel.End:
		return "END"
	case *tunnel.Accept:
		return "ACCEPT"
	case *tunnel.Credit:
		return "CREDIT"
	case *tunnel.Reset:
		return "RESET"
	}
	return "PING"
}

func (n *network) count(kind string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent[kind]
}

// tunnelled is a server whose handler is behind the tunnel.
func tunnelled(t *testing.T, h http.Handler) http.Handler {
	t.Helper()
	return connect(t, tunnel.GatewayOptions{}, h).gateway
}
