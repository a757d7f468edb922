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
	// makeTimeout is how long JetStream may take to make the streams of all modules. Beyond: it is an error.
	makeTimeout = 10 * time.Second

	// look is how often a busd looks how much news there is, and whether another busd has stopped delivering a module's
	// news.
	look = 2 * time.Second
)

// Options configure a [Service].
type Options struct {
	// Conn is the connection to NATS, which stays the caller's. Required.
	Conn *nats.Conn

	// ServerName is the homeserver's. Required.
	ServerName string

	// Replicas is how many servers of a cluster keep each piece of news. Default: three if there are that many, otherwise
	// one.
	Replicas int

	// Alone tells that no other busd uses this NATS.
	Alone bool

	// Log gets lines about news that is given up, modules that do not handle news, and JetStream's errors.
	Log zerolog.Logger
}

// Roster waits for a roster that is later than a revision, until ctx ends: see [bus.Client.AwaitRoster].
type Roster func(ctx context.Context, after uint64) (*rosterv1.Roster, error)

// Backlog is the news of one module that it has not handled.
type Backlog struct {
	News    uint64    // how many
	Oldest  time.Time // when the first of them was stored; zero for none
	Failure string    // why the last delivered piece was not handled; empty if it was
	Handled uint64    // how many were handled, through this busd and since its start
	GivenUp uint64    // how many became too old, since its start
}

// Service stores the news of modules, and delivers it. Its methods may be called concurrently.
type Service struct {
	Options
	server subjects.Server
	js     jetstream.JetStream
	name   string // of this busd

	mu      sync.Mutex // guards what follows
	tellers map[string]*teller
	roster  Roster
}

// New returns a service without modules. Close must be called.
func New(o Options) (*Service, error) {
	js, err := jetstream.New(o.Conn, jetstream.WithDefaultTimeout(makeTimeout))
	if err != nil {
		return nil, err
	}
	return &Service{Options: o, server: subjects.For(o.ServerName), js: js, name: nuid.Next(), tellers: map[string]*teller{}}, nil
}

// Prepare makes the streams for the modules' news, before homeservers are told to store any. The error joins those of
// all modules whose streams cannot be made. It blocks for at most ten seconds, or until ctx ends.
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

// Start begins to deliver news. Until then it is only stored.
func (s *Service) Start(r Roster, modules []config.Module) {
	s.mu.Lock()
	s.roster = r
	s.mu.Unlock()
	s.Configure(modules)
}

// Configure applies the operator's list. Stored news of a module is delivered as long as the module is on the list,
// even if no more is stored.
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

// kept returns the streams with news that exist already, if JetStream answers.
func (s *Service) kept() (names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), makeTimeout)
	defer cancel()
	list := s.js.StreamNames(ctx, jetstream.WithStreamListSubject(s.server.NewsOfAll()))
	for name := range list.Name() {
		names = append(names, name)
	}
	return names
}

// tell begins to deliver the module's news, or applies its new entry.
func (s *Service) tell(m config.Module) {
	if t := s.tellers[m.Name]; t != nil {
		t.module.Store(&m)
		return
	}
	s.tellers[m.Name] = s.newTeller(m)
}

// Backlogs returns what modules have not handled, by module. Modules for which nothing is or was stored are left out.
func (s *Service) Backlogs() map[string]Backlog {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]Backlog{}
	for name, t := range s.tellers {
		all[name] = t.known()
	}
	return all
}

// Close stops. It waits for deliveries under way, for five seconds at most. News that is not handled by then is
// delivered again.
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

// consumer is the configuration of this busd's consumer.
func (s *Service) consumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: consumer, Description: s.name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: window,
		InactiveThreshold: absence,
	}
}

func (s *Service) newTeller(m config.Module) *teller {
	ctx, cancel := context.WithCancel(context.Background())
	t := &teller{
		service: s, name: m.Name, changed: make(chan struct{}, 1), cancel: cancel,
		log: s.Log.With().Str("module", m.Name).Logger(),
	}
	t.blames = t.log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second})
	t.module.Store(&m)
	t.roster.Store(&rosterv1.Module{})
	t.owned.Go(func() { t.follow(ctx, s.roster) })
	t.owned.Go(func() { t.run(ctx) })
	return t
}
