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

// house is a NATS of busd with the modules gate and other.
type house struct {
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
func each(t *testing.T, test func(*house)) {
	t.Helper()
	for name, home := range homes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(open(t, home))
		})
	}
}

func open(t *testing.T, home func(*testing.T, *identity.Keys) config.NATS, connections ...int) *house {
	t.Helper()
	keys, err := identity.Open(t.TempDir(), "example.com")
	must(t, err)
	h := &house{t: t, keys: keys, dir: filepath.Join(t.TempDir(), "credentials"), log: &waittest.Log{}, runs: map[string]bool{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", h.log)
		}
	})
	log := zerolog.New(h.log)
	listed := []string{"gate", "other"}
	h.broker, err = broker.Open(broker.Options{NATS: home(t, keys), Keys: keys, Listed: listed, StoreDir: t.TempDir(), Log: log})
	must(t, err)
	t.Cleanup(h.broker.Close)
	h.Admission, err = admission.Open(admission.Options{Broker: h.broker, Keys: keys, Dir: h.dir, Listed: listed, Replace: h.replace, Connections: append(connections, 0)[0], Log: log})
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func (h *house) replace(_ context.Context, module string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = append(h.renewed, module)
	return h.runs[module], nil
}

// file is one with the present credentials of a module.
func (h *house) file(module string) string {
	h.t.Helper()
	text, err := h.keys.Credentials(identity.Module(module))
	must(h.t, err)
	return h.write(text)
}

func (h *house) write(credentials []byte) string {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "creds")
	must(h.t, os.WriteFile(file, credentials, 0o600))
	return file
}

func (h *house) try(file string, opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(h.broker.URL, append(opts, nats.UserCredentials(file))...)
	if err == nil {
		h.t.Cleanup(nc.Close)
	}
	return nc, err
}

func (h *house) connect(file string, opts ...nats.Option) *nats.Conn {
	h.t.Helper()
	nc, err := h.try(file, opts...)
	must(h.t, err)
	return nc
}

// refuses reports whether NATS turns the credentials away. What else may go wrong with a connection is tried again.
func (h *house) refuses(file string) (refused bool) {
	h.t.Helper()
	h.eventually("NATS says whether it takes "+file, func() bool {
		nc, err := h.try(file, nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		refused = errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthRevoked)
		return err == nil || refused
	})
	return refused
}

func (h *house) eventually(what string, is func() bool) {
	h.t.Helper()
	waittest.Until(h.t, what, is)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestModuleThatLeavesTheRosterIsCutOffAndStaysOut(t *testing.T) {
	t.Parallel()
	each(t, func(h *house) {
		file := h.file("gate")
		closed := h.connect(file, nats.NoReconnect()).StatusChanged(nats.CLOSED)
		h.List([]string{"other"}, 0)
		<-closed
		h.eventually("it stays out", func() bool { return h.refuses(file) })
		h.eventually("the log says who it was", func() bool { return h.log.Count(`"user":"module gate"`) > 0 })
		h.List([]string{"other", "gate"}, 0)
		h.eventually("a module that is listed again comes in", func() bool { return !h.refuses(file) })
	})
}

func TestModuleThatLeavesTheRosterMayFinishWhatItWasAsked(t *testing.T) {
	t.Parallel()
	h := open(t, homes["embedded"])
	nc := h.connect(h.file("gate"), nats.NoReconnect())
	h.List([]string{"other"}, time.Hour)
	must(t, nc.Flush())
	if !nc.IsConnected() {
		t.Error("it was cut off in the middle of an ask")
	}
}

func TestModuleThatWasNeverListedIsTurnedAway(t *testing.T) {
	t.Parallel()
	each(t, func(h *house) {
		file := h.file("stranger")
		h.eventually("it is turned away", func() bool { return h.refuses(file) })
		h.eventually("the log says what to do", func() bool { return h.log.Count("add it to modules in busd.yaml") > 0 })
	})
}

func TestClientThatShowsAnotherModulesNameIsDisconnectedAndLoggedOnce(t *testing.T) {
	t.Parallel()
	each(t, func(h *house) {
		file := h.file("gate")
		for range 2 {
			nc, err := h.try(file, nats.Name("other/w"), nats.NoReconnect())
			if err != nil { // It was disconnected before the library had greeted the server.
				continue
			}
			h.eventually("it is disconnected", nc.IsClosed)
		}
		own := h.connect(file, nats.Name("gate/w"), nats.NoReconnect())
		foreign := h.connect(file, nats.Name("a client of my own"), nats.NoReconnect())
		h.eventually("it is logged", func() bool { return h.log.Count("shows another module's name") > 0 })
		must(h.t, own.Flush())
		must(h.t, foreign.Flush())
		if n := h.log.Count("shows another module's name"); n != 1 {
			h.t.Errorf("logged %d times", n)
		}
	})
}

func TestRotatedCredentialsAreTurnedAwayWhenNobodyUsesThem(t *testing.T) {
	t.Parallel()
	each(t, func(h *house) {
		old := h.file("gate")
		nc := h.connect(old)
		text, err := h.keys.Rotate(identity.Module("gate"))
		must(h.t, err)
		latest := h.write(text)
		h.eventually("the rotation was seen", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.renewed) > 0 })
		if h.refuses(latest) {
			h.t.Error("the new credentials are turned away")
		}
		must(h.t, nc.Flush())
		if !nc.IsConnected() || h.refuses(old) {
			h.t.Error("the old credentials are turned away while they are used")
		}
		nc.Close()
		h.eventually("the old credentials are turned away", func() bool { return h.refuses(old) })
		if h.refuses(latest) {
			h.t.Error("the new credentials are turned away")
		}
		h.eventually("the log says what to do", func() bool { return h.log.Count("whose credentials were replaced") > 0 })
	})
}

func TestRotationOfAModuleThatBusdRunsNeedsNobody(t *testing.T) {
	t.Parallel()
	h := open(t, homes["embedded"])
	h.runs["gate"] = true
	file, err := h.Credentials("gate")
	must(t, err)
	old, err := os.ReadFile(file)
	must(t, err)
	closed := h.connect(h.write(old), nats.NoReconnect()).StatusChanged(nats.CLOSED) // A thief is connected.
	_, err = h.keys.Rotate(identity.Module("gate"))
	must(t, err)
	<-closed
	h.eventually("the processes have new credentials", func() bool { return !h.refuses(file) })
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

func TestStrangersAreNamedAsFarAsTheySay(t *testing.T) {
	t.Parallel()
	each(t, func(h *house) {
		if nc, err := nats.Connect(h.broker.URL, nats.Name("nobody")); err == nil {
			nc.Close()
			h.t.Error("an anonymous client came in")
		}
		elsewhere, err := identity.Open(h.t.TempDir(), "example.com")
		must(h.t, err)
		text, err := elsewhere.Credentials(identity.Module("gate"))
		must(h.t, err)
		if !h.refuses(h.write(text)) {
			h.t.Error("credentials of another bus were accepted")
		}
		h.eventually("both are logged", func() bool {
			return h.log.Count("a client without credentials") > 0 && h.log.Count("credentials of another bus") > 0
		})
	})
}

func TestNATSWithUsersOfItsOwnIsLeftAlone(t *testing.T) {
	t.Parallel()
	plain := natstest.Start(t, &server.Options{})
	h := open(t, func(*testing.T, *identity.Keys) config.NATS { return config.NATS{URL: plain.ClientURL()} })
	h.List(nil, 0)
	if file, err := h.Credentials("gate"); file != "" || err != nil {
		t.Errorf("modules are given %q, %v", file, err)
	}
	if h.log.Count("busd nats-config") != 1 {
		t.Error("the log does not say that this NATS lets in anybody")
	}
}

func TestConnectionsOfAModuleAreBounded(t *testing.T) {
	t.Parallel()
	for name, home := range homes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = 3
			h := open(t, home, most)
			file := h.file("gate")
			var first []*nats.Conn
			for range most {
				first = append(first, h.connect(file, nats.NoReconnect()))
			}
			if late, err := h.try(file, nats.NoReconnect()); err == nil { // Else it was disconnected before it had greeted the server.
				h.eventually("the one too many is disconnected", late.IsClosed)
			}
			h.eventually("it is logged", func() bool { return h.log.Count("too many connections") == 1 })
			must(t, h.connect(h.file("other"), nats.NoReconnect()).Flush())
			for _, nc := range first {
				must(t, nc.Flush())
			}
			first[0].Close()
			h.eventually("there is room again", func() bool { nc, err := h.try(file, nats.NoReconnect()); return err == nil && nc.Flush() == nil })
		})
	}
}
