#!/usr/bin/env bash
# A stream of JetStream that met a full disk once stores nothing more when there is room again, until its server is restarted.
# Whoever publishes gets a timeout. Needs Go, and Linux with namespaces of users, for a small disk.
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
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

var (
	disk = os.Args[1]
	js   nats.JetStreamContext
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// start starts a server that stores on the disk, and connects to it.
func start() *server.Server {
	s := must(server.NewServer(&server.Options{
		ServerName: "s", Host: "127.0.0.1", Port: -1, HTTPHost: "127.0.0.1", HTTPPort: -1, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: disk, JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 1 << 20,
	}))
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("the server is not ready")
	}
	js = must(must(nats.Connect(s.ClientURL())).JetStream(nats.MaxWait(3 * time.Second)))
	return s
}

func add(stream string) {
	must(js.AddStream(&nats.StreamConfig{Name: stream, Subjects: []string{stream}, Storage: nats.FileStorage}))
}

// publish says what came of a message of 32 KiB, and fails if that is not what is expected.
func publish(when, stream string, want error) {
	_, err := js.Publish(stream, bytes.Repeat([]byte("x"), 32<<10))
	fmt.Printf("  %s: %v\n", when, err)
	if !errors.Is(err, want) {
		fmt.Println("expected:", want)
		os.Exit(1)
	}
}

// fill leaves no room on the disk, until what it returns is called.
func fill() (undo func()) {
	f := must(os.Create(filepath.Join(disk, "ballast")))
	for {
		if _, err := f.Write(make([]byte, 64<<10)); err != nil {
			break
		}
	}
	return func() { f.Close(); os.Remove(f.Name()) }
}

func main() {
	fmt.Println("nats-server", server.VERSION)
	s := start()
	add("old")
	publish("a stream, with room on its disk", "old", nil)
	undo := fill()
	publish("the disk is full", "old", nats.ErrTimeout)
	undo()
	publish("there is room again", "old", nats.ErrTimeout)
	time.Sleep(10 * time.Second)
	publish("ten seconds later", "old", nats.ErrTimeout)
	fmt.Println("  purged:", strings.ReplaceAll(js.PurgeStream("old").Error(), disk, "…"))
	publish("after that", "old", nats.ErrTimeout)
	add("new")
	publish("another stream, made now", "new", nil)
	info := must(js.StreamInfo("old"))
	fmt.Println("  what the first stream says of itself:", info.State.Msgs, "message, no error")
	r := must(http.Get("http://" + s.MonitorAddr().String() + "/healthz"))
	text := string(must(io.ReadAll(r.Body)))
	fmt.Println("  /healthz:", r.StatusCode, strings.ReplaceAll(text, disk, "…"))
	if r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "no space left") {
		os.Exit(1)
	}
	s.Shutdown()
	s.WaitForShutdown()
	start()
	publish("after a restart of the server", "old", nil)
}
GO
(cd "$dir" && go mod tidy 2>/dev/null && go build -o prog .)
mkdir "$dir/disk"
unshare --map-root-user --mount bash -s -- "$dir" <<'SH'
mount -t tmpfs -o size=8m tmpfs "$1/disk"
exec "$1/prog" "$1/disk"
SH
