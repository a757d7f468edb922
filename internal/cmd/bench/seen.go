package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

func listedAs(name string) config.Module {
	return config.Module{Name: name, Timeout: config.DefaultTimeout}
}

// askObserved is an ask of one module by a client with options, against the same by a client without.
func askObserved(callers int, options func(*stage) (bus.Options, error)) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		o, err := options(s)
		if err != nil {
			return ours, peer, err
		}
		o.ServerName = "example.com"
		h, err := newHomeserverWith(s, o, listedAs("module"))
		if err != nil {
			return ours, peer, err
		}
		if err := h.module("module", answering(abstain)); err != nil {
			return ours, peer, err
		}
		peer, err = asking(s, "example.org", callers, abstain)
		return side{callers, ask(h, nil)}, peer, err
	}
}

func inMemory(*stage) (bus.Options, error) { return bus.Options{Observe: records.New().Observe}, nil }

// inStream has each record written to JetStream, in files, as a busd with NATS inside does.
func inStream(s *stage) (o bus.Options, err error) {
	dir, err := os.MkdirTemp("", "bench-records-")
	if err != nil {
		return o, err
	}
	s.onClose(func() error { return os.RemoveAll(dir) })
	if err := s.launch(&server.Options{JetStream: true, StoreDir: dir}); err != nil {
		return o, err
	}
	nc, err := s.connect()
	if err != nil {
		return o, err
	}
	r, metrics := records.New(), prometheus.NewRegistry()
	j, err := records.NewJournal(r, records.JournalOptions{Conn: nc, ServerName: "example.com", Metrics: metrics, Log: zerolog.Nop()})
	if err != nil {
		return o, err
	}
	s.onClose(func() error { j.Close(); return reportLost(metrics) })
	j.Configure(config.Decisions{Stream: true, Keep: time.Hour, MaxBytes: 256 << 20, NoOpinion: 1})
	return bus.Options{Observe: r.Observe}, nil
}

// reportLost says how many records the stream lacks: the row promises something of those that are kept.
func reportLost(metrics *prometheus.Registry) error {
	families, err := metrics.Gather()
	for _, f := range families {
		if n := f.GetMetric()[0].GetCounter().GetValue(); f.GetName() == "modulebus_decisions_lost_total" && n > 0 {
			fmt.Fprintf(os.Stderr, "%.0f records were lost\n", n)
		}
	}
	return err
}

// askShadowed is an ask of one module beside another one in shadow, against an ask of the first alone.
func askShadowed(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		shadow := listedAs("shadow")
		shadow.Shadow = true
		h, err := newHomeserverOf(s, "example.com", listedAs("module"), shadow)
		if err != nil {
			return ours, peer, err
		}
		for _, name := range []string{"module", "shadow"} {
			if err := h.module(name, answering(abstain)); err != nil {
				return ours, peer, err
			}
		}
		peer, err = asking(s, "example.org", callers, abstain)
		return side{callers, ask(h, nil)}, peer, err
	}
}

// askGuarded is an ask on a server that lets in whoever has credentials of the bus, to do what they permit, against the same on a server
// that lets everybody do everything.
func askGuarded(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		if peer, err = asking(s, "example.org", callers, abstain); err != nil {
			return ours, peer, err
		}
		if err := s.guard("example.com", "module"); err != nil {
			return ours, peer, err
		}
		ours, err = asking(s, "example.com", callers, abstain)
		return ours, peer, err
	}
}

// guard makes a server the one that is used that knows the users of a bus.
func (s *stage) guard(name string, listed ...string) error {
	dir, err := os.MkdirTemp("", "bench-keys-")
	if err != nil {
		return err
	}
	s.onClose(func() error { return os.RemoveAll(dir) })
	if s.keys, err = identity.Open(dir, name); err != nil {
		return err
	}
	o := &server.Options{}
	if err := s.keys.Trust(o, listed); err != nil {
		return err
	}
	return s.launch(o)
}

// askReloaded is an ask while the roster, of 200 modules, is reloaded ten times a second, against the same while it stays.
func askReloaded(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		h, still, err := listing200(s, "example.com", callers)
		if err != nil {
			return ours, peer, err
		}
		_, peer, err = listing200(s, "example.org", callers)
		return h.reloading(s, still), peer, err
	}
}

const listedModules = 200

// listing200 is a homeserver whose roster has 200 modules, the last of which is asked.
func listing200(s *stage, name string, callers int) (*homeserver, side, error) {
	names := listed(listedModules)
	h, err := newHomeserver(s, name, names...)
	if err != nil {
		return nil, side{}, err
	}
	last := names[len(names)-1]
	for _, other := range names[:len(names)-1] {
		h.roster.Join(other, &rosterv1.Join{Worker: "1", Callbacks: []string{subjects.UserMayInvite.FullName()}}, time.Now())
	}
	return h, side{callers, ask(h, nil)}, h.module(last, answering(abstain))
}

// reloading has the list read again, with other timeouts, at most every tenth of a second that asks go on.
func (h *homeserver) reloading(s *stage, asks side) side {
	var last, turns atomic.Int64
	var reloads sync.WaitGroup
	s.onClose(func() error { reloads.Wait(); return nil })
	return side{asks.callers, func(ctx context.Context) error {
		now, before := time.Now(), last.Load()
		if now.UnixNano()-before > int64(100*time.Millisecond) && last.CompareAndSwap(before, now.UnixNano()) {
			reloads.Go(func() {
				list := make([]config.Module, 0, listedModules)
				for _, name := range listed(listedModules) {
					m := listedAs(name)
					m.Timeout += time.Duration(turns.Load()%2) * time.Millisecond
					list = append(list, m)
				}
				turns.Add(1)
				h.roster.Configure(list, config.DefaultBudget, now)
			})
		}
		return asks.do(ctx)
	}}
}

// untraced is the row of what an ask does for traces where nobody wants any: it looks whether its caller is part of one.
type untraced struct{}

func (untraced) name() string { return "what an ask does for traces that are off, 128 callers" }

func (u untraced) measure(ctx context.Context, o options) (_ string, err error) {
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	h, err := newHomeserver(s, "example.com", "module")
	if err != nil {
		return "", err
	}
	if err := h.module("module", answering(abstain)); err != nil {
		return "", err
	}
	asks := side{128, ask(h, nil)}
	if _, err := asks.round(ctx, o.round); err != nil { // It warms up.
		return "", err
	}
	whole, err := asks.round(ctx, o.round*time.Duration(o.rounds))
	const often = 100_000
	best := time.Hour
	for range o.rounds {
		start := time.Now()
		for range often {
			if carried := spans.Carried(ctx); carried.Parent != "" {
				return "", errors.New("the caller is traced")
			}
		}
		best = min(best, time.Since(start))
	}
	const bar = 1.02
	each := float64(best) / often
	ratio := 1 + each/(float64(whole.cpu)-each)
	return fmt.Sprintf("| %s, against the rest of it | %.1f ns | %s CPU | %.3f | ≤ %.2f × CPU | %s |",
		u.name(), each, span(whole.cpu), ratio, bar, verdict(ratio <= bar)), err
}
