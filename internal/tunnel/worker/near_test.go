package worker_test

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
	"github.com/modulebus/modulebus/internal/tunnel/worker"
)

// slowLine is a transport whose gateway takes its time to give a line, and the line.
type slowLine struct {
	outgoing
	asked  chan struct{} // closed when the line is asked for
	may    chan struct{} // closed when the gateway answers
	sent   atomic.Int64  // frames
	closed atomic.Bool   // before the stream was left
	left   atomic.Bool
}

// Near implements [flow.Transport].
func (l *slowLine) Near(flow.Address, func([]byte), func()) flow.Line {
	close(l.asked)
	<-l.may
	return carries{l}
}

type carries struct{ *slowLine }

// Send implements [flow.Line].
func (l carries) Send([]byte) error {
	l.sent.Add(1)
	return nil
}

// Leave implements [flow.Line].
func (l carries) Leave() { l.left.Store(true) }

// Close implements [flow.Line].
func (l carries) Close() { l.closed.Store(true) }

// stoppedLine is a transport whose gateway gives a line and then does not run: what is sent there waits until the line is closed.
type stoppedLine struct {
	outgoing
	full   chan struct{} // closed when somebody waits
	closed chan struct{}
	once   sync.Once
}

// Near implements [flow.Transport].
func (l *stoppedLine) Near(flow.Address, func([]byte), func()) flow.Line { return stopped{l} }

type stopped struct{ *stoppedLine }

// Send implements [flow.Line].
func (l stopped) Send([]byte) error {
	l.once.Do(func() { close(l.full) })
	<-l.closed
	return io.ErrClosedPipe
}

// Leave implements [flow.Line].
func (l stopped) Leave() {}

// Close implements [flow.Line].
func (l stopped) Close() { close(l.closed) }

// TestWorkerWaitsForNoGatewayThatIsStopped has a worker that learns that a part of a request was lost while its response waits for
// a gateway that takes nothing. What is received for other streams must not wait, too.
func TestWorkerWaitsForNoGatewayThatIsStopped(t *testing.T) {
	t.Parallel()
	l := &stoppedLine{outgoing: make(outgoing, 64), full: make(chan struct{}), closed: make(chan struct{})}
	w := worker.New(l, worker.Options{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer func() { _ = recover() }() // Its response is cut.
		w.Serve(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			go func() { _, _ = io.Copy(io.Discard, r.Body) }()
			for body := make([]byte, 64<<10); ; {
				if _, err := w.Write(body); err != nil {
					return
				}
			}
		}), from, tunneltest.Encode(&frame.Request{
			Method: "POST", Target: "/", More: true, ContentLength: -1, Credit: 10 << 20,
		}))
	}()
	<-l.full
	w.Receive(flow.Bulk, (<-l.outgoing).token, from, tunneltest.Encode(&frame.Data{Offset: 1000, Bytes: []byte("b")}))
	<-served
}

// TestResponseWaitsForTheLineOfItsRequest has a handler that answers while it begins to read: a gateway that has given a line
// takes its end for the end of the stream.
func TestResponseWaitsForTheLineOfItsRequest(t *testing.T) {
	t.Parallel()
	l := &slowLine{outgoing: make(outgoing, 16), asked: make(chan struct{}), may: make(chan struct{})}
	handler := func(w http.ResponseWriter, r *http.Request) {
		go func() { _, _ = io.Copy(io.Discard, r.Body) }()
		<-l.asked
		written := make(chan struct{})
		go func() {
			defer close(written)
			_, _ = io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
		}()
		const moment = 20 * time.Millisecond
		select {
		case <-written: // Without the line.
		case <-time.After(moment):
		}
		close(l.may)
		<-written
	}
	req := tunneltest.Encode(&frame.Request{Method: "POST", Target: "/", More: true, ContentLength: -1, Credit: 1000})
	worker.New(l, worker.Options{}).Serve(t.Context(), http.HandlerFunc(handler), from, req)
	if l.closed.Load() || !l.left.Load() || l.sent.Load() != 2 { // The data, and the end.
		t.Errorf("closed %v, left %v, %d frames", l.closed.Load(), l.left.Load(), l.sent.Load())
	}
}
