package supervise

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// settleTime is how long an exit waits for the last lines on stderr, which a child may hold open.
const settleTime = time.Second

// worker is one place in a group, filled by one process after another.
type worker struct {
	*Options
	changes *changes
	delays  delays
	ordinal int
	crashes int             // in a row
	changed <-chan struct{} // closed by Reconfigure, which ends a rest

	cancel context.CancelFunc
	up     chan Worker   // gets the first process that was started
	down   chan Exit     // gets the first exit
	done   chan struct{} // closed when nothing is left of it

	mu      sync.Mutex
	process Process
	end     context.CancelCauseFunc // ends the process that runs; nil: none does
}

func newWorker(g *Group, ordinal int) *worker {
	o := &g.opts
	return &worker{
		Options: o,
		changes: &g.changes,
		delays:  delays{first: o.MinDelay, most: o.MaxDelay, steady: o.Steady},
		ordinal: ordinal,
		up:      make(chan Worker, 1),
		down:    make(chan Exit, 1),
		done:    make(chan struct{}),
	}
}

// run fills the place until ctx ends. It returns an error if the last process could not be ended completely.
func (w *worker) run(ctx context.Context) (left error) {
	for ctx.Err() == nil {
		w.changed = w.changes.wait() // Before the start, because the process may refuse a configuration that has changed since.
		var exit Exit
		exit, left = w.live(ctx)
		w.rest(ctx, exit)
	}
	return left
}

// live runs one process, from its start until nothing is left of it.
//
// The thread is held because Linux sends the parent-death signal when the thread that forked ends.
func (w *worker) live(ctx context.Context) (Exit, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	who, log := w.next()
	began := time.Now()
	alive, end := context.WithCancelCause(ctx)
	defer end(nil)
	p, err := start(alive, w.Options, who.ID, log)
	if err != nil {
		return w.unstarted(ctx, who, err, log), nil
	}
	who.PID = p.pid()
	w.started(who, end, log)
	p.wait()
	p.stderr.Settle(settleTime)
	exit := p.exit(who, ctx.Err() != nil)
	if why, ok := errors.AsType[endedError](context.Cause(alive)); ok && ctx.Err() == nil {
		exit.ended(w.Module, why)
	}
	exit = w.exited(ctx, exit, began, log)
	return exit, p.clear(log)
}

func (w *worker) next() (Worker, zerolog.Logger) {
	who := Worker{Ordinal: w.ordinal}
	name := strconv.Itoa(w.ordinal)
	if w.WorkerID != nil {
		who.ID = w.WorkerID(w.ordinal)
		name = who.ID
	}
	return who, w.Log.With().Str("module", w.Module).Str("worker", name).Logger()
}

func (w *worker) started(who Worker, end context.CancelCauseFunc, log zerolog.Logger) {
	log.Info().Int("pid", who.PID).Msg("worker started")
	w.mu.Lock()
	w.process.Worker, w.process.Started, w.end = who, time.Now(), end
	w.mu.Unlock()
	if w.Started != nil {
		w.Started(who)
	}
	offer(w.up, who)
}

// unstarted reports a command that could not be started, unless the group is stopping.
func (w *worker) unstarted(ctx context.Context, who Worker, err error, log zerolog.Logger) Exit {
	if ctx.Err() != nil {
		return Exit{Next: Stops}
	}
	return w.exited(ctx, Exit{Worker: who, Status: -1, Err: w.cannotStart(w.ordinal, err)}, time.Now(), log)
}

func (w *worker) exited(ctx context.Context, e Exit, began time.Time, log zerolog.Logger) Exit {
	e.At = time.Now()
	w.decide(ctx, &e, e.At.Sub(began))
	w.logExit(log, e)
	w.mu.Lock()
	w.process.exited(e)
	w.end = nil
	w.mu.Unlock()
	if w.Exited != nil {
		w.Exited(e)
	}
	offer(w.down, e)
	return e
}

func (w *worker) decide(ctx context.Context, e *Exit, up time.Duration) {
	switch {
	case ctx.Err() != nil:
		e.Next = Stops
	case e.Status == Refused && !e.ordered:
		e.Next = AwaitsConfig
	default:
		w.changed = w.changes.wait()
		e.Delay, w.crashes = w.delays.after(w.crashes, up, rand.Float64())
	}
}

// offer sends v to c without blocking; c has room for the first.
func offer[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// logExit logs an exit, as a warning unless it was orderly: an operator may stop a worker by hand so that it is started
// again.
func (w *worker) logExit(log zerolog.Logger, e Exit) {
	level := zerolog.WarnLevel
	switch {
	case e.Next == AwaitsConfig:
		level = zerolog.ErrorLevel
	case e.Err == nil, e.orderly && w.crashes <= 1:
		level = zerolog.InfoLevel
	}
	ev := log.WithLevel(level).Err(e.Err).Int("pid", e.PID).Stringer("next", e.Next)
	if e.Next == Restarts {
		ev.Stringer("delay", e.Delay.Round(time.Millisecond))
	}
	ev.Msg("worker ended")
}

// rest returns when the next process is due, or ctx ends.
func (w *worker) rest(ctx context.Context, e Exit) {
	var due <-chan time.Time
	if e.Next == Restarts {
		due = time.After(time.Until(e.At.Add(e.Delay)))
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-w.changed:
		w.crashes = 0
	}
}
