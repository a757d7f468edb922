// Command client answers requests by nats.go, and nothing else: what an idle worker is measured against.
package main

import (
	"log"
	"os"

	"github.com/nats-io/nats.go"
)

func main() {
	nc, err := nats.Connect(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if _, err := nc.QueueSubscribe("bare", "bare", func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		log.Fatal(err)
	}
	select {}
}
