#!/usr/bin/env bash
# Two nats-servers that are given the same store both start, and both acknowledge. What one of them acknowledged is not there after a
# restart: nothing locks the folder, and nothing is logged.
set -euo pipefail
version=v2.15.3 client=v1.55.0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type node struct {
	*server.Server
	jetstream.JetStream
}

// start is what a program does, or a second container on the same volume.
func start(dir, name string) node {
	log := filepath.Join(dir, name+".log")
	s := must(server.NewServer(&server.Options{
		ServerName: name, Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(dir, "store"), NoSigs: true, LogFile: log,
	}))
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("not ready")
	}
	return node{s, must(jetstream.New(must(nats.Connect(s.ClientURL()))))}
}

func (n node) stop() { n.Shutdown(); n.WaitForShutdown() }

func (n node) publish(prefix string, count int) (sequences []uint64) {
	for i := range count {
		ack := must(n.Publish(context.Background(), "jobs", fmt.Append(nil, prefix, i)))
		sequences = append(sequences, ack.Sequence)
	}
	return sequences
}

func (n node) stored() (all []string) {
	s := must(n.Stream(context.Background(), "jobs"))
	last := must(s.Info(context.Background())).State.LastSeq
	for i := range last {
		all = append(all, string(must(s.GetMsg(context.Background(), i+1)).Data))
	}
	return all
}

func main() {
	dir := os.Args[1]
	first := start(dir, "first")
	must(first.CreateStream(context.Background(), jetstream.StreamConfig{Name: "jobs", Subjects: []string{"jobs"}}))
	fmt.Println("  first server acknowledges  ", first.publish("a", 3))
	second := start(dir, "second")
	fmt.Println("  second server, same store  ", second.publish("b", 3))
	fmt.Println("  first server again         ", first.publish("A", 2))
	second.stop()
	first.stop()
	third := start(dir, "third")
	stored := third.stored()
	third.stop()
	fmt.Println("  acknowledged 8, stored     ", len(stored), stored)
	logs := string(must(os.ReadFile(filepath.Join(dir, "first.log")))) + string(must(os.ReadFile(filepath.Join(dir, "second.log"))))
	warned := strings.Contains(logs, "[WRN]") || strings.Contains(logs, "[ERR]")
	fmt.Println("  warnings and errors logged ", warned)
	if len(stored) >= 8 || warned {
		os.Exit(1)
	}
}
GO
export GOFLAGS=-mod=mod
go mod init finding >/dev/null 2>&1
go get "github.com/nats-io/nats-server/v2@$version" "github.com/nats-io/nats.go@$client" >/dev/null 2>&1
echo "nats-server $version"
go run . "$dir"
