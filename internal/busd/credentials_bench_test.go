package busd_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/freeport"
	"github.com/modulebus/modulebus/subjects"
)

// manyModules is how many modules a busd has that credentials are measured with.
const manyModules = 1000

// BenchmarkStartWithManyModules is how long busd takes from its start until it answers, with a thousand modules on its list: with NATS
// inside, which knows them all by their credentials, and with a NATS that knows nobody and starts in the same time.
func BenchmarkStartWithManyModules(b *testing.B) {
	for _, h := range homes {
		b.Run(h.name, func(b *testing.B) {
			dir := b.TempDir()
			h.start(b, dir).stop(b) // Keys are made once in the life of a busd.
			for b.Loop() {
				r := h.start(b, dir)
				b.StopTimer()
				r.stop(b)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkManyModulesConnect is how long a thousand modules take to connect, and what memory there is more of then, that of
// their own side counted in.
func BenchmarkManyModulesConnect(b *testing.B) {
	for _, h := range homes {
		b.Run(h.name, func(b *testing.B) {
			dir, grown := b.TempDir(), 0.0
			for b.Loop() {
				b.StopTimer()
				r := h.start(b, dir)
				r.announced(b) // It is open for modules, too.
				logins := h.logins(b, dir)
				before := heap()
				b.StartTimer()
				conns := make([]*nats.Conn, manyModules)
				for i := range conns {
					conns[i] = r.connect(b, i, logins[i])
				}
				b.StopTimer()
				grown += heap() - before
				for _, nc := range conns {
					nc.Close()
				}
				r.stop(b)
				b.StartTimer()
			}
			b.ReportMetric(grown/float64(b.N), "MiB")
		})
	}
}

// heap is the memory in use, in MiB.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse+m.StackInuse) / (1 << 20)
}

// home is where the NATS of a measured busd is.
type home struct {
	name    string
	trusted bool // whether it knows modules by their credentials
}

var homes = []home{{"credentials", true}, {"without", false}}

// measured is a busd that answers.
type measured struct {
	nats   string
	server *natsserver.Server // nil where it is inside
	cancel context.CancelFunc
	said   chan string // has the line that says that it is up
	done   chan error
}

func (h home) start(b *testing.B, dir string) *measured {
	b.Helper()
	where, web := freeAddress(b), freeAddress(b)
	m := &measured{nats: "nats://" + where, said: make(chan string, 1), done: make(chan error, 1)}
	inside := "nats: {listen: '" + where + "'}\n"
	if !h.trusted {
		_, port, _ := net.SplitHostPort(where)
		o := &natsserver.Options{Host: "127.0.0.1", NoSigs: true, JetStream: true, StoreDir: filepath.Join(dir, "nats"), NoLog: true}
		_, err := fmt.Sscan(port, &o.Port)
		if err == nil {
			m.server, err = natsserver.NewServer(o)
		}
		if err != nil {
			b.Fatal(err)
		}
		m.server.Start()
		inside = "nats: {url: '" + m.nats + "'}\n"
		if !m.server.ReadyForConnections(patience) {
			b.Fatal("NATS does not start")
		}
	}
	text := "server_name: " + serverName + "\n" + inside + "http: {listen: '" + web + "'}\nstate_dir: '" + filepath.Join(dir, "state") + "'\nmodules:\n"
	var list strings.Builder
	for i := range manyModules {
		fmt.Fprintf(&list, "  - {module: m%d}\n", i)
	}
	c, err := config.Parse("busd.yaml", []byte(text+list.String()))
	if err != nil {
		b.Fatal(err)
	}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	go func() {
		m.done <- busd.Run(ctx, busd.Options{Config: c, Announce: announcement(m.said), Log: zerolog.Nop()})
	}()
	m.answers(b, "http://"+web+"/healthz")
	return m
}

// answers waits until busd does.
func (m *measured) answers(b *testing.B, url string) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(patience); ; {
		select {
		case err := <-m.done:
			b.Fatal("busd has ended: ", err)
		case <-time.After(time.Millisecond):
		}
		rsp, err := client.Get(url)
		if err == nil {
			_ = rsp.Body.Close()
			if rsp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			b.Fatal("busd does not answer: ", err)
		}
	}
}

// announced waits until busd says that it is up.
func (m *measured) announced(b *testing.B) {
	b.Helper()
	select {
	case <-m.said:
	case err := <-m.done:
		b.Fatal("busd has ended: ", err)
	}
}

func (m *measured) stop(b *testing.B) {
	b.Helper()
	m.cancel()
	<-m.done // Who is told to end while it starts says so.
	if m.server != nil {
		m.server.Shutdown()
		m.server.WaitForShutdown()
	}
}

// logins are what the modules show.
func (h home) logins(b *testing.B, dir string) []nats.Option {
	b.Helper()
	all := make([]nats.Option, manyModules)
	if !h.trusted {
		for i := range all {
			all[i] = nats.Name("nobody in particular")
		}
		return all
	}
	keys, err := identity.Open(identity.In(filepath.Join(dir, "state")), serverName)
	for i := range all {
		if err == nil {
			all[i], err = keys.Login(identity.Module(fmt.Sprint("m", i)))
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return all
}

// connect is what a worker of a module does first.
func (m *measured) connect(b *testing.B, i int, login nats.Option) *nats.Conn {
	b.Helper()
	names, name := subjects.For(serverName), fmt.Sprint("m", i)
	nc, err := nats.Connect(m.nats, login, nats.CustomInboxPrefix(names.Inbox(name, "w")))
	if err != nil {
		b.Fatal(err)
	}
	for _, subject := range []string{names.WorkerAny(name, "w"), names.Changed(name), names.Cancel(name)} {
		if _, err := nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
			b.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		b.Fatal(err)
	}
	return nc
}

// freeAddress is one that nobody listens at.
func freeAddress(b *testing.B) string {
	b.Helper()
	port, err := freeport.Find()
	if err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}
