// Package natstest runs real NATS servers for tests, in three homes. They end with the test.
//
//	nc := natstest.Connect(t, natstest.InProcess(t)) // no port, up in milliseconds
//
// A test that must hold wherever NATS lives runs in each home:
//
//	natstest.Each(t, func(t *testing.T, home *natstest.Home) { … })
//
// What servers complain of goes to the test's log.
package natstest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/freeport"
	"github.com/modulebus/modulebus/internal/waittest"
)

// patience is how long a server may take for anything.
const patience = 30 * time.Second

// Home is where NATS lives.
type Home struct {
	// Servers are the nodes. A test may shut one down.
	Servers []*server.Server

	connected atomic.Int64
}

// InProcess starts a server that listens on nothing: only [Connect] reaches it.
func InProcess(tb testing.TB) *Home {
	tb.Helper()
	return &Home{Servers: []*server.Server{Start(tb, &server.Options{DontListen: true})}}
}

// TCP starts a server on a free port of this machine.
func TCP(tb testing.TB) *Home {
	tb.Helper()
	return &Home{Servers: []*server.Server{Start(tb, &server.Options{})}}
}

// Cluster starts three servers on free ports of this machine, which know each other. [Connect] takes them in turn, so
// that what two connections say to each other crosses from node to node.
func Cluster(tb testing.TB) *Home {
	tb.Helper()
	h := &Home{}
	for range 3 {
		o := &server.Options{Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT}}
		if len(h.Servers) > 0 {
			o.Routes = server.RoutesFromStr("nats://" + h.Servers[0].ClusterAddr().String())
		}
		h.Servers = append(h.Servers, Start(tb, o))
	}
	h.awaitRoutes(tb)
	return h
}

// Configured starts three servers that know each other, with a configuration as operators write it, JetStream, and folders
// that are gone when the test ends. Users are as the configuration says. The first nodes keep their streams on the disks, if any are given.
func Configured(tb testing.TB, text string, disks ...string) *Home {
	tb.Helper()
	h, routes := &Home{}, routes(tb)
	for n, route := range routes {
		dir := tb.TempDir()
		file := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(file, []byte(strings.Replace(text, `dir: "`, `dir: "`+dir+"/", 1)), 0o600); err != nil {
			tb.Fatalf("natstest: %v", err)
		}
		o, err := server.ProcessConfigFile(file)
		if err != nil {
			tb.Fatalf("natstest: %v", err)
		}
		o.ServerName, o.JetStream, o.StoreDir = fmt.Sprint("node-", n), true, filepath.Join(dir, "jetstream")
		if n < len(disks) {
			o.StoreDir = disks[n]
		}
		o.Host, o.Port, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: route.Port}
		for _, other := range routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: other.String()})
		}
		h.Servers = append(h.Servers, launch(tb, o))
	}
	for _, s := range h.Servers {
		if !s.ReadyForConnections(patience) {
			tb.Fatal("natstest: a server is not ready")
		}
	}
	h.awaitRoutes(tb)
	waittest.Until(tb, "JetStream has a leader", h.led)
	return h
}

// led reports whether JetStream has a leader that all nodes follow: what it is asked before is lost.
func (h *Home) led() bool {
	leader := false
	for _, s := range h.Servers {
		if !s.JetStreamIsCurrent() {
			return false
		}
		leader = leader || s.JetStreamIsLeader()
	}
	return leader
}

// routes are three addresses that nobody listens on: nodes with JetStream have to know each other beforehand.
func routes(tb testing.TB) (all []*net.TCPAddr) {
	tb.Helper()
	for range 3 {
		port, err := freeport.Find()
		if err != nil {
			tb.Fatalf("natstest: %v", err)
		}
		all = append(all, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	}
	return all
}

// Each runs the test in each home, in parallel.
func Each(t *testing.T, test func(*testing.T, *Home)) {
	t.Helper()
	for _, home := range []struct {
		name  string
		start func(testing.TB) *Home
	}{{"in process", InProcess}, {"over TCP", TCP}, {"in a cluster", Cluster}} {
		t.Run(home.name, func(t *testing.T) {
			t.Parallel()
			test(t, home.start(t))
		})
	}
}

// Start starts a server with the options, on a free port of this machine unless they say otherwise. It is shut down
// when the test ends.
func Start(tb testing.TB, o *server.Options) *server.Server {
	tb.Helper()
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s := launch(tb, o)
	if !s.ReadyForConnections(patience) {
		tb.Fatal("natstest: the server is not ready")
	}
	return s
}

// launch starts a server, and does not wait.
func launch(tb testing.TB, o *server.Options) *server.Server {
	tb.Helper()
	o.NoSigs, o.DisableShortFirstPing = true, true
	s, err := server.NewServer(o)
	if err != nil {
		tb.Fatalf("natstest: %v", err)
	}
	s.SetLoggerV2(logger{tb}, false, false, false)
	s.Start()
	tb.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// awaitRoutes returns when each node has heard of every other.
func (h *Home) awaitRoutes(tb testing.TB) {
	tb.Helper()
	waittest.Until(tb, "the nodes have found each other", h.routed)
}

// AwaitInterest returns when each node knows that somebody subscribes to the subject. In a cluster, that somebody's own
// node knows is not enough.
func AwaitInterest(tb testing.TB, h *Home, subject string) {
	tb.Helper()
	for _, s := range h.Servers {
		waittest.Until(tb, "somebody subscribes to "+subject, func() bool {
			return !s.Running() || s.GlobalAccount().SubscriptionInterest(subject)
		})
	}
}

func (h *Home) routed() bool {
	for _, s := range h.Servers {
		peers := map[string]bool{}
		routes, err := s.Routez(nil)
		if err != nil {
			return false
		}
		for _, r := range routes.Routes {
			peers[r.RemoteID] = true
		}
		if len(peers) < len(h.Servers)-1 {
			return false
		}
	}
	return true
}

// EnableJetStream has the first node keep streams from now on.
func (h *Home) EnableJetStream(tb testing.TB) {
	tb.Helper()
	if err := h.Servers[0].EnableJetStream(&server.JetStreamConfig{StoreDir: tb.TempDir()}); err != nil {
		tb.Fatal(err)
	}
}

// URL names the nodes, as nats.Connect and busd.yaml take it; empty where nothing listens.
func (h *Home) URL() string {
	var urls []string
	for _, s := range h.Servers {
		if s.Addr() != nil {
			urls = append(urls, "nats://"+s.Addr().String())
		}
	}
	return strings.Join(urls, ",")
}

// Connect connects to the home; the connection is closed when the test ends. It reconnects for ever, and what it cannot
// send at once it does not send at all.
func Connect(tb testing.TB, h *Home, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	s := h.Servers[int(h.connected.Add(1)-1)%len(h.Servers)]
	all := []nats.Option{
		nats.Name(tb.Name()), nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectBufSize(-1),
	}
	url := h.URL()
	if url == "" {
		all = append(all, nats.InProcessServer(s))
	} else {
		all = append(all, nats.DontRandomize())
		url = strings.Join(append([]string{"nats://" + s.Addr().String()}, strings.Split(url, ",")...), ",")
	}
	nc, err := nats.Connect(url, append(all, opts...)...)
	if err != nil {
		tb.Fatalf("natstest: %v", err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// logger passes on what a server complains of.
type logger struct{ testing.TB }

// Noticef implements [server.Logger].
func (logger) Noticef(string, ...any) {}

// Warnf implements [server.Logger].
func (l logger) Warnf(format string, v ...any) { l.Logf("nats-server: "+format, v...) }

// Errorf implements [server.Logger].
func (l logger) Errorf(format string, v ...any) { l.Logf("nats-server: "+format, v...) }

// Fatalf implements [server.Logger]. It is called on the server's goroutines, where a test cannot be ended.
func (l logger) Fatalf(format string, v ...any) {
	l.Error("nats-server: " + fmt.Sprintf(format, v...))
}

// Debugf implements [server.Logger].
func (logger) Debugf(string, ...any) {}

// Tracef implements [server.Logger].
func (logger) Tracef(string, ...any) {}
