// Command busd runs the bus of one homeserver. See busd --help, and docs/operating.md.
package main

import (
	"context"
	"os"

	"github.com/modulebus/modulebus/internal/busd/cli"
	"github.com/modulebus/modulebus/internal/busd/pid1"
)

func main() {
	if pid1.Needed() {
		os.Exit(pid1.Run(os.Args))
	}
	os.Exit(cli.Execute(context.Background(), os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
