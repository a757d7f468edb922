// Package natsline is the [tunnel.Line] over NATS: two connections, so that bodies do not delay what is small, and one
// subscription on each, which never waits for anybody.
package natsline

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/tunnel"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// maxPending is how much of what arrived may wait to be taken. Credit keeps it far below that; what is over it is
// dropped, and ends all streams.
const maxPending = 64 << 20

// beatEvery is how often a side's Beat is called.
const beatEvery = 500 * time.Millisecond

// Side is a gateway or a worker, whose methods these are. None of them may block.
type Side struct {
	Receive func(token string, from tunnel.Address, frame []byte)
	Unheard func(token, process string)
	Lost    func()
	Beat    func(now time.Time)
}

// Line is one side's.
type Line struct {
	control, bulk *nats.Conn
	owned         bool // bulk is ours
	server        subjects.Server
	name          string // of this process
	process       string // a worker's, with its module; a gateway is a process of every module
	subs          []*nats.Subscription
	side          Side
	slow          atomic.Int64
	closing       sync.Once
	stop          chan struct{}
	done          chan struct{}
}

// Gateway returns the line of a gateway with that name, which must be unique. It carries nothing before Open.
func Gateway(nc *nats.Conn, s subjects.Server, name string) *Line { return newLine(nc, s, name, "") }

// Worker returns the line of a worker of a module. It carries nothing before Open.
func Worker(nc *nats.Conn, s subjects.Server, module, name string) *Line {
	return newLine(nc, s, name, subjects.Process(module, name))
}

func newLine(nc *nats.Conn, s subjects.Server, name, process string) *Line {
	return &Line{
		control: nc, bulk: nc, server: s, name: name, process: process,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// Open listens, and returns when the server knows. Close must be called, unless Open fails.
//
// It makes a second connection with the options of the first, but for its callbacks. Where that fails, all goes over
// the first: bodies then delay what is small.
func (l *Line) Open(side Side) error {
	l.side = side
	if bulk, err := second(l.control, l.deliver); err == nil {
		l.bulk, l.owned = bulk, true
	}
	err := errors.Join(l.listen(l.control, subjects.Control), l.listen(l.bulk, subjects.Bulk))
	if err == nil {
		err = errors.Join(l.control.Flush(), l.bulk.Flush())
	}
	if err != nil {
		l.leave()
		return fmt.Errorf("natsline: cannot listen: %w", err)
	}
	go l.run()
	return nil
}

func second(nc *nats.Conn, take deliver) (*nats.Conn, error) {
	o := nc.Opts
	tapped(&o, take)
	o.Name = strings.TrimPrefix(o.Name+" bulk", " ")
	o.ReconnectBufSize = -1
	o.RetryOnFailedConnect = false
	o.ClosedCB, o.DisconnectedCB, o.DisconnectedErrCB, o.ConnectedCB, o.ReconnectedCB = nil, nil, nil, nil, nil
	o.DiscoveredServersCB, o.LameDuckModeHandler, o.ReconnectErrCB = nil, nil, nil
	o.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {} // run finds out.
	return o.Connect()
}

func (l *Line) listen(nc *nats.Conn, channel string) error {
	subject := l.server.GatewayStreams(l.name, channel)
	if l.process != "" {
		subject = l.server.WorkerStreams(l.process, channel)
	}
	sub, err := nc.Subscribe(subject, l.take)
	if err != nil {
		return err
	}
	l.subs = append(l.subs, sub)
	return sub.SetPendingLimits(-1, maxPending)
}

// take is called by the client library, for one message after the other.
func (l *Line) take(m *nats.Msg) {
	_, token := subjects.StreamOf(m.Subject)
	if len(m.Data) == 0 && len(m.Header) > 0 && m.Header.Get("Status") == "503" {
		process, _ := subjects.StreamOf(m.Header.Get("Nats-Subject"))
		l.side.Unheard(token, process)
		return
	}
	if f := wire.FailureOf(m); f != nil {
		l.side.Receive(token, tunnel.Address{}, tunnel.Append(nil, resetOf(f)))
		return
	}
	l.deliver(m.Subject, m.Reply, m.Data)
}

// deliver passes on a frame that came to a subject.
func (l *Line) deliver(subject, reply string, frame []byte) {
	_, token := subjects.StreamOf(subject)
	from := tunnel.Address{}
	if reply != "" {
		from.Process, from.Token = subjects.StreamOf(reply)
	}
	l.side.Receive(token, from, frame)
}

// resetOf is what a worker says with a failure, as to a question.
func resetOf(f *wire.Failure) *tunnel.Reset {
	if f.Kind == rosterv1.FailureKind_BUSY {
		return &tunnel.Reset{Code: tunnel.CodeRefused, Status: 503, Retryable: true, Text: "has too much to do"}
	}
	return &tunnel.Reset{Code: tunnel.CodeAborted, Status: 502, Text: "failed: " + wire.KindName(f.Kind)}
}

// run lets time pass, and looks after the connections.
func (l *Line) run() {
	defer close(l.done)
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	states := l.control.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer l.control.RemoveStatusListener(states)
	bulk := l.bulk.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer l.bulk.RemoveStatusListener(bulk)
	for {
		select {
		case <-l.stop:
			return
		case <-states:
			l.side.Lost()
		case <-bulk:
			l.side.Lost()
		case now := <-ticker.C:
			l.look()
			l.side.Beat(now)
		}
	}
}

// look finds out whether the client library dropped anything. Nobody knows whose it was.
func (l *Line) look() {
	dropped := int64(0)
	for _, sub := range l.subs {
		n, _ := sub.Dropped() // It fails only when the connection is closed.
		dropped += int64(n)
	}
	if l.slow.Swap(dropped) < dropped {
		l.side.Lost()
	}
}

// Dropped is how many messages the client library has dropped. It stays 0, or the bounds of package tunnel are wrong.
func (l *Line) Dropped() int64 { return l.slow.Load() }

// Close stops listening. What is under way is lost. It may be called again.
func (l *Line) Close() {
	l.closing.Do(func() {
		close(l.stop)
		<-l.done
		l.leave()
	})
}

func (l *Line) leave() {
	for _, sub := range l.subs {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
	if l.owned {
		l.bulk.Close()
	}
}

// Flush waits until the server has all that was sent, or the time is up.
func (l *Line) Flush(timeout time.Duration) error {
	return errors.Join(l.control.FlushTimeout(timeout), l.bulk.FlushTimeout(timeout))
}

// errAway says that there is no connection: what is sent now would arrive when nobody waits for it any more.
var errAway = errors.New("natsline: not connected")

// Ask implements [tunnel.Line].
func (l *Line) Ask(to tunnel.Destination, token string, frame []byte) error {
	if !l.control.IsConnected() {
		return errAway
	}
	reply := l.server.GatewayStream(subjects.Process(to.Module, l.name), subjects.Control, token)
	return l.control.PublishRequest(l.server.Web(to.Module, to.Resource), reply, frame)
}

// Send implements [tunnel.Line].
func (l *Line) Send(by tunnel.Channel, to tunnel.Address, token string, frame []byte) error {
	nc, channel := l.control, subjects.Control
	if by == tunnel.Bulk {
		nc, channel = l.bulk, subjects.Bulk
	}
	if !nc.IsConnected() {
		return errAway
	}
	subject, reply := l.subjects(to, channel, token)
	if token == "" {
		return nc.Publish(subject, frame)
	}
	return nc.PublishRequest(subject, reply, frame)
}

func (l *Line) subjects(to tunnel.Address, channel, token string) (subject, reply string) {
	if l.process != "" {
		return l.server.GatewayStream(to.Process, channel, to.Token), l.server.WorkerStream(l.process, channel, token)
	}
	self := subjects.Beside(to.Process, l.name)
	return l.server.WorkerStream(to.Process, channel, to.Token), l.server.GatewayStream(self, channel, token)
}

// MaxFrame implements [tunnel.Line].
func (l *Line) MaxFrame() int { return int(min(l.control.MaxPayload(), l.bulk.MaxPayload())) }
