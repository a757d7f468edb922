#!/usr/bin/env bash
# A mapping of subjects in nats-server takes effect before permissions are looked at: a user that may publish to a subject may not any more once an
# operator maps it elsewhere, and is told of a subject that it never named.
set -euo pipefail
version=v2.15.3 client=v1.55.0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
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
	orders := &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"orders.new"}}}
	users := []*server.User{{Username: "shop", Password: "p", Permissions: orders}, {Username: "office", Password: "p"}}
	s := must(server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, Users: users}))
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("the server does not start")
	}
	office := must(nats.Connect(s.ClientURL(), nats.UserInfo("office", "p")))
	heard := must(office.SubscribeSync("orders.>"))
	must(0, office.Flush())
	publish := func() (got, refusal string) {
		refused := make(chan error, 1)
		note := nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
		shop := must(nats.Connect(s.ClientURL(), nats.UserInfo("shop", "p"), note))
		defer shop.Close()
		must(0, shop.Publish("orders.new", nil))
		must(0, shop.Flush())
		if m, err := heard.NextMsg(time.Second); err == nil {
			return m.Subject, ""
		}
		return "", (<-refused).Error()
	}
	got, refusal := publish()
	fmt.Printf("  without a mapping, published to orders.new: heard on %q; refused: %q\n", got, refusal)
	right := got == "orders.new"
	must(0, must(s.LookupAccount("$G")).AddMapping("orders.new", "orders.v2.new"))
	got, refusal = publish()
	fmt.Printf("  mapped to orders.v2.new, published to orders.new: heard on %q; refused: %q\n", got, refusal)
	if !right || got != "" || refusal != `nats: permissions violation: Permissions Violation for Publish to "orders.v2.new"` {
		os.Exit(1)
	}
}
GO
export GOFLAGS=-mod=mod
go mod init finding >/dev/null 2>&1
go get "github.com/nats-io/nats-server/v2@$version" "github.com/nats-io/nats.go@$client" >/dev/null 2>&1
echo "nats-server $version, a user that may publish to orders.new"
go run .
