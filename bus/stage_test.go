package bus_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const serverName = "example.com"

var names = subjects.For(serverName)

// stage is a homeserver and its modules on a real NATS, with everything real but the processes.
type stage struct {
	*bus.Client

	t    *testing.T
	home *natstest.Home
	nc   *nats.Conn // the homeserver's
}

// entry is a module of the operator's list that may take as long as it wants, so that no test waits for a timeout.
func entry(name string) config.Module {
	return config.Module{Name: name, Config: json.RawMessage("{}"), Timeout: time.Hour}
}

// newStage returns a homeserver with these modules listed. None of them runs yet.
func newStage(t *testing.T, home *natstest.Home, modules ...config.Module) *stage {
	t.Helper()
	return newStageWith(t, home, bus.Options{}, modules...)
}

func newStageWith(t *testing.T, home *natstest.Home, o bus.Options, modules ...config.Module) *stage {
	t.Helper()
	r := roster.New()
	r.Configure(modules, time.Hour, time.Now())
	service, err := roster.Serve(natstest.Connect(t, home), serverName, r, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	natstest.AwaitInterest(t, home, names.Roster())
	natstest.AwaitInterest(t, home, names.Entry("any"))
	natstest.AwaitInterest(t, home, names.Join("any"))
	s := &stage{t: t, home: home, nc: natstest.Connect(t, home)}
	o.ServerName = serverName
	if s.Client, err = bus.New(t.Context(), s.nc, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// run runs a worker of a module, and returns when the homeserver knows of it.
func (s *stage) run(name, worker string, register func(*modulekit.ModuleAPI)) (stop func()) {
	s.t.Helper()
	return s.runWith(name, modulekit.Options{Worker: worker}, register)
}

func (s *stage) runWith(name string, o modulekit.Options, register func(*modulekit.ModuleAPI)) (stop func()) {
	s.t.Helper()
	o.ServerName, o.Module = serverName, name
	worker := o.Worker
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	m := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		register(api)
		return nil
	}}
	nc := natstest.Connect(s.t, s.home)
	go func() { ended <- modulekit.Run(ctx, nc, m, o) }()
	var once sync.Once
	end := func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("worker %s of %s: %v", worker, name, err)
		}
	}
	s.t.Cleanup(func() { once.Do(end) })
	for _, i := range s.until(name, func(m *rosterv1.Module) bool { return slices.Contains(m.GetWorkers(), worker) }).GetCallbacks() {
		d, _ := subjects.Find(i.GetCallback())
		natstest.AwaitInterest(s.t, s.home, names.Callback(d, name))
		natstest.AwaitInterest(s.t, s.home, names.Worker(d, name, worker))
		natstest.AwaitInterest(s.t, s.home, names.Cancel(name))
	}
	return func() {
		once.Do(end)
		s.until(name, func(m *rosterv1.Module) bool { return !slices.Contains(m.GetWorkers(), worker) })
	}
}

// until waits for the roster to say something of a module.
func (s *stage) until(name string, is func(*rosterv1.Module) bool) *rosterv1.Module {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for r := s.Roster(); ; {
		for _, m := range r.GetModules() {
			if m.GetName() == name && is(m) {
				return m
			}
		}
		var err error
		if r, err = s.AwaitRoster(ctx, r.GetRevision()); err != nil {
			s.t.Fatalf("the roster says %v", r)
		}
	}
}

// spy hears what is sent, on a single server.
type spy struct {
	*stage

	nc  *nats.Conn
	sub *nats.Subscription
}

func (s *stage) spy(subject string) *spy {
	s.t.Helper()
	nc := natstest.Connect(s.t, s.home)
	sub, err := nc.SubscribeSync(subject)
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return &spy{s, nc, sub}
}

// heard returns what the homeserver has sent so far and was not returned before.
func (s *spy) heard() (heard []*nats.Msg) {
	s.t.Helper()
	if err := s.stage.nc.Flush(); err != nil { // The server has it,
		s.t.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil { // and has sent it here.
		s.t.Fatal(err)
	}
	n, _, err := s.sub.Pending()
	for ; n > 0 && err == nil; n-- {
		var m *nats.Msg
		if m, err = s.sub.NextMsg(time.Minute); err == nil {
			heard = append(heard, m)
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return heard
}
