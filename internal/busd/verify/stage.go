package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/admission"
	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/busd/store"
	"github.com/modulebus/modulebus/internal/busd/supervise"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

const (
	serverName = "example.com"
	moduleName = "verified"

	// ruleTime is how long checking one rule may take. Beyond: the rule is broken.
	ruleTime = 30 * time.Second

	// joinTime is how long a module may take to join: it may be compiled first. Beyond: it counts as never joining.
	joinTime = 20 * time.Second

	// answerTime is how long a module has for one question.
	answerTime = 2 * time.Second

	// joinEvery is how often the module is to join again.
	joinEvery = 500 * time.Millisecond
)

// stage is the bus on which one module is verified.
type stage struct {
	Options
	dir        string
	broker     *broker.Broker
	admission  *admission.Admission
	store      *store.Service
	refusals   *refusals
	line       *line // to NATS
	busd       *script
	homeserver *homeserver
	nc         *nats.Conn
	server     subjects.Server
	file       string // with the module's credentials
	process    *process
	ended      []string        // how processes ended that were not asked to end
	gaveUp     string          // why nothing more can be asked
	refused    json.RawMessage // a configuration that it refuses when it starts; nil while none is known
	patience   time.Duration   // how long a module may take to join
	drained    bool            // the module ended in time when it was asked to
	web        *web            // made when the first page is asked for
	closers    []func()
}

func open(o Options) (_ *stage, err error) {
	s := &stage{Options: o, server: subjects.For(serverName), refusals: &refusals{}, patience: joinTime}
	if len(s.Config) == 0 {
		s.Config = json.RawMessage("{}")
	}
	if s.Output != nil {
		s.Output = zerolog.SyncWriter(s.Output) // Several processes write.
	}
	for _, step := range []func() error{s.openNATS, s.openStore, s.openLine, s.openScript, s.openHomeserver} {
		if err := step(); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *stage) onClose(f func()) { s.closers = append(s.closers, f) }

func (s *stage) close() {
	if s.process != nil {
		s.process.kill()
	}
	for _, f := range slices.Backward(s.closers) {
		f()
	}
}

// openNATS starts the NATS server, in which the module has a module's permissions.
func (s *stage) openNATS() (err error) {
	if s.dir, err = os.MkdirTemp("", "busd-verify-"); err != nil {
		return err
	}
	s.onClose(func() { _ = os.RemoveAll(s.dir) })
	keys, err := identity.Open(identity.In(s.dir), serverName)
	if err != nil {
		return err
	}
	log := zerolog.New(s.refusals)
	listed := []string{moduleName}
	s.broker, err = broker.Open(broker.Options{
		NATS: config.NATS{Listen: "127.0.0.1:0", MaxPayload: config.DefaultMaxPayload}, Keys: keys, Listed: listed,
		StoreDir: filepath.Join(s.dir, "nats"), Log: log,
	})
	if err != nil {
		return err
	}
	s.onClose(s.broker.Close)
	s.nc = s.broker.Conn
	s.admission, err = admission.Open(admission.Options{
		Broker: s.broker, Keys: keys, Dir: filepath.Join(s.dir, "credentials"), Listed: listed, Log: log,
		Replace: func(context.Context, string) (bool, error) { return false, nil },
	})
	if err != nil {
		return err
	}
	s.onClose(s.admission.Close)
	s.file, err = s.admission.Credentials(moduleName)
	return err
}

func (s *stage) openStore() (err error) {
	log := zerolog.Nop()
	s.store, err = store.Serve(store.Options{
		Conn: s.nc, ServerName: serverName, Listed: func(module string) bool { return module == moduleName }, Durable: true, Log: &log,
	})
	if err == nil {
		s.onClose(s.store.Close)
	}
	return err
}

func (s *stage) openLine() (err error) {
	s.line, err = openLine(s.broker.URL)
	if err == nil {
		s.onClose(s.line.close)
	}
	return err
}

func (s *stage) openScript() (err error) {
	s.busd, err = openScript(s.nc, s.server, s.Config)
	if err == nil {
		s.onClose(s.busd.close)
	}
	return err
}

func (s *stage) openHomeserver() (err error) {
	s.homeserver, err = openHomeserver(s.nc, s.server)
	if err == nil {
		s.onClose(s.homeserver.close)
	}
	return err
}

// start starts a process of the module as busd would.
func (s *stage) start() (err error) {
	s.process, err = s.launch(nuid.Next())
	return err
}

func (s *stage) launch(worker string) (*process, error) {
	env := append(supervise.Environment(os.Environ(), nil),
		"MODULEBUS_NATS_URL="+s.line.url(), "MODULEBUS_SERVER_NAME="+serverName, "MODULEBUS_MODULE="+moduleName,
		"MODULEBUS_CREDENTIALS="+s.file, supervise.WorkerEnv+"="+worker)
	return startProcess(s.Command, env, s.Output)
}

// awaitJoin waits for a join of the newest process, after the given number of joins.
func (s *stage) awaitJoin(ctx context.Context, after int) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	if after == 0 {
		after = s.busd.count()
	}
	for {
		joined, changed := s.busd.joinedAfter(after)
		if joined {
			return nil
		}
		select {
		case <-changed:
		case <-s.process.done:
			return errors.New(s.process.how())
		case <-ctx.Done():
			return fmt.Errorf("it has not joined within %v: it requests %s, and then %s", s.patience, s.server.Entry(moduleName), s.server.Join(moduleName))
		}
	}
}

// registered returns the callbacks that the module registers and this version knows, without follow-ups.
func (s *stage) registered() (all []*subjects.Declaration) {
	for _, name := range s.busd.last().GetCallbacks() {
		if d, ok := subjects.Find(name); ok && !d.FollowUp() {
			all = append(all, d)
		}
	}
	return all
}

// first returns a callback for rules that can use any.
func (s *stage) first() (*subjects.Declaration, error) {
	all := s.registered()
	if len(all) == 0 {
		return nil, skip("it registers no callback")
	}
	return all[0], nil
}

// question returns a plausible question for the callback, as busd would send it.
func (s *stage) question(d *subjects.Declaration) question {
	in := wire.Mapping(s.busd.last().GetJson())
	data, _ := wire.Encode(sample(d), in) // A test encodes each sample.
	header := in.Header()
	if header == nil {
		header = nats.Header{}
	}
	return question{d, s.server.Callback(d, moduleName), header, data, in}
}

// any returns a question for rules that can use any.
func (s *stage) any() (question, error) {
	d, err := s.first()
	if err != nil {
		return question{}, err
	}
	return s.question(d), nil
}

// ask asks, and waits for the reply a little longer than the module's timeout.
func (s *stage) ask(ctx context.Context, q question) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime+answerTime/4)
	defer cancel()
	m, err := s.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: q.subject, Header: q.header, Data: q.data})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("nobody listens on %s: %w", q.subject, err)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, errLost
	}
	return m, err
}

// answered asks, and returns an error unless the reply is an answer, silence, or a failure that shows no bug.
func (s *stage) answered(ctx context.Context, q question) error {
	m, err := s.ask(ctx, q)
	if err != nil {
		return err
	}
	return q.acceptable(m)
}
