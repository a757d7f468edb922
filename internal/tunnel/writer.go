package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// errFull is what a handler gets for writing more than a frame holds.
var errFull = errors.New("tunnel: response does not fit one frame")

// sniffLen is how much [http.DetectContentType] looks at, and all that is kept of a body that is not sent.
const sniffLen = 512

// writer is the [http.ResponseWriter] of one request. It keeps the promises of net/http's own, but holds the response
// until the end. Like that one, it is for one goroutine at a time.
type writer struct {
	method   string
	limit    int         // of body bytes held
	header   http.Header // the handler's; after the head, it matters only for trailers
	head     http.Header // snapshot of header when the status was written
	status   int         // 0 until then
	declared int64       // Content-Length of the handler, or -1
	written  int64       // body bytes accepted or refused so far
	body     []byte      // what was written, or only its beginning where none is sent
	sniffed  bool
	full     bool
}

func newWriter(method string, limit int) *writer {
	return &writer{method: method, limit: limit, header: make(http.Header), declared: -1}
}

// Header implements [http.ResponseWriter].
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter]. Only the first call counts, and calls with 1xx do nothing, except for
// 101, which the gateway will refuse. Like net/http's, it panics if the code does not have three digits.
func (w *writer) WriteHeader(code int) {
	if w.status != 0 {
		return
	}
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", code))
	}
	if code < 200 && code != http.StatusSwitchingProtocols {
		return
	}
	w.status = code
	w.head = w.header.Clone()
	w.declared = contentLength(w.head)
	w.head.Del("Content-Length") // It travels as a number.
}

// contentLength is -1 where the header has none, or none that is valid.
func contentLength(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// Write implements [http.ResponseWriter]. It fails with [http.ErrBodyNotAllowed] and [http.ErrContentLength] where
// net/http's does, and when the response outgrows the frame.
func (w *writer) Write(p []byte) (int, error) {
	if err := w.admit(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	w.body = append(w.body, p[:w.room(len(p))]...)
	return len(p), nil
}

// WriteString implements [io.StringWriter]. It is Write without a copy of s.
func (w *writer) WriteString(s string) (int, error) {
	if err := w.admit(len(s)); err != nil || s == "" {
		return 0, err
	}
	w.body = append(w.body, s[:w.room(len(s))]...)
	return len(s), nil
}

// ReadFrom implements [io.ReaderFrom]. It stops reading at the first error of Write.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, src)
}

// Flush implements [http.Flusher]. It fixes the head, as net/http's does, but nothing is sent before the end.
func (w *writer) Flush() {
	w.WriteHeader(http.StatusOK)
	w.sniff()
}

// admit decides whether n more bytes of body may be written.
func (w *writer) admit(n int) error {
	w.WriteHeader(http.StatusOK)
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
	if w.full = w.full || w.sent() && w.written > int64(w.limit); w.full {
		w.body = nil
		return errFull
	}
	return nil
}

// room is how many of n admitted bytes are worth keeping.
func (w *writer) room(n int) int {
	if w.sent() {
		return n
	}
	return min(n, sniffLen-len(w.body))
}

// sent reports whether the body goes into the reply.
func (w *writer) sent() bool { return w.method != http.MethodHead }

// bodyAllowed is net/http's, for statuses that end a response.
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// sniff fills in the Content-Type, under net/http's conditions, from the body as far as it was written.
func (w *writer) sniff() {
	if w.sniffed {
		return
	}
	w.sniffed = true
	_, typed := w.head["Content-Type"]
	encoded := w.head.Get("Content-Encoding") != "" || w.head.Get("Transfer-Encoding") != ""
	if !typed && !encoded && len(w.body) > 0 {
		w.head.Set("Content-Type", http.DetectContentType(w.body))
	}
}

// frame ends the response and returns it, or a reset where it does not fit.
func (w *writer) frame() []byte {
	w.Flush()
	rsp := w.response()
	if !w.full && len(rsp.Fields) <= MaxFields && len(rsp.Trailers) <= MaxFields {
		if frame := AppendResponse(nil, rsp); len(frame) <= w.limit {
			return frame
		}
	}
	text := fmt.Sprintf("gave an answer over the limit of %d bytes; it was not sent", w.limit)
	return AppendReset(nil, reset(CodeTooLarge, text))
}

func (w *writer) response() *Response {
	rsp := &Response{
		Status:        w.status,
		ContentLength: w.declared,
		Fields:        fieldsOf(w.head),
		Trailers:      fieldsOf(w.trailers()),
	}
	if w.sent() {
		rsp.Body = w.body
	}
	if rsp.ContentLength < 0 && w.lengthKnown(rsp) {
		rsp.ContentLength = w.written
	}
	return rsp
}

// lengthKnown reports whether the bytes written tell the Content-Length. Not so for HEAD without any, where the
// handler may have known the method; and trailers need a response that is not delimited by its length.
func (w *writer) lengthKnown(r *Response) bool {
	if !bodyAllowed(w.status) || !w.sent() && w.written == 0 {
		return false
	}
	return len(r.Trailers) == 0 && len(w.head["Trailer"]) == 0
}

// trailers are the fields that the handler declared before the head, and those it marked with [http.TrailerPrefix] at
// any time.
func (w *writer) trailers() http.Header {
	trailers := make(http.Header)
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			trailers[name] = values
		}
	}
	for _, name := range tokens(fieldsOf(http.Header{"Trailer": w.head["Trailer"]}), "Trailer") {
		trailers[name] = append(trailers[name], w.header[name]...)
	}
	return trailers
}
