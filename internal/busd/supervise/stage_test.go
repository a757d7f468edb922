package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// stage is a group under test.
type stage struct {
	t       *testing.T
	group   *Group
	stop    context.CancelFunc
	done    chan error
	started chan Worker
	exited  chan Exit
	log     chan map[string]any
	calls   net.Listener
}

// run starts a group and stops it with the test.
func run(t *testing.T, o Options) *stage {
	t.Helper()
	s := prepare(t, o)
	s.begin()
	return s
}

func prepare(t *testing.T, o Options) *stage {
	t.Helper()
	s := &stage{
		t:       t,
		done:    make(chan error, 1),
		started: make(chan Worker, 100),
		exited:  make(chan Exit, 100),
		log:     make(chan map[string]any, 1000),
		calls:   listen(t),
	}
	o.Module = "demo"
	o.Env = append(childOf(s.calls), "GOCOVERDIR="+t.TempDir())
	if o.Started == nil {
		o.Started = func(w Worker) { s.started <- w }
	}
	o.Exited = func(e Exit) { s.exited <- e }
	o.Log = zerolog.New(s)
	s.group = New(o)
	return s
}

func (s *stage) begin() {
	var ctx context.Context
	ctx, s.stop = context.WithCancel(s.t.Context())
	var once sync.WaitGroup
	once.Go(func() { s.done <- s.group.Run(ctx) })
	s.t.Cleanup(func() { s.stop(); once.Wait() })
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Write takes a line of the group's log. What a test does not look at may be lost.
func (s *stage) Write(line []byte) (int, error) {
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		m = map[string]any{"invalid": string(line)}
	}
	select {
	case s.log <- m:
	default:
	}
	return len(line), nil
}

// childOf is the environment of a child that reports to l. The race detector would have it linger at its end.
func childOf(l net.Listener) []string {
	return []string{childEnv + "=1", dialEnv + "=" + l.Addr().String(), "GORACE=atexit_sleep_ms=0"}
}

// next returns what comes out of c.
func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %T in %v", *new(T), patience)
		panic("unreachable")
	}
}

// line returns the next line of the log with that message.
func (s *stage) line(message string) map[string]any {
	s.t.Helper()
	for {
		m := next(s.t, s.log)
		if m["message"] == message {
			return m
		}
	}
}

// call is a worker's connection to its test.
type call struct {
	t *testing.T
	net.Conn
	lines *bufio.Reader
}

// answer returns the next worker's connection.
func (s *stage) answer() *call { s.t.Helper(); return answer(s.t, s.calls) }

func answer(t *testing.T, l net.Listener) *call {
	t.Helper()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &call{t, c, bufio.NewReader(c)}
}

// says waits for a line of the worker.
func (c *call) says(want string) {
	c.t.Helper()
	got, err := c.lines.ReadString('\n')
	if err != nil || got != want+"\n" {
		c.t.Fatalf("worker said %q, %v; want %q", got, err, want)
	}
}

// over waits for the worker's death and returns what else it said.
func (c *call) over() string {
	c.t.Helper()
	said, err := io.ReadAll(c.lines)
	if isTimeout(err) {
		c.t.Fatal("the worker lives")
	}
	return string(said)
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// end lets a worker that drains end.
func (c *call) end() { fmt.Fprintln(c) }
