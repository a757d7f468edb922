package modulekit

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// host is the homeserver and busd as a module on NATS reaches them. It implements [kitopts.Host].
type host struct {
	nc     *nats.Conn
	server subjects.Server
	module string
	spans  *spans.Maker
	store  *bucket
}

func newHost(nc *nats.Conn, o Options, s *spans.Maker) *host {
	server := subjects.For(o.ServerName)
	return &host{nc: nc, server: server, module: o.Module, spans: s, store: newBucket(nc, server, o.Module, false)}
}

// Call implements [kitopts.Host]. The homeserver is told when ctx ends before it has answered.
func (h *host) Call(ctx context.Context, m *subjects.Method, req proto.Message) (proto.Message, error) {
	data, err := wire.Encode(req, wire.Binary)
	if err != nil {
		return nil, err
	}
	ctx, span := h.spans.Call(ctx, trace.SpanKindClient, m.Name)
	defer span.End()
	reply, err := h.call(ctx, m, data)
	if err != nil {
		span.Fail(errorType(err))
	}
	return reply, err
}

func (h *host) call(ctx context.Context, m *subjects.Method, data []byte) (proto.Message, error) {
	name := rand.Text()
	header := nats.Header{wire.HeaderCall: {name}, wire.HeaderTimeout: {left(ctx)}}
	spans.Carried(ctx).Put(header)
	msg, err := h.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: h.server.API(m, h.module), Data: data, Header: header})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		text := "no homeserver serves the Module API: is homeserver.url set in busd.yaml?"
		return nil, &MatrixError{Status: http.StatusServiceUnavailable, Errcode: matrix.Unknown, Text: text}
	case err != nil:
		_ = h.nc.Publish(h.server.APICancel(h.module), []byte(name)) // If it is lost, the deadline ends the call.
		return nil, err
	}
	if e := wire.MatrixErrorOf(msg); e != nil {
		return nil, e
	}
	reply := m.NewReply()
	return reply, wire.DecodeMessage(msg, reply)
}

// left is how long ctx still lasts, in milliseconds.
func left(ctx context.Context) string {
	deadline, _ := ctx.Deadline() // It always has one.
	return strconv.FormatUint(uint64(max(1, wire.Milliseconds(time.Until(deadline)))), 10)
}

// Bucket implements [kitopts.Host].
func (h *host) Bucket(ctx context.Context) (kitopts.Bucket, error) {
	_, err := h.store.open(ctx)
	return h.store, err
}

const busyPause = 5 * time.Millisecond // before a homeserver that is busy is asked for a piece again

// ReadFile implements [kitopts.Host]. While the homeserver is busy, it asks again.
func (h *host) ReadFile(ctx context.Context, subject string, offset int64, length uint32) ([]byte, error) {
	req, err := wire.Encode(&rosterv1.ReadFile{Offset: offset, Length: length}, wire.Binary)
	if err != nil {
		return nil, err
	}
	for {
		m, err := h.nc.RequestWithContext(ctx, subject, req)
		if err != nil {
			return nil, err
		}
		switch f := wire.FailureOf(m); {
		case f == nil:
			return m.Data, nil
		case f.Kind != rosterv1.FailureKind_BUSY:
			return nil, f
		}
		pause(ctx, busyPause)
	}
}
