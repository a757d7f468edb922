package tunnel_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const frameLimit = 64 << 10

// The law: a client cannot tell a handler behind the tunnel from the same handler mounted directly.
func TestTunnelledIsDirect(t *testing.T) {
	type ask = func(base string) *http.Request
	get := func(path string) ask { return request("GET", path, nil) }
	tests := map[string]struct {
		ask     ask
		handler http.HandlerFunc
	}{
		"a plain answer":              {get("/"), text("hello")},
		"nothing at all":              {get("/"), func(http.ResponseWriter, *http.Request) {}},
		"a status":                    {get("/"), status(http.StatusTeapot)},
		"a status without a name":     {get("/"), status(799)},
		"a reply longer than a chunk": {get("/"), text(strings.Repeat("a", 10_000))},
		"sniffed HTML":                {get("/"), text("<!DOCTYPE html><p>hi")},
		"sniffed in two writes":       {get("/"), text("<!DOCTYPE ", "html><p>hi")},
		"sniffed at the flush":        {get("/"), flushed("<!DOCT", "YPE html>")},
		"flushed before the body":     {get("/"), flushed("", "<!DOCTYPE html>")},
		"no sniffing of an encoding":  {get("/"), with("Content-Encoding", "gzip", text("\x1f\x8b\x08"))},
		"no sniffing when forbidden": {get("/"), func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "<!DOCTYPE html>")
		}},
		"a type":                       {get("/"), with("Content-Type", "application/json", text("{}"))},
		"a length":                     {get("/"), with("Content-Length", "5", text("hello"))},
		"an invalid length":            {get("/"), with("Content-Length", "x", text("hello"))},
		"HEAD with a body":             {request("HEAD", "/", nil), text("hello")},
		"HEAD without a body":          {request("HEAD", "/", nil), status(200)},
		"HEAD with a length":           {request("HEAD", "/", nil), with("Content-Length", "123456789", status(200))},
		"HEAD of a file":               {request("HEAD", "/", nil), file(200_000)},
		"a file":                       {get("/"), file(50_000)},
		"a range of a file":            {ranged("bytes=10-19"), file(50_000)},
		"ranges of a file":             {ranged("bytes=90000-"), file(50_000)},
		"204":                          {get("/"), status(http.StatusNoContent)},
		"204 with a body":              {get("/"), noBody(t, http.StatusNoContent)},
		"204 with a length":            {get("/"), with("Content-Length", "5", status(http.StatusNoContent))},
		"304":                          {get("/"), with("Etag", `"x"`, status(http.StatusNotModified))},
		"304 with a body":              {get("/"), noBody(t, http.StatusNotModified)},
		"304 with a length":            {get("/"), with("Content-Length", "5", status(http.StatusNotModified))},
		"more than its length":         {get("/"), overflow(t)},
		"a second status":              {get("/"), func(w http.ResponseWriter, r *http.Request) { status(201)(w, r); status(500)(w, r) }},
		"a field after the status":     {get("/"), func(w http.ResponseWriter, r *http.Request) { status(201)(w, r); w.Header().Set("Late", "x") }},
		"early hints with fields":      {get("/"), hints},
		"a file over a frame":          {get("/"), file(200_000)},
		"a POST over a frame":          {request("POST", "/", strings.NewReader(strings.Repeat("x", 300_000))), mirror},
		"one of unknown length":        {request("POST", "/", unsized(strings.Repeat("x", 300_000))), mirror},
		"one that is expected":         {expecting(strings.Repeat("x", 300_000)), mirror},
		"one that is refused":          {expecting(strings.Repeat("x", 300_000)), status(413)},
		"endless small writes":         {get("/"), text(strings.Split(strings.Repeat("x", 100_000), "")...)},
		"a long answer that flushes":   {get("/"), flushed(strings.Repeat("a", 100_000), "b", strings.Repeat("c", 100_000))},
		"long trailers":                {get("/"), trailers("Trailer", "A", "A", strings.Repeat("1", 2000))},
		"a flushed HEAD":               {request("HEAD", "/", nil), flushed("hello")},
		"a flushed 304":                {get("/"), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304); w.(http.Flusher).Flush() }},
		"a hijacked answer":            {get("/"), hijacked("HTTP/1.1 202 Accepted\r\nDate: x\r\nX: y\r\nContent-Length: 5\r\n\r\nhello")},
		"a hijacked one with chunks":   {get("/"), hijacked("HTTP/1.1 202 Accepted\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")},
		"early hints":                  {get("/"), func(w http.ResponseWriter, r *http.Request) { status(103)(w, r); text("x")(w, r) }},
		"a redirect":                   {get("/a/b?c"), http.RedirectHandler("../d", http.StatusFound).ServeHTTP},
		"not found":                    {get("/"), http.NotFound},
		"cookies":                      {get("/"), cookies},
		"a date":                       {get("/"), with("Date", "Mon, 02 Jan 2006 15:04:05 GMT", text("x"))},
		"CR and LF in a value":         {get("/"), with("X", "a\r\nSet-Cookie: b=c\r\n\r\nd", text("x"))},
		"a name that is no token":      {get("/"), func(w http.ResponseWriter, _ *http.Request) { w.Header()["A b"] = []string{"x"} }},
		"a name in lower case":         {get("/"), func(w http.ResponseWriter, _ *http.Request) { w.Header()["x-lower"] = []string{"x"} }},
		"fields NATS would act on":     {get("/"), with("Nats-Trace-Dest", "x.y", with("Status", "503", status(200)))},
		"declared trailers":            {get("/"), trailers("Trailer", "A, B", "A", "1")},
		"a declared trailer and field": {get("/"), with("A", "0", trailers("Trailer", "A", "A", "1"))},
		"undeclared trailers":          {get("/"), trailers("X", "y", http.TrailerPrefix+"A", "1")},
		"io.Copy":                      {get("/"), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader("<html>")) }},
		"what the handler sees":        {get("/a?b=c"), mirror},
		"an escaped path":              {get("/rooms/%21a%3Ab%2Fc%23d/%E2%82%AC"), mirror},
		"an empty segment":             {get("//a//b"), mirror},
		"dots":                         {get("/a/../b/./c"), mirror},
		"a semicolon in the query":     {get("/?a=1;b=2&c=%3B"), mirror},
		"an empty query":               {get("/a?"), mirror},
		"a POST":                       {request("POST", "/", strings.NewReader("hello")), mirror},
		"an empty POST":                {request("POST", "/", http.NoBody), mirror},
		"a POST of unknown length":     {request("POST", "/", unsized("hello")), mirror},
		"an empty one":                 {request("POST", "/", unsized("")), mirror},
		"a large POST":                 {request("PUT", "/", strings.NewReader(strings.Repeat("é", 30_000))), mirror},
		"an unread POST":               {request("POST", "/", strings.NewReader("hello")), text("no")},
		"a form":                       {form("a=1&b=2&a=3"), mirror},
		"trailers of a request":        {withTrailer("hello"), mirror},
		"another method":               {request("REPORT", "/", nil), mirror},
		"OPTIONS *":                    {asterisk, mirror},
		"fields more than once":        {fielded("X-A", "1", "X-B", "2", "X-A", "3", "Cookie", "a=b"), mirror},
		"fields for NATS":              {fielded("Nats-Trace-Dest", "x.y", "Status", "503", "Nats-Msg-Id", "1"), mirror},
		"an expectation":               {fielded("Expect", "100-continue"), mirror},
		"a mux with patterns":          {get("/rooms/%21a%2Fb"), mux},
		"a mux that cleans the path":   {get("/rooms//x"), mux},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := receive(t, serve(t, tt.handler), tt.ask)
			got := receive(t, serve(t, tunnelled(t, tt.handler)), tt.ask)
			if want.Length < 0 && got.Body != "" && got.Length == int64(len(got.Body)) {
				want.Length = got.Length // net/http sent chunks where the tunnel knows the length.
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("direct (-), tunnelled (+):\n%s", diff)
			}
		})
	}
}

// answer is what a client can tell.
type answer struct {
	Infos   []http.Header
	Status  int
	Header  http.Header
	Trailer http.Header
	Length  int64
	Body    string
}

func receive(t *testing.T, s *httptest.Server, ask func(string) *http.Request) answer {
	t.Helper()
	var infos []http.Header
	trace := &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		infos = append(infos, http.Header(h).Clone())
		return nil
	}}
	send := func() (*http.Response, error) {
		infos = nil
		r := ask(s.URL)
		return client(s).Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	}
	rsp, err := send()
	// A client that still writes when the answer has come may see the connection end first, with any server.
	for tries := 0; tries < 5 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)); tries++ {
		rsp, err = send()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if rsp.Header.Get("Date") == "" {
		t.Error("no Date")
	}
	if !strings.HasPrefix(rsp.Header.Get("Date"), "Mon, 02 Jan 2006") {
		rsp.Header.Del("Date")
	}
	rsp.Header.Del("Content-Length") // It is Length.
	return answer{infos, rsp.StatusCode, rsp.Header, rsp.Trailer, rsp.ContentLength, string(body)}
}

func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.DisableGeneralOptionsHandler = true
	s.Config.ErrorLog = quiet
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// client follows no redirects and hides no encoding.
func client(s *httptest.Server) *http.Client {
	c := s.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Transport.(*http.Transport).DisableCompression = true
	return c
}

// Handlers.

func text(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range parts {
			_, _ = io.WriteString(w, p)
		}
	}
}

func flushed(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range parts {
			_, _ = w.Write([]byte(p))
			w.(http.Flusher).Flush()
		}
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func with(name, value string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(name, value)
		next(w, r)
	}
}

func file(size int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		content := bytes.NewReader(bytes.Repeat([]byte("0123456789"), size/10))
		http.ServeContent(w, r, "a.bin", epoch, content)
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

func trailers(name, value, trailer, last string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(name, value)
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set(trailer, last)
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

// mirror answers with the request as the handler saw it, but for what the law excepts.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	_ = r.ParseForm()
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		r.Header.Del(name)
	}
	host, port, err := net.SplitHostPort(r.RemoteAddr)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"body": string(body), "form": r.Form, "header": r.Header, "host": r.Host, "length": r.ContentLength,
		"method": r.Method, "path": r.URL.Path, "proto": r.Proto, "query": r.URL.RawQuery, "raw": r.URL.RawPath,
		"remote": host, "port": port != "", "err": err, "scheme": r.URL.Scheme, "uri": r.RequestURI, "tls": r.TLS,
		"transfer": r.TransferEncoding, "trailer": r.Trailer, "url": r.URL.String(), "urlhost": r.URL.Host,
	})
}

// Requests. Each is made anew for each server.

func request(method, path string, body io.Reader) func(string) *http.Request {
	var content []byte
	sized := true
	if body != nil && body != http.NoBody {
		content, _ = io.ReadAll(body)
		_, isReader := body.(*strings.Reader)
		sized = isReader
	}
	return func(base string) *http.Request {
		r, err := http.NewRequest(method, base+path, bytes.NewReader(content))
		if err != nil {
			panic(err)
		}
		if !sized {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(content)), -1
		}
		r.Host = "matrix.example.org"
		return r
	}
}

func unsized(s string) io.Reader { return bufio.NewReader(strings.NewReader(s)) }

func fielded(pairs ...string) func(string) *http.Request {
	return func(base string) *http.Request {
		r := request("GET", "/", nil)(base)
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Add(pairs[i], pairs[i+1])
		}
		return r
	}
}

func ranged(spec string) func(string) *http.Request { return fielded("Range", spec) }

func expecting(s string) func(string) *http.Request {
	return func(base string) *http.Request {
		r := request("POST", "/", strings.NewReader(s))(base)
		r.Header.Set("Expect", "100-continue")
		return r
	}
}

func form(s string) func(string) *http.Request {
	return func(base string) *http.Request {
		r := request("POST", "/?q=1", strings.NewReader(s))(base)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
}

func withTrailer(s string) func(string) *http.Request {
	return func(base string) *http.Request {
		r := request("POST", "/", unsized(s))(base)
		r.Trailer = http.Header{"Checksum": {strconv.Itoa(len(s))}}
		return r
	}
}

func asterisk(base string) *http.Request {
	r := request("OPTIONS", "/", nil)(base)
	r.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Opaque: "*"}
	return r
}
