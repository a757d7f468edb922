package modulekit

import (
	"fmt"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/natstransport"
	tunnel "github.com/modulebus/modulebus/internal/tunnel/worker"
	"github.com/modulebus/modulebus/subjects"
)

// web is the part of a worker that serves web resources. It has a responder of its own, since its requests may last for
// hours. Its zero value is closed; nothing is opened before there is a web resource.
type web struct {
	owner     *worker
	transport *natstransport.Transport
	tunnel    *tunnel.Worker
	requests  *responder.Responder
}

// open listens for the streams of the worker, so that none is lost when requests come.
func (s *web) open(w *worker) error {
	if s.transport != nil {
		return nil
	}
	t := natstransport.Worker(w.nc, w.server, w.options.Module, w.options.Worker)
	s.owner, s.tunnel = w, tunnel.New(t, tunnel.Options{OnPanic: s.panicked})
	if err := t.Open(s.tunnel); err != nil {
		return fmt.Errorf("modulekit: cannot serve web resources: %w", err)
	}
	s.transport = t
	s.requests = responder.Taking(w.nc, w.options.WebConcurrency, s.serve, s.busy)
	return nil
}

// retain takes requests for the given subjects only.
func (s *web) retain(subjects ...string) {
	if s.requests != nil {
		s.requests.Retain(subjects...)
	}
}

// renew subscribes a subject of requests again, and reports whether it is one.
func (s *web) renew(subject string) bool { return s.requests != nil && s.requests.Renew(subject) }

func (s *web) close() {
	if s.transport != nil {
		s.transport.Close()
	}
}

// serve answers one request with the handler of the present instance.
func (s *web) serve(m *nats.Msg) {
	h := s.owner.instance.Load().targets[m.Subject].web
	if h == nil {
		s.refuse(m, &frame.Reset{Code: frame.CodeRefused, Status: 503, Retryable: true, Text: "has no such web resource any more"})
		return
	}
	s.tunnel.Serve(s.owner.requests, h, addressOf(m), m.Data)
}

func (s *web) busy(m *nats.Msg) { s.refuse(m, tunnel.Busy(s.owner.options.WebConcurrency)) }

func (s *web) refuse(m *nats.Msg, r *frame.Reset) {
	if m.Reply != "" {
		s.tunnel.Refuse(addressOf(m), r)
	}
}

func addressOf(m *nats.Msg) flow.Address {
	process, token := subjects.StreamOf(m.Reply)
	return flow.Address{Process: process, Token: token}
}

// panicked logs where a page panicked, and the type of the value. It does not log the text, which may repeat what a visitor sent, because no
// schema says what is secret there. An error of Go's runtime is logged as it is: it contains no text of values. See ADR 89.
func (s *web) panicked(v any, stack []byte) {
	what := fmt.Sprintf("%T", v)
	if raised, ok := v.(runtime.Error); ok {
		what = raised.Error()
	}
	s.owner.options.Log.Error().Str("panic", what).Bytes("stack", stack).Msg("web resource panicked")
}

// drain waits for requests and connections under way, and ends the rest at until. No more requests may come.
func (s *web) drain(until time.Time) {
	if s.transport == nil {
		return
	}
	ended := s.requests.Stop()
	if !within(ended, time.Until(until)) || !s.quiet(until) {
		s.tunnel.GoAway()
		within(ended, time.Second)
	}
	_ = s.transport.Flush(time.Second) // Frames that are not sent by now are lost, and the gateway notices.
}

// quiet waits until all hijacked connections are closed, and reports whether they are.
func (s *web) quiet(until time.Time) bool {
	const often = 20 * time.Millisecond
	ticker := time.NewTicker(often)
	defer ticker.Stop()
	for s.tunnel.Open() > 0 {
		if now := <-ticker.C; now.After(until) {
			return false
		}
	}
	return true
}
