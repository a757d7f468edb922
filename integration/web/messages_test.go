package web_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/natstransport"
	"github.com/modulebus/modulebus/internal/tunnel/worker"
	"github.com/modulebus/modulebus/subjects"
)

// traffic is how many messages connections have sent and received.
type traffic struct{ sent, received uint64 }

func trafficOf(nc *nats.Conn) traffic {
	s := nc.Stats()
	return traffic{s.OutMsgs, s.InMsgs}
}

// all is what the server had from and to its clients, the connections for bodies among them.
func all(t *testing.T, s *server.Server) (sum traffic) {
	t.Helper()
	conns, err := s.Connz(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns.Conns {
		sum.sent += uint64(c.InMsgs)
		sum.received += uint64(c.OutMsgs)
	}
	return sum
}

func (a traffic) minus(b traffic) traffic { return traffic{a.sent - b.sent, a.received - b.received} }

// echoes is a gateway in front of a worker that sends back what it is sent. No time passes for the worker, however busy
// the machine is: a handler that takes longer costs a message more.
func echoes(t *testing.T, atGateway, atWorker *nats.Conn) (url string) {
	t.Helper()
	at := subjects.For(serverName)
	line := natstransport.Worker(atWorker, at, "m", "w")
	wk := worker.New(line, worker.Options{AcceptAfter: time.Hour})
	open(t, line, wk)
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	_, err := atWorker.Subscribe(at.Web("m", "echo"), func(m *nats.Msg) {
		process, token := subjects.StreamOf(m.Reply)
		wk.Serve(context.Background(), echo, flow.Address{Process: process, Token: token}, m.Data)
	})
	if err != nil || atWorker.Flush() != nil {
		t.Fatal("cannot serve", err)
	}
	front := httptest.NewServer(newGateway(t, atGateway, "echo"))
	t.Cleanup(front.Close)
	return front.URL
}

func TestWebSmallRequestsTakeOneMessageEachWay(t *testing.T) {
	t.Parallel()
	const times = 50
	for name, body := range map[string]string{"GET": "", "POST": strings.Repeat("x", 1000), "PUT": strings.Repeat("x", 32<<10)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startNATS(t, &server.Options{})
			gateway, worker := connectTo(t, s.ClientURL()), connectTo(t, s.ClientURL())
			url := echoes(t, gateway, worker)
			fromGateway, fromWorker, fromAll := trafficOf(gateway), trafficOf(worker), all(t, s)
			for range times {
				exchange(t, name, url, body)
			}
			if gateway.Flush() != nil || worker.Flush() != nil {
				t.Fatal("NATS is gone")
			}
			if got, want := trafficOf(gateway).minus(fromGateway), (traffic{times, times}); got != want {
				t.Errorf("the gateway sent and received %v in %d requests, want %v", got, times, want)
			}
			if got, want := trafficOf(worker).minus(fromWorker), (traffic{times, times}); got != want {
				t.Errorf("the worker sent and received %v in %d requests, want %v", got, times, want)
			}
			if got, want := all(t, s).minus(fromAll), (traffic{2 * times, 2 * times}); got != want {
				t.Errorf("NATS had %v in %d requests, want %v", got, times, want)
			}
		})
	}
}

// exchange wants the body back.
func exchange(t *testing.T, method, url, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if got, err := io.ReadAll(rsp.Body); err != nil || rsp.StatusCode != http.StatusOK || string(got) != body {
		t.Fatalf("%s: %s, %d bytes, %v", method, rsp.Status, len(got), err)
	}
}
