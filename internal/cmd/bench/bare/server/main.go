// Command server is NATS's server with JetStream, and nothing else: what a busd is measured against.
package main

import (
	"log"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, JetStream: true, StoreDir: os.Args[1]})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	s.WaitForShutdown()
}
