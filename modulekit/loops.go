package modulekit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/responder"
)

// LeaderLease is how long a leading worker keeps the lead without renewing it. After a crash, another worker leads within this
// time.
const LeaderLease = 15 * time.Second

const renewals = 3 // per lease

// loopTime is how long the worker waits for a looping background call whose context has ended. Beyond: the call runs on
// beside what comes next, and the log says so.
const loopTime = 2 * time.Second

// loop is a function that is called again and again.
type loop struct {
	every time.Duration
	all   bool
	f     func(context.Context) error
}

// LoopingBackgroundCall calls f once per interval on one worker of the module, the one that leads. The first call comes after
// one interval, and the next one never before f has returned. The context of f ends when the worker stops or no longer
// leads. Errors and panics of f are logged.
//
// When the leading worker crashes, another leads within [LeaderLease]. While workers cannot find out which of them leads, none does. It
// needs JetStream, and may only be called while the module is constructed.
func (api *ModuleAPI) LoopingBackgroundCall(every time.Duration, f func(context.Context) error) {
	api.loop(loop{every: every, f: f})
}

// LoopingBackgroundCallOnAllInstances is LoopingBackgroundCall on every worker, and needs no JetStream.
func (api *ModuleAPI) LoopingBackgroundCallOnAllInstances(every time.Duration, f func(context.Context) error) {
	api.loop(loop{every: every, all: true, f: f})
}

func (api *ModuleAPI) loop(l loop) {
	if l.every <= 0 {
		api.problem(fmt.Errorf("looping background call every %v: the interval must be positive", l.every))
		return
	}
	api.loops = append(api.loops, l)
}

// startLoops runs the loops of an instance until stop is called. stop waits for them, at most loopTime.
func (api *ModuleAPI) startLoops(ctx context.Context, c *candidate) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	var led []loop
	for _, l := range api.loops {
		if l.all {
			owned.Go(func() { l.run(ctx, api.Log()) })
			continue
		}
		led = append(led, l)
	}
	if len(led) > 0 {
		owned.Go(func() { api.lead(ctx, c, led) })
	}
	return func() {
		cancel()
		ended := make(chan struct{})
		go func() { owned.Wait(); close(ended) }()
		if !within(ended, loopTime) {
			api.Log().Warn().Msg("a looping background call goes on though its context has ended; it runs beside what comes next")
		}
	}
}

func (l loop) run(ctx context.Context, log *zerolog.Logger) {
	ticker := time.NewTicker(l.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.call(ctx, log)
		}
	}
}

func (l loop) call(ctx context.Context, log *zerolog.Logger) {
	if err := l.guarded(ctx, log); err != nil && ctx.Err() == nil {
		log.Warn().Err(err).Msg("looping background call failed")
	}
}

func (l loop) guarded(ctx context.Context, log *zerolog.Logger) (err error) {
	defer responder.Recover(&err, log, "looping background call", "", nil)
	return l.f(ctx)
}

// lead waits to lead, runs the loops as long as this worker does, and waits again.
func (api *ModuleAPI) lead(ctx context.Context, c *candidate, loops []loop) {
	select {
	case c.turn <- struct{}{}: // Loops of an earlier configuration may still be running: only one set of loops leads, in this process too.
	case <-ctx.Done():
		return
	}
	defer func() { <-c.turn }()
	defer c.resign() //nolint:contextcheck // It resigns because ctx has ended.
	said := ""
	for ctx.Err() == nil {
		if err := c.stand(ctx); err != nil && err.Error() != said {
			said = err.Error()
			api.Log().Warn().Err(err).Msg("cannot tell which worker leads: looping background calls do not run here")
		}
		if c.leads() {
			api.runLed(ctx, c, loops)
			continue
		}
		pause(ctx, c.lease/renewals)
	}
}

// runLed runs the loops until ctx ends or this worker no longer leads.
func (api *ModuleAPI) runLed(ctx context.Context, c *candidate, loops []loop) {
	ctx, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	for _, l := range loops {
		owned.Go(func() { l.run(ctx, api.Log()) })
	}
	for ctx.Err() == nil && c.leads() {
		pause(ctx, c.lease/renewals)
		_ = c.stand(ctx) // A lease that cannot be renewed expires.
	}
	cancel()
	owned.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// candidate is a worker that tries to lead. The lease is a key that the server deletes when it is not renewed in time.
type candidate struct {
	worker   string
	turn     chan struct{} // has a place for the one set of loops that leads
	lease    time.Duration
	bucket   kitopts.Bucket
	revision uint64    // of the lease, 0 if this worker does not have it
	until    time.Time // end of the lease by this worker's clock, earlier than by the server's
}

func newCandidate(worker string, lease time.Duration, b kitopts.Bucket) *candidate {
	return &candidate{worker: worker, turn: make(chan struct{}, 1), lease: lease, bucket: b}
}

const leader = "leader"

func (c *candidate) leads() bool { return time.Now().Before(c.until) }

// stand takes the lease if it is free, and renews it if this worker has it. If the bucket was made anew, this worker's
// lease is gone, and the next call takes it again.
func (c *candidate) stand(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.lease/renewals)
	defer cancel()
	until := time.Now().Add(c.lease * (renewals - 1) / renewals)
	had := c.revision
	revision, err := c.bucket.Write(ctx, leader, kitopts.Write{Value: []byte(c.worker), After: &had})
	switch {
	case err == nil:
		c.revision, c.until = revision, until
	case errors.Is(err, ErrConflict): // Another worker leads, or this worker's lease is gone.
		c.revision = 0
		return nil
	}
	return err
}

// resign returns the lease, so that another worker need not wait for it to expire.
func (c *candidate) resign() {
	if c.revision == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	had := c.revision
	c.revision, c.until = 0, time.Time{}
	_, _ = c.bucket.Write(ctx, leader, kitopts.Write{Delete: true, After: &had}) // If this fails, the lease expires.
}
