package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

// deadLine is one that nobody may send on.
type deadLine struct{ t *testing.T }

func (l deadLine) Send([]byte) error {
	l.t.Error("a frame is sent on a line that nobody reads")
	return nil
}

func (deadLine) Leave() {}
func (deadLine) Close() {}

// onLine asks a worker that opens a line, and then does what the script says.
func onLine(t *testing.T, script func(g *gateway.Gateway, token string)) (*gateway.Report, *httptest.ResponseRecorder) {
	t.Helper()
	told := make(chan *gateway.Report, 1)
	s := &scripted{script: func(g *gateway.Gateway, token string, _ []byte) error {
		if !g.Meet(token, deadLine{t}) {
			t.Error("the line is not taken")
		}
		script(g, token)
		return nil
	}}
	s.gateway = gateway.New(s, toGate, gateway.Options{Done: func(r *gateway.Report) { told <- r }})
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }() // A response that is cut ends in a panic.
		s.gateway.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	}()
	return <-told, w
}

func TestLineThatItsWorkerDoesNotUseIsForgotten(t *testing.T) {
	t.Parallel()
	report, w := onLine(t, func(g *gateway.Gateway, token string) {
		g.Parted(token, false)
		if g.Meet(token, deadLine{t}) {
			t.Error("a token is good for two lines")
		}
		worker := flow.Address{Process: "gate.w", Token: "t"}
		g.Receive(flow.Control, token, worker, tunneltest.Encode(&frame.Response{Status: 200, More: true, ContentLength: -1}))
		g.Receive(flow.Bulk, token, worker, tunneltest.Encode(&frame.Data{Last: true, Bytes: []byte("whole")}))
	})
	if report.Outcome != gateway.OK || w.Code != http.StatusOK || w.Body.String() != "whole" {
		t.Errorf("got %d %q: %v, %v", w.Code, w.Body, report.Outcome, report.Err)
	}
}

// TestLineThatEndsKeepsTheReason has all that a handler which panics sends on a line arrive before the head.
func TestLineThatEndsKeepsTheReason(t *testing.T) {
	t.Parallel()
	report, _ := onLine(t, func(g *gateway.Gateway, token string) {
		g.Receive(flow.Bulk, token, flow.Address{}, tunneltest.Encode(&frame.Data{Bytes: []byte("half")}))
		g.Receive(flow.Bulk, token, flow.Address{}, tunneltest.Encode(frame.NewReset(frame.CodePanic, "panicked")))
		g.Parted(token, true)
		g.Receive(flow.Control, token, flow.Address{}, tunneltest.Encode(&frame.Response{Status: 200, More: true, ContentLength: -1}))
	})
	if report.Outcome != gateway.WorkerFailed {
		t.Errorf("got %v: %v", report.Outcome, report.Err)
	}
}

func TestLineThatBreaksCutsItsResponse(t *testing.T) {
	t.Parallel()
	half := tunneltest.Encode(&frame.Data{Bytes: []byte("half")})
	report, w := onLine(t, func(g *gateway.Gateway, token string) {
		g.Receive(flow.Bulk, token, flow.Address{}, half)
		g.Parted(token, true)
		g.Receive(flow.Control, token, flow.Address{}, tunneltest.Encode(&frame.Response{Status: 200, More: true, ContentLength: -1}))
	})
	if report.Outcome != gateway.WorkerLost || w.Body.String() != "half" {
		t.Errorf("got %q: %v", w.Body, report.Outcome)
	}
}
