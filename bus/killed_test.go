package bus_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

var kills = flag.Int("kills", 1, "how often a worker is killed under load, each way")

// Environment of a worker that is a process.
const (
	workerName = "BUS_TEST_WORKER"
	workerNATS = "BUS_TEST_NATS"
)

// runWorker is the worker: it refuses everything.
func runWorker(name string) {
	nc, err := nats.Connect(os.Getenv(workerNATS))
	if err != nil {
		panic(err)
	}
	refusal := &callbacksv1.Refusal{Errcode: "M_FORBIDDEN"}
	m := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			UserMayCreateRoom: func(context.Context, *callbacksv1.UserMayCreateRoomRequest) (*callbacksv1.UserMayCreateRoomResponse, error) {
				return &callbacksv1.UserMayCreateRoomResponse{Refusal: refusal}, nil
			},
		})
		api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
			CheckEventAllowed: func(context.Context, *callbacksv1.CheckEventAllowedRequest) (*callbacksv1.CheckEventAllowedResponse, error) {
				return &callbacksv1.CheckEventAllowedResponse{Refusal: refusal}, nil
			},
		})
		return nil
	}}
	if err := modulekit.Run(context.Background(), nc, m, modulekit.Options{ServerName: serverName, Module: "gate", Worker: name}); err != nil {
		panic(err)
	}
}

// TestKilledWorkerLosesOnlyWhatItHas kills, or stops, one of two workers under 128 callers whose questions are all to be
// refused. Only those that the dead worker had may be let through, as the policy says; and none where another worker may be
// asked the same. The worker that is left answers within the timeout on any machine.
func TestKilledWorkerLosesOnlyWhatItHas(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		callback *subjects.Declaration
		request  proto.Message
		signal   syscall.Signal
	}{
		"killed, asked twice":  {mayCreate, &question{}, syscall.SIGKILL},
		"killed, asked once":   {subjects.CheckEventAllowed.Declaration, &callbacksv1.CheckEventAllowedRequest{}, syscall.SIGKILL},
		"stopped, asked twice": {mayCreate, &question{}, syscall.SIGSTOP},
		"stopped, asked once":  {subjects.CheckEventAllowed.Declaration, &callbacksv1.CheckEventAllowedRequest{}, syscall.SIGSTOP},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range *kills {
				newKilling(t, 10*time.Second).run(tt.callback, tt.request, tt.signal)
			}
		})
	}
}

const callers = 128

// killing is a module of two workers that are processes, of which one dies.
type killing struct {
	*stage

	t       *testing.T
	victim  *os.Process
	dead    atomic.Bool
	allowed atomic.Int64
	lost    atomic.Int64 // questions that the victim did not answer
}

func newKilling(t *testing.T, timeout time.Duration) *killing {
	t.Helper()
	k := &killing{t: t}
	home := natstest.TCP(t)
	gate := config.Module{
		Name: "gate", Config: []byte("{}"), Timeout: timeout, Breaker: config.Breaker{Failures: 5, Open: 5 * time.Second},
		OnFailure: &config.Policy{Local: config.Skip, Federated: config.Skip},
	}
	k.stage = newStageWith(t, home, bus.Options{Observe: k.observe}, gate)
	k.victim = k.process("victim")
	k.process("survivor")
	k.until("gate", func(m *rosterv1.Module) bool { return len(m.GetWorkers()) == 2 })
	for _, worker := range []string{"victim", "survivor"} {
		natstest.AwaitInterest(t, home, names.Worker(mayCreate, "gate", worker))
	}
	return k
}

func (k *killing) process(name string) *os.Process {
	k.t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), workerName+"="+name, workerNATS+"="+k.home.URL())
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Whoever ends the shell that runs the tests continues what is stopped in its group.
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process
}

// observe counts what the victim did not answer, and finds fault with whatever else failed.
func (k *killing) observe(tr *bus.Trace) {
	for _, m := range tr.Modules {
		switch {
		case m.Said != bus.SaidFailure:
		case m.Worker == "victim" && m.Failure == timeout:
			k.lost.Add(1)
		default:
			k.t.Errorf("worker %q: %v: %s", m.Worker, m.Failure, m.Text)
		}
	}
}

func (k *killing) run(d *subjects.Declaration, request proto.Message, signal syscall.Signal) {
	k.t.Helper()
	var asking sync.WaitGroup
	var warm sync.WaitGroup
	warm.Add(callers)
	for range callers {
		asking.Go(func() {
			k.ask(d, request, 20)
			warm.Done()
			for !k.dead.Load() {
				k.ask(d, request, 1)
			}
			k.ask(d, request, 200)
		})
	}
	warm.Wait()
	if err := k.victim.Signal(signal); err != nil {
		k.t.Fatal(err)
	}
	k.dead.Store(true)
	asking.Wait()
	allowed, lost := k.allowed.Load(), k.lost.Load()
	if allowed > lost || lost > callers || d.Options.GetSpeculative() && allowed > 0 {
		k.t.Errorf("%d of %d callers' questions were let through; the dead worker had %d", allowed, callers, lost)
	}
}

// A process that is stopped leaves the roster after some seconds, and NATS's queue group after some minutes. In between, the worker
// that is left has all questions, also for a homeserver that starts only then.
func TestWorkerThatIsLeftGetsAllQuestions(t *testing.T) {
	t.Parallel()
	k := newKilling(t, 20*time.Second)
	if err := k.victim.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	k.until("gate", func(m *rosterv1.Module) bool { return len(m.GetWorkers()) == 1 })
	later, err := bus.New(t.Context(), natstest.Connect(t, k.home), bus.Options{ServerName: serverName})
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	for range 50 {
		for _, c := range []*bus.Client{k.Client, later} {
			got, err := c.ThirdPartyRules.CheckEventAllowed(t.Context(), &callbacksv1.CheckEventAllowedRequest{})
			if err != nil || got.DecidedBy != "gate" {
				t.Fatalf("%v, %v", got, err)
			}
		}
	}
}

func (k *killing) ask(d *subjects.Declaration, request proto.Message, times int) {
	for range times {
		got, err := k.Ask(k.t.Context(), d, request)
		if err != nil {
			k.t.Error(err)
		}
		if got.Answer == nil {
			k.allowed.Add(1)
		}
	}
}
