package modulekit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	busdTimeout = 2 * time.Second // for busd to answer
	retry       = time.Second     // between questions that found no busd, or no entry
)

// membership is a worker's relation to busd: it gets its entry, joins, and leaves.
type membership struct {
	*worker
	changes   chan *nats.Msg
	sub       *nats.Subscription
	connected chan nats.Status // tells when the connection is there again
	service   micro.Service
	refused   *rosterv1.ConfigError // why the latest configuration was refused; nil if it was not
	said      string                // what was last logged about busd, so that it is not logged twice
	problems  []string              // what busd last did not accept, for the same reason
	stale     bool                  // the entry may have changed while this worker could not hear of it
}

func newMembership(w *worker) (*membership, error) {
	m := &membership{worker: w, changes: make(chan *nats.Msg, 16)}
	if err := m.hearChanges(); err != nil {
		return nil, err
	}
	m.connected = w.nc.StatusChanged(nats.CONNECTED)
	var err error
	m.service, err = micro.AddService(w.nc, micro.Config{
		Name:        subjects.ServiceName(w.options.Module),
		Version:     w.version,
		Description: "modulebus module " + w.options.Module,
		Metadata:    map[string]string{"server_name": w.options.ServerName, "module": w.options.Module, "worker": w.options.Worker},
	})
	if err != nil {
		m.close()
		return nil, fmt.Errorf("modulekit: cannot register the service: %w", err)
	}
	return m, nil
}

func (m *membership) close() {
	_ = m.sub.Unsubscribe() // Both fail only when the connection is closed.
	m.nc.RemoveStatusListener(m.connected)
	if m.service != nil {
		_ = m.service.Stop()
	}
}

// awaitEntry waits until busd answers and lists the module, or returns ctx's error when ctx ends.
func (m *membership) awaitEntry(ctx context.Context) (*rosterv1.Entry, error) {
	for {
		entry := &rosterv1.Entry{}
		err := m.ask(ctx, m.server.Entry(m.options.Module), nil, entry)
		if err == nil && entry.GetListed() {
			return entry, nil
		}
		m.say(err, entry.GetListed())
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("modulekit: module %s was stopped before it had an entry: %w", m.options.Module, context.Cause(ctx))
		case <-m.changes:
		case <-time.After(retry):
		}
	}
}

// say logs what the module waits for, once.
func (m *membership) say(err error, listed bool) {
	text := ""
	switch {
	case err != nil:
		text = fmt.Sprintf("busd does not answer for %s: waiting for it (is it running, on this NATS, with this server_name?)", m.options.ServerName)
	case !listed:
		text = fmt.Sprintf("the roster does not list this module, so it is not asked: add \"- module: %s\" to busd.yaml", m.options.Module)
	}
	if text != "" && text != m.said {
		m.options.Log.Warn().Err(err).Msg(text)
	}
	m.said = text
}

// refuse tells busd that the configuration was refused, and returns why.
func (m *membership) refuse(ctx context.Context, entry *rosterv1.Entry, err error) error {
	join := &rosterv1.Join{
		Worker: m.options.Worker, Version: m.version,
		ConfigError: configErrorOf(err), ConfigRevision: entry.GetConfigRevision(),
	}
	return errors.Join(err, m.ask(ctx, m.server.Join(m.options.Module), join, &rosterv1.Joined{}))
}

func configErrorOf(err error) *rosterv1.ConfigError {
	if refused, ok := errors.AsType[*ConfigError](err); ok {
		return &rosterv1.ConfigError{Path: refused.Path, Error: refused.Reason}
	}
	return &rosterv1.ConfigError{Error: err.Error()}
}

// shortest is the least time between two joins, whatever the entry says.
const shortest = 500 * time.Millisecond

// run joins, again and again until ctx ends, and applies changes of the entry.
func (m *membership) run(ctx context.Context, entry *rosterv1.Entry) {
	every := max(wire.FromMilliseconds(entry.GetJoinEveryMs()), shortest)
	for {
		pause := every
		if !m.join(ctx) {
			pause = min(every, retry)
		} else if m.stale {
			m.catchUp(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case msg := <-m.changes:
			changed := &rosterv1.Entry{}
			if wire.DecodeMessage(msg, changed) == nil {
				m.change(changed)
			}
		case <-m.connected:
			m.stale = true
		case <-m.refusals.news:
		case <-time.After(pause):
			m.refusals.tryAgain(ctx, busdTimeout, m.renew)
		}
		m.stale = m.stale || m.refusals.has(m.sub.Subject) // Nobody tells this worker of a new entry.
	}
}

// hearChanges subscribes changes of the entry; instead of the subscription that it had, if there is one.
func (m *membership) hearChanges() error {
	sub, err := m.nc.ChanSubscribe(m.server.Changed(m.options.Module), m.changes)
	if err != nil {
		return fmt.Errorf("modulekit: cannot hear of configuration changes: %w", err)
	}
	if m.sub != nil {
		_ = m.sub.Unsubscribe() // It fails only when the connection is closed.
	}
	m.sub, m.stale = sub, m.sub != nil
	return nil
}

// renew subscribes again what NATS has refused, and reports whether it is a subject of this worker.
func (m *membership) renew(subject string) bool {
	if subject == m.sub.Subject {
		return m.hearChanges() == nil
	}
	return m.questions.Renew(subject) || m.web.renew(subject)
}

// catchUp applies changes of the entry that this worker could not hear of.
func (m *membership) catchUp(ctx context.Context) {
	entry := &rosterv1.Entry{}
	if m.ask(ctx, m.server.Entry(m.options.Module), nil, entry) == nil {
		m.stale = false
		m.change(entry)
	}
}

// join joins, and reports whether busd answered.
func (m *membership) join(ctx context.Context) bool {
	join := proto.CloneOf(m.instance.Load().join)
	join.ConfigError = m.refused
	join.Unserved = m.unserved()
	joined := &rosterv1.Joined{}
	err := m.ask(ctx, m.server.Join(m.options.Module), join, joined)
	if ctx.Err() != nil {
		return true
	}
	m.say(err, joined.GetListed())
	if err == nil && !slices.Equal(joined.GetProblems(), m.problems) {
		m.problems = joined.GetProblems()
		for _, problem := range m.problems {
			m.options.Log.Warn().Msg(problem)
		}
	}
	return err == nil
}

// change applies a new entry. If the configuration is refused, the running instance stays.
func (m *membership) change(entry *rosterv1.Entry) {
	if !entry.GetListed() {
		return // The next join logs it.
	}
	old := m.instance.Load()
	next := newInstance(old.api, m.version, entry)
	if entry.GetConfigRevision() != old.join.GetConfigRevision() {
		var err error
		if next, err = m.build(entry); err != nil {
			m.options.Log.Error().Err(err).Msg("the new configuration was refused; the old one stays")
			m.refused = configErrorOf(err)
			return
		}
		m.options.Log.Info().Msg("took over the new configuration")
	}
	m.refused = nil
	if err := m.swap(next); err != nil {
		m.options.Log.Error().Err(err).Msg("cannot take over the new configuration")
	}
}

func (m *membership) leave() {
	if !m.nc.IsConnected() {
		return // It is logged already.
	}
	ctx, cancel := context.WithTimeout(context.Background(), busdTimeout)
	defer cancel()
	err := m.ask(ctx, m.server.Leave(m.options.Module), &rosterv1.Leave{Worker: m.options.Worker}, &rosterv1.Joined{})
	if err != nil {
		m.options.Log.Debug().Err(err).Msg("busd was not told that this worker leaves")
	}
}

func (m *membership) ask(ctx context.Context, subject string, req, reply proto.Message) error {
	return request(ctx, m.nc, subject, req, reply)
}
