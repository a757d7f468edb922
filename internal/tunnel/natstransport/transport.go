// Package natstransport carries the tunnel's frames over NATS. Each process has two connections, so that bodies do not
// delay small frames, and one subscription on each, whose handler never blocks.
package natstransport

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/nearby"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	rosterv1 "github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// maxPending is how many arrived bytes may wait to be received; credit keeps the number far below. Beyond: messages are
// dropped, and all streams end.
const maxPending = 64 << 20

// tokens are the channels' names in subjects.
var tokens = [...]string{flow.Control: subjects.Control, flow.Bulk: subjects.Bulk}

// Side is a gateway or a worker. None of its methods may block.
type Side interface {
	// Receive receives a frame that arrived on a channel for one of the side's streams, and keeps its memory.
	Receive(by flow.Channel, token string, from flow.Address, frame []byte)

	// Unheard is called when no process subscribes to the subject to which a stream of the side sent its last frame.
	Unheard(token, process string)

	// Lost is called when frames of any stream may have been lost.
	Lost()

	// Beat is called every [flow.BeatEvery].
	Beat(now time.Time)
}

// Transport is one side's. It implements [gateway.Transport]. Its methods may be called concurrently.
type Transport struct {
	control *nats.Conn
	bulk    atomic.Pointer[nats.Conn]
	owned   bool // bulk is a connection of its own
	server  subjects.Server
	name    string               // of this process
	process string               // a worker's, with its module; a gateway is a process of every module
	subs    []*nats.Subscription // that of control, and that of bulk
	side    Side
	place   *nearby.Place // a gateway's; nil if it has none
	slow    atomic.Int64
	closing sync.Once
	lines   nearby.Lines // a worker's
	stop    chan struct{}
	done    chan struct{}
}

// Gateway returns the transport of a gateway. The name must be unique. It carries nothing before Open.
func Gateway(nc *nats.Conn, s subjects.Server, name string) *Transport {
	return newTransport(nc, s, name, "")
}

// Worker returns the transport of a worker of a module. It carries nothing before Open.
func Worker(nc *nats.Conn, s subjects.Server, module, name string) *Transport {
	return newTransport(nc, s, name, subjects.Process(module, name))
}

func newTransport(nc *nats.Conn, s subjects.Server, name, process string) *Transport {
	t := &Transport{control: nc, server: s, name: name, process: process, stop: make(chan struct{}), done: make(chan struct{})}
	t.bulk.Store(nc)
	return t
}

// Open subscribes, and returns when the server has the subscriptions. Close must be called, unless Open fails.
//
// It makes a second connection with the options of the first, except for its callbacks. If that fails, everything goes
// over the first, and bodies delay small frames. If NATS closes the second connection for good, it is made again.
func (t *Transport) Open(side Side) error {
	t.side = side
	if bulk, err := t.second(); err == nil {
		t.bulk.Store(bulk)
		t.owned = true
	}
	bulk := t.bulk.Load()
	err := errors.Join(t.listen(t.control, flow.Control), t.listen(bulk, flow.Bulk))
	if err == nil {
		err = errors.Join(t.control.Flush(), bulk.Flush())
	}
	if err != nil {
		t.leave()
		return fmt.Errorf("natstransport: cannot listen: %w", err)
	}
	t.wait()
	go t.run()
	return nil
}

// second makes the connection for bodies.
func (t *Transport) second() (*nats.Conn, error) {
	o := t.control.Opts
	tapped(&o, func(subject, reply string, payload []byte) { t.receive(flow.Bulk, subject, reply, payload) })
	o.Name = strings.TrimPrefix(o.Name+" bulk", " ")
	o.ReconnectBufSize = -1
	o.RetryOnFailedConnect = false
	o.ClosedCB, o.DisconnectedCB, o.DisconnectedErrCB, o.ConnectedCB, o.ReconnectedCB = nil, nil, nil, nil, nil
	o.DiscoveredServersCB, o.LameDuckModeHandler, o.ReconnectErrCB = nil, nil, nil
	o.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {} // run notices.
	return o.Connect()
}

func (t *Transport) listen(nc *nats.Conn, by flow.Channel) error {
	subject := t.server.GatewayStreams(t.name, tokens[by])
	if t.process != "" {
		subject = t.server.WorkerStreams(t.process, tokens[by])
	}
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) { t.message(by, m) })
	if err != nil {
		return err
	}
	t.subs = append(t.subs, sub)
	return sub.SetPendingLimits(-1, maxPending)
}

// message handles a message; the client library calls it for one after the other.
func (t *Transport) message(by flow.Channel, m *nats.Msg) {
	if len(m.Data) == 0 && len(m.Header) > 0 && m.Header.Get("Status") == "503" {
		process, _ := subjects.StreamOf(m.Header.Get("Nats-Subject"))
		if token, ok := t.stream(m.Subject, process); ok {
			t.side.Unheard(token, process)
		}
		return
	}
	if f := wire.FailureOf(m); f != nil {
		token, ok := t.stream(m.Subject, "")
		if !ok {
			return
		}
		t.side.Receive(by, token, flow.Address{}, frame.Append(nil, resetOf(f)))
		return
	}
	t.receive(by, m.Subject, m.Reply, m.Data)
}

// receive passes a frame that arrived on a subject to the side.
func (t *Transport) receive(by flow.Channel, subject, reply string, frame []byte) {
	from := flow.Address{}
	if reply != "" {
		from.Process, from.Token = subjects.StreamOf(reply)
	}
	if token, ok := t.stream(subject, from.Process); ok {
		t.side.Receive(by, token, from, frame)
	}
}

// stream returns the token of the stream that a message on a subject is for. It returns false if the sender, by the
// permissions for the subject, must not send the message: each of a gateway's streams belongs to one module, and only
// that module's processes may send to it. process is the sender that the message names, or empty.
func (t *Transport) stream(subject, process string) (token string, ok bool) {
	at, token := subjects.StreamOf(subject)
	if t.process != "" {
		return token, true // Only gateways may publish there.
	}
	module := subjects.ModuleIn(at)
	if process != "" && subjects.ModuleIn(process) != module {
		return "", false
	}
	if token == flow.ControlToken {
		return token, true
	}
	return token, token[min(flow.TokenLen, len(token)):] == "-"+module
}

// Token implements [gateway.Transport].
func (*Transport) Token(to webpath.Resource) string {
	return subjects.StreamToken(flow.NewToken(), to.Module)
}

// resetOf makes a reset of a worker's failure, which it answers as to a question.
func resetOf(f *wire.Failure) *frame.Reset {
	if f.Kind == rosterv1.FailureKind_BUSY {
		return &frame.Reset{Code: frame.CodeRefused, Status: 503, Retryable: true, Text: "has too much to do"}
	}
	return &frame.Reset{Code: frame.CodeAborted, Status: 502, Text: "failed: " + wire.KindName(f.Kind)}
}

// run calls Beat, and watches the connections.
func (t *Transport) run() {
	defer close(t.done)
	ticker := time.NewTicker(flow.BeatEvery)
	defer ticker.Stop()
	states, bulk := losses(t.control), losses(t.bulk.Load())
	defer t.control.RemoveStatusListener(states)
	defer func() { t.bulk.Load().RemoveStatusListener(bulk) }()
	for {
		select {
		case <-t.stop:
			return
		case <-states:
			t.side.Lost()
		case <-bulk:
			t.side.Lost()
		case now := <-ticker.C:
			t.checkDropped()
			if t.renew() {
				bulk = losses(t.bulk.Load())
				t.side.Lost()
			}
			t.side.Beat(now)
		}
	}
}

// losses returns a channel that tells when a connection was lost, and frames with it.
func losses(nc *nats.Conn) chan nats.Status {
	return nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
}

// renew makes the second connection again if it is closed for good, as the client library does after an unknown error
// of the server. It reports whether it did, and blocks while it connects.
func (t *Transport) renew() bool {
	if !t.bulk.Load().IsClosed() || !t.control.IsConnected() {
		return false
	}
	bulk, err := t.second()
	if err != nil {
		return false // The next beat tries again.
	}
	t.subs = t.subs[:1]
	if t.listen(bulk, flow.Bulk) != nil || bulk.Flush() != nil {
		bulk.Close()
		return false
	}
	t.bulk.Store(bulk)
	return true
}

// checkDropped finds out whether the client library dropped messages. It is not known whose they were, so all streams
// end.
func (t *Transport) checkDropped() {
	dropped := int64(0)
	for _, sub := range t.subs {
		n, _ := sub.Dropped() // It fails only when the connection is closed.
		dropped += int64(n)
	}
	if t.slow.Swap(dropped) < dropped {
		t.side.Lost()
	}
}

// Dropped returns how many messages the client library has dropped. It stays 0 unless package flow grants too much
// credit.
func (t *Transport) Dropped() int64 { return t.slow.Load() }

// Close unsubscribes. Frames under way are lost. It may be called again.
func (t *Transport) Close() {
	t.closing.Do(func() {
		close(t.stop)
		<-t.done
		if t.place != nil {
			t.place.Close()
		}
		t.lines.Close()
		t.leave()
	})
}

func (t *Transport) leave() {
	for _, sub := range t.subs {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
	if t.owned {
		t.bulk.Load().Close()
	}
}

// Flush waits until the server has everything that was sent, or the timeout is over.
func (t *Transport) Flush(timeout time.Duration) error {
	return errors.Join(t.control.FlushTimeout(timeout), t.bulk.Load().FlushTimeout(timeout))
}

// connected reports whether a frame sent now can be answered.
func (t *Transport) connected(nc *nats.Conn) bool { return !flow.IsClosed(t.stop) && nc.IsConnected() }

// errAway is the error of sending without a connection: a frame that is sent now would arrive too late.
var errAway = errors.New("natstransport: not connected")

// Ask implements [gateway.Transport].
func (t *Transport) Ask(to webpath.Resource, token string, frame []byte) error {
	if !t.connected(t.control) {
		return errAway
	}
	reply := t.server.GatewayStream(subjects.Process(to.Module, t.name), subjects.Control, token)
	return t.control.PublishRequest(t.server.Web(to.Module, to.Path), reply, frame)
}

// Send implements [flow.Transport].
func (t *Transport) Send(by flow.Channel, to flow.Address, token string, frame []byte) error {
	nc := t.control
	if by == flow.Bulk {
		nc = t.bulk.Load()
	}
	if !t.connected(nc) {
		return errAway
	}
	if token == "" {
		return nc.Publish(t.at(to, tokens[by]), frame)
	}
	return nc.PublishRequest(t.at(to, tokens[by]), t.own(to, tokens[by], token), frame)
}

// at returns the subject of the other end of a stream.
func (t *Transport) at(to flow.Address, channel string) string {
	if t.process != "" {
		return t.server.GatewayStream(to.Process, channel, to.Token)
	}
	return t.server.WorkerStream(to.Process, channel, to.Token)
}

// own returns the subject of this end of a stream.
func (t *Transport) own(to flow.Address, channel, token string) string {
	if t.process != "" {
		return t.server.WorkerStream(t.process, channel, token)
	}
	return t.server.GatewayStream(subjects.Beside(to.Process, t.name), channel, token)
}

// MaxFrame implements [flow.Transport].
func (t *Transport) MaxFrame() int {
	return int(min(t.control.MaxPayload(), t.bulk.Load().MaxPayload()))
}
