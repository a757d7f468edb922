package busd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

const (
	maxReply  = 32 << 20         // bytes of a reply to a call
	idleConns = 128              // to the homeserver
	idleFor   = 90 * time.Second // until an unused one is closed
)

// forwarder passes calls of the Module API on to a homeserver that is no Go program: POST <url>/v1/<method>.
type forwarder struct {
	url, token string
	http       *http.Client
}

// newForwarder returns nil when the configuration names no homeserver.
func newForwarder(c config.Homeserver) (*forwarder, error) {
	if c.URL == "" {
		return nil, nil //nolint:nilnil // No homeserver is no error.
	}
	f := &forwarder{url: c.URL, http: &http.Client{Transport: &http.Transport{
		MaxIdleConns: idleConns, MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleFor,
	}}}
	if c.TokenFile == "" {
		return f, nil
	}
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("homeserver.token_file: %w", err)
	}
	f.token = string(bytes.TrimSpace(token))
	return f, nil
}

// Forward returns what answers calls of the Module API by passing them on to a homeserver.
func Forward(c config.Homeserver) (bus.CallFunc, error) {
	f, err := newForwarder(c)
	if err != nil {
		return nil, err
	}
	return f.call, nil
}

// call implements bus.CallFunc.
func (f *forwarder) call(ctx context.Context, m *subjects.Method, req proto.Message) (proto.Message, error) {
	body, err := wire.ToJSON(req)
	if err != nil {
		return nil, err
	}
	status, out, err := f.post(ctx, m.Name, body)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil: // It may name the address, which is the operator's business alone.
		return nil, &bus.MatrixError{Status: http.StatusBadGateway, Errcode: unknown, Text: "the homeserver cannot be reached at homeserver.url"}
	case status != http.StatusOK:
		return nil, wire.ParseMatrixError(status, out)
	}
	reply := m.NewReply()
	if err := wire.FromJSON(out, reply, false); err != nil {
		return nil, &bus.MatrixError{Status: http.StatusBadGateway, Errcode: unknown, Text: "the homeserver's reply cannot be read: " + err.Error()}
	}
	return reply, nil
}

func (f *forwarder) post(ctx context.Context, method string, body []byte) (status int, _ []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if f.token != "" {
		r.Header.Set("Authorization", "Bearer "+f.token)
	}
	rsp, err := f.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer rsp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(rsp.Body, maxReply))
	return rsp.StatusCode, out, err
}

func (f *forwarder) close() { f.http.CloseIdleConnections() }
