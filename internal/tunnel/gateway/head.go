package gateway

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// announced returns the field that announces the names of trailers.
func announced(trailer http.Header) []frame.Field {
	names := make([]string, 0, len(trailer))
	for _, f := range frame.EndToEnd(frame.FieldsOf(withValues(trailer))) {
		names = append(names, f.Name)
	}
	if len(names) == 0 {
		return nil
	}
	return []frame.Field{{Name: "Trailer", Value: strings.Join(names, ", ")}}
}

func withValues(names http.Header) http.Header {
	h := make(http.Header, len(names))
	for name := range names {
		h[name] = []string{""}
	}
	return h
}

// bodyError returns the error for a body that cannot be read.
func bodyError(r *http.Request, err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return bodyTooLarge(large.Limit)
	case r.Context().Err() != nil:
		return errGone
	}
	return brokenBody(err)
}

// upgrades returns the protocols that the request asks for instead of HTTP, as one Upgrade field, or "". An offer of h2c
// is left out, as RFC 9110, section 7.8 allows: some clients make it with every request.
func upgrades(r *http.Request) string {
	if len(r.Header[upgrade]) == 0 || r.ProtoMajor != 1 || !slices.ContainsFunc(r.Header["Connection"], upgradesConnection) {
		return ""
	}
	asked := listed(r.Header[upgrade])
	return strings.Join(slices.DeleteFunc(asked, func(p string) bool { return strings.EqualFold(p, "h2c") }), ", ")
}

func upgradesConnection(field string) bool {
	return slices.ContainsFunc(listed([]string{field}), func(s string) bool { return strings.EqualFold(s, upgrade) })
}

// listed lists the elements of fields that are lists.
func listed(fields []string) (list []string) {
	for _, f := range fields {
		for p := range strings.SplitSeq(f, ",") {
			if p = strings.TrimSpace(p); p != "" {
				list = append(list, p)
			}
		}
	}
	return list
}

// newHead returns the head of the request as the module gets it.
func newHead(r *http.Request, trusted []netip.Prefix) *frame.Request {
	req := &frame.Request{
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
	req.Fields = frame.EndToEnd(frame.FieldsOf(r.Header))
	resolve(req, trusted)
	if protocol := upgrades(r); protocol != "" {
		req.Upgrade = true
		req.Fields = append(req.Fields, frame.Field{Name: "Connection", Value: upgrade}, frame.Field{Name: upgrade, Value: frame.SafeValue(protocol)})
	}
	return req
}

// headSize is the size in bytes of the parts of the head that the client chose.
func headSize(r *frame.Request) int {
	n := len(r.Method) + len(r.Authority) + len(r.Target)
	for _, f := range r.Fields {
		n += len(f.Name) + len(f.Value)
	}
	return n
}
