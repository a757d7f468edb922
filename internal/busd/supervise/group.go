package supervise

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	// Refused is the exit status of a worker whose configuration was refused (EX_CONFIG of sysexits.h).
	Refused = 78

	// WorkerEnv names the environment variable that tells a worker its id.
	WorkerEnv = "MODULEBUS_WORKER"
)

// Options says what to run and how. Command is required; every other zero value means a default.
type Options struct {
	Module  string   // in logs and errors; the log's own context should not name it again
	Command []string // the program and its arguments; a relative path with a slash in it counts from Dir
	Env     []string // its environment, without WorkerEnv: NAME=value; the last value of a name counts; see Environment
	Dir     string   // where it runs; default: this process's working directory
	Workers int      // how many processes; default 1

	Drain    time.Duration // from SIGTERM to SIGKILL; default 12s: the kits' ten for requests under way, and two to end the rest
	MinDelay time.Duration // before the first restart, at most; default 100ms
	MaxDelay time.Duration // before any restart, at most; default 30s
	Steady   time.Duration // a worker that was up this long starts the delays anew; default 30s

	// WorkerID returns the name of a process that is about to be started, which gets it as MODULEBUS_WORKER. It is called
	// once for each start, and may be called concurrently. Default: no name; the log has the ordinal.
	WorkerID func(ordinal int) string

	// Started and Exited are called for each process: in order for the processes of one place, except during Restart, and
	// concurrently for several places. The worker's place waits until they return. Either may be nil.
	Started func(Worker)
	Exited  func(Exit)

	Log zerolog.Logger // default: nothing is logged
}

func (o *Options) command(ctx context.Context, id string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, o.Command[0], o.Command[1:]...)
	cmd.Dir = o.Dir
	cmd.WaitDelay = o.Drain
	cmd.Env = append([]string{}, o.Env...)
	if id != "" {
		cmd.Env = append(cmd.Env, WorkerEnv+"="+id)
	}
	cmd.SysProcAttr = attributes()
	return cmd
}

// Worker names one process.
type Worker struct {
	Ordinal int    // from 0 to Workers-1; the next process in its place has the same
	ID      string // from WorkerID; no two processes share it
	PID     int    // also its process group; 0: it could not be started, and Started was not called
}

// Exit tells how a process ended: at once, or a second later when children that it left hold its stderr open. They may
// still be draining.
type Exit struct {
	Worker
	At     time.Time
	Status int           // exit status; -1: ended by a signal, or could not be started
	Err    error         // what went wrong, for the operator; nil: it stopped in time when asked to
	Said   string        // the last complaint on its stderr, at most 1 KiB: the module's own words, with whatever is in them
	Next   Next          // what happens to its place
	Delay  time.Duration // from At to the next start; only if Next is Restarts

	orderly bool // it ended as a process does that was asked to
	ordered bool // by End
}

// Reason is Err and what the process said last, on one line. It is for operators only, because a module may write
// anything.
func (e Exit) Reason() string {
	if e.Err == nil || e.Said == "" {
		return fmt.Sprint(e.Err)
	}
	return fmt.Sprintf("%v: %s", e.Err, e.Said)
}

// Next is what happens to a worker's place when its process has ended.
type Next int

// What may happen to it.
const (
	Restarts     Next = iota // a process is started after Exit.Delay, or at once by Reconfigure
	AwaitsConfig             // a process is started by Reconfigure
	Stops                    // the group is stopping
)

// String returns the word that the log uses.
func (n Next) String() string {
	return [...]string{"restarts", "awaits configuration", "stops"}[n]
}

// Group is the workers of one module. Its methods may be called from any goroutine.
type Group struct {
	opts    Options
	changes changes

	restarting chan struct{}   // has a place for the one Restart that works
	mu         sync.Mutex      // guards the rest
	ctx        context.Context //nolint:containedctx // Run's, for workers that Restart begins
	workers    []*worker       // by ordinal
	ended      bool            // no worker is started any more
	left       []error         // what could not be ended
	owned      sync.WaitGroup
}

// New returns a group that runs nothing yet. It keeps o's slices.
func New(o Options) *Group {
	setDefault(&o.Workers, 1)
	setDefault(&o.Drain, 12*time.Second)
	setDefault(&o.MinDelay, 100*time.Millisecond)
	setDefault(&o.MaxDelay, 30*time.Second)
	setDefault(&o.Steady, 30*time.Second)
	return &Group{opts: o, restarting: make(chan struct{}, 1)}
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Run starts the workers and keeps them running until ctx ends. Then it stops them and returns, at most the drain time
// and three seconds later, unless the kernel cannot end a process, or the log blocks. It returns nil when nothing is
// left of them. A group can be run once.
func (g *Group) Run(ctx context.Context) error {
	if len(g.opts.Command) == 0 {
		return fmt.Errorf("%s: nothing to run: the command is empty", g.opts.Module)
	}
	g.start(ctx)
	<-ctx.Done()
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	g.owned.Wait()
	return errors.Join(g.left...)
}

func (g *Group) start(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ctx = ctx
	for n := range g.opts.Workers {
		g.workers = append(g.workers, g.begin(n)) //nolint:contextcheck // Its context is ctx, by g.
	}
}

// begin runs a worker until it is stopped, or the group is. It is called with mu held.
func (g *Group) begin(ordinal int) *worker {
	w := newWorker(g, ordinal)
	ctx, cancel := context.WithCancel(g.ctx)
	w.cancel = cancel
	g.owned.Go(func() {
		defer close(w.done)
		if err := w.run(ctx); err != nil {
			g.mu.Lock()
			g.left = append(g.left, err)
			g.mu.Unlock()
		}
	})
	return w
}

// Reconfigure tells the group that the module's configuration has changed: workers that refused it, and workers that
// wait to be restarted, are started at once. A running worker is left alone; if it then refuses the configuration, it
// is started again at once. It does not block.
func (g *Group) Reconfigure() { g.changes.tell() }

// End ends the process of a worker, as if it had crashed: another is started in its place. why is for the operator. It
// does nothing if no process of that name runs, and does not block.
func (g *Group) End(worker, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.workers {
		w.mu.Lock()
		if w.process.ID == worker && w.end != nil {
			w.end(endedError(why))
		}
		w.mu.Unlock()
	}
}

// endedError is why busd ended a process that did not end by itself.
type endedError string

// Error implements error.
func (e endedError) Error() string { return string(e) }
