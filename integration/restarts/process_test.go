package restarts_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

const serverName = "example.com"

// What a process of the test is told by its environment.
const (
	roleVariable   = "RESTARTS_ROLE" // busd, module or nats
	configVariable = "RESTARTS_CONFIG"
	portVariable   = "RESTARTS_PORT" // of NATS
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "busd":
		os.Exit(runBusd(os.Getenv(configVariable)))
	case "module":
		os.Exit(runModule())
	case "nats":
		os.Exit(runNATS(os.Getenv(portVariable)))
	}
	os.Exit(rounds(m))
}

// untilTold is a context that ends with SIGTERM, or when the test that started this process is gone.
func untilTold() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	if os.Getenv("MODULEBUS_WORKER") == "" { // busd ends what it starts itself.
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	return ctx, stop
}

func runBusd(file string) int {
	ctx, stop := untilTold()
	defer stop()
	c, err := config.Read(file)
	if err != nil {
		return fail(err)
	}
	hangup, reload := make(chan os.Signal, 1), make(chan busd.Reload)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			if c, err := config.Read(file); err == nil {
				reload <- busd.Reload{Config: c}
			}
		}
	}()
	log := zerolog.New(os.Stderr).Level(zerolog.ErrorLevel)
	if err := busd.Run(ctx, busd.Options{Config: c, Reload: reload, Log: log}); err != nil {
		return fail(err)
	}
	return 0
}

// runNATS is a process of its own, so that it can be paused.
func runNATS(port string) int {
	ctx, stop := untilTold()
	defer stop()
	n, err := strconv.Atoi(port)
	if err != nil {
		return fail(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: n, NoSigs: true, NoLog: true})
	if err != nil {
		return fail(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return 1
	}
	<-ctx.Done()
	s.Shutdown()
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// settings are a module's config. A process that finds denny in it refuses it.
type settings struct {
	Deny string `json:"deny"`
}

func runModule() int {
	ctx, stop := untilTold()
	defer stop()
	module, worker := os.Getenv("MODULEBUS_MODULE"), cmp.Or(os.Getenv("MODULEBUS_WORKER"), nuid.Next())
	url := os.Getenv("MODULEBUS_NATS_URL")
	nc, err := connect(url, module, worker)
	for ; err != nil && ctx.Err() == nil; nc, err = connect(url, module, worker) {
		<-time.After(retry)
	}
	if err != nil {
		return 0
	}
	defer nc.Close()
	o := modulekit.Options{ServerName: serverName, Module: module, Worker: worker}
	err = modulekit.Run(ctx, nc, modulekit.Module[settings]{New: register}, o)
	if _, refused := err.(*modulekit.ConfigError); refused {
		const exConfig = 78
		return exConfig
	}
	return 0
}

const retry = 20 * time.Millisecond

func connect(url, module, worker string) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(retry), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.CustomInboxPrefix(subjects.For(serverName).Inbox(module, worker)),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // There will be many.
	}
	if file := os.Getenv("MODULEBUS_CREDENTIALS"); file != "" {
		opts = append(opts, nats.UserCredentials(file))
	}
	return nats.Connect(url, opts...)
}

func register(_ settings, api *modulekit.ModuleAPI) error {
	name := api.Name()
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: func(_ context.Context, req *callbacksv1.UserMayCreateRoomRequest) (*callbacksv1.UserMayCreateRoomResponse, error) {
			if refuses(name, req.GetUserId()) {
				return &callbacksv1.UserMayCreateRoomResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", name)}, nil
			}
			return nil, nil
		},
	})
	return nil
}

// refuses is what a module says of a user. It follows from their names alone.
func refuses(module, user string) bool {
	const inFour = 4
	h := fnv.New64a()
	fmt.Fprint(h, module, " ", user)
	return h.Sum64()>>7%inFour == 0
}

// process is a process of the test.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	ended  chan struct{}
	paused bool
}

func start(t *testing.T, role string, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(executable(t)), ended: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0"), env...)
	p.cmd.Stderr = t.Output()
	stdin, err := p.cmd.StdinPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // How it ends is up to the test.
	}()
	return p
}

func executable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// end sends a signal, and waits until the process is gone.
func (p *process) end(s os.Signal) {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(s) // It may have ended.
	p.resume()
	<-p.ended
	_ = p.stdin.Close()
}

// pause has a process do nothing any more, without anybody being told.
func (p *process) pause() {
	if p.runs() {
		_ = p.cmd.Process.Signal(syscall.SIGSTOP) // It may have ended.
		p.paused = true
	}
}

func (p *process) resume() {
	if p != nil && p.paused {
		_ = p.cmd.Process.Signal(syscall.SIGCONT) // It may have ended.
		p.paused = false
	}
}

func (p *process) runs() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// quoted is a text as YAML and JSON have it.
func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}
