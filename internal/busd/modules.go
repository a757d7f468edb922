package busd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/supervise"
	"github.com/modulebus/modulebus/internal/wire"
)

// modules are the modules that busd runs.
type modules struct {
	daemon  *daemon
	mu      sync.Mutex // guards groups and servers
	groups  map[string]*group
	servers map[string]server
	ctx     context.Context //nolint:containedctx // of all processes: they stop when it ends
	cancel  context.CancelFunc
	owned   sync.WaitGroup

	patience time.Duration // how long a worker that replaces another may take to join
}

// group is one module's processes.
type group struct {
	config config.Module
	*supervise.Group
	ctx    context.Context //nolint:containedctx // of its processes
	cancel context.CancelFunc
	before *group // which goes on until this one has joined; nil for none
}

func newModules(d *daemon) *modules {
	ctx, cancel := context.WithCancel(context.Background())
	return &modules{daemon: d, groups: map[string]*group{}, ctx: ctx, cancel: cancel, patience: cmp.Or(d.JoinPatience, joinPatience)}
}

// apply starts the modules that are new in the list, stops those that are no longer in it, and replaces those that are
// run differently, whose names it returns. A module that is stopped answers until it is no longer asked.
func (m *modules) apply(list []config.Module) (restarted []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := map[string]config.Module{}
	for _, c := range list {
		if len(c.Run) > 0 {
			wanted[c.Name] = c
		}
	}
	for name, g := range m.groups {
		if _, ok := wanted[name]; !ok {
			m.retire(g.cancel)
			delete(m.groups, name)
		}
	}
	for name, c := range wanted {
		switch g := m.groups[name]; {
		case g == nil:
			m.groups[name] = m.start(c)
		case !g.runs(c):
			m.groups[name] = m.start(c)
			m.succeed(g, m.groups[name])
			restarted = append(restarted, name)
		case string(c.Config) != string(g.config.Config):
			g.config = c
			g.Reconfigure()
		default:
			g.config = c
		}
	}
	restarted = append(restarted, m.applyServers(list)...)
	slices.Sort(restarted)
	return restarted
}

// retire stops a module that is no longer listed when the asks that began before are over, here and in other processes.
func (m *modules) retire(stop context.CancelFunc) { time.AfterFunc(m.daemon.config.Budget, stop) }

// succeed stops the old group when all workers of the next one have joined. Until then, the old group goes on. An old group that is
// itself still awaited is stopped at once, and the group that it was to replace goes on. So at most two groups run.
func (m *modules) succeed(old, next *group) {
	next.before = cmp.Or(old.before, old)
	c := next.config // apply may change it while this waits.
	if next.before != old {
		old.before = nil
		old.cancel()
	}
	m.owned.Go(func() {
		for !m.await(next.ctx, func() bool { return m.allJoined(next, c) }) && next.ctx.Err() == nil {
			m.late(c.Name)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if next.before != nil {
			next.before.cancel()
			next.before = nil
		}
	})
}

// allJoined reports whether all processes of a group, which runs as c says, have joined.
func (m *modules) allJoined(g *group, c config.Module) bool {
	all := g.Processes()
	missing := func(p supervise.Process) bool { return !m.hasJoined(c.Name, p.ID) }
	return len(all) == c.Workers && !slices.ContainsFunc(all, missing)
}

// late logs that the processes which are to replace those of a module do not join.
func (m *modules) late(name string) {
	const why = "what busd.yaml says now runs, but has not joined in time: the workers from before go on, and are stopped when it has"
	m.daemon.Log.Warn().Str("module", name).Msg(why)
	m.daemon.roster.Missing(name, why, time.Now())
}

// runs reports whether the group's processes are run as c says.
func (g *group) runs(c config.Module) bool {
	return slices.Equal(c.Run, g.config.Run) && c.Workers == g.config.Workers && slices.Equal(c.Environment, g.config.Environment)
}

// errNotOurs says that busd cannot restart the module.
var errNotOurs = errors.New("is not run by this busd")

// Restart replaces the workers of a module that busd runs, one after the other, each when the new one has joined.
func (m *modules) Restart(ctx context.Context, name string) error {
	m.mu.Lock()
	g := m.groups[name]
	m.mu.Unlock()
	if g == nil {
		return fmt.Errorf("module %s %w: %s", name, errNotOurs, m.instead(name))
	}
	err := g.Restart(ctx, func(ctx context.Context, w supervise.Worker) error { return m.joined(ctx, name, w.ID) })
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	m.daemon.Log.Info().Str("module", name).Int("workers", len(g.Processes())).Msg("all workers were replaced")
	return nil
}

// instead says what to do about a module that busd cannot restart.
func (m *modules) instead(name string) string {
	var listed []string
	for _, s := range m.daemon.roster.Modules() {
		if s.Order > 0 {
			listed = append(listed, s.Name)
		}
	}
	if slices.Contains(listed, name) {
		return "restart its workers where they run, one after the other"
	}
	return "its list has " + cmp.Or(strings.Join(listed, ", "), "no module")
}

// joinPatience is how long a worker that replaces another may take to join.
const joinPatience = time.Minute

// joined waits until the worker is in the roster.
func (m *modules) joined(ctx context.Context, module, worker string) error {
	began := time.Now()
	if !m.await(ctx, func() bool { return m.hasJoined(module, worker) }) {
		return fmt.Errorf("its process runs, but has not joined in %s", time.Since(began).Round(time.Second))
	}
	return nil
}

// await waits until holds is true of the roster, for at most as long as a worker that replaces another may take to
// join. It reports whether it is true.
func (m *modules) await(ctx context.Context, holds func() bool) bool {
	const pause = 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

func (m *modules) hasJoined(module, worker string) bool {
	workers, _ := m.daemon.roster.Joined(module)
	return slices.Contains(workers, worker)
}

// Processes returns the module's processes that busd runs.
func (m *modules) Processes(name string) []supervise.Process {
	m.mu.Lock()
	g := m.groups[name]
	m.mu.Unlock()
	if g == nil {
		return nil
	}
	return g.Processes()
}

func (m *modules) start(c config.Module) *group {
	log := m.daemon.Log
	ctx, cancel := context.WithCancel(m.ctx)
	g := &group{config: c, ctx: ctx, cancel: cancel, Group: supervise.New(supervise.Options{
		Module:   c.Name,
		Command:  c.Run,
		Workers:  c.Workers,
		Env:      m.environment(c),
		WorkerID: func(int) string { return nuid.Next() },
		Exited:   func(e supervise.Exit) { m.exited(c.Name, e) },
		Log:      log,
	})}
	m.owned.Go(func() {
		defer cancel()
		if err := g.Run(ctx); err != nil {
			log.Error().Err(err).Str("module", c.Name).Msg("supervision ended")
		}
	})
	return g
}

// environment returns the environment of the module's processes. If their credentials cannot be written, they are
// started all the same: NATS refuses them, and the log says why.
func (m *modules) environment(c config.Module) []string {
	env := supervise.Environment(os.Environ(), c.Environment)
	if n := m.daemon.config.NATS; n.URL != "" && n.TLS.CA != "" { // The embedded server has a port without TLS for them.
		env = append(env, "MODULEBUS_NATS_CA="+n.TLS.CA)
	}
	env = append(env,
		"MODULEBUS_NATS_URL="+m.daemon.broker.URL,
		"MODULEBUS_SERVER_NAME="+m.daemon.config.ServerName,
		"MODULEBUS_MODULE="+c.Name,
	)
	file, err := m.daemon.admission.Credentials(c.Name)
	if err != nil {
		m.daemon.Log.Error().Err(err).Str("module", c.Name).Msg("cannot give the module its credentials")
	}
	if file != "" {
		env = append(env, "MODULEBUS_CREDENTIALS="+file)
	}
	return env
}

// exited removes a worker from the roster as soon as it is known to be dead.
func (m *modules) exited(module string, e supervise.Exit) {
	now := time.Now()
	m.daemon.roster.Leave(module, e.ID, now)
	switch e.Next {
	case supervise.Restarts:
		m.daemon.roster.Crashed(module, crash(e), now)
	case supervise.AwaitsConfig:
		m.daemon.roster.Missing(module, crash(e), now)
	case supervise.Stops:
	}
	m.daemon.service.Wake()
}

// crash tells the operator why a process ended, and what busd does about it. A reason to wait for another configuration
// says so itself.
func crash(e supervise.Exit) string {
	text := "its process ended"
	if e.Next == supervise.Restarts {
		text += ", and is started again"
	}
	return text + ": " + wire.OneLine(e.Reason())
}

// stop drains the processes, and returns when all have ended.
func (m *modules) stop() {
	m.cancel()
	m.owned.Wait()
}

// watchJoins ends the processes that do not join in time, until ctx ends.
func (m *modules) watchJoins(ctx context.Context) {
	const every = time.Second
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for all := (&joins{}); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !m.daemon.broker.Conn.IsConnected() {
			continue // Nobody can join, or be heard.
		}
		for _, p := range all.overdue(m.seen(), every) { // Not the time that has passed: busd itself may have been stopped.
			m.end(p)
		}
	}
}

// seen returns what is known of each module that busd runs.
func (m *modules) seen() map[string]seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]seen{}
	for name, g := range m.groups {
		s := seen{timeout: cmp.Or(g.config.JoinTimeout, config.DefaultJoinTimeout), processes: g.Processes()}
		s.workers, s.refused = m.daemon.roster.Joined(name)
		if g.before != nil {
			s.before = g.before.Processes()
		}
		all[name] = s
	}
	return all
}

func (m *modules) end(p overdue) {
	m.mu.Lock()
	g := m.groups[p.module]
	m.mu.Unlock()
	if g != nil {
		g.End(p.worker, p.why)
	}
}
