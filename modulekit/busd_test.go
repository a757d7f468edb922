package modulekit

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/busd/store"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

const serverName = "example.com"

// longEnough is how long anything may take that is waited for.
const longEnough = 30 * time.Second

// busd is what modules know of busd: a roster, and stores, on a NATS of its own.
type busd struct {
	*testing.T
	home    *natstest.Home
	nc      *nats.Conn
	roster  *roster.Roster
	service *roster.Service
	store   *store.Service
}

func startBusd(t *testing.T, modules ...config.Module) *busd {
	t.Helper()
	return busdOn(t, natsWithStore(t), modules...)
}

func busdOn(t *testing.T, home *natstest.Home, modules ...config.Module) *busd {
	t.Helper()
	b := &busd{T: t, home: home, roster: roster.New()}
	b.nc = natstest.Connect(t, home)
	log := zerolog.New(zerolog.NewTestWriter(t))
	b.configure(modules...)
	var err error
	if b.service, err = roster.Serve(b.nc, serverName, b.roster, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.service.Close)
	listed := func(module string) bool { return b.roster.Entry(module, time.Now()).GetListed() }
	if b.store, err = store.Serve(store.Options{Conn: b.nc, ServerName: serverName, Listed: listed, Log: &log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.store.Close)
	return b
}

// natsWithStore starts NATS with JetStream.
func natsWithStore(t *testing.T) *natstest.Home {
	t.Helper()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	return &natstest.Home{Servers: []*server.Server{s}}
}

func (b *busd) configure(modules ...config.Module) (changed []string) {
	for i := range modules {
		if modules[i].Timeout == 0 {
			modules[i].Timeout = longEnough
		}
	}
	return b.roster.Configure(modules, wire.DefaultBudget, time.Now())
}

// running is a module that runs.
type running struct {
	*testing.T
	stop  func() error
	ended chan struct{} // closed when Run has returned
	lines *waittest.Log
	nc    *nats.Conn
}

// run runs a module on a connection of its own until the test ends, or stop is called.
func run[C any](b *busd, m Module[C], o Options, opts ...nats.Option) *running {
	b.Helper()
	return runOn(b.T, natstest.Connect(b.T, b.home, opts...), m, o)
}

func runOn[C any](t *testing.T, nc *nats.Conn, m Module[C], o Options) *running {
	t.Helper()
	r := &running{T: t, ended: make(chan struct{}), lines: &waittest.Log{}, nc: nc}
	log := zerolog.New(r.lines)
	o.ServerName, o.Log = serverName, &log
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	go func() {
		defer close(r.ended)
		err = Run(ctx, nc, m, o)
	}()
	r.stop = func() error { cancel(); <-r.ended; return err }
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// joined waits until the module has that many workers that registered a callback.
func (b *busd) joined(module string, workers int) {
	b.Helper()
	waittest.Until(b.T, module+" joins", func() bool {
		for _, m := range b.roster.Snapshot().GetModules() {
			if m.GetName() == module {
				return len(m.GetWorkers()) == workers && len(m.GetCallbacks())+len(m.GetWebResources()) > 0
			}
		}
		return false
	})
}

// create asks a module whether a user may create a room, in a mapping.
func (b *busd) create(module, user string, in wire.Mapping) *nats.Msg {
	b.Helper()
	return b.ask(b.subject(module), &callbacksv1.UserMayCreateRoomRequest{UserId: user}, in)
}

func (b *busd) subject(module string) string {
	return subjects.For(serverName).Callback(subjects.UserMayCreateRoom.Declaration, module)
}

func (b *busd) ask(subject string, req proto.Message, in wire.Mapping) *nats.Msg {
	b.Helper()
	data, err := wire.Encode(req, in)
	if err != nil {
		b.Fatal(err)
	}
	m, err := b.nc.RequestMsg(&nats.Msg{Subject: subject, Data: data, Header: in.Header()}, longEnough)
	if err != nil {
		b.Fatalf("%s: %v", subject, err)
	}
	return m
}

func (r *running) says(text string) {
	r.Helper()
	waittest.Until(r.T, "the log says: "+text, func() bool { return r.lines.Has(text) })
}

type (
	create  = callbacksv1.UserMayCreateRoomRequest
	created = callbacksv1.UserMayCreateRoomResponse
)

// gate is a module that answers user_may_create_room.
func gate(answer func(context.Context, *create) (*created, error)) Module[struct{}] {
	return Module[struct{}]{Version: "1.2.3", New: func(_ struct{}, api *ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(SpamCheckerCallbacks{UserMayCreateRoom: answer})
		return nil
	}}
}

func refuses(errcode string) func(context.Context, *create) (*created, error) {
	return func(context.Context, *create) (*created, error) { return &created{Refusal: Refuse(errcode, "no")}, nil }
}

func errcode(t *testing.T, m *nats.Msg) string {
	t.Helper()
	if f := wire.FailureOf(m); f != nil {
		return f.Error()
	}
	answer := &created{}
	if err := wire.DecodeMessage(m, answer); err != nil {
		t.Fatal(err)
	}
	return answer.GetRefusal().GetErrcode()
}

var errNo = errors.New("no")

// wantErr fails the test unless err is what is wanted.
func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
