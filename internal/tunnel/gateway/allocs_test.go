package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
	"github.com/modulebus/modulebus/internal/tunnel/worker"
	"github.com/modulebus/modulebus/internal/webpath"
)

// direct is a gateway's line to one worker, and the worker's to the gateway, which costs nothing.
type direct struct {
	gateway *gateway.Gateway
	worker  *worker.Worker
	handler http.Handler
	ask     *http.Request // whose context requests get
}

func (*direct) MaxFrame() int { return tunneltest.FrameLimit }

func (*direct) Near(flow.Address, func([]byte), func()) flow.Line { return nil }

func (*direct) Token(webpath.Resource) string { return flow.NewToken() }

func (d *direct) Ask(_ webpath.Resource, token string, frame []byte) error {
	d.worker.Serve(d.ask.Context(), d.handler, flow.Address{Process: "g", Token: token}, frame)
	return nil
}

func (d *direct) Send(by flow.Channel, to flow.Address, _ string, frame []byte) error {
	d.gateway.Receive(by, to.Token, flow.Address{Process: "w"}, frame)
	return nil
}

// page is a client that remembers nothing.
type page struct{ header http.Header }

func (p *page) Header() http.Header       { return p.header }
func (*page) WriteHeader(int)             {}
func (*page) Write(b []byte) (int, error) { return len(b), nil }

// What a small GET costs here, without net/http's servers and NATS.
func TestSmallGETAllocatesLittle(t *testing.T) { //nolint:paralleltest // others allocate, too
	most := 26.0
	if raced {
		most += 10
	}
	d := &direct{ask: httptest.NewRequest("GET", "/_synapse/client/hello?name=alice", nil)}
	d.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"hello":"alice"}`)
	})
	d.gateway, d.worker = gateway.New(d, toGate, gateway.Options{}), worker.New(d, worker.Options{})
	d.ask.Header.Set("Accept", "*/*")
	d.ask.Header.Set("User-Agent", "test")
	client := &page{http.Header{}}
	allocs := testing.AllocsPerRun(1000, func() {
		clear(client.header)
		d.gateway.ServeHTTP(client, d.ask)
	})
	if allocs > most {
		t.Errorf("%v allocations", allocs)
	}
}
