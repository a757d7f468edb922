// Package homeserver forwards calls of the Module API over HTTP, to a homeserver that is not a Go program.
package homeserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/renewed"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/subjects"
)

const (
	maxReply  = 32 << 20         // bytes of the homeserver's reply to a call of the Module API. Beyond: answered 502 to the module.
	idleConns = 128              // to the homeserver
	idleFor   = 90 * time.Second // until an unused one is closed
)

// Forwarder posts each call to <url>/v1/<method>. Its methods may be called concurrently.
type Forwarder struct {
	url   string
	token *renewed.Value[string]
	http  *http.Client
	conns *http.Transport
}

// New returns a forwarder to the configured homeserver. It reads the files with the token and the certificates, and
// reads them again when they change. Each call makes a span with the provider, if there is one. New does not connect.
// Close must be called.
func New(c config.Homeserver, tracing trace.TracerProvider, log zerolog.Logger) (*Forwarder, error) {
	dialer, err := certs.Client(c.TLS, "homeserver.tls", log)
	if err != nil {
		return nil, err
	}
	f := &Forwarder{url: c.URL, conns: &http.Transport{
		MaxIdleConns: idleConns, MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleFor, DialTLSContext: dialer.DialContext,
	}}
	f.http = &http.Client{Transport: spanned(tracing, f.conns), CheckRedirect: stay}
	if c.TokenFile != "" {
		f.token, err = renewed.Open(log, func() (string, error) { return readToken(c.TokenFile) }, c.TokenFile)
	}
	return f, err
}

// stay follows no redirect: it would take the token and the request to where the operator did not say.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// spanned returns a transport that makes a span of each request, if there is a provider.
func spanned(tracing trace.TracerProvider, t http.RoundTripper) http.RoundTripper {
	if tracing == nil {
		return t
	}
	return otelhttp.NewTransport(t, otelhttp.WithTracerProvider(tracing), otelhttp.WithPropagators(spans.W3C))
}

func readToken(file string) (string, error) {
	token, err := config.ReadToken(file, "the token of the homeserver")
	if err != nil {
		return "", fmt.Errorf("homeserver.token_file: %w", err)
	}
	return string(token), nil
}

// Call implements [bus.CallFunc]. It blocks until the homeserver has answered or ctx ends.
func (f *Forwarder) Call(ctx context.Context, m *subjects.Method, req proto.Message) (proto.Message, error) {
	body, err := wire.ToJSON(req)
	if err != nil {
		return nil, err
	}
	status, out, err := f.post(ctx, m.Name, body)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil: // The error may name the homeserver's address, which only the operator should see.
		return nil, badGateway("the homeserver cannot be reached at homeserver.url")
	case status/100 == 3:
		return nil, badGateway(fmt.Sprintf("homeserver.url redirects (%d), which is not followed: it must name where the homeserver is", status))
	case status != http.StatusOK:
		return nil, matrix.ParseError(status, out)
	}
	reply := m.NewReply()
	if err := wire.FromJSON(out, reply, false); err != nil {
		return nil, badGateway("the homeserver's reply cannot be read: " + err.Error())
	}
	return reply, nil
}

func badGateway(text string) error {
	return &bus.MatrixError{Status: http.StatusBadGateway, Errcode: matrix.Unknown, Text: text}
}

func (f *Forwarder) post(ctx context.Context, method string, body []byte) (status int, _ []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if f.token != nil {
		r.Header.Set("Authorization", "Bearer "+f.token.Value())
	}
	spans.SendHTTP(r)
	rsp, err := f.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer rsp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(rsp.Body, maxReply))
	return rsp.StatusCode, out, err
}

// Close closes connections that no call uses.
func (f *Forwarder) Close() { f.conns.CloseIdleConnections() }
