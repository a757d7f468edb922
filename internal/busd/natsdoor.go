package busd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/pool"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

const (
	maxAsks   = 1024            // over NATS that one busd works on at once; more are answered 503
	flushTime = 2 * time.Second // for NATS to take, or to bring, what there is
)

// natsDoor answers homeservers that ask over NATS. Of several busd, one answers.
type natsDoor struct {
	desk desk
	nc   *nats.Conn
	log  zerolog.Logger
	sub  *nats.Subscription
	pool *pool.Pool
}

func openNATSDoor(nc *nats.Conn, serverName string, d desk, log zerolog.Logger) (*natsDoor, error) {
	door := &natsDoor{desk: d, nc: nc, log: log}
	door.pool = pool.Answering(maxAsks, door.serve, door.respond, door.busy)
	var err error
	door.sub, err = nc.ChanQueueSubscribe(subjects.Of(serverName).AskAny(), "busd", door.pool.Work)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for asks over NATS: %w", err)
	}
	return door, nc.Flush()
}

// close takes no more asks, and waits for those under way; each of them has a deadline. An ask that NATS gave to this busd
// before it knew is under way, too: nobody else gets it.
func (d *natsDoor) close() {
	if d == nil {
		return // It was never opened.
	}
	_ = d.sub.Drain() // All of these fail only when the connection is closed, or NATS is away.
	_ = d.nc.FlushTimeout(flushTime)
	<-d.pool.Stop()
	_ = d.nc.FlushTimeout(flushTime)
}

func (d *natsDoor) serve(m *nats.Msg) (nats.Header, []byte) {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if timeout := wire.Timeout(m, math.MaxInt64); wire.Header(m, wire.HeaderTimeout) != "" {
		ctx, cancel = context.WithTimeout(ctx, max(timeout, time.Millisecond))
	}
	defer cancel()
	name, _ := subjects.CallbackOf(m.Subject) // The subscription lets nothing else through; no name is no callback's.
	mapping := wire.MappingOf(m)
	out, p := d.desk.answer(ctx, name, m.Data, bool(mapping))
	if p != nil {
		return p.header(), p.body()
	}
	return mapping.Header(), out
}

func (d *natsDoor) busy(m *nats.Msg) {
	text := fmt.Sprintf("%d asks are under way", maxAsks)
	p := &problem{Errcode: unknown, Text: text, status: http.StatusServiceUnavailable}
	d.respond(m, p.header(), p.body())
}

// header reports the problem as a NATS service error, whose code is the HTTP status.
func (p *problem) header() nats.Header {
	return nats.Header{
		wire.HeaderError:       {wire.OneLine(p.Text)},
		wire.HeaderErrorCode:   {strconv.Itoa(p.status)},
		wire.HeaderContentType: {wire.JSONType},
	}
}

func (d *natsDoor) respond(m *nats.Msg, h nats.Header, data []byte) {
	if m.Reply == "" {
		return
	}
	err := d.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: h, Data: data})
	if errors.Is(err, nats.ErrMaxPayload) {
		text := fmt.Sprintf("the decision of %d bytes is larger than the server's max_payload", len(data))
		p := &problem{Errcode: "M_TOO_LARGE", Text: text, status: http.StatusInternalServerError}
		err = d.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: p.header(), Data: p.body()})
	}
	if err != nil {
		d.log.Warn().Err(err).Msg("cannot answer an ask over NATS")
	}
}
