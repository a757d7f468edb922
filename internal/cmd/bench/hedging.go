package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// hedging is the row of a module one of whose ten workers is stuck: how long the slowest asks take, with a second worker
// asked after a delay and, as the peer, without.
type hedging struct{}

const (
	hedgeDelay   = 10 * time.Millisecond
	hedgeWorkers = 10
)

func (hedging) name() string { return "p99 with one stuck worker in ten, hedged after 10 ms" }

func (r hedging) measure(ctx context.Context, o options) (_ string, err error) {
	p50, p99, err := r.percentiles(ctx, o, hedgeDelay)
	if err != nil {
		return "", err
	}
	_, without, err := r.percentiles(ctx, o, 0)
	bar := 2*p50 + hedgeDelay
	return fmt.Sprintf("| %s | %v, p50 %v | %v not hedged | %.2f of the bar | ≤ 2 × p50 + 10 ms = %v | %s |", r.name(),
		p99.Round(time.Microsecond), p50.Round(time.Microsecond), without.Round(time.Microsecond),
		float64(p99)/float64(bar), bar.Round(time.Microsecond), verdict(p99 <= bar)), err
}

func (r hedging) percentiles(ctx context.Context, o options, hedge time.Duration) (p50, p99 time.Duration, err error) {
	s, err := newStage()
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	h, err := r.open(s, hedge)
	if err != nil {
		return 0, 0, err
	}
	took := make([]time.Duration, 40*o.rounds)
	for i := range took {
		start := time.Now()
		if _, err := h.client.SpamChecker.UserMayCreateRoom(ctx, request); err != nil && hedge > 0 {
			return 0, 0, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	const percent = 100
	return took[len(took)/2], took[len(took)*99/percent], nil
}

// open has ten workers that take 5 ms, but one that never answers.
func (hedging) open(s *stage, hedge time.Duration) (*homeserver, error) {
	h, err := newHomeserver(s, "example.com", "module")
	if err != nil {
		return nil, err
	}
	const timeout = time.Second
	list := []config.Module{{Name: "module", Timeout: timeout, Hedge: hedge}}
	h.roster.Configure(list, config.DefaultBudget, time.Now())
	for i := range hedgeWorkers {
		f := slow
		if i == 0 {
			f = stuck
		}
		if err := h.start("module", answering(f)); err != nil {
			return nil, err
		}
	}
	return h, h.await("module", hedgeWorkers)
}

func stuck(ctx context.Context, _ *callbacksv1.UserMayCreateRoomRequest) (response, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
