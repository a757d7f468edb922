package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/subjects"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// patience is how long anything may take to be ready, or to end.
const patience = 30 * time.Second

// stage is where a row is measured: a NATS server, and all that the row puts there. What is opened on it, close closes,
// the last first.
type stage struct {
	server  *server.Server
	url     string
	inside  bool // the homeserver's client is in the NATS server's process, as in a busd with NATS inside
	options []nats.Option
	keys    *identity.Keys // of the users that the server knows; nil for one that lets everybody in
	closers []func() error
}

// newStage starts the NATS server that both sides use, listening on TCP.
func newStage() (*stage, error) {
	s := &stage{}
	if err := s.launch(&server.Options{}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// launch makes another NATS server the one that is used, listening on TCP.
func (s *stage) launch(o *server.Options) error {
	o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	srv, err := server.NewServer(o)
	if err != nil {
		return err
	}
	go srv.Start()
	s.onClose(func() error { srv.Shutdown(); srv.WaitForShutdown(); return nil })
	if !srv.ReadyForConnections(patience) {
		return errors.New("the NATS server does not start")
	}
	s.server, s.url = srv, srv.ClientURL()
	return nil
}

func (s *stage) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *stage) close() error {
	var errs []error
	for _, f := range slices.Backward(s.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// connect returns a connection of its own, for each part of each side the same kind.
func (s *stage) connect(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(s.url, slices.Concat(s.options, opts, []nats.Option{nats.ReconnectBufSize(-1)})...)
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { nc.Close(); return nil })
	return nc, nil
}

// connectAs is connect as a user of the bus, where the server knows them.
func (s *stage) connectAs(u identity.User, opts ...nats.Option) (*nats.Conn, error) {
	if s.keys == nil {
		return s.connect(opts...)
	}
	login, err := s.keys.Login(u)
	if err != nil {
		return nil, err
	}
	return s.connect(append(opts, login)...)
}

// homeserver is our side: a roster, and the client that goes by it.
type homeserver struct {
	stage  *stage
	name   string
	roster *roster.Roster
	client *bus.Client
}

// newHomeserver serves a roster that lists the modules, and connects a client with metrics.
func newHomeserver(s *stage, name string, modules ...string) (*homeserver, error) {
	var list []config.Module
	for _, m := range modules {
		list = append(list, config.Module{Name: m, Timeout: config.DefaultTimeout})
	}
	return newHomeserverOf(s, name, list...)
}

// newHomeserverOf is newHomeserver with all that the operator says of the modules.
func newHomeserverOf(s *stage, name string, list ...config.Module) (*homeserver, error) {
	return newHomeserverWith(s, bus.Options{ServerName: name}, list...)
}

// newHomeserverWith is newHomeserverOf with a client that has options.
func newHomeserverWith(s *stage, o bus.Options, list ...config.Module) (*homeserver, error) {
	name := o.ServerName
	h := &homeserver{stage: s, name: name, roster: roster.New()}
	h.roster.Configure(list, config.DefaultBudget, time.Now())
	nc, err := s.connectAs(identity.Busd)
	if err != nil {
		return nil, err
	}
	service, err := roster.Serve(nc, name, h.roster, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { service.Close(); return nil })
	var opts []nats.Option
	if s.inside {
		opts = append(opts, nats.InProcessServer(s.server))
	}
	if nc, err = s.connectAs(identity.Homeserver, opts...); err != nil {
		return nil, err
	}
	o.Registerer = prometheus.NewRegistry()
	h.client, err = bus.New(context.Background(), nc, o)
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { h.client.Close(); return nil })
	return h, nil
}

// module runs a module, on a connection of its own, and returns when the client would ask it.
func (h *homeserver) module(name string, register func(*modulekit.ModuleAPI)) error {
	if err := h.start(name, register); err != nil {
		return err
	}
	return h.await(name, 1)
}

// start runs one more worker of a module, on a connection of its own.
func (h *homeserver) start(name string, register func(*modulekit.ModuleAPI)) error {
	inbox := nats.CustomInboxPrefix(subjects.For(h.name).Inbox(name, "worker"))
	nc, err := h.stage.connectAs(identity.Module(name), inbox)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	m := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error { register(api); return nil }}
	go func() { ended <- modulekit.Run(ctx, nc, m, modulekit.Options{ServerName: h.name, Module: name}) }()
	h.stage.onClose(func() error { cancel(); return <-ended })
	return nil
}

// await waits until the client knows that the module has joined, with that many workers.
func (h *homeserver) await(name string, workers int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		i := slices.IndexFunc(h.roster.Modules(), func(m roster.Status) bool { return m.Name == name })
		revision := h.roster.Snapshot().GetRevision()
		if i >= 0 && h.roster.Modules()[i].Workers == workers {
			_, err := h.client.AwaitRoster(ctx, revision-1)
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("module %s has not joined with %d workers", name, workers)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
