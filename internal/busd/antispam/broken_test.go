package antispam

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
)

// answering is a Server before one that answers each request with these bytes. Then it closes the connection, or waits until the other
// side does.
func answering(t *testing.T, reply string, closes bool) *Server {
	t.Helper()
	return connecting(t, func(c net.Conn) {
		for r := bufio.NewReader(c); ; {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, request.Body)
			if _, err = io.WriteString(c, reply); err != nil || closes {
				return
			}
		}
	})
}

// connecting is a Server before one that treats connections so, and then closes them.
func connecting(t *testing.T, serve func(net.Conn)) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return open(t, config.Antispam{BaseURL: "http://" + l.Addr().String()})
}

func compressed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text) // Neither fails on a buffer.
	_ = w.Close()
	return b.String()
}

func gzipped(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// TestServerThatSpeaksBadlyFails has servers and proxies that do not keep to HTTP, or answer what the protocol does not have.
func TestServerThatSpeaksBadlyFails(t *testing.T) {
	t.Parallel()
	page := func(status int) string {
		return fmt.Sprintf("HTTP/1.1 %d No\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", status)
	}
	replies := map[string]string{
		"nothing":               "",
		"half a header":         "HTTP/1.1 200 OK\r\nContent-Le",
		"another protocol":      "SSH-2.0-OpenSSH_9.9\r\n",
		"a body that is cut":    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
		"a length too small":    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}",
		"two lengths":           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"a length below zero":   "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
		"chunks that are none":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"chunks without an end": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"a large header":        "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\nContent-Length: 2\r\n\r\n{}",
		"another connection":    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"no end of beginnings":  strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 5000),
		"nothing of success":    "HTTP/1.1 204 No Content\r\n\r\n",
		"nothing new":           "HTTP/1.1 304 Not Modified\r\n\r\n",
		"a redirect":            "HTTP/1.1 307 Temporary Redirect\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
		"no gzip":               gzipped("{}"),
		"gzip that is cut":      gzipped(compressed(strings.Repeat("{}", 100))[:20]),
		"gzip of very much":     gzipped(compressed("{" + strings.Repeat(" ", 1<<20) + "}")),
		"another compression":   "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 6\r\n\r\n\x0b\x00\x80{}\x03",
		"a page of 200":         page(200), "a page of 401": page(401), "a page of 403": page(403), "a page of 404": page(404), "a page of 405": page(405),
		"a page of 429": page(429), "a page of 502": page(502),
	}
	for name, reply := range replies {
		for _, closes := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", closes: ", closes), func(t *testing.T) {
				t.Parallel()
				within := time.Minute // Of it, no server takes anything.
				if !closes {
					within = 100 * time.Millisecond // For those that would be waited for.
				}
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				if refusal, err := answering(t, reply, closes).create(ctx); refusal != nil || err == nil {
					t.Errorf("got %v, %v", refusal, err)
				}
			})
		}
	}
}

func TestServerMayHintAndCompress(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"hints":        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"gzip":         gzipped(compressed("{}")),
		"HTTP/1.0":     "HTTP/1.0 200 OK\r\n\r\n{}",
		"more than it": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if refusal, err := answering(t, reply, true).create(t.Context()); refusal != nil || err != nil {
				t.Errorf("got %v, %v", refusal, err)
			}
		})
	}
}

// TestServerThatDripsFailsWithTheDeadline has a body of which a byte comes now and then.
func TestServerThatDripsFailsWithTheDeadline(t *testing.T) {
	t.Parallel()
	s := connecting(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{")
		for {
			if _, err := io.WriteString(c, " "); err != nil {
				return
			}
			<-time.After(time.Millisecond)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if refusal, err := s.create(ctx); refusal != nil || err == nil || !strings.Contains(err.Error(), "in time") {
		t.Errorf("got %v, %v", refusal, err)
	}
}

// TestServerThatClosesIdleConnectionsIsAskedOnAnother has each connection closed after its first reply, without a word.
func TestServerThatClosesIdleConnectionsIsAskedOnAnother(t *testing.T) {
	t.Parallel()
	s := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", true)
	for range 50 {
		if refusal, err := s.create(t.Context()); refusal != nil || err != nil {
			t.Fatalf("got %v, %v", refusal, err)
		}
	}
}

func TestServerOfAnotherCertificateFails(t *testing.T) {
	t.Parallel()
	h := httptest.NewUnstartedServer(http.NotFoundHandler())
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // It logs what the test is about.
	h.StartTLS()
	defer h.Close()
	if refusal, err := open(t, config.Antispam{BaseURL: h.URL}).create(t.Context()); refusal != nil || err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, %v", refusal, err)
	}
}
