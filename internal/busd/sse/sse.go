// Package sse writes server-sent events (HTML, section 9.2): to programs that follow decisions, and to the page.
package sse

import (
	"bytes"
	"net/http"
	"regexp"
	"time"
)

const (
	// Beat is how often a stream without events says that it is still there.
	Beat = 15 * time.Second

	// takeTime is how long a reader of a stream may take nothing. Beyond: the stream is cut.
	takeTime = 30 * time.Second
)

// breaks are what clients take for the end of a line: a carriage return in data must not begin a field.
var breaks = regexp.MustCompile(`\r\n|\r|\n`)

// Writer writes events to one client. A client that takes nothing for half a minute gets an error from the next write, and the
// connection is of no more use. It is for one goroutine.
type Writer struct {
	out     http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
}

// Begin answers the request with a stream that has no end.
func Begin(out http.ResponseWriter) (*Writer, error) {
	out.Header().Set("Content-Type", "text/event-stream")
	out.Header().Set("Cache-Control", "no-store")
	out.Header().Set("X-Accel-Buffering", "no") // nginx would hold it back.
	w := &Writer{out: out, control: http.NewResponseController(out)}
	return w, w.control.Flush()
}

// Add adds an event to those that [Writer.Send] sends. An empty name is that of a message, and an empty ID changes nothing of the
// last one.
func (w *Writer) Add(event, id string, data []byte) {
	if event != "" {
		w.buffer.WriteString("event: " + event + "\n")
	}
	if id != "" {
		w.buffer.WriteString("id: " + id + "\n")
	}
	for _, line := range breaks.Split(string(data), -1) {
		w.buffer.WriteString("data: " + line + "\n")
	}
	w.buffer.WriteByte('\n')
}

// AddBeat adds what no client takes for an event.
func (w *Writer) AddBeat() { w.buffer.WriteString(":\n\n") }

// Send sends what was added. It blocks while the client takes nothing, for half a minute at most.
func (w *Writer) Send() error {
	if w.buffer.Len() == 0 {
		return nil
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(takeTime)) // Where it cannot be set, the connection's own limits hold.
	_, err := w.buffer.WriteTo(w.out)
	if err != nil {
		return err
	}
	return w.control.Flush()
}
