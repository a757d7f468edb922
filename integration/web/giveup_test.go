package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/modulebus/modulebus/bus"
)

// A gateway that gives up on a request whose body is still under way answers 504, and tells the worker.
func TestWebGatewayGivesUpInTheUpload(t *testing.T) {
	t.Parallel()
	s := newSite(t, bus.Options{Web: bus.WebOptions{ResponseTimeout: 100 * time.Millisecond}}, "web")
	ended := make(chan error, 1)
	s.run(t, "web", "/w", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // It is never whole.
		ended <- context.Cause(r.Context())
	}))
	c, err := net.Dial("tcp", s.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /w HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n%100000d", 1) // And then nothing.
	rsp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("the client got no response: %v", err)
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("got %d, want 504", rsp.StatusCode)
	}
	if got, want := fmt.Sprint(<-ended), "tunnel: nobody waits for the response: context canceled"; got != want {
		t.Errorf("the handler's context ended with %q, want %q", got, want)
	}
}
