package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// comparison is one set of arrangements that do the same, and take turns.
type comparison struct {
	clients int
	modules int
	pause   int    // milliseconds that each module takes
	way     string // how, where the module is Synapse's; then our side is the same module out of its process
	peers   []peer
}

// peer is an arrangement that ours is held against, and how our throughput must compare; 0 is for the record.
type peer struct {
	arrangement
	bar float64
}

// comparisons are the goals, in the order of the issue.
var comparisons = []comparison{
	{clients: 16, modules: 1, peers: []peer{{antispam, 1}, {inProcess, 1}, {onAgent, 1}, {nothing, 0}}},
	{clients: 16, modules: 3, pause: 5, peers: []peer{{inProcess, 1}}},
	{clients: 1, modules: 3, pause: 5, peers: []peer{{inProcess, 1}}},
	{clients: 16, modules: 1, way: "answers", peers: []peer{{inProcess, 0.9}}},
	{clients: 16, modules: 1, pause: 5, way: "computes", peers: []peer{{inProcess, 1}}},
	{clients: 16, modules: 1, pause: 5, way: "blocks", peers: []peer{{inProcess, 1}}},
	{clients: 16, modules: 1, pause: 5, way: "waits", peers: []peer{{inProcess, 0.9}}},
}

func (c comparison) name() string {
	clients, modules := "1 client", "one module"
	if c.clients > 1 {
		clients = fmt.Sprintf("%d clients", c.clients)
	}
	if c.modules > 1 {
		modules = fmt.Sprintf("%d modules that take %d ms", c.modules, c.pause)
	}
	if c.way != "" {
		modules = "one module of Synapse's" + c.takes() + ", unmodified"
	}
	return fmt.Sprintf("messages through Synapse with %s, %s", modules, clients)
}

// takes is how the module takes its time, if it does.
func (c comparison) takes() string {
	if c.pause == 0 {
		return ""
	}
	return fmt.Sprintf(" that %s for %d ms", c.way, c.pause)
}

// result is a comparison with what was measured: our side, and then the peers.
type result struct {
	comparison
	contenders []*contender
}

func (c comparison) measure(ctx context.Context, o options) (r result, err error) {
	s, err := newStage()
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	all, err := c.open(ctx, s)
	if err == nil {
		err = rounds(ctx, o, all)
	}
	if err != nil {
		return result{}, s.explained(err)
	}
	return result{c, all}, nil
}

// open starts our side, and then the peers.
func (c comparison) open(ctx context.Context, s *stage) (all []*contender, err error) {
	if err := s.build(ctx); err != nil {
		return nil, err
	}
	var modules []checkConfig
	for i := range c.modules {
		modules = append(modules, checkConfig{Path: path(fmt.Sprintf("check-%d", i)), Pause: c.pause, Way: c.way})
	}
	if c.way != "" {
		return s.opposed(ctx, c.clients, modules)
	}
	for _, a := range append([]peer{{ours, 0}}, c.peers...) {
		k, err := s.compete(ctx, a.arrangement, c.clients, modules)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		all = append(all, k)
	}
	return all, nil
}

// rounds takes turns, the other way round each time. The first round of each warms up and does not count.
func rounds(ctx context.Context, o options, all []*contender) error {
	turns := slices.Clone(all)
	for i := range o.rounds + 1 {
		for _, c := range turns {
			s, err := c.round(ctx, o.round)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if i > 0 {
				c.samples = append(c.samples, s)
			}
		}
		slices.Reverse(turns)
	}
	return nil
}

// sample is what one round came to.
type sample struct {
	each time.Duration // between one message accepted and the next one, of whichever client
	cpu  time.Duration // of Synapse's process, for each message
}

// round has all clients send for a while, and wants each message to have been checked by each module, once.
func (c *contender) round(ctx context.Context, d time.Duration) (sample, error) {
	if err := c.begin(ctx); err != nil {
		return sample{}, err
	}
	before, err := c.count(ctx)
	if err != nil {
		return sample{}, err
	}
	used, err := c.server.cpu()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	sent, err := c.send(ctx, d)
	took := time.Since(start)
	if err != nil {
		return sample{}, c.server.failed(err)
	}
	until, err := c.server.cpu()
	if err != nil {
		return sample{}, err
	}
	return sample{took / time.Duration(sent), (until - used) / time.Duration(sent)}, c.compare(ctx, sent, before)
}

// compare adds up what was sent and what was checked, which must be the same.
func (c *contender) compare(ctx context.Context, sent int64, before []int64) error {
	after, err := c.count(ctx)
	for i := range after {
		checked := after[i] - before[i]
		if checked != sent {
			return fmt.Errorf("%d messages, but %d checks at %s", sent, checked, c.pages[i])
		}
		c.checked += checked
	}
	c.sent += sent
	return err
}

// send has all clients send for a while, and returns how many messages Synapse accepted. None may be refused.
func (c *contender) send(ctx context.Context, d time.Duration) (int64, error) {
	var over atomic.Bool
	defer time.AfterFunc(d, func() { over.Store(true) }).Stop()
	var total atomic.Int64
	var sending sync.WaitGroup
	errs := make([]error, len(c.clients))
	for i, k := range c.clients {
		sending.Go(func() {
			for first := true; errs[i] == nil && (first || !over.Load()); first = false {
				errs[i] = k.chat(ctx)
				total.Add(1)
			}
		})
	}
	sending.Wait()
	return total.Load(), errors.Join(errs...)
}

func (c *client) chat(ctx context.Context) error {
	status, err := c.send(ctx, chat)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("a message has status %d", status)
	}
	return err
}

// lines are those of the table.
func (r result) lines() (lines []string) {
	for i, p := range r.peers {
		lines = append(lines, r.line(p, r.contenders[0].samples, r.contenders[i+1].samples))
	}
	return lines
}

func (r result) line(p peer, a, b []sample) string {
	each := ratios(b, a, func(s sample) time.Duration { return s.each })
	cpu := ratios(a, b, func(s sample) time.Duration { return s.cpu })
	return fmt.Sprintf("| %s, against %s | %s | %s | %v; CPU %v | %s |", r.name(), p.name, show(a), show(b), each, cpu, p.verdict(each))
}

// spread is what many rounds say of a ratio: its median, and the interval that has the true one in 95 of 100 such runs.
type spread struct{ median, low, high float64 }

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.low, s.high) }

// ratios compares rounds in the order in which they followed one another.
func ratios(above, below []sample, of func(sample) time.Duration) spread {
	all := make([]float64, len(above))
	for i := range above {
		all[i] = float64(of(above[i])) / float64(of(below[i]))
	}
	slices.Sort(all)
	k := lowRank(len(all))
	return spread{all[len(all)/2], all[max(k, 1)-1], all[len(all)-max(k, 1)]}
}

// lowRank is which of n samples in order, counted from 1, is the low end of the interval around their median: as many are
// below it as are below the median by chance in at most 2.5 of 100 runs. It is 0 where n is too small for that.
func lowRank(n int) (rank int) {
	const tail = 0.025
	below := math.Pow(0.5, float64(n)) // The chance that exactly rank samples are below.
	for sum := below; sum <= tail; sum += below {
		below *= float64(n-rank) / float64(rank+1)
		rank++
	}
	return rank
}

// verdict are the last two columns. A bar is missed, too, where a ratio that is much lower is not excluded.
func (p peer) verdict(ratio spread) string {
	const much = 0.05
	bar := fmt.Sprintf("≥ %.2f × throughput, %.2f excluded", p.bar, p.bar-much)
	switch {
	case p.bar == 0:
		return "for the record |"
	case ratio.median < p.bar, ratio.low <= p.bar-much:
		return bar + " | ✗"
	}
	return bar + " | ✓"
}

// show has the medians.
func show(samples []sample) string {
	each := median(samples, func(s sample) time.Duration { return s.each })
	cpu := median(samples, func(s sample) time.Duration { return s.cpu })
	return fmt.Sprintf("%.1f/s, %.2f ms CPU", float64(time.Second)/float64(each), float64(cpu)/float64(time.Millisecond))
}

func median(samples []sample, of func(sample) time.Duration) time.Duration {
	all := make([]time.Duration, len(samples))
	for i, s := range samples {
		all[i] = of(s)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
