package modulekit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// worker is a module on NATS.
type worker struct {
	nc        *nats.Conn
	options   Options
	version   string
	spans     *spans.Maker
	server    subjects.Server
	build     func(*rosterv1.Entry) (*instance, error)
	instance  atomic.Pointer[instance]
	questions *responder.Responder
	host      *host
	web       web
	requests  context.Context //nolint:containedctx // The context of every request is derived from it.
	candidate *candidate      // for loops that one worker runs
	refusals  *refusals       // of subscriptions, by NATS
	stopLoops func()          // of the instance
}

func newWorker(nc *nats.Conn, o Options, version string, s *spans.Maker) *worker {
	server := subjects.For(o.ServerName)
	return &worker{
		nc: nc, options: o, version: version, spans: s, server: server, host: newHost(nc, o, s), stopLoops: func() {},
		candidate: newCandidate(o.Worker, LeaderLease, newBucket(nc, server, o.Module, true)),
	}
}

// run runs the module until ctx ends, or until the connection is closed for good.
func (w *worker) run(ctx context.Context) error {
	w.refusals = hearRefusals(w.nc)
	defer w.refusals.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	closed := w.nc.StatusChanged(nats.CLOSED)
	defer w.nc.RemoveStatusListener(closed)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-closed:
			cancel(w.lost())
		case <-ctx.Done():
		}
	}()
	err := w.live(ctx)
	cancel(nil)
	<-watched
	if w.nc.IsClosed() && errors.Is(context.Cause(ctx), nats.ErrConnectionClosed) {
		return context.Cause(ctx)
	}
	return err
}

// lost returns why the connection will not come back.
func (w *worker) lost() error {
	err := fmt.Errorf("modulekit: NATS: %w", nats.ErrConnectionClosed)
	if last := w.nc.LastError(); last != nil {
		err = fmt.Errorf("%w: %w", err, last)
	}
	return err
}

// live gets the entry, constructs the module, serves requests and takes over changes, and drains.
func (w *worker) live(ctx context.Context) error {
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
	w.questions = responder.New(w.nc, responder.Options{
		Limit: w.options.Concurrency, Serve: w.serve, Spell: spell, Context: requests, Log: w.options.Log,
		Answers: func(at string) bool { return w.server.MayAnswer(w.options.Module, at) },
	})
	err = w.start(i)
	if err == nil {
		m.run(ctx, entry)
	}
	err = errors.Join(err, w.drain(m, cancel)) //nolint:contextcheck // It drains because ctx has ended.
	w.web.close()
	return err
}

// tell is the [teller] of a module on NATS. It counts as a request, against Concurrency.
func (w *worker) tell(tell func(context.Context), refused func()) {
	w.questions.Do(func() {
		ctx := w.questions.Begin("", patience)
		defer ctx.End()
		tell(ctx)
	}, refused)
}

func (w *worker) start(i *instance) error {
	err := w.questions.Subscribe(w.own(), "")
	if err == nil {
		err = w.questions.Cancels(w.server.Cancel(w.options.Module))
	}
	if err != nil {
		return fmt.Errorf("modulekit: %w", err)
	}
	return w.swap(i)
}

// own is the wildcard subject on which this worker alone is asked.
func (w *worker) own() string { return w.server.WorkerAny(w.options.Module, w.options.Worker) }

// swap makes the instance the one that is asked. It subscribes what the new one registered before it unsubscribes what
// only the old one did, so no request is lost.
func (w *worker) swap(i *instance) error {
	if old := w.instance.Swap(i); old == nil || old.api != i.api {
		w.stopLoops()
		i.api.tell = w.tell
		w.stopLoops = i.api.startLoops(w.requests, w.candidate)
		if old != nil {
			i.api.adoptFollowUps(old.api)
		}
	}
	for _, subject := range i.queues {
		if err := w.subscribe(subject, i.targets[subject]); err != nil {
			return err
		}
	}
	w.questions.Retain(append(i.queues, w.own())...)
	w.web.retain(i.queues...)
	return w.nc.Flush()
}

// unserved returns the callbacks and paths of the instance that NATS does not let this worker serve, and why.
func (w *worker) unserved() map[string]string {
	unserved := map[string]string{}
	i := w.instance.Load()
	for _, subject := range w.refusals.all() {
		if t, ok := i.targets[subject]; ok {
			unserved[t.name] = "NATS does not let this worker subscribe " + subject
		}
	}
	return unserved
}

func (w *worker) subscribe(subject string, t target) error {
	by := w.questions
	if t.web != nil {
		if err := w.web.open(w); err != nil {
			return err
		}
		by = w.web.requests
	}
	if err := by.Subscribe(subject, subjects.Group(w.options.Module)); err != nil {
		return fmt.Errorf("modulekit: %w", err)
	}
	return nil
}

// serve answers one request. If this worker does not register the callback, it answers as if it were busy, so that
// another worker gets the request: the worker was asked by name, and other workers of the module may be of another
// version.
func (w *worker) serve(m *nats.Msg) responder.Answer {
	t := w.instance.Load().targets[m.Subject]
	if t.read != nil {
		return w.readDecisions(t.read, m)
	}
	if t.handler.call == nil {
		return spell(responder.Trouble{Cause: responder.Busy, Text: "this worker does not register the callback"})
	}
	ctx := w.questions.Begin(m.Reply, wire.Timeout(m, t.timeout))
	defer ctx.End()
	spanned, span := w.spans.Serve(ctx, m, t.name)
	defer span.End()
	span.Of(w.options.Module, w.options.Worker)
	in := wire.MappingOf(m)
	question, failed := w.question(spanned, m)
	var reply []byte
	if failed == nil {
		reply, failed = t.handler.handle(withNews(spanned, m), question, in, w.options.Log)
	}
	if failed != nil {
		span.Fail(wire.KindName(failed.Kind))
		return responder.Answer{Header: failed.Header()}
	}
	return responder.Answer{Header: in.Header(), Data: reply}
}

// spell makes an answer of a failure of the worker, such as too many requests.
func spell(t responder.Trouble) responder.Answer {
	f := wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: t.Text}
	switch t.Cause {
	case responder.Busy:
		f.Kind = rosterv1.FailureKind_BUSY
	case responder.Panicked:
		f.Kind = rosterv1.FailureKind_PANIC
	case responder.TooLarge:
	}
	return responder.Answer{Header: f.Header()}
}

// heardOf is how long after busd knows that this worker leaves it may still be asked by name: by whoever has not been told yet, and
// by what is on its way between servers of NATS. A server drops a question to a name that it knows no more, and tells nobody.
const heardOf = 200 * time.Millisecond

// drain takes no more requests, tells busd so, and waits for the requests under way. A request that NATS has already
// sent to this worker is under way, too: no other worker gets it.
func (w *worker) drain(m *membership, cancel context.CancelFunc) error {
	until := time.Now().Add(w.options.DrainTimeout)
	w.questions.Retain(w.own())
	w.web.retain()
	_ = w.flush(busdTimeout) // Now all requests have arrived but those by name.
	m.leave()
	w.stopLoops()
	if i := w.instance.Load(); i != nil {
		i.api.stopFollowUps()
	}
	if w.nc.IsConnected() {
		within(nil, min(heardOf, time.Until(until)))
	}
	w.questions.Retain()
	_ = w.flush(busdTimeout)
	ended := w.questions.Stop()
	w.web.drain(until)
	if !within(ended, time.Until(until)) {
		cancel() // The handlers' contexts end, and they have one more second.
		if !within(ended, time.Second) {
			return fmt.Errorf("modulekit: requests of module %s were still under way %v after it was told to stop", w.options.Module, w.options.DrainTimeout)
		}
	}
	if err := w.flush(time.Second); err != nil {
		return fmt.Errorf("modulekit: cannot send the last answers: %w", err)
	}
	return nil
}

// flush waits until NATS has received everything that was sent, and has delivered everything for this worker. Without a
// connection it returns at once.
func (w *worker) flush(most time.Duration) error {
	if !w.nc.IsConnected() {
		return nil
	}
	return w.nc.FlushTimeout(most)
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
