package roster

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Service is a roster on NATS: it answers modules and homeservers, and tells both of changes. It is also a Prometheus
// collector, of modules' messages that it refused.
type Service struct {
	prometheus.Collector

	roster   *Roster
	nc       *nats.Conn
	server   subjects.Server
	log      zerolog.Logger
	memory   *Memory              // nil: the roster is not kept in a file
	unkept   string               // why the roster is not on the disk; empty if it is
	name     string               // of this busd, among all; also the sender of rosters in parts
	others   rosterwire.Assembler // of the rosters that all busd publish
	subs     []*nats.Subscription
	wake     chan struct{} // tells that something may have changed
	throttle *throttle     // of modules' messages
	pace     *rate.Limiter // of rosters that are kept and published
	open     atomic.Bool   // homeservers are told
	mu       sync.Mutex
	held     []func() // answers to workers that wait until homeservers are told
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// Options configure [Prepare].
type Options struct {
	// Conn is the connection to NATS, which stays the caller's. Required.
	Conn *nats.Conn

	// ServerName is the homeserver's. Required.
	ServerName string

	// Memory keeps what modules register. Default: it is lost when the process ends.
	Memory *Memory

	// Log gets lines about what cannot be read, sent or kept, at most a few in a second.
	Log zerolog.Logger
}

// Serve serves the roster until Close, which must be called. Nothing is kept on disk.
func Serve(nc *nats.Conn, serverName string, r *Roster, log zerolog.Logger) (*Service, error) {
	s, err := Prepare(r, Options{Conn: nc, ServerName: serverName, Log: log})
	if err == nil {
		s.Open()
	}
	return s, err
}

// Prepare answers modules from now on, and homeservers from [Service.Open] on, so that modules can join before
// homeservers are told that there are none. Close must be called.
func Prepare(r *Roster, o Options) (*Service, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		roster: r, nc: o.Conn, server: subjects.For(o.ServerName), memory: o.Memory, name: newName(),
		log:  o.Log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second}), // Every invalid message is logged.
		wake: make(chan struct{}, 1), cancel: cancel, throttle: newThrottle(o.Log), pace: rate.NewLimiter(maxTold, maxToldAtOnce),
	}
	s.Collector = s.throttle.denied
	s.running.Go(func() { s.run(ctx) })
	s.running.Go(func() { s.meet(ctx) })
	if err := s.subscribe(); err != nil {
		s.Close()
		return nil, err
	}
	return s, s.nc.Flush()
}

func (s *Service) subscribe() error {
	for subject, answer := range map[string]func(string, *nats.Msg) (proto.Message, error){
		s.server.EntryAny(): s.entry,
		s.server.JoinAny():  s.join,
		s.server.LeaveAny(): s.leave,
	} {
		if err := s.listen(subject, func(m *nats.Msg) { s.answer(m, answer) }); err != nil {
			return err
		}
	}
	if err := s.listen(s.server.RosterChanged(), s.learn); err != nil {
		return err
	}
	return s.listen(s.server.Roster(), s.answerRoster)
}

func (s *Service) listen(subject string, handle nats.MsgHandler) error {
	sub, err := s.nc.Subscribe(subject, func(m *nats.Msg) {
		if !responder.FromStream(m) {
			handle(m)
		}
	})
	if err != nil {
		return fmt.Errorf("roster: cannot listen on %s: %w", subject, err)
	}
	s.subs = append(s.subs, sub)
	return nil
}

// Open tells homeservers of the roster from now on.
func (s *Service) Open() {
	s.open.Store(true)
	s.Wake()
}

// AwaitModules waits until all modules have done what is expected, or ctx ends. See [Roster.Expects].
func (s *Service) AwaitModules(ctx context.Context, e Expectation) {
	const pause = 5 * time.Millisecond
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for s.roster.Expects(e) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Recall asks another busd of the homeserver, if there is one, what modules registered, so that the roster does not
// begin as if none had. If NATS says that there is no other busd, it returns at once. It blocks for at most
// [RecallTime].
func Recall(nc *nats.Conn, serverName string, r *Roster) {
	ctx, cancel := context.WithTimeout(context.Background(), RecallTime)
	defer cancel()
	earlier, err := rosterwire.Fetch(ctx, nc, subjects.For(serverName).Roster(), 0)
	if err == nil && earlier != nil { // Usually there is none.
		r.Recall(earlier, time.Now())
	}
}

// RecallTime is how long another busd may take to send its roster.
const RecallTime = 5 * time.Second

// Close stops answering.
func (s *Service) Close() {
	for _, sub := range s.subs {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
	s.cancel()
	s.running.Wait()
}

// Changed tells modules that their entries have changed, and homeservers of the roster. It does not block.
func (s *Service) Changed(modules []string) {
	for _, name := range modules {
		s.publish(s.server.Changed(name), s.roster.Entry(name, time.Now()))
	}
	s.Wake()
}

// Wake makes the roster be published if it has changed. It does not block.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // It will be looked at anyway.
	}
}

// learn adds what only another busd's roster knows.
func (s *Service) learn(m *nats.Msg) {
	if other, err := s.others.Add(m.Data); err == nil && other != nil {
		s.roster.Learn(other, time.Now())
		s.Wake()
	}
}

// run publishes each new roster, in order, and removes workers that have not joined again.
func (s *Service) run(ctx context.Context) {
	const second = time.Second
	ticker := time.NewTicker(second)
	defer ticker.Stop()
	seen, told := uint64(0), uint64(0)
	for {
		select {
		case <-ctx.Done():
			s.keep(s.roster.Snapshot())
			s.say(s.release())
			return
		case now := <-ticker.C:
			s.roster.Expire(now)
		case <-s.wake:
		}
		if revision := s.roster.Snapshot().GetRevision(); revision != seen || s.open.Load() && revision != told {
			_ = s.pace.Wait(ctx) // It fails only when ctx ends, which is checked next.
		}
		answers := s.release()
		open := s.open.Load() // Read before the roster is taken, which then contains all that had joined when it was opened.
		roster := s.roster.Snapshot()
		s.keep(roster) // Before it is published, so that after a crash this busd knows what others know.
		seen = roster.GetRevision()
		if open && roster.GetRevision() != told && s.send(s.server.RosterChanged(), roster) {
			told = roster.GetRevision()
		}
		s.say(answers)
	}
}

func (*Service) say(answers []func()) {
	for _, answer := range answers {
		answer()
	}
}

// maxHeld is how many workers that join wait for their answer until homeservers have been told of them. Beyond: a worker is
// answered at once.
const maxHeld = 1024

// hold answers a worker after homeservers have been told of its join, so that a worker that knows that it has joined
// can be asked.
func (s *Service) hold(answer func()) {
	s.mu.Lock()
	full := len(s.held) >= maxHeld
	if !full {
		s.held = append(s.held, answer)
	}
	s.mu.Unlock()
	if full {
		answer()
	}
	s.Wake()
}

// release returns the waiting answers.
func (s *Service) release() (answers []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answers, s.held = s.held, nil
	return answers
}

// keep writes the roster to the disk, if it has changed or could not be written before. It logs an error of the disk
// that differs from the last one.
func (s *Service) keep(roster *rosterv1.Roster) {
	problem := ""
	if err := s.memory.Keep(roster); err != nil {
		problem = err.Error()
	}
	switch problem {
	case s.unkept:
	case "":
		s.log.Info().Msg("what modules registered is kept again")
	default:
		s.log.Error().Str("error", problem).Msg("cannot keep what modules registered: a restart of busd would forget it; it is tried again each second")
	}
	s.unkept = problem
}

// answerRoster answers a request for the roster. The answer is empty if the homeserver has the present one already, or
// is not to be told yet. Another busd gets this one's card.
func (s *Service) answerRoster(m *nats.Msg) {
	if m.Reply == "" || !subjects.MayReply(m.Subject, m.Reply) {
		return
	}
	roster := s.roster.Snapshot()
	have, err := strconv.ParseUint(string(m.Data), 10, 64)
	switch {
	case err == nil && have == everything:
		roster = s.card()
	case !s.open.Load() || err == nil && have >= roster.GetRevision():
		roster = &rosterv1.Roster{}
	}
	if wire.MappingOf(m) == wire.Binary {
		s.send(m.Reply, roster)
	} else if err := s.reply(m.Reply, roster, wire.JSON); err != nil {
		s.log.Error().Err(err).Msg("cannot tell of the roster in JSON")
	}
}

// send publishes a roster, in as many messages as necessary, and reports whether it could. It cannot while NATS is
// away.
func (s *Service) send(subject string, roster *rosterv1.Roster) bool {
	if !s.nc.IsConnected() {
		return false
	}
	messages, err := rosterwire.Messages(roster, int(s.nc.MaxPayload()), s.name)
	for _, data := range messages {
		if err == nil {
			err = s.nc.Publish(subject, data)
		}
	}
	if err != nil {
		s.log.Error().Err(err).Str("subject", subject).Msg("cannot tell homeservers of the roster")
	}
	return err == nil
}

// answer replies in the encoding of the request.
func (s *Service) answer(m *nats.Msg, answer func(module string, m *nats.Msg) (proto.Message, error)) {
	module, _ := subjects.ModuleOf(m.Subject) // The subscription has no other subjects.
	if !subjects.MayReply(m.Subject, m.Reply) {
		s.log.Warn().Str("module", module).Msg("ignored a message of a module that wants its answer sent to somebody else")
		return
	}
	if !s.throttle.allows(module, time.Now()) {
		s.turnDown(m)
		return
	}
	reply, err := answer(module, m)
	if err != nil {
		s.log.Warn().Err(err).Str("module", module).Msg("ignored a message of a module that cannot be read")
	}
	s.hold(func() {
		if err := s.answerWith(m, reply, err); err != nil {
			s.log.Warn().Err(err).Str("module", module).Msg("cannot answer a module")
		}
	})
}

// answerWith replies, or says why the message was refused, if an answer is wanted.
func (s *Service) answerWith(m *nats.Msg, reply proto.Message, why error) error {
	switch {
	case m.Reply == "":
		return nil
	case why != nil:
		return s.refuse(m, why, "400")
	}
	return s.reply(m.Reply, reply, wire.MappingOf(m))
}

// errTooOften is the error for a module that sends too many messages.
var errTooOften = fmt.Errorf("this module joins, leaves or asks for its entry more than %d times in a second: does it do so in a loop?", maxSaid)

// turnDown refuses a message of a module that sends too many.
func (s *Service) turnDown(m *nats.Msg) {
	if m.Reply != "" {
		_ = s.refuse(m, errTooOften, "429") // If it fails, the module asks again.
	}
}

// refuse answers with a NATS service error that says why a message was refused.
func (s *Service) refuse(m *nats.Msg, why error, code string) error {
	header := nats.Header{wire.HeaderError: {wire.OneLine(why.Error())}, wire.HeaderErrorCode: {code}}
	return s.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: header})
}

func (s *Service) publish(subject string, m proto.Message) {
	if err := s.reply(subject, m, wire.Binary); err != nil {
		s.log.Warn().Err(err).Str("subject", subject).Msg("cannot publish")
	}
}

func (s *Service) reply(subject string, m proto.Message, in wire.Mapping) error {
	data, err := wire.Encode(m, in)
	if err != nil {
		return err
	}
	return s.nc.PublishMsg(&nats.Msg{Subject: subject, Data: data, Header: in.Header()})
}

func (s *Service) entry(module string, _ *nats.Msg) (proto.Message, error) {
	return s.roster.Entry(module, time.Now()), nil
}

func (s *Service) join(module string, m *nats.Msg) (proto.Message, error) {
	join := &rosterv1.Join{}
	skipped, err := wire.DecodeTelling(m.Data, wire.MappingOf(m), join)
	switch {
	case err != nil:
		return nil, err
	case skipped == nil:
		return s.roster.Join(module, join, time.Now()), nil
	case saysNothing(join) && join.GetConfigError() == nil: // The unknown parts that were skipped may be the callbacks. See ADR 66.
		return nil, fmt.Errorf("the join registers nothing that is known here: %w", skipped)
	}
	joined := s.roster.Join(module, join, time.Now())
	joined.Problems = append(joined.Problems, "a part of the join is ignored: "+wire.OneLine(skipped.Error()))
	return joined, nil
}

func (s *Service) leave(module string, m *nats.Msg) (proto.Message, error) {
	leave := &rosterv1.Leave{}
	if err := wire.DecodeMessage(m, leave); err != nil {
		return nil, err
	}
	s.roster.Leave(module, leave.GetWorker(), time.Now())
	return &rosterv1.Joined{Listed: true}, nil
}
