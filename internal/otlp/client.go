package otlp

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// firstPause is how long the first wait is before a batch is sent again. Each further wait is twice as long.
	firstPause = 200 * time.Millisecond

	// maxAnswer is how much of a collector's answer is read. Beyond: it is as if it had ended there.
	maxAnswer = 64 << 10

	// maxQuoted is how many bytes of what a collector says are in errors. Beyond: they are left out.
	maxQuoted = 200
)

// client sends spans. It implements the Client of package otlptrace, both of whose own bring all of gRPC along (ADR 69).
type client struct {
	collector

	http http.Client
}

func newClient(c collector) *client {
	t := &http.Transport{TLSClientConfig: c.tls, IdleConnTimeout: time.Minute, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetHTTP1(!c.grpc)
	t.Protocols.SetUnencryptedHTTP2(c.grpc)
	if !c.grpc || strings.HasPrefix(c.url, "https:") { // Proxies know no HTTP/2 without TLS.
		t.Proxy = http.ProxyFromEnvironment
	}
	return &client{c, http.Client{Transport: t, CheckRedirect: stay}}
}

// stay follows no redirect: it would take the headers, and a token in them, to where the operator did not say.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Start implements the Client of package otlptrace. It does not connect.
func (c *client) Start(context.Context) error { return nil }

// Stop implements the Client of package otlptrace.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements the Client of package otlptrace. While the collector is away or has no time, it sends the spans again,
// until the time for a batch is over.
func (c *client) UploadTraces(ctx context.Context, spans []*tracev1.ResourceSpans) error {
	body, err := c.encode(spans)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for pause := firstPause; ; pause *= 2 {
		err = c.send(ctx, body)
		var busy *busyError
		if !errors.As(err, &busy) || !sleep(ctx, max(busy.after, pause/2+rand.N(pause/2))) {
			return err
		}
	}
}

// sleep reports whether ctx goes on for so long.
func sleep(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// encode returns the body of a request. TracesData has the fields of ExportTraceServiceRequest, whose package needs gRPC.
func (c *client) encode(spans []*tracev1.ResourceSpans) ([]byte, error) {
	body, err := proto.Marshal(&tracev1.TracesData{ResourceSpans: spans})
	if err == nil && c.gzip {
		var smaller bytes.Buffer
		z := gzip.NewWriter(&smaller)
		_, err = z.Write(body)
		err = cmp.Or(err, z.Close())
		body = smaller.Bytes()
	}
	if err != nil || !c.grpc {
		return body, err
	}
	return append(frame(c.gzip, len(body)), body...), nil
}

// frame is what stands before a message of gRPC.
func frame(compressed bool, length int) []byte {
	f := make([]byte, 1, 5+length)
	if compressed {
		f[0] = 1
	}
	return binary.BigEndian.AppendUint32(f, uint32(length))
}

func (c *client) send(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	c.describe(req.Header)
	resp, err := c.http.Do(req)
	if err != nil {
		return &busyError{err, 0}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case resp.StatusCode/100 != 2:
		return refused(resp, answer)
	case err != nil:
		return &busyError{err, 0}
	case c.grpc:
		return grpcResult(resp, answer)
	case resp.Header.Get("Content-Type") != "application/x-protobuf":
		return nil
	}
	return rejected(answer)
}

// describe sets the header of a request.
func (c *client) describe(h http.Header) {
	h.Set("User-Agent", "modulebus")
	maps.Copy(h, c.header)
	form, encoding := "application/x-protobuf", "Content-Encoding"
	if c.grpc {
		form, encoding = "application/grpc", "Grpc-Encoding"
		h.Set("TE", "trailers")
	}
	h.Set("Content-Type", form)
	if c.gzip {
		h.Set(encoding, "gzip")
	}
}

// busyError is a failure after which the same may be sent again, not before the collector wants it.
type busyError struct {
	error

	after time.Duration
}

func (e *busyError) Unwrap() error { return e.error }

// refused is the error of a status that is not 2xx.
func refused(resp *http.Response, answer []byte) error {
	err := fmt.Errorf("the collector answered %s: %q", resp.Status, quoted(answer))
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16) // Without a number, we choose.
		return &busyError{err, time.Duration(seconds) * time.Second}
	}
	return err
}

// grpcResult is the error of a response of gRPC, whose status stands in its trailer, or in its header if it has no body.
func grpcResult(resp *http.Response, answer []byte) error {
	status := cmp.Or(resp.Trailer.Get("Grpc-Status"), resp.Header.Get("Grpc-Status"))
	if status == "0" {
		return rejected(answer[min(len(answer), len(frame(false, 0))):])
	}
	text := cmp.Or(resp.Trailer.Get("Grpc-Message"), resp.Header.Get("Grpc-Message"))
	if plain, err := url.PathUnescape(text); err == nil {
		text = plain
	}
	err := fmt.Errorf("the collector answered with gRPC's status %q: %q", quoted([]byte(status)), quoted([]byte(text)))
	switch status {
	case "1", "4", "10", "11", "14", "15": // Those after which the specification has clients try again.
		return &busyError{err, 0}
	}
	return err
}

// rejected is the error of a collector that took only some of the spans, which it says in ExportTraceServiceResponse.
func rejected(answer []byte) error {
	partial, _ := protowire.ConsumeBytes(fields(answer)[1])
	said := fields(partial)
	n, _ := protowire.ConsumeVarint(said[1])
	text, _ := protowire.ConsumeBytes(said[2])
	if n == 0 && len(text) == 0 {
		return nil
	}
	return fmt.Errorf("the collector did not take %d spans: %q", n, quoted(text))
}

// fields returns the fields of a message, the last of each number, as they were sent. What cannot be read is left out.
func fields(message []byte) map[protowire.Number][]byte {
	found := map[protowire.Number][]byte{}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			break
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			break
		}
		found[number], message = message[:n], message[n:]
	}
	return found
}

func quoted(said []byte) []byte { return said[:min(len(said), maxQuoted)] }
