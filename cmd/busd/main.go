// Command busd runs the bus of one homeserver. See busd --help, and docs/operating.md.
package main

import (
	"context"
	"os"

	"github.com/modulebus/modulebus/internal/busd/cli"
)

func main() {
	os.Exit(cli.Execute(context.Background(), os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
