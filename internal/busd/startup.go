package busd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/admission"
	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/natsdoor"
	"github.com/modulebus/modulebus/internal/busd/homeserver"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/busd/news"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/busd/statedir"
	"github.com/modulebus/modulebus/internal/busd/store"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// joinTime is how long busd waits at its start for modules that run already to join. Beyond: it goes on without them.
	joinTime = time.Second

	// startTime is how long busd waits at its start for the modules that it runs to join. Beyond: asks are answered
	// without them, under their on_failure.
	startTime = time.Minute

	// failingTime is how long a failed module that is not asked again counts as failing.
	failingTime = time.Minute

	// rosterTime is how long the first roster may take to arrive over NATS. Beyond: busd ends with an error.
	rosterTime = 5 * time.Second
)

// prepare opens everything that does not depend on modules, in the order of their dependencies. Afterwards modules may
// join, and operators can see their progress; asks are turned away.
func (d *daemon) prepare() error {
	for _, step := range []func() error{
		d.openState, d.openBroker, d.openJournal, d.openAdmission, d.openNews, d.openRoster, d.openModules, d.openClient, d.tellNews,
		d.openModuleAPI,
		d.openGuard, d.openDoors,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// start starts the modules. On a goroutine it waits until it is known what they want to be asked (ADR 13), begins to
// answer, and announces that. stop ends the waiting; it may be called more than once.
func (d *daemon) start(ctx context.Context) (stop func()) {
	d.modules.apply(d.config.Modules) //nolint:contextcheck // They live until d is closed.
	d.modules.owned.Go(func() { d.modules.watchJoins(d.modules.ctx) })
	ctx, cancel := context.WithCancel(ctx)
	var starting sync.WaitGroup
	starting.Go(func() { d.remind(ctx) })
	starting.Go(func() {
		late := d.awaitModules(ctx)
		if ctx.Err() != nil {
			return
		}
		if err := d.begin(); err != nil {
			d.fail(err)
			return
		}
		d.announce(ctx, late)
	})
	return func() { cancel(); starting.Wait() }
}

// awaitModules waits until the modules that busd runs have said what they want to be asked. It reports late if some
// have not by the end of startTime.
func (d *daemon) awaitModules(ctx context.Context) (late bool) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	d.service.AwaitModules(ctx, roster.Started)
	return ctx.Err() != nil
}

// begin makes busd answer homeservers.
func (d *daemon) begin() error {
	d.service.Open()
	ctx, cancel := context.WithTimeout(context.Background(), rosterTime)
	defer cancel()
	known := d.roster.Snapshot().GetRevision() // An earlier roster may lack modules that were waited for.
	if _, err := d.client.AwaitRoster(ctx, known-1); err != nil {
		return fmt.Errorf("the roster does not arrive over NATS: %w", err)
	}
	if err := d.openDoor(natsdoor.New(d.broker.Conn, d.config.ServerName, d.answerer, d.Log)); err != nil {
		return err
	}
	d.life.Begin()
	return nil
}

func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// openState locks the state folder before anything in it is used.
func (d *daemon) openState() (err error) {
	if d.config.StateDir == "" {
		d.Log.Warn().Msg("there is no folder for state: what modules store and register is forgotten when busd ends; set state_dir")
		d.state, err = statedir.Temporary()
	} else {
		d.state, err = statedir.Open(d.config.StateDir)
	}
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	d.onClose(d.state.Close)
	return nil
}

// storeDir returns the folder for what modules store in the embedded NATS server. It has its own lock, because another
// busd may be configured with the same folder.
func (d *daemon) storeDir() (string, error) {
	if d.config.NATS.URL != "" {
		return "", nil
	}
	store, err := statedir.Open(cmp.Or(d.config.NATS.StoreDir, d.state.Path("nats")))
	if err != nil {
		return "", fmt.Errorf("nats.store_dir: %w", err)
	}
	d.onClose(store.Close)
	return store.Path(""), nil
}

func (d *daemon) openBroker() error {
	if d.Conn != nil {
		d.broker = broker.Lent(d.Conn, d.config.NATS)
		d.onClose(d.broker.Close)
		return nil
	}
	store, err := d.storeDir()
	if err != nil {
		return err
	}
	if d.keys, err = identity.Open(identity.In(d.state.Path("")), d.config.ServerName); err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	d.broker, err = broker.Open(broker.Options{
		NATS: d.config.NATS, Keys: d.keys, Listed: names(d.config.Modules), StoreDir: store, Log: d.Log,
	})
	if err != nil {
		return err
	}
	d.onClose(d.broker.Close)
	return nil
}

// openJournal makes records of decisions be written to JetStream, if configured, and be sent to modules that may read
// them.
func (d *daemon) openJournal() (err error) {
	d.records = records.New()
	d.journal, err = records.NewJournal(d.records, records.JournalOptions{
		Conn: d.broker.Conn, ServerName: d.config.ServerName, Metrics: d.metrics, Log: d.Log,
	})
	if err != nil {
		return err
	}
	d.onClose(d.journal.Close)
	d.journal.Configure(d.config.Decisions)
	d.readers = records.NewReaders(d.records, records.ReadersOptions{Conn: d.broker.Conn, ServerName: d.config.ServerName, Log: d.Log})
	d.onClose(d.readers.Close)
	d.readers.Configure(mayRead(d.config.Modules))
	return nil
}

// mayRead returns the modules that get records of decisions.
func mayRead(all []config.Module) (names []string) {
	for _, m := range all {
		if slices.Contains(m.Grants, subjects.ReadDecisions) {
			names = append(names, m.Name)
		}
	}
	return names
}

// openAdmission makes NATS accept modules.
func (d *daemon) openAdmission() (err error) {
	d.modules = newModules(d)
	d.admission, err = admission.Open(admission.Options{
		Broker: d.broker, Keys: d.keys, Dir: d.state.Path("credentials"), Listed: names(d.config.Modules), Replace: d.replace, Log: d.Log,
	})
	if err == nil {
		d.onClose(d.admission.Close)
	}
	return err
}

// replace restarts the workers of a module so that they use its new credentials, if busd runs the module.
func (d *daemon) replace(ctx context.Context, module string) (ran bool, err error) {
	err = d.modules.Restart(ctx, module)
	return !errors.Is(err, errNotOurs), err
}

// openNews prepares NATS to store news before homeservers are told to store any.
func (d *daemon) openNews() (err error) {
	d.news, err = news.New(news.Options{
		Conn: d.broker.Conn, ServerName: d.config.ServerName, Replicas: d.config.NATS.Replicas, Alone: d.config.NATS.URL == "" && d.Conn == nil,
		Log: d.Log,
	})
	if err != nil {
		return err
	}
	d.metrics.MustRegister(news.Collector(d.news))
	return d.news.Prepare(context.Background(), d.config.Modules)
}

// tellNews delivers stored news to modules until busd ends.
func (d *daemon) tellNews() error {
	d.onClose(d.news.Close)
	d.roster.WatchNews(d.waiting)
	d.news.Start(d.client.AwaitRoster, d.config.Modules)
	return nil
}

// waiting returns how much news modules have not handled, by module.
func (d *daemon) waiting() map[string]roster.News {
	all := map[string]roster.News{}
	for module, b := range d.news.Backlogs() {
		all[module] = roster.News{Waiting: b.News, Oldest: b.Oldest, Failure: b.Failure}
	}
	return all
}

// openRoster lets modules join, and gives those that run already time to do so.
func (d *daemon) openRoster() error {
	d.roster = roster.New()
	d.roster.Evaluate(d.config.Sequential)
	d.roster.Configure(d.config.Modules, d.config.Budget, time.Now())
	d.metrics.MustRegister(roster.Collector(d.roster))
	memory, err := d.recall()
	if err != nil {
		return err
	}
	o := roster.Options{Conn: d.broker.Conn, ServerName: d.config.ServerName, Memory: memory, Log: d.Log}
	if d.service, err = roster.Prepare(d.roster, o); err != nil {
		return err
	}
	d.metrics.MustRegister(d.service)
	d.onClose(d.service.Close)
	if err := d.openStores(); err != nil {
		return err
	}
	d.service.Changed(names(d.config.Modules))
	ctx, cancel := context.WithTimeout(context.Background(), joinTime)
	defer cancel()
	d.service.AwaitModules(ctx, d.expects())
	return nil
}

// openStores makes modules' buckets when they ask.
func (d *daemon) openStores() error {
	listed := func(module string) bool { return d.roster.Entry(module, time.Now()).GetListed() }
	s, err := store.Serve(store.Options{
		Conn: d.broker.Conn, ServerName: d.config.ServerName, Listed: listed, Log: &d.Log, MaxBytes: d.config.NATS.MaxStore,
		Durable: d.config.NATS.URL != "" || cmp.Or(d.config.NATS.StoreDir, d.config.StateDir) != "",
	})
	if err != nil {
		return err
	}
	d.onClose(s.Close)
	return errors.Join(d.metrics.Register(s), d.metrics.Register(store.Collector(d.broker.Conn)))
}

// recall returns what modules registered earlier, from the file of the last run and from another busd.
func (d *daemon) recall() (*roster.Memory, error) {
	memory, err := roster.OpenMemory(d.state.Path(""), d.config.ServerName)
	if err != nil {
		return nil, err
	}
	d.roster.Recall(memory.Earlier(), time.Now())
	roster.Recall(d.broker.Conn, d.config.ServerName, d.roster)
	return memory, nil
}

// expects returns what modules that busd does not run must have done before it answers. On an external NATS they stay
// connected, so it is enough to know what they want to be asked. The embedded NATS disconnected them when busd stopped.
func (d *daemon) expects() roster.Expectation {
	if d.config.NATS.URL == "" && d.Conn == nil {
		return roster.Joined
	}
	return roster.Known
}

func (d *daemon) openModules() error {
	d.onClose(d.modules.stop) // Closed before the roster: workers that end say so.
	return nil
}

func (d *daemon) openClient() (err error) {
	ctx := busopts.With(context.Background(), busopts.Client{NoWait: true})
	d.asked = prometheus.NewRegistry()
	d.client, err = bus.New(ctx, d.broker.Conn, bus.Options{
		ServerName: d.config.ServerName, Registerer: d.asked, Log: &d.Log, Web: webOptions(d.config.HTTP),
		Observe: d.records.Observe, TracerProvider: d.TracerProvider,
	})
	if err == nil {
		d.answerer = door.NewAnswerer(d.client, d.Log)
		d.metrics.MustRegister(d.asked, d.answerer)
		d.onClose(d.client.Close)
		d.roster.Watch(d.failing)
	}
	return err
}

// failing returns the callbacks that modules failed to answer this busd, by module.
func (d *daemon) failing() map[string][]roster.Failing {
	all := map[string][]roster.Failing{}
	for _, f := range d.client.Failing() {
		all[f.Module] = append(all[f.Module], roster.Failing{
			Callback: f.Callback.FullName(), Failure: wire.KindName(f.Kind), At: f.At, InARow: f.InARow, Open: f.Open,
			Recent: time.Since(f.At) < failingTime, // A module that is not asked any more may be well again.
		})
	}
	return all
}

// openModuleAPI begins to forward modules' calls, unless the homeserver is a Go program or another busd does it.
func (d *daemon) openModuleAPI() error {
	if d.config.Homeserver.URL == "" {
		return nil
	}
	f, err := homeserver.New(d.config.Homeserver, d.TracerProvider, d.Log)
	if err != nil {
		return err
	}
	d.onClose(f.Close)
	stop, err := d.client.ServeCalls(f.Call)
	if err != nil {
		return err
	}
	d.onClose(stop)
	d.call = f.Call
	return nil
}

func (d *daemon) openGuard() (err error) {
	d.guard, err = access.NewGuard(d.config.ServerName, d.config.HTTP, d.Log)
	return err
}

func webOptions(c config.HTTP) bus.WebOptions {
	return bus.WebOptions{
		AcceptTimeout:   c.Web.AcceptTimeout,
		ResponseTimeout: c.Web.ResponseTimeout,
		IdleTimeout:     c.Web.IdleTimeout,
		StallTimeout:    c.Web.StallTimeout,
		TotalTimeout:    c.Web.TotalTimeout,
		BodyLimit:       c.Web.BodyLimit,
		TrustedProxies:  c.TrustedProxies,
	}
}
