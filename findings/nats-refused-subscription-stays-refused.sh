#!/usr/bin/env bash
# A subscription that nats-server refused stays refused after a reload has allowed its subject: the client takes it for valid, is told
# nothing, and is never sent anything. Publishing is allowed at once.
set -euo pipefail
version=v2.15.3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func main() {
	denied := &server.Permissions{
		Subscribe: &server.SubjectPermission{Deny: []string{"work"}},
		Publish:   &server.SubjectPermission{Deny: []string{"news"}},
	}
	users := []*server.User{{Username: "service", Password: "p", Permissions: denied}, {Username: "client", Password: "p"}}
	o := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, Users: users}
	s := must(server.NewServer(o))
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("the server does not start")
	}
	said := make(chan error, 10)
	hear := nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said <- err })
	service := must(nats.Connect(s.ClientURL(), nats.UserInfo("service", "p"), hear))
	client := must(nats.Connect(s.ClientURL(), nats.UserInfo("client", "p")))
	news := must(client.SubscribeSync("news"))
	if err := client.Flush(); err != nil {
		panic(err)
	}
	answer := func(m *nats.Msg) { _ = m.Respond(nil) }
	refused := must(service.Subscribe("work", answer))
	fmt.Println("  at first:                    ", <-said)

	allowed := o.Clone()
	allowed.Users[0].Permissions = nil
	if err := s.ReloadOptions(allowed); err != nil {
		panic(err)
	}
	if err := errors.Join(service.Publish("news", nil), service.Flush()); err != nil {
		panic(err)
	}
	_, heard := news.NextMsg(10 * time.Second)
	_, first := client.Request("work", nil, 10*time.Second)
	fmt.Printf("  after a reload allows it all: published: %v; a request: %v; the subscription is valid: %v; errors heard: %d\n", heard == nil, first, refused.IsValid(), len(said))
	must(service.Subscribe("work", answer))
	if err := service.Flush(); err != nil {
		panic(err)
	}
	_, second := client.Request("work", nil, 10*time.Second)
	fmt.Printf("  subscribed again:             a request: %v\n", second)
	if heard != nil || !errors.Is(first, nats.ErrNoResponders) || !refused.IsValid() || len(said) > 0 || second != nil || service.Statistics.Reconnects > 0 {
		os.Exit(1)
	}
}
GO
export GOFLAGS=-mod=mod
go mod init finding >/dev/null 2>&1
go get "github.com/nats-io/nats-server/v2@$version" github.com/nats-io/nats.go@v1.55.0 >/dev/null 2>&1
echo "nats-server $version"
go run .
