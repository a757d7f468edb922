package tunneltest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"time"
)

const FrameLimit = 64 << 10

// Answer is what a client can tell.
type Answer struct {
	Infos   []http.Header
	Status  int
	Header  http.Header
	Trailer http.Header
	Length  int64
	Body    string
}

func Receive(t *testing.T, s *httptest.Server, ask func(string) *http.Request) Answer {
	t.Helper()
	var infos []http.Header
	trace := &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		infos = append(infos, http.Header(h).Clone())
		return nil
	}}
	send := func() (*http.Response, error) {
		infos = nil
		r := ask(s.URL)
		return Client(s).Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	}
	rsp, err := send()
	// A client that still writes when the Answer has come may see the connection end first, with any server.
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
	return Answer{infos, rsp.StatusCode, rsp.Header, rsp.Trailer, rsp.ContentLength, string(body)}
}

func Serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.DisableGeneralOptionsHandler = true
	s.Config.ErrorLog = quiet
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// Client follows no redirects, hides no encoding, and sends a body that it announces with Expect only when told to continue.
func Client(s *httptest.Server) *http.Client {
	c := s.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Transport.(*http.Transport).DisableCompression = true
	c.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	return c
}

func Text(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range parts {
			_, _ = io.WriteString(w, p)
		}
	}
}

func Status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func With(name, value string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(name, value)
		next(w, r)
	}
}

// Mirror answers with the request as the handler saw it, but for what the law excepts.
func Mirror(w http.ResponseWriter, r *http.Request) {
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

func Request(method, path string, body io.Reader) func(string) *http.Request {
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

func Unsized(s string) io.Reader { return bufio.NewReader(strings.NewReader(s)) }

func Fielded(pairs ...string) func(string) *http.Request {
	return func(base string) *http.Request {
		r := Request("GET", "/", nil)(base)
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Add(pairs[i], pairs[i+1])
		}
		return r
	}
}

// Pattern is n bytes no two stretches of which are alike.
func Pattern(n int) []byte {
	b := make([]byte, 0, n+32)
	for sum := sha256.Sum256(nil); len(b) < n; sum = sha256.Sum256(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func ReadFull(r io.Reader, b []byte) error { _, err := io.ReadFull(r, b); return err }

func Panicking(v any) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { panic(v) }
}

var (
	quiet = log.New(io.Discard, "", 0)
	Epoch = time.Unix(1_000_000_000, 0)
)

// Trailers is a handler with two trailers: one that it announces, and one that it does not.
func Trailers(name, value, trailer, last string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(name, value)
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set(trailer, last)
	}
}
