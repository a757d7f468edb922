package modulekit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/pool"
	"github.com/modulebus/modulebus/internal/running"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// worker is a module on NATS.
type worker struct {
	nc        *nats.Conn
	options   Options
	version   string
	server    subjects.Server
	build     func(*rosterv1.Entry) (*instance, error)
	instance  atomic.Pointer[instance]
	subs      map[string]*nats.Subscription // of the queue group
	named     *nats.Subscription            // requests for this worker alone
	own       []*nats.Subscription          // what else is for this worker alone
	pool      *pool.Pool
	web       web
	requests  context.Context //nolint:containedctx // Every request's is derived from it.
	running   running.Set
	stopLoops func() // of the instance
}

func newWorker(nc *nats.Conn, o Options, version string) *worker {
	return &worker{
		nc: nc, options: o, version: version,
		server: subjects.Of(o.ServerName), subs: map[string]*nats.Subscription{}, stopLoops: func() {},
	}
}

// run lives the life of a module: entry, instance, requests and changes, drain.
func (w *worker) run(ctx context.Context) error {
	m, err := newMembership(w)
	if err != nil {
		return err
	}
	defer m.close()
	entry, err := m.awaitEntry(ctx)
	if err != nil {
		return err
	}
	i, err := w.build(entry)
	if err != nil {
		return m.refuse(ctx, entry, err)
	}
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	w.requests = requests
	w.pool = pool.Answering(w.options.Concurrency, w.serve, w.respond, w.busy)
	err = w.start(i)
	if err == nil {
		m.follow(ctx, entry)
	}
	err = errors.Join(err, w.drain(m, cancel)) //nolint:contextcheck // ctx has ended, and that is why it drains.
	w.web.close()
	return err
}

func (w *worker) start(i *instance) error {
	own := w.server.WorkerAny(w.options.Module, w.options.Worker)
	requests, err := w.nc.ChanSubscribe(own, w.pool.Work)
	if err != nil {
		return fmt.Errorf("modulekit: cannot subscribe %s: %w", own, err)
	}
	w.named = requests
	cancel := w.server.Cancel(w.options.Module)
	cancels, err := w.nc.Subscribe(cancel, func(m *nats.Msg) { w.running.Cancel(string(m.Data)) })
	if err != nil {
		return fmt.Errorf("modulekit: cannot subscribe %s: %w", cancel, err)
	}
	w.own = append(w.own, cancels)
	return w.swap(i)
}

// swap makes the instance the one that is asked. It subscribes what the new one registered before it unsubscribes what
// only the old one did, so no request is lost.
func (w *worker) swap(i *instance) error {
	if old := w.instance.Swap(i); old == nil || old.api != i.api {
		w.stopLoops()
		w.stopLoops = i.api.startLoops(w.requests)
		if old != nil {
			i.api.adoptFollowUps(old.api)
		}
	}
	for _, subject := range i.queues {
		if err := w.subscribe(subject, i.targets[subject]); err != nil {
			return err
		}
	}
	for subject, sub := range w.subs {
		if !slices.Contains(i.queues, subject) {
			_ = sub.Drain() // It fails only when the connection is closed.
			delete(w.subs, subject)
		}
	}
	return w.nc.Flush()
}

func (w *worker) subscribe(subject string, t target) error {
	if w.subs[subject] != nil {
		return nil
	}
	work := w.pool.Work
	if t.web != nil {
		if err := w.web.open(w); err != nil {
			return err
		}
		work = w.web.pool.Work
	}
	sub, err := w.nc.ChanQueueSubscribe(subject, subjects.Group(w.options.Module), work)
	if err != nil {
		return fmt.Errorf("modulekit: cannot subscribe %s: %w", subject, err)
	}
	w.subs[subject] = sub
	return nil
}

// serve answers one request. Who leaves a callback out has no opinion on it.
func (w *worker) serve(m *nats.Msg) (nats.Header, []byte) {
	t := w.instance.Load().targets[m.Subject]
	if t.handler.call == nil {
		return nil, nil
	}
	ctx := newRequest(w.requests, wire.Timeout(m, t.timeout))
	defer ctx.end()
	defer w.running.Add(m.Reply, ctx.end)()
	mapping := wire.MappingOf(m)
	reply, failed := t.handler.handle(ctx, m.Data, mapping, w.options.Log)
	if failed != nil {
		return failed.Header(), nil
	}
	return mapping.Header(), reply
}

func (w *worker) busy(m *nats.Msg) {
	f := wire.Failure{Kind: rosterv1.FailureKind_BUSY, Text: fmt.Sprintf("%d requests are under way", w.options.Concurrency)}
	w.respond(m, f.Header(), nil)
}

func (w *worker) respond(m *nats.Msg, h nats.Header, data []byte) {
	if m.Reply == "" {
		return
	}
	err := w.publish(m.Reply, h, data)
	if errors.Is(err, nats.ErrMaxPayload) {
		f := wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: fmt.Sprintf("the answer of %d bytes is larger than the server's max_payload", len(data))}
		err = w.publish(m.Reply, f.Header(), nil)
	}
	if err != nil {
		w.options.Log.Warn().Err(err).Int("bytes", len(data)).Msg("cannot answer")
	}
}

func (w *worker) publish(subject string, h nats.Header, data []byte) error {
	if h == nil {
		return w.nc.Publish(subject, data)
	}
	return w.nc.PublishMsg(&nats.Msg{Subject: subject, Header: h, Data: data})
}

// drain stops taking requests, says so, and waits for those under way. A request that NATS gave to this worker before it
// knew is under way, too: nobody else gets it.
func (w *worker) drain(m *membership, cancel context.CancelFunc) error {
	for _, sub := range w.subs {
		_ = sub.Drain() // It fails only when the connection is closed.
	}
	if w.named != nil {
		_ = w.named.Drain()
	}
	_ = w.flush(busdTimeout) // Now all of them have arrived.
	m.leave()
	w.stopLoops()
	defer w.instance.Load().api.stopFollowUps()
	defer w.disown()
	ended := w.pool.Stop()
	w.web.drain(w.options.DrainTimeout)
	if !within(ended, w.options.DrainTimeout) {
		cancel() // Handlers see their contexts end, and have a last second.
		if !within(ended, time.Second) {
			return fmt.Errorf("modulekit: requests of module %s were still under way %v after it was told to stop", w.options.Module, w.options.DrainTimeout)
		}
	}
	if err := w.flush(time.Second); err != nil {
		return fmt.Errorf("modulekit: cannot send the last answers: %w", err)
	}
	return nil
}

// flush waits until NATS has taken, and brought, what there is. Where NATS is away, there is nobody to wait for.
func (w *worker) flush(most time.Duration) error {
	if !w.nc.IsConnected() {
		return nil
	}
	return w.nc.FlushTimeout(most)
}

func (w *worker) disown() {
	for _, sub := range w.own {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
}

func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
