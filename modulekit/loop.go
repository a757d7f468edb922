package modulekit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/responder"
)

const (
	// Lease is how long a worker that leads is taken for alive without a sign of it. After a crash another worker leads
	// within it.
	Lease = 15 * time.Second

	renewals = 3 // in the time of a lease
)

// loop is a function that is called again and again.
type loop struct {
	every time.Duration
	all   bool
	f     func(context.Context) error
}

// LoopingBackgroundCall has f called every interval, for the first time after one, on one worker of the module: the one
// that leads. When it crashes, another leads within [Lease]; while they cannot tell, none does. f is not called again
// before it returned; its context ends when the worker stops or leads no more. Errors and panics are logged. It is
// called while the module is constructed, and needs JetStream.
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

// startLoops runs the loops of an instance until the returned function is called, which waits for them.
func (api *ModuleAPI) startLoops(ctx context.Context) (stop func()) {
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
		owned.Go(func() { api.lead(ctx, led) })
	}
	return func() { cancel(); owned.Wait() }
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
	defer responder.Recover(&err, log, "looping background call", "")
	return l.f(ctx)
}

// lead waits to lead, runs the loops as long as this worker does, and waits again.
func (api *ModuleAPI) lead(ctx context.Context, loops []loop) {
	c := &candidate{api: api, lease: api.options.lease}
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

// runLed runs the loops until ctx ends or this worker leads no more.
func (api *ModuleAPI) runLed(ctx context.Context, c *candidate, loops []loop) {
	ctx, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	for _, l := range loops {
		owned.Go(func() { l.run(ctx, api.Log()) })
	}
	for ctx.Err() == nil && c.leads() {
		pause(ctx, c.lease/renewals)
		_ = c.stand(ctx) // What cannot be renewed runs out.
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

// candidate is a worker that leads if it can. The lease is a key that the server forgets when it is not renewed.
type candidate struct {
	api      *ModuleAPI
	lease    time.Duration
	kv       jetstream.KeyValue
	revision uint64
	until    time.Time // as this worker's own clock has it, and earlier than the server's
}

const leader = "leader"

func (c *candidate) leads() bool { return time.Now().Before(c.until) }

// stand takes the lease if it is free, and renews it if this worker has it.
func (c *candidate) stand(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.lease/renewals)
	defer cancel()
	if err := c.open(ctx); err != nil {
		return err
	}
	until := time.Now().Add(c.lease * (renewals - 1) / renewals)
	worker := []byte(c.api.Worker())
	var revision uint64
	var err error
	if c.revision == 0 {
		revision, err = c.kv.Create(ctx, leader, worker)
	} else {
		revision, err = c.kv.Update(ctx, leader, worker, c.revision)
	}
	switch {
	case err == nil:
		c.revision, c.until = revision, until
	case errors.Is(err, jetstream.ErrKeyExists): // Another leads.
		c.revision = 0
		return nil
	}
	return err
}

func (c *candidate) open(ctx context.Context) (err error) {
	if c.kv == nil {
		c.kv, err = openStore(ctx, c.api.options.nc, jetstream.KeyValueConfig{
			Bucket:      bucketName("modulebus-lease", c.api.options),
			Description: "leader of modulebus module " + c.api.Name(),
			TTL:         c.lease,
		})
	}
	return err
}

// resign gives the lease back, so that another worker need not wait for its end.
func (c *candidate) resign() {
	if c.revision == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.kv.Delete(ctx, leader, jetstream.LastRevision(c.revision)) // It runs out by itself.
}
