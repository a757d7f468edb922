package admission_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/modulebus/modulebus/internal/busd/admission"
	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a NATS of busd with the modules gate and other.
type stage struct {
	*admission.Admission
	t      *testing.T
	keys   *identity.Keys
	broker *broker.Broker
	dir    string
	log    *waittest.Log

	mu      sync.Mutex
	runs    map[string]bool // modules that busd runs
	renewed []string        // whose workers were replaced
}

// homes are where NATS may be: an embedded one, and a cluster that was set up with what busd prints.
var homes = map[string]func(*testing.T, *identity.Keys) config.NATS{
	"embedded": func(*testing.T, *identity.Keys) config.NATS { return config.NATS{Listen: "127.0.0.1:0"} },
	"external": func(t *testing.T, k *identity.Keys) config.NATS {
		text, err := k.ServerConfig([]string{"gate", "other"})
		must(t, err)
		return config.NATS{URL: natstest.Configured(t, text).URL()}
	},
}

// each runs a test in each home.
func each(t *testing.T, test func(*stage)) {
	t.Helper()
	for name, home := range homes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(open(t, home))
		})
	}
}

func open(t *testing.T, home func(*testing.T, *identity.Keys) config.NATS, connections ...int) *stage {
	t.Helper()
	keys, err := identity.Open(t.TempDir(), "example.com")
	must(t, err)
	s := &stage{t: t, keys: keys, dir: filepath.Join(t.TempDir(), "credentials"), log: &waittest.Log{}, runs: map[string]bool{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", s.log)
		}
	})
	log := zerolog.New(s.log)
	listed := []string{"gate", "other"}
	s.broker, err = broker.Open(broker.Options{NATS: home(t, keys), Keys: keys, Listed: listed, StoreDir: t.TempDir(), Log: log})
	must(t, err)
	t.Cleanup(s.broker.Close)
	s.Admission, err = admission.Open(admission.Options{Broker: s.broker, Keys: keys, Dir: s.dir, Listed: listed, Replace: s.replace, Connections: append(connections, 0)[0], Unread: 4 << 20, Backlog: 1, Undescribed: time.Second, Log: log})
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func (s *stage) replace(_ context.Context, module string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed = append(s.renewed, module)
	return s.runs[module], nil
}

// file is one with the present credentials of a module.
func (s *stage) file(module string) string {
	s.t.Helper()
	text, err := s.keys.Credentials(identity.Module(module))
	must(s.t, err)
	return s.write(text)
}

func (s *stage) write(credentials []byte) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "creds")
	must(s.t, os.WriteFile(file, credentials, 0o600))
	return file
}

func (s *stage) try(file string, opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(s.broker.URL, append(opts, nats.UserCredentials(file))...)
	if err == nil {
		s.t.Cleanup(nc.Close)
	}
	return nc, err
}

func (s *stage) connect(file string, opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	nc, err := s.try(file, opts...)
	must(s.t, err)
	return nc
}

// refuses reports whether NATS turns the credentials away. What else may go wrong with a connection is tried again.
func (s *stage) refuses(file string) (refused bool) {
	s.t.Helper()
	s.eventually("NATS says whether it takes "+file, func() bool {
		nc, err := s.try(file, nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		refused = errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthRevoked)
		return err == nil || refused
	})
	return refused
}

func (s *stage) eventually(what string, is func() bool) {
	s.t.Helper()
	waittest.Until(s.t, what, is)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestModuleThatLeavesTheRosterIsCutOffAndStaysOut(t *testing.T) {
	t.Parallel()
	each(t, func(s *stage) {
		file := s.file("gate")
		closed := s.connect(file, nats.NoReconnect()).StatusChanged(nats.CLOSED)
		s.List([]string{"other"}, 0)
		<-closed
		s.eventually("it stays out", func() bool { return s.refuses(file) })
		s.eventually("the log says who it was", func() bool { return s.log.Count(`"user":"module gate"`) > 0 })
		s.List([]string{"other", "gate"}, 0)
		s.eventually("a module that is listed again comes in", func() bool { return !s.refuses(file) })
	})
}

func TestModuleThatLeavesTheRosterMayFinishWhatItWasAsked(t *testing.T) {
	t.Parallel()
	s := open(t, homes["embedded"])
	nc := s.connect(s.file("gate"), nats.NoReconnect())
	s.List([]string{"other"}, time.Hour)
	must(t, nc.Flush())
	if !nc.IsConnected() {
		t.Error("it was cut off in the middle of an ask")
	}
}

func TestModuleThatWasNeverListedIsTurnedAway(t *testing.T) {
	t.Parallel()
	each(t, func(s *stage) {
		file := s.file("stranger")
		s.eventually("it is turned away", func() bool { return s.refuses(file) })
		s.eventually("the log says what to do", func() bool { return s.log.Count("add it to modules in busd.yaml") > 0 })
	})
}

func TestClientThatShowsAnotherModulesNameIsDisconnectedAndLoggedOnce(t *testing.T) {
	t.Parallel()
	each(t, func(s *stage) {
		file := s.file("gate")
		for range 2 {
			nc, err := s.try(file, nats.Name("other/w"), nats.NoReconnect())
			if err != nil { // It was disconnected before the library had greeted the server.
				continue
			}
			s.eventually("it is disconnected", nc.IsClosed)
		}
		own := s.connect(file, nats.Name("gate/w"), nats.NoReconnect())
		foreign := s.connect(file, nats.Name("a client of my own"), nats.NoReconnect())
		s.eventually("it is logged", func() bool { return s.log.Count("shows another module's name") > 0 })
		must(s.t, own.Flush())
		must(s.t, foreign.Flush())
		if n := s.log.Count("shows another module's name"); n != 1 {
			s.t.Errorf("logged %d times", n)
		}
	})
}

func TestRotatedCredentialsAreTurnedAwayWhenNobodyUsesThem(t *testing.T) {
	t.Parallel()
	each(t, func(s *stage) {
		old := s.file("gate")
		nc := s.connect(old)
		text, err := s.keys.Rotate(identity.Module("gate"))
		must(s.t, err)
		latest := s.write(text)
		s.eventually("the rotation was seen", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.renewed) > 0 })
		if s.refuses(latest) {
			s.t.Error("the new credentials are turned away")
		}
		must(s.t, nc.Flush())
		if !nc.IsConnected() || s.refuses(old) {
			s.t.Error("the old credentials are turned away while they are used")
		}
		nc.Close()
		s.eventually("the old credentials are turned away", func() bool { return s.refuses(old) })
		if s.refuses(latest) {
			s.t.Error("the new credentials are turned away")
		}
		s.eventually("the log says what to do", func() bool { return s.log.Count("whose credentials were replaced") > 0 })
	})
}

func TestRotationOfAModuleThatBusdRunsNeedsNobody(t *testing.T) {
	t.Parallel()
	s := open(t, homes["embedded"])
	s.runs["gate"] = true
	file, err := s.Credentials("gate")
	must(t, err)
	old, err := os.ReadFile(file)
	must(t, err)
	closed := s.connect(s.write(old), nats.NoReconnect()).StatusChanged(nats.CLOSED) // A thief is connected.
	_, err = s.keys.Rotate(identity.Module("gate"))
	must(t, err)
	<-closed
	s.eventually("the processes have new credentials", func() bool { return !s.refuses(file) })
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

func TestStrangersAreNamedAsFarAsTheySay(t *testing.T) {
	t.Parallel()
	each(t, func(s *stage) {
		if nc, err := nats.Connect(s.broker.URL, nats.Name("nobody")); err == nil {
			nc.Close()
			s.t.Error("an anonymous client came in")
		}
		elsewhere, err := identity.Open(s.t.TempDir(), "example.com")
		must(s.t, err)
		text, err := elsewhere.Credentials(identity.Module("gate"))
		must(s.t, err)
		if !s.refuses(s.write(text)) {
			s.t.Error("credentials of another bus were accepted")
		}
		s.eventually("both are logged", func() bool {
			return s.log.Count("a client without credentials") > 0 && s.log.Count("credentials of another bus") > 0
		})
	})
}

func TestNATSWithUsersOfItsOwnIsLeftAlone(t *testing.T) {
	t.Parallel()
	plain := natstest.Start(t, &server.Options{})
	s := open(t, func(*testing.T, *identity.Keys) config.NATS { return config.NATS{URL: plain.ClientURL()} })
	s.List(nil, 0)
	if file, err := s.Credentials("gate"); file != "" || err != nil {
		t.Errorf("modules are given %q, %v", file, err)
	}
	if s.log.Count("busd nats-config") != 1 {
		t.Error("the log does not say that this NATS lets in anybody")
	}
}

func TestConnectionsOfAModuleAreBounded(t *testing.T) {
	t.Parallel()
	for name, home := range homes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = 3
			s := open(t, home, most)
			file := s.file("gate")
			var first []*nats.Conn
			for range most {
				first = append(first, s.connect(file, nats.NoReconnect()))
			}
			if late, err := s.try(file, nats.NoReconnect()); err == nil { // Else it was disconnected before it had greeted the server.
				s.eventually("the one too many is disconnected", late.IsClosed)
			}
			s.eventually("it is logged", func() bool { return s.log.Count("too many connections") == 1 })
			must(t, s.connect(s.file("other"), nats.NoReconnect()).Flush())
			for _, nc := range first {
				must(t, nc.Flush())
			}
			first[0].Close()
			s.eventually("there is room again", func() bool { nc, err := s.try(file, nats.NoReconnect()); return err == nil && nc.Flush() == nil })
		})
	}
}
