package freeport_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/modulebus/modulebus/internal/freeport"
)

func TestPortIsNoneThatTheSystemGivesAway(t *testing.T) {
	t.Parallel()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	const firstGiven = 32_768 // Linux's, unless an administrator says otherwise.
	if port >= firstGiven {
		t.Errorf("%d is one that any client may be given", port)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatalf("nobody was to listen on it: %v", err)
	}
	_ = l.Close()
}
