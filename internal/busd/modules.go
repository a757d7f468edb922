package busd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/supervise"
)

// modules are those that busd runs.
type modules struct {
	daemon *daemon
	groups map[string]*group
	ctx    context.Context //nolint:containedctx // of all processes: it ends when they shall
	cancel context.CancelFunc
	owned  sync.WaitGroup
}

// group is one module's processes.
type group struct {
	config config.Module
	*supervise.Group
	cancel context.CancelFunc
}

func newModules(d *daemon) *modules {
	ctx, cancel := context.WithCancel(context.Background())
	return &modules{daemon: d, groups: map[string]*group{}, ctx: ctx, cancel: cancel}
}

// apply starts what the list has anew, stops what it has no more, and starts again what is run differently.
func (m *modules) apply(list []config.Module) {
	wanted := map[string]config.Module{}
	for _, c := range list {
		if len(c.Run) > 0 {
			wanted[c.Name] = c
		}
	}
	for name, g := range m.groups {
		if c, ok := wanted[name]; !ok || !slices.Equal(c.Run, g.config.Run) || c.Workers != g.config.Workers {
			g.cancel()
			delete(m.groups, name)
		}
	}
	for name, c := range wanted {
		if g := m.groups[name]; g == nil {
			m.groups[name] = m.start(c)
		} else if string(c.Config) != string(g.config.Config) {
			g.config = c
			g.Reconfigure()
		}
	}
}

func (m *modules) start(c config.Module) *group {
	log := m.daemon.Log
	g := &group{config: c, Group: supervise.New(supervise.Options{
		Module:   c.Name,
		Command:  c.Run,
		Workers:  c.Workers,
		Env:      m.environment(c),
		WorkerID: func(int) string { return nuid.Next() },
		Exited:   func(e supervise.Exit) { m.exited(c.Name, e) },
		Log:      log,
	})}
	ctx, cancel := context.WithCancel(m.ctx)
	g.cancel = cancel
	m.owned.Go(func() {
		defer cancel()
		if err := g.Run(ctx); err != nil {
			log.Error().Err(err).Str("module", c.Name).Msg("supervision ended")
		}
	})
	return g
}

func (m *modules) environment(c config.Module) []string {
	return []string{
		"MODULEBUS_NATS_URL=" + m.daemon.broker.URL,
		"MODULEBUS_SERVER_NAME=" + m.daemon.config.ServerName,
		"MODULEBUS_MODULE=" + c.Name,
	}
}

// exited takes a worker out of the roster as soon as it is known to be dead.
func (m *modules) exited(module string, e supervise.Exit) {
	now := time.Now()
	m.daemon.registry.Leave(module, e.ID, now)
	if e.Next != supervise.Stops {
		m.daemon.registry.Crashed(module, fmt.Sprintf("its process ended (%v): %v", e.Next, e.Err), now)
	}
	m.daemon.service.Wake()
}

// stop drains the processes, and returns when none is left.
func (m *modules) stop() {
	m.cancel()
	m.owned.Wait()
}
