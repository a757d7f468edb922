// Command refuses is a worker that refuses its configuration.
package main

import "os"

func main() {
	os.Stderr.WriteString("config.deny: not a list\n")
	os.Exit(78)
}
