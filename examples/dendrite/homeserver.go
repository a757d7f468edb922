package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/gorilla/mux"
	"github.com/matrix-org/dendrite/appservice"
	"github.com/matrix-org/dendrite/federationapi"
	"github.com/matrix-org/dendrite/internal/caching"
	"github.com/matrix-org/dendrite/internal/httputil"
	"github.com/matrix-org/dendrite/internal/sqlutil"
	"github.com/matrix-org/dendrite/roomserver"
	"github.com/matrix-org/dendrite/setup"
	"github.com/matrix-org/dendrite/setup/base"
	"github.com/matrix-org/dendrite/setup/config"
	"github.com/matrix-org/dendrite/setup/jetstream"
	"github.com/matrix-org/dendrite/setup/process"
	"github.com/matrix-org/dendrite/userapi"
	"github.com/modulebus/modulebus/bus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// options say how Dendrite and the bus share a NATS.
type options struct {
	natsConfig  string // of a NATS server that runs inside; empty where jetstream.addresses names one
	credentials string // of the homeserver on the bus; empty where NATS wants none
	metrics     bool   // one Dendrite in a process can have them
}

// homeserver is a Dendrite whose APIs ask modules before they do their work.
type homeserver struct {
	http.Handler

	process *process.ProcessContext
	nats    *server.Server // nil where it is another process
	conn    *nats.Conn
	modules *bus.Client
}

// open starts a Dendrite. It waits for busd until ctx ends: a check that is not made is one that all pass.
func open(ctx context.Context, p *process.ProcessContext, cfg *config.Dendrite, o options) (_ *homeserver, err error) {
	h := &homeserver{process: p}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if o.natsConfig != "" {
		if h.nats, err = startNATS(o.natsConfig); err != nil {
			return nil, err
		}
		cfg.Global.JetStream.Addresses = []string{h.nats.ClientURL()}
	}
	if len(cfg.Global.JetStream.Addresses) == 0 {
		return nil, errors.New("no module reaches the NATS server that Dendrite starts by itself: " +
			"set jetstream.addresses, or give -nats-config")
	}
	if h.conn, err = connect(ctx, cfg, o); err != nil {
		return nil, err
	}
	if h.modules, err = follow(ctx, h.conn, string(cfg.Global.ServerName)); err != nil {
		return nil, err
	}
	return h, h.build(cfg, o)
}

// build is what cmd/dendrite does, with a decorator around each API that others get.
func (h *homeserver) build(cfg *config.Dendrite, o options) error {
	var instance jetstream.NATSInstance
	client := base.CreateClient(cfg, nil)
	federation := base.CreateFederationClient(cfg, nil)
	cm := sqlutil.NewConnectionManager(h.process, cfg.Global.DatabaseOptions)
	caches := caching.NewRistrettoCache(cfg.Global.Cache.EstimatedMaxSize, cfg.Global.Cache.MaxAge, o.metrics)

	rooms := &rooms{
		RoomserverInternalAPI: roomserver.NewInternalAPI(h.process, cfg, cm, &instance, caches, o.metrics),
		modules:               h.modules, local: cfg.Global.IsLocalServerName,
	}
	fed := federationapi.NewInternalAPI(h.process, cfg, cm, &instance, federation, rooms, caches, nil, false)
	rooms.SetFederationAPI(fed, fed.KeyRing())
	users := &users{
		UserInternalAPI: userapi.NewInternalAPI(h.process, cfg, cm, &instance, rooms, federation, o.metrics, fed.IsBlacklistedOrBackingOff),
		modules:         h.modules, server: cfg.Global.ServerName,
	}
	services := appservice.NewInternalAPI(h.process, cfg, &instance, users, rooms)
	rooms.SetAppserviceAPI(services)
	rooms.SetUserAPI(users)

	routers := httputil.NewRouters()
	monolith := setup.Monolith{
		Config: cfg, Client: client, FedClient: federation, KeyRing: fed.KeyRing(),
		AppserviceAPI: services, FederationAPI: fed, RoomserverAPI: rooms, UserAPI: users,
	}
	monolith.AddAllPublicRoutes(h.process, cfg, routers, cm, &instance, caches, o.metrics)
	base.ConfigureAdminEndpoints(h.process, routers)
	logins := &logins{users: users, modules: h.modules, limits: httputil.NewRateLimits(&cfg.ClientAPI.RateLimiting), next: routers.Client}
	h.Handler = h.routes(routers, logins, cfg.SyncAPI.RealIPHeader)

	if _, err := h.modules.ServeModuleAPI(&moduleAPI{cfg: cfg, rooms: rooms, users: users}); err != nil {
		return err
	}
	js, _ := instance.Prepare(h.process, &cfg.Global.JetStream)
	return rooms.tellNews(h.process.Context(), js, cfg)
}

// routes are Dendrite's, and the modules' pages where Dendrite has nothing.
func (h *homeserver) routes(routers httputil.Routers, logins http.Handler, realIP string) http.Handler {
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.PathPrefix("/_synapse/client/").Handler(h.modules.Handler()) // Modules for Synapse have their pages there.
	for prefix, handler := range map[string]http.Handler{
		httputil.PublicClientPathPrefix:     exchanges(logins, realIP),
		httputil.PublicMediaPathPrefix:      exchanges(routers.Media, realIP),
		httputil.PublicFederationPathPrefix: exchanges(routers.Federation, realIP),
		httputil.PublicKeyPathPrefix:        routers.Keys,
		httputil.PublicWellKnownPrefix:      routers.WellKnown,
		httputil.DendriteAdminPathPrefix:    exchanges(routers.DendriteAdmin, realIP),
		httputil.SynapseAdminPathPrefix:     exchanges(routers.SynapseAdmin, realIP),
	} {
		r.PathPrefix(prefix).Handler(handler)
	}
	r.NotFoundHandler = h.modules.Handler()
	return r
}

// close ends what open began, as far as it came.
func (h *homeserver) close() {
	h.process.ShutdownDendrite()
	h.process.WaitForComponentsToFinish()
	if h.modules != nil {
		h.modules.Close()
	}
	if h.conn != nil {
		h.conn.Close()
	}
	if h.nats != nil {
		h.nats.Shutdown()
		h.nats.WaitForShutdown()
	}
}
