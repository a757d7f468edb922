#!/usr/bin/env bash
# The IDs by which JetStream knows a repeated message are read from the messages that are still stored when a server starts: those of
# messages that were handled, replaced or purged are forgotten, however long the window is. In a cluster of three, restarting one server after
# the other is enough. Needs Go.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/go.mod" <<'MOD'
module finding

go 1.26

require (
	github.com/nats-io/nats-server/v2 v2.15.3
	github.com/nats-io/nats.go v1.55.0
)
MOD
cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// again calls try until it succeeds, for half a minute: a cluster elects leaders.
func again[T any](try func() (T, error)) T {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		v, err := try()
		if err == nil || time.Now().After(end) {
			return must(v, err)
		}
	}
}

type cluster struct {
	dir     string
	routes  []*url.URL
	servers []*server.Server
}

func newCluster(dir string, n int) *cluster {
	c := &cluster{dir: dir, servers: make([]*server.Server, n)}
	for range n {
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		defer l.Close()
		c.routes = append(c.routes, must(url.Parse("nats://"+l.Addr().String())))
	}
	return c
}

func (c *cluster) start(i int) {
	o := &server.Options{ServerName: fmt.Sprint("server", i), Host: "127.0.0.1", Port: -1, JetStream: true, NoSigs: true, NoLog: true,
		StoreDir: filepath.Join(c.dir, fmt.Sprint(len(c.servers), "-", i))}
	if len(c.servers) > 1 {
		port := must(net.LookupPort("tcp", c.routes[i].Port()))
		o.Cluster, o.Routes = server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: port}, c.routes
	}
	c.servers[i] = must(server.NewServer(o))
	c.servers[i].Start()
}

func (c *cluster) stop(i int) {
	c.servers[i].Shutdown()
	c.servers[i].WaitForShutdown()
}

// current waits until each server has all of the stream.
func (c *cluster) current(stream string) {
	again(func() (any, error) {
		for _, s := range c.servers {
			if !s.JetStreamIsStreamCurrent(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				return nil, fmt.Errorf("%s is behind", s.Name())
			}
		}
		return nil, nil
	})
}

func (c *cluster) connect() (*nats.Conn, nats.JetStreamContext) {
	if !c.servers[0].ReadyForConnections(30 * time.Second) {
		log.Fatal("the server does not start")
	}
	nc := must(nats.Connect(c.servers[0].ClientURL()))
	return nc, must(nc.JetStream())
}

// publish publishes one message, and again if that met a change of leaders, and returns how many messages the stream has then.
func publish(js nats.JetStreamContext, subject, id string) uint64 {
	again(func() (any, error) { return js.Publish(subject, []byte(id), nats.MsgId(id)) })
	return must(js.StreamInfo(subject)).State.Msgs
}

// round makes two streams, repeats a message that was handled and one that was replaced, restarts the servers one after the other, and
// repeats both again.
func round(dir string, n int) {
	c := newCluster(dir, n)
	for i := range n {
		c.start(i)
	}
	nc, js := c.connect()
	config := nats.StreamConfig{Name: "jobs", Subjects: []string{"jobs"}, Retention: nats.WorkQueuePolicy, Duplicates: time.Hour, Replicas: n}
	again(func() (any, error) { return js.AddStream(&config) })
	config = nats.StreamConfig{Name: "state", Subjects: []string{"state"}, MaxMsgsPerSubject: 1, Duplicates: time.Hour, Replicas: n}
	again(func() (any, error) { return js.AddStream(&config) })
	publish(js, "jobs", "job")
	worker := must(js.PullSubscribe("jobs", "workers"))
	job := must(worker.Fetch(1, nats.MaxWait(30*time.Second)))[0]
	if err := job.AckSync(); err != nil {
		log.Fatal(err)
	}
	again(func() (any, error) {
		if left := must(js.StreamInfo("jobs")).State.Msgs; left > 0 {
			return nil, fmt.Errorf("%d jobs are left", left)
		}
		return nil, nil
	})
	publish(js, "state", "old")
	publish(js, "state", "new")
	report(js, n, "repeated", 0, "new")
	nc.Close()
	for i := range n {
		c.stop(i)
		c.start(i)
		c.current("jobs")
		c.current("state")
	}
	nc, js = c.connect()
	defer nc.Close()
	report(js, n, "repeated after restarts", 1, "old")
}

func report(js nats.JetStreamContext, n int, when string, jobs uint64, state string) {
	waiting := publish(js, "jobs", "job")
	publish(js, "state", "old")
	last := must(js.GetLastMsg("state", "state"))
	fmt.Printf("  servers: %d; %s: %d jobs wait, the state is %q\n", n, when, waiting, last.Data)
	if waiting != jobs || string(last.Data) != state {
		log.Fatalf("not %d and %q", jobs, state)
	}
}

func main() {
	fmt.Printf("nats-server %s, a window of one hour; one job, handled, and a state, replaced:\n", server.VERSION)
	for _, n := range []int{1, 3} {
		round(os.Args[1], n)
	}
}
GO
cd "$dir"
go mod tidy 2>"$dir/tidy" || { cat "$dir/tidy"; exit 1; }
go run . "$dir/data"
