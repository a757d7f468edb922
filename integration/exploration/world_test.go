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

// world is a homeserver with modules in processes of their own, and all that is between them.
type world struct {
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

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.startNATS()
	w.near, w.far = newProxy(t, w.address), newProxy(t, w.address)

	r := roster.New()
	r.Configure(modules, 250*time.Millisecond, time.Now())
	service, err := roster.Serve(w.connect("nats://"+w.address), serverName, r, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	if w.client, err = bus.New(context.Background(), w.connect(w.near.url()), bus.Options{ServerName: serverName}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	for _, m := range modules {
		w.workers = append(w.workers, w.startWorker(m.Name), w.startWorker(m.Name))
	}
	w.awaitWorkers()
	return w
}

// startNATS starts the server, again where it was before.
func (w *world) startNATS() {
	w.t.Helper()
	o := &server.Options{}
	if at, err := netip.ParseAddrPort(w.address); err == nil {
		o.Port = int(at.Port())
	}
	w.nats = natstest.Start(w.t, o)
	w.address = w.nats.Addr().String()
}

func (w *world) connect(url string) *nats.Conn {
	w.t.Helper()
	nc, err := connect(url)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

// worker is a process.
type worker struct {
	module, name string
	cmd          *exec.Cmd
	stdin        io.Closer
	ended        chan struct{}
}

func (w *world) startWorker(module string) *worker {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	p := &worker{module: module, name: fmt.Sprintf("w%d", w.names.Add(1)), cmd: exec.Command(self), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), moduleVariable+"="+module, workerVariable+"="+p.name, natsVariable+"="+w.far.url(), "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = w.t.Output()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // How it ended is up to the test.
	}()
	w.t.Cleanup(func() { p.kill() })
	return p
}

func (p *worker) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) } // It may have ended.

func (p *worker) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.stdin.Close()
	<-p.ended
}

// replace ends a worker in some way, and starts another in its place.
func (w *world) replace(end func(*worker)) {
	i := rand.IntN(len(w.workers))
	end(w.workers[i])
	w.workers[i] = w.startWorker(w.workers[i].module)
}

// awaitWorkers waits until the homeserver knows of every worker.
func (w *world) awaitWorkers() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for r := w.client.Roster(); !w.all(r); {
		var err error
		if r, err = w.client.AwaitRoster(ctx, r.GetRevision()); err != nil {
			w.t.Fatalf("some workers have not joined: %v", r)
		}
	}
}

func (w *world) all(r *rosterv1.Roster) bool {
	return !slices.ContainsFunc(w.workers, func(p *worker) bool {
		return !slices.ContainsFunc(r.GetModules(), func(m *rosterv1.Module) bool {
			return m.GetName() == p.module && slices.Contains(m.GetWorkers(), p.name)
		})
	})
}

// ask asks a question and takes down what was decided. Some callers go away.
func (w *world) ask() record {
	n := w.asks.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if n%25 == 0 {
		defer time.AfterFunc(rand.N(20*time.Millisecond), cancel).Stop()
	}
	r := record{id: fmt.Sprintf("@u%d:%s", n, serverName), callback: asked[int(n)%len(asked)]}
	r.decision, r.err = w.client.Ask(ctx, r.callback, request(r.id, r.callback))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
	return r
}

// callers ask until they are told to stop.
func (w *world) callers(n int) (stop func()) {
	stopped := make(chan struct{})
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for {
				w.ask()
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
func (w *world) meanwhile(asks int64) {
	w.t.Helper()
	deadline := time.After(patience)
	for until := w.asks.Load() + asks; w.asks.Load() < until; {
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			w.t.Fatal("nobody asks any more")
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
