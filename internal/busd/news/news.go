package news

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// makeTimeout is how long JetStream may take to make the streams of all modules. Beyond: that is an error.
	makeTimeout = 10 * time.Second

	// look is how often it is looked at how much there is, and whether another busd has left a module's news to this one.
	look = 2 * time.Second
)

// Options say where news is, and how modules are.
type Options struct {
	// Conn is the connection to NATS, which stays the caller's. Required.
	Conn *nats.Conn

	// ServerName is the homeserver's. Required.
	ServerName string

	// Replicas is how many servers of a cluster keep each piece of news. Default: three where there are as many, else one.
	Replicas int

	// Alone says that no other busd uses this NATS.
	Alone bool

	// Log is told of news that is given up, of modules that do not handle theirs, and of JetStream's errors.
	Log zerolog.Logger
}

// Roster brings a roster that is later than a revision, or ends with ctx: see [bus.Client.AwaitRoster].
type Roster func(ctx context.Context, after uint64) (*rosterv1.Roster, error)

// Backlog is the news of one module that it has not handled.
type Backlog struct {
	News    uint64    // how many
	Oldest  time.Time // when the first of them was stored; zero for none
	Failure string    // why the last one that was told was not handled; empty since one was
	Handled uint64    // since this busd started, by this busd
	GivenUp uint64    // the same, of those that became too old
}

// Service keeps the news of modules, and tells it. Its methods may be called concurrently.
type Service struct {
	Options
	server subjects.Server
	js     jetstream.JetStream
	name   string // of this busd

	mu      sync.Mutex // guards what follows
	tellers map[string]*teller
	roster  Roster
}

// New returns a service that keeps nobody's news. Close must be called.
func New(o Options) (*Service, error) {
	js, err := jetstream.New(o.Conn, jetstream.WithDefaultTimeout(makeTimeout))
	if err != nil {
		return nil, err
	}
	return &Service{Options: o, server: subjects.For(o.ServerName), js: js, name: nuid.Next(), tellers: map[string]*teller{}}, nil
}

// Prepare has JetStream ready for the news of the modules, before anybody is told to store it. Its errors, joined, say for each
// module why it cannot be. It blocks for ten seconds at most, or until ctx ends.
func (s *Service) Prepare(ctx context.Context, modules []config.Module) error {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	var problems []error
	for i := range modules {
		if modules[i].KeepsNews() {
			_, err := s.open(ctx, modules[i].Name)
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// Start has modules told. Until then their news is only kept.
func (s *Service) Start(r Roster, modules []config.Module) {
	s.mu.Lock()
	s.roster = r
	s.mu.Unlock()
	s.Configure(modules)
}

// Configure takes over the operator's list. News that was stored for a module is told as long as the list has it, also when
// nothing more is stored.
func (s *Service) Configure(modules []config.Module) {
	kept := s.kept()
	s.mu.Lock()
	defer s.mu.Unlock()
	told := map[string]bool{}
	for _, m := range modules {
		if m.KeepsNews() || s.tellers[m.Name] != nil || slices.Contains(kept, s.server.NewsStream(m.Name)) {
			told[m.Name] = true
			s.tell(m)
		}
	}
	for name, t := range s.tellers {
		if !told[name] {
			delete(s.tellers, name)
			t.stop()
		}
	}
}

// kept are the streams with news that there are already, as far as JetStream says.
func (s *Service) kept() (names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), makeTimeout)
	defer cancel()
	list := s.js.StreamNames(ctx, jetstream.WithStreamListSubject(s.server.NewsOfAll()))
	for name := range list.Name() {
		names = append(names, name)
	}
	return names
}

// tell has the module told, by what the list says of it now.
func (s *Service) tell(m config.Module) {
	if t := s.tellers[m.Name]; t != nil {
		t.module.Store(&m)
		return
	}
	s.tellers[m.Name] = s.newTeller(m)
}

// Backlogs is what modules have not handled, by module. Modules for which nothing is or was kept are not there.
func (s *Service) Backlogs() map[string]Backlog {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]Backlog{}
	for name, t := range s.tellers {
		all[name] = t.known()
	}
	return all
}

// Close stops telling, after what is being told, for five seconds at most. What is not handled by then is told again.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tellers {
		t.cancel()
	}
	for _, t := range s.tellers {
		t.owned.Wait()
	}
	clear(s.tellers)
}
