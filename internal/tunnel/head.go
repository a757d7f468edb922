package tunnel

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// read takes in the head, and the body if it is small and surely on its way. Nothing of the body is read, and no 100
// Continue is sent, before all else was found good.
func (q *request) read() error {
	limit := q.g.carrier.MaxFrame()
	q.head = newRequest(q.r, q.g.opts.TrustedProxies)
	if most := min(q.g.opts.HeaderLimit, limit/2); headSize(q.head) > most || len(q.head.Fields) > MaxFields {
		return headTooLarge(most)
	}
	if most := q.g.opts.BodyLimit; most > 0 && q.r.ContentLength > most {
		return bodyTooLarge(most)
	}
	return q.readBody(limit)
}

func (q *request) readBody(limit int) error {
	length := q.r.ContentLength
	switch {
	case q.head.Upgrade:
		q.head.More = true
		return nil
	case length == 0:
		return nil
	case length < 0 || length > int64(inlineOf(limit)) || q.r.Header.Get("Expect") != "":
		q.head.More = true
		q.head.Fields = append(q.head.Fields, announced(q.r.Trailer)...)
		return nil
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(q.r.Body, body); err != nil {
		return q.broken(err)
	}
	q.head.Body = body
	q.head.Trailers = endToEnd(fieldsOf(q.r.Trailer)) // Complete only now; HTTP/2 has them with a length, too.
	return nil
}

// announced are the names of trailers to come, as one field.
func announced(trailer http.Header) []Field {
	names := make([]string, 0, len(trailer))
	for _, f := range endToEnd(fieldsOf(withValues(trailer))) {
		names = append(names, f.Name)
	}
	if len(names) == 0 {
		return nil
	}
	return []Field{{"Trailer", strings.Join(names, ", ")}}
}

func withValues(names http.Header) http.Header {
	h := make(http.Header, len(names))
	for name := range names {
		h[name] = []string{""}
	}
	return h
}

// broken is what a body means that cannot be read.
func (q *request) broken(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return bodyTooLarge(large.Limit)
	case q.r.Context().Err() != nil:
		return errGone
	}
	return brokenBody(err)
}

// upgrades reports whether the request asks for another protocol. An offer of h2c is not passed on but ignored, as
// RFC 9110, section 7.8 allows: some clients make it with every request.
func upgrades(r *http.Request) string {
	protocol := r.Header.Get("Upgrade")
	if protocol == "" || strings.EqualFold(protocol, "h2c") || r.ProtoMajor != 1 {
		return ""
	}
	if slices.Contains(tokens(fieldsOf(http.Header{"Connection": r.Header["Connection"]}), "Connection"), "Upgrade") {
		return protocol
	}
	return ""
}

func newRequest(r *http.Request, trusted []netip.Prefix) *Request {
	req := &Request{
		HTTP2:         r.ProtoMajor >= 2,
		ContentLength: r.ContentLength,
		RemoteAddr:    r.RemoteAddr,
		Scheme:        "http",
		Method:        r.Method,
		Authority:     r.Host,
		Target:        r.RequestURI,
	}
	if req.Target == "" {
		req.Target = r.URL.RequestURI()
	}
	if r.TLS != nil {
		req.Scheme = "https"
	}
	req.Fields = forwarded(endToEnd(fieldsOf(r.Header)), req, trusted)
	if protocol := upgrades(r); protocol != "" {
		req.Upgrade = true
		req.Fields = append(req.Fields, Field{"Connection", "Upgrade"}, Field{"Upgrade", unsafeBytes.Replace(protocol)})
	}
	return req
}

// headSize is what the client chose of the head, in bytes.
func headSize(r *Request) int {
	n := len(r.Method) + len(r.Authority) + len(r.Target)
	for _, f := range r.Fields {
		n += len(f.Name) + len(f.Value)
	}
	return n
}
