package registry

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Service is a registry on NATS: it answers modules and homeservers, and tells both of changes.
type Service struct {
	registry *Registry
	nc       *nats.Conn
	server   subjects.Server
	log      zerolog.Logger
	subs     []*nats.Subscription
	wake     chan struct{} // something may have changed
	open     atomic.Bool   // whether homeservers are told
	cancel   context.CancelFunc
	done     chan struct{}
}

// Serve answers for the registry until Close, which must be called.
func Serve(nc *nats.Conn, serverName string, r *Registry, log zerolog.Logger) (*Service, error) {
	s, err := Prepare(nc, serverName, r, log)
	if err == nil {
		s.Open()
	}
	return s, err
}

// Prepare is Serve that keeps the roster from homeservers until Open: modules can join before anybody is told that there
// are none.
func Prepare(nc *nats.Conn, serverName string, r *Registry, log zerolog.Logger) (*Service, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		registry: r, nc: nc, server: subjects.Of(serverName),
		log:  log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second}), // Whoever can send a message can have one logged.
		wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
	}
	go s.run(ctx)
	for subject, answer := range map[string]func(string, *nats.Msg) (proto.Message, error){
		s.server.EntryAny(): s.entry,
		s.server.JoinAny():  s.join,
		s.server.LeaveAny(): s.leave,
		s.server.Roster():   s.roster,
	} {
		sub, err := nc.Subscribe(subject, func(m *nats.Msg) { s.answer(m, answer) })
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("registry: cannot listen on %s: %w", subject, err)
		}
		s.subs = append(s.subs, sub)
	}
	return s, nc.Flush()
}

// Open tells homeservers of the roster from now on.
func (s *Service) Open() {
	s.open.Store(true)
	s.Wake()
}

// AwaitModules gives modules the time to join, those that busd runs or those that it does not: until nothing is unknown
// of them, or ctx ends. See [Registry.Expects].
func (s *Service) AwaitModules(ctx context.Context, run bool) {
	const pause = 5 * time.Millisecond
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for s.registry.Expects(run) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Recall asks another busd of the homeserver, if there is one, what modules registered, so that the roster does not begin
// as if none had.
func Recall(nc *nats.Conn, serverName string, r *Registry) {
	m, err := nc.Request(subjects.Of(serverName).Roster(), nil, time.Second)
	if err != nil {
		return // There is none, as a rule.
	}
	earlier := &rosterv1.Roster{}
	if proto.Unmarshal(m.Data, earlier) == nil {
		r.Recall(earlier, time.Now())
	}
}

// Close stops answering.
func (s *Service) Close() {
	for _, sub := range s.subs {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
	s.cancel()
	<-s.done
}

// Changed tells modules that their entries have changed, and homeservers of the roster. It does not block.
func (s *Service) Changed(modules []string) {
	for _, name := range modules {
		s.publish(s.server.Changed(name), s.registry.Entry(name, time.Now()))
	}
	s.Wake()
}

// Wake has the roster told if it has changed. It does not block.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // It is already going to be looked at.
	}
}

// run tells of each new roster, in order, and lets time pass.
func (s *Service) run(ctx context.Context) {
	defer close(s.done)
	const second = time.Second
	ticker := time.NewTicker(second)
	defer ticker.Stop()
	told := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.registry.Expire(now)
		case <-s.wake:
		}
		if roster := s.registry.Roster(); s.open.Load() && roster.GetRevision() != told {
			s.publish(s.server.RosterChanged(), roster)
			told = roster.GetRevision()
		}
	}
}

// answer replies in the mapping that it was asked in.
func (s *Service) answer(m *nats.Msg, answer func(module string, m *nats.Msg) (proto.Message, error)) {
	module, _ := subjects.ModuleOf(m.Subject) // Only the roster's subject is about none.
	reply, err := answer(module, m)
	switch {
	case err != nil:
		s.log.Warn().Err(err).Str("module", module).Msg("ignored a message of a module that cannot be read")
		err = s.refuse(m, err)
	case m.Reply != "":
		err = s.send(m.Reply, reply, wire.MappingOf(m))
	}
	if err != nil {
		s.log.Warn().Err(err).Str("module", module).Msg("cannot answer a module")
	}
	s.Wake()
}

// refuse reports a message that cannot be read as a NATS service error.
func (s *Service) refuse(m *nats.Msg, why error) error {
	if m.Reply == "" {
		return nil
	}
	header := nats.Header{wire.HeaderError: {wire.OneLine(why.Error())}, wire.HeaderErrorCode: {"400"}}
	return s.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: header})
}

func (s *Service) publish(subject string, m proto.Message) {
	if err := s.send(subject, m, wire.Binary); err != nil {
		s.log.Warn().Err(err).Str("subject", subject).Msg("cannot publish")
	}
}

func (s *Service) send(subject string, m proto.Message, in wire.Mapping) error {
	data, err := wire.Encode(m, in)
	if err != nil {
		return err
	}
	return s.nc.PublishMsg(&nats.Msg{Subject: subject, Data: data, Header: in.Header()})
}

func (s *Service) entry(module string, _ *nats.Msg) (proto.Message, error) {
	return s.registry.Entry(module, time.Now()), nil
}

func (s *Service) join(module string, m *nats.Msg) (proto.Message, error) {
	join := &rosterv1.Join{}
	if err := wire.DecodeMessage(m, join); err != nil {
		return nil, err
	}
	return s.registry.Join(module, join, time.Now()), nil
}

func (s *Service) leave(module string, m *nats.Msg) (proto.Message, error) {
	leave := &rosterv1.Leave{}
	if err := wire.DecodeMessage(m, leave); err != nil {
		return nil, err
	}
	s.registry.Leave(module, leave.GetWorker(), time.Now())
	return &rosterv1.Joined{Listed: true}, nil
}

// roster answers with nothing when the homeserver has it already, or is not to be told yet.
func (s *Service) roster(_ string, m *nats.Msg) (proto.Message, error) {
	roster := s.registry.Roster()
	have, err := strconv.ParseUint(string(m.Data), 10, 64)
	if !s.open.Load() || err == nil && have >= roster.GetRevision() {
		return &rosterv1.Roster{}, nil
	}
	return roster, nil
}
