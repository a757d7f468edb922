package news_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/news"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	serverName = "example.com"
	patience   = 60 * time.Second
)

var at = subjects.For(serverName)

// stage is a bus on which news of one module is kept.
type stage struct {
	*testing.T
	home   *natstest.Home
	nc     *nats.Conn // of the homeserver, and of the module
	js     jetstream.JetStream
	roster *rosters
}

func newStage(t *testing.T) *stage { t.Helper(); return stageOn(t, &server.Options{}) }

// stageOn is one whose NATS is as the options say.
func stageOn(t *testing.T, o *server.Options) *stage {
	t.Helper()
	o.JetStream, o.StoreDir = true, t.TempDir()
	home := &natstest.Home{Servers: []*server.Server{natstest.Start(t, o)}}
	s := &stage{T: t, home: home, nc: natstest.Connect(t, home), roster: newRosters()}
	var err error
	if s.js, err = jetstream.New(s.nc); err != nil {
		t.Fatal(err)
	}
	return s
}

// rosters is a roster that changes.
type rosters struct {
	mu      sync.Mutex
	now     *rosterv1.Roster
	changed chan struct{}
}

func newRosters() *rosters {
	return &rosters{now: &rosterv1.Roster{Revision: 1, Modules: []*rosterv1.Module{{Name: "archive"}}}, changed: make(chan struct{})}
}

// change makes a later roster, as when a worker joins.
func (r *rosters) change(m *rosterv1.Module) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.Name = "archive"
	r.now = &rosterv1.Roster{Revision: r.now.GetRevision() + 1, Modules: []*rosterv1.Module{m}}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *rosters) await(ctx context.Context, after uint64) (*rosterv1.Roster, error) {
	for {
		r.mu.Lock()
		now, changed := r.now, r.changed
		r.mu.Unlock()
		if now.GetRevision() > after {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, ctx.Err()
		}
	}
}

func archive(change func(*config.Module)) []config.Module {
	m := config.Module{Name: "archive", AtLeastOnce: true, DeliverFor: time.Hour, Timeout: time.Second}
	if change != nil {
		change(&m)
	}
	return []config.Module{m}
}

// busd is one that keeps the module's news.
func (s *stage) busd(modules []config.Module) *news.Service {
	s.Helper()
	service := s.prepared(natstest.Connect(s.T, s.home), modules)
	service.Start(s.roster.await, modules)
	return service
}

// prepared is a busd that keeps the module's news, and tells none yet.
func (s *stage) prepared(nc *nats.Conn, modules []config.Module) *news.Service {
	s.Helper()
	service, err := news.New(news.Options{Conn: nc, ServerName: serverName, Log: zerolog.New(zerolog.NewTestWriter(s.T))})
	if err == nil {
		err = service.Prepare(s.Context(), modules)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(service.Close)
	return service
}

// store stores news of a user's profile.
func (s *stage) store(user string, n int) {
	s.Helper()
	s.keep(subjects.OnProfileUpdate, &callbacksv1.OnProfileUpdateRequest{UserId: user, NewProfile: &callbacksv1.ProfileInfo{DisplayName: new(strconv.Itoa(n))}})
}

// keep stores news of any kind.
func (s *stage) keep(of subjects.AnyCallback, req proto.Message) {
	s.Helper()
	data, err := proto.Marshal(req)
	if err != nil {
		s.Fatal(err)
	}
	ack, err := s.nc.Request(at.News(of, "archive"), data, patience)
	if err != nil {
		s.Fatal(err)
	}
	if !strings.Contains(string(ack.Data), `"stream"`) {
		s.Fatalf("JetStream says %s", ack.Data)
	}
}

// piece is what a module was told.
type piece struct{ id, user, name string }

// module handles what it is told, unless refuse says otherwise.
type module struct {
	mu     sync.Mutex
	told   []piece
	refuse func(piece) bool
}

func (s *stage) module(refuse func(piece) bool) *module {
	s.Helper()
	m := &module{refuse: refuse}
	_, err := s.nc.QueueSubscribe(at.Callback(subjects.OnProfileUpdate, "archive"), "archive", func(q *nats.Msg) { _ = q.RespondMsg(m.answer(q)) })
	if err == nil {
		err = s.nc.Flush()
	}
	if err != nil {
		s.Fatal(err)
	}
	s.roster.change(&rosterv1.Module{})
	return m
}

func (m *module) answer(q *nats.Msg) *nats.Msg {
	req := &callbacksv1.OnProfileUpdateRequest{}
	_ = wire.DecodeMessage(q, req)
	p := piece{q.Header.Get(wire.HeaderNews), req.GetUserId(), req.GetNewProfile().GetDisplayName()}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, p)
	if m.refuse != nil && m.refuse(p) {
		return &nats.Msg{Header: (&wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "not now"}).Header()}
	}
	return &nats.Msg{}
}

func (m *module) all() []piece {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

// names are of what a user's news was, in the order in which it was told.
func (m *module) names(user string) (names []string) {
	for _, p := range m.all() {
		if p.user == user {
			names = append(names, p.name)
		}
	}
	return names
}

func (s *stage) until(what string, is func() bool) {
	s.Helper()
	waittest.Until(s.T, what, is)
}

// kept is how much is in the stream.
func (s *stage) kept() uint64 {
	s.Helper()
	stream, err := s.js.Stream(s.Context(), at.NewsStream("archive"))
	if err != nil {
		s.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

func (s *stage) drained() bool { return s.kept() == 0 }

func counted(n int) (names []string) {
	for i := range n {
		names = append(names, strconv.Itoa(i))
	}
	return names
}
