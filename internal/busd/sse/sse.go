// Package sse writes server-sent events (HTML, section 9.2), for programs that follow decisions, and for the page.
package sse

import (
	"bytes"
	"net/http"
	"regexp"
	"time"
)

const (
	// Beat is how often a stream without events sends a sign of life.
	Beat = 15 * time.Second

	// takeTime is how long a reader may accept nothing of a stream. Beyond: the stream is cut.
	takeTime = 30 * time.Second
)

// breaks matches what clients treat as the end of a line: a carriage return in data must not begin a field.
var breaks = regexp.MustCompile(`\r\n|\r|\n`)

// Writer writes events to one client. If the client accepts nothing for half a minute, the write fails, and the
// connection cannot be used any more. It may be used by one goroutine at a time.
type Writer struct {
	out     http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
}

// Begin answers the request with a stream that has no end.
func Begin(out http.ResponseWriter) (*Writer, error) {
	out.Header().Set("Content-Type", "text/event-stream")
	out.Header().Set("Cache-Control", "no-store")
	out.Header().Set("X-Accel-Buffering", "no") // nginx would buffer it.
	w := &Writer{out: out, control: http.NewResponseController(out)}
	return w, w.control.Flush()
}

// Add adds an event to those that [Writer.Send] sends. An empty name means a "message" event, and an empty ID keeps the
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

// AddBeat adds a comment, which clients do not treat as an event.
func (w *Writer) AddBeat() { w.buffer.WriteString(":\n\n") }

// Send sends what was added. It blocks while the client accepts nothing, at most half a minute.
func (w *Writer) Send() error {
	if w.buffer.Len() == 0 {
		return nil
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(takeTime)) // If it cannot be set, the connection's own limits apply.
	_, err := w.buffer.WriteTo(w.out)
	if err != nil {
		return err
	}
	return w.control.Flush()
}
