package supervise

import (
	"context"
	"errors"
	"fmt"
)

// Restart replaces the workers, one after the other. Beside each, a new process is started; when ready says that the
// new one works, the old one is stopped, and drains. So a worker runs at all times, even if there is only one.
//
// ready returns nil when the worker can be asked, or why it cannot. It is called on its own goroutine, and its context
// ends when the process does. If a new process ends or is not ready, it is stopped, the old one stays, and the workers
// after it are not replaced; the error says why, and how many were replaced. One Restart works at a time. It blocks
// until all workers are replaced, or until ctx has ended and the last step is over.
func (g *Group) Restart(ctx context.Context, ready func(context.Context, Worker) error) error {
	select {
	case g.restarting <- struct{}{}:
		defer func() { <-g.restarting }()
	case <-ctx.Done():
		return errRestarting
	}
	for n := range g.opts.Workers {
		switch err := g.replace(ctx, n, ready); {
		case errors.Is(err, errNotRunning):
			return err
		case err != nil:
			return fmt.Errorf("%d of %d workers are new; worker %d was not replaced, and the old one goes on: %w", n, g.opts.Workers, n, err)
		}
	}
	return nil
}

var (
	errNotRunning = errors.New("its workers do not run: it was taken off the list, or is run in another way now, or busd ends")
	errRestarting = errors.New("its workers were being replaced already, and that is not over")
)

func (g *Group) replace(ctx context.Context, n int, ready func(context.Context, Worker) error) error {
	old, next, err := g.successor(n) //nolint:contextcheck // The worker lives as long as the group, not as this call.
	if err != nil {
		return err
	}
	if err := next.proves(ctx, ready); err != nil {
		next.stop()
		return err
	}
	g.mu.Lock()
	g.workers[n] = next
	g.mu.Unlock()
	old.stop()
	return nil
}

func (g *Group) successor(n int) (old, next *worker, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended || n >= len(g.workers) {
		return nil, nil, errNotRunning
	}
	return g.workers[n], g.begin(n), nil
}

// proves waits until the worker's first process is ready.
func (w *worker) proves(ctx context.Context, ready func(context.Context, Worker) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	proven := make(chan struct{})
	go func() {
		defer close(proven)
		select {
		case who := <-w.up:
			err = ready(ctx, who)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}()
	var died error
	select {
	case <-proven:
	case e := <-w.down:
		died = errors.New(e.Reason())
	case <-w.done: // The group ends.
		died = errNotRunning
	}
	cancel()
	<-proven
	if died != nil {
		return died
	}
	return err
}

// stop stops the process and returns when nothing is left of it.
func (w *worker) stop() {
	w.cancel()
	<-w.done
}
