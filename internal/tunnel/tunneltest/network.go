// Package tunneltest provides a gateway and workers that are connected in memory. A test can change, drop and delay the frames
// between them. It also has the handlers and requests that tests of both sides share.
package tunneltest

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/worker"
	"github.com/modulebus/modulebus/internal/webpath"
)

// Network is a gateway and workers with a transport between them. Frames arrive at once, but for what the test does to
// them.
type Network struct {
	Gateway *gateway.Gateway
	Workers []*Worker
	Nearby  bool // large bodies go over lines; set before use

	mu      sync.Mutex
	next    int
	limit   int
	sent    map[string]int                      // frames, by type
	Meddle  func(f frame.Frame, deliver func()) // nil delivers
	running sync.WaitGroup
}

type Worker struct {
	*worker.Worker
	name    string
	handler http.Handler
	ctx     context.Context
	Gone    bool // nobody hears it, and it hears nobody
	Mute    bool // it takes what it is sent, and does nothing
}

// Connect builds a Network with one worker for each handler.
func Connect(t *testing.T, opts gateway.Options, handlers ...http.Handler) *Network {
	t.Helper()
	n := &Network{limit: FrameLimit, sent: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	for i, h := range handlers {
		name := string(rune('a' + i))
		w := &Worker{name: name, handler: h, ctx: ctx}
		w.Worker = worker.New(end{n, name}, worker.Options{})
		n.Workers = append(n.Workers, w)
	}
	n.Gateway = gateway.New(end{n, "gateway"}, route, opts)
	t.Cleanup(func() {
		cancel()
		for _, w := range n.Workers {
			w.GoAway()
		}
		n.running.Wait()
	})
	return n
}

// end is where one process is connected.
type end struct {
	*Network
	process string
}

// route gives every path to one module, except /nowhere.
func route(path string) (webpath.Resource, bool) {
	return webpath.Resource{Module: "gate", Path: "web"}, path != "/nowhere"
}

func (e end) MaxFrame() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.limit
}

func (end) Token(webpath.Resource) string { return flow.NewToken() }

func (e end) Ask(_ webpath.Resource, token string, frame []byte) error {
	from := flow.Address{Process: e.process, Token: token}
	frame = append([]byte(nil), frame...)
	w := e.pick()
	if w == nil {
		e.Gateway.Unheard(token, "")
		return nil
	}
	if w.Mute {
		return nil
	}
	e.pass(frame, func() {
		e.running.Go(func() { w.Serve(w.ctx, w.handler, from, frame) })
	})
	return nil
}

// pick takes turns among those that are there.
func (n *Network) pick() *Worker {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range n.Workers {
		w := n.Workers[n.next%len(n.Workers)]
		if n.next++; !w.Gone {
			return w
		}
	}
	return nil
}

func (e end) Send(by flow.Channel, to flow.Address, token string, frame []byte) error {
	from := flow.Address{}
	if token != "" {
		from = flow.Address{Process: e.process, Token: token}
	}
	frame = append([]byte(nil), frame...)
	e.pass(frame, func() { e.deliver(by, to, from, frame) })
	return nil
}

// Near implements [flow.Transport].
func (e end) Near(to flow.Address, take func(frame []byte), parted func()) flow.Line {
	if !e.Nearby || !e.Gateway.Meet(to.Token, &line{Network: e.Network, deliver: take, parted: parted}) {
		return nil
	}
	var used atomic.Bool
	return &line{
		Network: e.Network,
		deliver: func(frame []byte) {
			used.Store(true)
			e.Gateway.Receive(flow.Bulk, to.Token, flow.Address{}, frame)
		},
		parted: func() { e.Gateway.Parted(to.Token, used.Load()) },
	}
}

func (n *Network) deliver(by flow.Channel, to, from flow.Address, frame []byte) {
	if to.Process == "gateway" {
		if w := n.worker(from.Process); w == nil || !w.Gone {
			n.Gateway.Receive(by, to.Token, from, frame)
		}
		return
	}
	w := n.worker(to.Process)
	switch {
	case w.Gone && from.Token != "":
		n.Gateway.Unheard(from.Token, to.Process)
	case !w.Gone && !w.Mute:
		w.Receive(by, to.Token, from, frame)
	}
}

func (n *Network) worker(name string) *Worker {
	for _, w := range n.Workers {
		if w.name == name {
			return w
		}
	}
	return nil
}

// pass counts a frame, and lets the test meddle.
func (n *Network) pass(raw []byte, deliver func()) {
	f, err := frame.Decode(raw)
	if err != nil {
		panic(err)
	}
	n.mu.Lock()
	n.sent[kind(f)]++
	meddle := n.Meddle
	n.mu.Unlock()
	if meddle == nil {
		deliver()
		return
	}
	meddle(f, deliver)
}

func kind(f frame.Frame) string {
	switch f.(type) {
	case *frame.Request:
		return "REQ"
	case *frame.Response:
		return "RSP"
	case *frame.Info:
		return "INFO"
	case *frame.Data:
		return "DATA"
	case *frame.End:
		return "END"
	case *frame.Accept:
		return "ACCEPT"
	case *frame.Credit:
		return "CREDIT"
	case *frame.Reset:
		return "RESET"
	}
	return "PING"
}

func (n *Network) Count(kind string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent[kind]
}

// Hasten lets time fly for heartbeats.
func (n *Network) Hasten() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for now := time.Now(); ; now = now.Add(5 * time.Second) {
			select {
			case <-done:
				return
			case <-ticker.C:
				n.Gateway.Beat(now)
			}
		}
	}()
	return func() { close(done); <-ended }
}

// Exhausted reports whether no frame was sent between two looks.
func (n *Network) Exhausted() bool {
	before := n.Count("DATA")
	time.Sleep(20 * time.Millisecond)
	return before > 0 && n.Count("DATA") == before
}

// until waits for a condition.
func (n *Network) Until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for end := time.After(30 * time.Second); !is(); {
		select {
		case <-ticker.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// SetLimit changes the size of the largest frame.
func (n *Network) SetLimit(limit int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limit = limit
}

// Limit is the size of the largest frame.
func (n *Network) Limit() int { return end{n, ""}.MaxFrame() }

// Sent returns how many frames were sent, by type.
func (n *Network) Sent() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.sent)
}
