package worker_test

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

// The law: a client cannot tell a handler behind the tunnel from the same handler mounted directly.
func TestTunnelledIsDirect(t *testing.T) {
	type ask = func(base string) *http.Request
	get := func(path string) ask { return tunneltest.Request("GET", path, nil) }
	tests := map[string]struct {
		ask     ask
		handler http.HandlerFunc
	}{
		"a plain answer":              {get("/"), tunneltest.Text("hello")},
		"nothing at all":              {get("/"), func(http.ResponseWriter, *http.Request) {}},
		"a status":                    {get("/"), tunneltest.Status(http.StatusTeapot)},
		"a status without a name":     {get("/"), tunneltest.Status(799)},
		"a reply longer than a chunk": {get("/"), tunneltest.Text(strings.Repeat("a", 10_000))},
		"sniffed HTML":                {get("/"), tunneltest.Text("<!DOCTYPE html><p>hi")},
		"sniffed in two writes":       {get("/"), tunneltest.Text("<!DOCTYPE ", "html><p>hi")},
		"sniffed at the flush":        {get("/"), flushed("<!DOCT", "YPE html>")},
		"flushed before the body":     {get("/"), flushed("", "<!DOCTYPE html>")},
		"no sniffing of an encoding":  {get("/"), tunneltest.With("Content-Encoding", "gzip", tunneltest.Text("\x1f\x8b\x08"))},
		"no sniffing when forbidden": {get("/"), func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "<!DOCTYPE html>")
		}},
		"a type":               {get("/"), tunneltest.With("Content-Type", "application/json", tunneltest.Text("{}"))},
		"a length":             {get("/"), tunneltest.With("Content-Length", "5", tunneltest.Text("hello"))},
		"an invalid length":    {get("/"), tunneltest.With("Content-Length", "x", tunneltest.Text("hello"))},
		"HEAD with a body":     {tunneltest.Request("HEAD", "/", nil), tunneltest.Text("hello")},
		"HEAD without a body":  {tunneltest.Request("HEAD", "/", nil), tunneltest.Status(200)},
		"HEAD with a length":   {tunneltest.Request("HEAD", "/", nil), tunneltest.With("Content-Length", "123456789", tunneltest.Status(200))},
		"HEAD of a file":       {tunneltest.Request("HEAD", "/", nil), file(200_000)},
		"a file":               {get("/"), file(50_000)},
		"a range of a file":    {ranged("bytes=10-19"), file(50_000)},
		"ranges of a file":     {ranged("bytes=90000-"), file(50_000)},
		"204":                  {get("/"), tunneltest.Status(http.StatusNoContent)},
		"204 with a body":      {get("/"), noBody(t, http.StatusNoContent)},
		"204 with a length":    {get("/"), tunneltest.With("Content-Length", "5", tunneltest.Status(http.StatusNoContent))},
		"304":                  {get("/"), tunneltest.With("Etag", `"x"`, tunneltest.Status(http.StatusNotModified))},
		"304 with a body":      {get("/"), noBody(t, http.StatusNotModified)},
		"304 with a length":    {get("/"), tunneltest.With("Content-Length", "5", tunneltest.Status(http.StatusNotModified))},
		"more than its length": {get("/"), overflow(t)},
		"a second status": {get("/"), func(w http.ResponseWriter, r *http.Request) {
			tunneltest.Status(201)(w, r)
			tunneltest.Status(500)(w, r)
		}},
		"a field after the status": {get("/"), func(w http.ResponseWriter, r *http.Request) {
			tunneltest.Status(201)(w, r)
			w.Header().Set("Late", "x")
		}},
		"early hints with fields":      {get("/"), hints},
		"a file over a frame":          {get("/"), file(200_000)},
		"a POST over a frame":          {tunneltest.Request("POST", "/", strings.NewReader(strings.Repeat("x", 300_000))), tunneltest.Mirror},
		"one of unknown length":        {tunneltest.Request("POST", "/", tunneltest.Unsized(strings.Repeat("x", 300_000))), tunneltest.Mirror},
		"one that is expected":         {expecting(strings.Repeat("x", 300_000)), tunneltest.Mirror},
		"one that is refused":          {expecting(strings.Repeat("x", 300_000)), tunneltest.Status(413)},
		"endless small writes":         {get("/"), tunneltest.Text(strings.Split(strings.Repeat("x", 100_000), "")...)},
		"a long answer that flushes":   {get("/"), flushed(strings.Repeat("a", 100_000), "b", strings.Repeat("c", 100_000))},
		"long trailers":                {get("/"), tunneltest.Trailers("Trailer", "A", "A", strings.Repeat("1", 2000))},
		"a flushed HEAD":               {tunneltest.Request("HEAD", "/", nil), flushed("hello")},
		"a flushed 304":                {get("/"), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304); w.(http.Flusher).Flush() }},
		"a hijacked answer":            {get("/"), hijacked("HTTP/1.1 202 Accepted\r\nDate: x\r\nX: y\r\nContent-Length: 5\r\n\r\nhello")},
		"a hijacked one with chunks":   {get("/"), hijacked("HTTP/1.1 202 Accepted\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")},
		"early hints":                  {get("/"), func(w http.ResponseWriter, r *http.Request) { tunneltest.Status(103)(w, r); tunneltest.Text("x")(w, r) }},
		"a redirect":                   {get("/a/b?c"), http.RedirectHandler("../d", http.StatusFound).ServeHTTP},
		"not found":                    {get("/"), http.NotFound},
		"cookies":                      {get("/"), cookies},
		"a date":                       {get("/"), tunneltest.With("Date", "Mon, 02 Jan 2006 15:04:05 GMT", tunneltest.Text("x"))},
		"CR and LF in a value":         {get("/"), tunneltest.With("X", "a\r\nSet-Cookie: b=c\r\n\r\nd", tunneltest.Text("x"))},
		"a name that is no token":      {get("/"), func(w http.ResponseWriter, _ *http.Request) { w.Header()["A b"] = []string{"x"} }},
		"a name in lower case":         {get("/"), func(w http.ResponseWriter, _ *http.Request) { w.Header()["x-lower"] = []string{"x"} }},
		"fields NATS would act on":     {get("/"), tunneltest.With("Nats-Trace-Dest", "x.y", tunneltest.With("Status", "503", tunneltest.Status(200)))},
		"declared trailers":            {get("/"), tunneltest.Trailers("Trailer", "A, B", "A", "1")},
		"a declared trailer and field": {get("/"), tunneltest.With("A", "0", tunneltest.Trailers("Trailer", "A", "A", "1"))},
		"undeclared trailers":          {get("/"), tunneltest.Trailers("X", "y", http.TrailerPrefix+"A", "1")},
		"io.Copy":                      {get("/"), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader("<html>")) }},
		"copies large and small":       {get("/"), copied},
		"a HEAD of copies":             {tunneltest.Request("HEAD", "/", nil), copied},
		"copies with a trailer":        {get("/"), tunneltest.With("Trailer", "A", func(w http.ResponseWriter, r *http.Request) { copied(w, r); w.Header().Set("A", "1") })},
		"what the handler sees":        {get("/a?b=c"), tunneltest.Mirror},
		"an escaped path":              {get("/rooms/%21a%3Ab%2Fc%23d/%E2%82%AC"), tunneltest.Mirror},
		"an empty segment":             {get("//a//b"), tunneltest.Mirror},
		"dots":                         {get("/a/../b/./c"), tunneltest.Mirror},
		"a semicolon in the query":     {get("/?a=1;b=2&c=%3B"), tunneltest.Mirror},
		"an empty query":               {get("/a?"), tunneltest.Mirror},
		"a POST":                       {tunneltest.Request("POST", "/", strings.NewReader("hello")), tunneltest.Mirror},
		"an empty POST":                {tunneltest.Request("POST", "/", http.NoBody), tunneltest.Mirror},
		"a POST of unknown length":     {tunneltest.Request("POST", "/", tunneltest.Unsized("hello")), tunneltest.Mirror},
		"an empty one":                 {tunneltest.Request("POST", "/", tunneltest.Unsized("")), tunneltest.Mirror},
		"a large POST":                 {tunneltest.Request("PUT", "/", strings.NewReader(strings.Repeat("é", 30_000))), tunneltest.Mirror},
		"an unread POST":               {tunneltest.Request("POST", "/", strings.NewReader("hello")), tunneltest.Text("no")},
		"a form":                       {form("a=1&b=2&a=3"), tunneltest.Mirror},
		"trailers of a request":        {withTrailer("hello"), tunneltest.Mirror},
		"another method":               {tunneltest.Request("REPORT", "/", nil), tunneltest.Mirror},
		"OPTIONS *":                    {asterisk, tunneltest.Mirror},
		"fields more than once":        {tunneltest.Fielded("X-A", "1", "X-B", "2", "X-A", "3", "Cookie", "a=b"), tunneltest.Mirror},
		"fields for NATS":              {tunneltest.Fielded("Nats-Trace-Dest", "x.y", "Status", "503", "Nats-Msg-Id", "1"), tunneltest.Mirror},
		"an expectation":               {tunneltest.Fielded("Expect", "100-continue"), tunneltest.Mirror},
		"a mux with patterns":          {get("/rooms/%21a%2Fb"), mux},
		"a mux that cleans the path":   {get("/rooms//x"), mux},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for way, tunnelled := range map[string]http.Handler{
				"over the transport": tunneltest.Tunnelled(t, tt.handler), "nearby": tunneltest.Nearby(t, tt.handler),
			} {
				want := tunneltest.Receive(t, tunneltest.Serve(t, tt.handler), tt.ask)
				got := tunneltest.Receive(t, tunneltest.Serve(t, tunnelled), tt.ask)
				if want.Length < 0 && got.Body != "" && got.Length == int64(len(got.Body)) {
					want.Length = got.Length // net/http sent chunks where the tunnel knows the length.
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("direct (-), tunnelled %s (+):\n%s", way, diff)
				}
			}
		})
	}
}

// Handlers.

func flushed(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range parts {
			_, _ = w.Write([]byte(p))
			w.(http.Flusher).Flush()
		}
	}
}

func file(size int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		content := bytes.NewReader(bytes.Repeat([]byte("0123456789"), size/10))
		http.ServeContent(w, r, "a.bin", tunneltest.Epoch, content)
	}
}

// copied copies parts of several sizes between what it writes and flushes: each part says where it belongs.
func copied(w http.ResponseWriter, _ *http.Request) {
	content := bytes.NewReader(tunneltest.Pattern(900_000))
	for i, size := range []int64{100, 40_000, 15_000, 17_000, 1, 70_000, 300_000, 16 << 10, 32 << 10, 400_000} {
		_, _ = io.CopyN(w, content, size)
		_, _ = io.WriteString(w, strings.Repeat(strconv.Itoa(i), i))
		if i%3 == 2 {
			w.(http.Flusher).Flush()
		}
	}
}

// TestCopyThatIsNotWholeIsCut has handlers whose body is copied from a reader, and is not what they declared, or breaks off.
func TestCopyThatIsNotWholeIsCut(t *testing.T) {
	t.Parallel()
	const size = 700_000
	content := tunneltest.Pattern(size)
	whole := func(r io.Reader) io.Reader { return r }
	broken := func(r io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(r, size/2), iotest.ErrReader(io.ErrNoProgress))
	}
	for name, tt := range map[string]struct {
		declared int
		trailer  string
		src      func(io.Reader) io.Reader
		stop     bool
	}{
		"less than declared":         {declared: size + 1, src: whole},
		"more than declared":         {declared: size - 1, src: whole},
		"a panic":                    {declared: -1, src: whole, stop: true},
		"a panic before the end":     {declared: size + 1, src: whole, stop: true},
		"a reader that breaks off":   {declared: size, src: broken},
		"less, where a trailer was":  {declared: size + 1, trailer: "A", src: whole},
		"more, where a trailer was":  {declared: size - 1, trailer: "A", src: whole},
		"a panic instead of trailer": {declared: -1, trailer: "A", src: whole, stop: true},
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tt.declared >= 0 {
				w.Header().Set("Content-Length", strconv.Itoa(tt.declared))
			}
			if tt.trailer != "" {
				w.Header().Set("Trailer", tt.trailer)
			}
			_, _ = io.Copy(w, struct{ io.Reader }{tt.src(bytes.NewReader(content))}) // Not [io.WriterTo].
			if tt.stop {
				panic(http.ErrAbortHandler)
			}
		})
		for way, tunnelled := range map[string]http.Handler{"over the transport": tunneltest.Tunnelled(t, h), "nearby": tunneltest.Nearby(t, h)} {
			s := tunneltest.Serve(t, tunnelled)
			rsp, err := tunneltest.Client(s).Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(rsp.Body)
			_ = rsp.Body.Close()
			if err == nil || len(got) == 0 || !bytes.HasPrefix(content, got) {
				t.Errorf("%s, %s: status %d, %d bytes of %d, %v", name, way, rsp.StatusCode, len(got), size, err)
			}
		}
	}
}

func noBody(t *testing.T, code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		if _, err := w.Write([]byte("x")); err != http.ErrBodyNotAllowed {
			t.Errorf("got %v", err)
		}
	}
}

func overflow(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "hello")
		if _, err := w.Write([]byte("x")); err != http.ErrContentLength {
			t.Errorf("got %v", err)
		}
	}
}

func cookies(w http.ResponseWriter, _ *http.Request) {
	for _, v := range []string{"b", "a", "c"} {
		http.SetCookie(w, &http.Cookie{Name: v, Value: v, Path: "/"})
	}
}

func hints(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Link", "</a.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Add("Link", "</b.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	_, _ = io.WriteString(w, "x")
}

func hijacked(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		_, _ = rw.WriteString(raw[:9])
		_ = rw.Flush()
		_, _ = rw.WriteString(raw[9:])
		_ = rw.Flush()
	}
}

func mux(w http.ResponseWriter, r *http.Request) {
	m := http.NewServeMux()
	m.HandleFunc("GET /rooms/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.PathValue("id"))
	})
	m.ServeHTTP(w, r)
}

// Requests. Each is made anew for each server.

func ranged(spec string) func(string) *http.Request { return tunneltest.Fielded("Range", spec) }

func expecting(s string) func(string) *http.Request {
	return func(base string) *http.Request {
		r := tunneltest.Request("POST", "/", strings.NewReader(s))(base)
		r.Header.Set("Expect", "100-continue")
		return r
	}
}

func form(s string) func(string) *http.Request {
	return func(base string) *http.Request {
		r := tunneltest.Request("POST", "/?q=1", strings.NewReader(s))(base)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
}

func withTrailer(s string) func(string) *http.Request {
	return func(base string) *http.Request {
		r := tunneltest.Request("POST", "/", tunneltest.Unsized(s))(base)
		r.Trailer = http.Header{"Checksum": {strconv.Itoa(len(s))}}
		return r
	}
}

func asterisk(base string) *http.Request {
	r := tunneltest.Request("OPTIONS", "/", nil)(base)
	r.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Opaque: "*"}
	return r
}
