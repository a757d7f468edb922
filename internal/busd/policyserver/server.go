package policyserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/tidwall/gjson"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

const (
	// MaxBody is the size of a request in bytes. An event is smaller, but may be written wastefully. Beyond: refused.
	MaxBody = 2 * maxEvent

	// verifyTime is how long it may take to verify a request and its event. Beyond: answered 401 if keys of the server
	// that asks are missing, and refused if something about the event is.
	verifyTime = 2 * time.Second

	// askTime is how long modules have to answer, where budget is not shorter. Beyond: they have failed, under their on_failure.
	askTime = 2 * time.Second

	// answerTime is how much longer than askTime the answer may take. Beyond: refused.
	answerTime = 500 * time.Millisecond

	// maxVerdicts is how many decisions are remembered. Beyond: the oldest is forgotten, and modules are asked again.
	maxVerdicts = 10000

	// maxAsks is how many events modules are asked about at once. Beyond: they wait.
	maxAsks = 1024

	verdictFor = time.Minute // for which all servers of a room get the same decision

	logBurst  = 5 // lines
	logPeriod = time.Minute
)

// ErrFailed says that a module failed and that its on_failure is to fail.
var ErrFailed = errors.New("a module failed")

// Ask asks modules about an event; a nil refusal lets it pass. An error that is [ErrFailed] is answered as a failure,
// any other as a refusal. When ctx ends, it returns what the modules' on_failure says.
type Ask func(context.Context, *callbacksv1.Event) (*callbacksv1.Refusal, error)

// Options configure a [Server]. ServerName, Key, Ask and Metrics are required.
type Options struct {
	// ServerName is the name that rooms know it under: that of the homeserver in front of it.
	ServerName string

	Key Key

	// Fetcher fetches servers' keys. Default: from Homeserver, and else over the network.
	Fetcher Fetcher

	// Homeserver is the URL below which the homeserver serves /_matrix/key. Default: it is not asked for keys.
	Homeserver string

	// Call calls the homeserver's Module API. Default: there is none, and no room is known.
	Call bus.CallFunc

	Ask     Ask
	Metrics prometheus.Registerer
	Log     zerolog.Logger
}

// Server is a policy server. See [New].
type Server struct {
	Options
	keys     keyring
	rooms    rooms
	verdicts *memo[identity, verdict]
	shared   atomic.Bool // the key is the homeserver's own
	answers  *prometheus.CounterVec
	closers  []func()

	verifyTime, waitTime time.Duration // of a request: until it is verified, and then until there is a decision
}

// New returns a policy server. It does not connect. Close must be called.
func New(o Options) *Server {
	s := &Server{
		Options: o, rooms: newRooms(o.ServerName, o.Call),
		verdicts: newMemo[identity, verdict](maxVerdicts, maxAsks, askTime),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "modulebus", Name: "policy_server_answers_total", Help: "What servers were answered that asked about events, by answer.",
		}, []string{"answer"}),
		verifyTime: verifyTime, waitTime: askTime + answerTime,
	}
	s.Log = o.Log.Sample(&zerolog.BurstSampler{Burst: logBurst, Period: logPeriod})
	if s.Fetcher == nil {
		n := newNetwork(o.ServerName, o.Homeserver)
		s.closers = append(s.closers, n.close)
		s.Fetcher = n
	}
	s.keys = newKeyring(s.Fetcher, s.compare)
	o.Metrics.MustRegister(s.answers)
	return s
}

// Close ends what is under way.
func (s *Server) Close() {
	s.verdicts.close()
	s.rooms.close()
	s.keys.close()
	for _, f := range s.closers {
		f()
	}
}

// Request is what another server sent.
type Request struct {
	Method, URI    string   // as they were sent
	Authorizations []string // the headers
	Body           []byte   // at most [MaxBody] are read
}

// Sign answers a request: with a signature, a refusal, or that the room is not ours. It takes at most 4.5 seconds, and less
// if ctx ends before modules are asked.
func (s *Server) Sign(ctx context.Context, r Request) Answer {
	return s.counted(s.answer(ctx, r))
}

// Cut answers a request whose body did not come whole, or not in time: with a refusal.
func (s *Server) Cut() Answer {
	return s.counted(refused("the event did not come whole, or not in time"))
}

func (s *Server) counted(a Answer) Answer {
	s.answers.WithLabelValues(a.kind).Inc()
	return a
}

func (s *Server) answer(ctx context.Context, r Request) Answer {
	verifying, cancel := context.WithTimeout(ctx, s.verifyTime)
	defer cancel()
	if len(r.Body) > MaxBody {
		return refused(errLarge.Error())
	}
	if err := readable(r.Body); err != nil {
		return refused(err.Error())
	}
	if err := s.authenticate(verifying, r); err != nil {
		return unauthorized(err)
	}
	e, answer := s.verify(verifying, r.Body)
	if e == nil {
		return answer
	}
	ctx, cancelAsk := context.WithTimeout(ctx, s.waitTime)
	defer cancelAsk()
	v, err := s.verdicts.do(ctx, e.identity(), func(ctx context.Context) (verdict, time.Duration) { return s.decide(ctx, e) })
	switch {
	case err != nil:
		return refused("the policy server has too much to do")
	case v.answer.Status == 0: // Whoever asked the modules did not come to an end.
		return refused(Undecided)
	}
	return v.answer
}

// authenticate checks that the request comes from the server that it names.
func (s *Server) authenticate(ctx context.Context, r Request) error {
	if len(r.Authorizations) != 1 {
		return errHeader
	}
	x, err := parseXMatrix(r.Authorizations[0])
	if err != nil {
		return err
	}
	if x.destination != "" && x.destination != s.ServerName {
		return errors.New("the request is for another server")
	}
	if !gjson.ValidBytes(r.Body) {
		return errors.New("the body is not JSON, so nothing can be signed")
	}
	keys, err := s.keys.of(ctx, x.origin, gomatrixserverlib.KeyID(x.key))
	if err != nil {
		s.Log.Info().Err(err).Str("server", x.origin).Msg("the keys of a server that asks the policy server cannot be fetched")
		return errors.New("your server's keys cannot be fetched")
	}
	if err := x.authorizes(r, s.ServerName, keys, time.Now()); err != nil {
		return errors.New("the signature is not that of " + x.origin)
	}
	return nil
}

// verify returns the event if it is genuine and its room is ours, or else the answer to give.
func (s *Server) verify(ctx context.Context, body []byte) (*event, Answer) {
	if s.isShared() {
		return nil, refused("the policy server has no key of its own")
	}
	envelope, err := open(body)
	if err != nil {
		return nil, refused(err.Error())
	}
	version := envelope.version
	if version == "" {
		r, err := s.rooms.of(ctx, envelope.roomID)
		switch {
		case err != nil:
			s.Log.Warn().Err(err).Msg("the homeserver does not tell the policy server of a room: events are refused")
			return nil, refused("the policy server cannot look at the room")
		case r.version == "":
			return nil, strange()
		}
		version = r.version
	}
	return s.check(ctx, body, version)
}

func (s *Server) check(ctx context.Context, body []byte, version string) (*event, Answer) {
	e, err := parse(body, version)
	if err != nil {
		s.Log.Info().Err(err).Msg("an event cannot be read: it is refused")
		return nil, refused(inShort(err))
	}
	if r, err := s.rooms.of(ctx, e.roomID); err != nil || r.version == "" { // The room is known by now, unless this is its create event.
		return nil, strange()
	}
	signers := e.signers()
	if len(signers) == 0 {
		return nil, refused("the event is not signed by its sender's server")
	}
	keys, err := s.keys.of(ctx, e.signer, signers[0])
	switch {
	case err != nil:
		s.Log.Info().Err(err).Str("server", e.signer).Msg("the keys of an event's sender cannot be fetched: the event is refused")
		return nil, refused("the keys of the sender's server cannot be fetched")
	case !e.signedBy(keys):
		return nil, refused("the event is not signed by its sender's server")
	}
	return e, Answer{}
}

// verdict is the decision on an event, which all servers get.
type verdict struct{ answer Answer }

// decide asks the modules. They are not asked about the event that names a room's policy server: otherwise a room could
// not leave a broken one.
func (s *Server) decide(ctx context.Context, e *event) (verdict, time.Duration) {
	if e.isPolicy {
		return verdict{s.signed(e)}, verdictFor
	}
	refusal, err := s.Ask(ctx, &callbacksv1.Event{EventId: e.id, RoomVersion: string(e.version), Json: e.json, RoomId: e.roomID})
	switch {
	case errors.Is(err, ErrFailed):
		return verdict{failed()}, 0
	case err != nil:
		s.Log.Warn().Err(err).Msg("the policy server cannot ask modules: an event is refused")
		return verdict{refused(Undecided)}, 0
	case refusal != nil:
		return verdict{refusedBy(refusal)}, verdictFor
	}
	return verdict{s.signed(e)}, verdictFor
}

func (s *Server) signed(e *event) Answer {
	return signedAs(s.ServerName, e.sign(s.Key.private))
}

// isShared reports whether the homeserver is known to sign with the same key: then a signature would prove nothing. It
// does not block.
func (s *Server) isShared() bool {
	s.keys.begin(s.ServerName)
	return s.shared.Load()
}

// compare notes whether the homeserver publishes our key.
func (s *Server) compare(server string, keys serverKeys) {
	if server == s.ServerName && keys.publishes(s.Key.private.Public().(ed25519.PublicKey)) {
		s.Log.Error().Msg("the key of the policy server is the homeserver's own: events are refused; name another file as key_file")
		s.shared.Store(true)
	}
}

// WellKnown is the body of /.well-known/matrix/policy_server.
func (s *Server) WellKnown() []byte {
	body, _ := json.Marshal(map[string]any{"public_keys": s.Key.publicKeys()}) // It is made of strings.
	return body
}
