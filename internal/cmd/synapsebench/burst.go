package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// burst is what the slowest of many clients waits, who send a message each into one room at the same moment while a module
// hangs. Each is asked about at once (see findings/synapse-room-not-one-at-a-time.sh), so that what it waits beyond the time
// for the module is what Synapse takes to make so many events: a Synapse without modules shows how much that is, and one whose
// own module sleeps as long, that it is the same wherever the module runs.
type burst struct {
	messages int
	wait     time.Duration // busd's for the module, and for which the one in Synapse's process sleeps
}

var hanging = burst{messages: 50, wait: time.Second}

func (b burst) name() string {
	return fmt.Sprintf("slowest of %d messages at once into one room while a module hangs, for which busd waits %v", b.messages, b.wait)
}

// line measures, each time with servers that have just been started: what busd has learned of a module must not help.
func (b burst) line(ctx context.Context, rounds int) (string, error) {
	hangs, sleeps := checkConfig{Pause: int(time.Hour.Milliseconds())}, checkConfig{Pause: int(b.wait.Milliseconds())}
	longest := map[string][]time.Duration{}
	for range rounds {
		for _, side := range []struct {
			arrangement
			config checkConfig
		}{{ours, hangs}, {inProcess, sleeps}, {nothing, checkConfig{}}} {
			took, err := b.once(ctx, side.arrangement, side.config)
			if err != nil {
				return "", fmt.Errorf("%s: %w", side.name, err)
			}
			longest[side.name] = append(longest[side.name], took)
		}
	}
	of := func(a arrangement) float64 {
		all := longest[a.name]
		slices.Sort(all)
		return all[len(all)/2].Seconds()
	}
	beyond := func(a arrangement) float64 { return of(a) - b.wait.Seconds() }
	verdict := "✗"
	if beyond(ours) <= max(b.wait.Seconds()/5, of(nothing)) {
		verdict = "✓"
	}
	return fmt.Sprintf("| %s, against a module in Synapse's process that sleeps as long | %.2f s, %.2f s beyond the wait | %.2f s, %.2f s beyond it | "+
		"%.2f | beyond the wait ≤ a fifth of it, or the %.2f s that they take without a module | %s |",
		b.name(), of(ours), beyond(ours), of(inProcess), beyond(inProcess), of(ours)/of(inProcess), of(nothing), verdict), nil
}

func (b burst) once(ctx context.Context, a arrangement, config checkConfig) (took time.Duration, err error) {
	s, err := newStage()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.build(ctx); err != nil {
		return 0, err
	}
	config.Path = path("check")
	s.policy = fmt.Sprintf(", timeout: %v, on_failure: skip", b.wait)
	c, err := s.arrange(ctx, a, 1, []checkConfig{config})
	if err == nil {
		took, err = b.send(ctx, c.clients[0])
	}
	return took, s.explained(err)
}

// send returns how long the slowest waited.
func (b burst) send(ctx context.Context, user *client) (longest time.Duration, err error) {
	var sending sync.WaitGroup
	times, errs := make([]time.Duration, b.messages), make([]error, b.messages)
	start := time.Now()
	for i := range b.messages {
		k := &client{url: user.url, token: user.token, sent: i} // Its number is the transaction's.
		sending.Go(func() {
			var status int
			status, errs[i] = k.send(ctx, chat)
			if times[i] = time.Since(start); errs[i] == nil && status != http.StatusOK {
				errs[i] = fmt.Errorf("a message has status %d", status)
			}
		})
	}
	sending.Wait()
	return slices.Max(times), errors.Join(errs...)
}
