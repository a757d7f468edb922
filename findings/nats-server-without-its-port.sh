#!/usr/bin/env bash
# A nats-server that is started in a program, without a logger, and finds its port taken neither ends nor says so.
set -euo pipefail
version=v2.15.3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer taken.Close()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: taken.Addr().(*net.TCPAddr).Port, NoSigs: true, NoLog: true})
	if err != nil {
		panic(err)
	}
	s.Start()
	ready := s.ReadyForConnections(3 * time.Second)
	fmt.Printf("  its port is taken: Start returns, running %v, ready %v, its address %v\n", s.Running(), ready, s.Addr())
	if !s.Running() || ready {
		os.Exit(1)
	}
}
GO
export GOFLAGS=-mod=mod
go mod init finding >/dev/null 2>&1
go get "github.com/nats-io/nats-server/v2@$version" >/dev/null 2>&1
echo "nats-server $version"
go run .
