package worker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// sniffLen is how many bytes [http.DetectContentType] looks at. No more is kept of a body that is not sent.
const sniffLen = 512

// flushAfter is how long written bytes may wait while the handler works.
const flushAfter = 10 * time.Millisecond

// writer is the [http.ResponseWriter] of one request. It behaves like net/http's own, and like that one may be used by
// one goroutine at a time. A small response is kept and sent as one frame when the handler returns; anything else is
// streamed.
type writer struct {
	x        *exchange
	mu       sync.Mutex // held by the handler's goroutine or by the clock
	method   string
	limit    int                         // most bytes of the body that are kept
	header   http.Header                 // the handler's; after the head, it matters only for trailers
	head     []frame.Field               // snapshot of header when the status was written, without its Content-Length
	status   int                         // 0 before it is written
	declared int64                       // Content-Length of the handler, or -1
	written  int64                       // body bytes accepted or refused so far
	buf      []byte                      // flow.Room bytes, then what was written and not sent; nil when empty
	chunk    []byte                      // the memory that contains buf; nil if buf has its own
	start    *[flow.Room + sniffLen]byte // the memory that buf began with; nil if it had none
	began    bool                        // the head was sent
	armed    bool                        // the clock is set
	sniffed  bool                        // the type is known, or must not be sniffed
	err      error                       // of the first write that failed
	conn     *conn                       // the hijacked connection
	until    flow.Deadline
}

func newWriter(x *exchange, method string) writer {
	return writer{
		x: x, method: method, limit: flow.Inline(x.Transport.MaxFrame()),
		header: make(http.Header), declared: -1, armed: true,
	}
}

// Header implements [http.ResponseWriter].
func (w *writer) Header() http.Header { return w.header }

// Status returns the response's status; 0 before the handler has set it.
func (w *writer) Status() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// WriteHeader implements [http.ResponseWriter]. Only the first call counts, except that 1xx other than 101 are sent at
// once. Like net/http's, it panics if the code does not have three digits.
func (w *writer) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(code)
}

func (w *writer) writeHeader(code int) {
	if w.status != 0 || w.conn != nil {
		return
	}
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", code)) //nolint:forbidigo // as net/http's
	}
	if code < 200 && code != http.StatusSwitchingProtocols {
		w.inform(code)
		return
	}
	w.status = code
	w.declared = contentLength(w.header)
	w.sniffed = w.sniffed || typed(w.header)
	w.head = slices.DeleteFunc(frame.FieldsOf(w.header), func(f frame.Field) bool { return f.Name == "Content-Length" }) // It is sent as a number.
}

// inform sends an informational response. The gateway must know the stream before, so that it does not ask another
// worker.
func (w *writer) inform(code int) {
	w.x.accept(0)
	fields := slices.DeleteFunc(frame.FieldsOf(w.header), func(f frame.Field) bool { return f.Name == "Content-Length" })
	w.x.Send(flow.Control, &frame.Info{Status: code, Fields: fields})
}

// contentLength returns the header's Content-Length; -1 if it has none, or an invalid one.
func contentLength(h http.Header) int64 {
	text := h.Get("Content-Length")
	if text == "" {
		return -1
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// Write implements [http.ResponseWriter]. It fails with [http.ErrBodyNotAllowed] and [http.ErrContentLength] as
// net/http's does, and also when the client or the gateway is gone.
func (w *writer) Write(p []byte) (int, error) { return write(w, p) }

// WriteString implements [io.StringWriter]. It is Write without a copy of s.
func (w *writer) WriteString(s string) (int, error) { return write(w, s) }

func write[T string | []byte](w *writer, p T) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	return keep(w, p)
}

// keep appends bytes to the buffer, and flushes it whenever it is full.
func keep[T string | []byte](w *writer, p T) (n int, err error) {
	if !w.sent() {
		if w.buf == nil {
			w.first()
		}
		w.buf = append(w.buf, p[:min(len(p), cap(w.buf)-len(w.buf))]...)
		return len(p), nil
	}
	for n < len(p) {
		some := min(len(p)-n, w.room())
		w.buf = append(w.buf, p[n:n+some]...)
		if n += some; n < len(p) {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
	}
	w.arm()
	return n, nil
}

// room returns how many bytes may be appended to buf before it must be flushed; at least one.
func (w *writer) room() int {
	if !w.began {
		if w.buf == nil {
			w.first()
		}
		if room := flow.Room + w.limit - len(w.buf); room > 0 {
			return room
		}
		_ = w.flush() // If it fails, so does the next one.
	}
	if w.buf == nil {
		w.chunk = w.x.Chunk()
		w.buf = w.chunk[:flow.Room:len(w.chunk)]
	}
	return cap(w.buf) - len(w.buf)
}

// ReadFrom implements [io.ReaderFrom]. It stops reading at the first error of Write.
func (w *writer) ReadFrom(src io.Reader) (total int64, err error) {
	for {
		n, err := w.readPart(src)
		total += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// readPart reads and writes one part of a body. After the head is sent, it does not copy.
func (w *writer) readPart(src io.Reader) (int, error) {
	buf := w.x.Chunk()
	defer flow.Release(buf)
	n, err := src.Read(buf[flow.Room:])
	if n > 0 {
		if n, failed := w.pass(buf[:flow.Room+n]); failed != nil {
			return n, failed
		}
	}
	return n, err
}

// worthIt is the size from which on a part of a body is sent as it is, rather than copied behind what waits to be sent.
const worthIt = 16 << 10

// pass writes buf[flow.Room:], and may write over buf.
func (w *writer) pass(buf []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(len(buf) - flow.Room); err != nil {
		return 0, err
	}
	if !w.began || !w.sent() || w.buf != nil && len(buf)-flow.Room < worthIt {
		return keep(w, buf[flow.Room:])
	}
	if w.buf != nil { // What is left of the beginning.
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	n, w.err = w.x.Write(buf, false, w.x.limits(&w.until))
	return n, w.err
}

// Flush implements [http.Flusher].
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is Flush for [http.ResponseController].
func (w *writer) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		return http.ErrHijacked
	}
	w.writeHeader(http.StatusOK)
	return w.flush()
}

// admit returns an error if n more bytes of the body must not be written.
func (w *writer) admit(n int) error {
	if w.conn != nil {
		return http.ErrHijacked
	}
	w.writeHeader(http.StatusOK)
	if n == 0 {
		return nil
	}
	if !bodyAllowed(w.status) {
		return http.ErrBodyNotAllowed
	}
	w.written += int64(n)
	if w.declared >= 0 && w.written > w.declared {
		return http.ErrContentLength
	}
	return w.err
}

// sent reports whether the body is sent, which it is not for HEAD.
func (w *writer) sent() bool { return w.method != http.MethodHead }

// bodyAllowed is net/http's function of that name: it reports whether a response with the status may have a body.
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// flush sends the head, if it is not sent yet, and everything in the buffer, as fast as there is credit.
func (w *writer) flush() error { return w.send(false) }

// send is flush. last tells that the body ends with what is in the buffer.
func (w *writer) send(last bool) error {
	if w.err != nil {
		return w.err
	}
	if w.err = w.begin(); w.err != nil || !w.sent() || w.buf == nil {
		return w.err
	}
	_, w.err = w.x.Write(w.buf, last, w.x.limits(&w.until))
	w.drop()
	return w.err
}

// starts holds buffers for small responses.
var starts = sync.Pool{New: func() any { return new([flow.Room + sniffLen]byte) }}

// first makes the buffer one for a small response. It grows when more is written.
func (w *writer) first() {
	w.start = starts.Get().(*[flow.Room + sniffLen]byte)
	w.buf = w.start[:flow.Room]
}

// drop releases the buffer: a waiting stream holds none.
func (w *writer) drop() {
	if w.chunk != nil {
		flow.Release(w.chunk)
	}
	if w.start != nil {
		starts.Put(w.start)
	}
	w.buf, w.chunk, w.start = nil, nil, nil
}

// begin sends the head of a response that is streamed.
func (w *writer) begin() error {
	if w.began {
		return nil
	}
	w.began = true
	w.sniff()
	if !w.x.reach() {
		return http.ErrHandlerTimeout
	}
	if w.large() {
		w.x.near(w.declared >= flow.SharedMin)
	}
	w.x.accepted.Store(true)
	rsp := &frame.Response{More: true, Status: w.status, ContentLength: w.declared, Fields: w.head}
	frames := frame.Split(frame.Append(nil, rsp), w.x.Transport.MaxFrame())
	if len(frames) == 0 || len(rsp.Fields) > frame.MaxFields {
		return errHead
	}
	w.x.begins()
	for _, raw := range frames {
		if err := w.x.Post(flow.Control, raw); err != nil {
			return err
		}
	}
	return nil
}

// large reports whether a large body follows: by its declared length, or because much was written without a flush.
func (w *writer) large() bool {
	return w.sent() && (w.declared >= flow.NearMin || w.declared < 0 && len(w.buf) >= flow.Room+w.limit)
}

// errHead is the error that a handler gets for a header that is too large.
var errHead = fmt.Errorf("tunnel: a header may have %d bytes and %d fields", frame.MaxHead, frame.MaxFields)

// arm sets the clock to flush the buffer.
func (w *writer) arm() {
	if !w.armed && w.buf != nil {
		w.armed = true
		w.x.clock.Reset(flushAfter)
	}
}

// tick flushes the buffer, if that is possible now.
func (w *writer) tick() {
	if !w.mu.TryLock() {
		return // The handler is writing, which arms the clock again.
	}
	defer w.mu.Unlock()
	w.armed = false
	if w.conn != nil || w.status == 0 || len(w.buf) <= flow.Room || !w.sent() {
		return
	}
	if w.began && !w.x.CanSend(len(w.buf)-flow.Room) {
		w.arm()
		return
	}
	if w.err = w.begin(); w.err == nil && w.x.CanSend(len(w.buf)-flow.Room) {
		_ = w.flush() // If it fails, so does the next write.
		return
	}
	w.arm()
}

// sniff sets the Content-Type, under net/http's conditions, from what was written of the body.
func (w *writer) sniff() {
	if w.sniffed {
		return
	}
	w.sniffed = true
	if len(w.buf) > flow.Room {
		w.head = append(w.head, frame.Field{Name: "Content-Type", Value: http.DetectContentType(w.buf[flow.Room:])})
	}
}

// typed reports whether a header has a type, or an encoding in which the type cannot be sniffed.
func typed(h http.Header) bool {
	_, typed := h["Content-Type"]
	return typed || h.Get("Content-Encoding") != "" || h.Get("Transfer-Encoding") != ""
}

// complete ends the response. If the response is truncated, it returns the reset to send instead.
func (w *writer) complete() *frame.Reset {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	defer w.drop()
	if !w.began {
		if done, failed := w.whole(); done || failed != nil {
			return failed
		}
	}
	trailers := frame.FieldsOf(w.trailers())
	err := w.send(len(trailers) == 0 && !w.short())
	switch {
	case errors.Is(err, errHead) || len(trailers) > frame.MaxFields:
		return frame.NewReset(frame.CodeTooLarge, "gave a header over the limit; the answer was not sent")
	case err != nil:
		return frame.NewReset(frame.CodeCancelled, "could not send its answer")
	case w.short():
		return frame.NewReset(frame.CodeAborted, "sent less than it had declared")
	}
	if err := w.x.Finish(trailers); err != nil {
		return frame.NewReset(frame.CodeLost, "could not send its answer")
	}
	return nil
}

// short reports whether the handler wrote less than it declared.
func (w *writer) short() bool {
	return w.declared >= 0 && w.sent() && bodyAllowed(w.status) && w.written < w.declared
}

// whole sends the response as one frame, if it fits.
func (w *writer) whole() (done bool, failed *frame.Reset) {
	w.sniff()
	rsp := w.response() // Not a pointer, so that it needs no memory of its own.
	if len(rsp.Fields) > frame.MaxFields || len(rsp.Trailers) > frame.MaxFields {
		return false, frame.NewReset(frame.CodeTooLarge, "gave a header over the limit; the answer was not sent")
	}
	if w.short() {
		return false, frame.NewReset(frame.CodeAborted, "sent less than it had declared")
	}
	raw := frame.Compose(&rsp)
	defer frame.Recycle(raw)
	if len(*raw) > w.x.Transport.MaxFrame() {
		return false, nil
	}
	if err := w.x.answer(*raw); err != nil {
		return false, frame.NewReset(frame.CodeLost, "could not send its answer")
	}
	return true, nil
}

func (w *writer) response() frame.Response {
	rsp := frame.Response{
		Status:        w.status,
		ContentLength: w.declared,
		Fields:        w.head,
		Trailers:      frame.FieldsOf(w.trailers()),
	}
	if w.sent() && w.buf != nil {
		rsp.Body = w.buf[flow.Room:]
	}
	if rsp.ContentLength < 0 && w.lengthKnown(&rsp) {
		rsp.ContentLength = w.written
	}
	return rsp
}

// lengthKnown reports whether the number of written bytes is the Content-Length. It is not for HEAD without any bytes,
// because the handler may have left the body out; nor with trailers, which need a response that is not delimited by its
// length.
func (w *writer) lengthKnown(r *frame.Response) bool {
	if !bodyAllowed(w.status) || !w.sent() && w.written == 0 {
		return false
	}
	return len(r.Trailers) == 0 && !slices.ContainsFunc(w.head, func(f frame.Field) bool { return f.Name == "Trailer" })
}

// trailers are the fields that the handler declared before the head, and those it marked with [http.TrailerPrefix] at
// any time.
func (w *writer) trailers() http.Header {
	var trailers http.Header
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			if trailers == nil {
				trailers = http.Header{}
			}
			trailers[name] = values
		}
	}
	for _, name := range frame.Tokens(w.head, "Trailer") {
		if trailers == nil {
			trailers = http.Header{}
		}
		trailers[name] = append(trailers[name], w.header[name]...)
	}
	return trailers
}

// SetReadDeadline is for [http.ResponseController].
func (w *writer) SetReadDeadline(t time.Time) error {
	w.x.body.until.Set(t)
	return nil
}

// SetWriteDeadline is for [http.ResponseController].
func (w *writer) SetWriteDeadline(t time.Time) error {
	w.until.Set(t)
	return nil
}

// EnableFullDuplex is for [http.ResponseController]. The tunnel always is.
func (w *writer) EnableFullDuplex() error { return nil }

// Hijack implements [http.Hijacker]. After an upgrade the connection carries the other protocol, with half-close and
// deadlines; what the handler writes before is read as a response, as on a socket.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		return nil, nil, http.ErrHijacked
	}
	c, err := newConn(w.x, w.status, w.head)
	if err != nil {
		return nil, nil, err
	}
	w.conn = c
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

func (w *writer) hijacked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conn != nil
}
