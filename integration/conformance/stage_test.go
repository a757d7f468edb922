package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const ownServer = "example.com"

// stage is a homeserver and modules around one NATS, on which scenes are played one after the other. The modules are
// there all the time, on every callback; which of them are asked is the roster's word, and what they answer the scene's.
type stage struct {
	server subjects.Server
	client *bus.Client
	crew   *nats.Conn // of the modules and of who keeps the roster

	mu         sync.Mutex
	scene      *scene
	roster     []byte
	shape      string
	unaccepted string
	now        time.Time

	// others answer in place of the records' modules, and set the question to what was seen of it. Default nil: what the records
	// say is answered.
	others func(*vector, *question, *subjects.Declaration) (fakeReply, error)

	// classes are those that only others have.
	classes []class

	// tamper spoils decisions, to see whether anybody notices. Default nil: nobody does.
	tamper func(*subjects.Declaration, *bus.Decision[proto.Message], *error)
}

// scene is one record as it is played.
type scene struct {
	vector  *vector
	asked   []question
	arrived chan struct{}
	trouble error // with others
}

// question is one request to a module.
type question struct {
	cue
	request proto.Message // nil for one that cannot be read
}

// newStage has modules of these names.
func newStage(t *testing.T, home *natstest.Home, modules []string) *stage {
	t.Helper()
	s := &stage{server: subjects.For(ownServer), crew: natstest.Connect(t, home), now: time.Now().Add(-24 * time.Hour)} // A roster from the future is not believed.
	s.direct(t, nil)
	s.subscribe(t, s.server.Roster(), "", func(m *nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = m.Respond(s.roster)
	})
	for _, d := range subjects.All() {
		for _, name := range modules {
			s.subscribe(t, s.server.Callback(d, name), subjects.Group(name), func(m *nats.Msg) { s.play(name, d, m) })
		}
	}
	if err := s.crew.Flush(); err != nil {
		t.Fatal(err)
	}
	natstest.AwaitInterest(t, home, s.server.Roster())
	for _, d := range subjects.All() {
		for _, name := range modules {
			natstest.AwaitInterest(t, home, s.server.Callback(d, name))
		}
	}
	var err error
	if s.client, err = bus.New(t.Context(), natstest.Connect(t, home), bus.Options{ServerName: ownServer}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	natstest.AwaitInterest(t, home, s.server.RosterChanged())
	return s
}

func (s *stage) subscribe(t *testing.T, subject, group string, handle nats.MsgHandler) {
	t.Helper()
	if _, err := s.crew.QueueSubscribe(subject, group, handle); err != nil {
		t.Fatal(err)
	}
}

// play answers for a module.
func (s *stage) play(name string, d *subjects.Declaration, m *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := question{cue{name, d.Name}, d.NewRequest()}
	if unreadable(m, c.request) != nil {
		c.request = nil
	}
	var reply fakeReply
	if c.request != nil {
		reply = s.reply(&c, d)
	}
	s.scene.asked = append(s.scene.asked, c)
	if c.request != nil {
		_ = m.RespondMsg(reply.message(m))
	}
	select {
	case s.scene.arrived <- struct{}{}:
	default:
	}
}

func (s *stage) reply(c *question, d *subjects.Declaration) fakeReply {
	if s.others == nil {
		return s.scene.vector.replyOf(c.cue, d, c.request)
	}
	reply, err := s.others(s.scene.vector, c, d)
	s.scene.trouble = errors.Join(s.scene.trouble, err)
	return reply
}

func unreadable(m *nats.Msg, request proto.Message) error {
	return wire.DecodeStrict(m.Data, wire.MappingOf(m), request)
}

// message is the reply on the wire, in the mapping of the request.
func (r fakeReply) message(request *nats.Msg) *nats.Msg {
	in := wire.MappingOf(request)
	m := &nats.Msg{Header: in.Header()}
	switch {
	case r.failure != nil:
		return &nats.Msg{Header: r.failure.Header()}
	case r.noReply:
		m.Data = []byte("\xffnot a reply")
	case r.answer != nil:
		m.Data, _ = wire.Encode(r.answer, in)
	}
	return m
}

// direct makes a roster of the record's modules, as the roster does of what they register. It returns the first of
// them whose registration is not accepted as it is.
func (s *stage) direct(t *testing.T, r *vector) (unaccepted string) {
	t.Helper()
	s.now = s.now.Add(time.Second) // Revisions are times.
	reg := roster.New()
	var modules []config.Module
	if r != nil {
		for _, m := range r.Modules {
			modules = append(modules, config.Module{Name: m.Name, Timeout: testbed.Patience})
		}
	}
	reg.Configure(modules, testbed.Patience, s.now)
	for i := range modules {
		joined := reg.Join(modules[i].Name, r.join(i), s.now)
		if len(joined.GetProblems()) > 0 && unaccepted == "" {
			unaccepted = modules[i].Name
		}
	}
	roster := reg.Snapshot()
	raw, err := proto.Marshal(roster)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.roster = raw
	s.mu.Unlock()
	if s.client == nil {
		return unaccepted
	}
	if err := s.crew.Publish(s.server.RosterChanged(), raw); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testbed.Patience)
	defer cancel()
	if _, err := s.client.AwaitRoster(ctx, roster.GetRevision()-1); err != nil {
		t.Fatal(err)
	}
	return unaccepted
}

// join is what the i-th module registers. Every other module speaks JSON.
func (r *vector) join(i int) *rosterv1.Join {
	m := &r.Modules[i]
	j := &rosterv1.Join{Worker: "w", Json: i%2 == 1, Needs: map[string]*rosterv1.Needs{}}
	for _, d := range r.registers(m) {
		j.Callbacks = append(j.Callbacks, d.FullName())
		needs := &rosterv1.Needs{}
		if declared.Of(d).State != nil {
			needs.State = &rosterv1.StateFilter{All: true}
		}
		if declared.Of(d).Key != nil {
			for _, login := range r.logins(m) {
				needs.Keys = append(needs.Keys, &rosterv1.Key{Value: login.LoginType, Fields: login.Fields})
			}
		}
		j.Needs[d.FullName()] = needs
	}
	return j
}

// shapeOf is equal for records with equal rosters.
func shapeOf(r *vector) string {
	var b strings.Builder
	for i := range r.Modules {
		raw, _ := proto.MarshalOptions{Deterministic: true}.Marshal(r.join(i))
		fmt.Fprintf(&b, "%q %q\n", r.Modules[i].Name, raw)
	}
	return b.String()
}

// ask asks as the homeserver does, and returns when every module that is sure to be asked was.
func (s *stage) ask(ctx context.Context, d *subjects.Declaration, request proto.Message) (bus.Decision[proto.Message], error) {
	if declared.Of(d).File != nil {
		ctx = bus.WithFile(ctx, strings.NewReader("a picture"), -1)
	}
	sure := len(s.asked())
	if combine.Parallel(d.Options) {
		sure += s.interested(d, request)
	}
	decision, err := s.client.Ask(ctx, d, request)
	if late := s.await(ctx, sure); late != nil {
		err = late
	}
	if s.tamper != nil {
		s.tamper(d, &decision, &err)
	}
	return decision, err
}

func (s *stage) asked() []question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.scene.asked)
}

// interested is how many modules registered the callback, or are the one that it is addressed to.
func (s *stage) interested(d *subjects.Declaration, request proto.Message) (n int) {
	for _, m := range s.client.Roster().GetModules() {
		if declared.Of(d).ToModule != nil && request.ProtoReflect().Get(declared.Of(d).ToModule).String() != m.GetName() {
			continue
		}
		if slices.ContainsFunc(m.GetCallbacks(), func(i *rosterv1.Interest) bool { return i.GetCallback() == d.FullName() }) {
			n++
		}
	}
	return n
}

func (s *stage) await(ctx context.Context, calls int) error {
	for {
		asked := s.asked()
		if len(asked) >= calls {
			return nil
		}
		select {
		case <-s.scene.arrived:
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d requests came: %w", len(asked), calls, ctx.Err())
		}
	}
}
