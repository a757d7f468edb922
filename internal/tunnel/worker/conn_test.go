package worker_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

// upgraded opens a connection through the tunnel: the client's end, and the handler's.
func upgraded(t *testing.T, n *httptest.Server, conns <-chan net.Conn) (outer, inner net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", n.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReaderSize(c, 16) // Nothing follows the head before something was said.
	rsp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if rsp.StatusCode != 101 || rsp.Header.Get("Upgrade") != "echo" || rsp.Header.Get("Connection") != "Upgrade" {
		t.Fatalf("got %v", rsp)
	}
	return c, <-conns
}

// hijacking hands over what it hijacks. It answers as libraries do: by hand, or with a status.
func hijacking(conns chan<- net.Conn, byHand bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if !byHand {
			w.Header().Set("Upgrade", "echo")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		if byHand {
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_ = rw.Flush()
		}
		conns <- c
	}
}

func TestConn(t *testing.T) {
	t.Parallel()
	for _, byHand := range []bool{true, false} {
		t.Run(strconv.FormatBool(byHand), func(t *testing.T) {
			t.Parallel()
			conns := make(chan net.Conn, 1)
			s := tunneltest.Serve(t, tunneltest.Tunnelled(t, hijacking(conns, byHand)))
			nettest.TestConn(t, func() (outer, inner net.Conn, stop func(), err error) {
				outer, inner = upgraded(t, s, conns)
				return outer, inner, func() { outer.Close(); inner.Close() }, nil
			})
		})
	}
}

func TestConnHalfCloseLeavesTheOtherDirection(t *testing.T) {
	t.Parallel()
	conns := make(chan net.Conn, 1)
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, hijacking(conns, true)))
	outer, inner := upgraded(t, s, conns)
	defer outer.Close()
	_, _ = io.WriteString(outer, "question")
	_ = outer.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(inner); err != nil || string(got) != "question" {
		t.Errorf("the handler read %q, %v", got, err)
	}
	_, _ = io.WriteString(inner, "answer")
	_ = inner.Close()
	if got, err := io.ReadAll(outer); err != nil || string(got) != "answer" {
		t.Errorf("the client read %q, %v", got, err)
	}
}

func TestCloseWrite(t *testing.T) {
	t.Parallel()
	conns := make(chan net.Conn, 1)
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, hijacking(conns, false)))
	outer, inner := upgraded(t, s, conns)
	defer outer.Close()
	defer inner.Close()
	_, _ = io.WriteString(inner, "bye")
	_ = inner.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(outer); err != nil || string(got) != "bye" {
		t.Errorf("the client read %q, %v", got, err)
	}
	_, _ = io.WriteString(outer, "still here")
	if got := make([]byte, 10); tunneltest.ReadFull(inner, got) != nil || string(got) != "still here" {
		t.Errorf("the handler read %q", got)
	}
}

func TestCloseReachesTheOtherEnd(t *testing.T) {
	t.Parallel()
	conns := make(chan net.Conn, 1)
	n := tunneltest.Connect(t, gateway.Options{}, hijacking(conns, true))
	s := tunneltest.Serve(t, n.Gateway)
	outer, inner := upgraded(t, s, conns)
	_ = inner.Close()
	_ = outer.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := outer.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		t.Errorf("the client read %v", err)
	}
	outer, inner = upgraded(t, s, conns)
	_ = outer.(*net.TCPConn).SetLinger(0)
	_ = outer.Close()
	if _, err := inner.Read(make([]byte, 1)); err == nil {
		t.Error("the handler read on")
	}
	_ = inner.Close()
	n.Until(t, "all streams are closed", func() bool { return n.Gateway.Stats().Open.Load() == 0 && n.Workers[0].Open() == 0 })
}
