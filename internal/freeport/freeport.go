// Package freeport finds ports for servers of tests and benchmarks that must know theirs before they start.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
)

// Find returns a TCP port that nobody listens on at 127.0.0.1. It is below those that the system gives to clients and to
// servers that ask for any, so that it is still free when its server starts, however many connections are made meanwhile.
// The error is for a machine that has none.
func Find() (port int, err error) {
	const lowest, highest, tries = 10_000, 30_000, 100
	for range tries {
		port := lowest + rand.IntN(highest-lowest)
		if l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no port is free")
}
