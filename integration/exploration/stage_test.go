package exploration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// patience is how long anything may take that must happen.
const patience = time.Minute

// modules are the operator's, with a policy of each kind. Times are short, so that much happens in a little time.
var modules = []config.Module{
	module("first", config.Skip, 20*time.Millisecond, config.Breaker{}),
	module("second", config.Refuse, 0, config.Breaker{Failures: 3, Open: 200 * time.Millisecond}),
	module("third", config.Fail, 30*time.Millisecond, config.Breaker{}),
}

func module(name string, policy config.Action, hedge time.Duration, b config.Breaker) config.Module {
	return config.Module{
		Name: name, Config: json.RawMessage("{}"), Timeout: 100 * time.Millisecond,
		OnFailure: &config.Policy{Local: policy, Federated: policy}, Hedge: hedge, Breaker: b,
	}
}

// stage is a homeserver with modules in processes of their own, and all that is between them.
type stage struct {
	t       *testing.T
	address string // of NATS
	nats    *server.Server
	near    *proxy // between the homeserver and NATS
	far     *proxy // between workers and NATS
	client  *bus.Client
	workers []*worker
	names   atomic.Int64

	asks    atomic.Int64
	mu      sync.Mutex
	records []record
}

// record is one ask, and what was decided.
type record struct {
	id       string
	callback *subjects.Declaration
	decision bus.Decision[proto.Message]
	err      error
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t}
	s.startNATS()
	s.near, s.far = newProxy(t, s.address), newProxy(t, s.address)

	r := roster.New()
	r.Configure(modules, 250*time.Millisecond, time.Now())
	service, err := roster.Serve(s.connect("nats://"+s.address), serverName, r, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	if s.client, err = bus.New(context.Background(), s.connect(s.near.url()), bus.Options{ServerName: serverName}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	for _, m := range modules {
		s.workers = append(s.workers, s.startWorker(m.Name), s.startWorker(m.Name))
	}
	s.awaitWorkers()
	return s
}

// startNATS starts the server, again where it was before.
func (s *stage) startNATS() {
	s.t.Helper()
	o := &server.Options{}
	if at, err := netip.ParseAddrPort(s.address); err == nil {
		o.Port = int(at.Port())
	}
	s.nats = natstest.Start(s.t, o)
	s.address = s.nats.Addr().String()
}

func (s *stage) connect(url string) *nats.Conn {
	s.t.Helper()
	nc, err := connect(url)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// worker is a process.
type worker struct {
	module, name string
	cmd          *exec.Cmd
	stdin        io.Closer
	ended        chan struct{}
}

func (s *stage) startWorker(module string) *worker {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &worker{module: module, name: fmt.Sprintf("w%d", s.names.Add(1)), cmd: exec.Command(self), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), moduleVariable+"="+module, workerVariable+"="+p.name, natsVariable+"="+s.far.url(), "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = s.t.Output()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // How it ended is up to the test.
	}()
	s.t.Cleanup(func() { p.kill() })
	return p
}

func (p *worker) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) } // It may have ended.

func (p *worker) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.stdin.Close()
	<-p.ended
}

// replace ends a worker in some way, and starts another in its place.
func (s *stage) replace(end func(*worker)) {
	i := rand.IntN(len(s.workers))
	end(s.workers[i])
	s.workers[i] = s.startWorker(s.workers[i].module)
}

// awaitWorkers waits until the homeserver knows of every worker.
func (s *stage) awaitWorkers() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for r := s.client.Roster(); !s.all(r); {
		var err error
		if r, err = s.client.AwaitRoster(ctx, r.GetRevision()); err != nil {
			s.t.Fatalf("some workers have not joined: %v", r)
		}
	}
}

func (s *stage) all(r *rosterv1.Roster) bool {
	return !slices.ContainsFunc(s.workers, func(p *worker) bool {
		return !slices.ContainsFunc(r.GetModules(), func(m *rosterv1.Module) bool {
			return m.GetName() == p.module && slices.Contains(m.GetWorkers(), p.name)
		})
	})
}

// ask asks a question and takes down what was decided. Some callers go away.
func (s *stage) ask() record {
	n := s.asks.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if n%25 == 0 {
		defer time.AfterFunc(rand.N(20*time.Millisecond), cancel).Stop()
	}
	r := record{id: fmt.Sprintf("@u%d:%s", n, serverName), callback: asked[int(n)%len(asked)]}
	r.decision, r.err = s.client.Ask(ctx, r.callback, request(r.id, r.callback))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, r)
	return r
}

// callers ask until they are told to stop.
func (s *stage) callers(n int) (stop func()) {
	stopped := make(chan struct{})
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for {
				s.ask()
				select {
				case <-stopped:
					return
				case <-time.After(rand.N(10 * time.Millisecond)):
				}
			}
		})
	}
	return sync.OnceFunc(func() { close(stopped); all.Wait() })
}

// meanwhile returns when some more asks have been made, or given up.
func (s *stage) meanwhile(asks int64) {
	s.t.Helper()
	deadline := time.After(patience)
	for until := s.asks.Load() + asks; s.asks.Load() < until; {
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			s.t.Fatal("nobody asks any more")
		}
	}
}

// well reports whether a decision was reached without anything going wrong that no script says.
func (r record) well() bool {
	return !errors.Is(r.err, context.Canceled) && !slices.ContainsFunc(r.decision.Failures, func(f bus.Failure) bool {
		does, _ := script(f.Module, r.id, r.callback)
		return does == abstains || does == answers || does == answersLate
	})
}
